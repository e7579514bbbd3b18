//! The ways to a room: TLS in front of the real livekit-server, a real TURN server in between, ICE over TCP, IPv6.

mod support;

use agentcast::livekit::Server;
use agentcast::output::State;
use agentcast::output::livekit::{IcePolicy, PathReport, RoomOptions, probe};
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::certificates::{Certificates, trusting};
use support::coturn::Coturn;
use support::livekit::{LiveKit, Settings};
use support::marked::{self, SMALL};
use support::nginx::TlsFront;
use support::program::{Program, agentcast, file, wait_until};
use support::subscriber::{PATIENCE, Subscriber};
use support::window::{Window, best_of_three};

const ROOM: &str = "match";
/// What livekit-server's log says of everybody who joins.
const JOINED: &str = "starting RTC session";

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("file descriptors for an event loop").block_on(future)
}

fn path_of(server: &Server, ice: IcePolicy) -> Result<PathReport, String> {
    block(probe(server, ice))
}

/// Checks that a viewer gets a whole picture that moves, and sound, of a stream that takes this way.
#[track_caller]
fn assert_carried(livekit: &LiveKit, ice: IcePolicy) {
    let viewer = Subscriber::start(livekit, ROOM, "viewer");
    let broadcast = marked::broadcast(SMALL);
    let options = RoomOptions { ice, ..RoomOptions::default() };
    broadcast.add_output(marked::room_with(livekit.server(), ROOM, options)).expect("running");
    let live = marked::wait(&broadcast, 0, PATIENCE, "live", |s| s.state == State::Live);
    viewer.wait_flowing();
    best_of_three("a picture that moves", || {
        let window = Window::open(&viewer, &broadcast);
        viewer.watch(2);
        window.close().moves(0.25)
    });
    let status = broadcast.status().outputs.remove(0);
    assert_eq!((status.state, status.reconnects), (State::Live, live.reconnects), "{status:?}");
    let summary = viewer.end();
    assert_eq!(broadcast.stop(Duration::from_secs(4)).outputs[0].state, State::Stopped);
    assert_eq!(summary.size, (u64::from(SMALL.width), u64::from(SMALL.height)));
    assert_eq!(summary.unreadable, 0, "damaged pictures: {summary:?}");
    assert!(summary.audio > 100, "{summary:?}");
}

/// `agentcast play` into a room behind TLS on this port. Certificates that it trusts are in one file, or there are none.
fn play(livekit: &LiveKit, port: u16, trusted: &Path) -> Program {
    let mut command: Command = agentcast();
    command
        .arg("play")
        .arg(file("assets/demo/chess.pgn"))
        .args(["--size", "720p", "--preset", "ultrafast", "--fps", "24", "--livekit-room", ROOM])
        .env("LIVEKIT_URL", format!("wss://localhost:{port}"))
        .env("LIVEKIT_API_KEY", livekit.key())
        .env("LIVEKIT_API_SECRET", livekit.secret())
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR");
    Program::start(&mut command)
}

#[track_caller]
fn assert_kept(livekit: &LiveKit, said: &str) {
    assert!(!said.contains(livekit.secret()) && !said.contains("eyJ"), "a secret or token shows: {said}");
}

#[test]
fn room_behind_tls_of_a_private_authority_goes_live() {
    let (certificates, livekit) = (Certificates::new(), LiveKit::start());
    let front = TlsFront::start(&certificates, livekit.http_port());
    let mut program = play(&livekit, front.good, &certificates.ca());
    let viewer = Subscriber::join(&livekit, ROOM, "viewer");
    viewer.wait_for("first_frame");
    let line = program.wait_for("1 watching");
    assert!(line.contains(&format!("| livekit localhost:{} {ROOM} live", front.good)), "{line}");
    assert!(livekit.log().contains(JOINED), "the log has other words for a join");
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0));
    let said = program.said();
    // A busy machine has warnings of its own.
    let tls = |line: &&str| ["certificate", "TLS", "trust"].iter().any(|word| line.contains(word));
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).filter(tls).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_kept(&livekit, &said);
}

#[test]
fn certificate_that_is_not_trusted_is_told_in_plain_words_and_nothing_is_published() {
    let (certificates, others, livekit) = (Certificates::new(), Certificates::new(), LiveKit::start());
    let front = TlsFront::start(&certificates, livekit.http_port());
    let nowhere = Path::new("/nonexistent/authorities.pem");
    let cases = [
        (front.good, others.ca(), "is not trusted", "SSL_CERT_FILE"),
        (front.good, nowhere.to_owned(), "is not trusted", "ca-certificates"),
        (front.wrong_host, certificates.ca(), "is not for localhost", "use the host name"),
    ];
    let mut programs: Vec<_> = cases.iter().map(|(port, trusted, ..)| play(&livekit, *port, trusted)).collect();
    for (program, (port, _, what, advice)) in programs.iter_mut().zip(&cases) {
        let line = program.wait_for(&format!("livekit localhost:{port} {ROOM}: "));
        assert!(line.contains("certificate") && line.contains(what) && line.contains(advice), "{line}");
        // It tries again and again: the certificate may be in the making.
        wait_until("three attempts", PATIENCE, || {
            (program.said().matches("next attempt in").count() >= 3).then_some(())
        });
        program.stop(libc::SIGTERM);
        assert_kept(&livekit, &program.said());
        assert!(!program.said().contains(" live "), "{}", program.said());
    }
    assert!(!livekit.log().contains(JOINED), "somebody got in");
}

#[test]
fn port_without_tls_is_told() {
    let livekit = LiveKit::start();
    let mut program = play(&livekit, livekit.http_port(), Path::new("/nonexistent/authorities.pem"));
    let line = program.wait_for(&format!("livekit localhost:{} {ROOM}: ", livekit.http_port()));
    assert!(line.contains("does not speak TLS") && line.contains("ws://"), "{line}");
    program.stop(libc::SIGTERM);
}

/// Everything goes through coturn, which counts it and gets its addresses back.
fn relayed_over(protocol: &str, certificates: &Certificates) {
    let coturn = Coturn::start(certificates);
    let livekit = LiveKit::with(Settings { rtc: coturn.announced(protocol), ..Settings::default() });
    let found = path_of(&livekit.server(), IcePolicy::Relay).expect("a path through the relay");
    assert_eq!(found.path, format!("turn {protocol}"));
    assert!(found.round_trip.is_some_and(|time| time < Duration::from_secs(1)), "{found:?}");

    assert_carried(&livekit, IcePolicy::Relay);
    // RTP went in; reports and STUN came out.
    let busiest = wait_until("the relayed stream to end at coturn", PATIENCE, || {
        coturn.ended().into_iter().find(|usage| usage.from > 200)
    });
    assert!(busiest.to > 10, "{busiest:?}");
}

#[test]
fn picture_relayed_by_turn_over_udp_reaches_a_viewer() {
    relayed_over("udp", &Certificates::new());
}

#[test]
fn picture_relayed_by_turn_over_tcp_reaches_a_viewer() {
    relayed_over("tcp", &Certificates::new());
}

#[test]
fn picture_relayed_by_turn_over_tls_reaches_a_viewer() {
    trusting("picture_relayed_by_turn_over_tls_reaches_a_viewer", |certificates| relayed_over("tls", certificates));
}

#[test]
fn turn_server_that_does_not_let_us_is_told_with_the_reason() {
    let certificates = Certificates::new();
    let coturn = Coturn::start(&certificates);
    let told = |announced: String| {
        let livekit = LiveKit::with(Settings { rtc: announced, ..Settings::default() });
        path_of(&livekit.server(), IcePolicy::Relay).expect_err("no path")
    };
    for protocol in ["udp", "tcp"] {
        let words = told(coturn.announced_with(protocol, "another-secret"));
        assert!(words.contains(&format!("turn {protocol} server localhost:")), "{words}");
        assert!(words.contains("refuses the credentials") && !words.contains("another-secret"), "{words}");
    }
    // Nobody in this process trusts its authority.
    let words = told(coturn.announced("tls"));
    assert!(words.contains("turn tls server localhost:") && words.contains("is not trusted"), "{words}");
    let words = told(String::new());
    assert!(words.contains("offers no TURN server"), "{words}");
}

#[test]
fn path_over_tcp_alone_carries_the_picture() {
    let livekit = LiveKit::start();
    let found = path_of(&livekit.server(), IcePolicy::Tcp).expect("a path over TCP");
    assert_eq!(found.path, "tcp");
    assert_carried(&livekit, IcePolicy::Tcp);
}

/// The test ends here on such a machine, and everybody shall see it.
fn cannot(what: &str) {
    // Straight to the descriptor: the test harness keeps the output of tests that pass to itself.
    let _ = writeln!(std::io::stderr(), "livekit_paths: NOT TESTED here: {what}");
}

/// An address of this machine for the world, and its interface. livekit-server 1.13 gathers none on `::1` (it leaves out
/// whatever begins with 96 zero bits, as IPv4-compatible), so loopback does not do.
fn ipv6() -> Option<(IpAddr, String)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let [address, _, _, scope, flags, interface] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        // Global scope, neither tentative nor a duplicate.
        let usable = scope == "00" && u8::from_str_radix(flags, 16).ok()? & 0x48 == 0;
        (usable && TcpListener::bind((address, 0)).is_ok()).then(|| (address.into(), interface.to_owned()))
    })
}

#[test]
fn server_with_ipv6_alone_is_reached_by_udp_and_by_tcp() {
    let Some((address, interface)) = ipv6() else {
        return cannot("media over IPv6, since this machine has no IPv6 address but loopback's");
    };
    let settings = Settings { signalling: address, media: address, interface, ..Settings::default() };
    let livekit = LiveKit::with(settings);
    for (ice, path) in [(IcePolicy::Udp, "udp"), (IcePolicy::Tcp, "tcp")] {
        let found = path_of(&livekit.server(), ice).expect("a path over IPv6");
        assert_eq!(found.path, path);
    }
    assert_carried(&livekit, IcePolicy::Udp);
}

#[test]
fn server_named_by_ipv6_whose_media_is_ipv4_is_reached() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return cannot("signalling over IPv6, since this machine has no IPv6 at all");
    }
    let livekit = LiveKit::with(Settings { signalling: Ipv6Addr::LOCALHOST.into(), ..Settings::default() });
    let found = path_of(&livekit.server(), IcePolicy::Udp).expect("a path over IPv4");
    assert_eq!(found.path, "udp");
    assert_carried(&livekit, IcePolicy::Udp);
}
