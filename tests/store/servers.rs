//! What is said when a server cannot be used: never its password.

use crate::support::postgres::{PASSWORD, Postgres};
use crate::world::World;
use agentcast::store::{Hold, Place, Store, StoreError};
use secrecy::SecretString;
use sqlx::{AnyConnection, Connection, Executor};
use std::time::Duration;

async fn refused(url: &str) -> String {
    match Store::open(&Place::Postgres(url.into())).await {
        Err(StoreError::Backend(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_explained_without_the_password() {
    let server = Postgres::shared();
    let good = server.database().await;
    let cases = [
        (good.replace("canary-pg", "canary-wrong"), "password authentication failed"),
        (server.url("nowhere"), "\"nowhere\" does not exist"),
        (good.replace(&format!(":{}/", server.port()), ":1/"), "refused"),
        (good.replace("127.0.0.1", "no such host"), "address"),
        (format!("{good}?sslmode=require"), "TLS"),
        (format!("{good}?sslmode=canary-pg%2Fpass%40word"), "address"),
    ];
    for (url, expected) in cases {
        let words = refused(&url).await;
        assert!(words.contains(expected), "{url}: {words}");
        for secret in [PASSWORD, "canary"] {
            assert!(!words.contains(secret), "{words}");
        }
        assert!(!format!("{:?}", Place::Postgres(url.into())).contains("canary"));
    }
    // The log scrubber knows it from now on, in both forms.
    let log = agentcast::output::log::scrub(&format!("{PASSWORD} canary-pg%2Fpass%40word"));
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn one_session_holds_a_database_and_whoever_comes_first_after_a_broken_connection_has_it() {
    let server = Postgres::shared();
    let address = server.database().await;
    let url = SecretString::from(address.as_str());
    let first = Hold::take(&url).await.unwrap().expect("nobody holds it yet");
    assert!(Hold::take(&url).await.unwrap().is_none());
    let other = SecretString::from(server.database().await);
    assert!(Hold::take(&other).await.unwrap().is_some(), "another database is another store");
    let lost = tokio::spawn(first.lost());
    let mut raw = AnyConnection::connect(&address).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    raw.execute(cut).await.unwrap();
    let second = loop {
        if let Some(hold) = Hold::take(&url).await.unwrap() {
            break hold;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), lost).await;
    told.expect("the first one learns of it").unwrap();
    drop(second);
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_left_alone() {
    for world in [World::file().await, World::postgres().await] {
        let mut raw = world.raw().await.unwrap();
        let add = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            SELECT 99, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        raw.execute(add).await.unwrap();
        raw.close().await.unwrap();
        let refused = Store::open(&world.place).await.unwrap_err().to_string();
        assert!(refused.contains("schema version 99") && refused.contains("newer agentcast"), "{refused}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_refused_write_says_nothing_of_its_values() {
    let world = World::postgres().await;
    let mut agent = crate::records::agent("agt_canary", "ten_1");
    agent.name = "canary\0name".into();
    let words = world.store.add_agent(&agent).await.unwrap_err().to_string();
    assert!(!words.contains("canary"), "{words}");
    world.end().await;
}

#[tokio::test]
async fn two_services_that_start_on_an_empty_server_both_find_the_schema() {
    let server = Postgres::shared();
    let place = Place::Postgres(server.database().await.into());
    let opened = futures_util::future::join_all((0..4).map(|_| Store::open(&place))).await;
    for store in opened {
        let store = store.unwrap();
        store.ping().await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn every_connection_to_a_server_waits_for_the_disk() {
    // The server's own default, as it is started here, is not to.
    let world = World::postgres().await;
    let mut raw = world.raw().await.unwrap();
    let default: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut raw).await.unwrap();
    assert_eq!(default, "off");
    let sql = "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('synchronous_commit') <> 'on' THEN RAISE EXCEPTION 'not safe'; END IF; RETURN NEW; END $$";
    raw.execute(sql).await.unwrap();
    raw.execute("CREATE TRIGGER told BEFORE INSERT ON agents FOR EACH ROW EXECUTE FUNCTION told()").await.unwrap();
    let adding = (0..20).map(|n| {
        let store = world.store.clone();
        async move { store.add_agent(&crate::records::agent(&format!("agt_9{n}"), "ten_1")).await }
    });
    for added in futures_util::future::join_all(adding).await {
        added.unwrap();
    }
    world.end().await;
}
