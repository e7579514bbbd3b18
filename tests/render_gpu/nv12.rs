//! The NV12 pass against the CPU reference.

use crate::kit::*;
use agentcast::draw::*;
use agentcast::render::{Renderer, rgba_to_nv12};

/// Neither side is a multiple of the 16 px tiles.
const SIZE: Size = Size { w: 108, h: 58 };

fn assert_converted(frame: &Frame, rgba: &[u8]) {
    let expected = rgba_to_nv12(rgba, SIZE);
    assert_eq!((frame.size, frame.data.len()), (SIZE, frame.stride * SIZE.h as usize * 3 / 2));
    for row in 0..SIZE.h as usize * 3 / 2 {
        for x in 0..SIZE.w as usize {
            let (a, b) = (frame.data[row * frame.stride + x], expected.data[row * expected.stride + x]);
            assert!(a.abs_diff(b) <= 1, "row {row}, byte {x}: {a} instead of {b}");
        }
    }
}

fn noise(seed: u64, n: usize) -> Vec<Item> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut spot = || {
        let rect =
            Rect::new(rng.i32(-4..108) as f32, rng.i32(-4..58) as f32, rng.u32(1..9) as f32, rng.u32(1..9) as f32);
        item(Shape::Quad(quad(rect, Color::rgb(rng.u8(..), rng.u8(..), rng.u8(..)))))
    };
    (0..n).map(|_| spot()).collect()
}

#[test]
fn nv12_agrees_with_the_reference_within_one_code_value() {
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    let mut list = list(SIZE, noise(1, 900), noise(2, 30));
    let frame = renderer.render(&list, &mut source).expect("drawn").frame;
    assert_converted(&frame, &renderer.read_rgba().expect("a picture"));
    // Partial frames too: what is not damaged keeps what was converted before.
    for (i, x) in [(0, 100.0), (1, 3.0), (2, 50.0)] {
        list.live[i] = item(Shape::Quad(quad(Rect::new(x, 50.0 - x / 2.0, 9.0, 7.0), Color::rgb(255, 0, 99))));
        let rendered = renderer.render(&list, &mut source).expect("drawn");
        assert!(matches!(rendered.damage, Damage::Rects(_)));
        assert_converted(&rendered.frame, &renderer.read_rgba().expect("a picture"));
    }
}

#[test]
fn black_and_white_are_limited_range() {
    let half = item(Shape::Quad(quad(Rect::new(0.0, 0.0, 54.0, 58.0), Color::rgb(255, 255, 255))));
    let frame = renderer(SIZE).render(&list(SIZE, vec![], vec![half]), &mut Source::default()).expect("drawn").frame;
    assert_eq!((frame.data[0], frame.data[60]), (235, 16));
    let chroma = frame.stride * SIZE.h as usize;
    assert!(frame.data[chroma..].iter().all(|c| *c == 128));
}
