//! Live matches on a real store: what is acknowledged stays, what is refused was never there, and nobody waits for a
//! neighbour.

#[path = "server_matches/life.rs"]
mod life;
mod support;

use agentcast::config::Config;
use agentcast::game::adapters::{self, Format};
use agentcast::game::{Body, Event, MatchState, Reducer, View};
use agentcast::secure::{Keyring, TokenSigner, new_id};
use agentcast::server::bus::Bus;
use agentcast::server::matches::{FeedError, FeedReport, LiveMatch, Matches, Pace, RECORD_BYTES};
use agentcast::server::{Context, now_ms};
use agentcast::store::model::{Match, MatchPhase, Tenant};
use agentcast::store::{LoggedEvent, Place, Store, StoreError};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use support::dir::TempDir;

/// A service's matches, and what they stand on.
struct World {
    dir: TempDir,
    store: Store,
    matches: Matches,
    config: Arc<RwLock<Arc<Config>>>,
}

fn context(store: &Store, config: &Arc<RwLock<Arc<Config>>>) -> Context {
    Context {
        store: store.clone(),
        keyring: Arc::new(Keyring::ephemeral()),
        tokens: Arc::new(TokenSigner::ephemeral()),
        bus: Bus::default(),
        config: config.clone(),
        livekit: None,
        hub: None,
    }
}

impl World {
    async fn new(name: &str) -> World {
        let dir = TempDir::new(name);
        let store = Store::open(&Place::Sqlite(dir.path().join("test.db"))).await.unwrap();
        let tenant = Tenant { id: "ten_1".into(), name: "Arena".into(), created_at: 1 };
        store.add_tenant(&tenant).await.unwrap();
        let mut config = Config::default();
        (config.limits.events_per_second, config.limits.events_burst) = (1_000_000, 1_000_000);
        let config = Arc::new(RwLock::new(Arc::new(config)));
        let matches = Matches::restore(context(&store, &config)).await.unwrap();
        World { dir, store, matches, config }
    }

    fn limit(&self, per_second: u32, burst: u32) {
        let mut config = Config::clone(&self.config.read().unwrap());
        (config.limits.events_per_second, config.limits.events_burst) = (per_second, burst);
        *self.config.write().unwrap() = Arc::new(config);
    }

    async fn open(&self) -> LiveMatch {
        let record = Match {
            id: new_id("mat"),
            tenant_id: "ten_1".into(),
            reference: "qf2".into(),
            title: "Quarter-final 2".into(),
            sides: [].into(),
            phase: MatchPhase::Waiting,
            created_at: now_ms(),
            started_at: None,
            ended_at: None,
        };
        self.store.add_match(&record).await.unwrap();
        self.matches.open(record)
    }

    /// As after kill -9: nothing is closed, nothing written; another start reads the file.
    async fn killed(self) -> World {
        let World { dir, store, matches, config } = self;
        drop((matches, store));
        let store = Store::open(&Place::Sqlite(dir.path().join("test.db"))).await.unwrap();
        let matches = Matches::restore(context(&store, &config)).await.unwrap();
        World { dir, store, matches, config }
    }
}

fn wire(epoch: u64, seq: u64, kind: &str, data: Value) -> Event {
    let json = json!({"v": 1, "match": "qf2", "epoch": epoch, "seq": seq, "ts": 1_000 + seq, "type": kind, "vis": "public", "data": data});
    Event::from_json(&json.to_string()).unwrap()
}

fn board() -> Value {
    json!({"sides": {"w": {"seat": 0}, "b": {"seat": 1}}, "zones": {"cam": {"kind": "picture"}}})
}

fn started(seq: u64) -> Event {
    wire(1, seq, "match.started", board())
}

fn line(seq: u64, text: &str) -> Event {
    wire(1, seq, "feed", json!({"text": text}))
}

/// Names a side that is not there.
fn bad(seq: u64) -> Event {
    wire(1, seq, "feed", json!({"text": "bad", "actor": "nobody"}))
}

fn think(seq: u64, delta: &str) -> Event {
    wire(1, seq, "agent.thinking", json!({"side": "w", "thoughtId": "t", "delta": delta}))
}

fn patch(seq: u64, turn: u64) -> Event {
    wire(1, seq, "state.patch", json!({"phase": {"turn": turn}}))
}

fn lines(state: &MatchState) -> Vec<&str> {
    state.feed.iter().map(|item| item.text.as_str()).collect()
}

fn at(live: &LiveMatch) -> (u64, u64) {
    (live.position().epoch, live.position().seq)
}

/// Polls until it holds; a match's writer works beside us.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_that_come_twice_early_or_never_end_where_a_sender_in_order_would() {
    let world = World::new("matches-order").await;
    let live = world.open().await;
    let report = live.feed(vec![line(2, "before any board")]).await.unwrap();
    assert!(report.need_snapshot && report.applied == 0, "{report:?}");

    let report = live.feed(vec![started(1)]).await.unwrap();
    assert_eq!((report.epoch, report.seq, report.applied, report.need_snapshot), (1, 2, 1, false));
    assert_eq!(live.feed(vec![started(1), line(2, "again")]).await.unwrap().duplicates, 2);

    let report = live.feed(vec![line(4, "four")]).await.unwrap();
    assert_eq!((report.held, report.seq), (1, 2));
    assert_eq!(live.position().held, 1);
    let report = live.feed(vec![line(5, "five"), line(3, "three")]).await.unwrap();
    assert_eq!((report.applied, report.seq), (2, 5), "numbers count, not places in the call");
    assert_eq!(lines(&live.state()), ["before any board", "three", "four", "five"]);
    assert_eq!(live.feed(vec![]).await.unwrap(), live.position());

    let far = live.feed(vec![line(90, "far ahead")]).await.unwrap();
    assert!(far.need_snapshot, "{far:?}");
    let report =
        live.feed(vec![wire(1, 91, "state.snapshot", board()), wire(1, 92, "from.the.future", json!({}))]).await;
    let report = report.unwrap();
    assert_eq!((report.applied, report.ignored, report.need_snapshot, report.seq), (1, 1, false, 92));
}

#[tokio::test]
async fn refused_batch_leaves_no_trace_and_names_the_event_the_field_and_the_limit() {
    let world = World::new("matches-batch").await;
    let live = world.open().await;
    live.feed(vec![started(1)]).await.unwrap();
    let before = live.state();
    let mut watch = live.watch();

    let error = live.feed(vec![line(2, "a"), line(3, "b"), bad(4), line(5, "c")]).await.unwrap_err();
    let FeedError::Event { index: 2, field, .. } = &error else { panic!("{error:?}") };
    assert_eq!(field, "data.actor");
    let long = wire(1, 2, "feed", json!({"text": "x".repeat(501)}));
    let error = live.feed(vec![line(3, "later"), long]).await.unwrap_err();
    assert!(matches!(&error, FeedError::Event { index: 1, limit: Some(500), .. }), "{error:?}");
    let other = Event { match_id: "qf3".into(), ..line(2, "x") };
    let error = live.feed(vec![line(2, "a"), other]).await.unwrap_err();
    let FeedError::Event { index: 1, field, problem, .. } = &error else { panic!("{error:?}") };
    assert!(field == "match" && problem.contains("qf2"), "{error}");

    assert_eq!((live.state(), at(&live)), (before, (1, 1)));
    assert!(!watch.has_changed().unwrap(), "nobody saw anything of it");
    live.feed(vec![line(2, "a"), line(3, "b")]).await.unwrap();
    watch.changed().await.unwrap();
    assert_eq!(lines(&watch.borrow_and_update()), ["a", "b"]);
    assert_eq!(lines(&world.killed().await.matches.all()[0].state()), ["a", "b"]);
}

#[tokio::test]
async fn single_event_that_is_refused_can_be_corrected_or_left_out_also_after_a_restart() {
    for corrected in [true, false] {
        let world = World::new("matches-refused-one").await;
        let live = world.open().await;
        live.feed(vec![started(1)]).await.unwrap();
        let words = live.feed(vec![bad(2)]).await.unwrap_err().to_string();
        assert!(words.ends_with("send the correction as epoch 1, seq 2, or go on with seq 3"), "{words}");
        assert_eq!(live.feed(vec![bad(2)]).await.unwrap_err().to_string(), words, "sent again it is no duplicate");
        assert_eq!(at(&live), (1, 1));
        let world = world.killed().await;
        let live = world.matches.all().remove(0);
        assert_eq!(at(&live), (1, 1));
        if corrected {
            assert_eq!(live.feed(vec![line(2, "corrected")]).await.unwrap().applied, 1);
        }
        assert_eq!(live.feed(vec![line(3, "goes on")]).await.unwrap().applied, 1);
        // A patch is different: what follows builds on it.
        let wrong = wire(1, 4, "state.patch", json!({"phase": {"turn": -1}}));
        let words = live.feed(vec![wrong]).await.unwrap_err().to_string();
        assert!(words.ends_with("send the correction as epoch 1, seq 4"), "{words}");
        assert_eq!(live.feed(vec![line(5, "waits")]).await.unwrap().held, 1);
        assert_eq!(live.feed(vec![patch(4, 7)]).await.unwrap().seq, 5);
        // What waited for it is let by: then only a new number helps.
        assert_eq!(live.feed(vec![line(7, "early")]).await.unwrap().held, 1);
        let words = live.feed(vec![bad(6)]).await.unwrap_err().to_string();
        assert!(words.ends_with("send the correction as epoch 1, seq 8"), "{words}");
        let state = live.state();
        assert_eq!(lines(&state).first(), Some(&if corrected { "corrected" } else { "goes on" }));
        let id = live.record().id;
        assert_eq!(world.killed().await.matches.get(&id).unwrap().state(), state);
    }
}

#[tokio::test]
async fn numbers_are_the_same_to_the_last_bit_after_a_restart_from_the_log_and_from_a_snapshot() {
    let world = World::new("matches-floats").await;
    let live = world.open().await;
    let id = live.record().id;
    let mut rng = fastrand::Rng::with_seed(17);
    // Of 17 digits, as most decimals are.
    let sent: Vec<f64> = (0..160).map(|_| rng.f64() * 10_f64.powi(rng.i32(-12..12))).collect();
    let counters: Vec<Value> =
        (0..8).map(|i| json!({"id": i.to_string(), "value": sent[i], "max": sent[8 + i]})).collect();
    live.feed(vec![started(1), wire(1, 2, "state.patch", json!({"sides": {"w": {"counters": counters}}}))])
        .await
        .unwrap();
    for (n, score) in (1..).zip(&sent) {
        let sides = json!({"sides": {"w": {"score": score}, "b": {"score": -score}}});
        let shares = json!({"shares": {"w": rng.f64()}});
        live.feed(vec![wire(1, 2 * n + 1, "state.patch", sides), wire(1, 2 * n + 2, "eval", shares)]).await.unwrap();
        assert_eq!(live.state().board.sides["w"].score.map(f64::to_bits), Some(score.to_bits()), "{score}");
    }
    let state = live.state();
    let world = world.killed().await;
    assert_eq!(world.matches.get(&id).unwrap().state(), state, "from the log");
    world.matches.close().await;
    assert!(world.store.load_match(&id).await.unwrap().events.is_empty(), "a snapshot has it all");
    assert_eq!(world.killed().await.matches.get(&id).unwrap().state(), state, "from the snapshot");
}

#[tokio::test]
async fn a_tenant_sends_so_many_records_at_once_and_the_next_waits_for_its_turn() {
    let world = World::new("matches-record-turns").await;
    let live = world.open().await;
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(live.record_turn().await.unwrap());
    }
    let mut fifth = Box::pin(live.record_turn());
    assert!(futures_util::poll!(&mut fifth).is_pending());
    let report = turns.remove(0).feed(None, record("chess/mate.pgn"), Pace::AtOnce).await.unwrap();
    assert!(report.applied > 0, "{report:?}");
    assert!(fifth.await.is_ok(), "it had its turn when the first was done");
}

/// Calls as they may come: some twice, early, bad, joined with others.
fn calls(seed: u64, count: u64) -> Vec<Vec<Event>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut events = vec![started(1)];
    for seq in 2..=count {
        let event = match rng.u8(..10) {
            0 => bad(seq),
            1 => patch(seq, seq),
            2 => wire(1, seq, "state.snapshot", board()),
            3 => wire(1, seq, "from.the.future", json!({})),
            4 => wire(1, seq, "turn.started", json!({"turn": seq, "active": ["b"]})),
            5 => wire(1, seq, "match.ended", json!({"winners": ["w"]})),
            6 | 7 => think(seq, "thinking "),
            _ => line(seq, &format!("line {seq}")),
        };
        match rng.u8(..8) {
            0 => events.extend([event.clone(), event]),
            1 => events.insert(events.len() - 1, event),
            _ => events.push(event),
        }
    }
    let mut calls = Vec::new();
    while !events.is_empty() {
        let n = if rng.u8(..3) == 0 { rng.usize(1..4) } else { 1 };
        calls.push(events.drain(..n.min(events.len())).collect());
    }
    calls
}

#[tokio::test]
async fn match_that_is_killed_after_any_call_goes_on_as_if_nothing_had_been() {
    let mut world = World::new("matches-kill").await;
    let calm = World::new("matches-calm").await;
    let (id, never) = (world.open().await.record().id, calm.open().await);
    for call in calls(11, 40) {
        let live = world.matches.get(&id).unwrap();
        assert_eq!(live.feed(call.clone()).await, never.feed(call).await);
        drop(live);
        world = world.killed().await;
        let live = world.matches.get(&id).unwrap();
        assert_eq!(live.state(), never.state());
        assert_eq!(live.position(), never.position());
        assert_eq!(live.record().phase, never.record().phase);
    }
    assert_eq!(world.store.match_(None, &id).await.unwrap().phase, never.record().phase);
}

#[tokio::test]
async fn long_match_is_kept_as_a_snapshot_and_a_short_log() {
    let mut world = World::new("matches-snapshots").await;
    let live = world.open().await;
    let id = live.record().id;
    live.feed(vec![started(1)]).await.unwrap();
    let mut seq = 1;
    for round in 0..4 {
        let live = world.matches.get(&id).unwrap();
        for _ in 0..6 {
            let events: Vec<Event> = (1..=100).map(|n| think(seq + n, ".")).collect();
            seq += 100;
            live.feed(events).await.unwrap();
        }
        if round % 2 == 0 {
            world = world.killed().await;
        }
        let live = world.matches.get(&id).unwrap();
        assert_eq!(at(&live), (1, seq));
        assert_eq!(live.state().thoughts["w"].text.len() as u64, seq - 1);
    }
    let log = async || world.store.load_match(&id).await.unwrap();
    until("the log is cut", async || log().await.events.len() < 600).await;
    world.matches.close().await;
    assert!(log().await.snapshot.is_some() && log().await.events.is_empty(), "closing takes the last snapshot");
    assert_eq!(live.feed(vec![line(seq + 1, "late")]).await, Err(FeedError::Closed));
    assert_eq!(at(&world.killed().await.matches.get(&id).unwrap()), (1, seq));
}

#[tokio::test]
async fn caller_that_leaves_in_the_middle_leaves_the_log_and_the_state_alike() {
    let world = World::new("matches-leave").await;
    let live = world.open().await;
    live.feed(vec![started(1)]).await.unwrap();
    for seq in 2..30 {
        let mut feed = Box::pin(live.feed(vec![line(seq, &format!("line {seq}"))]));
        assert!(futures_util::poll!(&mut feed).is_pending());
        drop(feed);
    }
    until("the writer goes on", async || at(&live) == (1, 29)).await;
    let state = live.state();
    assert_eq!(world.killed().await.matches.all()[0].state(), state);
}

#[tokio::test]
async fn damaged_match_waits_for_a_snapshot_and_the_others_come_back() {
    let world = World::new("matches-damage").await;
    let (event, snapshot, well) = (world.open().await, world.open().await, world.open().await);
    let ids = [&event, &snapshot, &well].map(|live| live.record().id);
    for live in [&event, &snapshot, &well] {
        live.feed(vec![started(1), line(2, "two")]).await.unwrap();
    }
    let junk = LoggedEvent { epoch: 1, seq: 3, json: "{\"v\":1,".into() };
    world.store.append_events(&ids[0], vec![junk]).await.unwrap();
    world.store.save_snapshot(&ids[1], b"junk", 2).await.unwrap();
    let world = world.killed().await;
    let [event, snapshot, well] = ids.each_ref().map(|id| world.matches.get(id).unwrap());
    assert!(event.position().need_snapshot && snapshot.position().need_snapshot);
    assert_eq!(lines(&event.state()), ["two"], "what could be read is shown");
    assert_eq!((lines(&well.state()), well.position().need_snapshot), (vec!["two"], false));
    for (live, id) in [(event, &ids[0]), (snapshot, &ids[1])] {
        assert!(live.feed(vec![line(4, "four")]).await.unwrap().need_snapshot);
        let report = live.feed(vec![wire(1, 5, "state.snapshot", board()), line(6, "six")]).await.unwrap();
        assert_eq!((report.applied, report.need_snapshot), (2, false));
        let (state, id) = (live.state(), id.clone());
        assert_eq!(lines(&state).last(), Some(&"six"));
        let again = Matches::restore(context(&world.store, &world.config)).await.unwrap();
        assert_eq!(again.get(&id).unwrap().state(), state, "once mended it stays so");
    }
}

#[tokio::test]
async fn phase_follows_the_events_is_stored_and_told() {
    let world = World::new("matches-phase").await;
    let mut changes = world.matches.changes();
    let live = world.open().await;
    let id = live.record().id;
    let stored = async || world.store.match_(None, &id).await.unwrap();
    let mut rises = || std::mem::replace(&mut changes, world.matches.changes()).has_changed().unwrap();
    assert!(rises());
    assert_eq!(live.record().phase, MatchPhase::Waiting);
    live.feed(vec![started(1)]).await.unwrap();
    assert!(rises());
    assert_eq!(live.record().phase, MatchPhase::Running);
    until("it is stored", async || stored().await == live.record()).await;
    live.feed(vec![line(2, "x")]).await.unwrap();
    assert!(!rises(), "nothing that streams should look at");
    live.feed(vec![wire(1, 3, "match.ended", json!({"draw": true}))]).await.unwrap();
    assert!(rises());
    assert!(live.record().phase == MatchPhase::Over && live.record().ended_at.is_some());
    until("it is stored", async || stored().await == live.record()).await;
    live.feed(vec![wire(2, 0, "match.started", board())]).await.unwrap();
    assert!(rises());
    assert!(live.record().phase == MatchPhase::Running && live.record().ended_at.is_none());
    until("it is stored", async || stored().await == live.record()).await;

    // Fed whole, it has begun too.
    let whole = world.open().await;
    whole.feed(vec![started(1), wire(1, 2, "match.ended", json!({"draw": true}))]).await.unwrap();
    let record = whole.record();
    assert!(record.phase == MatchPhase::Over && record.started_at.is_some() && record.ended_at.is_some(), "{record:?}");
    until("it is stored", async || world.store.match_(None, &record.id).await.unwrap() == record).await;
    world.matches.end(&record.id).await.unwrap();
    rises();

    let mut watch = live.watch();
    let (first, second) = (world.open().await, world.open().await);
    assert_eq!(world.matches.all().len(), 3);
    world.matches.end(&id).await.unwrap();
    assert!(rises());
    while watch.changed().await.is_ok() {}
    assert_eq!(live.feed(vec![line(9, "late")]).await, Err(FeedError::Closed));
    assert_eq!(live.admit(), Err(FeedError::Closed));
    assert_eq!(live.record(), stored().await);
    assert_eq!(stored().await.phase, MatchPhase::Closed);
    assert!(world.matches.get(&id).is_none());
    assert!(matches!(world.matches.end(&id).await, Err(StoreError::NotFound("match"))));
    let world = world.killed().await;
    let ids: Vec<String> = world.matches.all().iter().map(|live| live.record().id).collect();
    assert_eq!(ids, [first.record().id, second.record().id], "oldest first, without what ended");
}

#[tokio::test]
async fn screens_get_every_state_and_one_that_panics_or_leaves_hurts_nobody() {
    let world = World::new("matches-screens").await;
    let live = world.open().await;
    let count = || Arc::new(AtomicUsize::new(0));
    let (steady, gone, panics) = (count(), count(), count());
    let (n, seen) = (steady.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let all = seen.clone();
    live.attach(Box::new(move |state| {
        all.lock().unwrap().push(state.seq);
        n.fetch_add(1, SeqCst) < 100
    }));
    let n = gone.clone();
    live.attach(Box::new(move |_| n.fetch_add(1, SeqCst) < 2));
    let n = panics.clone();
    live.attach(Box::new(move |_| match n.fetch_add(1, SeqCst) {
        0 => true,
        _ => panic!("a broken screen"),
    }));
    live.feed(vec![started(1)]).await.unwrap();
    for seq in 2..=5 {
        live.feed(vec![line(seq, "x")]).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 4, 5], "the newest at once, then each");
    assert_eq!((gone.load(SeqCst), panics.load(SeqCst)), (3, 2));
    let hidden = wire(1, 6, "marker", json!({"label": "secret"}));
    live.feed(vec![Event { vis: None, ..hidden }]).await.unwrap();
    assert!(live.state().marker.is_some() && live.seen_by(&View::Spectator).marker.is_none());
}

#[tokio::test]
async fn beyond_the_limit_a_patch_is_refused_and_told_when_to_come_back() {
    let world = World::new("matches-limit").await;
    let live = world.open().await;
    live.feed(vec![started(1)]).await.unwrap();
    world.limit(10, 5);
    let mut seq = 1;
    let error = loop {
        match live.feed(vec![patch(seq + 1, seq)]).await {
            Ok(_) => seq += 1,
            Err(error) => break error,
        }
        assert!(seq < 50, "no limit holds");
    };
    let FeedError::TooFast { per_second: 10, retry_ms } = error else { panic!("{error:?}") };
    assert!((1..=100).contains(&retry_ms), "{retry_ms}");
    assert_eq!(at(&live), (1, seq), "nothing of it was taken");
    let allowance = live.allowance();
    assert_eq!((allowance.limit, allowance.remaining, allowance.reset_s), (5, 0, 1));
    tokio::time::sleep(Duration::from_millis(retry_ms + 5)).await;
    assert_eq!(live.feed(vec![patch(seq + 1, 9)]).await.unwrap().applied, 1);
    world.limit(1_000, 1_000);
    let many = (2..100).map(|n| patch(seq + n, n)).collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(live.feed(many).await.is_ok(), "a reload counts");
}

#[tokio::test]
async fn thoughts_and_pictures_beyond_the_limit_are_joined_and_nothing_is_missing() {
    let world = World::new("matches-join").await;
    let live = world.open().await;
    live.feed(vec![started(1)]).await.unwrap();
    world.limit(20, 4);
    let mut text = String::new();
    let events: Vec<Event> = (2..=601)
        .map(|seq| match seq % 3 {
            0 => wire(1, seq, "state.patch", json!({"zones": {"cam": {"picture": format!("frame{seq}")}}})),
            _ => {
                text.push_str(&format!("{seq} "));
                think(seq, &format!("{seq} "))
            }
        })
        .collect();
    let mut states = 0;
    let mut watch = live.watch();
    let watcher = async {
        while !(watch.changed().await.is_err() || watch.borrow_and_update().seq == 601) {
            states += 1;
        }
    };
    // All at once, as frames of a socket are.
    let feeds = join_all(events.into_iter().map(|event| live.feed(vec![event])));
    let (reports, ()) = tokio::join!(feeds, watcher);
    let applied: u64 = reports.iter().map(|report| report.as_ref().unwrap().applied).sum();
    assert_eq!((applied, at(&live)), (600, (1, 601)));
    let state = live.state();
    assert_eq!(state.thoughts["w"].text, text);
    let zone = serde_json::to_value(&state.board.zones["cam"]).unwrap();
    assert_eq!(zone["picture"], "frame600");
    assert!(states < 40, "{states} states were shown");
    let logged = world.store.load_match(&live.record().id).await.unwrap().events.len();
    assert!(logged < 40, "{logged} events were logged");
    world.limit(1_000, 1_000);
    live.feed(vec![line(602, "no gap")]).await.unwrap();
    let state = live.state();
    assert_eq!(world.killed().await.matches.all()[0].state(), state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooded_match_costs_little_and_leaves_a_quiet_one_its_latency() {
    let world = World::new("matches-flood").await;
    let (flooded, quiet) = (world.open().await, world.open().await);
    flooded.feed(vec![started(1)]).await.unwrap();
    quiet.feed(vec![started(1)]).await.unwrap();
    world.limit(60, 120);
    let stop = tokio_util::sync::CancellationToken::new();
    let (sent, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let flood = tokio::spawn({
        let (stop, sent, read) = (stop.clone(), sent.clone(), read.clone());
        async move {
            let began = Instant::now();
            while !stop.is_cancelled() {
                // 10,000 a second, in order, thoughts and patches.
                while sent.load(SeqCst) < began.elapsed().as_millis() as usize * 10 {
                    sent.fetch_add(1, SeqCst);
                    if flooded.admit().is_ok() {
                        read.fetch_add(1, SeqCst);
                        let seq = flooded.position().seq + 1;
                        let event = if seq % 2 == 0 { patch(seq, seq) } else { think(seq, ".") };
                        let flooded = flooded.clone();
                        tokio::spawn(async move { flooded.feed(vec![event]).await });
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut waits = Vec::new();
    for seq in 2..62 {
        let began = Instant::now();
        quiet.feed(vec![patch(seq, seq)]).await.unwrap();
        waits.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(33)).await;
    }
    stop.cancel();
    flood.await.unwrap();
    waits.sort();
    let (sent, read) = (sent.load(SeqCst), read.load(SeqCst));
    println!("{sent} sent, {read} read; quiet match: median {:?}, slowest {:?}", waits[30], waits[59]);
    assert!(sent > 5_000 && read < sent / 3, "{read} of {sent} were read");
    assert!(waits[57] < Duration::from_secs(1), "{waits:?}");
}

fn record(path: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(path)).unwrap()
}

/// What a record comes to, as a match of ours.
fn reduced(bytes: &[u8]) -> MatchState {
    let mut reducer = Reducer::default();
    for timed in adapters::read(bytes, None).unwrap().events {
        reducer.apply(Event { match_id: "qf2".into(), ..timed.event }).unwrap();
    }
    reducer.state().clone()
}

#[tokio::test]
async fn record_that_is_posted_as_it_grows_ends_as_the_whole_one() {
    for (path, lines) in [("battlesnake/duel.output.jsonl", 1), ("chess/mate.pgn", 1), ("chess/resign.pgn", 3)] {
        let mut world = World::new("matches-grow").await;
        world.limit(1_000, 1_000);
        let live = world.open().await;
        let id = live.record().id;
        let whole = record(path);
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        let mut applied = 0;
        for (n, end) in ends.iter().enumerate().filter(|(n, _)| n % lines == 0) {
            if n == ends.len() / 2 {
                world = world.killed().await;
            }
            let live = world.matches.get(&id).unwrap();
            match live.feed_record(None, &whole[..*end], Pace::AtOnce).await {
                Ok(report) => applied += report.applied,
                // A few lines are no record yet.
                Err(FeedError::Record(_)) if applied == 0 => continue,
                Err(error) => panic!("{path} up to {end}: {error}"),
            }
            let open = adapters::read(&whole[..*end], None).unwrap().events.pop();
            let open = open.is_none_or(|last| match last.event.body {
                Body::MatchEnded(result) => result.aborted,
                _ => true,
            });
            assert_eq!(live.record().phase == MatchPhase::Over, !open, "{path}: after {end} bytes");
        }
        let live = world.matches.get(&id).unwrap();
        let report = live.feed_record(None, &whole, Pace::AtOnce).await.unwrap();
        applied += report.applied;
        let (state, expected) = (live.state(), reduced(&whole));
        assert_eq!(state.board, expected.board, "{path}");
        assert_eq!(state.actions, expected.actions, "{path}");
        assert_eq!(live.record().phase, MatchPhase::Over);
        let events = adapters::read(&whole, None).unwrap().events.len() as u64;
        assert!(applied <= 2 * events + 2, "{path}: {applied} events were applied, it has {events}");
        let again = live.feed_record(None, &whole, Pace::AtOnce).await.unwrap();
        assert_eq!((again.applied, again.duplicates), (0, events), "{path}");
    }
}

#[tokio::test]
async fn another_record_on_the_same_match_begins_anew_and_a_bad_one_changes_nothing() {
    let world = World::new("matches-records").await;
    let live = world.open().await;
    // A record counts as one event, however many it holds.
    world.limit(1_000, 8);
    live.feed(vec![started(1), line(2, "fed by hand")]).await.unwrap();
    for path in ["chess/mate.pgn", "battlesnake/duel.output.jsonl"] {
        live.feed_record(None, &record(path), Pace::AtOnce).await.unwrap();
        let expected = reduced(&record(path));
        assert_eq!(live.state().board, expected.board, "{path}");
        assert_eq!(lines(&live.state()), lines(&expected), "{path}");
    }
    assert_eq!(at(&live).0, 3, "each is an epoch of its own");
    let before = live.state();
    let pgn = live.feed_record(Some(Format::Phh), &record("chess/mate.pgn"), Pace::AtOnce).await;
    assert!(matches!(pgn, Err(FeedError::Record(_))), "{pgn:?}");
    let large = live.feed_record(None, &vec![b' '; RECORD_BYTES + 1], Pace::AtOnce).await.unwrap_err();
    assert!(large.to_string().contains("8388608"), "{large}");
    let wrong = format!("{}\n{}\n", started(1).to_json(), bad(2).to_json());
    let error = live.feed_record(None, wrong.as_bytes(), Pace::Recorded { speed: 1.0 }).await.unwrap_err();
    assert!(matches!(error, FeedError::Event { index: 1, .. }), "{error:?}");
    let speed = live.feed_record(None, &record("chess/mate.pgn"), Pace::Recorded { speed: f64::NAN }).await;
    assert!(matches!(speed, Err(FeedError::Record(_))), "{speed:?}");
    assert_eq!(live.state(), before);
}

/// A record of our own format: a line each 200 ms.
fn ticks(count: u64) -> String {
    let event =
        |seq: u64| Event { ts: seq as i64 * 200, match_id: "recorded".into(), ..line(seq, &format!("tick {seq}")) };
    let mut events = vec![Event { ts: 200, match_id: "recorded".into(), ..started(1) }];
    events.extend((2..=count).map(event));
    events.iter().map(|event| event.to_json() + "\n").collect()
}

#[tokio::test]
async fn record_plays_as_it_happened_and_goes_on_after_a_restart() {
    let world = World::new("matches-play").await;
    let live = world.open().await;
    let id = live.record().id;
    live.feed(vec![started(1), line(2, "fed before")]).await.unwrap();
    let began = Instant::now();
    let report = live.feed_record(None, ticks(11).as_bytes(), Pace::Recorded { speed: 1.0 }).await.unwrap();
    assert_eq!((report.applied, report.epoch, report.seq), (1, 2, 1), "a new epoch: the first event is on at once");
    until("it plays", async || at(&live).1 >= 4).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "not before its time");
    drop(live);
    let world = world.killed().await;
    let live = world.matches.get(&id).unwrap();
    assert!(at(&live).1 < 11, "it was killed on the way");
    until("it plays on", async || at(&live) == (2, 11)).await;
    assert!(began.elapsed() >= Duration::from_millis(2_000), "{:?}", began.elapsed());
    assert_eq!(lines(&live.state()).len(), 10);
    until("it is over", async || world.store.record(&id).await.unwrap().is_none()).await;

    // Another one while one plays takes its place.
    live.feed_record(None, ticks(500).as_bytes(), Pace::Recorded { speed: 1.0 }).await.unwrap();
    live.feed_record(None, &record("chess/mate.pgn"), Pace::Recorded { speed: 1_000.0 }).await.unwrap();
    until("it is over", async || live.record().phase == MatchPhase::Over).await;
    assert_eq!(live.state().board, reduced(&record("chess/mate.pgn")).board);
    world.matches.end(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_matches_are_back_within_five_seconds() {
    let world = World::new("matches-hundred").await;
    let opened = join_all((0..100).map(|_| world.open())).await;
    join_all(opened.iter().map(async |live| {
        live.feed(vec![started(1)]).await.unwrap();
        for call in 0..4 {
            let events = (0..100).map(|n| line(2 + call * 100 + n, "x")).collect();
            live.feed(events).await.unwrap();
        }
    }))
    .await;
    drop(opened);
    let began = Instant::now();
    let world = world.killed().await;
    println!("100 matches with 401 events each: back in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(world.matches.all().iter().all(|live| at(live) == (1, 401)));
}

#[tokio::test]
async fn match_whose_store_refuses_says_so_and_goes_on_when_it_is_back() {
    let world = World::new("matches-refuse").await;
    let live = world.open().await;
    live.feed(vec![started(1)]).await.unwrap();
    let id = live.record().id;
    world.store.close().await;
    let error = live.feed(vec![line(2, "lost")]).await.unwrap_err();
    assert!(matches!(error, FeedError::Store(_)), "{error:?}");
    assert!(lines(&live.state()).is_empty(), "what is not logged is not shown");
    let world = world.killed().await;
    let live = world.matches.get(&id).unwrap();
    let report: FeedReport = live.feed(vec![line(2, "kept")]).await.unwrap();
    assert_eq!((report.applied, lines(&live.state())), (1, vec!["kept"]));
}
