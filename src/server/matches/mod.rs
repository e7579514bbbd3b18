//! Live matches: events in, states out.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Matches`], [`LiveMatch`] and what they answer |
//! | `registry` | all live matches: brought back, opened, ended, closed |
//! | `sweep` | closes what nobody ends |
//! | `live` | one match as everybody sees it: its newest state, who watches, what it may take |
//! | `writer` | the one writer of a match: validate, log, publish, acknowledge |
//! | `round` | what calls do to a reducer, tried on a copy |
//! | `joining` | events beyond the limit of which only the outcome counts |
//! | `limiter` | how many events a match may take |
//! | `log` | the log's lines, and a reducer from them |
//! | `records` | native records, all at once or as they happened |
//!
//! An event is applied to the match's reducer, logged, and only then acknowledged; watchers and streams see the state at once.
//! Nothing here waits for a stream, and no match waits for another one but in the store's group commit.

mod joining;
mod limiter;
mod live;
mod log;
mod records;
mod registry;
mod round;
mod sweep;
mod writer;

use crate::game::MatchState;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

pub use records::{RECORD_BYTES, RecordTurn};
pub use registry::Place;

/// Takes the states of a match; false: it wants no more.
pub type Screen = Box<dyn Fn(Arc<MatchState>) -> bool + Send + Sync>;

/// All matches that are not closed. Cheap to clone; the last clone ends their tasks as a crash would, see
/// [`Matches::close`].
#[derive(Clone)]
pub struct Matches {
    registry: Arc<registry::Registry>,
}

/// One live match. Cheap to clone.
#[derive(Clone)]
pub struct LiveMatch {
    live: Arc<live::Live>,
}

/// What became of what was fed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedReport {
    /// Newest event that the state includes: the next one follows it.
    pub epoch: u64,
    pub seq: u64,
    /// Events of this call that changed the state, or were joined to one that did.
    pub applied: u64,
    /// Known already: sent twice, or older than the state.
    pub duplicates: u64,
    /// Wait for a gap before them to close.
    pub held: u64,
    /// Of a type that nobody here knows.
    pub ignored: u64,
    /// Too much is missing: send a `state.snapshot`.
    pub need_snapshot: bool,
}

/// Why nothing of a call was applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FeedError {
    /// `index`: of the bad event in the call, from 0. `limit`: what the field may be at most, where that is a number.
    #[error("event {index}: {field}: {problem}")]
    Event { index: usize, field: String, problem: String, limit: Option<u64> },
    /// Too many events; nothing of the call was taken.
    #[error("too many events: at most {per_second} a second; try again in {retry_ms} ms")]
    TooFast { per_second: u32, retry_ms: u64 },
    /// Too many records are being sent or read; nothing of this one was taken.
    #[error("too many records are being sent; try again in {retry_ms} ms")]
    Busy { retry_ms: u64 },
    #[error("the match is closed")]
    Closed,
    #[error("the record cannot be read: {0}")]
    Record(String),
    /// The log refused; nothing was applied. For the operator's log.
    #[error("the event could not be kept: {0}")]
    Store(String),
}

/// The tenant has as many open matches as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} matches are open and no more may be (matches.open_per_tenant); end some by POST /v1/matches/{{id}}/end, or wait: \
     one that is over is closed by itself"
)]
pub struct TooManyOpen {
    pub limit: usize,
}

/// How a native record is fed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// All of it now. A record may be posted again as it grows: only what is new is applied.
    AtOnce,
    /// As it happened, this many times faster (0.01 to 1,000). Goes on after a restart.
    Recorded { speed: f64 },
}

/// What a limiter leaves, for the RateLimit fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    pub reset_s: u32,
}
