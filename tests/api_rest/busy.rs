//! What costs much goes on for so many at once.

use crate::world::{World, config};
use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[tokio::test]
async fn checks_that_hang_leave_turns_to_other_tenants_and_a_third_is_told_to_come_back() {
    let world = World::new(config()).await;
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (key, other) = (world.operator("Arena").await, world.operator("Other").await);
    let made = async |key: &str| {
        let agent = world.agent(key, "Ada").await;
        let body = json!({"kind": "rtmp", "ingest": format!("rtmp://{}/app", silent.local_addr().unwrap())});
        let made = world.json(key, &format!("POST /v1/agents/{agent}/destinations"), body).await.expect(201);
        format!("POST /v1/destinations/{}/check", made["id"].as_str().unwrap())
    };
    let (path, theirs) = (made(&key).await, made(&other).await);
    let begun = Instant::now();
    let hanging = async { tokio::join!(world.call(&key, &path, &[], b""), world.call(&key, &path, &[], b"")) };
    let calls = async {
        // Both have their turn once a third has none.
        let refused = loop {
            let answer = tokio::time::timeout(Duration::from_millis(300), world.call(&key, &path, &[], b"")).await;
            if let Ok(answer) = answer {
                break answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "nobody is refused");
        };
        refused.problem(429, "too-fast");
        assert!(refused.header("retry-after").is_some());
        let theirs = tokio::time::timeout(Duration::from_millis(500), world.call(&other, &theirs, &[], b"")).await;
        assert!(theirs.is_err(), "it has a turn and hangs as well");
        drop(silent);
    };
    let ((first, second), ()) = tokio::join!(hanging, calls);
    for answer in [first, second] {
        answer.expect(200);
    }
    world.call(&key, &path, &[], b"").await.expect(200);
}

#[tokio::test]
async fn tenant_with_as_many_open_matches_as_it_may_is_told_the_limit_until_one_ends() {
    let mut settings = config();
    settings.matches.open_per_tenant = 1;
    let world = World::new(settings).await;
    let (key, other) = (world.operator("Arena").await, world.operator("Other").await);
    let new = json!({"reference": "qf1", "title": "Quarter-final 1", "sides": {}});
    let first = world.json(&key, "POST /v1/matches", new.clone()).await.expect(201);
    let refused = world.json(&key, "POST /v1/matches", new.clone()).await;
    refused.problem(409, "conflict");
    assert_eq!(refused.value()["limit"], 1);
    let session = json!({"scope": "feed", "match": new.clone()});
    world.json(&key, "POST /v1/sessions", session.clone()).await.problem(409, "conflict");
    world.json(&other, "POST /v1/matches", new).await.expect(201);
    let end = format!("POST /v1/matches/{}/end", first["id"].as_str().unwrap());
    world.call(&key, &end, &[], b"").await.expect(200);
    world.json(&key, "POST /v1/sessions", session).await.expect(201);
}
