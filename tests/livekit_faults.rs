//! What a publisher does when the network, the server or a person turns against it, and what a viewer sees of it.
//!
//! Every test has a server, a broadcast and mostly a relay of its own.

mod support;

use agentcast::livekit::rooms::Rooms;
use agentcast::output::{State, Status};
use agentcast::stream::Broadcast;
use std::future::Future;
use std::time::{Duration, Instant};
use support::livekit::{LiveKit, Settings};
use support::marked::{self, SMALL};
use support::relay::Relay;
use support::subscriber::{PATIENCE, Subscriber};

const ROOM: &str = "match";
/// A picture that stands still for less may be a busy machine's doing (two of these tests run side by side); whatever a fault
/// costs is longer. The 200 ms of a healthy stream are `livekit_viewer.rs`'s.
const HICCUP: f64 = 0.4;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A server, and a publisher that reaches it through a relay.
struct Scene {
    // In the order in which they end.
    broadcast: Broadcast,
    relay: Relay,
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
        Self { broadcast, relay, livekit }
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
    fn ask<T>(&self, ask: impl AsyncFnOnce(Rooms) -> T) -> T {
        block(ask(Rooms::new(&self.livekit.server())))
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("file descriptors for an event loop").block_on(future)
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
fn cut_websocket_is_resumed_without_a_gap_in_the_picture() {
    let (scene, viewer) = Scene::playing(1);
    let (before, since, mark) = (scene.status(), viewer.now(), viewer.mark());
    scene.relay.cut();
    scene.wait(seconds(5), "a resume", |s| s.state == State::Live && s.reconnects > before.reconnects);

    // And when the way back is barred for a while.
    scene.relay.refuse(true);
    scene.relay.cut();
    let tries = scene.relay.tries();
    scene.wait(seconds(5), "trouble to be told", |s| s.last_error.is_some());
    viewer.watch(6);
    assert!(scene.relay.tries() > tries + 2, "it keeps trying");
    let during = scene.status().reconnects;
    scene.relay.refuse(false);
    let after = scene.wait(seconds(6), "a resume", |s| s.state == State::Live && s.reconnects > during);
    viewer.watch(1);
    assert_eq!(after.dropped, before.dropped, "{after:?}");
    no_new_tracks(&viewer, mark);
    let summary = viewer.end();
    assert!(summary.longest_gap(since) < HICCUP, "{summary:?}");
}

#[test]
fn frozen_websocket_is_found_and_resumed_without_a_gap_in_the_picture() {
    let (scene, viewer) = Scene::playing(2);
    let (before, tries) = (scene.status(), scene.relay.tries());
    let (since, mark) = (viewer.now(), viewer.mark());
    scene.relay.freeze(true);
    // livekit-signaling's pings find it; nothing else would.
    support::program::wait_until("another connection", seconds(40), || (scene.relay.tries() > tries).then_some(()));
    scene.relay.freeze(false);
    scene.wait(seconds(10), "a resume", |s| s.state == State::Live && s.reconnects > before.reconnects);
    no_new_tracks(&viewer, mark);
    let summary = viewer.end();
    assert!(summary.longest_gap(since) < HICCUP, "{summary:?}");
}

#[test]
fn server_that_was_killed_gets_the_stream_back_when_it_answers_again() {
    let (mut scene, viewer) = Scene::playing(3);
    drop(viewer);
    scene.livekit.kill();
    scene.wait(seconds(12), "the loss to be told", |s| s.state == State::Reconnecting && s.last_error.is_some());
    stays("it keeps trying", seconds(5), || scene.status().state == State::Reconnecting);
    scene.livekit.restart();
    let back = Instant::now();
    let status = scene.wait(seconds(8), "live again", |s| s.state == State::Live);
    let took = back.elapsed();
    println!("back {took:?} after the server answered");
    assert!(took < seconds(4), "back {took:?} after the server answered; pauses are 3 s at most: {status:?}");
    assert!(scene.relay.join_tokens() >= 2, "a token of its own for each join");
    let viewer = Subscriber::join(&scene.livekit, ROOM, "viewer");
    viewer.wait_flowing();
}

#[test]
fn udp_blocked_from_the_beginning_means_ice_over_tcp() {
    let scene = Scene::prepared(4, |relay| relay.swallow_udp(true));
    let began = Instant::now();
    scene.wait(seconds(15), "live", |s| s.state == State::Live);
    let took = began.elapsed();
    println!("without UDP live after {took:?}");
    assert!(took < seconds(5), "live only after {took:?}");
    let viewer = Subscriber::join(&scene.livekit, ROOM, "viewer");
    viewer.wait_flowing();
    viewer.watch(3);
    let ((passed, _), summary) = (scene.relay.packets(), viewer.end());
    assert_eq!(passed, 0, "nothing went by UDP");
    assert!(summary.longest_gap(0.0) < HICCUP, "{summary:?}");
}

#[test]
fn udp_that_dies_under_way_is_noticed_and_gone_round() {
    let (scene, viewer) = Scene::playing(5);
    assert!(scene.relay.packets().0 > 0, "media goes through the relay");
    let mark = viewer.mark();
    scene.relay.swallow_udp(true);
    let gap = viewer.wait_after(mark, seconds(20), "gap", |_| true);
    let frozen = gap["seconds"].as_f64().expect("a number");
    // 3 s of watchdog, then a resume over TCP.
    println!("UDP died: {frozen} s without a picture");
    assert!(frozen < 4.0, "{frozen} s without a picture");
    viewer.wait_flowing();
    let status = scene.wait(seconds(5), "live", |s| s.state == State::Live);
    assert!(status.reconnects >= 1, "{status:?}");
}

#[test]
fn second_publisher_of_the_identity_takes_the_stream_over_and_is_not_fought() {
    let (scene, viewer) = Scene::playing(6);
    let second = marked::broadcast(SMALL);
    second.add_output(marked::room(scene.livekit.server(), ROOM)).expect("running");
    let lost = scene.wait(seconds(10), "to be taken over", |s| s.state == State::NeedsAttention);
    assert!(lost.last_error.as_deref().is_some_and(|words| words.contains("taken over")), "{lost:?}");
    let tries = scene.relay.tries();
    let of_second = || second.status().outputs.remove(0);
    marked::wait(&second, 0, seconds(10), "live", |s| s.state == State::Live);
    stays("the second one has the room", seconds(4), || of_second().state == State::Live);
    assert_eq!((scene.relay.tries(), of_second().reconnects), (tries, 0), "nobody came back");
    viewer.wait_flowing();
}

#[test]
fn removed_by_an_operator_it_stays_away() {
    let (scene, _viewer) = Scene::playing(7);
    scene.ask(async |rooms| rooms.remove(ROOM, "agentcast").await).expect("the server removes it");
    let ended = scene.wait(seconds(10), "to be told", |s| s.state == State::NeedsAttention);
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
    let ended = scene.wait(seconds(10), "to be told", |s| s.state == State::NeedsAttention);
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
    viewer.wait_after(mark, seconds(2), "participant_disconnected", |e| e["identity"] == "agentcast");
    assert!(began.elapsed() < seconds(2), "gone after {:?}; without a Leave viewers freeze for 20 s", began.elapsed());
}

/// Loses this share of what the publisher sends for about 20 s; returns how long the viewer's picture stood still.
fn frozen_under_loss(seed: u64, percent: f32) -> (f64, String) {
    let (scene, viewer) = Scene::playing(seed);
    let since = viewer.now();
    scene.relay.lose(percent);
    viewer.watch(20);
    let ((passed, lost), status) = (scene.relay.packets(), scene.status());
    let summary = viewer.end();
    let share = lost as f64 * 100.0 / (passed + lost) as f64;
    assert!(share > f64::from(percent) * 0.6, "{share:.1} % of {passed} packets were lost");
    assert!(status.kbps > 100 && status.reconnects == 0, "{status:?}");
    println!("{share:.1} % lost: {} s without a picture", summary.frozen(since));
    (summary.frozen(since), format!("{summary:?}, {share:.1} % lost"))
}

#[test]
fn five_percent_loss_freezes_nothing() {
    let (frozen, words) = frozen_under_loss(10, 5.0);
    assert!(frozen < HICCUP, "{frozen} s: {words}");
}

#[test]
fn fifteen_percent_loss_freezes_a_second_of_twenty_at_most() {
    let (frozen, words) = frozen_under_loss(11, 15.0);
    assert!(frozen <= 1.0, "{frozen} s: {words}");
}

#[test]
fn track_that_the_server_mutes_stops_and_the_status_says_so() {
    let (scene, viewer) = Scene::playing(12);
    let server = scene.livekit.server();
    let mute = |muted: bool| {
        let key = server.key().to_owned();
        let client = livekit_api::services::room::RoomClient::with_api_key(
            &server.http_url(),
            &key,
            secrecy::ExposeSecret::expose_secret(server.secret()),
        );
        let there = scene.ask(async |rooms| rooms.participant(ROOM, "agentcast").await).expect("an answer");
        let tracks = there.expect("it is there").tracks;
        let picture = tracks.iter().find(|t| t.r#type == livekit_protocol::TrackType::Video as i32).expect("a picture");
        block(client.mute_published_track(ROOM, "agentcast", &picture.sid, muted)).map(|_| ())
    };
    let mark = viewer.mark();
    mute(true).expect("the server mutes");
    let status = scene.wait(seconds(5), "the mute to be told", |s| s.last_error.is_some());
    assert!(
        status.last_error.as_deref().is_some_and(|words| words.contains("muted by the server: picture")),
        "{status:?}"
    );
    viewer.wait_after(mark, seconds(5), "track_muted", |_| true);
    viewer.wait_after(mark, seconds(10), "second", |e| e["fps"] == 0.0 && e["audio"].as_u64() > Some(90));
}
