//! Makes arbitrary valid boards, events and states from a seed. Every text is a word of its own (`w17w`), so that a
//! test can follow it.

use agentcast::game::wire::{ActionDecided, AgentThinking, FeedLine, MarkerSet, SceneSet, TurnStarted};
use agentcast::game::*;
use std::collections::{BTreeMap, BTreeSet};

pub struct Make {
    rng: fastrand::Rng,
    words: u32,
    /// Texts get quotes, line breaks and foreign scripts.
    pub odd: bool,
    sides: Vec<SideId>,
}

impl Make {
    pub fn new(seed: u64) -> Make {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(1..=8);
        let sides = ('a'..='h').take(count).map(String::from).collect();
        Make { rng, words: 0, odd: false, sides }
    }

    fn yes(&mut self) -> bool {
        self.rng.bool()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Make) -> T) -> Option<T> {
        self.yes().then(|| make(self))
    }

    fn some<T>(&mut self, max: usize, mut make: impl FnMut(&mut Make) -> T) -> Vec<T> {
        (0..self.rng.usize(..=max)).map(|_| make(self)).collect()
    }

    pub fn word(&mut self) -> String {
        self.words += 1;
        let tail = if self.odd {
            self.pick(&["", " é", "\"q\\", "\n\t", "日本語", "🂡👩‍🚀", "\u{0}\u{202e}"])
        } else {
            ""
        };
        format!("w{}w{tail}", self.words)
    }

    /// Has few digits, so that it reads back from JSON as it was.
    fn number(&mut self) -> f64 {
        f64::from(self.rng.i32(-100_000..100_000)) / 64.0
    }

    fn share(&mut self) -> f64 {
        f64::from(self.rng.u8(0..=64)) / 64.0
    }

    /// Never 0: that would be replaced by the event's time.
    fn time(&mut self) -> i64 {
        self.rng.i64(1..2_000_000_000_000)
    }

    pub fn side(&mut self) -> SideId {
        let sides = self.sides.clone();
        self.pick(&sides)
    }

    fn side_set(&mut self) -> BTreeSet<SideId> {
        self.some(3, Make::side).into_iter().collect()
    }

    pub fn vis(&mut self) -> Option<Visibility> {
        match self.rng.u8(..4) {
            0 => Some(Visibility::Public),
            1 => Some(Visibility::Sides(self.side_set())),
            _ => None,
        }
    }

    fn picture(&mut self) -> PictureRef {
        PictureRef(self.word())
    }

    fn clock(&mut self) -> Clock {
        let (ms, as_of) = (self.time(), self.time());
        Clock { ms, as_of, running: self.yes(), up: self.yes(), paused: self.yes() }
    }

    fn one_side(&mut self, seat: u8) -> Side {
        use SideStatus::*;
        Side {
            seat,
            name: self.word(),
            agent: self.word(),
            author: self.word(),
            lang: self.word(),
            avatar: self.maybe(Make::picture),
            role: self.word(),
            status: self.pick(&[Active, Thinking, Timeout, Invalid, Error, Disconnected, Eliminated, Winner]),
            status_text: self.word(),
            clock: self.maybe(Make::clock),
            counters: self.some(3, |m| Counter {
                id: m.word(),
                label: m.word(),
                value: m.number(),
                min: m.maybe(Make::number),
                max: m.maybe(Make::number),
                unit: m.word(),
                icon: m.maybe(Make::picture),
            }),
            score: self.maybe(Make::number),
            blurb: self.word(),
        }
    }

    fn grid(&mut self) -> Grid {
        let (cols, rows) = (self.rng.u16(1..=64), self.rng.u16(1..=64));
        let at = |m: &mut Make| [m.rng.u16(..cols), m.rng.u16(..rows)];
        Grid {
            cols,
            rows,
            ground: self.pick(&[Ground::Checker, Ground::Field, Ground::Holes, Ground::Lines]),
            col_labels: self.some(3, Make::word),
            row_labels: self.some(3, Make::word),
            cells: self.some(4, |m| {
                let [x, y] = at(m);
                Cell {
                    x,
                    y,
                    id: m.word(),
                    paint: m.maybe(|m| m.pick(&[Paint::Last, Paint::Alert, Paint::Accent, Paint::Side, Paint::Wall])),
                    picture: m.maybe(Make::picture),
                    label: m.word(),
                    side: m.maybe(Make::side),
                    tone: m.pick(&[Tone::Light, Tone::Dark]),
                    vis: m.vis(),
                }
            }),
            bodies: self.some(2, |m| GridBody {
                id: m.word(),
                side: m.maybe(Make::side),
                cells: m.some(4, at),
                dead: m.yes(),
                vis: m.vis(),
            }),
            arrows: self.some(2, |m| Arrow { from: at(m), to: at(m), side: m.maybe(Make::side), vis: m.vis() }),
        }
    }

    fn cards(&mut self) -> Cards {
        use Arrange::*;
        use CardRole::*;
        Cards {
            arrange: self.pick(&[Row, Fan, Slots, Pile, Stack]),
            role: self.pick(&[Hand, Table, Deck, Discard]),
            items: self.some(4, |m| Card {
                id: m.word(),
                up: m.yes(),
                face: m.maybe(|m| Face {
                    rank: m.word(),
                    suit: m.maybe(|m| m.pick(&[Suit::Clubs, Suit::Diamonds, Suit::Hearts, Suit::Spades])),
                    name: m.word(),
                    text: m.word(),
                    value: m.maybe(Make::number),
                    art: m.maybe(Make::picture),
                }),
                lit: m.yes(),
                side: m.maybe(Make::side),
                vis: m.vis(),
            }),
            count: self.maybe(|m| m.rng.u32(..1_000)),
            slots: self.rng.u16(..10),
        }
    }

    fn zone(&mut self) -> Zone {
        let content = match self.rng.u8(..4) {
            0 => ZoneContent::Grid(self.grid()),
            1 => ZoneContent::Text(TextZone { text: self.word(), mono: self.yes() }),
            2 => ZoneContent::Picture(PictureZone { picture: self.maybe(Make::picture), pixelated: self.yes() }),
            _ => ZoneContent::Cards(self.cards()),
        };
        let owner = self.maybe(Make::side);
        Zone { content, owner, label: self.word(), order: self.rng.i32(..), vis: self.vis() }
    }

    fn eval(&mut self) -> Eval {
        let shares = self.some(3, |m| (m.side(), m.share())).into_iter().collect();
        Eval { shares, text: self.word(), as_of: self.time() }
    }

    fn series(&mut self) -> Series {
        let winners = self.some(4, |m| m.maybe(Make::side));
        Series { best_of: self.rng.u16(..=99), game: self.rng.u16(..=99), winners }
    }

    fn result(&mut self) -> MatchResult {
        let winners = self.some(2, Make::side);
        MatchResult {
            draw: winners.is_empty() && self.yes(),
            aborted: winners.is_empty() && self.yes(),
            winners,
            reason: self.word(),
            sides: self
                .some(2, |m| (m.side(), SideResult { score: m.maybe(Make::number), reason: m.word() }))
                .into_iter()
                .collect(),
        }
    }

    pub fn board(&mut self) -> Snapshot {
        let mut seats: Vec<u8> = (0..8).collect();
        self.rng.shuffle(&mut seats);
        let sides = self.sides.clone();
        Snapshot {
            title: self.word(),
            round: self.word(),
            game: Game { id: self.word(), name: self.word() },
            phase: Phase {
                turn: self.rng.u32(..),
                turn_label: self.word(),
                name: self.word(),
                active: self.side_set(),
                deadline: self.maybe(Make::time),
                cycle: self.some(3, Make::word),
            },
            sides: sides.into_iter().zip(seats).map(|(id, seat)| (id, self.one_side(seat))).collect(),
            zones: (0..self.rng.usize(..4)).map(|i| (format!("z{i}"), self.zone())).collect(),
            eval: self.maybe(Make::eval),
            series: self.maybe(Make::series),
            result: self.maybe(Make::result),
            facts: self.some(2, |m| Fact { label: m.word(), text: m.word() }),
            starts_at: self.maybe(Make::time),
        }
    }

    fn patch(&mut self) -> serde_json::Value {
        let side = self.side();
        match self.rng.u8(..4) {
            0 => serde_json::json!({ "sides": { side: { "name": self.word(), "clock": { "running": self.yes() } } } }),
            1 => serde_json::json!({ "zones": { "z0": null, "z9": { "kind": "text", "text": self.word() } } }),
            2 => serde_json::json!({ "eval": { "text": self.word() }, "unknown": [1, { "a": null }] }),
            _ => serde_json::json!({ "phase": { "name": self.word(), "active": [side] }, "result": null }),
        }
    }

    pub fn body(&mut self) -> Body {
        use ActionStatus::*;
        match self.rng.u8(..13) {
            0 => Body::MatchStarted(Box::new(self.board())),
            1 => Body::StateSnapshot(Box::new(self.board())),
            2 => Body::MatchEnded(self.result()),
            3 => Body::StatePatch(self.patch()),
            4 => {
                let clocks: BTreeMap<_, _> = self.some(2, |m| (m.side(), m.clock())).into_iter().collect();
                Body::TurnStarted(TurnStarted {
                    turn: self.rng.u32(..),
                    name: self.maybe(Make::word),
                    active: self.side_set(),
                    deadline: self.maybe(Make::time),
                    clocks,
                })
            }
            5 => {
                let (side, thought_id) = (self.side(), self.word());
                Body::AgentThinking(AgentThinking { side, thought_id, delta: self.word(), done: self.yes() })
            }
            6 => Body::ActionDecided(ActionDecided {
                side: self.side(),
                text: self.word(),
                reason: self.word(),
                confidence: self.maybe(Make::share),
                latency_ms: self.maybe(|m| m.rng.u64(..)),
                status: self.pick(&[Ok, Timeout, Invalid, Error]),
            }),
            7 => Body::Feed(FeedLine {
                kind: self.word(),
                text: self.word(),
                actor: self.maybe(Make::side),
                importance: self.rng.u8(..=100),
            }),
            8 => Body::Eval(self.eval()),
            9 => Body::Series(self.series()),
            10 => {
                Body::SceneSet(SceneSet { scene: self.maybe(|m| m.pick(&[Scene::Starting, Scene::Live, Scene::Over])) })
            }
            11 => Body::Marker(MarkerSet { label: self.word() }),
            _ => Body::Unknown(self.word()),
        }
    }

    pub fn event(&mut self, epoch: u64, seq: u64) -> Event {
        let body = self.body();
        let flows = matches!(body, Body::AgentThinking(_) | Body::ActionDecided(_) | Body::Feed(_) | Body::Marker(_));
        let vis = if flows { self.vis() } else { self.maybe(|_| Visibility::Public) };
        Event { v: 1, match_id: "m".to_owned(), epoch, seq, ts: self.time(), vis, body }
    }

    /// A state with a board, and `events` after it.
    pub fn state(&mut self, events: usize) -> MatchState {
        let mut state = MatchState::default();
        let board = Body::MatchStarted(Box::new(self.board()));
        let (match_id, ts) = ("m".to_owned(), self.time());
        apply(&mut state, &Event { v: 1, match_id, epoch: 1, seq: 1, ts, vis: None, body: board })
            .expect("a made board is valid");
        for seq in 0..events as u64 {
            let event = self.event(1, seq + 2);
            apply(&mut state, &event).expect("a made event is valid");
        }
        state
    }
}
