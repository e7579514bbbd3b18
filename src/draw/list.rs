use crate::raster::{GlyphKey, ImageKey};
use std::sync::Arc;

/// Size of a picture in pixels; both even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    pub w: u32,
    pub h: u32,
}

/// Rectangle in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

/// Whole-pixel rectangle, `x1`/`y1` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IRect {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

/// Straight 8-bit sRGB with alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Color(pub [u8; 4]);

/// What is drawn, bottom to top.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawList {
    pub size: Size,
    /// Layers that change only with scene, theme or roster: baked into a texture once and copied back from it.
    pub base: Arc<Vec<Item>>,
    /// Everything above.
    pub live: Vec<Item>,
}

/// One drawn thing. `clip` cuts it to whole pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub clip: Option<IRect>,
    pub shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Quad(Quad),
    Path(Path),
    Glyphs(GlyphRun),
    Image(Image),
}

/// A rectangle with rounded corners, a border inside its edge and a hard shadow below.
#[derive(Clone, Debug, PartialEq)]
pub struct Quad {
    pub rect: Rect,
    pub fill: Color,
    /// Radii in px: top left, top right, bottom right, bottom left.
    pub radius: [f32; 4],
    /// Width in px and colour; drawn inside the rectangle.
    pub border: Option<(f32, Color)>,
    /// Offset down in px and colour: the same shape, hard, under it.
    pub shadow: Option<(f32, Color)>,
}

/// A filled convex polygon of 3 to 8 points in either winding; its edges are anti-aliased.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub points: Vec<[f32; 2]>,
    pub fill: Color,
}

/// Shaped glyphs in one colour. Colour glyphs (emoji) keep their own, with the alpha of `color`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlyphRun {
    pub glyphs: Arc<[Glyph]>,
    /// Added to every glyph position, px. Whole numbers keep text sharp.
    pub origin: [f32; 2],
    pub color: Color,
    /// Bounds of the run's ink relative to `origin`, px, whole and conservative.
    pub ink: IRect,
}

/// One glyph of a run: whole-pixel position relative to the run's origin (the sub-pixel part is in the key).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyph {
    pub key: GlyphKey,
    pub x: i32,
    pub y: i32,
}

/// A picture scaled into a rectangle.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub rect: Rect,
    pub image: ImageKey,
    /// Part of the picture, 0 to 1: x, y, w, h.
    pub uv: [f32; 4],
    /// Corner radius in px, all four.
    pub radius: f32,
    /// Nearest for pixel art, else bilinear.
    pub nearest: bool,
    pub opacity: u8,
}

impl Color {
    pub const TRANSPARENT: Color = Color([0; 4]);

    pub const fn rgb(r: u8, g: u8, b: u8) -> Color {
        Color([r, g, b, 255])
    }

    /// The same colour at `alpha` times its opacity, 0 to 1.
    pub fn fade(self, alpha: f32) -> Color {
        let [r, g, b, a] = self.0;
        Color([r, g, b, (f32::from(a) * alpha.clamp(0.0, 1.0)).round() as u8])
    }
}

impl Size {
    /// 1280 × 720.
    pub const HD: Size = Size { w: 1280, h: 720 };
    /// 1920 × 1080.
    pub const FULL_HD: Size = Size { w: 1920, h: 1080 };

    pub fn bounds(self) -> IRect {
        IRect { x0: 0, y0: 0, x1: self.w as i32, y1: self.h as i32 }
    }
}

impl Rect {
    pub const fn new(x: f32, y: f32, w: f32, h: f32) -> Rect {
        Rect { x, y, w, h }
    }

    pub fn right(self) -> f32 {
        self.x + self.w
    }

    pub fn bottom(self) -> f32 {
        self.y + self.h
    }

    /// Smaller by `dx` and `dy` on every edge.
    pub fn inset(self, dx: f32, dy: f32) -> Rect {
        Rect::new(self.x + dx, self.y + dy, (self.w - 2.0 * dx).max(0.0), (self.h - 2.0 * dy).max(0.0))
    }

    /// The smallest whole-pixel rectangle around this one.
    pub fn outer(self) -> IRect {
        IRect {
            x0: self.x.floor() as i32,
            y0: self.y.floor() as i32,
            x1: self.right().ceil() as i32,
            y1: self.bottom().ceil() as i32,
        }
    }
}

impl IRect {
    pub fn is_empty(self) -> bool {
        self.x1 <= self.x0 || self.y1 <= self.y0
    }

    pub fn intersect(self, o: IRect) -> IRect {
        IRect { x0: self.x0.max(o.x0), y0: self.y0.max(o.y0), x1: self.x1.min(o.x1), y1: self.y1.min(o.y1) }
    }

    pub fn union(self, o: IRect) -> IRect {
        IRect { x0: self.x0.min(o.x0), y0: self.y0.min(o.y0), x1: self.x1.max(o.x1), y1: self.y1.max(o.y1) }
    }

    pub fn overlaps(self, o: IRect) -> bool {
        !self.intersect(o).is_empty()
    }

    /// Pixels inside.
    pub fn area(self) -> i64 {
        if self.is_empty() { 0 } else { i64::from(self.x1 - self.x0) * i64::from(self.y1 - self.y0) }
    }
}

impl Item {
    /// Every pixel the item may touch, clip applied.
    pub fn bounds(&self) -> IRect {
        let r = match &self.shape {
            Shape::Quad(q) => {
                let r = q.rect.outer();
                let drop = q.shadow.map_or(0.0, |(dy, _)| dy).ceil() as i32;
                IRect { y1: r.y1 + drop.max(0), y0: r.y0 + drop.min(0), ..r }
            }
            Shape::Path(p) => {
                let fold = |f: fn(f32, f32) -> f32, i: usize, z: f32| p.points.iter().map(|q| q[i]).fold(z, f);
                IRect {
                    x0: fold(f32::min, 0, f32::MAX).floor() as i32,
                    y0: fold(f32::min, 1, f32::MAX).floor() as i32,
                    x1: fold(f32::max, 0, f32::MIN).ceil() as i32,
                    y1: fold(f32::max, 1, f32::MIN).ceil() as i32,
                }
            }
            Shape::Glyphs(g) => {
                let (x, y) = (g.origin[0].floor() as i32, g.origin[1].floor() as i32);
                // One more pixel right and down: the origin may be fractional.
                IRect { x0: g.ink.x0 + x, y0: g.ink.y0 + y, x1: g.ink.x1 + x + 1, y1: g.ink.y1 + y + 1 }
            }
            Shape::Image(i) => i.rect.outer(),
        };
        match self.clip {
            Some(c) => r.intersect(c),
            None => r,
        }
    }
}

/// From `#RRGGBB` or `#RRGGBBAA`, as theme files write it.
impl<'de> serde::Deserialize<'de> for Color {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Color, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let digits = text.strip_prefix('#').filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = digits.and_then(|t| u32::from_str_radix(t, 16).ok());
        match (value, text.len()) {
            (Some(v), 7) => Ok(Color([(v >> 16) as u8, (v >> 8) as u8, v as u8, 255])),
            (Some(v), 9) => Ok(Color(v.to_be_bytes())),
            _ => Err(serde::de::Error::custom(format_args!("`{text}` is no colour, expected #RRGGBB"))),
        }
    }
}
