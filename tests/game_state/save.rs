//! A saved reducer is the reducer.

use crate::make::Make;
use agentcast::game::*;
use proptest::prelude::*;

/// Events as they may arrive: in order, twice, early, late, lost, and some that are refused.
fn arrivals(seed: u64, count: u64) -> Vec<Event> {
    let mut make = Make::new(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut events = Vec::new();
    let start = Body::MatchStarted(Box::new(make.board()));
    events.push(Event { v: 1, match_id: "m".to_owned(), epoch: 1, seq: 1, ts: 5, vis: None, body: start });
    let (mut epoch, mut seq) = (1, 1);
    for _ in 0..count {
        seq += 1;
        if rng.u8(..40) == 0 {
            (epoch, seq) = (epoch + 1, rng.u64(..3));
        }
        let mut event = make.event(epoch, seq);
        if rng.u8(..8) == 0 {
            event.vis = Some(Visibility::Sides(["nobody".to_owned()].into()));
        }
        match rng.u8(..12) {
            0 => {}
            1 => events.extend([event.clone(), event]),
            2 if events.len() > 1 => events.insert(events.len() - rng.usize(1..events.len().min(4)), event),
            3 => {
                seq += rng.u64(..40);
                events.push(make.event(epoch, seq));
            }
            _ => events.push(event),
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restored_reducer_goes_on_exactly_as_the_saved_one(seed: u64) {
        let mut reducer = Reducer::default();
        let mut restored = Reducer::default();
        for event in arrivals(seed, 60) {
            prop_assert_eq!(reducer.apply(event.clone()), restored.apply(event));
            let saved = reducer.save();
            restored = Reducer::restore(&saved).unwrap();
            prop_assert!(restored.save() == saved, "what was saved differs");
            prop_assert_eq!(restored.state(), reducer.state());
            prop_assert_eq!(restored.position(), reducer.position());
            prop_assert_eq!(restored.held(), reducer.held());
            prop_assert_eq!(restored.counts(), reducer.counts());
            prop_assert_eq!(restored.needs_snapshot(), reducer.needs_snapshot());
        }
    }

    #[test]
    fn damaged_save_is_refused_or_read_but_never_panics(seed: u64, place: prop::sample::Index, byte: u8) {
        let mut reducer = Reducer::default();
        for event in arrivals(seed, 20) {
            let _ = reducer.apply(event);
        }
        let mut saved = reducer.save();
        let place = place.index(saved.len());
        saved[place] = byte;
        let _ = Reducer::restore(&saved);
        let _ = Reducer::restore(&saved[..place]);
    }
}

#[test]
fn save_of_a_newer_form_is_refused_by_its_number() {
    let saved = String::from_utf8(Reducer::default().save()).unwrap().replacen("\"form\":1", "\"form\":2", 1);
    assert_eq!(Reducer::restore(saved.as_bytes()).unwrap_err(), RestoreError::Form { found: 2 });
    let error = Reducer::restore(b"{\"form\":9,\"other\":[]}").unwrap_err();
    assert!(error.to_string().contains("form 9"), "{error}");
}

#[test]
fn joined_event_leaves_no_gap_and_a_refused_one_changes_nothing() {
    let mut make = Make::new(3);
    let mut reducer = Reducer::default();
    let event = |seq, body| Event { v: 1, match_id: "m".into(), epoch: 1, seq, ts: 9, vis: None, body };
    let marker = |label: &str| Body::Marker(wire::MarkerSet { label: label.into() });
    reducer.apply(event(1, Body::MatchStarted(Box::new(make.board())))).unwrap();
    assert_eq!(reducer.apply(event(4, marker("waits"))), Ok(Applied::Held));
    assert_eq!(reducer.apply_joined(2, event(3, marker("joined"))), Ok(Applied::Now(2)));
    assert_eq!(reducer.position(), (1, 4));

    let before = reducer.save();
    let long = "x".repeat(limits::TEXT_CHARS + 1);
    assert!(reducer.apply_joined(5, event(9, marker(&long))).is_err());
    assert!(reducer.save() == before, "no number is used up");
    assert_eq!(reducer.apply_joined(6, event(9, marker("too late"))), Ok(Applied::Held), "5 is missing");
    assert_eq!(reducer.apply_joined(2, event(4, marker("old"))), Ok(Applied::Old));
}

#[test]
fn reducer_that_lost_something_waits_for_a_snapshot() {
    let mut make = Make::new(5);
    let mut reducer = Reducer::default();
    let event = |seq, body| Event { v: 1, match_id: "m".into(), epoch: 1, seq, ts: 9, vis: None, body };
    reducer.apply(event(1, Body::MatchStarted(Box::new(make.board())))).unwrap();
    reducer.lose();
    let marker = Body::Marker(wire::MarkerSet { label: "x".into() });
    assert_eq!(reducer.apply(event(2, marker)), Ok(Applied::NeedSnapshot));
    assert_eq!(reducer.apply(event(3, Body::StateSnapshot(Box::new(make.board())))), Ok(Applied::Now(1)));
    assert!(!reducer.needs_snapshot());
}
