//! `live` for two sides over cards: the table in the middle, what each side has and thinks beside it.

use super::multi::phase;
use crate::draw::Rect;
use crate::game::{Arrange, Card, CardRole, Cards, Counter, Face, Side, SideId, Zone, ZoneContent, ZoneId};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::Moment;
use crate::overlay::widgets::{cards, scorebug, stage, thoughts};

/// The table between the columns.
pub const TABLE: Rect = Rect::new(480.0, 216.0, 960.0, 738.0);
/// Counters above the thoughts, one a side.
pub const COUNTERS: [Rect; 2] = [Rect::new(96.0, 216.0, 366.0, 174.0), Rect::new(1458.0, 216.0, 366.0, 174.0)];
pub const THOUGHTS: [Rect; 2] = [Rect::new(96.0, 408.0, 366.0, 306.0), Rect::new(1458.0, 408.0, 366.0, 306.0)];
const SPOTLIGHT: Rect = Rect::new(96.0, 732.0, 366.0, 222.0);
const ZONES: Rect = Rect::new(1458.0, 732.0, 366.0, 222.0);
/// Columns of the five places, and of the piles of side A and of side B.
const SLOTS_X: f32 = 702.0;
const PITCH: f32 = 108.0;
const PILES_X: [f32; 2] = [1314.0, 522.0];
/// Rows of a side's cards, from its hand to the middle: A below, B above.
const ROWS: [[f32; 2]; 2] = [[756.0, 630.0], [294.0, 420.0]];
const HANDS_Y: [f32; 2] = [882.0, 216.0];

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    players: Vec<Player>,
}

impl Page {
    /// `players` are two.
    pub fn new(_m: Moment, players: Vec<Player>) -> Page {
        Page { players }
    }

    pub fn base(&self, p: &mut Painter) {
        let [a, b] = self.players.as_slice() else { return };
        stage::versus(p, a.seat, b.seat);
        scorebug::base(p, &self.players);
        for (i, player) in [a, b].into_iter().enumerate() {
            p.mark(["thoughtsA", "thoughtsB"][i], THOUGHTS[i]);
            p.mark(["thoughttext", "thoughttext2"][i], thoughts::text_rect(THOUGHTS[i], false));
            thoughts::base(p, THOUGHTS[i], player, false);
        }
        table(p, a.seat, b.seat);
        p.mark("spotlight", SPOTLIGHT);
        p.mark("zones", ZONES);
        p.panel(SPOTLIGHT, Edge::None);
        p.panel(ZONES, Edge::None);
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        let [a, b] = self.players.as_slice() else { return };
        scorebug::live(p, m, &self.players);
        for (r, player) in THOUGHTS.iter().zip([a, b]) {
            thoughts::live(p, m, *r, player, false);
        }
        content(p, m);
    }
}

/// The table's halves in their owners' tints.
fn table(p: &mut Painter, a: u8, b: u8) {
    let [a, b] = [a, b].map(|seat| p.seat(seat).tint);
    let r = p.theme.radius.m;
    let half = TABLE.h / 2.0;
    p.mark("table", TABLE);
    p.panel(TABLE, Edge::None);
    p.quad(Rect { h: half, ..TABLE }, b, [r, r, 0.0, 0.0], None, false);
    p.quad(Rect { y: TABLE.y + half, h: half, ..TABLE }, a, [0.0, 0.0, r, r], None, false);
}

/// Everything on and beside the table.
fn content(p: &mut Painter, m: Moment) {
    let sides = m.sides();
    let held = Held::of(m, &sides);
    for (i, (id, side)) in sides.iter().take(2).enumerate() {
        if let Some(counter) = side.counters.first() {
            p.mark(["counters", "counters2"][i], COUNTERS[i]);
            counter_block(p, m, COUNTERS[i], id, side, counter);
        }
    }
    if held.duel() {
        duel(p, m, &sides, &held)
    } else {
        hands(p, m, &sides, &held)
    }
    spotlight(p, m);
    totals(p, m, &sides, &held);
}

/// Card zones by what they are for.
struct Held<'a> {
    /// Of side A and side B.
    hand: [Option<&'a Cards>; 2],
    table: [Vec<&'a Cards>; 2],
    /// Deck first, then the discard pile.
    piles: [Vec<(&'a Zone, &'a Cards)>; 2],
    shared: Vec<(&'a Zone, &'a Cards)>,
}

impl<'a> Held<'a> {
    fn of(m: Moment<'a>, sides: &[(&SideId, &Side)]) -> Held<'a> {
        let mut zones: Vec<(&ZoneId, &Zone)> = m.state().board.zones.iter().collect();
        zones.sort_by_key(|(id, z)| (z.order, *id));
        let mut held =
            Held { hand: [None, None], table: Default::default(), piles: Default::default(), shared: Vec::new() };
        for (_, zone) in zones {
            let ZoneContent::Cards(cards) = &zone.content else { continue };
            let owner = zone.owner.as_ref().and_then(|o| sides.iter().take(2).position(|(id, _)| *id == o));
            match (owner, cards.role) {
                (None, _) => held.shared.push((zone, cards)),
                (Some(i), CardRole::Hand) => held.hand[i] = held.hand[i].or(Some(cards)),
                (Some(i), CardRole::Table) => held.table[i].push(cards),
                (Some(i), CardRole::Deck | CardRole::Discard) => held.piles[i].push((zone, cards)),
            }
        }
        held
    }

    /// Cards are played out before their owners, as on a duelling mat; else the hands are what the game is about.
    fn duel(&self) -> bool {
        self.table.iter().any(|t| !t.is_empty())
    }
}

/// Two rows of places a side, piles at the edge, hands half off the table.
fn duel(p: &mut Painter, m: Moment, sides: &[(&SideId, &Side)], held: &Held) {
    for (i, (_, side)) in sides.iter().take(2).enumerate() {
        let seat = Some(side.seat);
        for (row, y) in ROWS[i].iter().enumerate() {
            // A single zone lies in front, next to the middle.
            let zone = if held.table[i].len() > 1 {
                held.table[i].get(row)
            } else {
                held.table[i].first().filter(|_| row == 1)
            };
            for k in 0..5 {
                let at = Rect::new(SLOTS_X + PITCH * k as f32, *y, 84.0, 120.0);
                match zone.and_then(|z| z.items.get(k)) {
                    Some(card) => cards::card(p, at, None, card, seat),
                    None => cards::slot(p, at, seat),
                }
            }
            // The first two piles lie at the owner's right hand, others at its left.
            for (k, x) in [PILES_X[i], PILES_X[1 - i]].into_iter().enumerate() {
                let at = Rect::new(x, *y, 84.0, 120.0);
                match held.piles[i].get(2 * k + row) {
                    Some((_, pile)) => cards::pile(p, at, pile, seat),
                    None => cards::slot(p, at, seat),
                }
            }
        }
        if let Some(hand) = held.hand[i] {
            let strip = Rect::new(TABLE.x, HANDS_Y[i], TABLE.w, 72.0);
            p.mark(["handA", "handB"][i], strip);
            // Face up the top is seen, where the rank is; the backs of B hang over the edge.
            let open = hand.items.iter().any(|c| c.face.is_some());
            let y = if i == 0 || open { strip.y + 6.0 } else { strip.y - 54.0 };
            p.clipped(strip, |p| {
                let place = Rect::new(TABLE.x + 120.0, y, 720.0, 120.0);
                cards::zone(p, place, hand, &|_| None, seat, 12.0);
            });
        }
    }
    phase(p, m, Rect::new(TABLE.x + 24.0, 567.0, 912.0, 36.0), Align::Right, p.theme.color.panel, 99.0);
}

/// Both hands large, what is shared between them.
fn hands(p: &mut Painter, m: Moment, sides: &[(&SideId, &Side)], held: &Held) {
    let shared: Vec<_> = held.shared.iter().chain(held.piles.iter().flatten()).copied().collect();
    let middle = !shared.is_empty();
    let card_h = if middle { 168.0 } else { 219.0 };
    for (i, (_, side)) in sides.iter().take(2).enumerate() {
        let Some(hand) = held.hand[i] else { continue };
        let y = if i == 0 { TABLE.bottom() - 30.0 - card_h } else { TABLE.y + 30.0 };
        let place = Rect::new(TABLE.x + 48.0, y, TABLE.w - 96.0, card_h);
        cards::zone(p, place, hand, &|_| None, Some(side.seat), 15.0);
    }
    let centre = TABLE.y + TABLE.h / 2.0;
    let (label, mid) = (p.theme.style.tag, p.theme.color.mid);
    let words = words(m);
    let wide = |c: &Cards| if matches!(c.arrange, Arrange::Pile | Arrange::Stack) { 150.0 } else { 720.0_f32 };
    let total: f32 = shared.iter().map(|(_, c)| wide(c)).sum();
    let shrink = (TABLE.w - 96.0) / total.max(TABLE.w - 96.0);
    let mut x = TABLE.x + (TABLE.w - total * shrink) / 2.0;
    let seats = |card: &Card| card.side.as_ref().and_then(|id| m.state().board.sides.get(id)).map(|side| side.seat);
    for (zone, held) in &shared {
        let w = wide(held) * shrink;
        let place = Rect::new(x.round(), centre - 84.0, w.floor(), 168.0);
        cards::zone(p, place, held, &seats, None, 15.0);
        if !zone.label.is_empty() && (shared.len() > 1 || words.is_empty()) {
            p.text(Rect { y: centre + 87.0, h: 30.0, ..place }, &zone.label, label, mid, Align::Center);
        }
        x += w;
    }
    let y = if middle { centre - 129.0 } else { centre - 18.0 };
    phase(p, m, Rect::new(TABLE.x + 24.0, y, TABLE.w - 48.0, 36.0), Align::Center, p.theme.color.panel, 0.0);
    // What is said about the whole table: the pot.
    if let Some((head, text)) = words.first().filter(|_| shared.len() < 2) {
        let y = if middle { centre + 90.0 } else { centre + 24.0 };
        let num = p.theme.style.name;
        let (a, b) = (p.measure(head, label).ceil() + 12.0, p.measure(text, num).ceil().min(600.0));
        let x = (TABLE.x + (TABLE.w - a - b) / 2.0).round();
        p.text(Rect::new(x, y, a, 45.0), head, label, mid, Align::Left);
        p.text(Rect::new(x + a, y, b + 1.0, 45.0), text, num, p.theme.color.hi, Align::Left);
    }
}

/// Texts that belong to nobody: label and first line.
fn words<'a>(m: Moment<'a>) -> Vec<(&'a str, &'a str)> {
    let mut zones: Vec<(&ZoneId, &Zone)> = m.state().board.zones.iter().filter(|(_, z)| z.owner.is_none()).collect();
    zones.sort_by_key(|(id, z)| (z.order, *id));
    let text = |z: &'a Zone| match &z.content {
        ZoneContent::Text(t) => t.text.lines().find(|l| !l.trim().is_empty()).map(|line| (z.label.as_str(), line)),
        _ => None,
    };
    zones.into_iter().filter_map(|(_, z)| text(z)).collect()
}

/// A side's first counter, large.
fn counter_block(p: &mut Painter, m: Moment, r: Rect, id: &SideId, side: &Side, counter: &Counter) {
    let fill = p.seat(side.seat).fill;
    let c = &p.theme.color;
    let (hi, mid, lo, bad, good, on) = (c.hi, c.mid, c.lo, c.bad, c.good, c.on_side);
    let style = &p.theme.style;
    let (label, large, title, num) = (style.label, style.namel, style.title, style.num);
    p.panel(r, Edge::Top(fill));
    p.text(Rect::new(r.x + 24.0, r.y + 21.0, r.w - 48.0, 30.0), &counter.label, label, mid, Align::Left);
    let view = m.counter(id, &counter.id);
    let value = numbers::with_unit(counter.value, &counter.unit);
    p.text(Rect::new(r.x + 24.0, r.y + 54.0, 220.0, 60.0), &value, large, hi, Align::Left);
    let delta = view.and_then(|v| v.delta);
    match (delta, counter.max) {
        (Some(delta), _) => {
            let at = Rect::new(r.right() - 144.0, r.y + 63.0, 120.0, 42.0);
            let s = p.theme.radius.s;
            p.round(at, if delta < 0.0 { bad } else { good }, s);
            p.text(at, &numbers::delta(delta), num, on, Align::Center);
        }
        (None, Some(max)) => {
            let at = Rect::new(r.right() - 144.0, r.y + 66.0, 120.0, 45.0);
            p.text(at, &format!("/ {}", numbers::grouped(max)), title, lo, Align::Right);
        }
        _ => {}
    }
    match (counter.max, view, side.counters.get(1)) {
        (Some(_), Some(view), _) => {
            let tone = if view.share < 0.25 { bad } else { fill };
            p.bar(Rect::new(r.x + 24.0, r.y + 123.0, r.w - 48.0, 24.0), view.share, tone, view.ghost);
        }
        (_, _, Some(second)) => {
            let line = Rect::new(r.x + 24.0, r.y + 120.0, r.w - 48.0, 39.0);
            p.text(line, &second.label, label, lo, Align::Left);
            p.text(line, &numbers::with_unit(second.value, &second.unit), num, hi, Align::Right);
        }
        _ => {}
    }
}

/// The card shown last, large, with what it says; for the French deck the last action in words.
fn spotlight(p: &mut Painter, m: Moment) {
    let state = m.state();
    let lit = state.board.zones.values().filter_map(|z| match &z.content {
        ZoneContent::Cards(c) if c.role != CardRole::Hand => c.items.iter().rev().find(|c| c.lit && c.face.is_some()),
        _ => None,
    });
    let style = &p.theme.style;
    let (tag, names, small, body) = (style.tag, style.names, style.small, style.body);
    let (hi, mid) = (p.theme.color.hi, p.theme.color.mid);
    let (x, y) = (SPOTLIGHT.x, SPOTLIGHT.y);
    if let Some((card, face)) = lit.filter_map(|c| Some((c, c.face.as_ref()?))).next() {
        let plain = Card { lit: false, up: true, ..card.clone() };
        cards::card(p, Rect::new(x + 18.0, y + 18.0, 132.0, 186.0), None, &plain, None);
        p.text(Rect::new(x + 168.0, y + 21.0, 186.0, 30.0), "Just played", tag, mid, Align::Left);
        p.text(Rect::new(x + 168.0, y + 54.0, 186.0, 42.0), &face_name(face), names, hi, Align::Left);
        p.block(Rect::new(x + 168.0, y + 102.0, 186.0, 108.0), &face.text, small, mid, Align::Left);
        return;
    }
    let newest = state.actions.iter().max_by_key(|(_, a)| a.ts);
    p.text(Rect::new(x + 24.0, y + 21.0, 318.0, 30.0), "Last action", tag, mid, Align::Left);
    let Some((id, action)) = newest else {
        p.text(Rect::new(x + 24.0, y + 63.0, 318.0, 42.0), "Nothing played yet", body, p.theme.color.lo, Align::Left);
        return;
    };
    {
        if let Some(side) = state.board.sides.get(id) {
            p.seat_glyph(x + 24.0, y + 66.0, 36.0, side.seat);
            p.fitted(Rect::new(x + 72.0, y + 63.0, 270.0, 42.0), &side.name, &[names], hi, Align::Left, &side.lang);
        }
        p.block(Rect::new(x + 24.0, y + 117.0, 318.0, 84.0), &action.text, body, mid, Align::Left);
    }
}

/// A card by name: its own, or `K of hearts` in its short form.
fn face_name(face: &Face) -> String {
    match face.suit {
        _ if !face.name.is_empty() => face.name.clone(),
        Some(suit) => format!("{} of {}", face.rank, format!("{suit:?}").to_lowercase()),
        None => face.rank.clone(),
    }
}

/// How many cards each side has where, the counters that are not beside the thoughts, and texts; else facts.
fn totals(p: &mut Painter, m: Moment, sides: &[(&SideId, &Side)], held: &Held) {
    let [a, b] = [sides[0].1, sides[1].1];
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let mut count = |label: &str, a: &Cards, b: &Cards| {
        rows.push((label.to_owned(), cards::count(a).to_string(), cards::count(b).to_string()));
    };
    if let [Some(a), Some(b)] = held.hand
        && (held.duel() || cards::count(a) != cards::count(b))
    {
        count("Hand", a, b);
    }
    for k in 0..2 {
        if let [Some((zone, a)), Some((_, b))] = [held.piles[0].get(k), held.piles[1].get(k)] {
            count(if zone.label.is_empty() { ["Deck", "Pile"][k] } else { &zone.label }, a, b);
        }
    }
    // Those in the block: one with its bar, else two.
    let above = if a.counters.first().is_some_and(|c| c.max.is_some()) { 1 } else { 2 };
    for counter in a.counters.iter().skip(above) {
        if let Some(other) = b.counters.iter().find(|c| c.id == counter.id) {
            let value = |c: &Counter| numbers::short(c.value, &c.unit);
            rows.push((counter.label.clone(), value(counter), value(other)));
        }
    }
    let (large, label, mid) = (p.theme.style.numl, p.theme.style.label, p.theme.color.mid);
    let ladder = [large, p.theme.style.num];
    let [fa, fb] = [p.seat(a.seat).fill, p.seat(b.seat).fill];
    rows.truncate(3);
    let (x, y0) = (ZONES.x, |n: usize| ZONES.y + (ZONES.h - 66.0 * n as f32) / 2.0 + 6.0);
    for (k, (name, left, right)) in rows.iter().enumerate() {
        let y = y0(rows.len()) + 66.0 * k as f32;
        p.fitted(Rect::new(x + 18.0, y, 102.0, 54.0), left, &ladder, fa, Align::Center, "");
        p.text(Rect::new(x + 120.0, y + 3.0, 126.0, 54.0), name, label, mid, Align::Center);
        p.fitted(Rect::new(x + 246.0, y, 102.0, 54.0), right, &ladder, fb, Align::Center, "");
    }
    if !rows.is_empty() {
        return;
    }
    let facts = m.state().board.facts.iter().map(|f| (f.label.as_str(), f.text.as_str()));
    let shown = usize::from(held.shared.len() + held.piles.iter().map(Vec::len).sum::<usize>() < 2);
    let lines: Vec<_> = words(m).into_iter().skip(shown).chain(facts).take(3).collect();
    let (tag, names, hi) = (p.theme.style.tag, p.theme.style.names, p.theme.color.hi);
    for (k, (name, text)) in lines.iter().enumerate() {
        let y = y0(lines.len()) + 66.0 * k as f32 - 6.0;
        p.text(Rect::new(x + 24.0, y, 318.0, 27.0), name, tag, mid, Align::Left);
        p.text(Rect::new(x + 24.0, y + 27.0, 318.0, 39.0), text, names, hi, Align::Left);
    }
}
