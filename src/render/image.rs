use super::atlas::premultiply;
use super::passes::{Drawing, layout, shader, texture_entry};
use super::recorder::{Kind, Recorder};
use crate::draw::Image;
use crate::raster::{ImageKey, PixelSource, Pixels};
use std::collections::HashMap;

/// Pictures scaled into rectangles.
pub(super) struct ImagePass {
    pub bilinear: wgpu::RenderPipeline,
    /// Exact texels: pixel art, and pictures at their own size.
    pub nearest: wgpu::RenderPipeline,
    group: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
}

/// Textures of one renderer's pictures, with a bound on their memory.
pub(super) struct Images {
    textures: HashMap<ImageKey, Texture>,
    bytes: usize,
    budget: usize,
    /// Counts recordings; a picture used in the current one stays.
    now: u64,
}

struct Texture {
    group: wgpu::BindGroup,
    w: u32,
    h: u32,
    levels: u32,
    bytes: usize,
    used: u64,
}

mod gpu_data {
    use super::super::recorder::Extent;
    use bytemuck::{Pod, Zeroable};

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    pub struct Picture {
        pub extent: Extent,
        /// x0, y0, x1, y1.
        pub rect: [f32; 4],
        /// u0, v0, u1, v1.
        pub uv: [f32; 4],
        /// Radius px, opacity 0 to 1, mip level.
        pub look: [f32; 3],
    }
}

impl ImagePass {
    pub fn new(device: &wgpu::Device, view: &wgpu::BindGroupLayout) -> ImagePass {
        let module = shader(device, "image", include_str!("../../shaders/image.wgsl"));
        let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("image"),
            entries: &[
                texture_entry(0),
                wgpu::BindGroupLayoutEntry {
                    binding: 1,
                    visibility: wgpu::ShaderStages::FRAGMENT,
                    ty: wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering),
                    count: None,
                },
            ],
        });
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("image bilinear"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        let layout = layout(device, "image", &[view, &group]);
        let pipeline = |label, fragment| {
            Drawing {
                label,
                module: &module,
                layout: &layout,
                vertex: "vs_image",
                fragment,
                stride: size_of::<gpu_data::Picture>(),
                attributes: &wgpu::vertex_attr_array![0 => Sint16x4, 1 => Float32x4, 2 => Float32x4, 3 => Float32x3],
                opaque: false,
            }
            .build(device)
        };
        ImagePass {
            bilinear: pipeline("image bilinear", "fs_bilinear"),
            nearest: pipeline("image nearest", "fs_nearest"),
            group,
            sampler,
        }
    }
}

impl Images {
    /// Keeps at most `budget` bytes of textures, more only if one picture needs them at the same time.
    pub fn new(budget: usize) -> Images {
        Images { textures: HashMap::new(), bytes: 0, budget, now: 0 }
    }

    /// Begins the recording of a picture.
    pub fn begin(&mut self) {
        self.now += 1;
    }

    pub fn group(&self, key: ImageKey) -> Option<&wgpu::BindGroup> {
        self.textures.get(&key).map(|t| &t.group)
    }

    /// Lets the least recently used go until the rest fits the budget.
    pub fn trim(&mut self) {
        while self.bytes > self.budget {
            let idle = self.textures.iter().filter(|(_, t)| t.used < self.now);
            let Some(key) = idle.min_by_key(|(key, t)| (t.used, **key)).map(|(key, _)| *key) else { return };
            if let Some(t) = self.textures.remove(&key) {
                self.bytes -= t.bytes;
            }
        }
    }

    fn texture(
        &mut self,
        key: ImageKey,
        pixels: &mut dyn PixelSource,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pass: &ImagePass,
    ) -> Option<&Texture> {
        if !self.textures.contains_key(&key) {
            let image = pixels.image(key)?;
            let limit = device.limits().max_texture_dimension_2d;
            let valid = (1..=limit).contains(&image.w)
                && (1..=limit).contains(&image.h)
                && image.rgba.len() == image.w as usize * image.h as usize * 4;
            if !valid {
                tracing::warn!(w = image.w, h = image.h, limit, "a picture has no size the graphics device can hold");
                return None;
            }
            let texture = upload(&image, device, queue, pass);
            self.bytes += texture.bytes;
            self.textures.insert(key, texture);
        }
        let texture = self.textures.get_mut(&key)?;
        texture.used = self.now;
        Some(texture)
    }
}

/// Records one picture; uploads it when it is new. A picture that left the bank draws nothing.
pub(super) fn record(
    image: &Image,
    images: &mut Images,
    pixels: &mut dyn PixelSource,
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pass: &ImagePass,
    out: &mut Recorder,
) {
    let (r, [u, v, uw, vh]) = (image.rect, image.uv);
    let numbers = [r.x, r.y, r.w, r.h, u, v, uw, vh, image.radius];
    if numbers.iter().any(|n| !n.is_finite()) || r.w <= 0.0 || r.h <= 0.0 || image.opacity == 0 {
        return;
    }
    let area = r.outer();
    if !out.wants(area) {
        return;
    }
    let Some(texture) = images.texture(image.image, pixels, device, queue, pass) else { return };
    let (w, h) = (uw.abs() * texture.w as f32, vh.abs() * texture.h as f32);
    let aligned = r.x.fract() == 0.0 && r.y.fract() == 0.0;
    let exact = aligned && (w - r.w).abs() < 1e-3 && (h - r.h).abs() < 1e-3;
    // The level whose texels are nearest to a pixel in size: bilinear alone aliases below half size.
    let level = (w / r.w).max(h / r.h).max(1.0).log2().round().min((texture.levels - 1) as f32);
    let radius = image.radius.clamp(0.0, r.w.min(r.h) / 2.0);
    let kind = Kind::Picture { image: image.image, nearest: image.nearest || exact };
    out.push(kind, area, |extent| gpu_data::Picture {
        extent,
        rect: [r.x, r.y, r.right(), r.bottom()],
        uv: [u, v, u + uw, v + vh],
        look: [radius, f32::from(image.opacity) / 255.0, level],
    });
}

fn upload(image: &Pixels, device: &wgpu::Device, queue: &wgpu::Queue, pass: &ImagePass) -> Texture {
    let levels = 32 - image.w.min(image.h).leading_zeros();
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size: wgpu::Extent3d { width: image.w, height: image.h, depth_or_array_layers: 1 },
        mip_level_count: levels,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let (mut w, mut h, mut texels) = (image.w, image.h, image.rgba.clone());
    premultiply(&mut texels);
    let mut bytes = 0;
    for level in 0..levels {
        if level > 0 {
            (w, h, texels) = halve(w, h, &texels);
        }
        bytes += texels.len();
        queue.write_texture(
            wgpu::TexelCopyTextureInfo { mip_level: level, ..texture.as_image_copy() },
            &texels,
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(w * 4), rows_per_image: None },
            wgpu::Extent3d { width: w, height: h, depth_or_array_layers: 1 },
        );
    }
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("picture"),
        layout: &pass.group,
        entries: &[
            wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::TextureView(&texture.create_view(&Default::default())),
            },
            wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::Sampler(&pass.sampler) },
        ],
    });
    Texture { group, w: image.w, h: image.h, levels, bytes, used: 0 }
}

/// The next mip level: the mean of each 2 × 2 (an odd last row or column is dropped, as the size rule of mips says).
fn halve(w: u32, h: u32, rgba: &[u8]) -> (u32, u32, Vec<u8>) {
    let (nw, nh) = ((w / 2).max(1), (h / 2).max(1));
    let mut half = Vec::with_capacity((nw * nh * 4) as usize);
    for y in 0..nh {
        for x in 0..nw {
            for c in 0..4 {
                let at = |x: u32, y: u32| u32::from(rgba[((y.min(h - 1) * w + x.min(w - 1)) * 4 + c) as usize]);
                let sum = at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1) + at(2 * x + 1, 2 * y + 1);
                half.push(((sum + 2) / 4) as u8);
            }
        }
    }
    (nw, nh, half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{IRect, Rect};
    use crate::render::gpu::tests::shared;
    use std::sync::Arc;

    /// Pictures of 16 × 16 px, and how often each was asked for.
    struct Bank(HashMap<ImageKey, u32>);

    impl PixelSource for Bank {
        fn glyph(&mut self, _: crate::raster::GlyphKey) -> Option<crate::raster::GlyphImage> {
            None
        }

        fn image(&mut self, key: ImageKey) -> Option<Arc<Pixels>> {
            *self.0.entry(key).or_default() += 1;
            Some(Arc::new(Pixels { w: 16, h: 16, rgba: vec![255; 16 * 16 * 4] }))
        }
    }

    #[test]
    fn images_over_budget_let_the_least_recently_used_go() {
        let device = shared().device().expect("alive");
        let mut bank = Bank(HashMap::new());
        // A picture with its mips has 1,364 bytes: three fit.
        let mut images = Images::new(3 * 1364);
        let mut show = |keys: &[u64], images: &mut Images| {
            let mut out = Recorder::default();
            out.regions(&[IRect { x0: 0, y0: 0, x1: 64, y1: 64 }]);
            images.begin();
            for key in keys {
                let image = Image {
                    rect: Rect::new(0.0, 0.0, 16.0, 16.0),
                    image: ImageKey(*key),
                    uv: [0.0, 0.0, 1.0, 1.0],
                    radius: 0.0,
                    nearest: false,
                    opacity: 255,
                };
                record(&image, images, &mut bank, &device.raw, &device.queue, &device.passes.image, &mut out);
            }
            images.trim();
        };
        show(&[1], &mut images);
        show(&[2], &mut images);
        show(&[3], &mut images);
        show(&[1], &mut images);
        show(&[4], &mut images);
        assert!(images.group(ImageKey(2)).is_none(), "the oldest should be gone");
        for kept in [1, 3, 4] {
            assert!(images.group(ImageKey(kept)).is_some(), "{kept}");
        }
        assert!(images.bytes <= images.budget);
        // One recording may need more than the budget at once.
        show(&[5, 6, 7, 8], &mut images);
        assert_eq!(images.textures.len(), 4);
        assert_eq!(bank.0[&ImageKey(1)], 1, "uploaded once");
    }

    #[test]
    fn mip_of_an_odd_picture_has_the_size_the_rule_says() {
        let (w, h, texels) = halve(5, 3, &[100; 60]);
        assert_eq!((w, h, texels.len()), (2, 1, 8));
        assert!(texels.iter().all(|t| *t == 100));
    }
}
