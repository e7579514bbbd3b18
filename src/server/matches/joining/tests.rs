use super::*;
use crate::game::limits::THOUGHT_CHARS;
use crate::server::matches::round::{Call, CallKind, Outcome, Round, Waiter};
use crate::server::matches::{FeedError, FeedReport};
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::oneshot;

fn event(seq: u64, kind: &str, data: Value) -> Event {
    let json = json!({"v": 1, "match": "m", "epoch": 1, "seq": seq, "ts": seq * 10, "type": kind, "data": data});
    Event::from_json(&json.to_string()).unwrap()
}

fn board(picture: &str) -> Value {
    json!({"sides": {"a": {"seat": 0}, "b": {"seat": 1}}, "zones": {
        "p": {"kind": "picture", "picture": picture}, "q": {"kind": "picture", "label": "pixels"},
        "t": {"kind": "text", "text": "plain"}}})
}

fn think(seq: u64, side: &str, id: &str, delta: &str, done: bool) -> Event {
    event(seq, "agent.thinking", json!({"side": side, "thoughtId": id, "delta": delta, "final": done}))
}

fn picture(seq: u64, zone: &str, picture: &str) -> Event {
    event(seq, "state.patch", json!({"zones": {zone: {"picture": picture}}}))
}

fn running() -> Reducer {
    let mut reducer = Reducer::default();
    reducer.apply(event(1, "match.started", board("first"))).unwrap();
    reducer
}

fn placed(events: Vec<Event>) -> Vec<(usize, Event)> {
    events.into_iter().enumerate().collect()
}

type Answers = Vec<Result<FeedReport, FeedError>>;

fn run(
    reducer: &Reducer,
    waiting: Option<(&mut Waiting, &[Joined])>,
    calls: Vec<Vec<Event>>,
) -> (Reducer, usize, Answers) {
    let mut round =
        Round { reducer: reducer.clone(), joined: Default::default(), waiters: Vec::new(), calls: Vec::new() };
    let mut heard = Vec::new();
    let mut ear = || {
        let (answer, ear) = oneshot::channel();
        heard.push(ear);
        answer
    };
    if let Some((waiting, joined)) = waiting {
        round.joined = waiting.take(reducer);
        for joined in joined {
            round.waiters.push(Waiter { fresh: joined.fresh, duplicates: joined.duplicates, answer: ear() });
        }
    }
    for events in calls {
        round.calls.push(Call { events: placed(events), kind: CallKind::Usual, answer: ear() });
    }
    let Outcome { reducer, lines, answers, .. } = round.run();
    (reducer, lines.len(), answers.into_iter().map(|(_, answer)| answer).collect())
}

/// The states are the same, but for arrivals that joining left out.
fn assert_same(joined: &Reducer, single: &Reducer) {
    let (mut a, mut b) = (joined.state().clone(), single.state().clone());
    for (side, thought) in &mut a.thoughts {
        let all = &mut b.thoughts.get_mut(side).expect("the same sides have thoughts").arrivals;
        assert!(thought.arrivals.iter().all(|arrival| all.contains(arrival)), "{:?} of {all:?}", thought.arrivals);
        assert_eq!(thought.arrivals.last(), all.last());
        thought.arrivals.clear();
        all.clear();
    }
    assert_eq!(a, b);
    assert_eq!(joined.position(), single.position());
    assert_eq!(joined.held(), single.held());
}

/// One event a step: what kind, whose, which text.
fn steps() -> impl Strategy<Value = Vec<(u8, bool, u8, u8, bool)>> {
    prop::collection::vec((0u8..10, any::<bool>(), 0u8..3, any::<u8>(), prop::bool::weighted(0.1)), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joined_events_come_to_the_same_state_as_the_events_one_by_one(steps in steps(), calls: u64) {
        let mut rng = fastrand::Rng::with_seed(calls);
        let mut events = Vec::new();
        for (seq, (kind, side, id, text, done)) in (2..).zip(steps) {
            let side = if side { "a" } else { "b" };
            events.push(match kind {
                0..=5 => think(seq, side, &format!("t{id}"), &format!("<{text}>"), done),
                6 | 7 => picture(seq, ["p", "q"][usize::from(done)], &format!("pic{text}")),
                8 => event(seq, "state.patch", json!({"zones": {"q": {"pixelated": done, "picture": null}}})),
                _ => event(seq, "state.snapshot", board(&format!("snap{text}"))),
            });
        }
        let (mut joined, mut single) = (running(), running());
        let (mut waiting, mut waits, mut lines) = (Waiting::default(), Vec::new(), 0);
        let mut next = 0;
        while next < events.len() {
            let end = (next + rng.usize(1..6)).min(events.len());
            // Some come twice.
            let begin = next.saturating_sub(rng.usize(..2));
            let call = events[begin..end].to_vec();
            next = end;
            prop_assert!(call.iter().all(can_wait));
            let (after, _, alone) = run(&single, None, vec![call.clone()]);
            prop_assert!(alone[0].is_ok(), "{:?}", alone);
            single = after;
            match waiting.join(waits.len(), placed(call.clone()), &joined) {
                Ok(report) => waits.push(report),
                Err(why) => {
                    prop_assert_eq!(why, CannotWait::Full);
                    let (after, n, _) = run(&joined, Some((&mut waiting, &waits)), vec![call]);
                    (joined, lines) = (after, lines + n);
                    waits.clear();
                }
            }
            if rng.u8(..6) == 0 && !waiting.is_empty() {
                let (after, n, answers) = run(&joined, Some((&mut waiting, &waits)), Vec::new());
                (joined, lines) = (after, lines + n);
                waits.clear();
                prop_assert!(answers.iter().all(Result::is_ok));
                assert_same(&joined, &single);
            }
        }
        let (joined, n, _) = run(&joined, Some((&mut waiting, &waits)), Vec::new());
        assert_same(&joined, &single);
        prop_assert!(lines + n <= events.len());
    }
}

fn join(waiting: &mut Waiting, reducer: &Reducer, events: Vec<Event>) -> Result<Joined, CannotWait> {
    waiting.join(0, placed(events), reducer)
}

#[test]
fn a_thousand_deltas_of_one_thought_come_to_one_event() {
    let (reducer, mut waiting) = (running(), Waiting::default());
    for seq in 2..1_002 {
        join(&mut waiting, &reducer, vec![think(seq, "a", "t", "word ", seq == 1_001)]).unwrap();
    }
    let waits = [Joined { fresh: 1_000, duplicates: 0 }];
    let (after, lines, answers) = run(&reducer, Some((&mut waiting, &waits)), Vec::new());
    assert_eq!((lines, after.position()), (1, (1, 1_001)));
    assert_eq!(answers[0].as_ref().unwrap().applied, 1_000);
    let thought = &after.state().thoughts["a"];
    assert_eq!((thought.text.len(), thought.done, thought.arrivals.len()), (5_000, true, 1));
}

#[test]
fn a_snapshot_replaces_the_patches_that_wait_and_keeps_the_thoughts() {
    let (reducer, mut waiting) = (running(), Waiting::default());
    for seq in (2..400).step_by(3) {
        let three = vec![
            think(seq, "a", "t", ".", false),
            picture(seq + 1, "p", &format!("frame{seq}")),
            event(seq + 2, "state.snapshot", board(&format!("board{seq}"))),
        ];
        join(&mut waiting, &reducer, three).unwrap();
    }
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting.originals.iter().filter(|o| !matches!(o.item.event.body, Body::AgentThinking(_))).count(), 1);
    let (after, lines, _) = run(&reducer, Some((&mut waiting, &[Joined::default()])), Vec::new());
    assert_eq!((lines, after.position()), (2, (1, 400)));
    assert_eq!(after.state().thoughts["a"].text.len(), 133);
    let ZoneContent::Picture(zone) = &after.state().board.zones["p"].content else { panic!() };
    assert_eq!(zone.picture.as_ref().unwrap().0, "board398");
}

#[test]
fn joined_events_that_would_be_refused_are_told_apart_and_the_others_count() {
    let (reducer, mut waiting) = (running(), Waiting::default());
    let long = "x".repeat(THOUGHT_CHARS - 1);
    let deltas = [long.as_str(), "yy", "z"];
    for (call, delta) in deltas.into_iter().enumerate() {
        waiting.join(call, placed(vec![think(call as u64 + 2, "a", "t", delta, false)]), &reducer).unwrap();
    }
    let waits = [Joined { fresh: 1, duplicates: 0 }; 3];
    let (after, _, answers) = run(&reducer, Some((&mut waiting, &waits)), Vec::new());
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let Err(FeedError::Event { index: 0, field, limit: Some(16_384), .. }) = &answers[1] else { panic!("{answers:?}") };
    assert_eq!(field, "data.delta");
    assert!(after.state().thoughts["a"].text.ends_with("xz"));
    assert_eq!(after.position(), (1, 4), "the refused one holds nothing up");
}

#[test]
fn what_others_build_on_and_what_does_not_follow_cannot_wait() {
    let reducer = running();
    let text = event(2, "state.patch", json!({"zones": {"t": {"text": "new"}}}));
    let more = event(2, "state.patch", json!({"zones": {"p": {"picture": "x"}}, "round": "2"}));
    for never in [text, more, event(2, "feed", json!({"text": "hello"})), event(2, "match.started", board("x"))] {
        assert!(!can_wait(&never), "{}", never.to_json());
    }
    let cells = vec![json!({}); 4_096];
    let large = event(
        2,
        "state.snapshot",
        json!({"sides": {"a": {"seat": 0}}, "zones": {"g": {"kind": "grid", "cells": cells}}}),
    );
    assert!(can_wait(&event(2, "state.snapshot", board("x"))) && !can_wait(&large), "a large board costs too much");
    let full = |events| {
        let mut waiting = Waiting::default();
        assert_eq!(join(&mut waiting, &reducer, events), Err(CannotWait::Full));
        assert!(waiting.is_empty());
    };
    full(vec![think(3, "a", "t", "after a gap", false)]);
    full(vec![think(2, "a", "t", "", false), think(4, "a", "t", "", false)]);
    // Of the right form, but the zone is none of pictures: the patch makes something else of it.
    full(vec![event(2, "state.patch", json!({"zones": {"t": {"kind": "picture", "picture": "x"}}}))]);
    full(vec![picture(2, "new", "x")]);
    full((2..2_000).map(|seq| think(seq, "a", "t", ".", false)).collect());
    full((2..100).map(|seq| think(seq, "a", &format!("t{seq}"), ".", false)).collect());

    // A snapshot may jump a gap, by itself.
    let mut waiting = Waiting::default();
    join(&mut waiting, &reducer, vec![event(9, "state.snapshot", board("nine"))]).unwrap();
    assert_eq!(join(&mut waiting, &reducer, vec![think(10, "a", "t", "x", false)]), Err(CannotWait::Full));
    join(&mut waiting, &reducer, vec![event(12, "state.snapshot", board("twelve"))]).unwrap();
    let (after, lines, _) = run(&reducer, Some((&mut waiting, &[Joined::default()])), Vec::new());
    assert_eq!((lines, after.position()), (1, (1, 12)));
}

#[test]
fn a_snapshot_that_would_be_refused_replaces_nothing() {
    let (reducer, mut waiting) = (running(), Waiting::default());
    join(&mut waiting, &reducer, vec![picture(2, "p", "kept")]).unwrap();
    let bad = event(3, "state.snapshot", json!({"sides": {}}));
    let error = join(&mut waiting, &reducer, vec![bad]).unwrap_err();
    assert!(matches!(error, CannotWait::Refused { index: 0, .. }), "{error:?}");
    assert_eq!((waiting.len(), waiting.last), (1, Some((1, 2))));
}
