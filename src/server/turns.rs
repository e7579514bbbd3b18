//! Turns at something that costs much: so many at once for everybody, and so many for each tenant, so that one tenant cannot
//! take all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    of: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Given back when it is dropped: by whoever does the work, not by whoever waits for it.
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Turns {
    /// `all` at once, `each` of one tenant.
    pub fn new(all: usize, each: usize) -> Turns {
        Turns { all: Arc::new(Semaphore::new(all)), each, of: Mutex::default() }
    }

    /// None: none is free.
    pub fn take(&self, tenant: &str) -> Option<Turn> {
        let own = self.own(tenant).try_acquire_owned().ok()?;
        Some(Turn { _all: self.all.clone().try_acquire_owned().ok()?, _own: own })
    }

    /// Waits for one, in order of arrival; None: none came free within this time.
    pub async fn wait(&self, tenant: &str, within: Duration) -> Option<Turn> {
        tokio::time::timeout(within, self.queue(tenant)).await.ok()?
    }

    /// Waits for one however long, in order of arrival. There is always one in the end: they are never closed.
    pub async fn queue(&self, tenant: &str) -> Option<Turn> {
        let own = self.own(tenant).acquire_owned().await.ok()?;
        Some(Turn { _all: self.all.clone().acquire_owned().await.ok()?, _own: own })
    }

    fn own(&self, tenant: &str) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of.get(tenant).and_then(Weak::upgrade) {
            return own;
        }
        // Those that nobody holds or waits for are as good as new.
        of.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.each));
        of.insert(tenant.to_owned(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_turns_to_others_and_all_together_have_so_many() {
        let turns = Turns::new(3, 2);
        let (a, b) = (turns.take("a").unwrap(), turns.take("a").unwrap());
        assert!(turns.take("a").is_none());
        let other = turns.take("b").unwrap();
        assert!(turns.take("c").is_none(), "three at once");
        drop(a);
        assert!(turns.take("c").is_some());
        drop((b, other));
        assert!(turns.take("a").is_some());
        assert_eq!(turns.of.lock().unwrap().len(), 1, "nothing is kept of those who left");
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_turn_when_one_is_given_back_or_is_told_in_time() {
        let turns = Arc::new(Turns::new(1, 1));
        let first = turns.take("a").unwrap();
        assert!(turns.wait("a", Duration::from_millis(20)).await.is_none());
        let waits = turns.clone();
        let waiting = tokio::spawn(async move { waits.wait("b", Duration::from_secs(60)).await.is_some() });
        // It waits by now, or finds it free.
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
