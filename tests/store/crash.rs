//! A process that is killed while it writes: what it was told is written must be there.

use crate::records::{event, match_};
use crate::world::World;
use agentcast::store::{Place, Store};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Set in the child: the database that it writes to.
const CHILD: &str = "AGENTCAST_STORE_TEST_CHILD";
const MATCHES: usize = 4;
/// A snapshot after this many events.
const SNAPSHOT: u64 = 25;

/// The child: feeds matches without end and says which event of which match was acknowledged. As a test it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Ok(database) = std::env::var(CHILD) else { return };
    let place = match database.starts_with("postgres") {
        true => Place::Postgres(database.into()),
        false => Place::Sqlite(database.into()),
    };
    let store = Store::open(&place).await.unwrap();
    let feeds = (0..MATCHES).map(|m| feed(store.clone(), m));
    futures_util::future::join_all(feeds).await;
}

async fn feed(store: Store, m: usize) {
    let id = format!("mat_{m}");
    for seq in 1.. {
        store.append_events(&id, vec![event(seq)]).await.unwrap();
        // One write for the whole line: the parent reads what was said before the end.
        std::io::stderr().write_all(format!("ack {m} {seq}\n").as_bytes()).unwrap();
        if seq % SNAPSHOT == 0 {
            store.save_snapshot(&id, seq.to_string().as_bytes(), SNAPSHOT).await.unwrap();
            std::io::stderr().write_all(format!("snapshot {m} {seq}\n").as_bytes()).unwrap();
        }
    }
}

async fn killed_process_loses_nothing(world: World) {
    for m in 0..MATCHES {
        world.store.add_match(&match_(&format!("mat_{m}"), "ten_1")).await.unwrap();
    }
    world.store.close().await;
    let url = world.url.as_deref().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD, url.strip_prefix("sqlite://").unwrap_or(url))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut acknowledged, mut snapshots, mut heard) = ([0; MATCHES], [0; MATCHES], 0);
    let mut killed = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let (Some(what), Some(m), Some(seq)) = (words.next(), words.next(), words.next()) else { continue };
        let (Ok(m), Ok(seq)) = (m.parse::<usize>(), seq.parse::<u64>()) else { continue };
        match what {
            "ack" => acknowledged[m] = seq,
            "snapshot" => snapshots[m] = seq,
            _ => continue,
        }
        heard += 1;
        if heard > 400 && !killed {
            child.kill().unwrap();
            killed = true;
            // What it said before it died is still in the pipe.
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {heard} lines");

    let store = Store::open(&world.place).await.unwrap();
    for m in 0..MATCHES {
        let saved = store.load_match(&format!("mat_{m}")).await.unwrap();
        let covered: u64 = saved.snapshot.map_or(0, |s| String::from_utf8(s).unwrap().parse().unwrap());
        assert!(covered >= snapshots[m], "match {m}: snapshot {covered}, acknowledged {}", snapshots[m]);
        let last = covered + saved.events.len() as u64;
        assert_eq!(saved.events, (covered + 1..=last).map(event).collect::<Vec<_>>(), "match {m}");
        assert!(last >= acknowledged[m], "match {m}: {last} events, {} acknowledged", acknowledged[m]);
        assert!(acknowledged[m] > 0, "match {m} was never fed");
    }
    store.close().await;
    agentcast::store::check(&world.place).await.unwrap();
}

#[tokio::test]
async fn sqlite_keeps_every_acknowledged_event_of_a_killed_process() {
    killed_process_loses_nothing(World::file().await).await;
}

#[tokio::test]
async fn postgres_keeps_every_acknowledged_event_of_a_killed_process() {
    killed_process_loses_nothing(World::postgres().await).await;
}
