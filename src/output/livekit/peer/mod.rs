//! One peer connection: str0m and its sockets, driven by one task.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what flows between the session and a peer connection |
//! | `task` | the task: str0m in the middle, sockets on one side, the session on the other |
//! | `owned` | who ends the task |
//! | `negotiate` | offers, answers, candidates |
//! | `udp` | local addresses and their UDP sockets |
//! | `tcp` | ICE over TCP: dialling and framing |
//! | `turn` | relays: TURN over UDP, TCP and TLS |
//! | `pace` | spreads large pictures over time, holds video back from a path that is too slow |
//! | `watchdog` | tells a dead path by what does not come back |

#[cfg(test)]
mod fake_turn;
mod negotiate;
mod owned;
mod pace;
mod task;
mod tcp;
#[cfg(test)]
mod tests;
mod turn;
mod udp;
mod watchdog;

use super::IcePolicy;
use bytes::Bytes;
use livekit_protocol as proto;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::media::{MediaKind, Mid};
use tokio::sync::{mpsc, oneshot};

/// Labels of LiveKit's data channels.
pub(super) const RELIABLE: &str = "_reliable";
pub(super) const LOSSY: &str = "_lossy";

/// What a peer connection is opened with. No `Debug`: it holds TURN credentials.
#[derive(Clone)]
pub(super) struct PeerSettings {
    /// For logs: the destination's name.
    pub name: String,
    /// True: ours, makes the offers and sends. False: the server's, answers (for data and, one day, guests).
    pub publisher: bool,
    pub ice: IcePolicy,
    /// STUN and TURN servers of the join response.
    pub ice_servers: Vec<proto::IceServer>,
    /// Addresses of the signalling server, to find the interfaces that lead there.
    pub server: Vec<SocketAddr>,
    /// Media sent for this long without inbound RTCP: [`PeerEvent::PathDead`], once, armed again by the next RTCP and by
    /// [`PeerEvent::IceUp`].
    pub watchdog: Duration,
}

/// What the session tells a peer connection. No `Debug`: it holds TURN credentials.
pub(super) enum PeerCommand {
    /// Adds a sendonly section whose msid track id is `cid` (the one in AddTrack).
    AddTrack {
        kind: MediaKind,
        cid: String,
        mid: oneshot::Sender<Mid>,
    },
    /// Makes an offer of all that was added; one is pending at a time, further ones wait for the answer.
    Negotiate {
        ice_restart: bool,
    },
    Answer(String),
    Offer(String),
    /// An SDP candidate line of the server.
    RemoteCandidate(String),
    /// New TURN credentials (a resume brings them).
    IceServers(Vec<proto::IceServer>),
    /// Access unit, Annex B, without SEI, AUD and filler, SPS and PPS before an IDR. `rtp` in 90 kHz, `captured` for the
    /// sender reports, so that sound and picture stay together.
    Video {
        mid: Mid,
        data: Bytes,
        rtp: u64,
        captured: Instant,
    },
    /// An Opus packet, `rtp` in 48 kHz.
    Audio {
        mid: Mid,
        data: Bytes,
        rtp: u64,
        captured: Instant,
    },
    /// An encoded `DataPacket`.
    Data {
        reliable: bool,
        bytes: Vec<u8>,
    },
    /// Answered once the server has acknowledged all reliable data, or there is no channel for it.
    Drained(oneshot::Sender<()>),
    /// Says goodbye (DTLS close_notify) and ends the task.
    Close,
}

/// What a peer connection tells the session.
#[derive(Debug)]
pub(super) enum PeerEvent {
    Offer(String),
    Answer(String),
    /// A local candidate to trickle to the server, as SDP.
    LocalCandidate(String),
    /// ICE and DTLS stand.
    Connected,
    /// ICE found a (new) path after a restart.
    IceUp,
    /// ICE or the watchdog found that nothing comes back.
    PathDead,
    /// PLI or FIR; or video was dropped on a path that has room again.
    KeyframeRequest(Mid),
    DataOpen {
        reliable: bool,
    },
    /// What viewers send; nobody listens yet.
    #[allow(dead_code)]
    Data {
        reliable: bool,
        bytes: Vec<u8>,
    },
    /// About once a second while connected.
    Stats(PeerStats),
    /// The task has ended; `error` in plain words unless it was told to.
    Closed {
        error: Option<String>,
    },
}

/// How the media path does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PeerStats {
    /// `udp`, `tcp`, `turn udp`, `turn tcp` or `turn tls`.
    pub path: &'static str,
    pub round_trip: Option<Duration>,
    /// Share of packets that the server reports lost over the last second, 0 to 1.
    pub loss: Option<f32>,
    /// Sent on the wire so far, bytes.
    pub sent: u64,
    /// Media packets dropped because a socket would not take them.
    pub dropped: u64,
    /// Data messages dropped because too many waited, or because a lossy one found no room.
    pub data_dropped: u64,
}

/// The session's end of a peer connection. Dropped, the task says goodbye by itself and is aborted when that takes longer
/// than a second; [`Self::closed`] waits for it.
#[derive(Debug)]
pub(super) struct Peer {
    pub commands: mpsc::Sender<PeerCommand>,
    pub events: mpsc::Receiver<PeerEvent>,
    task: owned::Owned,
}

/// Commands that may wait. Media over a full channel is the session's to drop.
const COMMANDS: usize = 256;
/// Events that may wait for the session.
const EVENTS: usize = 256;

impl Peer {
    /// Opens the sockets and starts the task on the current tokio runtime. The task ends by [`PeerCommand::Close`], when the
    /// session's end is dropped, or by an error; the last event is always [`PeerEvent::Closed`].
    ///
    /// # Errors
    /// In plain words, when no socket can be opened.
    pub async fn open(settings: PeerSettings) -> Result<Peer, String> {
        let (command_tx, command_rx) = mpsc::channel(COMMANDS);
        let (event_tx, event_rx) = mpsc::channel(EVENTS);
        let name = settings.name.clone();
        let task = task::Task::new(settings, event_tx)?;
        let task = owned::Owned::new(name, tokio::spawn(task.run(command_rx)));
        Ok(Peer { commands: command_tx, events: event_rx, task })
    }

    /// Lets what was handed over go out, says goodbye and waits for the task's end, for at most `limit`; then it is aborted.
    pub async fn closed(self, limit: Duration) {
        let Peer { commands, events, task } = self;
        // A full channel is as good: the task ends when it has read what is in it.
        let _ = commands.try_send(PeerCommand::Close);
        drop((commands, events));
        task.join(limit).await;
    }
}
