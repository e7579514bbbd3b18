//! Whether media would flow: joins a room of its own, brings a peer connection up, leaves. For `check`.

use super::ends::End;
use super::join::{self, Joined};
use super::peer::{Peer, PeerCommand, PeerEvent, PeerSettings, PeerStats};
use super::wire::{candidate_of, description, trickle};
use super::{IcePolicy, RoomTarget};
use crate::livekit::Server;
use crate::livekit::rooms::Rooms;
use livekit_protocol as proto;
use livekit_signaling::SignalEvent;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use std::time::Duration;

/// From the join to a media path. A relay that answers slowly needs several round trips.
const DEADLINE: Duration = Duration::from_secs(12);
/// From the path to its first statistics.
const STATISTICS: Duration = Duration::from_secs(3);

/// The way that media would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReport {
    /// `udp`, `tcp`, `turn udp`, `turn tcp` or `turn tls`.
    pub path: &'static str,
    /// To the server and back; None where nothing has measured it yet.
    pub round_trip: Option<Duration>,
}

/// Finds the media path to a server. Opens a room of its own and deletes it again. Takes up to 30 s, on a tokio runtime.
///
/// # Errors
/// What stands in the way, in plain words.
pub async fn probe(server: &Server, policy: IcePolicy) -> Result<PathReport, String> {
    let target = RoomTarget {
        server: server.clone(),
        room: format!("agentcast-check-{:08x}", fastrand::u32(..)),
        identity: "agentcast-check".to_owned(),
        name: String::new(),
        title: String::new(),
    };
    let rooms = Rooms::new(server);
    rooms.ensure(&target.room, "").await.map_err(|e| e.to_string())?;
    let report = match join::join(&target, String::new()).await {
        Ok(joined) => look(joined, policy).await,
        Err(End::Refused(words) | End::Final(words) | End::Lost(words)) => Err(words),
        Err(End::Stopped) => Err("stopped".to_owned()),
    };
    if let Err(e) = rooms.delete(&target.room).await {
        tracing::debug!("the room of the check stays until it is empty long enough: {e}");
    }
    report
}

async fn look(mut joined: Joined, policy: IcePolicy) -> Result<PathReport, String> {
    let settings = PeerSettings {
        name: "check".to_owned(),
        publisher: true,
        ice: policy,
        ice_servers: std::mem::take(&mut joined.response.ice_servers),
        server: std::mem::take(&mut joined.addresses),
        watchdog: DEADLINE,
    };
    let report = match Peer::open(settings).await {
        Ok(mut peer) => {
            let found = tokio::time::timeout(DEADLINE, connect(&mut joined, &mut peer)).await;
            let found = match found {
                Ok(Ok(())) => Ok(statistics(&mut peer).await),
                Ok(Err(words)) => Err(words),
                Err(_) => Err(no_path(policy)),
            };
            let _ = peer.commands.try_send(PeerCommand::Close);
            found
        }
        Err(words) => Err(words),
    };
    join::leave(&joined.signal).await;
    report
}

async fn connect(joined: &mut Joined, peer: &mut Peer) -> Result<(), String> {
    let gone = || "the media connection ended before it stood".to_owned();
    let tell = |command| peer.commands.try_send(command).map_err(|_| gone());
    tell(PeerCommand::Negotiate { ice_restart: false })?;
    loop {
        tokio::select! {
            event = joined.events.recv() => match event {
                Some(SignalEvent::Message(message)) => match *message {
                    Response::Answer(answer) => tell(PeerCommand::Answer(answer.sdp))?,
                    Response::Trickle(t) if t.target() == proto::SignalTarget::Publisher => {
                        if let Some(candidate) = candidate_of(&t.candidate_init) {
                            tell(PeerCommand::RemoteCandidate(candidate))?;
                        }
                    }
                    Response::Leave(_) => return Err("the LiveKit server ended the session".to_owned()),
                    _ => {}
                },
                Some(SignalEvent::Close(_)) | None => return Err("the LiveKit server broke off the connection".to_owned()),
            },
            event = peer.events.recv() => match event {
                Some(PeerEvent::Offer(sdp)) => joined.signal.send(Request::Offer(description("offer", sdp))).await,
                Some(PeerEvent::LocalCandidate(candidate)) => {
                    joined.signal.send(trickle(&candidate, proto::SignalTarget::Publisher)).await;
                }
                Some(PeerEvent::Connected) => return Ok(()),
                Some(PeerEvent::Closed { error }) => return Err(error.unwrap_or_else(gone)),
                None => return Err(gone()),
                Some(_) => {}
            },
        }
    }
}

/// The last statistics that came within the time; those with a round trip end the wait.
async fn statistics(peer: &mut Peer) -> PathReport {
    let mut last = PeerStats::default();
    let wait = async {
        while let Some(event) = peer.events.recv().await {
            if let PeerEvent::Stats(stats) = event {
                last = stats;
                if last.round_trip.is_some() {
                    return;
                }
            }
        }
    };
    let _ = tokio::time::timeout(STATISTICS, wait).await;
    PathReport { path: last.path, round_trip: last.round_trip }
}

fn no_path(policy: IcePolicy) -> String {
    let (way, advice) = match policy {
        IcePolicy::All => {
            ("", "check the server's UDP and TCP media ports (7882 and 7881 unless configured), and firewalls")
        }
        IcePolicy::Udp => (" by UDP", "a firewall may block it; TCP or TURN may work all the same"),
        IcePolicy::Tcp => (" by TCP", "check that the server's ICE/TCP port (7881 unless configured) is open"),
        IcePolicy::Relay => (" through TURN", "the server may offer none, or its ports are closed"),
    };
    format!("no media path to the LiveKit server{way} within {} s: {advice}", DEADLINE.as_secs())
}
