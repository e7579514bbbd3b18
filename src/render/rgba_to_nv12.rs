use super::passes::{layout, shader};
use crate::draw::{IRect, Size};
use std::ops::Range;

/// Converts damaged tiles of the drawn picture to NV12.
pub(super) struct Nv12Pass {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Side of a tile, px; a band is a row of them.
pub(super) const TILE: u32 = 16;

/// The buffers of one renderer's conversion.
pub(super) struct Nv12Buffers {
    size: Size,
    params: wgpu::Buffer,
    tiles: wgpu::Buffer,
    nv12: wgpu::Buffer,
    /// Where the converted bands are read from, laid out as the picture.
    pub staging: wgpu::Buffer,
    group: wgpu::BindGroup,
}

/// Which tiles and bands of a picture are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Column and row of each, row by row.
    pub list: Vec<[u16; 2]>,
    /// Per band of 16 rows: has a damaged tile.
    pub bands: Vec<bool>,
}

mod gpu_data {
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Params {
        pub size: [u32; 2],
        /// Words.
        pub stride: u32,
        /// Words.
        pub chroma: u32,
        pub count: u32,
        pub pad: u32,
    }
}

/// Bytes of a row: the width in whole tiles, so that a tile is whole words and the kernel has no right edge.
pub(super) fn stride(size: Size) -> usize {
    size.w.next_multiple_of(TILE) as usize
}

/// Bytes of luma and of chroma of band `band`.
pub(super) fn band_bytes(size: Size, band: usize) -> [Range<usize>; 2] {
    let (stride, h) = (stride(size), size.h as usize);
    let (y0, y1) = (band * TILE as usize, ((band + 1) * TILE as usize).min(h));
    [y0 * stride..y1 * stride, (h + y0 / 2) * stride..(h + y1 / 2) * stride]
}

impl Tiles {
    pub fn new(size: Size, rects: &[IRect]) -> Tiles {
        let side = TILE as i32;
        let (columns, rows) = (size.w.div_ceil(TILE) as usize, size.h.div_ceil(TILE) as usize);
        let mut damaged = vec![false; columns * rows];
        for r in rects.iter().map(|r| r.intersect(size.bounds())).filter(|r| !r.is_empty()) {
            for row in r.y0 / side..=(r.y1 - 1) / side {
                let at = row as usize * columns;
                damaged[at + (r.x0 / side) as usize..=at + ((r.x1 - 1) / side) as usize].fill(true);
            }
        }
        let mut tiles = Tiles { list: Vec::new(), bands: vec![false; rows] };
        for (i, _) in damaged.iter().enumerate().filter(|(_, d)| **d) {
            tiles.list.push([(i % columns) as u16, (i / columns) as u16]);
            tiles.bands[i / columns] = true;
        }
        tiles
    }
}

impl Nv12Pass {
    pub fn new(device: &wgpu::Device) -> Nv12Pass {
        let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("rgba_to_nv12"),
            entries: &[
                buffer(0, wgpu::BufferBindingType::Uniform),
                wgpu::BindGroupLayoutEntry {
                    binding: 1,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Texture {
                        sample_type: wgpu::TextureSampleType::Float { filterable: false },
                        view_dimension: wgpu::TextureViewDimension::D2,
                        multisampled: false,
                    },
                    count: None,
                },
                buffer(2, wgpu::BufferBindingType::Storage { read_only: true }),
                buffer(3, wgpu::BufferBindingType::Storage { read_only: false }),
            ],
        });
        let module = shader(device, "rgba_to_nv12", include_str!("../../shaders/rgba_to_nv12.wgsl"));
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("rgba_to_nv12"),
            layout: Some(&layout(device, "rgba_to_nv12", &[&group])),
            module: &module,
            entry_point: Some("rgba_to_nv12"),
            compilation_options: Default::default(),
            cache: None,
        });
        Nv12Pass { pipeline, layout: group }
    }
}

impl Nv12Buffers {
    pub fn new(device: &wgpu::Device, pass: &Nv12Pass, size: Size, target: &wgpu::TextureView) -> Nv12Buffers {
        let buffer = |label, size: u64, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let bytes = (stride(size) * size.h as usize * 3 / 2) as u64;
        let tiles = u64::from(size.w.div_ceil(TILE)) * u64::from(size.h.div_ceil(TILE)) * 4;
        use wgpu::BufferUsages as Use;
        let params = buffer("nv12 params", size_of::<gpu_data::Params>() as u64, Use::UNIFORM | Use::COPY_DST);
        let tiles = buffer("nv12 tiles", tiles, Use::STORAGE | Use::COPY_DST);
        let nv12 = buffer("nv12", bytes, Use::STORAGE | Use::COPY_SRC);
        let staging = buffer("nv12 staging", bytes, Use::COPY_DST | Use::MAP_READ);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("rgba_to_nv12"),
            layout: &pass.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(target) },
                wgpu::BindGroupEntry { binding: 2, resource: tiles.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 3, resource: nv12.as_entire_binding() },
            ],
        });
        Nv12Buffers { size, params, tiles, nv12, staging, group }
    }

    /// Converts the tiles and copies their bands to the staging buffer.
    pub fn encode(&self, pass: &Nv12Pass, queue: &wgpu::Queue, encoder: &mut wgpu::CommandEncoder, tiles: &Tiles) {
        let stride = stride(self.size);
        let count = tiles.list.len() as u32;
        queue.write_buffer(
            &self.params,
            0,
            bytemuck::bytes_of(&gpu_data::Params {
                size: [self.size.w, self.size.h],
                stride: stride as u32 / 4,
                chroma: stride as u32 / 4 * self.size.h,
                count,
                pad: 0,
            }),
        );
        queue.write_buffer(&self.tiles, 0, bytemuck::cast_slice(&tiles.list));
        {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("rgba_to_nv12"),
                timestamp_writes: None,
            });
            compute.set_pipeline(&pass.pipeline);
            compute.set_bind_group(0, &self.group, &[]);
            // 65,535 groups a dimension is the limit that every device has.
            compute.dispatch_workgroups(count.min(65_535), count.div_ceil(65_535), 1);
        }
        for bands in runs(&tiles.bands) {
            let (first, last) = (band_bytes(self.size, bands.start), band_bytes(self.size, bands.end - 1));
            for (first, last) in first.into_iter().zip(last) {
                let (at, bytes) = (first.start as u64, (last.end - first.start) as u64);
                encoder.copy_buffer_to_buffer(&self.nv12, at, &self.staging, at, bytes);
            }
        }
    }
}

/// Ranges of consecutive set flags.
fn runs(flags: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, _) in flags.iter().enumerate().filter(|(_, f)| **f) {
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x0: i32, y0: i32, x1: i32, y1: i32) -> IRect {
        IRect { x0, y0, x1, y1 }
    }

    #[test]
    fn tiles_of_a_rectangle_are_those_it_touches() {
        let tiles = Tiles::new(Size { w: 64, h: 48 }, &[rect(15, 16, 33, 32)]);
        assert_eq!(tiles.list, [[0, 1], [1, 1], [2, 1]]);
        assert_eq!(tiles.bands, [false, true, false]);
    }

    #[test]
    fn tiles_shared_by_rectangles_are_listed_once() {
        let tiles = Tiles::new(Size { w: 64, h: 48 }, &[rect(0, 0, 8, 8), rect(8, 8, 16, 16), rect(-9, -9, 0, 0)]);
        assert_eq!(tiles.list, [[0, 0]]);
    }

    #[test]
    fn bands_of_a_height_between_tiles_end_at_the_picture() {
        let size = Size { w: 1920, h: 1080 };
        let tiles = Tiles::new(size, &[size.bounds()]);
        assert_eq!((tiles.list.len(), tiles.bands.len()), (120 * 68, 68));
        let [luma, chroma] = band_bytes(size, 67);
        assert_eq!(luma, 1072 * 1920..1080 * 1920);
        assert_eq!(chroma, (1080 + 536) * 1920..1080 * 1920 * 3 / 2);
    }

    #[test]
    fn runs_join_neighbours() {
        assert_eq!(runs(&[true, true, false, true]), [0..2, 3..4]);
    }
}
