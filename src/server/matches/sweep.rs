//! Closes matches that nobody ends: their game is long over, or its server is gone. An open match costs memory, a writer, and
//! a part of each restart.

use super::Matches;
use crate::config::Config;
use crate::server::now_ms;
use crate::store::model::AuditEntry;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for such matches.
const EVERY: Duration = Duration::from_secs(30);

/// How long after what a match is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub close_after: Duration,
    pub silent_after: Duration,
}

impl Rules {
    /// While a broadcast shows the result or waits for the next match, its match stays.
    fn of(config: &Config) -> Rules {
        let shown = config.streaming.over.saturating_add(config.streaming.idle);
        Rules { close_after: config.matches.close_after.max(shown), silent_after: config.matches.silent_after }
    }
}

impl Matches {
    /// Closes what is due from time to time, until the last clone is gone.
    pub(super) fn keep_sweeping(&self) {
        let (registry, stop) = (Arc::downgrade(&self.registry), self.registry.stop.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
                let Some(registry) = registry.upgrade() else { return };
                // A last clone that is dropped here ends the writers as any other does.
                Matches { registry }.sweep(now_ms()).await;
            }
        });
    }

    /// Closes the matches that are over since `matches.close_after`, or silent since `matches.silent_after`, at this time (Unix
    /// ms). Their watchers, sockets and streams see the same as when somebody ends them. Returns how many.
    pub async fn sweep(&self, now: i64) -> usize {
        let parts = &self.registry.parts;
        let rules = Rules::of(&parts.config());
        let mut closed = 0;
        for live in self.all().into_iter().filter(|live| live.live.is_due(rules, now)) {
            let before = live.record();
            match self.end_if_due(&live, rules, now).await {
                Ok(false) => continue,
                Ok(true) => closed += 1,
                Err(error) => {
                    tracing::warn!(id = before.id, "a match could not be closed, it is tried again: {error}");
                    continue;
                }
            }
            tracing::info!(id = before.id, phase = %before.phase, "a match that nobody ended was closed");
            let entry = AuditEntry {
                id: String::new(),
                at: now,
                tenant_id: Some(before.tenant_id),
                actor: "service".into(),
                action: "match.closed".into(),
                subject: before.id,
                details: serde_json::json!({ "phase": before.phase }),
                from: None,
            };
            if let Err(error) = parts.store.audit(&entry).await {
                tracing::error!("who closed a match could not be noted: {error}");
            }
        }
        closed
    }
}
