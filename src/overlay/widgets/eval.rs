//! The tug bar: who is likely to win.

use crate::draw::Rect;
use crate::overlay::numbers::percent;
use crate::overlay::painter::{Align, Painter};
use crate::overlay::presentation::{EvalView, Moment};

/// Below this share a half has no room for its number.
const TEXT_FROM: f32 = 0.12;

/// Draws the bar for the sides on seats `left` and `right`.
pub fn live(p: &mut Painter, m: Moment, r: Rect, eval: &EvalView, left: u8, right: u8) {
    let (a, b) = (p.seat(left), p.seat(right));
    let c = &p.theme.color;
    let (s, tag) = (p.theme.radius.s, p.theme.style.tag);
    let edge = (r.w * eval.share / 3.0).round() * 3.0;
    let (fill_a, fill_b) = if eval.stale { (a.tint, b.tint) } else { (a.fill, b.fill) };
    let (on_a, on_b) = if eval.stale { (a.fill, b.fill) } else { (c.on_side, c.on_side) };
    p.quad(r, c.shadow, [0.0, 0.0, s, s], None, false);
    let half_a = Rect { w: edge - 3.0, ..r };
    let half_b = Rect::new(r.x + edge + 3.0, r.y, r.w - edge - 3.0, r.h);
    p.quad(half_a, fill_a, [0.0, 0.0, 0.0, s], None, false);
    p.quad(half_b, fill_b, [0.0, 0.0, s, 0.0], None, false);
    let middle = r.x + r.w / 2.0 - 1.5;
    for y in [r.y, r.bottom() - 9.0] {
        p.fill(Rect::new(middle, y, 3.0, 9.0), c.on_side);
    }
    let raw = m.state().board.eval.as_ref().map_or("", |e| e.text.trim());
    let beside = |share: f32, leads: bool, left: bool| match (leads && !raw.is_empty(), left) {
        (true, true) => format!("{}   {raw}", percent(share)),
        (true, false) => format!("{raw}   {}", percent(share)),
        _ => percent(share),
    };
    let leads = eval.target >= 0.5;
    if eval.share >= TEXT_FROM {
        let text = beside(eval.target, leads, true);
        label(p, Rect::new(half_a.x + 15.0, r.y, half_a.w - 24.0, r.h), &text, tag, on_a, Align::Left);
    }
    if 1.0 - eval.share >= TEXT_FROM {
        let text = beside(1.0 - eval.target, !leads, false);
        label(p, Rect::new(half_b.x + 9.0, r.y, half_b.w - 24.0, r.h), &text, tag, on_b, Align::Right);
    }
}

/// Percent and raw value with a wide gap between them.
fn label(
    p: &mut Painter,
    r: Rect,
    text: &str,
    style: crate::overlay::theme::Style,
    color: crate::draw::Color,
    align: Align,
) {
    let mut parts: Vec<&str> = text.split("   ").collect();
    if align == Align::Right {
        parts.reverse();
    }
    let mut room = r;
    for part in parts {
        let w = p.text(room, part, style, color, align).ceil() + 18.0;
        room = match align {
            Align::Right => Rect { w: room.w - w, ..room },
            _ => Rect::new(room.x + w, room.y, room.w - w, room.h),
        };
    }
}
