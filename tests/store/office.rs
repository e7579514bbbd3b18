use crate::records::*;
use crate::world::World;
use agentcast::store::model::*;
use agentcast::store::{Claim, PageRequest, Remembered, Store, StoreError};
use sqlx::Executor;
use std::collections::BTreeSet;

const ALL: PageRequest = PageRequest { after: None, limit: 200 };
const FOREVER: u64 = u64::MAX;

pub async fn a_flag_is_unknown_until_set(w: &World) {
    let s = &w.store;
    assert_eq!(s.flag("streaming").await.unwrap(), None);
    s.set_flag("streaming", true, 1).await.unwrap();
    assert_eq!(s.flag("streaming").await.unwrap(), Some(true));
    s.set_flag("streaming", false, 2).await.unwrap();
    assert_eq!(s.flag("streaming").await.unwrap(), Some(false));
}

pub async fn the_audit_is_newest_first_cannot_be_changed_and_its_ids_tell_nothing(w: &World) {
    let s = &w.store;
    let writing: Vec<_> = (0..20)
        .map(|n| {
            let store = s.clone();
            tokio::spawn(async move { store.audit(&audit("ten_1", &format!("act.{n}"), n)).await.unwrap() })
        })
        .collect();
    for one in writing {
        one.await.unwrap();
    }
    let entries = s.audit_log(Some("ten_1"), &ALL).await.unwrap().items;
    let ids: BTreeSet<&str> = entries.iter().map(|e| &*e.id).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.len() == 36 && id.starts_with("aud_")), "{ids:?}");
    // In the order of their making an id is as often greater than the one before as not: 20 in order by chance is one in 20!.
    assert!(!entries.is_sorted_by_key(|e| &e.id) && !entries.iter().rev().is_sorted_by_key(|e| &e.id), "{ids:?}");
    let newest = &entries[0];
    let given = AuditEntry { id: newest.id.clone(), ..audit("ten_1", &newest.action, newest.at) };
    assert_eq!(*newest, given);

    // Past the store, too: nobody rewrites history.
    let Some(mut raw) = w.raw().await else { return };
    let numbers: Vec<i64> = sqlx::query_scalar("SELECT id FROM audit ORDER BY id").fetch_all(&mut raw).await.unwrap();
    assert_eq!(numbers, (1..=20).collect::<Vec<i64>>(), "inside they rise without gaps");
    let mut attempts = vec!["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit WHERE id = 3", "DELETE FROM audit"];
    if w.url.as_deref().is_some_and(|url| url.starts_with("postgres")) {
        attempts.push("TRUNCATE audit");
    }
    for sql in attempts {
        let refused = raw.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{sql}: {refused}");
    }
    assert_eq!(s.audit_log(None, &ALL).await.unwrap().items, entries);
}

pub async fn entries_and_sessions_of_an_older_schema_are_read_by_the_new_one(w: &World) {
    let Some(mut raw) = w.raw().await else { return };
    w.store.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    w.store.add_session(&session("ses_1", "mat_1", "ten_1")).await.unwrap();
    for n in 0..5 {
        w.store.audit(&audit("ten_1", &format!("act.{n}"), n)).await.unwrap();
    }
    w.store.close().await;
    if w.url.as_deref().is_some_and(|url| url.starts_with("sqlite")) {
        for sql in [
            "DROP TRIGGER audit_ref",
            "DROP TRIGGER audit_no_update",
            "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END",
        ] {
            raw.execute(sql).await.unwrap();
        }
    }
    for sql in [
        "DROP INDEX sessions_of_key",
        "ALTER TABLE sessions DROP COLUMN created_by",
        "DROP INDEX audit_by_ref",
        "ALTER TABLE audit DROP COLUMN ref",
        "DELETE FROM _sqlx_migrations WHERE version >= 5",
    ] {
        raw.execute(sql).await.unwrap();
    }
    let s = Store::open(&w.place).await.unwrap();
    assert_eq!(s.session(None, "ses_1").await.unwrap(), session("ses_1", "mat_1", "ten_1"));
    s.audit(&audit("ten_1", "act.5", 5)).await.unwrap();
    // A service of the older version may still run.
    let old = "INSERT INTO audit (id, at, tenant_id, actor, action, subject, details)
        SELECT id + 1, 6, 'ten_1', 'key_1', 'act.6', 'x', '{}' FROM audit_last";
    raw.execute(old).await.unwrap();
    raw.execute("UPDATE audit_last SET id = id + 1").await.unwrap();
    let (mut actions, mut ids, mut page) = (Vec::new(), BTreeSet::new(), PageRequest { after: None, limit: 2 });
    loop {
        let found = s.audit_log(Some("ten_1"), &page).await.unwrap();
        actions.extend(found.items.iter().map(|e| e.action.clone()));
        ids.extend(found.items.into_iter().map(|e| e.id));
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(actions, ["act.6", "act.5", "act.4", "act.3", "act.2", "act.1", "act.0"]);
    assert!(ids.len() == 7 && ids.iter().all(|id| id.len() == 36 && id.starts_with("aud_")), "{ids:?}");
    assert!(raw.execute("UPDATE audit SET actor = 'nobody'").await.is_err(), "still append-only");
    s.close().await;
}

pub async fn usage_adds_up_by_day(w: &World) {
    let s = &w.store;
    for (tenant, agent, day, stream, output) in [
        ("ten_1", "agt_1", "2026-11-20", 60, 120),
        ("ten_1", "agt_1", "2026-11-21", 1, 2),
        ("ten_1", "agt_1", "2026-11-20", 30, 30),
        ("ten_2", "agt_2", "2026-11-20", 5, 5),
        ("ten_1", "agt_1", "2026-12-01", 9, 9),
    ] {
        s.add_usage(tenant, agent, day, stream, output).await.unwrap();
    }
    let day = |agent: &str, day: &str, stream_seconds, output_seconds| UsageDay {
        agent_id: agent.into(),
        day: day.into(),
        stream_seconds,
        output_seconds,
    };
    let november = s.usage(None, None, "2026-11-20", "2026-11-30").await.unwrap();
    let expected =
        [day("agt_1", "2026-11-20", 90, 150), day("agt_2", "2026-11-20", 5, 5), day("agt_1", "2026-11-21", 1, 2)];
    assert_eq!(november, expected);
    assert_eq!(s.usage(Some("ten_2"), None, "2026-11-20", "2026-12-31").await.unwrap(), expected[1..2]);
    assert_eq!(s.usage(Some("ten_1"), Some("agt_1"), "2026-11-21", "2026-11-21").await.unwrap(), expected[2..]);
    assert_eq!(s.usage(Some("ten_1"), Some("agt_2"), "2026-01-01", "2026-12-31").await.unwrap(), []);
}

pub async fn a_key_is_taken_once_until_its_call_fails(w: &World) {
    let s = &w.store;
    let (one, other) = ("ab".repeat(32), "cd".repeat(32));
    let claim = async |tenant: &str, request: &str| s.claim(tenant, "k", request, 1).await.unwrap();
    assert_eq!(claim("ten_1", &one).await, Claim::New);
    // A call that began and was not ended, as after a crash.
    assert_eq!(claim("ten_1", &other).await, Claim::CutOff { request: one.clone() });
    s.forget("ten_1", "k").await.unwrap();
    assert_eq!(claim("ten_1", &one).await, Claim::New);
    assert_eq!(claim("ten_2", &one).await, Claim::New, "tenants know nothing of each other");
    s.remember("ten_1", "k", 201, b"{\"id\":1}\0\xff").await.unwrap();
    s.remember("ten_1", "k", 409, b"").await.unwrap();
    s.forget("ten_1", "k").await.unwrap();
    let first = Remembered { request: one.clone(), status: 201, body: b"{\"id\":1}\0\xff".into() };
    assert_eq!(claim("ten_1", &other).await, Claim::Answered(first), "the first answer stays");
    assert_eq!(claim("ten_2", &one).await, Claim::CutOff { request: one });
}

pub async fn old_things_go_and_the_rest_stays(w: &World) {
    let s = &w.store;
    // 2026-11-21 12:00 UTC.
    const NOON: Millis = 1_795_262_400_000;
    for (id, closed) in [("mat_1", Some(100)), ("mat_2", Some(200)), ("mat_3", None)] {
        s.add_match(&match_(id, "ten_1")).await.unwrap();
        s.add_session(&session(&id.replace("mat", "ses"), id, "ten_1")).await.unwrap();
        s.append_events(id, (1..=5).map(event).collect()).await.unwrap();
        s.save_snapshot(id, b"snapshot", 2).await.unwrap();
        if let Some(at) = closed {
            s.set_match_phase(id, MatchPhase::Closed, at).await.unwrap();
        }
    }
    for at in [NOON - 2, NOON - 1, NOON, NOON + 1] {
        s.audit(&audit("ten_1", "a", at)).await.unwrap();
    }
    for day in ["2026-11-19", "2026-11-20", "2026-11-21"] {
        s.add_usage("ten_1", "agt_1", day, 1, 1).await.unwrap();
    }
    for (key, at) in [("old", 5), ("new", 6)] {
        s.claim("ten_1", key, "", at).await.unwrap();
        s.remember("ten_1", key, 200, b"").await.unwrap();
    }

    for (id, ended) in [("str_1", Some(NOON - 1)), ("str_2", Some(NOON)), ("str_3", None)] {
        s.put_stream(&StreamRecord { ended_at: ended, ..stream(id, "agt_1", "ten_1") }).await.unwrap();
    }

    // 3 events, a snapshot, a session; 2 entries; a stream; a match; 2 days; 1 answer.
    assert_eq!(s.prune(200, FOREVER, NOON, 6).await.unwrap(), 5 + 2 + 1 + 1 + 2 + 1);

    let kept = async |id: &str| s.load_match(id).await.unwrap().events.len();
    assert_eq!((kept("mat_2").await, kept("mat_3").await), (3, 3));
    assert!(matches!(s.load_match("mat_1").await, Err(StoreError::NotFound(_))));
    // Without its log, and closed as long ago as the oldest history.
    assert!(matches!(s.match_(None, "mat_1").await, Err(StoreError::NotFound(_))));
    assert_eq!(s.match_(None, "mat_2").await.unwrap().phase, MatchPhase::Closed);
    let streams: Vec<String> = s.streams(None, &ALL).await.unwrap().items.into_iter().map(|s| s.id).collect();
    assert_eq!(streams, ["str_3", "str_2"]);
    assert!(matches!(s.session(None, "ses_1").await, Err(StoreError::NotFound(_))));
    s.session(None, "ses_2").await.unwrap();
    let times: Vec<Millis> = s.audit_log(None, &ALL).await.unwrap().items.iter().map(|e| e.at).collect();
    assert_eq!(times, [NOON + 1, NOON]);
    let days = s.usage(None, None, "2026-01-01", "2026-12-31").await.unwrap();
    assert_eq!(days.iter().map(|d| &*d.day).collect::<Vec<_>>(), ["2026-11-21"]);
    assert_eq!(s.claim("ten_1", "old", "", 7).await.unwrap(), Claim::New);
    assert!(matches!(s.claim("ten_1", "new", "", 7).await.unwrap(), Claim::Answered(_)));
    assert_eq!(s.prune(200, FOREVER, NOON, 6).await.unwrap(), 0);
    // Numbers go on where they were, and history is closed again.
    s.prune(0, FOREVER, Millis::MAX / 1_000_000, 0).await.unwrap();
    s.prune(0, FOREVER, NOON * 2, 0).await.unwrap();
    s.audit(&audit("ten_1", "b", NOON)).await.unwrap();
    assert_eq!(s.audit_log(None, &ALL).await.unwrap().items.len(), 1);
    if let Some(mut raw) = w.raw().await {
        let number: i64 = sqlx::query_scalar("SELECT id FROM audit").fetch_one(&mut raw).await.unwrap();
        assert_eq!(number, 5);
        assert!(raw.execute("DELETE FROM audit").await.is_err());
    }
}

pub async fn the_oldest_logs_go_while_all_are_too_large(w: &World) {
    let s = &w.store;
    let big = |seq: u64| agentcast::store::LoggedEvent { json: "x".repeat(1_000), ..event(seq) };
    for (id, closed) in [("mat_1", Some(300)), ("mat_2", Some(100)), ("mat_3", Some(200)), ("mat_4", None)] {
        s.add_match(&match_(id, "ten_1")).await.unwrap();
        s.append_events(id, (1..=10).map(big).collect()).await.unwrap();
        if let Some(at) = closed {
            s.set_match_phase(id, MatchPhase::Closed, at).await.unwrap();
        }
    }
    // Covered events no longer count, the snapshot does, and so does a record while it is kept.
    s.save_snapshot("mat_4", &[0; 500], 5).await.unwrap();
    s.put_record("mat_4", &[1; 9_000]).await.unwrap();
    s.delete_record("mat_4").await.unwrap();
    s.put_record("mat_3", &[1; 900]).await.unwrap();
    s.put_record("mat_3", &[1; 1_000]).await.unwrap();
    let kept = async |s: &Store| {
        let mut kept = Vec::new();
        for id in ["mat_1", "mat_2", "mat_3", "mat_4"] {
            kept.push(s.load_match(id).await.unwrap().events.len());
        }
        kept
    };
    s.prune(0, 36_500, 0, 0).await.unwrap();
    assert_eq!(kept(s).await, [10, 10, 10, 5]);
    s.prune(0, 36_499, 0, 0).await.unwrap();
    assert_eq!(kept(s).await, [10, 0, 10, 5]);
    assert_eq!(s.record("mat_3").await.unwrap(), Some(vec![1; 1_000]));
    // A running match keeps what it needs, whatever the limit.
    s.prune(0, 0, 0, 0).await.unwrap();
    assert_eq!(kept(s).await, [0, 0, 0, 5]);
    assert_eq!(s.load_match("mat_4").await.unwrap().snapshot, Some(vec![0; 500]));
    assert_eq!(s.record("mat_3").await.unwrap(), None);
    assert!(matches!(s.put_record("mat_9", b"x").await, Err(StoreError::NotFound("match"))));
}

pub async fn a_check_counts_and_names_the_schema(w: &World) {
    let found = agentcast::store::check(&w.place).await;
    match w.url {
        // Also while it is in use.
        Some(_) => {
            let found = found.unwrap();
            assert_eq!((found.tenants, found.agents, found.matches, found.version), (2, 2, 0, found.newest));
        }
        None => assert!(found.is_err()),
    }
}
