//! `over`: who won, the score, and the match in figures.

use super::Player;
use crate::draw::Rect;
use crate::game::{MatchResult, Side, SideId, Snapshot};
use crate::overlay::numbers;
use crate::overlay::painter::{Align, Edge, Painter};
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
    winner(p, board, &result);
    if board.sides.len() == 2 {
        figures(p, board);
        standings(p, board, &result, NEXT, "Final score");
    } else {
        standings(p, board, &result, Rect::new(STATS.x, STATS.y, NEXT.right() - STATS.x, STATS.h), "Final standing");
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
    if let Some(side) = single {
        let line = [side.agent.as_str(), side.author.as_str()].into_iter().filter(|s| !s.is_empty());
        let line = line.collect::<Vec<_>>().join(" · ");
        p.text(Rect::new(720.0, 351.0, 720.0, 45.0), &line, caption, mid, Align::Left);
    }
    let ink = single.map_or(mid, |s| p.seat(s.seat).fill);
    p.text(Rect::new(720.0, 408.0, 1068.0, 45.0), &result.reason, title, ink, Align::Left);

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
    let (names, num, tag, body) = (style.names, style.num, style.tag, style.body);
    let (hi, mid) = (p.theme.color.hi, p.theme.color.mid);
    p.seat_glyph(132.0, 537.0, 36.0, a.seat);
    p.text(Rect::new(183.0, 534.0, 420.0, 42.0), &a.name, names, hi, Align::Left);
    p.seat_glyph(1158.0, 537.0, 36.0, b.seat);
    p.text(Rect::new(660.0, 534.0, 483.0, 42.0), &b.name, names, hi, Align::Right);
    let rows: Vec<_> = a.counters.iter().filter_map(|x| Some((x, b.counters.iter().find(|y| y.id == x.id)?))).collect();
    if rows.is_empty() {
        let label = if board.phase.turn_label.is_empty() { "Turn" } else { &board.phase.turn_label };
        let words = format!("{label} {}", board.phase.turn);
        p.text(Rect::new(132.0, 597.0, 1062.0, 312.0), &words, body, mid, Align::Center);
    }
    for (k, (x, y)) in rows.into_iter().take(5).enumerate() {
        let top = 597.0 + 69.0 * k as f32;
        p.text(Rect::new(132.0, top, 210.0, 42.0), &numbers::with_unit(x.value, &x.unit), num, hi, Align::Left);
        p.text(Rect::new(984.0, top, 210.0, 42.0), &numbers::with_unit(y.value, &y.unit), num, hi, Align::Right);
        p.text(Rect::new(363.0, top, 600.0, 36.0), &x.label, tag, mid, Align::Center);
        let sum = x.value.max(0.0) + y.value.max(0.0);
        let share = if sum > 0.0 { (x.value.max(0.0) / sum) as f32 } else { 0.5 };
        let split = (600.0 * share / 3.0).round() * 3.0;
        let (fa, fb) = (p.seat(a.seat).fill, p.seat(b.seat).fill);
        p.round(Rect::new(363.0, top + 36.0, (split - 3.0).max(0.0), 15.0), fa, 3.0);
        p.round(Rect::new(363.0 + split + 3.0, top + 36.0, (597.0 - split).max(0.0), 15.0), fb, 3.0);
    }
}

/// Everybody with the score, best first.
fn standings(p: &mut Painter, board: &Snapshot, result: &MatchResult, r: Rect, heading: &str) {
    p.panel(r, Edge::None);
    let style = &p.theme.style;
    let (label, names, num, small) = (style.label, style.names, style.num, style.small);
    let (hi, mid, lo, s) = (p.theme.color.hi, p.theme.color.mid, p.theme.color.lo, p.theme.radius.s);
    p.text(Rect::new(r.x + 30.0, r.y + 21.0, r.w - 60.0, 42.0), heading, label, mid, Align::Left);
    let mut sides: Vec<(&SideId, &Side)> = board.sides.iter().collect();
    sides.sort_by(|(a, x), (b, y)| {
        let rank = |id: &SideId, side: &Side| (!result.winners.contains(id), -score(result, id, side).unwrap_or(0.0));
        let ((wa, sa), (wb, sb)) = (rank(a, x), rank(b, y));
        wa.cmp(&wb).then(sa.total_cmp(&sb)).then(x.seat.cmp(&y.seat))
    });
    let columns = if sides.len() > 4 { 2 } else { 1 };
    let rows = sides.len().div_ceil(columns).max(1);
    let pitch = (360.0 / rows as f32).min(if columns == 1 && r.w < 600.0 { 108.0 } else { 90.0 });
    let width = (r.w - 60.0 - 48.0 * (columns as f32 - 1.0)) / columns as f32;
    for (i, (id, side)) in sides.iter().enumerate() {
        let x = r.x + 30.0 + (width + 48.0) * (i / rows) as f32;
        let y = (r.y + 72.0 + pitch * (i % rows) as f32).round();
        let won = result.winners.contains(id);
        let size = 66.0;
        p.avatar(Rect::new(x, y, size, size), side.seat, side.avatar.as_ref(), &side.name, s);
        p.seat_glyph(x + 84.0, y + 16.0, 33.0, side.seat);
        let ink = if won || result.winners.is_empty() { hi } else { mid };
        let text_x = x + 132.0;
        let text_w = width - 132.0 - 150.0;
        let reason = result.sides.get(*id).map_or("", |r| r.reason.as_str());
        let reason = if reason.is_empty() { &side.status_text } else { reason };
        if reason.is_empty() {
            p.fitted(Rect::new(text_x, y, text_w, size), &side.name, &[names], ink, Align::Left, &side.lang);
        } else {
            p.fitted(Rect::new(text_x, y - 3.0, text_w, 39.0), &side.name, &[names], ink, Align::Left, &side.lang);
            p.text(Rect::new(text_x, y + 36.0, text_w, 33.0), reason, small, lo, Align::Left);
        }
        if let Some(value) = score(result, id, side) {
            p.text(Rect::new(x + width - 144.0, y, 144.0, size), &numbers::grouped(value), num, ink, Align::Right);
        }
    }
}
