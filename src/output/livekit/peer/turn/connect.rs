//! The way to a TURN server: of a name's addresses the first that works, over UDP, TCP or TLS.

use super::{Target, Transport};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// The lead of each address over the next one, as in RFC 8305: one that swallows packets holds the others up no longer.
const STAGGER: Duration = Duration::from_millis(250);
/// Between questions over UDP, and their number.
const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_TIMES: usize = 4;

/// A connection as a source and a sink of messages.
pub(super) struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub wire: Wire,
}

pub(super) enum Wire {
    Datagrams(UdpSocket),
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// # Errors
/// The last one, when no address can be connected to.
pub(super) async fn connect(target: &Target) -> io::Result<Connection> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await?;
    let remotes: Vec<_> = found.take(MAX_ADDRESSES).collect();
    let several = remotes.len() > 1;
    let mut tries = JoinSet::new();
    for (remote, lead) in remotes.into_iter().zip(0..) {
        let target = target.clone();
        tries.spawn(async move {
            sleep(STAGGER * lead).await;
            connect_to(remote, &target, several).await
        });
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    while let Some(done) = tries.join_next().await {
        match done {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(error) => last = io::Error::other(error),
        }
    }
    Err(last)
}

async fn connect_to(remote: SocketAddr, target: &Target, one_of_several: bool) -> io::Result<Connection> {
    if target.transport == Transport::Udp {
        let any: SocketAddr = if remote.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(remote).await?;
        if one_of_several {
            ask(&socket).await?;
        }
        return Ok(Connection { local: socket.local_addr()?, remote, wire: Wire::Datagrams(socket) });
    }
    let stream = TcpStream::connect(remote).await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let wire = match target.transport {
        Transport::Tls => {
            let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
            let tls = tokio::task::spawn_blocking(tls_config).await.map_err(io::Error::other)??;
            Wire::Tls(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
        }
        Transport::Udp | Transport::Tcp => Wire::Plain(stream),
    };
    Ok(Connection { local, remote, wire })
}

/// Waits for an answer to a STUN binding request: a UDP socket connects to anything. A server that speaks TURN and no STUN
/// is taken after [`ASK_TIMES`] without an answer, so it only loses against one that answers.
///
/// # Errors
/// When the network says that nothing is there.
async fn ask(socket: &UdpSocket) -> io::Result<()> {
    let mut request = [0; 20];
    request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    request[8..].fill_with(|| fastrand::u8(..));
    let mut answer = [0; 512];
    for _ in 0..ASK_TIMES {
        socket.send(&request).await?;
        match timeout(ASK_EVERY, socket.recv(&mut answer)).await {
            Ok(Ok(len)) if len >= 20 && answer[8..20] == request[8..] => return Ok(()),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The system's trusted certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured). Reads files.
fn tls_config() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(remote: SocketAddr) -> io::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(remote).await.unwrap();
        ask(&socket).await
    }

    #[tokio::test]
    async fn udp_address_without_a_server_is_passed_over_and_a_silent_one_taken_late() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let there = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut buffer = [0; 64];
            let (len, from) = server.recv_from(&mut buffer).await.unwrap();
            buffer[0] = 1;
            server.send_to(&buffer[..len], from).await.unwrap();
            server
        });
        let began = std::time::Instant::now();
        asked(there).await.unwrap();
        assert!(began.elapsed() < ASK_EVERY);
        let silent = answering.await.unwrap();
        asked(there).await.unwrap();
        assert!(began.elapsed() >= ASK_EVERY * ASK_TIMES as u32);
        drop(silent);
        assert!(asked(there).await.is_err(), "nobody is there");
    }
}
