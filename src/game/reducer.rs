//! Applies events to a match: in order, whole or not at all, within [`super::limits`].

use super::{Event, MatchState};

/// Holds a match's state and the events that wait for a gap to close.
#[derive(Clone, Debug, Default)]
pub struct Reducer {
    state: MatchState,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Applied, with `n` events in all (held ones that it let through counted).
    Now(usize),
    /// Held back: an earlier one is missing.
    Held,
    /// Already applied or from an older epoch.
    Old,
    /// An unknown type: counted and ignored.
    Ignored,
    /// Too much is missing: only a snapshot can go on from here.
    NeedSnapshot,
}

/// Why an event was refused. The state is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    #[error("{field} has {found}, the limit is {limit}")]
    Limit { field: String, found: usize, limit: usize },
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
}

impl Reducer {
    pub fn state(&self) -> &MatchState {
        &self.state
    }

    pub fn apply(&mut self, _event: Event) -> Result<Applied, ApplyError> {
        Ok(Applied::Ignored)
    }
}
