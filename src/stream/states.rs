use super::waiting::Waiting;
use super::{Clock, Source};
use crate::game::{MatchState, PictureRef, SideId, View};
use crate::overlay::MediaMs;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Through whose eyes a state is shown. It travels with the state: a stream that goes on with another match may look at it
/// from another side, and what a delay still holds back of the first one must not be seen from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eyes {
    pub view: View,
    /// Pictures of sides that take the place of what the match says; the stream is given them under these names.
    pub avatars: BTreeMap<SideId, PictureRef>,
}

impl Eyes {
    /// The state as it may be shown.
    pub fn see(&self, state: &MatchState) -> MatchState {
        let mut seen = self.view.filter(state);
        for (side, avatar) in &self.avatars {
            if let Some(side) = seen.board.sides.get_mut(side) {
                side.avatar = Some(avatar.clone());
            }
        }
        seen
    }
}

/// The service's end of a stream whose match is reduced elsewhere: takes states, not events. Cheap to clone.
#[derive(Clone)]
pub struct States {
    waiting: Weak<Mutex<Waiting<Arc<Eyes>>>>,
    clock: Arc<dyn Clock>,
}

/// The stream's end. It filters: the stream's own view is [`View::All`].
pub struct LiveStates(Arc<Mutex<Waiting<Arc<Eyes>>>>);

impl States {
    /// Both ends on the stream's clock, which must show media time.
    pub fn new(clock: Arc<dyn Clock>) -> (States, LiveStates) {
        let waiting = Arc::<Mutex<Waiting<Arc<Eyes>>>>::default();
        (States { waiting: Arc::downgrade(&waiting), clock }, LiveStates(waiting))
    }

    /// Shows this state from now on, as `eyes` see it. Never waits. False: the stream is gone.
    pub fn show(&self, state: Arc<MatchState>, eyes: &Arc<Eyes>) -> bool {
        let Some(waiting) = self.waiting.upgrade() else { return false };
        let mut waiting = lock(&waiting);
        // Read under the lock, so that times never fall.
        let now = self.clock.now().as_millis() as MediaMs;
        waiting.push(now, state, eyes.clone());
        true
    }
}

impl Source for LiveStates {
    fn poll(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>)> {
        let due = lock(&self.0).take_due(t);
        // Filtered on the stream's own thread, not on the game's.
        due.into_iter().map(|(at, state, eyes)| (at, Arc::new(eyes.see(&state)))).collect()
    }
}

fn lock<T>(waiting: &Mutex<T>) -> MutexGuard<'_, T> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::{Side, TextZone, Zone, ZoneContent};
    use std::time::Duration;

    struct Still;
    impl Clock for Still {
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn wait_until(&self, _: Duration) {}
    }

    fn state() -> Arc<MatchState> {
        let mut state = MatchState { started: true, ..MatchState::default() };
        for (seat, id) in ["a", "b"].into_iter().enumerate() {
            state.board.sides.insert(id.into(), Side { seat: seat as u8, ..Side::default() });
            let text = ZoneContent::Text(TextZone { text: format!("hand of {id}"), mono: false });
            let zone = Zone { content: text, owner: Some(id.into()), label: String::new(), order: 0, vis: None };
            state.board.zones.insert(id.into(), zone);
        }
        Arc::new(state)
    }

    #[test]
    fn a_state_is_seen_with_the_eyes_it_was_shown_with_even_when_the_next_one_has_others() {
        let (states, mut live) = States::new(Arc::new(Still));
        let picture = PictureRef("agent/x".into());
        let a =
            Arc::new(Eyes { view: View::Side("a".into()), avatars: BTreeMap::from([("a".into(), picture.clone())]) });
        let b = Arc::new(Eyes { view: View::Side("b".into()), avatars: BTreeMap::new() });
        assert!(states.show(state(), &a) && states.show(state(), &b));
        let seen: Vec<_> = live.poll(0).into_iter().map(|(_, state)| state).collect();
        assert_eq!(seen[0].board.zones.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(seen[1].board.zones.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(seen[0].board.sides["a"].avatar, Some(picture));
        assert_eq!(seen[1].board.sides["a"].avatar, None);
        drop(live);
        assert!(!states.show(state(), &a), "the stream is gone");
    }
}
