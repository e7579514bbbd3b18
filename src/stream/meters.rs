//! Distributions for `/metrics`: fixed buckets, one atomic addition an observation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What all streams of a process measure together.
#[derive(Debug)]
pub struct Meters {
    /// Composing, drawing and reading back one picture.
    pub draw: Histogram,
    /// Encoding one picture and handing it to every destination's queue.
    pub encode: Histogram,
    /// From a state that was shown (with a delay: from when it was due) to the first packet of a picture of it in every
    /// destination's queue.
    pub latency: Histogram,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            draw: Histogram::new(&[1, 2, 4, 8, 16, 33, 67, 133, 500]),
            encode: Histogram::new(&[1, 2, 4, 8, 16, 33, 67, 133, 500]),
            latency: Histogram::new(&[10, 20, 40, 60, 80, 100, 150, 250, 500, 1_000]),
        }
    }
}

/// Counts durations by size.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds of the buckets, ms.
    bounds: &'static [u64],
    /// One more than bounds: the last holds what is above all of them.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// A histogram at a moment, as Prometheus shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Upper bound in seconds and how many were at most that long.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    /// Seconds.
    pub sum: f64,
}

impl Histogram {
    /// `bounds`: of the buckets, ms, rising.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum_us: AtomicU64::new(0) }
    }

    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| bound * 1_000 < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut upto = |n: &AtomicU64| {
            count += n.load(Ordering::Relaxed);
            count
        };
        let buckets = self.bounds.iter().zip(&self.counts).map(|(ms, n)| (*ms as f64 / 1e3, upto(n))).collect();
        let last = self.counts.last().map_or(0, |n| n.load(Ordering::Relaxed));
        let count = count + last;
        Distribution { buckets, count, sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_in_every_larger_one() {
        let histogram = Histogram::new(&[10, 20]);
        for ms in [10, 11, 20, 5_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let read = histogram.read();
        assert_eq!(read.buckets, [(0.01, 1), (0.02, 3)]);
        assert_eq!((read.count, read.sum), (4, 5.041));
    }
}
