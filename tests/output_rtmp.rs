//! RTMP destinations against a real nginx-rtmp and against a receiver that misbehaves.

mod support;

use agentcast::draw::{Nv12, Size};
use agentcast::encode::{
    AacEncoder, AudioEncoder, H264Encoder, Profile, StreamInfo, TICKS, VideoCodec, VideoEncoder, VideoSettings,
};
use agentcast::output::backoff::BackoffSettings;
use agentcast::output::key::{RtmpTarget, StreamKey};
use agentcast::output::rtmp::{CheckLevel, RtmpOptions, RtmpOutput, probe};
use agentcast::output::{Destination, State, log};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::dir::TempDir;
use support::flv::{self, Expect};
use support::media::{self, Media, Player};
use support::nginx::Nginx;
use support::rtmp_receiver::{BadKey, Behaviour, Connection, Receiver};

const SECOND: Duration = Duration::from_secs(1);

/// The pauses of a person's day made short.
fn quick() -> RtmpOptions {
    let backoff = BackoffSettings {
        first: Duration::from_millis(100),
        factor: 1.6,
        cap: Duration::from_millis(500),
        reset_after: Duration::from_secs(60),
    };
    RtmpOptions { backoff, ..RtmpOptions::default() }
}

fn output(url: &str, options: RtmpOptions) -> Box<RtmpOutput> {
    let target = RtmpTarget::parse(url, None).expect("a good address");
    Box::new(RtmpOutput::spawn(target, options).expect("a thread"))
}

fn expect(kbps: u32) -> Expect {
    Expect {
        width: media::WIDTH,
        height: media::HEIGHT,
        fps: media::FPS,
        video_kbps: kbps,
        audio_kbps: 160,
        gop: media::GOP,
        cbr: Some(0.15),
        metadata: true,
    }
}

#[track_caller]
fn assert_decodes(path: &Path) {
    let words = flv::decode_errors(path);
    assert!(words.is_empty(), "{}: {words}", path.display());
}

#[test]
fn a_stream_as_the_receiver_gets_it_is_what_platforms_ask_for() {
    let receiver = Receiver::start(Behaviour::default());
    let media = Media::at_kbps(600);
    let player = Player::start(output(&receiver.url("some-key?test=true"), quick()), &media, 4.0);
    receiver.wait_messages(0, 600);
    let status = player.status();
    assert_eq!((status.state, status.last_error, status.dropped), (State::Live, None, 0));
    assert!(status.kbps > 500 && status.bytes > 100_000, "{} kbit/s, {} bytes", status.kbps, status.bytes);
    player.stop(2 * SECOND);
    assert!(receiver.wait(5 * SECOND, |c| c[0].closed));

    let connection = &receiver.connections()[0];
    assert_eq!(connection.app.as_deref(), Some("app"));
    assert_eq!(connection.tc_url, Some(format!("rtmp://{}/app", receiver.address)));
    assert_eq!(connection.key.as_deref(), Some("some-key?test=true"));
    assert!(connection.unpublished && connection.deleted, "no graceful end");
    assert_eq!(connection.faults, [""; 0]);
    assert_eq!(flv::problems(&connection.tags(), &expect(600)), [""; 0]);
    let dir = TempDir::new("capture");
    let file = dir.path().join("capture.flv");
    connection.write_flv(&file);
    assert_decodes(&file);
}

#[test]
fn what_the_house_encodes_arrives_as_platforms_ask_for() {
    let settings = VideoSettings {
        width: 640,
        height: 360,
        fps: 30,
        kbps: 1_500,
        codec: VideoCodec::X264,
        profile: Profile::default(),
        preset: "superfast".into(),
    };
    let mut video = H264Encoder::open(settings.clone()).expect("x264 opens");
    let mut audio = AacEncoder::open().expect("AAC opens");
    let receiver = Receiver::start(Behaviour::default());
    let mut destination = output(&receiver.url("house"), RtmpOptions { queue: 20 * SECOND, ..quick() });
    destination.configure(Arc::new(StreamInfo::new(&settings, &video, &audio)));
    let mut sound_at = 0;
    for n in 0..240 {
        // Moves, stands still for 2 s, moves again.
        let still = (90..150).contains(&n);
        let luma = (0..640 * 360).map(|i| (i % 640 + i / 640 + 5 * if still { 90 } else { n }) as u8 / 2 + 40);
        let data = luma.chain(std::iter::repeat_n(128, 640 * 180)).collect();
        let frame = Arc::new(Nv12 { size: Size { w: 640, h: 360 }, stride: 640, data });
        let at = n as i64 * 3_000;
        let packets = video.encode(&frame, at, !still || n == 90, false).expect("a picture");
        packets.into_iter().for_each(|p| destination.send(p));
        while sound_at <= at {
            let packets = audio.encode(&[], sound_at).expect("silence");
            packets.into_iter().for_each(|p| destination.send(p));
            sound_at += 1_920;
        }
        if n == 0 {
            // A connection begins on the newest IDR, so the second one must not be there yet.
            let deadline = Instant::now() + 5 * SECOND;
            while destination.status().bytes == 0 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    destination.stop(5 * SECOND);
    assert!(receiver.wait(SECOND, |c| c[0].closed));
    let connection = &receiver.connections()[0];
    let expect = Expect { width: 640, height: 360, cbr: Some(0.05), ..expect(1_500) };
    assert_eq!(flv::problems(&connection.tags(), &expect), [""; 0]);
    let dir = TempDir::new("house");
    let file = dir.path().join("capture.flv");
    connection.write_flv(&file);
    assert_decodes(&file);
}

#[test]
fn a_killed_server_that_comes_back_gets_a_new_stream_from_an_idr() {
    let mut nginx = Nginx::start();
    let media = Media::at_kbps(600);
    let player = Player::start(output(&nginx.url("killed"), quick()), &media, 2.0);
    player.wait(10 * SECOND, "4 s of media", |s| s.bytes > 300_000);
    nginx.kill();
    let status = player.wait(15 * SECOND, "noticed", |s| s.state == State::Reconnecting && s.retry_ms.is_some());
    assert!(status.last_error.is_some());
    nginx.restart();
    let before = player.wait_live();
    assert_eq!(before.reconnects, 1);
    player.wait(10 * SECOND, "3 s of media", |s| s.bytes > before.bytes + 250_000);
    player.stop(2 * SECOND);

    let deadline = Instant::now() + 10 * SECOND;
    while nginx.recordings("killed").len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let recordings = nginx.recordings("killed");
    assert_eq!(recordings.len(), 2, "{recordings:?}");
    for file in &recordings {
        // A killed nginx leaves its last tag cut off: decode what is whole.
        let tags = flv::read(file);
        assert!(tags.iter().filter(|t| t.is_media()).count() > 100);
        let problems = flv::problems(&tags, &Expect { metadata: false, cbr: None, ..expect(600) });
        assert_eq!(problems, [""; 0], "{}", file.display());
        let whole = file.with_extension("whole.flv");
        flv::write(&whole, &tags);
        assert_decodes(&whole);
    }
}

#[test]
fn a_key_that_the_server_does_not_know_needs_attention_without_hammering() {
    let nginx = Nginx::start();
    let options = || RtmpOptions { refusal_window: SECOND, ..quick() };
    let close = Receiver::start(Behaviour { keys: Some(vec!["other".into()]), ..Behaviour::default() });
    let words = BadKey::BadName("Invalid stream key");
    let named = Receiver::start(Behaviour { keys: Some(vec![]), bad_key: words, ..Behaviour::default() });
    let reset = Receiver::start(Behaviour { keys: Some(vec![]), bad_key: BadKey::Reset, ..Behaviour::default() });
    let media = Media::at_kbps(600);
    let players: Vec<_> =
        [nginx.guarded_url("bad-key"), close.url("bad-key"), named.url("bad-key"), reset.url("bad-key")]
            .iter()
            .map(|url| Player::start(output(url, options()), &media, 1.0))
            .collect();
    for (n, player) in players.iter().enumerate() {
        let status = player.wait(20 * SECOND, "gives up", |s| s.state == State::NeedsAttention);
        let words = status.last_error.expect("says why");
        assert!(words.contains("refuses the stream key") && words.contains("check the key"), "{words}");
        assert_eq!(n == 2, words.contains("it says: Invalid stream key"), "{words}");
        assert_eq!(status.queue_ms, 0, "nothing is kept for nobody");
    }
    for receiver in [&close, &named, &reset] {
        assert!(!receiver.wait(Duration::from_millis(600), |c| c.len() > 3), "hammers");
        assert_eq!(receiver.connections().len(), 3);
    }
    for player in players {
        assert!(player.stop(4 * SECOND) < 2 * SECOND);
    }
}

#[test]
fn a_key_that_the_server_knows_publishes() {
    let nginx = Nginx::start();
    let player = Player::start(output(&nginx.guarded_url("good-key"), quick()), &Media::at_kbps(600), 1.0);
    player.wait_live();
    player.wait(15 * SECOND, "media flows", |s| s.bytes > 50_000 && s.state == State::Live);
    assert!(player.stop(4 * SECOND) < 4 * SECOND);
}

#[test]
fn a_second_publisher_on_a_name_waits_for_the_first_instead_of_giving_up() {
    let busy = BadKey::BadName("Already publishing");
    let receiver = Receiver::start(Behaviour { keys: Some(vec![]), bad_key: busy, ..Behaviour::default() });
    let player = Player::start(output(&receiver.url("taken-key"), quick()), &Media::at_kbps(600), 1.0);
    assert!(receiver.wait(15 * SECOND, |c| c.len() >= 4), "gave up");
    assert!(player.status().last_error.is_some_and(|w| w.contains("already publishes")));
    receiver.behave(|b| b.keys = None);
    player.wait_live();
}

#[test]
fn a_peer_that_stops_reading_is_noticed_within_8_s_and_slows_nobody_down() {
    let receiver = Receiver::start(Behaviour::default());
    let other = Receiver::start(Behaviour::default());
    let media = Media::at_kbps(3_000);
    let neighbour = Player::start(output(&other.url("neighbour"), quick()), &media, 1.0);
    let player = Player::start(output(&receiver.url("stalling"), quick()), &media, 1.0);
    receiver.wait_messages(0, 30);
    receiver.behave(|b| b.stall = true);
    let began = Instant::now();
    let status = player.wait(20 * SECOND, "noticed", |s| s.state == State::Reconnecting);
    let took = began.elapsed();
    assert!(took < 8 * SECOND, "noticed after {took:?}");
    assert!(status.last_error.as_ref().is_some_and(|w| w.contains("stalled")), "{status:?}");
    assert!(status.queue_ms <= 4_000);
    receiver.behave(|b| b.stall = false);
    let status = player.wait_live();
    assert!(status.dropped > 0 && status.reconnects >= 1);
    assert!(receiver.wait(15 * SECOND, |c| c.last().is_some_and(|c| c.messages.len() > 60)));
    let tags = receiver.connections().pop().expect("a connection").tags();
    let problems = flv::problems(&tags, &Expect { cbr: None, ..expect(3_000) });
    assert_eq!(problems, [""; 0]);

    let status = neighbour.status();
    assert_eq!((status.state, status.dropped, status.reconnects), (State::Live, 0, 0));
    println!("stall noticed after {took:?}");
}

#[test]
fn sending_to_a_stalled_peer_never_blocks_and_stopping_keeps_its_deadline() {
    let receiver = Receiver::start(Behaviour::default());
    let media = Media::at_kbps(6_000);
    let mut destination = output(&receiver.url("full"), quick());
    destination.configure(media.info.clone());
    let mut packets = media.packets();
    packets.by_ref().take(60).for_each(|p| destination.send(p));
    receiver.wait_messages(0, 30);
    receiver.behave(|b| b.stall = true);
    // Up to just before an IDR, so that a whole group of pictures is left in the queue: more than the socket takes.
    let burst: Vec<_> = packets.take_while(|p| p.pts < 12 * TICKS - 3_000).collect();
    let began = Instant::now();
    for packet in burst {
        destination.send(packet);
    }
    let took = began.elapsed();
    // Whoever waits for the socket waits for seconds.
    assert!(took < Duration::from_millis(500), "queueing took {took:?}");
    let status = destination.status();
    assert!(status.dropped > 0 && (1_000..=4_000).contains(&status.queue_ms), "{status:?}");

    let began = Instant::now();
    destination.stop(4 * SECOND);
    // At its deadline it would leave the thread behind; it means to be done half a second before.
    assert!(began.elapsed() < 4 * SECOND, "stopping took {:?}", began.elapsed());
}

#[test]
fn stopping_at_a_stalled_peer_is_shortened_when_somebody_is_in_a_hurry() {
    let receiver = Receiver::start(Behaviour::default());
    let media = Media::at_kbps(6_000);
    let options = RtmpOptions { write_deadline: 60 * SECOND, ..quick() };
    let mut destination = output(&receiver.url("hurried"), options);
    destination.configure(media.info.clone());
    let mut packets = media.packets();
    packets.by_ref().take(60).for_each(|p| destination.send(p));
    receiver.wait_messages(0, 30);
    receiver.behave(|b| b.stall = true);
    packets.take_while(|p| p.pts < 12 * TICKS - 3_000).for_each(|p| destination.send(p));
    let hurry = destination.hurry().expect("a way to shorten it");
    let (began, ending) = (Instant::now(), std::thread::spawn(move || destination.stop(60 * SECOND)));
    // Whether it is under way yet or not.
    hurry(SECOND / 2);
    ending.join().unwrap();
    assert!(began.elapsed() < 20 * SECOND, "{:?}", began.elapsed());
}

#[test]
fn a_black_hole_is_left_at_the_deadline_and_does_not_hold_up_stopping() {
    let receiver = Receiver::start(Behaviour { black_hole: true, ..Behaviour::default() });
    let options = RtmpOptions { connect_deadline: SECOND, ..quick() };
    let player = Player::start(output(&receiver.url("lost"), options), &Media::at_kbps(600), 1.0);
    let status = player.wait(10 * SECOND, "noticed", |s| s.last_error.is_some());
    assert!(status.last_error.is_some_and(|w| w.contains("does not answer the handshake")));
    assert!(receiver.wait(15 * SECOND, |c| c.len() >= 3), "does not try again");
    assert!(player.stop(4 * SECOND) < 2 * SECOND);
}

#[test]
fn a_reset_in_mid_stream_is_retried_for_ever() {
    let dropping = Behaviour { drop_after: Some(40), by_reset: true, ..Behaviour::default() };
    let receiver = Receiver::start(dropping);
    let options = RtmpOptions { refusal_window: Duration::from_millis(200), ..quick() };
    let player = Player::start(output(&receiver.url("reset"), options), &Media::at_kbps(600), 1.0);
    assert!(receiver.wait(30 * SECOND, |c| c.iter().filter(|c| c.published && c.closed).count() >= 5));
    assert_ne!(player.status().state, State::NeedsAttention);
    for connection in receiver.connections().iter().filter(|c| c.closed) {
        let first = connection.messages.iter().find(|m| m.tag.kind == flv::VIDEO && m.tag.is_media());
        assert!(first.is_some_and(|m| m.tag.is_key() && m.tag.time == 0));
    }
}

#[test]
fn rtmps_accepts_the_right_authority_and_refuses_all_else() {
    let nginx = Nginx::start();
    let media = Media::at_kbps(600);
    let with_ca = || RtmpOptions { ca_file: Some(nginx.ca()), ..quick() };
    let good = Player::start(output(&nginx.tls_url("secure"), with_ca()), &media, 4.0);
    let untrusted = Player::start(output(&nginx.tls_url("untrusted"), quick()), &media, 1.0);
    let wrong_host = Player::start(output(&nginx.wrong_host_url("wrong-host"), with_ca()), &media, 1.0);
    good.wait_live();
    for (player, words) in [(&untrusted, "is not trusted"), (&wrong_host, "is not for localhost")] {
        let status = player.wait(15 * SECOND, "refused", |s| s.last_error.is_some());
        assert!(status.last_error.as_ref().is_some_and(|w| w.contains(words)), "{status:?}");
        assert_eq!(status.bytes, 0);
    }
    good.wait(10 * SECOND, "4 s of media", |s| s.bytes > 300_000);
    good.stop(2 * SECOND);
    let recordings = nginx.recordings("secure");
    let tags = flv::read(&recordings[0]);
    assert_eq!(flv::problems(&tags, &Expect { metadata: false, ..expect(600) }), [""; 0]);
    assert_decodes(&recordings[0]);
    assert!(nginx.recordings("untrusted").is_empty() && nginx.recordings("wrong-host").is_empty());
}

#[test]
fn new_parameter_sets_go_on_in_the_connection_and_a_new_size_begins_another() {
    let receiver = Receiver::start(Behaviour::default());
    let mut destination = output(&receiver.url("rebuilt"), quick());
    let clips = [Media::at_kbps(600), Media::of_level_40(), Media::of_size(160, 90)];
    let mut at = 0;
    for (clip, connections) in clips.iter().zip([1, 1, 2]) {
        destination.configure(clip.info.clone());
        // 312 packets: 4.0 s of pictures and of sound, the next IDR follows.
        let mut packets = clip.packets().take(312).map(|p| {
            let shifted = agentcast::encode::Packet { pts: p.pts + at, ..(*p).clone() };
            Arc::new(shifted)
        });
        // A connection begins on the newest IDR: the rest waits until this one was taken.
        packets.by_ref().take(10).for_each(|p| destination.send(p));
        let there = |c: &[Connection]| c.len() == connections && c.last().is_some_and(|c| c.messages.len() > 6);
        assert!(receiver.wait(15 * SECOND, there), "{connections} connections with media");
        packets.for_each(|p| destination.send(p));
        at += 4 * TICKS;
        let deadline = Instant::now() + 5 * SECOND;
        while destination.status().queue_ms > 100 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    destination.stop(2 * SECOND);
    let connections = receiver.connections();
    assert_eq!(connections.len(), 2);
    let headers =
        |n: usize| connections[n].tags().iter().filter(|t| t.kind == flv::VIDEO && t.is_sequence_header()).count();
    assert_eq!((headers(0), headers(1)), (2, 1));
    assert!(connections[0].unpublished && connections[0].deleted);
    let width = flv::metadata(&connections[1].tags()).and_then(|m| m.get("width")?.number());
    assert_eq!(width, Some(160.0));
    assert!(connections[1].tags().iter().find(|t| t.is_media()).is_some_and(flv::Tag::is_key));
    let dir = TempDir::new("rebuilt");
    for (n, connection) in connections.iter().enumerate() {
        let file = dir.path().join(format!("{n}.flv"));
        connection.write_flv(&file);
        assert_decodes(&file);
    }
}

#[test]
fn a_check_names_each_step_and_what_to_do() {
    let nginx = Nginx::start();
    let hole = Receiver::start(Behaviour { black_hole: true, ..Behaviour::default() });
    let with_ca = RtmpOptions { ca_file: Some(nginx.ca()), ..quick() };
    let key = || Some(StreamKey::new("check-key").expect("a good key"));
    let run = |url: &str, options: &RtmpOptions| {
        let lines = probe(&RtmpTarget::parse(url, key()).expect("a good address"), options);
        let last = lines.last().expect("lines").clone();
        (lines.iter().map(|l| l.step).collect::<Vec<_>>().join(" "), last)
    };
    let good = nginx.url("");
    let (steps, last) = run(good.trim_end_matches('/'), &quick());
    assert_eq!((steps.as_str(), last.level), ("DNS TCP RTMP", CheckLevel::Ok));
    let (steps, last) = run(&nginx.tls_url(""), &with_ca);
    assert_eq!((steps.as_str(), last.level), ("DNS TCP TLS RTMP", CheckLevel::Ok), "{last:?}");
    let (steps, last) = run(&nginx.tls_url(""), &quick());
    assert_eq!((steps.as_str(), last.level), ("DNS TCP TLS", CheckLevel::Fail));
    assert!(last.words.contains("not trusted"), "{last:?}");
    let (_, last) = run(&nginx.wrong_host_url(""), &with_ca);
    assert!(last.words.contains("not for localhost"), "{last:?}");
    let (_, last) = run(&format!("rtmp://127.0.0.1:{}/app", nginx.http_port()), &quick());
    assert!(last.step == "RTMP" && last.words.contains("broke off the handshake"), "{last:?}");
    let (_, last) = run("rtmp://127.0.0.1:1/app", &quick());
    assert!(last.step == "TCP" && last.words.contains("refuses connections"), "{last:?}");
    let (_, last) = run(&hole.url(""), &quick());
    assert!(last.step == "RTMP" && last.words.contains("does not answer the handshake"), "{last:?}");
    let lines = probe(&RtmpTarget::parse(&hole.url("in-the-address"), None).expect("a good address"), &quick());
    assert!(lines.iter().any(|l| l.step == "key" && l.level == CheckLevel::Warn));
}

/// Runs itself as another process with every log level on, so that its real standard output and error can be searched.
#[test]
fn a_stream_key_appears_nowhere_whatever_fails() {
    const CANARY: &str = "canary_4711_sesame";
    if std::env::var_os("AGENTCAST_CANARY").is_some() {
        return every_failure_with(CANARY);
    }
    let out = std::process::Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "a_stream_key_appears_nowhere_whatever_fails", "--nocapture"])
        .env("AGENTCAST_CANARY", "1")
        .output()
        .expect("the test starts again");
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    assert!(!text.contains("canary_4711"), "{text}");
    // The search would be worthless if nothing had been said.
    for words in
        ["Server error: no stream [key] here", "refuses the stream key", "is not trusted", "Connection refused"]
    {
        assert!(text.contains(words), "{words} is missing in {text}");
    }
}

fn every_failure_with(key: &str) {
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stderr).init();
    log::install();
    let nginx = Nginx::start();
    let words = BadKey::BadName("no stream canary_4711_sesame here");
    let refusing = Receiver::start(Behaviour { keys: Some(vec![]), bad_key: words, ..Behaviour::default() });
    let closing = Receiver::start(Behaviour { keys: Some(vec![]), ..Behaviour::default() });
    let resetting = Receiver::start(Behaviour { drop_after: Some(10), by_reset: true, ..Behaviour::default() });
    let hole = Receiver::start(Behaviour { black_hole: true, ..Behaviour::default() });
    let key_and_query = format!("{key}?bandwidthtest=true");
    let urls = [
        nginx.url(&key_and_query),
        nginx.guarded_url(key),
        nginx.tls_url(&key_and_query),
        nginx.wrong_host_url(key),
        refusing.url(&key_and_query),
        closing.url(key),
        resetting.url(key),
        hole.url(key),
        format!("rtmp://127.0.0.1:1/app/{key}"),
        format!("rtmp://127.0.0.1:{}/app/{key}", nginx.http_port()),
        format!("rtmps://127.0.0.1:{}/app/{key}", nginx.http_port()),
        format!("rtmp://joe:{key}@127.0.0.1:1/app/{key}"),
    ];
    let media = Media::at_kbps(600);
    let options = RtmpOptions { connect_deadline: SECOND, ..quick() };
    let players: Vec<_> = urls
        .iter()
        .map(|url| {
            let target = RtmpTarget::parse(url, None).expect("a good address");
            println!("{target} {target:?} {} {:?}", target.name(), probe(&target, &options));
            let output = RtmpOutput::spawn(target, options.clone()).expect("a thread");
            println!("{output:?}");
            Player::start(Box::new(output), &media, 1.0)
        })
        .collect();
    for (n, player) in players.iter().enumerate() {
        let done = |s: &agentcast::output::Status| s.last_error.is_some() || (n == 0 && s.bytes > 10_000);
        println!("{:?}", player.wait(10 * SECOND, "ended somehow", done));
    }
    for player in [1, 4, 5] {
        println!("{:?}", players[player].wait(10 * SECOND, "gives up", |s| s.state == State::NeedsAttention));
    }
    for url in ["http://h/app/canary_4711_sesame", "rtmp://h:x/app/canary_4711_sesame"] {
        let error = RtmpTarget::parse(url, None).expect_err("a bad address");
        println!("{error} {error:?}");
    }
    println!("{:?} {:?}", StreamKey::new(key), StreamKey::new(&format!("{key} x")));
    let arguments = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    println!("{}", String::from_utf8_lossy(&arguments));
    players.into_iter().for_each(|p| {
        p.stop(SECOND);
    });
}
