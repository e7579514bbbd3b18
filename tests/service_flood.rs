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
