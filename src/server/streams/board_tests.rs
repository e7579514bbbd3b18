use super::super::desired::Candidate;
use super::super::samples::{agent, destination, match_, room};
use super::*;
use crate::encode::{Profile, VideoCodec, VideoSettings};
use crate::game::{MatchState, View};
use crate::output::{Destination as Output, State, Status, Viewers};
use crate::stream::{Eyes, StreamStatus};
use std::sync::Mutex;

#[path = "board_sharing_tests.rs"]
mod sharing;
#[path = "board_trouble_tests.rs"]
mod trouble;

/// What a picture's thread was told, and what it says of itself.
#[derive(Clone, Default)]
struct Told {
    scene: Option<Scene>,
    host: String,
    viewers: Option<u64>,
    status: StreamStatus,
    broken: bool,
}

struct Fake(Mutex<Told>);

impl OnStage for Fake {
    fn show(&self, _: Arc<MatchState>, _: &Arc<Eyes>) -> bool {
        true
    }
    fn add(&self, _: Box<dyn Output>) -> Result<OutputId, String> {
        Err("not in these tests".into())
    }
    fn remove(&self, _: OutputId, _: Duration) {}
    fn scene(&self, scene: Option<Scene>) {
        self.0.lock().unwrap().scene = scene;
    }
    fn host(&self, name: &str) {
        self.0.lock().unwrap().host = name.into();
    }
    fn viewers(&self, viewers: Option<u64>) {
        self.0.lock().unwrap().viewers = viewers;
    }
    fn picture(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn status(&self) -> StreamStatus {
        self.0.lock().unwrap().status.clone()
    }
    fn video(&self) -> VideoSettings {
        let (profile, preset) = (Profile::ConstrainedHigh, String::new());
        VideoSettings { width: 1280, height: 720, fps: 30, kbps: 3_000, codec: VideoCodec::X264, profile, preset }
    }
    fn runs(&self) -> bool {
        !self.0.lock().unwrap().broken
    }
    fn thumbnail(&self) -> Option<(Arc<[u8]>, Millis)> {
        None
    }
    fn stop(&self, _: Duration) -> Vec<Status> {
        Vec::new()
    }
}

/// Monday, 2026-11-23, noon UTC.
const NOON: Millis = 1_795_435_200_000;

/// A board whose wishes are fulfilled at once, unless a test says otherwise.
struct Rig {
    board: Board,
    world: World,
    now: Ms,
    /// Pictures that are open, by run.
    runs: BTreeMap<u64, Arc<Fake>>,
    /// What each shows.
    shown: BTreeMap<u64, Shown>,
    /// Destinations that are connected, by run and output.
    outputs: BTreeMap<(u64, OutputId), String>,
    next_output: OutputId,
    puts: Vec<StreamRecord>,
    told: Vec<(&'static str, String, serde_json::Value)>,
    written: Vec<Usage>,
    used: Vec<String>,
    orders: Vec<Order>,
    opened: u32,
    hurried: Vec<u64>,
    /// Nothing opens: with these words, or never.
    no_open: Option<Option<&'static str>>,
    /// Destinations that cannot be made.
    no_make: BTreeMap<String, NotMade>,
    /// Destinations that are in this state instead of live.
    states: BTreeMap<String, State>,
}

impl Rig {
    /// Agents with a destination each, named after them, and matches (id, agents, phase).
    fn new(agents: &[&str], matches: &[(&str, &[&str], MatchPhase)]) -> Rig {
        let settings = StreamingConfig { price_per_output_hour: 3.6, ..crate::config::Config::default().streaming };
        let candidates = agents.iter().map(|id| {
            let candidate = Candidate { agent: agent(id), destinations: vec![destination(&format!("d-{id}"), id)] };
            ((*id).to_owned(), candidate)
        });
        let matches = matches.iter().map(|(id, agents, phase)| match_(id, agents, *phase)).collect();
        let mut rig = Rig {
            board: Board::new(Arc::new(settings), true),
            world: World { flag: true, agents: candidates.collect(), matches, ..World::default() },
            now: 0,
            runs: BTreeMap::new(),
            shown: BTreeMap::new(),
            outputs: BTreeMap::new(),
            next_output: 1,
            puts: Vec::new(),
            told: Vec::new(),
            written: Vec::new(),
            used: Vec::new(),
            orders: Vec::new(),
            opened: 0,
            hurried: Vec::new(),
            no_open: None,
            no_make: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        rig.board.set_hosts(&hosts(&["127.0.0.1:*"], true));
        rig.look();
        rig
    }

    fn wall(&self) -> Millis {
        NOON + self.now as i64
    }

    fn look(&mut self) {
        self.board.world(self.world.clone(), self.now, self.wall());
        self.work();
        // What is made shows with the next look at it.
        self.pass(100);
    }

    /// Lets time pass in steps of the supervisor.
    fn pass(&mut self, ms: Ms) {
        let until = self.now + ms;
        while self.now < until {
            self.now = (self.now + 100).min(until);
            self.board.tick(self.now, self.wall());
            self.work();
        }
    }

    fn work(&mut self) {
        loop {
            let actions = self.board.actions();
            if actions.is_empty() {
                return;
            }
            actions.into_iter().for_each(|action| self.act(action));
            self.say();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open { run, .. } => match self.no_open {
                None => {
                    let fake = Arc::new(Fake(Mutex::default()));
                    self.opened += 1;
                    self.runs.insert(run, fake.clone());
                    self.board.opened(run, Ok(fake), self.now);
                }
                Some(Some(words)) => self.board.opened(run, Err(words.into()), self.now),
                Some(None) => {}
            },
            Action::Close { run, .. } => {
                self.runs.remove(&run);
                self.shown.remove(&run);
                self.outputs.retain(|(of, _), _| *of != run);
            }
            Action::Hurry { run } => self.hurried.push(run),
            Action::Aim { run, shown, .. } => _ = self.shown.insert(run, shown),
            Action::Make { run, serial, order } => {
                let id = order.destination.id.clone();
                self.orders.push(*order);
                let made = match self.no_make.get(&id) {
                    Some(not) => Err(not.clone()),
                    None => {
                        assert!(self.board.wants(run, serial));
                        self.next_output += 1;
                        self.outputs.insert((run, self.next_output), id);
                        Ok(self.next_output)
                    }
                };
                self.board.made(run, serial, made, self.now);
            }
            Action::Remove { run, output, deadline } => {
                assert!(deadline < Duration::from_secs(1));
                self.outputs.remove(&(run, output));
            }
            Action::Put(record) => self.puts.push(record),
            Action::Tell { kind, id, data, .. } => self.told.push((kind, id, data)),
            Action::KeyUsed { destination } => self.used.push(destination),
            Action::Write(usage) => self.written.push(usage),
        }
    }

    /// Every picture says how its outputs are.
    fn say(&self) {
        for (run, fake) in &self.runs {
            let mut told = fake.0.lock().unwrap();
            let mine = self.outputs.iter().filter(|((of, _), _)| of == run);
            (told.status.ids, told.status.outputs) = mine
                .map(|((_, output), id)| {
                    let state = self.states.get(id).copied().unwrap_or(State::Live);
                    let viewers = (id.starts_with('r')).then_some(Viewers { now: 7, peak: 9 });
                    (*output, Status { name: id.clone(), state, viewers, ..Status::default() })
                })
                .unzip();
        }
    }

    fn phase(&mut self, id: &str, phase: MatchPhase) {
        let wall = self.wall();
        let m = self.world.matches.iter_mut().find(|m| m.id == id).unwrap();
        m.phase = phase;
        m.ended_at = (phase == MatchPhase::Over).then_some(wall);
        self.look();
    }

    /// (agent, match, state) of each.
    fn streams(&self) -> Vec<(String, String, StreamState)> {
        let views = self.board.views(None, self.now);
        views.into_iter().map(|v| (v.record.agent_id, v.record.match_id, v.state)).collect()
    }

    fn only(&self) -> super::super::StreamView {
        let mut views = self.board.views(None, self.now);
        assert_eq!(views.len(), 1);
        views.remove(0)
    }

    /// Destinations that receive.
    fn live(&self) -> Vec<&str> {
        let mut live: Vec<&str> = self.outputs.values().map(String::as_str).collect();
        live.sort_unstable();
        live
    }

    fn candidate(&mut self, agent: &str) -> &mut Candidate {
        self.world.agents.get_mut(agent).unwrap()
    }

    /// What the only picture was told.
    fn fake(&self) -> Told {
        assert_eq!(self.runs.len(), 1);
        self.runs.values().next().unwrap().0.lock().unwrap().clone()
    }
}

fn hosts(allowed: &[&str], allow_private: bool) -> HostRules {
    HostRules { allowed: allowed.iter().map(|host| (*host).to_owned()).collect(), allow_private }
}

use MatchPhase::{Closed, Over, Running, Waiting};

fn spectator(id: &str) -> Shown {
    Shown::Match { id: id.into(), view: View::Spectator }
}

#[test]
fn a_match_that_starts_goes_live_by_itself_and_a_switch_that_goes_off_ends_it_at_once() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    assert!(rig.streams().is_empty() && rig.runs.is_empty());
    rig.phase("m", Running);
    assert_eq!(rig.streams(), [("a".into(), "m".into(), StreamState::Live)]);
    assert_eq!((rig.live(), rig.used.clone()), (vec!["d-a"], vec!["d-a".to_owned()]));
    assert_eq!(rig.shown.values().collect::<Vec<_>>(), [&spectator("m")]);
    let off = rig.world.agents.remove("a").unwrap();
    rig.board.world(rig.world.clone(), rig.now, rig.wall());
    rig.work();
    assert!(rig.streams().is_empty() && rig.live().is_empty() && rig.runs.is_empty(), "without any time passing");
    let last = rig.puts.last().unwrap();
    assert!(last.ended_at.is_some() && last.wanted && last.reason.as_ref().unwrap().contains("switch"));
    rig.world.agents.insert("a".into(), off);
    rig.look();
    assert_eq!(rig.streams(), [("a".into(), "m".into(), StreamState::Live)], "on again, live again");
}

#[test]
fn agents_of_one_match_with_one_look_share_a_picture_and_end_apart() {
    let mut rig = Rig::new(&["a", "b", "c"], &[("m", &["a", "b", "c"], Waiting)]);
    rig.candidate("c").agent.defaults.theme = "paper".into();
    rig.phase("m", Running);
    assert_eq!((rig.opened, rig.live()), (2, vec!["d-a", "d-b", "d-c"]));
    let shared: Vec<_> = rig.board.views(None, rig.now).iter().map(|v| v.shared_by).collect();
    assert_eq!(shared, [2, 2, 1]);
    rig.world.agents.remove("a");
    rig.look();
    assert_eq!((rig.live(), rig.runs.len()), (vec!["d-b", "d-c"], 2));
    rig.world.agents.remove("b");
    rig.look();
    assert_eq!((rig.live(), rig.runs.len()), (vec!["d-c"], 1));
}

#[test]
fn agents_who_look_with_their_own_eyes_share_nothing() {
    let mut rig = Rig::new(&["a", "b"], &[("m", &["a", "b"], Waiting)]);
    for id in ["a", "b"] {
        rig.candidate(id).agent.defaults.view = AgentView::Own;
    }
    rig.phase("m", Running);
    let side = |side: &str| Shown::Match { id: "m".into(), view: View::Side(side.into()) };
    assert_eq!(rig.shown.values().collect::<Vec<_>>(), [&side("0"), &side("1")]);
}

#[test]
fn a_result_stays_45_seconds_then_the_next_match_takes_the_same_broadcast() {
    let mut rig = Rig::new(&["a"], &[("m1", &["a"], Running), ("m2", &["a"], Waiting)]);
    let (stream, outputs) = (rig.only().record.id, rig.outputs.clone());
    rig.phase("m1", Over);
    rig.phase("m2", Running);
    rig.pass(44_000);
    assert_eq!(rig.only().record.match_id, "m1");
    assert_eq!(rig.shown.values().collect::<Vec<_>>(), [&spectator("m1")]);
    rig.pass(2_000);
    let view = rig.only();
    assert_eq!((view.record.id, view.record.match_id.as_str()), (stream, "m2"));
    assert_eq!(rig.shown.values().collect::<Vec<_>>(), [&spectator("m2")]);
    assert_eq!((rig.outputs.clone(), rig.opened), (outputs, 1), "the connection was not touched");
    assert_eq!(rig.puts.last().unwrap().match_id, "m2", "a restart knows");
}

#[test]
fn without_a_next_match_the_broadcast_waits_says_goodbye_and_ends_with_a_reason() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.phase("m", Over);
    rig.pass(46_000);
    assert_eq!(rig.shown.values().collect::<Vec<_>>(), [&Shown::Nothing]);
    assert_eq!(rig.only().state, StreamState::Live);
    rig.pass(118_000);
    assert_eq!(rig.only().state, StreamState::Live);
    rig.pass(2_500);
    assert_eq!((rig.only().state, rig.fake().scene), (StreamState::Ending, Some(Scene::Ending)));
    assert_eq!(rig.fake().host, "Agent a");
    rig.pass(2_000);
    assert!(rig.streams().is_empty() && rig.runs.is_empty());
    assert!(rig.puts.last().unwrap().reason.as_ref().unwrap().contains("no further match"));
}

#[test]
fn a_delay_keeps_the_result_on_longer_and_a_closed_match_has_none() {
    let mut rig = Rig::new(&["a", "b"], &[("m1", &["a"], Waiting), ("m2", &["b"], Running)]);
    rig.candidate("a").agent.defaults.delay_ms = 30_000;
    rig.phase("m1", Running);
    rig.phase("m1", Over);
    rig.phase("m2", Closed);
    rig.pass(74_000);
    let shown: Vec<_> = rig.shown.values().cloned().collect();
    assert_eq!(shown, [Shown::Nothing, spectator("m1")], "b waits at once");
    rig.pass(2_000);
    assert!(rig.shown.values().all(|shown| *shown == Shown::Nothing));
}

#[test]
fn agents_whose_next_matches_differ_part_and_the_most_keep_the_picture() {
    let mut rig = Rig::new(
        &["a", "b", "c"],
        &[("m1", &["a", "b", "c"], Running), ("m2", &["b", "c"], Waiting), ("m3", &["a"], Waiting)],
    );
    let before = rig.outputs.clone();
    rig.phase("m1", Over);
    rig.phase("m2", Running);
    rig.phase("m3", Running);
    rig.pass(46_000);
    assert_eq!(rig.live(), ["d-a", "d-b", "d-c"]);
    let kept: Vec<_> = before.iter().filter(|(output, _)| rig.outputs.contains_key(output)).map(|(_, d)| d).collect();
    assert_eq!(kept, ["d-b", "d-c"], "they were not touched");
    assert_eq!(rig.shown.values().cloned().collect::<Vec<_>>(), [spectator("m2"), spectator("m3")]);
}

#[test]
fn a_soft_kill_shows_the_ending_scene_and_ends_everything_within_3_seconds() {
    let mut rig = Rig::new(&["a", "b"], &[("m", &["a", "b"], Running)]);
    rig.board.kill(false, rig.now, rig.wall());
    rig.work();
    assert_eq!((rig.fake().scene, rig.live()), (Some(Scene::Ending), vec!["d-a", "d-b"]));
    assert_eq!(rig.fake().host, "Agent a · Agent b");
    rig.pass(1_800);
    assert_eq!(rig.live().len(), 2);
    rig.pass(400);
    // The outputs' own ends take 0.7 s at most.
    assert!(rig.streams().is_empty() && rig.runs.is_empty());
    rig.world.flag = false;
    rig.look();
    assert!(rig.streams().is_empty(), "new ones are refused");
    rig.world.flag = true;
    rig.look();
    assert_eq!(rig.streams().len(), 2);
}

#[test]
fn a_hard_kill_ends_everything_at_once() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.board.kill(true, rig.now, rig.wall());
    rig.work();
    assert!(rig.streams().is_empty() && rig.runs.is_empty() && rig.live().is_empty());
    assert!(rig.puts.last().unwrap().reason.as_ref().unwrap().contains("flag"));
}

#[test]
fn a_destination_without_a_key_needs_attention_and_stops_nothing() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    let keyless = Destination { key: None, ..destination("d-keyless", "a") };
    rig.candidate("a").destinations.push(keyless.clone());
    rig.candidate("a").destinations.push(destination("d-broken", "a"));
    rig.no_make.insert("d-broken".into(), NotMade { words: "its stream key does not open".into(), passing: false });
    rig.phase("m", Running);
    let view = rig.only();
    assert_eq!((view.state, rig.live()), (StreamState::Live, vec!["d-a"]));
    let of = |id: &str| view.destinations.iter().find(|d| d.id.as_deref() == Some(id)).unwrap();
    assert_eq!(of("d-keyless").state, "needs-attention");
    assert!(of("d-keyless").trouble.as_ref().unwrap().contains("/v1/destinations/d-keyless/key"));
    assert!(of("d-broken").trouble.as_ref().unwrap().contains("does not open"));
    // A key that is set is used, and so is a new one.
    let key = |set_at| Some(KeyInfo { fingerprint: "aa".into(), set_at, last_used_at: None });
    rig.candidate("a").destinations[1].key = key(5);
    rig.no_make.clear();
    rig.candidate("a").destinations[2].key = key(6);
    rig.look();
    assert_eq!(rig.live(), ["d-a", "d-broken", "d-keyless"]);
    let before = rig.outputs.clone();
    rig.candidate("a").destinations[0].key.as_mut().unwrap().last_used_at = Some(1);
    rig.candidate("a").destinations[0].version = 9;
    rig.look();
    assert_eq!(rig.outputs, before, "that it was used is no change");
}

#[test]
fn a_stage_that_shows_by_itself_needs_no_destination() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.candidate("a").destinations.clear();
    rig.phase("m", Running);
    assert_eq!(rig.opened, 0);
    rig.world.by_itself = true;
    rig.look();
    assert_eq!((rig.opened, rig.streams().len()), (1, 1));
}

#[test]
fn alone_a_destination_without_a_key_opens_no_encoder() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.candidate("a").destinations[0].key = None;
    rig.phase("m", Running);
    assert_eq!((rig.only().state, rig.opened), (StreamState::Waiting, 0));
    rig.candidate("a").destinations[0] = destination("d-a", "a");
    rig.look();
    assert_eq!((rig.only().state, rig.opened), (StreamState::Live, 1));
}

#[test]
fn a_passing_trouble_with_a_destination_is_tried_again() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.no_make.insert("d-a".into(), NotMade { words: "the store is away".into(), passing: true });
    rig.phase("m", Running);
    assert_eq!(rig.only().destinations[0].trouble.as_deref(), Some("the store is away"));
    rig.no_make.clear();
    rig.pass(6_000);
    assert_eq!(rig.live(), ["d-a"]);
}

#[test]
fn a_stage_that_fails_or_hangs_is_opened_again_and_again_with_pauses() {
    for (how, first) in [(Some(Some("the encoder does not open")), 400), (Some(None), 20_500)] {
        let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
        rig.no_open = how;
        rig.phase("m", Running);
        rig.pass(first);
        let trouble = rig.only().trouble.expect("words");
        assert!(trouble.contains("open"), "{trouble}");
        rig.no_open = None;
        rig.pass(2_500);
        assert_eq!((rig.only().state, rig.only().trouble), (StreamState::Live, None));
    }
}

#[test]
fn a_broadcast_whose_threads_died_begins_anew_and_leaves_others_alone() {
    let mut rig = Rig::new(&["a", "b"], &[("m1", &["a"], Running), ("m2", &["b"], Running)]);
    let (broken, _) = rig.shown.iter().find(|(_, shown)| **shown == spectator("m1")).unwrap();
    rig.runs[broken].0.lock().unwrap().broken = true;
    let other: Vec<_> = rig.outputs.iter().filter(|(_, d)| *d == "d-b").map(|(output, _)| *output).collect();
    rig.pass(100);
    assert_eq!(rig.live(), ["d-b"]);
    rig.pass(1_200);
    assert_eq!(rig.live(), ["d-a", "d-b"]);
    assert!(rig.outputs.contains_key(&other[0]), "untouched");
    assert_eq!(rig.opened, 3);
}

#[test]
fn a_stream_that_was_live_before_a_restart_keeps_its_id_and_one_whose_switch_is_off_ends() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    let record = |id: &str, agent: &str| StreamRecord {
        id: id.into(),
        tenant_id: "ten_1".into(),
        agent_id: agent.into(),
        match_id: "m".into(),
        wanted: true,
        created_at: 1,
        ended_at: None,
        reason: None,
    };
    rig.board.adopt(record("str_kept", "a"), agent("a"), rig.now);
    rig.board.adopt(record("str_off", "b"), agent("b"), rig.now);
    rig.phase("m", Running);
    assert_eq!((rig.only().record.id.as_str(), rig.live()), ("str_kept", vec!["d-a"]));
    assert!(rig.puts.iter().any(|r| r.id == "str_off" && r.ended_at.is_some()));
}

#[test]
fn a_stream_that_somebody_ended_comes_back_when_somebody_begins_it() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    let id = rig.only().record.id;
    let record = rig.board.end(&id, "stopped by an operator", rig.now, rig.wall()).unwrap();
    rig.work();
    assert!(!record.wanted && record.ended_at.is_some());
    assert!(rig.live().is_empty());
    rig.look();
    assert!(rig.streams().is_empty(), "not by itself");
    rig.board.wanted_again("a", "m");
    rig.look();
    assert_eq!(rig.live(), ["d-a"]);
}

#[test]
fn a_scene_that_an_operator_takes_stays_until_the_next_match() {
    let mut rig = Rig::new(&["a"], &[("m1", &["a"], Running), ("m2", &["a"], Waiting)]);
    let id = rig.only().record.id;
    assert!(rig.board.scene(&id, Some(Scene::Starting)));
    rig.pass(500);
    assert_eq!((rig.fake().scene, rig.only().scene), (Some(Scene::Starting), Some(Scene::Starting)));
    rig.phase("m1", Over);
    rig.phase("m2", Running);
    rig.pass(46_000);
    assert_eq!((rig.fake().scene, rig.only().scene), (None, None));
}

#[test]
fn more_pictures_than_the_machine_may_encode_wait_with_words() {
    let mut rig = Rig::new(&["a", "b"], &[("m1", &["a"], Waiting), ("m2", &["b"], Waiting)]);
    let settings = StreamingConfig { max_encodes: 1, ..crate::config::Config::default().streaming };
    rig.board.set_settings(Arc::new(settings));
    rig.phase("m1", Running);
    rig.phase("m2", Running);
    let views = rig.board.views(None, rig.now);
    assert_eq!(views[0].state, StreamState::Live);
    assert!(views[1].trouble.as_ref().unwrap().contains("max_encodes"));
    rig.world.agents.remove("a");
    rig.look();
    assert_eq!((rig.live(), rig.only().trouble), (vec!["d-b"], None));
}

#[test]
fn minutes_are_counted_warned_of_and_end_the_stream_cleanly() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.candidate("a").agent.limits.minutes_per_day = Some(1);
    rig.phase("m", Running);
    rig.pass(40_000);
    assert_eq!(rig.only().trouble, None);
    rig.pass(10_000);
    let warning = rig.only().trouble.expect("80 %");
    assert!(warning.contains("minutes"), "{warning}");
    assert!(rig.told.iter().any(|(kind, _, data)| *kind == "stream" && data["trouble"] == warning.as_str()));
    rig.pass(10_500);
    assert_eq!((rig.only().state, rig.fake().scene), (StreamState::Ending, Some(Scene::Ending)));
    rig.pass(2_500);
    assert!(rig.streams().is_empty() && rig.live().is_empty());
    assert!(rig.puts.last().unwrap().reason.as_ref().unwrap().contains("limits.minutesPerDay"));
    let seconds: i64 = rig.written.iter().map(|u| u.stream_seconds).sum();
    assert!((60..=63).contains(&seconds), "{seconds}");
    assert!(rig.written.len() >= 6, "every 10 s, so that a crash loses no more");
    // Until the next day, without anything being added to its figures.
    rig.look();
    assert!(rig.streams().is_empty());
    rig.now += 13 * 3_600_000;
    rig.look();
    assert_eq!(rig.streams().len(), 1);
}

#[test]
fn a_budget_counts_every_output() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.candidate("a").destinations.push(room("r-a", "a"));
    // 3.6 an hour is 0.001 a second; two outputs cost 0.002.
    rig.candidate("a").agent.limits.budget_per_month = Some(0.1);
    rig.phase("m", Running);
    assert_eq!(rig.live(), ["d-a", "r-a"]);
    rig.pass(45_000);
    assert!(rig.only().trouble.expect("80 %").contains("budget"));
    rig.pass(10_000);
    assert!(rig.streams().is_empty());
    assert!(rig.puts.last().unwrap().reason.as_ref().unwrap().contains("0.10 USD"));
}

#[test]
fn viewers_of_all_destinations_stand_on_the_picture() {
    let mut rig = Rig::new(&["a", "b"], &[("m", &["a", "b"], Waiting)]);
    rig.candidate("a").destinations.push(room("r-a", "a"));
    rig.candidate("b").destinations.push(room("r-b", "b"));
    rig.phase("m", Running);
    rig.pass(500);
    assert_eq!(rig.fake().viewers, Some(14));
    assert_eq!(rig.board.views(None, rig.now)[0].viewers, Some(7));
}

#[test]
fn a_stream_through_egress_publishes_into_a_room_of_its_own_that_is_no_destination() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
    rig.candidate("a").destinations[0].via = Via::LivekitEgress;
    rig.phase("m", Running);
    let view = rig.only();
    assert_eq!(rig.live(), ["d-a".to_owned(), format!("room:{}", view.record.id)]);
    assert_eq!(view.destinations.len(), 1);
    rig.pass(10_500);
    assert_eq!(rig.written[0].output_seconds, rig.written[0].stream_seconds, "the room is not paid for");
}

#[test]
fn what_needs_livekit_says_so_where_there_is_none() {
    let mut rig = Rig::new(&[], &[]);
    rig.board = Board::new(Arc::new(crate::config::Config::default().streaming), false);
    rig.world = World {
        flag: true,
        agents: BTreeMap::from([("a".into(), Candidate { agent: agent("a"), destinations: vec![room("r", "a")] })]),
        matches: vec![match_("m", &["a"], Running)],
        ..World::default()
    };
    rig.look();
    assert!(rig.only().destinations[0].trouble.as_ref().unwrap().contains("LIVEKIT_URL"));
}

#[test]
fn a_destination_that_reconnects_is_told_and_does_not_end_the_stream() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.states.insert("d-a".into(), State::Reconnecting);
    rig.say();
    rig.pass(200);
    assert_eq!(rig.only().state, StreamState::Waiting);
    let of = |kind: &str| rig.told.iter().rev().find(|t| t.0 == kind).map(|t| t.2["state"].clone()).unwrap();
    assert_eq!((of("destination"), of("stream")), (json!("reconnecting"), json!("waiting")));
    rig.states.clear();
    rig.say();
    rig.pass(200);
    assert_eq!(rig.only().state, StreamState::Live);
    assert_eq!(rig.used.len(), 1, "the same connection");
}

#[test]
fn a_drain_ends_every_picture_and_no_record() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.pass(3_000);
    let puts = rig.puts.len();
    rig.board.drain(Duration::from_secs(4));
    rig.work();
    assert!(rig.runs.is_empty());
    assert_eq!(rig.puts.len(), puts, "what should be live is as it was");
    assert!(!rig.written.is_empty());
    rig.look();
    assert!(rig.runs.is_empty(), "nothing begins any more");
}
