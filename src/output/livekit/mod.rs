//! A LiveKit room as a destination: the stream's own H.264 packets and Opus by WebRTC, match state as data packets.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`RoomOutput`], the destination |
//! | `publisher` | its thread: join, stay, come back |
//! | `join` | into the room: API, token, signalling |
//! | `session` | one stay in the room: a loop over media, signalling and data |
//! | `link`, `outbox`, `wire` | signalling: the way back after a loss, messages on their way out, SDP in them |
//! | `ends` | how a stay can end, in plain words, and what follows |
//! | `tracks`, `audience` | what the server does to our tracks; who watches |
//! | `packets` | access units, RTP and capture times |
//! | `data`, `news` | data messages and metadata |
//! | `peer` | one peer connection: str0m and its sockets (UDP, ICE-TCP, TURN) |
//! | `relay` | match state into data packets |
//! | `probe` | the media path to a server, for `check` |
//!
//! # Rules
//!
//! * Every join has a token of its own, valid for minutes. A room is opened through the API first, so that it outlives short
//!   absences of everybody.
//! * Media and signalling are apart: while signalling is lost and resumes, media goes on as long as RTCP comes back. A resume
//!   follows a lost websocket (livekit-signaling finds half-open ones by its pings) and a dead media path; it ends in a rejoin
//!   when the server answers that it does not know the session, or when ICE finds no path within 8 s.
//! * A rejoin follows everything but a decision: [`State::NeedsAttention`] after another publisher took the identity, an operator
//!   removed the participant or deleted the room, or the key was refused three times in a row. So two publishers never throw
//!   each other out in turns.
//! * A track that the server has muted or unpublished stays so, over rejoins too, and the status says so.
//! * Two peer connections, one a direction, as every LiveKit client had until lately: with a single one livekit-server 1.13
//!   did not send everything to a client that is no browser. The second opens when the server asks for it, and nothing comes
//!   through it that is used.
//! * [`Status::reconnects`] counts resumes as well as rejoins.

mod audience;
mod data;
mod ends;
mod join;
mod link;
mod news;
mod outbox;
mod packets;
mod peer;
mod probe;
mod publisher;
pub mod relay;
mod session;
mod tracks;
mod wire;

pub use probe::{PathReport, probe};

use super::queue::SharedQueue;
use super::rate::Rate;
use super::worker::Worker;
use super::{Destination, Hurry, SLOW, SLOW_FOR, State, Status, Viewers};
use crate::encode::{AudioCodec, EncodedPacket, StreamInfo, Track};
use crate::game::MatchState;
use crate::livekit::Server;
use publisher::Publisher;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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

/// A LiveKit room. Dropping it without [`Destination::stop`] gives it half a second to leave.
pub struct RoomOutput {
    shared: Arc<Shared>,
    worker: Worker,
}

struct Shared {
    name: String,
    queue: SharedQueue,
    /// Somebody waits for an IDR.
    idr: AtomicBool,
    /// The newest state of the match; older ones are of no interest.
    states: watch::Sender<Option<Arc<MatchState>>>,
    /// When all must have ended, once it shall.
    stop: watch::Sender<Option<Instant>>,
    life: Mutex<Life>,
}

/// The part of the status that the thread writes.
#[derive(Debug, Default)]
struct Life {
    state: State,
    /// Why the last stay ended; stays until a new one has lived for 2 s.
    last_error: Option<String>,
    /// What an operator should know of the stay that goes on.
    note: Option<String>,
    bytes: u64,
    connections: u64,
    retry_at: Option<Instant>,
    rate: Rate,
    viewers: Viewers,
}

impl RoomOutput {
    /// Starts the thread. It joins when the first packet is queued.
    ///
    /// # Errors
    /// When the system starts no more threads, or gives no file descriptors for the event loop.
    pub fn spawn(target: RoomTarget, options: RoomOptions) -> std::io::Result<Self> {
        crate::livekit::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            name: format!("livekit {} {}", target.server.host(), target.room),
            queue: SharedQueue::new(options.queue),
            idr: AtomicBool::new(false),
            states: watch::Sender::new(None),
            stop: watch::Sender::new(None),
            life: Mutex::default(),
        });
        let publisher = Publisher::new(shared.clone(), target, options);
        let worker = Worker::spawn("livekit", move || {
            runtime.block_on(publisher.run());
            // Only the system's resolver can still be at work; it must not hold the thread.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, worker })
    }

    fn shut_down(&mut self, deadline: Duration) {
        if !self.worker.runs() {
            return;
        }
        self.shared.stop_by(Instant::now() + deadline);
        self.shared.queue.close();
        self.worker.end(&self.shared.name, deadline);
        self.shared.life().stopped();
    }
}

impl fmt::Debug for RoomOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomOutput").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Drop for RoomOutput {
    fn drop(&mut self) {
        self.shut_down(Duration::from_millis(500));
    }
}

impl Destination for RoomOutput {
    fn configure(&mut self, info: Arc<StreamInfo>) {
        self.shared.queue.configure(info);
    }

    fn send(&mut self, packet: EncodedPacket) {
        if packet.track == Track::Video && packet.key {
            self.shared.idr_served();
        }
        self.shared.queue.push(packet);
    }

    fn audio_codec(&self) -> AudioCodec {
        AudioCodec::Opus
    }

    fn show(&mut self, state: &Arc<MatchState>) {
        self.shared.states.send_replace(Some(state.clone()));
    }

    fn wants_idr(&self) -> bool {
        self.shared.idr.load(Ordering::Relaxed)
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let stats = self.shared.queue.stats();
        let mut life = self.shared.life();
        let slow = life.state == State::Live && stats.last_drop.is_some_and(|at| now.duration_since(at) < SLOW_FOR);
        Status {
            name: self.shared.name.clone(),
            state: life.state,
            last_error: life.last_error.clone().or_else(|| life.note.clone()).or_else(|| slow.then(|| SLOW.to_owned())),
            bytes: life.bytes,
            kbps: life.rate.kbps(now),
            dropped: stats.dropped_video,
            reconnects: life.connections.saturating_sub(1),
            queue_ms: u32::try_from(stats.queued.as_millis()).unwrap_or(u32::MAX),
            retry_ms: life
                .retry_at
                .map(|at| u32::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX)),
            viewers: Some(life.viewers),
        }
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Status {
        self.shut_down(deadline);
        self.status()
    }

    fn hurry(&self) -> Option<Hurry> {
        let shared = self.shared.clone();
        Some(Arc::new(move |within| shared.stop_by(Instant::now() + within)))
    }
}

impl Life {
    /// The end; of one that had given up nothing changes.
    fn stopped(&mut self) {
        self.retry_at = None;
        self.note = None;
        self.viewers.now = 0;
        if self.state != State::NeedsAttention {
            self.state = State::Stopped;
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.rate.add(Instant::now(), bytes);
    }
}

impl Shared {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want_idr(&self) {
        self.idr.store(true, Ordering::Relaxed);
    }

    fn idr_served(&self) {
        self.idr.store(false, Ordering::Relaxed);
    }

    /// Returns once the destination shall end: `before` that moment, or at once when that is longer than what is left.
    async fn stop_point(&self, before: Duration) {
        let mut stop = self.stop.subscribe();
        loop {
            // The sender is ours, so it is never gone.
            let Ok(Some(deadline)) = stop.wait_for(Option::is_some).await.map(|d| *d) else { return };
            let Some(at) = deadline.checked_sub(before) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => return,
                // It may have become sooner.
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Said again, the sooner one counts.
    fn stop_by(&self, at: Instant) {
        self.stop.send_modify(|by| *by = Some(by.map_or(at, |by| by.min(at))));
    }

    /// What is left of the time to stop; None: it goes on.
    fn time_to_stop(&self) -> Option<Duration> {
        self.stop.borrow().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
