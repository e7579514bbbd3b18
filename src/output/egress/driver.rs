//! The thread of an Egress destination: makes the requests that the [`Job`] asks for, and brings the answers.

use super::job::{Action, Evidence, Job};
use super::target::TargetId;
use super::{EgressSettings, Shared};
use crate::livekit::egress::{EgressApi, JobInfo, Source};
use crate::output::State;
use crate::output::key::RtmpTarget;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the destination tells the thread.
pub(super) enum Order {
    Add(RtmpTarget),
    Remove(TargetId),
    Stop,
}

/// A job that was told to stop is looked after for this long at most: the longest answer to its start, the search for it when
/// there is none, and its end.
const LONGEST_END: Duration = Duration::from_secs(120);

/// The words for a job that may still run.
pub(super) fn unfinished(waited: Duration) -> String {
    format!(
        "LiveKit has not said within {:.0?} that the job has stopped; it may go on sending for half a minute, and ends at the \
         latest when the publisher leaves the room",
        waited
    )
}

/// The thread's own.
pub(super) struct Driver {
    api: Arc<EgressApi>,
    settings: EgressSettings,
    job: Job,
    targets: Vec<(TargetId, RtmpTarget)>,
    shared: Arc<Shared>,
    requests: JoinSet<Evidence>,
    /// Whether LiveKit knows that the job shall stop.
    told_job: watch::Sender<bool>,
    /// For logs.
    told: (State, Option<String>),
}

impl Driver {
    pub fn new(
        api: EgressApi,
        settings: EgressSettings,
        job: Job,
        targets: Vec<(TargetId, RtmpTarget)>,
        shared: Arc<Shared>,
        told_job: watch::Sender<bool>,
    ) -> Self {
        let told = (State::Idle, None);
        Self { api: Arc::new(api), settings, job, targets, shared, requests: JoinSet::new(), told_job, told }
    }

    /// Runs until it was told to stop and the job has ended. Whoever told it waits less long than that: a job that was left
    /// alone would go on sending as long as somebody publishes in its room.
    pub async fn run(mut self, mut orders: Receiver<Order>, mut webhooks: Receiver<JobInfo>) {
        let mut stopping: Option<Instant> = None;
        loop {
            let now = Instant::now();
            while let Some(action) = self.job.poll(now) {
                self.request(action);
            }
            if let Some(begun) = stopping {
                let waited = now.saturating_duration_since(begun);
                if self.job.is_over() || waited >= LONGEST_END {
                    return self.end(waited);
                }
                self.told_job.send_if_modified(|told| !std::mem::replace(told, self.job.is_told()) && *told);
            }
            self.publish(now);
            let wake = self.job.wake(now);
            tokio::select! {
                biased;
                order = orders.recv(), if stopping.is_none() => match order {
                    Some(Order::Add(target)) => {
                        let id = self.job.add_target(&target.address(), Instant::now());
                        self.targets.push((id, target));
                    }
                    Some(Order::Remove(id)) => _ = self.job.remove_target(id),
                    // The destination is gone, and its order to stop found no room.
                    Some(Order::Stop) | None => {
                        let now = Instant::now();
                        self.job.close(now);
                        stopping = Some(now);
                    }
                },
                Some(answer) = self.requests.join_next() => {
                    // Requests do not panic, and none is aborted while this runs.
                    if let Ok(evidence) = answer {
                        self.job.handle(evidence, Instant::now());
                    }
                }
                Some(info) = webhooks.recv() => self.job.handle(Evidence::Observed(info), Instant::now()),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn request(&mut self, action: Action) {
        let api = self.api.clone();
        let (room, identity) = (self.settings.room.clone(), self.settings.identity.clone());
        let target = |id: TargetId| self.targets.iter().find(|(there, _)| *there == id).map(|(_, t)| t.clone());
        match action {
            Action::Look => {
                self.requests.spawn(async move { Evidence::Room(api.look(&room, &identity).await) });
            }
            Action::Start(ids) => {
                let targets: Vec<_> = ids.iter().filter_map(|id| target(*id)).collect();
                let source = self.settings.source.clone().unwrap_or(Source::Participant { identity });
                let encoding = self.settings.encoding;
                self.requests
                    .spawn(async move { Evidence::Started(api.start(&room, &source, &targets, encoding).await) });
            }
            Action::List(Some(id)) => {
                self.requests
                    .spawn(async move { Evidence::Listed(api.get(&id).await.map(|job| job.into_iter().collect())) });
            }
            Action::List(None) => {
                self.requests.spawn(async move { Evidence::Listed(api.running(&room).await) });
            }
            Action::Probe(id) => {
                self.requests.spawn(async move {
                    let answer = api.probe(&id).await;
                    Evidence::Probed(id, answer)
                });
            }
            Action::Add(id, added) => {
                // Addresses never leave the list, so it is there.
                let Some(target) = target(added) else { return };
                self.requests.spawn(async move {
                    let answer = api.add(&id, &target).await;
                    Evidence::Changed(id, added, answer)
                });
            }
            Action::Remove(id, removed) => {
                let Some(target) = target(removed) else { return };
                self.requests.spawn(async move {
                    let answer = api.remove(&id, &target).await;
                    Evidence::Changed(id, removed, answer)
                });
            }
            Action::Stop(id) => {
                self.requests.spawn(async move {
                    let answer = api.stop(&id).await;
                    Evidence::Stopped(id, answer)
                });
            }
        }
    }

    /// Shows how things are, and logs what changed.
    fn publish(&mut self, now: Instant) {
        let outlook = self.job.outlook(now);
        let (state, error) = (outlook.state, outlook.error.clone());
        if self.told != (state, error.clone()) {
            let (room, job) = (&*self.settings.room, self.job.id().unwrap_or("-"));
            match &error {
                Some(error) if state == State::NeedsAttention => {
                    tracing::error!(destination = "egress", room, job, "gave up: {error}");
                }
                Some(error) => tracing::warn!(destination = "egress", room, job, "{error}"),
                None => tracing::info!(destination = "egress", room, job, "{}", outlook.words),
            }
            self.told = (state, error);
        }
        let mut life = self.shared.life();
        if !life.ended {
            life.retry_at = outlook.retry.map(|left| now + left);
            life.outlook = outlook;
        }
    }

    fn end(self, waited: Duration) {
        let mut outlook = self.job.outlook(Instant::now());
        let (room, job) = (&*self.settings.room, self.job.id().unwrap_or("-"));
        if self.job.is_over() && !self.job.may_send_on() {
            tracing::info!(destination = "egress", room, "stopped after {waited:.1?}");
        } else {
            outlook.state = State::Stopped;
            let words = unfinished(waited);
            tracing::error!(destination = "egress", room, job, "{words}");
            outlook.error = Some(words);
        }
        let mut life = self.shared.life();
        if !life.ended {
            (life.ended, life.retry_at, life.outlook) = (true, None, outlook);
        }
    }
}
