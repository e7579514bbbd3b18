//! A reducer as bytes, so that a match goes on after a restart exactly where it was.

use super::{Counts, Held, Key, Reducer};
use crate::game::wire::{Event, WireError};
use crate::game::{MatchState, validate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The form written here. A change that old bytes do not fit raises it.
const FORM: u32 = 1;

/// Why bytes are not a saved reducer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RestoreError {
    #[error("form {found} is not known, expected {FORM}: it was saved by a newer agentcast")]
    Form { found: u32 },
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("held event {index}: {error}")]
    Held { index: usize, error: WireError },
}

#[derive(Serialize)]
struct Saved<'a> {
    form: u32,
    state: &'a MatchState,
    position: Key,
    refused: u64,
    lost: bool,
    held: Vec<&'a Event>,
    counts: Counts,
}

#[derive(Deserialize)]
struct Form {
    form: u32,
}

#[derive(Deserialize)]
struct Read {
    state: MatchState,
    position: Key,
    #[serde(default)]
    refused: u64,
    lost: bool,
    held: Vec<Value>,
    counts: Counts,
}

impl Reducer {
    /// Everything that decides what becomes of the next event: JSON of a form of its own.
    pub fn save(&self) -> Vec<u8> {
        let saved = Saved {
            form: FORM,
            state: &self.state,
            position: self.position,
            refused: self.refused,
            lost: self.lost,
            held: self.held.values().map(|held| &*held.event).collect(),
            counts: self.counts,
        };
        serde_json::to_vec(&saved).expect("a state has only string keys and is written to memory")
    }

    /// The reducer that [`Reducer::save`] wrote. Only [`Reducer::last_refusal`] is forgotten.
    pub fn restore(bytes: &[u8]) -> Result<Reducer, RestoreError> {
        let damaged = |error: serde_json::Error| RestoreError::Damaged(error.to_string());
        let Form { form } = serde_json::from_slice(bytes).map_err(damaged)?;
        if form != FORM {
            return Err(RestoreError::Form { found: form });
        }
        let read: Read = serde_json::from_slice(bytes).map_err(damaged)?;
        let mut reducer = Reducer {
            state: Arc::new(read.state),
            position: read.position,
            refused: read.refused,
            lost: read.lost,
            counts: read.counts,
            ..Reducer::default()
        };
        for (index, value) in read.held.iter().enumerate() {
            let event = Event::from_value(value).map_err(|error| RestoreError::Held { index, error })?;
            let bytes = validate::json_bytes(&event);
            reducer.held_bytes = reducer.held_bytes.saturating_add(bytes);
            reducer.held.insert((event.epoch, event.seq), Held { event: Arc::new(event), bytes });
        }
        Ok(reducer)
    }
}
