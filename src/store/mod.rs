//! What the service must not forget: SQLite in one file, or PostgreSQL. The same SQL serves both.
//!
//! | file | what |
//! |---|---|
//! | [`model`] | the records, as the API shows them; none holds a secret |
//! | `open` | connecting, pragmas, migrations (`src/store/migrations`), file modes |
//! | `roster` | tenants, agents, destinations with their sealed keys, API keys |
//! | `matches` | matches, sessions, streams that are wanted |
//! | `log` | a match's events and snapshots: one transaction for everything that waits (group commit) |
//! | `office` | flags, audit, usage, idempotency |
//! | `backup` | copying and restoring an SQLite store, retention |
//!
//! Every write that returned is on disk (WAL, `synchronous = FULL`). Nothing of one tenant is ever returned for another:
//! every read of tenants' records takes the tenant.

pub mod model;

use model::*;
use secrecy::SecretString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the store lives.
#[derive(Clone)]
pub enum Place {
    /// One file; made with mode 0600 when missing.
    Sqlite(PathBuf),
    /// SQLite in memory, for the demo and for tests: gone with the last clone of the store.
    Memory,
    /// `postgres://…`, which may hold a password.
    Postgres(SecretString),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Sqlite(path) => write!(f, "Sqlite({path:?})"),
            Place::Memory => f.write_str("Memory"),
            Place::Postgres(_) => f.write_str("Postgres(…)"),
        }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

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
    /// For the operator's log; never for a caller.
    #[error("the store cannot be reached or refused: {0}")]
    Backend(String),
}

/// A page of a list, oldest first unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For [`PageRequest::after`] of the next page; None on the last one.
    pub next: Option<String>,
}

/// What part of a list is asked for.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// Id of the last record of the page before.
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

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Opening and care.
impl Store {
    /// Connects, makes the file if need be, and brings the schema up to date.
    pub async fn open(place: &Place) -> Result<Store> {
        unimplemented!("{place:?}")
    }
    /// Answers when the store does: for `/readyz`.
    pub async fn ping(&self) -> Result<()> {
        unimplemented!()
    }
    /// Writes a consistent copy of an SQLite store while it is in use, mode 0600. The file must not exist.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        unimplemented!("{to:?}")
    }
    /// Throws away logs of matches closed before `closed_before`, the oldest ones while logs are larger than `bytes`, audit
    /// and usage rows before `audit_before`, answers before `answers_before`. Returns the number of rows.
    pub async fn prune(
        &self,
        closed_before: Millis,
        bytes: u64,
        audit_before: Millis,
        answers_before: Millis,
    ) -> Result<u64> {
        unimplemented!("{closed_before} {bytes} {audit_before} {answers_before}")
    }
    /// Finishes what waits and closes.
    pub async fn close(&self) {
        unimplemented!()
    }
}

/// Tenants, agents, destinations, keys. `tenant: None` is an admin, who sees all.
#[allow(unused_variables)]
impl Store {
    pub async fn add_tenant(&self, tenant: &Tenant) -> Result<()> {
        unimplemented!()
    }
    pub async fn tenants(&self) -> Result<Vec<Tenant>> {
        unimplemented!()
    }
    pub async fn add_agent(&self, agent: &Agent) -> Result<()> {
        unimplemented!()
    }
    pub async fn agent(&self, tenant: Option<&str>, id: &str) -> Result<Agent> {
        unimplemented!()
    }
    pub async fn agents(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Agent>> {
        unimplemented!()
    }
    /// Agents whose switch is on, of all tenants.
    pub async fn enabled_agents(&self) -> Result<Vec<Agent>> {
        unimplemented!()
    }
    /// Replaces what callers may change, raises the version, returns the new record. `expected`: the version that the caller
    /// has seen ([`StoreError::Stale`] when it is another one by now).
    pub async fn update_agent(&self, agent: &Agent, expected: Option<i64>) -> Result<Agent> {
        unimplemented!()
    }
    /// Sets the switch; true when that changed it.
    pub async fn set_enabled(&self, tenant: Option<&str>, agent: &str, on: bool) -> Result<bool> {
        unimplemented!()
    }
    /// Deletes an agent with its destinations, keys and avatar. Its audit and usage stay.
    pub async fn delete_agent(&self, tenant: Option<&str>, id: &str) -> Result<()> {
        unimplemented!()
    }
    /// PNG, JPEG or WebP bytes.
    pub async fn set_avatar(&self, tenant: Option<&str>, agent: &str, sha256: &str, bytes: &[u8]) -> Result<Agent> {
        unimplemented!()
    }
    pub async fn avatar(&self, tenant: Option<&str>, agent: &str) -> Result<Option<Vec<u8>>> {
        unimplemented!()
    }
    pub async fn add_destination(&self, destination: &Destination) -> Result<()> {
        unimplemented!()
    }
    pub async fn destination(&self, tenant: Option<&str>, id: &str) -> Result<Destination> {
        unimplemented!()
    }
    /// All of an agent; there are at most [`MAX_DESTINATIONS`].
    pub async fn destinations(&self, tenant: Option<&str>, agent: &str) -> Result<Vec<Destination>> {
        unimplemented!()
    }
    /// As [`Store::update_agent`]. A change of the ingest's host deletes the key, which was sealed for the old one.
    pub async fn update_destination(&self, destination: &Destination, expected: Option<i64>) -> Result<Destination> {
        unimplemented!()
    }
    pub async fn delete_destination(&self, tenant: Option<&str>, id: &str) -> Result<()> {
        unimplemented!()
    }
    /// Replaces the destination's key.
    pub async fn put_key(&self, tenant: Option<&str>, key: &SealedKey) -> Result<()> {
        unimplemented!()
    }
    pub async fn sealed_key(&self, destination: &str) -> Result<Option<SealedKey>> {
        unimplemented!()
    }
    pub async fn delete_key(&self, tenant: Option<&str>, destination: &str) -> Result<()> {
        unimplemented!()
    }
    pub async fn key_used(&self, destination: &str, at: Millis) -> Result<()> {
        unimplemented!()
    }
    /// Keys that are wrapped by another key-encryption key than `kid`, in order of destination id, after `after`.
    pub async fn keys_not_under(&self, kid: &str, after: Option<&str>, limit: u32) -> Result<Vec<SealedKey>> {
        unimplemented!()
    }
    /// Replaces a blob if it is still `old`; false when somebody changed it meanwhile.
    pub async fn rewrap_key(&self, old: &SealedKey, kid: &str, blob: &[u8]) -> Result<bool> {
        unimplemented!()
    }
    /// `hash`: SHA-256 of the key.
    pub async fn add_api_key(&self, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
        unimplemented!()
    }
    /// The key of this id with its hash, revoked ones too.
    pub async fn api_key(&self, id: &str) -> Result<Option<(ApiKey, [u8; 32])>> {
        unimplemented!()
    }
    pub async fn api_keys(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<ApiKey>> {
        unimplemented!()
    }
    pub async fn revoke_api_key(&self, tenant: Option<&str>, id: &str, at: Millis) -> Result<()> {
        unimplemented!()
    }
    pub async fn api_key_used(&self, id: &str, at: Millis) -> Result<()> {
        unimplemented!()
    }
}

/// Destinations of one agent.
pub const MAX_DESTINATIONS: usize = 16;

/// Matches, sessions, streams.
#[allow(unused_variables)]
impl Store {
    pub async fn add_match(&self, m: &Match) -> Result<()> {
        unimplemented!()
    }
    pub async fn match_(&self, tenant: Option<&str>, id: &str) -> Result<Match> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn matches(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Match>> {
        unimplemented!()
    }
    /// All that are not closed, of all tenants: what a restart brings back.
    pub async fn open_matches(&self) -> Result<Vec<Match>> {
        unimplemented!()
    }
    pub async fn set_match_phase(&self, id: &str, phase: MatchPhase, at: Millis) -> Result<()> {
        unimplemented!()
    }
    /// Appends acknowledged events, all or nothing. Calls of all matches that wait at the same time share one transaction.
    pub async fn append_events(&self, match_id: &str, events: Vec<LoggedEvent>) -> Result<()> {
        unimplemented!()
    }
    /// Replaces the match's snapshot and throws away the events that were appended before the first `covers` of those that
    /// [`Store::load_match`] would give now were counted: the oldest `covers` events.
    pub async fn save_snapshot(&self, match_id: &str, snapshot: &[u8], covers: u64) -> Result<()> {
        unimplemented!()
    }
    pub async fn load_match(&self, match_id: &str) -> Result<SavedMatch> {
        unimplemented!()
    }
    pub async fn add_session(&self, session: &Session) -> Result<()> {
        unimplemented!()
    }
    pub async fn session(&self, tenant: Option<&str>, id: &str) -> Result<Session> {
        unimplemented!()
    }
    pub async fn sessions(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Session>> {
        unimplemented!()
    }
    pub async fn revoke_session(&self, tenant: Option<&str>, id: &str, at: Millis) -> Result<()> {
        unimplemented!()
    }
    pub async fn put_stream(&self, stream: &StreamRecord) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn streams(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<StreamRecord>> {
        unimplemented!()
    }
    /// Those that have not ended, of all tenants.
    pub async fn open_streams(&self) -> Result<Vec<StreamRecord>> {
        unimplemented!()
    }
}

/// Flags, audit, usage, remembered answers.
#[allow(unused_variables)]
impl Store {
    /// None: never set.
    pub async fn flag(&self, name: &str) -> Result<Option<bool>> {
        unimplemented!()
    }
    pub async fn set_flag(&self, name: &str, on: bool, at: Millis) -> Result<()> {
        unimplemented!()
    }
    /// `id` of the entry is given by the store.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn audit_log(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<AuditEntry>> {
        unimplemented!()
    }
    /// Adds to what the agent used on `day` (`2026-11-21`).
    pub async fn add_usage(
        &self,
        tenant: &str,
        agent: &str,
        day: &str,
        stream_seconds: i64,
        output_seconds: i64,
    ) -> Result<()> {
        unimplemented!()
    }
    /// From day to day, both included.
    pub async fn usage(
        &self,
        tenant: Option<&str>,
        agent: Option<&str>,
        from: &str,
        to: &str,
    ) -> Result<Vec<UsageDay>> {
        unimplemented!()
    }
    /// The answer to an earlier request of this tenant with this Idempotency-Key.
    pub async fn remembered(&self, tenant: &str, key: &str) -> Result<Option<Remembered>> {
        unimplemented!()
    }
    pub async fn remember(&self, tenant: &str, key: &str, answer: &Remembered, at: Millis) -> Result<()> {
        unimplemented!()
    }
}
