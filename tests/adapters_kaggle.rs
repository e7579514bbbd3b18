//! Kaggle episodes of real environments: what a viewer would miss if the adapter got it wrong.

use agentcast::game::adapters::kaggle::{self, LONGEST_MS, STEP_MS, TURN_MS};
use agentcast::game::adapters::{Format, Record, RecordError, detect, read};
use agentcast::game::wire::Body;
use agentcast::game::{
    ActionStatus, Applied, Cards, Grid, Ground, MatchResult, MatchState, Paint, Reducer, SideStatus, Snapshot, View,
    ZoneContent,
};
use serde_json::{Value, json};

const CONNECTX: &str = include_str!("records/kaggle/connectx_negamax_vs_random.json");
const CONNECTX_LOGS: &str = include_str!("records/kaggle/connectx_negamax_vs_random.logs.json");
const CONNECTX_CRASH: &str = include_str!("records/kaggle/connectx_error_crash.json");
const CONNECTX_CRASH_LOGS: &str = include_str!("records/kaggle/connectx_error_crash.logs.json");
const CONNECTX_INVALID: &str = include_str!("records/kaggle/connectx_invalid.json");
const CONNECT_FOUR: &str = include_str!("records/kaggle/openspiel_connect_four_simple.json");
const GEESE: &str = include_str!("records/kaggle/hungry_geese_4greedy.json");
const GEESE_LOGS: &str = include_str!("records/kaggle/hungry_geese_4greedy.logs.json");
const POKER: &str = include_str!("records/kaggle/openspiel_universal_poker.json");
const HEARTS: &str = include_str!("records/kaggle/openspiel_hearts.json");
const CRAWL: &str = include_str!("records/kaggle/crawl_random.json");
const PLANETS: &str = include_str!("records/kaggle/planet_wars_nearest_vs_random.json");
const RPS: &str = include_str!("records/kaggle/rps_statistical_vs_reactionary.json");
const WORDS: &str = include_str!("records/kaggle/word_association_4.json");

const ALL: [&str; 11] =
    [CONNECTX, CONNECTX_CRASH, CONNECTX_INVALID, CONNECT_FOUR, GEESE, POKER, HEARTS, CRAWL, PLANETS, RPS, WORDS];

fn parsed(text: &str) -> Record {
    read(text.as_bytes(), None).unwrap()
}

/// The states as each board left them: one for each step from the first position on, and one for the end.
fn play(record: &Record) -> Vec<MatchState> {
    let mut reducer = Reducer::default();
    let mut states: Vec<(i64, MatchState)> = Vec::new();
    for event in &record.events {
        match reducer.apply(event.event.clone()) {
            Ok(Applied::Now(1)) => {}
            other => panic!("{other:?} of {:?}", event.event),
        }
        let state = reducer.state().clone();
        match states.last_mut() {
            // What is said before the next move belongs to this step.
            Some((at, last)) if *at == event.at => *last = state,
            _ => states.push((event.at, state)),
        }
    }
    states.into_iter().map(|(_, state)| state).collect()
}

fn end(text: &str) -> MatchState {
    play(&parsed(text)).pop().unwrap()
}

fn result(state: &MatchState) -> &MatchResult {
    state.board.result.as_ref().expect("a result")
}

fn winners(state: &MatchState) -> Vec<&str> {
    result(state).winners.iter().map(|id| state.board.sides[id].name.as_str()).collect()
}

fn grid(board: &Snapshot) -> &Grid {
    let ZoneContent::Grid(grid) = &board.zones["board"].content else { panic!("the board is a grid") };
    grid
}

fn cards<'a>(state: &'a MatchState, zone: &str) -> &'a Cards {
    let ZoneContent::Cards(cards) = &state.board.zones[zone].content else { panic!("{zone} has cards") };
    cards
}

/// `6♠ 5♦`, with `-` for a back.
fn faces(state: &MatchState, zone: &str) -> String {
    let face = |card: &agentcast::game::Card| match &card.face {
        Some(face) => format!("{}{}", face.rank, ['♣', '♦', '♥', '♠'][face.suit.expect("a suit") as usize]),
        None => "-".to_owned(),
    };
    cards(state, zone).items.iter().map(face).collect::<Vec<_>>().join(" ")
}

/// The board as lines from the top: A and B for the agents' tokens.
fn tokens(state: &MatchState) -> Vec<String> {
    let grid = grid(&state.board);
    let mut lines = vec![vec!['.'; usize::from(grid.cols)]; usize::from(grid.rows)];
    for cell in &grid.cells {
        let seat = state.board.sides[cell.side.as_ref().expect("a token is somebody's")].seat;
        lines[usize::from(cell.y)][usize::from(cell.x)] = ['A', 'B'][usize::from(seat)];
    }
    lines.into_iter().map(String::from_iter).collect()
}

fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut episode: Value = serde_json::from_str(text).unwrap();
    edit(&mut episode);
    episode.to_string()
}

#[test]
fn every_record_is_detected_and_plays_through_the_reducer_without_gap() {
    for text in ALL {
        assert_eq!(detect(text.as_bytes()), Some(Format::Kaggle));
        let record = parsed(text);
        assert_eq!((record.format, record.truncated.as_deref()), (Format::Kaggle, None));
        let state = play(&record).pop().unwrap();
        assert!(state.board.result.is_some(), "{}", state.board.game.name);
        assert!(state.board.phase.active.is_empty());
        assert!(record.events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}

#[test]
fn steps_and_results_are_those_of_the_environment() {
    for (text, steps, won, draw) in [
        (CONNECTX, 7, vec!["Negamax"], false),
        (CONNECTX_CRASH, 6, vec!["Random"], false),
        (CONNECTX_INVALID, 7, vec!["Random"], false),
        (CONNECT_FOUR, 30, vec!["Random"], false),
        (
            GEESE,
            87,
            vec![
                "A goose with a name so long that no scoreboard on this planet could ever hope to fit it in one line (v2, final, FINAL)",
            ],
            false,
        ),
        (POKER, 4, vec!["Random"], false),
        // Rewards are 26 − points: the largest has the fewest points.
        (HEARTS, 64, vec!["West"], false),
        (CRAWL, 29, vec![], true),
        (PLANETS, 39, vec!["Nearest Enemy"], false),
        (RPS, 59, vec!["Re-actor ©®™"], false),
        (WORDS, 13, vec!["Blue Spymaster", "Blue Guesser"], false),
    ] {
        let states = play(&parsed(text));
        // The start, a board after each step, and the end.
        assert_eq!(states.len(), steps + 2, "{}", states[0].board.title);
        let last = &states[steps + 1];
        assert_eq!((winners(last), result(last).draw), (won, draw));
        for (id, side) in &last.board.sides {
            assert_eq!(side.status == SideStatus::Winner, result(last).winners.contains(id), "{}", side.name);
        }
    }
}

#[test]
fn who_acted_is_who_was_active_before_not_who_carries_an_action() {
    for (text, side, moves) in [
        (CONNECTX, "agent1", 4),
        (CONNECTX, "agent2", 3),
        (CONNECT_FOUR, "agent1", 15),
        (HEARTS, "agent1", 16),
        (WORDS, "agent1", 2),
    ] {
        let record = parsed(text);
        let acted = record.events.iter().filter(|e| matches!(&e.event.body, Body::ActionDecided(a) if a.side == side));
        assert_eq!(acted.count(), moves, "{side}");
    }
    // A goose that is out carries its last action for ever.
    let record = parsed(GEESE);
    let of = |side: &'static str| {
        record.events.iter().filter(move |e| matches!(&e.event.body, Body::ActionDecided(a) if a.side == side)).count()
    };
    assert_eq!([of("agent1"), of("agent2"), of("agent3"), of("agent4")], [87, 34, 87, 57]);
}

#[test]
fn connectx_board_stands_as_recorded_with_the_winning_four_lit() {
    let states = play(&parsed(CONNECTX));
    assert_eq!(grid(&states[0].board).ground, Ground::Holes);
    assert_eq!(tokens(&states[0]), ["......."; 6]);
    assert_eq!(tokens(&states[3])[5], ".B..AA.");
    let last = &states[7];
    assert_eq!(tokens(last)[4..], [".....B.", "BB.AAAA"]);
    let lit = |state: &MatchState, paint| -> Vec<(u16, u16)> {
        grid(&state.board).cells.iter().filter(|c| c.paint == Some(paint)).map(|c| (c.x, c.y)).collect()
    };
    assert_eq!(lit(last, Paint::Accent), [(3, 5), (4, 5), (5, 5), (6, 5)]);
    assert_eq!(lit(&states[3], Paint::Last), [(4, 5)]);
    assert_eq!(result(&states[8]).reason, "4 in a row, move 7");
}

#[test]
fn connect_four_of_openspiel_has_its_bottom_row_first() {
    let states = play(&parsed(CONNECT_FOUR));
    assert_eq!(tokens(&states[1])[5], "...A...");
    assert_eq!(tokens(&states[5])[3..], [".......", ".B.A...", ".B.AA.."]);
    assert_eq!(tokens(&states[30])[0], "..BA..A");
    assert_eq!(states[30].actions["agent2"].text, "column 2");
    let text = ".......\n.......\n.......\n.......\n.......\n...x...\n";
    let plain = edited(CONNECT_FOUR, |episode| {
        let steps = episode["steps"].as_array_mut().unwrap();
        steps.truncate(3);
        for (step, text) in steps.iter_mut().skip(1).zip([text.replace('x', "."), text.to_owned()]) {
            step[0]["observation"]["observationString"] = json!(text);
        }
    });
    assert_eq!(tokens(&play(&parsed(&plain))[1])[5], "...A...");
}

#[test]
fn failed_agent_loses_though_its_opponent_has_no_reward() {
    let last = end(CONNECTX_CRASH);
    assert_eq!(result(&last).reason, "Boom 💥 crashed");
    assert_eq!(last.board.sides["agent2"].status, SideStatus::Error);
    assert_eq!(last.board.sides["agent2"].status_text, "crashed");
    assert_eq!((last.actions["agent2"].status, last.actions["agent2"].text.as_str()), (ActionStatus::Error, "no move"));
    assert_eq!(result(&last).sides["agent2"].score, None);
    let last = end(CONNECTX_INVALID);
    assert_eq!(result(&last).reason, "Rule Breaker made an invalid move");
    assert_eq!(last.board.sides["agent1"].status, SideStatus::Invalid);
    let action = &last.actions["agent1"];
    assert_eq!((action.status, action.text.as_str()), (ActionStatus::Invalid, "column 99"));
}

#[test]
fn timeout_in_the_middle_that_ends_as_done_is_still_a_timeout() {
    let text = edited(CONNECTX, |episode| {
        let steps = episode["steps"].as_array_mut().unwrap();
        steps.truncate(5);
        steps[4][1]["status"] = json!("TIMEOUT");
        steps[4][1]["reward"] = json!(null);
        let mut last = steps[4].clone();
        last[0]["status"] = json!("DONE");
        last[1]["status"] = json!("DONE");
        steps.push(last);
        episode["statuses"] = json!(["DONE", "DONE"]);
        episode["rewards"] = json!([0, null]);
    });
    let states = play(&parsed(&text));
    let last = states.last().unwrap();
    assert_eq!(winners(last), ["Negamax"]);
    assert_eq!(result(last).reason, "Ponder Bot ran out of time");
    assert_eq!(last.board.sides["agent2"].status, SideStatus::Timeout);
    assert_eq!(states[4].actions["agent2"].status, ActionStatus::Timeout);
}

#[test]
fn illegal_move_of_openspiel_is_a_forfeit_though_both_are_done() {
    let text = edited(CONNECT_FOUR, |episode| {
        let steps = episode["steps"].as_array_mut().unwrap();
        steps.truncate(4);
        steps[3][1]["info"]["actionSubmitted"] = json!(42);
        steps[3][1]["info"]["actionApplied"] = json!(null);
        steps[3][1]["action"]["submission"] = json!(42);
        for agent in 0..2 {
            steps[3][agent]["status"] = json!("DONE");
            let board = steps[2][0]["observation"]["observationString"].clone();
            steps[3][agent]["observation"]["observationString"] = board;
        }
        episode["rewards"] = json!([1, -1]);
    });
    let last = end(&text);
    assert_eq!(winners(&last), ["Ünïcödé"]);
    assert_eq!(result(&last).reason, "Random made an invalid move");
    assert_eq!(last.actions["agent2"].status, ActionStatus::Invalid);
    assert_eq!(tokens(&last)[5], "...A...");
}

#[test]
fn full_board_is_a_draw_whatever_the_reward() {
    for rewards in [json!([0, 0]), json!([0.5, 0.5])] {
        let text = edited(CONNECTX, |episode| {
            let steps = episode["steps"].as_array_mut().unwrap();
            steps.truncate(7);
            episode["rewards"] = rewards;
        });
        let last = end(&text);
        assert_eq!((result(&last).draw, result(&last).winners.len()), (true, 0));
    }
}

#[test]
fn geese_cross_the_edges_and_leave_when_out() {
    let states = play(&parsed(GEESE));
    let board = grid(&states[0].board);
    assert_eq!((board.cols, board.rows), (11, 7));
    let bodies = |t: usize| -> Vec<(String, Vec<[u16; 2]>, bool)> {
        grid(&states[t].board).bodies.iter().map(|b| (b.id.clone(), b.cells.clone(), b.dead)).collect()
    };
    let head = |t: usize, goose: usize| bodies(t)[goose].1[0];
    // Cells 14, 17, 1 and 29 of eleven columns.
    assert_eq!([head(0, 0), head(0, 1), head(0, 2), head(0, 3)], [[3, 1], [6, 1], [1, 0], [7, 2]]);
    // The third goes north from the top row to the bottom one.
    assert_eq!((head(1, 2), states[1].actions["agent3"].text.as_str()), ([1, 6], "north"));
    let food: Vec<_> = board.cells.iter().map(|c| (c.x, c.y)).collect();
    assert_eq!(food, [(10, 1), (3, 6)]);

    assert!(bodies(34).iter().any(|(id, cells, dead)| id == "agent2" && *dead && !cells.is_empty()));
    assert!(!bodies(45).iter().any(|(id, ..)| id == "agent2"));
    let side = &states[34].board.sides["agent2"];
    assert_eq!((side.status, side.status_text.as_str()), (SideStatus::Eliminated, "eliminated on turn 34"));
    assert_eq!(states[33].board.phase.active.len(), 4);
    assert_eq!(states[34].board.phase.active.len(), 3);
    let last = result(&states[88]);
    assert_eq!((last.sides["agent3"].score, last.reason.as_str()), (Some(8814.0), "last goose alive, turn 87"));
}

#[test]
fn poker_hands_are_hidden_from_spectators_and_seen_by_their_owner() {
    let states = play(&parsed(POKER));
    for state in &states {
        for (view, one, two) in [
            (View::Spectator, "- -", "- -"),
            (View::Side("agent1".into()), "6♠ 5♦", "- -"),
            (View::Side("agent2".into()), "- -", "J♥ 5♥"),
            (View::All, "6♠ 5♦", "J♥ 5♥"),
        ] {
            let seen = view.filter(state);
            assert_eq!((faces(&seen, "hand1").as_str(), faces(&seen, "hand2").as_str()), (one, two), "{view}");
            assert_eq!(seen.thoughts.contains_key("agent2"), state.thoughts.contains_key("agent2") && two != "- -");
        }
    }
}

#[test]
fn poker_actions_stacks_and_pot_are_chips_not_openspiels_pot() {
    let states = play(&parsed(POKER));
    let text = |t: usize, side: &str| states[t].actions[side].text.clone();
    assert_eq!(
        [text(1, "agent2"), text(2, "agent1"), text(3, "agent2"), text(4, "agent1")],
        ["raise to 47", "raise to 101", "raise to 169", "fold"]
    );
    let counters = |t: usize, side: &str| -> Vec<f64> {
        states[t].board.sides[side].counters.iter().map(|counter| counter.value).collect()
    };
    assert_eq!((counters(0, "agent1"), counters(0, "agent2")), (vec![198.0, 2.0], vec![199.0, 1.0]));
    // The observation says [Pot: 94], but 2 and 47 lie there.
    assert_eq!(states[1].board.zones["board"].label, "Pot 49");
    assert_eq!((counters(4, "agent1"), counters(4, "agent2")), (vec![99.0, 0.0], vec![301.0, 0.0]));
    assert_eq!(states[1].board.phase.name, "Preflop");
    let roles = ["agent1", "agent2"].map(|side| states[0].board.sides[side].role.as_str());
    assert_eq!(roles, ["Big blind", "Small blind"]);
    let blinds = states[0].feed.iter().find(|line| line.actor.is_none()).unwrap();
    assert_eq!(blinds.text, "Blinds 2 and 1, hole cards are dealt");
    assert_eq!(result(&states[5]).reason, "GPT-∞ folded");
}

/// A hand that is called down: `6s5d` against `Jh5h`, all in on the turn.
fn showdown() -> String {
    edited(POKER, |episode| {
        let step = |acting: Option<(usize, i64)>, round: usize, next: i64, paid: [i64; 2]| {
            let agent = |agent: usize, hole: &str| {
                let money = [200 - paid[0], 200 - paid[1]];
                let over = next == -4;
                let status = match next {
                    -4 => "DONE",
                    next if next == agent as i64 => "ACTIVE",
                    _ => "INACTIVE",
                };
                let submission = acting.filter(|(who, _)| *who == agent).map(|(_, action)| action);
                let info = match submission {
                    Some(action) => json!({"actionSubmitted": action, "actionApplied": action, "timeTaken": 3.5}),
                    None => json!({}),
                };
                let text = format!(
                    "[Round {round}][Player: {next}][Pot: 0][Money: {} {}][Private: {hole}][PlayerContribution: {} {}]",
                    money[0], money[1], paid[0], paid[1]
                );
                json!({"action": {"submission": submission.unwrap_or(-1)}, "reward": null, "info": info, "status": status,
                    "observation": {"observationString": text, "currentPlayer": next, "isTerminal": over}})
            };
            json!([agent(0, "6s5d"), agent(1, "Jh5h")])
        };
        let setup = episode["steps"][0].clone();
        episode["steps"] = json!([
            setup,
            step(None, 0, 1, [2, 1]),
            step(Some((1, 1)), 0, 0, [2, 2]),
            step(Some((0, 1)), 1, 1, [2, 2]),
            step(Some((1, 1)), 1, 0, [2, 2]),
            step(Some((0, 12)), 1, 1, [12, 2]),
            step(Some((1, 1)), 2, 1, [12, 12]),
            step(Some((1, 200)), 2, 0, [12, 200]),
            step(Some((0, 1)), 3, -4, [200, 200]),
        ]);
        // Hole cards, then actions and the board as it falls: Ad 7s Js, 2c, 3h.
        let history = [19, 13, 14, 38, 1, 1, 49, 23, 39, 1, 12, 1, 0, 200, 1, 6];
        episode["info"]["actionHistory"] = json!(history.map(|action| action.to_string()));
        episode["rewards"] = json!([-200, 200]);
    })
}

#[test]
fn poker_board_falls_with_the_streets_and_hands_open_at_the_showdown() {
    let states = play(&parsed(&showdown()));
    let board: Vec<String> = states.iter().map(|state| faces(state, "board")).collect();
    assert_eq!((board[0].as_str(), board[1].as_str(), board[2].as_str()), ("", "", "A♦ 7♠ J♠"));
    assert_eq!((board[5].as_str(), board[7].as_str()), ("A♦ 7♠ J♠ 2♣", "A♦ 7♠ J♠ 2♣ 3♥"));
    let streets = [0, 2, 5, 7].map(|t| states[t].board.phase.name.as_str());
    assert_eq!(streets, ["Preflop", "Flop", "Turn", "Showdown"]);
    let seen = |t: usize| faces(&View::Spectator.filter(&states[t]), "hand2");
    assert_eq!((seen(6).as_str(), seen(7).as_str()), ("- -", "J♥ 5♥"));
    let text = |t: usize, side: &str| states[t].actions[side].text.clone();
    assert_eq!(
        [text(1, "agent2"), text(2, "agent1"), text(4, "agent1"), text(5, "agent2"), text(6, "agent2")],
        ["call 2", "check", "bet 10", "call 12", "bet 188, all in"]
    );
    let said: Vec<&str> = states[8].feed.iter().filter(|l| l.kind == "event").map(|l| l.text.as_str()).collect();
    assert!(said.contains(&"Flop: A♦ 7♠ J♠") && said.contains(&"River: 3♥") && said.contains(&"Random shows J♥ 5♥"));
    assert_eq!(result(&states[8]).reason, "at the showdown");
}

#[test]
fn poker_without_history_shows_backs_for_the_board() {
    let text = edited(&showdown(), |episode| episode["info"] = json!({}));
    let states = play(&parsed(&text));
    assert_eq!(faces(&states[2], "board"), "- - -");
    assert_eq!(states[0].board.sides["agent1"].name, "Agent 1", "names are in info only");
}

#[test]
fn hearts_hands_are_backs_and_shrink_as_cards_are_played() {
    let states = play(&parsed(HEARTS));
    let hand = |t: usize, view: &View, zone: &str| faces(&view.filter(&states[t]), zone);
    assert_eq!(hand(0, &View::Side("agent1".into()), "hand1"), "Q♠ 6♠ K♥ J♥ 3♥ 10♦ 9♦ 7♦ 6♦ 5♦ 3♦ A♣ 3♣");
    assert_eq!(hand(0, &View::Side("agent1".into()), "hand2"), ["-"; 13].join(" "));
    for t in 0..states.len() {
        for zone in ["hand1", "hand2", "hand3", "hand4"] {
            assert!(!hand(t, &View::Spectator, zone).contains(['♠', '♥', '♦', '♣']), "step {t}");
        }
    }
    // Three are passed and three received; then thirteen tricks.
    assert_eq!(cards(&states[3], "hand1").items.len(), 10);
    assert_eq!(cards(&states[12], "hand1").items.len(), 13);
    assert_eq!(cards(&states[64], "hand1").items.len(), 0);
}

#[test]
fn hearts_pass_is_secret_to_all_but_its_side() {
    let states = play(&parsed(HEARTS));
    assert_eq!((states[1].board.phase.name.as_str(), states[12].board.phase.name.as_str()), ("Pass", "Play"));
    assert_eq!(states[1].actions["agent1"].text, "passes a card");
    let said = |view: View| view.filter(&states[1]).feed.iter().any(|line| line.text.contains("6♦"));
    assert_eq!(
        [said(View::Spectator), said(View::Side("agent2".into())), said(View::Side("agent1".into()))],
        [false, false, true]
    );
}

#[test]
fn hearts_trick_shows_who_played_what_and_who_takes_it() {
    let states = play(&parsed(HEARTS));
    // East leads the deuce of clubs, North takes the trick with the ace.
    let trick = |t: usize| -> Vec<(String, String, bool)> {
        let shown = View::Spectator.filter(&states[t]);
        let cards = cards(&shown, "trick").items.clone();
        let names = faces(&shown, "trick");
        let names = names.split(' ').map(str::to_owned);
        cards.into_iter().zip(names).map(|(card, name)| (card.side.unwrap(), name, card.lit)).collect()
    };
    let entry = |side: &str, card: &str, lit| (side.to_owned(), card.to_owned(), lit);
    assert_eq!(trick(13), [entry("agent2", "2♣", false)]);
    assert_eq!(
        trick(16),
        [
            entry("agent2", "2♣", false),
            entry("agent3", "5♣", false),
            entry("agent4", "J♣", false),
            entry("agent1", "A♣", true)
        ]
    );
    assert_eq!(states[16].board.phase.turn, 1);
    let points =
        |t: usize| ["agent1", "agent2", "agent3", "agent4"].map(|side| states[t].board.sides[side].counters[0].value);
    assert_eq!((points(16), points(24)), ([0.0; 4], [0.0, 0.0, 13.0, 0.0]));
    let last = result(&states[65]);
    let scores = ["agent1", "agent2", "agent3", "agent4"].map(|side| last.sides[side].score);
    assert_eq!(scores, [Some(5.0), Some(4.0), Some(14.0), Some(3.0)]);
    assert_eq!(points(64), [5.0, 4.0, 14.0, 3.0], "the table says the same as the rewards");
}

#[test]
fn hidden_roles_of_word_association_are_never_public() {
    let episode: Value = serde_json::from_str(WORDS).unwrap();
    let shown = &episode["steps"][0][0]["observation"];
    let states = play(&parsed(WORDS));
    for (t, state) in states.iter().enumerate() {
        let seen = View::Spectator.filter(state);
        let ZoneContent::Text(zone) = &seen.board.zones["summary"].content else { panic!("text") };
        let revealed = &episode["steps"][t.min(13)][1]["observation"]["revealed"];
        for (i, word) in shown["words"].as_array().unwrap().iter().enumerate() {
            let line =
                zone.text.lines().find(|line| line.contains(word.as_str().unwrap())).expect("every word is there");
            let role = line.split(':').next().unwrap();
            let known = revealed[i].as_bool().unwrap();
            assert_eq!(role, if known { shown["roles"][i].as_str().unwrap() } else { "open" }, "{word} at {t}");
        }
    }
    assert_eq!(states[1].actions["agent3"].text, "clue: animal, 2");
    assert_eq!(states[2].actions["agent4"].text, "SPOOL");
    assert_eq!(states[13].actions["agent4"].text, "pass");
    assert_eq!(result(&states[14]).reason, "yellow passed without a guess");
}

#[test]
fn environment_without_a_table_hides_what_agents_did() {
    let states = play(&parsed(CRAWL));
    let state = &states[1];
    assert_eq!(state.actions["agent1"].text, "has moved");
    let told = |view: View| view.filter(state).feed.iter().any(|line| line.text.contains("BUILD_WORKER"));
    assert_eq!([told(View::Spectator), told(View::Side("agent1".into()))], [false, true]);
    assert_eq!(state.board.sides["agent2"].score, Some(999.0));
    let unknown = edited(CRAWL, |episode| episode["name"] = json!("a_new_game"));
    let last = end(&unknown);
    assert_eq!((result(&last).winners.len(), result(&last).draw), (0, false), "what a reward means is not known");
    assert_eq!(result(&last).reason, "final rewards: Agent 1 0.5 and Agent 2 0.5");
}

#[test]
fn known_environments_without_a_table_say_what_is_public() {
    let states = play(&parsed(RPS));
    assert_eq!([&states[1].actions["agent1"].text, &states[1].actions["agent2"].text], ["rock", "paper"]);
    assert_eq!(result(&states[60]).reason, "by 35 rounds");
    let states = play(&parsed(PLANETS));
    assert_eq!(states[1].actions["agent1"].text, "1 fleet, 50 ships");
    let ships: Vec<f64> = states[1].board.sides["agent1"].counters.iter().map(|counter| counter.value).collect();
    // 55 on its planet, 50 on their way.
    assert_eq!(ships, [1.0, 105.0]);
}

#[test]
fn thoughts_come_from_the_record_or_its_logs_and_are_never_made_up() {
    let thoughts = |record: &Record| {
        let thinking = |body: &Body| match body {
            Body::AgentThinking(thinking) => Some((thinking.side.clone(), thinking.delta.clone())),
            _ => None,
        };
        record.events.iter().filter_map(|e| thinking(&e.event.body)).collect::<Vec<_>>()
    };
    assert_eq!(thoughts(&parsed(CONNECTX)), []);
    let record = kaggle::read_with_logs(CONNECTX, Some(CONNECTX_LOGS)).unwrap();
    let thought = |step: u32| format!("step {step}: I think column 3 controls the centre. 思考中… 🤔");
    let of_two = [1, 3, 5].map(|step| ("agent2".to_owned(), thought(step)));
    assert_eq!(thoughts(&record), of_two);
    // It stands beside the move that it led to: the first one is step 2.
    let states = play(&record);
    assert!(!states[0].thoughts.contains_key("agent2"));
    assert_eq!(states[1].thoughts["agent2"].text, thought(1), "thought while its turn lasts");
    assert_eq!(states[2].actions["agent2"].latency_ms, Some(15));
    let own = thoughts(&parsed(CONNECT_FOUR));
    assert_eq!(own[2], ("agent1".to_owned(), "相手は降りるだろう".to_owned()));
    let crash = kaggle::read_with_logs(CONNECTX_CRASH, Some(CONNECTX_CRASH_LOGS)).unwrap();
    assert_eq!(thoughts(&crash), [], "stderr is no thought");
}

#[test]
fn times_are_the_recorded_ones_within_a_watchable_pace() {
    let times = |record: &Record| -> Vec<i64> {
        let moves = record.events.iter().filter(|e| matches!(e.event.body, Body::ActionDecided(_)));
        moves.map(|e| e.at).collect()
    };
    assert_eq!(times(&parsed(CONNECTX))[..3], [TURN_MS, 2 * TURN_MS, 3 * TURN_MS]);
    let geese = kaggle::read_with_logs(GEESE, Some(GEESE_LOGS)).unwrap();
    assert_eq!(times(&geese)[..5], [STEP_MS, STEP_MS, STEP_MS, STEP_MS, 2 * STEP_MS]);
    // timeTaken of 3.5 s for every move.
    assert_eq!(times(&parsed(&showdown()))[..2], [3_500, 7_000]);
    let slow = CONNECTX_LOGS.replacen("0.086128", "5000.0", 1);
    let record = kaggle::read_with_logs(CONNECTX, Some(&slow)).unwrap();
    assert_eq!(times(&record)[0], LONGEST_MS);
    let states = play(&record);
    assert_eq!(states[1].actions["agent1"].latency_ms, Some(5_000_000), "the true time stays to be read");
}

#[test]
fn nothing_public_holds_the_serialized_game() {
    for text in [POKER, HEARTS, CONNECT_FOUR] {
        for event in parsed(text).events {
            let json = event.event.to_json();
            assert!(!json.contains("OpenSpiel SerializeGame") && !json.contains("[Meta]"));
        }
    }
}

#[test]
fn episode_cut_anywhere_plays_its_whole_steps() {
    for text in ALL {
        let whole = play(&parsed(text)).len();
        let steps_at = text.find("\"steps\"").unwrap();
        let first_step_ends = steps_at + text[steps_at..].find("\"}], [{").unwrap() + 3;
        let step = (text.len() / 40).max(1);
        let cuts = (0..text.len()).step_by(step).chain(text.len() - 12..text.len() - 1);
        for cut in cuts {
            match read(&text.as_bytes()[..cut], Some(Format::Kaggle)) {
                Ok(record) => {
                    assert!(record.truncated.is_some(), "cut at {cut} is not noticed");
                    if cut % 7 == 0 {
                        assert!(play(&record).len() <= whole);
                    }
                }
                Err(RecordError::Malformed { place, .. }) => {
                    assert!(cut < first_step_ends, "cut at {cut}: {place}");
                    assert!(!place.is_empty());
                }
                Err(error) => panic!("cut at {cut}: {error}"),
            }
        }
    }
}

#[test]
fn episode_cut_in_a_step_says_where_and_has_no_result() {
    let cut = GEESE.len() / 2;
    let record = read(&GEESE.as_bytes()[..cut], None).unwrap();
    let truncated = record.truncated.clone().unwrap();
    assert!(truncated.starts_with("the file breaks off at line 1 column"), "{truncated}");
    let states = play(&record);
    let last = states.last().unwrap();
    assert!(truncated.ends_with(&format!("the last whole step is {}", last.board.phase.turn)), "{truncated}");
    assert_eq!((last.board.result.is_none(), states.len() as u32), (true, last.board.phase.turn + 1));
    // The same positions as in the whole record.
    let whole = play(&parsed(GEESE));
    assert_eq!(last.board.zones, whole[states.len() - 1].board.zones);
    assert_eq!(last.board.sides["agent1"].name, "Agent 1", "names come after the steps");

    // Only the names are lost: the result is known.
    let end = read(&GEESE.as_bytes()[..GEESE.len() - 40], None).unwrap();
    assert!(end.truncated.is_some());
    assert_eq!(winners(play(&end).last().unwrap()), ["Agent 3"]);
}

#[test]
fn episode_that_was_not_finished_has_no_result() {
    let text = edited(CONNECTX, |episode| {
        episode["steps"].as_array_mut().unwrap().truncate(4);
        episode["statuses"] = json!(["INACTIVE", "ACTIVE"]);
        episode["rewards"] = json!([0, 0]);
    });
    let record = parsed(&text);
    assert_eq!(record.truncated.as_deref(), Some("ends at step 3 with the game still on"));
    assert!(play(&record).last().unwrap().board.result.is_none());
}

#[test]
fn damaged_episode_names_the_place() {
    let error = |text: &str| read(text.as_bytes(), Some(Format::Kaggle)).unwrap_err().to_string();
    let edit = |edit: &dyn Fn(&mut Value)| error(&edited(CONNECTX, |episode| edit(episode)));
    for (message, place) in [
        (edit(&|e| e["steps"][3][1]["status"] = json!("SLEEPING")), "steps[3][1].status: expected ACTIVE"),
        (edit(&|e| e["steps"][3][1]["reward"] = json!("many")), "steps[3][1].reward: expected a number"),
        (edit(&|e| e["steps"][3] = json!([])), "steps[3]: 0 agents, 1 to 8 can play"),
        (edit(&|e| _ = e["steps"][3].as_array_mut().map(Vec::pop)), "steps[3]: 1 agents, step 0 has 2"),
        (edit(&|e| e["steps"] = json!([])), "steps: no step"),
        (edit(&|e| e["steps"] = json!(3)), "steps: expected a list"),
        (edit(&|e| _ = e.as_object_mut().unwrap().remove("steps")), "steps: missing"),
        (edit(&|e| e["statuses"] = json!(["DONE"])), "statuses: expected a list of 2"),
        (
            edit(&|e| e["steps"][3][0]["observation"]["board"] = json!([0, 9])),
            "steps[3][0].observation.board: expected a board of 7 × 6",
        ),
        (error("[]"), "$: expected an object"),
        (error("{\"steps\": [1, oops]}"), "line 1 column 15: expected value"),
        (error(""), "line 1 column 0: EOF"),
        (error("{\"name\":\"x\",\"description\":\"y\",\"st"), "steps: the file breaks off before the first step"),
    ] {
        assert!(message.starts_with(place), "{message}");
    }
    assert!(kaggle::read_with_logs(CONNECTX, Some("{}")).unwrap_err().to_string().starts_with("logs: "));
    let mut bytes = CONNECTX.as_bytes().to_vec();
    bytes[100] = 0xc0;
    let error = read(&bytes, None).unwrap_err();
    assert_eq!(error, RecordError::Malformed { place: "line 1 byte 101".into(), problem: "not UTF-8".into() });
}
