//! A LiveKit server as seen from outside a room: where it is, how tokens for it are made, its rooms and its Egress jobs.
//!
//! Publishing into a room is [`crate::output::livekit`]; what the server tells us by itself is [`crate::webhook`].
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Server`]: address and API key, which cannot print its secret |
//! | [`token`] | who may do what in a room: roles, grants, join tokens |
//! | [`rooms`] | rooms and participants through RoomService |
//! | [`egress`] | requests to the Egress service |

pub mod egress;
pub mod rooms;
pub mod token;

use secrecy::SecretString;
use std::fmt;

/// Address and API key of a LiveKit server. `Debug` prints neither key nor secret.
#[derive(Clone)]
pub struct Server {
    /// `ws://` or `wss://`, host and port, no path at the end.
    url: String,
    key: String,
    secret: SecretString,
}

/// Why [`Server::new`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    #[error("the LiveKit address must be ws://, wss://, http:// or https:// and a host (LIVEKIT_URL)")]
    Url,
    #[error("the LiveKit API key is missing (LIVEKIT_API_KEY)")]
    NoKey,
    #[error("the LiveKit API secret is missing (LIVEKIT_API_SECRET)")]
    NoSecret,
}

impl Server {
    /// `url`: `ws`, `wss`, `http` or `https`; user, path and query are refused. The secret is registered with
    /// [`crate::output::log`] and never printed.
    pub fn new(_url: &str, _key: &str, _secret: SecretString) -> Result<Server, ServerError> {
        todo!()
    }

    /// For signalling: `ws…`.
    pub fn ws_url(&self) -> &str {
        &self.url
    }

    /// For the API: `http…`.
    pub fn http_url(&self) -> String {
        self.url.replacen("ws", "http", 1)
    }

    /// Host, with the port where the address names one: for status lines.
    pub fn host(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, host)| host)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, key …)", self.url)
    }
}
