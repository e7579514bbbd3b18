//! Matches: `/v1/matches`.

use super::Api;
use super::auth::Caller;
use super::extract::{Create, Id, List, Paging, Query};
use super::guard::{Made, OnceHeader};
use super::problem::{Kind, Problem};
use crate::game::limits::{ID_CHARS, SIDES, TEXT_CHARS};
use crate::secure::{is_id, new_id};
use crate::server::now_ms;
use crate::server::streams::WaitingAgent;
use crate::server::who::Who;
use crate::store::StoreError;
use crate::store::model::{ApiRole, AuditEntry, Match, MatchPhase};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(post_match, list_matches))
        .routes(routes!(get_match))
        .routes(routes!(end_match))
}

/// A match that is to be fed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MatchNew {
    /// What its events say under `match`.
    #[schema(min_length = 1, max_length = 64)]
    pub reference: String,
    /// For lists; what is on the picture comes with the events.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub title: String,
    /// Sides that are agents: id of the side, as in the events, → id of the agent. At most 8.
    #[serde(default)]
    pub sides: BTreeMap<String, String>,
    /// For admins, who have no tenant of their own.
    pub tenant_id: Option<String>,
}

/// A match and who waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MatchShown {
    #[serde(flatten)]
    pub record: Match,
    /// Agents that play it and are not on air with it though their switch is on, and why: a stream key that another match
    /// has, a limit, the flag, somebody who stopped it. Empty: all are, or the match does not run.
    pub waiting: Vec<WaitingAgent>,
}

/// Makes a match. Its agents go on air by themselves when it starts, where their switch is on. End it when the game is over:
/// one that nobody ends is closed 10 minutes after its end, or after 6 hours without an event (settings `matches.*`), and a
/// tenant may have 1,000 open at once.
#[utoipa::path(
    post, path = "/v1/matches", tag = "matches",
    params(OnceHeader), request_body = MatchNew,
    responses((status = 201, description = "The match", body = Match, headers(("Location" = String, description = "its address")))),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn post_match(
    State(api): State<Api>,
    caller: Caller,
    Create { body, once }: Create<MatchNew>,
) -> Result<Response, Problem> {
    let who = caller.require(ApiRole::Game)?;
    let made = once.run(&api, who, async { Made::created(&make(&api, who, body).await?) }).await?;
    let location = format!("/v1/matches/{}", made.text("id"));
    Ok(([(header::LOCATION, location)], made).into_response())
}

/// Makes a match and takes it in.
pub(super) async fn make(api: &Api, who: &Who, new: MatchNew) -> Result<Match, Problem> {
    let MatchNew { reference, title, sides, tenant_id } = new;
    let tenant_id = tenant_of(api, who, tenant_id).await?;
    text("reference", &reference, 1, ID_CHARS)?;
    text("title", &title, 0, TEXT_CHARS)?;
    if sides.len() > SIDES {
        return Err(Problem::field("sides", format!("at most {SIDES}")).limit(SIDES as u64));
    }
    let store = &api.service.context().store;
    for (side, agent) in &sides {
        text("sides", side, 1, ID_CHARS)?;
        let unknown = || Problem::field(format!("sides.{side}"), "there is no such agent");
        if !is_id(agent) {
            return Err(unknown());
        }
        match store.agent(Some(&tenant_id), agent).await {
            Ok(_) => {}
            Err(StoreError::NotFound(_)) => return Err(unknown()),
            Err(error) => return Err(error.into()),
        }
    }
    let record = Match {
        id: new_id("mat"),
        tenant_id,
        reference,
        title,
        sides,
        phase: MatchPhase::Waiting,
        created_at: now_ms(),
        started_at: None,
        ended_at: None,
    };
    let place = api.service.matches().place(&record.tenant_id);
    // Held until it is among the open ones.
    let _place = place.map_err(|error| Problem::new(Kind::CONFLICT, error.to_string()).limit(error.limit as u64))?;
    store.add_match(&record).await?;
    api.service.matches().open(record.clone());
    Ok(record)
}

/// Whose it will be: an admin says so, everybody else makes things of its own tenant.
async fn tenant_of(api: &Api, who: &Who, named: Option<String>) -> Result<String, Problem> {
    let missing = || Problem::field("tenantId", "an admin says here whose it is");
    match (who.tenant(), named) {
        (Some(own), None) => Ok(own.to_owned()),
        (Some(own), Some(named)) if named == own => Ok(named),
        (Some(_), Some(_)) => Err(Problem::field("tenantId", "only an admin names another tenant than its own")),
        (None, None) => Err(missing()),
        (None, Some(named)) => {
            let tenants = api.service.context().store.tenants().await?;
            let known = tenants.iter().any(|tenant| tenant.id == named);
            if known { Ok(named) } else { Err(Problem::field("tenantId", "there is no such tenant")) }
        }
    }
}

/// Checks the length of a text in characters, and that it has no control characters.
pub(super) fn text(field: &str, text: &str, least: usize, most: usize) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::field(field, "control characters are not allowed"));
    }
    if !(least..=most).contains(&text.chars().count()) {
        return Err(Problem::field(field, format!("expected {least} to {most} characters")).limit(most as u64));
    }
    Ok(())
}

/// Matches, newest first.
#[utoipa::path(
    get, path = "/v1/matches", tag = "matches", params(Paging),
    responses((status = 200, description = "A page of matches", body = List<MatchShown>)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn list_matches(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<List<MatchShown>>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let page = api.service.context().store.matches(who.tenant(), &paging.request()?).await?;
    let items = page.items.into_iter().map(|record| shown(&api, record)).collect();
    Ok(Json(List { items, next: page.next }))
}

/// A match.
#[utoipa::path(
    get, path = "/v1/matches/{id}", tag = "matches",
    params(("id" = String, Path, description = "id of the match")),
    responses((status = 200, description = "The match", body = MatchShown)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn get_match(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Json<MatchShown>, Problem> {
    let who = caller.require(ApiRole::Viewer)?;
    let record = api.service.context().store.match_(who.tenant(), &id).await?;
    Ok(Json(shown(&api, record)))
}

/// What is live is newer than what is stored.
fn shown(api: &Api, stored: Match) -> MatchShown {
    let record = api.service.matches().get(&stored.id).map_or(stored, |live| live.record());
    let waiting = match record.phase {
        MatchPhase::Running => api.service.streams().waiting(&record.id),
        _ => Vec::new(),
    };
    MatchShown { record, waiting }
}

/// Ends a match for good: its sessions are over, its sockets close, and its streams show how it ended. Done already: nothing
/// happens.
#[utoipa::path(
    post, path = "/v1/matches/{id}/end", tag = "matches",
    params(("id" = String, Path, description = "id of the match")),
    responses((status = 200, description = "The match, closed", body = Match)),
    security(("apiKey" = []), ("cookie" = []))
)]
pub(super) async fn end_match(State(api): State<Api>, caller: Caller, Id(id): Id) -> Result<Json<Match>, Problem> {
    let who = caller.require(ApiRole::Game)?;
    let store = &api.service.context().store;
    let record = store.match_(who.tenant(), &id).await?;
    if record.phase != MatchPhase::Closed {
        match api.service.matches().end(&id).await {
            Ok(true) => audit(&api, who, Some(record.tenant_id), "match.ended", &id, serde_json::Value::Null).await?,
            // Another call's end came in between, unless the store says that it is open.
            Ok(false) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let record = store.match_(who.tenant(), &id).await?;
    if record.phase != MatchPhase::Closed {
        return Err(Problem::internal("an open match has no writer"));
    }
    Ok(Json(record))
}

/// Writes down who did what.
pub(super) async fn audit(
    api: &Api,
    who: &Who,
    tenant_id: Option<String>,
    action: &str,
    subject: &str,
    details: serde_json::Value,
) -> Result<(), Problem> {
    let entry = AuditEntry {
        id: String::new(),
        at: now_ms(),
        tenant_id,
        actor: who.actor.clone(),
        action: action.into(),
        subject: subject.into(),
        details,
        from: who.from.map(|address| address.to_string()),
    };
    Ok(api.service.context().store.audit(&entry).await?)
}

/// The session or match is over: nothing can be made of it.
pub(super) fn closed() -> Problem {
    Problem::new(Kind::CONFLICT, "the match is closed")
}
