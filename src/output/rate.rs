//! A rate over the last 2 s, for [`super::Status::kbps`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, usize)>);

impl Rate {
    pub fn add(&mut self, now: Instant, bytes: usize) {
        self.forget(now);
        self.0.push_back((now, bytes));
    }

    /// kbit/s.
    pub fn kbps(&mut self, now: Instant) -> u32 {
        self.forget(now);
        let bytes: usize = self.0.iter().map(|(_, n)| n).sum();
        u32::try_from(bytes as u64 * 8 / 1000 / WINDOW.as_secs()).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, now: Instant) {
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_forgets_what_is_older_than_its_window() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for n in 0..40 {
            rate.add(start + Duration::from_millis(n * 100), 12_500);
        }
        let now = start + Duration::from_millis(3_900);
        assert!((995..=1_055).contains(&rate.kbps(now)), "{}", rate.kbps(now));
        assert_eq!(rate.kbps(now + Duration::from_secs(3)), 0);
    }
}
