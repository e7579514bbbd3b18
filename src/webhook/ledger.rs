//! What is known of the server: rooms, participants, tracks, egress and ingress jobs. A pure fold over events and
//! listings; time is an argument.
//!
//! The server promises neither delivery nor order across resources. So no event is believed to be the next one: each
//! resource only moves forward, and a listing every 20 s mends what was lost. Nothing is decided by the server's clock.

use super::jobs::{EgressJobs, Ingress, IngressJobs};
use super::recent::Recent;
use super::rooms::{Rooms, Step};
use livekit_protocol::{EgressInfo, IngressInfo, ParticipantInfo, Room, WebhookEvent};
use std::collections::HashSet;
use std::sync::Arc;

/// How long an event's id is remembered.
const SEEN_MS: i64 = 24 * 3_600_000;
/// Ids remembered at most; what comes again after that cannot move anything back either.
const MOST_SEEN: usize = 200_000;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// An event of this id was there before.
    Duplicate,
    /// Of something that has ended, or older than what is known.
    Stale,
    /// Of a type that we do not know, or without what its type needs.
    Unknown,
    /// Of something new, while more is known already than there is room for.
    Full,
}

/// What changed. When a room finishes, its participants and tracks are gone with it and are not told one by one.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    RoomStarted {
        room: String,
        sid: String,
    },
    RoomFinished {
        room: String,
        sid: String,
    },
    ParticipantJoined {
        room: String,
        sid: String,
        identity: String,
    },
    ParticipantLeft {
        room: String,
        sid: String,
        identity: String,
    },
    Viewers {
        room: String,
        sid: String,
        now: u32,
        peak: u32,
    },
    TrackPublished {
        room: String,
        identity: String,
        sid: String,
    },
    TrackUnpublished {
        room: String,
        identity: String,
        sid: String,
    },
    Egress(Arc<EgressInfo>),
    /// The server lists the job no more, and nobody said how it ended ([`super::NOT_LISTED`]). A guess, not the worker's word:
    /// a server whose store was emptied lists nothing, and the worker sends on.
    EgressNotListed(Arc<EgressInfo>),
    Ingress(Ingress),
}

/// What the server listed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// When the first request went out, by our clock: what an event said later is newer.
    pub asked_ms: i64,
    pub rooms: Vec<ListedRoom>,
    /// None: the server has no egress, or could not list it.
    pub egress: Option<Vec<EgressInfo>>,
    /// None: the server has no ingress, or could not list it.
    pub ingress: Option<Vec<IngressInfo>>,
}

#[derive(Clone, Debug)]
pub struct ListedRoom {
    pub room: Room,
    /// None: they could not be listed.
    pub participants: Option<Vec<ParticipantInfo>>,
}

#[derive(Debug)]
pub struct Ledger {
    seen: Recent<()>,
    pub(super) rooms: Rooms,
    pub(super) egress: EgressJobs,
    pub(super) ingress: IngressJobs,
    forgot_ms: i64,
}

impl Ledger {
    #[must_use]
    pub fn new() -> Ledger {
        Ledger {
            seen: Recent::new(SEEN_MS, MOST_SEEN),
            rooms: Rooms::new(),
            egress: EgressJobs::default(),
            ingress: IngressJobs::default(),
            forgot_ms: i64::MIN,
        }
    }

    /// Takes in a verified event. `now_ms`: any clock that never goes back, the same in all calls. What changed is pushed
    /// to `changes`.
    pub fn apply(&mut self, event: WebhookEvent, now_ms: i64, changes: &mut Vec<Change>) -> Outcome {
        self.forget(now_ms);
        if !event.id.is_empty() {
            if self.seen.get(&event.id).is_some() {
                return Outcome::Duplicate;
            }
            self.seen.insert(&event.id, (), now_ms);
        }
        let mut step = Step { at_ms: now_ms, listing: false, changes };
        match self.fold(event, &mut step) {
            Ok(()) => Outcome::Applied,
            Err(outcome) => outcome,
        }
    }

    fn fold(&mut self, event: WebhookEvent, step: &mut Step) -> Result<(), Outcome> {
        const MISSING: Outcome = Outcome::Unknown;
        let room = || event.room.as_ref().filter(|r| !r.sid.is_empty()).ok_or(MISSING);
        let participant = || event.participant.as_ref().filter(|p| !p.sid.is_empty()).ok_or(MISSING);
        let track = || event.track.as_ref().filter(|t| !t.sid.is_empty()).ok_or(MISSING);
        let ingress = || event.ingress_info.as_ref().filter(|i| !i.ingress_id.is_empty()).ok_or(MISSING);
        match event.event.as_str() {
            "room_started" => self.rooms.room(room()?, step).map(|_| ()),
            "room_finished" => {
                self.rooms.finish(room()?, step);
                Ok(())
            }
            "participant_joined" => self.rooms.participant(room()?, participant()?, step).map(|_| ()),
            "participant_left" | "participant_connection_aborted" => self.rooms.leave(room()?, participant()?, step),
            "track_published" => self.rooms.publish(room()?, participant()?, track()?, step),
            "track_unpublished" => self.rooms.unpublish(room()?, participant()?, track()?, step),
            "egress_started" | "egress_updated" | "egress_ended" => {
                let info = event.egress_info.filter(|e| !e.egress_id.is_empty()).ok_or(MISSING)?;
                self.egress.update(info, step)
            }
            "ingress_started" => self.ingress.update(ingress()?, true, step),
            "ingress_ended" => self.ingress.update(ingress()?, false, step),
            _ => Err(Outcome::Unknown),
        }
    }

    /// Brings everything to what the server listed, except where something newer is known. What was missed is pushed to
    /// `changes`.
    pub fn reconcile(&mut self, listing: &Listing, changes: &mut Vec<Change>) {
        self.forget(listing.asked_ms);
        let mut step = Step { at_ms: listing.asked_ms, listing: true, changes };
        let listed = listing.rooms.iter().map(|r| r.room.sid.as_str()).collect();
        self.rooms.keep(&listed, &mut step);
        for listed in &listing.rooms {
            self.rooms.reconcile(&listed.room, listed.participants.as_deref(), &mut step);
        }
        if let Some(jobs) = &listing.egress {
            let listed: HashSet<_> = jobs.iter().map(|e| e.egress_id.clone()).collect();
            for info in jobs {
                // Stale where an event said more, full where there are too many.
                let _ = self.egress.update(info.clone(), &mut step);
            }
            self.egress.keep(&listed, &mut step);
        }
        if let Some(listed) = &listing.ingress {
            self.ingress.reconcile(listed, &mut step);
        }
    }

    /// The egress jobs that have not ended, as far as is known.
    pub fn running_egress(&self) -> impl Iterator<Item = &str> {
        self.egress.running()
    }

    /// Forgets what ended long ago; looks once a minute.
    fn forget(&mut self, now_ms: i64) {
        if now_ms < self.forgot_ms.saturating_add(60_000) {
            return;
        }
        self.forgot_ms = now_ms;
        self.seen.forget(now_ms);
        self.rooms.forget(now_ms);
        self.egress.forget(now_ms);
        self.ingress.forget(now_ms);
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::new()
    }
}
