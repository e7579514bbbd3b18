//! Join tokens: who may do what in a room.

use super::Server;
use secrecy::SecretString;
use std::time::Duration;

/// What a participant is there for; decides its grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// agentcast itself: publishes the picture and the sound, sends data, subscribes to nothing.
    Publisher,
    /// Watches. Sends data only where `chat` is on.
    Viewer,
    /// Watches, and publishes once `approved`.
    Guest,
    /// Room admin: sees, mutes and removes participants.
    Operator,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub role: Role,
    pub room: String,
    pub identity: String,
    /// Display name; may be empty.
    pub name: String,
    /// Viewers and guests may send data (chat).
    pub chat: bool,
    /// The guest may publish.
    pub approved: bool,
    /// None: the role's default. More than the role's longest is refused.
    pub ttl: Option<Duration>,
    /// JSON for the participant's metadata; may be empty.
    pub metadata: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
    #[error("the token could not be signed")]
    Sign,
}

impl Server {
    /// Signs a join token.
    pub fn token(&self, _request: &TokenRequest) -> Result<SecretString, TokenError> {
        todo!()
    }
}
