use super::{FontSet, GlyphImage, GlyphKey};
use crate::draw::{Glyph, IRect};
use std::ops::Range;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Barlow Condensed.
    Display,
    /// Atkinson Hyperlegible Next.
    Text,
    /// JetBrains Mono.
    Mono,
}

/// A type style at its final size. Digits are always tabular.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    pub family: Family,
    pub weight: u16,
    /// px.
    pub size: f32,
    /// Line height, px.
    pub line: f32,
    /// Letter spacing, em.
    pub tracking: f32,
    /// Upper case (labels and tags).
    pub upper: bool,
}

/// One shaped line.
#[derive(Clone, Debug)]
pub struct Line {
    /// In visual order, relative to the left end of the baseline.
    pub glyphs: Arc<[Glyph]>,
    /// Byte offset in the text of each glyph's cluster, parallel to `glyphs`.
    pub clusters: Arc<[u32]>,
    /// Advance width, px.
    pub width: f32,
    /// Ink bounds relative to the left end of the baseline.
    pub ink: IRect,
    /// The paragraph direction is right to left.
    pub rtl: bool,
    /// The text was cut and ends in an ellipsis.
    pub cut: bool,
}

/// Text wrapped to a width.
#[derive(Clone, Debug)]
pub struct Paragraph {
    pub lines: Vec<ParagraphLine>,
}

#[derive(Clone, Debug)]
pub struct ParagraphLine {
    /// Bytes of the text on this line.
    pub range: Range<usize>,
    /// Clusters count from the beginning of the whole text.
    pub line: Arc<Line>,
}

/// Shapes and fits text; caches with a bound.
pub struct Typesetter {}

impl TextStyle {
    /// Height of a capital letter, px (0.700 em Barlow, 0.668 em Atkinson).
    pub fn cap_height(&self) -> f32 {
        self.size * 0.7
    }

    /// Baseline that centres capitals in a box from `top` of height `h`: a whole number.
    pub fn baseline(&self, top: f32, h: f32) -> f32 {
        (top + (h + self.cap_height()) / 2.0).round()
    }
}

impl Typesetter {
    pub fn new(_fonts: FontSet) -> Typesetter {
        Typesetter {}
    }

    /// Shapes one line without wrapping. `lang` (BCP 47, may be empty) picks CJK forms.
    pub fn line(&mut self, _text: &str, _style: &TextStyle, _lang: &str) -> Arc<Line> {
        unimplemented!()
    }

    /// The first style of `ladder` in which the text fits `width`, else the last one with an ellipsis at a grapheme border.
    /// Never wider than `width`. Returns the index of the style used.
    pub fn fit(&mut self, _text: &str, _ladder: &[TextStyle], _width: f32, _lang: &str) -> (usize, Arc<Line>) {
        unimplemented!()
    }

    /// Wraps at `width`; words longer than a line break at grapheme borders; `\n` begins a new line.
    pub fn paragraph(&mut self, _text: &str, _style: &TextStyle, _width: f32, _lang: &str) -> Arc<Paragraph> {
        unimplemented!()
    }

    pub fn glyph(&mut self, _key: GlyphKey) -> Option<GlyphImage> {
        None
    }

    #[allow(dead_code)]
    fn unused(_: Glyph, _: IRect) {}
}

/// Cleans text from strangers: NFC, no controls, bidi overrides, tags, private use or unassigned characters, at most two
/// combining marks a base, white space collapsed.
pub fn clean(text: &str) -> String {
    text.to_owned()
}
