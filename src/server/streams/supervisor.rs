//! Does what the board wants: one task looks up what is so, one lets time pass, one writes to the store, and threads do what
//! takes a while. The board's lock is never held across anything that waits.

use super::board::{Action, Board, Ms, NotMade, OUTPUT_END};
use super::crew::{Crew, Desk, Job};
use super::desired::{Candidate, World, runs_with};
use super::encodes::Shown;
use super::off::{FLAG, Off};
use super::outputs::{self, Observers};
use super::usage::{self, Usage};
use crate::game::{Fact, Game, MatchState, PictureRef, Side, View};
use crate::output::Destination as Output;
use crate::server::matches::Matches;
use crate::server::stage::{OnStage, Stage};
use crate::server::turns::Turns;
use crate::server::{Context, now_ms};
use crate::store::StoreError;
use crate::store::model::{Millis, StreamRecord};
use crate::stream::{Eyes, OutputId};
use crate::webhook::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often time passes for the board.
const TICK: Duration = Duration::from_millis(100);
/// What is so is looked up this often even when nobody says that it changed.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Writes that may wait for the store.
const WRITES: usize = 4_096;
/// Records that the store refused are put again after this.
const REWRITE: Duration = Duration::from_secs(1);
/// Thumbnails made at once, and of one tenant.
const THUMBNAILS: (usize, usize) = (4, 2);
/// A write is tried this often, with growing pauses.
const TRIES: u32 = 5;

pub struct Supervisor {
    pub context: Context,
    matches: Matches,
    stage: Arc<dyn Stage>,
    board: Mutex<Board>,
    crew: Crew,
    observers: Observers,
    began: Instant,
    poked: Notify,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    looks: AtomicU64,
    /// Looks up to this one may have seen a switch before it went off.
    void: AtomicU64,
    /// Asked at the beginning of each look: what is written meanwhile is seen in the store or here.
    pub off: Off,
    /// At making thumbnails.
    pub thumbnails: Turns,
    writes: mpsc::Sender<Write>,
    /// Records of streams that the store does not have yet, by id: the last state of each counts.
    unwritten: Mutex<BTreeMap<String, StreamRecord>>,
    pub stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    runtime: Handle,
}

enum Write {
    /// There are records to put.
    Put,
    KeyUsed(String, Millis),
    Usage(Usage),
    /// Answered when everything before it was done, and all records are written.
    Flush(oneshot::Sender<()>),
}

impl Supervisor {
    /// Brings back what should be live and begins to watch.
    pub async fn start(
        context: Context,
        matches: Matches,
        stage: Arc<dyn Stage>,
    ) -> Result<Arc<Supervisor>, StoreError> {
        let settings = Arc::new(context.config().streaming.clone());
        let board = Board::new(settings, context.livekit.is_some());
        let (writes, waiting) = mpsc::channel(WRITES);
        let supervisor = Arc::new(Supervisor {
            context,
            matches,
            stage,
            board: Mutex::new(board),
            crew: Crew::new(Handle::current()),
            observers: Observers::default(),
            began: Instant::now(),
            poked: Notify::new(),
            looking: tokio::sync::Mutex::default(),
            looks: AtomicU64::new(0),
            void: AtomicU64::new(0),
            off: Off::default(),
            thumbnails: Turns::new(THUMBNAILS.0, THUMBNAILS.1),
            writes,
            unwritten: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
            runtime: Handle::current(),
        });
        supervisor.remember().await?;
        supervisor.look().await?;
        let s = &supervisor;
        s.spawn(s.clone().keep_looking());
        s.spawn(s.clone().let_time_pass());
        s.spawn(s.clone().write(waiting));
        s.spawn(s.clone().hear_webhooks());
        let off = s.clone();
        s.spawn(async move { off.off.keep_trying(&off.context.store, &off.stop).await });
        Ok(supervisor)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(self.runtime.spawn(task));
    }

    /// Streams that were there before, and those that somebody stopped.
    async fn remember(self: &Arc<Self>) -> Result<(), StoreError> {
        let store = &self.context.store;
        for record in store.open_streams().await? {
            match store.agent(None, &record.agent_id).await {
                Ok(agent) => self.apply(|board, now, _| board.adopt(record, agent, now)),
                Err(StoreError::NotFound(_)) => {
                    let reason = Some("the agent was deleted".to_owned());
                    store.put_stream(&StreamRecord { ended_at: Some(now_ms()), reason, ..record }).await?;
                }
                Err(error) => return Err(error),
            }
        }
        for record in store.stopped_streams().await? {
            self.apply(|board, _, _| board.stopped(&record.agent_id, &record.match_id));
        }
        Ok(())
    }

    /// Works on the board, then does what it wants done.
    pub fn apply<R>(self: &Arc<Self>, work: impl FnOnce(&mut Board, Ms, Millis) -> R) -> R {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut board, self.now(), now_ms());
        for action in board.actions() {
            self.act(action);
        }
        result
    }

    pub fn now(&self) -> Ms {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn poke(&self) {
        self.poked.notify_one();
    }

    pub fn stage(&self) -> &Arc<dyn Stage> {
        &self.stage
    }

    pub fn matches(&self) -> &Matches {
        &self.matches
    }

    /// Looks up what is so and lets the board compare.
    pub async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        let _alone = self.looking.lock().await;
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        let (store, config) = (&self.context.store, self.context.config());
        let (killed, off) = (self.off.flag(), self.off.agents());
        let flag = !killed && store.flag(FLAG).await?.unwrap_or(config.streaming.enabled);
        let mut matches: Vec<_> = self.matches.all().iter().map(|m| m.record()).collect();
        matches.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let day = usage::day(now_ms());
        let (on_air, mut unknown) = self.apply(|board, _, _| {
            let on_air: BTreeSet<String> = board.streams.values().map(|s| s.agent.id.clone()).collect();
            (on_air, Vec::new())
        });
        let mut agents = BTreeMap::new();
        for agent in store.enabled_agents().await? {
            // Those who only wait cost nothing more.
            if off.contains(&agent.id) {
                continue;
            }
            if !on_air.contains(&agent.id) && !matches.iter().any(|m| runs_with(m, &agent.id)) {
                continue;
            }
            let destinations = store.destinations(None, &agent.id).await?;
            if !self.apply(|board, _, _| board.ledger.knows(&agent.id, &day)) {
                let rows = store.usage(None, Some(&agent.id), &usage::month_begin(&day), &day).await?;
                unknown.push((agent.tenant_id.clone(), agent.id.clone(), rows));
            }
            agents.insert(agent.id.clone(), Candidate { agent, destinations });
        }
        let mut deleted = BTreeSet::new();
        for agent in on_air.into_iter().filter(|id| !agents.contains_key(id) && !off.contains(id)) {
            if matches!(store.agent(None, &agent).await, Err(StoreError::NotFound(_))) {
                deleted.insert(agent);
            }
        }
        self.apply(|board, now, wall| {
            for (tenant, agent, rows) in &unknown {
                board.ledger.open(tenant, agent, &day, rows);
            }
            // Read under the board's lock, under which it is written.
            if look > self.void.load(Ordering::SeqCst) {
                board.set_settings(Arc::new(config.streaming.clone()));
                board.set_hosts(&config.hosts);
                let by_itself = self.stage.shows_by_itself();
                board.world(World { flag, agents, deleted, matches, by_itself }, now, wall);
            }
        });
        Ok(())
    }

    /// The flag went off.
    pub fn kill(self: &Arc<Self>, hard: bool) {
        self.apply(|board, now, wall| {
            self.void.store(self.looks.load(Ordering::SeqCst), Ordering::SeqCst);
            board.kill(hard, now, wall);
        });
        self.poke();
    }

    /// An agent's switch went off.
    pub fn end_all_of(self: &Arc<Self>, agent: &str) {
        self.apply(|board, now, wall| {
            self.void.store(self.looks.load(Ordering::SeqCst), Ordering::SeqCst);
            board.switched_off(agent, now, wall);
        });
        self.poke();
    }

    /// Whether nothing is on air any more.
    pub async fn silent(self: &Arc<Self>) {
        // A drain leaves the streams as they are for the next start; their threads end.
        while self.apply(|board, _, _| !board.draining && !board.streams.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.crew.gone().await;
    }

    pub async fn drain(self: &Arc<Self>, deadline: Duration) {
        let by = tokio::time::Instant::now() + deadline;
        let outputs = deadline.mul_f64(0.8).min(Duration::from_secs(10));
        self.apply(|board, _, _| board.drain(outputs));
        if tokio::time::timeout_at(by, self.crew.gone()).await.is_err() {
            tracing::error!("not every stream ended in time; what hangs is left behind");
        }
        // The next start knows nothing of them: it would be a second publisher, which platforms take for a bad key.
        if tokio::time::timeout_at(by, self.observers.over()).await.is_err() {
            match self.observers.told().await {
                true => tracing::warn!(
                    "an egress job stops and is not over yet: until it is, its platform may refuse the stream key; what rests \
                     after that is tried again by POST /v1/streams"
                ),
                false => tracing::error!(
                    "LiveKit has not confirmed that it stops an egress job, which may go on sending; look at it with \
                     `lk egress list`"
                ),
            }
        }
        if !self.written(by.saturating_duration_since(tokio::time::Instant::now()).max(Duration::from_secs(1))).await {
            tracing::error!("the store did not take the last figures in time");
        }
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A task that panicked has said so.
            let _ = task.await;
        }
    }

    /// Whether what waits for the store was written within this time.
    pub async fn written(&self, within: Duration) -> bool {
        let (done, written) = oneshot::channel();
        let flush = async { self.writes.send(Write::Flush(done)).await.is_ok() && written.await.is_ok() };
        tokio::time::timeout(within, flush).await.unwrap_or(false)
    }

    // Tasks.

    async fn keep_looking(self: Arc<Self>) {
        let mut changes = Some(self.matches.changes());
        let mut failing = false;
        loop {
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let pause = if failing { Duration::from_secs(1) } else { LOOK_EVERY };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.poked.notified() => {}
                more = changed => if !more { changes = None },
                () = tokio::time::sleep(pause) => {}
            }
            let looked = self.look().await;
            if let (Err(error), false) = (&looked, failing) {
                tracing::error!("what should be on air cannot be looked up, it stays as it is: {error}");
            }
            failing = looked.is_err();
        }
    }

    async fn let_time_pass(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => self.apply(|board, now, wall| board.tick(now, wall)),
            }
        }
    }

    async fn hear_webhooks(self: Arc<Self>) {
        let Some(hub) = &self.context.hub else { return };
        let mut changes = hub.subscribe();
        loop {
            let change = tokio::select! {
                () = self.stop.cancelled() => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(Change::Egress(info)) => self.observers.tell(&info),
                // What was missed is in the next list.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn write(self: Arc<Self>, mut waiting: mpsc::Receiver<Write>) {
        let mut flushes = Vec::new();
        let mut again = None;
        loop {
            let write = tokio::select! {
                biased;
                write = waiting.recv() => write,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep_until(again.unwrap_or_else(tokio::time::Instant::now)), if again.is_some() => {
                    Some(Write::Put)
                }
            };
            match write {
                None => return,
                Some(Write::Flush(done)) => flushes.push(done),
                Some(Write::Put) => {}
                Some(write) => {
                    self.write_one(write).await;
                    continue;
                }
            }
            match self.put_records().await {
                true => {
                    again = None;
                    flushes.drain(..).for_each(|done| _ = done.send(()));
                }
                false => again = Some(tokio::time::Instant::now() + REWRITE),
            }
        }
    }

    /// Puts the records that the store does not have; whether it has all of them now.
    async fn put_records(&self) -> bool {
        let lock = || self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = lock().clone();
        for (id, record) in waiting {
            match self.context.store.put_stream(&record).await {
                // Its owner may be deleted meanwhile.
                Ok(()) | Err(StoreError::NotFound(_)) => {
                    let mut unwritten = lock();
                    // A newer state of it waits for its own turn.
                    if unwritten.get(&id) == Some(&record) {
                        unwritten.remove(&id);
                    }
                }
                Err(error) => {
                    tracing::error!(
                        stream = id,
                        "the store does not take a stream's record, it is tried again: {error}"
                    );
                    return false;
                }
            }
        }
        lock().is_empty()
    }

    /// Records that the store does not have yet, of one tenant or all.
    pub fn unwritten(&self, tenant: Option<&str>) -> Vec<StreamRecord> {
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.values().filter(|record| tenant.is_none_or(|t| record.tenant_id == t)).cloned().collect()
    }

    async fn write_one(self: &Arc<Self>, write: Write) {
        let store = &self.context.store;
        let mut pause = Duration::from_millis(100);
        for attempt in 1.. {
            let done = match &write {
                Write::KeyUsed(destination, at) => store.key_used(destination, *at).await,
                Write::Usage(u) => {
                    store.add_usage(&u.tenant, &u.agent, &u.day, u.stream_seconds, u.output_seconds).await
                }
                Write::Put | Write::Flush(_) => Ok(()),
            };
            match done {
                // A destination or agent may be deleted meanwhile.
                Ok(()) | Err(StoreError::NotFound(_)) => return,
                Err(error) if attempt == TRIES => {
                    tracing::error!("the store refused: {error}");
                    break;
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        if let Write::Usage(usage) = write {
            self.apply(|board, _, _| board.ledger.give_back(usage));
        }
    }

    // What the board wants.

    fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Open { run, look, name, first: (stream, agent) } => {
                let settings = look.settings(name, &self.context.config().streaming.preset);
                // Its level makes it stand before every line, whatever the log's own level.
                let _inside = tracing::error_span!("encode", stream, agent).entered();
                self.crew.hire(run, self.stage.clone(), settings, Arc::new(Reports(self.clone())));
            }
            Action::Close { run, deadline } => self.crew.dismiss(run, deadline),
            Action::Hurry { run } => self.crew.hurry(run, OUTPUT_END),
            Action::Remove { run, output, deadline } => {
                // One without a thread has ended with it.
                let _ = self.crew.hand(run).is_some_and(|hand| hand.give(Job::Remove { output, deadline }));
            }
            Action::Aim { run, aim, shown, agents } => self.aim(run, aim, shown, agents),
            Action::Make { run, serial, order } => {
                let me = self.clone();
                self.runtime.spawn(async move {
                    let Some((hand, video)) = me.crew.hand(run).and_then(|h| Some((h.clone(), h.stage()?.video())))
                    else {
                        return;
                    };
                    match outputs::make(&me.context, &me.observers, &order, &video).await {
                        Ok(output) => me.plug(run, serial, &hand, output),
                        Err(not) => me.apply(|board, now, _| board.made(run, serial, Err(not), now)),
                    }
                });
            }
            Action::Put(record) => {
                let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
                unwritten.insert(record.id.clone(), record);
                drop(unwritten);
                // Where the queue is full, what is in it comes to the records, too.
                let _ = self.writes.try_send(Write::Put);
            }
            Action::KeyUsed { destination } => self.later(Write::KeyUsed(destination, now_ms())),
            Action::Write(usage) => self.later(Write::Usage(usage)),
            Action::Tell { tenant, kind, id, data } => self.context.bus.tell(Some(&tenant), kind, &id, data),
        }
    }

    fn later(&self, write: Write) {
        if self.writes.try_send(write).is_err() {
            tracing::error!("the store is too slow: a stream's figure is lost");
        }
    }

    fn plug(self: &Arc<Self>, run: u64, serial: u64, hand: &super::crew::Hand, output: Box<dyn Output>) {
        if !hand.give(Job::Add { serial, output }) {
            let words = "the picture's thread does not answer".to_owned();
            self.apply(|board, now, _| board.made(run, serial, Err(NotMade { words, passing: true }), now));
        }
    }

    /// Has an encode show a match, or who waits for one.
    fn aim(self: &Arc<Self>, run: u64, aim: u64, shown: Shown, agents: Vec<(String, String)>) {
        let Some(hand) = self.crew.hand(run) else { return };
        *hand.aim() = aim;
        let me = self.clone();
        self.runtime.spawn(async move {
            let (id, view) = match shown {
                Shown::Match { id, view } => (id, view),
                Shown::Nothing => {
                    let current = hand.aim();
                    if let Some(stage) = hand.stage().filter(|_| *current == aim) {
                        stage.show(
                            Arc::new(waiting(aim, &agents)),
                            &Arc::new(Eyes { view: View::All, ..Eyes::default() }),
                        );
                    }
                    return;
                }
            };
            let Some(live) = me.matches.get(&id) else { return };
            let mut eyes = Eyes { view, ..Eyes::default() };
            for (side, agent) in live.record().sides {
                if let Some((name, bytes)) = me.avatar(&agent).await {
                    hand.give(Job::Picture { name: name.clone(), bytes });
                    eyes.avatars.insert(side, PictureRef(name));
                }
            }
            let Some(stage) = hand.stage().map(Arc::downgrade) else { return };
            let (eyes, to) = (Arc::new(eyes), hand.aim.clone());
            live.attach(Box::new(move |state| {
                let current = to.lock().unwrap_or_else(PoisonError::into_inner);
                *current == aim && stage.upgrade().is_some_and(|stage: Arc<dyn OnStage>| stage.show(state, &eyes))
            }));
        });
    }

    /// An agent's picture, under a name that another picture never has: a view that is held back takes no new picture under
    /// an old name.
    async fn avatar(&self, agent: &str) -> Option<(String, Vec<u8>)> {
        let store = &self.context.store;
        let sha = store.agent(None, agent).await.ok()?.avatar?;
        let bytes = store.avatar(None, agent).await.ok()??;
        Some((format!("agent/{agent}/{}", sha.get(..16).unwrap_or(&sha)), bytes))
    }
}

/// What is shown while nobody plays: who streams, on the starting scene.
fn waiting(number: u64, agents: &[(String, String)]) -> MatchState {
    let mut state = MatchState { match_id: format!("waiting-{number}"), ts: now_ms(), ..MatchState::default() };
    state.board.title = "Waiting for the next match".into();
    state.board.game = Game { id: "none".into(), name: String::new() };
    state.board.facts = vec![Fact { label: "Next".into(), text: "The next match".into() }];
    for (seat, (id, name)) in agents.iter().take(8).enumerate() {
        let side = Side { seat: seat as u8, name: name.clone(), ..Side::default() };
        state.board.sides.insert(id.clone(), side);
    }
    state
}

/// What the threads report goes to the board.
struct Reports(Arc<Supervisor>);

impl Desk for Reports {
    fn opened(&self, run: u64, stage: Result<Arc<dyn OnStage>, String>) {
        self.0.apply(|board, now, _| board.opened(run, stage, now));
    }

    fn wants(&self, run: u64, serial: u64) -> bool {
        self.0.apply(|board, _, _| board.wants(run, serial))
    }

    fn made(&self, run: u64, serial: u64, made: Result<OutputId, NotMade>) {
        self.0.apply(|board, now, _| board.made(run, serial, made, now));
    }
}
