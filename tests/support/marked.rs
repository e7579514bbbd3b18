//! A broadcast whose picture and sound can be measured at the far end: every picture carries its number in 16 blocks of luma
//! (eight bits and their inverse), and there is a click in the sound whenever the number is a multiple of 30.

use super::fakes::FakeRenderer;
use agentcast::draw::{Damage, Frame, Nv12, Size};
use agentcast::encode::{
    AudioCodec, AudioEncoder, EncodeError, EncodedPacket, FrameClock, H264Encoder, OpusEncoder, Profile, SAMPLE_RATE,
    TICKS, VideoCodec, VideoEncoder, VideoSettings,
};
use agentcast::game::adapters;
use agentcast::game::{Delayed, View};
use agentcast::livekit::Server;
use agentcast::output::livekit::{RoomOptions, RoomOutput, RoomTarget};
use agentcast::output::{Destination, Status};
use agentcast::overlay::{Composer, OnAir, Presentation, Theme};
use agentcast::raster::{FontSet, Pictures, Raster, SYSTEM_DIRS, Typesetter};
use agentcast::stream::{Broadcast, Director, Parts, Replay, ReplayOptions, SystemClock, Transmitter};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const FPS: u32 = 30;
/// Numbers begin again after as many pictures.
const NUMBERS: usize = 240;
/// Side of a block, px.
const BLOCK: usize = 40;
/// The texture moves by as much a picture, px.
const STEP: usize = 8;

/// Size of the picture and its bit rate.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub width: u32,
    pub height: u32,
    pub kbps: u32,
}

/// What viewers watch.
pub const HD: Shape = Shape { width: 1280, height: 720, kbps: 2_500 };
/// Cheap: for faults. As narrow as the blocks.
pub const SMALL: Shape = Shape { width: 640, height: 360, kbps: 1_000 };

/// Draws the numbered pictures: a texture that moves sideways, the number on top of it.
#[derive(Clone)]
pub struct Painter {
    width: usize,
    height: usize,
    texture: Vec<u8>,
}

impl Painter {
    pub fn new(shape: Shape) -> Self {
        let (width, height) = (shape.width as usize, shape.height as usize);
        let mut chance = fastrand::Rng::with_seed(7);
        // Soft spots of 16 px, once round in NUMBERS pictures.
        let (columns, rows) = (NUMBERS * STEP / 16, height / 16 + 2);
        let spots: Vec<u8> = (0..columns * rows).map(|_| chance.u8(40..200)).collect();
        let spot = |x: usize, y: usize| usize::from(spots[y * columns + x % columns]);
        let mut texture = vec![0; NUMBERS * STEP * height];
        for y in 0..height {
            for x in 0..NUMBERS * STEP {
                let (i, j, u, v) = (x / 16, y / 16, x % 16, y % 16);
                let upper = spot(i, j) * (16 - u) + spot(i + 1, j) * u;
                let lower = spot(i, j + 1) * (16 - u) + spot(i + 1, j + 1) * u;
                texture[y * NUMBERS * STEP + x] = ((upper * (16 - v) + lower * v) / 256) as u8;
            }
        }
        Self { width, height, texture }
    }

    /// The picture of this number, rows without padding.
    pub fn luma(&self, number: u8) -> Vec<u8> {
        let (round, from) = (NUMBERS * STEP, usize::from(number) * STEP % (NUMBERS * STEP));
        let mut luma = Vec::with_capacity(self.width * self.height);
        for row in self.texture.chunks_exact(round) {
            luma.extend(row[from..].iter().chain(row).take(self.width));
        }
        let word = u16::from_be_bytes([number, !number]);
        for k in 0..16 {
            let value = if word >> (15 - k) & 1 == 1 { 235 } else { 16 };
            for y in 0..BLOCK {
                luma[y * self.width + k * BLOCK..][..BLOCK].fill(value);
            }
        }
        luma
    }

    fn frame(&self, number: u8) -> Frame {
        let mut data = self.luma(number);
        data.resize(self.width * self.height * 3 / 2, 128);
        Arc::new(Nv12 { size: Size { w: self.width as u32, h: self.height as u32 }, stride: self.width, data })
    }
}

/// Encodes the numbered picture of each pts in place of what it is given.
struct Marked {
    encoder: H264Encoder,
    painter: Painter,
}

impl VideoEncoder for Marked {
    fn encode(&mut self, _: &Frame, pts: i64, _: bool, idr: bool) -> Result<Vec<EncodedPacket>, EncodeError> {
        let number = pts * i64::from(FPS) / TICKS % NUMBERS as i64;
        self.encoder.encode(&self.painter.frame(number as u8), pts, true, idr)
    }

    fn set_kbps(&mut self, kbps: u32) -> Result<(), EncodeError> {
        self.encoder.set_kbps(kbps)
    }

    fn extradata(&self) -> Bytes {
        self.encoder.extradata()
    }
}

/// Encodes a low tone with a click of 20 ms every second in place of what it is given.
struct Clicks<E>(E);

impl<E: AudioEncoder> AudioEncoder for Clicks<E> {
    fn encode(&mut self, _: &[f32], pts: i64) -> Result<Vec<EncodedPacket>, EncodeError> {
        let first = pts * i64::from(SAMPLE_RATE) / TICKS;
        let sound = |n: i64| {
            let (within, turn) = (n % i64::from(SAMPLE_RATE), std::f32::consts::TAU * n as f32 / SAMPLE_RATE as f32);
            if within < 960 { (turn * 2_000.0).sin() * 0.7 } else { (turn * 300.0).sin() * 0.03 }
        };
        // Only whole seconds matter to the sine; a long stream must not lose its precision.
        let samples: Vec<f32> = (first..first + 1_024).flat_map(|n| [sound(n % i64::from(SAMPLE_RATE)); 2]).collect();
        self.0.encode(&samples, pts)
    }

    fn extradata(&self) -> Bytes {
        self.0.extradata()
    }

    fn codec(&self) -> AudioCodec {
        self.0.codec()
    }
}

/// Starts the broadcast; it runs in real time until it is dropped.
pub fn broadcast(shape: Shape) -> Broadcast {
    let settings = VideoSettings {
        width: shape.width,
        height: shape.height,
        fps: FPS,
        kbps: shape.kbps,
        codec: VideoCodec::X264,
        profile: Profile::ConstrainedHigh,
        preset: "superfast".into(),
    };
    let video =
        Marked { encoder: H264Encoder::open(settings.clone()).expect("x264 opens"), painter: Painter::new(shape) };
    let aac = agentcast::encode::AacEncoder::open().expect("AAC opens");
    let mut transmitter = Transmitter::new(Box::new(video), Box::new(Clicks(aac)), settings);
    transmitter.opus(Box::new(|| Ok(Box::new(Clicks(OpusEncoder::open()?)))));
    let record = adapters::read(include_bytes!("../../assets/demo/chess.pgn"), None).expect("the bundled match");
    let composer = Composer::new(Theme::default(), Size::HD).expect("a size with a layout");
    // Nothing is drawn: the pictures come in at the encoder, which knows their pts.
    let renderer = FakeRenderer::new(Size { w: 16, h: 16 }, |_| Ok(Damage::Full));
    let director = Director::new(
        Box::new(Replay::new(record, ReplayOptions::default())),
        View::Spectator,
        Delayed::default(),
        Presentation::default(),
        composer,
        Raster { text: Typesetter::new(FontSet::system(&SYSTEM_DIRS)), pictures: Pictures::default() },
        Box::new(renderer),
    );
    let clock = SystemClock::started();
    Broadcast::start(Parts {
        name: "marked".into(),
        clock: Arc::new(clock),
        frames: FrameClock::new(FPS, Duration::ZERO),
        director,
        transmitter,
        on_air: OnAir::default(),
        meters: Arc::default(),
    })
    .expect("threads")
}

/// A room as a destination.
pub fn room(server: Server, room: &str) -> Box<dyn Destination> {
    room_with(server, room, RoomOptions::default())
}

pub fn room_with(server: Server, room: &str, options: RoomOptions) -> Box<dyn Destination> {
    let target = RoomTarget {
        server,
        room: room.into(),
        identity: "agentcast".into(),
        name: "Ada the agent".into(),
        title: "Chess, game 5".into(),
    };
    Box::new(RoomOutput::spawn(target, options).expect("threads"))
}

/// Waits until the status of the n-th destination is as wanted; fails the test when it is not in time.
#[track_caller]
pub fn wait(broadcast: &Broadcast, n: usize, within: Duration, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + within;
    loop {
        let status = broadcast.status();
        match status.outputs.get(n) {
            Some(output) if wanted(output) => return output.clone(),
            output => assert!(Instant::now() < deadline, "{what}: not within {within:?}; {output:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
