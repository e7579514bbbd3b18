//! Hungry Geese: snakes on a board whose edges meet.

use super::connect::zone;
use super::{Episode, Final, Move, Table, fact, name, number, rewards};
use crate::game::adapters::{RecordError, malformed};
use crate::game::limits::GRID_EDGE;
use crate::game::wire::FeedLine;
use crate::game::{
    Cell, Counter, Fact, Game, Grid, GridBody, Ground, MatchResult, PictureRef, SideResult, SideStatus, Snapshot,
    Visibility, ZoneContent,
};
use serde_json::Value;

/// Steps for which an eliminated goose stays on the board.
const DEAD_TURNS: usize = 6;

pub(super) struct Geese {
    cols: usize,
    rows: usize,
}

impl Geese {
    pub fn new(ep: &Episode) -> Option<Geese> {
        let number = |key: &str, standard: u64| {
            usize::try_from(ep.setting(key).unwrap_or(standard)).ok().filter(|n| (1..=GRID_EDGE).contains(n))
        };
        let geese = Geese { cols: number("columns", 11)?, rows: number("rows", 7)? };
        geese.geese(ep, 0).is_ok().then_some(geese)
    }

    /// Each goose's cells, head first. An eliminated goose has none.
    fn geese(&self, ep: &Episode, t: usize) -> Result<Vec<Vec<usize>>, RecordError> {
        let geese = ep.shared(t, "geese").and_then(Value::as_array);
        let geese: Option<Vec<_>> = geese.and_then(|geese| geese.iter().map(|goose| self.cells(goose)).collect());
        geese.filter(|geese| geese.len() == ep.agents()).ok_or_else(|| {
            let problem = format!("expected {} lists of cells below {}", ep.agents(), self.cols * self.rows);
            malformed(format!("steps[{t}][0].observation.geese"), problem)
        })
    }

    fn cells(&self, list: &Value) -> Option<Vec<usize>> {
        let cell = |cell: &Value| usize::try_from(cell.as_u64()?).ok().filter(|at| *at < self.cols * self.rows);
        list.as_array()?.iter().map(cell).collect()
    }

    fn place(&self, at: usize) -> [u16; 2] {
        [(at % self.cols) as u16, (at / self.cols) as u16]
    }

    /// The step in which a goose lost its body, as of `t`.
    fn out(&self, ep: &Episode, t: usize, agent: usize) -> Option<usize> {
        let empty = |t: usize| self.geese(ep, t).is_ok_and(|geese| geese.get(agent).is_some_and(Vec::is_empty));
        if !empty(t) {
            return None;
        }
        Some((0..t).rev().take_while(|earlier| empty(*earlier)).last().unwrap_or(t))
    }
}

impl Table for Geese {
    fn game(&self, _ep: &Episode) -> Game {
        Game { id: "hungry_geese".into(), name: "Hungry Geese".into() }
    }

    fn open(&self) -> bool {
        true
    }

    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError> {
        let geese = self.geese(ep, t)?;
        let food = ep.shared(t, "food").and_then(|food| self.cells(food)).ok_or_else(|| {
            malformed(format!("steps[{t}][0].observation.food"), "expected a list of cells on the board")
        })?;
        let food = food.into_iter().map(|at| {
            let [x, y] = self.place(at);
            let picture = Some(PictureRef("symbol:grid/food".into()));
            Cell { x, y, id: format!("food {x} {y}"), picture, ..Cell::default() }
        });
        let mut bodies: Vec<GridBody> = Vec::new();
        for (agent, goose) in geese.iter().enumerate() {
            // The record takes a goose away at once; its last body stays for a while, below the living.
            let out = self.out(ep, t, agent).filter(|step| *step > 0 && t - step < DEAD_TURNS);
            let last = out.map(|step| self.geese(ep, step - 1)).transpose()?;
            let cells = last.as_ref().and_then(|geese| geese.get(agent)).unwrap_or(goose);
            let body = GridBody {
                id: ep.side(agent),
                side: Some(ep.side(agent)),
                cells: cells.iter().map(|at| self.place(*at)).collect(),
                dead: out.is_some(),
                vis: Some(Visibility::Public),
            };
            bodies.extend((!body.cells.is_empty()).then_some(body));
        }
        bodies.sort_by_key(|body| !body.dead);
        let grid = Grid {
            cols: self.cols as u16,
            rows: self.rows as u16,
            ground: Ground::Field,
            cells: food.collect(),
            bodies,
            ..Grid::default()
        };
        snap.zones.insert("board".into(), zone(ZoneContent::Grid(grid)));
        for (agent, goose) in geese.iter().enumerate() {
            let Some(side) = snap.sides.get_mut(&ep.side(agent)) else { continue };
            side.counters = vec![Counter {
                id: "length".into(),
                label: "Len".into(),
                value: goose.len() as f64,
                ..Counter::default()
            }];
            // The record has no cause; a goose that failed keeps that as its status.
            if let Some(step) = self.out(ep, t, agent)
                && side.status == SideStatus::Active
            {
                (side.status, side.status_text) = (SideStatus::Eliminated, format!("eliminated on turn {step}"));
            }
        }
        Ok(())
    }

    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move {
        let word = ep.step(t, agent).and_then(|step| step.action.as_str());
        Move::public(match word {
            Some(word @ ("NORTH" | "SOUTH" | "EAST" | "WEST")) => word.to_lowercase(),
            _ => "no move".to_owned(),
        })
    }

    fn lines(&self, ep: &Episode, t: usize) -> Vec<FeedLine> {
        let out = (0..ep.agents()).filter(|agent| t > 0 && self.out(ep, t, *agent) == Some(t));
        out.map(|agent| FeedLine {
            kind: "event".into(),
            text: format!("{} is out on turn {}", name(ep, agent), number(t)),
            actor: Some(ep.side(agent)),
            importance: 80,
        })
        .collect()
    }

    /// Rewards are scores here: turns lived before length. The highest wins, and several can have it.
    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult {
        let best = finals.iter().filter_map(|end| end.reward).fold(f64::NEG_INFINITY, f64::max);
        let mut result = super::winners(ep, |agent| finals[agent].reward == Some(best));
        let last = ep.last();
        let alive = |agent: &usize| self.geese(ep, last).is_ok_and(|geese| !geese[*agent].is_empty());
        result.reason = match (0..ep.agents()).filter(alive).count() {
            1 => format!("last goose alive, turn {last}"),
            _ => format!("best score after turn {last}: {}", rewards(ep, finals)),
        };
        for (agent, end) in finals.iter().enumerate() {
            let reason = self.out(ep, last, agent).map_or_else(|| "alive".into(), |step| format!("out on turn {step}"));
            result.sides.insert(ep.side(agent), SideResult { score: end.reward, reason });
        }
        result
    }

    fn facts(&self, _ep: &Episode) -> Vec<Fact> {
        vec![fact("Board", format!("{} × {}, edges meet", self.cols, self.rows))]
    }
}
