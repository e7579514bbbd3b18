//! How destinations are, also of streams that have ended; and trying again those that gave up.

use super::DestinationStatus;
use super::board::{Action, Board, Ms, OUTPUT_END};
use super::encodes::Encode;
use super::rows::{Slot, SlotState, Stream};
use crate::output::State;
use crate::secure::HostRules;
use crate::store::model::{DestinationKind, Millis};
use std::collections::BTreeMap;

/// Destinations without a stream whose last one is remembered.
const REMEMBERED: usize = 10_000;

/// What is known of destinations that no stream sends to any more: what was wrong at the last, and when that was.
#[derive(Default)]
pub struct Rested(BTreeMap<String, (Option<String>, Millis)>);

impl Rested {
    pub fn note(&mut self, id: &str, slot: &Slot, wall: Millis) {
        if Slot::is_own(id) {
            return;
        }
        self.0.insert(id.to_owned(), (slot.words(), wall));
        if self.0.len() > REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| id.clone());
            oldest.map(|id| self.0.remove(&id));
        }
    }

    /// A stream sends to it again.
    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }
}

impl Board {
    /// Of several streams that send to it, a live one counts, then the oldest.
    pub fn destination(&self, id: &str) -> DestinationStatus {
        let slots = self.streams.values().filter_map(|s| s.slots.get(id));
        if let Some(slot) = slots.min_by_key(|slot| !slot.is_live()) {
            return DestinationStatus { state: slot.word(), trouble: slot.words(), since: slot.since };
        }
        let (trouble, since) = self.rested.0.get(id).cloned().map_or((None, None), |(words, at)| (words, Some(at)));
        DestinationStatus { state: "idle", trouble, since }
    }

    /// Where streams may be sent to. After a change those that were refused are tried again with the next plan, and those that
    /// run are judged anew.
    pub fn set_hosts(&mut self, hosts: &HostRules) {
        if self.hosts == *hosts {
            return;
        }
        let before = std::mem::replace(&mut self.hosts, hosts.clone());
        // Where a connection leads is looked at when it is made.
        let closer = before.allow_private && !hosts.allow_private;
        self.anew(
            |_| true,
            |slot| match slot.state {
                SlotState::Attention(_) => true,
                SlotState::On => {
                    slot.status.state == State::NeedsAttention || closer && slot.spec.kind == DestinationKind::Rtmp
                }
                SlotState::Waiting { .. } | SlotState::Making => false,
            },
        );
    }

    /// Somebody has mended what a stream's destinations complained of, or says so: those that gave up are tried again now.
    pub fn try_again(&mut self, stream: &str, now: Ms) {
        self.anew(
            |s| s.record.id == stream,
            |slot| match slot.state {
                SlotState::Attention(_) | SlotState::Waiting { .. } => true,
                SlotState::On => matches!(slot.status.state, State::NeedsAttention | State::Stopped),
                SlotState::Making => false,
            },
        );
        self.reconcile(now);
    }

    /// Begins these slots anew with the next plan.
    fn anew(&mut self, streams: impl Fn(&Stream) -> bool, slots: impl Fn(&Slot) -> bool) {
        for stream in self.streams.values_mut().filter(|s| streams(s)) {
            let run = stream.encode.and_then(|e| self.encodes.get(&e)).and_then(Encode::run);
            for slot in stream.slots.values_mut().filter(|slot| slots(slot)) {
                if let (Some(output), Some(run)) = (slot.reset(), run) {
                    self.actions.push(Action::Remove { run, output, deadline: OUTPUT_END });
                }
            }
        }
    }
}
