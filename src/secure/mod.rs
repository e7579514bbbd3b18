//! Keys and tokens: sealing stream keys, signing session tokens, API keys, and which hosts may be connected to.
//!
//! | file | what |
//! |---|---|
//! | `keyring` | key-encryption keys, and the envelope round a stream key (AES-256-GCM) |
//! | `token` | session tokens (JWT, HS256) |
//! | `api_key` | API keys: making, reading, comparing |
//! | `code` | one-time codes for browsers |
//! | `host` | destination hosts: allow-list, addresses that are refused |
//!
//! Nothing here does I/O but asking the system for random bytes; time is an argument. No secret has a `Display`, and no
//! `Debug` prints one.

use crate::output::key::StreamKey;
use crate::store::model::{Millis, Scope, SealedKey};
use secrecy::SecretString;
use std::net::IpAddr;
use std::time::Duration;

/// Key-encryption keys by id; the first one wraps what is sealed from now on, all of them open.
pub struct Keyring {}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("STREAM_KEY_ENCRYPTION_KEY is not set; `agentcast key generate` makes one")]
    Missing,
    #[error("STREAM_KEY_ENCRYPTION_KEY: {0}; `agentcast key generate` makes a good one")]
    Bad(String),
}

/// Why a sealed key does not open. Says nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it was sealed under key-encryption key {0:?}, which STREAM_KEY_ENCRYPTION_KEY no longer has")]
    UnknownKey(String),
    #[error("the record was moved, edited or damaged; set the stream key anew")]
    Broken,
}

/// What a seal is bound to: a record that is moved to another place does not open.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub agent: &'a str,
    pub destination: &'a str,
    pub host: &'a str,
    pub record_version: i64,
}

#[allow(unused_variables)]
impl Keyring {
    /// Reads `key` or `id:key[,id:key…]`, each key 32 bytes as base64 or hex. A bare key gets an id derived from it.
    pub fn parse(text: &SecretString) -> Result<Keyring, KeyringError> {
        unimplemented!()
    }
    /// A key for the demo and for tests, from the system's random bytes.
    pub fn ephemeral() -> Keyring {
        unimplemented!()
    }
    /// Id of the key that wraps what is sealed now.
    pub fn kid(&self) -> &str {
        unimplemented!()
    }
    /// `version ‖ kid ‖ wrapped data key ‖ nonce ‖ ciphertext ‖ tag`.
    pub fn seal(&self, key: &StreamKey, binding: Binding<'_>) -> Vec<u8> {
        unimplemented!()
    }
    pub fn open(&self, sealed: &SealedKey) -> Result<StreamKey, SealError> {
        unimplemented!()
    }
    /// The blob with its data key wrapped by the first key. The stream key itself is not decrypted.
    pub fn rewrap(&self, sealed: &SealedKey) -> Result<Vec<u8>, SealError> {
        unimplemented!()
    }
    /// First 3 bytes of an HMAC of the stream key, hex. Stays the same while the first key does.
    pub fn fingerprint(&self, key: &StreamKey) -> String {
        unimplemented!()
    }
}

/// Signs and checks session tokens.
pub struct TokenSigner {}

/// What a session token says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// Id of the session.
    pub session: String,
    pub scope: Scope,
    /// `spectator`, `side:<id>` or `all`.
    pub view: String,
    pub jti: String,
    /// Unix s.
    pub expires: i64,
}

/// Why a token is refused; a caller learns only that it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("STREAMING_JWT_SECRET: {0}")]
pub struct SignerError(pub String);

#[allow(unused_variables)]
impl TokenSigner {
    /// `secret` or `kid:secret,kid:secret` (the first one signs, both are accepted); each secret at least 32 bytes.
    pub fn parse(text: &SecretString) -> Result<TokenSigner, SignerError> {
        unimplemented!()
    }
    /// For the demo and for tests.
    pub fn ephemeral() -> TokenSigner {
        unimplemented!()
    }
    /// A token for a session. `now`: Unix ms.
    pub fn sign(&self, session: &str, scope: Scope, view: &str, ttl: Duration, now: Millis) -> SecretString {
        unimplemented!()
    }
    /// All claims are required: typ, iss, aud, sub, scope, view, jti, iat, nbf, exp; leeway 5 s.
    pub fn check(&self, token: &str, scope: Scope, now: Millis) -> Result<SessionClaims, TokenError> {
        unimplemented!()
    }
}

/// How long a session token lives.
pub const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// An API key that was just made: shown once.
pub struct NewApiKey {
    /// `key_…`
    pub id: String,
    pub secret: SecretString,
    /// What is stored.
    pub hash: [u8; 32],
}

#[allow(unused_variables)]
pub mod api_key {
    use super::NewApiKey;
    /// A new key of 256 random bits: `<id>.<secret>`.
    pub fn generate() -> NewApiKey {
        unimplemented!()
    }
    /// The id in a key that a caller presents; None when it is no API key.
    pub fn id(presented: &str) -> Option<&str> {
        unimplemented!()
    }
    /// Compares in constant time.
    pub fn matches(presented: &str, hash: &[u8; 32]) -> bool {
        unimplemented!()
    }
}

/// A new id: the prefix and a time-ordered random number, for example `agt_0193…`.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// Random bytes of the system as 64 characters of hex.
pub fn random_hex() -> SecretString {
    unimplemented!()
}

/// Which hosts destinations may have.
#[derive(Clone, Debug, Default)]
pub struct HostRules {
    /// Names (`live.example.com`) and suffixes (`.example.com`) beside Twitch's and YouTube's ingest domains.
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

#[allow(unused_variables)]
impl HostRules {
    /// An ingest address as callers give it, without a key, normalised: `rtmp[s]://host[:port]/app`.
    pub fn ingest(&self, kind: crate::store::model::DestinationKind, url: &str) -> Result<String, HostError> {
        unimplemented!()
    }
    /// Whether an address that `host` resolved to may be connected to.
    pub fn address(&self, host: &str, address: IpAddr) -> Result<(), HostError> {
        unimplemented!()
    }
}
