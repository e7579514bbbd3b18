//! `live` for three to eight sides: the board square on the left, a card a side on the right.

use super::Player;
use crate::draw::Rect;
use crate::game::{Card, CardRole, Cards, Side, SideId, SideStatus, Zone, ZoneContent, ZoneId};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::presentation::Moment;
use crate::overlay::widgets::zones::Table;
use crate::overlay::widgets::{cards, chip, scorebug, stage, thoughts};
use crate::raster::Raster;

/// One side, or three to eight. The rows change their order, so they are drawn live; the board's ground is baked.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    players: Vec<Player>,
    /// None: cards lie in the board's place.
    table: Option<Table>,
}

impl Page {
    pub fn new(m: Moment, players: Vec<Player>, raster: &mut Raster) -> Page {
        let cards = m.state().board.zones.values().any(|z| matches!(z.content, ZoneContent::Cards(_)));
        let boards = m.state().board.zones.values().any(|z| matches!(z.content, ZoneContent::Grid(_)));
        let table = (boards || !cards).then(|| Table::new(m, BOARD, &players, Some(raster)));
        Page { players, table }
    }

    pub fn base(&self, p: &mut Painter) {
        stage::slabs(p);
        match &self.table {
            Some(table) => table.base(p),
            None => p.panel(BOARD, Edge::None),
        }
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        match &self.table {
            Some(table) => table.live(p, m),
            None => cards_table(p, m),
        }
        let sides = order(m);
        for (k, (id, side)) in sides.iter().enumerate() {
            if let Some(player) = self.players.iter().find(|p| p.id == **id) {
                side_card(p, m, row(k, sides.len()), player, side, sides.len() > 4);
            }
        }
    }
}

/// The board's place: its size is rounded down to whole cells.
const BOARD: Rect = Rect::new(96.0, 123.0, 825.0, 825.0);
const CARD_X: f32 = 945.0;
const CARD_W: f32 = 879.0;

/// Place of card `k` of `n`.
fn row(k: usize, n: usize) -> Rect {
    let (h, pitch) = if n <= 4 { (195.0, 210.0) } else { (90.0, 105.0) };
    Rect::new(CARD_X, 123.0 + pitch * k as f32, CARD_W, h)
}

/// Sides as they are listed: alive by rank, then eliminated, the latest out first. Seats decide between equals.
fn order<'a>(m: Moment<'a>) -> Vec<(&'a SideId, &'a Side)> {
    let mut sides = m.sides();
    let out = |s: &Side| s.status == SideStatus::Eliminated;
    sides.sort_by(|(_, a), (_, b)| {
        let rank = |s: &Side| -s.score.unwrap_or(0.0);
        out(a).cmp(&out(b)).then(rank(a).total_cmp(&rank(b))).then(a.seat.cmp(&b.seat))
    });
    sides
}

fn side_card(p: &mut Painter, m: Moment, r: Rect, player: &Player, side: &Side, compact: bool) {
    let id = &player.id;
    let out = side.status == SideStatus::Eliminated;
    let fill = p.seat(side.seat).fill;
    let (hi, mid, line) = (p.theme.color.hi, p.theme.color.mid, p.theme.color.line);
    p.panel(r, Edge::Left(if out { line } else { fill }));
    let s = p.theme.radius.s;
    let (size, top) = if compact { (72.0, 9.0) } else { (84.0, 18.0) };
    let face = Rect::new(r.x + 27.0, r.y + top, size, size);
    p.faded(if out { 0.4 } else { 1.0 }, |p| p.avatar(face, side.seat, side.avatar.as_ref(), &side.name, s));

    // Inner rows of the compact card stand 12 px higher.
    let y = if compact { r.y - 12.0 } else { r.y };
    let hand = hand_of(m, id);
    let chip_left = match m.chip(id) {
        Some(status) => chip::chip(p, m, r.right() - 21.0, y + 18.0, status),
        None => r.right() - 21.0,
    };
    p.seat_glyph(r.x + 126.0, y + 21.0, 33.0, side.seat);
    let hand_in_row = compact && hand.is_some();
    let name_w = if hand_in_row { 240.0 } else { 405.0_f32.min(chip_left - 12.0 - (r.x + 171.0)) };
    let names = p.theme.style.names;
    let ink = if out { mid } else { hi };
    p.fitted(Rect::new(r.x + 171.0, y + 15.0, name_w, 45.0), &side.name, &[names], ink, Align::Left, &side.lang);
    let small = p.theme.style.small;
    let model = Rect::new(r.x + 126.0, y + 63.0, 303.0, 36.0);
    if hand_in_row || (side.agent.is_empty() && side.author.is_empty()) {
        // What it plays, or how it stands, where no model is known.
        let text = if compact && !side.status_text.is_empty() { &side.status_text } else { &side.role };
        p.text(model, text, small, mid, Align::Left);
    } else {
        scorebug::model_line(p, model, player, Align::Left);
    }
    counters(p, m, r, y, id, side, hand_in_row);
    if compact {
        if let Some(hand) = hand {
            // Between the name and the counters, as high as the row.
            let place = Rect::new(r.x + 423.0, r.y + 9.0, 105.0, 72.0);
            cards::zone(p, place, hand, &|_| None, Some(side.seat), 3.0);
        }
        return;
    }
    p.fill(Rect::new(r.x + 27.0, r.y + 114.0, r.w - 48.0, 3.0), line);
    let words = Rect::new(r.x + 27.0, r.y + 126.0, r.w - 48.0, 66.0);
    let words = match hand {
        Some(hand) => {
            // The hand stands where the thought does; what it leaves free is the thought's.
            let many = cards::count(hand) as f32;
            let w = (many * 48.0).min(if many > 6.0 { words.w } else { 300.0 });
            cards::zone(p, Rect::new(words.x, r.y + 123.0, w, 66.0), hand, &|_| None, Some(side.seat), 3.0);
            Rect::new(words.x + w + 18.0, words.y, words.w - w - 18.0, words.h)
        }
        None => words,
    };
    if words.w > 200.0 {
        if out && !side.status_text.is_empty() {
            p.block(words, &side.status_text, small, mid, Align::Left);
        } else {
            thoughts::text(p, m, words, player, small, 2);
        }
    }
}

/// Two counters: the first as a bar with its icon where it has a maximum.
fn counters(p: &mut Painter, m: Moment, r: Rect, y: f32, id: &SideId, side: &Side, hand: bool) {
    let (hi, lo, bad) = (p.theme.color.hi, p.theme.color.lo, p.theme.color.bad);
    let fill = p.seat(side.seat).fill;
    let (num, tag) = (p.theme.style.num, p.theme.style.tag);
    let mut shown = side.counters.iter();
    let mut plain = Vec::new();
    if let Some(counter) = shown.next() {
        let view = m.counter(id, &counter.id);
        match (counter.max, view, hand) {
            (Some(_), Some(view), false) => {
                let tone = if view.share < 0.25 { bad } else { fill };
                let icon = if counter.value <= 0.0 { lo } else { tone };
                if let Some(name) = counter.icon.as_ref().and_then(|i| i.0.strip_prefix("symbol:")) {
                    p.icon(Rect::new(r.x + 441.0, y + 66.0, 30.0, 30.0), name, icon);
                }
                p.bar(Rect::new(r.x + 483.0, y + 69.0, 168.0, 24.0), view.share, tone, view.ghost);
                let text = numbers::with_unit(counter.value, &counter.unit);
                p.text(Rect::new(r.x + 654.0, y + 60.0, 57.0, 42.0), &text, num, hi, Align::Right);
            }
            _ => plain.push(counter),
        }
    }
    plain.extend(shown);
    // Distance of the right edge from the card's, and width; the last one first.
    let places: &[(f32, f32)] = match (plain.len(), hand) {
        (0 | 1, _) => &[(21.0, 180.0)],
        (_, true) => &[(21.0, 123.0), (156.0, 183.0)],
        (_, false) => &[(21.0, 138.0), (168.0, 180.0)],
    };
    for (counter, (edge, width)) in plain.iter().take(places.len()).rev().zip(places) {
        let place = Rect::new(r.right() - edge - width, y + 60.0, *width, 42.0);
        let text = numbers::with_unit(counter.value, &counter.unit);
        let w = p.text(place, &text, num, hi, Align::Right);
        // A cut label says nothing: the number alone stands where it always does.
        let room = Rect { w: width - w - 12.0, ..place };
        if p.measure(&counter.label, tag) <= room.w {
            p.text(room, &counter.label, tag, lo, Align::Right);
        }
    }
}

/// The cards a side holds.
fn hand_of<'a>(m: Moment<'a>, side: &SideId) -> Option<&'a Cards> {
    let zones = m.state().board.zones.values();
    zones
        .filter(|z| z.owner.as_ref() == Some(side))
        .filter_map(|z| match &z.content {
            ZoneContent::Cards(c) if c.role == CardRole::Hand && cards::count(c) > 0 => Some(c),
            _ => None,
        })
        .next()
}

/// The board square of a card game: what lies before nobody in particular, and a text or two.
fn cards_table(p: &mut Painter, m: Moment) {
    let (hi, mid) = (p.theme.color.hi, p.theme.color.mid);
    let (label, name) = (p.theme.style.label, p.theme.style.name);
    let mut zones: Vec<(&ZoneId, &Zone)> = m.state().board.zones.iter().filter(|(_, z)| z.owner.is_none()).collect();
    zones.sort_by_key(|(id, z)| (z.order, *id));
    let seats = |card: &Card| card.side.as_ref().and_then(|id| m.state().board.sides.get(id)).map(|side| side.seat);
    let shared: Vec<(&Zone, &Cards)> = zones
        .iter()
        .filter_map(|(_, z)| match &z.content {
            ZoneContent::Cards(c) => Some((*z, c)),
            _ => None,
        })
        .collect();
    let words: Vec<(&Zone, &str)> = zones
        .iter()
        .filter_map(|(_, z)| match &z.content {
            ZoneContent::Text(t) if !t.text.is_empty() => Some((*z, t.text.as_str())),
            _ => None,
        })
        .collect();
    phase(p, m, Rect::new(BOARD.x + 36.0, BOARD.y + 30.0, BOARD.w - 72.0, 48.0));

    let rows = shared.len().max(1) as f32;
    let text_h = 96.0 * words.len().min(2) as f32;
    let area = Rect::new(BOARD.x + 36.0, BOARD.y + 96.0, BOARD.w - 72.0, BOARD.h - 132.0 - text_h);
    let row_h = area.h / rows;
    for (i, (zone, held)) in shared.iter().enumerate() {
        let top = area.y + row_h * i as f32;
        let card_h = ((row_h - 84.0).min(210.0) / 3.0).floor() * 3.0;
        let y = top + ((row_h - card_h) / 2.0).floor();
        if !zone.label.is_empty() {
            p.text(Rect::new(area.x, y - 48.0, area.w, 36.0), &zone.label, label, mid, Align::Center);
        }
        let place = Rect::new(area.x, y, area.w, card_h);
        cards::zone(p, place, held, &seats, None, 18.0);
        owners(p, place, held, &seats);
    }
    for (i, (zone, text)) in words.iter().take(2).enumerate() {
        let y = BOARD.bottom() - 30.0 - text_h + 96.0 * i as f32;
        p.text(Rect::new(area.x, y, area.w, 36.0), &zone.label, label, mid, Align::Center);
        p.text(Rect::new(area.x, y + 36.0, area.w, 54.0), text, name, hi, Align::Center);
    }
}

/// Under each card of a trick, whose it is.
fn owners(p: &mut Painter, r: Rect, held: &Cards, seats: &dyn Fn(&Card) -> Option<u8>) {
    if held.items.iter().all(|c| c.side.is_none()) {
        return;
    }
    for (at, card) in cards::places(r, held, 18.0).into_iter().zip(&held.items) {
        if let Some(seat) = seats(card) {
            p.seat_glyph(at.x + at.w / 2.0 - 21.0, at.bottom() + 15.0, 42.0, seat);
        }
    }
}

/// The phases of a turn with the present one lit, or its name alone.
pub fn phase(p: &mut Painter, m: Moment, r: Rect) {
    let phase = &m.state().board.phase;
    let tag = p.theme.style.tag;
    let names: Vec<&str> = match phase.cycle.is_empty() {
        true => vec![phase.name.as_str()],
        false => phase.cycle.iter().map(String::as_str).collect(),
    };
    let names: Vec<&str> = names.into_iter().filter(|n| !n.is_empty()).take(6).collect();
    let (accent, on, raised, mid) =
        (p.theme.color.accent, p.theme.color.on_accent, p.theme.color.raised, p.theme.color.mid);
    let s = p.theme.radius.s;
    let widths: Vec<f32> = names.iter().map(|n| (p.measure(n, tag) + 30.0).ceil()).collect();
    let total: f32 = widths.iter().sum::<f32>() + 6.0 * (names.len().max(1) - 1) as f32;
    let mut x = (r.x + (r.w - total) / 2.0).round();
    for (name, w) in names.iter().zip(widths) {
        let lit = **name == *phase.name;
        let at = Rect::new(x, r.y + ((r.h - 36.0) / 2.0).floor(), w, 36.0);
        p.round(at, if lit { accent } else { raised }, s);
        p.text(at, name, tag, if lit { on } else { mid }, Align::Center);
        x += w + 6.0;
    }
}
