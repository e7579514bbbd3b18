//! Tokens and rooms against the real livekit-server: what a token lets its holder do, who is counted, and how failures read.

mod support;

use agentcast::livekit::rooms::{DEPARTURE_TIMEOUT, EMPTY_TIMEOUT, RoomMetadata, Rooms, is_viewer};
use agentcast::livekit::token::{Role, TokenRequest};
use agentcast::livekit::{ApiError, Server};
use livekit_protocol as proto;
use livekit_signaling::{SignalClient, SignalEvent, SignalEvents, SignalOptions};
use proto::signal_response::Message;
use secrecy::{ExposeSecret, SecretString};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use support::livekit::LiveKit;
use support::program::PATIENCE;

const CANARY: &str = "rooms-canary-secret-of-forty-characters!";

fn metadata(title: &str) -> String {
    RoomMetadata { title: title.into(), agent: "Deep Thought".into() }.to_json()
}

/// Somebody in a room, by signalling alone.
struct Member {
    client: SignalClient,
    events: SignalEvents,
    info: proto::ParticipantInfo,
}

impl Member {
    async fn join(server: &Server, request: &TokenRequest) -> Member {
        let token = server.token(request).unwrap();
        let mut options = SignalOptions::default();
        options.region_failover = false;
        let joined = SignalClient::connect(server.ws_url(), token.expose_secret(), options, None).await;
        let (client, join, events) = joined.unwrap_or_else(|_| panic!("{} may not join", request.identity));
        Member { client, events, info: join.participant.expect("a join response names the participant") }
    }

    /// The first message that `find` takes.
    async fn wait<T>(&mut self, mut find: impl FnMut(Message) -> Option<T>) -> T {
        let search = async {
            loop {
                match self.events.recv().await.expect("signalling stays") {
                    SignalEvent::Message(message) => {
                        if let Some(found) = find(*message) {
                            return found;
                        }
                    }
                    SignalEvent::Close(why) => panic!("signalling closed: {why}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the server says it within the deadline")
    }
}

#[tokio::test]
async fn each_role_has_in_the_room_exactly_the_permissions_of_its_row() {
    let livekit = LiveKit::start();
    let server = livekit.server();
    agentcast::livekit::install_crypto();
    let permission = |request: TokenRequest| {
        let server = server.clone();
        async move {
            let member = Member::join(&server, &request).await;
            let p = member.info.permission.clone().expect("a join response has permissions");
            member.client.close().await;
            (p.can_publish, p.can_subscribe, p.can_publish_data, p.can_update_metadata, p.hidden, p.can_publish_sources)
        }
    };
    let of = |role: Role| TokenRequest::new(role, "table", role.name());
    assert_eq!(permission(of(Role::Publisher)).await, (true, false, true, true, false, vec![]));
    assert_eq!(permission(of(Role::Viewer)).await, (false, true, false, false, false, vec![]));
    assert_eq!(
        permission(TokenRequest { chat: true, ..of(Role::Viewer) }).await,
        (false, true, true, false, false, vec![])
    );
    assert_eq!(permission(of(Role::Guest)).await, (false, true, false, false, false, vec![]));
    let sources = [proto::TrackSource::Camera, proto::TrackSource::Microphone].map(|s| s as i32);
    assert_eq!(
        permission(TokenRequest { approved: true, chat: true, ..of(Role::Guest) }).await,
        (true, true, true, false, false, sources.to_vec())
    );
    assert_eq!(permission(of(Role::Operator)).await, (false, true, false, false, true, vec![]));
}

#[tokio::test]
async fn an_operators_token_moderates_its_own_room_and_no_other() {
    let livekit = LiveKit::start();
    let server = livekit.server();
    let rooms = Rooms::new(&server);
    rooms.ensure("mine", &metadata("a")).await.unwrap();
    rooms.ensure("other", &metadata("b")).await.unwrap();
    let _viewer = Member::join(&server, &TokenRequest::new(Role::Viewer, "mine", "rude")).await;
    let token = server.token(&TokenRequest::new(Role::Operator, "mine", "mod")).unwrap();
    let operator = livekit_api::services::room::RoomClient::with_token(&server.http_url(), token.expose_secret());
    assert!(operator.list_participants("other").await.is_err(), "another room");
    assert!(operator.delete_room("mine").await.is_err(), "rooms are not an operator's to delete");
    operator.remove_participant("mine", "rude").await.unwrap();
    assert_eq!(rooms.viewers("mine").await, Ok(0));
}

#[tokio::test]
async fn a_room_outlives_a_pause_of_its_publisher_and_carries_its_title() {
    let livekit = LiveKit::start();
    let server = livekit.server();
    let rooms = Rooms::new(&server);
    assert_eq!(rooms.find("final").await, Ok(None));
    let room = rooms.ensure("final", &metadata("Round 1")).await.unwrap();
    assert_eq!(room.metadata, r#"{"agent":"Deep Thought","title":"Round 1"}"#);
    assert!(Duration::from_secs(room.empty_timeout.into()) >= Duration::from_secs(90));
    assert!(Duration::from_secs(room.departure_timeout.into()) >= Duration::from_secs(90));
    assert_eq!(room.empty_timeout, EMPTY_TIMEOUT.as_secs() as u32);
    assert_eq!(room.departure_timeout, DEPARTURE_TIMEOUT.as_secs() as u32);
    assert!(room.turn_password.is_empty(), "a password has no business here");

    // Those in the room hear of a new title, also when it comes from a second start of the same stream.
    let mut viewer = Member::join(&server, &TokenRequest::new(Role::Viewer, "final", "ada")).await;
    let title = |message| match message {
        Message::RoomUpdate(update) => update.room.map(|room| room.metadata).filter(|m| m.contains("Round")),
        _ => None,
    };
    rooms.set_metadata("final", &metadata("Round 2")).await.unwrap();
    assert_eq!(viewer.wait(title).await, metadata("Round 2"));
    let again = rooms.ensure("final", &metadata("Round 3")).await.unwrap();
    assert_eq!((again.sid, again.metadata), (room.sid.clone(), metadata("Round 3")));
    assert_eq!(viewer.wait(title).await, metadata("Round 3"));

    let listed = rooms.list().await.unwrap();
    assert_eq!(listed.iter().map(|r| (&*r.name, &*r.sid)).collect::<Vec<_>>(), [("final", &*room.sid)]);
    assert!(listed[0].turn_password.is_empty());
    rooms.delete("final").await.unwrap();
    assert_eq!(rooms.find("final").await, Ok(None));
}

#[tokio::test]
async fn viewers_are_counted_without_publishers_and_operators_and_one_can_be_sent_away() {
    let livekit = LiveKit::start();
    let server = livekit.server();
    let rooms = Rooms::new(&server);
    let mut members = Vec::new();
    for (role, identity) in [
        (Role::Publisher, "agentcast"),
        (Role::Viewer, "ada"),
        (Role::Viewer, "bob"),
        (Role::Guest, "eve"),
        (Role::Operator, "mod"),
    ] {
        members.push(Member::join(&server, &TokenRequest::new(role, "final", identity)).await);
    }
    let watching = |infos: &[proto::ParticipantInfo]| {
        let mut names: Vec<_> = infos.iter().filter(|p| is_viewer(p)).map(|p| p.identity.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(watching(&rooms.participants("final").await.unwrap()), ["ada", "bob", "eve"]);
    assert_eq!(rooms.viewers("final").await, Ok(3));
    let bob = rooms.participant("final", "bob").await.unwrap();
    assert_eq!(bob.map(|p| p.identity).as_deref(), Some("bob"));
    rooms.remove("final", "bob").await.unwrap();
    assert_eq!(rooms.participant("final", "bob").await, Ok(None));
    assert_eq!(rooms.participant("nowhere", "bob").await, Ok(None));
    let reason = members[2].wait(|message| match message {
        Message::Leave(leave) => Some(leave.reason()),
        _ => None,
    });
    assert_eq!(reason.await, proto::DisconnectReason::ParticipantRemoved);
    assert_eq!(watching(&rooms.participants("final").await.unwrap()), ["ada", "eve"]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let livekit = LiveKit::start();
    let rooms = Rooms::new(&livekit.server());
    assert_eq!(rooms.delete("nowhere").await, Err(ApiError::NoRoom));
    assert_eq!(rooms.set_metadata("nowhere", &metadata("x")).await, Err(ApiError::NoRoom));
    assert_eq!(rooms.participants("nowhere").await, Ok(Vec::new()));
    rooms.ensure("somewhere", &metadata("x")).await.unwrap();
    assert_eq!(rooms.remove("somewhere", "nobody").await, Err(ApiError::NoParticipant));
}

#[tokio::test]
async fn a_refused_key_is_told_from_other_failures_and_no_failure_shows_a_secret() {
    let livekit = LiveKit::start();
    let new = |url: &str, key: &str, secret: &str| Server::new(url, key, SecretString::from(secret)).unwrap();
    let ask = |server: Server| async move { Rooms::new(&server).list().await.unwrap_err() };

    let wrong_secret = ask(new(&livekit.url(), livekit.key(), CANARY)).await;
    let wrong_key = ask(new(&livekit.url(), "APInobody", CANARY)).await;
    assert_eq!((&wrong_secret, &wrong_key), (&ApiError::KeyRefused, &ApiError::KeyRefused));

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = ask(new(&format!("ws://{closed}"), "k", CANARY)).await;
    let ApiError::Unreachable { host, why } = &unreachable else { panic!("{unreachable}") };
    assert_eq!(*host, closed.to_string());
    assert!(why.contains("refused"), "{why}");

    // TLS where the server speaks none.
    let no_tls = ask(new(&livekit.url().replace("ws:", "wss:"), "k", CANARY)).await;
    assert!(matches!(no_tls, ApiError::Tls(_)), "{no_tls}");

    let not_livekit = web_server();
    let stranger = ask(new(&format!("ws://{not_livekit}"), "k", CANARY)).await;
    assert_eq!(stranger, ApiError::NotLiveKit { host: not_livekit, status: 404 });

    // Accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = ask(new(&format!("ws://{}", silent.local_addr().unwrap()), "k", CANARY)).await;
    assert!(matches!(timeout, ApiError::Timeout { .. }), "{timeout}");

    for error in [wrong_secret, wrong_key, unreachable, no_tls, stranger, timeout] {
        let words = format!("{error} {error:?}");
        assert!(!words.contains("canary") && !words.contains("eyJ"), "{words}");
    }
}

/// A web server that is no LiveKit; its thread ends with the test process.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 4_096]);
            let _ = socket.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>no</p>",
            );
        }
    });
    address
}
