//! Text and pictures on their way to pixels: fonts, shaping, fitting, glyph images, symbols, decoded pictures.
//!
//! Beside `draw`, so that the pure rooms stay pure: font bytes (or paths to map) and picture bytes are handed in, pixels
//! and measures come out. Nothing here knows a widget or a GPU.

mod cache;
mod fonts;
mod pictures;
mod text;
mod thumbnail;

pub use fonts::{FontOrigin, FontSet, FontStatus, SYSTEM_DIRS};
pub use pictures::{MAX_DECODED_BYTES, MAX_PICTURE_BYTES, MAX_PICTURE_SIDE, PictureError, Pictures, decode};
pub use text::{
    Family, Line, MAX_LINE_BYTES, MAX_PARAGRAPH_BYTES, OVERHANG, Paragraph, ParagraphLine, TextStyle, Typesetter,
    clean, clean_lines, isolate,
};
pub use thumbnail::thumbnail;

/// Names one rasterised glyph: face, glyph id, size, sub-pixel bin.
pub type GlyphKey = cosmic_text::CacheKey;

/// Names one picture in a [`Pictures`] bank, decoded or rasterised at a certain size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey(pub u64);

/// Pixels of a glyph.
#[derive(Clone, Debug)]
pub struct GlyphImage {
    /// From the pen position to the left edge, px.
    pub left: i32,
    /// From the baseline up to the top edge, px.
    pub top: i32,
    pub w: u32,
    pub h: u32,
    /// One byte a pixel (coverage) or, when `color`, four (straight RGBA).
    pub data: Vec<u8>,
    pub color: bool,
}

/// Pixels of a picture: straight RGBA, `w * h * 4` bytes.
#[derive(Clone, Debug)]
pub struct Pixels {
    pub w: u32,
    pub h: u32,
    pub rgba: Vec<u8>,
}

/// Where the renderer gets pixels from.
pub trait PixelSource {
    /// None: the glyph has no ink (a space) or its font is gone.
    fn glyph(&mut self, key: GlyphKey) -> Option<GlyphImage>;
    /// None: the picture left the bank.
    fn image(&mut self, key: ImageKey) -> Option<std::sync::Arc<Pixels>>;
}

/// What the overlay draws with and the renderer reads from. One a stream.
pub struct Raster {
    pub text: Typesetter,
    pub pictures: Pictures,
}

impl PixelSource for Raster {
    fn glyph(&mut self, key: GlyphKey) -> Option<GlyphImage> {
        self.text.glyph(key)
    }

    fn image(&mut self, key: ImageKey) -> Option<std::sync::Arc<Pixels>> {
        self.pictures.pixels(key)
    }
}
