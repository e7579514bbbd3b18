//! Frames that redraw only what changed.

use crate::kit::*;
use agentcast::draw::*;
use agentcast::render::{Rendered, Renderer};
use std::sync::Arc;

/// Changes a list as a broadcast does: items move, change colour, come and go.
fn change(list: &mut DrawList, rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(1..3) {
        let n = list.live.len();
        match rng.u32(0..6) {
            0 => list.live.insert(rng.usize(0..=n), any_item(rng)),
            1 if n > 0 => drop(list.live.remove(rng.usize(0..n))),
            2 if n > 1 => list.live.swap(rng.usize(0..n), rng.usize(0..n)),
            3..=4 if n > 0 => match &mut list.live[rng.usize(0..n)].shape {
                // A bar's end, as countdowns and scores move it.
                Shape::Quad(q) => q.rect.w = (q.rect.w + rng.f32() * 9.0 - 4.0).max(0.5),
                Shape::Glyphs(run) => run.origin[0] += 3.0,
                Shape::Image(i) => i.rect.y += 2.5,
                Shape::Path(p) => p.fill = any_color(rng),
            },
            _ if n > 0 => list.live[rng.usize(0..n)] = any_item(rng),
            _ => {}
        }
    }
}

#[test]
fn redrawing_the_damage_gives_the_picture_of_redrawing_everything() {
    let mut partial_frames = 0;
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(1000 + seed);
        let back = item(Shape::Quad(quad(SIZE_RECT, Color::rgb(20, 40, 60))));
        let mut base = vec![back];
        base.extend((0..5).map(|_| any_item(&mut rng)));
        let live = (0..12).map(|_| any_item(&mut rng)).collect();
        let mut list = list(SIZE, base, live);
        let (mut kept, mut source) = (renderer(SIZE), Source::default());
        for step in 0..5 {
            let Rendered { frame, damage } = kept.render(&list, &mut source).expect("drawn");
            partial_frames += usize::from(matches!(damage, Damage::Rects(_)));
            let mut fresh = renderer(SIZE);
            let whole = fresh.render(&list, &mut Source::default()).expect("drawn");
            assert_eq!(whole.damage, Damage::Full);
            assert_near(&format!("partial-{seed}-{step}"), &grab(&mut kept), &grab(&mut fresh), 0);
            assert!(frame == whole.frame, "seed {seed}, step {step}: the NV12 pictures differ");
            change(&mut list, &mut rng);
        }
    }
    assert!(partial_frames >= 30, "only {partial_frames} frames were partial");
}

const SIZE_RECT: Rect = Rect::new(0.0, 0.0, 160.0, 96.0);

fn bar(w: f32) -> DrawList {
    let back = item(Shape::Quad(quad(SIZE_RECT, Color::rgb(20, 40, 60))));
    let bar = item(Shape::Quad(quad(Rect::new(8.0, 8.0, w, 10.0), Color::rgb(200, 0, 0))));
    list(SIZE, vec![back], vec![bar])
}

#[test]
fn list_unchanged_returns_the_same_frame() {
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    let first = renderer.render(&bar(50.0), &mut source).expect("drawn");
    let second = renderer.render(&bar(50.0), &mut source).expect("drawn");
    assert_eq!((first.damage, second.damage), (Damage::Full, Damage::None));
    assert!(Arc::ptr_eq(&first.frame, &second.frame));
}

#[test]
fn frames_held_by_a_reader_never_change() {
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    let mut held = Vec::new();
    for w in 10..20 {
        let frame = renderer.render(&bar(w as f32), &mut source).expect("drawn").frame;
        held.push((frame.clone(), frame.data.clone()));
    }
    for (frame, data) in held {
        assert!(frame.data == data);
    }
}

#[test]
fn base_replaced_redraws_everything() {
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    renderer.render(&bar(50.0), &mut source).expect("drawn");
    let green = item(Shape::Quad(quad(SIZE_RECT, Color::rgb(0, 255, 0))));
    let list = DrawList { base: Arc::new(vec![green]), ..bar(50.0) };
    let rendered = renderer.render(&list, &mut source).expect("drawn");
    assert_eq!(rendered.damage, Damage::Full);
    assert_eq!(grab(&mut renderer).get(150, 90), [0, 255, 0]);
}

#[test]
fn submit_before_finish_lets_the_caller_work_meanwhile() {
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    renderer.submit(&bar(50.0), &mut source).expect("sent");
    let first = renderer.finish().expect("drawn");
    assert_eq!(renderer.finish().expect("again").damage, Damage::None);
    // A second submission finishes the first, and its damage counts from there.
    renderer.submit(&bar(60.0), &mut source).expect("sent");
    renderer.submit(&bar(70.0), &mut source).expect("sent");
    let last = renderer.finish().expect("drawn");
    let mut fresh = crate::kit::renderer(SIZE);
    assert_eq!(fresh.render(&bar(70.0), &mut source).expect("drawn").frame, last.frame);
    assert_ne!(first.frame, last.frame);
}

#[test]
fn two_renderers_on_one_device_do_not_disturb_each_other() {
    let small = Size { w: 64, h: 32 };
    let other = |w| DrawList { size: small, ..bar(w) };
    let (mut a, mut b, mut source) = (renderer(SIZE), renderer(small), Source::default());
    for w in [10.0, 20.0, 30.0] {
        a.submit(&bar(w), &mut source).expect("sent");
        b.submit(&other(w + 5.0), &mut source).expect("sent");
        b.finish().expect("drawn");
        a.finish().expect("drawn");
    }
    assert_near("two-a", &grab(&mut a), &draw(&bar(30.0)), 0);
    assert_near("two-b", &grab(&mut b), &draw(&other(35.0)), 0);
}

#[test]
fn sizes_that_cannot_be_drawn_are_refused() {
    use agentcast::render::GpuRenderer;
    for (w, h) in [(0, 16), (15, 16), (16, 17), (1 << 20, 16)] {
        assert!(GpuRenderer::new(gpu(), Size { w, h }).is_err(), "{w}x{h}");
    }
    let list = DrawList { size: Size { w: 32, h: 32 }, ..bar(5.0) };
    assert!(renderer(SIZE).render(&list, &mut Source::default()).is_err());
}
