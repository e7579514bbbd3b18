use super::Clock;
use super::waiting::Waiting;
use crate::game::adapters::{Record, Timed};
use crate::game::{Applied, ApplyError, Body, Event, MatchState, Reducer};
use crate::overlay::MediaMs;
use std::sync::{Arc, Mutex, PoisonError};

/// Where a stream's match comes from.
pub trait Source: Send {
    /// States that became current up to media time `t` and were not given out before, oldest first.
    fn poll(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>)>;

    /// When the last state became current, once it is certain that none follows.
    fn ended(&self) -> Option<MediaMs> {
        None
    }
}

/// The game server's end of a live match. Cheap to clone; pushing never waits for the stream.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Mutex<FeedInner>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct FeedInner {
    reducer: Reducer,
    waiting: Waiting<()>,
    /// It was said that a snapshot is needed.
    told: bool,
}

/// The stream's end of a live match.
pub struct Live(Arc<Mutex<FeedInner>>);

impl Feed {
    /// Both ends of a feed on the stream's clock, which must show media time: 0 when the first frame is due.
    pub fn new(clock: Arc<dyn Clock>) -> (Feed, Live) {
        let inner = Arc::<Mutex<FeedInner>>::default();
        (Feed { inner: inner.clone(), clock }, Live(inner))
    }

    /// Applies an event and shows the state from now on.
    ///
    /// [`Applied::NeedSnapshot`] asks the game server for a `state.snapshot`: too much is missing, and nothing changes on
    /// screen until one comes. That is logged too, once a loss.
    ///
    /// # Errors
    /// An event over a limit or against the rules is refused whole and names the field.
    pub fn push(&self, event: Event) -> Result<Applied, ApplyError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.reducer.counts();
        let applied = inner.reducer.apply(event);
        let after = inner.reducer.counts();
        // Even an event that is refused may let held ones through.
        if after.applied > before.applied {
            let state = Arc::new(inner.reducer.state().clone());
            // Read under the lock, so that times never fall.
            let now = self.clock.now().as_millis() as MediaMs;
            inner.waiting.push(now, state, ());
        }
        if after.refused > before.refused
            && applied.is_ok()
            && let Some((epoch, seq, error)) = inner.reducer.last_refusal()
        {
            tracing::warn!(epoch, seq, "an event that had waited was refused: {error}");
        }
        let needs = inner.reducer.needs_snapshot();
        if needs && !inner.told {
            tracing::warn!(
                "events are missing: the picture stands still until a state.snapshot or match.started comes"
            );
        }
        inner.told = needs;
        applied
    }
}

impl Source for Live {
    fn poll(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>)> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.take_due(t).into_iter().map(|(at, state, ())| (at, state)).collect()
    }
}

/// How a record is played.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Times faster than it happened.
    pub speed: f64,
    /// The starting scene counts down at least this long before the first move, ms. A record with a countdown of its own
    /// (`startsAt`) is only lengthened by what is missing.
    pub lead_in_ms: i64,
    /// Start over this long after the end, ms; None plays once.
    pub repeat_after_ms: Option<i64>,
}

impl Default for ReplayOptions {
    fn default() -> ReplayOptions {
        ReplayOptions { speed: 1.0, lead_in_ms: 0, repeat_after_ms: None }
    }
}

/// A recorded match, played from media time 0.
pub struct Replay {
    events: Vec<Timed>,
    options: ReplayOptions,
    next: usize,
    /// Media time at which this round of playing began.
    began: MediaMs,
    /// Added to the record's own epochs, so that a round is newer than the one before.
    epochs_before: u64,
    reducer: Reducer,
    last: MediaMs,
    refused: Option<String>,
}

impl Replay {
    pub fn new(record: Record, options: ReplayOptions) -> Replay {
        let own = record.events.first().map_or(0, |first| match &first.event.body {
            Body::MatchStarted(snapshot) => snapshot.starts_at.map_or(0, |ts| ts.saturating_sub(first.event.ts)),
            _ => 0,
        });
        let speed = options.speed.max(0.01);
        let lead_in_ms = options.lead_in_ms.saturating_sub((own as f64 / speed) as i64).max(0);
        Replay {
            events: record.events,
            options: ReplayOptions { speed, lead_in_ms, ..options },
            next: 0,
            began: 0,
            epochs_before: 0,
            reducer: Reducer::default(),
            last: 0,
            refused: None,
        }
    }

    /// How long one round lasts from its first event to its last, ms.
    pub fn duration_ms(&self) -> MediaMs {
        self.events.len().checked_sub(1).map_or(0, |last| self.due(last))
    }

    /// The first event that the match state refused, in words.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The next event of the first round and when it is due, for whoever plays a record into something else than a stream.
    pub fn next_event(&mut self) -> Option<(MediaMs, Event)> {
        let i = self.next;
        self.events.get(i)?;
        self.next += 1;
        Some((self.due(i), self.event(i)))
    }

    /// Media time of event `i` within a round.
    fn due(&self, i: usize) -> MediaMs {
        let first = self.events.first().map_or(0, |e| e.at);
        let lead = if i == 0 { 0 } else { self.options.lead_in_ms };
        // Times come from a file: far apart they saturate.
        lead.saturating_add((self.events[i].at.saturating_sub(first) as f64 / self.options.speed) as MediaMs)
    }

    fn event(&self, i: usize) -> Event {
        let mut event = self.events[i].event.clone();
        event.epoch = event.epoch.saturating_add(self.epochs_before);
        let lead = self.options.lead_in_ms;
        match &mut event.body {
            Body::MatchStarted(snapshot) if i == 0 => {
                let own = snapshot.starts_at.map_or(0, |ts| ts.saturating_sub(event.ts));
                let own = (own as f64 / self.options.speed) as i64;
                let starts = event.ts.saturating_add(own).saturating_add(lead);
                snapshot.starts_at = Some(starts).filter(|ts| *ts > event.ts);
            }
            _ if i > 0 => event.ts = event.ts.saturating_add(lead),
            _ => {}
        }
        event
    }
}

impl Source for Replay {
    fn poll(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>)> {
        let mut states = Vec::new();
        loop {
            while self.next < self.events.len() && self.began.saturating_add(self.due(self.next)) <= t {
                let at = self.began.saturating_add(self.due(self.next));
                match self.reducer.apply(self.event(self.next)) {
                    Ok(_) => {}
                    Err(error) if self.refused.is_none() => {
                        let what = format!("event {}: {error}", self.next + 1);
                        tracing::warn!("the record has an event that is refused: {what}");
                        self.refused = Some(what);
                    }
                    Err(_) => {}
                }
                self.next += 1;
                self.last = at;
                match states.last_mut() {
                    // Events of one instant are one change: a turn is shown whole.
                    Some((last, state)) if *last == at => *state = Arc::new(self.reducer.state().clone()),
                    _ => states.push((at, Arc::new(self.reducer.state().clone()))),
                }
            }
            match self.options.repeat_after_ms {
                Some(pause)
                    if self.next == self.events.len()
                        && !self.events.is_empty()
                        && self.last.saturating_add(pause) <= t =>
                {
                    self.began = self.last.saturating_add(pause.max(1));
                    self.next = 0;
                    let epochs = self.events.iter().map(|e| e.event.epoch).max().unwrap_or(0);
                    self.epochs_before = self.epochs_before.saturating_add(epochs.max(1));
                    self.last = self.began;
                }
                _ => return states,
            }
        }
    }

    fn ended(&self) -> Option<MediaMs> {
        (self.next == self.events.len() && self.options.repeat_after_ms.is_none()).then_some(self.last)
    }
}
