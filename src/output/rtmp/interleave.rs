//! Puts audio and video into the order of their timestamps, as FLV wants them.

use crate::encode::{EncodedPacket, TICKS, Track};
use std::collections::VecDeque;

/// While one track is silent (video dropped on a slow network), the other waits for it no longer than this: 0.2 s.
const LONGEST_WAIT: i64 = TICKS / 5;

/// Holds packets until the other track has reached them. libavformat has the same, but would hold audio for 10 s when
/// video is missing.
#[derive(Debug, Default)]
pub(super) struct Interleaver {
    video: VecDeque<EncodedPacket>,
    audio: VecDeque<EncodedPacket>,
}

impl Interleaver {
    pub fn push(&mut self, packet: EncodedPacket) {
        match packet.track {
            Track::Video => self.video.push_back(packet),
            Track::Audio => self.audio.push_back(packet),
        }
    }

    /// The next packet whose turn has come.
    pub fn pop(&mut self) -> Option<EncodedPacket> {
        match (self.video.front(), self.audio.front()) {
            (Some(v), Some(a)) => self.pop_from(v.pts <= a.pts),
            (Some(_), None) if waited_long(&self.video) => self.video.pop_front(),
            (None, Some(_)) if waited_long(&self.audio) => self.audio.pop_front(),
            _ => None,
        }
    }

    /// The next packet, whether or not the other track might still bring an earlier one.
    pub fn flush(&mut self) -> Option<EncodedPacket> {
        match (self.video.front(), self.audio.front()) {
            (Some(v), Some(a)) => self.pop_from(v.pts <= a.pts),
            (v, _) => self.pop_from(v.is_some()),
        }
    }

    fn pop_from(&mut self, video: bool) -> Option<EncodedPacket> {
        if video { self.video.pop_front() } else { self.audio.pop_front() }
    }
}

fn waited_long(track: &VecDeque<EncodedPacket>) -> bool {
    match (track.front(), track.back()) {
        (Some(first), Some(last)) => last.pts - first.pts >= LONGEST_WAIT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Packet;
    use bytes::Bytes;
    use std::sync::Arc;

    fn packet(track: Track, pts: i64) -> EncodedPacket {
        Arc::new(Packet { track, pts, duration: 0, key: true, data: Bytes::new() })
    }

    #[test]
    fn tracks_in_any_order_of_arrival_come_out_by_timestamp() {
        let mut row = Interleaver::default();
        for n in 0..3 {
            row.push(packet(Track::Video, n * 3_000));
        }
        assert!(row.pop().is_none(), "audio may still bring 0");
        for n in 0..4 {
            row.push(packet(Track::Audio, n * 1_920));
        }
        let mut out: Vec<_> = std::iter::from_fn(|| row.pop()).collect();
        out.extend(std::iter::from_fn(|| row.flush()));
        let pts: Vec<_> = out.iter().map(|p| (p.pts, p.track)).collect();
        assert_eq!(pts.len(), 7);
        assert!(pts.windows(2).all(|w| w[0].0 <= w[1].0), "{pts:?}");
        assert_eq!(pts[0].1, Track::Video, "the sequence begins with the picture");
    }

    #[test]
    fn a_silent_track_holds_the_other_no_longer_than_a_fifth_of_a_second() {
        let mut row = Interleaver::default();
        let mut held = 0;
        for n in 0..100 {
            row.push(packet(Track::Audio, n * 1_920));
            held += 1;
            while row.pop().is_some() {
                held -= 1;
            }
            assert!(held <= 11);
        }
    }
}
