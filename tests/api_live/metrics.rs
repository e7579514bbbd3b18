use crate::house::House;
use crate::support::service::Sender;
use agentcast::store::model::ApiRole;

#[test]
fn readiness_says_in_words_what_is_missing() {
    let house = House::new();
    let nobody = house.game.anonymous();
    assert_eq!(nobody.get("/healthz").text(), "ok\n");
    let not_yet = nobody.get("/readyz").expect(503);
    assert_eq!((&not_yet["ready"], &not_yet["lines"][1]["what"]), (&false.into(), &"stage".into()), "{not_yet}");
    house.api.live.set_stage(Ok("llvmpipe".into()));
    let ready = nobody.get("/readyz").expect(200);
    assert_eq!(ready["lines"][1]["detail"], "llvmpipe", "{ready}");
    house.api.live.drain();
    let draining = nobody.get("/readyz").expect(503);
    assert_eq!((&draining["lines"][2]["what"], &draining["lines"][2]["ok"]), (&"draining".into(), &false.into()));
    assert_eq!(nobody.get("/healthz").status, 200);
}

#[test]
fn metrics_count_what_happens_and_hold_no_name_of_a_caller() {
    let house = House::new();
    let session = house.feeds("canary-reference");
    let mut sender = Sender::new("canary-reference");
    session.holder.post(&session.path("/events"), &sender.started()).expect(200);
    session.holder.post(&session.path("/events"), &sender.score(1)).expect(200);
    session.holder.post(&session.path("/events"), &sender.event("state.patch", "canary".into())).expect(422);
    house.game.get("/canary-path").expect(404);
    let answer = house.game.anonymous().get("/metrics");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/openmetrics-text")));
    for line in [
        "agentcast_feed_events_total{outcome=\"applied\"} 2",
        "agentcast_http_requests_total{method=\"POST\",route=\"/v1/sessions/{id}/events\",status=\"200\"} 2",
        "agentcast_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "agentcast_matches{phase=\"running\"} 1",
        "agentcast_streams{state=\"live\"} 0",
        "agentcast_frame_seconds_bucket{le=\"+Inf\"} 0",
        "agentcast_event_to_packet_seconds_count 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("canary"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[test]
fn metrics_are_for_this_machine_or_a_key() {
    let house = House::new();
    let nobody = house.game.anonymous();
    let through = |client: &crate::support::service::Client| {
        client.call("GET", "/metrics", &["X-Forwarded-For: 203.0.113.5"], b"").status
    };
    assert_eq!(nobody.get("/metrics").status, 200);
    assert_eq!(through(&nobody), 401, "a proxy on this machine makes nobody a neighbour");
    assert_eq!(through(&house.key(Some("ten_a"), ApiRole::Viewer)), 200);
    assert_eq!(nobody.with("key_x.y").get("/metrics").status, 401);
}

#[test]
fn a_tenants_key_reads_its_own_metrics_and_nothing_of_the_process() {
    let house = House::new();
    house.add_tenant("ten_b");
    let (a, b) = (house.key(Some("ten_a"), ApiRole::Viewer), house.key(Some("ten_b"), ApiRole::Viewer));
    let session = house.feeds("m");
    session.holder.post(&session.path("/events"), &Sender::new("m").started()).expect(200);
    let (own, other) = (a.get("/metrics").text(), b.get("/metrics").text());
    assert!(own.contains("agentcast_matches{phase=\"running\"} 1"), "{own}");
    assert!(other.contains("agentcast_matches{phase=\"running\"} 0"), "{other}");
    for text in [own, other] {
        for name in ["http_requests", "feed_events", "store_seconds", "frame_seconds", "program"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
    let all = house.key(None, ApiRole::Admin).get("/metrics").text();
    assert!(all.contains("agentcast_matches{phase=\"running\"} 1") && all.contains("http_requests"), "{all}");
}

#[test]
fn readiness_tells_strangers_no_names_and_asks_the_store_no_more_than_it_must() {
    let house = House::new();
    house.api.live.set_stage(Err("/usr/lib/canary.so: no such driver".into()));
    let nobody = house.game.anonymous();
    let from = |client: &crate::support::service::Client| {
        client.call("GET", "/readyz", &["X-Forwarded-For: 203.0.113.5"], b"").expect(503)
    };
    let said = from(&nobody);
    assert_eq!((&said["lines"][1]["what"], &said["lines"][1]["ok"]), (&"stage".into(), &false.into()));
    assert!(!said.to_string().contains("canary") && !said.to_string().contains(" ms"), "{said}");
    assert!(!from(&house.operator).to_string().contains("canary"), "a tenant's key");
    assert!(from(&house.key(None, ApiRole::Admin)).to_string().contains("canary"));
    assert!(nobody.get("/readyz").expect(503).to_string().contains("canary"), "this machine's own");
    // An answer is good for a second: a flood of questions is one.
    let words: std::collections::BTreeSet<_> =
        (0..20).map(|_| nobody.get("/readyz").expect(503)["lines"][0]["detail"].to_string()).collect();
    assert!(words.len() <= 3, "{words:?}");
}
