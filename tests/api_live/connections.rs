use crate::house::{House, Session, Socket};
use crate::support::service::{Client, Sender};
use agentcast::http::server::Limits;
use agentcast::store::model::ApiRole;
use serde_json::json;
use std::net::TcpStream;

#[test]
fn with_every_place_taken_the_kill_switch_the_health_check_and_the_feed_get_through() {
    let house = House::new();
    let session = house.feeds("m");
    let admin = house.key(None, ApiRole::Admin);
    let limits = Limits { connections: 8, strangers: 8, ..Limits::default() };
    let address = house.serve(limits);
    let there = |client: &Client| Client { address: address.clone(), ..client.clone() };
    // Watchers on every place that tokens may have, then a crowd without any.
    let watcher = Session { holder: there(&session.holder), ..session.clone() };
    let mut watchers: Vec<_> = (0..7).map(|_| Socket::open(&watcher.holder, &watcher.path("/watch"))).collect();
    watchers.iter_mut().for_each(|socket| _ = socket.json());
    let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut sender = Sender::new("m");
    assert_eq!(there(&admin.anonymous()).get("/healthz").text(), "ok\n");
    watcher.holder.post(&watcher.path("/events"), &sender.started()).expect(200);
    there(&admin).put("/v1/flags/streaming", &json!({ "enabled": false, "hard": true })).expect(200);
    for socket in &mut watchers {
        socket.state(|state| state["started"] == true);
    }
    drop(crowd);
}
