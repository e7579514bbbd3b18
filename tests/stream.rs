//! Whole broadcasts on fakes, in paused time.

mod support {
    pub mod fakes;
}

use agentcast::draw::{Damage, Size};
use agentcast::encode::{FrameClock, Packet, Profile, Track, VideoCodec, VideoSettings};
use agentcast::game::adapters::{self, Record};
use agentcast::game::{Body, Delayed, MatchState, View};
use agentcast::overlay::{Composer, OnAir, Presentation, Theme};
use agentcast::raster::{FontSet, Pictures, Raster, SYSTEM_DIRS, Typesetter};
use agentcast::render::RenderError;
use agentcast::stream::{
    Broadcast, Clock, Director, Feed, Live, Parts, Picture, Replay, ReplayOptions, Source, Transmitter,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::fakes::{FakeAudio, FakeRenderer, FakeVideo, Got, PausedClock, Sink};

const PGN: &str = include_str!("../assets/demo/chess.pgn");

fn record() -> Record {
    adapters::read(PGN.as_bytes(), None).expect("the bundled match")
}

fn raster() -> Raster {
    Raster { text: Typesetter::new(FontSet::system(&SYSTEM_DIRS)), pictures: Pictures::default() }
}

fn director(
    source: impl Source + 'static,
    script: impl FnMut(u64) -> Result<Damage, RenderError> + Send + 'static,
) -> Director {
    let renderer = Box::new(FakeRenderer::new(Size::HD, script));
    let composer = Composer::new(Theme::default(), Size::HD).expect("a size with a layout");
    let show = Presentation::default();
    Director::new(Box::new(source), View::Spectator, Delayed::default(), show, composer, raster(), renderer)
}

fn settings() -> VideoSettings {
    VideoSettings {
        width: 1280,
        height: 720,
        fps: 30,
        kbps: 3000,
        codec: VideoCodec::X264,
        profile: Profile::ConstrainedHigh,
        preset: "veryfast".into(),
    }
}

fn transmitter(fails: Vec<i64>) -> Transmitter {
    Transmitter::new(Box::new(FakeVideo::new(30, fails)), Box::new(FakeAudio), settings())
}

/// Runs a broadcast until the sink has `pictures` of them, then stops it. No real time passes but for the work.
fn run(clock: Arc<PausedClock>, director: Director, transmitter: Transmitter, pictures: usize) -> Arc<Mutex<Got>> {
    let (sink, got) = Sink::new();
    let broadcast = Broadcast::start(Parts {
        name: "test".into(),
        clock,
        frames: FrameClock::new(30, Duration::ZERO),
        director,
        transmitter,
        on_air: OnAir::default(),
    })
    .expect("threads");
    broadcast.add_output(Box::new(sink)).expect("running");
    let limit = Instant::now() + Duration::from_secs(60);
    while video(&got).len() < pictures {
        assert!(Instant::now() < limit, "only {} pictures came", video(&got).len());
        std::thread::yield_now();
    }
    broadcast.stop(Duration::from_secs(1));
    got
}

fn video(got: &Mutex<Got>) -> Vec<Arc<Packet>> {
    got.lock().unwrap().packets.iter().filter(|p| p.track == Track::Video).cloned().collect()
}

fn audio(got: &Mutex<Got>) -> Vec<Arc<Packet>> {
    got.lock().unwrap().packets.iter().filter(|p| p.track == Track::Audio).cloned().collect()
}

#[test]
fn a_stream_without_trouble_has_every_frame_and_continuous_sound() {
    let clock = Arc::<PausedClock>::default();
    let got = run(
        clock,
        director(Replay::new(record(), ReplayOptions::default()), |_| Ok(Damage::Full)),
        transmitter(vec![]),
        300,
    );
    let pictures = video(&got);
    assert!(pictures[0].key, "a destination begins with an IDR");
    for pair in pictures.windows(2) {
        assert_eq!(pair[1].pts - pair[0].pts, 3_000, "30 fps in 90 kHz ticks");
    }
    let sound = audio(&got);
    for pair in sound.windows(2) {
        assert_eq!(pair[1].pts - pair[0].pts, 1_920, "AAC frames follow without a gap");
    }
    let skew = (pictures.last().unwrap().pts - sound.last().unwrap().pts).abs();
    assert!(skew <= 1_920 + 3_000, "sound and picture end together, {skew} ticks apart");
    assert!(got.lock().unwrap().stopped, "every destination was ended");
}

#[test]
fn a_slow_picture_skips_frames_and_never_queues_them() {
    let clock = Arc::<PausedClock>::default();
    let slow = clock.clone();
    let draw = move |n| {
        if n == 20 {
            slow.advance(Duration::from_millis(500));
        }
        Ok(Damage::Full)
    };
    let got = run(clock, director(Replay::new(record(), ReplayOptions::default()), draw), transmitter(vec![]), 100);
    let gaps: Vec<i64> = video(&got).windows(2).map(|w| w[1].pts - w[0].pts).collect();
    assert!(gaps.iter().all(|g| *g >= 3_000), "pts rise by whole frames");
    let long: Vec<_> = gaps.iter().filter(|g| **g > 3_000).collect();
    assert_eq!(long.len(), 1, "one gap of half a second: {long:?}");
    assert!((14 * 3_000..=16 * 3_000).contains(long[0]), "{long:?}");
    for pair in audio(&got).windows(2) {
        assert_eq!(pair[1].pts - pair[0].pts, 1_920, "the sound knows nothing of it");
    }
}

#[test]
fn a_lost_device_repeats_the_last_picture() {
    let lost = |n| if (10..15).contains(&n) { Err(RenderError::DeviceLost("test".into())) } else { Ok(Damage::Full) };
    let mut director = director(Replay::new(record(), ReplayOptions::default()), lost);
    let pictures: Vec<Picture> = (0..20).map(|n| director.frame(n * 33, &OnAir::default())).collect();
    for (n, picture) in pictures.iter().enumerate() {
        let broken = (10..15).contains(&n);
        assert_eq!(picture.trouble.is_some(), broken, "picture {n}");
        assert_eq!(picture.changed, !broken, "picture {n}");
        assert_eq!(picture.frame.size, Size::HD);
    }
}

#[test]
fn a_failing_encoder_is_a_gap_that_ends_with_an_idr() {
    let clock = Arc::<PausedClock>::default();
    let got = run(
        clock,
        director(Replay::new(record(), ReplayOptions::default()), |_| Ok(Damage::Full)),
        transmitter(vec![40, 41]),
        100,
    );
    let pictures = video(&got);
    let after = pictures.iter().position(|p| p.pts == 42 * 3_000).expect("the stream goes on");
    assert!(pictures[after].key);
    assert_eq!(pictures[after - 1].pts, 39 * 3_000);
    assert!(audio(&got).windows(2).all(|w| w[1].pts - w[0].pts == 1_920));
}

#[test]
fn pushing_into_a_feed_never_waits_for_the_stream() {
    let clock: Arc<dyn Clock> = Arc::<PausedClock>::default();
    let (feed, live) = Feed::new(clock);
    // Nobody takes anything out: as if the stream had died.
    let began = Instant::now();
    let mut pushed = 0;
    while pushed < 2_000 {
        for timed in record().events {
            let mut event = timed.event;
            event.epoch += pushed;
            feed.push(event).expect("a good event");
            pushed += 1;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20), "2,000 events took {:?}", began.elapsed());
    let mut live = live;
    let states = poll_all(&mut live);
    assert!(states.len() <= 256, "what waits is bounded: {}", states.len());
    assert!(states.last().unwrap().started);
}

fn poll_all(live: &mut Live) -> Vec<Arc<MatchState>> {
    live.poll(i64::MAX).into_iter().map(|(_, state)| state).collect()
}

#[test]
fn a_replay_counts_down_plays_to_its_end_and_says_so() {
    let mut replay = Replay::new(record(), ReplayOptions { speed: 2.0, lead_in_ms: 4_000, ..ReplayOptions::default() });
    let first = replay.poll(0);
    let starts = first.last().unwrap().1.board.starts_at.expect("a countdown");
    assert_eq!(starts - first.last().unwrap().1.ts, 4_000);
    assert!(replay.poll(3_900).is_empty(), "nothing happens during the countdown");
    let end = replay.duration_ms();
    assert_eq!(replay.ended(), None);
    let rest = replay.poll(end);
    let result = rest.last().unwrap().1.board.result.clone().expect("the result of the record");
    assert_eq!(result.winners.len(), 1);
    assert_eq!(replay.ended(), Some(end));
    assert_eq!(replay.refused(), None);
}

#[test]
fn a_looping_replay_starts_the_match_again() {
    let options = ReplayOptions { repeat_after_ms: Some(1_000), ..ReplayOptions::default() };
    let mut replay = Replay::new(record(), options);
    let round = replay.duration_ms() + 1_000;
    replay.poll(round - 1);
    assert_eq!(replay.ended(), None);
    let again = replay.poll(round);
    let state = &again.last().expect("a fresh match").1;
    assert!(state.board.result.is_none());
    assert_eq!(state.epoch, 2);
}

#[test]
fn every_event_of_the_bundled_match_is_accepted() {
    for (bytes, name) in [
        (PGN.as_bytes(), "chess"),
        (include_bytes!("../assets/demo/snakes.jsonl"), "snakes"),
        (include_bytes!("../assets/demo/poker.phh"), "poker"),
    ] {
        let record = adapters::read(bytes, None).expect(name);
        assert!(matches!(record.events[0].event.body, Body::MatchStarted(_)), "{name}");
        let mut replay = Replay::new(record, ReplayOptions::default());
        replay.poll(i64::MAX / 2);
        assert_eq!(replay.refused(), None, "{name}");
    }
}
