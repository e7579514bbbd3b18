//! Episodes of Kaggle environments, as `env.toJSON()` or Kaggle's site writes them.
//!
//! Connect games, Hungry Geese, hold'em and hearts get their table; every other environment is shown by names, scores
//! and statuses, because its observations may hold what a spectator must not see.
//!
//! Traps of the format, each handled here or in `episode`:
//! * `steps[t].action` answers the observation of `t − 1`, and idle agents carry a default action: who acted is who was
//!   ACTIVE at `t − 1`.
//! * The reward of an agent that failed is null while its opponent's may be 0; rewards may be scores or rescaled. Who
//!   won is decided game by game.
//! * An illegal move in an OpenSpiel game is a forfeit that ends with DONE for both.
//! * `serializedGameAndState` holds all hands and may hold a pickle: it is never read.

mod cards;
mod connect;
mod episode;
mod geese;
mod generic;
mod hearts;
mod poker;

use super::{Format, Record, RecordError, Script, clip, list};
use crate::game::limits::{ID_CHARS, TEXT_CHARS, THOUGHT_CHARS};
use crate::game::wire::{ActionDecided, AgentThinking, Body, FeedLine, TurnStarted};
use crate::game::{
    ActionStatus, Fact, Game, MatchResult, Phase, Side, SideId, SideResult, SideStatus, Snapshot, Visibility,
};
use episode::{Episode, Logs, Status};
use std::collections::BTreeSet;

/// Shortest time for a move where sides take turns, ms: bots answer in microseconds, viewers do not.
pub const TURN_MS: i64 = 1_200;
/// Shortest time for a step where all sides move at once, ms.
pub const STEP_MS: i64 = 500;
/// Longest time for a move, ms: longer thinking is cut.
pub const LONGEST_MS: i64 = 8_000;
/// How long the last position stands before the result, ms.
pub const END_MS: i64 = 1_500;
/// Characters a second at which a thought is read; a move waits until its thought is read, up to [`LONGEST_MS`].
const READING_PACE: i64 = 45;
/// Names in sentences are cut here.
const NAME_IN_TEXT: usize = 60;

/// What one environment adds to what all have in common. Every method is a pure function of the episode.
trait Table {
    fn game(&self, ep: &Episode) -> Game;

    /// Whether everybody knows everything: then thoughts are public too.
    fn open(&self) -> bool;

    /// Puts the position after step `t` into a snapshot that has names, statuses and who is to move.
    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError>;

    /// The agent's action at `t` in words.
    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move;

    /// What else happened in step `t`, chance included.
    fn lines(&self, _ep: &Episode, _t: usize) -> Vec<FeedLine> {
        Vec::new()
    }

    /// Winners, draw and reason of a finished episode in which nobody failed or more than two play.
    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult;

    fn facts(&self, _ep: &Episode) -> Vec<Fact> {
        Vec::new()
    }
}

/// An action in words.
struct Move {
    text: String,
    /// What only the agent itself may see of it.
    secret: Option<String>,
}

impl Move {
    fn public(text: impl Into<String>) -> Move {
        Move { text: text.into(), secret: None }
    }
}

/// How an agent ended.
struct Final {
    reward: Option<f64>,
    failure: Option<Status>,
}

/// Reads an episode. `logs` is what `env.logs` holds: the times the agents took and what they printed.
///
/// # Errors
/// [`RecordError::Malformed`] with line and column or the JSON path. An episode that breaks off is no error if it has a
/// whole step.
pub fn read_with_logs(episode: &str, logs: Option<&str>) -> Result<Record, RecordError> {
    let mut ep = Episode::parse(episode)?;
    if let Some(logs) = logs {
        ep.logs = Logs::parse(logs)?;
    }
    let table = table(&ep);
    let id = if (1..=ID_CHARS).contains(&ep.id.chars().count()) { &ep.id } else { "kaggle" };
    let mut script = Script::new(id, 0);
    let first = ep.first();
    let start = snapshot(&ep, &*table, first, None)?;
    let phase = start.phase.clone();
    script.started(0, start);
    script.public(0, turn_started(&phase));
    table.lines(&ep, first).into_iter().for_each(|line| script.public(0, Body::Feed(line)));

    let mut at = 0;
    for t in first + 1..=ep.last() {
        let actors: Vec<usize> = (0..ep.agents()).filter(|agent| ep.acted(t, *agent)).collect();
        for agent in &actors {
            think(&mut script, &ep, &*table, t, *agent, at);
        }
        at += pace(&ep, &*table, t, &actors);
        for agent in &actors {
            decide(&mut script, &ep, &*table, t, *agent, at);
        }
        let snap = snapshot(&ep, &*table, t, None)?;
        if t < ep.last() || ep.outcome.is_none() {
            script.public(at, turn_started(&snap.phase));
        }
        script.state(at, &snap);
        table.lines(&ep, t).into_iter().for_each(|line| script.public(at, Body::Feed(line)));
    }
    match result(&ep, &*table) {
        Some(result) => {
            let last = snapshot(&ep, &*table, ep.last(), Some(&result))?;
            script.state(at + END_MS, &last);
            script.public(at + END_MS, Body::MatchEnded(result));
        }
        None => {
            let text = format!("The record breaks off after step {}", ep.last());
            let line = FeedLine { kind: "system".into(), text, actor: None, importance: 70 };
            script.public(at, Body::Feed(line));
        }
    }
    Ok(script.finish(Format::Kaggle, ep.truncated))
}

fn table(ep: &Episode) -> Box<dyn Table> {
    let known: Option<Box<dyn Table>> = match ep.name.as_str() {
        "connectx" | "open_spiel_connect_four" => connect::Connect::new(ep).map(|t| Box::new(t) as _),
        "hungry_geese" => geese::Geese::new(ep).map(|t| Box::new(t) as _),
        "open_spiel_universal_poker" => poker::Poker::new(ep).map(|t| Box::new(t) as _),
        "open_spiel_hearts" => hearts::Hearts::new(ep).map(|t| Box::new(t) as _),
        _ => None,
    };
    known.unwrap_or_else(|| Box::new(generic::Generic::new(ep)))
}

fn snapshot(ep: &Episode, table: &dyn Table, t: usize, result: Option<&MatchResult>) -> Result<Snapshot, RecordError> {
    let game = table.game(ep);
    let over = result.is_some();
    let active: BTreeSet<SideId> = (0..ep.agents())
        .filter(|agent| !over && ep.step(t, *agent).is_some_and(|step| step.status == Status::Active))
        .map(|agent| ep.side(agent))
        .collect();
    let mut snap = Snapshot {
        title: game.name.clone(),
        round: "Kaggle".into(),
        game,
        phase: Phase { turn: number(t - ep.first()), active, ..Phase::default() },
        sides: (0..ep.agents()).map(|agent| (ep.side(agent), side(ep, t, agent))).collect(),
        facts: facts(ep, table),
        ..Snapshot::default()
    };
    match table.describe(ep, t, &mut snap) {
        // An agent that failed may end the episode without a new position: the last one stands.
        Err(_) if t == ep.last() && t > ep.first() && (0..ep.agents()).any(|a| ep.failure(t, a).is_some()) => {
            table.describe(ep, t - 1, &mut snap)?;
        }
        described => described?,
    }
    for winner in result.map(|result| &result.winners[..]).unwrap_or_default() {
        if let Some(side) = snap.sides.get_mut(winner) {
            (side.status, side.status_text) = (SideStatus::Winner, String::new());
        }
    }
    Ok(snap)
}

fn side(ep: &Episode, t: usize, agent: usize) -> Side {
    let failure = ep.failure(t, agent);
    Side {
        seat: u8::try_from(agent).unwrap_or(u8::MAX),
        name: ep.team(agent),
        status: match failure {
            Some(Status::Timeout) => SideStatus::Timeout,
            Some(Status::Error) => SideStatus::Error,
            Some(_) => SideStatus::Invalid,
            None => SideStatus::Active,
        },
        status_text: failure.map_or_else(String::new, |failure| failed(failure).to_owned()),
        ..Side::default()
    }
}

fn failed(failure: Status) -> &'static str {
    match failure {
        Status::Timeout => "ran out of time",
        Status::Error => "crashed",
        _ => "made an invalid move",
    }
}

fn facts(ep: &Episode, table: &dyn Table) -> Vec<Fact> {
    let mut facts = table.facts(ep);
    // OpenSpiel episodes are configured with an hour a move: that says nothing.
    if let Some(seconds) = ep.config.get("actTimeout").and_then(serde_json::Value::as_f64).filter(|s| *s < 600.0) {
        facts.push(fact("Time for a move", format!("{seconds} s")));
    }
    facts
}

fn fact(label: &str, text: String) -> Fact {
    Fact { label: label.to_owned(), text }
}

fn turn_started(phase: &Phase) -> Body {
    Body::TurnStarted(TurnStarted {
        turn: phase.turn,
        name: (!phase.name.is_empty()).then(|| phase.name.clone()),
        active: phase.active.clone(),
        ..TurnStarted::default()
    })
}

fn private(ep: &Episode, agent: usize) -> Visibility {
    Visibility::Sides(BTreeSet::from([ep.side(agent)]))
}

/// A thought is known when the move is; it is shown while the agent is to move, as it was thought then.
fn think(script: &mut Script, ep: &Episode, table: &dyn Table, t: usize, agent: usize, at: i64) {
    let Some(thought) = ep.thought(t, agent) else { return };
    let vis = if table.open() { Visibility::Public } else { private(ep, agent) };
    let thinking = AgentThinking {
        side: ep.side(agent),
        thought_id: format!("step {t}"),
        delta: clip(thought, THOUGHT_CHARS),
        done: true,
    };
    script.push(at, Some(vis), Body::AgentThinking(thinking));
}

/// Length of step `t`, ms.
fn pace(ep: &Episode, table: &dyn Table, t: usize, actors: &[usize]) -> i64 {
    let shortest = if actors.len() > 1 { STEP_MS } else { TURN_MS };
    let taken = actors.iter().filter_map(|agent| ep.duration_ms(t, *agent)).fold(0.0, f64::max);
    let read = |agent: &usize| ep.thought(t, *agent).map_or(0, |text| text.chars().take(10_000).count() as i64);
    let reading = actors.iter().map(read).max().filter(|_| table.open()).unwrap_or_default() * 1_000 / READING_PACE;
    (taken as i64).max(reading).clamp(shortest, LONGEST_MS)
}

fn decide(script: &mut Script, ep: &Episode, table: &dyn Table, t: usize, agent: usize, at: i64) {
    let failure = ep.failure(t, agent);
    let Move { text, secret } = table.action(ep, t, agent);
    let decided = ActionDecided {
        side: ep.side(agent),
        text: clip(&text, TEXT_CHARS),
        reason: failure.map_or_else(String::new, |failure| failed(failure).to_owned()),
        confidence: None,
        latency_ms: ep.duration_ms(t, agent).map(|ms| ms.round() as u64),
        status: match failure {
            None => ActionStatus::Ok,
            Some(Status::Timeout) => ActionStatus::Timeout,
            Some(Status::Error) => ActionStatus::Error,
            Some(_) => ActionStatus::Invalid,
        },
    };
    script.public(at, Body::ActionDecided(decided));
    let line = |kind: &str, text: String, importance: u8| {
        let text = clip(&format!("{}: {text}", name(ep, agent)), TEXT_CHARS);
        Body::Feed(FeedLine { kind: kind.into(), text, actor: Some(ep.side(agent)), importance })
    };
    if let Some(secret) = secret {
        script.push(at, Some(private(ep, agent)), line("move", secret, 20));
    }
    match failure {
        Some(failure) => script.public(at, line("event", failed(failure).into(), 90)),
        // Where all move at once the board tells enough.
        None if actors_take_turns(ep, t) => script.public(at, line("move", text, 30)),
        None => {}
    }
}

fn actors_take_turns(ep: &Episode, t: usize) -> bool {
    (0..ep.agents()).filter(|agent| ep.acted(t, *agent)).count() == 1
}

/// The name as sentences have it.
fn name(ep: &Episode, agent: usize) -> String {
    clip(&ep.team(agent), NAME_IN_TEXT)
}

fn result(ep: &Episode, table: &dyn Table) -> Option<MatchResult> {
    let outcome = ep.outcome.as_ref()?;
    let last = ep.last();
    let finals: Vec<Final> = (0..)
        .zip(outcome)
        .map(|(agent, (reward, status))| Final {
            reward: *reward,
            failure: status.failed().then_some(*status).or_else(|| ep.failure(last, agent)),
        })
        .collect();
    let mut result = forfeit(ep, &finals).unwrap_or_else(|| table.result(ep, &finals));
    result.reason = clip(&result.reason, TEXT_CHARS);
    for (agent, end) in finals.iter().enumerate() {
        let reason = end.failure.map_or("", failed).to_owned();
        let entry =
            result.sides.entry(ep.side(agent)).or_insert(SideResult { score: end.reward, reason: String::new() });
        if entry.reason.is_empty() {
            entry.reason = reason;
        }
    }
    Some(result)
}

/// Between two, whoever fails loses, whatever the rewards say (the winner's may be 0).
fn forfeit(ep: &Episode, finals: &[Final]) -> Option<MatchResult> {
    let [a, b] = finals else { return None };
    let (winners, reason) = match (a.failure, b.failure) {
        (None, None) => return None,
        (Some(failure), None) => (vec![ep.side(1)], format!("{} {}", name(ep, 0), failed(failure))),
        (None, Some(failure)) => (vec![ep.side(0)], format!("{} {}", name(ep, 1), failed(failure))),
        (Some(_), Some(_)) => (Vec::new(), "both sides failed".to_owned()),
    };
    Some(MatchResult { aborted: winners.is_empty(), winners, reason, ..MatchResult::default() })
}

/// The agents for which `wins` is true as winners; all or none of them: a draw.
fn winners(ep: &Episode, wins: impl Fn(usize) -> bool) -> MatchResult {
    let winners: Vec<SideId> = (0..ep.agents()).filter(|agent| wins(*agent)).map(|agent| ep.side(agent)).collect();
    if winners.is_empty() || winners.len() == ep.agents() {
        return MatchResult { draw: true, ..MatchResult::default() };
    }
    MatchResult { winners, ..MatchResult::default() }
}

/// `Gus 8713, Grace 3407`
fn rewards(ep: &Episode, finals: &[Final]) -> String {
    let entry = |(agent, end): (usize, &Final)| Some(format!("{} {}", name(ep, agent), end.reward?));
    list(&finals.iter().enumerate().filter_map(entry).collect::<Vec<_>>())
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
