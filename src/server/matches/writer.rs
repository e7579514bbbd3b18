//! The one writer of a match. Validate, log, publish, acknowledge: in this order, so that what was acknowledged is in the
//! store and what is refused was never seen.

use super::FeedError;
use super::joining::{CannotWait, Waiting};
use super::live::{Live, Message};
use super::log::replay;
use super::round::{Answer, Call, CallKind, HEAVY_EVENTS, Outcome, Round, Waiter, refused};
use crate::game::{MatchState, Reducer};
use crate::server::now_ms;
use crate::store::StoreError;
use crate::store::model::MatchPhase;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Calls that share a transaction of this match.
const CALLS: usize = 64;
/// A snapshot is due after so many events in the log, or so many bytes (and twice what the last snapshot took).
const LOGGED_EVENTS: u64 = 512;
const LOGGED_BYTES: u64 = 1 << 20;
/// Joined events leave the last quarter of the limit to others for so long at most.
const PATIENCE: Duration = Duration::from_millis(250);
/// A log that could not be read is read again after this, or with the next event.
const REREAD: Duration = Duration::from_secs(5);
/// The pause after a fault of the program, so that one that comes back at once does not take a core.
const AFTER_FAULT: Duration = Duration::from_millis(200);
/// The longest that events wait to be joined; a caller whose turn is later is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    live: Arc<Live>,
    inbox: mpsc::Receiver<Message>,
    /// Taken from the inbox already.
    next: Option<Message>,
    reducer: Reducer,
    waiting: Waiting,
    waiters: Vec<Waiter>,
    since: Instant,
    /// Events that the store's log holds now: what a snapshot covers.
    in_log: u64,
    /// Bytes logged since the last snapshot, and how long that was.
    bytes: u64,
    snapshot_bytes: u64,
    saving: Option<Saving>,
    /// What the store holds is not certain: read it before anything else.
    unsure: bool,
    /// The store's phase is behind.
    phase_owed: bool,
    stop: CancellationToken,
}

struct Saving {
    covers: u64,
    bytes_before: u64,
    task: AbortOnDropHandle<Result<u64, StoreError>>,
}

/// What a phase follows from.
pub(super) fn phase(state: &MatchState) -> MatchPhase {
    match (state.started, &state.board.result) {
        (false, _) => MatchPhase::Waiting,
        (true, None) => MatchPhase::Running,
        (true, Some(_)) => MatchPhase::Over,
    }
}

impl Writer {
    /// `stop`: ends it at once, without a snapshot.
    pub(super) fn new(
        live: Arc<Live>,
        inbox: mpsc::Receiver<Message>,
        reducer: Reducer,
        in_log: u64,
        stop: CancellationToken,
    ) -> Writer {
        Writer {
            live,
            inbox,
            next: None,
            reducer,
            waiting: Waiting::default(),
            waiters: Vec::new(),
            since: Instant::now(),
            in_log,
            bytes: 0,
            snapshot_bytes: 0,
            saving: None,
            unsure: false,
            phase_owed: false,
            stop,
        }
    }

    /// Its log could not be read: that is tried again.
    pub(super) fn unsure(mut self) -> Writer {
        self.unsure = true;
        self
    }

    /// Until the match ends. What breaks off by a fault of the program begins anew from the log; its callers are told that the
    /// fault is ours, and what they sent counts if it was logged.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
            tracing::error!(id = %self.live.id, "a match's writer broke off; it goes on from the log");
            // What it holds may be half done. Those who wait are told by their channels' ends.
            (self.next, self.saving, self.unsure) = (None, None, true);
            self.waiting = Waiting::default();
            self.waiters.clear();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AFTER_FAULT) => {}
            }
        }
    }

    async fn work(&mut self) {
        if !self.unsure && self.reducer.state().started {
            self.follow_phase().await;
        }
        loop {
            let turn = (!self.waiters.is_empty()).then(|| self.turn());
            let message = match self.next.take() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep_until(turn.unwrap_or(self.since)), if turn.is_some() => {
                        self.write(Vec::new()).await;
                        continue;
                    }
                    () = tokio::time::sleep(REREAD), if self.unsure => {
                        if let Err(error) = self.sure().await {
                            tracing::warn!(id = %self.live.id, "the log of a match cannot be read yet: {error}");
                        }
                        continue;
                    }
                    saved = finished(&mut self.saving), if self.saving.is_some() => {
                        self.saved(saved);
                        continue;
                    }
                    message = self.inbox.recv() => match message {
                        Some(message) => message,
                        None => return,
                    },
                },
            };
            match message {
                Message::Feed(call) if call.kind == CallKind::Over => self.join(call).await,
                Message::Feed(call) => {
                    let calls = self.gather(call);
                    self.write(calls).await;
                }
                Message::End(done) => {
                    self.write(Vec::new()).await;
                    let ended = self.end().await;
                    let gone = ended.is_ok();
                    // Who asked may have left.
                    let _ = done.send(ended);
                    if gone {
                        return;
                    }
                }
                Message::EndIfDue(rules, now, done) => {
                    // What was fed before it counts.
                    self.write(Vec::new()).await;
                    let due = self.live.is_due(rules, now);
                    let ended = if due { self.end().await } else { Ok(()) };
                    let gone = due && ended.is_ok();
                    let _ = done.send(ended.map(|()| due));
                    if gone {
                        return;
                    }
                }
                Message::Close(done) => {
                    self.write(Vec::new()).await;
                    self.save_last().await;
                    self.live.shut();
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// When the joined events go in.
    fn turn(&self) -> Instant {
        let now = Instant::now();
        let patience = (self.since + PATIENCE).saturating_duration_since(now);
        let wait = self.live.limiter(|limiter, rate, now| {
            let n = self.waiting.len();
            limiter.turn(n, false, rate, now).min(limiter.turn(n, true, rate, now).max(patience))
        });
        now + wait
    }

    /// Has a call wait for its turn with others.
    async fn join(&mut self, call: Call) {
        if let Err(error) = self.sure().await {
            let _ = call.answer.send(Err(error));
            return;
        }
        let wait = self.live.limiter(|limiter, rate, now| limiter.turn(self.waiting.len() + 1, true, rate, now));
        if wait > MAX_WAIT {
            let _ = call.answer.send(Err(self.live.too_fast(wait)));
            return;
        }
        match self.waiting.join(self.waiters.len(), call.events, &self.reducer) {
            Ok(joined) => {
                if self.waiters.is_empty() {
                    self.since = Instant::now();
                }
                self.waiters.push(Waiter { fresh: joined.fresh, duplicates: joined.duplicates, answer: call.answer });
            }
            Err(CannotWait::Full) => {
                let wait = wait.max(Duration::from_millis(20));
                let _ = call.answer.send(Err(self.live.too_fast(wait)));
            }
            Err(CannotWait::Refused { index, error }) => {
                let _ = call.answer.send(Err(refused(index, error)));
            }
        }
    }

    /// The calls that can share a transaction with this one.
    fn gather(&mut self, first: Call) -> Vec<Call> {
        let mut events = first.events.len();
        let mut calls = vec![first];
        while calls.len() < CALLS && events < HEAVY_EVENTS {
            match self.inbox.try_recv() {
                Ok(Message::Feed(call)) if call.kind != CallKind::Over => {
                    events += call.events.len();
                    calls.push(call);
                }
                Ok(other) => {
                    self.next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        calls
    }

    /// Applies what waits and these calls, logs it, shows it, answers.
    async fn write(&mut self, calls: Vec<Call>) {
        let joined = match self.waiting.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => self.waiting.take(&self.reducer),
        };
        let waiters = std::mem::take(&mut self.waiters);
        if calls.is_empty() && waiters.is_empty() {
            return;
        }
        if let Err(error) = self.sure().await {
            let answers = waiters.into_iter().map(|w| w.answer).chain(calls.into_iter().map(|c| c.answer));
            answers.for_each(|answer| {
                let _ = answer.send(Err(error.clone()));
            });
            return;
        }
        let over = !waiters.is_empty();
        let round = Round { reducer: self.reducer.clone(), joined, waiters, calls };
        let outcome = match round.is_heavy() {
            false => round.run(),
            true => {
                // Beside the async threads, and so many at once of a tenant: other tenants' matches keep theirs.
                let turn = self.live.parts.rounds.queue(&self.live.record().tenant_id).await;
                let run = move || {
                    let _turn = turn;
                    round.run()
                };
                match tokio::task::spawn_blocking(run).await {
                    Ok(outcome) => outcome,
                    // Its callers' channels went with it; they are told that the fault is ours.
                    Err(error) => {
                        tracing::error!(id = %self.live.id, "events of a match could not be applied: {error}");
                        return;
                    }
                }
            }
        };
        let Outcome { reducer, lines, answers, joined, .. } = outcome;
        if over {
            self.live.limiter(|limiter, rate, now| limiter.charge(joined, rate, now));
        }
        if !lines.is_empty() {
            let (count, bytes) = (lines.len() as u64, lines.iter().map(|line| line.json.len() as u64).sum::<u64>());
            if let Err(error) = self.live.parts.store.append_events(&self.live.id, lines).await {
                // It may have been written all the same.
                self.unsure = true;
                answer_all(answers, Some(FeedError::Store(error.to_string())));
                return;
            }
            self.in_log += count;
            self.bytes += bytes;
        }
        self.reducer = reducer;
        self.live.publish(&self.reducer);
        let changed = self.new_phase();
        answer_all(answers, None);
        if changed || self.phase_owed {
            self.store_phase().await;
        }
        let due = LOGGED_BYTES.max(2 * self.snapshot_bytes);
        if self.in_log >= LOGGED_EVENTS || self.bytes >= due {
            self.save();
        }
    }

    /// Reads the store where what it holds is not certain.
    async fn sure(&mut self) -> Result<(), FeedError> {
        if !self.unsure {
            return Ok(());
        }
        if let Some(saving) = self.saving.take() {
            // Its end must not come between.
            let _ = saving.task.await;
        }
        let read = self.live.parts.store.load_match(&self.live.id).await;
        let saved = read.map_err(|error| FeedError::Store(error.to_string()))?;
        self.in_log = saved.events.len() as u64;
        let (reducer, damage) = tokio::task::spawn_blocking(move || replay(&saved))
            .await
            .map_err(|error| FeedError::Store(error.to_string()))?;
        report(&self.live.id, &damage);
        self.reducer = reducer;
        self.unsure = false;
        self.live.publish(&self.reducer);
        self.follow_phase().await;
        Ok(())
    }

    /// Brings the record's phase to what the state says; whether that changed it.
    fn new_phase(&mut self) -> bool {
        if !self.reducer.state().started {
            return false;
        }
        let record = self.live.set_phase(phase(self.reducer.state()), now_ms());
        if let Some(record) = &record {
            self.live.parts.changed(record);
        }
        record.is_some()
    }

    async fn follow_phase(&mut self) {
        if self.new_phase() {
            self.store_phase().await;
        }
    }

    async fn store_phase(&mut self) {
        let record = self.live.record();
        let at = if record.phase == MatchPhase::Over { record.ended_at } else { record.started_at };
        let at = at.unwrap_or_else(now_ms);
        let (store, id) = (&self.live.parts.store, &self.live.id);
        let mut stored = Ok(());
        if self.phase_owed
            && record.phase == MatchPhase::Over
            && let Some(started) = record.started_at
        {
            // The store may not know when it began.
            stored = store.set_match_phase(id, MatchPhase::Running, started).await;
        }
        if stored.is_ok() {
            stored = store.set_match_phase(id, record.phase, at).await;
        }
        self.phase_owed = stored.is_err();
        if let Err(error) = stored {
            tracing::warn!(id = %self.live.id, "the phase of a match could not be stored, it is tried again: {error}");
        }
    }

    /// Writes a snapshot in the background.
    fn save(&mut self) {
        if self.saving.is_some() || self.unsure {
            return;
        }
        let (live, reducer, covers) = (self.live.clone(), self.reducer.clone(), self.in_log);
        let task = tokio::spawn(async move { save(&live, reducer, covers).await });
        self.saving = Some(Saving { covers, bytes_before: self.bytes, task: AbortOnDropHandle::new(task) });
    }

    fn saved(&mut self, saved: Result<u64, StoreError>) {
        let Some(saving) = self.saving.take() else { return };
        match saved {
            Ok(bytes) => {
                self.snapshot_bytes = bytes;
                self.in_log -= saving.covers;
                self.bytes -= saving.bytes_before;
            }
            Err(error) => {
                tracing::warn!(id = %self.live.id, "a snapshot of a match could not be stored: {error}");
                // Whether the log was shortened is not certain.
                self.unsure = true;
            }
        }
    }

    /// The last snapshot, so that the next start need not replay.
    async fn save_last(&mut self) {
        if self.saving.is_some() {
            let saved = finished(&mut self.saving).await;
            self.saved(saved);
        }
        if self.in_log > 0
            && !self.unsure
            && let Err(error) = save(&self.live, self.reducer.clone(), self.in_log).await
        {
            tracing::warn!(id = %self.live.id, "the last snapshot of a match could not be stored: {error}");
        }
    }

    async fn end(&mut self) -> Result<(), StoreError> {
        if self.saving.is_some() {
            let saved = finished(&mut self.saving).await;
            self.saved(saved);
        }
        let now = now_ms();
        self.live.parts.store.set_match_phase(&self.live.id, MatchPhase::Closed, now).await?;
        let record = self.live.set_phase(MatchPhase::Closed, now);
        self.live.shut();
        if let Some(record) = record {
            self.live.parts.changed(&record);
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// However it ends, nobody waits for it.
    fn drop(&mut self) {
        self.live.shut();
    }
}

/// How the snapshot under way ended; it stays where it is, to be counted.
async fn finished(saving: &mut Option<Saving>) -> Result<u64, StoreError> {
    match saving {
        Some(saving) => (&mut saving.task).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string()))),
        None => std::future::pending().await,
    }
}

/// Returns the bytes of the snapshot.
async fn save(live: &Live, reducer: Reducer, covers: u64) -> Result<u64, StoreError> {
    let saved = tokio::task::spawn_blocking(move || reducer.save()).await;
    let saved = saved.map_err(|error| StoreError::Backend(error.to_string()))?;
    live.parts.store.save_snapshot(&live.id, &saved, covers).await?;
    Ok(saved.len() as u64)
}

/// `error`: for those that were not refused anyway.
fn answer_all(answers: Vec<(oneshot::Sender<Answer>, Answer)>, error: Option<FeedError>) {
    for (to, answer) in answers {
        let answer = match &error {
            Some(error) => answer.and_then(|_| Err(error.clone())),
            None => answer,
        };
        // A caller may have gone; what it sent counts all the same.
        let _ = to.send(answer);
    }
}

/// Says what could not be read of a match's log.
pub(super) fn report(id: &str, damage: &[String]) {
    if let Some(first) = damage.first() {
        tracing::error!(
            id,
            parts = damage.len(),
            "the log of a match is damaged, it waits for a state.snapshot: {first}"
        );
    }
}
