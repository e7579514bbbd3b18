use super::passes::{Drawing, layout, shader};
use super::quad::plain;
use super::recorder::{Kind, Recorder};
use crate::draw::{IRect, Path};

/// Convex polygons with anti-aliased edges.
pub(super) struct PathPass {
    pub pipeline: wgpu::RenderPipeline,
}

/// Rows of a large polygon that are cut at once into an inside, which is a plain fill, and its two edges.
const BAND: i32 = 16;
/// The inside must be this wide, px, for the cut to pay.
const WIDE: i32 = 8;
const MAX_POINTS: usize = 8;

mod gpu_data {
    use super::super::recorder::Extent;
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Polygon {
        pub extent: Extent,
        pub color: [u8; 4],
        pub nx: [f32; 8],
        pub ny: [f32; 8],
        pub c: [f32; 8],
    }
}

impl PathPass {
    pub fn new(device: &wgpu::Device, view: &wgpu::BindGroupLayout) -> PathPass {
        let module = shader(device, "path", include_str!("../../shaders/path.wgsl"));
        let layout = layout(device, "path", &[view]);
        PathPass {
            pipeline: Drawing {
                label: "path",
                module: &module,
                layout: &layout,
                vertex: "vs_path",
                fragment: "fs_path",
                stride: size_of::<gpu_data::Polygon>(),
                attributes: &wgpu::vertex_attr_array![
                    0 => Sint16x4, 1 => Unorm8x4, 2 => Float32x4, 3 => Float32x4,
                    4 => Float32x4, 5 => Float32x4, 6 => Float32x4, 7 => Float32x4
                ],
                opaque: false,
            }
            .build(device),
        }
    }
}

/// Records one polygon. One with fewer than 3 or more than 8 points, or without area, draws nothing.
pub(super) fn record(path: &Path, bounds: IRect, out: &mut Recorder) {
    let Some(edges) = Edges::new(&path.points) else { return };
    if path.fill.0[3] == 0 {
        return;
    }
    let shade = |area: IRect, out: &mut Recorder| {
        if !area.is_empty() {
            out.push(Kind::Path, area, |extent| gpu_data::Polygon {
                extent,
                color: path.fill.0,
                nx: edges.nx,
                ny: edges.ny,
                c: edges.c,
            });
        }
    };
    let mut y = bounds.y0;
    while y < bounds.y1 {
        let band = IRect { y0: y, y1: (y + BAND).min(bounds.y1), ..bounds };
        y = band.y1;
        if !out.wants(band) {
            continue;
        }
        let band = band.intersect(reach(&path.points, band));
        match edges.inside(band) {
            Some((x0, x1)) if x1 - x0 >= WIDE => {
                shade(IRect { x1: x0, ..band }, out);
                plain(path.fill, IRect { x0, x1, ..band }, out);
                shade(IRect { x0: x1, ..band }, out);
            }
            _ => shade(band, out),
        }
    }
}

/// Half-planes: nx·x + ny·y + c is the distance from the edge in px, positive inside.
struct Edges {
    nx: [f32; MAX_POINTS],
    ny: [f32; MAX_POINTS],
    c: [f32; MAX_POINTS],
}

impl Edges {
    fn new(points: &[[f32; 2]]) -> Option<Edges> {
        if !(3..=MAX_POINTS).contains(&points.len()) || points.iter().flatten().any(|v| !v.is_finite()) {
            return None;
        }
        let pairs = || points.iter().zip(points.iter().cycle().skip(1));
        let area: f32 = pairs().map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
        if area.abs() < 1e-3 {
            return None;
        }
        // Edges that are not there cover everything.
        let mut edges = Edges { nx: [0.0; 8], ny: [0.0; 8], c: [1.0; 8] };
        for (i, (a, b)) in pairs().enumerate() {
            let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
            let length = dx.hypot(dy);
            if length < 1e-4 {
                continue;
            }
            let scale = area.signum() / length;
            edges.nx[i] = -dy * scale;
            edges.ny[i] = dx * scale;
            edges.c[i] = -(edges.nx[i] * a[0] + edges.ny[i] * a[1]);
        }
        Some(edges)
    }

    /// Columns `x0..x1` that every row of the band covers wholly. What is covered wholly is convex too, so the first and
    /// the last row decide.
    fn inside(&self, band: IRect) -> Option<(i32, i32)> {
        let (mut low, mut high) = (band.x0 as f32, band.x1 as f32);
        for y in [band.y0 as f32 + 0.5, band.y1 as f32 - 0.5] {
            for i in 0..MAX_POINTS {
                // Half a pixel inside the edge, and a little more against rounding.
                let rest = self.ny[i] * y + self.c[i] - 0.501;
                if self.nx[i].abs() < 1e-6 {
                    if rest < 0.0 {
                        return None;
                    }
                } else if self.nx[i] > 0.0 {
                    low = low.max(-rest / self.nx[i]);
                } else {
                    high = high.min(-rest / self.nx[i]);
                }
            }
        }
        // Pixel x is sampled at x + 0.5.
        let (x0, x1) = ((low - 0.5).ceil() as i32, (high - 0.5).floor() as i32 + 1);
        let (x0, x1) = (x0.max(band.x0), x1.min(band.x1));
        (x0 < x1).then_some((x0, x1))
    }
}

/// The columns that the polygon can touch within the band.
fn reach(points: &[[f32; 2]], band: IRect) -> IRect {
    let (top, bottom) = (band.y0 as f32 - 1.0, band.y1 as f32 + 1.0);
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    let mut add = |x: f32| {
        low = low.min(x);
        high = high.max(x);
    };
    for (a, b) in points.iter().zip(points.iter().cycle().skip(1)) {
        if (top..=bottom).contains(&a[1]) {
            add(a[0]);
        }
        for y in [top, bottom] {
            let t = (y - a[1]) / (b[1] - a[1]);
            if (0.0..=1.0).contains(&t) {
                add(a[0] + t * (b[0] - a[0]));
            }
        }
    }
    if low > high {
        return IRect::default();
    }
    IRect { x0: low.floor() as i32 - 1, x1: high.ceil() as i32 + 1, ..band }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Color, Item, Shape};

    fn kinds(points: &[[f32; 2]]) -> Vec<Kind> {
        let path = Path { points: points.to_vec(), fill: Color::rgb(1, 2, 3) };
        let mut out = Recorder::default();
        out.regions(&[IRect { x0: 0, y0: 0, x1: 1000, y1: 1000 }]);
        let bounds = Item { clip: None, shape: Shape::Path(path.clone()) }.bounds();
        record(&path, bounds, &mut out);
        out.batches.iter().map(|b| b.kind).collect()
    }

    #[test]
    fn path_large_is_filled_inside_and_shaded_at_its_edges() {
        let kinds = kinds(&[[100.0, 0.0], [400.0, 0.0], [350.0, 200.0], [50.0, 200.0]]);
        assert!(kinds.contains(&Kind::Opaque) && kinds.contains(&Kind::Path));
    }

    #[test]
    fn path_in_either_winding_has_the_same_inside() {
        let points = [[100.0, 0.0], [400.0, 0.0], [350.0, 200.0], [50.0, 200.0]];
        let mut turned = points;
        turned.reverse();
        let band = IRect { x0: 0, y0: 32, x1: 500, y1: 48 };
        let inside = |p: &[[f32; 2]]| Edges::new(p).and_then(|e| e.inside(band));
        assert!(inside(&points).is_some());
        assert_eq!(inside(&points), inside(&turned));
    }

    #[test]
    fn path_degenerate_draws_nothing() {
        assert!(kinds(&[[0.0, 0.0], [10.0, 10.0]]).is_empty());
        assert!(kinds(&[[0.0, 0.0], [10.0, 10.0], [20.0, 20.0]]).is_empty());
        assert!(kinds(&[[0.0, 0.0], [f32::NAN, 10.0], [20.0, 0.0]]).is_empty());
    }
}
