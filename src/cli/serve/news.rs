//! What a LiveKit server tells: in the log, and at `/status.json` for `agentcast check --service`.

use crate::http::api::problem::{Kind, Problem};
use crate::webhook::{Change, Hub, NOT_LISTED};
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// `/status.json`, with or without a LiveKit server.
pub fn page(hub: Option<Hub>) -> Router {
    Router::new().route("/status.json", get(status)).with_state(hub)
}

/// Names of who watches are nobody else's business, so only callers on this host are answered: by their address, and by
/// the name that they call us by, since a proxy and a page of another site call from here too.
async fn status(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    State(hub): State<Option<Hub>>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !peer.ip().to_canonical().is_loopback() || !crate::http::is_loopback(host) {
        let words = "only for callers on the host that agentcast runs on";
        return Problem::new(Kind::FORBIDDEN, words).into_response();
    }
    let body = match hub {
        Some(hub) => serde_json::to_string(&hub.status()),
        None => Ok(r#"{"webhooks":null}"#.to_owned()),
    };
    match body {
        Ok(body) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// Logs what changes. Never ends by itself.
pub async fn tell(mut changes: Receiver<Change>) {
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
            Ok(Change::EgressNotListed(info)) => {
                tracing::warn!("egress {:?} of {:?}: {NOT_LISTED}", info.egress_id, info.room_name);
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
