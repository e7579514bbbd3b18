//! Offers, answers, candidates. One offer is pending at a time; what comes in between waits for its answer.

use super::task::Task;
use super::{IcePolicy, LOSSY, PeerEvent, RELIABLE};
use std::net::{IpAddr, SocketAddr};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::format::CodecConfig;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, TcpType};
use str0m::{Candidate, CandidateKind};
use tokio::sync::oneshot;

/// Remote candidates kept; further ones are not needed to find a path.
const MAX_CANDIDATES: usize = 64;
/// The msid stream id of our tracks: one group, so that a player keeps sound and picture together.
const STREAM_ID: &str = "agentcast";

/// Where negotiation is.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    pending: Option<SdpPendingOffer>,
    /// Sections for the next offer.
    added: Vec<Section>,
    /// A further offer was asked for while one was pending.
    again: bool,
    /// The server's description is known, so its candidates can be used.
    remote_known: bool,
    waiting_candidates: Vec<Candidate>,
    /// Our description went out: candidates found later are trickled.
    described: bool,
    channels_made: bool,
}

#[derive(Debug)]
struct Section {
    kind: MediaKind,
    cid: String,
    mid: oneshot::Sender<Mid>,
}

/// The H.264 formats that LiveKit's media engine registers, packetization mode 1: payload type, its RTX, profile-level-id.
const H264: [(u8, u8, u32); 3] = [(125, 126, 0x42e01f), (108, 109, 0x42001f), (123, 124, 0x640032)];

/// Adds the formats that we can send.
pub(super) fn add_codecs(codecs: &mut CodecConfig) {
    codecs.enable_opus(true, false);
    for (pt, rtx, profile) in H264 {
        codecs.add_h264(pt.into(), Some(rtx.into()), true, profile);
    }
}

/// Whether an RTP payload type is one of our video formats or its resends.
pub(super) fn is_video(payload_type: u8) -> bool {
    H264.iter().any(|(pt, rtx, _)| payload_type == *pt || payload_type == *rtx)
}

impl Task {
    pub fn add_track(&mut self, kind: MediaKind, cid: String, mid: oneshot::Sender<Mid>) {
        self.negotiation.added.push(Section { kind, cid, mid });
    }

    /// Makes an offer, or remembers to when the answer to the pending one has come. An ICE restart does not wait.
    pub fn negotiate(&mut self, ice_restart: bool) {
        if ice_restart {
            // It follows a restart of signalling, with which the answer to an earlier offer was lost.
            (self.negotiation.pending, self.negotiation.again) = (None, false);
        } else if self.negotiation.pending.is_some() {
            self.negotiation.again = true;
            return;
        }
        if ice_restart {
            self.links.forget_dialled();
            // The reason may be that this machine moved to another network.
            self.gather();
        }
        let mut api = self.rtc.sdp_api();
        if self.settings.publisher && !self.negotiation.channels_made {
            self.negotiation.channels_made = true;
            for (label, reliable) in [(RELIABLE, true), (LOSSY, false)] {
                api.add_channel_with_config(ChannelConfig {
                    label: label.into(),
                    ordered: reliable,
                    reliability: match reliable {
                        true => Reliability::Reliable,
                        false => Reliability::MaxRetransmits { retransmits: 0 },
                    },
                    negotiated: None,
                    protocol: String::new(),
                });
            }
        }
        for Section { kind, cid, mid } in self.negotiation.added.drain(..) {
            let added = api.add_media(kind, Direction::SendOnly, Some(STREAM_ID.into()), Some(cid), None);
            let _ = mid.send(added);
        }
        if ice_restart {
            api.ice_restart(true);
        }
        if let Some((offer, pending)) = api.apply() {
            self.negotiation.pending = Some(pending);
            self.negotiation.described = true;
            self.tell(PeerEvent::Offer(offer.to_sdp_string()));
        }
    }

    /// # Errors
    /// In plain words, when the answer cannot be used. The connection is then in an unknown state and must end.
    pub fn answer(&mut self, sdp: &str) -> Result<(), String> {
        let Some(pending) = self.negotiation.pending.take() else {
            tracing::debug!("an answer without an offer is ignored");
            return Ok(());
        };
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|e| bad("answer", &e))?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|e| bad("answer", &e))?;
        self.remote_described(sdp);
        if std::mem::take(&mut self.negotiation.again) {
            self.negotiate(false);
        }
        Ok(())
    }

    /// # Errors
    /// In plain words, when the offer cannot be used.
    pub fn offer(&mut self, sdp: &str) -> Result<(), String> {
        let offer = SdpOffer::from_sdp_string(sdp).map_err(|e| bad("offer", &e))?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|e| bad("offer", &e))?;
        self.negotiation.described = true;
        self.remote_described(sdp);
        self.tell(PeerEvent::Answer(answer.to_sdp_string()));
        Ok(())
    }

    fn remote_described(&mut self, sdp: &str) {
        self.negotiation.remote_known = true;
        // str0m pairs the candidates in the description by itself; a passive TCP one has to be dialled as well.
        for line in
            sdp.lines().filter_map(|line| line.trim().strip_prefix("a=")).filter(|l| l.starts_with("candidate:"))
        {
            if let Ok(candidate) = Candidate::from_sdp_string(line) {
                self.dial(&candidate);
            }
        }
        for candidate in std::mem::take(&mut self.negotiation.waiting_candidates) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// A candidate line that is no candidate is left out: the others may do.
    pub fn remote_candidate(&mut self, line: &str) {
        let line = line.trim().trim_start_matches("a=");
        let Ok(candidate) = Candidate::from_sdp_string(line) else {
            tracing::debug!("a candidate of the server cannot be read");
            return;
        };
        if !usable(&candidate, self.settings.ice) {
            return;
        }
        self.dial(&candidate);
        if self.negotiation.remote_known && self.negotiation.pending.is_none() {
            self.rtc.add_remote_candidate(candidate);
        } else if self.negotiation.waiting_candidates.len() < MAX_CANDIDATES {
            self.negotiation.waiting_candidates.push(candidate);
        }
    }

    fn dial(&mut self, candidate: &Candidate) {
        let passive = candidate.proto() == Protocol::Tcp && candidate.tcptype() == Some(TcpType::Passive);
        if passive && usable(candidate, self.settings.ice) && self.settings.ice != IcePolicy::Relay {
            self.links.dial(candidate.addr());
        }
    }

    /// Opens UDP sockets on the local addresses that have none, and relays on the TURN servers that have none. After a dead
    /// path every TURN server gets a fresh one.
    pub fn gather(&mut self) {
        if std::mem::take(&mut self.path_dead) {
            self.relays.distrust();
        }
        if matches!(self.settings.ice, IcePolicy::All | IcePolicy::Relay) {
            let v6 = !self.settings.server.is_empty() && self.settings.server.iter().all(SocketAddr::is_ipv6);
            self.relays.start(&self.settings.ice_servers, v6);
        }
        if !matches!(self.settings.ice, IcePolicy::All | IcePolicy::Udp) {
            return;
        }
        let addresses: Vec<IpAddr> = super::udp::local_addresses(&self.settings.server);
        for local in self.udp.add(&addresses) {
            self.local_candidate(Candidate::builder().udp().host(local).build());
        }
    }

    /// The local end of a connection that was dialled.
    pub fn tcp_candidate(&mut self, local: SocketAddr) {
        self.local_candidate(Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build());
    }

    pub fn local_candidate(&mut self, candidate: Result<Candidate, str0m::error::IceError>) {
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => return tracing::debug!(%error, "a local address is no candidate"),
        };
        if let Some(added) = self.rtc.add_local_candidate(candidate).map(Candidate::to_sdp_string)
            && self.negotiation.described
        {
            self.tell(PeerEvent::LocalCandidate(added));
        }
    }
}

/// Whether a candidate of the server can lead anywhere under a policy.
fn usable(candidate: &Candidate, policy: IcePolicy) -> bool {
    let ip = candidate.addr().ip();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local || ip.is_unspecified() || ip.is_multicast() || candidate.addr().port() == 0 {
        return false;
    }
    match candidate.proto() {
        Protocol::Udp => policy != IcePolicy::Tcp,
        Protocol::Tcp => matches!(policy, IcePolicy::All | IcePolicy::Tcp) && candidate.kind() == CandidateKind::Host,
        _ => false,
    }
}

/// Names the description and what is wrong with it; never shows it, since it holds credentials.
fn bad(what: &str, error: &dyn std::fmt::Display) -> String {
    let reason: String = error.to_string().chars().take(120).collect();
    format!("the LiveKit server's {what} cannot be used ({reason})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(line: &str) -> Candidate {
        Candidate::from_sdp_string(line).unwrap()
    }

    #[test]
    fn policy_decides_which_candidates_of_the_server_are_used() {
        let udp = candidate("candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host");
        let tcp = candidate("candidate:2 1 tcp 1671430143 192.0.2.1 7881 typ host tcptype passive");
        let relay = candidate("candidate:3 1 udp 16777215 192.0.2.9 50000 typ relay raddr 0.0.0.0 rport 0");
        let used = |policy| [&udp, &tcp, &relay].map(|c| usable(c, policy));
        assert_eq!(used(IcePolicy::All), [true, true, true]);
        assert_eq!(used(IcePolicy::Udp), [true, false, true]);
        assert_eq!(used(IcePolicy::Tcp), [false, true, false]);
        assert_eq!(used(IcePolicy::Relay), [true, false, true]);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_left_out() {
        for line in [
            "candidate:1 1 udp 1 169.254.1.1 7882 typ host",
            "candidate:1 1 udp 1 fe80::1 7882 typ host",
            "candidate:1 1 udp 1 192.0.2.1 0 typ host",
        ] {
            assert!(!usable(&candidate(line), IcePolicy::All), "{line}");
        }
    }

    #[test]
    fn video_is_told_from_opus_by_payload_type() {
        assert!([125, 126, 108, 109, 123, 124].into_iter().all(is_video));
        assert!(!is_video(111));
    }
}
