//! Webhooks as a LiveKit server sends them: recorded ones, forged ones, and those of a real server that runs beside us.

mod support;

use agentcast::http::server::{Limits, serve};
use agentcast::livekit::Server;
use agentcast::livekit::rooms::{RoomMetadata, Rooms};
use agentcast::webhook::verify::{Refused, Verifier};
use agentcast::webhook::{BODY_LIMIT, Change, Hub, PATH, RoomLine};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime};
use support::dir::TempDir;
use support::http;
use support::livekit::{LiveKit, Settings, free_ports};
use support::program::{PATIENCE, Program, agentcast, file, wait_until};
use support::service::{JWT_SECRET, KEK};
use support::subscriber::Subscriber;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const KEY: &str = "APIwebhooktest";
const SECRET: &str = "webhook-canary-secret-of-forty-characters";

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn token(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |v: &Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

/// As the server signs a body `age` seconds ago, with changes; null removes a claim.
fn signed(body: &[u8], age: i64, changes: Value) -> String {
    let (at, hash) = (now() - age, BASE64_STANDARD.encode(Sha256::digest(body)));
    let mut claims = json!({ "iss": KEY, "iat": at, "nbf": at, "exp": at + 300, "sha256": hash });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    token(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET)
}

/// Sends a request and returns all of the answer.
fn send(address: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // One that is refused early may be closed while we still write.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(address: &str, kind: &str, token: Option<&str>, body: &[u8]) -> String {
    let token = token.map(|t| format!("\r\nAuthorization: {t}")).unwrap_or_default();
    let length = body.len();
    let head = format!("POST {PATH} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {length}{token}");
    send(address, &head, body)
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no answer but {answer:?}"))
}

const WEBHOOK: &str = "application/webhook+json";

fn deliver(address: &str, body: &[u8]) -> u16 {
    status_of(&post(address, WEBHOOK, Some(&signed(body, 1, json!({}))), body))
}

/// The token and the body of a recorded request.
fn recorded(name: &str) -> (String, Vec<u8>) {
    let text = std::fs::read_to_string(file(&format!("tests/data/webhooks/{name}.http"))).expect("test data");
    let (head, body) =
        text.replace("\r\n", "\n").split_once("\n\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    let token = head.lines().find_map(|l| l.strip_prefix("Authorization: ")).expect("it is signed");
    (token.to_owned(), body.into_bytes())
}

const RECORDED: [&str; 7] = [
    "room_started",
    "participant_joined",
    "track_published",
    "track_unpublished",
    "participant_left",
    "participant_connection_aborted",
    "room_finished",
];

/// Bodies of two egress jobs, in their order: one that was stopped, one whose process was killed.
fn egress_bodies() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = std::fs::read_dir(file("tests/data/webhooks"))
        .expect("test data")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    names.sort();
    names.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A hub on a real socket.
struct Served {
    hub: Hub,
    address: String,
    _stop: oneshot::Sender<()>,
}

async fn served() -> Served {
    let server = Server::new("ws://127.0.0.1:1", KEY, SecretString::from(SECRET)).unwrap();
    let hub = Hub::new(&server);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, hub.router(), Limits::default(), async { _ = stopped.await }));
    Served { hub, address, _stop: stop }
}

#[test]
fn recorded_requests_of_a_real_server_verify_at_their_time_only() {
    let verifier = Verifier::new("devkey", SecretString::from("secret"));
    for name in RECORDED {
        let (token, body) = recorded(name);
        let event: Value = serde_json::from_slice(&body).unwrap();
        let sent_ms = event["createdAt"].as_str().unwrap().parse::<i64>().unwrap() * 1000;
        assert_eq!(verifier.verify(Some(&token), &body, sent_ms), Ok(()), "{name}");
        assert_eq!(verifier.verify(Some(&token), &body, sent_ms + 600_000), Err(Refused::Old), "{name}");
        assert_eq!(verifier.verify(Some(&token), &body[1..], sent_ms), Err(Refused::Body), "{name}");
    }
}

fn room<'a>(rooms: &'a [RoomLine], name: &str) -> &'a RoomLine {
    rooms.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no {name} in {rooms:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_bodies_become_rooms_and_jobs_whatever_their_order() {
    let mut bodies: Vec<_> = RECORDED.iter().map(|name| recorded(name).1).chain(egress_bodies()).collect();
    assert_eq!(bodies.len(), 16);
    for backwards in [false, true] {
        if backwards {
            bodies.reverse();
        }
        let served = served().await;
        let mut changes = served.hub.subscribe();
        for body in bodies.iter().chain(&bodies) {
            assert_eq!(deliver(&served.address, body), 200);
        }
        let status = served.hub.status();
        let names: Vec<_> = status.rooms.iter().map(|r| &*r.name).collect();
        assert_eq!(names, ["rs", "stdual23", "stdual24"], "stdual22 has finished");
        let playing = room(&status.rooms, "stdual23");
        let bot = &playing.participants[0];
        assert_eq!((&*bot.identity, &*bot.tracks[0].name, bot.tracks[0].kind), ("bot", "mix", "audio"));
        let left = room(&status.rooms, "stdual24");
        assert_eq!((left.viewers, left.participants.len()), (0, 0));
        assert_eq!(left.started.as_deref(), Some("2026-11-20T22:50:37Z"));
        let jobs: Vec<_> = status.egress.iter().map(|e| (e.status, e.error.as_deref())).collect();
        assert_eq!(jobs, [("EGRESS_FAILED", Some("signal: killed")), ("EGRESS_COMPLETE", None)]);
        let ended = served.hub.egress("EG_Kfh7pjijoGk5").expect("it is kept");
        assert_eq!(ended.details, "End reason: StopEgress API");
        assert_eq!((status.webhooks.verified, status.webhooks.duplicate), (32, 16));
        assert_eq!((status.webhooks.refused, status.webhooks.unknown), (0, 0));
        assert_eq!(status.webhooks.events["egress_updated"], 10);
        assert_eq!(status.webhooks.stale > 0, backwards, "{:?}", status.webhooks);
        let shown = serde_json::to_string(&status).unwrap();
        assert!(!shown.contains("turnPassword") && !shown.contains("RfJ2Hlz1VjuO0eTHH4mf1PX4OOr"), "{shown}");
        let mut told = Vec::new();
        while let Ok(change) = changes.try_recv() {
            told.push(change);
        }
        let failed = |c: &Change| matches!(c, Change::Egress(info) if info.error == "signal: killed");
        assert_eq!(told.iter().filter(|c| failed(c)).count(), 1, "{told:?}");
        if !backwards {
            assert!(told.iter().any(|c| matches!(c, Change::Viewers { now: 1, peak: 1, .. })), "{told:?}");
            assert!(told.iter().any(|c| matches!(c, Change::Viewers { now: 0, peak: 1, .. })), "{told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_sizes_are_taken_up_to_their_limits() {
    let Served { hub, address, _stop } = served().await;
    let body = recorded("room_started").1;
    let good = signed(&body, 1, json!({}));
    for (kind, expected) in [
        ("application/json", 200),
        ("Application/Webhook+JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/webhook+jsonx", 415),
        ("", 415),
    ] {
        assert_eq!(status_of(&post(&address, kind, Some(&good), &body)), expected, "{kind:?}");
    }
    let most = [body.clone(), vec![b' '; BODY_LIMIT - body.len()]].concat();
    assert_eq!(deliver(&address, &most), 200);
    let large = [most, vec![b' ']].concat();
    assert_eq!(deliver(&address, &large), 413);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nContent-Type: {WEBHOOK}\r\nAuthorization: {}\r\nTransfer-Encoding: chunked",
        signed(&large, 1, json!({}))
    );
    let chunked = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(status_of(&send(&address, &head, &chunked)), 413);
    assert_eq!(status_of(&send(&address, &format!("GET {PATH} HTTP/1.1"), b"")), 405);
    let before = hub.status().webhooks;
    assert_eq!((before.verified, before.duplicate, before.refused), (3, 2, 6), "{before:?}");
    // Signed by the server and not to be read: counted, and not sent again.
    for odd in [
        &b"{}"[..],
        b"no json",
        br#"{"event":"moon_rose","id":"EV_m"}"#,
        br#"{"event":"room_finished","roomEndReason":"NEW"}"#,
    ] {
        assert_eq!(deliver(&address, odd), 200);
    }
    assert_eq!(hub.status().webhooks.unknown, 4);
}

/// The program, on a folder of its own, with this LiveKit server.
fn program(dir: &TempDir, url: &str, listen: &str, key: &str, secret: &str) -> (Program, String) {
    let mut command = agentcast();
    command
        .args(["serve", "-vv", "--listen", listen])
        .env("AGENTCAST_DATA_DIR", dir.path())
        .env("STREAM_KEY_ENCRYPTION_KEY", KEK)
        .env("STREAMING_JWT_SECRET", JWT_SECRET)
        .env("LIVEKIT_URL", url)
        .env("LIVEKIT_API_KEY", key)
        .env("LIVEKIT_API_SECRET", secret)
        .env("AGENTCAST_LOG", "trace");
    let program = Program::start(&mut command);
    let line = program.wait_for("agentcast serve: http://");
    let address = line.split("http://").nth(1).and_then(|a| a.split('/').next()).expect("an address").to_owned();
    (program, address)
}

fn status_page(address: &str) -> Value {
    let answer = http::get(address, "/status.json", &[]);
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[test]
fn forged_webhooks_get_401_without_a_reason_and_no_secret_is_printed() {
    let dir = TempDir::new("forged");
    let (mut program, address) = program(&dir, "ws://127.0.0.1:1", "127.0.0.1:0", KEY, SECRET);
    let body = recorded("room_started").1;
    let good = signed(&body, 1, json!({}));
    let claims = |secret: &str, alg: &str| {
        let (at, hash) = (now(), BASE64_STANDARD.encode(Sha256::digest(&body)));
        let claims = json!({ "iss": KEY, "iat": at, "nbf": at, "exp": at + 300, "sha256": hash });
        token(&json!({ "alg": alg, "typ": "JWT" }), &claims, secret)
    };
    let mut changed = body.clone();
    changed[20] ^= 1;
    let mut answers = String::new();
    let forged = [
        ("no token", None, &body),
        ("words", Some("let me in".to_owned()), &body),
        ("alg none", Some(claims(SECRET, "none")), &body),
        ("alg RS256", Some(claims(SECRET, "RS256")), &body),
        ("another secret", Some(claims("another secret of the same length......", "HS256")), &body),
        ("another key", Some(signed(&body, 1, json!({ "iss": "APIother" }))), &body),
        ("expired", Some(signed(&body, 1, json!({ "exp": now() - 60 }))), &body),
        ("too old", Some(signed(&body, 400, json!({ "exp": now() + 600 }))), &body),
        ("not yet", Some(signed(&body, -120, json!({}))), &body),
        ("no hash", Some(signed(&body, 1, json!({ "sha256": null }))), &body),
        ("another body", Some(good.clone()), &changed),
    ];
    for (what, token, body) in &forged {
        let answer = post(&address, WEBHOOK, token.as_deref(), body);
        assert_eq!(status_of(&answer), 401, "{what}");
        let said = answer.split_once("\r\n\r\n").expect("a head").1;
        assert_eq!(said, "", "{what}");
        answers += &answer;
    }
    assert_eq!(status_of(&post(&address, WEBHOOK, Some(&format!("Bearer {good}")), &body)), 200);
    let status = status_page(&address);
    answers += &status.to_string();
    assert_eq!(status["webhooks"]["refused"], forged.len());
    assert_eq!(status["webhooks"]["verified"], 1);
    assert!(status["webhooks"]["last"].as_str().is_some_and(|t| t.ends_with('Z')), "{status}");
    assert_eq!(status["rooms"][0]["name"], "stdual24");
    let unreachable = wait_until("the first listing to fail", PATIENCE, || {
        status_page(&address)["listings"]["error"].as_str().map(str::to_owned)
    });
    assert!(unreachable.contains("127.0.0.1:1 cannot be reached"), "{unreachable}");
    assert_eq!(http::get(&address, "/status.json", &["Host: agentcast.example.com"]).split(' ').nth(1), Some("403"));
    assert!(http::get(&address, "/healthz", &["Host: agentcast.example.com"]).starts_with("HTTP/1.1 200"));
    assert!(program.stop(libc::SIGTERM).success());
    let said = program.said();
    assert!(said.contains("a webhook was refused: it has no Authorization header"), "{said}");
    let lines = said.matches("a webhook was refused").count();
    assert!(lines < forged.len() / 2, "{lines} lines for {} refusals:\n{said}", forged.len());
    for text in [&said, &answers] {
        assert!(!text.contains("canary") && !text.contains("eyJ"), "a secret is told:\n{text}");
    }
}

/// Waits until the page says what is asked for.
#[track_caller]
fn wait_status<T>(what: &str, address: &str, ask: impl Fn(&Value) -> Option<T>) -> T {
    wait_until(what, PATIENCE, || ask(&status_page(address)))
}

#[test]
fn what_happens_on_a_real_server_shows_by_webhook_and_without_webhooks_by_listing() {
    let [port] = free_ports();
    let webhook = Some(format!("http://127.0.0.1:{port}{PATH}"));
    let livekit = LiveKit::with(Settings { webhook, ..Settings::default() });
    let listen = format!("127.0.0.1:{port}");
    let dirs = [TempDir::new("hears"), TempDir::new("deaf")];
    let (mut hears, address) = program(&dirs[0], &livekit.url(), &listen, livekit.key(), livekit.secret());
    wait_status("the first listing", &address, |s| (s["listings"]["done"].as_u64() >= Some(1)).then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rooms = Rooms::new(&livekit.server());
    let metadata = RoomMetadata { title: "Final".into(), agent: "x".into() };
    runtime.block_on(rooms.ensure("final", &metadata.to_json())).expect("the server makes a room");
    let find = |s: &Value, ask: &dyn Fn(&Value) -> bool| {
        let rooms = s["rooms"].as_array()?;
        rooms.iter().find(|r| r["name"] == "final" && ask(r)).cloned()
    };
    wait_status("the room", &address, |s| find(s, &|_| true));
    let viewer = Subscriber::join(&livekit, "final", "watcher");
    let seen = wait_status("the viewer", &address, |s| find(s, &|r| r["viewers"] == 1));
    assert_eq!((&seen["peak"], &seen["participants"][0]["identity"]), (&json!(1), &json!("watcher")));
    // Another one that no webhook reaches.
    let (mut deaf, other) = program(&dirs[1], &livekit.url(), "127.0.0.1:0", livekit.key(), livekit.secret());
    let listed = wait_status("the viewer by listing", &other, |s| find(s, &|r| r["viewers"] == 1));
    assert_eq!(listed, seen);
    assert_eq!(status_page(&other)["webhooks"]["last"], Value::Null);
    assert!(status_page(&other)["listings"]["mended"].as_u64().is_some_and(|n| n >= 3));
    drop(viewer);
    let left = wait_status("nobody to watch", &address, |s| find(s, &|r| r["viewers"] == 0));
    assert_eq!(left["peak"], 1);
    runtime.block_on(rooms.delete("final")).expect("the server ends the room");
    // A listing may tell it before the webhook does.
    let end = wait_status("the room to end", &address, |s| {
        let told = s["webhooks"]["events"]["room_finished"].as_u64() >= Some(1);
        (told && s["rooms"].as_array()?.is_empty()).then(|| s.clone())
    });
    for event in ["room_started", "participant_joined", "room_finished"] {
        assert_eq!(end["webhooks"]["events"][event], 1, "{end}");
    }
    assert_eq!((&end["webhooks"]["refused"], &end["webhooks"]["unknown"]), (&json!(0), &json!(0)), "{end}");
    assert_eq!(end["listings"]["error"], Value::Null, "no redis is no error");
    wait_until("the end by listing", Duration::from_secs(60), || {
        status_page(&other)["rooms"].as_array()?.is_empty().then_some(())
    });
    for program in [&mut hears, &mut deaf] {
        assert!(program.stop(libc::SIGINT).success());
        let said = program.said();
        assert!(!said.contains(livekit.secret()) && !said.contains("eyJ"), "a secret is told:\n{said}");
    }
    assert!(hears.said().contains("\"watcher\" joined \"final\""), "{}", hears.said());
}
