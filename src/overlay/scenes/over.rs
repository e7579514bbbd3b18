//! `over`: who won, the score, and the match in figures.

use crate::draw::Rect;
use crate::game::{Counter, MatchResult, Side, SideId, Snapshot};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::Moment;
use crate::overlay::theme::Style;
use crate::overlay::widgets::stage;

const WINNER: Rect = Rect::new(96.0, 120.0, 1728.0, 366.0);
const STATS: Rect = Rect::new(96.0, 510.0, 1134.0, 444.0);
const NEXT: Rect = Rect::new(1254.0, 510.0, 570.0, 444.0);

/// The base is the stage alone: nothing in this scene moves, so nothing has to be restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Seat whose colour fills the stage.
    winner: Option<u8>,
}

impl Page {
    pub fn new(m: Moment, _players: Vec<Player>) -> Page {
        let board = &m.state().board;
        let winner = match board.result.as_ref().map(|r| r.winners.as_slice()) {
            Some([id]) => board.sides.get(id).map(|s| s.seat),
            _ => None,
        };
        Page { winner }
    }

    pub fn base(&self, p: &mut Painter) {
        match self.winner {
            Some(seat) => stage::versus(p, seat, seat),
            None => stage::slabs(p),
        }
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        content(p, m);
    }
}

fn content(p: &mut Painter, m: Moment) {
    let board = &m.state().board;
    let result = board.result.clone().unwrap_or_default();
    p.mark("winner", WINNER);
    winner(p, board, &result);
    if board.sides.len() == 2 {
        p.mark("stats", STATS);
        p.mark("next", NEXT);
        figures(p, board);
        score_panel(p, board, &result);
    } else {
        standings(p, board, &result);
    }
}

fn winner(p: &mut Painter, board: &Snapshot, result: &MatchResult) {
    let style = &p.theme.style;
    let (hero, label, caption, title, score) = (
        style.hero.sized(132.0),
        style.label,
        style.caption.sized(33.0),
        style.title.sized(36.0),
        style.hero.sized(192.0),
    );
    let ladder = [hero, style.xl, style.namel];
    let (hi, mid, m) = (p.theme.color.hi, p.theme.color.mid, p.theme.radius.m);
    p.quad(WINNER, p.theme.color.panel, [0.0, 0.0, m, m], None, true);
    let single = match result.winners.as_slice() {
        [id] => board.sides.get(id),
        _ => None,
    };
    let (fill, seat) = single.map_or((p.theme.color.line, None), |s| (p.seat(s.seat).fill, Some(s.seat)));
    let slant = |x0: f32, x1: f32| {
        let (x, y) = (WINNER.x, WINNER.y);
        [[x + x0, y], [x + x1, y], [x + x1 - 110.0, y + 366.0], [x + x0 - 110.0, y + 366.0]]
    };
    let mut field = slant(0.0, 552.0);
    field[3][0] = WINNER.x;
    p.poly(&field, fill);
    p.poly(&slant(576.0, 600.0), fill);
    let face = Rect::new(WINNER.x + 84.0, WINNER.y + 63.0, 240.0, 240.0);
    match (single, seat) {
        (Some(side), Some(seat)) => p.avatar(face, seat, side.avatar.as_ref(), &side.name, m),
        _ => pair(p, board, result, face),
    }

    let (chip, name) = match (single, result.aborted, result.winners.len()) {
        (Some(side), ..) => ("Winner", side.name.clone()),
        (None, true, _) => ("No result", "Match stopped".to_owned()),
        (None, _, 0) => ("Result", "Draw".to_owned()),
        (None, _, _) => ("Winners", joined(board, &result.winners)),
    };
    let (accent, on) = (p.theme.color.accent, p.theme.color.on_accent);
    let s = p.theme.radius.s;
    let chip_style = label.sized(30.0);
    let w = ((p.measure(chip, chip_style) + 48.0) / 3.0).ceil() * 3.0;
    let r = Rect::new(720.0, 162.0, w.max(180.0), 48.0);
    p.round(r, accent, s);
    p.text(r, chip, chip_style, on, Align::Center);
    let numbers = score_text(board, result);
    let right = if numbers.is_some() { 1440.0 } else { 1788.0 };
    let lang = single.map_or("", |s| s.lang.as_str());
    p.fitted(Rect::new(717.0, 213.0, right - 717.0, 138.0), &name, &ladder, hi, Align::Left, lang);
    let mut y = 351.0;
    if let Some(side) = single {
        let author = if side.author.is_empty() { String::new() } else { format!("@{}", side.author) };
        let line = [side.agent.as_str(), author.as_str()].into_iter().filter(|s| !s.is_empty());
        let line = line.collect::<Vec<_>>().join(" · ");
        p.text(Rect::new(720.0, y, 720.0, 45.0), &line, caption, mid, Align::Left);
        y += if line.is_empty() { 15.0 } else { 57.0 };
    } else {
        y += 15.0;
    }
    let ink = single.map_or(mid, |s| p.seat(s.seat).fill);
    let room = if numbers.is_some() { 720.0 } else { 1068.0 };
    // Two lines where the reason needs them and there is room.
    let lines = if y < 400.0 { 90.0 } else { 45.0 };
    let line = title.sized(36.0);
    if p.measure(&result.reason, line) <= room || lines < 90.0 {
        p.text(Rect::new(720.0, y, room, 45.0), &result.reason, line, ink, Align::Left);
    } else {
        p.block(Rect::new(720.0, y, room, lines), &result.reason, line, ink, Align::Left);
    }

    if let Some(numbers) = numbers {
        let styles = [score, score.sized(120.0), score.sized(84.0), score.sized(60.0)];
        p.fitted(Rect::new(1458.0, 168.0, 330.0, 180.0), &numbers, &styles, hi, Align::Center, "");
        series(p, board, label);
    }
}

/// Both faces of a draw.
fn pair(p: &mut Painter, board: &Snapshot, result: &MatchResult, r: Rect) {
    let mut sides: Vec<&Side> = match result.winners.is_empty() {
        true => board.sides.values().collect(),
        false => result.winners.iter().filter_map(|id| board.sides.get(id)).collect(),
    };
    sides.sort_by_key(|s| s.seat);
    let s = p.theme.radius.s;
    let size = 114.0;
    for (i, side) in sides.iter().take(4).enumerate() {
        let at = Rect::new(r.x + 126.0 * (i % 2) as f32, r.y + 126.0 * (i / 2) as f32, size, size);
        let at = if sides.len() <= 2 { Rect { y: r.y + 63.0, ..at } } else { at };
        p.avatar(at, side.seat, side.avatar.as_ref(), &side.name, s);
    }
}

fn joined(board: &Snapshot, ids: &[SideId]) -> String {
    let names: Vec<&str> = ids.iter().filter_map(|id| board.sides.get(id)).map(|s| s.name.as_str()).collect();
    names.join(" · ")
}

/// `4–1` for two sides with scores.
fn score_text(board: &Snapshot, result: &MatchResult) -> Option<String> {
    let mut sides: Vec<(&SideId, &Side)> = board.sides.iter().collect();
    if sides.len() != 2 {
        return None;
    }
    sides.sort_by_key(|(id, side)| (!result.winners.contains(id), side.seat));
    let scores: Option<Vec<String>> =
        sides.iter().map(|(id, side)| score(result, id, side).map(numbers::grouped)).collect();
    scores.map(|s| s.join("–"))
}

fn score(result: &MatchResult, id: &SideId, side: &Side) -> Option<f64> {
    result.sides.get(id).and_then(|r| r.score).or(side.score)
}

fn series(p: &mut Painter, board: &Snapshot, label: Style) {
    let Some(series) = &board.series else { return };
    let mid = p.theme.color.mid;
    if series.best_of > 1 {
        let text = format!("Best of {}", series.best_of);
        p.text(Rect::new(1458.0, 363.0, 330.0, 42.0), &text, label, mid, Align::Center);
    }
    // Nine games and more: the numbers say it.
    let games = series.winners.len();
    if games == 0 || games > 8 || series.best_of > 8 {
        return;
    }
    let step = (330.0 / games as f32).min(51.0);
    let x0 = 1623.0 - step * games as f32 / 2.0;
    for (k, winner) in series.winners.iter().enumerate() {
        let x = (x0 + step * k as f32).round();
        match winner.as_ref().and_then(|id| board.sides.get(id)) {
            Some(side) => p.seat_glyph(x + 3.0, 417.0, step.min(45.0) - 6.0, side.seat),
            None => p.fill(Rect::new(x + 9.0, 432.0, step - 18.0, 6.0), mid),
        }
    }
}

/// The counters of both sides against each other.
fn figures(p: &mut Painter, board: &Snapshot) {
    let mut sides: Vec<&Side> = board.sides.values().collect();
    sides.sort_by_key(|s| s.seat);
    let [a, b] = [sides[0], sides[1]];
    p.panel(STATS, Edge::None);
    let style = &p.theme.style;
    let (names, num, tag) = (style.names, style.num, style.tag);
    let (hi, mid) = (p.theme.color.hi, p.theme.color.mid);
    p.seat_glyph(132.0, 537.0, 36.0, a.seat);
    p.text(Rect::new(183.0, 534.0, 420.0, 42.0), &a.name, names, hi, Align::Left);
    p.seat_glyph(1158.0, 537.0, 36.0, b.seat);
    p.text(Rect::new(660.0, 534.0, 483.0, 42.0), &b.name, names, hi, Align::Right);
    let rows: Vec<_> = a.counters.iter().filter_map(|x| Some((x, b.counters.iter().find(|y| y.id == x.id)?))).collect();
    let n = rows.len().min(5);
    if n == 0 {
        // Nothing to compare: what the match was about.
        let turn = if board.phase.turn_label.is_empty() { "Turn" } else { &board.phase.turn_label };
        let mut lines: Vec<(String, String)> = board.facts.iter().map(|f| (f.label.clone(), f.text.clone())).collect();
        if board.phase.turn > 0 {
            lines.insert(0, (turn.to_owned(), board.phase.turn.to_string()));
        }
        facts(p, &lines, Rect::new(132.0, 600.0, 1062.0, 330.0), 4);
    }
    // Few rows are larger and stand apart.
    let (pitch, large) = if n <= 3 { (111.0, true) } else { (if n == 4 { 84.0 } else { 69.0 }, false) };
    let first = if large { 597.0 + ((345.0 - pitch * n as f32) / 2.0).floor() } else { 597.0 };
    let (figure, h, bar) = if large { (style.numl, 60.0, 24.0) } else { (num, 42.0, 15.0) };
    for (k, (x, y)) in rows.into_iter().take(n).enumerate() {
        let top = first + pitch * k as f32;
        let value = |c: &Counter| numbers::with_unit(c.value, &c.unit);
        let ladder = [figure, num];
        p.fitted(Rect::new(132.0, top, 216.0, h), &value(x), &ladder, hi, Align::Left, "");
        p.fitted(Rect::new(978.0, top, 216.0, h), &value(y), &ladder, hi, Align::Right, "");
        p.text(Rect::new(363.0, top, 600.0, 36.0), &x.label, tag, mid, Align::Center);
        let sum = x.value.max(0.0) + y.value.max(0.0);
        let share = if sum > 0.0 { (x.value.max(0.0) / sum) as f32 } else { 0.5 };
        let split = (600.0 * share / 3.0).round() * 3.0;
        let (fa, fb) = (p.seat(a.seat).fill, p.seat(b.seat).fill);
        p.round(Rect::new(363.0, top + 36.0, (split - 3.0).max(0.0), bar), fa, 3.0);
        p.round(Rect::new(363.0 + split + 3.0, top + 36.0, (597.0 - split).max(0.0), bar), fb, 3.0);
    }
}

/// Labels above texts, in columns of equal width; at most eight.
fn facts(p: &mut Painter, lines: &[(String, String)], r: Rect, columns: usize) {
    let style = &p.theme.style;
    let (lo, hi) = (p.theme.color.lo, p.theme.color.hi);
    let columns = columns.min(lines.len()).max(1);
    let rows = lines.len().min(8).div_ceil(columns).max(1);
    let (w, h) = ((r.w / columns as f32).floor(), (r.h / rows as f32).floor().min(108.0));
    let y0 = r.y + ((r.h - h * rows as f32) / 2.0).floor();
    for (k, (label, text)) in lines.iter().take(8).enumerate() {
        let at = Rect::new(r.x + w * (k % columns) as f32, y0 + h * (k / columns) as f32, w - 24.0, 33.0);
        p.text(at, label, style.tag, lo, Align::Left);
        p.fitted(Rect { y: at.y + 33.0, h: 54.0, ..at }, text, &[style.name, style.names], hi, Align::Left, "");
    }
}

/// Best first: winners, then by score.
fn ranked<'a>(board: &'a Snapshot, result: &MatchResult) -> Vec<(&'a SideId, &'a Side)> {
    let mut sides: Vec<(&SideId, &Side)> = board.sides.iter().collect();
    sides.sort_by(|(a, x), (b, y)| {
        let rank = |id: &SideId, side: &Side| (!result.winners.contains(id), -score(result, id, side).unwrap_or(0.0));
        let ((wa, sa), (wb, sb)) = (rank(a, x), rank(b, y));
        wa.cmp(&wb).then(sa.total_cmp(&sb)).then(x.seat.cmp(&y.seat))
    });
    sides
}

/// Why a side ended as it did, where the headline does not say it already.
fn reason<'a>(result: &'a MatchResult, id: &SideId, side: &'a Side) -> &'a str {
    let own = result.sides.get(id).map_or("", |r| r.reason.trim());
    let own = if own.is_empty() { side.status_text.trim() } else { own };
    let shared = result.sides.iter().any(|(other, r)| other != id && r.reason.trim() == own);
    if shared || result.reason.to_lowercase().contains(&own.to_lowercase()) { "" } else { own }
}

/// Two sides with their scores, below them what the match was about.
fn score_panel(p: &mut Painter, board: &Snapshot, result: &MatchResult) {
    let r = NEXT;
    p.panel(r, Edge::None);
    let (label, mid) = (p.theme.style.label, p.theme.color.mid);
    let scored = board.sides.iter().any(|(id, side)| score(result, id, side).is_some());
    let heading = match (scored, result.aborted) {
        (false, _) => "Players",
        (true, true) => "Score when it stopped",
        (true, false) => "Final score",
    };
    p.text(Rect::new(r.x + 30.0, r.y + 21.0, r.w - 60.0, 42.0), heading, label, mid, Align::Left);
    let lines: Vec<(String, String)> = board.facts.iter().map(|f| (f.label.clone(), f.text.clone())).take(2).collect();
    let compared = board.sides.values().all(|s| !s.counters.is_empty());
    let facts_here = compared && !lines.is_empty();
    let pitch = if facts_here { 99.0 } else { 126.0 };
    let first = r.y + if facts_here { 75.0 } else { 108.0 };
    for (k, (id, side)) in ranked(board, result).into_iter().enumerate() {
        let at = Rect::new(r.x + 30.0, first + pitch * k as f32, r.w - 60.0, 84.0);
        standing(p, result, at, id, side, false);
    }
    if facts_here {
        p.fill(Rect::new(r.x + 30.0, r.y + 282.0, r.w - 60.0, 3.0), p.theme.color.line);
        facts(p, &lines, Rect::new(r.x + 30.0, r.y + 306.0, r.w - 60.0, 108.0), 2);
    }
}

/// Everybody with the score, best first.
fn standings(p: &mut Painter, board: &Snapshot, result: &MatchResult) {
    let r = Rect::new(STATS.x, STATS.y, NEXT.right() - STATS.x, STATS.h);
    p.panel(r, Edge::None);
    let (label, mid) = (p.theme.style.label, p.theme.color.mid);
    let heading = if result.aborted { "Standing when it stopped" } else { "Final standing" };
    p.text(Rect::new(r.x + 30.0, r.y + 18.0, r.w - 60.0, 42.0), heading, label, mid, Align::Left);
    let sides = ranked(board, result);
    let columns = if sides.len() > 4 { 2 } else { 1 };
    let rows = sides.len().div_ceil(columns).max(1);
    let pitch = (366.0 / rows as f32 / 3.0).floor().min(40.0) * 3.0;
    let width = (r.w - 60.0 - 60.0 * (columns as f32 - 1.0)) / columns as f32;
    let first = r.y + 69.0 + ((366.0 - pitch * rows as f32) / 2.0).floor();
    for (i, (id, side)) in sides.into_iter().enumerate() {
        let x = r.x + 30.0 + (width + 60.0) * (i / rows) as f32;
        let at = Rect::new(x, first + pitch * (i % rows) as f32, width, pitch - 12.0);
        standing(p, result, at, id, side, columns == 1);
    }
}

/// A side in a list: face, name, why, in a wide row up to three counters, score.
fn standing(p: &mut Painter, result: &MatchResult, r: Rect, id: &SideId, side: &Side, wide: bool) {
    let style = &p.theme.style;
    let c = &p.theme.color;
    let won = result.winners.contains(id);
    let ink = if won || result.winners.is_empty() { c.hi } else { c.mid };
    let size = r.h.min(84.0);
    let top = r.y + ((r.h - size) / 2.0).floor();
    let name = if side.name.is_empty() { id } else { &side.name };
    p.avatar(Rect::new(r.x, top, size, size), side.seat, side.avatar.as_ref(), name, p.theme.radius.s);
    p.seat_glyph(r.x + size + 18.0, top + ((size - 36.0) / 2.0).floor(), 36.0, side.seat);
    let x = r.x + size + 69.0;
    let mut right = r.right();
    if let Some(value) = score(result, id, side) {
        let text = numbers::grouped(value);
        let w = p.measure(&text, style.numl).ceil() + 1.0;
        p.text(Rect::new(right - w, top, w, size), &text, style.numl, ink, Align::Right);
        right -= w.max(if wide { 96.0 } else { 48.0 }) + 24.0;
    }
    if wide {
        // Columns of equal width, so that rows compare.
        for counter in side.counters.iter().take(3).rev() {
            let at = Rect::new(right - 198.0, top, 198.0, size);
            let value = numbers::with_unit(counter.value, &counter.unit);
            let half = (size / 2.0).floor();
            p.text(Rect { y: top, h: half, ..at }, &value, style.num, ink, Align::Right);
            let label = Rect { y: top + half, h: size - half, ..at };
            p.text(label, &counter.label, style.tag.weight(600), c.lo, Align::Right);
            right -= 222.0;
        }
    }
    let why = reason(result, id, side);
    let ladder = [style.name, style.names];
    let room = Rect::new(x, top, right - x, size);
    if why.is_empty() {
        p.fitted(room, name, &ladder, ink, Align::Left, &side.lang);
    } else {
        let half = top + ((size - 78.0) / 2.0).floor();
        p.fitted(Rect { y: half, h: 45.0, ..room }, name, &ladder, ink, Align::Left, &side.lang);
        p.text(Rect { y: half + 45.0, h: 33.0, ..room }, why, style.small, c.lo, Align::Left);
    }
}
