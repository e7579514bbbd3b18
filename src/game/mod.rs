//! What a match is: wire events, the state they reduce to, who may see what, and adapters from native formats.
//!
//! Pure: no clock, file, thread or socket. [`Event`]s come in (from [`wire`] JSON or an [`adapters`] record),
//! [`Reducer`] applies them to a [`MatchState`], [`View`] filters that state before anything is drawn, [`Delayed`]
//! holds it back.
//!
//! ```text
//! JSON ── wire ──> Event ── Reducer (order, gaps) ── apply (validate, merge) ──> MatchState ── View ──> MatchState
//! record ─ adapters ─┘                                                              what the view may see ─┘
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | [`wire`] | what an event looks like; the reference for game servers |
//! | [`state`] | what a match looks like |
//! | [`reducer`] | which event is next, which waits, when only a snapshot helps |
//! | [`apply`](fn@apply) | what each event does to the state |
//! | `validate` | which events and boards are refused: bounds of [`limits`], ids that name nothing |
//! | [`view`] | who sees what, and how late |
//! | `weight` | how much memory a state takes |
//! | [`adapters`] | native formats of game engines |
//! | `words` | what was expected, in the words of callers |
//!
//! Absences: nothing here panics on an event, keeps more than [`limits`] say, or applies half an event.

pub mod adapters;
mod apply;
mod delay;
pub mod limits;
mod path;
pub mod reducer;
pub mod state;
mod validate;
pub mod view;
mod weight;
pub mod wire;
pub(crate) mod words;

pub use apply::{ApplyError, apply};
pub use delay::{DelayError, Delayed};
pub use reducer::{Applied, Counts, Reducer, RestoreError};
pub use state::*;
pub use view::{View, ViewError};
pub use wire::{Body, Event, WireError};
