//! H.264 and AAC through FFmpeg, and the clock that says when a frame is due.

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

/// One access unit (Annex B H.264) or one AAC frame (raw, no ADTS).
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

/// What a muxer must know before the first packet. Sent again whenever the encoder was rebuilt with other values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub video_kbps: u32,
    /// SPS and PPS, Annex B.
    pub video_extradata: Bytes,
    pub audio_kbps: u32,
    pub sample_rate: u32,
    pub channels: u16,
    /// AudioSpecificConfig (ISO 14496-3).
    pub audio_extradata: Bytes,
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
    /// x264 preset, `veryfast` by default.
    pub preset: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoCodec {
    /// The first that opens: NVENC, VA-API, x264.
    #[default]
    Auto,
    X264,
    Nvenc,
    Vaapi,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    ConstrainedBaseline,
    #[default]
    ConstrainedHigh,
}

/// Turns pictures into access units. One a stream.
pub trait VideoEncoder: Send {
    /// Encodes one picture shown at `pts` ([`TICKS`]). `changed` false: it equals the one before. `idr` forces an IDR.
    /// Returns what the encoder gave out, without delay: one packet a picture.
    fn encode(&mut self, frame: &Frame, pts: i64, changed: bool, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError>;
    /// Changes the bit rate from the next picture on, which becomes an IDR.
    fn set_kbps(&mut self, kbps: u32) -> Result<(), EncodeError>;
    /// SPS and PPS, Annex B.
    fn extradata(&self) -> Bytes;
}

/// Turns sound into AAC-LC frames. One a stream.
pub trait AudioEncoder: Send {
    /// Encodes `samples` (interleaved stereo f32, exactly 1,024 a channel; empty: silence) beginning at `pts`.
    fn encode(&mut self, samples: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError>;
    /// AudioSpecificConfig.
    fn extradata(&self) -> Bytes;
}

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("no {0} encoder in this FFmpeg; install libavcodec with {1}")]
    Missing(&'static str, &'static str),
    #[error("the {codec} encoder does not open with {settings}: {source}")]
    Open { codec: &'static str, settings: String, source: ffmpeg_next::Error },
    #[error("the {codec} encoder failed: {source}")]
    Failed { codec: &'static str, source: ffmpeg_next::Error },
}
