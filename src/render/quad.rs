use super::passes::{Drawing, layout, shader};
use super::recorder::{Kind, Recorder};
use crate::draw::{Color, IRect, Quad, Rect};

/// Rectangles. Their insides and straight whole-pixel edges are plain fills; only corners and fractional edges, a few
/// pixels, pay for the distance function (it costs a software rasteriser ten times as much).
pub(super) struct QuadPass {
    pub opaque: wgpu::RenderPipeline,
    pub plain: wgpu::RenderPipeline,
    pub round: wgpu::RenderPipeline,
}

mod gpu_data {
    use super::super::recorder::Extent;
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Plain {
        pub extent: Extent,
        pub color: [u8; 4],
    }

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Round {
        pub extent: Extent,
        /// x0, y0, x1, y1.
        pub rect: [f32; 4],
        pub radius: [f32; 4],
        pub fill: [u8; 4],
        pub border: [u8; 4],
        pub width: f32,
    }
}

impl QuadPass {
    pub fn new(device: &wgpu::Device, view: &wgpu::BindGroupLayout) -> QuadPass {
        let module = shader(device, "quad", include_str!("../../shaders/quad.wgsl"));
        let layout = layout(device, "quad", &[view]);
        let plain = |label, opaque| {
            Drawing {
                label,
                module: &module,
                layout: &layout,
                vertex: "vs_plain",
                fragment: "fs_plain",
                stride: size_of::<gpu_data::Plain>(),
                attributes: &wgpu::vertex_attr_array![0 => Sint16x4, 1 => Unorm8x4],
                opaque,
            }
            .build(device)
        };
        QuadPass {
            opaque: plain("quad opaque", true),
            plain: plain("quad plain", false),
            round: Drawing {
                label: "quad round",
                module: &module,
                layout: &layout,
                vertex: "vs_round",
                fragment: "fs_round",
                stride: size_of::<gpu_data::Round>(),
                attributes: &wgpu::vertex_attr_array![
                    0 => Sint16x4, 1 => Float32x4, 2 => Float32x4, 3 => Unorm8x4, 4 => Unorm8x4, 5 => Float32
                ],
                opaque: false,
            }
            .build(device),
        }
    }
}

/// Records one quad, its shadow first.
pub(super) fn record(quad: &Quad, out: &mut Recorder) {
    let r = quad.rect;
    if ![r.x, r.y, r.w, r.h].iter().all(|v| v.is_finite()) || r.w <= 0.0 || r.h <= 0.0 {
        return;
    }
    let radius = fit_radii(quad.radius, r);
    if let Some((dy, color)) = quad.shadow.filter(|(dy, c)| dy.is_finite() && *dy != 0.0 && c.0[3] > 0) {
        let shadow = Shape { rect: Rect { y: r.y + dy, ..r }, radius, fill: color, border: None };
        let mut shown = shadow.rect.outer();
        if quad.fill.0[3] == 255 {
            // An opaque quad hides its shadow but for a strip that its lower (or upper) corners open.
            if dy > 0.0 {
                shown.y0 = shown.y0.max((r.bottom() - radius[2].max(radius[3])).floor() as i32 - 1);
            } else {
                shown.y1 = shown.y1.min((r.y + radius[0].max(radius[1])).ceil() as i32 + 1);
            }
        }
        shadow.record(shown, out);
    }
    let border = quad.border.filter(|(w, c)| *w > 0.0 && c.0[3] > 0);
    Shape { rect: r, radius, fill: quad.fill, border }.record(r.outer(), out);
}

/// Radii that fit the rectangle, scaled together as CSS does (Backgrounds and Borders 3, section 4.5).
fn fit_radii(radius: [f32; 4], r: Rect) -> [f32; 4] {
    let [tl, tr, br, bl] = radius.map(|v| if v.is_finite() { v.max(0.0) } else { 0.0 });
    let scale = [(r.w, tl + tr), (r.w, bl + br), (r.h, tl + bl), (r.h, tr + br)]
        .into_iter()
        .map(|(side, sum)| if sum > side { side / sum } else { 1.0 })
        .fold(1.0, f32::min);
    [tl, tr, br, bl].map(|v| v * scale)
}

struct Shape {
    rect: Rect,
    radius: [f32; 4],
    fill: Color,
    border: Option<(f32, Color)>,
}

impl Shape {
    /// Cuts the shape into a grid of three by three and records each cell as cheaply as it can be drawn.
    fn record(&self, shown: IRect, out: &mut Recorder) {
        if !out.wants(shown) {
            return;
        }
        let r = self.rect;
        let whole = |a: f32, b: f32| a.fract() == 0.0 && b.fract() == 0.0;
        let width = self.border.map_or(0.0, |(w, _)| w);
        let (x_whole, y_whole) = (whole(r.x, r.right()), whole(r.y, r.bottom()));
        let edge = self.radius.into_iter().fold(width, f32::max);
        let all = r.outer();
        if edge == 0.0 && x_whole && y_whole {
            return plain(self.fill, all.intersect(shown), out);
        }
        let inner = IRect {
            x0: (r.x + edge).ceil() as i32,
            y0: (r.y + edge).ceil() as i32,
            x1: (r.right() - edge).floor() as i32,
            y1: (r.bottom() - edge).floor() as i32,
        };
        if inner.x1 < inner.x0 || inner.y1 < inner.y0 {
            return self.round(all.intersect(shown), out);
        }
        let straight = width.fract() == 0.0;
        let xs = [all.x0, inner.x0, inner.x1, all.x1];
        let ys = [all.y0, inner.y0, inner.y1, all.y1];
        for row in 0..3 {
            for column in 0..3 {
                let cell = IRect { x0: xs[column], y0: ys[row], x1: xs[column + 1], y1: ys[row + 1] }.intersect(shown);
                match (column, row) {
                    (1, 1) => plain(self.fill, cell, out),
                    (1, _) if y_whole && straight => self.edge(cell, out),
                    (_, 1) if x_whole && straight => self.edge(cell, out),
                    _ => self.round(cell, out),
                }
            }
        }
    }

    /// A cell along a straight whole-pixel edge: fill inside, border outside.
    fn edge(&self, cell: IRect, out: &mut Recorder) {
        let Some((width, color)) = self.border else { return plain(self.fill, cell, out) };
        let (b, w) = (self.rect.outer(), width as i32);
        plain(self.fill, cell.intersect(IRect { x0: b.x0 + w, y0: b.y0 + w, x1: b.x1 - w, y1: b.y1 - w }), out);
        // A cell touches one side only: corners are cells of their own, at least as large as the border is wide.
        let sides = [
            IRect { y1: b.y0 + w, ..b },
            IRect { y0: b.y1 - w, ..b },
            IRect { x1: b.x0 + w, ..b },
            IRect { x0: b.x1 - w, ..b },
        ];
        for side in sides {
            plain(color, side.intersect(cell), out);
        }
    }

    fn round(&self, cell: IRect, out: &mut Recorder) {
        // Border and fill share the pixels of the outer edge, too: without a border it must be the fill.
        let (width, border) = self.border.unwrap_or((0.0, self.fill));
        if cell.is_empty() || (self.fill.0[3] == 0 && border.0[3] == 0) {
            return;
        }
        let r = self.rect;
        out.push(Kind::Round, cell, |extent| gpu_data::Round {
            extent,
            rect: [r.x, r.y, r.right(), r.bottom()],
            radius: self.radius,
            fill: self.fill.0,
            border: border.0,
            width,
        });
    }
}

/// Whole pixels of one colour.
pub(super) fn plain(color: Color, area: IRect, out: &mut Recorder) {
    let kind = match color.0[3] {
        0 => return,
        255 => Kind::Opaque,
        _ => Kind::Plain,
    };
    if !area.is_empty() {
        out.push(kind, area, |extent| gpu_data::Plain { extent, color: color.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(quad: &Quad) -> Recorder {
        let mut out = Recorder::default();
        out.regions(&[IRect { x0: 0, y0: 0, x1: 400, y1: 400 }]);
        record(quad, &mut out);
        out
    }

    fn quad(rect: Rect, radius: f32) -> Quad {
        Quad { rect, fill: Color::rgb(9, 9, 9), radius: [radius; 4], border: None, shadow: None }
    }

    #[test]
    fn quad_without_corners_is_one_plain_fill() {
        let out = recorded(&quad(Rect::new(10.0, 10.0, 100.0, 50.0), 0.0));
        assert_eq!(out.batches.len(), 1);
        assert_eq!((out.batches[0].kind, out.batches[0].count), (Kind::Opaque, 1));
    }

    #[test]
    fn quad_rounded_shades_only_its_corners() {
        let out = recorded(&quad(Rect::new(10.0, 10.0, 100.0, 50.0), 8.0));
        let shaded: u32 = out.batches.iter().filter(|b| b.kind == Kind::Round).map(|b| b.count).sum();
        assert_eq!(shaded, 4);
    }

    #[test]
    fn quad_not_finite_or_empty_draws_nothing() {
        for rect in [Rect::new(f32::NAN, 0.0, 5.0, 5.0), Rect::new(0.0, 0.0, 0.0, 5.0), Rect::new(0.0, 0.0, 5.0, -1.0)]
        {
            assert!(recorded(&quad(rect, 2.0)).batches.is_empty());
        }
    }

    #[test]
    fn radii_larger_than_the_rectangle_shrink_together() {
        let r = fit_radii([20.0, 10.0, 0.0, 0.0], Rect::new(0.0, 0.0, 15.0, 100.0));
        assert_eq!(r, [10.0, 5.0, 0.0, 0.0]);
    }
}
