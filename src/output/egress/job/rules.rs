//! Times and limits of an egress job.

use crate::output::backoff::BackoffSettings;
use std::time::Duration;

/// Times and limits. The defaults are what was measured, with some room.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// A URL that began counts as live after this long without failure. A refused key shows within 0.3 s.
    pub settle: Duration,
    /// How often the job is listed, the room looked at and the worker asked.
    pub list_every: Duration,
    /// How often in the first [`Self::list_fast_for`] of a job, and while it stops.
    pub list_fast: Duration,
    pub list_fast_for: Duration,
    /// How often the room is looked at while its publisher is missing.
    pub look_every: Duration,
    /// The worker is asked this long after it reconnected.
    pub probe_after_retry: Duration,
    /// This many reconnections …
    pub burst: u32,
    /// … within this time mean that the worker never gets through again.
    pub burst_window: Duration,
    /// A worker that is not in its room for this long is gone, unless it answers …
    pub absent: Duration,
    /// … and even then after this long.
    pub absent_longest: Duration,
    /// A job that has not begun to send by then is started anew.
    pub begin: Duration,
    /// A stop that has not shown by then is taken for done: it takes up to 30 s.
    pub stop: Duration,
    /// How long a job is looked for whose start was not answered.
    pub uncertain: Duration,
    pub backoff: BackoffSettings,
    /// Refusals in a row after which a key is taken to be refused.
    pub refusals: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            settle: s(5),
            list_every: s(20),
            list_fast: s(2),
            list_fast_for: s(10),
            look_every: s(2),
            probe_after_retry: s(3),
            burst: 5,
            burst_window: s(30),
            absent: s(10),
            absent_longest: s(30),
            begin: s(60),
            stop: s(35),
            uncertain: s(30),
            backoff: BackoffSettings { first: s(2), factor: 2.0, cap: s(60), reset_after: s(120) },
            refusals: 3,
        }
    }
}
