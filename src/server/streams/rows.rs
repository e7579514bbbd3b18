//! A stream and its destinations as the board keeps them.

use super::StreamState;
use super::board::Ms;
use super::desired::{Standing, World};
use super::encodes::{Encode, Look, Shown};
use crate::config::StreamingConfig;
use crate::output::{State, Status};
use crate::store::model::*;
use crate::stream::OutputId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whoever is not live after this long waits rather than starts.
const STARTING: Ms = 20_000;
/// Slots of ours that are no destination of anybody begin so.
pub const OWN: &str = "room:";

pub struct Stream {
    pub record: StreamRecord,
    pub agent: Agent,
    pub look: Look,
    pub life: Life,
    /// None: nothing of a match.
    pub shows: Option<Shown>,
    pub encode: Option<u64>,
    pub destinations: Vec<Destination>,
    /// By destination.
    pub slots: BTreeMap<String, Slot>,
    born: Ms,
    /// Since when a destination has taken it, for the first time.
    pub live_since: Option<Ms>,
    pub on_air: bool,
    /// What keeps it from an encode.
    pub trouble: Option<String>,
    pub warning: Option<String>,
    pub told: Option<(StreamState, Option<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    On,
    /// Shows the result.
    Over {
        until: Ms,
    },
    /// Waits for the next match.
    Idle {
        until: Ms,
    },
    /// Shows the ending scene.
    Ending {
        until: Ms,
        reason: String,
    },
}

pub struct Slot {
    /// The destination as far as an output of it depends on it.
    pub spec: Destination,
    pub serial: u64,
    pub state: SlotState,
    pub output: Option<OutputId>,
    pub status: Status,
    pub key_used: bool,
    pub told: Option<(&'static str, Option<String>)>,
    /// When it came into this state.
    pub since: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Somebody must do something.
    Attention(String),
    /// For an encode, or for another attempt.
    Waiting {
        not_before: Ms,
    },
    Making,
    On,
}

impl Stream {
    pub fn new(record: StreamRecord, agent: Agent, now: Ms) -> Stream {
        Stream {
            look: Look::of(&agent.defaults),
            record,
            agent,
            life: Life::On,
            shows: None,
            encode: None,
            destinations: Vec::new(),
            slots: BTreeMap::new(),
            born: now,
            live_since: None,
            on_air: false,
            trouble: None,
            warning: None,
            told: None,
        }
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending { .. })
    }

    /// Moves on with its match and the time. None: it has waited long enough.
    pub fn standing(&mut self, world: &World, settings: &StreamingConfig, now: Ms, wall: Millis) -> Option<Standing> {
        let known = world.matches.iter().find(|m| m.id == self.record.match_id);
        let phase = known.map_or(MatchPhase::Closed, |m| m.phase);
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        if self.life == Life::On {
            self.life = match (phase, known) {
                // What is held back is still to be seen.
                (MatchPhase::Over, Some(m)) => {
                    let stays = ms(settings.over).saturating_add(self.look.delay_ms.unsigned_abs());
                    let since = m.ended_at.map_or(0, |at| wall.saturating_sub(at).max(0).unsigned_abs());
                    Life::Over { until: now + stays.saturating_sub(since) }
                }
                (MatchPhase::Closed, _) => Life::Idle { until: now + ms(settings.idle) },
                _ => Life::On,
            };
        }
        match self.life {
            Life::Over { .. } if phase == MatchPhase::Running => {
                self.life = Life::On;
                Some(Standing::Playing)
            }
            Life::Over { until } if now < until => {
                if let (None, Some(m)) = (&self.shows, known) {
                    self.shows = Some(Shown::of(m, &self.agent));
                }
                Some(Standing::Lingering)
            }
            Life::Over { .. } => {
                self.life = Life::Idle { until: now + ms(settings.idle) };
                self.shows = None;
                Some(Standing::Free)
            }
            Life::Idle { until } => {
                self.shows = None;
                (now < until).then_some(Standing::Free)
            }
            Life::On | Life::Ending { .. } => Some(Standing::Playing),
        }
    }

    pub fn state(&self, now: Ms) -> StreamState {
        let hopeless = || !self.slots.is_empty() && self.slots.values().all(|s| s.word() == "needs-attention");
        match self.life {
            Life::Ending { .. } => StreamState::Ending,
            _ if self.on_air => StreamState::Live,
            _ if self.live_since.is_some() || now >= self.born + STARTING || hopeless() => StreamState::Waiting,
            _ => StreamState::Starting,
        }
    }

    /// What is wrong, or soon will be.
    pub fn words(&self, encode: Option<&Encode>) -> Option<String> {
        if let Life::Ending { reason, .. } = &self.life {
            return Some(reason.clone());
        }
        self.trouble.clone().or_else(|| encode.and_then(Encode::words)).or_else(|| self.warning.clone())
    }
}

impl Slot {
    pub fn new(spec: Destination) -> Slot {
        Slot {
            spec,
            serial: 0,
            state: SlotState::Waiting { not_before: 0 },
            output: None,
            status: Status::default(),
            key_used: false,
            told: None,
            since: None,
        }
    }

    /// Without an encode. Returns the output that it had.
    pub fn reset(&mut self) -> Option<OutputId> {
        (self.state, self.serial) = (SlotState::Waiting { not_before: 0 }, 0);
        let last_error = self.status.last_error.take();
        self.status = Status { name: std::mem::take(&mut self.status.name), last_error, ..Status::default() };
        self.key_used = false;
        self.output.take()
    }

    pub fn is_live(&self) -> bool {
        self.state == SlotState::On && self.status.state == State::Live
    }

    pub fn is_own(id: &str) -> bool {
        id.starts_with(OWN)
    }

    /// For people, before its output has a name.
    pub fn name(&self) -> String {
        if !self.status.name.is_empty() {
            return self.status.name.clone();
        }
        match (&self.spec.room, &self.spec.ingest) {
            (Some(room), _) => format!("livekit {room}"),
            (None, Some(ingest)) => {
                let (scheme, rest) = ingest.split_once("://").unwrap_or(("rtmp", ingest));
                format!("{scheme} {}", rest.split('/').next().unwrap_or_default())
            }
            (None, None) => self.spec.kind.to_string(),
        }
    }

    pub fn word(&self) -> &'static str {
        match (&self.state, self.status.state) {
            (SlotState::Attention(_), _) | (SlotState::On, State::NeedsAttention) => "needs-attention",
            (SlotState::Waiting { .. }, _) => "idle",
            (SlotState::Making, _) | (SlotState::On, State::Idle | State::Connecting) => "connecting",
            (SlotState::On, State::Live) => "live",
            (SlotState::On, State::Reconnecting) => "reconnecting",
            (SlotState::On, State::Stopped) => "stopped",
        }
    }

    pub fn words(&self) -> Option<String> {
        match &self.state {
            SlotState::Attention(words) => Some(words.clone()),
            _ => self.status.last_error.clone(),
        }
    }
}

/// What the LiveKit server calls a tenant's room: tenants share the server, and must not meet in a room. An id has no `-`, so
/// the names of two tenants are never the same, nor that of a tenant and `own_room`.
pub fn room_name(tenant: &str, room: &str) -> String {
    format!("{tenant}-{room}")
}

/// The room of a stream that has none of its own.
pub fn own_room(stream: &str) -> String {
    format!("agentcast-{stream}")
}

/// A destination without what an output does not depend on; its room is the one that the LiveKit server knows.
pub fn spec(d: &Destination) -> Destination {
    let key = d.key.clone().map(|key| KeyInfo { last_used_at: None, ..key });
    let room = d.room.as_ref().map(|room| room_name(&d.tenant_id, room));
    Destination { key, room, enabled: true, version: 0, created_at: 0, updated_at: 0, ..d.clone() }
}

pub fn new_record(agent: &Agent, match_id: &str, wall: Millis) -> StreamRecord {
    StreamRecord {
        id: crate::secure::new_id("str"),
        tenant_id: agent.tenant_id.clone(),
        agent_id: agent.id.clone(),
        match_id: match_id.into(),
        wanted: true,
        created_at: wall,
        ended_at: None,
        reason: None,
    }
}
