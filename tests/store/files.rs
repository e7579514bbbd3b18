//! What is promised of an SQLite store's files.

use crate::records::*;
use crate::support::dir::TempDir;
use crate::world::World;
use agentcast::store::{PageRequest, Place, Store, StoreError, check, restore};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn words(error: StoreError) -> String {
    match error {
        StoreError::Backend(words) | StoreError::Copy(words) => words,
        other => panic!("{other:?}"),
    }
}

async fn names(place: &Place) -> Vec<String> {
    let store = Store::open(place).await.unwrap();
    let page = store.agents(None, &PageRequest { after: None, limit: 200 }).await.unwrap();
    store.close().await;
    page.items.into_iter().map(|a| a.id).collect()
}

#[tokio::test]
async fn only_the_owner_reads_the_files_whatever_they_were() {
    let dir = TempDir::new("store");
    // A folder that is missing, and a name that an address would read otherwise.
    let path = dir.path().join("da ta").join("a?b#c%41.db");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let store = Store::open(&Place::Sqlite(path.clone())).await.unwrap();
    store.add_tenant(&tenant("ten_1")).await.unwrap();
    for suffix in ["", "-wal", "-shm", "-use"] {
        assert_eq!(mode(&beside(&path, suffix)), 0o600, "{suffix}");
    }
    store.close().await;
    assert!(!beside(&path, "-wal").exists());

    let made = dir.path().join("new/deeper/agentcast.db");
    Store::open(&Place::Sqlite(made.clone())).await.unwrap().close().await;
    assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn what_is_no_store_is_left_alone() {
    let dir = TempDir::new("store");
    let path = dir.path().join("agentcast.db");
    fs::write(&path, "these are somebody's notes, not a database at all".repeat(40)).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = words(Store::open(&Place::Sqlite(path.clone())).await.unwrap_err());
    assert!(refused.contains("not a database"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(Store::open(&Place::Sqlite(dir.path().into())).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_one_file_without_refusal() {
    let world = World::file().await;
    // A command beside the service: another store on the same file.
    let other = Store::open(&world.place).await.unwrap();
    let writing = [world.store.clone(), other.clone()].into_iter().enumerate().map(|(n, store)| {
        tokio::spawn(async move {
            store.add_match(&match_(&format!("mat_{n}"), "ten_1")).await.unwrap();
            for seq in 1..=60 {
                store.append_events(&format!("mat_{n}"), vec![event(seq)]).await.unwrap();
                store.audit(&audit("ten_1", "a", 1)).await.unwrap();
            }
        })
    });
    for one in writing.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(other.load_match("mat_0").await.unwrap().events.len(), 60);
    assert_eq!(world.store.load_match("mat_1").await.unwrap().events.len(), 60);
    other.close().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_store_is_one_moment_of_it() {
    let world = World::file().await;
    world.store.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    let feeding = {
        let store = world.store.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                store.append_events("mat_1", (n * 3 + 1..=n * 3 + 3).map(event).collect()).await.unwrap();
            }
        })
    };
    let copy = world.dir.path().join("copy.db");
    while world.store.load_match("mat_1").await.unwrap().events.len() < 30 {
        tokio::task::yield_now().await;
    }
    world.store.backup(&copy).await.unwrap();
    feeding.await.unwrap();
    assert_eq!(mode(&copy), 0o600);
    let found = check(&Place::Sqlite(copy.clone())).await.unwrap();
    assert_eq!((found.tenants, found.agents, found.matches), (2, 2, 1));

    let exists = words(world.store.backup(&copy).await.unwrap_err());
    assert!(exists.contains("copy.db") && exists.contains("exists"), "{exists}");
    let copied = Store::open(&Place::Sqlite(copy)).await.unwrap();
    let events = copied.load_match("mat_1").await.unwrap().events;
    assert!(events.len() >= 30 && events.len() % 3 == 0, "{} events: a call was cut in two", events.len());
    assert_eq!(events, (1..=events.len() as u64).map(event).collect::<Vec<_>>());
    copied.close().await;
    world.end().await;

    let memory = World::memory().await;
    let copy = memory.dir.path().join("memory.db");
    memory.store.backup(&copy).await.unwrap();
    assert_eq!(names(&Place::Sqlite(copy)).await, ["agt_1", "agt_2"]);
    memory.end().await;

    let server = World::postgres().await;
    let refused = words(server.store.backup(&server.dir.path().join("x.db")).await.unwrap_err());
    assert!(refused.contains("pg_dump"), "{refused}");
    assert!(!server.dir.path().join("x.db").exists());
    server.end().await;
}

#[tokio::test]
async fn a_restore_brings_back_the_copy_and_keeps_what_was_there() {
    let world = World::file().await;
    let (path, copy) = (world.path(), world.dir.path().join("copy.db"));
    world.store.backup(&copy).await.unwrap();
    world.store.add_agent(&agent("agt_3", "ten_1")).await.unwrap();

    let in_use = words(restore(&copy, &path).await.unwrap_err());
    assert!(in_use.contains("in use"), "{in_use}");
    world.store.close().await;

    let kept = restore(&copy, &path).await.unwrap().unwrap();
    assert_eq!(names(&world.place).await, ["agt_1", "agt_2"]);
    assert_eq!(names(&Place::Sqlite(kept.clone())).await, ["agt_1", "agt_2", "agt_3"]);
    assert_eq!((mode(&path), mode(&kept)), (0o600, 0o600));
    assert!(!beside(&path, ".restoring").exists());
    // Another one replaces nothing that an earlier one kept.
    let second = restore(&copy, &path).await.unwrap().unwrap();
    assert_ne!(second, kept);
    assert_eq!(names(&Place::Sqlite(second)).await, ["agt_1", "agt_2"]);
    assert_eq!(names(&Place::Sqlite(kept)).await, ["agt_1", "agt_2", "agt_3"]);

    // To where nothing is yet, on a new machine.
    let fresh = world.dir.path().join("new/agentcast.db");
    assert_eq!(restore(&copy, &fresh).await.unwrap(), None);
    assert_eq!(names(&Place::Sqlite(fresh)).await, ["agt_1", "agt_2"]);
}

#[tokio::test]
async fn a_log_that_a_killed_service_left_does_not_meet_the_restored_store() {
    let world = World::file().await;
    let copy = world.dir.path().join("copy.db");
    world.store.backup(&copy).await.unwrap();
    world.store.add_agent(&agent("agt_3", "ten_1")).await.unwrap();
    // As after kill -9: database and log as they are now, and nobody there.
    let crashed = world.dir.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        fs::copy(beside(&world.path(), suffix), beside(&crashed, suffix)).unwrap();
    }
    world.store.close().await;
    assert!(fs::metadata(beside(&crashed, "-wal")).unwrap().len() > 0);

    let kept = restore(&copy, &crashed).await.unwrap().unwrap();
    assert_eq!(names(&Place::Sqlite(crashed)).await, ["agt_1", "agt_2"]);
    assert_eq!(names(&Place::Sqlite(kept)).await, ["agt_1", "agt_2", "agt_3"]);
}

#[tokio::test]
async fn a_bad_copy_is_refused_before_anything_is_replaced() {
    let world = World::file().await;
    world.store.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    world.store.append_events("mat_1", (1..=2_000).map(event).collect()).await.unwrap();
    let copy = world.dir.path().join("copy.db");
    world.store.backup(&copy).await.unwrap();
    world.store.close().await;
    let bytes = fs::read(&copy).unwrap();
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("cut.db", bytes[..bytes.len() / 2].to_vec(), "damaged"),
        ("flipped.db", flipped(&bytes), "damaged"),
        ("text.db", b"not a database".repeat(100), "not a database"),
        ("empty.db", Vec::new(), "no database of agentcast"),
    ];
    for (name, bytes, expected) in cases {
        let bad = world.dir.path().join(name);
        fs::write(&bad, bytes).unwrap();
        let refused = words(restore(&bad, &world.path()).await.unwrap_err());
        assert!(refused.contains(expected), "{name}: {refused}");
        assert!(refused.contains(name), "{refused}");
    }
    let newer = world.dir.path().join("newer.db");
    fs::write(&newer, &bytes).unwrap();
    {
        use sqlx::{Connection, Executor};
        let mut raw = sqlx::AnyConnection::connect(&format!("sqlite://{}", newer.display())).await.unwrap();
        let add = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            SELECT 99, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        raw.execute(add).await.unwrap();
        raw.close().await.unwrap();
    }
    let refused = words(restore(&newer, &world.path()).await.unwrap_err());
    assert!(refused.contains("schema version 99"), "{refused}");
    assert!(restore(&world.dir.path().join("missing.db"), &world.path()).await.is_err());
    let fresh = world.dir.path().join("fresh.db");
    assert!(restore(&newer, &fresh).await.is_err());
    assert!(!fresh.exists() && !beside(&fresh, ".restoring").exists());

    let again = Store::open(&world.place).await.unwrap();
    assert_eq!(again.load_match("mat_1").await.unwrap().events.len(), 2_000);
    again.close().await;
}

/// A page in the middle is overwritten.
fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 8192 * 4096;
    bytes[middle..middle + 64].fill(0xa5);
    bytes
}
