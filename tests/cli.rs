//! The program as its user meets it: real processes, real servers, real files.

mod support;

use agentcast::game::adapters;
use agentcast::stream::{Replay, ReplayOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::dir::TempDir;
use support::flv;
use support::nginx::Nginx;
use support::program::{PATIENCE, Program, agentcast, command_lines, duration, file, probe, run, wait_until};
use support::rtmp_receiver::{BadKey, Behaviour, Receiver};

const CHESS: &str = "assets/demo/chess.pgn";
const POKER: &str = "assets/demo/poker.phh";
/// If this is ever seen, a secret leaked.
const CANARY: &str = "live_canary_5e1f0c2b";

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// A stream's address without its key.
fn without_key(url: &str) -> String {
    url.rsplit_once('/').expect("an address with a key").0.to_owned()
}

#[track_caller]
fn assert_plays(path: &Path) {
    let words = flv::decode_errors(path);
    assert!(words.is_empty(), "{}: {words}", path.display());
    let said = probe(path, "stream=codec_name,width,height,has_b_frames,sample_rate,channels");
    for wanted in ["h264", "width=1280", "height=720", "has_b_frames=0", "aac", "sample_rate=48000", "channels=2"] {
        assert!(said.contains(wanted), "{}: no {wanted} in\n{said}", path.display());
    }
}

#[test]
fn a_played_record_arrives_at_two_servers_and_in_a_file_and_sigterm_ends_all_cleanly() {
    let (nginx, receiver, dir) = (Nginx::start(), Receiver::start(Behaviour::default()), TempDir::new("play"));
    let (first, second, movie) = (dir.path().join("first"), dir.path().join("second"), dir.path().join("match.mp4"));
    std::fs::write(&first, "nginx-key\n").unwrap();
    std::fs::write(&second, "receiver-key").unwrap();
    let (to_nginx, to_receiver) = (without_key(&nginx.url("x")), without_key(&receiver.url("x")));
    let mut program = Program::start(agentcast().arg("play").arg(file(CHESS)).args([
        "--speed",
        "4",
        "--lead-in",
        "0",
        "--size",
        "720p",
        "--rtmp",
        &to_nginx,
        "--key-file",
        text(&first),
        "--rtmp",
        &to_receiver,
        "--key-file",
        text(&second),
        "--record",
        text(&movie),
    ]));
    let long = |c: &[support::rtmp_receiver::Connection]| {
        c.first().is_some_and(|c| c.messages.last().is_some_and(|m| m.tag.time > 8_500))
    };
    assert!(receiver.wait(PATIENCE, long), "8 s never came; {}", program.said());
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());

    assert!(receiver.wait(PATIENCE, |c| c[0].closed));
    let connection = &receiver.connections()[0];
    assert_eq!(connection.key.as_deref(), Some("receiver-key"));
    assert!(connection.unpublished && connection.deleted, "no graceful end of the stream");
    assert_eq!(connection.faults, [""; 0]);
    assert_eq!(flv::live_problems(&connection.tags(), 30, 3_000), [""; 0]);
    let captured = dir.path().join("captured.flv");
    connection.write_flv(&captured);
    assert_plays(&captured);

    let recorded = wait_until("nginx's recording", PATIENCE, || nginx.recordings("nginx-key").pop());
    // nginx writes the rest when the connection is gone.
    wait_until("nginx's recording to be whole", PATIENCE, || {
        let tags = flv::parse(&std::fs::read(&recorded).ok()?).ok()?;
        tags.last().is_some_and(|t| t.time > 8_000).then_some(())
    });
    assert_plays(&recorded);

    assert_plays(&movie);
    let sent = connection.messages.last().map_or(0, |m| m.tag.time) as f64 / 1e3;
    assert!((duration(&movie) - sent).abs() < 0.5, "{} s in the file, {sent} s sent", duration(&movie));
}

#[test]
fn a_killed_program_leaves_a_recording_that_plays_to_the_last_second() {
    let (receiver, dir) = (Receiver::start(Behaviour::default()), TempDir::new("killed"));
    let movie = dir.path().join("match.mp4");
    let mut program = Program::start(agentcast().arg("play").arg(file(CHESS)).args([
        "--lead-in",
        "0",
        "--size",
        "720p",
        "--rtmp",
        &receiver.url("key-in-the-address"),
        "--record",
        text(&movie),
    ]));
    program.wait_for("warning: the stream key stands in the address");
    let long = |c: &[support::rtmp_receiver::Connection]| {
        c.first().is_some_and(|c| c.messages.last().is_some_and(|m| m.tag.time > 4_000))
    };
    assert!(receiver.wait(PATIENCE, long), "4 s never came; {}", program.said());
    program.signal(libc::SIGKILL);
    program.end(PATIENCE);
    assert!(receiver.wait(PATIENCE, |c| c[0].closed));
    let sent = receiver.connections()[0].messages.last().map_or(0, |m| m.tag.time) as f64 / 1e3;
    assert_plays(&movie);
    assert!(duration(&movie) > sent - 1.0, "{} s in the file, {sent} s sent", duration(&movie));
    assert!(!program.said().contains("key-in-the-address"));
}

#[test]
fn a_refused_key_ends_with_code_3_in_plain_words() {
    let bad_key = BadKey::BadName("no such channel");
    let receiver = Receiver::start(Behaviour { keys: Some(vec!["good".into()]), bad_key, ..Behaviour::default() });
    let mut program =
        Program::start(agentcast().env("AGENTCAST_STREAM_KEY", CANARY).arg("play").arg(file(CHESS)).args([
            "--size",
            "720p",
            "--rtmp",
            &without_key(&receiver.url("x")),
        ]));
    assert_eq!(program.end(PATIENCE).code(), Some(3), "{}", program.said());
    let said = program.said();
    assert!(said.contains("refuses the stream key (it says: no such channel)"), "{said}");
    assert!(!said.contains(CANARY), "{said}");
    assert_eq!(receiver.connections()[0].key.as_deref(), Some(CANARY), "the key came from the environment");
}

#[test]
fn a_wrong_argument_ends_with_code_2_and_is_named() {
    let chess = file(CHESS);
    let chess = text(&chess);
    let secret_url = format!("http://127.0.0.1/app/{CANARY}");
    for (args, named) in [
        (&["play", chess][..], "add --rtmp URL, --livekit-room ROOM, --record PATH or --preview-port PORT"),
        (&["play", chess, "--fps", "31"], "--fps"),
        (&["play", chess, "--size", "480p"], "--size"),
        (&["play", chess, "--kbps", "100"], "--kbps"),
        (&["play", chess, "--speed", "0"], "--speed"),
        (&["play", chess, "--view", "side:"], "--view"),
        (&["play", chess, "--delay", "601"], "--delay"),
        (&["play", chess, "--record", "x.mp4", "--theme", "no-such-theme"], "--theme no-such-theme"),
        (&["play", chess, "--rtmp", &secret_url], "--rtmp: the address must begin with rtmp:// or rtmps://"),
        (&["play", chess, "--rtmp", "rtmp://127.0.0.1/app"], "--key-file FILE or AGENTCAST_STREAM_KEY"),
        (&["play", chess, "--record", "x.mp4", "--key-file", "k"], "--key-file"),
        (&["play", "-", "--record", "x.mp4", "--speed", "1"], "--speed is for a record"),
        (&["play", "-", "--record", "x.mp4", "--lead-in", "5"], "--lead-in is for a record"),
        (&["play", "-", "--record", "x.mp4", "--loop"], "--loop is for a record"),
        (&["play", "-", "--record", "x.mp4", "--format", "pgn"], "--format is for a record"),
        (&["play", "-", "--record", "x.mp4", "--companion", "c.json"], "--companion is for a record"),
        (&["check", "--rtmp", &secret_url], "--rtmp: the address must begin with rtmp:// or rtmps://"),
        (&["render", chess, "-o", "x.gif"], "must end in .mp4 or .png"),
        (&["render", chess, "-o", "x.png", "--at=-1"], "--at"),
        (&["demo", "--game", "tennis"], "--game"),
        (&["no-such-command"], "no-such-command"),
    ] {
        let (code, said) = run(args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(named), "{args:?}: {said}");
        assert!(!said.contains(CANARY), "{args:?}: {said}");
    }
}

#[test]
fn a_record_that_cannot_be_read_ends_with_code_1_and_the_place() {
    let dir = TempDir::new("records");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let lines = std::fs::read_to_string(file("assets/demo/snakes.jsonl")).unwrap();
    let mut lines: Vec<&str> = lines.lines().take(5).collect();
    lines[2] = "{\"nonsense\"";
    let snakes = write("snakes.jsonl", &(lines.join("\n") + "\n"));
    let chess = write("chess.pgn", "[White \"a\"]\n[Black \"b\"]\n\n1. e4 e5 2. Ke4 *\n");
    let out = dir.path().join("out.png");
    for (path, place) in [
        (dir.path().join("missing.pgn"), "missing.pgn"),
        (write("empty.pgn", ""), "empty.pgn"),
        (snakes, "line 3"),
        (chess, "Ke4"),
    ] {
        let (code, said) = run(&["render", text(&path), "-o", text(&out)]);
        assert_eq!(code, 1, "{}: {said}", path.display());
        assert!(said.contains(place) && said.contains(text(&path)), "{}: {said}", path.display());
        assert!(!out.exists());
    }
}

/// The bundled chess match as wire events.
fn chess_events() -> Vec<String> {
    let record = adapters::read(&std::fs::read(file(CHESS)).unwrap(), None).unwrap();
    record.events.iter().map(|timed| timed.event.to_json()).collect()
}

/// A moment of a film in small: 64x36 grey pixels.
fn thumbnail(movie: &Path, from: &[&str]) -> Vec<u8> {
    let out = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error"])
        .args(from)
        .arg("-i")
        .arg(movie)
        .args(["-frames:v", "1", "-vf", "scale=64:36", "-pix_fmt", "gray", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert_eq!(out.stdout.len(), 64 * 36, "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn live_events_on_standard_input_are_shown_and_a_bad_line_is_named_and_skipped() {
    let (receiver, dir) = (Receiver::start(Behaviour::default()), TempDir::new("live"));
    let movie = dir.path().join("match.mp4");
    let mut program = Program::start(
        agentcast()
            .args(["play", "-", "--size", "720p", "--reduced-motion", "--record", text(&movie)])
            .args(["--rtmp", &receiver.url("key")]),
    );
    // The first pictures are of nothing yet.
    receiver.wait_messages(0, 60);
    let mut input = program.input();
    let events = chess_events();
    for line in &events[..20] {
        writeln!(input, "{line}").unwrap();
    }
    input.write_all(b"{\"v\":1,\"match\"\nnot UTF-8: \xff\n").unwrap();
    for line in &events[20..60] {
        writeln!(input, "{line}").unwrap();
    }
    input.flush().unwrap();
    program.wait_for("line 21 of the events");
    program.wait_for("line 22 of the events: not UTF-8");
    let now = receiver.connections()[0].messages.len();
    receiver.wait_messages(0, now + 150);
    assert_eq!(program.stop(libc::SIGINT).code(), Some(0), "{}", program.said());
    assert!(!program.said().contains("line 23 of the events"), "{}", program.said());
    assert_plays(&movie);
    let (before, after) = (thumbnail(&movie, &["-ss", "0.1"]), thumbnail(&movie, &["-sseof", "-0.5"]));
    let changed = before.iter().zip(&after).filter(|(a, b)| a.abs_diff(**b) > 24).count();
    assert!(changed > 64 * 36 / 20, "the match was never drawn: {changed} pixels changed");
    // What is drawn last is what a render of the same events draws.
    let wire = dir.path().join("match.jsonl");
    std::fs::write(&wire, events[..60].join("\n") + "\n").unwrap();
    let rendered = dir.path().join("rendered.png");
    let (code, said) = run(&["render", text(&wire), "-o", text(&rendered), "--at", "30", "--size", "720p"]);
    assert_eq!(code, 0, "{said}");
    let other = after.iter().zip(thumbnail(&rendered, &[])).filter(|(a, b)| a.abs_diff(*b) > 24).count();
    assert!(other < 64 * 36 / 10, "{other} of {} pixels are not of this match", 64 * 36);
}

#[test]
fn standard_input_without_an_event_ends_with_code_1() {
    let dir = TempDir::new("nothing");
    let movie = dir.path().join("match.mp4");
    let (code, said) = run(&["play", "-", "--size", "720p", "--record", text(&movie)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("standard input ended without one valid event"), "{said}");
}

#[test]
fn a_rendered_film_has_every_frame_and_a_rendered_picture_is_the_same_twice() {
    let dir = TempDir::new("render");
    let movie = dir.path().join("match.mp4");
    let path = file("tests/records/battlesnake/headon_draw.output.jsonl");
    let (code, said) = run(&["render", text(&path), "-o", text(&movie), "--speed", "20", "--size", "720p"]);
    assert_eq!(code, 0, "{said}");
    let record = adapters::read(&std::fs::read(&path).unwrap(), None).unwrap();
    let played = Replay::new(record, ReplayOptions { speed: 20.0, ..ReplayOptions::default() }).duration_ms();
    // 5 s of the closing scene.
    let frames = ((played + 5_000) * 30 + 999) / 1_000;
    let said = probe(&movie, "stream=nb_read_packets");
    assert!(said.contains(&format!("nb_read_packets={frames}\n")), "{frames} frames expected: {said}");
    assert!((duration(&movie) - frames as f64 / 30.0).abs() < 0.1, "{} s", duration(&movie));
    assert_plays(&movie);

    let pictures = ["a.png", "b.png"].map(|name| dir.path().join(name));
    for picture in &pictures {
        let chess = file(CHESS);
        let (code, said) = run(&["render", text(&chess), "-o", text(picture), "--at", "12.5", "--size", "720p"]);
        assert_eq!(code, 0, "{said}");
    }
    let [a, b] = pictures.map(|path| image::open(path).unwrap().to_rgb8());
    assert_eq!(a.dimensions(), (1280, 720));
    assert!(a == b, "two renders of one moment differ");
}

#[test]
fn a_disk_that_fills_with_the_last_bytes_of_a_film_ends_with_code_1() {
    let dir = TempDir::new("full");
    let (whole, cut) = (dir.path().join("whole.mp4"), dir.path().join("cut.mp4"));
    let path = file("tests/records/battlesnake/headon_draw.output.jsonl");
    let render = |movie: &Path| {
        let args = ["render", text(&path), "-o", text(movie), "--speed", "100", "--size", "720p"];
        args.map(str::to_owned)
    };
    let mut program = Program::start(agentcast().args(render(&whole)));
    assert_eq!(program.end(PATIENCE).code(), Some(0), "{}", program.said());
    // The last fragment or the index no longer fits.
    let blocks = (std::fs::metadata(&whole).unwrap().len() - 1) / 1024;
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut bash = Command::new("bash");
    bash.args(["-c", &limited, env!("CARGO_BIN_EXE_agentcast")]).args(render(&cut));
    let mut program = Program::start(&mut bash);
    assert_eq!(program.end(PATIENCE).code(), Some(1), "{}", program.said());
    assert!(program.said().contains("the file may not grow any further"), "{}", program.said());
    assert_plays(&cut);
}

#[test]
fn check_says_line_by_line_what_works() {
    let receiver = Receiver::start(Behaviour::default());
    let (code, said) = run(&["check", "--rtmp", &without_key(&receiver.url("x"))]);
    assert_eq!(code, 0, "{said}");
    for wanted in ["agentcast", "adapter", "libx264", "aac", "font"] {
        assert!(said.lines().any(|l| l.contains(wanted)), "no {wanted}: {said}");
    }
    assert!(!said.contains("FAIL"), "{said}");
}

#[test]
fn a_stream_key_is_nowhere_to_be_found() {
    let receiver = Receiver::start(Behaviour { drop_after: Some(60), ..Behaviour::default() });
    let dir = TempDir::new("canary");
    let key = dir.path().join("key");
    std::fs::write(&key, CANARY).unwrap();
    let mut program = Program::start(
        agentcast()
            .args(["-vv", "play"])
            .arg(file(CHESS))
            .args(["--size", "720p", "--lead-in", "0", "--preview-port", "0"])
            .args(["--rtmp", &without_key(&receiver.url("x")), "--key-file", text(&key)]),
    );
    let line = program.wait_for("preview:  http://");
    let address = line.split("http://").nth(1).unwrap().trim_end_matches('/').to_owned();
    // Broken off and connected again: the libraries have much to say about that.
    assert!(receiver.wait(PATIENCE, |c| c.iter().filter(|c| c.published).count() >= 2), "{}", program.said());
    let lines = command_lines(program.pid());
    assert!(lines.iter().any(|l| l.contains("--key-file")), "{lines:?}");
    assert!(lines.iter().all(|l| !l.contains(CANARY)), "{lines:?}");
    let status = wait_until("the status of a reconnect", PATIENCE, || {
        let status = support::http::get(&address, "/status.json", &[]);
        status.contains("reconnects").then_some(status)
    });
    assert!(!status.contains(CANARY), "{status}");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
    assert_eq!(receiver.connections()[0].key.as_deref(), Some(CANARY), "it was really used");
    let said = program.said();
    assert!(said.len() > 2_000, "-vv says more than {said}");
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn on_a_terminal_the_key_is_asked_for_without_echo_and_ctrl_c_ends_cleanly() {
    let (receiver, dir) = (Receiver::start(Behaviour::default()), TempDir::new("terminal"));
    let movie = dir.path().join("match.mp4");
    let line = format!(
        "exec {} play {} --size 720p --rtmp {} --record {}",
        env!("CARGO_BIN_EXE_agentcast"),
        file(CHESS).display(),
        without_key(&receiver.url("x")),
        movie.display()
    );
    // `script` runs it on a terminal of its own and ends with its exit code; `exec`, because a shell in between would
    // answer Ctrl-C itself.
    let mut script = Command::new("script");
    let mut program = Program::start(script.env_remove("AGENTCAST_STREAM_KEY").args(["-qefc", &line, "/dev/null"]));
    let mut keyboard = program.input();
    program.wait_for_prompt("Stream key for rtmp 127.0.0.1");
    writeln!(keyboard, "{CANARY}").unwrap();
    receiver.wait_messages(0, 120);
    program.wait_for_prompt("| rtmp 127.0.0.1");
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(program.end(Duration::from_secs(15)).code(), Some(0), "{}", program.said());
    assert!(!program.said().contains(CANARY), "{}", program.said());
    assert_eq!(receiver.connections()[0].key.as_deref(), Some(CANARY));
    assert_plays(&movie);
}

#[test]
fn a_server_that_takes_nothing_does_not_hold_up_a_clean_end() {
    let (receiver, dir) = (Receiver::start(Behaviour::default()), TempDir::new("stalled"));
    let movie = dir.path().join("match.mp4");
    let mut program = Program::start(agentcast().arg("play").arg(file(CHESS)).args([
        "--size",
        "720p",
        "--lead-in",
        "0",
        "--rtmp",
        &receiver.url("key"),
        "--record",
        text(&movie),
    ]));
    receiver.wait_messages(0, 60);
    receiver.behave(|b| b.stall = true);
    // As long as the sockets need to fill.
    let grown = || (std::fs::metadata(&movie).ok()?.len() > 400_000).then_some(());
    wait_until("some seconds of film, which has no filler", PATIENCE, grown);
    program.signal(libc::SIGTERM);
    // 4 s are its own; without a bound it would be as long as a server may stall, and then the way back to it.
    assert_eq!(program.end(Duration::from_secs(8)).code(), Some(0), "{}", program.said());
    assert_plays(&movie);
}

/// Bytes of the picture of the poker record with these hole cards, seen through these eyes while the hand is played.
fn poker_picture(dir: &TempDir, name: &str, hole: &str, view: &str) -> image::RgbImage {
    let record = std::fs::read_to_string(file(POKER)).unwrap();
    let changed = record.replace("d dh p6 4cQd", &format!("d dh p6 {hole}"));
    let changed = changed.replace("p6 sm 4cQd", &format!("p6 sm {hole}"));
    let (path, picture) = (dir.path().join(format!("{name}.phh")), dir.path().join(format!("{name}.png")));
    std::fs::write(&path, changed).unwrap();
    let args = ["render", text(&path), "-o", text(&picture), "--at", "34", "--size", "720p", "--view", view];
    let (code, said) = run(&args);
    assert_eq!(code, 0, "{said}");
    image::open(picture).unwrap().to_rgb8()
}

#[test]
fn a_hidden_hand_leaves_no_trace_in_the_spectators_picture() {
    let dir = TempDir::new("hands");
    let spectator = ["4cQd", "KcKd"].map(|hole| poker_picture(&dir, hole, hole, "spectator"));
    assert!(spectator[0] == spectator[1], "the picture depends on cards that nobody may see");
    let all = ["4cQd", "KcKd"].map(|hole| poker_picture(&dir, hole, hole, "all"));
    assert!(all[0] != all[1] && all[0] != spectator[0], "--view all shows the cards");
}
