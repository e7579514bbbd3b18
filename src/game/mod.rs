//! What a match is: wire events, the state they reduce to, who may see what, and adapters from native formats.
//!
//! Pure: no clock, file, thread or socket. [`Event`]s come in (from [`wire`] JSON or an [`adapters`] record),
//! [`Reducer`] applies them to a [`MatchState`], [`View`] filters that state before anything is drawn.

pub mod adapters;
pub mod limits;
pub mod reducer;
pub mod state;
pub mod view;
pub mod wire;

pub use reducer::{Applied, Reducer};
pub use state::*;
pub use view::{Delayed, View};
pub use wire::{Body, Event};
