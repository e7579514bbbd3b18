use super::lines::Lines;
use crate::config::{LogConfig, LogFormat};
use crate::output::State;
use crate::output::log::scrub;
use crate::stream::StreamStatus;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// Prints a line on standard error, without secrets. A closed terminal is no reason to stop a broadcast, so it never panics,
/// unlike `eprintln!`.
macro_rules! say {
    ($($text:tt)+) => {{
        use std::io::Write as _;
        let text = crate::output::log::scrub(&format!($($text)+));
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }};
}
pub(super) use say;

/// Standard error for logs: every line passes the scrubber. LiveKit's crates log the server's answer to a refused token, and
/// that answer repeats the token.
struct Scrubbed;

impl Write for Scrubbed {
    /// Takes a whole line at once, as `tracing-subscriber` writes it.
    ///
    /// Scrubbed here and not by the log's thread: by then a secret may be forgotten.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        put(&scrub(&String::from_utf8_lossy(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log's thread; None where the system has none to give.
static LINES: OnceLock<Option<Lines>> = OnceLock::new();

fn put(line: &str) {
    match LINES.get() {
        Some(Some(lines)) => lines.push(line),
        _ => _ = std::io::stderr().lock().write_all(line.as_bytes()),
    }
}

/// Waits for the log to be written, at most this long: before the program ends.
pub fn flush(within: Duration) {
    if let Some(Some(lines)) = LINES.get() {
        lines.flush(within);
    }
}

/// A line before the program ends at once, unless nobody reads it.
pub fn last_words(words: &str) {
    put(&scrub(&format!("{words}\n")));
    flush(Duration::from_millis(200));
}

fn left_out(format: LogFormat) -> fn(u64) -> String {
    match format {
        LogFormat::Human => |n| format!("WARN {n} lines of the log are left out here: standard error was not read\n"),
        LogFormat::Json => |n| {
            let message = format!("{n} lines of the log are left out here: standard error was not read");
            let line = serde_json::json!({ "level": "WARN", "message": message, "left_out": n });
            format!("{line}\n")
        },
    }
}

/// Logs go to standard error: warnings by default.
pub fn init_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,wgpu_core=warn,wgpu_hal=warn,naga=warn",
        2 => "debug,wgpu_core=info,wgpu_hal=info,naga=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("AGENTCAST_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    Log::start(filter, LogFormat::Human, verbose > 1);
}

/// The service's log, whose level can change while it runs.
pub struct Log {
    format: LogFormat,
    set: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
}

impl Log {
    /// As the settings say. `verbose` counts only while nothing else names a level.
    pub fn of_service(config: &LogConfig, level_given: bool, verbose: u8) -> Log {
        let level = match verbose {
            1 | 2 if !level_given => "debug",
            3.. if !level_given => "trace",
            _ => &config.level,
        };
        Log::start(service_filter(level), config.format, verbose > 1)
    }

    fn start(filter: EnvFilter, format: LogFormat, target: bool) -> Log {
        LINES.get_or_init(|| Lines::start(std::io::stderr(), left_out(format)).ok());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| Scrubbed)
            // It would be told by `eprintln!`.
            .log_internal_errors(false)
            .with_ansi(format == LogFormat::Human && std::io::stderr().is_terminal())
            .with_target(target || format == LogFormat::Json);
        // Only a second start could fail; the first subscriber stays.
        let set: Box<dyn Fn(EnvFilter) -> bool + Send + Sync> = match format {
            LogFormat::Human => {
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                Box::new(move |filter| handle.reload(filter).is_ok())
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_filter_reloading();
                let handle = builder.reload_handle();
                let _ = builder.try_init();
                Box::new(move |filter| handle.reload(filter).is_ok())
            }
        };
        Log { format, set }
    }

    pub fn set_level(&self, level: &str) {
        if !(self.set)(service_filter(level)) {
            tracing::warn!("the log's level stays as it is");
        }
    }

    /// Tells the operator something that stands at no level: a line of its own, or an object among the others.
    pub fn tell(&self, words: &str) {
        match self.format {
            LogFormat::Human => put(&scrub(&format!("{words}\n"))),
            LogFormat::Json => tracing::info!("{words}"),
        }
    }
}

/// The level for everything but what libraries say of each of their steps; naming them asks for that too.
fn service_filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("wgpu_core=warn,wgpu_hal=warn,naga=warn,sqlx=warn,{level}"))
}

/// The stream in one line, what matters most first: a narrow terminal cuts it off.
pub fn line(s: &StreamStatus) -> String {
    let seconds = s.uptime.as_secs();
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let mut line = format!("{minutes}:{seconds:02}  {:.1} fps  {}  {} late", s.fps, rate(s.kbps), s.skipped);
    for o in &s.outputs {
        line += &format!(" | {} {}", o.name, word(o.state));
        if o.state == State::Live {
            line += &format!(" {}", rate(o.kbps));
        }
        if let Some(viewers) = o.viewers {
            line += &format!(", {} watching", viewers.now);
        }
        if o.dropped > 0 {
            line += &format!(", {} dropped", o.dropped);
        }
        if o.reconnects > 0 {
            line += &format!(", {} reconnects", o.reconnects);
        }
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    line + &format!(" | draw {:.1} ms, encode {:.1} ms", ms(s.draw), ms(s.encode))
}

fn rate(kbps: u32) -> String {
    if kbps < 1000 { format!("{kbps} kbit/s") } else { format!("{:.1} Mbit/s", f64::from(kbps) / 1000.0) }
}

fn word(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Connecting => "connecting",
        State::Live => "live",
        State::Reconnecting => "reconnecting",
        State::NeedsAttention => "NEEDS ATTENTION",
        State::Stopped => "stopped",
    }
}

/// Prints the status: over itself on a terminal, a line every 10 s elsewhere.
pub struct StatusLine {
    terminal: bool,
    printed: Option<Instant>,
    width: usize,
}

impl StatusLine {
    pub fn new() -> StatusLine {
        StatusLine { terminal: std::io::stderr().is_terminal(), printed: None, width: 0 }
    }

    pub fn show(&mut self, text: &str) {
        let mut out = std::io::stderr().lock();
        if self.terminal {
            // Some terminals say that they have no columns.
            let size = rustix::termios::tcgetwinsize(std::io::stderr());
            let columns = size.ok().map(|s| usize::from(s.ws_col)).filter(|c| *c > 0).unwrap_or(100).max(20);
            let text: String = text.chars().take(columns - 1).collect();
            let pad = self.width.saturating_sub(text.chars().count());
            self.width = text.chars().count();
            // A closed terminal is no reason to stop a broadcast.
            let _ = write!(out, "\r{text}{:pad$}", "");
            let _ = out.flush();
        } else if self.printed.is_none_or(|p| p.elapsed() > Duration::from_secs(10)) {
            self.printed = Some(Instant::now());
            let _ = writeln!(out, "{text}");
        }
    }

    /// Ends the line, so that what follows stands below it.
    pub fn end(&mut self) {
        if self.terminal && self.width > 0 {
            let _ = writeln!(std::io::stderr().lock());
            self.width = 0;
        }
    }
}
