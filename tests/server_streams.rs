//! Who is on air: the service on a stage of the test's own, and on the real one with real RTMP servers.

#[path = "server_streams/changes.rs"]
mod changes;
#[path = "server_streams/egress.rs"]
mod egress;
mod support;
#[path = "server_streams/wishes.rs"]
mod wishes;

use agentcast::config::Config;
use agentcast::encode::{Profile, VideoCodec, VideoSettings};
use agentcast::game::{Event, MatchState};
use agentcast::livekit::rooms::Rooms;
use agentcast::output::key::StreamKey;
use agentcast::output::{Destination as Output, State, Status};
use agentcast::render::AdapterChoice;
use agentcast::secure::{Binding, HostRules, Keyring, TokenSigner, ingest_host};
use agentcast::server::bus::Bus;
use agentcast::server::stage::{OnStage, Scene, Stage, StudioStage};
use agentcast::server::streams::{StreamState, StreamView};
use agentcast::server::{Context, Service, now_ms};
use agentcast::store::model::*;
use agentcast::store::{Place, Store};
use agentcast::stream::{Eyes, Meters, OutputId, StreamStatus};
use agentcast::studio::StreamSettings;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use support::livekit::LiveKit;
use support::nginx::Nginx;
use support::rtmp_receiver::{Behaviour, Connection, Receiver};

const TENANT: &str = "ten_1";
/// For what takes well under a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A stage whose broadcasts are always live.
#[derive(Default)]
struct FakeStage {
    opened: Mutex<Vec<Arc<FakeBroadcast>>>,
    /// What happens to broadcasts of agents of this name.
    panics: AtomicU32,
    hangs: Mutex<Option<String>>,
}

#[derive(Default)]
struct FakeBroadcast {
    states: Mutex<Vec<(Arc<MatchState>, Arc<Eyes>)>>,
    outputs: Mutex<BTreeMap<OutputId, Box<dyn Output>>>,
    pictures: Mutex<Vec<String>>,
    scenes: Mutex<Vec<Option<Scene>>>,
    ids: AtomicU32,
    stopped: AtomicBool,
    /// Its end takes all of its time, as that of a platform that takes nothing more.
    stalls: AtomicBool,
    hurried: Mutex<Option<Duration>>,
    /// What its end was given.
    deadline: Mutex<Option<Duration>>,
    /// Thumbnails that are being made, and the most there were at once.
    thumbnails: (AtomicU32, AtomicU32),
}

struct Handle(Arc<FakeBroadcast>);

impl Stage for FakeStage {
    fn open(&self, settings: &StreamSettings) -> Result<Box<dyn OnStage>, String> {
        while self.hangs.lock().unwrap().as_ref() == Some(&settings.name) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err(),
            "on purpose"
        );
        let broadcast = Arc::<FakeBroadcast>::default();
        self.opened.lock().unwrap().push(broadcast.clone());
        Ok(Box::new(Handle(broadcast)))
    }

    fn meters(&self) -> Arc<Meters> {
        Arc::default()
    }
}

impl OnStage for Handle {
    fn show(&self, state: Arc<MatchState>, eyes: &Arc<Eyes>) -> bool {
        self.0.states.lock().unwrap().push((state, eyes.clone()));
        !self.0.stopped.load(Ordering::SeqCst)
    }
    fn add(&self, output: Box<dyn Output>) -> Result<OutputId, String> {
        let id = self.0.ids.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.outputs.lock().unwrap().insert(id, output);
        Ok(id)
    }
    fn remove(&self, output: OutputId, deadline: Duration) {
        let removed = self.0.outputs.lock().unwrap().remove(&output);
        removed.map(|output| output.stop(deadline));
    }
    fn scene(&self, scene: Option<Scene>) {
        self.0.scenes.lock().unwrap().push(scene);
    }
    fn host(&self, _: &str) {}
    fn viewers(&self, _: Option<u64>) {}
    fn picture(&self, name: &str, _: &[u8]) -> Result<(), String> {
        self.0.pictures.lock().unwrap().push(name.into());
        Ok(())
    }
    fn status(&self) -> StreamStatus {
        let outputs = self.0.outputs.lock().unwrap();
        let live = |output: &dyn Output| Status { state: State::Live, ..output.status() };
        StreamStatus {
            ids: outputs.keys().copied().collect(),
            outputs: outputs.values().map(|output| live(&**output)).collect(),
            ..StreamStatus::default()
        }
    }
    fn video(&self) -> VideoSettings {
        let (profile, preset) = (Profile::ConstrainedHigh, String::new());
        VideoSettings { width: 1280, height: 720, fps: 30, kbps: 3_000, codec: VideoCodec::X264, profile, preset }
    }
    fn runs(&self) -> bool {
        true
    }
    fn thumbnail(&self) -> Option<(Arc<[u8]>, Millis)> {
        let (now, most) = &self.0.thumbnails;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Some work.
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        Some((Arc::from(&b"jpeg"[..]), 5))
    }
    fn stop(&self, deadline: Duration) -> Vec<Status> {
        *self.0.deadline.lock().unwrap() = Some(deadline);
        self.0.stopped.store(true, Ordering::SeqCst);
        let began = Instant::now();
        let left = || deadline.min(self.0.hurried.lock().unwrap().unwrap_or(deadline));
        while self.0.stalls.load(Ordering::SeqCst) && began.elapsed() < left() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let outputs = std::mem::take(&mut *self.0.outputs.lock().unwrap());
        outputs.into_values().map(|output| output.stop(deadline)).collect()
    }
    fn hurry(&self, within: Duration) {
        *self.0.hurried.lock().unwrap() = Some(within);
    }
}

impl FakeStage {
    fn opened(&self) -> Vec<Arc<FakeBroadcast>> {
        self.opened.lock().unwrap().clone()
    }

    fn outputs(&self) -> usize {
        self.opened().iter().map(|b| b.outputs.lock().unwrap().len()).sum()
    }
}

struct World {
    service: Service,
}

impl World {
    async fn new(stage: Arc<dyn Stage>, over: Duration) -> World {
        World::with(stage, over, None).await
    }

    /// In which the match `m` of the agent `a` has begun.
    async fn with_match(stage: Arc<dyn Stage>) -> World {
        let world = World::new(stage, SECOND).await;
        world.agent("a", NOWHERE).await;
        world.match_("m", ["a", ""]).await;
        world.starts("m").await;
        world
    }

    async fn with(stage: Arc<dyn Stage>, over: Duration, livekit: Option<agentcast::livekit::Server>) -> World {
        World::at(&Place::Memory, stage, over, livekit).await
    }

    async fn at(
        place: &Place,
        stage: Arc<dyn Stage>,
        over: Duration,
        livekit: Option<agentcast::livekit::Server>,
    ) -> World {
        let mut config = Config::default();
        config.streaming.enabled = true;
        config.streaming.over = over;
        config.streaming.preset = "ultrafast".into();
        config.hosts = HostRules { allowed: vec!["127.0.0.1:*".into()], allow_private: true };
        let context = Context {
            store: Store::open(place).await.unwrap(),
            keyring: Arc::new(Keyring::ephemeral()),
            tokens: Arc::new(TokenSigner::ephemeral()),
            bus: Bus::default(),
            config: Arc::new(RwLock::new(Arc::new(config))),
            livekit,
            hub: None,
        };
        context.store.add_tenant(&Tenant { id: TENANT.into(), name: "Arena".into(), created_at: 1 }).await.unwrap();
        World { service: Service::start(context, stage).await.unwrap() }
    }

    fn store(&self) -> &Store {
        &self.service.context().store
    }

    /// An agent that is switched on, with a destination `d-<id>` and a key.
    async fn agent(&self, id: &str, ingest: &str) {
        let agent = Agent {
            id: id.into(),
            tenant_id: TENANT.into(),
            name: id.into(),
            author: String::new(),
            model: String::new(),
            avatar: None,
            enabled: true,
            defaults: AgentDefaults { size: Some("1280x720".into()), ..AgentDefaults::default() },
            limits: AgentLimits::default(),
            version: 1,
            created_at: 1,
            updated_at: 1,
        };
        self.store().add_agent(&agent).await.unwrap();
        self.store().set_enabled(None, id, true).await.unwrap();
        let destination = Destination {
            id: format!("d-{id}"),
            tenant_id: TENANT.into(),
            agent_id: id.into(),
            kind: DestinationKind::Rtmp,
            via: Via::Direct,
            ingest: Some(ingest.into()),
            room: None,
            enabled: true,
            key: None,
            version: 1,
            created_at: 1,
            updated_at: 1,
        };
        self.store().add_destination(&destination).await.unwrap();
        self.key(id, ingest).await;
    }

    /// A stream key of this agent, `key-<id>`.
    async fn key(&self, id: &str, ingest: &str) {
        let (destination, host) = (format!("d-{id}"), ingest_host(ingest));
        let key = StreamKey::new(&format!("key-{id}")).unwrap();
        let keyring = &self.service.context().keyring;
        let binding = Binding { agent: id, destination: &destination, host, record_version: 1 };
        let sealed = SealedKey {
            destination_id: destination.clone(),
            agent_id: id.into(),
            host: host.into(),
            record_version: 1,
            kid: keyring.kid().into(),
            blob: keyring.seal(&key, binding),
            fingerprint: keyring.fingerprint(&key),
            set_at: now_ms(),
            last_used_at: None,
        };
        self.store().put_key(None, &sealed).await.unwrap();
    }

    /// A match of two sides that are these agents, opened and not started.
    async fn match_(&self, id: &str, agents: [&str; 2]) {
        let sides = [("white", agents[0]), ("black", agents[1])];
        let record = Match {
            id: id.into(),
            tenant_id: TENANT.into(),
            reference: id.into(),
            title: format!("Match {id}"),
            sides: sides.into_iter().filter(|s| !s.1.is_empty()).map(|(s, a)| (s.into(), a.into())).collect(),
            phase: MatchPhase::Waiting,
            created_at: now_ms(),
            started_at: None,
            ended_at: None,
        };
        self.store().add_match(&record).await.unwrap();
        self.service.matches().open(record);
    }

    async fn feed(&self, id: &str, seq: u64, kind: &str, data: serde_json::Value) {
        let event = json!({"v": 1, "match": id, "epoch": 1, "seq": seq, "ts": now_ms(), "type": kind, "data": data});
        let event = Event::from_json(&event.to_string()).unwrap();
        self.service.matches().get(id).expect("an open match").feed(vec![event]).await.unwrap();
    }

    async fn starts(&self, id: &str) {
        let sides = json!({"white": {"seat": 0, "name": "White"}, "black": {"seat": 1, "name": "Black"}});
        self.feed(id, 1, "match.started", json!({"title": "Cup", "sides": sides})).await;
    }

    async fn ends(&self, id: &str) {
        self.feed(id, 2, "match.ended", json!({"winners": ["white"], "reason": "checkmate"})).await;
    }

    async fn switch(&self, agent: &str, on: bool) {
        self.store().set_enabled(None, agent, on).await.unwrap();
        self.service.streams().poke();
    }

    fn of(&self, agent: &str) -> Option<StreamView> {
        self.service.streams().list(None).into_iter().find(|v| v.record.agent_id == agent)
    }

    async fn live(&self, agent: &str) -> StreamView {
        let what = format!("{agent} on air");
        until(&what, || self.of(agent).filter(|v| v.state == StreamState::Live)).await
    }

    async fn gone(&self, agent: &str) {
        until(&format!("{agent} off air"), || self.of(agent).is_none().then_some(())).await;
    }
}

async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const NOWHERE: &str = "rtmp://127.0.0.1:9/live";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_match_that_starts_is_shown_by_one_picture_for_all_its_agents_until_their_switches_go_off() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), SECOND).await;
    world.agent("a", NOWHERE).await;
    world.agent("b", NOWHERE).await;
    world.store().set_avatar(None, "b", "0123456789abcdef0123", b"png").await.unwrap();
    world.match_("m", ["a", "b"]).await;
    assert!(world.service.streams().list(None).is_empty());
    world.starts("m").await;
    world.live("a").await;
    let b = world.live("b").await;
    assert_eq!((stage.opened().len(), b.shared_by), (1, 2));
    let shown = &stage.opened()[0];
    let seen = until("the match on the picture", || shown.states.lock().unwrap().last().cloned()).await;
    assert_eq!(seen.0.board.title, "Cup");
    let avatar = &seen.1.avatars["black"].0;
    assert_eq!(*avatar, "agent/b/0123456789abcdef");
    until("the avatar", || shown.pictures.lock().unwrap().contains(avatar).then_some(())).await;
    until("the key's use", || Some(()).filter(|()| stage.outputs() == 2)).await;

    let began = Instant::now();
    world.switch("a", false).await;
    until("the end of its output", || (stage.outputs() == 1).then_some(())).await;
    println!("switch off to the output's end: {:?}", began.elapsed());
    assert!(world.of("a").is_none() && !shown.stopped.load(Ordering::SeqCst));
    assert_eq!(world.live("b").await.record.id, b.record.id, "untouched");
    let ended = world.store().streams(None, &page()).await.unwrap().items;
    let ended = ended.iter().find(|r| r.agent_id == "a").unwrap();
    assert!(ended.wanted && ended.reason.as_ref().is_some_and(|r| r.contains("switch")), "{ended:?}");
    world.switch("b", false).await;
    until("the picture's end", || shown.stopped.load(Ordering::SeqCst).then_some(())).await;
    let used = world.store().destination(None, "d-a").await.unwrap().key.unwrap().last_used_at;
    assert!(used.is_some(), "it was written down that the key was used");
}

fn page() -> agentcast::store::PageRequest {
    agentcast::store::PageRequest { after: None, limit: 100 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_result_the_next_match_comes_on_the_same_broadcast() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), Duration::from_millis(300)).await;
    world.agent("a", NOWHERE).await;
    world.match_("m1", ["a", ""]).await;
    world.match_("m2", ["a", ""]).await;
    world.starts("m1").await;
    let first = world.live("a").await;
    world.starts("m2").await;
    world.ends("m1").await;
    let next = until("the next match", || world.of("a").filter(|v| v.record.match_id == "m2")).await;
    assert_eq!(next.record.id, first.record.id);
    let shown = &stage.opened()[0];
    let last = || shown.states.lock().unwrap().last().map(|(state, _)| state.match_id.clone());
    until("its picture", || last().filter(|m| m == "m2")).await;
    // What is fed to the first one is seen no more.
    world.feed("m1", 3, "feed", json!({"kind": "event", "text": "late"})).await;
    world.feed("m2", 2, "feed", json!({"kind": "event", "text": "now"})).await;
    assert_eq!(last().as_deref(), Some("m2"));
    assert_eq!((stage.opened().len(), stage.outputs()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_hangs_or_panics_harms_neither_other_streams_nor_the_game() {
    let stage = Arc::<FakeStage>::default();
    *stage.hangs.lock().unwrap() = Some("a".into());
    let world = World::new(stage.clone(), SECOND).await;
    world.agent("a", NOWHERE).await;
    world.agent("b", NOWHERE).await;
    world.match_("ma", ["a", ""]).await;
    world.match_("mb", ["b", ""]).await;
    world.starts("ma").await;
    until("its stream", || world.of("a")).await;
    stage.panics.store(1, Ordering::SeqCst);
    world.starts("mb").await;
    let troubled = until("words", || world.of("b").filter(|v| v.trouble.is_some())).await;
    assert!(troubled.trouble.unwrap().contains("fault"));
    world.live("b").await;
    assert_eq!(world.of("a").unwrap().state, StreamState::Starting);
    world.switch("a", false).await;
    world.gone("a").await;
    // The kill does not wait for what hangs.
    world.store().set_flag("streaming", false, now_ms()).await.unwrap();
    tokio::time::timeout(PATIENCE, world.service.streams().kill(false)).await.expect("it waited");
    assert!(world.service.streams().list(None).is_empty() && stage.outputs() == 0);
    *stage.hangs.lock().unwrap() = None;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_shows_the_ending_scene_ends_all_within_3_seconds_and_refuses_new_ones() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), SECOND).await;
    for id in ["a", "b"] {
        world.agent(id, NOWHERE).await;
        world.match_(&format!("m{id}"), [id, ""]).await;
        world.starts(&format!("m{id}")).await;
        world.live(id).await;
    }
    let mut times = Vec::new();
    // Three presses each: a busy machine spoils one measurement, a defect all of them.
    for hard in [false, true].repeat(3) {
        let before = stage.opened().len();
        world.store().set_flag("streaming", false, now_ms()).await.unwrap();
        let began = Instant::now();
        world.service.streams().kill(hard).await;
        until("the end of all outputs", || (stage.outputs() == 0).then_some(())).await;
        times.push((hard, began.elapsed()));
        let slates =
            stage.opened()[before - 2..].iter().all(|b| b.scenes.lock().unwrap().contains(&Some(Scene::Ending)));
        assert_eq!(slates, !hard);
        let refused = world.service.streams().begin(None, "a", "ma").await.unwrap_err();
        assert!(refused.to_string().contains("flag"), "{refused}");
        until("no stream", || world.service.streams().list(None).is_empty().then_some(())).await;
        world.store().set_flag("streaming", true, now_ms()).await.unwrap();
        world.service.streams().poke();
        world.live("a").await;
        world.live("b").await;
    }
    println!("kill, hard or not: {times:?}");
    for (kind, limit) in [(true, SECOND), (false, 3 * SECOND)] {
        let best = times.iter().filter(|(hard, _)| *hard == kind).map(|(_, took)| *took).min();
        assert!(best < Some(limit), "hard {kind}: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_end_begin_mark_and_take_scenes() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), SECOND).await;
    world.agent("a", NOWHERE).await;
    world.match_("m", ["a", ""]).await;
    let streams = world.service.streams().clone();
    let early = streams.begin(None, "a", "m").await.unwrap_err();
    assert!(early.to_string().contains("waiting"), "{early}");
    world.starts("m").await;
    let id = world.live("a").await.record.id;
    assert!(streams.get(Some("ten_other"), &id).is_none());
    assert!(streams.end(Some("ten_other"), &id, "x").await.is_err());
    streams.scene(Some(TENANT), &id, Some(Scene::Over)).unwrap();
    assert_eq!(*stage.opened()[0].scenes.lock().unwrap(), [Some(Scene::Over)]);
    assert!(streams.marker(None, &id, "clutch").unwrap() < PATIENCE);
    assert_eq!(&*streams.thumbnail(None, &id).await.unwrap().unwrap().0, b"jpeg");
    streams.end(Some(TENANT), &id, "stopped by an operator").await.unwrap();
    until("the end of its output", || (stage.outputs() == 0).then_some(())).await;
    assert!(!world.store().streams(None, &page()).await.unwrap().items[0].wanted, "written before it returns");
    world.service.streams().poke();
    world.feed("m", 2, "feed", json!({"kind": "event", "text": "x"})).await;
    assert!(world.of("a").is_none());
    let again = streams.begin(Some(TENANT), "a", "m").await.unwrap();
    assert_ne!(again.id, id);
    world.live("a").await;
    world.switch("a", false).await;
    world.gone("a").await;
    let off = streams.begin(None, "a", "m").await.unwrap_err();
    assert!(off.to_string().contains("switch"), "{off}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_streams_are_live_again_under_their_ids_and_stopped_ones_are_not() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), SECOND).await;
    for id in ["a", "b", "c"] {
        world.agent(id, NOWHERE).await;
        world.match_(&format!("m{id}"), [id, ""]).await;
        world.starts(&format!("m{id}")).await;
        world.live(id).await;
    }
    let kept = world.of("a").unwrap().record.id;
    world.service.streams().end(None, &world.of("b").unwrap().record.id, "enough").await.unwrap();
    world.service.leave_air(Duration::from_secs(5)).await;
    assert_eq!(stage.outputs(), 0);
    let usage = world.store().usage(None, Some("a"), "2000-01-01", "9999-12-31").await.unwrap();
    assert!(usage.len() <= 1, "{usage:?}");
    world.store().set_enabled(None, "c", false).await.unwrap();

    let began = Instant::now();
    let world = World { service: Service::start(world.service.context().clone(), stage.clone()).await.unwrap() };
    assert_eq!(world.live("a").await.record.id, kept);
    println!("restart to live: {:?}", began.elapsed());
    assert!(began.elapsed() < 5 * SECOND);
    assert!(world.of("b").is_none() && world.of("c").is_none());
    assert_eq!(stage.outputs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_set_for_another_host_is_not_sent_anywhere() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), SECOND).await;
    world.agent("a", NOWHERE).await;
    let sealed = world.store().sealed_key("d-a").await.unwrap().unwrap();
    let mut moved = world.store().destination(None, "d-a").await.unwrap();
    (moved.id, moved.key, moved.version) = ("d-moved".into(), None, 1);
    world.store().add_destination(&moved).await.unwrap();
    let stolen = SealedKey { destination_id: "d-moved".into(), ..sealed };
    world.store().put_key(None, &stolen).await.unwrap();
    world.match_("m", ["a", ""]).await;
    world.starts("m").await;
    world.live("a").await;
    let bad = until("words", || {
        let view = world.of("a")?;
        view.destinations.into_iter().find(|d| d.id.as_deref() == Some("d-moved") && d.state == "needs-attention")
    });
    let trouble = bad.await.trouble.unwrap();
    assert!(trouble.contains("set the stream key anew") && !trouble.contains("key-a"), "{trouble}");
    assert_eq!(stage.outputs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_real_stage_packets_come_soon_and_one_agents_switch_leaves_the_other_alone() {
    let (nginx, receiver) = (Nginx::start(), Receiver::start(Behaviour::default()));
    let stage = Arc::new(StudioStage::new(AdapterChoice::Auto));
    let opening = stage.clone();
    println!("on {}", tokio::task::spawn_blocking(move || opening.warm_up()).await.unwrap().unwrap());
    let world = World::new(stage, Duration::from_secs(30)).await;
    world.agent("a", &format!("rtmp://{}/live", receiver.address)).await;
    world.agent("b", &nginx.ingest()).await;
    world.match_("m", ["a", "b"]).await;
    world.switch("b", false).await;
    let began = Instant::now();
    world.starts("m").await;
    let first = until("the first picture", || {
        let all = receiver.connections();
        all.first()?.messages.iter().find(|m| m.tag.is_media() && m.tag.is_key()).map(|m| m.at)
    });
    println!("match started to first packet: {:?}", first.await - began);
    let began = Instant::now();
    world.switch("b", true).await;
    let b = world.live("b").await;
    println!("switch on to live on an encode that runs: {:?}", began.elapsed());
    assert_eq!(b.shared_by, 2, "one encode");
    let jpeg = world.service.streams().thumbnail(None, &b.record.id).await.unwrap().expect("a picture");
    assert!(jpeg.0.starts_with(&[0xff, 0xd8]) && (now_ms() - jpeg.1) < 5_000);
    until("pictures at nginx", || Some(()).filter(|()| world.of("b").unwrap().destinations[0].bytes > 50_000)).await;

    let mut times = Vec::new();
    loop {
        let (began, last) = (Instant::now(), receiver.connections().len() - 1);
        world.switch("a", false).await;
        until("the end at the server", || receiver.connections()[last].deleted.then_some(())).await;
        times.push(began.elapsed());
        if times.last() < Some(&SECOND) {
            break;
        }
        assert!(times.len() < 3, "switch off to the end of RTMP: {times:?}");
        world.gone("a").await;
        world.switch("a", true).await;
        let media = |c: &Connection| c.messages.iter().any(|m| m.tag.is_media());
        until("its pictures again", || receiver.connections().get(last + 1).is_some_and(media).then_some(())).await;
    }
    println!("switch off to the end of RTMP: {times:?}");
    let bytes = world.of("b").unwrap().destinations[0].bytes;
    until("more of the other one", || Some(()).filter(|()| world.of("b").unwrap().destinations[0].bytes > bytes)).await;
    let other = world.of("b").unwrap();
    assert_eq!((other.state, other.destinations[0].reconnects), (StreamState::Live, 0));

    let began = Instant::now();
    world.store().set_flag("streaming", false, now_ms()).await.unwrap();
    world.service.streams().kill(false).await;
    println!("kill: {:?}", began.elapsed());
    assert!(world.service.streams().list(None).is_empty());
    let meters = world.service.streams().meters();
    assert!(meters.encode.read().count > 10 && meters.latency.read().count >= 1);
    assert_eq!(nginx.recordings("key-b").len(), 1, "one connection from begin to end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_and_a_stream_key_of_one_agent_get_the_same_picture() {
    let (livekit, receiver) = (LiveKit::start(), Receiver::start(Behaviour::default()));
    let stage = Arc::new(StudioStage::new(AdapterChoice::Auto));
    let world = World::with(stage, SECOND, Some(livekit.server())).await;
    world.agent("a", &format!("rtmp://{}/live", receiver.address)).await;
    let rtmp = world.store().destination(None, "d-a").await.unwrap();
    let (kind, room) = (DestinationKind::LivekitRoom, Some("arena".to_owned()));
    let room = Destination { id: "d-room".into(), kind, ingest: None, room, key: None, ..rtmp };
    world.store().add_destination(&room).await.unwrap();
    world.match_("m", ["a", ""]).await;
    world.starts("m").await;
    let both = |v: &StreamView| v.destinations.iter().filter(|d| d.state == "live").count() == 2;
    let view = until("both destinations", || world.of("a").filter(both)).await;
    assert_eq!((view.shared_by, view.viewers), (1, Some(0)));
    assert!(
        view.destinations
            .iter()
            .any(|d| d.id.as_deref() == Some("d-room") && d.name.as_ref().is_some_and(|n| n.contains("ten_1-arena")))
    );

    // The next match is the same stream, and the room is told its title.
    let rooms = Rooms::new(&livekit.server());
    let titled = async |title: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let room = rooms.find("ten_1-arena").await.unwrap().expect("the stream is in it");
            if room.metadata.contains(title) {
                return;
            }
            assert!(Instant::now() < deadline, "{title}: {}", room.metadata);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    titled("\"Cup\"").await;
    world.ends("m").await;
    world.match_("next", ["a", ""]).await;
    let sides = json!({"white": {"seat": 0, "name": "White"}, "black": {"seat": 1, "name": "Black"}});
    world.feed("next", 1, "match.started", json!({"title": "Second Cup", "sides": sides})).await;
    titled("Second Cup").await;
    assert_eq!(world.of("a").expect("on air").record.id, view.record.id);
    world.store().set_flag("streaming", false, now_ms()).await.unwrap();
    world.service.streams().kill(true).await;
    assert!(world.of("a").is_none());
}
