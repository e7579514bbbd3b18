//! Who calls.
//!
//! | extractor | lets in |
//! |---|---|
//! | [`Caller`] | an API key (`Authorization: Bearer key_…`) or an operator's cookie |
//! | [`Holder`] | a session token (`Authorization: Bearer <JWT>`) for the session in the path |
//! | [`Feeder`](super::access::Feeder), [`Watcher`](super::access::Watcher) | either of them, for the session in the path |
//! | [`Visitor`] | everybody; checks what comes in some other way, as a socket's first message |
//!
//! Every credential is looked up and compared even when its id is unknown, and every refusal has the same words, so that
//! nobody learns which half of it was wrong. Refusals are limited by address. Beyond that ids which are not known from before
//! are looked up a few times a second only; keys that are in use pass in any case, so that a program with an old key does not
//! lock out its neighbours.

use super::Api;
use super::fresh::Fresh;
use super::guard::Trail;
use super::problem::{Kind, Problem};
use crate::secure::{SessionClaims, api_key, is_id};
use crate::server::now_ms;
use crate::server::who::Who;
use crate::store::StoreError;
use crate::store::model::{ApiKey, ApiRole, Millis, Scope, Session};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The operators' cookie. `__Host-`: from this host only, over TLS only, for all of it.
pub const COOKIE: &str = "__Host-agentcast";
/// How long an operator stays signed in.
pub const COOKIE_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How names of sign-ins begin.
pub(super) const SIGN_IN: &str = "cookie:";
/// Cookies at once; the oldest one goes.
const COOKIES: usize = 10_000;
/// How often the store learns that a key is in use.
const KEY_USED: Duration = Duration::from_secs(60);
/// Keys whose use was noted, in memory.
const KEYS: usize = 10_000;

/// Somebody with an API key (`Authorization: Bearer key_…`) or an operator's cookie.
#[derive(Clone, Debug)]
pub struct Caller(pub Who);

impl Caller {
    /// The caller, if it may do what `role` may.
    ///
    /// # Errors
    /// 403 that names the role.
    pub fn require(&self, role: ApiRole) -> Result<&Who, Problem> {
        require(&self.0, role)
    }
}

/// `who`, if it may do what `role` may.
///
/// # Errors
/// 403 that names the role.
pub fn require(who: &Who, role: ApiRole) -> Result<&Who, Problem> {
    if who.may(role) {
        return Ok(who);
    }
    let words = format!("this needs a key of role {role} or above; yours is of role {}", who.role);
    Err(Problem::new(Kind::FORBIDDEN, words))
}

/// Somebody with a session token for the session in the path: not expired, not revoked.
#[derive(Clone, Debug)]
pub struct Holder {
    pub claims: SessionClaims,
    pub session: Session,
}

/// Whoever it is: address, and what is learned about the request.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub from: Option<IpAddr>,
    pub trail: Trail,
}

/// The client's address as far as it can be known; put into every request by the router.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub Option<IpAddr>);

impl Visitor {
    pub(super) fn of(parts: &Parts) -> Visitor {
        let from = parts.extensions.get::<Client>().and_then(|client| client.0);
        Visitor { from, trail: parts.extensions.get::<Trail>().cloned().unwrap_or_default() }
    }

    /// Somebody with this API key; counted against the key's allowance.
    ///
    /// # Errors
    /// 401; 429 after too many refusals from this address, or requests with this key.
    pub async fn key(&self, api: &Api, presented: &str) -> Result<Who, Problem> {
        let key = self.known(api, presented).await?;
        api.guard.request(&key.id, &self.trail)?;
        Ok(self.admit(api, key).await)
    }

    /// Somebody with this API key who feeds a match: counted by the match, not against the key's allowance.
    ///
    /// # Errors
    /// 401; 429 after too many refusals from this address.
    pub async fn feeding_key(&self, api: &Api, presented: &str) -> Result<Who, Problem> {
        let key = self.known(api, presented).await?;
        Ok(self.admit(api, key).await)
    }

    async fn known(&self, api: &Api, presented: &str) -> Result<ApiKey, Problem> {
        let id = api_key::id(presented);
        let found = match id {
            Some(id) => {
                if !api.keys.knows(id) {
                    api.guard.lookup(self.from)?;
                }
                api.keys.read(api, id).await?
            }
            None => None,
        };
        // Compared in any case, so that an unknown id takes as long as a wrong key.
        let (key, hash) = match found {
            Some((key, hash)) => (Some(key), hash),
            None => (None, [0; 32]),
        };
        let same = api_key::matches(presented, &hash);
        let Some(key) = key.filter(|key| same && key.revoked_at.is_none()) else {
            return Err(self.refuse(api, "the API key is not known, or was revoked"));
        };
        self.trail.actor(&key.id);
        Ok(key)
    }

    /// The operator behind this cookie's value.
    pub(super) async fn cookie(&self, api: &Api, value: &str) -> Result<Who, Problem> {
        let actor = api.cookies.actor(value);
        let found = match &actor {
            Some(actor) => api.keys.read(api, actor).await?,
            None => None,
        };
        let Some((key, _)) = found.filter(|(key, _)| key.revoked_at.is_none()) else {
            return Err(self.refuse(api, "you are not signed in any more; open the page by a new link"));
        };
        self.trail.actor(&key.id);
        api.guard.request(&key.id, &self.trail)?;
        Ok(self.admit(api, key).await)
    }

    async fn admit(&self, api: &Api, key: ApiKey) -> Who {
        if api.keys.used(&key.id) {
            let (store, id, now) = (api.service.context().store.clone(), key.id.clone(), now_ms());
            // Beside the call: it must go through while the store cannot write.
            api.tasks.spawn(async move {
                // A key that was deleted meanwhile is no reason to fail; a store that is gone shows in what follows.
                if let Err(error) = store.api_key_used(&id, now).await {
                    tracing::warn!("the use of an API key was not noted: {error}");
                }
            });
        }
        Who { actor: key.id, tenant: key.tenant_id, role: key.role, from: self.from }
    }

    /// Somebody with this token for the session `id`: the token is good, the session neither expired nor revoked.
    ///
    /// # Errors
    /// 401; 429 after too many refusals from this address.
    pub async fn session(&self, api: &Api, token: &str, id: &str) -> Result<Holder, Problem> {
        let now = now_ms();
        let tokens = &api.service.context().tokens;
        let claims = tokens.check(token, Scope::Watch, now).or_else(|_| tokens.check(token, Scope::Feed, now));
        let claims = match claims {
            Ok(claims) if claims.session == id => claims,
            Ok(_) => return Err(self.refuse(api, "the session token is for another session")),
            Err(crate::secure::TokenError::Expired) => {
                // No guess: it was good once. Clients that sleep through 15 minutes are not to be locked out.
                let words = "the session token has expired; get a new one by POST /v1/sessions/{id}/token";
                return Err(Problem::new(Kind::UNAUTHORIZED, words));
            }
            Err(_) => return Err(self.refuse(api, "the session token is not valid")),
        };
        let Some(session) = api.sessions.read(api, id).await? else {
            return Err(self.refuse(api, "the session token is not valid"));
        };
        // Who may feed may watch: an overlay page of a feeding session has a token that cannot feed.
        let scope = claims.scope == session.scope || claims.scope == Scope::Watch;
        if !scope || session.view != claims.view {
            return Err(self.refuse(api, "the session token is not valid"));
        }
        still_open(&session, now)?;
        self.trail.actor(&session.id);
        Ok(Holder { claims, session })
    }

    fn refuse(&self, api: &Api, words: &str) -> Problem {
        api.guard.failed(self.from).unwrap_or_else(|| Problem::new(Kind::UNAUTHORIZED, words))
    }
}

/// Refuses a session that is over.
pub(super) fn still_open(session: &Session, now: Millis) -> Result<(), Problem> {
    let over = if session.revoked_at.is_some() {
        "the session was revoked"
    } else if session.expires_at <= now {
        "the session has expired"
    } else {
        return Ok(());
    };
    Err(Problem::new(Kind::UNAUTHORIZED, format!("{over}; open a new one by POST /v1/sessions")))
}

/// What a request brings to show who sends it.
pub(super) enum Credential<'a> {
    Key(&'a str),
    Token(&'a str),
    Cookie(&'a str),
}

impl<'a> Credential<'a> {
    pub(super) fn of(parts: &'a Parts) -> Result<Option<Credential<'a>>, Problem> {
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let bearer = value.to_str().ok().and_then(|value| {
                let (scheme, rest) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
            });
            let Some(bearer) = bearer.filter(|bearer| !bearer.is_empty()) else {
                let words = "Authorization: expected `Bearer` and an API key or a session token";
                return Err(Problem::new(Kind::UNAUTHORIZED, words));
            };
            // A session token is three parts between dots and begins as every JWT does.
            let jwt = bearer.starts_with("eyJ") && bearer.matches('.').count() == 2;
            return Ok(Some(if jwt { Credential::Token(bearer) } else { Credential::Key(bearer) }));
        }
        let Some(value) = cookie(&parts.headers) else { return Ok(None) };
        own_page(parts)?;
        Ok(Some(Credential::Cookie(value)))
    }
}

/// The value of the operators' cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// A cookie goes along with whatever a browser sends. What changes something must come from a page of ours: browsers say so
/// by `Sec-Fetch-Site`, older ones by `Origin`; neither can be set by a script.
fn own_page(parts: &Parts) -> Result<(), Problem> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) && !upgrades(&parts.headers) {
        return Ok(());
    }
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let host = host.or(parts.uri.authority().map(|authority| authority.as_str()));
            host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)))
        }
        (None, None) => false,
    };
    if own {
        Ok(())
    } else {
        Err(Problem::new(Kind::FORBIDDEN, "with a cookie only a page of this service may do this"))
    }
}

fn upgrades(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

fn nobody() -> Problem {
    Problem::new(Kind::UNAUTHORIZED, "send `Authorization: Bearer` with an API key or a session token")
}

/// `id` in the path.
pub(super) async fn path_id(parts: &mut Parts, api: &Api) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, api).await;
    let params = params.map_err(|_| Problem::new(Kind::MALFORMED, "the path cannot be read"))?;
    let id = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value.to_owned());
    id.filter(|id| is_id(id)).ok_or_else(|| Problem::not_found("session"))
}

impl FromRequestParts<Api> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Visitor, Self::Rejection> {
        Ok(Visitor::of(parts))
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Problem> {
        let visitor = Visitor::of(parts);
        let who = match Credential::of(parts)? {
            Some(Credential::Key(key)) => visitor.key(api, key).await?,
            Some(Credential::Cookie(value)) => visitor.cookie(api, value).await?,
            Some(Credential::Token(_)) => {
                let words = "a session token is for /v1/sessions/{id} only; send an API key";
                return Err(Problem::new(Kind::FORBIDDEN, words));
            }
            None => return Err(nobody()),
        };
        Ok(Caller(who))
    }
}

impl FromRequestParts<Api> for Holder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Holder, Problem> {
        let id = path_id(parts, api).await?;
        let visitor = Visitor::of(parts);
        match Credential::of(parts)? {
            Some(Credential::Token(token)) => visitor.session(api, token, &id).await,
            Some(_) => Err(Problem::new(Kind::FORBIDDEN, "this needs the session's token")),
            None => Err(nobody()),
        }
    }
}

/// Operators that are signed in by cookie: in memory only, so that a restart signs everybody out.
#[derive(Default)]
pub struct Cookies(Mutex<HashMap<[u8; 32], Signed>>);

struct Signed {
    actor: String,
    until: Instant,
}

/// An operator's sign-in, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Id of the API key that it stands for.
    pub actor: String,
    /// Until it ends.
    pub left: Duration,
}

impl Cookies {
    /// A new value for a cookie that stands for the API key `actor`. Only its hash is kept.
    pub fn issue(&self, actor: &str) -> SecretString {
        let value = crate::secure::random_hex();
        let now = Instant::now();
        let mut signed = self.lock();
        signed.retain(|_, signed| signed.until > now);
        if signed.len() >= COOKIES
            && let Some(oldest) = signed.iter().min_by_key(|(_, signed)| signed.until).map(|(hash, _)| *hash)
        {
            signed.remove(&oldest);
        }
        signed.insert(hash(value.expose_secret()), Signed { actor: actor.to_owned(), until: now + COOKIE_LIFE });
        value
    }

    /// Id of the API key that the value stands for.
    pub fn actor(&self, value: &str) -> Option<String> {
        let signed = self.lock();
        signed.get(&hash(value)).filter(|signed| signed.until > Instant::now()).map(|signed| signed.actor.clone())
    }

    /// What a connection that this value opened holds on to: a name for the sign-in that tells nothing of the value, and
    /// when it ends.
    pub fn right(&self, value: &str) -> Option<(String, Instant)> {
        let hash = hash(value);
        let until = self.lock().get(&hash)?.until;
        let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some((format!("{SIGN_IN}{name}"), until))
    }

    /// Who is signed in, sorted by actor.
    pub fn list(&self) -> Vec<SignedIn> {
        let now = Instant::now();
        let signed = self.lock();
        let open = signed.values().filter(|signed| signed.until > now);
        let mut list: Vec<_> =
            open.map(|signed| SignedIn { actor: signed.actor.clone(), left: signed.until - now }).collect();
        list.sort_by(|a, b| a.actor.cmp(&b.actor).then(a.left.cmp(&b.left)));
        list
    }

    /// Signs one out.
    pub fn drop_value(&self, value: &str) {
        self.lock().remove(&hash(value));
    }

    /// Signs out everybody who came by this API key.
    pub fn drop_actor(&self, actor: &str) {
        self.lock().retain(|_, signed| signed.actor != actor);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Signed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looked up by hash: neither the map's comparison nor a dump of memory tells a value.
fn hash(value: &str) -> [u8; 32] {
    Sha256::digest(value.as_bytes()).into()
}

/// API keys with their hashes, and when their use was noted.
#[derive(Default)]
pub struct Keys {
    read: Fresh<(ApiKey, [u8; 32])>,
    noted: Mutex<HashMap<String, Instant>>,
}

impl Keys {
    async fn read(&self, api: &Api, id: &str) -> Result<Option<(ApiKey, [u8; 32])>, Problem> {
        Ok(self.read.read(id, api.service.context().store.api_key(id)).await?)
    }

    /// Whether the store knew the key when it was asked last.
    fn knows(&self, id: &str) -> bool {
        self.read.knows(id)
    }

    /// True when the store is to be told that the key is in use.
    fn used(&self, id: &str) -> bool {
        let now = Instant::now();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(id).is_some_and(|noted| now - *noted < KEY_USED) {
            return false;
        }
        if noted.len() >= KEYS {
            noted.retain(|_, noted| now - *noted < KEY_USED);
        }
        noted.insert(id.to_owned(), now);
        true
    }

    /// The key was changed: read it anew.
    pub fn forget(&self, id: &str) {
        self.read.forget(id);
    }
}

/// Sessions.
#[derive(Default)]
pub struct Sessions(Fresh<Session>);

impl Sessions {
    /// Whosever it is; None: there is no such session.
    pub(super) async fn read(&self, api: &Api, id: &str) -> Result<Option<Session>, Problem> {
        let look = async {
            match api.service.context().store.session(None, id).await {
                Ok(session) => Ok(Some(session)),
                Err(StoreError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(self.0.read(id, look).await?)
    }

    /// The session was changed: read it anew.
    pub fn forget(&self, id: &str) {
        self.0.forget(id);
    }
}
