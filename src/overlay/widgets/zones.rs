//! The main area: boards, texts and pictures of the table, or the score when there is nothing on it.

use super::board::Board;
use crate::draw::Rect;
use crate::game::{PictureRef, TextZone, Zone, ZoneContent, ZoneId};
use crate::overlay::numbers::{grouped, with_unit};
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::Moment;
use crate::raster::{ImageKey, Raster};

/// At most so many zones share the main area; the others are not shown.
const MOST: usize = 4;
const GAP: f32 = 12.0;
/// Height of a zone's label where several share the area.
const LABEL: f32 = 36.0;

/// What is on the table, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    area: Rect,
    places: Vec<Place>,
    players: Vec<Player>,
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    id: ZoneId,
    label: String,
    rect: Rect,
    kind: PlaceKind,
}

#[derive(Clone, Debug, PartialEq)]
enum PlaceKind {
    Board(Board),
    Text,
    Picture { picture: PictureRef, pixelated: bool, key: Option<ImageKey> },
}

impl Table {
    /// Lays the zones out in `area`; cards are not laid out here.
    pub fn new(m: Moment, area: Rect, players: &[Player], raster: Option<&mut Raster>) -> Table {
        let board = &m.state().board;
        let mut zones: Vec<(&ZoneId, &Zone)> =
            board.zones.iter().filter(|(_, z)| !matches!(z.content, ZoneContent::Cards(_))).collect();
        // The shared table first, then by order and by the owner's seat.
        let seat = |z: &Zone| z.owner.as_ref().map(|o| board.sides.get(o).map_or(8, |s| s.seat));
        zones.sort_by_key(|(id, z)| (seat(z), z.order, *id));
        zones.truncate(MOST);
        let n = zones.len();
        let mut raster = raster;
        let places = zones.into_iter().zip(split(area, n)).map(|((id, zone), rect)| {
            let label = if n > 1 { label_of(m, zone) } else { String::new() };
            let inner = if label.is_empty() { rect } else { Rect::new(rect.x, rect.y + LABEL, rect.w, rect.h - LABEL) };
            let kind = match &zone.content {
                ZoneContent::Grid(grid) => PlaceKind::Board(Board::fit(inner, grid)),
                ZoneContent::Picture(zone) => match &zone.picture {
                    Some(picture) => {
                        let key = raster.as_mut().and_then(|r| r.pictures.picture(&picture.0)).map(|p| p.0);
                        PlaceKind::Picture { picture: picture.clone(), pixelated: zone.pixelated, key }
                    }
                    None => PlaceKind::Text,
                },
                _ => PlaceKind::Text,
            };
            Place { id: id.clone(), label, rect, kind }
        });
        Table { area, places: places.collect(), players: players.to_vec() }
    }

    pub fn base(&self, p: &mut Painter) {
        let c = &p.theme.color;
        p.mark("board", self.board_rect());
        for place in &self.places {
            let inner = place.inner();
            match &place.kind {
                PlaceKind::Board(board) => board.base(p),
                PlaceKind::Text => p.panel(inner, Edge::None),
                PlaceKind::Picture { .. } => p.quad(inner, c.card_art, [0.0; 4], None, true),
            }
            if !place.label.is_empty() {
                let head = Rect { h: LABEL, ..place.rect };
                p.text(head, &place.label, p.theme.style.label, c.mid, Align::Left);
            }
        }
        if self.places.is_empty() {
            self.scores_base(p);
        }
    }

    /// The rectangle of the only board, else the whole area.
    fn board_rect(&self) -> Rect {
        match &*self.places {
            [Place { kind: PlaceKind::Board(board), .. }] => board.rect,
            _ => self.area,
        }
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        for place in &self.places {
            let Some(zone) = m.state().board.zones.get(&place.id) else { continue };
            match (&place.kind, &zone.content) {
                (PlaceKind::Board(board), ZoneContent::Grid(grid)) => board.live(p, m, &place.id, grid),
                (PlaceKind::Text, ZoneContent::Text(text)) => {
                    lines(p, place.inner().inset(24.0, 21.0), text, self.places.len() == 1)
                }
                (PlaceKind::Picture { picture, pixelated, .. }, _) => {
                    p.picture(place.inner(), picture, &[], *pixelated);
                }
                _ => {}
            }
        }
        if self.places.is_empty() {
            self.scores_live(p, m);
        }
    }

    // Only a score: big names and numbers in the board's place.

    /// One place a side: stacked, from five on in two columns.
    fn score_places(&self) -> Vec<Rect> {
        let n = self.players.len().clamp(1, 8);
        let columns = if n > 4 { 2 } else { 1 };
        let rows = n.div_ceil(columns);
        let part = |length: f32, k: usize| ((length - GAP * (k as f32 - 1.0)) / k as f32 / 3.0).floor() * 3.0;
        let (w, h) = (part(self.area.w, columns), part(self.area.h, rows));
        let place = |i: usize| {
            let (x, y) = ((i % columns) as f32, (i / columns) as f32);
            Rect::new(self.area.x + (w + GAP) * x, self.area.y + (h + GAP) * y, w, h)
        };
        (0..n).map(place).collect()
    }

    fn scores_base(&self, p: &mut Painter) {
        for (r, player) in self.score_places().into_iter().zip(&self.players) {
            let (fill, c, style) = (p.seat(player.seat).fill, &p.theme.color, &p.theme.style);
            p.panel(r, Edge::Top(fill));
            let y = r.y + if r.h < 300.0 { 21.0 } else { 30.0 };
            p.seat_glyph(r.x + 36.0, y + 9.0, 48.0, player.seat);
            let name = Rect::new(r.x + 105.0, y, r.w - 141.0, 66.0);
            p.fitted(name, &player.name, &[style.namel, style.name, style.names], c.hi, Align::Left, &player.lang);
            if r.h >= 300.0 {
                let foot = Rect::new(r.x + 36.0, r.bottom() - 60.0, r.w - 72.0, 36.0);
                p.text(foot, &player.blurb, style.body, c.mid, Align::Left);
            }
        }
    }

    fn scores_live(&self, p: &mut Painter, m: Moment) {
        let (c, style) = (&p.theme.color, &p.theme.style);
        for (r, player) in self.score_places().into_iter().zip(&self.players) {
            let Some(side) = m.state().board.sides.get(&player.id) else { continue };
            let (seat, flash) = (p.seat(player.seat), m.score_flash(&player.id));
            let tall = r.h >= 300.0;
            let top = if tall { 102.0 } else { 84.0 };
            let room = Rect::new(r.x + 36.0, r.y + top, r.w - 72.0, r.h - top - if tall { 66.0 } else { 15.0 });
            let first = side.counters.first();
            let text = match (side.score, first) {
                (Some(score), _) => grouped(score),
                (None, Some(counter)) => with_unit(counter.value, &counter.unit),
                (None, None) => continue,
            };
            let color = if flash { c.hi } else { seat.fill };
            let ladder = [style.hero, style.hero.sized(132.0), style.xl, style.namel];
            // The ladder goes by width; the height takes off its first steps.
            let fits = ladder.iter().position(|s| s.size <= room.h).unwrap_or(ladder.len() - 1);
            p.fitted(room, &text, &ladder[fits..], color, Align::Center, "");
            if side.score.is_none()
                && let Some(counter) = first
            {
                let label = Rect::new(r.x + 36.0, r.bottom() - 60.0, r.w - 72.0, 36.0);
                p.text(label, &counter.label, style.label, c.mid, Align::Right);
            }
        }
    }
}

impl Place {
    fn inner(&self) -> Rect {
        match self.label.is_empty() {
            true => self.rect,
            false => Rect::new(self.rect.x, self.rect.y + LABEL, self.rect.w, self.rect.h - LABEL),
        }
    }
}

fn label_of(m: Moment, zone: &Zone) -> String {
    let owner = zone.owner.as_ref().and_then(|o| m.state().board.sides.get(o)).map_or("", |s| &s.name);
    match (zone.label.is_empty(), owner.is_empty()) {
        (false, _) => zone.label.clone(),
        (true, false) => owner.to_owned(),
        (true, true) => String::new(),
    }
}

/// The area in one to four parts: whole, halves (side by side in a wide area, else stacked), quarters.
fn split(area: Rect, n: usize) -> Vec<Rect> {
    let half = |length: f32| ((length - GAP) / 6.0).floor() * 3.0;
    let (w, h) = (half(area.w), half(area.h));
    let (right, low) = (area.right() - w, area.bottom() - h);
    let wide = area.w >= area.h * 1.2;
    match (n, wide) {
        (0 | 1, _) => vec![area],
        (2, true) => vec![Rect { w, ..area }, Rect { x: right, w, ..area }],
        (2, false) => vec![Rect { h, ..area }, Rect { y: low, h, ..area }],
        _ => [(area.x, area.y), (right, area.y), (area.x, low), (right, low)]
            .map(|(x, y)| Rect::new(x, y, w, h))
            .to_vec(),
    }
}

/// A text zone: its newest lines, or its first ones when it fits.
fn lines(p: &mut Painter, r: Rect, zone: &TextZone, alone: bool) {
    let (style, hi) = (&p.theme.style, p.theme.color.hi);
    let style = match (zone.mono, alone) {
        (true, _) => style.mono,
        (false, true) => style.thoughtl,
        (false, false) => style.body,
    };
    // A word or two in the whole area: large, in its middle.
    let rows: Vec<&str> = zone.text.lines().map(str::trim).filter(|l| !l.is_empty()).take(5).collect();
    if alone && !zone.mono && (1..=4).contains(&rows.len()) {
        let large = [p.theme.style.xl.sized(84.0), p.theme.style.namel, p.theme.style.name];
        let fits = large.into_iter().find(|s| {
            let wide = rows.iter().map(|row| p.measure(row, *s)).fold(0.0, f32::max);
            wide <= r.w && s.line * 1.5 * rows.len() as f32 <= r.h
        });
        if let Some(large) = fits {
            let h = (large.line * 1.5).round();
            let y0 = r.y + ((r.h - h * rows.len() as f32) / 2.0).floor();
            for (k, row) in rows.iter().enumerate() {
                p.text(Rect { y: y0 + h * k as f32, h, ..r }, row, large, hi, Align::Center);
            }
            return;
        }
    }
    p.tail(r, &zone.text, style, hi);
}
