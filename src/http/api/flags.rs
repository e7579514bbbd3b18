//! The feature flag and kill switch.

use super::Api;
use super::auth::Caller;
use super::extract::Json;
use super::problem::Problem;
use crate::server::roster::Flag;
use crate::store::model::ApiRole;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_flag, put_flag))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutFlag {
    enabled: bool,
    /// Off at once, without the ending slate.
    #[serde(default)]
    hard: bool,
}

/// Whether streams may run.
#[utoipa::path(
    get, path = "/v1/flags/streaming", tag = "flags", responses((status = 200, description = "The flag", body = Flag))
)]
async fn get_flag(State(api): State<Api>, caller: Caller) -> Result<axum::Json<Flag>, Problem> {
    caller.require(ApiRole::Viewer)?;
    Ok(axum::Json(api.service.flag().await?))
}

/// Turns streaming on or off for the whole service. Off shows the ending slate for at most 2 s and ends every output within
/// 3 s (`hard`: at once); new streams are refused until it is on again, also after a restart. Answers when everything has
/// ended; with 503 when it has ended but could not be written down, which is tried again until it is. Admins only.
#[utoipa::path(
    put, path = "/v1/flags/streaming", tag = "flags", request_body = PutFlag,
    responses((status = 200, description = "The flag as it is now", body = Flag))
)]
async fn put_flag(
    State(api): State<Api>,
    caller: Caller,
    Json(flag): Json<PutFlag>,
) -> Result<axum::Json<Flag>, Problem> {
    let who = caller.require(ApiRole::Admin)?;
    Ok(axum::Json(api.service.set_flag(who, flag.enabled, flag.hard).await?))
}
