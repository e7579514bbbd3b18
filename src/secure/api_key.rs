//! API keys: `key_<id>.<secret>`, the id 128 bits and the secret 256 bits of lower-case hex.
//!
//! What is stored is the SHA-256 of the whole key. A fast hash is right here: a random secret of 256 bits cannot be guessed,
//! so there is nothing for a slow one to hinder. Log lines lose the secret half by its shape ([`crate::output::log::scrub`]).

use super::{new_id, random_hex};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

const PREFIX: &str = "key_";
/// Characters of hex.
const ID: usize = 32;
const SECRET: usize = 64;

/// An API key that was just made: shown once.
pub struct NewApiKey {
    /// `key_…`
    pub id: String,
    pub secret: SecretString,
    /// What is stored.
    pub hash: [u8; 32],
}

/// A new key of 256 random bits: `<id>.<secret>`. `secret` is all of it, as callers present it.
pub fn generate() -> NewApiKey {
    let id = new_id("key");
    let secret = random_hex();
    let secret = SecretString::from(format!("{id}.{}", secret.expose_secret()));
    let hash = hash(secret.expose_secret());
    NewApiKey { id, secret, hash }
}

/// The id in a key that a caller presents; None when it is no API key.
pub fn id(presented: &str) -> Option<&str> {
    let (id, secret) = presented.split_once('.')?;
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    (hex(id.strip_prefix(PREFIX)?, ID) && hex(secret, SECRET)).then_some(id)
}

/// Compares in constant time.
pub fn matches(presented: &str, hash: &[u8; 32]) -> bool {
    self::hash(presented).ct_eq(hash).into()
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewApiKey({}, …)", self.id)
    }
}
