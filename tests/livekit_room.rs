//! A room destination by itself, against the real server: who may publish, what pages are told, what is kept over a rejoin,
//! and the media path that `check` reports. Faults of the network are in `livekit_faults.rs`, pictures in `livekit_viewer.rs`.

mod support;

use agentcast::game::MatchState;
use agentcast::livekit::Server;
use agentcast::livekit::rooms::Rooms;
use agentcast::output::livekit::{IcePolicy, PathReport, probe};
use agentcast::output::{State, Status, Viewers};
use livekit_protocol as proto;
use secrecy::SecretString;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::livekit::{LiveKit, Settings};
use support::marked;
use support::media::{Media, Player};
use support::relay::Relay;
use support::subscriber::{PATIENCE, Subscriber};
use support::window::{best_of_three, ensure};

const ROOM: &str = "match";
const SOON: Duration = Duration::from_secs(20);

fn publish(server: Server) -> Player {
    Player::start(marked::room(server, ROOM), &Media::at_kbps(800), 1.0)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("file descriptors for an event loop").block_on(future)
}

/// Our participant, as the server has it.
fn ours(rooms: &Rooms) -> Option<proto::ParticipantInfo> {
    block(rooms.participant(ROOM, "agentcast")).expect("the server answers")
}

fn picture(participant: &proto::ParticipantInfo) -> Option<&proto::TrackInfo> {
    participant.tracks.iter().find(|t| t.name == "picture")
}

#[track_caller]
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn words(status: &Status) -> &str {
    status.last_error.as_deref().unwrap_or_default()
}

#[test]
fn publisher_that_was_replaced_while_it_was_away_does_not_come_back() {
    let livekit = LiveKit::with(Settings { ice_lite: true, ..Settings::default() });
    let relay = Relay::start(&livekit, 21);
    let first = publish(relay.server());
    first.wait_live();
    relay.refuse(true);
    relay.cut();
    let second = publish(livekit.server());
    second.wait_live();
    relay.refuse(false);
    let lost = first.wait(PATIENCE, "to learn of the other one", |s| s.state == State::NeedsAttention);
    assert!(words(&lost).contains("taken over"), "{lost:?}");
    let kept = second.status();
    assert_eq!((kept.state, kept.reconnects), (State::Live, 0), "{kept:?}");
}

#[test]
fn page_is_told_the_match_when_it_joins_and_the_end_when_it_ends() {
    let livekit = LiveKit::start();
    let player = publish(livekit.server());
    player.wait_live();
    let mut state = MatchState { started: true, match_id: "m1".into(), seq: 1, ..MatchState::default() };
    state.board.title = "Agent Open".into();
    player.show(&Arc::new(state));
    let viewer = Subscriber::join(&livekit, ROOM, "page");
    let metadata = viewer.wait_for("connected")["metadata"].as_str().unwrap_or_default().to_owned();
    assert!(metadata.contains("Chess, game 5") && metadata.contains("Ada the agent"), "{metadata}");
    let told = |topic: &str, part: &str| {
        viewer.wait_after(0, PATIENCE, "data", |e| {
            e["topic"] == topic && e["text"].as_str().is_some_and(|text| text.contains(part))
        });
    };
    told("agentcast.stream", r#""state":"live""#);
    told("agentcast.state", "Agent Open");
    player.wait(SOON, "one viewer", |s| s.viewers == Some(Viewers { now: 1, peak: 1 }));
    player.stop(Duration::from_secs(4));
    told("agentcast.stream", r#""state":"ended""#);
    let rooms = Rooms::new(&livekit.server());
    wait("to have left", || ours(&rooms).is_none().then_some(()));
}

#[test]
fn track_that_the_server_muted_stays_muted_over_a_rejoin() {
    let mut livekit = LiveKit::start();
    let player = publish(livekit.server());
    player.wait_live();
    let server = livekit.server();
    let rooms = Rooms::new(&server);
    let sid = wait("a picture", || Some(picture(&ours(&rooms)?)?.sid.clone()));
    block(async {
        use livekit_api::services::room::RoomClient;
        use secrecy::ExposeSecret;
        let client = RoomClient::with_api_key(&server.http_url(), server.key(), server.secret().expose_secret());
        client.mute_published_track(ROOM, "agentcast", &sid, true).await.expect("the server mutes it");
    });
    player.wait(SOON, "to say so", |s| words(s).contains("muted by the server: picture"));
    livekit.restart();
    player.wait(PATIENCE, "to be back", |s| s.state == State::Live && s.reconnects >= 1);
    let muted = wait("a picture again", || Some(picture(&ours(&rooms)?)?.muted));
    assert!(muted, "whoever muted it meant the stream");
    player.wait(SOON, "to say so again", |s| words(s).contains("muted by the server: picture"));
}

#[test]
fn media_path_is_found_by_its_kind_and_the_room_of_the_check_is_gone_after_it() {
    let livekit = LiveKit::start();
    let server = livekit.server();
    for (policy, wanted) in [(IcePolicy::All, "udp"), (IcePolicy::Udp, "udp"), (IcePolicy::Tcp, "tcp")] {
        // A busy machine may have TCP ready first, and give it up for UDP later.
        best_of_three(wanted, || {
            let report = block(probe(&server, policy));
            let found = matches!(&report, Ok(PathReport { path, round_trip: Some(_) }) if *path == wanted);
            ensure(found, || format!("{report:?}"))
        });
    }
    assert!(block(Rooms::new(&server).list()).expect("the server answers").is_empty());
}

#[test]
fn check_of_a_server_that_refuses_or_is_away_says_so() {
    let livekit = LiveKit::start();
    let wrong = Server::new(&livekit.url(), livekit.key(), SecretString::from("not-the-secret-canary-0123456789"));
    let refused = block(probe(&wrong.expect("a good address"), IcePolicy::All)).expect_err("no such secret");
    assert!(refused.contains("LIVEKIT_API_SECRET") && !refused.contains("canary"), "{refused}");
    let server = livekit.server();
    drop(livekit);
    let away = block(probe(&server, IcePolicy::All)).expect_err("nobody there");
    assert!(away.contains("cannot be reached"), "{away}");
}
