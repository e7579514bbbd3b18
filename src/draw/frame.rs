use super::Size;
use std::sync::Arc;

/// One NV12 picture, BT.709 limited range: `stride * h` bytes of luma, then `stride * h / 2` of interleaved chroma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nv12 {
    pub size: Size,
    /// Bytes a row, at least `w`.
    pub stride: usize,
    pub data: Vec<u8>,
}

/// A picture as it flows from the renderer to the encoder. Who holds it may read it as long as it likes.
pub type Frame = Arc<Nv12>;
