use super::canvas::{Canvas, Flight};
use super::gpu::Gpu;
use super::{RenderError, Rendered, Renderer, frames::Frames};
use crate::draw::{Damage, DrawList, Frame, IRect, Size};
use crate::raster::PixelSource;
use std::sync::Arc;

/// Memory for pictures' textures, bytes.
const IMAGE_BUDGET: usize = 64 << 20;

/// Draws one stream's pictures on a shared [`Gpu`].
///
/// [`render`](Renderer::render) is [`submit`](GpuRenderer::submit) and [`finish`](GpuRenderer::finish) in one; between
/// the two the caller can encode the frame before while the device draws.
///
/// The picture stays on the device. A frame restores the damaged rectangles from the baked base, draws the live items
/// that touch them, converts the damaged 16 × 16 tiles to NV12 and reads their rows back into a copy of the last picture.
/// A row of it is the width rounded up to a multiple of 16 bytes long.
pub struct GpuRenderer {
    gpu: Arc<Gpu>,
    size: Size,
    frames: Frames,
    canvas: Option<Canvas>,
    /// What the last finished picture shows. None: unknown, the next one is drawn whole.
    drawn: Option<DrawList>,
    flight: Option<InFlight>,
}

struct InFlight {
    flight: Flight,
    list: DrawList,
    damage: Damage,
}

impl GpuRenderer {
    /// A renderer for pictures of `size`. While a lost device is being rebuilt it begins without one.
    ///
    /// # Errors
    /// [`RenderError::Device`] when a side is odd, zero or larger than the device allows.
    pub fn new(gpu: Arc<Gpu>, size: Size) -> Result<GpuRenderer, RenderError> {
        let canvas = match gpu.device().and_then(|device| Canvas::new(device, size, IMAGE_BUDGET)) {
            Ok(canvas) => Some(canvas),
            Err(RenderError::DeviceLost(_)) => None,
            Err(e) => return Err(e),
        };
        Ok(GpuRenderer { gpu, size, frames: Frames::new(size), canvas, drawn: None, flight: None })
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Sends the difference between `list` and the last picture to the device; nothing at all when there is none.
    /// A picture still in flight is finished first.
    ///
    /// # Errors
    /// After any error the next picture is drawn whole.
    pub fn submit(&mut self, list: &DrawList, pixels: &mut dyn PixelSource) -> Result<(), RenderError> {
        if self.flight.is_some() {
            self.finish()?;
        }
        if list.size != self.size {
            let (a, b) = (list.size, self.size);
            return Err(RenderError::Device(format!("a list of {}x{} for a picture of {}x{}", a.w, a.h, b.w, b.h)));
        }
        let result = self.try_submit(list, pixels);
        self.settle(result)
    }

    /// Waits for the picture in flight. Without one it returns the last picture and [`Damage::None`].
    ///
    /// # Errors
    /// After any error the next picture is drawn whole.
    pub fn finish(&mut self) -> Result<Rendered, RenderError> {
        let Some(InFlight { flight, list, damage }) = self.flight.take() else {
            let frame = self.frames.current().cloned();
            let frame = frame.ok_or_else(|| RenderError::Device("nothing was drawn yet".to_owned()))?;
            return Ok(Rendered { frame, damage: Damage::None });
        };
        let result = match &self.canvas {
            Some(canvas) => canvas.finish(&flight, |nv12| self.frames.patch(&flight.bands, nv12)),
            None => Err(RenderError::Device("the canvas is gone".to_owned())),
        };
        let frame = self.settle(result)?;
        self.drawn = Some(list);
        Ok(Rendered { frame, damage })
    }

    /// For measuring: converts and reads back what `damage` covers of the last picture, without drawing.
    ///
    /// # Errors
    /// After any error the next picture is drawn whole.
    pub fn convert_again(&mut self, damage: &Damage) -> Result<Frame, RenderError> {
        let last = self.finish()?.frame;
        let rects = self.rects(damage);
        if rects.is_empty() {
            return Ok(last);
        }
        let result = match &self.canvas {
            Some(canvas) => canvas
                .convert(&rects)
                .and_then(|flight| canvas.finish(&flight, |nv12| self.frames.patch(&flight.bands, nv12))),
            None => Err(RenderError::Device("the canvas is gone".to_owned())),
        };
        self.settle(result)
    }

    /// The damaged rectangles, inside the picture.
    fn rects(&self, damage: &Damage) -> Vec<IRect> {
        let inside = |r: &IRect| Some(r.intersect(self.size.bounds())).filter(|r| !r.is_empty());
        match damage {
            Damage::None => Vec::new(),
            Damage::Rects(rects) => rects.iter().filter_map(inside).collect(),
            Damage::Full => vec![self.size.bounds()],
        }
    }

    fn try_submit(&mut self, list: &DrawList, pixels: &mut dyn PixelSource) -> Result<(), RenderError> {
        let mut damage = match &self.drawn {
            Some(drawn) => Damage::between(drawn, list),
            None => Damage::Full,
        };
        if damage == Damage::None {
            return Ok(());
        }
        let mut rects = self.rects(&damage);
        if rects.is_empty() {
            self.drawn = Some(list.clone());
            return Ok(());
        }
        // Another renderer may have noticed a loss before this one.
        self.canvas = self.canvas.take().filter(|c| c.device.lost().is_none());
        let canvas = match &mut self.canvas {
            Some(canvas) => canvas,
            empty => empty.insert(Canvas::new(self.gpu.device()?, self.size, IMAGE_BUDGET)?),
        };
        if !canvas.has_base(list) {
            rects = vec![self.size.bounds()];
            damage = Damage::Full;
        }
        let flight = canvas.submit(list, &rects, pixels)?;
        self.flight = Some(InFlight { flight, list: list.clone(), damage });
        Ok(())
    }

    /// After an error nothing that was on the device is trusted.
    fn settle<T>(&mut self, result: Result<T, RenderError>) -> Result<T, RenderError> {
        if result.is_err() {
            self.canvas = None;
            self.drawn = None;
            self.flight = None;
        }
        result
    }
}

impl Renderer for GpuRenderer {
    fn render(&mut self, list: &DrawList, pixels: &mut dyn PixelSource) -> Result<Rendered, RenderError> {
        self.submit(list, pixels)?;
        self.finish()
    }

    fn read_rgba(&mut self) -> Result<Vec<u8>, RenderError> {
        let result = match &self.canvas {
            Some(canvas) if self.drawn.is_some() || self.flight.is_some() => canvas.read_rgba(),
            _ => return Err(RenderError::Device("nothing was drawn yet".to_owned())),
        };
        self.settle(result)
    }

    fn forget(&mut self) {
        self.drawn = None;
        if let Some(canvas) = &mut self.canvas {
            canvas.forget_base();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gpu::tests::shared;
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

    fn quad(x: f32, fill: Color) -> Item {
        let rect = Rect::new(x, 8.0, 40.0, 40.0);
        Item { clip: None, shape: Shape::Quad(Quad { rect, fill, radius: [6.0; 4], border: None, shadow: None }) }
    }

    #[test]
    fn picture_drawn_whole_or_converted_again_is_the_same() {
        let size = Size { w: 96, h: 64 };
        let base = Arc::new(vec![quad(4.0, Color::rgb(200, 40, 40))]);
        let list = |x| DrawList { size, base: base.clone(), live: vec![quad(x, Color::rgb(40, 90, 220))] };
        let mut renderer = GpuRenderer::new(shared(), size).expect("a renderer");
        renderer.render(&list(20.0), &mut NoPixels).expect("drawn");
        let moved = renderer.render(&list(50.0), &mut NoPixels).expect("drawn");
        assert!(matches!(moved.damage, Damage::Rects(_)));

        assert_eq!(renderer.convert_again(&Damage::Full).expect("converted").data, moved.frame.data);
        renderer.forget();
        let whole = renderer.render(&list(50.0), &mut NoPixels).expect("drawn");
        assert_eq!(whole.damage, Damage::Full);
        assert_eq!(whole.frame.data, moved.frame.data);
    }
}
