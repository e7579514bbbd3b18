use super::{DrawList, GlyphRun, IRect, Item, Quad, Shape, Size};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What changed between two lists, in whole rectangles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing: the picture is the one before.
    None,
    /// These rectangles, inside the picture, disjoint from each other. Their edges are multiples of [`ALIGN`] or the
    /// picture's.
    Rects(Vec<IRect>),
    /// Everything, the baked base too.
    Full,
}

/// Damage grows outwards to blocks of this many px: a macroblock, and whole chroma samples.
pub const ALIGN: i32 = 16;
/// More rectangles than this are merged, whatever it costs.
const MOST_RECTS: usize = 24;

impl Damage {
    /// Difference of `new` against `old`: drawing `new` inside the damage over the picture of `old` gives the picture of
    /// `new`.
    ///
    /// Items that are in both lists in the same order are kept; the rest is damaged where it was and where it is.
    pub fn between(old: &DrawList, new: &DrawList) -> Damage {
        if old.size != new.size || !(Arc::ptr_eq(&old.base, &new.base) || old.base == new.base) {
            return Damage::Full;
        }
        let (a, b) = (&old.live[..], &new.live[..]);
        let front = a.iter().zip(b).take_while(|(x, y)| same(x, y)).count();
        let (a, b) = (&a[front..], &b[front..]);
        let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| same(x, y)).count();
        let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
        if a.is_empty() && b.is_empty() {
            return Damage::None;
        }
        let mut rects = Vec::new();
        changed(a, b, &mut rects);
        tidy(rects, new.size)
    }

    /// Damaged pixels of a picture of this size.
    pub fn area(&self, size: Size) -> i64 {
        match self {
            Damage::None => 0,
            Damage::Rects(rects) => rects.iter().map(|r| r.area()).sum(),
            Damage::Full => size.bounds().area(),
        }
    }
}

fn same(a: &Item, b: &Item) -> bool {
    if a.clip != b.clip {
        return false;
    }
    match (&a.shape, &b.shape) {
        (Shape::Glyphs(x), Shape::Glyphs(y)) => same_run(x, y),
        (x, y) => x == y,
    }
}

fn same_run(a: &GlyphRun, b: &GlyphRun) -> bool {
    a.origin == b.origin
        && a.color == b.color
        && a.ink == b.ink
        && (Arc::ptr_eq(&a.glyphs, &b.glyphs) || a.glyphs == b.glyphs)
}

/// Adds what differs between two runs of items. Items that both have are matched where their order allows: what lies
/// between two matches is damaged in pairs or one by one.
fn changed(a: &[Item], b: &[Item], rects: &mut Vec<IRect>) {
    let matches = common(a, b);
    let (mut i, mut j) = (0, 0);
    for (x, y) in matches.into_iter().chain([(a.len(), b.len())]) {
        if x - i == y - j {
            a[i..x].iter().zip(&b[j..y]).for_each(|(old, new)| replaced(old, new, rects));
        } else {
            rects.extend(a[i..x].iter().chain(&b[j..y]).map(Item::bounds));
        }
        (i, j) = (x + 1, y + 1);
    }
}

/// A longest rising sequence of index pairs of equal items (k-th with k-th of its kind).
fn common(a: &[Item], b: &[Item]) -> Vec<(usize, usize)> {
    let mut places: HashMap<u64, Vec<usize>> = HashMap::with_capacity(a.len());
    for (i, item) in a.iter().enumerate().rev() {
        places.entry(fingerprint(item)).or_default().push(i);
    }
    let mut pairs = Vec::new();
    for (j, item) in b.iter().enumerate() {
        if let Some(found) = places.get_mut(&fingerprint(item))
            && let Some(i) = found.pop()
            && same(&a[i], item)
        {
            pairs.push((i, j));
        }
    }
    rising(&pairs)
}

/// Patience sorting: the longest subsequence of `pairs` (rising in their second number) that rises in the first, too.
fn rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (k, pair) in pairs.iter().enumerate() {
        let pile = tails.partition_point(|t| pairs[*t].0 < pair.0);
        before.push(pile.checked_sub(1).map(|p| tails[p]));
        if pile == tails.len() { tails.push(k) } else { tails[pile] = k }
    }
    let mut at = tails.last().copied();
    let mut out = Vec::with_capacity(tails.len());
    while let Some(k) = at {
        out.push(pairs[k]);
        at = before[k];
    }
    out.reverse();
    out
}

/// Equal items have equal fingerprints.
fn fingerprint(item: &Item) -> u64 {
    let mut h = DefaultHasher::new();
    // Zero has two signs that are equal.
    let mut float = |v: f32| (v + 0.0).to_bits().hash(&mut h);
    match &item.shape {
        Shape::Quad(q) => [q.rect.x, q.rect.y, q.rect.w, q.rect.h, 1.0].into_iter().for_each(&mut float),
        Shape::Path(p) => p.points.iter().flatten().copied().for_each(&mut float),
        Shape::Glyphs(g) => [g.origin[0], g.origin[1], g.glyphs.len() as f32, 3.0].into_iter().for_each(&mut float),
        Shape::Image(i) => [i.rect.x, i.rect.y, i.rect.w, i.rect.h, 4.0].into_iter().for_each(&mut float),
    }
    match &item.shape {
        Shape::Quad(q) => q.fill.hash(&mut h),
        Shape::Path(p) => p.fill.hash(&mut h),
        Shape::Glyphs(g) => (g.color, g.ink, g.glyphs.first().map(|g| g.key.glyph_id)).hash(&mut h),
        Shape::Image(i) => (i.image, i.opacity).hash(&mut h),
    }
    h.finish()
}

/// One item in another's place: a bar whose end moved is damaged at its end only.
fn replaced(old: &Item, new: &Item, rects: &mut Vec<IRect>) {
    if let (Shape::Quad(a), Shape::Quad(b)) = (&old.shape, &new.shape)
        && old.clip == new.clip
        && let Some(strip) = end_moved(a, b)
    {
        let all = old.bounds().union(new.bounds());
        rects.push(strip.intersect(all));
        return;
    }
    rects.push(old.bounds());
    rects.push(new.bounds());
}

/// Columns in which two quads differ that are equal but for the place of their left or right end.
fn end_moved(a: &Quad, b: &Quad) -> Option<IRect> {
    let alike = Quad { rect: b.rect, ..a.clone() } == *b && (a.rect.y, a.rect.h) == (b.rect.y, b.rect.h);
    // Room for corner, border and the blurred edge.
    let reach = a.radius.iter().fold(a.border.map_or(0.0, |b| b.0), |m, r| m.max(*r)).ceil() + 1.0;
    let (from, to) = if !alike {
        return None;
    } else if a.rect.x == b.rect.x {
        (a.rect.right().min(b.rect.right()), a.rect.right().max(b.rect.right()))
    } else if a.rect.right() == b.rect.right() {
        (a.rect.x.min(b.rect.x), a.rect.x.max(b.rect.x))
    } else {
        return None;
    };
    // Corners are chosen by the half of the quad a pixel is in: the middle moves with the end.
    if a.radius.iter().any(|r| *r > 0.0) && (a.rect.w.min(b.rect.w) < 2.0 * reach + 2.0) {
        return None;
    }
    let all = i32::MIN / 4..i32::MAX / 4;
    Some(IRect { x0: (from - reach).floor() as i32, y0: all.start, x1: (to + reach).ceil() as i32, y1: all.end })
}

/// Clipped, aligned, merged where that costs little, disjoint.
fn tidy(rects: Vec<IRect>, size: Size) -> Damage {
    let bounds = size.bounds();
    let align = |r: IRect| IRect {
        x0: r.x0.div_euclid(ALIGN) * ALIGN,
        y0: r.y0.div_euclid(ALIGN) * ALIGN,
        x1: (r.x1 + ALIGN - 1).div_euclid(ALIGN) * ALIGN,
        y1: (r.y1 + ALIGN - 1).div_euclid(ALIGN) * ALIGN,
    };
    let mut out: Vec<IRect> = Vec::new();
    for r in rects {
        let r = r.intersect(bounds);
        if r.is_empty() {
            continue;
        }
        add(&mut out, align(r).intersect(bounds));
    }
    while out.len() > MOST_RECTS {
        // The pair whose union adds least.
        let pairs = (0..out.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        let waste = |(i, j): &(usize, usize)| out[*i].union(out[*j]).area() - out[*i].area() - out[*j].area();
        let Some((i, j)) = pairs.min_by_key(waste) else { break };
        let (a, b) = (out.swap_remove(i), out.swap_remove(j));
        absorb(&mut out, a.union(b));
    }
    // Whatever still overlaps is cut into pieces.
    let mut disjoint: Vec<IRect> = Vec::with_capacity(out.len());
    for r in out {
        let mut parts = vec![r];
        for done in &disjoint {
            parts = parts.into_iter().flat_map(|p| without(p, *done)).collect();
        }
        disjoint.extend(parts);
    }
    if disjoint.is_empty() { Damage::None } else { Damage::Rects(disjoint) }
}

/// Adds a rectangle, merged with those it nearly fills up with (the union adds less than a fifth).
fn add(out: &mut Vec<IRect>, mut r: IRect) {
    while let Some(i) = out.iter().position(|o| {
        let union = r.union(*o).area();
        let both = r.area() + o.area() - r.intersect(*o).area();
        (union - both) * 5 < both
    }) {
        r = r.union(out.swap_remove(i));
    }
    out.push(r);
}

/// Adds a rectangle and drops those inside it.
fn absorb(out: &mut Vec<IRect>, r: IRect) {
    out.retain(|o| r.intersect(*o) != *o);
    out.push(r);
}

/// `r` without `hole`, in at most four parts.
fn without(r: IRect, hole: IRect) -> Vec<IRect> {
    let cut = r.intersect(hole);
    if cut.is_empty() {
        return vec![r];
    }
    let parts = [
        IRect { y1: cut.y0, ..r },
        IRect { y0: cut.y1, ..r },
        IRect { x0: r.x0, x1: cut.x0, y0: cut.y0, y1: cut.y1 },
        IRect { x0: cut.x1, x1: r.x1, y0: cut.y0, y1: cut.y1 },
    ];
    parts.into_iter().filter(|p| !p.is_empty()).collect()
}
