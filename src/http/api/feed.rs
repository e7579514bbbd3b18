//! Feeding a match: `POST /v1/sessions/{id}/events` and the WebSocket `/v1/sessions/{id}/feed`.

use super::Api;
use super::access::{Access, Feeder, Word, admit, introduced};
use super::auth::Visitor;
use super::extract::{self, BODY_BYTES, BodyLimit, Id, RECORD_BYTES, media_type};
use super::line::{Close, Heard, Line};
use super::problem::{Kind, Problem};
use crate::game::adapters::Format;
use crate::game::{Event, WireError};
use crate::server::matches::{FeedError, FeedReport, LiveMatch, Pace};
use crate::store::model::Scope;
use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Utf8Bytes, WebSocketUpgrade};
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(post_events)).routes(routes!(feed_socket))
}

/// Longest WebSocket message, bytes: as long as a body of events.
const EVENTS_BYTES: usize = BODY_BYTES;
/// Messages that a socket takes in as one, when they have come already.
const TOGETHER: usize = 64;
/// Bytes of them.
const TOGETHER_BYTES: usize = 256 * 1024;
/// Times that a record may be played faster or slower than it happened.
const SPEED: std::ops::RangeInclusive<f64> = 0.1..=100.0;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// The body is a native record of this format: `battlesnake`, `battlesnake-events`, `kaggle`, `pgn`, `phh` or
    /// `agentcast` (wire events, one a line); `auto` recognises it. Without it the body is wire events as JSON or NDJSON.
    #[param(inline, value_type = Option<RecordFormat>)]
    format: Option<String>,
    /// How a record is fed: `at-once` (default), or `recorded`: as it happened.
    #[param(inline, value_type = Option<PaceWord>)]
    pace: Option<String>,
    /// With `pace=recorded`: this many times faster, 0.1 to 100.
    #[param(minimum = 0.1, maximum = 100)]
    speed: Option<f64>,
}

/// Formats of native records.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only its schema is used")]
pub enum RecordFormat {
    Auto,
    Battlesnake,
    BattlesnakeEvents,
    Kaggle,
    Pgn,
    Phh,
    Agentcast,
}

/// How a record is fed.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "only its schema is used")]
pub enum PaceWord {
    AtOnce,
    Recorded,
}

/// Feeds one event, an array of events, NDJSON, or a native record. All or nothing: the problem names the first bad event
/// by its `index`, and uses up no number: send the correction under the same ones. After a single event that was refused
/// you may also go on with the next number, but not after `match.started`, `state.snapshot` and `state.patch`, on which
/// others build, nor after what is no event at all; the problem's `detail` says what may follow. Sending something twice
/// does no harm: events are known by `(epoch, seq)`. Answered when what was applied is on disk.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/events", tag = "feed",
    params(("id" = String, Path, description = "id of the session"), FeedQuery),
    request_body(
        description = "A wire event, an array of them (at most 64 KiB), NDJSON of them, or with `format` a native record \
                       (at most 8 MiB)",
        content((WireEvents = "application/json"), (String = "application/x-ndjson"), (String = "text/plain"))
    ),
    responses(
        (status = 200, description = "What became of the events", body = FeedReport),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn post_events(
    State(api): State<Api>,
    Feeder(access): Feeder,
    visitor: Visitor,
    extract::Query(query): extract::Query<FeedQuery>,
    mut request: Request,
) -> Result<Response, Problem> {
    let live = access.live(&api)?;
    let tell = || {
        let limits = &api.service.context().config().limits;
        let window = limits.events_burst.div_ceil(limits.events_per_second.max(1));
        visitor.trail.allowance("events", live.allowance(), window.into());
    };
    if let Err(error) = live.admit() {
        tell();
        return Err(problem(error));
    }
    let began = Instant::now();
    let fed = match record(&query)? {
        // Its turn comes before its body: so many are in memory and no more.
        Some((format, pace)) => match live.record_turn().await {
            Ok(turn) => {
                request.extensions_mut().insert(BodyLimit(RECORD_BYTES));
                let extract::Body(body) = extract::Body::from_request(request, &api).await?;
                turn.feed(format, body.into(), pace).await
            }
            Err(error) => Err(error),
        },
        None => {
            let lines = is_lines(request.headers())?;
            let extract::Body(body) = extract::Body::from_request(request, &api).await?;
            let text = std::str::from_utf8(&body);
            let text = text.map_err(|_| Problem::new(Kind::MALFORMED, "the body is not UTF-8"))?;
            let events = if lines { read_lines(text)? } else { read_json(text)? };
            live.feed(events).await
        }
    };
    api.live.metrics.fed(&fed, began.elapsed());
    tell();
    match fed {
        Ok(report) if report.need_snapshot && report.applied == 0 => Err(need_snapshot(&report)),
        Ok(report) => Ok(Json(report).into_response()),
        Err(error) => Err(problem(error)),
    }
}

/// Wire events: one, or an array of them.
#[derive(utoipa::ToSchema)]
#[schema(title = "WireEvents")]
#[allow(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
#[derive(serde::Serialize)]
pub enum WireEvents {
    One(WireEvent),
    Many(Vec<WireEvent>),
}

/// The envelope of a wire event; the README's reference says what each `type` carries in `data`.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub struct WireEvent {
    /// 1.
    #[schema(minimum = 1, maximum = 1)]
    v: u32,
    /// The match's `reference`.
    #[schema(min_length = 1, max_length = 64)]
    r#match: String,
    /// Raised when the game server restarted and forgot `seq`.
    epoch: u64,
    /// One higher than the event before.
    seq: u64,
    /// Unix ms by the sender's clock.
    ts: i64,
    /// For example `state.patch`.
    r#type: String,
    /// `"public"` or a list of side ids.
    vis: Option<VisibleTo>,
    #[schema(value_type = Object)]
    data: (),
}

/// Who may see what an event carries.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
pub enum VisibleTo {
    Everybody(Everybody),
    Sides(Vec<String>),
}

#[derive(serde::Serialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[serde(rename_all = "lowercase")]
pub enum Everybody {
    Public,
}

/// A WebSocket for feeding. The first message from the service is `{"type":"position","epoch":…,"seq":…,"needSnapshot":…}`:
/// the last event it has. Each text sent is one wire event or an array of them. The service answers with
/// `{"type":"ack","epoch":…,"seq":…,…}` (one for all that came together), `{"type":"need_snapshot",…}` and
/// `{"type":"error","message":n,"problem":…}`; after an error the socket stays open, and the number of what was refused is
/// free until a later event is taken: send the correction before that, or under a new number. Without `Authorization` the first text
/// must be `{"type":"auth","token":"…"}`; sent later, it brings a newer token. Close codes: 4401 refused, revoked or
/// expired, 4408 silent for a minute, 4410 match closed, 1009 message over 64 KiB, 1012 service restarts.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/feed", tag = "feed",
    params(("id" = String, Path, description = "id of the session")),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 409, description = "The match is closed, or the session is over", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("sessionToken" = []), ("apiKey" = []))
)]
pub(super) async fn feed_socket(
    State(api): State<Api>,
    Id(id): Id,
    feeder: Option<Feeder>,
    visitor: Visitor,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if let Some(Feeder(access)) = &feeder {
        access.live(&api)?;
    }
    let upgrade =
        upgrade.map_err(|e| Problem::new(Kind::MALFORMED, format!("this is a WebSocket: {}", e.body_text())))?;
    let permit = if feeder.is_none() { Some(api.live.stranger(&visitor)?) } else { None };
    Ok(upgrade.max_message_size(EVENTS_BYTES).max_frame_size(EVENTS_BYTES).on_upgrade(move |socket| {
        let tasks = api.tasks.clone();
        tasks.track_future(async move {
            let _open = api.live.metrics.socket("feed");
            let mut line = Line::new(socket, api.closing.clone());
            let access = match feeder {
                Some(Feeder(access)) => Ok(access),
                None => introduced(&api, &visitor, &mut line, &id, Scope::Feed).await,
            };
            drop(permit);
            let end = match access {
                Ok(access) => conversation(&api, &visitor, &mut line, access).await,
                Err(close) => Some(close),
            };
            if let Some(close) = end {
                line.close(close).await;
            }
        })
    }))
}

/// Feeds what the sender says until one end is over. None: the sender has gone.
async fn conversation(api: &Api, visitor: &Visitor, line: &mut Line, access: Access) -> Option<Close> {
    let Ok(live) = access.live(api) else { return Some(Close::MATCH_OVER) };
    line.hold(access.rights(api));
    let position = live.position();
    let hello = serde_json::json!({
        "type": "position", "epoch": position.epoch, "seq": position.seq, "needSnapshot": position.need_snapshot,
    });
    if !line.send(hello.to_string()).await {
        return None;
    }
    // Ends with the match.
    let mut states = live.watch();
    let mut count = 0;
    loop {
        let heard = tokio::select! {
            heard = line.next() => heard,
            () = async { while states.changed().await.is_ok() {} } => return Some(Close::MATCH_OVER),
        };
        let first = match heard {
            Heard::Text(text) => text,
            Heard::Quiet if line.ping().await => continue,
            Heard::Quiet | Heard::Gone => return None,
            Heard::End(close) => return Some(close),
        };
        let mut bytes = first.len();
        let mut texts = vec![first];
        while texts.len() < TOGETHER
            && bytes < TOGETHER_BYTES
            && let Some(text) = line.ready()
        {
            bytes += text.len();
            texts.push(text);
        }
        let mut batch = Batch::default();
        for text in texts {
            count += 1;
            match live.admit().map_err(problem).and_then(|()| message(&text)) {
                Ok(Said::Events(events)) => batch.messages.push((count, events)),
                Ok(Said::Auth(token)) => match admit(api, visitor, &token, &access.session.id, Scope::Feed).await {
                    Ok(newer) => line.hold(newer.rights(api)),
                    Err(close) => return Some(close),
                },
                Err(problem) => {
                    // In order: first what came before it.
                    if let Err(end) = std::mem::take(&mut batch).feed(api, line, &live).await {
                        return end;
                    }
                    if !line.trouble(&problem, count).await {
                        return None;
                    }
                }
            }
        }
        if let Err(end) = batch.feed(api, line, &live).await {
            return end;
        }
    }
}

enum Said {
    Events(Vec<Event>),
    Auth(String),
}

fn message(text: &Utf8Bytes) -> Result<Said, Problem> {
    if let Ok(Word::Auth { token }) = serde_json::from_str(text) {
        return Ok(Said::Auth(token));
    }
    read_json(text).map(Said::Events)
}

/// Messages that came together, each with its number.
#[derive(Default)]
struct Batch {
    messages: Vec<(u64, Vec<Event>)>,
}

impl Batch {
    /// Feeds all of it as one, for one acknowledgement; if something in it is refused, message by message, so that a bad one
    /// takes no other with it. `Err`: how the conversation ends.
    async fn feed(self, api: &Api, line: &mut Line, live: &LiveMatch) -> Result<(), Option<Close>> {
        if self.messages.len() > 1 {
            let all = self.messages.iter().flat_map(|(_, events)| events).cloned().collect();
            let began = Instant::now();
            let fed = live.feed(all).await;
            if let Ok(report) = &fed {
                api.live.metrics.fed(&fed, began.elapsed());
                return acknowledge(line, report).await;
            }
        }
        for (number, events) in self.messages {
            let began = Instant::now();
            let fed = live.feed(events).await;
            api.live.metrics.fed(&fed, began.elapsed());
            match fed {
                Ok(report) => acknowledge(line, &report).await?,
                Err(FeedError::Closed) => return Err(Some(Close::MATCH_OVER)),
                Err(error) => {
                    if !line.trouble(&problem(error), number).await {
                        return Err(None);
                    }
                }
            }
        }
        Ok(())
    }
}

async fn acknowledge(line: &mut Line, report: &FeedReport) -> Result<(), Option<Close>> {
    let ack = serde_json::json!({
        "type": "ack", "epoch": report.epoch, "seq": report.seq, "applied": report.applied,
        "duplicates": report.duplicates, "held": report.held, "ignored": report.ignored,
    });
    let mut open = line.send(ack.to_string()).await;
    if open && report.need_snapshot {
        let need = serde_json::json!({ "type": "need_snapshot", "epoch": report.epoch, "seq": report.seq });
        open = line.send(need.to_string()).await;
    }
    if open { Ok(()) } else { Err(None) }
}

/// None: no record, but wire events.
fn record(query: &FeedQuery) -> Result<Option<(Option<Format>, Pace)>, Problem> {
    let Some(format) = &query.format else {
        if query.pace.is_some() || query.speed.is_some() {
            let field = if query.pace.is_some() { "pace" } else { "speed" };
            return Err(Problem::field(field, "only with `format`, for a native record"));
        }
        return Ok(None);
    };
    let format = match format.as_str() {
        "auto" => None,
        name => Some(Format::from_name(name).ok_or_else(|| {
            Problem::field("format", format!("expected auto or one of: {}", Format::NAMES.join(", ")))
        })?),
    };
    let pace = match (query.pace.as_deref(), query.speed) {
        (None | Some("at-once"), None) => Pace::AtOnce,
        (None | Some("at-once"), Some(_)) => {
            return Err(Problem::field("speed", "only with `pace=recorded`"));
        }
        (Some("recorded"), speed) => {
            let speed = speed.unwrap_or(1.0);
            if !SPEED.contains(&speed) {
                return Err(Problem::field("speed", "expected 0.1 to 100"));
            }
            Pace::Recorded { speed }
        }
        (Some(_), _) => return Err(Problem::field("pace", "expected at-once or recorded")),
    };
    Ok(Some((format, pace)))
}

/// Whether the body is NDJSON.
fn is_lines(headers: &HeaderMap) -> Result<bool, Problem> {
    match media_type(headers).as_deref() {
        Some("application/json") => Ok(false),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(true),
        _ => Err(Problem::new(
            Kind::MEDIA_TYPE,
            "Content-Type: expected application/json or application/x-ndjson; a native record needs ?format=",
        )),
    }
}

/// One event or an array of them.
fn read_json(text: &str) -> Result<Vec<Event>, Problem> {
    if !text.trim_start().starts_with('[') {
        return Ok(vec![Event::from_json(text).map_err(|error| refused(error, 0))?]);
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|e| Problem::new(Kind::MALFORMED, format!("not JSON: {e}")))?;
    parts.iter().enumerate().map(|(i, part)| Event::from_json(part.get()).map_err(|e| refused(e, i))).collect()
}

/// One event a line; empty lines count for nothing.
fn read_lines(text: &str) -> Result<Vec<Event>, Problem> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.enumerate().map(|(i, line)| Event::from_json(line).map_err(|e| refused(e, i))).collect()
}

fn refused(error: WireError, index: usize) -> Problem {
    let problem = match error {
        WireError::TooLarge { limit, .. } => Problem::new(Kind::TOO_LARGE, error.to_string()).limit(limit as u64),
        WireError::Syntax(_) => Problem::new(Kind::MALFORMED, error.to_string()),
        WireError::Version { found } => Problem::field("v", format!("{found} is not supported, expected 1")),
        WireError::Field { field, problem } => Problem::field(field, problem),
    };
    problem.index(index)
}

fn problem(error: FeedError) -> Problem {
    match error {
        FeedError::Event { index, field, problem, limit } => {
            Problem { limit, ..Problem::field(field, problem).index(index) }
        }
        FeedError::TooFast { per_second, retry_ms } => {
            let detail = format!("too many events: at most {per_second} a second; nothing of this call was taken");
            Problem::new(Kind::TOO_FAST, detail).limit(per_second.into()).retry_after(retry_ms.div_ceil(1_000).max(1))
        }
        FeedError::Busy { retry_ms } => {
            Problem::new(Kind::TOO_FAST, "too many records are being sent; nothing of this one was taken")
                .retry_after(retry_ms.div_ceil(1_000).max(1))
        }
        FeedError::Closed => Problem::new(Kind::CONFLICT, "the match is closed"),
        FeedError::Record(words) => Problem::field("body", format!("the record cannot be read: {words}")),
        FeedError::Store(words) => Problem::internal(words),
    }
}

fn need_snapshot(report: &FeedReport) -> Problem {
    let FeedReport { epoch, seq, .. } = report;
    let detail = format!("too much is missing after epoch {epoch}, seq {seq}: send a state.snapshot or match.started");
    Problem::new(Kind::NEED_SNAPSHOT, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":0,"type":"marker","data":{"label":"x"}}"#;

    #[test]
    fn one_event_an_array_and_lines_are_read_and_the_bad_one_is_named() {
        assert_eq!(read_json(EVENT).unwrap().len(), 1);
        assert_eq!(read_json(&format!(" [{EVENT},{EVENT}]")).unwrap().len(), 2);
        assert_eq!(read_json("[]").unwrap().len(), 0);
        assert_eq!(read_lines(&format!("{EVENT}\n\n{EVENT}\n")).unwrap().len(), 2);
        let bad = EVENT.replace("\"seq\":1", "\"seq\":-1");
        let problem = read_json(&format!("[{EVENT},{bad}]")).unwrap_err();
        assert_eq!((problem.status, problem.index, problem.field.as_deref()), (422, Some(1), Some("seq")));
        let problem = read_lines(&format!("{EVENT}\n{{")).unwrap_err();
        assert_eq!((problem.status, problem.index), (400, Some(1)));
        assert_eq!(read_json("").unwrap_err().status, 400);
        assert_eq!(read_json(&EVENT.replace("\"v\":1", "\"v\":2")).unwrap_err().field.as_deref(), Some("v"));
    }

    #[test]
    fn record_query_that_makes_no_sense_is_refused_by_field() {
        let query = |format: Option<&str>, pace: Option<&str>, speed| {
            record(&FeedQuery { format: format.map(Into::into), pace: pace.map(Into::into), speed })
        };
        assert_eq!(query(None, None, None), Ok(None));
        assert_eq!(query(Some("auto"), None, None), Ok(Some((None, Pace::AtOnce))));
        let recorded = Pace::Recorded { speed: 4.0 };
        assert_eq!(query(Some("pgn"), Some("recorded"), Some(4.0)), Ok(Some((Some(Format::Pgn), recorded))));
        for (format, pace, speed, field) in [
            (None, Some("recorded"), None, "pace"),
            (None, None, Some(2.0), "speed"),
            (Some("chess"), None, None, "format"),
            (Some("pgn"), Some("slowly"), None, "pace"),
            (Some("pgn"), None, Some(2.0), "speed"),
            (Some("pgn"), Some("recorded"), Some(0.0), "speed"),
            (Some("pgn"), Some("recorded"), Some(f64::NAN), "speed"),
        ] {
            assert_eq!(query(format, pace, speed).unwrap_err().field.as_deref(), Some(field));
        }
    }
}
