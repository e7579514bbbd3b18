//! A Battlesnake game as it goes: frames in, events out. Both formats and live games run through here.

use super::DEAD_TURNS;
use super::format::{Death, Frame, GameInfo, Outcome, Point, Snake};
use crate::game::adapters::{Snapshots, clip};
use crate::game::limits::{ID_CHARS, NAME_CHARS, SIDES, TEXT_CHARS, THOUGHT_CHARS};
use crate::game::wire::{ActionDecided, AgentThinking, Body, FeedLine, TurnStarted};
use crate::game::{
    ActionStatus, Cell, Counter, Fact, Game, Grid, GridBody, Ground, MatchResult, Paint, Phase, PictureRef, Side,
    SideId, SideResult, SideStatus, Snapshot, Visibility, Zone, ZoneContent,
};
use std::collections::{BTreeMap, BTreeSet};

/// A snake that gave no HTTP answer and took at least this long, ms, ran out of time where the limit is not recorded;
/// one that was faster could not be reached.
const SLOW_MS: u64 = 100;
/// Names in sentences are cut here.
const NAME_IN_TEXT: usize = 60;
/// The CLI writes this where it knows no author.
const NO_AUTHOR: &str = "rules-cli";

/// A game in progress.
#[derive(Debug)]
pub(super) struct Play {
    info: GameInfo,
    snakes: Vec<Player>,
    food: Vec<Point>,
    hazards: Vec<Point>,
    turn: Option<u32>,
    result: Option<MatchResult>,
    snapshots: Snapshots,
}

#[derive(Debug)]
struct Player {
    /// As the newest frame has it; dead ones as they were last seen.
    last: Snake,
    /// Turn and text of the elimination.
    out: Option<(u32, String)>,
    trouble: Option<(SideStatus, String)>,
}

impl Player {
    fn name(&self) -> String {
        clip(&self.last.name, NAME_IN_TEXT)
    }
}

impl Play {
    pub fn new(info: GameInfo) -> Play {
        Play {
            info,
            snakes: Vec::new(),
            food: Vec::new(),
            hazards: Vec::new(),
            turn: None,
            result: None,
            snapshots: Snapshots::default(),
        }
    }

    pub fn match_id(&self) -> &str {
        if (1..=ID_CHARS).contains(&self.info.id.chars().count()) { &self.info.id } else { "battlesnake" }
    }

    pub fn started(&self) -> bool {
        self.turn.is_some()
    }

    pub fn ended(&self) -> bool {
        self.result.is_some()
    }

    /// The newest turn, 0 before any.
    pub fn turn(&self) -> u32 {
        self.turn.unwrap_or_default()
    }

    /// Everything that a frame changed. A frame that is not newer than the last one changes nothing.
    pub fn frame(&mut self, frame: Frame) -> Result<Vec<Body>, String> {
        if self.ended() || self.turn.is_some_and(|turn| frame.turn <= turn) {
            return Ok(Vec::new());
        }
        self.seat_newcomers(&frame)?;
        let follows = self.turn.is_some_and(|turn| turn.checked_add(1) == Some(frame.turn));
        let first = self.turn.is_none();
        let mut bodies = Vec::new();
        let mut feed = Vec::new();
        let deaths = self.deaths(&frame);
        for (seat, player) in self.snakes.iter_mut().enumerate().filter(|(_, player)| player.out.is_none()) {
            let id = player.last.id.clone();
            if let Some(now) = frame.snakes.iter().find(|snake| snake.id == id) {
                player.trouble = (!first).then(|| trouble(now, self.info.timeout)).flatten();
                if let Some((_, text)) = &player.trouble {
                    feed.push(line("event", format!("{}: {text}", player.name()), &id, 60));
                }
                let direction = follows.then(|| direction(&player.last, now, &self.info)).flatten();
                if let Some(direction) = direction {
                    bodies.push(Body::ActionDecided(action(now, direction, player.trouble.as_ref())));
                }
                if !now.shout.is_empty() {
                    bodies.push(Body::AgentThinking(AgentThinking {
                        side: id.clone(),
                        thought_id: format!("turn {}", frame.turn),
                        delta: clip(&now.shout, THOUGHT_CHARS),
                        done: true,
                    }));
                }
                if follows && now.health == 100 && player.last.health < 100 && now.death.is_none() {
                    feed.push(line("event", format!("{} eats", player.name()), &id, 20));
                }
                player.last = now.clone();
            }
            if let Some((turn, text)) = deaths.get(&seat) {
                feed.push(line("event", format!("{} {text}", player.name()), &id, 80));
                player.out = Some((*turn, text.clone()));
                player.trouble = None;
            }
        }
        self.food = frame.food;
        self.hazards = frame.hazards;
        self.turn = Some(frame.turn);

        let snapshot = self.snapshot();
        let turn = Body::TurnStarted(TurnStarted {
            turn: frame.turn,
            active: snapshot.phase.active.clone(),
            ..TurnStarted::default()
        });
        if first {
            return Ok(vec![self.snapshots.start(snapshot), turn]);
        }
        bodies.push(turn);
        if follows {
            bodies.extend(self.snapshots.next(&snapshot));
        } else {
            // Frames are missing: what happened in them is not known.
            bodies.push(self.snapshots.full(&snapshot));
        }
        bodies.extend(feed.into_iter().map(Body::Feed));
        Ok(bodies)
    }

    /// The end of a game without a verdict: whoever is alive has won.
    pub fn end_by_survival(&mut self) -> Vec<Body> {
        let alive: Vec<&Player> = self.snakes.iter().filter(|player| player.out.is_none()).collect();
        let squad = alive.first().map_or("", |player| player.last.squad.as_str());
        let together = alive.len() == 1 || !squad.is_empty() && alive.iter().all(|p| p.last.squad == squad);
        let mut result = MatchResult::default();
        match alive.len() {
            _ if self.snakes.len() == 1 => {}
            0 => result.draw = true,
            _ if together => result.winners = alive.iter().map(|player| player.last.id.clone()).collect(),
            _ => result.aborted = true,
        }
        self.end(result)
    }

    /// The end of a game with the CLI's verdict.
    pub fn end_by_verdict(&mut self, outcome: &Outcome) -> Result<Vec<Body>, String> {
        let winner = (!outcome.winner.is_empty()).then(|| outcome.winner.clone());
        if let Some(id) = &winner
            && !self.snakes.iter().any(|player| player.last.id == *id)
        {
            return Err(format!("winnerId is {id:?}, no snake of this game"));
        }
        let draw = outcome.draw && winner.is_none();
        Ok(self.end(MatchResult { winners: winner.into_iter().collect(), draw, ..MatchResult::default() }))
    }

    fn end(&mut self, mut result: MatchResult) -> Vec<Body> {
        if self.ended() || !self.started() {
            return Vec::new();
        }
        let turn = self.turn();
        let alive = self.snakes.iter().filter(|player| player.out.is_none()).count();
        result.reason = match (&self.snakes[..], result.winners.is_empty()) {
            ([solo], true) => match &solo.out {
                Some((_, text)) => format!("{text} on turn {turn}"),
                None => format!("alive after {turn} turns"),
            },
            (_, false) => format!("last one alive, turn {turn}"),
            (_, true) if result.draw => format!("nobody left on turn {turn}"),
            _ => format!("stopped on turn {turn} with {alive} snakes alive"),
        };
        for player in &self.snakes {
            let reason = match &player.out {
                Some((turn, text)) => clip(&format!("{text}, turn {turn}"), TEXT_CHARS),
                None => "alive".to_owned(),
            };
            result.sides.insert(player.last.id.clone(), SideResult { score: None, reason });
        }
        self.result = Some(result.clone());
        let snapshot = self.snapshot();
        let mut bodies: Vec<Body> = self.snapshots.next(&snapshot).into_iter().collect();
        bodies.push(Body::MatchEnded(result));
        bodies
    }

    fn seat_newcomers(&mut self, frame: &Frame) -> Result<(), String> {
        for snake in &frame.snakes {
            if self.snakes.iter().any(|player| player.last.id == snake.id) {
                continue;
            }
            if !(1..=ID_CHARS).contains(&snake.id.chars().count()) {
                return Err(format!("a snake's id has {} characters, 1 to {ID_CHARS} are allowed", snake.id.len()));
            }
            if self.snakes.len() == SIDES {
                return Err(format!("more than {SIDES} snakes"));
            }
            self.snakes.push(Player { last: snake.clone(), out: None, trouble: None });
        }
        Ok(())
    }

    /// Seats of those who die in this frame, with the turn and why. Snakes that vanish died for an unknown reason.
    fn deaths(&self, frame: &Frame) -> BTreeMap<usize, (u32, String)> {
        let mut deaths = BTreeMap::new();
        for (seat, player) in self.snakes.iter().enumerate().filter(|(_, player)| player.out.is_none()) {
            match frame.snakes.iter().find(|snake| snake.id == player.last.id) {
                None => {
                    deaths.insert(seat, (frame.turn, "was eliminated".to_owned()));
                }
                Some(Snake { death: Some(death), .. }) => {
                    deaths.insert(seat, (death.turn, self.cause(death, &player.last.id, frame)));
                }
                Some(_) => {}
            }
        }
        deaths
    }

    fn cause(&self, death: &Death, victim: &str, frame: &Frame) -> String {
        let by = self.snakes.iter().find(|player| player.last.id == death.by);
        let name = by.map_or_else(|| "another snake".to_owned(), Player::name);
        let mutual = frame.snakes.iter().any(|snake| {
            snake.id == death.by
                && snake.death.as_ref().is_some_and(|other| other.turn == death.turn && other.by == victim)
        });
        match death.cause.as_str() {
            "snake-collision" => format!("ran into the body of {name}"),
            "snake-self-collision" => "ran into itself".into(),
            "wall-collision" => "hit the wall".into(),
            "head-collision" if mutual => format!("met {name} head-on, both are out"),
            "head-collision" => format!("lost a head-on with {name}"),
            "out-of-health" => "starved".into(),
            "hazard" => "died in a hazard".into(),
            "" => "was eliminated".into(),
            other => format!("was eliminated: {}", clip(&other.replace('-', " "), 40)),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let info = &self.info;
        let alive = self.snakes.iter().filter(|player| player.out.is_none());
        let active: BTreeSet<SideId> =
            if self.ended() { BTreeSet::new() } else { alive.map(|player| player.last.id.clone()).collect() };
        let mut facts = vec![fact("Board", format!("{} × {}", info.width, info.height))];
        facts.extend([("Rules", &info.ruleset), ("Map", &info.map)].map(|(label, text)| fact(label, clip(text, 60))));
        facts.retain(|fact| !fact.text.is_empty());
        if info.timeout > 0 {
            facts.push(fact("Time for a move", format!("{} ms", info.timeout)));
        }
        Snapshot {
            title: "Battlesnake".into(),
            round: capital(&clip(&info.ruleset, 60)),
            game: Game { id: "battlesnake".into(), name: "Battlesnake".into() },
            phase: Phase { turn: self.turn(), active, ..Phase::default() },
            sides: self.snakes.iter().enumerate().map(|(seat, p)| (p.last.id.clone(), self.side(seat, p))).collect(),
            zones: BTreeMap::from([("board".to_owned(), self.board())]),
            facts,
            ..Snapshot::default()
        }
    }

    fn side(&self, seat: usize, player: &Player) -> Side {
        let snake = &player.last;
        let won = self.result.as_ref().is_some_and(|result| result.winners.contains(&snake.id));
        let (status, status_text) = match (&player.out, &player.trouble) {
            _ if won => (SideStatus::Winner, String::new()),
            (Some((_, text)), _) => (SideStatus::Eliminated, clip(text, TEXT_CHARS)),
            (None, Some((status, text))) => (*status, text.clone()),
            (None, None) => (SideStatus::Active, String::new()),
        };
        let author = if snake.author == NO_AUTHOR { "" } else { snake.author.trim_start_matches('@') };
        Side {
            seat: u8::try_from(seat).unwrap_or(u8::MAX),
            name: clip(&snake.name, NAME_CHARS),
            author: clip(author, NAME_CHARS),
            status,
            status_text,
            counters: vec![
                Counter {
                    id: "health".into(),
                    label: "Health".into(),
                    value: f64::from(snake.health.clamp(0, 100)),
                    min: Some(0.0),
                    max: Some(100.0),
                    icon: Some(PictureRef("symbol:icon/heart".into())),
                    ..Counter::default()
                },
                Counter {
                    id: "length".into(),
                    label: "Len".into(),
                    value: snake.body.len() as f64,
                    ..Counter::default()
                },
            ],
            ..Side::default()
        }
    }

    fn board(&self) -> Zone {
        let mut cells: Vec<Cell> = Vec::new();
        let mut hazards: Vec<[u16; 2]> = self.hazards.iter().filter_map(|p| self.place(*p)).collect();
        hazards.sort_unstable();
        hazards.dedup();
        cells.extend(hazards.into_iter().map(|[x, y]| Cell { x, y, paint: Some(Paint::Hazard), ..Cell::default() }));
        cells.extend(self.food.iter().filter_map(|p| self.place(*p)).map(|[x, y]| Cell {
            x,
            y,
            // Named by its place: food never moves.
            id: format!("food {x} {y}"),
            picture: Some(PictureRef("symbol:grid/food".into())),
            ..Cell::default()
        }));
        let seen = self.snakes.iter().filter(|player| match &player.out {
            Some((turn, _)) => self.turn() < turn.saturating_add(DEAD_TURNS),
            None => true,
        });
        let mut bodies: Vec<GridBody> = seen
            .map(|player| GridBody {
                id: player.last.id.clone(),
                side: Some(player.last.id.clone()),
                cells: player.last.body.iter().filter_map(|p| self.place(*p)).collect(),
                dead: player.out.is_some(),
                vis: Some(Visibility::Public),
            })
            .collect();
        bodies.sort_by_key(|body| !body.dead);
        let grid = Grid {
            cols: u16::try_from(self.info.width).unwrap_or(u16::MAX),
            rows: u16::try_from(self.info.height).unwrap_or(u16::MAX),
            ground: Ground::Field,
            cells,
            bodies,
            ..Grid::default()
        };
        Zone {
            content: ZoneContent::Grid(grid),
            owner: None,
            label: String::new(),
            order: 0,
            vis: Some(Visibility::Public),
        }
    }

    /// Column and row from the top; `None` outside the board (the head of a snake that hit the wall).
    fn place(&self, point: Point) -> Option<[u16; 2]> {
        let x = u32::try_from(point.x).ok().filter(|x| *x < self.info.width)?;
        let y = u32::try_from(point.y).ok().filter(|y| *y < self.info.height)?;
        Some([u16::try_from(x).ok()?, u16::try_from(self.info.height - 1 - y).ok()?])
    }
}

/// `up`, `down`, `left` or `right`: how the head moved. Over the edge of a wrapped board a step looks like a jump.
fn direction(before: &Snake, now: &Snake, info: &GameInfo) -> Option<&'static str> {
    let (from, to) = (before.body.first()?, now.body.first()?);
    let step = |from: i32, to: i32, edge: u32| {
        let step = to.saturating_sub(from);
        if edge > 2 && step.unsigned_abs() == edge - 1 { -step.signum() } else { step }
    };
    match (step(from.x, to.x, info.width), step(from.y, to.y, info.height)) {
        (0, 1) => Some("up"),
        (0, -1) => Some("down"),
        (-1, 0) => Some("left"),
        (1, 0) => Some("right"),
        _ => None,
    }
}

/// What went wrong with a snake's move: the engine repeated its last one.
fn trouble(snake: &Snake, timeout: u64) -> Option<(SideStatus, String)> {
    let latency = snake.latency.unwrap_or_default();
    let late = timeout > 0 && latency >= timeout;
    // `--output` has no errors, but a move that took all its time did not count.
    if snake.error.is_empty() {
        return late.then(|| (SideStatus::Timeout, format!("no answer in {latency} ms")));
    }
    if late || timeout == 0 && snake.status_code == 0 && latency >= SLOW_MS {
        return Some((SideStatus::Timeout, format!("no answer in {latency} ms")));
    }
    let text = snake.error.split_once(':').map_or(snake.error.as_str(), |(_, text)| text);
    Some((SideStatus::Error, clip(text.trim(), 120)))
}

fn action(snake: &Snake, direction: &str, trouble: Option<&(SideStatus, String)>) -> ActionDecided {
    ActionDecided {
        side: snake.id.clone(),
        text: direction.to_owned(),
        reason: trouble.map(|(_, text)| text.clone()).unwrap_or_default(),
        confidence: None,
        latency_ms: snake.latency,
        status: match trouble {
            None => ActionStatus::Ok,
            Some((SideStatus::Timeout, _)) => ActionStatus::Timeout,
            Some(_) => ActionStatus::Error,
        },
    }
}

fn line(kind: &str, text: String, actor: &str, importance: u8) -> FeedLine {
    FeedLine { kind: kind.to_owned(), text: clip(&text, TEXT_CHARS), actor: Some(actor.to_owned()), importance }
}

fn fact(label: &str, text: String) -> Fact {
    Fact { label: label.to_owned(), text }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
