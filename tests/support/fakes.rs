//! Small stand-ins for the adapters of a stream, and a clock that does not wait.

use agentcast::draw::{Damage, DrawList, Frame, Nv12, Size};
use agentcast::encode::{
    AudioCodec, AudioEncoder, EncodeError, EncodedPacket, Packet, StreamInfo, TICKS, Track, VideoEncoder,
};
use agentcast::game::MatchState;
use agentcast::output::{Destination, State, Status};
use agentcast::raster::PixelSource;
use agentcast::render::{RenderError, Rendered, Renderer};
use agentcast::stream::Clock;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time passes only when somebody waits, or by hand.
#[derive(Default)]
pub struct PausedClock(Mutex<Duration>);

impl PausedClock {
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn wait_until(&self, t: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = t.max(*now);
    }
}

type Script = Box<dyn FnMut(u64) -> Result<Damage, RenderError> + Send>;

/// Gives out one black frame; what happens to picture n says a closure.
pub struct FakeRenderer {
    pub pictures: u64,
    script: Script,
    frame: Frame,
}

impl FakeRenderer {
    pub fn new(size: Size, script: impl FnMut(u64) -> Result<Damage, RenderError> + Send + 'static) -> FakeRenderer {
        let stride = size.w as usize;
        let data = vec![16; stride * size.h as usize * 3 / 2];
        FakeRenderer { pictures: 0, script: Box::new(script), frame: Arc::new(Nv12 { size, stride, data }) }
    }
}

impl Renderer for FakeRenderer {
    fn render(&mut self, _: &DrawList, _: &mut dyn PixelSource) -> Result<Rendered, RenderError> {
        let n = self.pictures;
        self.pictures += 1;
        let damage = (self.script)(n)?;
        Ok(Rendered { frame: self.frame.clone(), damage })
    }

    fn read_rgba(&mut self) -> Result<Vec<u8>, RenderError> {
        Ok(vec![0; self.frame.data.len() / 3 * 8])
    }
}

/// One byte a picture; an IDR when asked and every two seconds.
pub struct FakeVideo {
    fps: i64,
    pictures: i64,
    fails: Vec<i64>,
    failed: bool,
}

impl FakeVideo {
    /// `fails`: pictures that end in an error.
    pub fn new(fps: i64, fails: Vec<i64>) -> FakeVideo {
        FakeVideo { fps, pictures: 0, fails, failed: false }
    }
}

impl VideoEncoder for FakeVideo {
    fn encode(&mut self, _: &Frame, pts: i64, _: bool, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError> {
        let n = self.pictures;
        self.pictures += 1;
        if self.fails.contains(&n) {
            self.failed = true;
            return Err(EncodeError::Missing("fake", "this test"));
        }
        let key = std::mem::take(&mut self.failed) || idr || n % (2 * self.fps) == 0;
        let data = Bytes::from_static(b"p");
        Ok(vec![Arc::new(Packet { track: Track::Video, pts, duration: TICKS / self.fps, key, data })])
    }

    fn set_kbps(&mut self, _: u32) -> Result<(), EncodeError> {
        Ok(())
    }

    fn extradata(&self) -> Bytes {
        Bytes::from_static(b"sps pps")
    }
}

pub struct FakeAudio;

impl AudioEncoder for FakeAudio {
    fn encode(&mut self, _: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        let data = Bytes::from_static(b"a");
        Ok(vec![Arc::new(Packet { track: Track::Audio, pts, duration: 1_920, key: true, data })])
    }

    fn extradata(&self) -> Bytes {
        Bytes::from_static(b"asc")
    }
}

/// One packet a frame, 20 ms apart and no further than the frame.
#[derive(Default)]
pub struct FakeOpus(Option<i64>);

impl AudioEncoder for FakeOpus {
    fn encode(&mut self, _: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        let mut next = self.0.unwrap_or(pts);
        let mut packets = Vec::new();
        while next < pts + 1_920 {
            let data = Bytes::from_static(b"o");
            packets.push(Arc::new(Packet { track: Track::Audio, pts: next, duration: 1_800, key: true, data }));
            next += 1_800;
        }
        self.0 = Some(next);
        Ok(packets)
    }

    fn extradata(&self) -> Bytes {
        Bytes::new()
    }

    fn codec(&self) -> AudioCodec {
        AudioCodec::Opus
    }
}

/// What a destination got.
#[derive(Default)]
pub struct Got {
    pub infos: Vec<Arc<StreamInfo>>,
    pub packets: Vec<EncodedPacket>,
    /// Each with the number of packets that came before it.
    pub states: Vec<(usize, Arc<MatchState>)>,
    /// A viewer waits for an IDR; set by the test, taken back by the IDR.
    pub wants_idr: bool,
    pub stopped: bool,
}

/// Keeps everything it is sent.
pub struct Sink {
    pub got: Arc<Mutex<Got>>,
    pub state: State,
    pub audio: AudioCodec,
    pub constant_gop: bool,
}

impl Sink {
    /// Takes AAC, as a file does.
    pub fn new() -> (Sink, Arc<Mutex<Got>>) {
        let got = Arc::<Mutex<Got>>::default();
        (Sink { got: got.clone(), state: State::Live, audio: AudioCodec::Aac, constant_gop: false }, got)
    }

    /// Takes AAC and needs a constant GOP.
    pub fn rtmp() -> (Sink, Arc<Mutex<Got>>) {
        let (sink, got) = Sink::new();
        (Sink { constant_gop: true, ..sink }, got)
    }

    /// Takes Opus.
    pub fn room() -> (Sink, Arc<Mutex<Got>>) {
        let (sink, got) = Sink::new();
        (Sink { audio: AudioCodec::Opus, ..sink }, got)
    }
}

impl Destination for Sink {
    fn configure(&mut self, info: Arc<StreamInfo>) {
        self.got.lock().unwrap().infos.push(info);
    }

    fn send(&mut self, packet: EncodedPacket) {
        let mut got = self.got.lock().unwrap();
        got.wants_idr &= !(packet.track == Track::Video && packet.key);
        got.packets.push(packet);
    }

    fn audio_codec(&self) -> AudioCodec {
        self.audio
    }

    fn show(&mut self, state: &Arc<MatchState>) {
        let mut got = self.got.lock().unwrap();
        let at = got.packets.len();
        got.states.push((at, state.clone()));
    }

    fn wants_idr(&self) -> bool {
        self.got.lock().unwrap().wants_idr
    }

    fn needs_constant_gop(&self) -> bool {
        self.constant_gop
    }

    fn status(&self) -> Status {
        Status { name: "sink".into(), state: self.state, ..Status::default() }
    }

    fn stop(self: Box<Self>, _: Duration) -> Status {
        self.got.lock().unwrap().stopped = true;
        Status { state: State::Stopped, ..self.status() }
    }
}
