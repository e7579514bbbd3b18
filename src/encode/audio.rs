//! AAC-LC by FFmpeg's own encoder: 48 kHz, stereo, 160 kbit/s.

use super::tone::{self, Tone};
use super::{AAC_SAMPLES, AAC_TICKS, AudioEncoder, EncodeError, EncodedPacket, Packet, SAMPLE_RATE, TICKS, Track};
use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::{ChannelLayout, Rational, codec, ffi, format, frame};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

pub(super) const KBPS: u32 = 160;
pub(super) const CHANNELS: u16 = 2;
const FORMAT: format::Sample = format::Sample::F32(format::sample::Type::Planar);
const NAME: &str = "aac";

/// Frames that the encoder has inside.
const DELAY: usize = 2;

/// The sound of a stream: there is always some, because platforms complain of a stream without. While nobody speaks it is
/// room tone, whose packets are prepared once a process and pass no encoder.
///
/// FFmpeg's encoder begins with a packet of nothing but its own priming; it is dropped, so packets carry the pts of the
/// samples they decode to. A failed encoder costs the frames inside it and is opened anew when somebody speaks.
pub struct AacEncoder {
    /// Open while somebody speaks.
    open: Option<Opened>,
    /// The pts of quiet frames that did not come out yet, while it is not: a packet needs the frame after its own.
    held: VecDeque<i64>,
    /// Since when nobody speaks, while the encoder is still open.
    quiet_since: Option<i64>,
    tone: &'static Tone,
    extradata: Bytes,
    last_pts: Option<i64>,
}

/// The room tone of this process.
fn prepared() -> Result<&'static Tone, EncodeError> {
    static TONE: OnceLock<Tone> = OnceLock::new();
    if let Some(tone) = TONE.get() {
        return Ok(tone);
    }
    let mut opened = Opened::new()?;
    let tone = Tone::prepare(AAC_TICKS, |pts| opened.encode(&tone_frame(pts), pts))
        .map_err(|source| EncodeError::Failed { codec: NAME, source })?;
    Ok(TONE.get_or_init(|| tone))
}

/// Room tone for the frame at `pts`.
fn tone_frame(pts: i64) -> Vec<f32> {
    tone::samples(position(pts)).take(AAC_SAMPLES * CHANNELS as usize).collect()
}

/// Samples a channel from the beginning of the stream to `pts`.
pub(super) fn position(pts: i64) -> i64 {
    pts * i64::from(SAMPLE_RATE) / TICKS
}

/// Whether an encoder can take this.
pub(super) fn check(samples: &[f32], pts: i64, last: Option<i64>) -> Result<(), EncodeError> {
    if !samples.is_empty() && samples.len() != AAC_SAMPLES * CHANNELS as usize {
        return Err(EncodeError::Samples { got: samples.len() });
    }
    match last {
        Some(last) if pts <= last => Err(EncodeError::Order { pts, last }),
        _ => Ok(()),
    }
}

/// A sample that every encoder takes: FFmpeg refuses a whole frame for one infinite sample.
pub(super) fn clean(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

struct Opened {
    encoder: ff::encoder::audio::Encoder,
    frame: frame::Audio,
    packet: ff::Packet,
    /// Sample position of the next frame, as the encoder counts.
    samples: i64,
    /// The pts of frames inside the encoder.
    inside: VecDeque<i64>,
    primed: bool,
    /// The pts of a frame that only leads in.
    skip: Option<i64>,
}

impl AacEncoder {
    pub fn open() -> Result<Self, EncodeError> {
        super::init()?;
        let open = Opened::new()?;
        // SAFETY: `extradata` is null or points to `extradata_size` bytes for as long as the context lives.
        let extradata = unsafe {
            let c = open.encoder.as_ptr();
            match (*c).extradata.is_null() {
                true => return Err(open_error(ff::Error::InvalidData)),
                false => std::slice::from_raw_parts((*c).extradata, (*c).extradata_size as usize),
            }
        };
        Ok(Self {
            extradata: Bytes::copy_from_slice(extradata),
            open: None,
            held: VecDeque::new(),
            quiet_since: None,
            tone: prepared()?,
            last_pts: None,
        })
    }
}

impl AudioEncoder for AacEncoder {
    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        check(samples, pts, self.last_pts)?;
        self.last_pts = Some(pts);
        if samples.is_empty() && self.open.is_none() {
            self.held.push_back(pts);
            let due = if self.held.len() > DELAY { self.held.pop_front() } else { None };
            return Ok(due.map(|pts| self.tone.packet(pts)).into_iter().collect());
        }
        self.speak(samples, pts).map_err(|source| {
            tracing::warn!("the {NAME} encoder failed and is opened anew: {source}");
            self.open = None;
            EncodeError::Failed { codec: NAME, source }
        })
    }

    fn extradata(&self) -> Bytes {
        self.extradata.clone()
    }
}

impl AacEncoder {
    /// Through the encoder. It gets the room tone around what is said too, so that nothing is cut off at the seams.
    fn speak(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, ff::Error> {
        let mut out = Vec::new();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut open = Opened::new().map_err(|_| ff::Error::Unknown)?;
                let before = self.held.front().unwrap_or(&pts) - AAC_TICKS;
                out.extend(open.encode(&tone_frame(before), before)?);
                for held in self.held.drain(..) {
                    out.extend(open.encode(&tone_frame(held), held)?);
                }
                // What came before the held frames is out already.
                out.retain(|p: &EncodedPacket| p.pts > before);
                open.skip = Some(before);
                open
            }
        };
        if samples.is_empty() {
            self.quiet_since.get_or_insert(pts);
            out.extend(open.encode(&tone_frame(pts), pts)?);
        } else {
            self.quiet_since = None;
            out.extend(open.encode(samples, pts)?);
        }
        out.retain(|p| Some(p.pts) != open.skip);
        let quiet = self.quiet_since.is_some_and(|since| out.last().is_some_and(|p| p.pts >= since));
        if quiet {
            self.held.extend(open.inside.drain(..));
            self.quiet_since = None;
        } else {
            self.open = Some(open);
        }
        Ok(out)
    }
}

fn open_error(source: ff::Error) -> EncodeError {
    EncodeError::Open { codec: NAME, settings: format!("{SAMPLE_RATE} Hz stereo, {KBPS} kbit/s"), source }
}

impl Opened {
    fn new() -> Result<Self, EncodeError> {
        let found = ff::encoder::find_by_name(NAME).ok_or(EncodeError::Missing("AAC", "its own AAC encoder"))?;
        let mut audio = codec::context::Context::new_with_codec(found).encoder().audio().map_err(open_error)?;
        audio.set_rate(SAMPLE_RATE as i32);
        audio.set_format(FORMAT);
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_bit_rate(KBPS as usize * 1000);
        audio.set_time_base(Rational(1, SAMPLE_RATE as i32));
        audio.set_flags(codec::Flags::GLOBAL_HEADER);
        // SAFETY: the context is ours alone and not open yet; the profile has no setter in ffmpeg-next.
        unsafe { (*audio.as_mut_ptr()).profile = ffi::FF_PROFILE_AAC_LOW as _ };
        let encoder = audio.open_as(found).map_err(open_error)?;
        if encoder.frame_size() as usize != AAC_SAMPLES {
            return Err(open_error(ff::Error::Bug));
        }
        let mut frame = frame::Audio::new(FORMAT, AAC_SAMPLES, ChannelLayout::STEREO);
        frame.set_rate(SAMPLE_RATE);
        Ok(Self {
            encoder,
            frame,
            packet: ff::Packet::empty(),
            samples: 0,
            inside: VecDeque::new(),
            primed: false,
            skip: None,
        })
    }

    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, ff::Error> {
        // The encoder may still hold the frame before.
        // SAFETY: a valid frame with buffers of its own.
        let code = unsafe { ffi::av_frame_make_writable(self.frame.as_mut_ptr()) };
        if code < 0 {
            return Err(code.into());
        }
        for channel in 0..CHANNELS as usize {
            let plane = self.frame.plane_mut::<f32>(channel);
            for (to, from) in plane.iter_mut().zip(samples.iter().skip(channel).step_by(CHANNELS as usize)) {
                *to = clean(*from);
            }
        }
        self.frame.set_pts(Some(self.samples));
        self.samples += AAC_SAMPLES as i64;
        self.inside.push_back(pts);
        self.encoder.send_frame(&self.frame)?;
        let mut out = Vec::new();
        loop {
            match self.encoder.receive_packet(&mut self.packet) {
                Ok(()) => {}
                Err(ff::Error::Other { errno: ff::error::EAGAIN }) => return Ok(out),
                Err(e) => return Err(e),
            }
            if !std::mem::replace(&mut self.primed, true) {
                continue;
            }
            let Some(pts) = self.inside.pop_front() else { return Err(ff::Error::Bug) };
            let data = Bytes::copy_from_slice(self.packet.data().unwrap_or_default());
            out.push(Arc::new(Packet { track: Track::Audio, pts, duration: AAC_TICKS, key: true, data }));
        }
    }
}
