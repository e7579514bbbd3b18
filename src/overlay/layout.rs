//! Where things are. Every number is a design pixel: one of a 1920×1080 picture, nearly all multiples of 3, so that a
//! 1280×720 picture (×2/3) has whole pixels too.

use crate::draw::{IRect, Rect, Size};

/// Scale from design pixels to a picture's pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    size: Size,
    scale: f32,
    /// Smallest type, px.
    min_text: f32,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no layout for {w}×{h}: pictures are 1920×1080 or 1280×720")]
pub struct LayoutError {
    pub w: u32,
    pub h: u32,
}

impl Layout {
    /// Pictures are 1920×1080 or 1280×720.
    pub fn new(size: Size) -> Result<Layout, LayoutError> {
        match size {
            Size::FULL_HD => Ok(Layout { size, scale: 1.0, min_text: 24.0 }),
            Size::HD => Ok(Layout { size, scale: 2.0 / 3.0, min_text: 18.0 }),
            Size { w, h } => Err(LayoutError { w, h }),
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Output pixels a design pixel.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The rules for little room: no author, fewer counters.
    pub fn small(&self) -> bool {
        self.scale < 1.0
    }

    pub(super) fn min_text(&self) -> f32 {
        self.min_text
    }

    /// A length in whole output pixels.
    pub fn px(&self, length: f32) -> f32 {
        (length * self.scale).round()
    }

    /// A rectangle whose edges are whole output pixels.
    pub fn rect(&self, r: Rect) -> Rect {
        let (x, y) = (self.px(r.x), self.px(r.y));
        Rect::new(x, y, self.px(r.right()) - x, self.px(r.bottom()) - y)
    }

    pub fn irect(&self, r: Rect) -> IRect {
        self.rect(r).outer()
    }
}

/// Places of the chrome that all scenes share and of the versus scene; other scenes keep theirs beside their code.
pub mod rects {
    use crate::draw::Rect;

    pub const CANVAS: Rect = Rect::new(0.0, 0.0, 1920.0, 1080.0);
    pub const TITLE: Rect = Rect::new(96.0, 54.0, 1398.0, 36.0);
    pub const VIEWERS: Rect = Rect::new(1518.0, 54.0, 180.0, 36.0);
    pub const BADGE: Rect = Rect::new(1716.0, 54.0, 108.0, 36.0);
    /// With a sponsor; without one it is as wide as the safe area.
    pub const BOTTOM: Rect = Rect::new(96.0, 972.0, 1470.0, 54.0);
    pub const BOTTOM_WIDE: Rect = Rect::new(96.0, 972.0, 1728.0, 54.0);
    pub const SPONSOR: Rect = Rect::new(1578.0, 972.0, 246.0, 54.0);

    pub const SCOREBUG: Rect = Rect::new(96.0, 96.0, 1728.0, 96.0);
    pub const CLOCK: [Rect; 2] = [Rect::new(546.0, 96.0, 216.0, 96.0), Rect::new(1158.0, 96.0, 216.0, 96.0)];
    pub const EVAL: Rect = Rect::new(96.0, 192.0, 1728.0, 30.0);
    pub const BOARD: Rect = Rect::new(600.0, 240.0, 720.0, 720.0);
    pub const THOUGHTS: [Rect; 2] = [Rect::new(96.0, 240.0, 480.0, 720.0), Rect::new(1344.0, 240.0, 480.0, 720.0)];
}
