//! Matches that nobody ends, how many a tenant may have open, and a writer that breaks off.

use crate::*;
use agentcast::config::Config as Settings;

fn set(world: &World, change: impl FnOnce(&mut Settings)) {
    let mut config = Settings::clone(&world.config.read().unwrap());
    change(&mut config);
    *world.config.write().unwrap() = Arc::new(config);
}

const fn minutes(n: i64) -> i64 {
    n * 60_000
}

#[tokio::test]
async fn match_that_is_over_and_that_nobody_ends_is_closed_after_a_while() {
    let world = World::new("matches-over").await;
    let live = world.open().await;
    let id = live.record().id;
    live.feed(vec![started(1), wire(1, 2, "match.ended", json!({"draw": true}))]).await.unwrap();
    until("it is over", async || live.record().phase == MatchPhase::Over).await;
    let mut watch = live.watch();
    let now = now_ms();
    assert_eq!(world.matches.sweep(now + minutes(9)).await, 0);
    assert!(world.matches.get(&id).is_some());
    assert_eq!(world.matches.sweep(now + minutes(11)).await, 1);
    assert!(world.matches.get(&id).is_none());
    while watch.changed().await.is_ok() {}
    assert_eq!(live.feed(vec![line(3, "late")]).await, Err(FeedError::Closed));
    assert_eq!(world.store.match_(None, &id).await.unwrap().phase, MatchPhase::Closed);
    let page = agentcast::store::PageRequest { after: None, limit: 10 };
    let audit = world.store.audit_log(Some("ten_1"), &page).await.unwrap().items;
    assert!(audit.iter().any(|e| e.action == "match.closed" && e.subject == id && e.actor == "service"), "{audit:?}");
    assert!(world.killed().await.matches.all().is_empty(), "a restart does not bring it back");
}

#[tokio::test]
async fn result_stays_for_as_long_as_broadcasts_show_it_and_wait() {
    let world = World::new("matches-shown").await;
    set(&world, |c| c.matches.close_after = Duration::from_secs(1));
    let live = world.open().await;
    live.feed(vec![started(1), wire(1, 2, "match.ended", json!({"draw": true}))]).await.unwrap();
    until("it is over", async || live.record().phase == MatchPhase::Over).await;
    let now = now_ms();
    // 45 s over and 120 s idle.
    assert_eq!(world.matches.sweep(now + 160_000).await, 0);
    assert_eq!(world.matches.sweep(now + 166_000).await, 1);
}

#[tokio::test]
async fn match_whose_game_server_is_gone_is_closed_and_one_that_is_fed_is_not() {
    let world = World::new("matches-silent").await;
    let (waiting, running) = (world.open().await, world.open().await);
    running.feed(vec![started(1)]).await.unwrap();
    set(&world, |c| c.matches.silent_after = Duration::from_millis(400));
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.feed(vec![line(2, "I am here")]).await.unwrap();
    assert_eq!(world.matches.sweep(now_ms()).await, 1);
    assert_eq!(waiting.record().phase, MatchPhase::Closed);
    assert_eq!(running.record().phase, MatchPhase::Running);
    assert_eq!(world.matches.sweep(now_ms() + 500).await, 1);
    assert_eq!(running.record().phase, MatchPhase::Closed);
}

#[tokio::test]
async fn record_that_plays_slowly_is_no_silence() {
    let world = World::new("matches-playing").await;
    let live = world.open().await;
    let record = ticks(3);
    live.feed_record(None, record.as_bytes(), Pace::Recorded { speed: 0.01 }).await.unwrap();
    assert_eq!(world.matches.sweep(now_ms() + minutes(24 * 60)).await, 0);
    world.matches.end(&live.record().id).await.unwrap();
}

#[tokio::test]
async fn tenant_has_at_most_so_many_matches_open_and_others_have_theirs() {
    let world = World::new("matches-many").await;
    set(&world, |c| c.matches.open_per_tenant = 2);
    let first = world.open().await;
    let place = world.matches.place("ten_1").unwrap();
    let refused = world.matches.place("ten_1").err().expect("one is open and one is promised");
    assert_eq!(refused.limit, 2);
    assert!(refused.to_string().contains("matches.open_per_tenant"), "{refused}");
    assert!(world.matches.place("ten_2").is_ok());
    drop(place);
    let _second = world.open().await;
    assert!(world.matches.place("ten_1").is_err());
    world.matches.end(&first.record().id).await.unwrap();
    assert!(world.matches.place("ten_1").is_ok());
}

/// Wakes its task with a panic, in the middle of whoever tells a change.
struct Alarm;

impl std::task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn writer_that_breaks_off_is_our_fault_and_goes_on_with_all_that_was_logged() {
    let world = World::new("matches-fault").await;
    let live = world.open().await;
    let id = live.record().id;
    live.feed(vec![started(1)]).await.unwrap();
    let (mut watch, mut screens) = (live.watch(), live.watch());
    screens.mark_unchanged();
    watch.mark_unchanged();
    {
        let mut change = Box::pin(watch.changed());
        let waker = std::task::Waker::from(Arc::new(Alarm));
        let pending = std::future::Future::poll(change.as_mut(), &mut std::task::Context::from_waker(&waker));
        assert!(pending.is_pending());
        let error = live.feed(vec![line(2, "logged, then it broke")]).await.unwrap_err();
        assert!(matches!(error, FeedError::Store(_)), "not closed: {error:?}");
    }
    // A client sends it again.
    let report = live.feed(vec![line(2, "logged, then it broke")]).await.unwrap();
    assert_eq!((report.duplicates, report.seq), (1, 2));
    assert_eq!(live.feed(vec![line(3, "on it goes")]).await.unwrap().applied, 1);
    assert_eq!(lines(&live.state()), ["logged, then it broke", "on it goes"]);
    assert!(screens.changed().await.is_ok(), "who watched still watches");
    assert!(world.matches.get(&id).is_some());
    world.matches.end(&id).await.unwrap();
}
