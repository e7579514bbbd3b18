//! Tenants, API keys, and who one is.

use super::Api;
use super::auth::Caller;
use super::extract::{Create, Id, List, Paging, Query};
use super::guard::{Made, OnceHeader};
use super::problem::Problem;
use crate::server::roster::{NewApiKey, NewTenant};
use crate::store::model::{ApiKey, ApiRole, Tenant};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(add_tenant, list_tenants))
        .routes(routes!(get_tenant))
        .routes(routes!(add_api_key, list_api_keys))
        .routes(routes!(revoke_api_key))
        .routes(routes!(whoami))
}

/// Makes a tenant: one game operator, who sees nothing of the others. Admins only.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "keys", params(OnceHeader), request_body = NewTenant,
    responses((status = 201, description = "Made", body = Tenant, headers(
        ("Location", description = "The tenant"))))
)]
async fn add_tenant(
    State(api): State<Api>,
    caller: Caller,
    Create { body, once }: Create<NewTenant>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Admin)?;
    let made = once.run(&api, who, async { Made::created(&api.service.add_tenant(who, body).await?) }).await?;
    Ok(made.located("/v1/tenants/"))
}

/// Tenants, oldest first. Admins only.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "keys", params(Paging),
    responses((status = 200, description = "A page", body = List<Tenant>))
)]
async fn list_tenants(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<List<Tenant>>, Problem> {
    caller.require(ApiRole::Admin)?;
    Ok(axum::Json(api.service.context().store.tenant_page(&paging.request()?).await?.into()))
}

/// A tenant. Admins only.
#[utoipa::path(
    get, path = "/v1/tenants/{id}", tag = "keys", params(("id" = String, Path, description = "`ten_…`")),
    responses((status = 200, description = "The tenant", body = Tenant))
)]
async fn get_tenant(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<axum::Json<Tenant>, Problem> {
    caller.require(ApiRole::Admin)?;
    Ok(axum::Json(api.service.context().store.tenant(&id).await?))
}

/// An API key that was just made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "for the documentation; the answer is put together from the kept part and the key")]
struct NewKeyAnswer {
    #[serde(flatten)]
    record: ApiKey,
    /// The key itself: shown this once, kept as a hash only. Null when an Idempotency-Key repeats an earlier call.
    key: Option<String>,
}

/// Makes an API key. Operators make keys of their own tenant up to their own role.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "keys", params(OnceHeader), request_body = NewApiKey,
    responses((status = 201, description = "Made; the key is shown this once", body = NewKeyAnswer, headers(
        ("Location", description = "The key's record, to be revoked"))))
)]
async fn add_api_key(
    State(api): State<Api>,
    caller: Caller,
    Create { body, once }: Create<NewApiKey>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let mut secret: Option<SecretString> = None;
    let make = async {
        let (key, made) = api.service.add_api_key(who, body).await?;
        secret = Some(made);
        Made::created(&key)
    };
    let mut made = once.run(&api, who, make).await?;
    // After the answer was kept, which is without it.
    if let Some(body) = made.body.as_object_mut() {
        body.insert("key".into(), secret.map(|secret| secret.expose_secret().to_owned()).into());
    }
    Ok(made.located("/v1/api-keys/"))
}

/// API keys, oldest first, revoked ones too.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "keys", params(Paging),
    responses((status = 200, description = "A page", body = List<ApiKey>))
)]
async fn list_api_keys(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<List<ApiKey>>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    Ok(axum::Json(api.service.context().store.api_keys(who.tenant(), &paging.request()?).await?.into()))
}

/// Revokes an API key: it works no more, whoever signed in by it is signed out, and every session that it opened
/// (`createdBy`) is revoked with it: tokens are refused and sockets close. To change a game server's key while matches run,
/// open sessions on the same matches (`matchId`) with the new key first.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "keys", params(("id" = String, Path, description = "`key_…`")),
    responses((status = 204, description = "Revoked"))
)]
async fn revoke_api_key(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let sessions = api.service.revoke_api_key(who, &id).await?;
    api.keys.forget(&id);
    api.live.gate.revoked(&id);
    api.cookies.drop_actor(&id);
    for session in sessions {
        api.sessions.forget(&session.id);
        api.live.gate.revoked(&session.id);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Who one is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Whoami {
    /// Id of the API key.
    actor: String,
    /// Null for an admin of the whole service.
    tenant_id: Option<String>,
    role: ApiRole,
    /// Address that the request came from, as the audit notes it.
    from: Option<String>,
    /// Version of agentcast.
    version: &'static str,
}

/// Who you are to this service.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "keys", responses((status = 200, description = "You", body = Whoami))
)]
async fn whoami(Caller(who): Caller) -> axum::Json<Whoami> {
    axum::Json(Whoami {
        actor: who.actor,
        tenant_id: who.tenant,
        role: who.role,
        from: who.from.map(|from| from.to_string()),
        version: env!("CARGO_PKG_VERSION"),
    })
}
