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
use tokio::task::JoinSet;

/// What the destination tells the thread.
pub(super) enum Order {
    Add(RtmpTarget),
    Remove(TargetId),
    Stop { by: Instant },
}

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
    ) -> Self {
        let told = (State::Idle, None);
        Self { api: Arc::new(api), settings, job, targets, shared, requests: JoinSet::new(), told }
    }

    /// Runs until it was told to stop and the job has ended, or the time for that is over.
    pub async fn run(mut self, mut orders: Receiver<Order>, mut webhooks: Receiver<JobInfo>) {
        let mut stop_by: Option<(Instant, Instant)> = None;
        loop {
            let now = Instant::now();
            while let Some(action) = self.job.poll(now) {
                self.request(action);
            }
            if let Some((begun, by)) = stop_by
                && (self.job.is_over() || now >= by)
            {
                self.end(now.saturating_duration_since(begun));
                return;
            }
            self.publish(now);
            let mut wake = self.job.wake(now);
            if let Some((_, by)) = stop_by {
                wake = wake.min(by);
            }
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Add(target)) => {
                        let id = self.job.add_target(&target.address(), Instant::now());
                        self.targets.push((id, target));
                    }
                    Some(Order::Remove(id)) => _ = self.job.remove_target(id),
                    Some(Order::Stop { by }) => {
                        let now = Instant::now();
                        self.job.close(now);
                        stop_by = Some((now, by));
                    }
                    // The destination is gone, which cannot be without a stop unless its thread panicked.
                    None => return,
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
        life.retry_at = outlook.retry.map(|left| now + left);
        life.outlook = outlook;
    }

    fn end(self, waited: Duration) {
        let mut outlook = self.job.outlook(Instant::now());
        if !self.job.is_over() {
            outlook.state = State::Stopped;
            outlook.error = Some(unfinished(waited));
        }
        let mut life = self.shared.life();
        (life.ended, life.retry_at, life.outlook) = (true, None, outlook);
    }
}
