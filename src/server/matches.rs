//! Live matches: events in, states out.
//!
//! An event is applied to the match's reducer, logged, and only then acknowledged; watchers and streams see the state at once.
//! Nothing here waits for a stream.

use super::{Context, StartError};
use crate::game::{MatchState, View};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Takes the states of a match; false: it wants no more.
pub type Screen = Box<dyn Fn(Arc<MatchState>) -> bool + Send + Sync>;

/// All matches that are not closed. Cheap to clone.
#[derive(Clone)]
pub struct Matches {}

/// One live match. Cheap to clone.
#[derive(Clone)]
pub struct LiveMatch {}

/// What became of what was fed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedReport {
    /// Newest event that the state includes.
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
    /// `index`: of the bad event in the call, from 0.
    #[error("event {index}: {field}: {problem}")]
    Event { index: usize, field: String, problem: String },
    /// Too many events; nothing of the call was taken.
    #[error("too many events: at most {per_second} a second; try again in {retry_ms} ms")]
    TooFast { per_second: u32, retry_ms: u64 },
    #[error("the match is closed")]
    Closed,
    #[error("the record cannot be read: {0}")]
    Record(String),
    /// The log refused; nothing was applied. For the operator's log.
    #[error("the event could not be kept: {0}")]
    Store(String),
}

/// How a native record is fed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// All of it now. What was fed before is known by `(epoch, seq)`, so a record may be posted again as it grows.
    AtOnce,
    /// As it happened, this many times faster. Goes on after a restart.
    Recorded { speed: f64 },
}

/// What a limiter leaves, for the RateLimit fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    pub reset_s: u32,
}

#[allow(unused_variables)]
impl Matches {
    pub(super) async fn restore(context: Context) -> Result<Matches, StartError> {
        unimplemented!()
    }
    /// The live match of this id. Tenancy is the caller's affair.
    pub fn get(&self, id: &str) -> Option<LiveMatch> {
        unimplemented!()
    }
    /// All that are not closed, oldest first.
    pub fn all(&self) -> Vec<LiveMatch> {
        unimplemented!()
    }
    /// Takes in a match that was just added to the store.
    pub fn open(&self, record: crate::store::model::Match) -> LiveMatch {
        unimplemented!()
    }
    /// Ends a match for good; its watchers are told.
    pub async fn end(&self, id: &str) -> Result<(), crate::store::StoreError> {
        unimplemented!()
    }
    /// Changes whenever a match is opened, starts, is over or closed: for [`super::streams`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }
    /// Writes what waits, takes snapshots, ends tasks.
    pub(super) async fn close(&self) {
        unimplemented!()
    }
}

#[allow(unused_variables)]
impl LiveMatch {
    /// As it is now; `phase` follows the events.
    pub fn record(&self) -> crate::store::model::Match {
        unimplemented!()
    }
    /// The newest state, unfiltered: only for views that may see everything and for streams, which filter themselves.
    pub fn state(&self) -> Arc<MatchState> {
        unimplemented!()
    }
    /// The newest state as `view` may see it.
    pub fn seen_by(&self, view: &View) -> MatchState {
        unimplemented!()
    }
    /// The newest state, again at each change. Ends (sender dropped) when the match is closed.
    pub fn watch(&self) -> watch::Receiver<Arc<MatchState>> {
        unimplemented!()
    }
    /// Every state from now on goes into `screen`, the newest at once, until it returns false. It must not wait.
    pub fn attach(&self, screen: Screen) {
        unimplemented!()
    }
    /// Applies wire events, all or nothing. Returns when they are logged.
    pub async fn feed(&self, events: Vec<crate::game::Event>) -> Result<FeedReport, FeedError> {
        unimplemented!()
    }
    /// Feeds a native record.
    pub async fn feed_record(
        &self,
        format: Option<crate::game::adapters::Format>,
        body: &[u8],
        pace: Pace,
    ) -> Result<FeedReport, FeedError> {
        unimplemented!()
    }
    /// What the limiter of this match leaves now.
    pub fn allowance(&self) -> Allowance {
        unimplemented!()
    }
    /// Where the match stands: for a feed socket's first message.
    pub fn position(&self) -> FeedReport {
        unimplemented!()
    }
}
