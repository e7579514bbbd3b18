//! Egress and ingress jobs.

use super::ledger::{Change, Outcome};
use super::rooms::Step;
use livekit_protocol::ingress_state::Status as Input;
use livekit_protocol::{EgressInfo, EgressStatus, IngressInfo, IngressState};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Jobs of each kind over this are not taken in.
const MOST: usize = 10_000;
/// How long a job that ended is shown and remembered.
const FORGET_MS: i64 = 3_600_000;
/// The error of a job that ended without a word.
pub const NOT_LISTED: &str = "the server no longer lists this job and never said how it ended";

#[derive(Debug)]
struct Job<T> {
    what: T,
    /// When something last spoke of it, by our clock.
    touched_ms: i64,
    /// It ended only because a listing lacked it.
    guessed: bool,
}

/// Egress jobs by their id.
#[derive(Debug, Default)]
pub(super) struct EgressJobs(BTreeMap<String, Job<Arc<EgressInfo>>>);

/// Where a status stands in the life of a job: it never goes back.
fn rank(info: &EgressInfo) -> u8 {
    match EgressStatus::try_from(info.status) {
        Ok(EgressStatus::EgressStarting) => 0,
        Ok(EgressStatus::EgressActive) => 1,
        Ok(EgressStatus::EgressEnding) => 2,
        // A status that we do not know came after those that we do.
        _ => 3,
    }
}

/// Whether a job has ended.
#[must_use]
pub fn has_ended(info: &EgressInfo) -> bool {
    rank(info) == 3
}

impl EgressJobs {
    /// By what an event or a listing says of it.
    pub fn update(&mut self, info: EgressInfo, step: &mut Step) -> Result<(), Outcome> {
        let Some(job) = self.0.get_mut(&info.egress_id) else {
            if self.0.len() >= MOST {
                return Err(Outcome::Full);
            }
            let what = Arc::new(info);
            step.changes.push(Change::Egress(what.clone()));
            let id = what.egress_id.clone();
            self.0.insert(id, Job { what, touched_ms: step.at_ms, guessed: false });
            return Ok(());
        };
        let (held, new) = (rank(&job.what), rank(&info));
        let forward = match held {
            3 => new == 3 && (job.guessed || info.updated_at > job.what.updated_at),
            _ => new > held || (new == held && info.updated_at >= job.what.updated_at),
        };
        // A listing may show that it lives after all.
        let revived = job.guessed && new < 3 && job.touched_ms < step.at_ms && step.listing;
        if *job.what == info {
            job.touched_ms = job.touched_ms.max(step.at_ms);
            return Ok(());
        }
        if !forward && !revived {
            return Err(Outcome::Stale);
        }
        job.what = Arc::new(info);
        job.touched_ms = job.touched_ms.max(step.at_ms);
        job.guessed = false;
        step.changes.push(Change::Egress(job.what.clone()));
        Ok(())
    }

    /// Ends the jobs that a listing lacks and that nothing has spoken of since it was asked for.
    pub fn keep(&mut self, listed: &HashSet<String>, step: &mut Step) {
        for (id, job) in &mut self.0 {
            if has_ended(&job.what) || job.touched_ms >= step.at_ms || listed.contains(id) {
                continue;
            }
            let info = Arc::make_mut(&mut job.what);
            info.status = EgressStatus::EgressAborted as i32;
            info.error = NOT_LISTED.to_owned();
            job.guessed = true;
            job.touched_ms = step.at_ms;
            step.changes.push(Change::EgressNotListed(job.what.clone()));
        }
    }

    /// Jobs that have not ended.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, job)| !has_ended(&job.what)).map(|(id, _)| id.as_str())
    }

    pub fn get(&self, id: &str) -> Option<Arc<EgressInfo>> {
        self.0.get(id).map(|job| job.what.clone())
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<EgressInfo>> {
        self.0.values().map(|job| &job.what)
    }

    pub fn forget(&mut self, now_ms: i64) {
        self.0.retain(|_, job| !has_ended(&job.what) || now_ms - job.touched_ms <= FORGET_MS);
    }
}

/// An ingress as it is shown: its stream key and address are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    pub id: String,
    pub room: String,
    /// Who it publishes as.
    pub identity: String,
    /// Somebody sends to it now.
    pub live: bool,
    pub error: String,
    /// Begin of this session by the server's clock, ns since the Unix epoch.
    pub started_at: i64,
    updated_at: i64,
}

/// Ingresses that somebody has sent to, by their id. One may be used again and again: each session begins later than the
/// one before.
#[derive(Debug, Default)]
pub(super) struct IngressJobs(BTreeMap<String, Job<Ingress>>);

impl IngressJobs {
    /// By an event: a session began or ended.
    pub fn update(&mut self, info: &IngressInfo, live: bool, step: &mut Step) -> Result<(), Outcome> {
        let new = Ingress::new(info, live);
        let Some(job) = self.0.get_mut(&new.id) else {
            if self.0.len() >= MOST {
                return Err(Outcome::Full);
            }
            step.changes.push(Change::Ingress(new.clone()));
            self.0.insert(new.id.clone(), Job { what: new, touched_ms: step.at_ms, guessed: false });
            return Ok(());
        };
        let held = &job.what;
        let forward = match new.started_at.cmp(&held.started_at) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal if !live => true,
            Ordering::Equal if held.live => new.updated_at >= held.updated_at,
            // A listing may show that it lives after all.
            Ordering::Equal => job.guessed && step.listing,
        };
        if !forward {
            return Err(Outcome::Stale);
        }
        job.touched_ms = job.touched_ms.max(step.at_ms);
        job.guessed = false;
        if job.what != new {
            job.what = new;
            step.changes.push(Change::Ingress(job.what.clone()));
        }
        Ok(())
    }

    pub fn reconcile(&mut self, listed: &[IngressInfo], step: &mut Step) {
        let mut live = HashSet::new();
        for info in listed {
            let status = info.state.as_ref().map(IngressState::status);
            if matches!(status, Some(Input::EndpointBuffering | Input::EndpointPublishing)) {
                live.insert(info.ingress_id.as_str());
                // Stale where an event ended it, full where there are too many.
                let _ = self.update(info, true, step);
            }
        }
        for (id, job) in &mut self.0 {
            if job.what.live && job.touched_ms < step.at_ms && !live.contains(id.as_str()) {
                job.what.live = false;
                job.guessed = true;
                job.touched_ms = step.at_ms;
                step.changes.push(Change::Ingress(job.what.clone()));
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Ingress> {
        self.0.values().map(|job| &job.what)
    }

    pub fn forget(&mut self, now_ms: i64) {
        self.0.retain(|_, job| job.what.live || now_ms - job.touched_ms <= FORGET_MS);
    }
}

impl Ingress {
    fn new(info: &IngressInfo, live: bool) -> Ingress {
        let state = info.state.as_ref();
        Ingress {
            id: info.ingress_id.clone(),
            room: info.room_name.clone(),
            identity: info.participant_identity.clone(),
            live,
            error: state.map(|s| s.error.clone()).unwrap_or_default(),
            started_at: state.map_or(0, |s| s.started_at),
            updated_at: state.map_or(0, |s| s.updated_at),
        }
    }
}
