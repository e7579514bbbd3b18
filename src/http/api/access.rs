//! Who may do what with a session: its token, or an API key of its tenant. [`Feeder`] and [`Watcher`] are for the session in
//! the path, with the token or key in `Authorization`; `introduced` is for sockets of browsers, which cannot set fields.

use super::Api;
use super::auth::{Credential, Holder, Visitor, path_id, require, still_open};
use super::line::{Close, Heard, Line, code};
use super::live::Over;
use super::problem::{Kind, Problem};
use crate::game::View;
use crate::secure::SessionClaims;
use crate::server::matches::LiveMatch;
use crate::server::now_ms;
use crate::store::model::{ApiRole, Millis, Scope, Session};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The right to use a session that is neither expired nor revoked.
#[derive(Clone, Debug)]
pub struct Access {
    pub session: Session,
    /// Id of the session or of the API key.
    pub actor: String,
    /// What the token, or the key's role, may do with it.
    pub scope: Scope,
    /// When the token expires, Unix ms; None with an API key.
    expires: Option<Millis>,
    /// The sign-in of a browser, and when it ends.
    sign_in: Option<(String, std::time::Instant)>,
}

/// Somebody who may feed the session in the path: its token, or an API key of role game or above of its tenant.
#[derive(Clone, Debug)]
pub struct Feeder(pub Access);

/// Somebody who may watch the session in the path: its token (of either scope), or an API key of its tenant; one of role game
/// or above where the view is a side's, operator or above where it is `all`. What may be seen is `session.view`.
#[derive(Clone, Debug)]
pub struct Watcher(pub Access);

impl Access {
    /// The session in the path and who comes with it; None without any credential.
    async fn of(parts: &mut Parts, api: &Api, scope: Scope) -> Result<Option<Access>, Problem> {
        let id = path_id(parts, api).await?;
        let visitor = Visitor::of(parts);
        let mut sign_in = None;
        let who = match Credential::of(parts)? {
            Some(Credential::Token(token)) => {
                return Access::by_token(&visitor, api, token, &id, scope).await.map(Some);
            }
            // Events are counted by the match.
            Some(Credential::Key(key)) if scope == Scope::Feed => visitor.feeding_key(api, key).await?,
            Some(Credential::Key(key)) => visitor.key(api, key).await?,
            Some(Credential::Cookie(value)) => {
                let who = visitor.cookie(api, value).await?;
                sign_in = api.cookies.right(value);
                who
            }
            None => return Ok(None),
        };
        require(&who, if scope == Scope::Feed { ApiRole::Game } else { ApiRole::Viewer })?;
        let session = api.sessions.read(api, &id).await?;
        let own = |session: &Session| who.tenant().is_none_or(|tenant| session.tenant_id == tenant);
        let session = session.filter(own).ok_or_else(|| Problem::not_found("session"))?;
        if scope == Scope::Watch {
            require(&who, least(&session.view))?;
        }
        usable(&session)?;
        let may = if who.may(ApiRole::Game) { session.scope } else { Scope::Watch };
        let access = Access { session, actor: who.actor, scope: may, expires: None, sign_in };
        access.for_scope(scope).map(Some)
    }

    async fn by_token(visitor: &Visitor, api: &Api, token: &str, id: &str, scope: Scope) -> Result<Access, Problem> {
        if scope == Scope::Watch {
            api.guard.address(visitor.from, &visitor.trail)?;
        }
        let Holder { claims, session } = visitor.session(api, token, id).await?;
        let SessionClaims { scope: of, expires, .. } = claims;
        if scope == Scope::Feed && of == Scope::Watch {
            return Err(Problem::new(Kind::FORBIDDEN, "this token may watch, not feed"));
        }
        let actor = session.id.clone();
        Access { session, actor, scope: of, expires: Some(expires.saturating_mul(1_000)), sign_in: None }
            .for_scope(scope)
    }

    fn for_scope(self, scope: Scope) -> Result<Access, Problem> {
        match (scope, self.session.scope) {
            (Scope::Feed, Scope::Watch) => {
                Err(Problem::new(Kind::FORBIDDEN, "this session may watch, not feed; open one of scope feed"))
            }
            _ => Ok(self),
        }
    }

    /// What may be seen.
    pub(super) fn view(&self) -> Result<View, Problem> {
        self.session.view.parse().map_err(|error| Problem::internal(format!("session {}: {error}", self.session.id)))
    }

    /// The match, while it is not closed.
    pub(super) fn live(&self, api: &Api) -> Result<LiveMatch, Problem> {
        let found = api.service.matches().get(&self.session.match_id);
        found.ok_or_else(|| Problem::new(Kind::CONFLICT, "the match is closed"))
    }

    /// What holds a connection open, and until when.
    pub(super) fn rights(&self, api: &Api) -> (Vec<watch::Receiver<Option<Over>>>, Instant) {
        let store = &api.service.context().store;
        let watch = |id: &str| api.live.gate.watch(store, id, &api.tasks);
        let mut rights = vec![watch(&self.session.id)];
        if self.actor.starts_with("key_") {
            rights.push(watch(&self.actor));
        }
        let until = self.expires.map_or(self.session.expires_at, |expires| expires.min(self.session.expires_at));
        let left = u64::try_from(until.saturating_sub(now_ms())).unwrap_or(0);
        let mut end = Instant::now() + Duration::from_millis(left);
        if let Some((id, until)) = &self.sign_in {
            rights.push(watch(id));
            end = end.min(Instant::from_std(*until));
        }
        (rights, end)
    }
}

/// The least role of an API key that may see this view, or hand it on: a side's hidden cards and thoughts are for its game
/// server, everything together for operators.
pub(super) fn least(view: &str) -> ApiRole {
    match view.parse() {
        Ok(View::Spectator) => ApiRole::Viewer,
        Ok(View::Side(_)) => ApiRole::Game,
        Ok(View::All) | Err(_) => ApiRole::Operator,
    }
}

/// Refuses a session that is over, to callers who may know it.
pub(super) fn usable(session: &Session) -> Result<(), Problem> {
    still_open(session, now_ms()).map_err(|problem| Problem::new(Kind::CONFLICT, problem.detail))
}

fn nobody() -> Problem {
    Problem::new(Kind::UNAUTHORIZED, "send `Authorization: Bearer` with the session's token or an API key")
}

impl OptionalFromRequestParts<Api> for Feeder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Option<Feeder>, Problem> {
        Ok(Access::of(parts, api, Scope::Feed).await?.map(Feeder))
    }
}

impl FromRequestParts<Api> for Feeder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Feeder, Problem> {
        Access::of(parts, api, Scope::Feed).await?.map(Feeder).ok_or_else(nobody)
    }
}

impl OptionalFromRequestParts<Api> for Watcher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Option<Watcher>, Problem> {
        Ok(Access::of(parts, api, Scope::Watch).await?.map(Watcher))
    }
}

impl FromRequestParts<Api> for Watcher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Watcher, Problem> {
        Access::of(parts, api, Scope::Watch).await?.map(Watcher).ok_or_else(nobody)
    }
}

/// How long a WebSocket may take to say who it is.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);

/// The first message of a socket whose handshake had no credentials, and later ones with newer tokens.
#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Word {
    Auth { token: String },
}

/// Waits for `{"type":"auth","token":"…"}` on a socket that was opened without credentials.
pub(super) async fn introduced(
    api: &Api,
    visitor: &Visitor,
    line: &mut Line,
    id: &str,
    scope: Scope,
) -> Result<Access, Close> {
    let no_one = |reason| Close { code: code::UNAUTHORIZED, reason };
    let heard = tokio::time::timeout(FIRST_MESSAGE, async {
        loop {
            match line.next().await {
                Heard::Text(text) => return Ok(text),
                Heard::Quiet => {}
                Heard::End(close) => return Err(close),
                Heard::Gone => return Err(no_one("gone")),
            }
        }
    });
    let text = heard.await.map_err(|_| no_one("no auth message came within 5 s"))??;
    let Ok(Word::Auth { token }) = serde_json::from_str(&text) else {
        return Err(no_one("the first message must be {\"type\":\"auth\",\"token\":\"…\"}"));
    };
    admit(api, visitor, &token, id, scope).await
}

/// Checks a token that came in a message.
pub(super) async fn admit(api: &Api, visitor: &Visitor, token: &str, id: &str, scope: Scope) -> Result<Access, Close> {
    Access::by_token(visitor, api, token, id, scope).await.map_err(|problem| match problem.status {
        401 => Close { code: code::UNAUTHORIZED, reason: "the session token is not valid, or no more" },
        403 => Close { code: code::UNAUTHORIZED, reason: "the session token is not for this" },
        429 => Close { code: code::AGAIN, reason: "too many refused tokens from this address" },
        _ => Close { code: code::AGAIN, reason: "the token could not be checked; try again" },
    })
}
