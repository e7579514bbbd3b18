//! ICE over TCP (RFC 6544): we dial the server's passive candidates; packets are framed by RFC 4571.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const DIAL: Duration = Duration::from_secs(5);
/// Packets that wait for a slow connection: about two seconds of 2.5 Mbit/s.
const QUEUE: usize = 512;
/// Connections open or being dialled at a time.
const MAX_LINKS: usize = 8;

/// What a connection's task hands to the peer's.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Connected; `local` is the address of the connection's own end.
    Up {
        local: SocketAddr,
        remote: SocketAddr,
        queue: mpsc::Sender<Vec<u8>>,
    },
    Packet {
        local: SocketAddr,
        remote: SocketAddr,
        data: Vec<u8>,
    },
    Down {
        local: Option<SocketAddr>,
        remote: SocketAddr,
    },
}

/// The connections of one peer connection. Their tasks end with it.
#[derive(Debug)]
pub(super) struct Links {
    events: mpsc::Receiver<LinkEvent>,
    report: mpsc::Sender<LinkEvent>,
    tasks: JoinSet<()>,
    open: Vec<Link>,
    dialled: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Link {
    local: SocketAddr,
    remote: SocketAddr,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Links {
    pub fn new() -> Self {
        let (report, events) = mpsc::channel(256);
        Self { events, report, tasks: JoinSet::new(), open: Vec::new(), dialled: Vec::new() }
    }

    /// Dials `remote` unless that was done already.
    pub fn dial(&mut self, remote: SocketAddr) {
        while self.tasks.try_join_next().is_some() {}
        if self.dialled.contains(&remote) || self.tasks.len() >= MAX_LINKS {
            return;
        }
        self.dialled.push(remote);
        self.tasks.spawn(link(remote, self.report.clone()));
    }

    /// After an ICE restart the server knows a connection by its new credentials only: every candidate is dialled anew.
    /// Open connections carry media until the new path stands; of those only the latest is kept.
    pub fn forget_dialled(&mut self) {
        self.dialled.clear();
        let surplus = self.open.len().saturating_sub(1);
        self.open.drain(..surplus);
    }

    /// What the connections have to say. Cancel safe.
    pub async fn next(&mut self) -> LinkEvent {
        let Some(event) = self.events.recv().await else { std::future::pending().await };
        match &event {
            LinkEvent::Up { local, remote, queue } => {
                self.open.push(Link { local: *local, remote: *remote, queue: queue.clone() });
            }
            LinkEvent::Down { local, remote } => {
                self.open.retain(|link| Some(link.local) != *local);
                self.dialled.retain(|dialled| dialled != remote);
            }
            LinkEvent::Packet { .. } => {}
        }
        event
    }

    /// Queues a packet; false when the connection is gone or its queue is full.
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, data: Vec<u8>) -> bool {
        let link = self.open.iter().find(|link| link.local == local && link.remote == remote);
        link.is_some_and(|link| link.queue.try_send(data).is_ok())
    }

    /// Packets waiting on the fullest connection.
    pub fn backlog(&self) -> usize {
        self.open.iter().map(|link| link.queue.max_capacity() - link.queue.capacity()).max().unwrap_or(0)
    }

    /// Lets what is queued go out, for at most `limit`, and ends the connections.
    pub async fn close(&mut self, limit: Duration) {
        self.open.clear();
        self.events.close();
        let _ = tokio::time::timeout(limit, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}

/// One connection, from dialling to its end.
async fn link(remote: SocketAddr, report: mpsc::Sender<LinkEvent>) {
    let mut local = None;
    if let Err(error) = connected(remote, &report, &mut local).await {
        tracing::debug!(%remote, %error, "ICE over TCP");
    }
    let _ = report.send(LinkEvent::Down { local, remote }).await;
}

async fn connected(
    remote: SocketAddr,
    report: &mpsc::Sender<LinkEvent>,
    at: &mut Option<SocketAddr>,
) -> io::Result<()> {
    let stream =
        tokio::time::timeout(DIAL, TcpStream::connect(remote)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    *at = Some(local);
    let (reader, writer) = stream.into_split();
    let (queue, packets) = mpsc::channel(QUEUE);
    if report.send(LinkEvent::Up { local, remote, queue }).await.is_err() {
        return Ok(());
    }
    tokio::select! {
        end = write_packets(writer, packets) => end,
        end = read_packets(reader, |data| report.send(LinkEvent::Packet { local, remote, data })) => end,
    }
}

/// Frames and writes until the queue's other end is dropped.
async fn write_packets(mut writer: impl AsyncWrite + Unpin, mut packets: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut frames = Vec::new();
    while let Some(packet) = packets.recv().await {
        frames.clear();
        frame(&mut frames, &packet);
        // What else waits goes in the same write.
        while frames.len() < 16 * 1024 {
            let Ok(packet) = packets.try_recv() else { break };
            frame(&mut frames, &packet);
        }
        writer.write_all(&frames).await?;
    }
    writer.shutdown().await
}

/// RFC 4571: a 16-bit length in network order before every packet. A packet that is too long for that is left out: str0m
/// keeps to the MTU.
fn frame(frames: &mut Vec<u8>, packet: &[u8]) {
    if let Ok(len) = u16::try_from(packet.len()) {
        frames.extend_from_slice(&len.to_be_bytes());
        frames.extend_from_slice(packet);
    }
}

/// Reads frames until the connection or the receiver of the packets ends.
async fn read_packets<F, E>(reader: impl AsyncRead + Unpin, mut deliver: impl FnMut(Vec<u8>) -> F) -> io::Result<()>
where
    F: Future<Output = Result<(), E>>,
{
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let len = reader.read_u16().await?;
        let mut data = vec![0; len.into()];
        reader.read_exact(&mut data).await?;
        if !data.is_empty() && deliver(data).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn packets_cross_a_connection_that_splits_and_joins_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut links = Links::new();
        links.dial(listener.local_addr().unwrap());
        links.dial(listener.local_addr().unwrap());
        let (mut server, _) = listener.accept().await.unwrap();
        let LinkEvent::Up { local, remote, .. } = links.next().await else { panic!("not connected") };
        assert!(links.send(local, remote, vec![7; 3]));
        assert!(links.send(local, remote, vec![8; 1200]));
        let mut got = vec![0; 2 + 3 + 2 + 1200];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!((&got[..5], &got[5..7]), (&[0, 3, 7, 7, 7][..], &1200u16.to_be_bytes()[..]));

        for piece in [&[0][..], &[4, 1, 2], &[3, 4, 0, 0, 0, 1, 9]] {
            server.write_all(piece).await.unwrap();
            server.flush().await.unwrap();
        }
        for expected in [&[1, 2, 3, 4][..], &[9]] {
            let LinkEvent::Packet { data, .. } = links.next().await else { panic!("no packet") };
            assert_eq!(data, expected);
        }
        drop(server);
        assert!(matches!(links.next().await, LinkEvent::Down { .. }));
        assert!(!links.send(local, remote, vec![1]));
    }

    #[tokio::test]
    async fn close_lets_queued_packets_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut links = Links::new();
        links.dial(listener.local_addr().unwrap());
        let (mut server, _) = listener.accept().await.unwrap();
        let LinkEvent::Up { local, remote, queue } = links.next().await else { panic!("not connected") };
        drop(queue);
        assert!(links.send(local, remote, vec![5; 100]));
        links.close(Duration::from_secs(5)).await;
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 102);
    }

    #[tokio::test]
    async fn connection_that_does_not_drain_refuses_packets_instead_of_hoarding_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut links = Links::new();
        links.dial(listener.local_addr().unwrap());
        let (_server, _) = listener.accept().await.unwrap();
        let LinkEvent::Up { local, remote, .. } = links.next().await else { panic!("not connected") };
        let mut sent = 0;
        while links.send(local, remote, vec![0; 1200]) {
            sent += 1;
            assert!(sent < 100_000, "no bound");
            if links.backlog() == QUEUE {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(links.backlog(), QUEUE);
    }
}
