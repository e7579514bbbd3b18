//! Why an agent or a destination is not on air, where an operator looks.

use crate::off::{OnAir, until};
use crate::support::service::Sender;
use serde_json::json;

#[tokio::test]
async fn a_match_that_waits_for_another_ones_stream_key_says_so_until_that_one_ends() {
    let on_air = OnAir::new().await;
    let (world, operator) = (&on_air.world, &on_air.operator);
    let first = world.get(operator, "/v1/matches").await.expect(200)["items"][0].clone();
    let first = first["id"].as_str().unwrap();
    // The game server crashed, and begins anew under the same reference.
    let body = json!({ "scope": "feed", "match": { "reference": "m", "title": "M", "sides": { "x": on_air.agent } } });
    let made = world.json(operator, "POST /v1/sessions", body).await.expect(201);
    let (session, token) = (made["session"]["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let second = made["match"]["id"].as_str().unwrap();
    world.json(token, &format!("POST /v1/sessions/{session}/events"), Sender::new("m").started()).await.expect(200);
    let of = async |id: &str| world.get(operator, &format!("/v1/matches/{id}")).await.expect(200);
    until("it waits", async || of(second).await["waiting"] != json!([])).await;
    let waiting = of(second).await["waiting"][0].clone();
    assert_eq!(waiting["agentId"], on_air.agent.as_str());
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("/v1/matches/{first}/end")), "{reason}");
    assert_eq!(of(first).await["waiting"], json!([]));
    let listed = world.get(operator, "/v1/matches").await.expect(200);
    assert_eq!(listed["items"][0]["waiting"][0], waiting, "newest first");
    let start = json!({ "agentId": on_air.agent, "matchId": second });
    world.json(operator, "POST /v1/streams", start).await.problem(409, "conflict");
    // As the words say.
    world.json(operator, &format!("POST /v1/matches/{first}/end"), json!({})).await.expect(200);
    until("it is shown", async || of(second).await["waiting"] == json!([])).await;
    let streams = world.api.service.streams().list(None);
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].record.match_id, second);
}

#[tokio::test]
async fn a_destination_says_how_it_is_also_after_its_stream() {
    let on_air = OnAir::new().await;
    let (world, operator) = (&on_air.world, &on_air.operator);
    let list = format!("/v1/agents/{}/destinations", on_air.agent);
    let status = async || world.get(operator, &list).await.expect(200)["items"][0]["status"].clone();
    until("its trouble", async || status().await["state"] == "needs-attention").await;
    until("its time", async || status().await["since"].is_i64()).await;
    let during = status().await;
    assert!(during["trouble"].as_str().unwrap().contains("no stream key is set"), "{during}");
    let id = world.get(operator, &list).await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    let one = world.get(operator, &format!("/v1/destinations/{id}")).await.expect(200);
    assert_eq!((&one["id"], &one["status"]), (&json!(id), &during));
    let off = format!("PUT /v1/agents/{}/streaming", on_air.agent);
    world.json(operator, &off, json!({ "enabled": false })).await.expect(200);
    let after = status().await;
    assert_eq!((&after["state"], &after["trouble"]), (&json!("idle"), &during["trouble"]));
    assert!(after["since"].as_i64() >= during["since"].as_i64());
}
