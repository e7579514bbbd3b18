//! Matches to look at.

use agentcast::game::*;
use agentcast::overlay::{Motion, Presentation};
use agentcast::raster::{FontSet, Pictures, Raster, SYSTEM_DIRS, Typesetter};
use std::sync::Arc;

/// The faces in the binary and the system's Noto.
pub fn raster() -> Raster {
    let fonts = FontSet::embedded().with_noto(&SYSTEM_DIRS);
    Raster { text: Typesetter::new(fonts), pictures: Pictures::default() }
}

/// A presentation that has shown this state for long.
pub fn shown(state: MatchState, t: i64) -> Presentation {
    let mut show = Presentation::new(Motion::default());
    show.advance(Arc::new(state), t);
    show
}

pub fn side(seat: u8, name: &str, agent: &str, author: &str, avatar: &str) -> Side {
    Side {
        seat,
        name: name.into(),
        agent: agent.into(),
        author: author.into(),
        avatar: Some(PictureRef(format!("symbol:avatar/{avatar}"))),
        ..Side::default()
    }
}

pub fn counter(id: &str, label: &str, value: f64, unit: &str) -> Counter {
    Counter { id: id.into(), label: label.into(), value, unit: unit.into(), ..Counter::default() }
}

pub fn thought(id: &str, text: &str, done: bool) -> Thought {
    Thought { id: id.into(), text: text.into(), done, ..Thought::default() }
}

pub fn grid(content: Grid) -> Zone {
    Zone { content: ZoneContent::Grid(content), owner: None, label: String::new(), order: 0, vis: None }
}

fn feed(items: &[(&str, &str)]) -> std::collections::VecDeque<FeedItem> {
    let item = |(i, (actor, text)): (usize, &(&str, &str))| FeedItem {
        seq: i as u64,
        kind: "move".into(),
        text: (*text).into(),
        actor: (!actor.is_empty()).then(|| (*actor).into()),
        ..FeedItem::default()
    };
    items.iter().enumerate().map(item).collect()
}

/// A chess position from the first field of its FEN.
pub fn chess_grid(fen: &str, last: &[[u16; 2]], arrows: Vec<Arrow>) -> Grid {
    let mut cells = Vec::new();
    for [x, y] in last {
        cells.push(Cell { x: *x, y: *y, paint: Some(Paint::Last), ..Cell::default() });
    }
    for (y, row) in fen.split('/').enumerate() {
        let mut x = 0;
        for c in row.chars() {
            if let Some(n) = c.to_digit(10) {
                x += n as u16;
                continue;
            }
            let name = match c.to_ascii_lowercase() {
                'p' => "pawn",
                'n' => "knight",
                'b' => "bishop",
                'r' => "rook",
                'q' => "queen",
                _ => "king",
            };
            let (tone, owner) = if c.is_uppercase() { (Tone::Light, "white") } else { (Tone::Dark, "black") };
            cells.push(Cell {
                x,
                y: y as u16,
                id: format!("{c}{x}{y}"),
                picture: Some(PictureRef(format!("symbol:chess/{name}"))),
                tone,
                side: Some(owner.into()),
                ..Cell::default()
            });
            x += 1;
        }
    }
    Grid {
        cols: 8,
        rows: 8,
        ground: Ground::Checker,
        col_labels: "abcdefgh".chars().map(String::from).collect(),
        row_labels: "87654321".chars().map(String::from).collect(),
        cells,
        bodies: Vec::new(),
        arrows,
    }
}

pub fn chess() -> MatchState {
    let mut state = MatchState { match_id: "qf2".into(), started: true, ts: 1_000_000, ..MatchState::default() };
    let board = &mut state.board;
    board.title = "Agent Open 2026".into();
    board.round = "Quarter-final 2".into();
    board.game = Game { id: "chess".into(), name: "Chess".into() };
    board.phase =
        Phase { turn: 10, turn_label: "Move".into(), active: ["white".to_owned()].into(), ..Phase::default() };
    let mut white = side(0, "Nightjar", "claude-opus-4.1", "mirela", "owl");
    white.role = "White".into();
    white.score = Some(2.0);
    white.status = SideStatus::Thinking;
    white.clock = Some(Clock { ms: 277_000, running: true, ..Clock::default() });
    white.counters = vec![
        counter("time", "this move", 41.0, "s"),
        counter("tokens", "tokens", 1840.0, ""),
        counter("illegal", "illegal", 0.0, ""),
    ];
    let mut black = side(1, "Upper Saxony Grandmaster Kraken", "gemini-2.5-pro", "tiefsee-labs", "kraken");
    black.role = "Black".into();
    black.score = Some(1.0);
    black.clock = Some(Clock { ms: 302_000, ..Clock::default() });
    black.counters = vec![
        counter("time", "last move", 29.0, "s"),
        counter("tokens", "tokens", 2310.0, ""),
        counter("illegal", "illegal", 1.0, ""),
    ];
    board.sides = [("white".to_owned(), white), ("black".to_owned(), black)].into();
    let arrow = Arrow { from: [2, 5], to: [3, 3], side: Some("white".into()), ..Arrow::default() };
    let position = "r4rk1/1pp1qppp/p1np1n2/2b1p1B1/2B1P1b1/P1NP1N2/1PP1QPPP/R4RK1";
    board.zones = [("board".to_owned(), grid(chess_grid(position, &[[0, 1], [0, 2]], vec![arrow])))].into();
    board.eval = Some(Eval {
        shares: [("white".to_owned(), 0.62), ("black".to_owned(), 0.38)].into(),
        text: "+1.3".into(),
        as_of: 0,
    });
    board.series = Some(Series { best_of: 7, game: 4, winners: Vec::new() });
    state.thoughts = [
        (
            "white".to_owned(),
            thought(
                "w",
                "Position check: equal material, both sides castled, White to move after 9…a6. Quiet moves such as Be3 or \
                 h3 keep the balance but let Black play Nd4 first. The knight on f6 shields the queen on e7 from my bishop \
                 on g5, so it is pinned. 10.Nd5 attacks both pieces at once. If 10…Nxd5, then 11.Bxe7 wins the queen. \
                 Expect 10…Qd8, then 11.Nxf6+ gxf6 12.Bh6 and the king has no cover. Time is fine. I will play",
                false,
            ),
        ),
        (
            "black".to_owned(),
            thought(
                "b",
                "Ten moves of symmetry, and White always moves first in a symmetrical fight. Mirroring has run its course. \
                 a6 gives my bishop a square on a7, but it leaves d5 to the white knight. Plan: meet Nd5 with Qd8, keep the \
                 f-pawn at home, and jump to d4 myself as soon as the pin is gone. If White waits, I break with …h6 and ask \
                 the bishop to choose.",
                true,
            ),
        ),
    ]
    .into();
    state.feed = feed(&[
        ("", "5. d3 d6"),
        ("", "6. O-O O-O"),
        ("", "7. Bg5 Bg4"),
        ("", "8. Qe2 Qe7"),
        ("", "9. a3"),
        ("", "9… a6"),
    ]);
    state
}

/// Two sides of any game.
pub fn duel(id: &str) -> MatchState {
    let mut state = MatchState { match_id: id.into(), started: true, ts: 1_000_000, ..MatchState::default() };
    state.board.title = "Agent Open 2026".into();
    state.board.game.name = id.into();
    state.board.phase = Phase { turn: 42, active: ["a".to_owned()].into(), ..Phase::default() };
    let mut a = side(0, "Ouroboros Prime", "claude-sonnet-4.5", "jkbx", "snake");
    let mut b = side(1, "砂時計の騎士 弐", "qwen3-235b", "hoshino", "robot");
    (a.score, b.score) = (Some(3.0), Some(2.5));
    state.board.sides = [("a".to_owned(), a), ("b".to_owned(), b)].into();
    state.thoughts = [(
        "a".to_owned(),
        thought("t", "Food at i6 is two moves off. Taking it cuts B off from the right wall as well.", true),
    )]
    .into();
    state
}

pub fn snakes(dead: bool) -> MatchState {
    let mut state = duel("Snakes");
    let body = |id: &str, cells: &[[u16; 2]]| GridBody {
        id: id.into(),
        side: Some(id.into()),
        cells: cells.to_vec(),
        ..GridBody::default()
    };
    let mut grid_ = Grid { cols: 11, rows: 11, ..Grid::default() };
    for (x, y) in [(2, 1), (8, 5), (4, 9)] {
        let picture = Some(PictureRef("symbol:grid/food".into()));
        grid_.cells.push(Cell { x, y, picture, ..Cell::default() });
    }
    for x in 0..11 {
        grid_.cells.push(Cell { x, y: 10, paint: Some(Paint::Hazard), ..Cell::default() });
    }
    let long = [[7, 4], [6, 4], [5, 4], [5, 5], [5, 6], [4, 6], [3, 6], [3, 7], [3, 8], [2, 8], [1, 8], [1, 8]];
    grid_.bodies = vec![body("a", &long), body("b", &[[2, 2], [2, 3], [1, 3], [1, 4], [1, 5], [0, 5], [0, 6]])];
    grid_.bodies[1].dead = dead;
    if dead && let Some(b) = state.board.sides.get_mut("b") {
        b.status = SideStatus::Eliminated;
    }
    state.board.zones = [("board".to_owned(), grid(grid_))].into();
    state
}

pub fn tokens(ground: Ground, cols: u16, rows: u16) -> MatchState {
    let mut state = duel("Tokens");
    let mut g = Grid { cols, rows, ground, ..Grid::default() };
    for (i, (x, y)) in [(3, 5), (2, 5), (3, 4), (4, 5), (5, 5), (4, 4), (2, 4)].into_iter().enumerate() {
        let side = Some(["a", "b"][i % 2].to_owned());
        g.cells.push(Cell { x, y, side, id: format!("t{i}"), ..Cell::default() });
    }
    g.cells.push(Cell { x: 2, y: 4, paint: Some(Paint::Last), ..Cell::default() });
    state.board.zones = [("board".to_owned(), grid(g))].into();
    state
}

pub fn texts() -> MatchState {
    let mut state = duel("Debate");
    let text = "Resolved: a program may be proud of its work.\nOpening of the proposition.\n\nPride is a report about the \
                self that guides what is done next. If such a report changes behaviour in the way pride changes ours, then \
                the word has earned its place.";
    let zone = |text: &str, mono: bool| Zone {
        content: ZoneContent::Text(TextZone { text: text.into(), mono }),
        owner: None,
        label: if mono { "Log".into() } else { "Motion".into() },
        order: i32::from(mono),
        vis: None,
    };
    state.board.zones =
        [("a".to_owned(), zone(text, false)), ("b".to_owned(), zone("> look\nA dark room.\n> take lamp", true))].into();
    state
}
