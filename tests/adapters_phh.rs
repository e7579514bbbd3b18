//! Poker hands become matches: chips, cards, who may see them, who wins.

use agentcast::game::adapters::{Format, Record, RecordError, phh};
use agentcast::game::{
    Applied, Body, Card, Event, MatchResult, Reducer, SideStatus, Snapshot, View, Visibility, ZoneContent,
};
use std::path::PathBuf;

/// Every record of the directory, by name.
fn records() -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/records/poker");
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .expect("the records")
        .map(|entry| entry.expect("an entry"))
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(e.path()).expect("a text")))
        .collect();
    all.sort();
    all
}

fn text(name: &str) -> String {
    records().into_iter().find(|r| r.0 == name).expect("a record of this name").1
}

fn read(name: &str) -> Record {
    phh::read(&text(name)).expect("a record")
}

fn snapshots(record: &Record) -> impl Iterator<Item = &Snapshot> {
    record.events.iter().filter_map(|e| match &e.event.body {
        Body::MatchStarted(s) | Body::StateSnapshot(s) => Some(&**s),
        _ => None,
    })
}

fn result(record: &Record) -> &MatchResult {
    match record.events.last().map(|e| &e.event.body) {
        Some(Body::MatchEnded(result)) => result,
        other => panic!("ends with {other:?}"),
    }
}

fn counter(snapshot: &Snapshot, side: &str, id: &str) -> f64 {
    snapshot.sides[side].counters.iter().find(|c| c.id == id).expect("a counter").value
}

fn cards<'a>(snapshot: &'a Snapshot, zone: &str) -> &'a [Card] {
    match &snapshot.zones[zone].content {
        ZoneContent::Cards(cards) => &cards.items,
        other => panic!("{zone} is {other:?}"),
    }
}

fn pot(snapshot: &Snapshot) -> f64 {
    match &snapshot.zones["pot"].content {
        ZoneContent::Text(pot) => pot.text.replace(',', "").parse().expect("a number"),
        other => panic!("the pot is {other:?}"),
    }
}

fn decided(record: &Record) -> Vec<(String, String)> {
    record
        .events
        .iter()
        .filter_map(|e| match &e.event.body {
            Body::ActionDecided(a) => Some((a.side.clone(), a.text.clone())),
            _ => None,
        })
        .collect()
}

fn list(text: &str, field: &str) -> Vec<f64> {
    let table: toml::Table = text.parse().expect("TOML");
    let list = table[field].as_array().expect("a list");
    list.iter().map(|v| v.as_integer().expect("a whole number") as f64).collect()
}

fn without(text: &str, field: &str) -> String {
    text.lines().filter(|l| !l.starts_with(field)).map(|l| format!("{l}\n")).collect()
}

#[test]
fn every_record_keeps_its_chips_and_ends_with_the_recorded_stacks() {
    for (name, text) in records() {
        let record = phh::read(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((record.format, &record.truncated), (Format::Phh, &None), "{name}");
        let starting = list(&text, "starting_stacks");
        let total: f64 = starting.iter().sum();
        let finishing = list(&text, "finishing_stacks");
        for snapshot in snapshots(&record) {
            let stacks: f64 = snapshot.sides.keys().map(|s| counter(snapshot, s, "stack")).sum();
            assert_eq!(stacks + pot(snapshot), total, "{name}: chips on {}", snapshot.phase.name);
            let bets: f64 = snapshot.sides.keys().map(|s| counter(snapshot, s, "bet")).sum();
            assert!(bets <= pot(snapshot), "{name}");
        }
        let last = snapshots(&record).last().expect("a snapshot");
        let result = result(&record);
        for (index, stack) in finishing.iter().enumerate() {
            let side = format!("p{}", index + 1);
            let net = stack - starting[index];
            assert_eq!(counter(last, &side, "stack"), *stack, "{name} {side}");
            assert_eq!(result.sides[&side].score, Some(net), "{name} {side}");
            assert_eq!(result.winners.contains(&side), net > 0.0, "{name} {side}");
        }
    }
}

#[test]
fn high_hands_without_recorded_stacks_are_won_by_the_best_cards() {
    let mut decided = 0;
    for (name, text) in records() {
        let played = phh::read(&without(&text, "finishing_stacks")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (found, recorded) = (result(&played), phh::read(&text).expect("a record"));
        if found.aborted {
            assert!(found.winners.is_empty());
            continue;
        }
        decided += 1;
        assert_eq!(found.sides, result(&recorded).sides, "{name}");
    }
    assert!(decided >= 6, "{decided}");
}

#[test]
fn a_side_pot_goes_to_another_winner_than_the_main_pot() {
    let record = read("nlhe6_1.phh");
    let result = result(&record);
    assert_eq!(result.winners, ["p2", "p5"]);
    assert_eq!(result.sides["p5"].reason, "wins 2,800");
    assert_eq!(result.sides["p2"].reason, "wins 14,200");
    assert_eq!(result.reason, "pots of 17,000 shared at showdown");
    let last = snapshots(&record).last().expect("a snapshot");
    assert_eq!(last.sides["p2"].status, SideStatus::Winner);
    assert_eq!(last.sides["p4"].status, SideStatus::Active);
    assert_eq!(last.sides["p4"].status_text, "folded");
}

#[test]
fn actions_are_told_in_words_with_amounts() {
    let actions = decided(&read("nlhe6_1.phh"));
    let of = |n: usize| (actions[n].0.as_str(), actions[n].1.as_str());
    assert_eq!(of(0), ("p3", "folds"));
    assert_eq!(of(2), ("p5", "calls 100"));
    assert_eq!(of(4), ("p1", "calls 50"));
    assert_eq!(of(5), ("p2", "raises to 200"));
    let all: Vec<&str> = actions.iter().map(|a| a.1.as_str()).collect();
    for text in ["bets 100", "all in 400", "all in 7,500", "shows 3♠ 3♦"] {
        assert!(all.contains(&text), "{text} in {all:?}");
    }
    assert!(decided(&read("stud3_1.phh")).iter().any(|a| a.1 == "brings in 20"));
    assert!(decided(&read("stud3_1.phh")).contains(&("p3".into(), "mucks".into())));
}

#[test]
fn hole_cards_are_the_owners_until_shown() {
    let record = read("nlhe6_1.phh");
    let mut reducer = Reducer::default();
    let (mut hidden, mut shown) = (0, 0);
    for timed in &record.events {
        reducer.apply(timed.event.clone()).expect("applies");
        let (all, owner) = (reducer.state(), View::Side("p2".into()).filter(reducer.state()));
        let public = View::Spectator.filter(all);
        for index in 1..=6 {
            let zone = format!("hand-p{index}");
            let (truth, seen) = (cards(&all.board, &zone), cards(&public.board, &zone));
            assert_eq!(truth.len(), seen.len(), "backs show how many cards there are");
            for (truth, seen) in truth.iter().zip(seen) {
                assert_eq!(seen.face.is_some(), truth.up, "{zone}");
                assert_eq!(truth.vis == Some(Visibility::Public), truth.up);
                hidden += usize::from(!truth.up);
                shown += usize::from(truth.up);
            }
            if index == 2 {
                assert!(cards(&owner.board, &zone).iter().all(|c| c.face.is_some()), "its owner sees them");
            }
        }
    }
    assert!(hidden > 0 && shown > 0);
    let last = &reducer.state().board;
    assert!(cards(last, "hand-p3").is_empty(), "a folded hand leaves the table");
    assert!(cards(last, "hand-p2").iter().all(|c| c.up));
    assert_eq!(cards(last, "board").len(), 5);
}

#[test]
fn stud_cards_lie_two_down_four_up_one_down() {
    let record = read("stud3_1.phh");
    let full = snapshots(&record).find(|s| cards(s, "hand-p2").len() == 7).expect("seven cards");
    let up: Vec<bool> = cards(full, "hand-p2").iter().map(|c| c.up).collect();
    assert_eq!(up, [false, false, true, true, true, true, false]);
    assert_eq!(full.phase.name, "7th street");
    assert!(!full.zones.contains_key("board"));
    let last = snapshots(&record).last().expect("a snapshot");
    assert_eq!(last.phase.name, "Showdown");
    assert!(cards(last, "hand-p3").is_empty(), "mucked");
}

#[test]
fn streets_names_and_roles_come_from_the_record() {
    let record = read("nlhe6_1.phh");
    let mut streets: Vec<&str> = snapshots(&record).map(|s| s.phase.name.as_str()).collect();
    streets.dedup();
    assert_eq!(streets, ["Preflop", "Flop", "Turn", "River", "Showdown"], "all in on the flop, run out");
    let first = snapshots(&record).next().expect("a snapshot");
    assert_eq!((first.title.as_str(), first.round.as_str()), ("h4 test table", "Table Ω"));
    assert_eq!((first.phase.turn_label.as_str(), first.phase.turn), ("Hand", 1));
    assert_eq!(first.sides["p5"].name, "Eve \"The Shark\"");
    let roles: Vec<&str> = first.sides.values().map(|s| s.role.as_str()).collect();
    assert_eq!(roles, ["Small blind", "Big blind", "", "", "", "Dealer"]);
    let facts: Vec<_> = first.facts.iter().map(|f| (f.label.as_str(), f.text.as_str())).collect();
    assert_eq!(facts, [("Blinds", "50 / 100"), ("Currency", "USD"), ("Date", "2026-11-20")]);
    let acting = snapshots(&record).find(|s| !s.phase.active.is_empty()).expect("somebody acts");
    assert_eq!(acting.phase.active, ["p3".to_owned()].into());
    assert_eq!(acting.sides["p3"].status, SideStatus::Thinking);
}

#[test]
fn comments_are_thoughts_for_their_owner_alone() {
    let text = "variant = 'NT'\nantes = [0, 0]\nblinds_or_straddles = [1, 2]\nstarting_stacks = [10, inf]\n\
        actions = ['d dh p1 ????', 'd dh p2 ??Ac', 'p2 cbr 6 # aces love action', '# floor called', 'p1 f']";
    let record = phh::read(text).expect("a record");
    let thought =
        record.events.iter().find(|e| matches!(&e.event.body, Body::AgentThinking(t) if t.delta == "aces love action"));
    assert_eq!(thought.expect("a thought").event.vis, Some(Visibility::Sides(["p2".to_owned()].into())));
    assert!(record.events.iter().any(|e| matches!(&e.event.body, Body::Feed(f) if f.text == "floor called")));
    // Heads-up the button, p2, has the small blind; its stack is not known.
    let opening = snapshots(&record).next().expect("a snapshot");
    assert_eq!(opening.sides["p2"].role, "Dealer");
    assert_eq!(opening.sides["p1"].role, "Big blind");
    assert!(opening.sides["p2"].counters.iter().all(|c| c.id != "stack"));
    assert_eq!(result(&record).winners, ["p2"]);
    assert_eq!(result(&record).reason, "a pot of 4, everybody else folded");
    assert_eq!(result(&record).sides["p1"].score, Some(-2.0));
}

#[test]
fn wrong_actions_name_their_place() {
    let with = |actions: &str| {
        let head =
            "variant = 'NT'\nantes = [0, 0, 0]\nblinds_or_straddles = [1, 2, 0]\nstarting_stacks = [10, 20, 30]\n";
        phh::read(&format!("{head}actions = [{actions}]")).expect_err("wrong").to_string()
    };
    assert_eq!(with("'p3 f', 'p3 cc'"), "actions[1]: p3 acts after folding");
    assert_eq!(with("'p3 cbr 31'"), "actions[0]: p3 bets 31 more with 30 left");
    assert_eq!(with("'p3 cbr 2'"), "actions[0]: p3 bets 2, but the bet is 2 already");
    assert_eq!(with("'p4 f'"), "actions[0]: p4 is no player; there are p1 to p3");
    assert_eq!(with("'d dh p1 Xx'"), "actions[0]: 'X' in \"Xx\" is no rank");
    assert_eq!(with("'d db AdK'"), "actions[0]: \"AdK\" is not cards: expected pairs such as AdKs");
    assert_eq!(with("'p3 jumps'"), "actions[0]: \"jumps\" is no action of a player");
    assert_eq!(with("'p3 f', 'p1 f', 'p2 f'"), "actions[2]: p2 acts although everybody else has folded");
    assert_eq!(with("'p3 cc', 7"), "actions[1]: cannot use 7");
}

#[test]
fn a_cut_record_plays_to_where_it_ends() {
    for (name, text) in records() {
        let whole = phh::read(&text).expect("a record").events.len();
        let start = text.find("actions = ").expect("actions");
        let end = start + text[start..].find(']').expect("the end of the actions");
        for cut in (0..text.len()).step_by(37).filter(|&n| text.is_char_boundary(n)) {
            match phh::read(&text[..cut]) {
                Ok(record) => {
                    // A cut at the end of a line leaves a whole file behind.
                    if cut <= end {
                        assert!(record.truncated.is_some(), "{name} cut at {cut}");
                        assert!(result(&record).aborted || cut > start, "{name} cut at {cut}");
                        assert!(record.events.len() <= whole, "{name} cut at {cut}");
                    }
                    applies(&record, &name);
                }
                Err(error) => {
                    assert!(cut < start && matches!(error, RecordError::Malformed { .. }), "{name} {cut}: {error}")
                }
            }
        }
    }
}

#[test]
fn mutated_records_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for (name, text) in records() {
        for round in 0..150 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(32..127),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.u8(32..127)),
                }
            }
            if let Ok(record) = phh::read(&String::from_utf8_lossy(&bytes))
                && round % 5 == 0
            {
                applies(&record, &name);
            }
        }
    }
}

#[test]
fn all_events_apply() {
    for (name, text) in records() {
        applies(&phh::read(&text).expect("a record"), &name);
    }
}

/// Every event is in order and accepted, and nothing happens before what came before it.
fn applies(record: &Record, name: &str) {
    let mut reducer = Reducer::default();
    assert!(record.events.is_sorted_by_key(|e| e.at), "{name}");
    for timed in &record.events {
        let event: Event = timed.event.clone();
        let kind = format!("{:.60}", format!("{:?}", event.body));
        match reducer.apply(event) {
            Ok(Applied::Now(1)) => {}
            other => panic!("{name}: {other:?} for {kind}"),
        }
    }
    assert!(reducer.state().board.result.is_some(), "{name}");
}
