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
