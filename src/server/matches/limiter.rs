//! How many events a match may take: token buckets that are told the time.
//!
//! * The inner bucket is the limit that callers see. Events that others build on need their tokens at once; what can be
//!   joined (see [`super::joining`]) leaves the last quarter to them and otherwise waits for its turn.
//! * The outer one is [`ROOM`] times as large and is asked before a body is read, so that a flood costs little: within
//!   it calls are read, and joined or refused by what they say; beyond it they are refused unread.

use crate::config::LimitsConfig;
use std::time::Duration;
use tokio::time::Instant;

/// Calls that are read for each event that may be taken.
const ROOM: u32 = 8;

/// Events a second, and at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

impl Rate {
    pub(super) fn of(limits: &LimitsConfig) -> Rate {
        Rate { per_second: limits.events_per_second.max(1), burst: limits.events_burst.max(1) }
    }

    fn outer(self) -> Rate {
        Rate { per_second: self.per_second.saturating_mul(ROOM), burst: self.burst.saturating_mul(ROOM) }
    }

    /// Tokens that events which can wait leave to the others.
    fn reserve(self) -> f64 {
        f64::from(self.burst / 4)
    }
}

/// Tokens, below 0 after a call of more events than a burst: the next one waits the longer.
#[derive(Clone, Debug)]
struct Bucket {
    /// None: full.
    tokens: Option<(f64, Instant)>,
}

impl Bucket {
    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let burst = f64::from(rate.burst);
        self.tokens.map_or(burst, |(tokens, at)| {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            (tokens + passed * f64::from(rate.per_second)).min(burst)
        })
    }

    /// How long until `n` tokens (at most a burst) are there beside `floor`.
    fn wait(&self, n: f64, floor: f64, rate: Rate, now: Instant) -> Duration {
        let burst = f64::from(rate.burst);
        let missing = (n + floor).min(burst) - self.level(rate, now);
        // 1,000 years are enough for every number in the settings.
        Duration::from_secs_f64((missing / f64::from(rate.per_second)).clamp(0.0, 3e10))
    }

    fn take(&mut self, n: f64, rate: Rate, now: Instant) {
        self.tokens = Some((self.level(rate, now) - n, now));
    }
}

/// The limits of one match.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    inner: Bucket,
    outer: Bucket,
}

impl Limiter {
    pub(super) fn new() -> Limiter {
        Limiter { inner: Bucket { tokens: None }, outer: Bucket { tokens: None } }
    }

    /// One more call, not read yet; else how long to wait.
    pub(super) fn admit(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let rate = rate.outer();
        let wait = self.outer.wait(1.0, 0.0, rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.outer.take(1.0, rate, now);
        Ok(())
    }

    /// The call held this many events more than one.
    pub(super) fn read(&mut self, more: usize, rate: Rate, now: Instant) {
        self.outer.take(more as f64, rate.outer(), now);
    }

    /// Takes the tokens of `n` events if they are there; else how long to wait for them.
    pub(super) fn take(&mut self, n: usize, can_wait: bool, rate: Rate, now: Instant) -> Result<(), Duration> {
        let floor = if can_wait { rate.reserve() } else { 0.0 };
        // More than fit beside the reserve are better joined.
        let fits = !can_wait || n as f64 + floor <= f64::from(rate.burst);
        let wait = self.inner.wait(n as f64, floor, rate, now);
        if !wait.is_zero() || !fits {
            return Err(wait);
        }
        self.inner.take(n as f64, rate, now);
        Ok(())
    }

    /// How long joined events wait: for the reserve too, unless they have `waited` long, then for their own tokens.
    pub(super) fn turn(&self, n: usize, waited: bool, rate: Rate, now: Instant) -> Duration {
        self.inner.wait(n as f64, if waited { 0.0 } else { rate.reserve() }, rate, now)
    }

    /// Takes tokens that may not be there.
    pub(super) fn charge(&mut self, n: usize, rate: Rate, now: Instant) {
        self.inner.take(n as f64, rate, now);
    }

    /// Tokens that are left, and how long until the bucket is full.
    pub(super) fn left(&self, rate: Rate, now: Instant) -> (u32, Duration) {
        let left = self.inner.level(rate, now).max(0.0) as u32;
        (left, self.inner.wait(f64::from(rate.burst), 0.0, rate, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 60, burst: 120 };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let (mut limiter, t) = (Limiter::new(), Instant::now());
        for _ in 0..120 {
            limiter.take(1, false, RATE, t).unwrap();
        }
        let wait = limiter.take(1, false, RATE, t).unwrap_err();
        assert!(wait > ms(16) && wait < ms(17), "{wait:?}");
        assert_eq!(limiter.left(RATE, t), (0, ms(2_000)));
        limiter.take(60, false, RATE, t + ms(1_000)).unwrap();
        assert!(limiter.take(1, false, RATE, t + ms(1_000)).is_err());
    }

    #[test]
    fn a_call_larger_than_a_burst_is_taken_from_a_full_bucket_and_paid_back() {
        let (mut limiter, t) = (Limiter::new(), Instant::now());
        limiter.take(300, false, RATE, t).unwrap();
        assert_eq!(limiter.left(RATE, t), (0, ms(5_000)));
        assert!(limiter.take(1, false, RATE, t + ms(3_000)).is_err());
        assert!(limiter.take(1, false, RATE, t + ms(3_100)).is_ok());
    }

    #[test]
    fn what_can_wait_leaves_a_quarter_to_what_cannot() {
        let (mut limiter, t) = (Limiter::new(), Instant::now());
        limiter.take(90, true, RATE, t).unwrap();
        assert!(limiter.take(1, true, RATE, t).is_err());
        assert!(limiter.turn(1, false, RATE, t) > Duration::ZERO);
        assert_eq!(limiter.turn(1, true, RATE, t), Duration::ZERO);
        limiter.take(30, false, RATE, t).unwrap();
        assert!(limiter.take(1, false, RATE, t).is_err());
        assert!(Limiter::new().take(91, true, RATE, t).is_err(), "they are joined");
    }

    #[test]
    fn calls_are_admitted_unread_up_to_eight_times_the_limit() {
        let (mut limiter, t) = (Limiter::new(), Instant::now());
        let admitted = (0..10_000).filter(|i| limiter.admit(RATE, t + ms(*i / 10)).is_ok()).count();
        assert!((960 + 470..=960 + 480).contains(&admitted), "{admitted}");
        limiter.read(480, RATE, t + ms(1_000));
        assert!(limiter.admit(RATE, t + ms(1_900)).is_err(), "what a body held is counted");
    }

    #[test]
    fn a_reload_counts_at_once() {
        let (mut limiter, t) = (Limiter::new(), Instant::now());
        limiter.take(120, false, RATE, t).unwrap();
        let faster = Rate { per_second: 1_000, burst: 1_000 };
        assert!(limiter.take(100, false, faster, t + ms(100)).is_ok());
        let slower = Rate { per_second: 1, burst: 1 };
        assert_eq!(limiter.left(slower, t + ms(60_000)).0, 1);
    }
}
