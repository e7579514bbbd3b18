//! What is on air, as a machine without I/O: news and time go in, [`Action`]s come out.
//!
//! A [`Stream`] is an agent's broadcast; it stays itself while matches change. An [`Encode`] is a render + encode that one or
//! more streams are on. A [`Slot`] is a destination of a stream on its encode. What is common to several streams is shared;
//! what fails is tried again with growing pauses and takes nothing else with it.

use super::StreamState;
use super::desired::{self, Desired, Reason, There, World};
use super::destinations::Rested;
use super::encodes::{Encode, Look, Shown};
use super::rows::{Life, OWN, Slot, SlotState, Stream, new_record, own_room, spec};
use super::usage::{self, Ledger, Usage};
use crate::config::StreamingConfig;
use crate::secure::HostRules;
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
/// Usage is written this often.
const WRITE_EVERY: Ms = 10_000;
/// Viewers on the picture change this often at most.
const VIEWERS_EVERY: Ms = 10_000;
/// A destination that could not be made for a passing reason is tried again after this.
const AGAIN: Ms = 5_000;

/// What the board wants done. None of it is waited for.
pub enum Action {
    /// Open a render + encode; answer with [`Board::opened`]. `first`: ids of the first stream that is on it and its agent, for
    /// the log.
    Open {
        run: u64,
        look: Look,
        name: String,
        first: (String, String),
    },
    /// End it with all its outputs.
    Close {
        run: u64,
        deadline: Duration,
    },
    /// One that is being closed has less time for it now.
    Hurry {
        run: u64,
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
    pub(super) settings: Arc<StreamingConfig>,
    /// Where streams may be sent to.
    pub(super) hosts: HostRules,
    /// There is a LiveKit server.
    livekit: bool,
    pub(super) world: Option<World>,
    stopped: BTreeSet<(String, String)>,
    pub(super) desired: Desired,
    pub(super) serial: u64,
    pub(super) actions: Vec<Action>,
    pub(super) draining: bool,
    /// Encodes that a drain gives time to finish, and their runs.
    pub(super) finishing: BTreeMap<u64, u64>,
    /// Destinations of streams that have ended.
    pub(super) rested: Rested,
    /// Unix time of the last news, ms.
    wall: Millis,
    written: Ms,
    observed: Option<Ms>,
}

impl Board {
    pub fn new(settings: Arc<StreamingConfig>, livekit: bool) -> Board {
        Board {
            streams: BTreeMap::new(),
            encodes: BTreeMap::new(),
            ledger: Ledger::default(),
            settings,
            hosts: HostRules::default(),
            livekit,
            world: None,
            stopped: BTreeSet::new(),
            desired: Desired::default(),
            serial: 0,
            actions: Vec::new(),
            draining: false,
            finishing: BTreeMap::new(),
            rested: Rested::default(),
            wall: 0,
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

    /// Forgets that; whether somebody had.
    pub fn wanted_again(&mut self, agent: &str, match_id: &str) -> bool {
        self.stopped.remove(&(agent.to_owned(), match_id.to_owned()))
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
        // What a drain gave time to finish has none now.
        self.actions.extend(std::mem::take(&mut self.finishing).into_values().map(|run| Action::Hurry { run }));
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
        if self.draining {
            let mine = self.streams.values().filter(|s| s.agent.id == agent).map(|s| s.record.id.clone());
            for id in mine.collect::<Vec<_>>() {
                self.remove(&id, &Reason::SwitchOff.to_string(), true, wall);
            }
        }
        self.plan(now, wall);
    }

    /// Nothing begins any more, and everything ends within `deadline`; the records stay as they are.
    pub fn drain(&mut self, deadline: Duration) {
        self.draining = true;
        for (id, encode) in std::mem::take(&mut self.encodes) {
            // Those that somebody switched off have no time to finish.
            let over = self.on(id).all(Stream::is_ending);
            if let Some(run) = encode.run() {
                let deadline = if over { deadline.min(OUTPUT_END) } else { deadline };
                self.finishing.insert(id, run);
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
        let found = self.streams.values_mut().find_map(|stream| {
            let slot = stream.slots.values_mut().find(|slot| slot.serial == serial)?;
            Some((&stream.record, slot))
        });
        match (found, made) {
            (Some((_, slot)), Ok(output)) if slot.state == SlotState::Making => {
                (slot.state, slot.output) = (SlotState::On, Some(output));
            }
            (_, Ok(output)) => self.actions.push(Action::Remove { run, output, deadline: OUTPUT_END }),
            (Some((record, slot)), Err(NotMade { words, passing })) => {
                let told = slot.status.last_error.replace(words.clone());
                if !passing {
                    needs_attention(record, &slot.spec.id, &words);
                } else if told.as_ref() != Some(&words) {
                    let (stream, agent, destination) = (&record.id, &record.agent_id, &slot.spec.id);
                    tracing::warn!(stream, agent, destination, "not connected, it is tried again: {words}");
                }
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
        self.wall = wall;
        if self.draining {
            return;
        }
        let Some(world) = self.world.take() else { return };
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
        let (ledger, day) = (&self.ledger, usage::day(wall));
        let spent = |agent: &str| ledger.spent(agent, &day);
        let desired = desired::desired(&world, &there, &self.stopped, spent, &self.settings);
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
        self.tell_waiting(&desired.refused, &world);
        self.desired = desired;
        self.world = Some(world);
        let idle = self.settings.idle.as_secs();
        for id in over {
            let words = format!("no further match of the agent began within {idle} s");
            self.say_goodbye(&id, &words, true, now, wall);
        }
        for stream in self.streams.values_mut() {
            let spent = self.ledger.spent(&stream.agent.id, &day);
            let warning = desired::warning(&stream.agent.limits, spent, &self.settings);
            if let Some(words) = warning.as_ref().filter(|_| stream.warning.is_none()) {
                tracing::warn!(stream = stream.record.id, agent = stream.agent.id, "{words}");
            }
            stream.warning = warning;
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
            self.rested.note(&destination, &slot, wall);
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

    // Destinations.

    /// Brings a stream's slots in line with its destinations, and makes outputs where they can be.
    pub(super) fn plug(&mut self, id: &str, now: Ms) {
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
        let notes: Vec<Option<String>> = specs.iter().map(|d| self.unusable(d)).collect();
        let run =
            stream.encode.and_then(|e| self.encodes.get(&e)).filter(|e| e.stage().is_some()).and_then(Encode::run);
        let Some(stream) = self.streams.get_mut(id) else { return };
        let mut gone = Vec::new();
        stream.slots.retain(|_, slot| {
            let stays = specs.contains(&slot.spec);
            if !stays {
                gone.extend(slot.output);
                self.rested.note(&slot.spec.id, slot, self.wall);
            }
            stays
        });
        self.actions.extend(
            gone.into_iter().filter_map(|output| Some(Action::Remove { run: run?, output, deadline: OUTPUT_END })),
        );
        for (spec, note) in specs.into_iter().zip(notes) {
            let slot = stream.slots.entry(spec.id.clone()).or_insert_with(|| {
                self.rested.forget(&spec.id);
                Slot::new(spec.clone())
            });
            match note {
                Some(words) => {
                    let state = SlotState::Attention(words.clone());
                    if slot.state != state {
                        needs_attention(&stream.record, &slot.spec.id, &words);
                        if let (Some(output), Some(run)) = (slot.reset(), run) {
                            self.actions.push(Action::Remove { run, output, deadline: OUTPUT_END });
                        }
                        slot.state = state;
                    }
                }
                None => {
                    let SlotState::Waiting { not_before } = slot.state else { continue };
                    let Some(run) = run.filter(|_| not_before <= now) else { continue };
                    self.serial += 1;
                    (slot.state, slot.serial) = (SlotState::Making, self.serial);
                    let order = Box::new(Order {
                        destination: spec,
                        stream: id.into(),
                        agent: stream.agent.name.clone(),
                        room: room.clone(),
                    });
                    self.actions.push(Action::Make { run, serial: self.serial, order });
                }
            }
        }
    }

    /// Why nothing can be sent to a destination before somebody changes it.
    pub(super) fn unusable(&self, d: &Destination) -> Option<String> {
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
        let Some(ingest) = &d.ingest else {
            return Some("it has no ingest address; set `ingest`".into());
        };
        if let Err(error) = self.hosts.ingest(d.kind, ingest) {
            return Some(error.to_string());
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
                if slot.told.as_ref().is_none_or(|before| before.0 != told.0) {
                    slot.since = Some(wall);
                }
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

/// Nothing is tried any more, so the log says once what keeps a destination from being live.
fn needs_attention(record: &StreamRecord, destination: &str, words: &str) {
    let (stream, agent) = (&record.id, &record.agent_id);
    tracing::warn!(stream, agent, destination, "needs attention: {words}");
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
