//! `serve`: takes the webhooks of a LiveKit server and shows what they tell.

use super::livekit::ServerArgs;
use super::status::say;
use crate::http::server::{Limits, serve};
use crate::webhook::{Change, Hub, PATH};
use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Address and port to listen on (port 0: any free one). The status page answers only callers on this host
    #[arg(long, env = "AGENTCAST_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: Serve) -> anyhow::Result<ExitCode> {
    let server = args.server.server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let stop = stopped().context("signals cannot be handled")?;
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("--listen {}: cannot listen there; name another port", args.listen))?;
        let address = listener.local_addr()?;
        let hub = Hub::new(&server);
        say!("agentcast serve: http://{address}/, LiveKit at {}", server.host());
        say!("webhooks: name http://{address}{PATH} under webhook.urls of the LiveKit server, or what leads there");
        let changes = hub.subscribe();
        let app = hub.router().merge(pages(hub.clone()));
        tokio::select! {
            () = serve(listener, app, Limits::default(), stop) => {}
            () = hub.run() => {}
            () = tell(changes) => {}
        }
        say!("agentcast serve: stopped");
        Ok(ExitCode::SUCCESS)
    })
}

/// Ready once somebody asks the program to end.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    let [int, term, hup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (mut int, mut term, mut hup) = (int?, term?, hup?);
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    })
}

fn pages(hub: Hub) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/status.json", get(status)).with_state(hub)
}

/// Names of who watches are nobody else's business, so only callers on this host are answered: by their address, and by
/// the name that they call us by, since a proxy and a page of another site call from here too.
async fn status(ConnectInfo(peer): ConnectInfo<SocketAddr>, State(hub): State<Hub>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !peer.ip().to_canonical().is_loopback() || !crate::http::is_loopback(host) {
        return (StatusCode::FORBIDDEN, "only for callers on the host that agentcast runs on\n").into_response();
    }
    match serde_json::to_string(&hub.status()) {
        Ok(body) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Logs what changes. Never ends by itself.
async fn tell(mut changes: Receiver<Change>) {
    loop {
        match changes.recv().await {
            // Names come from outside: quoted, so that a terminal takes no orders from them.
            Ok(Change::RoomStarted { room, .. }) => tracing::info!("room {room:?} started"),
            Ok(Change::RoomFinished { room, .. }) => tracing::info!("room {room:?} finished"),
            Ok(Change::ParticipantJoined { room, identity, .. }) => tracing::info!("{identity:?} joined {room:?}"),
            Ok(Change::ParticipantLeft { room, identity, .. }) => tracing::info!("{identity:?} left {room:?}"),
            Ok(Change::Viewers { room, now, .. }) => tracing::info!("{now} watch {room:?}"),
            Ok(Change::TrackPublished { room, identity, .. }) => {
                tracing::info!("{identity:?} publishes a track in {room:?}");
            }
            Ok(Change::TrackUnpublished { room, identity, .. }) => {
                tracing::info!("{identity:?} took a track back in {room:?}");
            }
            Ok(Change::Egress(info)) => {
                let error = crate::output::log::scrub(&info.error);
                tracing::info!(
                    "egress {:?} of {:?}: {}, {error:?}",
                    info.egress_id,
                    info.room_name,
                    word(info.status())
                );
            }
            Ok(Change::Ingress(ingress)) => {
                let state = if ingress.live { "live" } else { "ended" };
                tracing::info!("ingress {:?} into {:?}: {state}", ingress.id, ingress.room);
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!("{missed} changes were too many to tell one by one"),
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn word(status: livekit_protocol::EgressStatus) -> &'static str {
    use livekit_protocol::EgressStatus as S;
    match status {
        S::EgressStarting => "starting",
        S::EgressActive => "active",
        S::EgressEnding => "ending",
        S::EgressComplete => "complete",
        S::EgressFailed => "failed",
        S::EgressAborted => "aborted",
        S::EgressLimitReached => "ended at its limit",
    }
}
