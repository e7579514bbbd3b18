//! What calls do to a reducer, tried on a copy: each one all or nothing. No clock, no store.

use super::joining::{Item, Original};
use super::log::line;
use super::{FeedError, FeedReport};
use crate::game::{Applied, ApplyError, Event, Reducer};
use crate::store::LoggedEvent;
use tokio::sync::oneshot;

pub(super) type Answer = Result<FeedReport, FeedError>;

/// Events of a call that wait to be applied.
pub(super) struct Call {
    /// In order of their numbers, with their places in the call.
    pub events: Vec<(usize, Event)>,
    /// Beyond the limit: it may be joined to others.
    pub over: bool,
    pub answer: oneshot::Sender<Answer>,
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
    /// Refused ones that used up their number.
    used_up: u64,
}

impl Round {
    pub(super) fn events(&self) -> usize {
        self.joined.0.len() + self.calls.iter().map(|call| call.events.len()).sum::<usize>()
    }

    pub(super) fn run(self) -> Outcome {
        let refused = self.reducer.counts().refused;
        let mut out = Outcome {
            reducer: self.reducer,
            lines: Vec::new(),
            answers: Vec::new(),
            joined: self.joined.0.len(),
            used_up: 0,
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
        if out.reducer.counts().refused > refused + out.used_up
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

    /// Applies the events of one call, all or nothing. A single event that is refused uses up its number.
    fn call(&mut self, items: Vec<Item>) -> Answer {
        let single = items.len() == 1;
        let mut attempt = self.reducer.clone();
        let mut lines = Vec::with_capacity(items.len());
        let mut report = FeedReport::default();
        for item in items {
            let known = attempt.state().started && (item.event.epoch, item.event.seq) <= attempt.position();
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
                    if single && attempt.position() != self.reducer.position() {
                        self.reducer = attempt;
                        self.lines.extend(logged);
                        self.used_up += 1;
                    }
                    return Err(refused(item.index, error));
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
