//! Scenes: which widgets stand where. A [`Page`] is all that a scene's baked base depends on; the live layers are drawn
//! from the [`Moment`].

mod cards;
mod ending;
mod multi;
mod over;
mod starting;
mod versus;

use super::painter::Painter;
use super::player::Player;
use super::presentation::Moment;
use super::widgets::chrome::Chrome;
use super::{OnAir, Take};
use crate::game::ZoneContent;
use crate::raster::Raster;

/// What the baked base of a picture is drawn from: two equal pages have the same base.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    chrome: Chrome,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Versus(versus::Page),
    Cards(cards::Page),
    Multi(multi::Page),
    Starting(starting::Page),
    Over(over::Page),
    Ending(ending::Page),
}

impl Page {
    pub fn new(m: Moment, on_air: &OnAir, take: Take, raster: &mut Raster) -> Page {
        let players: Vec<Player> = m.sides().iter().map(|(id, side)| Player::new(id, side, raster)).collect();
        let cards = m.state().board.zones.values().any(|z| matches!(z.content, ZoneContent::Cards(_)));
        let kind = match take {
            Take::Starting => Kind::Starting(starting::Page::new(m, players)),
            Take::Over => Kind::Over(over::Page::new(m, players)),
            Take::Ending => Kind::Ending(ending::Page::new(on_air, players)),
            Take::Live if players.len() == 2 && cards => Kind::Cards(cards::Page::new(m, players)),
            Take::Live if players.len() == 2 => Kind::Versus(versus::Page::new(m, players, raster)),
            Take::Live => Kind::Multi(multi::Page::new(m, players, raster)),
        };
        Page { chrome: Chrome::new(m, on_air), kind }
    }

    /// Draws layers 0 to 2: stage, panels, names, board ground.
    pub fn base(&self, p: &mut Painter) {
        match &self.kind {
            Kind::Versus(page) => page.base(p),
            Kind::Cards(page) => page.base(p),
            Kind::Multi(page) => page.base(p),
            Kind::Starting(page) => page.base(p),
            Kind::Over(page) => page.base(p),
            Kind::Ending(page) => page.base(p),
        }
        self.chrome.base(p);
    }

    /// Draws everything that changes on its own.
    pub fn live(&self, p: &mut Painter, m: Moment, on_air: &OnAir) {
        match &self.kind {
            Kind::Versus(page) => page.live(p, m),
            Kind::Cards(page) => page.live(p, m),
            Kind::Multi(page) => page.live(p, m),
            Kind::Starting(page) => page.live(p, m),
            Kind::Over(page) => page.live(p, m),
            // Nothing of it changes on its own.
            Kind::Ending(_) => {}
        }
        self.chrome.live(p, m, on_air);
    }
}
