//! Which encoders work on this machine.

use super::open::{self, Kind};
use super::{AacEncoder, EncodeError, OpusEncoder, Profile, VideoCodec, VideoSettings};

/// One line of `agentcast check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderStatus {
    /// FFmpeg's name, for example `h264_nvenc`.
    pub name: &'static str,
    /// The setting that asks for it; `None` for the audio encoders.
    pub codec: Option<VideoCodec>,
    /// Why it does not open, in plain words; `None` when it does.
    pub problem: Option<String>,
    /// No stream can do without it.
    pub required: bool,
    /// What a stream does without it when it does not open.
    pub without: &'static str,
}

const NO_STREAM: &str = "no stream starts";

/// Opens every encoder once, at 1280x720, 30 fps and 3,000 kbit/s, and closes it again.
pub fn probe() -> Vec<EncoderStatus> {
    let settings = VideoSettings {
        width: 1280,
        height: 720,
        fps: 30,
        kbps: 3000,
        codec: VideoCodec::Auto,
        profile: Profile::ConstrainedHigh,
        preset: "veryfast".into(),
    };
    let problem = |result: Result<(), EncodeError>| result.err().map(|e| e.to_string());
    let video = Kind::ALL.map(|kind| EncoderStatus {
        name: kind.name(),
        codec: Some(match kind {
            Kind::Nvenc => VideoCodec::Nvenc,
            Kind::Vaapi => VideoCodec::Vaapi,
            Kind::X264 => VideoCodec::X264,
        }),
        problem: match kind.has_device() {
            true => problem(super::init().and_then(|()| open::open(kind, &settings)).map(drop)),
            false => Some("no device for it on this machine".to_owned()),
        },
        required: kind == Kind::X264,
        without: if kind == Kind::X264 { NO_STREAM } else { "not needed: x264 does the work" },
    });
    let audio = [
        EncoderStatus {
            name: "aac",
            codec: None,
            problem: problem(AacEncoder::open().map(drop)),
            required: true,
            without: NO_STREAM,
        },
        EncoderStatus {
            name: "libopus",
            codec: None,
            problem: problem(OpusEncoder::open().map(drop)),
            required: false,
            without: "LiveKit rooms get the picture without sound; RTMP and recordings are not touched",
        },
    ];
    video.into_iter().chain(audio).collect()
}
