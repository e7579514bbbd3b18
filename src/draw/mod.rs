//! The picture as data: a [`DrawList`] of flat shapes, glyph runs and images, and [`Damage`] between two lists.
//!
//! Coordinates are pixels of the output picture, x to the right, y down. Colours are straight (not premultiplied)
//! 8-bit sRGB and are blended in gamma space, as the design's colours expect.

mod damage;
mod frame;
mod list;

pub use damage::{ALIGN, Damage};
pub use frame::{Frame, Nv12};
pub use list::*;
