//! Secrets of the service are looked for everywhere after everything that can go wrong with them has.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use support::nginx::Nginx;
use support::program::{command_lines, wait_until};
use support::service::{Answer, JWT_SECRET, KEK, Sender, Service, Setup, local_hosts};

/// Stream keys: one that works, one that is replaced, one that is refused, some that cannot be keys.
const WORKS: &str = "live_canary_a81f2c94d7e6";
const REPLACED: &str = "live_canary_5b07e3d1c8f9";
const REFUSED: &str = "live_canary_e94c06b7a1d2";
const SPACED: &str = "live_canary 77d0a3f8b2c4";

/// Everything that came back to a caller, but what is shown once by design.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn answer(&mut self, what: &str, answer: Answer) -> Answer {
        let head: String = answer.headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect();
        self.0.push((what.to_owned(), head + &answer.text()));
        answer
    }

    fn text(&mut self, what: &str, text: String) {
        self.0.push((what.to_owned(), text));
    }
}

/// The bytes of every file under a folder.
fn files(under: &Path, seen: &mut Seen) {
    for entry in std::fs::read_dir(under).expect("our own folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files(&path, seen),
            false => seen.text(
                &path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned(),
            ),
        }
    }
}

#[test]
fn no_secret_is_in_any_answer_log_metric_file_or_command_line_whatever_goes_wrong() {
    let nginx = Nginx::start();
    let setup = Setup {
        toml: local_hosts(&nginx),
        env: vec![("STREAMING_ENABLED".into(), "true".into()), ("AGENTCAST_LOG".into(), "trace".into())],
    };
    let mut service = Service::start(setup);
    let (tenant, operator) = service.tenant("Arena", "operator");
    let game = service.key(&tenant, "game");
    let mut seen = Seen::default();
    let agent = operator.post("/v1/agents", &json!({ "name": "Ada", "defaults": { "size": "1280x720" } })).expect(201);
    let agent = agent["id"].as_str().unwrap().to_owned();
    let destination = |ingest: String, seen: &mut Seen| -> String {
        let body = json!({ "kind": "rtmp", "ingest": ingest });
        let answer = operator.post(&format!("/v1/agents/{agent}/destinations"), &body);
        seen.answer("destination", answer).expect(201)["id"].as_str().unwrap().to_owned()
    };
    let good = destination(nginx.ingest(), &mut seen);
    let guarded = destination(nginx.ingest().replace("/live", "/guarded"), &mut seen);
    let put = |id: &str, key: &str| operator.put(&format!("/v1/destinations/{id}/key"), &json!({ "key": key }));
    seen.answer("key", put(&good, REPLACED)).expect(200);
    seen.answer("key again", put(&good, WORKS)).expect(200);
    seen.answer("key that will be refused", put(&guarded, REFUSED)).expect(200);
    // Mistakes: the key where it does not belong.
    let wrong = [
        operator.put(&format!("/v1/destinations/{good}/key"), &json!({ "key": SPACED })),
        operator.put(&format!("/v1/destinations/{good}/key"), &json!({ "kee": WORKS })),
        operator.put(&format!("/v1/destinations/{good}/key"), &json!({ "key": { WORKS: WORKS } })),
        operator.put(&format!("/v1/destinations/{good}/key"), &json!({ "key": WORKS.repeat(60) })),
        operator.call(
            "PUT",
            &format!("/v1/destinations/{good}/key"),
            &["Content-Type: application/json"],
            format!("{{\"key\":\"{WORKS}").as_bytes(),
        ),
        operator.call("PUT", &format!("/v1/destinations/{good}/key"), &["Content-Type: text/plain"], WORKS.as_bytes()),
        operator.post(
            &format!("/v1/agents/{agent}/destinations"),
            &json!({ "kind": "rtmp", "ingest": format!("{}/{WORKS}", nginx.ingest()), "key": WORKS }),
        ),
        operator.post(&format!("/v1/agents/{agent}/destinations"), &json!({ "kind": WORKS, "ingest": nginx.ingest() })),
        operator.patch(
            &format!("/v1/destinations/{good}"),
            &json!({ "ingest": format!("rtmp://user:{WORKS}@127.0.0.1/live") }),
        ),
        operator.get(&format!("/v1/destinations/{WORKS}")),
        operator.with(WORKS).get("/v1/agents"),
        operator.with(&format!("{}x", operator.token)).get("/v1/agents"),
    ];
    for (n, answer) in wrong.into_iter().enumerate() {
        assert!((400..500).contains(&answer.status), "mistake {n}: {} {}", answer.status, answer.text());
        seen.answer(&format!("mistake {n}"), answer);
    }
    seen.answer("check", operator.post(&format!("/v1/destinations/{good}/check"), &json!({}))).expect(200);
    seen.answer("check guarded", operator.post(&format!("/v1/destinations/{guarded}/check"), &json!({}))).expect(200);

    // On air: one destination works, one is refused.
    operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).expect(200);
    let made = game.feed_session("final", json!({ "x": agent }));
    let (session, token) = (made["session"]["id"].as_str().unwrap(), made["token"].as_str().unwrap().to_owned());
    let code = made["code"].as_str().unwrap().to_owned();
    let mut sender = Sender::new("final");
    game.with(&token).push(session, &[sender.started(), sender.score(1)]).expect(200);
    let destinations = |state: &str| -> Option<Value> {
        let list = operator.get("/v1/streams").expect(200);
        list["items"][0]["destinations"].as_array()?.iter().find(|d| d["state"] == state).cloned()
    };
    wait_until("the good one to be live", Duration::from_secs(60), || destinations("live"));
    let refused =
        wait_until("the refused one to need somebody", Duration::from_secs(60), || destinations("needs-attention"));
    assert!(refused["trouble"].as_str().is_some_and(|words| !words.is_empty()), "{refused}");
    // The old form of the overlay's address, good and bad.
    let old = game.anonymous().get(&format!("/stream/overlay?sessionId={session}&token={token}"));
    assert!((300..400).contains(&old.status), "{} {}", old.status, old.text());
    let location = old.header("location").expect("a redirect").to_owned();
    assert!(!location.contains(&token) && location.contains('#'), "{location}");
    seen.answer("old form", old);
    game.anonymous().get(&format!("/stream/overlay?sessionId={session}&token={token}x"));
    for path in [
        "/v1/agents",
        "/v1/streams",
        "/v1/audit",
        "/v1/usage",
        "/v1/api-keys",
        "/v1/sessions",
        "/v1/matches",
        "/metrics",
        "/readyz",
        "/docs",
        "/openapi.json",
        &format!("/v1/destinations/{good}"),
        &format!("/v1/agents/{agent}/destinations"),
    ] {
        let client = if path == "/v1/api-keys" { &service.admin } else { &operator };
        seen.answer(path, client.get(path));
    }
    for line in command_lines(service.program().pid()) {
        seen.text("command line", line);
    }
    seen.text("config", service.cli(&["config"]));
    let backup = service.dir.path().join("backup.db");
    seen.text("backup", service.cli(&["db", "backup", backup.to_str().unwrap()]));
    assert!(backup.exists());
    // With the write-ahead log still there, then after a clean end.
    files(service.dir.path(), &mut seen);
    seen.text("rotation", service.cli(&["key", "rotate"]));
    let log = service.stop();
    seen.text("log", log.clone());
    files(service.dir.path(), &mut seen);

    let admin = service.admin.token.split_once('.').expect("id and secret").1.to_owned();
    let secrets = [WORKS, REPLACED, REFUSED, "77d0a3f8b2c4", KEK, JWT_SECRET, &admin, &token, &code];
    let secrets =
        secrets.into_iter().chain([operator.token.split_once('.').unwrap().1, game.token.split_once('.').unwrap().1]);
    for secret in secrets {
        for (what, text) in &seen.0 {
            assert!(!text.contains(secret), "{}… is in {what}", &secret[..14]);
        }
    }
    // What went wrong can still be understood.
    assert!(log.contains(&guarded) || log.contains("refused"), "{log}");
}
