//! Opening an H.264 encoder of libavcodec, so that all of them behave alike: constant bit rate, no B slices, one reference,
//! an IDR when it is told to make one and at no other time, parameter sets in the extradata only, BT.709 limited range.

use super::annexb::{self, nal};
use super::{EncodeError, Profile, VideoCodec, VideoSettings};
use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::{Dictionary, Rational, codec, ffi, format::Pixel, frame, picture};
use std::ptr;

/// An access unit as the encoder gave it out.
pub(super) struct Coded {
    pub key: bool,
    pub data: Bytes,
}

/// An open encoder. Access units come out in the order of the pictures.
pub(super) trait Codec: Send {
    fn name(&self) -> &'static str;
    /// SPS and PPS, Annex B.
    fn extradata(&self) -> Bytes;
    /// Encodes picture number `n` (0, 1, 2 …, without gaps: the rate control counts pictures) and appends what came out.
    fn encode(&mut self, picture: &mut frame::Video, n: i64, idr: bool, out: &mut Vec<Coded>) -> Result<(), ff::Error>;
}

/// An encoder to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nvenc,
    Vaapi,
    X264,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Nvenc, Kind::Vaapi, Kind::X264];

    /// What to try for a setting, in order: x264 is the last resort of all.
    pub fn candidates(codec: VideoCodec) -> &'static [Kind] {
        match codec {
            VideoCodec::Auto => &Self::ALL,
            VideoCodec::X264 => &[Kind::X264],
            VideoCodec::Nvenc => &[Kind::Nvenc, Kind::X264],
            VideoCodec::Vaapi => &[Kind::Vaapi, Kind::X264],
        }
    }

    /// [`Kind::candidates`], for `Auto` without those whose device this machine does not have: FFmpeg says a lot when it
    /// looks for a missing one.
    pub fn candidates_here(codec: VideoCodec) -> &'static [Kind] {
        match codec {
            VideoCodec::Auto if Kind::Nvenc.has_device() => &Self::ALL,
            VideoCodec::Auto if Kind::Vaapi.has_device() => &Self::ALL[1..],
            VideoCodec::Auto => &Self::ALL[2..],
            _ => Self::candidates(codec),
        }
    }

    /// Whether the machine has a device for it. Outside Linux nobody knows, so it is tried.
    pub fn has_device(self) -> bool {
        let exists = |path: &str| std::path::Path::new(path).exists();
        let linux = cfg!(target_os = "linux");
        match self {
            Kind::Nvenc => !linux || exists("/dev/nvidiactl") || exists("/dev/dxg"),
            Kind::Vaapi => !linux || (128..136).any(|n| exists(&format!("/dev/dri/renderD{n}"))),
            Kind::X264 => true,
        }
    }

    /// FFmpeg's name of the encoder.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nvenc => "h264_nvenc",
            Kind::Vaapi => "h264_vaapi",
            Kind::X264 => "libx264",
        }
    }

    fn needs(self) -> &'static str {
        match self {
            Kind::Nvenc => "NVENC",
            Kind::Vaapi => "VA-API",
            Kind::X264 => "libx264",
        }
    }
}

/// Pictures between two I pictures of the encoder's own making: never within a broadcast, [`super::video`] counts itself.
const NO_GOP: u32 = 1 << 24;

/// Size of the decoder's buffer in bits. A quarter second, a little less: with a second of it the rate within a GOP is
/// 38 % off and a platform's CBR check per second fails; with 700 to 750 kbit at 3,000 kbit/s it passes.
fn vbv_bits(kbps: u32) -> i32 {
    (kbps * 240) as i32
}

/// Opens `kind`.
///
/// Constrained High is High with frame pictures only and no B slices; x264 has no such profile, so it is asked for High
/// and the two flags are set in the SPS afterwards. One thread and whole-picture slices: a stream has one core, and
/// sliced threads cost quality; streams run beside each other instead.
pub(super) fn open(kind: Kind, s: &VideoSettings) -> Result<Box<dyn Codec>, EncodeError> {
    let name = kind.name();
    let found = ff::encoder::find_by_name(name).ok_or(EncodeError::Missing("H.264", kind.needs()))?;
    let failed = |source| EncodeError::Open {
        codec: name,
        settings: format!("{}x{} at {} fps, {} kbit/s, preset {}", s.width, s.height, s.fps, s.kbps, s.preset),
        source,
    };

    let mut video = codec::context::Context::new_with_codec(found).encoder().video().map_err(failed)?;
    let bits = s.kbps as usize * 1000;
    video.set_width(s.width);
    video.set_height(s.height);
    video.set_format(Pixel::NV12);
    video.set_time_base(Rational(1, s.fps as i32));
    video.set_frame_rate(Some(Rational(s.fps as i32, 1)));
    video.set_aspect_ratio(Rational(1, 1));
    video.set_gop(NO_GOP);
    video.set_max_b_frames(0);
    video.set_bit_rate(bits);
    video.set_max_bit_rate(bits);
    video.set_flags(codec::Flags::GLOBAL_HEADER);
    video.set_colorspace(ff::color::Space::BT709);
    video.set_color_range(ff::color::Range::MPEG);
    video.set_color_primaries(ff::color::Primaries::BT709);
    video.set_color_transfer_characteristic(ff::color::TransferCharacteristic::BT709);
    // SAFETY: the context is ours alone and not open yet; these fields have no setter in ffmpeg-next.
    unsafe {
        let c = video.as_mut_ptr();
        (*c).rc_buffer_size = vbv_bits(s.kbps);
        (*c).refs = 1;
        (*c).thread_count = 1;
    }

    let mut surfaces = None;
    let mut options = Dictionary::new();
    let baseline = s.profile == Profile::ConstrainedBaseline;
    match kind {
        Kind::X264 => {
            options.set("preset", &s.preset);
            options.set("tune", "zerolatency");
            options.set("profile", if baseline { "baseline" } else { "high" });
            options.set("forced-idr", "1");
            // force-cfr: without it x264 looks one picture ahead. No B-frames, one reference and no weights also mean
            // POC type 2, which a prepared skip picture needs. nal-hrd=cbr turns the filler on.
            let own = "keyint=infinite:scenecut=0:bframes=0:ref=1:weightp=0:force-cfr=1:nal-hrd=cbr";
            options.set("x264-params", own);
        }
        Kind::Nvenc => {
            for (key, value) in [
                ("preset", "p4"),
                ("tune", "ll"),
                ("profile", if baseline { "baseline" } else { "high" }),
                ("rc", "cbr"),
                ("rc-lookahead", "0"),
                ("forced-idr", "1"),
                ("no-scenecut", "1"),
                ("strict_gop", "1"),
                ("zerolatency", "1"),
                ("delay", "0"),
                // Filler: known to newer builds only; older ones leave the option unused.
                ("cbr_padding", "1"),
            ] {
                options.set(key, value);
            }
        }
        Kind::Vaapi => {
            for (key, value) in [
                ("profile", if baseline { "constrained_baseline" } else { "high" }),
                ("rc_mode", "CBR"),
                ("idr_interval", "0"),
                ("async_depth", "1"),
                ("sei", "timing"),
            ] {
                options.set(key, value);
            }
            surfaces = Some(Surfaces::attach(&mut video, s).map_err(failed)?);
        }
    }

    let encoder = video.open_with(options).map_err(failed)?;
    // SAFETY: `extradata` is null or points to `extradata_size` bytes for as long as the context lives.
    let extradata = unsafe {
        let c = encoder.as_ptr();
        match (*c).extradata.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts((*c).extradata, (*c).extradata_size as usize),
        }
    };
    let has = |want| annexb::nal_units(extradata).any(|u| annexb::nal_type(u) == want);
    if !has(nal::SPS) || !has(nal::PPS) {
        return Err(failed(ff::Error::InvalidData));
    }
    let extradata = match s.profile {
        Profile::ConstrainedHigh => annexb::mark_constrained_high(extradata),
        Profile::ConstrainedBaseline => Bytes::copy_from_slice(extradata),
    };
    Ok(Box::new(Opened { kind, encoder, extradata, surfaces, packet: ff::Packet::empty() }))
}

struct Opened {
    kind: Kind,
    encoder: ff::encoder::video::Encoder,
    extradata: Bytes,
    surfaces: Option<Surfaces>,
    packet: ff::Packet,
}

impl Codec for Opened {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn extradata(&self) -> Bytes {
        self.extradata.clone()
    }

    fn encode(&mut self, picture: &mut frame::Video, n: i64, idr: bool, out: &mut Vec<Coded>) -> Result<(), ff::Error> {
        picture.set_pts(Some(n));
        picture.set_kind(if idr { picture::Type::I } else { picture::Type::None });
        match &self.surfaces {
            Some(surfaces) => {
                let surface = surfaces.upload(picture)?;
                self.encoder.send_frame(&surface)?;
            }
            None => self.encoder.send_frame(picture)?,
        }
        loop {
            match self.encoder.receive_packet(&mut self.packet) {
                Ok(()) => {}
                Err(ff::Error::Other { errno: ff::error::EAGAIN }) => return Ok(()),
                Err(e) => return Err(e),
            }
            let data = self.packet.data().unwrap_or_default();
            let data = match self.kind {
                Kind::X264 => Bytes::copy_from_slice(data),
                // Hardware encoders repeat the parameter sets in front of an IDR whatever the global header flag says.
                Kind::Nvenc | Kind::Vaapi => match annexb::without(data, &[nal::SPS, nal::PPS, nal::AUD]) {
                    Some(clean) => clean.into(),
                    None => Bytes::copy_from_slice(data),
                },
            };
            out.push(Coded { key: self.packet.is_key(), data });
        }
    }
}

/// VA-API encodes pictures in GPU memory only: the pool they are uploaded to.
struct Surfaces(*mut ffi::AVBufferRef);

// SAFETY: a reference to a reference-counted buffer whose counter is atomic; hwcontext functions may run on any thread.
unsafe impl Send for Surfaces {}

impl Surfaces {
    /// Opens the default VA-API device and makes the encoder take its surfaces.
    fn attach(video: &mut ff::encoder::video::Video, s: &VideoSettings) -> Result<Self, ff::Error> {
        let check = |code: i32| if code < 0 { Err(ff::Error::from(code)) } else { Ok(()) };
        // SAFETY: every reference made here is either handed on to an owner that drops it or dropped here.
        unsafe {
            let mut device = ptr::null_mut();
            let vaapi = ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI;
            check(ffi::av_hwdevice_ctx_create(&mut device, vaapi, ptr::null(), ptr::null_mut(), 0))?;
            let pool = ffi::av_hwframe_ctx_alloc(device);
            ffi::av_buffer_unref(&mut device);
            if pool.is_null() {
                return Err(ff::Error::Other { errno: ff::error::ENOMEM });
            }
            let surfaces = Surfaces(pool);
            let context = (*pool).data.cast::<ffi::AVHWFramesContext>();
            (*context).format = ffi::AVPixelFormat::AV_PIX_FMT_VAAPI;
            (*context).sw_format = ffi::AVPixelFormat::AV_PIX_FMT_NV12;
            (*context).width = s.width as i32;
            (*context).height = s.height as i32;
            // One being uploaded, one in the encoder, one reference, and some for drivers that keep more.
            (*context).initial_pool_size = 8;
            check(ffi::av_hwframe_ctx_init(pool))?;
            video.set_format(Pixel::VAAPI);
            (*video.as_mut_ptr()).hw_frames_ctx = ffi::av_buffer_ref(pool);
            Ok(surfaces)
        }
    }

    fn upload(&self, picture: &frame::Video) -> Result<frame::Video, ff::Error> {
        let mut surface = frame::Video::empty();
        // SAFETY: both frames are valid; `surface` is empty, as `av_hwframe_get_buffer` asks for.
        let code = unsafe {
            match ffi::av_hwframe_get_buffer(self.0, surface.as_mut_ptr(), 0) {
                0 => match ffi::av_hwframe_transfer_data(surface.as_mut_ptr(), picture.as_ptr(), 0) {
                    0 => ffi::av_frame_copy_props(surface.as_mut_ptr(), picture.as_ptr()),
                    e => e,
                },
                e => e,
            }
        };
        if code < 0 { Err(code.into()) } else { Ok(surface) }
    }
}

impl Drop for Surfaces {
    fn drop(&mut self) {
        // SAFETY: our own reference, dropped once.
        unsafe { ffi::av_buffer_unref(&mut self.0) }
    }
}
