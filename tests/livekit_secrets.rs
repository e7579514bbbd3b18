//! The API secret and the join tokens stay inside, whatever fails and however much is logged.

mod support;

use agentcast::livekit::rooms::Rooms;
use std::process::Command;
use std::time::Duration;
use support::livekit::{LiveKit, Settings};
use support::program::{PATIENCE, Program, agentcast, command_lines, file, wait_until};
use support::relay::Relay;

/// Everything that anybody logs, our own and the libraries', but for those that draw.
const EVERYTHING: &str = "trace,wgpu_core=warn,wgpu_hal=warn,naga=warn,cosmic_text=warn";

/// The program publishing into a room through a relay.
fn publish(livekit: &LiveKit, relay: &Relay, secret: &str) -> Command {
    let mut command = agentcast();
    command
        .arg("play")
        .arg(file("assets/demo/chess.pgn"))
        .args(["--size", "720p", "--preset", "ultrafast", "--fps", "24", "--livekit-room", "match"])
        .env("LIVEKIT_URL", relay.server().ws_url())
        .env("LIVEKIT_API_KEY", livekit.key())
        .env("LIVEKIT_API_SECRET", secret)
        .env("AGENTCAST_LOG", EVERYTHING);
    command
}

/// Whether somebody is in the room, as the server says. Asked with one client, which reads all certificates of the system.
fn is_there(livekit: &LiveKit) -> impl Fn(&str) -> bool + use<> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let rooms = Rooms::new(&livekit.server());
    move |identity| runtime.block_on(rooms.participant("match", identity)).is_ok_and(|found| found.is_some())
}

/// Nothing of these in what it said, nor in what anybody on the host can see of it.
fn kept(secret: &str, relay: &Relay, said: &str, seen: &[String]) {
    let tokens = relay.tokens();
    assert!(!tokens.is_empty(), "the relay saw no token pass");
    let signatures = tokens.iter().filter_map(|token| token.rsplit('.').next());
    for canary in tokens.iter().map(String::as_str).chain(signatures).chain([secret]) {
        let hits: Vec<_> = said.lines().chain(seen.iter().map(String::as_str)).filter(|l| l.contains(canary)).collect();
        assert!(hits.is_empty(), "{} lines with a secret in them, the first: {}", hits.len(), hits[0]);
    }
}

#[test]
fn secret_and_tokens_are_never_told_through_every_failure() {
    let mut livekit = LiveKit::with(Settings { ice_lite: true, ..Settings::default() });
    let (relay, is_there) = (Relay::start(&livekit, 1), is_there(&livekit));
    let mut program = Program::start(&mut publish(&livekit, &relay, livekit.secret()));
    wait_until("the stream in its room", PATIENCE, || is_there("agentcast").then_some(()));
    let seen = command_lines(program.pid());

    let tries = relay.tries();
    relay.cut();
    wait_until("a resume", PATIENCE, || (relay.tries() > tries).then_some(()));
    relay.refuse(true);
    relay.cut();
    let tries = relay.tries();
    wait_until("refused resumes", PATIENCE, || (relay.tries() > tries + 2).then_some(()));
    relay.refuse(false);
    livekit.kill();
    let tries = relay.tries();
    wait_until("failed joins", PATIENCE, || (relay.tries() > tries + 2).then_some(()));
    livekit.restart();
    wait_until("the stream in its room again", PATIENCE, || is_there("agentcast").then_some(()));
    assert!(relay.join_tokens() >= 2, "a token of its own for each join");
    program.wait_for("livekit");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0));
    let said = program.said();
    assert!(said.contains("TRACE"), "the log is not as full as it was asked to be");
    kept(livekit.secret(), &relay, &said, &seen);
    // The server would wait for 15 s without it.
    wait_until("its Leave", Duration::from_secs(10), || (!is_there("agentcast")).then_some(()));
}

#[test]
fn refused_secret_is_told_in_plain_words_and_not_repeated() {
    let livekit = LiveKit::start();
    let relay = Relay::start(&livekit, 2);
    let canary = "canary-of-an-api-secret-that-is-not-the-servers";
    let mut program = Program::start(&mut publish(&livekit, &relay, canary));
    let words = program.wait_for("gave up");
    assert!(words.contains("LIVEKIT_API_SECRET") || words.contains("key"), "{words}");
    let seen = command_lines(program.pid());
    program.stop(libc::SIGTERM);
    kept(canary, &relay, &program.said(), &seen);
}
