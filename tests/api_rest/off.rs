//! Switching off while the store does not answer: what is on air ends first.

use crate::support::dir::TempDir;
use crate::support::service::Sender;
use crate::world::{World, config};
use agentcast::server::roster::FLAG;
use agentcast::store::Place;
use agentcast::store::model::ApiRole;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service whose agent is on air with a match, and an operator's key.
pub struct OnAir {
    pub world: World,
    pub operator: String,
    pub agent: String,
    _dir: TempDir,
    database: std::path::PathBuf,
}

pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl OnAir {
    pub async fn new() -> OnAir {
        let mut config = config();
        config.streaming.enabled = true;
        let dir = TempDir::new("off");
        let database = dir.path().join("agentcast.db");
        let world = World::at(config, &Place::Sqlite(database.clone())).await;
        let tenant = world.tenant("Arena").await;
        let operator = world.key(Some(&tenant), ApiRole::Operator).await;
        let agent = world.agent(&operator, "Ada").await;
        world.destination(&operator, &agent).await;
        let on = json!({ "enabled": true });
        world.json(&operator, &format!("PUT /v1/agents/{agent}/streaming"), on).await.expect(200);
        let body = json!({ "scope": "feed", "match": { "reference": "m", "title": "M", "sides": { "x": agent } } });
        let made = world.json(&operator, "POST /v1/sessions", body).await.expect(201);
        let (id, token) = (made["session"]["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        let started = Sender::new("m").started();
        world.json(token, &format!("POST /v1/sessions/{id}/events"), started).await.expect(200);
        // Its key is known from before, as that of an operator at work is.
        world.get(&world.admin, "/v1/whoami").await.expect(200);
        let on_air = OnAir { world, operator, agent, _dir: dir, database };
        until("it goes on air", async || on_air.streams() == 1).await;
        // What was noted meanwhile is written.
        assert!(on_air.world.get(&on_air.operator, "/v1/streams").await.status.is_success());
        on_air
    }

    fn streams(&self) -> usize {
        self.world.api.service.streams().list(None).len()
    }

    /// Somebody else holds the database, as a repair would; for as long as the answer lives.
    async fn locked(&self) -> SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.database);
        let options = options.busy_timeout(PATIENCE);
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        other
    }
}

#[tokio::test]
async fn the_kill_switch_ends_everything_while_the_store_is_locked_and_is_written_when_it_is_free() {
    let on_air = OnAir::new().await;
    let world = &on_air.world;
    let mut other = on_air.locked().await;
    let off = async {
        let began = Instant::now();
        let answer =
            world.json(&world.admin, "PUT /v1/flags/streaming", json!({ "enabled": false, "hard": true })).await;
        (answer, began.elapsed())
    };
    let ended = async {
        let began = Instant::now();
        until("all ends", async || on_air.streams() == 0).await;
        began.elapsed()
    };
    let ((answer, answered), ended) = tokio::join!(off, ended);
    assert!(ended < Duration::from_millis(1_500), "{ended:?}");
    answer.problem(503, "unavailable");
    assert!(answer.text().contains("has not taken it"), "{}", answer.text());
    assert!(answered < Duration::from_secs(8), "{answered:?}");
    // What the store says does not turn it on again.
    assert_eq!(world.get(&world.admin, "/v1/flags/streaming").await.expect(200)["enabled"], false);
    world.api.service.streams().poke();
    assert_ne!(world.store().flag(FLAG).await.unwrap(), Some(false));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(on_air.streams(), 0);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    until("it is written", async || world.store().flag(FLAG).await.unwrap() == Some(false)).await;
    let audited = async || world.get(&world.admin, "/v1/audit?limit=200").await.text().contains("flag.streaming.off");
    until("it is in the audit", audited).await;
    // On again is on again.
    world.json(&world.admin, "PUT /v1/flags/streaming", json!({ "enabled": true })).await.expect(200);
    until("it comes back", async || on_air.streams() == 1).await;
}

#[tokio::test]
async fn an_agents_switch_ends_its_stream_while_the_store_is_gone() {
    let on_air = OnAir::new().await;
    let world = &on_air.world;
    world.store().close().await;
    let switch = format!("PUT /v1/agents/{}/streaming", on_air.agent);
    let answer = world.json(&on_air.operator, &switch, json!({ "enabled": false })).await;
    answer.problem(503, "unavailable");
    assert_eq!(on_air.streams(), 0);
}
