//! Chess games become matches: positions, clocks, evaluations, thoughts, results.

use agentcast::game::adapters::{Format, Record, RecordError, pgn};
use agentcast::game::{
    Applied, Body, Clock, Event, MatchResult, MatchState, Paint, Reducer, SideStatus, Snapshot, Tone, Visibility,
    ZoneContent,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn records(extension: &str) -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/records/chess");
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .expect("the records")
        .map(|entry| entry.expect("an entry"))
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
        .filter(|(name, _)| name.ends_with(extension))
        .map(|(name, path)| (name, std::fs::read_to_string(path).expect("a text")))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

fn text(name: &str) -> String {
    records("").into_iter().find(|r| r.0 == name).expect("a record of this name").1
}

fn read(name: &str) -> Record {
    pgn::read(&text(name)).expect("a record")
}

fn game(moves: &str) -> Record {
    pgn::read(moves).expect("a game")
}

fn error(text: &str) -> String {
    pgn::read(text).expect_err("wrong").to_string()
}

/// The snapshot after each half-move, the first one before all of them; the one that closes the match left out.
fn positions(record: &Record) -> Vec<&Snapshot> {
    let boards = record.events.iter().filter_map(|e| match &e.event.body {
        Body::MatchStarted(s) | Body::StateSnapshot(s) => Some(&**s),
        _ => None,
    });
    let mut all: Vec<_> = boards.collect();
    let moves = record.events.iter().filter(|e| matches!(e.event.body, Body::ActionDecided(_))).count();
    all.truncate(moves + 1);
    all
}

fn result(record: &Record) -> &MatchResult {
    match record.events.last().map(|e| &e.event.body) {
        Some(Body::MatchEnded(result)) => result,
        other => panic!("ends with {other:?}"),
    }
}

fn cells(snapshot: &Snapshot) -> &[agentcast::game::Cell] {
    match &snapshot.zones["board"].content {
        ZoneContent::Grid(grid) => &grid.cells,
        other => panic!("the board is {other:?}"),
    }
}

/// First field of a FEN, from the pieces that are drawn.
fn placement(snapshot: &Snapshot) -> String {
    let mut rows = vec![[' '; 8]; 8];
    for cell in cells(snapshot) {
        let Some(picture) = &cell.picture else { continue };
        let letter = match picture.0.strip_prefix("symbol:chess/").expect("a man") {
            "knight" => 'n',
            name => name.chars().next().expect("a name"),
        };
        let light = cell.tone == Tone::Light;
        assert_eq!(cell.side.as_deref(), Some(if light { "white" } else { "black" }));
        let square = &mut rows[usize::from(cell.y)][usize::from(cell.x)];
        assert_eq!(*square, ' ', "two men on one square");
        *square = if light { letter.to_ascii_uppercase() } else { letter };
    }
    let row = |row: &[char; 8]| {
        let mut text = String::new();
        let mut empty = 0;
        for &c in row {
            if c == ' ' {
                empty += 1;
                continue;
            }
            if empty > 0 {
                text += &empty.to_string();
            }
            empty = 0;
            text.push(c);
        }
        if empty > 0 {
            text += &empty.to_string();
        }
        text
    };
    rows.iter().map(row).collect::<Vec<_>>().join("/")
}

/// Squares with this paint, as `e4`.
fn painted(snapshot: &Snapshot, paint: Paint) -> BTreeSet<String> {
    let name = |c: &agentcast::game::Cell| format!("{}{}", char::from(b'a' + c.x as u8), 8 - c.y);
    cells(snapshot).iter().filter(|c| c.paint == Some(paint)).map(name).collect()
}

fn ids(snapshot: &Snapshot) -> BTreeMap<String, (u16, u16, String)> {
    let man = |c: &agentcast::game::Cell| Some((c.id.clone(), (c.x, c.y, c.picture.clone()?.0)));
    let men: Vec<_> = cells(snapshot).iter().filter_map(man).collect();
    let map: BTreeMap<_, _> = men.iter().cloned().collect();
    assert_eq!(map.len(), men.len(), "ids are unique");
    map
}

/// The state after each event.
fn states(record: &Record) -> Vec<MatchState> {
    let mut reducer = Reducer::default();
    record
        .events
        .iter()
        .map(|e| {
            reducer.apply(e.event.clone()).expect("applies");
            reducer.state().clone()
        })
        .collect()
}

fn shown(clock: &Clock, now: i64) -> i64 {
    if clock.running { clock.ms - (now - clock.as_of) } else { clock.ms }
}

fn thoughts(record: &Record) -> Vec<(String, String)> {
    record
        .events
        .iter()
        .filter_map(|e| match &e.event.body {
            Body::AgentThinking(t) => {
                assert_eq!(e.event.vis, Some(Visibility::Public));
                Some((t.side.clone(), t.delta.trim().to_owned()))
            }
            _ => None,
        })
        .collect()
}

/// Thoughts that are not an evaluation put in words.
fn spoken(record: &Record) -> Vec<(String, String)> {
    let numeric = |t: &str| t.ends_with('.') && t[..t.len() - 1].ends_with(|c: char| c.is_ascii_digit());
    thoughts(record).into_iter().filter(|(_, t)| !numeric(t)).collect()
}

fn feed(record: &Record) -> Vec<&str> {
    let lines = record.events.iter().filter_map(|e| match &e.event.body {
        Body::Feed(line) => Some(line.text.as_str()),
        _ => None,
    });
    lines.collect()
}

#[test]
fn positions_are_those_of_the_engine_logs() {
    for (name, log) in records(".uci.log") {
        let record = read(&name.replace(".uci.log", ".pgn"));
        let positions = positions(&record);
        let fens: Vec<&str> = log.lines().filter_map(|l| l.split('"').nth(1)).collect();
        // The log has the position before each move.
        assert!(positions.len() > fens.len(), "{name}");
        for (index, fen) in fens.iter().enumerate() {
            let fields: Vec<&str> = fen.split(' ').collect();
            assert_eq!(placement(positions[index]), fields[0], "{name} at half-move {index}");
            assert_eq!(positions[index].phase.turn.to_string(), fields[5], "{name}");
        }
    }
}

#[test]
fn final_positions_are_those_of_another_implementation() {
    // By python-chess 1.11.2.
    let annotated = read("annotated_variations_nags.pgn");
    assert_eq!(placement(positions(&annotated)[60]), "3k4/3b4/2pb1p2/3P1p2/5Pq1/2p1Q3/6BP/R5K1");
    let chess960 = read("generated_chess960.pgn");
    assert_eq!(placement(positions(&chess960)[25]), "q1n2Rkb/p2r4/np4b1/2pppp2/4P2P/1NP5/PP1PNP2/Q2RBRKB");
    assert_eq!(positions(&chess960)[0].game.name, "Chess960");
}

#[test]
fn men_keep_their_ids_when_they_move_castle_and_promote() {
    let record = read("generated_chess960.pgn");
    let positions = positions(&record);
    // 1. O-O: the king f1-g1 and the rook g1-f1 change places.
    let (before, after) = (ids(positions[0]), ids(positions[1]));
    assert_eq!(before["white-f1"], (5, 7, "symbol:chess/king".into()));
    assert_eq!(after["white-f1"], (6, 7, "symbol:chess/king".into()));
    assert_eq!(after["white-g1"], (5, 7, "symbol:chess/rook".into()));
    assert_eq!(painted(positions[1], Paint::Last), ["f1".to_owned(), "g1".to_owned()].into());
    // 8. gxh6 en passant takes the pawn from h5.
    assert!(ids(positions[14]).contains_key("black-h7"));
    assert!(!ids(positions[15]).contains_key("black-h7"));
    assert_eq!(ids(positions[15])["white-g2"], (7, 2, "symbol:chess/pawn".into()));
    // 13. gxf8=R+ is still that pawn.
    assert_eq!(ids(positions[25])["white-g2"], (5, 0, "symbol:chess/rook".into()));
    assert_eq!(painted(positions[25], Paint::Alert), ["g8".to_owned()].into());
    for (name, text) in records(".pgn") {
        let record = game(&text);
        let all: Vec<_> = self::positions(&record).into_iter().map(ids).collect();
        for pair in all.windows(2) {
            assert!(pair[1].keys().all(|id| pair[0].contains_key(id)), "{name}: a man out of nothing");
            let moved = pair[1].iter().filter(|(id, now)| pair[0][*id] != **now).count();
            assert!((1..=2).contains(&moved), "{name}: {moved} men moved");
        }
    }
}

#[test]
fn clocks_land_on_the_recorded_values() {
    let record = read("resign.pgn");
    let states = states(&record);
    let after: Vec<(i64, i64)> = record
        .events
        .iter()
        .zip(&states)
        .filter(|(e, _)| matches!(e.event.body, Body::StateSnapshot(_)))
        .map(|(_, s)| (s.board.sides["white"].clone(), s.board.sides["black"].clone()))
        .map(|(w, b)| (w.clock.expect("a clock").ms, b.clock.expect("a clock").ms))
        .collect();
    assert_eq!(after[..3], [(301_728, 300_000), (301_728, 302_359), (303_854, 302_359)]);
    assert_eq!(after[27], (325_979, 332_184));
    // 1. d4 took 5:00 + 3 s − 5:01.728 = 1.272 s; the clock runs down to 4:58.728 and then gets its three seconds.
    let start = record.events.iter().position(|e| matches!(e.event.body, Body::TurnStarted(_))).expect("a turn");
    let next = record.events.iter().position(|e| matches!(e.event.body, Body::ActionDecided(_))).expect("a move");
    // The evaluation is a thought, and that takes time to read: the clock starts so much higher.
    assert_eq!(record.events[next].at - record.events[start].at, pgn::READ_MIN_MS);
    let clock = states[start].board.sides["white"].clock.clone().expect("a clock");
    assert_eq!(shown(&clock, record.events[next].event.ts), 298_728);
    assert!(!states[start].board.sides["black"].clock.clone().expect("a clock").running);
    match &record.events[next].event.body {
        Body::ActionDecided(action) => assert_eq!((action.text.as_str(), action.latency_ms), ("d4", Some(1_272))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_think_is_cut_short_and_the_clock_still_lands() {
    let text = "[TimeControl \"600\"]\n1. e4 {[%clk 0:09:55]} e5 {[%clk 0:05:00]} 2. Nf3 {[%clk 0:09:55]} *";
    let record = game(text);
    let states = states(&record);
    let turn = |n: usize| {
        let turns = record.events.iter().enumerate().filter(|(_, e)| matches!(e.event.body, Body::TurnStarted(_)));
        turns.map(|(i, _)| i).nth(n).expect("a turn")
    };
    let (from, to) = (turn(1), turn(2));
    let wait = record.events[to].at - record.events[from].at;
    assert_eq!(wait, pgn::MOVE_MAX_MS);
    let clock = states[from].board.sides["black"].clock.clone().expect("a clock");
    assert_eq!(shown(&clock, record.events[to].event.ts), 300_000);
    assert_eq!(clock.ms, 300_000 + wait);
    // 2. Nf3 took nothing: the eye still gets its time.
    let last = record.events.iter().rposition(|e| matches!(e.event.body, Body::ActionDecided(_))).expect("a move");
    assert_eq!(record.events[last].at - record.events[to].at, pgn::MOVE_MIN_MS);
}

#[test]
fn a_record_without_times_has_a_pace_and_no_clocks() {
    let record = game("[TimeControl \"180+2\"]\n1. e4 e5 *");
    assert!(states(&record).iter().all(|s| s.board.sides.values().all(|side| side.clock.is_none())));
    let moves: Vec<i64> =
        record.events.iter().filter(|e| matches!(e.event.body, Body::ActionDecided(_))).map(|e| e.at).collect();
    assert_eq!(moves, [pgn::START_MS + pgn::MOVE_MS, pgn::START_MS + 2 * pgn::MOVE_MS]);
    // Elapsed times are enough to reckon with.
    let record = game("[TimeControl \"60+1\"]\n1. e4 {[%emt 0:00:10]} e5 {[%emt 0:00:02]} *");
    let last = states(&record).pop().expect("a state");
    let ms = |side: &str| last.board.sides[side].clock.clone().expect("a clock").ms;
    assert_eq!((ms("white"), ms("black")), (51_000, 59_000));
}

#[test]
fn evaluations_become_shares_and_the_leaders_value() {
    let record = read("mate.pgn");
    let evals: Vec<_> = record
        .events
        .iter()
        .filter_map(|e| match &e.event.body {
            Body::Eval(eval) => Some((eval.text.as_str(), eval.shares["white"], eval.shares["black"])),
            _ => None,
        })
        .collect();
    // 1. Nf3 +0.31: 1 / (1 + exp(−0.368208 · 0.31)).
    assert_eq!(evals[0].0, "+0.3");
    assert!((evals[0].1 - 0.5285).abs() < 0.0005 && (evals[0].1 + evals[0].2 - 1.0).abs() < 1e-9);
    assert_eq!(evals[evals.len() - 2], ("M8", 1.0, 0.0));
    assert_eq!(evals[evals.len() - 1], ("mate", 1.0, 0.0), "the recorded #1 is over");
    let black = game("1. e4 {[%eval -2.5]} e5 {[%eval #-3,12]} *");
    let last = states(&black).pop().expect("a state").board.eval.expect("an evaluation");
    assert_eq!((last.text.as_str(), last.shares["black"]), ("M3", 1.0));
    assert!(pgn::win_chance(-2.5) < 0.3);
}

#[test]
fn comments_are_thoughts_of_the_mover_before_its_move() {
    let record = read("awkward_names.pgn");
    let all = spoken(&record);
    assert_eq!(all[0], ("white".into(), "خطة هجومية".into()));
    assert_eq!(all[1], ("black".into(), "I want the centre.".into()));
    assert_eq!(all[2], ("white".into(), "Oops?! (not a brace trick".into()));
    assert!(all.iter().any(|t| t.1 == "Better was Nf3; line: e4 e5"));
    assert!(all.iter().all(|t| t.1 != "Draw agreed"), "the arbiter's words are nobody's thought");
    let first = |e: &Body| matches!(e, Body::AgentThinking(t) if t.delta == all[0].1);
    let thought = record.events.iter().position(|e| first(&e.event.body)).expect("one");
    let moves: Vec<usize> =
        (0..record.events.len()).filter(|&i| matches!(record.events[i].event.body, Body::ActionDecided(_))).collect();
    assert!(moves[1] < thought && thought < moves[2], "2. Nf3 is thought over before it is played");
}

#[test]
fn an_evaluation_without_words_is_thought_in_words() {
    let all = thoughts(&read("resign.pgn"));
    assert_eq!(all[0], ("white".into(), "White is slightly better, +0.3.".into()));
    assert_eq!(all[1], ("black".into(), "Equal, +0.1.".into()));
    let mate = thoughts(&game("1. f3 e5 2. g4 {[%eval #-1]} Qh4# *"));
    assert_eq!(mate, [("white".into(), "Black mates in 1.".into())]);
}

#[test]
fn variations_follow_the_move_in_words() {
    let record = read("annotated_variations_nags.pgn");
    let all = spoken(&record);
    assert_eq!(all[0], ("white".into(), "Engine prefers: 1. e4 e6 2. d4 d5 3. exd5".into()));
    assert_eq!(all[1], ("black".into(), "Engine prefers: 2... e6 3. Nf3 c5 4. cxd5 exd5".into()));
    let lines = feed(&record);
    assert!(lines.contains(&"1. d4!?") && lines.contains(&"12... g6?!") && lines.contains(&"19... Kd8??"), "{lines:?}");
    assert_eq!(*lines.last().expect("a line"), "unfinished, move 30");
    assert!(result(&record).aborted && result(&record).winners.is_empty());
    assert_eq!(record.truncated, None, "* is a result");
}

#[test]
fn arrows_show_the_move_talked_about_until_it_is_made() {
    let record = read("annotated_variations_nags.pgn");
    let states = states(&record);
    let arrows = |state: &MatchState| match &state.board.zones["board"].content {
        ZoneContent::Grid(grid) => grid.arrows.clone(),
        other => panic!("{other:?}"),
    };
    let first = states.iter().find(|s| !arrows(s).is_empty()).expect("an arrow");
    let arrow = &arrows(first)[0];
    assert_eq!((arrow.from, arrow.to, arrow.side.as_deref()), ([6, 7], [5, 5], Some("white")));
    assert_eq!(first.board.phase.turn, 4);
    assert!(arrows(states.last().expect("a state")).is_empty());
    // An arrow for something else stays until its side moves again.
    let record = game("1. e4 {[%cal Rd8h4]} e5 2. d4 exd4 *");
    let seen: Vec<usize> = positions(&record).into_iter().map(|s| arrows(&state_of(s)).len()).collect();
    assert_eq!(seen, [0, 1, 1, 0, 0]);
}

/// A state that is only a board.
fn state_of(board: &Snapshot) -> MatchState {
    MatchState { board: board.clone(), ..MatchState::default() }
}

#[test]
fn names_with_quotes_and_many_scripts_survive() {
    let board = &states(&read("awkward_names.pgn"))[0].board;
    assert_eq!(
        board.sides["white"].name,
        "Kaspárôv-ビット v2 \"Deep \\ Thought\" – the engine whose name does not stop, not even when it ought to \
         (build 2026-11-20T22:22:22Z)"
    );
    assert_eq!(board.sides["black"].name, "عقل آلي 🤖");
    assert_eq!(board.title, "شطرنج / שחמט / 国际象棋");
    let long = game(&format!("[White \"{}\"]\n1. e4 *", "長".repeat(500)));
    let name = &states(&long)[0].board.sides["white"].name;
    assert_eq!((name.chars().count(), name.chars().last()), (200, Some('…')));
}

#[test]
fn tags_introduce_the_match() {
    let record = read("mate.pgn");
    let board = &states(&record)[0].board;
    assert_eq!((board.title.as_str(), board.round.as_str()), ("engine match", "Round 1"));
    assert_eq!(board.sides["white"].blurb, "BOT · rating 3,500");
    assert_eq!((board.sides["white"].seat, board.sides["black"].seat), (0, 1));
    let facts: Vec<_> = board.facts.iter().map(|f| (f.label.as_str(), f.text.as_str())).collect();
    assert_eq!(facts, [("Time control", "3 min + 2 s"), ("Site", "localhost"), ("Date", "2026.11.20")]);
    let first = &record.events[0].event;
    assert_eq!(first.ts, 1_795_132_800_000, "midnight of the date");
    assert_eq!(board.starts_at, Some(first.ts + pgn::START_MS));
}

#[test]
fn results_say_who_won_and_why() {
    let of = |name: &str| {
        let record = read(name);
        let result = result(&record).clone();
        (result.winners.first().cloned(), result.draw, result.reason, result.sides["black"].score)
    };
    assert_eq!(of("mate.pgn"), (Some("white".into()), false, "by checkmate, move 16".into(), Some(0.0)));
    assert_eq!(of("resign.pgn"), (Some("white".into()), false, "by resignation, move 14".into(), Some(0.0)));
    assert_eq!(of("draw_by_rule.pgn"), (None, true, "by repetition, move 34".into(), Some(0.5)));
    assert_eq!(of("awkward_names.pgn"), (None, true, "by agreement, move 26".into(), Some(0.5)));
    let reason = |text: &str| result(&game(text)).reason.clone();
    assert_eq!(reason("[Termination \"abandoned\"]\n1. e4 *"), "abandoned, move 1");
    assert_eq!(reason("[Termination \"B won by resignation\"]\n1. e4 0-1"), "by resignation, move 1");
    assert_eq!(reason("[FEN \"7k/5Q2/8/8/8/8/8/K7 w - - 0 1\"]\n1. Kb1 1/2-1/2"), "by stalemate, move 1");
    assert_eq!(reason("[Event \"x\"]\n*"), "unfinished");
    let last = states(&read("mate.pgn")).pop().expect("a state").board;
    assert_eq!(last.sides["white"].status, SideStatus::Winner);
    assert_eq!(painted(&last, Paint::Alert), ["g8".to_owned()].into());
    assert!(last.phase.active.is_empty());
}

#[test]
fn a_lost_clock_runs_out_before_the_end() {
    let text = "[Termination \"time forfeit\"]\n[TimeControl \"10\"]\n\
        1. e4 {[%clk 0:00:09]} e5 {[%clk 0:00:04]} 2. Nf3 {[%clk 0:00:08]} 1-0";
    let record = game(text);
    assert_eq!(result(&record).reason, "on time, move 2");
    let states = states(&record);
    let last = &states[states.len() - 1].board.sides["black"];
    assert_eq!((last.status, last.status_text.as_str()), (SideStatus::Timeout, "lost on time"));
    assert_eq!(last.clock.as_ref().map(|c| c.ms), Some(0));
    let running = states.iter().rev().find_map(|s| s.board.sides["black"].clock.clone().filter(|c| c.running));
    let end = record.events.last().expect("an event").event.ts;
    assert_eq!(shown(&running.expect("a running clock"), end), 0);
}

#[test]
fn wrong_moves_name_line_and_column() {
    assert_eq!(
        error("[Event \"x\"]\n\n1. e4 e5\n2. Ke3 *"),
        "line 4 column 4: 2. Ke3 is illegal in rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq e6 0 2"
    );
    assert!(error("1. Nf3 Nf6 2. d3 d6 3. Nd2 *").contains("line 1 column 24: 3. Nd2 is ambiguous"));
    assert_eq!(error("1. e4 ok *"), "line 1 column 7: \"ok\" is not a move");
    assert_eq!(error("[Event \"x\"\n1. e4 *"), "line 1 column 1: expected a tag: [Name \"value\"]");
    assert!(error("[FEN \"8/8 w - -\"]\n*").starts_with("line 1 column 1: FEN "));
    assert!(error("[Variant \"Atomic\"]\n*").contains("known are Standard and Chess960"));
    assert_eq!(error(""), "line 1 column 1: no tags and no moves");
    assert!(error(&format!("1. e4 {}", "(".repeat(100_000))).contains("variations nest deeper than 64"));
}

#[test]
fn a_game_ends_at_its_result_or_where_the_text_ends() {
    let two = game("[Event \"A\"]\n1. e4 1-0\n\n[Event \"B\"]\n1. d4 0-1");
    assert_eq!((result(&two).winners.clone(), two.truncated), (vec!["white".to_owned()], None));
    let cut = |text: &str| game(text).truncated.expect("it is cut");
    assert_eq!(cut("1. e4 e5 2. Nf"), "the file ends inside a move (line 1), after 1... e5");
    assert_eq!(cut("1. e4 {[%clk 0:0"), "the file ends inside a comment (line 1), after 1. e4");
    assert_eq!(cut("1. e4 (1. d4\n"), "the file ends inside a variation (line 1), after 1. e4");
    assert_eq!(cut("1. e4 1/2-1"), "the file ends inside the result (line 1), after 1. e4");
    assert_eq!(cut("[Event \"x\"]\n[Site \"y"), "the file ends inside a tag (line 2), before the first move");
    assert_eq!(
        cut("1. e4\n[Event \"B\"]\n1. d4 *"),
        "the game has no result before the next one (line 2), after 1. e4"
    );
    // A mate needs no result token.
    let mated = game("1. f3 e5 2. g4 Qh4#\n");
    assert_eq!((result(&mated).winners.clone(), mated.truncated.is_some()), (vec!["black".to_owned()], true));
}

#[test]
fn a_cut_record_plays_to_where_it_ends() {
    for (name, text) in records(".pgn") {
        let whole = positions(&game(&text)).len();
        // A text without a whole tag is no record yet.
        let (begin, end) = (text.find('\n').expect("several lines"), text.trim_end().len());
        for cut in (begin..end).step_by(37).filter(|&n| text.is_char_boundary(n)) {
            let record = pgn::read(&text[..cut]).unwrap_or_else(|e| panic!("{name} cut at {cut}: {e}"));
            assert!(record.truncated.is_some(), "{name} cut at {cut}");
            assert!(positions(&record).len() <= whole, "{name} cut at {cut}");
            if cut % 5 == 0 {
                applies(&record, &name);
            }
        }
    }
}

#[test]
fn mutated_records_never_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    for (name, text) in records(".pgn") {
        for round in 0..400 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] = random.u8(32..127),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, random.u8(32..127)),
                    _ => bytes[at] = b"{}()[]$;%\"\\#*-=+ \n"[random.usize(..18)],
                }
            }
            match pgn::read(&String::from_utf8_lossy(&bytes)) {
                Ok(record) if round % 10 == 0 => applies(&record, &name),
                Ok(_) => {}
                Err(RecordError::Malformed { place, .. }) => assert!(place.starts_with("line "), "{place}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn all_events_apply() {
    for (name, text) in records(".pgn") {
        let record = game(&text);
        assert_eq!((record.format, &record.truncated), (Format::Pgn, &None), "{name}");
        applies(&record, &name);
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
