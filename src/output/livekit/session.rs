//! One stay in a room: one task that moves media, signalling and data between the queue, the server and the peer connection.
//!
//! Nothing in its loop waits for the network: whatever does is one of the branches of [`Session::happens`], so that media
//! goes on while signalling is lost, resumes or stalls.

use super::audience::Audience;
use super::data::{Outbound, Outgoing};
use super::ends::{self, End};
use super::join::{self, Joined};
use super::link::{Link, Step, resume_pause};
use super::news::News;
use super::outbox::Outbox;
use super::packets::{self, CaptureClock};
use super::peer::{Peer, PeerCommand, PeerEvent, PeerSettings, PeerStats};
use super::tracks::{Change, Held, Holds, Tracks};
use super::{RoomOptions, RoomTarget, Shared};
use crate::encode::{AudioCodec, StreamInfo, Track};
use crate::livekit::rooms::Rooms;
use crate::output::State;
use crate::output::queue::Queued;
use livekit_protocol as proto;
use livekit_signaling::{SignalClient, SignalEvent, SignalEvents};
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::media::{MediaKind, Mid};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// From the join to ICE and DTLS.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// From an ICE restart to a path.
const ICE_DEADLINE: Duration = Duration::from_secs(8);
/// The DTLS close of a removed participant often overtakes the Leave that says why; a rejoin before it would bring the room
/// back that somebody has just deleted.
const LEAVE_GRACE: Duration = Duration::from_secs(1);
/// An IDR in the queue that is older gives way to the next one: its whole group would reach the viewers as a burst.
const OLDEST_START: Duration = Duration::from_millis(300);
/// Commands to the peer connection that media leaves free for negotiation.
const HEADROOM: usize = 64;
/// A stay that has lasted this long has got over the last error.
const SETTLED: Duration = Duration::from_secs(2);
const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// Left of the time to stop for saying goodbye.
const GOODBYE: Duration = Duration::from_millis(400);
/// Until what was handed to the peer connection is on the wire.
const LAST_PACKETS: Duration = Duration::from_millis(50);
/// The share of lost packets that an operator should know of.
const LOSS: f32 = 0.05;

/// What outlives a stay.
pub(super) struct Memory {
    pub holds: Holds,
    pub audience: Audience,
    pub news: News,
    /// Names this run of agentcast in the participant's metadata.
    pub instance: String,
    /// Stays so far: makes track ids unique.
    pub stays: u64,
}

/// The part of a stay that begins when the media path stands.
struct Live {
    since: Instant,
    clock: Option<CaptureClock>,
    /// Pictures wait for an IDR.
    needs_idr: bool,
}

pub(super) struct Session<'a> {
    shared: &'a Shared,
    target: &'a RoomTarget,
    memory: &'a mut Memory,
    info: Arc<StreamInfo>,
    signal: Arc<SignalClient>,
    signals: SignalEvents,
    me: proto::ParticipantInfo,
    peer_settings: PeerSettings,
    publisher: Peer,
    /// Opened when the server offers one. Nothing of it is used: a publisher subscribes to nothing.
    subscriber: Option<Peer>,
    /// Its last offer and answer, for SyncState.
    subscriber_sdp: (Option<String>, Option<String>),
    tracks: Tracks,
    mids: Vec<(MediaKind, oneshot::Receiver<Mid>)>,
    outbound: Outbound,
    outbox: Outbox,
    link: Link,
    resume_attempts: u32,
    /// Nothing comes back on the media path.
    path_dead: bool,
    began: Instant,
    live: Option<Live>,
    /// When to give up on a peer connection that is gone, and why.
    gone: Option<(Instant, String)>,
    stats: PeerStats,
    chores_at: Instant,
    /// Calls to the API that nobody waits for; they end with the stay.
    calls: JoinSet<()>,
}

/// One thing that happened.
enum Happened {
    Stop,
    Signal(Option<SignalEvent>),
    Peer { publisher: bool, event: Option<PeerEvent> },
    Link(Step),
    Sent,
    Media(Option<Queued>),
    News,
    Wake,
}

impl<'a> Session<'a> {
    /// Opens the peer connection and announces the tracks.
    pub async fn begin(
        shared: &'a Shared,
        target: &'a RoomTarget,
        options: &'a RoomOptions,
        memory: &'a mut Memory,
        info: Arc<StreamInfo>,
        joined: Joined,
    ) -> Result<Session<'a>, (End, Arc<SignalClient>)> {
        let Joined { signal, events, response, me, addresses } = joined;
        let peer_settings = PeerSettings {
            name: shared.name.clone(),
            publisher: true,
            ice: options.ice,
            ice_servers: response.ice_servers,
            server: addresses,
            watchdog: options.watchdog,
        };
        let publisher = match Peer::open(peer_settings.clone()).await {
            Ok(peer) => peer,
            Err(words) => return Err((End::Lost(words), signal)),
        };
        memory.stays += 1;
        memory.audience.begin(&me.identity, &response.other_participants);
        let (tracks, requests) = Tracks::announce(&info, &memory.holds, &memory.stays.to_string());
        let mut outbox = Outbox::default();
        requests.into_iter().for_each(|request| outbox.push(Request::AddTrack(request)));
        let session = Session {
            shared,
            target,
            memory,
            info,
            signal,
            signals: events,
            outbound: Outbound::new(&me.identity, &me.sid),
            me,
            peer_settings,
            publisher,
            subscriber: None,
            subscriber_sdp: (None, None),
            tracks,
            mids: Vec::new(),
            outbox,
            link: Link::Up,
            resume_attempts: 0,
            path_dead: false,
            began: Instant::now(),
            live: None,
            gone: None,
            stats: PeerStats::default(),
            chores_at: Instant::now() + HOUSEKEEPING,
            calls: JoinSet::new(),
        };
        if session.tracks.all_published() {
            // All was unpublished by the server: only data is left.
            session.command(PeerCommand::Negotiate { ice_restart: false });
        }
        session.tell_viewers();
        Ok(session)
    }

    /// Stays until something ends it. Returns signalling, for [`join::leave`], and how long media could flow.
    pub async fn run(mut self) -> (End, Arc<SignalClient>, Duration) {
        let end = loop {
            let happened = self.happens().await;
            if let Some(end) = self.handle(happened).await {
                break end;
            }
        };
        let lived = self.live.as_ref().map_or(Duration::ZERO, |live| live.since.elapsed());
        // Whatever is half done holds locks of livekit-signaling.
        self.link = Link::Up;
        self.outbox.clear();
        if end == End::Stopped {
            self.push_data(|news| news.end());
            // Leave before the close: viewers' pages show at once that the stream is over, not that it stalls. And after
            // what was handed on last, which the peer connection spreads over some milliseconds.
            let left = self.shared.time_to_stop().unwrap_or(GOODBYE).saturating_sub(GOODBYE / 2);
            tokio::time::sleep(left.min(LAST_PACKETS)).await;
            let _ = tokio::time::timeout(left, join::leave(&self.signal)).await;
        }
        for peer in [Some(&mut self.publisher), self.subscriber.as_mut()].into_iter().flatten() {
            let _ = peer.commands.try_send(PeerCommand::Close);
        }
        if end == End::Stopped {
            let closed = async { while self.publisher.events.recv().await.is_some() {} };
            let _ = tokio::time::timeout(GOODBYE / 2, closed).await;
        }
        (end, self.signal, lived)
    }

    async fn happens(&mut self) -> Happened {
        let wake = self.wake_at();
        let live = self.live.is_some() && self.gone.is_none();
        tokio::select! {
            biased;
            () = self.shared.stop_point(if live { GOODBYE } else { Duration::MAX }) => Happened::Stop,
            event = self.signals.recv() => Happened::Signal(event),
            event = self.publisher.events.recv(), if self.gone.is_none() => Happened::Peer { publisher: true, event },
            event = from_peer(&mut self.subscriber) => Happened::Peer { publisher: false, event },
            step = self.link.step() => Happened::Link(step),
            () = self.outbox.deliver(&self.signal), if self.link.carries() => Happened::Sent,
            item = next_media(self.shared, &self.publisher.commands), if live => Happened::Media(item),
            () = self.memory.news.arrives(), if live => Happened::News,
            () = tokio::time::sleep_until(wake.into()) => Happened::Wake,
        }
    }

    fn wake_at(&self) -> Instant {
        self.gone.as_ref().map_or(self.chores_at, |(at, _)| self.chores_at.min(*at))
    }

    async fn handle(&mut self, happened: Happened) -> Option<End> {
        match happened {
            Happened::Stop => return Some(End::Stopped),
            Happened::Signal(None) => return Some(End::Lost("signalling ended".to_owned())),
            Happened::Signal(Some(SignalEvent::Message(message))) => return self.on_signal(*message).await,
            Happened::Signal(Some(SignalEvent::Close(why))) => {
                tracing::info!(destination = self.shared.name, "signalling lost: {why}");
                return self.resume(proto::ReconnectReason::RrSignalDisconnected);
            }
            Happened::Peer { publisher, event } => return self.on_peer(publisher, event),
            Happened::Link(step) => return self.on_link(step).await,
            Happened::Sent => {}
            // The stream is over, and all of it was handed on.
            Happened::Media(None) => return Some(End::Stopped),
            Happened::Media(Some(item)) => self.send(&item),
            Happened::News => self.relay(),
            Happened::Wake => return self.house_keeping(),
        }
        None
    }

    fn house_keeping(&mut self) -> Option<End> {
        let now = Instant::now();
        self.chores_at = now + HOUSEKEEPING;
        if let Some((at, words)) = &self.gone
            && *at <= now
        {
            return Some(End::Lost(words.clone()));
        }
        if self.outbox.is_stuck() {
            self.outbox.clear();
            return self.resume(proto::ReconnectReason::RrSignalDisconnected);
        }
        match &self.live {
            None if now.duration_since(self.began) >= CONNECT_DEADLINE => {
                return Some(End::Lost(if self.tracks.all_published() {
                    "no media connection to the LiveKit server; check UDP and TCP to its media ports".to_owned()
                } else {
                    "the LiveKit server did not take the tracks in time".to_owned()
                }));
            }
            Some(live) if now.duration_since(live.since) >= SETTLED => self.shared.life().last_error = None,
            _ => {}
        }
        self.flush_data();
        self.show_notes();
        None
    }

    /// Hands a command to the peer connection. A full channel means that its task hangs, which the watchdog finds.
    fn command(&self, command: PeerCommand) {
        if self.publisher.commands.try_send(command).is_err() && self.gone.is_none() {
            tracing::warn!(destination = self.shared.name, "the peer connection takes no commands");
        }
    }

    // Signalling

    async fn on_signal(&mut self, message: Response) -> Option<End> {
        match message {
            Response::Answer(answer) => self.command(PeerCommand::Answer(answer.sdp)),
            Response::Offer(offer) => return self.on_offer(offer.sdp).await,
            Response::Trickle(trickle) => {
                let Some(candidate) = candidate_of(&trickle.candidate_init) else { return None };
                if trickle.target() == proto::SignalTarget::Publisher {
                    self.command(PeerCommand::RemoteCandidate(candidate));
                } else if let Some(peer) = &self.subscriber {
                    let _ = peer.commands.try_send(PeerCommand::RemoteCandidate(candidate));
                }
            }
            Response::TrackPublished(response) => {
                if self.tracks.published(response) {
                    self.add_tracks();
                }
            }
            Response::Update(update) => {
                let joined = self.memory.audience.update(&self.me.identity, &update.participants);
                self.tell_viewers();
                if !joined.is_empty() {
                    self.push_data(|news| news.snapshot(&joined));
                }
            }
            Response::Mute(request) => {
                let change = self.tracks.muted(&request, &mut self.memory.holds);
                self.on_change(change);
            }
            Response::TrackUnpublished(response) => {
                let change = self.tracks.unpublished(&response.track_sid, &mut self.memory.holds);
                self.on_change(change);
            }
            Response::RequestResponse(response) => return Tracks::refused(&response),
            Response::Leave(leave) => {
                return match ends::after_leave(leave.reason(), leave.action(), &self.target.identity) {
                    Some(end) => Some(end),
                    None => self.resume(proto::ReconnectReason::RrUnknown),
                };
            }
            // Among them SubscribedQualityUpdate, which says that nobody watches just now. Media goes on all the same: a
            // viewer, or an egress, that joins then sees it at once, and the picture is encoded anyway.
            _ => {}
        }
        None
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Nothing => return,
            Change::Stopped(kind) => tracing::warn!(destination = self.shared.name, "stopped by the server: {kind:?}"),
            Change::Flows(kind) => tracing::info!(destination = self.shared.name, "goes on: {kind:?}"),
        }
        if change == Change::Flows(MediaKind::Video) {
            self.need_idr();
        }
        self.show_notes();
    }

    /// All AddTracks are answered: the tracks get their sections, and all goes into one offer.
    fn add_tracks(&mut self) {
        let tracks: Vec<_> = self.tracks.iter().map(|t| (t.kind, t.cid.clone())).collect();
        for (kind, cid) in tracks {
            let (mid, told) = oneshot::channel();
            self.command(PeerCommand::AddTrack { kind, cid, mid });
            self.mids.push((kind, told));
        }
        self.command(PeerCommand::Negotiate { ice_restart: false });
    }

    fn take_mids(&mut self) {
        for (kind, told) in &mut self.mids {
            if let Ok(mid) = told.try_recv() {
                self.tracks.set_mid(*kind, mid);
            }
        }
    }

    async fn on_offer(&mut self, sdp: String) -> Option<End> {
        if self.subscriber.is_none() {
            let settings = PeerSettings { publisher: false, ..self.peer_settings.clone() };
            match Peer::open(settings).await {
                Ok(peer) => self.subscriber = Some(peer),
                Err(words) => return Some(End::Lost(words)),
            }
        }
        self.subscriber_sdp.0 = Some(sdp.clone());
        if let Some(peer) = &self.subscriber {
            let _ = peer.commands.try_send(PeerCommand::Offer(sdp));
        }
        None
    }

    // The peer connections

    fn on_peer(&mut self, publisher: bool, event: Option<PeerEvent>) -> Option<End> {
        let target = if publisher { proto::SignalTarget::Publisher } else { proto::SignalTarget::Subscriber };
        match event {
            Some(PeerEvent::Offer(sdp)) => {
                self.take_mids();
                self.outbox.push(Request::Offer(description("offer", sdp)));
            }
            Some(PeerEvent::Answer(sdp)) => {
                self.subscriber_sdp.1 = Some(sdp.clone());
                self.outbox.push(Request::Answer(description("answer", sdp)));
            }
            Some(PeerEvent::LocalCandidate(candidate)) => {
                self.outbox.push(trickle(&candidate, target));
            }
            Some(PeerEvent::Closed { error }) if publisher => {
                self.gone(error.unwrap_or_else(|| "the LiveKit server closed the media connection".to_owned()));
            }
            None if publisher => self.gone("the media connection ended".to_owned()),
            Some(PeerEvent::Closed { .. }) | None => self.subscriber = None,
            Some(_) if !publisher => {}
            Some(PeerEvent::Connected) => self.go_live(),
            Some(PeerEvent::IceUp) => self.on_path(),
            Some(PeerEvent::PathDead) => {
                tracing::warn!(destination = self.shared.name, "the media path is dead");
                self.path_dead = true;
                self.show_notes();
                return match &self.link {
                    Link::Up if self.live.is_some() => self.resume(proto::ReconnectReason::RrPublisherFailed),
                    Link::Pausing(..) => Some(End::Lost("the LiveKit server cannot be reached any more".to_owned())),
                    // A restart of ICE is under way already, with a deadline of its own.
                    _ => None,
                };
            }
            Some(PeerEvent::KeyframeRequest(mid)) if self.tracks.is_picture(mid) => self.shared.want_idr(),
            Some(PeerEvent::DataOpen { reliable }) => {
                self.outbound.opened(reliable);
                self.flush_data();
            }
            Some(PeerEvent::Stats(stats)) => self.stats = stats,
            // Nobody sends us anything that is acted upon.
            Some(PeerEvent::KeyframeRequest(_) | PeerEvent::Data { .. }) => {}
        }
        None
    }

    fn gone(&mut self, words: String) {
        self.gone.get_or_insert_with(|| (Instant::now() + LEAVE_GRACE, words));
    }

    fn go_live(&mut self) {
        if self.live.is_some() {
            return;
        }
        self.take_mids();
        let now = Instant::now();
        self.live = Some(Live { since: now, clock: None, needs_idr: true });
        self.shared.queue.resume_at_recent_idr(OLDEST_START);
        self.shared.want_idr();
        {
            let mut life = self.shared.life();
            life.state = State::Live;
            life.connections += 1;
            life.retry_at = None;
        }
        let took = now.duration_since(self.began);
        tracing::info!(destination = self.shared.name, "live after {} ms", took.as_millis());
        self.push_data(|news| news.snapshot(&[]));
    }

    /// ICE has found a path again.
    fn on_path(&mut self) {
        let Link::Ice { seen, .. } = self.link else {
            self.path_dead = false;
            return;
        };
        self.link = Link::Up;
        self.resume_attempts = 0;
        // livekit-signaling holds back all but negotiation until it hears this.
        self.outbox.reconnected();
        self.outbound.resend_after(seen, Instant::now());
        if std::mem::take(&mut self.path_dead) {
            self.need_idr();
        }
        {
            let mut life = self.shared.life();
            life.state = State::Live;
            life.connections += 1;
        }
        tracing::info!(destination = self.shared.name, "resumed");
        self.flush_data();
        self.show_notes();
    }

    // Resume

    /// Begins to resume, unless that is under way already. Before the media path stands there is nothing to save.
    fn resume(&mut self, reason: proto::ReconnectReason) -> Option<End> {
        if self.live.is_none() {
            return Some(End::Lost("the LiveKit server broke off the connection".to_owned()));
        }
        if self.gone.is_some() || !matches!(self.link, Link::Up | Link::Ice { .. }) {
            return None;
        }
        self.outbox.clear();
        self.link = Link::close(&self.signal, reason);
        self.show_notes();
        None
    }

    async fn on_link(&mut self, step: Step) -> Option<End> {
        match step {
            Step::Closed(reason) => {
                // Whatever came before the old connection closed; from here on every Close is the new one's.
                while let Ok(event) = self.signals.try_recv() {
                    if let SignalEvent::Message(message) = event
                        && let Response::Leave(leave) = &*message
                        && let Some(end) = ends::after_leave(leave.reason(), leave.action(), &self.target.identity)
                    {
                        return Some(end);
                    }
                }
                self.link = Link::restart(&self.signal, reason);
            }
            Step::Restarted(reason, Ok(response)) => {
                self.command(PeerCommand::IceServers(response.ice_servers.clone()));
                if let Some(peer) = &self.subscriber {
                    let _ = peer.commands.try_send(PeerCommand::IceServers(response.ice_servers.clone()));
                }
                self.peer_settings.ice_servers = response.ice_servers;
                self.outbox.push(Request::SyncState(self.sync_state()));
                self.command(PeerCommand::Negotiate { ice_restart: true });
                let deadline = Instant::now() + ICE_DEADLINE;
                self.link = Link::Ice { deadline, seen: response.last_message_seq };
                tracing::debug!(destination = self.shared.name, ?reason, "signalling resumed");
            }
            Step::Restarted(reason, Err(error)) => {
                let end = ends::from_signal(&error, self.target.server.host(), &self.target.identity);
                if ends::ends_resume(&error) || self.path_dead {
                    return Some(end);
                }
                let pause = resume_pause(self.resume_attempts);
                self.resume_attempts += 1;
                self.link = Link::Pausing(Instant::now() + pause, reason);
                self.show_notes();
            }
            Step::Again(reason) => self.link = Link::restart(&self.signal, reason),
            Step::IceTooLate => {
                return Some(End::Lost("the media path did not come back; joining anew".to_owned()));
            }
        }
        None
    }

    fn sync_state(&self) -> proto::SyncState {
        let sdp = |kind: &str, sdp: &Option<String>| sdp.clone().map(|sdp| description(kind, sdp));
        proto::SyncState {
            offer: sdp("offer", &self.subscriber_sdp.0),
            answer: sdp("answer", &self.subscriber_sdp.1),
            publish_tracks: self.tracks.for_sync(),
            ..Default::default()
        }
    }

    // Media

    fn send(&mut self, item: &Queued) {
        let Some(live) = &mut self.live else { return };
        let (packet, kind) = match item.packet.track {
            Track::Video => (&item.packet, MediaKind::Video),
            Track::Audio => (&item.packet, MediaKind::Audio),
        };
        let now = Instant::now();
        let captured = live
            .clock
            .get_or_insert_with(|| CaptureClock::new(packet.pts, now, self.shared.queue.stats().queued))
            .at(packet.pts, now);
        if kind == MediaKind::Video && packet.key {
            live.needs_idr = false;
        }
        let wanted = self.memory.holds.of(kind) == Held::No;
        let Some(mid) = self.tracks.mid(kind).filter(|_| wanted) else { return };
        let command = match kind {
            MediaKind::Video => {
                if live.needs_idr {
                    self.shared.want_idr();
                    return;
                }
                let data = packets::access_unit(&item.info, packet);
                PeerCommand::Video { mid, data, rtp: packets::video_rtp(packet.pts), captured }
            }
            MediaKind::Audio if item.info.audio_codec == AudioCodec::Opus => {
                PeerCommand::Audio { mid, data: packet.data.clone(), rtp: packets::audio_rtp(packet.pts), captured }
            }
            // Whoever sends us AAC has not asked what we take.
            MediaKind::Audio => return,
        };
        self.command(command);
        self.shared.life().sent(packet.data.len());
        if kind == MediaKind::Video {
            self.follow(&item.info);
        }
    }

    /// Tells viewers' pages a new picture size.
    fn follow(&mut self, info: &Arc<StreamInfo>) {
        if (info.width, info.height) != (self.info.width, self.info.height)
            && let Some(sid) = self.tracks.sid(MediaKind::Video)
        {
            let size =
                proto::UpdateLocalVideoTrack { track_sid: sid.to_owned(), width: info.width, height: info.height };
            self.outbox.push(Request::UpdateVideoTrack(size));
        }
        if !Arc::ptr_eq(info, &self.info) {
            self.info = info.clone();
        }
    }

    fn need_idr(&mut self) {
        if let Some(live) = &mut self.live {
            live.needs_idr = true;
        }
        self.shared.want_idr();
    }

    // Data and metadata

    /// The match has changed.
    fn relay(&mut self) {
        self.push_data(News::changes);
        if let Some(metadata) = self.memory.news.new_metadata() {
            let update = proto::UpdateParticipantMetadata {
                metadata: metadata.participant,
                name: self.target.name.clone(),
                ..Default::default()
            };
            self.outbox.push(Request::UpdateMetadata(update));
            let (rooms, room) = (Rooms::new(&self.target.server), self.target.room.clone());
            let name = self.shared.name.clone();
            self.calls.spawn(async move {
                if let Err(e) = rooms.set_metadata(&room, &metadata.room.to_json()).await {
                    tracing::warn!(destination = name, "the room's title was not changed: {e}");
                }
            });
        }
    }

    fn push_data(&mut self, messages: impl FnOnce(&mut News) -> Vec<Outgoing>) {
        let now = Instant::now();
        for message in messages(&mut self.memory.news) {
            self.outbound.push(message, now);
        }
        self.flush_data();
    }

    fn flush_data(&mut self) {
        while self.calls.try_join_next().is_some() {}
        let before = self.outbound.dropped();
        while self.publisher.commands.capacity() > HEADROOM {
            let Some((reliable, bytes)) = self.outbound.pop(Instant::now()) else { break };
            self.command(PeerCommand::Data { reliable, bytes });
        }
        let dropped = self.outbound.dropped() - before;
        if dropped > 0 {
            tracing::warn!(
                destination = self.shared.name,
                dropped,
                "data packets dropped: the channel does not take them"
            );
        }
    }

    // Status

    fn tell_viewers(&self) {
        self.shared.life().viewers = self.memory.audience.viewers();
    }

    fn show_notes(&self) {
        let signalling = match self.link {
            Link::Up => None,
            _ if self.path_dead => Some("the media path is dead; looking for another one".to_owned()),
            _ => Some("signalling with the LiveKit server is lost, media goes on; reconnecting".to_owned()),
        };
        let loss = self.stats.loss.filter(|loss| *loss >= LOSS).map(|loss| {
            format!(
                "the network to the LiveKit server loses {:.0} % of the packets; viewers may see pauses",
                loss * 100.0
            )
        });
        let note = signalling.or_else(|| self.memory.holds.words()).or(loss).or_else(|| self.memory.news.trouble());
        let mut life = self.shared.life();
        life.note = note;
        if self.live.is_some() {
            life.state = if self.path_dead { State::Reconnecting } else { State::Live };
        }
    }
}

async fn from_peer(peer: &mut Option<Peer>) -> Option<PeerEvent> {
    match peer {
        Some(peer) => peer.events.recv().await,
        None => std::future::pending().await,
    }
}

/// The next packet, once the peer connection has room for it. What waits longer than the queue may hold is dropped there,
/// up to an IDR.
async fn next_media(shared: &Shared, commands: &mpsc::Sender<PeerCommand>) -> Option<Queued> {
    while commands.capacity() <= HEADROOM {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shared.queue.next().await
}

/// A local candidate on its way to the server.
pub(super) fn trickle(candidate: &str, target: proto::SignalTarget) -> Request {
    let init = serde_json::json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0 });
    Request::Trickle(proto::TrickleRequest {
        candidate_init: init.to_string(),
        target: target as i32,
        ..Default::default()
    })
}

pub(super) fn description(kind: &str, sdp: String) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.to_owned(), sdp, ..Default::default() }
}

/// The candidate line in the JSON of RTCIceCandidateInit; None for the end of candidates.
pub(super) fn candidate_of(init: &str) -> Option<String> {
    let init: serde_json::Value = serde_json::from_str(init).ok()?;
    init.get("candidate")?.as_str().filter(|c| !c.is_empty()).map(str::to_owned)
}
