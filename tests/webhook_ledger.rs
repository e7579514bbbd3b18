//! What the ledger makes of a server whose webhooks are lost, doubled and late, against one where all arrive in order.

use agentcast::webhook::{Change, EgressLine, IngressLine, Ledger, ListedRoom, Listing, NOT_LISTED, Outcome, RoomLine};
use livekit_protocol::participant_info::{Kind, State};
use livekit_protocol::{
    EgressInfo, EgressStatus, IngressInfo, IngressState, ParticipantInfo, ParticipantPermission, Room, StreamInfo,
    TrackInfo, TrackType, WebhookEvent, ingress_state,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A LiveKit server: what there is now, and every event it sent.
#[derive(Clone, Default)]
struct Model {
    now_ms: i64,
    serial: u32,
    rooms: Vec<(Room, Vec<ParticipantInfo>)>,
    egress: Vec<EgressInfo>,
    ingress: BTreeMap<String, IngressInfo>,
    sent: Vec<(i64, WebhookEvent)>,
}

impl Model {
    fn sid(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}_{:04}", self.serial)
    }

    fn send(&mut self, event: &str, fill: impl FnOnce(&mut WebhookEvent)) {
        let (id, event) = (self.sid("EV"), event.to_owned());
        let mut event = WebhookEvent { event, id, created_at: self.now_ms / 1000, ..WebhookEvent::default() };
        fill(&mut event);
        self.sent.push((self.now_ms, event));
    }

    /// One thing happens; which one, `what` says, and to whom, `who`.
    fn step(&mut self, what: u8, who: u8) {
        self.now_ms += 400;
        let place = if self.rooms.is_empty() { None } else { Some(who as usize % self.rooms.len()) };
        match (what % 12, place) {
            (0, _) | (_, None) => self.open(who),
            (1, Some(at)) => {
                let (room, _) = self.rooms.remove(at);
                self.send("room_finished", |e| e.room = Some(room));
            }
            (2..=4, Some(at)) => self.join(at, who),
            (5, Some(at)) if !self.rooms[at].1.is_empty() => {
                let (room, people) = &mut self.rooms[at];
                let (room, mut p) = (room.clone(), people.remove(who as usize % people.len()));
                p.set_state(State::Disconnected);
                let event = if who < 40 { "participant_connection_aborted" } else { "participant_left" };
                self.send(event, |e| (e.room, e.participant) = (Some(room), Some(p)));
            }
            (6 | 7, Some(at)) if !self.rooms[at].1.is_empty() => self.publish(at, who),
            (8, Some(at)) if !self.rooms[at].1.is_empty() => self.unpublish(at, who),
            (9, Some(at)) => {
                let (id, room_name) = (self.sid("EG"), self.rooms[at].0.name.clone());
                let job = EgressInfo { egress_id: id, room_name, updated_at: self.now_ms, ..EgressInfo::default() };
                self.egress.push(job.clone());
                self.send("egress_started", |e| e.egress_info = Some(job));
            }
            (10, _) => self.egress_goes_on(who),
            (11, Some(at)) => self.ingress_turns(who % 3, at),
            _ => {}
        }
    }

    fn open(&mut self, who: u8) {
        let (sid, name) = (self.sid("RM"), format!("room {}", who % 5));
        let room = Room { sid, name, creation_time_ms: self.now_ms, ..Room::default() };
        self.rooms.push((room.clone(), Vec::new()));
        self.send("room_started", |e| e.room = Some(room));
    }

    fn join(&mut self, at: usize, who: u8) {
        let permission =
            ParticipantPermission { can_subscribe: !who.is_multiple_of(4), ..ParticipantPermission::default() };
        let mut p = ParticipantInfo {
            sid: self.sid("PA"),
            identity: format!("person {}", who % 7),
            joined_at_ms: self.now_ms,
            permission: Some(permission),
            ..ParticipantInfo::default()
        };
        p.set_state(State::Active);
        p.set_kind(if who.is_multiple_of(9) { Kind::Egress } else { Kind::Standard });
        self.rooms[at].1.push(p.clone());
        let room = self.rooms[at].0.clone();
        self.send("participant_joined", |e| (e.room, e.participant) = (Some(room), Some(p)));
    }

    /// As the server names them in events of tracks.
    fn bare(&self, at: usize, who: usize) -> (Option<Room>, Option<ParticipantInfo>) {
        let (room, people) = &self.rooms[at];
        let room = Room { sid: room.sid.clone(), name: room.name.clone(), ..Room::default() };
        let p = &people[who];
        let p = ParticipantInfo { sid: p.sid.clone(), identity: p.identity.clone(), ..ParticipantInfo::default() };
        (Some(room), Some(p))
    }

    fn publish(&mut self, at: usize, who: u8) {
        let mut track = TrackInfo { sid: self.sid("TR"), name: format!("track {who}"), ..TrackInfo::default() };
        track.set_type(if who.is_multiple_of(2) { TrackType::Video } else { TrackType::Audio });
        let who = who as usize % self.rooms[at].1.len();
        self.rooms[at].1[who].tracks.push(track.clone());
        let (room, p) = self.bare(at, who);
        self.send("track_published", |e| (e.room, e.participant, e.track) = (room, p, Some(track)));
    }

    fn unpublish(&mut self, at: usize, who: u8) {
        let who = who as usize % self.rooms[at].1.len();
        let Some(track) = self.rooms[at].1[who].tracks.pop() else { return };
        let (room, p) = self.bare(at, who);
        self.send("track_unpublished", |e| (e.room, e.participant, e.track) = (room, p, Some(track)));
    }

    fn egress_goes_on(&mut self, who: u8) {
        let now_ms = self.now_ms;
        let mut running: Vec<_> = self.egress.iter_mut().filter(|e| e.status < 3).collect();
        let many = running.len();
        let Some(job) = running.get_mut(who as usize % many.max(1)) else { return };
        job.updated_at = now_ms;
        match who % 5 {
            0 if job.status == 1 => {
                job.stream_results = vec![StreamInfo { retries: u32::from(who), ..StreamInfo::default() }];
            }
            1 => job.status = EgressStatus::EgressFailed as i32,
            _ => job.status += 1,
        }
        let (job, event) = (job.clone(), if job.status < 3 { "egress_updated" } else { "egress_ended" });
        self.send(event, |e| e.egress_info = Some(job));
    }

    fn ingress_turns(&mut self, which: u8, at: usize) {
        let (now_ms, room_name) = (self.now_ms, self.rooms[at].0.name.clone());
        let id = format!("IN_{which}");
        let info = self.ingress.entry(id.clone()).or_default();
        let state = info.state.get_or_insert_default();
        state.updated_at = now_ms;
        let live = state.status() != ingress_state::Status::EndpointPublishing;
        if live {
            state.started_at = now_ms;
            state.set_status(ingress_state::Status::EndpointPublishing);
            (info.ingress_id, info.room_name) = (id, room_name);
        } else {
            state.set_status(ingress_state::Status::EndpointInactive);
        }
        let info = info.clone();
        let event = if live { "ingress_started" } else { "ingress_ended" };
        self.send(event, |e| e.ingress_info = Some(info));
    }

    /// `running`: the jobs that whoever asks takes for running.
    fn list(&self, asked_ms: i64, running: &[String]) -> Listing {
        let rooms = self.rooms.iter().cloned();
        Listing {
            asked_ms,
            rooms: rooms.map(|(room, people)| ListedRoom { room, participants: Some(people) }).collect(),
            egress: Some(
                self.egress.iter().filter(|e| e.status < 3 || running.contains(&e.egress_id)).cloned().collect(),
            ),
            ingress: Some(self.ingress.values().cloned().collect()),
        }
    }
}

fn play(script: &[(u8, u8)]) -> Vec<Model> {
    let mut model = Model::default();
    let mut history = vec![model.clone()];
    for (what, who) in script {
        model.step(*what, *who);
        history.push(model.clone());
    }
    history
}

/// As the server is at a time.
fn at(history: &[Model], now_ms: i64) -> &Model {
    history.iter().rev().find(|m| m.now_ms <= now_ms).unwrap_or(&history[0])
}

fn in_order(model: &Model) -> Ledger {
    let mut ledger = Ledger::new();
    for (now_ms, event) in &model.sent {
        assert_eq!(ledger.apply(event.clone(), *now_ms, &mut Vec::new()), Outcome::Applied, "{event:?}");
    }
    ledger
}

/// Rooms without the peak, which nobody who missed it can know.
fn rooms(ledger: &Ledger) -> Vec<RoomLine> {
    let mut rooms = ledger.rooms();
    for room in &mut rooms {
        assert!(room.peak >= room.viewers);
        assert_eq!(room.viewers as usize, room.participants.iter().filter(|p| p.viewer).count());
        room.peak = 0;
    }
    rooms
}

fn runs(line: &EgressLine) -> bool {
    matches!(line.status, "EGRESS_STARTING" | "EGRESS_ACTIVE" | "EGRESS_ENDING")
}

fn split<T: Clone>(lines: Vec<T>, runs: impl Fn(&T) -> bool) -> (Vec<T>, Vec<T>) {
    lines.into_iter().partition(runs)
}

fn assert_same(lossy: &Ledger, truth: &Ledger) {
    assert_eq!(rooms(lossy), rooms(truth));
    let (running, ended) = split(lossy.egress_lines(), runs);
    let (truly_running, truly_ended) = split(truth.egress_lines(), runs);
    assert_eq!(running, truly_running);
    // A job of which nothing ever arrived between its first day and its last is not known.
    assert!(ended.iter().all(|line| truly_ended.contains(line)), "{ended:?}\nof {truly_ended:?}");
    let live = |line: &IngressLine| line.live;
    let ((live_now, over), (truly_live, truly_over)) =
        (split(lossy.ingress_lines(), live), split(truth.ingress_lines(), live));
    assert_eq!(live_now, truly_live);
    assert!(over.iter().all(|line| truly_over.iter().any(|t| t.id == line.id)), "{over:?}\nof {truly_over:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lost_doubled_and_shuffled_deliveries_and_listings_converge_to_what_lossless_ones_tell(
        script in prop::collection::vec(any::<(u8, u8)>(), 1..250),
        seed: u64,
    ) {
        let history = play(&script);
        let last = history.last().expect("the beginning at least");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut deliveries = Vec::new();
        for (sent_ms, event) in &last.sent {
            if random.f64() < 0.3 {
                continue;
            }
            for _ in 0..random.u8(1..=3) {
                deliveries.push((sent_ms + random.i64(0..8_000), event.clone()));
            }
        }
        deliveries.sort_by_key(|(arrives_ms, _)| *arrives_ms);
        let mut deliveries = deliveries.into_iter().peekable();
        let mut ledger = Ledger::new();
        let mut asked_ms = 0;
        let end_ms = last.now_ms + 10_000;
        loop {
            let running: Vec<_> = ledger.running_egress().map(str::to_owned).collect();
            // The server looks, and only later the answer is here; events arrive before, between and after.
            let looked_ms = asked_ms + random.i64(0..2_000);
            let here_ms = looked_ms + random.i64(0..3_000);
            while let Some((now_ms, event)) = deliveries.next_if(|(now_ms, _)| *now_ms <= here_ms) {
                ledger.apply(event, now_ms, &mut Vec::new());
            }
            ledger.reconcile(&at(&history, looked_ms).list(asked_ms, &running), &mut Vec::new());
            if asked_ms > end_ms {
                break;
            }
            let next_ms = here_ms + 20_000;
            while let Some((now_ms, event)) = deliveries.next_if(|(now_ms, _)| *now_ms < next_ms) {
                ledger.apply(event, now_ms, &mut Vec::new());
            }
            asked_ms = next_ms;
        }
        assert_same(&ledger, &in_order(last));
    }

    #[test]
    fn no_order_of_events_matters_when_none_is_lost(
        script in prop::collection::vec(any::<(u8, u8)>(), 1..250),
        seed: u64,
    ) {
        let history = play(&script);
        let last = history.last().expect("the beginning at least");
        let mut events: Vec<_> = last.sent.iter().flat_map(|(_, e)| [e.clone(), e.clone()]).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut events);
        let mut ledger = Ledger::new();
        let mut doubled = 0;
        for (n, event) in events.into_iter().enumerate() {
            doubled += usize::from(ledger.apply(event, n as i64, &mut Vec::new()) == Outcome::Duplicate);
        }
        assert_eq!(doubled, last.sent.len());
        let truth = in_order(last);
        assert_same(&ledger, &truth);
        assert_eq!(ledger.egress_lines(), truth.egress_lines());
        assert_eq!(ledger.ingress_lines(), truth.ingress_lines());
    }
}

/// A server with one room, one viewer in it with a track, one job and one ingress; its events so far.
fn busy() -> Model {
    let mut model = Model::default();
    for (what, who) in [(0, 1), (2, 1), (6, 2), (9, 0), (10, 2), (11, 0)] {
        model.step(what, who);
    }
    assert_eq!(model.sent.len(), 6);
    model
}

fn told(ledger: &mut Ledger, model: &Model, event: usize, now_ms: i64) -> Vec<Change> {
    let mut changes = Vec::new();
    ledger.apply(model.sent[event].1.clone(), now_ms, &mut changes);
    changes
}

#[test]
fn a_listing_that_was_asked_for_before_an_event_does_not_undo_it() {
    let model = busy();
    let empty =
        |asked_ms| Listing { egress: Some(vec![]), ingress: Some(vec![]), ..Model::default().list(asked_ms, &[]) };
    let mut ledger = Ledger::new();
    for event in 0..6 {
        told(&mut ledger, &model, event, 1_000);
    }
    let before = (ledger.rooms(), ledger.egress_lines(), ledger.ingress_lines());
    let mut changes = Vec::new();
    ledger.reconcile(&empty(1_000), &mut changes);
    assert_eq!((ledger.rooms(), ledger.egress_lines(), ledger.ingress_lines()), before);
    assert_eq!(changes, []);
    ledger.reconcile(&empty(1_001), &mut changes);
    assert_eq!(ledger.rooms(), []);
    assert_eq!(ledger.egress_lines()[0].error.as_deref(), Some(NOT_LISTED));
    assert!(!ledger.ingress_lines()[0].live);
    assert_eq!(changes.len(), 3, "{changes:?}");
    let guess = |c: &Change| matches!(c, Change::EgressNotListed(job) if job.error == NOT_LISTED);
    assert!(changes.iter().any(guess), "whoever runs the job must not take it for the worker's word: {changes:?}");
    assert!(!changes.iter().any(|c| matches!(c, Change::Egress(_))), "{changes:?}");
}

#[test]
fn a_listing_that_still_has_what_an_event_ended_does_not_bring_it_back() {
    let mut model = busy();
    let listed = model.list(2_000, &[]);
    for (what, who) in [(10, 1), (11, 0), (8, 0), (5, 200), (1, 0)] {
        model.step(what, who);
    }
    assert_eq!(model.sent.len(), 11);
    let mut ledger = Ledger::new();
    for event in 0..11 {
        told(&mut ledger, &model, event, 2_500);
    }
    let mut changes = Vec::new();
    ledger.reconcile(&listed, &mut changes);
    assert_eq!(changes, []);
    assert_eq!(ledger.rooms(), []);
    assert_eq!((ledger.egress_lines()[0].status, ledger.ingress_lines()[0].live), ("EGRESS_FAILED", false));
}

#[test]
fn what_a_listing_missed_comes_back_by_the_next_one() {
    let model = busy();
    let mut ledger = Ledger::new();
    ledger.reconcile(&model.list(1_000, &[]), &mut Vec::new());
    let before = (ledger.rooms(), ledger.egress_lines(), ledger.ingress_lines());
    assert_eq!((before.0.len(), before.1.len(), before.2.len()), (1, 1, 1));
    ledger.reconcile(&Model::default().list(2_000, &[]), &mut Vec::new());
    assert_eq!(ledger.rooms(), []);
    ledger.reconcile(&model.list(3_000, &[]), &mut Vec::new());
    assert_eq!((ledger.rooms(), ledger.egress_lines(), ledger.ingress_lines()), before);
}

#[test]
fn changes_are_told_once_and_in_words_that_name_the_room() {
    let model = busy();
    let mut ledger = Ledger::new();
    // The track's event comes first.
    let changes = told(&mut ledger, &model, 2, 1);
    let (sid, room) = (model.rooms[0].0.sid.clone(), "room 1".to_owned());
    let person = &model.rooms[0].1[0];
    let identity = person.identity.clone();
    assert_eq!(
        changes,
        [
            Change::RoomStarted { room: room.clone(), sid: sid.clone() },
            Change::ParticipantJoined { room: room.clone(), sid: person.sid.clone(), identity: identity.clone() },
            Change::TrackPublished { room: room.clone(), identity, sid: person.tracks[0].sid.clone() },
        ]
    );
    assert_eq!(told(&mut ledger, &model, 0, 2), []);
    assert_eq!(told(&mut ledger, &model, 1, 3), [Change::Viewers { room, sid, now: 1, peak: 1 }]);
    assert_eq!(told(&mut ledger, &model, 1, 4), []);
    let mut changes = Vec::new();
    ledger.reconcile(&model.list(5, &[]), &mut changes);
    assert_eq!(changes.len(), 2, "the job and the ingress: {changes:?}");
    ledger.reconcile(&model.list(6, &[]), &mut changes);
    assert_eq!(changes.len(), 2);
}

#[test]
fn the_peak_stays_when_viewers_leave() {
    let mut model = Model::default();
    for (what, who) in [(0, 1), (2, 1), (2, 2), (2, 3), (5, 101), (5, 101), (2, 5)] {
        model.step(what, who);
    }
    let rooms = in_order(&model).rooms();
    assert_eq!((rooms[0].viewers, rooms[0].peak), (2, 3));
}

#[test]
fn events_without_what_their_type_needs_and_of_new_types_are_counted_as_unknown() {
    let mut ledger = Ledger::new();
    let model = busy();
    for (_, event) in &model.sent {
        let bare = WebhookEvent { event: event.event.clone(), id: event.id.clone(), ..WebhookEvent::default() };
        assert_eq!(ledger.apply(bare, 0, &mut Vec::new()), Outcome::Unknown, "{event:?}");
    }
    let new = WebhookEvent { event: "moon_rose".into(), ..model.sent[0].1.clone() };
    assert_eq!(Ledger::new().apply(new, 0, &mut Vec::new()), Outcome::Unknown);
    assert_eq!(ledger.rooms(), []);
}

#[test]
fn an_event_counts_as_a_duplicate_for_a_day() {
    const DAY: i64 = 24 * 3_600_000;
    let model = busy();
    let mut ledger = Ledger::new();
    let mut apply = |now_ms| ledger.apply(model.sent[0].1.clone(), now_ms, &mut Vec::new());
    assert_eq!(apply(0), Outcome::Applied);
    assert_eq!(apply(DAY - 1), Outcome::Duplicate);
    assert_eq!(apply(DAY + 120_000), Outcome::Applied, "it is forgotten, and harmless");
}

#[test]
fn jobs_that_ended_are_forgotten_after_an_hour_and_running_ones_are_not() {
    let mut model = busy();
    model.step(9, 0);
    let mut ledger = Ledger::new();
    for (_, event) in &model.sent {
        ledger.apply(event.clone(), 0, &mut Vec::new());
    }
    let (ended, running) = (&model.egress[0], &model.egress[1]);
    let end = EgressInfo { status: EgressStatus::EgressComplete as i32, ..ended.clone() };
    let ended = WebhookEvent { event: "egress_ended".into(), egress_info: Some(end), ..WebhookEvent::default() };
    ledger.apply(ended, 0, &mut Vec::new());
    assert_eq!(ledger.egress_lines().len(), 2);
    ledger.apply(WebhookEvent::default(), 3_700_000, &mut Vec::new());
    let ids: Vec<_> = ledger.egress_lines().into_iter().map(|line| line.id).collect();
    assert_eq!(ids, std::slice::from_ref(&running.egress_id));
    let live = IngressState { status: 2, ..IngressState::default() };
    assert_eq!(live.status(), ingress_state::Status::EndpointPublishing);
    assert_eq!(ledger.ingress_lines().len(), 1, "it is still live");
}
