//! Into the room: it is opened through the API, a token is signed, signalling connects.

use super::RoomTarget;
use super::ends::{self, End};
use crate::livekit::ApiError;
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

/// By what a publisher knows itself in the room.
#[derive(Clone, Debug)]
pub(super) struct Ourselves {
    /// Names this run of agentcast in the participant's metadata.
    pub instance: String,
    /// Of the last stay; empty before the first. Metadata can be overwritten by an operator.
    pub sid: String,
}

impl Ourselves {
    fn is(&self, p: &proto::ParticipantInfo) -> bool {
        p.sid == self.sid || instance_in(&p.metadata).is_some_and(|instance| instance == self.instance)
    }
}

/// Opens the room, or finds it open.
pub(super) async fn open_room(rooms: &Rooms, target: &RoomTarget, metadata: &RoomMetadata) -> Result<(), End> {
    let opened = rooms.ensure(&target.room, &metadata.to_json()).await;
    opened.map(|_| ()).map_err(|e| ends::from_api(&e))
}

/// Whether somebody else is in the room under our identity. Asked before every way back: two publishers of one identity
/// would throw each other out for ever, and livekit-server (1.13.5) resumes by identity alone, so that a resume would hit
/// the session of the one who came meanwhile.
///
/// # Errors
/// When the server does not answer: nobody can tell, and the way back has to wait.
pub(super) async fn is_replaced(rooms: &Rooms, target: &RoomTarget, ourselves: &Ourselves) -> Result<bool, ApiError> {
    match rooms.participant(&target.room, &target.identity).await {
        Ok(there) => Ok(there.is_some_and(|p| !ourselves.is(&p))),
        Err(error) if error.is_passing() => Err(error),
        // A key that may not look: the server itself will say what it thinks of us.
        Err(_) => Ok(false),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_knows_itself_by_its_run_or_its_last_stay_and_nobody_else() {
        let ourselves = Ourselves { instance: "run-1".into(), sid: "PA_1".into() };
        let there = |sid: &str, metadata: &str| {
            ourselves.is(&proto::ParticipantInfo { sid: sid.into(), metadata: metadata.into(), ..Default::default() })
        };
        assert!(there("PA_2", r#"{"agent":"Ada","instance":"run-1"}"#), "a join whose answer was lost");
        assert!(there("PA_1", "an operator's words"));
        for metadata in [r#"{"instance":"run-2"}"#, r#"{"instance":1}"#, "", "no json"] {
            assert!(!there("PA_2", metadata), "{metadata}");
        }
    }
}
