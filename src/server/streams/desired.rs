//! Who should be on air: a pure function of what the store and the matches say.
//!
//! * A stream is wanted while the flag is on, the agent's switch is on, the agent has an enabled destination, its minutes and
//!   its budget last, and a match with it runs that nobody stopped its stream of.
//! * A stream goes on with the agent's next match: what lingers on a result, or waits, has the first claim on it.
//! * A stream key carries one stream at a time, so it belongs to the agent's oldest stream. Rooms take any number. A match for
//!   which no destination is left waits for one.

use crate::config::StreamingConfig;
use crate::store::model::{Agent, AgentLimits, Destination, DestinationKind, Match, MatchPhase};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is so.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The flag `streaming`.
    pub flag: bool,
    /// Agents whose switch is on; those at least that play now or are on air. By id.
    pub agents: BTreeMap<String, Candidate>,
    /// Agents that were on air and are deleted.
    pub deleted: BTreeSet<String>,
    /// Matches that are not closed, oldest first.
    pub matches: Vec<Match>,
    /// Streams are seen without a destination, too.
    pub by_itself: bool,
}

#[derive(Clone, Debug)]
pub struct Candidate {
    pub agent: Agent,
    pub destinations: Vec<Destination>,
}

/// What an agent has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On air today (UTC), ms.
    pub today_ms: i64,
    /// Of all its outputs this calendar month (UTC), ms.
    pub month_output_ms: i64,
}

/// A stream that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    pub stream: String,
    pub agent: String,
    pub match_id: String,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Shows a match that runs.
    Playing,
    /// Shows a result; the next match is its, but not yet.
    Lingering,
    /// Takes the next match now.
    Free,
}

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Streams to go on, in order of age, then new ones in order of their matches.
    pub streams: Vec<Wanted>,
    /// Streams that must end.
    pub end: Vec<(String, Reason)>,
    /// Matches that run and are not shown, by agent and match.
    pub refused: BTreeMap<(String, String), Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// None: a new one.
    pub stream: Option<String>,
    pub agent: String,
    pub match_id: String,
    /// Ids of the destinations that it gets.
    pub destinations: Vec<String>,
}

/// Why a stream ends, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    FlagOff,
    SwitchOff,
    Deleted,
    NoDestination,
    /// Of so many minutes a day.
    Minutes(u32),
    /// The budget with its currency.
    Budget(String),
}

/// Why a match that runs is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ends(Reason),
    Stopped,
    Concurrent(u32),
    /// Its keys carry this match.
    Busy(String),
}

impl Reason {
    /// Nobody asked for the end: the ending scene says goodbye.
    pub fn is_clean(&self) -> bool {
        matches!(self, Reason::Minutes(_) | Reason::Budget(_) | Reason::FlagOff)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::FlagOff => {
                f.write_str("streaming is switched off for the whole service; an admin sets the flag `streaming`")
            }
            Reason::SwitchOff => f.write_str("the agent's streaming switch was turned off"),
            Reason::Deleted => f.write_str("the agent was deleted"),
            Reason::NoDestination => f.write_str("none of the agent's destinations is enabled; enable one or add one"),
            Reason::Minutes(minutes) => write!(
                f,
                "the agent's {minutes} minutes of today are used up; they begin anew at 00:00 UTC, or raise limits.minutesPerDay"
            ),
            Reason::Budget(budget) => write!(
                f,
                "the agent's budget of {budget} for this month is used up; it begins anew next month, or raise \
                 limits.budgetPerMonth"
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Ends(reason) => reason.fmt(f),
            Refusal::Stopped => {
                f.write_str("somebody stopped the stream of this match; start it again to have it back")
            }
            Refusal::Concurrent(n) => {
                write!(f, "the agent may be on air with {n} matches at once (limits.concurrent) and is")
            }
            Refusal::Busy(other) => write!(
                f,
                "the agent's destinations carry match {other}, and a stream key takes one stream at a time: this match \
                 follows when that one is over; where nobody feeds that one any more, end it (POST /v1/matches/{other}/end)"
            ),
        }
    }
}

/// What should be on air. `there` in order of age; `stopped`: (agent, match) of streams that somebody stopped.
pub fn desired(
    world: &World,
    there: &[There],
    stopped: &BTreeSet<(String, String)>,
    spent: impl Fn(&str) -> Spent,
    settings: &StreamingConfig,
) -> Desired {
    let mut out = Desired::default();
    let mut agents: BTreeSet<&str> = world.agents.keys().map(String::as_str).collect();
    agents.extend(there.iter().map(|t| t.agent.as_str()));
    for agent in agents {
        let mine: Vec<&There> = there.iter().filter(|t| t.agent == agent).collect();
        let candidate = world.agents.get(agent);
        let never = match candidate {
            _ if !world.flag => Some(Reason::FlagOff),
            None if world.deleted.contains(agent) => Some(Reason::Deleted),
            None => Some(Reason::SwitchOff),
            Some(c) if !world.by_itself && c.destinations.iter().all(|d| !d.enabled) => Some(Reason::NoDestination),
            Some(c) => used_up(&c.agent.limits, spent(agent), settings),
        };
        let playing = world.matches.iter().filter(|m| runs_with(m, agent));
        let (Some(candidate), None) = (candidate, &never) else {
            let reason = never.unwrap_or(Reason::SwitchOff);
            let refused = playing.map(|m| ((agent.to_owned(), m.id.clone()), Refusal::Ends(reason.clone())));
            out.refused.extend(refused);
            out.end.extend(mine.iter().map(|t| (t.stream.clone(), reason.clone())));
            continue;
        };
        one_agent(candidate, &mine, playing.collect(), stopped, world.by_itself, &mut out);
    }
    out
}

/// The streams of an agent that may stream.
fn one_agent(
    candidate: &Candidate,
    mine: &[&There],
    playing: Vec<&Match>,
    stopped: &BTreeSet<(String, String)>,
    by_itself: bool,
    out: &mut Desired,
) {
    let agent = &candidate.agent.id;
    let key = |m: &Match| (agent.clone(), m.id.clone());
    let shown = |m: &Match| mine.iter().any(|t| t.match_id == m.id && t.standing != Standing::Free);
    let mut next = Vec::new();
    for m in playing.into_iter().filter(|m| !shown(m)) {
        if stopped.contains(&key(m)) {
            out.refused.insert(key(m), Refusal::Stopped);
        } else {
            next.push(m);
        }
    }
    let mut next = next.into_iter();
    let mut count = 0;
    let mut wanted = |stream: Option<&str>, match_id: &str| {
        let usable = candidate.destinations.iter().filter(|d| d.enabled);
        let usable = usable.filter(|d| count == 0 || d.kind == DestinationKind::LivekitRoom);
        let destinations: Vec<_> = usable.map(|d| d.id.clone()).collect();
        if destinations.is_empty() && stream.is_none() && !by_itself {
            return false;
        }
        count += 1;
        let (agent, match_id) = (agent.clone(), match_id.to_owned());
        out.streams.push(Wanted { stream: stream.map(str::to_owned), agent, match_id, destinations });
        true
    };
    let mut claims = Vec::new();
    for t in mine {
        let match_id = match t.standing {
            Standing::Playing => &t.match_id,
            Standing::Lingering => {
                claims.extend(next.next());
                &t.match_id
            }
            Standing::Free => next.next().map_or(&t.match_id, |m| &m.id),
        };
        wanted(Some(&t.stream), match_id);
    }
    let first = mine.first().map(|t| t.match_id.clone());
    let mut on = mine.len();
    let mut first = first.unwrap_or_default();
    let most = candidate.agent.limits.concurrent;
    let mut refused = Vec::new();
    for m in next {
        if let Some(most) = most.filter(|most| on >= *most as usize) {
            refused.push((key(m), Refusal::Concurrent(most)));
        } else if wanted(None, &m.id) {
            on += 1;
            if first.is_empty() {
                first.clone_from(&m.id);
            }
        } else {
            refused.push((key(m), Refusal::Busy(first.clone())));
        }
    }
    out.refused.extend(refused);
    out.refused.extend(claims.into_iter().map(|m| (key(m), Refusal::Busy(first.clone()))));
}

/// The match runs and the agent plays in it.
pub fn runs_with(m: &Match, agent: &str) -> bool {
    m.phase == MatchPhase::Running && m.sides.values().any(|a| a == agent)
}

/// The limit that an agent has reached.
pub fn used_up(limits: &AgentLimits, spent: Spent, settings: &StreamingConfig) -> Option<Reason> {
    let minutes = limits.minutes_per_day.filter(|minutes| spent.today_ms >= i64::from(*minutes) * 60_000);
    let budget = limits.budget_per_month.filter(|budget| has_price(settings) && cost(spent, settings) >= *budget);
    let money = |budget: f64| format!("{budget:.2} {}", settings.currency);
    minutes.map(Reason::Minutes).or_else(|| budget.map(|budget| Reason::Budget(money(budget))))
}

/// What an agent is told from 80 % of a limit on. The same words up to the end: new words are news, and the figures are in
/// `/v1/usage`.
pub fn warning(limits: &AgentLimits, spent: Spent, settings: &StreamingConfig) -> Option<String> {
    const FROM: f64 = 0.8;
    let minutes = limits.minutes_per_day.and_then(|most| {
        let near = spent.today_ms as f64 >= FROM * f64::from(most) * 60_000.0;
        let words = || {
            format!(
                "over 80 % of the agent's {most} minutes of today are used (GET /v1/usage); at the end of them the stream \
                 ends, or raise limits.minutesPerDay"
            )
        };
        near.then(words)
    });
    let budget = limits.budget_per_month.filter(|_| has_price(settings)).and_then(|most| {
        let words = || {
            format!(
                "over 80 % of the agent's budget of {most:.2} {} for this month is used (GET /v1/usage); at the end of it \
                 the stream ends, or raise limits.budgetPerMonth",
                settings.currency
            )
        };
        (cost(spent, settings) >= FROM * most).then(words)
    });
    minutes.or(budget)
}

fn has_price(settings: &StreamingConfig) -> bool {
    settings.price_per_output_hour > 0.0
}

/// Of the month's outputs.
fn cost(spent: Spent, settings: &StreamingConfig) -> f64 {
    spent.month_output_ms as f64 / 3_600_000.0 * settings.price_per_output_hour
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
