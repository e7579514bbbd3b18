//! ConnectX and OpenSpiel's connect four: tokens in holes.

use super::{Episode, Final, Move, Table, fact, winners};
use crate::game::adapters::{RecordError, clip, malformed};
use crate::game::limits::GRID_EDGE;
use crate::game::{Cell, Fact, Game, Grid, Ground, MatchResult, Paint, Snapshot, Visibility, Zone, ZoneContent};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) struct Connect {
    cols: usize,
    rows: usize,
    in_a_row: usize,
}

/// Owner of each cell, row by row from the top.
type Board = Vec<Option<usize>>;

impl Connect {
    pub fn new(ep: &Episode) -> Option<Connect> {
        let number = |keys: &[&str], standard: u64| {
            let n = keys.iter().find_map(|key| ep.setting(key)).unwrap_or(standard);
            usize::try_from(n).ok().filter(|n| (1..=GRID_EDGE).contains(n))
        };
        let connect = Connect {
            cols: number(&["columns"], 7)?,
            rows: number(&["rows"], 6)?,
            in_a_row: number(&["inarow", "x_in_row"], 4)?,
        };
        (ep.agents() == 2 && connect.board(ep, ep.first()).is_ok()).then_some(connect)
    }

    fn board(&self, ep: &Episode, t: usize) -> Result<Board, RecordError> {
        let board = if ep.open_spiel() {
            self.board_of_text(ep.obs_text(t, 0))
        } else {
            ep.shared(t, "board").and_then(Value::as_array).and_then(|cells| {
                cells
                    .iter()
                    .map(|cell| match cell.as_u64() {
                        Some(0) => Some(None),
                        Some(mark @ 1..=2) => Some(Some(mark as usize - 1)),
                        _ => None,
                    })
                    .collect()
            })
        };
        let key = if ep.open_spiel() { "observationString" } else { "board" };
        board.filter(|board: &Board| board.len() == self.cols * self.rows).ok_or_else(|| {
            malformed(
                format!("steps[{t}][0].observation.{key}"),
                format!("expected a board of {} × {}", self.cols, self.rows),
            )
        })
    }

    /// The proxy game writes JSON with the bottom row first, the plain one draws lines with the top row first.
    fn board_of_text(&self, text: &str) -> Option<Board> {
        let owner = |mark: char| match mark {
            '.' => Some(None),
            'x' => Some(Some(0)),
            'o' => Some(Some(1)),
            _ => None,
        };
        if !text.starts_with('{') {
            return text.chars().filter(|c| !c.is_whitespace()).map(owner).collect();
        }
        let parsed: Value = serde_json::from_str(text).ok()?;
        let mut board = Board::new();
        for row in parsed.get("board")?.as_array()?.iter().rev() {
            for cell in row.as_array()? {
                board.push(owner(cell.as_str()?.chars().next()?)?);
            }
        }
        Some(board)
    }

    /// Cells of all lines that are long enough, and whose they are.
    fn line(&self, board: &Board) -> Option<(usize, BTreeSet<usize>)> {
        let mut won: Option<(usize, BTreeSet<usize>)> = None;
        for start in 0..board.len() {
            let (x, y) = (start % self.cols, start / self.cols);
            for (dx, dy) in [(1, 0), (0, 1), (1, 1), (-1, 1)] {
                let cells: Vec<usize> = (0..self.in_a_row)
                    .filter_map(|k| {
                        let x = x.checked_add_signed(dx * k as isize).filter(|x| *x < self.cols)?;
                        let y = y.checked_add_signed(dy * k as isize).filter(|y| *y < self.rows)?;
                        Some(y * self.cols + x)
                    })
                    .collect();
                let owner = board[start];
                if let Some(owner) = owner
                    && cells.len() == self.in_a_row
                    && cells.iter().all(|cell| board[*cell] == Some(owner))
                {
                    won.get_or_insert((owner, BTreeSet::new())).1.extend(cells);
                }
            }
        }
        won
    }
}

impl Table for Connect {
    fn game(&self, ep: &Episode) -> Game {
        let name = if ep.open_spiel() { "Connect Four" } else { "ConnectX" };
        Game { id: ep.name.trim_start_matches("open_spiel_").to_owned(), name: name.to_owned() }
    }

    fn open(&self) -> bool {
        true
    }

    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError> {
        let board = self.board(ep, t)?;
        let before = if t > ep.first() { self.board(ep, t - 1)? } else { board.clone() };
        let line = self.line(&board).map(|(_, cells)| cells).unwrap_or_default();
        let token = |(at, owner): (usize, &Option<usize>)| {
            let owner = (*owner)?;
            let paint = match line.contains(&at) {
                true => Some(Paint::Accent),
                false if before[at].is_none() => Some(Paint::Last),
                false => None,
            };
            Some(Cell {
                x: (at % self.cols) as u16,
                y: (at / self.cols) as u16,
                side: Some(ep.side(owner)),
                paint,
                ..Cell::default()
            })
        };
        let grid = Grid {
            cols: self.cols as u16,
            rows: self.rows as u16,
            ground: Ground::Holes,
            cells: board.iter().enumerate().filter_map(token).collect(),
            ..Grid::default()
        };
        snap.phase.turn_label = "Move".into();
        snap.zones.insert("board".into(), zone(ZoneContent::Grid(grid)));
        Ok(())
    }

    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move {
        let action = ep.step(t, agent).map(|step| &step.action);
        let column = action.map(|action| action.get("submission").unwrap_or(action));
        Move::public(match column {
            None | Some(Value::Null) => "no move".to_owned(),
            Some(column) => format!("column {}", clip(&column.to_string(), 40)),
        })
    }

    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult {
        let line = self.board(ep, ep.last()).ok().and_then(|board| self.line(&board));
        match line {
            Some((owner, _)) => MatchResult {
                reason: format!("{} in a row, move {}", self.in_a_row, ep.last() - ep.first()),
                ..winners(ep, |agent| agent == owner)
            },
            None => {
                let mut result = winners(ep, |agent| finals[agent].reward.is_some_and(|reward| reward > 0.0));
                // Some versions give both half a point.
                result.reason = if result.draw { "the board is full".into() } else { String::new() };
                result
            }
        }
    }

    fn facts(&self, _ep: &Episode) -> Vec<Fact> {
        vec![
            fact("Board", format!("{} × {}", self.cols, self.rows)),
            fact("To win", format!("{} in a row", self.in_a_row)),
        ]
    }
}

/// A zone of the shared table that everybody sees.
pub(super) fn zone(content: ZoneContent) -> Zone {
    Zone { content, owner: None, label: String::new(), order: 0, vis: Some(Visibility::Public) }
}
