//! `/healthz`, `/readyz` and `/metrics`.
//!
//! A tenant's key gets `streams`, `stream_*`, `matches` and, of role operator, `destination_*` of its own tenant and nothing
//! else; everything is for this machine and for keys of the whole service (admins).
//!
//! Metrics (OpenMetrics text; every name begins with `agentcast_`). Labels are ids, words of our own, routes as they are
//! written in `/openapi.json`, and numbers; never a name that a caller chose.
//!
//! | metric | kind | labels | what |
//! |---|---|---|---|
//! | `streams` | gauge | `state` | streams that have not ended: `starting`, `live`, `waiting`, `ending` |
//! | `stream_fps`, `stream_kbps` | gauge | `stream` | pictures a second and kbit/s, over 2 s |
//! | `stream_frames_total`, `stream_skipped_total` | counter | `stream` | pictures encoded; pictures late and left out |
//! | `stream_viewers` | gauge | `stream` | viewers, where destinations can tell |
//! | `destination_up` | gauge | `destination`, `stream` | 1 while it takes the stream |
//! | `destination_kbps`, `destination_queue_ms` | gauge | `destination`, `stream` | kbit/s over 2 s; media that waits, ms |
//! | `destination_bytes_total`, `destination_dropped_total`, `destination_reconnects_total` | counter | `destination`, `stream` | bytes sent; video packets dropped; connections made again |
//! | `frame_seconds`, `encode_seconds` | histogram | – | drawing one picture; encoding one |
//! | `event_to_packet_seconds` | histogram | – | from a state that is shown to its first packet in every destination's queue |
//! | `matches` | gauge | `phase` | matches that are not closed: `waiting`, `running`, `over` |
//! | `feed_events_total` | counter | `outcome` | events fed: `applied`, `duplicate`, `held`, `ignored` |
//! | `feed_refused_total` | counter | `reason` | calls and messages refused: `event`, `too-fast`, `busy`, `closed`, `record`, `store`, `need-snapshot` |
//! | `feed_seconds` | histogram | – | from an event's arrival to its acknowledgement, the log's write included |
//! | `connections` | gauge | `kind` | open `feed`, `watch` (WebSockets), `watch-sse`, `events` (SSE) |
//! | `http_requests_total` | counter | `method`, `route`, `status` | requests answered |
//! | `http_request_seconds` | histogram | `method`, `route` | until the answer's head |
//! | `store_seconds` | gauge | – | how long the store took to answer just now; −1: it did not |
//! | `webhooks_total` | counter | `outcome` | LiveKit's webhooks: `verified`, `refused`, `duplicate`, `stale`, `unknown`, `full` |
//! | `webhook_events_total` | counter | `event` | verified ones by type |
//! | `livekit_listings_total` | counter | `outcome` | rounds of listing LiveKit: `done`, `failed` |
//! | `program_info` | info | `version` | the program |

use super::Api;
use super::auth::{Caller, Client};
use super::problem::{Kind, Problem};
use crate::http::is_loopback;
use crate::server::matches::{FeedError, FeedReport};
use crate::store::model::ApiRole;
use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::time::{Duration, Instant};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// The store has this long to answer.
const STORE_TIME: Duration = Duration::from_secs(2);
/// How long its answer is taken for true.
const STORE_FRESH: Duration = Duration::from_secs(1);

/// What the API counts by itself.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    events: Family<OutcomeLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    feed_seconds: Histogram,
    connections: Family<KindLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// From 1 ms to 8 s.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 8.0])
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("agentcast");
        let metrics = Metrics {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            events: Family::default(),
            refused: Family::default(),
            feed_seconds: seconds(),
            connections: Family::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("http_request_seconds", "Until the answer's head", metrics.request_seconds.clone());
        registry.register("feed_events", "Events fed, by what became of them", metrics.events.clone());
        registry.register("feed_refused", "Calls and messages that fed nothing, by reason", metrics.refused.clone());
        registry.register(
            "feed_seconds",
            "From an event's arrival to its acknowledgement, the log's write included",
            metrics.feed_seconds.clone(),
        );
        registry.register("connections", "Open WebSockets and streams of events", metrics.connections.clone());
        Metrics { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts what became of a call or message.
    pub(super) fn fed(&self, fed: &Result<FeedReport, FeedError>, took: Duration) {
        let reason = match fed {
            Ok(report) => {
                let FeedReport { applied, duplicates, held, ignored, .. } = *report;
                for (outcome, n) in
                    [("applied", applied), ("duplicate", duplicates), ("held", held), ("ignored", ignored)]
                {
                    if n > 0 {
                        self.events.get_or_create(&OutcomeLabel { outcome }).inc_by(n);
                    }
                }
                self.feed_seconds.observe(took.as_secs_f64());
                if !report.need_snapshot {
                    return;
                }
                "need-snapshot"
            }
            Err(FeedError::Event { .. }) => "event",
            Err(FeedError::TooFast { .. }) => "too-fast",
            Err(FeedError::Busy { .. }) => "busy",
            Err(FeedError::Closed) => "closed",
            Err(FeedError::Record(_)) => "record",
            Err(FeedError::Store(_)) => "store",
        };
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a connection while the answer lives.
    pub(super) fn socket(&self, kind: &'static str) -> Open {
        let gauge = self.connections.get_or_create_owned(&KindLabel { kind });
        gauge.inc();
        Open(gauge)
    }
}

/// An open connection.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts requests and times them, by route. For the router, inside of what finds the route.
pub(super) async fn measure(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    // Only what we wrote ourselves: a path that matches nothing may be anything.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let metrics = &api.live.metrics;
    let status = response.status().as_u16();
    metrics.requests.get_or_create(&RequestLabels { method, route: route.clone(), status }).inc();
    metrics.request_seconds.get_or_create(&RouteLabels { method, route }).observe(began.elapsed().as_secs_f64());
    response
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the service can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
    pub lines: Vec<ReadyLine>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyLine {
    /// `store`, `stage` (drawing and encoding) or `draining`.
    pub what: &'static str,
    pub ok: bool,
    /// In plain words.
    pub detail: String,
}

/// Whether the service can take work: its store answers, pictures can be drawn, and it is not about to end. The lines say
/// which of them it is; why is for those who may read all metrics.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It can", body = Ready),
        (status = 503, description = "It cannot", body = Ready),
    )
)]
pub(super) async fn readyz(State(api): State<Api>, scraper: Result<Scraper, Problem>) -> Response {
    let store = match store_time(&api).await {
        Some(took) => (true, format!("it answered in {} ms", took.as_millis())),
        None => (false, "it does not answer; the log says why".to_owned()),
    };
    let readiness = api.live.readiness();
    let stage = match readiness.stage {
        Ok(adapter) => (true, adapter),
        Err(words) => (false, words),
    };
    let draining = match readiness.draining || api.closing.is_cancelled() {
        true => (false, "the service is about to end".to_owned()),
        false => (true, "no".to_owned()),
    };
    // Names of drivers and paths are not for everybody who can reach the port.
    let words = scraper.is_ok_and(|scraper| scraper.tenant.is_none());
    let lines = [("store", store), ("stage", stage), ("draining", draining)];
    let line = |(what, (ok, detail))| {
        let short =
            if ok { "as it should be" } else { "not as it should be; ask on this machine or with an admin's key" };
        ReadyLine { what, ok, detail: if words { detail } else { short.to_owned() } }
    };
    let lines: Vec<_> = lines.into_iter().map(line).collect();
    let ready = lines.iter().all(|line| line.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, lines })).into_response()
}

/// How long the store takes to answer; None: it does not. Asked at most once a second, whoever wants to know.
async fn store_time(api: &Api) -> Option<Duration> {
    let mut known = api.live.store_time.lock().await;
    if let Some((asked, took)) = *known
        && asked.elapsed() < STORE_FRESH
    {
        return took;
    }
    let began = Instant::now();
    let took = match tokio::time::timeout(STORE_TIME, api.service.context().store.ping()).await {
        Ok(Ok(())) => Some(began.elapsed()),
        Ok(Err(error)) => {
            tracing::warn!("the store does not answer: {error}");
            None
        }
        Err(_) => None,
    };
    *known = Some((Instant::now(), took));
    took
}

/// Somebody who may read metrics: from this machine, without a proxy between, or with a key of role viewer or above.
pub struct Scraper {
    /// Whose streams and matches, and as what; None: everything.
    pub tenant: Option<(String, ApiRole)>,
}

impl FromRequestParts<Api> for Scraper {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Scraper, Problem> {
        let peer = parts.extensions.get::<Client>().and_then(|client| client.0);
        let direct = peer.is_some_and(|peer| peer.is_loopback()) && unforwarded(&parts.headers);
        if direct && !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(Scraper { tenant: None });
        }
        let caller = Caller::from_request_parts(parts, api).await.map_err(|problem| match problem.status {
            401 => Problem::new(
                Kind::UNAUTHORIZED,
                "metrics are for this machine, or for an API key of role viewer or above",
            ),
            _ => problem,
        })?;
        let who = caller.require(ApiRole::Viewer)?;
        Ok(Scraper { tenant: who.tenant.clone().map(|tenant| (tenant, who.role)) })
    }
}

/// Whether nobody stands between: a proxy on this machine would make every caller one from this machine.
fn unforwarded(headers: &HeaderMap) -> bool {
    let proxied = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    proxied.iter().all(|name| !headers.contains_key(*name)) && host.is_none_or(is_loopback)
}

/// Metrics for Prometheus. Without a key for callers on this machine only; a tenant's key gets its own streams and matches,
/// from role operator its destinations too, and nothing of the process.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        (status = 401, description = "From elsewhere without a key", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("apiKey" = []))
)]
pub(super) async fn metrics(State(api): State<Api>, scraper: Scraper) -> Result<Response, Problem> {
    let mut text = String::new();
    let written = match &scraper.tenant {
        Some((tenant, role)) => encode(&mut text, &super::scrape::of_tenant(&api, tenant, *role)),
        None => {
            let now = super::scrape::now(&api, store_time(&api).await);
            encode_registry(&mut text, &api.live.metrics.registry).and_then(|()| encode(&mut text, &now))
        }
    };
    written.map_err(Problem::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn callers_behind_a_proxy_on_this_machine_are_not_from_this_machine() {
        let mut headers = HeaderMap::new();
        assert!(unforwarded(&headers), "HTTP/2 has its host elsewhere");
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        assert!(unforwarded(&headers));
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.5"));
        assert!(!unforwarded(&headers));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("cast.example.com"));
        assert!(!unforwarded(&headers), "a proxy that says nothing but keeps the name");
    }
}
