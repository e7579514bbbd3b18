//! One broadcast: its threads, its clock, its life and death.
//!
//! Two threads carry a stream. `agentcast-draw` waits for the next frame's due time, takes the states that became current
//! from the [`Source`], composes and renders (the [`Director`]). `agentcast-encode` takes the pictures, encodes them, adds the
//! sound that is due and hands every destination the picture and the sound it takes (the [`Transmitter`]). One picture may be encoded while
//! the next is drawn; never more wait. A late frame is skipped and counted by the [`FrameClock`](crate::encode::FrameClock).
//!
//! Both halves are plain structs without a thread or a clock, so a test (and the offline renderer) runs a whole
//! broadcast step by step in whatever time it likes.

mod broadcast;
mod clock;
mod director;
mod meters;
mod source;
mod states;
mod status;
mod transmitter;
mod waiting;

pub use broadcast::{Broadcast, Parts, StreamError};
pub use clock::{Clock, SystemClock};
pub use director::{Director, Picture};
pub use meters::{Distribution, Histogram, Meters};
pub use source::{Feed, Live, Replay, ReplayOptions, Source};
pub use states::{Eyes, LiveStates, States};
pub use status::StreamStatus;
pub use transmitter::{Joiners, OpenAudio, OutputId, Transmitter};
