//! Puts a stream together from real parts: the GPU, the fonts, the encoders. For the command line and for game servers
//! that link agentcast as a library.
//!
//! ```no_run
//! use agentcast::{game::Event, render::AdapterChoice, studio::{Studio, StreamSettings}};
//!
//! # fn events() -> Vec<Event> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let studio = Studio::open(AdapterChoice::Auto)?;
//! let (broadcast, feed) = studio.live(StreamSettings::default())?;
//! broadcast.add_output(studio.rtmp("rtmps://live.example.com/app", std::env::var("STREAM_KEY")?)?)?;
//! for event in events() {
//!     feed.push(event)?; // returns at once, whatever happens to the stream
//! }
//! # Ok(()) }
//! ```

use crate::draw::Size;
use crate::encode::{
    AacEncoder, EncodeError, FrameClock, H264Encoder, OpusEncoder, Profile, VideoCodec, VideoSettings,
};
use crate::game::adapters::Record;
use crate::game::{DelayError, Delayed, View};
use crate::output::Destination;
use crate::output::key::{KeyError, RtmpTarget, StreamKey, TargetError};
use crate::output::livekit::{RoomOptions, RoomOutput, RoomTarget};
use crate::output::rtmp::{RtmpOptions, RtmpOutput};
use crate::overlay::{Badge, Composer, LayoutError, Motion, OnAir, Presentation, Theme, ThemeError};
use crate::raster::{FontSet, Pictures, Raster, SYSTEM_DIRS, Typesetter};
use crate::render::{AdapterChoice, AdapterKind, Gpu, GpuRenderer, RenderError};
use crate::stream::{
    Broadcast, Clock as _, Director, Feed, Joiners, Meters, Parts, Replay, ReplayOptions, Source, States, StreamError,
    SystemClock, Transmitter,
};
use std::sync::Arc;

/// What all streams of a process share: one graphics device, one set of fonts.
pub struct Studio {
    gpu: Arc<Gpu>,
    fonts: FontSet,
}

/// What a stream looks like.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// For logs and thread names.
    pub name: String,
    /// None: 1080p on a real GPU, else 720p.
    pub size: Option<Size>,
    /// 24, 25, 30, 50 or 60.
    pub fps: u32,
    /// None: 3,000 kbit/s at 720p, 6,000 at 1080p, half more at 50 and 60 fps.
    pub kbps: Option<u32>,
    pub view: View,
    /// 0 to 600,000.
    pub delay_ms: i64,
    pub theme: Theme,
    pub codec: VideoCodec,
    pub profile: Profile,
    pub preset: String,
    pub reduced_motion: bool,
    /// How long viewers of a LiveKit room wait for their first picture while RTMP gets the same stream.
    pub joiners: Joiners,
    /// See [`Director::redraw_all`].
    pub redraw_all: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Theme(#[from] ThemeError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Delay(#[from] DelayError),
    #[error("no thread for a destination: {0}")]
    Thread(#[from] std::io::Error),
}

impl Default for StreamSettings {
    fn default() -> StreamSettings {
        StreamSettings {
            name: "match".into(),
            size: None,
            fps: 30,
            kbps: None,
            view: View::Spectator,
            delay_ms: 0,
            theme: Theme::default(),
            codec: VideoCodec::Auto,
            profile: Profile::ConstrainedHigh,
            preset: "veryfast".into(),
            reduced_motion: false,
            joiners: Joiners::default(),
            redraw_all: false,
        }
    }
}

impl Studio {
    /// Opens the graphics device: a real GPU first, the CPU renderer else.
    pub fn open(adapter: AdapterChoice) -> Result<Studio, StudioError> {
        // FFmpeg's own lines must pass the scrubber from the first one on.
        crate::output::log::install();
        let gpu = Gpu::open(adapter)?;
        Ok(Studio { gpu, fonts: FontSet::system(&SYSTEM_DIRS) })
    }

    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Starts a stream that shows what is pushed into the feed.
    pub fn live(&self, settings: StreamSettings) -> Result<(Broadcast, Feed), StudioError> {
        let clock = Arc::<SystemClock>::default();
        let (feed, live) = Feed::new(clock.clone());
        Ok((self.start(settings, Box::new(live), clock, Arc::default())?, feed))
    }

    /// Starts a stream that shows states of matches that are reduced elsewhere. They bring their views with them; that of the
    /// settings is not asked.
    pub fn states(&self, settings: StreamSettings, meters: Arc<Meters>) -> Result<(Broadcast, States), StudioError> {
        let clock = Arc::<SystemClock>::default();
        let (states, live) = States::new(clock.clone());
        let settings = StreamSettings { view: View::All, ..settings };
        Ok((self.start(settings, Box::new(live), clock, meters)?, states))
    }

    /// Starts a stream that plays a record.
    pub fn replay(
        &self,
        settings: StreamSettings,
        record: Record,
        options: ReplayOptions,
    ) -> Result<Broadcast, StudioError> {
        self.start(settings, Box::new(Replay::new(record, options)), Arc::default(), Arc::default())
    }

    /// An RTMP(S) destination: `url` without the key.
    pub fn rtmp(&self, url: &str, key: String) -> Result<Box<dyn Destination>, StudioError> {
        let target = RtmpTarget::parse(url, Some(StreamKey::new(&key)?))?;
        Ok(Box::new(RtmpOutput::spawn(target, RtmpOptions::default())?))
    }

    /// A LiveKit room.
    pub fn room(&self, target: RoomTarget) -> Result<Box<dyn Destination>, StudioError> {
        Ok(Box::new(RoomOutput::spawn(target, RoomOptions::default())?))
    }

    fn start(
        &self,
        settings: StreamSettings,
        source: Box<dyn Source>,
        clock: Arc<SystemClock>,
        meters: Arc<Meters>,
    ) -> Result<Broadcast, StudioError> {
        let on_air = OnAir { badge: Badge::Live, ..OnAir::default() };
        let (director, transmitter) = self.assemble(&settings, source)?;
        // Only now: opening takes a while, and the time of a feed's events is media time.
        clock.start();
        let frames = FrameClock::new(settings.fps, clock.now());
        let name = settings.name;
        Ok(Broadcast::start(Parts { name, clock, frames, director, transmitter, on_air, meters })?)
    }

    /// Both halves of a stream without threads, for rendering faster than real time.
    pub fn assemble(
        &self,
        settings: &StreamSettings,
        source: Box<dyn Source>,
    ) -> Result<(Director, Transmitter), StudioError> {
        let size = self.size(settings);
        let video = self.video(settings);
        let encoder = Box::new(H264Encoder::open(video.clone())?);
        let mut transmitter = Transmitter::new(encoder, Box::new(AacEncoder::open()?), video);
        transmitter.opus(Box::new(|| Ok(Box::new(OpusEncoder::open()?))));
        transmitter.joiners(settings.joiners);
        Ok((self.director(settings, size, source)?, transmitter))
    }

    /// The drawing half alone.
    pub fn director(
        &self,
        settings: &StreamSettings,
        size: Size,
        source: Box<dyn Source>,
    ) -> Result<Director, StudioError> {
        let raster = Raster { text: Typesetter::new(self.fonts.clone()), pictures: Pictures::default() };
        let composer = Composer::new(settings.theme.clone(), size)?;
        let renderer = Box::new(GpuRenderer::new(self.gpu.clone(), size)?);
        let delayed = Delayed::new(settings.delay_ms)?;
        let motion = if settings.reduced_motion { Motion::reduced() } else { Motion::default() };
        let show = Presentation::new(motion);
        let view = settings.view.clone();
        let mut director = Director::new(source, view, delayed, show, composer, raster, renderer);
        director.redraw_all(settings.redraw_all);
        Ok(director)
    }

    /// The picture size of a stream with these settings.
    pub fn size(&self, settings: &StreamSettings) -> Size {
        settings.size.unwrap_or(if self.gpu.adapter().kind == AdapterKind::Cpu { Size::HD } else { Size::FULL_HD })
    }

    /// What the video encoder is opened with.
    pub fn video(&self, settings: &StreamSettings) -> VideoSettings {
        let size = self.size(settings);
        VideoSettings {
            width: size.w,
            height: size.h,
            fps: settings.fps,
            kbps: settings.kbps.unwrap_or(VideoSettings::usual_kbps(size.h, settings.fps)),
            codec: settings.codec,
            profile: settings.profile,
            preset: settings.preset.clone(),
        }
    }
}
