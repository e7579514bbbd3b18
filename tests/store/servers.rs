//! What is said when a server cannot be used: never its password.

use crate::support::postgres::{PASSWORD, Postgres};
use crate::world::World;
use agentcast::store::{Hold, Place, Store, StoreError};
use secrecy::SecretString;
use sqlx::{AnyConnection, Connection, Executor};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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
    let second = loop {
        // The first one may be back before anybody else.
        raw.execute(cut).await.unwrap();
        if let Some(hold) = Hold::take(&url).await.unwrap() {
            break hold;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), lost).await;
    told.expect("the first one learns of it").unwrap();
    drop(second);
}

/// Passes connections on to this port. After a word on the channel those that are open say nothing any more, and neither side
/// learns of it: so does a host that dies.
async fn relay(to: u16) -> (u16, watch::Sender<()>) {
    let (listener, silence) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), watch::Sender::new(()));
    let (port, silent) = (listener.local_addr().unwrap().port(), silence.clone());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut silent = silent.subscribe();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = silent.changed() => std::future::pending().await,
                }
            });
        }
    });
    (port, silence)
}

/// The process of the session that holds a database.
async fn holder(raw: &mut AnyConnection) -> Option<i64> {
    let sql = "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query_scalar(sql).fetch_optional(raw).await.unwrap()
}

#[tokio::test]
async fn a_session_that_is_not_heard_of_ends_and_who_still_runs_takes_it_again() {
    let server = Postgres::shared();
    let (silent, cut_off) = (server.database().await, server.database().await);
    // Nobody asks this one whether it is there.
    let abandoned = Hold::take(&SecretString::from(silent.as_str())).await.unwrap().expect("nobody holds it yet");
    let (port, silence) = relay(server.port()).await;
    let through = SecretString::from(cut_off.replace(&format!(":{}/", server.port()), &format!(":{port}/")));
    let lost = tokio::spawn(Hold::take(&through).await.unwrap().expect("nobody holds it yet").lost());
    let mut raw = AnyConnection::connect(&cut_off).await.unwrap();
    let before = holder(&mut raw).await.expect("it is held");
    silence.send_replace(());
    let again = async {
        while holder(&mut raw).await.is_none_or(|pid| pid == before) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), again).await.expect("the old session ends and a new one holds it");
    assert!(Hold::take(&SecretString::from(cut_off.as_str())).await.unwrap().is_none());
    assert!(!lost.is_finished(), "its own old session is taken for another process");
    let other = async {
        while Hold::take(&SecretString::from(silent.as_str())).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), other).await.expect("whoever died holds it no more");
    drop(abandoned);
    lost.abort();
}

/// Passes connections on to this port. While the channel says so, one that asks for the lock breaks before the answer, and the
/// server does not learn of it.
async fn relay_that_loses_the_lock(to: u16) -> (u16, watch::Sender<bool>) {
    /// The lock's number as a statement's argument, after its length.
    const ASKED: &[u8] = b"\0\0\0\x08agentcas";
    let (listener, loses) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), watch::Sender::new(false));
    let (port, losing) = (listener.local_addr().unwrap().port(), loses.subscribe());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let losing = losing.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                // Room for a whole statement at a time.
                let (mut asked, mut answered) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
                loop {
                    tokio::select! {
                        read = client.read_buf(&mut asked) => {
                            if !matches!(read, Ok(1..)) {
                                return;
                            }
                            _ = server.write_all(&asked).await;
                            if *losing.borrow() && asked.windows(ASKED.len()).any(|part| part == ASKED) {
                                break;
                            }
                            asked.clear();
                        }
                        read = server.read_buf(&mut answered) => {
                            if !matches!(read, Ok(1..)) || client.write_all(&answered).await.is_err() {
                                return;
                            }
                            answered.clear();
                        }
                    }
                }
                drop(client);
                std::future::pending().await
            });
        }
    });
    (port, loses)
}

#[tokio::test]
async fn a_session_that_got_the_lock_but_whose_answer_was_lost_is_not_another_process() {
    let server = Postgres::shared();
    let address = server.database().await;
    let (port, loses) = relay_that_loses_the_lock(server.port()).await;
    let through = SecretString::from(address.replace(&format!(":{}/", server.port()), &format!(":{port}/")));
    let lost = tokio::spawn(Hold::take(&through).await.unwrap().expect("nobody holds it yet").lost());
    let mut raw = AnyConnection::connect(&address).await.unwrap();
    let first = holder(&mut raw).await.expect("it is held");
    loses.send_replace(true);
    sqlx::query("SELECT pg_terminate_backend($1::integer)").bind(first as i32).execute(&mut raw).await.unwrap();
    let mut next = async |known: &[i64]| {
        let found = async {
            loop {
                match holder(&mut raw).await {
                    Some(pid) if !known.contains(&pid) => break pid,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
                assert!(!lost.is_finished(), "its own session is taken for another process");
            }
        };
        tokio::time::timeout(Duration::from_secs(120), found).await.expect("it is taken again")
    };
    let unheard = next(&[first]).await;
    loses.send_replace(false);
    next(&[first, unheard]).await;
    assert!(Hold::take(&SecretString::from(address)).await.unwrap().is_none());
    assert!(!lost.is_finished(), "its own session is taken for another process");
    lost.abort();
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
