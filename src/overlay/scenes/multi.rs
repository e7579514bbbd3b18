//! One side, or three to eight: a board and a row for each.

use super::Player;
use crate::overlay::painter::Painter;
use crate::overlay::presentation::Moment;
use crate::overlay::widgets::stage;

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    players: Vec<Player>,
}

impl Page {
    pub fn new(_m: Moment, players: Vec<Player>) -> Page {
        Page { players }
    }

    pub fn base(&self, p: &mut Painter) {
        stage::slabs(p);
    }

    pub fn live(&self, _p: &mut Painter, _m: Moment) {}
}
