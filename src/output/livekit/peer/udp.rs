//! Local addresses and their UDP sockets.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// Candidates are paired with each of the server's: more than a handful only makes ICE slower.
const MAX_SOCKETS: usize = 8;
/// A socket that only reports errors is given up after so many in a row.
const MAX_ERRORS: u32 = 64;

/// A local address, and whether it belongs to an interface that a virtual network made (containers, virtual machines):
/// these rarely lead to a server and come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalAddress {
    pub ip: IpAddr,
    pub virtual_network: bool,
}

/// One UDP socket per local address.
#[derive(Debug, Default)]
pub(super) struct UdpSockets {
    sockets: Vec<Socket>,
    /// Where the next search for a datagram starts, so that one busy socket starves no other.
    next: usize,
}

#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    io: UdpSocket,
    /// The same socket: tokio refuses to send before its reactor has looked at the socket once.
    out: std::net::UdpSocket,
    /// Receive errors in a row.
    errors: u32,
}

/// Where a received datagram came in and from whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub local: SocketAddr,
    pub source: SocketAddr,
    pub len: usize,
}

impl UdpSockets {
    /// Opens a socket on each address that has none yet; returns the new ones. An address that refuses is skipped: it may
    /// have gone since it was listed.
    pub fn add(&mut self, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        let mut added = Vec::new();
        for ip in addresses {
            if self.sockets.len() >= MAX_SOCKETS {
                break;
            }
            if self.sockets.iter().any(|s| s.local.ip() == *ip && s.errors < MAX_ERRORS) {
                continue;
            }
            match open(*ip) {
                Ok(socket) => {
                    self.sockets.retain(|s| s.local.ip() != *ip);
                    added.push(socket.local);
                    self.sockets.push(socket);
                }
                Err(error) => tracing::debug!(%ip, %error, "no UDP socket on this address"),
            }
        }
        added
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The next datagram of any socket. Errors of a socket (an ICMP answer, an interface that went away) are passed over.
    /// Never ends when there is no socket. Cancel safe.
    pub async fn receive(&mut self, buffer: &mut [u8]) -> Arrival {
        poll_fn(|cx| {
            let count = self.sockets.len();
            for i in 0..count {
                let at = (self.next + i) % count;
                let socket = &mut self.sockets[at];
                while socket.errors < MAX_ERRORS {
                    let mut read = ReadBuf::new(buffer);
                    match socket.io.poll_recv_from(cx, &mut read) {
                        Poll::Ready(Ok(source)) => {
                            socket.errors = 0;
                            let len = read.filled().len();
                            let local = socket.local;
                            self.next = at + 1;
                            return Poll::Ready(Arrival { local, source, len });
                        }
                        Poll::Ready(Err(error)) => {
                            socket.errors += 1;
                            tracing::trace!(local = %socket.local, %error, "UDP receive");
                        }
                        Poll::Pending => break,
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// When there is no socket on `local`, its buffer is full or the network refuses.
    pub fn send(&self, local: SocketAddr, destination: SocketAddr, data: &[u8]) -> io::Result<()> {
        let socket = self.sockets.iter().find(|s| s.local == local).ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket.out.send_to(data, destination).map(|_| ())
    }
}

fn open(ip: IpAddr) -> io::Result<Socket> {
    let out = std::net::UdpSocket::bind((ip, 0))?;
    out.set_nonblocking(true)?;
    let io = UdpSocket::from_std(out.try_clone()?)?;
    Ok(Socket { local: out.local_addr()?, io, out, errors: 0 })
}

/// The addresses to gather candidates on, best first: those the system would use towards `servers`, then the others that
/// [`leads_somewhere`], at most [`MAX_SOCKETS`].
pub(super) fn local_addresses(servers: &[SocketAddr]) -> Vec<IpAddr> {
    let routed: Vec<IpAddr> = servers.iter().filter_map(|server| source_towards(*server).ok()).collect();
    choose(&routed, interface_addresses(), servers)
}

fn choose(routed: &[IpAddr], mut others: Vec<LocalAddress>, servers: &[SocketAddr]) -> Vec<IpAddr> {
    let loopback = servers.iter().any(|s| s.ip().to_canonical().is_loopback());
    others.sort_by_key(|a| (a.virtual_network, a.ip.is_loopback()));
    let mut seen = HashSet::new();
    let others = others.iter().map(|a| a.ip).filter(|ip| leads_somewhere(*ip, loopback));
    routed.iter().copied().chain(others).filter(|ip| seen.insert(*ip)).take(MAX_SOCKETS).collect()
}

/// Loopback leads to a server on this machine only; link-local, multicast and unspecified addresses lead nowhere.
fn leads_somewhere(ip: IpAddr, loopback: bool) -> bool {
    if ip.is_loopback() {
        return loopback;
    }
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || ip.is_multicast() || ip.is_unspecified())
}

/// The source address that the system's routes give packets to `server`. Nothing is sent.
fn source_towards(server: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

/// Addresses of the interfaces that are up.
#[cfg(unix)]
fn interface_addresses() -> Vec<LocalAddress> {
    use std::ffi::CStr;
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs fills `list` with a linked list that is ours until freeifaddrs; it is only read in between.
    unsafe {
        if libc::getifaddrs(&mut list) != 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut at = list;
        while let Some(entry) = at.as_ref() {
            at = entry.ifa_next;
            let up = entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0;
            let Some(address) = entry.ifa_addr.as_ref().filter(|_| up) else { continue };
            let ip: IpAddr = match i32::from(address.sa_family) {
                libc::AF_INET => {
                    let v4 = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                    u32::from_be(v4.sin_addr.s_addr).to_be_bytes().into()
                }
                libc::AF_INET6 => (*entry.ifa_addr.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr.into(),
                _ => continue,
            };
            let name = CStr::from_ptr(entry.ifa_name).to_string_lossy();
            found.push(LocalAddress { ip, virtual_network: is_virtual(&name) });
        }
        libc::freeifaddrs(list);
        found
    }
}

/// Elsewhere the routes towards the server have to do.
#[cfg(not(unix))]
fn interface_addresses() -> Vec<LocalAddress> {
    Vec::new()
}

#[cfg_attr(not(unix), allow(dead_code))]
fn is_virtual(interface: &str) -> bool {
    const PREFIXES: [&str; 8] = ["docker", "br-", "veth", "virbr", "vmnet", "cni", "flannel", "cali"];
    PREFIXES.iter().any(|prefix| interface.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, virtual_network: bool) -> LocalAddress {
        LocalAddress { ip: ip.parse().unwrap(), virtual_network }
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn remote_server_gets_routed_address_first_then_real_interfaces_without_loopback_and_link_local() {
        let interfaces = vec![
            address("127.0.0.1", false),
            address("172.17.0.1", true),
            address("169.254.3.4", false),
            address("fe80::1", false),
            address("10.0.0.5", false),
            address("2001:db8::5", false),
            address("192.168.1.5", false),
        ];
        let chosen = choose(&ips(&["192.168.1.5"]), interfaces, &["203.0.113.7:443".parse().unwrap()]);
        assert_eq!(chosen, ips(&["192.168.1.5", "10.0.0.5", "2001:db8::5", "172.17.0.1"]));
    }

    #[test]
    fn server_on_this_machine_gets_loopback_too() {
        let interfaces = vec![address("127.0.0.1", false), address("::1", false), address("10.0.0.5", false)];
        let chosen = choose(&ips(&["127.0.0.1"]), interfaces, &["127.0.0.1:7880".parse().unwrap()]);
        assert_eq!(chosen, ips(&["127.0.0.1", "10.0.0.5", "::1"]));
    }

    #[test]
    fn many_interfaces_are_cut_to_a_handful() {
        let interfaces = (1..=40).map(|i| address(&format!("10.0.0.{i}"), false)).collect();
        assert_eq!(choose(&[], interfaces, &[]).len(), MAX_SOCKETS);
    }

    #[test]
    fn interfaces_of_this_machine_are_listed_with_loopback() {
        assert!(local_addresses(&["127.0.0.1:1".parse().unwrap()]).contains(&"127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn refused_sends_and_vanished_sockets_are_errors_and_receiving_goes_on() {
        let mut sockets = UdpSockets::default();
        let local = sockets.add(&ips(&["127.0.0.1"]))[0];
        assert!(sockets.add(&ips(&["127.0.0.1"])).is_empty(), "one socket per address");
        assert!(sockets.send("127.0.0.2:9".parse().unwrap(), local, b"x").is_err());
        // Nobody listens there: the ICMP answer becomes an error on our socket.
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        sockets.send(local, closed, b"x").unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"hello", local).unwrap();
        let mut buffer = [0; 100];
        let arrival = sockets.receive(&mut buffer).await;
        assert_eq!((&buffer[..arrival.len], arrival.source), (&b"hello"[..], other.local_addr().unwrap()));
    }
}
