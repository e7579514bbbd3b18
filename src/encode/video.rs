//! The video encoder of a stream: its GOP, unchanged pictures, and its rebuilding after a failure.

use super::open::{self, Codec, Kind};
use super::{EncodeError, EncodedPacket, GOP_SECONDS, Packet, TICKS, Track, VideoEncoder, VideoSettings, picture};
use crate::draw::Frame;
use bytes::Bytes;
use ffmpeg_next as ff;
use std::collections::VecDeque;
use std::sync::Arc;

/// Pictures that may wait inside an encoder before it counts as stuck. x264 holds none; hardware may hold a few.
const MAX_DELAY: usize = 8;

type Opener = Box<dyn FnMut(Kind, &VideoSettings) -> Result<Box<dyn Codec>, EncodeError> + Send>;

/// H.264 by the first encoder that opens.
///
/// Every `2 * fps` frames of media time there is an IDR, and any other IDR (demanded, after a failure, after a change of bit
/// rate) restarts that count, so that two never come close together by accident. A failure costs the picture that met it:
/// the next call opens a new encoder and gives an IDR. If an encoder keeps failing, the next in line takes over; with
/// none left it is tried again once a second.
pub struct H264Encoder {
    settings: VideoSettings,
    opener: Opener,
    /// What to open next time, best first; never empty.
    candidates: &'static [Kind],
    codec: Option<Box<dyn Codec>>,
    extradata: Bytes,
    /// Pictures the open encoder got.
    count: i64,
    /// The pts of pictures inside the encoder.
    inside: VecDeque<i64>,
    /// The picture before, as the encoder takes it.
    kept: Option<ff::frame::Video>,
    last_pts: Option<i64>,
    /// Media time of the next IDR.
    next_idr: i64,
    /// Failures since the last packet, and the last of them.
    failures: u32,
    last_error: (&'static str, ff::Error),
    retry_at: i64,
}

impl H264Encoder {
    /// Opens an encoder. Falls back along the order of [`super::VideoCodec`], with a log line for each that does not open; `Auto` tries no
    /// encoder whose device the machine lacks.
    pub fn open(settings: VideoSettings) -> Result<Self, EncodeError> {
        let candidates = Kind::candidates_here(settings.codec);
        Self::with_opener(settings, candidates, Box::new(open::open))
    }

    fn with_opener(
        settings: VideoSettings,
        mut candidates: &'static [Kind],
        mut opener: Opener,
    ) -> Result<Self, EncodeError> {
        super::init()?;
        settings.check()?;
        let codec = open_first(&mut opener, &mut candidates, &settings)?;
        Ok(Self {
            extradata: codec.extradata(),
            settings,
            opener,
            candidates,
            codec: Some(codec),
            count: 0,
            inside: VecDeque::new(),
            kept: None,
            last_pts: None,
            next_idr: i64::MIN,
            failures: 0,
            last_error: ("h264", ff::Error::Unknown),
            retry_at: i64::MIN,
        })
    }

    /// FFmpeg's name of the encoder in use, for example `libx264`.
    pub fn name(&self) -> &'static str {
        self.codec.as_ref().map_or(self.candidates[0].name(), |c| c.name())
    }

    /// The open encoder; a new one if the last one failed.
    fn codec(&mut self, pts: i64) -> Result<(), EncodeError> {
        if self.codec.is_some() {
            return Ok(());
        }
        // One failure may be bad luck; a second one without a packet between them is the encoder's fault.
        if self.failures > 1 && self.candidates.len() > 1 {
            tracing::warn!("{} keeps failing, trying {}", self.candidates[0].name(), self.candidates[1].name());
            self.candidates = &self.candidates[1..];
            self.failures = 0;
        } else if self.failures > 1 && pts < self.retry_at {
            let (codec, source) = self.last_error;
            return Err(EncodeError::Failed { codec, source });
        }
        self.retry_at = pts + TICKS;
        let codec = open_first(&mut self.opener, &mut self.candidates, &self.settings).inspect_err(|error| {
            self.failures += 1;
            if let EncodeError::Open { codec, source, .. } = error {
                self.last_error = (codec, *source);
            }
        })?;
        tracing::info!("{} opened again", codec.name());
        self.install(codec);
        Ok(())
    }

    /// Takes a newly opened encoder into use; its first picture is an IDR.
    fn install(&mut self, codec: Box<dyn Codec>) {
        self.extradata = codec.extradata();
        self.codec = Some(codec);
        self.count = 0;
        self.inside.clear();
        self.next_idr = i64::MIN;
    }

    /// The one place that answers an unchanged picture. Now the encoder simply gets the old one again, without a copy or
    /// a conversion, and spends its bits on refining it. A prepared all-skip picture can be returned here instead: the
    /// encoder is opened for that (one reference, no weights, POC type 2, IDRs by our own count).
    fn unchanged(&mut self, pts: i64, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError> {
        self.push(pts, idr)
    }

    /// Encodes the kept picture.
    fn push(&mut self, pts: i64, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError> {
        self.codec(pts)?;
        let (Some(codec), Some(picture)) = (&mut self.codec, &mut self.kept) else {
            return Ok(Vec::new());
        };
        let idr = idr || pts >= self.next_idr;
        let mut coded = Vec::with_capacity(1);
        self.inside.push_back(pts);
        let name = codec.name();
        let result = codec.encode(picture, self.count, idr, &mut coded).and_then(|()| {
            let stuck = self.inside.len() > MAX_DELAY + coded.len() || coded.len() > self.inside.len();
            if stuck { Err(ff::Error::Bug) } else { Ok(()) }
        });
        if let Err(source) = result {
            tracing::warn!("{name} failed, a new encoder follows with an IDR: {source}");
            self.codec = None;
            self.failures += 1;
            self.last_error = (name, source);
            return Err(EncodeError::Failed { codec: name, source });
        }
        self.count += 1;
        if idr {
            self.next_idr = pts + i64::from(GOP_SECONDS) * TICKS;
        }
        if !coded.is_empty() {
            self.failures = 0;
        }
        let duration = TICKS / i64::from(self.settings.fps);
        let left = coded.len();
        let packets = coded.into_iter().zip(self.inside.drain(..left));
        Ok(packets
            .map(|(c, pts)| Arc::new(Packet { track: Track::Video, pts, duration, key: c.key, data: c.data }))
            .collect())
    }
}

impl VideoEncoder for H264Encoder {
    fn begins_gop(&self, pts: i64) -> bool {
        pts >= self.next_idr
    }

    fn encode(&mut self, frame: &Frame, pts: i64, changed: bool, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError> {
        if let Some(last) = self.last_pts.filter(|&last| pts <= last) {
            return Err(EncodeError::Order { pts, last });
        }
        if !changed && self.kept.is_some() {
            self.last_pts = Some(pts);
            return self.unchanged(pts, idr);
        }
        self.kept = Some(picture::wrap(frame, self.settings.width, self.settings.height)?);
        self.last_pts = Some(pts);
        self.push(pts, idr)
    }

    fn set_kbps(&mut self, kbps: u32) -> Result<(), EncodeError> {
        if kbps == self.settings.kbps {
            return Ok(());
        }
        let settings = VideoSettings { kbps, ..self.settings.clone() };
        settings.check()?;
        // x264 refuses another rate under nal-hrd, so a new encoder takes over. If it does not open, the old one stays.
        let codec = open_first(&mut self.opener, &mut self.candidates, &settings)?;
        self.settings = settings;
        self.install(codec);
        Ok(())
    }

    fn extradata(&self) -> Bytes {
        self.extradata.clone()
    }
}

/// Opens the first of the candidates that opens and leaves the list at that one.
fn open_first(
    opener: &mut Opener,
    candidates: &mut &'static [Kind],
    settings: &VideoSettings,
) -> Result<Box<dyn Codec>, EncodeError> {
    loop {
        match (opener(candidates[0], settings), candidates.len()) {
            (Ok(codec), _) => {
                tracing::info!("video encoder: {}", codec.name());
                return Ok(codec);
            }
            (Err(error), 0 | 1) => return Err(error),
            (Err(error), _) => {
                tracing::warn!("{error}; trying {}", candidates[1].name());
                *candidates = &candidates[1..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Nv12, Size};
    use crate::encode::{Profile, VideoCodec};
    use std::sync::Mutex;

    /// What the fake encoders are told to do, and what was asked of them.
    #[derive(Default)]
    struct Script {
        /// Kinds that do not open.
        closed: Vec<Kind>,
        /// Kinds that fail at every picture.
        broken: Vec<Kind>,
        /// Fails at this picture, counted over all encoders.
        fail_at: Option<usize>,
        pictures: usize,
        opened: Vec<(Kind, u32)>,
        /// Addresses of the luma that was encoded.
        seen: Vec<usize>,
    }

    struct Fake(Kind, Arc<Mutex<Script>>);

    impl Codec for Fake {
        fn name(&self) -> &'static str {
            self.0.name()
        }
        fn extradata(&self) -> Bytes {
            Bytes::from_static(b"x")
        }
        fn encode(
            &mut self,
            picture: &mut ff::frame::Video,
            _: i64,
            idr: bool,
            out: &mut Vec<open::Coded>,
        ) -> Result<(), ff::Error> {
            let mut script = self.1.lock().unwrap();
            script.pictures += 1;
            script.seen.push(picture.data(0).as_ptr() as usize);
            if script.broken.contains(&self.0) || script.fail_at == Some(script.pictures) {
                return Err(ff::Error::External);
            }
            out.push(open::Coded { key: idr, data: Bytes::new() });
            Ok(())
        }
    }

    fn encoder(codec: VideoCodec, script: Script) -> (Result<H264Encoder, EncodeError>, Arc<Mutex<Script>>) {
        let script = Arc::new(Mutex::new(script));
        let shared = script.clone();
        let opener = move |kind, s: &VideoSettings| -> Result<Box<dyn Codec>, EncodeError> {
            let mut script = shared.lock().unwrap();
            script.opened.push((kind, s.kbps));
            match script.closed.contains(&kind) {
                true => Err(EncodeError::Missing("H.264", "it")),
                false => Ok(Box::new(Fake(kind, shared.clone()))),
            }
        };
        let settings = VideoSettings {
            width: 16,
            height: 16,
            fps: 30,
            kbps: 1000,
            codec,
            profile: Profile::ConstrainedHigh,
            preset: "veryfast".into(),
        };
        let candidates = Kind::candidates(settings.codec);
        (H264Encoder::with_opener(settings, candidates, Box::new(opener)), script)
    }

    fn picture() -> Frame {
        Arc::new(Nv12 { size: Size { w: 16, h: 16 }, stride: 16, data: vec![9; 384] })
    }

    /// `I` an IDR, `P` another picture, `x` an error.
    fn drive(encoder: &mut H264Encoder, frames: std::ops::Range<i64>) -> String {
        let picture = picture();
        frames
            .map(|n| match encoder.encode(&picture, n * 3000, true, false) {
                Ok(p) if p.len() == 1 && p[0].pts == n * 3000 && p[0].duration == 3000 => ['P', 'I'][p[0].key as usize],
                Ok(_) => '?',
                Err(_) => 'x',
            })
            .collect()
    }

    #[test]
    fn hardware_that_does_not_open_gives_way_to_x264() {
        let closed = vec![Kind::Nvenc, Kind::Vaapi];
        let (encoder, script) = encoder(VideoCodec::Auto, Script { closed, ..Script::default() });
        assert_eq!(encoder.unwrap().name(), "libx264");
        let order: Vec<_> = script.lock().unwrap().opened.iter().map(|o| o.0).collect();
        assert_eq!(order, Kind::ALL);
    }

    #[test]
    fn nothing_opens_is_an_error() {
        let (encoder, _) = encoder(VideoCodec::Vaapi, Script { closed: Kind::ALL.to_vec(), ..Script::default() });
        assert!(encoder.is_err());
    }

    #[test]
    fn failed_picture_costs_one_picture_then_an_idr_and_a_whole_gop() {
        let (encoder, script) = encoder(VideoCodec::X264, Script { fail_at: Some(4), ..Script::default() });
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..6), "IPPxIP");
        assert_eq!(drive(&mut encoder, 6..64), "P".repeat(58));
        assert_eq!(drive(&mut encoder, 64..66), "IP", "60 pictures after the one at 4");
        assert_eq!(script.lock().unwrap().opened.len(), 2);
    }

    #[test]
    fn hardware_that_keeps_failing_gives_way_to_the_next() {
        let script = Script { broken: vec![Kind::Nvenc], closed: vec![Kind::Vaapi], ..Script::default() };
        let (encoder, script) = encoder(VideoCodec::Auto, script);
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..5), "xxIPP");
        let order: Vec<_> = script.lock().unwrap().opened.iter().map(|o| o.0).collect();
        assert_eq!(order, [Kind::Nvenc, Kind::Nvenc, Kind::Vaapi, Kind::X264]);
    }

    #[test]
    fn last_encoder_that_keeps_failing_is_tried_once_a_second() {
        let (encoder, script) = encoder(VideoCodec::X264, Script { broken: vec![Kind::X264], ..Script::default() });
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..300), "x".repeat(300));
        let opened = script.lock().unwrap().opened.len();
        assert!((10..=13).contains(&opened), "{opened} times in 10 s");
        script.lock().unwrap().broken.clear();
        assert_eq!(drive(&mut encoder, 400..402), "IP");
    }

    #[test]
    fn idr_on_demand_restarts_the_gop() {
        let (encoder, _) = encoder(VideoCodec::X264, Script::default());
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..59), format!("I{}", "P".repeat(58)));
        assert!(encoder.encode(&picture(), 59 * 3000, true, true).unwrap()[0].key);
        assert_eq!(drive(&mut encoder, 60..121), format!("{}IP", "P".repeat(59)));
    }

    #[test]
    fn skipped_pictures_do_not_stretch_the_gop() {
        let (encoder, _) = encoder(VideoCodec::X264, Script::default());
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..30), format!("I{}", "P".repeat(29)));
        assert_eq!(drive(&mut encoder, 50..61), "PPPPPPPPPPI");
        assert_eq!(drive(&mut encoder, 125..127), "IP", "the one due at 120 was skipped");
    }

    #[test]
    fn unchanged_picture_is_the_old_one_without_a_copy() {
        let (encoder, script) = encoder(VideoCodec::X264, Script::default());
        let mut encoder = encoder.unwrap();
        let (a, b) = (picture(), picture());
        encoder.encode(&a, 0, false, false).unwrap();
        encoder.encode(&b, 3000, false, false).unwrap();
        encoder.encode(&b, 6000, true, false).unwrap();
        let address = |p: &Frame| p.data.as_ptr() as usize;
        assert_eq!(script.lock().unwrap().seen, [address(&a), address(&a), address(&b)]);
        assert_eq!(Arc::strong_count(&a), 1);
    }

    #[test]
    fn pts_that_does_not_rise_is_refused() {
        let (encoder, _) = encoder(VideoCodec::X264, Script::default());
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 5..6), "I");
        for pts in [15_000, 14_999] {
            let error = encoder.encode(&picture(), pts, true, false).unwrap_err();
            assert!(matches!(error, EncodeError::Order { last: 15_000, .. }), "{error}");
        }
        assert_eq!(drive(&mut encoder, 6..7), "P");
    }

    #[test]
    fn new_rate_takes_effect_at_an_idr_and_a_refused_one_changes_nothing() {
        let (encoder, script) = encoder(VideoCodec::X264, Script::default());
        let mut encoder = encoder.unwrap();
        assert_eq!(drive(&mut encoder, 0..3), "IPP");
        encoder.set_kbps(2000).unwrap();
        encoder.set_kbps(2000).unwrap();
        assert_eq!(drive(&mut encoder, 3..5), "IP");
        assert_eq!(script.lock().unwrap().opened, [(Kind::X264, 1000), (Kind::X264, 2000)]);
        assert!(encoder.set_kbps(1).is_err());
        script.lock().unwrap().closed.push(Kind::X264);
        assert!(encoder.set_kbps(3000).is_err());
        assert_eq!(drive(&mut encoder, 5..7), "PP");
    }
}
