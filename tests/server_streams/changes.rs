//! What changes while streams run: settings, and whether the store takes what it is given.

use crate::*;
use sqlx::Connection;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_the_store_refuses_is_known_and_written_when_the_store_takes_it_again() {
    let dir = support::dir::TempDir::new("streams-store");
    let path = dir.path().join("agentcast.db");
    let stage = Arc::<FakeStage>::default();
    let world = World::at(&Place::Sqlite(path.clone()), stage.clone(), SECOND, None).await;
    world.agent("a", NOWHERE).await;
    world.match_("m", ["a", ""]).await;
    let mut raw = sqlx::AnyConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON streams BEGIN SELECT RAISE(ABORT, 'not now'); END";
    sqlx::query(refuse).execute(&mut raw).await.unwrap();

    world.starts("m").await;
    let id = world.live("a").await.record.id;
    assert!(world.store().stream(None, &id).await.is_err());
    let known = world.service.streams().unwritten(Some(TENANT));
    assert_eq!(known.iter().map(|r| &r.id).collect::<Vec<_>>(), [&id], "an operator finds it");
    assert!(world.service.streams().unwritten(Some("ten_2")).is_empty());
    world.switch("a", false).await;
    world.gone("a").await;
    // Longer than anything that gives up would try.
    tokio::time::sleep(3 * SECOND).await;
    sqlx::query("DROP TRIGGER refuse").execute(&mut raw).await.unwrap();
    until("it is written", || world.service.streams().unwritten(None).is_empty().then_some(())).await;
    let record = world.store().stream(None, &id).await.unwrap();
    assert!(record.ended_at.is_some(), "a restart does not bring it back: {record:?}");
    raw.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_a_reload_takes_off_the_list_get_nothing_more_until_they_are_back() {
    let stage = Arc::<FakeStage>::default();
    let world = World::with_match(stage.clone()).await;
    world.live("a").await;
    let allow = |allowed: &[&str]| {
        let context = world.service.context();
        let mut config = Config::clone(&context.config());
        config.hosts.allowed = allowed.iter().map(|host| (*host).to_owned()).collect();
        *context.config.write().unwrap() = Arc::new(config);
        world.service.streams().poke();
    };
    allow(&["live.example.com"]);
    until("its output's end", || (stage.outputs() == 0).then_some(())).await;
    let view = world.of("a").expect("the stream itself goes on");
    assert_eq!(view.destinations[0].state, "needs-attention");
    assert!(view.destinations[0].trouble.as_ref().is_some_and(|words| words.contains("127.0.0.1")), "{view:?}");
    allow(&["127.0.0.1:*"]);
    until("an output", || (stage.outputs() == 1).then_some(())).await;
    world.live("a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_that_drains_finishes_the_pictures_of_the_gop_that_is_on_its_way() {
    let receiver = Receiver::start(Behaviour::default());
    let world = World::new(Arc::new(StudioStage::new(AdapterChoice::Auto)), SECOND).await;
    world.agent("a", &format!("rtmp://{}/live", receiver.address)).await;
    world.match_("m", ["a", ""]).await;
    world.starts("m").await;
    let pictures = || {
        let all = receiver.connections();
        let media = all.first().map(|c| c.messages.clone()).unwrap_or_default();
        media.into_iter().filter(|m| m.tag.kind == 9 && m.tag.is_media()).collect::<Vec<_>>()
    };
    // In the middle of the second GOP.
    until("a second GOP", || {
        let all = pictures();
        let second = all.iter().rposition(|m| m.tag.is_key()).filter(|at| *at > 0)?;
        (all.last()?.tag.time - all[second].tag.time > 300).then_some(())
    })
    .await;
    world.service.leave_air(Duration::from_secs(20)).await;
    assert!(receiver.connections()[0].deleted, "a clean end");
    let all = pictures();
    let key = all.iter().rposition(|m| m.tag.is_key()).unwrap();
    let span = all.last().unwrap().tag.time - all[key].tag.time;
    // 2 s, less the last picture, and those before it that a slow machine left out; a cut would have been some 0.3 s.
    assert!((1_200..2_000).contains(&span), "{span} ms");
    let record = world.store().open_streams().await.unwrap();
    assert_eq!(record.len(), 1, "what should be live stays so for the next start");
}
