//! Threads, one a render + encode: they open it, do what takes a while on it, and end it. A thread that hangs in a driver is
//! left behind; nobody waits for it.

use super::board::NotMade;
use crate::output::Destination;
use crate::server::stage::{OnStage, Stage};
use crate::stream::OutputId;
use crate::studio::StreamSettings;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Jobs that may wait for a thread. One that is further behind hangs.
const JOBS: usize = 128;

/// What the threads report.
pub trait Desk: Send + Sync + 'static {
    fn opened(&self, run: u64, stage: Result<Arc<dyn OnStage>, String>);
    /// Whether an output is still wanted.
    fn wants(&self, run: u64, serial: u64) -> bool;
    fn made(&self, run: u64, serial: u64, made: Result<OutputId, NotMade>);
}

pub enum Job {
    Add { serial: u64, output: Box<dyn Destination> },
    Remove { output: OutputId, deadline: Duration },
    Picture { name: String, bytes: Vec<u8> },
    Stop { deadline: Duration },
}

/// A render + encode.
#[derive(Default)]
struct Opened {
    /// Once it is open.
    stage: OnceLock<Arc<dyn OnStage>>,
    /// Somebody is in a hurry: its end is over by then, also where it opens only after that was said.
    by: Mutex<Option<Instant>>,
}

pub struct Crew {
    hands: Mutex<HashMap<u64, Hand>>,
    /// Those that were told to end everything, until they have.
    leaving: Mutex<HashMap<u64, Weak<Opened>>>,
    /// How many threads there are.
    at_work: watch::Sender<usize>,
    runtime: Handle,
}

#[derive(Clone)]
pub struct Hand {
    jobs: SyncSender<Job>,
    stage: Arc<Opened>,
    /// What it shows now; states for anything else come too late.
    pub(super) aim: Arc<Mutex<u64>>,
}

impl Hand {
    /// Once it is open.
    pub fn stage(&self) -> Option<&Arc<dyn OnStage>> {
        self.stage.stage.get()
    }

    /// Held while a state is shown, so that none of an earlier aim comes after one of a later.
    pub fn aim(&self) -> MutexGuard<'_, u64> {
        lock(&self.aim)
    }

    /// False: the thread has ended or hangs.
    pub fn give(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

impl Crew {
    pub fn new(runtime: Handle) -> Crew {
        Crew { hands: Mutex::default(), leaving: Mutex::default(), at_work: watch::Sender::new(0), runtime }
    }

    pub fn hand(&self, run: u64) -> Option<Hand> {
        lock(&self.hands).get(&run).cloned()
    }

    /// Starts the thread of a new render + encode. What is logged of it stands in the span that the caller is in.
    pub fn hire(&self, run: u64, stage: Arc<dyn Stage>, settings: StreamSettings, desk: Arc<dyn Desk>) {
        let (jobs, inbox) = sync_channel(JOBS);
        let hand = Hand { jobs, stage: Arc::default(), aim: Arc::default() };
        let opened = hand.stage.clone();
        lock(&self.hands).insert(run, hand);
        self.at_work.send_modify(|n| *n += 1);
        let leaving = Leaving(self.at_work.clone());
        let again = desk.clone();
        let span = tracing::Span::current();
        let work = move || {
            let _leaving = leaving;
            span.in_scope(|| open_and_work(run, &*stage, &settings, &*desk, &opened, &inbox));
        };
        if let Err(error) = Builder::new().name(format!("stage {run}")).spawn(work) {
            lock(&self.hands).remove(&run);
            // Reported from elsewhere: whoever hires holds what the report needs.
            let words = format!("the system starts no more threads: {error}");
            self.runtime.spawn(async move { again.opened(run, Err(words)) });
        }
    }

    /// Tells a thread to end everything within `deadline`, and forgets it.
    pub fn dismiss(&self, run: u64, deadline: Duration) {
        let Some(hand) = lock(&self.hands).remove(&run) else { return };
        // Nothing that waits for a match's next state may be shown any more.
        *hand.aim() = u64::MAX;
        {
            let mut leaving = lock(&self.leaving);
            leaving.retain(|_, stage| stage.strong_count() > 0);
            leaving.insert(run, Arc::downgrade(&hand.stage));
        }
        if !hand.give(Job::Stop { deadline }) {
            tracing::error!(run, "the thread of a stream's picture hangs and is left behind");
        }
    }

    /// One that was told to end everything ends it within this time from now.
    pub fn hurry(&self, run: u64, within: Duration) {
        let leaving = lock(&self.leaving).get(&run).and_then(Weak::upgrade);
        let Some(leaving) = leaving else { return };
        let by = Instant::now() + within;
        // Before the look at the stage: one that opens meanwhile is seen here, or its thread sees this.
        {
            let mut sooner = lock(&leaving.by);
            *sooner = Some(sooner.map_or(by, |before| before.min(by)));
        }
        if let Some(stage) = leaving.stage.get() {
            stage.hurry(within);
        }
    }

    /// Ready when all threads have ended.
    pub async fn gone(&self) {
        // The sender lives in `self`.
        let _ = self.at_work.subscribe().wait_for(|n| *n == 0).await;
    }
}

/// Counts a thread out, by a panic too.
struct Leaving(watch::Sender<usize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

fn open_and_work(
    run: u64,
    stage: &dyn Stage,
    settings: &StreamSettings,
    desk: &dyn Desk,
    opened: &Opened,
    inbox: &Receiver<Job>,
) {
    let fault = || "the picture could not be made by a fault of the program".to_owned();
    let on_stage: Arc<dyn OnStage> = match catch_unwind(AssertUnwindSafe(|| stage.open(settings))) {
        Ok(Ok(on_stage)) => on_stage.into(),
        Ok(Err(words)) => return desk.opened(run, Err(words)),
        Err(_) => return desk.opened(run, Err(fault())),
    };
    let _ = opened.stage.set(on_stage.clone());
    desk.opened(run, Ok(on_stage.clone()));
    // Ends with the last sender, too.
    let mut deadline = Duration::from_millis(500);
    for job in inbox {
        match job {
            Job::Add { serial, output } => {
                if !desk.wants(run, serial) {
                    continue;
                }
                let passing = true;
                let made = on_stage.add(output).map_err(|words| NotMade { words, passing });
                desk.made(run, serial, made);
            }
            Job::Remove { output, deadline } => on_stage.remove(output, deadline),
            Job::Picture { name, bytes } => {
                if let Err(words) = on_stage.picture(&name, &bytes) {
                    tracing::warn!(name, "an avatar is left out: {words}");
                }
            }
            Job::Stop { deadline: by } => {
                deadline = by;
                break;
            }
        }
    }
    let by = *lock(&opened.by);
    let left = by.map_or(deadline, |by| by.saturating_duration_since(Instant::now()));
    on_stage.stop(deadline.min(left));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
