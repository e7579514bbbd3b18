//! The wire format, version 1: one JSON object an event.
//!
//! ```json
//! {"v":1,"match":"qf2","epoch":1,"seq":42,"ts":1790000000000,"type":"action.decided","vis":"public",
//!  "data":{"side":"white","text":"Nd5","latencyMs":812,"status":"ok"}}
//! ```

use super::state::*;
use serde::{Deserialize, Serialize};
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
    /// Who may see what the event carries; see [`Visibility`] for what missing means.
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
