//! Names and thoughts from strangers: whatever they are, they stay in their box.

use agentcast::draw::Glyph;
use agentcast::raster::{
    Family, FontSet, Line, OVERHANG, SYSTEM_DIRS, TextStyle, Typesetter, clean, clean_lines, isolate,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use unicode_segmentation::UnicodeSegmentation;

const NAME: TextStyle =
    TextStyle { family: Family::Display, weight: 700, size: 45.0, line: 48.0, tracking: 0.0, upper: false };
const SMALL_NAME: TextStyle = TextStyle { size: 36.0, ..NAME };
const LABEL: TextStyle =
    TextStyle { family: Family::Display, weight: 600, size: 27.0, line: 30.0, tracking: 0.06, upper: true };
const THOUGHT: TextStyle =
    TextStyle { family: Family::Text, weight: 400, size: 27.0, line: 39.0, tracking: 0.0, upper: false };

/// Pieces hostile names are made of.
const PIECES: &[&str] = &[
    "a",
    "W",
    "i",
    "j",
    " ",
    "0",
    "9",
    "-",
    ".",
    "!",
    "(",
    ")",
    "ffi",
    "ß",
    "İ",
    "ŉ",
    "Łódź",
    "Ğ",
    "The Grandmaster",
    "naïve",
    "שלום",
    "א",
    "מרחבא",
    "مرحبا",
    "ﷺ",
    "لله",
    "٣",
    "می\u{200C}خواهم",
    "क्षत्रिय",
    "क्ष",
    "น้ำ",
    "สวัสดี",
    "日本",
    "砂時計の騎士",
    "한글",
    "가",
    "\u{1112}\u{1161}\u{11AB}",
    "铁甲小蛇",
    "ｶﾞ",
    "、",
    "　",
    "😀",
    "👨‍👩‍👧‍👦",
    "🇺🇦",
    "🇺",
    "🏴\u{E0067}\u{E0062}\u{E007F}",
    "❤️",
    "1️⃣",
    "👍🏽",
    "☺\u{FE0E}",
    "q\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}",
    "\u{301}",
    "\u{489}",
    "\u{200D}",
    "\u{FE0F}",
    "\u{20E3}",
    "\u{202E}",
    "\u{2066}",
    "\u{2067}",
    "\u{2068}",
    "\u{2069}",
    "\u{200F}",
    "\u{200E}",
    "\u{0}",
    "\u{7}",
    "\t",
    "\n",
    "\r\n",
    "\u{1C}",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{AD}",
    "\u{FEFF}",
    "\u{FFFD}",
    "\u{FFFF}",
    "\u{E000}",
    "\u{10FFFF}",
    "\u{A0}",
    "\u{115F}",
    "\u{1160}",
    "𝓕",
    "𝒳",
    "ქართული",
    "தமிழ்",
    "ᏣᎳᎩ",
    "𓀀",
    "→",
    "▲",
    "…",
    "\u{FFFC}",
    "\u{0600}",
    "ꦏ꧀ꦏ",
    "မြန်မာ",
];

fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|v| v.concat());
    let any = prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter);
    let long = (prop::sample::select(PIECES), 1..200usize).prop_map(|(p, n)| p.repeat(n));
    let zalgo = prop::collection::vec(prop::char::range('\u{300}', '\u{36F}'), 0..120)
        .prop_map(|marks| format!("Z{}", String::from_iter(marks)));
    prop_oneof![6 => pieces, 2 => any, 1 => long, 1 => zalgo]
}

fn each(cases: u32, strategy: impl Strategy<Value = (String, f32)>, check: impl Fn(&mut Typesetter, &str, f32)) {
    // One typesetter for all: it is not `RefUnwindSafe`, and opening fonts for every case would be slow.
    let setter = RefCell::new(Typesetter::new(FontSet::system(&SYSTEM_DIRS)));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&strategy, |(text, width)| {
        check(&mut setter.borrow_mut(), &text, width);
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
}

/// Every pixel of the line's glyphs is inside `ink`.
fn assert_ink_true(t: &mut Typesetter, line: &Line) {
    assert_eq!(line.glyphs.len(), line.clusters.len());
    for Glyph { key, x, y } in line.glyphs.iter() {
        let i = t.glyph(*key).expect("glyphs without ink are left out");
        let (x0, y0) = (x + i.left, y - i.top);
        let ink = line.ink;
        assert!(x0 >= ink.x0 && y0 >= ink.y0 && x0 + i.w as i32 <= ink.x1 && y0 + i.h as i32 <= ink.y1);
    }
}

#[test]
fn hostile_names_stay_within_their_width() {
    each(2500, (hostile(), 0.0..400.0f32), |t, name, width| {
        for name in [name.to_owned(), clean(name), isolate(&clean(name))] {
            let (step, line) = t.fit(&name, &[NAME, SMALL_NAME], width, "");
            assert!(step < 2);
            assert!(line.width <= width, "{} > {width}", line.width);
            assert!(line.ink.x0 >= -OVERHANG, "{:?}", line.ink);
            assert!(
                line.glyphs.is_empty() || line.ink.x1 as f32 <= width + OVERHANG as f32,
                "{:?} in {width}",
                line.ink
            );
            assert_ink_true(t, &line);
            let borders: Vec<usize> = name.grapheme_indices(true).map(|(i, _)| i).chain([name.len()]).collect();
            // Under an override, which cleaning drops, the ellipsis may be shaped into the cluster before it.
            let overridden = name.contains(['\u{202a}', '\u{202b}', '\u{202d}', '\u{202e}']);
            if line.cut && !line.clusters.is_empty() && !overridden {
                // The ellipsis is the glyph with the largest offset: it stands where the text was cut (white space aside).
                let end = *line.clusters.iter().max().unwrap() as usize;
                assert!(borders.iter().any(|b| name[..*b].trim_end().len() == end), "cut at {end} of {name:?}");
            }
        }
    });
}

#[test]
fn hostile_paragraphs_wrap_within_their_width() {
    each(1000, (hostile(), 60.0..500.0f32), |t, text, width| {
        for text in [text.to_owned(), clean_lines(text)] {
            let p = t.paragraph(&text, &THOUGHT, width, "");
            let mut at = 0;
            for l in &p.lines {
                assert!(l.range.start >= at, "lines follow each other: {:?}", l.range);
                at = l.range.end;
                let words = &text[l.range.clone()];
                let seen = words.graphemes(true).filter(|g| !clean(g).is_empty()).count();
                assert!(l.line.width <= width + 0.1 || seen <= 1, "{words:?}: {}", l.line.width);
                assert_ink_true(t, &l.line);
                assert!(l.line.clusters.iter().all(|c| l.range.contains(&(*c as usize))), "{words:?}");
            }
            assert!(at <= text.len());
        }
    });
}

#[test]
fn hostile_labels_in_upper_case_keep_offsets() {
    each(600, (hostile(), 0.0..300.0f32), |t, text, width| {
        let (_, line) = t.fit(text, &[LABEL], width, "ja");
        assert!(line.width <= width);
        assert!(line.clusters.iter().all(|c| text.is_char_boundary(*c as usize)));
    });
}

#[test]
fn cleaning_again_changes_nothing() {
    each(2000, (hostile(), 0.0..1.0f32), |_, text, _| {
        let once = clean(text);
        assert_eq!(clean(&once), once);
        assert!(!once.chars().any(|c| c.is_control() || ('\u{202A}'..='\u{202E}').contains(&c)));
    });
}
