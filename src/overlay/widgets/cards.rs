//! Cards: faces, backs, rows, slots and piles. A hidden card arrives without its face; there is nothing to hide here.

use crate::draw::Rect;
use crate::game::{Arrange, Card, Cards, Face, Suit};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Painter};

/// Size of a card in the design: everything on it is a share of this.
pub const CARD: [f32; 2] = [84.0, 120.0];

/// A card as its zone shows it; `seat` colours its back. In a row where cards lie on
/// each other the next one leaves `seen` of its width.
pub fn card(p: &mut Painter, r: Rect, seen: Option<f32>, card: &Card, seat: Option<u8>) {
    match (&card.face, card.up || card.face.is_some()) {
        (Some(face), true) => front(p, r, seen, face),
        _ => back(p, r, seat),
    }
    if card.lit {
        let n = r.w / CARD[0];
        let ring = seat.map_or(p.theme.color.accent, |s| p.seat(s).fill);
        let around = Rect::new(r.x - 3.0 * n, r.y - 3.0 * n, r.w + 6.0 * n, r.h + 6.0 * n);
        p.quad(around, crate::draw::Color::TRANSPARENT, [9.0 * n; 4], Some(((6.0 * n).max(3.0), ring)), false);
    }
}

/// The sleeve: the owner's colour with a double diamond.
pub fn back(p: &mut Painter, r: Rect, seat: Option<u8>) {
    let n = r.w / CARD[0];
    let (edge, ground) = match seat {
        Some(s) => (p.seat(s).sleeve_edge, p.seat(s).sleeve),
        None => (p.theme.color.line, p.theme.color.raised),
    };
    p.round(r, edge, 6.0 * n);
    p.round(r.inset(6.0 * n, 6.0 * n), ground, 3.0 * n);
    let (x, y) = (r.x + r.w / 2.0, r.y + r.h / 2.0);
    for (dx, dy, fill) in [(24.0 * n, 30.0 * n, edge), (12.0 * n, 15.0 * n, ground)] {
        p.poly(&[[x, y - dy], [x + dx, y], [x, y + dy], [x - dx, y]], fill);
    }
}

/// An empty place.
pub fn slot(p: &mut Painter, r: Rect, seat: Option<u8>) {
    let fill = seat.map_or(p.theme.color.inset, |s| p.seat(s).slot);
    p.round(r, fill, 6.0 * r.w / CARD[0]);
}

fn front(p: &mut Painter, r: Rect, seen: Option<f32>, face: &Face) {
    if face.suit.is_some() || (face.art.is_none() && face.name.is_empty() && !face.rank.is_empty()) {
        french(p, r, seen, face);
    } else {
        illustrated(p, r, face);
    }
}

/// Rank above suit, as large as what is seen of the card allows: both are read on a phone.
fn french(p: &mut Painter, r: Rect, seen: Option<f32>, face: &Face) {
    let (n, c) = (r.w / CARD[0], &p.theme.color);
    let ink = match face.suit {
        Some(Suit::Hearts | Suit::Diamonds) => c.card_red,
        _ => c.card_ink,
    };
    // Cards that lie on each other need an edge.
    let edge = seen.map(|_| ((3.0 * n).max(3.0), c.mid));
    p.quad(r, c.card_face, [6.0 * n; 4], edge, false);
    let strip = Rect { w: seen.unwrap_or(r.w).min(r.w), ..r };
    let style = p.theme.style.name.sized((57.0 * n).min(strip.w * 1.2));
    match face.suit {
        Some(suit) => {
            let top = Rect::new(strip.x, r.y + 6.0 * n, strip.w, 57.0 * n);
            p.text(top, &face.rank, style, ink, Align::Center);
            let side = (45.0 * n).min(strip.w - 9.0).max(6.0);
            let at = Rect::new(strip.x + (strip.w - side) / 2.0, r.y + 66.0 * n, side, side);
            p.symbol(at, suit_symbol(suit), &[("c", ink), ("l", ink), ("k", ink)]);
        }
        None => {
            p.text(strip.inset(0.0, 30.0 * n), &face.rank, style, ink, Align::Center);
        }
    }
}

fn suit_symbol(suit: Suit) -> &'static str {
    match suit {
        Suit::Clubs => "suit/clubs",
        Suit::Diamonds => "suit/diamonds",
        Suit::Hearts => "suit/hearts",
        Suit::Spades => "suit/spades",
    }
}

/// Art with the number in a plate, so that the art may be any picture; without art its name.
fn illustrated(p: &mut Painter, r: Rect, face: &Face) {
    let (n, c) = (r.w / CARD[0], &p.theme.color);
    let (frame, ground, plate, on_plate, hi) = (c.card_frame, c.card_art, c.card_plate, c.on_plate, c.on_plate);
    p.round(r, frame, 6.0 * n);
    let art_h = if face.value.is_some() { 74.0 } else { 108.0 };
    let art = Rect::new(r.x + 6.0 * n, r.y + 6.0 * n, r.w - 12.0 * n, art_h * n);
    p.fill(art, ground);
    let drawn = face.art.as_ref().is_some_and(|a| {
        p.clipped(art, |p| p.picture(art, a, &[("c", frame), ("l", hi), ("k", ground)], false) || p.cover(art, a, 0.0))
    });
    if !drawn {
        let style = p.theme.style.names.sized(24.0 * n.max(1.0));
        let name = if face.name.is_empty() { &face.rank } else { &face.name };
        p.clipped(art, |p| p.block(art.inset(3.0 * n, 3.0 * n), name, style, hi, Align::Left));
    }
    if let Some(value) = face.value {
        let at = Rect::new(r.x + 6.0 * n, r.y + 84.0 * n, r.w - 12.0 * n, 30.0 * n);
        p.fill(at, plate);
        let style = p.theme.style.num.sized(27.0 * n);
        p.text(at, &numbers::grouped(value), style, on_plate, Align::Center);
    }
}

/// How many cards a zone holds.
pub fn count(cards: &Cards) -> usize {
    cards.count.map_or(cards.items.len(), |n| (n as usize).max(cards.items.len()))
}

/// Draws a zone's cards centred in `r`, as wide as they need and as the zone arranges them. The card's height is `r.h`.
pub fn zone(
    p: &mut Painter,
    r: Rect,
    cards: &Cards,
    seat_of: &dyn Fn(&Card) -> Option<u8>,
    seat: Option<u8>,
    gap: f32,
) {
    if matches!(cards.arrange, Arrange::Pile | Arrange::Stack) {
        let w = width(r.h);
        return pile(p, Rect::new(r.x + (r.w - w) / 2.0, r.y, w, r.h), cards, seat);
    }
    let held = count(cards);
    let places = places(r, cards, gap);
    let tight = places.windows(2).any(|w| w[1].x < w[0].right());
    for (i, at) in places.iter().enumerate() {
        let seen = tight.then(|| places.get(i + 1).map_or(at.w, |next| next.x - at.x));
        match cards.items.get(i) {
            Some(c) => card(p, *at, seen, c, seat_of(c).or(seat)),
            None if i < held => back(p, *at, seat),
            None => slot(p, *at, seat),
        }
    }
    if let Some(last) = places.last().filter(|_| places.len() < held) {
        plate(p, *last, held);
    }
}

/// Where the cards of a row lie in `r`: the pitch shrinks so that all fit; past 14 the count says the rest.
pub fn places(r: Rect, cards: &Cards, gap: f32) -> Vec<Rect> {
    let w = width(r.h);
    let n = count(cards).max(usize::from(cards.slots)).min(14);
    let pitch = if n > 1 { (w + gap).min((r.w - w) / (n - 1) as f32) } else { w };
    let x0 = r.x + (r.w - (pitch * n.saturating_sub(1) as f32 + w)) / 2.0;
    (0..n).map(|i| Rect::new((x0 + pitch * i as f32).round(), r.y, w, r.h)).collect()
}

/// Width of a card of a height.
pub fn width(h: f32) -> f32 {
    (h * CARD[0] / CARD[1] / 3.0).round() * 3.0
}

/// One card or back on another with the number on top.
pub fn pile(p: &mut Painter, r: Rect, cards: &Cards, seat: Option<u8>) {
    let n = count(cards);
    if n == 0 {
        return slot(p, r, seat);
    }
    let scale = r.w / CARD[0];
    let shadow = p.theme.color.shadow;
    p.round(Rect::new(r.x, r.y + 6.0 * scale, r.w, r.h), shadow, 6.0 * scale);
    match cards.items.last() {
        Some(top) => card(p, r, None, top, seat),
        None => back(p, r, seat),
    }
    match cards.items.last().and_then(|top| top.face.as_ref()) {
        // A rank must stay readable: the number stands at the card's edge.
        Some(face) if face.art.is_none() && !face.rank.is_empty() => {
            if n > 1 {
                plate(p, Rect { x: r.x + r.w / 2.0, ..r }, n);
            }
        }
        _ => plate(p, r, n),
    }
}

fn plate(p: &mut Painter, r: Rect, n: usize) {
    let scale = (r.w / CARD[0]).max(0.75);
    let (w, h) = (48.0 * scale, 36.0 * scale);
    let at = Rect::new(r.x + (r.w - w) / 2.0, r.y + (r.h - h) / 2.0, w, h);
    let (panel, hi) = (p.theme.color.panel, p.theme.color.hi);
    p.round(at, panel, 6.0 * scale);
    let style = p.theme.style.num.sized(36.0 * scale.min(1.0));
    p.text(at, &n.to_string(), style, hi, Align::Center);
}
