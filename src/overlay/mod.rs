//! The picture's design: themes, layout, widgets, scenes, motion. [`compose`] is a pure function.
//!
//! Widgets keep nothing. What outlives a frame (a bar on its way, the pace at which a thought is read) is in
//! [`Presentation`], itself a pure function of the states it was given and their media times.

mod presentation;

pub use presentation::Presentation;

use crate::draw::{DrawList, Size};
use crate::game::Scene;
use crate::raster::Raster;

/// Media time: milliseconds since the stream began.
pub type MediaMs = i64;

/// What the broadcast knows beside the match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnAir {
    pub badge: Badge,
    /// Sum over destinations; None when unknown.
    pub viewers: Option<u64>,
    /// One-line name of the sponsor; None leaves its place to the ticker.
    pub sponsor: Option<String>,
    /// `motion=reduced`: every duration is 0 and nothing pulses.
    pub reduced_motion: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Badge {
    /// No destination confirms that it receives.
    #[default]
    Off,
    Live,
    Soon,
    Break,
    Paused,
}

/// A theme: colours, type, radii.
#[derive(Clone, Debug)]
pub struct Theme {}

/// Draws one frame: what `show` looks like at media time `t`.
pub fn compose(
    _show: &Presentation,
    _on_air: &OnAir,
    _scene: Scene,
    _t: MediaMs,
    size: Size,
    _theme: &Theme,
    _raster: &mut Raster,
) -> DrawList {
    DrawList { size, base: Default::default(), live: Vec::new() }
}
