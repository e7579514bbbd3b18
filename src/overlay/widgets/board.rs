//! Boards: grids with pieces, tokens, bodies and arrows.

use super::arrow;
use crate::draw::{Color, Rect};
use crate::game::{Arrow, Cell, Grid, GridBody, Ground, Paint, PictureRef, SideId, Tone};
use crate::overlay::painter::{Align, Painter};
use crate::overlay::presentation::Moment;
use crate::overlay::theme::seat_letter;
use std::collections::BTreeMap;

/// A board's ground: what is baked.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// The cells, design px.
    pub rect: Rect,
    cell: f32,
    cols: u16,
    rows: u16,
    ground: Ground,
    col_labels: Vec<String>,
    row_labels: Vec<String>,
}

impl Board {
    /// The largest board in `area` whose cells are whole 3 px steps, centred.
    pub fn fit(area: Rect, grid: &Grid) -> Board {
        let (cols, rows) = (grid.cols.max(1), grid.rows.max(1));
        let cell = (area.w / f32::from(cols)).min(area.h / f32::from(rows));
        let cell = ((cell / 3.0).floor() * 3.0).max(3.0);
        let (w, h) = (cell * f32::from(cols), cell * f32::from(rows));
        let middle = |from: f32, room: f32| from + (room / 6.0).floor() * 3.0;
        Board {
            rect: Rect::new(middle(area.x, area.w - w), middle(area.y, area.h - h), w, h),
            cell,
            cols: grid.cols,
            rows: grid.rows,
            ground: grid.ground,
            col_labels: grid.col_labels.clone(),
            row_labels: grid.row_labels.clone(),
        }
    }

    fn at(&self, x: f32, y: f32) -> Rect {
        Rect::new(self.rect.x + x * self.cell, self.rect.y + y * self.cell, self.cell, self.cell)
    }

    fn cell(&self, x: u16, y: u16) -> Option<Rect> {
        (x < self.cols && y < self.rows).then(|| self.at(f32::from(x), f32::from(y)))
    }

    fn dark(x: u16, y: u16) -> bool {
        (x + y) % 2 == 1
    }

    /// Ground, cells and coordinates.
    pub fn base(&self, p: &mut Painter) {
        let c = &p.theme.color;
        if self.cols == 0 || self.rows == 0 {
            return;
        }
        match self.ground {
            Ground::Checker | Ground::Field => {
                let (light, dark) = match self.ground {
                    Ground::Checker => (c.board_light, c.board_dark),
                    _ => (c.cell_a, c.cell_b),
                };
                p.quad(self.rect, dark, [0.0; 4], None, true);
                for y in 0..self.rows {
                    for x in (0..self.cols).filter(|x| !Board::dark(*x, y)) {
                        p.fill(self.at(f32::from(x), f32::from(y)), light);
                    }
                }
            }
            Ground::Holes => {
                let s = p.theme.radius.m;
                p.quad(self.rect, c.line, [s; 4], None, true);
                for y in 0..self.rows {
                    for x in 0..self.cols {
                        let r = self.at(f32::from(x), f32::from(y));
                        p.circle(r.x + self.cell / 2.0, r.y + self.cell / 2.0, self.cell * 0.41, c.inset);
                    }
                }
            }
            Ground::Lines => {
                p.quad(self.rect, c.board_light, [0.0; 4], None, true);
                let half = (self.cell / 2.0).round();
                let (w, h) = (self.rect.w - self.cell + 3.0, self.rect.h - self.cell + 3.0);
                for x in 0..self.cols {
                    let r = self.at(f32::from(x), 0.0);
                    p.fill(Rect::new(r.x + half - 1.5, r.y + half - 1.5, 3.0, h), c.board_dark);
                }
                for y in 0..self.rows {
                    let r = self.at(0.0, f32::from(y));
                    p.fill(Rect::new(r.x + half - 1.5, r.y + half - 1.5, w, 3.0), c.board_dark);
                }
                for (x, y) in self.star_points() {
                    let r = self.at(x, y);
                    p.circle(r.x + half, r.y + half, 6.0, c.board_dark);
                }
            }
        }
        for y in 0..self.rows {
            self.labels(p, 0, y);
        }
        for x in 1..self.cols {
            self.labels(p, x, self.rows - 1);
        }
    }

    /// The usual marked crossings of a square go board.
    fn star_points(&self) -> Vec<(f32, f32)> {
        let n = self.cols;
        if n != self.rows || n < 9 || n.is_multiple_of(2) {
            return Vec::new();
        }
        let edge = if n < 13 { 2 } else { 3 };
        let lines = [edge, n / 2, n - 1 - edge].map(f32::from);
        lines.iter().flat_map(|x| lines.iter().map(|y| (*x, *y))).collect()
    }

    /// Coordinates that stand in this cell: the row's at the top left of the first column, the column's at the bottom
    /// right of the last row.
    fn labels(&self, p: &mut Painter, x: u16, y: u16) {
        if self.cell < 45.0 {
            return;
        }
        let Some(r) = self.cell(x, y) else { return };
        let c = &p.theme.color;
        let color = match self.ground {
            Ground::Checker if Board::dark(x, y) => c.board_light,
            Ground::Checker | Ground::Lines => c.board_dark,
            Ground::Field | Ground::Holes => c.lo,
        };
        let style = p.theme.style.tag.plain();
        let style = if p.layout.small() { style.sized(27.0) } else { style };
        if x == 0
            && let Some(label) = self.row_labels.get(usize::from(y))
        {
            p.text(Rect::new(r.x + 4.0, r.y + 1.0, self.cell - 8.0, 27.0), label, style, color, Align::Left);
        }
        if y + 1 == self.rows
            && let Some(label) = self.col_labels.get(usize::from(x))
        {
            let foot = Rect::new(r.x + 4.0, r.bottom() - 28.0, self.cell - 8.0, 27.0);
            p.text(foot, label, style, color, Align::Right);
        }
    }

    /// Painted cells, pieces, bodies and arrows.
    pub fn live(&self, p: &mut Painter, m: Moment, zone: &str, grid: &Grid) {
        if (grid.cols, grid.rows) != (self.cols, self.rows) {
            return;
        }
        p.clipped(self.rect, |p| {
            self.paint(p, m, grid);
            self.bodies(p, m, zone, grid);
            // Pieces at rest, then those that are about to be taken, then those on their way.
            let has_piece = |c: &&Cell| {
                c.picture.is_some() || !c.label.is_empty() || (c.side.is_some() && c.paint != Some(Paint::Side))
            };
            let mut moving = Vec::new();
            for cell in grid.cells.iter().filter(has_piece) {
                match m.slide(zone, cell) {
                    Some([x, y]) => moving.push((self.at(x, y), cell)),
                    None => {
                        if let Some(r) = self.cell(cell.x, cell.y) {
                            self.piece(p, m, r, cell);
                        }
                    }
                }
            }
            for cell in m.taken(zone).filter(has_piece) {
                if let Some(r) = self.cell(cell.x, cell.y) {
                    self.piece(p, m, r, cell);
                }
            }
            for (r, cell) in moving {
                self.piece(p, m, r, cell);
            }
            // One arrow a side.
            let arrows: BTreeMap<&Option<SideId>, &Arrow> = grid.arrows.iter().rev().map(|a| (&a.side, a)).collect();
            for arrow in arrows.values() {
                self.arrow(p, m, arrow);
            }
        });
    }

    fn paint(&self, p: &mut Painter, m: Moment, grid: &Grid) {
        for cell in &grid.cells {
            let (Some(paint), Some(r)) = (cell.paint, self.cell(cell.x, cell.y)) else { continue };
            let c = &p.theme.color;
            let side = seat_of(m, cell.side.as_ref());
            let fill = match (paint, self.ground) {
                (Paint::Last, Ground::Checker) if Board::dark(cell.x, cell.y) => c.last_dark,
                (Paint::Last, Ground::Checker | Ground::Lines) => c.last_light,
                (Paint::Last, _) => c.last_dark,
                (Paint::Alert, _) => c.bad,
                (Paint::Hazard, _) => c.hazard,
                (Paint::Accent, _) => c.accent,
                (Paint::Side, _) => side.map_or(c.raised, |s| p.theme.seat(s).tint),
                (Paint::Wall, _) => c.line,
            };
            let (x, y) = (r.x + self.cell / 2.0, r.y + self.cell / 2.0);
            match self.ground {
                // The slab stays; the hole's rim is lit.
                Ground::Holes => {
                    p.circle(x, y, self.cell * 0.47, if paint == Paint::Last { c.hi } else { fill });
                    p.circle(x, y, self.cell * 0.41, c.inset);
                }
                // A ring around the stone.
                Ground::Lines => p.circle(x, y, self.cell * 0.5, if paint == Paint::Last { c.bad } else { fill }),
                Ground::Checker | Ground::Field => {
                    p.fill(r, fill);
                    self.labels(p, cell.x, cell.y);
                }
            }
        }
    }

    fn piece(&self, p: &mut Painter, m: Moment, r: Rect, cell: &Cell) {
        let c = &p.theme.color;
        let seat = seat_of(m, cell.side.as_ref());
        if let Some(picture) = &cell.picture
            && picture_in(p, r, picture, cell.tone, seat)
        {
            return;
        }
        let (cx, cy) = (r.x + self.cell / 2.0, r.y + self.cell / 2.0);
        let small = self.cell < 45.0;
        let token = seat.is_some() || (cell.label.is_empty() && cell.picture.is_none()) || self.ground == Ground::Lines;
        if !token {
            let style = p.theme.style.num.sized((self.cell * 0.55).clamp(24.0, 72.0));
            let color = if self.ground == Ground::Checker { c.piece_black } else { c.hi };
            p.text(r, &cell.label, style, color, Align::Center);
            return;
        }
        let (fill, rim, on) = match (seat, cell.tone) {
            (Some(seat), _) => (p.theme.seat(seat).fill, c.stage, c.on_side),
            (None, Tone::Light) => (c.piece_white, c.piece_white_line, c.piece_white_line),
            (None, Tone::Dark) => (c.piece_black, c.piece_black_line, c.piece_white),
        };
        let radius = self.cell * if self.ground == Ground::Lines { 0.44 } else { 0.41 };
        if self.ground != Ground::Holes {
            p.circle(cx, cy, radius, rim);
        }
        p.circle(cx, cy, if self.ground == Ground::Holes { radius } else { radius - 3.0 }, fill);
        if small {
            return;
        }
        // Colour never works alone: a token bears its label or its side's letter.
        let mut letter = [0; 4];
        let text = match seat {
            _ if !cell.label.is_empty() => &*cell.label,
            Some(seat) => &*seat_letter(seat).encode_utf8(&mut letter),
            None => "",
        };
        let style = p.theme.style.num.sized((self.cell * 0.42).max(24.0));
        p.text(r, text, style, on, Align::Center);
    }

    fn arrow(&self, p: &mut Painter, m: Moment, arrow: &Arrow) {
        let (Some(a), Some(b)) = (self.cell(arrow.from[0], arrow.from[1]), self.cell(arrow.to[0], arrow.to[1])) else {
            return;
        };
        let fill = seat_of(m, arrow.side.as_ref()).map_or(p.theme.color.accent, |s| p.theme.seat(s).fill);
        let half = self.cell / 2.0;
        let (from, to) = ([a.x + half, a.y + half], [b.x + half, b.y + half]);
        let length = (to[0] - from[0]).hypot(to[1] - from[1]).max(1.0);
        let along = |d: f32| [from[0] + (to[0] - from[0]) * d / length, from[1] + (to[1] - from[1]) * d / length];
        arrow::draw(p, along(self.cell * 0.2), along(length - 6.0), fill, (self.cell / 90.0).clamp(0.35, 1.0));
    }

    // Bodies. They are drawn of disjoint pieces, cell by cell, so that a faded one does not show its own overlaps.

    fn bodies(&self, p: &mut Painter, m: Moment, zone: &str, grid: &Grid) {
        for body in m.remains(zone) {
            p.faded(0.35, |p| self.body(p, m, body));
        }
        for body in grid.bodies.iter().filter(|b| b.dead) {
            if m.fallen(zone, &body.id).unwrap_or(true) {
                p.faded(0.35, |p| self.body(p, m, body));
            }
        }
        for body in grid.bodies.iter().filter(|b| !b.dead) {
            self.body(p, m, body);
        }
    }

    fn body(&self, p: &mut Painter, m: Moment, body: &GridBody) {
        let mut cells: Vec<[u16; 2]> = body.cells.iter().copied().filter(|c| self.cell(c[0], c[1]).is_some()).collect();
        // Stacked segments are drawn once.
        cells.dedup();
        if cells.is_empty() {
            return;
        }
        let seat = seat_of(m, body.side.as_ref()).unwrap_or(7);
        let (fill, outline) = (p.theme.seat(seat).fill, p.theme.color.stage);
        // 62 and 51 of a 75 px cell, in whole steps at both sizes.
        let margin = |share: f32| (self.cell * share / 3.0).round() * 3.0 / 2.0;
        if !body.dead {
            self.tube(p, &cells, (self.cell - 62.0 / 75.0 * self.cell) / 2.0, outline);
        }
        let inner = if self.cell >= 30.0 { margin(0.32) } else { self.cell * 0.16 };
        self.tube(p, &cells, inner, fill);
        self.head(p, &cells);
        let c = &p.theme.color;
        if self.cell >= 45.0 {
            let third = cells[cells.len().min(3) - 1];
            if cells.len() > 1
                && let Some(r) = self.cell(third[0], third[1])
            {
                let style = p.theme.style.num.sized((self.cell * 0.44).max(24.0));
                let mut letter = [0; 4];
                p.text(r, seat_letter(seat).encode_utf8(&mut letter), style, c.on_side, Align::Center);
            }
        }
    }

    /// A tube through the cells, `margin` in from their edges: in each cell a middle square with rounded outer corners,
    /// and bridges to the neighbours in the body.
    fn tube(&self, p: &mut Painter, cells: &[[u16; 2]], margin: f32, fill: Color) {
        let w = self.cell - 2.0 * margin;
        let round = w / 2.0;
        for (i, c) in cells.iter().enumerate() {
            let Some(r) = self.cell(c[0], c[1]) else { continue };
            let next_to = |other: Option<&[u16; 2]>, dx: i32, dy: i32| {
                other
                    .is_some_and(|o| (i32::from(o[0]) - i32::from(c[0]), i32::from(o[1]) - i32::from(c[1])) == (dx, dy))
            };
            let (before, after) = (i.checked_sub(1).and_then(|i| cells.get(i)), cells.get(i + 1));
            let open = |dx: i32, dy: i32| next_to(before, dx, dy) || next_to(after, dx, dy);
            let (left, right, up, down) = (open(-1, 0), open(1, 0), open(0, -1), open(0, 1));
            let corner = |a: bool, b: bool| if a || b { 0.0 } else { round };
            let radius = [corner(left, up), corner(right, up), corner(right, down), corner(left, down)];
            p.quad(Rect::new(r.x + margin, r.y + margin, w, w), fill, radius, None, false);
            for (open, bridge) in [
                (left, Rect::new(r.x, r.y + margin, margin, w)),
                (right, Rect::new(r.x + margin + w, r.y + margin, margin, w)),
                (up, Rect::new(r.x + margin, r.y, w, margin)),
                (down, Rect::new(r.x + margin, r.y + margin + w, w, margin)),
            ] {
                if open {
                    p.fill(bridge, fill);
                }
            }
        }
    }

    fn head(&self, p: &mut Painter, cells: &[[u16; 2]]) {
        let [hx, hy] = cells[0];
        let (dx, dy) = match cells.get(1) {
            Some([nx, ny]) => {
                ((f32::from(hx) - f32::from(*nx)).clamp(-1.0, 1.0), (f32::from(hy) - f32::from(*ny)).clamp(-1.0, 1.0))
            }
            None => (0.0, -1.0),
        };
        let Some(r) = self.cell(hx, hy) else { return };
        let u = self.cell / 75.0;
        let (cx, cy) = (r.x + self.cell / 2.0, r.y + self.cell / 2.0);
        let (white, black) = (p.theme.color.piece_white, p.theme.color.piece_black);
        for side in [-1.0, 1.0] {
            let (ex, ey) = (cx + (dx * 9.0 - dy * 12.0 * side) * u, cy + (dy * 9.0 + dx * 12.0 * side) * u);
            p.circle(ex, ey, 8.0 * u, white);
            p.circle(ex + dx * 2.0 * u, ey + dy * 2.0 * u, 4.5 * u, black);
        }
    }
}

fn seat_of(m: Moment, side: Option<&SideId>) -> Option<u8> {
    m.state().board.sides.get(side?).map(|s| s.seat)
}

/// A piece's picture with the colours of its tone or side. False: there is no such picture.
fn picture_in(p: &mut Painter, r: Rect, picture: &PictureRef, tone: Tone, seat: Option<u8>) -> bool {
    let c = &p.theme.color;
    let chess = picture.0.starts_with("symbol:chess/");
    let vars = match (seat, tone) {
        (_, Tone::Light) if chess => [("c", c.piece_white), ("l", c.piece_white_line), ("k", c.piece_white_line)],
        (_, Tone::Dark) if chess => [("c", c.piece_black), ("l", c.piece_black_line), ("k", c.board_light)],
        (Some(seat), _) => [("c", p.theme.seat(seat).fill), ("l", c.hi), ("k", p.theme.seat(seat).stage)],
        (None, _) => [("c", c.bad), ("l", c.good), ("k", c.stage)],
    };
    p.picture(r, picture, &vars, false)
}
