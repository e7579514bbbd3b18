//! What calls do to a reducer, tried on a copy: each one all or nothing. No clock, no store.

use super::joining::{Item, Original};
use super::log::line;
use super::{FeedError, FeedReport};
use crate::game::{Applied, ApplyError, Body, Event, Reducer};
use crate::store::LoggedEvent;
use tokio::sync::oneshot;

/// A round of more events than this is heavy.
pub(super) const HEAVY_EVENTS: usize = 64;
/// And one whose events, times the bytes of the state, are more than this, boards that they bring counted too: about a
/// millisecond.
pub(super) const HEAVY_BYTES: usize = 256 * 1024;

pub(super) type Answer = Result<FeedReport, FeedError>;

/// Events of a call that wait to be applied.
pub(super) struct Call {
    /// In order of their numbers, with their places in the call.
    pub events: Vec<(usize, Event)>,
    pub kind: CallKind,
    pub answer: oneshot::Sender<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Usual,
    /// Beyond the limit: it may be joined to others.
    Over,
    /// Of a record: its events may be large.
    Record,
}

/// A call whose events were joined to others'.
pub(super) struct Waiter {
    pub fresh: u64,
    pub duplicates: u64,
    pub answer: oneshot::Sender<Answer>,
}

/// What is applied in one go and logged in one transaction.
pub(super) struct Round {
    pub reducer: Reducer,
    /// Come first.
    pub joined: (Vec<Item>, Vec<Original>),
    pub waiters: Vec<Waiter>,
    pub calls: Vec<Call>,
}

pub(super) struct Outcome {
    pub reducer: Reducer,
    pub lines: Vec<LoggedEvent>,
    pub answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// Events that took the place of the joined ones.
    pub joined: usize,
    /// Refused ones that the next event may leave out.
    left_out: u64,
}

impl Round {
    pub(super) fn events(&self) -> usize {
        self.joined.0.len() + self.calls.iter().map(|call| call.events.len()).sum::<usize>()
    }

    /// Whether it takes longer than an async thread may be held. Each event costs as much as the board is large.
    pub(super) fn is_heavy(&self) -> bool {
        let events = self.events();
        let brought = |event: &Event| match &event.body {
            Body::MatchStarted(board) | Body::StateSnapshot(board) => board.bytes(),
            _ => 0,
        };
        let fed = self.calls.iter().flat_map(|call| &call.events).map(|(_, event)| event);
        let boards: usize = fed.chain(self.joined.0.iter().map(|item| &item.event)).map(brought).sum();
        events > HEAVY_EVENTS
            || self.calls.iter().any(|call| call.kind == CallKind::Record)
            || events.saturating_mul(self.reducer.state().bytes()).saturating_add(boards) > HEAVY_BYTES
    }

    pub(super) fn run(self) -> Outcome {
        let refused = self.reducer.counts().refused;
        let mut out = Outcome {
            reducer: self.reducer,
            lines: Vec::new(),
            answers: Vec::new(),
            joined: self.joined.0.len(),
            left_out: 0,
        };
        let (items, originals) = self.joined;
        match out.try_joined(items) {
            Some(report) => {
                for waiter in self.waiters {
                    let answer = FeedReport { applied: waiter.fresh, duplicates: waiter.duplicates, ..report.clone() };
                    out.answers.push((waiter.answer, Ok(answer)));
                }
            }
            None => {
                out.joined = originals.len();
                let mut calls: Vec<Vec<Item>> = self.waiters.iter().map(|_| Vec::new()).collect();
                for Original { call, item } in originals {
                    calls[call].push(item);
                }
                for (waiter, items) in self.waiters.into_iter().zip(calls) {
                    let duplicates = waiter.duplicates;
                    let answer = out.call(items).map(|r| FeedReport { duplicates: r.duplicates + duplicates, ..r });
                    out.answers.push((waiter.answer, answer));
                }
            }
        }
        for call in self.calls {
            let item = |(index, event): (usize, Event)| Item { index, first: event.seq, event };
            let answer = out.call(call.events.into_iter().map(item).collect());
            out.answers.push((call.answer, answer));
        }
        if out.reducer.counts().refused > refused + out.left_out
            && let Some((epoch, seq, error)) = out.reducer.last_refusal()
        {
            tracing::warn!(epoch, seq, "an event that had waited for a gap to close was refused: {error}");
        }
        out
    }
}

impl Outcome {
    /// Applies joined events if none of them is refused or out of place.
    fn try_joined(&mut self, items: Vec<Item>) -> Option<FeedReport> {
        let mut attempt = self.reducer.clone();
        let mut lines = Vec::with_capacity(items.len());
        for item in items {
            lines.push(line(item.first, &item.event));
            match attempt.apply_joined(item.first, item.event) {
                Ok(Applied::Now(_)) => {}
                _ => return None,
            }
        }
        self.reducer = attempt;
        self.lines.append(&mut lines);
        Some(position(&self.reducer))
    }

    /// Applies the events of one call, all or nothing. A single event that is refused may be left out by the next one; the
    /// log knows that too.
    fn call(&mut self, items: Vec<Item>) -> Answer {
        let single = items.len() == 1;
        let mut attempt = self.reducer.clone();
        let mut lines = Vec::with_capacity(items.len());
        let mut report = FeedReport::default();
        for item in items {
            let (epoch, seq) = (item.event.epoch, item.event.seq);
            let known = attempt.state().started && (epoch, seq) <= attempt.position();
            let logged = (!known).then(|| line(item.first, &item.event));
            match attempt.apply_joined(item.first, item.event) {
                Ok(Applied::Old) => {
                    report.duplicates += 1;
                    continue;
                }
                Ok(Applied::Now(_)) => report.applied += 1,
                Ok(Applied::Ignored) => report.ignored += 1,
                Ok(Applied::Held | Applied::NeedSnapshot) => report.held += 1,
                Err(error) => {
                    let stands = |reducer: &Reducer| (reducer.position(), reducer.next());
                    if single && stands(&attempt) != stands(&self.reducer) {
                        self.reducer = attempt;
                        self.lines.extend(logged);
                        self.left_out += 1;
                    }
                    let error = refused(item.index, error);
                    return Err(if single { advised(error, &self.reducer, epoch, seq) } else { error });
                }
            }
            lines.extend(logged);
        }
        self.reducer = attempt;
        self.lines.append(&mut lines);
        let at = position(&self.reducer);
        Ok(FeedReport { epoch: at.epoch, seq: at.seq, need_snapshot: at.need_snapshot, ..report })
    }
}

/// Where a reducer stands.
pub(super) fn position(reducer: &Reducer) -> FeedReport {
    let (epoch, seq) = reducer.position();
    FeedReport { epoch, seq, need_snapshot: reducer.needs_snapshot(), ..FeedReport::default() }
}

/// Adds what to send next to the words on a single event that was refused.
fn advised(mut error: FeedError, now: &Reducer, epoch: u64, seq: u64) -> FeedError {
    if let FeedError::Event { problem, .. } = &mut error {
        let advice = match seq.checked_add(1) {
            _ if (epoch, seq) <= now.position() => {
                let (epoch, next) = (now.position().0, now.position().1.saturating_add(1));
                format!("a later event was taken since: send the correction as epoch {epoch}, seq {next}")
            }
            Some(next) if now.follows(epoch, next) => {
                format!(
                    "its number is still free: send the correction as epoch {epoch}, seq {seq}, or go on with seq {next}"
                )
            }
            _ => format!("its number is still free: send the correction as epoch {epoch}, seq {seq}"),
        };
        problem.push_str("; ");
        problem.push_str(&advice);
    }
    error
}

pub(super) fn refused(index: usize, error: ApplyError) -> FeedError {
    match error {
        ApplyError::Limit { field, found, limit } => FeedError::Event {
            index,
            field,
            problem: format!("has {found}, the limit is {limit}"),
            limit: u64::try_from(limit).ok(),
        },
        ApplyError::Invalid { field, problem } => FeedError::Event { index, field, problem, limit: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::wire;

    #[test]
    fn rounds_of_many_events_on_large_boards_and_of_records_are_heavy() {
        let started = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":9,"type":"match.started","data":{"sides":{"a":{"seat":0}},"zones":{ZONES}}}"#;
        let round = |texts: usize, events: u64, kind| {
            let zone = format!(r#"{{"kind":"text","text":"{}"}}"#, "x".repeat(4_000));
            let zones: Vec<String> = (0..texts).map(|i| format!(r#""z{i}":{zone}"#)).collect();
            let mut reducer = Reducer::default();
            reducer.apply(Event::from_json(&started.replace("ZONES", &zones.join(","))).unwrap()).unwrap();
            let marker = |seq| {
                let body = wire::Body::Marker(wire::MarkerSet { label: "x".into() });
                Event { v: 1, match_id: "m".into(), epoch: 1, seq, ts: 9, vis: None, body }
            };
            let events = (0..events).map(|i| (i as usize, marker(i + 2))).collect();
            let call = Call { events, kind, answer: oneshot::channel().0 };
            Round { reducer, joined: Default::default(), waiters: Vec::new(), calls: vec![call] }.is_heavy()
        };
        assert!(!round(1, 10, CallKind::Usual) && !round(50, 1, CallKind::Usual));
        assert!(round(0, 65, CallKind::Usual), "so many events");
        assert!(round(50, 10, CallKind::Usual), "so large a board so often");
        assert!(round(0, 1, CallKind::Record), "an event of a record may be of any size");
    }
}
