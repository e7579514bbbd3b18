//! Holds states back, so that nobody in the match can learn anything from the broadcast.

use super::MatchState;
use super::limits::{DELAY_MS, DELAYED_STATES};
use std::collections::VecDeque;
use std::sync::Arc;

/// Holds states back for a delay of 0 to [`DELAY_MS`].
///
/// Times are milliseconds of one clock of the caller's choice (media or Unix time). A state is never shown early; it
/// may be shown late by the distance to the next one kept when more than [`DELAYED_STATES`] are held, because then those
/// closest together are thinned out.
#[derive(Clone, Debug, Default)]
pub struct Delayed {
    delay_ms: i64,
    /// The newest state shown so far.
    shown: Option<Arc<MatchState>>,
    /// Not shown yet, oldest first; times never fall.
    held: VecDeque<(i64, Arc<MatchState>)>,
}

/// A delay that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("delay: {0} ms is not within 0 to {DELAY_MS}")]
pub struct DelayError(pub i64);

impl Delayed {
    pub fn new(delay_ms: i64) -> Result<Delayed, DelayError> {
        let mut delayed = Delayed::default();
        delayed.set_delay(delay_ms)?;
        Ok(delayed)
    }

    pub fn delay_ms(&self) -> i64 {
        self.delay_ms
    }

    /// Changes the delay from now on. With a longer one the picture stands still until the delay has caught up with
    /// it; with a shorter one it jumps ahead.
    pub fn set_delay(&mut self, delay_ms: i64) -> Result<(), DelayError> {
        if !(0..=DELAY_MS).contains(&delay_ms) {
            return Err(DelayError(delay_ms));
        }
        self.delay_ms = delay_ms;
        Ok(())
    }

    /// Adds the state that holds from `at_ms` on. A time before the last one's counts as the last one's.
    pub fn push(&mut self, at_ms: i64, state: Arc<MatchState>) {
        match self.held.back_mut() {
            // Of two states at one time only the later one can ever be seen.
            Some((last, held)) if *last >= at_ms => *held = state,
            _ => self.held.push_back((at_ms, state)),
        }
        if self.held.len() > DELAYED_STATES {
            self.thin_out();
        }
    }

    /// The newest state that is at least the delay old at `now_ms`; None before there is one. Never goes back.
    pub fn at(&mut self, now_ms: i64) -> Option<Arc<MatchState>> {
        let until = now_ms.saturating_sub(self.delay_ms);
        while let Some((_, state)) = self.held.pop_front_if(|(at, _)| *at <= until) {
            self.shown = Some(state);
        }
        self.shown.clone()
    }

    /// How many states wait to be shown.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Takes out the state whose neighbours are closest together, so that what stays is spread evenly. Until the next
    /// one is due the one before it is shown: late, never early.
    fn thin_out(&mut self) {
        let gap = |i: &usize| self.held[i + 1].0.saturating_sub(self.held[i - 1].0);
        if let Some(i) = (1..self.held.len().saturating_sub(1)).min_by_key(gap) {
            self.held.remove(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seq: u64) -> Arc<MatchState> {
        Arc::new(MatchState { seq, ..MatchState::default() })
    }

    fn seq_at(delayed: &mut Delayed, now: i64) -> Option<u64> {
        delayed.at(now).map(|s| s.seq)
    }

    #[test]
    fn delayed_state_appears_exactly_after_the_delay() {
        let mut d = Delayed::new(5_000).unwrap();
        d.push(1_000, state(1));
        d.push(2_000, state(2));
        assert_eq!(seq_at(&mut d, 5_999), None);
        assert_eq!(seq_at(&mut d, 6_000), Some(1));
        assert_eq!(seq_at(&mut d, 6_999), Some(1));
        assert_eq!(seq_at(&mut d, 60_000), Some(2));
        assert_eq!(d.waiting(), 0);
    }

    #[test]
    fn no_delay_shows_the_newest_at_once() {
        let mut d = Delayed::default();
        for seq in 1..=3 {
            d.push(7, state(seq));
            assert_eq!(seq_at(&mut d, 7), Some(seq));
        }
    }

    #[test]
    fn longer_delay_stands_still_and_shorter_one_jumps_ahead() {
        let mut d = Delayed::new(0).unwrap();
        for t in 0..10 {
            d.push(t * 1_000, state(t as u64));
            d.at(t * 1_000);
        }
        d.set_delay(3_000).unwrap();
        d.push(10_000, state(10));
        assert_eq!(seq_at(&mut d, 10_000), Some(9), "what was shown is not taken back");
        assert_eq!(seq_at(&mut d, 12_999), Some(9));
        assert_eq!(seq_at(&mut d, 13_000), Some(10));
        d.push(13_500, state(11));
        d.set_delay(100).unwrap();
        assert_eq!(seq_at(&mut d, 13_600), Some(11));
    }

    #[test]
    fn delay_out_of_bounds_is_refused_and_the_old_one_stays() {
        let mut d = Delayed::new(DELAY_MS).unwrap();
        assert_eq!(d.set_delay(-1), Err(DelayError(-1)));
        let error = d.set_delay(600_001).unwrap_err();
        assert_eq!(error.to_string(), "delay: 600001 ms is not within 0 to 600000");
        assert_eq!(d.delay_ms(), DELAY_MS);
    }

    #[test]
    fn many_states_are_thinned_out_evenly_and_never_shown_early() {
        let mut d = Delayed::new(DELAY_MS).unwrap();
        let (step, count) = (50, DELAY_MS / 50);
        for t in 0..count {
            d.push(t * step, state(t as u64));
        }
        assert_eq!(d.waiting(), DELAYED_STATES);
        for now in (DELAY_MS..2 * DELAY_MS).step_by(333) {
            let due = ((now - DELAY_MS) / step) as u64;
            let shown = seq_at(&mut d, now).unwrap();
            assert!(shown <= due, "{shown} is shown when {due} is due");
            assert!((due - shown) as i64 * step <= 4 * DELAY_MS / DELAYED_STATES as i64, "{shown} is far behind {due}");
        }
        assert_eq!(seq_at(&mut d, i64::MAX), Some(count as u64 - 1));
    }

    #[test]
    fn time_that_falls_counts_as_the_last_time() {
        let mut d = Delayed::new(1_000).unwrap();
        d.push(5_000, state(1));
        d.push(4_000, state(2));
        assert_eq!(seq_at(&mut d, 5_999), None);
        assert_eq!(seq_at(&mut d, 6_000), Some(2));
    }
}
