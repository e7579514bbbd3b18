//! Whether a webhook comes from our LiveKit server and is as it was sent.
//!
//! `Authorization` holds a bare JWT (RFC 7519), HS256 with the API secret, issued by the API key, whose claim `sha256` is
//! the base64 of the raw body's SHA-256. It lives 5 minutes. Checked here rather than by `livekit-api`'s receiver: that one
//! reads the clock by itself, ignores `iat` and takes a token of any age that has not expired.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt;

/// Oldest token that is taken, ms.
pub const OLDEST_MS: i64 = 300_000;
/// How far the server's clock may be off, ms.
pub const LEEWAY_MS: i64 = 30_000;
/// Longest token, bytes. The server's have about 350.
const LONGEST_TOKEN: usize = 4_096;

/// Why a webhook is refused. For the operator: the sender learns nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("it has no Authorization header")]
    NoToken,
    #[error("its Authorization header holds no token that can be read")]
    Malformed,
    #[error("its token is not signed with HS256")]
    Algorithm,
    #[error("its token is issued by another API key; compare webhook.api_key of the server with LIVEKIT_API_KEY")]
    Issuer,
    #[error("the signature does not match; compare the server's API secret with LIVEKIT_API_SECRET")]
    Signature,
    #[error("its token has expired or is older than 5 minutes; compare the clocks of both machines")]
    Old,
    #[error("its token is not valid yet; compare the clocks of both machines")]
    Early,
    #[error("its token says nothing of a body")]
    NoHash,
    #[error("its body is not the one that was signed")]
    Body,
}

/// API keys whose webhooks are taken. `Debug` prints their number only.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<(String, SecretString)>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none is.
    crit: Option<serde_json::Value>,
}

/// Times in seconds since the Unix epoch (RFC 7519, section 4.1).
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(default)]
    sha256: String,
}

impl Verifier {
    pub fn new(key: &str, secret: SecretString) -> Verifier {
        Verifier { keys: vec![(key.to_owned(), secret)] }
    }

    /// Also takes webhooks of this key: a server may sign them with another one than ours, or change keys.
    #[must_use]
    pub fn and(mut self, key: &str, secret: SecretString) -> Verifier {
        self.keys.push((key.to_owned(), secret));
        self
    }

    /// `authorization`: the header's value, a JWT with or without `Bearer`. `body`: as it came. `now_ms`: since the Unix
    /// epoch.
    pub fn verify(&self, authorization: Option<&str>, body: &[u8], now_ms: i64) -> Result<(), Refused> {
        let token = authorization.map(str::trim).filter(|t| !t.is_empty()).ok_or(Refused::NoToken)?;
        let token = match token.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
            _ => token,
        };
        if token.len() > LONGEST_TOKEN {
            return Err(Refused::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
        let header: Header = part(header)?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(Refused::Algorithm);
        }
        let claims: Claims = part(claims)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Malformed)?;
        let mut known = self.keys.iter().filter(|(key, _)| *key == claims.iss).peekable();
        known.peek().ok_or(Refused::Issuer)?;
        // One key may have two secrets while it changes.
        if !known.any(|(_, secret)| signs(secret, signed, &signature)) {
            return Err(Refused::Signature);
        }
        claims.valid_at(now_ms)?;
        let hash = BASE64_STANDARD.decode(&claims.sha256).map_err(|_| Refused::NoHash)?;
        if hash.is_empty() {
            return Err(Refused::NoHash);
        }
        if same(&hash, &Sha256::digest(body)) { Ok(()) } else { Err(Refused::Body) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} keys)", self.keys.len())
    }
}

impl Claims {
    fn valid_at(&self, now_ms: i64) -> Result<(), Refused> {
        // Saturates, and is 0 for what is no number.
        let ms = |seconds: f64| (seconds * 1e3) as i64;
        let (Some(exp), Some(issued)) = (self.exp.map(ms), self.iat.or(self.nbf).map(ms)) else {
            return Err(Refused::Malformed);
        };
        let early = self.nbf.map_or(issued, ms).max(issued);
        if now_ms > exp.saturating_add(LEEWAY_MS) || now_ms.saturating_sub(issued) > OLDEST_MS {
            Err(Refused::Old)
        } else if early.saturating_sub(now_ms) > LEEWAY_MS {
            Err(Refused::Early)
        } else {
            Ok(())
        }
    }
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, Refused> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)
}

/// Compares in constant time.
fn signs(secret: &SecretString, signed: &str, signature: &[u8]) -> bool {
    Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}

/// Compares in constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW_MS: i64 = 1_795_000_000_000;
    const BODY: &[u8] = br#"{"event":"room_started","id":"EV_1"}"#;

    fn verifier() -> Verifier {
        Verifier::new("key", SecretString::from("a secret"))
    }

    fn hash(body: &[u8]) -> String {
        BASE64_STANDARD.encode(Sha256::digest(body))
    }

    fn sign(header: &Value, claims: &Value, secret: &str) -> String {
        let encode = |v: &Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.into_bytes()))
    }

    /// Claims as the server makes them, `age` seconds ago, with changes; null removes one.
    fn claims(age: i64, changes: Value) -> Value {
        let at = NOW_MS / 1000 - age;
        let mut claims = json!({ "iss": "key", "iat": at, "nbf": at, "exp": at + 300, "sha256": hash(BODY) });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        claims
    }

    fn verify(token: &str) -> Result<(), Refused> {
        verifier().verify(Some(token), BODY, NOW_MS)
    }

    fn signed(age: i64, changes: Value) -> String {
        sign(&json!({ "alg": "HS256", "typ": "JWT" }), &claims(age, changes), "a secret")
    }

    #[test]
    fn a_token_of_the_server_is_taken_bare_and_as_bearer() {
        let token = signed(1, json!({}));
        assert_eq!(verify(&token), Ok(()));
        assert_eq!(verify(&format!("Bearer {token}")), Ok(()));
        assert_eq!(verify(&format!(" bearer  {token} ")), Ok(()));
    }

    #[test]
    fn times_are_taken_within_five_minutes_and_the_leeway_only() {
        for (age, expected) in [
            (-29, Ok(())),
            (-31, Err(Refused::Early)),
            (0, Ok(())),
            (299, Ok(())),
            (301, Err(Refused::Old)),
            (86_400, Err(Refused::Old)),
        ] {
            assert_eq!(verify(&signed(age, json!({}))), expected, "{age} s old");
        }
        let far = NOW_MS / 1000 + 86_400;
        for (age, changes, expected) in [
            // One that lives for a day is no older than another.
            (301, json!({ "exp": far }), Err(Refused::Old)),
            (301, json!({ "exp": far, "iat": null }), Err(Refused::Old)),
            (100, json!({ "exp": NOW_MS / 1000 - 31 }), Err(Refused::Old)),
            (100, json!({ "nbf": NOW_MS / 1000 + 31 }), Err(Refused::Early)),
            (100, json!({ "iat": NOW_MS / 1000 + 31 }), Err(Refused::Early)),
            (1, json!({ "exp": null }), Err(Refused::Malformed)),
            (1, json!({ "iat": null, "nbf": null }), Err(Refused::Malformed)),
            (1, json!({ "iat": null }), Ok(())),
            (1, json!({ "exp": 1e300 }), Ok(())),
            (1, json!({ "iat": -1e300 }), Err(Refused::Old)),
        ] {
            assert_eq!(verify(&signed(age, changes.clone())), expected, "{changes}");
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let good = signed(1, json!({}));
        let plain = |alg: &str| sign(&json!({ "alg": alg, "typ": "JWT" }), &claims(1, json!({})), "a secret");
        let unsigned = {
            let token = plain("none");
            format!("{}.", token.rsplit_once('.').unwrap().0)
        };
        for (what, token, expected) in [
            ("no signature", unsigned, Refused::Algorithm),
            ("none, signed", plain("none"), Refused::Algorithm),
            ("None", plain("None"), Refused::Algorithm),
            ("RS256", plain("RS256"), Refused::Algorithm),
            ("HS384", plain("HS384"), Refused::Algorithm),
            (
                "crit",
                sign(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &claims(1, json!({})), "a secret"),
                Refused::Algorithm,
            ),
            ("other key", signed(1, json!({ "iss": "other" })), Refused::Issuer),
            ("no issuer", signed(1, json!({ "iss": null })), Refused::Issuer),
            ("other secret", sign(&json!({ "alg": "HS256" }), &claims(1, json!({})), "b secret"), Refused::Signature),
            ("no secret", sign(&json!({ "alg": "HS256" }), &claims(1, json!({})), ""), Refused::Signature),
            ("signature cut", good[..good.len() - 4].to_owned(), Refused::Signature),
            ("signature empty", format!("{}.", good.rsplit_once('.').unwrap().0), Refused::Signature),
            ("no hash", signed(1, json!({ "sha256": null })), Refused::NoHash),
            ("empty hash", signed(1, json!({ "sha256": "" })), Refused::NoHash),
            ("hash of another body", signed(1, json!({ "sha256": hash(b"{}") })), Refused::Body),
            ("hash cut", signed(1, json!({ "sha256": "AAAA" })), Refused::Body),
            ("words", "hello".into(), Refused::Malformed),
            ("two parts", "a.b".into(), Refused::Malformed),
            ("four parts", format!("{good}.x"), Refused::Malformed),
            ("too long", format!("{good}{}", "A".repeat(5_000)), Refused::Malformed),
            ("empty", "  ".into(), Refused::NoToken),
        ] {
            assert_eq!(verify(&token), Err(expected), "{what}");
        }
        assert_eq!(verifier().verify(None, BODY, NOW_MS), Err(Refused::NoToken));
    }

    #[test]
    fn a_body_changed_by_one_byte_is_refused() {
        let token = signed(1, json!({}));
        for at in 0..BODY.len() {
            let mut body = BODY.to_vec();
            body[at] ^= 1;
            assert_eq!(verifier().verify(Some(&token), &body, NOW_MS), Err(Refused::Body), "byte {at}");
        }
    }

    #[test]
    fn every_known_key_is_taken_with_its_own_secret_only() {
        let two = verifier().and("second", SecretString::from("another")).and("key", SecretString::from("a new one"));
        let header = json!({ "alg": "HS256" });
        let verify = |claims: &Value, secret: &str| two.verify(Some(&sign(&header, claims, secret)), BODY, NOW_MS);
        let (first, second) = (claims(1, json!({})), claims(1, json!({ "iss": "second" })));
        assert_eq!(verify(&first, "a secret"), Ok(()));
        assert_eq!(verify(&first, "a new one"), Ok(()));
        assert_eq!(verify(&second, "another"), Ok(()));
        assert_eq!(verify(&first, "another"), Err(Refused::Signature));
        assert_eq!(verify(&second, "a secret"), Err(Refused::Signature));
        assert_eq!(format!("{two:?}"), "Verifier(3 keys)");
    }
}
