//! A LiveKit server as seen from outside a room: where it is, how tokens for it are made, its rooms and its Egress jobs.
//!
//! Publishing into a room is [`crate::output::livekit`]; what the server tells us by itself is [`crate::webhook`].
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Server`]: address and API key, which cannot print its secret |
//! | [`error`] | [`ApiError`]: what a request to the server can end in, in plain words |
//! | [`token`] | who may do what in a room: roles, grants, join tokens |
//! | [`rooms`] | rooms and participants through RoomService |
//! | [`egress`] | requests to the Egress service |

pub mod egress;
pub mod error;
pub mod rooms;
pub mod token;

pub use error::ApiError;

use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Once;

/// The secret of `livekit-server --dev`. Everybody knows it, and it is a word of plain English: taking it out of every log
/// line would only garble them.
const DEV_SECRET: &str = "secret";
/// LiveKit's server asks for secrets of at least this many bytes; it complains of shorter ones and takes them.
pub const SECRET_BYTES: usize = 32;

/// Address and API key of a LiveKit server. `Debug` prints neither key nor secret.
#[derive(Clone)]
pub struct Server {
    /// `ws://` or `wss://`, host and port, no path at the end.
    url: String,
    key: String,
    secret: SecretString,
}

/// Why [`Server::new`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    #[error(
        "the LiveKit address must be ws://, wss://, http:// or https:// and a host, without user, path or query \
         (LIVEKIT_URL)"
    )]
    Url,
    #[error("the LiveKit API key is missing (LIVEKIT_API_KEY)")]
    NoKey,
    #[error("the LiveKit API secret is missing (LIVEKIT_API_SECRET)")]
    NoSecret,
}

impl Server {
    /// `url`: `ws`, `wss`, `http` or `https`; user, path and query are refused. White space around the three is cut. The
    /// secret is registered with [`crate::output::log`] and never printed.
    ///
    /// # Errors
    /// What is wrong or missing; never the text itself.
    pub fn new(url: &str, key: &str, secret: SecretString) -> Result<Server, ServerError> {
        let url = signalling_url(url.trim()).ok_or(ServerError::Url)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(ServerError::NoKey);
        }
        let text = secret.expose_secret().trim();
        if text.is_empty() {
            return Err(ServerError::NoSecret);
        }
        if text != DEV_SECRET {
            crate::output::log::register_secret(text);
        }
        let secret = SecretString::from(text);
        Ok(Server { url, key: key.to_owned(), secret })
    }

    /// For signalling: `ws…`.
    pub fn ws_url(&self) -> &str {
        &self.url
    }

    /// For the API: `http…`.
    pub fn http_url(&self) -> String {
        self.url.replacen("ws", "http", 1)
    }

    /// Host, with the port where the address names one: for status lines.
    pub fn host(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, host)| host)
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, key …)", self.url)
    }
}

/// `ws://host[:port]` or `wss://host[:port]` of any of the four schemes.
fn signalling_url(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((&*authority, None), |(host, port)| (host, Some(port)));
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if !host.bytes().all(plain) {
                return None;
            }
            (host, port)
        }
    };
    // `u16::parse` takes a plus sign.
    let valid = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || port.is_some_and(|port| !valid(port)) {
        return None;
    }
    Some(format!("{scheme}://{authority}"))
}

/// Chooses the cryptography of TLS for the whole process, once. To be called before the first connection.
///
/// rustls finds its provider by itself only while exactly one is compiled in; a program that links agentcast may bring the
/// other one, and rustls would panic. One that the program has installed stays.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    // An error says that there is one already.
    ONCE.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, ServerError> {
        Server::new(url, "key", SecretString::from("address-canary-secret"))
    }

    #[test]
    fn addresses_of_all_four_schemes_give_a_signalling_and_an_api_address() {
        for (given, ws, http) in [
            ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880", "http://127.0.0.1:7880"),
            ("http://localhost:7880/", "ws://localhost:7880", "http://localhost:7880"),
            (" WSS://Live.Example.com \n", "wss://live.example.com", "https://live.example.com"),
            ("https://[::1]:443", "wss://[::1]:443", "https://[::1]:443"),
            ("wss://[2001:db8::1]", "wss://[2001:db8::1]", "https://[2001:db8::1]"),
        ] {
            let server = server(given).unwrap();
            assert_eq!((server.ws_url(), &*server.http_url()), (ws, http), "{given}");
        }
        assert_eq!(server("wss://live.example.com:444").unwrap().host(), "live.example.com:444");
    }

    #[test]
    fn addresses_with_anything_but_a_host_are_refused() {
        for url in [
            "",
            "live.example.com",
            "rtmp://h",
            "ws://",
            "ws://:7880",
            "ws://h:0",
            "ws://h:99999",
            "ws://h:+1",
            "ws://h:",
            "ws://user:pw@h",
            "ws://h/path",
            "ws://h?q=1",
            "ws://h#f",
            "ws://a b",
            "ws://[::1",
            "ws://[h]",
            "ws://[::1]x",
        ] {
            assert_eq!(server(url).unwrap_err(), ServerError::Url, "{url}");
        }
    }

    #[test]
    fn a_missing_key_or_secret_is_named() {
        let new = |key, secret: &str| Server::new("ws://h", key, SecretString::from(secret)).unwrap_err();
        assert_eq!(new(" ", "s"), ServerError::NoKey);
        assert_eq!(new("k", "\n"), ServerError::NoSecret);
        assert!(ServerError::NoSecret.to_string().contains("LIVEKIT_API_SECRET"));
    }

    #[test]
    fn debug_prints_neither_key_nor_secret_and_the_log_knows_the_secret() {
        let secret = "debug-canary-0123456789";
        let server = Server::new("wss://h", "APIcanary", SecretString::from(secret)).unwrap();
        let shown = format!("{server:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(crate::output::log::scrub(&format!("x {secret} y")), "x [key] y");
    }

    #[test]
    fn the_secret_of_a_development_server_leaves_log_lines_readable() {
        Server::new("ws://127.0.0.1:7880", "devkey", SecretString::from("secret")).unwrap();
        assert_eq!(crate::output::log::scrub("a secret key"), "a secret key");
    }

    #[test]
    fn installing_the_cryptography_twice_is_harmless() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
