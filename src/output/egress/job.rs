//! The life of one Egress job, as a state machine without clock, network or secrets: evidence and time go in, requests and
//! words come out.
//!
//! What evidence there is, and what it is worth (measured with livekit/egress 1.14.1, and read in its source):
//!
//! | seen | means |
//! |---|---|
//! | `EGRESS_ACTIVE` | the worker is in the room. It comes before any RTMP connection |
//! | `startedAt` of a URL, and then some seconds without failure | it sends, as far as the worker knows: [`State::Live`] |
//! | silence | nothing: a healthy job is silent for minutes |
//! | `retries` of a URL grows by one or two | the receiver closed and took the worker back |
//! | five or more within 30 s | the worker will never get through again, though the job stays ACTIVE: stop, start anew |
//! | the worker is not in the room, the job listed ACTIVE, the publisher there | the worker was killed: nobody will report an end |
//! | FAILED with a failed URL | what the URL's words say; all URLs have failed |
//! | FAILED without, code 500 | the worker's process died |
//! | COMPLETE that we did not ask for | the publisher left the room, or somebody stopped the job |
//!
//! Lists and webhooks repeat the worker's last report, and of a burst the worker reports the first reconnection, then none
//! for a minute or for ever. So the worker itself is asked ([`Action::Probe`]): 3 s after every reconnection that shows, and
//! as often as the job is listed. A worker that does not answer and is not in the room is gone.

mod evidence;
mod outlook;
mod rules;

pub use rules::Rules;

use super::slot::{Sending, Slot};
use super::target::{Target, TargetId};
use crate::livekit::ApiError;
use crate::livekit::egress::{JobInfo, JobStatus, RoomView};
use crate::output::State;
use crate::output::backoff::Backoff;
use std::time::{Duration, Instant};

/// A request that is to be made. One of `Start`, `Add`, `Remove` and `Stop` is under way at a time, and one of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Who is in the room? Answer: [`Evidence::Room`].
    Look,
    /// With these addresses, in this order. Answer: [`Evidence::Started`].
    Start(Vec<TargetId>),
    /// The job of this id, or the room's. Answer: [`Evidence::Listed`].
    List(Option<String>),
    /// Asks the worker. Answer: [`Evidence::Probed`].
    Probe(String),
    /// Answer: [`Evidence::Changed`].
    Add(String, TargetId),
    /// Answer: [`Evidence::Changed`].
    Remove(String, TargetId),
    /// Answer: [`Evidence::Stopped`].
    Stop(String),
}

/// What was learned.
#[derive(Clone, Debug)]
pub enum Evidence {
    Room(Result<RoomView, ApiError>),
    Started(Result<JobInfo, ApiError>),
    /// A webhook, of any job.
    Observed(JobInfo),
    Listed(Result<Vec<JobInfo>, ApiError>),
    Probed(String, Result<JobInfo, ApiError>),
    Changed(String, TargetId, Result<JobInfo, ApiError>),
    Stopped(String, Result<JobInfo, ApiError>),
}

/// What an operator may know of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    pub state: State,
    /// What is going on, always.
    pub words: String,
    /// What is wrong and what to do.
    pub error: Option<String>,
    /// Until the next attempt.
    pub retry: Option<Duration>,
    /// Jobs after the first, and the worker's reconnections.
    pub reconnects: u64,
}

#[derive(Debug)]
enum Phase {
    /// No job. For a time, for the publisher, or for an address whose pause is over.
    Waiting,
    Starting {
        targets: Vec<TargetId>,
        /// Workers that were in the room before: none of them is ours.
        before: Vec<String>,
    },
    /// The start was not answered; there may be a job.
    Uncertain {
        since: Instant,
        targets: Vec<TargetId>,
        before: Vec<String>,
        /// A job that looks like it and whose worker is not in the room. No other is started beside it.
        lookalike: Option<String>,
    },
    Running(Run),
    Stopping {
        id: String,
        since: Instant,
        sent: bool,
        /// The request is not made before.
        again: Instant,
        /// The server lists it no more: the room tells whether it still runs.
        unlisted: bool,
    },
    /// Only a person can mend it.
    Resting,
    /// Closed.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Start,
    Change,
    Stop,
}

/// A job under way.
#[derive(Debug)]
struct Run {
    id: String,
    slots: Vec<Slot>,
    status: JobStatus,
    updated_at: i64,
    since: Instant,
    /// In its present status since.
    status_since: Instant,
    /// Since when it sends to some address, as far as we know.
    live_since: Option<Instant>,
    /// The worker was not in the room since.
    absent: Option<Instant>,
    /// When the worker last answered.
    answered: Option<Instant>,
    /// The worker's version does not take the question.
    mute: bool,
}

/// The state machine of one destination: its addresses and the job that serves them.
#[derive(Debug)]
pub struct Job {
    rules: Rules,
    room: String,
    publisher: String,
    random: fastrand::Rng,
    targets: Vec<Target>,
    next_target: u32,
    phase: Phase,
    backoff: Backoff,
    /// No job is started before.
    not_before: Instant,
    /// Refusals of the API key, or of the request, in a row.
    refusals: u32,
    /// What went wrong with the job as a whole; until it is live.
    trouble: Option<String>,
    /// Why the server cannot be asked; until it can.
    blind: Option<String>,
    /// Jobs that were ours and are over, the last ones.
    past: Vec<String>,
    room_seen: Option<(Instant, RoomView)>,
    /// Which of them is under way.
    commanding: Option<Command>,
    looking: bool,
    listing: bool,
    probing: bool,
    next_look: Instant,
    next_list: Instant,
    next_probe: Instant,
    closing: bool,
    /// Needed a person when it was closed.
    gave_up: bool,
    /// Closed, and the end of the last job was never seen.
    unseen: bool,
    jobs: u64,
    retries: u64,
}

const PAST: usize = 32;
/// A look at the room that is older than this is worth no start.
const FRESH: Duration = Duration::from_secs(3);

impl Job {
    /// `seed` spreads the pauses.
    #[must_use]
    pub fn new(room: &str, publisher: &str, rules: Rules, seed: u64, now: Instant) -> Self {
        Self {
            room: room.to_owned(),
            publisher: publisher.to_owned(),
            random: fastrand::Rng::with_seed(seed),
            targets: Vec::new(),
            next_target: 1,
            phase: Phase::Waiting,
            backoff: Backoff::new(rules.backoff),
            not_before: now,
            refusals: 0,
            trouble: None,
            blind: None,
            past: Vec::new(),
            room_seen: None,
            commanding: None,
            looking: false,
            listing: false,
            probing: false,
            next_look: now,
            next_list: now,
            next_probe: now,
            closing: false,
            gave_up: false,
            unseen: false,
            jobs: 0,
            retries: 0,
            rules,
        }
    }

    /// `address`: host and port, for words.
    pub fn add_target(&mut self, address: &str, now: Instant) -> TargetId {
        let id = TargetId(self.next_target);
        self.next_target += 1;
        self.targets.push(Target::new(id, address.to_owned(), &self.rules, now));
        id
    }

    /// False when there is no such address.
    pub fn remove_target(&mut self, id: TargetId) -> bool {
        let Some(target) = self.targets.iter_mut().find(|t| t.id == id && !t.removed) else { return false };
        target.removed = true;
        self.forget_removed();
        true
    }

    /// The end: a running job is stopped, none is started.
    pub fn close(&mut self, now: Instant) {
        self.gave_up = self.outlook(now).state == State::NeedsAttention;
        self.closing = true;
        if matches!(self.phase, Phase::Waiting | Phase::Resting | Phase::Ended) {
            self.phase = Phase::Ended;
        }
    }

    /// Closed, and nothing of ours runs any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Closed, and nothing of ours runs any more or LiveKit has taken the request to stop it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        let told = matches!(self.phase, Phase::Stopping { sent: true, .. }) && self.commanding != Some(Command::Stop);
        self.closing && (told || self.is_over())
    }

    /// Over, and for all that is known the job was told to stop and sends on.
    #[must_use]
    pub fn may_send_on(&self) -> bool {
        self.unseen
    }

    /// The id of the job under way.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match &self.phase {
            Phase::Running(run) => Some(&run.id),
            Phase::Stopping { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The next request to make now; to be asked until None.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        self.pass_time(now);
        if let Some((command, action)) = self.command(now) {
            self.commanding = Some(command);
            return Some(action);
        }
        let (look, list, probe) = self.asks(now);
        if look && !self.looking && now >= self.next_look {
            self.looking = true;
            return Some(Action::Look);
        }
        if let Some(id) = list
            && !self.listing
            && now >= self.next_list
        {
            self.listing = true;
            return Some(Action::List(id));
        }
        if let Some(id) = probe
            && !self.probing
            && now >= self.next_probe
        {
            self.probing = true;
            return Some(Action::Probe(id));
        }
        None
    }

    /// When to poll again if nothing is learned before; a second from now at the latest.
    #[must_use]
    pub fn wake(&self, now: Instant) -> Instant {
        let latest = now + Duration::from_secs(1);
        let mut times = vec![self.not_before, self.next_look, self.next_list, self.next_probe];
        times.extend(self.targets.iter().filter(|t| t.is_wanted()).map(|t| t.due));
        if let Phase::Running(run) = &self.phase {
            times.extend(run.slots.iter().filter_map(|s| s.settles_at(&self.rules)));
        }
        times.into_iter().filter(|at| *at > now).min().map_or(latest, |at| at.min(latest))
    }

    /// Which command is due.
    fn command(&mut self, now: Instant) -> Option<(Command, Action)> {
        // A stop waits for no other answer: that one may come from a worker that is gone.
        if self.commanding.is_some() && !matches!(self.phase, Phase::Stopping { sent: false, .. }) {
            return None;
        }
        match &mut self.phase {
            Phase::Waiting => {
                let fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
                let there = self.room_seen.as_ref().filter(|(at, view)| view.publishing && fresh(*at));
                let (_, view) = there.filter(|_| !self.closing && now >= self.not_before)?;
                let due = self.targets.iter().filter(|t| t.is_wanted() && t.due <= now);
                let targets: Vec<_> = due.map(|t| t.id).collect();
                if targets.is_empty() {
                    return None;
                }
                self.phase = Phase::Starting { targets: targets.clone(), before: view.workers.clone() };
                Some((Command::Start, Action::Start(targets)))
            }
            Phase::Stopping { id, sent, again, .. } if !*sent && now >= *again => {
                *sent = true;
                Some((Command::Stop, Action::Stop(id.clone())))
            }
            Phase::Running(run) if run.status == JobStatus::Active => {
                let carried = |id: TargetId| run.slots.iter().any(|s| s.target == id && s.is_open());
                if let Some(target) = self.targets.iter().find(|t| t.removed && carried(t.id)) {
                    return Some((Command::Change, Action::Remove(run.id.clone(), target.id)));
                }
                let add = self.targets.iter().find(|t| t.is_wanted() && t.due <= now && !carried(t.id))?.id;
                // Before the answer: a webhook with the new result may precede it.
                run.slots.push(Slot::new(add));
                Some((Command::Change, Action::Add(run.id.clone(), add)))
            }
            _ => None,
        }
    }

    /// What is to be asked regularly: the room, a list, the worker.
    fn asks(&self, now: Instant) -> (bool, Option<Option<String>>, Option<String>) {
        match &self.phase {
            Phase::Waiting => {
                let due = self.targets.iter().any(|t| t.is_wanted() && t.due <= now + FRESH);
                (!self.closing && due && now + FRESH >= self.not_before, None, None)
            }
            Phase::Uncertain { .. } => (true, Some(None), None),
            Phase::Running(run) => {
                let probe = run.status == JobStatus::Active && !run.mute;
                (run.status <= JobStatus::Active, Some(Some(run.id.clone())), probe.then(|| run.id.clone()))
            }
            Phase::Stopping { id, sent, unlisted, .. } => (*unlisted, sent.then(|| Some(id.clone())), None),
            Phase::Starting { .. } | Phase::Resting | Phase::Ended => (false, None, None),
        }
    }

    /// What time alone brings about.
    fn pass_time(&mut self, now: Instant) {
        let for_long = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        // Nobody tells it to stop later.
        let may_give_up = !self.closing || self.is_told();
        match &mut self.phase {
            Phase::Running(run) => {
                let live: Vec<_> = run.slots.iter().filter(|s| s.is_live(&self.rules, now)).map(|s| s.target).collect();
                if !live.is_empty() && run.status == JobStatus::Active {
                    run.live_since.get_or_insert(now);
                    self.trouble = None;
                    self.refusals = 0;
                    self.targets.iter_mut().filter(|t| live.contains(&t.id)).for_each(Target::live);
                }
                let idle = run.slots.iter().all(|s| !matches!(s.sending, Sending::Since(_)));
                let unwanted = self.targets.iter().all(|t| t.removed);
                if self.closing || unwanted {
                    self.stop(now);
                } else if run.status == JobStatus::Ending && for_long(run.status_since, self.rules.stop) {
                    self.lost("LiveKit began to end the job and never said that it has; a new one is started", now);
                } else if run.status == JobStatus::Starting && for_long(run.since, self.rules.begin) {
                    self.restart(
                        "LiveKit's egress worker took the job and does not join the room; it is started anew",
                        now,
                    );
                } else if run.status == JobStatus::Active && idle && for_long(run.status_since, self.rules.begin) {
                    self.restart("the job is active and sends nothing to any address; it is started anew", now);
                }
            }
            Phase::Stopping { since, .. } if for_long(*since, self.rules.stop) && may_give_up => {
                self.unseen = self.closing;
                self.stopped();
            }
            Phase::Uncertain { since, lookalike, .. } if for_long(*since, self.rules.uncertain) => {
                self.phase = match lookalike.take() {
                    Some(id) => Phase::Stopping { id, since: now, sent: false, again: now, unlisted: false },
                    None => Phase::Waiting,
                };
                self.next_list = now + self.rules.list_fast;
                self.pause(Duration::ZERO, now);
            }
            Phase::Waiting if self.closing => self.phase = Phase::Ended,
            _ => {}
        }
    }

    /// Takes in what was learned.
    pub fn handle(&mut self, evidence: Evidence, now: Instant) {
        match evidence {
            Evidence::Room(answer) => self.on_room(answer, now),
            Evidence::Started(answer) => {
                self.answered(Command::Start);
                self.on_started(answer, now);
            }
            Evidence::Observed(info) => self.on_report(info, now),
            Evidence::Listed(answer) => self.on_list(answer, now),
            Evidence::Probed(id, answer) => {
                self.probing = false;
                self.next_probe = now + self.rules.list_every;
                self.on_probed(&id, answer, now);
            }
            Evidence::Changed(id, target, answer) => {
                self.answered(Command::Change);
                self.on_changed(&id, target, answer, now);
            }
            Evidence::Stopped(id, answer) => {
                self.answered(Command::Stop);
                self.on_stopped(&id, answer, now);
            }
        }
        self.forget_removed();
    }

    fn answered(&mut self, command: Command) {
        if self.commanding == Some(command) {
            self.commanding = None;
        }
    }

    fn worker_gone(&mut self, now: Instant) {
        self.restart(
            "the egress worker is gone: it has left the room, though LiveKit still lists the job as active; a new job is started",
            now,
        );
    }

    /// The job has ended, and not because we stopped it.
    fn over(&mut self, info: &JobInfo, failed: bool, wedged: Option<String>, now: Instant) {
        let by_hand = info.details.contains("StopEgress API");
        let words = match info.status {
            JobStatus::Failed if failed => {
                // The addresses have their pauses and their words.
                self.lost_run(now);
                self.not_before = now;
                return;
            }
            JobStatus::Failed => format!("the egress worker failed ({}); a new job is started", brief(info)),
            JobStatus::Complete if by_hand => {
                self.lost_run(now);
                self.trouble = Some(
                    "somebody stopped the job through LiveKit's API; stop and start this destination to send again"
                        .into(),
                );
                self.phase = if self.closing { Phase::Ended } else { Phase::Resting };
                return;
            }
            JobStatus::Complete => match wedged {
                Some(words) => words,
                None => "the publisher left the room, and the job ended; a new one is started when it is back".into(),
            },
            JobStatus::LimitReached => "the job reached the longest time LiveKit allows; a new one is started".into(),
            _ => format!("LiveKit gave the job up ({}); a new one is started", brief(info)),
        };
        self.lost(&words, now);
    }

    /// The job is gone; a new one after a pause.
    fn lost(&mut self, words: &str, now: Instant) {
        let lived = self.lost_run(now);
        self.trouble = Some(words.to_owned());
        self.pause(lived, now);
    }

    /// Leaves a running job behind. Returns how long it was live.
    fn lost_run(&mut self, now: Instant) -> Duration {
        let next = if self.closing { Phase::Ended } else { Phase::Waiting };
        let Phase::Running(run) = std::mem::replace(&mut self.phase, next) else { return Duration::ZERO };
        self.remember(run.id);
        self.room_seen = None;
        self.next_look = now;
        run.live_since.map(|at| now.saturating_duration_since(at)).unwrap_or_default()
    }

    /// Stops the running job, and starts a new one after that and a pause.
    fn restart(&mut self, words: &str, now: Instant) {
        self.trouble = Some(words.to_owned());
        let lived = self.stop(now);
        self.pause(lived, now);
    }

    fn stop(&mut self, now: Instant) -> Duration {
        let Phase::Running(run) = &self.phase else { return Duration::ZERO };
        let lived = run.live_since.map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        // What is ending already is not told again.
        let sent = run.status >= JobStatus::Ending;
        self.phase = Phase::Stopping { id: run.id.clone(), since: now, sent, again: now, unlisted: false };
        self.next_list = now + self.rules.list_fast;
        lived
    }

    fn stopped(&mut self) {
        self.answered(Command::Stop);
        let next = if self.closing { Phase::Ended } else { Phase::Waiting };
        if let Phase::Stopping { id, .. } = std::mem::replace(&mut self.phase, next) {
            self.remember(id);
            self.room_seen = None;
        }
    }

    fn remember(&mut self, id: String) {
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(id);
    }

    fn pause(&mut self, lived: Duration, now: Instant) {
        self.backoff.lived(lived);
        self.not_before = now + self.backoff.next_pause(self.random.f64());
    }

    /// A start, or a look at the room before it, was turned down.
    fn refused(&mut self, error: &ApiError, now: Instant) {
        self.room_seen = None;
        if *error == ApiError::NoRoom {
            self.not_before = now + self.rules.look_every;
            return;
        }
        let person = matches!(
            error,
            ApiError::KeyRefused
                | ApiError::NotAllowed
                | ApiError::Refused(_)
                | ApiError::Field { .. }
                | ApiError::Sign
        );
        self.refusals = if person { self.refusals + 1 } else { 0 };
        if self.closing {
            self.phase = Phase::Ended;
        } else if self.refusals >= self.rules.refusals {
            self.phase = Phase::Resting;
        } else {
            self.pause(Duration::ZERO, now);
            self.next_look = self.not_before;
        }
    }

    fn forget_removed(&mut self) {
        let phase = &self.phase;
        self.targets.retain(|t| {
            !t.removed
                || match phase {
                    Phase::Running(run) => run.slots.iter().any(|s| s.target == t.id && s.is_open()),
                    Phase::Starting { .. } | Phase::Uncertain { .. } => true,
                    _ => false,
                }
        });
    }
}

/// The worker's words on a job that ended.
fn brief(info: &JobInfo) -> &str {
    [&*info.error, &*info.details].into_iter().find(|text| !text.is_empty()).unwrap_or("no reason given")
}
