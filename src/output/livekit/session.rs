//! One stay in a room: one task that moves media, signalling and data between the queue, the server and the peer connection.
//!
//! | file | what |
//! |---|---|
//! | `session` | the loop, its chores, the status |
//! | `signalling` | what the server says; the way back of signalling |
//! | `flow` | the peer connection: media, data |
//!
//! Nothing in its loop waits for the network: whatever does is one of the branches of [`Session::happens`], so that media
//! goes on while signalling is lost, resumes or stalls.

mod flow;
mod signalling;

use super::audience::Audience;
use super::data::Outbound;
use super::ends::End;
use super::join::{self, Joined, Ourselves};
use super::link::{Link, Step};
use super::news::{Metadata, News};
use super::outbox::Outbox;
use super::packets::CaptureClock;
use super::peer::{Peer, PeerCommand, PeerEvent, PeerSettings, PeerStats};
use super::tracks::{Holds, Tracks};
use super::{RoomOptions, RoomTarget, Shared};
use crate::encode::StreamInfo;
use crate::livekit::rooms::Rooms;
use crate::output::State;
use crate::output::queue::Queued;
use livekit_protocol as proto;
use livekit_signaling::{SignalClient, SignalEvent, SignalEvents};
use proto::signal_request::Message as Request;
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
/// Until the media that was handed to the peer connection is on the wire.
const LAST_PACKETS: Duration = Duration::from_millis(50);
/// Until the server has the last data packets: it drops what comes after the Leave.
const LAST_DATA: Duration = Duration::from_millis(300);
/// Between two rounds of telling newcomers the match.
const GREET_PAUSE: Duration = Duration::from_millis(500);
/// More newcomers at once are not named one by one.
const GREETED: usize = 64;
/// Until a title that could not be told is told again.
const TITLE_PAUSE: Duration = Duration::from_secs(3);
/// A resume that comes sooner after the last one waits: something breaks what it builds.
const RESUME_SETTLED: Duration = Duration::from_secs(10);
/// The share of lost packets that an operator should know of.
const LOSS: f32 = 0.05;

/// What outlives a stay.
pub(super) struct Memory {
    /// One for all stays: making one reads all certificates.
    pub rooms: Arc<Rooms>,
    pub holds: Holds,
    pub audience: Audience,
    pub news: News,
    pub ourselves: Ourselves,
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
    /// In a row.
    resume_attempts: u32,
    /// When the server last let us resume.
    resumed_at: Option<Instant>,
    /// Nothing comes back on the media path.
    path_dead: bool,
    began: Instant,
    live: Option<Live>,
    /// When to give up on a peer connection that is gone, and why.
    gone: Option<(Instant, String)>,
    stats: PeerStats,
    /// When the peer connection last had to drop media.
    starved_at: Option<Instant>,
    chores_at: Instant,
    /// Who came and was not told of the match yet, and when somebody last was.
    newcomers: Vec<String>,
    greeted_at: Option<Instant>,
    /// What the room shall be told of the stream, and when.
    title: Option<(Instant, Metadata)>,
    /// The one call that tells it; gives back what could not be told. It ends with the stay.
    telling: JoinSet<Option<Metadata>>,
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
        memory.ourselves.sid.clone_from(&me.sid);
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
            resumed_at: None,
            path_dead: false,
            began: Instant::now(),
            live: None,
            gone: None,
            stats: PeerStats::default(),
            starved_at: None,
            chores_at: Instant::now() + HOUSEKEEPING,
            newcomers: Vec::new(),
            greeted_at: None,
            title: None,
            telling: JoinSet::new(),
        };
        if session.tracks.all_published() {
            // All was unpublished by the server: only data is left.
            session.command(PeerCommand::Negotiate { ice_restart: false });
        }
        session.tell_viewers();
        Ok(session)
    }

    /// Stays until something ends it. Returns signalling, for [`join::leave`], the peer connections, to be closed, and how
    /// long media could flow.
    pub async fn run(mut self) -> (End, Arc<SignalClient>, Vec<Peer>, Duration) {
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
            let by = tokio::time::Instant::now() + left;
            let (drained, done) = oneshot::channel();
            self.command(PeerCommand::Drained(drained));
            // A channel that never opened, or a peer connection that is gone, answers with an error at once.
            let data = tokio::time::timeout((left / 2).min(LAST_DATA), done);
            let _ = tokio::join!(tokio::time::sleep((left / 2).min(LAST_PACKETS)), data);
            let _ = tokio::time::timeout_at(by, join::leave(&self.signal)).await;
        }
        let peers = [Some(self.publisher), self.subscriber].into_iter().flatten().collect();
        (end, self.signal, peers, lived)
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
        let at = self.gone.as_ref().map_or(self.chores_at, |(at, _)| self.chores_at.min(*at));
        let greet = self.greeted_at.filter(|_| !self.newcomers.is_empty()).map(|at| at + GREET_PAUSE);
        greet.map_or(at, |greet| at.min(greet))
    }

    async fn handle(&mut self, happened: Happened) -> Option<End> {
        match happened {
            Happened::Stop => return Some(End::Stopped),
            Happened::Signal(None) => return Some(End::Lost("signalling ended".to_owned())),
            Happened::Signal(Some(SignalEvent::Message(message))) => return self.on_signal(*message).await,
            Happened::Signal(Some(SignalEvent::Close(why))) => {
                // Closing what is left of it, for a resume that is under way, says so too.
                if self.link.carries() {
                    tracing::info!(destination = self.shared.name, "signalling lost: {why}");
                }
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
        self.greet();
        self.tell_title();
        self.flush_data();
        self.show_notes();
        None
    }

    /// Tells newcomers the match, several of them together: a board may be large, and it goes the way of the picture.
    fn greet(&mut self) {
        let early = self.greeted_at.is_some_and(|at| at.elapsed() < GREET_PAUSE);
        if self.newcomers.is_empty() || early {
            return;
        }
        let newcomers = std::mem::take(&mut self.newcomers);
        // So many addresses are longer than the message; everybody may know.
        let to = if newcomers.len() > GREETED { &[][..] } else { &newcomers[..] };
        self.greeted_at = Some(Instant::now());
        self.push_data(|news| news.snapshot(to));
    }

    /// Tells the room the newest title, until it is told.
    fn tell_title(&mut self) {
        while let Some(told) = self.telling.try_join_next() {
            if let Ok(Some(metadata)) = told
                && self.title.is_none()
            {
                self.title = Some((Instant::now() + TITLE_PAUSE, metadata));
            }
        }
        let now = Instant::now();
        if !self.telling.is_empty() {
            return;
        }
        let Some((_, metadata)) = self.title.take_if(|(at, _)| *at <= now) else { return };
        let (rooms, room, name) = (self.memory.rooms.clone(), self.target.room.clone(), self.shared.name.clone());
        self.telling.spawn(async move {
            let told = rooms.set_metadata(&room, &metadata.room.to_json()).await;
            let error = told.err()?;
            tracing::warn!(destination = name, "the room's title was not changed, it is tried again: {error}");
            Some(metadata)
        });
    }

    /// Hands a command to the peer connection. A full channel means that its task hangs, which the watchdog finds.
    fn command(&self, command: PeerCommand) {
        if self.publisher.commands.try_send(command).is_err() && self.gone.is_none() {
            tracing::warn!(destination = self.shared.name, "the peer connection takes no commands");
        }
    }

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
        let slow = self.starved_at.is_some_and(|at| at.elapsed() < super::SLOW_FOR).then(|| super::SLOW.to_owned());
        let note =
            signalling.or_else(|| self.memory.holds.words()).or(loss).or(slow).or_else(|| self.memory.news.trouble());
        let mut life = self.shared.life();
        life.note = note;
        if self.live.is_some() {
            let away = self.path_dead || self.gone.is_some();
            life.state = if away { State::Reconnecting } else { State::Live };
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
