use super::{Clock, Source};
use crate::game::MatchState;
use crate::overlay::MediaMs;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Waiting states kept; each is whole, so an older one may go.
const WAITING: usize = 256;

/// The service's end of a stream whose match is reduced elsewhere: takes states, not events. Cheap to clone.
#[derive(Clone)]
pub struct States {
    waiting: Weak<Mutex<Waiting>>,
    clock: Arc<dyn Clock>,
}

type Waiting = VecDeque<(MediaMs, Arc<MatchState>)>;

/// The stream's end.
pub struct LiveStates(Arc<Mutex<Waiting>>);

impl States {
    /// Both ends on the stream's clock, which must show media time.
    pub fn new(clock: Arc<dyn Clock>) -> (States, LiveStates) {
        let waiting = Arc::<Mutex<Waiting>>::default();
        (States { waiting: Arc::downgrade(&waiting), clock }, LiveStates(waiting))
    }

    /// Shows this state from now on. False: the stream is gone.
    pub fn show(&self, state: Arc<MatchState>) -> bool {
        let Some(waiting) = self.waiting.upgrade() else { return false };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == WAITING {
            waiting.pop_front();
        }
        // Read under the lock, so that times never fall.
        let now = self.clock.now().as_millis() as MediaMs;
        waiting.push_back((now, state));
        true
    }
}

impl Source for LiveStates {
    fn poll(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = waiting.iter().take_while(|(at, _)| *at <= t).count();
        waiting.drain(..due).collect()
    }
}
