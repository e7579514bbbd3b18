use super::RenderError;
use super::atlas::{Atlas, Full};
use super::gpu::{Device, Mapping};
use super::image::Images;
use super::passes::{FORMAT, Passes, draw};
use super::recorder::{Kind, Recorder};
use super::rgba_to_nv12::{Nv12Buffers, Tiles};
use super::{glyph, image, path, quad};
use crate::draw::{DrawList, IRect, Item, Shape, Size};
use crate::raster::PixelSource;
use std::sync::Arc;

/// What one renderer keeps on one life of the device: the picture, the baked base, glyphs, textures, buffers.
pub(super) struct Canvas {
    pub device: Arc<Device>,
    size: Size,
    target: Layer,
    base: Layer,
    /// What `base` shows.
    baked: Option<Arc<Vec<Item>>>,
    view: wgpu::BindGroup,
    instances: wgpu::Buffer,
    nv12: Nv12Buffers,
    recorder: Recorder,
    atlas: Atlas,
    images: Images,
}

struct Layer {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
}

/// A picture on its way through the device.
pub(super) struct Flight {
    mapping: Mapping,
    pub bands: Vec<bool>,
}

impl Canvas {
    pub fn new(device: Arc<Device>, size: Size, image_budget: usize) -> Result<Canvas, RenderError> {
        let limit = device.raw.limits().max_texture_dimension_2d.min(i16::MAX as u32);
        let valid = |side: u32| side > 0 && side <= limit && side.is_multiple_of(2);
        if !valid(size.w) || !valid(size.h) {
            let (w, h) = (size.w, size.h);
            return Err(RenderError::Device(format!("picture size {w}x{h}: sides must be even and at most {limit}")));
        }
        device.clone().checked("making a canvas", || {
            let raw = &device.raw;
            let target = Layer::new(raw, "target", size);
            let params = raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("view"),
                size: 8,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            device.queue.write_buffer(&params, 0, bytemuck::bytes_of(&[size.w as f32, size.h as f32]));
            let view = raw.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("view"),
                layout: &device.passes.view,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() }],
            });
            Canvas {
                size,
                nv12: Nv12Buffers::new(raw, &device.passes.nv12, size, &target.view),
                base: Layer::new(raw, "base", size),
                target,
                baked: None,
                view,
                instances: instances(raw, 64 << 10),
                recorder: Recorder::default(),
                atlas: Atlas::new(),
                images: Images::new(image_budget),
                device,
            }
        })
    }

    /// The base of `list` is the one that is baked.
    pub fn has_base(&self, list: &DrawList) -> bool {
        self.baked.as_ref().is_some_and(|b| Arc::ptr_eq(b, &list.base) || *b == list.base)
    }

    /// Bakes the base anew with the next picture.
    pub fn forget_base(&mut self) {
        self.baked = None;
    }

    /// Redraws `rects` of the picture (disjoint, inside it), baking a new base first, and sends them off for read-back.
    pub fn submit(
        &mut self,
        list: &DrawList,
        rects: &[IRect],
        pixels: &mut dyn PixelSource,
    ) -> Result<Flight, RenderError> {
        let bake = !self.has_base(list);
        let device = self.device.clone();
        let flight = device.checked("drawing a frame", || {
            self.images.begin();
            self.atlas.begin();
            let base = loop {
                match self.record(list, rects, bake, pixels) {
                    Ok(base) => break base,
                    Err(full) => self.atlas.make_room(full),
                }
            };
            self.encode(base, bake, rects)
        })?;
        self.baked = Some(list.base.clone());
        Ok(flight)
    }

    /// Records the base, if it is to be baked, and what lives above it. Returns how many batches belong to the base.
    fn record(
        &mut self,
        list: &DrawList,
        rects: &[IRect],
        bake: bool,
        pixels: &mut dyn PixelSource,
    ) -> Result<usize, Full> {
        self.recorder.clear();
        if bake {
            self.recorder.regions(&[self.size.bounds()]);
            self.record_items(&list.base, pixels)?;
        }
        let base = self.recorder.seal();
        self.recorder.regions(rects);
        self.record_items(&list.live, pixels)?;
        Ok(base)
    }

    fn record_items(&mut self, items: &[Item], pixels: &mut dyn PixelSource) -> Result<(), Full> {
        let out = &mut self.recorder;
        for item in items {
            let bounds = item.bounds();
            out.clip(item.clip);
            if !out.wants(bounds) {
                continue;
            }
            match &item.shape {
                Shape::Quad(q) => quad::record(q, out),
                Shape::Path(p) => path::record(p, bounds, out),
                Shape::Glyphs(run) => glyph::record(run, &mut self.atlas, pixels, out)?,
                Shape::Image(i) => {
                    let (device, pass) = (&self.device, &self.device.passes.image);
                    image::record(i, &mut self.images, pixels, &device.raw, &device.queue, pass, out);
                }
            }
        }
        Ok(())
    }

    fn encode(&mut self, base: usize, bake: bool, rects: &[IRect]) -> Flight {
        let Device { raw, queue, passes, .. } = &*self.device;
        self.atlas.upload(raw, queue, passes);
        self.images.trim();
        let bytes = &self.recorder.bytes;
        if bytes.len() as u64 > self.instances.size() {
            self.instances = instances(raw, (bytes.len() as u64).next_power_of_two());
        }
        queue.write_buffer(&self.instances, 0, bytes);

        let mut encoder = raw.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("frame") });
        let (baked, live) = self.recorder.batches.split_at(base);
        if bake {
            let mut pass = self.base.pass(&mut encoder, wgpu::LoadOp::Clear(wgpu::Color::BLACK));
            self.draw(&mut pass, passes, baked);
        }
        for r in rects {
            self.base.copy(&self.target, *r, &mut encoder);
        }
        if !live.is_empty() {
            let mut pass = self.target.pass(&mut encoder, wgpu::LoadOp::Load);
            self.draw(&mut pass, passes, live);
        }
        self.send(encoder, rects)
    }

    /// Converts `rects` of the picture as it is and sends them off for read-back.
    pub fn convert(&self, rects: &[IRect]) -> Result<Flight, RenderError> {
        self.device.checked("converting a frame", || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("conversion") };
            self.send(self.device.raw.create_command_encoder(&descriptor), rects)
        })
    }

    fn send(&self, mut encoder: wgpu::CommandEncoder, rects: &[IRect]) -> Flight {
        let Device { queue, passes, .. } = &*self.device;
        let tiles = Tiles::new(self.size, rects);
        self.nv12.encode(&passes.nv12, queue, &mut encoder, &tiles);
        let submission = queue.submit([encoder.finish()]);
        Flight { mapping: self.device.map(&self.nv12.staging, submission), bands: tiles.bands }
    }

    fn draw(&self, pass: &mut wgpu::RenderPass<'_>, passes: &Passes, batches: &[super::recorder::Batch]) {
        draw(pass, passes, &self.view, &self.instances, batches, |kind| match kind {
            Kind::Mask => self.atlas.group(false),
            Kind::ColorGlyph => self.atlas.group(true),
            Kind::Picture { image, .. } => self.images.group(image),
            _ => None,
        });
    }

    /// Waits for a picture and hands its NV12 bytes to `take`; only the bands in flight are meaningful.
    pub fn finish<T>(&self, flight: &Flight, take: impl FnOnce(&[u8]) -> T) -> Result<T, RenderError> {
        self.read(&self.nv12.staging, &flight.mapping, take)
    }

    /// The picture as drawn: straight RGBA rows without padding. Its alpha is 255 everywhere.
    pub fn read_rgba(&self) -> Result<Vec<u8>, RenderError> {
        let Size { w, h } = self.size;
        let row = (w * 4).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let device = self.device.clone();
        let (buffer, mapping) = device.checked("reading the picture", || {
            let buffer = device.raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("rgba staging"),
                size: u64::from(row) * u64::from(h),
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            });
            let mut encoder =
                device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("rgba") });
            encoder.copy_texture_to_buffer(
                self.target.texture.as_image_copy(),
                wgpu::TexelCopyBufferInfo {
                    buffer: &buffer,
                    layout: wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None },
                },
                self.target.texture.size(),
            );
            let mapping = device.map(&buffer, device.queue.submit([encoder.finish()]));
            (buffer, mapping)
        })?;
        self.read(&buffer, &mapping, |bytes| {
            bytes.chunks_exact(row as usize).flat_map(|r| &r[..(w * 4) as usize]).copied().collect()
        })
    }

    fn read<T>(
        &self,
        buffer: &wgpu::Buffer,
        mapping: &Mapping,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, RenderError> {
        self.device.wait(mapping)?;
        self.device.checked("reading back", || {
            let value = match buffer.get_mapped_range(..) {
                Ok(bytes) => take(&bytes),
                Err(e) => return Err(RenderError::Device(format!("a buffer could not be read: {e}"))),
            };
            buffer.unmap();
            Ok(value)
        })?
    }
}

impl Layer {
    fn new(device: &wgpu::Device, label: &str, size: Size) -> Layer {
        use wgpu::TextureUsages as Use;
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d { width: size.w, height: size.h, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: Use::RENDER_ATTACHMENT | Use::TEXTURE_BINDING | Use::COPY_SRC | Use::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&Default::default());
        Layer { texture, view }
    }

    fn pass<'a>(&self, encoder: &'a mut wgpu::CommandEncoder, load: wgpu::LoadOp<wgpu::Color>) -> wgpu::RenderPass<'a> {
        encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("layer"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &self.view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load, store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        })
    }

    fn copy(&self, to: &Layer, r: IRect, encoder: &mut wgpu::CommandEncoder) {
        let origin = wgpu::Origin3d { x: r.x0 as u32, y: r.y0 as u32, z: 0 };
        encoder.copy_texture_to_texture(
            wgpu::TexelCopyTextureInfo { origin, ..self.texture.as_image_copy() },
            wgpu::TexelCopyTextureInfo { origin, ..to.texture.as_image_copy() },
            wgpu::Extent3d { width: (r.x1 - r.x0) as u32, height: (r.y1 - r.y0) as u32, depth_or_array_layers: 1 },
        );
    }
}

fn instances(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("instances"),
        size,
        usage: wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
