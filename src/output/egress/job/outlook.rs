//! What an operator reads of a job.

use super::{Job, Outlook, Phase, Run};
use crate::livekit::egress::JobStatus;
use crate::output::State;
use std::time::Instant;

impl Job {
    #[must_use]
    pub fn outlook(&self, now: Instant) -> Outlook {
        let broken = self.jobs > 0 || self.trouble.is_some() || self.targets.iter().any(|t| t.error.is_some());
        let begins = if broken { State::Reconnecting } else { State::Connecting };
        let mut retry = None;
        let (state, words) = match &self.phase {
            Phase::Waiting => {
                let due = self.targets.iter().filter(|t| t.is_wanted()).map(|t| t.due).min();
                let at = due.map_or(self.not_before, |due| due.max(self.not_before));
                if due.is_some() && at > now {
                    retry = Some(at - now);
                    (begins, "the next job is started after a pause".to_owned())
                } else if due.is_none() && self.targets.iter().any(|t| t.rests) {
                    (State::NeedsAttention, "no job is started until somebody mends it".to_owned())
                } else if due.is_none() {
                    (State::Idle, "there is no address to send to".to_owned())
                } else {
                    (begins, self.waits())
                }
            }
            Phase::Starting { .. } => (begins, "LiveKit was asked to start the job".to_owned()),
            Phase::Uncertain { .. } => {
                (begins, "LiveKit did not answer the request to start the job; it is looked for".to_owned())
            }
            Phase::Running(run) => self.running(run, begins, now),
            Phase::Stopping { .. } if self.closing => {
                (State::Live, "LiveKit was told to stop the job, which takes up to 30 s".to_owned())
            }
            Phase::Stopping { .. } => (
                State::Reconnecting,
                "LiveKit was told to stop the job, which takes up to 30 s; then a new one is started".to_owned(),
            ),
            Phase::Resting => (State::NeedsAttention, "no job is started until somebody mends it".to_owned()),
            Phase::Ended if self.gave_up => (State::NeedsAttention, "stopped".to_owned()),
            Phase::Ended => (State::Stopped, "stopped".to_owned()),
        };
        // Until the first look nobody knows.
        let waits = matches!(self.phase, Phase::Waiting)
            && retry.is_none()
            && matches!(state, State::Connecting | State::Reconnecting)
            && self.room_seen.as_ref().is_some_and(|(_, view)| !view.publishing);
        let mut errors: Vec<&str> = self.targets.iter().filter_map(|t| t.error.as_deref()).collect();
        errors.extend(self.trouble.as_deref());
        errors.extend(self.blind.as_deref());
        if errors.is_empty() && waits {
            errors.push(&words);
        }
        let error = (!errors.is_empty()).then(|| errors.join("; "));
        Outlook { state, error, retry, reconnects: self.jobs.saturating_sub(1) + self.retries, words }
    }

    fn waits(&self) -> String {
        format!("waits for the room: {} does not publish in {} yet", self.publisher, self.room)
    }

    fn running(&self, run: &Run, begins: State, now: Instant) -> (State, String) {
        let live: Vec<_> = run.slots.iter().filter(|s| s.is_live(&self.rules, now)).collect();
        match run.status {
            JobStatus::Starting => (begins, "LiveKit's egress worker is joining the room".to_owned()),
            JobStatus::Active if live.is_empty() => {
                let again = run.slots.iter().any(|s| s.retried.is_some());
                let state = if again || self.jobs > 1 { State::Reconnecting } else { begins };
                (state, "LiveKit reports the job active, which does not prove that anything is sent".to_owned())
            }
            JobStatus::Active => {
                let open = run.slots.iter().filter(|s| s.is_open()).count();
                let wanted = self.targets.iter().filter(|t| !t.removed).count().max(open);
                let words = format!(
                    "LiveKit's egress worker sends to {} of {wanted} addresses, as far as it reports; whether viewers see it, \
                     only the platform tells",
                    live.len()
                );
                (State::Live, words)
            }
            _ => (State::Reconnecting, "LiveKit is ending the job".to_owned()),
        }
    }
}
