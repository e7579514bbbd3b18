//! A LiveKit server with an Egress worker as far as an egress job can see it, played back from webhooks that a real one sent
//! (`tests/data/egress`). Time is ours: tenths of a second that pass at once.

use agentcast::livekit::ApiError;
use agentcast::livekit::egress::{JobInfo, JobStatus, RoomView, UrlStatus};
use agentcast::output::State;
use agentcast::output::egress::job::{Action, Evidence, Job, Outlook, Rules};
use livekit_protocol::WebhookEvent;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const STEP: Duration = Duration::from_millis(100);
/// From request to answer.
const LATENCY: f64 = 0.1;

/// The webhooks of one job: (seconds since the first, what it says).
#[derive(Clone, Debug)]
pub struct Capture(pub Vec<(f64, JobInfo)>);

impl Capture {
    pub fn read(name: &str) -> Capture {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/egress").join(format!("{name}.jsonl"));
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| {
            let (at, body) = line.split_once('\t').unwrap();
            let event: WebhookEvent = serde_json::from_str(body).unwrap();
            let mut info = JobInfo::from(event.egress_info.unwrap());
            let known = |a: &String| a.starts_with("127.0.0.1:") || a == "localhost:11443";
            assert!(!info.addresses.is_empty() && info.addresses.iter().all(known), "{:?}", info.addresses);
            info.addresses = (0..info.addresses.len()).map(address).collect();
            (at.parse().unwrap(), info)
        });
        Capture(lines.collect())
    }

    /// Only what came before `end`, seconds.
    pub fn until(mut self, end: f64) -> Capture {
        self.0.retain(|(at, _)| *at < end);
        self
    }

    /// Without what the API call that stopped it brought about.
    pub fn not_stopped(mut self) -> Capture {
        let stopped = |info: &JobInfo| info.details.contains("StopEgress API");
        self.0.retain(|(_, info)| !stopped(info));
        self
    }

    /// The worker takes this much longer to join the room.
    pub fn slow(mut self, seconds: f64) -> Capture {
        self.0.iter_mut().skip(1).for_each(|(at, _)| *at += seconds);
        self
    }

    /// When the first report like this came.
    pub fn first(&self, like: impl Fn(&JobInfo) -> bool) -> Option<f64> {
        self.0.iter().find(|(_, info)| like(info)).map(|(at, _)| *at)
    }
}

/// Names for words: the captures have only one host.
fn address(n: usize) -> String {
    format!("{}.example.com:1935", ["a", "b", "c"][n])
}

/// One job in the world.
struct Running {
    begun: f64,
    capture: Capture,
    id: String,
    /// Reports sent so far.
    sent: usize,
    /// It was told to stop: what came after that does not count.
    stopped: bool,
    /// The last report, as the server's list has it.
    stored: JobInfo,
    /// Reports that our own requests brought about.
    own: Vec<(f64, JobInfo)>,
}

pub struct World {
    start: Instant,
    pub now: f64,
    pub job: Job,
    /// The n-th job plays the n-th capture; the last one is played again and again.
    captures: Vec<Capture>,
    running: Option<Running>,
    answers: Vec<(f64, Evidence)>,
    /// What the worker knows about reconnections that it has not reported: (seconds since the job's start, retries).
    pub retries: Vec<(f64, u32)>,
    /// The publisher is in the room in these spans, s.
    pub publisher: Vec<(f64, f64)>,
    /// The worker dies then, with the job: nothing reports it.
    pub killed: Option<f64>,
    /// Share of webhooks that arrive.
    pub webhooks: bool,
    pub doubled: bool,
    /// What the first starts are answered with instead.
    pub start_errors: Vec<ApiError>,
    /// The job starts, and the answer is lost, which shows after this long, s.
    pub lost_answers: u32,
    pub lost_after: f64,
    /// Lists have no job before and after these, s: a slow store, and one that was emptied.
    pub listed: (f64, f64),
    /// The worker's version refuses the probe.
    pub mute: bool,
    /// Requests to stop get through from then on, s.
    pub stops_from: f64,
    /// How long a stop takes, s.
    pub stop_takes: f64,
    /// What an address that is added does.
    pub added: UrlStatus,
    pub starts: Vec<(f64, usize)>,
    pub stops: Vec<f64>,
    pub adds: Vec<f64>,
    /// (when, state) wherever it changed.
    pub states: Vec<(f64, State)>,
    /// Every error shown, once.
    pub errors: Vec<String>,
    pub ids: Vec<String>,
}

impl World {
    pub fn new(captures: Vec<Capture>, targets: usize) -> World {
        let start = Instant::now();
        let first = &captures[0].0[0].1;
        let mut job = Job::new(&first.room, &first.identity, Rules::default(), 7, start);
        for n in 0..targets {
            job.add_target(&address(n), start);
        }
        World {
            start,
            now: 0.0,
            job,
            captures,
            running: None,
            answers: Vec::new(),
            retries: Vec::new(),
            publisher: vec![(0.0, f64::INFINITY)],
            killed: None,
            webhooks: true,
            doubled: false,
            start_errors: Vec::new(),
            lost_answers: 0,
            lost_after: 40.0,
            listed: (0.0, f64::INFINITY),
            mute: false,
            stops_from: 0.0,
            stop_takes: 0.3,
            added: UrlStatus::Active,
            starts: Vec::new(),
            stops: Vec::new(),
            adds: Vec::new(),
            states: Vec::new(),
            errors: Vec::new(),
            ids: Vec::new(),
        }
    }

    pub fn instant(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now)
    }

    pub fn outlook(&self) -> Outlook {
        self.job.outlook(self.instant())
    }

    pub fn run_until(&mut self, end: f64) {
        while self.now < end {
            self.step();
        }
    }

    /// When this state was first shown after `from`.
    pub fn when(&self, state: State, from: f64) -> Option<f64> {
        self.states.iter().find(|(at, s)| *s == state && *at >= from).map(|(at, _)| *at)
    }

    fn step(&mut self) {
        self.deliver();
        let now = self.instant();
        let due: Vec<_> = {
            let at = self.now;
            let (due, later) = self.answers.drain(..).partition(|(when, _)| *when <= at);
            self.answers = later;
            due
        };
        for (_, evidence) in due {
            self.job.handle(evidence, now);
        }
        while let Some(action) = self.job.poll(now) {
            self.act(action);
        }
        assert!(self.job.wake(now) > now, "it would spin");
        let outlook = self.job.outlook(now);
        if self.states.last().is_none_or(|(_, state)| *state != outlook.state) {
            self.states.push((self.now, outlook.state));
        }
        if let Some(error) = outlook.error
            && self.errors.last() != Some(&error)
        {
            self.errors.push(error);
        }
        self.now += STEP.as_secs_f64();
    }

    /// Webhooks that are due.
    fn deliver(&mut self) {
        let Some(running) = &mut self.running else { return };
        let age = self.now - running.begun;
        let mut reports: Vec<JobInfo> = Vec::new();
        if self.killed.is_none_or(|at| age < at) {
            while !running.stopped && running.sent < running.capture.0.len() && running.capture.0[running.sent].0 <= age
            {
                reports.push(running.capture.0[running.sent].1.clone());
                running.sent += 1;
            }
            let now = self.now;
            reports.extend(running.own.iter().filter(|(at, _)| *at <= now).map(|(_, info)| info.clone()));
            running.own.retain(|(at, _)| *at > now);
        }
        for mut info in reports {
            info.id.clone_from(&running.id);
            running.stored = info.clone();
            if self.webhooks {
                // Twice, and an old one after it: at least once and in any order.
                for _ in 0..if self.doubled { 2 } else { 1 } {
                    self.job.handle(Evidence::Observed(info.clone()), self.start + Duration::from_secs_f64(self.now));
                }
                if self.doubled {
                    let mut old = running.capture.0[0].1.clone();
                    old.id.clone_from(&running.id);
                    self.job.handle(Evidence::Observed(old), self.start + Duration::from_secs_f64(self.now));
                }
            }
        }
    }

    fn present(&self) -> bool {
        self.publisher.iter().any(|(from, to)| (*from..*to).contains(&self.now))
    }

    fn answer(&mut self, after: f64, evidence: Evidence) {
        self.answers.push((self.now + after, evidence));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Look => {
                let workers = self.running.iter().filter(|r| {
                    let age = self.now - r.begun;
                    // A killed participant leaves the room once its connection has timed out.
                    r.stored.status >= JobStatus::Active
                        && !r.stored.status.is_over()
                        && self.killed.is_none_or(|at| age < at + 18.0)
                });
                let view = RoomView { publishing: self.present(), workers: workers.map(|r| r.id.clone()).collect() };
                self.answer(LATENCY, Evidence::Room(Ok(view)));
            }
            Action::Start(targets) => self.begin(targets.len()),
            Action::List(_) => {
                let listed = (self.listed.0..self.listed.1).contains(&self.now);
                let jobs = self.running.iter().filter(|_| listed).map(|r| r.stored.clone()).collect();
                self.answer(LATENCY, Evidence::Listed(Ok(jobs)));
            }
            Action::Probe(id) => {
                let answer = self.probe();
                let after = if answer == Err(ApiError::NoEgressWorker) { 22.0 } else { LATENCY };
                self.answer(after, Evidence::Probed(id, answer));
            }
            Action::Add(id, target) => {
                self.adds.push(self.now);
                let (now, added) = (self.now, self.added);
                let running = self.running.as_mut().unwrap();
                let mut info = running.stored.clone();
                info.updated_at += 1;
                let report =
                    agentcast::livekit::egress::UrlReport { started_at: info.updated_at, ..Default::default() };
                info.urls.push(report);
                if added == UrlStatus::Failed {
                    let mut failed = info.clone();
                    failed.updated_at += 1;
                    let url = failed.urls.last_mut().unwrap();
                    url.status = UrlStatus::Failed;
                    url.error = "Connection refused: Could not connect to 127.0.0.1: Connection refused".into();
                    running.own.push((now + 0.5, failed));
                }
                running.stored = info.clone();
                self.answer(LATENCY, Evidence::Changed(id, target, Ok(info)));
            }
            Action::Remove(id, target) => {
                let running = self.running.as_mut().unwrap();
                running.stored.updated_at += 1;
                running.stored.urls.last_mut().unwrap().status = UrlStatus::Finished;
                let info = running.stored.clone();
                self.answer(LATENCY, Evidence::Changed(id, target, Ok(info)));
            }
            Action::Stop(id) => self.end(id),
        }
    }

    fn begin(&mut self, targets: usize) {
        self.starts.push((self.now, targets));
        if !self.start_errors.is_empty() {
            let error = self.start_errors.remove(0);
            let after = if error == ApiError::NoEgressWorker { 22.0 } else { LATENCY };
            return self.answer(after, Evidence::Started(Err(error)));
        }
        let n = self.ids.len();
        let capture = self.captures[n.min(self.captures.len() - 1)].clone();
        let id = format!("EG_{n}");
        self.ids.push(id.clone());
        let mut first = capture.0[0].1.clone();
        first.id.clone_from(&id);
        let answer = if self.lost_answers > 0 {
            self.lost_answers -= 1;
            (self.lost_after, Err(ApiError::Timeout { host: "h".into(), after: Duration::from_secs(40) }))
        } else {
            // After the first webhook, as it was seen.
            (0.3, Ok(first.clone()))
        };
        self.running =
            Some(Running { begun: self.now, capture, id, sent: 0, stopped: false, stored: first, own: Vec::new() });
        self.answer(answer.0, Evidence::Started(answer.1));
    }

    /// What the worker itself knows.
    fn probe(&mut self) -> Result<JobInfo, ApiError> {
        if self.mute {
            return Err(ApiError::Refused("no urls".into()));
        }
        let running = self.running.as_mut().unwrap();
        let age = self.now - running.begun;
        if self.killed.is_some_and(|at| age >= at) {
            return Err(ApiError::NoEgressWorker);
        }
        if running.stored.status.is_over() {
            return Err(ApiError::Refused("egress with status EGRESS_COMPLETE cannot be updated".into()));
        }
        let seconds = |s: f64| (s * 1e9) as i64;
        let base = running.capture.0[0].1.updated_at;
        let mut info = running.stored.clone();
        info.updated_at = info.updated_at.max(base + seconds(age));
        if let Some(&(at, retries)) = self.retries.iter().rfind(|(at, _)| *at <= age) {
            let url = &mut info.urls[0];
            if retries > url.retries {
                (url.retries, url.last_retry_at) = (retries, base + seconds(at));
            }
        }
        running.stored = info.clone();
        Ok(info)
    }

    fn end(&mut self, id: String) {
        self.stops.push(self.now);
        if self.now < self.stops_from {
            let error = ApiError::Unreachable { host: "h".into(), why: "connection refused".into() };
            return self.answer(LATENCY, Evidence::Stopped(id, Err(error)));
        }
        let (now, takes) = (self.now, self.stop_takes);
        let running = self.running.as_mut().unwrap();
        let age = now - running.begun;
        if self.killed.is_some_and(|at| age >= at) {
            return self.answer(22.0, Evidence::Stopped(id, Err(ApiError::NoEgressWorker)));
        }
        let mut info = running.stored.clone();
        info.updated_at += 1;
        (info.status, info.details) = (JobStatus::Ending, "End reason: StopEgress API".into());
        running.stored = info.clone();
        running.stopped = true;
        let mut over = info.clone();
        over.updated_at += 1;
        over.status = JobStatus::Complete;
        running.own.push((now + takes, over));
        self.answer(LATENCY, Evidence::Stopped(id, Ok(info)));
    }
}

/// Reconnections between two reports that the worker kept to itself, spread evenly: `(from, to)` seconds and retries.
pub fn spread(from: (f64, u32), to: (f64, u32)) -> Vec<(f64, u32)> {
    (from.1..=to.1)
        .map(|n| {
            let share = f64::from(n - from.1) / f64::from(to.1 - from.1);
            (from.0 + share * (to.0 - from.0), n)
        })
        .collect()
}
