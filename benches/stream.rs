//! What one 720p30 stream of 3,000 kbit/s costs end to end, to a real nginx-rtmp on this machine: agentcast, agentcast that
//! draws every frame whole, and a browser overlay (Chromium in Xvfb, grabbed and encoded by ffmpeg).
//!
//! ```text
//! cargo bench --bench stream                            all three, one after the other, under two minutes
//! cargo bench --bench stream -- --seconds 60 agentcast  longer; only those whose name contains a word
//! ```
//!
//! Core-seconds are user and kernel time of all processes of a contestant (the RTMP server's is not counted) over the media
//! time that arrived at the server. AGENTCAST_ADAPTER chooses the graphics adapter.

#[allow(dead_code)]
#[path = "../tests/support/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../tests/support/dir.rs"]
mod dir;
#[allow(dead_code)]
#[path = "../tests/support/flv.rs"]
mod flv;
#[allow(dead_code)]
#[path = "../tests/support/nginx.rs"]
mod nginx;
#[path = "support/processes.rs"]
mod processes;

use dir::TempDir;
use nginx::Nginx;
use processes::{Tree, Usage, wait_for};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// From the first picture at the server until the measuring begins.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long a contestant may take until its first picture arrives.
const START: Duration = Duration::from_secs(30);
const FPS: u32 = 30;
const KBPS: u32 = 3_000;

/// Starts a contestant that publishes to an RTMP address with this key; its logs go into the folder.
type Start = fn(&mut Tree, address: &str, key: &str, logs: &Path);

const CONTESTANTS: [(&str, Start); 3] = [
    ("agentcast", |tree, address, key, logs| agentcast(tree, address, key, logs, &[])),
    ("agentcast, every frame drawn whole", |tree, address, key, logs| {
        agentcast(tree, address, key, logs, &["--redraw-all"]);
    }),
    ("Chromium + Xvfb + ffmpeg x11grab", browser),
];

struct Cost {
    name: &'static str,
    /// Core-seconds for a second of stream.
    cores: f64,
    /// The same by program.
    by_program: Vec<(String, f64)>,
    memory: u64,
    fps: f64,
    kbps: f64,
}

/// What the server has received so far.
struct Received {
    pictures: usize,
    bytes: usize,
    /// Time of the last picture, seconds.
    time: f64,
}

fn main() {
    let (seconds, words) = arguments();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|w| name.to_lowercase().contains(w));
    let nginx = Nginx::start();
    let mut costs = Vec::new();
    for (n, (name, start)) in CONTESTANTS.into_iter().enumerate().filter(|(_, c)| chosen(c.0)) {
        eprintln!("{name}: {} s, then {} s measured ...", WARM_UP.as_secs(), seconds.as_secs());
        costs.push(measure(&nginx, name, start, &format!("bench{n}"), seconds));
    }
    print(&costs, seconds);
}

/// `cargo bench` adds `--bench`.
fn arguments() -> (Duration, Vec<String>) {
    let (mut seconds, mut words) = (22, Vec::new());
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(a) = arguments.next() {
        match a.as_str() {
            "--seconds" => {
                let value = arguments.next().and_then(|v| v.parse().ok()).filter(|v| (5..=600).contains(v));
                seconds = value.expect("--seconds takes a number from 5 to 600");
            }
            word => words.push(word.to_lowercase()),
        }
    }
    (Duration::from_secs(seconds), words)
}

fn measure(nginx: &Nginx, name: &'static str, start: Start, key: &str, seconds: Duration) -> Cost {
    let logs = TempDir::new("bench");
    let mut tree = Tree::new();
    let address = nginx.url("");
    start(&mut tree, address.trim_end_matches('/'), key, logs.path());
    let arrived = wait_for(START, || received(nginx, key).is_some_and(|r| r.pictures > 0) || !tree.is_whole());
    assert!(arrived && tree.is_whole(), "{name}: nothing arrived at the server\n{}", tail_of(logs.path()));
    std::thread::sleep(WARM_UP);

    let (began, used) = (Instant::now(), tree.usage());
    let before = received(nginx, key).expect("it was there already");
    // Memory is looked at a few times; the most counts.
    let mut memory = used.memory;
    while began.elapsed() < seconds {
        std::thread::sleep((seconds - began.elapsed().min(seconds)).min(Duration::from_secs(6)));
        memory = memory.max(tree.usage().memory);
    }
    let (now, wall) = (tree.usage(), began.elapsed().as_secs_f64());
    let after = received(nginx, key).expect("it was there already");
    assert!(tree.is_whole(), "{name} ended while it was measured\n{}", tail_of(logs.path()));

    let stream = after.time - before.time;
    assert!(stream > wall * 0.5, "{name}: {stream:.1} s of stream arrived in {wall:.1} s\n{}", tail_of(logs.path()));
    Cost {
        name,
        cores: (now.seconds() - used.seconds()) / stream,
        by_program: by_program(&used, &now, stream),
        memory,
        fps: (after.pictures - before.pictures) as f64 / stream,
        kbps: (after.bytes - before.bytes) as f64 * 8.0 / 1000.0 / stream,
    }
}

fn by_program(before: &Usage, after: &Usage, stream: f64) -> Vec<(String, f64)> {
    let share = |(name, time): (&String, &f64)| {
        let cores = (time - before.cpu.get(name).copied().unwrap_or(0.0)) / stream;
        (cores >= 0.005).then(|| (name.clone(), cores))
    };
    let mut shares: Vec<_> = after.cpu.iter().filter_map(share).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// Reads what nginx has recorded of a key.
fn received(nginx: &Nginx, key: &str) -> Option<Received> {
    let bytes = fs::read(nginx.recordings(key).pop()?).ok()?;
    let tags = flv::parse(&bytes).ok()?;
    let pictures: Vec<_> = tags.iter().filter(|t| t.kind == flv::VIDEO && t.is_media()).collect();
    let time = pictures.last()?.time as f64 / 1000.0;
    Some(Received { pictures: pictures.len(), bytes: pictures.iter().map(|t| t.data.len()).sum(), time })
}

fn agentcast(tree: &mut Tree, address: &str, key: &str, logs: &Path, more: &[&str]) {
    let command = format!("--size 720p --fps {FPS} --kbps {KBPS} --codec x264 --preset veryfast --lead-in 0 --loop");
    let mut agentcast = Command::new(env!("CARGO_BIN_EXE_agentcast"));
    agentcast
        .arg("play")
        .arg(format!("{ROOT}/assets/demo/chess.pgn"))
        .args(["--rtmp", address])
        .args(command.split(' '))
        .args(more)
        .env("AGENTCAST_STREAM_KEY", key);
    spawn(tree, agentcast, &logs.join("agentcast.log"));
}

/// A web overlay on a machine without a screen, as usual: a browser in a virtual display that ffmpeg grabs. The encoder's
/// settings are agentcast's own.
fn browser(tree: &mut Tree, address: &str, key: &str, logs: &Path) {
    let mut xvfb = Command::new("Xvfb");
    xvfb.args("-displayfd 1 -screen 0 1280x720x24 -nolisten tcp".split(' ')).stdout(Stdio::piped());
    let display = format!(":{}", spawn(tree, xvfb, &logs.join("xvfb.log")).expect("Xvfb names its display"));

    let mut chromium = Command::new("chromium");
    chromium
        .args(["--no-sandbox", "--disable-gpu", "--kiosk", "--no-first-run", "--no-default-browser-check"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args([
            "--disable-extensions",
            "--disable-dev-shm-usage",
            "--disable-breakpad",
            "--mute-audio",
            "--hide-scrollbars",
        ])
        .args(["--window-position=0,0", "--window-size=1280,720", "--force-device-scale-factor=1"])
        .arg(format!("--user-data-dir={}", logs.join("profile").display()))
        .arg(format!("file://{ROOT}/benches/rival/scoreboard.html"))
        .env("DISPLAY", &display)
        // None to talk to, and its absence must not cost anything.
        .env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
    spawn(tree, chromium, &logs.join("chromium.log"));
    let painted = wait_for(START, || shows_scoreboard(&display));
    assert!(painted, "Chromium does not show the scoreboard\n{}", tail_of(logs));

    let x264 = "nal-hrd=cbr:force-cfr=1:keyint=60:min-keyint=60:scenecut=0:bframes=0:ref=1:weightp=0";
    let (rate, vbv, gop) = (format!("{KBPS}k"), format!("{}k", KBPS * 24 / 100), (2 * FPS).to_string());
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-hide_banner", "-loglevel", "warning", "-nostats", "-nostdin"])
        .args(["-f", "x11grab", "-draw_mouse", "0", "-framerate", &FPS.to_string(), "-video_size", "1280x720"])
        .args(["-i", &display])
        .args(["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo"])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
            "-profile:v",
            "high",
            "-threads:v",
            "1",
        ])
        .args(["-pix_fmt", "yuv420p", "-b:v", &rate, "-maxrate", &rate, "-bufsize", &vbv, "-g", &gop])
        .args(["-x264-params", x264, "-c:a", "aac", "-b:a", "160k", "-f", "flv"])
        .arg(format!("{address}/{key}"));
    spawn(tree, ffmpeg, &logs.join("ffmpeg.log"));
}

/// Looks at two pixels of the evaluation bar: one side's colour on the left, the other's on the right.
fn shows_scoreboard(display: &str) -> bool {
    let pixel = |x: u32| {
        let grab = Command::new("ffmpeg")
            .args(["-loglevel", "quiet", "-nostdin", "-f", "x11grab", "-draw_mouse", "0", "-video_size", "16x16"])
            .args(["-i", &format!("{display}+{x},130"), "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
            .output();
        grab.ok().and_then(|o| o.stdout.first_chunk::<3>().copied())
    };
    pixel(72) == Some([0x4a, 0xa8, 0xff]) && pixel(1180) == Some([0xff, 0x9a, 0x2e])
}

/// Starts a program as part of the tree, its errors in `log`; returns the first line of its output if that is piped.
fn spawn(tree: &mut Tree, mut command: Command, log: &Path) -> Option<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let errors = File::create(log).expect("the temporary folder is ours");
    // Standard output is one with the errors unless it is read here.
    let piped = program == "Xvfb";
    if !piped {
        command.stdout(errors.try_clone().expect("a file can be opened twice"));
    }
    let child = command.stdin(Stdio::null()).stderr(errors).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{program} does not start ({e}); run: .ci/setup bench"));
    let output = child.stdout.take();
    // Part of the tree before anything can go wrong.
    tree.add(child);
    let mut line = String::new();
    BufReader::new(output?).read_line(&mut line).ok()?;
    Some(line.trim().to_owned()).filter(|l| !l.is_empty())
}

/// The last lines of every log.
fn tail_of(logs: &Path) -> String {
    let mut text = String::new();
    let files = fs::read_dir(logs).into_iter().flatten().flatten().map(|e| e.path());
    for path in files.filter(|p| p.extension().is_some_and(|e| e == "log")) {
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(12)..];
        text += &format!("--- {}\n{}\n", path.file_name().unwrap_or_default().to_string_lossy(), last.join("\n"));
    }
    text
}

fn print(costs: &[Cost], seconds: Duration) {
    println!("\nOne stream of 720p{FPS} at {KBPS} kbit/s to nginx-rtmp on this machine, {} s each", seconds.as_secs());
    if cfg!(debug_assertions) {
        println!("(dev profile: agentcast's own code is lightly optimised; `make bench` uses the release profile)");
    }
    println!("{:36}{:>14}{:>10}{:>8}{:>9}{:>9}", "", "core-s/s", "PSS MiB", "fps", "kbit/s", "ratio");
    let ours = costs.first().map_or(1.0, |c| c.cores);
    for c in costs {
        let (memory, ratio) = (c.memory as f64 / f64::from(1 << 20), c.cores / ours);
        println!("{:36}{:>14.3}{:>10.0}{:>8.1}{:>9.0}{:>8.1}x", c.name, c.cores, memory, c.fps, c.kbps, ratio);
        if c.by_program.len() > 1 {
            let parts: Vec<_> = c.by_program.iter().map(|(name, cores)| format!("{name} {cores:.3}")).collect();
            println!("{:38}of it {}", "", parts.join(", "));
        }
    }
}
