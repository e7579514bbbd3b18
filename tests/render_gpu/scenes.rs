//! Whole scenes of the overlay against the CPU's pictures.

use crate::kit::{assert_near, gpu, grab};
use crate::support::{cpu, matches};
use agentcast::draw::*;
use agentcast::game::MatchState;
use agentcast::overlay::{Badge, Composer, OnAir, Theme};
use agentcast::raster::Raster;
use agentcast::render::{GpuRenderer, Renderer, rgba_to_nv12};

fn scene(theme: &str, state: MatchState) -> (DrawList, Raster) {
    let mut raster = matches::raster();
    let show = matches::shown(state, 0);
    let on_air =
        OnAir { badge: Badge::Live, viewers: Some(12_400), sponsor: Some("NORTHLOOP".into()), ..OnAir::default() };
    let mut composer = Composer::new(Theme::named(theme).expect("a theme"), Size::HD).expect("a size");
    let list = composer.compose(&show, &on_air, show.scene(100), 100, &mut raster);
    (list, raster)
}

#[test]
fn scenes_of_matches_look_as_on_the_cpu() {
    for (name, theme, state) in [
        ("chess", "arena", matches::chess()),
        ("chess-paper", "paper", matches::chess()),
        ("snakes", "arena", matches::snakes(false)),
        ("texts", "arena", matches::texts()),
    ] {
        let (list, mut raster) = scene(theme, state);
        let mut renderer = GpuRenderer::new(gpu(), Size::HD).expect("a renderer");
        let frame = renderer.render(&list, &mut raster).expect("drawn").frame;
        let (actual, expected) = (grab(&mut renderer), cpu::draw(&list, &mut raster));
        let off = actual.difference(&expected);
        println!("{name}: mean difference {off:.4}");
        if off > 0.05 {
            assert_near(name, &actual, &expected, 0);
        }
        let reference = rgba_to_nv12(&renderer.read_rgba().expect("a picture"), Size::HD);
        let worst = frame.data.iter().zip(&reference.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{name}: NV12 is off by {worst:?}");
    }
}
