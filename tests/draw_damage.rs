//! What damage promises: drawing the new list inside it over the old picture gives the new picture.

mod support;

use agentcast::draw::*;
use agentcast::raster::{Family, TextStyle};
use proptest::prelude::*;
use std::sync::Arc;
use support::{cpu, matches};

const SIZE: Size = Size { w: 160, h: 120 };

fn color() -> impl Strategy<Value = Color> {
    prop_oneof![Just([250, 40, 40, 255]), Just([30, 200, 90, 128]), Just([60, 60, 250, 255])].prop_map(Color)
}

fn rect() -> impl Strategy<Value = Rect> {
    (-20i32..150, -20i32..110, 1i32..90, 1i32..60, 0u8..4).prop_map(|(x, y, w, h, sub)| {
        let part = f32::from(sub) * 0.25;
        Rect::new(x as f32 + part, y as f32, w as f32, h as f32 + part)
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let quad = (rect(), color(), 0u8..9, any::<bool>(), any::<bool>()).prop_map(|(rect, fill, r, border, shadow)| {
        let most = rect.w.min(rect.h) / 2.0;
        Shape::Quad(Quad {
            rect,
            fill,
            radius: [0.0, f32::from(r).min(most), f32::from(r).min(most), 0.0],
            border: border.then_some((2.0, Color::rgb(255, 255, 255))),
            shadow: shadow.then_some((6.0, Color::rgb(0, 0, 0))),
        })
    });
    let path = (rect(), color()).prop_map(|(r, fill)| {
        Shape::Path(Path { points: vec![[r.x, r.y], [r.right(), r.y + 3.5], [r.x + r.w / 3.0, r.bottom()]], fill })
    });
    prop_oneof![3 => quad, 1 => path]
}

fn item() -> impl Strategy<Value = Item> {
    let clip = proptest::option::weighted(0.2, rect().prop_map(Rect::outer));
    (shape(), clip).prop_map(|(shape, clip)| Item { clip, shape })
}

/// A list and one made from it by dropping, moving, changing and adding items.
fn lists() -> impl Strategy<Value = (Vec<Item>, Vec<Item>)> {
    let edits =
        prop::collection::vec((0u8..5, any::<prop::sample::Index>(), any::<prop::sample::Index>(), item()), 0..5);
    (prop::collection::vec(item(), 0..14), edits).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (kind, i, j, fresh) in edits {
            if new.is_empty() {
                new.push(fresh);
                continue;
            }
            let (i, j) = (i.index(new.len()), j.index(new.len()));
            match kind {
                0 => drop(new.remove(i)),
                1 => new.swap(i, j),
                2 => new[i] = fresh,
                3 => new.insert(i, fresh),
                _ => {
                    if let Shape::Quad(quad) = &mut new[i].shape {
                        quad.rect.w += j as f32;
                    }
                }
            }
        }
        (old, new)
    })
}

fn list(live: Vec<Item>) -> DrawList {
    DrawList { size: SIZE, base: Arc::default(), live }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn drawing_only_the_damage_gives_the_new_picture((old, new) in lists()) {
        let mut raster = matches::raster();
        let (old, new) = (list(old), list(new));
        let want = cpu::draw(&new, &mut raster);
        let mut canvas = cpu::draw(&old, &mut raster);
        match Damage::between(&old, &new) {
            Damage::None => {}
            Damage::Full => prop_assert!(false, "the base is the same"),
            Damage::Rects(rects) => {
                for (i, r) in rects.iter().enumerate() {
                    prop_assert!(!r.is_empty() && r.intersect(SIZE.bounds()) == *r);
                    prop_assert!(rects[..i].iter().all(|o| !o.overlaps(*r)));
                    let whole = |v: i32, end: u32| v % ALIGN == 0 || v == end as i32;
                    prop_assert!(whole(r.x0, 0) && whole(r.y0, 0) && whole(r.x1, SIZE.w) && whole(r.y1, SIZE.h));
                    canvas.draw(&new, *r, &mut raster);
                }
            }
        }
        prop_assert!(canvas == want);
    }
}

#[test]
fn a_changed_base_damages_everything() {
    let quad = |x: f32| {
        let rect = Rect::new(x, 0.0, 10.0, 10.0);
        let fill = Color::rgb(9, 9, 9);
        Item { clip: None, shape: Shape::Quad(Quad { rect, fill, radius: [0.0; 4], border: None, shadow: None }) }
    };
    let based = |x: f32| DrawList { size: SIZE, base: Arc::new(vec![quad(x)]), live: Vec::new() };
    assert_eq!(Damage::between(&based(1.0), &based(2.0)), Damage::Full);
    // Another Arc with the same contents is the same picture.
    assert_eq!(Damage::between(&based(1.0), &based(1.0)), Damage::None);
}

#[test]
fn the_same_text_shaped_again_is_no_damage_and_another_digit_damages_its_own_place() {
    let mut raster = matches::raster();
    let style = TextStyle { family: Family::Display, weight: 700, size: 48.0, line: 48.0, tracking: 0.0, upper: false };
    let mut text = |t: &str| {
        let line = raster.text.line(t, &style, "");
        let glyphs: Arc<[Glyph]> = line.glyphs.to_vec().into();
        let run = GlyphRun { glyphs, origin: [20.0, 60.0], color: Color::rgb(255, 255, 255), ink: line.ink };
        list(vec![Item { clip: None, shape: Shape::Glyphs(run) }])
    };
    let (a, b, c) = (text("4:37"), text("4:37"), text("4:36"));
    assert_eq!(Damage::between(&a, &b), Damage::None);
    let Damage::Rects(rects) = Damage::between(&a, &c) else { panic!("a digit changed") };
    assert_eq!(rects.len(), 1);
    assert!(rects[0].area() < SIZE.bounds().area() / 2);
}
