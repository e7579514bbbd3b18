//! Every scene as the product draws it, by the GPU path, compared with the pictures in `tests/golden`.
//!
//! `AGENTCAST_BLESS=1 cargo test --test golden` writes them anew. A failure leaves `NAME.actual.png`,
//! `NAME.expected.png` and `NAME.difference.png` in `target/golden-failures`.

use agentcast::draw::Size;
use agentcast::game::View;
use agentcast::game::adapters;
use agentcast::overlay::{Badge, OnAir, Theme};
use agentcast::render::AdapterChoice;
use agentcast::stream::{Replay, ReplayOptions};
use agentcast::studio::{StreamSettings, Studio};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use std::path::{Path, PathBuf};

/// Mesa's versions blend and round differently: a channel may be off by this much ...
const CHANNEL: u8 = 24;
/// ... and more on this share of the pixels.
const SHARE: f64 = 0.003;
/// Kept pictures lose these bits of each channel: a third of the bytes, far below [`CHANNEL`].
const DROPPED_BITS: u8 = 0b111;
/// Largest file, bytes.
const LARGEST: usize = 130_000;
const LEAD_IN_MS: i64 = 30_000;

#[derive(Clone, Copy)]
enum Moment {
    /// During the countdown.
    Starting,
    /// Milliseconds into the match.
    At(i64),
    /// Milliseconds before its last event.
    BeforeEnd(i64),
    /// The closing scene.
    Over,
}

struct Case {
    name: &'static str,
    record: &'static str,
    companion: Option<&'static str>,
    moment: Moment,
    view: View,
    theme: &'static str,
}

fn case(name: &'static str, record: &'static str, moment: Moment) -> Case {
    Case { name, record, companion: None, moment, view: View::Spectator, theme: "arena" }
}

fn cases() -> Vec<Case> {
    use Moment::{At, BeforeEnd, Over, Starting};
    let geese = "tests/records/kaggle/hungry_geese_4greedy.json";
    vec![
        case("chess-starting", "tests/records/chess/mate.pgn", Starting),
        case("chess-live", "assets/demo/chess.pgn", At(20_200)),
        Case { theme: "paper", ..case("chess-live-paper", "assets/demo/chess.pgn", At(20_200)) },
        case("chess-over", "tests/records/chess/mate.pgn", Over),
        case("awkward-names", "tests/records/chess/awkward_names.pgn", BeforeEnd(300)),
        case("snakes-live", "assets/demo/snakes.jsonl", At(20_100)),
        Case {
            companion: Some("tests/records/kaggle/hungry_geese_4greedy.logs.json"),
            ..case("geese-live", geese, At(15_000))
        },
        case("connect-four-live", "tests/records/kaggle/openspiel_connect_four_simple.json", BeforeEnd(300)),
        case("poker-live", "assets/demo/poker.phh", At(34_000)),
        Case { view: View::All, ..case("poker-live-all-hands", "assets/demo/poker.phh", At(34_000)) },
        case("poker-showdown", "assets/demo/poker.phh", BeforeEnd(100)),
        case("poker-heads-up", "tests/records/kaggle/openspiel_universal_poker.json", BeforeEnd(300)),
        case("hearts-live", "tests/records/kaggle/openspiel_hearts.json", At(60_000)),
    ]
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(file(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn draw(studio: &Studio, case: &Case) -> RgbImage {
    let companion = case.companion.map(read);
    let record = adapters::read_with(&read(case.record), None, companion.as_deref())
        .unwrap_or_else(|e| panic!("{}: {e}", case.record));
    let lead_in_ms = if matches!(case.moment, Moment::Starting) { LEAD_IN_MS } else { 0 };
    let replay = Replay::new(record, ReplayOptions { lead_in_ms, ..ReplayOptions::default() });
    let end = replay.duration_ms();
    let at = match case.moment {
        Moment::Starting => 2_000,
        Moment::At(ms) => ms,
        Moment::BeforeEnd(ms) => end - ms,
        Moment::Over => end + 4_000,
    };
    assert!(matches!(case.moment, Moment::Over) || at < end, "{}: the match ends at {end} ms", case.name);
    let theme = Theme::named(case.theme).expect("a built-in theme");
    let settings = StreamSettings { view: case.view.clone(), theme, ..StreamSettings::default() };
    let mut director = studio.director(&settings, Size::HD, Box::new(replay)).expect("a renderer");
    let on_air = OnAir { badge: Badge::Live, ..OnAir::default() };
    let rgba = director.grab(at, &on_air).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let rgb = rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    RgbImage::from_raw(Size::HD.w, Size::HD.h, rgb).expect("three bytes a pixel")
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Best, FilterType::Adaptive);
    encoder
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .expect("a picture fits into memory");
    out
}

/// Share of the pixels that differ, and where they are: black, and white where it matters.
fn difference(actual: &RgbImage, expected: &RgbImage) -> (f64, RgbImage) {
    let mut picture = RgbImage::new(actual.width(), actual.height());
    let mut count = 0;
    for ((a, b), out) in actual.pixels().zip(expected.pixels()).zip(picture.pixels_mut()) {
        let most = a.0.iter().zip(b.0).map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0);
        count += u32::from(most > CHANNEL);
        out.0 = if most > CHANNEL { [255; 3] } else { [most * 4; 3] };
    }
    (f64::from(count) / f64::from(actual.width() * actual.height()), picture)
}

#[test]
fn every_scene_looks_as_it_was_approved() {
    let bless = std::env::var_os("AGENTCAST_BLESS").is_some();
    let studio = Studio::open(AdapterChoice::Auto).expect("a graphics adapter, lavapipe at least");
    let failures = file("target/golden-failures");
    let mut wrong = Vec::new();
    for case in cases() {
        let actual = draw(&studio, &case);
        let path = file(&format!("tests/golden/{}.png", case.name));
        if bless {
            let mut kept = actual;
            kept.iter_mut().for_each(|v| *v = (*v & !DROPPED_BITS) | (DROPPED_BITS / 2 + 1));
            let bytes = png(&kept);
            assert!(bytes.len() < LARGEST, "{}: {} bytes", case.name, bytes.len());
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the repository can be written");
            std::fs::write(&path, bytes).expect("the repository can be written");
            continue;
        }
        let expected = match image::open(&path) {
            Ok(picture) => picture.to_rgb8(),
            Err(error) => {
                wrong.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        assert_eq!(expected.dimensions(), actual.dimensions(), "{}", case.name);
        let (share, picture) = difference(&actual, &expected);
        if share > SHARE {
            std::fs::create_dir_all(&failures).expect("the target folder can be written");
            for (what, picture) in [("actual", &actual), ("expected", &expected), ("difference", &picture)] {
                let to = failures.join(format!("{}.{what}.png", case.name));
                std::fs::write(&to, png(picture)).expect("the target folder can be written");
            }
            wrong.push(format!("{}: {:.2} % of the pixels differ", case.name, share * 100.0));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nSee {}; if it is meant: AGENTCAST_BLESS=1 cargo test --test golden",
        wrong.join("\n"),
        failures.display()
    );
}
