//! Puts events in order and applies them; see [`apply`](fn@super::apply) for what each one does.

use super::MatchState;
pub use super::apply::ApplyError;
use super::apply::apply;
use super::limits::{HELD_BYTES, REORDER_WINDOW};
use super::validate;
use super::wire::{Body, Event};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

mod save;

pub use save::RestoreError;

/// Epoch and sequence number: the order of events.
type Key = (u64, u64);

/// Holds a match's state and the events that wait for a gap to close.
///
/// * An event is applied when it is the next one: same epoch, `seq` one higher. Anything not newer is
///   [`Applied::Old`].
/// * A later one is held back while the gap before it may still close. When more than [`REORDER_WINDOW`] events wait,
///   or one is further ahead than that, too much is lost: [`Applied::NeedSnapshot`]. Until a snapshot arrives nothing
///   but a snapshot is applied; the newest events go on being held, because they may follow it.
/// * `match.started` and `state.snapshot` need nothing before them: they apply at once if they are newer, and let
///   through what was held and follows them. What they overtake is gone ([`Applied::Old`] when it arrives).
/// * A new epoch begins with one of these two, at any `seq`. Other events of a newer epoch wait for it. The very first
///   event is no different: before it, everything is [`Applied::NeedSnapshot`].
/// * A newer `match.started` with another `match` replaces the match. Any other event of another match is refused.
///
/// An event that is refused uses nothing up: its correction may bear its number. Nor does it hold anything up: the event
/// after it may follow without a correction, and from then on the number is an old one. Three are different, because
/// later events build on them: a refused `state.patch`, `state.snapshot` or `match.started` leaves a gap, which a
/// correction with the same number, or any newer snapshot, closes.
///
/// A clone shares the state until one of the two changes it, so trying something on a clone costs one copy of the state.
#[derive(Clone, Debug, Default)]
pub struct Reducer {
    state: Arc<MatchState>,
    /// The last event that was applied.
    position: Key,
    /// So many numbers right behind it are of events that were refused: the next event may leave them out.
    refused: u64,
    /// Too much is missing: only a snapshot goes on from here.
    lost: bool,
    held: BTreeMap<Key, Held>,
    held_bytes: usize,
    counts: Counts,
    last_refusal: Option<(Key, ApplyError)>,
}

#[derive(Clone, Debug)]
struct Held {
    event: Arc<Event>,
    bytes: usize,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Applied, with `n` events in all (held ones that it let through counted).
    Now(usize),
    /// Held back: an earlier one is missing.
    Held,
    /// Already applied or from an older epoch.
    Old,
    /// An unknown type: counted and ignored.
    Ignored,
    /// Too much is missing: only a snapshot can go on from here.
    NeedSnapshot,
}

/// How many events met which fate since the reducer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Changed the state.
    pub applied: u64,
    /// Of an unknown type, in order.
    pub unknown: u64,
    /// Not newer than the state.
    pub old: u64,
    /// The same `(epoch, seq)` as the newest one or as one that waits; not counted as `old`.
    pub duplicates: u64,
    /// Refused with an [`ApplyError`].
    pub refused: u64,
    /// Held and then dropped: overtaken by a snapshot, or too many.
    pub dropped: u64,
    /// Times that only a snapshot could help, the beginning not counted.
    pub losses: u64,
}

impl Reducer {
    pub fn state(&self) -> &MatchState {
        &self.state
    }

    /// The state, to be kept: it does not change any more.
    pub fn shared(&self) -> Arc<MatchState> {
        self.state.clone()
    }

    /// `(epoch, seq)` of the last event that was applied.
    pub fn position(&self) -> (u64, u64) {
        self.position
    }

    /// The numbers in the epoch of [`Reducer::position`] that an event may have to be applied at once: one, and one more
    /// for each event right behind the position that was refused.
    pub fn next(&self) -> RangeInclusive<u64> {
        match self.position.1.checked_add(1) {
            Some(next) => next..=next.saturating_add(self.refused),
            // All numbers are used up.
            None => RangeInclusive::new(1, 0),
        }
    }

    /// Whether an event of this number follows the position without a gap.
    pub fn follows(&self, epoch: u64, seq: u64) -> bool {
        epoch == self.position.0 && self.next().contains(&seq)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing but a snapshot (or `match.started`) will be applied: at the beginning and after a loss.
    pub fn needs_snapshot(&self) -> bool {
        self.lost || !self.state.started
    }

    /// Events that wait for a gap to close.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// `(epoch, seq)` and error of the event refused last. The only way to learn of one that was held when it came.
    pub fn last_refusal(&self) -> Option<(u64, u64, &ApplyError)> {
        self.last_refusal.as_ref().map(|((epoch, seq), error)| (*epoch, *seq, error))
    }

    /// Takes one event in.
    ///
    /// # Errors
    ///
    /// When this event is refused. The state is then as if it had never come, but held events that follow it may have
    /// been applied.
    pub fn apply(&mut self, event: Event) -> Result<Applied, ApplyError> {
        let key = (event.epoch, event.seq);
        if let Err(error) = validate::envelope(&event) {
            return Err(self.refused(&event, error));
        }
        let begins = matches!(event.body, Body::MatchStarted(_));
        let whole = begins || matches!(event.body, Body::StateSnapshot(_));
        if self.state.started {
            if event.match_id != self.state.match_id && !(begins && key > self.position) {
                let problem = match begins {
                    true => "a match.started of another match must be newer (epoch, then seq) than the match running",
                    false => "not the match running, and only a match.started begins another",
                };
                return Err(self.refused(&event, ApplyError::invalid("match", problem)));
            }
            if key <= self.position {
                return Ok(self.old(key == self.position));
            }
        }
        if whole {
            self.take(&event)?;
            self.lost = false;
            self.overtake();
            return Ok(Applied::Now(1 + self.drain()));
        }
        if self.held.contains_key(&key) {
            return Ok(self.old(true));
        }
        if self.needs_snapshot() || !self.follows(key.0, key.1) {
            return Ok(self.hold(event));
        }
        let unknown = matches!(event.body, Body::Unknown(_));
        let taken = self.take(&event);
        let drained = self.drain();
        taken?;
        Ok(match (unknown, drained) {
            (true, 0) => Applied::Ignored,
            (true, n) => Applied::Now(n),
            (false, n) => Applied::Now(1 + n),
        })
    }

    /// Applies an event that stands for all numbers from `first` to its own: what they carried was joined to it, or replaced
    /// by it. Where the numbers before it do not join the state without a gap, it counts as an event of its own number only.
    ///
    /// # Errors
    ///
    /// As [`Reducer::apply`], but nothing has changed then: the next event may not leave it out.
    pub fn apply_joined(&mut self, first: u64, event: Event) -> Result<Applied, ApplyError> {
        let joins = !self.needs_snapshot()
            && event.epoch == self.position.0
            && first < event.seq
            && first <= *self.next().end()
            && *self.next().start() < event.seq;
        if !joins || event.match_id != self.state.match_id {
            return self.apply(event);
        }
        let before = self.clone();
        self.go_to((event.epoch, event.seq - 1));
        Arc::make_mut(&mut self.state).seq = event.seq - 1;
        self.overtake();
        let applied = self.apply(event);
        if applied.is_err() {
            *self = before;
        }
        applied
    }

    /// Something is missing for good: nothing but a snapshot will be applied from here on.
    pub fn lose(&mut self) {
        if !self.needs_snapshot() {
            self.counts.losses += 1;
        }
        self.lost = true;
    }

    /// Numbers before `key` are old ones from now on.
    fn go_to(&mut self, key: Key) {
        self.refused = match key.0 == self.position.0 {
            true => self.refused.saturating_sub(key.1.saturating_sub(self.position.1)),
            false => 0,
        };
        self.position = key;
    }

    /// Applies the event that is next, or a snapshot.
    fn take(&mut self, event: &Event) -> Result<(), ApplyError> {
        let key = (event.epoch, event.seq);
        if let Err(error) = apply(Arc::make_mut(&mut self.state), event) {
            return Err(self.refused(event, error));
        }
        self.go_to(key);
        match event.body {
            Body::Unknown(_) => self.counts.unknown += 1,
            _ => self.counts.applied += 1,
        }
        Ok(())
    }

    fn refused(&mut self, event: &Event, error: ApplyError) -> ApplyError {
        let key = (event.epoch, event.seq);
        let builds = matches!(event.body, Body::StatePatch(_) | Body::StateSnapshot(_) | Body::MatchStarted(_));
        let ours = event.match_id == self.state.match_id;
        if ours && !builds && !self.needs_snapshot() && self.follows(key.0, key.1) {
            self.refused = self.refused.max(key.1 - self.position.1);
        }
        self.counts.refused += 1;
        self.last_refusal = Some((key, error.clone()));
        error
    }

    fn old(&mut self, duplicate: bool) -> Applied {
        match duplicate {
            true => self.counts.duplicates += 1,
            false => self.counts.old += 1,
        }
        Applied::Old
    }

    /// Whether more is missing before a number of this epoch than may wait.
    fn is_far(&self, key: Key) -> bool {
        let next = self.position.1.saturating_add(self.refused);
        key.0 == self.position.0 && key.1.saturating_sub(next) > REORDER_WINDOW as u64 + 1
    }

    /// Keeps an event that is not next.
    fn hold(&mut self, event: Event) -> Applied {
        let key = (event.epoch, event.seq);
        let far = self.is_far(key);
        let bytes = validate::json_bytes(&event);
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        self.held.insert(key, Held { event: Arc::new(event), bytes });
        let full = self.held.len() > REORDER_WINDOW || self.held_bytes > HELD_BYTES;
        if !self.needs_snapshot() && (far || full) {
            self.lost = true;
            self.counts.losses += 1;
        }
        // The oldest go: a snapshot to come is newer than they are.
        while self.held.len() > REORDER_WINDOW || self.held_bytes > HELD_BYTES {
            let Some((_, held)) = self.held.pop_first() else { break };
            self.held_bytes -= held.bytes;
            self.counts.dropped += 1;
        }
        if self.needs_snapshot() { Applied::NeedSnapshot } else { Applied::Held }
    }

    /// Drops what a snapshot made useless: older events, those of another match, and those too far ahead of it.
    fn overtake(&mut self) {
        let before = self.held.len();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|key, held| {
            *key > self.position && !self.is_far(*key) && held.event.match_id == self.state.match_id
        });
        self.held = held;
        self.held_bytes = self.held.values().map(|held| held.bytes).sum();
        self.counts.dropped += (before - self.held.len()) as u64;
    }

    /// Applies the held events that are next; how many.
    fn drain(&mut self) -> usize {
        let mut applied = 0;
        while let Some(held) = self.take_next() {
            self.held_bytes -= held.bytes;
            // A refusal is kept in `last_refusal`; if it leaves a gap, the loop ends there.
            if self.take(&held.event).is_ok() && !matches!(held.event.body, Body::Unknown(_)) {
                applied += 1;
            }
        }
        applied
    }

    /// The first held event that follows the position.
    fn take_next(&mut self) -> Option<Held> {
        let next = self.next();
        let key = *self.held.range((self.position.0, *next.start())..).next()?.0;
        if self.follows(key.0, key.1) { self.held.remove(&key) } else { None }
    }
}
