//! Each kind of item against the CPU's picture.

use crate::kit::*;
use crate::support::cpu;
use agentcast::draw::*;

const BACK: Color = Color::rgb(40, 90, 160);
const INK: Color = Color::rgb(230, 200, 20);

fn over_back(items: Vec<Item>) -> DrawList {
    let back = item(Shape::Quad(quad(Rect::new(0.0, 0.0, 160.0, 96.0), BACK)));
    list(SIZE, vec![back], items)
}

#[test]
fn quad_on_whole_pixels_is_crisp() {
    let shape = Shape::Quad(quad(Rect::new(10.0, 20.0, 30.0, 5.0), INK));
    let canvas = draw(&over_back(vec![item(shape)]));
    for y in 0..96 {
        for x in 0..160 {
            let inside = (10..40).contains(&x) && (20..25).contains(&y);
            let [r, g, b, _] = if inside { INK.0 } else { BACK.0 };
            assert_eq!(canvas.get(x, y), [r, g, b], "at {x},{y}");
        }
    }
}

#[test]
fn quad_translucent_is_blended_in_gamma_space() {
    let half = Color([255, 255, 255, 128]);
    let canvas = draw(&list(SIZE, vec![], vec![item(Shape::Quad(quad(Rect::new(0.0, 0.0, 160.0, 96.0), half)))]));
    assert!(canvas.rgb.iter().all(|p| p.iter().all(|c| c.abs_diff(128) <= 1)), "{:?}", canvas.get(0, 0));
}

#[test]
fn quads_with_corners_borders_and_shadows_look_as_on_the_cpu() {
    let full = |rect, radius, border, shadow| item(Shape::Quad(Quad { rect, fill: INK, radius, border, shadow }));
    let (dark, pale) = (Color::rgb(5, 8, 12), Color::rgb(250, 250, 250));
    let items = vec![
        full(Rect::new(4.0, 4.0, 60.0, 30.0), [12.0; 4], None, None),
        full(Rect::new(70.0, 4.0, 60.0, 30.0), [12.0; 4], Some((3.0, pale)), Some((6.0, dark))),
        full(Rect::new(4.0, 44.0, 40.0, 20.0), [0.0, 0.0, 8.0, 8.0], Some((1.0, pale)), Some((4.0, dark))),
        full(Rect::new(50.0, 46.0, 80.0, 12.0), [6.0; 4], None, None),
        full(Rect::new(50.25, 64.0, 47.5, 10.0), [0.0; 4], Some((2.0, pale)), None),
        full(Rect::new(104.5, 64.5, 20.0, 20.0), [10.0; 4], Some((1.5, pale)), None),
        full(Rect::new(4.0, 76.0, 5.0, 5.0), [2.5; 4], None, None),
        full(Rect::new(140.0, 50.0, 40.0, 60.0), [10.0; 4], Some((2.0, pale)), None),
    ];
    assert_drawn("quads", &over_back(items), 3);
}

#[test]
fn quad_border_translucent_does_not_pile_up_on_the_fill() {
    let quad = Quad {
        rect: Rect::new(10.0, 10.0, 50.0, 30.0),
        fill: Color([255, 0, 0, 100]),
        radius: [6.0; 4],
        border: Some((3.0, Color([0, 255, 0, 100]))),
        shadow: None,
    };
    assert_drawn("translucent-border", &over_back(vec![item(Shape::Quad(quad))]), 4);
}

#[test]
fn paths_in_both_windings_look_as_on_the_cpu() {
    let path = |points: &[[f32; 2]]| item(Shape::Path(Path { points: points.to_vec(), fill: INK }));
    let items = vec![
        path(&[[30.0, 0.0], [140.0, 0.0], [110.0, 96.0], [0.0, 96.0]]),
        path(&[[150.0, 10.0], [130.0, 30.0], [150.0, 50.0], [158.0, 30.0]]),
    ];
    // A corner's pixel is shared differently: the CPU takes the nearest edge, the shader all of them.
    assert_drawn("paths", &over_back(items), 60);
}

#[test]
fn path_on_whole_pixels_is_crisp() {
    let points = vec![[8.0, 8.0], [48.0, 8.0], [48.0, 40.0], [8.0, 40.0]];
    let path = over_back(vec![item(Shape::Path(Path { points, fill: INK }))]);
    let quad = over_back(vec![item(Shape::Quad(quad(Rect::new(8.0, 8.0, 40.0, 32.0), INK)))]);
    assert_near("path-crisp", &draw(&path), &draw(&quad), 0);
}

#[test]
fn glyphs_are_the_very_pixels_of_their_source() {
    let ids: Vec<u16> = (0..60).collect();
    let whole = item(Shape::Glyphs(run(&ids, [6.0, 12.0], 14, 11, INK)));
    let faint = item(Shape::Glyphs(run(&ids, [3.0, 14.0], 14, 11, Color([255, 255, 255, 90]))));
    assert_drawn("glyphs", &over_back(vec![whole, faint]), 2);
}

#[test]
fn images_nearest_bilinear_rounded_and_faint_look_as_on_the_cpu() {
    let shown = |i: Image| item(Shape::Image(i));
    let items = vec![
        shown(image(3, Rect::new(4.0, 4.0, 11.0, 12.0))),
        shown(image(3, Rect::new(20.0, 4.0, 44.0, 48.0))),
        shown(Image { nearest: false, ..image(1, Rect::new(70.0, 4.0, 36.0, 40.0)) }),
        shown(Image { nearest: false, radius: 9.0, opacity: 140, ..image(2, Rect::new(110.5, 4.5, 40.0, 40.0)) }),
        shown(Image { uv: [0.5, 0.0, 0.5, 0.5], ..image(2, Rect::new(4.0, 60.0, 30.0, 30.0)) }),
    ];
    assert_drawn("images", &over_back(items), 4);
}

#[test]
fn image_much_smaller_than_its_picture_is_averaged() {
    // 13 × 12 px of noise in 2 × 2: bilinear alone would pick a few texels.
    let canvas = draw(&list(
        SIZE,
        vec![],
        vec![item(Shape::Image(Image { nearest: false, ..image(5, Rect::new(0.0, 0.0, 2.0, 2.0)) }))],
    ));
    for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        for c in canvas.get(x, y) {
            assert!((75..=180).contains(&c), "{:?} is no mean of noise", canvas.get(x, y));
        }
    }
}

#[test]
fn image_gone_from_the_bank_leaves_the_rest_of_the_picture() {
    struct Empty;
    impl agentcast::raster::PixelSource for Empty {
        fn glyph(&mut self, _: agentcast::raster::GlyphKey) -> Option<agentcast::raster::GlyphImage> {
            None
        }
        fn image(&mut self, _: agentcast::raster::ImageKey) -> Option<std::sync::Arc<agentcast::raster::Pixels>> {
            None
        }
    }
    use agentcast::render::Renderer as _;
    let mark = item(Shape::Quad(quad(Rect::new(100.0, 50.0, 10.0, 10.0), INK)));
    let gone = item(Shape::Image(image(9, Rect::new(0.0, 0.0, 20.0, 20.0))));
    let text = item(Shape::Glyphs(run(&[1, 2, 3], [9.0, 9.0], 10, 3, INK)));
    let mut renderer = renderer(SIZE);
    renderer.render(&over_back(vec![gone, text, mark.clone()]), &mut Empty).expect("drawn");
    assert_near("gone", &grab(&mut renderer), &draw(&over_back(vec![mark])), 0);
}

#[test]
fn clip_cuts_every_kind_at_whole_pixels() {
    let clip = IRect { x0: 30, y0: 20, x1: 90, y1: 60 };
    let ids: Vec<u16> = (1..60).collect();
    let shapes = [
        Shape::Quad(Quad {
            radius: [20.0; 4],
            shadow: Some((6.0, INK)),
            ..quad(Rect::new(20.0, 10.0, 90.0, 45.0), INK)
        }),
        Shape::Path(Path { points: vec![[10.0, 5.0], [150.0, 30.0], [20.0, 90.0]], fill: INK }),
        Shape::Glyphs(run(&ids, [6.0, 12.0], 14, 11, INK)),
        Shape::Image(image(3, Rect::new(10.0, 5.0, 130.0, 80.0))),
    ];
    let back = draw(&over_back(vec![]));
    for (i, shape) in shapes.into_iter().enumerate() {
        let whole = draw(&over_back(vec![item(shape.clone())]));
        let cut = draw(&over_back(vec![Item { clip: Some(clip), shape }]));
        let mut expected = back.clone();
        for y in clip.y0..clip.y1 {
            for x in clip.x0..clip.x1 {
                let at = (y * expected.w + x) as usize;
                expected.rgb[at] = whole.rgb[at];
            }
        }
        assert_near(&format!("clip-{i}"), &cut, &expected, 0);
    }
}

#[test]
fn random_lists_look_as_on_the_cpu() {
    for seed in 0..16 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let base = (0..6).map(|_| any_item(&mut rng)).collect();
        let live = (0..14).map(|_| any_item(&mut rng)).collect();
        let list = over(base, live);
        let expected = cpu::draw(&list, &mut Source::default());
        let off = draw(&list).difference(&expected);
        // Edges are a matter of taste by a few code values; a wrong order, place or colour is not.
        assert!(off < 0.8, "seed {seed}: mean difference {off:.2}");
    }
}

fn over(base: Vec<Item>, live: Vec<Item>) -> DrawList {
    list(SIZE, base, live)
}

#[test]
fn items_are_drawn_in_the_order_of_the_list() {
    // Kinds alternate, all in one place: only the last may be seen.
    let rect = Rect::new(20.0, 20.0, 20.0, 12.0);
    let mut items = Vec::new();
    for i in 0..6u8 {
        items.push(item(Shape::Image(image(1, rect))));
        items.push(item(Shape::Quad(Quad { radius: [1.0; 4], ..quad(rect, Color::rgb(i, 0, 0)) })));
        items.push(item(Shape::Path(Path {
            points: vec![[20.0, 20.0], [40.0, 20.0], [40.0, 32.0], [20.0, 32.0]],
            fill: Color::rgb(i, 7, 0),
        })));
    }
    let canvas = draw(&over_back(items));
    assert_eq!(canvas.get(30, 26), [5, 7, 0]);
}

#[test]
fn glyphs_more_than_a_page_holds_are_all_drawn() {
    // 400 glyphs of 60 × 60 px are 1.4 million texels; the first page has one million.
    let size = Size { w: 640, h: 400 };
    let ids: Vec<u16> = (200..600).collect();
    let text = item(Shape::Glyphs(run(&ids, [2.0, 20.0], 15, 40, INK)));
    let list = list(size, vec![], vec![text]);
    assert_near("many-glyphs", &draw(&list), &cpu::draw(&list, &mut Source::default()), 12);
}

#[test]
fn glyphs_that_come_and_go_are_right_after_the_page_was_emptied() {
    use agentcast::render::Renderer as _;
    let size = Size { w: 640, h: 400 };
    let (mut renderer, mut source) = (renderer(size), Source::default());
    for from in [200u16, 320, 440, 560, 200] {
        let ids: Vec<u16> = (from..from + 150).collect();
        let list = list(size, vec![], vec![item(Shape::Glyphs(run(&ids, [2.0, 20.0], 38, 16, INK)))]);
        renderer.render(&list, &mut source).expect("drawn");
        assert_near("emptied-page", &grab(&mut renderer), &cpu::draw(&list, &mut Source::default()), 6);
    }
    assert!(source.glyphs < 150 * 5 * 2, "{} glyphs rasterised", source.glyphs);
}

#[test]
fn pixels_are_asked_for_once() {
    use agentcast::render::Renderer as _;
    let (mut renderer, mut source) = (renderer(SIZE), Source::default());
    for x in 0..5 {
        let x = x as f32 * 10.0;
        let text = item(Shape::Glyphs(run(&[1, 2, 3, 1, 2, 3, 0], [x, 20.0], 12, 7, INK)));
        let picture = item(Shape::Image(image(1, Rect::new(x, 40.0, 20.0, 20.0))));
        renderer.render(&over_back(vec![text, picture]), &mut source).expect("drawn");
    }
    // 0 has no ink, which is remembered too.
    assert_eq!((source.glyphs, source.images), (4, 1));
}
