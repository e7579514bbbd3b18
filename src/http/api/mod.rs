//! The service's HTTP API.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the router |
//! | [`layers`] | what wraps it: request ids, access log, limits, compression, CORS, panics, calls that run to their end |
//! | [`problem`] | errors as `application/problem+json` (RFC 9457) |
//! | [`extract`] | bodies, queries and paths, with problems that name the field |
//! | [`auth`] | who calls: API keys, operators' cookies, session tokens |
//! | `fresh` | API keys and sessions that were read a moment ago |
//! | [`guard`] | rate limits and their headers, Idempotency-Key, ETag and If-Match |
//! | [`agents`], [`destinations`], [`keys`], [`flags`], [`office`] | agents, destinations and their keys, API keys and tenants, the flag, audit and usage |
//! | [`mod@matches`], [`sessions`], [`feed`], `watch`, [`streams`], `events` | matches and what goes in and out live |
//! | [`access`], `line`, [`live`], [`state`] | for those: who may, one WebSocket, what open connections share, what is shown |
//! | [`pages`] | one-time codes, cookies, the overlay page |
//! | [`docs`] | `/openapi.json` and `/docs`, made of what the routes say of themselves |
//! | [`metrics`], `scrape` | `/metrics`, `/healthz`, `/readyz` |

pub mod access;
pub mod agents;
pub mod auth;
pub mod codes;
pub mod destinations;
pub mod docs;
mod events;
pub mod extract;
pub mod feed;
pub mod flags;
mod fresh;
pub mod guard;
pub mod keys;
pub mod layers;
mod line;
pub mod live;
pub mod matches;
pub mod metrics;
pub mod office;
pub mod pages;
pub mod problem;
mod scrape;
pub mod sessions;
pub mod state;
pub mod streams;
mod watch;

use crate::server::Service;
use axum::Router;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub service: Service,
    pub guard: Arc<guard::Guard>,
    pub codes: Arc<codes::Codes>,
    pub cookies: Arc<auth::Cookies>,
    pub keys: Arc<auth::Keys>,
    pub sessions: Arc<auth::Sessions>,
    /// Calls that change something and sockets: what must end before the store closes.
    pub tasks: TaskTracker,
    /// The service ends: sockets and event streams close.
    pub closing: CancellationToken,
    /// What open connections share, and what is counted.
    pub live: Arc<live::Live>,
}

impl Api {
    pub fn new(service: Service) -> Api {
        let guard = Arc::new(guard::Guard::new(service.context().config.clone()));
        Api {
            service,
            guard,
            codes: Arc::default(),
            cookies: Arc::default(),
            keys: Arc::default(),
            sessions: Arc::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            live: Arc::default(),
        }
    }

    /// Tells sockets and event streams to end and waits for what runs, at most for `deadline`. To be called when the server
    /// takes no more requests and before the service drains.
    pub async fn close(&self, deadline: std::time::Duration) {
        self.closing.cancel();
        self.tasks.close();
        // What is late is a call that waits for something; it ends with the runtime.
        let _ = tokio::time::timeout(deadline, self.tasks.wait()).await;
    }
}

/// The whole API.
pub fn router(api: Api) -> Router {
    router_with(api, Router::new())
}

/// The whole API and other routes, under the same request ids, limits, fields and log.
pub fn router_with(api: Api, others: Router) -> Router {
    let (router, document) = routes().split_for_parts();
    let router = router.merge(docs::router(&docs::finish(&document)));
    layers::wrap(router.merge(others.with_state(())), api)
}

/// What the API says of itself: `/openapi.json`.
pub fn document() -> serde_json::Value {
    docs::finish(&routes().into_openapi())
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(docs::head()).merge(rest()).merge(live())
}

/// What is set up.
fn rest() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(agents::routes())
        .merge(destinations::routes())
        .merge(keys::routes())
        .merge(flags::routes())
        .merge(office::routes())
}

/// What happens.
fn live() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(matches::routes())
        .merge(sessions::routes())
        .merge(feed::routes())
        .merge(watch::routes())
        .merge(streams::routes())
        .merge(events::routes())
        .merge(pages::routes())
        .merge(metrics::routes())
}

/// For routes whose bodies may be larger (or must be smaller) than [`extract::BODY_BYTES`]:
/// `.routes(routes!(put).layer(body_limit(PICTURE_BYTES)))`, with `utoipa_axum::router::UtoipaMethodRouterExt` in scope.
pub fn body_limit(bytes: usize) -> layers::BodyLimitLayer {
    axum::Extension(extract::BodyLimit(bytes))
}
