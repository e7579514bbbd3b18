//! A device that goes away in the middle of a stream.

use crate::kit::*;
use agentcast::draw::*;
use agentcast::render::{AdapterChoice, Gpu, GpuRenderer, RenderError, Rendered, Renderer};
use std::time::{Duration, Instant};

fn scene(w: f32) -> DrawList {
    let back = item(Shape::Quad(quad(Rect::new(0.0, 0.0, 160.0, 96.0), Color::rgb(20, 40, 60))));
    let live = vec![
        item(Shape::Quad(quad(Rect::new(8.0, 8.0, w, 10.0), Color::rgb(200, 0, 0)))),
        item(Shape::Glyphs(run(&[1, 2, 7, 14], [20.0, 40.0], 12, 4, Color::rgb(255, 255, 255)))),
        item(Shape::Image(image(3, Rect::new(80.0, 40.0, 30.0, 30.0)))),
    ];
    list(SIZE, vec![back], live)
}

/// Draws as a stream does: a lost device costs the frames until the next one is there, nothing else.
fn persist(renderer: &mut GpuRenderer, list: &DrawList) -> Rendered {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        match renderer.render(list, &mut Source::default()) {
            Ok(rendered) => return rendered,
            Err(RenderError::DeviceLost(_)) => assert!(Instant::now() < limit, "the device did not come back"),
            Err(e) => panic!("{e}"),
        }
        std::thread::yield_now();
    }
}

fn lost(result: Result<Rendered, RenderError>) -> bool {
    matches!(result, Err(RenderError::DeviceLost(_)))
}

#[test]
fn device_lost_between_frames_comes_back_with_the_same_pictures() {
    let gpu = Gpu::open(AdapterChoice::Auto).expect("an adapter");
    let mut a = GpuRenderer::new(gpu.clone(), SIZE).expect("a renderer");
    let mut b = GpuRenderer::new(gpu.clone(), SIZE).expect("a renderer");
    let before = [persist(&mut a, &scene(50.0)).frame, persist(&mut b, &scene(70.0)).frame];
    gpu.simulate_loss();
    // What has not changed needs no device.
    assert_eq!(persist(&mut a, &scene(50.0)).damage, Damage::None);
    // Whoever notices gets an answer at once; the next device is opened meanwhile.
    assert!(lost(a.render(&scene(51.0), &mut Source::default())));
    let mut c = GpuRenderer::new(gpu.clone(), SIZE).expect("a stream can begin meanwhile");
    assert!(persist(&mut c, &scene(50.0)).frame == before[0]);
    persist(&mut a, &scene(51.0));
    persist(&mut b, &scene(71.0));
    assert_eq!(gpu.generation(), 1, "rebuilt once for both");
    let after = [persist(&mut a, &scene(50.0)), persist(&mut b, &scene(70.0))];
    assert!(before[0] == after[0].frame && before[1] == after[1].frame);
}

#[test]
fn device_lost_with_a_frame_in_flight_fails_that_frame_only() {
    let gpu = Gpu::open(AdapterChoice::Auto).expect("an adapter");
    let mut renderer = GpuRenderer::new(gpu.clone(), SIZE).expect("a renderer");
    let before = persist(&mut renderer, &scene(50.0)).frame;
    renderer.submit(&scene(60.0), &mut Source::default()).expect("sent");
    gpu.simulate_loss();
    assert!(lost(renderer.finish()));
    let rendered = persist(&mut renderer, &scene(50.0));
    assert_eq!(rendered.damage, Damage::Full);
    assert!(rendered.frame == before);
}
