//! Arrows: the move an agent talks about, an attack.

use crate::draw::Color;
use crate::overlay::painter::Painter;

const SHAFT: f32 = 18.0;
const HEAD: f32 = 54.0;
const HEAD_LENGTH: f32 = 36.0;
const OUTLINE: f32 = 4.0;

/// An arrow from `from` to its tip at `to`, design px, outlined so that it stands off any ground. `size` 1: the full one.
pub fn draw(p: &mut Painter, from: [f32; 2], to: [f32; 2], fill: Color, size: f32) {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    if length < 1.0 {
        return;
    }
    let (ux, uy) = (dx / length, dy / length);
    // Along the arrow, and across it.
    let at = |along: f32, across: f32| [from[0] + ux * along - uy * across, from[1] + uy * along + ux * across];
    let neck = (length - HEAD_LENGTH * size).max(length * 0.3);
    let (shaft, head, line) = (SHAFT * size / 2.0, HEAD * size / 2.0, OUTLINE * size.max(0.6));
    let outline = p.theme.color.stage;
    // A triangle's outline is thicker at its corners: half angles of head and tip.
    let half = (head / (length - neck)).atan();
    let tip = line / half.sin();
    let wing = line * (1.0 / half.cos() + half.tan());
    p.poly(
        &[at(-line, -shaft - line), at(neck, -shaft - line), at(neck, shaft + line), at(-line, shaft + line)],
        outline,
    );
    p.poly(&[at(neck - line, -head - wing), at(length + tip, 0.0), at(neck - line, head + wing)], outline);
    p.poly(&[at(0.0, -shaft), at(neck + 0.5, -shaft), at(neck + 0.5, shaft), at(0.0, shaft)], fill);
    p.poly(&[at(neck, -head), at(length, 0.0), at(neck, head)], fill);
}
