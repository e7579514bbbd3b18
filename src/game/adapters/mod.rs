//! Native formats of game engines, turned into [`Event`]s with the times at which they happened.
//!
//! | format | file | recognised by |
//! |---|---|---|
//! | Battlesnake CLI `--output` | JSON lines | first line has `ruleset` and `source` |
//! | Battlesnake board websocket | JSON lines | `Type`/`Data` frames |
//! | Kaggle environments | JSON | `steps`, `statuses`, `specification` |
//! | PGN | text | a `[Tag "value"]` line |
//! | PHH | TOML | `variant` and `actions` |
//! | wire | JSON lines | envelopes of [`super::wire`] |

pub mod pgn;
pub mod phh;
mod shared;

use super::Visibility;
use super::wire::{Body, Event, VERSION};

/// A native format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    BattlesnakeOutput,
    BattlesnakeEvents,
    Kaggle,
    Pgn,
    Phh,
    /// Our own wire format, one event a line.
    Wire,
}

/// A recorded match.
#[derive(Clone, Debug)]
pub struct Record {
    pub format: Format,
    /// In order; `at` never falls.
    pub events: Vec<Timed>,
    /// The record breaks off: where, in plain words. What came before is in `events`.
    pub truncated: Option<String>,
}

/// An event and when it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Milliseconds since the match started.
    pub at: i64,
    pub event: Event,
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecordError {
    #[error("{place}: {problem}")]
    Malformed {
        /// `line 12`, `line 3 column 7`, `steps[4][1].action`.
        place: String,
        problem: String,
    },
    #[error("no known format: expected Battlesnake JSON lines, a Kaggle episode, PGN, PHH or agentcast events")]
    Unknown,
}

/// Collects the events of a record: numbers them and stamps them.
#[derive(Clone, Debug)]
pub struct Script {
    match_id: String,
    /// Unix ms of the match's start.
    start: i64,
    events: Vec<Timed>,
}

impl Script {
    /// `start` is Unix ms; records without a date use 0.
    pub fn new(match_id: &str, start: i64) -> Script {
        Script { match_id: match_id.to_owned(), start, events: Vec::new() }
    }

    /// Adds an event everybody may see, `at` ms after the start (never before the one before it).
    pub fn public(&mut self, at: i64, body: Body) {
        self.push(at, Some(Visibility::Public), body);
    }

    /// Adds an event with a visibility of its own.
    pub fn push(&mut self, at: i64, vis: Option<Visibility>, body: Body) {
        let at = self.events.last().map_or(at, |e| at.max(e.at));
        let event = Event {
            v: VERSION,
            match_id: self.match_id.clone(),
            epoch: 1,
            seq: self.events.len() as u64 + 1,
            ts: self.start + at,
            vis,
            body,
        };
        self.events.push(Timed { at, event });
    }

    pub fn finish(self, format: Format, truncated: Option<String>) -> Record {
        Record { format, events: self.events, truncated }
    }
}
