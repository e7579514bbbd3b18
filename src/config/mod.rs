//! The settings of the service: flags over environment over a TOML file over defaults, each documented once.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Config`]: what the service reads; [`Secrets`]: what it must not print |
//! | [`settings`] | the table of all settings: names, defaults, what each does. Everything else follows from it |
//! | `value` | durations, sizes, origins and lists as text |
//! | [`load`](mod@load) | from flags, environment and file to a [`Config`], with errors that name where a value came from |
//! | [`explain`](mod@explain) | what `agentcast config` prints |
//! | [`reload`](mod@reload) | what may change while the service runs, and what needs a restart |

pub mod explain;
pub mod load;
pub mod reload;
pub mod settings;
mod value;

use crate::secure::HostRules;
use crate::store::Place;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything but secrets.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where browsers and game servers reach the service: `https://cast.example.com`. None: `http://<listen>`.
    pub public_url: Option<String>,
    /// Holds `agentcast.db` and temporary files.
    pub data_dir: PathBuf,
    pub streaming: StreamingConfig,
    pub hosts: HostRules,
    /// Certificates (PEM) that destinations' servers are trusted by, beside the system's.
    pub ca_file: Option<PathBuf>,
    pub http: HttpConfig,
    pub limits: LimitsConfig,
    pub matches: MatchesConfig,
    pub retention: RetentionConfig,
    /// A LiveKit server's address; its key is among the [`Secrets`].
    pub livekit_url: Option<String>,
    pub log: LogConfig,
}

/// What the service keeps to itself, apart from everything that may be printed.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// `postgres://…`, which may hold a password. None: SQLite in the data folder.
    pub database: Option<SecretString>,
    /// For [`crate::secure::Keyring::parse`].
    pub stream_key_encryption_key: Option<SecretString>,
    /// For [`crate::secure::TokenSigner::parse`].
    pub streaming_jwt_secret: Option<SecretString>,
    pub livekit_api_key: Option<SecretString>,
    pub livekit_api_secret: Option<SecretString>,
}

impl Secrets {
    /// Where the store is: PostgreSQL when its address is set, else the SQLite file in the data folder.
    pub fn place(&self, config: &Config) -> Place {
        match &self.database {
            Some(url) => Place::Postgres(url.clone()),
            None => Place::Sqlite(config.data_dir.join("agentcast.db")),
        }
    }

    /// Takes all of them out of every log line from now on.
    pub fn register(&self) {
        let known = [
            &self.database,
            &self.stream_key_encryption_key,
            &self.streaming_jwt_secret,
            &self.livekit_api_key,
            &self.livekit_api_secret,
        ];
        for secret in known.into_iter().flatten() {
            let text = secret.expose_secret();
            // `id:key,id:key`: each key alone is as secret as all.
            let parts = text.split(',').map(|part| part.split_once(':').map_or(part, |(_, key)| key).trim());
            let user = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
            let password = user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
            let decoded = password.map(decoded);
            let parts = std::iter::once(text).chain(parts).chain(password).chain(decoded.as_deref());
            for part in parts {
                // A shorter one is a word: taking it out would only garble the log, and whoever reads it could guess it.
                if part.len() >= SHORTEST_REGISTERED {
                    crate::output::log::register_secret(part);
                    // As a JSON log line writes it.
                    let escaped = serde_json::Value::from(part).to_string();
                    crate::output::log::register_secret(escaped.trim_matches('"'));
                }
            }
        }
    }
}

/// A password as it is meant: `p%40ss` is `p@ss`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes; passwords of databases in examples are shorter.
const SHORTEST_REGISTERED: usize = 8;

/// How the service talks.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    /// `tracing` directives: `info`, `warn,agentcast::server=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words.
    Human,
    /// One JSON object a line.
    Json,
}

/// What goes on air.
#[derive(Clone, Debug)]
pub struct StreamingConfig {
    /// The flag while nobody has set it: `STREAMING_ENABLED`.
    pub enabled: bool,
    /// How long the over scene stays, then the broadcast waits for the agent's next match.
    pub over: Duration,
    /// How long a broadcast waits for the next match on the starting scene, then ends.
    pub idle: Duration,
    /// Renders + encodes at once on this machine.
    pub max_encodes: usize,
    /// Those of one tenant.
    pub max_encodes_per_tenant: usize,
    /// What one output costs an hour.
    pub price_per_output_hour: f64,
    /// Its currency, for words only.
    pub currency: String,
    /// x264's preset.
    pub preset: String,
    /// Part of the name of the graphics adapter to draw with; None: the best one.
    pub adapter: Option<String>,
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Origins that browsers may call the API from.
    pub cors_origins: Vec<String>,
    /// Pages that may hold the overlay page in a frame: sources of `frame-ancestors`.
    pub frame_ancestors: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Connections at once of callers with a key or token; a quarter as many more without.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
}

#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Events of one match a second, and at once.
    pub events_per_second: u32,
    pub events_burst: u32,
    /// Sessions made with one key a minute.
    pub sessions_per_minute: u32,
    /// Refused credentials from one address a minute.
    pub auth_failures_per_minute: u32,
    /// Requests with one key a second, and at once; the feed is counted apart.
    pub requests_per_second: u32,
    pub requests_burst: u32,
    /// Requests with session tokens from one address a second, and at once; the feed is counted apart.
    pub address_requests_per_second: u32,
    pub address_requests_burst: u32,
}

/// When matches are closed without anybody asking for it, and how many a tenant may have open.
#[derive(Clone, Debug)]
pub struct MatchesConfig {
    /// A match that is over is closed so long after its end or its last event.
    pub close_after: Duration,
    /// One that waits or runs is closed so long after its last event.
    pub silent_after: Duration,
    pub open_per_tenant: usize,
}

#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Logs of closed matches.
    pub matches: Duration,
    /// All logs together.
    pub matches_bytes: u64,
    pub audit: Duration,
}

impl Default for Config {
    fn default() -> Config {
        const DAY: u64 = 86_400;
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            data_dir: PathBuf::from("agentcast-data"),
            streaming: StreamingConfig {
                enabled: false,
                over: Duration::from_secs(45),
                idle: Duration::from_secs(120),
                max_encodes: 32,
                max_encodes_per_tenant: 16,
                price_per_output_hour: 0.0,
                currency: "USD".into(),
                preset: "veryfast".into(),
                adapter: None,
            },
            hosts: HostRules::default(),
            ca_file: None,
            http: HttpConfig {
                cors_origins: Vec::new(),
                frame_ancestors: Vec::new(),
                trusted_proxies: Vec::new(),
                connections: 4_096,
                connections_per_address: 256,
            },
            limits: LimitsConfig {
                events_per_second: 60,
                events_burst: 120,
                sessions_per_minute: 120,
                auth_failures_per_minute: 10,
                requests_per_second: 50,
                requests_burst: 200,
                address_requests_per_second: 500,
                address_requests_burst: 2_000,
            },
            matches: MatchesConfig {
                close_after: Duration::from_secs(10 * 60),
                silent_after: Duration::from_secs(6 * 3_600),
                open_per_tenant: 1_000,
            },
            retention: RetentionConfig {
                matches: Duration::from_secs(30 * DAY),
                matches_bytes: 4 << 30,
                audit: Duration::from_secs(365 * DAY),
            },
            livekit_url: None,
            log: LogConfig { format: LogFormat::Human, level: "info".into() },
        }
    }
}
