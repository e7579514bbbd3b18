//! Which addresses a destination may lead to, looked at before each connection.

use super::reason::RtmpError;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often a lookup is asked whether anybody still waits for it.
const POLL: Duration = Duration::from_millis(50);

/// Judges the addresses that a destination's host leads to, in a service whose callers name the hosts.
///
/// Before **each** connection the name is resolved anew, and one refused address among those it leads to is enough to refuse
/// them all: the destination then waits for a person ([`State::NeedsAttention`](crate::output::State::NeedsAttention)). What
/// follows differs by scheme:
///
/// * `rtmp`: the connection goes to an address that was judged, and only `tcUrl` names the host. A name that leads elsewhere
///   a moment later (DNS rebinding) gains nothing.
/// * `rtmps`: FFmpeg connects by name, since it sends the name of the server (SNI) only then, and so looks it up a second
///   time. A name that changes between the two lookups gets a TCP connection and a TLS greeting to a refused address. It
///   gets no further: the certificate must be for that name and from a trusted authority, or the connection ends before
///   anything of RTMP, the stream key above all, is sent. Who fears even a greeting allows only hosts of people they trust.
#[derive(Clone)]
pub struct AddressGuard {
    judge: Arc<dyn Fn(IpAddr) -> Result<(), String> + Send + Sync>,
    resolver: Arc<Resolver>,
}

/// Host and port to addresses. May block.
type Resolver = dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync;

impl AddressGuard {
    /// `judge`: an error says in plain words why an address may not be connected to.
    pub fn new(judge: impl Fn(IpAddr) -> Result<(), String> + Send + Sync + 'static) -> AddressGuard {
        AddressGuard { judge: Arc::new(judge), resolver: Arc::new(system) }
    }

    /// Asks `resolver` in place of the system's.
    #[must_use]
    pub fn with_resolver(
        mut self,
        resolver: impl Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> AddressGuard {
        self.resolver = Arc::new(resolver);
        self
    }
}

impl fmt::Debug for AddressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressGuard")
    }
}

fn system(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    (host, port).to_socket_addrs().map(Iterator::collect)
}

/// The addresses of a host, all of them judged; never empty. In a thread of its own, because a lookup cannot be broken off:
/// when `time` is up or `given_up` says so, it is left to end by itself.
pub(super) fn resolve(
    host: &str,
    port: u16,
    guard: Option<&AddressGuard>,
    time: Duration,
    given_up: impl Fn() -> bool,
) -> Result<Vec<SocketAddr>, RtmpError> {
    let unknown = || RtmpError::Resolve { host: host.to_owned() };
    let resolver = guard.map_or_else(|| Arc::new(system) as Arc<Resolver>, |guard| guard.resolver.clone());
    let (tell, told) = channel();
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("resolve".into())
        // Nobody listens any more when it took too long.
        .spawn(move || drop(tell.send(resolver(&name, port))))
        .map_err(|_| unknown())?;
    let by = Instant::now() + time;
    let addresses = loop {
        match told.recv_timeout(POLL.min(by.saturating_duration_since(Instant::now()))) {
            Ok(addresses) => break addresses.map_err(|_| unknown())?,
            Err(RecvTimeoutError::Timeout) if Instant::now() < by && !given_up() => {}
            Err(_) => return Err(unknown()),
        }
    };
    if addresses.is_empty() {
        return Err(unknown());
    }
    if let Some(guard) = guard {
        let judged = addresses.iter().try_for_each(|address| (guard.judge)(address.ip()));
        judged.map_err(|words| RtmpError::Forbidden { words })?;
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_loopback() -> AddressGuard {
        AddressGuard::new(|ip| if ip.is_loopback() { Err(format!("{ip} is not public")) } else { Ok(()) })
    }

    fn ask(guard: &AddressGuard) -> Result<Vec<SocketAddr>, RtmpError> {
        resolve("a.example", 1935, Some(guard), Duration::from_secs(5), || false)
    }

    #[test]
    fn one_refused_address_among_good_ones_refuses_them_all() {
        let (good, bad) = (SocketAddr::from(([192, 0, 2, 1], 1935)), SocketAddr::from(([127, 0, 0, 1], 1935)));
        assert_eq!(ask(&no_loopback().with_resolver(move |_, _| Ok(vec![good]))), Ok(vec![good]));
        let mixed = ask(&no_loopback().with_resolver(move |_, _| Ok(vec![good, bad])));
        assert_eq!(mixed, Err(RtmpError::Forbidden { words: "127.0.0.1 is not public".into() }));
        let unknown = Err(RtmpError::Resolve { host: "a.example".into() });
        assert_eq!(ask(&no_loopback().with_resolver(|_, _| Ok(Vec::new()))), unknown);
        assert_eq!(ask(&no_loopback().with_resolver(|_, _| Err(std::io::ErrorKind::NotFound.into()))), unknown);
    }

    #[test]
    fn a_lookup_that_hangs_is_left_alone_when_nobody_waits_any_more() {
        let (let_go, held) = channel::<()>();
        let held = std::sync::Mutex::new(held);
        let guard = no_loopback().with_resolver(move |_, _| {
            let _ = held.lock().map(|held| held.recv());
            Ok(Vec::new())
        });
        let asked = resolve("a.example", 1935, Some(&guard), Duration::from_secs(60), || true);
        assert_eq!(asked, Err(RtmpError::Resolve { host: "a.example".into() }));
        drop(let_go);
    }
}
