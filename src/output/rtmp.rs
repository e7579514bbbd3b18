//! RTMP and RTMPS destinations, by libavformat's own RTMP protocol and FLV muxer.
//!
//! A [`RtmpOutput`] owns a thread that connects, publishes, and begins anew when the connection fails. Its rules:
//!
//! * Every call into the network has a deadline through FFmpeg's interrupt callback: connecting (TCP, TLS, handshake and
//!   `publish` together), each write, and the whole teardown. The resolver is the exception: looking up a name cannot be
//!   interrupted and takes as long as the system's resolver allows. With [`RtmpOptions::guard`] the lookup is ours and is
//!   left behind when the time is up (for RTMPS FFmpeg repeats it, see [`AddressGuard`]).
//! * A connection begins on an IDR, and that IDR has timestamp 0: receivers measure the distance of audio and video and
//!   the age of a stream from the first tag, and several treat a first timestamp far from 0 as a gap. Audio from before
//!   the IDR is left out, so both tracks begin within one audio frame of each other.
//! * The socket's send buffer is small ([`RtmpOptions::send_buffer`]), so that a peer that stops reading is noticed: the
//!   kernel would otherwise take seconds of media in before a write blocks.
//! * [`Status::last_error`] stays until a new connection has lived for [`RtmpOptions::refusal_window`].
//! * An address that [`RtmpOptions::guard`] refuses stops the destination at once.
//! * A refused key stops the destination ([`State::NeedsAttention`]): platforms lock accounts that hammer them. All other
//!   failures are retried for ever, with growing pauses, and so is a key that has worked before and is turned away without
//!   words.

mod guard;
mod interleave;
mod probe;
mod reason;
mod session;
mod trust;

pub use guard::AddressGuard;
pub use probe::{CheckLevel, CheckLine, probe};
pub use reason::RtmpError;

use super::backoff::{Backoff, BackoffSettings};
use super::key::RtmpTarget;
use super::queue::{Popped, SharedQueue};
use super::rate::Rate;
use super::worker::Worker;
use super::{Destination, Hurry, SLOW, SLOW_FOR, State, Status, log};
use crate::encode::{EncodedPacket, StreamInfo};
use reason::Failure;
use session::{Deadline, Session};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use trust::Trust;

/// Times and limits of a destination. The defaults suit public platforms.
#[derive(Clone, Debug)]
pub struct RtmpOptions {
    /// Media that waits for a slow network before video is dropped.
    pub queue: Duration,
    /// For TCP, TLS, RTMP handshake and `publish` together.
    pub connect_deadline: Duration,
    /// A write that blocks longer means the peer has stalled.
    pub write_deadline: Duration,
    /// `SO_SNDBUF`, bytes; Linux doubles it.
    pub send_buffer: u32,
    pub backoff: BackoffSettings,
    /// Refusals in a row after which the key is taken to be refused.
    pub refusals: u32,
    /// A connection that the server closes without words sooner than this after `publish` counts as a refusal.
    pub refusal_window: Duration,
    /// A key that has worked is not taken to be refused until this long after it last did, and only when the server says
    /// so in words: it may still hold the broken connection and turn the new one away.
    pub proven_key_grace: Duration,
    /// Certificates (PEM) trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Judges addresses before each connection. None: every address may be connected to.
    pub guard: Option<AddressGuard>,
}

impl Default for RtmpOptions {
    fn default() -> Self {
        Self {
            queue: Duration::from_secs(4),
            connect_deadline: Duration::from_secs(10),
            write_deadline: Duration::from_secs(4),
            send_buffer: 256 * 1024,
            backoff: BackoffSettings::default(),
            refusals: 3,
            refusal_window: Duration::from_secs(2),
            proven_key_grace: Duration::from_secs(120),
            ca_file: None,
            guard: None,
        }
    }
}

/// Addresses of one host that are tried.
const MOST_ADDRESSES: usize = 4;

/// An RTMP or RTMPS destination. Dropping it without [`Destination::stop`] gives it half a second to end.
pub struct RtmpOutput {
    shared: Arc<Shared>,
    worker: Worker,
}

struct Shared {
    name: String,
    queue: SharedQueue,
    deadline: Arc<Deadline>,
    life: Mutex<Life>,
}

/// The part of the status that the thread writes.
#[derive(Debug, Default)]
struct Life {
    state: State,
    last_error: Option<String>,
    bytes: u64,
    connections: u64,
    retry_at: Option<Instant>,
    rate: Rate,
}

impl RtmpOutput {
    /// Starts the thread. It connects when the first packet is queued.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn(target: RtmpTarget, options: RtmpOptions) -> std::io::Result<Self> {
        log::install();
        let shared = Arc::new(Shared {
            name: target.name(),
            queue: SharedQueue::new(options.queue),
            deadline: Arc::new(Deadline::new()),
            life: Mutex::default(),
        });
        let publisher = Publisher::new(shared.clone(), target, options);
        let worker = Worker::spawn("rtmp", || publisher.run())?;
        Ok(Self { shared, worker })
    }

    fn shut_down(&mut self, deadline: Duration) {
        if !self.worker.runs() {
            return;
        }
        self.shared.deadline.stop_by(Instant::now() + deadline);
        self.shared.queue.close();
        // Only the system's resolver can hold the thread longer.
        self.worker.end(&self.shared.name, deadline);
        self.shared.life().stopped();
    }
}

impl fmt::Debug for RtmpOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtmpOutput").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Drop for RtmpOutput {
    fn drop(&mut self) {
        self.shut_down(Duration::from_millis(500));
    }
}

impl Destination for RtmpOutput {
    fn configure(&mut self, info: Arc<StreamInfo>) {
        self.shared.queue.configure(info);
    }

    fn send(&mut self, packet: EncodedPacket) {
        self.shared.queue.push(packet);
    }

    fn needs_constant_gop(&self) -> bool {
        true
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let stats = self.shared.queue.stats();
        let mut life = self.shared.life();
        let slow = life.state == State::Live && stats.last_drop.is_some_and(|at| now.duration_since(at) < SLOW_FOR);
        let last_error = life.last_error.clone().or_else(|| slow.then(|| SLOW.to_owned()));
        Status {
            name: self.shared.name.clone(),
            state: life.state,
            last_error,
            bytes: life.bytes,
            kbps: life.rate.kbps(now),
            dropped: stats.dropped_video,
            reconnects: life.connections.saturating_sub(1),
            queue_ms: u32::try_from(stats.queued.as_millis()).unwrap_or(u32::MAX),
            retry_ms: life
                .retry_at
                .map(|at| u32::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX)),
            viewers: None,
        }
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Status {
        self.shut_down(deadline);
        self.status()
    }

    fn hurry(&self) -> Option<Hurry> {
        let shared = self.shared.clone();
        Some(Arc::new(move |within| shared.deadline.stop_by(Instant::now() + within)))
    }
}

impl Life {
    /// The end; of one that had given up nothing changes.
    fn stopped(&mut self) {
        self.retry_at = None;
        if self.state != State::NeedsAttention {
            self.state = State::Stopped;
        }
    }
}

impl Shared {
    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection ended without a failure.
enum Ended {
    /// The stream is over.
    Stopped,
    /// The encoder was rebuilt in a way that a running FLV stream cannot follow.
    Reconfigured,
}

/// The thread.
struct Publisher {
    shared: Arc<Shared>,
    target: RtmpTarget,
    options: RtmpOptions,
    backoff: Backoff,
    /// Refusals in a row.
    refusals: u32,
    /// When the key was last seen to work.
    proven: Option<Instant>,
}

impl Publisher {
    fn new(shared: Arc<Shared>, target: RtmpTarget, options: RtmpOptions) -> Self {
        let backoff = Backoff::new(options.backoff);
        Self { shared, target, options, backoff, refusals: 0, proven: None }
    }

    fn run(mut self) {
        while self.shared.queue.wait_for_packet() {
            let started = Instant::now();
            match self.connect_and_publish() {
                Ok(Ended::Stopped) => break,
                Ok(Ended::Reconfigured) => {
                    tracing::info!(destination = self.shared.name, "reconnecting with new stream parameters");
                }
                Err(_) if self.shared.queue.is_closed() => break,
                Err(failure) => {
                    self.backoff.lived(failure.live_for);
                    if self.gives_up(&failure) {
                        self.rest(&failure);
                        break;
                    }
                    if self.pause(&failure, started) {
                        break;
                    }
                }
            }
        }
        self.shared.life().stopped();
    }

    fn connect_and_publish(&mut self) -> Result<Ended, Failure> {
        {
            let mut life = self.shared.life();
            life.state = if life.connections == 0 && life.last_error.is_none() {
                State::Connecting
            } else {
                State::Reconnecting
            };
            life.retry_at = None;
        }
        let Some(info) = self.shared.queue.info() else { return Ok(Ended::Stopped) };
        let trust = if self.target.tls() { Some(Trust::load(self.options.ca_file.as_deref())?) } else { None };
        let mut session = self.open(&info, trust.as_ref())?;
        drop(trust);
        let live_since = Instant::now();
        {
            let mut life = self.shared.life();
            life.state = State::Live;
            life.connections += 1;
        }
        tracing::info!(destination = self.shared.name, "live");
        self.shared.queue.resume_at_idr();
        match self.send_packets(&mut session, live_since) {
            Ok(ended) => {
                session.finish(self.options.write_deadline)?;
                Ok(ended)
            }
            Err(mut failure) => {
                session.abandon();
                failure.live_for = live_since.elapsed();
                failure.early = failure.live_for < self.options.refusal_window;
                Err(failure)
            }
        }
    }

    /// Connects to the host, or, where a guard stands, to the first of the addresses it let pass that answers.
    fn open(&self, info: &Arc<StreamInfo>, trust: Option<&Trust>) -> Result<Session, Failure> {
        let (target, options, deadline) = (&self.target, &self.options, &self.shared.deadline);
        let by = Instant::now() + options.connect_deadline;
        let left = || by.saturating_duration_since(Instant::now());
        let Some(guard) = &options.guard else {
            return Session::open(target, None, left(), options, info, trust, deadline);
        };
        deadline.begin_opening(left());
        let addresses = guard::resolve(target.host(), target.port(), Some(guard), left(), || deadline.expired())?;
        if target.tls() {
            return Session::open(target, None, left(), options, info, trust, deadline);
        }
        let addresses = &addresses[..addresses.len().min(MOST_ADDRESSES)];
        let mut failure = None;
        for (n, address) in addresses.iter().enumerate() {
            // One that does not answer must leave time for the others.
            let share = left() / u32::try_from(addresses.len() - n).unwrap_or(1);
            match Session::open(target, Some(address.ip()), share, options, info, trust, deadline) {
                Err(error) if error.is_of_address() => failure = Some(error),
                other => return other,
            }
        }
        Err(failure.unwrap_or_else(|| RtmpError::Resolve { host: target.host().to_owned() }.into()))
    }

    fn send_packets(&mut self, session: &mut Session, live_since: Instant) -> Result<Ended, Failure> {
        loop {
            let item = match self.shared.queue.pop(Instant::now() + Duration::from_secs(1)) {
                Popped::Packet(item) => item,
                Popped::TimedOut => continue,
                Popped::Closed => {
                    session.flush()?;
                    return Ok(Ended::Stopped);
                }
            };
            if !session.follow(&item.info) {
                self.shared.queue.put_back(item);
                session.flush()?;
                return Ok(Ended::Reconfigured);
            }
            session.write(&item.packet)?;
            let now = Instant::now();
            let mut life = self.shared.life();
            life.bytes += item.packet.data.len() as u64;
            life.rate.add(now, item.packet.data.len());
            if now.duration_since(live_since) >= self.options.refusal_window {
                life.last_error = None;
                drop(life);
                self.refusals = 0;
                self.proven = Some(now);
            }
        }
    }

    /// Counts refusals; true when the key must be taken to be refused.
    fn gives_up(&mut self, failure: &Failure) -> bool {
        if failure.is_final() {
            return true;
        }
        if !failure.is_refusal() {
            self.refusals = 0;
            return false;
        }
        self.refusals += 1;
        // A key that has worked is good until the server says otherwise, and for a while even then: it may still hold
        // the broken connection.
        let still_good =
            self.proven.is_some_and(|at| !failure.has_words() || at.elapsed() < self.options.proven_key_grace);
        self.refusals >= self.options.refusals && !still_good
    }

    /// Waits for a person, without touching the network.
    fn rest(&self, failure: &Failure) {
        let words = failure.refused_words();
        tracing::error!(destination = self.shared.name, "gave up: {words}");
        self.shared.queue.refuse();
        {
            let mut life = self.shared.life();
            life.state = State::NeedsAttention;
            life.last_error = Some(words);
        }
        self.shared.queue.wait_until_closed();
    }

    /// Sleeps until the next attempt; true when the stream ended meanwhile.
    fn pause(&mut self, failure: &Failure, started: Instant) -> bool {
        let pause = self.backoff.next_pause(fastrand::f64());
        let words = failure.error.to_string();
        tracing::warn!(
            destination = self.shared.name,
            "{words} (after {:.1} s; next attempt in {:.1} s)",
            started.elapsed().as_secs_f32(),
            pause.as_secs_f32()
        );
        {
            let mut life = self.shared.life();
            life.state = State::Reconnecting;
            life.last_error = Some(words);
            life.retry_at = Some(Instant::now() + pause);
        }
        self.shared.queue.wait_closed(pause)
    }
}
