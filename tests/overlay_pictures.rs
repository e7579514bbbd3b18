//! Pictures for looking at: `AGENTCAST_PICTURES=dir cargo test --test overlay_pictures` writes PNGs there.

mod support;

use agentcast::draw::Size;
use agentcast::game::{Ground, SideStatus};
use agentcast::overlay::{Badge, Composer, OnAir, Theme};
use support::{cpu, matches};

fn dump(name: &str, theme: &str, size: Size, state: agentcast::game::MatchState, t: i64) {
    let Some(dir) = std::env::var_os("AGENTCAST_PICTURES") else { return };
    let mut raster = matches::raster();
    let show = matches::shown(state, 0);
    let on_air =
        OnAir { badge: Badge::Live, viewers: Some(12_400), sponsor: Some("NORTHLOOP".into()), ..OnAir::default() };
    let mut composer = Composer::new(Theme::named(theme).unwrap(), size).unwrap();
    let list = composer.compose(&show, &on_air, show.scene(t), t, &mut raster);
    eprintln!("{name}: {} base, {} live items", list.base.len(), list.live.len());
    let canvas = cpu::draw(&list, &mut raster);
    canvas.save(&std::path::Path::new(&dir).join(format!("{name}.png")));
}

#[test]
fn pictures_are_drawn() {
    dump("chess", "arena", Size::FULL_HD, matches::chess(), 100);
    dump("chess-720", "arena", Size::HD, matches::chess(), 100);
    let mut busy = matches::chess();
    let sides = &mut busy.board.sides;
    sides.get_mut("white").unwrap().clock.as_mut().unwrap().ms = 8_500;
    let black = sides.get_mut("black").unwrap();
    black.status = SideStatus::Invalid;
    black.clock.as_mut().unwrap().paused = true;
    black.score = Some(128.0);
    busy.board.eval.as_mut().unwrap().shares.insert("white".into(), 0.03);
    dump("busy", "arena", Size::HD, busy, 100);
    dump("chess-paper", "paper", Size::FULL_HD, matches::chess(), 100);
    dump("snakes", "arena", Size::FULL_HD, matches::snakes(false), 100);
    dump("snakes-hit", "arena", Size::HD, matches::snakes(true), 100);
    dump("connect-four", "arena", Size::FULL_HD, matches::tokens(Ground::Holes, 7, 6), 100);
    dump("go", "paper", Size::FULL_HD, matches::tokens(Ground::Lines, 19, 19), 100);
    dump("field-720", "arena", Size::HD, matches::tokens(Ground::Field, 8, 8), 100);
    dump("texts", "arena", Size::FULL_HD, matches::texts(), 100);
    dump("scores", "arena", Size::FULL_HD, matches::duel("Quiz"), 100);
}
