//! Spreads large pictures over time: an IDR of 100 packets in one go overruns socket buffers and home routers.
//!
//! str0m paces only with bandwidth estimation on; at a fixed bit rate that costs latency and CPU, so it is off and the
//! video packets that str0m hands out wait here. Sans IO: time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What may go out at once, bytes: most pictures between two IDRs.
const BURST: f64 = 24_000.0;
/// A backlog is spread over at most this.
const SPREAD: Duration = Duration::from_millis(40);
/// Never slower than this, bytes/s (8 Mbit/s).
const FLOOR: f64 = 1_000_000.0;
/// Packets go out in steps of at least this: the resolution of the timer.
const STEP: Duration = Duration::from_millis(1);

/// A queue of packets with a leaky bucket. `T` is a packet, its size is given beside it.
#[derive(Debug)]
pub(super) struct Pacer<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
    /// What may go out now, bytes.
    credit: f64,
    /// bytes/s, chosen by the largest backlog since the queue was empty.
    rate: f64,
    last: Option<Instant>,
}

impl<T> Pacer<T> {
    pub fn new() -> Self {
        Self { queue: VecDeque::new(), bytes: 0, credit: BURST, rate: FLOOR, last: None }
    }

    pub fn push(&mut self, packet: T, size: usize) {
        self.queue.push_back((packet, size));
        self.bytes += size;
        let rate = self.bytes as f64 / SPREAD.as_secs_f64();
        self.rate = self.rate.max(rate);
    }

    /// The next packet whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let waited = now.saturating_duration_since(self.last.unwrap_or(now));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        self.credit = (self.credit + self.rate * waited.as_secs_f64()).min(BURST);
        let size = self.queue.front()?.1;
        if self.credit <= 0.0 {
            return None;
        }
        let (packet, _) = self.queue.pop_front()?;
        self.bytes -= size;
        self.credit -= size as f64;
        if self.queue.is_empty() {
            self.rate = FLOOR;
        }
        Some(packet)
    }

    /// When [`Self::pop`] has something next; `None` while the queue is empty.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.queue.front()?;
        let wait = Duration::from_secs_f64((-self.credit).max(0.0) / self.rate).max(STEP);
        Some(self.last.unwrap_or(now) + wait)
    }

    /// Everything that waits, at once: for the end of a connection.
    pub fn flush(&mut self) -> impl Iterator<Item = T> {
        self.bytes = 0;
        self.queue.drain(..).map(|(packet, _)| packet)
    }

    /// Bytes waiting.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1200;

    /// Runs until empty; returns how long each packet waited.
    fn run(pacer: &mut Pacer<u32>, start: Instant) -> Vec<Duration> {
        let mut now = start;
        let mut waits = Vec::new();
        loop {
            while pacer.pop(now).is_some() {
                waits.push(now - start);
            }
            match pacer.due(now) {
                Some(due) => now = due.max(now),
                None => return waits,
            }
        }
    }

    #[test]
    fn usual_picture_goes_out_at_once() {
        let mut pacer = Pacer::new();
        (0..12).for_each(|i| pacer.push(i, PACKET));
        let waits = run(&mut pacer, Instant::now());
        assert_eq!(waits, vec![Duration::ZERO; 12]);
    }

    #[test]
    fn idr_is_spread_evenly_and_done_within_the_limit() {
        let mut pacer = Pacer::new();
        let start = Instant::now();
        (0..125).for_each(|i| pacer.push(i, PACKET));
        let waits = run(&mut pacer, start);
        assert_eq!(waits.len(), 125);
        assert!(waits[124] <= SPREAD + STEP, "took {:?}", waits[124]);
        assert!(waits[124] >= SPREAD / 2, "not spread: {:?}", waits[124]);
        let in_one_step = (0..45).map(|ms| {
            let step = Duration::from_millis(ms)..Duration::from_millis(ms + 1);
            waits.iter().filter(|w| ms > 0 && step.contains(*w)).count()
        });
        assert!(in_one_step.max().unwrap() <= 8);
    }

    #[test]
    fn pictures_behind_an_idr_keep_their_order_and_do_not_pile_up() {
        let mut pacer = Pacer::new();
        let start = Instant::now();
        let frame = Duration::from_nanos(33_333_333);
        let mut sent = Vec::new();
        let mut next = 0;
        for picture in 0..60u32 {
            let packets = if picture == 0 { 125 } else { 8 };
            (0..packets).for_each(|_| {
                pacer.push(next, PACKET);
                next += 1;
            });
            let until = start + frame * (picture + 1);
            let mut now = start + frame * picture;
            while now < until {
                while let Some(packet) = pacer.pop(now) {
                    sent.push(packet);
                }
                now = pacer.due(now).unwrap_or(until).max(now + STEP);
            }
            assert!(pacer.bytes() < 60 * PACKET, "picture {picture}: {} bytes wait", pacer.bytes());
        }
        assert_eq!(sent, (0..next).collect::<Vec<_>>());
    }
}
