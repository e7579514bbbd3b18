//! Events beyond the limit that need not be refused: those of which only the outcome counts.
//!
//! | event | what becomes of it |
//! |---|---|
//! | `agent.thinking` | its delta is added to the waiting one of the same thought |
//! | `state.patch` of nothing but pictures in picture zones | joined with the waiting one: the latest picture counts |
//! | `state.snapshot`, unless it is large | replaces the patches and snapshots that wait before it |
//!
//! What is joined bears the number and the time of its last event and stands for all numbers since the entry before it
//! ([`Reducer::apply_joined`]), so no gap arises. The state that comes out is the one that the events by themselves would
//! have made; only a thought's [`arrivals`](crate::game::Thought::arrivals) are fewer. The events by themselves are kept
//! beside it until then: should the outcome be refused, they are applied one by one.

use super::round::HEAVY_BYTES;
use crate::game::limits::NAME_CHARS;
use crate::game::{ApplyError, Body, Event, MatchState, Reducer, Snapshot, ZoneContent, apply};
use serde_json::{Map, Value};

/// Events that wait, and their bytes.
const EVENTS: usize = 1_024;
const BYTES: usize = 1 << 20;
/// What they may come to once joined.
const ENTRIES: usize = 32;

/// An event on its way into the reducer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// Place in its call, from 0.
    pub index: usize,
    /// First of the numbers that it stands for.
    pub first: u64,
    pub event: Event,
}

/// An event that waits by itself.
#[derive(Debug)]
pub(super) struct Original {
    /// Number of its call among those that wait.
    pub call: usize,
    pub item: Item,
}

/// Why a call cannot wait.
#[derive(Debug, PartialEq)]
pub(super) enum CannotWait {
    /// Too much waits, or this cannot be joined to it.
    Full,
    Refused {
        index: usize,
        error: ApplyError,
    },
}

/// How many events of a call wait, and how many were known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub fresh: u64,
    pub duplicates: u64,
}

/// What waits for its turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In order of their beginnings; sorted when they are taken.
    entries: Vec<Event>,
    originals: Vec<Original>,
    /// Number of the newest event that waits.
    last: Option<(u64, u64)>,
    /// A snapshot that does not follow the state waits: only another one joins it.
    alone: bool,
    bytes: usize,
}

/// Whether an event is of a kind that can wait.
pub(super) fn can_wait(event: &Event) -> bool {
    match &event.body {
        Body::AgentThinking(_) => true,
        // Beyond the limit nothing is looked at that costs much.
        Body::StateSnapshot(board) => board.bytes() <= HEAVY_BYTES,
        Body::StatePatch(patch) => pictures(patch).is_some(),
        _ => false,
    }
}

/// The zones of a patch that changes nothing but pictures in picture zones.
fn pictures(patch: &Value) -> Option<&Map<String, Value>> {
    let patch = patch.as_object().filter(|patch| patch.len() == 1)?;
    let zones = patch.get("zones")?.as_object()?;
    let field = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("kind", Value::String(kind)) => kind == "picture",
        ("picture", Value::String(picture)) => picture.chars().count() <= NAME_CHARS,
        ("picture", Value::Null) | ("pixelated", Value::Bool(_)) => true,
        _ => false,
    };
    zones.values().all(|zone| zone.as_object().is_some_and(|zone| zone.iter().all(field))).then_some(zones)
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Events that it comes to.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes in the events of a call (with their places in it), all or none.
    pub(super) fn join(
        &mut self,
        call: usize,
        events: Vec<(usize, Event)>,
        reducer: &Reducer,
    ) -> Result<Joined, CannotWait> {
        let mut at = self.last.unwrap_or(reducer.position());
        let knows = self.last.is_some() || reducer.state().started;
        let mut joined = Joined::default();
        let mut fresh = Vec::new();
        for (index, event) in events {
            let key = (event.epoch, event.seq);
            if (knows || !fresh.is_empty()) && key <= at {
                joined.duplicates += 1;
                continue;
            }
            at = key;
            fresh.push((index, event));
        }
        joined.fresh = fresh.len() as u64;
        if fresh.is_empty() {
            return Ok(joined);
        }
        let alone = self.fits(&fresh, reducer)?;
        let mut entries = Vec::new();
        fresh.iter().for_each(|(_, event)| fold(&mut entries, event.clone()));
        let bytes: usize = fresh.iter().map(|(_, event)| weight(event)).sum();
        if self.entries.len() + entries.len() > ENTRIES
            || self.originals.len() + fresh.len() > EVENTS
            || self.bytes.saturating_add(bytes) > BYTES
        {
            return Err(CannotWait::Full);
        }
        entries.into_iter().for_each(|event| fold(&mut self.entries, event));
        for (index, event) in fresh {
            let first = event.seq;
            self.keep(Original { call, item: Item { index, first, event } });
        }
        self.bytes = self.originals.iter().map(|original| weight(&original.item.event)).sum();
        self.last = Some(at);
        self.alone = alone;
        Ok(joined)
    }

    /// Whether these events can follow what waits, and whether a snapshot among them does not follow the state.
    fn fits(&self, fresh: &[(usize, Event)], reducer: &Reducer) -> Result<bool, CannotWait> {
        let waiting = self.entries.iter().rev().find_map(|event| match &event.body {
            Body::StateSnapshot(board) => Some(&**board),
            _ => None,
        });
        let mut board: Option<&Snapshot> = waiting.or(reducer.state().started.then_some(&reducer.state().board));
        let same_sides = |board: Option<&Snapshot>, next: &Snapshot| {
            board.is_none_or(|board| board.sides.keys().eq(next.sides.keys()))
        };
        // A snapshot that jumps, or that held events may follow, goes by itself.
        let next = &fresh[0].1;
        let follows = match self.last {
            Some((epoch, seq)) => next.epoch == epoch && seq.checked_add(1) == Some(next.seq),
            None => reducer.follows(next.epoch, next.seq),
        };
        if self.alone || !follows || reducer.needs_snapshot() || reducer.held() > 0 {
            let [(index, event)] = fresh else { return Err(CannotWait::Full) };
            let Body::StateSnapshot(next) = &event.body else { return Err(CannotWait::Full) };
            let replaces = self.alone && reducer.held() == 0 && same_sides(board, next);
            if !self.is_empty() && !replaces {
                return Err(CannotWait::Full);
            }
            valid(*index, event)?;
            return Ok(true);
        }
        let mut before = None;
        for (index, event) in fresh {
            if before.is_some_and(|(epoch, seq): (u64, u64)| (event.epoch, event.seq) != (epoch, seq.saturating_add(1)))
            {
                return Err(CannotWait::Full);
            }
            before = Some((event.epoch, event.seq));
            match &event.body {
                Body::AgentThinking(_) => {}
                Body::StateSnapshot(next) => {
                    valid(*index, event)?;
                    if !same_sides(board, next) {
                        return Err(CannotWait::Full);
                    }
                    board = Some(next);
                }
                Body::StatePatch(patch) => {
                    let picture = |zone: &String| {
                        let zone = board.and_then(|board| board.zones.get(zone));
                        zone.is_some_and(|zone| matches!(zone.content, ZoneContent::Picture(_)))
                    };
                    if !pictures(patch).is_some_and(|zones| zones.keys().all(picture)) {
                        return Err(CannotWait::Full);
                    }
                }
                _ => return Err(CannotWait::Full),
            }
        }
        Ok(false)
    }

    /// Keeps an event by itself. What a snapshot replaces goes; the next one stands for its numbers too.
    fn keep(&mut self, mut next: Original) {
        if matches!(next.item.event.body, Body::StateSnapshot(_)) {
            let mut first = None;
            let follows = self.last.is_none_or(|(epoch, _)| epoch == next.item.event.epoch) && !self.alone;
            self.originals.retain_mut(|original| {
                let stays = matches!(original.item.event.body, Body::AgentThinking(_));
                match (stays, first) {
                    (true, Some(before)) => {
                        original.item.first = before;
                        first = None;
                    }
                    (false, None) => first = Some(original.item.first),
                    _ => {}
                }
                stays
            });
            if follows && let Some(before) = first {
                next.item.first = before;
            }
        }
        self.originals.push(next);
    }

    /// What it came to, in order, and the events by themselves.
    pub(super) fn take(&mut self, reducer: &Reducer) -> (Vec<Item>, Vec<Original>) {
        let Waiting { mut entries, originals, alone, .. } = std::mem::take(self);
        entries.sort_by_key(|event| (event.epoch, event.seq));
        let mut next = reducer.position().1.saturating_add(1);
        let items = entries.into_iter().map(|event| {
            let first = if alone { event.seq } else { next.min(event.seq) };
            next = event.seq.saturating_add(1);
            Item { index: 0, first, event }
        });
        (items.collect(), originals)
    }
}

/// Adds an event to what waits.
fn fold(entries: &mut Vec<Event>, event: Event) {
    let begins = entries.iter().rposition(|e| matches!(e.body, Body::StateSnapshot(_))).map_or(0, |i| i + 1);
    let mut since = entries[begins..].iter_mut().rev();
    match &event.body {
        Body::AgentThinking(next) => {
            let thought = since.find_map(|entry| match &mut entry.body {
                Body::AgentThinking(thought) if thought.side == next.side => {
                    Some((thought, entry.vis.clone(), &mut entry.seq, &mut entry.ts))
                }
                _ => None,
            });
            if let Some((thought, vis, seq, ts)) = thought
                && !thought.done
                && thought.thought_id == next.thought_id
                && vis == event.vis
            {
                thought.delta.push_str(&next.delta);
                thought.done = next.done;
                (*seq, *ts) = (event.seq, event.ts);
                return;
            }
        }
        Body::StatePatch(next) => {
            let patch = since.find_map(|entry| match &mut entry.body {
                Body::StatePatch(patch) => Some((patch, &mut entry.seq, &mut entry.ts)),
                _ => None,
            });
            if let Some((patch, seq, ts)) = patch {
                join_pictures(patch, next);
                (*seq, *ts) = (event.seq, event.ts);
                return;
            }
        }
        Body::StateSnapshot(_) => {
            let before = std::mem::take(entries);
            let thoughts = before.into_iter().filter(|entry| matches!(entry.body, Body::AgentThinking(_)));
            thoughts.for_each(|thought| fold(entries, thought));
        }
        _ => {}
    }
    entries.push(event);
}

/// The fields of the later patch over those of the earlier one.
fn join_pictures(patch: &mut Value, next: &Value) {
    for (zone, fields) in pictures(next).into_iter().flatten() {
        if let Value::Object(fields) = fields
            && let Value::Object(earlier) = &mut patch["zones"][zone]
        {
            earlier.extend(fields.clone());
        } else {
            patch["zones"][zone] = fields.clone();
        }
    }
}

/// A snapshot that would be refused must not replace anything.
fn valid(index: usize, snapshot: &Event) -> Result<(), CannotWait> {
    apply(&mut MatchState::default(), snapshot).map_err(|error| CannotWait::Refused { index, error })
}

/// Roughly what an event keeps of memory, bytes. A snapshot counts little: one waits at most.
fn weight(event: &Event) -> usize {
    128 + match &event.body {
        Body::AgentThinking(thinking) => thinking.delta.len(),
        Body::StatePatch(patch) => patch.to_string().len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
