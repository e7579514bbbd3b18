//! Rate limits and their headers, Idempotency-Key, ETag and If-Match.
//!
//! * Limits are those of the settings, also after a reload. What a key may still do stands in `RateLimit-Policy` and
//!   `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10); a refusal has `Retry-After`.
//! * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) on creating calls: the key is taken before anything is
//!   made, the answer is kept and given again, without what is shown only once. Another request under the same key is 422,
//!   one that still runs 409, as is one that a crash cut off: nothing is made twice.

use super::Api;
use super::problem::{Kind, Problem};
use crate::config::Config;
use crate::http::server::{Guest, network};
use crate::server::matches::Allowance;
use crate::server::now_ms;
use crate::server::who::Who;
use crate::store::{Claim, StoreError};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The limiters of the API, and what is under way.
pub struct Guard {
    config: Arc<RwLock<Arc<Config>>>,
    limiters: RwLock<Arc<Limiters>>,
    /// Addresses that have used up their refusals, until when.
    barred: Mutex<HashMap<IpAddr, Instant>>,
    /// Idempotency keys of calls that run.
    running: Mutex<HashSet<(String, String)>>,
    /// Idempotency keys of calls that made nothing, which the store could not be told.
    freed: Mutex<HashSet<(String, String)>>,
}

struct Limiters {
    /// Settings that they were made of.
    of: Arc<Config>,
    requests: Arc<Limiter<String>>,
    sessions: Arc<Limiter<String>>,
    sessions_from: Arc<Limiter<IpAddr>>,
    failures: Arc<Limiter<IpAddr>>,
    lookups: Arc<Limiter<IpAddr>>,
    addresses: Arc<Limiter<IpAddr>>,
}

/// Several keys may be used behind one address: it may make so many times as many sessions.
const SESSIONS_FROM: u32 = 10;
/// Keys that are not known from before, looked up for an address that has used up its refusals: a second, and at once.
const LOOKUPS: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(4).unwrap());
/// Barred addresses in memory.
const BARRED: usize = 10_000;

impl Limiters {
    /// Limiters whose settings are as before go on counting.
    fn of(of: Arc<Config>, before: Option<&Limiters>) -> Limiters {
        fn kept<K: Clone + Hash + Eq>(
            before: Option<&Arc<Limiter<K>>>,
            name: &'static str,
            quota: Quota,
        ) -> Arc<Limiter<K>> {
            let same = before.filter(|before| before.quota == quota).cloned();
            same.unwrap_or_else(|| Arc::new(Limiter::new(name, quota)))
        }
        let limits = &of.limits;
        let minute = |n: u32| Quota::per_minute(at_least_one(n));
        let second = |n: u32, burst: u32| Quota::per_second(at_least_one(n)).allow_burst(at_least_one(burst));
        let requests = second(limits.requests_per_second, limits.requests_burst);
        let addresses = second(limits.address_requests_per_second, limits.address_requests_burst);
        let from = minute(limits.sessions_per_minute.saturating_mul(SESSIONS_FROM));
        let lookups = Quota::per_second(LOOKUPS.0).allow_burst(LOOKUPS.1);
        let failures = minute(limits.auth_failures_per_minute);
        Limiters {
            requests: kept(before.map(|b| &b.requests), "requests", requests),
            sessions: kept(before.map(|b| &b.sessions), "sessions", minute(limits.sessions_per_minute)),
            sessions_from: kept(before.map(|b| &b.sessions_from), "sessions-from", from),
            failures: kept(before.map(|b| &b.failures), "refusals", failures),
            lookups: kept(before.map(|b| &b.lookups), "lookups", lookups),
            addresses: kept(before.map(|b| &b.addresses), "address", addresses),
            of,
        }
    }
}

impl Guard {
    /// Follows these settings.
    pub fn new(config: Arc<RwLock<Arc<Config>>>) -> Guard {
        let now = config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let limiters = RwLock::new(Arc::new(Limiters::of(now, None)));
        Guard { config, limiters, barred: Mutex::default(), running: Mutex::default(), freed: Mutex::default() }
    }

    fn limiters(&self) -> Arc<Limiters> {
        let now = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = self.limiters.read().unwrap_or_else(PoisonError::into_inner).clone();
        if Arc::ptr_eq(&known.of, &now) {
            return known;
        }
        let mut limiters = self.limiters.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        if !Arc::ptr_eq(&limiters.of, &now) {
            *limiters = Arc::new(Limiters::of(now, Some(&**limiters)));
        }
        limiters.clone()
    }

    /// Counts a request with this key.
    ///
    /// # Errors
    /// 429.
    pub fn request(&self, key: &str, trail: &Trail) -> Result<(), Problem> {
        self.limiters().requests.take(&key.to_owned(), Some(trail), "requests with this key")
    }

    /// Counts a session that is about to be made: with this key, and from this address.
    ///
    /// # Errors
    /// 429.
    pub fn session(&self, who: &Who, trail: &Trail) -> Result<(), Problem> {
        let limiters = self.limiters();
        limiters.sessions.take(&who.actor, Some(trail), "sessions with this key")?;
        limiters.sessions_from.take(&address(who.from), None, "sessions from this address")
    }

    /// Counts a request with a session's token that is no event: those are counted by the match.
    ///
    /// # Errors
    /// 429.
    pub fn address(&self, from: Option<IpAddr>, trail: &Trail) -> Result<(), Problem> {
        self.limiters().addresses.take(&address(from), Some(trail), "requests from this address")
    }

    /// Counts refused credentials from an address; 429 in place of the refusal when they are too many.
    pub fn failed(&self, from: Option<IpAddr>) -> Option<Problem> {
        let from = address(from);
        let refused = self.limiters().failures.take(&from, None, "refused credentials from this address").err()?;
        let now = Instant::now();
        let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
        if barred.len() >= BARRED {
            barred.retain(|_, until| *until > now);
        }
        if barred.len() < BARRED {
            barred.insert(from, now + Duration::from_secs(refused.retry_after.unwrap_or(1).into()));
        }
        Some(refused)
    }

    /// Before an id is looked up that is not known from before: an address that guesses may ask a few times a second only.
    ///
    /// # Errors
    /// 429.
    pub fn lookup(&self, from: Option<IpAddr>) -> Result<(), Problem> {
        let from = address(from);
        let until = self.barred.lock().unwrap_or_else(PoisonError::into_inner).get(&from).copied();
        if until.is_none_or(|until| until <= Instant::now()) {
            return Ok(());
        }
        self.limiters().lookups.take(&from, None, "keys from this address that were not known")
    }
}

/// Who is counted as one when the address is not known, too.
pub(super) fn address(from: Option<IpAddr>) -> IpAddr {
    network(from.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))
}

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

/// Checks between two sweeps of those that have been quiet.
const SWEEP: u32 = 4_096;

/// A limiter for each of many.
pub(super) struct Limiter<K: Clone + Hash + Eq> {
    name: &'static str,
    quota: Quota,
    limiter: RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>,
    checks: AtomicU32,
}

impl<K: Clone + Hash + Eq> Limiter<K> {
    pub(super) fn new(name: &'static str, quota: Quota) -> Limiter<K> {
        let limiter = RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>();
        Limiter { name, quota, limiter, checks: AtomicU32::new(0) }
    }

    pub(super) fn take(&self, key: &K, trail: Option<&Trail>, what: &str) -> Result<(), Problem> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        let limit = self.quota.burst_size().get();
        let per = self.quota.replenish_interval();
        let window = seconds(per * limit);
        let (remaining, refused) = match self.limiter.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(seconds(until.wait_time_from(DefaultClock::default().now())).max(1))),
        };
        let reset = refused.unwrap_or_else(|| seconds(per * (limit - remaining.min(limit))));
        if let Some(trail) = trail {
            let allowance = Allowance { limit, remaining, reset_s: u32::try_from(reset).unwrap_or(u32::MAX) };
            trail.allowance(self.name, allowance, window);
        }
        match refused {
            None => Ok(()),
            Some(wait) => {
                let words = format!("too many {what}: {limit} in {window} s; try again in {wait} s");
                Err(Problem::new(Kind::TOO_FAST, words).limit(limit.into()).retry_after(wait))
            }
        }
    }
}

/// Rounded up.
fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// What is learned about a request on its way, for the fields of its answer and for the access log. One for each request.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Learned>>);

#[derive(Debug, Default)]
struct Learned {
    actor: Option<String>,
    /// The caller's connection.
    guest: Option<Guest>,
    limits: Vec<(&'static str, Allowance, u64)>,
}

impl Trail {
    /// Of a request that came on this connection.
    pub(super) fn on(guest: Option<Guest>) -> Trail {
        Trail(Arc::new(Mutex::new(Learned { guest, ..Learned::default() })))
    }

    /// Who it is: id of an API key or a session.
    pub fn actor(&self, actor: &str) {
        let mut learned = self.lock();
        learned.actor = Some(actor.to_owned());
        if let Some(guest) = &learned.guest {
            guest.known(actor.starts_with("key_"));
        }
    }

    /// What a limiter leaves; `window`: in how many seconds `limit` comes back. Told in the answer's RateLimit fields.
    pub fn allowance(&self, name: &'static str, allowance: Allowance, window: u64) {
        let mut learned = self.lock();
        learned.limits.retain(|(known, ..)| *known != name);
        learned.limits.push((name, allowance, window));
    }

    pub(super) fn who(&self) -> Option<String> {
        self.lock().actor.clone()
    }

    /// Puts the RateLimit fields into an answer.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let learned = self.lock();
        if learned.limits.is_empty() {
            return;
        }
        let join = |line: fn(&(&'static str, Allowance, u64)) -> String| {
            let lines: Vec<_> = learned.limits.iter().map(line).collect();
            HeaderValue::from_str(&lines.join(", ")).ok()
        };
        let policy = join(|(name, a, window)| format!("\"{name}\";q={};w={window}", a.limit));
        let left = join(|(name, a, _)| format!("\"{name}\";r={};t={}", a.remaining, a.reset_s));
        if let (Some(policy), Some(left)) = (policy, left) {
            headers.insert(RATE_LIMIT_POLICY, policy);
            headers.insert(RATE_LIMIT, left);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer is put into the store so often, with growing pauses.
const WRITE_TRIES: u32 = 3;
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// Keys in [`Guard::freed`]; those of further failures stay taken.
const FREED: usize = 10_000;
/// Longest `Idempotency-Key`, characters.
const KEY_CHARS: usize = 255;

/// For the documentation of creating calls.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct OnceHeader {
    /// Any text of 1 to 255 characters that is new for each thing to be made, for example a UUID. Repeat the call with the
    /// same one when no answer came: what was made before is given again, not made twice.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    #[allow(dead_code, reason = "read from the headers by `Once`")]
    pub idempotency_key: Option<String>,
}

/// For the documentation of calls that change something.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct MatchHeader {
    /// The `ETag` that you have read: the change is refused (412) when somebody was faster.
    #[param(rename = "If-Match", pattern = "^(\\*|\"[0-9]{1,18}\")$")]
    #[allow(dead_code, reason = "read from the headers by `if_match`")]
    pub if_match: Option<String>,
}

/// The key of a creating call, and what was asked under it.
#[derive(Debug)]
pub struct Once {
    /// None: the caller sent no key.
    key: Option<String>,
    request: String,
}

/// What a creating call answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub status: StatusCode,
    /// Without secrets: it is kept.
    pub body: Value,
    /// It was made by an earlier call.
    pub replayed: bool,
}

impl Made {
    /// 201 with the record as it is now. Nothing in it may be secret.
    pub fn created(record: &impl serde::Serialize) -> Result<Made, Problem> {
        let body = serde_json::to_value(record).map_err(Problem::internal)?;
        Ok(Made { status: StatusCode::CREATED, body, replayed: false })
    }

    /// With `Location` (`path` and the record's id) and, for records that have a version, `ETag`.
    pub fn located(self, path: &str) -> Response {
        let location = HeaderValue::from_str(&format!("{path}{}", self.text("id"))).ok();
        let version = self.body.get("version").and_then(Value::as_i64);
        let mut response = self.into_response();
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if let Some(version) = version {
            response.headers_mut().insert(header::ETAG, etag(version));
        }
        response
    }

    /// A field of the body, for example `id`.
    pub fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

impl Once {
    /// Reads the key; `request`: everything that makes the call what it is.
    pub(super) fn new(headers: &HeaderMap, method: &str, path: &str, body: &[u8]) -> Result<Once, Problem> {
        let key = match headers.get(IDEMPOTENCY_KEY) {
            None => None,
            Some(value) => {
                let text = value.to_str().unwrap_or_default();
                if text.is_empty() || text.len() > KEY_CHARS || !text.bytes().all(|b| b.is_ascii_graphic()) {
                    let words = "expected 1 to 255 visible ASCII characters";
                    let problem = Problem::field("Idempotency-Key", words).limit(KEY_CHARS as u64);
                    return Err(problem);
                }
                Some(text.to_owned())
            }
        };
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let request = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Once { key, request })
    }

    /// Makes it, or gives the answer of the call that made it.
    ///
    /// # Errors
    /// 422 when the key was used for another request, 409 when that call still runs or broke off in a crash, and what
    /// `make` says: a call that failed may be repeated under its key.
    pub async fn run(
        self,
        api: &Api,
        who: &Who,
        make: impl Future<Output = Result<Made, Problem>>,
    ) -> Result<Made, Problem> {
        let Some(key) = self.key else { return make.await };
        // Callers of different keys of one tenant are one caller: a retry may come with the new key.
        let scope = who.tenant().unwrap_or("admin").to_owned();
        let store = &api.service.context().store;
        let _running = Running::begin(&api.guard.running, (scope.clone(), key.clone())).ok_or_else(|| {
            let words = "a call with this Idempotency-Key still runs; repeat yours when it has ended";
            Problem::new(Kind::CONFLICT, words).retry_after(1)
        })?;
        let reused = || {
            let words = "it was used for another request; take a new one for each thing to be made";
            Problem::field("Idempotency-Key", words)
        };
        let freed = || api.guard.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let call = (scope.clone(), key.clone());
        // What the store could not be told, this process knows: nothing was made under the key.
        let free = || {
            let mut freed = freed();
            if freed.len() < FREED {
                freed.insert(call.clone());
            }
        };
        match store.claim(&scope, &key, &self.request, now_ms()).await.inspect_err(|_| free())? {
            Claim::New => {}
            Claim::Answered(known) if known.request == self.request => {
                let status = StatusCode::from_u16(known.status).map_err(Problem::internal)?;
                let body = serde_json::from_slice(&known.body).map_err(Problem::internal)?;
                return Ok(Made { status, body, replayed: true });
            }
            Claim::CutOff { request } if request == self.request => {
                if !freed().contains(&call) {
                    let words = "an earlier call with this Idempotency-Key broke off, and may or may not have made what it \
                                 asks for: look at the list, and call again with a new key where it is missing";
                    return Err(Problem::new(Kind::CONFLICT, words));
                }
            }
            Claim::Answered(_) | Claim::CutOff { .. } => return Err(reused()),
        }
        freed().remove(&call);
        let made = match make.await {
            Ok(made) => made,
            Err(problem) => {
                if tried(|| store.forget(&scope, &key)).await.is_err() {
                    free();
                }
                return Err(problem);
            }
        };
        let body = serde_json::to_vec(&made.body).map_err(Problem::internal)?;
        // It is made: an error now would hide it, and what is shown only once with it.
        if let Err(error) = tried(|| store.remember(&scope, &key, made.status.as_u16(), &body)).await {
            tracing::error!("an answer is not remembered, a call with its Idempotency-Key will be refused: {error}");
        }
        Ok(made)
    }
}

/// Writes to a store that may be busy for a moment.
async fn tried<F: Future<Output = Result<(), StoreError>>>(write: impl Fn() -> F) -> Result<(), StoreError> {
    let mut tries = 1;
    loop {
        match write().await {
            Err(_) if tries < WRITE_TRIES => tokio::time::sleep(WRITE_PAUSE * tries).await,
            done => return done,
        }
        tries += 1;
    }
}

struct Running<'a> {
    running: &'a Mutex<HashSet<(String, String)>>,
    call: (String, String),
}

impl<'a> Running<'a> {
    fn begin(running: &'a Mutex<HashSet<(String, String)>>, call: (String, String)) -> Option<Running<'a>> {
        let new = running.lock().unwrap_or_else(PoisonError::into_inner).insert(call.clone());
        // Made only when it is ours: its end takes the call from the list.
        new.then(|| Running { running, call })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call);
    }
}

/// The ETag of a version.
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// The version that the caller has seen; None when it does not care.
///
/// # Errors
/// 400 when the field cannot be read; 412 when it names something that is no version of ours.
pub fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let bad = || Problem::new(Kind::MALFORMED, "If-Match: expected `*` or one ETag in quotes, for example \"7\"");
    let text = value.to_str().map_err(|_| bad())?.trim();
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix("W/").unwrap_or(text);
    let tag = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|tag| !tag.contains('"'));
    let tag = tag.ok_or_else(bad)?;
    // Weak tags never match here (RFC 9110, section 13.1.1).
    let version = if text.starts_with("W/") { None } else { tag.parse().ok() };
    let words = "If-Match names a version that never was; read it again and repeat the change";
    version.map(Some).ok_or_else(|| Problem::new(Kind::STALE, words))
}

/// Whether the caller's copy is the newest: then 304 will do.
pub fn none_match(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let same = |tag: &str| tag == "*" || tag.trim_start_matches("W/").as_bytes() == etag.as_bytes();
    lines.flat_map(|line| line.split(',')).any(|tag| same(tag.trim()))
}
