//! Session tokens: JWT (RFC 7519), HS256, for the feeding and watching of one match.
//!
//! The header has exactly `alg`, `typ` and `kid`, the payload exactly `typ`, `iss`, `aud`, `sub` (the session), `scope`, `view`,
//! `jti`, `iat`, `nbf` and `exp`; a token with one less or one more is refused, and so is one made for anything else with
//! the same secret (explicit typing, RFC 8725, section 3.11). The signature is checked before anything that it covers.
//! Whether the session was revoked is the caller's question.

use super::{hex, random_hex, weak};
use crate::game::View;
use crate::output::log;
use crate::store::model::{Millis, Scope};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::time::Duration;

/// How long a session token lives.
pub const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// How far clocks may be apart, ms.
pub const LEEWAY_MS: Millis = 5_000;

const TYPE: &str = "agentcast-session+jwt";
const ISSUER: &str = "agentcast";
const AUDIENCE: &str = "agentcast-session";
/// Shortest secret, bytes: as long as the hash (RFC 7518, section 3.2).
const SHORTEST: usize = 32;
const LONGEST_KID: usize = 32;
const MOST_SECRETS: usize = 8;
/// Longest token that is looked at, bytes. Ours have about 500.
const LONGEST_TOKEN: usize = 4_096;

/// Signs and checks session tokens. `Debug` prints the kids.
pub struct TokenSigner {
    /// Never empty; the first one signs.
    secrets: Vec<Signing>,
    rules: Validation,
}

struct Signing {
    kid: String,
    /// The kid that it has when none is given, so that tokens go on when a secret is given a name.
    own_kid: String,
    sign: EncodingKey,
    check: DecodingKey,
}

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
#[error("STREAMING_JWT_SECRET: {0}; `agentcast key generate --jwt` makes a good one")]
pub struct SignerError(pub String);

/// Nothing else may stand there: what we do not know we do not obey (`crit`, `jku`, `jwk`, `x5u`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    typ: String,
    iss: String,
    aud: String,
    sub: String,
    scope: Scope,
    view: String,
    jti: String,
    /// Unix s, and so the next two.
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl TokenSigner {
    /// `secret` or `kid:secret,kid:secret` (the first one signs, all are accepted); each secret at least 32 bytes. Every
    /// secret is made known to the log scrubber.
    ///
    /// # Errors
    /// Which secret is missing or weak, by its place; never the text itself.
    pub fn parse(text: &SecretString) -> Result<TokenSigner, SignerError> {
        let text = text.expose_secret().trim();
        let bad = |words: String| Err(SignerError(words));
        if text.is_empty() {
            return bad("it is not set".into());
        }
        // A secret of somebody's own may have commas and colons in it: only a text that begins as a list is one.
        let items: Vec<(Option<&str>, &str)> = match named(text) {
            None => vec![(None, text)],
            Some(_) => {
                text.split(',').map(str::trim).map(|i| named(i).map_or((None, i), |(k, s)| (Some(k), s))).collect()
            }
        };
        if items.len() > MOST_SECRETS {
            return bad(format!("at most {MOST_SECRETS} secrets"));
        }
        let mut secrets: Vec<Signing> = Vec::with_capacity(items.len());
        for (n, (kid, secret)) in items.iter().enumerate() {
            let place = if items.len() == 1 { "it".to_owned() } else { format!("secret {}", n + 1) };
            log::register_secret(secret);
            if items.len() > 1 && kid.is_none() {
                let form = "several secrets are written kid:secret,kid:secret; the kid is 1 to 32 of A-Z a-z 0-9 . _ -";
                return bad(format!("{place} has no kid: {form}"));
            }
            if secret.len() < SHORTEST {
                return bad(format!("{place} has {} bytes, and {SHORTEST} are the least", secret.len()));
            }
            if let Some(why) = weak(secret.as_bytes()) {
                return bad(format!("{place} {why}, so it can be guessed"));
            }
            let signing = Signing::new(*kid, secret);
            for (other, before) in secrets.iter().enumerate() {
                if before.own_kid == signing.own_kid {
                    return bad(format!("{place} is secret {} again", other + 1));
                }
                if before.named(&signing.kid) || signing.named(&before.kid) {
                    return bad(format!("{place} has the kid of secret {}", other + 1));
                }
            }
            secrets.push(signing);
        }
        Ok(TokenSigner::of(secrets))
    }

    /// For the demo and for tests.
    pub fn ephemeral() -> TokenSigner {
        TokenSigner::of(vec![Signing::new(None, random_hex().expose_secret())])
    }

    fn of(secrets: Vec<Signing>) -> TokenSigner {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        // By the caller's clock, below.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        TokenSigner { secrets, rules }
    }

    /// A token for a session. `now`: Unix ms. A life of less than a second becomes one second.
    pub fn sign(&self, session: &str, scope: Scope, view: &str, ttl: Duration, now: Millis) -> SecretString {
        let signing = &self.secrets[0];
        let header =
            Header { typ: Some(TYPE.to_owned()), kid: Some(signing.kid.clone()), ..Header::new(Algorithm::HS256) };
        let iat = now.div_euclid(1_000);
        let life = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let claims = Claims {
            typ: TYPE.to_owned(),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: session.to_owned(),
            scope,
            view: view.to_owned(),
            jti: uuid::Uuid::new_v4().simple().to_string(),
            iat,
            nbf: iat,
            exp: iat.saturating_add(life),
        };
        let token = encode(&header, &claims, &signing.sign).expect("strings and numbers always make JSON");
        SecretString::from(token)
    }

    /// `scope`: what the caller wants to do. A token to feed a match may also watch it. `now`: Unix ms. All claims are
    /// required; leeway 5 s. That the token's session is the one in question, and not revoked, remains to be checked.
    ///
    /// # Errors
    /// Why the token is refused. [`TokenError::Expired`] only for one that was good.
    pub fn check(&self, token: &str, scope: Scope, now: Millis) -> Result<SessionClaims, TokenError> {
        let refuse = |why| Err(TokenError::Invalid(why));
        if token.len() > LONGEST_TOKEN {
            return refuse("it is too long");
        }
        let Some(head) = head(token) else { return refuse("its header is not that of a session token") };
        if head.alg != "HS256" {
            return refuse("it is not signed with HS256");
        }
        if head.typ != TYPE {
            return refuse("it is of another type");
        }
        let Some(signing) = self.secrets.iter().find(|s| s.named(&head.kid)) else {
            return refuse("it is signed by a secret that is not known");
        };
        let claims = match decode::<Claims>(token, &signing.check, &self.rules) {
            Ok(data) => data.claims,
            Err(error) => {
                use jsonwebtoken::errors::ErrorKind as E;
                return refuse(match error.kind() {
                    E::InvalidSignature => "its signature does not match",
                    E::InvalidIssuer => "it was issued by somebody else",
                    E::InvalidAudience => "it is meant for somebody else",
                    _ => "its claims are not those of a session token",
                });
            }
        };
        let ms = |seconds: i64| seconds.saturating_mul(1_000);
        if claims.typ != TYPE || claims.iss != ISSUER || claims.aud != AUDIENCE {
            return refuse("it is of another type");
        }
        if claims.sub.is_empty() || claims.jti.is_empty() {
            return refuse("it names no session");
        }
        // Only the full spelling: a bare name would be read as a side's.
        if !claims.view.parse::<View>().is_ok_and(|view| view.to_string() == claims.view) {
            return refuse("its view cannot be read");
        }
        if claims.iat > claims.nbf || claims.nbf >= claims.exp {
            return refuse("its times contradict each other");
        }
        if ms(claims.nbf) > now.saturating_add(LEEWAY_MS) {
            return refuse("it is not valid yet");
        }
        if claims.scope != scope && claims.scope != Scope::Feed {
            return refuse("it is for watching only");
        }
        if now >= ms(claims.exp).saturating_add(LEEWAY_MS) {
            return Err(TokenError::Expired);
        }
        Ok(SessionClaims {
            session: claims.sub,
            scope: claims.scope,
            view: claims.view,
            jti: claims.jti,
            expires: claims.exp,
        })
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.secrets.iter().map(|s| &s.kid)).finish()
    }
}

impl Signing {
    fn new(kid: Option<&str>, secret: &str) -> Signing {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        let own_kid = format!("j{}", hex(&mac.chain_update("agentcast kid").finalize().into_bytes()[..6]));
        Signing {
            kid: kid.unwrap_or(&own_kid).to_owned(),
            own_kid,
            sign: EncodingKey::from_secret(secret.as_bytes()),
            check: DecodingKey::from_secret(secret.as_bytes()),
        }
    }

    fn named(&self, kid: &str) -> bool {
        self.kid == kid || self.own_kid == kid
    }
}

/// `kid:secret`.
fn named(text: &str) -> Option<(&str, &str)> {
    let (kid, secret) = text.split_once(':')?;
    let good = (1..=LONGEST_KID).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    good.then(|| (kid, secret.trim()))
}

/// Read by ourselves, since the library passes over what it does not know.
fn head(token: &str) -> Option<Head> {
    use base64::Engine as _;
    let (head, _) = token.split_once('.')?;
    let json = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(head).ok()?;
    serde_json::from_slice(&json).ok()
}
