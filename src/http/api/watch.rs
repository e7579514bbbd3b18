//! Watching a match as the session's view may see it: `GET /v1/sessions/{id}/state` and `/watch`.

use super::Api;
use super::access::{Access, Watcher, Word, admit, introduced};
use super::auth::Visitor;
use super::extract::Id;
use super::guard::none_match;
use super::line::{Close, Heard, Line, over};
use super::live::{Frame, Over};
use super::problem::{Kind, Problem};
use super::state::{StateOut, filtered};
use crate::store::model::Scope;
use axum::Json;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_state)).routes(routes!(watch_match))
}

/// A line of comment keeps proxies from closing a stream of events that has nothing to say.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Longest message of a watcher: a token.
const MESSAGE_BYTES: usize = 8 * 1024;

/// The newest state of the match, as the session's view may see it. The ETag changes with every event.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/state", tag = "watch",
    params(
        ("id" = String, Path, description = "id of the session"),
        ("If-None-Match" = Option<String>, Header, description = "the ETag of the state that the caller has"),
    ),
    responses(
        (status = 200, description = "The state", body = StateOut, headers(("ETag" = String, description = "epoch, seq and view"))),
        (status = 304, description = "The caller's state is the newest"),
        (status = 409, description = "The match is closed, or the session is over", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn get_state(
    State(api): State<Api>,
    Watcher(access): Watcher,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (live, view) = (access.live(&api)?, access.view()?);
    let state = live.state();
    // A view is part of it: one path shows it to all who may, but a cache between could serve several.
    let tag: String = access.session.view.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '.' }).collect();
    let etag = HeaderValue::try_from(format!("\"{}-{}-{tag}\"", state.epoch, state.seq)).map_err(Problem::internal)?;
    let mut response = match none_match(&headers, &etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(filtered(&state, &view, None)).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    headers.insert(header::ETAG, etag);
    Ok(response)
}

/// The state and its changes: server-sent events, or a WebSocket when the request asks for one. First the newest state, then
/// every change, at most about 30 a second; a slow reader gets the newest only. Each is
/// `{"type":"state","now":…,"state":…}`, `now` being the service's clock (Unix ms). Events are called `state` and have the
/// id `epoch-seq`; `end` says why the stream ends. A WebSocket without `Authorization` begins with
/// `{"type":"auth","token":"…"}`; sent later, it brings a newer token. Close codes: 4401 refused, revoked or expired, 4408
/// silent for a minute, 4410 match closed, 1012 service restarts.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/watch", tag = "watch",
    params(
        ("id" = String, Path, description = "id of the session"),
        ("Last-Event-ID" = Option<String>, Header, description = "id of the newest state that the caller has"),
    ),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 409, description = "The match is closed, or the session is over", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn watch_match(
    State(api): State<Api>,
    Id(id): Id,
    watcher: Option<Watcher>,
    visitor: Visitor,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if let Some(Watcher(access)) = &watcher {
        access.live(&api)?;
    }
    let upgrade = match (upgrade, &watcher) {
        (Ok(upgrade), _) => upgrade,
        (Err(error), _) if headers.contains_key(header::UPGRADE) => {
            let words = format!("the WebSocket handshake is wrong: {}", error.body_text());
            return Err(Problem::new(Kind::MALFORMED, words));
        }
        (Err(_), Some(Watcher(access))) => return events(&api, access, &headers),
        (Err(_), None) => {
            let words = "send `Authorization: Bearer` with the session's token or an API key";
            return Err(Problem::new(Kind::UNAUTHORIZED, words));
        }
    };
    let permit = if watcher.is_none() { Some(api.live.stranger(&visitor)?) } else { None };
    Ok(upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).on_upgrade(move |socket| {
        let tasks = api.tasks.clone();
        tasks.track_future(async move {
            let _open = api.live.metrics.socket("watch");
            let mut line = Line::new(socket, api.closing.clone());
            let access = match watcher {
                Some(Watcher(access)) => Ok(access),
                None => introduced(&api, &visitor, &mut line, &id, Scope::Watch).await,
            };
            drop(permit);
            let end = match access {
                Ok(access) => show(&api, &visitor, &mut line, access).await,
                Err(close) => Some(close),
            };
            if let Some(close) = end {
                line.close(close).await;
            }
        })
    }))
}

/// The states of this session's match and view.
fn frames(api: &Api, access: &Access) -> Result<watch::Receiver<Arc<Frame>>, Problem> {
    Ok(api.live.screens.watch(access.live(api)?, access.view()?, &api.tasks))
}

/// Sends the state and its changes. None: the watcher has gone.
async fn show(api: &Api, visitor: &Visitor, line: &mut Line, access: Access) -> Option<Close> {
    let Ok(mut frames) = frames(api, &access) else { return Some(Close::MATCH_OVER) };
    line.hold(access.rights(api));
    frames.mark_changed();
    loop {
        let heard = tokio::select! {
            heard = line.next() => heard,
            changed = frames.changed() => {
                if changed.is_err() {
                    return Some(Close::MATCH_OVER);
                }
                let message = frames.borrow_and_update().message();
                if !line.send(message).await {
                    return None;
                }
                continue;
            }
        };
        match heard {
            Heard::Text(text) => {
                let Ok(Word::Auth { token }) = serde_json::from_str(&text) else { continue };
                match admit(api, visitor, &token, &access.session.id, Scope::Watch).await {
                    Ok(newer) => line.hold(newer.rights(api)),
                    Err(close) => return Some(close),
                }
            }
            Heard::Quiet if line.ping().await => {}
            Heard::Quiet | Heard::Gone => return None,
            Heard::End(close) => return Some(close),
        }
    }
}

/// What a stream of states waits for.
struct Watching {
    frames: watch::Receiver<Arc<Frame>>,
    rights: Vec<watch::Receiver<Option<Over>>>,
    expires: Instant,
    closing: tokio_util::sync::CancellationToken,
    _open: super::metrics::Open,
    done: bool,
}

fn events(api: &Api, access: &Access, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut frames = frames(api, access)?;
    let (rights, expires) = access.rights(api);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    if last != Some(frames.borrow().id().as_str()) {
        frames.mark_changed();
    }
    let closing = api.closing.clone();
    let watching =
        Watching { frames, rights, expires, closing, _open: api.live.metrics.socket("watch-sse"), done: false };
    let stream = futures_util::stream::unfold(watching, async |mut w| {
        if w.done {
            return None;
        }
        let why = tokio::select! {
            biased;
            () = w.closing.cancelled() => "restart",
            over = over(&mut w.rights) => match over {
                Over::Revoked => "revoked",
                Over::Expired => "expired",
            },
            () = tokio::time::sleep_until(w.expires) => "expired",
            changed = w.frames.changed() => match changed {
                Ok(()) => {
                    let frame = w.frames.borrow_and_update().clone();
                    let event = sse::Event::default().event("state").id(frame.id()).data(frame.message());
                    return Some((Ok::<_, Infallible>(event), w));
                }
                Err(_) => "match-closed",
            },
        };
        w.done = true;
        let data = format!(r#"{{"type":"end","reason":"{why}"}}"#);
        Some((Ok(sse::Event::default().event("end").data(data)), w))
    });
    Ok(stream_of_events(stream))
}

/// An answer of server-sent events, with heartbeats, that no proxy holds back.
pub(super) fn stream_of_events<S>(stream: S) -> Response
where
    S: futures_util::Stream<Item = Result<sse::Event, Infallible>> + Send + 'static,
{
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
