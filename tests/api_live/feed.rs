use crate::house::{Came, House, PATIENCE, Socket};
use crate::support::program::{file, wait_until};
use crate::support::service::Sender;
use agentcast::store::model::ApiRole;
use serde_json::json;

#[test]
fn one_event_an_array_and_lines_are_applied_once_each_however_often_they_come() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    let (path, holder) = (session.path("/events"), &session.holder);
    let (started, one, two) = (sender.started(), sender.score(1), sender.score(2));
    let report = holder.post(&path, &started).expect(200);
    assert_eq!(
        report,
        json!({
            "epoch": 1, "seq": 1, "applied": 1, "duplicates": 0, "held": 0, "ignored": 0, "needSnapshot": false
        })
    );
    assert_eq!(holder.post(&path, &json!([one, two])).expect(200)["seq"], 3);
    let lines = format!("{}\n\n{}\n", two, sender.score(3));
    let ndjson = holder.call("POST", &path, &["Content-Type: application/x-ndjson"], lines.as_bytes());
    let report = ndjson.expect(200);
    assert_eq!((&report["seq"], &report["applied"], &report["duplicates"]), (&json!(4), &json!(1), &json!(1)));
    assert!(ndjson.header("ratelimit").is_some_and(|text| text.contains("\"events\";r=")), "{ndjson:?}");
    // A key of the tenant feeds too.
    assert_eq!(house.game.post(&path, &sender.score(4)).expect(200)["seq"], 5);
    let state = holder.get(&session.path("/state")).expect(200);
    assert_eq!((&state["seq"], &state["board"]["sides"]["x"]["score"]), (&json!(5), &json!(4.0)), "{state}");
}

#[test]
fn a_batch_with_a_bad_event_changes_nothing_and_the_problem_names_index_and_field() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    let path = session.path("/events");
    session.holder.post(&path, &sender.started()).expect(200);
    let good = sender.score(1);
    let mut bad = sender.score(2);
    bad["data"]["sides"]["x"]["score"] = json!("many");
    let answer = session.holder.post(&path, &json!([good, bad]));
    let problem = answer.expect(422);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((&problem["index"], &problem["type"]), (&json!(1), &json!("/docs#invalid")), "{problem}");
    assert!(problem["field"].as_str().is_some_and(|f| f.ends_with("sides.x.score")), "{problem}");
    let mut shape = sender.score(3);
    shape["seq"] = json!(-1);
    let problem = session.holder.post(&path, &json!([good, shape])).expect(422);
    assert_eq!((&problem["index"], &problem["field"]), (&json!(1), &json!("seq")), "{problem}");
    let state = session.holder.get(&session.path("/state")).expect(200);
    assert_eq!(state["seq"], 1, "nothing of it was applied");
    // The same batch without the bad one.
    assert_eq!(session.holder.post(&path, &json!([good])).expect(200)["seq"], 2);
}

#[test]
fn a_refused_event_is_told_what_may_follow_and_its_correction_under_the_same_number_counts() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    let path = session.path("/events");
    session.holder.post(&path, &sender.started()).expect(200);
    let mut wrong = sender.score(1);
    wrong["type"] = json!("action.decided");
    wrong["data"] = json!({ "side": "x", "text": "Nd5", "confidence": 77 });
    let mut right = wrong.clone();
    right["type"] = json!("match.ended");
    right["data"] = json!({ "winners": ["x"] });
    for body in [wrong.clone(), json!([wrong])] {
        let problem = session.holder.post(&path, &body).expect(422);
        let words = problem["detail"].as_str().unwrap();
        assert!(words.contains("send the correction as epoch 1, seq 2, or go on with seq 3"), "{words}");
    }
    let mut socket = Socket::browser(&session, "/feed");
    assert_eq!(socket.json(), json!({ "type": "position", "epoch": 1, "seq": 1, "needSnapshot": false }));
    socket.send(&wrong);
    let error = socket.json();
    assert!(error["type"] == "error" && error.to_string().contains("epoch 1, seq 2, or go on with seq 3"), "{error}");
    let report = session.holder.post(&path, &right).expect(200);
    assert_eq!((&report["applied"], &report["duplicates"]), (&json!(1), &json!(0)), "{report}");
    let state = session.holder.get(&session.path("/state")).expect(200);
    assert_eq!(state["board"]["result"]["winners"], json!(["x"]), "{state}");
}

#[test]
fn what_is_no_event_too_large_or_of_another_type_is_refused_in_words() {
    let house = House::new();
    let session = house.feeds("m");
    let path = session.path("/events");
    let json_type = ["Content-Type: application/json"];
    let call = |headers: &[&str], body: &[u8]| session.holder.call("POST", &path, headers, body);
    call(&json_type, b"{").expect(400);
    call(&json_type, b"\xFF").expect(400);
    call(&[], b"{}").expect(415);
    call(&["Content-Type: text/plain"], b"{}").expect(415);
    let large = call(&json_type, &vec![b' '; 64 * 1024 + 1]).expect(413);
    assert_eq!(large["limit"], 65_536, "{large}");
    let patch = Sender::new("m").score(1);
    let need = session.holder.post(&path, &patch).expect(409);
    assert_eq!(need["type"], "/docs#need-snapshot", "{need}");
    for query in ["?format=chess", "?pace=recorded", "?format=pgn&speed=3", "?nonsense=1"] {
        session.holder.call("POST", &format!("{path}{query}"), &json_type, b"x").expect(422);
    }
}

#[test]
fn a_native_record_is_fed_whole_and_again_as_it_grows() {
    let house = House::new();
    let session = house.feeds("m");
    let pgn = "[Event \"Test\"]\n[White \"Ada\"]\n[Black \"Bob\"]\n[Result \"*\"]\n\n1. e4 e5 2. Nf3 *\n";
    let path = session.path("/events?format=pgn");
    let first = session.holder.call("POST", &path, &[], pgn.as_bytes()).expect(200);
    assert!(first["applied"].as_u64().is_some_and(|n| n > 2), "{first}");
    let state = session.holder.get(&session.path("/state")).expect(200);
    assert!(state["board"]["sides"].to_string().contains("Ada"), "{state}");
    let longer = pgn.replace("2. Nf3 *", "2. Nf3 Nc6 *");
    let second = session.holder.call("POST", &path, &[], longer.as_bytes()).expect(200);
    assert!(second["seq"].as_u64() > first["seq"].as_u64(), "{second}");
    let broken = session.holder.call("POST", &session.path("/events?format=kaggle"), &[], b"{");
    assert_eq!(broken.expect(422)["field"], "body");
    let other = house.feeds("n");
    let record = std::fs::read(file("tests/records/battlesnake/standard4.events.jsonl")).unwrap();
    assert!(record.len() > 64 * 1024, "records may be larger than other bodies");
    other.holder.call("POST", &other.path("/events?format=auto"), &[], &record).expect(200);
}

#[test]
fn only_the_sessions_own_token_of_scope_feed_or_a_key_of_the_tenant_feeds() {
    let house = House::new();
    house.add_tenant("ten_b");
    let session = house.feeds("m");
    let other = house.feeds("n");
    let watcher = house.watches(&session, "spectator");
    let path = session.path("/events");
    let event = Sender::new("m").started();
    let with = |token: &str| session.holder.with(token).post(&path, &event);
    with("").expect(401);
    with("nonsense").expect(401);
    with(&other.token).expect(401);
    with(&format!("{}x", session.token)).expect(401);
    with(&house.key(Some("ten_b"), ApiRole::Admin).token).expect(404);
    with(&house.key(Some("ten_a"), ApiRole::Viewer).token).expect(403);
    watcher.holder.post(&watcher.path("/events"), &event).expect(403);
    house.game.post(&watcher.path("/events"), &event).expect(403);
    with(&session.token).expect(200);
}

#[test]
fn a_feed_socket_begins_with_the_position_and_acknowledges_what_is_applied() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    let mut socket = Socket::browser(&session, "/feed");
    assert_eq!(socket.json(), json!({ "type": "position", "epoch": 0, "seq": 0, "needSnapshot": true }));
    socket.send(&sender.started());
    let ack = socket.json();
    assert_eq!((&ack["type"], &ack["epoch"], &ack["seq"]), (&json!("ack"), &json!(1), &json!(1)), "{ack}");
    // Many together: fewer acknowledgements than messages, the last one of the last event.
    let many: Vec<_> = (1..=200).map(|n| sender.score(n)).collect();
    socket.send_together(&many);
    let (mut acks, mut seq) = (0, 1);
    while seq < 201 {
        let ack = socket.json();
        assert_eq!(ack["type"], "ack", "{ack}");
        assert!(ack["seq"].as_u64().unwrap() > seq, "{ack}");
        seq = ack["seq"].as_u64().unwrap();
        acks += 1;
    }
    println!("{acks} acknowledgements of 200 messages");
    assert!(acks < 100, "{acks} acknowledgements of 200 messages");
    // Whoever comes back learns where to go on.
    drop(socket);
    let mut again = Socket::open(&session.holder, &session.path("/feed"));
    assert_eq!(again.json(), json!({ "type": "position", "epoch": 1, "seq": 201, "needSnapshot": false }));
    again.send(&json!([sender.score(1), sender.score(2)]));
    assert_eq!(again.json()["seq"], 203);
}

#[test]
fn a_feed_socket_says_what_is_wrong_and_goes_on() {
    let house = House::new();
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    let mut socket = Socket::open(&house.game, &session.path("/feed"));
    socket.json();
    socket.send(&sender.started());
    assert_eq!(socket.json()["type"], "ack");
    socket.text("nonsense");
    let error = socket.json();
    assert_eq!((&error["type"], &error["message"]), (&json!("error"), &json!(2)), "{error}");
    assert_eq!(error["problem"]["type"], "/docs#malformed", "{error}");
    // A bad one between good ones takes none of them with it.
    let (one, mut bad) =
        (sender.score(1), sender.event("feed", json!({ "kind": "move", "text": "x", "actor": "ghost" })));
    bad["vis"] = json!("public");
    let two = sender.score(2);
    socket.send_together(&[one, bad, two]);
    let (mut seq, mut errors) = (0, Vec::new());
    while seq < 4 {
        let said = socket.json();
        match said["type"].as_str() {
            Some("ack") => seq = said["seq"].as_u64().unwrap(),
            Some("error") => errors.push(said),
            _ => panic!("{said}"),
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((&errors[0]["message"], &errors[0]["problem"]["status"]), (&json!(4), &json!(422)), "{errors:?}");
    // Far ahead: only a snapshot helps.
    sender.seq += 100;
    socket.send(&sender.score(3));
    let said: Vec<_> = [socket.json(), socket.json()].map(|said| said["type"].as_str().unwrap().to_owned()).into();
    assert_eq!(said, ["ack", "need_snapshot"]);
    let started = sender.started();
    socket.send(&started);
    assert_eq!(socket.json()["seq"], started["seq"]);
}

#[test]
fn a_socket_that_says_something_else_first_or_too_much_is_closed() {
    let house = House::new();
    let session = house.feeds("m");
    let watcher = house.watches(&session, "spectator");
    for rest in ["/feed", "/watch"] {
        let open = || Socket::open(&session.holder.anonymous(), &session.path(rest));
        let mut socket = open();
        socket.send(&json!({ "v": 1 }));
        assert_eq!(socket.closed(), 4401);
        let mut socket = open();
        socket.send(&json!({ "type": "auth", "token": "eyJ.a.b" }));
        assert_eq!(socket.closed(), 4401);
    }
    let mut socket = Socket::open(&watcher.holder.anonymous(), &watcher.path("/feed"));
    socket.send(&json!({ "type": "auth", "token": watcher.token }));
    assert_eq!(socket.closed(), 4401, "a watcher does not feed");
    let mut socket = Socket::browser(&session, "/feed");
    socket.json();
    socket.text(&" ".repeat(64 * 1024 + 1));
    assert_eq!(socket.closed(), 1009);
}

#[test]
fn sockets_close_when_the_match_is_closed_and_nothing_more_is_taken() {
    let house = House::new();
    let session = house.feeds("m");
    session.holder.post(&session.path("/events"), &Sender::new("m").started()).expect(200);
    let (mut feed, mut watch) = (Socket::browser(&session, "/feed"), Socket::browser(&session, "/watch"));
    assert!(matches!((feed.next(), watch.next()), (Came::Json(_), Came::Json(_))));
    let id = session.made["match"]["id"].as_str().unwrap();
    let ended = house.game.post(&format!("/v1/matches/{id}/end"), &json!({})).expect(200);
    assert_eq!(ended["phase"], "closed");
    assert_eq!((feed.closed(), watch.closed()), (4410, 4410));
    session.holder.post(&session.path("/events"), &Sender::new("m").started()).expect(409);
    session.holder.get(&session.path("/state")).expect(409);
    house.game.post("/v1/sessions", &json!({ "scope": "feed", "matchId": id })).expect(409);
    // Twice is as good as once.
    house.game.post(&format!("/v1/matches/{id}/end"), &json!({})).expect(200);
}

#[test]
fn a_match_that_several_end_at_once_ends_for_all_of_them() {
    let house = House::new();
    for n in 0..5 {
        let session = house.feeds(&format!("m{n}"));
        session.holder.post(&session.path("/events"), &Sender::new(&format!("m{n}")).started()).expect(200);
        let path = format!("/v1/matches/{}/end", session.made["match"]["id"].as_str().unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(house.game.post(&path, &json!({})).expect(200)["phase"], "closed"));
            }
        });
    }
}

#[test]
fn too_many_events_get_429_with_the_time_to_wait() {
    let house = House::with(|config| (config.limits.events_per_second, config.limits.events_burst) = (5, 10));
    let session = house.feeds("m");
    let mut sender = Sender::new("m");
    session.holder.post(&session.path("/events"), &sender.started()).expect(200);
    let refused = wait_until("the limit", PATIENCE, || {
        let answer = session.holder.post(&session.path("/events"), &sender.score(1));
        (answer.status != 200).then_some(answer)
    });
    let problem = refused.expect(429);
    assert_eq!(problem["type"], "/docs#too-fast", "{problem}");
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit-policy").is_some(), "{refused:?}");
}
