//! A side's clock as it is shown.

use super::MediaMs;
use crate::game::Clock;

/// Where a clock counts from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClockTrack {
    /// As the state had it, to see that it changed.
    raw: Clock,
    /// Value at `at`, ms.
    ms: i64,
    at: MediaMs,
}

/// What a clock shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockFace {
    /// `4:37`, `1:04:37`, `0:09.4`.
    pub text: String,
    /// The same with every digit 0: centre on its width.
    pub pattern: String,
    pub look: ClockLook,
    /// Under ten seconds, with tenths.
    pub tenths: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockLook {
    Running,
    Waiting,
    /// Ten seconds or less, running.
    Low,
    /// No time left.
    Flag,
    Paused,
}

impl ClockTrack {
    pub(super) fn new(raw: &Clock, as_of: MediaMs) -> ClockTrack {
        ClockTrack { raw: raw.clone(), ms: raw.ms, at: as_of }
    }

    /// Takes over a newer reading. A clock that runs down does not go up while `same_move`: the correction waits.
    pub(super) fn update(&mut self, raw: &Clock, as_of: MediaMs, now: MediaMs, same_move: bool) {
        if *raw == self.raw {
            return;
        }
        let next = ClockTrack::new(raw, as_of);
        let runs_on = self.raw.running && raw.running && !self.raw.up && !raw.up;
        if runs_on && same_move && next.value(now) > self.value(now) {
            self.raw = raw.clone();
        } else {
            *self = next;
        }
    }

    fn runs(&self) -> bool {
        self.raw.running && !self.raw.paused
    }

    /// ms shown at `t`, never below 0.
    pub(super) fn value(&self, t: MediaMs) -> i64 {
        let gone = if self.runs() { t - self.at } else { 0 };
        if self.raw.up { self.ms.saturating_add(gone).max(0) } else { self.ms.saturating_sub(gone).max(0) }
    }

    pub(super) fn face(&self, t: MediaMs) -> ClockFace {
        let ms = self.value(t);
        let look = if self.raw.paused {
            ClockLook::Paused
        } else if self.raw.up {
            if self.raw.running { ClockLook::Running } else { ClockLook::Waiting }
        } else if ms == 0 {
            ClockLook::Flag
        } else if !self.raw.running {
            ClockLook::Waiting
        } else if ms <= 10_000 {
            ClockLook::Low
        } else {
            ClockLook::Running
        };
        let tenths = ms > 0 && ms < 10_000 && !self.raw.up;
        let text = if tenths {
            format_tenths(ms)
        } else {
            format_clock(if self.raw.up { ms / 1_000 } else { seconds_left(ms) })
        };
        let pattern = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        ClockFace { text, pattern, look, tenths }
    }

    /// When the face changes next after `t`.
    pub(super) fn next_change(&self, t: MediaMs) -> Option<MediaMs> {
        if !self.runs() || (!self.raw.up && self.value(t) == 0) {
            return None;
        }
        let ms = self.value(t);
        if ms == 10_000 && !self.raw.up {
            // Tenths begin.
            return Some(t + 1);
        }
        let step = if !self.raw.up && ms <= 10_000 { 100 } else { 1_000 };
        Some(t + if self.raw.up { step - ms.rem_euclid(step) } else { (ms - 1).rem_euclid(step) + 1 })
    }
}

/// Whole seconds of a countdown: what has begun still shows, so that 0:00 means that the time is over.
fn seconds_left(ms: i64) -> i64 {
    (ms + 999) / 1_000
}

fn format_tenths(ms: i64) -> String {
    // Rounded up for the same reason; ten seconds sharp is not a tenth below ten.
    let tenths = ((ms + 99) / 100).min(99);
    format!("0:{:02}.{}", tenths / 10, tenths % 10)
}

/// `0:00` to `59:59`, `1:00:00` above.
pub fn format_clock(seconds: i64) -> String {
    let (h, m, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ms: i64, running: bool) -> Clock {
        Clock { ms, running, ..Clock::default() }
    }

    #[test]
    fn a_running_clock_counts_down_and_flags() {
        let track = ClockTrack::new(&clock(277_000, true), 0);
        assert_eq!(track.face(0).text, "4:37");
        assert_eq!(track.face(1).text, "4:37");
        assert_eq!(track.face(1_000).text, "4:36");
        let low = track.face(267_600);
        assert_eq!((low.text.as_str(), low.pattern.as_str(), low.look), ("0:09.4", "0:00.0", ClockLook::Low));
        let flag = track.face(300_000);
        assert_eq!((flag.text.as_str(), flag.look), ("0:00", ClockLook::Flag));
        assert_eq!(ClockTrack::new(&clock(3_600_000, false), 0).face(5).text, "1:00:00");
        assert_eq!(ClockTrack::new(&clock(3_599_000, false), 0).face(5).text, "59:59");
    }

    #[test]
    fn a_correction_upwards_waits_for_the_next_move() {
        let mut track = ClockTrack::new(&clock(60_000, true), 0);
        track.update(&clock(59_000, true), 3_000, 3_000, true);
        assert_eq!(track.face(3_000).text, "0:57");
        track.update(&clock(50_000, true), 4_000, 4_000, true);
        assert_eq!(track.face(4_000).text, "0:50");
        track.update(&clock(55_000, true), 5_000, 5_000, false);
        assert_eq!(track.face(5_000).text, "0:55");
    }

    #[test]
    fn every_change_of_the_face_is_announced() {
        let track = ClockTrack::new(&clock(11_350, true), 7);
        let mut t = 7;
        while let Some(next) = track.next_change(t) {
            assert!(next > t);
            assert_eq!(track.face(next - 1), track.face(t), "between {t} and {next}");
            t = next;
        }
        assert_eq!(track.face(t).look, ClockLook::Flag);
    }
}
