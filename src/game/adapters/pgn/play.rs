//! A parsed game as events.

use super::super::shared::{clip, malformed_at, match_id, unix_ms};
use super::super::{Format, Record, RecordError, Script};
use super::clock::{Control, Times};
use super::over::{Over, over};
use super::parse::{Game, Ply, Value};
use super::rules::{self, SanError, side};
use super::{END_MS, MOVE_MAX_MS, MOVE_MIN_MS, MOVE_MS, READ_MIN_MS, START_MS, win_chance};
use crate::game::limits::{NAME_CHARS, TEXT_CHARS, THOUGHT_CHARS};
use crate::game::wire::{ActionDecided, AgentThinking, Body, FeedLine, TurnStarted};
use crate::game::{
    Arrow, Cell, Clock, Counter, Eval, Fact, Grid, Ground, Paint, PictureRef, Side, SideStatus, Snapshot, Tone,
    Visibility, Zone, ZoneContent,
};
use cozy_chess::{Board, Color, Piece, Square};
use std::collections::BTreeMap;

/// The zone of the board.
const BOARD: &str = "board";

/// Plays `game` and writes it down as events.
pub(super) fn record(text: &str, mut game: Game) -> Result<Record, RecordError> {
    let (name, start) = start(text, &game)?;
    let plies = std::mem::take(&mut game.moves);
    let (plies, history) = play(text, plies, start, &mut game)?;
    if game.tags.is_empty() && plies.is_empty() {
        // Any word at the end of a text might be the beginning of a move.
        return Err(malformed_at(text, 0, "no tags and no moves".into()));
    }
    let start_ts = tag(&game, "UTCDate").or_else(|| tag(&game, "Date")).and_then(date).unwrap_or(0);
    let id = match_id("chess", text);
    let mut table = Table::new(&game, &name, &plies, &history[0], start_ts);
    let mut script = Script::new(&id, start_ts);

    let mut opening = table.snapshot.clone();
    opening.phase.active.clear();
    opening.starts_at = Some(start_ts + START_MS);
    script.public(0, Body::MatchStarted(Box::new(opening)));
    if !game.intro.is_empty() {
        feed(&mut script, 0, "event", clip(&game.intro, TEXT_CHARS), None, 40);
    }
    let over = over(&game, &plies, &history);
    let mut at = START_MS;
    for (index, ply) in plies.iter().enumerate() {
        at = table.ply(&mut script, at, ply, &history[index..index + 2], index + 1 == plies.len(), &over);
    }
    table.end(&mut script, at, over);
    let truncated = game.truncated.map(|t| match plies.last() {
        Some(ply) => format!("{t}, after {}", ply.numbered),
        None => format!("{t}, before the first move"),
    });
    Ok(script.finish(Format::Pgn, truncated))
}

/// A tag's value, unless it is unknown (`?`) or empty (`-`).
pub(super) fn tag<'a>(game: &'a Game, name: &str) -> Option<&'a str> {
    let tag = game.tags.iter().find(|t| t.name.eq_ignore_ascii_case(name))?;
    let value = tag.value.trim();
    (!value.trim_matches(['?', '.', '-']).is_empty()).then_some(value)
}

/// Name of the variant and the first position.
fn start(text: &str, game: &Game) -> Result<(String, Board), RecordError> {
    let variant = tag(game, "Variant").unwrap_or("Standard");
    let plain: String = variant.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let name = match plain.as_str() {
        "standard" | "chess" | "normal" | "fromposition" => "Chess",
        "chess960" | "fischerandom" | "fischerrandom" | "frc" => "Chess960",
        _ => {
            let at = game.tags.iter().find(|t| t.name.eq_ignore_ascii_case("Variant")).map_or(0, |t| t.at);
            let problem = format!("Variant {variant:?} has rules of its own; known are Standard and Chess960");
            return Err(malformed_at(text, at, clip(&problem, TEXT_CHARS)));
        }
    };
    let board = match game.tags.iter().find(|t| t.name.eq_ignore_ascii_case("FEN")) {
        Some(fen) => rules::position(&fen.value).ok_or_else(|| {
            malformed_at(text, fen.at, clip(&format!("FEN {:?} is no position", fen.value), TEXT_CHARS))
        })?,
        None => Board::default(),
    };
    Ok((name.to_owned(), board))
}

/// A move that has been found legal.
pub(super) struct Played {
    pub ply: Ply,
    pub color: Color,
    pub number: u16,
    /// `12. Nf3` or `12... Nf6`.
    pub numbered: String,
    pub steps: rules::Steps,
    pub captured: Option<Piece>,
    /// The mover's clock after the move, ms.
    pub clock: Option<i64>,
    /// Think time, ms.
    pub elapsed: Option<i64>,
    /// What the clock stood at before, ms.
    pub before: Option<i64>,
}

/// Plays the moves; `history[0]` is the start, `history[n]` the position after the n-th. A move at the very end of the
/// text that cannot be played is cut off, not wrong.
fn play(text: &str, plies: Vec<Ply>, start: Board, game: &mut Game) -> Result<(Vec<Played>, Vec<Board>), RecordError> {
    let control = Control::parse(tag(game, "TimeControl").unwrap_or_default());
    let mut times = Times::new(control, &plies);
    let mut board = start;
    let mut history = vec![board.clone()];
    let mut played: Vec<Played> = Vec::with_capacity(plies.len());
    for ply in plies {
        let color = board.side_to_move();
        let number = board.fullmove_number();
        let numbered = format!("{number}.{} {}", if color == Color::White { "" } else { ".." }, clip(&ply.san, 16));
        let long_too = || rules::find_move(&board, "O-O-O").is_ok();
        let found = rules::find_move(&board, &ply.san);
        if ply.at_end && (found.is_err() || ply.san.ends_with("-O") && ply.san.len() == 3 && long_too()) {
            let line = super::super::shared::position(text, ply.at).0;
            game.truncated = Some(format!("the file ends inside a move (line {line})"));
            break;
        }
        let mv = found.map_err(|why| {
            let problem = match why {
                SanError::Unreadable => format!("{:?} is not a move", clip(&ply.san, 32)),
                SanError::Illegal => format!("{numbered} is illegal in {board}"),
                SanError::Ambiguous => format!("{numbered} is ambiguous in {board}"),
            };
            malformed_at(text, ply.at, problem)
        })?;
        let steps = rules::steps(&board, mv);
        let captured = steps.captured.and_then(|s| board.piece_on(s));
        let (before, clock, elapsed) = times.next(color, &ply);
        board.play_unchecked(mv);
        history.push(board.clone());
        played.push(Played { ply, color, number, numbered, steps, captured, clock, elapsed, before });
    }
    Ok((played, history))
}

/// `2026.11.20`
fn date(text: &str) -> Option<i64> {
    let mut parts = text.split('.').map(|p| p.parse::<i64>().ok());
    unix_ms(parts.next()??, parts.next()??, parts.next()??)
}

/// The match as it stands while it is played.
struct Table {
    snapshot: Snapshot,
    /// Id of the man on each square.
    men: Vec<Option<String>>,
    /// By colour.
    clocks: [Option<i64>; 2],
    moves: [u32; 2],
    captured: [u32; 2],
    /// Think times: sum in ms and number.
    thought: [(i64, u32); 2],
    start_ts: i64,
    /// Arrows that stay until their side moves, by colour.
    arrows: [Option<[[u16; 2]; 2]>; 2],
}

impl Table {
    fn new(game: &Game, name: &str, plies: &[Played], start: &Board, start_ts: i64) -> Table {
        let control = Control::parse(tag(game, "TimeControl").unwrap_or_default());
        let mut snapshot = Snapshot {
            title: clip(tag(game, "Event").unwrap_or(name), TEXT_CHARS),
            round: tag(game, "Round").map_or(String::new(), |r| match r.parse::<f64>() {
                Ok(_) => format!("Round {}", clip(r, NAME_CHARS)),
                Err(_) => clip(r, NAME_CHARS),
            }),
            facts: facts(game, control),
            ..Snapshot::default()
        };
        snapshot.game.id = "chess".into();
        snapshot.game.name = name.into();
        snapshot.phase.turn = u32::from(start.fullmove_number());
        snapshot.phase.turn_label = "Move".into();
        snapshot.phase.active = [side(start.side_to_move()).to_owned()].into();
        // Before its first recorded value a clock shows the time control, or that value itself.
        let clocks = Color::ALL.map(|c| plies.iter().find(|p| p.color == c).and_then(|p| p.before.or(p.clock)));
        for (color, tag_name, role) in [(Color::White, "White", "White"), (Color::Black, "Black", "Black")] {
            let elo = tag(game, &format!("{tag_name}Elo")).and_then(|e| e.parse::<u32>().ok());
            let title = tag(game, &format!("{tag_name}Title")).map(|t| clip(t, 16));
            let rating = elo.filter(|&e| e > 0).map(|e| format!("rating {}", thousands(i64::from(e))));
            let blurb: Vec<String> = title.into_iter().chain(rating).collect();
            let player = Side {
                seat: color as u8,
                name: clip(tag(game, tag_name).unwrap_or(role), NAME_CHARS),
                author: clip(tag(game, &format!("{tag_name}Team")).unwrap_or_default(), NAME_CHARS),
                role: role.into(),
                blurb: blurb.join(" · "),
                ..Side::default()
            };
            snapshot.sides.insert(side(color).to_owned(), player);
        }
        let men = Square::ALL.iter().map(|&s| Some(format!("{}-{s}", side(start.color_on(s)?)))).collect();
        let mut table = Table {
            snapshot,
            men,
            clocks,
            moves: [0; 2],
            captured: [0; 2],
            thought: [(0, 0); 2],
            start_ts,
            arrows: [None; 2],
        };
        table.counters();
        table.stop_clocks(0);
        table.draw(start, None);
        table
    }

    /// Plays one move that begins at `at`; gives the time at which it is made. `boards`: before and after.
    fn ply(&mut self, script: &mut Script, at: i64, played: &Played, boards: &[Board], last: bool, over: &Over) -> i64 {
        let Played { ply, color, .. } = played;
        let mover = side(*color);
        let index = *color as usize;
        // The closing words of a record tell its result; they are no thought.
        let closing = last && over.told_by_comment;
        let thought = format!("{mover}-{}", played.number);
        let words = if closing { String::new() } else { clip(&ply.words, THOUGHT_CHARS / 2) };
        let lines = clip(&ply.variations.join(" · "), THOUGHT_CHARS / 4);
        let words = match ply.eval {
            // An engine that gives only its number thinks in numbers.
            Some(value) if words.is_empty() && lines.is_empty() && !closing => opinion(value),
            _ => words,
        };
        let least = if words.is_empty() && lines.is_empty() { MOVE_MIN_MS } else { READ_MIN_MS };
        let wait = played.elapsed.unwrap_or(MOVE_MS).clamp(least, MOVE_MAX_MS);
        self.turn(script, at, *color, played.number, Some((played, wait)));
        let mid = at + wait * 3 / 10;
        if !words.is_empty() {
            think(script, mid, mover, &thought, words.clone(), lines.is_empty());
        }
        let own = [point(played.steps.from), point(played.steps.to)];
        let flip = |[from, to]: [[u16; 2]; 2]| [[from[0], 7 - from[1]], [to[0], 7 - to[1]]];
        let arrows: Vec<_> = ply.arrows.iter().map(|&a| flip(a)).collect();
        if arrows.contains(&own) {
            self.arrows[index] = Some(own);
            let patch = serde_json::json!({ "zones": { BOARD: { "arrows": self.arrow_list() } } });
            script.public(mid, Body::StatePatch(patch));
        }

        let at = at + wait;
        self.moved(played, at);
        self.arrows[index] = arrows.into_iter().find(|&a| a != own);
        let eval = self.eval(played, &boards[1], at);
        self.snapshot.eval = eval.clone().or(self.snapshot.eval.take());
        let next = boards[1].side_to_move();
        self.set_turn(next, boards[1].fullmove_number());
        self.draw(&boards[1], Some(&played.steps));
        let decided = ActionDecided {
            side: mover.to_owned(),
            text: clip(&ply.san, TEXT_CHARS),
            latency_ms: played.elapsed.and_then(|e| u64::try_from(e).ok()),
            ..ActionDecided::default()
        };
        script.public(at, Body::ActionDecided(decided));
        script.public(at, Body::StateSnapshot(Box::new(self.snapshot.clone())));
        if let Some(eval) = eval {
            script.public(at, Body::Eval(eval));
        }
        if !lines.is_empty() {
            let gap = if words.is_empty() { "" } else { "\n" };
            think(script, at, mover, &thought, format!("{gap}{lines}"), true);
        }
        let importance = match (ply.glyph, boards[1].checkers().is_empty()) {
            ("!!" | "??", _) => 70,
            ("!" | "?", _) => 60,
            (_, false) => 50,
            _ => 30,
        };
        feed(script, at, "move", format!("{}{}", played.numbered, ply.glyph), Some(mover), importance);
        at
    }

    /// `turn.started`, with the mover's clock running. `wait`: how long the move will take.
    fn turn(&mut self, script: &mut Script, at: i64, color: Color, number: u16, wait: Option<(&Played, i64)>) {
        self.stop_clocks(at);
        let mut clocks: BTreeMap<String, Clock> = BTreeMap::new();
        for c in Color::ALL {
            if let Some(clock) = &self.snapshot.sides[side(c)].clock {
                clocks.insert(side(c).to_owned(), clock.clone());
            }
        }
        if let Some((played, wait)) = wait
            && let Some(clock) = clocks.get_mut(side(color))
            && let Some(before) = played.before
        {
            clock.running = true;
            // Cut short or drawn out: start lower or higher, so that the clock runs into the recorded value.
            if let Some(elapsed) = played.elapsed {
                clock.ms = (before - elapsed).max(0) + wait;
            }
        }
        let turn = TurnStarted {
            turn: u32::from(number),
            active: [side(color).to_owned()].into(),
            clocks,
            ..TurnStarted::default()
        };
        script.public(at, Body::TurnStarted(turn));
        self.set_turn(color, number);
        let status = |c: Color| serde_json::json!({ "status": self.snapshot.sides[side(c)].status });
        let sides =
            serde_json::json!({ side(Color::White): status(Color::White), side(Color::Black): status(Color::Black) });
        script.public(at, Body::StatePatch(serde_json::json!({ "sides": sides })));
    }

    fn set_turn(&mut self, color: Color, number: u16) {
        self.snapshot.phase.turn = u32::from(number);
        self.snapshot.phase.active = [side(color).to_owned()].into();
        for c in Color::ALL {
            let status = if c == color { SideStatus::Thinking } else { SideStatus::Active };
            self.side(c).status = status;
        }
    }

    fn side(&mut self, color: Color) -> &mut Side {
        self.snapshot.sides.entry(side(color).to_owned()).or_default()
    }

    fn stop_clocks(&mut self, at: i64) {
        let as_of = self.start_ts + at;
        for color in Color::ALL {
            let clock = self.clocks[color as usize].map(|ms| Clock { ms, as_of, ..Clock::default() });
            self.side(color).clock = clock;
        }
    }

    /// Men, clocks and counters after a move.
    fn moved(&mut self, played: &Played, at: i64) {
        let index = played.color as usize;
        if let Some(square) = played.steps.captured {
            self.men[square as usize] = None;
        }
        let king = self.men[played.steps.from as usize].take();
        if let Some((from, to)) = played.steps.rook {
            let rook = self.men[from as usize].take();
            self.men[to as usize] = rook;
        }
        self.men[played.steps.to as usize] = king;
        self.clocks[index] = played.clock.or(self.clocks[index]);
        self.moves[index] += 1;
        self.captured[index] += played.captured.map_or(0, worth);
        if let Some(elapsed) = played.elapsed {
            self.thought[index].0 += elapsed;
            self.thought[index].1 += 1;
        }
        self.counters();
        self.stop_clocks(at);
    }

    fn counters(&mut self) {
        for color in Color::ALL {
            let index = color as usize;
            let counter = |id: &str, label: &str, value: f64| Counter {
                id: id.into(),
                label: label.into(),
                value,
                ..Counter::default()
            };
            let mut counters = vec![
                counter("moves", "Moves", f64::from(self.moves[index])),
                counter("captured", "Captured", f64::from(self.captured[index])),
            ];
            let (sum, number) = self.thought[index];
            if number > 0 {
                let seconds = (sum as f64 / f64::from(number) / 100.0).round() / 10.0;
                counters.push(Counter { unit: "s".into(), ..counter("average", "Avg move", seconds) });
            }
            self.side(color).counters = counters;
        }
    }

    fn arrow_list(&self) -> Vec<Arrow> {
        let arrow = |color: Color| {
            let [from, to] = self.arrows[color as usize]?;
            Some(Arrow { from, to, side: Some(side(color).to_owned()), vis: None })
        };
        Color::ALL.into_iter().filter_map(arrow).collect()
    }

    /// Puts the position into the board's zone.
    fn draw(&mut self, board: &Board, last: Option<&rules::Steps>) {
        let mut cells = Vec::with_capacity(36);
        let mut paint = |square: Square, paint: Paint| {
            let [x, y] = point(square);
            cells.push(Cell { x, y, paint: Some(paint), ..Cell::default() });
        };
        if let Some(steps) = last {
            paint(steps.from, Paint::Last);
            if steps.to != steps.from {
                paint(steps.to, Paint::Last);
            }
        }
        if !board.checkers().is_empty() {
            paint(board.king(board.side_to_move()), Paint::Alert);
        }
        for square in board.occupied() {
            let (Some(piece), Some(color)) = (board.piece_on(square), board.color_on(square)) else { continue };
            let [x, y] = point(square);
            cells.push(Cell {
                x,
                y,
                id: self.men[square as usize].clone().unwrap_or_default(),
                picture: Some(PictureRef(format!("symbol:chess/{}", piece_name(piece)))),
                side: Some(side(color).to_owned()),
                tone: if color == Color::White { Tone::Light } else { Tone::Dark },
                ..Cell::default()
            });
        }
        let grid = Grid {
            cols: 8,
            rows: 8,
            ground: Ground::Checker,
            col_labels: ('a'..='h').map(String::from).collect(),
            row_labels: ('1'..='8').rev().map(String::from).collect(),
            cells,
            bodies: Vec::new(),
            arrows: self.arrow_list(),
        };
        let zone = Zone {
            content: ZoneContent::Grid(grid),
            owner: None,
            label: String::new(),
            order: 0,
            vis: Some(Visibility::Public),
        };
        self.snapshot.zones.insert(BOARD.into(), zone);
    }

    /// The evaluation recorded with a move; a mate on the board needs none.
    fn eval(&self, played: &Played, after: &Board, at: i64) -> Option<Eval> {
        let mated = !after.checkers().is_empty() && !after.generate_moves(|_| true);
        let (white, text) = if mated {
            (if played.color == Color::White { 1.0 } else { 0.0 }, "mate".to_owned())
        } else {
            match played.ply.eval? {
                // `#0` is written for a position that is mate already.
                Value::Mate(n) => (if n >= 0 { 1.0 } else { 0.0 }, format!("M{}", n.unsigned_abs())),
                Value::Pawns(p) if p.abs() < 0.05 => (win_chance(p), "0.0".to_owned()),
                Value::Pawns(p) => (win_chance(p), format!("+{:.1}", p.abs())),
            }
        };
        let shares = [("white".to_owned(), white), ("black".to_owned(), 1.0 - white)].into();
        Some(Eval { shares, text, as_of: self.start_ts + at })
    }

    /// The last state and `match.ended`.
    fn end(&mut self, script: &mut Script, at: i64, over: Over) {
        let mut at = at;
        if let (Some(color), Some(left)) = (over.flagged, over.flagged.and_then(|c| self.clocks[c as usize])) {
            // The flag falls while everybody watches.
            let wait = left.clamp(MOVE_MIN_MS, MOVE_MAX_MS);
            self.clocks[color as usize] = Some(left.min(wait));
            self.turn(script, at, color, over.number, None);
            let mut running = self.snapshot.clone();
            let loser = running.sides.entry(side(color).to_owned()).or_default();
            loser.clock = loser.clock.take().map(|c| Clock { running: true, ..c });
            script.public(at, Body::StateSnapshot(Box::new(running)));
            at += wait;
            self.clocks[color as usize] = Some(0);
        } else {
            at += END_MS;
        }
        self.stop_clocks(at);
        self.snapshot.phase.active.clear();
        self.snapshot.phase.turn = u32::from(over.number);
        for color in Color::ALL {
            let won = over.result.winners.iter().any(|w| w == side(color));
            let late = over.loser_on_time == Some(color);
            let player = self.side(color);
            player.status = match (won, late) {
                (true, _) => SideStatus::Winner,
                (_, true) => SideStatus::Timeout,
                _ => SideStatus::Active,
            };
            if late {
                player.status_text = "lost on time".into();
            }
        }
        script.public(at, Body::StateSnapshot(Box::new(self.snapshot.clone())));
        let score = over.score.map_or(String::new(), |s| format!("{s} "));
        feed(script, at, "event", format!("{score}{}", over.result.reason), None, 100);
        script.public(at, Body::MatchEnded(over.result));
    }
}

/// An evaluation in words: `White is slightly better, +0.9.`
fn opinion(value: Value) -> String {
    let (white, words) = match value {
        Value::Mate(n) => {
            let (side, n) = (if n >= 0 { "White" } else { "Black" }, n.unsigned_abs());
            return format!("{side} mates in {n}.");
        }
        Value::Pawns(p) => (
            p >= 0.0,
            match p.abs() {
                p if p < 0.25 => return format!("Equal, {}.", pawns(value)),
                p if p < 1.0 => "is slightly better",
                p if p < 2.5 => "is better",
                p if p < 6.0 => "is winning",
                _ => "is completely winning",
            },
        ),
    };
    format!("{} {words}, {}.", if white { "White" } else { "Black" }, pawns(value))
}

/// Pawns from White's view with a sign: `+0.9`, `−1.3`.
fn pawns(value: Value) -> String {
    match value {
        Value::Pawns(p) if p.abs() < 0.05 => "0.0".to_owned(),
        Value::Pawns(p) if p < 0.0 => format!("\u{2212}{:.1}", -p),
        Value::Pawns(p) => format!("+{p:.1}"),
        Value::Mate(n) => format!("M{}", n.unsigned_abs()),
    }
}

/// What is worth knowing before the game.
fn facts(game: &Game, control: Option<Control>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: &str, text: Option<String>| {
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            facts.push(Fact { label: label.into(), text: clip(&text, NAME_CHARS) });
        }
    };
    let owned = |name: &str| tag(game, name).map(str::to_owned);
    add("Time control", control.map(Control::text).or_else(|| owned("TimeControl")));
    let opening = match (tag(game, "Opening"), tag(game, "ECO")) {
        (Some(name), Some(eco)) => Some(format!("{name} ({eco})")),
        (name, eco) => name.or(eco).map(str::to_owned),
    };
    add("Opening", opening);
    if game.tags.iter().any(|t| t.name.eq_ignore_ascii_case("FEN")) {
        add("Start position", owned("FEN"));
    }
    add("Site", owned("Site"));
    add("Date", owned("Date").or_else(|| owned("UTCDate")));
    facts
}

fn think(script: &mut Script, at: i64, side: &str, id: &str, delta: String, done: bool) {
    let thought = AgentThinking { side: side.to_owned(), thought_id: id.to_owned(), delta, done };
    script.public(at, Body::AgentThinking(thought));
}

fn feed(script: &mut Script, at: i64, kind: &str, text: String, actor: Option<&str>, importance: u8) {
    let line = FeedLine { kind: kind.to_owned(), text, actor: actor.map(str::to_owned), importance };
    script.public(at, Body::Feed(line));
}

/// Column and row from the top left.
fn point(square: Square) -> [u16; 2] {
    [square.file() as u16, 7 - square.rank() as u16]
}

fn piece_name(piece: Piece) -> &'static str {
    match piece {
        Piece::Pawn => "pawn",
        Piece::Knight => "knight",
        Piece::Bishop => "bishop",
        Piece::Rook => "rook",
        Piece::Queen => "queen",
        Piece::King => "king",
    }
}

/// Points as beginners learn them.
fn worth(piece: Piece) -> u32 {
    match piece {
        Piece::Pawn => 1,
        Piece::Knight | Piece::Bishop => 3,
        Piece::Rook => 5,
        Piece::Queen => 9,
        Piece::King => 0,
    }
}

/// `2412` as `2,412`.
fn thousands(n: i64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}
