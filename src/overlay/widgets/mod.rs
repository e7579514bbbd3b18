//! Widgets: each draws itself into a rectangle of design pixels and keeps nothing.

pub mod arrow;
pub mod board;
pub mod chip;
pub mod chrome;
pub mod eval;
pub mod scorebug;
pub mod stage;
pub mod thoughts;
pub mod ticker;
pub mod zones;
