//! A page that applies the data packets of a room has the board that the stream shows, and nothing hidden.

#[allow(dead_code)]
#[path = "game_state/make.rs"]
mod make;

use agentcast::game::*;
use agentcast::output::livekit::relay::{Message, PACKET_BYTES, Relay, STATE_TOPIC, THOUGHT_BYTES, THOUGHT_TOPIC};
use make::Make;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// A viewer's page: the reducer of the wire format behind the joining of parts.
#[derive(Default)]
struct Page {
    reducer: Reducer,
    parts: String,
    /// History of the last `match.started`.
    history: Value,
    feed: Vec<String>,
    thoughts: Vec<Value>,
}

impl Page {
    fn take(&mut self, messages: &[Message]) {
        for message in messages {
            let text = std::str::from_utf8(&message.payload).expect("UTF-8");
            let json: Value = serde_json::from_str(text).expect("JSON");
            if message.topic == THOUGHT_TOPIC {
                assert!(!message.reliable && text.len() <= THOUGHT_BYTES);
                self.thoughts.push(json);
                continue;
            }
            assert!(message.reliable && message.topic == STATE_TOPIC && text.len() <= PACKET_BYTES);
            if json["parts"].is_null() {
                self.event(text);
            } else {
                self.parts.push_str(json["text"].as_str().expect("a part's text"));
                if json["part"] == json["parts"] {
                    let whole = std::mem::take(&mut self.parts);
                    self.event(&whole);
                }
            }
        }
    }

    fn event(&mut self, text: &str) {
        let event = Event::from_json(text).expect("an event of the wire format");
        let json: Value = serde_json::from_str(text).expect("JSON");
        match &event.body {
            Body::MatchStarted(_) => {
                self.history = json["data"]["history"].clone();
                let lines = self.history["feed"].as_array().cloned().unwrap_or_default();
                self.feed = lines.iter().map(|line| line["text"].as_str().unwrap_or_default().to_owned()).collect();
            }
            Body::Feed(line) => self.feed.push(line.text.clone()),
            _ => {}
        }
        self.reducer.apply(event).unwrap_or_else(|e| panic!("{e}: {text}"));
    }

    fn board(&self) -> &Snapshot {
        &self.reducer.state().board
    }
}

fn words(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| w.len() > 2 && w.starts_with('w') && w.ends_with('w') && w[1..w.len() - 1].parse::<u32>().is_ok())
        .map(str::to_owned)
        .collect()
}

/// Lets all time pass that the relay waits for.
fn drain(relay: &mut Relay, now: &mut Instant) -> Vec<Message> {
    let mut out = Vec::new();
    while let Some(due) = relay.due() {
        *now = due.max(*now);
        out.extend(relay.poll(*now));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn page_has_the_board_that_the_view_sees_whenever_it_joined(seed: u64, view in 0usize..3, steps in 1u64..60, odd: bool) {
        let view = [View::Spectator, View::Side("a".into()), View::All][view].clone();
        let mut make = Make::new(seed);
        make.odd = odd;
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut now, mut relay) = (Instant::now(), Relay::new(7));
        let mut state = make.state(0);
        let (mut pages, mut said, mut seen) = (vec![Page::default()], BTreeSet::new(), BTreeSet::new());
        for n in 0..steps {
            apply(&mut state, &make.event(1, n + 2)).expect("a made event is valid");
            now += rng.u32(..120) * MS;
            let filtered = Arc::new(view.filter(&state));
            seen.extend(words(&serde_json::to_vec(&*filtered).expect("JSON")));
            relay.show(&filtered, now);
            if rng.u8(..3) > 0 {
                let messages = relay.poll(now);
                said.extend(messages.iter().flat_map(|m| words(&m.payload)));
                pages.iter_mut().for_each(|page| page.take(&messages));
            }
            if rng.u8(..8) == 0 {
                let messages = relay.snapshot();
                said.extend(messages.iter().flat_map(|m| words(&m.payload)));
                // One page comes, and one that was there is sent it too.
                pages.push(Page::default());
                pages.iter_mut().rev().take(2).for_each(|page| page.take(&messages));
            }
        }
        let rest = drain(&mut relay, &mut now);
        said.extend(rest.iter().flat_map(|m| words(&m.payload)));
        pages.iter_mut().for_each(|page| page.take(&rest));

        let target = view.filter(&state);
        for page in &pages {
            prop_assert_eq!(page.board(), &target.board);
            let told = page.reducer.state();
            for (side, action) in target.actions.iter().filter(|_| page.history["actions"].is_null()) {
                let got = told.actions.get(side).expect("the side's action");
                prop_assert_eq!((&got.text, &got.reason, got.turn, got.status), (&action.text, &action.reason, action.turn, action.status));
            }
            let lines: Vec<_> = target.feed.iter().map(|line| line.text.clone()).collect();
            prop_assert!(page.feed.ends_with(&lines), "{:?} ends with {lines:?}", page.feed);
        }
        for (side, thought) in &target.thoughts {
            let last = pages[0].thoughts.iter().rfind(|t| t["side"] == side.as_str()).expect("told");
            prop_assert_eq!((&last["text"], &last["final"]), (&thought.text.clone().into(), &thought.done.into()));
        }
        prop_assert!(said.is_subset(&seen), "hidden: {:?}", said.difference(&seen));
        prop_assert_eq!((relay.left_out(), relay.trouble()), (0, None));
    }
}

/// A match of two on a board of `cells` cells.
fn state(cells: usize) -> MatchState {
    let started = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":9,"type":"match.started","data":{
        "sides":{"a":{"seat":0,"clock":{"ms":60000}},"b":{"seat":1}},"zones":{"board":{"kind":"grid","cols":64,"rows":64}}}}"#;
    let mut state = MatchState::default();
    apply(&mut state, &Event::from_json(started).expect("an event")).expect("a board");
    fill(&mut state, cells);
    state
}

fn fill(state: &mut MatchState, cells: usize) {
    let Some(ZoneContent::Grid(grid)) = state.board.zones.get_mut("board").map(|zone| &mut zone.content) else {
        panic!()
    };
    let cell = |n: usize| Cell {
        x: (n % 64) as u16,
        y: (n / 64) as u16,
        label: "X".into(),
        id: format!("piece {n}"),
        ..Cell::default()
    };
    grid.cells = (0..cells).map(cell).collect();
}

fn feed(state: &mut MatchState, seq: u64, text: &str) {
    let json = format!(
        r#"{{"v":1,"match":"m","epoch":1,"seq":{seq},"ts":9,"type":"feed","vis":"public","data":{{"kind":"chat","text":"{text}"}}}}"#
    );
    apply(state, &Event::from_json(&json).expect("an event")).expect("a line");
}

#[test]
fn state_that_changes_sixty_times_a_second_is_told_twenty_times() {
    let (start, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    let mut state = state(10);
    let mut count = 0;
    for n in 0..120 {
        let now = start + n * 1_000 / 60 * MS;
        state.board.phase.turn = n;
        relay.show(&Arc::new(state.clone()), now);
        let messages = relay.poll(now);
        count += messages.len();
        page.take(&messages);
    }
    assert!((30..=40).contains(&count), "{count} messages in two seconds");
    page.take(&drain(&mut relay, &mut (start + 2_000 * MS)));
    assert_eq!(page.board().phase.turn, 119);
}

#[test]
fn large_boards_come_in_parts_and_stay_within_the_mean_rate() {
    let (start, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    let mut state = state(0);
    let mut bytes = 0;
    for n in 0..1_200 {
        let now = start + n * 1_000 / 60 * MS;
        fill(&mut state, 1_500 + n as usize);
        relay.show(&Arc::new(state.clone()), now);
        let messages = relay.poll(now);
        bytes += messages.iter().map(|m| m.payload.len()).sum::<usize>();
        page.take(&messages);
    }
    assert!((400_000..1_100_000).contains(&bytes), "{bytes} bytes in 20 s");
    page.take(&drain(&mut relay, &mut (start + 20_000 * MS)));
    assert_eq!(*page.board(), state.board);
}

#[test]
fn board_too_large_is_left_out_told_to_the_operator_and_right_again_when_it_shrinks() {
    let (mut now, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    let mut state = state(10);
    let mut show = |state: &MatchState, relay: &mut Relay| {
        relay.show(&Arc::new(state.clone()), now);
        let messages = drain(relay, &mut now);
        page.take(&messages);
        page.board().clone()
    };
    let small = show(&state, &mut relay);
    fill(&mut state, 4_096);
    assert_eq!(show(&state, &mut relay), small, "pages keep what they have");
    assert!(relay.left_out() > 0);
    assert!(relay.trouble().expect("words").contains("kB"), "{:?}", relay.trouble());
    fill(&mut state, 20);
    assert_eq!(show(&state, &mut relay), state.board);
    assert_eq!(relay.trouble(), None);
}

#[test]
fn page_that_missed_a_packet_is_right_again_after_ten_seconds() {
    let (start, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    let mut state = state(10);
    relay.show(&Arc::new(state.clone()), start);
    page.take(&relay.poll(start));
    let mut now = start + 1_000 * MS;
    state.board.title = "Final".into();
    relay.show(&Arc::new(state.clone()), now);
    assert_eq!(relay.poll(now).len(), 1, "which is lost");
    now += 1_000 * MS;
    state.board.round = "Game 2".into();
    relay.show(&Arc::new(state.clone()), now);
    page.take(&relay.poll(now));
    assert_eq!(page.board().round, "");
    page.take(&drain(&mut relay, &mut now));
    assert_eq!(*page.board(), state.board);
    assert!(now - start <= 12_000 * MS, "{:?}", now - start);
}

#[test]
fn who_joins_late_gets_the_board_and_what_was_before() {
    let (now, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    assert_eq!(relay.snapshot(), [], "nothing is known yet");
    let mut state = state(10);
    for n in 0..5 {
        feed(&mut state, n + 2, &format!("line {n}"));
    }
    let decided = r#"{"v":1,"match":"m","epoch":1,"seq":9,"ts":11,"type":"action.decided","vis":"public","data":{"side":"a","text":"Nf3","latencyMs":7}}"#;
    let thinking = r#"{"v":1,"match":"m","epoch":1,"seq":10,"ts":12,"type":"agent.thinking","vis":"public","data":{"side":"b","thoughtId":"t","delta":"Hm"}}"#;
    for json in [decided, thinking] {
        apply(&mut state, &Event::from_json(json).expect("an event")).expect("applied");
    }
    relay.show(&Arc::new(state.clone()), now);
    relay.poll(now);
    page.take(&relay.snapshot());
    assert_eq!(*page.board(), state.board);
    assert_eq!(page.feed, ["line 0", "line 1", "line 2", "line 3", "line 4"]);
    let action = &page.history["actions"]["a"];
    assert_eq!((&action["text"], &action["latencyMs"], &action["ts"]), (&"Nf3".into(), &7.into(), &11.into()));
    assert_eq!(page.thoughts[0]["text"], "Hm");
}

#[test]
fn another_match_begins_anew_and_a_line_is_told_once() {
    let (mut now, mut relay, mut page) = (Instant::now(), Relay::new(1), Page::default());
    let mut first = state(10);
    for n in 0..4 {
        feed(&mut first, n + 2, &format!("line {n}"));
        relay.show(&Arc::new(first.clone()), now);
        page.take(&drain(&mut relay, &mut now));
    }
    assert_eq!(page.feed, ["line 0", "line 1", "line 2", "line 3"]);
    let second = MatchState { match_id: "n".into(), ..state(3) };
    relay.show(&Arc::new(second.clone()), now);
    page.take(&drain(&mut relay, &mut now));
    assert_eq!((page.reducer.state().match_id.as_str(), page.feed.len()), ("n", 0));
    assert_eq!(*page.board(), second.board);
}
