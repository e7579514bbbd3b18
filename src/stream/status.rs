use super::OutputId;
use crate::output::{State, Status};
use std::time::Duration;

/// What an operator sees of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
    /// How long it has been on.
    pub uptime: Duration,
    /// Pictures encoded so far.
    pub frames: u64,
    /// Pictures equal to the one before, among `frames`.
    pub unchanged: u64,
    /// Frames that were late and left out.
    pub skipped: u64,
    /// Over the last 2 s.
    pub fps: f32,
    /// Video and audio together over the last 2 s, kbit/s.
    pub kbps: u32,
    /// Composing, drawing and reading back one picture: mean over the last 2 s.
    pub draw: Duration,
    /// Encoding one picture: mean over the last 2 s.
    pub encode: Duration,
    /// What is wrong with drawing or encoding at the moment, in plain words.
    pub trouble: Option<String>,
    pub outputs: Vec<Status>,
    /// Names of `outputs`, in the same order.
    pub ids: Vec<OutputId>,
}

impl StreamStatus {
    /// Of one destination; None before the first picture that it could get.
    pub fn output(&self, id: OutputId) -> Option<&Status> {
        self.outputs.get(self.ids.iter().position(|known| *known == id)?)
    }

    /// Whether at least one destination takes the stream.
    pub fn is_live(&self) -> bool {
        self.outputs.iter().any(|o| o.state == State::Live)
    }
}
