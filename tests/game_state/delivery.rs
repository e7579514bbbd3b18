//! Events that are shuffled, lost and doubled on their way lead to states that the clean run had too.

use agentcast::game::wire::{ActionDecided, AgentThinking, FeedLine, MarkerSet, SceneSet, TurnStarted};
use agentcast::game::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Started(u8),
    Snapshot(u8),
    /// The server restarts: a new epoch, from any number on.
    Restart(u8, u64),
    Patch(u8, u8),
    Turn(u8),
    Think(bool, u8, bool),
    Act(bool, u8),
    Feed,
    Eval(u8),
    Series(u8),
    Ended(bool),
    Scene,
    Marker,
    Unknown,
}

/// What neither skips ahead nor starts over.
fn step() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..5, any::<u8>()).prop_map(|(kind, n)| Op::Patch(kind, n)),
        2 => any::<u8>().prop_map(Op::Turn),
        4 => (any::<bool>(), 0u8..3, prop::bool::weighted(0.2)).prop_map(|(side, id, done)| Op::Think(side, id, done)),
        2 => (any::<bool>(), 0u8..4).prop_map(|(side, status)| Op::Act(side, status)),
        1 => Just(Op::Feed),
        1 => any::<u8>().prop_map(Op::Eval),
        1 => any::<u8>().prop_map(Op::Series),
        1 => any::<bool>().prop_map(Op::Ended),
        1 => Just(Op::Scene),
        1 => Just(Op::Marker),
        1 => Just(Op::Unknown),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        9 => step(),
        1 => any::<u8>().prop_map(Op::Snapshot),
        1 => prop_oneof![
            any::<u8>().prop_map(Op::Started),
            (any::<u8>(), 0u64..50).prop_map(|(n, seq)| Op::Restart(n, seq)),
        ],
    ]
}

fn board(n: u8) -> Box<Snapshot> {
    let board = json!({
        "title": format!("board {n}"),
        "sides": {
            "a": { "seat": 0, "clock": { "ms": 1000 * i64::from(n), "running": n.is_multiple_of(2) } },
            "b": { "seat": 1, "status": if n.is_multiple_of(5) { "timeout" } else { "active" } },
        },
        "zones": { "board": { "kind": "grid", "cols": 8, "rows": 8, "cells": [{ "x": n % 8, "y": 1, "label": "N" }] } },
        "eval": if n.is_multiple_of(3) { json!({ "shares": { "a": 0.5 } }) } else { json!(null) },
    });
    serde_json::from_value(board).expect("a board")
}

fn event(op: &Op, seq: u64) -> (Body, Option<Visibility>) {
    let side = |a: bool| if a { "a" } else { "b" }.to_owned();
    let body = match op {
        Op::Started(n) => Body::MatchStarted(board(*n)),
        Op::Snapshot(n) | Op::Restart(n, _) => Body::StateSnapshot(board(*n)),
        Op::Patch(0, n) => Body::StatePatch(json!({ "sides": { "a": { "score": n } } })),
        Op::Patch(1, n) => Body::StatePatch(json!({ "zones": { "board": { "cells": [{ "x": n % 8, "y": 2 }] } } })),
        Op::Patch(2, n) => Body::StatePatch(json!({ "zones": { "note": { "kind": "text", "text": n.to_string() } } })),
        Op::Patch(3, _) => Body::StatePatch(json!({ "zones": { "note": null }, "eval": null, "result": null })),
        Op::Patch(_, n) => {
            Body::StatePatch(json!({ "sides": { "b": { "clock": { "running": n.is_multiple_of(2) } } } }))
        }
        Op::Turn(n) => {
            let clocks = BTreeMap::from([(side(n.is_multiple_of(2)), Clock { running: true, ..Clock::default() })]);
            let active = [side(n.is_multiple_of(3))].into();
            Body::TurnStarted(TurnStarted { turn: u32::from(*n), active, clocks, ..TurnStarted::default() })
        }
        Op::Think(a, id, done) => {
            let (delta, thought_id) = (format!("<{seq}>"), format!("t{id}"));
            Body::AgentThinking(AgentThinking { side: side(*a), thought_id, delta, done: *done })
        }
        Op::Act(a, status) => {
            use ActionStatus::*;
            let status = [Ok, Timeout, Invalid, Error][usize::from(*status)];
            Body::ActionDecided(ActionDecided { side: side(*a), status, ..ActionDecided::default() })
        }
        Op::Feed => Body::Feed(FeedLine { text: format!("line {seq}"), ..FeedLine::default() }),
        Op::Eval(n) => {
            let shares = BTreeMap::from([("a".to_owned(), f64::from(*n) / 255.0)]);
            Body::Eval(Eval { shares, ..Eval::default() })
        }
        Op::Series(n) => Body::Series(Series { game: u16::from(n % 9), ..Series::default() }),
        Op::Ended(a) => Body::MatchEnded(MatchResult { winners: vec![side(*a)], ..MatchResult::default() }),
        Op::Scene => Body::SceneSet(SceneSet { scene: Some(Scene::Live) }),
        Op::Marker => Body::Marker(MarkerSet { label: format!("mark {seq}") }),
        Op::Unknown => Body::Unknown("weather".to_owned()),
    };
    let vis = matches!(op, Op::Think(..) | Op::Feed).then_some(Visibility::Public);
    (body, vis)
}

/// The events of a run, and the state after each by epoch and number. Ends with a snapshot.
fn clean_run(ops: &[Op]) -> (Vec<Event>, BTreeMap<(u64, u64), MatchState>) {
    let (mut epoch, mut seq) = (1, 0);
    let mut reducer = Reducer::default();
    let (mut events, mut states) = (Vec::new(), BTreeMap::new());
    for op in [Op::Started(1)].iter().chain(ops).chain(&[Op::Snapshot(99)]) {
        seq += 1;
        if let Op::Restart(_, from) = op {
            (epoch, seq) = (epoch + 1, *from);
        }
        let (body, vis) = event(op, seq);
        let ts = 1_000 * (events.len() as i64 + 1);
        let event = Event { v: 1, match_id: "m".to_owned(), epoch, seq, ts, vis, body };
        reducer.apply(event.clone()).expect("a clean run has no errors");
        events.push(event);
        states.insert((epoch, seq), reducer.state().clone());
    }
    (events, states)
}

/// What happens to one event on its way: how much later it arrives (in events), whether not at all, and when again.
#[derive(Clone, Debug)]
struct Fate {
    late: usize,
    lost: bool,
    again: Option<usize>,
}

fn fate(late: usize, lost: f64) -> impl Strategy<Value = Fate> {
    (0..late, prop::bool::weighted(lost), prop::option::weighted(0.15, 0..late * 2))
        .prop_map(|(late, lost, again)| Fate { late, lost, again })
}

/// Events in the order in which they arrive.
fn delivered(events: &[Event], fates: &[Fate]) -> Vec<Event> {
    let mut arrivals = Vec::new();
    for (i, event) in events.iter().enumerate() {
        let Some(fate) = fates.get(i) else {
            arrivals.push((i, event));
            continue;
        };
        if !fate.lost {
            arrivals.push((i + fate.late, event));
        }
        arrivals.extend(fate.again.filter(|_| !fate.lost).map(|again| (i + fate.late + again, event)));
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals.into_iter().map(|(_, event)| event.clone()).collect()
}

/// A run, and fates for all its events: gentle within the window, rough beyond it.
fn rough_run() -> impl Strategy<Value = (Vec<Op>, Vec<Fate>)> {
    (1usize..50).prop_flat_map(|n| {
        let fates = prop_oneof![
            prop::collection::vec(fate(8, 0.0), n + 1),
            prop::collection::vec(fate(8, 0.05), n + 1),
            prop::collection::vec(fate(60, 0.2), n + 1),
            prop::collection::vec(fate(1, 0.7), n + 1),
        ];
        (prop::collection::vec(any_op(), n), fates)
    })
}

fn gentle_run() -> impl Strategy<Value = (Vec<Op>, Vec<Fate>)> {
    (1usize..60).prop_flat_map(|n| {
        let fates = prop::collection::vec(fate(limits::REORDER_WINDOW, 0.0), n + 1);
        (prop::collection::vec(step(), n), fates)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rough_delivery_shows_only_states_of_the_clean_run_and_ends_on_its_last((ops, fates) in rough_run()) {
        let (events, clean) = clean_run(&ops);
        let last = events.last().expect("has events").clone();
        let mut reducer = Reducer::default();
        let mut newest = None;
        for event in delivered(&events[..events.len() - 1], &fates).into_iter().chain([last.clone()]) {
            let key = (event.epoch, event.seq);
            let whole = matches!(event.body, Body::MatchStarted(_) | Body::StateSnapshot(_));
            let newer = newest < Some(key);
            reducer.apply(event).expect("only order and completeness were hurt");
            let state = reducer.state();
            prop_assert!(reducer.held() <= limits::REORDER_WINDOW);
            if !state.started {
                continue;
            }
            let now = (state.epoch, state.seq);
            prop_assert!(newest <= Some(now), "went back");
            newest = Some(now);
            if whole && newer {
                prop_assert!(now >= key && !reducer.needs_snapshot(), "a newer snapshot applies at once");
            }
            let then = &clean[&now];
            prop_assert_eq!(&state.board, &then.board);
            prop_assert_eq!(state.ts, then.ts);
            for (side, thought) in state.thoughts.iter().filter(|(_, t)| !t.done) {
                let whole = &then.thoughts[side];
                prop_assert_eq!(&whole.id, &thought.id);
                prop_assert!(whole.text.ends_with(&thought.text), "{:?} is torn from {:?}", thought.text, whole.text);
            }
        }
        prop_assert_eq!(&reducer.state().board, &clean[&(last.epoch, last.seq)].board);
        prop_assert_eq!(reducer.held(), 0);
    }

    #[test]
    fn shuffled_and_doubled_within_the_window_loses_nothing((ops, fates) in gentle_run()) {
        let (events, clean) = clean_run(&ops);
        let (last, run) = events.split_last().expect("has events");
        let mut reducer = Reducer::default();
        for event in delivered(run, &fates) {
            reducer.apply(event).expect("only order was hurt");
        }
        let before_last = clean.values().rev().nth(1).expect("two events at least");
        prop_assert_eq!(reducer.state(), before_last);
        prop_assert_eq!(reducer.counts().losses, 0);
        reducer.apply(last.clone()).expect("a snapshot");
        prop_assert_eq!(Some(reducer.state()), clean.values().last());
    }
}
