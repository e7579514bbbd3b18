//! Battlesnake: what the rules CLI writes with `--output` (after the game) and what its board server sends over a
//! websocket (`/games/{id}/events`, one message a line).
//!
//! Both count `y` from the bottom; [`crate::game::Grid`] counts from the top, so rows are flipped here. Neither has
//! times: a recorded turn lasts [`TURN_MS`].
//!
//! | | `--output` | websocket |
//! |---|---|---|
//! | board size | in every line | only in `GET /games/{id}` and in `game_end` |
//! | dead snakes | vanish, no cause | stay, with `Death` |
//! | winner | last line | none: whoever is alive at `game_end` |
//! | errors, shouts | none | `Error` and `StatusCode`, `Shout` |

mod format;
mod play;

use super::{Format, Record, RecordError, Script, json_error, malformed};
use crate::game::limits::ID_CHARS;
use crate::game::wire::{Body, FeedLine};
use format::{Frame, GameInfo, Message, OutputHeader, OutputLine};
use play::Play;

/// Length of a turn of a recorded game, ms: two moves a second, the pace at which Battlesnake's own board plays.
pub const TURN_MS: i64 = 500;
/// How long the last position stands before the result, ms.
pub const END_MS: i64 = 1_500;
/// Turns for which a dead snake stays on the board.
pub const DEAD_TURNS: u32 = 6;
/// Board edges of the CLI's standard maps; the smallest that holds everything is taken when the size is not recorded.
const STANDARD_EDGES: [u16; 3] = [7, 11, 19];

/// A game as the board server sends it, message by message.
///
/// The server has one channel for all clients: a second client would take frames away from the first.
#[derive(Debug)]
pub struct Live {
    play: Play,
    lines: usize,
}

impl Live {
    /// `game_json` is the body of `GET /games/{id}`.
    ///
    /// # Errors
    /// When it is no such body or the board is larger than [`crate::game::limits::GRID_EDGE`].
    pub fn new(game_json: &str) -> Result<Live, RecordError> {
        Ok(Live { play: Play::new(GameInfo::from_json(game_json)?), lines: 0 })
    }

    /// Id of the game.
    pub fn match_id(&self) -> &str {
        self.play.match_id()
    }

    /// Whether `game_end` has been seen.
    pub fn ended(&self) -> bool {
        self.play.ended()
    }

    /// What a message of the websocket means: everything that one turn changed, to be published together. All of it is
    /// public. A frame that was seen already, or a message of another type, means nothing.
    ///
    /// # Errors
    /// When the line is no message of the board server; the game can go on with the next one.
    pub fn push_line(&mut self, line: &str) -> Result<Vec<Body>, RecordError> {
        self.lines += 1;
        if line.trim().is_empty() {
            return Ok(Vec::new());
        }
        let message = Message::from_json(line).map_err(|error| json_error(&error, self.lines))?;
        self.push(message, self.lines)
    }

    fn push(&mut self, message: Message, line: usize) -> Result<Vec<Body>, RecordError> {
        let place = || format!("line {line}");
        match message {
            Message::Frame(frame) => self.play.frame(frame).map_err(|problem| malformed(place(), problem)),
            Message::End(_) => Ok(self.play.end_by_survival()),
            Message::Other => Ok(Vec::new()),
        }
    }
}

/// Reads a recording of the websocket's messages. `game_json`, the body of `GET /games/{id}`, knows the board's size;
/// without it `game_end` does, and in a recording without either the smallest standard board that holds everything is
/// taken.
///
/// # Errors
/// [`RecordError::Malformed`] with the line.
pub fn read_with_game(events: &str, game_json: Option<&str>) -> Result<Record, RecordError> {
    let lines = Lines::parse(events, Message::from_json)?;
    let info = match game_json {
        Some(json) => GameInfo::from_json(json)?,
        None => recorded_game(&lines.parsed)?,
    };
    let mut live = Live { play: Play::new(info), lines: 0 };
    let mut script = Script::new(live.match_id(), 0);
    let mut at = 0;
    for (number, message) in lines.parsed {
        at = message.turn().map_or(at + END_MS, |turn| i64::from(turn) * TURN_MS);
        for body in live.push(message, number)? {
            script.public(at, body);
        }
    }
    if !live.play.started() {
        return Err(malformed("line 1", "no frame of a game"));
    }
    let missing = (!live.ended()).then_some("game_end");
    Ok(finish(script, Format::BattlesnakeEvents, &live.play, at, lines.cut, missing))
}

/// Reads what the CLI wrote with `--output`. It writes when the game is over; a CLI that died left an empty file.
///
/// # Errors
/// [`RecordError::Malformed`] with the line.
pub fn read_output(text: &str) -> Result<Record, RecordError> {
    let mut numbered = text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((first, header)) = numbered.next() else {
        return Err(malformed("line 1", "the file is empty: the CLI writes it when the game is over"));
    };
    let header: OutputHeader =
        serde_json::from_str(header.trim_end()).map_err(|error| json_error(&error, first + 1))?;
    let skip = text.split_inclusive('\n').take(first + 1).map(str::len).sum();
    let mut lines = Lines::parse(text.get(skip..).unwrap_or_default(), OutputLine::from_json)?;
    lines.shift(first + 1);

    let mut play: Option<Play> = None;
    let mut script = Script::new(&super::clip(&header.id, ID_CHARS), 0);
    let mut at = 0;
    for (number, line) in lines.parsed {
        let place = || format!("line {number}");
        let bodies = match (line, play.as_mut()) {
            (_, Some(play)) if play.ended() => return Err(malformed(place(), "a line after the result")),
            (OutputLine::Turn(turn), known) => {
                let play = match known {
                    Some(play) => play,
                    None => {
                        let info = header.info(turn.board.width, turn.board.height);
                        play.insert(Play::new(info.checked().map_err(|problem| malformed(place(), problem))?))
                    }
                };
                at = i64::from(turn.turn) * TURN_MS;
                let board = turn.board;
                let frame = Frame { turn: turn.turn, snakes: board.snakes, food: board.food, hazards: board.hazards };
                play.frame(frame).map_err(|problem| malformed(place(), problem))?
            }
            (OutputLine::Outcome(_), None) => return Err(malformed(place(), "a result before the first turn")),
            (OutputLine::Outcome(outcome), Some(play)) => {
                at += END_MS;
                play.end_by_verdict(&outcome).map_err(|problem| malformed(place(), problem))?
            }
        };
        for body in bodies {
            script.public(at, body);
        }
    }
    let Some(play) = play else {
        return Err(malformed(format!("line {}", first + 1), "the record ends before the first turn"));
    };
    let missing = (!play.ended()).then_some("the result");
    Ok(finish(script, Format::BattlesnakeOutput, &play, at, lines.cut, missing))
}

/// A record that breaks off gets no result: it did not happen as far as the file says.
fn finish(
    mut script: Script,
    format: Format,
    play: &Play,
    at: i64,
    cut: Option<usize>,
    missing: Option<&str>,
) -> Record {
    let turn = play.turn();
    let truncated = missing.map(|what| match cut {
        Some(line) => format!("line {line} breaks off, the last whole turn is {turn}"),
        None => format!("ends after turn {turn} without {what}"),
    });
    if truncated.is_some() {
        let text = format!("The record breaks off after turn {turn}");
        let line = FeedLine { kind: "system".into(), text, actor: None, importance: 70 };
        script.public(at, Body::Feed(line));
    }
    script.finish(format, truncated)
}

/// The parsed lines of a file with their numbers from 1.
struct Lines<T> {
    parsed: Vec<(usize, T)>,
    /// Number of a last line that the end of the file cuts off.
    cut: Option<usize>,
}

impl<T> Lines<T> {
    fn parse(text: &str, parse: impl Fn(&str) -> Result<T, serde_json::Error>) -> Result<Lines<T>, RecordError> {
        let mut lines = Lines { parsed: Vec::new(), cut: None };
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match parse(line.trim_end()) {
                Ok(value) => lines.parsed.push((index + 1, value)),
                // Only the last line has no line end.
                Err(error) if error.is_eof() && !line.ends_with('\n') => lines.cut = Some(index + 1),
                Err(error) => return Err(json_error(&error, index + 1)),
            }
        }
        Ok(lines)
    }

    fn shift(&mut self, by: usize) {
        self.parsed.iter_mut().for_each(|(number, _)| *number += by);
        self.cut = self.cut.map(|line| line + by);
    }
}

/// The game's description from `game_end`, or as far as the frames tell.
fn recorded_game(messages: &[(usize, Message)]) -> Result<GameInfo, RecordError> {
    let end = messages.iter().rev().find_map(|(number, message)| match message {
        Message::End(info) => Some((*number, info.clone())),
        _ => None,
    });
    if let Some((number, info)) = end
        && info.width > 0
        && info.height > 0
    {
        return info.checked().map_err(|problem| malformed(format!("line {number}"), problem));
    }
    let mut edge = 0;
    for (_, message) in messages {
        if let Message::Frame(frame) = message {
            edge = edge.max(frame.extent());
        }
    }
    let edge = STANDARD_EDGES.into_iter().find(|standard| u32::from(*standard) >= edge).map_or(edge, u32::from);
    let info = GameInfo { width: edge, height: edge, ..GameInfo::default() };
    info.checked().map_err(|problem| malformed("line 1", problem))
}
