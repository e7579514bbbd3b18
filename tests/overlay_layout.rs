//! Widgets stand where the design says, and strangers' text stays in its box.

mod support;

use agentcast::draw::{DrawList, IRect, Shape, Size};
use agentcast::game::{Cell, MatchState, PictureRef, Scene, View, Visibility, ZoneContent};
use agentcast::overlay::{Badge, Composer, Layout, LayoutError, Motion, OnAir, Presentation, Theme, rects};
use agentcast::raster::Raster;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{cpu, matches};

fn on_air() -> OnAir {
    OnAir { badge: Badge::Live, viewers: Some(12_400), sponsor: Some("NORTHLOOP".into()), ..OnAir::default() }
}

fn composer(size: Size) -> Composer {
    Composer::new(Theme::named("arena").unwrap(), size).unwrap()
}

fn compose(composer: &mut Composer, state: &MatchState, t: i64, raster: &mut Raster) -> DrawList {
    let show = matches::shown(state.clone(), 0);
    composer.compose(&show, &on_air(), Scene::Live, t, raster)
}

/// `scene → name → [x, y, w, h]` of the design at 1920×1080.
fn design() -> BTreeMap<String, BTreeMap<String, [i32; 4]>> {
    serde_json::from_str(include_str!("data/rects.json")).unwrap()
}

#[test]
fn versus_scene_stands_where_the_design_says_at_both_sizes() {
    let mut raster = matches::raster();
    for (size, times, over) in [(Size::FULL_HD, 3, 3), (Size::HD, 2, 3)] {
        let mut composer = composer(size);
        compose(&mut composer, &matches::chess(), 0, &mut raster);
        let marks: BTreeMap<_, _> = composer.marks().iter().copied().collect();
        for (name, rect) in &design()["live-versus-chess"] {
            // The design's tab was as wide as its word.
            if name == "tickertext" {
                continue;
            }
            let [x, y, w, h] = rect.map(|v| {
                assert_eq!(v * times % over, 0, "{name} is off the grid");
                v * times / over
            });
            let want = IRect { x0: x, y0: y, x1: x + w, y1: y + h };
            assert_eq!(marks.get(&**name), Some(&want), "{name} at {size:?}");
        }
    }
}

#[test]
fn other_sizes_are_refused() {
    let size = Size { w: 1920, h: 1200 };
    assert_eq!(Layout::new(size).unwrap_err(), LayoutError { w: 1920, h: 1200 });
}

#[test]
fn live_badge_shows_only_while_a_destination_receives() {
    let mut raster = matches::raster();
    let mut composer = composer(Size::HD);
    let show = matches::shown(matches::chess(), 0);
    for (badge, seen) in [(Badge::Off, false), (Badge::Live, true), (Badge::Off, false)] {
        composer.compose(&show, &OnAir { badge, ..on_air() }, Scene::Live, 0, &mut raster);
        assert_eq!(composer.marks().iter().any(|m| m.0 == "live"), seen);
    }
}

#[test]
fn base_is_the_same_arc_until_the_page_changes() {
    let mut raster = matches::raster();
    let mut composer = composer(Size::HD);
    let mut state = matches::chess();
    let first = compose(&mut composer, &state, 0, &mut raster);
    state.board.sides.get_mut("white").unwrap().score = Some(3.0);
    state.board.zones.clear();
    let moved = compose(&mut composer, &state, 40, &mut raster);
    assert!(!Arc::ptr_eq(&first.base, &moved.base), "the board left");
    let later = compose(&mut composer, &state, 5_000, &mut raster);
    assert!(Arc::ptr_eq(&moved.base, &later.base));
    state.board.title = "Another event".into();
    let renamed = compose(&mut composer, &state, 5_000, &mut raster);
    assert!(!Arc::ptr_eq(&later.base, &renamed.base));
}

#[test]
fn composing_again_gives_the_same_list() {
    let mut raster = matches::raster();
    let mut one = composer(Size::HD);
    let first = compose(&mut one, &matches::chess(), 700, &mut raster);
    let again = compose(&mut one, &matches::chess(), 700, &mut raster);
    let other = compose(&mut composer(Size::HD), &matches::chess(), 700, &mut matches::raster());
    assert_eq!(first, again);
    assert_eq!(first, other);
}

#[test]
fn every_polygon_is_convex_and_every_item_meets_the_picture() {
    let mut raster = matches::raster();
    for state in [matches::chess(), matches::snakes(false), matches::texts(), matches::duel("quiz")] {
        let list = compose(&mut composer(Size::FULL_HD), &state, 0, &mut raster);
        for item in list.base.iter().chain(&list.live) {
            assert!(item.bounds().overlaps(Size::FULL_HD.bounds()), "{item:?}");
            if let Shape::Path(path) = &item.shape {
                let n = path.points.len();
                assert!((3..=8).contains(&n));
                let turn = |i: usize| {
                    let [a, b, c] = [i, i + 1, i + 2].map(|k| path.points[k % n]);
                    (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])
                };
                assert!((0..n).all(|i| turn(i) > -1e-2) || (0..n).all(|i| turn(i) < 1e-2), "{path:?}");
            }
        }
    }
}

/// Names from every corner: scripts that go right to left, stacked marks, emoji sequences, controls, long ones.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[A-Za-z0-9 ._-]{1,20}",
        1 => "\\PC{1,12}",
        1 => Just("砂時計の騎士".to_owned()),
        1 => Just("صقر الصحراء".to_owned()),
        1 => Just("שלום!".to_owned()),
        1 => Just("क्षत्रिय".to_owned()),
        1 => Just("👩\u{200d}👩\u{200d}👧\u{200d}👦🏳️\u{200d}🌈".to_owned()),
        1 => Just("Z\u{35b}\u{351}\u{342}\u{310}\u{346}a\u{34b}\u{358}\u{316}\u{33b}l\u{323}\u{353}g\u{30d}\u{332}o".to_owned()),
        1 => Just("\u{202e}evil\u{202c}\u{2066}x".to_owned()),
        1 => Just("\u{0}\u{7}\n\t\u{feff}".to_owned()),
        1 => Just("W".repeat(200)),
        1 => Just("﷽".repeat(8)),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn no_pixel_of_a_name_leaves_its_box(name in hostile(), author in hostile()) {
        let mut raster = matches::raster();
        let drawn = |name: &str, author: &str, raster: &mut Raster| {
            let mut state = matches::chess();
            for side in state.board.sides.values_mut() {
                side.name = name.to_owned();
                side.agent = author.to_owned();
                side.author = author.to_owned();
            }
            let list = compose(&mut composer(Size::HD), &state, 0, raster);
            let mut canvas = cpu::Canvas::new(1280, 720);
            // Names and models are in the base.
            let top = IRect { x0: 0, y0: 40, x1: 1280, y1: 140 };
            canvas.draw(&DrawList { live: Vec::new(), ..list }, top, raster);
            canvas
        };
        let blank = drawn("i", "i", &mut raster);
        let full = drawn(&name, &author, &mut raster);
        let layout = Layout::new(Size::HD).unwrap();
        // Name and model beside the avatar, with 9 px above and below for marks.
        let boxes = [216.0, 1392.0].map(|x| {
            layout.irect(agentcast::draw::Rect::new(x, rects::SCOREBUG.y - 3.0, 312.0, 102.0))
        });
        for y in 40..140 {
            for x in 0..1280 {
                let inside = boxes.iter().any(|b| x >= b.x0 && x < b.x1 && y >= b.y0 && y < b.y1);
                prop_assert!(inside || blank.get(x, y) == full.get(x, y), "pixel {x},{y} of {name:?}");
            }
        }
    }

    #[test]
    fn any_text_anywhere_is_drawn_without_a_panic(text in hostile(), long in "\\PC{0,400}") {
        let mut raster = matches::raster();
        let mut state = matches::chess();
        state.board.title = text.clone();
        state.board.round = long.clone();
        state.board.phase.name = text.clone();
        for side in state.board.sides.values_mut() {
            side.role = text.clone();
            side.counters[0].label = text.clone();
            side.counters[1].unit = text.clone();
        }
        for thought in state.thoughts.values_mut() {
            thought.text = format!("{text} {long} {text}");
        }
        for item in &mut state.feed {
            item.text = text.clone();
        }
        let mut composer = composer(Size::HD);
        for t in [0, 900, 60_000] {
            compose(&mut composer, &state, t, &mut raster);
        }
    }
}

#[test]
fn what_a_view_hides_changes_nothing_in_the_picture() {
    let mut raster = matches::raster();
    let drawn = |plan: &str, piece: &str, vis: Visibility, raster: &mut Raster| {
        let mut state = matches::chess();
        let thought = state.thoughts.get_mut("white").unwrap();
        thought.text = plan.to_owned();
        thought.vis = Some(vis.clone());
        let Some(ZoneContent::Grid(grid)) = state.board.zones.get_mut("board").map(|z| &mut z.content) else {
            panic!()
        };
        let picture = Some(PictureRef(format!("symbol:chess/{piece}")));
        grid.cells.push(Cell { x: 4, y: 4, picture, vis: Some(vis), ..Cell::default() });
        let mut show = Presentation::new(Motion::default());
        show.advance(Arc::new(View::Spectator.filter(&state)), 0);
        composer(Size::HD).compose(&show, &on_air(), Scene::Live, 3_000, raster)
    };
    let own = || Visibility::Sides(["white".to_owned()].into());
    let hidden = drawn("A secret plan.", "queen", own(), &mut raster);
    assert_eq!(hidden, drawn("Another one, longer.", "pawn", own(), &mut raster));
    assert_ne!(hidden, drawn("A secret plan.", "queen", Visibility::Public, &mut raster));
}
