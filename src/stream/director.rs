use super::Source;
use crate::draw::{Damage, DrawList, Frame, Nv12, Size};
use crate::game::{Delayed, MatchState, View};
use crate::overlay::{Composer, MediaMs, OnAir, Presentation};
use crate::raster::{Pixels, Raster};
use crate::render::{RenderError, Renderer};
use std::sync::Arc;

/// Draws a stream: match states in, pictures out. Knows no clock; time is an argument.
pub struct Director {
    source: Box<dyn Source>,
    view: View,
    delayed: Delayed,
    show: Presentation,
    /// The state that `show` has.
    shown: Option<Arc<MatchState>>,
    /// The same as the view sees it, until a picture of it went out.
    news: Option<Arc<MatchState>>,
    /// When that became due.
    news_at: MediaMs,
    composer: Composer,
    raster: Raster,
    renderer: Box<dyn Renderer>,
    last: Frame,
    /// Media time of the last picture.
    now: MediaMs,
    redraw_all: bool,
}

/// One picture of the stream.
#[derive(Clone, Debug)]
pub struct Picture {
    pub frame: Frame,
    /// Differs from the picture before.
    pub changed: bool,
    /// What was drawn anew.
    pub damage: Damage,
    /// Why the picture had to be the one before.
    pub trouble: Option<RenderError>,
    /// The match as the view sees it, when this is the first picture of it.
    pub state: Option<Arc<MatchState>>,
}

impl Director {
    /// `delayed` is empty and has the view's delay.
    pub fn new(
        source: Box<dyn Source>,
        view: View,
        delayed: Delayed,
        show: Presentation,
        composer: Composer,
        raster: Raster,
        renderer: Box<dyn Renderer>,
    ) -> Director {
        let last = black(composer.size());
        Director {
            source,
            view,
            delayed,
            show,
            shown: None,
            news: None,
            news_at: 0,
            composer,
            raster,
            renderer,
            last,
            now: MediaMs::MIN,
            redraw_all: false,
        }
    }

    /// Whether every picture is drawn and encoded as if nothing of it had been there before. For measuring what damage
    /// saves; the pictures are the same.
    pub fn redraw_all(&mut self, on: bool) {
        self.redraw_all = on;
    }

    /// Keeps the pixels of an avatar, card art or a picture zone under the name by which the match refers to them, from the
    /// next frame on, replacing what was there. False: the view is held back and the name is taken. A new picture would
    /// show before its time, so it needs a name of its own.
    pub fn set_picture(&mut self, name: &str, pixels: Pixels) -> bool {
        if self.delayed.delay_ms() > 0 && self.raster.pictures.picture(name).is_some() {
            return false;
        }
        self.raster.pictures.insert_pixels(name, pixels);
        true
    }

    /// The picture at media time `t`. Always one: if it cannot be drawn, it is the last one again.
    pub fn frame(&mut self, t: MediaMs, on_air: &OnAir) -> Picture {
        let list = self.compose(t, on_air);
        if self.redraw_all {
            self.renderer.forget();
        }
        match self.renderer.render(&list, &mut self.raster) {
            Ok(rendered) => {
                self.last = rendered.frame.clone();
                let changed = rendered.damage != Damage::None;
                let state = self.news.take();
                Picture { frame: rendered.frame, changed, damage: rendered.damage, trouble: None, state }
            }
            Err(error) => {
                let (frame, trouble) = (self.last.clone(), Some(error));
                Picture { frame, changed: false, damage: Damage::None, trouble, state: None }
            }
        }
    }

    /// The picture at media time `t` as opaque RGBA, `w * h * 4` bytes.
    pub fn grab(&mut self, t: MediaMs, on_air: &OnAir) -> Result<Vec<u8>, RenderError> {
        let list = self.compose(t, on_air);
        self.renderer.render(&list, &mut self.raster)?;
        self.renderer.read_rgba()
    }

    fn compose(&mut self, t: MediaMs, on_air: &OnAir) -> DrawList {
        self.catch_up(t);
        self.composer.compose(&self.show, on_air, self.show.scene(t), t, &mut self.raster)
    }

    /// Shows every state that is due, each at its own time.
    fn catch_up(&mut self, t: MediaMs) {
        let before = std::mem::replace(&mut self.now, t);
        for (at, state) in self.source.poll(t) {
            // One that came in while the last picture was made is news of this one: shown time never goes back.
            let at = at.max(before);
            self.delayed.push(at, state);
            self.advance(at);
        }
        self.advance(t);
    }

    fn advance(&mut self, t: MediaMs) {
        let Some(state) = self.delayed.at(t) else { return };
        if self.shown.as_ref().is_none_or(|shown| !Arc::ptr_eq(shown, &state)) {
            // Filtered before anything is drawn: what the view may not see never gets near a pixel.
            let seen = if self.view == View::All { state.clone() } else { Arc::new(self.view.filter(&state)) };
            if self.news.is_none() {
                self.news_at = t;
            }
            self.show.advance(seen.clone(), t);
            self.news = Some(seen);
            self.shown = Some(state);
        }
    }

    /// Media time at which the newest state became due, or the first of those that one picture shows together.
    pub fn news_at(&self) -> MediaMs {
        self.news_at
    }

    /// When the match's last change was, once it is certain that none follows.
    pub fn ended(&self) -> Option<MediaMs> {
        self.source.ended()
    }
}

/// Black in limited range.
fn black(size: Size) -> Frame {
    let (w, h) = (size.w as usize, size.h as usize);
    let mut data = vec![16; w * h * 3 / 2];
    data[w * h..].fill(128);
    Arc::new(Nv12 { size, stride: w, data })
}
