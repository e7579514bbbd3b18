//! A LiveKit room as a destination: the stream's own H.264 packets and Opus by WebRTC, match state as data packets.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`RoomOutput`], the destination |
//! | `session` | one stay in the room: signalling, resume, rejoin |
//! | `peer` | one peer connection: str0m and its sockets (UDP, ICE-TCP, TURN) |
//! | `relay` | match state into data packets |

#[allow(dead_code)]
mod peer;

use crate::livekit::Server;
use std::time::Duration;

/// Where and as whom to publish.
#[derive(Clone, Debug)]
pub struct RoomTarget {
    pub server: Server,
    pub room: String,
    /// Fixed per stream: a second publisher of the same identity takes the stream over.
    pub identity: String,
    /// Display name of the participant: the agent.
    pub name: String,
    /// Title of the stream, for the room's metadata.
    pub title: String,
}

/// Which ways to the server are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IcePolicy {
    /// UDP, ICE over TCP, TURN: the best that works.
    #[default]
    All,
    /// Only UDP straight to the server. For tests and `check`.
    Udp,
    /// Only ICE over TCP. For tests and `check`.
    Tcp,
    /// Only through the TURN servers that the join response names.
    Relay,
}

/// Times and limits of a room destination.
#[derive(Clone, Debug)]
pub struct RoomOptions {
    /// Media that waits for a slow network before video is dropped.
    pub queue: Duration,
    pub ice: IcePolicy,
    /// Without RTCP for this long the media path is taken to be dead.
    pub watchdog: Duration,
    /// Data packets with match state, thoughts and stream state.
    pub data: bool,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self { queue: Duration::from_secs(2), ice: IcePolicy::All, watchdog: Duration::from_secs(3), data: true }
    }
}
