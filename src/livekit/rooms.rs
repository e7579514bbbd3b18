//! Rooms and participants through the server's RoomService.

use super::token::{TokenError, check_name};
use super::{ApiError, Server};
use livekit_api::access_token::VideoGrants;
use livekit_api::services::ServiceResult;
use livekit_api::services::room::RoomClient;
use livekit_protocol as proto;
use secrecy::ExposeSecret;
use serde_json::json;
use std::time::Duration;

/// A room stays this long while nobody has joined yet.
pub const EMPTY_TIMEOUT: Duration = Duration::from_secs(300);
/// A room stays this long after the last one left. LiveKit's own 20 s are shorter than a restart of agentcast or of its
/// host, and a room that is gone takes its metadata along.
pub const DEPARTURE_TIMEOUT: Duration = Duration::from_secs(120);
/// Metadata of a room, bytes: the limit of LiveKit's server for metadata.
pub const METADATA_BYTES: usize = 64_000;
/// RoomService answers within milliseconds. Longer than this is an outage, and callers have a stream to look after.
const TIMEOUT: Duration = Duration::from_secs(5);

/// RoomService of one server. Requests time out after 5 s and are not repeated: callers know when to ask again.
#[derive(Debug)]
pub struct Rooms {
    server: Server,
    client: RoomClient,
}

/// What viewers' pages read from a room's metadata: `{"title": …, "agent": …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomMetadata {
    pub title: String,
    /// Display name of the agent, or of the match.
    pub agent: String,
}

impl RoomMetadata {
    pub fn to_json(&self) -> String {
        json!({ "title": self.title, "agent": self.agent }).to_string()
    }
}

fn check_metadata(metadata: &str) -> Result<(), ApiError> {
    if metadata.len() <= METADATA_BYTES {
        return Ok(());
    }
    let problem = format!("at most {METADATA_BYTES} bytes, not {}", metadata.len());
    Err(ApiError::Field { field: "metadata", problem })
}

impl Rooms {
    /// Connects at the first request.
    pub fn new(server: &Server) -> Rooms {
        super::install_crypto();
        let client = RoomClient::with_api_key(&server.http_url(), server.key(), server.secret().expose_secret())
            .with_failover(false)
            .with_request_timeout(TIMEOUT);
        Rooms { server: server.clone(), client }
    }

    /// Creates the room, or gives the one that there is this metadata. One that there is keeps its timeouts: the server
    /// changes them only by making the room anew.
    ///
    /// Sound and picture are tied together for viewers (`sync_streams`, which `livekit-api` cannot ask for): without it a viewer
    /// plays each as soon as it has it, and the sound was measured 173 ms behind on a busy machine.
    ///
    /// `metadata`: JSON, see [`RoomMetadata`]; at most [`METADATA_BYTES`].
    pub async fn ensure(&self, room: &str, metadata: &str) -> Result<proto::Room, ApiError> {
        check_name("room", room)?;
        check_metadata(metadata)?;
        let request = proto::CreateRoomRequest {
            name: room.to_owned(),
            empty_timeout: EMPTY_TIMEOUT.as_secs() as u32,
            departure_timeout: DEPARTURE_TIMEOUT.as_secs() as u32,
            metadata: metadata.to_owned(),
            sync_streams: true,
            ..Default::default()
        };
        let grants = VideoGrants { room_create: true, ..VideoGrants::default() };
        let created: proto::Room = self.server.room_service("CreateRoom", grants, &request, TIMEOUT).await?;
        // The server hands out a room that there is as it was.
        if created.metadata != metadata {
            return self.set_metadata(room, metadata).await;
        }
        Ok(without_password(created))
    }

    /// Everybody in the room is told.
    pub async fn set_metadata(&self, room: &str, metadata: &str) -> Result<proto::Room, ApiError> {
        check_name("room", room)?;
        check_metadata(metadata)?;
        self.done(self.client.update_room_metadata(room, metadata).await).await.map(without_password)
    }

    /// All rooms of the server.
    pub async fn list(&self) -> Result<Vec<proto::Room>, ApiError> {
        let rooms = self.done(self.client.list_rooms(Vec::new()).await).await?;
        Ok(rooms.into_iter().map(without_password).collect())
    }

    /// The room as the server lists it; None: there is none.
    pub async fn find(&self, room: &str) -> Result<Option<proto::Room>, ApiError> {
        check_name("room", room)?;
        let rooms = self.done(self.client.list_rooms(vec![room.to_owned()]).await).await?;
        Ok(rooms.into_iter().next().map(without_password))
    }

    /// Everybody in the room, hidden ones too; of a room that does not exist nobody.
    pub async fn participants(&self, room: &str) -> Result<Vec<proto::ParticipantInfo>, ApiError> {
        check_name("room", room)?;
        self.done(self.client.list_participants(room).await).await
    }

    /// One participant; None: it is not in the room, or there is no room.
    pub async fn participant(&self, room: &str, identity: &str) -> Result<Option<proto::ParticipantInfo>, ApiError> {
        check_name("room", room)?;
        check_name("identity", identity)?;
        match self.done(self.client.get_participant(room, identity).await).await {
            Ok(participant) => Ok(Some(participant)),
            Err(ApiError::NoParticipant | ApiError::NoRoom) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many watch ([`is_viewer`]).
    pub async fn viewers(&self, room: &str) -> Result<u32, ApiError> {
        let watching = self.participants(room).await?.iter().filter(|p| is_viewer(p)).count();
        Ok(u32::try_from(watching).unwrap_or(u32::MAX))
    }

    /// Sends a participant away. Its token stays valid until it expires.
    pub async fn remove(&self, room: &str, identity: &str) -> Result<(), ApiError> {
        check_name("room", room)?;
        check_name("identity", identity)?;
        self.done(self.client.remove_participant(room, identity).await).await
    }

    /// Ends the room for everybody in it.
    pub async fn delete(&self, room: &str) -> Result<(), ApiError> {
        check_name("room", room)?;
        self.done(self.client.delete_room(room).await).await
    }

    async fn done<T>(&self, result: ServiceResult<T>) -> Result<T, ApiError> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.server.explain(error, TIMEOUT).await),
        }
    }
}

/// Whether a participant counts as somebody who watches: a person or page that may subscribe and is not hidden. So neither
/// agentcast's own publishers (they subscribe to nothing) nor operators (hidden), egress and ingress jobs, agents and
/// phones.
pub fn is_viewer(participant: &proto::ParticipantInfo) -> bool {
    use proto::participant_info::{Kind, State};
    participant.kind() == Kind::Standard
        && participant.state() != State::Disconnected
        && participant.permission.as_ref().is_none_or(|p| p.can_subscribe && !p.hidden && !recorder(p))
}

/// Older servers mark recorders by the permission alone.
#[allow(deprecated)]
fn recorder(permission: &proto::ParticipantPermission) -> bool {
    permission.recorder || permission.agent
}

/// The room's TURN password is no business of callers, who may print what they get.
fn without_password(mut room: proto::Room) -> proto::Room {
    room.turn_password.clear();
    room
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> ApiError {
        match error {
            TokenError::Field { field, problem } => ApiError::Field { field, problem },
            TokenError::Sign => ApiError::Sign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::participant_info::{Kind, State};
    use secrecy::SecretString;

    fn participant(kind: Kind, change: impl FnOnce(&mut proto::ParticipantPermission)) -> proto::ParticipantInfo {
        let mut permission = proto::ParticipantPermission { can_subscribe: true, ..Default::default() };
        change(&mut permission);
        let mut info = proto::ParticipantInfo { permission: Some(permission), ..Default::default() };
        info.set_kind(kind);
        info.set_state(State::Active);
        info
    }

    #[test]
    fn only_those_who_watch_are_counted() {
        assert!(is_viewer(&participant(Kind::Standard, |_| {})));
        assert!(is_viewer(&participant(Kind::Standard, |p| p.can_publish = true)), "an approved guest watches too");
        assert!(is_viewer(&proto::ParticipantInfo::default()), "a server that leaves permissions out");
        assert!(!is_viewer(&participant(Kind::Standard, |p| p.can_subscribe = false)), "our publisher");
        assert!(!is_viewer(&participant(Kind::Standard, |p| p.hidden = true)), "an operator");
        for kind in [Kind::Egress, Kind::Ingress, Kind::Agent, Kind::Sip] {
            assert!(!is_viewer(&participant(kind, |_| {})), "{kind:?}");
        }
        let mut gone = participant(Kind::Standard, |_| {});
        gone.set_state(State::Disconnected);
        assert!(!is_viewer(&gone));
    }

    #[test]
    fn metadata_is_json_whatever_the_title() {
        let metadata = RoomMetadata { title: "\"A\" \n vs 🏆".into(), agent: "x".into() };
        let read: serde_json::Value = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(read, json!({"title": "\"A\" \n vs 🏆", "agent": "x"}));
        let error = check_metadata(&"x".repeat(METADATA_BYTES + 1)).unwrap_err();
        assert_eq!(error.to_string(), "metadata: at most 64000 bytes, not 64001");
    }

    #[test]
    fn a_name_out_of_its_limits_is_refused_before_the_server_is_asked() {
        let server = Server::new("ws://127.0.0.1:1", "key", SecretString::from("rooms-canary-secret")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(Rooms::new(&server).remove("room", "")).unwrap_err();
        assert_eq!(error.to_string(), "identity: must not be empty");
    }
}
