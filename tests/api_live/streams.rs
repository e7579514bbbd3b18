use crate::house::{House, PATIENCE};
use crate::support::program::wait_until;
use crate::support::service::Sender;
use agentcast::server::stage::Scene;
use agentcast::store::model::ApiRole;
use serde_json::{Value, json};

/// An agent on air with a match: ids of agent, match and stream.
fn on_air(house: &House) -> (String, String, String) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let agent = text(&house.operator.post("/v1/agents", &json!({ "name": "Ada" })).expect(201)["id"]);
    let body = json!({ "kind": "rtmp", "ingest": "rtmp://127.0.0.1:1/live" });
    let destination = house.operator.post(&format!("/v1/agents/{agent}/destinations"), &body).expect(201);
    let key = format!("/v1/destinations/{}/key", text(&destination["id"]));
    house.operator.put(&key, &json!({ "key": "some-stream-key" })).expect(200);
    house.operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).expect(200);
    let made = house.game.feed_session("m", json!({ "x": agent }));
    house.game.push(made["session"]["id"].as_str().unwrap(), &[Sender::new("m").started()]).expect(200);
    let stream = wait_until("the stream", PATIENCE, || {
        let list = house.operator.get("/v1/streams").expect(200);
        let open = list["items"].as_array().unwrap().iter().find(|s| s["state"] == "live").cloned();
        open.map(|stream| text(&stream["id"]))
    });
    (agent, text(&made["match"]["id"]), stream)
}

#[test]
fn where_a_stream_goes_is_for_operators_and_how_it_does_for_everybody() {
    let house = House::new();
    let (_, _, stream) = on_air(&house);
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    let one = format!("/v1/streams/{stream}");
    let shown = house.operator.get(&one).expect(200);
    let (id, name) = (shown["destinations"][0]["id"].as_str().unwrap(), &shown["destinations"][0]["name"]);
    assert!(id.starts_with("dst_") && name.as_str().unwrap().contains("127.0.0.1"), "{shown}");
    for client in [&viewer, &house.game] {
        for path in [&*one, "/v1/streams", "/metrics"] {
            let answer = client.get(path);
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.text().contains("dst_") && !answer.text().contains("127.0.0.1"), "{}", answer.text());
        }
        let seen = client.get(&one).expect(200);
        assert_eq!(seen["destinations"].as_array().map(Vec::len), Some(1), "{seen}");
        assert_eq!(seen["destinations"][0]["state"], shown["destinations"][0]["state"]);
    }
    let (theirs, operators) = (viewer.get("/metrics").text(), house.operator.get("/metrics").text());
    assert!(
        theirs.contains("agentcast_stream_fps{") && operators.contains(&format!("destination=\"{id}\"")),
        "{theirs}"
    );
}

#[test]
fn an_operator_takes_scenes_marks_moments_sees_the_picture_and_stops() {
    let house = House::new();
    let (agent, of, stream) = on_air(&house);
    let path = |rest: &str| format!("/v1/streams/{stream}{rest}");
    let shown = house.operator.get(&path("")).expect(200);
    assert_eq!((&shown["agentId"], &shown["matchId"], &shown["fps"]), (&json!(agent), &json!(of), &json!(30.0)));

    let taken = house.operator.post(&path("/scene"), &json!({ "scene": "ending" })).expect(200);
    assert_eq!(taken["scene"], "ending");
    assert!(house.stage.scenes.lock().unwrap().contains(&Some(Scene::Ending)));
    assert_eq!(house.operator.post(&path("/scene"), &json!({ "scene": null })).expect(200)["scene"], Value::Null);
    house.operator.post(&path("/scene"), &json!({})).expect(422);
    house.operator.post(&path("/scene"), &json!({ "scene": "party" })).expect(422);

    let marked = house.operator.post(&path("/marker"), &json!({ "label": "Queen trap" })).expect(200);
    assert!(marked["positionMs"].is_u64(), "{marked}");
    house.operator.post(&path("/marker"), &json!({ "label": "" })).expect(422);

    let picture = wait_until("a picture", PATIENCE, || {
        Some(house.operator.get(&path("/thumbnail.jpg"))).filter(|answer| answer.status == 200)
    });
    assert_eq!(picture.header("content-type"), Some("image/jpeg"));
    let age = picture.header("cache-control").and_then(|c| c.strip_prefix("private, max-age=")?.parse::<u32>().ok());
    assert!(age.is_some_and(|age| age <= 5), "{picture:?}");

    house.operator.post(&path("/stop"), &json!({})).expect(200);
    let ended = wait_until("its end", PATIENCE, || {
        Some(house.operator.get(&path("")).expect(200)).filter(|stream| stream["state"] == "ended")
    });
    assert_eq!(ended["wanted"], false, "{ended}");
    // Stopped twice is stopped; what has ended takes no scene.
    house.operator.post(&path("/stop"), &json!({})).expect(200);
    house.operator.post(&path("/scene"), &json!({ "scene": "live" })).expect(409);
    house.operator.get(&path("/thumbnail.jpg")).expect(404);

    let again = house.operator.post("/v1/streams", &json!({ "agentId": agent, "matchId": of })).expect(201);
    assert_eq!(again["wanted"], true, "{again}");
    let page = agentcast::store::PageRequest { after: None, limit: 50 };
    let log = house.wait(house.store().audit_log(Some("ten_a"), &page)).unwrap();
    for action in ["stream.start", "stream.stop", "stream.scene", "stream.marker"] {
        assert!(log.items.iter().any(|entry| entry.action == action), "{action}: {log:?}");
    }
}

#[test]
fn streams_are_for_operators_of_the_tenant() {
    let house = House::new();
    house.add_tenant("ten_b");
    let (agent, of, stream) = on_air(&house);
    let path = |rest: &str| format!("/v1/streams/{stream}{rest}");
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    viewer.get(&path("")).expect(200);
    viewer.post(&path("/stop"), &json!({})).expect(403);
    house.game.post(&path("/scene"), &json!({ "scene": "live" })).expect(403);
    let stranger = house.key(Some("ten_b"), ApiRole::Operator);
    stranger.get(&path("")).expect(404);
    stranger.get(&path("/thumbnail.jpg")).expect(404);
    for rest in ["/start", "/stop"] {
        stranger.post(&path(rest), &json!({})).expect(404);
    }
    stranger.post(&path("/marker"), &json!({ "label": "x" })).expect(404);
    assert_eq!(stranger.get("/v1/streams").expect(200)["items"], json!([]));
    let refused = stranger.post("/v1/streams", &json!({ "agentId": agent, "matchId": of }));
    assert!(matches!(refused.status, 404 | 409), "{refused:?}");
}
