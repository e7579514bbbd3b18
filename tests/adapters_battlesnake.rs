//! Battlesnake records of real games: what a viewer would miss if the adapter got it wrong.

use agentcast::game::adapters::battlesnake::{self, DEAD_TURNS, Live, TURN_MS};
use agentcast::game::adapters::{Format, Record, RecordError, detect, read};
use agentcast::game::wire::Body;
use agentcast::game::{
    ActionStatus, Applied, Grid, Ground, MatchState, Paint, Reducer, SideStatus, Snapshot, View, Visibility,
    ZoneContent,
};
use std::collections::BTreeMap;

const DUEL: &str = include_str!("records/battlesnake/duel.events.jsonl");
const DUEL_OUTPUT: &str = include_str!("records/battlesnake/duel.output.jsonl");
const DUEL_GAME: &str = include_str!("records/battlesnake/duel.game.json");
const HEADON: &str = include_str!("records/battlesnake/headon_draw.events.jsonl");
const HEADON_OUTPUT: &str = include_str!("records/battlesnake/headon_draw.output.jsonl");
const STANDARD4: &str = include_str!("records/battlesnake/standard4.events.jsonl");
const STANDARD4_OUTPUT: &str = include_str!("records/battlesnake/standard4.output.jsonl");
const STANDARD4_GAME: &str = include_str!("records/battlesnake/standard4.game.json");
const TROUBLE: &str = include_str!("records/battlesnake/timeouts_and_errors.events.jsonl");
const TROUBLE_OUTPUT: &str = include_str!("records/battlesnake/timeouts_and_errors.output.jsonl");
const ROYALE: &str = include_str!("records/battlesnake/royale_hz_pits.events.jsonl");
const ROYALE_GAME: &str = include_str!("records/battlesnake/royale_hz_pits.game.json");

const ALL: [(&str, Format); 9] = [
    (DUEL, Format::BattlesnakeEvents),
    (HEADON, Format::BattlesnakeEvents),
    (STANDARD4, Format::BattlesnakeEvents),
    (TROUBLE, Format::BattlesnakeEvents),
    (ROYALE, Format::BattlesnakeEvents),
    (DUEL_OUTPUT, Format::BattlesnakeOutput),
    (HEADON_OUTPUT, Format::BattlesnakeOutput),
    (STANDARD4_OUTPUT, Format::BattlesnakeOutput),
    (TROUBLE_OUTPUT, Format::BattlesnakeOutput),
];

fn parsed(text: &str) -> Record {
    read(text.as_bytes(), None).unwrap()
}

/// The state as each turn's events leave it, and as the match ends.
struct Played {
    turns: BTreeMap<u32, MatchState>,
    end: MatchState,
}

fn play(record: &Record) -> Played {
    let mut reducer = Reducer::default();
    let mut turns = BTreeMap::new();
    let mut at = 0;
    for event in &record.events {
        assert!(event.at >= at, "time runs backwards");
        at = event.at;
        assert_eq!(event.event.vis, Some(Visibility::Public), "nothing is hidden in Battlesnake");
        match reducer.apply(event.event.clone()) {
            Ok(Applied::Now(1)) => {}
            other => panic!("{other:?} of {:?}", event.event),
        }
        // Actions come before the turn that they lead to.
        if !matches!(event.event.body, Body::ActionDecided(_) | Body::AgentThinking(_)) {
            let state = reducer.state();
            turns.insert(state.board.phase.turn, state.clone());
        }
    }
    let end = reducer.state().clone();
    Played { turns, end }
}

fn grid(board: &Snapshot) -> &Grid {
    let ZoneContent::Grid(grid) = &board.zones["board"].content else { panic!("the board is a grid") };
    grid
}

fn side_named<'a>(board: &'a Snapshot, name: &str) -> (&'a str, &'a agentcast::game::Side) {
    let (id, side) = board.sides.iter().find(|(_, side)| side.name.starts_with(name)).expect("a side of that name");
    (id, side)
}

fn body(board: &Snapshot, name: &str) -> Option<(Vec<[u16; 2]>, bool)> {
    let (id, _) = side_named(board, name);
    grid(board).bodies.iter().find(|body| body.id == id).map(|body| (body.cells.clone(), body.dead))
}

fn winners(state: &MatchState) -> Vec<&str> {
    let result = state.board.result.as_ref().expect("a result");
    result.winners.iter().map(|id| state.board.sides[id].name.as_str()).collect()
}

#[test]
fn every_record_is_detected_and_plays_through_the_reducer_without_gap() {
    for (text, format) in ALL {
        let record = parsed(text);
        assert_eq!(record.format, format);
        assert_eq!(detect(text.as_bytes()), Some(format));
        assert_eq!(record.truncated, None);
        let played = play(&record);
        assert!(played.end.board.result.is_some());
        assert!(played.end.board.phase.active.is_empty(), "nobody moves after the end");
    }
}

#[test]
fn results_are_those_of_the_engine() {
    for (text, turns, winner, draw) in [
        (DUEL, 63, None, true),
        (DUEL_OUTPUT, 63, None, true),
        (HEADON, 4, None, true),
        (HEADON_OUTPUT, 4, None, true),
        (STANDARD4, 95, Some("Cautious Carl"), false),
        (STANDARD4_OUTPUT, 95, Some("Cautious Carl"), false),
        (TROUBLE, 31, Some("Invalid <b>mover</b>"), false),
        (TROUBLE_OUTPUT, 31, Some("Invalid <b>mover</b>"), false),
        (ROYALE, 107, Some("海蛇 №5"), false),
    ] {
        let played = play(&parsed(text));
        assert_eq!(played.turns.len(), turns + 1, "turns 0 to {turns}");
        let result = played.end.board.result.as_ref().unwrap();
        assert_eq!((winners(&played.end), result.draw), (winner.into_iter().collect(), draw));
        for (id, side) in &played.end.board.sides {
            let expected = if result.winners.contains(id) { SideStatus::Winner } else { SideStatus::Eliminated };
            assert_eq!(side.status, expected, "{}", side.name);
        }
    }
}

#[test]
fn board_counts_rows_from_the_top_where_the_source_counts_from_the_bottom() {
    let played = play(&parsed(STANDARD4));
    let start = &played.turns[&0].board;
    let board = grid(start);
    assert_eq!((board.cols, board.rows, board.ground), (11, 11, Ground::Field));
    // In the source at (5, 1), three segments on one cell.
    assert_eq!(body(start, "Cautious Carl"), Some((vec![[5, 9]; 3], false)));
    // In the source (6,6) (5,6) (5,7) at its death on turn 10.
    assert_eq!(body(&played.turns[&10].board, "𝕾𝖓ake"), Some((vec![[6, 4], [5, 4], [5, 3]], true)));
    let mut food: Vec<[u16; 2]> = board.cells.iter().map(|cell| [cell.x, cell.y]).collect();
    food.sort_unstable();
    assert_eq!(food, [[0, 6], [5, 5], [6, 0], [6, 10], [10, 4]]);
    assert!(board.cells.iter().all(|cell| cell.picture.as_ref().is_some_and(|p| p.0 == "symbol:grid/food")));
}

#[test]
fn food_keeps_its_id_while_it_lies_there() {
    let played = play(&parsed(DUEL));
    let id = |turn: u32| {
        let cells = &grid(&played.turns[&turn].board).cells;
        cells.iter().find(|cell| (cell.x, cell.y) == (5, 5)).map(|cell| cell.id.clone())
    };
    assert!(id(0).is_some_and(|id| !id.is_empty()));
    assert_eq!(id(0), id(1));
}

#[test]
fn turn_is_published_at_once_with_all_moves_of_the_living() {
    let record = parsed(STANDARD4);
    let at = |turn: i64| record.events.iter().filter(move |e| e.at == turn * TURN_MS).map(|e| &e.event.body);
    let moves = |turn: i64| at(turn).filter(|body| matches!(body, Body::ActionDecided(_))).count();
    assert_eq!([moves(0), moves(1), moves(10), moves(11), moves(17)], [0, 4, 4, 3, 2]);
    for turn in 1..=95 {
        let boards = at(turn).filter(|b| matches!(b, Body::StatePatch(_) | Body::StateSnapshot(_))).count();
        assert_eq!(boards, 1, "turn {turn}");
    }
    let full = record.events.iter().filter(|e| matches!(e.event.body, Body::StateSnapshot(_))).count();
    assert!((4..=5).contains(&full), "a full snapshot every 20 turns or so: {full}");
    let played = play(&record);
    assert_eq!(played.turns[&20].board.phase.active.len(), 2);
}

#[test]
fn moves_come_from_the_heads_with_their_latency() {
    let played = play(&parsed(DUEL));
    let state = &played.turns[&1];
    let (alpha, _) = side_named(&state.board, "Alpha");
    let (beta, _) = side_named(&state.board, "Beta");
    // (1,9) to (1,8) and (9,1) to (8,1): down and left, where y points up.
    assert_eq!((state.actions[alpha].text.as_str(), state.actions[alpha].latency_ms), ("down", Some(23)));
    assert_eq!((state.actions[beta].text.as_str(), state.actions[beta].latency_ms), ("left", Some(29)));
}

#[test]
fn eliminated_sides_say_why_in_plain_words() {
    let board = play(&parsed(STANDARD4)).end.board;
    let text = |name: &str| side_named(&board, name).1.status_text.clone();
    assert_eq!(text("𝕾𝖓ake"), "lost a head-on with Hungry Hippo");
    assert_eq!(text("ثعبان"), "lost a head-on with Hungry Hippo");
    assert_eq!(text("Hungry Hippo"), "ran into itself");
    let board = play(&parsed(TROUBLE)).end.board;
    assert_eq!(side_named(&board, "Slowpoke").1.status_text, "hit the wall");
    let board = play(&parsed(HEADON)).end.board;
    assert_eq!(side_named(&board, "Ram A").1.status_text, "met Ram B head-on, both are out");
}

#[test]
fn other_causes_of_death_are_named() {
    let cause = |cause: &str, by: &str| {
        let frame = |turn: u32, death: &str| {
            let snake = |id: &str, death: &str| {
                format!(r#"{{"ID":"{id}","Name":"Snake {id}","Body":[{{"X":1,"Y":1}}],"Health":0,"Death":{death}}}"#)
            };
            let snakes = [snake("a", death), snake("b", "null")].join(",");
            format!(r#"{{"Type":"frame","Data":{{"Turn":{turn},"Snakes":[{snakes}],"Food":null,"Hazards":null}}}}"#)
        };
        let death = format!(r#"{{"Cause":"{cause}","Turn":1,"EliminatedBy":"{by}"}}"#);
        let events = format!("{}\n{}\n{{\"Type\":\"game_end\",\"Data\":{{}}}}\n", frame(0, "null"), frame(1, &death));
        let end = play(&parsed(&events)).end;
        assert_eq!(winners(&end), ["Snake b"]);
        end.board.sides["a"].status_text.clone()
    };
    assert_eq!(cause("out-of-health", ""), "starved");
    assert_eq!(cause("snake-collision", "b"), "ran into the body of Snake b");
    assert_eq!(cause("hazard", ""), "died in a hazard");
    assert_eq!(cause("squad-eliminated", ""), "was eliminated: squad eliminated");
}

#[test]
fn output_without_causes_says_the_turn_only() {
    let board = play(&parsed(STANDARD4_OUTPUT)).end.board;
    assert_eq!(side_named(&board, "Hungry Hippo").1.status_text, "was eliminated on turn 95");
    assert_eq!(side_named(&board, "𝕾𝖓ake").1.status_text, "was eliminated on turn 10");
}

#[test]
fn both_formats_of_a_game_show_the_same_living_snakes_and_food() {
    for (events, output) in
        [(DUEL, DUEL_OUTPUT), (HEADON, HEADON_OUTPUT), (STANDARD4, STANDARD4_OUTPUT), (TROUBLE, TROUBLE_OUTPUT)]
    {
        let (events, output) = (play(&parsed(events)), play(&parsed(output)));
        assert_eq!(events.turns.len(), output.turns.len());
        for (turn, state) in &events.turns {
            let other = &output.turns[turn].board;
            let living = |board: &Snapshot| {
                let mut bodies = grid(board).bodies.clone();
                bodies.retain(|body| !body.dead);
                bodies.sort_by(|a, b| a.id.cmp(&b.id));
                bodies
            };
            assert_eq!(living(&state.board), living(other), "turn {turn}");
            assert_eq!(grid(&state.board).cells, grid(other).cells, "turn {turn}");
            assert_eq!(state.board.phase, other.phase, "turn {turn}");
        }
    }
}

#[test]
fn timeouts_and_errors_are_told_apart_and_pass() {
    let played = play(&parsed(TROUBLE));
    let action = |turn: u32, name: &str| {
        let state = &played.turns[&turn];
        let action = &state.actions[side_named(&state.board, name).0];
        (action.status, action.reason.clone())
    };
    assert_eq!(action(6, "HTTP 500"), (ActionStatus::Ok, String::new()));
    assert_eq!(action(7, "HTTP 500"), (ActionStatus::Error, "Bad HTTP status code 500".into()));
    assert_eq!(action(7, "bad json"), (ActionStatus::Error, "Error communicating with server".into()));
    assert_eq!(action(9, "Slowpoke"), (ActionStatus::Timeout, "no answer in 200 ms".into()));
    let status = |turn: u32| side_named(&played.turns[&turn].board, "HTTP 500").1.status;
    assert_eq!([status(6), status(7), status(8)], [SideStatus::Active, SideStatus::Error, SideStatus::Active]);
    // An invalid move word leaves no trace in the record.
    assert_eq!(action(20, "Invalid").0, ActionStatus::Ok);
}

#[test]
fn head_off_the_board_is_not_drawn_and_dead_body_leaves_after_a_while() {
    let played = play(&parsed(TROUBLE));
    // In the source at (-1,6) (0,6) (1,6) (2,6).
    assert_eq!(body(&played.turns[&9].board, "Slowpoke"), Some((vec![[0, 4], [1, 4], [2, 4]], true)));
    assert!(body(&played.turns[&(9 + DEAD_TURNS - 1)].board, "Slowpoke").is_some());
    assert!(body(&played.turns[&(9 + DEAD_TURNS)].board, "Slowpoke").is_none());
}

#[test]
fn hazards_are_painted_once_a_cell() {
    let played = play(&parsed(ROYALE));
    let hazards = |turn: u32| {
        let cells = grid(&played.turns[&turn].board).cells.iter();
        let cells: Vec<_> = cells.filter(|cell| cell.paint == Some(Paint::Hazard)).map(|c| (c.x, c.y)).collect();
        assert_eq!(cells.iter().collect::<std::collections::BTreeSet<_>>().len(), cells.len());
        cells.len()
    };
    assert_eq!((hazards(0), hazards(107)), (0, 86));
}

#[test]
fn counters_show_health_and_length() {
    let board = &play(&parsed(STANDARD4)).turns[&95].board;
    let counters = &side_named(board, "Cautious Carl").1.counters;
    let shown: Vec<_> = counters.iter().map(|c| (c.label.as_str(), c.value, c.max)).collect();
    assert_eq!(shown, [("Health", 74.0, Some(100.0)), ("Len", 6.0, None)]);
    assert_eq!(side_named(board, "Cautious Carl").1.author, "carl-labs");
    assert_eq!(side_named(board, "Hungry Hippo").1.author, "", "the CLI's own name is no author");
}

#[test]
fn shout_is_a_public_thought() {
    let game = r#"{"Game":{"ID":"g","Width":7,"Height":7}}"#;
    let mut live = Live::new(game).unwrap();
    let frame = |turn: u32, x: u32| {
        format!(
            r#"{{"Type":"frame","Data":{{"Turn":{turn},"Snakes":[{{"ID":"a","Name":"A","Body":[{{"X":{x},"Y":1}}],"Health":90,"Shout":"to the east!"}}]}}}}"#
        )
    };
    live.push_line(&frame(0, 1)).unwrap();
    let bodies = live.push_line(&frame(1, 2)).unwrap();
    assert!(bodies.iter().any(|b| matches!(b, Body::AgentThinking(t) if t.delta == "to the east!" && t.done)));
    assert!(bodies.iter().any(|b| matches!(b, Body::ActionDecided(a) if a.text == "right")));
}

#[test]
fn live_feed_says_the_same_as_the_recording() {
    let record = battlesnake::read_with_game(DUEL, Some(DUEL_GAME)).unwrap();
    let mut live = Live::new(DUEL_GAME).unwrap();
    let bodies: Vec<Body> = DUEL.lines().flat_map(|line| live.push_line(line).unwrap()).collect();
    let recorded: Vec<Body> = record.events.into_iter().map(|timed| timed.event.body).collect();
    assert_eq!(bodies, recorded);
    assert!(live.ended());
    assert_eq!(live.match_id(), "f911e542-d9a8-44a7-b57c-419684188cae");
}

#[test]
fn live_feed_ignores_repeats_and_goes_on_after_a_gap_or_nonsense() {
    let lines: Vec<&str> = STANDARD4.lines().collect();
    let mut live = Live::new(STANDARD4_GAME).unwrap();
    assert!(matches!(live.push_line(lines[0]).unwrap()[0], Body::MatchStarted(_)));
    assert_eq!(live.push_line(lines[0]).unwrap(), []);
    assert_eq!(live.push_line("").unwrap(), []);
    assert_eq!(live.push_line(r#"{"Type":"ping"}"#).unwrap(), []);
    let error = live.push_line(r#"{"Type":"frame","Data":{"Turn":"x"}}"#).unwrap_err();
    assert_eq!(error.to_string().split(':').next(), Some("line 5 column 34"), "{error}");
    // Turns 1 to 11 are lost, and with them the move of everybody and the cause of nothing.
    let bodies = live.push_line(lines[12]).unwrap();
    assert!(bodies.iter().any(|body| matches!(body, Body::StateSnapshot(board) if board.phase.turn == 12)));
    assert!(!bodies.iter().any(|body| matches!(body, Body::ActionDecided(_) | Body::StatePatch(_))));
    assert!(bodies.iter().any(|b| matches!(b, Body::Feed(f) if f.text.contains("lost a head-on"))));
}

#[test]
fn live_feed_of_a_game_without_size_is_refused() {
    for (json, problem) in [
        (r#"{"Game":{"ID":"g"}}"#, "0 × 0"),
        (r#"{"Game":{"ID":"g","Width":65,"Height":7}}"#, "65 × 7"),
        (r#"{"Gam"#, "line 1 column"),
        (r#"{"Other":1}"#, "Game"),
    ] {
        let error = Live::new(json).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn board_size_comes_from_the_game_or_its_end_or_what_lies_on_it() {
    let size = |events: &str, game: Option<&str>| {
        let record = battlesnake::read_with_game(events, game).unwrap();
        let board = play(&record).end.board;
        (grid(&board).cols, grid(&board).rows)
    };
    let without_end = |events: &str| {
        let lines: Vec<&str> = events.lines().collect();
        lines[..lines.len() - 1].join("\n")
    };
    assert_eq!(size(ROYALE, Some(ROYALE_GAME)), (11, 11));
    assert_eq!(size(HEADON, None), (7, 7));
    assert_eq!(size(&without_end(HEADON), None), (7, 7));
    assert_eq!(size(&without_end(ROYALE), None), (11, 11));
    let large = r#"{"Type":"frame","Data":{"Turn":0,"Snakes":[],"Food":[{"X":24,"Y":3}]}}"#;
    let error = battlesnake::read_with_game(large, None).map(|record| record.events.len());
    assert_eq!(error, Ok(3), "started, turn, and that it breaks off");
}

#[test]
fn solo_game_has_neither_winner_nor_draw() {
    let frame = |turn: u32, death: &str| {
        format!(
            r#"{{"Type":"frame","Data":{{"Turn":{turn},"Snakes":[{{"ID":"a","Name":"A","Body":[{{"X":1,"Y":1}}],"Death":{death}}}]}}}}"#
        )
    };
    let death = r#"{"Cause":"wall-collision","Turn":1,"EliminatedBy":""}"#;
    let events = format!("{}\n{}\n{}\n", frame(0, "null"), frame(1, death), r#"{"Type":"game_end","Data":{}}"#);
    let end = play(&parsed(&events)).end;
    let result = end.board.result.unwrap();
    assert_eq!((result.winners.len(), result.draw, result.aborted), (0, false, false));
    assert_eq!(result.reason, "hit the wall on turn 1");
}

#[test]
fn record_cut_anywhere_plays_to_where_it_ends() {
    for (text, format) in ALL {
        let whole = parsed(text);
        // The small ones at every place, the large ones at some.
        let step = (text.len() / 4_000).pow(2).max(7);
        let cuts = (0..text.len()).step_by(step).chain(text.len().saturating_sub(20)..text.len() - 1);
        for cut in cuts {
            let bytes = &text.as_bytes()[..cut];
            match read(bytes, Some(format)) {
                Ok(record) => {
                    let same = record.events.len() == whole.events.len();
                    assert!(record.truncated.is_some() || same, "cut at {cut} is not noticed");
                    if record.truncated.is_some() {
                        let ended = |e: &agentcast::game::adapters::Timed| matches!(e.event.body, Body::MatchEnded(_));
                        assert!(!record.events.iter().any(ended), "a result that was not recorded");
                    }
                }
                Err(RecordError::Malformed { place, .. }) => {
                    assert!(place.starts_with("line "), "{place}");
                    assert!(bytes.iter().filter(|b| **b == b'\n').count() <= 1, "cut at {cut}: {place}");
                }
                Err(error) => panic!("cut at {cut}: {error}"),
            }
        }
    }
    let record = read(&STANDARD4.as_bytes()[..60_000], None).unwrap();
    let line = STANDARD4[..60_000].lines().count();
    assert_eq!(record.truncated, Some(format!("line {line} breaks off, the last whole turn is {}", line - 2)));
    assert_eq!(play(&record).end.board.phase.turn as usize, line - 2);
}

#[test]
fn damaged_record_names_the_place() {
    let lines: Vec<&str> = DUEL.lines().collect();
    let with = |line: &str| [&lines[..10], &[line], &lines[11..]].concat().join("\n");
    for (line, place) in [
        ("{\"Type\":\"frame\",\"Data\":", "line 11 column 23: "),
        ("nonsense", "line 11 column 2: "),
        ("{\"Type\":\"frame\",\"Data\":{\"Snakes\":[]}}", "line 11 column 36: missing field `turn`"),
        ("[]", "line 11 column 2: expected an object"),
        ("{\"Type\":\"frame\",\"Data\":{\"Turn\":-1}}", "line 11 column 33: expected a whole number"),
    ] {
        let error = read(with(line).as_bytes(), None).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
    let mut bytes = DUEL.as_bytes().to_vec();
    bytes[DUEL.find('\n').unwrap() + 7] = 0xff;
    let error = read(&bytes, None).unwrap_err();
    assert_eq!(error, RecordError::Malformed { place: "line 2 byte 7".into(), problem: "not UTF-8".into() });
    let error = read(b"", Some(Format::BattlesnakeOutput)).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
    assert_eq!(read(b"", None).unwrap_err(), RecordError::Unknown);
    let unknown_winner = DUEL_OUTPUT.replace(r#""winnerId":"""#, r#""winnerId":"nobody""#);
    let error = read(unknown_winner.as_bytes(), None).unwrap_err().to_string();
    assert!(error.starts_with("line 66: winnerId"), "{error}");
}

#[test]
fn nine_snakes_are_refused_with_the_limit() {
    let snakes: Vec<String> = (0..9).map(|i| format!(r#"{{"ID":"s{i}","Body":[{{"X":{i},"Y":0}}]}}"#)).collect();
    let line = format!(r#"{{"Type":"frame","Data":{{"Turn":0,"Snakes":[{}]}}}}"#, snakes.join(","));
    assert_eq!(read(line.as_bytes(), None).unwrap_err().to_string(), "line 1: more than 8 snakes");
}

#[test]
fn spectator_sees_all_of_a_board() {
    let played = play(&parsed(DUEL));
    let state = &played.turns[&30];
    assert_eq!(View::Spectator.filter(state).board, state.board);
    assert_eq!(View::Spectator.filter(state).actions.len(), 2);
}
