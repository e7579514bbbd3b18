//! What wraps every route, from the outside in: request id, access log and fields of every answer; CORS; compression; time
//! limits, and calls that change something run to their end even when the caller hangs up; panics as problems.

use super::Api;
use super::auth::Client;
use super::extract::{BODY_BYTES, BodyLimit};
use super::guard::{IDEMPOTENCY_KEY, RATE_LIMIT, RATE_LIMIT_POLICY, REPLAYED, Trail};
use super::problem::{Kind, Problem};
use crate::http::server::Guest;
use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The head of an answer to a call that only reads takes at most this long.
const READ_TIME: Duration = Duration::from_secs(30);
/// The same for a call that changes something, its body included.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// Smaller answers are not worth compressing.
const COMPRESS_BYTES: u16 = 1_024;
/// Longest request id that a caller may name, characters.
const REQUEST_ID_CHARS: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What JSON and problems need; pages bring their own.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Sets how many bytes the body of a route may have.
pub type BodyLimitLayer = axum::Extension<BodyLimit>;

/// Puts the layers round the routes.
pub(super) fn wrap(router: Router<Api>, api: Api) -> Router {
    let origins = api.clone();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            let config = origins.service.context().config();
            origin.to_str().is_ok_and(|origin| config.http.cors_origins.iter().any(|known| known == origin))
        }))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("last-event-id"),
            IDEMPOTENCY_KEY,
            REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            REPLAYED,
            REQUEST_ID,
        ])
        .max_age(Duration::from_secs(3_600));
    // What was just made may hold a token beside text of the caller's choice, whose length must not tell of it (BREACH).
    let made = |status: StatusCode, _: axum::http::Version, _: &HeaderMap, _: &axum::http::Extensions| {
        status != StatusCode::CREATED
    };
    let compression =
        CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(COMPRESS_BYTES)).and(made));
    router
        .fallback(async || Problem::new(Kind::NOT_FOUND, "there is nothing at this address; /docs tells what there is"))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::METHOD, "this address does not take the method; `Allow` says which ones it takes")
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(api.clone(), super::metrics::measure))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(api.clone(), in_time))
        .layer(compression)
        .layer(cors)
        .layer(from_fn_with_state(api.clone(), outer))
        .with_state(api)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Problem::internal(format_args!("panic: {}", crate::output::log::scrub(words.unwrap_or("without words"))))
        .into_response()
}

/// Who and when, and the fields of every answer.
async fn outer(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let config = api.service.context().config();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let client = peer.map(|peer| client(peer, request.headers(), &config.http.trusted_proxies));
    let trail = Trail::on(request.extensions().get::<Guest>().cloned());
    request.extensions_mut().insert(Client(client));
    request.extensions_mut().insert(trail.clone());
    // Without the query: it may hold what is nobody else's business.
    let (method, path) = (request.method().clone(), plain(request.uri().path()));
    let mut response = next.run(request).await;
    let tls = config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    dress(response.headers_mut(), tls);
    trail.tell(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    let actor = trail.who().unwrap_or_else(|| "-".into());
    let from = client.map_or_else(|| "-".to_owned(), |client| client.to_string());
    if matches!(&*path, "/healthz" | "/readyz" | "/metrics") {
        tracing::debug!(%method, path, status, ms, request = id, actor, from, "answered");
    } else {
        tracing::info!(%method, path, status, ms, request = id, actor, from, "answered");
    }
    response
}

/// A path for the log: words such as our routes have, and our ids. Whatever else stands in it may be a secret that somebody
/// put into the wrong place.
fn plain(path: &str) -> String {
    const WORD: usize = 24;
    let id = |part: &str| {
        part.split_once('_').is_some_and(|(kind, hex)| {
            let kind = kind.len() == 3 && kind.bytes().all(|b| b.is_ascii_lowercase());
            kind && hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    let word =
        |part: &str| part.len() <= WORD && part.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'.'));
    let parts = path.split('/').map(|part| if part == "v1" || id(part) || word(part) { part } else { "…" });
    parts.collect::<Vec<_>>().join("/")
}

/// The caller's id for this request when it is a plain word, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |text: &&str| {
        (1..=REQUEST_ID_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Whose request it is: the peer, or, when that is a proxy of ours, the last address in `X-Forwarded-For` that is none.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let ours = |address: &IpAddr| proxies.iter().any(|proxy| proxy.to_canonical() == address.to_canonical());
    let mut client = peer.to_canonical();
    if !ours(&client) {
        return client;
    }
    let lines: Vec<_> = headers.get_all("x-forwarded-for").into_iter().filter_map(|v| v.to_str().ok()).collect();
    for text in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(bare, _)| bare);
        let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
        // What a proxy of ours wrote is readable; anything else came from further out and means nothing.
        let Some(address) = address else { break };
        client = address.to_canonical();
        if !ours(&client) {
            break;
        }
    }
    client
}

/// Fields that every answer has unless its handler knows better.
fn dress(headers: &mut HeaderMap, tls: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if tls {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

/// Answers in time. A call that changes something runs in a task of its own: hanging up in the middle of it does not leave
/// a change without its audit, or an Idempotency-Key without its answer.
async fn in_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let late = || Problem::new(Kind::TIMEOUT, "it took too long; try again, or look whether it was done");
    if request.method().is_safe() {
        return match tokio::time::timeout(READ_TIME, next.run(request)).await {
            Ok(response) => response,
            Err(_) => late().into_response(),
        };
    }
    let task = api.tasks.spawn(next.run(request));
    match tokio::time::timeout(WRITE_TIME, task).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => Problem::internal(error).into_response(),
        Err(_) => late().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_logged_without_what_may_be_a_secret() {
        let id = "dst_0123456789abcdef0123456789abcdef";
        for path in ["/", "/healthz", "/openapi.json", "/v1/flags/streaming", &format!("/v1/destinations/{id}/key")] {
            assert_eq!(plain(path), path);
        }
        assert_eq!(plain("/v1/destinations/live_canary_a81f2c/key"), "/v1/destinations/…/key");
        assert_eq!(plain(&format!("/v1/agents/{id}x")), "/v1/agents/…");
        assert_eq!(plain("/live%20KEY/abcdefghijklmnopqrstuvwxyz"), "/…/…");
    }

    fn forwarded(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn an_address_is_taken_from_proxies_of_ours_only() {
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let second: IpAddr = "10.0.0.2".parse().unwrap();
        let stranger: IpAddr = "192.0.2.9".parse().unwrap();
        let of = |peer, lines: &[&'static str]| client(peer, &forwarded(lines), &[proxy, second]).to_string();
        assert_eq!(of(stranger, &["203.0.113.5"]), "192.0.2.9", "anybody may write the field");
        assert_eq!(of(proxy, &["203.0.113.5"]), "203.0.113.5");
        assert_eq!(of(proxy, &["198.51.100.1, 203.0.113.5, 10.0.0.2"]), "203.0.113.5", "the client's own words first");
        assert_eq!(of(proxy, &["198.51.100.1", "203.0.113.5"]), "203.0.113.5", "the last line is the newest");
        assert_eq!(of(proxy, &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(of("::ffff:10.0.0.1".parse().unwrap(), &["203.0.113.5"]), "203.0.113.5");
        assert_eq!(of(proxy, &["nonsense"]), "10.0.0.1");
        assert_eq!(of(proxy, &[]), "10.0.0.1");
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            request_id(&headers)
        };
        assert_eq!(id("job-7.a_B"), "job-7.a_B");
        for bad in ["", "a b", "a\"b", "ü", &"x".repeat(65)] {
            let new = id(bad);
            assert!(new.len() == 32 && new != bad, "{bad}: {new}");
        }
    }
}
