use super::atlas::{Atlas, Full, Placed};
use super::passes::{Drawing, layout, shader, texture_entry};
use super::recorder::{Kind, Recorder};
use crate::draw::{GlyphRun, IRect};
use crate::raster::PixelSource;

/// Glyphs, texel for pixel out of the atlas.
pub(super) struct GlyphPass {
    /// Coverage in the run's colour.
    pub mask: wgpu::RenderPipeline,
    /// Emoji in their own colours.
    pub color: wgpu::RenderPipeline,
    /// Group 1: the atlas page.
    pub page: wgpu::BindGroupLayout,
}

mod gpu_data {
    use super::super::recorder::Extent;
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Glyph {
        pub extent: Extent,
        /// From a pixel of the picture to its texel of the page.
        pub shift: [i16; 2],
        pub color: [u8; 4],
    }
}

impl GlyphPass {
    pub fn new(device: &wgpu::Device, view: &wgpu::BindGroupLayout) -> GlyphPass {
        let module = shader(device, "glyph", include_str!("../../shaders/glyph.wgsl"));
        let page = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("glyph page"),
            entries: &[texture_entry(0)],
        });
        let layout = layout(device, "glyph", &[view, &page]);
        let pipeline = |label, fragment| {
            Drawing {
                label,
                module: &module,
                layout: &layout,
                vertex: "vs_glyph",
                fragment,
                stride: size_of::<gpu_data::Glyph>(),
                attributes: &wgpu::vertex_attr_array![0 => Sint16x4, 1 => Sint16x2, 2 => Unorm8x4],
                opaque: false,
            }
            .build(device)
        };
        GlyphPass { mask: pipeline("glyph mask", "fs_mask"), color: pipeline("glyph color", "fs_color"), page }
    }
}

/// Records a run of glyphs; those not in the atlas yet are rasterised into it.
///
/// # Errors
/// [`Full`]: the atlas must be cleared or grown and everything recorded again.
pub(super) fn record(
    run: &GlyphRun,
    atlas: &mut Atlas,
    pixels: &mut dyn PixelSource,
    out: &mut Recorder,
) -> Result<(), Full> {
    if run.color.0[3] == 0 || !run.origin.iter().all(|v| v.abs() < 1e6) {
        return Ok(());
    }
    // Text sits on whole pixels; the fractional part of a pen position is in the glyph's key.
    let (ox, oy) = (run.origin[0].floor() as i32, run.origin[1].floor() as i32);
    for glyph in run.glyphs.iter() {
        let Some(Placed { page_x, page_y, left, top, w, h, color }) = atlas.place(glyph.key, pixels)? else { continue };
        let x = ox.saturating_add(glyph.x).saturating_add(left);
        let y = oy.saturating_add(glyph.y).saturating_sub(top);
        let area = IRect { x0: x, y0: y, x1: x.saturating_add(w), y1: y.saturating_add(h) };
        if !out.wants(area) {
            continue;
        }
        let kind = if color { Kind::ColorGlyph } else { Kind::Mask };
        // Both fit 16 bits: the glyph overlaps the picture and the page.
        let shift = [(page_x - x) as i16, (page_y - y) as i16];
        out.push(kind, area, |extent| gpu_data::Glyph { extent, shift, color: run.color.0 });
    }
    Ok(())
}
