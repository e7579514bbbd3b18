//! Themes: colours, type, radii, motion. A theme is a JSON file with every value listed; nothing is mixed from it later.

use super::colour::{VISIONS, contrast, distance};
use crate::draw::Color;
use crate::raster::{Family, TextStyle};
use serde::Deserialize;
use std::sync::Arc;

/// A theme: colours, type, radii. Lengths are pixels of a 1920×1080 picture. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Theme(Arc<ThemeData>);

/// What a theme file holds.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ThemeData {
    pub name: String,
    pub color: Colors,
    pub radius: Radii,
    pub elevation: Elevation,
    /// Seats 0 to 7: A to H.
    pub seats: [SeatColors; 8],
    #[serde(rename = "type")]
    pub style: Styles,
    pub motion: Motion,
}

/// Colours by their use. The names in the file are the ones beside each field.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Colors {
    #[serde(rename = "stage.base")]
    pub stage: Color,
    #[serde(rename = "stage.slab")]
    pub slab: Color,
    #[serde(rename = "surface.panel")]
    pub panel: Color,
    #[serde(rename = "surface.raised")]
    pub raised: Color,
    #[serde(rename = "surface.inset")]
    pub inset: Color,
    pub line: Color,
    #[serde(rename = "text.hi")]
    pub hi: Color,
    #[serde(rename = "text.mid")]
    pub mid: Color,
    #[serde(rename = "text.lo")]
    pub lo: Color,
    /// Text on any seat or state fill.
    #[serde(rename = "text.onSide")]
    pub on_side: Color,
    #[serde(rename = "accent.fill")]
    pub accent: Color,
    #[serde(rename = "accent.on")]
    pub on_accent: Color,
    /// The LIVE badge only.
    #[serde(rename = "live.fill")]
    pub live: Color,
    #[serde(rename = "live.on")]
    pub on_live: Color,
    #[serde(rename = "state.good")]
    pub good: Color,
    #[serde(rename = "state.warn")]
    pub warn: Color,
    #[serde(rename = "state.bad")]
    pub bad: Color,
    #[serde(rename = "state.off")]
    pub off: Color,
    pub shadow: Color,
    #[serde(rename = "board.light")]
    pub board_light: Color,
    #[serde(rename = "board.dark")]
    pub board_dark: Color,
    #[serde(rename = "board.lastLight")]
    pub last_light: Color,
    #[serde(rename = "board.lastDark")]
    pub last_dark: Color,
    #[serde(rename = "piece.white")]
    pub piece_white: Color,
    #[serde(rename = "piece.whiteLine")]
    pub piece_white_line: Color,
    #[serde(rename = "piece.black")]
    pub piece_black: Color,
    #[serde(rename = "piece.blackLine")]
    pub piece_black_line: Color,
    #[serde(rename = "grid.cellA")]
    pub cell_a: Color,
    #[serde(rename = "grid.cellB")]
    pub cell_b: Color,
    #[serde(rename = "grid.hazard")]
    pub hazard: Color,
    /// A playing card's ground, and black and red print on it.
    #[serde(rename = "card.face")]
    pub card_face: Color,
    #[serde(rename = "card.ink")]
    pub card_ink: Color,
    #[serde(rename = "card.red")]
    pub card_red: Color,
    /// Frame of a card that is not from the French deck, and the ground behind its art.
    #[serde(rename = "card.frame")]
    pub card_frame: Color,
    #[serde(rename = "card.art")]
    pub card_art: Color,
    /// Plate under a number on a card.
    #[serde(rename = "card.plate")]
    pub card_plate: Color,
    #[serde(rename = "card.onPlate")]
    pub on_plate: Color,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Radii {
    pub s: f32,
    pub m: f32,
    pub l: f32,
}

/// The hard shadow below a panel.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Elevation {
    pub dy: f32,
    pub color: Color,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SeatColors {
    pub fill: Color,
    /// Ground of avatars and score boxes.
    pub tint: Color,
    /// The seat's half of the stage.
    pub stage: Color,
    /// Card backs and their pattern.
    pub sleeve: Color,
    pub sleeve_edge: Color,
    /// Empty places on the seat's half of a table.
    pub slot: Color,
}

/// Type styles at 1920×1080.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Styles {
    pub hero: Style,
    pub count: Style,
    pub xl: Style,
    pub score: Style,
    pub clock: Style,
    pub clocks: Style,
    pub namel: Style,
    pub name: Style,
    pub names: Style,
    pub title: Style,
    pub label: Style,
    pub tag: Style,
    pub num: Style,
    pub numl: Style,
    pub thoughtl: Style,
    pub thought: Style,
    pub body: Style,
    pub bodyb: Style,
    pub small: Style,
    pub smallb: Style,
    pub caption: Style,
    pub mono: Style,
    pub monob: Style,
}

/// A type style in design pixels.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Style {
    #[serde(deserialize_with = "family")]
    family: Family,
    weight: u16,
    pub size: f32,
    pub line: f32,
    tracking: f32,
    upper: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Motion {
    /// Milliseconds.
    pub fast: i64,
    pub base: i64,
    pub slow: i64,
    pub pulse_period: i64,
    /// Control points of a cubic Bézier: x1, y1, x2, y2.
    pub ease_out: [f32; 4],
    pub ease_in: [f32; 4],
}

/// Why a theme was refused.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    #[error("no theme is called `{0}`; there are `arena` and `paper`")]
    Unknown(String),
    #[error("theme file: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("theme `{theme}`: contrast of {text} on {ground} is {ratio:.1}, at least {limit} is needed")]
    Contrast { theme: String, text: String, ground: String, ratio: f64, limit: f64 },
    #[error("theme `{theme}`: seats A and B differ by {distance:.0} in {vision}, at least {limit} is needed")]
    Seats { theme: String, vision: &'static str, distance: f64, limit: f64 },
    #[error("theme `{theme}`: {field} is {found}, expected {expected}")]
    Value { theme: String, field: &'static str, found: f32, expected: &'static str },
}

/// WCAG AA for text of any size.
const TEXT_CONTRAST: f64 = 4.5;
/// CIE76 distance below which two sides look alike on a phone.
const SEAT_DISTANCE: f64 = 40.0;

impl Default for Theme {
    /// `arena`.
    fn default() -> Theme {
        Theme::named("arena").expect("built in, and loaded by a test")
    }
}

impl Theme {
    /// One of the built-in themes: `arena` (dark) or `paper` (light).
    pub fn named(name: &str) -> Result<Theme, ThemeError> {
        match name {
            "arena" => Theme::from_json(include_str!("../../assets/themes/arena.json")),
            "paper" => Theme::from_json(include_str!("../../assets/themes/paper.json")),
            _ => Err(ThemeError::Unknown(name.to_owned())),
        }
    }

    /// Reads a theme file and checks that it can be read on screen.
    pub fn from_json(json: &str) -> Result<Theme, ThemeError> {
        let data: ThemeData = serde_json::from_str(json)?;
        data.check()?;
        Ok(Theme(Arc::new(data)))
    }
}

impl std::ops::Deref for Theme {
    type Target = ThemeData;

    fn deref(&self) -> &ThemeData {
        &self.0
    }
}

impl ThemeData {
    /// Colours of a seat; seats count from 0.
    pub fn seat(&self, seat: u8) -> &SeatColors {
        &self.seats[usize::from(seat) % self.seats.len()]
    }

    fn check(&self) -> Result<(), ThemeError> {
        let c = &self.color;
        let pairs = [
            ("text.hi", c.hi, "surface.panel", c.panel),
            ("text.mid", c.mid, "surface.panel", c.panel),
            ("text.lo", c.lo, "surface.panel", c.panel),
            ("text.hi", c.hi, "stage.base", c.stage),
            ("text.mid", c.mid, "stage.base", c.stage),
            ("text.lo", c.lo, "surface.inset", c.inset),
            ("text.mid", c.mid, "surface.inset", c.inset),
            ("text.mid", c.mid, "surface.raised", c.raised),
            ("accent.on", c.on_accent, "accent.fill", c.accent),
            ("live.on", c.on_live, "live.fill", c.live),
            ("text.onSide", c.on_side, "state.good", c.good),
            ("text.onSide", c.on_side, "state.warn", c.warn),
            ("text.onSide", c.on_side, "state.bad", c.bad),
            ("text.onSide", c.on_side, "state.off", c.off),
            ("card.ink", c.card_ink, "card.face", c.card_face),
            ("card.red", c.card_red, "card.face", c.card_face),
            ("card.onPlate", c.on_plate, "card.plate", c.card_plate),
        ];
        let seats = self.seats.iter().enumerate().flat_map(|(i, s)| {
            let seat = format!("seat {}", seat_letter(i as u8));
            [
                ("text.onSide".to_owned(), c.on_side, seat.clone(), s.fill),
                (seat, s.fill, "surface.panel".to_owned(), c.panel),
            ]
        });
        let pairs = pairs.map(|(text, a, ground, b)| (text.to_owned(), a, ground.to_owned(), b));
        for (text, a, ground, b) in pairs.into_iter().chain(seats) {
            let ratio = contrast(a, b);
            if ratio < TEXT_CONTRAST {
                return Err(ThemeError::Contrast {
                    theme: self.name.clone(),
                    text,
                    ground,
                    ratio,
                    limit: TEXT_CONTRAST,
                });
            }
        }
        for (vision, matrix) in &VISIONS {
            let distance = distance(self.seats[0].fill, self.seats[1].fill, matrix);
            if distance < SEAT_DISTANCE {
                return Err(ThemeError::Seats { theme: self.name.clone(), vision, distance, limit: SEAT_DISTANCE });
            }
        }
        self.check_values()
    }

    fn check_values(&self) -> Result<(), ThemeError> {
        let value = |field, found: f32, expected, good: bool| {
            if good { Ok(()) } else { Err(ThemeError::Value { theme: self.name.clone(), field, found, expected }) }
        };
        for r in [self.radius.s, self.radius.m, self.radius.l] {
            value("radius", r, "0 to 36 px", (0.0..=36.0).contains(&r))?;
        }
        value("elevation.dy", self.elevation.dy, "0 to 18 px", (0.0..=18.0).contains(&self.elevation.dy))?;
        for s in self.style.all() {
            value("type size", s.size, "24 to 400 px", (24.0..=400.0).contains(&s.size))?;
            value("type line", s.line, "24 to 400 px", (24.0..=400.0).contains(&s.line))?;
            value("type tracking", s.tracking, "−0.1 to 0.2 em", (-0.1..=0.2).contains(&s.tracking))?;
            value("type weight", f32::from(s.weight), "100 to 900", (100..=900).contains(&s.weight))?;
        }
        let m = &self.motion;
        for ms in [m.fast, m.base, m.slow, m.pulse_period] {
            value("motion", ms as f32, "0 to 5000 ms", (0..=5000).contains(&ms))?;
        }
        for x in [m.ease_out[0], m.ease_out[2], m.ease_in[0], m.ease_in[2]] {
            value("motion ease x", x, "0 to 1", (0.0..=1.0).contains(&x))?;
        }
        Ok(())
    }
}

impl Styles {
    fn all(&self) -> [&Style; 23] {
        [
            &self.hero,
            &self.count,
            &self.xl,
            &self.score,
            &self.clock,
            &self.clocks,
            &self.namel,
            &self.name,
            &self.names,
            &self.title,
            &self.label,
            &self.tag,
            &self.num,
            &self.numl,
            &self.thoughtl,
            &self.thought,
            &self.body,
            &self.bodyb,
            &self.small,
            &self.smallb,
            &self.caption,
            &self.mono,
            &self.monob,
        ]
    }
}

impl Style {
    /// The same face at another size, line height in proportion.
    pub fn sized(self, size: f32) -> Style {
        Style { size, line: self.line * size / self.size, ..self }
    }

    pub fn weight(self, weight: u16) -> Style {
        Style { weight, ..self }
    }

    /// Without capitals and letter spacing: for names in a label's place.
    pub fn plain(self) -> Style {
        Style { upper: false, tracking: 0.0, ..self }
    }

    /// At `scale` pixels a design pixel, never smaller than `min` px.
    pub(super) fn at(self, scale: f32, min: f32) -> TextStyle {
        let size = (self.size * scale).max(min.min(self.size));
        TextStyle {
            family: self.family,
            weight: self.weight,
            size,
            line: (self.line * scale).max(size * 1.1).round(),
            tracking: self.tracking,
            upper: self.upper,
        }
    }
}

/// `A` to `H`.
pub fn seat_letter(seat: u8) -> char {
    char::from(b'A' + seat % 8)
}

fn family<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Family, D::Error> {
    match &*<std::borrow::Cow<'de, str>>::deserialize(d)? {
        "display" => Ok(Family::Display),
        "text" => Ok(Family::Text),
        "mono" => Ok(Family::Mono),
        other => Err(serde::de::Error::custom(format_args!("`{other}` is no family: display, text or mono"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA: &str = include_str!("../../assets/themes/arena.json");

    #[test]
    fn built_in_themes_pass_their_checks() {
        for name in ["arena", "paper"] {
            assert_eq!(Theme::named(name).unwrap().name, name);
        }
        assert!(matches!(Theme::named("neon"), Err(ThemeError::Unknown(_))));
    }

    #[test]
    fn unreadable_text_is_refused_with_the_pair() {
        let json = ARENA.replacen("\"#BCC8D8\"", "\"#2A3340\"", 1);
        let error = Theme::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("text.mid on surface.panel"), "{error}");
    }

    #[test]
    fn sides_that_look_alike_to_a_colour_blind_viewer_are_refused() {
        // Green against orange: far apart in normal vision, near in deuteranopia.
        let json = ARENA.replacen("\"fill\": \"#4AA8FF\"", "\"fill\": \"#9FD23A\"", 1);
        let error = Theme::from_json(&json).unwrap_err();
        assert!(matches!(error, ThemeError::Seats { vision: "protanopia" | "deuteranopia", .. }), "{error}");
    }

    #[test]
    fn a_missing_or_unknown_key_is_refused_by_name() {
        let json = ARENA.replacen("\"text.lo\"", "\"text.low\"", 1);
        let error = Theme::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("text.low"), "{error}");
    }

    #[test]
    fn text_at_720p_is_never_smaller_than_18_px() {
        let theme = Theme::named("arena").unwrap();
        for style in theme.style.all() {
            assert!(style.at(2.0 / 3.0, 18.0).size >= 18.0);
        }
        assert_eq!(theme.style.clock.at(2.0 / 3.0, 18.0).size, 48.0);
    }
}
