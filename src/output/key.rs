//! Stream keys and RTMP targets. Neither can print its secret.

use super::log;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::IpAddr;

/// Longest key and application name, bytes. FFmpeg builds the connect message in a buffer of about this much headroom.
const LONGEST: usize = 512;

/// A stream key. `Debug` prints `StreamKey(…)` and there is no `Display`. [`log`] knows it while an [`RtmpTarget`] has it, or
/// a clone of that one's: one that is only checked or stored is handed to nobody who could repeat it.
#[derive(Clone)]
pub struct StreamKey {
    text: SecretString,
    hidden: log::Hidden,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the stream key is empty")]
    Empty,
    #[error("the stream key is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the stream key contains a space or a control character; copy it again")]
    BadCharacter,
}

impl StreamKey {
    /// White space round the key (a copied line end) is dropped; a query (`?bandwidthtest=true`) belongs to the key and,
    /// like percent signs, passes untouched.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > LONGEST {
            return Err(KeyError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(KeyError::BadCharacter);
        }
        Ok(Self { text: SecretString::from(text), hidden: log::Hidden::default() })
    }

    pub(crate) fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// From now on log lines are without it, as long as this key or a clone of it lives.
    fn hide(mut self) -> Self {
        // Servers repeat the name without the query, too.
        let name = self.expose().split_once('?').map(|(name, _)| name);
        self.hidden = log::hide(std::iter::once(self.expose()).chain(name));
        self
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamKey(…)")
    }
}

/// Where to publish. Prints as scheme and host only: an application name may be part of a secret path.
#[derive(Clone)]
pub struct RtmpTarget {
    tls: bool,
    user: Option<SecretString>,
    /// Without brackets when an IPv6 address.
    host: String,
    port: Option<u16>,
    app: String,
    key: Option<StreamKey>,
    key_in_url: bool,
    /// User and password.
    _hidden: log::Hidden,
}

/// Says what is wrong without repeating the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the address must begin with rtmp:// or rtmps://")]
    Scheme,
    #[error("the address has no host name, or one with characters that a host name cannot have")]
    Host,
    #[error("the port in the address is not a number from 1 to 65535")]
    Port,
    #[error("the address has no application after the host (for example /app or /live2)")]
    NoApp,
    #[error("the application in the address is longer than {LONGEST} bytes")]
    AppTooLong,
    #[error("the address contains a space or a control character")]
    BadCharacter,
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl RtmpTarget {
    /// Reads `rtmp[s]://[user:password@]host[:port]/app[/key]`.
    ///
    /// With a `key` given apart, all of the path is the application. Without one, the last segment of the path is split
    /// off as the key and [`Self::key_in_url`] is set, so that the caller can warn (command lines are public on a
    /// machine). A path of one segment is an application without a key. A query after the application belongs to it
    /// (`/live2?backup=1/KEY`), one after the key belongs to the key (`/app/KEY?bandwidthtest=true`).
    pub fn parse(url: &str, key: Option<StreamKey>) -> Result<Self, TargetError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => false,
            "rtmps" => true,
            _ => return Err(TargetError::Scheme),
        };
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(TargetError::BadCharacter);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = split_port(address)?;
        let path = path.trim_matches('/');
        let (app, url_key) = if key.is_some() { (path, None) } else { split_key(path) };
        if app.is_empty() {
            return Err(TargetError::NoApp);
        }
        if app.len() > LONGEST {
            return Err(TargetError::AppTooLong);
        }
        let password = user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
        let hidden = log::hide(user.into_iter().chain(password));
        let key_in_url = url_key.is_some();
        let key = match url_key {
            Some(text) => Some(StreamKey::new(text)?),
            None => key,
        };
        Ok(Self {
            tls,
            user: user.map(SecretString::from),
            host: host.to_owned(),
            port,
            app: app.to_owned(),
            key: key.map(StreamKey::hide),
            key_in_url,
            _hidden: hidden,
        })
    }

    /// The key stood in the address, where others on the machine may read it.
    #[must_use]
    pub fn key_in_url(&self) -> bool {
        self.key_in_url
    }

    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub(crate) fn stream_key(&self) -> Option<&StreamKey> {
        self.key.as_ref()
    }

    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port in the address, or 1935 (RTMP) and 443 (RTMPS).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 443 } else { 1935 })
    }

    /// For [`super::Status`]: `rtmps live.example.com`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.scheme(), self.host_and_port())
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "rtmps" } else { "rtmp" }
    }

    /// The host in brackets where needed, with the port when the address named one.
    fn host_and_port(&self) -> String {
        let host = self.bracketed();
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// Host and port for error words: `live.example.com:443`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port())
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// What libavformat connects to: the host, or `at` in its place. Application and key travel as options, so no log line of
    /// its can name them.
    pub(super) fn connect_url(&self, at: Option<IpAddr>) -> SecretString {
        let user = self.user.as_ref().map(|u| format!("{}@", u.expose_secret())).unwrap_or_default();
        let address = match at {
            None => self.address(),
            Some(IpAddr::V4(at)) => format!("{at}:{}", self.port()),
            Some(IpAddr::V6(at)) => format!("[{at}]:{}", self.port()),
        };
        SecretString::from(format!("{}://{user}{address}/", self.scheme()))
    }

    /// The `tcUrl` of the connect command: the address as the platform wrote it, without the key.
    pub(super) fn tc_url(&self) -> String {
        format!("{}://{}/{}", self.scheme(), self.host_and_port(), self.app)
    }

    /// `rtmp[s]://[user:password@]host[:port]/app/key` in one piece, as the platform wrote it: for a service that publishes in
    /// our place. Without a key it ends in `/`, for such a service takes the last segment to be one.
    pub(crate) fn full_url(&self) -> SecretString {
        let user = self.user.as_ref().map(|u| format!("{}@", u.expose_secret())).unwrap_or_default();
        let key = self.key.as_ref().map(StreamKey::expose).unwrap_or_default();
        SecretString::from(format!("{}://{user}{}/{}/{key}", self.scheme(), self.host_and_port(), self.app))
    }

    pub(super) fn app(&self) -> &str {
        &self.app
    }

    pub(super) fn key(&self) -> Option<&StreamKey> {
        self.key.as_ref()
    }
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), TargetError> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(TargetError::Host)?;
        if !host.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.') {
            return Err(TargetError::Host);
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(TargetError::Host),
        }
    } else {
        let (host, port) = match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            return Err(TargetError::Host);
        }
        (host, port)
    };
    if host.is_empty() {
        return Err(TargetError::Host);
    }
    match port {
        None => Ok((host, None)),
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            _ => Err(TargetError::Port),
        },
    }
}

/// Splits a path into application and key.
fn split_key(path: &str) -> (&str, Option<&str>) {
    let query = path.find('?').unwrap_or(path.len());
    let cut = match path[..query].rfind('/') {
        Some(slash) => Some(slash),
        // One segment before the query: a slash inside the query ends the application (`live2?backup=1/KEY`).
        None => path[query..].find('/').map(|at| at + query),
    };
    match cut {
        Some(at) if !path[at + 1..].is_empty() => (&path[..at], Some(&path[at + 1..])),
        _ => (path, None),
    }
}

impl fmt::Display for RtmpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host_and_port())
    }
}

impl fmt::Debug for RtmpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtmpTarget({self}/…, key: {})", if self.has_key() { "…" } else { "none" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, Option<String>) {
        let target = RtmpTarget::parse(url, None).unwrap();
        (target.app.clone(), target.key.as_ref().map(|k| k.expose().to_owned()))
    }

    fn some(app: &str, key: &str) -> (String, Option<String>) {
        (app.into(), Some(key.into()))
    }

    #[test]
    fn a_key_in_the_address_is_split_off_with_its_query_untouched() {
        assert_eq!(parts("rtmp://h/app/k1234"), some("app", "k1234"));
        assert_eq!(parts("rtmp://h/app/inst/k1234"), some("app/inst", "k1234"));
        assert_eq!(parts("rtmp://h/app/k1234?bandwidthtest=true"), some("app", "k1234?bandwidthtest=true"));
        assert_eq!(parts("rtmp://h/app/k1%2F34?a=b/c"), some("app", "k1%2F34?a=b/c"));
        assert_eq!(parts("rtmps://b.example.com:443/live2?backup=1/k1234"), some("live2?backup=1", "k1234"));
        assert_eq!(parts("rtmps://b.example.com/live2?backup=1"), ("live2?backup=1".into(), None));
        assert_eq!(parts("RTMP://h/app/"), ("app".into(), None));
        assert!(RtmpTarget::parse("rtmp://h/app/k1234", None).unwrap().key_in_url());
    }

    #[test]
    fn a_key_given_apart_leaves_the_whole_path_to_the_application() {
        let key = StreamKey::new(" live_1234_abcd\n").unwrap();
        let target = RtmpTarget::parse("rtmps://h.example.com/app/inst", Some(key)).unwrap();
        assert_eq!(target.app, "app/inst");
        assert_eq!(target.key().unwrap().expose(), "live_1234_abcd");
        assert!(!target.key_in_url() && target.tls() && target.port() == 443);
    }

    #[test]
    fn nothing_secret_prints() {
        let target = RtmpTarget::parse("rtmp://joe:hunter22@h.example.com:1936/app/canary-key-1", None).unwrap();
        let error = format!("{:?}", RtmpTarget::parse("rtmp://h:99999/app/canary-key-1", None).unwrap_err());
        let printed = format!("{target} {target:?} {:?} {} {error}", target.key(), target.name());
        assert!(!printed.contains("canary") && !printed.contains("hunter22") && !printed.contains("app"), "{printed}");
        assert_eq!(target.to_string(), "rtmp://h.example.com:1936");
        assert_eq!(target.connect_url(None).expose_secret(), "rtmp://joe:hunter22@h.example.com:1936/");
        assert_eq!(target.tc_url(), "rtmp://h.example.com:1936/app");
    }

    #[test]
    fn the_log_knows_a_key_while_a_target_has_it_and_no_longer() {
        let words = "no knows-canary-key-1, knows-canary-key-1?x=1 nor knows-canary-password";
        let key = StreamKey::new("knows-canary-key-1?x=1").unwrap();
        assert_eq!(log::scrub(words), words, "a key that nobody connects with");
        let target = RtmpTarget::parse("rtmp://joe:knows-canary-password@h/app", Some(key)).unwrap();
        let clone = target.clone();
        drop(target);
        assert_eq!(log::scrub(words), "no [key], [key] nor [key]");
        drop(clone);
        assert_eq!(log::scrub(words), words);
    }

    #[test]
    fn ipv6_addresses_keep_their_brackets() {
        let target = RtmpTarget::parse("rtmp://[::1]:1936/app/k1234", None).unwrap();
        assert_eq!((target.host(), target.port()), ("::1", 1936));
        assert_eq!(target.connect_url(None).expose_secret(), "rtmp://[::1]:1936/");
    }

    #[test]
    fn a_judged_address_takes_the_place_of_the_host_only_where_the_connection_goes() {
        let target = RtmpTarget::parse("rtmp://h.example.com/app/k1234", None).unwrap();
        let to = |at: &str| target.connect_url(Some(at.parse().unwrap())).expose_secret().to_owned();
        assert_eq!(to("192.0.2.7"), "rtmp://192.0.2.7:1935/");
        assert_eq!(to("2001:db8::7"), "rtmp://[2001:db8::7]:1935/");
        assert_eq!(target.tc_url(), "rtmp://h.example.com/app");
    }

    #[test]
    fn bad_addresses_are_named() {
        let error = |url| RtmpTarget::parse(url, None).unwrap_err();
        assert_eq!(error("http://h/app"), TargetError::Scheme);
        assert_eq!(error("h/app"), TargetError::Scheme);
        assert_eq!(error("rtmp:///app/k"), TargetError::Host);
        assert_eq!(error("rtmp://h$x/app"), TargetError::Host);
        assert_eq!(error("rtmp://[::1/app"), TargetError::Host);
        assert_eq!(error("rtmp://h:0/app"), TargetError::Port);
        assert_eq!(error("rtmp://h"), TargetError::NoApp);
        assert_eq!(error("rtmp://h/a b"), TargetError::BadCharacter);
        assert_eq!(error(&format!("rtmp://h/app/{}", "k".repeat(600))), TargetError::Key(KeyError::TooLong));
        assert_eq!(StreamKey::new("  ").unwrap_err(), KeyError::Empty);
        assert_eq!(StreamKey::new("a b").unwrap_err(), KeyError::BadCharacter);
    }
}
