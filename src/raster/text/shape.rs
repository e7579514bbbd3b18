//! From a text to words of positioned glyphs in logical order, and from a row of words to a line in visual order.
//!
//! cosmic-text shapes; the order of glyphs on the line is ours: its own layout wraps inside graphemes, aligns by itself and
//! misorders glyphs of several families inside one right-to-left word.

use super::{Family, TextStyle};
use crate::raster::fonts::{CJK_HK, CJK_JP, CJK_KR, CJK_SC, CJK_TC, EMOJI, WEIGHTS};
use cosmic_text::fontdb::{self, ID};
use cosmic_text::{Attrs, AttrsList, FeatureTag, FontFeatures, FontSystem, Metrics, ShapeLine, Shaping, Weight};
use std::ops::Range;
use unicode_properties::{EmojiStatus, UnicodeEmoji};
use unicode_script::{Script, UnicodeScript};
use unicode_segmentation::UnicodeSegmentation;

/// CJK next to Latin of the same size looks larger: this evens it out.
const CJK_SCALE: f32 = 0.92;
/// Noto Color Emoji advances by 2550 of 2048 units: this makes an emoji 1 em wide.
const EMOJI_SCALE: f32 = 2048.0 / 2550.0;

/// A glyph and what it moves the pen by, px.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Byte offset of the cluster in the text.
    pub start: usize,
    pub advance: f32,
    /// Letter spacing that is part of `advance`.
    pub spacing: f32,
    pub dx: f32,
    /// Down.
    pub dy: f32,
    pub font: ID,
    pub glyph: u16,
    pub size: f32,
    pub weight: fontdb::Weight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Space,
    /// A space that does not break: part of the word round it.
    Glue,
}

/// Glyphs of one bidi level that no line break divides, from left to right.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub range: Range<usize>,
    pub level: u8,
    pub kind: Kind,
    /// A line may begin with this word.
    pub breaks: bool,
    pub width: f32,
    pub cells: Vec<Cell>,
}

/// One bidi paragraph, words in logical order.
#[derive(Clone, Debug, Default)]
pub(super) struct Shaped {
    pub rtl: bool,
    pub words: Vec<Word>,
}

/// A text made safe to shape: upper case if wanted, no control characters; and the way back to the offsets of the original.
struct Prepared {
    text: String,
    /// Original offset of each byte; None when the offsets are the same.
    map: Option<Vec<usize>>,
}

impl Prepared {
    fn new(text: &str, upper: bool) -> Prepared {
        // Separators would make several bidi paragraphs, which the shaper refuses with a panic.
        let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if !upper && !text.chars().any(odd) {
            return Prepared { text: text.to_owned(), map: None };
        }
        let mut out = Prepared { text: String::with_capacity(text.len()), map: None };
        let mut map = Vec::with_capacity(text.len() + 1);
        for (at, c) in text.char_indices() {
            if odd(c) {
                out.text.push(' ');
            } else if upper {
                out.text.extend(c.to_uppercase());
            } else {
                out.text.push(c);
            }
            map.resize(out.text.len(), at);
        }
        map.push(text.len());
        out.map = Some(map);
        out
    }

    fn original(&self, at: usize) -> usize {
        match &self.map {
            Some(map) => map.get(at).copied().unwrap_or(at),
            None => at,
        }
    }
}

/// Shapes `text`, all of it as one paragraph. Offsets count from `base`.
pub(super) fn shape(fonts: &mut FontSystem, text: &str, base: usize, style: &TextStyle, lang: &str) -> Shaped {
    if text.is_empty() {
        return Shaped::default();
    }
    let prepared = Prepared::new(text, style.upper);
    let list = spans(fonts, &prepared.text, style, lang);
    let line = ShapeLine::new(fonts, &prepared.text, &list, Shaping::Advanced, 1);

    let mut shaped = Shaped { rtl: line.rtl, words: Vec::new() };
    for span in line.spans {
        let level = span.level;
        let first = shaped.words.len();
        let mut words = span.words;
        if line.rtl != level.is_rtl() {
            words.reverse();
        }
        for word in words {
            let mut glyphs = word.glyphs;
            if line.rtl {
                glyphs.reverse();
            }
            // Runs of several families stand in logical order even where the word reads from right to left.
            if level.is_rtl() {
                glyphs.sort_by_key(|g| std::cmp::Reverse(g.start));
            } else {
                glyphs.sort_by_key(|g| g.start);
            }
            let (Some(start), Some(end)) = (glyphs.iter().map(|g| g.start).min(), glyphs.iter().map(|g| g.end).max())
            else {
                continue;
            };
            let kind = match prepared.text[start..].chars().next() {
                Some('\u{A0}' | '\u{202F}' | '\u{2007}') if word.blank => Kind::Glue,
                _ if word.blank => Kind::Space,
                _ => Kind::Text,
            };
            let last = shaped.words.last();
            // Inside a level, the shaper ends words where Unicode allows a line break. Where the level changes, it always
            // does: there, only a space says that a break is allowed.
            let breaks = match (last.map(|w| w.kind), kind) {
                (None, _) => true,
                (Some(Kind::Glue), _) | (_, Kind::Glue | Kind::Space) => false,
                (Some(Kind::Space), Kind::Text) => true,
                (Some(Kind::Text), Kind::Text) => shaped.words.len() > first,
            };
            let cells = cells(&glyphs, &prepared, base, style, level.is_rtl());
            shaped.words.push(Word {
                range: base + prepared.original(start)..base + prepared.original(end),
                level: level.number(),
                kind,
                breaks,
                width: cells.iter().map(|c| c.advance).sum(),
                cells,
            });
        }
    }
    shaped
}

fn cells(
    glyphs: &[cosmic_text::ShapeGlyph],
    prepared: &Prepared,
    base: usize,
    style: &TextStyle,
    rtl: bool,
) -> Vec<Cell> {
    let size = style.px();
    let cells = glyphs.iter().enumerate().map(|(i, g)| {
        let own = g.metrics_opt.map_or(size, |m| m.font_size);
        // Once a cluster, not between a letter and its marks; never inside joined (Arabic) writing.
        let ends = glyphs.get(i + 1).is_none_or(|next| next.start != g.start);
        let spacing = if ends && !rtl && style.tracking.is_finite() { style.tracking * size } else { 0.0 };
        Cell {
            start: base + prepared.original(g.start),
            advance: g.x_advance * own + spacing,
            spacing,
            dx: g.x_offset * own,
            dy: -g.y_offset * own,
            font: g.font_id,
            glyph: g.glyph_id,
            size: own,
            weight: g.font_weight,
        }
    });
    cells.collect()
}

/// Families over the text. Only CJK (its forms depend on the language) and emoji (else a symbol face takes some of them) get
/// spans of their own; every other script goes through the fallback, which keeps words whole.
fn spans(fonts: &mut FontSystem, text: &str, style: &TextStyle, lang: &str) -> AttrsList {
    let weight = Weight(*WEIGHTS.iter().min_by_key(|w| w.abs_diff(style.weight)).unwrap_or(&400));
    let mut features = FontFeatures::new();
    features.enable(FeatureTag::new(b"tnum"));
    if style.family == Family::Mono {
        // Code: `->` stays two characters.
        features.disable(FeatureTag::CONTEXTUAL_ALTERNATES);
    }
    if style.tracking != 0.0 {
        features.disable(FeatureTag::STANDARD_LIGATURES);
    }
    let attrs = |family: &'static str| {
        Attrs::new().family(fontdb::Family::Name(family)).weight(weight).font_features(features.clone())
    };
    let mut list = AttrsList::new(&attrs(style.family.name()));
    if text.is_ascii() {
        return list;
    }
    let mut open: Option<(Range<usize>, &'static str)> = None;
    let mut close = |span: Option<(Range<usize>, &'static str)>| {
        if let Some((range, family)) = span {
            let scale = if family == EMOJI { EMOJI_SCALE } else { CJK_SCALE };
            list.add_span(range, &attrs(family).metrics(Metrics::new(style.px() * scale, style.px())));
        }
    };
    for (at, grapheme) in text.grapheme_indices(true) {
        let range = at..at + grapheme.len();
        match (own_family(fonts, grapheme, weight, lang), &mut open) {
            (Some(family), Some((r, f))) if *f == family => r.end = range.end,
            (Some(family), _) => close(open.replace((range, family))),
            (None, _) => close(open.take()),
        }
    }
    close(open);
    list
}

/// The family a grapheme must be set in, whatever the style; only if it is installed and has the character.
fn own_family(fonts: &mut FontSystem, grapheme: &str, weight: Weight, lang: &str) -> Option<&'static str> {
    let first = grapheme.chars().next().filter(|c| !c.is_ascii() || grapheme.len() > 1)?;
    if is_emoji(grapheme, first) {
        return has(fonts, EMOJI, weight, first).then_some(EMOJI);
    }
    let wide = matches!(first, '\u{3000}'..='\u{303F}' | '\u{30FB}' | '\u{30FC}' | '\u{FF00}'..='\u{FFEF}');
    let script = first.script();
    let cjk = matches!(script, Script::Han | Script::Hiragana | Script::Katakana | Script::Hangul | Script::Bopomofo);
    if !wide && !cjk {
        return None;
    }
    let family = cjk_family(lang, script);
    if has(fonts, family, weight, first) { Some(family) } else { None }
}

fn cjk_family(lang: &str, script: Script) -> &'static str {
    let has = |part: &str| lang.split(['-', '_']).skip(1).any(|p| p.eq_ignore_ascii_case(part));
    match lang.split(['-', '_']).next().map(str::to_ascii_lowercase).as_deref() {
        Some("ko") => CJK_KR,
        Some("yue") => CJK_HK,
        Some("zh") if has("HK") || has("MO") => CJK_HK,
        Some("zh") if has("TW") || has("Hant") => CJK_TC,
        Some("zh") => CJK_SC,
        Some("ja") => CJK_JP,
        _ if script == Script::Hangul => CJK_KR,
        _ if script == Script::Bopomofo => CJK_TC,
        _ => CJK_JP,
    }
}

fn has(fonts: &mut FontSystem, family: &str, weight: Weight, c: char) -> bool {
    let query = fontdb::Query { families: &[fontdb::Family::Name(family)], weight, ..fontdb::Query::default() };
    let Some(id) = fonts.db().query(&query) else { return false };
    fonts.get_font(id, weight).is_some_and(|f| f.as_swash().charmap().map(c) != 0)
}

fn is_emoji(grapheme: &str, first: char) -> bool {
    if grapheme.contains('\u{FE0E}') {
        return false;
    }
    if grapheme.contains(['\u{FE0F}', '\u{20E3}', '\u{200D}']) {
        return first.is_emoji_char();
    }
    matches!(
        first.emoji_status(),
        EmojiStatus::EmojiPresentation
            | EmojiStatus::EmojiPresentationAndModifierBase
            | EmojiStatus::EmojiPresentationAndEmojiComponent
            | EmojiStatus::EmojiPresentationAndModifierAndEmojiComponent
    )
}

impl Shaped {
    /// Bytes at which the text may be cut: grapheme borders where a cluster begins, with the width before each, ascending.
    pub fn cuts(&self, text: &str) -> Vec<(usize, f32)> {
        let mut starts: Vec<(usize, f32)> =
            self.words.iter().flat_map(|w| w.cells.iter().map(|c| (c.start, c.advance))).collect();
        starts.sort_by_key(|(at, _)| *at);
        let mut cells = starts.iter().peekable();
        let mut width = 0.0;
        let mut cuts = Vec::new();
        for (at, _) in text.grapheme_indices(true) {
            while let Some((_, advance)) = cells.next_if(|(start, _)| *start < at) {
                width += advance;
            }
            if cells.peek().is_none_or(|(start, _)| *start == at) {
                cuts.push((at, width));
            }
        }
        cuts
    }

    /// Divides words that cannot stand on a line of `width` where graphemes and clusters allow it. `text` is the whole text,
    /// at offset `base`.
    pub fn split_overlong(self, text: &str, base: usize, width: f32) -> Shaped {
        let mut out = Vec::with_capacity(self.words.len());
        for group in self.words.chunk_by(|_, next| !next.breaks) {
            let ink = group.iter().rposition(|w| w.kind != Kind::Space).map_or(0, |i| i + 1);
            if group[..ink].iter().map(|w| w.width).sum::<f32>() <= width {
                out.extend_from_slice(group);
                continue;
            }
            let mut used = 0.0;
            for word in group {
                let end = word.range.end - base;
                let Some(part) = text.get(word.range.start - base..end) else {
                    out.push(word.clone());
                    continue;
                };
                let mut piece = Word { width: 0.0, cells: Vec::new(), ..word.clone() };
                let mut from = word.range.start;
                let borders = part.grapheme_indices(true).map(|(i, g)| word.range.start + i + g.len());
                for to in borders {
                    let mine = |c: &Cell| c.start >= from && c.start < to;
                    let wide: f32 = word.cells.iter().filter(|c| mine(c)).map(|c| c.advance).sum();
                    let begins = word.cells.iter().any(|c| c.start == from);
                    let started = !piece.cells.is_empty() || used > 0.0;
                    if begins && started && used + wide > width && word.kind != Kind::Space {
                        let breaks = piece.breaks;
                        let range = from..word.range.end;
                        let next = Word { range, breaks: true, width: 0.0, cells: Vec::new(), ..word.clone() };
                        let mut done = std::mem::replace(&mut piece, next);
                        done.range.end = from;
                        done.breaks = breaks;
                        if !done.cells.is_empty() {
                            out.push(done);
                        }
                        used = 0.0;
                    }
                    used += wide;
                    piece.width += wide;
                    // Cells stand from left to right; a later grapheme of a right-to-left word goes in front.
                    let new: Vec<Cell> = word.cells.iter().filter(|c| mine(c)).cloned().collect();
                    if word.level % 2 == 1 {
                        piece.cells.splice(0..0, new);
                    } else {
                        piece.cells.extend(new);
                    }
                    from = to;
                }
                out.push(piece);
            }
        }
        Shaped { words: out, ..self }
    }

    /// Ranges of words that go on one line each: as many as fit `width`. Spaces at the end of a line take no room.
    pub fn wrap(&self, width: f32) -> Vec<Range<usize>> {
        let mut lines = Vec::new();
        let (mut start, mut at, mut used) = (0, 0, 0.0f32);
        for group in self.words.chunk_by(|_, next| !next.breaks) {
            let ink = group.iter().rposition(|w| w.kind != Kind::Space).map_or(0, |i| i + 1);
            let need: f32 = group[..ink].iter().map(|w| w.width).sum();
            if at > start && used + need > width {
                lines.push(start..at);
                (start, used) = (at, 0.0);
            }
            used += group.iter().map(|w| w.width).sum::<f32>();
            at += group.len();
        }
        lines.push(start..at);
        lines
    }
}

/// The words of a line in the order they are seen, without white space at the logical end (UAX #9, L1 and L2).
pub(super) fn visual(words: &[Word]) -> Vec<&Word> {
    let end = words.iter().rposition(|w| w.kind != Kind::Space).map_or(0, |i| i + 1);
    let mut order: Vec<&Word> = words[..end].iter().collect();
    let highest = order.iter().map(|w| w.level).max().unwrap_or(0);
    for level in (1..=highest).rev() {
        for run in order.chunk_by_mut(|a, b| (a.level >= level) == (b.level >= level)) {
            if run[0].level >= level {
                run.reverse();
            }
        }
    }
    order
}
