//! Versions, repeated calls, callers, limits.

use crate::support::dir::TempDir;
use crate::support::service::Sender;
use crate::world::{World, config};
use agentcast::http::api::auth::COOKIE;
use agentcast::store::model::ApiRole;
use agentcast::store::{Claim, Place};
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::Connection;

#[tokio::test]
async fn a_change_of_an_older_version_is_refused_and_none_is_lost() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let patch = format!("PATCH /v1/agents/{agent}");
    let with = async |tag: &str, name: &str| {
        let body = json!({ "name": name }).to_string();
        world.call(&key, &patch, &[&*format!("if-match: {tag}")], body.as_bytes()).await
    };
    let second = with("\"1\"", "B").await;
    assert_eq!((second.expect(200)["version"].as_i64(), second.header("etag")), (Some(2), Some("\"2\"")));
    with("\"1\"", "C").await.problem(412, "stale");
    with("W/\"2\"", "C").await.problem(412, "stale");
    with("\"x\"", "C").await.problem(412, "stale");
    with("2", "C").await.problem(400, "malformed");
    with("*", "D").await.expect(200);
    let gone = world.call(&key, &format!("DELETE /v1/agents/{agent}"), &["if-match: \"1\""], b"").await;
    gone.problem(412, "stale");
    // Without a version all changes go through, whoever is first.
    let changes = (0..8).map(|n| world.json(&key, &patch, json!({ "limits": { "concurrent": n + 1 } })));
    for answer in futures_util::future::join_all(changes).await {
        answer.expect(200);
    }
    assert_eq!(world.get(&key, &format!("/v1/agents/{agent}")).await.expect(200)["version"], 11);
}

#[tokio::test]
async fn a_repeated_creating_call_gives_the_answer_again_and_makes_nothing() {
    let world = World::new(config()).await;
    let tenant = world.tenant("Arena").await;
    let key = world.key(Some(&tenant), ApiRole::Operator).await;
    let make = async |key: &str, once: &str, name: &str| {
        let body = json!({ "name": name }).to_string();
        world.call(key, "POST /v1/agents", &[&*format!("idempotency-key: {once}")], body.as_bytes()).await
    };
    let first = make(&key, "k-1", "Ada").await;
    let again = make(&key, "k-1", "Ada").await;
    assert_eq!(again.expect(201), first.expect(201));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(make(&key, "k-1", "Bob").await.problem(422, "invalid").as_deref(), Some("Idempotency-Key"));
    make(&key, &"k".repeat(256), "Ada").await.problem(422, "invalid");
    let other = world.key(Some(&tenant), ApiRole::Operator).await;
    assert_eq!(make(&other, "k-1", "Ada").await.expect(201), first.value(), "another key of the tenant retries for it");
    let stranger = world.operator("Other").await;
    assert_ne!(make(&stranger, "k-1", "Ada").await.expect(201)["id"], first.value()["id"]);
    assert_eq!(world.get(&key, "/v1/agents").await.expect(200)["items"].as_array().unwrap().len(), 1);
    // What failed may be tried again.
    make(&key, "k-2", "").await.problem(422, "invalid");
    let at_once = (0..8).map(|_| make(&key, "k-3", "Cid"));
    let answers = futures_util::future::join_all(at_once).await;
    assert!(answers.iter().any(|answer| answer.status == 201));
    for answer in &answers {
        assert!(matches!(answer.status.as_u16(), 201 | 409), "{}", answer.text());
    }
    assert_eq!(world.get(&key, "/v1/agents").await.expect(200)["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_api_key_is_in_no_remembered_answer() {
    let world = World::new(config()).await;
    let body = json!({ "name": "root", "role": "admin" }).to_string();
    let make =
        async || world.call(&world.admin, "POST /v1/api-keys", &["idempotency-key: once"], body.as_bytes()).await;
    let first = make().await.expect(201);
    let again = make().await.expect(201);
    assert!(first["key"].is_string() && again["key"].is_null(), "{again}");
    assert_eq!(first["id"], again["id"]);
    let Claim::Answered(kept) = world.store().claim("admin", "once", "", 0).await.unwrap() else {
        panic!("no answer is kept");
    };
    let secret = first["key"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    assert!(!String::from_utf8(kept.body).unwrap().contains(&secret));
}

#[tokio::test]
async fn what_was_made_is_answered_although_the_answer_cannot_be_remembered() {
    let dir = TempDir::new("answers");
    let database = dir.path().join("agentcast.db");
    let world = World::at(config(), &Place::Sqlite(database.clone())).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    sqlx::query(full).execute(&mut other).await.unwrap();
    let body = json!({ "name": "root", "role": "admin" }).to_string();
    let made = world.call(&world.admin, "POST /v1/api-keys", &["idempotency-key: once"], body.as_bytes()).await;
    let key = made.expect(201)["key"].as_str().expect("the key is shown").to_owned();
    world.get(&key, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn a_creating_call_that_a_crash_cut_off_is_not_made_twice() {
    let dir = TempDir::new("cut-off");
    let database = dir.path().join("agentcast.db");
    let world = World::at(config(), &Place::Sqlite(database.clone())).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let key = world.operator("Arena").await;
    let make = async |name: &str| {
        let body = json!({ "name": name }).to_string();
        world.call(&key, "POST /v1/agents", &["idempotency-key: once"], body.as_bytes()).await
    };
    make("Ada").await.expect(201);
    // What is on the disk between the agent and its answer.
    sqlx::query("UPDATE answers SET status = 0, body = x''").execute(&mut other).await.unwrap();
    make("Ada").await.problem(409, "conflict");
    assert_eq!(make("Bob").await.problem(422, "invalid").as_deref(), Some("Idempotency-Key"));
    assert_eq!(world.get(&key, "/v1/agents").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_creating_call_that_failed_is_repeated_under_its_key_although_the_store_failed_too() {
    let dir = TempDir::new("freed");
    let database = dir.path().join("agentcast.db");
    let world = World::at(config(), &Place::Sqlite(database.clone())).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let key = world.operator("Arena").await;
    let make = async || world.call(&key, "POST /v1/agents", &["idempotency-key: once"], b"{\"name\":\"Ada\"}").await;
    for (name, on) in [("no_agent", "INSERT ON agents"), ("no_end", "DELETE ON answers")] {
        let full = format!("CREATE TRIGGER {name} BEFORE {on} BEGIN SELECT RAISE(ABORT, 'disk full'); END");
        sqlx::query(sqlx::AssertSqlSafe(full)).execute(&mut other).await.unwrap();
    }
    assert!(make().await.status.is_server_error());
    assert!(make().await.status.is_server_error(), "it is tried, not refused");
    sqlx::query("DROP TRIGGER no_agent").execute(&mut other).await.unwrap();
    let made = make().await.expect(201);
    assert_eq!(make().await.expect(201)["id"], made["id"]);
    assert_eq!(world.get(&key, "/v1/agents").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn credentials_that_are_wrong_are_refused_in_the_same_words() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let (id, secret) = key.split_once('.').unwrap();
    let wrong = format!("{id}.{}", secret.chars().rev().collect::<String>());
    let unknown = format!("key_{}.{secret}", "0".repeat(32));
    let of = async |key: &str| {
        let answer = world.get(key, "/v1/whoami").await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        answer.text()
    };
    assert_eq!(of(&wrong).await, of(&unknown).await);
    of("").await;
    of("nonsense").await;
    let basic = world.call("", "GET /v1/whoami", &["authorization: Basic YTpi"], b"").await;
    basic.problem(401, "unauthorized");
    let token = world.call("", "GET /v1/whoami", &["authorization: Bearer eyJ0.eyJ1.c2ln"], b"").await;
    token.problem(403, "forbidden");
    world.get(&key, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn guesses_are_slowed_down_and_good_keys_of_the_same_address_are_not() {
    let mut config = config();
    config.limits.auth_failures_per_minute = 3;
    let world = World::new(config).await;
    let key = world.operator("Arena").await;
    let guess = format!("key_{}.{}", "0".repeat(32), "1".repeat(64));
    for _ in 0..3 {
        world.get(&guess, "/v1/whoami").await.problem(401, "unauthorized");
    }
    let refused = world.get(&guess, "/v1/whoami").await;
    refused.problem(429, "too-fast");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    world.get(&key, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn a_key_is_told_what_it_may_still_do_and_when_to_come_back() {
    let mut config = config();
    (config.limits.requests_per_second, config.limits.requests_burst) = (1, 3);
    let world = World::new(config).await;
    let key = world.operator("Arena").await;
    let first = world.get(&key, "/v1/whoami").await;
    first.expect(200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"requests\";q=3;w=3"));
    assert_eq!(first.header("ratelimit"), Some("\"requests\";r=2;t=1"));
    let mut last = first;
    for _ in 0..3 {
        last = world.get(&key, "/v1/whoami").await;
    }
    last.problem(429, "too-fast");
    assert!(last.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="), "{:?}", last.headers);
    assert_eq!(last.header("retry-after"), Some("1"));
    assert_eq!(last.value()["limit"], 3);
    let other = world.operator("Other").await;
    world.get(&other, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn an_operators_cookie_reads_from_anywhere_and_changes_only_from_our_own_pages() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let actor = key.split('.').next().unwrap();
    let value = world.api.cookies.issue(actor);
    let cookie = format!("cookie: a=b; {COOKIE}={}", value.expose_secret());
    let body = json!({ "name": "Ada" }).to_string();
    assert_eq!(world.call("", "GET /v1/whoami", &[&cookie], b"").await.expect(200)["actor"], actor);
    for (headers, good) in [
        (vec![], false),
        (vec!["sec-fetch-site: cross-site"], false),
        (vec!["sec-fetch-site: same-site"], false),
        (vec!["origin: https://evil.example"], false),
        (vec!["origin: https://evil.example", "sec-fetch-site: cross-site"], false),
        (vec!["origin: null"], false),
        (vec!["sec-fetch-site: same-origin"], true),
        (vec!["origin: https://cast.example.com"], true),
    ] {
        let all: Vec<&str> = headers.iter().copied().chain([&*cookie]).collect();
        let answer = world.call("", "POST /v1/agents", &all, body.as_bytes()).await;
        if good {
            answer.expect(201);
        } else {
            answer.problem(403, "forbidden");
        }
    }
    assert_eq!(world.api.cookies.list().len(), 1);
    // Who loses the key is signed out.
    world.call(&world.admin, &format!("DELETE /v1/api-keys/{actor}"), &[], b"").await.expect(204);
    assert!(world.api.cookies.list().is_empty());
    world.call("", "GET /v1/whoami", &[&cookie], b"").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_guesser_is_refused_without_asking_the_store_and_keys_in_use_pass() {
    let mut config = config();
    config.limits.auth_failures_per_minute = 3;
    let world = World::new(config).await;
    let key = world.operator("Arena").await;
    world.get(&key, "/v1/whoami").await.expect(200);
    let guess = |n: u64| format!("key_{n:032x}.{}", "1".repeat(64));
    for n in 0..12 {
        world.get(&guess(n), "/v1/whoami").await;
    }
    // A store that is asked would say so: it is gone.
    world.store().close().await;
    for n in 100..150 {
        world.get(&guess(n), "/v1/whoami").await.problem(429, "too-fast");
    }
    world.get(&key, "/v1/whoami").await.expect(200);
}

/// A session of scope feed for a new match: its id and its token.
async fn session(world: &World, key: &str, reference: &str) -> (String, String) {
    let body = json!({ "scope": "feed", "match": { "reference": reference, "title": "M", "sides": {} } });
    let made = world.json(key, "POST /v1/sessions", body).await.expect(201);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&made["session"]["id"]), text(&made["token"]))
}

#[tokio::test]
async fn a_session_is_read_once_and_a_revoked_one_is_refused_at_once() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let (id, token) = session(&world, &key, "m").await;
    let state = format!("/v1/sessions/{id}/state");
    for _ in 0..3 {
        world.get(&token, &state).await.expect(200);
        world.get(&key, &state).await.expect(200);
    }
    let stranger = world.operator("Other").await;
    world.get(&stranger, &state).await.problem(404, "not-found");
    world.call(&key, &format!("DELETE /v1/sessions/{id}"), &[], b"").await.expect(204);
    world.get(&token, &state).await.problem(401, "unauthorized");
    // What is known is answered while the store is gone.
    let (id, token) = session(&world, &key, "n").await;
    let state = format!("/v1/sessions/{id}/state");
    world.get(&token, &state).await.expect(200);
    world.store().close().await;
    world.get(&token, &state).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    world.get(&token, &state).await.expect(200);
}

#[tokio::test]
async fn feeding_with_a_key_is_counted_by_the_match_and_not_against_the_key() {
    let mut config = config();
    (config.limits.requests_per_second, config.limits.requests_burst) = (1, 4);
    (config.limits.events_per_second, config.limits.events_burst) = (1, 20);
    let world = World::new(config).await;
    let key = world.operator("Arena").await;
    let (id, _) = session(&world, &key, "m").await;
    let mut sender = Sender::new("m");
    let events = format!("POST /v1/sessions/{id}/events");
    world.json(&key, &events, sender.started()).await.expect(200);
    for n in 0..15 {
        world.json(&key, &events, sender.score(n)).await.expect(200);
    }
    let mut refused = None;
    for n in 15..60 {
        let answer = world.json(&key, &events, sender.score(n)).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the match's limit");
    assert!(refused.header("ratelimit").unwrap().contains("\"events\";r="), "{:?}", refused.headers);
    assert!(refused.header("retry-after").is_some());
    world.get(&key, "/v1/whoami").await.expect(200);
}

#[tokio::test]
async fn limits_follow_the_settings_when_they_are_reloaded() {
    let mut config = config();
    (config.limits.requests_per_second, config.limits.requests_burst) = (1, 2);
    let world = World::new(config.clone()).await;
    let key = world.operator("Arena").await;
    let reload = |config: &agentcast::config::Config| {
        *world.api.service.context().config.write().unwrap() = std::sync::Arc::new(config.clone());
    };
    for _ in 0..2 {
        world.get(&key, "/v1/whoami").await.expect(200);
    }
    world.get(&key, "/v1/whoami").await.problem(429, "too-fast");
    // What is not about this limit leaves what it has counted.
    config.limits.sessions_per_minute = 7;
    reload(&config);
    world.get(&key, "/v1/whoami").await.problem(429, "too-fast");
    config.limits.requests_burst = 50;
    reload(&config);
    let answer = world.get(&key, "/v1/whoami").await;
    answer.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=50;w=50"));
    config.limits.auth_failures_per_minute = 1;
    reload(&config);
    world.get("nonsense", "/v1/whoami").await.problem(401, "unauthorized");
    world.get("nonsense", "/v1/whoami").await.problem(429, "too-fast");
}

#[tokio::test]
async fn holders_of_tokens_are_limited_by_address_and_told_so() {
    let mut config = config();
    (config.limits.address_requests_per_second, config.limits.address_requests_burst) = (1, 3);
    let world = World::new(config).await;
    let key = world.operator("Arena").await;
    let (id, token) = session(&world, &key, "m").await;
    let state = format!("/v1/sessions/{id}/state");
    let first = world.get(&token, &state).await;
    first.expect(200);
    assert_eq!(first.header("ratelimit"), Some("\"address\";r=2;t=1"));
    for _ in 0..2 {
        world.get(&token, &state).await.expect(200);
    }
    let refused = world.json(&token, &format!("POST /v1/sessions/{id}/code"), json!({})).await;
    refused.problem(429, "too-fast");
    assert!(refused.header("ratelimit").unwrap().starts_with("\"address\";r=0;t="), "{:?}", refused.headers);
    // Events are the match's, and keys have an allowance of their own.
    world.json(&token, &format!("POST /v1/sessions/{id}/events"), Sender::new("m").started()).await.expect(200);
    world.get(&key, &state).await.expect(200);
}

#[tokio::test]
async fn sessions_are_limited_by_address_whatever_the_key() {
    let mut config = config();
    config.limits.sessions_per_minute = 1;
    let world = World::new(config).await;
    let mut refused = None;
    for n in 0..11 {
        let key = world.operator(&format!("Arena {n}")).await;
        let body = json!({ "scope": "feed", "match": { "reference": "m", "title": "M", "sides": {} } });
        let answer = world.json(&key, "POST /v1/sessions", body).await;
        if n < 10 {
            answer.expect(201);
        } else {
            refused = Some(answer);
        }
    }
    refused.unwrap().problem(429, "too-fast");
}
