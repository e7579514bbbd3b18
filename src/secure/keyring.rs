//! Key-encryption keys, and the envelope round a stream key.
//!
//! Each stream key is encrypted under a random data key of its own, and that one under a key-encryption key, both by
//! AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits. A blob is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version: 1 |
//! | 1 | length of the key-encryption key's id |
//! | 1 to 32 | that id (kid) |
//! | 12 | nonce of the wrapping |
//! | 32 + 16 | the data key, wrapped, and its tag |
//! | 12 | nonce |
//! | n + 16 | the stream key, encrypted, and its tag |
//!
//! Both are bound (as additional data) to the version and to the record: agent, destination, host and record version, each
//! with its length before it, so that no two records give the same bytes. The wrapping is also bound to the kid. So a data
//! key can be wrapped anew without touching the stream key, and a row that was moved, edited or damaged does not open.
//!
//! Nothing is used for two purposes: what wraps, what makes fingerprints and what names a key are derived from the
//! key-encryption key by HKDF-Expand (RFC 5869, section 2.3; it is uniformly random, so Extract is left out as section 3.3
//! allows).

use super::{hex, random, weak};
use crate::output::key::StreamKey;
use crate::output::log;
use crate::store::model::SealedKey;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Longest id of a key-encryption key, bytes.
const LONGEST_ID: usize = 32;
/// Key-encryption keys at once. Two are enough for a change of keys.
const MOST_KEYS: usize = 32;
/// Longest text of one key: hex has 64 characters.
const LONGEST_TEXT: usize = 128;

type Secret = Zeroizing<[u8; KEY]>;

/// Key-encryption keys by id; the first one wraps what is sealed from now on, all of them open. `Debug` prints the ids.
pub struct Keyring {
    /// Never empty.
    keys: Vec<Kek>,
}

/// What is derived from one key-encryption key; the key itself is not kept.
struct Kek {
    id: String,
    /// The id that it has when none is given, so that records of a key find it also after it was given a name.
    own_id: String,
    wrap: Secret,
    fingerprint: Secret,
}

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

impl Keyring {
    /// Reads `key` or `id:key[,id:key…]`, each key 32 bytes as base64 or hex. A bare key gets an id derived from it. Line
    /// ends separate like commas and lines that begin with `#` are skipped, so that a file may hold the keys too. Every key
    /// is made known to the log scrubber.
    ///
    /// # Errors
    /// Which key is missing or weak, by its place; never the text itself.
    pub fn parse(text: &SecretString) -> Result<Keyring, KeyringError> {
        let lines = text.expose_secret().lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let items: Vec<&str> =
            lines.flat_map(|line| line.split(',')).map(str::trim).filter(|i| !i.is_empty()).collect();
        if items.is_empty() {
            return Err(KeyringError::Missing);
        }
        let bad = |words: String| Err(KeyringError::Bad(words));
        if items.len() > MOST_KEYS {
            return bad(format!("at most {MOST_KEYS} keys"));
        }
        let mut keys: Vec<Kek> = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let place = if items.len() == 1 { "the key".to_owned() } else { format!("key {}", n + 1) };
            // Base64 and hex have no colon.
            let (id, text) = match item.split_once(':') {
                Some((id, text)) => (Some(id.trim()), text.trim()),
                None => (None, *item),
            };
            log::register_secret(text);
            if id.is_some_and(|id| !is_id(id)) {
                return bad(format!("the id of {place} must be 1 to {LONGEST_ID} of the characters A-Z a-z 0-9 . _ -"));
            }
            let secret = match read(text) {
                Ok(secret) => secret,
                Err(problem) => return bad(format!("{place} {problem}")),
            };
            let kek = Kek::new(id, &secret);
            for (other, before) in keys.iter().enumerate() {
                if before.own_id == kek.own_id {
                    return bad(format!("{place} is key {} again", other + 1));
                }
                if before.named(&kek.id) || kek.named(&before.id) {
                    return bad(format!("{place} has the id of key {}", other + 1));
                }
            }
            keys.push(kek);
        }
        Ok(Keyring { keys })
    }

    /// A key for [`Keyring::parse`]: 32 random bytes of the system as base64.
    pub fn generate() -> SecretString {
        let key = random::<KEY>();
        SecretString::from(BASE64_STANDARD.encode(key.as_slice()))
    }

    /// A key for the demo and for tests, from the system's random bytes.
    pub fn ephemeral() -> Keyring {
        Keyring { keys: vec![Kek::new(None, &random())] }
    }

    /// Id of the key that wraps what is sealed now.
    pub fn kid(&self) -> &str {
        &self.first().id
    }

    /// Whether what was sealed under this id was sealed by the first key.
    pub fn seals_as(&self, kid: &str) -> bool {
        self.first().named(kid)
    }

    /// The stream key in its envelope; see the [module](self) for the bytes.
    pub fn seal(&self, key: &StreamKey, binding: Binding<'_>) -> Vec<u8> {
        let (kek, data_key) = (self.first(), random::<KEY>());
        let mut blob = kek.wrapped(&data_key, binding);
        encrypt(&data_key, key.expose().as_bytes(), &binding.of_key(), &mut blob);
        blob
    }

    /// # Errors
    /// When the key-encryption key is gone, or the record is not as it was sealed.
    pub fn open(&self, sealed: &SealedKey) -> Result<StreamKey, SealError> {
        let (binding, parts) = (Binding::of(sealed), Parts::of(sealed)?);
        let data_key = self.unwrap(&parts, binding)?;
        let plain = decrypt(&data_key, parts.sealed, &binding.of_key())?;
        let text = std::str::from_utf8(&plain).map_err(|_| SealError::Broken)?;
        StreamKey::new(text).map_err(|_| SealError::Broken)
    }

    /// The blob with its data key wrapped by the first key. The stream key itself is not decrypted.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn rewrap(&self, sealed: &SealedKey) -> Result<Vec<u8>, SealError> {
        let (binding, parts) = (Binding::of(sealed), Parts::of(sealed)?);
        let data_key = self.unwrap(&parts, binding)?;
        let mut blob = self.first().wrapped(&data_key, binding);
        blob.extend_from_slice(parts.sealed);
        Ok(blob)
    }

    /// First 3 bytes of an HMAC of the stream key, hex. Stays the same while the first key does.
    pub fn fingerprint(&self, key: &StreamKey) -> String {
        hex(&mac(&self.first().fingerprint, key.expose().as_bytes())[..3])
    }

    fn unwrap(&self, parts: &Parts<'_>, binding: Binding<'_>) -> Result<Secret, SealError> {
        let kek = self.keys.iter().find(|k| k.named(parts.kid));
        let kek = kek.ok_or_else(|| SealError::UnknownKey(parts.kid.to_owned()))?;
        let plain = decrypt(&kek.wrap, parts.wrapped, &binding.of_data_key(parts.kid))?;
        let data_key = <[u8; KEY]>::try_from(plain.as_slice()).map_err(|_| SealError::Broken)?;
        Ok(Zeroizing::new(data_key))
    }

    fn first(&self) -> &Kek {
        &self.keys[0]
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|k| &k.id)).finish()
    }
}

impl Kek {
    fn new(id: Option<&str>, secret: &Secret) -> Kek {
        let own_id = format!("k{}", hex(&derive(secret, "agentcast key id")[..6]));
        Kek {
            id: id.unwrap_or(&own_id).to_owned(),
            own_id,
            wrap: derive(secret, "agentcast wrap data key"),
            fingerprint: derive(secret, "agentcast fingerprint"),
        }
    }

    fn named(&self, id: &str) -> bool {
        self.id == id || self.own_id == id
    }

    /// The blob up to and with the wrapped data key.
    fn wrapped(&self, data_key: &Secret, binding: Binding<'_>) -> Vec<u8> {
        let length = u8::try_from(self.id.len()).expect("ids have at most 32 bytes");
        let mut blob = vec![VERSION, length];
        blob.extend_from_slice(self.id.as_bytes());
        encrypt(&self.wrap, &**data_key, &binding.of_data_key(&self.id), &mut blob);
        blob
    }
}

impl<'a> Binding<'a> {
    fn of(sealed: &'a SealedKey) -> Binding<'a> {
        Binding {
            agent: &sealed.agent_id,
            destination: &sealed.destination_id,
            host: &sealed.host,
            record_version: sealed.record_version,
        }
    }

    fn of_data_key(&self, kid: &str) -> Vec<u8> {
        self.bytes("agentcast data key", kid)
    }

    fn of_key(&self) -> Vec<u8> {
        self.bytes("agentcast stream key", "")
    }

    /// Every field with its length before it: none can reach into the next one.
    fn bytes(&self, purpose: &str, kid: &str) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for field in [purpose, kid, self.agent, self.destination, self.host] {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes.extend_from_slice(&self.record_version.to_be_bytes());
        bytes
    }
}

/// A blob taken apart.
struct Parts<'a> {
    kid: &'a str,
    /// Nonce, data key, tag.
    wrapped: &'a [u8],
    /// Nonce, stream key, tag.
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(record: &'a SealedKey) -> Result<Parts<'a>, SealError> {
        let parts = Parts::read(&record.blob).ok_or(SealError::Broken)?;
        // The record's own note of the kid is what a rotation goes by.
        if parts.kid == record.kid { Ok(parts) } else { Err(SealError::Broken) }
    }

    fn read(blob: &'a [u8]) -> Option<Parts<'a>> {
        let (&[version, length], rest) = blob.split_first_chunk::<2>()?;
        if version != VERSION {
            return None;
        }
        let (kid, rest) = rest.split_at_checked(length.into())?;
        let kid = std::str::from_utf8(kid).ok().filter(|kid| is_id(kid))?;
        let (wrapped, sealed) = rest.split_at_checked(NONCE + KEY + TAG)?;
        (sealed.len() > NONCE + TAG).then_some(Parts { kid, wrapped, sealed })
    }
}

/// Appends nonce, ciphertext and tag.
fn encrypt(key: &Secret, plain: &[u8], bound: &[u8], out: &mut Vec<u8>) {
    let nonce = random::<NONCE>();
    let sealed = cipher(key)
        .encrypt(Nonce::from_slice(&*nonce), Payload { msg: plain, aad: bound })
        .expect("AES-GCM takes messages of up to 64 GiB, and stream keys have at most 512 bytes");
    out.extend_from_slice(&*nonce);
    out.extend_from_slice(&sealed);
}

fn decrypt(key: &Secret, sealed: &[u8], bound: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(SealError::Broken)?;
    let plain = cipher(key).decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound });
    plain.map(Zeroizing::new).map_err(|_| SealError::Broken)
}

fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&**key))
}

/// HKDF-Expand for one block (RFC 5869, section 2.3).
fn derive(secret: &Secret, purpose: &str) -> Secret {
    mac(secret, &[purpose.as_bytes(), &[1]].concat())
}

fn mac(key: &Secret, message: &[u8]) -> Secret {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(&**key).expect("HMAC takes keys of any length");
    Zeroizing::new(mac.chain_update(message).finalize().into_bytes().into())
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// 32 bytes as base64 (either alphabet, padded or not) or hex.
fn read(text: &str) -> Result<Secret, String> {
    const WANTED: &str = "32 random bytes as base64 (44 characters) or hex (64 characters)";
    let neither = || match text.len() {
        0 => format!("is empty; it must be {WANTED}"),
        KEY => format!("is a text of 32 characters, like a password; it must be {WANTED}"),
        _ => format!("is neither base64 nor hex; it must be {WANTED}"),
    };
    if text.is_empty() || text.len() > LONGEST_TEXT {
        return Err(neither());
    }
    let mut bytes = Zeroizing::new([0; LONGEST_TEXT]);
    let length = if text.len() == 2 * KEY && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |b: u8| char::from(b).to_digit(16).unwrap_or_default() as u8;
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        KEY
    } else {
        let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        GeneralPurpose::new(alphabet, lenient).decode_slice(text, &mut *bytes).map_err(|_| neither())?
    };
    if length != KEY {
        return Err(match text.len() {
            KEY => neither(),
            _ => format!("has {length} bytes; it must be {WANTED}"),
        });
    }
    let mut secret = Zeroizing::new([0; KEY]);
    secret.copy_from_slice(&bytes[..KEY]);
    // Of random keys one in 10^13 would look like this.
    let letters = secret.iter().all(|b| matches!(b, b' '..=b'~')).then_some("is a password in disguise");
    match letters.or_else(|| weak(&*secret)) {
        Some(why) => Err(format!("{why}, so it can be guessed; it must be {WANTED}")),
        None => Ok(secret),
    }
}
