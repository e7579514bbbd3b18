use crate::house::House;
use crate::support::service::{Answer, Client};
use crate::watch::Sse;
use agentcast::server::now_ms;
use serde_json::json;
use std::io::{Read, Write};

fn exchange(house: &House, code: &str, more: &[&str]) -> Answer {
    let headers = [&["Content-Type: application/json"], more].concat();
    let nobody = Client { address: house.address.clone(), token: String::new() };
    nobody.call("POST", "/stream/exchange", &headers, json!({ "code": code }).to_string().as_bytes())
}

fn own(house: &House) -> String {
    format!("Origin: http://{}", house.address)
}

#[test]
fn a_code_is_good_once_and_for_a_token_that_may_watch_only() {
    let house = House::new();
    let session = house.feeds("m");
    let own = own(&house);
    let made = exchange(&house, session.code(), &[&own, "Sec-Fetch-Site: same-origin"]);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert_eq!(made.header("set-cookie"), None);
    let made = made.expect(200);
    assert_eq!((&made["kind"], &made["sessionId"]), (&json!("session"), &json!(session.id)));
    let watcher = house.game.with(made["token"].as_str().unwrap());
    watcher.get(&session.path("/state")).expect(200);
    watcher.post(&session.path("/events"), &json!([])).expect(403);
    // Nor can it make itself more.
    let newer = watcher.post(&session.path("/token"), &json!({})).expect(200);
    assert_eq!(newer["scope"], "watch");
    house.game.with(newer["token"].as_str().unwrap()).post(&session.path("/events"), &json!([])).expect(403);
    exchange(&house, session.code(), &[&own]).expect(401);
    let second = watcher.post(&session.path("/code"), &json!({})).expect(200);
    exchange(&house, second["code"].as_str().unwrap(), &[&own]).expect(200);
}

#[test]
fn another_sites_page_exchanges_nothing_and_uses_no_code_up() {
    let house = House::new();
    let session = house.feeds("m");
    let own = own(&house);
    exchange(&house, session.code(), &[]).expect(403);
    exchange(&house, session.code(), &["Origin: https://evil.example.com"]).expect(403);
    exchange(&house, session.code(), &["Origin: null"]).expect(403);
    exchange(&house, session.code(), &[&own, "Sec-Fetch-Site: cross-site"]).expect(403);
    let nobody = house.game.anonymous();
    let body = format!("code={}", session.code());
    let form = ["Content-Type: application/x-www-form-urlencoded", &own];
    nobody.call("POST", "/stream/exchange", &form, body.as_bytes()).expect(415);
    exchange(&house, session.code(), &[&own]).expect(200);
}

#[test]
fn a_code_of_a_session_that_was_revoked_is_good_for_nothing() {
    let house = House::new();
    let session = house.feeds("m");
    house.game.delete(&session.path("")).expect(204);
    exchange(&house, session.code(), &[&own(&house)]).expect(401);
}

#[test]
fn an_operators_code_sets_a_cookie_that_no_script_reads_and_that_ends_with_its_key() {
    let house = House::new();
    let made = house.operator.post("/v1/operator-code", &json!({})).expect(200);
    let answer = exchange(&house, made["code"].as_str().unwrap(), &[&own(&house)]);
    assert_eq!(answer.expect(200), json!({ "kind": "operator", "role": "operator" }));
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["__Host-agentcast=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let pair = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let nobody = house.game.anonymous();
    nobody.call("GET", "/v1/streams", &[&pair], b"").expect(200);
    // A page of another site that gets a browser to send it changes nothing.
    let headers = [&*pair, "Content-Type: application/json", "Sec-Fetch-Site: cross-site"];
    nobody.call("POST", "/v1/matches", &headers, b"{\"reference\":\"m\"}").expect(403);
    let id = house.operator.token.split('.').next().unwrap();
    house.wait(house.store().revoke_api_key(None, id, now_ms())).unwrap();
    let again = crate::support::program::wait_until("the key to be known as revoked", crate::house::PATIENCE, || {
        Some(nobody.call("GET", "/v1/streams", &[&pair], b"")).filter(|answer| answer.status != 200)
    });
    again.expect(401);
}

#[test]
fn the_old_form_redirects_at_once_and_leaves_no_token_anywhere() {
    let house = House::new();
    let session = house.feeds("m");
    let nobody = house.game.anonymous();
    let path = format!("/stream/overlay?sessionId={}&token={}", session.id, session.token);
    let answer = nobody.get(&path);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let location = answer.header("location").unwrap();
    let code = location.strip_prefix("/stream/overlay#code=").unwrap_or_else(|| panic!("{location}"));
    assert_eq!(
        (answer.header("referrer-policy"), answer.header("cache-control")),
        (Some("no-referrer"), Some("no-store"))
    );
    let said = format!("{answer:?}");
    assert!(!said.contains(&session.token) && !said.contains("eyJ"), "{said}");
    exchange(&house, code, &[&own(&house)]).expect(200);
    let other = house.feeds("n");
    for bad in [
        format!("/stream/overlay?sessionId={}&token=canary", session.id),
        format!("/stream/overlay?sessionId={}&token={}", other.id, session.token),
        format!("/stream/overlay?token={}", session.token),
        format!("/stream/overlay?sessionId={}", session.id),
    ] {
        let answer = nobody.get(&bad);
        assert_eq!((answer.status, answer.header("location")), (401, None), "{bad}");
        assert!(!answer.text().contains("canary") && !answer.text().contains("eyJ"), "{answer:?}");
    }
}

#[test]
fn the_overlay_page_has_a_strict_policy_and_frames_by_setting() {
    let house = House::with(|config| config.http.frame_ancestors = vec!["https://game.example.com".into()]);
    let page = house.game.anonymous().get("/stream/overlay");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), (Some("no-store"), Some("no-referrer")));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'sha256-", "frame-ancestors https://game.example.com;"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

/// A browser that is signed in by the operator's key: the line with its cookie.
fn signed_in(house: &House) -> String {
    let made = house.operator.post("/v1/operator-code", &json!({})).expect(200);
    let answer = exchange(house, made["code"].as_str().unwrap(), &[&own(house)]);
    format!("Cookie: {}", answer.header("set-cookie").unwrap().split(';').next().unwrap())
}

#[test]
fn a_cookie_makes_no_codes_and_signing_out_ends_what_it_holds_open() {
    let house = House::new();
    let (cookie, other) = (signed_in(&house), signed_in(&house));
    let nobody = house.game.anonymous();
    let page = ["Sec-Fetch-Site: same-origin"];
    let call = |method: &str, path: &str, more: &[&str]| nobody.call(method, path, more, b"");
    call("POST", "/v1/operator-code", &[&*cookie, page[0]]).expect(403);
    let session = house.feeds("m");
    let mut events = Sse::open(&house.address, "/v1/events", "", &[&cookie]);
    let mut watch = Sse::open(&house.address, &session.path("/watch"), "", &[&cookie]);
    let mut others = Sse::open(&house.address, "/v1/events", "", &[&other]);
    for stream in [&mut events, &mut watch, &mut others] {
        stream.next().unwrap();
    }
    call("DELETE", "/stream/session", &[&cookie, "Sec-Fetch-Site: cross-site"]).expect(403);
    let out = call("DELETE", "/stream/session", &[&*cookie, page[0]]);
    assert_eq!(out.status, 204, "{}", out.text());
    assert!(out.header("set-cookie").is_some_and(|line| line.contains("Max-Age=0")), "{out:?}");
    for stream in [&mut events, &mut watch] {
        let (name, _, data) = stream.next().unwrap();
        assert_eq!((&*name, &data["reason"]), ("end", &json!("revoked")));
        assert!(stream.next().is_none());
    }
    call("GET", "/v1/streams", &[&cookie]).expect(401);
    call("DELETE", "/stream/session", &[&*cookie, page[0]]).expect(401);
    // The other browser of the same operator stays.
    call("GET", "/v1/streams", &[&other]).expect(200);
    house.api.service.context().bus.tell(Some("ten_a"), "agent", "agt_a", json!({}));
    assert_eq!(others.next().unwrap().2["id"], "agt_a");
    house.operator.delete("/stream/session").expect(403);
}

#[test]
fn a_page_without_tls_elsewhere_is_told_why_it_cannot_sign_in() {
    let house = House::new();
    let made = house.operator.post("/v1/operator-code", &json!({})).expect(200);
    let nobody = house.game.anonymous();
    let body = json!({ "code": made["code"] }).to_string();
    // As a browser at http://cast.example.com sends it.
    let request = format!(
        "POST /stream/exchange HTTP/1.1\r\nHost: cast.example.com\r\nOrigin: http://cast.example.com\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(&nobody.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 409") && said.contains("TLS") && said.contains("PUBLIC_URL"), "{said}");
    assert!(!said.to_ascii_lowercase().contains("set-cookie"), "{said}");
}

#[test]
fn whoever_holds_one_token_takes_nobody_elses_codes() {
    let house = House::new();
    let (greedy, other) = (house.feeds("m"), house.feeds("n"));
    let first = greedy.code().to_owned();
    let mut answers = Vec::new();
    for _ in 0..130 {
        answers.push(greedy.holder.post(&greedy.path("/code"), &json!({})));
    }
    let newest = answers.iter().rfind(|answer| answer.status == 200).unwrap().json();
    let refused = answers.last().unwrap();
    refused.expect(429);
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some(), "{refused:?}");
    greedy.holder.post(&greedy.path("/token"), &json!({})).expect(429);
    let old_form = format!("/stream/overlay?sessionId={}&token={}", greedy.id, greedy.token);
    assert_eq!(greedy.holder.anonymous().get(&old_form).status, 429);
    // Its own oldest codes have gone; the newest one and everybody else's are good.
    exchange(&house, &first, &[&own(&house)]).expect(401);
    exchange(&house, newest["code"].as_str().unwrap(), &[&own(&house)]).expect(200);
    exchange(&house, other.code(), &[&own(&house)]).expect(200);
    other.holder.post(&other.path("/code"), &json!({})).expect(200);
    signed_in(&house);
}
