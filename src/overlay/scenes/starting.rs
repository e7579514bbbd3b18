//! `starting`: the countdown, who plays, and what the match is about.

use crate::draw::Rect;
use crate::game::Fact;
use crate::overlay::painter::{Align, Edge, Painter};
use crate::overlay::player::Player;
use crate::overlay::presentation::Moment;
use crate::overlay::widgets::{scorebug, stage};

const AGENTS: [Rect; 2] = [Rect::new(96.0, 558.0, 798.0, 270.0), Rect::new(1026.0, 558.0, 798.0, 270.0)];
const VERSUS: Rect = Rect::new(870.0, 618.0, 180.0, 144.0);
const BAR: Rect = Rect::new(660.0, 492.0, 600.0, 18.0);
const FACTS: Rect = Rect::new(96.0, 852.0, 1728.0, 96.0);

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    players: Vec<Player>,
    facts: Vec<Fact>,
}

impl Page {
    pub fn new(m: Moment, players: Vec<Player>) -> Page {
        Page { players, facts: m.state().board.facts.clone() }
    }

    /// Everything that stands still: agents and facts.
    pub fn base(&self, p: &mut Painter) {
        match self.players.as_slice() {
            [a, b] => {
                stage::versus(p, a.seat, b.seat);
                p.mark("agentA", AGENTS[0]);
                p.mark("agentB", AGENTS[1]);
                agent(p, AGENTS[0], a, false);
                agent(p, AGENTS[1], b, true);
                versus(p);
            }
            players => {
                stage::slabs(p);
                roster(p, players);
            }
        }
        facts(p, &self.facts);
    }

    pub fn live(&self, p: &mut Painter, m: Moment) {
        countdown_and_bar(p, m);
    }
}

fn versus(p: &mut Painter) {
    let (hi, panel, xl) = (p.theme.color.hi, p.theme.color.panel, p.theme.style.xl);
    let r = VERSUS;
    p.mark("versus", r);
    p.poly(&[[r.x + 24.0, r.y], [r.right(), r.y], [r.right() - 24.0, r.bottom()], [r.x, r.bottom()]], hi);
    p.text(r, "VS", xl, panel, Align::Center);
}

/// The countdown. Without a time there is only the word.
fn countdown_and_bar(p: &mut Painter, m: Moment) {
    let (hi, mid, accent, raised) = (p.theme.color.hi, p.theme.color.mid, p.theme.color.accent, p.theme.color.raised);
    let label = p.theme.style.label.sized(36.0);
    let count = p.theme.style.count.sized(324.0);
    let starts_at = m.state().board.starts_at;
    let remaining = starts_at.and_then(|ts| m.seconds_until(ts));
    let heading = Rect::new(96.0, 150.0, 1728.0, 48.0);
    let (Some(remaining), Some(starts_at)) = (remaining, starts_at) else {
        let hero = p.theme.style.hero;
        p.text(Rect::new(96.0, 192.0, 1728.0, 276.0), "Starting", hero, hi, Align::Center);
        return;
    };
    p.text(heading, "First move in", label, mid, Align::Center);
    let text = countdown(remaining);
    let pattern: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    p.digits(Rect::new(480.0, 192.0, 960.0, 276.0), &text, &pattern, count, hi);
    // The bar empties over the countdown that was announced, or over the last minute of a longer one.
    let s = p.theme.radius.s;
    p.mark("countbar", BAR);
    p.round(BAR, raised, s);
    let whole = starts_at.saturating_sub(m.state().ts).clamp(1_000, 60_000) as f32;
    let left = (starts_at - m.sender_time()) as f32;
    let share = (left / whole).clamp(0.0, 1.0);
    // Whole steps of 3 px: one redraw a step, not one a frame.
    let width = (BAR.w * share / 3.0).ceil() * 3.0;
    p.round(Rect { w: width.max(6.0), ..BAR }, accent, s);
}

fn agent(p: &mut Painter, r: Rect, side: &Player, right: bool) {
    let fill = p.seat(side.seat).fill;
    let (hi, m) = (p.theme.color.hi, p.theme.radius.m);
    p.panel(r, Edge::None);
    p.fill(Rect { h: 9.0, ..r }, fill);
    let a = 192.0;
    let ax = if right { r.right() - 36.0 - a } else { r.x + 36.0 };
    let face = Rect::new(ax, r.y + ((r.h + 9.0 - a) / 2.0).floor(), a, a);
    p.avatar(face, side.seat, side.avatar.as_ref(), &side.name, m);
    let x = if right { r.x + 36.0 } else { r.x + 36.0 + a + 36.0 };
    let w = r.w - a - 108.0;
    let align = if right { Align::Right } else { Align::Left };
    let y = r.y + ((r.h - 168.0) / 2.0).floor() + 6.0;
    let style = &p.theme.style;
    let (ladder, title) = ([style.namel, style.name, style.names], style.title);
    p.fitted(Rect::new(x, y, w, 72.0), &side.name, &ladder, hi, align, &side.lang);
    scorebug::model_line(p, Rect::new(x, y + 75.0, w, 42.0), side, align);
    p.text(Rect::new(x, y + 126.0, w, 42.0), &side.blurb, title, fill, align);
}

/// Three to eight sides: two columns of plates.
fn roster(p: &mut Painter, sides: &[Player]) {
    let rows = sides.len().div_ceil(2).max(1);
    let h = ((270.0 - 12.0 * (rows as f32 - 1.0)) / rows as f32 / 3.0).floor() * 3.0;
    for (i, side) in sides.iter().take(8).enumerate() {
        let (column, row) = (i % 2, i / 2);
        let r = Rect::new(96.0 + 870.0 * column as f32, 558.0 + (h + 12.0) * row as f32, 858.0, h);
        let fill = p.seat(side.seat).fill;
        let hi = p.theme.color.hi;
        p.panel(r, Edge::Left(fill));
        let a = (h - 12.0).min(96.0);
        let face = Rect::new(r.x + 24.0, r.y + ((h - a) / 2.0).floor(), a, a);
        let s = p.theme.radius.s;
        p.avatar(face, side.seat, side.avatar.as_ref(), &side.name, s);
        let x = face.right() + 18.0;
        let glyph = 33.0;
        p.seat_glyph(x, r.y + ((h - glyph) / 2.0).floor(), glyph, side.seat);
        let style = &p.theme.style;
        let ladder = [style.name, style.names];
        // The model takes what it needs of 270, the name has the rest.
        let model = (p.measure(&side.agent, style.small).ceil() + 1.0).clamp(60.0, 270.0);
        let room = r.right() - 24.0 - (x + 48.0);
        let w = p.fitted(
            Rect::new(x + 48.0, r.y, room - model - 18.0, h),
            &side.name,
            &ladder,
            hi,
            Align::Left,
            &side.lang,
        );
        let left = x + 48.0 + w.ceil() + 18.0;
        scorebug::model_line(p, Rect::new(left, r.y, r.right() - 24.0 - left, h), side, Align::Right);
    }
}

fn facts(p: &mut Painter, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    p.mark("facts", FACTS);
    p.panel(FACTS, Edge::None);
    let (lo, hi, tag, num) = (p.theme.color.lo, p.theme.color.hi, p.theme.style.tag, p.theme.style.num);
    for (k, fact) in facts.iter().take(4).enumerate() {
        let x = 96.0 + 432.0 * k as f32 + 36.0;
        p.text(Rect::new(x, 861.0, 380.0, 33.0), &fact.label, tag, lo, Align::Left);
        p.text(Rect::new(x, 894.0, 380.0, 45.0), &fact.text, num, hi, Align::Left);
    }
}

/// `04:37`, `1:04:37`.
fn countdown(seconds: i64) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m:02}:{s:02}") }
}
