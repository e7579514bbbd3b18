use super::cache::Cache;
use super::{ImageKey, Pixels};
use crate::draw::Color;
use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use resvg::{tiny_skia, usvg};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Cursor;
use std::sync::Arc;

/// Most bytes of one encoded picture.
pub const MAX_PICTURE_BYTES: usize = 2 << 20;
/// Most pixels of a picture across and down.
pub const MAX_PICTURE_SIDE: u32 = 4096;
/// Most bytes of one decoded picture.
pub const MAX_DECODED_BYTES: u64 = 64 << 20;

/// Decoded pictures a bank keeps, bytes; beyond it the one longest not looked at goes.
const BANK_BYTES: usize = 128 << 20;
/// Pictures a bank keeps, however small.
const BANK_PICTURES: usize = 4096;
/// Rasterised symbols a bank keeps, bytes. Rasterising again gives the same key.
const SYMBOL_BYTES: usize = 32 << 20;
/// Symbols whose key can still be rasterised again.
const SYMBOL_SPECS: usize = 16_384;
/// Largest side of a symbol, px.
const MAX_SYMBOL_SIDE: u32 = 2048;

/// Name without `.svg` → text, sorted by name.
const SYMBOLS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/symbols.rs"));

/// A bank of pictures and rasterised symbols with a bound on its memory (128 MiB and 32 MiB).
pub struct Pictures {
    bank: HashMap<String, Picture>,
    ids: HashMap<ImageKey, String>,
    bytes: usize,
    /// Counts looks, for the order in which pictures go.
    tick: u64,
    next: u64,
    symbols: Cache<ImageKey, Option<Arc<Pixels>>>,
    specs: Cache<ImageKey, Arc<SymbolSpec>>,
}

struct Picture {
    key: ImageKey,
    pixels: Arc<Pixels>,
    seen: u64,
}

struct SymbolSpec {
    svg: &'static str,
    w: u32,
    h: u32,
    vars: Vec<(String, Color)>,
}

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("picture `{id}`: data has {bytes} bytes, the limit is 2 MiB")]
    TooLarge { id: String, bytes: usize },
    #[error("picture `{id}`: size is {w} × {h} px, the limit is 4096 × 4096")]
    TooWide { id: String, w: u32, h: u32 },
    #[error("picture `{id}`: decoded data needs more than the limit of 64 MiB")]
    TooMuchMemory { id: String },
    #[error("picture `{id}`: data is neither PNG, JPEG nor WebP")]
    Format { id: String },
    #[error("picture `{id}`: data cannot be decoded: {reason}")]
    Broken { id: String, reason: String },
}

impl Default for Pictures {
    fn default() -> Pictures {
        Pictures {
            bank: HashMap::new(),
            ids: HashMap::new(),
            bytes: 0,
            tick: 0,
            next: 1,
            symbols: Cache::new(SYMBOL_BYTES),
            specs: Cache::new(SYMBOL_SPECS),
        }
    }
}

/// Decodes PNG, JPEG or WebP (told apart by content) to straight RGBA, upright; of an animation the first picture. `id` is
/// for the error only. Needs no bank, so that it can be done on a thread of its own.
pub fn decode(id: &str, bytes: &[u8]) -> Result<Pixels, PictureError> {
    let id = || id.to_owned();
    if bytes.len() > MAX_PICTURE_BYTES {
        return Err(PictureError::TooLarge { id: id(), bytes: bytes.len() });
    }
    let refused = |e: ImageError| match e {
        ImageError::Limits(_) => PictureError::TooMuchMemory { id: id() },
        ImageError::Unsupported(_) => PictureError::Format { id: id() },
        e => PictureError::Broken { id: id(), reason: e.to_string() },
    };
    let format = image::guess_format(bytes).map_err(refused)?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) {
        return Err(PictureError::Format { id: id() });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The decoder's own limit is for what it allocates on the way; sizes are checked below, with a better message.
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (w, h) = decoder.dimensions();
    if w > MAX_PICTURE_SIDE || h > MAX_PICTURE_SIDE {
        return Err(PictureError::TooWide { id: id(), w, h });
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(PictureError::TooMuchMemory { id: id() });
    }
    let orientation = decoder.orientation().map_err(refused)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
    picture.apply_orientation(orientation);
    let rgba = picture.into_rgba8();
    Ok(Pixels { w: rgba.width(), h: rgba.height(), rgba: rgba.into_raw() })
}

impl Pictures {
    /// Decodes PNG, JPEG or WebP bytes and keeps them under `id`, replacing what was there.
    pub fn insert(&mut self, id: &str, bytes: &[u8]) -> Result<(), PictureError> {
        let pixels = decode(id, bytes)?;
        self.insert_pixels(id, pixels);
        Ok(())
    }

    /// Keeps pixels under `id`, replacing what was there, with a new key: whoever compares draw lists sees the change.
    /// Pixels whose length is not `w * h * 4` are ignored.
    pub fn insert_pixels(&mut self, id: &str, pixels: Pixels) {
        if pixels.rgba.len() as u64 != u64::from(pixels.w) * u64::from(pixels.h) * 4 {
            return;
        }
        self.remove(id);
        let key = ImageKey(self.next);
        self.next += 1;
        self.tick += 1;
        self.bytes += pixels.rgba.len();
        self.ids.insert(key, id.to_owned());
        self.bank.insert(id.to_owned(), Picture { key, pixels: Arc::new(pixels), seen: self.tick });
        while self.bytes > BANK_BYTES || self.bank.len() > BANK_PICTURES {
            let oldest = self.bank.iter().filter(|(i, _)| *i != id).min_by_key(|(_, p)| p.seen).map(|(i, _)| i.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
    }

    /// Forgets a picture.
    pub fn remove(&mut self, id: &str) {
        if let Some(old) = self.bank.remove(id) {
            self.ids.remove(&old.key);
            self.bytes -= old.pixels.rgba.len();
        }
    }

    /// A picture of the bank and its size in px.
    pub fn picture(&mut self, id: &str) -> Option<(ImageKey, u32, u32)> {
        self.tick += 1;
        let p = self.bank.get_mut(id)?;
        p.seen = self.tick;
        Some((p.key, p.pixels.w, p.pixels.h))
    }

    /// Symbol `name` (`chess/knight`) at w × h px with its colour variables (`c`, `l`, `k`) set; a variable that is not set
    /// is not drawn. The drawing keeps its proportions and is centred. None: no such symbol, or a side of 0 or above 2048.
    pub fn symbol(&mut self, name: &str, w: u32, h: u32, vars: &[(&str, Color)]) -> Option<ImageKey> {
        let svg = SYMBOLS[SYMBOLS.binary_search_by_key(&name, |(n, _)| n).ok()?].1;
        if !(1..=MAX_SYMBOL_SIDE).contains(&w) || !(1..=MAX_SYMBOL_SIDE).contains(&h) {
            return None;
        }
        // The key is made of what is drawn, so that it outlives the cache and equal draw lists stay equal.
        let mut hash = DefaultHasher::new();
        (name, w, h, vars).hash(&mut hash);
        let key = ImageKey(hash.finish() | 1 << 63);
        if self.specs.get(&key).is_none() {
            let vars = vars.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
            self.specs.insert(key, Arc::new(SymbolSpec { svg, w, h, vars }), 1);
        }
        Some(key)
    }

    /// Names of the built-in symbols, sorted.
    pub fn symbols() -> impl Iterator<Item = &'static str> {
        SYMBOLS.iter().map(|(name, _)| *name)
    }

    /// Pixels of a picture or symbol; None when it left the bank.
    pub fn pixels(&mut self, key: ImageKey) -> Option<Arc<Pixels>> {
        if let Some(id) = self.ids.get(&key) {
            self.tick += 1;
            let p = self.bank.get_mut(id)?;
            p.seen = self.tick;
            return Some(p.pixels.clone());
        }
        if let Some(pixels) = self.symbols.get(&key) {
            return pixels;
        }
        let spec = self.specs.get(&key)?;
        let pixels = rasterise(&spec).map(Arc::new);
        if pixels.is_none() {
            tracing::error!(svg = spec.svg, "a built-in symbol cannot be drawn");
        }
        self.symbols.insert(key, pixels.clone(), (spec.w * spec.h * 4) as usize);
        pixels
    }
}

fn rasterise(spec: &SymbolSpec) -> Option<Pixels> {
    let tree = usvg::Tree::from_str(&coloured(spec), &usvg::Options::default()).ok()?;
    let mut map = tiny_skia::Pixmap::new(spec.w, spec.h)?;
    let (w, h) = (spec.w as f32, spec.h as f32);
    let scale = (w / tree.size().width()).min(h / tree.size().height());
    let (dx, dy) = ((w - tree.size().width() * scale) / 2.0, (h - tree.size().height() * scale) / 2.0);
    let place = tiny_skia::Transform::from_scale(scale, scale).post_translate(dx, dy);
    resvg::render(&tree, place, &mut map.as_mut());
    let straight = |p: &tiny_skia::PremultipliedColorU8| {
        let c = p.demultiply();
        [c.red(), c.green(), c.blue(), c.alpha()]
    };
    Some(Pixels { w: spec.w, h: spec.h, rgba: map.pixels().iter().flat_map(straight).collect() })
}

/// The SVG text with `var(--name)` replaced.
fn coloured(spec: &SymbolSpec) -> String {
    let mut out = String::with_capacity(spec.svg.len());
    let mut rest = spec.svg;
    while let Some((before, after)) = rest.split_once("var(--") {
        let Some((name, after)) = after.split_once(')') else { break };
        out.push_str(before);
        match spec.vars.iter().find(|(n, _)| n == name) {
            Some((_, Color([r, g, b, a]))) => out.push_str(&format!("#{r:02x}{g:02x}{b:02x}{a:02x}")),
            None => out.push_str("none"),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Color = Color::rgb(255, 0, 0);
    const GREEN: Color = Color::rgb(0, 255, 0);
    const BLUE: Color = Color::rgb(0, 0, 255);

    fn png(w: u32, h: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        DynamicImage::new_rgba8(w, h).write_to(&mut out, ImageFormat::Png).unwrap();
        out.into_inner()
    }

    /// A PNG that says it is w × h and has next to no data.
    fn bomb(w: u32, h: u32) -> Vec<u8> {
        let mut bytes = png(1, 1);
        bytes[16..20].copy_from_slice(&w.to_be_bytes());
        bytes[20..24].copy_from_slice(&h.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
        };
        !bytes.iter().fold(!0, step)
    }

    fn has(p: &Pixels, c: Color) -> bool {
        p.rgba.chunks_exact(4).any(|px| px == c.0)
    }

    #[test]
    fn pictures_of_each_format_are_decoded() {
        let mut bank = Pictures::default();
        let picture = DynamicImage::from(image::RgbaImage::from_pixel(5, 3, image::Rgba([255, 0, 0, 255])));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let mut bytes = Cursor::new(Vec::new());
            let rgb = DynamicImage::from(picture.to_rgb8());
            if format == ImageFormat::Jpeg { &rgb } else { &picture }.write_to(&mut bytes, format).unwrap();
            bank.insert("a", bytes.get_ref()).unwrap();
            let (key, w, h) = bank.picture("a").unwrap();
            assert_eq!((w, h), (5, 3));
            let px = bank.pixels(key).unwrap();
            assert!(px.rgba[0] > 250 && px.rgba[1] < 5 && px.rgba[3] == 255, "{format:?}: {:?}", &px.rgba[..4]);
        }
    }

    #[test]
    fn pictures_beyond_a_limit_are_refused_by_name() {
        let refused = |bytes: &[u8]| decode("logo", bytes).unwrap_err();
        assert!(matches!(refused(&vec![0; 3 << 20]), PictureError::TooLarge { bytes: 3_145_728, .. }));
        assert!(matches!(refused(&png(5000, 10)), PictureError::TooWide { w: 5000, h: 10, .. }));
        let bombed = refused(&bomb(60_000, 60_000));
        assert!(matches!(bombed, PictureError::TooWide { .. } | PictureError::TooMuchMemory { .. }), "{bombed}");
        assert!(matches!(refused(b"GIF89a\x01\x00\x01\x00"), PictureError::Format { .. }));
        assert!(matches!(refused(b"<svg/>"), PictureError::Format { .. }));
        assert!(matches!(refused(b""), PictureError::Format { .. }));
        assert!(refused(&png(5000, 10)).to_string().contains("`logo`: size is 5000 × 10"));
    }

    #[test]
    fn damaged_pictures_are_refused() {
        let whole = png(40, 40);
        for len in [9, 20, 40, whole.len() - 20] {
            assert!(matches!(decode("x", &whole[..len]), Err(PictureError::Broken { .. })), "{len}");
        }
        let mut garbage = whole[..8].to_vec();
        garbage.extend((0..200u8).map(|i| i.wrapping_mul(37)));
        assert!(matches!(decode("x", &garbage), Err(PictureError::Broken { .. } | PictureError::TooMuchMemory { .. })));
        assert!(decode("x", b"\xFF\xD8\xFF\xE0nonsense").is_err());
        assert!(decode("x", b"RIFF\x10\0\0\0WEBPVP8 nonsense").is_err());
    }

    #[test]
    fn a_replaced_picture_has_a_new_key() {
        let mut bank = Pictures::default();
        bank.insert("a", &png(2, 2)).unwrap();
        let (before, ..) = bank.picture("a").unwrap();
        bank.insert("a", &png(3, 3)).unwrap();
        let (after, w, _) = bank.picture("a").unwrap();
        assert_ne!(before, after);
        assert_eq!(w, 3);
        assert!(bank.pixels(before).is_none());
        assert!(bank.insert("a", b"junk").is_err());
        assert_eq!(bank.picture("a").unwrap().0, after, "a refused picture leaves the old one");
    }

    #[test]
    fn a_full_bank_drops_what_was_not_looked_at() {
        let mut bank = Pictures::default();
        let side = 2048; // 16 MiB each
        for i in 0..9 {
            let rgba = vec![0; (side * side * 4) as usize];
            bank.insert_pixels(&i.to_string(), Pixels { w: side, h: side, rgba });
            bank.picture("0").expect("looked at all the time");
        }
        assert!(bank.bytes <= BANK_BYTES);
        assert!(bank.picture("1").is_none());
        assert!(bank.picture("8").is_some());
    }

    #[test]
    fn every_symbol_has_ink_in_its_colours() {
        let mut bank = Pictures::default();
        let vars = [("c", RED), ("l", GREEN), ("k", BLUE)];
        let mut n = 0;
        for name in Pictures::symbols() {
            let key = bank.symbol(name, 96, 96, &vars).unwrap();
            let p = bank.pixels(key).unwrap();
            assert!(has(&p, RED), "{name} does not use c");
            assert!(p.rgba.chunks_exact(4).any(|px| px[3] == 0), "{name} has no ground to stand on");
            n += 1;
        }
        assert_eq!(n, 33);
        for name in ["chess/knight", "avatar/owl", "grid/food"] {
            let key = bank.symbol(name, 96, 96, &vars).unwrap();
            let p = bank.pixels(key).unwrap();
            assert!(has(&p, GREEN) && has(&p, BLUE), "{name}");
        }
    }

    #[test]
    fn symbol_keys_follow_name_size_and_colours() {
        let mut bank = Pictures::default();
        let a = bank.symbol("chess/king", 90, 90, &[("c", RED)]).unwrap();
        assert_eq!(bank.symbol("chess/king", 90, 90, &[("c", RED)]), Some(a));
        assert_ne!(bank.symbol("chess/king", 90, 90, &[("c", BLUE)]), Some(a));
        assert_ne!(bank.symbol("chess/king", 60, 60, &[("c", RED)]), Some(a));
        assert_eq!(bank.symbol("chess/amazon", 90, 90, &[]), None);
        assert_eq!(bank.symbol("chess/king", 0, 90, &[]), None);
        assert_eq!(bank.symbol("chess/king", 90, 1 << 20, &[]), None);
        let p = bank.pixels(a).unwrap();
        assert_eq!((p.w, p.h, p.rgba.len()), (90, 90, 90 * 90 * 4));
    }

    #[test]
    fn half_transparent_colours_stay_straight() {
        let mut bank = Pictures::default();
        let key = bank.symbol("seat/1", 36, 36, &[("c", Color([200, 100, 50, 128]))]).unwrap();
        let p = bank.pixels(key).unwrap();
        let middle = &p.rgba[(18 * 36 + 18) * 4..][..4];
        let near = |a: u8, b: u8| a.abs_diff(b) <= 2;
        assert!(
            near(middle[0], 200) && near(middle[1], 100) && near(middle[2], 50) && near(middle[3], 128),
            "{middle:?}"
        );
    }
}
