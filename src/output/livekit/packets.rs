//! Encoded packets as WebRTC takes them: access units without what only other transports need, RTP times, capture times.

use crate::encode::annexb::{self, nal};
use crate::encode::{Packet, StreamInfo, TICKS};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// RTP clock of Opus (RFC 7587, 4.1).
const AUDIO_CLOCK: i64 = 48_000;
/// Keeps RTP times of packets from just before the stream's begin positive: an encoder's look-ahead.
const HEAD_START: i64 = 10 * TICKS;

/// RTP time of a picture, 90 kHz.
pub(super) fn video_rtp(pts: i64) -> u64 {
    pts.saturating_add(HEAD_START).max(0) as u64
}

/// RTP time of an Opus packet, 48 kHz.
pub(super) fn audio_rtp(pts: i64) -> u64 {
    (i128::from(pts.saturating_add(HEAD_START).max(0)) * i128::from(AUDIO_CLOCK) / i128::from(TICKS)) as u64
}

/// The access unit without SEI, access unit delimiters and filler; an IDR with SPS and PPS before it, because whoever joins
/// later gets no other copy. Nothing is copied when nothing changes.
pub(super) fn access_unit(info: &StreamInfo, packet: &Packet) -> Bytes {
    let bare = annexb::without(&packet.data, &[nal::SEI, nal::AUD, nal::FILLER]);
    let data = bare.as_deref().unwrap_or(&packet.data);
    if !packet.key || annexb::nal_units(data).any(|u| annexb::nal_type(u) == nal::SPS) {
        return bare.map_or_else(|| packet.data.clone(), Bytes::from);
    }
    let mut out = Vec::with_capacity(info.video_extradata.len() + data.len());
    out.extend_from_slice(&info.video_extradata);
    out.extend_from_slice(data);
    out.into()
}

/// When packets were captured: sender reports carry it, and receivers play picture and sound together by it. One for both
/// tracks and for a whole stay, because a second one would shift them against each other.
///
/// The packet it was set by may have been late (a busy machine while it joined), then those that come in time lie in the
/// future by it. str0m sends reports with an RTP time of 0 for such, so the clock is set back by them.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaptureClock {
    zero: Instant,
    first: i64,
}

impl CaptureClock {
    /// `pts` is that of a packet taken `age` after it was made.
    pub fn new(pts: i64, now: Instant, age: Duration) -> Self {
        Self { zero: now.checked_sub(age).unwrap_or(now), first: pts }
    }

    /// When the packet of this pts, which has come by `now`, was captured: never later than `now`.
    pub fn at(&mut self, pts: i64, now: Instant) -> Instant {
        let at = self.time_of(pts);
        let early = at.saturating_duration_since(now);
        self.zero = self.zero.checked_sub(early).unwrap_or(self.zero);
        at.min(now)
    }

    fn time_of(&self, pts: i64) -> Instant {
        let ticks = pts.saturating_sub(self.first);
        let time = Duration::from_nanos(
            u64::try_from(i128::from(ticks.unsigned_abs()) * 1_000_000_000 / i128::from(TICKS)).unwrap_or(u64::MAX),
        );
        let moved = if ticks < 0 { self.zero.checked_sub(time) } else { self.zero.checked_add(time) };
        moved.unwrap_or(self.zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{AudioCodec, Track};

    fn info() -> StreamInfo {
        StreamInfo {
            width: 1280,
            height: 720,
            fps: 30,
            video_kbps: 2_500,
            video_extradata: Bytes::from_static(&[0, 0, 0, 1, 0x67, 66, 0, 31, 0, 0, 0, 1, 0x68, 9]),
            audio_codec: AudioCodec::Opus,
            audio_kbps: 96,
            sample_rate: 48_000,
            channels: 2,
            audio_extradata: Bytes::new(),
        }
    }

    fn picture(key: bool, data: &'static [u8]) -> Packet {
        Packet { track: Track::Video, pts: 0, duration: 3_000, key, data: Bytes::from_static(data) }
    }

    fn types(data: &[u8]) -> Vec<u8> {
        annexb::nal_units(data).map(annexb::nal_type).collect()
    }

    #[test]
    fn an_idr_gets_parameter_sets_and_loses_sei_delimiter_and_filler() {
        let idr = picture(true, &[0, 0, 0, 1, 9, 16, 0, 0, 1, 6, 5, 1, 0x80, 0, 0, 1, 0x65, 7, 0, 0, 1, 12, 255, 0x80]);
        assert_eq!(types(&access_unit(&info(), &idr)), [nal::SPS, nal::PPS, nal::IDR]);
        let own = picture(true, &[0, 0, 0, 1, 0x67, 66, 0, 31, 0, 0, 0, 1, 0x68, 9, 0, 0, 1, 0x65, 7]);
        assert_eq!(types(&access_unit(&info(), &own)), [nal::SPS, nal::PPS, nal::IDR], "no second copy");
    }

    #[test]
    fn a_picture_with_nothing_to_strip_is_passed_on_without_a_copy() {
        let p = picture(false, &[0, 0, 0, 1, 0x41, 7]);
        assert_eq!(access_unit(&info(), &p).as_ptr(), p.data.as_ptr());
        let filled = picture(false, &[0, 0, 0, 1, 0x41, 7, 0, 0, 1, 12, 255, 0x80]);
        assert_eq!(types(&access_unit(&info(), &filled)), [nal::SLICE]);
    }

    #[test]
    fn rtp_times_of_both_tracks_run_at_their_clocks_and_survive_a_negative_start() {
        assert_eq!(video_rtp(90_000) - video_rtp(0), 90_000);
        assert_eq!(audio_rtp(90_000) - audio_rtp(0), 48_000);
        assert_eq!(audio_rtp(1_800) - audio_rtp(0), 960);
        assert_eq!(audio_rtp(0) - audio_rtp(-1_800), 960);
        // Both tracks stand at the same media time: 90 : 48 = 15 : 8.
        assert_eq!(video_rtp(123_000) * 8, audio_rtp(123_000) * 15);
        let day = 24 * 3_600 * TICKS * 365;
        assert_eq!(audio_rtp(day) - audio_rtp(0), 24 * 3_600 * 48_000 * 365);
    }

    #[test]
    fn capture_times_follow_pts_whatever_the_network_did() {
        let now = Instant::now();
        let mut clock = CaptureClock::new(180_000, now, Duration::from_millis(100));
        assert_eq!(now.duration_since(clock.at(180_000, now)), Duration::from_millis(100));
        let later = now + Duration::from_secs(2);
        let mut between = |a, b| clock.at(b, later).duration_since(clock.at(a, later));
        assert_eq!(between(180_000, 270_000), Duration::from_secs(1));
        assert_eq!(between(178_200, 180_000), Duration::from_millis(20));
    }

    #[test]
    fn capture_times_are_never_in_the_future_after_a_first_packet_that_came_late() {
        let late = Instant::now();
        let mut clock = CaptureClock::new(0, late, Duration::ZERO);
        // It should have come 200 ms earlier; the next ones do.
        let intime = late + Duration::from_millis(800);
        assert_eq!(clock.at(90_000, intime), intime);
        let next = intime + Duration::from_millis(50);
        assert_eq!(
            next.duration_since(clock.at(91_800, next)),
            Duration::from_millis(30),
            "of the clock that was set back"
        );
    }
}
