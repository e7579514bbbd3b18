//! The preview: a page with a real `<video>`, fed over a WebSocket with the same packets that every destination gets.
//!
//! It decides nothing about pictures or packets. It listens on loopback only and checks `Host` and, for the stream,
//! `Origin`, so that no other page in the operator's browser can read it.

pub mod api;
pub mod server;

use crate::output::preview::{PreviewHub, Segment};
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a page that plays says of itself, twice a second.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Viewing {
    /// Position, seconds.
    pub at: f64,
    /// Distance from the newest fragment, seconds.
    pub behind: f64,
    /// Frames shown and frames dropped so far.
    pub frames: u64,
    pub dropped: u64,
    pub width: u32,
    pub height: u32,
}

/// A page that was silent for longer plays no more.
const SILENT: Duration = Duration::from_secs(3);
/// Longest report of a page, bytes.
const REPORT: usize = 1_024;
/// Connections get this long to end by themselves; then they are cut.
const CLOSE: Duration = Duration::from_millis(500);

/// The preview server of one stream.
pub struct PreviewServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    close: watch::Sender<bool>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

struct Shared {
    hub: PreviewHub,
    /// One line about the stream for the page.
    line: Box<dyn Fn() -> String + Send + Sync>,
    viewing: Mutex<Option<(Instant, Viewing)>>,
    close: watch::Receiver<bool>,
}

impl PreviewServer {
    /// Listens on 127.0.0.1:`port` (0: any free one). `line` is shown under the picture.
    pub async fn bind(
        port: u16,
        hub: PreviewHub,
        line: impl Fn() -> String + Send + Sync + 'static,
    ) -> std::io::Result<PreviewServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (close, closed) = watch::channel(false);
        let shared = Arc::new(Shared { hub, line: Box::new(line), viewing: Mutex::default(), close: closed.clone() });
        let app = Router::new()
            .route("/", get(page))
            .route("/status.json", get(status))
            .route("/preview", get(preview))
            .layer(from_fn(only_here))
            .with_state(shared.clone());
        let mut stop = closed;
        let serve = axum::serve(listener, app).with_graceful_shutdown(async move {
            // An error means that the server itself is gone.
            let _ = stop.wait_for(|closed| *closed).await;
        });
        let task = tokio::spawn(serve.into_future());
        Ok(PreviewServer { address, shared, close, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the newest report of a page that plays now said.
    pub fn viewing(&self) -> Option<Viewing> {
        self.shared.viewing()
    }

    /// Ends all sessions and frees the port.
    pub async fn shutdown(mut self) {
        // Nobody may be listening any more: then it is down already.
        let _ = self.close.send(true);
        match tokio::time::timeout(CLOSE, &mut self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!("the preview server ended: {error}"),
            Ok(Err(error)) => tracing::error!("the preview server ended by a panic: {error}"),
            // Somebody holds a connection open and says nothing.
            Err(_) => self.task.abort(),
        }
    }
}

impl Shared {
    fn viewing(&self) -> Option<Viewing> {
        let viewing = self.viewing.lock().unwrap_or_else(PoisonError::into_inner);
        viewing.as_ref().filter(|(at, _)| at.elapsed() < SILENT).map(|(_, viewing)| viewing.clone())
    }

    /// Keeps what a page says of itself, when it can be true.
    fn report(&self, text: &str) {
        let Ok(viewing) = serde_json::from_str::<Viewing>(text) else { return };
        let day = 0.0..86_400.0;
        if day.contains(&viewing.at) && day.contains(&viewing.behind) {
            *self.viewing.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), viewing));
        }
    }
}

const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      media-src blob:; connect-src 'self'; frame-ancestors 'none'";

async fn page() -> impl IntoResponse {
    (
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")],
        Html(include_str!("preview.html")),
    )
}

async fn status(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let body = serde_json::json!({
        "line": (shared.line)(),
        "players": shared.hub.subscribers(),
        "viewing": shared.viewing(),
    });
    let body = body.to_string();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
}

/// Turns away whoever reaches us by a name that somebody else's DNS points here, and pages of other sites: browsers send
/// `Origin` with every WebSocket.
async fn only_here(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST).unwrap_or_default();
    let foreign = headers.contains_key(header::ORIGIN)
        && text(headers, header::ORIGIN).and_then(|o| o.strip_prefix("http://")) != Some(host);
    if foreign || !is_loopback(host) {
        return (StatusCode::FORBIDDEN, "open the preview at the address that agentcast printed").into_response();
    }
    next.run(request).await
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

async fn preview(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(REPORT).on_upgrade(move |socket| session(socket, shared))
}

/// Whether a `Host` header names this host.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

async fn session(mut socket: WebSocket, shared: Arc<Shared>) {
    let mut segments = shared.hub.subscribe();
    let mut close = shared.close.clone();
    loop {
        let message = tokio::select! {
            // The guard must not live across the sends below.
            _ = async { close.wait_for(|closed| *closed).await.is_ok() } => break,
            segment = segments.next() => match segment {
                Some(Segment::Init(init)) => {
                    let kind = serde_json::json!({ "type": init.mime() }).to_string();
                    if socket.send(Message::Text(kind.into())).await.is_err() {
                        return;
                    }
                    Message::Binary(init.bytes.clone())
                }
                Some(Segment::Fragment(fragment)) => Message::Binary(fragment.bytes),
                None => break,
            },
            said = socket.recv() => {
                match said {
                    Some(Ok(Message::Text(text))) => shared.report(&text),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
                continue;
            }
        };
        // A page that reads nothing must not hold up the end.
        tokio::select! {
            _ = async { close.wait_for(|closed| *closed).await.is_ok() } => return,
            sent = socket.send(message) => if sent.is_err() { return },
        }
    }
    // The page may be gone already, or read nothing.
    let _ = tokio::time::timeout(CLOSE / 2, socket.send(Message::Close(None))).await;
}
