//! Records of the store that were read a moment ago: API keys and sessions, which every request names.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A record is not read again for this long: what another process changes shows no later.
const FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer than this to read a known record again is not waited for.
const SLOW: Duration = Duration::from_millis(500);
/// A store that does not answer is done without for this long: an operator must be able to switch off just then.
const STALE: Duration = Duration::from_secs(600);
/// Records at most.
const MOST: usize = 10_000;

/// By id. Ids that the store does not know are not kept: they would cost room, and belong to guessers.
#[derive(Debug)]
pub struct Fresh<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    known: HashMap<String, Known<T>>,
    /// How often something was forgotten: what was read before that is not kept.
    forgotten: u64,
}

#[derive(Debug)]
struct Known<T> {
    value: T,
    read: Instant,
    /// From then on somebody reads it again, while others still take it as it is.
    due: Instant,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Fresh(Mutex::new(Inner { known: HashMap::new(), forgotten: 0 }))
    }
}

impl<T: Clone> Fresh<T> {
    /// The record, by `look` where it is not fresh.
    ///
    /// # Errors
    /// Those of `look`, for what is not known from before.
    pub async fn read<E: std::fmt::Display>(
        &self,
        id: &str,
        look: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<T>, E> {
        let now = Instant::now();
        let (stale, before) = {
            let mut inner = self.lock();
            let before = inner.forgotten;
            match inner.known.get_mut(id) {
                Some(known) if known.due > now => return Ok(Some(known.value.clone())),
                Some(known) if known.read + STALE > now => {
                    known.due = now + FRESH;
                    (Some(known.value.clone()), before)
                }
                _ => (None, before),
            }
        };
        let found = match stale {
            None => look.await?,
            Some(stale) => match timeout(SLOW, look).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::warn!("{id} is taken as it was, for the store does not tell: {error}");
                    return Ok(Some(stale));
                }
                Err(_) => {
                    tracing::warn!("{id} is taken as it was, for the store does not answer");
                    return Ok(Some(stale));
                }
            },
        };
        let mut inner = self.lock();
        match &found {
            None => _ = inner.known.remove(id),
            Some(value) if inner.forgotten == before => {
                let now = Instant::now();
                if inner.known.len() >= MOST && !inner.known.contains_key(id) {
                    inner.known.retain(|_, known| known.due > now);
                    if inner.known.len() >= MOST {
                        inner.known.clear();
                    }
                }
                inner.known.insert(id.to_owned(), Known { value: value.clone(), read: now, due: now + FRESH });
            }
            Some(_) => {}
        }
        Ok(found)
    }

    /// Whether the store knew it when it was asked last.
    pub fn knows(&self, id: &str) -> bool {
        self.lock().known.contains_key(id)
    }

    /// It was changed: the next reader asks the store.
    pub fn forget(&self, id: &str) {
        let mut inner = self.lock();
        inner.forgotten += 1;
        inner.known.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_record_is_read_once_while_it_is_fresh_and_anew_when_it_was_forgotten() {
        let fresh = Fresh::default();
        let read = async |n: u32| fresh.read("a", async { Ok::<_, Infallible>(Some(n)) }).await.unwrap();
        assert_eq!((read(1).await, read(2).await), (Some(1), Some(1)));
        fresh.forget("a");
        assert_eq!(read(3).await, Some(3));
    }

    #[tokio::test]
    async fn what_was_read_before_it_was_forgotten_is_not_kept() {
        let fresh = Fresh::default();
        let during = async {
            fresh.forget("a");
            Ok::<_, Infallible>(Some("before"))
        };
        assert_eq!(fresh.read("a", during).await, Ok(Some("before")));
        assert_eq!(fresh.read("a", async { Ok::<_, Infallible>(Some("after")) }).await, Ok(Some("after")));
    }

    #[tokio::test]
    async fn a_store_that_fails_or_hangs_is_done_without_where_the_record_is_known() {
        let fresh = Fresh::default();
        fresh.read("a", async { Ok::<_, String>(Some(1)) }).await.unwrap();
        let age = |fresh: &Fresh<u32>| {
            fresh.lock().known.values_mut().for_each(|known| known.due = Instant::now());
        };
        age(&fresh);
        assert_eq!(fresh.read("a", async { Err("gone".to_owned()) }).await, Ok(Some(1)));
        age(&fresh);
        assert_eq!(fresh.read("a", std::future::pending::<Result<Option<u32>, String>>()).await, Ok(Some(1)));
        assert!(fresh.read("b", async { Err("gone".to_owned()) }).await.is_err());
        age(&fresh);
        assert_eq!(fresh.read("a", async { Ok::<_, String>(None) }).await, Ok(None), "deleted meanwhile");
        assert!(!fresh.knows("a"));
    }
}
