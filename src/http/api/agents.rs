//! Agents, their pictures, the switch.

use super::auth::Caller;
use super::extract::{Body, Create, Id, Json, List, PICTURE_BYTES, Paging, Query, media_type};
use super::guard::{Made, MatchHeader, OnceHeader, etag, if_match, none_match};
use super::problem::{Kind, Problem};
use super::{Api, body_limit};
use crate::server::roster::{AgentPatch, NewAgent};
use crate::store::model::{Agent, ApiRole};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(add_agent, list_agents))
        .routes(routes!(get_agent, change_agent, delete_agent))
        .routes(routes!(put_avatar).layer(body_limit(PICTURE_BYTES)))
        .routes(routes!(get_avatar))
        .routes(routes!(switch_agent))
}

/// An agent with its ETag.
fn tagged(agent: Agent) -> Response {
    ([(header::ETAG, etag(agent.version))], axum::Json(agent)).into_response()
}

/// Makes an agent.
#[utoipa::path(
    post, path = "/v1/agents", tag = "agents", params(OnceHeader), request_body = NewAgent,
    responses((status = 201, description = "Made", body = Agent, headers(
        ("Location", description = "The agent"), ("ETag", description = "Its version"))))
)]
async fn add_agent(
    State(api): State<Api>,
    caller: Caller,
    Create { body, once }: Create<NewAgent>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let made = once.run(&api, who, async { Made::created(&api.service.add_agent(who, body).await?) }).await?;
    Ok(made.located("/v1/agents/"))
}

/// Your agents, oldest first.
#[utoipa::path(
    get, path = "/v1/agents", tag = "agents", params(Paging),
    responses((status = 200, description = "A page", body = List<Agent>))
)]
async fn list_agents(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<List<Agent>>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    Ok(axum::Json(api.service.context().store.agents(who.tenant(), &paging.request()?).await?.into()))
}

/// One agent.
#[utoipa::path(
    get, path = "/v1/agents/{id}", tag = "agents", params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "The agent", body = Agent, headers(
        ("ETag", description = "Its version"))))
)]
async fn get_agent(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    Ok(tagged(api.service.context().store.agent(who.tenant(), &id).await?))
}

/// Changes an agent: what the body leaves out, or names as null where null means nothing, stays.
#[utoipa::path(
    patch, path = "/v1/agents/{id}", tag = "agents", request_body = AgentPatch,
    params(("id" = String, Path, description = "`agt_…`"), MatchHeader),
    responses((status = 200, description = "The agent as it is now", body = Agent, headers(
        ("ETag", description = "Its version"))))
)]
async fn change_agent(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
    Json(patch): Json<AgentPatch>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(tagged(api.service.change_agent(who, &id, patch, if_match(&headers)?).await?))
}

/// Deletes an agent with its destinations, keys and picture; its streams end. Its audit and usage stay.
#[utoipa::path(
    delete, path = "/v1/agents/{id}", tag = "agents",
    params(("id" = String, Path, description = "`agt_…`"), MatchHeader),
    responses((status = 204, description = "Gone"))
)]
async fn delete_agent(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    api.service.delete_agent(who, &id, if_match(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets an agent's picture: PNG, JPEG or WebP, at most 2 MiB and 4096 × 4096 px.
#[utoipa::path(
    put, path = "/v1/agents/{id}/avatar", tag = "agents", params(("id" = String, Path, description = "`agt_…`")),
    request_body(description = "The picture", content(
        (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"))),
    responses((status = 200, description = "The agent", body = Agent, headers(
        ("ETag", description = "Its version"))))
)]
async fn put_avatar(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
    Body(bytes): Body,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    if !matches!(media_type(&headers).as_deref(), Some("image/png" | "image/jpeg" | "image/webp")) {
        let words = "send the picture as `Content-Type: image/png`, `image/jpeg` or `image/webp`";
        return Err(Problem::new(Kind::MEDIA_TYPE, words));
    }
    Ok(tagged(api.service.set_avatar(who, &id, bytes).await?))
}

/// An agent's picture.
#[utoipa::path(
    get, path = "/v1/agents/{id}/avatar", tag = "agents", params(("id" = String, Path, description = "`agt_…`")),
    responses(
        (status = 200, description = "The picture", headers(("ETag", description = "Its SHA-256")), content(
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"))),
        (status = 304, description = "The copy that you have (`If-None-Match`) is the newest"))
)]
async fn get_avatar(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let store = &api.service.context().store;
    let agent = store.agent(who.tenant(), &id).await?;
    let nothing = || Problem::not_found("a picture of this agent");
    let tag =
        HeaderValue::from_str(&format!("\"{}\"", agent.avatar.ok_or_else(nothing)?)).map_err(Problem::internal)?;
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if none_match(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag), cache]).into_response());
    }
    let bytes = store.avatar(who.tenant(), &id).await?.ok_or_else(nothing)?;
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(picture_type(&bytes)));
    Ok(([(header::ETAG, tag), cache, kind], bytes).into_response())
}

/// By what it begins with; it has been decoded before.
fn picture_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        _ => "image/webp",
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

/// The operator's switch. On: the agent's streams begin when a match runs. Off: they end within a second; the match and
/// other agents' streams go on.
#[utoipa::path(
    put, path = "/v1/agents/{id}/streaming", tag = "agents", request_body = Switch,
    params(("id" = String, Path, description = "`agt_…`")),
    responses((status = 200, description = "The agent", body = Agent, headers(
        ("ETag", description = "Its version"))))
)]
async fn switch_agent(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id,
    Json(switch): Json<Switch>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(tagged(api.service.switch_agent(who, &id, switch.enabled).await?))
}
