//! How long a destination waits before it tries again. Pure: the caller brings the random number.

use std::time::Duration;

/// Growth of the pauses between attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffSettings {
    /// Pause after the first failure.
    pub first: Duration,
    /// Each pause is this many times the one before.
    pub factor: f64,
    /// No pause is longer.
    pub cap: Duration,
    /// A connection that lived this long starts the row anew.
    pub reset_after: Duration,
}

impl Default for BackoffSettings {
    /// 1 s × 1.6 up to 30 s: several attempts fall into the 90 s that platforms keep a broadcast open.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 1.6,
            cap: Duration::from_secs(30),
            reset_after: Duration::from_secs(60),
        }
    }
}

/// The row of pauses of one destination.
#[derive(Clone, Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    failures: u32,
}

/// Jitter spreads a pause over ± this share of itself, so that streams that fell together do not return together.
const JITTER: f64 = 0.2;

impl Backoff {
    #[must_use]
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, failures: 0 }
    }

    /// The pause after one more failure. `random` is uniform in `0.0..1.0`. Never longer than the cap.
    pub fn next_pause(&mut self, random: f64) -> Duration {
        let exponent = i32::try_from(self.failures).unwrap_or(i32::MAX);
        self.failures = self.failures.saturating_add(1);
        let cap = self.settings.cap.as_secs_f64();
        // powi overflows to infinity, which the minimum turns into the cap.
        let base = (self.settings.first.as_secs_f64() * self.settings.factor.powi(exponent)).min(cap);
        let jitter = 1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Duration::from_secs_f64((base * jitter).min(cap))
    }

    /// Tells how long the connection lived that has just failed.
    pub fn lived(&mut self, time: Duration) {
        if time >= self.settings.reset_after {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn middle(backoff: &mut Backoff, n: usize) -> Vec<f64> {
        (0..n).map(|_| backoff.next_pause(0.5).as_secs_f64()).collect()
    }

    #[test]
    fn repeated_failures_grow_by_the_factor_up_to_the_cap() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        let pauses = middle(&mut backoff, 12);
        assert!((pauses[0] - 1.0).abs() < 1e-9 && (pauses[1] - 1.6).abs() < 1e-9 && (pauses[2] - 2.56).abs() < 1e-9);
        assert!((pauses[11] - 30.0).abs() < 1e-9, "{pauses:?}");
    }

    #[test]
    fn any_random_number_stays_within_a_fifth_and_under_the_cap() {
        for random in [0.0, 0.25, 0.999_999, 7.0, -1.0] {
            let mut backoff = Backoff::new(BackoffSettings::default());
            let first = backoff.next_pause(random).as_secs_f64();
            assert!((0.8..=1.2).contains(&first), "{first}");
            for _ in 0..5_000 {
                assert!(backoff.next_pause(random) <= Duration::from_secs(30));
            }
        }
    }

    #[test]
    fn a_minute_live_starts_the_row_anew_but_less_does_not() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        middle(&mut backoff, 5);
        backoff.lived(Duration::from_secs(59));
        assert!(backoff.next_pause(0.5) > Duration::from_secs(5));
        backoff.lived(Duration::from_secs(60));
        assert_eq!(backoff.next_pause(0.5), Duration::from_secs(1));
    }
}
