//! The preview page in a real browser, and who may not have it.

mod support;

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use support::browser::Browser;
use support::dir::TempDir;
use support::flv;
use support::http;
use support::program::{Program, agentcast, duration, wait_until};

/// `agentcast demo` in a folder of its own and the address of its page.
fn demo(dir: &TempDir) -> (Program, String) {
    let mut command = agentcast();
    command.current_dir(dir.path()).args(["demo", "--size", "720p", "--preview-port", "0"]);
    let program = Program::start(&mut command);
    let line = program.wait_for("preview:  http://");
    let address = line.split("http://").nth(1).expect("an address").trim_end_matches('/').to_owned();
    (program, address)
}

fn status(address: &str) -> serde_json::Value {
    let answer = http::get(address, "/status.json", &[]);
    let body = answer.split_once("\r\n\r\n").expect("a head").1;
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[test]
fn the_demo_plays_in_a_browser_near_the_live_edge_and_ends_cleanly() {
    let (dir, profile) = (TempDir::new("demo"), TempDir::new("browser"));
    let (mut program, address) = demo(&dir);
    let browser = Browser::open(&format!("http://{address}/"), &profile);
    let field = |v: &serde_json::Value, name: &str| v["viewing"][name].as_f64();
    let begun = wait_until("the page to play", Duration::from_secs(40), || {
        let now = status(&address);
        (field(&now, "width") == Some(1280.0) && field(&now, "frames")? > 0.0).then_some(now)
    });
    assert_eq!(field(&begun, "height"), Some(720.0));
    // How soon a browser without a graphics card has time for them is its own affair.
    let later =
        wait_until("3 s more to be played, near the live edge, in pictures that move", Duration::from_secs(60), || {
            let now = status(&address);
            let more = |name| Some(field(&now, name)? - field(&begun, name)?);
            (more("at")? > 3.0 && more("frames")? > 15.0 && field(&now, "behind")? < 3.0).then_some(now)
        });
    assert!(later["line"].as_str().is_some_and(|l| l.contains("s behind") && l.contains("fps")), "{later}");

    drop(browser);
    wait_until("the page to be forgotten", Duration::from_secs(30), || {
        status(&address)["viewing"].is_null().then_some(())
    });
    assert_eq!(program.stop(libc::SIGINT).code(), Some(0), "{}", program.said());
    let movie = dir.path().join("demo.mp4");
    assert_eq!(flv::decode_errors(&movie), "");
    assert!(duration(&movie) > 5.0, "{} s", duration(&movie));
}

#[test]
fn the_preview_is_for_its_own_page_only() {
    let dir = TempDir::new("origin");
    let (mut program, address) = demo(&dir);
    let port = address.rsplit_once(':').expect("a port").1;
    let origin = format!("Origin: http://{address}");
    let foreign_host = format!("Host: rebound.example:{port}");
    let foreign_origin = format!("Origin: http://rebound.example:{port}");
    for headers in [
        &["Origin: https://elsewhere.example"][..],
        &["Origin: null"],
        &["Origin: http://127.0.0.1:1"],
        &[&foreign_host],
        &[&foreign_host, &foreign_origin],
    ] {
        let (_, head) = http::websocket(&address, headers);
        assert!(head.starts_with("HTTP/1.1 403"), "{headers:?}: {head}");
    }
    for path in ["/", "/status.json"] {
        let answer = http::get(&address, path, &[&foreign_host]);
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    let page = http::get(&address, "/", &[]).to_ascii_lowercase();
    assert!(page.starts_with("http/1.1 200"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    let (mut socket, head) = http::websocket(&address, &[&origin]);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let (kind, text) = http::message(&mut socket).expect("the codecs");
    assert_eq!(kind, 1);
    let text = String::from_utf8(text).expect("text is UTF-8");
    assert!(text.contains("video/mp4; codecs=\\\"avc1."), "{text}");
    let (kind, init) = http::message(&mut socket).expect("the init segment");
    assert_eq!((kind, &init[4..8]), (2, &b"ftyp"[..]));
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
}

#[test]
fn a_page_that_reads_nothing_slows_nobody_and_does_not_hold_up_the_end() {
    let dir = TempDir::new("slow");
    let (mut program, address) = demo(&dir);
    let (stuck, head) = http::websocket(&address, &[]);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    shrink(&stuck);
    // Somebody else who opens a connection and never says a word.
    let _silent = TcpStream::connect(&address).expect("the server listens");
    let (mut reading, _) = http::websocket(&address, &[]);
    // 3 Mbit/s fill the stuck one's buffers within a second or two; 8 s are more than its queue holds.
    let began = Instant::now();
    let (mut fragments, mut bytes) = (0, 0);
    while began.elapsed() < Duration::from_secs(8) {
        let (kind, data) = http::message(&mut reading).expect("the stream goes on");
        fragments += u32::from(kind == 2);
        bytes += data.len();
    }
    assert!(fragments > 30, "{fragments} fragments, {bytes} bytes in 8 s");
    let now = status(&address);
    assert_eq!(now["players"], 2, "{now}");
    // Of the last 2 s, in which the machine may have had other things to do.
    wait_until("pictures at nearly the full rate", Duration::from_secs(60), || {
        let now = status(&address);
        let line = now["line"].as_str().expect("a status line");
        let fps: f64 = line.split_whitespace().nth(1).and_then(|f| f.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        (fps > 24.0).then_some(())
    });
    assert_eq!(program.stop(libc::SIGTERM).code(), Some(0), "{}", program.said());
}

/// Leaves little room for what is not read.
fn shrink(stream: &TcpStream) {
    let size = 4_096i32;
    // SAFETY: an open socket and a number of the size told.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const size).cast(),
            size_of::<i32>() as u32,
        );
    }
}
