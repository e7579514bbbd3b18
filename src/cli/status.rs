use crate::output::State;
use crate::stream::StreamStatus;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// Logs go to standard error: warnings by default.
pub fn init_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,wgpu_core=warn,wgpu_hal=warn,naga=warn",
        2 => "debug,wgpu_core=info,wgpu_hal=info,naga=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("AGENTCAST_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Only a second call could fail; the first subscriber stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .try_init();
}

/// The stream in one line.
pub fn line(s: &StreamStatus) -> String {
    let seconds = s.uptime.as_secs();
    let mut line = format!(
        "{}:{:02}  {:.1} fps  {}  draw {:.1} ms  encode {:.1} ms  {} late",
        seconds / 60,
        seconds % 60,
        s.fps,
        rate(s.kbps),
        s.draw.as_secs_f64() * 1e3,
        s.encode.as_secs_f64() * 1e3,
        s.skipped,
    );
    for o in &s.outputs {
        line += &format!(" | {} {}", o.name, word(o.state));
        if o.state == State::Live {
            line += &format!(" {}", rate(o.kbps));
        }
        if o.dropped > 0 {
            line += &format!(", {} dropped", o.dropped);
        }
        if o.reconnects > 0 {
            line += &format!(", {} reconnects", o.reconnects);
        }
    }
    line
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
            let columns =
                rustix::termios::tcgetwinsize(std::io::stderr()).map_or(100, |w| usize::from(w.ws_col.max(20)));
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
            eprintln!();
            self.width = 0;
        }
    }
}
