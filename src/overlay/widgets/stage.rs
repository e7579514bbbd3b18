//! The backdrop: flat skewed slabs.

use crate::draw::Color;
use crate::overlay::layout::rects::CANVAS;
use crate::overlay::painter::Painter;

/// Horizontal way of a slab's edge from top to bottom, as a share of the height.
const SLOPE: f32 = 0.30;

fn slab(p: &mut Painter, from: f32, to: f32, fill: Color) {
    let half = CANVAS.h * SLOPE / 2.0;
    let (x0, x1) = (CANVAS.w * from, CANVAS.w * to);
    p.poly(&[[x0 + half, 0.0], [x1 + half, 0.0], [x1 - half, CANVAS.h], [x0 - half, CANVAS.h]], fill);
}

/// Two halves in the colours of the left and the right side.
pub fn versus(p: &mut Painter, left: u8, right: u8) {
    let stage = p.theme.color.stage;
    let (a, b) = (p.seat(left).stage, p.seat(right).stage);
    p.fill(CANVAS, stage);
    slab(p, -0.2, 0.20, a);
    slab(p, 0.23, 0.34, a);
    slab(p, 0.66, 0.77, b);
    slab(p, 0.80, 1.2, b);
}

/// Quiet slabs for every other scene.
pub fn slabs(p: &mut Painter) {
    let (stage, slab_color) = (p.theme.color.stage, p.theme.color.slab);
    p.fill(CANVAS, stage);
    for (from, to) in [(-0.10, 0.10), (0.62, 0.80), (0.84, 0.88)] {
        slab(p, from, to, slab_color);
    }
}
