//! Whatever arrives: nothing panics, what is refused leaves no trace, and what is accepted is a valid match.

use super::make::Make;
use agentcast::game::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Something that does not belong there.
fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u8..12).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(""), Just("a"), Just("b"), Just("zz"), Just("public"), Just("grid"), Just("text"), Just("ok")]
            .prop_map(Value::from),
        (0usize..20_000).prop_map(|n| Value::from("é".repeat(n))),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            (inner.clone(), 0usize..600)
                .prop_map(|(v, n)| Value::from(vec![v; n.min(if v_is_big(n) { 8 } else { n })])),
            prop::collection::btree_map("[a-z]{1,4}|sides|zones|seat|kind|vis|cells|items", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Keeps long lists rare, so that the cases stay fast.
fn v_is_big(n: usize) -> bool {
    n % 7 != 0
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum::<usize>(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Replaces the `n`-th node.
fn replace(value: &mut Value, n: &mut usize, with: &Value) {
    if *n == 0 {
        *value = with.clone();
    }
    *n = n.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|v| replace(v, n, with)),
        Value::Object(map) => map.values_mut().for_each(|v| replace(v, n, with)),
        _ => {}
    }
}

/// The board of a valid match is a valid snapshot.
fn assert_valid(state: &MatchState) {
    let board = Body::StateSnapshot(Box::new(state.board.clone()));
    let event = Event { v: 1, match_id: "m".to_owned(), epoch: 9, seq: 1, ts: 1, vis: None, body: board };
    apply(&mut MatchState::default(), &event).expect("what was accepted is valid");
    assert!(state.thoughts.keys().chain(state.actions.keys()).all(|side| state.board.sides.contains_key(side)));
    assert!(state.feed.len() <= limits::FEED);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn event_with_junk_in_it_is_refused_whole_or_leaves_a_valid_match(seed: u64, place: prop::sample::Index, with in junk()) {
        let mut make = Make::new(seed);
        let before = make.state(3);
        let mut json = serde_json::to_value(make.event(1, 5)).unwrap();
        let mut n = place.index(count(&json["data"]));
        replace(&mut json["data"], &mut n, &with);
        if let Ok(event) = Event::from_json(&json.to_string()) {
            let mut after = before.clone();
            match apply(&mut after, &event) {
                Err(_) => prop_assert_eq!(after, before),
                Ok(()) => assert_valid(&after),
            }
        }
    }

    #[test]
    fn any_json_as_data_panics_nowhere(with in junk(), kind in 0usize..12) {
        let kinds = ["match.started", "match.ended", "state.snapshot", "state.patch", "turn.started", "agent.thinking",
            "action.decided", "feed", "eval", "series", "scene.set", "marker"];
        let mut reducer = Reducer::default();
        let start = Body::MatchStarted(Box::new(Make::new(7).board()));
        reducer.apply(Event { v: 1, match_id: "m".into(), epoch: 1, seq: 1, ts: 1, vis: None, body: start }).unwrap();
        let before = reducer.state().clone();
        for data in [with.clone(), json!({ "side": "a", "thoughtId": "t", "delta": with, "text": with, "sides": with, "zones": with })] {
            let seq = reducer.state().seq + 1;
            let json = json!({ "v": 1, "match": "m", "epoch": 1, "seq": seq, "ts": 2, "type": kinds[kind], "data": data });
            if let Ok(event) = Event::from_json(&json.to_string())
                && reducer.apply(event).is_err()
            {
                prop_assert_eq!(reducer.state().seq, seq - 1);
            }
        }
        assert_valid(reducer.state());
        if reducer.state().seq == 1 {
            prop_assert_eq!(reducer.state(), &before);
        }
    }

    #[test]
    fn any_text_is_an_event_or_an_error(text in ".{0,200}") {
        let _ = Event::from_json(&text);
    }
}
