//! The peer connection: its life, media and data on their way into it.

use super::{HEADROOM, LEAVE_GRACE, Live, OLDEST_START, Session};
use crate::encode::{AudioCodec, StreamInfo, Track};
use crate::output::State;
use crate::output::livekit::data::Outgoing;
use crate::output::livekit::ends::End;
use crate::output::livekit::link::Link;
use crate::output::livekit::news::{Metadata, News};
use crate::output::livekit::packets::{self, CaptureClock};
use crate::output::livekit::peer::{PeerCommand, PeerEvent};
use crate::output::livekit::tracks::Held;
use crate::output::livekit::wire::{description, trickle};
use crate::output::queue::Queued;
use livekit_protocol as proto;
use proto::signal_request::Message as Request;
use std::sync::Arc;
use std::time::Instant;
use str0m::media::MediaKind;

impl Session<'_> {
    pub(super) fn on_peer(&mut self, publisher: bool, event: Option<PeerEvent>) -> Option<End> {
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
            Some(PeerEvent::Stats(stats)) => {
                if stats.path != self.stats.path {
                    tracing::info!(destination = self.shared.name, path = stats.path, "media path");
                }
                if stats.dropped > self.stats.dropped {
                    self.starved_at = Some(Instant::now());
                }
                let unsent = stats.data_dropped.saturating_sub(self.stats.data_dropped);
                if unsent > 0 {
                    let destination = &self.shared.name;
                    tracing::warn!(destination, unsent, "data packets dropped: the channel is full");
                }
                self.stats = stats;
            }
            // Nobody sends us anything that is acted upon.
            Some(PeerEvent::KeyframeRequest(_) | PeerEvent::Data { .. }) => {}
        }
        None
    }

    pub(super) fn gone(&mut self, words: String) {
        self.gone.get_or_insert_with(|| (Instant::now() + LEAVE_GRACE, words));
        self.show_notes();
    }

    pub(super) fn go_live(&mut self) {
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
    pub(super) fn on_path(&mut self) {
        let Link::Ice { seen, .. } = self.link else {
            self.path_dead = false;
            return;
        };
        self.link = Link::Up;
        // livekit-signaling holds back all but negotiation until it hears this.
        self.outbox.reconnected();
        // What was on its way when signalling broke is lost.
        let metadata = self.memory.news.metadata();
        self.push_metadata(metadata);
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

    pub(super) fn send(&mut self, item: &Queued) {
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
    pub(super) fn follow(&mut self, info: &Arc<StreamInfo>) {
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

    pub(super) fn need_idr(&mut self) {
        if let Some(live) = &mut self.live {
            live.needs_idr = true;
        }
        self.shared.want_idr();
    }

    /// The match has changed.
    pub(super) fn relay(&mut self) {
        self.push_data(News::changes);
        if let Some(metadata) = self.memory.news.new_metadata() {
            self.push_metadata(metadata);
        }
    }

    /// Tells the participant's metadata by signalling and the room's by the API.
    fn push_metadata(&mut self, metadata: Metadata) {
        let update = proto::UpdateParticipantMetadata {
            metadata: metadata.participant.clone(),
            name: self.target.name.clone(),
            ..Default::default()
        };
        self.outbox.push(Request::UpdateMetadata(update));
        self.title = Some((Instant::now(), metadata));
        self.tell_title();
    }

    pub(super) fn push_data(&mut self, messages: impl FnOnce(&mut News) -> Vec<Outgoing>) {
        let now = Instant::now();
        for message in messages(&mut self.memory.news) {
            self.outbound.push(message, now);
        }
        self.flush_data();
    }

    pub(super) fn flush_data(&mut self) {
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
}
