//! Opus by libopus through FFmpeg: 48 kHz, stereo, for WebRTC (RFC 6716, RFC 7587).

use super::audio::{CHANNELS, check, clean, position};
use super::tone::{self, Tone};
use super::{AudioCodec, AudioEncoder, EncodeError, EncodedPacket, Packet, SAMPLE_RATE, TICKS, Track};
use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::{ChannelLayout, Dictionary, Rational, codec, ffi, format, frame};
use std::sync::{Arc, OnceLock};

/// Samples a channel in one packet, 20 ms.
pub const OPUS_SAMPLES: usize = 960;
/// [`TICKS`] of one packet: 1,800.
pub const OPUS_TICKS: i64 = OPUS_SAMPLES as i64 * TICKS / SAMPLE_RATE as i64;

pub(super) const KBPS: u32 = 128;
/// The room tone is noise; it needs no more.
const TONE_KBPS: u32 = 24;
const FORMAT: format::Sample = format::Sample::F32(format::sample::Type::Packed);
const NAME: &str = "libopus";

/// Loss in percent that is prepared for: each packet of speech carries a coarse copy of the one before. libopus makes that
/// copy in its speech modes only, and a mode is one only from about 6 % on.
const EXPECTED_LOSS: &str = "10";
/// Interleaved samples of a packet.
const BLOCK: usize = OPUS_SAMPLES * CHANNELS as usize;
/// Packets of tone that a fresh encoder gets before what is said, and again after it before it is closed: it adapts to
/// what it hears, and so does the decoder, so that nothing is heard at the seams.
const SEAM: i64 = 4;

/// The sound of a stream in Opus. Sound comes in as AAC frames (1,024 samples) and leaves as packets of 960, whose pts are
/// whole multiples of [`OPUS_TICKS`] without a gap. While nobody speaks they are room tone, prepared once a process.
///
/// A failed encoder costs what it had not given out and is opened anew.
pub struct OpusEncoder {
    /// Open while somebody speaks.
    open: Option<Opened>,
    tone: &'static Prepared,
    /// Interleaved sound that is not encoded yet, and the position of its first sample.
    waiting: Vec<f32>,
    at: i64,
    /// Samples to leave out until the next packet's.
    skip: usize,
    /// Where the last word ended.
    said_until: i64,
    last_pts: Option<i64>,
    /// Where the next samples belong.
    next: Option<i64>,
}

/// What does not change within a process.
struct Prepared {
    tone: Tone,
    /// Samples by which decoded sound lags behind the encoder's input.
    lookahead: i64,
}

impl Prepared {
    /// The one of this process.
    fn get() -> Result<&'static Prepared, EncodeError> {
        static ONE: OnceLock<Prepared> = OnceLock::new();
        if let Some(prepared) = ONE.get() {
            return Ok(prepared);
        }
        let mut opened = Opened::new(TONE_KBPS)?;
        let lookahead = opened.lookahead();
        let tone = Tone::prepare(OPUS_TICKS, |pts| {
            let data = opened.encode(&tone_block(position(pts) + lookahead))?;
            Ok(vec![packet(data, pts)])
        });
        let tone = tone.map_err(|source| EncodeError::Failed { codec: NAME, source })?;
        Ok(ONE.get_or_init(|| Prepared { tone, lookahead }))
    }
}

fn packet(data: Bytes, pts: i64) -> EncodedPacket {
    Arc::new(Packet { track: Track::Audio, pts, duration: OPUS_TICKS, key: true, data })
}

fn tone_block(position: i64) -> Vec<f32> {
    tone::samples(position).take(BLOCK).collect()
}

impl OpusEncoder {
    pub fn open() -> Result<Self, EncodeError> {
        super::init()?;
        // Says at once when it will not open later; the tone may be of an earlier time.
        Opened::new(KBPS)?;
        Ok(Self {
            open: None,
            tone: Prepared::get()?,
            waiting: Vec::new(),
            at: 0,
            skip: 0,
            said_until: i64::MIN,
            last_pts: None,
            next: None,
        })
    }

    /// Makes the sound that follows begin at a sample position. Packets begin where their number says, so up to 20 ms before
    /// the first one are left out.
    fn restart(&mut self, at: i64) {
        let (samples, lookahead) = (OPUS_SAMPLES as i64, self.tone.lookahead);
        let first = (at + samples - 1).div_euclid(samples) * samples + lookahead;
        self.waiting.clear();
        self.at = first;
        self.skip = (first - at) as usize * CHANNELS as usize;
        self.said_until = i64::MIN;
        self.open = None;
    }

    /// The next packet, from the first [`BLOCK`] of what waits.
    fn block(&mut self) -> Result<EncodedPacket, EncodeError> {
        // The packet that decodes to these samples, the decoder's lag subtracted.
        let pts = (self.at - self.tone.lookahead) * TICKS / i64::from(SAMPLE_RATE);
        let quiet = self.at >= self.said_until;
        if quiet && self.open.is_none() {
            return Ok(self.tone.tone.packet(pts));
        }
        let failed = |source| EncodeError::Failed { codec: NAME, source };
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let open = none.insert(Opened::new(KBPS)?);
                for n in (1..=SEAM).rev() {
                    open.encode(&tone_block(self.at - n * OPUS_SAMPLES as i64)).map_err(failed)?;
                }
                open
            }
        };
        let data = open.encode(&self.waiting[..BLOCK]).map_err(failed)?;
        if self.at >= self.said_until.saturating_add(SEAM * OPUS_SAMPLES as i64) {
            self.open = None;
        }
        Ok(packet(data, pts))
    }
}

impl AudioEncoder for OpusEncoder {
    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        check(samples, pts, self.last_pts)?;
        self.last_pts = Some(pts);
        let (at, count) = (position(pts), super::AAC_SAMPLES as i64);
        if self.next != Some(at) {
            self.restart(at);
        }
        self.next = Some(at + count);
        if samples.is_empty() {
            self.waiting.extend(tone::samples(at).take(super::AAC_SAMPLES * CHANNELS as usize));
        } else {
            self.waiting.extend(samples.iter().copied().map(clean));
            self.said_until = at + count;
        }
        let skipped = self.skip.min(self.waiting.len());
        self.waiting.drain(..skipped);
        self.skip -= skipped;

        let mut out = Vec::new();
        while self.waiting.len() >= BLOCK {
            match self.block() {
                Ok(packet) => out.push(packet),
                Err(error) => {
                    tracing::warn!("the {NAME} encoder failed and is opened anew: {error}");
                    self.next = None;
                    return Err(error);
                }
            }
            self.waiting.drain(..BLOCK);
            self.at += OPUS_SAMPLES as i64;
        }
        Ok(out)
    }

    fn extradata(&self) -> Bytes {
        Bytes::new()
    }

    fn codec(&self) -> AudioCodec {
        AudioCodec::Opus
    }
}

struct Opened {
    encoder: ff::encoder::audio::Encoder,
    frame: frame::Audio,
    packet: ff::Packet,
    /// Sample position of the next frame, as the encoder counts.
    samples: i64,
}

impl Opened {
    fn new(kbps: u32) -> Result<Self, EncodeError> {
        let failed = |source| EncodeError::Open {
            codec: NAME,
            settings: format!("{SAMPLE_RATE} Hz stereo, {kbps} kbit/s, in-band FEC"),
            source,
        };
        let found = ff::encoder::find_by_name(NAME).ok_or(EncodeError::Missing("Opus", NAME))?;
        let mut audio = codec::context::Context::new_with_codec(found).encoder().audio().map_err(failed)?;
        audio.set_rate(SAMPLE_RATE as i32);
        audio.set_format(FORMAT);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_bit_rate(kbps as usize * 1000);
        audio.set_time_base(Rational(1, SAMPLE_RATE as i32));
        let mut options = Dictionary::new();
        options.set("application", "audio");
        options.set("frame_duration", "20");
        // No burst is larger than twice the mean, so that sound never queues behind itself.
        options.set("vbr", "constrained");
        options.set("fec", "1");
        options.set("packet_loss", EXPECTED_LOSS);
        let encoder = audio.open_as_with(found, options).map_err(failed)?;
        if encoder.frame_size() as usize != OPUS_SAMPLES {
            return Err(failed(ff::Error::Bug));
        }
        let mut frame = frame::Audio::new(FORMAT, OPUS_SAMPLES, ChannelLayout::STEREO);
        frame.set_rate(SAMPLE_RATE);
        Ok(Self { encoder, frame, packet: ff::Packet::empty(), samples: 0 })
    }

    fn lookahead(&self) -> i64 {
        // SAFETY: the context is open and lives as long as the encoder.
        i64::from(unsafe { (*self.encoder.as_ptr()).initial_padding })
    }

    /// One block in, its packet out.
    fn encode(&mut self, samples: &[f32]) -> Result<Bytes, ff::Error> {
        // The encoder may still hold the frame before.
        // SAFETY: a valid frame with buffers of its own.
        let code = unsafe { ffi::av_frame_make_writable(self.frame.as_mut_ptr()) };
        if code < 0 {
            return Err(code.into());
        }
        for (to, from) in self.frame.plane_mut::<(f32, f32)>(0).iter_mut().zip(samples.as_chunks::<2>().0) {
            *to = (from[0], from[1]);
        }
        self.frame.set_pts(Some(self.samples));
        self.samples += OPUS_SAMPLES as i64;
        self.encoder.send_frame(&self.frame)?;
        self.encoder.receive_packet(&mut self.packet)?;
        Ok(Bytes::copy_from_slice(self.packet.data().unwrap_or_default()))
    }
}
