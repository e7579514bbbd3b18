//! `play`: a broadcast in real time until the match is over or somebody stops it. What `demo` has in common with it is here
//! too.

use super::livekit::{RoomArgs, Via, how_to_watch};
use super::status::{StatusLine, line, say};
use super::{OutputArgs, PictureArgs, Play, key, usage};
use crate::encode::VideoSettings;
use crate::game::Event;
use crate::game::adapters::{self, Record};
use crate::game::limits::EVENT_BYTES;
use crate::http::PreviewServer;
use crate::http::server::{Limits, serve};
use crate::livekit::egress::{EgressApi, Encoding};
use crate::output::egress::job::Rules;
use crate::output::egress::{EgressOutput, EgressSettings, Observer};
use crate::output::file::FileOutput;
use crate::output::key::RtmpTarget;
use crate::output::livekit::{RoomOptions, RoomOutput, RoomTarget};
use crate::output::preview::{Preview, PreviewDestination};
use crate::output::rtmp::{RtmpOptions, RtmpOutput};
use crate::output::{Destination, State, Status};
use crate::overlay::Theme;
use crate::stream::{Broadcast, Feed, ReplayOptions, StreamStatus};
use crate::studio::{StreamSettings, Studio};
use crate::webhook::{self, Change, Hub};
use anyhow::{Context, bail};
use livekit_protocol::EgressInfo;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

/// How long the closing scene stays before a played match ends.
pub(super) const OVER: Duration = Duration::from_secs(8);
/// A clean end takes at most this long.
pub(super) const STOP: Duration = Duration::from_secs(4);
/// An egress job that is starting can be told to stop once it has, and that may take longer than [`STOP`].
const LET_GO: Duration = Duration::from_secs(6);
/// Countdown of a record when nobody says otherwise.
const LEAD_IN_MS: i64 = 5_000;

pub fn play(args: Play) -> anyhow::Result<ExitCode> {
    let outputs = &args.outputs;
    let somewhere = !outputs.rtmp.is_empty() || outputs.record.is_some() || outputs.room.livekit_room.is_some();
    if !somewhere && args.preview_port.is_none() {
        let words =
            "nowhere to send the stream: add --rtmp URL, --livekit-room ROOM, --record PATH or --preview-port PORT";
        return Err(usage(words).into());
    }
    let name = args.file.file_stem().map_or("match".into(), |s| s.to_string_lossy().into_owned());
    let what = if args.file == Path::new("-") {
        if let Some(flag) = args.flag_for_records() {
            return Err(usage(format!("{flag} is for a record: events on standard input come as they happen")).into());
        }
        Match::Live
    } else {
        let record = args.record.read(&args.file)?;
        let options = ReplayOptions {
            speed: args.speed.unwrap_or(1.0),
            lead_in_ms: args.lead_in.map_or(LEAD_IN_MS, |seconds| i64::from(seconds) * 1000),
            repeat_after_ms: args.repeat.then_some(OVER.as_millis() as i64),
        };
        Match::Recorded(record, options)
    };
    run(what, &name, &args.picture, &args.outputs, args.preview_port)
}

impl Play {
    /// An argument that was given and means nothing to live events.
    fn flag_for_records(&self) -> Option<&'static str> {
        let given = [
            (self.speed.is_some(), "--speed"),
            (self.lead_in.is_some(), "--lead-in"),
            (self.repeat, "--loop"),
            (self.record.format.is_some(), "--format"),
            (self.record.companion.is_some(), "--companion"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

enum Match {
    Recorded(Record, ReplayOptions),
    /// Wire events on standard input.
    Live,
}

/// What the thread that reads standard input has done so far.
#[derive(Default)]
pub(super) struct Input {
    accepted: AtomicU64,
    closed: AtomicBool,
}

/// What is watched: a broadcast, or the one that the demo's service runs.
pub(super) trait Watched {
    fn status(&self) -> StreamStatus;
    /// False when it ended by a fault.
    fn runs(&self) -> bool;
    /// The match is over.
    fn ended(&self) -> bool;
    fn show_viewers(&self, viewers: Option<u64>);
}

impl Watched for Broadcast {
    fn status(&self) -> StreamStatus {
        Broadcast::status(self)
    }

    fn runs(&self) -> bool {
        Broadcast::runs(self)
    }

    fn ended(&self) -> bool {
        Broadcast::ended(self)
    }

    fn show_viewers(&self, viewers: Option<u64>) {
        self.set_on_air(|on_air| on_air.viewers = viewers);
    }
}

fn run(
    what: Match,
    name: &str,
    picture: &PictureArgs,
    outputs: &OutputArgs,
    preview_port: Option<u16>,
) -> anyhow::Result<ExitCode> {
    // Everything that can be wrong with the arguments comes before the first thread and the first byte written.
    let settings = StreamSettings { joiners: outputs.room.livekit_joiners, ..picture.settings(name)? };
    let pictures = picture.pictures()?;
    let room = outputs.room.target()?;
    let targets = rtmp_targets(outputs)?;
    let vias = outputs.room.vias(targets.len())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();
    // From here on a signal means a clean end.
    let mut signals = Signals::listen().context("signals cannot be handled")?;
    let studio = Studio::open(picture.adapter.clone().into())?;
    let video = studio.video(&settings);
    say!(
        "drawing on {}; {}x{} at {} fps, {} kbit/s",
        studio.gpu().adapter(),
        video.width,
        video.height,
        video.fps,
        video.kbps
    );
    let shown = Arc::<Mutex<String>>::default();
    let (preview, server) = preview_port.map(|port| preview_page(&runtime, port, &shown)).transpose()?.unzip();
    // Those that publish come first.
    let mut destinations: Vec<Box<dyn Destination>> = Vec::new();
    let mut through_egress = Vec::new();
    for (target, via) in targets.into_iter().zip(vias) {
        if via == Via::LivekitEgress {
            say!("publishing to {} through LiveKit's Egress service", target.name());
            through_egress.push(target);
        } else {
            say!("publishing to {}", target.name());
            let options = RtmpOptions { ca_file: outputs.ca_file.clone(), ..RtmpOptions::default() };
            destinations.push(Box::new(RtmpOutput::spawn(target, options)?));
        }
    }
    let mut job = None;
    if let Some(room) = &room {
        let (of_room, observer) = room_outputs(&runtime, room, through_egress, &video, &outputs.room)?;
        destinations.extend(of_room);
        job = observer;
    }
    let publishing = destinations.len();
    if let Some(path) = &outputs.record {
        destinations.push(Box::new(FileOutput::create(path, true)?));
        say!("recording to {}", path.display());
    }
    if let Some(destination) = preview {
        destinations.push(Box::new(destination));
    }
    let linger = OVER + Duration::from_millis(settings.delay_ms.unsigned_abs());
    let input = Arc::<Input>::default();
    let broadcast = match what {
        Match::Recorded(record, options) => {
            if let Some(words) = &record.truncated {
                say!("note: {words}; playing what there is");
            }
            studio.replay(settings, record, options)?
        }
        Match::Live => {
            let (broadcast, feed) = studio.live(settings)?;
            read_events(feed, input.clone())?;
            broadcast
        }
    };
    for (name, bytes) in pictures {
        broadcast.set_picture(&name, &bytes).context("--pictures")?;
    }
    for destination in destinations {
        broadcast.add_output(destination)?;
    }
    let end = runtime.block_on(watch(&broadcast, server.as_ref(), &shown, &input, linger, &mut signals));
    let status = broadcast.stop(STOP);
    runtime.block_on(let_go(job));
    if let Some(server) = server {
        runtime.block_on(server.shutdown());
    }
    sum_up(&status);
    end?;
    let gave_up = |outputs: &[Status]| outputs.iter().any(|o| o.state == State::NeedsAttention);
    let (published, kept) = status.outputs.split_at(publishing.min(status.outputs.len()));
    Ok(match (gave_up(published), gave_up(kept)) {
        (true, _) => ExitCode::from(3),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

/// What it was, once it is over.
pub(super) fn sum_up(status: &StreamStatus) {
    say!("{} pictures, {} of them unchanged, {} late", status.frames, status.unchanged, status.skipped);
    for o in &status.outputs {
        let megabytes = o.bytes as f64 / 1e6;
        let end = match &o.last_error {
            Some(words) if o.state == State::NeedsAttention => format!("; {words}"),
            _ => String::new(),
        };
        say!("  {}: {megabytes:.1} MB, {} pictures dropped, {} reconnects{end}", o.name, o.dropped, o.reconnects);
    }
}

/// What asks the program to end: Ctrl-C, SIGTERM, and the terminal closing.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    pub(super) fn listen() -> std::io::Result<Signals> {
        let [int, term, hup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Signals([int?, term?, hup?]))
    }

    async fn any(&mut self) {
        let [int, term, hup] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}

/// Shows the status until the match is over for `linger`, somebody stops it, or no destination is left.
pub(super) async fn watch(
    broadcast: &impl Watched,
    server: Option<&PreviewServer>,
    shown: &Mutex<String>,
    input: &Input,
    linger: Duration,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut status_line = StatusLine::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut over: Option<Instant> = None;
    let mut told = Vec::new();
    let mut watching = None;
    loop {
        tokio::select! {
            () = signals.any() => break,
            _ = tick.tick() => {}
        }
        let status = broadcast.status();
        let now = viewers(&status);
        if now != watching {
            broadcast.show_viewers(now);
            watching = now;
        }
        let mut text = line(&status);
        if let Some(viewing) = server.and_then(PreviewServer::viewing) {
            text += &format!(" | watched {:.1} s behind", viewing.behind);
        }
        tell(&status, &mut told, &mut status_line);
        status_line.show(&text);
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = text;
        if !broadcast.runs() {
            status_line.end();
            bail!("the stream ended by a fault of its own; what was recorded is kept");
        }
        let closed = input.closed.load(Ordering::Acquire);
        if closed && input.accepted.load(Ordering::Acquire) == 0 {
            status_line.end();
            bail!("standard input ended without one valid event");
        }
        if broadcast.ended() || closed {
            let since = *over.get_or_insert_with(Instant::now);
            if since.elapsed() >= linger {
                break;
            }
        }
        if !status.outputs.is_empty() && status.outputs.iter().all(|o| o.state == State::NeedsAttention) {
            status_line.end();
            say!("agentcast: no destination takes the stream");
            return Ok(());
        }
    }
    status_line.end();
    Ok(())
}

/// How many watch at all destinations that can tell; None: none can.
fn viewers(status: &StreamStatus) -> Option<u64> {
    let known = status.outputs.iter().filter_map(|output| output.viewers);
    known.map(|viewers| u64::from(viewers.now)).reduce(|a, b| a + b)
}

/// The preview page, which shows what `shown` says, and the destination that feeds it.
pub(super) fn preview_page(
    runtime: &Runtime,
    port: u16,
    shown: &Arc<Mutex<String>>,
) -> anyhow::Result<(PreviewDestination, PreviewServer)> {
    let (destination, hub) = Preview::new();
    let shown = shown.clone();
    let text = move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let bound = runtime
        .block_on(PreviewServer::bind(port, hub, text))
        .with_context(|| format!("--preview-port {port}: the page cannot listen there; name another port"))?;
    say!("preview:  http://{}/", bound.address());
    Ok((destination, bound))
}

/// Destinations, and the observer of the job among them, for [`let_go`].
pub(super) type RoomOutputs = (Vec<Box<dyn Destination>>, Option<Observer>);

/// What a stream needs of a LiveKit server: a job of its Egress service for the addresses that go through it, its webhooks if
/// they are to be taken, and the room.
pub(super) fn room_outputs(
    runtime: &Runtime,
    room: &RoomTarget,
    through_egress: Vec<RtmpTarget>,
    video: &VideoSettings,
    args: &RoomArgs,
) -> anyhow::Result<RoomOutputs> {
    let mut destinations: Vec<Box<dyn Destination>> = Vec::new();
    let mut observer = None;
    if !through_egress.is_empty() {
        let egress = egress(room, through_egress, video)?;
        observer = Some(egress.observer());
        destinations.push(Box::new(egress));
    }
    if let Some(address) = args.livekit_webhooks {
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .with_context(|| format!("--livekit-webhooks {address}: cannot listen there; name another port"))?;
        say!("webhooks: http://{}{}", listener.local_addr()?, webhook::PATH);
        runtime.spawn(take_webhooks(listener, Hub::new(&room.server), observer.clone()));
    }
    say!("publishing to room {} on {}", room.room, room.server.host());
    destinations.push(Box::new(RoomOutput::spawn(room.clone(), RoomOptions::default())?));
    if args.how_to_watch {
        // On standard output, which is nobody's log. It may be closed.
        let _ = writeln!(std::io::stdout().lock(), "{}", how_to_watch(&room.server, &room.room)?);
    }
    Ok((destinations, observer))
}

/// Waits until LiveKit knows that the job of a destination that was stopped shall end: nobody tells it later.
pub(super) async fn let_go(job: Option<Observer>) {
    let Some(job) = job else { return };
    if tokio::time::timeout(LET_GO, job.told()).await.is_err() {
        say!(
            "warning: LiveKit has not confirmed that it stops the egress job, which may go on sending; look at it with `lk egress \
             list`"
        );
    }
}

/// One job of LiveKit's Egress service for all addresses, from the room that the stream is published into.
fn egress(room: &RoomTarget, targets: Vec<RtmpTarget>, video: &VideoSettings) -> anyhow::Result<EgressOutput> {
    let encoding = Encoding { width: video.width, height: video.height, fps: video.fps, video_kbps: video.kbps };
    let settings = EgressSettings { room: room.room.clone(), identity: room.identity.clone(), source: None, encoding };
    Ok(EgressOutput::spawn(EgressApi::new(room.server.clone()), settings, targets, Rules::default())?)
}

/// Takes webhooks as long as the runtime lives, and tells the egress destination of jobs.
async fn take_webhooks(listener: TcpListener, hub: Hub, observer: Option<Observer>) {
    let mut changes = hub.subscribe();
    let jobs = async {
        loop {
            match changes.recv().await {
                Ok(Change::Egress(info)) => {
                    // One that cannot be told now is seen by the next look at the list.
                    let _ = observer.as_ref().is_some_and(|o| o.observe(EgressInfo::clone(&info)));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    };
    tokio::join!(serve(listener, hub.router(), Limits::default(), std::future::pending()), hub.run(), jobs);
}

/// Prints each destination's trouble once, in its own line.
fn tell(status: &StreamStatus, told: &mut Vec<Option<String>>, status_line: &mut StatusLine) {
    told.resize(status.outputs.len(), None);
    for (output, told) in status.outputs.iter().zip(told) {
        if output.last_error != *told {
            if let Some(words) = &output.last_error {
                status_line.end();
                say!("{}: {words}", output.name);
            }
            told.clone_from(&output.last_error);
        }
    }
}

/// Every named address with its key.
pub(super) fn rtmp_targets(args: &OutputArgs) -> anyhow::Result<Vec<RtmpTarget>> {
    let parse = |url: &String| RtmpTarget::parse(url, None).context(usage("--rtmp"));
    let mut targets = args.rtmp.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let without = targets.iter().filter(|t| !t.key_in_url()).count();
    let files = args.key_file.len();
    if files > without || (files > 0 && files < without) {
        let words = format!("--key-file: {files} given for {without} addresses without a key; name one for each");
        return Err(usage(words).into());
    }
    if without > 1 && files == 0 && std::env::var_os("AGENTCAST_STREAM_KEY").is_some() {
        let words = format!("AGENTCAST_STREAM_KEY holds one key for {without} addresses; use --key-file for each");
        return Err(usage(words).into());
    }
    let mut files = args.key_file.iter();
    for (target, url) in targets.iter_mut().zip(&args.rtmp) {
        if target.key_in_url() {
            say!(
                "warning: the stream key stands in the address, where others on this host can read it; \
                 use --key-file or AGENTCAST_STREAM_KEY"
            );
        } else {
            let key = key::find(files.next().map(PathBuf::as_path), &target.name())?;
            *target = RtmpTarget::parse(url, Some(key)).context(usage("--rtmp"))?;
        }
    }
    Ok(targets)
}

/// Feeds the lines of standard input; a bad one is reported with its number and skipped.
fn read_events(feed: Feed, input: Arc<Input>) -> anyhow::Result<()> {
    let work = move || {
        let mut lines = std::io::stdin().lock();
        let mut line = Vec::new();
        for number in 1u64.. {
            match next_line(&mut lines, &mut line) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!("standard input: {error}");
                    break;
                }
            }
            match push(&feed, &line) {
                Ok(accepted) => _ = input.accepted.fetch_add(u64::from(accepted), Ordering::Release),
                Err(error) => tracing::warn!("line {number} of the events: {error}"),
            }
        }
        input.closed.store(true, Ordering::Release);
    };
    std::thread::Builder::new().name("events".into()).spawn(work).context("reading events")?;
    Ok(())
}

/// Whether the line was an event, not an empty one.
fn push(feed: &Feed, line: &[u8]) -> Result<bool, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    if line.trim().is_empty() {
        return Ok(false);
    }
    let event = Event::from_json(line).map_err(|e| e.to_string())?;
    feed.push(event).map_err(|e| e.to_string())?;
    Ok(true)
}

/// Reads a line with its end; false: there is none. Of one over the limit only a part that is still over it.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let most = EVENT_BYTES + 2;
    let got = input.by_ref().take(most as u64).read_until(b'\n', line)?;
    if got == most && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(got > 0)
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
            redraw_all: self.redraw_all,
            ..StreamSettings::default()
        })
    }
}

impl PictureArgs {
    /// Names and bytes of the files in the folder of pictures.
    pub fn pictures(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let Some(dir) = &self.pictures else { return Ok(Vec::new()) };
        let what = || usage(format!("--pictures {}", dir.display()));
        let mut pictures = Vec::new();
        for entry in std::fs::read_dir(dir).with_context(what)? {
            let path = entry.with_context(what)?.path();
            let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
            if let Some(name) = path.file_stem().and_then(|n| n.to_str())
                && matches!(kind.as_str(), "png" | "jpg" | "jpeg" | "webp")
            {
                let bytes = std::fs::read(&path).with_context(|| usage(format!("--pictures {}", path.display())))?;
                pictures.push((name.to_owned(), bytes));
            }
        }
        Ok(pictures)
    }
}

fn theme(name: &str) -> anyhow::Result<Theme> {
    if let Ok(theme) = Theme::named(name) {
        return Ok(theme);
    }
    let text = std::fs::read_to_string(name)
        .context(usage(format!("--theme {name}: neither a built-in theme (arena, paper) nor a file")))?;
    Theme::from_json(&text).context(usage(format!("--theme {name}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; EVENT_BYTES + 100];
        text.extend_from_slice(b"\nnext\n\nlast");
        let (mut input, mut line) = (std::io::Cursor::new(text), Vec::new());
        assert!(next_line(&mut input, &mut line).unwrap());
        assert!(line.len() > EVENT_BYTES);
        for wanted in [&b"next\n"[..], b"\n", b"last"] {
            assert!(next_line(&mut input, &mut line).unwrap());
            assert_eq!(line, wanted);
        }
        assert!(!next_line(&mut input, &mut line).unwrap());
    }
}
