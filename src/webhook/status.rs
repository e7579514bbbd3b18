//! What is known, as pages and metrics show it. No secrets: rooms without their TURN password, ingresses without stream key
//! and address, egress jobs without addresses.

use super::ledger::Ledger;
use crate::output::log::scrub;
use livekit_protocol::participant_info::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// The event types of LiveKit; others are counted as `other`.
const EVENTS: [&str; 14] = [
    "room_started",
    "room_finished",
    "participant_joined",
    "participant_left",
    "participant_connection_aborted",
    "track_published",
    "track_unpublished",
    "egress_started",
    "egress_updated",
    "egress_ended",
    "ingress_started",
    "ingress_ended",
    "agent_job_started",
    "agent_job_ended",
];

/// Everything that [`super::Hub`] knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    pub webhooks: Webhooks,
    pub listings: Listings,
    pub rooms: Vec<RoomLine>,
    pub egress: Vec<EgressLine>,
    pub ingress: Vec<IngressLine>,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Webhooks {
    /// Signed by the server.
    pub verified: u64,
    /// Anything else that was sent here.
    pub refused: u64,
    /// Of the verified ones: an event of this id was there before.
    pub duplicate: u64,
    /// Of something that had ended, or older than what was known.
    pub stale: u64,
    /// Of a type that we do not know, or unreadable.
    pub unknown: u64,
    /// Not taken in, because too much is known already.
    pub full: u64,
    /// Verified ones by type.
    pub events: BTreeMap<&'static str, u64>,
    /// When the newest verified one came, RFC 3339.
    pub last: Option<String>,
    /// When the newest refused one came, RFC 3339, and why.
    pub last_refused: Option<String>,
    pub last_refusal: Option<String>,
}

/// The rounds of listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listings {
    pub done: u64,
    pub failed: u64,
    /// Changes that a listing told first: webhooks that were lost or are not configured.
    pub mended: u64,
    /// When the newest one was done, RFC 3339.
    pub last: Option<String>,
    /// Why the newest one failed; None: it did not.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomLine {
    pub name: String,
    pub sid: String,
    /// RFC 3339, by the server's clock.
    pub started: Option<String>,
    pub viewers: u32,
    /// Most viewers at once that were seen here.
    pub peak: u32,
    pub participants: Vec<ParticipantLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParticipantLine {
    pub identity: String,
    pub name: String,
    pub sid: String,
    /// `STANDARD`, `INGRESS`, `EGRESS`, …
    pub kind: &'static str,
    /// Counted as a viewer.
    pub viewer: bool,
    /// RFC 3339, by the server's clock.
    pub joined: Option<String>,
    pub tracks: Vec<TrackLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackLine {
    pub sid: String,
    pub name: String,
    /// `audio` or `video`.
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EgressLine {
    pub id: String,
    pub room: String,
    /// `EGRESS_ACTIVE`, …
    pub status: &'static str,
    pub error: Option<String>,
    /// Reconnects of all its addresses.
    pub retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressLine {
    pub id: String,
    pub room: String,
    pub identity: String,
    pub live: bool,
    pub error: Option<String>,
}

impl Webhooks {
    pub(super) fn count_event(&mut self, event: &str) {
        let event = EVENTS.into_iter().find(|known| *known == event).unwrap_or("other");
        *self.events.entry(event).or_default() += 1;
    }
}

impl Ledger {
    /// Open rooms, by name and SID.
    pub fn rooms(&self) -> Vec<RoomLine> {
        let mut rooms: Vec<_> = self
            .rooms
            .open
            .iter()
            .map(|(sid, room)| RoomLine {
                name: room.name.clone(),
                sid: sid.clone(),
                started: time(room.created_ms),
                viewers: room.viewers,
                peak: room.peak,
                participants: room
                    .participants
                    .iter()
                    .map(|(sid, p)| ParticipantLine {
                        identity: p.identity.clone(),
                        name: p.name.clone(),
                        sid: sid.clone(),
                        kind: Kind::try_from(p.kind).map_or("UNKNOWN", |k| k.as_str_name()),
                        viewer: p.viewer,
                        joined: time(p.joined_ms),
                        tracks: p
                            .tracks
                            .iter()
                            .map(|(sid, t)| TrackLine {
                                sid: sid.clone(),
                                name: t.name.clone(),
                                kind: if t.video { "video" } else { "audio" },
                            })
                            .collect(),
                    })
                    .collect(),
            })
            .collect();
        rooms.sort_by(|a, b| (&a.name, &a.sid).cmp(&(&b.name, &b.sid)));
        rooms
    }

    /// Egress jobs, also those that ended within the last hour.
    pub fn egress_lines(&self) -> Vec<EgressLine> {
        let line = |info: &livekit_protocol::EgressInfo| EgressLine {
            id: info.egress_id.clone(),
            room: info.room_name.clone(),
            status: livekit_protocol::EgressStatus::try_from(info.status).map_or("UNKNOWN", |s| s.as_str_name()),
            error: said(&info.error),
            retries: info.stream_results.iter().fold(0, |sum, r| sum.saturating_add(r.retries)),
        };
        self.egress.all().map(|info| line(info)).collect()
    }

    /// Ingresses that somebody has sent to, also those that ended within the last hour.
    pub fn ingress_lines(&self) -> Vec<IngressLine> {
        let line = |i: &super::Ingress| IngressLine {
            id: i.id.clone(),
            room: i.room.clone(),
            identity: i.identity.clone(),
            live: i.live,
            error: said(&i.error),
        };
        self.ingress.all().map(line).collect()
    }
}

fn said(error: &str) -> Option<String> {
    (!error.is_empty()).then(|| scrub(error))
}

fn time(ms: i64) -> Option<String> {
    (ms > 0).then(|| rfc3339(ms))
}

/// `2026-11-21T13:11:18Z` of ms since the Unix epoch.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years from March, so that the leap day is the last one; 400 of them are 146 097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_says() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_215_037_649, "2026-11-20T22:50:37Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn an_event_type_from_the_future_is_counted_without_keeping_its_name() {
        let mut webhooks = Webhooks::default();
        for event in ["room_started", "moon_rose", "sun_set", ""] {
            webhooks.count_event(event);
        }
        assert_eq!(webhooks.events, BTreeMap::from([("other", 3), ("room_started", 1)]));
    }
}
