//! Streams: `/v1/streams`.

use super::Api;
use super::auth::Caller;
use super::extract::{Create, Id, Json as Body, List, Paging, Query};
use super::guard::{Made, OnceHeader};
use super::matches::{audit, text};
use super::problem::{Kind, Problem};
use crate::game::limits::TEXT_CHARS;
use crate::secure::is_id;
use crate::server::now_ms;
use crate::server::stage::Scene;
use crate::server::streams::{StreamState, StreamView, StreamsError};
use crate::server::who::Who;
use crate::store::model::{ApiRole, StreamRecord};
use crate::store::{Page, PageRequest};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(list_streams, post_stream))
        .routes(routes!(get_stream))
        .routes(routes!(start_stream))
        .routes(routes!(stop_stream))
        .routes(routes!(take_scene))
        .routes(routes!(set_marker))
        .routes(routes!(thumbnail))
}

/// A picture is made anew after this long, s.
const PICTURE_AGE_S: i64 = 5;

/// A stream that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StreamNew {
    /// Its switch must be on.
    pub agent_id: String,
    /// A match in which the agent plays.
    pub match_id: String,
}

/// A scene to take.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SceneTake {
    /// Null: the match decides again.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    pub scene: Option<Scene>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkerNew {
    #[schema(min_length = 1, max_length = 500)]
    pub label: String,
}

/// A marked moment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkerMade {
    pub label: String,
    /// Since the stream went on air, ms.
    pub position_ms: u64,
}

/// Streams, newest first; those that have ended too. Which destinations they go to is for role operator and above; others see
/// the state and the figures of each.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams", params(Paging),
    responses((status = 200, description = "A page of streams", body = List<StreamView>)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn list_streams(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<List<StreamView>>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let request = paging.request()?;
    let page = api.service.context().store.streams(who.tenant(), &request).await?;
    let (items, next) = merged(page, api.service.streams().unwritten(who.tenant()), &request);
    let items = items.into_iter().map(|record| view(&api, record).for_role(who.role)).collect();
    Ok(Json(List { items, next }))
}

/// A page of the store with the records that it does not have yet, newest first, and where the next one begins.
fn merged(
    page: Page<StreamRecord>,
    unwritten: Vec<StreamRecord>,
    request: &PageRequest,
) -> (Vec<StreamRecord>, Option<String>) {
    let last = page.next.as_ref().and(page.items.last()).map(|record| record.id.clone());
    let fits = |record: &StreamRecord| {
        request.after.as_ref().is_none_or(|after| record.id < *after)
            && last.as_ref().is_none_or(|last| record.id >= *last)
    };
    let mut all: BTreeMap<String, StreamRecord> = page.items.into_iter().map(|r| (r.id.clone(), r)).collect();
    all.extend(unwritten.into_iter().filter(fits).map(|record| (record.id.clone(), record)));
    let more = all.len() > request.limit as usize;
    let items: Vec<StreamRecord> = all.into_values().rev().take(request.limit as usize).collect();
    let next = if more { items.last().map(|record| record.id.clone()) } else { page.next };
    (items, next)
}

/// As it is, or as it was.
fn view(api: &Api, record: StreamRecord) -> StreamView {
    api.service.streams().get(None, &record.id).unwrap_or_else(|| StreamView {
        state: StreamState::Ended,
        trouble: record.reason.clone(),
        fps: 0.0,
        kbps: 0,
        frames: 0,
        skipped: 0,
        uptime_ms: record.ended_at.map_or(0, |ended| ended - record.created_at),
        size: String::new(),
        shared_by: 0,
        viewers: None,
        scene: None,
        destinations: Vec::new(),
        record,
    })
}

/// Puts an agent on air with a match again, after somebody stopped it; where it is on air, destinations that gave up are tried
/// again. Without anybody's doing a stream begins when a match starts, where the agent's switch and the flag are on. A refusal
/// changes nothing; why a match waits stands under `waiting` in `GET /v1/matches/{id}`, too. While its last stream shows the
/// ending scene, for 2 s, the answer is 409 with `Retry-After`.
#[utoipa::path(
    post, path = "/v1/streams", tag = "streams",
    params(OnceHeader), request_body = StreamNew,
    responses((status = 201, description = "The stream", body = StreamRecord, headers(("Location" = String, description = "its address")))),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn post_stream(
    State(api): State<Api>,
    caller: Caller,
    Create { body, once }: Create<StreamNew>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let made = once.run(&api, who, async { Made::created(&begin(&api, who, &body.agent_id, &body.match_id).await?) });
    let made = made.await?;
    let location = format!("/v1/streams/{}", made.text("id"));
    Ok(([(header::LOCATION, location)], made).into_response())
}

async fn begin(api: &Api, who: &Who, agent: &str, of: &str) -> Result<StreamRecord, Problem> {
    if !is_id(agent) || !is_id(of) {
        return Err(Problem::not_found("it"));
    }
    let record = api.service.streams().begin(who.tenant(), agent, of).await.map_err(problem)?;
    let details = json!({ "agentId": agent, "matchId": of });
    audit(api, who, Some(record.tenant_id.clone()), "stream.start", &record.id, details).await?;
    Ok(record)
}

fn problem(error: StreamsError) -> Problem {
    match error {
        StreamsError::NotFound => Problem::not_found("it"),
        StreamsError::Refused(words) => Problem::new(Kind::CONFLICT, words),
        StreamsError::Ending => Problem::new(Kind::CONFLICT, error.to_string()).retry_after(2),
        StreamsError::Busy(words) => Problem::new(Kind::TOO_FAST, words).retry_after(2),
        StreamsError::Store(words) => Problem::internal(words),
    }
}

/// A stream. Which destinations it goes to is for role operator and above; others see the state and the figures of each.
#[utoipa::path(
    get, path = "/v1/streams/{id}", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")),
    responses((status = 200, description = "The stream", body = StreamView)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn get_stream(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<StreamView>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    find(&api, who, &id).await.map(|stream| Json(stream.for_role(who.role)))
}

async fn find(api: &Api, who: &Who, id: &str) -> Result<StreamView, Problem> {
    match api.service.streams().get(who.tenant(), id) {
        Some(stream) => Ok(stream),
        None => {
            let unwritten = api.service.streams().unwritten(who.tenant()).into_iter().find(|record| record.id == id);
            let record = match unwritten {
                Some(record) => record,
                None => api.service.context().store.stream(who.tenant(), id).await?,
            };
            Ok(view(api, record))
        }
    }
}

/// Wants a stream on air again that was stopped: the same agent with the same match. Of one that runs, destinations that gave
/// up (a refused key) are tried again. A refusal changes nothing: what was stopped stays so.
#[utoipa::path(
    post, path = "/v1/streams/{id}/start", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")),
    responses((status = 200, description = "The stream, which may be a new one", body = StreamView)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn start_stream(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<StreamView>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let stream = find(&api, who, &id).await?;
    let record = begin(&api, who, &stream.record.agent_id, &stream.record.match_id).await?;
    Ok(Json(view(&api, record)))
}

/// Ends a stream. It does not come back by itself for this match; the agent's next match streams again.
#[utoipa::path(
    post, path = "/v1/streams/{id}/stop", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")),
    responses((status = 200, description = "The stream as it ends", body = StreamView)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn stop_stream(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<StreamView>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let stream = find(&api, who, &id).await?;
    if stream.state != StreamState::Ended {
        let tenant = stream.record.tenant_id.clone();
        match api.service.streams().end(who.tenant(), &id, "stopped by an operator").await {
            // It ended by itself meanwhile.
            Err(StreamsError::NotFound) => {}
            ended => {
                ended.map_err(problem)?;
                audit(&api, who, Some(tenant), "stream.stop", &id, Value::Null).await?;
            }
        }
    }
    find(&api, who, &id).await.map(Json)
}

/// Puts a scene on air, whatever the match says; null goes back to the match.
#[utoipa::path(
    post, path = "/v1/streams/{id}/scene", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")), request_body = SceneTake,
    responses((status = 200, description = "The stream", body = StreamView)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn take_scene(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    Body(SceneTake { scene }): Body<SceneTake>,
) -> Result<Json<StreamView>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let stream = on_air(&api, who, &id).await?;
    api.service.streams().scene(who.tenant(), &id, scene).map_err(problem)?;
    audit(&api, who, Some(stream.record.tenant_id), "stream.scene", &id, json!({ "scene": scene })).await?;
    find(&api, who, &id).await.map(Json)
}

/// The stream, while it is on air.
async fn on_air(api: &Api, who: &Who, id: &str) -> Result<StreamView, Problem> {
    let stream = find(api, who, id).await?;
    match stream.state {
        StreamState::Ended => Err(Problem::new(Kind::CONFLICT, "the stream has ended")),
        _ => Ok(stream),
    }
}

/// Marks a moment, for clips and chapters.
#[utoipa::path(
    post, path = "/v1/streams/{id}/marker", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")), request_body = MarkerNew,
    responses((status = 200, description = "Where it is", body = MarkerMade)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn set_marker(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    Body(MarkerNew { label }): Body<MarkerNew>,
) -> Result<Json<MarkerMade>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    text("label", &label, 1, TEXT_CHARS)?;
    let stream = on_air(&api, who, &id).await?;
    let position = api.service.streams().marker(who.tenant(), &id, &label).map_err(problem)?;
    let position_ms = u64::try_from(position.as_millis()).unwrap_or(u64::MAX);
    let details = json!({ "label": label, "positionMs": position_ms });
    audit(&api, who, Some(stream.record.tenant_id), "stream.marker", &id, details).await?;
    Ok(Json(MarkerMade { label, position_ms }))
}

/// The newest picture, at most 5 s old, 480 px wide.
#[utoipa::path(
    get, path = "/v1/streams/{id}/thumbnail.jpg", tag = "streams",
    params(("id" = String, Path, description = "id of the stream")),
    responses((status = 200, description = "JPEG", body = Vec<u8>, content_type = "image/jpeg")),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn thumbnail(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let picture = api.service.streams().thumbnail(who.tenant(), &id).await.map_err(problem)?;
    let (bytes, made) = picture.ok_or_else(|| Problem::not_found("picture"))?;
    let fresh = (PICTURE_AGE_S - (now_ms() - made).max(0) / 1_000).max(0);
    let cache = format!("private, max-age={fresh}");
    let fields = [(header::CONTENT_TYPE, "image/jpeg".to_owned()), (header::CACHE_CONTROL, cache)];
    Ok((fields, bytes.to_vec()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, reason: Option<&str>) -> StreamRecord {
        StreamRecord {
            id: id.into(),
            tenant_id: "ten_1".into(),
            agent_id: "agt_1".into(),
            match_id: "mat_1".into(),
            wanted: true,
            created_at: 1,
            ended_at: reason.map(|_| 2),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn what_the_store_does_not_have_yet_stands_in_its_place_on_every_page() {
        let stored: Vec<_> = ["str_6", "str_4", "str_2", "str_1"].map(|id| record(id, None)).into();
        let unwritten = vec![record("str_3", None), record("str_4", Some("over")), record("str_7", None)];
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        for _ in 0..10 {
            let rest: Vec<_> = stored.iter().filter(|r| after.as_ref().is_none_or(|a| r.id < *a)).cloned().collect();
            let items: Vec<_> = rest.iter().take(2).cloned().collect();
            let next = (rest.len() > 2).then(|| items[1].id.clone());
            let request = PageRequest { after: after.clone(), limit: 2 };
            let (items, next) = merged(Page { items, next }, unwritten.clone(), &request);
            assert!(items.len() <= 2);
            seen.extend(items.into_iter().map(|record| (record.id, record.reason.is_some())));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let expected = ["str_7", "str_6", "str_4", "str_3", "str_2", "str_1"].map(|id| (id.to_owned(), id == "str_4"));
        assert_eq!(seen, expected);
    }
}
