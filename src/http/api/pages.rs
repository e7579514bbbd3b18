//! What browsers open: one-time codes, operators' cookies, the overlay page.
//!
//! No token stands in an address. A code does, in the fragment, which browsers send nowhere; the page takes it out of the
//! address, exchanges it once and keeps what it gets in memory (an overlay page) or in a cookie that no script can read (an
//! operator's page).

use super::Api;
use super::auth::{COOKIE, COOKIE_LIFE, Caller, Visitor, cookie};
use super::codes::{CODE_TTL_MS, Grant};
use super::extract::Json as Body;
use super::matches::audit;
use super::problem::{Kind, Problem};
use super::sessions::{base_url, code, token};
use crate::http::is_loopback;
use crate::server::now_ms;
use crate::store::model::{ApiRole, Millis, Scope};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(operator_code))
        .routes(routes!(exchange))
        .routes(routes!(sign_out))
        .route("/stream/overlay", get(overlay))
}

const OVERLAY: &str = include_str!("../overlay.html");

/// Sources of the page's one script and one style for its policy: nothing else runs.
static HASHES: LazyLock<(String, String)> = LazyLock::new(|| (hash(OVERLAY, "script"), hash(OVERLAY, "style")));

fn hash(page: &str, tag: &str) -> String {
    let inner = page.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
    let inner = inner.map_or("", |(inner, _)| inner);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner.as_bytes())))
}

/// A code for an operator's page.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorCode {
    /// Good once.
    pub code: String,
    pub code_expires_at: Millis,
}

/// A one-time code that signs a browser in as this API key: for 12 hours, or until it signs out or the key is revoked. A
/// browser that is signed in gets none.
#[utoipa::path(
    post, path = "/v1/operator-code", tag = "pages",
    responses((status = 200, description = "The code", body = OperatorCode)),
    security(("apiKey" = []))
)]
pub(super) async fn operator_code(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    // Else a cookie would renew itself for ever.
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(Problem::new(Kind::FORBIDDEN, "send an API key; a cookie makes no codes"));
    }
    let now = now_ms();
    let code = api.codes.issue(Grant::Operator(who.clone()), who.tenant(), now);
    let code = code.map_err(|e| Problem::new(Kind::TOO_FAST, e.to_string()).retry_after(e.retry_s))?;
    audit(&api, who, who.tenant.clone(), "operator.code", &who.actor, serde_json::Value::Null).await?;
    let answer = OperatorCode { code: code.expose_secret().to_owned(), code_expires_at: now + CODE_TTL_MS };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// A code to exchange.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    #[schema(max_length = 128)]
    pub code: String,
}

/// What a code was good for.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Exchanged {
    /// The page may watch.
    #[serde(rename_all = "camelCase")]
    Session {
        session_id: String,
        /// For `Authorization`, or the first message of a WebSocket.
        token: String,
        token_expires_at: Millis,
        /// The same from now, s.
        expires_in: u64,
        /// What it may see.
        view: String,
    },
    /// The browser has a cookie now.
    Operator { role: ApiRole },
}

/// Exchanges a one-time code, for pages of this service only: a session's code for a token that may watch, an operator's code
/// for a cookie.
#[utoipa::path(
    post, path = "/stream/exchange", tag = "pages", request_body = Exchange,
    params(("Origin" = String, Header, description = "set by browsers: this service's own origin")),
    responses((status = 200, description = "What it was good for", body = Exchanged,
        headers(("Set-Cookie" = Option<String>, description = "with an operator's code")))),
    security(())
)]
pub(super) async fn exchange(
    State(api): State<Api>,
    visitor: Visitor,
    uri: Uri,
    headers: HeaderMap,
    Body(Exchange { code }): Body<Exchange>,
) -> Result<Response, Problem> {
    // Before the code is touched: another site must not even use one up.
    let config = api.service.context().config();
    if !same_origin(&headers, &uri, config.public_url.as_deref()) {
        return Err(Problem::new(Kind::FORBIDDEN, "only a page of this service may exchange a code"));
    }
    let refused = || {
        let words = "the code was used, is too old, or never was; make a new one";
        api.guard.failed(visitor.from).unwrap_or_else(|| Problem::new(Kind::UNAUTHORIZED, words))
    };
    let store = &api.service.context().store;
    let now = now_ms();
    let mut response = match api.codes.take(&code, now) {
        None => return Err(refused()),
        Some(Grant::Session { session, scope: _, view: _ }) => {
            let session = match store.session(None, &session).await {
                Ok(session) if session.revoked_at.is_none() && session.expires_at > now => session,
                Ok(_) | Err(crate::store::StoreError::NotFound(_)) => return Err(refused()),
                Err(error) => return Err(error.into()),
            };
            visitor.trail.actor(&session.id);
            let made = token(&api, &session, Scope::Watch);
            Json(Exchanged::Session {
                session_id: session.id,
                token: made.text.expose_secret().to_owned(),
                token_expires_at: made.expires,
                expires_in: made.in_s,
                view: session.view,
            })
            .into_response()
        }
        Some(Grant::Operator(who)) => {
            if !matches!(store.api_key(&who.actor).await?, Some((key, _)) if key.revoked_at.is_none()) {
                return Err(refused());
            }
            visitor.trail.actor(&who.actor);
            // The code is spent in any case: it came over the wire as everybody could read it.
            if !cookies_hold(&headers) {
                let words = "the browser keeps no sign-in of a page without TLS: put a proxy with TLS before the service, \
                             set PUBLIC_URL to its https:// address and open the page there";
                return Err(Problem::new(Kind::CONFLICT, words));
            }
            let value = api.cookies.issue(&who.actor);
            let cookie = format!(
                "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={}",
                value.expose_secret(),
                COOKIE_LIFE.as_secs()
            );
            let mut cookie =
                HeaderValue::try_from(cookie).map_err(|_| Problem::internal("a cookie has odd letters"))?;
            cookie.set_sensitive(true);
            let mut response = Json(Exchanged::Operator { role: who.role }).into_response();
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Signs this browser out: its cookie is good for nothing any more, and what it holds open ends.
#[utoipa::path(
    delete, path = "/stream/session", tag = "pages",
    responses((status = 204, description = "Signed out")),
    security(("cookie" = []))
)]
pub(super) async fn sign_out(State(api): State<Api>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    let value = cookie(&headers).filter(|_| !headers.contains_key(header::AUTHORIZATION));
    let Some(value) = value else {
        return Err(Problem::new(Kind::FORBIDDEN, "this is for browsers that are signed in by cookie"));
    };
    if let Some((id, _)) = api.cookies.right(value) {
        api.cookies.drop_value(value);
        api.live.gate.revoked(&id);
    }
    let who = &caller.0;
    audit(&api, who, who.tenant.clone(), "operator.sign-out", &who.actor, serde_json::Value::Null).await?;
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Whether the browser keeps a `Secure` cookie: over TLS, and on this machine without.
fn cookies_hold(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    match origin.split_once("://") {
        Some(("https", _)) => true,
        Some((_, authority)) => is_loopback(authority),
        None => false,
    }
}

/// Whether a browser says that a page of this service asks. `Origin` and `Sec-Fetch-Site` are the browser's own words; no
/// script can set them.
fn same_origin(headers: &HeaderMap, uri: &Uri, public: Option<&str>) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return false };
    if text(header::HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    if public.is_some_and(|public| public.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = text(header::HOST).or(uri.authority().map(|authority| authority.as_str()));
    let here = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
    // With a public address other names lead here by accident or by somebody's DNS; this machine's own stay good.
    here && matches!(scheme, "http" | "https") && (public.is_none() || is_loopback(authority))
}

/// The overlay page; with `sessionId` and `token` in the query, the form that older game pages use, a redirect to it at once.
async fn overlay(State(api): State<Api>, visitor: Visitor, RawQuery(query): RawQuery) -> Response {
    match query.as_deref().and_then(old_form) {
        Some((session, token)) => redirect(&api, &visitor, &session, &token).await,
        None => page(&api),
    }
}

#[derive(Deserialize)]
struct OldForm {
    #[serde(rename = "sessionId")]
    session: Option<String>,
    token: Option<String>,
}

/// Session and token of the old form; empty where one is missing.
fn old_form(query: &str) -> Option<(String, String)> {
    let uri = Uri::try_from(format!("/?{query}")).ok()?;
    // A name given twice is refused as it should be: by an empty token.
    let form = axum::extract::Query::<OldForm>::try_from_uri(&uri).map(|q| q.0);
    let OldForm { session, token } = form.unwrap_or(OldForm { session: None, token: Some(String::new()) });
    (session.is_some() || token.is_some()).then(|| (session.unwrap_or_default(), token.unwrap_or_default()))
}

async fn redirect(api: &Api, visitor: &Visitor, session: &str, token: &str) -> Response {
    let found = match visitor.session(api, token, session).await {
        Ok(holder) => api.guard.renewal(session, visitor).and_then(|()| code(api, &holder.session)),
        Err(problem) => Err(problem),
    };
    let location = found.map(|code| HeaderValue::try_from(format!("/stream/overlay#code={}", code.expose_secret())));
    match location {
        Ok(Ok(mut location)) => {
            location.set_sensitive(true);
            let mut response = (StatusCode::SEE_OTHER, plain_fields()).into_response();
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Ok(Err(error)) => Problem::internal(error).into_response(),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
            // Words of ours only; nothing of the query.
            let words = match status {
                StatusCode::TOO_MANY_REQUESTS => "Too many attempts. Try again in a minute.",
                StatusCode::UNAUTHORIZED => "This link is not valid any more. Open a new one.",
                _ => "This does not work at the moment. Try again.",
            };
            let page = format!("<!doctype html><meta charset=utf-8><title>agentcast</title><p>{words}");
            (status, plain_fields(), Html(page)).into_response()
        }
    }
}

fn plain_fields() -> [(header::HeaderName, &'static str); 2] {
    [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")]
}

fn page(api: &Api) -> Response {
    let config = api.service.context().config();
    let policy = policy(&config.http.frame_ancestors, &base_url(api));
    let mut response = (plain_fields(), Html(OVERLAY)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert(
        "permissions-policy",
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), display-capture=()"),
    );
    response
}

/// What the page may do: run its own script and style, and talk to this service.
fn policy(ancestors: &[String], base: &str) -> HeaderValue {
    let (script, style) = &*HASHES;
    // One source a word: anything else could add a directive.
    let plain = |source: &&String| !source.is_empty() && !source.contains([';', ',', ' ', '\t', '\r', '\n']);
    let ancestors: Vec<&str> = ancestors.iter().filter(plain).map(String::as_str).collect();
    let ancestors = if ancestors.is_empty() { "'none'".to_owned() } else { ancestors.join(" ") };
    // Some browsers do not take 'self' for WebSockets.
    let socket = base.replacen("http", "ws", 1);
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self' {socket}; base-uri 'none'; \
         form-action 'none'; frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let closed = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    HeaderValue::try_from(policy).unwrap_or(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(fields: &[(&'static str, &'static str)], public: Option<&str>) -> bool {
        let fields =
            fields.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        same_origin(&fields.collect(), &Uri::from_static("/stream/exchange"), public)
    }

    #[test]
    fn a_code_is_exchanged_for_pages_of_this_service_only() {
        let host = ("host", "cast.example.com");
        let own = ("origin", "https://cast.example.com");
        assert!(asks(&[host, own], None));
        assert!(asks(&[host, own, ("sec-fetch-site", "same-origin")], None));
        assert!(!asks(&[host], None), "no browser");
        assert!(!asks(&[host, ("origin", "null")], None), "a sandboxed frame");
        assert!(!asks(&[host, ("origin", "https://evil.example.com")], None));
        assert!(!asks(&[host, own, ("sec-fetch-site", "same-site")], None));
        assert!(!asks(&[host, own, ("sec-fetch-site", "cross-site")], None));
        let public = Some("https://cast.example.com/");
        assert!(asks(&[("host", "10.0.0.7:8080"), own], public), "behind a proxy that has its own Host");
        assert!(!asks(&[("host", "evil.example.com"), ("origin", "https://evil.example.com")], public), "their DNS");
        assert!(asks(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], public));
    }

    #[test]
    fn the_old_form_is_known_by_its_names() {
        let both = Some(("s".to_owned(), "t".to_owned()));
        assert_eq!(old_form("sessionId=s&token=t"), both);
        assert_eq!(old_form("token=t&x=1&sessionId=s"), both);
        assert_eq!(old_form("token=t"), Some((String::new(), "t".into())));
        assert_eq!(old_form("token=t&token=u&sessionId=s"), Some((String::new(), String::new())));
        assert_eq!(old_form("theme=paper"), None);
    }

    #[test]
    fn the_pages_policy_lets_its_own_script_run_and_takes_no_directive_from_settings() {
        let said = |ancestors: &[&str]| {
            let ancestors: Vec<String> = ancestors.iter().map(|&a| a.to_owned()).collect();
            policy(&ancestors, "https://cast.example.com").to_str().unwrap().to_owned()
        };
        let text = said(&[]);
        assert!(text.contains("script-src 'sha256-") && text.contains("frame-ancestors 'none'"), "{text}");
        assert!(text.contains("connect-src 'self' wss://cast.example.com;") && !text.contains("unsafe"), "{text}");
        assert!(said(&["https://game.example.com"]).contains("frame-ancestors https://game.example.com;"));
        assert!(said(&["x; script-src *"]).contains("frame-ancestors 'none'"));
        assert!(!OVERLAY.contains("innerHTML") && !OVERLAY.contains("http://") && !OVERLAY.contains("https://"));
    }
}
