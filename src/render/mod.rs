//! Executes draw lists and hands back NV12 pictures.
//!
//! # A frame
//!
//! 1. [`GpuRenderer::submit`] asks [`Damage::between`] what changed since the last picture. Nothing: nothing is sent.
//! 2. `recorder` turns the items that touch a damaged rectangle into instances, cut to their clip and to the damage, in
//!    drawing order; neighbours of one kind become one batch. `quad`, `path`, `glyph` and `image` each have a Rust file,
//!    a shader of the same name in `shaders/` and a pass. Glyphs come out of the `atlas`.
//! 3. `canvas` bakes the base if it is new, restores the damaged rectangles from it by texture copy (a software
//!    rasteriser copies much faster than it samples) and draws the batches over them.
//! 4. `rgba_to_nv12` converts the damaged tiles of 16 × 16 pixels and copies their rows to a staging buffer.
//! 5. [`GpuRenderer::finish`] maps it and patches the rows into the next buffer of `frames`.
//!
//! # Losing the device
//!
//! All streams share one [`Gpu`]. A lost device, an exhausted memory or a frame that does not end fails the frame with
//! [`RenderError::DeviceLost`], and so does every frame until the next device is there: it is opened on a thread of its
//! own, at the request of the first renderer that notices. Then each renderer rebuilds its textures and caches and draws
//! the whole picture.

mod atlas;
mod canvas;
mod frames;
mod glyph;
mod gpu;
mod image;
mod null;
mod passes;
mod path;
mod quad;
mod recorder;
mod reference;
mod renderer;
mod rgba_to_nv12;

pub use gpu::{AdapterChoice, AdapterKind, AdapterReport, Gpu, adapters};
pub use null::NullRenderer;
pub use reference::rgba_to_nv12;
pub use renderer::GpuRenderer;

use crate::draw::{Damage, DrawList, Frame};
use crate::raster::PixelSource;

/// What a [`Renderer::render`] call did.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub frame: Frame,
    pub damage: Damage,
}

/// Draws on some device. One a stream; they may share a device.
pub trait Renderer: Send {
    /// Draws `list` and returns the picture; with [`Damage::None`] it is the one returned before and nothing was drawn.
    fn render(&mut self, list: &DrawList, pixels: &mut dyn PixelSource) -> Result<Rendered, RenderError>;

    /// The picture drawn last as opaque RGBA, `w * h * 4` bytes.
    fn read_rgba(&mut self) -> Result<Vec<u8>, RenderError>;

    /// Draws the next picture whole, its base too, as if it were the first: what drawing without damage costs.
    fn forget(&mut self) {}
}

/// Why a picture could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("no usable graphics adapter: {0}. Install mesa-vulkan-drivers for rendering on the CPU")]
    NoAdapter(String),
    /// The device is being rebuilt; show the last frame again and try with the next.
    #[error("the graphics device was lost ({0}) and is being rebuilt")]
    DeviceLost(String),
    #[error("the graphics device refused the frame: {0}")]
    Device(String),
}
