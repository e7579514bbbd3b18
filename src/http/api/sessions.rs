//! Sessions: the right to feed or to watch one match. `/v1/sessions`.

use super::Api;
use super::access::{Watcher, least, usable};
use super::auth::{Caller, Visitor, require};
use super::codes::{CODE_TTL_MS, Grant};
use super::extract::{Create, Id, List, Paging, Query};
use super::guard::{Made, OnceHeader};
use super::matches::{MatchNew, audit, closed, make};
use super::problem::{Kind, Problem};
use crate::game::View;
use crate::game::limits::ID_CHARS;
use crate::secure::{TOKEN_TTL, is_id, new_id};
use crate::server::now_ms;
use crate::server::who::Who;
use crate::store::model::{ApiRole, Match, MatchPhase, Millis, Scope, Session};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(post_session, list_sessions))
        .routes(routes!(get_session, delete_session))
        .routes(routes!(post_token))
        .routes(routes!(post_code))
}

/// Seconds that a session may last.
const TTL_S: RangeInclusive<u32> = 60..=30 * 86_400;
const DAY_S: u32 = 86_400;

/// A session that is to be opened, for a match that is there or for one that is made in the same call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SessionNew {
    pub scope: Scope,
    /// Id of a match that is not closed. Either this or `match`.
    pub match_id: Option<String>,
    /// The match to make. Either this or `matchId`.
    #[serde(rename = "match")]
    pub new_match: Option<MatchNew>,
    /// Through whose eyes it watches: `spectator` (default), `side:<id>`, or `all`, which takes a key of role operator.
    #[schema(pattern = "^(spectator|all|side:.{1,64})$")]
    pub view: Option<String>,
    /// 60 to 2,592,000; default 86,400.
    #[serde(default, deserialize_with = "crate::server::roster::whole_u32")]
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub ttl_seconds: Option<u32>,
}

/// A new session. Token and code are shown once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionMade {
    pub session: Session,
    #[serde(rename = "match")]
    pub of: Match,
    /// For `Authorization: Bearer`; 15 minutes, then a new one by `POST /v1/sessions/{id}/token`.
    pub token: String,
    pub token_expires_at: Millis,
    /// For a browser, once, within 60 s. Null when too many wait: `POST /v1/sessions/{id}/code`.
    pub code: Option<String>,
    /// The overlay page with that code.
    pub overlay_url: String,
    /// Where events are posted; null for a session that watches.
    pub events_url: Option<String>,
    /// The WebSocket for feeding; null for a session that watches.
    pub feed_url: Option<String>,
    pub state_url: String,
    /// The WebSocket or stream of events for watching.
    pub watch_url: String,
}

/// A token of a session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenMade {
    pub token: String,
    pub token_expires_at: Millis,
    /// The same from now, s.
    pub expires_in: u64,
    pub scope: Scope,
}

/// A one-time code for a browser.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeMade {
    /// Good once.
    pub code: String,
    pub code_expires_at: Millis,
    /// The overlay page with it.
    pub overlay_url: String,
}

/// Opens a session, and with `match` its match in the same call. Repeated with its Idempotency-Key it gives the same session
/// with a new token and code, as long as the caller may have them and the session is not over (409).
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions",
    params(OnceHeader), request_body = SessionNew,
    responses((status = 201, description = "The session with its token and addresses", body = SessionMade,
        headers(("Location" = String, description = "its address")))),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn post_session(
    State(api): State<Api>,
    caller: Caller,
    visitor: Visitor,
    Create { body, once }: Create<SessionNew>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Game)?;
    api.guard.session(who, &visitor.trail)?;
    // What is remembered for a repeated call names the session; a token is made anew for each answer.
    let made = once.run(&api, who, async { Made::created(&open(&api, who, body).await?) }).await?;
    let store = &api.service.context().store;
    let session = store.session(who.tenant(), made.text("id")).await?;
    // A repeated call comes with the same Idempotency-Key, not necessarily with the same role, and the session may be over.
    require(who, least(&session.view))?;
    usable(&session)?;
    let of = match api.service.matches().get(&session.match_id) {
        Some(live) => live.record(),
        None => store.match_(who.tenant(), &session.match_id).await?,
    };
    let token = token(&api, &session, session.scope);
    let code = code(&api, &session).ok();
    let base = base_url(&api);
    let socket = base.replacen("http", "ws", 1);
    let path = format!("/v1/sessions/{}", session.id);
    let feeds = session.scope == Scope::Feed;
    let answer = SessionMade {
        token_expires_at: token.expires,
        token: token.text.expose_secret().to_owned(),
        overlay_url: overlay_url(&base, code.as_ref()),
        code: code.map(|code| code.expose_secret().to_owned()),
        events_url: feeds.then(|| format!("{base}{path}/events")),
        feed_url: feeds.then(|| format!("{socket}{path}/feed")),
        state_url: format!("{base}{path}/state"),
        watch_url: format!("{socket}{path}/watch"),
        session,
        of,
    };
    let mut response = (StatusCode::CREATED, [(header::LOCATION, path)], secret(Json(answer))).into_response();
    if made.replayed {
        let replayed = HeaderName::from_static("idempotency-replayed");
        response.headers_mut().insert(replayed, axum::http::HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn open(api: &Api, who: &Who, new: SessionNew) -> Result<Session, Problem> {
    let SessionNew { scope, match_id, new_match, view, ttl_seconds } = new;
    let view = check_view(view.as_deref().unwrap_or("spectator"))?;
    require(who, least(&view.to_string()))?;
    let ttl = ttl_seconds.unwrap_or(DAY_S);
    if !TTL_S.contains(&ttl) {
        let words = format!("expected {} to {} seconds", TTL_S.start(), TTL_S.end());
        return Err(Problem::field("ttlSeconds", words).limit((*TTL_S.end()).into()));
    }
    let context = api.service.context();
    let of = match (match_id, new_match) {
        (Some(id), None) => {
            if !is_id(&id) {
                return Err(Problem::not_found("match"));
            }
            let of = context.store.match_(who.tenant(), &id).await?;
            if of.phase == MatchPhase::Closed {
                return Err(closed());
            }
            of
        }
        (None, Some(new)) => make(api, who, new)
            .await
            .map_err(|problem| Problem { field: problem.field.map(|field| format!("match.{field}")), ..problem })?,
        (None, None) => return Err(Problem::field("matchId", "it is missing; or send `match` to make one")),
        (Some(_), Some(_)) => return Err(Problem::field("match", "send either `matchId` or `match`")),
    };
    let now = now_ms();
    let session = Session {
        id: new_id("ses"),
        tenant_id: of.tenant_id,
        match_id: of.id,
        scope,
        view: view.to_string(),
        created_by: Some(who.actor.clone()),
        created_at: now,
        expires_at: now + i64::from(ttl) * 1_000,
        revoked_at: None,
    };
    context.store.add_session(&session).await?;
    let details = serde_json::json!({ "matchId": session.match_id, "scope": scope, "view": session.view });
    audit(api, who, Some(session.tenant_id.clone()), "session.opened", &session.id, details).await?;
    tell(api, &session, "open");
    Ok(session)
}

fn check_view(text: &str) -> Result<View, Problem> {
    let expected = || Problem::field("view", "expected `spectator`, `side:<id>` or `all`");
    match text.parse().map_err(|_| expected())? {
        View::Side(id) if text != format!("side:{id}") => Err(expected()),
        View::Side(id) if id.chars().count() > ID_CHARS || id.chars().any(char::is_control) => {
            Err(Problem::field("view", format!("the side's id has at most {ID_CHARS} characters"))
                .limit(ID_CHARS as u64))
        }
        view => Ok(view),
    }
}

fn tell(api: &Api, session: &Session, state: &str) {
    let data = serde_json::json!({ "state": state, "matchId": session.match_id, "scope": session.scope });
    api.service.context().bus.tell(Some(&session.tenant_id), "session", &session.id, data);
}

pub(super) struct Token {
    pub text: SecretString,
    /// Unix ms.
    pub expires: Millis,
    /// The same from now, s.
    pub in_s: u64,
}

/// A token of the session for this scope, until the session expires or 15 minutes are over.
pub(super) fn token(api: &Api, session: &Session, scope: Scope) -> Token {
    let now = now_ms();
    let left = u64::try_from(session.expires_at.saturating_sub(now)).unwrap_or(0);
    // Tokens count whole seconds.
    let ttl = Duration::from_secs((left / 1_000).min(TOKEN_TTL.as_secs()));
    let text = api.service.context().tokens.sign(&session.id, scope, &session.view, ttl, now);
    Token { text, expires: (now / 1_000) * 1_000 + ttl.as_millis() as i64, in_s: ttl.as_secs() }
}

/// A code for the session's overlay page: it may watch, whatever the session may.
pub(super) fn code(api: &Api, session: &Session) -> Result<SecretString, Problem> {
    let grant = Grant::Session { session: session.id.clone(), scope: Scope::Watch, view: session.view.clone() };
    api.codes
        .issue(grant, Some(&session.tenant_id), now_ms())
        .map_err(|error| Problem::new(Kind::TOO_FAST, error.to_string()).retry_after(error.retry_s))
}

/// Where the outside reaches the service, without a slash at the end.
pub(super) fn base_url(api: &Api) -> String {
    let config = api.service.context().config();
    let url = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    url.trim_end_matches('/').to_owned()
}

/// A code stands in the fragment, which browsers send nowhere.
pub(super) fn overlay_url(base: &str, code: Option<&SecretString>) -> String {
    match code {
        Some(code) => format!("{base}/stream/overlay#code={}", code.expose_secret()),
        None => format!("{base}/stream/overlay"),
    }
}

/// Not for caches.
fn secret(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// Sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", params(Paging),
    responses((status = 200, description = "A page of sessions", body = List<Session>)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn list_sessions(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Session>>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let mut page = api.service.context().store.sessions(who.tenant(), &paging.request()?).await?;
    page.items.iter_mut().for_each(|session| show_to(who, session));
    Ok(Json(page.into()))
}

/// A session.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "id of the session")),
    responses((status = 200, description = "The session", body = Session)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn get_session(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Json<Session>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let mut session = api.service.context().store.session(who.tenant(), &id).await?;
    show_to(who, &mut session);
    Ok(Json(session))
}

/// Which keys there are is not for those who only look.
fn show_to(who: &Who, session: &mut Session) {
    if !who.may(ApiRole::Game) {
        session.created_by = None;
    }
}

/// Revokes a session: its tokens are refused from now on, and its open sockets close within 5 s. Done already: nothing
/// happens.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "id of the session")),
    responses((status = 204, description = "It is revoked")),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn delete_session(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let who = caller.require(ApiRole::Game)?;
    let store = &api.service.context().store;
    let session = store.session(who.tenant(), &id).await?;
    if session.revoked_at.is_none() {
        store.revoke_session(who.tenant(), &id, now_ms()).await?;
        api.sessions.forget(&id);
        api.live.gate.revoked(&id);
        audit(&api, who, Some(session.tenant_id.clone()), "session.revoked", &id, serde_json::Value::Null).await?;
        tell(&api, &session, "revoked");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A new token: of the same scope as the token that came, or of the session's with an API key of role game or above.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/token", tag = "sessions",
    params(("id" = String, Path, description = "id of the session")),
    responses(
        (status = 200, description = "The token", body = TokenMade),
        (status = 429, description = "Too many, of this session from this address", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn post_token(
    State(api): State<Api>,
    Watcher(access): Watcher,
    visitor: Visitor,
) -> Result<Response, Problem> {
    api.live.renewal(&access.session.id, &visitor)?;
    let Token { text, expires, in_s } = token(&api, &access.session, access.scope);
    let (token, scope) = (text.expose_secret().to_owned(), access.scope);
    let answer = TokenMade { token, token_expires_at: expires, expires_in: in_s, scope };
    Ok(secret(Json(answer)))
}

/// A new one-time code for the session's overlay page. At most 16 of a session wait; the oldest one goes.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/code", tag = "sessions",
    params(("id" = String, Path, description = "id of the session")),
    responses(
        (status = 200, description = "The code", body = CodeMade),
        (status = 429, description = "Too many, of this session from this address, or of all", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn post_code(
    State(api): State<Api>,
    Watcher(access): Watcher,
    visitor: Visitor,
) -> Result<Response, Problem> {
    api.live.renewal(&access.session.id, &visitor)?;
    let code = code(&api, &access.session)?;
    let answer = CodeMade {
        overlay_url: overlay_url(&base_url(&api), Some(&code)),
        code: code.expose_secret().to_owned(),
        code_expires_at: now_ms() + CODE_TTL_MS,
    };
    Ok(secret(Json(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_spectator_a_side_or_all_and_nothing_else() {
        assert_eq!(check_view("spectator").unwrap(), View::Spectator);
        assert_eq!(check_view("side:white").unwrap(), View::Side("white".into()));
        assert_eq!(check_view("all").unwrap(), View::All);
        let long = format!("side:{}", "x".repeat(65));
        for bad in ["", "white", "side:", "ALL", &long, "side:a\nb"] {
            assert_eq!(check_view(bad).unwrap_err().field.as_deref(), Some("view"), "{bad}");
        }
    }
}
