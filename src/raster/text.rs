mod clean;
mod shape;

pub use clean::{clean, clean_lines, isolate};

use super::cache::Cache;
use super::{FontSet, GlyphImage, GlyphKey, fonts};
use crate::draw::{Glyph, IRect};
use cosmic_text::{CacheKey, CacheKeyFlags, FontSystem, SwashCache, SwashContent};
use shape::{Shaped, Word};
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Range;
use std::sync::Arc;
use unicode_segmentation::UnicodeSegmentation;

/// Longest text [`Typesetter::line`] and [`Typesetter::fit`] look at, bytes. The rest could never be seen.
pub const MAX_LINE_BYTES: usize = 4096;
/// Longest text [`Typesetter::paragraph`] looks at, bytes.
pub const MAX_PARAGRAPH_BYTES: usize = 64 * 1024;
/// How far ink may stand out of a line's width at either end, px: side bearings and anti-aliasing. Where a glyph reaches
/// farther (a mark on a narrow letter), the line is made wider instead.
pub const OVERHANG: i32 = 2;

/// Memory of the caches, bytes, roughly: lines and fitted lines, paragraphs, glyph images.
const LINES_BOUND: usize = 4 << 20;
const PARAGRAPHS_BOUND: usize = 4 << 20;
const IMAGES_BOUND: usize = 8 << 20;

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
    /// 400, 500, 600 or 700; others go to the nearest of these, and each family to the nearest it has.
    pub weight: u16,
    /// px.
    pub size: f32,
    /// Line height, px.
    pub line: f32,
    /// Letter spacing, em. Not after the last letter, not inside right-to-left words.
    pub tracking: f32,
    /// Upper case (labels and tags).
    pub upper: bool,
}

/// One shaped line.
#[derive(Clone, Debug)]
pub struct Line {
    /// In visual order, relative to the left end of the baseline. Glyphs without ink (spaces) are left out.
    pub glyphs: Arc<[Glyph]>,
    /// Byte offset in the text of each glyph's cluster, parallel to `glyphs`.
    pub clusters: Arc<[u32]>,
    /// Advance width, px.
    pub width: f32,
    /// Ink bounds relative to the left end of the baseline: no pixel of a glyph is outside.
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
    /// Bytes of the text on this line, without white space at its end.
    pub range: Range<usize>,
    /// Clusters count from the beginning of the whole text. Lines are aligned left; a right-to-left one (`rtl`) is put at the
    /// right edge by whoever draws it, if wanted.
    pub line: Arc<Line>,
}

/// Shapes and fits text; caches with a bound (4 MiB of lines, 4 MiB of paragraphs, 8 MiB of glyph images).
pub struct Typesetter {
    /// None: there is no font at all, and so no text.
    fonts: Option<FontSystem>,
    swash: SwashCache,
    hasher: RandomState,
    lines: Cache<u64, Kept<(usize, Arc<Line>)>>,
    paragraphs: Cache<u64, Kept<Arc<Paragraph>>>,
    images: Cache<GlyphKey, Option<Arc<GlyphImage>>>,
}

/// A cached value with what it was made of, because hashes may collide.
#[derive(Clone)]
struct Kept<T> {
    text: Arc<str>,
    lang: Arc<str>,
    styles: Arc<[TextStyle]>,
    /// Bits of the width; None for a line without one.
    width: Option<u32>,
    value: T,
}

impl<T: Clone> Kept<T> {
    fn new(text: &str, lang: &str, styles: &[TextStyle], width: Option<f32>, value: T) -> Kept<T> {
        Kept { text: text.into(), lang: lang.into(), styles: styles.into(), width: width.map(f32::to_bits), value }
    }

    fn matches(&self, text: &str, lang: &str, styles: &[TextStyle], width: Option<f32>) -> bool {
        *self.text == *text && *self.lang == *lang && *self.styles == *styles && self.width == width.map(f32::to_bits)
    }
}

impl Family {
    /// Height of capitals, em (measured in the fonts).
    pub fn cap_height(self) -> f32 {
        match self {
            Family::Display => 0.7,
            Family::Text => 0.668,
            Family::Mono => 0.73,
        }
    }
}

impl TextStyle {
    /// Height of a capital letter, px.
    pub fn cap_height(&self) -> f32 {
        self.size * self.family.cap_height()
    }

    /// Baseline that centres capitals in a box from `top` of height `h`: a whole number.
    pub fn baseline(&self, top: f32, h: f32) -> f32 {
        (top + (h + self.cap_height()) / 2.0).round()
    }

    /// The size, made safe.
    fn px(&self) -> f32 {
        if self.size.is_finite() { self.size.clamp(1.0, 1000.0) } else { 1.0 }
    }

    fn hash_into(&self, h: &mut impl std::hash::Hasher) {
        (self.family, self.weight, self.size.to_bits(), self.tracking.to_bits(), self.upper).hash(h);
    }
}

impl Line {
    fn empty() -> Line {
        Line { glyphs: Arc::new([]), clusters: Arc::new([]), width: 0.0, ink: IRect::default(), rtl: false, cut: false }
    }

    /// What the cache counts, bytes.
    fn cost(&self) -> usize {
        self.glyphs.len() * 40 + 160
    }
}

impl Typesetter {
    pub fn new(set: FontSet) -> Typesetter {
        let missing = set.missing();
        if !missing.is_empty() {
            tracing::warn!(fonts = missing.join(", "), "fonts missing, others stand in (see `agentcast check`)");
        }
        let fonts = set.database().map(|db| {
            // The locale decides nothing here: CJK forms are chosen text by text.
            FontSystem::new_with_locale_and_db_and_fallback("en-US".into(), db, fonts::Fallback)
        });
        if fonts.is_none() {
            tracing::error!(
                "no font found at all: nothing that is written can be drawn (run .ci/fonts and build again)"
            );
        }
        Typesetter {
            fonts,
            swash: SwashCache::new(),
            hasher: RandomState::new(),
            lines: Cache::new(LINES_BOUND),
            paragraphs: Cache::new(PARAGRAPHS_BOUND),
            images: Cache::new(IMAGES_BOUND),
        }
    }

    /// Shapes one line without wrapping; line breaks and tabs are spaces. `lang` (BCP 47, may be empty) picks CJK forms.
    pub fn line(&mut self, text: &str, style: &TextStyle, lang: &str) -> Arc<Line> {
        let text = cap(text, MAX_LINE_BYTES);
        let styles = std::slice::from_ref(style);
        let key = self.key(text, lang, styles, None);
        if let Some(kept) = self.lines.get(&key).filter(|k| k.matches(text, lang, styles, None)) {
            return kept.value.1;
        }
        let shaped = self.shape(text, 0, style, lang);
        let line = Arc::new(self.lay(&shaped.words, shaped.rtl, true));
        self.keep_line(key, text, lang, styles, None, (0, line.clone()));
        line
    }

    /// The first style of `ladder` in which the text fits `width`, else the last one with an ellipsis at a grapheme border.
    /// Never wider than `width`; empty if not even the ellipsis fits. Returns the index of the style used.
    pub fn fit(&mut self, text: &str, ladder: &[TextStyle], width: f32, lang: &str) -> (usize, Arc<Line>) {
        let Some(last) = ladder.last() else { return (0, Arc::new(Line::empty())) };
        let whole = text.len() <= MAX_LINE_BYTES;
        let text = cap(text, MAX_LINE_BYTES);
        let key = self.key(text, lang, ladder, Some(width));
        if let Some(kept) = self.lines.get(&key).filter(|k| k.matches(text, lang, ladder, Some(width)))
            && whole
        {
            return kept.value;
        }
        let mut found = None;
        for (i, style) in ladder.iter().enumerate().filter(|_| whole) {
            let shaped = self.shape(text, 0, style, lang);
            let line = self.lay(&shaped.words, shaped.rtl, true);
            if line.width <= width {
                found = Some((i, Arc::new(line)));
                break;
            }
        }
        let value = found.unwrap_or_else(|| (ladder.len() - 1, Arc::new(self.cut(text, last, width, lang))));
        if whole {
            self.keep_line(key, text, lang, ladder, Some(width), value.clone());
        }
        value
    }

    /// The longest beginning of `text` that fits `width` with an ellipsis behind it.
    fn cut(&mut self, text: &str, style: &TextStyle, width: f32, lang: &str) -> Line {
        let shaped = self.shape(text, 0, style, lang);
        let cuts = shaped.cuts(text);
        let dots = self.line("…", style, lang).width;
        let mut n = cuts.partition_point(|(_, before)| before + dots <= width);
        // The estimate is right but for forms that change at the cut; then the next shorter ones are tried.
        while n > 0 {
            n -= 1;
            let kept = text[..cuts[n].0].trim_end();
            let shaped = self.shape(&format!("{kept}…"), 0, style, lang);
            let mut line = self.lay(&shaped.words, shaped.rtl, true);
            if line.width <= width {
                line.cut = true;
                return line;
            }
        }
        Line { cut: true, ..Line::empty() }
    }

    /// Wraps at `width`; words longer than a line break at grapheme borders; `\n` begins a new line. A line is wider than
    /// `width` only if one grapheme alone is.
    pub fn paragraph(&mut self, text: &str, style: &TextStyle, width: f32, lang: &str) -> Arc<Paragraph> {
        let text = cap(text, MAX_PARAGRAPH_BYTES);
        let styles = std::slice::from_ref(style);
        let key = self.key(text, lang, styles, Some(width));
        if let Some(kept) = self.paragraphs.get(&key).filter(|k| k.matches(text, lang, styles, Some(width))) {
            return kept.value;
        }
        let mut lines = Vec::new();
        let mut base = 0;
        for part in text.split('\n') {
            let room = width + 0.01;
            let shaped = self.shape(part, base, style, lang).split_overlong(part, base, room);
            for words in shaped.wrap(room) {
                let words = &shaped.words[words];
                let ends = words.iter().rev().find(|w| w.kind != shape::Kind::Space);
                let start = words.first().map_or(base, |w| w.range.start);
                let range = start..ends.map_or(start, |w| w.range.end);
                lines.push(ParagraphLine { range, line: Arc::new(self.lay(words, shaped.rtl, false)) });
            }
            base += part.len() + 1;
        }
        let cost = text.len() + lines.iter().map(|l| l.line.cost()).sum::<usize>();
        let paragraph = Arc::new(Paragraph { lines });
        self.paragraphs.insert(key, Kept::new(text, lang, styles, Some(width), paragraph.clone()), cost);
        paragraph
    }

    /// Pixels of a glyph; None when it has none.
    pub fn glyph(&mut self, key: GlyphKey) -> Option<GlyphImage> {
        self.image(key).map(|i| (*i).clone())
    }

    fn image(&mut self, key: GlyphKey) -> Option<Arc<GlyphImage>> {
        if let Some(image) = self.images.get(&key) {
            return image;
        }
        let image = self.fonts.as_mut().and_then(|f| self.swash.get_image_uncached(f, key)).and_then(|i| {
            let p = i.placement;
            let color = i.content == SwashContent::Color;
            let bytes = p.width as usize * p.height as usize * if color { 4 } else { 1 };
            (bytes > 0 && i.data.len() == bytes).then(|| {
                Arc::new(GlyphImage { left: p.left, top: p.top, w: p.width, h: p.height, data: i.data, color })
            })
        });
        self.images.insert(key, image.clone(), 64 + image.as_ref().map_or(0, |i| i.data.len()));
        image
    }

    fn shape(&mut self, text: &str, base: usize, style: &TextStyle, lang: &str) -> Shaped {
        match &mut self.fonts {
            Some(fonts) => shape::shape(fonts, text, base, style, lang),
            None => Shaped::default(),
        }
    }

    /// Puts words in their visual order on a baseline. `bearing`: widen the line where ink reaches beyond [`OVERHANG`].
    fn lay(&mut self, words: &[Word], rtl: bool, bearing: bool) -> Line {
        let order = shape::visual(words);
        let (mut glyphs, mut clusters) = (Vec::new(), Vec::new());
        let mut ink: Option<IRect> = None;
        let (mut pen, mut spacing) = (0.0f32, 0.0);
        for cell in order.iter().flat_map(|w| &w.cells) {
            let at = (pen + cell.dx, cell.dy.round());
            let (key, x, y) =
                CacheKey::new(cell.font, cell.glyph, cell.size, at, cell.weight, CacheKeyFlags::DISABLE_HINTING);
            (pen, spacing) = (pen + cell.advance, cell.spacing);
            let Some(image) = self.image(key) else { continue };
            let (x0, y0) = (x.saturating_add(image.left), y.saturating_sub(image.top));
            let box_ = IRect { x0, y0, x1: x0.saturating_add(image.w as i32), y1: y0.saturating_add(image.h as i32) };
            ink = Some(ink.map_or(box_, |i| i.union(box_)));
            glyphs.push(Glyph { key, x, y });
            clusters.push(u32::try_from(cell.start).unwrap_or(u32::MAX));
        }
        let mut width = (pen - spacing).max(0.0);
        let mut ink = ink.unwrap_or_default();
        if bearing {
            let shift = (-OVERHANG - ink.x0).max(0);
            for g in &mut glyphs {
                g.x += shift;
            }
            (ink.x0, ink.x1) = (ink.x0 + shift, ink.x1 + shift);
            width = (width + shift as f32).max((ink.x1 - OVERHANG) as f32);
        }
        Line { glyphs: glyphs.into(), clusters: clusters.into(), width, ink, rtl, cut: false }
    }

    fn key(&self, text: &str, lang: &str, styles: &[TextStyle], width: Option<f32>) -> u64 {
        let mut h = self.hasher.build_hasher();
        (text, lang, width.map(f32::to_bits)).hash(&mut h);
        styles.iter().for_each(|s| s.hash_into(&mut h));
        std::hash::Hasher::finish(&h)
    }

    fn keep_line(
        &mut self,
        key: u64,
        text: &str,
        lang: &str,
        styles: &[TextStyle],
        width: Option<f32>,
        value: (usize, Arc<Line>),
    ) {
        let cost = text.len() + size_of_val(styles) + value.1.cost();
        self.lines.insert(key, Kept::new(text, lang, styles, width, value), cost);
    }
}

/// At most `max` bytes of `text`, whole graphemes if that leaves any.
fn cap(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let part = &text[..text.floor_char_boundary(max)];
    match part.grapheme_indices(true).next_back() {
        Some((at, _)) if at > 0 => &part[..at],
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::SYSTEM_DIRS;

    const NAME: TextStyle =
        TextStyle { family: Family::Display, weight: 700, size: 36.0, line: 48.0, tracking: 0.0, upper: false };
    const THOUGHT: TextStyle =
        TextStyle { family: Family::Text, weight: 400, size: 27.0, line: 39.0, tracking: 0.0, upper: false };

    fn setter() -> Typesetter {
        Typesetter::new(FontSet::system(&SYSTEM_DIRS))
    }

    #[test]
    fn digits_in_every_family_are_equally_wide() {
        let mut t = setter();
        for (family, weight) in
            [(Family::Display, 600), (Family::Display, 700), (Family::Text, 400), (Family::Mono, 500)]
        {
            let style = TextStyle { family, weight, ..NAME };
            let zero = t.line("0", &style, "").width;
            assert!(zero > 5.0);
            for d in '1'..='9' {
                assert!((t.line(&d.to_string(), &style, "").width - zero).abs() < 0.01, "{d} in {family:?} {weight}");
            }
        }
    }

    fn shown(text: &str, line: &Line) -> String {
        line.clusters.iter().filter_map(|c| text[*c as usize..].chars().next()).collect()
    }

    #[test]
    fn capitals_are_as_high_as_the_styles_say() {
        let set = FontSet::embedded();
        if set.missing().iter().any(|f| !f.starts_with("Noto")) {
            return; // Built without the design's fonts: others stand in, with other heights.
        }
        let mut t = Typesetter::new(set);
        for (family, weight) in [
            (Family::Display, 600),
            (Family::Display, 700),
            (Family::Text, 400),
            (Family::Text, 600),
            (Family::Mono, 500),
        ] {
            let style = TextStyle { family, weight, size: 1000.0, ..NAME };
            let ink = t.line("H", &style, "").ink;
            assert!((f32::from(-ink.y0 as i16) - style.cap_height()).abs() <= 1.0, "{family:?}: {ink:?}");
            assert!(ink.y1.abs() <= 1);
        }
    }

    #[test]
    fn words_read_from_right_to_left_whatever_their_faces() {
        let mut t = setter();
        for (text, left_to_right) in [
            ("שלום!", "!םולש"),
            ("שלום😀!", "!😀םולש"),
            ("שלום日本!", "!日本םולש"),
            ("ab(שלום)cd", "ab(םולש)cd"),
            ("שלום 12", "12םולש"),
        ] {
            let line = t.line(text, &NAME, "");
            assert_eq!(shown(text, &line), left_to_right);
            assert_eq!(line.rtl, !text.starts_with('a'));
        }
    }

    #[test]
    fn an_isolated_name_leaves_the_sentence_in_order() {
        let mut t = setter();
        let text = format!("{} 3 : 2 {}", isolate("שלום"), isolate("Bob"));
        let plain = format!("A{text}");
        assert_eq!(shown(&plain, &t.line(&plain, &NAME, "")), "Aםולש3:2Bob");
    }

    #[test]
    fn a_name_that_is_too_long_goes_down_the_ladder_then_gets_an_ellipsis() {
        let mut t = setter();
        let ladder = [TextStyle { size: 60.0, ..NAME }, TextStyle { size: 45.0, ..NAME }, NAME];
        let name = "The Grandmaster of Köln";
        let widths = ladder.map(|s| t.line(name, &s, "").width);
        assert_eq!(t.fit(name, &ladder, widths[0], "").0, 0);
        assert_eq!(t.fit(name, &ladder, widths[0] - 1.0, "").0, 1);
        let (step, line) = t.fit(name, &ladder, widths[2], "");
        assert_eq!((step, line.cut), (2, false));
        let (step, line) = t.fit(name, &ladder, widths[2] - 1.0, "");
        assert_eq!((step, line.cut), (2, true));
        assert!(line.width <= widths[2] - 1.0);
        // As long as can be: with one more letter it would not fit.
        let kept = line.clusters.iter().max().map_or(0, |c| *c as usize);
        assert!(kept >= "The Grandmaster of K".len(), "{kept}");
        let (_, line) = t.fit(name, &ladder, 3.0, "");
        assert!(line.glyphs.is_empty() && line.cut);
    }

    #[test]
    fn the_ellipsis_stands_at_the_logical_end() {
        let mut t = setter();
        let name = "دوري الشطرنج العربي الكبير";
        let (_, line) = t.fit(name, &[NAME], 150.0, "");
        assert!(line.cut && line.rtl);
        assert_eq!(line.clusters[0], *line.clusters.iter().max().unwrap(), "leftmost");
    }

    #[test]
    fn lines_break_at_spaces_and_not_at_no_break_spaces() {
        let mut t = setter();
        let text = "about 62\u{A0}% sure";
        let width = t.line("about 62 ", &THOUGHT, "").width;
        let p = t.paragraph(text, &THOUGHT, width, "");
        let lines: Vec<_> = p.lines.iter().map(|l| &text[l.range.clone()]).collect();
        assert_eq!(lines, ["about", "62\u{A0}%", "sure"]);
    }

    #[test]
    fn long_words_break_between_graphemes() {
        let mut t = setter();
        let text = "So Donaudampfschifffahrtsgesellschaft\n\n👨‍👩‍👧‍👦👨‍👩‍👧‍👦👨‍👩‍👧‍👦👨‍👩‍👧‍👦";
        let p = t.paragraph(text, &THOUGHT, 100.0, "");
        let lines: Vec<_> = p.lines.iter().map(|l| &text[l.range.clone()]).collect();
        assert_eq!(lines[0], "So");
        assert_eq!(lines.concat(), text.replace([' ', '\n'], ""));
        assert!(lines.contains(&""), "the empty line stays");
        assert!(p.lines.iter().all(|l| l.line.width <= 100.0));
    }

    #[test]
    fn clusters_count_from_the_beginning_of_the_text() {
        let mut t = setter();
        let text = "One sentence. Another one\nand a new line";
        let p = t.paragraph(text, &THOUGHT, 200.0, "");
        let mut all: Vec<u32> = p.lines.iter().flat_map(|l| l.line.clusters.iter().copied()).collect();
        assert!(all.is_sorted());
        all.dedup();
        let letters = text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(i, _)| i as u32);
        assert_eq!(all, letters.collect::<Vec<_>>());
    }

    #[test]
    fn tracking_and_upper_case_make_labels() {
        let mut t = setter();
        let label = TextStyle { tracking: 0.1, upper: true, ..NAME };
        let (plain, wide) = (t.line("TURN", &NAME, "").width, t.line("turn", &label, "").width);
        assert!((wide - plain - 3.0 * 3.6).abs() < 1.5, "three gaps of 3.6 px: {plain} {wide}");
        // ß becomes two letters, and both point at it.
        assert_eq!(t.line("aßb", &label, "").clusters.as_ref(), [0, 1, 1, 3]);
    }

    #[test]
    fn cjk_forms_follow_the_language() {
        let mut t = setter();
        if FontSet::system(&SYSTEM_DIRS).missing().iter().any(|f| f.contains("CJK")) {
            return; // No CJK face on this machine.
        }
        let mut key = |lang: &str| t.line("骨", &NAME, lang).glyphs[0].key;
        assert_ne!(key("ja").font_id, key("zh-CN").font_id);
        assert_ne!(key("zh-TW").font_id, key("zh-CN").font_id);
        assert_eq!(key("").font_id, key("ja").font_id);
        assert_eq!(key("").font_size_bits, (36.0f32 * 0.92).to_bits());
    }

    #[test]
    fn without_any_font_text_is_empty_and_nothing_breaks() {
        let mut t = Typesetter::new(FontSet::default());
        assert!(t.line("Hello", &NAME, "").glyphs.is_empty());
        assert!(t.fit("Hello", &[NAME], 10.0, "").1.glyphs.is_empty());
        assert_eq!(t.paragraph("a\nb", &NAME, 10.0, "").lines.len(), 2);
    }

    #[test]
    fn a_missing_own_face_is_stood_in_for_and_reported() {
        let set = FontSet::default().with_noto(&SYSTEM_DIRS);
        assert!(set.missing().contains(&"Barlow Condensed"));
        let any = set.report().iter().any(|s| s.found.is_some() && s.family == "Noto Sans");
        let mut t = Typesetter::new(set);
        if any {
            assert_eq!(t.line("Hello", &NAME, "").glyphs.len(), 5);
        }
    }

    #[test]
    fn unreadable_font_files_do_no_harm() {
        let dir = std::env::temp_dir().join(format!("agentcast-fonts-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["NotoSans-Regular.ttf", "NotoSansArabic-Bold.ttf", "NotoSansCJK-Bold.ttc", "NotoColorEmoji.ttf"] {
            std::fs::write(dir.join(name), b"not a font").unwrap();
        }
        for set in [FontSet::system(&[&dir]), FontSet::default().with_noto(&[&dir])] {
            let mut t = Typesetter::new(set);
            t.line("Hi Жук مرحبا 日本 😀", &NAME, "ja");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn absurd_styles_and_texts_are_survived() {
        let mut t = setter();
        for size in [f32::NAN, -5.0, 0.0, 1e9] {
            for weight in [0, 300, 1000] {
                let style = TextStyle { size, weight, tracking: f32::INFINITY, ..NAME };
                t.line("Wx😀", &style, "");
                t.paragraph("Wx😀 a", &style, f32::NAN, "");
                t.fit("Wx😀 a", &[style], f32::NAN, "");
            }
        }
        let long = "🇺".repeat(5000);
        assert!(t.fit(&long, &[NAME], 200.0, "").1.cut);
        assert!(t.line(&long, &NAME, "").clusters.iter().all(|c| (*c as usize) < MAX_LINE_BYTES));
        assert!(t.fit("x", &[], 200.0, "").1.glyphs.is_empty());
    }

    #[test]
    fn caches_hold_what_they_promise() {
        let mut t = setter();
        let first = t.line("the same", &NAME, "");
        assert!(Arc::ptr_eq(&first, &t.line("the same", &NAME, "")));
        for i in 0..40_000 {
            let line = Line { width: i as f32, ..Line::empty() };
            t.keep_line(i, "name", "", &[NAME], None, (0, Arc::new(line)));
        }
        assert!(t.lines.cost() <= LINES_BOUND);
    }

    #[test]
    fn a_typesetter_can_move_to_another_thread() {
        fn send<T: Send>() {}
        send::<Typesetter>();
    }
}
