//! What each pass of a frame costs, on 10 s of a chess, a Battlesnake and a poker match at 720p30 and 1080p30.
//!
//! ```text
//! cargo bench --bench passes
//! ```
//!
//! The passes run one after the other, and their times are of the wall; the last row is processor time of all threads, those
//! of a software rasteriser included. AGENTCAST_ADAPTER chooses the graphics adapter.

use agentcast::draw::{Damage, DrawList, Size};
use agentcast::encode::{H264Encoder, Profile, TICKS, VideoCodec, VideoEncoder, VideoSettings};
use agentcast::game::View;
use agentcast::game::adapters::{self, Record};
use agentcast::overlay::{Badge, Composer, MediaMs, Motion, OnAir, Presentation, Theme};
use agentcast::raster::{FontSet, Pictures, Raster, SYSTEM_DIRS, Typesetter};
use agentcast::render::{AdapterChoice, Gpu, GpuRenderer, Renderer};
use agentcast::stream::{Replay, ReplayOptions, Source};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORDS: [(&str, &[u8]); 3] = [
    ("chess", include_bytes!("../assets/demo/chess.pgn")),
    ("Battlesnake", include_bytes!("../assets/demo/snakes.jsonl")),
    ("poker", include_bytes!("../assets/demo/poker.phh")),
];
const FPS: i64 = 30;
/// Frames are measured from here on; those of the second before fill the caches.
const FROM: MediaMs = 10_000;
const FRAMES: i64 = 10 * FPS;
/// Every so many frames one is also drawn whole.
const WHOLE_EVERY: i64 = 10;

/// Times of one pass.
#[derive(Default)]
struct Times {
    wall: Vec<Duration>,
    /// Processor time of all of them together.
    cpu: Duration,
}

/// When something began, on the wall and on the processor.
struct Began(Instant, Duration);

/// The passes of one match at one size.
#[derive(Default)]
struct Passes {
    apply: Times,
    compose: Times,
    damage: Times,
    render: Times,
    convert: Times,
    render_whole: Times,
    convert_whole: Times,
    changed: Times,
    unchanged: Times,
    /// Damaged pixels of all changed frames.
    area: i64,
}

impl Times {
    /// Runs `work` and keeps how long it took, if `keep`.
    fn time<T>(&mut self, keep: bool, work: impl FnOnce() -> T) -> T {
        let began = Began::now();
        let value = work();
        if keep {
            self.add(began.over());
        }
        value
    }

    fn add(&mut self, (wall, cpu): (Duration, Duration)) {
        self.wall.push(wall);
        self.cpu += cpu;
    }

    /// The value that this share of the times does not exceed, ms.
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut times = self.wall.clone();
        times.sort();
        let i = (times.len() as f64 * share) as usize;
        times.get(i.min(times.len().saturating_sub(1))).map(|t| t.as_secs_f64() * 1e3)
    }
}

impl Began {
    fn now() -> Began {
        Began(Instant::now(), processor_time())
    }

    fn over(&self) -> (Duration, Duration) {
        (self.0.elapsed(), processor_time() - self.1)
    }
}

/// Of all threads of this process, those that ended too.
fn processor_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call, which writes to it and to nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Median and 99th percentile, ms.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.quantile(0.5), self.quantile(0.99)) {
            (Some(median), Some(most)) => write!(f, "{median:>9.3} {most:>9.3}"),
            _ => write!(f, "{:>9} {:>9}", "-", "-"),
        }
    }
}

fn main() {
    // x264 sums up on standard error otherwise.
    agentcast::output::log::install();
    let adapter = std::env::var("AGENTCAST_ADAPTER").ok();
    let gpu = Gpu::open(AdapterChoice::from(adapter)).expect("the benchmark needs a graphics adapter");
    println!("drawing on {}", gpu.adapter());
    if cfg!(debug_assertions) {
        println!("(dev profile: agentcast's own code is lightly optimised; `make bench` uses the release profile)");
    }
    for (size, kbps) in [(Size::HD, 3_000), (Size::FULL_HD, 6_000)] {
        let all = RECORDS.map(|(_, bytes)| {
            let record = adapters::read(bytes, None).expect("a bundled record");
            measure(&gpu, record, size, kbps)
        });
        print(&all, size);
    }
}

fn measure(gpu: &Arc<Gpu>, record: Record, size: Size, kbps: u32) -> Passes {
    let mut replay = Replay::new(record, ReplayOptions::default());
    let mut show = Presentation::new(Motion::default());
    let theme = Theme::named("arena").expect("a built-in theme");
    let mut composer = Composer::new(theme, size).expect("a size that is laid out");
    let mut raster = Raster { text: Typesetter::new(FontSet::system(&SYSTEM_DIRS)), pictures: Pictures::default() };
    let mut renderer = GpuRenderer::new(gpu.clone(), size).expect("a renderer");
    let mut whole = GpuRenderer::new(gpu.clone(), size).expect("a renderer");
    let mut encoder = H264Encoder::open(video(size, kbps)).expect("x264 opens");
    let on_air = OnAir { badge: Badge::Live, ..OnAir::default() };
    let view = View::Spectator;

    let mut passes = Passes::default();
    let mut last: Option<DrawList> = None;
    for n in -FPS..FRAMES {
        let (t, measured) = (FROM + n * 1000 / FPS, n >= 0);
        let began = Began::now();
        let states = replay.poll(t);
        let turn = !states.is_empty();
        for (at, state) in states {
            show.advance(Arc::new(view.filter(&state)), at);
        }
        if measured && turn {
            passes.apply.add(began.over());
        }

        let list = passes.compose.time(measured, || composer.compose(&show, &on_air, show.scene(t), t, &mut raster));
        if let Some(last) = &last {
            passes.damage.time(measured, || Damage::between(last, &list));
        }
        // Whether it counts is known only afterwards.
        let began = Began::now();
        let rendered = renderer.render(&list, &mut raster).expect("a picture");
        let took = began.over();
        let changed = rendered.damage != Damage::None;
        if changed && measured {
            passes.render.add(took);
            passes.area += rendered.damage.area(size);
            passes.convert.time(true, || renderer.convert_again(&rendered.damage)).expect("a conversion");
        }
        let kind = if changed { &mut passes.changed } else { &mut passes.unchanged };
        let pts = (n + FPS) * TICKS / FPS;
        kind.time(measured, || encoder.encode(&rendered.frame, pts, changed, false)).expect("an access unit");

        if n.rem_euclid(WHOLE_EVERY) == 0 {
            whole.forget();
            passes.render_whole.time(measured, || whole.render(&list, &mut raster)).expect("a picture");
            passes.convert_whole.time(measured, || whole.convert_again(&Damage::Full)).expect("a conversion");
        }
        last = Some(list);
    }
    passes
}

fn video(size: Size, kbps: u32) -> VideoSettings {
    VideoSettings {
        width: size.w,
        height: size.h,
        fps: FPS as u32,
        kbps,
        codec: VideoCodec::X264,
        profile: Profile::ConstrainedHigh,
        preset: "veryfast".into(),
    }
}

fn print(all: &[Passes; 3], size: Size) {
    println!("\n{}x{} at {FPS} fps, {} s of match: median and p99, ms", size.w, size.h, FRAMES / FPS);
    let row = |label: &str, cell: &dyn Fn(&Passes) -> String| {
        let cells: Vec<_> = all.iter().map(cell).collect();
        println!("{label:40}{}", cells.iter().map(|c| format!("{c:>21}")).collect::<String>());
    };
    println!("{:40}{}", "", RECORDS.map(|(name, _)| format!("{name:>21}")).concat());
    row("events applied, view filtered (a turn)", &|p| p.apply.to_string());
    row("composed: laid out, draw list", &|p| p.compose.to_string());
    row("damage between two lists", &|p| p.damage.to_string());
    row("drawn, NV12, read back (changed frames)", &|p| p.render.to_string());
    row("  of it NV12 and read-back", &|p| p.convert.to_string());
    row("drawn whole, NV12, read back", &|p| p.render_whole.to_string());
    row("  of it NV12 and read-back", &|p| p.convert_whole.to_string());
    row("x264, changed picture", &|p| p.changed.to_string());
    row("x264, unchanged picture", &|p| p.unchanged.to_string());
    let share = |part: i64, of: i64| format!("{:.1} %", 100.0 * part as f64 / of.max(1) as f64);
    row("frames that changed", &|p| share(p.render.wall.len() as i64, FRAMES));
    row("damaged of a changed frame, mean", &|p| share(p.area, p.render.wall.len() as i64 * size.bounds().area()));
    row("all passes, core-ms a second of match", &|p| {
        let parts = [&p.apply, &p.compose, &p.render, &p.changed, &p.unchanged];
        let total: Duration = parts.iter().map(|t| t.cpu).sum();
        format!("{:.0}", total.as_secs_f64() * 1e3 * FPS as f64 / FRAMES as f64)
    });
}
