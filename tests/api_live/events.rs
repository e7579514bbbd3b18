use crate::house::House;
use crate::watch::Sse;
use agentcast::server::bus::Bus;
use agentcast::store::model::ApiRole;
use serde_json::json;

impl House {
    fn bus(&self) -> &Bus {
        &self.api.service.context().bus
    }

    fn events(&self, more: &[&str]) -> Sse {
        Sse::open(&self.address, "/v1/events", &self.operator.token, more)
    }
}

#[test]
fn an_operator_hears_of_its_own_tenant_and_of_the_whole_service_only() {
    let house = House::new();
    let mut events = house.events(&[]);
    assert_eq!(events.next().unwrap().0, "hello");
    house.bus().tell(Some("ten_b"), "agent", "agt_b", json!({ "state": "secret of b" }));
    house.bus().tell(Some("ten_a"), "agent", "agt_a", json!({ "state": "on" }));
    house.bus().tell(None, "flag", "streaming", json!(false));
    let (name, id, data) = events.next().unwrap();
    assert_eq!((&*name, &data["kind"], &data["id"]), ("change", &json!("agent"), &json!("agt_a")));
    assert!(data["at"].is_i64() && id.ends_with("-1"), "another tenant's do not count: {id} {data}");
    assert_eq!(events.next().unwrap().2["kind"], "flag");
    assert!(!String::from_utf8_lossy(&events.bytes).contains("secret of b"));
    let admin = house.key(None, ApiRole::Admin);
    let mut all = Sse::open(&house.address, "/v1/events", &admin.token, &["Last-Event-ID: x"]);
    assert_eq!(all.next().unwrap().0, "reset");
    house.bus().tell(Some("ten_b"), "agent", "agt_b", json!({}));
    assert_eq!(all.next().unwrap().2["id"], "agt_b");
}

#[test]
fn a_listener_that_comes_back_gets_what_it_missed_and_a_reset_when_that_is_too_much() {
    let house = House::new();
    let mut events = house.events(&[]);
    let (_, hello, _) = events.next().unwrap();
    drop(events);
    let tell = |n: u64| house.bus().tell(Some("ten_a"), "agent", &n.to_string(), json!(n));
    (1..=3).for_each(tell);
    // Even one that had got nothing yet.
    let mut back = house.events(&[&format!("Last-Event-ID: {hello}")]);
    let missed: Vec<_> = (0..3).map(|_| back.next().unwrap()).collect();
    assert_eq!(missed.iter().map(|(.., data)| data["data"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    let mut back = house.events(&[&format!("Last-Event-ID: {}", missed[1].1)]);
    assert_eq!(back.next().unwrap().2["data"], 3);
    (4..=1_100).for_each(tell);
    let mut late = house.events(&[&format!("Last-Event-ID: {hello}")]);
    let (name, from, _) = late.next().unwrap();
    assert_eq!(name, "reset");
    tell(1_101);
    assert_eq!(late.next().unwrap().2["data"], 1_101);
    let mut again = house.events(&[&format!("Last-Event-ID: {from}")]);
    assert_eq!(again.next().unwrap().2["data"], 1_101, "a reset's id is one to come back with");
}

#[test]
fn sessions_and_matches_are_told() {
    let house = House::new();
    let mut events = house.events(&[]);
    events.next().unwrap();
    let session = house.feeds("m");
    house.game.delete(&session.path("")).expect(204);
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|(kind, state)| (kind, state) != (&json!("session"), &json!("revoked"))) {
        let (_, _, data) = events.next().unwrap();
        kinds.push((data["kind"].clone(), data["data"]["state"].clone()));
    }
    assert!(kinds.contains(&(json!("session"), json!("open"))), "{kinds:?}");
    assert!(kinds.iter().any(|(kind, _)| kind == "match"), "{kinds:?}");
}

#[test]
fn a_stream_of_events_takes_a_key() {
    let house = House::new();
    let session = house.feeds("m");
    house.game.anonymous().get("/v1/events").expect(401);
    session.holder.get("/v1/events").expect(403);
}

#[test]
fn destinations_are_told_to_operators_only_also_when_they_were_missed() {
    let house = House::new();
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    let mut events = Sse::open(&house.address, "/v1/events", &viewer.token, &[]);
    let (_, hello, _) = events.next().unwrap();
    house.bus().tell(Some("ten_a"), "destination", "dst_1", json!({ "ingest": "rtmp://canary" }));
    house.bus().tell(Some("ten_a"), "stream", "str_1", json!({ "state": "live" }));
    let hello = format!("Last-Event-ID: {hello}");
    let mut back = Sse::open(&house.address, "/v1/events", &viewer.token, &[&hello]);
    for listener in [&mut events, &mut back] {
        assert_eq!(listener.next().unwrap().2["id"], "str_1");
        assert!(!String::from_utf8_lossy(&listener.bytes).contains("canary"));
    }
    assert_eq!(house.events(&[&hello]).next().unwrap().2["data"]["ingest"], "rtmp://canary");
}

#[test]
fn a_busy_neighbour_costs_nobody_what_he_missed() {
    let house = House::new();
    let mut events = house.events(&[]);
    let (_, hello, _) = events.next().unwrap();
    drop(events);
    house.bus().tell(Some("ten_a"), "agent", "agt_a", json!(1));
    (0..3_000).for_each(|n| house.bus().tell(Some("ten_b"), "agent", "agt_b", json!(n)));
    let mut back = house.events(&[&format!("Last-Event-ID: {hello}")]);
    assert_eq!(back.next().unwrap().2["id"], "agt_a");
}
