//! Records for the tests of this room.

use crate::store::model::*;
use std::collections::BTreeMap;

pub fn agent(id: &str) -> Agent {
    Agent {
        id: id.into(),
        tenant_id: "ten_1".into(),
        name: format!("Agent {id}"),
        author: String::new(),
        model: String::new(),
        avatar: None,
        enabled: true,
        defaults: AgentDefaults::default(),
        limits: AgentLimits::default(),
        version: 1,
        created_at: 0,
        updated_at: 0,
    }
}

/// RTMP with a key.
pub fn destination(id: &str, agent: &str) -> Destination {
    Destination {
        id: id.into(),
        tenant_id: "ten_1".into(),
        agent_id: agent.into(),
        kind: DestinationKind::Rtmp,
        via: Via::Direct,
        ingest: Some("rtmp://127.0.0.1:1935/live".into()),
        room: None,
        enabled: true,
        key: Some(KeyInfo { fingerprint: "010203".into(), set_at: 1, last_used_at: None }),
        version: 1,
        created_at: 0,
        updated_at: 0,
    }
}

pub fn room(id: &str, agent: &str) -> Destination {
    let rtmp = destination(id, agent);
    Destination { kind: DestinationKind::LivekitRoom, ingest: None, room: Some("arena".into()), key: None, ..rtmp }
}

/// A match whose sides `0`, `1`, … are these agents.
pub fn match_(id: &str, agents: &[&str], phase: MatchPhase) -> Match {
    let sides: BTreeMap<_, _> = agents.iter().enumerate().map(|(n, a)| (n.to_string(), (*a).to_owned())).collect();
    let ended = matches!(phase, MatchPhase::Over | MatchPhase::Closed);
    Match {
        id: id.into(),
        tenant_id: "ten_1".into(),
        reference: id.into(),
        title: format!("Match {id}"),
        sides,
        phase,
        created_at: 0,
        started_at: Some(0),
        ended_at: ended.then_some(0),
    }
}
