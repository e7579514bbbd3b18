//! Destinations and their stream keys, which go in and never come out.

use super::Api;
use super::auth::Caller;
use super::extract::{Create, Id, Json, List};
use super::guard::{Made, MatchHeader, OnceHeader, etag, if_match};
use super::problem::Problem;
use crate::output::key::StreamKey;
use crate::server::roster::{CheckLine, DestinationPatch, NewDestination};
use crate::server::streams::DestinationStatus;
use crate::store::model::{ApiRole, Destination, KeyInfo};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(add_destination, list_destinations))
        .routes(routes!(get_destination, change_destination, delete_destination))
        .routes(routes!(put_key, delete_key))
        .routes(routes!(check_destination))
}

/// A destination and how it is.
#[derive(Debug, Serialize, ToSchema)]
struct DestinationShown {
    #[serde(flatten)]
    record: Destination,
    status: DestinationStatus,
}

fn shown(api: &Api, record: Destination) -> DestinationShown {
    DestinationShown { status: api.service.streams().destination(&record.id), record }
}

fn tagged(api: &Api, destination: Destination) -> Response {
    ([(header::ETAG, etag(destination.version))], axum::Json(shown(api, destination))).into_response()
}

/// Adds a destination to an agent, at most 16. Its stream key is set apart.
#[utoipa::path(
    post, path = "/v1/agents/{id}/destinations", tag = "destinations", request_body = NewDestination,
    params(("id" = String, Path, description = "`agt_…`"), OnceHeader),
    responses((status = 201, description = "Made", body = DestinationShown, headers(
        ("Location", description = "The destination"), ("ETag", description = "Its version"))))
)]
async fn add_destination(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    Create { body, once }: Create<NewDestination>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let make = async { Made::created(&shown(&api, api.service.add_destination(who, &id, body).await?)) };
    Ok(once.run(&api, who, make).await?.located("/v1/destinations/"))
}

/// Destinations of an agent, each with its status.
#[utoipa::path(
    get, path = "/v1/agents/{id}/destinations", tag = "destinations",
    params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "All of them", body = List<DestinationShown>))
)]
async fn list_destinations(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<List<DestinationShown>>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let store = &api.service.context().store;
    store.agent(who.tenant(), &id).await?;
    let all = store.destinations(who.tenant(), &id).await?;
    Ok(axum::Json(List { items: all.into_iter().map(|record| shown(&api, record)).collect(), next: None }))
}

/// One destination, with its status: its state, since when, and what is wrong. That outlives its stream.
#[utoipa::path(
    get, path = "/v1/destinations/{id}", tag = "destinations",
    params(("id" = String, Path, description = "`dst_…`")),
    responses((status = 200, description = "The destination", body = DestinationShown, headers(
        ("ETag", description = "Its version"))))
)]
async fn get_destination(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(tagged(&api, api.service.context().store.destination(who.tenant(), &id).await?))
}

/// Changes a destination. Another host in `ingest` throws the stream key away: it was set for the old one.
#[utoipa::path(
    patch, path = "/v1/destinations/{id}", tag = "destinations", request_body = DestinationPatch,
    params(("id" = String, Path, description = "`dst_…`"), MatchHeader),
    responses((status = 200, description = "The destination as it is now", body = DestinationShown, headers(
        ("ETag", description = "Its version"))))
)]
async fn change_destination(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
    Json(patch): Json<DestinationPatch>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(tagged(&api, api.service.change_destination(who, &id, patch, if_match(&headers)?).await?))
}

/// Deletes a destination with its key.
#[utoipa::path(
    delete, path = "/v1/destinations/{id}", tag = "destinations",
    params(("id" = String, Path, description = "`dst_…`"), MatchHeader),
    responses((status = 204, description = "Gone"))
)]
async fn delete_destination(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    api.service.delete_destination(who, &id, if_match(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A stream key on its way in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutKey {
    /// As the platform shows it. Never read back.
    #[schema(format = Password, min_length = 1, max_length = 512, pattern = "^[!-~]+$")]
    key: String,
}

/// Sets or replaces the stream key. The answer shows how to recognise it, not the key.
#[utoipa::path(
    put, path = "/v1/destinations/{id}/key", tag = "destinations", request_body = PutKey,
    params(("id" = String, Path, description = "`dst_…`")),
    responses((status = 200, description = "Sealed and kept", body = KeyInfo))
)]
async fn put_key(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    Json(body): Json<PutKey>,
) -> Result<axum::Json<KeyInfo>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let text = Zeroizing::new(body.key);
    let key = StreamKey::new(&text);
    let key = key.map_err(|error| Problem::field("key", error.to_string()).limit(512))?;
    Ok(axum::Json(api.service.set_key(who, &id, &key).await?))
}

/// Deletes the stream key. What is on air by it ends.
#[utoipa::path(
    delete, path = "/v1/destinations/{id}/key", tag = "destinations",
    params(("id" = String, Path, description = "`dst_…`")),
    responses((status = 204, description = "Gone"))
)]
async fn delete_key(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    api.service.delete_key(who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize, ToSchema)]
struct Check {
    lines: Vec<CheckLine>,
}

/// What would go wrong if the stream began now: switches, key, host, DNS, TCP, TLS, RTMP handshake, LiveKit, the platform's
/// rules. Publishes nothing and sends no key. Takes at most 20 s.
#[utoipa::path(
    post, path = "/v1/destinations/{id}/check", tag = "destinations",
    params(("id" = String, Path, description = "`dst_…`")),
    responses((status = 200, description = "Each line green, amber (will not go well) or red (will not go)", body = Check))
)]
async fn check_destination(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<axum::Json<Check>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(axum::Json(Check { lines: api.service.check_destination(who, &id).await? }))
}
