use crate::draw::IRect;
use crate::raster::ImageKey;
use bytemuck::Pod;

/// The pipeline a batch is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole pixels of one opaque colour: no blending.
    Opaque,
    Plain,
    Round,
    Path,
    Mask,
    ColorGlyph,
    Picture {
        image: ImageKey,
        nearest: bool,
    },
}

/// Consecutive instances of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub kind: Kind,
    /// Of the first instance in the recorder's bytes.
    pub offset: u64,
    pub count: u32,
}

/// Whole pixels that an instance covers: x0, y0, x1, y1.
pub(super) type Extent = [i16; 4];

/// Collects instances in drawing order.
///
/// Every instance is cut to its item's clip and to each damaged region on the CPU. So batches survive clips, no scissor
/// is needed, and a pixel gets the same colour whether it is redrawn alone or with the whole picture: shaders look only
/// at its position and at the uncut shape.
#[derive(Default)]
pub(super) struct Recorder {
    pub bytes: Vec<u8>,
    pub batches: Vec<Batch>,
    regions: Vec<IRect>,
    clip: Option<IRect>,
    sealed: usize,
}

impl Kind {
    /// Reads a texture through bind group 1.
    pub fn has_group(self) -> bool {
        matches!(self, Kind::Mask | Kind::ColorGlyph | Kind::Picture { .. })
    }
}

impl Recorder {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.batches.clear();
        self.sealed = 0;
    }

    /// What follows is drawn inside these disjoint rectangles only.
    pub fn regions(&mut self, regions: &[IRect]) {
        self.regions.clear();
        self.regions.extend_from_slice(regions);
    }

    /// What follows is cut to `clip`.
    pub fn clip(&mut self, clip: Option<IRect>) {
        self.clip = clip;
    }

    /// Any of `area` is to be drawn.
    pub fn wants(&self, area: IRect) -> bool {
        let area = self.clip.map_or(area, |c| area.intersect(c));
        self.regions.iter().any(|r| r.overlaps(area))
    }

    pub fn push<I: Pod>(&mut self, kind: Kind, area: IRect, instance: impl Fn(Extent) -> I) {
        let area = self.clip.map_or(area, |c| area.intersect(c));
        for i in 0..self.regions.len() {
            let cut = area.intersect(self.regions[i]);
            if cut.is_empty() {
                continue;
            }
            let offset = self.bytes.len() as u64;
            match self.batches[self.sealed..].last_mut() {
                Some(last) if last.kind == kind => last.count += 1,
                _ => self.batches.push(Batch { kind, offset, count: 1 }),
            }
            // Regions lie inside the picture, whose sides fit 16 bits.
            let extent = [cut.x0 as i16, cut.y0 as i16, cut.x1 as i16, cut.y1 as i16];
            self.bytes.extend_from_slice(bytemuck::bytes_of(&instance(extent)));
        }
    }

    /// Ends the current batch and returns how many there are: what follows belongs to another target.
    pub fn seal(&mut self) -> usize {
        self.sealed = self.batches.len();
        self.sealed
    }
}
