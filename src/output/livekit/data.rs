//! Data packets on their way out: numbering, waiting for the channel, and what a resume has to send again.

use super::relay::{PACKET_BYTES, THOUGHT_BYTES};
use livekit_protocol as proto;
use prost::Message as _;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a reliable message waits for its channel.
const WAIT: Duration = Duration::from_secs(10);
/// How many wait at most, and how many are kept to be sent again.
const WAITING: usize = 128;
const KEPT: usize = 256;
const KEPT_BYTES: usize = 512 * 1024;

/// One message to subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub topic: &'static str,
    pub reliable: bool,
    pub payload: Vec<u8>,
    /// Identities; empty: everybody.
    pub to: Vec<String>,
}

/// Messages of one stay. Numbers start at 1 with every join, because the server counts by participant.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    identity: String,
    sid: String,
    last: u32,
    kept: VecDeque<(u32, Vec<u8>)>,
    kept_bytes: usize,
    waiting: VecDeque<(Instant, bool, Vec<u8>)>,
    reliable_open: bool,
    lossy_open: bool,
    dropped: u64,
}

impl Outbound {
    pub fn new(identity: &str, sid: &str) -> Self {
        Self { identity: identity.to_owned(), sid: sid.to_owned(), ..Self::default() }
    }

    pub fn opened(&mut self, reliable: bool) {
        if reliable {
            self.reliable_open = true;
        } else {
            self.lossy_open = true;
        }
    }

    pub fn push(&mut self, message: Outgoing, now: Instant) {
        let limit = if message.reliable { PACKET_BYTES } else { THOUGHT_BYTES };
        if message.payload.len() > limit {
            self.dropped += 1;
            return;
        }
        let sequence = if message.reliable { self.last.wrapping_add(1) } else { 0 };
        let bytes = proto::DataPacket {
            destination_identities: message.to,
            participant_identity: self.identity.clone(),
            participant_sid: self.sid.clone(),
            sequence,
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: message.payload,
                topic: Some(message.topic.to_owned()),
                ..Default::default()
            })),
            ..Default::default()
        }
        .encode_to_vec();
        if message.reliable {
            self.last = sequence;
            self.kept_bytes += bytes.len();
            self.kept.push_back((sequence, bytes.clone()));
            while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
                self.kept_bytes -= self.kept.pop_front().map_or(0, |(_, b)| b.len());
            }
        } else if !self.lossy_open {
            self.dropped += 1;
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back((now, message.reliable, bytes));
    }

    /// The next packet that can go out now: reliable or not, and its bytes.
    pub fn pop(&mut self, now: Instant) -> Option<(bool, Vec<u8>)> {
        let fresh = self.waiting.iter().position(|(at, ..)| now.saturating_duration_since(*at) < WAIT);
        let late = fresh.unwrap_or(self.waiting.len());
        self.waiting.drain(..late);
        self.dropped += late as u64;
        let open = |reliable: bool| if reliable { self.reliable_open } else { self.lossy_open };
        let at = self.waiting.iter().position(|(_, reliable, _)| open(*reliable))?;
        self.waiting.remove(at).map(|(_, reliable, bytes)| (reliable, bytes))
    }

    /// After a resume: whatever the server has not seen goes first, in order. It knows repeated ones by their number.
    pub fn resend_after(&mut self, seen: u32, now: Instant) {
        let waiting: Vec<_> = self.waiting.drain(..).filter(|(_, reliable, _)| !reliable).collect();
        let missing = self.kept.iter().filter(|(sequence, _)| *sequence > seen);
        self.waiting.extend(missing.map(|(_, bytes)| (now, true, bytes.clone())));
        self.waiting.extend(waiting);
        while self.waiting.len() > WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
    }

    /// Messages given up so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reliable: bool, n: u8) -> Outgoing {
        Outgoing { topic: "t", reliable, payload: vec![n], to: Vec::new() }
    }

    fn sent(out: &mut Outbound, now: Instant) -> Vec<(u32, u8)> {
        std::iter::from_fn(|| out.pop(now))
            .map(|(_, bytes)| {
                let packet = proto::DataPacket::decode(&*bytes).unwrap();
                let Some(proto::data_packet::Value::User(user)) = packet.value else { panic!("user packet") };
                (packet.sequence, user.payload[0])
            })
            .collect()
    }

    #[test]
    fn reliable_messages_wait_for_their_channel_and_lossy_ones_do_not() {
        let (mut out, now) = (Outbound::new("me", "PA"), Instant::now());
        out.push(message(true, 1), now);
        out.push(message(false, 2), now);
        assert_eq!((sent(&mut out, now), out.dropped()), (vec![], 1));
        out.opened(true);
        out.opened(false);
        out.push(message(false, 3), now);
        assert_eq!(sent(&mut out, now), [(1, 1), (0, 3)]);
    }

    #[test]
    fn a_channel_that_never_opens_costs_the_message_after_a_while() {
        let (mut out, now) = (Outbound::new("me", "PA"), Instant::now());
        out.push(message(true, 1), now);
        assert!(out.pop(now + WAIT).is_none());
        assert_eq!(out.dropped(), 1);
    }

    #[test]
    fn after_a_resume_exactly_what_the_server_missed_goes_out_again_in_order() {
        let (mut out, now) = (Outbound::new("me", "PA"), Instant::now());
        out.opened(true);
        (1..=4).for_each(|n| out.push(message(true, n), now));
        assert_eq!(sent(&mut out, now).len(), 4);
        out.push(message(true, 5), now);
        out.resend_after(2, now);
        out.push(message(true, 6), now);
        assert_eq!(sent(&mut out, now), [(3, 3), (4, 4), (5, 5), (6, 6)]);
        out.resend_after(6, now);
        assert_eq!(sent(&mut out, now), []);
    }

    #[test]
    fn nothing_grows_without_bounds() {
        let (mut out, now) = (Outbound::new("me", "PA"), Instant::now());
        for _ in 0..10_000 {
            out.push(Outgoing { payload: vec![0; 9_000], ..message(true, 0) }, now);
        }
        assert!(out.waiting.len() <= WAITING && out.kept.len() <= KEPT && out.kept_bytes <= KEPT_BYTES);
        out.push(Outgoing { payload: vec![0; PACKET_BYTES + 1], ..message(true, 0) }, now);
        assert_eq!(out.dropped(), 10_001 - WAITING as u64);
        assert_eq!(out.last, 10_000);
    }
}
