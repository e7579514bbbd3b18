//! A viewer that nobody here wrote: LiveKit's Python SDK (`tests/livekit/subscriber.py`) as a child process.

use super::dir::TempDir;
use super::livekit::{LiveKit, python};
use super::marked::FPS;
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

/// Longer than 200 ms without a picture. Times in s, of the viewer's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub since: f64,
    pub seconds: f64,
    /// Pictures that are missing between its ends, by their numbers.
    pub missing: u64,
    /// How long the viewer's process stood still.
    pub stalled: f64,
}

impl Gap {
    /// What is left when the pictures that are missing were never encoded, s.
    pub fn unexplained(&self) -> f64 {
        (self.seconds - self.missing as f64 / f64::from(FPS) - self.stalled).max(0.0)
    }
}

/// What a viewer got so far.
#[derive(Debug)]
pub struct Summary {
    pub frames: u64,
    /// When the last picture came, s of its own clock.
    pub last: f64,
    pub fps: f64,
    pub size: (u64, u64),
    pub gaps: Vec<Gap>,
    /// Frames of 10 ms of sound.
    pub audio: u64,
    /// Pictures whose number made no sense, and numbers that were left out.
    pub unreadable: u64,
    pub missing: u64,
    /// Sound after picture, ms, of each click.
    pub skews: Vec<f64>,
    /// What WebRTC itself counts.
    pub stats: Value,
}

impl Summary {
    /// Of [`Self::stats`]; None where WebRTC gave none.
    pub fn counted(&self, name: &str) -> Option<u64> {
        self.stats[name].as_u64()
    }
}

pub struct Subscriber {
    child: Child,
    input: Mutex<ChildStdin>,
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
        Self { child, input: Mutex::new(input), heard, reader: Some(reader), dir }
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

    /// Waits until it has been shown a moving picture for a second. How well it moves is [`super::window`]'s matter.
    #[track_caller]
    pub fn wait_flowing(&self) -> Value {
        let mark = self.mark();
        self.wait_after(mark, PATIENCE, "second", |e| e["fps"].as_f64() > Some(5.0))
    }

    /// Waits for this many reports of a second.
    #[track_caller]
    pub fn watch(&self, seconds: usize) {
        let mut mark = self.mark();
        for _ in 0..seconds {
            self.wait_after(mark, PATIENCE, "second", |_| true);
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
    pub fn picture(&self) -> Picture {
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
    pub fn say(&self, topic: &str, text: &str) {
        self.tell(&format!("say {topic} {text}"));
    }

    /// What it got so far.
    #[track_caller]
    pub fn summary(&self) -> Summary {
        self.sum("summary")
    }

    /// Leaves the room.
    #[track_caller]
    pub fn end(self) -> Summary {
        self.sum("end")
    }

    #[track_caller]
    fn sum(&self, command: &str) -> Summary {
        let mark = self.mark();
        self.tell(command);
        let said = self.wait_after(mark, PATIENCE, "summary", |_| true);
        let number = |name: &str| said[name].as_u64().unwrap_or_default();
        let gap = |gap: &Value| Gap {
            since: gap[0].as_f64().expect("a time"),
            seconds: gap[1].as_f64().expect("a time"),
            missing: gap[2].as_u64().expect("a number"),
            stalled: gap[3].as_f64().expect("a time"),
        };
        Summary {
            frames: number("frames"),
            last: said["last"].as_f64().unwrap_or_default(),
            fps: said["fps"].as_f64().unwrap_or_default(),
            size: (number("width"), number("height")),
            gaps: said["gaps"].as_array().expect("a list").iter().map(gap).collect(),
            audio: number("audio"),
            unreadable: number("unreadable"),
            missing: number("missing"),
            skews: said["skews"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect(),
            stats: said["stats"].clone(),
        }
    }

    fn tell(&self, line: &str) {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
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
