//! What a viewer gets: LiveKit's own SDK decodes a stream that went through the real livekit-server.

mod support;

use agentcast::output::State;
use agentcast::output::key::RtmpTarget;
use agentcast::output::rtmp::{RtmpOptions, RtmpOutput};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::flv;
use support::livekit::LiveKit;
use support::marked::{self, HD, Painter, SMALL};
use support::nginx::Nginx;
use support::program::wait_until;
use support::subscriber::{PATIENCE, Subscriber};

/// Times are measured here: one test after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn viewer_sees_every_picture_and_hears_the_sound_in_time() {
    let _alone = alone();
    let livekit = LiveKit::start();
    let mut viewer = Subscriber::join(&livekit, "match", "viewer");
    let broadcast = marked::broadcast(HD);
    broadcast.add_output(marked::room(livekit.server(), "match")).expect("running");
    let title = viewer.wait_for("room_metadata");
    let state = viewer.wait_after(0, PATIENCE, "data", |e| e["topic"] == "agentcast.state");
    viewer.wait_flowing();
    // What it drops until it has joined nobody misses.
    let dropped = broadcast.status().outputs[0].dropped;
    viewer.watch(12);
    let picture = viewer.picture();
    let mut stream = broadcast.status();
    let status = stream.outputs.remove(0);
    let events = viewer.events();
    let summary = viewer.end();

    println!("{summary:?}");

    assert_eq!(summary.size, (1280, 720));
    assert!(summary.fps >= 29.5, "{summary:?}");
    assert_eq!(summary.gaps, [], "longer than 200 ms without a picture: {summary:?}");
    assert_eq!(summary.stats["freezes"], 0, "as WebRTC counts: {summary:?}");
    assert_eq!(summary.unreadable, 0, "damaged pictures: {summary:?}");
    // A machine that is too busy to encode a picture leaves it out before it can get lost.
    assert!(summary.jumps <= stream.skipped, "pictures were lost, {} were never made: {summary:?}", stream.skipped);
    let number = picture.number.expect("a number in the picture");
    let psnr = picture.psnr(&Painter::new(HD).luma(number));
    assert!(psnr > 30.0, "picture {number} differs from what was sent: {psnr:.1} dB");
    let seconds = summary.frames as f64 / summary.fps;
    assert!(summary.audio as f64 > 95.0 * (seconds - 1.0), "{} x 10 ms of sound in {seconds} s", summary.audio);
    let skew = summary.skew.expect("clicks were heard");
    assert!(skew.abs() <= 40.0, "sound {skew} ms after its picture: {summary:?}");

    assert_eq!((status.state, status.dropped, status.reconnects), (State::Live, dropped, 0), "{status:?}");
    assert_eq!(status.viewers.map(|v| (v.now, v.peak)), Some((1, 1)), "{status:?}");
    let tracks: Vec<_> = events.iter().filter(|e| e["event"] == "track_subscribed").collect();
    assert_eq!(tracks.len(), 2, "one picture, one sound: {tracks:?}");
    assert!(tracks.iter().all(|t| t["participant"] == "Ada the agent" && t["identity"] == "agentcast"), "{tracks:?}");
    assert!(title["text"].as_str().is_some_and(|text| text.contains("Chess, game 5")), "{title}");
    assert!(state["reliable"] == true && state["identity"] == "agentcast", "{state}");
    let mimes: Vec<_> = tracks.iter().filter_map(|t| t["mime"].as_str()).map(str::to_lowercase).collect();
    assert!(mimes.contains(&"video/h264".to_owned()) && mimes.iter().any(|m| m.starts_with("audio/")), "{mimes:?}");
}

/// Milliseconds from subscription to the first picture of viewers who join one after the other.
fn late_joins(livekit: &LiveKit, times: usize) -> Vec<u64> {
    // The server watches a new track for up to a second before it passes it on.
    Subscriber::join(livekit, "match", "first").wait_flowing();
    let mut waits = Vec::new();
    for n in 0..times {
        let viewer = Subscriber::join(livekit, "match", &format!("late-{n}"));
        waits.push(viewer.wait_for("first_frame")["ms"].as_u64().expect("a number"));
        // The server passes on one wish for an IDR in 500 ms: who comes right behind another waits for that, not for us.
        viewer.watch(1);
        viewer.end();
    }
    waits
}

#[test]
fn late_joiner_of_a_room_alone_sees_a_picture_at_once() {
    let _alone = alone();
    let livekit = LiveKit::start();
    let broadcast = marked::broadcast(SMALL);
    broadcast.add_output(marked::room(livekit.server(), "match")).expect("running");
    marked::wait(&broadcast, 0, PATIENCE, "live", |s| s.state == State::Live);
    let mut waits = late_joins(&livekit, 5);
    waits.sort_unstable();
    println!("ms from subscription to picture: {waits:?}");
    // The middle one: the server asks again after 0.6 s when an IDR went by before the viewer was ready for it.
    assert!(waits[2] <= 150, "ms from subscription to picture: {waits:?}");
    assert!(waits[4] <= 1_000, "ms from subscription to picture: {waits:?}");
}

#[test]
fn late_joiner_beside_rtmp_waits_for_the_next_regular_idr() {
    let _alone = alone();
    let (livekit, nginx) = (LiveKit::start(), Nginx::start());
    let broadcast = marked::broadcast(SMALL);
    let target = RtmpTarget::parse(&nginx.url("match"), None).expect("a good address");
    let rtmp = RtmpOutput::spawn(target, RtmpOptions::default()).expect("threads");
    broadcast.add_output(marked::room(livekit.server(), "match")).expect("running");
    broadcast.add_output(Box::new(rtmp)).expect("running");
    for n in 0..2 {
        marked::wait(&broadcast, n, PATIENCE, "live", |s| s.state == State::Live);
    }
    let waits = late_joins(&livekit, 4);
    println!("beside RTMP, ms from subscription to picture: {waits:?}");
    // A GOP and a picture, and a busy machine's share. Who misses an IDR waits longer.
    assert!(waits.iter().all(|ms| *ms <= 2_300), "ms from subscription to picture: {waits:?}");
    broadcast.stop(Duration::from_secs(4));

    let recording = wait_until("the recording to end", PATIENCE, || nginx.recordings("match").pop());
    let tags = flv::read(&recording);
    let idrs = tags.iter().filter(|t| t.is_key()).count();
    let bad = flv::gop_problems(&tags, marked::FPS);
    assert!(bad.is_empty() && idrs > 3, "joiners must not break RTMP's GOP of 2 s: {bad:?} among {idrs} IDRs");
}
