//! Which event is next, which waits, and when only a snapshot helps.

use agentcast::game::wire::FeedLine;
use agentcast::game::*;
use serde_json::json;

fn event(epoch: u64, seq: u64, body: Body) -> Event {
    Event { v: 1, match_id: "m".to_owned(), epoch, seq, ts: 1_000 + seq as i64, vis: None, body }
}

fn board(title: &str) -> Box<Snapshot> {
    let board = json!({ "title": title, "sides": { "a": { "seat": 0 }, "b": { "seat": 1 } } });
    Box::new(serde_json::from_value(board).expect("a board"))
}

fn started(epoch: u64, seq: u64) -> Event {
    event(epoch, seq, Body::MatchStarted(board("started")))
}

fn snapshot(epoch: u64, seq: u64) -> Event {
    event(epoch, seq, Body::StateSnapshot(board("snapshot")))
}

fn feed(epoch: u64, seq: u64) -> Event {
    event(epoch, seq, Body::Feed(FeedLine { text: format!("{seq}"), ..FeedLine::default() }))
}

fn patch(epoch: u64, seq: u64, patch: serde_json::Value) -> Event {
    event(epoch, seq, Body::StatePatch(patch))
}

fn running() -> Reducer {
    let mut reducer = Reducer::default();
    assert_eq!(reducer.apply(started(1, 1)), Ok(Applied::Now(1)));
    reducer
}

fn lines(reducer: &Reducer) -> Vec<&str> {
    reducer.state().feed.iter().map(|item| item.text.as_str()).collect()
}

#[test]
fn late_event_lets_those_held_for_it_through_in_order() {
    let mut r = running();
    assert_eq!(r.apply(feed(1, 4)), Ok(Applied::Held));
    assert_eq!(r.apply(feed(1, 3)), Ok(Applied::Held));
    assert_eq!(r.apply(feed(1, 4)), Ok(Applied::Old), "the same again");
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::Now(3)));
    assert_eq!(lines(&r), ["2", "3", "4"]);
    assert_eq!(r.apply(feed(1, 4)), Ok(Applied::Old));
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::Old));
    let counts = r.counts();
    assert_eq!((counts.applied, counts.duplicates, counts.old), (4, 2, 1));
}

#[test]
fn gap_that_stays_open_needs_a_snapshot_and_goes_on_from_it() {
    let mut r = running();
    for seq in 3..3 + limits::REORDER_WINDOW as u64 {
        assert_eq!(r.apply(feed(1, seq)), Ok(Applied::Held));
    }
    assert_eq!(r.apply(feed(1, 35)), Ok(Applied::NeedSnapshot));
    assert!(r.needs_snapshot());
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::NeedSnapshot), "too late");
    assert_eq!(lines(&r), [""; 0]);
    assert_eq!(r.apply(snapshot(1, 33)), Ok(Applied::Now(3)), "34 and 35 waited");
    assert!(!r.needs_snapshot());
    assert_eq!(lines(&r), ["34", "35"]);
    assert_eq!(r.counts().losses, 1);
    assert_eq!(r.apply(feed(1, 36)), Ok(Applied::Now(1)));
}

#[test]
fn event_far_ahead_needs_a_snapshot_at_once() {
    let mut r = running();
    assert_eq!(r.apply(feed(1, u64::MAX)), Ok(Applied::NeedSnapshot));
    assert_eq!(r.apply(snapshot(1, 5)), Ok(Applied::Now(1)));
    assert_eq!(r.held(), 0, "what is far ahead of the snapshot does not take up the window");
    assert_eq!(r.apply(feed(1, 6)), Ok(Applied::Now(1)));
}

#[test]
fn nothing_before_the_first_board_is_applied_but_it_may_follow_it() {
    let mut r = Reducer::default();
    assert!(r.needs_snapshot());
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::NeedSnapshot));
    assert_eq!(*r.state(), MatchState::default());
    assert_eq!(r.apply(started(1, 1)), Ok(Applied::Now(2)));
    assert_eq!(lines(&r), ["2"]);
}

#[test]
fn new_epoch_begins_with_a_board_and_makes_the_old_one_old() {
    let mut r = running();
    assert_eq!(r.apply(feed(2, 8)), Ok(Applied::Held));
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::Now(1)), "the old epoch goes on meanwhile");
    assert_eq!(r.apply(snapshot(2, 7)), Ok(Applied::Now(2)));
    assert_eq!(lines(&r), ["2", "8"], "the feed goes on over a restart");
    assert_eq!(r.apply(feed(1, 3)), Ok(Applied::Old));
    assert_eq!(r.apply(started(1, 900)), Ok(Applied::Old));
}

#[test]
fn newer_started_of_another_match_replaces_and_all_else_of_it_is_refused() {
    let mut r = running();
    r.apply(feed(1, 2)).unwrap();
    let other = |mut event: Event| {
        event.match_id = "next".to_owned();
        event
    };
    for stray in [feed(1, 3), snapshot(2, 1), started(1, 2)] {
        let error = r.apply(other(stray)).unwrap_err().to_string();
        assert!(error.starts_with("match: "), "{error}");
    }
    assert_eq!(lines(&r), ["2"]);
    assert_eq!(r.apply(other(started(2, 1))), Ok(Applied::Now(1)));
    assert_eq!((r.state().match_id.as_str(), r.state().feed.len()), ("next", 0));
    let error = r.apply(feed(1, 3)).unwrap_err().to_string();
    assert_eq!(error, "match: not the match running, and only a match.started begins another");
}

#[test]
fn unknown_type_is_counted_and_leaves_no_gap() {
    let mut r = running();
    assert_eq!(r.apply(event(1, 2, Body::Unknown("weather".to_owned()))), Ok(Applied::Ignored));
    assert_eq!(r.apply(feed(1, 4)), Ok(Applied::Held));
    assert_eq!(r.apply(event(1, 3, Body::Unknown("weather".to_owned()))), Ok(Applied::Now(1)));
    assert_eq!(r.counts().unknown, 2);
}

#[test]
fn refused_feed_line_holds_nothing_up_and_its_number_stays_free_until_a_later_event_comes() {
    let mut r = running();
    let before = r.state().clone();
    let long = FeedLine { text: "x".repeat(501), ..FeedLine::default() };
    let error = r.apply(event(1, 2, Body::Feed(long))).unwrap_err();
    assert_eq!(error.to_string(), "data.text has 501, the limit is 500");
    assert_eq!((r.state(), r.position(), r.next()), (&before, (1, 1), 2..=3));
    let mut corrected = r.clone();
    assert_eq!(corrected.apply(feed(1, 2)), Ok(Applied::Now(1)));
    assert_eq!((lines(&corrected), corrected.next()), (vec!["2"], 3..=3));
    // Another refusal, then on.
    assert!(r.apply(event(1, 3, Body::Feed(FeedLine { importance: 101, ..FeedLine::default() }))).is_err());
    assert_eq!(r.next(), 2..=4);
    let restored = Reducer::restore(&r.save()).unwrap();
    assert_eq!((restored.position(), restored.next()), ((1, 1), 2..=4));
    assert_eq!(r.apply(feed(1, 6)), Ok(Applied::Held), "4 and 5 are not there yet");
    assert_eq!(r.apply(feed(1, 3)), Ok(Applied::Now(1)), "the second one corrected, the first one left out");
    assert_eq!(r.next(), 4..=4);
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::Old));
    assert_eq!(r.apply(feed(1, 5)), Ok(Applied::Held));
    assert_eq!(r.apply(feed(1, 4)), Ok(Applied::Now(3)));
    assert_eq!(lines(&r), ["3", "4", "5", "6"]);
}

#[test]
fn refused_event_lets_those_by_that_waited_for_it() {
    let mut r = running();
    assert_eq!(r.apply(feed(1, 3)), Ok(Applied::Held));
    let long = FeedLine { text: "x".repeat(501), ..FeedLine::default() };
    assert!(r.apply(event(1, 2, Body::Feed(long))).is_err());
    assert_eq!((r.position(), lines(&r), r.held()), ((1, 3), vec!["3"], 0));
}

#[test]
fn refused_patch_leaves_a_gap_that_its_correction_closes() {
    let mut r = running();
    assert!(r.apply(patch(1, 2, json!({ "sides": null }))).is_err());
    assert_eq!(r.apply(patch(1, 3, json!({ "round": "final" }))), Ok(Applied::Held));
    assert_eq!(r.apply(patch(1, 2, json!({ "title": "corrected" }))), Ok(Applied::Now(2)));
    assert_eq!((r.state().board.title.as_str(), r.state().board.round.as_str()), ("corrected", "final"));
}

#[test]
fn refusal_of_an_event_that_waited_can_be_learnt_later() {
    let mut r = running();
    assert_eq!(r.apply(patch(1, 3, json!({ "phase": { "active": ["nobody"] } }))), Ok(Applied::Held));
    assert_eq!(r.apply(feed(1, 2)), Ok(Applied::Now(1)));
    let (epoch, seq, error) = r.last_refusal().expect("one was refused");
    assert_eq!((epoch, seq), (1, 3));
    assert_eq!(error.to_string(), "data.phase.active[0]: there is no side \"nobody\"");
}

#[test]
fn events_that_wait_are_bounded_in_bytes() {
    let mut r = running();
    let big = "x".repeat(1_000_000);
    let answers: Vec<_> =
        (3..9).map(|seq| r.apply(patch(1, seq, json!({ "unknown": big }))).expect("has the form of a patch")).collect();
    assert_eq!(answers[..4], [Applied::Held; 4]);
    assert_eq!(answers[4..], [Applied::NeedSnapshot; 2]);
    assert_eq!(r.held(), 4);
}
