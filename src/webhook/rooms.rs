//! Rooms with their participants and tracks. A SID names one life: it begins once, ends once and never comes back, so
//! whatever arrives in whatever order can only move it forward.

use super::ledger::{Change, Outcome};
use super::recent::Recent;
use crate::livekit::rooms::is_viewer;
use livekit_protocol::participant_info::State;
use livekit_protocol::{ParticipantInfo, Room as RoomInfo, TrackInfo, TrackType};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rooms and participants over these are not taken in.
const MOST_ROOMS: usize = 10_000;
const MOST_PARTICIPANTS: usize = 50_000;
const MOST_TRACKS: usize = 64;
/// How long a SID that ended is remembered. The server drops events older than 30 s, and a token older than 5 minutes is
/// refused.
const GONE_MS: i64 = 3_600_000;
const MOST_GONE: usize = 100_000;

#[derive(Debug)]
pub(super) struct Room {
    pub name: String,
    /// Since the Unix epoch by the server's clock; 0: not known yet.
    pub created_ms: i64,
    pub participants: BTreeMap<String, Participant>,
    pub viewers: u32,
    pub peak: u32,
    /// When something last spoke of it, by our clock.
    touched_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Participant {
    pub identity: String,
    pub name: String,
    pub kind: i32,
    pub joined_ms: i64,
    pub viewer: bool,
    pub tracks: BTreeMap<String, Track>,
    touched_ms: i64,
}

#[derive(Debug)]
pub(super) struct Track {
    pub name: String,
    pub video: bool,
    touched_ms: i64,
}

/// How we know that a SID ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server said so.
    Told,
    /// A listing lacked it. Another listing may bring it back.
    Missing,
}

#[derive(Debug)]
pub(super) struct Rooms {
    pub open: HashMap<String, Room>,
    participants: usize,
    gone: Recent<End>,
}

/// One event or listing on its way through the ledger.
pub(super) struct Step<'a> {
    /// When the event came or the listing was asked for, by our clock.
    pub at_ms: i64,
    pub listing: bool,
    pub changes: &'a mut Vec<Change>,
}

impl Rooms {
    pub fn new() -> Rooms {
        Rooms { open: HashMap::new(), participants: 0, gone: Recent::new(GONE_MS, MOST_GONE) }
    }

    /// Whatever an event says of a room that has not ended begins it: events of different resources come in any order.
    pub fn room(&mut self, info: &RoomInfo, step: &mut Step) -> Result<&mut Room, Outcome> {
        if self.gone.get(&info.sid).is_some() {
            return Err(Outcome::Stale);
        }
        if self.open.len() >= MOST_ROOMS && !self.open.contains_key(&info.sid) {
            return Err(Outcome::Full);
        }
        let room = self.open.entry(info.sid.clone()).or_insert_with(|| {
            step.changes.push(Change::RoomStarted { room: info.name.clone(), sid: info.sid.clone() });
            Room::new(info)
        });
        room.touched_ms = room.touched_ms.max(step.at_ms);
        if room.created_ms == 0 {
            room.created_ms = created_ms(info);
        }
        Ok(room)
    }

    pub fn finish(&mut self, info: &RoomInfo, step: &mut Step) {
        self.end_room(&info.sid, End::Told, step);
    }

    fn end_room(&mut self, sid: &str, end: End, step: &mut Step) {
        self.gone.insert(sid, end, step.at_ms);
        if let Some(room) = self.open.remove(sid) {
            self.participants -= room.participants.len();
            step.changes.push(Change::RoomFinished { room: room.name, sid: sid.to_owned() });
        }
    }

    /// Makes sure that it is there. What an event of a track says of its participant is its name only.
    pub fn participant(
        &mut self,
        room: &RoomInfo,
        info: &ParticipantInfo,
        step: &mut Step,
    ) -> Result<&mut Participant, Outcome> {
        let gone = self.gone.get(&info.sid).is_some();
        let full = self.participants >= MOST_PARTICIPANTS;
        let place = self.room(room, step)?;
        let new = !place.participants.contains_key(&info.sid);
        if gone || (new && full) {
            return Err(if gone { Outcome::Stale } else { Outcome::Full });
        }
        let p = place.participants.entry(info.sid.clone()).or_default();
        p.touched_ms = p.touched_ms.max(step.at_ms);
        if !info.identity.is_empty() {
            p.identity.clone_from(&info.identity);
        }
        if info.state != State::Joining as i32 || info.permission.is_some() {
            p.learn(info);
        }
        if new {
            let (room, sid, identity) = (place.name.clone(), info.sid.clone(), p.identity.clone());
            step.changes.push(Change::ParticipantJoined { room, sid, identity });
        }
        place.count(&room.sid, step);
        self.participants += usize::from(new);
        let place = self.open.get_mut(&room.sid);
        place.and_then(|place| place.participants.get_mut(&info.sid)).ok_or(Outcome::Full)
    }

    pub fn leave(&mut self, room: &RoomInfo, info: &ParticipantInfo, step: &mut Step) -> Result<(), Outcome> {
        self.room(room, step)?;
        self.end_participant(&room.sid, &info.sid, End::Told, step);
        Ok(())
    }

    fn end_participant(&mut self, room: &str, sid: &str, end: End, step: &mut Step) {
        self.gone.insert(sid, end, step.at_ms);
        let Some(place) = self.open.get_mut(room) else { return };
        let Some(p) = place.participants.remove(sid) else { return };
        self.participants -= 1;
        let (name, sid) = (place.name.clone(), sid.to_owned());
        step.changes.push(Change::ParticipantLeft { room: name, sid, identity: p.identity });
        place.count(room, step);
    }

    pub fn publish(
        &mut self,
        room: &RoomInfo,
        of: &ParticipantInfo,
        info: &TrackInfo,
        step: &mut Step,
    ) -> Result<(), Outcome> {
        let gone = self.gone.get(&info.sid).is_some();
        let p = self.participant(room, of, step)?;
        if gone {
            return Err(Outcome::Stale);
        }
        if let Some(track) = p.tracks.get_mut(&info.sid) {
            track.touched_ms = track.touched_ms.max(step.at_ms);
            return Ok(());
        }
        if p.tracks.len() >= MOST_TRACKS {
            return Err(Outcome::Full);
        }
        p.tracks.insert(info.sid.clone(), Track::new(info, step.at_ms));
        let (room, identity, sid) = (room.name.clone(), p.identity.clone(), info.sid.clone());
        step.changes.push(Change::TrackPublished { room, identity, sid });
        Ok(())
    }

    pub fn unpublish(
        &mut self,
        room: &RoomInfo,
        of: &ParticipantInfo,
        info: &TrackInfo,
        step: &mut Step,
    ) -> Result<(), Outcome> {
        self.gone.insert(&info.sid, End::Told, step.at_ms);
        let p = self.participant(room, of, step)?;
        if p.tracks.remove(&info.sid).is_some() {
            let (room, identity, sid) = (room.name.clone(), p.identity.clone(), info.sid.clone());
            step.changes.push(Change::TrackUnpublished { room, identity, sid });
        }
        Ok(())
    }

    /// Ends the rooms that a listing lacks and that nothing has spoken of since it was asked for.
    pub fn keep(&mut self, listed: &HashSet<&str>, step: &mut Step) {
        let missing = self.open.iter().filter(|(sid, room)| {
            // An event that came while the listing was on its way is newer than it.
            room.touched_ms < step.at_ms && !listed.contains(sid.as_str())
        });
        for sid in missing.map(|(sid, _)| sid.clone()).collect::<Vec<_>>() {
            self.end_room(&sid, End::Missing, step);
        }
    }

    /// Brings a listed room to what the listing says. `participants`: None when they could not be listed.
    pub fn reconcile(&mut self, room: &RoomInfo, participants: Option<&[ParticipantInfo]>, step: &mut Step) {
        self.revive(&room.sid);
        if self.room(room, step).is_err() {
            return;
        }
        let Some(listed) = participants else { return };
        for p in listed {
            self.reconcile_participant(room, p, step);
        }
        let here = |p: &&ParticipantInfo| p.state != State::Disconnected as i32;
        let here: HashSet<_> = listed.iter().filter(here).map(|p| p.sid.as_str()).collect();
        let Some(place) = self.open.get(&room.sid) else { return };
        let missing =
            place.participants.iter().filter(|(sid, p)| p.touched_ms < step.at_ms && !here.contains(sid.as_str()));
        for sid in missing.map(|(sid, _)| sid.clone()).collect::<Vec<_>>() {
            self.end_participant(&room.sid, &sid, End::Missing, step);
        }
    }

    fn reconcile_participant(&mut self, room: &RoomInfo, info: &ParticipantInfo, step: &mut Step) {
        let held = self.open.get(&room.sid).is_some_and(|place| place.participants.contains_key(&info.sid));
        // Whoever is still on the way in comes with its event or with the next listing.
        if info.state == State::Disconnected as i32 || (!held && info.state != State::Active as i32) {
            return;
        }
        self.revive(&info.sid);
        if self.participant(room, info, step).is_err() {
            return;
        }
        for track in &info.tracks {
            self.revive(&track.sid);
            // Stale where an event ended it, full where there are too many.
            let _ = self.publish(room, info, track, step);
        }
        let place = self.open.get_mut(&room.sid);
        let Some(p) = place.and_then(|place| place.participants.get_mut(&info.sid)) else { return };
        let listed: HashSet<_> = info.tracks.iter().map(|t| t.sid.as_str()).collect();
        let missing = p.tracks.iter().filter(|(sid, t)| t.touched_ms < step.at_ms && !listed.contains(sid.as_str()));
        for sid in missing.map(|(sid, _)| sid.clone()).collect::<Vec<_>>() {
            p.tracks.remove(&sid);
            self.gone.insert(&sid, End::Missing, step.at_ms);
            let (room, identity) = (room.name.clone(), p.identity.clone());
            step.changes.push(Change::TrackUnpublished { room, identity, sid });
        }
    }

    /// What only a listing took for gone may come back by a listing.
    fn revive(&mut self, sid: &str) {
        if self.gone.get(sid) == Some(&End::Missing) {
            self.gone.remove(sid);
        }
    }

    pub fn forget(&mut self, now_ms: i64) {
        self.gone.forget(now_ms);
    }
}

impl Room {
    fn new(info: &RoomInfo) -> Room {
        Room {
            name: info.name.clone(),
            created_ms: 0,
            participants: BTreeMap::new(),
            viewers: 0,
            peak: 0,
            touched_ms: 0,
        }
    }

    fn count(&mut self, sid: &str, step: &mut Step) {
        let now = self.participants.values().filter(|p| p.viewer).count() as u32;
        if now != self.viewers {
            self.viewers = now;
            self.peak = self.peak.max(now);
            let (room, sid) = (self.name.clone(), sid.to_owned());
            step.changes.push(Change::Viewers { room, sid, now, peak: self.peak });
        }
    }
}

impl Participant {
    fn learn(&mut self, info: &ParticipantInfo) {
        self.name.clone_from(&info.name);
        self.kind = info.kind;
        self.joined_ms = if info.joined_at_ms != 0 { info.joined_at_ms } else { info.joined_at.saturating_mul(1000) };
        self.viewer = is_viewer(info);
    }
}

impl Track {
    fn new(info: &TrackInfo, at_ms: i64) -> Track {
        Track { name: info.name.clone(), video: info.r#type == TrackType::Video as i32, touched_ms: at_ms }
    }
}

fn created_ms(info: &RoomInfo) -> i64 {
    if info.creation_time_ms != 0 { info.creation_time_ms } else { info.creation_time.saturating_mul(1000) }
}
