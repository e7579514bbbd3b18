//! One shared device, made-up glyphs and pictures, random lists, comparison with pictures left behind on failure.

use crate::support::cpu::{self, Canvas};
use agentcast::draw::*;
use agentcast::raster::{GlyphImage, GlyphKey, ImageKey, PixelSource, Pixels};
use agentcast::render::{AdapterChoice, Gpu, GpuRenderer, Renderer};
use cosmic_text::{CacheKeyFlags, Weight, fontdb};
use std::sync::{Arc, OnceLock};

pub const SIZE: Size = Size { w: 160, h: 96 };

pub fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(AdapterChoice::Auto).expect("an adapter: install mesa-vulkan-drivers")).clone()
}

pub fn renderer(size: Size) -> GpuRenderer {
    GpuRenderer::new(gpu(), size).expect("a renderer")
}

/// Glyphs and pictures made of their number.
#[derive(Default)]
pub struct Source {
    /// How many glyphs and pictures were asked for.
    pub glyphs: usize,
    pub images: usize,
}

/// Glyph `id`: from 200 on 60 × 60 px, every seventh in colour.
pub fn glyph_key(id: u16) -> GlyphKey {
    GlyphKey::new(fontdb::ID::dummy(), id, 20.0, (0.0, 0.0), Weight(400), CacheKeyFlags::empty()).0
}

impl PixelSource for Source {
    fn glyph(&mut self, key: GlyphKey) -> Option<GlyphImage> {
        self.glyphs += 1;
        let id = u32::from(key.glyph_id);
        if id == 0 {
            return None;
        }
        let (w, h) = if id >= 200 { (60, 60) } else { (3 + id % 11, 4 + id % 9) };
        let color = id.is_multiple_of(7);
        let mut rng = fastrand::Rng::with_seed(u64::from(id));
        let data = (0..w * h * if color { 4 } else { 1 }).map(|_| rng.u8(..)).collect();
        Some(GlyphImage { left: (id % 3) as i32 - 1, top: (id % 9) as i32, w, h, data, color })
    }

    /// Picture `n`: 8 + n px wide and 12 px high; even ones have holes.
    fn image(&mut self, key: ImageKey) -> Option<Arc<Pixels>> {
        self.images += 1;
        let n = key.0 as u32;
        let (w, h) = (8 + n, 12);
        let mut rng = fastrand::Rng::with_seed(key.0);
        let rgba = (0..w * h)
            .flat_map(|_| [rng.u8(..), rng.u8(..), rng.u8(..), if n.is_multiple_of(2) { rng.u8(..) } else { 255 }])
            .collect();
        Some(Arc::new(Pixels { w, h, rgba }))
    }
}

pub fn item(shape: Shape) -> Item {
    Item { clip: None, shape }
}

pub fn quad(rect: Rect, fill: Color) -> Quad {
    Quad { rect, fill, radius: [0.0; 4], border: None, shadow: None }
}

pub fn image(key: u64, rect: Rect) -> Image {
    Image { rect, image: ImageKey(key), uv: [0.0, 0.0, 1.0, 1.0], radius: 0.0, nearest: true, opacity: 255 }
}

/// Glyphs in rows, `step` px apart, with their true ink.
pub fn run(ids: &[u16], origin: [f32; 2], step: i32, columns: usize, color: Color) -> GlyphRun {
    let mut ink: Option<IRect> = None;
    let glyphs: Arc<[Glyph]> = ids
        .iter()
        .enumerate()
        .map(|(i, id)| {
            let (x, y) = ((i % columns) as i32 * step, (i / columns) as i32 * step);
            if let Some(g) = Source::default().glyph(glyph_key(*id)) {
                let (x0, y0) = (x + g.left, y - g.top);
                let area = IRect { x0, y0, x1: x0 + g.w as i32, y1: y0 + g.h as i32 };
                ink = Some(ink.map_or(area, |i| i.union(area)));
            }
            Glyph { key: glyph_key(*id), x, y }
        })
        .collect();
    GlyphRun { glyphs, origin, color, ink: ink.unwrap_or_default() }
}

pub fn list(size: Size, base: Vec<Item>, live: Vec<Item>) -> DrawList {
    DrawList { size, base: Arc::new(base), live }
}

/// Draws the list in a renderer of its own.
pub fn draw(list: &DrawList) -> Canvas {
    let mut renderer = renderer(list.size);
    renderer.render(list, &mut Source::default()).expect("drawn");
    grab(&mut renderer)
}

pub fn grab(renderer: &mut GpuRenderer) -> Canvas {
    let size = renderer.size();
    let rgba = renderer.read_rgba().expect("a picture");
    assert!(rgba.chunks_exact(4).all(|p| p[3] == 255), "the picture is opaque");
    let rgb = rgba.chunks_exact(4).map(|p| [p[0], p[1], p[2]]).collect();
    Canvas { w: size.w as i32, h: size.h as i32, rgb }
}

/// The GPU's picture is the CPU's but for `worst` code values in any channel.
pub fn assert_drawn(name: &str, list: &DrawList, worst: u8) {
    assert_near(name, &draw(list), &cpu::draw(list, &mut Source::default()), worst);
}

/// On failure leaves the actual, the expected and the (amplified) difference picture behind.
pub fn assert_near(name: &str, actual: &Canvas, expected: &Canvas, worst: u8) {
    let delta = |a: &[u8; 3], b: &[u8; 3]| [0, 1, 2].map(|c| a[c].abs_diff(b[c]));
    let deltas: Vec<[u8; 3]> = actual.rgb.iter().zip(&expected.rgb).map(|(a, b)| delta(a, b)).collect();
    let most = |d: &[u8; 3]| d.iter().copied().max().unwrap_or(0);
    let Some((at, d)) = deltas.iter().enumerate().max_by_key(|(_, d)| most(d)) else { return };
    if most(d) <= worst {
        return;
    }
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let amplified = deltas.iter().map(|d| d.map(|v| v.saturating_mul(8))).collect();
    let difference = Canvas { rgb: amplified, ..actual.clone() };
    for (kind, canvas) in [("actual", actual), ("expected", expected), ("difference", &difference)] {
        canvas.save(&dir.join(format!("{name}-{kind}.png")));
    }
    let (x, y) = (at as i32 % actual.w, at as i32 / actual.w);
    panic!(
        "{name}: at {x},{y} {:?} instead of {:?} ({} pixels off by more than {worst}); see {}",
        actual.rgb[at],
        expected.rgb[at],
        deltas.iter().filter(|d| most(d) > worst).count(),
        dir.display()
    );
}

/// Any item: whole or fractional, opaque or not, inside or across the border of the picture, clipped or not.
pub fn any_item(rng: &mut fastrand::Rng) -> Item {
    let (w, h) = (SIZE.w as f32, SIZE.h as f32);
    let fine = if rng.bool() { 1.0 } else { 0.25 };
    let snap = |v: f32| (v / fine).floor() * fine;
    let rect = Rect::new(
        snap(rng.f32() * (w + 20.0) - 20.0),
        snap(rng.f32() * (h + 20.0) - 20.0),
        snap(rng.f32() * 70.0) + 1.0,
        snap(rng.f32() * 40.0) + 1.0,
    );
    let color = any_color(rng);
    let shape = match rng.u32(0..8) {
        0..=2 => {
            let r = [0.0, 4.0, 6.5][rng.usize(0..3)];
            Shape::Quad(Quad {
                rect,
                fill: color,
                radius: if rng.bool() { [r; 4] } else { [r, 0.0, r, 0.0] },
                border: rng.bool().then(|| ([1.0, 2.0, 1.5][rng.usize(0..3)], any_color(rng))),
                shadow: rng.bool().then(|| (rng.u32(1..7) as f32, any_color(rng))),
            })
        }
        3 => {
            // Points of an ellipse in order make a convex polygon.
            let n = rng.usize(3..=8);
            let turn = rng.f32();
            let points = (0..n).map(|i| {
                let (s, c) = ((i as f32 + turn) / n as f32 * std::f32::consts::TAU).sin_cos();
                [rect.x + rect.w * (0.5 + 0.5 * c), rect.y + rect.h * (0.5 + 0.5 * s)]
            });
            Shape::Path(Path { points: points.collect(), fill: color })
        }
        4..=5 => {
            let ids: Vec<u16> = (0..rng.usize(1..12)).map(|_| rng.u16(0..60)).collect();
            Shape::Glyphs(run(&ids, [rect.x, rect.y], 9, 6, color))
        }
        _ => Shape::Image(Image {
            rect,
            image: ImageKey(rng.u64(0..6)),
            uv: [0.0, 0.0, 1.0, 1.0],
            radius: if rng.bool() { 5.0 } else { 0.0 },
            nearest: rng.bool(),
            opacity: if rng.bool() { 255 } else { rng.u8(..) },
        }),
    };
    let clip = (rng.u32(0..4) == 0).then(|| {
        let (x0, y0) = (rng.i32(0..SIZE.w as i32), rng.i32(0..SIZE.h as i32));
        IRect { x0, y0, x1: x0 + rng.i32(1..80), y1: y0 + rng.i32(1..50) }
    });
    Item { clip, shape }
}

pub fn any_color(rng: &mut fastrand::Rng) -> Color {
    let alpha = if rng.bool() { 255 } else { rng.u8(..) };
    Color([rng.u8(..), rng.u8(..), rng.u8(..), alpha])
}
