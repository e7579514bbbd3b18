//! The route that the server sends to, the rounds of listing, and who is told of changes.

use super::ledger::{Change, Ledger, Outcome};
use super::listing::Lister;
use super::status::{Listings, Status, Webhooks, rfc3339};
use super::verify::{Refused, Verifier};
use crate::livekit::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use livekit_protocol::{EgressInfo, WebhookEvent};
use secrecy::SecretString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::broadcast;

/// Where the server sends to.
pub const PATH: &str = "/webhooks/livekit";
/// Longest body, bytes. The server's have about 1 KB, an egress job's with many addresses 10.
pub const BODY_LIMIT: usize = 64 * 1024;
/// A body takes at most this long.
const BODY_TIME: Duration = Duration::from_secs(10);
/// From the end of one listing to the begin of the next.
const ROUND: Duration = Duration::from_secs(20);
/// Changes that a slow subscriber may be behind; then it has to look at the whole again.
const BEHIND: usize = 1_024;
/// Refusals are logged at most this often: anybody can send some.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What one LiveKit server tells, by webhook and by listing. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    verifier: Verifier,
    lister: Lister,
    clock: Clock,
    known: Mutex<Known>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Known {
    ledger: Ledger,
    webhooks: Webhooks,
    listings: Listings,
    logged: Option<Instant>,
    unlogged: u64,
}

/// The ledger's clock: ms since the Unix epoch as of the start; never goes back.
struct Clock {
    began: Instant,
    began_ms: i64,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Rejected {
    #[error("its content type is neither application/webhook+json nor application/json")]
    Type,
    #[error("its body has more than {BODY_LIMIT} bytes")]
    Large,
    #[error("its body did not arrive within {} s", BODY_TIME.as_secs())]
    Slow,
    #[error("its body broke off")]
    Cut,
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Hub {
    /// Takes webhooks that are signed with the server's key and lists what is there with it.
    #[must_use]
    pub fn new(server: &Server) -> Hub {
        Hub::with(server, Verifier::new(server.key(), server.secret().clone()))
    }

    /// Also takes webhooks that are signed with another key: `webhook.api_key` of the server names one of its own.
    #[must_use]
    pub fn also_signed_by(server: &Server, key: &str, secret: SecretString) -> Hub {
        Hub::with(server, Verifier::new(server.key(), server.secret().clone()).and(key, secret))
    }

    fn with(server: &Server, verifier: Verifier) -> Hub {
        let known = Mutex::default();
        let (changes, _) = broadcast::channel(BEHIND);
        let inner = Inner { verifier, lister: Lister::new(server), clock: Clock::new(), known, changes };
        Hub { inner: Arc::new(inner) }
    }

    /// `POST /webhooks/livekit`: 200 for what is verified, known or not; 401 for what is not, without saying why; 413, 415
    /// and 408 for what is too large, of another type or too slow.
    pub fn router(&self) -> Router {
        let route = post(receive).layer(DefaultBodyLimit::max(BODY_LIMIT));
        Router::new().route(PATH, route).with_state(self.clone())
    }

    /// Lists what is there every 20 s, at once for the first time, until dropped.
    pub async fn run(&self) {
        loop {
            self.reconcile().await;
            tokio::time::sleep(ROUND).await;
        }
    }

    /// One round of listing. What is wrong with it stands in [`Hub::status`].
    pub async fn reconcile(&self) {
        let running = self.known().ledger.running_egress().map(str::to_owned).collect();
        let listed = self.inner.lister.list(self.inner.clock.now_ms(), running).await;
        let mut known = self.known();
        let error = match listed {
            Ok((listing, error)) => {
                let mut changes = Vec::new();
                known.ledger.reconcile(&listing, &mut changes);
                known.listings.done += 1;
                known.listings.mended += changes.len() as u64;
                known.listings.last = Some(rfc3339(wall_ms()));
                self.tell(changes);
                error
            }
            Err(error) => Some(error),
        };
        known.listings.failed += u64::from(error.is_some());
        let error = error.map(|e| e.to_string());
        if error != known.listings.error {
            match &error {
                Some(words) => tracing::warn!("what LiveKit has cannot be listed: {words}"),
                None => tracing::info!("what LiveKit has can be listed again"),
            }
        }
        known.listings.error = error;
    }

    /// Everything that changes from now on. Who falls more than 1024 changes behind gets `Lagged` and has to look again at
    /// [`Hub::status`] or [`Hub::egress`].
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// The newest that is known of an egress job; kept for an hour after its end.
    #[must_use]
    pub fn egress(&self, id: &str) -> Option<Arc<EgressInfo>> {
        self.known().ledger.egress.get(id)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let known = self.known();
        Status {
            webhooks: known.webhooks.clone(),
            listings: known.listings.clone(),
            rooms: known.ledger.rooms(),
            egress: known.ledger.egress_lines(),
            ingress: known.ledger.ingress_lines(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called with the lock held, so that subscribers hear changes in their order.
    fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            // Nobody may be listening.
            let _ = self.inner.changes.send(change);
        }
    }

    fn accept(&self, body: &[u8]) {
        let event = serde_json::from_slice::<WebhookEvent>(body);
        let mut known = self.known();
        known.webhooks.verified += 1;
        known.webhooks.last = Some(rfc3339(wall_ms()));
        let event = match event {
            Ok(event) => event,
            // The protocol's reader refuses what a newer server may say, such as a new reason. The next listing has it.
            Err(_) => {
                known.webhooks.unknown += 1;
                known.webhooks.count_event("");
                tracing::debug!("a webhook cannot be read; the server may be newer than this program");
                return;
            }
        };
        known.webhooks.count_event(&event.event);
        let mut changes = Vec::new();
        let outcome = known.ledger.apply(event, self.inner.clock.now_ms(), &mut changes);
        let counter = match outcome {
            Outcome::Applied => None,
            Outcome::Duplicate => Some(&mut known.webhooks.duplicate),
            Outcome::Stale => Some(&mut known.webhooks.stale),
            Outcome::Unknown => Some(&mut known.webhooks.unknown),
            Outcome::Full => Some(&mut known.webhooks.full),
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        self.tell(changes);
    }

    fn refuse(&self, why: Rejected) {
        let mut known = self.known();
        known.webhooks.refused += 1;
        known.webhooks.last_refused = Some(rfc3339(wall_ms()));
        known.webhooks.last_refusal = Some(why.to_string());
        if known.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            let more = match std::mem::take(&mut known.unlogged) {
                0 => String::new(),
                n => format!(" ({n} others since the last such line)"),
            };
            tracing::warn!("a webhook was refused: {why}{more}");
            known.logged = Some(Instant::now());
        } else {
            known.unlogged += 1;
        }
    }
}

async fn receive(State(hub): State<Hub>, request: Request) -> Response {
    match body_of(&hub, request).await {
        Ok(body) => {
            hub.accept(&body);
            StatusCode::OK.into_response()
        }
        Err(why) => {
            hub.refuse(why);
            let status = match why {
                Rejected::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Rejected::Large => StatusCode::PAYLOAD_TOO_LARGE,
                Rejected::Slow => StatusCode::REQUEST_TIMEOUT,
                Rejected::Cut => StatusCode::BAD_REQUEST,
                Rejected::Refused(_) => StatusCode::UNAUTHORIZED,
            };
            status.into_response()
        }
    }
}

/// The verified body.
async fn body_of(hub: &Hub, request: Request) -> Result<Bytes, Rejected> {
    if !is_webhook(request.headers()) {
        return Err(Rejected::Type);
    }
    let token = request.headers().get(header::AUTHORIZATION).ok_or(Refused::NoToken)?.clone();
    // Nothing is read for a sender who does not even try.
    let token = token.to_str().map_err(|_| Refused::Malformed)?;
    let body = match tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(Rejected::Large),
        Ok(Err(_)) => return Err(Rejected::Cut),
        Err(_) => return Err(Rejected::Slow),
    };
    hub.inner.verifier.verify(Some(token), &body, wall_ms())?;
    Ok(body)
}

/// Newer servers send `application/webhook+json`, older ones `application/json`.
fn is_webhook(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/webhook+json", "application/json"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

impl Clock {
    fn new() -> Clock {
        Clock { began: Instant::now(), began_ms: wall_ms() }
    }

    fn now_ms(&self) -> i64 {
        self.began_ms + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }
}

/// ms since the Unix epoch; may jump when the clock is set.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
