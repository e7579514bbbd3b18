//! What moves, moves for as long as the design says and ends exactly where it belongs.

mod support;

use agentcast::draw::{Damage, DrawList, Shape, Size};
use agentcast::game::*;
use agentcast::overlay::{Chip, Composer, MediaMs, Moment, Motion, OnAir, Presentation, Theme};
use agentcast::raster::Raster;
use proptest::prelude::*;
use std::sync::Arc;
use support::matches;

/// A show that is fed one changed state after another. Sender's time is media time plus an offset.
struct Feed {
    state: MatchState,
    show: Presentation,
}

impl Feed {
    fn new(state: MatchState, motion: Motion) -> Feed {
        let mut show = Presentation::new(motion);
        show.advance(Arc::new(state.clone()), 0);
        Feed { state, show }
    }

    fn at(&mut self, t: MediaMs, change: impl FnOnce(&mut MatchState)) {
        change(&mut self.state);
        self.state.ts = 1_000_000 + t;
        self.state.seq += 1;
        self.show.advance(Arc::new(self.state.clone()), t);
    }

    fn moment(&self, t: MediaMs) -> Moment<'_> {
        Moment { show: &self.show, t }
    }
}

fn side<'a>(state: &'a mut MatchState, id: &str) -> &'a mut Side {
    state.board.sides.get_mut(id).unwrap()
}

fn board(state: &mut MatchState) -> &mut Grid {
    match state.board.zones.get_mut("board").map(|z| &mut z.content) {
        Some(ZoneContent::Grid(grid)) => grid,
        _ => panic!("a board"),
    }
}

fn id(name: &str) -> SideId {
    name.to_owned()
}

#[test]
fn a_piece_slides_180_ms_and_what_it_takes_goes_when_it_arrives() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    // 10. Bxf6: from g5 to f6.
    feed.at(1_000, |s| {
        let grid = board(s);
        grid.cells.retain(|c| c.id != "n52");
        let bishop = grid.cells.iter_mut().find(|c| c.id == "B63").unwrap();
        (bishop.x, bishop.y) = (5, 2);
    });
    let piece = Cell { id: "B63".into(), x: 5, y: 2, ..Cell::default() };
    assert_eq!(feed.moment(1_000).slide("board", &piece), Some([6.0, 3.0]));
    let [x, y] = feed.moment(1_060).slide("board", &piece).unwrap();
    assert!(x > 5.0 && x < 6.0 && y > 2.0 && y < 3.0);
    assert_eq!(feed.moment(1_179).taken("board").count(), 1);
    assert_eq!(feed.moment(1_180).slide("board", &piece), None);
    assert_eq!(feed.moment(1_180).taken("board").count(), 0);
}

#[test]
fn a_new_position_is_a_cut() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    feed.at(1_000, |s| board(s).cells.iter_mut().for_each(|c| c.x = 7 - c.x));
    let moved = feed.state.clone();
    let ZoneContent::Grid(grid) = &moved.board.zones["board"].content else { panic!() };
    assert!(grid.cells.iter().all(|c| feed.moment(1_010).slide("board", c).is_none()));
}

#[test]
fn timeout_and_invalid_move_stay_two_and_a_half_seconds() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    feed.at(1_000, |s| side(s, "black").status = SideStatus::Timeout);
    feed.at(1_040, |s| side(s, "black").status = SideStatus::Active);
    assert_eq!(feed.moment(3_499).chip(&id("black")), Some(Chip::Timeout));
    assert_eq!(feed.moment(3_500).chip(&id("black")), Some(Chip::Waiting));
    feed.at(5_000, |s| {
        let action = Action { status: ActionStatus::Invalid, ts: 9, ..Action::default() };
        s.actions.insert(id("black"), action);
    });
    assert_eq!(feed.moment(7_499).chip(&id("black")), Some(Chip::Invalid));
    feed.at(6_000, |s| side(s, "black").status = SideStatus::Eliminated);
    assert_eq!(feed.moment(6_000).chip(&id("black")), Some(Chip::Eliminated));
}

#[test]
fn a_bar_moves_300_ms_with_a_ghost_for_600_and_a_delta_for_2500() {
    let mut start = matches::chess();
    let mut health = matches::counter("hp", "Health", 8_000.0, "");
    health.max = Some(8_000.0);
    side(&mut start, "white").counters = vec![health];
    let mut feed = Feed::new(start, Motion::default());
    feed.at(1_000, |s| side(s, "white").counters[0].value = 5_200.0);
    let view = |feed: &Feed, t| feed.moment(t).counter(&id("white"), "hp").unwrap();
    let first = view(&feed, 1_000);
    assert_eq!((first.value, first.share, first.ghost, first.delta), (5_200.0, 1.0, Some(1.0), Some(-2_800.0)));
    assert_eq!(view(&feed, 1_300).share, 0.65);
    assert_eq!((view(&feed, 1_599).ghost, view(&feed, 1_600).ghost), (Some(1.0), None));
    assert_eq!((view(&feed, 3_499).delta, view(&feed, 3_500).delta), (Some(-2_800.0), None));
}

#[test]
fn an_estimate_moves_300_ms_ignores_noise_and_goes_stale_after_30_s() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    let set = |share: f64| {
        move |s: &mut MatchState| {
            s.board.eval =
                Some(Eval { shares: [(id("white"), share), (id("black"), 1.0 - share)].into(), ..Eval::default() });
        }
    };
    feed.at(1_000, set(0.625));
    assert_eq!(feed.moment(1_900).eval().unwrap().share, 0.62);
    feed.at(2_000, set(0.80));
    assert!(feed.moment(2_100).eval().unwrap().share < 0.80);
    assert_eq!(feed.moment(2_300).eval().unwrap().share, 0.80);
    // The next move waits until half a second after the last one began.
    feed.at(2_310, set(0.40));
    assert_eq!(feed.moment(2_499).eval().unwrap().share, 0.80);
    assert_eq!(feed.moment(2_800).eval().unwrap().share, 0.40);
    feed.at(3_500, set(1.0));
    assert_eq!(feed.moment(4_500).eval().unwrap().share, 0.97);
    assert!(!feed.moment(33_500).eval().unwrap().stale);
    assert!(feed.moment(33_501).eval().unwrap().stale);
}

#[test]
fn a_score_flashes_once_for_300_ms() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    assert!(!feed.moment(0).score_flash(&id("white")));
    feed.at(1_000, |s| side(s, "white").score = Some(3.0));
    assert!(feed.moment(1_299).score_flash(&id("white")) && !feed.moment(1_300).score_flash(&id("white")));
    assert!(!feed.moment(1_100).score_flash(&id("black")));
}

#[test]
fn a_dead_snake_fades_for_three_seconds_whether_it_stays_in_the_state_or_not() {
    for leaves in [false, true] {
        let mut feed = Feed::new(matches::snakes(false), Motion::default());
        feed.at(1_000, |s| {
            side(s, "b").status = SideStatus::Eliminated;
            match leaves {
                true => drop(board(s).bodies.pop()),
                false => board(s).bodies[1].dead = true,
            }
        });
        let seen = |t| feed.moment(t).fallen("board", "b") == Some(true);
        assert!(seen(3_999) && !seen(4_000));
        assert_eq!(feed.moment(3_999).remains("board").count(), usize::from(leaves));
        assert_eq!(feed.moment(4_000).remains("board").count(), 0);
    }
}

#[test]
fn scenes_follow_the_match_and_obey_a_cue() {
    let mut waiting = matches::chess();
    waiting.board.starts_at = Some(1_010_000);
    let mut feed = Feed::new(waiting, Motion::default());
    assert_eq!((feed.show.scene(9_999), feed.show.scene(10_000)), (Scene::Starting, Scene::Live));
    assert_eq!(feed.moment(0).seconds_until(1_010_000), Some(10));
    feed.at(20_000, |s| s.board.result = Some(MatchResult { winners: vec![id("white")], ..MatchResult::default() }));
    assert_eq!((feed.show.scene(22_999), feed.show.scene(23_000)), (Scene::Live, Scene::Over));
    assert_eq!(feed.moment(20_000).chip(&id("white")), Some(Chip::Winner));
    feed.at(30_000, |s| s.scene = Some(SceneCue { scene: Some(Scene::Starting), ts: 0 }));
    assert_eq!(feed.show.scene(30_000), Scene::Starting);
    feed.at(31_000, |s| s.scene = Some(SceneCue { scene: None, ts: 0 }));
    assert_eq!(feed.show.scene(31_000), Scene::Over);
}

#[test]
fn a_running_clock_never_goes_up_between_moves_though_packets_are_late() {
    let mut feed = Feed::new(matches::chess(), Motion::default());
    let mut last = i64::MAX;
    for (i, late) in [0, 180, 20, 400, 0, 90, 300, 10, 250].into_iter().enumerate() {
        let sent = 1_000 * i as i64;
        // The server repeats the clock with every state, as it was when it sent it.
        feed.state.ts = 1_000_000 + sent;
        let ms = 277_000 - sent;
        side(&mut feed.state, "white").clock =
            Some(Clock { ms, running: true, as_of: feed.state.ts, ..Clock::default() });
        feed.show.advance(Arc::new(feed.state.clone()), sent + late);
        for t in (sent + late..sent + 1_000).step_by(33) {
            let text = feed.moment(t).clock(&id("white")).unwrap().text;
            let (m, s) = text.split_once(':').unwrap();
            let shown = m.parse::<i64>().unwrap() * 60 + s.parse::<i64>().unwrap();
            assert!(shown <= last, "{text} after {last} s at {t}");
            last = shown;
        }
    }
}

#[test]
fn reduced_motion_moves_nothing() {
    let mut feed = Feed::new(matches::chess(), Motion::reduced());
    feed.at(1_000, |s| {
        board(s).cells.iter_mut().find(|c| c.id == "N25").unwrap().x = 4;
        side(s, "white").score = Some(3.0);
    });
    let piece = Cell { id: "N25".into(), x: 4, y: 5, ..Cell::default() };
    let now = feed.moment(1_000);
    assert_eq!((now.slide("board", &piece), now.score_flash(&id("white")), now.pulse()), (None, false, 1.0));
}

fn composed(composer: &mut Composer, show: &Presentation, t: MediaMs, raster: &mut Raster) -> DrawList {
    composer.compose(show, &OnAir::default(), show.scene(t), t, raster)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn between_announced_changes_the_picture_stands_still(start in 0i64..4_000, kind in 0u8..6) {
        let mut raster = matches::raster();
        let mut composer = Composer::new(Theme::named("arena").unwrap(), Size::HD).unwrap();
        let mut feed = Feed::new(matches::chess(), Motion::default());
        feed.at(start, |s| match kind {
            0 => side(s, "white").score = Some(9.0),
            1 => board(s).cells.iter_mut().find(|c| c.id == "N25").unwrap().x = 4,
            2 => side(s, "black").status = SideStatus::Invalid,
            3 => s.thoughts.insert(id("black"), matches::thought("n", "A new thought comes word by word.", false)).map_or((), drop),
            4 => s.board.eval = Some(Eval { shares: [(id("white"), 0.2)].into(), ..Eval::default() }),
            _ => s.feed.push_back(FeedItem { text: "10. Nd5".into(), ..FeedItem::default() }),
        });
        let (mut t, mut list) = (start, composed(&mut composer, &feed.show, start, &mut raster));
        for _ in 0..40 {
            let next = feed.show.next_change(t).unwrap_or(t + 500);
            prop_assert!(next > t);
            let before = composed(&mut composer, &feed.show, next - 1, &mut raster);
            prop_assert_eq!(Damage::between(&list, &before), Damage::None, "between {} and {}", t, next);
            (t, list) = (next, composed(&mut composer, &feed.show, next, &mut raster));
        }
    }
}

#[test]
fn a_ticking_clock_damages_only_its_own_place() {
    let mut raster = matches::raster();
    let mut composer = Composer::new(Theme::named("arena").unwrap(), Size::HD).unwrap();
    let mut still = matches::chess();
    still.thoughts.values_mut().for_each(|t| t.done = true);
    side(&mut still, "white").status = SideStatus::Active;
    let feed = Feed::new(still, Motion { pulse: 0, ..Motion::default() });
    let lists = [1_500, 2_500].map(|t| composed(&mut composer, &feed.show, t, &mut raster));
    let Damage::Rects(rects) = Damage::between(&lists[0], &lists[1]) else { panic!("a second passed") };
    let area: i64 = rects.iter().map(|r| r.area()).sum();
    // 198×72 at 1080p, aligned outwards to 16 px.
    assert!(area <= 14_000 * 4 / 9 * 2, "{rects:?}");
    assert!(lists[1].live.iter().any(|i| matches!(i.shape, Shape::Glyphs(_))));
}
