use crate::house::{House, PATIENCE, Session, Socket};
use crate::support::program::wait_until;
use crate::support::service::Sender;
use agentcast::server::now_ms;
use agentcast::store::model::ApiRole;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Server-sent events, read as they come.
pub struct Sse {
    stream: TcpStream,
    /// All bytes that came, head included.
    pub bytes: Vec<u8>,
    read: usize,
}

impl Sse {
    pub fn open(address: &str, path: &str, token: &str, more: &[&str]) -> Sse {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{bearer}{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut sse = Sse { stream, bytes: Vec::new(), read: 0 };
        let head = sse.until("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        sse
    }

    fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.bytes[self.read..]).into_owned();
            if let Some(at) = text.find(end) {
                self.read += at + end.len();
                return Some(text[..at].to_owned());
            }
            let mut more = [0; 16 * 1024];
            match self.stream.read(&mut more).expect("the server goes on or ends") {
                0 => return None,
                n => self.bytes.extend_from_slice(&more[..n]),
            }
        }
    }

    /// Name, id and data of the next event; None: the stream has ended.
    pub fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            let block = self.until("\n\n")?;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(|text| text.trim().to_owned())
            };
            // What is between two events is a comment or the size of a chunk.
            if let Some(data) = field("data") {
                let data = serde_json::from_str(&data).unwrap();
                return Some((field("event").unwrap_or_default(), field("id").unwrap_or_default(), data));
            }
        }
    }
}

fn push(session: &Session, event: &Value) {
    session.holder.post(&session.path("/events"), event).expect(200);
}

/// A table with a card that only side x may see.
fn cards(sender: &mut Sender) -> Value {
    sender.event(
        "match.started",
        json!({
            "sides": { "x": { "seat": 0, "name": "Crossfire" }, "o": { "seat": 1, "name": "Big Circle" } },
            "zones": { "hand": { "kind": "cards", "owner": "x", "items": [{ "id": "hidden-id", "face": { "name": "Secret-Queen" } }] } },
        }),
    )
}

#[test]
fn a_watcher_sees_what_its_view_may_see_and_no_byte_of_a_hidden_card() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &cards(&mut sender));
    let mut secret = sender.event("agent.thinking", json!({ "side": "x", "thoughtId": "t", "delta": "Secret-Plan" }));
    secret["vis"] = json!(["x"]);
    push(&session, &secret);
    let mut whisper = sender.event("feed", json!({ "kind": "chat", "text": "Secret-Word" }));
    whisper["vis"] = json!(["x"]);
    push(&session, &whisper);
    for (view, sees) in [("spectator", false), ("side:o", false), ("side:x", true), ("all", true)] {
        let watcher = house.watches(&session, view);
        let state = watcher.holder.get(&watcher.path("/state"));
        state.expect(200);
        let mut socket = Socket::browser(&watcher, "/watch");
        let shown = socket.json();
        assert_eq!((&shown["type"], &shown["state"]["seq"]), (&json!("state"), &json!(3)), "{view}");
        let mut sse = Sse::open(&house.address, &watcher.path("/watch"), &watcher.token, &[]);
        let (name, id, data) = sse.next().unwrap();
        assert_eq!((&*name, &*id, &data["state"]["seq"]), ("state", "1-3", &json!(3)), "{view}");
        for text in [state.text(), shown.to_string(), String::from_utf8_lossy(&sse.bytes).into_owned()] {
            for word in ["Secret-Queen", "hidden-id", "Secret-Plan", "Secret-Word"] {
                let right = text.contains(word) == (sees && word != "Secret-Word" || view == "all" || view == "side:x");
                assert!(right, "{view}: {word}: {text}");
            }
            assert!(text.contains("Big Circle"), "{text}");
        }
    }
    // The feeding session itself watches as its own view, the spectator's.
    assert!(!session.holder.get(&session.path("/state")).text().contains("Secret"));
}

#[test]
fn a_state_has_an_etag_that_changes_with_every_event() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &sender.started());
    let get = |tag: &str| session.holder.call("GET", &session.path("/state"), &[&format!("If-None-Match: {tag}")], b"");
    let first = get("\"x\"");
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("\"1-1-"), "{tag}");
    assert_eq!((get(&tag).status, get(&tag).body.len()), (304, 0));
    push(&session, &sender.score(1));
    assert_eq!(get(&tag).status, 200);
}

#[test]
fn changes_come_joined_to_a_watcher_and_the_last_one_always_does() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &sender.started());
    let mut socket = Socket::browser(&session, "/watch");
    socket.json();
    let began = Instant::now();
    for n in 1..=300 {
        push(&session, &sender.score(n));
    }
    let (mut states, mut seq) = (0, 1);
    while seq < 301 {
        let said = socket.json();
        assert!(said["state"]["seq"].as_u64().unwrap() >= seq, "a state is never older than the one before");
        seq = said["state"]["seq"].as_u64().unwrap();
        states += 1;
    }
    let most = began.elapsed().as_millis() / 33 + 2;
    println!("{states} states of 300 changes in {:?}", began.elapsed());
    assert!(states <= most, "{states} states in {:?}", began.elapsed());
}

#[test]
fn a_stream_of_states_goes_on_where_the_watcher_was() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &sender.started());
    let open = |more: &[&str]| Sse::open(&house.address, &session.path("/watch"), &session.token, more);
    assert_eq!(open(&[]).next().unwrap().1, "1-1");
    assert_eq!(open(&["Last-Event-ID: 1-0"]).next().unwrap().1, "1-1");
    // It has the newest: nothing until something changes.
    let mut same = open(&["Last-Event-ID: 1-1"]);
    push(&session, &sender.score(1));
    assert_eq!(same.next().unwrap().1, "1-2");
    let id = session.made["match"]["id"].as_str().unwrap();
    house.game.post(&format!("/v1/matches/{id}/end"), &json!({})).expect(200);
    assert_eq!(same.next().unwrap().2["reason"], "match-closed");
    assert_eq!(same.next(), None);
}

#[test]
fn sockets_close_within_5_s_of_a_revocation_even_by_another_process() {
    let house = House::new();
    for elsewhere in [false, true] {
        let reference = if elsewhere { "a" } else { "b" };
        let session = house.feeds(reference);
        push(&session, &Sender::new(reference).started());
        let (mut feed, mut watch) = (Socket::browser(&session, "/feed"), Socket::browser(&session, "/watch"));
        let mut sse = Sse::open(&house.address, &session.path("/watch"), &session.token, &[]);
        feed.json();
        watch.json();
        sse.next().unwrap();
        let began = Instant::now();
        match elsewhere {
            false => _ = house.game.delete(&session.path("")).expect(204),
            true => house.wait(house.store().revoke_session(None, &session.id, now_ms())).unwrap(),
        }
        assert_eq!((feed.closed(), watch.closed()), (4401, 4401));
        assert_eq!(sse.next().unwrap().2["reason"], "revoked");
        let took = began.elapsed();
        println!("elsewhere {elsewhere}: closed after {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        session.holder.get(&session.path("/state")).expect(401);
        session.holder.post(&session.path("/token"), &json!({})).expect(401);
        house.game.get(&session.path("/state")).expect(409);
        // Twice is as good as once.
        house.game.delete(&session.path("")).expect(204);
    }
}

#[test]
fn sockets_of_a_key_close_when_the_key_is_revoked_and_of_a_session_when_it_expires() {
    let house = House::new();
    let session = house.feeds("m");
    push(&session, &Sender::new("m").started());
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    let mut socket = Socket::open(&viewer, &session.path("/watch"));
    socket.json();
    let id = viewer.token.split('.').next().unwrap().to_owned();
    house.wait(house.store().revoke_api_key(None, &id, now_ms())).unwrap();
    let began = Instant::now();
    assert_eq!(socket.closed(), 4401);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // Over in a moment.
    let now = now_ms();
    let short = agentcast::store::model::Session {
        id: "ses_short".into(),
        tenant_id: "ten_a".into(),
        match_id: session.made["match"]["id"].as_str().unwrap().into(),
        scope: agentcast::store::model::Scope::Watch,
        view: "spectator".into(),
        created_by: None,
        created_at: now,
        expires_at: now + 1_500,
        revoked_at: None,
    };
    house.wait(house.store().add_session(&short)).unwrap();
    let mut socket = Socket::open(&house.game, "/v1/sessions/ses_short/watch");
    socket.json();
    assert_eq!(socket.closed(), 4401);
    assert!((1_400..6_000).contains(&(now_ms() - now)), "{} ms", now_ms() - now);
}

#[test]
fn a_revoked_key_ends_the_sessions_that_it_opened_and_their_sockets() {
    let house = House::new();
    let session = house.feeds("m");
    let key = house.game.token.split('.').next().unwrap().to_owned();
    assert_eq!(session.made["session"]["createdBy"], key);
    let viewer = house.key(Some("ten_a"), ApiRole::Viewer);
    assert_eq!(viewer.get(&session.path("")).expect(200)["createdBy"], Value::Null, "it sees no keys");
    assert_eq!(viewer.get("/v1/sessions").expect(200)["items"][0]["createdBy"], Value::Null);
    let mut sender = Sender::new("m");
    push(&session, &sender.started());
    // The next key goes on with the same match before the old one goes.
    let next = house.key(Some("ten_a"), ApiRole::Game);
    let body = json!({ "scope": "feed", "matchId": session.made["match"]["id"] });
    let made = next.post("/v1/sessions", &body).expect(201);
    let events = |made: &serde_json::Value| format!("/v1/sessions/{}/events", made["session"]["id"].as_str().unwrap());
    let newer = next.with(made["token"].as_str().unwrap());
    let mut socket = Socket::open(&session.holder, &session.path("/watch"));
    socket.json();
    let mut listener = Sse::open(&house.address, "/v1/events", &house.operator.token, &[]);
    listener.next().unwrap();

    house.operator.delete(&format!("/v1/api-keys/{key}")).expect(204);
    assert_eq!(socket.closed(), 4401);
    session.holder.post(&session.path("/events"), &sender.score(1)).expect(401);
    session.holder.post(&session.path("/token"), &json!({})).expect(401);
    newer.post(&events(&made), &sender.score(2)).expect(200);
    let listed = house.operator.get(&session.path("")).expect(200);
    assert!(listed["revokedAt"].is_i64(), "{listed}");
    loop {
        let (_, _, data) = listener.next().unwrap();
        if (&data["kind"], &data["data"]["state"]) == (&json!("session"), &json!("revoked")) {
            assert_eq!(data["id"], session.id);
            break;
        }
    }
    let log = house.operator.get("/v1/audit").expect(200);
    let entry = log["items"].as_array().unwrap().iter().find(|e| e["action"] == "api-key.revoke").unwrap();
    assert_eq!((&entry["subject"], &entry["details"]["sessions"]), (&json!(key), &json!(1)), "{log}");
}

#[test]
fn a_newer_token_on_an_open_socket_keeps_it_open_and_a_bad_one_closes_it() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    push(&session, &sender.started());
    let mut socket = Socket::browser(&session, "/watch");
    socket.json();
    let newer = session.holder.post(&session.path("/token"), &json!({})).expect(200);
    assert_eq!((&newer["scope"], newer["expiresIn"].as_u64()), (&json!("feed"), Some(900)), "{newer}");
    socket.send(&json!({ "type": "auth", "token": newer["token"] }));
    push(&session, &sender.score(1));
    socket.state(|state| state["seq"] == 2);
    socket.send(&json!({ "type": "auth", "token": "eyJ.x.y" }));
    assert_eq!(socket.closed(), 4401);
}

#[test]
fn the_view_all_is_for_operators() {
    let house = House::new();
    let session = house.feeds("m");
    let all = house.watches(&session, "all");
    house.game.get(&all.path("/state")).expect(403);
    house.game.post(&all.path("/token"), &json!({})).expect(403);
    house.operator.get(&all.path("/state")).expect(200);
    all.holder.get(&all.path("/state")).expect(200);
}

#[test]
fn sockets_and_streams_end_when_the_service_does() {
    let house = House::new();
    let session = house.feeds("m");
    push(&session, &Sender::new("m").started());
    let (mut feed, mut watch) = (Socket::browser(&session, "/feed"), Socket::browser(&session, "/watch"));
    let mut sse = Sse::open(&house.address, &session.path("/watch"), &session.token, &[]);
    feed.json();
    watch.json();
    sse.next().unwrap();
    house.api.closing.cancel();
    assert_eq!((feed.closed(), watch.closed()), (1012, 1012));
    assert_eq!(sse.next().unwrap().2["reason"], "restart");
    drop((feed, watch, sse));
    house.wait(house.api.close(PATIENCE));
    wait_until("all tasks to end", PATIENCE, || house.api.tasks.is_empty().then_some(()));
}
