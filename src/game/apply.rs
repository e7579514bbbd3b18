//! What each event does to a match.

use super::limits::{ARRIVALS, FEED, ID_CHARS, NAME_CHARS, TEXT_CHARS, THOUGHT_CHARS, TIME_MS};
use super::path::{Path, read};
use super::state::*;
use super::validate;
use super::wire::{ActionDecided, AgentThinking, Body, Event, FeedLine, TurnStarted};
use serde_json::{Map, Value};

/// Why an event was refused. The state is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Too many or too long; fields are named as in the event's JSON.
    #[error("{field} has {found}, the limit is {limit}")]
    Limit { field: String, found: usize, limit: usize },
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
}

impl ApplyError {
    pub(super) fn invalid(field: &str, problem: impl Into<String>) -> ApplyError {
        ApplyError::Invalid { field: field.to_owned(), problem: problem.into() }
    }
}

/// Applies one event whole, or refuses it and leaves the state as it was.
///
/// Says nothing about order and whose match it is: that is the [`super::Reducer`]'s. A snapshot whose `seq` does not follow the state's takes
/// unfinished thoughts away, because deltas of them may be lost.
///
/// What the events do to [`Side::status`]:
///
/// | event | |
/// |---|---|
/// | `match.started`, `state.snapshot`, `state.patch` | what they say |
/// | `turn.started` | `thinking` → `active`, for all sides: what they thought was about the last turn |
/// | `agent.thinking` | `active`, `timeout`, `invalid`, `error` → `thinking` |
/// | `action.decided` | `active`, `thinking`, `timeout`, `invalid`, `error` → `active`, or what its `status` says |
/// | `match.ended` | winners → `winner`; the others' `thinking` → `active` |
///
/// So timeouts and errors stay to be seen until that side thinks or acts again, `disconnected`, `eliminated` and
/// `winner` stay until the board says otherwise, and after the end only the board changes a status. A changed status
/// loses its [`Side::status_text`].
pub fn apply(state: &mut MatchState, event: &Event) -> Result<(), ApplyError> {
    validate::envelope(event)?;
    let root = Path::Root;
    let data = root.key("data");
    if !(state.started || matches!(event.body, Body::MatchStarted(_) | Body::StateSnapshot(_))) {
        return Err(ApplyError::invalid("type", format!("{} comes before the first board", event.body.kind())));
    }
    match &event.body {
        Body::MatchStarted(board) => {
            let board = checked_board(Snapshot::clone(board), event.ts, &data)?;
            *state = MatchState { started: true, board, ..MatchState::default() };
        }
        Body::StateSnapshot(board) => {
            let board = checked_board(Snapshot::clone(board), event.ts, &data)?;
            let follows = state.epoch == event.epoch && state.seq.checked_add(1) == Some(event.seq);
            if !follows {
                state.thoughts.retain(|_, thought| thought.done);
            }
            set_board(state, board);
            state.started = true;
        }
        Body::StatePatch(patch) => {
            let board = patched(&state.board, patch, event.ts, &data)?;
            set_board(state, board);
        }
        Body::TurnStarted(turn) => turn_started(&mut state.board, turn, event.ts, &data)?,
        Body::AgentThinking(thinking) => agent_thinking(state, thinking, event, &data)?,
        Body::ActionDecided(action) => action_decided(state, action, event, &data)?,
        Body::Feed(line) => feed(state, line, event, &data)?,
        Body::Eval(eval) => {
            validate::eval(eval, &state.board.sides, &data)?;
            let mut eval = eval.clone();
            default_time(&mut eval.as_of, event.ts);
            state.board.eval = Some(eval);
        }
        Body::Series(series) => {
            validate::series(series, &state.board.sides, &data)?;
            state.board.series = Some(series.clone());
        }
        Body::MatchEnded(result) => {
            validate::result(result, &state.board.sides, &data)?;
            match_ended(&mut state.board, result, event.ts);
        }
        Body::SceneSet(cue) => state.scene = Some(SceneCue { scene: cue.scene, ts: event.ts }),
        Body::Marker(marker) => {
            validate::text(&marker.label, TEXT_CHARS, &data.key("label"))?;
            validate::visibility(&event.vis, &state.board.sides, &root.key("vis"))?;
            state.marker = Some(Marker { label: marker.label.clone(), ts: event.ts, vis: event.vis.clone() });
        }
        Body::Unknown(_) => {}
    }
    if state.match_id != event.match_id {
        state.match_id.clone_from(&event.match_id);
    }
    state.epoch = event.epoch;
    state.seq = event.seq;
    state.ts = event.ts;
    Ok(())
}

fn default_time(time: &mut i64, ts: i64) {
    if *time == 0 {
        *time = ts;
    }
}

/// The board with its missing times filled in, if it is a valid one.
fn checked_board(mut board: Snapshot, ts: i64, at: &Path) -> Result<Snapshot, ApplyError> {
    for clock in board.sides.values_mut().filter_map(|side| side.clock.as_mut()) {
        default_time(&mut clock.as_of, ts);
    }
    if let Some(eval) = &mut board.eval {
        default_time(&mut eval.as_of, ts);
    }
    validate::board(&board, at)?;
    Ok(board)
}

/// Sets a new board and forgets what belongs to sides that left.
fn set_board(state: &mut MatchState, board: Snapshot) {
    state.board = board;
    let sides = &state.board.sides;
    state.thoughts.retain(|side, _| sides.contains_key(side));
    state.actions.retain(|side, _| sides.contains_key(side));
    for item in &mut state.feed {
        item.actor.take_if(|actor| !sides.contains_key(actor));
    }
}

/// The board after a merge patch, if that is a valid one.
fn patched(board: &Snapshot, patch: &Value, ts: i64, at: &Path) -> Result<Snapshot, ApplyError> {
    let mut now = board.clone();
    let part = |path: &[&str]| path.iter().try_fold(patch, |value, key| value.get(key));
    let untimed = |part: Option<&Value>| part.is_some_and(|p| p.is_object() && p.get("asOf").is_none());
    for (name, side) in &mut now.sides {
        if let Some(clock) = &mut side.clock
            && untimed(part(&["sides", name, "clock"]))
        {
            bring_to(clock, ts);
        }
    }
    if let Some(eval) = &mut now.eval
        && untimed(part(&["eval"]))
    {
        eval.as_of = ts;
    }
    let mut json = serde_json::to_value(&now).map_err(|e| ApplyError::invalid("data", e.to_string()))?;
    merge(&mut json, patch);
    let mut next: Snapshot = read(&json, at).map_err(|e| {
        let (field, problem) = e.into_parts();
        ApplyError::Invalid { field, problem }
    })?;
    // Only what the patch brought: a time of 0 that was there before is meant.
    for (name, side) in &mut next.sides {
        if let Some(clock) = &mut side.clock
            && part(&["sides", name, "clock"]).is_some()
        {
            default_time(&mut clock.as_of, ts);
        }
    }
    if let Some(eval) = &mut next.eval
        && part(&["eval"]).is_some()
    {
        default_time(&mut eval.as_of, ts);
    }
    validate::board(&next, at)?;
    Ok(next)
}

/// RFC 7396, section 2. As deep as the patch, which is bounded.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Makes a clock true at `ts`.
fn bring_to(clock: &mut Clock, ts: i64) {
    if clock.running && !clock.paused {
        let passed = ts.saturating_sub(clock.as_of).max(0);
        clock.ms = match clock.up {
            true => clock.ms.saturating_add(passed).min(TIME_MS),
            // Down to nothing; overtime that the sender wrote as negative stays.
            false => clock.ms.saturating_sub(passed).max(clock.ms.min(0)),
        };
    }
    clock.as_of = ts;
}

fn set_status(side: &mut Side, status: SideStatus) {
    if side.status != status {
        side.status = status;
        side.status_text.clear();
    }
}

fn turn_started(board: &mut Snapshot, turn: &TurnStarted, ts: i64, at: &Path) -> Result<(), ApplyError> {
    let phase = Phase {
        turn: turn.turn,
        turn_label: board.phase.turn_label.clone(),
        name: turn.name.clone().unwrap_or_else(|| board.phase.name.clone()),
        active: turn.active.clone(),
        deadline: turn.deadline,
        cycle: board.phase.cycle.clone(),
    };
    validate::phase(&phase, &board.sides, at)?;
    let clocks = at.key("clocks");
    for (name, clock) in &turn.clocks {
        let at = clocks.key(name);
        validate::side(name, &board.sides, &at)?;
        validate::clock(clock, &at)?;
    }
    board.phase = phase;
    for (name, side) in &mut board.sides {
        if side.status == SideStatus::Thinking {
            set_status(side, SideStatus::Active);
        }
        if let Some(clock) = turn.clocks.get(name) {
            let mut clock = clock.clone();
            default_time(&mut clock.as_of, ts);
            side.clock = Some(clock);
        }
    }
    Ok(())
}

/// The side of a thought or action, if events may still change its status.
fn acting_side<'a>(board: &'a mut Snapshot, name: &str) -> Option<&'a mut Side> {
    use SideStatus::*;
    if board.result.is_some() {
        return None;
    }
    let side = board.sides.get_mut(name)?;
    matches!(side.status, Active | Thinking | Timeout | Invalid | Error).then_some(side)
}

fn agent_thinking(
    state: &mut MatchState,
    thinking: &AgentThinking,
    event: &Event,
    at: &Path,
) -> Result<(), ApplyError> {
    validate::side(&thinking.side, &state.board.sides, &at.key("side"))?;
    validate::text(&thinking.thought_id, ID_CHARS, &at.key("thoughtId"))?;
    validate::visibility(&event.vis, &state.board.sides, &Path::Root.key("vis"))?;
    // What comes after `final` is another thought, even under the same id.
    let old = state.thoughts.get_mut(&thinking.side).filter(|t| t.id == thinking.thought_id && !t.done);
    let so_far = old.as_ref().map_or(0, |t| t.text.chars().count());
    let chars = so_far.saturating_add(thinking.delta.chars().count());
    if chars > THOUGHT_CHARS {
        let field = at.key("delta").to_string();
        return Err(ApplyError::Limit { field, found: chars, limit: THOUGHT_CHARS });
    }
    if old.as_ref().is_some_and(|t| t.vis != event.vis) {
        // Text that was hidden so far must not come to light with its next words, nor the other way round.
        return Err(ApplyError::invalid("vis", "differs from the thought so far: start a new thoughtId"));
    }
    let thought = match old {
        Some(thought) => thought,
        None => {
            let fresh = Thought { id: thinking.thought_id.clone(), vis: event.vis.clone(), ..Thought::default() };
            let slot = state.thoughts.entry(thinking.side.clone()).or_default();
            *slot = fresh;
            slot
        }
    };
    if !thinking.delta.is_empty() {
        thought.text.push_str(&thinking.delta);
        let ts = thought.arrivals.last().map_or(event.ts, |(last, _)| event.ts.max(*last));
        if thought.arrivals.len() >= ARRIVALS {
            // Sums, so the second entry stands for the first as well.
            thought.arrivals.remove(0);
        }
        thought.arrivals.push((ts, u32::try_from(thought.text.len()).unwrap_or(u32::MAX)));
    }
    thought.done |= thinking.done;
    if let Some(side) = acting_side(&mut state.board, &thinking.side) {
        set_status(side, SideStatus::Thinking);
    }
    Ok(())
}

fn action_decided(state: &mut MatchState, action: &ActionDecided, event: &Event, at: &Path) -> Result<(), ApplyError> {
    validate::side(&action.side, &state.board.sides, &at.key("side"))?;
    validate::text(&action.text, TEXT_CHARS, &at.key("text"))?;
    validate::text(&action.reason, TEXT_CHARS, &at.key("reason"))?;
    validate::confidence(action.confidence, &at.key("confidence"))?;
    validate::visibility(&event.vis, &state.board.sides, &Path::Root.key("vis"))?;
    state.actions.insert(
        action.side.clone(),
        Action {
            turn: state.board.phase.turn,
            text: action.text.clone(),
            reason: action.reason.clone(),
            confidence: action.confidence,
            latency_ms: action.latency_ms,
            status: action.status,
            ts: event.ts,
            vis: event.vis.clone(),
        },
    );
    if let Some(side) = acting_side(&mut state.board, &action.side) {
        let status = match action.status {
            ActionStatus::Ok => SideStatus::Active,
            ActionStatus::Timeout => SideStatus::Timeout,
            ActionStatus::Invalid => SideStatus::Invalid,
            ActionStatus::Error => SideStatus::Error,
        };
        set_status(side, status);
    }
    Ok(())
}

fn feed(state: &mut MatchState, line: &FeedLine, event: &Event, at: &Path) -> Result<(), ApplyError> {
    validate::text(&line.kind, NAME_CHARS, &at.key("kind"))?;
    validate::text(&line.text, TEXT_CHARS, &at.key("text"))?;
    if let Some(actor) = &line.actor {
        validate::side(actor, &state.board.sides, &at.key("actor"))?;
    }
    if line.importance > 100 {
        let field = at.key("importance").to_string();
        return Err(ApplyError::invalid(&field, format!("{} is not within 0 to 100", line.importance)));
    }
    validate::visibility(&event.vis, &state.board.sides, &Path::Root.key("vis"))?;
    while state.feed.len() >= FEED {
        state.feed.pop_front();
    }
    state.feed.push_back(FeedItem {
        epoch: event.epoch,
        seq: event.seq,
        ts: event.ts,
        kind: line.kind.clone(),
        text: line.text.clone(),
        actor: line.actor.clone(),
        importance: line.importance,
        vis: event.vis.clone(),
    });
    Ok(())
}

fn match_ended(board: &mut Snapshot, result: &MatchResult, ts: i64) {
    for (name, side) in &mut board.sides {
        if result.winners.contains(name) {
            set_status(side, SideStatus::Winner);
        } else if side.status == SideStatus::Thinking {
            set_status(side, SideStatus::Active);
        }
        if let Some(clock) = &mut side.clock {
            bring_to(clock, ts);
            clock.running = false;
        }
    }
    board.phase.active.clear();
    board.phase.deadline = None;
    board.result = Some(result.clone());
}
