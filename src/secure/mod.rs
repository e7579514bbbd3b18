//! Keys and tokens: sealing stream keys, signing session tokens, API keys, and which hosts may be connected to.
//!
//! | file | what |
//! |---|---|
//! | [`keyring`] | key-encryption keys, and the envelope round a stream key (AES-256-GCM) |
//! | [`token`] | session tokens (JWT, HS256) |
//! | [`api_key`] | API keys: making, reading, comparing |
//! | [`host`] | destination hosts: allow-list, addresses that are refused |
//!
//! Nothing here does I/O but asking the system for random bytes; time is an argument. No secret has a `Display`, and no
//! `Debug` prints one. One-time codes for browsers live beside the pages that use them, in `http::api::codes`.

pub mod api_key;
pub mod host;
pub mod keyring;
pub mod token;

pub use api_key::NewApiKey;
pub use host::{HostError, HostRules, ingest_host};
pub use keyring::{Binding, Keyring, KeyringError, SealError};
pub use token::{SessionClaims, SignerError, TOKEN_TTL, TokenError, TokenSigner};

use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;
use secrecy::SecretString;
use std::fmt::Write;
use zeroize::Zeroizing;

/// A new id: the prefix and a time-ordered random number, for example `agt_0193…`.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// Ids have at most this many characters; longer ones are none of ours.
const ID_CHARS: usize = 64;

/// Whether it could be an id of ours. What cannot is never looked up: PostgreSQL fails on a NUL where SQLite finds nothing.
pub fn is_id(text: &str) -> bool {
    text.len() <= ID_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// 32 random bytes of the system as 64 characters of hex.
pub fn random_hex() -> SecretString {
    SecretString::from(hex(&*random::<32>()))
}

/// Random bytes of the system. Ends the program when the system has none: nothing that needs a key may go on then.
fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    OsRng.fill_bytes(&mut *bytes);
    bytes
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    // Room for all of it, so that no half of a secret stays behind where the text grew.
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Why bytes that claim to be random are not; None when nothing speaks against them. Of truly random keys of 32 bytes it
/// refuses fewer than one in 10^12.
fn weak(bytes: &[u8]) -> Option<&'static str> {
    let mut seen = [false; 256];
    bytes.iter().for_each(|b| seen[usize::from(*b)] = true);
    let steps = bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let repeats = |period: usize| bytes.iter().zip(&bytes[period..]).all(|(a, b)| a == b);
    match seen.iter().filter(|s| **s).count() {
        0 | 1 => Some("is one byte over and over"),
        2..8 => Some("has fewer than 8 different bytes"),
        _ if steps.clone().all(|step| Some(step) == steps.clone().next()) => Some("counts"),
        _ if (1..=bytes.len() / 2).any(repeats) => Some("repeats itself"),
        _ => None,
    }
}
