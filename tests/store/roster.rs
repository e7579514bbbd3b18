use crate::records::*;
use crate::world::World;
use agentcast::store::model::*;
use agentcast::store::{MAX_DESTINATIONS, PageRequest, StoreError};

pub async fn records_that_were_added_are_read_back_whole(w: &World) {
    let s = &w.store;
    assert_eq!(s.tenants().await.unwrap(), [tenant("ten_1"), tenant("ten_2")]);
    assert_eq!(s.agent(None, "agt_1").await.unwrap(), agent("agt_1", "ten_1"));

    let room = Destination {
        kind: DestinationKind::LivekitRoom,
        ingest: None,
        room: Some("final".into()),
        enabled: false,
        ..destination("dst_2", "agt_1", "ten_1")
    };
    let via = Destination {
        kind: DestinationKind::Youtube,
        via: Via::LivekitEgress,
        ..destination("dst_1", "agt_1", "ten_1")
    };
    s.add_destination(&room).await.unwrap();
    s.add_destination(&via).await.unwrap();
    assert_eq!(s.destinations(Some("ten_1"), "agt_1").await.unwrap(), [via, room]);
    assert_eq!(s.destinations(None, "agt_2").await.unwrap(), []);

    s.put_key(None, &sealed("dst_1", "agt_1")).await.unwrap();
    assert!(s.sealed_key("dst_1").await.unwrap() == Some(sealed("dst_1", "agt_1")));
    s.key_used("dst_1", 4_500).await.unwrap();
    let read = s.destination(Some("ten_1"), "dst_1").await.unwrap();
    let shown = KeyInfo { fingerprint: "a1b2c3".into(), set_at: 4_000, last_used_at: Some(4_500) };
    assert_eq!((read.key, read.version), (Some(shown), 2));
    s.delete_key(None, "dst_1").await.unwrap();
    s.delete_key(None, "dst_1").await.unwrap();
    assert_eq!(s.destination(None, "dst_1").await.unwrap().key, None);
    assert!(s.sealed_key("dst_1").await.unwrap().is_none());

    for (id, role) in ["key_1", "key_2", "key_3", "key_4"].into_iter().zip([
        ApiRole::Viewer,
        ApiRole::Game,
        ApiRole::Operator,
        ApiRole::Admin,
    ]) {
        let tenant = (role != ApiRole::Admin).then_some("ten_1");
        let key = ApiKey { role, ..api_key(id, tenant) };
        s.add_api_key(&key, &[7; 32]).await.unwrap();
        assert_eq!(s.api_key(id).await.unwrap(), Some((key, [7; 32])));
    }
    assert_eq!(s.api_key("key_9").await.unwrap(), None);

    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    assert_eq!(s.match_(Some("ten_1"), "mat_1").await.unwrap(), match_("mat_1", "ten_1"));
    let watch = Session { scope: Scope::Watch, view: "all".into(), ..session("ses_1", "mat_1", "ten_1") };
    s.add_session(&watch).await.unwrap();
    assert_eq!(s.session(Some("ten_1"), "ses_1").await.unwrap(), watch);

    let picture = [0x89, b'P', b'N', b'G', 0, 255];
    assert_eq!(s.avatar(None, "agt_1").await.unwrap(), None);
    let with = s.set_avatar(Some("ten_1"), "agt_1", "ab12", &picture).await.unwrap();
    assert_eq!((with.avatar.as_deref(), with.version), (Some("ab12"), 2));
    s.set_avatar(Some("ten_1"), "agt_1", "cd34", &picture[1..]).await.unwrap();
    assert_eq!(s.avatar(Some("ten_1"), "agt_1").await.unwrap().as_deref(), Some(&picture[1..]));
}

pub async fn an_id_twice_is_taken_and_an_unknown_owner_does_not_exist(w: &World) {
    let s = &w.store;
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    s.add_session(&session("ses_1", "mat_1", "ten_1")).await.unwrap();
    s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    s.add_api_key(&api_key("key_1", None), &[0; 32]).await.unwrap();
    let taken = [
        s.add_tenant(&tenant("ten_1")).await,
        s.add_agent(&agent("agt_1", "ten_1")).await,
        s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await,
        s.add_match(&match_("mat_1", "ten_1")).await,
        s.add_session(&session("ses_1", "mat_1", "ten_1")).await,
        s.add_api_key(&api_key("key_1", None), &[0; 32]).await,
    ];
    for answer in taken {
        assert!(matches!(answer, Err(StoreError::Taken(_))), "{answer:?}");
    }
    let nobodys = [
        s.add_agent(&agent("agt_3", "ten_9")).await,
        s.add_destination(&destination("dst_3", "agt_9", "ten_1")).await,
        s.add_destination(&destination("dst_3", "agt_2", "ten_1")).await,
        s.add_match(&match_("mat_3", "ten_9")).await,
        s.add_session(&session("ses_3", "mat_9", "ten_1")).await,
        s.add_api_key(&api_key("key_3", Some("ten_9")), &[0; 32]).await,
        s.put_key(None, &sealed("dst_9", "agt_1")).await,
        s.put_key(None, &sealed("dst_1", "agt_2")).await,
    ];
    for answer in nobodys {
        assert!(matches!(answer, Err(StoreError::NotFound(_))), "{answer:?}");
    }
}

pub async fn a_stale_version_is_refused_and_of_many_writers_one_wins(w: &World) {
    let s = &w.store;
    let mut new = Agent { name: "Bishop".into(), ..agent("agt_1", "ten_1") };
    new.limits.concurrent = Some(3);
    let updated = s.update_agent(&new, Some(1)).await.unwrap();
    assert_eq!((updated.version, &*updated.name, updated.limits.concurrent), (2, "Bishop", Some(3)));
    assert!(updated.updated_at > updated.created_at);

    new.name = "Rook".into();
    let stale = s.update_agent(&new, Some(1)).await;
    assert!(matches!(stale, Err(StoreError::Stale { what: "agent", version: 2 })), "{stale:?}");
    assert_eq!(s.agent(None, "agt_1").await.unwrap().name, "Bishop");
    assert_eq!(s.update_agent(&new, None).await.unwrap().version, 3);

    s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let store = s.clone();
            tokio::spawn(async move {
                let room = Destination { room: Some(format!("r{n}")), ..destination("dst_1", "agt_1", "ten_1") };
                store.update_destination(&room, Some(1)).await.map(|d| d.room)
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(room) => won.push(room),
            Err(StoreError::Stale { what: "destination", version: 2 }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let now = s.destination(None, "dst_1").await.unwrap();
    assert_eq!((won, now.version), (vec![now.room.clone()], 2));
    let other = Destination { tenant_id: "ten_2".into(), ..destination("dst_1", "agt_1", "ten_1") };
    assert!(matches!(s.update_destination(&other, Some(2)).await, Err(StoreError::NotFound(_))));
}

pub async fn the_switch_says_whether_it_moved(w: &World) {
    let s = &w.store;
    assert!(s.set_enabled(Some("ten_1"), "agt_1", true).await.unwrap());
    assert!(!s.set_enabled(None, "agt_1", true).await.unwrap());
    let on = s.agent(None, "agt_1").await.unwrap();
    assert_eq!((on.enabled, on.version), (true, 2));
    assert_eq!(s.enabled_agents().await.unwrap(), [on]);
    // What an editor sends back does not move it.
    assert!(s.update_agent(&agent("agt_1", "ten_1"), None).await.unwrap().enabled);
    assert!(matches!(s.set_enabled(None, "agt_9", true).await, Err(StoreError::NotFound("agent"))));
}

pub async fn the_seventeenth_destination_is_refused_even_when_all_come_at_once(w: &World) {
    let s = &w.store;
    let adding: Vec<_> = (0..20)
        .map(|n| {
            let store = s.clone();
            tokio::spawn(
                async move { store.add_destination(&destination(&format!("dst_{n}"), "agt_1", "ten_1")).await },
            )
        })
        .collect();
    let mut refused = 0;
    for one in adding {
        match one.await.unwrap() {
            Ok(()) => {}
            Err(StoreError::TooMany { limit: MAX_DESTINATIONS, .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((refused, s.destinations(None, "agt_1").await.unwrap().len()), (4, MAX_DESTINATIONS));
}

pub async fn a_new_ingest_host_takes_the_key_away_and_a_key_for_another_host_is_refused(w: &World) {
    let s = &w.store;
    s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    s.put_key(None, &sealed("dst_1", "agt_1")).await.unwrap();

    let moved = |ingest: &str| Destination { ingest: Some(ingest.into()), ..destination("dst_1", "agt_1", "ten_1") };
    let same = s.update_destination(&moved("rtmp://live.example.com:1936/other"), None).await.unwrap();
    assert!(same.key.is_some());
    let gone = s.update_destination(&moved("rtmps://live.example.com/app"), None).await.unwrap();
    assert_eq!((gone.key, gone.ingest.as_deref()), (None, Some("rtmps://live.example.com/app")));
    assert!(s.sealed_key("dst_1").await.unwrap().is_none());

    // Sealed for the host as it was when the caller looked.
    let late = s.put_key(None, &sealed("dst_1", "agt_1")).await;
    let version = s.destination(None, "dst_1").await.unwrap().version;
    assert!(matches!(late, Err(StoreError::Stale { what: "destination", version: v }) if v == version), "{late:?}");
    assert!(s.sealed_key("dst_1").await.unwrap().is_none());
}

pub async fn a_version_of_a_key_is_taken_once_also_after_it_was_deleted(w: &World) {
    let s = &w.store;
    s.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    let key = |record_version| SealedKey { record_version, ..sealed("dst_1", "agt_1") };
    s.put_key(None, &key(1)).await.unwrap();
    // Two who set a key at once sealed it for the same version: the second seals it anew.
    assert!(matches!(s.put_key(None, &key(1)).await, Err(StoreError::Stale { .. })));
    s.put_key(None, &key(2)).await.unwrap();
    s.delete_key(None, "dst_1").await.unwrap();
    for old in [1, 2] {
        assert!(matches!(s.put_key(None, &key(old)).await, Err(StoreError::Stale { .. })), "{old}");
    }
    let version = s.destination(None, "dst_1").await.unwrap().version;
    s.put_key(None, &key(version + 1)).await.unwrap();
}

pub async fn a_rewrap_replaces_only_what_it_read(w: &World) {
    let s = &w.store;
    for id in ["dst_1", "dst_2", "dst_3"] {
        s.add_destination(&destination(id, "agt_1", "ten_1")).await.unwrap();
        s.put_key(None, &sealed(id, "agt_1")).await.unwrap();
    }
    let ids = |keys: Vec<SealedKey>| keys.into_iter().map(|k| k.destination_id).collect::<Vec<_>>();
    assert_eq!(ids(s.keys_not_under("k2", None, 2).await.unwrap()), ["dst_1", "dst_2"]);
    assert_eq!(ids(s.keys_not_under("k2", Some("dst_2"), 2).await.unwrap()), ["dst_3"]);

    assert!(s.rewrap_key(&sealed("dst_2", "agt_1"), "k2", b"new").await.unwrap());
    let now = s.sealed_key("dst_2").await.unwrap().unwrap();
    assert_eq!((&*now.kid, &now.blob[..], &*now.fingerprint), ("k2", &b"new"[..], "a1b2c3"));
    // A second worker that read the old blob, and one that read a key which was replaced meanwhile.
    assert!(!s.rewrap_key(&sealed("dst_2", "agt_1"), "k2", b"newer").await.unwrap());
    s.put_key(None, &SealedKey { record_version: 2, ..sealed("dst_3", "agt_1") }).await.unwrap();
    assert!(!s.rewrap_key(&sealed("dst_3", "agt_1"), "k2", b"new").await.unwrap());
    assert_eq!(ids(s.keys_not_under("k2", None, 9).await.unwrap()), ["dst_1", "dst_3"]);
}

pub async fn a_deleted_agent_takes_its_destinations_keys_and_picture_and_leaves_history(w: &World) {
    let s = &w.store;
    for (id, of, tenant) in [("dst_1", "agt_1", "ten_1"), ("dst_2", "agt_2", "ten_2")] {
        s.add_destination(&destination(id, of, tenant)).await.unwrap();
        s.put_key(None, &sealed(id, of)).await.unwrap();
    }
    s.set_avatar(None, "agt_1", "ab12", b"png").await.unwrap();
    s.audit(&audit("ten_1", "agent.streaming.on", 1)).await.unwrap();
    s.add_usage("ten_1", "agt_1", "2026-11-21", 60, 120).await.unwrap();
    s.put_stream(&stream("str_1", "agt_1", "ten_1")).await.unwrap();

    s.delete_agent(Some("ten_1"), "agt_1").await.unwrap();

    assert!(matches!(s.agent(None, "agt_1").await, Err(StoreError::NotFound("agent"))));
    assert!(matches!(s.destination(None, "dst_1").await, Err(StoreError::NotFound("destination"))));
    assert!(matches!(s.destinations(None, "agt_1").await, Err(StoreError::NotFound("agent"))));
    assert!(matches!(s.avatar(None, "agt_1").await, Err(StoreError::NotFound("agent"))));
    assert!(s.sealed_key("dst_1").await.unwrap().is_none());
    assert!(s.sealed_key("dst_2").await.unwrap().is_some());
    assert!(matches!(s.delete_agent(None, "agt_1").await, Err(StoreError::NotFound("agent"))));
    s.delete_destination(Some("ten_2"), "dst_2").await.unwrap();
    assert!(s.sealed_key("dst_2").await.unwrap().is_none());

    let all = PageRequest { after: None, limit: 200 };
    assert_eq!(s.audit_log(Some("ten_1"), &all).await.unwrap().items.len(), 1);
    assert_eq!(s.usage(None, Some("agt_1"), "2026-01-01", "2026-12-31").await.unwrap().len(), 1);
    assert_eq!(s.stream(Some("ten_1"), "str_1").await.unwrap(), stream("str_1", "agt_1", "ten_1"));
}

pub async fn a_key_is_noted_as_used_once_a_minute_and_revoked_once(w: &World) {
    let s = &w.store;
    s.add_api_key(&api_key("key_1", Some("ten_1")), &[1; 32]).await.unwrap();
    let used = async || s.api_key("key_1").await.unwrap().unwrap().0.last_used_at;
    let mut seen = Vec::new();
    for at in [100_000, 159_999, 160_000, 130_000] {
        s.api_key_used("key_1", at).await.unwrap();
        seen.push(used().await);
    }
    assert_eq!(seen, [Some(100_000), Some(100_000), Some(160_000), Some(160_000)]);
    s.api_key_used("key_9", 1).await.unwrap();

    s.revoke_api_key(Some("ten_1"), "key_1", 5).await.unwrap();
    s.revoke_api_key(None, "key_1", 9).await.unwrap();
    assert_eq!(s.api_key("key_1").await.unwrap().unwrap().0.revoked_at, Some(5));
    assert!(matches!(s.revoke_api_key(None, "key_9", 9).await, Err(StoreError::NotFound("API key"))));
}

pub async fn a_revoked_key_takes_the_sessions_that_it_opened_and_no_others(w: &World) {
    let s = &w.store;
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    for key in ["key_1", "key_2"] {
        s.add_api_key(&api_key(key, Some("ten_1")), &[1; 32]).await.unwrap();
    }
    let by = |id: &str, key: Option<&str>, expires_at| Session {
        created_by: key.map(Into::into),
        expires_at,
        ..session(id, "mat_1", "ten_1")
    };
    let all = [
        by("ses_1", Some("key_1"), 100),
        by("ses_2", Some("key_1"), 100),
        by("ses_3", Some("key_2"), 100),
        by("ses_4", None, 100),
        by("ses_5", Some("key_1"), 10),
    ];
    for one in &all {
        s.add_session(one).await.unwrap();
        assert_eq!(s.session(None, &one.id).await.unwrap(), *one);
    }
    s.revoke_session(None, "ses_2", 20).await.unwrap();
    let gone = s.revoke_api_key(Some("ten_1"), "key_1", 50).await.unwrap();
    assert_eq!(gone, [Session { revoked_at: Some(50), ..all[0].clone() }]);
    let page = PageRequest { after: None, limit: 200 };
    let revoked: Vec<_> = s.sessions(None, &page).await.unwrap().items.into_iter().map(|s| s.revoked_at).collect();
    assert_eq!(revoked, [Some(50), Some(20), None, None, None], "ses_5 had expired");
    assert_eq!(s.revoke_api_key(None, "key_1", 60).await.unwrap(), []);
    let late = s.add_session(&by("ses_6", Some("key_1"), 100)).await;
    assert!(matches!(late, Err(StoreError::NotFound("API key"))), "{late:?}");
    s.add_session(&by("ses_6", Some("key_2"), 100)).await.unwrap();
}

pub async fn a_session_is_never_left_open_by_a_key_that_is_revoked_at_the_same_moment(w: &World) {
    let s = &w.store;
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    for round in 0..10 {
        let key = format!("key_{round}");
        s.add_api_key(&api_key(&key, Some("ten_1")), &[1; 32]).await.unwrap();
        let opening: Vec<_> = (0..4)
            .map(|n| {
                let (store, key) = (s.clone(), key.clone());
                let new = Session { created_by: Some(key), ..session(&format!("ses_{round}_{n}"), "mat_1", "ten_1") };
                tokio::spawn(async move { store.add_session(&new).await.is_ok() })
            })
            .collect();
        s.revoke_api_key(None, &key, 50).await.unwrap();
        for one in opening {
            one.await.unwrap();
        }
    }
    let page = PageRequest { after: None, limit: 200 };
    for one in s.sessions(None, &page).await.unwrap().items {
        assert_eq!(one.revoked_at, Some(50), "{one:?}");
    }
}

pub async fn any_text_is_kept_as_it_is(w: &World) {
    let s = &w.store;
    let odd = "O'Hara \"$1\" ?; DROP TABLE agents; -- \\ %_ \u{1F3C6} \u{202E}x e\u{301} \n";
    let mut one = agent("agt_3", "ten_1");
    (one.name, one.author, one.defaults.theme) = (odd.into(), odd.into(), odd.into());
    s.add_agent(&one).await.unwrap();
    assert_eq!(s.agent(Some("ten_1"), "agt_3").await.unwrap(), one);
    assert!(matches!(s.agent(Some(odd), "agt_3").await, Err(StoreError::NotFound("agent"))));
    let page = PageRequest { after: Some(odd.into()), limit: 5 };
    s.agents(Some(odd), &page).await.unwrap();
}
