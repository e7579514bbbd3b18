//! A Kaggle episode as its `toJSON` has it, whole or broken off.

use crate::game::adapters::{RecordError, clip, json_error, malformed};
use crate::game::limits::{NAME_CHARS, SIDES};
use serde_json::Value;

/// An episode.
///
/// `steps[t][agent]`: the action was chosen on the observation at `t − 1`, the status and the observation are those
/// after it.
#[derive(Debug)]
pub(super) struct Episode {
    pub id: String,
    /// `connectx`, `open_spiel_hearts`
    pub name: String,
    pub title: String,
    pub config: Value,
    pub info: Value,
    pub steps: Vec<Vec<Step>>,
    /// Final rewards and statuses; `None` when the record breaks off before them.
    pub outcome: Option<Vec<(Option<f64>, Status)>>,
    /// What the agents printed, if the file with it was given.
    pub logs: Logs,
    pub truncated: Option<String>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub action: Value,
    /// Null for an agent that failed, and between the moves of OpenSpiel games.
    pub reward: Option<f64>,
    pub info: Value,
    pub obs: Value,
    pub status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Active,
    Inactive,
    Done,
    Timeout,
    Error,
    Invalid,
}

impl Status {
    fn parse(word: &str) -> Option<Status> {
        Some(match word {
            "ACTIVE" => Status::Active,
            "INACTIVE" => Status::Inactive,
            "DONE" => Status::Done,
            "TIMEOUT" => Status::Timeout,
            "ERROR" => Status::Error,
            "INVALID" => Status::Invalid,
            _ => return None,
        })
    }

    pub fn failed(self) -> bool {
        matches!(self, Status::Timeout | Status::Error | Status::Invalid)
    }
}

/// What an agent did in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    pub duration_ms: Option<f64>,
    pub stdout: String,
}

#[derive(Debug, Default)]
pub(super) struct Logs {
    rows: Vec<Vec<Log>>,
    /// Row of step `t` is `t + offset`.
    offset: usize,
}

impl Logs {
    /// Parses `env.logs`: `[t][agent]{duration, stdout, stderr}` with `{}` and `[]` where nobody acted.
    pub fn parse(text: &str) -> Result<Logs, RecordError> {
        let value: Value = serde_json::from_str(text).map_err(|error| json_error(&error, 1))?;
        let Value::Array(rows) = value else { return Err(malformed("logs", "expected a list of steps")) };
        let entry = |log: &Value| Log {
            duration_ms: log.get("duration").and_then(Value::as_f64).map(|seconds| seconds * 1_000.0),
            stdout: log.get("stdout").and_then(Value::as_str).unwrap_or_default().trim().to_owned(),
        };
        let rows: Vec<Vec<Log>> =
            rows.iter().map(|row| row.as_array().into_iter().flatten().map(entry).collect()).collect();
        // Nobody acts at step 0, so its row is empty; the runner puts one more empty row before it.
        let empty = rows.iter().take_while(|row| row.is_empty()).count();
        Ok(Logs { rows, offset: empty.saturating_sub(1) })
    }

    pub fn get(&self, t: usize, agent: usize) -> Option<&Log> {
        self.rows.get(t + self.offset)?.get(agent)
    }
}

impl Episode {
    pub fn parse(text: &str) -> Result<Episode, RecordError> {
        let (root, truncated) = match serde_json::from_str::<Value>(text) {
            Ok(root) => (root, None),
            Err(error) if error.is_eof() => {
                let root = repair(text).and_then(|whole| serde_json::from_str(&whole).ok());
                let root = root.ok_or_else(|| json_error(&error, 1))?;
                (root, Some(format!("the file breaks off at line {} column {}", error.line(), error.column())))
            }
            Err(error) => return Err(json_error(&error, 1)),
        };
        let Value::Object(mut root) = root else { return Err(malformed("$", "expected an object")) };
        let text = |key: &str| root.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, name, title) = (text("id"), text("name"), text("title"));
        let raw = match root.remove("steps") {
            Some(Value::Array(steps)) => steps,
            Some(_) => return Err(malformed("steps", "expected a list")),
            None if truncated.is_some() => return Err(malformed("steps", "the file breaks off before the first step")),
            None => return Err(malformed("steps", "missing")),
        };
        let mut steps: Vec<Vec<Step>> = Vec::with_capacity(raw.len());
        for (t, row) in raw.into_iter().enumerate() {
            steps.push(parse_row(t, row, steps.first().map(Vec::len))?);
        }
        let Some(agents) = steps.first().map(Vec::len) else {
            let problem = if truncated.is_some() { "the file breaks off in the first step" } else { "no step" };
            return Err(malformed("steps", problem));
        };
        let outcome = match (root.get("rewards"), root.get("statuses")) {
            (Some(rewards), Some(statuses)) => Some(parse_outcome(rewards, statuses, agents)?),
            _ if truncated.is_some() => None,
            _ => return Err(malformed("rewards", "rewards and statuses are missing")),
        };
        let outcome =
            outcome.filter(|sides| !sides.iter().any(|(_, s)| matches!(s, Status::Active | Status::Inactive)));
        let last = steps.len() - 1;
        let truncated = match (&outcome, truncated) {
            (None, Some(why)) => Some(format!("{why}, the last whole step is {last}")),
            (None, None) => Some(format!("ends at step {last} with the game still on")),
            (Some(_), why) => why,
        };
        Ok(Episode {
            id,
            name,
            title,
            config: root.remove("configuration").unwrap_or_default(),
            info: root.remove("info").unwrap_or_default(),
            steps,
            outcome,
            logs: Logs::default(),
            truncated,
        })
    }

    pub fn agents(&self) -> usize {
        self.steps.first().map_or(0, Vec::len)
    }

    pub fn last(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }

    pub fn open_spiel(&self) -> bool {
        self.name.starts_with("open_spiel_")
    }

    /// The first step with a position. An OpenSpiel episode opens with a step that only sets up: all are ACTIVE in it
    /// and nobody acts on it.
    pub fn first(&self) -> usize {
        usize::from(self.open_spiel() && self.steps.len() > 1)
    }

    pub fn step(&self, t: usize, agent: usize) -> Option<&Step> {
        self.steps.get(t)?.get(agent)
    }

    /// A field that all agents share; it is recorded with agent 0 only.
    pub fn shared(&self, t: usize, key: &str) -> Option<&Value> {
        self.step(t, 0)?.obs.get(key)
    }

    pub fn obs_text(&self, t: usize, agent: usize) -> &str {
        self.step(t, agent).and_then(|s| s.obs.get("observationString")).and_then(Value::as_str).unwrap_or_default()
    }

    /// A whole number of the configuration, or of the OpenSpiel game's parameters.
    pub fn setting(&self, key: &str) -> Option<u64> {
        self.parameter(key).and_then(Value::as_u64)
    }

    pub fn parameter(&self, key: &str) -> Option<&Value> {
        self.config.get("openSpielGameParameters").and_then(|p| p.get(key)).or_else(|| self.config.get(key))
    }

    /// Whether the agent's action at `t` is one: who was ACTIVE before it acted. Everybody else carries a default.
    pub fn acted(&self, t: usize, agent: usize) -> bool {
        let before = t.checked_sub(1).filter(|before| *before >= self.first()).and_then(|b| self.step(b, agent));
        let (Some(before), Some(now)) = (before, self.step(t, agent)) else { return false };
        if before.status != Status::Active {
            return false;
        }
        // In OpenSpiel games −1 means "not my turn".
        let passed = self.open_spiel() && now.action.get("submission").and_then(Value::as_i64) == Some(-1);
        !passed || now.status.failed() || self.submitted(t, agent).is_some()
    }

    fn submitted(&self, t: usize, agent: usize) -> Option<&Value> {
        self.step(t, agent)?.info.get("actionSubmitted").filter(|action| !action.is_null())
    }

    /// Whether an OpenSpiel game refused the agent's move. The episode ends with it, and with DONE for everybody.
    pub fn illegal(&self, t: usize, agent: usize) -> bool {
        let applied = self.step(t, agent).and_then(|s| s.info.get("actionApplied"));
        self.acted(t, agent) && self.submitted(t, agent).is_some() && applied.is_none_or(Value::is_null)
    }

    /// How the agent has failed as of `t`, if it has: a TIMEOUT in the middle may end as DONE.
    pub fn failure(&self, t: usize, agent: usize) -> Option<Status> {
        let mut at = t.min(self.last());
        loop {
            let step = self.step(at, agent)?;
            if self.illegal(at, agent) {
                return Some(Status::Invalid);
            }
            match step.status {
                Status::Done => at = at.checked_sub(1)?,
                status => return status.failed().then_some(status),
            }
        }
    }

    pub fn side(&self, agent: usize) -> String {
        format!("agent{}", agent + 1)
    }

    /// The team's name. Only the runner knows it, and not every runner says it.
    pub fn team(&self, agent: usize) -> String {
        let team = self.info.get("TeamNames").and_then(|names| names.get(agent)).and_then(Value::as_str);
        let entry = self.info.get("Agents").and_then(|agents| agents.get(agent));
        let name = team.or_else(|| entry?.get("Name")?.as_str()).map(str::trim).filter(|name| !name.is_empty());
        name.map_or_else(|| format!("Agent {}", agent + 1), |name| clip(name, NAME_CHARS))
    }

    /// Time the agent took for its action at `t`, ms.
    pub fn duration_ms(&self, t: usize, agent: usize) -> Option<f64> {
        let log = self.logs.get(t, agent).and_then(|log| log.duration_ms);
        let seconds = || self.step(t, agent)?.info.get("timeTaken")?.as_f64();
        let listed = || self.info.get("moveDurations")?.get(t.checked_sub(self.first() + 1)?)?.as_f64();
        let ms = log.or_else(|| seconds().or_else(listed).map(|seconds| seconds * 1_000.0))?;
        (ms.is_finite() && ms >= 0.0).then_some(ms)
    }

    /// What the agent says it thought before its action at `t`.
    pub fn thought(&self, t: usize, agent: usize) -> Option<&str> {
        let own = self.step(t, agent)?.action.get("thoughts").and_then(Value::as_str);
        let printed = || self.logs.get(t, agent).map(|log| log.stdout.as_str());
        own.or_else(printed).map(str::trim).filter(|text| !text.is_empty())
    }
}

fn parse_row(t: usize, row: Value, agents: Option<usize>) -> Result<Vec<Step>, RecordError> {
    let Value::Array(row) = row else { return Err(malformed(format!("steps[{t}]"), "expected a list of agents")) };
    if !(1..=SIDES).contains(&row.len()) {
        return Err(malformed(format!("steps[{t}]"), format!("{} agents, 1 to {SIDES} can play", row.len())));
    }
    if let Some(agents) = agents.filter(|agents| *agents != row.len()) {
        return Err(malformed(format!("steps[{t}]"), format!("{} agents, step 0 has {agents}", row.len())));
    }
    let parse = |(agent, step): (usize, Value)| {
        let place = |key: &str| format!("steps[{t}][{agent}]{key}");
        let Value::Object(mut step) = step else { return Err(malformed(place(""), "expected an object")) };
        let status = step.get("status").and_then(Value::as_str);
        let status = status
            .and_then(Status::parse)
            .ok_or_else(|| malformed(place(".status"), "expected ACTIVE, INACTIVE, DONE, TIMEOUT, ERROR or INVALID"))?;
        let reward = match step.get("reward") {
            None | Some(Value::Null) => None,
            Some(Value::Number(reward)) => reward.as_f64(),
            Some(_) => return Err(malformed(place(".reward"), "expected a number or null")),
        };
        Ok(Step {
            action: step.remove("action").unwrap_or_default(),
            reward,
            info: step.remove("info").unwrap_or_default(),
            obs: step.remove("observation").unwrap_or_default(),
            status,
        })
    };
    row.into_iter().enumerate().map(parse).collect()
}

fn parse_outcome(rewards: &Value, statuses: &Value, agents: usize) -> Result<Vec<(Option<f64>, Status)>, RecordError> {
    let list = |value: &Value, key: &str| match value.as_array() {
        Some(list) if list.len() == agents => Ok(list.clone()),
        _ => Err(malformed(key, format!("expected a list of {agents}"))),
    };
    let (rewards, statuses) = (list(rewards, "rewards")?, list(statuses, "statuses")?);
    let pair = |(agent, (reward, status)): (usize, (&Value, &Value))| {
        let status = status.as_str().and_then(Status::parse);
        let status = status.ok_or_else(|| malformed(format!("statuses[{agent}]"), "no status of an agent"))?;
        Ok((reward.as_f64(), status))
    };
    rewards.iter().zip(&statuses).enumerate().map(pair).collect()
}

/// The text up to the last whole step (or later whole member) with the open brackets closed.
///
/// One pass over the bytes that tracks strings and brackets only; the real parser judges the result.
fn repair(text: &str) -> Option<String> {
    let mut open: Vec<u8> = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    let mut string_start = 0;
    // The newest member of the root object, and the newest string of it before its colon.
    let (mut member, mut word) = ("", "");
    let mut safe: Option<(usize, &str)> = None;
    for (i, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    word = text.get(string_start..i).unwrap_or_default();
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => (in_string, string_start) = (true, i + 1),
            b':' if open.len() == 1 => member = word,
            b',' if open.len() == 1 => safe = Some((i, "}")),
            b'{' | b'[' => open.push(byte),
            b'}' | b']' => {
                open.pop()?;
                if member == "steps" && open == *b"{[" {
                    safe = Some((i + 1, "]}"));
                }
            }
            _ => {}
        }
    }
    let (end, closing) = safe?;
    Some(format!("{}{closing}", text.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_of_cut_file_keeps_whole_steps() {
        let text = r#"{"name":"a, [b","steps":[[{"x":"]}\""}],[{"x":2}],[{"x":"#;
        assert_eq!(repair(text).as_deref(), Some(r#"{"name":"a, [b","steps":[[{"x":"]}\""}],[{"x":2}]]}"#));
        let text = r#"{"steps":[[1],[2]],"rewards":[1],"info":{"Team"#;
        assert_eq!(repair(text).as_deref(), Some(r#"{"steps":[[1],[2]],"rewards":[1]}"#));
        assert_eq!(repair(r#"{"na"#), None);
    }

    #[test]
    fn logs_with_two_empty_rows_belong_one_step_later() {
        let logs = Logs::parse(r#"[[],[],[{"duration":0.5,"stdout":" hi\n","stderr":""},{}]]"#).unwrap();
        assert_eq!(logs.get(1, 0), Some(&Log { duration_ms: Some(500.0), stdout: "hi".into() }));
        assert_eq!(logs.get(0, 0), None);
    }
}
