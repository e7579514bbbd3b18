//! Matches that run without being shown, told once for each change, and to whoever asks for a stream.

use super::board::{Action, Board, Ms};
use super::desired::{Reason, Refusal, World};
use super::rows::Stream;
use super::{StreamsError, WaitingAgent};
use crate::store::model::{Match, StreamRecord};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// By agent and match.
type Refused = BTreeMap<(String, String), Refusal>;

impl Board {
    /// Agents that play this match and are not on air with it, and why.
    pub fn waiting(&self, match_id: &str) -> Vec<WaitingAgent> {
        waiting(&self.desired.refused, match_id)
    }

    /// What became of the wish for a stream, after a look: the stream, whose destinations that gave up are tried again, or why
    /// there is none. `stopped`: it was stopped before that wish, and stays so where it is refused.
    pub fn begun(&mut self, agent: &str, match_id: &str, stopped: bool, now: Ms) -> Result<StreamRecord, StreamsError> {
        let of = |s: &&Stream| s.agent.id == agent && s.record.match_id == match_id;
        let on = self.streams.values().find(|s| of(s) && !s.is_ending());
        if let Some(record) = on.map(|s| s.record.clone()) {
            self.try_again(&record.id, now);
            return Ok(record);
        }
        let why = self.desired.refused.get(&(agent.to_owned(), match_id.to_owned()));
        if why.is_none() && self.streams.values().any(|s| of(&s)) {
            // Nothing speaks against the next one.
            return Err(StreamsError::Ending);
        }
        let words = match why {
            None => "the agent's streaming switch is off; turn it on".to_owned(),
            Some(Refusal::Busy(other)) if stopped => format!(
                "the agent's destinations carry match {other}, and a stream key takes one stream at a time; this stream \
                 stays stopped: end that match or stop its stream, then start this one"
            ),
            Some(why) if stopped => format!("{why}; this stream stays stopped: start it again then"),
            Some(why) => why.to_string(),
        };
        if stopped {
            self.stopped(agent, match_id);
        }
        Err(StreamsError::Refused(words))
    }

    /// Says what is new in `refused`: in the log, and to operators' pages with all that waits of that match.
    pub(super) fn tell_waiting(&mut self, refused: &Refused, world: &World) {
        let before = &self.desired.refused;
        if before == refused {
            return;
        }
        let new = refused.iter().filter(|(key, why)| waits(why) && before.get(*key) != Some(why));
        for ((agent, match_id), why) in new {
            tracing::info!(agent, r#match = match_id, "not on air: {why}");
        }
        let keys: BTreeSet<&str> = before.keys().chain(refused.keys()).map(|(_, m)| &**m).collect();
        let changed = |m: &&Match| keys.contains(&*m.id) && waiting(before, &m.id) != waiting(refused, &m.id);
        let told = world.matches.iter().filter(changed).map(|m| Action::Tell {
            tenant: m.tenant_id.clone(),
            kind: "match",
            id: m.id.clone(),
            data: json!({ "phase": m.phase, "reference": m.reference, "waiting": waiting(refused, &m.id) }),
        });
        self.actions.extend(told);
    }
}

/// Whose switch is off, or who is gone, does not wait for anything.
fn waits(why: &Refusal) -> bool {
    !matches!(why, Refusal::Ends(Reason::SwitchOff | Reason::Deleted))
}

fn waiting(refused: &Refused, match_id: &str) -> Vec<WaitingAgent> {
    let of = refused.iter().filter(|((_, m), why)| m == match_id && waits(why));
    of.map(|((agent, _), why)| WaitingAgent { agent_id: agent.clone(), reason: why.to_string() }).collect()
}
