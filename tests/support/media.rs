//! A moving test picture and a tone, encoded once: the packets that an encoder would send.

use agentcast::encode::{EncodedPacket, Packet, StreamInfo, TICKS, Track};
use agentcast::output::{Destination, State, Status};
use bytes::Bytes;
use ffmpeg_next::format::{Pixel, Sample, sample};
use ffmpeg_next::{ChannelLayout, Dictionary, Rational, codec, ffi, frame};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const WIDTH: u32 = 320;
pub const HEIGHT: u32 = 180;
pub const FPS: u32 = 30;
pub const GOP: usize = 60;
/// Whole numbers of pictures, groups of pictures and AAC frames fit into 8 s, so the clip can be repeated.
const SECONDS: i64 = 8;
const CODED_KBPS: u32 = 400;
const AUDIO_KBPS: u32 = 160;

#[derive(Clone)]
pub struct Media {
    pub info: Arc<StreamInfo>,
    packets: Arc<[EncodedPacket]>,
}

impl Media {
    /// The clip with filler up to this constant rate.
    pub fn at_kbps(kbps: u32) -> Self {
        static CLIP: OnceLock<Media> = OnceLock::new();
        let clip = CLIP.get_or_init(|| encode(WIDTH, HEIGHT, &mut []));
        clip.filled(kbps)
    }

    /// Other picture size: other parameter sets.
    pub fn of_size(width: u32, height: u32) -> Self {
        encode(width, height, &mut []).filled(600)
    }

    /// The same picture size with other parameter sets.
    pub fn of_level_40() -> Self {
        encode(WIDTH, HEIGHT, &mut [("level", "4.0")]).filled(600)
    }

    /// Endless, with rising timestamps.
    pub fn packets(&self) -> impl Iterator<Item = EncodedPacket> + Send + use<> {
        let clip = self.packets.clone();
        (0i64..).flat_map(move |round| {
            let clip = clip.clone();
            (0..clip.len()).map(move |n| {
                let packet = &clip[n];
                Arc::new(Packet { pts: packet.pts + round * SECONDS * TICKS, ..(**packet).clone() })
            })
        })
    }

    /// Fills every picture up with a filler NAL unit (type 12), so that the rate is constant.
    fn filled(&self, kbps: u32) -> Self {
        let budget = (kbps * 1_000 / 8 / FPS) as usize;
        let fill = |packet: &EncodedPacket| {
            let room = budget.saturating_sub(packet.data.len());
            if packet.track == Track::Audio || room < 8 {
                return packet.clone();
            }
            let mut data = packet.data.to_vec();
            data.extend([0, 0, 0, 1, 12]);
            data.resize(budget - 1, 0xff);
            data.push(0x80);
            Arc::new(Packet { data: data.into(), ..(**packet).clone() })
        };
        let info = StreamInfo { video_kbps: kbps, ..(*self.info).clone() };
        Self { info: Arc::new(info), packets: self.packets.iter().map(fill).collect() }
    }
}

fn encode(width: u32, height: u32, more: &mut [(&str, &str)]) -> Media {
    ffmpeg_next::init().expect("FFmpeg starts");
    let (video, video_extradata) = encode_video(width, height, more);
    let (audio, audio_extradata) = encode_audio();
    let mut packets: Vec<EncodedPacket> = video.into_iter().chain(audio).map(Arc::new).collect();
    packets.sort_by_key(|p| (p.pts, p.track == Track::Audio));
    let info = StreamInfo {
        width,
        height,
        fps: FPS,
        video_kbps: CODED_KBPS,
        video_extradata,
        audio_codec: agentcast::encode::AudioCodec::Aac,
        audio_kbps: AUDIO_KBPS,
        sample_rate: 48_000,
        channels: 2,
        audio_extradata,
    };
    Media { info: Arc::new(info), packets: packets.into() }
}

fn extradata(context: *const ffi::AVCodecContext) -> Bytes {
    // SAFETY: the encoder is open; extradata and its size belong together.
    unsafe {
        Bytes::copy_from_slice(std::slice::from_raw_parts((*context).extradata, (*context).extradata_size as usize))
    }
}

fn encode_video(width: u32, height: u32, more: &[(&str, &str)]) -> (Vec<Packet>, Bytes) {
    let x264 = ffmpeg_next::encoder::find_by_name("libx264").expect("the tests need libx264");
    let mut encoder = codec::context::Context::new_with_codec(x264).encoder().video().expect("a video encoder");
    encoder.set_width(width);
    encoder.set_height(height);
    encoder.set_format(Pixel::YUV420P);
    encoder.set_time_base(Rational(1, FPS as i32));
    encoder.set_frame_rate(Some(Rational(FPS as i32, 1)));
    encoder.set_bit_rate((CODED_KBPS * 1_000) as usize);
    encoder.set_max_bit_rate((CODED_KBPS * 1_000) as usize);
    encoder.set_max_b_frames(0);
    encoder.set_gop(GOP as u32);
    encoder.set_flags(codec::Flags::GLOBAL_HEADER);
    // SAFETY: ffmpeg-next has no setter for the VBV size.
    unsafe { (*encoder.as_mut_ptr()).rc_buffer_size = (CODED_KBPS * 250) as i32 };
    let mut options = Dictionary::new();
    options.set("preset", "ultrafast");
    options.set("tune", "zerolatency");
    options.set("x264-params", &format!("scenecut=0:keyint={GOP}:min-keyint={GOP}:threads=1"));
    for (name, value) in more {
        options.set(name, value);
    }
    let mut encoder = encoder.open_with(options).expect("x264 opens");
    // SAFETY: the encoder is open.
    let extradata = extradata(unsafe { encoder.as_ptr() });
    let mut packets = Vec::new();
    let mut picture = frame::Video::new(Pixel::YUV420P, width, height);
    let mut coded = ffmpeg_next::Packet::empty();
    for n in 0..SECONDS * i64::from(FPS) {
        for plane in 0..3 {
            let (stride, at) = (picture.stride(plane), n as usize);
            for (y, row) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    *value = if plane == 0 { ((x + y + 3 * at) & 0x7f) as u8 + 40 } else { 100 + 20 * plane as u8 };
                }
            }
        }
        picture.set_pts(Some(n));
        encoder.send_frame(&picture).expect("x264 takes a picture");
        while encoder.receive_packet(&mut coded).is_ok() {
            packets.push(Packet {
                track: Track::Video,
                pts: packets.len() as i64 * TICKS / i64::from(FPS),
                duration: TICKS / i64::from(FPS),
                key: coded.is_key(),
                data: Bytes::copy_from_slice(coded.data().expect("a packet with data")),
            });
        }
    }
    assert_eq!(packets.len() as i64, SECONDS * i64::from(FPS), "x264 gives every picture at once");
    (packets, extradata)
}

fn encode_audio() -> (Vec<Packet>, Bytes) {
    let planar = Sample::F32(sample::Type::Planar);
    let aac = ffmpeg_next::encoder::find(codec::Id::AAC).expect("FFmpeg's AAC encoder");
    let mut encoder = codec::context::Context::new_with_codec(aac).encoder().audio().expect("an audio encoder");
    encoder.set_rate(48_000);
    encoder.set_format(planar);
    encoder.set_channel_layout(ChannelLayout::STEREO);
    encoder.set_bit_rate((AUDIO_KBPS * 1_000) as usize);
    encoder.set_time_base(Rational(1, 48_000));
    encoder.set_flags(codec::Flags::GLOBAL_HEADER);
    let mut encoder = encoder.open_as(aac).expect("AAC opens");
    // SAFETY: the encoder is open.
    let extradata = extradata(unsafe { encoder.as_ptr() });
    let wanted = (SECONDS * 48_000 / 1_024) as usize;
    let (mut packets, mut coded) = (Vec::new(), ffmpeg_next::Packet::empty());
    let mut n = 0;
    while packets.len() < wanted {
        let mut sound = frame::Audio::new(planar, 1_024, ChannelLayout::STEREO);
        sound.set_rate(48_000);
        sound.set_pts(Some(n * 1_024));
        for channel in 0..2 {
            for (k, value) in sound.plane_mut::<f32>(channel).iter_mut().enumerate() {
                *value = ((n * 1_024 + k as i64) as f32 * 0.057).sin() * 0.2;
            }
        }
        n += 1;
        encoder.send_frame(&sound).expect("AAC takes a frame");
        while packets.len() < wanted && encoder.receive_packet(&mut coded).is_ok() {
            packets.push(Packet {
                track: Track::Audio,
                pts: packets.len() as i64 * 1_920,
                duration: 1_920,
                key: true,
                data: Bytes::copy_from_slice(coded.data().expect("a packet with data")),
            });
        }
    }
    (packets, extradata)
}

/// Sends packets to a destination at their time (or `speed` times as fast) until stopped.
pub struct Player {
    destination: Arc<Mutex<Option<Box<dyn Destination>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    pub fn start(mut destination: Box<dyn Destination>, media: &Media, speed: f64) -> Self {
        destination.configure(media.info.clone());
        let destination = Arc::new(Mutex::new(Some(destination)));
        let stop = Arc::new(AtomicBool::new(false));
        let (packets, to, stopped) = (media.packets(), destination.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            for packet in packets {
                let due = began + Duration::from_secs_f64(packet.pts as f64 / TICKS as f64 / speed);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(destination) = lock(&to).as_mut() {
                    destination.send(packet);
                }
            }
        });
        Self { destination, stop, thread: Some(thread) }
    }

    /// The match as the destination is told of it.
    pub fn show(&self, state: &Arc<agentcast::game::MatchState>) {
        lock(&self.destination).as_mut().expect("still there").show(state);
    }

    pub fn status(&self) -> Status {
        lock(&self.destination).as_ref().expect("still there").status()
    }

    /// Waits until the status is as wanted; fails the test when it is not in time.
    pub fn wait(&self, time: Duration, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + time;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: not within {time:?}; {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_live(&self) -> Status {
        self.wait(Duration::from_secs(20), "live", |s| s.state == State::Live)
    }

    /// Ends the sending, then the destination; returns how long the latter took.
    pub fn stop(mut self, deadline: Duration) -> Duration {
        self.halt();
        let destination = lock(&self.destination).take().expect("still there");
        let began = Instant::now();
        destination.stop(deadline);
        began.elapsed()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.halt();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
