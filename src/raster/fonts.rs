use super::text::Family;
use cosmic_text::fontdb::{Database, FaceInfo, ID, Language, Source, Stretch, Style, Weight};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unicode_script::Script;

/// The faces text is set in: the design's own and the fallbacks found on the system.
///
/// Files are only named here. The embedded faces are part of the binary; all others are mapped into memory when the first
/// character needs them, so that 40 MB of CJK and emoji cost nothing until then.
#[derive(Clone, Debug, Default)]
pub struct FontSet {
    /// File name → where it is.
    found: BTreeMap<&'static str, FontOrigin>,
}

/// Where a face comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FontOrigin {
    /// Part of the binary.
    Embedded,
    File(PathBuf),
}

/// One family and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FontStatus {
    pub family: &'static str,
    /// None: missing; text that needs it is set in another face or in boxes.
    pub found: Option<FontOrigin>,
    pub used_for: &'static str,
    /// How to get it, in words.
    pub get_it: &'static str,
}

/// Where Linux distributions (Debian, Fedora, Arch) and macOS put the faces we know by name.
pub const SYSTEM_DIRS: [&str; 11] = [
    "/usr/share/fonts/truetype/noto",
    "/usr/share/fonts/opentype/noto",
    "/usr/share/fonts/noto",
    "/usr/share/fonts/noto-cjk",
    "/usr/share/fonts/google-noto",
    "/usr/share/fonts/google-noto-sans-cjk-fonts",
    "/usr/share/fonts/google-noto-emoji-fonts",
    "/usr/share/fonts/truetype/dejavu",
    "/usr/share/fonts/TTF",
    "/usr/local/share/fonts",
    "/Library/Fonts",
];

/// Weights every family is registered at: the ones the design uses. Fallback matches a weight exactly or not at all.
pub(super) const WEIGHTS: [u16; 4] = [400, 500, 600, 700];

const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/fonts.rs"));

const OWN: [(Family, u16, &str); 6] = [
    (Family::Display, 600, "BarlowCondensed_600SemiBold.ttf"),
    (Family::Display, 700, "BarlowCondensed_700Bold.ttf"),
    (Family::Text, 400, "AtkinsonHyperlegibleNext_400Regular.ttf"),
    (Family::Text, 600, "AtkinsonHyperlegibleNext_600SemiBold.ttf"),
    (Family::Mono, 500, "JetBrainsMono_500Medium.ttf"),
    (Family::Mono, 700, "JetBrainsMono_700Bold.ttf"),
];

/// Stand in for a missing own face, best first.
const LAST_RESORT: [&str; 6] = [
    "NotoSans-Bold.ttf",
    "NotoSans-Regular.ttf",
    "DejaVuSansCondensed-Bold.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
];

struct Noto {
    family: &'static str,
    regular: &'static str,
    bold: &'static str,
    /// Face in a collection. Debian's CJK files hold JP, KR, SC, TC, HK in this order.
    index: u32,
    scripts: &'static [Script],
    used_for: &'static str,
    get_it: &'static str,
}

const CORE: &str = "Debian: apt-get install fonts-noto-core";
const CJK: &str = "Debian: apt-get install fonts-noto-cjk";

pub(super) const EMOJI: &str = "Noto Color Emoji";
pub(super) const CJK_JP: &str = "Noto Sans CJK JP";
pub(super) const CJK_KR: &str = "Noto Sans CJK KR";
pub(super) const CJK_SC: &str = "Noto Sans CJK SC";
pub(super) const CJK_TC: &str = "Noto Sans CJK TC";
pub(super) const CJK_HK: &str = "Noto Sans CJK HK";

macro_rules! noto {
    ($family:literal, $file:literal, $scripts:expr, $used_for:literal) => {
        Noto {
            family: $family,
            regular: concat!($file, "-Regular.ttf"),
            bold: concat!($file, "-Bold.ttf"),
            index: 0,
            scripts: $scripts,
            used_for: $used_for,
            get_it: CORE,
        }
    };
}

macro_rules! cjk {
    ($family:expr, $index:literal, $scripts:expr, $used_for:literal) => {
        Noto {
            family: $family,
            regular: "NotoSansCJK-Regular.ttc",
            bold: "NotoSansCJK-Bold.ttc",
            index: $index,
            scripts: $scripts,
            used_for: $used_for,
            get_it: CJK,
        }
    };
}

const NOTO: [Noto; 31] = [
    noto!("Noto Sans", "NotoSans", &[Script::Latin, Script::Cyrillic, Script::Greek], "Cyrillic, Greek, rare Latin"),
    noto!("Noto Sans Arabic", "NotoSansArabic", &[Script::Arabic], "Arabic"),
    noto!("Noto Sans Hebrew", "NotoSansHebrew", &[Script::Hebrew], "Hebrew"),
    noto!("Noto Sans Devanagari", "NotoSansDevanagari", &[Script::Devanagari], "Hindi, Marathi, Nepali"),
    noto!("Noto Sans Thai", "NotoSansThai", &[Script::Thai], "Thai"),
    cjk!(CJK_JP, 0, &[Script::Hiragana, Script::Katakana], "Japanese"),
    cjk!(CJK_KR, 1, &[Script::Hangul], "Korean"),
    cjk!(CJK_SC, 2, &[Script::Han], "Chinese, simplified"),
    cjk!(CJK_TC, 3, &[Script::Bopomofo], "Chinese, traditional (Taiwan)"),
    cjk!(CJK_HK, 4, &[], "Chinese, traditional (Hong Kong)"),
    noto!("Noto Sans Armenian", "NotoSansArmenian", &[Script::Armenian], "Armenian"),
    noto!("Noto Sans Bengali", "NotoSansBengali", &[Script::Bengali], "Bengali"),
    noto!("Noto Sans Ethiopic", "NotoSansEthiopic", &[Script::Ethiopic], "Amharic, Tigrinya"),
    noto!("Noto Sans Georgian", "NotoSansGeorgian", &[Script::Georgian], "Georgian"),
    noto!("Noto Sans Gujarati", "NotoSansGujarati", &[Script::Gujarati], "Gujarati"),
    noto!("Noto Sans Gurmukhi", "NotoSansGurmukhi", &[Script::Gurmukhi], "Punjabi"),
    noto!("Noto Sans Kannada", "NotoSansKannada", &[Script::Kannada], "Kannada"),
    noto!("Noto Sans Khmer", "NotoSansKhmer", &[Script::Khmer], "Khmer"),
    noto!("Noto Sans Lao", "NotoSansLao", &[Script::Lao], "Lao"),
    noto!("Noto Sans Malayalam", "NotoSansMalayalam", &[Script::Malayalam], "Malayalam"),
    noto!("Noto Sans Myanmar", "NotoSansMyanmar", &[Script::Myanmar], "Burmese"),
    noto!("Noto Sans Oriya", "NotoSansOriya", &[Script::Oriya], "Odia"),
    noto!("Noto Sans Sinhala", "NotoSansSinhala", &[Script::Sinhala], "Sinhala"),
    noto!("Noto Sans Tamil", "NotoSansTamil", &[Script::Tamil], "Tamil"),
    noto!("Noto Sans Telugu", "NotoSansTelugu", &[Script::Telugu], "Telugu"),
    noto!("Noto Sans Cherokee", "NotoSansCherokee", &[Script::Cherokee], "Cherokee"),
    noto!("Noto Sans Syriac", "NotoSansSyriac", &[Script::Syriac], "Syriac"),
    noto!("Noto Sans Math", "NotoSansMath", &[], "mathematical letters"),
    noto!("Noto Sans Symbols", "NotoSansSymbols", &[], "symbols"),
    noto!("Noto Sans Symbols2", "NotoSansSymbols2", &[], "symbols, arrows, shapes"),
    Noto {
        family: EMOJI,
        regular: "NotoColorEmoji.ttf",
        bold: "NotoColorEmoji.ttf",
        index: 0,
        scripts: &[],
        used_for: "emoji",
        get_it: "Debian: apt-get install fonts-noto-color-emoji",
    },
];

/// Tried for any character that neither the style's face nor its script's fallback has. The last three make sure that there
/// is always a face to draw a box with.
const COMMON: [&str; 8] = [
    "Noto Sans",
    "Noto Sans Symbols2",
    "Noto Sans Symbols",
    "Noto Sans Math",
    CJK_JP,
    EMOJI,
    "Atkinson Hyperlegible Next",
    "Barlow Condensed",
];

impl Family {
    /// The family name fonts carry.
    pub fn name(self) -> &'static str {
        match self {
            Family::Display => "Barlow Condensed",
            Family::Text => "Atkinson Hyperlegible Next",
            Family::Mono => "JetBrains Mono",
        }
    }
}

impl FontSet {
    /// The design's own faces as far as they were there when this was compiled (`.ci/fonts` fetches them).
    pub fn embedded() -> FontSet {
        let name = |n: &str| OWN.iter().map(|(_, _, file)| *file).find(|file| *file == n);
        FontSet { found: EMBEDDED.iter().filter_map(|(n, _)| Some((name(n)?, FontOrigin::Embedded))).collect() }
    }

    /// The embedded faces and, for everything else, files with known names in `dirs` (first one wins, not recursive).
    /// [`SYSTEM_DIRS`] lists where distributions put them.
    pub fn system<P: AsRef<Path>>(dirs: &[P]) -> FontSet {
        FontSet::embedded().with_noto(dirs)
    }

    /// Adds what `dirs` have and this set has not.
    pub fn with_noto<P: AsRef<Path>>(mut self, dirs: &[P]) -> FontSet {
        let own = OWN.iter().map(|(_, _, file)| *file);
        let noto = NOTO.iter().flat_map(|n| [n.regular, n.bold]);
        for file in own.chain(noto).chain(LAST_RESORT) {
            if self.found.contains_key(file) {
                continue;
            }
            let path = dirs.iter().map(|d| d.as_ref().join(file)).find(|p| p.is_file());
            if let Some(path) = path {
                self.found.insert(file, FontOrigin::File(path));
            }
        }
        self
    }

    /// Every family we would like to have, the design's own first.
    pub fn report(&self) -> Vec<FontStatus> {
        let own = OWN.iter().map(|(family, weight, file)| FontStatus {
            family: family.name(),
            found: self.found.get(file).cloned(),
            used_for: match (family, weight) {
                (Family::Display, 600) => "titles and labels",
                (Family::Display, _) => "names, digits",
                (Family::Text, 600) => "captions, chat names",
                (Family::Text, _) => "thoughts, chat",
                (Family::Mono, 500) => "fingerprints, code",
                (Family::Mono, _) => "code, strong",
            },
            get_it: "run .ci/fonts and build again",
        });
        let noto = NOTO.iter().map(|n| FontStatus {
            family: n.family,
            found: self.found.get(n.regular).or(self.found.get(n.bold)).cloned(),
            used_for: n.used_for,
            get_it: n.get_it,
        });
        own.chain(noto).collect()
    }

    /// Families of the set that are missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.report().into_iter().filter(|s| s.found.is_none()).map(|s| s.family).collect();
        names.dedup();
        names
    }

    /// The faces for cosmic-text, each at every weight; None when there is not one readable face. Opens no fallback file.
    pub(super) fn database(&self) -> Option<Database> {
        let mut db = Database::new();
        for family in [Family::Display, Family::Text, Family::Mono] {
            for weight in WEIGHTS {
                let (source, index) = self.own(family, weight).or_else(|| self.last_resort())?;
                db.push_face_info(face(family.name(), source, index, weight));
            }
        }
        for n in &NOTO {
            let regular = self.found.get(n.regular).or(self.found.get(n.bold));
            let bold = self.found.get(n.bold).or(self.found.get(n.regular));
            for weight in WEIGHTS {
                if let Some(FontOrigin::File(path)) = if weight >= 600 { bold } else { regular } {
                    db.push_face_info(face(n.family, Source::File(path.clone()), n.index, weight));
                }
            }
        }
        Some(db)
    }

    /// The face of a family nearest in weight.
    fn own(&self, family: Family, weight: u16) -> Option<(Source, u32)> {
        let mut faces: Vec<_> = OWN.iter().filter(|(f, _, _)| *f == family).collect();
        faces.sort_by_key(|(_, w, _)| w.abs_diff(weight));
        faces.iter().find_map(|(_, _, file)| self.readable(file))
    }

    fn last_resort(&self) -> Option<(Source, u32)> {
        let own = OWN.iter().map(|(_, _, file)| *file);
        let noto = NOTO.iter().filter(|n| n.family != EMOJI).map(|n| n.regular);
        own.chain(LAST_RESORT).chain(noto).find_map(|file| self.readable(file))
    }

    /// The source of a file, if a font can be read from it: the shaper wants its first face to be there.
    fn readable(&self, file: &str) -> Option<(Source, u32)> {
        let source = match self.found.get(file)? {
            FontOrigin::Embedded => {
                let bytes = EMBEDDED.iter().find(|(n, _)| *n == file)?.1;
                Source::Binary(Arc::new(bytes))
            }
            FontOrigin::File(path) => Source::File(path.clone()),
        };
        let ids = Database::new().load_font_source(source.clone());
        (!ids.is_empty()).then_some((source, 0))
    }
}

fn face(family: &str, source: Source, index: u32, weight: u16) -> FaceInfo {
    FaceInfo {
        id: ID::dummy(),
        source,
        index,
        families: vec![(family.to_owned(), Language::English_UnitedStates)],
        post_script_name: format!("{}-{weight}", family.replace(' ', "")),
        style: Style::Normal,
        weight: Weight(weight),
        stretch: Stretch::Normal,
        monospaced: false,
    }
}

/// Which families stand in for which script.
pub(super) struct Fallback;

impl cosmic_text::Fallback for Fallback {
    fn common_fallback(&self) -> &[&'static str] {
        &COMMON
    }

    /// Everything: without this, a character nobody has would be looked for in every face (8 ms instead of 0.02 ms).
    fn forbidden_fallback(&self) -> &[&'static str] {
        const ALL: [&str; NOTO.len() + 3] = {
            let mut all = ["Barlow Condensed"; NOTO.len() + 3];
            all[1] = "Atkinson Hyperlegible Next";
            all[2] = "JetBrains Mono";
            let mut i = 0;
            while i < NOTO.len() {
                all[i + 3] = NOTO[i].family;
                i += 1;
            }
            all
        };
        &ALL
    }

    fn script_fallback(&self, script: Script, _locale: &str) -> &[&'static str] {
        NOTO.iter().find(|n| n.scripts.contains(&script)).map_or(&[], |n| std::slice::from_ref(&n.family))
    }
}

impl fmt::Display for FontOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FontOrigin::Embedded => f.write_str("embedded"),
            FontOrigin::File(path) => path.display().fmt(f),
        }
    }
}
