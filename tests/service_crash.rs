//! The service is killed again and again while a game pushes: nothing that was acknowledged is lost, and what was on air is on
//! air again.

mod support;

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::nginx::Nginx;
use support::program::wait_until;
use support::service::{Sender, Service, Setup, local_hosts};

const ROUNDS: usize = 20;

#[test]
fn killed_twenty_times_it_loses_nothing_acknowledged_and_is_back_on_air() {
    let nginx = Nginx::start();
    let setup = Setup { toml: local_hosts(&nginx), env: vec![("STREAMING_ENABLED".into(), "true".into())] };
    let mut service = Service::start(setup);
    let (tenant, operator) = service.tenant("Arena", "operator");
    let mut game = service.key(&tenant, "game");
    let defaults = json!({ "size": "1280x720" });
    let agent = operator.post("/v1/agents", &json!({ "name": "Ada", "defaults": defaults })).expect(201);
    let agent = agent["id"].as_str().unwrap();
    let made = operator
        .post(&format!("/v1/agents/{agent}/destinations"), &json!({ "kind": "rtmp", "ingest": nginx.ingest() }));
    let destination = made.expect(201)["id"].as_str().unwrap().to_owned();
    operator.put(&format!("/v1/destinations/{destination}/key"), &json!({ "key": "crash-key" })).expect(200);
    operator.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).expect(200);
    let made = game.feed_session("crash", json!({ "x": agent }));
    let session = made["session"]["id"].as_str().unwrap().to_owned();
    let mut sender = Sender::new("crash");
    game.push(&session, &[sender.started()]).expect(200);

    let mut back = Vec::new();
    let mut stream = String::new();
    for round in 0..ROUNDS {
        let acknowledged = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let died = std::thread::scope(|threads| {
            let feeder = threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let event = sender.score(sender.seq);
                    let body = json!([event]).to_string();
                    let path = format!("/v1/sessions/{session}/events");
                    let answer = game.try_call("POST", &path, &["Content-Type: application/json"], body.as_bytes());
                    match answer {
                        Ok(answer) if answer.status == 200 => {
                            acknowledged.store(answer.json()["seq"].as_u64().unwrap(), Ordering::Relaxed);
                        }
                        Ok(answer) if answer.status == 429 => sender.seq -= 1,
                        Ok(answer) => panic!("{} {}", answer.status, answer.text()),
                        // It died under the request.
                        Err(_) => {
                            sender.seq -= 1;
                            return;
                        }
                    }
                }
            });
            // Between the first events and a few hundred, wherever that is in the writing.
            let goal = sender_goal(round);
            let begun = Instant::now();
            wait_until("events to be acknowledged", Duration::from_secs(30), || {
                let enough = acknowledged.load(Ordering::Relaxed) > 0 && begun.elapsed() >= goal;
                (enough || feeder.is_finished()).then_some(())
            });
            let died = Instant::now();
            service.kill();
            stop.store(true, Ordering::Relaxed);
            feeder.join().expect("the feeder got only good answers");
            died
        });
        service.again();
        game.address.clone_from(&service.address);
        let state = game.get(&format!("/v1/sessions/{session}/state")).expect(200);
        let (seq, sure) = (state["seq"].as_u64().unwrap(), acknowledged.load(Ordering::Relaxed));
        assert!(seq >= sure, "round {round}: event {sure} was acknowledged, {seq} is the last one known");
        // What was on the way when it died may have been kept: it is sent again, and known.
        sender.seq = seq;
        let operator = operator.clone();
        let address = service.address.clone();
        let live = wait_until("the stream to be live again", Duration::from_secs(60), || {
            let mut operator = operator.clone();
            operator.address.clone_from(&address);
            let list = operator.get("/v1/streams").expect(200);
            list["items"].as_array().unwrap().iter().find(|s| s["state"] == "live").cloned()
        });
        back.push(died.elapsed());
        let id = live["id"].as_str().unwrap().to_owned();
        assert!(stream.is_empty() || stream == id, "round {round}: another stream");
        stream = id;
    }
    back.sort();
    println!("live again after {:?} (median), {:?} (worst)", back[ROUNDS / 2], back[ROUNDS - 1]);
    assert!(back[ROUNDS - 1] < Duration::from_secs(5), "{back:?}");
}

/// How long a round pushes before the kill.
fn sender_goal(round: usize) -> Duration {
    Duration::from_millis(17 * (round as u64 * 7 % ROUNDS as u64))
}
