//! What a publisher does when the network, the server or a person turns against it, and what a viewer sees of it.
//!
//! Every test has a server, a broadcast and mostly a relay of its own.

mod support;

use agentcast::livekit::rooms::Rooms;
use agentcast::output::{State, Status};
use agentcast::stream::Broadcast;
use std::cell::OnceCell;
use std::time::{Duration, Instant};
use support::livekit::{LiveKit, Settings};
use support::marked::{self, SMALL};
use support::relay::Relay;
use support::subscriber::{PATIENCE, Subscriber};
use support::window::{Window, best_of_three, ensure};
use tokio::runtime::Runtime;

const ROOM: &str = "match";
/// A picture that stands still for less, s, may be a busy machine's doing (two of these tests run side by side); whatever a
/// fault costs is longer. The 200 ms of a healthy stream are `livekit_viewer.rs`'s.
const HICCUP: f64 = 0.25;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server, and a publisher that reaches it through a relay.
struct Scene {
    // In the order in which they end.
    broadcast: Broadcast,
    relay: Relay,
    /// The server's API. A client reads all certificates of the system: one is enough.
    rooms: OnceCell<(Runtime, Rooms)>,
    livekit: LiveKit,
}

impl Scene {
    /// `prepare`: what the relay does from the beginning.
    fn prepared(seed: u64, prepare: impl FnOnce(&Relay)) -> Self {
        let livekit = LiveKit::with(Settings { ice_lite: true, ..Settings::default() });
        let relay = Relay::start(&livekit, seed);
        prepare(&relay);
        let broadcast = marked::broadcast(SMALL);
        broadcast.add_output(marked::room(relay.server(), ROOM)).expect("running");
        Self { broadcast, relay, rooms: OnceCell::new(), livekit }
    }

    /// With a viewer whose picture moves.
    fn playing(seed: u64) -> (Self, Subscriber) {
        let scene = Self::prepared(seed, |_| {});
        scene.wait(PATIENCE, "live", |s| s.state == State::Live);
        let viewer = Subscriber::join(&scene.livekit, ROOM, "viewer");
        viewer.wait_flowing();
        (scene, viewer)
    }

    fn status(&self) -> Status {
        self.broadcast.status().outputs.first().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn wait(&self, within: Duration, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        marked::wait(&self.broadcast, 0, within, what, wanted)
    }

    /// Asks the server's API.
    fn ask<T>(&self, ask: impl AsyncFnOnce(&Rooms) -> T) -> T {
        let (runtime, rooms) = self.rooms.get_or_init(|| (runtime(), Rooms::new(&self.livekit.server())));
        runtime.block_on(ask(rooms))
    }
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("file descriptors for an event loop")
}

/// Checks again and again that something stays as it is.
#[track_caller]
fn stays(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds(), "{what}: not any more, {:?} before the end", end.saturating_duration_since(Instant::now()));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn no_new_tracks(viewer: &Subscriber, mark: usize) {
    let anew: Vec<_> = viewer.events().drain(mark..).filter(|e| e["event"] == "track_subscribed").collect();
    assert!(anew.is_empty(), "it was a rejoin: {anew:?}");
}

#[test]
fn picture_that_stands_still_is_measured() {
    let (scene, viewer) = Scene::playing(13);
    let window = Window::open(&viewer, &scene.broadcast);
    // Shorter than the watchdog's 3 s.
    scene.relay.swallow_udp(true);
    viewer.watch(2);
    let during = viewer.summary();
    assert!(during.gaps.last().is_some_and(|gap| gap.unexplained() > 0.5), "a gap that has no end yet: {during:?}");
    scene.relay.swallow_udp(false);
    viewer.watch(3);
    let shown = window.close();
    assert!(shown.moves(0.5).is_err() && shown.frozen() > 0.5, "lost on the way, not left out: {shown:?}");
}

#[test]
fn cut_websocket_is_resumed_without_a_gap_in_the_picture() {
    let (scene, viewer) = Scene::playing(1);
    let mark = viewer.mark();
    best_of_three("a resume that nobody sees", || {
        let (window, before) = (Window::open(&viewer, &scene.broadcast), scene.status());
        scene.relay.cut();
        let resumed = |s: &Status| s.state == State::Live && s.reconnects > before.reconnects;
        let after = scene.wait(seconds(15), "a resume", resumed);
        viewer.watch(3);
        ensure(after.dropped == before.dropped, || format!("{before:?}, {after:?}"))?;
        window.close().moves(HICCUP)
    });
    // And when the way back is barred for a while.
    best_of_three("a late resume that nobody sees", || {
        let (window, before) = (Window::open(&viewer, &scene.broadcast), scene.status());
        scene.relay.refuse(true);
        let tries = scene.relay.tries();
        scene.relay.cut();
        scene.wait(seconds(15), "trouble to be told", |s| s.last_error.is_some());
        viewer.watch(6);
        assert!(scene.relay.tries() > tries + 2, "it keeps trying");
        let during = scene.status().reconnects;
        scene.relay.refuse(false);
        let after = scene.wait(seconds(15), "a resume", |s| s.state == State::Live && s.reconnects > during);
        viewer.watch(3);
        ensure(after.dropped == before.dropped, || format!("{before:?}, {after:?}"))?;
        window.close().moves(HICCUP)
    });
    no_new_tracks(&viewer, mark);
}

#[test]
fn frozen_websocket_is_found_and_resumed_without_a_gap_in_the_picture() {
    let (scene, viewer) = Scene::playing(2);
    let mark = viewer.mark();
    best_of_three("a resume that nobody sees", || {
        let window = Window::open(&viewer, &scene.broadcast);
        let (before, tries) = (scene.status(), scene.relay.tries());
        scene.relay.freeze(true);
        // livekit-signaling's pings find it; nothing else would.
        support::program::wait_until("another connection", seconds(60), || (scene.relay.tries() > tries).then_some(()));
        scene.relay.freeze(false);
        scene.wait(seconds(20), "a resume", |s| s.state == State::Live && s.reconnects > before.reconnects);
        viewer.watch(3);
        window.close().moves(HICCUP)
    });
    no_new_tracks(&viewer, mark);
}

#[test]
fn server_that_was_killed_gets_the_stream_back_when_it_answers_again() {
    let (mut scene, viewer) = Scene::playing(3);
    drop(viewer);
    scene.livekit.kill();
    scene.wait(seconds(20), "the loss to be told", |s| s.state == State::Reconnecting && s.last_error.is_some());
    // The pauses between tries are what bounds the time to the way back; a join itself is as fast as the machine.
    let soon = |s: &Status| s.retry_ms.is_none_or(|ms| ms <= 3_000);
    let mut pauses = 0;
    stays("it keeps trying every 3 s", seconds(8), || {
        let status = scene.status();
        pauses += u32::from(status.retry_ms.is_some());
        status.state == State::Reconnecting && soon(&status)
    });
    assert!(pauses > 0, "no pause is told");
    scene.livekit.restart();
    let back = Instant::now();
    scene.wait(PATIENCE, "live again", |s| {
        assert!(soon(s), "{s:?}");
        s.state == State::Live
    });
    println!("back {:?} after the server answered", back.elapsed());
    assert!(scene.relay.join_tokens() >= 2, "a token of its own for each join");
    let viewer = Subscriber::join(&scene.livekit, ROOM, "viewer");
    viewer.wait_flowing();
}

#[test]
fn udp_blocked_from_the_beginning_means_ice_over_tcp() {
    let scene = Scene::prepared(4, |relay| relay.swallow_udp(true));
    let began = Instant::now();
    scene.wait(PATIENCE, "live", |s| s.state == State::Live);
    let took = began.elapsed();
    println!("without UDP live after {took:?}");
    // Less than the 15 s of a join that fails; it is the first one.
    assert!(took < seconds(12), "live only after {took:?}");
    let viewer = Subscriber::join(&scene.livekit, ROOM, "viewer");
    best_of_three("a picture that moves", || {
        let window = Window::open(&viewer, &scene.broadcast);
        viewer.watch(3);
        window.close().moves(HICCUP)
    });
    assert_eq!((scene.relay.packets().0, scene.status().reconnects), (0, 0), "nothing went by UDP");
}

#[test]
fn udp_that_dies_under_way_is_noticed_and_gone_round() {
    best_of_three("3 s of watchdog, then a resume over TCP", || {
        let (scene, viewer) = Scene::playing(5);
        assert!(scene.relay.packets().0 > 0, "media goes through the relay");
        let mark = viewer.mark();
        scene.relay.swallow_udp(true);
        let died = Instant::now();
        scene.wait(PATIENCE, "the death to be noticed", |s| s.state == State::Reconnecting);
        let noticed = died.elapsed();
        let gap = viewer.wait_after(mark, PATIENCE, "gap", |e| e["seconds"].as_f64() > Some(1.0));
        let frozen = gap["seconds"].as_f64().expect("a number");
        println!("UDP died: noticed after {noticed:?}, {frozen} s without a picture");
        viewer.wait_flowing();
        let status = scene.wait(PATIENCE, "live", |s| s.state == State::Live);
        assert!(status.reconnects >= 1, "{status:?}");
        let words = || format!("noticed after {noticed:?}, {frozen} s without a picture");
        ensure(noticed < Duration::from_millis(4_200) && frozen < 5.0, words)
    });
}

#[test]
fn second_publisher_of_the_identity_takes_the_stream_over_and_is_not_fought() {
    let (scene, viewer) = Scene::playing(6);
    let second = marked::broadcast(SMALL);
    second.add_output(marked::room(scene.livekit.server(), ROOM)).expect("running");
    let lost = scene.wait(seconds(20), "to be taken over", |s| s.state == State::NeedsAttention);
    assert!(lost.last_error.as_deref().is_some_and(|words| words.contains("taken over")), "{lost:?}");
    let tries = scene.relay.tries();
    let of_second = || second.status().outputs.remove(0);
    marked::wait(&second, 0, seconds(20), "live", |s| s.state == State::Live);
    stays("the second one has the room", seconds(4), || of_second().state == State::Live);
    assert_eq!((scene.relay.tries(), of_second().reconnects), (tries, 0), "nobody came back");
    viewer.wait_flowing();
}

#[test]
fn removed_by_an_operator_it_stays_away() {
    let (scene, _viewer) = Scene::playing(7);
    scene.ask(async |rooms| rooms.remove(ROOM, "agentcast").await).expect("the server removes it");
    let ended = scene.wait(seconds(20), "to be told", |s| s.state == State::NeedsAttention);
    assert!(ended.last_error.as_deref().is_some_and(|words| words.contains("removed from the room")), "{ended:?}");
    let tries = scene.relay.tries();
    stays("it stays away", seconds(4), || {
        let there = scene.ask(async |rooms| rooms.participant(ROOM, "agentcast").await).expect("an answer");
        there.is_none() && scene.relay.tries() == tries
    });
}

#[test]
fn deleted_room_is_not_made_again() {
    let (scene, viewer) = Scene::playing(8);
    drop(viewer);
    scene.ask(async |rooms| rooms.delete(ROOM).await).expect("the server deletes it");
    let ended = scene.wait(seconds(20), "to be told", |s| s.state == State::NeedsAttention);
    assert!(ended.last_error.as_deref().is_some_and(|words| words.contains("deleted")), "{ended:?}");
    stays("there is no room", seconds(4), || {
        scene.ask(async |rooms| rooms.find(ROOM).await).expect("an answer").is_none()
    });
}

#[test]
fn stream_that_ends_leaves_the_room_at_once() {
    let (scene, viewer) = Scene::playing(9);
    let mark = viewer.mark();
    let Scene { broadcast, .. } = scene;
    let began = Instant::now();
    let ended = broadcast.stop(seconds(4));
    assert_eq!(ended.outputs[0].state, State::Stopped, "{ended:?}");
    viewer.wait_after(mark, PATIENCE, "participant_disconnected", |e| e["identity"] == "agentcast");
    assert!(began.elapsed() < seconds(8), "gone after {:?}; without a Leave viewers freeze for 20 s", began.elapsed());
}

/// Loses this share of what the publisher sends for about 20 s, and compares how long the viewer's picture stood still with
/// the limit, s.
#[track_caller]
fn frozen_under_loss(seed: u64, percent: f32, limit: f64) {
    let (scene, viewer) = Scene::playing(seed);
    best_of_three("a picture that hardly stands still", || {
        scene.relay.lose(0.0);
        let window = Window::open(&viewer, &scene.broadcast);
        let before = scene.relay.packets();
        scene.relay.lose(percent);
        viewer.watch(20);
        let (after, shown) = (scene.relay.packets(), window.close());
        let (passed, lost) = (after.0 - before.0, after.1 - before.1);
        let share = lost as f64 * 100.0 / (passed + lost) as f64;
        assert!(share > f64::from(percent) * 0.6, "{share:.1} % of {passed} packets were lost");
        let status = scene.status();
        assert!(status.kbps > 100 && status.reconnects == 0, "{status:?}");
        println!("{share:.1} % lost: {:.3} s without a picture", shown.frozen());
        ensure(shown.frozen() <= limit, || format!("{:.3} s, {share:.1} % lost: {shown:?}", shown.frozen()))
    });
}

#[test]
fn five_percent_loss_freezes_nothing() {
    frozen_under_loss(10, 5.0, HICCUP);
}

#[test]
fn fifteen_percent_loss_freezes_a_second_of_twenty_at_most() {
    frozen_under_loss(11, 15.0, 1.0);
}

#[test]
fn track_that_the_server_mutes_stops_and_the_status_says_so() {
    let (scene, viewer) = Scene::playing(12);
    let server = scene.livekit.server();
    let there = scene.ask(async |rooms| rooms.participant(ROOM, "agentcast").await).expect("an answer");
    let tracks = there.expect("it is there").tracks;
    let picture = tracks.iter().find(|t| t.r#type == livekit_protocol::TrackType::Video as i32).expect("a picture");
    let mark = viewer.mark();
    let secret = secrecy::ExposeSecret::expose_secret(server.secret());
    let client = livekit_api::services::room::RoomClient::with_api_key(&server.http_url(), server.key(), secret);
    let muted = runtime().block_on(client.mute_published_track(ROOM, "agentcast", &picture.sid, true));
    muted.expect("the server mutes");
    let status = scene.wait(seconds(20), "the mute to be told", |s| s.last_error.is_some());
    assert!(
        status.last_error.as_deref().is_some_and(|words| words.contains("muted by the server: picture")),
        "{status:?}"
    );
    viewer.wait_after(mark, PATIENCE, "track_muted", |_| true);
    viewer.wait_after(mark, PATIENCE, "second", |e| e["fps"] == 0.0 && e["audio"].as_u64() > Some(50));
}
