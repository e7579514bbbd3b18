//! What operators ask of streams: switches, starts, pictures.

use crate::*;
use agentcast::server::streams::StreamsError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_stopped_and_started_again_comes_back_after_a_restart() {
    let stage = Arc::<FakeStage>::default();
    let world = World::with_match(stage.clone()).await;
    let first = world.live("a").await.record.id;
    let streams = world.service.streams();
    streams.end(None, &first, "stopped by an operator").await.unwrap();
    let again = streams.begin(None, "a", "m").await.unwrap().id;
    assert_ne!(first, again);
    world.live("a").await;
    world.service.leave_air(Duration::from_secs(5)).await;
    let world = World { service: Service::start(world.service.context().clone(), stage).await.unwrap() };
    assert_eq!(world.live("a").await.record.id, again);
    world.switch("a", false).await;
    world.gone("a").await;
    world.switch("a", true).await;
    world.live("a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_refused_changes_nothing() {
    let stage = Arc::<FakeStage>::default();
    let world = World::new(stage.clone(), Duration::from_millis(100)).await;
    world.agent("a", NOWHERE).await;
    world.match_("m1", ["a", ""]).await;
    world.match_("m2", ["a", ""]).await;
    world.starts("m1").await;
    let streams = world.service.streams();
    streams.end(None, &world.live("a").await.record.id, "stopped by an operator").await.unwrap();
    world.starts("m2").await;
    until("the other one", || world.of("a").filter(|v| v.record.match_id == "m2")).await;
    let refused = streams.begin(None, "a", "m1").await.unwrap_err();
    assert!(
        matches!(&refused, StreamsError::Refused(words) if words.contains("m2") && words.contains("stays stopped"))
    );
    world.ends("m2").await;
    world.switch("a", false).await;
    world.gone("a").await;
    world.switch("a", true).await;
    // Nothing is wanted: the one is over, the other stopped.
    until("it waits", || Some(()).filter(|()| streams.waiting("m1").iter().any(|w| w.reason.contains("stopped"))))
        .await;
    assert!(world.of("a").is_none());
    streams.begin(None, "a", "m1").await.unwrap();
    assert_eq!(world.live("a").await.record.match_id, "m1");
    assert!(streams.waiting("m1").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_ends_at_once_what_a_drain_gives_time_to_finish() {
    let stage = Arc::<FakeStage>::default();
    let world = World::with_match(stage.clone()).await;
    world.live("a").await;
    let shown = &stage.opened()[0];
    shown.stalls.store(true, Ordering::SeqCst);
    let drained = world.service.clone();
    let drain = tokio::spawn(async move { drained.leave_air(Duration::from_secs(60)).await });
    until("the drain", || shown.stopped.load(Ordering::SeqCst).then_some(())).await;
    let began = Instant::now();
    world.service.streams().kill(true).await;
    println!("kill in a drain: {:?}", began.elapsed());
    assert!(shown.hurried.lock().unwrap().is_some_and(|within| within < SECOND));
    assert_eq!(stage.outputs(), 0, "it answers when everything has ended");
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    drain.await.unwrap();
    assert_eq!(world.store().open_streams().await.unwrap().len(), 1, "the next start says why it is not live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_reaches_what_still_opens_while_a_drain_gives_it_time() {
    let stage = Arc::<FakeStage>::default();
    *stage.hangs.lock().unwrap() = Some("a".into());
    let world = World::with_match(stage.clone()).await;
    until("its stream", || world.of("a")).await;
    // Each has said what it wants before it waits for the first time.
    let mut drain = std::pin::pin!(world.service.leave_air(Duration::from_secs(60)));
    assert!(tokio::time::timeout(Duration::ZERO, &mut drain).await.is_err());
    let mut kill = std::pin::pin!(world.service.streams().kill(true));
    assert!(tokio::time::timeout(Duration::ZERO, &mut kill).await.is_err());
    *stage.hangs.lock().unwrap() = None;
    kill.await;
    drain.await;
    let given = *stage.opened()[0].deadline.lock().unwrap();
    assert!(given.is_some_and(|deadline| deadline < SECOND), "{given:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_for_one_picture_take_few_threads() {
    let stage = Arc::<FakeStage>::default();
    let world = World::with_match(stage.clone()).await;
    let id = world.live("a").await.record.id;
    let asks = (0..64).map(|_| {
        let (streams, id) = (world.service.streams().clone(), id.clone());
        tokio::spawn(async move { streams.thumbnail(Some(TENANT), &id).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert!(ask.await.unwrap().unwrap().is_some());
    }
    let most = stage.opened()[0].thumbnails.1.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_an_agent_that_is_deleted_says_so() {
    let stage = Arc::<FakeStage>::default();
    let world = World::with_match(stage.clone()).await;
    let id = world.live("a").await.record.id;
    world.store().delete_agent(None, "a").await.unwrap();
    world.service.streams().poke();
    world.gone("a").await;
    until("it is written", || world.service.streams().unwritten(None).is_empty().then_some(())).await;
    assert_eq!(world.store().stream(None, &id).await.unwrap().reason.as_deref(), Some("the agent was deleted"));
}
