//! What each event does, and which are refused.

use agentcast::game::*;
use serde_json::{Value, json};

/// A match in which time passes: event `n` happens at `1000 × n`.
struct Match {
    state: MatchState,
}

impl Match {
    fn new(board: Value) -> Match {
        let mut it = Match { state: MatchState::default() };
        it.does("match.started", board);
        it
    }

    fn duel() -> Match {
        Match::new(
            json!({ "sides": { "a": { "seat": 0, "clock": { "ms": 60_000, "running": true } }, "b": { "seat": 1 } } }),
        )
    }

    fn event(&self, kind: &str, vis: Value, data: Value) -> Event {
        let seq = self.state.seq + 1;
        let json = json!({
            "v": 1, "match": "m", "epoch": 1, "seq": seq, "ts": 1_000 * seq, "type": kind, "vis": vis, "data": data,
        });
        Event::from_json(&json.to_string()).expect("has the form of an event")
    }

    fn does(&mut self, kind: &str, data: Value) -> &mut Match {
        let event = self.event(kind, Value::Null, data);
        apply(&mut self.state, &event).expect("is a valid event");
        self
    }

    /// The error, after checking that nothing changed.
    fn refuses(&mut self, kind: &str, data: Value) -> String {
        self.refuses_shown_to(kind, Value::Null, data)
    }

    fn refuses_shown_to(&mut self, kind: &str, vis: Value, data: Value) -> String {
        let before = self.state.clone();
        let event = self.event(kind, vis, data);
        let error = apply(&mut self.state, &event).expect_err("is refused");
        assert_eq!(self.state, before, "a refused event leaves no trace");
        error.to_string()
    }

    fn status(&self, side: &str) -> SideStatus {
        self.state.board.sides[side].status
    }

    fn clock(&self, side: &str) -> &Clock {
        self.state.board.sides[side].clock.as_ref().expect("has a clock")
    }
}

fn think(side: &str, id: &str, delta: &str) -> Value {
    json!({ "side": side, "thoughtId": id, "delta": delta })
}

#[test]
fn started_resets_everything_that_was_before() {
    let mut m = Match::duel();
    m.does("feed", json!({ "text": "hello" })).does("agent.thinking", think("a", "1", "hm"));
    m.does("action.decided", json!({ "side": "a" })).does("scene.set", json!({ "scene": "over" }));
    m.does("marker", json!({ "label": "x" })).does("match.started", json!({ "sides": { "c": { "seat": 7 } } }));
    let fresh =
        MatchState { board: m.state.board.clone(), match_id: "m".into(), started: true, ..MatchState::default() };
    assert_eq!(m.state, MatchState { epoch: 1, seq: m.state.seq, ts: m.state.ts, ..fresh });
}

#[test]
fn status_follows_thinking_and_acting_and_holds_what_went_wrong() {
    use SideStatus::*;
    let mut m = Match::duel();
    m.does("turn.started", json!({ "turn": 1, "active": ["a"] }));
    assert_eq!(m.status("a"), Active, "to move is not yet to think");
    m.does("agent.thinking", think("a", "1", "hm"));
    assert_eq!(m.status("a"), Thinking);
    m.does("action.decided", json!({ "side": "a", "status": "timeout" }));
    m.does("turn.started", json!({ "turn": 2, "active": ["b"] }));
    assert_eq!(m.status("a"), Timeout, "a timeout stays to be seen");
    m.does("agent.thinking", think("b", "1", "hm")).does("turn.started", json!({ "turn": 3, "active": ["a"] }));
    assert_eq!((m.status("a"), m.status("b")), (Timeout, Active), "the turn ended b's thinking");
    m.does("action.decided", json!({ "side": "a" }));
    assert_eq!(m.status("a"), Active);
}

#[test]
fn lost_or_gone_side_stays_so_until_the_board_says_otherwise() {
    use SideStatus::*;
    for (word, status) in [("disconnected", Disconnected), ("eliminated", Eliminated), ("winner", Winner)] {
        let mut m = Match::duel();
        m.does("state.patch", json!({ "sides": { "a": { "status": word, "statusText": "why" } } }));
        m.does("agent.thinking", think("a", "1", "hm"))
            .does("action.decided", json!({ "side": "a", "status": "error" }));
        m.does("turn.started", json!({ "active": ["a"] }));
        assert_eq!((m.status("a"), m.state.board.sides["a"].status_text.as_str()), (status, "why"));
        m.does("state.patch", json!({ "sides": { "a": { "status": "active" } } }));
        assert_eq!(m.status("a"), Active);
    }
}

#[test]
fn turn_sets_phase_and_clocks_and_keeps_the_rest() {
    let mut m = Match::duel();
    m.does("state.patch", json!({ "phase": { "turnLabel": "Move", "name": "Opening", "deadline": 5 } }));
    m.does("turn.started", json!({ "turn": 7, "active": ["b"], "clocks": { "b": { "ms": 9, "running": true } } }));
    let phase = &m.state.board.phase;
    assert_eq!((phase.turn, phase.turn_label.as_str(), phase.name.as_str()), (7, "Move", "Opening"));
    assert_eq!(phase.deadline, None);
    assert_eq!((m.clock("b").as_of, m.clock("a").as_of), (3_000, 1_000), "asOf is the event's time");
}

#[test]
fn thought_grows_by_deltas_until_it_ends_or_another_begins() {
    let mut m = Match::duel();
    m.does("agent.thinking", think("a", "1", "Kn")).does("agent.thinking", think("a", "1", "ight é"));
    let thought = &m.state.thoughts["a"];
    assert_eq!((thought.text.as_str(), &thought.arrivals[..]), ("Knight é", &[(2_000, 2), (3_000, 9)][..]));
    m.does("agent.thinking", json!({ "side": "a", "thoughtId": "1", "final": true }));
    assert!(m.state.thoughts["a"].done);
    m.does("agent.thinking", think("a", "1", "Again"));
    assert_eq!(m.state.thoughts["a"].text, "Again", "final ended it");
    m.does("agent.thinking", think("a", "2", "New"));
    assert_eq!(m.state.thoughts["a"].text, "New");
}

#[test]
fn thought_of_many_deltas_keeps_the_newest_arrivals() {
    let mut m = Match::duel();
    for _ in 0..300 {
        m.does("agent.thinking", think("a", "1", "x"));
    }
    let thought = &m.state.thoughts["a"];
    assert_eq!(thought.arrivals.len(), limits::ARRIVALS);
    assert_eq!((thought.arrivals[0], thought.arrivals[255]), ((46_000, 45), (301_000, 300)));
}

#[test]
fn thought_over_its_limit_or_with_another_visibility_is_refused() {
    let mut m = Match::duel();
    m.does("agent.thinking", think("a", "1", &"é".repeat(limits::THOUGHT_CHARS)));
    let error = m.refuses("agent.thinking", think("a", "1", "x"));
    assert_eq!(error, "data.delta has 16385, the limit is 16384");
    let error = m.refuses_shown_to("agent.thinking", json!("public"), think("a", "1", ""));
    assert_eq!(error, "vis: differs from the thought so far: start a new thoughtId");
}

#[test]
fn snapshot_after_a_loss_takes_unfinished_thoughts_away() {
    let mut m = Match::duel();
    m.does("agent.thinking", think("a", "1", "Knight takes"));
    m.does("agent.thinking", json!({ "side": "b", "thoughtId": "1", "delta": "Fine.", "final": true }));
    let mut next =
        m.event("state.snapshot", Value::Null, json!({ "sides": { "a": { "seat": 0 }, "b": { "seat": 1 } } }));
    let mut lossless = m.state.clone();
    apply(&mut lossless, &next).unwrap();
    assert_eq!(lossless.thoughts.len(), 2);
    next.seq += 1;
    apply(&mut m.state, &next).unwrap();
    assert_eq!(m.state.thoughts.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn patch_merges_objects_replaces_lists_and_deletes_by_null() {
    let mut m = Match::new(json!({
        "title": "Open", "sides": { "a": { "seat": 0, "name": "A", "score": 1 }, "b": { "seat": 1 } },
        "zones": { "x": { "kind": "text", "text": "old", "label": "Notes" }, "y": { "kind": "text" } },
    }));
    m.does("agent.thinking", think("b", "1", "hm")).does("feed", json!({ "text": "hi", "actor": "b" }));
    m.does(
        "state.patch",
        json!({
            "title": null, "sides": { "a": { "score": 2 }, "b": null, "c": { "seat": 1 } },
            "zones": { "x": { "text": "new" }, "y": null, "z": { "kind": "cards", "count": 3 } },
        }),
    );
    let board = &m.state.board;
    assert_eq!((board.title.as_str(), board.sides["a"].name.as_str(), board.sides["a"].score), ("", "A", Some(2.0)));
    assert_eq!(board.zones.keys().collect::<Vec<_>>(), ["x", "z"]);
    assert_eq!(board.zones["x"].label, "Notes");
    assert!(m.state.thoughts.is_empty() && m.state.feed[0].actor.is_none(), "b left and left nothing behind");
    m.does("state.patch", json!({ "zones": { "x": { "kind": "grid", "cols": 2, "rows": 2 } } }));
    assert!(matches!(m.state.board.zones["x"].content, ZoneContent::Grid(_)), "a zone may change its kind");
    let ZoneContent::Cards(z) = &m.state.board.zones["z"].content else { panic!("a zone that is not named stays") };
    assert_eq!(z.count, Some(3));
    m.does("state.patch", json!({ "zones": null }));
    assert!(m.state.board.zones.is_empty());
}

#[test]
fn patched_clock_is_brought_to_the_time_of_the_patch() {
    let mut m = Match::duel();
    m.does("state.patch", json!({ "sides": { "a": { "clock": { "running": false } } } }));
    assert_eq!((m.clock("a").ms, m.clock("a").as_of), (59_000, 2_000), "stopped at what it showed");
    m.does("state.patch", json!({ "sides": { "a": { "clock": { "running": true } } } }));
    assert_eq!((m.clock("a").ms, m.clock("a").as_of), (59_000, 3_000));
    m.does("state.patch", json!({ "title": "other things" }));
    assert_eq!(m.clock("a").as_of, 3_000);
    m.does("state.patch", json!({ "sides": { "a": { "clock": { "ms": 70_000, "asOf": 4_500 } } } }));
    assert_eq!((m.clock("a").ms, m.clock("a").as_of), (70_000, 4_500));
}

#[test]
fn end_sets_winners_and_stops_clocks_and_turn() {
    let mut m = Match::duel();
    m.does("turn.started", json!({ "active": ["a", "b"], "deadline": 99_000 }));
    m.does("agent.thinking", think("a", "1", "hm")).does("match.ended", json!({ "winners": ["b"] }));
    assert_eq!((m.status("a"), m.status("b")), (SideStatus::Active, SideStatus::Winner));
    assert_eq!((m.clock("a").ms, m.clock("a").running), (57_000, false));
    assert!(m.state.board.phase.active.is_empty() && m.state.board.phase.deadline.is_none());
    m.does("agent.thinking", think("a", "2", "a pity"));
    assert_eq!(m.status("a"), SideStatus::Active, "after the end nobody thinks about a move");
}

#[test]
fn feed_keeps_the_newest_lines() {
    let mut m = Match::duel();
    for n in 0..limits::FEED + 3 {
        m.does("feed", json!({ "text": n.to_string() }));
    }
    assert_eq!(m.state.feed.len(), limits::FEED);
    assert_eq!((m.state.feed[0].text.as_str(), m.state.feed[63].text.as_str()), ("3", "66"));
}

#[test]
fn eval_without_a_time_is_of_the_event() {
    let mut m = Match::duel();
    m.does("eval", json!({ "shares": { "a": 0.75 } }));
    assert_eq!(m.state.board.eval.as_ref().map(|e| e.as_of), Some(2_000));
}

#[test]
fn board_that_makes_no_sense_is_refused_by_field() {
    let two = json!({ "a": { "seat": 0 }, "b": { "seat": 1 } });
    let zone = |zone: Value| json!({ "sides": two, "zones": { "z": zone } });
    let nine: serde_json::Map<_, _> = (0..9).map(|n| (format!("s{n}"), json!({ "seat": n % 8 }))).collect();
    for (board, error) in [
        (json!({}), "data.sides: a match has 1 to 8 sides"),
        (json!({ "sides": nine }), "data.sides has 9, the limit is 8"),
        (json!({ "sides": { "a": { "seat": 8 } } }), "data.sides.a.seat: 8 is not a seat, expected 0 to 7"),
        (json!({ "sides": { "a": {}, "b": {} } }), "data.sides.b.seat: seat 0 is taken by \"a\""),
        (json!({ "sides": { "": {} } }), "data.sides[\"\"]: an id must not be empty"),
        (
            json!({ "sides": { "all": {} } }),
            "data.sides.all: `spectator`, `all` and ids that start with `side:` are reserved",
        ),
        (json!({ "sides": { "a": { "name": "x".repeat(201) } } }), "data.sides.a.name has 201, the limit is 200"),
        (json!({ "sides": two, "phase": { "active": ["a", "c"] } }), "data.phase.active[1]: there is no side \"c\""),
        (json!({ "sides": two, "eval": { "shares": { "c": 1 } } }), "data.eval.shares.c: there is no side \"c\""),
        (json!({ "sides": two, "eval": { "shares": { "a": 1.5 } } }), "data.eval.shares.a: 1.5 is not within 0 to 1"),
        (
            json!({ "sides": two, "result": { "draw": true, "winners": ["a"] } }),
            "data.result.winners: a draw has no winners",
        ),
        (json!({ "sides": two, "startsAt": i64::MAX }), {
            "data.startsAt: 9223372036854775807 ms is not within -253402300799999 to 253402300799999"
        }),
        (zone(json!({ "kind": "text", "owner": "c" })), "data.zones.z.owner: there is no side \"c\""),
        (zone(json!({ "kind": "text", "vis": ["c"] })), "data.zones.z.vis[0]: there is no side \"c\""),
        (zone(json!({ "kind": "text", "text": "x".repeat(4_097) })), "data.zones.z.text has 4097, the limit is 4096"),
        (zone(json!({ "kind": "grid", "cols": 0, "rows": 1 })), "data.zones.z.cols: 0 is not within 1 to 64"),
        (zone(json!({ "kind": "grid", "cols": 1, "rows": 65 })), "data.zones.z.rows: 65 is not within 1 to 64"),
        (
            zone(json!({ "kind": "grid", "cols": 2, "rows": 2, "cells": [{}, { "x": 2 }] })),
            "data.zones.z.cells[1]: [2, 0] is outside of the grid's 2 × 2 cells",
        ),
        (
            zone(json!({ "kind": "grid", "cols": 2, "rows": 2, "bodies": [{ "cells": [[0, 0], [0, 2]] }] })),
            "data.zones.z.bodies[0].cells[1]: [0, 2] is outside of the grid's 2 × 2 cells",
        ),
        (
            zone(json!({ "kind": "grid", "cols": 2, "rows": 2, "bodies": [{ "cells": vec![[0, 0]; 4_096] }] })),
            "data.zones.z.bodies has 4097, the limit is 4096",
        ),
        (
            zone(json!({ "kind": "grid", "cols": 2, "rows": 2, "arrows": [{ "to": [5, 1] }] })),
            "data.zones.z.arrows[0].to: [5, 1] is outside of the grid's 2 × 2 cells",
        ),
        (
            zone(json!({ "kind": "cards", "items": vec![json!({}); 513] })),
            "data.zones.z.items has 513, the limit is 512",
        ),
        (zone(json!({ "kind": "cards", "count": 10_000 })), "data.zones.z.count has 10000, the limit is 9999"),
    ] {
        let mut m = Match::duel();
        assert_eq!(m.refuses("match.started", board.clone()), error);
        assert_eq!(m.refuses("state.snapshot", board), error);
    }
}

#[test]
fn event_that_makes_no_sense_is_refused_by_field() {
    let mut deep = json!({});
    for _ in 0..limits::PATCH_DEPTH {
        deep = json!({ "zones": deep });
    }
    for (kind, data, error) in [
        ("state.patch", deep, "data has 17, the limit is 16"),
        ("state.patch", json!({ "sides": { "a": { "seat": 1 } } }), "data.sides.b.seat: seat 1 is taken by \"a\""),
        ("state.patch", json!({ "sides": null }), "data.sides: a match has 1 to 8 sides"),
        ("state.patch", json!({ "zones": { "z": {} } }), "data.zones.z: missing field `kind`"),
        ("state.patch", json!({ "title": 5 }), "data.title: expected a string"),
        ("turn.started", json!({ "active": ["c"] }), "data.active[0]: there is no side \"c\""),
        ("turn.started", json!({ "clocks": { "c": {} } }), "data.clocks.c: there is no side \"c\""),
        ("agent.thinking", json!({ "delta": "x" }), "data.side: there is no side \"\""),
        ("action.decided", json!({ "side": "c" }), "data.side: there is no side \"c\""),
        ("action.decided", json!({ "side": "a", "confidence": 2 }), "data.confidence: 2 is not within 0 to 1"),
        ("feed", json!({ "actor": "c" }), "data.actor: there is no side \"c\""),
        ("feed", json!({ "importance": 101 }), "data.importance: 101 is not within 0 to 100"),
        ("eval", json!({ "shares": { "c": 0 } }), "data.shares.c: there is no side \"c\""),
        ("series", json!({ "winners": [null, "c"] }), "data.winners[1]: there is no side \"c\""),
        ("match.ended", json!({ "winners": ["c"] }), "data.winners[0]: there is no side \"c\""),
        ("match.ended", json!({ "sides": { "c": {} } }), "data.sides.c: there is no side \"c\""),
        ("marker", json!({ "label": "x".repeat(501) }), "data.label has 501, the limit is 500"),
    ] {
        assert_eq!(Match::duel().refuses(kind, data), error);
    }
}

#[test]
fn number_that_is_none_is_refused() {
    let mut m = Match::duel();
    let mut event = m.event("match.started", Value::Null, json!({ "sides": { "a": { "score": 0 } } }));
    let Body::MatchStarted(board) = &mut event.body else { panic!("started") };
    board.sides.get_mut("a").expect("is there").score = Some(f64::NAN);
    let error = apply(&mut m.state, &event).unwrap_err().to_string();
    assert_eq!(error, "data.sides.a.score: NaN is not a number that can be shown");
}

#[test]
fn list_of_viewers_on_a_public_event_is_refused_rather_than_shown_to_all() {
    let mut m = Match::duel();
    for (kind, data) in [("eval", json!({})), ("state.patch", json!({})), ("turn.started", json!({}))] {
        let error = m.refuses_shown_to(kind, json!(["a"]), data);
        let expected = format!("vis: {kind} changes what everybody sees: leave vis out or say \"public\"");
        assert_eq!(error, expected);
    }
}

#[test]
fn patches_cannot_grow_a_board_beyond_its_bytes() {
    let mut m = Match::duel();
    let row: Vec<_> = (0..4_096).map(|n| json!({ "x": n % 64, "y": n / 64, "label": "x".repeat(180) })).collect();
    let zone = json!({ "kind": "grid", "cols": 64, "rows": 64, "cells": row });
    for n in 0..3 {
        m.does("state.patch", json!({ "zones": { n.to_string(): zone } }));
    }
    let error = m.refuses("state.patch", json!({ "zones": { "5": zone } }));
    assert!(error.starts_with("data has ") && error.ends_with(", the limit is 4194304"), "{error}");
}
