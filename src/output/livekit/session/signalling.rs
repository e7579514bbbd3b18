//! What the server says by signalling, and the way back when that is lost.

use super::{GREETED, ICE_DEADLINE, RESUME_SETTLED, Session};
use crate::output::livekit::ends::{self, End};
use crate::output::livekit::join;
use crate::output::livekit::link::{Link, NotRestarted, Step, resume_pause};
use crate::output::livekit::peer::{Peer, PeerCommand, PeerSettings};
use crate::output::livekit::tracks::{Change, Tracks};
use crate::output::livekit::wire::{candidate_of, description};
use livekit_protocol as proto;
use livekit_signaling::SignalEvent;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::Instant;
use str0m::media::MediaKind;
use tokio::sync::oneshot;

impl Session<'_> {
    pub(super) async fn on_signal(&mut self, message: Response) -> Option<End> {
        match message {
            Response::Answer(answer) => self.command(PeerCommand::Answer(answer.sdp)),
            Response::Offer(offer) => return self.on_offer(offer.sdp).await,
            Response::Trickle(trickle) => {
                let candidate = candidate_of(&trickle.candidate_init)?;
                if trickle.target() == proto::SignalTarget::Publisher {
                    self.command(PeerCommand::RemoteCandidate(candidate));
                } else if let Some(peer) = &self.subscriber {
                    let _ = peer.commands.try_send(PeerCommand::RemoteCandidate(candidate));
                }
            }
            Response::TrackPublished(response) => {
                let last = self.tracks.published(response);
                if last {
                    self.add_tracks();
                }
            }
            Response::Update(update) => {
                let joined = self.memory.audience.update(&self.me.identity, &update.participants);
                self.tell_viewers();
                self.newcomers.extend(joined);
                // Nobody needs names beyond those that are called by name.
                self.newcomers.truncate(GREETED + 1);
                if self.live.is_some() {
                    self.greet();
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

    pub(super) fn on_change(&mut self, change: Change) {
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
    pub(super) fn add_tracks(&mut self) {
        let tracks: Vec<_> = self.tracks.iter().map(|t| (t.kind, t.cid.clone())).collect();
        for (kind, cid) in tracks {
            let (mid, told) = oneshot::channel();
            self.command(PeerCommand::AddTrack { kind, cid, mid });
            self.mids.push((kind, told));
        }
        self.command(PeerCommand::Negotiate { ice_restart: false });
    }

    pub(super) fn take_mids(&mut self) {
        for (kind, told) in &mut self.mids {
            if let Ok(mid) = told.try_recv() {
                self.tracks.set_mid(*kind, mid);
            }
        }
    }

    pub(super) async fn on_offer(&mut self, sdp: String) -> Option<End> {
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

    /// Begins to resume, unless that is under way already. Before the media path stands there is nothing to save.
    pub(super) fn resume(&mut self, reason: proto::ReconnectReason) -> Option<End> {
        if self.live.is_none() {
            return Some(End::Lost("the LiveKit server broke off the connection".to_owned()));
        }
        if self.gone.is_some() || !matches!(self.link, Link::Up | Link::Ice { .. }) {
            return None;
        }
        let settled = self.resumed_at.is_none_or(|at| at.elapsed() >= RESUME_SETTLED);
        self.resume_attempts = if settled { 0 } else { self.resume_attempts + 1 };
        self.outbox.clear();
        self.link = Link::close(&self.signal, reason);
        self.show_notes();
        None
    }

    pub(super) async fn on_link(&mut self, step: Step) -> Option<End> {
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
                match self.resume_attempts {
                    0 => self.restart(reason),
                    n => self.link = Link::Pausing(Instant::now() + resume_pause(n - 1), reason),
                }
            }
            Step::Restarted(reason, Ok(response)) => {
                self.resumed_at = Some(Instant::now());
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
            Step::Restarted(_, Err(NotRestarted::Replaced)) => return Some(ends::taken_over(&self.target.identity)),
            Step::Restarted(reason, Err(NotRestarted::Failed(error))) => {
                let end = ends::from_signal(&error, self.target.server.host(), &self.target.identity);
                if ends::ends_resume(&error) || self.path_dead {
                    return Some(end);
                }
                let pause = resume_pause(self.resume_attempts);
                self.resume_attempts += 1;
                self.link = Link::Pausing(Instant::now() + pause, reason);
                self.show_notes();
            }
            // Whoever closed the media connection is about to say why.
            Step::Again(_) if self.gone.is_some() => self.link = Link::Up,
            Step::Again(reason) => self.restart(reason),
            Step::IceTooLate => {
                return Some(End::Lost("the media path did not come back; joining anew".to_owned()));
            }
        }
        None
    }

    fn restart(&mut self, reason: proto::ReconnectReason) {
        let (target, memory) = (self.target.clone(), &self.memory);
        let (rooms, ourselves) = (memory.rooms.clone(), memory.ourselves.clone());
        let replaced = async move { join::is_replaced(&rooms, &target, &ourselves).await };
        self.link = Link::restart(&self.signal, reason, replaced);
    }

    pub(super) fn sync_state(&self) -> proto::SyncState {
        let sdp = |kind: &str, sdp: &Option<String>| sdp.clone().map(|sdp| description(kind, sdp));
        proto::SyncState {
            offer: sdp("offer", &self.subscriber_sdp.0),
            answer: sdp("answer", &self.subscriber_sdp.1),
            publish_tracks: self.tracks.for_sync(),
            ..Default::default()
        }
    }
}
