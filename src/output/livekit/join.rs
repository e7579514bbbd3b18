//! Into the room: it is opened through the API, a token is signed, signalling connects.

use super::RoomTarget;
use super::ends::{self, End};
use crate::livekit::rooms::{RoomMetadata, Rooms};
use crate::livekit::token::{Role, TokenRequest};
use livekit_protocol as proto;
use livekit_signaling::{CLIENT_PROTOCOL_DEFAULT, SignalClient, SignalEvents, SignalOptions};
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// For the websocket. Shorter than livekit-signaling's own limits together, which add up to 13 s.
const DEADLINE: Duration = Duration::from_secs(10);

/// A stay that has begun: signalling stands, nothing is published yet.
pub(super) struct Joined {
    pub signal: Arc<SignalClient>,
    pub events: SignalEvents,
    pub response: proto::JoinResponse,
    /// Ourselves in the room.
    pub me: proto::ParticipantInfo,
    /// Addresses of the server.
    pub addresses: Vec<SocketAddr>,
}

/// Joins with a token of its own. `metadata`: the participant's.
pub(super) async fn join(target: &RoomTarget, metadata: String) -> Result<Joined, End> {
    let host = target.server.host();
    let request = TokenRequest {
        name: target.name.clone(),
        metadata,
        ..TokenRequest::new(Role::Publisher, &target.room, &target.identity)
    };
    let token = target.server.token(&request).map_err(|e| End::Final(e.to_string()))?;
    let mut options = SignalOptions::default();
    // We publish and listen to nobody. Two peer connections: see the design notes in `mod`.
    options.auto_subscribe = false;
    options.single_peer_connection = false;
    // Neither packet trailers nor data streams are spoken here.
    options.client_capabilities.clear();
    options.client_protocol = CLIENT_PROTOCOL_DEFAULT;
    options.sdk_options.sdk_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let connect = SignalClient::connect(target.server.ws_url(), token.expose_secret(), options, None);
    let (signal, response, events) = match tokio::time::timeout(DEADLINE, connect).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(ends::from_signal(&error, host, &target.identity)),
        Err(_) => return Err(End::Lost(format!("the LiveKit server at {host} does not answer"))),
    };
    let signal = Arc::new(signal);
    // livekit-signaling takes both for granted and would panic in its tasks.
    let sane = response.ping_interval > 0 && response.ping_timeout > 0;
    let me = response.participant.clone().filter(|p| sane && !p.sid.is_empty());
    let Some(me) = me else {
        leave(&signal).await;
        return Err(End::Lost(format!(
            "{host} answers the join without what belongs into it; is it a LiveKit server?"
        )));
    };
    Ok(Joined { signal, events, response, me, addresses: resolve(host, target.server.ws_url()).await })
}

/// Opens the room, or finds it open. `first`: an own earlier stay is no reason to stay away; on a rejoin somebody else under
/// our identity is.
pub(super) async fn open_room(
    target: &RoomTarget,
    metadata: &RoomMetadata,
    instance: &str,
    first: bool,
) -> Result<(), End> {
    let rooms = Rooms::new(&target.server);
    rooms.ensure(&target.room, &metadata.to_json()).await.map_err(|e| ends::from_api(&e))?;
    if first {
        return Ok(());
    }
    // Two publishers of one identity would throw each other out for ever, so whoever was away looks before it returns.
    let there = rooms.participants(&target.room).await.unwrap_or_default();
    let ours = |p: &proto::ParticipantInfo| instance_in(&p.metadata).is_some_and(|i| i == instance);
    if there.iter().any(|p| p.identity == target.identity && !ours(p)) {
        return Err(ends::taken_over(&target.identity));
    }
    Ok(())
}

/// Which run of agentcast a participant's metadata names.
fn instance_in(metadata: &str) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    metadata.get("instance")?.as_str().map(str::to_owned)
}

/// Says goodbye and closes signalling, within 2 s.
pub(super) async fn leave(signal: &SignalClient) {
    let goodbye = proto::LeaveRequest {
        reason: proto::DisconnectReason::ClientInitiated as i32,
        action: proto::leave_request::Action::Disconnect as i32,
        ..Default::default()
    };
    let goodbye = async {
        if signal.is_connected().await {
            signal.send(proto::signal_request::Message::Leave(goodbye)).await;
        }
        signal.close().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
}

async fn resolve(host: &str, url: &str) -> Vec<SocketAddr> {
    let has_port = host.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'));
    let port = if url.starts_with("wss://") { 443 } else { 80 };
    let address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    tokio::net::lookup_host(address).await.map(Iterator::collect).unwrap_or_default()
}
