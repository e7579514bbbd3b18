//! The life of egress jobs, against what a real worker reported: every case ends in the right state and sentence.

mod egress_world;

use agentcast::livekit::ApiError;
use agentcast::livekit::egress::{JobInfo, JobStatus, RoomView, UrlStatus};
use agentcast::output::State;
use agentcast::output::egress::TargetId;
use agentcast::output::egress::job::{Action, Evidence, Job, Rules};
use egress_world::{Capture, World, spread};
use std::time::{Duration, Instant};

fn world(name: &str) -> World {
    World::new(vec![Capture::read(name)], 1)
}

/// With webhooks, with each of them twice and old ones between, and with none.
fn in_all_weathers(build: impl Fn() -> World, check: impl Fn(World)) {
    for (webhooks, doubled) in [(true, false), (true, true), (false, false)] {
        let mut world = build();
        (world.webhooks, world.doubled) = (webhooks, doubled);
        check(world);
    }
}

/// A second job that does well, after one that did not.
fn then_well(name: &str, first: Capture) -> World {
    let mut well = Capture::read("ok").not_stopped();
    let room = Capture::read(name).0[0].1.clone();
    well.0.iter_mut().for_each(|(_, info)| (info.room, info.identity) = (room.room.clone(), room.identity.clone()));
    World::new(vec![first, well], 1)
}

fn error(world: &World) -> String {
    world.outlook().error.unwrap_or_default()
}

#[test]
fn healthy_jobs_are_live_some_seconds_after_they_began_and_stop_when_told() {
    for name in ["ok", "trackcomp_rtmps", "rec", "default", "static", "bookworm"] {
        in_all_weathers(
            || world(name),
            |mut world| {
                let capture = Capture::read(name);
                // A start of only 15 s still has to show.
                let stop = capture.first(|i| i.status == JobStatus::Ending).unwrap();
                let sends = capture.first(|i| i.urls[0].started_at > 0).unwrap();
                world.run_until(stop - 0.2);
                let live = world.when(State::Live, 0.0).unwrap();
                assert!((sends + 5.0..sends + 8.0).contains(&live), "{name}: {live} after {sends}");
                assert_eq!(world.outlook().error, None, "{name}");
                assert!(world.outlook().words.contains("only the platform tells"));
                world.job.close(world.instant());
                world.run_until(stop + 5.0);
                assert_eq!((world.outlook().state, world.job.is_over()), (State::Stopped, true), "{name}");
                assert_eq!((world.starts.len(), world.stops.len()), (1, 1), "{name}");
            },
        );
    }
}

#[test]
fn active_alone_is_not_taken_for_live() {
    let mut world = World::new(vec![Capture::read("ok").until(2.0)], 1);
    world.run_until(50.0);
    assert_eq!(world.when(State::Live, 0.0), None);
    assert!(world.outlook().words.contains("does not prove that anything is sent"));
    world.run_until(70.0);
    assert_eq!(world.stops.len(), 1, "a minute without a beginning");
    assert!(error(&world).contains("sends nothing to any address"));
}

#[test]
fn a_healthy_job_that_says_nothing_for_an_hour_is_left_alone() {
    in_all_weathers(
        || World::new(vec![Capture::read("ok").not_stopped()], 1),
        |mut world| {
            world.run_until(3_600.0);
            assert_eq!((world.starts.len(), world.stops.len(), world.outlook().error), (1, 0, None));
            assert_eq!(world.outlook().state, State::Live);
        },
    );
}

#[test]
fn failed_addresses_are_named_with_their_reason_and_tried_again_with_growing_pauses() {
    for (name, words) in [
        ("refused", "a.example.com:1935 refuses connections from LiveKit's egress worker"),
        ("rtmps", "does not trust the certificate of a.example.com:1935"),
        ("blackhole", "a.example.com:1935 does not answer LiveKit's egress worker"),
    ] {
        in_all_weathers(
            || world(name),
            |mut world| {
                world.run_until(600.0);
                assert!(world.errors.iter().all(|e| e.contains(words)), "{name}: {:?}", world.errors);
                assert!(!world.errors.is_empty(), "{name}");
                assert_eq!(world.when(State::NeedsAttention, 0.0), None, "{name}");
                assert_eq!(world.when(State::Live, 0.0), None, "{name}");
                let pauses: Vec<_> = world.starts.windows(2).map(|w| w[1].0 - w[0].0).collect();
                assert!((8..16).contains(&world.starts.len()), "{name}: {:?}", world.starts);
                assert!(pauses[0] < 15.0 && pauses[pauses.len() - 1] > 45.0, "{name}: {pauses:?}");
            },
        );
    }
}

#[test]
fn a_bad_key_is_given_up_after_three_jobs() {
    in_all_weathers(
        || world("badkey"),
        |mut world| {
            world.run_until(600.0);
            assert_eq!((world.starts.len(), world.outlook().state), (3, State::NeedsAttention));
            assert!(error(&world).contains("refuses the stream key; check the key"), "{}", error(&world));
            assert!(error(&world).ends_with("then start the stream again"));
            world.job.close(world.instant());
            assert_eq!(world.outlook().state, State::NeedsAttention, "what gave up does not end well");
        },
    );
}

#[test]
fn one_bad_address_of_two_leaves_the_other_alone_and_is_added_again() {
    in_all_weathers(
        || {
            let mut world = World::new(vec![Capture::read("mixed").until(5.0)], 2);
            world.added = UrlStatus::Failed;
            world
        },
        |mut world| {
            world.run_until(100.0);
            assert_eq!((world.outlook().state, world.starts.len(), world.stops.len()), (State::Live, 1, 0));
            assert!(world.outlook().words.contains("1 of 2 addresses"), "{}", world.outlook().words);
            assert!(error(&world).starts_with("b.example.com:1935 refuses connections"), "{}", error(&world));
            let pauses: Vec<_> = world.adds.windows(2).map(|w| w[1] - w[0]).collect();
            assert!((3..8).contains(&world.adds.len()) && pauses[0] < pauses[pauses.len() - 1], "{:?}", world.adds);
            world.added = UrlStatus::Active;
            world.run_until(220.0);
            assert_eq!((world.outlook().error, world.starts.len()), (None, 1));
            assert!(world.outlook().words.contains("2 of 2 addresses"), "{}", world.outlook().words);
        },
    );
}

#[test]
fn addresses_are_added_to_and_removed_from_the_running_job() {
    let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
    world.run_until(20.0);
    let second = world.job.add_target("b.example.com:443", world.instant());
    world.run_until(40.0);
    assert_eq!((second, world.adds.len(), world.outlook().state), (TargetId(2), 1, State::Live));
    assert!(world.job.remove_target(second) && !world.job.remove_target(second));
    world.run_until(60.0);
    assert!(world.outlook().words.contains("1 of 1 addresses"), "{}", world.outlook().words);
    assert!(world.job.remove_target(TargetId(1)));
    world.run_until(80.0);
    assert_eq!((world.outlook().state, world.starts.len(), world.stops.len()), (State::Idle, 1, 1));
}

#[test]
fn a_dropped_publisher_that_reconnects_once_is_counted_and_left_alone() {
    let mut capture = Capture::read("mixed").until(24.0);
    capture.0.retain(|(at, _)| !(5.0..23.0).contains(at));
    in_all_weathers(
        || World::new(vec![capture.clone()], 2),
        |mut world| {
            world.run_until(120.0);
            assert_eq!((world.outlook().state, world.stops.len(), world.outlook().reconnects), (State::Live, 0, 1));
            let again = world.when(State::Reconnecting, 15.0);
            assert!(again.is_some_and(|at| (23.0..46.0).contains(&at)), "{:?}", world.states);
        },
    );
}

#[test]
fn a_frozen_receiver_is_noticed_by_its_reconnections_or_at_the_latest_by_the_end_of_the_job() {
    let capture = Capture::read("stall");
    // A worker that can be asked tells of the tries that it makes every 5 s; of another one the end is all that comes.
    for (mute, words) in [
        (false, "LiveKit's egress worker lost a.example.com:1935 and gets through to it no more"),
        (true, "a.example.com:1935 takes nothing in any more; the connection has stalled"),
    ] {
        in_all_weathers(
            || {
                let mut world = then_well("stall", capture.clone());
                world.retries = spread((30.3, 1), (55.5, 6));
                world.mute = mute;
                world
            },
            |mut world| {
                world.run_until(62.0);
                world.retries.clear();
                world.run_until(110.0);
                assert!(world.errors.iter().any(|e| e.starts_with(words)), "{:?}", world.errors);
                assert_eq!((world.starts.len(), world.outlook().state), (2, State::Live), "{:?}", world.states);
                assert_eq!(world.outlook().error, None);
            },
        );
    }
}

#[test]
fn a_wedged_job_is_stopped_and_started_anew_although_it_stays_active() {
    // The last reconnection as the worker told it when the job was stopped by hand, long after.
    for (name, last, retries) in [("short", 13.83, 55), ("long", 20.06, 242), ("bw_outage3s", 13.48, 41)] {
        let capture = Capture::read(name).not_stopped();
        let told = Capture::read(name).0.last().unwrap().1.urls[0].retries;
        assert_eq!(told, retries, "{name}");
        in_all_weathers(
            || {
                let mut world = then_well(name, capture.clone());
                world.retries = spread((12.1, 1), (last, retries));
                world.stop_takes = 30.2;
                world
            },
            |mut world| {
                while world.stops.is_empty() {
                    assert!(world.now < 45.0, "{name}: not noticed");
                    world.run_until(world.now + 0.5);
                }
                let stopped = world.stops[0];
                assert!(!world.webhooks || stopped < 16.0, "{name}: with webhooks within seconds, not at {stopped}");
                assert!(error(&world).contains("gets through to it no more"), "{name}: {}", error(&world));
                assert_eq!(world.outlook().state, State::Reconnecting);
                world.retries.clear();
                world.run_until(stopped + 30.0);
                assert_eq!(world.starts.len(), 1, "{name}: not before the old one has ended");
                world.run_until(stopped + 50.0);
                assert_eq!((world.starts.len(), world.outlook().state), (2, State::Live), "{name}");
                assert_eq!(world.outlook().error, None, "{name}");
            },
        );
    }
}

#[test]
fn a_stop_that_never_ends_holds_the_next_job_up_for_35_s_only() {
    let mut world = then_well("short", Capture::read("short").not_stopped());
    world.retries = spread((12.1, 1), (13.8, 55));
    world.stop_takes = 1e6;
    world.run_until(70.0);
    let pause = world.starts[1].0 - world.stops[0];
    assert!((35.0..38.0).contains(&pause), "{pause}");
}

#[test]
fn a_burst_that_only_the_last_report_shows_is_named_when_the_job_ends() {
    let capture = Capture::read("mixed").until(100.0);
    let end = Capture::read("mixed").0.last().unwrap().1.clone();
    let mut world = World::new(vec![capture, Capture::read("mixed").until(2.0)], 2);
    world.mute = true;
    world.run_until(100.0);
    assert_eq!((world.outlook().state, world.stops.len()), (State::Live, 0), "nobody could know");
    world.job.handle(Evidence::Observed(JobInfo { id: world.ids[0].clone(), ..end }), world.instant());
    assert!(error(&world).contains("155 tries"), "{}", error(&world));
    world.run_until(115.0);
    assert_eq!(world.starts.len(), 2);
}

#[test]
fn a_killed_process_is_named_and_a_new_job_started_at_once() {
    in_all_weathers(
        || then_well("handlerkill", Capture::read("handlerkill")),
        |mut world| {
            world.run_until(32.0);
            assert!(
                world.errors.iter().any(|e| e.contains("the egress worker failed (signal: killed)")),
                "{:?}",
                world.errors
            );
            world.run_until(45.0);
            assert_eq!((world.starts.len(), world.outlook().state, world.stops.len()), (2, State::Live, 0));
            assert_eq!(world.outlook().error, None);
        },
    );
}

#[test]
fn a_killed_worker_is_found_out_by_its_absence_though_the_list_says_active() {
    for mute in [false, true] {
        in_all_weathers(
            || {
                let mut world = then_well("workerkill", Capture::read("workerkill"));
                (world.killed, world.mute) = (Some(12.0), mute);
                world
            },
            |mut world| {
                while world.stops.is_empty() {
                    assert!(world.now < 75.0, "not noticed");
                    world.run_until(world.now + 0.5);
                }
                assert!(error(&world).contains("the egress worker is gone"), "{}", error(&world));
                world.killed = None;
                let stopped = world.stops[0];
                world.run_until(stopped + 45.0);
                assert_eq!((world.starts.len(), world.outlook().state), (2, State::Live), "{:?}", world.states);
                assert_eq!(world.outlook().error, None);
            },
        );
    }
}

#[test]
fn a_killed_worker_is_found_out_although_the_publisher_has_left_too() {
    for mute in [false, true] {
        in_all_weathers(
            || {
                let mut world = then_well("workerkill", Capture::read("workerkill"));
                (world.killed, world.mute) = (Some(12.0), mute);
                world.publisher = vec![(0.0, 13.0), (200.0, f64::INFINITY)];
                world
            },
            |mut world| {
                while world.stops.is_empty() {
                    assert!(world.now < 100.0, "shown as {:?}", world.outlook());
                    world.run_until(world.now + 0.5);
                }
                world.run_until(190.0);
                assert_eq!((world.starts.len(), world.outlook().state), (1, State::Reconnecting));
                assert!(error(&world).contains("the egress worker is gone"), "{}", error(&world));
                world.killed = None;
                world.run_until(230.0);
                assert_eq!((world.starts.len(), world.outlook().state), (2, State::Live), "{:?}", world.states);
            },
        );
    }
}

#[test]
fn a_publisher_that_leaves_ends_the_job_and_its_return_starts_the_next() {
    in_all_weathers(
        || {
            let mut world = then_well("leave", Capture::read("leave"));
            world.publisher = vec![(0.0, 33.0), (90.0, f64::INFINITY)];
            world
        },
        |mut world| {
            world.run_until(85.0);
            assert_eq!((world.starts.len(), world.outlook().state), (1, State::Reconnecting));
            assert!(error(&world).contains("the publisher left the room"), "{}", error(&world));
            assert!(world.outlook().words.contains("waits for the room: composer"), "{}", world.outlook().words);
            world.run_until(110.0);
            assert_eq!((world.starts.len(), world.outlook().state, world.outlook().error), (2, State::Live, None));
        },
    );
}

#[test]
fn nothing_starts_before_the_publisher_is_in_the_room() {
    let mut world = world("ok");
    world.publisher = vec![(30.0, f64::INFINITY)];
    world.run_until(29.0);
    assert_eq!((world.starts.len(), world.outlook().state), (0, State::Connecting));
    assert!(error(&world).starts_with("waits for the room: composer does not publish in rA yet"), "{}", error(&world));
    world.run_until(33.0);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_job_that_somebody_else_stops_is_not_fought_over() {
    in_all_weathers(
        || world("ok"),
        |mut world| {
            world.run_until(300.0);
            assert_eq!((world.starts.len(), world.outlook().state), (1, State::NeedsAttention));
            assert!(error(&world).contains("somebody stopped the job through LiveKit's API"), "{}", error(&world));
        },
    );
}

#[test]
fn a_start_whose_answer_is_lost_is_found_again_and_not_made_twice() {
    in_all_weathers(
        || {
            let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
            world.lost_answers = 1;
            world
        },
        |mut world| {
            world.run_until(120.0);
            assert_eq!((world.starts.len(), world.outlook().state), (1, State::Live), "{:?}", world.states);
            let live = world.when(State::Live, 0.0).unwrap();
            assert!(!world.webhooks || live < 10.0, "webhooks tell before the answer: {live}");
        },
    );
}

#[test]
fn a_start_whose_answer_is_lost_is_not_made_twice_however_long_the_worker_takes_to_join() {
    // Listed from the start on, and only when it is in the room.
    for listed in [0.0, 14.0] {
        in_all_weathers(
            || {
                let mut world = World::new(vec![Capture::read("ok").not_stopped().slow(12.0)], 1);
                (world.lost_answers, world.lost_after) = (1, 0.3);
                world.listed.0 = listed;
                world
            },
            |mut world| {
                world.run_until(60.0);
                assert_eq!((world.starts.len(), world.stops.len()), (1, 0), "{:?}", world.states);
                assert_eq!((world.outlook().state, world.outlook().error), (State::Live, None));
            },
        );
    }
}

#[test]
fn a_start_that_never_happened_is_made_again_after_half_a_minute() {
    let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
    world.start_errors = vec![ApiError::Timeout { host: "h".into(), after: Duration::from_secs(40) }];
    world.run_until(60.0);
    assert_eq!((world.starts.len(), world.outlook().state), (2, State::Live), "{:?}", world.states);
    let pause = world.starts[1].0 - world.starts[0].0;
    assert!((30.0..36.0).contains(&pause), "{pause}");
}

#[test]
fn a_job_that_looks_like_the_one_whose_start_was_not_answered_is_stopped_before_another_starts() {
    let (mut job, mut now, like) = (idle_job(), Instant::now(), Capture::read("ok").0[1].1.clone());
    let like = JobInfo { id: "EG_like".into(), ..like };
    let (mut asked, mut starts) = (Vec::new(), 0);
    let end = now + Duration::from_secs(45);
    while now < end && asked.is_empty() {
        while let Some(action) = job.poll(now) {
            let answer = match action {
                // Its worker is not in the room.
                Action::Look => Evidence::Room(Ok(RoomView { publishing: true, workers: Vec::new() })),
                Action::List(_) => Evidence::Listed(Ok(vec![like.clone()])),
                Action::Start(_) => {
                    starts += 1;
                    let (host, after) = ("h".into(), Duration::from_secs(40));
                    Evidence::Started(Err(ApiError::Timeout { host, after }))
                }
                other => {
                    asked.push(other);
                    break;
                }
            };
            job.handle(answer, now);
        }
        now += Duration::from_millis(100);
    }
    assert_eq!((starts, asked), (1, vec![Action::Stop("EG_like".into())]));
}

fn idle_job() -> Job {
    let first = Capture::read("ok").0[0].1.clone();
    let mut job = Job::new(&first.room, &first.identity, Rules::default(), 7, Instant::now());
    job.add_target(&first.addresses[0], Instant::now());
    job
}

#[test]
fn a_job_that_the_server_has_forgotten_goes_on_while_its_worker_is_in_the_room() {
    in_all_weathers(
        || World::new(vec![Capture::read("ok").not_stopped()], 1),
        |mut world| {
            world.listed.1 = 22.0;
            world.run_until(300.0);
            assert_eq!((world.starts.len(), world.stops.len(), world.outlook().state), (1, 0, State::Live));
            // Its end takes a while, and nobody lists that either.
            (world.stop_takes, world.webhooks) = (12.0, false);
            world.job.close(world.instant());
            world.run_until(308.0);
            assert!(world.job.is_told() && !world.job.is_over(), "it may send until its worker has left");
            world.run_until(320.0);
            assert!(world.job.is_over());
        },
    );
}

#[test]
fn a_destination_that_ends_while_livekit_is_away_has_its_job_stopped_when_that_is_back() {
    let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
    world.run_until(20.0);
    world.stops_from = 90.0;
    world.job.close(world.instant());
    world.run_until(89.0);
    assert!(!world.job.is_told() && !world.job.is_over(), "{:?}", world.stops);
    world.run_until(95.0);
    assert!(world.job.is_over() && !world.job.may_send_on());
}

#[test]
fn a_job_whose_end_is_never_seen_is_known_to_send_on_perhaps() {
    let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
    world.stop_takes = 1e6;
    world.run_until(20.0);
    world.job.close(world.instant());
    world.run_until(60.0);
    assert!(world.job.is_over() && world.job.may_send_on());
}

#[test]
fn a_webhook_of_another_destinations_job_gives_way_to_the_answer() {
    let mut world = World::new(vec![Capture::read("ok").not_stopped()], 1);
    world.webhooks = false;
    while world.starts.is_empty() {
        world.run_until(world.now + 0.1);
    }
    let other = JobInfo { id: "EG_other".into(), ..Capture::read("ok").0[0].1.clone() };
    world.job.handle(Evidence::Observed(other), world.instant());
    assert_eq!(world.job.id(), Some("EG_other"));
    world.run_until(world.now + 20.0);
    assert_eq!((world.job.id(), world.outlook().state, world.stops.len()), (Some("EG_0"), State::Live, 0));
}

#[test]
fn missing_parts_of_the_server_are_named_and_waited_for() {
    for (refusal, words) in [
        (ApiError::NoEgressWorker, "no egress worker is connected to this LiveKit server"),
        (ApiError::NoRedis { service: "egress" }, "runs without redis"),
    ] {
        let mut world = world("ok");
        world.start_errors = vec![refusal; 4];
        world.run_until(25.0);
        assert!(error(&world).contains(words), "{}", error(&world));
        assert_eq!(world.outlook().state, State::Reconnecting);
        world.run_until(160.0);
        assert_eq!(world.ids.len(), 1, "the fifth start");
    }
}

#[test]
fn a_refused_api_key_is_given_up_after_three_requests() {
    let mut world = world("ok");
    world.start_errors = vec![ApiError::KeyRefused; 9];
    world.run_until(120.0);
    assert_eq!((world.starts.len(), world.outlook().state), (3, State::NeedsAttention));
    assert!(error(&world).contains("refused the API key"));
}

#[test]
fn closing_while_a_start_is_under_way_stops_the_job_that_comes_of_it() {
    let mut world = world("ok");
    world.webhooks = false;
    while world.starts.is_empty() {
        world.run_until(world.now + 0.1);
    }
    world.job.close(world.instant());
    assert!(!world.job.is_over());
    world.run_until(world.now + 5.0);
    assert_eq!((world.job.is_over(), world.stops.len(), world.outlook().state), (true, 1, State::Stopped));
}
