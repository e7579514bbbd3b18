//! The bottom slot: what happened last, newest at the end.

use crate::draw::{Color, Rect};
use crate::game::MatchState;
use crate::overlay::painter::{Align, Painter};
use crate::overlay::presentation::Moment;

/// Space between items, and around the newest one's text.
const GAP: f32 = 24.0;
const PAD: f32 = 12.0;

struct Entry<'a> {
    text: &'a str,
    fill: Color,
    on: Color,
}

/// Draws tab and items into `r`, whose panel is in the base.
pub fn live(p: &mut Painter, m: Moment, r: Rect) {
    let (c, s) = (&p.theme.color, p.theme.radius.s);
    let label = tab(m.state());
    let tag = p.theme.style.tag;
    let w = ((p.measure(&label, tag).ceil() + 33.0) / 3.0).ceil() * 3.0;
    let head = Rect { w, ..r };
    p.quad(head, c.raised, [s, 0.0, 0.0, s], None, false);
    p.text(head, &label, tag, c.mid, Align::Center);

    let entries = entries(p, m.state());
    let room = Rect::new(r.x + w, r.y, r.w - w - PAD, r.h);
    let now = places(p, &entries, room.w);
    let before = places(p, &entries[..entries.len().saturating_sub(1)], room.w);
    // Whoever was there moves left as the newest one comes in. The one before it was the newest then and had padding.
    let shift = now.iter().rev().nth(1).zip(before.last()).map_or(0.0, |(n, b)| (b.1 - n.1).max(0.0));
    let shift = shift * (1.0 - m.news());
    let (mid, body, bold) = (c.mid, p.theme.style.body, p.theme.style.bodyb);
    p.clipped(room, |p| {
        for (k, (i, x, w)) in now.iter().enumerate() {
            let entry = &entries[*i];
            let cell = Rect::new(room.x + x + shift, room.y, *w, room.h);
            if k + 1 == now.len() {
                p.round(Rect::new(cell.x, cell.y + 6.0, w + 2.0 * PAD, cell.h - 12.0), entry.fill, s);
                p.text(Rect { x: cell.x + PAD, ..cell }, entry.text, bold, entry.on, Align::Left);
            } else {
                p.text(cell, entry.text, body, mid, Align::Left);
            }
        }
    });
}

fn tab(state: &MatchState) -> String {
    let (phase, game) = (&state.board.phase, &state.board.game);
    let label = if phase.turn_label.is_empty() { "Turn" } else { &phase.turn_label };
    if state.board.result.is_some() {
        "Final".to_owned()
    } else if phase.turn > 0 {
        format!("{label} {}", phase.turn)
    } else if !game.name.is_empty() && game.name.chars().count() <= 18 {
        game.name.clone()
    } else {
        "Feed".to_owned()
    }
}

/// Oldest first.
fn entries<'a>(p: &Painter, state: &'a MatchState) -> Vec<Entry<'a>> {
    let c = &p.theme.color;
    let look = |actor: Option<&String>, kind: &str| {
        let seat = actor.and_then(|a| state.board.sides.get(a)).map(|s| s.seat);
        match (kind, seat) {
            ("system", _) => (c.warn, c.on_side),
            (_, Some(seat)) => (p.theme.seat(seat).fill, c.on_side),
            _ => (c.accent, c.on_accent),
        }
    };
    let mut entries: Vec<_> = state.feed.iter().map(|f| (f.ts, &*f.text, look(f.actor.as_ref(), &f.kind))).collect();
    if entries.is_empty() {
        // A game that sends no feed: its actions are one.
        entries.extend(state.actions.iter().map(|(side, a)| (a.ts, &*a.text, look(Some(side), ""))));
        entries.sort_by_key(|e| e.0);
    }
    let entries = entries.into_iter().filter(|e| !e.1.trim().is_empty());
    entries.map(|(_, text, (fill, on))| Entry { text, fill, on }).collect()
}

/// `(entry, x, text width)` of the newest entries that fit whole, left to right.
fn places(p: &mut Painter, entries: &[Entry], room: f32) -> Vec<(usize, f32, f32)> {
    let most = room * 0.6;
    let (mut widths, mut used) = (Vec::new(), 0.0);
    for (i, entry) in entries.iter().enumerate().rev() {
        let newest = widths.is_empty();
        let style = if newest { p.theme.style.bodyb } else { p.theme.style.body };
        let w = (p.measure(entry.text, style).ceil() + 1.0).min(most);
        let cell = GAP + w + if newest { 2.0 * PAD } else { 0.0 };
        if used + cell > room && !newest {
            break;
        }
        used += cell;
        widths.push((i, w));
    }
    let mut x = 0.0;
    let place = |(i, w): (usize, f32)| {
        let at = x + GAP;
        x = at + w;
        (i, at, w)
    };
    widths.into_iter().rev().map(place).collect()
}
