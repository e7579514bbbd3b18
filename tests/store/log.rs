use crate::records::*;
use crate::world::World;
use agentcast::store::model::*;
use agentcast::store::{LoggedEvent, PageRequest, SavedMatch, Store, StoreError};

const ALL: PageRequest = PageRequest { after: None, limit: 200 };

pub async fn events_of_many_matches_at_once_are_all_there_in_order(w: &World) {
    let feeds: Vec<_> = (0..12)
        .map(|m| {
            let store = w.store.clone();
            tokio::spawn(async move {
                let id = format!("mat_{m}");
                store.add_match(&match_(&id, "ten_1")).await.unwrap();
                let mut seq = 1;
                // Calls of every size, so that all statements are used.
                for size in [1, 2, 7, 8, 9, 63, 64, 65, 130, 1] {
                    store.append_events(&id, (seq..seq + size).map(event).collect()).await.unwrap();
                    seq += size;
                }
            })
        })
        .collect();
    for feed in feeds {
        feed.await.unwrap();
    }
    let whole: Vec<LoggedEvent> = (1..=350).map(event).collect();
    for m in 0..12 {
        let saved = w.store.load_match(&format!("mat_{m}")).await.unwrap();
        assert_eq!(saved, SavedMatch { snapshot: None, events: whole.clone() });
    }
    // Calls that wait together keep the order in which they came; numbers may be as large as they get.
    w.store.add_match(&match_("mat_x", "ten_1")).await.unwrap();
    let far = LoggedEvent { epoch: u64::MAX, seq: u64::MAX, json: "{}".into() };
    let calls = (0..50).map(|n| w.store.append_events("mat_x", vec![event(n), far.clone()]));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    let events = w.store.load_match("mat_x").await.unwrap().events;
    assert_eq!(events, (0..50).flat_map(|n| [event(n), far.clone()]).collect::<Vec<_>>());
}

pub async fn an_unknown_match_fails_alone(w: &World) {
    let s = &w.store;
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    let nul = LoggedEvent { epoch: 1, seq: 2, json: "{\0}".into() };
    let (good, unknown, bad, empty, more) = tokio::join!(
        s.append_events("mat_1", vec![event(1)]),
        s.append_events("mat_9", vec![event(1), event(2)]),
        s.append_events("mat_1", vec![event(8), nul]),
        s.append_events("mat_9", vec![]),
        s.append_events("mat_1", vec![event(2), event(3)]),
    );
    good.unwrap();
    assert!(matches!(unknown, Err(StoreError::NotFound("match"))), "{unknown:?}");
    assert!(matches!(bad, Err(StoreError::Backend(_))), "{bad:?}");
    empty.unwrap();
    more.unwrap();
    assert_eq!(s.load_match("mat_1").await.unwrap().events, [event(1), event(2), event(3)]);
    assert!(matches!(s.load_match("mat_9").await, Err(StoreError::NotFound("match"))));
    assert!(matches!(s.save_snapshot("mat_9", b"", 0).await, Err(StoreError::NotFound("match"))));
}

pub async fn a_snapshot_replaces_exactly_what_it_covers(w: &World) {
    let s = &w.store;
    for id in ["mat_1", "mat_2"] {
        s.add_match(&match_(id, "ten_1")).await.unwrap();
        s.append_events(id, (1..=10).map(event).collect()).await.unwrap();
    }
    s.save_snapshot("mat_1", b"after 4", 4).await.unwrap();
    s.append_events("mat_1", vec![event(11)]).await.unwrap();
    let saved = |snapshot: &[u8], from: u64, to: u64| SavedMatch {
        snapshot: Some(snapshot.into()),
        events: (from..=to).map(event).collect(),
    };
    assert_eq!(s.load_match("mat_1").await.unwrap(), saved(b"after 4", 5, 11));
    // Counted from what is left, not from the beginning.
    s.save_snapshot("mat_1", b"after 7", 3).await.unwrap();
    assert_eq!(s.load_match("mat_1").await.unwrap(), saved(b"after 7", 8, 11));
    s.save_snapshot("mat_1", b"again", 0).await.unwrap();
    assert_eq!(s.load_match("mat_1").await.unwrap(), saved(b"again", 8, 11));
    s.save_snapshot("mat_1", &vec![7; 300_000], 4).await.unwrap();
    assert_eq!(s.load_match("mat_1").await.unwrap(), saved(&vec![7; 300_000], 1, 0));
    s.append_events("mat_1", vec![event(12)]).await.unwrap();
    assert_eq!(s.load_match("mat_1").await.unwrap(), saved(&vec![7; 300_000], 12, 12));
    assert_eq!(s.load_match("mat_2").await.unwrap().events.len(), 10);

    // A reader sees the old snapshot with all events or the new one without those it covers.
    let (writer, reader) = (s.clone(), s.clone());
    let writing = tokio::spawn(async move {
        for n in 1..=10u8 {
            writer.save_snapshot("mat_2", &[n], 1).await.unwrap();
        }
    });
    while !writing.is_finished() {
        let SavedMatch { snapshot, events } = reader.load_match("mat_2").await.unwrap();
        let covered = snapshot.map_or(0, |s| u64::from(s[0]));
        assert_eq!(events, (covered + 1..=10).map(event).collect::<Vec<_>>());
    }
    writing.await.unwrap();
}

pub async fn what_waited_when_the_store_closed_is_answered_truly(w: &World) {
    w.store.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    let calls: Vec<_> = (1..=100)
        .map(|n| {
            let store = w.store.clone();
            tokio::spawn(async move { (n, store.append_events("mat_1", vec![event(n)]).await.is_ok()) })
        })
        .collect();
    tokio::task::yield_now().await;
    w.store.close().await;
    let mut said = Vec::new();
    for call in calls {
        let (n, written) = call.await.unwrap();
        if written {
            said.push(n);
        }
    }
    assert!(matches!(w.store.append_events("mat_1", vec![event(0)]).await, Err(StoreError::Backend(_))));
    assert!(w.store.ping().await.is_err());
    if w.url.is_some() {
        let again = Store::open(&w.place).await.unwrap();
        again.ping().await.unwrap();
        let mut kept: Vec<u64> = again.load_match("mat_1").await.unwrap().events.iter().map(|e| e.seq).collect();
        kept.sort_unstable();
        said.sort_unstable();
        assert_eq!(kept, said);
        again.close().await;
    }
}

pub async fn phases_note_start_and_end_and_a_closed_match_stays_closed(w: &World) {
    let s = &w.store;
    for id in ["mat_1", "mat_2", "mat_3"] {
        s.add_match(&match_(id, "ten_1")).await.unwrap();
    }
    let mut seen = Vec::new();
    for (phase, at) in [
        (MatchPhase::Running, 10),
        (MatchPhase::Running, 20),
        (MatchPhase::Over, 30),
        (MatchPhase::Over, 31),
        (MatchPhase::Running, 40),
        (MatchPhase::Over, 50),
        (MatchPhase::Closed, 60),
        (MatchPhase::Running, 70),
    ] {
        s.set_match_phase("mat_1", phase, at).await.unwrap();
        let m = s.match_(None, "mat_1").await.unwrap();
        seen.push((m.phase, m.started_at, m.ended_at));
    }
    use MatchPhase::{Closed, Over, Running};
    let expected = [
        (Running, Some(10), None),
        (Running, Some(10), None),
        (Over, Some(10), Some(30)),
        (Over, Some(10), Some(30)),
        (Running, Some(10), None),
        (Over, Some(10), Some(50)),
        (Closed, Some(10), Some(50)),
        (Closed, Some(10), Some(50)),
    ];
    assert_eq!(seen, expected);
    s.set_match_phase("mat_2", Over, 4).await.unwrap();
    s.set_match_phase("mat_2", MatchPhase::Closed, 5).await.unwrap();
    let whole = s.match_(None, "mat_2").await.unwrap();
    assert_eq!((whole.started_at, whole.ended_at), (Some(4), Some(4)), "over at once, it has begun too");
    let open: Vec<String> = s.open_matches().await.unwrap().into_iter().map(|m| m.id).collect();
    assert_eq!(open, ["mat_3"]);
    assert!(matches!(s.set_match_phase("mat_9", Over, 1).await, Err(StoreError::NotFound("match"))));
}

pub async fn sessions_and_streams_are_found_while_they_last(w: &World) {
    let s = &w.store;
    s.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    s.add_session(&session("ses_1", "mat_1", "ten_1")).await.unwrap();
    s.revoke_session(Some("ten_1"), "ses_1", 5).await.unwrap();
    s.revoke_session(None, "ses_1", 9).await.unwrap();
    assert_eq!(s.session(None, "ses_1").await.unwrap().revoked_at, Some(5));
    assert_eq!(s.sessions(Some("ten_1"), &ALL).await.unwrap().items.len(), 1);

    let mut one = stream("str_1", "agt_1", "ten_1");
    s.put_stream(&one).await.unwrap();
    s.put_stream(&stream("str_2", "agt_1", "ten_1")).await.unwrap();
    (one.match_id, one.wanted) = ("mat_7".into(), false);
    s.put_stream(&one).await.unwrap();
    assert_eq!(s.open_streams().await.unwrap(), [one.clone(), stream("str_2", "agt_1", "ten_1")]);
    (one.ended_at, one.reason) = (Some(9_000), Some("stopped by an operator".into()));
    s.put_stream(&one).await.unwrap();
    assert_eq!(s.open_streams().await.unwrap(), [stream("str_2", "agt_1", "ten_1")]);
    assert_eq!(s.streams(Some("ten_1"), &ALL).await.unwrap().items, [stream("str_2", "agt_1", "ten_1"), one.clone()]);

    // What somebody stopped counts while its match is open.
    assert_eq!(s.stopped_streams().await.unwrap(), []);
    s.put_stream(&StreamRecord { ended_at: Some(8_500), ..stream("str_2", "agt_1", "ten_1") }).await.unwrap();
    one.match_id = "mat_1".into();
    s.put_stream(&one).await.unwrap();
    assert_eq!(s.stopped_streams().await.unwrap(), [one.clone()]);

    // What was started again is not stopped: neither while it goes on nor after it has ended for another reason, be it a new
    // stream or an older one that took the match over.
    for id in ["str_3", "str_0"] {
        let mut again = StreamRecord { match_id: "mat_1".into(), ..stream(id, "agt_1", "ten_1") };
        s.put_stream(&again).await.unwrap();
        assert_eq!(s.stopped_streams().await.unwrap(), [], "{id}");
        again.ended_at = Some(9_500);
        s.put_stream(&again).await.unwrap();
        assert_eq!(s.stopped_streams().await.unwrap(), [], "{id}");
        // An end before the stop says nothing of it.
        again.ended_at = Some(8_000);
        s.put_stream(&again).await.unwrap();
        assert_eq!(s.stopped_streams().await.unwrap(), [one.clone()], "{id}");
    }
    let mut others = StreamRecord { match_id: "mat_1".into(), ..stream("str_4", "agt_2", "ten_1") };
    s.put_stream(&others).await.unwrap();
    assert_eq!(s.stopped_streams().await.unwrap(), [one.clone()], "another agent's");
    (others.ended_at, others.wanted) = (Some(9_600), false);
    s.put_stream(&others).await.unwrap();
    assert_eq!(s.stopped_streams().await.unwrap(), [one, others]);
    s.set_match_phase("mat_1", MatchPhase::Closed, 10).await.unwrap();
    assert_eq!(s.stopped_streams().await.unwrap(), []);
}
