//! When a frame is due, and how much sound belongs to it. Pure: time is an argument.

use super::TICKS;
use std::time::Duration;

/// Samples a channel in one AAC frame.
pub const AAC_SAMPLES: usize = 1024;
/// Hz; the one sample rate of the house.
pub const SAMPLE_RATE: u32 = 48_000;
/// [`TICKS`] of one AAC frame: 1,920.
pub const AAC_TICKS: i64 = AAC_SAMPLES as i64 * TICKS / SAMPLE_RATE as i64;
/// Seconds between two IDR pictures: what Twitch and YouTube ask for.
pub const GOP_SECONDS: u32 = 2;

/// A frame to draw now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Number of the frame since the start.
    pub index: u64,
    /// Its media time, [`TICKS`].
    pub pts: i64,
    /// Frames that were due before it and will never be drawn.
    pub skipped: u64,
}

/// The metronome of one stream: frame `n` is due `n / fps` seconds after the start.
///
/// A frame that comes too late is skipped and counted, never queued, so media time never falls behind real time. All
/// times are durations since one epoch of the caller's choice, from a clock that never goes back.
#[derive(Clone, Debug)]
pub struct FrameClock {
    fps: u32,
    start: Duration,
    next: u64,
    skipped: u64,
}

impl FrameClock {
    /// A clock whose frame 0 is due at `start`. `fps` must divide [`TICKS`], as 24, 25, 30, 50 and 60 do.
    pub fn new(fps: u32, start: Duration) -> Self {
        assert!(fps > 0 && TICKS % i64::from(fps) == 0, "fps {fps} does not divide {TICKS}");
        Self { fps, start, next: 0, skipped: 0 }
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Duration {
        // Rounded up, so that a sleep until then always finds the frame due.
        let nanos = (u128::from(self.next) * 1_000_000_000).div_ceil(u128::from(self.fps));
        self.start + Duration::from_nanos(nanos as u64)
    }

    /// The frame to draw at `now`, if one is due: the newest; older ones are skipped.
    pub fn poll(&mut self, now: Duration) -> Option<Due> {
        if now < self.next_due() {
            return None;
        }
        let passed = (now - self.start).as_nanos();
        let index = (passed * u128::from(self.fps) / 1_000_000_000) as u64;
        let skipped = index - self.next;
        self.skipped += skipped;
        self.next = index + 1;
        Some(Due { index, pts: index as i64 * (TICKS / i64::from(self.fps)), skipped })
    }

    /// Frames never drawn since the start.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Says how much sound belongs beside a picture, so that both tracks stay together whatever happens to the pictures.
#[derive(Clone, Debug, Default)]
pub struct AudioClock {
    next: i64,
}

impl AudioClock {
    /// The pts of the AAC frames to encode beside the picture at `pts`, each given once, [`AAC_TICKS`] apart without a
    /// gap: after a stall the missing sound comes in one burst. The last one begins at most half an AAC frame (10.7 ms)
    /// from the picture.
    pub fn due(&mut self, pts: i64) -> impl ExactSizeIterator<Item = i64> + use<> {
        let first = self.next;
        let end = ((pts + AAC_TICKS / 2) / AAC_TICKS + 1).max(first);
        self.next = end;
        (0..(end - first) as usize).map(move |k| (first + k as i64) * AAC_TICKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn punctual_polls_give_every_frame_once() {
        let start = 7 * MS;
        let mut clock = FrameClock::new(30, start);
        assert_eq!(clock.poll(6 * MS), None);
        for index in 0..90 {
            let due = clock.next_due();
            assert_eq!(clock.poll(due - Duration::from_nanos(1)), None);
            assert_eq!(clock.poll(due), Some(Due { index, pts: index as i64 * 3000, skipped: 0 }));
            assert_eq!(clock.poll(due), None);
        }
        assert_eq!(clock.skipped(), 0);
    }

    #[test]
    fn late_poll_gives_newest_frame_and_counts_the_rest() {
        let mut clock = FrameClock::new(50, Duration::ZERO);
        assert_eq!(clock.poll(Duration::ZERO).unwrap().index, 0);
        assert_eq!(clock.poll(105 * MS), Some(Due { index: 5, pts: 5 * 1800, skipped: 4 }));
        assert_eq!(clock.next_due(), 120 * MS);
        assert_eq!(clock.skipped(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// An hour with jitter on every wake-up and stalls of up to 5 s.
        #[test]
        fn hour_with_stalls_keeps_sound_and_picture_together(
            fps in prop::sample::select(vec![24u32, 25, 30, 50, 60]),
            start in 0u64..1_000_000_000_000,
            jitter in prop::collection::vec(0u64..30_000_000, 97),
            stalls in prop::collection::vec((0u64..3_600, 0u64..5_000), 0..12),
        ) {
            let start = Duration::from_nanos(start);
            let mut stalls: Vec<_> = stalls.iter().map(|&(at, ms)| (start + Duration::from_secs(at), ms as u32 * MS)).collect();
            stalls.sort();
            stalls.reverse();
            let (mut clock, mut sound) = (FrameClock::new(fps, start), AudioClock::default());
            let (mut now, mut last, mut drawn, mut step) = (start, -1i64, 0u64, 0usize);
            let mut audio_end = 0i64;
            while now < start + Duration::from_secs(3600) {
                step += 1;
                now = now.max(clock.next_due()) + Duration::from_nanos(jitter[step % jitter.len()] / 8);
                if stalls.last().is_some_and(|s| s.0 <= now) {
                    now += stalls.pop().unwrap().1;
                }
                let due = clock.poll(now).unwrap();
                drawn += 1;
                prop_assert!(due.pts > last);
                last = due.pts;
                // The picture is never older than one frame, however long the stall was.
                let media = Duration::from_nanos(due.pts as u64 * 1_000_000 / 90);
                prop_assert!(now - start >= media - Duration::from_nanos(1).min(media));
                prop_assert!(now - start - media < Duration::from_secs(1) / fps + Duration::from_micros(1));
                for pts in sound.due(due.pts) {
                    prop_assert_eq!(pts, audio_end);
                    audio_end += AAC_TICKS;
                }
                let skew = (audio_end - AAC_TICKS - due.pts).abs();
                prop_assert!(skew <= 20 * TICKS / 1000, "skew {} ticks at {}", skew, due.pts);
            }
            prop_assert_eq!(last as u64 / (TICKS as u64 / fps as u64) + 1, drawn + clock.skipped());
        }
    }
}
