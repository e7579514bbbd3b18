//! One match is flooded; the others do not notice.
//!
//! The flood lasts `AGENTCAST_FLOOD_SECONDS` (10 unless set). A minute of it, with what it came to:
//! `AGENTCAST_FLOOD_SECONDS=60 cargo test --release --test service_flood -- --nocapture`.

mod support;

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::service::{BUSY, Sender, Service, Setup};

#[test]
fn a_flooded_match_is_told_to_slow_down_loses_nothing_silently_and_others_stay_quick() {
    let seconds = std::env::var("AGENTCAST_FLOOD_SECONDS").ok();
    let seconds: usize = seconds.map_or(10, |seconds| seconds.parse().expect("a whole number of seconds"));
    let service = Service::start(Setup { toml: BUSY.into(), ..Setup::default() });
    let (tenant, _) = service.tenant("Arena", "operator");
    let (loud, quiet) = (service.key(&tenant, "game"), service.key(&tenant, "game"));
    let made = loud.feed_session("loud", json!({}));
    let loud_session = made["session"]["id"].as_str().unwrap().to_owned();
    let made = quiet.feed_session("quiet", json!({}));
    let quiet_session = made["session"]["id"].as_str().unwrap().to_owned();
    let (mut from_loud, mut from_quiet) = (Sender::new("loud"), Sender::new("quiet"));
    loud.push(&loud_session, &[from_loud.started()]).expect(200);
    quiet.push(&quiet_session, &[from_quiet.started()]).expect(200);

    let time = |from: &mut Sender| {
        let event = from.score(from.seq);
        let begun = Instant::now();
        quiet.push(&quiet_session, &[event]).expect(200);
        begun.elapsed()
    };
    let mut before: Vec<_> = (0..100).map(|_| time(&mut from_quiet)).collect();
    before.sort();
    let flooded = Instant::now();
    let stop = AtomicBool::new(false);
    let (sent, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut during = std::thread::scope(|threads| {
        let flood = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // 100 in a call, so that the calls themselves are not what is limited.
                let seq = from_loud.seq;
                let batch: Vec<_> = (0..100).map(|n| from_loud.score(n)).collect();
                let answer = loud.push(&loud_session, &batch);
                sent.fetch_add(100, Ordering::Relaxed);
                match answer.status {
                    200 => {}
                    429 => {
                        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                        refused.fetch_add(100, Ordering::Relaxed);
                        from_loud.seq = seq;
                    }
                    other => panic!("{other}: {}", answer.text()),
                }
            }
        });
        // Spread over the flood: one after the other, each with a breath between.
        let during: Vec<_> = (0..10 * seconds)
            .map(|_| {
                let begun = Instant::now();
                let took = time(&mut from_quiet);
                while begun.elapsed() < Duration::from_millis(100) {
                    std::thread::yield_now();
                }
                took
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        flood.join().expect("the flood got only good answers");
        during
    });
    during.sort();
    let (sent, refused) = (sent.into_inner(), refused.into_inner());
    let (median, worst) = (during[during.len() / 2], during[during.len() - 1]);
    println!(
        "{sent} events in {:?}, {refused} refused; quiet p50 {:?} → {median:?}, p99 {:?} → {:?}, worst {:?} → {worst:?}",
        flooded.elapsed(),
        before[50],
        before[98],
        during[during.len() * 99 / 100 - 1],
        before[99],
    );
    assert!(refused > 0, "nothing was refused of {sent}");
    assert!(median < Duration::from_millis(250), "before {before:?}, during {during:?}");
    // Everything that was taken is there.
    let state = loud.get(&format!("/v1/sessions/{loud_session}/state")).expect(200);
    assert_eq!(state["seq"], from_loud.seq);
    let state = quiet.get(&format!("/v1/sessions/{quiet_session}/state")).expect(200);
    assert_eq!(state["seq"], from_quiet.seq);
}

#[test]
fn matches_of_large_boards_that_change_all_the_time_leave_the_others_their_threads() {
    let service = Service::start(Setup { toml: BUSY.into(), ..Setup::default() });
    let (tenant, _) = service.tenant("Arena", "operator");
    let (loud, quiet) = (service.key(&tenant, "game"), service.key(&tenant, "game"));
    let session = |reference: &str| {
        let made = loud.feed_session(reference, json!({}));
        made["session"]["id"].as_str().unwrap().to_owned()
    };
    // Boards of 3 MB, which every change goes through as a whole.
    let grid = json!({ "kind": "grid", "cols": 64, "rows": 64, "cells": vec![json!({}); 4_096] });
    let mut large: Vec<_> = (0..4)
        .map(|n| {
            let reference = format!("large{n}");
            let (session, mut sender) = (session(&reference), Sender::new(&reference));
            let mut started = sender.started();
            started["data"]["zones"] = (0..8).map(|zone| (format!("z{zone}"), grid.clone())).collect();
            let path = format!("/v1/sessions/{session}/events?format=agentcast");
            loud.call("POST", &path, &[], started.to_string().as_bytes()).expect(200);
            (session, sender)
        })
        .collect();
    let (quiet_session, mut from_quiet) = (session("quiet"), Sender::new("quiet"));
    quiet.push(&quiet_session, &[from_quiet.started()]).expect(200);
    let stop = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    let mut took: Vec<Duration> = std::thread::scope(|threads| {
        for (session, sender) in &mut large {
            let (loud, stop, changes) = (&loud, &stop, &changes);
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (seq, batch) = (sender.seq, (0..8).map(|n| sender.score(n)).collect::<Vec<_>>());
                    match loud.push(session, &batch).status {
                        200 => changes.fetch_add(8, Ordering::Relaxed),
                        429 => std::mem::replace(&mut sender.seq, seq),
                        other => panic!("{other}"),
                    };
                }
            });
        }
        // Once they are at it.
        while changes.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = (0..40).map(|_| {
            let event = from_quiet.score(from_quiet.seq);
            let begun = Instant::now();
            quiet.push(&quiet_session, &[event]).expect(200);
            begun.elapsed()
        });
        let took = took.collect();
        stop.store(true, Ordering::Relaxed);
        took
    });
    took.sort();
    println!("{} changes of large boards; quiet p50 {:?}, worst {:?}", changes.into_inner(), took[20], took[39]);
    assert!(took[20] < Duration::from_millis(250), "{took:?}");
}
