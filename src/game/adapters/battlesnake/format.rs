//! The lines of both formats. They name the same things: `--output` in lower case, the websocket in Go's field names.

use crate::game::adapters::{RecordError, json_error, malformed};
use crate::game::limits::GRID_EDGE;
use serde::{Deserialize, Deserializer};

/// A turn.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Frame {
    #[serde(alias = "Turn")]
    pub turn: u32,
    #[serde(alias = "Snakes", default, deserialize_with = "nullable")]
    pub snakes: Vec<Snake>,
    #[serde(alias = "Food", default, deserialize_with = "nullable")]
    pub food: Vec<Point>,
    /// A cell may be listed several times: it hurts that many times.
    #[serde(alias = "Hazards", default, deserialize_with = "nullable")]
    pub hazards: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Snake {
    #[serde(alias = "ID")]
    pub id: String,
    #[serde(alias = "Name", default, deserialize_with = "nullable")]
    pub name: String,
    #[serde(alias = "Author", default, deserialize_with = "nullable")]
    pub author: String,
    #[serde(alias = "Squad", default, deserialize_with = "nullable")]
    pub squad: String,
    /// Head first; a snake starts as three segments on one cell.
    #[serde(alias = "Body")]
    pub body: Vec<Point>,
    #[serde(alias = "Health", default)]
    pub health: i32,
    /// Milliseconds for the move that led here, as text. The websocket sends 0 as `1`.
    #[serde(alias = "Latency", default, deserialize_with = "milliseconds")]
    pub latency: Option<u64>,
    /// Always empty in `--output`.
    #[serde(alias = "Shout", default, deserialize_with = "nullable")]
    pub shout: String,
    /// 0 when no HTTP answer came.
    #[serde(rename = "StatusCode", default)]
    pub status_code: u16,
    /// `7:Bad HTTP status code 500`
    #[serde(rename = "Error", default, deserialize_with = "nullable")]
    pub error: String,
    #[serde(rename = "Death", default)]
    pub death: Option<Death>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Death {
    #[serde(rename = "Cause", default, deserialize_with = "nullable")]
    pub cause: String,
    #[serde(rename = "Turn", default)]
    pub turn: u32,
    #[serde(rename = "EliminatedBy", default, deserialize_with = "nullable")]
    pub by: String,
}

/// `y` counts from the bottom. A head that left the board is at −1 or one past the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Point {
    #[serde(alias = "X")]
    pub x: i32,
    #[serde(alias = "Y")]
    pub y: i32,
}

impl Frame {
    /// Cells an edge must have to hold everything that is on the board for certain.
    pub fn extent(&self) -> u32 {
        let alive = self.snakes.iter().filter(|snake| snake.death.is_none()).flat_map(|snake| &snake.body);
        let furthest = alive.chain(&self.food).chain(&self.hazards).map(|p| p.x.max(p.y)).max();
        furthest.map_or(0, |most| u32::try_from(most.saturating_add(1)).unwrap_or(0))
    }
}

/// What is known of a game besides its turns.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct GameInfo {
    #[serde(rename = "ID", default, deserialize_with = "nullable")]
    pub id: String,
    #[serde(rename = "Width", default)]
    pub width: u32,
    #[serde(rename = "Height", default)]
    pub height: u32,
    #[serde(rename = "RulesetName", default, deserialize_with = "nullable")]
    pub ruleset: String,
    #[serde(rename = "Map", default, deserialize_with = "nullable")]
    pub map: String,
    /// Time for a move, ms; 0 when not known (the CLI's board server never knows).
    #[serde(rename = "SnakeTimeout", default)]
    pub timeout: u64,
}

impl GameInfo {
    /// Parses the body of `GET /games/{id}`.
    pub fn from_json(json: &str) -> Result<GameInfo, RecordError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Game")]
            game: GameInfo,
        }
        let answer: Answer = serde_json::from_str(json).map_err(|error| json_error(&error, 1))?;
        answer.game.checked().map_err(|problem| malformed("game description", problem))
    }

    pub fn checked(self) -> Result<GameInfo, String> {
        let fits = |edge: u32| (1..=GRID_EDGE as u32).contains(&edge);
        if fits(self.width) && fits(self.height) {
            return Ok(self);
        }
        Err(format!("the board is {} × {}, an edge is 1 to {GRID_EDGE}", self.width, self.height))
    }
}

/// A message of the websocket.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Frame(Frame),
    /// The game is over; who won is not said.
    End(GameInfo),
    Other,
}

impl Message {
    pub fn from_json(line: &str) -> Result<Message, serde_json::Error> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(rename = "Type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct Payload<T> {
            #[serde(rename = "Data")]
            data: T,
        }
        // Parsed twice so that errors keep their column.
        match serde_json::from_str::<Envelope>(line)?.kind.as_str() {
            "frame" => Ok(Message::Frame(serde_json::from_str::<Payload<Frame>>(line)?.data)),
            "game_end" => Ok(Message::End(serde_json::from_str::<Payload<GameInfo>>(line)?.data)),
            _ => Ok(Message::Other),
        }
    }

    pub fn turn(&self) -> Option<u32> {
        match self {
            Message::Frame(frame) => Some(frame.turn),
            _ => None,
        }
    }
}

/// First line of `--output`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OutputHeader {
    pub id: String,
    #[serde(default, deserialize_with = "nullable")]
    ruleset: OutputRuleset,
    #[serde(default, deserialize_with = "nullable")]
    map: String,
    #[serde(default)]
    timeout: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct OutputRuleset {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
}

impl OutputHeader {
    pub fn info(&self, width: u32, height: u32) -> GameInfo {
        GameInfo {
            id: self.id.clone(),
            width,
            height,
            ruleset: self.ruleset.name.clone(),
            map: self.map.clone(),
            timeout: self.timeout,
        }
    }
}

/// Any other line of `--output`. (Its `you` is an arbitrary snake, perhaps a dead one: of no use.)
#[derive(Clone, Debug)]
pub(super) enum OutputLine {
    Turn(Box<OutputTurn>),
    Outcome(Outcome),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct OutputTurn {
    pub turn: u32,
    pub board: OutputBoard,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct OutputBoard {
    pub width: u32,
    pub height: u32,
    #[serde(default, deserialize_with = "nullable")]
    pub snakes: Vec<Snake>,
    #[serde(default, deserialize_with = "nullable")]
    pub food: Vec<Point>,
    #[serde(default, deserialize_with = "nullable")]
    pub hazards: Vec<Point>,
}

/// Last line of `--output`. A solo game has neither winner nor draw.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    #[serde(rename = "winnerId")]
    pub winner: String,
    #[serde(rename = "isDraw")]
    pub draw: bool,
}

impl OutputLine {
    pub fn from_json(line: &str) -> Result<OutputLine, serde_json::Error> {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(rename = "winnerId")]
            winner: Option<serde::de::IgnoredAny>,
        }
        if serde_json::from_str::<Probe>(line)?.winner.is_some() {
            return Ok(OutputLine::Outcome(serde_json::from_str(line)?));
        }
        Ok(OutputLine::Turn(Box::new(serde_json::from_str(line)?)))
    }
}

/// `null` (how Go writes an empty list) is the default.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// `"12"` or `12`.
fn milliseconds<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Number(u64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Raw::deserialize(d)? {
        Raw::Text(text) => text.parse().ok(),
        Raw::Number(ms) => Some(ms),
        Raw::Other(_) => None,
    })
}
