//! `agentcast db …` against a store that is in use.

use crate::records::agent;
use crate::support::postgres::PASSWORD;
use crate::support::program::agentcast;
use crate::world::World;
use agentcast::store::Store;
use std::path::Path;
use std::process::Output;

/// Runs it on another thread: the world's own store must go on meanwhile.
async fn db(data_dir: &Path, database: Option<&str>, args: &[&str]) -> Output {
    let mut command = agentcast();
    command.current_dir(data_dir).arg("db").args(args).env("AGENTCAST_DATA_DIR", data_dir);
    match database {
        Some(url) => command.env("AGENTCAST_DATABASE", url),
        None => command.env_remove("AGENTCAST_DATABASE"),
    };
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_store_is_checked_copied_and_restored_once_it_stopped() {
    let world = World::file().await;
    let dir = world.dir.path();

    let checked = db(dir, None, &["check"]).await;
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(said(&checked).contains("no damage found") && said(&checked).contains("2 agents"), "{}", said(&checked));
    let copied = db(dir, None, &["backup", "copy.db"]).await;
    assert!(copied.status.success() && said(&copied).contains("2 tenants"), "{}", said(&copied));

    let twice = db(dir, None, &["backup", "copy.db"]).await;
    assert!(said(&twice).contains("copy.db exists already") && !twice.status.success(), "{}", said(&twice));
    assert!(!said(&twice).contains("the store cannot be reached"), "{}", said(&twice));

    world.store.add_agent(&agent("agt_3", "ten_1")).await.unwrap();
    let refused = db(dir, None, &["restore", "copy.db"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("in use"), "{}", said(&refused));
    world.store.close().await;
    let restored = db(dir, None, &["restore", "copy.db"]).await;
    assert!(restored.status.success() && said(&restored).contains(".before-restore"), "{}", said(&restored));

    let again = Store::open(&world.place).await.unwrap();
    assert!(again.agent(None, "agt_2").await.is_ok() && again.agent(None, "agt_3").await.is_err());
    again.close().await;
    // Also when nobody has it open.
    assert!(db(dir, None, &["check"]).await.status.success());
}

#[tokio::test]
async fn commands_make_no_store_where_none_is() {
    let dir = crate::support::dir::TempDir::new("store");
    for args in [&["check"][..], &["backup", "copy.db"], &["restore", "missing.db"]] {
        let output = db(dir.path(), None, args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", said(&output));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_is_checked_and_sent_to_its_own_tools_without_its_password() {
    let world = World::postgres().await;
    let url = world.url.as_deref();
    let checked = db(world.dir.path(), url, &["check"]).await;
    assert!(checked.status.success() && said(&checked).contains("2 agents"), "{}", said(&checked));
    let wrong = url.unwrap().replace("canary-pg", "canary-wrong");
    let refused = db(world.dir.path(), Some(&wrong), &["check"]).await;
    let copied = db(world.dir.path(), url, &["backup", "copy.db"]).await;
    assert!(said(&copied).contains("pg_dump"), "{}", said(&copied));
    assert!(said(&refused).contains("password authentication failed"), "{}", said(&refused));
    for output in [checked, refused, copied] {
        assert!(!said(&output).contains(PASSWORD) && !said(&output).contains("canary"), "{}", said(&output));
    }
    world.end().await;
}
