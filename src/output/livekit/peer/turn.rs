//! TURN (RFC 8656): a relayed address on a server in between, reached over UDP, TCP or TLS.
//!
//! Each server of the join response gets a task of its own with its connection and the protocol's state. The protocol
//! crate's own TCP mode is not used: it does not pad channel data to four bytes, which a stream demands. Here it thinks in
//! datagrams, and [`read_frames`] and [`write_frames`] make them out of the stream. `connect` finds the way to the server.

mod connect;

use crate::livekit::error::tls_trouble;
use connect::{Connection, Wire, connect};
use livekit_protocol as proto;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use turn_client_proto::api::{Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::DelayedTransmitBuild as _;
use turn_client_proto::stun::Instant as TurnInstant;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

/// Resolving, connecting and the TLS handshake together.
const CONNECT: Duration = Duration::from_secs(5);
/// From the connection to the allocation.
const ALLOCATE: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_millis(200);
/// The protocol crate's pause between two requests.
const CADENCE: Duration = Duration::from_millis(50);
/// Servers used; further ones would only be further ways to the same place.
const MAX_RELAYS: usize = 6;
/// Packets that wait for a slow connection.
const QUEUE: usize = 512;
/// Packets to one address that wait for its permission.
const WAITING: usize = 16;

/// A packet and the address of the other side.
type Packet = (SocketAddr, Vec<u8>);

/// What a relay's task hands to the peer's.
#[derive(Debug)]
pub(super) enum RelayEvent {
    /// The server gave us `relayed`; we talk to it from `local`.
    Up {
        id: u64,
        path: &'static str,
        relayed: SocketAddr,
        local: SocketAddr,
        queue: mpsc::Sender<Packet>,
    },
    Packet {
        relayed: SocketAddr,
        peer: SocketAddr,
        data: Vec<u8>,
    },
    Down {
        id: u64,
        error: String,
    },
}

/// The relays of one peer connection. Their tasks end with it.
#[derive(Debug)]
pub(super) struct Relays {
    events: mpsc::Receiver<RelayEvent>,
    report: mpsc::Sender<RelayEvent>,
    tasks: JoinSet<()>,
    started: Vec<Started>,
    open: Vec<Relay>,
    next_id: u64,
}

/// A relay that is up or coming.
#[derive(Debug)]
struct Started {
    id: u64,
    target: Target,
    /// The media path died on its watch: given up when a fresh one on the same server is up.
    old: bool,
}

#[derive(Debug)]
struct Relay {
    id: u64,
    path: &'static str,
    relayed: SocketAddr,
    queue: mpsc::Sender<Packet>,
}

impl Relays {
    pub fn new() -> Self {
        let (report, events) = mpsc::channel(256);
        Self { events, report, tasks: JoinSet::new(), started: Vec::new(), open: Vec::new(), next_id: 0 }
    }

    /// Starts a relay on each server that has none. `v6`: ask for an IPv6 address, since the other side has no other.
    pub fn start(&mut self, servers: &[proto::IceServer], v6: bool) {
        while self.tasks.try_join_next().is_some() {}
        for server in servers {
            for target in server.urls.iter().filter_map(|url| Target::parse(url)) {
                let mut fresh = self.started.iter().filter(|started| !started.old);
                if fresh.clone().count() >= MAX_RELAYS || fresh.any(|started| started.target == target) {
                    continue;
                }
                self.next_id += 1;
                self.started.push(Started { id: self.next_id, target: target.clone(), old: false });
                let credentials = TurnCredentials::new(&server.username, &server.credential);
                self.tasks.spawn(relay(self.next_id, target, credentials, v6, self.report.clone()));
            }
        }
    }

    /// The media path is dead. A relay may be the reason and not know (a NAT that forgot it): [`Self::start`] starts fresh
    /// ones, and each that comes up takes the place of the one before. A relay whose successor never came ends now.
    pub fn distrust(&mut self) {
        self.end(|started| started.old);
        self.started.iter_mut().for_each(|started| started.old = true);
    }

    /// Gives relays back: a task ends when its queue's other end is dropped.
    fn end(&mut self, ends: impl Fn(&Started) -> bool) {
        self.started.retain(|started| !ends(started));
        self.open.retain(|relay| self.started.iter().any(|started| started.id == relay.id));
    }

    /// Whether none is up or coming.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty()
    }

    /// What the relays have to say. Cancel safe.
    pub async fn next(&mut self) -> RelayEvent {
        loop {
            let Some(event) = self.events.recv().await else { std::future::pending().await };
            match &event {
                RelayEvent::Up { id, path, relayed, queue, .. } => {
                    // One that was ended while it was coming is given back by dropping its queue.
                    let Some(up) = self.started.iter().find(|started| started.id == *id) else { continue };
                    let target = up.target.clone();
                    self.open.push(Relay { id: *id, path, relayed: *relayed, queue: queue.clone() });
                    self.end(|started| started.id < *id && started.target == target);
                }
                RelayEvent::Down { id, .. } => self.end(|started| started.id == *id),
                RelayEvent::Packet { .. } => {}
            }
            return event;
        }
    }

    /// How an address of ours is reached, if it is relayed: `turn udp`, `turn tcp` or `turn tls`.
    pub fn path(&self, local: SocketAddr) -> Option<&'static str> {
        self.open.iter().find(|relay| relay.relayed == local).map(|relay| relay.path)
    }

    /// Queues a packet from the address `relayed`; false when that is gone or its queue is full, `None` when it is not
    /// one of ours.
    pub fn send(&self, relayed: SocketAddr, peer: SocketAddr, data: &[u8]) -> Option<bool> {
        let relay = self.open.iter().find(|relay| relay.relayed == relayed)?;
        Some(relay.queue.try_send((peer, data.to_vec())).is_ok())
    }

    /// Packets waiting on the fullest relay.
    pub fn backlog(&self) -> usize {
        self.open.iter().map(|relay| relay.queue.max_capacity() - relay.queue.capacity()).max().unwrap_or(0)
    }

    /// Lets what is queued go out and the allocations be given back, for at most `limit`, and ends the tasks.
    pub async fn close(&mut self, limit: Duration) {
        self.open.clear();
        self.events.close();
        let _ = tokio::time::timeout(limit, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}

/// A TURN server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Target {
    /// Reads a `turn:` or `turns:` URL (RFC 7065). `None` for STUN (the server sees our address anyway) and for DTLS.
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = query.split('&').find_map(|part| part.strip_prefix("transport="));
        let (transport, default_port) = match (scheme.to_ascii_lowercase().as_str(), transport) {
            ("turn", None | Some("udp")) => (Transport::Udp, 3478),
            ("turn", Some("tcp")) => (Transport::Tcp, 3478),
            ("turns", None | Some("tcp")) => (Transport::Tls, 5349),
            _ => return None,
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
        (!host.is_empty()).then(|| Self { host: host.into(), port, transport })
    }

    /// How long the better transports get to be first: of several relays ICE takes the one that was there first.
    fn head_start(&self) -> Duration {
        match self.transport {
            Transport::Udp => Duration::ZERO,
            Transport::Tcp => Duration::from_millis(100),
            Transport::Tls => Duration::from_millis(200),
        }
    }

    fn path(&self) -> &'static str {
        match self.transport {
            Transport::Udp => "turn udp",
            Transport::Tcp => "turn tcp",
            Transport::Tls => "turn tls",
        }
    }
}

/// One relay, from connecting to its end.
async fn relay(id: u64, target: Target, credentials: TurnCredentials, v6: bool, report: mpsc::Sender<RelayEvent>) {
    tokio::time::sleep(target.head_start()).await;
    let end = match tokio::time::timeout(CONNECT, connect(&target)).await {
        Err(_) => Err("it does not answer".to_owned()),
        Ok(Err(error)) => {
            let error = error.to_string();
            Err(tls_trouble(&error, &target.host).unwrap_or(error))
        }
        Ok(Ok(connection)) => {
            let (local, remote) = (connection.local, connection.remote);
            let client = TurnClientUdp::allocate(local, remote, config(&target, credentials, v6));
            run(
                client,
                connection,
                |relayed, queue| RelayEvent::Up { id, path: target.path(), relayed, local, queue },
                &report,
            )
            .await
        }
    };
    let reason = end.err().unwrap_or_else(|| "closed".into());
    let error = format!("{} server {}:{}: {reason}", target.path(), target.host, target.port);
    tracing::debug!(error, "relay ended");
    let _ = report.send(RelayEvent::Down { id, error }).await;
}

fn config(target: &Target, credentials: TurnCredentials, v6: bool) -> TurnConfig {
    let mut config = TurnConfig::new(credentials);
    if v6 {
        config.set_address_family(AddressFamily::IPV6);
    }
    match target.transport {
        Transport::Udp => {
            config.set_request_retransmits(
                Duration::from_millis(250),
                Duration::from_secs(2),
                6,
                Duration::from_secs(2),
            );
        }
        // A stream loses nothing: one request, one wait.
        Transport::Tcp | Transport::Tls => config.set_request_retransmits(ALLOCATE, ALLOCATE, 1, ALLOCATE),
    }
    config
}

/// Runs the protocol over a connection until either ends.
async fn run(
    client: TurnClientUdp,
    connection: Connection,
    up: impl Fn(SocketAddr, mpsc::Sender<Packet>) -> RelayEvent,
    report: &mpsc::Sender<RelayEvent>,
) -> Result<(), String> {
    let (outbound, messages) = mpsc::channel(QUEUE);
    let (deliver, inbound) = mpsc::channel(QUEUE);
    let protocol = drive(client, inbound, outbound, up, report);
    let result = match connection.wire {
        Wire::Datagrams(socket) => {
            let read = read_datagrams(&socket, deliver);
            pump(protocol, read, write_datagrams(&socket, messages)).await
        }
        Wire::Plain(stream) => {
            let (reader, writer) = stream.into_split();
            pump(protocol, read_frames(reader, deliver), write_frames(writer, messages)).await
        }
        Wire::Tls(stream) => {
            let (reader, writer) = tokio::io::split(*stream);
            pump(protocol, read_frames(reader, deliver), write_frames(writer, messages)).await
        }
    };
    result.map_err(|error| error.to_string())
}

async fn pump(
    protocol: impl Future<Output = io::Result<()>>,
    read: impl Future<Output = io::Result<()>>,
    write: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let mut write = pin!(write);
    let end = tokio::select! {
        end = protocol => end,
        end = read => return end,
        end = &mut write => return end,
    };
    // The protocol dropped its end of the queue: what is in it may still go out.
    let _ = tokio::time::timeout(GOODBYE, write).await;
    end
}

/// The protocol's state, its timers and our packets.
async fn drive(
    mut client: TurnClientUdp,
    mut inbound: mpsc::Receiver<Vec<u8>>,
    outbound: mpsc::Sender<Vec<u8>>,
    up: impl Fn(SocketAddr, mpsc::Sender<Packet>) -> RelayEvent,
    report: &mpsc::Sender<RelayEvent>,
) -> io::Result<()> {
    let base = Instant::now();
    let (queue, mut packets) = mpsc::channel::<Packet>(QUEUE);
    // Given away with the allocation, so that the last sender is the peer's.
    let mut queue = Some(queue);
    let mut relayed = None;
    let mut challenged = false;
    let mut waiting: HashMap<SocketAddr, Vec<Vec<u8>>> = HashMap::new();
    loop {
        let now = TurnInstant::from_std(base);
        let mut wait = now + Duration::from_millis(5);
        // Bounded, should the protocol ask for the same moment again and again.
        for _ in 0..64 {
            while let Some(message) = client.poll_transmit(now) {
                let _ = outbound.try_send(message.data.to_vec());
            }
            while let Some(event) = client.poll_event() {
                match event {
                    TurnEvent::AllocationCreated(_, address) => {
                        relayed = Some(address);
                        // Nobody listens any more: the queue is dropped with the report, and the address given back below.
                        if let Some(queue) = queue.take() {
                            let _ = report.send(up(address, queue)).await;
                        }
                    }
                    TurnEvent::AllocationCreateFailed(_) => {
                        return Err(io::Error::other("it refuses to give us an address"));
                    }
                    TurnEvent::ChannelCreated(_, peer) => {
                        for data in waiting.remove(&peer).unwrap_or_default() {
                            send(&mut client, &outbound, peer, data, now);
                        }
                    }
                    TurnEvent::ChannelCreateFailed(_, peer) => {
                        tracing::debug!(%peer, "a TURN server relays nothing to this address");
                        waiting.remove(&peer);
                    }
                    _ => {}
                }
            }
            match client.poll(now) {
                TurnPollRet::WaitUntil(at) if at <= now => {}
                TurnPollRet::WaitUntil(at) => {
                    wait = at;
                    break;
                }
                TurnPollRet::Closed => return Err(io::Error::other("the allocation has ended")),
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {}
            }
        }
        if relayed.is_none() && base.elapsed() > ALLOCATE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let pause = wait.saturating_duration_since(now).min(Duration::from_secs(5));
        tokio::select! {
            message = inbound.recv() => {
                let Some(message) = message else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                if let Some(code) = allocate_error(&message) {
                    // The first 401 asks for the credentials; the protocol crate answers further ones with silence.
                    if code == 401 && challenged {
                        return Err(io::Error::other("it refuses the credentials that the LiveKit server gave us"));
                    }
                    challenged |= code == 401;
                }
                let transmit = Transmit::new(message, TransportType::Udp, client.remote_addr(), client.local_addr());
                if let TurnRecvRet::PeerData(data) = client.recv(transmit, TurnInstant::from_std(base))
                    && let Some(relayed) = relayed
                {
                    let packet = RelayEvent::Packet { relayed, peer: data.peer, data: data.data().to_vec() };
                    // At the end nobody listens; the address is still to be given back.
                    let _ = report.send(packet).await;
                }
            }
            packet = packets.recv() => {
                let now = TurnInstant::from_std(base);
                let Some((peer, data)) = packet else {
                    let _ = client.delete(now);
                    // The protocol crate keeps requests apart in time. The end does not wait for that: its clock goes ahead.
                    for ahead in 0..WAITING as u32 {
                        while let Some(message) = client.poll_transmit(now + CADENCE * ahead) {
                            let _ = outbound.try_send(message.data.to_vec());
                        }
                    }
                    return Ok(());
                };
                if client.have_permission(TransportType::Udp, peer.ip()) {
                    send(&mut client, &outbound, peer, data, now);
                } else {
                    // Binding a channel brings the permission with it.
                    let waiting = waiting.entry(peer).or_default();
                    if waiting.is_empty() {
                        let _ = client.bind_channel(TransportType::Udp, peer, now);
                    }
                    if waiting.len() < WAITING {
                        waiting.push(data);
                    }
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn send(client: &mut TurnClientUdp, outbound: &mpsc::Sender<Vec<u8>>, to: SocketAddr, data: Vec<u8>, now: TurnInstant) {
    if let Ok(Some(message)) = client.send_to(TransportType::Udp, to, data, now) {
        let _ = outbound.try_send(message.data.build());
    }
}

/// The error code (RFC 8489, section 14.8) of an answer that refuses an Allocate request.
fn allocate_error(message: &[u8]) -> Option<u16> {
    const ALLOCATE_ERROR: [u8; 2] = [0x01, 0x13];
    const ERROR_CODE: u16 = 0x0009;
    let mut attributes = message.get(20..).filter(|_| message.starts_with(&ALLOCATE_ERROR))?;
    loop {
        let kind = u16::from_be_bytes([*attributes.first()?, *attributes.get(1)?]);
        let len = usize::from(u16::from_be_bytes([*attributes.get(2)?, *attributes.get(3)?]));
        let value = attributes.get(4..4 + len)?;
        if kind == ERROR_CODE {
            return Some(u16::from(value.get(2)? & 7) * 100 + u16::from(*value.get(3)?));
        }
        attributes = attributes.get(4 + len.next_multiple_of(4)..)?;
    }
}

async fn read_datagrams(socket: &UdpSocket, deliver: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut buffer = vec![0; 2048];
    let mut errors = 0;
    loop {
        match socket.recv(&mut buffer).await {
            Ok(len) => {
                errors = 0;
                if deliver.send(buffer[..len].to_vec()).await.is_err() {
                    return Ok(());
                }
            }
            // An ICMP answer may be about one packet; a socket that says nothing else is of no use.
            Err(error) => {
                errors += 1;
                if errors > 16 {
                    return Err(error);
                }
            }
        }
    }
}

async fn write_datagrams(socket: &UdpSocket, mut messages: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        // Lost is lost: the network may be back for the next one.
        if let Err(error) = socket.send(&message).await {
            tracing::trace!(%error, "TURN over UDP");
        }
    }
    Ok(())
}

/// Cuts a stream into STUN messages and channel data (RFC 8656, section 12.5).
pub(super) async fn read_frames(reader: impl AsyncRead + Unpin, deliver: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut header = [0; 4];
        reader.read_exact(&mut header).await?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let (size, padding) = match header[0] >> 6 {
            0 => (20 + len, 0),
            1 => (4 + len, len.next_multiple_of(4) - len),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TURN")),
        };
        let mut message = vec![0; size + padding];
        message[..4].copy_from_slice(&header);
        reader.read_exact(&mut message[4..]).await?;
        message.truncate(size);
        if deliver.send(message).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes until the queue's other end is dropped. Channel data is padded to four bytes.
pub(super) async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(mut message) = messages.recv().await {
        message.resize(message.len().next_multiple_of(4), 0);
        writer.write_all(&message).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_join_response_are_read() {
        let parse = |url| Target::parse(url).map(|t| (t.host, t.port, t.transport));
        assert_eq!(parse("turn:a.example?transport=udp"), Some(("a.example".into(), 3478, Transport::Udp)));
        assert_eq!(parse("turn:a.example:443?transport=tcp"), Some(("a.example".into(), 443, Transport::Tcp)));
        assert_eq!(parse("turns:a.example:443?transport=tcp"), Some(("a.example".into(), 443, Transport::Tls)));
        assert_eq!(parse("turns:a.example"), Some(("a.example".into(), 5349, Transport::Tls)));
        assert_eq!(parse("turn:[2001:db8::1]:3479"), Some(("2001:db8::1".into(), 3479, Transport::Udp)));
        for not_ours in ["stun:a.example", "turns:a.example?transport=udp", "turn:", "turn:a.example:port", "nonsense"]
        {
            assert_eq!(parse(not_ours), None, "{not_ours}");
        }
    }

    #[tokio::test]
    async fn frames_are_cut_out_of_a_stream_and_padding_is_dropped() {
        let (mut server, client) = tokio::io::duplex(64);
        let (deliver, mut messages) = mpsc::channel(8);
        let reading = tokio::spawn(read_frames(client, deliver));
        let stun = [&[0, 1, 0, 4][..], &[7; 20]].concat();
        let stream = [&[0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0][..], &stun, &[0x40, 1, 0, 0]].concat();
        for piece in stream.chunks(7) {
            server.write_all(piece).await.unwrap();
        }
        assert_eq!(messages.recv().await.unwrap(), [0x40, 0, 0, 5, 1, 2, 3, 4, 5]);
        assert_eq!(messages.recv().await.unwrap(), stun);
        assert_eq!(messages.recv().await.unwrap(), [0x40, 1, 0, 0]);
        server.write_all(b"HTTP/1.1 400").await.unwrap();
        drop(server);
        assert!(reading.await.unwrap().is_ok() || messages.recv().await.is_none());
    }

    #[tokio::test]
    async fn channel_data_is_padded_on_a_stream() {
        let (mut server, client) = tokio::io::duplex(64);
        let (queue, messages) = mpsc::channel(8);
        queue.send(vec![0x40, 0, 0, 1, 9]).await.unwrap();
        drop(queue);
        write_frames(client, messages).await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [0x40, 0, 0, 1, 9, 0, 0, 0]);
    }
}
