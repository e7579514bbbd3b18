//! What the log's scrubber learns from callers.

use crate::world::{World, config};
use agentcast::output::key::RtmpTarget;
use agentcast::output::log::scrub;
use serde_json::json;

#[tokio::test]
async fn a_stream_key_that_is_set_takes_no_words_out_of_the_log() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let destination = world.destination(&key, &agent).await;
    let stranger = world.operator("Stranger").await;
    let put = format!("PUT /v1/destinations/{destination}/key");
    for text in ["set-only-canary-key-1", "answered-by", &agent, "203.0.113.9"] {
        world.json(&key, &put, json!({ "key": text })).await.expect(200);
        assert_eq!(scrub(&format!("in {text} out")), format!("in {text} out"));
    }
    world.json(&stranger, &put, json!({ "key": "strangers-canary-key-1" })).await.problem(404, "not-found");
    assert_eq!(scrub("strangers-canary-key-1"), "strangers-canary-key-1");
    // Another's id is no secret even where it is used as a key.
    let url = format!("rtmp://live.example.com/app/{agent}");
    let _target = RtmpTarget::parse(&url, None).unwrap();
    assert_eq!(scrub(&agent), agent);
    world.json(&key, &format!("POST /v1/destinations/{destination}/check"), json!({})).await;
    assert_eq!(scrub("answered 203.0.113.9"), "answered 203.0.113.9");
}

#[tokio::test]
async fn an_api_key_loses_its_secret_half_in_the_log_by_its_shape() {
    let world = World::new(config()).await;
    let made = world.json(&world.admin, "POST /v1/api-keys", json!({ "name": "root", "role": "admin" })).await;
    let key = made.expect(201)["key"].as_str().unwrap().to_owned();
    let (id, secret) = key.split_once('.').unwrap();
    assert_eq!(scrub(&format!("Bearer {key}")), format!("Bearer {id}.[key]"));
    assert_eq!(scrub(secret), secret, "nothing is kept of it");
}
