//! What each answer and each report does to a job.

use super::{Job, Phase, Run};
use crate::livekit::ApiError;
use crate::livekit::egress::{JobInfo, JobStatus, RoomView};
use crate::output::egress::slot::{Change, Sending, Slot};
use crate::output::egress::target::{Cause, TargetId};
use std::time::{Duration, Instant};

impl Job {
    pub(super) fn on_room(&mut self, answer: Result<RoomView, ApiError>, now: Instant) {
        self.looking = false;
        let view = match answer {
            Ok(view) => view,
            Err(error) => {
                self.next_look = now + self.rules.look_every;
                self.blind = Some(error.to_string());
                if matches!(self.phase, Phase::Waiting) {
                    self.refused(&error, now);
                }
                return;
            }
        };
        self.blind = None;
        self.next_look = now + self.rules.look_every;
        if let Phase::Running(run) = &mut self.phase {
            self.next_look = now + self.rules.list_every;
            if view.workers.contains(&run.id) || run.status != JobStatus::Active {
                run.absent = None;
            } else {
                let since = *run.absent.get_or_insert(now);
                let answered = run.answered.is_some_and(|at| at > since);
                // Without its publisher a job ends by itself, and its worker may leave the room before it says so.
                let patient = answered || !view.publishing;
                let limit = if patient { self.rules.absent_longest } else { self.rules.absent };
                if now.saturating_duration_since(since) >= limit {
                    self.room_seen = Some((now, view));
                    self.worker_gone(now);
                    return;
                }
                self.next_look = now + self.rules.absent / 2;
                self.next_probe = self.next_probe.min(now);
            }
        }
        if let Phase::Stopping { id, unlisted: true, .. } = &self.phase
            && !view.workers.contains(id)
        {
            self.stopped();
            return;
        }
        self.room_seen = Some((now, view));
    }

    pub(super) fn on_started(&mut self, answer: Result<JobInfo, ApiError>, now: Instant) {
        let (targets, before) = match &self.phase {
            Phase::Starting { targets, before } => (targets.clone(), before.clone()),
            Phase::Running(run) => match answer {
                // A webhook of the same kind of job came first, and it was another destination's.
                Ok(info) if info.id != run.id => {
                    let targets: Vec<_> = run.slots.iter().map(|s| s.target).collect();
                    return self.run(info, &targets, now);
                }
                Ok(info) => return self.on_report(info, now),
                Err(_) => return,
            },
            _ => return,
        };
        match answer {
            Ok(info) => self.run(info, &targets, now),
            // Also a proxy's words, who may have passed the request on.
            Err(
                error @ (ApiError::Timeout { .. }
                | ApiError::Unreachable { .. }
                | ApiError::NotLiveKit { status: 500.., .. }),
            ) => {
                self.trouble = Some(error.to_string());
                self.phase = Phase::Uncertain { since: now, targets, before, lookalike: None };
                self.next_list = now;
                self.next_look = now;
            }
            Err(error) => {
                self.phase = Phase::Waiting;
                self.trouble = (error != ApiError::NoRoom).then(|| error.to_string());
                self.refused(&error, now);
            }
        }
    }

    /// A job of ours, from its first report on.
    pub(super) fn run(&mut self, info: JobInfo, targets: &[TargetId], now: Instant) {
        self.jobs += 1;
        self.phase = Phase::Running(Run {
            id: info.id.clone(),
            slots: targets.iter().copied().map(Slot::new).collect(),
            status: JobStatus::Starting,
            updated_at: i64::MIN,
            since: now,
            status_since: now,
            live_since: None,
            absent: None,
            answered: None,
            mute: false,
        });
        self.next_list = now + self.rules.list_fast;
        self.next_look = now + self.rules.list_every;
        self.next_probe = now + self.rules.list_every;
        self.on_report(info, now);
    }

    /// Whether an unknown job may be the one that was asked for and not answered.
    fn may_be_ours(&self, info: &JobInfo) -> bool {
        let (Phase::Starting { targets, before } | Phase::Uncertain { targets, before, .. }) = &self.phase else {
            return false;
        };
        let address = |id: &TargetId| self.targets.iter().find(|t| t.id == *id).map(|t| &t.address);
        info.room == self.room
            && info.identity == self.publisher
            && info.addresses.iter().map(Some).eq(targets.iter().map(address))
            && !info.status.is_over()
            && !before.contains(&info.id)
            && !self.past.contains(&info.id)
    }

    /// One report of a job: webhook, list entry or answer.
    pub(super) fn on_report(&mut self, info: JobInfo, now: Instant) {
        match &mut self.phase {
            Phase::Starting { targets, .. } | Phase::Uncertain { targets, .. } => {
                let targets = targets.clone();
                if self.may_be_ours(&info) {
                    self.run(info, &targets, now);
                }
            }
            // Forward only: deliveries come late and in any order.
            Phase::Running(run)
                if run.id == info.id && info.updated_at >= run.updated_at && info.status >= run.status =>
            {
                if info.status != run.status {
                    run.status_since = now;
                    if info.status == JobStatus::Active {
                        self.next_probe = now + self.rules.list_every;
                    }
                }
                run.status = info.status;
                run.updated_at = info.updated_at;
                // An address that the worker never took has no result.
                while run.slots.len() > info.urls.len() && run.slots.last().is_some_and(|s| s.refused) {
                    run.slots.pop();
                }
                self.on_urls(&info, now);
            }
            Phase::Stopping { id, .. } if *id == info.id && info.status.is_over() => self.stopped(),
            _ => {}
        }
    }

    pub(super) fn on_urls(&mut self, info: &JobInfo, now: Instant) {
        let Phase::Running(run) = &mut self.phase else { return };
        let (mut wedged, mut failed) = (None, false);
        for (slot, report) in run.slots.iter_mut().zip(&info.urls) {
            let lived = slot.sent_for(now);
            match slot.report(report, info.updated_at, &self.rules, now) {
                Change::Nothing => {}
                Change::Retried(more) => {
                    self.retries += u64::from(more);
                    self.next_probe = now + self.rules.probe_after_retry;
                }
                Change::Wedged(retries) => wedged = Some((slot.target, retries)),
                Change::Failed(cause) => {
                    failed = true;
                    if let Some(target) = self.targets.iter_mut().find(|t| t.id == slot.target) {
                        target.failed(&cause, lived, self.random.f64(), &self.rules, now);
                    }
                }
            }
        }
        let wedged = wedged.map(|(target, retries)| {
            let address = self.targets.iter().find(|t| t.id == target).map_or("the receiver", |t| &t.address);
            format!(
                "LiveKit's egress worker lost {address} and gets through to it no more ({retries} tries); the job is started anew"
            )
        });
        if info.status.is_over() {
            self.over(info, failed, wedged, now);
        } else if let Some(words) = wedged
            && info.status == JobStatus::Active
        {
            self.restart(&words, now);
        }
    }

    pub(super) fn on_list(&mut self, answer: Result<Vec<JobInfo>, ApiError>, now: Instant) {
        self.listing = false;
        let fast = match &self.phase {
            Phase::Running(run) => now.saturating_duration_since(run.since) < self.rules.list_fast_for,
            _ => true,
        };
        self.next_list = now + if fast { self.rules.list_fast } else { self.rules.list_every };
        let jobs = match answer {
            Ok(jobs) => jobs,
            Err(error) => {
                self.blind = Some(error.to_string());
                return;
            }
        };
        self.blind = None;
        if matches!(self.phase, Phase::Uncertain { .. }) {
            // Jobs of workers that were killed are listed as active for ever: ours has its worker in the room, or on its way
            // there.
            let in_room =
                |job: &JobInfo| self.room_seen.as_ref().is_some_and(|(_, view)| view.workers.contains(&job.id));
            let begins = |job: &JobInfo| in_room(job) || job.status == JobStatus::Starting;
            let alike = jobs.into_iter().filter(|job| self.may_be_ours(job));
            let newest = alike.max_by_key(|job| (begins(job), in_room(job), job.updated_at));
            if let Some(job) = newest.clone().filter(begins) {
                self.on_report(job, now);
            } else if let Phase::Uncertain { lookalike, .. } = &mut self.phase {
                *lookalike = newest.map(|job| job.id);
            }
            return;
        }
        match &mut self.phase {
            Phase::Running(run) => {
                let id = run.id.clone();
                if let Some(info) = jobs.into_iter().find(|job| job.id == id) {
                    self.on_report(info, now);
                } else {
                    // The server forgot it (redis was emptied): the room tells whether it lives.
                    self.next_look = self.next_look.min(now);
                }
            }
            Phase::Stopping { id, unlisted, .. } => {
                let id = id.clone();
                match jobs.into_iter().find(|job| job.id == id) {
                    Some(info) => {
                        *unlisted = false;
                        self.on_report(info, now);
                    }
                    // Forgotten like one that runs, or over.
                    None => {
                        *unlisted = true;
                        self.next_look = self.next_look.min(now);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_probed(&mut self, id: &str, answer: Result<JobInfo, ApiError>, now: Instant) {
        let Phase::Running(run) = &mut self.phase else { return };
        if run.id != id {
            return;
        }
        match answer {
            Ok(info) => {
                run.answered = Some(now);
                self.on_report(info, now);
            }
            // Nobody is there, or nobody who answers in time.
            Err(ApiError::NoEgressWorker | ApiError::Timeout { .. } | ApiError::Failed(_)) => {
                if run.absent.is_some() {
                    self.worker_gone(now);
                } else {
                    self.next_look = now;
                }
            }
            // It has ended.
            Err(ApiError::NotFound(_)) => self.next_list = now,
            Err(ApiError::Refused(_)) => {
                run.mute = true;
                self.next_list = now;
            }
            Err(error) => self.blind = Some(error.to_string()),
        }
    }

    pub(super) fn on_changed(&mut self, id: &str, target: TargetId, answer: Result<JobInfo, ApiError>, now: Instant) {
        let Phase::Running(run) = &mut self.phase else { return };
        if run.id != id {
            return;
        }
        let removed = self.targets.iter().any(|t| t.id == target && t.removed);
        match answer {
            Ok(info) => {
                run.answered = Some(now);
                self.on_report(info, now);
            }
            Err(error) => {
                if let Some(slot) = run.slots.iter_mut().rfind(|s| s.target == target && s.is_open()) {
                    if removed {
                        slot.sending = Sending::Finished;
                    } else {
                        slot.refused = true;
                        slot.sending = Sending::Failed;
                    }
                }
                if let Some(target) = self.targets.iter_mut().find(|t| t.id == target && !t.removed) {
                    let cause = Cause::Other(error.to_string());
                    target.failed(&cause, Duration::ZERO, self.random.f64(), &self.rules, now);
                }
                self.next_probe = now;
                self.next_look = self.next_look.min(now);
            }
        }
        // An answer without the end of what was removed is followed by a report with it.
        if removed && let Phase::Running(run) = &mut self.phase {
            run.slots
                .iter_mut()
                .filter(|s| s.target == target && s.is_open())
                .for_each(|s| s.sending = Sending::Finished);
        }
    }

    pub(super) fn on_stopped(&mut self, id: &str, answer: Result<JobInfo, ApiError>, now: Instant) {
        let Phase::Stopping { id: ours, sent, since, again, .. } = &mut self.phase else { return };
        if ours != id {
            return;
        }
        match answer {
            Ok(info) => {
                // It may have been asked for long before.
                (*since, self.blind) = (now, None);
                self.on_report(info, now);
            }
            // It has ended, or nobody is left to end it.
            Err(ApiError::Refused(_) | ApiError::NotFound(_) | ApiError::NoEgressWorker) => self.stopped(),
            // Once more, until the time for it is over.
            Err(error) => {
                self.blind = Some(error.to_string());
                (*sent, *again) = (false, now + self.rules.list_fast);
            }
        }
    }
}
