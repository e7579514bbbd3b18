//! One live match as everybody but its writer sees it: the newest state, who watches, what it may take.

use super::limiter::{Limiter, Rate};
use super::round::{Answer, Call, CallKind, position};
use super::sweep::Rules;
use super::{Allowance, FeedError, FeedReport, LiveMatch, Screen, joining};
use crate::config::Config;
use crate::game::wire::VERSION;
use crate::game::{Event, MatchState, Reducer, View};
use crate::server::bus::Bus;
use crate::server::now_ms;
use crate::server::turns::Turns;
use crate::store::model::{Match, MatchPhase};
use crate::store::{Store, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Calls of one match that wait for its writer.
pub(super) const INBOX: usize = 1_024;
/// When to try again while the writer is that busy.
const BUSY: Duration = Duration::from_millis(250);

/// What all matches share.
#[derive(Clone)]
pub(super) struct Parts {
    pub store: Store,
    pub bus: Bus,
    pub config: Arc<RwLock<Arc<Config>>>,
    /// At sending and keeping records in memory, 8 MiB each.
    pub senders: Arc<Turns>,
    /// At reading them.
    pub readers: Arc<Turns>,
    /// At rounds of events that take long.
    pub rounds: Arc<Turns>,
    /// Rises whenever a match is opened, starts, is over or closed.
    pub changes: watch::Sender<u64>,
}

impl Parts {
    pub(super) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn rate(&self) -> Rate {
        Rate::of(&self.config().limits)
    }

    /// Tells what phase a match is in.
    pub(super) fn changed(&self, record: &Match) {
        self.changes.send_modify(|n| *n += 1);
        let data = serde_json::json!({ "phase": record.phase, "reference": record.reference });
        self.bus.tell(Some(&record.tenant_id), "match", &record.id, data);
    }
}

/// For a match's writer.
pub(super) enum Message {
    Feed(Call),
    /// For good.
    End(oneshot::Sender<Result<(), StoreError>>),
    /// For good, if that is due by these settings at this time (Unix ms); whether it was.
    EndIfDue(Rules, i64, oneshot::Sender<Result<bool, StoreError>>),
    /// Until the next start of the service.
    Close(oneshot::Sender<()>),
}

pub(super) struct Live {
    pub id: String,
    pub reference: String,
    pub parts: Parts,
    pub inbox: mpsc::Sender<Message>,
    /// Cancelled when the match is closed.
    pub closed: CancellationToken,
    limiter: Mutex<Limiter>,
    face: Mutex<Face>,
    shown: Mutex<Shown>,
    pub records: super::records::Desk,
    /// Unix ms of the last call with events, 0: none yet. And of the start of the service or the match.
    heard: AtomicI64,
    since: i64,
}

/// What the match is now.
struct Face {
    record: Match,
    state: Arc<MatchState>,
    position: FeedReport,
}

/// Who gets the states.
struct Shown {
    /// None once the match is closed.
    watchers: Option<watch::Sender<Arc<MatchState>>>,
    screens: Vec<Screen>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the screen wants more. One that panics does not.
fn show(screen: &Screen, state: &Arc<MatchState>) -> bool {
    catch_unwind(AssertUnwindSafe(|| screen(state.clone()))).unwrap_or(false)
}

impl Live {
    pub(super) fn new(record: Match, reducer: &Reducer, parts: Parts, inbox: mpsc::Sender<Message>) -> Arc<Live> {
        let state = reducer.shared();
        Arc::new(Live {
            id: record.id.clone(),
            reference: record.reference.clone(),
            parts,
            inbox,
            closed: CancellationToken::new(),
            limiter: Mutex::new(Limiter::new()),
            shown: Mutex::new(Shown { watchers: Some(watch::Sender::new(state.clone())), screens: Vec::new() }),
            face: Mutex::new(Face { record, state, position: at(reducer) }),
            records: super::records::Desk::default(),
            heard: AtomicI64::new(0),
            since: now_ms(),
        })
    }

    /// Whether nobody has ended or fed it for so long that it is closed. A record that plays is as good as events.
    pub(super) fn is_due(&self, rules: Rules, now: i64) -> bool {
        if self.records.plays() {
            return false;
        }
        let heard = self.heard.load(Ordering::Relaxed);
        let record = self.record();
        let (last, most) = match record.phase {
            MatchPhase::Waiting | MatchPhase::Running => (heard.max(self.since), rules.silent_after),
            MatchPhase::Over => (heard.max(record.ended_at.unwrap_or(self.since)), rules.close_after),
            MatchPhase::Closed => return false,
        };
        now.saturating_sub(last) >= i64::try_from(most.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn record(&self) -> Match {
        lock(&self.face).record.clone()
    }

    pub(super) fn state(&self) -> Arc<MatchState> {
        lock(&self.face).state.clone()
    }

    /// Shows where the reducer stands to everybody.
    pub(super) fn publish(&self, reducer: &Reducer) {
        // Held to the end, so that a screen that comes now gets every state once and in order.
        let mut shown = lock(&self.shown);
        let state = reducer.shared();
        {
            let mut face = lock(&self.face);
            face.position = at(reducer);
            if Arc::ptr_eq(&face.state, &state) {
                return;
            }
            face.state = state.clone();
        }
        if let Some(watchers) = &shown.watchers {
            watchers.send_replace(state.clone());
        }
        shown.screens.retain(|screen| show(screen, &state));
    }

    /// Sets the phase; the record when that changed it.
    pub(super) fn set_phase(&self, phase: MatchPhase, now: i64) -> Option<Match> {
        let mut face = lock(&self.face);
        let record = &mut face.record;
        if record.phase == phase {
            return None;
        }
        match phase {
            MatchPhase::Waiting => {}
            MatchPhase::Running => {
                record.started_at = record.started_at.or(Some(now));
                record.ended_at = None;
            }
            MatchPhase::Over => {
                // It may have been fed whole.
                record.started_at = record.started_at.or(Some(now));
                record.ended_at = record.ended_at.or(Some(now));
            }
            MatchPhase::Closed => record.ended_at = record.ended_at.or(Some(now)),
        }
        record.phase = phase;
        Some(record.clone())
    }

    /// Nothing comes any more: watchers and tasks end.
    pub(super) fn shut(&self) {
        self.closed.cancel();
        let mut shown = lock(&self.shown);
        shown.watchers = None;
        shown.screens.clear();
    }

    pub(super) fn limiter<T>(&self, with: impl FnOnce(&mut Limiter, Rate, Instant) -> T) -> T {
        let rate = self.parts.rate();
        with(&mut lock(&self.limiter), rate, Instant::now())
    }

    pub(super) fn too_fast(&self, wait: Duration) -> FeedError {
        // Rounded up, so that who waits that long is let in.
        let retry_ms = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
        FeedError::TooFast { per_second: self.parts.rate().per_second, retry_ms }
    }

    /// Has the writer apply these events, in order of their numbers, and waits until they are logged.
    pub(super) async fn write(&self, events: Vec<(usize, Event)>, kind: CallKind) -> Answer {
        if self.closed.is_cancelled() {
            return Err(FeedError::Closed);
        }
        self.heard.store(now_ms(), Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match self.inbox.try_send(Message::Feed(Call { events, kind, answer })) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(self.too_fast(BUSY)),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(FeedError::Closed),
        }
        // The writer answers everything it takes, unless the match ends or something breaks.
        answered.await.unwrap_or_else(|_| match self.closed.is_cancelled() {
            true => Err(FeedError::Closed),
            false => Err(FeedError::Store("the writer of its match broke off".into())),
        })
    }
}

/// [`LiveMatch::position`] of a reducer.
fn at(reducer: &Reducer) -> FeedReport {
    FeedReport { held: reducer.held() as u64, ..position(reducer) }
}

impl LiveMatch {
    /// As it is now; `phase` follows the events.
    pub fn record(&self) -> Match {
        self.live.record()
    }

    /// The newest state, unfiltered: only for views that may see everything and for streams, which filter themselves.
    pub fn state(&self) -> Arc<MatchState> {
        self.live.state()
    }

    /// The newest state as `view` may see it.
    pub fn seen_by(&self, view: &View) -> MatchState {
        view.filter(&self.state())
    }

    /// The newest state, again at each change. Ends (sender dropped) when the match is closed.
    pub fn watch(&self) -> watch::Receiver<Arc<MatchState>> {
        let shown = lock(&self.live.shown);
        match &shown.watchers {
            Some(watchers) => watchers.subscribe(),
            None => watch::Sender::new(self.live.state()).subscribe(),
        }
    }

    /// Every state from now on goes into `screen`, the newest at once, until it returns false. It must not wait, nor call
    /// this match. One that panics is dropped.
    pub fn attach(&self, screen: Screen) {
        let mut shown = lock(&self.live.shown);
        if show(&screen, &self.live.state()) && shown.watchers.is_some() {
            shown.screens.push(screen);
        }
    }

    /// Applies wire events, all or nothing. Returns when they are logged.
    ///
    /// Of several events in one call the order is that of their numbers. After a call of one event that is refused the next
    /// event may leave that number out, as [`Reducer`] says; after a refused call of several it may not.
    ///
    /// # Errors
    ///
    /// [`FeedError::TooFast`] beyond the match's limit, unless the events are such that only the outcome counts
    /// (`agent.thinking`, pictures in picture zones, a `state.snapshot` that is not large): those wait a moment and are joined.
    pub async fn feed(&self, events: Vec<Event>) -> Result<FeedReport, FeedError> {
        if self.live.closed.is_cancelled() {
            return Err(FeedError::Closed);
        }
        if events.is_empty() {
            return Ok(self.position());
        }
        let can_wait = events.iter().all(joining::can_wait);
        let taken = self.live.limiter(|limiter, rate, now| {
            limiter.read(events.len() - 1, rate, now);
            limiter.take(events.len(), can_wait, rate, now)
        });
        match taken {
            Err(wait) if !can_wait => Err(self.live.too_fast(wait)),
            Err(_) => self.live.write(self.live.ordered(events)?, CallKind::Over).await,
            Ok(()) => self.live.write(self.live.ordered(events)?, CallKind::Usual).await,
        }
    }

    /// What the limiter of this match leaves now.
    pub fn allowance(&self) -> Allowance {
        self.live.limiter(|limiter, rate, now| {
            let (remaining, full) = limiter.left(rate, now);
            let reset_s = full.as_secs() + u64::from(full.subsec_nanos() > 0);
            Allowance { limit: rate.burst, remaining, reset_s: u32::try_from(reset_s).unwrap_or(u32::MAX) }
        })
    }

    /// Asks whether a call may be read at all: before a body is parsed, or for each frame of a socket. Costs next to
    /// nothing. Up to several times the limit calls are let in, because some events can be joined; [`LiveMatch::feed`]
    /// decides about them, and counts what a call held beyond one event.
    ///
    /// # Errors
    ///
    /// [`FeedError::TooFast`], and [`FeedError::Closed`].
    pub fn admit(&self) -> Result<(), FeedError> {
        if self.live.closed.is_cancelled() {
            return Err(FeedError::Closed);
        }
        let admitted = self.live.limiter(|limiter, rate, now| limiter.admit(rate, now));
        admitted.map_err(|wait| self.live.too_fast(wait))
    }

    /// Where the match stands: for a feed socket's first message. `held` events wait.
    pub fn position(&self) -> FeedReport {
        self.live.position()
    }
}

impl Live {
    pub(super) fn position(&self) -> FeedReport {
        lock(&self.face).position.clone()
    }

    /// The events of one call in order of their numbers, with their places in the call, if they are of this match.
    pub(super) fn ordered(&self, events: Vec<Event>) -> Result<Vec<(usize, Event)>, FeedError> {
        let wrong = |index, field: &str, problem| {
            Err(FeedError::Event { index, field: field.to_owned(), problem, limit: None })
        };
        for (index, event) in events.iter().enumerate() {
            if event.v != VERSION {
                return wrong(index, "v", format!("{} is not supported, expected {VERSION}", event.v));
            }
            if event.match_id != self.reference {
                let problem = format!("events of this match must say {:?}, its reference", self.reference);
                return wrong(index, "match", problem);
            }
        }
        let mut events: Vec<(usize, Event)> = events.into_iter().enumerate().collect();
        events.sort_by_key(|(_, event)| (event.epoch, event.seq));
        Ok(events)
    }
}
