//! What holds for every answer: ids, fields, CORS, limits of bodies, HTTP/2.

use crate::support::postgres::Postgres;
use crate::world::{World, config};
use agentcast::http::api::router_with;
use agentcast::http::server::{Limits, serve};
use agentcast::store::Place;
use axum::Router;
use axum::routing::get;
use serde_json::json;
use std::process::Command;
use tokio::net::TcpListener;

#[tokio::test]
async fn addresses_and_methods_that_do_not_exist_are_problems() {
    let world = World::new(config()).await;
    world.get("", "/v1/nothing").await.problem(404, "not-found");
    world.get(&world.admin, "/v1/agents/agt_%F0").await.problem(400, "malformed");
    world.get(&world.admin, "/v1/agents/a'%20or%201=1").await.problem(404, "not-found");
    let method = world.call(&world.admin, "PUT /v1/agents", &[], b"").await;
    method.problem(405, "method-not-allowed");
    let allow = method.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn text_that_no_id_can_be_finds_nothing_on_postgresql_too() {
    let server = Postgres::shared();
    for place in [Place::Memory, Place::Postgres(server.database().await.into())] {
        let world = World::at(config(), &place).await;
        let key = world.operator("Arena").await;
        let admin = world.admin.clone();
        world.agent(&key, "Ada").await;
        let made = world.json(&key, "POST /v1/sessions", json!({"scope": "feed", "match": {"reference": "m"}})).await;
        made.expect(201);
        for (key, line, body, status) in [
            (&key, "GET /v1/usage?agentId=%00", json!(null), 422),
            (&key, "GET /v1/usage?from=%00", json!(null), 422),
            (&key, "GET /v1/audit?after=%00", json!(null), 422),
            (&key, "GET /v1/agents?after=%00", json!(null), 422),
            (&key, "GET /v1/sessions/%00/state", json!(null), 404),
            (&key, "GET /v1/sessions/%00", json!(null), 404),
            (&key, "POST /v1/sessions/a%00/events", json!({}), 404),
            (&key, "POST /v1/sessions", json!({"scope": "watch", "matchId": "a\0"}), 404),
            (&key, "POST /v1/sessions", json!({"scope": "feed", "match": {"reference": "a\0"}}), 422),
            (&key, "POST /v1/sessions", json!({"scope": "feed", "match": {"reference": "m"}, "view": "side:\0"}), 422),
            (&key, "POST /v1/matches", json!({"reference": "m", "sides": {"a": "\0"}}), 422),
            (&key, "POST /v1/matches", json!({"reference": "m", "sides": {"\0": "a"}}), 422),
            (&key, "POST /v1/matches", json!({"reference": "m", "title": "\0"}), 422),
            (&admin, "POST /v1/matches", json!({"reference": "m", "tenantId": "\0"}), 422),
            (&key, "POST /v1/streams", json!({"agentId": "\0", "matchId": "mat_1"}), 404),
            (&key, "POST /v1/streams", json!({"agentId": "agt_1", "matchId": "\0"}), 404),
            (&admin, "POST /v1/agents", json!({"name": "Ada", "tenantId": "\0"}), 422),
            (&key, "POST /v1/agents", json!({"name": "A\0da"}), 422),
            (&key, "POST /v1/agents", json!({"name": "Ada", "model": "\0"}), 422),
            (&admin, "POST /v1/api-keys", json!({"name": "a", "role": "game", "tenantId": "\0"}), 422),
            (&admin, "POST /v1/api-keys", json!({"name": "\0", "role": "admin"}), 422),
            (&admin, "POST /v1/tenants", json!({"name": "\0"}), 422),
        ] {
            let bytes = if body.is_null() { String::new() } else { body.to_string() };
            let answer = world.call(key, line, &[], bytes.as_bytes()).await;
            assert_eq!(answer.status.as_u16(), status, "{place:?}: {line} {body}: {}", answer.text());
        }
        let once = world.call(&key, "POST /v1/agents", &["idempotency-key: a b"], br#"{"name":"Ada"}"#).await;
        assert_eq!(once.problem(422, "invalid").as_deref(), Some("Idempotency-Key"));
    }
}

#[tokio::test]
async fn bodies_of_another_kind_or_size_are_refused() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let post = async |kind: &str, body: &[u8]| {
        world.call(&key, "POST /v1/agents", &[&*format!("content-type: {kind}")], body).await
    };
    post("text/plain", b"{}").await.problem(415, "media-type");
    post("application/json", b"{").await.problem(400, "malformed");
    post("application/json", b"").await.problem(400, "malformed");
    post("application/json; charset=utf-8", br#"{"name":"Ada"}"#).await.expect(201);
    let large = post("application/json", &[b' '; 64 * 1024 + 1]).await;
    large.problem(413, "too-large");
    assert_eq!(large.value()["limit"], 64 * 1024);
}

#[tokio::test]
async fn every_answer_has_an_id_and_says_how_it_may_be_used() {
    let world = World::new(config()).await;
    let named = world.call(&world.admin, "GET /v1/whoami", &["x-request-id: job-7"], b"").await;
    assert_eq!(named.header("x-request-id"), Some("job-7"));
    assert_eq!(named.header("cache-control"), Some("no-store"));
    let forged = world.call("", "GET /v1/nothing", &["x-request-id: a b"], b"").await;
    assert_eq!(forged.header("x-request-id").map(str::len), Some(32));
    for answer in [named, forged] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_browser() {
    let mut config = config();
    config.http.cors_origins = vec!["https://game.example".into()];
    let world = World::new(config).await;
    let ask = async |origin: &str| {
        let headers = [&*format!("origin: {origin}"), "access-control-request-method: POST"];
        world.call("", "OPTIONS /v1/sessions", &headers, b"").await
    };
    let good = ask("https://game.example").await;
    assert!(good.status.is_success());
    assert_eq!(good.header("access-control-allow-origin"), Some("https://game.example"));
    assert_eq!(good.header("access-control-allow-credentials"), None, "no cookies from elsewhere");
    assert_eq!(ask("https://evil.example").await.header("access-control-allow-origin"), None);
    let get = world.call(&world.admin, "GET /v1/whoami", &["origin: https://game.example"], b"").await;
    assert!(get.header("access-control-expose-headers").unwrap().to_lowercase().contains("etag"));
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let world = World::new(config()).await;
    for (accept, encoding) in [("gzip", Some("gzip")), ("br", Some("br")), ("identity", None)] {
        let answer = world.call("", "GET /openapi.json", &[&*format!("accept-encoding: {accept}")], b"").await;
        assert_eq!(answer.header("content-encoding"), encoding, "{accept}");
    }
}

#[tokio::test]
async fn a_call_is_finished_when_its_caller_hangs_up() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let call = world.json(&key, "POST /v1/agents", json!({"name": "Ada"}));
    // Polled once, which begins it, and dropped.
    assert!(futures_util::FutureExt::now_or_never(call).is_none());
    world.api.close(std::time::Duration::from_secs(20)).await;
    assert_eq!(world.get(&key, "/v1/agents").await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&key, "/v1/audit").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_on_one_port() {
    let world = World::new(config()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/whoami", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, world.router.clone(), Limits::default(), async { _ = stopped.await }));
    for (flag, version) in [("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        let (url, auth) = (url.clone(), format!("Authorization: Bearer {}", world.admin));
        let output = tokio::task::spawn_blocking(move || {
            let args = ["-s", "-m", "20", "-w", "\n%{http_version} %{http_code}", "-H", &auth, flag, &url];
            Command::new("curl").args(args).output().expect("curl is installed")
        });
        let said = String::from_utf8(output.await.unwrap().stdout).unwrap();
        assert!(said.ends_with(&format!("\n{version} 200")), "{said}");
        assert!(said.contains("\"from\":\"127.0.0.1\""), "{said}");
    }
    stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), server).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn routes_from_elsewhere_get_the_same_ids_fields_and_problems() {
    let mut world = World::new(config()).await;
    let failing = async || -> &'static str { panic!("canary") };
    let others = Router::new().route("/extra", get(async || "plain")).route("/failing", get(failing));
    world.router = router_with(world.api.clone(), others);
    let answer = world.call("", "GET /extra", &["x-request-id: job-7"], b"").await;
    assert_eq!((answer.text().as_str(), answer.header("x-request-id")), ("plain", Some("job-7")));
    for name in ["x-content-type-options", "content-security-policy", "referrer-policy"] {
        assert!(answer.header(name).is_some(), "{name}");
    }
    let failed = world.get("", "/failing").await;
    failed.problem(500, "internal");
    assert!(!failed.text().contains("canary"));
    world.call("", "POST /extra", &[], b"").await.problem(405, "method-not-allowed");
    let metrics = world.get(&world.admin, "/metrics").await.text();
    assert!(metrics.contains("route=\"/extra\",status=\"200\""), "{metrics}");
}
