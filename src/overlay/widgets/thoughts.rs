//! What an agent says it thinks.

use super::chip::chip;
use crate::draw::Rect;
use crate::overlay::numbers::with_unit;
use crate::overlay::painter::{Align, Edge, Painter, tidy_lines};
use crate::overlay::player::Player;
use crate::overlay::presentation::{Moment, newest_sentence, sentence_starts};
use crate::overlay::theme::Style;
use crate::raster::{Line, ParagraphLine};
use std::borrow::Cow;
use std::sync::Arc;

/// Text is wrapped in pieces that end with a sentence after this many bytes, so that appending a word shapes little.
const PIECE: usize = 400;

/// Panel, glyph and rule of a side's thoughts.
pub fn base(p: &mut Painter, r: Rect, player: &Player, foot: bool) {
    let (fill, c) = (p.seat(player.seat).fill, &p.theme.color);
    p.panel(r, Edge::Top(fill));
    p.seat_glyph(r.x + 24.0, r.y + 24.0, 36.0, player.seat);
    if foot {
        p.fill(Rect::new(r.x + 24.0, r.bottom() - 99.0, r.w - 48.0, 3.0), c.line);
    }
}

/// Where the text is.
pub fn text_rect(r: Rect, foot: bool) -> Rect {
    Rect::new(r.x + 24.0, r.y + 78.0, r.w - 48.0, r.h - 78.0 - if foot { 108.0 } else { 21.0 })
}

/// Role, chip, text and counters.
pub fn live(p: &mut Painter, m: Moment, r: Rect, player: &Player, foot: bool) {
    let right = match m.chip(&player.id) {
        Some(status) => chip(p, m, r.right() - 24.0, r.y + 24.0, status) - 12.0,
        None => r.right() - 24.0,
    };
    // The chip says more than the role: in a narrow panel the role gives way.
    let role = if player.role.is_empty() || player.role == player.name { "Plan" } else { &player.role };
    let (head, label) = (Rect::new(r.x + 72.0, r.y + 24.0, right - r.x - 72.0, 36.0), p.theme.style.label);
    let fits = p.measure(role, label) <= head.w;
    if fits || head.w >= 120.0 {
        p.text(head, role, label, p.theme.color.mid, Align::Left);
    }
    let style = p.theme.style.thought;
    text(p, m, text_rect(r, foot), player, style, 0);
    if foot {
        counters(p, m, r, player);
    }
}

/// Up to three counters; the rule above them is in the base.
fn counters(p: &mut Painter, m: Moment, r: Rect, player: &Player) {
    let Some(side) = m.state().board.sides.get(&player.id) else { return };
    let (c, style) = (&p.theme.color, &p.theme.style);
    let (num, tag) = (style.num, style.tag.weight(600));
    let mut shown: Vec<_> = side.counters.iter().take(3).collect();
    // Little room: two of three, when a label does not fit.
    let third = (r.w - 48.0) / 3.0;
    if shown.len() == 3 && shown.iter().any(|counter| p.measure(&counter.label, tag) > third - 6.0) {
        shown.pop();
    }
    let n = shown.len();
    let w = (r.w - 48.0) / n.max(1) as f32;
    for (k, counter) in shown.into_iter().enumerate() {
        let align = match k {
            0 => Align::Left,
            _ if k + 1 == n => Align::Right,
            _ => Align::Center,
        };
        let x = r.x + 24.0 + w * k as f32;
        p.text(Rect::new(x, r.bottom() - 84.0, w, 36.0), &with_unit(counter.value, &counter.unit), num, c.hi, align);
        p.text(Rect::new(x, r.bottom() - 48.0, w, 30.0), &counter.label, tag, c.lo, align);
    }
}

/// The text itself with its caret, newest sentence brighter; `most` lines at most (0: what fits).
pub fn text(p: &mut Painter, m: Moment, r: Rect, player: &Player, style: Style, most: usize) {
    let c = &p.theme.color;
    let thought = m.state().thoughts.get(&player.id);
    let (Some(thought), Some(reading)) = (thought, m.reading(&player.id)) else {
        silent(p, m, r, player, style);
        return;
    };
    if thought.text.trim().is_empty() && thought.done {
        silent(p, m, r, player, style);
        return;
    }
    let scale = p.layout.scale();
    let at = style.at(scale, p.layout.min_text());
    let line_h = at.line;
    let room = ((p.layout.px(r.h) / line_h) + 0.05).floor().max(1.0) as usize;
    let room = if most > 0 { room.min(most) } else { room };

    let shown = &thought.text[reading.start..reading.end.max(reading.start)];
    let front = if reading.start > 0 { "… " } else { "" };
    let lines = wrapped(p, front, shown, style, r.w, room, &player.lang);

    let px = p.layout.rect(r);
    let mut end = [px.x, px.y + (line_h + at.cap_height()) / 2.0];
    for (i, (line, dim)) in lines.iter().enumerate() {
        let y = px.y + i as f32 * line_h;
        let baseline = (y + (line_h + at.cap_height()) / 2.0).round();
        let x = if line.rtl { px.right() - line.width.ceil() } else { px.x };
        let row = Rect::new(r.x, y / scale, r.w, line_h / scale);
        match dim {
            Dim::All => p.line(line, [x, baseline], c.lo, Some(row)),
            Dim::None => p.line(line, [x, baseline], c.hi, Some(row)),
            Dim::Until(cluster) => {
                let (old, new) = split(line, *cluster);
                p.line(&old, [x, baseline], c.lo, Some(row));
                p.line(&new, [x, baseline], c.hi, Some(row));
            }
        }
        end = [if line.rtl { x } else { x + line.width }, baseline];
    }
    if reading.streaming && m.caret() {
        let fill = p.seat(player.seat).fill;
        let size = style.size / 27.0;
        let (w, h) = (15.0 * size, 27.0 * size);
        let rtl = lines.last().is_some_and(|l| l.0.rtl);
        let x = if rtl { end[0] / scale - 6.0 - w } else { end[0] / scale + 6.0 };
        // Glued to the last word: at a full line's end it stays inside.
        let x = x.clamp(r.x, r.right() - w);
        p.fill(Rect::new(x, end[1] / scale - h * 0.85, w, h), fill);
    }
}

/// Nothing was said: say so.
fn silent(p: &mut Painter, m: Moment, r: Rect, player: &Player, style: Style) {
    let lo = p.theme.color.lo;
    let row = Rect { h: style.line, ..r };
    // What it did, when it gave a reason for that.
    let action = m.state().actions.get(&player.id);
    match action.map(|a| a.reason.trim()).filter(|r| !r.is_empty()) {
        Some(reason) => p.block(r, reason, style, lo, Align::Left),
        None => {
            p.text(row, "Thinks without words", style, lo, Align::Left);
        }
    }
}

enum Dim {
    All,
    None,
    /// Glyphs of clusters before this byte.
    Until(u32),
}

/// The last `room` lines of `front` and `shown`, and which part of them is old.
fn wrapped(
    p: &mut Painter,
    front: &str,
    shown: &str,
    style: Style,
    width: f32,
    room: usize,
    lang: &str,
) -> Vec<(Arc<Line>, Dim)> {
    let newest = newest_sentence(shown);
    let mut pieces = Vec::new();
    let mut begin = 0;
    for start in sentence_starts(shown) {
        if start - begin >= PIECE {
            pieces.push(begin..start);
            begin = start;
        }
    }
    pieces.push(begin..shown.len());
    let mut lines: Vec<(Arc<Line>, Dim)> = Vec::new();
    for piece in pieces.into_iter().rev() {
        if lines.len() >= room {
            break;
        }
        let front = if piece.start == 0 { front } else { "" };
        let text = format!("{front}{}", plain(&shown[piece.clone()]));
        // Where the newest sentence begins in the text as it is set.
        let border = if newest <= piece.start {
            0
        } else if newest >= piece.end {
            usize::MAX
        } else {
            tidy_lines(&format!("{front}{}", plain(&shown[piece.start..newest]))).len()
        };
        let paragraph = p.wrap(&text, style, width, lang);
        let dim = |l: &ParagraphLine| {
            if border <= l.range.start {
                Dim::None
            } else if border >= l.range.end {
                Dim::All
            } else {
                Dim::Until(border as u32)
            }
        };
        let mut part: Vec<_> = paragraph.lines.iter().map(|l| (l.line.clone(), dim(l))).collect();
        part.append(&mut lines);
        lines = part;
    }
    let over = lines.len().saturating_sub(room);
    lines.drain(..over);
    lines
}

/// A line in two: glyphs of clusters before `cluster`, and the others.
fn split(line: &Line, cluster: u32) -> (Line, Line) {
    let pick = |old: bool| {
        let keep: Vec<usize> = (0..line.glyphs.len()).filter(|i| (line.clusters[*i] < cluster) == old).collect();
        Line {
            glyphs: keep.iter().map(|i| line.glyphs[*i]).collect(),
            clusters: keep.iter().map(|i| line.clusters[*i]).collect(),
            ..line.clone()
        }
    };
    (pick(true), pick(false))
}

/// Markdown as plain text: emphasis, code marks, headings and list marks go, links become their text.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(['*', '`', '#', '[', '>', '_', '|', '~']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut line_start = true;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if line_start && let Some(mark) = line_mark(rest) {
            rest = &rest[mark..];
            line_start = false;
            continue;
        }
        line_start = c == '\n';
        match c {
            '`' => {}
            '*' | '~' if rest.starts_with("**") || rest.starts_with("~~") => rest = &rest[1..],
            // A single star or underline beside a letter is emphasis; between spaces it is a sign.
            '*' | '_' if emphasis(&out, &rest[1..]) => {}
            '!' if rest.starts_with("![") => {}
            '[' => match link(rest) {
                Some((label, length)) => {
                    out.push_str(label);
                    rest = &rest[length..];
                    continue;
                }
                None => out.push('['),
            },
            '|' => out.push(' '),
            _ => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

/// Length of a heading's, quote's or list's mark.
fn line_mark(line: &str) -> Option<usize> {
    let hashes = line.len() - line.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && line[hashes..].starts_with(' ') {
        return Some(hashes + 1);
    }
    ["> ", "* "].iter().find(|m| line.starts_with(**m)).map(|m| m.len())
}

/// Whether a mark between these texts stands at a word's border.
fn emphasis(before: &str, after: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (left, right) = (before.chars().next_back(), after.chars().next());
    (word(left) || left.is_some_and(|c| c.is_ascii_punctuation())) != word(right) || (left.is_none() && word(right))
}

/// `[label](url)` at the beginning of `text`: the label and the whole length.
fn link(text: &str) -> Option<(&str, usize)> {
    let close = text.find(']')?;
    let rest = text[close + 1..].strip_prefix('(')?;
    let end = rest.find(')')?;
    let label = &text[1..close];
    (!label.contains('\n') && !rest[..end].contains(char::is_whitespace)).then_some((label, close + 2 + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_plain_text() {
        assert_eq!(plain("**Nd5!** attacks `e7` and *f6*"), "Nd5! attacks e7 and f6");
        assert_eq!(plain("## Plan\nsee [the book](https://x.y/z)."), "Plan\nsee the book.");
        assert_eq!(plain("2 * 3 = 6, a_b, 5 > 3, [x]"), "2 * 3 = 6, a_b, 5 > 3, [x]");
        assert_eq!(plain("nothing here"), "nothing here");
    }
}
