//! Tells a dead media path by what does not come back. Sans IO: time is an argument.
//!
//! The server reports (RTCP) on media only: without media its silence means nothing. So silence is counted from picture to
//! picture and sound to sound, not by the clock. STUN answers prove less than RTCP does: ICE may check another path, and a
//! server may answer STUN and yet be stuck.

use std::time::{Duration, Instant};

/// Media further apart than this was held in between (muted, unpublished, this machine asleep): silence begins anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Armed by [`Self::arm`] and by each RTCP packet, disarmed by its own alarm.
#[derive(Debug)]
pub(super) struct Watchdog {
    limit: Duration,
    armed: bool,
    /// How long media has gone out since RTCP came, pauses left out.
    silence: Duration,
    written: Option<Instant>,
}

impl Watchdog {
    /// `limit`: silence that means a dead path.
    pub fn new(limit: Duration) -> Self {
        Self { limit, armed: false, silence: Duration::ZERO, written: None }
    }

    /// A path stands, or RTCP came on it.
    pub fn arm(&mut self) {
        (self.armed, self.silence) = (true, Duration::ZERO);
    }

    /// The path is known to be dead.
    pub fn disarm(&mut self) {
        self.armed = false;
    }

    /// Media was handed over for sending.
    pub fn written(&mut self, now: Instant) {
        let since = self.written.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.silence = if since > PAUSE { Duration::ZERO } else { self.silence + since };
    }

    /// True once, when media has gone out for the whole limit and no RTCP came.
    pub fn alarm(&mut self) -> bool {
        let alarm = self.armed && self.silence > self.limit;
        self.armed &= !alarm;
        alarm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);
    const FRAME: Duration = Duration::from_millis(40);

    /// Writes media for `time`, returns when in it the alarm came, if it did.
    fn write(dog: &mut Watchdog, now: &mut Instant, time: Duration, rtcp: bool) -> Option<Duration> {
        let (start, mut alarm) = (*now, None);
        while *now - start < time {
            *now += FRAME;
            dog.written(*now);
            if rtcp {
                dog.arm();
            }
            if dog.alarm() {
                assert_eq!(alarm, None, "two alarms");
                alarm = Some(*now - start);
            }
        }
        alarm
    }

    #[test]
    fn rtcp_that_stops_is_one_alarm_and_another_when_it_came_back_and_stops_again() {
        let (mut dog, mut now) = (Watchdog::new(LIMIT), Instant::now());
        dog.arm();
        for _ in 0..2 {
            assert_eq!(write(&mut dog, &mut now, LIMIT * 5, true), None);
            let alarm = write(&mut dog, &mut now, LIMIT * 5, false).expect("no alarm");
            assert!(alarm > LIMIT && alarm < LIMIT + FRAME * 2, "{alarm:?}");
        }
    }

    #[test]
    fn rtcp_that_never_comes_on_a_new_path_is_an_alarm() {
        let (mut dog, mut now) = (Watchdog::new(LIMIT), Instant::now());
        assert_eq!(write(&mut dog, &mut now, LIMIT * 2, false), None, "no path stands yet");
        for _ in 0..3 {
            dog.arm();
            let alarm = write(&mut dog, &mut now, LIMIT * 2, false).expect("no alarm");
            assert!(alarm > LIMIT && alarm < LIMIT + FRAME * 2, "{alarm:?}");
        }
    }

    #[test]
    fn muted_tracks_are_no_alarm_however_long_and_time_begins_anew_after_them() {
        let (mut dog, mut now) = (Watchdog::new(LIMIT), Instant::now());
        dog.arm();
        for _ in 0..20 {
            assert_eq!(write(&mut dog, &mut now, LIMIT - FRAME * 5, false), None);
            now += LIMIT * 10;
            assert!(!dog.alarm());
        }
        assert!(write(&mut dog, &mut now, LIMIT * 2, false).is_some(), "blind after pauses");
    }
}
