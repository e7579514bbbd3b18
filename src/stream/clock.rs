use std::time::{Duration, Instant};

/// The stream's time: how long it has been on.
pub trait Clock: Send + Sync + 'static {
    /// Since the stream began; never falls.
    fn now(&self) -> Duration;
    /// Blocks until `t`.
    fn wait_until(&self, t: Duration);
}

/// The machine's monotonic clock, from 0 at its making.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn start() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait_until(&self, t: Duration) {
        std::thread::sleep(t.saturating_sub(self.now()));
    }
}
