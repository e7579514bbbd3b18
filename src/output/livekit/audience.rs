//! Who watches: the participants of the room that subscribe, without ourselves and without machines.

use crate::livekit::rooms::is_viewer;
use crate::output::Viewers;
use livekit_protocol as proto;
use proto::participant_info::State;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct Audience {
    /// By identity: the newest word on each participant that watches.
    watching: HashMap<String, Viewer>,
    peak: u32,
}

#[derive(Debug)]
struct Viewer {
    sid: String,
    version: u32,
    /// Connected, so that data reaches it.
    active: bool,
}

impl Audience {
    /// All participants anew, at a join. Returns the identities that are connected.
    pub fn begin(&mut self, me: &str, participants: &[proto::ParticipantInfo]) -> Vec<String> {
        self.watching.clear();
        self.update(me, participants)
    }

    /// News of some participants. Returns the identities that are newly connected.
    pub fn update(&mut self, me: &str, participants: &[proto::ParticipantInfo]) -> Vec<String> {
        let mut joined = Vec::new();
        for p in participants.iter().filter(|p| p.identity != me) {
            let known = self.watching.get(&p.identity);
            let same_stay = known.is_some_and(|k| k.sid == p.sid);
            // Messages may overtake each other; and the last word on an earlier stay may come after the next one began.
            if (same_stay && known.is_some_and(|k| p.version < k.version))
                || (known.is_some() && !same_stay && p.state() == State::Disconnected)
            {
                continue;
            }
            if !is_viewer(p) {
                self.watching.remove(&p.identity);
                continue;
            }
            let active = p.state() == State::Active;
            if active && !(same_stay && known.is_some_and(|k| k.active)) {
                joined.push(p.identity.clone());
            }
            let viewer = Viewer { sid: p.sid.clone(), version: p.version, active };
            self.watching.insert(p.identity.clone(), viewer);
        }
        self.peak = self.peak.max(self.now());
        joined
    }

    pub fn viewers(&self) -> Viewers {
        Viewers { now: self.now(), peak: self.peak }
    }

    fn now(&self) -> u32 {
        u32::try_from(self.watching.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::participant_info::Kind;

    fn participant(identity: &str, kind: Kind, state: State) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: format!("PA_{identity}"),
            identity: identity.into(),
            state: state as i32,
            kind: kind as i32,
            permission: Some(proto::ParticipantPermission { can_subscribe: true, ..Default::default() }),
            ..Default::default()
        }
    }

    fn viewer(identity: &str, state: State) -> proto::ParticipantInfo {
        participant(identity, Kind::Standard, state)
    }

    #[test]
    fn people_that_subscribe_count_and_we_machines_and_hidden_ones_do_not() {
        let mut audience = Audience::default();
        let mut hidden = viewer("hidden", State::Active);
        hidden.permission.as_mut().unwrap().hidden = true;
        let mut publisher = viewer("publisher", State::Active);
        publisher.permission.as_mut().unwrap().can_subscribe = false;
        let all = [
            viewer("me", State::Active),
            viewer("a", State::Active),
            viewer("b", State::Active),
            participant("e", Kind::Egress, State::Active),
            participant("i", Kind::Ingress, State::Active),
            participant("g", Kind::Agent, State::Active),
            hidden,
            publisher,
        ];
        assert_eq!(audience.begin("me", &all), ["a", "b"]);
        assert_eq!(audience.viewers(), Viewers { now: 2, peak: 2 });
    }

    #[test]
    fn a_snapshot_waits_until_the_viewer_can_take_it() {
        let mut audience = Audience::default();
        assert!(audience.begin("me", &[viewer("a", State::Joining)]).is_empty());
        assert!(audience.update("me", &[viewer("a", State::Joined)]).is_empty());
        assert_eq!(audience.update("me", &[viewer("a", State::Active)]), ["a"]);
        assert!(audience.update("me", &[viewer("a", State::Active)]).is_empty());
    }

    #[test]
    fn leaving_lowers_the_count_and_keeps_the_peak_also_over_a_rejoin() {
        let mut audience = Audience::default();
        audience.begin("me", &[viewer("a", State::Active)]);
        assert_eq!(audience.update("me", &[viewer("b", State::Active), viewer("a", State::Active)]), ["b"]);
        audience.update("me", &[viewer("a", State::Disconnected)]);
        assert_eq!(audience.viewers(), Viewers { now: 1, peak: 2 });
        assert!(audience.begin("me", &[]).is_empty());
        assert_eq!(audience.viewers(), Viewers { now: 0, peak: 2 });
    }

    #[test]
    fn old_news_changes_nothing() {
        let mut audience = Audience::default();
        audience.begin("me", &[proto::ParticipantInfo { version: 5, ..viewer("a", State::Active) }]);
        audience.update("me", &[proto::ParticipantInfo { version: 4, ..viewer("a", State::Disconnected) }]);
        assert_eq!(audience.viewers().now, 1);
        let again = proto::ParticipantInfo { sid: "PA_new".into(), version: 1, ..viewer("a", State::Active) };
        assert_eq!(audience.update("me", &[again]), ["a"], "a new stay gets a snapshot of its own");
        let late = proto::ParticipantInfo { version: 9, ..viewer("a", State::Disconnected) };
        audience.update("me", &[late]);
        assert_eq!(audience.viewers().now, 1, "the end of the stay before");
    }
}
