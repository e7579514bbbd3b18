//! Holds states back, so that nobody in the match can learn anything from the broadcast.

use super::MatchState;
use super::limits::{DELAY_MS, DELAYED_BYTES, DELAYED_STATES};
use std::collections::VecDeque;
use std::sync::Arc;

/// Holds states back for a delay of 0 to [`DELAY_MS`].
///
/// Times are milliseconds of one clock of the caller's choice (media or Unix time). A state is never shown early; it
/// may be shown late by the distance to the next one kept when more than [`DELAYED_STATES`] or [`DELAYED_BYTES`] are held,
/// because then those closest together are thinned out. The oldest and the newest always stay.
#[derive(Clone, Debug, Default)]
pub struct Delayed {
    delay_ms: i64,
    /// The newest state shown so far.
    shown: Option<Arc<MatchState>>,
    /// Not shown yet, oldest first; times never fall.
    held: VecDeque<Held>,
    /// Of all that are held.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Held {
    at: i64,
    state: Arc<MatchState>,
    bytes: usize,
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
        let mut held = Held { at: at_ms, bytes: state.bytes(), state };
        // Of two states at one time only the later one can ever be seen.
        if let Some(last) = self.held.pop_back_if(|last| last.at >= at_ms) {
            held.at = last.at;
            self.bytes -= last.bytes;
        }
        self.bytes += held.bytes;
        self.held.push_back(held);
        while self.held.len() > DELAYED_STATES || self.bytes > DELAYED_BYTES {
            if !self.thin_out() {
                break;
            }
        }
    }

    /// The newest state that is at least the delay old at `now_ms`; None before there is one. Never goes back.
    pub fn at(&mut self, now_ms: i64) -> Option<Arc<MatchState>> {
        let until = now_ms.saturating_sub(self.delay_ms);
        while let Some(held) = self.held.pop_front_if(|held| held.at <= until) {
            self.bytes -= held.bytes;
            self.shown = Some(held.state);
        }
        self.shown.clone()
    }

    /// How many states wait to be shown.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Takes out the state whose neighbours are closest together, so that what stays is spread evenly. Until the next
    /// one is due the one before it is shown: late, never early. False: none is between others.
    fn thin_out(&mut self) -> bool {
        let gap = |i: &usize| self.held[i + 1].at.saturating_sub(self.held[i - 1].at);
        let between = (1..self.held.len().saturating_sub(1)).min_by_key(gap);
        let Some(held) = between.and_then(|i| self.held.remove(i)) else { return false };
        self.bytes -= held.bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::{Snapshot, TextZone, Zone, ZoneContent};

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
    fn states_of_large_boards_are_thinned_out_by_their_bytes_and_never_shown_early() {
        let mut large = MatchState::default();
        let text = ZoneContent::Text(TextZone { text: "x".repeat(1 << 20), mono: false });
        let zone = Zone { content: text, owner: None, label: String::new(), order: 0, vis: None };
        large.board.zones.insert("z".into(), zone);
        let mut d = Delayed::new(DELAY_MS).unwrap();
        let (step, count) = (1_000, DELAY_MS / 1_000);
        for t in 0..count {
            d.push(t * step, Arc::new(MatchState { seq: t as u64, ..large.clone() }));
            let bytes: usize = d.held.iter().map(|held| held.state.bytes()).sum();
            assert!(bytes == d.bytes && bytes <= DELAYED_BYTES, "{bytes}");
        }
        assert!((16..=32).contains(&d.waiting()), "{}", d.waiting());
        for now in (DELAY_MS..2 * DELAY_MS).step_by(333) {
            let due = ((now - DELAY_MS) / step) as u64;
            let shown = seq_at(&mut d, now).unwrap();
            assert!(shown <= due && due - shown <= 120, "{shown} is shown when {due} is due");
        }
        assert_eq!((seq_at(&mut d, i64::MAX), d.bytes), (Some(count as u64 - 1), 0));
        // One that is larger by itself than all may be is still shown.
        let texts = d.shown.take().unwrap().board.zones["z"].clone();
        let zones = (0..40).map(|i| (format!("z{i}"), texts.clone()));
        let board = Snapshot { zones: zones.collect(), ..Snapshot::default() };
        let huge = Arc::new(MatchState { board, ..MatchState::default() });
        (0..4).for_each(|t| d.push(t, huge.clone()));
        assert_eq!(d.waiting(), 2, "the oldest and the newest stay");
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
