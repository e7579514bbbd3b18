//! `check`: what works on this machine, each line green, amber or red, with what to do.

use super::{Check, check_livekit, usage};
use crate::encode;
use crate::output::key::RtmpTarget;
use crate::output::rtmp::{self, CheckLevel as Level, RtmpOptions};
use crate::raster::{FontOrigin, FontSet, SYSTEM_DIRS};
use crate::render::{self, AdapterKind, Gpu};
use anyhow::Context;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

pub fn run(args: Check) -> anyhow::Result<ExitCode> {
    let target = args.rtmp.as_deref().map(|url| RtmpTarget::parse(url, None)).transpose();
    let target = target.context(usage("--rtmp"))?;
    let livekit = args.livekit || args.egress || args.livekit_server.given();
    let livekit = livekit.then(|| args.livekit_server.server());
    let mut report = Report { color: std::io::stdout().is_terminal(), worst: Level::Ok };
    report.line(Level::Ok, "agentcast", env!("CARGO_PKG_VERSION"), "");

    match Gpu::open(args.adapter.into()) {
        Ok(gpu) if gpu.adapter().kind != AdapterKind::Cpu => {
            report.line(Level::Ok, "adapter", &gpu.adapter().to_string(), "");
        }
        Ok(gpu) => report.line(
            Level::Warn,
            "adapter",
            &format!("{} (draws on the CPU)", gpu.adapter()),
            "supported; 720p30 takes about a sixth of a core. For 1080p60 use a machine with a GPU",
        ),
        Err(error) => report.line(Level::Fail, "adapter", &error.to_string(), "apt-get install mesa-vulkan-drivers"),
    }
    for adapter in render::adapters() {
        report.line(Level::Ok, "  found", &adapter.to_string(), "");
    }

    for encoder in encode::probe() {
        match (encoder.problem, encoder.required) {
            (None, _) => report.line(Level::Ok, encoder.name, "opens", ""),
            (Some(words), true) => report.line(Level::Fail, encoder.name, &words, "apt-get install libavcodec59"),
            (Some(words), false) => report.line(Level::Warn, encoder.name, &words, encoder.without),
        }
    }

    for font in FontSet::system(&SYSTEM_DIRS).report() {
        match &font.found {
            Some(FontOrigin::Embedded) => report.line(Level::Ok, "font", &format!("{} (built in)", font.family), ""),
            Some(FontOrigin::File(path)) => {
                report.line(Level::Ok, "font", &format!("{} ({})", font.family, path.display()), "");
            }
            None => {
                let words = format!("{} is missing: {} in other faces or as boxes", font.family, font.used_for);
                report.line(Level::Warn, "font", &words, font.get_it);
            }
        }
    }

    if let Some(target) = target {
        let options = RtmpOptions { ca_file: args.ca_file.clone(), ..RtmpOptions::default() };
        for line in rtmp::probe(&target, &options) {
            report.line(line.level, line.step, &line.words, "");
        }
    }
    if livekit.is_some() || args.service.is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match &livekit {
                Some(Ok(server)) => check_livekit::server(&mut report, server, args.egress).await,
                Some(Err(error)) => report.line(Level::Fail, "livekit", &error.to_string(), ""),
                None => {}
            }
            match &args.service {
                Some(service) => check_livekit::webhooks(&mut report, service).await,
                None => Ok(()),
            }
        })?;
    }
    Ok(if report.worst == Level::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) struct Report {
    color: bool,
    worst: Level,
}

impl Report {
    pub fn line(&mut self, level: Level, name: &str, words: &str, fix: &str) {
        self.worst = self.worst.max(level);
        let (word, code) = match level {
            Level::Ok => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Fail => ("FAIL", "31"),
        };
        let mark = if self.color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let mut out = std::io::stdout().lock();
        // Whoever closed the pipe has read enough.
        let _ = writeln!(out, "{mark}  {name:<12} {words}");
        if level != Level::Ok && !fix.is_empty() {
            let _ = writeln!(out, "      {:<12} -> {fix}", "");
        }
    }
}
