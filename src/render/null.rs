use super::{RenderError, Rendered, Renderer};
use crate::draw::{Damage, DrawList, Frame, IRect, Nv12, Size};
use crate::raster::PixelSource;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

/// Draws nothing: for everything above the GPU that wants frames to flow.
///
/// A picture is grey with its list's hash as its level of luma: equal lists give equal pictures, and a change shows in
/// exactly the rectangles of its damage.
pub struct NullRenderer {
    size: Size,
    last: Option<(DrawList, Frame)>,
}

impl NullRenderer {
    pub fn new(size: Size) -> NullRenderer {
        NullRenderer { size, last: None }
    }
}

impl Renderer for NullRenderer {
    fn render(&mut self, list: &DrawList, _pixels: &mut dyn PixelSource) -> Result<Rendered, RenderError> {
        if list.size != self.size {
            return Err(RenderError::Device("a list of another size".to_owned()));
        }
        let damage = match &self.last {
            Some((last, frame)) => match Damage::between(last, list) {
                Damage::None => return Ok(Rendered { frame: frame.clone(), damage: Damage::None }),
                damage => damage,
            },
            None => Damage::Full,
        };
        let Size { w, h } = self.size;
        let (w, h) = (w as usize, h as usize);
        let mut data = match &self.last {
            Some((_, frame)) => frame.data.clone(),
            None => vec![128; w * h * 3 / 2],
        };
        let rects = match &damage {
            Damage::Rects(rects) => rects.clone(),
            _ => vec![self.size.bounds()],
        };
        let level = level(list);
        for IRect { x0, y0, x1, y1 } in rects.into_iter().map(|r| r.intersect(self.size.bounds())) {
            for y in y0..y1 {
                let row = y as usize * w;
                data[row + x0 as usize..row + x1.max(x0) as usize].fill(level);
            }
        }
        let frame = Arc::new(Nv12 { size: self.size, stride: w, data });
        self.last = Some((list.clone(), frame.clone()));
        Ok(Rendered { frame, damage })
    }

    fn forget(&mut self) {
        self.last = None;
    }

    fn read_rgba(&mut self) -> Result<Vec<u8>, RenderError> {
        let Some((list, _)) = &self.last else { return Err(RenderError::Device("nothing was drawn yet".to_owned())) };
        let level = level(list);
        Ok([level, level, level, 255].repeat((self.size.w * self.size.h) as usize))
    }
}

/// 16 to 235.
fn level(list: &DrawList) -> u8 {
    struct Sink(DefaultHasher);
    impl fmt::Write for Sink {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0.write(s.as_bytes());
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    // Floats have no Hash; their Debug output is exact. A hasher cannot fail.
    let _ = write!(sink, "{list:?}");
    16 + (sink.0.finish() % 220) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Color, Item, Quad, Rect, Shape};
    use crate::raster::{GlyphImage, GlyphKey, ImageKey, Pixels};

    struct NoPixels;

    impl PixelSource for NoPixels {
        fn glyph(&mut self, _: GlyphKey) -> Option<GlyphImage> {
            None
        }
        fn image(&mut self, _: ImageKey) -> Option<Arc<Pixels>> {
            None
        }
    }

    fn list(color: Color) -> DrawList {
        let rect = Rect::new(4.0, 4.0, 8.0, 8.0);
        let quad = Quad { rect, fill: color, radius: [0.0; 4], border: None, shadow: None };
        let live = vec![Item { clip: None, shape: Shape::Quad(quad) }];
        DrawList { size: Size { w: 32, h: 16 }, base: Arc::default(), live }
    }

    #[test]
    fn equal_lists_give_equal_pictures_in_two_renderers() {
        let render = || NullRenderer::new(Size { w: 32, h: 16 }).render(&list(Color::rgb(1, 2, 3)), &mut NoPixels);
        let (a, b) = (render().expect("drawn"), render().expect("drawn"));
        assert_eq!(a.frame, b.frame);
        assert_eq!(a.frame.data.len(), 32 * 16 * 3 / 2);
    }

    #[test]
    fn list_of_another_size_is_refused() {
        let mut renderer = NullRenderer::new(Size { w: 64, h: 64 });
        assert!(renderer.render(&list(Color::rgb(1, 2, 3)), &mut NoPixels).is_err());
    }
}
