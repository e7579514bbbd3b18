//! The task: str0m in the middle, sockets on one side, the session on the other.

use super::negotiate::{self, Negotiation};
use super::pace::{Gate, Pacer, Verdict};
use super::tcp::{LinkEvent, Links};
use super::turn::{RelayEvent, Relays};
use super::udp::{Arrival, UdpSockets};
use super::watchdog::Watchdog;
use super::{IcePolicy, LOSSY, PeerCommand, PeerEvent, PeerSettings, PeerStats, RELIABLE};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{Frequency, MediaTime, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::stats::CandidatePairStats;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};
use tokio::sync::{mpsc, oneshot};

/// How often the watchdog looks.
const WATCH: Duration = Duration::from_millis(250);
const STATS: Duration = Duration::from_secs(1);
/// Between sender reports.
const REPORT: Duration = Duration::from_secs(1);
/// Reliable messages and bytes that wait for their channel.
const WAITING_MESSAGES: usize = 256;
const WAITING_BYTES: usize = 1 << 20;
/// Events that wait for a session that does not read, before those that only inform are dropped.
const WAITING_EVENTS: usize = 256;
/// Media kept for resends.
const RESEND_PACKETS: usize = 2000;
const RESEND_AGE: Duration = Duration::from_secs(3);
/// How long the goodbye may take on a slow TCP connection.
const GOODBYE: Duration = Duration::from_millis(200);

pub(super) struct Task {
    pub settings: PeerSettings,
    pub rtc: Rtc,
    pub udp: UdpSockets,
    pub links: Links,
    pub relays: Relays,
    pub negotiation: Negotiation,
    events: mpsc::Sender<PeerEvent>,
    /// Events that did not fit.
    outbox: VecDeque<PeerEvent>,
    pacer: Pacer<Transmit>,
    channels: Vec<(ChannelId, bool)>,
    /// Reliable messages that wait for the channel to open or to drain.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// To be told when none is left.
    drained: Option<oneshot::Sender<()>>,
    /// Video sections whose resend cache is set.
    tuned: Vec<Mid>,
    gate: Gate,
    watchdog: Watchdog,
    /// The local address that media last went out from, and the one where RTCP has answered it.
    media_from: Option<SocketAddr>,
    proven: Option<SocketAddr>,
    /// The path died, and nothing has come back since: a relay may be what is dead.
    pub path_dead: bool,
    connected: bool,
    ice_up: bool,
    stats: PeerStats,
    pair: Option<CandidatePairStats>,
    loss: HashMap<Mid, f32>,
    rtcp_round_trip: Option<Duration>,
    next_stats: Instant,
}

/// What ended a wait.
enum Woken {
    Command(Option<PeerCommand>),
    Datagram(Arrival),
    Link(LinkEvent),
    Relay(RelayEvent),
    Told,
    Watch,
    Due,
}

/// Why the task ends: by command or not.
type End = Option<String>;

impl Task {
    pub fn new(settings: PeerSettings, events: mpsc::Sender<PeerEvent>) -> Result<Self, String> {
        let now = Instant::now();
        let mut config = RtcConfig::new().clear_codecs();
        negotiate::add_codecs(config.codec_config());
        // A dead path is found in 5 s instead of 16; 30 % loss does not look like one.
        config.set_max_stun_rto(Duration::from_millis(1000));
        config.set_max_stun_retransmits(6);
        // Players can put sound and picture together once both had a sender report: str0m's 5 s for audio is late.
        config = config.set_rtcp_report_interval_audio(REPORT).set_rtcp_report_interval_video(REPORT);
        let rtc =
            config.set_send_buffer_video(RESEND_PACKETS).set_stats_interval(Some(STATS)).enable_bwe(None).build(now);
        let mut task = Self {
            watchdog: Watchdog::new(settings.watchdog),
            media_from: None,
            proven: None,
            settings,
            rtc,
            udp: UdpSockets::default(),
            links: Links::new(),
            relays: Relays::new(),
            negotiation: Negotiation::default(),
            events,
            outbox: VecDeque::new(),
            pacer: Pacer::new(),
            channels: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            drained: None,
            tuned: Vec::new(),
            gate: Gate::default(),
            path_dead: false,
            connected: false,
            ice_up: false,
            stats: PeerStats::default(),
            pair: None,
            loss: HashMap::new(),
            rtcp_round_trip: None,
            next_stats: now + STATS,
        };
        task.gather();
        if task.udp.is_empty() && task.settings.ice == IcePolicy::Udp {
            return Err("no UDP socket can be opened on any network address of this machine".into());
        }
        if task.relays.is_empty() && task.settings.ice == IcePolicy::Relay {
            return Err(
                "the LiveKit server offers no TURN server (`turn` or `rtc.turn_servers` in its configuration)".into()
            );
        }
        Ok(task)
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<PeerCommand>) {
        let error = self.work(&mut commands).await;
        commands.close();
        if let Some(error) = &error {
            tracing::debug!(peer = %self.settings.name, error, "peer connection ended");
        }
        let _ = self.rtc.close();
        let _ = self.step(Input::Timeout(Instant::now()));
        for packet in self.pacer.flush().collect::<Vec<_>>() {
            self.transmit(packet);
        }
        tokio::join!(self.links.close(GOODBYE), self.relays.close(GOODBYE));
        // A session that neither reads nor hangs up does not keep the task.
        let _ = tokio::time::timeout(Duration::from_secs(5), async {
            for event in self.outbox.drain(..).chain([PeerEvent::Closed { error }]) {
                let _ = self.events.send(event).await;
            }
        })
        .await;
    }

    async fn work(&mut self, commands: &mut mpsc::Receiver<PeerCommand>) -> End {
        let mut buffer = vec![0; 2048];
        let mut watch = tokio::time::interval(WATCH);
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut deadline = match self.step(Input::Timeout(Instant::now())) {
            Ok(deadline) => deadline,
            Err(end) => return end,
        };
        loop {
            let due = self.pacer.due(Instant::now()).map_or(deadline, |pace| pace.min(deadline));
            let woken = tokio::select! {
                command = commands.recv() => Woken::Command(command),
                arrival = self.udp.receive(&mut buffer) => Woken::Datagram(arrival),
                event = self.links.next() => Woken::Link(event),
                event = self.relays.next() => Woken::Relay(event),
                room = self.events.reserve(), if !self.outbox.is_empty() => {
                    let Ok(room) = room else { return None };
                    if let Some(event) = self.outbox.pop_front() {
                        room.send(event);
                    }
                    Woken::Told
                }
                _ = watch.tick() => Woken::Watch,
                () = tokio::time::sleep_until(due.into()) => Woken::Due,
            };
            let step = match woken {
                Woken::Command(None | Some(PeerCommand::Close)) => return None,
                Woken::Command(Some(command)) => match self.command(command) {
                    Ok(()) => self.step(Input::Timeout(Instant::now())),
                    Err(error) => return Some(error),
                },
                Woken::Datagram(Arrival { local, source, len }) => {
                    self.received(Protocol::Udp, local, source, &buffer[..len])
                }
                Woken::Link(LinkEvent::Packet { local, remote, data }) => {
                    self.received(Protocol::Tcp, local, remote, &data)
                }
                Woken::Link(LinkEvent::Up { local, remote, .. }) => {
                    tracing::debug!(peer = %self.settings.name, %remote, "ICE over TCP: connected");
                    self.tcp_candidate(local);
                    self.step(Input::Timeout(Instant::now()))
                }
                Woken::Relay(RelayEvent::Packet { relayed, peer, data }) => {
                    self.received(Protocol::Udp, relayed, peer, &data)
                }
                Woken::Relay(RelayEvent::Up { path, relayed, local, .. }) => {
                    tracing::debug!(peer = %self.settings.name, path, "relayed address allocated");
                    self.local_candidate(Candidate::builder().udp().relayed(relayed, local).build());
                    self.step(Input::Timeout(Instant::now()))
                }
                Woken::Relay(RelayEvent::Down { error, .. }) => {
                    if self.settings.ice == IcePolicy::Relay && self.relays.is_empty() {
                        return Some(error);
                    }
                    continue;
                }
                Woken::Link(LinkEvent::Down { .. }) | Woken::Told => continue,
                Woken::Watch => {
                    self.watch(Instant::now());
                    continue;
                }
                Woken::Due => self.step(Input::Timeout(Instant::now())),
            };
            deadline = match step {
                Ok(deadline) => deadline,
                Err(end) => return end,
            };
        }
    }

    /// Gives str0m an input and sends what it has to send. Returns when it wants to be woken next.
    fn step(&mut self, input: Input<'_>) -> Result<Instant, End> {
        // One bad packet is no reason to end; what is fatal shows in `is_alive` and `poll_output`.
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(peer = %self.settings.name, %error, "input refused");
        }
        let deadline = loop {
            if !self.rtc.is_alive() {
                return Err(Some("the LiveKit server closed the media connection".into()));
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => break at,
                Ok(Output::Transmit(packet)) => match is_paced(&packet.contents) {
                    true => {
                        let size = packet.contents.len();
                        self.pacer.push(packet, size);
                    }
                    false => self.transmit(packet),
                },
                Ok(Output::Event(event)) => self.event(event),
                Err(error) => return Err(Some(format!("the media connection failed: {error}"))),
            }
        };
        let now = Instant::now();
        while let Some(packet) = self.pacer.pop(now) {
            self.transmit(packet);
        }
        if self.drained.is_some()
            && !self.holds_data()
            && let Some(tell) = self.drained.take()
        {
            // Whoever asked may have gone.
            let _ = tell.send(());
        }
        Ok(deadline)
    }

    fn received(
        &mut self,
        proto: Protocol,
        local: SocketAddr,
        source: SocketAddr,
        data: &[u8],
    ) -> Result<Instant, End> {
        let now = Instant::now();
        if is_rtcp(data) {
            // Once the path that media takes has been seen to work, what comes by another one says nothing of it.
            if self.media_from == Some(local) {
                self.proven = self.media_from;
            }
            if self.proven == Some(local) || self.proven != self.media_from {
                self.path_works();
            }
        }
        match Receive::new(proto, source, local, data) {
            Ok(receive) => self.step(Input::Receive(now, receive)),
            // Neither STUN, DTLS nor RTP: somebody else's packet.
            Err(_) => self.step(Input::Timeout(now)),
        }
    }

    fn transmit(&mut self, packet: Transmit) {
        let Transmit { proto, source, destination, contents } = packet;
        let size = contents.len() as u64;
        let media = is_rtp(&contents);
        let sent = match proto {
            Protocol::Udp => match self.relays.send(source, destination, &contents) {
                Some(sent) => sent,
                None => self.udp.send(source, destination, &contents).is_ok(),
            },
            Protocol::Tcp => self.links.send(source, destination, contents.into()),
            Protocol::SslTcp | Protocol::Tls => false,
        };
        if media {
            self.media_from = Some(source);
        }
        if sent {
            self.stats.sent += size;
        } else if media {
            self.stats.dropped += 1;
        }
    }

    fn command(&mut self, command: PeerCommand) -> Result<(), String> {
        match command {
            PeerCommand::AddTrack { kind, cid, mid } => self.add_track(kind, cid, mid),
            PeerCommand::Negotiate { ice_restart } => self.negotiate(ice_restart),
            PeerCommand::Answer(sdp) => self.answer(&sdp)?,
            PeerCommand::Offer(sdp) => self.offer(&sdp)?,
            PeerCommand::RemoteCandidate(line) => self.remote_candidate(&line),
            PeerCommand::IceServers(servers) => {
                self.settings.ice_servers = servers;
                self.gather();
            }
            PeerCommand::Video { mid, data, rtp, captured } => {
                self.watchdog.written(Instant::now());
                self.video(mid, &data, rtp, captured)?;
            }
            PeerCommand::Audio { mid, data, rtp, captured } => {
                self.watchdog.written(Instant::now());
                let time = MediaTime::new(rtp, Frequency::FORTY_EIGHT_KHZ);
                self.write(mid, Codec::Opus, time, &data, captured)?;
            }
            PeerCommand::Data { reliable, bytes } => self.data(reliable, bytes),
            PeerCommand::Drained(tell) => self.drained = Some(tell),
            PeerCommand::Close => {}
        }
        Ok(())
    }

    fn video(&mut self, mid: Mid, data: &[u8], rtp: u64, captured: Instant) -> Result<(), String> {
        let backlog = self.links.backlog().max(self.relays.backlog());
        let verdict = self.gate.admit(backlog, || nal_units(data).any(|nal| nal[0] & 0x1f == 5));
        if verdict != Verdict::Send {
            self.stats.dropped += 1;
            if verdict == Verdict::DropAndAsk {
                self.tell(PeerEvent::KeyframeRequest(mid));
            }
            return Ok(());
        }
        if !self.tuned.contains(&mid)
            && let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None)
        {
            // str0m drops queued resends beyond 15 % of the traffic: at 15 % loss that freezes the picture.
            stream.set_rtx_cache(RESEND_PACKETS, RESEND_AGE, None);
            self.tuned.push(mid);
        }
        self.write(mid, Codec::H264, MediaTime::new(rtp, Frequency::NINETY_KHZ), data, captured)
    }

    /// Hands media to str0m. `captured` becomes the wall clock of its sender reports: both tracks on one clock.
    fn write(&mut self, mid: Mid, codec: Codec, time: MediaTime, data: &[u8], captured: Instant) -> Result<(), String> {
        if !self.rtc.is_connected() {
            return Ok(());
        }
        let Some(writer) = self.rtc.writer(mid) else { return Ok(()) };
        // Decoders go by the SPS; the first H.264 format, constrained baseline, is the one that every subscriber negotiates.
        let Some(pt) = writer.payload_params().find(|p| p.spec().codec == codec).map(|p| p.pt()) else {
            return Err(format!("the LiveKit server does not take {codec} (its enabled codecs have to contain it)"));
        };
        if let Err(error) = writer.write(pt, captured, time, data) {
            tracing::debug!(peer = %self.settings.name, %error, "media not written");
            self.stats.dropped += 1;
        }
        Ok(())
    }

    fn data(&mut self, reliable: bool, bytes: Vec<u8>) {
        if !reliable {
            self.stats.data_dropped += u64::from(!self.write_data(false, &bytes));
            return;
        }
        if self.waiting.is_empty() && self.write_data(true, &bytes) {
            return;
        }
        if self.waiting.len() >= WAITING_MESSAGES || self.waiting_bytes + bytes.len() > WAITING_BYTES {
            tracing::debug!(peer = %self.settings.name, "too many data messages wait: one is dropped");
            self.stats.data_dropped += 1;
            return;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    fn write_data(&mut self, reliable: bool, bytes: &[u8]) -> bool {
        let Some(id) = self.channels.iter().find(|c| c.1 == reliable).map(|c| c.0) else { return false };
        self.rtc.channel(id).is_some_and(|mut channel| channel.write(true, bytes).unwrap_or(false))
    }

    /// Whether reliable data is not acknowledged yet.
    fn holds_data(&mut self) -> bool {
        let Some(id) = self.channels.iter().find(|c| c.1).map(|c| c.0) else { return false };
        !self.waiting.is_empty() || self.rtc.channel(id).is_some_and(|mut channel| channel.buffered_amount() > 0)
    }

    fn write_waiting(&mut self) {
        while let Some(bytes) = self.waiting.pop_front() {
            if !self.write_data(true, &bytes) {
                self.waiting.push_front(bytes);
                return;
            }
            self.waiting_bytes -= bytes.len();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.ice_up = true;
                self.path_works();
                self.tell(PeerEvent::Connected);
            }
            Event::IceConnectionStateChange(state) => self.ice_state(state),
            Event::KeyframeRequest(request) => self.tell(PeerEvent::KeyframeRequest(request.mid)),
            Event::ChannelOpen(id, label) => {
                let reliable = match label.as_str() {
                    RELIABLE => true,
                    LOSSY => false,
                    _ => return,
                };
                self.channels.retain(|c| c.0 != id);
                self.channels.push((id, reliable));
                self.tell(PeerEvent::DataOpen { reliable });
                self.write_waiting();
            }
            Event::ChannelClose(id) => self.channels.retain(|c| c.0 != id),
            Event::ChannelData(message) => {
                if let Some((_, reliable)) = self.channels.iter().find(|c| c.0 == message.id) {
                    self.tell(PeerEvent::Data { reliable: *reliable, bytes: message.data });
                }
            }
            Event::PeerStats(stats) => self.pair = stats.selected_candidate_pair,
            Event::MediaEgressStats(stats) => {
                self.rtcp_round_trip = stats.rtt.or(self.rtcp_round_trip);
                match stats.loss {
                    Some(loss) => self.loss.insert(stats.mid, loss),
                    None => self.loss.remove(&stats.mid),
                };
            }
            _ => {}
        }
    }

    fn ice_state(&mut self, state: IceConnectionState) {
        tracing::debug!(peer = %self.settings.name, ?state, "ICE");
        match state {
            IceConnectionState::Connected | IceConnectionState::Completed => {
                if self.connected && !self.ice_up {
                    self.ice_up = true;
                    self.path_works();
                    self.tell(PeerEvent::IceUp);
                }
            }
            IceConnectionState::Disconnected => {
                self.ice_up = false;
                self.path_died();
            }
            IceConnectionState::New | IceConnectionState::Checking => self.ice_up = false,
        }
    }

    fn path_works(&mut self) {
        self.watchdog.arm();
        self.path_dead = false;
    }

    fn path_died(&mut self) {
        self.watchdog.disarm();
        self.path_dead = true;
        self.tell(PeerEvent::PathDead);
    }

    /// The watchdog and the once-a-second figures.
    fn watch(&mut self, now: Instant) {
        if self.watchdog.alarm() {
            tracing::debug!(peer = %self.settings.name, "no RTCP: the path is taken to be dead");
            self.path_died();
        }
        self.write_waiting();
        if self.connected && now >= self.next_stats {
            self.next_stats = now + STATS;
            self.stats.path = self.path();
            let by_ice = self.pair.as_ref().and_then(|pair| pair.current_round_trip_time);
            self.stats.round_trip = by_ice.or(self.rtcp_round_trip);
            self.stats.loss = self.loss.values().copied().reduce(f32::max);
            self.tell(PeerEvent::Stats(self.stats.clone()));
        }
    }

    fn path(&self) -> &'static str {
        match &self.pair {
            Some(pair) if pair.protocol == Protocol::Tcp => "tcp",
            Some(pair) => self.relays.path(pair.local.addr).unwrap_or("udp"),
            None => "",
        }
    }

    /// Tells the session, without waiting. When it does not read, events that only inform are dropped.
    pub fn tell(&mut self, event: PeerEvent) {
        let event = match self.outbox.is_empty() {
            true => match self.events.try_send(event) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) => event,
            },
            false => event,
        };
        let informs = matches!(event, PeerEvent::Stats(_) | PeerEvent::KeyframeRequest(_) | PeerEvent::Data { .. });
        if !informs || self.outbox.len() < WAITING_EVENTS {
            self.outbox.push_back(event);
        }
    }
}

/// RTP or RTCP (RFC 7983: first byte 128 to 191).
fn is_rtp_or_rtcp(data: &[u8]) -> bool {
    data.len() > 2 && (128..192).contains(&data[0])
}

/// RTCP by its packet type (RFC 5761: 192 to 223).
fn is_rtcp(data: &[u8]) -> bool {
    is_rtp_or_rtcp(data) && (192..224).contains(&data[1])
}

fn is_rtp(data: &[u8]) -> bool {
    is_rtp_or_rtcp(data) && !is_rtcp(data)
}

/// Video waits its turn; sound and everything small goes ahead.
fn is_paced(data: &[u8]) -> bool {
    is_rtp(data) && negotiate::is_video(data[1] & 0x7f)
}

/// The NAL units of an Annex B access unit, none empty.
fn nal_units(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = |data: &[u8]| data.windows(3).position(|w| w == [0, 0, 1]);
    data = start(data).map_or(&[], |at| &data[at + 3..]);
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let next = start(data);
        let (nal, rest) = next.map_or((data, &[][..]), |at| (&data[..at], &data[at + 3..]));
        data = rest;
        Some(nal)
    })
    .filter(|nal| !nal.is_empty())
}
