//! The wire format: what is read, how it is written, what an error says.

use super::make::Make;
use agentcast::game::*;
use proptest::prelude::*;

const REFERENCE: &str = include_str!("../../src/game/wire.rs");

fn examples() -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in REFERENCE.lines().take_while(|l| l.starts_with("//!")) {
        let line = line.trim_start_matches("//!").trim_start();
        match &mut block {
            None if line == "```json" => block = Some(String::new()),
            None => {}
            Some(_) if line == "```" => found.extend(block.take()),
            Some(json) => json.push_str(line),
        }
    }
    found
}

#[test]
fn examples_of_the_reference_apply_one_after_the_other() {
    let examples = examples();
    let (envelope, run) = examples.split_first().expect("the reference has examples");
    Event::from_json(envelope).unwrap();
    let mut reducer = Reducer::default();
    let mut kinds = std::collections::BTreeSet::new();
    for json in run {
        let event = Event::from_json(json).unwrap_or_else(|e| panic!("{e}: {json}"));
        assert!(!matches!(event.body, Body::Unknown(_)), "{json}");
        kinds.insert(event.body.kind().to_owned());
        assert_eq!(reducer.apply(event), Ok(Applied::Now(1)), "{json}");
    }
    assert_eq!(kinds.len(), 12, "every type has an example");
    let state = reducer.state();
    assert_eq!(state.board.sides["o"].status, SideStatus::Winner);
    assert_eq!(state.thoughts["o"].text, "The corner is free, ");
    assert_eq!(View::Spectator.filter(state), *state, "the reference shows what the audience sees");
}

/// A `match.started` with one more thing in `data`.
fn started(more: &str) -> String {
    let base = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5,"type":"match.started","data":{"#;
    format!("{base}{more}}}}}")
}

#[test]
fn wrong_form_names_the_field_and_what_was_expected() {
    let zone = |z: &str| started(&format!(r#""zones":{{"board":{z}}}"#));
    for (json, error) in [
        ("[]".to_owned(), "event: expected an object"),
        (r#"{"match":"m"}"#.to_owned(), "v: missing, expected 1"),
        (r#"{"v":2,"kind":"?"}"#.to_owned(), "v: 2 is not supported, expected 1"),
        (r#"{"v":"1"}"#.to_owned(), "v: expected a whole number, 0 or more"),
        (r#"{"v":1,"match":"m","epoch":1,"seq":-1}"#.to_owned(), "seq: expected a whole number, 0 or more"),
        (r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5}"#.to_owned(), "event: missing field `type`"),
        (
            r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5,"type":"feed","vis":"everyone"}"#.to_owned(),
            "vis: expected \"public\" or a list of side ids",
        ),
        (r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5,"type":"feed"}"#.to_owned(), "data: expected an object"),
        (started(r#""sides":{"white":{"seat":300}}"#), "data.sides.white.seat: expected a whole number from 0 to 255"),
        (
            started(r#""sides":{"a.b":{"status":"asleep"}}"#),
            "data.sides[\"a.b\"].status: expected one of `active`, `thinking`, `timeout`, \
             `invalid`, `error`, `disconnected`, `eliminated`, `winner`",
        ),
        (started(r#""phase":{"active":["a",7]}"#), "data.phase.active[1]: expected a string"),
        (zone(r#"{"cols":3}"#), "data.zones.board: missing field `kind`"),
        (zone(r#"{"kind":"dice"}"#), "data.zones.board.kind: expected one of `grid`, `cards`, `text`, `picture`"),
        (
            zone(r#"{"kind":"grid","cells":[{"x":0},{"x":1.5}]}"#),
            "data.zones.board.cells[1].x: expected a whole number from 0 to 65,535",
        ),
        (
            zone(r#"{"kind":"grid","bodies":[{"cells":[[1,2],[3]]}]}"#),
            "data.zones.board.bodies[0].cells[1]: expected a list of 2",
        ),
        (
            zone(r#"{"kind":"cards","items":[{"vis":3}]}"#),
            "data.zones.board.items[0].vis: expected \"public\" or a list of side ids",
        ),
    ] {
        assert_eq!(Event::from_json(&json).unwrap_err().to_string(), error, "{json}");
    }
}

#[test]
fn text_that_is_not_json_says_where() {
    let error = Event::from_json("{\"v\":1,").unwrap_err().to_string();
    assert_eq!(error, "not JSON: EOF while parsing a value at line 1 column 7");
}

#[test]
fn event_over_the_size_limit_is_refused_unread() {
    let long = "x".repeat(limits::EVENT_BYTES + 1);
    let error = Event::from_json(&long).unwrap_err();
    assert_eq!(error.to_string(), "event has 1048577 bytes, the limit is 1048576");
}

#[test]
fn error_does_not_repeat_a_long_input() {
    let json = started(&format!(r#""sides":{{"a":{{"seat":"{}"}}}}"#, "9".repeat(100_000)));
    assert!(Event::from_json(&json).unwrap_err().to_string().len() < 400);
}

#[test]
fn unknown_type_and_unknown_fields_are_read_past() {
    let json = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5,"type":"weather","data":3,"extra":{}}"#;
    assert_eq!(Event::from_json(json).unwrap().body, Body::Unknown("weather".to_owned()));
    let json = started(r#""sides":{"a":{"seat":1,"shoeSize":44}},"zones":{"t":{"kind":"text","glow":1}}"#);
    let Body::MatchStarted(board) = Event::from_json(&json).unwrap().body else { panic!("started") };
    assert_eq!(board.sides["a"].seat, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn event_written_and_read_is_the_same(seed: u64, epoch: u64, seq: u64) {
        let mut make = Make::new(seed);
        make.odd = true;
        let event = make.event(epoch, seq);
        prop_assert_eq!(Event::from_json(&event.to_json()), Ok(event));
    }
}
