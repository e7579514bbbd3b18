//! `demo` and `play`: a broadcast in real time until the match is over or somebody stops it.

use super::status::{StatusLine, line};
use super::{Demo, OutputArgs, PictureArgs, Play, key};
use crate::game::Event;
use crate::game::adapters::{self, Record};
use crate::http::PreviewServer;
use crate::output::file::FileOutput;
use crate::output::key::RtmpTarget;
use crate::output::preview::Preview;
use crate::output::rtmp::{RtmpOptions, RtmpOutput};
use crate::output::{Destination, State};
use crate::overlay::Theme;
use crate::stream::{Broadcast, Feed, ReplayOptions, StreamStatus};
use crate::studio::{StreamSettings, Studio};
use anyhow::{Context, bail};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the closing scene stays before a played match ends.
const OVER: Duration = Duration::from_secs(8);
/// A clean end takes at most this long.
const STOP: Duration = Duration::from_secs(4);
/// Countdown of the demo.
const DEMO_LEAD_IN_MS: i64 = 4_000;

pub fn demo(args: Demo) -> anyhow::Result<ExitCode> {
    let (bytes, name): (&[u8], &str) = match args.game.as_str() {
        "snakes" => (include_bytes!("../../assets/demo/snakes.jsonl"), "Battlesnake, four snakes"),
        "poker" => (include_bytes!("../../assets/demo/poker.phh"), "no-limit hold'em, six players"),
        _ => (include_bytes!("../../assets/demo/chess.pgn"), "chess between two engines"),
    };
    let record = adapters::read(bytes, None).context("the bundled match")?;
    eprintln!("agentcast demo: {name}, a real recorded match");
    let mut outputs = args.outputs;
    outputs.record.get_or_insert_with(|| PathBuf::from("demo.mp4"));
    let options = ReplayOptions {
        lead_in_ms: DEMO_LEAD_IN_MS,
        repeat_after_ms: args.repeat.then_some(OVER.as_millis() as i64),
        ..ReplayOptions::default()
    };
    run(Match::Recorded(record, options), "demo", &args.picture, &outputs, Some(args.preview_port))
}

pub fn play(args: Play) -> anyhow::Result<ExitCode> {
    let name = args.file.file_stem().map_or("match".into(), |s| s.to_string_lossy().into_owned());
    let what = if args.file == Path::new("-") {
        Match::Live
    } else {
        let record = args.record.read(&args.file)?;
        let options = ReplayOptions {
            speed: args.speed,
            lead_in_ms: i64::from(args.lead_in) * 1000,
            repeat_after_ms: args.repeat.then_some(OVER.as_millis() as i64),
        };
        Match::Recorded(record, options)
    };
    if args.outputs.rtmp.is_empty() && args.outputs.record.is_none() && args.preview_port.is_none() {
        bail!("nowhere to send the stream: add --rtmp URL, --record PATH or --preview-port PORT");
    }
    run(what, &name, &args.picture, &args.outputs, args.preview_port)
}

enum Match {
    Recorded(Record, ReplayOptions),
    /// Wire events on standard input.
    Live,
}

fn run(
    what: Match,
    name: &str,
    picture: &PictureArgs,
    outputs: &OutputArgs,
    preview_port: Option<u16>,
) -> anyhow::Result<ExitCode> {
    // Everything that can be wrong with the arguments comes before the first thread.
    let mut destinations = rtmp_outputs(outputs)?;
    let settings = picture.settings(name)?;
    let studio = Studio::open(picture.adapter.clone().into())?;
    let video = studio.video(&settings);
    eprintln!(
        "drawing on {}; {}x{} at {} fps, {} kbit/s",
        studio.gpu().adapter(),
        video.width,
        video.height,
        video.fps,
        video.kbps
    );
    if let Some(path) = &outputs.record {
        destinations.push(Box::new(FileOutput::create(path, true)?));
        eprintln!("recording to {}", path.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stdin_closed = Arc::<AtomicBool>::default();
    let broadcast = match what {
        Match::Recorded(record, options) => {
            if let Some(words) = &record.truncated {
                eprintln!("note: {words}; playing what there is");
            }
            studio.replay(settings, record, options)?
        }
        Match::Live => {
            let (broadcast, feed) = studio.live(settings)?;
            read_events(feed, stdin_closed.clone())?;
            broadcast
        }
    };
    for destination in destinations {
        broadcast.add_output(destination)?;
    }
    let shown = Arc::<Mutex<String>>::default();
    let server = match preview_port {
        Some(port) => {
            let (destination, hub) = Preview::new();
            broadcast.add_output(Box::new(destination))?;
            let shown = shown.clone();
            let text = move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let server = runtime
                .block_on(PreviewServer::bind(port, hub, text))
                .with_context(|| format!("the preview page cannot listen on 127.0.0.1:{port}; name another port"))?;
            eprintln!("preview:  http://{}/", server.address());
            Some(server)
        }
        None => None,
    };
    let code = runtime.block_on(watch(&broadcast, server.as_ref(), &shown, &stdin_closed));
    let status = broadcast.status();
    let outputs = status.outputs.clone();
    broadcast.stop(STOP);
    if let Some(server) = server {
        runtime.block_on(server.shutdown());
    }
    eprintln!("{} pictures, {} of them unchanged, {} late", status.frames, status.unchanged, status.skipped);
    for o in outputs {
        eprintln!(
            "  {}: {} MB sent, {} packets dropped, {} reconnects",
            o.name,
            o.bytes / 1_000_000,
            o.dropped,
            o.reconnects
        );
    }
    Ok(code)
}

/// Shows the status until the match is over, somebody stops it, or no destination is left.
async fn watch(
    broadcast: &Broadcast,
    server: Option<&PreviewServer>,
    shown: &Mutex<String>,
    stdin_closed: &AtomicBool,
) -> ExitCode {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!("SIGTERM cannot be handled: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut status_line = StatusLine::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut over: Option<Instant> = None;
    let mut told = Vec::new();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
            _ = tick.tick() => {}
        }
        let status = broadcast.status();
        let mut text = line(&status);
        if let Some(viewing) = server.and_then(PreviewServer::viewing) {
            text += &format!(" | watched {:.1} s behind", viewing.behind);
        }
        tell(&status, &mut told, &mut status_line);
        status_line.show(&text);
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = text;
        if broadcast.ended() || stdin_closed.load(Ordering::Relaxed) {
            let since = *over.get_or_insert_with(Instant::now);
            if since.elapsed() >= OVER {
                break;
            }
        }
        if !status.outputs.is_empty() && status.outputs.iter().all(|o| o.state == State::NeedsAttention) {
            status_line.end();
            eprintln!("agentcast: no destination takes the stream");
            return ExitCode::from(3);
        }
    }
    status_line.end();
    ExitCode::SUCCESS
}

/// Prints each destination's trouble once, in its own line.
fn tell(status: &StreamStatus, told: &mut Vec<Option<String>>, status_line: &mut StatusLine) {
    told.resize(status.outputs.len(), None);
    for (output, told) in status.outputs.iter().zip(told) {
        if output.last_error != *told {
            if let Some(words) = &output.last_error {
                status_line.end();
                eprintln!("{}: {words}", output.name);
            }
            told.clone_from(&output.last_error);
        }
    }
}

fn rtmp_outputs(args: &OutputArgs) -> anyhow::Result<Vec<Box<dyn Destination>>> {
    let mut outputs: Vec<Box<dyn Destination>> = Vec::new();
    for url in &args.rtmp {
        let mut target = RtmpTarget::parse(url, None).context("--rtmp")?;
        if target.key_in_url() {
            eprintln!(
                "warning: the stream key stands in the address, where others on this host can read it; \
                 use --key-file or AGENTCAST_STREAM_KEY"
            );
        } else {
            let key = key::find(args.key_file.as_deref(), &target.name())?;
            target = RtmpTarget::parse(url, Some(key)).context("--rtmp")?;
        }
        eprintln!("publishing to {}", target.name());
        let options = RtmpOptions { ca_file: args.ca_file.clone(), ..RtmpOptions::default() };
        outputs.push(Box::new(RtmpOutput::spawn(target, options)?));
    }
    Ok(outputs)
}

/// Feeds the lines of standard input; a bad one is reported with its number and skipped.
fn read_events(feed: Feed, closed: Arc<AtomicBool>) -> anyhow::Result<()> {
    let work = move || {
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let Ok(line) = line else { break };
            if line.trim().is_empty() {
                continue;
            }
            let pushed = Event::from_json(&line).map_err(|e| e.to_string());
            if let Err(error) = pushed.and_then(|event| feed.push(event).map_err(|e| e.to_string())) {
                tracing::warn!("line {} of the events: {error}", number + 1);
            }
        }
        closed.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("events".into()).spawn(work).context("reading events")?;
    Ok(())
}

impl PictureArgs {
    pub fn settings(&self, name: &str) -> anyhow::Result<StreamSettings> {
        Ok(StreamSettings {
            name: name.to_owned(),
            size: self.size,
            fps: self.fps,
            kbps: self.kbps,
            view: self.view.clone(),
            delay_ms: i64::from(self.delay) * 1000,
            theme: theme(&self.theme)?,
            codec: self.codec,
            profile: self.profile,
            preset: self.preset.clone(),
            reduced_motion: self.reduced_motion,
        })
    }
}

fn theme(name: &str) -> anyhow::Result<Theme> {
    if let Ok(theme) = Theme::named(name) {
        return Ok(theme);
    }
    let text = std::fs::read_to_string(name)
        .with_context(|| format!("--theme {name}: neither a built-in theme (arena, paper) nor a file"))?;
    Theme::from_json(&text).with_context(|| format!("--theme {name}"))
}

impl super::RecordArgs {
    /// Reads a record and its companion.
    pub fn read(&self, path: &Path) -> anyhow::Result<Record> {
        let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
        let companion = match &self.companion {
            Some(path) => Some(std::fs::read(path).with_context(|| format!("--companion {}", path.display()))?),
            None => None,
        };
        adapters::read_with(&bytes, self.format, companion.as_deref()).with_context(|| format!("{}", path.display()))
    }
}
