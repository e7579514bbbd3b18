use super::glyph::GlyphPass;
use super::image::ImagePass;
use super::path::PathPass;
use super::quad::QuadPass;
use super::recorder::{Batch, Kind};
use super::rgba_to_nv12::Nv12Pass;
use std::num::NonZeroU64;

/// What pictures are drawn in: gamma-space blending, as the design's colours expect, so no sRGB format.
pub(super) const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// The pipelines of one device, shared by every renderer on it.
pub(super) struct Passes {
    /// Group 0 of every drawing pipeline: the size of the picture.
    pub view: wgpu::BindGroupLayout,
    pub quad: QuadPass,
    pub path: PathPass,
    pub glyph: GlyphPass,
    pub image: ImagePass,
    pub nv12: Nv12Pass,
}

impl Passes {
    pub fn new(device: &wgpu::Device) -> Passes {
        let view = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("view"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::VERTEX,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: false,
                    min_binding_size: NonZeroU64::new(8),
                },
                count: None,
            }],
        });
        Passes {
            quad: QuadPass::new(device, &view),
            path: PathPass::new(device, &view),
            glyph: GlyphPass::new(device, &view),
            image: ImagePass::new(device, &view),
            nv12: Nv12Pass::new(device),
            view,
        }
    }

    pub fn pipeline(&self, kind: Kind) -> &wgpu::RenderPipeline {
        match kind {
            Kind::Opaque => &self.quad.opaque,
            Kind::Plain => &self.quad.plain,
            Kind::Round => &self.quad.round,
            Kind::Path => &self.path.pipeline,
            Kind::Mask => &self.glyph.mask,
            Kind::ColorGlyph => &self.glyph.color,
            Kind::Picture { nearest: false, .. } => &self.image.bilinear,
            Kind::Picture { nearest: true, .. } => &self.image.nearest,
        }
    }
}

/// Draws `batches` in order. `group` finds the second bind group of a kind that has one.
pub(super) fn draw<'a>(
    pass: &mut wgpu::RenderPass<'_>,
    passes: &Passes,
    view: &wgpu::BindGroup,
    instances: &wgpu::Buffer,
    batches: &[Batch],
    group: impl Fn(Kind) -> Option<&'a wgpu::BindGroup>,
) {
    pass.set_bind_group(0, view, &[]);
    for batch in batches {
        pass.set_pipeline(passes.pipeline(batch.kind));
        if batch.kind.has_group() {
            let Some(group) = group(batch.kind) else { continue };
            pass.set_bind_group(1, group, &[]);
        }
        pass.set_vertex_buffer(0, instances.slice(batch.offset..));
        // Two triangles over the instance's extent.
        pass.draw(0..4, 0..batch.count);
    }
}

/// A drawing pipeline: a quad per instance, premultiplied blending unless opaque.
pub(super) struct Drawing<'a> {
    pub label: &'a str,
    pub module: &'a wgpu::ShaderModule,
    pub layout: &'a wgpu::PipelineLayout,
    pub vertex: &'a str,
    pub fragment: &'a str,
    pub stride: usize,
    pub attributes: &'a [wgpu::VertexAttribute],
    pub opaque: bool,
}

impl Drawing<'_> {
    pub fn build(self, device: &wgpu::Device) -> wgpu::RenderPipeline {
        device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some(self.label),
            layout: Some(self.layout),
            vertex: wgpu::VertexState {
                module: self.module,
                entry_point: Some(self.vertex),
                compilation_options: Default::default(),
                buffers: &[Some(wgpu::VertexBufferLayout {
                    array_stride: self.stride as u64,
                    step_mode: wgpu::VertexStepMode::Instance,
                    attributes: self.attributes,
                })],
            },
            primitive: wgpu::PrimitiveState { topology: wgpu::PrimitiveTopology::TriangleStrip, ..Default::default() },
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: self.module,
                entry_point: Some(self.fragment),
                compilation_options: Default::default(),
                targets: &[Some(wgpu::ColorTargetState {
                    format: FORMAT,
                    blend: (!self.opaque).then_some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: wgpu::ColorWrites::ALL,
                })],
            }),
            multiview_mask: None,
            cache: None,
        })
    }
}

pub(super) fn shader(device: &wgpu::Device, label: &str, source: &'static str) -> wgpu::ShaderModule {
    device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    })
}

pub(super) fn layout(device: &wgpu::Device, label: &str, groups: &[&wgpu::BindGroupLayout]) -> wgpu::PipelineLayout {
    let groups: Vec<_> = groups.iter().map(|g| Some(*g)).collect();
    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &groups,
        immediate_size: 0,
    })
}

/// A texture that fragment shaders read.
pub(super) fn texture_entry(binding: u32) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: true },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        },
        count: None,
    }
}
