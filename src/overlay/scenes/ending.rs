//! `ending`: the broadcast is about to end. It says what happens, whose broadcast it was, and who played.

use crate::draw::Rect;
use crate::overlay::OnAir;
use crate::overlay::painter::{Align, Painter};
use crate::overlay::player::Player;
use crate::overlay::widgets::stage;

const BAR: Rect = Rect::new(96.0, 288.0, 18.0, 318.0);
const LABEL: Rect = Rect::new(156.0, 288.0, 1668.0, 48.0);
const THANKS: Rect = Rect::new(156.0, 336.0, 1668.0, 150.0);
const HOST: Rect = Rect::new(156.0, 495.0, 1668.0, 66.0);
const NEXT: Rect = Rect::new(156.0, 564.0, 1668.0, 42.0);
/// The first face; the others follow to the right.
const FACE: Rect = Rect::new(156.0, 678.0, 168.0, 168.0);
const PITCH: f32 = 204.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    host: String,
    players: Vec<Player>,
}

impl Page {
    pub fn new(on_air: &OnAir, players: Vec<Player>) -> Page {
        let host = on_air.host.trim();
        let names = || players.iter().map(|p| p.name.trim()).collect::<Vec<_>>().join(" · ");
        Page { host: if host.is_empty() { names() } else { host.to_owned() }, players }
    }

    pub fn base(&self, p: &mut Painter) {
        match self.players.as_slice() {
            [a, b] => stage::versus(p, a.seat, b.seat),
            _ => stage::slabs(p),
        }
        let (accent, hi, mid) = (p.theme.color.accent, p.theme.color.hi, p.theme.color.mid);
        let style = &p.theme.style;
        let (label, hero, title) = (style.label.sized(36.0), style.hero.sized(150.0), style.title.sized(36.0));
        let ladder = [style.namel, style.name, style.names];
        p.mark("ending", Rect { w: THANKS.right() - BAR.x, ..BAR });
        p.fill(BAR, accent);
        p.text(LABEL, "Stream ends", label, mid, Align::Left);
        p.fitted(THANKS, "Thanks for watching", &[hero, hero.sized(120.0)], hi, Align::Left, "");
        p.fitted(HOST, &self.host, &ladder, hi, Align::Left, "");
        p.text(NEXT, "The broadcast ends here. See you at the next match.", title, mid, Align::Left);
        let m = p.theme.radius.m;
        for (i, player) in self.players.iter().take(8).enumerate() {
            let face = Rect { x: FACE.x + PITCH * i as f32, ..FACE };
            let fill = p.seat(player.seat).fill;
            p.avatar(face, player.seat, player.avatar.as_ref(), &player.name, m);
            p.fill(Rect::new(face.x, face.bottom() + 12.0, face.w, 9.0), fill);
        }
    }
}
