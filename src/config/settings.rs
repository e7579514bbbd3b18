//! The table of all settings. Loading, errors, `agentcast config` and its example file, the command line's flags and what a
//! reload applies all come from here.

use super::{Config, LogFormat, Secrets, value};
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// One setting.
pub struct Setting {
    /// As the TOML file writes it: `streaming.over` is `over` under `[streaming]`.
    pub name: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What the value looks like: `TIME`, `ADDRESS:PORT`.
    pub shape: &'static str,
    pub what: &'static str,
    /// Whether a running service takes a change.
    pub reloads: bool,
    pub kind: Kind,
}

/// What becomes of a value.
pub enum Kind {
    Plain {
        form: Form,
        /// Reads it; the error says what is expected, and does not repeat the text.
        set: fn(&mut Config, &str) -> Result<(), String>,
        /// Writes it as `set` reads it.
        show: fn(&Config) -> String,
    },
    /// Comes from the environment or a file, not from a flag: others on the host can read those.
    Secret { slot: fn(&mut Secrets) -> &mut Option<SecretString> },
}

/// How TOML writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In quotes.
    Text,
    /// A number, `true` or `false`.
    Bare,
    /// Texts in brackets; between commas everywhere else.
    List,
}

impl Setting {
    /// `--streaming-over`; for a secret the flag that names its file.
    pub fn flag(&self) -> String {
        format!("--{}", self.flag_name())
    }

    /// The flag without its dashes.
    pub fn flag_name(&self) -> String {
        let name = self.name.replace(['.', '_'], "-");
        if self.is_secret() { name + "-file" } else { name }
    }

    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }

    /// `streaming`; empty for what stands at the top of the file.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// `over` of `streaming.over`.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const TEN_YEARS: Duration = Duration::from_secs(3_650 * 86_400);

const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];

/// Empty text is no value.
fn optional(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn shown(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

/// All of them, in the order of the example file: what stands at the top, then section by section.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        env: "AGENTCAST_LISTEN",
        shape: "ADDRESS:PORT",
        what: "Where the service listens: HTTP/1.1 and h2c, without TLS. Port 0 takes any free one.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.listen = text.parse().map_err(|_| "expected an address and a port, for example 127.0.0.1:8080")?;
                Ok(())
            },
            show: |c| c.listen.to_string(),
        },
    },
    Setting {
        name: "public_url",
        env: "PUBLIC_URL",
        shape: "URL",
        what: "Where browsers and game servers reach the service, for links and cookies: https://cast.example.com. \
               Without it http:// and the address listened on.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.public_url = optional(text).map(|text| value::origin(&text)).transpose()?;
                Ok(())
            },
            show: |c| shown(&c.public_url),
        },
    },
    Setting {
        name: "data_dir",
        env: "AGENTCAST_DATA_DIR",
        shape: "FOLDER",
        what: "Holds agentcast.db and temporary files. Made when missing, for this user only.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                if text.is_empty() {
                    return Err("expected a folder".into());
                }
                c.data_dir = PathBuf::from(text);
                Ok(())
            },
            show: |c| c.data_dir.display().to_string(),
        },
    },
    Setting {
        name: "database",
        env: "AGENTCAST_DATABASE",
        shape: "URL",
        what: "postgres://user:password@host/name keeps the store in PostgreSQL. Without it: SQLite in data_dir.",
        reloads: false,
        kind: Kind::Secret { slot: |s| &mut s.database },
    },
    Setting {
        name: "stream_key_encryption_key",
        env: "STREAM_KEY_ENCRYPTION_KEY",
        shape: "KEY",
        what: "Encrypts the stream keys in the store: 32 bytes as base64 or hex, or id:key,id:key while rotating (the first \
               one encrypts). `agentcast key generate` makes one. Whoever loses it has to set all stream keys anew.",
        reloads: false,
        kind: Kind::Secret { slot: |s| &mut s.stream_key_encryption_key },
    },
    Setting {
        name: "streaming_jwt_secret",
        env: "STREAMING_JWT_SECRET",
        shape: "SECRET",
        what: "Signs the tokens of overlay sessions: at least 32 bytes, or id:secret,id:secret while rotating (the first one \
               signs, all are accepted). `agentcast key generate --jwt` makes one.",
        reloads: false,
        kind: Kind::Secret { slot: |s| &mut s.streaming_jwt_secret },
    },
    Setting {
        name: "streaming.enabled",
        env: "STREAMING_ENABLED",
        shape: "BOOL",
        what: "Whether anything may go on air, until somebody sets the flag (PUT /v1/flags/streaming), which then counts and \
               survives restarts.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.streaming.enabled = value::flag(text)?;
                Ok(())
            },
            show: |c| c.streaming.enabled.to_string(),
        },
    },
    Setting {
        name: "streaming.over",
        env: "AGENTCAST_STREAMING_OVER",
        shape: "TIME",
        what: "How long the over scene stays after a match; then the broadcast waits for the agent's next one.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.streaming.over = value::duration(text, Duration::ZERO, HOUR)?;
                Ok(())
            },
            show: |c| value::show_duration(c.streaming.over),
        },
    },
    Setting {
        name: "streaming.idle",
        env: "AGENTCAST_STREAMING_IDLE",
        shape: "TIME",
        what: "How long a broadcast waits for the next match on the starting scene; then it ends.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.streaming.idle = value::duration(text, Duration::ZERO, DAY)?;
                Ok(())
            },
            show: |c| value::show_duration(c.streaming.idle),
        },
    },
    Setting {
        name: "streaming.max_encodes",
        env: "AGENTCAST_STREAMING_MAX_ENCODES",
        shape: "NUMBER",
        what: "Pictures drawn and encoded at once on this machine; a stream over it is refused with that reason.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.streaming.max_encodes = value::number(text, 1, 1_024)?;
                Ok(())
            },
            show: |c| c.streaming.max_encodes.to_string(),
        },
    },
    Setting {
        name: "streaming.max_encodes_per_tenant",
        env: "AGENTCAST_STREAMING_MAX_ENCODES_PER_TENANT",
        shape: "NUMBER",
        what: "Of these, how many one tenant may have at once, so that there are some for the others.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.streaming.max_encodes_per_tenant = value::number(text, 1, 1_024)?;
                Ok(())
            },
            show: |c| c.streaming.max_encodes_per_tenant.to_string(),
        },
    },
    Setting {
        name: "streaming.price_per_output_hour",
        env: "AGENTCAST_STREAMING_PRICE_PER_OUTPUT_HOUR",
        shape: "NUMBER",
        what: "What one hour of one output costs, for /v1/usage and the budgets of agents. 0: nothing.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.streaming.price_per_output_hour = value::number(text, 0.0, 1e6)?;
                Ok(())
            },
            show: |c| c.streaming.price_per_output_hour.to_string(),
        },
    },
    Setting {
        name: "streaming.currency",
        env: "AGENTCAST_STREAMING_CURRENCY",
        shape: "WORD",
        what: "The currency of that price, for words only.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                if text.is_empty()
                    || text.chars().count() > 8
                    || text.chars().any(|c| c.is_control() || c.is_whitespace())
                {
                    return Err("expected 1 to 8 characters".into());
                }
                c.streaming.currency = text.to_owned();
                Ok(())
            },
            show: |c| c.streaming.currency.clone(),
        },
    },
    Setting {
        name: "streaming.preset",
        env: "AGENTCAST_STREAMING_PRESET",
        shape: "NAME",
        what: "x264's preset: ultrafast, superfast, veryfast, faster, fast or medium.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.streaming.preset = value::choice(text, &PRESETS)?.to_owned();
                Ok(())
            },
            show: |c| c.streaming.preset.clone(),
        },
    },
    Setting {
        name: "streaming.adapter",
        env: "AGENTCAST_ADAPTER",
        shape: "NAME",
        what: "Part of the name of the graphics adapter to draw with. Without it: a real GPU first, the CPU else.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.streaming.adapter = optional(text);
                Ok(())
            },
            show: |c| shown(&c.streaming.adapter),
        },
    },
    Setting {
        name: "destinations.allowed_hosts",
        env: "AGENTCAST_DESTINATIONS_ALLOWED_HOSTS",
        shape: "HOST,…",
        what: "Hosts that streams may be sent to beside Twitch's and YouTube's: live.example.com, or .example.com for all \
               below it, each with a port where it is not the usual one (:1936, :* for any).",
        reloads: true,
        kind: Kind::Plain {
            form: Form::List,
            set: |c, text| {
                c.hosts.allowed = value::list(text, |host| Ok(host.to_ascii_lowercase()))?;
                // Its own words repeat the text.
                c.hosts.check().map_err(|_| {
                    "expected names (live.example.com), suffixes (.example.com) or addresses, each with or without a port \
                     (:1936, or :* for any)"
                        .into()
                })
            },
            show: |c| c.hosts.allowed.join(","),
        },
    },
    Setting {
        name: "destinations.allow_private",
        env: "AGENTCAST_DESTINATIONS_ALLOW_PRIVATE",
        shape: "BOOL",
        what: "Whether allowed hosts may have private, loopback or link-local addresses: for a server in your own network.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.hosts.allow_private = value::flag(text)?;
                Ok(())
            },
            show: |c| c.hosts.allow_private.to_string(),
        },
    },
    Setting {
        name: "destinations.ca_file",
        env: "AGENTCAST_DESTINATIONS_CA_FILE",
        shape: "FILE",
        what: "Certificates (PEM) that destinations' servers are trusted by, beside the system's.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.ca_file = optional(text).map(PathBuf::from);
                Ok(())
            },
            show: |c| c.ca_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        },
    },
    Setting {
        name: "livekit.url",
        env: "LIVEKIT_URL",
        shape: "URL",
        what: "A LiveKit server, for rooms, Egress and webhooks: wss://host. Without it, and its key, there are none.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.livekit_url = optional(text).map(|text| value::server(&text)).transpose()?;
                Ok(())
            },
            show: |c| shown(&c.livekit_url),
        },
    },
    Setting {
        name: "livekit.api_key",
        env: "LIVEKIT_API_KEY",
        shape: "KEY",
        what: "The API key of that server.",
        reloads: false,
        kind: Kind::Secret { slot: |s| &mut s.livekit_api_key },
    },
    Setting {
        name: "livekit.api_secret",
        env: "LIVEKIT_API_SECRET",
        shape: "SECRET",
        what: "The secret of that key.",
        reloads: false,
        kind: Kind::Secret { slot: |s| &mut s.livekit_api_secret },
    },
    Setting {
        name: "http.cors_origins",
        env: "AGENTCAST_HTTP_CORS_ORIGINS",
        shape: "URL,…",
        what: "Pages of these origins may call the API from a browser: https://game.example.com.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::List,
            set: |c, text| {
                c.http.cors_origins = value::list(text, value::origin)?;
                Ok(())
            },
            show: |c| c.http.cors_origins.join(","),
        },
    },
    Setting {
        name: "http.frame_ancestors",
        env: "AGENTCAST_HTTP_FRAME_ANCESTORS",
        shape: "URL,…",
        what: "Pages that may hold the overlay page in a frame: 'self', https://game.example.com, https://*.example.com.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::List,
            set: |c, text| {
                c.http.frame_ancestors = value::list(text, value::ancestor)?;
                Ok(())
            },
            show: |c| c.http.frame_ancestors.join(","),
        },
    },
    Setting {
        name: "http.trusted_proxies",
        env: "AGENTCAST_HTTP_TRUSTED_PROXIES",
        shape: "ADDRESS,…",
        what: "Addresses of your own reverse proxies: whose X-Forwarded-For is believed.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::List,
            set: |c, text| {
                let address = |text: &str| text.parse().map_err(|_| "expected IP addresses".to_owned());
                c.http.trusted_proxies = value::list(text, address)?;
                Ok(())
            },
            show: |c| c.http.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        },
    },
    Setting {
        name: "http.connections",
        env: "AGENTCAST_HTTP_CONNECTIONS",
        shape: "NUMBER",
        what: "Connections at once of callers with a key or token, WebSockets included. A quarter as many more may be there \
               without one; when more come, the oldest of those go. Each is an open file: see `ulimit -n`.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.http.connections = value::number(text, 64, 1_000_000)?;
                Ok(())
            },
            show: |c| c.http.connections.to_string(),
        },
    },
    Setting {
        name: "http.connections_per_address",
        env: "AGENTCAST_HTTP_CONNECTIONS_PER_ADDRESS",
        shape: "NUMBER",
        what: "Connections at once from one address (IPv6: one /64). This machine and trusted proxies are not counted.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.http.connections_per_address = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.http.connections_per_address.to_string(),
        },
    },
    Setting {
        name: "limits.events_per_second",
        env: "AGENTCAST_LIMITS_EVENTS_PER_SECOND",
        shape: "NUMBER",
        what: "Events of one match a second, over time.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.events_per_second = value::number(text, 1, 10_000)?;
                Ok(())
            },
            show: |c| c.limits.events_per_second.to_string(),
        },
    },
    Setting {
        name: "limits.events_burst",
        env: "AGENTCAST_LIMITS_EVENTS_BURST",
        shape: "NUMBER",
        what: "Events of one match at once.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.events_burst = value::number(text, 1, 100_000)?;
                Ok(())
            },
            show: |c| c.limits.events_burst.to_string(),
        },
    },
    Setting {
        name: "limits.sessions_per_minute",
        env: "AGENTCAST_LIMITS_SESSIONS_PER_MINUTE",
        shape: "NUMBER",
        what: "Sessions made with one API key a minute; from one address ten times as many.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.sessions_per_minute = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.limits.sessions_per_minute.to_string(),
        },
    },
    Setting {
        name: "limits.auth_failures_per_minute",
        env: "AGENTCAST_LIMITS_AUTH_FAILURES_PER_MINUTE",
        shape: "NUMBER",
        what: "Refused keys and tokens from one address a minute; beyond it that address is turned away, but for keys in use.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.auth_failures_per_minute = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.limits.auth_failures_per_minute.to_string(),
        },
    },
    Setting {
        name: "limits.requests_per_second",
        env: "AGENTCAST_LIMITS_REQUESTS_PER_SECOND",
        shape: "NUMBER",
        what: "Requests with one API key a second, over time; events are counted apart.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.requests_per_second = value::number(text, 1, 100_000)?;
                Ok(())
            },
            show: |c| c.limits.requests_per_second.to_string(),
        },
    },
    Setting {
        name: "limits.requests_burst",
        env: "AGENTCAST_LIMITS_REQUESTS_BURST",
        shape: "NUMBER",
        what: "Requests with one API key at once.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.requests_burst = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.limits.requests_burst.to_string(),
        },
    },
    Setting {
        name: "limits.address_requests_per_second",
        env: "AGENTCAST_LIMITS_ADDRESS_REQUESTS_PER_SECOND",
        shape: "NUMBER",
        what: "Requests with session tokens from one address a second, over time; events are counted apart.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.address_requests_per_second = value::number(text, 1, 100_000)?;
                Ok(())
            },
            show: |c| c.limits.address_requests_per_second.to_string(),
        },
    },
    Setting {
        name: "limits.address_requests_burst",
        env: "AGENTCAST_LIMITS_ADDRESS_REQUESTS_BURST",
        shape: "NUMBER",
        what: "Requests with session tokens from one address at once.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.limits.address_requests_burst = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.limits.address_requests_burst.to_string(),
        },
    },
    Setting {
        name: "matches.close_after",
        env: "AGENTCAST_MATCHES_CLOSE_AFTER",
        shape: "TIME",
        what: "How long after its end and its last event a match that is over is closed, where the game server does not do \
               it; not before streaming.over and streaming.idle have passed.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.matches.close_after = value::duration(text, Duration::from_secs(1), DAY * 30)?;
                Ok(())
            },
            show: |c| value::show_duration(c.matches.close_after),
        },
    },
    Setting {
        name: "matches.silent_after",
        env: "AGENTCAST_MATCHES_SILENT_AFTER",
        shape: "TIME",
        what: "How long after its last event, or the service's start, a match that waits or runs is closed: its game server \
               is gone.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.matches.silent_after = value::duration(text, Duration::from_secs(60), DAY * 365)?;
                Ok(())
            },
            show: |c| value::show_duration(c.matches.silent_after),
        },
    },
    Setting {
        name: "matches.open_per_tenant",
        env: "AGENTCAST_MATCHES_OPEN_PER_TENANT",
        shape: "NUMBER",
        what: "Matches that a tenant may have open at once; a further one is refused until one is closed.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Bare,
            set: |c, text| {
                c.matches.open_per_tenant = value::number(text, 1, 1_000_000)?;
                Ok(())
            },
            show: |c| c.matches.open_per_tenant.to_string(),
        },
    },
    Setting {
        name: "retention.matches",
        env: "AGENTCAST_RETENTION_MATCHES",
        shape: "TIME",
        what: "How long the log of a closed match is kept.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.retention.matches = value::duration(text, HOUR, TEN_YEARS)?;
                Ok(())
            },
            show: |c| value::show_duration(c.retention.matches),
        },
    },
    Setting {
        name: "retention.matches_bytes",
        env: "AGENTCAST_RETENTION_MATCHES_BYTES",
        shape: "SIZE",
        what: "How large the logs of matches may be together; the oldest closed ones leave first.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.retention.matches_bytes = value::bytes(text, 1 << 20, 1 << 50)?;
                Ok(())
            },
            show: |c| value::show_bytes(c.retention.matches_bytes),
        },
    },
    Setting {
        name: "retention.audit",
        env: "AGENTCAST_RETENTION_AUDIT",
        shape: "TIME",
        what: "How long the audit log, the usage, and the records of streams that ended and matches that were closed are kept.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                c.retention.audit = value::duration(text, 35 * DAY, TEN_YEARS)?;
                Ok(())
            },
            show: |c| value::show_duration(c.retention.audit),
        },
    },
    Setting {
        name: "log.format",
        env: "AGENTCAST_LOG_FORMAT",
        shape: "NAME",
        what: "human: lines to read. json: one object a line.",
        reloads: false,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                let json = value::choice(text, &["human", "json"])? == "json";
                c.log.format = if json { LogFormat::Json } else { LogFormat::Human };
                Ok(())
            },
            show: |c| if c.log.format == LogFormat::Json { "json".into() } else { "human".into() },
        },
    },
    Setting {
        name: "log.level",
        env: "AGENTCAST_LOG",
        shape: "FILTER",
        what: "error, warn, info, debug or trace, or parts apart: warn,agentcast::server=debug.",
        reloads: true,
        kind: Kind::Plain {
            form: Form::Text,
            set: |c, text| {
                let good = !text.is_empty() && tracing_subscriber::EnvFilter::try_new(text).is_ok();
                if !good {
                    return Err(
                        "expected error, warn, info, debug, trace, or a filter like warn,agentcast::server=debug"
                            .into(),
                    );
                }
                c.log.level = text.to_owned();
                Ok(())
            },
            show: |c| c.log.level.clone(),
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_reads_back_as_itself() {
        let default = Config::default();
        for setting in SETTINGS {
            let Kind::Plain { set, show, .. } = setting.kind else { continue };
            let mut config = default.clone();
            set(&mut config, &show(&default)).unwrap_or_else(|words| panic!("{}: {words}", setting.name));
            assert_eq!(show(&config), show(&default), "{}", setting.name);
        }
    }

    #[test]
    fn no_name_stands_for_two_settings_and_sections_stay_together() {
        for names in [
            SETTINGS.iter().map(|s| s.name.to_owned()).collect::<Vec<_>>(),
            SETTINGS.iter().map(|s| s.env.to_owned()).collect(),
            SETTINGS.iter().map(Setting::flag).collect(),
        ] {
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        }
        let mut sections: Vec<_> = SETTINGS.iter().map(Setting::section).collect();
        sections.dedup();
        assert_eq!(sections.iter().collect::<BTreeSet<_>>().len(), sections.len(), "{sections:?}");
        assert_eq!(sections[0], "", "TOML wants them before the first section");
    }
}
