//! The settings of the service: flags over environment over a TOML file over defaults, each documented once.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Config`]: what the service reads |
//! | `load` | from flags, environment and file to a [`Config`], with errors that name where a value came from |
//! | `explain` | the table of all settings that `agentcast config --explain` prints |
//! | `reload` | SIGHUP and file changes: what can change while running, and what needs a restart |

use crate::secure::HostRules;
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
    pub retention: RetentionConfig,
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
    /// What one output costs an hour.
    pub price_per_output_hour: f64,
    /// Its currency, for words only.
    pub currency: String,
    /// x264's preset.
    pub preset: String,
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Origins that browsers may call the API from.
    pub cors_origins: Vec<String>,
    /// Pages that may hold the overlay page in a frame: sources of `frame-ancestors`.
    pub frame_ancestors: Vec<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
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
                price_per_output_hour: 0.0,
                currency: "USD".into(),
                preset: "veryfast".into(),
            },
            hosts: HostRules::default(),
            ca_file: None,
            http: HttpConfig { cors_origins: Vec::new(), frame_ancestors: Vec::new(), trusted_proxies: Vec::new() },
            limits: LimitsConfig {
                events_per_second: 60,
                events_burst: 120,
                sessions_per_minute: 120,
                auth_failures_per_minute: 10,
                requests_per_second: 50,
                requests_burst: 200,
            },
            retention: RetentionConfig {
                matches: Duration::from_secs(30 * DAY),
                matches_bytes: 4 << 30,
                audit: Duration::from_secs(365 * DAY),
            },
        }
    }
}
