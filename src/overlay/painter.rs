//! What widgets draw with: design pixels in, [`Item`]s in output pixels out.

use super::layout::Layout;
use super::theme::{SeatColors, Style, Theme, seat_letter};
use crate::draw::{Color, GlyphRun, IRect, Image, Item, Path, Quad, Rect, Shape};
use crate::game::PictureRef;
use crate::raster::{Line, Paragraph, Raster, clean, clean_lines, isolate};
use std::borrow::Cow;
use std::sync::Arc;

/// Where a text stands in its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Center,
    Right,
}

/// The edge of a panel that shows whose it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    None,
    Top(Color),
    Left(Color),
}

/// Collects items. One for the baked base, one for the live layers.
pub struct Painter<'a> {
    pub theme: &'a Theme,
    pub layout: Layout,
    raster: &'a mut Raster,
    items: Vec<Item>,
    clips: Vec<IRect>,
    opacity: f32,
    marks: Vec<Mark>,
    /// Right-to-left names of sides, cleaned, the longest first.
    names: Vec<String>,
}

/// The name of a widget's place and where it is, output px.
pub type Mark = (&'static str, IRect);

/// How far a text's clip reaches above and below its box, design px: marks and descenders need it.
const OVERSHOOT: f32 = 9.0;

impl<'a> Painter<'a> {
    pub(super) fn new(theme: &'a Theme, layout: Layout, raster: &'a mut Raster, names: Vec<String>) -> Painter<'a> {
        Painter {
            theme,
            layout,
            raster,
            items: Vec::with_capacity(512),
            clips: Vec::new(),
            opacity: 1.0,
            marks: Vec::new(),
            names,
        }
    }

    pub(super) fn finish(self) -> (Vec<Item>, Vec<Mark>) {
        (self.items, self.marks)
    }

    /// Notes a widget's place for the layout dump.
    pub fn mark(&mut self, name: &'static str, r: Rect) {
        let r = self.layout.irect(r);
        self.marks.push((name, r));
    }

    /// Cuts everything `draw` draws to `r`.
    pub fn clipped<T>(&mut self, r: Rect, draw: impl FnOnce(&mut Self) -> T) -> T {
        let r = self.layout.irect(r);
        let clip = self.clip_with(r);
        self.clips.push(clip);
        let out = draw(self);
        self.clips.pop();
        out
    }

    /// Draws at `opacity` (0 to 1). Overlapping items show through each other.
    pub fn faded<T>(&mut self, opacity: f32, draw: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.opacity;
        self.opacity = before * opacity;
        let out = draw(self);
        self.opacity = before;
        out
    }

    fn clip_with(&self, r: IRect) -> IRect {
        self.clips.last().map_or(r, |c| c.intersect(r))
    }

    fn push(&mut self, shape: Shape, clip: Option<IRect>) {
        let clip = match clip {
            Some(c) => Some(self.clip_with(c)),
            None => self.clips.last().copied(),
        };
        if clip.is_some_and(IRect::is_empty) {
            return;
        }
        let item = Item { clip, shape };
        if !item.bounds().intersect(self.layout.size().bounds()).is_empty() {
            self.items.push(item);
        }
    }

    fn tone(&self, c: Color) -> Color {
        if self.opacity >= 1.0 { c } else { c.fade(self.opacity) }
    }

    // Shapes.

    pub fn fill(&mut self, r: Rect, fill: Color) {
        self.quad(r, fill, [0.0; 4], None, false);
    }

    pub fn round(&mut self, r: Rect, fill: Color, radius: f32) {
        self.quad(r, fill, [radius; 4], None, false);
    }

    /// Radii: top left, top right, bottom right, bottom left. The border is inside. The shadow is the theme's.
    pub fn quad(&mut self, r: Rect, fill: Color, radius: [f32; 4], border: Option<(f32, Color)>, shadow: bool) {
        let rect = self.layout.rect(r);
        if rect.w <= 0.0 || rect.h <= 0.0 {
            return;
        }
        let most = rect.w.min(rect.h) / 2.0;
        let radius = radius.map(|v| (v * self.layout.scale()).min(most));
        let border = border.map(|(w, c)| (self.layout.px(w).max(1.0), self.tone(c)));
        let elevation = &self.theme.elevation;
        let shadow = shadow.then(|| (self.layout.px(elevation.dy), self.tone(elevation.color)));
        let fill = self.tone(fill);
        self.push(Shape::Quad(Quad { rect, fill, radius, border, shadow }), None);
    }

    /// A panel with the theme's shadow. Corners on its edge are square.
    pub fn panel(&mut self, r: Rect, edge: Edge) {
        let m = self.theme.radius.m;
        let fill = self.theme.color.panel;
        match edge {
            Edge::None => self.quad(r, fill, [m; 4], None, true),
            Edge::Top(c) => {
                self.quad(r, fill, [0.0, 0.0, m, m], None, true);
                self.fill(Rect { h: 6.0, ..r }, c);
            }
            Edge::Left(c) => {
                self.quad(r, fill, [0.0, m, m, 0.0], None, true);
                self.fill(Rect { w: 9.0, ..r }, c);
            }
        }
    }

    pub fn circle(&mut self, cx: f32, cy: f32, radius: f32, fill: Color) {
        self.round(Rect::new(cx - radius, cy - radius, 2.0 * radius, 2.0 * radius), fill, radius);
    }

    /// A convex polygon of 3 to 8 points.
    pub fn poly(&mut self, points: &[[f32; 2]], fill: Color) {
        let scale = self.layout.scale();
        let points = points.iter().map(|p| p.map(|v| v * scale)).collect();
        let fill = self.tone(fill);
        self.push(Shape::Path(Path { points, fill }), None);
    }

    /// A bar of `share` (0 to 1) in a track; a ghost of `ghost` behind it. Any share above 0 can be seen.
    pub fn bar(&mut self, r: Rect, share: f32, fill: Color, ghost: Option<f32>) {
        let (s, c) = (self.theme.radius.s, &self.theme.color);
        let (inset, mid) = (c.inset, c.mid);
        self.round(r, inset, s);
        let width = |share: f32| if share > 0.0 { (r.w * share.min(1.0)).max(6.0) } else { 0.0 };
        if let Some(ghost) = ghost.filter(|g| *g > share) {
            self.round(Rect { w: width(ghost), ..r }, mid, s);
        }
        self.round(Rect { w: width(share), ..r }, fill, s);
    }

    // Text.

    /// One line, cut with an ellipsis to the box. Returns the width drawn, design px.
    pub fn text(&mut self, r: Rect, text: &str, style: Style, color: Color, align: Align) -> f32 {
        self.fitted(r, text, &[style], color, align, "")
    }

    /// One line in the first style of the ladder that fits, else the last one cut. For names: never scaled, never wrapped.
    pub fn fitted(&mut self, r: Rect, text: &str, ladder: &[Style], color: Color, align: Align, lang: &str) -> f32 {
        let text = self.sentence(text);
        if text.is_empty() || r.w <= 0.0 {
            return 0.0;
        }
        let styles: Vec<_> = ladder.iter().map(|s| s.at(self.layout.scale(), self.layout.min_text())).collect();
        let rect = self.layout.rect(r);
        let (index, line) = self.raster.text.fit(&text, &styles, rect.w, lang);
        let x = match align {
            Align::Left => rect.x,
            Align::Center => rect.x + ((rect.w - line.width) / 2.0).round(),
            Align::Right => rect.right() - line.width.ceil(),
        };
        let y = styles[index].baseline(rect.y, rect.h);
        self.line(&line, [x, y], color, Some(r));
        line.width / self.layout.scale()
    }

    /// Digits that do not move while they change: centred as if the text were `pattern`.
    pub fn digits(&mut self, r: Rect, text: &str, pattern: &str, style: Style, color: Color) {
        let at = style.at(self.layout.scale(), self.layout.min_text());
        let rect = self.layout.rect(r);
        let width = self.raster.text.line(pattern, &at, "").width;
        let line = self.raster.text.line(text, &at, "");
        let x = rect.x + ((rect.w - width) / 2.0).round();
        self.line(&line, [x, at.baseline(rect.y, rect.h)], color, Some(r));
    }

    /// Width of a line, design px.
    pub fn measure(&mut self, text: &str, style: Style) -> f32 {
        let at = style.at(self.layout.scale(), self.layout.min_text());
        let text = self.sentence(text);
        self.raster.text.line(&text, &at, "").width / self.layout.scale()
    }

    /// Tidied text in which right-to-left names of sides stand in isolates of their own: a sentence about one keeps the
    /// direction of its own words.
    fn sentence<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = tidy(text);
        for name in &self.names {
            if text.len() > name.len() && text.contains(name.as_str()) {
                text = Cow::Owned(text.replace(name.as_str(), &isolate(name)));
            }
        }
        text
    }

    /// Wraps text at a width in design px. Draw its lines with [`Painter::line`].
    pub fn wrap(&mut self, text: &str, style: Style, width: f32, lang: &str) -> Arc<Paragraph> {
        let at = style.at(self.layout.scale(), self.layout.min_text());
        let width = self.layout.px(width);
        self.raster.text.paragraph(&tidy_lines(text), &at, width, lang)
    }

    /// Wraps text into `r` from its top; when it is longer, its last lines.
    pub fn tail(&mut self, r: Rect, text: &str, style: Style, color: Color) {
        let at = style.at(self.layout.scale(), self.layout.min_text());
        let rect = self.layout.rect(r);
        let room = ((rect.h / at.line) + 0.05).floor().max(1.0) as usize;
        let paragraph = self.wrap(text, style, r.w, "");
        let over = paragraph.lines.len().saturating_sub(room);
        for (i, row) in paragraph.lines[over..].iter().enumerate() {
            let baseline = at.baseline(rect.y + i as f32 * at.line, at.line);
            let x = if row.line.rtl { rect.right() - row.line.width.ceil() } else { rect.x };
            self.line(&row.line, [x, baseline], color, Some(r));
        }
    }

    /// Wraps text into `r` from its top, at most as many lines as fit; what is over is cut at a line's end.
    pub fn block(&mut self, r: Rect, text: &str, style: Style, color: Color, align: Align) {
        let scale = self.layout.scale();
        let at = style.at(scale, self.layout.min_text());
        let room = ((self.layout.px(r.h) / at.line) + 0.1).floor().max(1.0) as usize;
        let paragraph = self.wrap(text, style, r.w, "");
        let text = tidy_lines(text);
        let last = paragraph.lines.len().min(room);
        for (i, line) in paragraph.lines.iter().take(room).enumerate() {
            let row = Rect::new(r.x, r.y + i as f32 * at.line / scale, r.w, at.line / scale);
            // The rest goes into the last line, whose end is cut.
            let end = if i + 1 == last { text.len() } else { line.range.end };
            let part = text.get(line.range.start..end).unwrap_or_default().trim_end();
            self.fitted(row, part, &[style], color, align, "");
        }
    }

    /// A shaped line with its baseline's left end at `at` (output px), clipped left and right by `r` (design px).
    pub fn line(&mut self, line: &Line, at: [f32; 2], color: Color, r: Option<Rect>) {
        if line.glyphs.is_empty() {
            return;
        }
        let color = self.tone(color);
        let clip = r.map(|r| self.layout.irect(Rect { y: r.y - OVERSHOOT, h: r.h + 2.0 * OVERSHOOT, ..r }));
        let origin = at.map(f32::round);
        let run = GlyphRun { glyphs: line.glyphs.clone(), origin, color, ink: line.ink };
        self.push(Shape::Glyphs(run), clip);
    }

    // Pictures.

    /// A built-in symbol at its box's size. False: there is none of that name.
    pub fn symbol(&mut self, r: Rect, name: &str, vars: &[(&str, Color)]) -> bool {
        let rect = self.layout.rect(r);
        let Some(image) = self.raster.pictures.symbol(name, rect.w as u32, rect.h as u32, vars) else {
            return false;
        };
        self.image(Image { rect, image, uv: [0.0, 0.0, 1.0, 1.0], radius: 0.0, nearest: false, opacity: 255 });
        true
    }

    /// An icon in one colour on a panel.
    pub fn icon(&mut self, r: Rect, name: &str, color: Color) -> bool {
        let panel = self.theme.color.panel;
        self.symbol(r, name, &[("c", color), ("l", panel), ("k", panel)])
    }

    /// A symbol or a picture of the bank, as large as fits into `r` with its proportions. False: not there.
    pub fn picture(&mut self, r: Rect, picture: &PictureRef, vars: &[(&str, Color)], nearest: bool) -> bool {
        if let Some(name) = picture.0.strip_prefix("symbol:") {
            return self.symbol(r, name, vars);
        }
        let Some((image, w, h)) = self.raster.pictures.picture(&picture.0) else {
            return false;
        };
        let rect = self.layout.rect(r);
        let (w, h) = (w.max(1) as f32, h.max(1) as f32);
        let fit = (rect.w / w).min(rect.h / h);
        // Pixel art keeps square pixels: whole steps only, where it is smaller than its place.
        let step = if nearest && fit >= 1.0 { fit.floor() } else { fit };
        let (w, h) = ((w * step).round(), (h * step).round());
        let rect = Rect::new(rect.x + ((rect.w - w) / 2.0).floor(), rect.y + ((rect.h - h) / 2.0).floor(), w, h);
        self.image(Image { rect, image, uv: [0.0, 0.0, 1.0, 1.0], radius: 0.0, nearest, opacity: 255 });
        true
    }

    /// A picture of the bank that fills `r`, its longer side cut. False: not there, or a symbol.
    pub fn cover(&mut self, r: Rect, picture: &PictureRef, radius: f32) -> bool {
        let Some((image, w, h)) = self.raster.pictures.picture(&picture.0) else {
            return false;
        };
        let rect = self.layout.rect(r);
        let (w, h) = (w.max(1) as f32, h.max(1) as f32);
        let (pw, ph) = ((rect.w / rect.h * h / w).min(1.0), (rect.h / rect.w * w / h).min(1.0));
        let uv = [(1.0 - pw) / 2.0, (1.0 - ph) / 2.0, pw, ph];
        self.image(Image { rect, image, uv, radius: radius * self.layout.scale(), nearest: false, opacity: 255 });
        true
    }

    fn image(&mut self, mut image: Image) {
        image.opacity = (f32::from(image.opacity) * self.opacity).round() as u8;
        self.push(Shape::Image(image), None);
    }

    // Parts that many widgets share.

    /// A seat's colours; seats count from 0.
    pub fn seat(&self, seat: u8) -> &'a SeatColors {
        self.theme.seat(seat)
    }

    /// The seat's shape with its letter: colour is never the only cue.
    pub fn seat_glyph(&mut self, x: f32, y: f32, size: f32, seat: u8) {
        let fill = self.seat(seat).fill;
        let on = self.theme.color.on_side;
        let u = size / 36.0;
        let at = |p: &[[f32; 2]]| p.iter().map(|[a, b]| [x + a * u, y + b * u]).collect::<Vec<_>>();
        // (font size, vertical shift of the letter), both at 36 px.
        let (font, shift) = match seat % 8 {
            4 => (21.0, 4.0),
            5 => (21.0, -3.0),
            _ => (25.0, 0.0),
        };
        match seat % 8 {
            0 => self.round(Rect::new(x + u, y + u, 34.0 * u, 34.0 * u), fill, 5.0 * u),
            1 => self.circle(x + 18.0 * u, y + 18.0 * u, 18.0 * u, fill),
            2 => self.poly(&at(&[[18.0, -1.0], [37.0, 18.0], [18.0, 37.0], [-1.0, 18.0]]), fill),
            3 => {
                let hexagon = [[9.0, 1.0], [27.0, 1.0], [36.0, 18.0], [27.0, 35.0], [9.0, 35.0], [0.0, 18.0]];
                self.poly(&at(&hexagon), fill);
            }
            4 => self.poly(&at(&[[18.0, -2.0], [38.0, 35.0], [-2.0, 35.0]]), fill),
            5 => self.poly(&at(&[[-2.0, 1.0], [38.0, 1.0], [18.0, 38.0]]), fill),
            6 => {
                self.fill(Rect::new(x + 8.0 * u, y - u, 20.0 * u, 9.0 * u), fill);
                self.fill(Rect::new(x - u, y + 8.0 * u, 38.0 * u, 20.0 * u), fill);
                self.fill(Rect::new(x + 8.0 * u, y + 28.0 * u, 20.0 * u, 9.0 * u), fill);
            }
            _ => self.poly(&at(&[[18.0, -2.0], [37.0, 13.0], [30.0, 36.0], [6.0, 36.0], [-1.0, 13.0]]), fill),
        }
        let letter = seat_letter(seat);
        let style = self.theme.style.num.sized(font * u);
        let room = Rect::new(x - 6.0 * u, y + shift * u, 48.0 * u, 36.0 * u);
        self.text(room, letter.encode_utf8(&mut [0; 4]), style, on, Align::Center);
    }

    /// A square picture of an agent, or the first letter of its name.
    pub fn avatar(&mut self, r: Rect, seat: u8, avatar: Option<&PictureRef>, name: &str, radius: f32) {
        let (tint, fill, stage) = (self.seat(seat).tint, self.seat(seat).fill, self.seat(seat).stage);
        self.round(r, tint, radius);
        let vars = [("c", fill), ("l", self.theme.color.hi), ("k", stage)];
        let drawn = avatar.is_some_and(|a| match a.0.strip_prefix("symbol:") {
            Some(symbol) => self.symbol(r, symbol, &vars),
            None => self.cover(r, a, radius),
        });
        if !drawn {
            let name = tidy(name);
            let first = unicode_segmentation::UnicodeSegmentation::graphemes(&*name, true).next().unwrap_or_default();
            let style = self.theme.style.score.sized((r.h * 0.66).max(24.0));
            self.text(r, first, style, fill, Align::Center);
        }
    }

    /// A 36 px high tag with its right edge at `right`. Returns its left edge.
    pub fn chip(&mut self, right: f32, y: f32, look: &ChipLook) -> f32 {
        let s = self.theme.radius.s;
        let tag = self.theme.style.tag;
        let text = self.measure(look.text, tag).ceil();
        let dot = if look.dot { 21.0 } else { 0.0 };
        let w = ((text + dot + 24.0) / 3.0).ceil() * 3.0;
        let r = Rect::new(right - w, y, w, 36.0);
        self.quad(r, look.fill, [s; 4], look.border.map(|c| (3.0, c)), false);
        let left = r.x + (w - text - dot) / 2.0;
        if look.dot {
            self.faded(look.dot_opacity, |p| p.circle(left + 6.0, y + 18.0, 6.0, look.on));
        }
        self.text(Rect::new(left + dot, y, text + 3.0, 36.0), look.text, tag, look.on, Align::Left);
        r.x
    }
}

/// How a chip looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChipLook<'a> {
    pub text: &'a str,
    pub fill: Color,
    pub on: Color,
    pub border: Option<Color>,
    pub dot: bool,
    /// 0 to 1, the pulse.
    pub dot_opacity: f32,
}

/// The names that would turn a sentence's direction round, for [`Painter::sentence`].
pub(super) fn right_to_left<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let rtl = |c| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
    let mut found: Vec<String> = names.filter(|n| n.contains(rtl)).map(clean).filter(|n| !n.is_empty()).collect();
    found.sort_by_key(|n| std::cmp::Reverse(n.len()));
    found.dedup();
    found
}

/// Text from strangers as it may be drawn. Plain Latin, nearly everything, is taken as it is.
pub fn tidy(text: &str) -> Cow<'_, str> {
    // None of these is changed by cleaning: printable ASCII, composed Latin letters, dashes, quotes, bullets, minus.
    let plain =
        |c| matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{17f}' | '\u{2010}'..='\u{2027}' | '\u{2212}');
    let spaced = text.contains("  ") || text.starts_with(' ') || text.ends_with(' ');
    if !spaced && text.chars().all(plain) { Cow::Borrowed(text) } else { Cow::Owned(clean(text)) }
}

/// The same for texts of several lines.
pub fn tidy_lines(text: &str) -> Cow<'_, str> {
    if text.contains('\n') { Cow::Owned(clean_lines(text)) } else { tidy(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tidy_takes_as_it_is_would_not_change_by_cleaning() {
        for c in ('\u{20}'..='\u{2fff}').filter(|c| *c != ' ') {
            let text = format!("a{c}b");
            if let Cow::Borrowed(kept) = tidy(&text) {
                assert_eq!(clean(kept), text, "{:x}", u32::from(c));
            }
        }
    }

    #[test]
    fn right_to_left_name_in_a_sentence_is_isolated_and_alone_is_not() {
        let set = crate::raster::FontSet::embedded();
        let mut raster = Raster { text: crate::raster::Typesetter::new(set), pictures: Default::default() };
        let names = right_to_left(["Hippo", "\u{62b}\u{639}\u{628}\u{627}\u{646}"].into_iter());
        let theme = Theme::default();
        let layout = Layout::new(crate::draw::Size::HD).expect("a size with a layout");
        let p = Painter::new(&theme, layout, &mut raster, names.clone());
        let name = &names[0];
        assert_eq!(p.sentence(&format!("{name} lost to Hippo")), format!("\u{2068}{name}\u{2069} lost to Hippo"));
        assert_eq!(p.sentence(name), name.as_str());
        assert_eq!(p.sentence("Hippo eats"), "Hippo eats");
    }
}
