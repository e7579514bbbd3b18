//! `GET /v1/events`: what changes, for operators' pages.

use super::Api;
use super::auth::{Caller, cookie};
use super::line::{at, over};
use super::live::Over;
use super::problem::Problem;
use super::watch::stream_of_events;
use crate::server::bus::{Bus, Change, Resumed};
use crate::server::who::Who;
use crate::store::model::ApiRole;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{Response, sse};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_events))
}

/// Every change of state that the caller may see, as server-sent events: `change` with
/// `{"at":…,"kind":"stream","id":"str_…","data":…}`. Kinds: `agent`, `destination`, `match`, `session`, `stream`, `flag`;
/// a match's `waiting`, where it is named, are all its agents that are not on air now, and why. Destinations are for role
/// operator and above. With `Last-Event-ID` a listener gets what it missed; when that is too long ago, a `reset` says: read
/// everything anew. The
/// first event is `hello`, with the id to come back with.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "id of the newest event that the caller has")),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
    ),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn get_events(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Viewer)?.clone();
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let bus = api.service.context().bus.clone();
    let resumed = bus.listen(last, who.tenant());
    let mut first = VecDeque::new();
    let kind = if resumed.missed.is_some() { "hello" } else { "reset" };
    if last.is_none() || resumed.missed.is_none() {
        first.push_back(sse::Event::default().event(kind).id(bus.id(who.tenant(), resumed.from)).data("{}"));
    }
    first.extend(missed(&bus, &who, &resumed));
    let mut rights = Vec::new();
    if who.actor.starts_with("key_") {
        rights.push(api.live.gate.watch(&api.service.context().store, &who.actor, &api.tasks));
    }
    let mut expires = None;
    let by_cookie = cookie(&headers).filter(|_| !headers.contains_key(header::AUTHORIZATION));
    if let Some((id, until)) = by_cookie.and_then(|value| api.cookies.right(value)) {
        rights.push(api.live.gate.watch(&api.service.context().store, &id, &api.tasks));
        expires = Some(Instant::from_std(until));
    }
    let listening = Listening {
        first,
        last: resumed.from,
        news: resumed.news,
        rights,
        expires,
        closing: api.closing.clone(),
        _open: api.live.metrics.socket("events"),
        done: false,
    };
    let stream = futures_util::stream::unfold(listening, move |mut l| {
        let (bus, who) = (bus.clone(), who.clone());
        async move {
            if let Some(event) = l.first.pop_front() {
                return Some((Ok::<_, Infallible>(event), l));
            }
            if l.done {
                return None;
            }
            loop {
                let change = tokio::select! {
                    biased;
                    () = l.closing.cancelled() => return None,
                    over = async {
                        tokio::select! {
                            over = over(&mut l.rights) => over,
                            () = at(l.expires) => Over::Expired,
                        }
                    } => {
                        l.done = true;
                        let why = if over == Over::Revoked { "revoked" } else { "expired" };
                        let data = format!(r#"{{"reason":"{why}"}}"#);
                        return Some((Ok(sse::Event::default().event("end").data(data)), l));
                    }
                    change = l.news.recv() => change,
                };
                match change {
                    Ok(change) if change.concerns(who.tenant()) => {
                        l.last += 1;
                        if who.may(change.least_role()) {
                            return Some((Ok(event(&bus.id(who.tenant(), l.last), &change)), l));
                        }
                    }
                    Ok(_) => {}
                    // It reads too slowly, or others say too much at once: what is its own may still be kept.
                    Err(RecvError::Lagged(_)) => {
                        let resumed = bus.listen(Some(&bus.id(who.tenant(), l.last)), who.tenant());
                        if resumed.missed.is_none() {
                            let id = bus.id(who.tenant(), resumed.from);
                            l.first.push_back(sse::Event::default().event("reset").id(id).data("{}"));
                        }
                        l.first.extend(missed(&bus, &who, &resumed));
                        (l.news, l.last) = (resumed.news, resumed.from);
                        if let Some(event) = l.first.pop_front() {
                            return Some((Ok(event), l));
                        }
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    });
    Ok(stream_of_events(stream))
}

struct Listening {
    first: VecDeque<sse::Event>,
    /// Where it is: the newest change of its tenant that was heard, whichever role may see it.
    last: u64,
    news: Receiver<Arc<Change>>,
    rights: Vec<watch::Receiver<Option<Over>>>,
    /// When the sign-in ends by itself.
    expires: Option<Instant>,
    closing: CancellationToken,
    _open: super::metrics::Open,
    done: bool,
}

/// What a listener missed and may see: what only an operator may read is for operators, and counts for everybody.
fn missed(bus: &Bus, who: &Who, resumed: &Resumed) -> Vec<sse::Event> {
    let missed = resumed.missed.as_deref().unwrap_or_default();
    let seen = missed.iter().rev().zip((0..=resumed.from).rev()).filter(|(change, _)| who.may(change.least_role()));
    let mut events: Vec<_> = seen.map(|(change, at)| event(&bus.id(who.tenant(), at), change)).collect();
    events.reverse();
    events
}

fn event(id: &str, change: &Change) -> sse::Event {
    let data = serde_json::to_string(change).unwrap_or_else(|_| "{}".into());
    sse::Event::default().event("change").id(id).data(data)
}
