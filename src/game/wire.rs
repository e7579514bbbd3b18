//! The wire format, version 1: one JSON object an event. This page is the reference for game servers.
//!
//! # The envelope
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":42,"ts":1790000000000,"type":"feed","vis":"public",
//!  "data":{"kind":"event","text":"Knight takes d5","actor":"white"}}
//! ```
//!
//! | field | |
//! |---|---|
//! | `v` | version of the format: 1 |
//! | `match` | id of the match, 1 to 64 characters |
//! | `epoch` | which run of the game server: raise it after a restart that forgot `seq`. Any number from 0 |
//! | `seq` | number of the event within the epoch. The next event has the next number; gaps mean loss |
//! | `ts` | when it happened, Unix milliseconds by the sender's clock |
//! | `type` | one of the types below. Others are counted and ignored, so a newer sender does no harm |
//! | `vis` | who may see what the event carries: `"public"` or a list of side ids, for example `["white"]` |
//! | `data` | an object, see below. Fields nobody knows are ignored, missing ones have defaults |
//!
//! `vis` counts for `agent.thinking`, `action.decided`, `feed` and `marker`. Without it a thought or an action is seen by
//! its own side only and a feed line or a marker by nobody: **say `"public"` for what the audience should see**. All other
//! events change the board, which everybody sees but for the zones, cards and cells that carry a `vis` of their own; on
//! them `vis` may be missing or `"public"` (both mean the same and reveal nothing), and a list is refused.
//!
//! An event is at most [`limits::EVENT_BYTES`](super::limits::EVENT_BYTES) long; the other bounds are in
//! [`limits`](super::limits). An event that breaks a bound or names a side that is not there is refused whole, and the
//! error names the field. What order is expected, and what happens when events are late or lost: [`super::Reducer`].
//!
//! # The types
//!
//! **`match.started`** resets everything and carries the first board, a [`Snapshot`]: 1 to 8 sides, zones, phase.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":1,"ts":1790000000000,"type":"match.started","data":{
//!   "title":"Agent Open 2026","round":"Quarter-final 2","game":{"id":"tictactoe","name":"Tic-tac-toe"},
//!   "sides":{"x":{"seat":0,"name":"Crossfire","agent":"claude-opus-4.1","clock":{"ms":60000}},
//!            "o":{"seat":1,"name":"Big Circle","agent":"gpt-5","clock":{"ms":60000}}},
//!   "phase":{"turn":1,"active":["x"]},
//!   "zones":{"board":{"kind":"grid","cols":3,"rows":3,"cells":[{"x":1,"y":1,"label":"X","side":"x"}]},
//!            "hand":{"kind":"cards","owner":"o","items":[{"id":"c1","face":{"rank":"A","suit":"spades"}}]},
//!            "notes":{"kind":"text","text":"Best of three","vis":"public"},
//!            "cover":{"kind":"picture","picture":"cover-1"}}}}
//! ```
//!
//! **`state.snapshot`** carries a whole board too, but thoughts, actions and the feed go on. Send one every few seconds:
//! after a loss the picture goes on from there.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":2,"ts":1790000001000,"type":"state.snapshot","data":{
//!   "sides":{"x":{"seat":0,"name":"Crossfire"},"o":{"seat":1,"name":"Big Circle"}},
//!   "zones":{"board":{"kind":"grid","cols":3,"rows":3}}}}
//! ```
//!
//! **`state.patch`** changes the board by a merge patch (RFC 7396): objects merge, `null` deletes, lists are replaced
//! whole. What comes out must be a valid board. A clock or an eval that is changed without its `asOf` is first brought to
//! `ts`, so `{"running":false}` stops a clock at what it shows.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":3,"ts":1790000002000,"type":"state.patch","data":{
//!   "sides":{"x":{"score":1,"clock":{"running":false}}},
//!   "zones":{"board":{"cells":[{"x":0,"y":0,"label":"O","side":"o"}]},"hand":null}}}
//! ```
//!
//! **`turn.started`** sets the turn, who is to act, the deadline (none when missing) and the clocks given. `name` is the
//! phase's name; without it the old one stays. Sides that were thinking stop; timeouts and errors stay to be seen until
//! that side thinks or acts again.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":4,"ts":1790000003000,"type":"turn.started","data":{
//!   "turn":2,"name":"Middle game","active":["o"],"deadline":1790000033000,
//!   "clocks":{"x":{"ms":58000},"o":{"ms":60000,"running":true}}}}
//! ```
//!
//! **`agent.thinking`** appends `delta` to a side's thought; a new `thoughtId` starts a new thought, `final` ends one.
//! All deltas of a thought have the same `vis`.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":5,"ts":1790000004000,"type":"agent.thinking","vis":"public","data":{
//!   "side":"o","thoughtId":"t17","delta":"The corner is free, ","final":false}}
//! ```
//!
//! **`action.decided`**: what a side does. `status` is `ok`, `timeout`, `invalid` or `error`.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":6,"ts":1790000005000,"type":"action.decided","vis":"public","data":{
//!   "side":"o","text":"a3","reason":"Takes the corner","confidence":0.8,"latencyMs":1912,"status":"ok"}}
//! ```
//!
//! **`feed`**: a line for the ticker. `kind` is `move`, `chat`, `event` or `system`, `importance` 0 to 100.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":7,"ts":1790000006000,"type":"feed","vis":"public","data":{
//!   "kind":"move","text":"O takes the corner","actor":"o","importance":40}}
//! ```
//!
//! **`eval`**: win chances, 0 to 1 a side; replaces the last one.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":8,"ts":1790000007000,"type":"eval","data":{
//!   "shares":{"x":0.4,"o":0.6},"text":"+0.3"}}
//! ```
//!
//! **`series`**: the games of a series so far; `null` among the winners is a draw. Replaces the last one.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":9,"ts":1790000008000,"type":"series","data":{
//!   "bestOf":5,"game":3,"winners":["x",null]}}
//! ```
//!
//! **`scene.set`** asks for a scene (`starting`, `live`, `over`); `null` goes back to choosing by itself.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":10,"ts":1790000009000,"type":"scene.set","data":{"scene":"live"}}
//! ```
//!
//! **`marker`** marks a moment for clips and chapters.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":11,"ts":1790000010000,"type":"marker","vis":"public","data":{
//!   "label":"Queen trap"}}
//! ```
//!
//! **`match.ended`** sets the result, marks the winners, stops the clocks and ends turn and deadline. Nothing hidden is
//! revealed by it: send a patch that does.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":12,"ts":1790000011000,"type":"match.ended","data":{
//!   "winners":["o"],"reason":"three in a row","sides":{"x":{"score":0},"o":{"score":1}}}}
//! ```

use super::limits::EVENT_BYTES;
use super::path::{Path, ReadError, clip, read};
use super::state::*;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The only version so far.
pub const VERSION: u32 = 1;

/// One event of a match.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub v: u32,
    /// `match` on the wire.
    pub match_id: String,
    pub epoch: u64,
    pub seq: u64,
    /// Unix ms.
    pub ts: i64,
    /// Who may see what a thought, action, feed line or marker carries; see [`Visibility`] for what missing means. On
    /// other events only None and [`Visibility::Public`] are valid.
    pub vis: Option<Visibility>,
    pub body: Body,
}

/// `type` and `data` of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `match.started`: resets the match and carries its first snapshot.
    MatchStarted(Box<Snapshot>),
    /// `match.ended`.
    MatchEnded(MatchResult),
    /// `state.snapshot`.
    StateSnapshot(Box<Snapshot>),
    /// `state.patch`: RFC 7396 merge patch on the snapshot's JSON.
    StatePatch(Value),
    /// `turn.started`.
    TurnStarted(TurnStarted),
    /// `agent.thinking`.
    AgentThinking(AgentThinking),
    /// `action.decided`.
    ActionDecided(ActionDecided),
    /// `feed`.
    Feed(FeedLine),
    /// `eval`.
    Eval(Eval),
    /// `series`.
    Series(Series),
    /// `scene.set`.
    SceneSet(SceneSet),
    /// `marker`.
    Marker(MarkerSet),
    /// Any other `type`: counted and ignored.
    Unknown(String),
}

impl Body {
    /// `type` on the wire.
    pub fn kind(&self) -> &str {
        match self {
            Body::MatchStarted(_) => "match.started",
            Body::MatchEnded(_) => "match.ended",
            Body::StateSnapshot(_) => "state.snapshot",
            Body::StatePatch(_) => "state.patch",
            Body::TurnStarted(_) => "turn.started",
            Body::AgentThinking(_) => "agent.thinking",
            Body::ActionDecided(_) => "action.decided",
            Body::Feed(_) => "feed",
            Body::Eval(_) => "eval",
            Body::Series(_) => "series",
            Body::SceneSet(_) => "scene.set",
            Body::Marker(_) => "marker",
            Body::Unknown(kind) => kind,
        }
    }
}

/// Why a text is not an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WireError {
    #[error("event has {bytes} bytes, the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// Not JSON; says at which line and column.
    #[error("not JSON: {0}")]
    Syntax(String),
    #[error("v: {found} is not supported, expected {VERSION}")]
    Version { found: u64 },
    #[error("{field}: {problem}")]
    Field {
        /// `data.sides.white.seat`; `event` for the object itself.
        field: String,
        problem: String,
    },
}

impl From<ReadError> for WireError {
    fn from(error: ReadError) -> WireError {
        let (field, problem) = error.into_parts();
        WireError::Field { field: if field.is_empty() { "event".to_owned() } else { field }, problem }
    }
}

/// The envelope without `v` (read first, as another version may look different) and `data` (read by `type`).
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "match")]
    match_id: String,
    epoch: u64,
    seq: u64,
    ts: i64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    vis: Option<Visibility>,
}

impl Event {
    /// Reads one event.
    ///
    /// Only the form is checked here; bounds and references are checked when the event is applied.
    pub fn from_json(json: &str) -> Result<Event, WireError> {
        if json.len() > EVENT_BYTES {
            return Err(WireError::TooLarge { bytes: json.len(), limit: EVENT_BYTES });
        }
        let value: Value = serde_json::from_str(json).map_err(|e| WireError::Syntax(clip(&e.to_string(), 240)))?;
        Event::from_value(&value)
    }

    /// Reads one event that was parsed already, of any size: written by [`Event::to_json`] it is longer than its sender
    /// may have sent it, because defaults are written out.
    pub fn from_value(value: &Value) -> Result<Event, WireError> {
        let root = Path::Root;
        let field =
            |field: &str, problem: &str| WireError::Field { field: field.to_owned(), problem: problem.to_owned() };
        let Value::Object(fields) = value else { return Err(field("event", "expected an object")) };
        let v = fields.get("v").ok_or_else(|| field("v", &format!("missing, expected {VERSION}")))?;
        let found: u64 = read(v, &root.key("v"))?;
        if found != u64::from(VERSION) {
            return Err(WireError::Version { found });
        }
        let head: Envelope = read(value, &root)?;
        let at = root.key("data");
        let data = || match fields.get("data") {
            Some(data @ Value::Object(_)) => Ok(data),
            _ => Err(field("data", "expected an object")),
        };
        let body = match head.kind.as_str() {
            "match.started" => Body::MatchStarted(read(data()?, &at)?),
            "match.ended" => Body::MatchEnded(read(data()?, &at)?),
            "state.snapshot" => Body::StateSnapshot(read(data()?, &at)?),
            "state.patch" => Body::StatePatch(data()?.clone()),
            "turn.started" => Body::TurnStarted(read(data()?, &at)?),
            "agent.thinking" => Body::AgentThinking(read(data()?, &at)?),
            "action.decided" => Body::ActionDecided(read(data()?, &at)?),
            "feed" => Body::Feed(read(data()?, &at)?),
            "eval" => Body::Eval(read(data()?, &at)?),
            "series" => Body::Series(read(data()?, &at)?),
            "scene.set" => Body::SceneSet(read(data()?, &at)?),
            "marker" => Body::Marker(read(data()?, &at)?),
            _ => Body::Unknown(head.kind),
        };
        Ok(Event {
            v: VERSION,
            match_id: head.match_id,
            epoch: head.epoch,
            seq: head.seq,
            ts: head.ts,
            vis: head.vis,
            body,
        })
    }

    /// Writes one event, in one line. Numbers that JSON cannot express (NaN, infinity) become `null`; such an event
    /// would not be applied either.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has only string keys and writes to memory")
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Event", 8)?;
        out.serialize_field("v", &self.v)?;
        out.serialize_field("match", &self.match_id)?;
        out.serialize_field("epoch", &self.epoch)?;
        out.serialize_field("seq", &self.seq)?;
        out.serialize_field("ts", &self.ts)?;
        out.serialize_field("type", self.body.kind())?;
        match &self.vis {
            Some(vis) => out.serialize_field("vis", vis)?,
            None => out.skip_field("vis")?,
        }
        match &self.body {
            Body::MatchStarted(data) | Body::StateSnapshot(data) => out.serialize_field("data", data)?,
            Body::MatchEnded(data) => out.serialize_field("data", data)?,
            Body::StatePatch(data) => out.serialize_field("data", data)?,
            Body::TurnStarted(data) => out.serialize_field("data", data)?,
            Body::AgentThinking(data) => out.serialize_field("data", data)?,
            Body::ActionDecided(data) => out.serialize_field("data", data)?,
            Body::Feed(data) => out.serialize_field("data", data)?,
            Body::Eval(data) => out.serialize_field("data", data)?,
            Body::Series(data) => out.serialize_field("data", data)?,
            Body::SceneSet(data) => out.serialize_field("data", data)?,
            Body::Marker(data) => out.serialize_field("data", data)?,
            Body::Unknown(_) => out.serialize_field("data", &BTreeMap::<(), ()>::new())?,
        }
        out.end()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TurnStarted {
    pub turn: u32,
    pub name: Option<String>,
    pub active: BTreeSet<SideId>,
    pub deadline: Option<i64>,
    /// Clocks that changed hands with the turn.
    pub clocks: BTreeMap<SideId, Clock>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AgentThinking {
    pub side: SideId,
    /// A new id starts a new thought.
    pub thought_id: String,
    /// Text to append.
    pub delta: String,
    #[serde(rename = "final")]
    pub done: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActionDecided {
    pub side: SideId,
    pub text: String,
    pub reason: String,
    pub confidence: Option<f64>,
    pub latency_ms: Option<u64>,
    pub status: ActionStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FeedLine {
    pub kind: String,
    pub text: String,
    pub actor: Option<SideId>,
    pub importance: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SceneSet {
    pub scene: Option<Scene>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MarkerSet {
    pub label: String,
}
