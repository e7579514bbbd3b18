//! The match for viewers' pages, as data packets of the room. This page is the reference for their authors.
//!
//! Every packet is a JSON object in UTF-8 and has a topic. Pages get what the stream's view may see, when the picture shows
//! it; nothing in it needs to be hidden any more.
//!
//! | topic | channel | what |
//! |---|---|---|
//! | `agentcast.state` | reliable, in order | the match: events of the [wire format, version 1](crate::game::wire) |
//! | `agentcast.thought` | lossy | what an agent thinks right now |
//! | `agentcast.stream` | reliable | what the stream does: `{"v":1,"state":"live"}` to who joins, `"ended"` with its end |
//!
//! # `agentcast.state`
//!
//! The envelope and the types are those of the wire format, with `epoch` and `seq` of the stream's own: `seq` rises by one with
//! each event. A page keeps the board, and per event does this:
//!
//! | type | |
//! |---|---|
//! | `match.started` | forget everything, take `data` as the board and `data.history` as what was before (below) |
//! | `state.snapshot` | take `data` as the board, keep the rest. Comes 10 s after a change: who missed an event is right again |
//! | `state.patch` | merge `data` into the board (RFC 7396: objects merge, `null` deletes, lists are replaced) |
//! | `action.decided`, `feed`, `scene.set`, `marker` | as in the wire format. `vis` is always `"public"` |
//!
//! Everything else that happens (turns, clocks, eval, series, result, a side that begins to think) comes as a patch. Fields
//! with nothing in them (`""`, `[]`, `false`, `null`) are left out of boards and their defaults hold; an `action.decided` sets the
//! side's `status` on the page as [`apply`](fn@crate::game::apply) says, and a patch follows where the match says otherwise.
//!
//! Ignore an event whose `(epoch, seq)` is not above the last one's. After a gap in `seq` wait for the next
//! `match.started` or `state.snapshot`. A page that joins (or comes back) is sent a `match.started` of its own, with the number
//! of the last event that everybody got:
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1790000000,"seq":1042,"ts":1790000009000,"type":"match.started","data":{
//!   "sides":{"x":{"seat":0,"name":"Crossfire"},"o":{"seat":1,"name":"Big Circle"}},
//!   "zones":{"board":{"kind":"grid","cols":3,"rows":3}},
//!   "history":{
//!     "actions":{"o":{"turn":2,"text":"a3","reason":"Takes the corner","status":"ok","ts":1790000005000}},
//!     "feed":[{"kind":"move","text":"O takes the corner","actor":"o","importance":40,"ts":1790000006000}],
//!     "scene":"live","marker":{"label":"Queen trap","ts":1790000008000}}}}
//! ```
//!
//! A packet has at most [`PACKET_BYTES`]. A longer message comes in parts, one after the other, with nothing else of the topic in
//! between; `text` of all of them together is the message:
//!
//! ```json
//! {"id":3,"part":1,"parts":2,"text":"{\"v\":1,\"match\":\"qf2\",…"}
//! ```
//!
//! A message of more than [`PARTS`] parts is left out, counted, and the operator is told ([`Relay::trouble`]): the page's board
//! then stays as it was until the match's is smaller. Changes are told up to 20 times a second, less often when they are large
//! (40 kB/s in the mean); what changed in between is one patch.
//!
//! # `agentcast.thought`
//!
//! The newest part of a side's thought, up to five times a second. Every packet stands for itself, in at most
//! [`THOUGHT_BYTES`]; the newest is repeated after 1 and 3 s in case it was lost.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1790000000,"n":17,"ts":1790000004000,"side":"o","thoughtId":"t17",
//!  "from":340,"text":"is free, so I take it.","final":true}
//! ```
//!
//! `n` rises with each packet: ignore one that is not above the last. `from` says how much of the thought comes before `text`, as
//! JavaScript counts (UTF-16 units). 0: `text` is the whole thought. A page that has the beginning shows
//! `known.slice(0, from) + text`; one that lacks it shows `"…" + text`. `final` ends the thought. A new `thoughtId`, a new `match` and a
//! new `epoch` begin another one.

mod board;
mod parts;
mod thoughts;

pub use parts::{PACKET_BYTES, PARTS};
pub use thoughts::THOUGHT_BYTES;

use crate::game::wire::ActionDecided;
use crate::game::{Action, Body, Event, FeedItem, Marker, MatchState, SceneCue, SideId, Snapshot, Visibility, apply};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thoughts::Thoughts;

/// Topic of the match's events.
pub const STATE_TOPIC: &str = "agentcast.state";
/// Topic of thoughts.
pub const THOUGHT_TOPIC: &str = "agentcast.thought";
/// Topic of what the stream does.
pub const STREAM_TOPIC: &str = "agentcast.stream";

/// Changes of the match are told this often at most.
const PAUSE: Duration = Duration::from_millis(50);
/// And so that they stay under this many bytes a second in the mean.
const BYTES_PER_SECOND: u64 = 40_000;
/// The whole board is told again this long after a change.
const WHOLE_EVERY: Duration = Duration::from_secs(10);
/// A message that was too large is not tried again before this: writing it costs time.
const RETRY: Duration = Duration::from_secs(2);
/// Bytes of feed lines in `history`; the oldest are left out.
const HISTORY_FEED: usize = 24_000;

/// One data packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: &'static str,
    pub reliable: bool,
    /// JSON.
    pub payload: Vec<u8>,
}

/// Turns the states of a match into messages. Reads no clock; times must not fall.
pub struct Relay {
    epoch: u64,
    /// Number of the last event told.
    seq: u64,
    /// Number of the last message that was split.
    split: u64,
    /// The newest state, and since when it may be told; None: it was.
    news: Option<(Instant, Arc<MatchState>)>,
    /// Nothing is told before.
    pause: Option<Instant>,
    told: Option<Told>,
    /// When the whole board is told again.
    whole_due: Option<Instant>,
    /// How long after a change that is.
    whole_pause: Duration,
    thoughts: Thoughts,
    left_out: u64,
    trouble: Option<String>,
}

/// What subscribers have.
struct Told {
    /// Board and actions as their events make them.
    page: MatchState,
    /// The parts of the state that were told as events.
    actions: BTreeMap<SideId, Action>,
    feed: Vec<FeedItem>,
    scene: Option<SceneCue>,
    marker: Option<Marker>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(rename = "match")]
    match_id: &'a str,
    epoch: u64,
    seq: u64,
    ts: i64,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vis: Option<&'static str>,
    data: Value,
}

impl Relay {
    /// `epoch` must be higher than that of any relay before it that a page may still know: the Unix time of its making.
    pub fn new(epoch: u64) -> Relay {
        Relay {
            epoch,
            seq: 0,
            split: 0,
            news: None,
            pause: None,
            told: None,
            whole_due: None,
            whole_pause: WHOLE_EVERY,
            thoughts: Thoughts::default(),
            left_out: 0,
            trouble: None,
        }
    }

    /// The match as the pictures show it from now on, filtered by the stream's view.
    pub fn show(&mut self, state: &Arc<MatchState>, now: Instant) {
        if state.started {
            let at = self.pause.map_or(now, |pause| pause.max(now));
            self.news = Some((self.news.take().map_or(at, |(due, _)| due), state.clone()));
            self.thoughts.show(state, now);
        }
    }

    /// When [`Self::poll`] has something to say; None: not before the next [`Self::show`].
    pub fn due(&self) -> Option<Instant> {
        [self.news.as_ref().map(|(at, _)| *at), self.whole_due, self.thoughts.due()].into_iter().flatten().min()
    }

    /// What everybody is to be told by now.
    pub fn poll(&mut self, now: Instant) -> Vec<Message> {
        let (mut out, missed) = (Vec::new(), self.left_out);
        if let Some((_, state)) = self.news.take_if(|(at, _)| *at <= now) {
            self.tell(&state, now, &mut out);
            if self.left_out == missed {
                self.trouble = None;
            }
        }
        if self.whole_due.is_some_and(|at| at <= now) {
            self.tell_whole(&mut out);
        }
        if self.left_out > missed {
            self.pause = Some(now + RETRY);
        } else if !out.is_empty() {
            self.pause = Some(now + PAUSE.max(worth(&out)));
        }
        if let Some((at, _)) = &mut self.news {
            *at = self.pause.map_or(*at, |pause| pause.max(*at));
        }
        self.left_out += self.thoughts.poll(self.epoch, now, &mut out);
        out
    }

    /// All that subscribers have been told, for one who has just come. It may be sent to those too who know it all.
    pub fn snapshot(&mut self) -> Vec<Message> {
        let mut out = Vec::new();
        let Some(told) = &self.told else { return out };
        let text = self.text(self.seq, told, "match.started", told.page.ts, None, told.whole(true));
        self.push(text, &mut out);
        self.left_out += self.thoughts.snapshot(self.epoch, &mut out);
        out
    }

    /// Messages that were too large.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Why pages do not know the newest state, in plain words.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn tell(&mut self, state: &MatchState, now: Instant, out: &mut Vec<Message>) {
        let Some(mut told) = self.told.take_if(|told| !told.begins_anew(state)) else {
            self.begin(state, out);
            return;
        };
        let before = self.seq;
        told.page.ts = state.ts;
        self.actions(&mut told, state, out);
        self.patch(&mut told, &state.board, out);
        let known = told.feed.last().map(|line| (line.epoch, line.seq));
        for line in state.feed.iter().filter(|line| known.is_none_or(|known| (line.epoch, line.seq) > known)) {
            self.event(&told, "feed", line.ts, Some("public"), feed_line(line), out);
        }
        told.feed = state.feed.iter().cloned().collect();
        if told.scene != state.scene
            && let Some(cue) = &state.scene
        {
            self.event(&told, "scene.set", cue.ts, None, json!({ "scene": cue.scene }), out);
        }
        told.scene.clone_from(&state.scene);
        if told.marker != state.marker
            && let Some(marker) = &state.marker
        {
            self.event(&told, "marker", marker.ts, Some("public"), json!({ "label": marker.label }), out);
        }
        told.marker.clone_from(&state.marker);
        self.told = Some(told);
        if self.seq > before && self.whole_due.is_none() {
            self.whole_due = Some(now + self.whole_pause);
        }
    }

    /// Tells everything of a match that nobody knows yet.
    fn begin(&mut self, state: &MatchState, out: &mut Vec<Message>) {
        let page = MatchState {
            match_id: state.match_id.clone(),
            ts: state.ts,
            started: true,
            board: state.board.clone(),
            ..MatchState::default()
        };
        let told = Told {
            page,
            actions: state.actions.clone(),
            feed: state.feed.iter().cloned().collect(),
            scene: state.scene.clone(),
            marker: state.marker.clone(),
        };
        self.whole_due = None;
        // Unless it went out, it is tried again with the next state.
        if self.event(&told, "match.started", state.ts, None, told.whole(true), out) {
            self.whole_pause = WHOLE_EVERY.max(4 * worth(out));
            self.told = Some(told);
        }
    }

    /// The board once more.
    fn tell_whole(&mut self, out: &mut Vec<Message>) {
        self.whole_due = None;
        let Some(told) = self.told.take() else { return };
        let mut whole = Vec::new();
        self.event(&told, "state.snapshot", told.page.ts, None, told.whole(false), &mut whole);
        self.whole_pause = WHOLE_EVERY.max(4 * worth(&whole));
        out.append(&mut whole);
        self.told = Some(told);
    }

    /// Tells new actions. A page ties an action to the turn that its board has, and changes the side's status by it.
    fn actions(&mut self, told: &mut Told, state: &MatchState, out: &mut Vec<Message>) {
        told.actions.retain(|side, _| state.actions.contains_key(side));
        let mut new: Vec<_> = state.actions.iter().filter(|(side, a)| told.actions.get(*side) != Some(*a)).collect();
        new.sort_by_key(|(_, action)| (action.turn, action.ts));
        for (side, action) in new {
            let named = told.page.board.sides.contains_key(side);
            if action.turn == state.board.phase.turn && told.page.board.phase.turn != action.turn || !named {
                self.patch(told, &state.board, out);
            }
            if told.page.board.phase.turn != action.turn {
                let earlier = json!({ "phase": { "turn": action.turn } });
                if self.event(told, "state.patch", action.ts, None, earlier, out) {
                    told.page.board.phase.turn = action.turn;
                }
            }
            let decided = ActionDecided {
                side: side.clone(),
                text: action.text.clone(),
                reason: action.reason.clone(),
                confidence: action.confidence,
                latency_ms: action.latency_ms,
                status: action.status,
            };
            let data = board::compact(&decided);
            let event = Event {
                v: crate::game::wire::VERSION,
                match_id: told.page.match_id.clone(),
                epoch: self.epoch,
                seq: self.seq + 1,
                ts: action.ts,
                vis: Some(Visibility::Public),
                body: Body::ActionDecided(decided),
            };
            // What the page makes of it; refused only where the board could not be told.
            let known = apply(&mut told.page, &event).is_ok();
            if known && self.event(told, "action.decided", action.ts, Some("public"), data, out) {
                told.actions.insert(side.clone(), action.clone());
            }
        }
    }

    /// Brings the page's board to this one.
    fn patch(&mut self, told: &mut Told, to: &Snapshot, out: &mut Vec<Message>) {
        let Some(patch) = board::patch(&told.page.board, to) else { return };
        let ts = told.page.ts;
        let mut text = self.text(self.seq + 1, told, "state.patch", ts, None, patch);
        if text.len() > PACKET_BYTES {
            let whole = self.text(self.seq + 1, told, "state.snapshot", ts, None, board::compact(to));
            text = if whole.len() < text.len() { whole } else { text };
        }
        if self.push(text, out) {
            self.seq += 1;
            told.page.board = to.clone();
        }
    }

    /// Tells one event; false: it was too large.
    fn event(
        &mut self,
        told: &Told,
        kind: &str,
        ts: i64,
        vis: Option<&'static str>,
        data: Value,
        out: &mut Vec<Message>,
    ) -> bool {
        let text = self.text(self.seq + 1, told, kind, ts, vis, data);
        let sent = self.push(text, out);
        self.seq += u64::from(sent);
        sent
    }

    fn text(&self, seq: u64, told: &Told, kind: &str, ts: i64, vis: Option<&'static str>, data: Value) -> String {
        let (v, match_id) = (crate::game::wire::VERSION, &*told.page.match_id);
        let envelope = Envelope { v, match_id, epoch: self.epoch, seq, ts, kind, vis, data };
        serde_json::to_string(&envelope).expect("string keys, written to memory")
    }

    fn push(&mut self, text: String, out: &mut Vec<Message>) -> bool {
        let Some(packets) = parts::split(&text, self.split + 1) else {
            self.left_out += 1;
            let words = format!(
                "viewers' pages do not see the newest state of the match: it takes {} kB as JSON, at most about {} kB are sent",
                text.len() / 1000,
                PARTS * PACKET_BYTES / 1000
            );
            if self.trouble.is_none() {
                tracing::warn!("{words}");
            }
            self.trouble = Some(words);
            return false;
        };
        self.split += u64::from(packets.len() > 1);
        out.extend(packets.into_iter().map(|payload| Message { topic: STATE_TOPIC, reliable: true, payload }));
        true
    }
}

impl Told {
    /// Whether only a `match.started` leads to this state: no event takes an action, a line or a scene away.
    fn begins_anew(&self, state: &MatchState) -> bool {
        let last = self.feed.last().map(|line| (line.epoch, line.seq));
        let lines_gone = last.is_some_and(|last| state.feed.front().is_none_or(|line| (line.epoch, line.seq) > last));
        self.page.match_id != state.match_id
            || lines_gone
            || (self.scene.is_some() && state.scene.is_none())
            || (!self.actions.is_empty() && state.actions.is_empty())
    }

    /// The board, with what happened beside it or without.
    fn whole(&self, history: bool) -> Value {
        let mut data = board::compact(&self.page.board);
        if let (true, Value::Object(data)) = (history, &mut data) {
            data.insert("history".to_owned(), self.history());
        }
        data
    }

    fn history(&self) -> Value {
        let mut actions = Map::new();
        for (side, action) in &self.actions {
            let action = json!({
                "turn": action.turn, "text": action.text, "reason": action.reason, "confidence": action.confidence,
                "latencyMs": action.latency_ms, "status": action.status, "ts": action.ts,
            });
            actions.insert(side.clone(), action);
        }
        let mut feed = Vec::new();
        let mut bytes = 0;
        for line in self.feed.iter().rev() {
            let mut data = feed_line(line);
            if let Value::Object(data) = &mut data {
                data.insert("ts".to_owned(), line.ts.into());
            }
            bytes += data.to_string().len();
            if bytes > HISTORY_FEED {
                break;
            }
            feed.insert(0, data);
        }
        let scene = self.scene.as_ref().and_then(|cue| cue.scene);
        let marker = self.marker.as_ref().map(|marker| json!({ "label": marker.label, "ts": marker.ts }));
        board::compact(&json!({ "actions": actions, "feed": feed, "scene": scene, "marker": marker }))
    }
}

fn feed_line(line: &FeedItem) -> Value {
    board::compact(&crate::game::wire::FeedLine {
        kind: line.kind.clone(),
        text: line.text.clone(),
        actor: line.actor.clone(),
        importance: line.importance,
    })
}

/// How long these may take at the mean rate.
fn worth(messages: &[Message]) -> Duration {
    let bytes: usize = messages.iter().map(|m| m.payload.len()).sum();
    Duration::from_micros(bytes as u64 * 1_000_000 / BYTES_PER_SECOND)
}
