//! A draw list executed on the CPU, slowly and exactly: what the GPU's pictures are compared with, and how a test or a
//! person looks at a picture without a GPU.
//!
//! Everything is blended in gamma space with straight alpha. Edges are anti-aliased by the distance of a pixel's centre
//! to the edge, clamped to one pixel: rounded rectangles by their signed distance, polygons by the distance to their
//! nearest edge.

#![allow(dead_code)]

use agentcast::draw::{Color, DrawList, IRect, Image, Item, Path, Quad, Rect, Shape};
use agentcast::raster::{PixelSource, Pixels};

/// Straight RGBA, opaque.
#[derive(Clone, PartialEq)]
pub struct Canvas {
    pub w: i32,
    pub h: i32,
    pub rgb: Vec<[u8; 3]>,
}

/// The whole picture.
pub fn draw(list: &DrawList, source: &mut dyn PixelSource) -> Canvas {
    let mut canvas = Canvas::new(list.size.w as i32, list.size.h as i32);
    let all = canvas.bounds();
    canvas.draw(list, all, source);
    canvas
}

impl Canvas {
    pub fn new(w: i32, h: i32) -> Canvas {
        Canvas { w, h, rgb: vec![[0; 3]; (w * h) as usize] }
    }

    pub fn bounds(&self) -> IRect {
        IRect { x0: 0, y0: 0, x1: self.w, y1: self.h }
    }

    pub fn get(&self, x: i32, y: i32) -> [u8; 3] {
        self.rgb[(y * self.w + x) as usize]
    }

    /// Draws what of `list` is inside `part`, over black.
    pub fn draw(&mut self, list: &DrawList, part: IRect, source: &mut dyn PixelSource) {
        let part = part.intersect(self.bounds());
        for y in part.y0..part.y1 {
            self.rgb[(y * self.w + part.x0) as usize..(y * self.w + part.x1) as usize].fill([0; 3]);
        }
        for item in list.base.iter().chain(&list.live) {
            self.item(item, part, source);
        }
    }

    fn item(&mut self, item: &Item, part: IRect, source: &mut dyn PixelSource) {
        let part = item.bounds().intersect(part);
        if part.is_empty() {
            return;
        }
        match &item.shape {
            Shape::Quad(quad) => self.quad(quad, part),
            Shape::Path(path) => self.path(path, part),
            Shape::Image(image) => {
                if let Some(pixels) = source.image(image.image) {
                    self.image(image, &pixels, part);
                }
            }
            Shape::Glyphs(run) => {
                for glyph in run.glyphs.iter() {
                    let Some(image) = source.glyph(glyph.key) else { continue };
                    let x0 = run.origin[0].floor() as i32 + glyph.x + image.left;
                    let y0 = run.origin[1].floor() as i32 + glyph.y - image.top;
                    let rect = IRect { x0, y0, x1: x0 + image.w as i32, y1: y0 + image.h as i32 };
                    let inside = rect.intersect(part);
                    for y in inside.y0..inside.y1 {
                        for x in inside.x0..inside.x1 {
                            let i = ((y - y0) * image.w as i32 + (x - x0)) as usize;
                            if image.color {
                                let [r, g, b, a] = [0, 1, 2, 3].map(|k| image.data[i * 4 + k]);
                                self.blend(x, y, [r, g, b], f32::from(a) * f32::from(run.color.0[3]) / 65_025.0);
                            } else {
                                let [r, g, b, a] = run.color.0;
                                self.blend(x, y, [r, g, b], f32::from(image.data[i]) * f32::from(a) / 65_025.0);
                            }
                        }
                    }
                }
            }
        }
    }

    fn quad(&mut self, q: &Quad, part: IRect) {
        if let Some((dy, color)) = q.shadow {
            let rect = Rect { y: q.rect.y + dy, ..q.rect };
            self.each(part, color, |x, y| coverage(rounded(rect, q.radius, x, y)));
        }
        match q.border {
            None => self.each(part, q.fill, |x, y| coverage(rounded(q.rect, q.radius, x, y))),
            Some((width, color)) => {
                // The border's colour and the fill's share each pixel by where the inner edge runs.
                for y in part.y0..part.y1 {
                    for x in part.x0..part.x1 {
                        let d = rounded(q.rect, q.radius, x as f32 + 0.5, y as f32 + 0.5);
                        let (outer, inner) = (coverage(d), coverage(d + width));
                        let mix = |i: usize| f32::from(q.fill.0[i]) * inner + f32::from(color.0[i]) * (1.0 - inner);
                        let rgb = [mix(0), mix(1), mix(2)].map(|v| v.round() as u8);
                        self.blend(x, y, rgb, outer * mix(3) / 255.0);
                    }
                }
            }
        }
    }

    fn path(&mut self, path: &Path, part: IRect) {
        let n = path.points.len();
        let area: f32 = (0..n).map(|i| cross(path.points[i], path.points[(i + 1) % n])).sum();
        let turn = if area < 0.0 { -1.0 } else { 1.0 };
        self.each(part, path.fill, |x, y| {
            let outside = |i: usize| {
                let (a, b) = (path.points[i], path.points[(i + 1) % n]);
                let (ex, ey) = (b[0] - a[0], b[1] - a[1]);
                let length = ex.hypot(ey);
                if length < 1e-6 { f32::MIN } else { -turn * (ex * (y - a[1]) - ey * (x - a[0])) / length }
            };
            coverage((0..n).map(outside).fold(f32::MIN, f32::max))
        });
    }

    fn image(&mut self, image: &Image, pixels: &Pixels, part: IRect) {
        let texel = |x: i32, y: i32| {
            let (x, y) = (x.clamp(0, pixels.w as i32 - 1), y.clamp(0, pixels.h as i32 - 1));
            let i = ((y * pixels.w as i32 + x) * 4) as usize;
            [0, 1, 2, 3].map(|k| f32::from(pixels.rgba[i + k]))
        };
        for y in part.y0..part.y1 {
            for x in part.x0..part.x1 {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let shape = coverage(rounded(image.rect, [image.radius; 4], px, py));
                let u = (image.uv[0] + (px - image.rect.x) / image.rect.w * image.uv[2]) * pixels.w as f32;
                let v = (image.uv[1] + (py - image.rect.y) / image.rect.h * image.uv[3]) * pixels.h as f32;
                let [r, g, b, a] = if image.nearest {
                    texel(u.floor() as i32, v.floor() as i32)
                } else {
                    bilinear(u - 0.5, v - 0.5, texel)
                };
                let alpha = a / 255.0 * f32::from(image.opacity) / 255.0;
                self.blend(x, y, [r, g, b].map(|v| v.round() as u8), shape * alpha);
            }
        }
    }

    fn each(&mut self, part: IRect, color: Color, coverage: impl Fn(f32, f32) -> f32) {
        let [r, g, b, a] = color.0;
        for y in part.y0..part.y1 {
            for x in part.x0..part.x1 {
                self.blend(x, y, [r, g, b], coverage(x as f32 + 0.5, y as f32 + 0.5) * f32::from(a) / 255.0);
            }
        }
    }

    fn blend(&mut self, x: i32, y: i32, rgb: [u8; 3], alpha: f32) {
        if alpha <= 0.0 {
            return;
        }
        let at = &mut self.rgb[(y * self.w + x) as usize];
        for (below, above) in at.iter_mut().zip(rgb) {
            *below = (f32::from(*below) + (f32::from(above) - f32::from(*below)) * alpha.min(1.0)).round() as u8;
        }
    }

    /// Writes a PNG, for looking at.
    pub fn save(&self, path: &std::path::Path) {
        let bytes: Vec<u8> = self.rgb.iter().flatten().copied().collect();
        let picture = image::RgbImage::from_raw(self.w as u32, self.h as u32, bytes).expect("three bytes a pixel");
        picture.save(path).expect("the picture can be written");
    }

    /// Mean absolute difference over all channels, 0 to 255.
    pub fn difference(&self, other: &Canvas) -> f64 {
        let sum: u64 = self
            .rgb
            .iter()
            .zip(&other.rgb)
            .flat_map(|(a, b)| a.iter().zip(b).map(|(x, y)| u64::from(x.abs_diff(*y))))
            .sum();
        sum as f64 / (self.rgb.len() * 3) as f64
    }
}

/// How much of a pixel is inside at this signed distance (negative inside).
fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Signed distance to a rectangle with rounded corners (top left, top right, bottom right, bottom left).
fn rounded(r: Rect, radius: [f32; 4], x: f32, y: f32) -> f32 {
    let (cx, cy) = (r.x + r.w / 2.0, r.y + r.h / 2.0);
    let radius = match (x < cx, y < cy) {
        (true, true) => radius[0],
        (false, true) => radius[1],
        (false, false) => radius[2],
        (true, false) => radius[3],
    };
    let (dx, dy) = ((x - cx).abs() - r.w / 2.0 + radius, (y - cy).abs() - r.h / 2.0 + radius);
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
}

fn cross(a: [f32; 2], b: [f32; 2]) -> f32 {
    a[0] * b[1] - a[1] * b[0]
}

/// Colours weighted with their alpha, so that transparent texels bring no colour of their own.
fn bilinear(u: f32, v: f32, texel: impl Fn(i32, i32) -> [f32; 4]) -> [f32; 4] {
    let (x, y) = (u.floor(), v.floor());
    let (fx, fy) = (u - x, v - y);
    let mut sum = [0.0; 4];
    for (dx, dy, w) in
        [(0, 0, (1.0 - fx) * (1.0 - fy)), (1, 0, fx * (1.0 - fy)), (0, 1, (1.0 - fx) * fy), (1, 1, fx * fy)]
    {
        let t = texel(x as i32 + dx, y as i32 + dy);
        for k in 0..3 {
            sum[k] += t[k] * t[3] * w;
        }
        sum[3] += t[3] * w;
    }
    if sum[3] <= 0.0 { [0.0; 4] } else { [sum[0] / sum[3], sum[1] / sum[3], sum[2] / sum[3], sum[3]] }
}
