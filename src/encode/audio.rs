//! AAC-LC by FFmpeg's own encoder: 48 kHz, stereo, 160 kbit/s.

use super::{AAC_SAMPLES, AAC_TICKS, AudioEncoder, EncodeError, EncodedPacket, Packet, SAMPLE_RATE, Track};
use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::{ChannelLayout, Rational, codec, ffi, format, frame};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const KBPS: u32 = 160;
pub(super) const CHANNELS: u16 = 2;
const FORMAT: format::Sample = format::Sample::F32(format::sample::Type::Planar);
const NAME: &str = "aac";

/// The sound of a stream: there is always some, silence at least, because YouTube complains of a stream without.
///
/// FFmpeg's encoder begins with a packet of nothing but its own priming; it is dropped, so packets carry the pts of the
/// samples they decode to. A failed encoder costs the frames inside it and is opened anew at the next call.
pub struct AacEncoder {
    open: Option<Opened>,
    extradata: Bytes,
    last_pts: Option<i64>,
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
        Ok(Self { extradata: Bytes::copy_from_slice(extradata), open: Some(open), last_pts: None })
    }
}

impl AudioEncoder for AacEncoder {
    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        if !samples.is_empty() && samples.len() != AAC_SAMPLES * CHANNELS as usize {
            return Err(EncodeError::Samples { got: samples.len() });
        }
        if let Some(last) = self.last_pts.filter(|&last| pts <= last) {
            return Err(EncodeError::Order { pts, last });
        }
        self.last_pts = Some(pts);
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Opened::new()?),
        };
        open.encode(samples, pts).map_err(|source| {
            tracing::warn!("the {NAME} encoder failed and is opened anew: {source}");
            self.open = None;
            EncodeError::Failed { codec: NAME, source }
        })
    }

    fn extradata(&self) -> Bytes {
        self.extradata.clone()
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
        Ok(Self { encoder, frame, packet: ff::Packet::empty(), samples: 0, inside: VecDeque::new(), primed: false })
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
            if samples.is_empty() {
                plane.fill(0.0);
            }
            for (to, from) in plane.iter_mut().zip(samples.iter().skip(channel).step_by(CHANNELS as usize)) {
                // The encoder refuses a whole frame for one infinite sample.
                *to = if from.is_finite() { from.clamp(-1.0, 1.0) } else { 0.0 };
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
