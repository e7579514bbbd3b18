//! The little of the server's API that publishing needs.

use crate::livekit::{ApiError, Server};
use livekit_api::services::ServiceResult;
use livekit_api::services::room::{CreateRoomOptions, RoomClient};
use secrecy::ExposeSecret;
use std::time::Duration;

/// How long a room stays open with nobody in it. A publisher that comes back within it finds its room, and its viewers, again.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(120);

fn client(server: &Server, deadline: Duration) -> RoomClient {
    crate::livekit::install_crypto();
    RoomClient::with_api_key(&server.http_url(), server.key(), server.secret().expose_secret())
        .with_request_timeout(deadline)
}

async fn told<T>(server: &Server, deadline: Duration, answer: ServiceResult<T>) -> Result<T, ApiError> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(error) => Err(server.explain(error, deadline).await),
    }
}

/// Opens the room; one that is open gets the metadata.
pub(super) async fn open(server: &Server, room: &str, metadata: &str, deadline: Duration) -> Result<(), ApiError> {
    let timeout = u32::try_from(EMPTY_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
    let options = CreateRoomOptions {
        empty_timeout: timeout,
        departure_timeout: timeout,
        metadata: metadata.to_owned(),
        ..Default::default()
    };
    let answer = client(server, deadline).create_room(room, options).await;
    told(server, deadline, answer).await?;
    Ok(())
}

pub(super) async fn set_metadata(
    server: &Server,
    room: &str,
    metadata: &str,
    deadline: Duration,
) -> Result<(), ApiError> {
    let answer = client(server, deadline).update_room_metadata(room, metadata).await;
    told(server, deadline, answer).await?;
    Ok(())
}

pub(super) async fn delete(server: &Server, room: &str, deadline: Duration) -> Result<(), ApiError> {
    let answer = client(server, deadline).delete_room(room).await;
    told(server, deadline, answer).await
}

/// Which run of agentcast is in the room under this identity, as its metadata says. None: none, or the server does not say.
pub(super) async fn instance_of(server: &Server, room: &str, identity: &str, deadline: Duration) -> Option<String> {
    let participant = client(server, deadline).get_participant(room, identity).await.ok()?;
    let metadata: serde_json::Value = serde_json::from_str(&participant.metadata).unwrap_or_default();
    Some(metadata.get("instance").and_then(|i| i.as_str()).unwrap_or_default().to_owned())
}
