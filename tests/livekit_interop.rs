//! `make interop`: a room in Chromium with LiveKit's own browser SDK, published to by the program. Prints what the browser
//! counted, and leaves its picture in `tests/out/livekit.png`.

mod support;

use agentcast::livekit::token::{Role, TokenRequest};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use support::browser::Browser;
use support::dir::TempDir;
use support::livekit::{LiveKit, browser_sdk};
use support::program::{Program, agentcast, file, wait_until};

/// What the page posted.
#[derive(Default)]
struct Posted {
    report: Mutex<Value>,
    picture: Mutex<Option<Vec<u8>>>,
    wants_picture: AtomicBool,
    over: AtomicBool,
}

/// Serves the page and takes its posts.
struct Site {
    posted: Arc<Posted>,
    thread: Option<JoinHandle<()>>,
    port: u16,
}

impl Site {
    fn start(config: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let posted = Arc::<Posted>::default();
        let to = posted.clone();
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if to.over.load(SeqCst) {
                    return;
                }
                // A browser opens connections that it does not use.
                let (to, config) = (to.clone(), config.clone());
                std::thread::spawn(move || serve(client, &config, &to));
            }
        });
        Self { posted, thread: Some(thread), port }
    }

    /// Waits for a report with this in it.
    #[track_caller]
    fn wait<T>(&self, what: &str, within: Duration, ask: impl Fn(&Value) -> Option<T>) -> T {
        wait_until(what, within, || {
            let report = self.posted.report.lock().unwrap();
            let failed = report["events"].as_array().into_iter().flatten().find(|event| event[1] == "failed");
            assert!(failed.is_none(), "{what}: {failed:?}");
            ask(&report)
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.posted.over.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, then the connection is closed.
fn serve(client: TcpStream, config: &Value, posted: &Posted) -> Option<()> {
    client.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut input = BufReader::new(client.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    input.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let page = || std::fs::read(file("tests/livekit/web/index.html")).expect("it is in the repository");
    let (kind, answer) = match first.split(' ').nth(1)? {
        "/" => ("text/html", page()),
        "/livekit-client.umd.js" => ("text/javascript", std::fs::read(browser_sdk()).expect("it is in the cache")),
        "/config.json" => ("application/json", config.to_string().into_bytes()),
        "/report" => {
            *posted.report.lock().unwrap() = serde_json::from_slice(&body).ok()?;
            let wants: &[u8] = if posted.wants_picture.swap(false, SeqCst) { b"picture" } else { b"" };
            ("text/plain", wants.to_vec())
        }
        "/picture" => {
            *posted.picture.lock().unwrap() = Some(body);
            ("text/plain", Vec::new())
        }
        _ => ("text/plain", Vec::new()),
    };
    let mut output = client;
    let length = answer.len();
    write!(output, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
        .ok()?;
    output.write_all(&answer).ok()
}

#[test]
fn the_demo_plays_in_chromium_with_livekits_own_sdk() {
    let (livekit, dir, profile) = (LiveKit::start(), TempDir::new("demo"), TempDir::new("browser"));
    let mut command = agentcast();
    command
        .current_dir(dir.path())
        .args(["demo", "--livekit", "--size", "720p", "--preview-port", "0", "--loop"])
        .envs([("LIVEKIT_URL", livekit.url().as_str()), ("LIVEKIT_API_KEY", livekit.key())])
        .env("LIVEKIT_API_SECRET", livekit.secret());
    let mut program = Program::start(&mut command);
    program.wait_for("preview:");
    let token = livekit.server().token(&TokenRequest::new(Role::Viewer, "agentcast-demo", "chromium"));
    let token = token.expect("a good request");
    let site = Site::start(json!({ "url": livekit.url(), "token": token.expose_secret() }));
    let _browser = Browser::open(&format!("http://127.0.0.1:{}/", site.port), &profile);

    let decoded = |report: &Value| report["video"]["framesDecoded"].as_u64();
    let freezes = |report: &Value| report["video"]["freezeCount"].as_u64();
    // Decoders, fonts and shaders are loaded in the first seconds.
    let so_far = |r: &Value| Some((decoded(r)?, freezes(r)?));
    let mut from = site.wait("pictures in Chromium", Duration::from_secs(60), |r| so_far(r).filter(|now| now.0 > 90));
    // A machine that has something else to do for a moment makes a freeze too: one of four stretches without any will do.
    let mut seen = Vec::new();
    let later = loop {
        let later = site
            .wait("10 s of pictures", Duration::from_secs(60), |r| (so_far(r)?.0 > from.0 + 300).then(|| r.clone()));
        let to = so_far(&later).expect("both were there before");
        if to.1 == from.1 {
            break later;
        }
        seen.push((from, to));
        assert!(seen.len() < 4, "pictures and freezes, from and to: {seen:?}");
        from = to;
    };
    site.posted.wants_picture.store(true, SeqCst);
    let picture = wait_until("the picture", Duration::from_secs(20), || site.posted.picture.lock().unwrap().take());
    let out: PathBuf = file("tests/out");
    std::fs::create_dir_all(&out).expect("a folder for pictures");
    std::fs::write(out.join("livekit.png"), &picture).expect("a folder for pictures");
    println!("{}\npicture: {}", serde_json::to_string_pretty(&later).expect("JSON"), out.join("livekit.png").display());

    let video = &later["video"];
    assert_eq!((video["frameWidth"].as_u64(), video["frameHeight"].as_u64()), (Some(1280), Some(720)), "{later}");
    assert!(later["audio"]["totalSamplesReceived"].as_u64() > Some(400_000), "sound: {later}");
    assert!(later["data"]["agentcast.state"].as_u64() > Some(0), "the match as data: {later}");
    let image = image::load_from_memory(&picture).expect("a PNG").to_luma8();
    let (least, most) = image.pixels().fold((255, 0), |(a, b), p| (a.min(p.0[0]), b.max(p.0[0])));
    assert!(image.dimensions() == (1280, 720) && most - least > 150, "an empty picture: {least} to {most}");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
    site.wait("Chromium to see the end", Duration::from_secs(10), |r| {
        r["events"].as_array()?.iter().any(|event| event[1] == "unsubscribed").then_some(())
    });
}
