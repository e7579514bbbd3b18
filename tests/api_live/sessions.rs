use crate::house::House;
use agentcast::store::Claim;
use agentcast::store::model::ApiRole;
use serde_json::{Value, json};

#[test]
fn one_call_makes_match_and_session_with_everything_to_begin() {
    let house = House::new();
    let body = json!({
        "scope": "feed", "ttlSeconds": 3600, "view": "side:x",
        "match": { "reference": "qf2", "title": "Quarter-final 2" },
    });
    let answer = house.game.post("/v1/sessions", &body);
    let made = answer.expect(201);
    let id = made["session"]["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(&*format!("/v1/sessions/{id}")));
    assert_eq!((&made["match"]["reference"], &made["match"]["phase"]), (&json!("qf2"), &json!("waiting")));
    assert_eq!((&made["session"]["scope"], &made["session"]["view"]), (&json!("feed"), &json!("side:x")));
    let life = made["session"]["expiresAt"].as_i64().unwrap() - made["session"]["createdAt"].as_i64().unwrap();
    assert_eq!(life, 3_600_000);
    let base = &house.address;
    assert_eq!(made["eventsUrl"], format!("http://{base}/v1/sessions/{id}/events"));
    assert_eq!(made["feedUrl"], format!("ws://{base}/v1/sessions/{id}/feed"));
    assert_eq!(made["stateUrl"], format!("http://{base}/v1/sessions/{id}/state"));
    let code = made["code"].as_str().unwrap();
    assert_eq!(made["overlayUrl"], format!("http://{base}/stream/overlay#code={code}"));
    let listed = house.game.get("/v1/sessions").expect(200);
    assert_eq!(listed["items"][0]["id"], id);
    assert!(!listed.to_string().contains("eyJ"), "a token is shown once: {listed}");
    assert_eq!(house.game.get(&format!("/v1/sessions/{id}")).expect(200)["id"], id);
    let of = made["match"]["id"].as_str().unwrap();
    assert_eq!(house.game.get(&format!("/v1/matches/{of}")).expect(200)["reference"], "qf2");
    assert_eq!(house.game.get("/v1/matches").expect(200)["items"][0]["id"], of);
    // A watcher of it has nothing to feed with.
    let watch = house.game.post("/v1/sessions", &json!({ "scope": "watch", "matchId": of })).expect(201);
    assert_eq!((&watch["eventsUrl"], &watch["feedUrl"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_repeated_call_makes_nothing_new_and_gives_a_token_that_works() {
    let house = House::new();
    let body = json!({ "scope": "feed", "match": { "reference": "m" } }).to_string();
    let call = |body: &str| {
        let headers = ["Content-Type: application/json", "Idempotency-Key: once-1"];
        house.game.call("POST", "/v1/sessions", &headers, body.as_bytes())
    };
    let (first, second) = (call(&body), call(&body));
    let (one, two) = (first.expect(201), second.expect(201));
    assert_eq!((&one["session"]["id"], &one["match"]["id"]), (&two["session"]["id"], &two["match"]["id"]));
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let path = format!("/v1/sessions/{}/state", one["session"]["id"].as_str().unwrap());
    house.game.with(two["token"].as_str().unwrap()).get(&path).expect(200);
    call(&body.replace("\"m\"", "\"n\"")).expect(422);
    let Claim::Answered(kept) = house.wait(house.store().claim("ten_a", "once-1", "", 0)).unwrap() else {
        panic!("no answer is kept");
    };
    let kept = String::from_utf8(kept.body).unwrap();
    assert!(!kept.contains("eyJ") && !kept.contains(one["code"].as_str().unwrap()), "{kept}");
}

#[test]
fn what_does_not_fit_is_refused_by_field() {
    let house = House::new();
    let fresh = json!({ "reference": "m" });
    let long = "x".repeat(65);
    for (body, field) in [
        (json!({ "scope": "feed" }), "matchId"),
        (json!({ "scope": "feed", "matchId": "mat_x", "match": fresh }), "match"),
        (json!({ "scope": "feed", "match": { "reference": "" } }), "match.reference"),
        (json!({ "scope": "feed", "match": { "reference": long } }), "match.reference"),
        (json!({ "scope": "feed", "match": { "reference": "m", "sides": { "x": "agt_none" } } }), "match.sides.x"),
        (json!({ "scope": "feed", "match": { "reference": "m", "tenantId": "ten_b" } }), "match.tenantId"),
        (json!({ "scope": "feed", "match": fresh, "view": "white" }), "view"),
        (json!({ "scope": "feed", "match": fresh, "ttlSeconds": 59 }), "ttlSeconds"),
        (json!({ "scope": "feed", "match": fresh, "ttlSeconds": 9_999_999 }), "ttlSeconds"),
        (json!({ "scope": "play", "match": fresh }), "scope"),
    ] {
        let problem = house.game.post("/v1/sessions", &body).expect(422);
        assert_eq!(problem["field"], field, "{problem}");
    }
    house.game.post("/v1/sessions", &json!({ "scope": "feed", "matchId": "mat_x" })).expect(404);
    house.game.post("/v1/sessions", &json!({ "scope": "watch", "match": fresh, "view": "all" })).expect(403);
    assert_eq!(house.game.get("/v1/matches").expect(200)["items"], json!([]), "nothing was made by the way");
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    viewer.post("/v1/sessions", &json!({ "scope": "watch", "match": fresh })).expect(403);
    let admin = house.key(None, ApiRole::Admin);
    let problem = admin.post("/v1/matches", &fresh).expect(422);
    assert_eq!(problem["field"], "tenantId", "{problem}");
    admin.post("/v1/matches", &json!({ "reference": "m", "tenantId": "ten_a" })).expect(201);
}

#[test]
fn what_belongs_to_another_tenant_does_not_exist() {
    let house = House::new();
    house.add_tenant("ten_b");
    let session = house.feeds("m");
    let stranger = house.key(Some("ten_b"), ApiRole::Operator);
    let of = session.made["match"]["id"].as_str().unwrap();
    for path in [session.path(""), session.path("/state"), session.path("/watch"), format!("/v1/matches/{of}")] {
        stranger.get(&path).expect(404);
    }
    for path in [session.path("/token"), session.path("/code"), format!("/v1/matches/{of}/end")] {
        stranger.post(&path, &json!({})).expect(404);
    }
    stranger.delete(&session.path("")).expect(404);
    assert_eq!(stranger.get("/v1/sessions").expect(200)["items"], json!([]));
    assert_eq!(stranger.get("/v1/matches").expect(200)["items"], json!([]));
    session.holder.get(&session.path("/state")).expect(200);
}

#[test]
fn opening_and_revoking_is_written_down() {
    let house = House::new();
    let session = house.feeds("m");
    house.game.delete(&session.path("")).expect(204);
    let page = agentcast::store::PageRequest { after: None, limit: 50 };
    let log = house.wait(house.store().audit_log(Some("ten_a"), &page)).unwrap();
    let actions: Vec<_> = log.items.iter().filter(|e| e.subject == session.id).map(|e| &*e.action).collect();
    assert_eq!(actions, ["session.revoked", "session.opened"]);
    assert!(log.items.iter().all(|e| e.from.as_deref() == Some("127.0.0.1")), "{log:?}");
}

#[test]
fn a_repeated_call_gives_no_token_to_a_lesser_role_nor_of_a_session_that_is_over() {
    let house = House::new();
    let body = json!({ "scope": "watch", "match": { "reference": "m" }, "view": "all" }).to_string();
    let call = |client: &crate::support::service::Client| {
        let headers = ["Content-Type: application/json", "Idempotency-Key: job-1"];
        client.call("POST", "/v1/sessions", &headers, body.as_bytes())
    };
    let made = call(&house.operator).expect(201);
    let refused = call(&house.game);
    refused.expect(403);
    assert!(!refused.text().contains("eyJ") && !refused.text().contains("code="), "{}", refused.text());
    call(&house.operator).expect(201);
    let id = made["session"]["id"].as_str().unwrap();
    house.operator.delete(&format!("/v1/sessions/{id}")).expect(204);
    let over = call(&house.operator);
    assert_eq!(over.expect(409)["detail"].as_str().map(|words| words.contains("revoked")), Some(true));
    assert!(!over.text().contains("eyJ"), "{}", over.text());
}

#[test]
fn what_a_side_hides_is_for_its_token_or_a_key_of_role_game() {
    let house = House::new();
    let feeding = house.feeds("m");
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    for (view, viewer_may, game_may) in [("spectator", 200, 200), ("side:x", 403, 200), ("all", 403, 403)] {
        let session = house.watches(&feeding, view);
        viewer.get(&session.path("/state")).expect(viewer_may);
        house.game.get(&session.path("/state")).expect(game_may);
        if viewer_may == 403 {
            viewer.get(&session.path("/watch")).expect(403);
        }
        for path in [session.path("/token"), session.path("/code")] {
            viewer.post(&path, &json!({})).expect(viewer_may);
            house.game.post(&path, &json!({})).expect(game_may);
        }
        house.operator.get(&session.path("/state")).expect(200);
        // Its own token shows what it was made for.
        session.holder.get(&session.path("/state")).expect(200);
    }
}
