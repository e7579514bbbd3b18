//! What the store promises, on every database that it runs on.

mod records;

use agentcast::store::model::*;
use agentcast::store::{LoggedEvent, Place, Store};
use records::*;

#[tokio::test]
async fn memory_smoke() {
    let store = Store::open(&Place::Memory).await.unwrap();
    smoke(&store).await;
    store.close().await;
}

#[tokio::test]
async fn file_smoke() {
    let dir = std::env::temp_dir().join(format!("agentcast-store-{}", std::process::id()));
    let store = Store::open(&Place::Sqlite(dir.join("a b?#%.db"))).await.unwrap();
    smoke(&store).await;
    store.close().await;
    std::fs::remove_dir_all(dir).unwrap();
}

async fn smoke(store: &Store) {
    store.add_tenant(&tenant("ten_1")).await.unwrap();
    store.add_agent(&agent("agt_1", "ten_1")).await.unwrap();
    assert_eq!(store.agent(Some("ten_1"), "agt_1").await.unwrap(), agent("agt_1", "ten_1"));
    store.add_match(&match_("mat_1", "ten_1")).await.unwrap();
    store.append_events("mat_1", (1..=100).map(event).collect()).await.unwrap();
    store.save_snapshot("mat_1", b"snap", 40).await.unwrap();
    let saved = store.load_match("mat_1").await.unwrap();
    assert_eq!(saved.snapshot.as_deref(), Some(&b"snap"[..]));
    assert_eq!(saved.events, (41..=100).map(event).collect::<Vec<LoggedEvent>>());
    store.add_destination(&destination("dst_1", "agt_1", "ten_1")).await.unwrap();
    store.put_key(Some("ten_1"), &sealed("dst_1", "agt_1")).await.unwrap();
    let read = store.destination(None, "dst_1").await.unwrap();
    assert_eq!(read.key.unwrap().fingerprint, "a1b2c3");
    store.audit(&audit("ten_1", "x", 5)).await.unwrap();
    store.prune(10, 0, 10, 10).await.unwrap();
    assert_eq!(store.set_enabled(None, "agt_1", true).await.unwrap(), true);
    store.set_match_phase("mat_1", MatchPhase::Running, 5).await.unwrap();
}
