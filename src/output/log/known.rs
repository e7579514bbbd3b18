//! The secrets that log lines are searched for.
//!
//! * Those of the settings ([`register`]) stay for the life of the process: there is a handful of them.
//! * Those that callers choose ([`hide`]: stream keys, users and passwords in addresses) are known only while something that
//!   may be logged holds them, and are wiped from here with the last holder.
//!
//! Callers of one tenant must not be able to blank words out of everybody's log, so what they choose counts as a secret only
//! where it looks like one: from [`LONG`] bytes on wherever it stands; from [`SHORT`] bytes on when it mixes letters and digits,
//! and only as a word of its own; never when it is one of our ids, which are no secrets.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use zeroize::Zeroizing;

/// Bytes from which on a caller's secret is replaced wherever it stands.
const LONG: usize = 12;
/// Bytes from which on it is replaced as a word. Shorter ones are a guess away.
const SHORT: usize = 8;
/// Shorter secrets of the settings are not replaced in running text: the log would be unreadable.
const SHORTEST: usize = 4;
pub(super) const PLACEHOLDER: &str = "[key]";

/// Longest first, so that a secret which begins with another one is replaced whole.
static KNOWN: RwLock<Vec<Known>> = RwLock::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

struct Known {
    id: u64,
    text: Zeroizing<String>,
    /// Only where no letter or digit stands beside it.
    word: bool,
    /// None: for ever.
    holders: Option<usize>,
}

/// While this or a clone of it lives, log lines lose the secrets that it was made of.
#[derive(Clone, Default)]
pub struct Hidden(#[allow(dead_code, reason = "it acts when it is dropped")] Option<Arc<Held>>);

struct Held(Vec<u64>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut known = write();
        for id in &self.0 {
            let Some(at) = known.iter().position(|known| known.id == *id) else { continue };
            match &mut known[at].holders {
                None => {}
                Some(holders) if *holders > 1 => *holders -= 1,
                // Zeroized as it goes.
                Some(_) => drop(known.remove(at)),
            }
        }
    }
}

/// Takes these texts, chosen by a caller, out of log lines for as long as the answer lives.
pub fn hide<'a>(texts: impl IntoIterator<Item = &'a str>) -> Hidden {
    let secrets = texts.into_iter().filter_map(|text| Some((text, weigh(text)?)));
    let ids: Vec<_> = secrets.flat_map(|(text, word)| forms(text).map(move |form| add(&form, word, Some(1)))).collect();
    Hidden((!ids.is_empty()).then(|| Arc::new(Held(ids))))
}

/// For secrets of the settings: from now on this text is replaced in every line, for the life of the process.
pub(super) fn register(text: &str) {
    if text.len() >= SHORTEST {
        add(text, false, None);
    }
}

/// Whether a caller's text is replaced, and then whether only as a word.
fn weigh(text: &str) -> Option<bool> {
    if is_id(text) || text.len() < SHORT {
        return None;
    }
    let mixed = text.bytes().any(|b| b.is_ascii_digit()) && text.chars().any(char::is_alphabetic);
    let long = text.len() >= LONG;
    (long || mixed).then_some(!long)
}

/// `agt_` and 32 digits of hex.
fn is_id(text: &str) -> bool {
    let Some((kind, hex)) = text.split_once('_') else { return false };
    kind.len() == 3
        && kind.bytes().all(|b| b.is_ascii_lowercase())
        && hex.len() == 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// As it is, and as a JSON log line writes it where that differs.
fn forms(text: &str) -> impl Iterator<Item = Zeroizing<String>> {
    let json = Zeroizing::new(serde_json::Value::from(text).to_string());
    let escaped = json.get(1..json.len() - 1).filter(|escaped| *escaped != text).map(|e| Zeroizing::new(e.to_owned()));
    std::iter::once(Zeroizing::new(text.to_owned())).chain(escaped)
}

fn add(text: &str, word: bool, holders: Option<usize>) -> u64 {
    let mut known = write();
    if let Some(same) = known.iter_mut().find(|known| *known.text == text) {
        same.word &= word;
        same.holders = same.holders.zip(holders).map(|(before, more)| before + more);
        return same.id;
    }
    let at = known.partition_point(|known| known.text.len() > text.len());
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    known.insert(at, Known { id, text: Zeroizing::new(text.to_owned()), word, holders });
    id
}

/// The text without what is known.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for known in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if out.contains(known.text.as_str()) {
            out = Cow::Owned(replace(&out, &known.text, known.word));
        }
    }
    out
}

fn replace(text: &str, secret: &str, word: bool) -> String {
    if !word {
        return text.replace(secret, PLACEHOLDER);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        // What was cut off before ended in the placeholder or in a letter of another word.
        let left = before.chars().next_back().or_else(|| out.chars().next_back());
        let inside = left.into_iter().chain(after.chars().next()).any(char::is_alphanumeric);
        out.push_str(before);
        out.push_str(if inside { secret } else { PLACEHOLDER });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn write() -> RwLockWriteGuard<'static, Vec<Known>> {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_secret_is_known_until_its_last_holder_goes() {
        let first = hide(["held-canary-key-1"]);
        let clone = first.clone();
        let second = hide(["held-canary-key-1"]);
        for holder in [first, second, clone] {
            assert_eq!(cut("a held-canary-key-1!"), "a [key]!");
            drop(holder);
        }
        assert_eq!(cut("a held-canary-key-1!"), "a held-canary-key-1!");
        assert!(KNOWN.read().unwrap().iter().all(|known| !known.text.contains("held-canary")));
    }

    #[test]
    fn a_secret_of_the_settings_outlives_callers_who_chose_the_same() {
        let held = hide(["settings-canary-1"]);
        register("settings-canary-1");
        drop(held);
        drop(hide(["settings-canary-1"]));
        assert_eq!(cut("settings-canary-1"), "[key]");
    }

    #[test]
    fn what_a_caller_chooses_blanks_no_words_addresses_and_ids_out_of_the_log() {
        let id = "agt_0123456789abcdef0123456789abcdef";
        let _held = hide(["answered", "203.0.113.9", "k1234", id]);
        let line = format!("answered 203.0.113.9 k1234 {id}");
        assert_eq!(cut(&line), line);
    }

    #[test]
    fn a_short_secret_is_replaced_as_a_word_only() {
        let _held = hide(["sh0rtkey9"]);
        assert_eq!(cut("/sh0rtkey9? sh0rtkey9"), "/[key]? [key]");
        assert_eq!(cut("xsh0rtkey9 sh0rtkey9sh0rtkey9"), "xsh0rtkey9 sh0rtkey9sh0rtkey9");
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it() {
        let _held = hide(["json-\"canary\"-1"]);
        assert_eq!(cut(r#"{"m":"no json-\"canary\"-1"}"#), r#"{"m":"no [key]"}"#);
    }
}
