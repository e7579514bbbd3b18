//! What LiveKit rooms cost on top of a running RTMP stream, and how soon a subscriber sees an event.
//!
//! ```text
//! cargo bench --bench livekit                   all, about two minutes
//! cargo bench --bench livekit -- --seconds 30   longer
//! ```
//!
//! One process, one encode: first RTMP alone, then the same with one room, then with twenty. Processor time is this
//! process's own, so server and subscribers are not counted. An event is a picture zone that turns from black to white;
//! the time ends when LiveKit's Python SDK hands the decoded picture out. AGENTCAST_ADAPTER chooses the graphics adapter.

#[allow(dead_code)]
#[path = "../tests/support/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../tests/support/dir.rs"]
mod dir;
#[allow(dead_code)]
#[path = "../tests/support/livekit.rs"]
mod livekit;
#[allow(dead_code)]
#[path = "../tests/support/nginx.rs"]
mod nginx;

use agentcast::draw::Size;
use agentcast::encode::VideoCodec;
use agentcast::game::Event;
use agentcast::livekit::token::{Role, TokenRequest};
use agentcast::output::State;
use agentcast::output::livekit::{RoomOptions, RoomOutput, RoomTarget};
use agentcast::render::AdapterChoice;
use agentcast::stream::{Broadcast, Feed, OutputId};
use agentcast::studio::{StreamSettings, Studio};
use livekit::LiveKit;
use nginx::Nginx;
use secrecy::ExposeSecret;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

/// After a change of the outputs until the measuring begins.
const SETTLE: Duration = Duration::from_secs(4);
const START: Duration = Duration::from_secs(30);
const ROOMS: usize = 20;
const EVENTS: usize = 120;

fn main() {
    let seconds = arguments();
    let (nginx, livekit) = (Nginx::start(), LiveKit::start());
    let adapter = std::env::var("AGENTCAST_ADAPTER").map_or(AdapterChoice::Auto, AdapterChoice::Named);
    let studio = Studio::open(adapter).expect("a graphics adapter");
    let settings = StreamSettings {
        size: Some(Size::HD),
        codec: VideoCodec::X264,
        reduced_motion: true,
        ..StreamSettings::default()
    };
    let (broadcast, feed) = studio.live(settings).expect("the stream starts");
    for (name, luma) in [("dark", 0), ("light", 255)] {
        broadcast.set_picture(name, &png(luma)).expect("a picture");
    }
    let mut game = Game::new(feed);
    game.start();
    let address = nginx.url("");
    let rtmp = studio.rtmp(address.trim_end_matches('/'), "bench".to_owned()).expect("a destination");
    let rtmp = broadcast.add_output(rtmp).expect("the stream runs");
    wait_live(&broadcast, 1);

    println!("\nLiveKit rooms beside one RTMP output: 720p30, 3,000 kbit/s, {} s each", seconds.as_secs());
    if cfg!(debug_assertions) {
        println!("(dev profile: agentcast's own code is lightly optimised; `make bench` uses the release profile)");
    }
    println!("{:32}{:>12}{:>14}{:>12}{:>8}", "", "core-s/s", "over RTMP", "RSS MiB", "fps");
    let base = measure(&broadcast, &mut game, seconds);
    base.print("RTMP alone", None);

    add_room(&broadcast, &livekit, 0);
    wait_live(&broadcast, 2);
    let subscriber = Subscriber::join(&livekit, &room(0));
    subscriber.wait_picture();
    measure(&broadcast, &mut game, seconds).print("and 1 room", Some((&base, 1)));
    latency("event to decoded, beside RTMP", &mut game, &subscriber);

    for n in 1..ROOMS {
        add_room(&broadcast, &livekit, n);
    }
    wait_live(&broadcast, 1 + ROOMS);
    measure(&broadcast, &mut game, seconds).print(&format!("and {ROOMS} rooms"), Some((&base, ROOMS)));
    latency(&format!("event to decoded, {ROOMS} rooms"), &mut game, &subscriber);

    broadcast.remove_output(rtmp, Duration::from_secs(2)).expect("the stream runs");
    drop(subscriber);
    let status = broadcast.stop(Duration::from_secs(4));
    let dropped: u64 = status.outputs.iter().map(|o| o.dropped).sum();
    println!("pictures late and left out: {}; dropped by outputs: {dropped}", status.skipped);
}

/// `cargo bench` adds `--bench`.
fn arguments() -> Duration {
    let mut seconds = 15;
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(a) = arguments.next() {
        let value = arguments.next().and_then(|v| v.parse().ok()).filter(|v| (5..=600).contains(v));
        seconds = value.filter(|_| a == "--seconds").expect("only: --seconds and a number from 5 to 600");
    }
    Duration::from_secs(seconds)
}

fn room(n: usize) -> String {
    format!("bench{n}")
}

fn add_room(broadcast: &Broadcast, livekit: &LiveKit, n: usize) -> OutputId {
    let target = RoomTarget {
        server: livekit.server(),
        room: room(n),
        identity: "agentcast".into(),
        name: "Bench".into(),
        title: "Bench".into(),
    };
    let output = RoomOutput::spawn(target, RoomOptions::default()).expect("a thread");
    broadcast.add_output(Box::new(output)).expect("the stream runs")
}

/// Waits until so many outputs are live.
fn wait_live(broadcast: &Broadcast, n: usize) {
    let deadline = Instant::now() + START;
    loop {
        let outputs = broadcast.status().outputs;
        if outputs.iter().filter(|o| o.state == State::Live).count() >= n {
            return;
        }
        assert!(Instant::now() < deadline, "not all outputs are live: {outputs:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A match with one big picture; the bench's own events.
struct Game {
    feed: Feed,
    seq: u64,
    light: bool,
}

impl Game {
    fn new(feed: Feed) -> Game {
        Game { feed, seq: 0, light: false }
    }

    fn push(&mut self, kind: &str, data: serde_json::Value) {
        self.seq += 1;
        let event = serde_json::json!({
            "v": 1, "match": "bench", "epoch": 1, "seq": self.seq, "ts": unix_us() / 1000, "type": kind, "data": data,
        });
        let event = Event::from_json(&event.to_string()).expect("an event");
        self.feed.push(event).expect("a good event");
    }

    fn start(&mut self) {
        self.push(
            "match.started",
            serde_json::json!({
                "title": "Bench", "sides": {"a": {"seat": 0, "name": "Nightjar"}, "b": {"seat": 1, "name": "Kraken"}},
                "phase": {"turn": 1, "active": ["a"]},
                "zones": {"board": {"kind": "picture", "picture": "dark"}},
            }),
        );
    }

    fn flip(&mut self) -> (u64, bool) {
        self.light = !self.light;
        let picture = if self.light { "light" } else { "dark" };
        let at = unix_us();
        self.push("state.patch", serde_json::json!({"zones": {"board": {"picture": picture}}}));
        (at, self.light)
    }

    /// What goes on in a match, five times a second.
    fn think(&mut self) {
        self.push("state.patch", serde_json::json!({"sides": {"a": {"score": self.seq}}}));
    }
}

struct Cost {
    cores: f64,
    rss: f64,
    fps: f64,
}

impl Cost {
    fn print(&self, name: &str, over: Option<(&Cost, usize)>) {
        let more = over.map_or(String::new(), |(base, rooms)| {
            let more = (self.cores - base.cores) * 100.0;
            match rooms {
                1 => format!("{more:.1} %"),
                n => format!("{more:.1} % ({:.1})", more / n as f64),
            }
        });
        println!("{name:32}{:>12.3}{more:>14}{:>12.0}{:>8.1}", self.cores, self.rss, self.fps);
    }
}

fn measure(broadcast: &Broadcast, game: &mut Game, seconds: Duration) -> Cost {
    run(game, SETTLE);
    let (began, used, frames) = (Instant::now(), cpu(), broadcast.status().frames);
    run(game, seconds);
    let wall = began.elapsed().as_secs_f64();
    let fps = (broadcast.status().frames - frames) as f64 / wall;
    Cost { cores: (cpu() - used) / wall, rss: rss(), fps }
}

fn run(game: &mut Game, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        game.think();
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Events at random moments of the frame and the GOP.
fn latency(name: &str, game: &mut Game, subscriber: &Subscriber) {
    let mut times = Vec::new();
    for _ in 0..EVENTS {
        std::thread::sleep(Duration::from_millis(fastrand::u64(150..450)));
        subscriber.forget();
        let (at, light) = game.flip();
        if let Some(seen) = subscriber.wait_luma(light) {
            times.push(seen.saturating_sub(at) as f64 / 1000.0);
        }
    }
    times.sort_by(f64::total_cmp);
    let missed = EVENTS - times.len();
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
    match (at(0.5), at(0.99)) {
        (Some(p50), Some(p99)) => println!("{name:32} p50 {p50:.0} ms, p99 {p99:.0} ms, {missed} of {EVENTS} not seen"),
        _ => println!("{name:32} no event was seen"),
    }
}

/// LiveKit's Python SDK in a room.
struct Subscriber {
    child: Child,
    pictures: Receiver<(u64, u32)>,
}

impl Subscriber {
    fn join(livekit: &LiveKit, room: &str) -> Subscriber {
        let request = TokenRequest::new(Role::Viewer, room, "viewer");
        let token = livekit.server().token(&request).expect("a token");
        let mut child = Command::new(livekit::python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/flashes.py"))
            .arg(livekit.url())
            .env("LIVEKIT_TOKEN", token.expose_secret())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts; run: make setup-test");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tell, pictures) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                if let (Some(Ok(at)), Some(Ok(luma))) = (words.next().map(str::parse), words.next().map(str::parse))
                    && tell.send((at, luma)).is_err()
                {
                    return;
                }
            }
        });
        Subscriber { child, pictures }
    }

    fn wait_picture(&self) {
        self.pictures.recv_timeout(START).expect("the subscriber gets a picture");
    }

    fn forget(&self) {
        while self.pictures.try_recv().is_ok() {}
    }

    /// When the first picture of this kind was there, Unix us.
    fn wait_luma(&self, light: bool) -> Option<u64> {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let (at, luma) = self.pictures.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            if (luma > 128) == light {
                return Some(at);
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Processor time of this process so far, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // User and kernel time, in the 100 ticks a second that Linux always shows.
    (ticks(11) + ticks(12)) / 100.0
}

fn rss() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// A square of one brightness.
fn png(luma: u8) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_pixel(64, 64, image::Luma([luma]));
    picture.write_to(&mut out, image::ImageFormat::Png).expect("writes to memory");
    out.into_inner()
}
