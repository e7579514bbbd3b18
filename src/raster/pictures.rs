use super::{ImageKey, Pixels};
use crate::draw::Color;
use std::sync::Arc;

/// A bank of pictures and rasterised symbols with a bound on its memory.
#[derive(Default)]
pub struct Pictures {}

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("picture `{id}` has {bytes} bytes, more than the limit of 2 MiB")]
    TooLarge { id: String, bytes: usize },
}

impl Pictures {
    /// Decodes PNG, JPEG or WebP bytes and keeps them under `id`, replacing what was there.
    pub fn insert(&mut self, _id: &str, _bytes: &[u8]) -> Result<(), PictureError> {
        Ok(())
    }

    /// A picture of the bank and its size in px.
    pub fn picture(&mut self, _id: &str) -> Option<(ImageKey, u32, u32)> {
        None
    }

    /// Symbol `name` (`chess/knight`) at w × h px with its colour variables (`c`, `l`, `k`) set.
    pub fn symbol(&mut self, _name: &str, _w: u32, _h: u32, _vars: &[(&str, Color)]) -> Option<ImageKey> {
        None
    }

    pub fn pixels(&mut self, _key: ImageKey) -> Option<Arc<Pixels>> {
        None
    }
}
