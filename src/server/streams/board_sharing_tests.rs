//! What tenants share, and where streams may be sent to.

use super::*;

#[test]
fn hosts_that_are_allowed_or_not_any_more_count_at_once_for_streams_that_run() {
    let mut rig = Rig::new(&["a", "b"], &[("m", &["a", "b"], Waiting)]);
    rig.candidate("b").destinations[0].ingest = Some("rtmp://live.example.com/app".into());
    rig.candidate("b").destinations.push(room("r-b", "b"));
    rig.phase("m", Running);
    assert_eq!(rig.live(), ["d-a", "r-b"]);
    let state = |rig: &Rig, agent: usize, id: &str| {
        let views = rig.board.views(None, rig.now);
        let found = views[agent].destinations.iter().find(|d| d.id.as_deref() == Some(id)).unwrap();
        (found.state, found.trouble.clone())
    };
    assert_eq!(state(&rig, 1, "d-b").0, "needs-attention");
    rig.board.set_hosts(&hosts(&["127.0.0.1:*", "live.example.com"], true));
    rig.look();
    assert_eq!((rig.live(), state(&rig, 1, "d-b")), (vec!["d-a", "d-b", "r-b"], ("live", None)));
    // Taken off the list: its output ends, nobody else's does.
    rig.board.set_hosts(&hosts(&["127.0.0.1:*"], true));
    rig.look();
    assert_eq!(rig.live(), ["d-a", "r-b"]);
    assert!(state(&rig, 1, "d-b").1.is_some_and(|words| words.contains("live.example.com")));
    // What was refused where it connected, or when it was made, is tried again.
    rig.states.insert("d-a".into(), State::NeedsAttention);
    rig.pass(200);
    let before = rig.outputs.keys().copied().collect::<Vec<_>>();
    rig.board.set_hosts(&hosts(&["127.0.0.1"], false));
    rig.board.set_hosts(&hosts(&["127.0.0.1:1935"], true));
    rig.look();
    assert_eq!(rig.live(), ["d-a", "r-b"]);
    assert_ne!(before, rig.outputs.keys().copied().collect::<Vec<_>>(), "a new output");
}

#[test]
fn tenants_who_name_their_rooms_alike_do_not_meet() {
    let mut rig = Rig::new(&["a", "b"], &[("m", &["a"], Waiting), ("n", &["b"], Waiting)]);
    for (agent, tenant) in [("a", "ten_1"), ("b", "ten_2")] {
        let theirs = Destination { tenant_id: tenant.into(), ..room(&format!("r-{agent}"), agent) };
        rig.candidate(agent).agent.tenant_id = tenant.into();
        rig.candidate(agent).destinations = vec![theirs];
    }
    rig.phase("m", Running);
    rig.phase("n", Running);
    let rooms: Vec<_> = rig.orders.iter().map(|order| order.destination.room.clone().unwrap()).collect();
    assert_eq!(rooms, ["ten_1-arena", "ten_2-arena"]);
}

#[test]
fn one_tenant_leaves_encodes_to_others() {
    let mut rig =
        Rig::new(&["a", "b", "c"], &[("m1", &["a"], Waiting), ("m2", &["b"], Waiting), ("m3", &["c"], Waiting)]);
    let settings = StreamingConfig { max_encodes: 8, max_encodes_per_tenant: 1, ..(*rig.board.settings).clone() };
    rig.board.set_settings(Arc::new(settings));
    rig.candidate("c").agent.tenant_id = "ten_2".into();
    for m in ["m1", "m2", "m3"] {
        rig.phase(m, Running);
    }
    assert_eq!(rig.live(), ["d-a", "d-c"]);
    let views = rig.board.views(None, rig.now);
    assert!(views[1].trouble.as_ref().unwrap().contains("max_encodes_per_tenant"), "{views:?}");
    rig.world.agents.remove("a");
    rig.look();
    assert_eq!(rig.live(), ["d-b", "d-c"]);
}
