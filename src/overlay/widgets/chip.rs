//! Status chips.

use crate::overlay::painter::{ChipLook, Painter};
use crate::overlay::presentation::{Chip, Moment};

/// A status chip with its right edge at `right`. Returns its left edge.
pub fn chip(p: &mut Painter, m: Moment, right: f32, y: f32, chip: Chip) -> f32 {
    let c = &p.theme.color;
    let (text, fill, on) = match chip {
        Chip::Winner => ("Winner", c.accent, c.on_accent),
        Chip::Eliminated => ("Eliminated", c.inset, c.mid),
        Chip::Reconnecting => ("Reconnecting", c.off, c.on_side),
        Chip::Timeout => ("Timeout", c.warn, c.on_side),
        Chip::Invalid => ("Invalid move", c.bad, c.on_side),
        Chip::Error => ("Error", c.bad, c.on_side),
        Chip::Thinking => ("Thinking", c.accent, c.on_accent),
        Chip::Waiting => ("Waiting", c.raised, c.mid),
    };
    let look = ChipLook {
        text,
        fill,
        on,
        border: (chip == Chip::Eliminated).then_some(c.line),
        dot: chip == Chip::Thinking,
        dot_opacity: m.pulse(),
    };
    p.chip(right, y, &look)
}
