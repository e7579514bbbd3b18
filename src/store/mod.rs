//! What the service must not forget: SQLite in one file, or PostgreSQL. The same SQL serves both.
//!
//! | file | what |
//! |---|---|
//! | [`model`] | the records, as the API shows them; none holds a secret |
//! | `open` | connecting, pragmas, closing |
//! | `schema` | the migrations (`src/store/migrations`), which version a database is at |
//! | `place` | where a store lives; file modes, and the lock that says a file is in use |
//! | `hold` | one service at a time on a store that several could reach |
//! | `rows` | rows to records, pages, errors without values |
//! | `roster` | tenants, agents, API keys |
//! | `destinations` | destinations with their sealed keys |
//! | `matches` | matches, sessions, streams that are wanted |
//! | `log` | a match's events and snapshots: one transaction for everything that waits (group commit) |
//! | `records` | native records that matches play |
//! | `office` | flags, audit, usage, idempotency |
//! | `retention` | what is thrown away, and when |
//! | `backup` | copying, checking and restoring an SQLite store |
//!
//! Every write that returned is on disk (WAL, `synchronous = FULL`; PostgreSQL: `synchronous_commit = on`). Nothing of one
//! tenant is ever returned for another: every read of tenants' records takes the tenant.

mod backup;
mod destinations;
mod hold;
mod log;
mod matches;
pub mod model;
mod office;
mod open;
mod place;
mod records;
mod retention;
mod roster;
mod rows;
mod schema;

pub use backup::{Checked, backup, check, restore};
pub use hold::Hold;
pub use place::Place;

use sqlx::AnyPool;
use std::fmt;
use std::sync::{Arc, Mutex};

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    parts: Arc<Parts>,
}

struct Parts {
    kind: Kind,
    /// Address of an SQLite file; None for memory and servers.
    file: Option<String>,
    /// Takes all writes. One connection for SQLite, whose writers wait here in their order instead of polling a lock.
    write: AnyPool,
    /// The same as `write` but for an SQLite file.
    read: AnyPool,
    log: log::Appender,
    /// Says that the file is in use; None for what is no file, and once closed.
    in_use: Mutex<Option<place::InUse>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?})", self.parts.kind)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such record, or one of another tenant.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// The record is newer than the caller's copy.
    #[error("{what} was changed meanwhile: it is at version {version} now")]
    Stale { what: &'static str, version: i64 },
    /// A name or reference that must be unique is taken.
    #[error("{0} exists already")]
    Taken(&'static str),
    /// There are as many as there may be.
    #[error("there are {limit} {what} already, which is the limit; delete one first")]
    TooMany { what: &'static str, limit: usize },
    /// For the operator's log; never for a caller. Holds no values of records and no password.
    #[error("the store cannot be reached or refused: {0}")]
    Backend(String),
    /// The file that a copy was to go to or come from; for whoever runs the command.
    #[error("{0}")]
    Copy(String),
}

/// A page of a list, oldest first unless said otherwise. Records stand in the order of their ids, which rise with time.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For [`PageRequest::after`] of the next page; None on the last one.
    pub next: Option<String>,
}

/// What part of a list is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// Id of the last record of the page before. That record may be gone by now.
    pub after: Option<String>,
    /// 1 to 200.
    pub limit: u32,
}

/// An event of a match as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    pub epoch: u64,
    pub seq: u64,
    /// The event as wire JSON.
    pub json: String,
}

/// A match as it was left: a snapshot of its reducer and what came after it, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedMatch {
    pub snapshot: Option<Vec<u8>>,
    pub events: Vec<LoggedEvent>,
}

/// The answer that was given to a creating call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of method, path and body, hex: the same key with another request is a mistake.
    pub request: String,
    pub status: u16,
    pub body: Vec<u8>,
}

/// What stands under the Idempotency-Key of a creating call that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: the key is this call's now.
    New,
    /// An earlier call was answered so.
    Answered(Remembered),
    /// An earlier call with this request began and nothing says how it ended: the process was killed in the middle of it.
    CutOff { request: String },
}

/// Destinations of one agent.
pub const MAX_DESTINATIONS: usize = 16;

type Result<T, E = StoreError> = std::result::Result<T, E>;
