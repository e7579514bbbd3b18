//! LiveKit on the command line, against the real livekit-server: `token`, `demo --livekit`, `check`.

mod support;

use agentcast::livekit::rooms::Rooms;
use livekit_api::access_token::TokenVerifier;
use std::process::Command;
use std::time::Duration;
use support::dir::TempDir;
use support::livekit::LiveKit;
use support::program::{Program, agentcast, wait_until};
use support::service::{JWT_SECRET, KEK};
use support::subscriber::Subscriber;

/// If this is ever seen, a secret leaked.
const CANARY: &str = "canary-secret-of-more-than-32-characters";

/// The program with this server in its environment.
fn with_server(livekit: &LiveKit, secret: &str) -> Command {
    let mut command = agentcast();
    command.env("LIVEKIT_URL", livekit.url()).env("LIVEKIT_API_KEY", livekit.key()).env("LIVEKIT_API_SECRET", secret);
    command
}

/// `token` with these arguments: exit code, standard output, standard error.
fn token(args: &str, key: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = agentcast();
    command.arg("token").args(args.split_whitespace());
    if let Some(key) = key {
        command.env("LIVEKIT_API_KEY", key).env("LIVEKIT_API_SECRET", CANARY);
    }
    let out = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn token_prints_a_token_of_the_key_and_nothing_else() {
    let args = "--room final --identity ada --role guest --name Ada --approved --chat --ttl 30m";
    let (code, out, err) = token(args, Some("APIkey"));
    assert_eq!((code, &*err), (Some(0), ""));
    let text = out.strip_suffix('\n').unwrap();
    let verifier = TokenVerifier::with_api_key("APIkey", CANARY);
    let claims = verifier.verify(text).unwrap();
    assert_eq!((&*claims.sub, &*claims.name, &*claims.video.room), ("ada", "Ada", "final"));
    assert_eq!(claims.video.can_publish_sources, ["camera", "microphone"]);
    assert!((1_799..=1_801).contains(&(claims.exp - claims.nbf)));
}

#[test]
fn token_names_what_is_wrong_or_missing_and_ends_with_code_2() {
    let fine = "--room final --identity ada --role viewer";
    for (args, part) in [
        ("--room final --identity ada", "--role"),
        ("--room final --identity ada --role admin", "publisher, viewer, guest or operator"),
        ("--room final --identity ada --role publisher --ttl 2h", "--ttl: 1 second to 60 minutes for a publisher"),
        ("--room final --identity ada --role viewer --ttl 7h", "--ttl: 1 second to 360 minutes for a viewer"),
        ("--room final --identity ada --role viewer --ttl 30", "90s, 30m, 2h"),
        ("--room final --identity ada --role operator --chat", "--chat is for viewers and guests"),
        ("--room final --identity ada --role viewer --approved", "--approved is for guests"),
    ] {
        let (code, out, err) = token(args, Some("APIkey"));
        assert_eq!((code, &*out), (Some(2), ""), "{args}: {err}");
        assert!(err.contains(part), "{args}: {err}");
    }
    let long = format!("--room {} --identity ada --role viewer", "r".repeat(257));
    let (code, _, err) = token(&long, Some("APIkey"));
    assert!(code == Some(2) && err.contains("--room: at most 256 bytes, not 257"), "{err}");
    let (code, out, err) = token(fine, None);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("not set: LIVEKIT_API_KEY, LIVEKIT_API_SECRET"), "{err}");
}

#[test]
fn what_a_room_lacks_is_named_before_anything_starts() {
    let record = support::program::file("assets/demo/chess.pgn");
    for (args, part) in [
        (&["--livekit-room", "r"][..], "not set: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET"),
        (&["--livekit-room", "r", "--livekit-joiners", "never"], "wait or at-once"),
        (&["--preview-port", "0", "--rtmp-via", "livekit-egress"], "--livekit-room"),
    ] {
        let out = agentcast().arg("play").arg(&record).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(part), "{args:?}: {said}");
    }
    for (args, part) in [
        (["--livekit-room", "a\nb"], "--livekit-room: must not have control characters"),
        (["--livekit-identity", ""], "--livekit-identity: must not be empty"),
    ] {
        let mut command = agentcast();
        command.env("LIVEKIT_URL", "ws://127.0.0.1:9").env("LIVEKIT_API_KEY", "k").env("LIVEKIT_API_SECRET", CANARY);
        let out = command.arg("demo").arg("--livekit").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(part) && !said.contains("canary"), "{args:?}: {said}");
    }
}

#[test]
fn the_demo_in_a_room_is_seen_and_counted_and_leaves_with_sigterm() {
    let (livekit, dir) = (LiveKit::start(), TempDir::new("demo"));
    let movie = dir.path().join("demo.mp4");
    let mut command = with_server(&livekit, livekit.secret());
    command
        .args(["demo", "--livekit", "--preview-port", "0", "--loop", "--size", "720p", "-vv", "--record"])
        .arg(&movie);
    let mut program = Program::start(&mut command);
    // The token that it prints is a viewer's, for its room.
    let token = program.wait_for("eyJ");
    let claims = TokenVerifier::with_api_key(livekit.key(), livekit.secret()).verify(&token).unwrap();
    assert_eq!((&*claims.video.room, claims.video.can_publish), ("agentcast-demo", Some(false)));
    let command = program.wait_for("https://meet.livekit.io/");
    assert!(!command.contains("eyJ"), "a token does not belong into arguments: {command}");

    let viewer = Subscriber::join(&livekit, "agentcast-demo", "ada");
    viewer.wait_flowing();
    program.wait_for("1 watching");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rooms = Rooms::new(&livekit.server());
    let publisher = || runtime.block_on(rooms.participant("agentcast-demo", "agentcast")).unwrap();
    assert!(publisher().is_some());
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
    // Without a Leave the server would wait for 15 s.
    wait_until("the publisher to be gone", Duration::from_secs(10), || publisher().is_none().then_some(()));

    // The token was asked for; the log, as talkative as it gets, has none and no secret.
    let said = program.said();
    assert_eq!(said.matches(&*token).count(), 1, "{said}");
    assert!(!said.replace(&*token, "").contains("eyJ"), "{said}");
    assert!(!said.contains(livekit.secret()), "{said}");
    let summary = viewer.end();
    assert_eq!(summary.size, (1280, 720));
}

#[test]
fn check_tells_a_good_key_from_a_refused_one_and_a_server_that_is_not_there() {
    let mut livekit = LiveKit::start();
    let check = |livekit: &LiveKit, secret: &str| {
        let out = with_server(livekit, secret).arg("check").output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(!said.contains(livekit.secret()) && !said.contains("canary") && !said.contains("eyJ"), "{said}");
        said.lines().skip_while(|line| !line.contains("livekit ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = check(&livekit, livekit.secret());
    assert!(lines[0].starts_with("ok") && lines[0].contains("answers in"), "{lines:?}");
    assert!(lines[1].starts_with("ok") && lines[1].contains("accepted"), "{lines:?}");
    for way in ["udp", "tcp"] {
        let line = lines.iter().find(|line| line.contains(&format!("  {way} "))).unwrap();
        assert!(line.starts_with("ok") && line.contains("media goes by"), "{lines:?}");
    }
    let egress = lines.iter().find(|line| line.contains("egress")).unwrap();
    assert!(egress.starts_with("warn") && egress.contains("redis"), "{egress}");

    let lines = check(&livekit, CANARY);
    assert!(lines[0].starts_with("ok") && lines[1].starts_with("FAIL"), "{lines:?}");
    assert!(lines[1].contains("LIVEKIT_API_SECRET"), "{lines:?}");

    livekit.kill();
    let lines = check(&livekit, CANARY);
    assert!(lines[0].starts_with("FAIL") && lines[0].contains("cannot be reached"), "{lines:?}");
}

#[test]
fn check_says_whether_webhooks_arrive_at_the_service() {
    let livekit = LiveKit::start();
    let dir = TempDir::new("service");
    let mut command = with_server(&livekit, livekit.secret());
    command.env("STREAM_KEY_ENCRYPTION_KEY", KEK).env("STREAMING_JWT_SECRET", JWT_SECRET);
    let command = command.args(["serve", "--listen", "127.0.0.1:0"]).env("AGENTCAST_DATA_DIR", dir.path());
    let mut service = Program::start(command);
    let line = service.wait_for("agentcast serve: http://");
    let address = line.split_whitespace().nth(2).unwrap().trim_end_matches("/,");
    let check = |service: &str| {
        let out = agentcast().args(["check", "--service", service]).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        said.lines().find(|line| line.contains("webhook")).unwrap_or_default().to_owned()
    };
    assert!(check(address).starts_with("warn  webhook"), "nothing came yet");
    assert_eq!(service.stop(libc::SIGTERM).code(), Some(0));
    assert!(check(address).starts_with("FAIL  webhook"));
}
