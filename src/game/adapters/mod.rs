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

mod detect;
mod shared;
mod wire_lines;

pub mod battlesnake;
pub mod kaggle;
pub mod pgn;
pub mod phh;

pub use detect::detect;

use super::wire::{Body, Event, VERSION};
use super::{Snapshot, Visibility};
use serde_json::{Map, Value};

/// Patches between two full snapshots: whoever joins late or loses an event is back after that many turns.
pub const PATCHES_PER_SNAPSHOT: u32 = 20;

/// Reads a record. Without a `format` it is recognised by content ([`detect`]).
///
/// A file that breaks off plays to where it ends and says so in [`Record::truncated`].
///
/// # Errors
/// [`RecordError::Unknown`] when no format fits, [`RecordError::Malformed`] with the place for everything that is wrong
/// before the end, bytes that are not UTF-8 included.
pub fn read(bytes: &[u8], format: Option<Format>) -> Result<Record, RecordError> {
    read_with(bytes, format, None)
}

/// [`read`] with what some engines write beside a record: the game description of Battlesnake websocket events (it has
/// the board's size), the logs of a Kaggle episode. Other formats have no companion and ignore it.
pub fn read_with(bytes: &[u8], format: Option<Format>, companion: Option<&[u8]>) -> Result<Record, RecordError> {
    let format = format.or_else(|| detect(bytes)).ok_or(RecordError::Unknown)?;
    let text = utf8(bytes)?;
    let companion = companion.map(utf8).transpose()?;
    match format {
        Format::BattlesnakeOutput => battlesnake::read_output(text),
        Format::BattlesnakeEvents => battlesnake::read_with_game(text, companion),
        Format::Kaggle => kaggle::read_with_logs(text, companion),
        Format::Pgn => pgn::read(text),
        Format::Phh => phh::read(text),
        Format::Wire => wire_lines::read(text),
    }
}

/// The text without a byte order mark. A character cut in half by the end of the file is dropped: the reader will see
/// that the record breaks off.
fn utf8(bytes: &[u8]) -> Result<&str, RecordError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (valid, _) = bytes.split_at(error.valid_up_to());
    match std::str::from_utf8(valid) {
        Ok(text) if error.error_len().is_none() => Ok(text),
        _ => {
            let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
            let column = valid.len() - valid.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1) + 1;
            Err(malformed(format!("line {line} byte {column}"), "not UTF-8"))
        }
    }
}

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

impl Format {
    /// What [`Format::from_name`] knows.
    pub const NAMES: [&str; 6] = ["battlesnake", "battlesnake-events", "kaggle", "pgn", "phh", "agentcast"];

    /// The format of a name on a command line.
    pub fn from_name(name: &str) -> Option<Format> {
        Some(match name {
            "battlesnake" => Format::BattlesnakeOutput,
            "battlesnake-events" => Format::BattlesnakeEvents,
            "kaggle" => Format::Kaggle,
            "pgn" => Format::Pgn,
            "phh" => Format::Phh,
            "agentcast" => Format::Wire,
            _ => return None,
        })
    }
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

fn malformed(place: impl Into<String>, problem: impl Into<String>) -> RecordError {
    RecordError::Malformed { place: place.into(), problem: problem.into() }
}

/// `place` of a JSON error in a text that starts at `first_line` (from 1) of its file.
fn json_error(error: &serde_json::Error, first_line: usize) -> RecordError {
    let problem = error.to_string();
    // serde_json appends " at line L column C"; the place says it already.
    let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(text, _)| text);
    let problem = super::words::plain(problem);
    malformed(format!("line {} column {}", (error.line() + first_line).saturating_sub(1), error.column()), problem)
}

/// The first `chars` characters; a longer text ends in an ellipsis. [`shared::clip`] makes one line of it first.
fn clip(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(chars.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

/// `a`, `a and b`, `a, b and c`.
fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Turns the successive snapshots of a match into the smallest events that carry them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots {
    last: Value,
    patches: u32,
}

impl Snapshots {
    /// `match.started`.
    pub(crate) fn start(&mut self, snapshot: Snapshot) -> Body {
        self.last = json(&snapshot);
        self.patches = 0;
        Body::MatchStarted(Box::new(snapshot))
    }

    /// A patch, a full snapshot after [`PATCHES_PER_SNAPSHOT`] patches, nothing if nothing changed.
    pub(crate) fn next(&mut self, snapshot: &Snapshot) -> Option<Body> {
        let now = json(snapshot);
        let patch = merge_patch(&self.last, &now)?;
        self.last = now;
        self.patches += 1;
        if self.patches > PATCHES_PER_SNAPSHOT {
            return Some(self.full(snapshot));
        }
        Some(Body::StatePatch(patch))
    }

    /// A full snapshot, for when events were lost.
    pub(crate) fn full(&mut self, snapshot: &Snapshot) -> Body {
        self.last = json(snapshot);
        self.patches = 0;
        Body::StateSnapshot(Box::new(snapshot.clone()))
    }
}

fn json(snapshot: &Snapshot) -> Value {
    serde_json::to_value(snapshot).expect("a snapshot has string keys only")
}

/// The RFC 7396 patch that makes `from` into `to`; `None` when they are equal.
fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            None => patch.extend([(key.clone(), value.clone())]),
            Some(old) => patch.extend(merge_patch(old, value).map(|p| (key.clone(), p))),
        }
    }
    Some(Value::Object(patch))
}

/// Collects the events of a record: numbers them and stamps them.
#[derive(Clone, Debug)]
pub struct Script {
    match_id: String,
    /// Unix ms of the match's start.
    start: i64,
    events: Vec<Timed>,
    snapshots: Snapshots,
}

impl Script {
    /// `start` is Unix ms; records without a date use 0.
    pub fn new(match_id: &str, start: i64) -> Script {
        Script { match_id: match_id.to_owned(), start, events: Vec::new(), snapshots: Snapshots::default() }
    }

    /// Adds `match.started`.
    pub fn started(&mut self, at: i64, snapshot: Snapshot) {
        let body = self.snapshots.start(snapshot);
        self.public(at, body);
    }

    /// Adds what changed since the last snapshot given here: a patch, or every [`PATCHES_PER_SNAPSHOT`] times all of it.
    pub fn state(&mut self, at: i64, snapshot: &Snapshot) {
        if let Some(body) = self.snapshots.next(snapshot) {
            self.public(at, body);
        }
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
