//! The command line: reads arguments, wires the rooms together through [`crate::studio`], says what is going on.

mod apikey;
mod check;
mod check_livekit;
mod database;
mod db;
mod demo;
mod key;
mod lines;
mod livekit;
mod offline;
mod on_air;
mod serve;
mod settings;
mod status;

use crate::draw::Size;
use crate::encode::{Profile, VideoCodec};
use crate::game::View;
use crate::game::adapters::Format;
use crate::livekit::token::Role;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Headless broadcaster for AI agents: match state in, a watchable stream out.
#[derive(Parser, Debug)]
#[command(name = "agentcast", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more (-v: what the stream does, -vv: what the libraries say). AGENTCAST_LOG takes filters too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  agentcast demo                                   a bundled match, preview page and demo.mp4
  agentcast play match.pgn --rtmp rtmp://live.example.com/app
                                                   asks for the stream key and goes on air
  my-game-server | agentcast play - --record m.mp4 live: one event a line (JSON)
  agentcast play match.pgn --livekit-room final    into a LiveKit room (LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET)
  agentcast token --room final --identity ada --role viewer
                                                   prints a token to join that room with
  agentcast render match.pgn -o match.mp4          faster than real time
  agentcast render match.pgn -o frame.png --at 42  one picture
  agentcast check --rtmp rtmps://live.example.com/app
                                                   what works on this machine, and what to do

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a destination refused the stream.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Play a bundled real match: preview page, demo.mp4, and an RTMP destination if one is named
    Demo(Demo),
    /// Broadcast a recorded match, or a live one from standard input (`-`)
    Play(Play),
    /// Render a recorded match to a video or one picture, faster than real time
    Render(Render),
    /// Say what works on this machine, line by line, with what to do
    Check(Check),
    /// Print a token to join a LiveKit room with (signed with LIVEKIT_API_KEY and LIVEKIT_API_SECRET)
    Token(Token),
    /// Make and rotate the keys by which the service protects stream keys and sessions
    #[command(subcommand)]
    Key(key::Keys),
    /// Make, list and revoke API keys, straight in the store
    #[command(subcommand)]
    Apikey(apikey::ApiKeys),
    /// Make and list tenants, straight in the store
    #[command(subcommand)]
    Tenant(apikey::Tenants),
    /// Run the service: agents, encrypted stream keys, matches fed over HTTP, streams that go on air by themselves
    Serve(serve::Serve),
    /// Copy, restore and check the service's database
    #[command(subcommand)]
    Db(db::Db),
    /// Print the settings in force and where each comes from; --explain describes all of them
    Config(settings::Config),
}

#[derive(Args, Debug)]
struct Demo {
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Which bundled match
    #[arg(long, default_value = "chess", value_parser = ["chess", "snakes", "poker"])]
    game: String,
    /// Start over when the match is over, until stopped
    #[arg(long = "loop")]
    repeat: bool,
    /// Port of the preview page on 127.0.0.1 (0: any free one)
    #[arg(long, default_value_t = 8090)]
    preview_port: u16,
    /// Publish into a LiveKit room too (agentcast-demo unless --livekit-room names one), and print how to watch
    #[arg(long)]
    livekit: bool,
}

#[derive(Args, Debug)]
struct Play {
    /// A record (PGN, PHH, Battlesnake lines, Kaggle episode, agentcast events), or `-` for live events on standard input
    file: PathBuf,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Times faster than it happened. Default: 1
    #[arg(long, value_parser = speed)]
    speed: Option<f64>,
    /// Countdown before the first move, seconds. Default: 5
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=600))]
    lead_in: Option<u32>,
    /// Start over when the match is over, until stopped
    #[arg(long = "loop")]
    repeat: bool,
    /// Also serve the preview page on this port of 127.0.0.1 (0: any free one)
    #[arg(long)]
    preview_port: Option<u16>,
}

#[derive(Args, Debug)]
struct Render {
    /// A record (PGN, PHH, Battlesnake lines, Kaggle episode, agentcast events)
    file: PathBuf,
    /// `.mp4` for the whole match, `.png` for one picture
    #[arg(short, long)]
    output: PathBuf,
    /// Moment of the picture, seconds into the match
    #[arg(long, default_value_t = 0.0, value_parser = moment)]
    at: f64,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Times faster than it happened
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Countdown before the first move, seconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=600))]
    lead_in: u32,
}

#[derive(Args, Debug)]
struct Check {
    /// Also try whether this RTMP(S) server can be reached
    #[arg(long)]
    rtmp: Option<String>,
    /// CA certificates (PEM) to trust beside the system's
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Part of the name of the graphics adapter to use
    #[arg(long, env = "AGENTCAST_ADAPTER")]
    adapter: Option<String>,
    /// Also check the LiveKit server. Done without asking where LIVEKIT_URL or LIVEKIT_API_KEY is set
    #[arg(long)]
    livekit: bool,
    #[command(flatten)]
    livekit_server: livekit::ServerArgs,
    /// Also start an egress job on the LiveKit server, with nothing to send, and stop it: only so a worker shows itself
    #[arg(long)]
    egress: bool,
    /// Address of a running `agentcast serve`: also tell whether webhooks of the LiveKit server arrive there
    #[arg(long, value_name = "URL")]
    service: Option<String>,
}

#[derive(Args, Debug)]
struct Token {
    /// The room, 1 to 256 bytes
    #[arg(long)]
    room: String,
    /// Who it is for, 1 to 256 bytes. Whoever joins second under one identity takes the first one's place
    #[arg(long)]
    identity: String,
    /// publisher: sends a stream. viewer: watches. guest: watches, and publishes once approved. operator: hidden, sees, mutes
    /// and removes participants
    #[arg(long, value_parser = role)]
    role: Role,
    /// Name that others see
    #[arg(long)]
    name: Option<String>,
    /// How long one can join with it: 90s, 30m, 2h. Default: 1h, publishers 10m; at most: 6h, publishers 60m
    #[arg(long, value_parser = livekit::duration)]
    ttl: Option<Duration>,
    /// Viewer or guest may send chat
    #[arg(long)]
    chat: bool,
    /// Guest may publish camera and microphone
    #[arg(long)]
    approved: bool,
}

#[derive(Args, Debug)]
struct RecordArgs {
    /// Format of the record; recognised by its content when left out
    #[arg(long, value_parser = format)]
    format: Option<Format>,
    /// A Battlesnake game description (the board size of websocket events) or the logs of a Kaggle episode
    #[arg(long)]
    companion: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct PictureArgs {
    /// Picture size: 720p or 1080p. Default: 720p, 1080p on a real GPU
    #[arg(long, value_parser = size)]
    size: Option<Size>,
    /// Frames a second
    #[arg(long, default_value_t = 30, value_parser = fps)]
    fps: u32,
    /// Constant video bit rate, kbit/s. Default: 3000 at 720p, 6000 at 1080p, half more at 50 and 60 fps
    #[arg(long, value_parser = clap::value_parser!(u32).range(500..=20_000))]
    kbps: Option<u32>,
    /// Through whose eyes: spectator, side:ID (what that side may see) or all (every hidden hand)
    #[arg(long, default_value = "spectator", value_parser = view)]
    view: View,
    /// Hold the picture back, seconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=600))]
    delay: u32,
    /// arena, paper, or a theme file
    #[arg(long, default_value = "arena")]
    theme: String,
    /// Folder with the pictures that the match names (avatars, card art): NAME.png, NAME.jpg or NAME.webp
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Part of the name of the graphics adapter to use
    #[arg(long, env = "AGENTCAST_ADAPTER")]
    adapter: Option<String>,
    /// Video encoder
    #[arg(long, default_value = "auto", value_parser = codec)]
    codec: VideoCodec,
    /// H.264 profile
    #[arg(long, default_value = "high", value_parser = profile)]
    profile: Profile,
    /// x264 preset
    #[arg(long, default_value = "veryfast", value_parser = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"])]
    preset: String,
    /// No animation: every change is a cut
    #[arg(long)]
    reduced_motion: bool,
    /// For measuring what damage saves: draw and encode every frame whole. The pictures are the same
    #[arg(long, hide = true)]
    redraw_all: bool,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Publish to this RTMP(S) address without the key: rtmps://HOST/APP
    #[arg(long, value_name = "URL")]
    rtmp: Vec<String>,
    /// File with the stream key (one line), for several --rtmp one each in their order. Else AGENTCAST_STREAM_KEY, else you
    /// are asked
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// CA certificates (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Record to this MP4 file (replaced if it exists)
    #[arg(long, value_name = "PATH")]
    record: Option<PathBuf>,
    #[command(flatten)]
    room: livekit::RoomArgs,
}

/// What waits for standard error is written within this, or nobody reads it.
const LOG_WRITTEN: Duration = Duration::from_secs(1);

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The service's log is part of its settings.
    if !matches!(cli.command, Command::Serve(_)) {
        status::init_logging(cli.verbose);
    }
    crate::output::log::install();
    // Mesa's device-selection layer looks for a desktop and complains on standard error when there is none; the adapter is
    // chosen by us.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    let done = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Play(args) => on_air::play(args),
        Command::Render(args) => offline::render(args),
        Command::Check(args) => check::run(args),
        Command::Token(args) => livekit::token(args),
        Command::Key(args) => key::run(args),
        Command::Apikey(args) => apikey::api_keys(args),
        Command::Tenant(args) => apikey::tenants(args),
        Command::Serve(args) => serve::run(args, cli.verbose),
        Command::Db(args) => db::run(args),
        Command::Config(args) => settings::config(args),
    };
    status::flush(LOG_WRITTEN);
    done.unwrap_or_else(|error| {
        status::say!("agentcast: {error:#}");
        // 2 is what clap says of its own.
        if error.downcast_ref::<Usage>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

/// An argument that is wrong, by name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn usage(words: impl Into<String>) -> Usage {
    Usage(words.into())
}

fn size(s: &str) -> Result<Size, String> {
    match s {
        "720p" | "1280x720" => Ok(Size::HD),
        "1080p" | "1920x1080" => Ok(Size::FULL_HD),
        _ => Err("720p or 1080p".into()),
    }
}

fn fps(s: &str) -> Result<u32, String> {
    match s {
        "24" | "25" | "30" | "50" | "60" => Ok(s.parse().unwrap_or(30)),
        _ => Err("24, 25, 30, 50 or 60".into()),
    }
}

fn view(s: &str) -> Result<View, String> {
    s.parse().map_err(|e: crate::game::ViewError| e.to_string())
}

fn speed(s: &str) -> Result<f64, String> {
    let speed = s.parse::<f64>().unwrap_or(f64::NAN);
    if (0.1..=100.0).contains(&speed) { Ok(speed) } else { Err("a number from 0.1 to 100".into()) }
}

fn moment(s: &str) -> Result<f64, String> {
    let seconds = s.parse::<f64>().unwrap_or(f64::NAN);
    if (0.0..=1e6).contains(&seconds) { Ok(seconds) } else { Err("seconds from 0 to 1000000".into()) }
}

fn codec(s: &str) -> Result<VideoCodec, String> {
    match s {
        "auto" => Ok(VideoCodec::Auto),
        "x264" => Ok(VideoCodec::X264),
        "nvenc" => Ok(VideoCodec::Nvenc),
        "vaapi" => Ok(VideoCodec::Vaapi),
        _ => Err("auto, x264, nvenc or vaapi".into()),
    }
}

fn profile(s: &str) -> Result<Profile, String> {
    match s {
        "high" => Ok(Profile::ConstrainedHigh),
        "baseline" => Ok(Profile::ConstrainedBaseline),
        _ => Err("high or baseline".into()),
    }
}

fn role(s: &str) -> Result<Role, String> {
    s.parse().map_err(|_| "publisher, viewer, guest or operator".into())
}

fn format(s: &str) -> Result<Format, String> {
    Format::from_name(s).ok_or_else(|| format!("one of {}", Format::NAMES.join(", ")))
}
