//! Scenes of many games: widgets stand where the design says, names stay in their boxes, hidden cards stay hidden.

mod support;

use agentcast::draw::{DrawList, IRect, Rect, Shape, Size};
use agentcast::game::adapters::{Format, read};
use agentcast::game::{MatchState, Reducer, Scene, View, ZoneContent};
use agentcast::overlay::{Badge, Composer, Layout, Motion, OnAir, Presentation, Take, Theme};
use agentcast::raster::Raster;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::matches;

const GIN: &str = include_str!("data/matches/gin_rummy.jsonl");
const DUEL: &str = include_str!("data/matches/duel.jsonl");
const SNAKES_4: &str = include_str!("data/matches/snakes_4.jsonl");
const SNAKES_8: &str = include_str!("data/matches/snakes_8.jsonl");
const SCORES_3: &str = include_str!("data/matches/scores_3.jsonl");
const COUNTDOWN_2: &str = include_str!("data/matches/countdown_2.jsonl");
const COUNTDOWN_5: &str = include_str!("data/matches/countdown_5.jsonl");

fn on_air() -> OnAir {
    OnAir { badge: Badge::Live, viewers: Some(12_400), sponsor: Some("NORTHLOOP".into()), ..OnAir::default() }
}

fn composer(size: Size) -> Composer {
    Composer::new(Theme::named("arena").unwrap(), size).unwrap()
}

/// The match after all events up to `t` ms.
fn state(record: &str, t: i64) -> MatchState {
    let mut reducer = Reducer::default();
    for timed in read(record.as_bytes(), Some(Format::Wire)).unwrap().events {
        if timed.at <= t {
            reducer.apply(timed.event).unwrap();
        }
    }
    reducer.state().clone()
}

/// What is shown of the match when every event came at its time.
fn played(record: &str, view: &View, t: i64) -> Presentation {
    let mut reducer = Reducer::default();
    let mut show = Presentation::new(Motion::default());
    for timed in read(record.as_bytes(), Some(Format::Wire)).unwrap().events {
        if timed.at <= t {
            reducer.apply(timed.event).unwrap();
            show.advance(Arc::new(view.filter(reducer.state())), timed.at);
        }
    }
    show
}

#[test]
fn every_scene_stands_where_the_design_says_at_both_sizes() {
    let design: BTreeMap<String, BTreeMap<String, [i32; 4]>> =
        serde_json::from_str(include_str!("data/rects.json")).unwrap();
    let mut raster = matches::raster();
    let scenes = [
        ("live-versus-cards", DUEL, 5_000),
        ("live-multi-snakes", SNAKES_4, 4_000),
        ("live-multi-8", SNAKES_8, 4_000),
        ("starting", COUNTDOWN_2, 1_000),
        ("match-over", DUEL, 60_000),
    ];
    for (scene, record, t) in scenes {
        let show = played(record, &View::Spectator, t);
        for (size, times, over) in [(Size::FULL_HD, 3, 3), (Size::HD, 2, 3)] {
            let mut composer = composer(size);
            composer.compose(&show, &on_air(), show.scene(t), t, &mut raster);
            let marks: BTreeMap<_, _> = composer.marks().iter().copied().collect();
            // The design's tab was as wide as its word.
            for (name, rect) in design[scene].iter().filter(|(name, _)| *name != "tickertext") {
                let [x, y, w, h] = rect.map(|v| v * times / over);
                let want = IRect { x0: x, y0: y, x1: x + w, y1: y + h };
                assert_eq!(marks.get(&**name), Some(&want), "{scene}: {name} at {size:?}");
            }
        }
    }
}

#[test]
fn rows_of_any_number_of_sides_fill_the_column_without_touching() {
    let mut raster = matches::raster();
    for n in 1..=8 {
        let mut state = state(SNAKES_8, 4_000);
        let kept: BTreeSet<_> = state.board.sides.keys().take(n).cloned().collect();
        state.board.sides.retain(|id, _| kept.contains(id));
        state.board.phase.active.retain(|id| kept.contains(id));
        if n == 2 {
            continue;
        }
        let mut composer = composer(Size::FULL_HD);
        composer.compose(&matches::shown(state, 0), &on_air(), Scene::Live, 100, &mut raster);
        let mut cards: Vec<IRect> = composer.marks().iter().filter(|m| m.0.starts_with("card")).map(|m| m.1).collect();
        cards.sort_by_key(|c| c.y0);
        assert_eq!(cards.len(), n);
        assert!(cards.windows(2).all(|w| w[0].y1 + 12 <= w[1].y0), "{cards:?}");
        assert!(cards[0].y0 == 123 && (940..=948).contains(&cards[n - 1].y1), "{cards:?}");
    }
}

/// Glyphs that `list` has and `other` has not.
fn new_glyphs(list: &DrawList, other: &DrawList) -> Vec<IRect> {
    let glyphs = |list: &DrawList| -> Vec<_> {
        list.base.iter().chain(&list.live).filter(|i| matches!(i.shape, Shape::Glyphs(_))).cloned().collect()
    };
    let known = glyphs(other);
    glyphs(list).into_iter().filter(|i| !known.contains(i)).map(|i| i.bounds()).collect()
}

/// Where names and models may be in a scene, design px.
fn boxes(scene: &str) -> Vec<Rect> {
    let rows = |pitch: f32, n: usize, up: f32| {
        (0..n).flat_map(move |k| {
            let y = 123.0 + pitch * k as f32 - up;
            [Rect::new(945.0 + 171.0, y + 15.0, 405.0, 45.0), Rect::new(945.0 + 126.0, y + 63.0, 303.0, 36.0)]
        })
    };
    match scene {
        "cards" => [216.0, 1392.0].map(|x| Rect::new(x, 99.0, 312.0, 90.0)).to_vec(),
        "multi-4" => rows(210.0, 4, 0.0).collect(),
        "multi-8" => rows(105.0, 8, 12.0).collect(),
        "starting" => vec![Rect::new(360.0, 615.0, 498.0, 168.0), Rect::new(1062.0, 615.0, 498.0, 168.0)],
        // Names in the headline, over the figures and in the list.
        _ => vec![
            Rect::new(717.0, 213.0, 723.0, 183.0),
            Rect::new(183.0, 534.0, 960.0, 42.0),
            Rect::new(1437.0, 570.0, 300.0, 324.0),
        ],
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => "[A-Za-z0-9 ._-]{1,20}",
        1 => "\\PC{1,12}",
        1 => Just("砂時計の騎士صقر الصحراء שלום क्षत्रिय".to_owned()),
        1 => Just("👩\u{200d}👩\u{200d}👧\u{200d}👦🏳️\u{200d}🌈".to_owned()),
        1 => Just("Z\u{35b}\u{351}\u{342}\u{310}\u{346}a\u{34b}\u{358}\u{316}\u{33b}lgo".to_owned()),
        1 => Just("\u{202e}evil\u{202c}\u{2066}x\u{0}\u{7}\n\t\u{feff}".to_owned()),
        1 => Just("W".repeat(200)),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn names_from_strangers_stay_in_their_boxes(name in hostile(), agent in hostile()) {
        let mut raster = matches::raster();
        let scenes = [
            ("cards", DUEL, Scene::Live),
            ("multi-4", SNAKES_4, Scene::Live),
            ("multi-8", SNAKES_8, Scene::Live),
            ("starting", COUNTDOWN_2, Scene::Starting),
            ("over", DUEL, Scene::Over),
        ];
        let layout = Layout::new(Size::HD).unwrap();
        for (scene, record, kind) in scenes {
            let mut composer = composer(Size::HD);
            let mut drawn = |name: &str, agent: &str, raster: &mut Raster| {
                let mut state = state(record, 4_000);
                for side in state.board.sides.values_mut() {
                    (side.name, side.agent, side.author) = (name.to_owned(), agent.to_owned(), agent.to_owned());
                }
                composer.compose(&matches::shown(state, 0), &on_air(), kind, 3_000, raster)
            };
            let plain = drawn("i", "i", &mut raster);
            let full = drawn(&name, &agent, &mut raster);
            // Marks and descenders have 9 px above and below.
            let boxes: Vec<IRect> = boxes(scene)
                .into_iter()
                .map(|r| layout.irect(Rect::new(r.x - 3.0, r.y - 12.0, r.w + 6.0, r.h + 24.0)))
                .collect();
            for at in new_glyphs(&full, &plain) {
                prop_assert!(boxes.iter().any(|b| b.intersect(at) == at), "{scene}: {at:?} of {name:?} {agent:?}");
            }
        }
    }

    #[test]
    fn any_words_in_any_scene_are_drawn_without_a_panic(text in hostile(), number in any::<f64>()) {
        let mut raster = matches::raster();
        for record in [GIN, DUEL, SNAKES_8, SCORES_3, COUNTDOWN_5] {
            let mut state = state(record, 4_000);
            for side in state.board.sides.values_mut() {
                (side.role, side.status_text, side.blurb) = (text.clone(), text.clone(), text.clone());
                side.score = Some(number);
                for counter in &mut side.counters {
                    (counter.label, counter.unit, counter.value) = (text.clone(), text.clone(), number);
                }
            }
            for zone in state.board.zones.values_mut() {
                zone.label = text.clone();
                if let ZoneContent::Cards(cards) = &mut zone.content {
                    for face in cards.items.iter_mut().filter_map(|c| c.face.as_mut()) {
                        (face.name, face.rank, face.text) = (text.clone(), text.clone(), text.clone());
                        (face.value, face.art) = (Some(number), None);
                    }
                }
            }
            state.board.phase.cycle = vec![text.clone(); 9];
            let show = matches::shown(state, 0);
            for scene in [Scene::Starting, Scene::Live, Scene::Over] {
                composer(Size::HD).compose(&show, &on_air(), scene, 100, &mut raster);
            }
        }
    }
}

#[test]
fn hidden_faces_never_reach_the_draw_list() {
    let mut raster = matches::raster();
    for (record, view) in [(GIN, View::Spectator), (DUEL, View::Spectator), (DUEL, View::Side("a".into()))] {
        let mut drawn = |rank: &str, view: &View| {
            let mut state = state(record, 5_000);
            for (id, zone) in &mut state.board.zones {
                let hidden = ["ha", "hb", "handB", "backB"].contains(&id.as_str()) && *view != View::All;
                let ZoneContent::Cards(cards) = &mut zone.content else { continue };
                for face in
                    cards.items.iter_mut().filter_map(|c| c.face.as_mut()).filter(|_| hidden || *view == View::All)
                {
                    (face.rank, face.name) = (rank.to_owned(), rank.to_owned());
                }
            }
            let show = matches::shown(view.filter(&state), 0);
            composer(Size::HD).compose(&show, &on_air(), Scene::Live, 3_000, &mut raster)
        };
        assert_eq!(drawn("7", &view), drawn("Q", &view));
        assert_ne!(drawn("7", &View::All), drawn("Q", &View::All));
    }
}

#[test]
fn table_of_hands_that_are_shown_has_every_rank_in_sight() {
    // Gin rummy: ten cards lie on each other, and of each as much is left free as its rank needs.
    let mut raster = matches::raster();
    let show = played(GIN, &View::All, 8_500);
    let list = composer(Size::FULL_HD).compose(&show, &on_air(), Scene::Live, 8_500, &mut raster);
    let rows = [(246, 414), (756, 924)];
    for (top, bottom) in rows {
        let mut ranks: Vec<IRect> = list
            .live
            .iter()
            .filter(|i| matches!(i.shape, Shape::Glyphs(_)))
            .map(|i| i.bounds())
            .filter(|b| b.x0 > 500 && b.x1 < 1420 && b.y0 > top - 20 && b.y1 < bottom)
            .collect();
        ranks.sort_by_key(|b| b.x0);
        assert_eq!(ranks.len(), 10);
        assert!(ranks.windows(2).all(|w| w[0].x1 <= w[1].x0 + 2), "{ranks:?}");
    }
}

#[test]
fn no_two_texts_lie_on_each_other_in_any_match_at_any_time() {
    let mut raster = matches::raster();
    let records = [
        ("gin", GIN),
        ("duel", DUEL),
        ("snakes 4", SNAKES_4),
        ("snakes 8", SNAKES_8),
        ("scores", SCORES_3),
        ("two soon", COUNTDOWN_2),
        ("five soon", COUNTDOWN_5),
    ];
    for (name, record) in records {
        for (t, view) in [(1_500, View::Spectator), (4_700, View::All), (8_500, View::All), (60_000, View::Spectator)] {
            let show = played(record, &view, t);
            for size in [Size::FULL_HD, Size::HD] {
                let list = composer(size).compose(&show, &on_air(), show.scene(t), t, &mut raster);
                let texts: Vec<IRect> = list
                    .base
                    .iter()
                    .chain(&list.live)
                    .filter(|i| matches!(i.shape, Shape::Glyphs(_)))
                    .map(|i| i.bounds())
                    .collect();
                for (i, a) in texts.iter().enumerate() {
                    for b in &texts[i + 1..] {
                        // A line in two tones has one box. Ink of neighbouring lines may meet by a descender.
                        let both = a.intersect(*b);
                        let (w, h) = (both.x1 - both.x0, both.y1 - both.y0);
                        assert!(a == b || w <= 3 || h <= 6, "{name} at {t} ms, {size:?}: {a:?} and {b:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_ending_scene_says_whose_broadcast_ends_whatever_the_match_shows() {
    let mut raster = matches::raster();
    let show = played(DUEL, &View::Spectator, 5_000);
    let slate = |host: &str| OnAir { take: Some(Take::Ending), host: host.into(), ..on_air() };
    for size in [Size::FULL_HD, Size::HD] {
        let mut composer = composer(size);
        let live = composer.compose(&show, &on_air(), show.scene(5_000), 5_000, &mut raster);
        let ending = composer.compose(&show, &slate("Agent Ω"), show.scene(5_000), 5_000, &mut raster);
        let marks: Vec<&str> = composer.marks().iter().map(|m| m.0).collect();
        assert!(marks.contains(&"ending") && !marks.contains(&"scorebug"), "{marks:?}");
        assert_ne!(live.base, ending.base);
        let layout = Layout::new(size).unwrap();
        let host = layout.irect(Rect::new(153.0, 483.0, 1674.0, 90.0));
        let other = composer.compose(&show, &slate("Somebody else"), show.scene(5_000), 5_000, &mut raster);
        let glyphs = new_glyphs(&other, &ending);
        assert!(!glyphs.is_empty() && glyphs.iter().all(|at| host.intersect(*at) == *at), "{glyphs:?}");
        let nobody = composer.compose(&show, &slate(""), show.scene(5_000), 5_000, &mut raster);
        assert!(!new_glyphs(&nobody, &ending).is_empty(), "the players stand for a host without a name");
        let later = composer.compose(&show, &slate("Agent Ω"), show.scene(5_000), 5_500, &mut raster);
        assert_eq!(later.base, ending.base, "it stands still");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_host_with_any_name_stays_in_its_line(name in hostile()) {
        let mut raster = matches::raster();
        let show = played(SNAKES_8, &View::Spectator, 4_000);
        let layout = Layout::new(Size::HD).unwrap();
        let line = layout.irect(Rect::new(153.0, 483.0, 1674.0, 90.0));
        let mut composer = composer(Size::HD);
        let mut drawn = |name: &str| {
            let on_air = OnAir { take: Some(Take::Ending), host: name.into(), ..on_air() };
            composer.compose(&show, &on_air, Scene::Live, 4_000, &mut raster)
        };
        let (plain, full) = (drawn("i"), drawn(&name));
        // A name without a visible character leaves the players' names.
        for at in new_glyphs(&full, &plain) {
            prop_assert!(line.intersect(at) == at, "{at:?} of {name:?}");
        }
    }
}
