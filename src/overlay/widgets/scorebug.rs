//! The scorebug of versus scenes: avatars, names, models, clocks, scores and the box in the middle. The right half is
//! the mirror image of the left one.

use crate::draw::Rect;
use crate::game::MatchState;
use crate::overlay::layout::rects::{CLOCK, SCOREBUG};
use crate::overlay::numbers::grouped;
use crate::overlay::painter::{Align, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::{ClockLook, Moment, format_clock};

const Y: f32 = SCOREBUG.y;
const H: f32 = SCOREBUG.h;
/// What is cut from a slanted edge.
const SLANT: f32 = 18.0;
/// A wider number gets a smaller style.
const SCORE_W: f32 = 84.0;

/// Beside the avatar; without a clock as far as the score.
fn words(player: &Player, right: bool, y: f32, h: f32) -> Rect {
    let w = if player.clock { 312.0 } else { 510.0 };
    Rect::new(if right { 1704.0 - w } else { 216.0 }, Y + y, w, h)
}

/// `model · @author`; too long: without the author.
pub fn model_line(p: &mut Painter, r: Rect, player: &Player, align: Align) {
    let (style, mid) = (p.theme.style.small, p.theme.color.mid);
    let author = if player.author.is_empty() { String::new() } else { format!("@{}", player.author) };
    let both = match (player.agent.is_empty(), author.is_empty()) {
        (false, false) => format!("{} · {author}", player.agent),
        (false, true) => player.agent.clone(),
        (true, _) => author,
    };
    let alone = !player.agent.is_empty() && (p.layout.small() || p.measure(&both, style) > r.w);
    p.text(r, if alone { &player.agent } else { &both }, style, mid, align);
}

pub fn base(p: &mut Painter, players: &[Player]) {
    let c = &p.theme.color;
    let style = &p.theme.style;
    p.mark("scorebug", SCOREBUG);
    p.fill(SCOREBUG, c.panel);
    for (player, right) in players.iter().zip([false, true]) {
        let seat = p.seat(player.seat);
        let avatar = Rect::new(if right { 1728.0 } else { 96.0 }, Y, H, H);
        p.avatar(avatar, player.seat, player.avatar.as_ref(), &player.name, 0.0);
        p.fill(Rect::new(if right { 1722.0 } else { 192.0 }, Y, 6.0, H), seat.fill);
        let align = if right { Align::Right } else { Align::Left };
        // Without a model line the name has the middle.
        let alone = player.agent.is_empty() && player.author.is_empty();
        let (y, h) = if alone { (0.0, H) } else { (6.0, 51.0) };
        p.fitted(words(player, right, y, h), &player.name, &[style.name, style.names], c.hi, align, &player.lang);
        model_line(p, words(player, right, 54.0, 36.0), player, align);
    }
    p.poly(&[[864.0, Y], [1056.0, Y], [1074.0, Y + H], [846.0, Y + H]], c.hi);
}

pub fn live(p: &mut Painter, m: Moment, players: &[Player]) {
    for (player, right) in players.iter().zip([false, true]) {
        clock(p, m, player, right);
        score(p, m, player, right);
    }
    let (panel, label) = (p.theme.color.panel, p.theme.style.label);
    let [first, second] = middle(m);
    let one = |y: f32| Rect::new(867.0, Y + y, 186.0, 36.0);
    if second.is_empty() {
        p.text(one(30.0), &first, label.weight(700), panel, Align::Center);
    } else {
        p.text(one(12.0), &first, label.weight(700), panel, Align::Center);
        p.text(one(48.0), &second, label, panel, Align::Center);
    }
}

/// Two lines: game and length of the series, else turn and phase.
fn middle(m: Moment) -> [String; 2] {
    let state: &MatchState = m.state();
    let phase = &state.board.phase;
    let label = if phase.turn_label.is_empty() { "Turn" } else { &phase.turn_label };
    let turn = if phase.turn > 0 { format!("{label} {}", phase.turn) } else { String::new() };
    let name = if phase.name.is_empty() { state.board.game.name.clone() } else { phase.name.clone() };
    let deadline = phase.deadline.and_then(|ts| m.seconds_until(ts)).map(format_clock);
    let mut lines = match &state.board.series {
        Some(series) if series.game > 0 => {
            let length = if series.best_of > 1 { format!("Best of {}", series.best_of) } else { turn };
            vec![format!("Game {}", series.game), length]
        }
        // Without a clock beside the names, the time to move stands here.
        _ => match deadline {
            Some(left) if state.board.sides.values().all(|s| s.clock.is_none()) => vec![turn, left],
            _ => vec![turn, name],
        },
    };
    lines.retain(|l| !l.is_empty());
    let mut lines = lines.into_iter();
    [lines.next().unwrap_or_else(|| "vs".to_owned()), lines.next().unwrap_or_default()]
}

fn clock(p: &mut Painter, m: Moment, player: &Player, right: bool) {
    let r = CLOCK[usize::from(right)];
    let c = &p.theme.color;
    let Some(face) = m.clock(&player.id) else { return };
    p.mark(if right { "clockB" } else { "clockA" }, r);
    let seat = p.seat(player.seat).fill;
    let (fill, on) = match face.look {
        ClockLook::Running => (seat, c.on_side),
        ClockLook::Waiting => (c.inset, c.mid),
        ClockLook::Low => (c.warn, c.on_side),
        ClockLook::Flag => (c.bad, c.on_side),
        ClockLook::Paused => (c.raised, c.mid),
    };
    let (top, bottom) = (Y, Y + H);
    let points = if right {
        [[r.x, top], [r.right(), top], [r.right(), bottom], [r.x + SLANT, bottom]]
    } else {
        [[r.x, top], [r.right(), top], [r.right() - SLANT, bottom], [r.x, bottom]]
    };
    p.poly(&points, fill);
    let mut room = Rect::new(r.x + if right { SLANT } else { 0.0 }, r.y, r.w - SLANT, r.h);
    let mut style = p.theme.style.clock;
    if face.look == ClockLook::Paused {
        // Two bars before the digits.
        for x in [room.x + 15.0, room.x + 30.0] {
            p.fill(Rect::new(x, r.y + 27.0, 9.0, 42.0), on);
        }
        room = Rect::new(room.x + 42.0, room.y, room.w - 48.0, room.h);
        style = style.sized(54.0);
    } else if face.tenths {
        style = p.theme.style.namel;
    }
    // Hours need a smaller size.
    for smaller in [60.0, 48.0, 36.0] {
        if p.measure(&face.pattern, style) > room.w - 6.0 {
            style = style.sized(smaller);
        }
    }
    p.digits(room, &face.text, &face.pattern, style, on);
}

fn score(p: &mut Painter, m: Moment, player: &Player, right: bool) {
    let Some(side) = m.state().board.sides.get(&player.id) else { return };
    let Some(score) = side.score else { return };
    let seat = p.seat(player.seat);
    let flash = m.score_flash(&player.id);
    let (fill, on) = if flash { (seat.fill, p.theme.color.on_side) } else { (seat.tint, seat.fill) };
    let points = if right {
        [[1056.0, Y], [1158.0, Y], [1176.0, Y + H], [1074.0, Y + H]]
    } else {
        [[762.0, Y], [864.0, Y], [846.0, Y + H], [744.0, Y + H]]
    };
    p.poly(&points, fill);
    let room = Rect::new(if right { 1068.0 } else { 756.0 }, Y, 96.0, H);
    let style = &p.theme.style;
    let text = grouped(score);
    // The box is slanted: its text is narrower than the box.
    let fits = [style.score, style.namel, style.name].into_iter().find(|s| p.measure(&text, *s) <= SCORE_W);
    p.text(room, &text, fits.unwrap_or(style.names.sized(30.0)), on, Align::Center);
}
