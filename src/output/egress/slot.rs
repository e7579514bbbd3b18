//! One address within one job: what the worker's reports say of it, and when its reconnections are too many.

use super::job::Rules;
use super::target::{Cause, TargetId};
use crate::livekit::egress::{UrlReport, UrlStatus};
use std::time::{Duration, Instant};

/// How an address of a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// The worker has not said that it began.
    NotYet,
    /// Since our clock's then.
    Since(Instant),
    Failed,
    Finished,
}

/// What a report brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The worker has reconnected this many times more.
    Retried(u32),
    /// It reconnects without end: this many times in all.
    Wedged(u32),
    Failed(Cause),
}

/// The reports on one address of a job. The n-th slot belongs to the n-th result.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub target: TargetId,
    pub sending: Sending,
    /// The request that added it was refused: whether the worker has a result for it shows in the next report.
    pub refused: bool,
    /// When it last reconnected, as far as we know; our clock.
    pub retried: Option<Instant>,
    /// (worker's clock in ns, reconnections by then), oldest first. Spans the last [`Rules::burst_window`] and one before.
    history: Vec<(i64, u32)>,
}

impl Slot {
    pub fn new(target: TargetId) -> Self {
        Self { target, sending: Sending::NotYet, refused: false, retried: None, history: Vec::new() }
    }

    /// Still with the worker.
    pub fn is_open(&self) -> bool {
        matches!(self.sending, Sending::NotYet | Sending::Since(_))
    }

    /// Began, and neither failed nor reconnected for [`Rules::settle`].
    pub fn is_live(&self, rules: &Rules, now: Instant) -> bool {
        self.settles_at(rules).is_some_and(|at| now >= at)
    }

    /// When it will be live if nothing happens.
    pub fn settles_at(&self, rules: &Rules) -> Option<Instant> {
        let Sending::Since(since) = self.sending else { return None };
        Some(self.retried.map_or(since, |at| at.max(since)) + rules.settle)
    }

    pub fn sent_for(&self, now: Instant) -> Duration {
        match self.sending {
            Sending::Since(since) => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        }
    }

    /// Takes a report in. `at`: the worker's time of it, ns.
    pub fn report(&mut self, report: &UrlReport, at: i64, rules: &Rules, now: Instant) -> Change {
        if !self.is_open() {
            return Change::Nothing;
        }
        self.refused = false;
        match report.status {
            UrlStatus::Failed => {
                let sent = matches!(self.sending, Sending::Since(_));
                self.sending = Sending::Failed;
                return Change::Failed(Cause::read(&report.error, sent));
            }
            UrlStatus::Finished => self.sending = Sending::Finished,
            UrlStatus::Active if report.started_at > 0 && self.sending == Sending::NotYet => {
                self.sending = Sending::Since(now);
            }
            UrlStatus::Active => {}
        }
        self.count(report, at, rules, now)
    }

    fn count(&mut self, report: &UrlReport, at: i64, rules: &Rules, now: Instant) -> Change {
        // A report without news is as good as one of now; one with news is as old as its last reconnection.
        let before = self.history.last().map_or(0, |&(_, retries)| retries);
        let when = if report.retries > before && report.last_retry_at > 0 { report.last_retry_at } else { at };
        let burst = self.history.iter().any(|&(then, retries)| {
            report.retries.saturating_sub(retries)
                >= rules.burst.saturating_mul(windows(when.saturating_sub(then), rules.burst_window))
        });
        let window = i64::try_from(rules.burst_window.as_nanos()).unwrap_or(i64::MAX);
        // The last one that is out of the window stays: what happened since then is known by no other.
        while self.history.get(1).is_some_and(|&(then, _)| then < when.saturating_sub(window)) {
            self.history.remove(0);
        }
        if self
            .history
            .last()
            .is_none_or(|&(then, retries)| report.retries > retries || when > then.saturating_add(window / 8))
        {
            self.history.push((when, report.retries.max(before)));
        }
        if report.retries <= before {
            return Change::Nothing;
        }
        self.retried = Some(now);
        if burst { Change::Wedged(report.retries) } else { Change::Retried(report.retries - before) }
    }
}

/// How many whole or begun windows a span covers, one at least: a burst is so many reconnections in each.
fn windows(span_ns: i64, window: Duration) -> u32 {
    let (span, window) = (span_ns.max(1), i64::try_from(window.as_nanos()).unwrap_or(i64::MAX).max(1));
    u32::try_from((span - 1) / window + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn retries(seen: &[(i64, u32, i64)]) -> Vec<Change> {
        let (rules, now) = (Rules::default(), Instant::now());
        let mut slot = Slot::new(TargetId(1));
        seen.iter()
            .map(|&(at, retries, last)| {
                let report = UrlReport { started_at: S, retries, last_retry_at: last * S, ..UrlReport::default() };
                slot.report(&report, at * S, &rules, now)
            })
            .collect()
    }

    #[test]
    fn one_reconnection_is_no_burst_and_five_within_half_a_minute_are() {
        assert_eq!(retries(&[(1, 0, 0), (12, 1, 12), (32, 1, 12)])[1..], [Change::Retried(1), Change::Nothing]);
        let slow: Vec<_> = (0..20).map(|n| (n * 10, u32::try_from(n).unwrap(), n * 10)).collect();
        assert!(retries(&slow).iter().all(|c| !matches!(c, Change::Wedged(_))), "one in ten seconds goes on");
        let fast: Vec<_> = (0..8).map(|n| (n * 5, u32::try_from(n).unwrap(), n * 5)).collect();
        assert!(retries(&fast).contains(&Change::Wedged(5)));
    }

    #[test]
    fn a_burst_long_ago_is_seen_by_its_last_reconnection_however_late_the_report() {
        assert_eq!(retries(&[(1, 0, 0), (12, 1, 12), (300, 41, 13)])[2], Change::Wedged(41));
        assert_eq!(retries(&[(1, 0, 0), (300, 9, 250)])[1], Change::Retried(9), "nine in 250 s are no burst");
    }

    #[test]
    fn what_comes_after_the_end_changes_nothing() {
        let (rules, now) = (Rules::default(), Instant::now());
        let mut slot = Slot::new(TargetId(1));
        let failed = UrlReport { status: UrlStatus::Failed, ..UrlReport::default() };
        assert!(matches!(slot.report(&failed, S, &rules, now), Change::Failed(_)));
        assert_eq!(slot.report(&failed, 2 * S, &rules, now), Change::Nothing);
        assert!(!slot.is_open() && slot.settles_at(&rules).is_none());
    }
}
