//! Room tone: what a stream sounds like while nobody speaks. Its packets are prepared once a process and pass no encoder.

use super::{AAC_SAMPLES, EncodedPacket, Packet, SAMPLE_RATE, TICKS, Track, audio::CHANNELS};
use bytes::Bytes;
use ffmpeg_next as ff;
use std::sync::{Arc, OnceLock};

/// Samples a channel after which the tone repeats, 0.96 s: 45 AAC frames and 48 Opus packets.
const PERIOD: usize = 45 * AAC_SAMPLES;
/// Peak of the room tone: −66 dB on average. Nobody hears it; platforms' checks for missing sound do, and the bit rate
/// stays what it says.
const PEAK: f32 = 0.0015;

/// Room tone from sample `position` of the stream on, interleaved.
pub(super) fn samples(position: i64) -> impl Iterator<Item = f32> {
    static ONE: OnceLock<Vec<f32>> = OnceLock::new();
    let one = ONE.get_or_init(|| {
        let mut random = fastrand::Rng::with_seed(48_000);
        (0..PERIOD * CHANNELS as usize).map(|_| (random.f32() * 2.0 - 1.0) * PEAK).collect()
    });
    let from = position.rem_euclid(PERIOD as i64) as usize * CHANNELS as usize;
    one[from..].iter().chain(one.iter().cycle()).copied()
}

/// The tone as packets that may follow each other in any number of rounds.
pub(super) struct Tone {
    packets: Vec<Bytes>,
    /// Ticks of one packet.
    ticks: i64,
}

impl Tone {
    /// Encodes the tone in packets of `ticks`. `encode` is called for one packet after the other with its pts, and gives
    /// out what is ready.
    pub fn prepare(
        ticks: i64,
        mut encode: impl FnMut(i64) -> Result<Vec<EncodedPacket>, ff::Error>,
    ) -> Result<Tone, ff::Error> {
        let round = PERIOD as i64 * TICKS / i64::from(SAMPLE_RATE);
        let (count, mut packets) = ((round / ticks) as usize, Vec::new());
        let mut pts = 0;
        // The second round is like every later one. What the encoder holds back ends soon after it.
        while packets.len() < count && pts < 3 * round {
            packets.extend(encode(pts)?.into_iter().filter(|p| p.pts >= round).map(|p| p.data.clone()));
            pts += ticks;
        }
        packets.truncate(count);
        if packets.len() < count {
            return Err(ff::Error::Bug);
        }
        Ok(Tone { packets, ticks })
    }

    pub fn packet(&self, pts: i64) -> EncodedPacket {
        let index = pts.div_euclid(self.ticks).rem_euclid(self.packets.len() as i64) as usize;
        let data = self.packets[index].clone();
        Arc::new(Packet { track: Track::Audio, pts, duration: self.ticks, key: true, data })
    }
}
