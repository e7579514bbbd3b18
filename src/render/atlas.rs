use super::passes::Passes;
use crate::draw::IRect;
use crate::raster::{GlyphImage, GlyphKey, PixelSource};
use std::collections::HashMap;

/// Side of a page at the beginning, texels: 1 MiB of coverage, about a thousand glyphs of 27 px.
const FIRST_SIDE: u32 = 1024;
/// A page grows up to here when one picture alone needs more than it holds.
const LAST_SIDE: u32 = 4096;

/// Rasterised glyphs of one renderer: a page of coverage and one of colour.
///
/// A full page is emptied and filled again with what the current picture needs; only if that is not enough it doubles.
/// Pages have a copy in main memory and send it in one piece a frame.
pub(super) struct Atlas {
    glyphs: HashMap<GlyphKey, Option<Placed>>,
    mask: Page,
    color: Page,
    warned: bool,
}

/// Where a glyph lies on its page, and how it hangs on the pen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub page_x: i32,
    pub page_y: i32,
    pub left: i32,
    pub top: i32,
    pub w: i32,
    pub h: i32,
    pub color: bool,
}

/// A page has no room for a glyph of the current picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    color: bool,
}

struct Page {
    label: &'static str,
    format: wgpu::TextureFormat,
    texel: usize,
    side: u32,
    shelves: Vec<Shelf>,
    texels: Vec<u8>,
    dirty: Option<IRect>,
    /// The page was emptied for the picture being recorded.
    emptied: bool,
    texture: Option<(wgpu::Texture, wgpu::BindGroup)>,
}

struct Shelf {
    y: u32,
    h: u32,
    /// First free column.
    x: u32,
}

impl Atlas {
    pub fn new() -> Atlas {
        Atlas {
            glyphs: HashMap::new(),
            mask: Page::new("glyph mask page", wgpu::TextureFormat::R8Unorm, 1, FIRST_SIDE),
            color: Page::new("glyph color page", wgpu::TextureFormat::Rgba8Unorm, 4, FIRST_SIDE / 2),
            warned: false,
        }
    }

    /// Begins the recording of a picture.
    pub fn begin(&mut self) {
        self.mask.emptied = false;
        self.color.emptied = false;
    }

    /// The glyph's place, rasterised if it is new. None: nothing to draw.
    pub fn place(&mut self, key: GlyphKey, pixels: &mut dyn PixelSource) -> Result<Option<Placed>, Full> {
        if let Some(placed) = self.glyphs.get(&key) {
            return Ok(*placed);
        }
        let placed = match pixels.glyph(key) {
            Some(image) => self.insert(&image)?,
            None => None,
        };
        self.glyphs.insert(key, placed);
        Ok(placed)
    }

    fn insert(&mut self, image: &GlyphImage) -> Result<Option<Placed>, Full> {
        let page = if image.color { &mut self.color } else { &mut self.mask };
        let (w, h) = (image.w, image.h);
        if w == 0 || h == 0 || image.data.len() != w as usize * h as usize * page.texel {
            return Ok(None);
        }
        let Some((x, y)) = page.allocate(w, h) else {
            if w.max(h) <= LAST_SIDE && (!page.emptied || page.side < LAST_SIDE) {
                return Err(Full { color: image.color });
            }
            if !self.warned {
                self.warned = true;
                tracing::warn!(w, h, "a picture has more glyphs than the largest atlas page; some are left out");
            }
            return Ok(None);
        };
        page.write(x, y, image);
        Ok(Some(Placed {
            page_x: x as i32,
            page_y: y as i32,
            left: image.left,
            top: image.top,
            w: w as i32,
            h: h as i32,
            color: image.color,
        }))
    }

    /// Makes room after [`Full`]. Every place given out before is void.
    pub fn make_room(&mut self, full: Full) {
        let page = if full.color { &mut self.color } else { &mut self.mask };
        let side = if page.emptied { (page.side * 2).min(LAST_SIDE) } else { page.side };
        page.empty(side);
        page.emptied = true;
        // Glyphs without ink stay known.
        self.glyphs.retain(|_, placed| placed.is_none_or(|p| p.color != full.color));
    }

    /// Sends what is new to the device.
    pub fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, passes: &Passes) {
        self.mask.upload(device, queue, &passes.glyph.page);
        self.color.upload(device, queue, &passes.glyph.page);
    }

    pub fn group(&self, color: bool) -> Option<&wgpu::BindGroup> {
        let page = if color { &self.color } else { &self.mask };
        page.texture.as_ref().map(|(_, group)| group)
    }
}

impl Page {
    fn new(label: &'static str, format: wgpu::TextureFormat, texel: usize, side: u32) -> Page {
        Page {
            label,
            format,
            texel,
            side,
            shelves: Vec::new(),
            texels: Vec::new(),
            dirty: None,
            emptied: false,
            texture: None,
        }
    }

    fn empty(&mut self, side: u32) {
        self.shelves.clear();
        self.dirty = None;
        if side != self.side {
            self.side = side;
            self.texels = Vec::new();
            self.texture = None;
        }
    }

    /// A free place: the lowest shelf that is not much higher than the glyph, else a new one.
    fn allocate(&mut self, w: u32, h: u32) -> Option<(u32, u32)> {
        let side = self.side;
        let fits = |s: &&mut Shelf| s.h >= h && s.h <= h + h / 2 + 4 && side - s.x >= w;
        if let Some(shelf) = self.shelves.iter_mut().filter(fits).min_by_key(|s| s.h) {
            let x = shelf.x;
            shelf.x += w;
            return Some((x, shelf.y));
        }
        let y = self.shelves.last().map_or(0, |s| s.y + s.h);
        let shelf_h = h.next_multiple_of(4).min(side.saturating_sub(y));
        if w > side || shelf_h < h {
            return None;
        }
        self.shelves.push(Shelf { y, h: shelf_h, x: w });
        Some((0, y))
    }

    fn write(&mut self, x: u32, y: u32, image: &GlyphImage) {
        let (side, texel) = (self.side as usize, self.texel);
        self.texels.resize(side * side * texel, 0);
        let row = image.w as usize * texel;
        for (i, source) in image.data.chunks_exact(row).enumerate() {
            let at = ((y as usize + i) * side + x as usize) * texel;
            let target = &mut self.texels[at..at + row];
            target.copy_from_slice(source);
            if texel == 4 {
                premultiply(target);
            }
        }
        let area = IRect { x0: x as i32, y0: y as i32, x1: (x + image.w) as i32, y1: (y + image.h) as i32 };
        self.dirty = Some(self.dirty.map_or(area, |d| d.union(area)));
    }

    fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, layout: &wgpu::BindGroupLayout) {
        let Some(dirty) = self.dirty.take() else { return };
        let side = self.side;
        let (texture, _) = self.texture.get_or_insert_with(|| {
            let texture = device.create_texture(&wgpu::TextureDescriptor {
                label: Some(self.label),
                size: wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: self.format,
                usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(self.label),
                layout,
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::TextureView(&texture.create_view(&Default::default())),
                }],
            });
            (texture, group)
        });
        let (x, y) = (dirty.x0 as u32, dirty.y0 as u32);
        queue.write_texture(
            wgpu::TexelCopyTextureInfo { origin: wgpu::Origin3d { x, y, z: 0 }, ..texture.as_image_copy() },
            &self.texels,
            wgpu::TexelCopyBufferLayout {
                offset: ((y * side + x) as usize * self.texel) as u64,
                bytes_per_row: Some(side * self.texel as u32),
                rows_per_image: None,
            },
            wgpu::Extent3d {
                width: (dirty.x1 - dirty.x0) as u32,
                height: (dirty.y1 - dirty.y0) as u32,
                depth_or_array_layers: 1,
            },
        );
    }
}

/// Straight RGBA to premultiplied, in place.
pub(super) fn premultiply(rgba: &mut [u8]) {
    for p in rgba.chunks_exact_mut(4) {
        let a = u32::from(p[3]);
        for c in &mut p[..3] {
            *c = ((u32::from(*c) * a + 127) / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_allocations_do_not_overlap() {
        let mut page = Page::new("test", wgpu::TextureFormat::R8Unorm, 1, 128);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut taken: Vec<IRect> = Vec::new();
        while let (w, h) = (rng.u32(1..30), rng.u32(1..30))
            && let Some((x, y)) = page.allocate(w, h)
        {
            let area = IRect { x0: x as i32, y0: y as i32, x1: (x + w) as i32, y1: (y + h) as i32 };
            assert!(area.x1 <= 128 && area.y1 <= 128, "{area:?}");
            assert!(!taken.iter().any(|t| t.overlaps(area)), "{area:?}");
            taken.push(area);
        }
        let used: i64 = taken.iter().map(|t| t.area()).sum();
        assert!(used > 128 * 128 / 2, "only {used} texels used");
    }
}
