//! Matches that run without being shown, told once for each change.

use super::WaitingAgent;
use super::board::{Action, Board};
use super::desired::{Reason, Refusal, World};
use crate::store::model::Match;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// By agent and match.
type Refused = BTreeMap<(String, String), Refusal>;

impl Board {
    /// Agents that play this match and are not on air with it, and why.
    pub fn waiting(&self, match_id: &str) -> Vec<WaitingAgent> {
        waiting(&self.desired.refused, match_id)
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
