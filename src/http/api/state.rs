//! The state of a match as watchers get it.

use crate::game::{ActionStatus, MatchState, Scene, SideId, Snapshot, View};
use crate::server::now_ms;
use crate::store::model::Millis;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Senders' clocks that are further away than this from ours are no clocks of now: a record is being played.
const SAME_TIME_MS: i64 = 600_000;

/// The state of a match as the session's view may see it. What the view may not see is not in it; hidden cards are backs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateOut {
    /// Id of the match as its events name it; empty before the first one.
    #[serde(rename = "match")]
    pub match_id: String,
    /// Newest event that the state includes.
    pub epoch: u64,
    pub seq: u64,
    /// When that happened, Unix ms by the sender's clock.
    pub ts: Millis,
    /// The same moment by the service's clock, as well as it knows. A clock that runs shows
    /// `ms − (now − at + ts − asOf)` at the service's time `now`.
    pub at: Millis,
    /// Whether `match.started` or a snapshot has come.
    pub started: bool,
    /// What a `state.snapshot` carries: title, round, game, phase, sides, zones, eval, series, result.
    #[schema(value_type = Object)]
    pub board: Snapshot,
    /// The newest thought of each side.
    pub thoughts: BTreeMap<SideId, ThoughtOut>,
    /// The newest action of each side.
    pub actions: BTreeMap<SideId, ActionOut>,
    /// Newest last, at most 64 lines.
    pub feed: Vec<FeedOut>,
    /// The scene that `scene.set` asked for: `starting`, `live` or `over`.
    #[schema(value_type = Option<String>)]
    pub scene: Option<Scene>,
    /// The newest marker.
    pub marker: Option<MarkerOut>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThoughtOut {
    pub id: String,
    pub text: String,
    pub done: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionOut {
    pub turn: u32,
    pub text: String,
    pub reason: String,
    /// 0 to 1.
    pub confidence: Option<f64>,
    pub latency_ms: Option<u64>,
    /// `ok`, `timeout`, `invalid` or `error`.
    #[schema(value_type = String)]
    pub status: ActionStatus,
    pub ts: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeedOut {
    /// `epoch-seq` of the event it came with.
    pub id: String,
    pub ts: Millis,
    /// `move`, `chat`, `event`, `system`.
    pub kind: String,
    pub text: String,
    /// The side that did it.
    pub actor: Option<String>,
    /// 0 to 100.
    pub importance: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkerOut {
    pub label: String,
    pub ts: Millis,
}

/// The state as `view` may see it. `at`: when the service got it; None: it was there before anybody watched.
pub(super) fn filtered(state: &MatchState, view: &View, at: Option<Millis>) -> StateOut {
    let seen = view.filter(state);
    let now = now_ms();
    let at = at.unwrap_or(if (now - seen.ts).abs() < SAME_TIME_MS { seen.ts } else { now });
    StateOut {
        match_id: seen.match_id,
        epoch: seen.epoch,
        seq: seen.seq,
        ts: seen.ts,
        at,
        started: seen.started,
        board: seen.board,
        thoughts: (seen.thoughts.into_iter())
            .map(|(side, t)| (side, ThoughtOut { id: t.id, text: t.text, done: t.done }))
            .collect(),
        actions: (seen.actions.into_iter())
            .map(|(side, a)| {
                let (turn, text, reason) = (a.turn, a.text, a.reason);
                let (confidence, latency_ms, status, ts) = (a.confidence, a.latency_ms, a.status, a.ts);
                (side, ActionOut { turn, text, reason, confidence, latency_ms, status, ts })
            })
            .collect(),
        feed: (seen.feed.into_iter())
            .map(|line| FeedOut {
                id: format!("{}-{}", line.epoch, line.seq),
                ts: line.ts,
                kind: line.kind,
                text: line.text,
                actor: line.actor,
                importance: line.importance,
            })
            .collect(),
        scene: seen.scene.and_then(|cue| cue.scene),
        marker: seen.marker.map(|marker| MarkerOut { label: marker.label, ts: marker.ts }),
    }
}
