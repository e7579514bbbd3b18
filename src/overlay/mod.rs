//! The picture's design: themes, layout, widgets, scenes, motion. [`compose`] is a pure function.
//!
//! Widgets keep nothing. What outlives a frame (a bar on its way, the pace at which a thought is read) is in
//! [`Presentation`], itself a pure function of the states it was given and their media times. [`Composer`] draws the
//! same pictures as [`compose`] and remembers the baked base, so that it is the same `Arc` while its inputs are the same.

mod colour;
mod layout;
mod numbers;
mod painter;
mod player;
mod presentation;
mod scenes;
mod theme;
mod widgets;

pub use layout::{Layout, LayoutError, rects};
pub use painter::Mark;
pub use presentation::{Chip, ClockFace, ClockLook, Moment, Motion, Presentation, Reading};
pub use theme::{Colors, SeatColors, Style, Theme, ThemeData, ThemeError};

use crate::draw::{DrawList, Item, Size};
use crate::game::Scene;
use crate::raster::Raster;
use painter::{Painter, right_to_left};
use scenes::Page;
use std::sync::Arc;

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
    /// Whose broadcast this is, for the ending scene.
    pub host: String,
    /// The scene that an operator put on air; None: the match decides.
    pub take: Option<Take>,
}

/// Scenes that can be put on air. A match chooses among the first three ([`Scene`]); the end of a broadcast is no affair of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Take {
    Starting,
    Live,
    Over,
    /// The broadcast is about to end.
    Ending,
}

impl From<Scene> for Take {
    fn from(scene: Scene) -> Take {
        match scene {
            Scene::Starting => Take::Starting,
            Scene::Live => Take::Live,
            Scene::Over => Take::Over,
        }
    }
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

/// Draws frames of one stream.
pub struct Composer {
    theme: Theme,
    layout: Layout,
    baked: Option<Baked>,
    marks: Vec<Mark>,
}

/// The base of the page shown last.
struct Baked {
    page: Page,
    items: Arc<Vec<Item>>,
    marks: Vec<Mark>,
}

impl Composer {
    /// Pictures are 1920×1080 or 1280×720.
    pub fn new(theme: Theme, size: Size) -> Result<Composer, LayoutError> {
        Ok(Composer { theme, layout: Layout::new(size)?, baked: None, marks: Vec::new() })
    }

    /// What `show` looks like at media time `t`: `scene`, unless `on_air` has a take.
    pub fn compose(
        &mut self,
        show: &Presentation,
        on_air: &OnAir,
        scene: Scene,
        t: MediaMs,
        raster: &mut Raster,
    ) -> DrawList {
        let moment = Moment { show, t };
        let page = Page::new(moment, on_air, on_air.take.unwrap_or(scene.into()), raster);
        let names = right_to_left(show.state().board.sides.values().map(|side| side.name.as_str()));
        if self.baked.as_ref().is_none_or(|b| b.page != page) {
            let mut painter = Painter::new(&self.theme, self.layout, raster, names.clone());
            page.base(&mut painter);
            let (items, marks) = painter.finish();
            self.baked = Some(Baked { page: page.clone(), items: Arc::new(items), marks });
        }
        let mut painter = Painter::new(&self.theme, self.layout, raster, names);
        page.live(&mut painter, moment, on_air);
        let (live, mut marks) = painter.finish();
        let mut base = Arc::default();
        if let Some(baked) = &self.baked {
            base = baked.items.clone();
            marks.extend(baked.marks.iter().copied());
        }
        self.marks = marks;
        DrawList { size: self.layout.size(), base, live }
    }

    /// Places of the widgets of the picture composed last, output px.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    pub fn theme(&self) -> &Theme {
        &self.theme
    }

    pub fn size(&self) -> Size {
        self.layout.size()
    }
}

/// Draws one frame: what `show` looks like at media time `t`.
pub fn compose(
    show: &Presentation,
    on_air: &OnAir,
    scene: Scene,
    t: MediaMs,
    size: Size,
    theme: &Theme,
    raster: &mut Raster,
) -> Result<DrawList, LayoutError> {
    Ok(Composer::new(theme.clone(), size)?.compose(show, on_air, scene, t, raster))
}
