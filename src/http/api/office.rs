//! Audit and usage.

use super::Api;
use super::auth::Caller;
use super::extract::{List, Paging, Query};
use super::problem::Problem;
use crate::secure::is_id;
use crate::store::model::{ApiRole, AuditEntry, UsageDay};
use axum::extract::State;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Days that one call may ask for.
const DAYS: i64 = 366;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(audit)).routes(routes!(usage))
}

/// Who did what, and from where; newest first. It cannot be changed.
#[utoipa::path(
    get, path = "/v1/audit", tag = "office", params(Paging),
    responses((status = 200, description = "A page", body = List<AuditEntry>))
)]
async fn audit(
    State(api): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<List<AuditEntry>>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    let page = paging.request()?;
    if page.after.as_ref().is_some_and(|after| !after.starts_with("aud_")) {
        return Err(Problem::field("after", "expected `next` of the page before"));
    }
    let mut log = api.service.context().store.audit_log(who.tenant(), &page).await?;
    for entry in &mut log.items {
        // Whoever had nothing to add.
        if entry.details.is_null() {
            entry.details = serde_json::json!({});
        }
    }
    Ok(axum::Json(log.into()))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Period {
    /// First day (UTC), `2026-11-01`; the first of this month unless given.
    #[param(format = Date, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    from: Option<String>,
    /// Last day (UTC), included; today unless given. At most 366 days.
    #[param(format = Date, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    to: Option<String>,
    /// Of this agent only.
    #[param(max_length = 64, pattern = "^[0-9A-Za-z_]*$")]
    agent_id: Option<String>,
}

/// What was used, and what it cost.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Usage {
    from: String,
    to: String,
    /// One for each agent and day with a stream.
    items: Vec<Used>,
    total: Total,
    currency: String,
    /// What one output costs an hour, by the settings now.
    price_per_output_hour: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Used {
    #[serde(flatten)]
    day: UsageDay,
    /// In `currency`.
    cost: f64,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Total {
    stream_seconds: i64,
    output_seconds: i64,
    cost: f64,
}

/// Seconds on air of each agent and day, and what they cost.
#[utoipa::path(
    get, path = "/v1/usage", tag = "office", params(Period),
    responses((status = 200, description = "Days and their sum", body = Usage))
)]
async fn usage(
    State(api): State<Api>,
    caller: Caller,
    Query(period): Query<Period>,
) -> Result<axum::Json<Usage>, Problem> {
    let who = caller.require(ApiRole::Operator)?;
    if period.agent_id.as_ref().is_some_and(|id| !is_id(id)) {
        return Err(Problem::field("agentId", "expected an agent's id"));
    }
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let to = day("to", period.to)?.unwrap_or(today);
    let from = day("from", period.from)?.unwrap_or(to.first_of_month());
    let days = (to - from).get_days();
    if !(0..DAYS).contains(&i64::from(days)) {
        return Err(
            Problem::field("from", "expected a day before `to`, and at most 366 days").limit(DAYS.unsigned_abs())
        );
    }
    let (from, to) = (from.to_string(), to.to_string());
    let context = api.service.context();
    let found = context.store.usage(who.tenant(), period.agent_id.as_deref(), &from, &to).await?;
    let config = context.config();
    let price = config.streaming.price_per_output_hour;
    let mut total = Total::default();
    let items = found.into_iter().map(|day| {
        let cost = cost(day.output_seconds, price);
        total.stream_seconds += day.stream_seconds;
        total.output_seconds += day.output_seconds;
        Used { day, cost }
    });
    let items = items.collect();
    total.cost = cost(total.output_seconds, price);
    let currency = config.streaming.currency.clone();
    Ok(axum::Json(Usage { from, to, items, total, currency, price_per_output_hour: price }))
}

/// To a ten-thousandth of the currency.
fn cost(output_seconds: i64, price: f64) -> f64 {
    (output_seconds as f64 / 3_600.0 * price * 1e4).round() / 1e4
}

fn day(name: &str, text: Option<String>) -> Result<Option<Date>, Problem> {
    let Some(text) = text else { return Ok(None) };
    // jiff takes more forms than we promise.
    let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let date = plain.then(|| text.parse::<Date>().ok()).flatten();
    date.map(Some).ok_or_else(|| Problem::field(name, "expected a day like 2026-11-21"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_costs_the_price_of_an_hour() {
        assert_eq!(cost(3_600, 0.5).to_bits(), 0.5f64.to_bits());
        assert_eq!(cost(0, 0.5).to_bits(), 0f64.to_bits());
        assert_eq!(cost(90, 0.1).to_bits(), 0.0025f64.to_bits());
    }

    #[test]
    fn a_day_in_another_form_is_refused_by_its_field() {
        for bad in ["", "2026-1-2", "20261121", "2026-13-01", "2026-02-30", "2026-11-21T00:00", "-026-11-21"] {
            let problem = day("from", Some(bad.into())).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some("from"), "{bad}");
        }
        assert!(day("to", Some("2026-11-21".into())).unwrap().is_some());
    }
}
