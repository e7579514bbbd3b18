//! Thoughts: each packet stands for itself, because any may be lost.

use super::parts::escaped;
use super::{Message, THOUGHT_TOPIC};
use crate::game::{MatchState, SideId, Thought};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest payload with a thought. With LiveKit's own fields it must fit into one datagram (about 1,300 bytes), because
/// losing any part of a packet loses all of it.
pub const THOUGHT_BYTES: usize = 1_200;
/// A side's thought is told this often at most.
const PAUSE: Duration = Duration::from_millis(200);
/// The newest packet is sent again so long after it, and again after that, unless there is a newer one.
const REPEATS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

#[derive(Default)]
pub(super) struct Thoughts {
    state: Option<Arc<MatchState>>,
    sides: BTreeMap<SideId, Told>,
    /// Number of the last packet.
    n: u64,
}

#[derive(Default)]
struct Told {
    version: Option<Version>,
    sent: Option<Instant>,
    repeated: usize,
    due: Option<Instant>,
}

/// What of a thought changes: match, id, length, end, time of the last words.
type Version = (String, String, usize, bool, i64);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Packet<'a> {
    v: u32,
    #[serde(rename = "match")]
    match_id: &'a str,
    epoch: u64,
    n: u64,
    ts: i64,
    side: &'a str,
    thought_id: &'a str,
    from: usize,
    text: &'a str,
    #[serde(rename = "final")]
    done: bool,
}

impl Thoughts {
    pub fn show(&mut self, state: &Arc<MatchState>, now: Instant) {
        self.sides.retain(|side, _| state.thoughts.contains_key(side));
        for (side, thought) in &state.thoughts {
            let told = self.sides.entry(side.clone()).or_default();
            if told.version.as_ref() != Some(&version(state, thought)) {
                let at = told.sent.map_or(now, |sent| (sent + PAUSE).max(now));
                // It may wait already, or be about to be repeated.
                told.due = Some(told.due.map_or(at, |due| due.min(at)));
            }
        }
        self.state = Some(state.clone());
    }

    pub fn due(&self) -> Option<Instant> {
        self.sides.values().filter_map(|told| told.due).min()
    }

    /// Adds what is due; how many were too large.
    pub fn poll(&mut self, epoch: u64, now: Instant, out: &mut Vec<Message>) -> u64 {
        let Some(state) = &self.state else { return 0 };
        let mut left_out = 0;
        for (side, told) in self.sides.iter_mut().filter(|(_, told)| told.due.is_some_and(|due| due <= now)) {
            told.due = None;
            let Some(thought) = state.thoughts.get(side) else { continue };
            let version = version(state, thought);
            told.repeated = if told.version.as_ref() == Some(&version) { told.repeated + 1 } else { 0 };
            told.version = Some(version);
            told.sent = Some(now);
            match message(state, side, thought, epoch, self.n + 1) {
                Some(message) => {
                    self.n += 1;
                    out.push(message);
                    told.due = REPEATS.get(told.repeated).map(|pause| now + *pause);
                }
                None => left_out += 1,
            }
        }
        left_out
    }

    /// Adds the thoughts that were told already; how many were too large.
    pub fn snapshot(&mut self, epoch: u64, out: &mut Vec<Message>) -> u64 {
        let Some(state) = &self.state else { return 0 };
        let mut left_out = 0;
        for (side, told) in &self.sides {
            let Some(thought) = state.thoughts.get(side).filter(|_| told.version.is_some()) else { continue };
            match message(state, side, thought, epoch, self.n + 1) {
                Some(message) => {
                    self.n += 1;
                    out.push(message);
                }
                None => left_out += 1,
            }
        }
        left_out
    }
}

fn version(state: &MatchState, thought: &Thought) -> Version {
    let last = thought.arrivals.last().map_or(0, |(ts, _)| *ts);
    (state.match_id.clone(), thought.id.clone(), thought.text.len(), thought.done, last)
}

/// The end of a thought, as much as fits. None: not even its ids do.
fn message(state: &MatchState, side: &str, thought: &Thought, epoch: u64, n: u64) -> Option<Message> {
    let units = |text: &str| text.chars().map(char::len_utf16).sum::<usize>();
    let packet = |from, text| Packet {
        v: crate::game::wire::VERSION,
        match_id: &state.match_id,
        epoch,
        n,
        ts: thought.arrivals.last().map_or(state.ts, |(ts, _)| *ts),
        side,
        thought_id: &thought.id,
        from,
        text,
        done: thought.done,
    };
    let json = |from, text| serde_json::to_vec(&packet(from, text)).ok();
    // With the longest number that `from` may have.
    let room = THOUGHT_BYTES.checked_sub(json(units(&thought.text), "")?.len())?;
    let mut bytes = 0;
    let fits = |c: &(usize, char)| {
        bytes += escaped(c.1);
        bytes <= room
    };
    let cut = thought.text.char_indices().rev().take_while(fits).last().map_or(thought.text.len(), |(at, _)| at);
    let payload = json(units(&thought.text[..cut]), &thought.text[cut..])?;
    Some(Message { topic: THOUGHT_TOPIC, reliable: false, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn state(text: &str, done: bool) -> Arc<MatchState> {
        let mut state = MatchState { match_id: "m".into(), started: true, ..MatchState::default() };
        let thought = Thought { id: "t".into(), text: text.into(), done, ..Thought::default() };
        state.thoughts.insert("a".into(), thought);
        Arc::new(state)
    }

    fn poll(thoughts: &mut Thoughts, now: Instant) -> Vec<Value> {
        let mut out = Vec::new();
        assert_eq!(thoughts.poll(9, now, &mut out), 0);
        out.iter()
            .map(|m| {
                assert!(!m.reliable && m.topic == THOUGHT_TOPIC && m.payload.len() <= THOUGHT_BYTES);
                serde_json::from_slice(&m.payload).expect("JSON")
            })
            .collect()
    }

    #[test]
    fn thought_of_every_alphabet_is_cut_to_its_end() {
        for text in ["word ", "日本語", "👩‍🚀", "\"\\\n", "\u{1}"] {
            let text: String = text.chars().cycle().take(5_000).collect();
            let (mut thoughts, now) = (Thoughts::default(), Instant::now());
            thoughts.show(&state(&text, true), now);
            let packet = &poll(&mut thoughts, now)[0];
            let end = packet["text"].as_str().expect("text");
            assert!(text.ends_with(end) && packet.to_string().len() > THOUGHT_BYTES - 12, "as much as fits");
            let before = &text[..text.len() - end.len()];
            assert_eq!(packet["from"], before.encode_utf16().count());
        }
    }

    #[test]
    fn growing_thought_is_told_five_times_a_second_and_its_end_three_times() {
        let (mut thoughts, start) = (Thoughts::default(), Instant::now());
        let mut told = Vec::new();
        for n in 0..60 {
            let now = start + Duration::from_millis(n * 1_000 / 60);
            thoughts.show(&state(&"x".repeat(n as usize + 1), n == 59), now);
            told.extend(poll(&mut thoughts, now));
        }
        assert_eq!(told.len(), 5);
        let mut times = Vec::new();
        while let Some(due) = thoughts.due() {
            times.push(due - start);
            let packet = poll(&mut thoughts, due);
            assert_eq!((&packet[0]["final"], packet[0]["text"].as_str().map(str::len)), (&true.into(), Some(60)));
            told.extend(packet);
        }
        assert_eq!(times.len(), 3, "{times:?}");
        assert_eq!(times[2] - times[0], Duration::from_secs(3));
        assert!(told.windows(2).all(|w| w[1]["n"].as_u64() > w[0]["n"].as_u64()));
    }
}
