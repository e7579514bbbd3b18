//! Executes draw lists and hands back NV12 pictures.

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
}

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("no usable graphics adapter: {0}. Install mesa-vulkan-drivers for rendering on the CPU")]
    NoAdapter(String),
    /// The device is being rebuilt; show the last frame again and try with the next.
    #[error("the graphics device was lost ({0}) and is being rebuilt")]
    DeviceLost(String),
    #[error("the graphics device refused the frame: {0}")]
    Device(String),
}
