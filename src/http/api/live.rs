//! What open connections share: the pictures of a match that watchers of one view get, when a session or a key ends, and the
//! end of them all.

use super::auth::{SIGN_IN, Visitor};
use super::guard::{Limiter, address};
use super::metrics::Metrics;
use super::problem::{Kind, Problem};
use super::state::{StateOut, filtered};
use crate::game::View;
use crate::server::matches::LiveMatch;
use crate::server::now_ms;
use crate::store::model::Millis;
use crate::store::{Store, StoreError};
use governor::Quota;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A watcher gets at most one state in this time: about 30 a second.
const BETWEEN_STATES: Duration = Duration::from_millis(33);
/// How often a session or key that holds connections is looked up. Half of what it may take to end them, and more.
const LOOK: Duration = Duration::from_secs(2);
/// Tokens and codes of one session a minute for one address: a page needs one in 15 minutes, and many pages may be behind
/// one address.
const RENEWALS: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// WebSockets that have not yet said who they are, and those of one address: nobody takes all of them.
const STRANGERS: usize = 1_024;
const STRANGERS_FROM: usize = 64;

/// What open connections share.
pub struct Live {
    pub metrics: Metrics,
    pub(super) screens: Screens,
    pub(super) gate: Gate,
    strangers: Strangers,
    /// Tokens and codes that are made for sessions, by session and address.
    renewals: Limiter<(String, IpAddr)>,
    readiness: Mutex<Readiness>,
    /// When the store was last asked whether it answers, and how long it took.
    pub(super) store_time: tokio::sync::Mutex<Option<(std::time::Instant, Option<Duration>)>>,
}

/// What `/readyz` says beside the store.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The GPU or software adapter on which pictures are drawn, or why there is none.
    pub stage: Result<String, String>,
    pub draining: bool,
}

impl Default for Live {
    fn default() -> Live {
        Live {
            metrics: Metrics::default(),
            screens: Screens::default(),
            gate: Gate::default(),
            strangers: Strangers::default(),
            renewals: Limiter::new("renewals", Quota::per_minute(RENEWALS)),
            readiness: Mutex::new(Readiness { stage: Err("not looked for yet".into()), draining: false }),
            store_time: tokio::sync::Mutex::default(),
        }
    }
}

impl Live {
    /// A place for a WebSocket that has yet to say who it is.
    ///
    /// # Errors
    /// 503 when there are too many, of this address or of all.
    pub(super) fn stranger(&self, visitor: &Visitor) -> Result<Stranger, Problem> {
        let words = "too many sockets wait to say who they are";
        let place = self.strangers.take(address(visitor.from));
        place.ok_or_else(|| Problem::new(Kind::UNAVAILABLE, words).retry_after(5))
    }

    /// Counts a token or a code that is about to be made for a session.
    ///
    /// # Errors
    /// 429.
    pub(super) fn renewal(&self, session: &str, visitor: &Visitor) -> Result<(), Problem> {
        let key = (session.to_owned(), address(visitor.from));
        self.renewals.take(&key, Some(&visitor.trail), "tokens and codes of this session")
    }

    /// Says whether pictures can be drawn: the adapter's name, or what is wrong and what to do.
    pub fn set_stage(&self, stage: Result<String, String>) {
        lock(&self.readiness).stage = stage;
    }

    /// From now on `/readyz` says no: a load balancer sends nobody new.
    pub fn drain(&self) {
        lock(&self.readiness).draining = true;
    }

    pub fn readiness(&self) -> Readiness {
        lock(&self.readiness).clone()
    }
}

/// WebSockets that have yet to say who they are, by address.
#[derive(Default)]
struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The place of one of them.
pub(super) struct Stranger {
    all: Arc<Mutex<HashMap<IpAddr, usize>>>,
    from: IpAddr,
}

impl Strangers {
    fn take(&self, from: IpAddr) -> Option<Stranger> {
        let mut all = lock(&self.0);
        // At most as many addresses as sockets.
        let together: usize = all.values().sum();
        let own = all.get(&from).copied().unwrap_or(0);
        if together >= STRANGERS || own >= STRANGERS_FROM {
            return None;
        }
        all.insert(from, own + 1);
        Some(Stranger { all: self.0.clone(), from })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(own) = all.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.from);
            }
        }
    }
}

/// The state of a match as one view sees it, written out once for all who watch.
#[derive(Debug)]
pub(super) struct Frame {
    pub epoch: u64,
    pub seq: u64,
    /// A [`StateOut`] as JSON.
    pub json: String,
}

impl Frame {
    fn new(live: &LiveMatch, view: &View, at: Option<Millis>) -> Frame {
        let state = live.state();
        let state: StateOut = filtered(&state, view, at);
        let json = serde_json::to_string(&state).unwrap_or_else(|error| {
            tracing::error!("a state cannot be written: {error}");
            "null".into()
        });
        Frame { epoch: state.epoch, seq: state.seq, json }
    }

    /// `epoch-seq`: the id of an SSE event.
    pub fn id(&self) -> String {
        format!("{}-{}", self.epoch, self.seq)
    }

    /// What goes out to a watcher.
    pub fn message(&self) -> String {
        format!(r#"{{"type":"state","now":{},"state":{}}}"#, now_ms(), self.json)
    }
}

/// Id of the match and the view's name.
type Screen = (String, String);

/// One writer for each (match, view) that is watched; it ends with its last watcher or with the match.
#[derive(Default)]
pub(super) struct Screens(Shared<Screen, Arc<Frame>>);

impl Screens {
    /// The newest state, again after each change, at most one each [`BETWEEN_STATES`]. Closed when the match is.
    pub fn watch(&self, live: LiveMatch, view: View, tasks: &TaskTracker) -> watch::Receiver<Arc<Frame>> {
        // Subscribed before the first state is read: nothing is missed between.
        let mut states = live.watch();
        states.mark_unchanged();
        let key = (live.record().id, view.to_string());
        let first = || Arc::new(Frame::new(&live, &view, None));
        let (live_too, view_too) = (live.clone(), view.clone());
        self.0.subscribe(key, tasks, first, async move |mut seat| {
            loop {
                tokio::select! {
                    () = seat.left() => return,
                    changed = states.changed() => if changed.is_err() { return },
                }
                states.mark_unchanged();
                seat.sender.send_replace(Arc::new(Frame::new(&live_too, &view_too, Some(now_ms()))));
                tokio::time::sleep(BETWEEN_STATES).await;
            }
        })
    }
}

/// Why the right to be connected is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Revoked,
    Expired,
}

/// Tells connections when the session or API key that they were opened with ends: at once when that happens here, within
/// [`LOOK`] when another process did it.
#[derive(Default)]
pub(super) struct Gate(Shared<String, Option<Over>>);

impl Gate {
    /// `id`: of a session, an API key or a sign-in. Some, once it has ended.
    pub fn watch(&self, store: &Store, id: &str, tasks: &TaskTracker) -> watch::Receiver<Option<Over>> {
        let (store, subject) = (store.clone(), id.to_owned());
        self.0.subscribe(
            id.to_owned(),
            tasks,
            || None,
            async move |mut seat| {
                loop {
                    if let Some(over) = look(&store, &subject).await {
                        seat.sender.send_replace(Some(over));
                    }
                    tokio::select! {
                        () = seat.left() => return,
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
            },
        )
    }

    /// Closes what was opened with it, now.
    pub fn revoked(&self, id: &str) {
        if let Some(sender) = lock(&self.0.open).get(id) {
            sender.send_replace(Some(Over::Revoked));
        }
    }
}

/// Whether a session or key is over. A store that does not answer ends nobody's session.
async fn look(store: &Store, id: &str) -> Option<Over> {
    // The store knows nothing of sign-ins: they are over when somebody says so.
    if id.starts_with(SIGN_IN) {
        return None;
    }
    let found = if id.starts_with("key_") {
        store.api_key(id).await.map(|key| match key {
            Some((key, _)) => key.revoked_at.map(|_| Over::Revoked),
            None => Some(Over::Revoked),
        })
    } else {
        store.session(None, id).await.map(|session| match session.revoked_at {
            Some(_) => Some(Over::Revoked),
            None => (session.expires_at <= now_ms()).then_some(Over::Expired),
        })
    };
    match found {
        Ok(over) => over,
        Err(StoreError::NotFound(_)) => Some(Over::Revoked),
        Err(error) => {
            tracing::warn!("whether {id} still holds cannot be looked up: {error}");
            None
        }
    }
}

type Open<K, T> = Arc<Mutex<HashMap<K, watch::Sender<T>>>>;

/// Senders with one task each, which live as long as somebody listens.
struct Shared<K, T> {
    open: Open<K, T>,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Shared { open: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, T: Send + Sync + 'static> Shared<K, T> {
    /// Listens to the sender of this key; the first listener makes it, and the task that sends.
    fn subscribe<W: Future<Output = ()> + Send + 'static>(
        &self,
        key: K,
        tasks: &TaskTracker,
        first: impl FnOnce() -> T,
        work: impl FnOnce(Seat<K, T>) -> W,
    ) -> watch::Receiver<T> {
        if let Some(sender) = lock(&self.open).get(&key) {
            return sender.subscribe();
        }
        // Outside of the lock, for which everybody else waits: a large state takes a while to be filtered and written out.
        let (sender, receiver) = watch::channel(first());
        let mut open = lock(&self.open);
        if let Some(sender) = open.get(&key) {
            // Somebody was faster.
            return sender.subscribe();
        }
        open.insert(key.clone(), sender.clone());
        drop(open);
        tasks.spawn(work(Seat { sender, key, open: self.open.clone(), given_up: false }));
        receiver
    }
}

/// The sender's end.
struct Seat<K: Eq + Hash, T> {
    sender: watch::Sender<T>,
    key: K,
    open: Open<K, T>,
    given_up: bool,
}

impl<K: Eq + Hash, T> Seat<K, T> {
    /// Ready when nobody listens any more; whoever comes then begins anew.
    async fn left(&mut self) {
        loop {
            self.sender.closed().await;
            let mut open = lock(&self.open);
            // Somebody may have come meanwhile.
            if self.sender.receiver_count() == 0 {
                open.remove(&self.key);
                self.given_up = true;
                return;
            }
        }
    }
}

impl<K: Eq + Hash, T> Drop for Seat<K, T> {
    fn drop(&mut self) {
        if !self.given_up {
            lock(&self.open).remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places_of_sockets_that_say_nothing() {
        let strangers = Strangers::default();
        let take = |n: u8| strangers.take(IpAddr::from([192, 0, 2, n]));
        let mut places: Vec<_> = (0..STRANGERS_FROM).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none() && take(2).is_some());
        places.pop();
        places.extend(take(1));
        assert!(take(1).is_none());
        let many: Vec<_> = (2..=255).flat_map(|n| (0..STRANGERS_FROM).map(move |_| n)).map_while(take).collect();
        assert_eq!(places.len() + many.len(), STRANGERS, "all of them together");
        drop((places, many));
        assert!(lock(&strangers.0).is_empty());
    }

    #[tokio::test]
    async fn the_first_value_is_made_while_others_may_subscribe() {
        let shared = Shared::<&str, u32>::default();
        let tasks = TaskTracker::new();
        let sit = async |mut seat: Seat<&'static str, u32>| seat.left().await;
        let first = || {
            // As another watcher would, in the middle of it; and one of the same key was faster.
            assert_eq!(*shared.subscribe("other", &tasks, || 1, sit).borrow(), 1);
            shared.subscribe("same", &tasks, || 2, sit).borrow().to_owned() + 1
        };
        let receiver = shared.subscribe("same", &tasks, first, sit);
        assert_eq!(*receiver.borrow(), 2, "one sender for all");
        assert_eq!(*shared.subscribe("same", &tasks, || 4, sit).borrow(), 2);
    }
}
