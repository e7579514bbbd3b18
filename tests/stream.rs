//! Whole broadcasts: on fakes in paused time, and one on real parts that loses its graphics device.

mod support;

use agentcast::draw::{Damage, DrawList, Nv12, Shape, Size};
use agentcast::encode::{
    AudioCodec, EncodeError, EncodedPacket, FrameClock, Packet, Profile, StreamInfo, Track, VideoCodec, VideoSettings,
};
use agentcast::game::adapters::{self, Record};
use agentcast::game::{Body, Delayed, MatchState, View};
use agentcast::output::file::FileOutput;
use agentcast::output::key::RtmpTarget;
use agentcast::output::rtmp::{RtmpOptions, RtmpOutput};
use agentcast::output::{Destination, Hurry, State, Status};
use agentcast::overlay::{Composer, OnAir, Presentation, Theme};
use agentcast::raster::{FontSet, Pictures, PixelSource, Pixels, Raster, SYSTEM_DIRS, Typesetter};
use agentcast::render::{AdapterChoice, RenderError, Rendered, Renderer};
use agentcast::stream::{
    Broadcast, Clock, Director, Feed, Joiners, Live, Parts, Picture, Replay, ReplayOptions, Source, StreamStatus,
    Transmitter,
};
use agentcast::studio::{StreamSettings, Studio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::dir::TempDir;
use support::fakes::{FakeAudio, FakeOpus, FakeRenderer, FakeVideo, Got, PausedClock, Sink};
use support::flv;
use support::nginx::Nginx;
use support::program::wait_until;

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
        meters: Arc::default(),
    })
    .expect("threads");
    broadcast.add_output(Box::new(sink)).expect("running");
    let limit = Instant::now() + Duration::from_secs(60);
    while video(&got).len() < pictures {
        assert!(Instant::now() < limit, "only {} pictures came", video(&got).len());
        std::thread::yield_now();
    }
    let end = broadcast.stop(Duration::from_secs(1));
    assert_eq!(end.outputs.iter().map(|o| o.state).collect::<Vec<_>>(), [State::Stopped], "the last word of each");
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
fn an_idr_comes_when_it_is_asked_for() {
    let source = Replay::new(record(), ReplayOptions::default());
    let mut transmitter = transmitter(vec![]);
    let mut director = director(source, |_| Ok(Damage::Full));
    let (sink, got) = Sink::new();
    transmitter.add(1, Box::new(sink));
    for n in 0..20 {
        if n == 7 {
            transmitter.want_idr();
        }
        let picture = director.frame(n * 33, &OnAir::default());
        transmitter.picture(&picture, n * 3_000);
    }
    let keys: Vec<i64> = video(&got).iter().filter(|p| p.key).map(|p| p.pts / 3_000).collect();
    assert_eq!(keys, [0, 7], "the first picture and the one asked for");
}

/// Pictures of nothing, by number.
fn show(transmitter: &mut Transmitter, pictures: std::ops::Range<i64>) {
    let frame = Arc::new(Nv12 { size: Size::HD, stride: 0, data: Vec::new() });
    for n in pictures {
        let picture = Picture { frame: frame.clone(), changed: true, damage: Damage::Full, trouble: None, state: None };
        transmitter.picture(&picture, n * 3_000);
    }
}

fn with_opus(mut transmitter: Transmitter) -> Transmitter {
    transmitter.opus(Box::new(|| Ok(Box::<FakeOpus>::default())));
    transmitter
}

fn keys(got: &Mutex<Got>) -> Vec<i64> {
    video(got).iter().filter(|p| p.key).map(|p| p.pts / 3_000).collect()
}

#[test]
fn every_destination_gets_the_sound_it_takes_and_no_other() {
    let mut transmitter = with_opus(transmitter(vec![]));
    let ((file, aac), (room, opus)) = (Sink::new(), Sink::room());
    transmitter.add(1, Box::new(file));
    show(&mut transmitter, 0..100);
    transmitter.add(2, Box::new(room));
    show(&mut transmitter, 100..200);
    let codecs = |got: &Mutex<Got>| got.lock().unwrap().infos.iter().map(|i| i.audio_codec).collect::<Vec<_>>();
    assert_eq!((codecs(&aac), codecs(&opus)), (vec![AudioCodec::Aac], vec![AudioCodec::Opus]));
    assert!(opus.lock().unwrap().infos[0].audio_kbps > 0);
    assert!(audio(&aac).iter().all(|p| &p.data[..] == b"a"));
    assert!(audio(&opus).iter().all(|p| &p.data[..] == b"o"));
    // A room's sound is 60 ms ahead, since receivers hold it longer than pictures.
    for (got, ticks, lead) in [(&aac, 1_920, 0), (&opus, 1_800, 5_400)] {
        assert!(audio(got).windows(2).all(|w| w[1].pts - w[0].pts == ticks), "no gap");
        let skew = (video(got).last().unwrap().pts + lead - audio(got).last().unwrap().pts).abs();
        assert!(skew <= 1_920 + 3_000, "sound and picture stay together, {skew} ticks apart");
    }
    let same = video(&aac)[100..].iter().zip(&video(&opus)).all(|(a, b)| Arc::ptr_eq(a, b));
    assert!(same && video(&opus).len() == 100, "the same packets");
    assert_eq!(transmitter.trouble(), None);
}

#[test]
fn an_opus_encoder_that_does_not_open_costs_the_room_its_sound_and_nobody_else_anything() {
    let mut transmitter = transmitter(vec![]);
    let mut broken = true;
    transmitter.opus(Box::new(move || match std::mem::replace(&mut broken, false) {
        true => Err(EncodeError::Missing("Opus", "libopus")),
        false => Ok(Box::<FakeOpus>::default()),
    }));
    let ((file, aac), (room, opus)) = (Sink::new(), Sink::room());
    transmitter.add(1, Box::new(file));
    transmitter.add(2, Box::new(room));
    show(&mut transmitter, 0..100);
    let trouble = transmitter.trouble().expect("it is told").to_owned();
    assert!(trouble.contains("LiveKit") && trouble.contains("install libavcodec with libopus"), "{trouble}");
    assert_eq!((video(&opus).len(), audio(&opus).len()), (100, 0));
    let info = opus.lock().unwrap().infos[0].clone();
    assert_eq!((info.audio_codec, info.audio_kbps), (AudioCodec::Opus, 0), "the room knows that none comes");
    assert_eq!(video(&aac).len(), 100);
    assert!(audio(&aac).len() > 150 && aac.lock().unwrap().infos.len() == 1);

    // It is tried again with the next room, and the first one has sound then too.
    let (second, _) = Sink::room();
    transmitter.add(3, Box::new(second));
    show(&mut transmitter, 100..150);
    assert_eq!(transmitter.trouble(), None);
    assert!(audio(&opus).len() > 70);
    assert!(opus.lock().unwrap().infos[1].audio_kbps > 0);

    transmitter.remove(2);
    transmitter.remove(3);
    show(&mut transmitter, 150..160);
    assert_eq!(transmitter.trouble(), None);
}

#[test]
fn viewer_of_a_room_gets_an_idr_at_once_and_not_two_within_half_a_second() {
    let mut transmitter = with_opus(transmitter(vec![]));
    let (room, got) = Sink::room();
    transmitter.add(1, Box::new(room));
    for n in 0..40 {
        // Somebody asks again and again from picture 10 on.
        got.lock().unwrap().wants_idr = n >= 10;
        show(&mut transmitter, n..n + 1);
    }
    assert_eq!(keys(&got), [0, 10, 25], "at 30 fps 15 pictures are half a second");
}

#[test]
fn viewer_beside_rtmp_waits_for_the_regular_idr_unless_the_setting_says_at_once() {
    for (joiners, expected) in [(Joiners::WaitForGop, vec![0, 60]), (Joiners::AtOnce, vec![0, 10, 60])] {
        let mut transmitter = with_opus(transmitter(vec![]));
        transmitter.joiners(joiners);
        let ((rtmp, seen), (room, got)) = (Sink::rtmp(), Sink::room());
        transmitter.add(1, Box::new(rtmp));
        transmitter.add(2, Box::new(room));
        show(&mut transmitter, 0..10);
        got.lock().unwrap().wants_idr = true;
        show(&mut transmitter, 10..70);
        assert_eq!(keys(&seen), expected, "{joiners:?}");
        assert!(!got.lock().unwrap().wants_idr);
    }
}

#[test]
fn rtmp_that_gave_up_no_longer_makes_viewers_wait() {
    let mut transmitter = with_opus(transmitter(vec![]));
    let ((mut rtmp, _), (room, got)) = (Sink::rtmp(), Sink::room());
    rtmp.state = State::NeedsAttention;
    transmitter.add(1, Box::new(rtmp));
    transmitter.add(2, Box::new(room));
    show(&mut transmitter, 0..10);
    got.lock().unwrap().wants_idr = true;
    show(&mut transmitter, 10..20);
    assert_eq!(keys(&got), [0, 10]);
}

#[test]
fn an_idr_that_failed_to_encode_is_made_with_the_next_picture() {
    let mut transmitter = with_opus(transmitter(vec![10]));
    let (room, got) = Sink::room();
    transmitter.add(1, Box::new(room));
    show(&mut transmitter, 0..10);
    got.lock().unwrap().wants_idr = true;
    show(&mut transmitter, 10..20);
    assert_eq!(keys(&got), [0, 11]);
}

#[test]
fn destinations_see_the_state_that_the_pictures_after_it_show_and_nothing_hidden() {
    let board = r#""data":{"sides":{"a":{"seat":0},"b":{"seat":1}},"zones":{"hand":{"kind":"cards",
        "owner":"a","items":[{"id":"As","face":{"rank":"A"}}]}}}"#
        .replace('\n', "");
    let turn = r#""epoch":1,"seq":2,"ts":1000,"type":"turn.started","data":{"turn":9,"active":["a"]}"#;
    let thought =
        r#""epoch":1,"seq":3,"ts":1000,"type":"agent.thinking","data":{"side":"a","thoughtId":"t","delta":"x"}"#;
    let record = wire(&[&format!(r#""epoch":1,"seq":1,"ts":0,"type":"match.started",{board}"#), turn, thought]);
    // Nothing can be drawn at picture 30, when the turn begins; picture 31 is the first that shows it.
    let lost = |n| if n == 30 { Err(RenderError::DeviceLost("test".into())) } else { Ok(Damage::Full) };
    let mut director = director(Replay::new(record, ReplayOptions::default()), lost);
    let mut transmitter = with_opus(transmitter(vec![]));
    let ((early, first), (late, second)) = (Sink::room(), Sink::room());
    transmitter.add(1, Box::new(early));
    for n in 0..40 {
        let picture = director.frame(n * 1_000 / 30, &OnAir::default());
        transmitter.picture(&picture, n * 3_000);
    }
    transmitter.add(2, Box::new(late));
    let first = first.lock().unwrap();
    let pictures_before =
        |&(at, _): &(usize, _)| first.packets[..at].iter().filter(|p| p.track == Track::Video).count();
    assert_eq!(first.states.iter().map(pictures_before).collect::<Vec<_>>(), [0, 31]);
    let state = &first.states[1].1;
    assert_eq!((state.board.phase.turn, state.thoughts.len()), (9, 0));
    assert!(!serde_json::to_string(&**state).expect("JSON").contains("As"));
    let told: Vec<_> = second.lock().unwrap().states.iter().map(|(at, state)| (*at, state.board.phase.turn)).collect();
    assert_eq!(told, [(0, 9)], "who comes later is told at once");
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

/// A destination whose end takes all of its time, unless it is hurried.
struct Stalling {
    /// How long its end may take; None: it is not being ended.
    left: Arc<Mutex<Option<Duration>>>,
}

impl Destination for Stalling {
    fn configure(&mut self, _: Arc<StreamInfo>) {}
    fn send(&mut self, _: EncodedPacket) {}
    fn status(&self) -> Status {
        Status::default()
    }
    fn stop(self: Box<Self>, deadline: Duration) -> Status {
        self.left.lock().unwrap().get_or_insert(deadline);
        let (began, left) = (Instant::now(), || self.left.lock().unwrap().unwrap_or(deadline).min(deadline));
        while began.elapsed() < left() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Status { state: State::Stopped, ..Status::default() }
    }
    fn hurry(&self) -> Option<Hurry> {
        let left = self.left.clone();
        Some(Arc::new(move |within| *left.lock().unwrap() = Some(within)))
    }
}

#[test]
fn a_broadcast_that_finishes_at_leisure_ends_at_once_when_somebody_is_in_a_hurry() {
    const LEISURE: Duration = Duration::from_secs(60);
    for before in [true, false] {
        let replay = Replay::new(record(), ReplayOptions::default());
        let broadcast = Broadcast::start(Parts {
            name: "test".into(),
            clock: Arc::<PausedClock>::default(),
            frames: FrameClock::new(30, Duration::ZERO),
            director: director(replay, |_| Ok(Damage::Full)),
            transmitter: transmitter(Vec::new()),
            on_air: OnAir::default(),
            meters: Arc::default(),
        })
        .expect("threads");
        let left = Arc::<Mutex<Option<Duration>>>::default();
        broadcast.add_output(Box::new(Stalling { left: left.clone() })).expect("running");
        wait_for(&broadcast, "the destination", |status| status.outputs.len() == 1);
        let began = Instant::now();
        std::thread::scope(|scope| {
            if before {
                broadcast.hurry(Duration::ZERO);
            }
            let end = scope.spawn(|| broadcast.finish(LEISURE));
            if !before {
                wait_until("its end begins", Duration::from_secs(60), || left.lock().unwrap().map(drop));
                broadcast.hurry(Duration::ZERO);
            }
            assert_eq!(end.join().unwrap().outputs[0].state, State::Stopped);
        });
        assert!(began.elapsed() < LEISURE / 2, "{:?}", began.elapsed());
    }
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

fn wire(lines: &[&str]) -> Record {
    let events = lines.iter().map(|l| format!("{{\"v\":1,\"match\":\"m\",{l}}}\n")).collect::<String>();
    adapters::read(events.as_bytes(), None).expect("wire events")
}

const BOARD: &str = r#""data":{"sides":{"a":{"seat":0,"name":"A"}}}"#;

#[test]
fn a_replay_of_a_server_that_restarted_goes_on_in_every_round() {
    let first = format!(r#""epoch":3,"seq":7,"ts":0,"type":"match.started",{BOARD}"#);
    let again = format!(r#""epoch":4,"seq":1,"ts":1000,"type":"state.snapshot",{BOARD}"#);
    let turn = r#""epoch":4,"seq":2,"ts":2000,"type":"turn.started","data":{"turn":9,"active":["a"]}"#;
    let options = ReplayOptions { repeat_after_ms: Some(1_000), ..ReplayOptions::default() };
    let mut replay = Replay::new(wire(&[&first, &again, turn]), options);
    for round in 0..3 {
        let states = replay.poll(round * 3_000 + 2_500);
        let turns: Vec<u32> = states.iter().map(|(_, state)| state.board.phase.turn).collect();
        assert_eq!(turns, [0, 0, 9], "round {round}");
    }
    assert_eq!(replay.refused(), None);
}

#[test]
fn a_replay_of_any_times_saturates() {
    let mut record = wire(&[&format!(r#""epoch":1,"seq":1,"ts":0,"type":"match.started",{BOARD}"#)]);
    let mut late = record.events[0].clone();
    (late.at, late.event.ts, late.event.seq) = (i64::MAX, i64::MAX, 2);
    record.events.push(late);
    let options = ReplayOptions { lead_in_ms: 5_000, repeat_after_ms: Some(1_000), ..ReplayOptions::default() };
    let mut replay = Replay::new(record, options);
    assert_eq!(replay.duration_ms(), i64::MAX);
    assert_eq!(replay.poll(i64::MAX - 1).len(), 1);
}

#[test]
fn an_event_held_back_shows_even_when_the_one_it_waited_for_is_refused() {
    let (feed, mut live) = Feed::new(Arc::<PausedClock>::default());
    let started = format!(r#""epoch":1,"seq":1,"ts":0,"type":"match.started",{BOARD}"#);
    let bad = r#""epoch":1,"seq":2,"ts":1,"type":"feed","data":{"actor":"nobody"}"#;
    let turn = r#""epoch":1,"seq":3,"ts":2,"type":"turn.started","data":{"turn":9,"active":["a"]}"#;
    let mut events = wire(&[&started, bad, turn]).events.into_iter().map(|timed| timed.event);
    let (started, bad, turn) = (events.next().unwrap(), events.next().unwrap(), events.next().unwrap());
    feed.push(started).expect("a board");
    feed.push(turn).expect("held back");
    assert!(feed.push(bad).is_err());
    assert_eq!(poll_all(&mut live).last().map(|state| state.board.phase.turn), Some(9));
}

fn pixel(rgb: [u8; 3]) -> Pixels {
    Pixels { w: 1, h: 1, rgba: vec![rgb[0], rgb[1], rgb[2], 255] }
}

#[test]
fn an_avatar_that_comes_later_is_drawn_and_one_of_a_delayed_view_never_changes() {
    let avatar = r#""data":{"sides":{"a":{"seat":0,"avatar":"face"},"b":{"seat":1}}}"#;
    let record = wire(&[&format!(r#""epoch":1,"seq":1,"ts":0,"type":"match.started",{avatar}"#)]);
    let director = |delay_ms| {
        let drawn = Arc::<Mutex<Vec<DrawList>>>::default();
        let composer = Composer::new(Theme::default(), Size::HD).expect("a size with a layout");
        let source = Box::new(Replay::new(record.clone(), ReplayOptions::default()));
        let renderer = Box::new(Keeper(drawn.clone()));
        let delayed = Delayed::new(delay_ms).expect("within bounds");
        let show = Presentation::default();
        (Director::new(source, View::Spectator, delayed, show, composer, raster(), renderer), drawn)
    };
    let pictures = |list: &DrawList| {
        let items = list.base.iter().chain(&list.live);
        items
            .filter_map(|i| if let Shape::Image(image) = &i.shape { Some(image.image) } else { None })
            .collect::<Vec<_>>()
    };
    let (mut now, drawn) = director(0);
    now.frame(0, &OnAir::default());
    assert!(now.set_picture("face", pixel([1, 2, 3])));
    now.frame(33, &OnAir::default());
    assert!(now.set_picture("face", pixel([4, 5, 6])), "a game's pixels change");
    now.frame(66, &OnAir::default());
    let lists = drawn.lock().unwrap();
    let [none, first, second] = [0, 1, 2].map(|i| pictures(&lists[i]));
    assert!(none.len() < first.len() && first.len() == second.len() && first != second);

    let (mut held, _) = director(5_000);
    assert!(held.set_picture("face", pixel([1, 2, 3])));
    assert!(!held.set_picture("face", pixel([4, 5, 6])), "it would show before its time");
}

/// Keeps what it is given to draw.
struct Keeper(Arc<Mutex<Vec<DrawList>>>);

impl Renderer for Keeper {
    fn render(&mut self, list: &DrawList, _: &mut dyn PixelSource) -> Result<Rendered, RenderError> {
        self.0.lock().unwrap().push(list.clone());
        let frame = Nv12 { size: list.size, stride: 0, data: Vec::new() };
        Ok(Rendered { frame: Arc::new(frame), damage: Damage::Full })
    }

    fn read_rgba(&mut self) -> Result<Vec<u8>, RenderError> {
        Ok(Vec::new())
    }
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

/// Waits until the status is as wanted; fails the test when it is not in time.
#[track_caller]
fn wait_for(broadcast: &Broadcast, what: &str, wanted: impl Fn(&StreamStatus) -> bool) -> StreamStatus {
    wait_until(what, Duration::from_secs(60), || Some(broadcast.status()).filter(&wanted))
}

#[test]
fn a_real_broadcast_survives_the_loss_of_its_graphics_device() {
    // A busy machine spoils one measurement, a defect all of them.
    let mut stood_still = Vec::new();
    while stood_still.len() < 3 && stood_still.iter().all(|ms| *ms >= 1_500) {
        stood_still.push(lose_the_device());
    }
    println!("the picture stood still for {stood_still:?} ms");
    assert!(stood_still.last() < Some(&1_500), "the picture stood still in the stream for {stood_still:?} ms");
}

/// Returns how long the picture stood still in the stream, ms.
fn lose_the_device() -> i64 {
    let (nginx, dir) = (Nginx::start(), TempDir::new("loss"));
    let movie = dir.path().join("loss.mp4");
    let studio = Studio::open(AdapterChoice::Auto).expect("a graphics adapter, lavapipe at least");
    let settings = StreamSettings { size: Some(Size::HD), ..StreamSettings::default() };
    let broadcast = studio.replay(settings, record(), ReplayOptions::default()).expect("a stream");
    let target = RtmpTarget::parse(&nginx.url("loss"), None).expect("a good address");
    let rtmp = RtmpOutput::spawn(target, RtmpOptions::default()).expect("a thread");
    broadcast.add_output(Box::new(rtmp)).expect("running");
    broadcast.add_output(Box::new(FileOutput::create(&movie, true).expect("a file"))).expect("running");

    wait_for(&broadcast, "4 s of pictures", |s| s.frames >= 120 && s.outputs.len() == 2 && s.is_live());
    studio.gpu().simulate_loss();
    wait_until("a new device", Duration::from_secs(30), || (studio.gpu().generation() > 0).then_some(()));
    let back = wait_for(&broadcast, "pictures of the new device", |s| s.trouble.is_none());
    let then = wait_for(&broadcast, "4 s more", |s| s.frames >= back.frames + 120);
    assert!(then.frames - then.unchanged > back.frames - back.unchanged, "what is drawn moves again: {then:?}");
    assert!(then.outputs.iter().all(|o| o.reconnects == 0 && o.dropped == 0), "{:?}", then.outputs);
    assert!(broadcast.runs());
    let end = broadcast.stop(Duration::from_secs(5));
    assert!(end.outputs.iter().all(|o| o.state == State::Stopped), "{:?}", end.outputs);

    assert_eq!(flv::decode_errors(&movie), "");
    let recording = wait_until("nginx's recording", Duration::from_secs(20), || {
        let path = nginx.recordings("loss").pop()?;
        let tags = flv::parse(&std::fs::read(&path).ok()?).ok()?;
        tags.last().is_some_and(|t| t.time > 8_000).then_some(path)
    });
    assert_eq!(flv::decode_errors(&recording), "");
    let tags = flv::read(&recording);
    assert_eq!(flv::live_problems(&tags, 30, 3_000), [""; 0]);
    let pictures: Vec<i64> = tags.iter().filter(|t| t.kind == flv::VIDEO && t.is_media()).map(|t| t.time).collect();
    pictures.windows(2).map(|w| w[1] - w[0]).max().expect("pictures")
}
