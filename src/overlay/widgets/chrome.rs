//! What stands around every scene: title, badge, viewers, bottom slot, sponsor.

use super::ticker;
use crate::draw::Rect;
use crate::overlay::layout::rects::{BADGE, BOTTOM, BOTTOM_WIDE, SPONSOR, TITLE, VIEWERS};
use crate::overlay::painter::{Align, Painter, tidy};
use crate::overlay::presentation::Moment;
use crate::overlay::{Badge, OnAir, numbers};

#[derive(Clone, Debug, PartialEq)]
pub struct Chrome {
    title: String,
    /// Game and round.
    round: String,
    sponsor: Option<String>,
}

impl Chrome {
    pub fn new(m: Moment, on_air: &OnAir) -> Chrome {
        let board = &m.state().board;
        let mut round = [board.game.name.as_str(), board.round.as_str()].map(str::trim).to_vec();
        round.retain(|part| !part.is_empty());
        let (mut title, mut round) = (board.title.trim().to_owned(), round.join(" · "));
        if title.is_empty() {
            title = std::mem::take(&mut round);
        }
        Chrome { title, round, sponsor: on_air.sponsor.clone().filter(|s| !s.trim().is_empty()) }
    }

    fn bottom(&self) -> Rect {
        if self.sponsor.is_some() { BOTTOM } else { BOTTOM_WIDE }
    }

    pub fn base(&self, p: &mut Painter) {
        let (c, style) = (&p.theme.color, &p.theme.style);
        p.mark("title", TITLE);
        if !self.title.is_empty() {
            p.fill(Rect { w: 12.0, ..TITLE }, c.accent);
            let bold = style.label.weight(700);
            let room = TITLE.w - 30.0;
            let (title, round) = (tidy(&self.title), tidy(&self.round));
            // The round is cut first, then the title.
            let least = if round.is_empty() { 0.0 } else { 90.0 };
            let own = p.measure(&title, bold).ceil().min(room - least);
            let x = TITLE.x + 30.0;
            p.text(Rect::new(x, TITLE.y, own + 1.0, TITLE.h), &title, bold, c.hi, Align::Left);
            let rest = Rect::new(x + own + 18.0, TITLE.y, room - own - 18.0, TITLE.h);
            p.text(rest, &round, style.label, c.mid, Align::Left);
        }
        let (bottom, s) = (self.bottom(), p.theme.radius.s);
        p.mark("ticker", bottom);
        p.round(bottom, c.panel, s);
        if let Some(sponsor) = &self.sponsor {
            p.mark("sponsor", SPONSOR);
            p.round(SPONSOR, c.panel, s);
            let mut room = SPONSOR.inset(15.0, 0.0);
            let (with, name) = (style.tag.weight(600), style.title.sized(27.0).weight(700));
            let (a, b) = (p.measure("With", with).ceil() + 12.0, p.measure(sponsor, name).ceil());
            // Little room: the name matters.
            if !p.layout.small() && a + b <= room.w {
                let x = room.x + ((room.w - a - b) / 2.0).round();
                p.text(Rect::new(x, room.y, a, room.h), "With", with, c.lo, Align::Left);
                room = Rect::new(x + a, room.y, b + 1.0, room.h);
            }
            p.text(room, sponsor, name, c.hi, Align::Center);
        }
    }

    pub fn live(&self, p: &mut Painter, m: Moment, on_air: &OnAir) {
        badge(p, on_air.badge);
        if let Some(n) = on_air.viewers.filter(|n| *n > 0) {
            p.mark("viewers", VIEWERS);
            let (mid, style) = (p.theme.color.mid, p.theme.style.title);
            let text = numbers::viewers(n);
            // Without a badge its place is free.
            let right = if on_air.badge == Badge::Off { BADGE.right() } else { VIEWERS.right() };
            let w = p.measure(&text, style).ceil();
            p.text(Rect::new(right - w - 1.0, VIEWERS.y, w + 1.0, VIEWERS.h), &text, style, mid, Align::Right);
            p.icon(Rect::new(right - w - 45.0, VIEWERS.y + 1.5, 33.0, 33.0), "icon/eye", mid);
        }
        ticker::live(p, m, self.bottom());
    }
}

fn badge(p: &mut Painter, badge: Badge) {
    let c = &p.theme.color;
    let (text, fill, on) = match badge {
        Badge::Off => return,
        Badge::Live => ("Live", c.live, c.on_live),
        Badge::Soon => ("Soon", c.hi, c.panel),
        Badge::Break => ("Break", c.raised, c.hi),
        Badge::Paused => ("Paused", c.warn, c.on_side),
    };
    let s = p.theme.radius.s;
    p.mark("live", BADGE);
    p.round(BADGE, fill, s);
    let style = p.theme.style.label.weight(700);
    let dot = if badge == Badge::Live { 24.0 } else { 0.0 };
    let w = p.measure(text, style).ceil();
    let x = BADGE.x + ((BADGE.w - w - dot) / 2.0).round();
    if badge == Badge::Live {
        p.circle(x + 7.5, BADGE.y + 18.0, 7.5, on);
    }
    p.text(Rect::new(x + dot, BADGE.y, w + 2.0, BADGE.h), text, style, on, Align::Left);
}
