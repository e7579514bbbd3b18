//! `check`: what works on this machine, each line green, amber or red, with what to do.

use super::Check;
use crate::encode;
use crate::output::{self, Level, RtmpOptions, RtmpTarget};
use crate::raster::FontSet;
use crate::render::Gpu;
use std::io::IsTerminal;
use std::process::ExitCode;

pub fn run(args: Check) -> anyhow::Result<ExitCode> {
    let mut report = Report { color: std::io::stdout().is_terminal(), worst: Level::Good };
    report.line(Level::Good, "agentcast", env!("CARGO_PKG_VERSION"), "");

    let adapters = Gpu::adapters();
    match Gpu::open(args.adapter.as_deref()) {
        Ok(gpu) if gpu.is_hardware() => report.line(Level::Good, "adapter", &gpu.describe(), ""),
        Ok(gpu) => report.line(
            Level::Warn,
            "adapter",
            &format!("{} (draws on the CPU)", gpu.describe()),
            "supported; 720p30 takes about a quarter of a core. For 1080p60 use a machine with a GPU",
        ),
        Err(error) => report.line(Level::Bad, "adapter", &error.to_string(), "apt-get install mesa-vulkan-drivers"),
    }
    for adapter in adapters {
        report.line(Level::Good, "  found", &adapter, "");
    }

    for encoder in encode::probe() {
        let level = match (encoder.opens, encoder.required) {
            (true, _) => Level::Good,
            (false, true) => Level::Bad,
            (false, false) => Level::Warn,
        };
        report.line(level, encoder.name, &encoder.words, &encoder.fix);
    }

    for font in FontSet::installed().report() {
        match &font.found {
            Some(place) => report.line(Level::Good, "font", &format!("{} ({place})", font.family), ""),
            None => report.line(
                Level::Warn,
                "font",
                &format!("{} is missing: {} is drawn in other faces or as boxes", font.family, font.used_for),
                &format!("apt-get install {}", font.package),
            ),
        }
    }

    if let Some(url) = &args.rtmp {
        let target = RtmpTarget::parse(url)?;
        let options = RtmpOptions { ca_file: args.ca_file.clone(), ..RtmpOptions::default() };
        for line in output::probe(&target, &options) {
            report.line(line.level, &line.name, &line.words, &line.fix);
        }
    }
    Ok(if report.worst == Level::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Report {
    color: bool,
    worst: Level,
}

impl Report {
    fn line(&mut self, level: Level, name: &str, words: &str, fix: &str) {
        self.worst = self.worst.max(level);
        let (word, code) = match level {
            Level::Good => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Bad => ("FAIL", "31"),
        };
        let mark = if self.color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        println!("{mark}  {name:<12} {words}");
        if level != Level::Good && !fix.is_empty() {
            println!("      {:<12} -> {fix}", "");
        }
    }
}
