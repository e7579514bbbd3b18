//! Two sides and what is between them: a board, a picture, a text, or only the score.

use crate::draw::Rect;
use crate::overlay::layout::rects::{BOARD, EVAL, THOUGHTS};
use crate::overlay::painter::Painter;
use crate::overlay::player::Player;
use crate::overlay::presentation::Moment;
use crate::overlay::widgets::{eval, scorebug, stage, thoughts, zones::Table};
use crate::raster::Raster;

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    players: Vec<Player>,
    table: Table,
    /// There is an estimate: its bar takes room.
    eval: bool,
    /// Counters below the thoughts of each side.
    foot: [bool; 2],
}

/// Without an estimate the main area begins here.
const TOP: f32 = 216.0;

impl Page {
    pub fn new(m: Moment, players: Vec<Player>, raster: &mut Raster) -> Page {
        let eval = m.eval().is_some();
        let area = if eval { BOARD } else { grown(BOARD) };
        let table = Table::new(m, area, &players, Some(raster));
        let counters = |player: &Player| m.state().board.sides.get(&player.id).is_some_and(|s| !s.counters.is_empty());
        let foot = [0, 1].map(|i| players.get(i).is_some_and(counters));
        Page { players, table, eval, foot }
    }

    fn thoughts(&self, i: usize) -> Rect {
        if self.eval { THOUGHTS[i] } else { grown(THOUGHTS[i]) }
    }

    pub fn base(&self, p: &mut Painter) {
        let seats: Vec<u8> = self.players.iter().map(|p| p.seat).collect();
        stage::versus(p, seats.first().copied().unwrap_or(0), seats.get(1).copied().unwrap_or(1));
        scorebug::base(p, &self.players);
        for (i, player) in self.players.iter().enumerate().take(2) {
            p.mark(["thoughtsA", "thoughtsB"][i], self.thoughts(i));
            p.mark(["thoughttext", "thoughttext2"][i], thoughts::text_rect(self.thoughts(i), self.foot[i]));
            thoughts::base(p, self.thoughts(i), player, self.foot[i]);
        }
        self.table.base(p);
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        self.table.live(p, m);
        scorebug::live(p, m, &self.players);
        if let (Some(view), [a, b, ..]) = (m.eval(), &*self.players) {
            p.mark("eval", EVAL);
            eval::live(p, m, EVAL, &view, a.seat, b.seat);
        }
        for (i, player) in self.players.iter().enumerate().take(2) {
            thoughts::live(p, m, self.thoughts(i), player, self.foot[i]);
        }
    }
}

fn grown(r: Rect) -> Rect {
    Rect { y: TOP, h: r.bottom() - TOP, ..r }
}
