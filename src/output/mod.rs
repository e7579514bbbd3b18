//! Destinations: everything an encoded packet can be sent to.
//!
//! | file | what |
//! |---|---|
//! | [`queue`] | the bounded packet queue in front of a destination |
//! | [`backoff`] | pauses between attempts |
//! | [`key`] | stream keys and RTMP targets, which cannot print their secrets |
//! | [`log`] | FFmpeg's log lines into `tracing`, without secrets |
//! | [`rtmp`] | RTMP and RTMPS |
//! | [`mux`] | packets into fragmented MP4, in memory |
//! | [`mod@file`] | recording |
//! | [`preview`] | fragments for browsers |
//! | [`livekit`] | a LiveKit room, published to by WebRTC |
//! | [`egress`] | RTMP(S) sent by LiveKit's Egress service instead of by us |

pub mod backoff;
pub mod egress;
pub mod file;
pub mod key;
pub mod livekit;
pub mod log;
pub mod mux;
pub mod preview;
pub mod queue;
mod rate;
pub mod rtmp;
mod worker;

use crate::encode::{AudioCodec, EncodedPacket, StreamInfo};
use crate::game::MatchState;
use std::sync::Arc;
use std::time::Duration;

/// A destination as `stream` sees it. Sending never blocks and never fails: trouble shows in [`Status`].
pub trait Destination: Send {
    /// Packets that follow belong to these parameters; called before the first packet and after an encoder change.
    fn configure(&mut self, info: Arc<StreamInfo>);
    /// Queues a packet, or drops it and counts it when the queue is full.
    fn send(&mut self, packet: EncodedPacket);
    /// Which sound it takes; it is given no other. Does not change.
    fn audio_codec(&self) -> AudioCodec {
        AudioCodec::Aac
    }
    /// The match as the pictures that follow show it, filtered and held back by the stream's view. For destinations that
    /// tell viewers' pages.
    fn show(&mut self, _state: &Arc<MatchState>) {}
    /// Whether a viewer waits for an IDR. Asked before every picture; true again until one was sent.
    fn wants_idr(&self) -> bool {
        false
    }
    /// Whether an IDR out of turn hurts it: RTMP platforms ask for a constant GOP.
    fn needs_constant_gop(&self) -> bool {
        false
    }
    fn status(&self) -> Status;
    /// Finishes what is queued, writes a clean end and joins the thread, all within `deadline`; then gives up the rest.
    /// Returns how it ended: [`State::Stopped`], or [`State::NeedsAttention`] when it had given up before or its end was
    /// lost (a disk that fills in the last second).
    fn stop(self: Box<Self>, deadline: Duration) -> Status;
    /// What shortens a [`Self::stop`] that is under way; None: it cannot be shortened.
    fn hurry(&self) -> Option<Hurry> {
        None
    }
}

/// Has a destination that is being stopped end within this time from now; a longer time changes nothing. Returns at once.
pub type Hurry = Arc<dyn Fn(Duration) + Send + Sync>;

/// Where a destination is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Idle,
    Connecting,
    Live,
    Reconnecting,
    /// Stopped by itself: only a person can mend it (a refused key).
    NeedsAttention,
    Stopped,
}

/// How many watch a stream at one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Viewers {
    pub now: u32,
    pub peak: u32,
}

/// What is wrong with a destination that drops video.
const SLOW: &str =
    "the connection is slower than the stream, video is being dropped; lower the bit rate or use a nearer server";
/// How long that stays in the status after video was last dropped.
const SLOW_FOR: Duration = Duration::from_secs(10);

/// What an operator sees of a destination. Never holds a URL or a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// For example `rtmp a.example.com` or `file demo.mp4`.
    pub name: String,
    pub state: State,
    /// In plain words: what is wrong and what to do.
    pub last_error: Option<String>,
    pub bytes: u64,
    /// Over the last 2 s, kbit/s.
    pub kbps: u32,
    /// Video packets dropped.
    pub dropped: u64,
    pub reconnects: u64,
    /// Media waiting in the queue.
    pub queue_ms: u32,
    /// Time until the next attempt, while [`State::Reconnecting`] waits for it.
    pub retry_ms: Option<u32>,
    /// Who watches there, where the destination can tell.
    pub viewers: Option<Viewers>,
}
