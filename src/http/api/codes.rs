//! One-time codes: what a page's address may hold in place of a token.
//!
//! A code has 256 random bits, lives for 60 s and is good for one exchange. It stands in the fragment of an address, which
//! browsers send nowhere; the page takes it out, exchanges it by a request of its own and forgets it. Codes live in memory
//! only: a restart within the minute costs a click.

use crate::secure::random_hex;
use crate::server::who::Who;
use crate::store::model::{Millis, Scope};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How long a code is good for, ms.
pub const CODE_TTL_MS: Millis = 60_000;
/// Codes of one session, or of one API key, that may wait at once; the oldest one goes.
const OF_ONE: usize = 16;
/// Codes of one tenant, and of the service's own keys, that may wait at once.
const OF_TENANT: usize = 2_048;
/// Codes that may wait at once, of everybody together: 270 new ones a second for their whole life.
const MOST: usize = 16_384;
/// How far the clock may be set back before codes are taken to be old, ms.
const SET_BACK_MS: Millis = 5_000;

/// Codes that wait to be exchanged. Time is an argument (Unix ms).
#[derive(Default)]
pub struct Codes {
    waiting: Mutex<Waiting>,
}

/// What a code is exchanged for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A token of this session, for an overlay page. The session may have been revoked since: look.
    Session { session: String, scope: Scope, view: String },
    /// A cookie, for an operator's page. The API key behind it may have been revoked since: look.
    Operator(Who),
}

/// Too many codes wait; the oldest of them expires within a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many one-time codes wait to be used; try again in {retry_s} s")]
pub struct TooManyCodes {
    pub retry_s: u64,
}

#[derive(Default)]
struct Waiting {
    /// By the code's hash: looking one up tells nothing of the others by the time it takes, and a dump of the memory holds
    /// no code that still works.
    codes: HashMap<[u8; 32], Waits>,
    /// The same hashes by age, and when they were made; those that were used meanwhile leave with their age.
    order: VecDeque<([u8; 32], Millis)>,
    /// Codes by session or API key, oldest first.
    owners: HashMap<String, VecDeque<[u8; 32]>>,
    /// How many each tenant has.
    tenants: HashMap<Option<String>, usize>,
}

struct Waits {
    grant: Grant,
    tenant: Option<String>,
}

impl Grant {
    /// Session or API key.
    fn owner(&self) -> &str {
        match self {
            Grant::Session { session, .. } => session,
            Grant::Operator(who) => &who.actor,
        }
    }
}

impl Codes {
    /// A new code: 64 characters of hex. `tenant`: whose session or API key it is for; None: the service's own. Another code
    /// of the same session or key, the oldest, may lose its place to it.
    ///
    /// # Errors
    /// When too many wait, of this tenant or of all.
    pub fn issue(&self, grant: Grant, tenant: Option<&str>, now: Millis) -> Result<SecretString, TooManyCodes> {
        let code = random_hex();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.forget_old(now);
        let tenant = tenant.map(str::to_owned);
        let oldest = waiting.owners.get(grant.owner()).filter(|codes| codes.len() >= OF_ONE);
        if let Some(oldest) = oldest.and_then(|codes| codes.front().copied()) {
            waiting.remove(&oldest);
        }
        let own = waiting.tenants.get(&tenant).copied().unwrap_or(0);
        if own >= OF_TENANT || waiting.codes.len() >= MOST {
            let left = waiting.order.front().map_or(0, |(_, made)| made + CODE_TTL_MS - now).clamp(1, CODE_TTL_MS);
            return Err(TooManyCodes { retry_s: left.unsigned_abs().div_ceil(1_000) });
        }
        let hash = hash(code.expose_secret());
        waiting.order.push_back((hash, now));
        waiting.owners.entry(grant.owner().to_owned()).or_default().push_back(hash);
        waiting.tenants.insert(tenant.clone(), own + 1);
        waiting.codes.insert(hash, Waits { grant, tenant });
        Ok(code)
    }

    /// What the code stands for, once: the next call gets None, whoever makes it.
    pub fn take(&self, code: &str, now: Millis) -> Option<Grant> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.forget_old(now);
        waiting.remove(&hash(code))
    }
}

impl Waiting {
    fn remove(&mut self, hash: &[u8; 32]) -> Option<Grant> {
        let Waits { grant, tenant } = self.codes.remove(hash)?;
        if let Some(codes) = self.owners.get_mut(grant.owner()) {
            codes.retain(|other| other != hash);
            if codes.is_empty() {
                self.owners.remove(grant.owner());
            }
        }
        if let Some(n) = self.tenants.get_mut(&tenant) {
            *n -= 1;
            if *n == 0 {
                self.tenants.remove(&tenant);
            }
        }
        Some(grant)
    }

    /// All live equally long, so the oldest ones stand in front.
    fn forget_old(&mut self, now: Millis) {
        while let Some((hash, made)) = self.order.front() {
            let fresh = (made.saturating_sub(SET_BACK_MS)..made.saturating_add(CODE_TTL_MS)).contains(&now);
            if fresh && self.codes.contains_key(hash) {
                break;
            }
            let hash = *hash;
            self.order.pop_front();
            self.remove(&hash);
        }
        // Used ones in the middle: at most as many as wait, or they would be a way to fill the memory.
        if self.order.len() > 2 * self.codes.len() + OF_ONE {
            let codes = &self.codes;
            self.order.retain(|(hash, _)| codes.contains_key(hash));
        }
    }
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code).into()
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Codes({} wait)", waiting.codes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn grant(session: &str) -> Grant {
        Grant::Session { session: session.into(), scope: Scope::Watch, view: "spectator".into() }
    }

    #[test]
    fn a_code_is_good_once_and_for_what_it_was_made_for() {
        let codes = Codes::default();
        let (a, b) = (
            codes.issue(grant("ses_a"), None, 0).unwrap(),
            codes.issue(Grant::Operator(Who::service()), None, 0).unwrap(),
        );
        assert_eq!((a.expose_secret().len(), a.expose_secret() == b.expose_secret()), (64, false));
        assert_eq!(codes.take("", 1), None);
        assert_eq!(codes.take(&a.expose_secret().to_uppercase(), 1), None);
        assert_eq!(codes.take(b.expose_secret(), 1), Some(Grant::Operator(Who::service())));
        assert_eq!(codes.take(a.expose_secret(), 2), Some(grant("ses_a")));
        assert_eq!((codes.take(a.expose_secret(), 2), codes.take(b.expose_secret(), 2)), (None, None));
        assert_eq!(format!("{codes:?}"), "Codes(0 wait)");
    }

    #[test]
    fn a_code_expires_after_its_minute_and_when_the_clock_jumps_back() {
        let codes = Codes::default();
        let issue = || codes.issue(grant("ses_a"), None, 1_000_000).unwrap();
        assert!(codes.take(issue().expose_secret(), 1_000_000 + CODE_TTL_MS - 1).is_some());
        assert!(codes.take(issue().expose_secret(), 1_000_000 + CODE_TTL_MS).is_none());
        assert!(codes.take(issue().expose_secret(), 1_000_000 - SET_BACK_MS - 1).is_none());
        assert_eq!(format!("{codes:?}"), "Codes(0 wait)", "expired ones are not kept");
    }

    #[test]
    fn of_many_takers_at_once_one_gets_it() {
        let codes = Codes::default();
        for _ in 0..50 {
            let (code, got) = (codes.issue(grant("ses_a"), None, 0).unwrap(), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope
                        .spawn(|| got.fetch_add(codes.take(code.expose_secret(), 1).iter().count(), Ordering::Relaxed));
                }
            });
            assert_eq!(got.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn of_one_session_the_newest_codes_wait_and_others_lose_none() {
        let codes = Codes::default();
        let other = codes.issue(grant("ses_b"), Some("ten_a"), 0).unwrap();
        let many: Vec<_> =
            (0..MOST).map(|n| codes.issue(grant("ses_a"), Some("ten_a"), n as Millis).unwrap()).collect();
        assert_eq!(format!("{codes:?}"), format!("Codes({} wait)", OF_ONE + 1));
        assert!(codes.waiting.lock().unwrap().order.len() <= 4 * OF_ONE, "what is gone takes no room");
        let good = many.iter().filter(|code| codes.take(code.expose_secret(), MOST as Millis).is_some()).count();
        assert_eq!(good, OF_ONE);
        assert!(codes.take(other.expose_secret(), MOST as Millis).is_some());
        let waiting = codes.waiting.lock().unwrap();
        assert!(waiting.owners.is_empty() && waiting.tenants.is_empty());
    }

    #[test]
    fn too_many_codes_are_refused_until_the_oldest_expires_or_is_used() {
        let codes = Codes::default();
        let issue = |n: usize, now| codes.issue(grant(&format!("ses_{n}")), Some("ten_a"), now);
        let first = issue(0, 0).unwrap();
        (1..OF_TENANT).for_each(|n| drop(issue(n, 20_000).unwrap()));
        assert_eq!(issue(OF_TENANT, 30_000).unwrap_err(), TooManyCodes { retry_s: 30 });
        assert!(codes.issue(grant("ses_b"), Some("ten_b"), 30_000).is_ok(), "another tenant's");
        assert!(codes.take(first.expose_secret(), 30_000).is_some());
        assert!(issue(OF_TENANT, 30_000).is_ok());
        assert!(issue(OF_TENANT + 1, 30_000).is_err());
        assert!(issue(OF_TENANT + 1, 80_000).is_ok());
    }
}
