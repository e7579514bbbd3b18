use crate::game::MatchState;
use crate::overlay::MediaMs;
use std::collections::VecDeque;
use std::sync::Arc;

/// States kept.
const STATES: usize = 256;
/// Bytes of memory of them; the newest one stays, however large.
const BYTES: usize = 32 << 20;

/// States that a stream has not fetched yet, oldest first; times never fall. Each is whole, so older ones may go: a stream
/// that hangs costs so much and no more.
pub(super) struct Waiting<With> {
    states: VecDeque<(usize, MediaMs, Arc<MatchState>, With)>,
    bytes: usize,
}

impl<With> Default for Waiting<With> {
    fn default() -> Waiting<With> {
        Waiting { states: VecDeque::new(), bytes: 0 }
    }
}

impl<With> Waiting<With> {
    pub(super) fn push(&mut self, at: MediaMs, state: Arc<MatchState>, with: With) {
        let bytes = state.bytes();
        while self.states.len() >= STATES || self.bytes.saturating_add(bytes) > BYTES {
            let Some((oldest, ..)) = self.states.pop_front() else { break };
            self.bytes -= oldest;
        }
        self.bytes += bytes;
        self.states.push_back((bytes, at, state, with));
    }

    /// Takes out those that are current at `t`.
    pub(super) fn take_due(&mut self, t: MediaMs) -> Vec<(MediaMs, Arc<MatchState>, With)> {
        let due = self.states.iter().take_while(|(_, at, ..)| *at <= t).count();
        let due: Vec<_> = self.states.drain(..due).collect();
        self.bytes -= due.iter().map(|(bytes, ..)| bytes).sum::<usize>();
        due.into_iter().map(|(_, at, state, with)| (at, state, with)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::{TextZone, Zone, ZoneContent};

    fn state(bytes: usize) -> Arc<MatchState> {
        let mut state = MatchState::default();
        let content = ZoneContent::Text(TextZone { text: "x".repeat(bytes), mono: false });
        let zone = Zone { content, owner: None, label: String::new(), order: 0, vis: None };
        state.board.zones.insert("z".into(), zone);
        Arc::new(state)
    }

    #[test]
    fn a_stream_that_hangs_keeps_so_many_states_and_so_many_bytes_the_newest_in_any_case() {
        let mut waiting = Waiting::default();
        let small = state(10);
        (0..1_000).for_each(|at| waiting.push(at, small.clone(), ()));
        let due = waiting.take_due(998);
        assert_eq!((due.len(), due[0].0, waiting.bytes), (STATES - 1, 744, small.bytes()));
        let large = state(BYTES / 4);
        (1_000..1_010).for_each(|at| waiting.push(at, large.clone(), ()));
        assert!(waiting.bytes <= BYTES, "{}", waiting.bytes);
        assert_eq!(waiting.take_due(1_009).iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [1_007, 1_008, 1_009]);
        waiting.push(1_010, state(2 * BYTES), ());
        assert_eq!(waiting.take_due(1_010).len(), 1);
        assert_eq!(waiting.bytes, 0);
    }
}
