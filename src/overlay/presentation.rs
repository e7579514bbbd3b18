use super::MediaMs;
use crate::game::MatchState;
use std::sync::Arc;

/// The match as the viewer is shown it: the newest state, and what is still on its way there.
#[derive(Clone, Debug, Default)]
pub struct Presentation {
    state: Arc<MatchState>,
    at: MediaMs,
}

impl Presentation {
    /// Shows `next` from media time `at` on; what differs from before moves there from now.
    pub fn advance(&mut self, next: Arc<MatchState>, at: MediaMs) {
        self.state = next;
        self.at = at;
    }

    pub fn state(&self) -> &MatchState {
        &self.state
    }
}
