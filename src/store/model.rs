//! The records of the service. They go out by the API as they stand here, so none of them holds a secret.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Unix milliseconds.
pub type Millis = i64;

/// One game operator; owns agents, keys and matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// `ten_…`
    pub id: String,
    pub name: String,
    pub created_at: Millis,
}

/// An AI agent that plays matches and may stream them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// `agt_…`
    pub id: String,
    pub tenant_id: String,
    /// 1 to 200 characters.
    pub name: String,
    /// Who made it.
    pub author: String,
    /// The model it runs on.
    pub model: String,
    /// SHA-256 (hex) of its picture, when one was uploaded.
    pub avatar: Option<String>,
    /// The operator's switch.
    pub enabled: bool,
    pub defaults: AgentDefaults,
    pub limits: AgentLimits,
    /// Raised by every change; the ETag.
    pub version: i64,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// What an agent's streams look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentDefaults {
    /// `arena` or `paper`.
    pub theme: String,
    /// Picture size as `1280x720`; null: 1080p on a real GPU, else 720p.
    pub size: Option<String>,
    /// 24, 25, 30, 50 or 60.
    pub fps: u32,
    /// The picture is held back by this much, 0 to 600,000 ms.
    pub delay_ms: i64,
    /// Whose eyes: what the agent's own side sees, or what the audience may see.
    pub view: AgentView,
    /// Video, kbit/s; null: by size and frame rate.
    pub kbps: Option<u32>,
}

impl Default for AgentDefaults {
    fn default() -> Self {
        AgentDefaults {
            theme: "arena".into(),
            size: None,
            fps: 30,
            delay_ms: 0,
            view: AgentView::default(),
            kbps: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgentView {
    /// What this agent's side may see.
    Own,
    /// What is public.
    #[default]
    Spectator,
}

/// What an agent may use. Null: no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentLimits {
    /// Minutes on air a day (UTC); at the end of them its streams end cleanly.
    pub minutes_per_day: Option<u32>,
    /// Matches on air at once.
    pub concurrent: Option<u32>,
    /// What its outputs may cost a calendar month (UTC), in the currency of the price per output-hour in the settings.
    pub budget_per_month: Option<f64>,
}

/// Where an agent's stream goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// `dst_…`
    pub id: String,
    pub tenant_id: String,
    pub agent_id: String,
    pub kind: DestinationKind,
    pub via: Via,
    /// `rtmps://host[:port]/app`, without the key; null for a LiveKit room.
    pub ingest: Option<String>,
    /// Name of the room, for a LiveKit room. The LiveKit server knows it as `<tenantId>-<room>`: so do viewers, and tenants
    /// never meet in a room.
    pub room: Option<String>,
    pub enabled: bool,
    /// The stream key, which is never read back.
    pub key: Option<KeyInfo>,
    /// Raised by every change; the ETag.
    pub version: i64,
    pub created_at: Millis,
    pub updated_at: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DestinationKind {
    Twitch,
    Youtube,
    Rtmp,
    LivekitRoom,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    #[default]
    Direct,
    LivekitEgress,
}

/// What is shown of a stream key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyInfo {
    /// First 3 bytes of an HMAC of the key, hex.
    pub fingerprint: String,
    pub set_at: Millis,
    pub last_used_at: Option<Millis>,
}

/// A stream key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    pub destination_id: String,
    pub agent_id: String,
    /// Host (with port, if one is named) that the key was sealed for.
    pub host: String,
    /// Version of the key's record: part of what the seal binds.
    pub record_version: i64,
    /// Id of the key-encryption key that wraps the data key.
    pub kid: String,
    pub blob: Vec<u8>,
    pub fingerprint: String,
    pub set_at: Millis,
    pub last_used_at: Option<Millis>,
}

/// A match, fed by a game server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// `mat_…`
    pub id: String,
    pub tenant_id: String,
    /// What its events say under `match`, 1 to 64 characters.
    pub reference: String,
    pub title: String,
    /// Sides that are agents of this tenant: id of the side → id of the agent.
    pub sides: BTreeMap<String, String>,
    pub phase: MatchPhase,
    pub created_at: Millis,
    pub started_at: Option<Millis>,
    pub ended_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MatchPhase {
    /// No `match.started` or snapshot yet.
    #[default]
    Waiting,
    Running,
    /// `match.ended` has come.
    Over,
    /// Closed; its sessions are over and its log may be thrown away.
    Closed,
}

/// The right to feed or to watch one match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `ses_…`
    pub id: String,
    pub tenant_id: String,
    pub match_id: String,
    pub scope: Scope,
    /// `spectator`, `side:<id>` or `all`.
    pub view: String,
    /// Id of the API key that opened it, with which it ends when that is revoked; null for one that is older than this
    /// field, and below role game.
    pub created_by: Option<String>,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub revoked_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Feed,
    Watch,
}

/// One broadcast of a match for an agent, from the moment it was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    /// `str_…`
    pub id: String,
    pub tenant_id: String,
    pub agent_id: String,
    /// The match on it now; a broadcast goes on with the agent's next match.
    pub match_id: String,
    /// False once somebody stopped it: it does not come back by itself for this match.
    pub wanted: bool,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
    /// Why it ended, in plain words.
    pub reason: Option<String>,
}

/// A key of a game server, an operator or a page. The key itself is shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// `key_…`; the key begins with it.
    pub id: String,
    /// Null for an admin of the whole service.
    pub tenant_id: Option<String>,
    pub role: ApiRole,
    pub name: String,
    pub created_at: Millis,
    pub last_used_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
}

/// What a caller may do; each row of the README's table holds the ones below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiRole {
    /// Reads agents, matches and streams.
    Viewer,
    /// Feeds: matches, sessions, events.
    Game,
    /// Agents, destinations, keys, switches, streams, audit.
    Operator,
    /// Tenants, API keys, the flag; every tenant.
    Admin,
}

/// Something that somebody did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// `aud_…`, given by the store.
    pub id: String,
    pub at: Millis,
    pub tenant_id: Option<String>,
    /// Id of an API key, `cli` or `service`.
    pub actor: String,
    /// For example `agent.streaming.on`, `destination.key.set`, `flag.streaming.off`.
    pub action: String,
    /// Id of what it was done to.
    pub subject: String,
    /// More about it; never a secret.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
    /// Address of the caller.
    pub from: Option<String>,
}

/// What one agent used on one day (UTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageDay {
    pub agent_id: String,
    /// `2026-11-21`.
    pub day: String,
    /// On air, s.
    pub stream_seconds: i64,
    /// Seconds of each destination that received, added up.
    pub output_seconds: i64,
}

macro_rules! words {
    ($($type:ident { $($variant:ident = $word:literal),+ $(,)? })+) => { $(
        impl $type {
            /// As the API and the store write it.
            pub fn word(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
        impl FromStr for $type {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($type::$variant),)+
                    _ => Err(UnknownWord([$($word),+].join(", "))),
                }
            }
        }
    )+ };
}

/// A word that is none of the expected ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {0}")]
pub struct UnknownWord(String);

words! {
    AgentView { Own = "own", Spectator = "spectator" }
    DestinationKind { Twitch = "twitch", Youtube = "youtube", Rtmp = "rtmp", LivekitRoom = "livekit-room" }
    Via { Direct = "direct", LivekitEgress = "livekit-egress" }
    MatchPhase { Waiting = "waiting", Running = "running", Over = "over", Closed = "closed" }
    Scope { Feed = "feed", Watch = "watch" }
    ApiRole { Viewer = "viewer", Game = "game", Operator = "operator", Admin = "admin" }
}
