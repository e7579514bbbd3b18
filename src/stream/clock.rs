use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The stream's time: how long it has been on.
pub trait Clock: Send + Sync + 'static {
    /// Since the stream began; never falls.
    fn now(&self) -> Duration;
    /// Blocks until `t`.
    fn wait_until(&self, t: Duration);
}

/// The machine's monotonic clock. It stands at 0 until it is started, so that a feed can have it while the parts of its
/// stream are still being opened.
#[derive(Debug, Default)]
pub struct SystemClock(OnceLock<Instant>);

impl SystemClock {
    /// A clock that runs from now on.
    pub fn started() -> SystemClock {
        let clock = SystemClock::default();
        clock.start();
        clock
    }

    /// Lets it run; later calls do nothing.
    pub fn start(&self) {
        self.0.get_or_init(Instant::now);
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn wait_until(&self, t: Duration) {
        std::thread::sleep(t.saturating_sub(self.now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_not_started_stands_at_zero() {
        let clock = SystemClock::default();
        assert_eq!((clock.now(), clock.now()), (Duration::ZERO, Duration::ZERO));
        clock.start();
        clock.wait_until(Duration::from_millis(1));
        assert!(clock.now() >= Duration::from_millis(1));
    }
}
