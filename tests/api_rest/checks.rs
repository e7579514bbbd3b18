//! The pre-flight check of a destination, against real servers.

use crate::support::livekit::LiveKit;
use crate::support::nginx::Nginx;
use crate::world::{World, config};
use agentcast::store::Place;
use serde_json::{Value, json};

/// What a check of a new destination says.
async fn check(world: &World, key: &str, agent: &str, destination: Value) -> Vec<Value> {
    let made = world.json(key, &format!("POST /v1/agents/{agent}/destinations"), destination).await.expect(201);
    let path = format!("POST /v1/destinations/{}/check", made["id"].as_str().unwrap());
    let lines = world.call(key, &path, &[], b"").await.expect(200)["lines"].as_array().unwrap().clone();
    assert!(lines.iter().all(|line| (line["level"] == "green") == line["fix"].is_null()), "{lines:?}");
    lines
}

/// The level of what was looked at, and its words.
#[track_caller]
fn line<'a>(lines: &'a [Value], what: &str) -> (&'a str, &'a str) {
    let line = lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{what}: {lines:?}"));
    (line["level"].as_str().unwrap(), line["detail"].as_str().unwrap())
}

fn reds(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter(|line| line["level"] == "red").filter_map(|line| line["what"].as_str()).collect()
}

#[tokio::test]
async fn a_check_names_what_is_wrong_and_what_to_do() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    // Nobody listens on a port that was just free.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = check(&world, &key, &agent, json!({"kind": "rtmp", "ingest": format!("rtmp://{free}/app")})).await;
    assert_eq!((line(&lines, "flag").0, line(&lines, "switch").0), ("amber", "amber"));
    assert_eq!((line(&lines, "host").0, line(&lines, "DNS").0), ("green", "green"));
    assert_eq!(reds(&lines), ["stream key", "TCP"]);

    let lines = check(&world, &key, &agent, json!({"kind": "livekit-room", "room": "lobby"})).await;
    assert_eq!(reds(&lines), ["LiveKit"]);
}

#[tokio::test]
async fn a_check_of_rtmps_says_whether_the_certificate_is_trusted() {
    let nginx = Nginx::start();
    let mut config = config();
    config.hosts.allowed.push("localhost:*".into());
    let stranger = World::new(config.clone()).await;
    config.ca_file = Some(nginx.ca());
    let world = World::new(config).await;
    let rtmps = |url: String| json!({"kind": "rtmp", "ingest": url.trim_end_matches("/")});
    for (world, url, red) in [
        (&world, nginx.tls_url(""), None),
        (&world, nginx.wrong_host_url(""), Some("TLS")),
        (&stranger, nginx.tls_url(""), Some("TLS")),
    ] {
        let key = world.operator("Arena").await;
        let agent = world.agent(&key, "Ada").await;
        let lines = check(world, &key, &agent, rtmps(url)).await;
        assert_eq!(line(&lines, "TCP").0, "green");
        assert_eq!(line(&lines, "TLS").0, if red.is_some() { "red" } else { "green" });
        let broken: Vec<_> = ["stream key"].into_iter().chain(red).collect();
        assert_eq!(reds(&lines), broken, "{lines:?}");
        assert_eq!(lines.iter().any(|line| line["what"] == "RTMP"), red.is_none(), "no handshake without trust");
    }
}

#[tokio::test]
async fn a_check_of_a_room_asks_the_livekit_server() {
    let livekit = LiveKit::start();
    let world = World::beside(config(), &Place::Memory, Some(livekit.server())).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let lines = check(&world, &key, &agent, json!({"kind": "livekit-room", "room": "lobby"})).await;
    assert_eq!(reds(&lines), [""; 0]);
    assert!(line(&lines, "LiveKit").1.contains("takes our key"));
    assert!(line(&lines, "room").1.contains("lobby"));

    // This server has no Egress service: a job would find no worker.
    let egress = json!({"kind": "rtmp", "ingest": "rtmp://127.0.0.1:1935/app", "via": "livekit-egress"});
    let lines = check(&world, &key, &agent, egress).await;
    assert_eq!(line(&lines, "LiveKit").0, "green");
    let egress = lines.iter().find(|line| line["what"] == "LiveKit Egress").unwrap();
    assert_eq!((&egress["level"], &egress["fix"]), (&json!("red"), &json!("set redis in its configuration")));
}
