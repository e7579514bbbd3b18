//! What keeps a stream or a destination off the air, and who hears of it.

use super::*;
use crate::server::streams::StreamsError;

/// Data of what was told of this kind and id.
fn told(rig: &Rig, kind: &str, id: &str) -> Vec<serde_json::Value> {
    rig.told.iter().filter(|t| t.0 == kind && t.1 == id).map(|t| t.2.clone()).collect()
}

#[test]
fn a_match_that_waits_for_a_stream_key_says_so_once_and_again_when_that_changes() {
    let mut rig = Rig::new(&["a"], &[("m1", &["a"], Running), ("m2", &["a"], Running)]);
    rig.pass(5_000);
    let waiting = rig.board.waiting("m2");
    assert_eq!((waiting.len(), waiting[0].agent_id.as_str()), (1, "a"));
    assert!(waiting[0].reason.contains("/v1/matches/m1/end"), "{waiting:?}");
    assert!(rig.board.waiting("m1").is_empty());
    let news = told(&rig, "match", "m2");
    assert_eq!(news.len(), 1, "{news:?}");
    assert_eq!((&news[0]["phase"], &news[0]["waiting"]), (&json!("running"), &json!(waiting)));
    // The other one is over and has been shown long enough.
    rig.phase("m1", Over);
    rig.pass(60_000);
    assert_eq!(rig.only().record.match_id, "m2");
    let news = told(&rig, "match", "m2");
    assert_eq!((news.len(), &news[1]["waiting"]), (2, &json!([])));
    assert!(rig.board.waiting("m2").is_empty() && told(&rig, "match", "m1").is_empty());
}

#[test]
fn an_agent_whose_switch_is_off_waits_for_nothing() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.world.agents.clear();
    rig.look();
    assert!(rig.streams().is_empty() && rig.board.waiting("m").is_empty());
    assert!(told(&rig, "match", "m").is_empty());
}

#[test]
fn a_destination_that_gave_up_is_tried_again_when_somebody_starts_the_stream() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.candidate("a").destinations.push(destination("e-a", "a"));
    let words = "it does not open".to_owned();
    rig.no_make.insert("e-a".into(), NotMade { words, passing: false });
    rig.look();
    rig.states.insert("d-a".into(), State::NeedsAttention);
    rig.say();
    rig.pass(200);
    let states = |rig: &Rig| rig.only().destinations.iter().map(|d| d.state).collect::<Vec<_>>();
    assert_eq!(states(&rig), ["needs-attention", "needs-attention"]);
    rig.pass(60_000);
    assert_eq!(rig.orders.len(), 2, "not by themselves");
    let (id, before) = (rig.only().record.id, rig.live().len());
    rig.states.clear();
    rig.no_make.clear();
    rig.board.try_again(&id, rig.now);
    rig.work();
    rig.pass(200);
    assert_eq!((states(&rig), rig.live(), before), (vec!["live", "live"], vec!["d-a", "e-a"], 1));
    assert_eq!(rig.orders.len(), 4);
    // What is live is left alone.
    rig.board.try_again(&id, rig.now);
    rig.work();
    assert_eq!(rig.orders.len(), 4);
}

#[test]
fn a_warning_is_told_once_however_much_is_spent_after_it() {
    for (minutes, budget) in [(None, Some(0.1)), (Some(2), None)] {
        let mut rig = Rig::new(&["a"], &[("m", &["a"], Waiting)]);
        let limits = &mut rig.candidate("a").agent.limits;
        (limits.minutes_per_day, limits.budget_per_month) = (minutes, budget);
        rig.phase("m", Running);
        let id = rig.only().record.id;
        while rig.only().trouble.is_none() {
            rig.pass(100);
        }
        // What is found is told with the next look at it.
        rig.pass(100);
        let before = told(&rig, "stream", &id).len();
        rig.pass(15_000);
        assert_eq!(told(&rig, "stream", &id).len(), before, "{minutes:?} {budget:?}");
        assert!(rig.only().trouble.is_some_and(|words| words.starts_with("over 80 % of the agent's")));
    }
}

#[test]
fn a_destination_has_a_state_of_its_own_that_outlives_its_stream() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running), ("n", &["a"], Waiting)]);
    let began = rig.wall();
    rig.pass(2_000);
    let status = rig.board.destination("d-a");
    assert_eq!((status.state, status.trouble), ("live", None));
    assert!(status.since.is_some_and(|since| (0..=began).contains(&since)), "{began}");
    let never = rig.board.destination("d-b");
    assert_eq!((never.state, never.trouble, never.since), ("idle", None, None));
    // A key that the platform refused, seen as long as nothing else is known.
    rig.no_make.insert("d-a".into(), NotMade { words: "the key was refused".into(), passing: false });
    let id = rig.only().record.id;
    rig.states.insert("d-a".into(), State::NeedsAttention);
    rig.say();
    rig.pass(200);
    rig.board.try_again(&id, rig.now);
    rig.work();
    rig.pass(200);
    assert_eq!(rig.board.destination("d-a").state, "needs-attention");
    rig.board.end(&id, "stopped", rig.now, rig.wall());
    rig.work();
    let ended = rig.wall();
    rig.pass(60_000);
    let status = rig.board.destination("d-a");
    assert_eq!(
        (status.state, status.trouble.as_deref(), status.since),
        ("idle", Some("the key was refused"), Some(ended))
    );
    rig.states.clear();
    rig.no_make.clear();
    rig.phase("n", Running);
    rig.pass(200);
    let status = rig.board.destination("d-a");
    assert_eq!((status.state, status.trouble), ("live", None));
    // Disabled: nothing is sent to it any more.
    rig.candidate("a").destinations = vec![destination("e-a", "a")];
    rig.look();
    assert_eq!((rig.board.destination("d-a").state, rig.board.destination("e-a").state), ("idle", "live"));
}

#[test]
fn a_stream_of_a_deleted_agent_ends_and_says_why() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    rig.world.agents.clear();
    rig.world.deleted.insert("a".into());
    rig.look();
    assert_eq!(rig.puts.last().unwrap().reason.as_deref(), Some("the agent was deleted"));
}

#[test]
fn what_is_switched_off_while_a_drain_lets_it_finish_has_no_more_time() {
    let drained = || {
        let mut rig = Rig::new(&["a", "b"], &[("m", &["a"], Running), ("n", &["b"], Running)]);
        let runs: Vec<u64> = rig.runs.keys().copied().collect();
        rig.board.drain(Duration::from_secs(10));
        rig.work();
        assert!(rig.hurried.is_empty());
        (rig, runs)
    };
    let (mut rig, runs) = drained();
    rig.board.switched_off("a", rig.now, rig.wall());
    rig.work();
    assert_eq!(rig.hurried, runs[..1], "the other one goes on");
    assert!(rig.puts.last().is_some_and(|r| r.agent_id == "a" && r.ended_at.is_some()));
    let left = rig.streams();
    assert_eq!(left.len(), 1);
    rig.board.kill(false, rig.now, rig.wall());
    rig.work();
    assert_eq!(rig.hurried, runs);
    // Somebody stops one for good.
    let (mut rig, runs) = drained();
    let id = rig.board.views(None, rig.now)[1].record.id.clone();
    rig.board.end(&id, "stopped by an operator", rig.now, rig.wall());
    rig.work();
    assert_eq!(rig.hurried, runs[1..]);
}

#[test]
fn a_wish_for_a_stream_that_shows_its_goodbye_is_told_to_come_again_and_not_that_a_switch_is_off() {
    let mut rig = Rig::new(&["a"], &[("m", &["a"], Running)]);
    let first = rig.only().record.id;
    rig.board.kill(false, rig.now, rig.wall());
    rig.work();
    assert_eq!(rig.only().state, StreamState::Ending);
    rig.look();
    let begun = |rig: &mut Rig| {
        let stopped = rig.board.wanted_again("a", "m");
        rig.look();
        rig.board.begun("a", "m", stopped, rig.now)
    };
    // The flag is on again before the goodbye is over.
    assert_eq!(begun(&mut rig), Err(StreamsError::Ending));
    assert_eq!(rig.board.begun("a", "m", true, rig.now), Err(StreamsError::Ending));
    assert!(!rig.board.wanted_again("a", "m"), "the next one begins by itself");
    rig.pass(2_000);
    let next = begun(&mut rig).unwrap().id;
    assert_ne!(next, first);
    // With the flag off, that is why.
    rig.board.kill(false, rig.now, rig.wall());
    rig.world.flag = false;
    let why = begun(&mut rig).unwrap_err();
    assert!(matches!(&why, StreamsError::Refused(words) if words.contains("flag")), "{why}");
    assert_eq!(rig.only().state, StreamState::Ending);
}
