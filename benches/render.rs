//! What a picture costs: `cargo bench --bench render` (`cargo test --bench render` for the dev profile).
//!
//! Prints the median of several runs: CPU time of the whole process (on a software adapter the rasteriser's threads are
//! in it) and wall time, in ms a frame.

#[path = "../tests/support/mod.rs"]
mod support;

use agentcast::draw::*;
use agentcast::overlay::{Badge, Composer, OnAir, Theme};
use agentcast::raster::Raster;
use agentcast::render::{AdapterChoice, Gpu, GpuRenderer, Renderer};
use std::sync::Arc;
use std::time::Instant;
use support::matches;

fn main() {
    let gpu = Gpu::open(AdapterChoice::Auto).expect("an adapter");
    println!("{}", gpu.adapter());
    for size in [Size::HD, Size::FULL_HD] {
        let (list, mut raster) = chess(size);
        println!("\n{} x {}: {} base items, {} live items", size.w, size.h, list.base.len(), list.live.len());
        println!("{:44} {:>9} {:>9}", "", "CPU ms", "wall ms");
        let start = (cpu_ms(), Instant::now());
        let mut renderer = GpuRenderer::new(gpu.clone(), size).expect("a renderer");
        renderer.render(&list, &mut raster).expect("drawn");
        row("first frame, textures and glyphs included", cpu_ms() - start.0, ms(start.1));

        let bar = |i: usize| {
            let k = size.w as f32 / 1280.0;
            let rect = Rect::new(190.0 * k, 352.0 * k, 900.0 * k, 16.0 * k);
            quad(rect, Color::rgb(60, 130, 200 + (i % 2) as u8))
        };
        // Invisible, but its colour changes: the whole picture is damaged.
        let veil = |i: usize| quad(Rect::new(0.0, 0.0, size.w as f32, size.h as f32), Color([i as u8 % 2, 0, 0, 0]));
        let with = |items: &[Item], item: Item| DrawList { live: [items, &[item]].concat(), ..list.clone() };
        let mut measure = |name: &str, n: usize, lists: [DrawList; 2]| {
            let mut times = Vec::new();
            for _ in 0..7 {
                let start = (cpu_ms(), Instant::now());
                for list in lists.iter().cycle().take(n) {
                    renderer.render(list, &mut raster).expect("drawn");
                }
                times.push(((cpu_ms() - start.0) / n as f64, ms(start.1) / n as f64));
            }
            let median = |pick: fn(&(f64, f64)) -> f64| {
                let mut v: Vec<f64> = times.iter().map(pick).collect();
                v.sort_by(f64::total_cmp);
                v[v.len() / 2]
            };
            row(name, median(|t| t.0), median(|t| t.1));
        };
        let new_base = DrawList { base: Arc::new([&list.base[..], &[veil(0)]].concat()), ..list.clone() };
        measure("new base baked, all redrawn", 10, [list.clone(), new_base]);
        measure("all redrawn over the base", 10, [0, 1].map(|i| with(&list.live, veil(i))));
        measure("base restored, NV12, read back: no items", 10, [0, 1].map(|i| with(&[], veil(i))));
        measure("one bar of 900 x 16 (scaled)", 60, [0, 1].map(|i| with(&list.live, bar(i))));
        measure("nothing changed", 600, [list.clone(), list.clone()]);
    }
}

/// The busiest common picture: a chess match with thoughts, clocks, a board, counters and a ticker.
fn chess(size: Size) -> (DrawList, Raster) {
    let mut raster = matches::raster();
    let show = matches::shown(matches::chess(), 0);
    let on_air = OnAir { badge: Badge::Live, viewers: Some(12_400), ..OnAir::default() };
    let mut composer = Composer::new(Theme::named("arena").expect("a theme"), size).expect("a size");
    let list = composer.compose(&show, &on_air, show.scene(100), 100, &mut raster);
    (list, raster)
}

fn quad(rect: Rect, fill: Color) -> Item {
    Item { clip: None, shape: Shape::Quad(Quad { rect, fill, radius: [0.0; 4], border: None, shadow: None }) }
}

fn row(name: &str, cpu: f64, wall: f64) {
    println!("{name:44} {cpu:9.3} {wall:9.3}");
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// CPU time of all threads of this process.
fn cpu_ms() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call, which writes to it and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}
