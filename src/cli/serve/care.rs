//! What the service does beside serving: takes new settings, throws old records away, hears signals.

use crate::cli::status::Log;
use crate::config::load::{Inputs, Loaded};
use crate::config::reload::reload;
use crate::server::{Context, Service, now_ms};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the settings' file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often records that are too old are thrown away, and how long after the start for the first time.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
const PRUNE_FIRST: Duration = Duration::from_secs(60);
/// How long an answer to a creating call is remembered for its Idempotency-Key.
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Signals that ask the service to end.
pub struct Stop([Signal; 2]);

impl Stop {
    pub fn listen() -> std::io::Result<Stop> {
        Ok(Stop([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }

    /// Ready with the next one.
    pub async fn asked(&mut self) {
        let [int, term] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }
}

/// Reads the settings again at SIGHUP and when their file changes.
pub struct Reloader {
    inputs: Inputs,
    started: Loaded,
    log: Arc<Log>,
    hangup: Signal,
}

impl Reloader {
    pub fn new(inputs: Inputs, started: Loaded, log: Arc<Log>) -> std::io::Result<Reloader> {
        Ok(Reloader { inputs, started, log, hangup: signal(SignalKind::hangup())? })
    }

    /// Never ends by itself. `applied` is told after the settings have changed.
    pub async fn run(mut self, context: Context, applied: impl Fn()) {
        let mut seen = self.inputs.file.as_deref().and_then(stamp);
        let mut tick = tokio::time::interval(LOOK);
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = tick.tick() => false,
            };
            let now = self.inputs.file.as_deref().and_then(stamp);
            // One that is being replaced is not there for a moment.
            let changed = now.is_some() && now != seen;
            if !asked && !changed {
                continue;
            }
            if now.is_some() {
                seen = now;
            }
            if self.reload(&context) {
                applied();
            }
        }
    }

    /// Whether anything changed.
    fn reload(&self, context: &Context) -> bool {
        let new = match self.inputs.load() {
            Ok(new) => new,
            Err(errors) => {
                for error in errors.0 {
                    tracing::error!("the settings stay as they were: {error}");
                }
                return false;
            }
        };
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let done = reload(&context.config(), &self.started, &new);
        for change in &done.applied {
            tracing::info!("settings: {change}");
        }
        if !done.waiting.is_empty() {
            tracing::warn!("settings that need a restart have changed: {}", done.waiting.join(", "));
        }
        if done.applied.is_empty() {
            if done.waiting.is_empty() {
                tracing::info!("settings: read again, nothing has changed");
            }
            return false;
        }
        self.log.set_level(&done.config.log.level);
        *context.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(done.config);
        true
    }
}

/// Tells one version of a file from another, also when it is replaced by a rename.
fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
}

/// Throws away what is older or larger than the settings say, every hour. Never ends by itself.
pub async fn prune(service: Service) {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + PRUNE_FIRST, PRUNE_EVERY);
    loop {
        tick.tick().await;
        let context = service.context();
        let keep = context.config().retention.clone();
        let before = |kept: Duration| now_ms().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
        let (matches, audit, answers) = (before(keep.matches), before(keep.audit), before(ANSWERS_KEPT));
        match context.store.prune(matches, keep.matches_bytes, audit, answers).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!("retention: {rows} old records were thrown away"),
            Err(error) => tracing::error!("retention: {error}"),
        }
    }
}
