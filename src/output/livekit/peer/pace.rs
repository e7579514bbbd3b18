//! Spreads large pictures over time: an IDR of 100 packets in one go overruns socket buffers and home routers.
//!
//! str0m paces only with bandwidth estimation on; at a fixed bit rate that costs latency and CPU, so it is off and the
//! video packets that str0m hands out wait here. And [`Gate`] holds video back from a TCP connection that is too slow for
//! it, before str0m gets it: half a picture is of no use. Sans IO: time is an argument.

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
/// Packets waiting on a path that is too slow for the video.
const CONGESTED: usize = 400;
/// Packets waiting on a path that has room for an IDR again.
const DRAINED: usize = CONGESTED / 4;

/// Whether video is held back from a path: from the moment that it is congested until it has drained and an IDR comes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: bool,
    /// An IDR was asked for since the path drained.
    asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    Drop,
    /// Nobody else knows that an IDR is wanted: what is dropped here never left, so no player misses it.
    DropAndAsk,
}

impl Gate {
    /// What becomes of a picture while `backlog` packets wait on the path.
    pub fn admit(&mut self, backlog: usize, idr: impl FnOnce() -> bool) -> Verdict {
        let drained = backlog <= DRAINED;
        self.closed |= backlog > CONGESTED;
        if !self.closed || (drained && idr()) {
            *self = Self::default();
            return Verdict::Send;
        }
        let asked = std::mem::replace(&mut self.asked, drained);
        if drained && !asked { Verdict::DropAndAsk } else { Verdict::Drop }
    }
}

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

    #[test]
    fn video_on_a_congested_path_is_dropped_until_it_has_drained_and_an_idr_is_asked_for_once() {
        let mut gate = Gate::default();
        let mut admit = |backlog, idr| gate.admit(backlog, || idr);
        assert_eq!(admit(CONGESTED, false), Verdict::Send);
        assert_eq!(admit(CONGESTED + 1, true), Verdict::Drop);
        assert_eq!(admit(DRAINED + 1, true), Verdict::Drop, "an IDR would congest it again");
        assert_eq!(admit(DRAINED, false), Verdict::DropAndAsk);
        assert_eq!(admit(0, false), Verdict::Drop, "asked already");
        assert_eq!(admit(DRAINED + 1, true), Verdict::Drop);
        assert_eq!(admit(DRAINED, false), Verdict::DropAndAsk, "the IDR that was asked for came too early");
        assert_eq!(admit(DRAINED, true), Verdict::Send);
        assert_eq!(admit(CONGESTED, false), Verdict::Send);
        assert_eq!(admit(CONGESTED + 1, false), Verdict::Drop);
        assert_eq!(admit(0, true), Verdict::Send, "an IDR that comes by itself does");
    }

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
