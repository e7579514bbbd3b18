//! The service as its three people meet it: a game server that pushes, an operator that switches, a viewer that watches.

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::flv;
use support::nginx::Nginx;
use support::program::wait_until;
use support::service::{Client, Sender, Service, Setup, local_hosts};

/// On a machine that draws on its CPU and does other things beside.
const SOON: Duration = Duration::from_secs(30);

struct House {
    nginx: Nginx,
    service: Service,
    operator: Client,
    game: Client,
}

impl House {
    fn new() -> House {
        let nginx = Nginx::start();
        let setup = Setup {
            toml: local_hosts(&nginx) + "[streaming]\nover = \"2s\"\nidle = \"2s\"\n",
            env: vec![("STREAMING_ENABLED".into(), "true".into())],
        };
        let service = Service::start(setup);
        let (tenant, operator) = service.tenant("Arena", "operator");
        let game = service.key(&tenant, "game");
        House { nginx, service, operator, game }
    }

    /// An agent with one RTMP destination under this key, switched on.
    fn agent(&self, name: &str, key: &str) -> String {
        let defaults = json!({ "size": "1280x720", "fps": 30 });
        let agent = self.operator.post("/v1/agents", &json!({ "name": name, "defaults": defaults })).expect(201);
        let id = agent["id"].as_str().expect("an id").to_owned();
        let body = json!({ "kind": "rtmp", "ingest": self.nginx.ingest() });
        let made = self.operator.post(&format!("/v1/agents/{id}/destinations"), &body).expect(201);
        let path = format!("/v1/destinations/{}/key", made["id"].as_str().expect("an id"));
        self.operator.put(&path, &json!({ "key": key })).expect(200);
        self.switch(&id, true);
        id
    }

    fn switch(&self, agent: &str, on: bool) {
        self.operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": on })).expect(200);
    }

    /// The agent's streams that have not ended.
    fn streams(&self, agent: &str) -> Vec<Value> {
        let list = self.operator.get("/v1/streams").expect(200);
        let items = list["items"].as_array().expect("a list").iter();
        items.filter(|s| s["agentId"] == agent && s["state"] != "ended").cloned().collect()
    }

    fn live(&self, agent: &str) -> Value {
        wait_until("the stream to be live", SOON, || self.streams(agent).into_iter().find(|s| s["state"] == "live"))
    }

    fn recording(&self, key: &str) -> PathBuf {
        wait_until("the recording", SOON, || self.nginx.recordings(key).pop())
    }
}

fn size(path: &PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Waits until a file has grown.
#[track_caller]
fn grows(path: &PathBuf) {
    let before = size(path);
    wait_until("the recording to grow", SOON, || (size(path) > before + 10_000).then_some(()));
}

#[test]
fn an_agent_whose_match_starts_is_on_air_by_itself_and_the_switch_ends_only_its_own_stream() {
    let house = House::new();
    let (ada, bob) = (house.agent("Ada", "key-of-ada"), house.agent("Bob", "key-of-bob"));
    let made = house.game.feed_session("final", json!({ "x": ada, "o": bob }));
    let session = made["session"]["id"].as_str().expect("an id").to_owned();
    let mut sender = Sender::new("final");
    assert!(house.streams(&ada).is_empty(), "nothing is on air before the match");

    let started = Instant::now();
    let report = house.game.push(&session, &[sender.started(), sender.score(1)]).expect(200);
    assert!(started.elapsed() < Duration::from_secs(2), "the game waited {:?}", started.elapsed());
    assert_eq!((&report["seq"], &report["applied"]), (&json!(2), &json!(2)), "{report}");
    let (a, b) = (house.live(&ada), house.live(&bob));
    assert_eq!((&a["sharedBy"], &b["sharedBy"]), (&json!(2), &json!(2)), "one render and encode for both: {a}");
    let (of_ada, of_bob) = (house.recording("key-of-ada"), house.recording("key-of-bob"));
    grows(&of_ada);
    grows(&of_bob);

    let thumbnail = wait_until("a thumbnail", SOON, || {
        let answer = house.operator.get(&format!("/v1/streams/{}/thumbnail.jpg", a["id"].as_str().unwrap()));
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(thumbnail.header("content-type"), Some("image/jpeg"));
    let picture = image::load_from_memory(&thumbnail.body).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (480, 270));

    house.switch(&ada, false);
    wait_until("her stream to end", SOON, || house.streams(&ada).is_empty().then_some(()));
    grows(&of_bob);
    let ended = size(&of_ada);
    grows(&of_bob);
    assert_eq!(size(&of_ada), ended, "nothing more goes to her server");
    assert_eq!(flv::decode_errors(&of_ada), "", "it ended cleanly");
    // The match does not care.
    assert_eq!(house.game.push(&session, &[sender.score(2)]).expect(200)["applied"], 1);

    // Back on: the same match again.
    house.switch(&ada, true);
    house.live(&ada);
    house.service.program();
}

#[test]
fn a_broadcast_goes_on_with_the_next_match_and_ends_when_none_comes() {
    let house = House::new();
    let ada = house.agent("Ada", "key-of-ada");
    let first = house.game.feed_session("first", json!({ "x": ada }));
    let mut sender = Sender::new("first");
    house.game.push(first["session"]["id"].as_str().unwrap(), &[sender.started()]).expect(200);
    let stream = house.live(&ada);
    let second = house.game.feed_session("second", json!({ "x": ada }));
    house.game.push(first["session"]["id"].as_str().unwrap(), &[sender.ended()]).expect(200);
    let mut sender = Sender::new("second");
    house.game.push(second["session"]["id"].as_str().unwrap(), &[sender.started()]).expect(200);
    let next = wait_until("the next match on the same broadcast", SOON, || {
        let now = house.operator.get(&format!("/v1/streams/{}", stream["id"].as_str().unwrap())).expect(200);
        (now["matchId"] == second["match"]["id"]).then_some(now)
    });
    assert_eq!(next["state"], "live", "{next}");
    assert_eq!(house.nginx.recordings("key-of-ada").len(), 1, "the connection was kept");
    house.game.push(second["session"]["id"].as_str().unwrap(), &[sender.ended()]).expect(200);
    wait_until("the broadcast to end", SOON, || house.streams(&ada).is_empty().then_some(()));
    assert_eq!(flv::decode_errors(&house.recording("key-of-ada")), "");
}

#[test]
fn the_kill_switch_ends_everything_in_three_seconds_and_survives_a_restart() {
    for hard in [false, true] {
        let mut house = House::new();
        let ada = house.agent("Ada", "key-of-ada");
        let made = house.game.feed_session("final", json!({ "x": ada }));
        let session = made["session"]["id"].as_str().unwrap().to_owned();
        let mut sender = Sender::new("final");
        house.game.push(&session, &[sender.started()]).expect(200);
        house.live(&ada);
        grows(&house.recording("key-of-ada"));

        let mut times = Vec::new();
        loop {
            let pressed = Instant::now();
            // The flag is the operator's of the whole service.
            house.service.admin.put("/v1/flags/streaming", &json!({ "enabled": false, "hard": hard })).expect(200);
            wait_until("every stream to end", SOON, || house.streams(&ada).is_empty().then_some(()));
            times.push(pressed.elapsed());
            // And what it takes to be told.
            if times.last() < Some(&Duration::from_secs(4)) {
                break;
            }
            // A busy machine spoils one measurement, a defect all of them.
            assert!(times.len() < 3, "hard {hard}: all over after {times:?}");
            house.service.admin.put("/v1/flags/streaming", &json!({ "enabled": true })).expect(200);
            house.live(&ada);
        }
        println!("hard {hard}: all over after {times:?}");
        let refused = house.operator.post("/v1/streams", &json!({ "agentId": ada, "matchId": made["match"]["id"] }));
        assert_eq!(refused.status, 409, "{}", refused.text());
        // The game goes on.
        house.game.push(&session, &[sender.score(3)]).expect(200);

        house.service.stop();
        house.service.again();
        house.operator.address.clone_from(&house.service.address);
        house.game.address.clone_from(&house.service.address);
        assert_eq!(house.operator.get("/v1/flags/streaming").expect(200)["enabled"], false);
        assert!(house.streams(&ada).is_empty(), "off is off after a restart too");
        house.service.admin.put("/v1/flags/streaming", &json!({ "enabled": true })).expect(200);
        house.live(&ada);
    }
}
