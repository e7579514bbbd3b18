//! Records to put into stores.

use agentcast::store::LoggedEvent;
use agentcast::store::model::*;

pub fn tenant(id: &str) -> Tenant {
    Tenant { id: id.into(), name: format!("Tenant {id}"), created_at: 1_000 }
}

pub fn agent(id: &str, tenant: &str) -> Agent {
    Agent {
        id: id.into(),
        tenant_id: tenant.into(),
        name: "Knight".into(),
        author: "ada".into(),
        model: "m-1".into(),
        avatar: None,
        enabled: false,
        defaults: AgentDefaults { size: Some("1280x720".into()), ..AgentDefaults::default() },
        limits: AgentLimits { budget_per_month: Some(12.5), ..AgentLimits::default() },
        version: 1,
        created_at: 2_000,
        updated_at: 2_000,
    }
}

pub fn destination(id: &str, agent: &str, tenant: &str) -> Destination {
    Destination {
        id: id.into(),
        tenant_id: tenant.into(),
        agent_id: agent.into(),
        kind: DestinationKind::Rtmp,
        via: Via::Direct,
        ingest: Some("rtmps://live.example.com:1936/app".into()),
        room: None,
        enabled: true,
        key: None,
        version: 1,
        created_at: 3_000,
        updated_at: 3_000,
    }
}

pub fn sealed(destination: &str, agent: &str) -> SealedKey {
    SealedKey {
        destination_id: destination.into(),
        agent_id: agent.into(),
        host: "live.example.com:1936".into(),
        record_version: 1,
        kid: "k1".into(),
        blob: vec![0, 1, 2, 255, 0],
        fingerprint: "a1b2c3".into(),
        set_at: 4_000,
        last_used_at: None,
    }
}

pub fn match_(id: &str, tenant: &str) -> Match {
    Match {
        id: id.into(),
        tenant_id: tenant.into(),
        reference: "qf2".into(),
        title: "Quarter final".into(),
        sides: [("white".to_owned(), "agt_1".to_owned())].into(),
        phase: MatchPhase::Waiting,
        created_at: 5_000,
        started_at: None,
        ended_at: None,
    }
}

pub fn session(id: &str, match_id: &str, tenant: &str) -> Session {
    Session {
        id: id.into(),
        tenant_id: tenant.into(),
        match_id: match_id.into(),
        scope: Scope::Feed,
        view: "side:white".into(),
        created_by: None,
        created_at: 6_000,
        expires_at: 7_000,
        revoked_at: None,
    }
}

pub fn stream(id: &str, agent: &str, tenant: &str) -> StreamRecord {
    StreamRecord {
        id: id.into(),
        tenant_id: tenant.into(),
        agent_id: agent.into(),
        match_id: "mat_1".into(),
        wanted: true,
        created_at: 8_000,
        ended_at: None,
        reason: None,
    }
}

pub fn api_key(id: &str, tenant: Option<&str>) -> ApiKey {
    ApiKey {
        id: id.into(),
        tenant_id: tenant.map(Into::into),
        role: ApiRole::Game,
        name: "server 1".into(),
        created_at: 9_000,
        last_used_at: None,
        revoked_at: None,
    }
}

pub fn audit(tenant: &str, action: &str, at: Millis) -> AuditEntry {
    AuditEntry {
        id: String::new(),
        at,
        tenant_id: Some(tenant.into()),
        actor: "key_1".into(),
        action: action.into(),
        subject: "agt_1".into(),
        details: serde_json::json!({ "on": true }),
        from: Some("192.0.2.1".into()),
    }
}

pub fn event(seq: u64) -> LoggedEvent {
    LoggedEvent { epoch: 1, seq, json: format!(r#"{{"type":"clock","seq":{seq}}}"#) }
}
