//! How a viewer's picture is judged on a machine that is busy with other things too.
//!
//! Such a machine makes gaps of its own: pictures that nobody had the time to encode, a viewer's process that stood still,
//! pictures that its SDK threw away behind the decoder. All of these are known, so they are taken off; what is left is the
//! network's doing, or a defect. And one measurement may be spoilt by what nobody knows, so there are three.

use super::marked::FPS;
use super::subscriber::{Gap, PATIENCE, Subscriber, Summary};
use agentcast::stream::Broadcast;
use std::time::Instant;

/// Measures up to three times, until it is good once: noise spoils one measurement, a defect all of them.
#[track_caller]
pub fn best_of_three<T>(what: &str, mut measure: impl FnMut() -> Result<T, String>) -> T {
    let mut failures = Vec::new();
    for n in 1..=3 {
        match measure() {
            Ok(good) => return good,
            Err(words) => {
                println!("{what}, measurement {n}: {words}");
                failures.push(words);
            }
        }
    }
    panic!("{what}, three times not:\n{}", failures.join("\n"));
}

/// One condition of a measurement.
pub fn ensure(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

/// A stretch of time in which a viewer's picture is judged; it begins when the picture moves.
pub struct Window<'a> {
    viewer: &'a Subscriber,
    broadcast: &'a Broadcast,
    skipped: u64,
    begun: Summary,
}

impl<'a> Window<'a> {
    /// Waits until the viewer sees what is encoded.
    #[track_caller]
    pub fn open(viewer: &'a Subscriber, broadcast: &'a Broadcast) -> Self {
        let deadline = Instant::now() + PATIENCE;
        viewer.watch(1);
        loop {
            let (mark, before) = (viewer.mark(), broadcast.status());
            let seen = viewer.wait_after(mark, PATIENCE, "second", |_| true)["fps"].as_f64().unwrap_or_default();
            if seen > 5.0 && seen >= 0.85 * f64::from(before.fps) {
                // What was left out in that second, the viewer may see missing only now.
                return Self { viewer, broadcast, skipped: before.skipped, begun: viewer.summary() };
            }
            assert!(Instant::now() < deadline, "{:.1} fps are encoded, but {seen} seen", before.fps);
        }
    }

    #[track_caller]
    pub fn close(self) -> Shown {
        let ended = self.viewer.summary();
        let skipped = self.broadcast.status().skipped - self.skipped;
        let since = |name: &str| Some(ended.counted(name)?.saturating_sub(self.begun.counted(name)?));
        let seen = ended.frames - self.begun.frames;
        let thrown_away = since("decoded").map_or(0, |decoded| decoded.saturating_sub(seen));
        let missing = ended.missing - self.begun.missing;
        let gaps: Vec<_> = ended.gaps.iter().filter(|gap| gap.since >= self.begun.last).copied().collect();
        Shown {
            seconds: ended.last - self.begun.last,
            seen,
            thrown_away,
            skipped,
            lost: missing.saturating_sub(skipped + thrown_away),
            audio: ended.audio - self.begun.audio,
            freezes: since("freezes"),
            gaps,
        }
    }
}

/// What a viewer saw in a [`Window`].
#[derive(Debug)]
pub struct Shown {
    /// From the first picture to the last.
    pub seconds: f64,
    pub seen: u64,
    /// Decoded, and not given to us by the SDK.
    pub thrown_away: u64,
    /// Never encoded, for want of time.
    pub skipped: u64,
    /// Encoded, and never decoded.
    pub lost: u64,
    /// Frames of 10 ms of sound.
    pub audio: u64,
    /// As WebRTC counts them, late pictures included; None where it gave no statistics.
    pub freezes: Option<u64>,
    pub gaps: Vec<Gap>,
}

impl Shown {
    /// Pictures a second that were decoded, or would have been with more CPU.
    pub fn fps(&self) -> f64 {
        (self.seen + self.thrown_away + self.skipped) as f64 / self.seconds
    }

    /// Of the missing pictures in gaps, what was lost on the way, s.
    fn lost_in_gaps(&self) -> f64 {
        let missing = self.gaps.iter().map(|gap| gap.missing).sum();
        self.lost.min(missing) as f64 / f64::from(FPS)
    }

    /// The longest gap that nothing explains, s; 0 when there is none.
    pub fn longest(&self) -> f64 {
        self.gaps.iter().map(Gap::unexplained).fold(0.0, f64::max) + self.lost_in_gaps()
    }

    /// All gaps that nothing explains together, s.
    pub fn frozen(&self) -> f64 {
        self.gaps.iter().map(Gap::unexplained).sum::<f64>() + self.lost_in_gaps()
    }

    /// Whether the picture never stood still for as long as this, s.
    pub fn moves(&self, limit: f64) -> Result<(), String> {
        ensure(self.longest() < limit, || format!("{:.3} s without a picture: {self:?}", self.longest()))
    }
}
