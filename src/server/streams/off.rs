//! What was switched off and is not in the store yet. Off comes before the books: what is on air ends at once, and the store
//! is told beside it, again and again until it takes it. Until then this is what [looks](super::supervisor) go by.

use crate::store::model::AuditEntry;
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Name of the feature flag in the store.
pub const FLAG: &str = "streaming";
/// Who switched off waits this long for the store at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries while somebody waits; doubled each time.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two tries when nobody waits any more, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// For the last try, when the service ends.
const LAST: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// The kill switch.
    Flag,
    /// An agent's own, by its id.
    Agent(String),
}

/// What became of an off within `PATIENCE`.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// Tried again until the store takes it.
    NotYet,
    /// There is nothing to switch any more.
    Gone,
}

#[derive(Default)]
pub struct Off {
    waiting: Mutex<BTreeMap<Switch, Waiting>>,
    /// How often anything was switched off.
    offs: AtomicU64,
    more: Notify,
    /// One writes at a time: an off that comes late must not overwrite an on.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    /// The store has the switch; only the audit is missing.
    kept: bool,
    /// Number of the last off.
    last: u64,
    entries: Vec<AuditEntry>,
}

impl Off {
    /// It is off from now on, whatever the store says.
    pub fn set(&self, switch: Switch, entry: AuditEntry) {
        let mut waiting = self.lock();
        let waiting = waiting.entry(switch).or_default();
        (waiting.kept, waiting.last) = (false, self.offs.fetch_add(1, Ordering::SeqCst) + 1);
        waiting.entries.push(entry);
        self.more.notify_one();
    }

    /// The flag is off and the store does not know yet.
    pub fn flag(&self) -> bool {
        self.lock().get(&Switch::Flag).is_some_and(|waiting| !waiting.kept)
    }

    /// Agents that are off and the store does not know yet.
    pub fn agents(&self) -> BTreeSet<String> {
        let waiting = self.lock();
        let unkept = waiting.iter().filter(|(_, waiting)| !waiting.kept);
        unkept.filter_map(|(switch, _)| if let Switch::Agent(id) = switch { Some(id.clone()) } else { None }).collect()
    }

    /// Tells the store, for as long as somebody may be kept waiting.
    pub async fn keep(&self, store: &Store, switch: &Switch) -> Kept {
        let by = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        let error = loop {
            match timeout_at(by, self.write(store, switch)).await {
                Ok(Ok(())) => return Kept::Yes,
                Ok(Err(StoreError::NotFound(_))) => return Kept::Gone,
                Ok(Err(error)) if Instant::now() + pause >= by => break error.to_string(),
                Ok(Err(_)) => sleep(pause).await,
                Err(_) => break format!("no answer within {} s", PATIENCE.as_secs()),
            }
            pause *= 2;
        };
        if self.lock().get(switch).is_none_or(|waiting| waiting.kept) {
            tracing::error!("{switch:?} is off; the audit's entry of it is not written yet: {error}");
            return Kept::Yes;
        }
        tracing::error!("{switch:?} is off, but the store has not taken it and a restart would forget it: {error}");
        Kept::NotYet
    }

    /// Does `write`, which turns it on, and no longer tries to have it off; unless somebody switched it off meanwhile, who
    /// came later and has the last word.
    pub async fn on<T>(
        &self,
        switch: &Switch,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let known = self.offs.load(Ordering::SeqCst);
        let _alone = self.writing.lock().await;
        let done = write.await?;
        if let Some(waiting) = self.lock().get_mut(switch).filter(|waiting| waiting.last <= known) {
            // That it was off is still to be written into the audit.
            waiting.kept = true;
        }
        Ok(done)
    }

    /// Does `write` of a switch after those that came before it, so that an on that still waits for the store does not come
    /// after a later off.
    pub async fn in_turn<T>(&self, write: impl Future<Output = T>) -> T {
        let _alone = self.writing.lock().await;
        write.await
    }

    async fn write(&self, store: &Store, switch: &Switch) -> Result<(), StoreError> {
        let _alone = self.writing.lock().await;
        // Turned on meanwhile, or written by the other one who tries.
        let Some(kept) = self.lock().get(switch).map(|waiting| waiting.kept) else { return Ok(()) };
        if !kept {
            let written = match switch {
                Switch::Flag => store.set_flag(FLAG, false, crate::server::now_ms()).await,
                Switch::Agent(id) => store.set_enabled(None, id, false).await.map(drop),
            };
            if let Err(error) = written {
                if matches!(error, StoreError::NotFound(_)) {
                    self.lock().remove(switch);
                }
                return Err(error);
            }
            if let Some(waiting) = self.lock().get_mut(switch) {
                waiting.kept = true;
            }
        }
        loop {
            let Some(entry) = self.lock().get(switch).and_then(|waiting| waiting.entries.first().cloned()) else {
                break;
            };
            store.audit(&entry).await?;
            if let Some(waiting) = self.lock().get_mut(switch) {
                waiting.entries.remove(0);
            }
        }
        let mut waiting = self.lock();
        // Unless it was switched off once more while this was written.
        if waiting.get(switch).is_some_and(|waiting| waiting.kept && waiting.entries.is_empty()) {
            waiting.remove(switch);
        }
        Ok(())
    }

    /// Goes on trying for those who do not wait any more, until `stop`.
    pub async fn keep_trying(&self, store: &Store, stop: &CancellationToken) {
        let (first, longest) = PAUSES;
        let mut pause = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = async {
                    if self.lock().is_empty() {
                        self.more.notified().await;
                    }
                    // At first somebody else tries.
                    sleep(pause.unwrap_or(PATIENCE + first)).await;
                } => {}
            }
            let longer = pause.map_or(first, |pause: Duration| (pause * 2).min(longest));
            pause = if self.write_all(store).await { None } else { Some(longer) };
        }
        if timeout(LAST, self.write_all(store)).await != Ok(true) {
            let left: Vec<_> = self.lock().keys().cloned().collect();
            tracing::error!("switched off and never written, the next start does not know: {left:?}");
        }
    }

    /// Whether nothing is left.
    async fn write_all(&self, store: &Store) -> bool {
        let all: Vec<_> = self.lock().keys().cloned().collect();
        for switch in &all {
            match self.write(store, switch).await {
                Ok(()) => tracing::info!("{switch:?}: off is in the store now"),
                Err(error) => tracing::warn!("{switch:?}: off is not in the store yet: {error}"),
            }
        }
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Switch, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;

    fn entry() -> AuditEntry {
        AuditEntry {
            id: String::new(),
            at: 1,
            tenant_id: None,
            actor: "key_1".into(),
            action: "flag.streaming.off".into(),
            subject: FLAG.into(),
            details: serde_json::Value::Null,
            from: None,
        }
    }

    #[tokio::test]
    async fn an_off_that_comes_while_an_on_is_written_has_the_last_word() {
        let (store, off) = (Store::open(&Place::Memory).await.unwrap(), Off::default());
        let on = off.on(&Switch::Flag, async {
            store.set_flag(FLAG, true, 1).await?;
            off.set(Switch::Flag, entry());
            Ok(())
        });
        on.await.unwrap();
        assert!(off.flag(), "looks go by it");
        assert_eq!(off.keep(&store, &Switch::Flag).await, Kept::Yes);
        assert_eq!(store.flag(FLAG).await.unwrap(), Some(false));
        assert!(off.lock().is_empty());
    }

    #[tokio::test]
    async fn an_on_after_an_off_that_the_store_did_not_take_stays_on() {
        let (store, off) = (Store::open(&Place::Memory).await.unwrap(), Off::default());
        off.set(Switch::Flag, entry());
        off.on(&Switch::Flag, store.set_flag(FLAG, true, 1)).await.unwrap();
        assert!(!off.flag());
        assert_eq!(off.keep(&store, &Switch::Flag).await, Kept::Yes);
        assert_eq!(store.flag(FLAG).await.unwrap(), Some(true));
        assert!(off.lock().is_empty(), "its audit is written");
    }
}
