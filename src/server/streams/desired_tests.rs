use super::*;
use crate::server::streams::samples::{agent, destination, match_, room};

fn settings() -> StreamingConfig {
    StreamingConfig { price_per_output_hour: 6.0, ..crate::config::Config::default().streaming }
}

/// One agent `a` with one RTMP destination, and matches as given: (id, phase).
fn world(matches: &[(&str, MatchPhase)]) -> World {
    let candidate = Candidate { agent: agent("a"), destinations: vec![destination("d", "a")] };
    World {
        flag: true,
        agents: BTreeMap::from([("a".into(), candidate)]),
        matches: matches.iter().map(|(id, phase)| match_(id, &["a"], *phase)).collect(),
        ..World::default()
    }
}

fn there(stream: &str, match_id: &str, standing: Standing) -> There {
    There { stream: stream.into(), agent: "a".into(), match_id: match_id.into(), standing }
}

fn decide(world: &World, there: &[There]) -> Desired {
    desired(world, there, &BTreeSet::new(), |_| Spent::default(), &settings())
}

/// (stream, match) of each.
fn shown(desired: &Desired) -> Vec<(Option<&str>, &str)> {
    desired.streams.iter().map(|w| (w.stream.as_deref(), w.match_id.as_str())).collect()
}

use MatchPhase::{Over, Running, Waiting};
use Standing::{Free, Lingering, Playing};

#[test]
fn a_stream_is_wanted_exactly_while_a_match_of_an_agent_runs_and_all_switches_are_on() {
    let wanted = |world: &World| !decide(world, &[]).streams.is_empty();
    assert!(wanted(&world(&[("m", Running)])));
    for phase in [Waiting, Over, MatchPhase::Closed] {
        assert!(!wanted(&world(&[("m", phase)])), "{phase}");
    }
    assert!(!wanted(&World { flag: false, ..world(&[("m", Running)]) }), "the flag is off");
    assert!(!wanted(&World { agents: BTreeMap::new(), ..world(&[("m", Running)]) }), "the switch is off");
    let mut off = world(&[("m", Running)]);
    off.agents.get_mut("a").unwrap().destinations[0].enabled = false;
    assert!(!wanted(&off), "nowhere to send it");
    assert!(wanted(&World { by_itself: true, ..off }), "a preview shows it");
    let others = World { matches: vec![match_("m", &["b"], Running)], ..world(&[]) };
    assert!(!wanted(&others), "somebody else's match");
}

#[test]
fn what_is_switched_off_ends_what_runs_and_says_so() {
    let running = [there("s", "m", Playing)];
    let flag = decide(&World { flag: false, ..world(&[("m", Running)]) }, &running);
    assert_eq!(flag.end, [("s".into(), Reason::FlagOff)]);
    let switch = decide(&World { agents: BTreeMap::new(), ..world(&[("m", Running)]) }, &running);
    assert_eq!(switch.end, [("s".into(), Reason::SwitchOff)]);
    assert!(switch.refused.values().all(|r| r.to_string().contains("switch")));
    let gone = World { agents: BTreeMap::new(), deleted: BTreeSet::from(["a".into()]), ..world(&[("m", Running)]) };
    assert_eq!(decide(&gone, &running).end, [("s".into(), Reason::Deleted)]);
}

#[test]
fn a_stream_that_somebody_stopped_stays_off_for_that_match_only() {
    let stopped = BTreeSet::from([("a".to_owned(), "m1".to_owned())]);
    let both = world(&[("m1", Running), ("m2", Running)]);
    let out = desired(&both, &[], &stopped, |_| Spent::default(), &settings());
    assert_eq!(shown(&out), [(None, "m2")]);
    assert_eq!(out.refused[&("a".into(), "m1".into())], Refusal::Stopped);
}

#[test]
fn the_next_match_waits_for_the_result_and_then_goes_on_the_same_stream() {
    let w = world(&[("m1", Over), ("m2", Running)]);
    let lingering = decide(&w, &[there("s", "m1", Lingering)]);
    assert_eq!(shown(&lingering), [(Some("s"), "m1")]);
    assert_eq!(lingering.refused[&("a".into(), "m2".into())], Refusal::Busy("m1".into()));
    assert_eq!(shown(&decide(&w, &[there("s", "m1", Free)])), [(Some("s"), "m2")]);
    assert_eq!(shown(&decide(&world(&[("m1", Over)]), &[there("s", "m1", Free)])), [(Some("s"), "m1")]);
}

#[test]
fn a_stream_key_carries_one_match_at_a_time_and_a_room_several() {
    let mut w = world(&[("m1", Running), ("m2", Running)]);
    let out = decide(&w, &[]);
    assert_eq!(shown(&out), [(None, "m1")]);
    assert_eq!(out.refused[&("a".into(), "m2".into())], Refusal::Busy("m1".into()));
    w.agents.get_mut("a").unwrap().destinations.push(room("r", "a"));
    let out = decide(&w, &[there("s", "m2", Playing)]);
    assert_eq!(shown(&out), [(Some("s"), "m2"), (None, "m1")]);
    assert_eq!(out.streams[0].destinations, ["d", "r"], "the oldest stream has the key");
    assert_eq!(out.streams[1].destinations, ["r"]);
    w.agents.get_mut("a").unwrap().agent.limits.concurrent = Some(1);
    let out = decide(&w, &[there("s", "m2", Playing)]);
    assert_eq!(shown(&out), [(Some("s"), "m2")]);
    assert_eq!(out.refused[&("a".into(), "m1".into())], Refusal::Concurrent(1));
}

#[test]
fn minutes_and_budget_warn_at_80_percent_and_end_the_stream_at_100() {
    let minute = 60_000;
    let limits = |minutes, budget| AgentLimits { minutes_per_day: minutes, budget_per_month: budget, concurrent: None };
    for (limits, spent, warned, ended) in [
        (limits(Some(10), None), Spent { today_ms: 8 * minute - 1, ..Spent::default() }, false, false),
        (limits(Some(10), None), Spent { today_ms: 8 * minute, ..Spent::default() }, true, false),
        (limits(Some(10), None), Spent { today_ms: 10 * minute, ..Spent::default() }, true, true),
        // 6 an hour: 0.1 a minute.
        (limits(None, Some(1.0)), Spent { month_output_ms: 7 * minute, ..Spent::default() }, false, false),
        (limits(None, Some(1.0)), Spent { month_output_ms: 8 * minute, ..Spent::default() }, true, false),
        (limits(None, Some(1.0)), Spent { month_output_ms: 10 * minute, ..Spent::default() }, true, true),
        (limits(None, None), Spent { today_ms: i64::MAX / 2, month_output_ms: i64::MAX / 2 }, false, false),
    ] {
        assert_eq!(warning(&limits, spent, &settings()).is_some(), warned, "{limits:?} {spent:?}");
        assert_eq!(used_up(&limits, spent, &settings()).is_some(), ended, "{limits:?} {spent:?}");
        let mut w = world(&[("m", Running)]);
        w.agents.get_mut("a").unwrap().agent.limits = limits;
        let out = desired(&w, &[there("s", "m", Playing)], &BTreeSet::new(), |_| spent, &settings());
        assert_eq!(out.end.len(), usize::from(ended));
    }
    let free = StreamingConfig { price_per_output_hour: 0.0, ..settings() };
    let spent = Spent { month_output_ms: i64::MAX / 2, ..Spent::default() };
    assert_eq!(used_up(&limits(None, Some(1.0)), spent, &free), None, "without a price nothing costs");
}
