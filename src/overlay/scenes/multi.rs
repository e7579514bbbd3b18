//! `live` for three to eight sides: the board square on the left, a card a side on the right.

use crate::draw::{Color, Rect};
use crate::game::{Arrange, Card, CardRole, Cards, Side, SideId, SideStatus, Zone, ZoneContent, ZoneId};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::{Moment, Place};
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
            None => {
                p.mark("board", BOARD);
                p.panel(BOARD, Edge::None);
            }
        }
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        let sides = m.standing();
        let open = self.table.is_none() && hands_lie_open(m);
        match &self.table {
            Some(table) => table.live(p, m),
            None => cards_table(p, m, open.then_some(&sides)),
        }
        let n = sides.len();
        for (k, mark) in MARKS.into_iter().enumerate().take(n) {
            p.mark(mark, row(k as f32, n));
        }
        // Who moves up passes over who moves down.
        let mut drawn: Vec<(usize, &Place)> = sides.iter().enumerate().collect();
        drawn.sort_by_key(|(k, place)| place.at > *k as f32);
        for (_, place) in drawn {
            if let Some(player) = self.players.iter().find(|p| p.id == *place.id) {
                side_card(p, m, row(place.at, n), player, place.side, n, open);
            }
        }
    }
}

/// The board's place: its size is rounded down to whole cells.
const BOARD: Rect = Rect::new(96.0, 123.0, 825.0, 825.0);
const CARD_X: f32 = 945.0;
const CARD_W: f32 = 879.0;
const MARKS: [&str; 8] = ["card1", "card2", "card3", "card4", "card5", "card6", "card7", "card8"];

/// Height and pitch of the cards of `n` sides: they fill the column beside the board.
fn rows(n: usize) -> (f32, f32) {
    match n {
        0 | 1 => (825.0, 825.0),
        2 => (405.0, 420.0),
        3 => (267.0, 279.0),
        4 => (195.0, 210.0),
        5 => (153.0, 168.0),
        6 => (120.0, 141.0),
        7 => (105.0, 120.0),
        _ => (90.0, 105.0),
    }
}

/// Place of the card at `k` of `n`; between two while it slides.
fn row(k: f32, n: usize) -> Rect {
    let (h, pitch) = rows(n);
    Rect::new(CARD_X, 123.0 + (pitch * k).round(), CARD_W, h)
}

fn side_card(p: &mut Painter, m: Moment, r: Rect, player: &Player, side: &Side, n: usize, open: bool) {
    let id = &player.id;
    // From six on there is no room for words.
    let compact = n > 5;
    let out = side.status == SideStatus::Eliminated;
    let fill = p.seat(side.seat).fill;
    let (hi, mid, line) = (p.theme.color.hi, p.theme.color.mid, p.theme.color.line);
    p.panel(r, Edge::Left(if out { line } else { fill }));
    let s = p.theme.radius.s;
    // How far the inner rows stand from where four sides have them.
    let shift = match n {
        ..=4 => 0.0,
        5 => -9.0,
        _ => ((r.h - 90.0) / 6.0).floor() * 3.0 - 12.0,
    };
    let size = if compact { (r.h - 18.0).min(84.0) } else { 84.0 };
    let top = if compact { ((r.h - size) / 2.0).floor() } else { 18.0 + shift };
    let face = Rect::new(r.x + 27.0, r.y + top, size, size);
    p.faded(if out { 0.4 } else { 1.0 }, |p| p.avatar(face, side.seat, side.avatar.as_ref(), &player.name, s));

    let y = r.y + shift;
    let hand = if open { None } else { hand_of(m, id) };
    let chip_left = match m.chip(id) {
        Some(status) => chip::chip(p, m, r.right() - 21.0, y + 18.0, status),
        None => r.right() - 21.0,
    };
    p.seat_glyph(r.x + 126.0, y + 21.0, 33.0, side.seat);
    let hand_in_row = hand.is_some() && n > 4;
    let name_w = if hand_in_row { 240.0 } else { 405.0_f32.min(chip_left - 12.0 - (r.x + 171.0)) };
    let names = p.theme.style.names;
    let ink = if out { mid } else { hi };
    p.fitted(Rect::new(r.x + 171.0, y + 15.0, name_w, 45.0), &player.name, &[names], ink, Align::Left, &side.lang);
    let small = p.theme.style.small;
    let bar = !hand_in_row && side.counters.first().is_some_and(|c| c.max.is_some());
    let model = Rect::new(r.x + 126.0, y + 63.0, if hand_in_row { 285.0 } else { 303.0 }, 36.0);
    // How it stands, or what it plays, where no model is known or no room is left for another line.
    let words = if compact && !side.status_text.is_empty() {
        side.status_text.as_str()
    } else if player.agent.is_empty() && player.author.is_empty() && side.role != player.name {
        side.role.as_str()
    } else {
        ""
    };
    if words.is_empty() {
        scorebug::model_line(p, model, player, Align::Left);
    } else {
        p.text(model, words, small, mid, Align::Left);
    }
    counters(p, m, r, y, id, side, bar);
    if let Some(hand) = hand.filter(|_| hand_in_row) {
        // Between the name and the counters.
        let h = (r.h - 18.0).min(if n == 5 { 84.0 } else { 75.0 });
        let top = if n == 5 { r.y + 9.0 } else { r.y + ((r.h - h) / 2.0).floor() };
        cards::zone(p, Rect::new(r.x + 423.0, top, 117.0, h), hand, &|_| None, Some(side.seat), 3.0);
    }
    if compact {
        return;
    }
    let rule = if n == 5 { 102.0 } else { 114.0 };
    p.fill(Rect::new(r.x + 27.0, r.y + rule, r.w - 48.0, 3.0), line);
    let top = if n == 5 { 111.0 } else { 126.0 };
    let words = Rect::new(r.x + 27.0, r.y + top, r.w - 48.0, r.h - top - 3.0);
    let mut said = true;
    let words = match hand.filter(|_| !hand_in_row) {
        Some(hand) => {
            // The hand stands where the thought does; what it leaves free is the thought's.
            said =
                m.state().thoughts.contains_key(id) || m.state().actions.get(id).is_some_and(|a| !a.reason.is_empty());
            let h = (words.h - 3.0).min(105.0);
            let pitch = cards::width(h) + 3.0;
            let many = (cards::count(hand).min(14) as f32 * pitch).min(words.w);
            let w = if many > words.w - 240.0 { words.w } else { many };
            let x = if w < words.w { words.x } else { words.x - (words.w - many) / 2.0 };
            cards::zone(p, Rect::new(x, r.y + 123.0, w, h), hand, &|_| None, Some(side.seat), 3.0);
            Rect::new(words.x + w + 18.0, words.y, words.w - w - 18.0, words.h)
        }
        None => words,
    };
    if words.w > 200.0 && said {
        if out && !side.status_text.is_empty() {
            p.block(words, &side.status_text, small, mid, Align::Left);
        } else {
            let style = if n <= 2 { p.theme.style.thoughtl } else { small };
            thoughts::text(p, m, words, player, style, 0);
        }
    }
}

/// Two counters: the first as a bar with its icon where it has a maximum and `bar` leaves room for it.
fn counters(p: &mut Painter, m: Moment, r: Rect, y: f32, id: &SideId, side: &Side, bar: bool) {
    let c = &p.theme.color;
    let fill = p.seat(side.seat).fill;
    let (num, tag) = (p.theme.style.num, p.theme.style.tag.weight(600));
    let out = side.status == SideStatus::Eliminated;
    let ink = if out { c.mid } else { c.hi };
    let mut shown = side.counters.iter();
    let mut plain = Vec::new();
    if let Some(counter) = shown.next() {
        match m.counter(id, &counter.id).filter(|_| bar) {
            Some(view) => {
                let tone = match view.share {
                    _ if out => c.lo,
                    share if share < 0.25 => c.bad,
                    _ => fill,
                };
                let icon = if counter.value <= 0.0 { c.lo } else { tone };
                if let Some(name) = counter.icon.as_ref().and_then(|i| i.0.strip_prefix("symbol:")) {
                    p.icon(Rect::new(r.x + 441.0, y + 66.0, 30.0, 30.0), name, icon);
                }
                p.bar(Rect::new(r.x + 483.0, y + 69.0, 168.0, 24.0), view.share, tone, view.ghost);
                let text = numbers::compact(counter.value);
                p.text(Rect::new(r.x + 654.0, y + 60.0, 57.0, 42.0), &text, num, ink, Align::Right);
            }
            None => plain.push(counter),
        }
    }
    plain.extend(shown);
    // Distance of the right edge from the card's, and width; the last one first.
    let places: &[(f32, f32)] = match (plain.len(), bar) {
        (_, true) => &[(21.0, 138.0)],
        (1, _) => &[(21.0, 180.0)],
        _ => &[(21.0, 117.0), (147.0, 189.0)],
    };
    for (counter, (edge, width)) in plain.iter().take(places.len()).rev().zip(places) {
        let place = Rect::new(r.right() - edge - width, y + 60.0, *width, 42.0);
        let text = numbers::with_unit(counter.value, &counter.unit);
        let w = p.text(place, &text, num, ink, Align::Right);
        // A cut label says nothing: the number alone stands where it always does.
        let room = Rect { w: width - w - 12.0, ..place };
        if p.measure(&counter.label, tag) <= room.w {
            p.text(room, &counter.label, tag, c.lo, Align::Right);
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

/// Nothing is shared: the hands are what the game is about, and they take the table.
fn hands_lie_open(m: Moment) -> bool {
    let cards = |z: &Zone| matches!(&z.content, ZoneContent::Cards(c) if cards::count(c) > 0 || c.slots > 0);
    !m.state().board.zones.values().any(|z| z.owner.is_none() && cards(z))
}

/// The board square of a card game: what lies before nobody in particular, and a text or two; else `hands`.
fn cards_table(p: &mut Painter, m: Moment, hands: Option<&Vec<Place>>) {
    let (hi, mid) = (p.theme.color.hi, p.theme.color.mid);
    let label = p.theme.style.label;
    let ladder = [p.theme.style.xl.sized(84.0), p.theme.style.namel, p.theme.style.name];
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
    phase(
        p,
        m,
        Rect::new(BOARD.x + 36.0, BOARD.y + 30.0, BOARD.w - 72.0, 48.0),
        Align::Center,
        p.theme.color.raised,
        0.0,
    );

    let text_h = if words.is_empty() { 0.0 } else { 144.0 };
    let area = Rect::new(BOARD.x + 36.0, BOARD.y + 96.0, BOARD.w - 72.0, BOARD.h - 120.0 - text_h);
    if let Some(sides) = hands {
        let pitch = (area.h / sides.len().max(1) as f32).min(210.0);
        let first = area.y + ((area.h - pitch * sides.len() as f32) / 2.0).floor();
        for place in sides {
            let y = first + pitch * place.at;
            let h = ((pitch - 24.0) / 3.0).floor() * 3.0;
            p.seat_glyph(area.x, y + ((h - 48.0) / 2.0).floor(), 48.0, place.side.seat);
            match hand_of(m, place.id) {
                Some(hand) => {
                    let room = Rect::new(area.x + 72.0, y, area.w - 72.0, h);
                    cards::zone(p, room, hand, &|_| None, Some(place.side.seat), 12.0);
                }
                None => {
                    let row = Rect::new(area.x + 72.0, y, area.w - 72.0, h);
                    p.text(row, &place.side.status_text, p.theme.style.title, mid, Align::Center);
                }
            }
        }
    }
    let shared = if hands.is_some() { Vec::new() } else { shared };
    let row_h = area.h / shared.len().max(1) as f32;
    for (i, (zone, held)) in shared.iter().enumerate() {
        let owned = held.items.iter().any(|c| c.side.is_some());
        let foot = if owned { 63.0 } else { 0.0 };
        let head = if zone.label.is_empty() { 0.0 } else { 48.0 };
        // As large as fits, so that it is read on a phone.
        let pile = matches!(held.arrange, Arrange::Pile | Arrange::Stack);
        let n = if pile { 1 } else { cards::count(held).max(usize::from(held.slots)).clamp(1, 14) } as f32;
        let wide = (area.w - 18.0 * (n - 1.0)) / n * cards::CARD[1] / cards::CARD[0];
        let card_h = (wide.max(150.0).min(row_h - head - foot - 18.0).min(270.0) / 3.0).floor() * 3.0;
        let y = area.y + row_h * i as f32 + ((row_h - head - foot - card_h) / 2.0).floor() + head;
        if !zone.label.is_empty() {
            p.text(Rect::new(area.x, y - 48.0, area.w, 36.0), &zone.label, label, mid, Align::Center);
        }
        let place = Rect::new(area.x, y, area.w, card_h);
        cards::zone(p, place, held, &seats, None, 18.0);
        owners(p, place, held, &seats);
    }
    let words: Vec<_> = words.into_iter().take(2).collect();
    let w = ((area.w - 36.0 * (words.len().max(1) - 1) as f32) / words.len().max(1) as f32).floor();
    for (i, (zone, text)) in words.iter().enumerate() {
        let room = Rect::new(area.x + (w + 36.0) * i as f32, BOARD.bottom() - 24.0 - text_h, w, 36.0);
        p.text(room, &zone.label, label, mid, Align::Center);
        p.fitted(Rect { y: room.y + 39.0, h: 90.0, ..room }, text, &ladder, hi, Align::Center, "");
    }
}

/// Under each card of a trick, whose it is.
fn owners(p: &mut Painter, r: Rect, held: &Cards, seats: &dyn Fn(&Card) -> Option<u8>) {
    if held.items.iter().all(|c| c.side.is_none()) {
        return;
    }
    for (at, card) in cards::places(r, held, 18.0).into_iter().zip(&held.items) {
        if let Some(seat) = seats(card) {
            p.seat_glyph(at.x + ((at.w - 42.0) / 2.0).round(), at.bottom() + 15.0, 42.0, seat);
        }
    }
}

/// The phases of a turn with the present one lit, or its name alone. Where not all fit, those around the present one.
/// `quiet` fills the others. Each is at least `least` wide.
pub fn phase(p: &mut Painter, m: Moment, r: Rect, align: Align, quiet: Color, least: f32) {
    const MARKS: [&str; 6] = ["phase", "phase2", "phase3", "phase4", "phase5", "phase6"];
    const GAP: f32 = 6.0;
    let phase = &m.state().board.phase;
    let tag = p.theme.style.tag;
    let mut names: Vec<&str> = phase.cycle.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    if !names.contains(&&*phase.name) && !phase.name.is_empty() {
        names = vec![&phase.name];
    }
    let c = &p.theme.color;
    let pad = if least > 0.0 { 12.0 } else { 30.0 };
    let width = |p: &mut Painter, n: &str| (p.measure(n, tag) + pad).ceil().max(least).min(r.w);
    let mut chips: Vec<(&str, f32)> = names.into_iter().map(|n| (n, width(p, n))).collect();
    let total = |chips: &[(&str, f32)]| chips.iter().map(|c| c.1 + GAP).sum::<f32>() - GAP;
    while chips.len() > 1 && (total(&chips) > r.w || chips.len() > MARKS.len()) {
        let lit = chips.iter().position(|c| c.0 == phase.name).unwrap_or(0);
        // The end that is further from the present one goes.
        if lit > chips.len() - 1 - lit {
            chips.remove(0);
        } else {
            chips.pop();
        }
    }
    let s = p.theme.radius.s;
    let free = r.w - total(&chips).max(0.0);
    let mut x = match align {
        Align::Left => r.x,
        Align::Center => (r.x + free / 2.0).round(),
        Align::Right => r.x + free,
    };
    for ((name, w), mark) in chips.into_iter().zip(MARKS) {
        let lit = *name == *phase.name;
        let at = Rect::new(x, r.y + ((r.h - 36.0) / 2.0).floor(), w, 36.0);
        p.mark(mark, at);
        p.round(at, if lit { c.accent } else { quiet }, s);
        p.text(at, name, tag, if lit { c.on_accent } else { c.mid }, Align::Center);
        x += w + GAP;
    }
}
