//! All live matches: brought back at the start, opened, ended, closed.

use super::live::{INBOX, Live, Message, Parts};
use super::log::replay;
use super::sweep::Rules;
use super::writer::{Writer, report};
use super::{LiveMatch, Matches, TooManyOpen};
use crate::game::Reducer;
use crate::server::turns::Turns;
use crate::server::{Context, StartError};
use crate::store::StoreError;
use crate::store::model::{Match, MatchPhase};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Matches that are read at once at the start.
const READERS: usize = 8;
/// Native records that are in memory at once, 8 MiB each, and of one tenant.
const SENDERS: (usize, usize) = (16, 4);
/// Native records that are read at once, and of one tenant.
const RECORDS: (usize, usize) = (4, 2);
/// How long a writer has to take its last snapshot.
const CLOSING: Duration = Duration::from_secs(10);

pub(super) struct Registry {
    pub parts: Parts,
    matches: RwLock<BTreeMap<String, Entry>>,
    /// Places that tenants were promised for matches that are being made.
    promised: Mutex<BTreeMap<String, usize>>,
    pub stop: CancellationToken,
    /// The writers end with the last clone.
    _guard: DropGuard,
}

/// A tenant's right to open one more match.
pub struct Place {
    registry: Arc<Registry>,
    tenant: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut promised = self.registry.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = promised.get_mut(&self.tenant) {
            *held -= 1;
            if *held == 0 {
                promised.remove(&self.tenant);
            }
        }
    }
}

struct Entry {
    tenant: String,
    live: LiveMatch,
    writer: JoinHandle<()>,
}

impl Matches {
    /// Brings back all matches that are not closed. A match whose log is damaged waits for a snapshot.
    ///
    /// # Errors
    ///
    /// When the store does not say which matches there are.
    pub async fn restore(context: Context) -> Result<Matches, StartError> {
        let Context { store, bus, config, .. } = context;
        let stop = CancellationToken::new();
        let (senders, readers) = (Turns::new(SENDERS.0, SENDERS.1), Turns::new(RECORDS.0, RECORDS.1));
        // Half the cores for one tenant: whatever its matches do, those of others find one.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let rounds = Turns::new(4 * cores, cores.div_ceil(2));
        let registry = Registry {
            parts: Parts {
                store,
                bus,
                config,
                senders: Arc::new(senders),
                readers: Arc::new(readers),
                rounds: Arc::new(rounds),
                changes: watch::Sender::new(0),
            },
            matches: RwLock::default(),
            promised: Mutex::default(),
            _guard: stop.clone().drop_guard(),
            stop,
        };
        let matches = Matches { registry: Arc::new(registry) };
        let readers = Arc::new(Semaphore::new(READERS));
        let mut reading = JoinSet::new();
        for record in matches.registry.parts.store.open_matches().await? {
            let (matches, readers) = (matches.clone(), readers.clone());
            reading.spawn(async move {
                let _turn = readers.acquire().await;
                matches.bring_back(record).await;
            });
        }
        while let Some(read) = reading.join_next().await {
            if let Err(error) = read {
                tracing::error!("a match could not be brought back: {error}");
            }
        }
        matches.keep_sweeping();
        Ok(matches)
    }

    async fn bring_back(&self, record: Match) {
        let store = &self.registry.parts.store;
        let id = record.id.clone();
        let saved = match store.load_match(&id).await {
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(
                    id,
                    "the log of a match cannot be read, that is tried again with its next event: {error}"
                );
                self.add(record, Reducer::default(), 0, false);
                return;
            }
        };
        let count = saved.events.len() as u64;
        let (reducer, damage) = match tokio::task::spawn_blocking(move || replay(&saved)).await {
            Ok(replayed) => replayed,
            Err(error) => (Reducer::default(), vec![error.to_string()]),
        };
        report(&id, &damage);
        let live = self.add(record, reducer, count, true);
        match store.record(&id).await {
            Ok(Some(bytes)) => live.live.resume(bytes).await,
            Ok(None) => {}
            Err(error) => tracing::error!(id, "the record of a match cannot be read: post it again: {error}"),
        }
    }

    /// `sure`: the reducer is what the store says.
    fn add(&self, record: Match, reducer: Reducer, in_log: u64, sure: bool) -> LiveMatch {
        let mut matches = self.registry.matches.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = matches.get(&record.id) {
            return known.live.clone();
        }
        let (inbox, messages) = mpsc::channel(INBOX);
        let (id, tenant) = (record.id.clone(), record.tenant_id.clone());
        let live = Live::new(record, &reducer, self.registry.parts.clone(), inbox);
        let writer = Writer::new(live.clone(), messages, reducer, in_log, self.registry.stop.clone());
        let writer = if sure { writer } else { writer.unsure() };
        let live = LiveMatch { live };
        matches.insert(id, Entry { tenant, live: live.clone(), writer: tokio::spawn(writer.run()) });
        live
    }

    /// The live match of this id. Tenancy is the caller's affair.
    pub fn get(&self, id: &str) -> Option<LiveMatch> {
        let matches = self.registry.matches.read().unwrap_or_else(PoisonError::into_inner);
        matches.get(id).map(|entry| entry.live.clone())
    }

    /// All that are not closed, oldest first.
    pub fn all(&self) -> Vec<LiveMatch> {
        let matches = self.registry.matches.read().unwrap_or_else(PoisonError::into_inner);
        // Ids rise with time.
        matches.values().map(|entry| entry.live.clone()).collect()
    }

    /// A place for one more match of this tenant, until it is dropped: held from before the match is added to the store until
    /// it was opened.
    ///
    /// # Errors
    ///
    /// [`TooManyOpen`], by the setting `matches.open_per_tenant`.
    pub fn place(&self, tenant: &str) -> Result<Place, TooManyOpen> {
        let limit = self.registry.parts.config().matches.open_per_tenant;
        let mut promised = self.registry.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = self.registry.matches.read().unwrap_or_else(PoisonError::into_inner);
        let open = matches.values().filter(|entry| entry.tenant == tenant).count();
        let held = promised.entry(tenant.to_owned()).or_default();
        if open + *held >= limit {
            return Err(TooManyOpen { limit });
        }
        *held += 1;
        Ok(Place { registry: self.registry.clone(), tenant: tenant.to_owned() })
    }

    /// Takes in a match that was just added to the store.
    pub fn open(&self, record: Match) -> LiveMatch {
        let live = self.add(record, Reducer::default(), 0, true);
        self.registry.parts.changed(&live.record());
        live
    }

    /// Ends a match for good; its watchers are told. What was fed before is logged first. False: somebody else was faster.
    pub async fn end(&self, id: &str) -> Result<bool, StoreError> {
        let live = self.get(id).ok_or(StoreError::NotFound("match"))?;
        live.live.rest().await;
        let (done, ended) = oneshot::channel();
        if live.live.inbox.send(Message::End(done)).await.is_ok()
            && let Ok(ended) = ended.await
        {
            ended?;
            self.forget(id).await?;
            return Ok(true);
        }
        // The writer is gone, as after an end.
        match live.record().phase {
            MatchPhase::Closed => Ok(false),
            _ => Err(StoreError::Backend("the writer of the match broke off".into())),
        }
    }

    /// Closes the match if nobody has ended or fed it for long enough; whether it did. Its watchers are told.
    pub(super) async fn end_if_due(&self, live: &LiveMatch, rules: Rules, now: i64) -> Result<bool, StoreError> {
        let (done, ended) = oneshot::channel();
        if live.live.inbox.send(Message::EndIfDue(rules, now, done)).await.is_err() {
            return Ok(false);
        }
        let due = ended.await.unwrap_or(Ok(false))?;
        if due {
            self.forget(&live.live.id).await?;
        }
        Ok(due)
    }

    /// Of a match that has ended.
    async fn forget(&self, id: &str) -> Result<(), StoreError> {
        let entry = self.registry.matches.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(entry) = entry {
            // It has nothing more to do.
            let _ = entry.writer.await;
        }
        self.registry.parts.store.delete_record(id).await
    }

    /// Changes whenever a match is opened, starts, is over or closed: for [`crate::server::streams`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.registry.parts.changes.subscribe()
    }

    /// Writes what waits, takes snapshots, ends tasks. What is open stays open in the store.
    pub async fn close(&self) {
        let entries = std::mem::take(&mut *self.registry.matches.write().unwrap_or_else(PoisonError::into_inner));
        let mut closing = JoinSet::new();
        for (id, mut entry) in entries {
            closing.spawn(async move {
                let closed = async {
                    entry.live.live.rest().await;
                    let (done, closed) = oneshot::channel();
                    if entry.live.live.inbox.send(Message::Close(done)).await.is_ok() {
                        // Or it had ended before.
                        let _ = closed.await;
                    }
                    let _ = (&mut entry.writer).await;
                };
                if tokio::time::timeout(CLOSING, closed).await.is_err() {
                    tracing::warn!(id, "a match could not be closed in time; its log has everything");
                    entry.writer.abort();
                }
            });
        }
        while closing.join_next().await.is_some() {}
        self.registry.stop.cancel();
    }
}
