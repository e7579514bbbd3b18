//! Which hosts destinations may have, and which addresses these may lead to (SSRF).
//!
//! Two gates. [`HostRules::ingest`] reads an address that a caller gives and takes it only when its host is on the list:
//! strictly, since whatever two readers understand differently is a way round the list. [`HostRules::address`] then judges
//! each IP address that the name leads to, before each connection, since a name may lead elsewhere a moment later.

use crate::store::model::DestinationKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Twitch's ingest servers: <https://dev.twitch.tv/docs/video-broadcast/>, and the one that finds the nearest.
const TWITCH: Platform = Platform {
    name: "Twitch",
    hosts: &["ingest.global-contribute.live-video.net", ".contribute.live-video.net", "live.twitch.tv"],
    app: "app",
    default: "rtmps://ingest.global-contribute.live-video.net/app",
};
/// YouTube's: <https://support.google.com/youtube/answer/2907883>.
const YOUTUBE: Platform = Platform {
    name: "YouTube",
    hosts: &[".rtmps.youtube.com", ".rtmp.youtube.com"],
    app: "live2",
    default: "rtmps://a.rtmps.youtube.com/live2",
};
/// YouTube's second server is told so.
const BACKUP: &str = "?backup=1";

/// Longest address, bytes, and longest application in it.
const LONGEST_URL: usize = 512;
const LONGEST_APP: usize = 128;
/// RFC 1035, section 2.3.4.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
/// The ports that RTMP and RTMPS have unless a rule names another one.
const RTMP_PORT: u16 = 1935;
const RTMPS_PORT: u16 = 443;

struct Platform {
    name: &'static str,
    hosts: &'static [&'static str],
    app: &'static str,
    default: &'static str,
}

/// Which hosts destinations may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRules {
    /// Beside Twitch's and YouTube's ingest servers: names (`live.example.com`), suffixes (`.example.com`: every name under
    /// it) and IP addresses (`192.0.2.7`, `[2001:db8::7]`), each with a port (`:1936`, `:*` for any) or, without one, only
    /// 1935 for `rtmp` and 443 for `rtmps`.
    pub allowed: Vec<String>,
    /// Private, loopback and link-local addresses may be connected to: for tests and servers in one's own network.
    pub allow_private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("ingest: {0}")]
    Address(String),
    #[error("ingest: {0} is not among the allowed hosts; an operator adds it to `destinations.allowed_hosts`")]
    NotAllowed(String),
    #[error("ingest: {host} leads to {address}, which is not a public address")]
    Private { host: String, address: IpAddr },
}

impl HostRules {
    /// An ingest address as callers give it, without a key, normalised: `rtmp[s]://host[:port]/app`, in lower case up to the
    /// application and without a port that the scheme has anyway. Empty: the platform's own, for kinds that have one.
    ///
    /// # Errors
    /// What is wrong with it, or that the host is not allowed.
    pub fn ingest(&self, kind: DestinationKind, url: &str) -> Result<String, HostError> {
        let platform = match kind {
            DestinationKind::Twitch => Some(&TWITCH),
            DestinationKind::Youtube => Some(&YOUTUBE),
            DestinationKind::Rtmp => None,
            DestinationKind::LivekitRoom => return Err(bad("a LiveKit room has none; leave it out")),
        };
        if url.is_empty() {
            return match platform {
                Some(platform) => Ok(platform.default.to_owned()),
                None => Err(bad("a destination of kind rtmp needs one, like rtmps://live.example.com/app")),
            };
        }
        let address = Address::read(url)?;
        let named = match platform {
            Some(platform) if !platform.has(&address) => {
                let (host, name, default) = (address.named(), platform.name, platform.default);
                return Err(bad(&format!(
                    "{host} is not an ingest server of {name}; leave it out for {default}, or make a destination of kind rtmp"
                )));
            }
            Some(platform) => Some(platform),
            None => [&TWITCH, &YOUTUBE].into_iter().find(|platform| platform.has(&address)),
        };
        match named {
            Some(platform) if address.app != platform.app => {
                let (name, app) = (platform.name, platform.app);
                return Err(bad(&format!(
                    "an address of {name} ends in /{app}; the stream key is set apart, never in the address"
                )));
            }
            Some(_) => {}
            None => {
                let rules = self.allowed.iter().filter_map(|rule| Rule::read(rule));
                if !rules.into_iter().any(|rule| rule.lets(&address)) {
                    return Err(HostError::NotAllowed(address.named()));
                }
            }
        }
        if address.backup && named.is_none_or(|platform| platform.name != YOUTUBE.name) {
            return Err(bad("no query (`?…`) in the address"));
        }
        Ok(address.text())
    }

    /// The platform's own ingest address; None for kinds that have none.
    pub fn default_ingest(kind: DestinationKind) -> Option<&'static str> {
        match kind {
            DestinationKind::Twitch => Some(TWITCH.default),
            DestinationKind::Youtube => Some(YOUTUBE.default),
            DestinationKind::Rtmp | DestinationKind::LivekitRoom => None,
        }
    }

    /// Whether an address that `host` resolved to may be connected to. Only global unicast addresses may; with
    /// [`HostRules::allow_private`] those of one's own network too, but never metadata services and what no server has
    /// (multicast, broadcast, documentation, benchmarks). IPv6 forms that carry an IPv4 address are judged by that one, and
    /// of these only NAT64's is taken as public: an IPv6-only network reaches every IPv4 server by it.
    ///
    /// # Errors
    /// [`HostError::Private`].
    pub fn address(&self, host: &str, address: IpAddr) -> Result<(), HostError> {
        let class = match address {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => v6(address),
        };
        match class {
            Class::Public => Ok(()),
            Class::Own if self.allow_private => Ok(()),
            _ => Err(HostError::Private { host: host.to_owned(), address }),
        }
    }

    /// [`HostRules::address`] for one host, as the guard of a destination
    /// ([`AddressGuard::new`](crate::output::rtmp::AddressGuard::new)) takes it.
    pub fn judge(&self, host: &str) -> impl Fn(IpAddr) -> Result<(), String> + Send + Sync + 'static {
        let (rules, host) = (self.clone(), host.to_owned());
        move |address| rules.address(&host, address).map_err(|error| error.to_string())
    }

    /// The first rule of [`HostRules::allowed`] that cannot be read, for whoever reads settings.
    ///
    /// # Errors
    /// The rule, and what rules look like.
    pub fn check(&self) -> Result<(), String> {
        match self.allowed.iter().find(|rule| Rule::read(rule).is_none()) {
            None => Ok(()),
            Some(rule) => Err(format!(
                "{rule:?} is no host: expected a name (live.example.com), a suffix (.example.com) or an IP address, each with \
                 or without a port (:1936, or :* for any)"
            )),
        }
    }
}

/// Host, with the port where one is named, of an address that [`HostRules::ingest`] gave: what a stream key is sealed for.
pub fn ingest_host(ingest: &str) -> &str {
    let rest = ingest.split_once("://").map_or(ingest, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// Lower case.
    Name(String),
    Ip(IpAddr),
}

/// An address taken apart.
struct Address {
    tls: bool,
    host: Host,
    port: u16,
    app: String,
    /// `?backup=1` follows.
    backup: bool,
}

impl Address {
    fn read(url: &str) -> Result<Address, HostError> {
        if url.len() > LONGEST_URL {
            return Err(bad(&format!("at most {LONGEST_URL} bytes")));
        }
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("no white space and no control characters"));
        }
        if !url.is_ascii() {
            return Err(bad("only ASCII: write an international name in its xn-- form"));
        }
        if url.contains('\\') {
            return Err(bad("no backslash"));
        }
        if url.contains('#') {
            return Err(bad("no fragment (`#…`)"));
        }
        let schemes = [("rtmp://", false), ("rtmps://", true)];
        let scheme = schemes.iter().find_map(|(scheme, tls)| {
            let head = url.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then(|| (*tls, &url[scheme.len()..]))
        });
        let Some((tls, rest)) = scheme else { return Err(bad("it must begin with rtmp:// or rtmps://")) };
        let (rest, backup) = match rest.strip_suffix(BACKUP) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        if rest.contains('?') {
            return Err(bad("no query (`?…`) in the address"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(bad("no user or password before the host"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| bad("the port is a number from 1 to 65535"))?;
        let host = Host::read(host).map_err(bad)?;
        let app = path.strip_suffix('/').unwrap_or(path);
        if app.is_empty() {
            return Err(bad("an application follows the host, like /app or /live2"));
        }
        let letters = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~'));
        if app.len() > LONGEST_APP || app.split('/').any(|part| matches!(part, "" | "." | "..") || !letters(part)) {
            return Err(bad(&format!(
                "the application has at most {LONGEST_APP} of the characters A-Z a-z 0-9 - _ . ~ between single slashes"
            )));
        }
        let port = port.unwrap_or(if tls { RTMPS_PORT } else { RTMP_PORT });
        Ok(Address { tls, host, port, app: app.to_owned(), backup })
    }

    fn usual_port(&self) -> bool {
        self.port == if self.tls { RTMPS_PORT } else { RTMP_PORT }
    }

    /// Host, with the port where it is not the scheme's.
    fn named(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Ip(IpAddr::V4(address)) => address.to_string(),
            Host::Ip(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.usual_port() { host } else { format!("{host}:{}", self.port) }
    }

    fn text(&self) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        format!("{scheme}://{}/{}{}", self.named(), self.app, if self.backup { BACKUP } else { "" })
    }
}

impl Host {
    /// A name of letters, digits and hyphens (RFC 1123, section 2.1) or an IP address in its usual form. Everything that some
    /// resolvers read as an IPv4 address (`127.1`, `0x7f.1`, `017700000001`) ends in a label of digits or `0x…`, and no
    /// public name does: those are refused.
    fn read(text: &str) -> Result<Host, &'static str> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').and_then(|a| a.parse::<Ipv6Addr>().ok());
            return address.map(|a| Host::Ip(a.into())).ok_or("what stands in brackets is no IPv6 address");
        }
        if text.is_empty() {
            return Err("the host is missing");
        }
        if text.ends_with('.') {
            return Err("no dot at the end of the host");
        }
        let label = |l: &str| {
            (1..=LONGEST_LABEL).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() > LONGEST_NAME || !text.split('.').all(label) {
            return Err("the host must be a name of letters, digits, hyphens and dots, or an IP address");
        }
        let last = text.rsplit('.').next().unwrap_or(text);
        let number =
            |l: &str| l.bytes().all(|b| b.is_ascii_digit()) || l.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("0x"));
        if number(last) {
            let address = text.parse::<Ipv4Addr>();
            return address.map(|a| Host::Ip(a.into())).map_err(|_| "an IPv4 address has four numbers from 0 to 255");
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }
}

/// Host and port of `host[:port]`; None when the port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let at = match text.strip_prefix('[') {
        Some(rest) => text.len() - rest.len() + rest.find(']').map_or(rest.len(), |end| end + 1),
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(at);
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':').filter(|p| !p.starts_with('0') && p.bytes().all(|b| b.is_ascii_digit()))?;
    Some((host, Some(digits.parse().ok()?)))
}

impl Platform {
    /// Its servers listen on the schemes' own ports.
    fn has(&self, address: &Address) -> bool {
        self.hosts.iter().filter_map(|rule| Rule::read(rule)).any(|rule| rule.lets(address))
    }
}

enum Whose {
    Host(Host),
    /// Begins with a dot.
    Under(String),
}

enum Ports {
    Usual,
    Any,
    One(u16),
}

struct Rule {
    whose: Whose,
    ports: Ports,
}

impl Rule {
    fn read(text: &str) -> Option<Rule> {
        let text = text.trim();
        let (host, ports) = match text.strip_suffix(":*") {
            Some(host) => (host, Ports::Any),
            None => match split_port(text)? {
                (host, Some(port)) => (host, Ports::One(port)),
                (host, None) => (host, Ports::Usual),
            },
        };
        // `*.example.com` is how others write it.
        let suffix = host.strip_prefix('*').unwrap_or(host).strip_prefix('.');
        let whose = match (suffix, Host::read(suffix.unwrap_or(host)).ok()?) {
            (Some(_), Host::Name(name)) => Whose::Under(format!(".{name}")),
            (Some(_), Host::Ip(_)) => return None,
            (None, host) => Whose::Host(host),
        };
        Some(Rule { whose, ports })
    }

    fn lets(&self, address: &Address) -> bool {
        let host = match (&self.whose, &address.host) {
            (Whose::Host(mine), host) => mine == host,
            (Whose::Under(suffix), Host::Name(name)) => name.ends_with(suffix.as_str()) && name.len() > suffix.len(),
            (Whose::Under(_), Host::Ip(_)) => false,
        };
        host && match self.ports {
            Ports::Usual => address.usual_port(),
            Ports::Any => true,
            Ports::One(port) => address.port == port,
        }
    }
}

fn bad(words: &str) -> HostError {
    HostError::Address(words.to_owned())
}

/// Worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Global unicast.
    Public,
    /// Of one's own machine or network.
    Own,
    /// No streaming server is there, or something is that must not be talked to.
    Never,
}

/// By IANA's registry of special-purpose IPv4 addresses (RFC 6890).
fn v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // Where clouds tell a machine its secrets: AWS, Google, Azure and others; ECS tasks and EKS pods; Alibaba; Azure's host;
        // Oracle's older one lies in 192.0.0.0/24.
        [169, 254, 169, 254] | [169, 254, 170, 2 | 23] | [100, 100, 100, 200] | [168, 63, 129, 16] => Class::Never,
        // "This network", and the unspecified address.
        [0, ..] => Class::Never,
        // RFC 1918, loopback, link-local, carrier-grade NAT (RFC 6598).
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] | [100, 64..=127, ..] => Class::Own,
        // Protocol assignments, documentation (RFC 5737), 6to4 relays (RFC 7526), benchmarks (RFC 2544).
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            Class::Never
        }
        // Multicast, reserved, broadcast.
        [224..=255, ..] => Class::Never,
        _ => Class::Public,
    }
}

/// By IANA's registry of special-purpose IPv6 addresses; only 2000::/3 is global unicast.
fn v6(address: Ipv6Addr) -> Class {
    let s = address.segments();
    let inner = |high: u16, low: u16| v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Own,
        // IPv4-mapped (::ffff:0:0/96), IPv4-translated (::ffff:0:0:0/96), IPv4-compatible (::/96).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
            inner(high, low).max(Class::Own)
        }
        // NAT64 (RFC 6052): the way to every IPv4 server from a network that has only IPv6.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        // NAT64 of one's own network (RFC 8215).
        [0x64, 0xff9b, 1, ..] => Class::Own,
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => inner(high, low).max(Class::Own),
        // Teredo (RFC 4380): the client's address is inverted.
        [0x2001, 0, _, _, _, _, high, low] => inner(!high, !low).max(Class::Own),
        // AWS's metadata service.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Class::Never,
        // Unique local and link-local; site-local of old.
        [0xfc00..=0xfdff, ..] | [0xfe80..=0xfeff, ..] => Class::Own,
        // Protocol assignments (2001::/23: benchmarks, ORCHID and others), documentation (RFC 3849, RFC 9637).
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Never,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Never,
    }
}
