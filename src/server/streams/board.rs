//! What is on air, as a machine without I/O: news and time go in, [`Action`]s come out.
//!
//! A [`Stream`] is an agent's broadcast; it stays itself while matches change. An [`Encode`] is a render + encode that one or
//! more streams are on. A [`Slot`] is a destination of a stream on its encode. What is common to several streams is shared;
//! what fails is tried again with growing pauses and takes nothing else with it.

use super::StreamState;
use super::desired::{self, Desired, Reason, Standing, There, World};
use super::encodes::{Encode, Look, Shown};
use super::usage::{self, Ledger, Usage};
use crate::config::StreamingConfig;
use crate::output::{State, Status};
use crate::server::stage::{OnStage, Scene};
use crate::store::model::*;
use crate::stream::OutputId;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Monotonic, ms.
pub type Ms = u64;

/// An output that is no longer wanted ends within this.
pub const OUTPUT_END: Duration = Duration::from_millis(700);
/// The ending scene stays this long; what is then left of 3 s is for the ends of the outputs.
pub const SLATE: Ms = 1_900;
/// Whoever is not live after this long waits rather than starts.
const STARTING: Ms = 20_000;
/// Usage is written this often.
const WRITE_EVERY: Ms = 10_000;
/// Viewers on the picture change this often at most.
const VIEWERS_EVERY: Ms = 10_000;
/// A destination that could not be made for a passing reason is tried again after this.
const AGAIN: Ms = 5_000;

/// What the board wants done. None of it is waited for.
pub enum Action {
    /// Open a render + encode; answer with [`Board::opened`].
    Open {
        run: u64,
        look: Look,
        name: String,
    },
    /// End it with all its outputs.
    Close {
        run: u64,
        deadline: Duration,
    },
    /// Show this from now on. `agents`: ids and names of those whose streams are on it.
    Aim {
        run: u64,
        aim: u64,
        shown: Shown,
        agents: Vec<(String, String)>,
    },
    /// Make an output; answer with [`Board::made`].
    Make {
        run: u64,
        serial: u64,
        order: Box<Order>,
    },
    Remove {
        run: u64,
        output: OutputId,
        deadline: Duration,
    },
    Put(StreamRecord),
    Tell {
        tenant: String,
        kind: &'static str,
        id: String,
        data: serde_json::Value,
    },
    KeyUsed {
        destination: String,
    },
    Write(Usage),
}

/// An output to be made.
pub struct Order {
    pub destination: Destination,
    pub stream: String,
    pub agent: String,
    pub title: String,
    /// The room that the stream is published into.
    pub room: String,
}

/// Why an output could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMade {
    pub words: String,
    /// It may work later without anybody doing something.
    pub passing: bool,
}

pub struct Board {
    pub(super) streams: BTreeMap<String, Stream>,
    pub(super) encodes: BTreeMap<u64, Encode>,
    pub(super) ledger: Ledger,
    settings: Arc<StreamingConfig>,
    /// There is a LiveKit server.
    livekit: bool,
    world: Option<World>,
    stopped: BTreeSet<(String, String)>,
    pub(super) desired: Desired,
    serial: u64,
    actions: Vec<Action>,
    draining: bool,
    written: Ms,
    observed: Option<Ms>,
}

pub(super) struct Stream {
    pub record: StreamRecord,
    pub agent: Agent,
    look: Look,
    pub life: Life,
    /// None: nothing of a match.
    shows: Option<Shown>,
    pub encode: Option<u64>,
    destinations: Vec<Destination>,
    /// By destination.
    pub slots: BTreeMap<String, Slot>,
    born: Ms,
    /// Since when a destination has taken it, for the first time.
    pub live_since: Option<Ms>,
    pub on_air: bool,
    /// What keeps it from an encode.
    pub trouble: Option<String>,
    pub warning: Option<String>,
    told: Option<(StreamState, Option<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    On,
    /// Shows the result.
    Over {
        until: Ms,
    },
    /// Waits for the next match.
    Idle {
        until: Ms,
    },
    /// Shows the ending scene.
    Ending {
        until: Ms,
        reason: String,
    },
}

pub(super) struct Slot {
    /// The destination as far as an output of it depends on it.
    spec: Destination,
    serial: u64,
    state: SlotState,
    output: Option<OutputId>,
    pub status: Status,
    key_used: bool,
    told: Option<(&'static str, Option<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SlotState {
    /// Somebody must do something.
    Attention(String),
    /// For an encode, or for another attempt.
    Waiting {
        not_before: Ms,
    },
    Making,
    On,
}

/// Slots of ours that are no destination of anybody begin so.
const OWN: &str = "room:";

impl Board {
    pub fn new(settings: Arc<StreamingConfig>, livekit: bool) -> Board {
        Board {
            streams: BTreeMap::new(),
            encodes: BTreeMap::new(),
            ledger: Ledger::default(),
            settings,
            livekit,
            world: None,
            stopped: BTreeSet::new(),
            desired: Desired::default(),
            serial: 0,
            actions: Vec::new(),
            draining: false,
            written: 0,
            observed: None,
        }
    }

    /// What is to be done since the last call.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub fn set_settings(&mut self, settings: Arc<StreamingConfig>) {
        self.settings = settings;
    }

    /// Somebody stopped the agent's stream of this match.
    pub fn stopped(&mut self, agent: &str, match_id: &str) {
        self.stopped.insert((agent.into(), match_id.into()));
    }

    /// Forgets that.
    pub fn wanted_again(&mut self, agent: &str, match_id: &str) {
        self.stopped.remove(&(agent.to_owned(), match_id.to_owned()));
    }

    /// Takes in a stream that was there before a restart; the next world decides whether it stays.
    pub fn adopt(&mut self, record: StreamRecord, agent: Agent, now: Ms) {
        let stream = Stream::new(record, agent, now);
        self.streams.insert(stream.record.id.clone(), stream);
    }

    /// What is so has been looked up anew.
    pub fn world(&mut self, world: World, now: Ms, wall: Millis) {
        for (id, candidate) in &world.agents {
            for stream in self.streams.values_mut().filter(|s| s.agent.id == *id) {
                stream.agent = candidate.agent.clone();
            }
        }
        self.stopped.retain(|(_, m)| world.matches.iter().any(|known| known.id == *m));
        self.world = Some(world);
        self.plan(now, wall);
    }

    /// The flag is off. Streams end with the ending scene, or at once.
    pub fn kill(&mut self, hard: bool, now: Ms, wall: Millis) {
        if let Some(world) = &mut self.world {
            world.flag = false;
        }
        let until = if hard { now } else { now + SLATE };
        for stream in self.streams.values_mut() {
            let sooner = match &stream.life {
                Life::Ending { until: before, .. } => (*before).min(until),
                _ => until,
            };
            stream.life = Life::Ending { until: sooner, reason: Reason::FlagOff.to_string() };
        }
        self.tick(now, wall);
    }

    /// An agent with a stream, or with its switch on when that was looked up last.
    pub fn candidate(&self, tenant: Option<&str>, agent: &str) -> Option<Agent> {
        let on_air = self.streams.values().map(|s| &s.agent).find(|a| a.id == agent);
        let known = on_air.or_else(|| Some(&self.world.as_ref()?.agents.get(agent)?.agent));
        known.filter(|a| tenant.is_none_or(|tenant| a.tenant_id == tenant)).cloned()
    }

    /// The agent's switch is off.
    pub fn switched_off(&mut self, agent: &str, now: Ms, wall: Millis) {
        if let Some(world) = &mut self.world {
            world.agents.remove(agent);
        }
        self.plan(now, wall);
    }

    /// Nothing begins any more, and everything ends within `deadline`; the records stay as they are.
    pub fn drain(&mut self, deadline: Duration) {
        self.draining = true;
        for encode in std::mem::take(&mut self.encodes).into_values() {
            if let Some(run) = encode.run() {
                self.actions.push(Action::Close { run, deadline });
            }
        }
        self.write();
    }

    /// Ends a stream for good; it does not come back for this match.
    pub fn end(&mut self, id: &str, reason: &str, now: Ms, wall: Millis) -> Option<StreamRecord> {
        let stream = self.streams.get(id)?;
        let (agent, match_id) = (stream.agent.id.clone(), stream.record.match_id.clone());
        self.stopped(&agent, &match_id);
        let record = self.remove(id, reason, false, wall)?;
        self.plan(now, wall);
        Some(record)
    }

    /// Puts a scene on the air of the encode that this stream is on.
    pub fn scene(&mut self, id: &str, scene: Option<Scene>) -> bool {
        let encode = self.streams.get(id).and_then(|s| self.encodes.get_mut(&s.encode?));
        let Some(encode) = encode else { return false };
        encode.operator = scene;
        self.scenes();
        true
    }

    /// An encode was opened, or could not be.
    pub fn opened(&mut self, run: u64, stage: Result<Arc<dyn OnStage>, String>, now: Ms) {
        let Some((id, encode)) = self.encodes.iter_mut().find(|(_, e)| e.run() == Some(run)) else { return };
        let id = *id;
        match stage {
            Ok(stage) => {
                encode.on(stage, now);
                self.aim(id);
                self.reconcile(now);
            }
            Err(words) => self.failed(id, words, now),
        }
    }

    /// Whether an output is still wanted.
    pub fn wants(&self, run: u64, serial: u64) -> bool {
        let on = |s: &&Stream| s.encode.and_then(|e| self.encodes.get(&e)).is_some_and(|e| e.run() == Some(run));
        self.streams.values().filter(on).any(|s| s.slots.values().any(|slot| slot.serial == serial))
    }

    /// An output was made and is on its encode, or could not be.
    pub fn made(&mut self, run: u64, serial: u64, made: Result<OutputId, NotMade>, now: Ms) {
        let slot = self.streams.values_mut().flat_map(|s| s.slots.values_mut()).find(|slot| slot.serial == serial);
        match (slot, made) {
            (Some(slot), Ok(output)) if slot.state == SlotState::Making => {
                (slot.state, slot.output) = (SlotState::On, Some(output));
            }
            (_, Ok(output)) => self.actions.push(Action::Remove { run, output, deadline: OUTPUT_END }),
            (Some(slot), Err(NotMade { words, passing })) => {
                slot.status.last_error = Some(words.clone());
                slot.state = match passing {
                    true => SlotState::Waiting { not_before: now + AGAIN },
                    false => SlotState::Attention(words),
                };
            }
            (None, Err(_)) => {}
        }
    }

    /// Time has passed: looks at what runs, and ends what is due.
    pub fn tick(&mut self, now: Ms, wall: Millis) {
        if self.draining {
            return;
        }
        self.observe(now, wall);
        let due = |life: &Life| match life {
            Life::Ending { until, reason } if *until <= now => Some(reason.clone()),
            _ => None,
        };
        let ends: Vec<_> = self.streams.iter().filter_map(|(id, s)| Some((id.clone(), due(&s.life)?))).collect();
        for (id, reason) in ends {
            self.remove(&id, &reason, true, wall);
        }
        for id in self.encodes.keys().copied().collect::<Vec<_>>() {
            let Some(encode) = self.encodes.get_mut(&id) else { continue };
            if let Some(words) = encode.broken(now) {
                self.failed(id, words, now);
            } else if encode.rested(now) {
                self.open(id, now);
            }
        }
        self.plan(now, wall);
        if now >= self.written + WRITE_EVERY {
            self.written = now;
            self.write();
        }
    }

    /// Everything that is not written yet.
    pub fn write(&mut self) {
        self.actions.extend(self.ledger.take().into_iter().map(Action::Write));
    }

    /// Compares what should be with what is.
    fn plan(&mut self, now: Ms, wall: Millis) {
        let Some(world) = self.world.take() else { return };
        if self.draining {
            return;
        }
        let mut over = Vec::new();
        let mut there = Vec::new();
        for (id, stream) in &mut self.streams {
            match stream.standing(&world, &self.settings, now, wall) {
                Some(standing) => there.push(There {
                    stream: id.clone(),
                    agent: stream.agent.id.clone(),
                    match_id: stream.record.match_id.clone(),
                    standing,
                }),
                None => over.push(id.clone()),
            }
        }
        let ledger = &self.ledger;
        let desired = desired::desired(&world, &there, &self.stopped, |agent| ledger.spent(agent), &self.settings);
        for (id, reason) in &desired.end {
            self.say_goodbye(id, &reason.to_string(), reason.is_clean(), now, wall);
        }
        for wanted in &desired.streams {
            let Some(candidate) = world.agents.get(&wanted.agent) else { continue };
            let id = match &wanted.stream {
                Some(id) => id.clone(),
                None => {
                    let record = new_record(&candidate.agent, &wanted.match_id, wall);
                    let id = record.id.clone();
                    self.actions.push(Action::Put(record.clone()));
                    self.streams.insert(id.clone(), Stream::new(record, candidate.agent.clone(), now));
                    id
                }
            };
            let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_ending()) else { continue };
            let own = |d: &&Destination| wanted.destinations.contains(&d.id);
            stream.destinations = candidate.destinations.iter().filter(own).map(spec).collect();
            if let Some(m) = world.matches.iter().find(|m| m.id == wanted.match_id && m.phase == MatchPhase::Running) {
                stream.life = Life::On;
                stream.shows = Some(Shown::of(m, &stream.agent));
                if stream.record.match_id != m.id {
                    stream.record.match_id.clone_from(&m.id);
                    self.actions.push(Action::Put(stream.record.clone()));
                }
            }
        }
        self.desired = desired;
        self.world = Some(world);
        let idle = self.settings.idle.as_secs();
        for id in over {
            let words = format!("no further match of the agent began within {idle} s");
            self.say_goodbye(&id, &words, true, now, wall);
        }
        for stream in self.streams.values_mut() {
            let spent = self.ledger.spent(&stream.agent.id);
            stream.warning = desired::warning(&stream.agent.limits, spent, &self.settings);
        }
        self.reconcile(now);
    }

    /// Ends a stream; with the ending scene before, unless others would see it too.
    fn say_goodbye(&mut self, id: &str, reason: &str, slate: bool, now: Ms, wall: Millis) {
        let Some(stream) = self.streams.get(id) else { return };
        if stream.is_ending() {
            return;
        }
        let encode = stream.encode;
        let alone = !self.streams.values().any(|s| s.record.id != id && s.encode == encode && !s.is_ending());
        let seen = encode.and_then(|e| self.encodes.get(&e)).is_some_and(|e| e.stage().is_some());
        if slate && alone && seen {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.life = Life::Ending { until: now + SLATE, reason: reason.into() };
            }
        } else {
            self.remove(id, reason, true, wall);
        }
    }

    /// Takes a stream off the air now.
    fn remove(&mut self, id: &str, reason: &str, wanted: bool, wall: Millis) -> Option<StreamRecord> {
        let mut stream = self.streams.remove(id)?;
        for (destination, slot) in std::mem::take(&mut stream.slots) {
            self.unplug(stream.encode, &slot);
            if !destination.starts_with(OWN) {
                let data = json!({"state": "stopped", "streamId": id});
                self.tell(&stream.record.tenant_id, "destination", &destination, data);
            }
        }
        let record = StreamRecord { wanted, ended_at: Some(wall), reason: Some(reason.into()), ..stream.record };
        tracing::info!(stream = id, agent = record.agent_id, "ended: {reason}");
        let data = json!({
            "state": StreamState::Ended, "reason": reason, "agentId": record.agent_id, "matchId": record.match_id,
        });
        self.tell(&record.tenant_id, "stream", id, data);
        self.actions.push(Action::Put(record.clone()));
        self.write();
        // An encode that nobody else is on ends at once, not with the next round.
        self.close_unused();
        Some(record)
    }

    /// Takes a slot's output off its encode.
    fn unplug(&mut self, encode: Option<u64>, slot: &Slot) {
        let run = encode.and_then(|e| self.encodes.get(&e)).and_then(Encode::run);
        if let (Some(run), Some(output)) = (run, slot.output) {
            self.actions.push(Action::Remove { run, output, deadline: OUTPUT_END });
        }
    }

    fn tell(&mut self, tenant: &str, kind: &'static str, id: &str, data: serde_json::Value) {
        self.actions.push(Action::Tell { tenant: tenant.into(), kind, id: id.into(), data });
    }

    // Encodes.

    fn reconcile(&mut self, now: Ms) {
        if self.draining {
            return;
        }
        for id in self.encodes.keys().copied().collect::<Vec<_>>() {
            self.choose(id);
        }
        self.close_unused();
        self.place(now);
        for id in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.plug(&id, now);
        }
        self.scenes();
    }

    /// Streams of one encode whose matches part: it goes on with what most of them want, the others leave.
    fn choose(&mut self, id: u64) {
        let Some(encode) = self.encodes.get(&id) else { return };
        let wishes: Vec<&Option<Shown>> = self.on(id).map(|s| &s.shows).collect();
        if wishes.is_empty() {
            return;
        }
        let playing: Vec<&Shown> = wishes.iter().filter_map(|w| w.as_ref()).collect();
        let most = |shown: &&&Shown| playing.iter().filter(|other| other == shown).count();
        let next = if playing.contains(&&encode.shown) {
            encode.shown.clone()
        } else {
            // Of equals the oldest stream's: `max_by_key` takes the last.
            playing.iter().rev().max_by_key(most).map_or(Shown::Nothing, |shown| (*shown).clone())
        };
        let stays = |s: &Stream| s.shows.as_ref().unwrap_or(&Shown::Nothing) == &next;
        let leaving: Vec<String> = self.on(id).filter(|s| !stays(s)).map(|s| s.record.id.clone()).collect();
        for id in leaving {
            self.leave(&id);
        }
        if self.encodes[&id].shown != next {
            if let Some(encode) = self.encodes.get_mut(&id) {
                encode.show(next);
            }
            self.aim(id);
        }
    }

    fn on(&self, encode: u64) -> impl Iterator<Item = &Stream> {
        self.streams.values().filter(move |s| s.encode == Some(encode))
    }

    fn leave(&mut self, id: &str) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let encode = stream.encode.take();
        let mut gone = Vec::new();
        for slot in stream.slots.values_mut().filter(|s| !matches!(s.state, SlotState::Attention(_))) {
            gone.push(slot.reset());
        }
        let run = encode.and_then(|e| self.encodes.get(&e)).and_then(Encode::run);
        for output in gone.into_iter().flatten() {
            self.actions.extend(run.map(|run| Action::Remove { run, output, deadline: OUTPUT_END }));
        }
    }

    fn close_unused(&mut self) {
        let used: BTreeSet<u64> = self.streams.values().filter_map(|s| s.encode).collect();
        let unused: Vec<u64> = self.encodes.keys().copied().filter(|id| !used.contains(id)).collect();
        for encode in unused.iter().filter_map(|id| self.encodes.remove(id)) {
            let run = encode.run();
            self.actions.extend(run.map(|run| Action::Close { run, deadline: OUTPUT_END }));
        }
    }

    /// Finds an encode for every stream that has none and something to send to.
    fn place(&mut self, now: Ms) {
        for id in self.streams.keys().cloned().collect::<Vec<_>>() {
            let Some(stream) = self.streams.get(&id).filter(|s| s.encode.is_none()) else { continue };
            let by_itself = self.world.as_ref().is_some_and(|w| w.by_itself);
            let sends = by_itself || stream.destinations.iter().any(|d| self.unusable(d).is_none());
            if stream.is_ending() || !sends {
                continue;
            }
            let (look, shows) = (stream.look.clone(), stream.shows.clone());
            let same = |e: &&Encode| e.look == look && Some(&e.shown) == shows.as_ref();
            let found = self.encodes.values().find(same).map(|e| e.id);
            let full = self.encodes.len() >= self.settings.max_encodes;
            let encode = match found {
                None if full => None,
                found => Some(found.unwrap_or_else(|| {
                    self.serial += 1;
                    let encode = Encode::new(self.serial, look, shows.unwrap_or(Shown::Nothing), now);
                    self.encodes.insert(encode.id, encode);
                    self.serial
                })),
            };
            let words = format!(
                "all {} encodes of this machine are in use; it starts when one ends (streaming.max_encodes)",
                self.settings.max_encodes
            );
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.encode = encode;
                stream.trouble = encode.is_none().then_some(words);
            }
            match (found, encode) {
                (None, Some(encode)) => self.open(encode, now),
                (Some(encode), _) => self.rename(encode),
                _ => {}
            }
        }
    }

    fn open(&mut self, id: u64, now: Ms) {
        self.serial += 1;
        let (run, name) = (self.serial, self.on(id).next().map_or(String::new(), |s| s.agent.name.clone()));
        if let Some(encode) = self.encodes.get_mut(&id) {
            encode.opening(run, now);
            let look = encode.look.clone();
            self.actions.push(Action::Open { run, look, name });
        }
    }

    /// What an encode shows has changed, or it has just begun.
    fn aim(&mut self, id: u64) {
        self.rename(id);
        let agents = self.on(id).map(|s| (s.agent.id.clone(), s.agent.name.clone())).collect();
        let Some(encode) = self.encodes.get_mut(&id) else { return };
        if let (Some(run), Some(_)) = (encode.run(), encode.stage()) {
            self.serial += 1;
            let (aim, shown) = (self.serial, encode.shown.clone());
            self.actions.push(Action::Aim { run, aim, shown, agents });
        }
    }

    /// Whose broadcast it is, for the ending scene.
    fn rename(&self, id: u64) {
        let mut names: Vec<&str> = self.on(id).map(|s| s.agent.name.trim()).collect();
        names.dedup();
        if let Some(stage) = self.encodes.get(&id).and_then(Encode::stage) {
            stage.host(&names.join(" · "));
        }
    }

    /// An encode did not open or broke down.
    fn failed(&mut self, id: u64, words: String, now: Ms) {
        for stream in self.streams.values_mut().filter(|s| s.encode == Some(id)) {
            for slot in stream.slots.values_mut().filter(|s| !matches!(s.state, SlotState::Attention(_))) {
                // They end with it.
                slot.reset();
            }
        }
        let Some(encode) = self.encodes.get_mut(&id) else { return };
        tracing::error!("a stream's picture: {words}");
        let run = encode.rest(words, now);
        self.actions.extend(run.map(|run| Action::Close { run, deadline: OUTPUT_END }));
    }

    /// Puts the ending scene on, or what an operator chose.
    fn scenes(&mut self) {
        let slates: Vec<u64> = self
            .encodes
            .keys()
            .copied()
            .filter(|id| self.on(*id).next().is_some() && self.on(*id).all(Stream::is_ending))
            .collect();
        for (id, encode) in &mut self.encodes {
            encode.put_on(if slates.contains(id) { Some(Scene::Ending) } else { encode.operator });
        }
    }

    // Destinations.

    /// Brings a stream's slots in line with its destinations, and makes outputs where they can be.
    fn plug(&mut self, id: &str, now: Ms) {
        let Some(stream) = self.streams.get(id).filter(|s| !s.is_ending()) else { return };
        let mut specs = stream.destinations.clone();
        let through = |d: &&Destination| d.via == Via::LivekitEgress && self.unusable(d).is_none();
        let room = specs.iter().find(|d| d.kind == DestinationKind::LivekitRoom).and_then(|d| d.room.clone());
        if let (Some(first), None) = (specs.iter().find(through), &room) {
            // Somebody must publish what the egress service takes.
            let (kind, room) = (DestinationKind::LivekitRoom, Some(own_room(id)));
            let (via, ingest, key) = (Via::Direct, None, None);
            specs.push(Destination { id: format!("{OWN}{id}"), kind, via, ingest, key, room, ..first.clone() });
        }
        let room = room.unwrap_or_else(|| own_room(id));
        let world = self.world.as_ref();
        let title = world.and_then(|w| w.matches.iter().find(|m| m.id == stream.record.match_id));
        let title = title.map_or_else(|| stream.agent.name.clone(), |m| m.title.clone());
        let notes: Vec<Option<String>> = specs.iter().map(|d| self.unusable(d)).collect();
        let run =
            stream.encode.and_then(|e| self.encodes.get(&e)).filter(|e| e.stage().is_some()).and_then(Encode::run);
        let Some(stream) = self.streams.get_mut(id) else { return };
        let mut gone = Vec::new();
        stream.slots.retain(|_, slot| {
            let stays = specs.contains(&slot.spec);
            if !stays {
                gone.extend(slot.output);
            }
            stays
        });
        self.actions.extend(
            gone.into_iter().filter_map(|output| Some(Action::Remove { run: run?, output, deadline: OUTPUT_END })),
        );
        for (spec, note) in specs.into_iter().zip(notes) {
            let slot = stream.slots.entry(spec.id.clone()).or_insert_with(|| Slot::new(spec.clone()));
            match note {
                Some(words) => slot.state = SlotState::Attention(words),
                None => {
                    let SlotState::Waiting { not_before } = slot.state else { continue };
                    let Some(run) = run.filter(|_| not_before <= now) else { continue };
                    self.serial += 1;
                    (slot.state, slot.serial) = (SlotState::Making, self.serial);
                    let order = Box::new(Order {
                        destination: spec,
                        stream: id.into(),
                        agent: stream.agent.name.clone(),
                        title: title.clone(),
                        room: room.clone(),
                    });
                    self.actions.push(Action::Make { run, serial: self.serial, order });
                }
            }
        }
    }

    /// Why nothing can be sent to a destination before somebody changes it.
    fn unusable(&self, d: &Destination) -> Option<String> {
        let needs_livekit = d.kind == DestinationKind::LivekitRoom || d.via == Via::LivekitEgress;
        if needs_livekit && !self.livekit {
            return Some(
                "it needs a LiveKit server and none is set; set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
                    .into(),
            );
        }
        if d.kind == DestinationKind::LivekitRoom {
            return d.room.is_none().then(|| "it names no room; set `room`".into());
        }
        if d.ingest.is_none() {
            return Some("it has no ingest address; set `ingest`".into());
        }
        d.key.is_none().then(|| format!("no stream key is set; PUT /v1/destinations/{}/key", d.id))
    }

    // Looking.

    /// Takes in what the encodes say, counts what is used, tells what changed.
    fn observe(&mut self, now: Ms, wall: Millis) {
        let since = self.observed.replace(now).map_or(0, |before| now.saturating_sub(before));
        let day = usage::day(wall);
        for encode in self.encodes.values_mut() {
            encode.look_at();
        }
        let mut news = Vec::new();
        for stream in self.streams.values_mut() {
            let encode = stream.encode.and_then(|e| self.encodes.get(&e));
            let status = encode.filter(|e| e.stage().is_some()).map(|e| &e.status);
            for (id, slot) in &mut stream.slots {
                if let Some(seen) = status.zip(slot.output).and_then(|(status, output)| status.output(output)) {
                    slot.status = seen.clone();
                }
                let live = slot.is_live();
                if live && !std::mem::replace(&mut slot.key_used, live) && slot.spec.key.is_some() {
                    news.push(Action::KeyUsed { destination: id.clone() });
                }
                let told = (slot.word(), slot.words());
                if slot.told.as_ref() != Some(&told) && !id.starts_with(OWN) {
                    news.push(Action::Tell {
                        tenant: stream.record.tenant_id.clone(),
                        kind: "destination",
                        id: id.clone(),
                        data: json!({"state": told.0, "trouble": told.1, "streamId": stream.record.id}),
                    });
                    slot.told = Some(told);
                }
            }
            let live = stream.slots.iter().filter(|(id, slot)| !id.starts_with(OWN) && slot.is_live()).count();
            stream.on_air = live > 0;
            if stream.on_air {
                stream.live_since.get_or_insert(now);
                let (ms, outputs) = (i64::try_from(since).unwrap_or(0), i64::try_from(live).unwrap_or(0));
                self.ledger.add(&stream.record.tenant_id, &stream.agent.id, &day, ms, outputs);
            }
            let told = (stream.state(now), stream.words(encode));
            if stream.told.as_ref() != Some(&told) {
                let record = &stream.record;
                news.push(Action::Tell {
                    tenant: record.tenant_id.clone(),
                    kind: "stream",
                    id: record.id.clone(),
                    data: json!({
                        "state": told.0, "trouble": told.1, "agentId": record.agent_id, "matchId": record.match_id,
                    }),
                });
                stream.told = Some(told);
            }
        }
        self.actions.extend(news);
        for id in self.encodes.keys().copied().collect::<Vec<_>>() {
            let counts = self.on(id).flat_map(|s| s.slots.values()).filter_map(|slot| slot.status.viewers);
            let viewers = counts.map(|v| u64::from(v.now)).reduce(|a, b| a + b);
            if let Some(encode) = self.encodes.get_mut(&id) {
                encode.set_viewers(viewers, now, VIEWERS_EVERY);
            }
        }
    }
}

impl Stream {
    fn new(record: StreamRecord, agent: Agent, now: Ms) -> Stream {
        Stream {
            look: Look::of(&agent.defaults),
            record,
            agent,
            life: Life::On,
            shows: None,
            encode: None,
            destinations: Vec::new(),
            slots: BTreeMap::new(),
            born: now,
            live_since: None,
            on_air: false,
            trouble: None,
            warning: None,
            told: None,
        }
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending { .. })
    }

    /// Moves on with its match and the time. None: it has waited long enough.
    fn standing(&mut self, world: &World, settings: &StreamingConfig, now: Ms, wall: Millis) -> Option<Standing> {
        let known = world.matches.iter().find(|m| m.id == self.record.match_id);
        let phase = known.map_or(MatchPhase::Closed, |m| m.phase);
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        if self.life == Life::On {
            self.life = match (phase, known) {
                // What is held back is still to be seen.
                (MatchPhase::Over, Some(m)) => {
                    let stays = ms(settings.over).saturating_add(self.look.delay_ms.unsigned_abs());
                    let since = m.ended_at.map_or(0, |at| wall.saturating_sub(at).max(0).unsigned_abs());
                    Life::Over { until: now + stays.saturating_sub(since) }
                }
                (MatchPhase::Closed, _) => Life::Idle { until: now + ms(settings.idle) },
                _ => Life::On,
            };
        }
        match self.life {
            Life::Over { .. } if phase == MatchPhase::Running => {
                self.life = Life::On;
                Some(Standing::Playing)
            }
            Life::Over { until } if now < until => {
                if let (None, Some(m)) = (&self.shows, known) {
                    self.shows = Some(Shown::of(m, &self.agent));
                }
                Some(Standing::Lingering)
            }
            Life::Over { .. } => {
                self.life = Life::Idle { until: now + ms(settings.idle) };
                self.shows = None;
                Some(Standing::Free)
            }
            Life::Idle { until } => {
                self.shows = None;
                (now < until).then_some(Standing::Free)
            }
            Life::On | Life::Ending { .. } => Some(Standing::Playing),
        }
    }

    pub fn state(&self, now: Ms) -> StreamState {
        let hopeless = || !self.slots.is_empty() && self.slots.values().all(|s| s.word() == "needs-attention");
        match self.life {
            Life::Ending { .. } => StreamState::Ending,
            _ if self.on_air => StreamState::Live,
            _ if self.live_since.is_some() || now >= self.born + STARTING || hopeless() => StreamState::Waiting,
            _ => StreamState::Starting,
        }
    }

    /// What is wrong, or soon will be.
    pub fn words(&self, encode: Option<&Encode>) -> Option<String> {
        if let Life::Ending { reason, .. } = &self.life {
            return Some(reason.clone());
        }
        self.trouble.clone().or_else(|| encode.and_then(Encode::words)).or_else(|| self.warning.clone())
    }
}

impl Slot {
    fn new(spec: Destination) -> Slot {
        Slot {
            spec,
            serial: 0,
            state: SlotState::Waiting { not_before: 0 },
            output: None,
            status: Status::default(),
            key_used: false,
            told: None,
        }
    }

    /// Without an encode. Returns the output that it had.
    fn reset(&mut self) -> Option<OutputId> {
        (self.state, self.serial) = (SlotState::Waiting { not_before: 0 }, 0);
        let last_error = self.status.last_error.take();
        self.status = Status { name: std::mem::take(&mut self.status.name), last_error, ..Status::default() };
        self.key_used = false;
        self.output.take()
    }

    fn is_live(&self) -> bool {
        self.state == SlotState::On && self.status.state == State::Live
    }

    pub fn is_own(id: &str) -> bool {
        id.starts_with(OWN)
    }

    /// For people, before its output has a name.
    pub fn name(&self) -> String {
        if !self.status.name.is_empty() {
            return self.status.name.clone();
        }
        match (&self.spec.room, &self.spec.ingest) {
            (Some(room), _) => format!("livekit {room}"),
            (None, Some(ingest)) => {
                let (scheme, rest) = ingest.split_once("://").unwrap_or(("rtmp", ingest));
                format!("{scheme} {}", rest.split('/').next().unwrap_or_default())
            }
            (None, None) => self.spec.kind.to_string(),
        }
    }

    pub fn word(&self) -> &'static str {
        match (&self.state, self.status.state) {
            (SlotState::Attention(_), _) | (SlotState::On, State::NeedsAttention) => "needs-attention",
            (SlotState::Waiting { .. }, _) => "idle",
            (SlotState::Making, _) | (SlotState::On, State::Idle | State::Connecting) => "connecting",
            (SlotState::On, State::Live) => "live",
            (SlotState::On, State::Reconnecting) => "reconnecting",
            (SlotState::On, State::Stopped) => "stopped",
        }
    }

    pub fn words(&self) -> Option<String> {
        match &self.state {
            SlotState::Attention(words) => Some(words.clone()),
            _ => self.status.last_error.clone(),
        }
    }
}

/// The room of a stream that has none of its own.
fn own_room(stream: &str) -> String {
    format!("agentcast-{stream}")
}

/// A destination without what an output does not depend on.
fn spec(d: &Destination) -> Destination {
    let key = d.key.clone().map(|key| KeyInfo { last_used_at: None, ..key });
    Destination { key, enabled: true, version: 0, created_at: 0, updated_at: 0, ..d.clone() }
}

fn new_record(agent: &Agent, match_id: &str, wall: Millis) -> StreamRecord {
    StreamRecord {
        id: crate::secure::new_id("str"),
        tenant_id: agent.tenant_id.clone(),
        agent_id: agent.id.clone(),
        match_id: match_id.into(),
        wanted: true,
        created_at: wall,
        ended_at: None,
        reason: None,
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
