//! H.264, AAC and Opus through FFmpeg, and the clock that says when a frame is due.

pub mod annexb;
mod audio;
mod clock;
mod open;
mod opus;
mod picture;
mod probe;
mod tone;
mod video;

pub use audio::AacEncoder;
pub use clock::{AAC_SAMPLES, AAC_TICKS, AudioClock, Due, FrameClock, GOP_SECONDS, SAMPLE_RATE};
pub use opus::{OPUS_SAMPLES, OPUS_TICKS, OpusEncoder};
pub use probe::{EncoderStatus, probe};
pub use video::H264Encoder;

use crate::draw::Frame;
use bytes::Bytes;
use std::sync::Arc;

/// Ticks a second of every timestamp that leaves this room. One video frame at 24, 25, 30, 50 or 60 fps and one AAC frame
/// of 1,024 samples at 48 kHz (1,920 ticks) are whole numbers of them.
pub const TICKS: i64 = 90_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Track {
    Video,
    Audio,
}

/// One access unit (Annex B H.264), one AAC frame (raw, no ADTS) or one Opus packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub track: Track,
    /// Presentation time in [`TICKS`] since the stream began. Without B-frames dts equals it.
    pub pts: i64,
    /// Ticks until the next packet of the track.
    pub duration: i64,
    /// An IDR picture (every audio packet is one).
    pub key: bool,
    pub data: Bytes,
}

/// What every destination gets.
pub type EncodedPacket = Arc<Packet>;

/// What a muxer must know before the first packet. Sent again whenever the encoder was rebuilt with other values:
/// compare [`VideoEncoder::extradata`] after an error and after [`VideoEncoder::set_kbps`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub video_kbps: u32,
    /// SPS and PPS, Annex B.
    pub video_extradata: Bytes,
    pub audio_codec: AudioCodec,
    /// 0: there is no sound in this codec, its encoder does not open.
    pub audio_kbps: u32,
    pub sample_rate: u32,
    pub channels: u16,
    /// AAC: AudioSpecificConfig (ISO 14496-3). Opus: empty, nothing needs to be told beside the packets.
    pub audio_extradata: Bytes,
}

/// How the sound of a stream is packed. A destination takes one of them, see
/// [`Destination::audio_codec`](crate::output::Destination::audio_codec).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC-LC, raw, 1,024 samples a packet. RTMP, files, the preview.
    #[default]
    Aac,
    /// 960 samples (20 ms) a packet. WebRTC.
    Opus,
}

impl AudioCodec {
    /// Bit rate of what is said, kbit/s.
    pub fn kbps(self) -> u32 {
        match self {
            AudioCodec::Aac => audio::KBPS,
            AudioCodec::Opus => opus::KBPS,
        }
    }
}

impl StreamInfo {
    /// What two encoders of a stream make now.
    pub fn new(settings: &VideoSettings, video: &dyn VideoEncoder, audio: &dyn AudioEncoder) -> Self {
        Self {
            width: settings.width,
            height: settings.height,
            fps: settings.fps,
            video_kbps: settings.kbps,
            video_extradata: video.extradata(),
            audio_codec: audio.codec(),
            audio_kbps: audio.codec().kbps(),
            sample_rate: SAMPLE_RATE,
            channels: audio::CHANNELS,
            audio_extradata: audio.extradata(),
        }
    }
}

/// Settings of the video encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSettings {
    pub width: u32,
    pub height: u32,
    /// 24, 25, 30, 50 or 60.
    pub fps: u32,
    /// Constant bit rate, kbit/s.
    pub kbps: u32,
    pub codec: VideoCodec,
    pub profile: Profile,
    /// x264 preset, `veryfast` by default. Hardware encoders do not use it.
    pub preset: String,
}

impl VideoSettings {
    /// x264's presets that keep up with a live picture on one core, fastest first.
    pub const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];

    /// The bit rate of a picture for which none is set: 3,000 kbit/s up to 720 lines, 6,000 above (Twitch's most), half more
    /// at 50 and 60 fps.
    #[must_use]
    pub fn usual_kbps(height: u32, fps: u32) -> u32 {
        let base = if height > 720 { 6_000 } else { 3_000 };
        base + if fps > 30 { base / 2 } else { 0 }
    }

    /// Checks every field against its limits.
    pub fn check(&self) -> Result<(), EncodeError> {
        let refuse = |field, value: String, limit| Err(EncodeError::Setting { field, value, limit });
        // 1920 is the longest side that both Twitch and YouTube take as H.264, upright or not.
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if !(16..=1920).contains(&side) || side % 2 != 0 {
                return refuse(field, side.to_string(), "even, 16 to 1920 px");
            }
        }
        if ![24, 25, 30, 50, 60].contains(&self.fps) {
            return refuse("fps", self.fps.to_string(), "24, 25, 30, 50 or 60");
        }
        if !(100..=50_000).contains(&self.kbps) {
            return refuse("kbps", self.kbps.to_string(), "100 to 50000 kbit/s");
        }
        if !Self::PRESETS.contains(&self.preset.as_str()) {
            return refuse("preset", self.preset.clone(), "ultrafast, superfast, veryfast, faster, fast or medium");
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoCodec {
    /// The first that opens: NVENC, VA-API, x264.
    #[default]
    Auto,
    X264,
    /// x264 if it does not open. Its CBR has filler only where the driver knows it.
    Nvenc,
    /// x264 if it does not open. Filler is the driver's choice. Built, but never yet run on hardware.
    Vaapi,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// For WebRTC: no CABAC, no 8x8 transform.
    ConstrainedBaseline,
    /// High with frame pictures only and no B slices, and marked so in the SPS. The preset `ultrafast` uses none of High's
    /// tools and makes a Baseline stream.
    #[default]
    ConstrainedHigh,
}

/// Turns pictures into access units. One a stream.
pub trait VideoEncoder: Send {
    /// Encodes one picture shown at `pts` ([`TICKS`], strictly rising). `changed` false: it equals the one before. `idr`
    /// forces an IDR. Returns what the encoder gave out, without delay: one packet a picture.
    ///
    /// An error costs this picture and no more: call again with the next one, and an IDR follows.
    fn encode(&mut self, frame: &Frame, pts: i64, changed: bool, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError>;
    /// Changes the bit rate from the next picture on, which becomes an IDR.
    fn set_kbps(&mut self, kbps: u32) -> Result<(), EncodeError>;
    /// SPS and PPS, Annex B. They are not repeated in the packets.
    fn extradata(&self) -> Bytes;
    /// Whether the picture at `pts` begins a GOP by itself: what came before it is whole.
    fn begins_gop(&self, pts: i64) -> bool {
        let _ = pts;
        true
    }
}

/// Turns sound into packets of one codec. One a stream and codec.
pub trait AudioEncoder: Send {
    /// Encodes `samples` (interleaved stereo f32, exactly 1,024 a channel; empty: nobody speaks) beginning at `pts`. Packets
    /// come out up to two frames (43 ms) later, with the pts of the samples they decode to.
    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError>;
    /// AAC: AudioSpecificConfig. Opus: empty.
    fn extradata(&self) -> Bytes;
    /// What it makes.
    fn codec(&self) -> AudioCodec {
        AudioCodec::Aac
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} {value} is not possible: {limit}")]
    Setting { field: &'static str, value: String, limit: &'static str },
    #[error("a picture of {width}x{height} cannot be encoded: {reason}")]
    Picture { width: u32, height: u32, reason: &'static str },
    #[error("{got} samples in an audio frame: 2048 (1024 a channel, interleaved) or none")]
    Samples { got: usize },
    #[error("pts {pts} does not follow {last}: timestamps must rise")]
    Order { pts: i64, last: i64 },
    #[error("no {0} encoder in this FFmpeg; install libavcodec with {1}")]
    Missing(&'static str, &'static str),
    #[error("the {codec} encoder does not open with {settings}: {source}")]
    Open { codec: &'static str, settings: String, source: ffmpeg_next::Error },
    #[error("the {codec} encoder failed: {source}")]
    Failed { codec: &'static str, source: ffmpeg_next::Error },
}

/// Registers FFmpeg's codecs once a process; every entry into this room calls it.
fn init() -> Result<(), EncodeError> {
    static DONE: std::sync::OnceLock<Result<(), ffmpeg_next::Error>> = std::sync::OnceLock::new();
    DONE.get_or_init(ffmpeg_next::init).map_err(|source| EncodeError::Failed { codec: "FFmpeg", source })
}
