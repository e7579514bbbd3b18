//! A viewer that nobody here wrote: LiveKit's Python SDK (`tests/livekit/subscriber.py`) as a child process.

use super::dir::TempDir;
use super::livekit::{LiveKit, python};
use agentcast::livekit::token::{Role, TokenRequest};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Start-up of Python and the SDK included, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<(Instant, Value)>>,
    more: Condvar,
}

impl Heard {
    fn events(&self) -> MutexGuard<'_, Vec<(Instant, Value)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A decoded picture: I420, rows without padding.
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// As its blocks say.
    pub number: Option<u8>,
    pub data: Vec<u8>,
}

impl Picture {
    /// Of the luma, against rows without padding; dB.
    pub fn psnr(&self, luma: &[u8]) -> f64 {
        let pixels = (self.width * self.height) as usize;
        assert_eq!(luma.len(), pixels, "a picture of {}x{}", self.width, self.height);
        let squares: u64 = self.data[..pixels].iter().zip(luma).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
        10.0 * (255.0 * 255.0 * pixels as f64 / squares.max(1) as f64).log10()
    }
}

/// What a viewer got, at its end.
#[derive(Debug)]
pub struct Summary {
    pub frames: u64,
    pub fps: f64,
    pub size: (u64, u64),
    /// Longer than 200 ms without a picture: when it began, and how long, in s.
    pub gaps: Vec<(f64, f64)>,
    /// Frames of 10 ms of sound.
    pub audio: u64,
    /// Pictures whose number made no sense, and numbers that did not follow.
    pub unreadable: u64,
    pub jumps: u64,
    /// Sound after picture, ms: median of the last ten clicks.
    pub skew: Option<f64>,
    pub skews: Vec<f64>,
    /// What WebRTC itself counts.
    pub stats: Value,
}

impl Summary {
    /// The longest time without a picture, s; 0 when all of them were short.
    pub fn longest_gap(&self, since: f64) -> f64 {
        self.gaps.iter().filter(|(at, _)| *at >= since).map(|(_, seconds)| *seconds).fold(0.0, f64::max)
    }

    /// Seconds without a picture, in gaps that began after `since` (s of the viewer's own clock).
    pub fn frozen(&self, since: f64) -> f64 {
        self.gaps.iter().filter(|(at, _)| *at >= since).map(|(_, seconds)| seconds).sum()
    }
}

pub struct Subscriber {
    child: Child,
    input: Option<ChildStdin>,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
    dir: TempDir,
}

impl Subscriber {
    /// Starts it; it joins by itself. The room is created when it is not there.
    pub fn start(livekit: &LiveKit, room: &str, identity: &str) -> Self {
        let mut request = TokenRequest::new(Role::Viewer, room, identity);
        request.chat = true;
        let token = livekit.server().token(&request).expect("a good request");
        let dir = TempDir::new("viewer");
        let errors = std::fs::File::create(dir.path().join("stderr.log")).expect("the temporary folder is ours");
        let mut child = Command::new(python())
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/livekit/subscriber.py"))
            .arg(livekit.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("a Python that .ci/livekit made");
        let mut input = child.stdin.take().expect("it was asked for");
        writeln!(input, "{}", token.expose_secret()).expect("it reads its token");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let heard = Arc::<Heard>::default();
        let to = heard.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.events().push((Instant::now(), event));
                to.more.notify_all();
            }
        });
        Self { child, input: Some(input), heard, reader: Some(reader), dir }
    }

    /// Starts it and waits until it is in the room.
    #[track_caller]
    pub fn join(livekit: &LiveKit, room: &str, identity: &str) -> Self {
        let viewer = Self::start(livekit, room, identity);
        viewer.wait_for("connected");
        viewer
    }

    /// Everything it said so far.
    pub fn events(&self) -> Vec<Value> {
        self.heard.events().iter().map(|(_, event)| event.clone()).collect()
    }

    /// How many events there were so far: what [`Self::wait_after`] leaves out.
    pub fn mark(&self) -> usize {
        self.heard.events().len()
    }

    /// Waits for the first event of this name.
    #[track_caller]
    pub fn wait_for(&self, name: &str) -> Value {
        self.wait_after(0, PATIENCE, name, |_| true)
    }

    /// Waits for an event of this name, and more, among those after a mark.
    #[track_caller]
    pub fn wait_after(&self, mark: usize, within: Duration, name: &str, also: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        let mut events = self.heard.events();
        loop {
            let found = events[mark..].iter().find(|(_, event)| event["event"] == name && also(event));
            if let Some((_, event)) = found {
                return event.clone();
            }
            let failed =
                events.iter().find(|(_, event)| event["event"] == "failed").map(|(_, event)| event.to_string());
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || failed.is_some() {
                let said = tail(&events);
                drop(events);
                panic!("the viewer waited {within:?} for {name}, but said:\n{said}\n{}", self.errors());
            }
            events = self.heard.more.wait_timeout(events, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it has been shown pictures at the full rate for a second.
    #[track_caller]
    pub fn wait_flowing(&self) -> Value {
        let mark = self.mark();
        self.wait_after(mark, PATIENCE, "second", |e| e["fps"].as_f64() > Some(25.0))
    }

    /// Its clock, s.
    pub fn now(&self) -> f64 {
        self.heard.events().iter().rev().find_map(|(_, event)| event["at"].as_f64()).unwrap_or_default()
    }

    /// Waits for this many reports of a second.
    #[track_caller]
    pub fn watch(&self, seconds: usize) {
        let mut mark = self.mark();
        for _ in 0..seconds {
            self.wait_after(mark, Duration::from_secs(10), "second", |_| true);
            mark = 1
                + mark
                + self.heard.events()[mark..]
                    .iter()
                    .position(|(_, e)| e["event"] == "second")
                    .expect("it was waited for");
        }
    }

    /// The next picture.
    #[track_caller]
    pub fn picture(&mut self) -> Picture {
        let (mark, path) = (self.mark(), self.dir.path().join(format!("{}.i420", self.mark())));
        self.tell(&format!("dump {}", path.display()));
        let told = self.wait_after(mark, PATIENCE, "dumped", |_| true);
        let side = |name: &str| told[name].as_u64().expect("a number") as u32;
        Picture {
            width: side("width"),
            height: side("height"),
            number: told["number"].as_u64().map(|n| n as u8),
            data: std::fs::read(path).expect("it was written"),
        }
    }

    /// Sends text to everybody in the room.
    pub fn say(&mut self, topic: &str, text: &str) {
        self.tell(&format!("say {topic} {text}"));
    }

    /// Leaves the room.
    #[track_caller]
    pub fn end(mut self) -> Summary {
        self.tell("end");
        let (said, stats) = (self.wait_for("summary"), self.wait_for("stats"));
        let number = |name: &str| said[name].as_u64().unwrap_or_default();
        let gap = |gap: &Value| (gap[0].as_f64().unwrap_or_default(), gap[1].as_f64().unwrap_or_default());
        Summary {
            frames: number("frames"),
            fps: said["fps"].as_f64().unwrap_or_default(),
            size: (number("width"), number("height")),
            gaps: said["gaps"].as_array().map(|all| all.iter().map(gap).collect()).unwrap_or_default(),
            audio: number("audio"),
            unreadable: number("unreadable"),
            jumps: number("jumps"),
            skew: said["skew"].as_f64(),
            skews: said["skews"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect(),
            stats,
        }
    }

    fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{line}").unwrap_or_else(|e| panic!("the viewer is gone: {e}\n{}", self.errors()));
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("the viewer said at last:\n{}", tail(&self.heard.events()));
        }
    }
}

fn tail(events: &[(Instant, Value)]) -> String {
    let lines: Vec<_> = events[events.len().saturating_sub(30)..].iter().map(|(_, e)| e.to_string()).collect();
    lines.join("\n")
}
