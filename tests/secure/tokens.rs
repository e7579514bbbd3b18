//! Session tokens and API keys.

use agentcast::secure::{TOKEN_TTL, TokenError, TokenSigner, api_key};
use agentcast::store::model::Scope;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::time::Duration;

const NOW: i64 = 1_795_000_000_000;
const SECRET: &str = "a secret that has more than 32 bytes!";
const OLD: &str = "an older secret of more than 32 bytes";

fn signer() -> TokenSigner {
    TokenSigner::parse(&SecretString::from(format!("new:{SECRET},old:{OLD}"))).expect("good secrets")
}

fn header(changes: Value) -> Value {
    merged(json!({ "alg": "HS256", "typ": "agentcast-session+jwt", "kid": "new" }), changes)
}

fn claims(changes: Value) -> Value {
    let now = NOW / 1_000;
    let good = json!({
        "typ": "agentcast-session+jwt", "iss": "agentcast", "aud": "agentcast-session", "sub": "ses_1", "scope": "feed",
        "view": "spectator", "jti": "j1", "iat": now, "nbf": now, "exp": now + 900,
    });
    merged(good, changes)
}

/// Null takes a field away.
fn merged(mut object: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object.as_object_mut().unwrap().retain(|_, v| !v.is_null());
    object
}

fn signed_by<M: Mac + KeyInit>(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let mac = <M as Mac>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("{signed}.{}", BASE64.encode(mac.into_bytes()))
}

fn sign(head: Value, body: Value) -> String {
    signed_by::<Hmac<Sha256>>(&header(head).to_string(), &claims(body).to_string(), SECRET)
}

fn refused(what: &str, token: &str) {
    match signer().check(token, Scope::Feed, NOW) {
        Err(TokenError::Invalid(why)) => assert!(!why.is_empty() && !token.contains(why), "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_signed_token_says_what_was_signed() {
    let signer = signer();
    let token = signer.sign("ses_7", Scope::Watch, "side:white", TOKEN_TTL, NOW + 999);
    let claims = signer.check(token.expose_secret(), Scope::Watch, NOW + 1_000).unwrap();
    assert_eq!((claims.session.as_str(), claims.scope, claims.view.as_str()), ("ses_7", Scope::Watch, "side:white"));
    assert_eq!(claims.expires, NOW / 1_000 + 900);
    let again = signer.sign("ses_7", Scope::Watch, "side:white", TOKEN_TTL, NOW + 999);
    assert_ne!(signer.check(again.expose_secret(), Scope::Watch, NOW).unwrap().jti, claims.jti);
    assert_eq!(
        signer.check(&sign(json!({}), json!({})), Scope::Feed, NOW).unwrap().session,
        "ses_1",
        "the table's own"
    );
    assert_eq!(format!("{signer:?}"), r#"["new", "old"]"#);
}

#[test]
fn feeding_takes_a_feed_token_and_watching_either() {
    let signer = signer();
    let token = |scope| signer.sign("ses_7", scope, "all", TOKEN_TTL, NOW);
    let check = |has, wants| signer.check(token(has).expose_secret(), wants, NOW).is_ok();
    assert!(check(Scope::Feed, Scope::Feed) && check(Scope::Feed, Scope::Watch) && check(Scope::Watch, Scope::Watch));
    assert!(!check(Scope::Watch, Scope::Feed));
}

#[test]
fn forged_and_misused_tokens_are_refused() {
    let (good_head, good_body) = (header(json!({})).to_string(), claims(json!({})).to_string());
    let good = sign(json!({}), json!({}));
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    for alg in ["none", "None", "NONE", "", "RS256", "ES256", "PS256", "EdDSA", "HS384", "HS512", "hs256"] {
        let token = sign(json!({ "alg": alg }), json!({}));
        refused(alg, &token);
        refused(alg, &format!("{}.", token.rsplit_once('.').unwrap().0));
    }
    let other_hash = |alg: &str| header(json!({ "alg": alg })).to_string();
    refused("HS384 with the secret", &signed_by::<Hmac<Sha384>>(&other_hash("HS384"), &good_body, SECRET));
    refused("HS512 with the secret", &signed_by::<Hmac<Sha512>>(&other_hash("HS512"), &good_body, SECRET));
    refused("HS512 under the name HS256", &signed_by::<Hmac<Sha512>>(&good_head, &good_body, SECRET));
    for (what, head) in [
        ("no alg", json!({ "alg": null })),
        ("no typ", json!({ "typ": null })),
        ("typ JWT", json!({ "typ": "JWT" })),
        ("no kid", json!({ "kid": null })),
        ("unknown kid", json!({ "kid": "newer" })),
        ("the other secret's kid", json!({ "kid": "old" })),
        ("kid as a path", json!({ "kid": "../../dev/null" })),
        ("kid that is no text", json!({ "kid": 1 })),
        ("crit", json!({ "crit": ["b64"], "b64": false })),
        ("jku", json!({ "jku": "https://evil.example.com/keys" })),
        ("jwk", json!({ "jwk": { "kty": "oct", "k": "AAAA" } })),
    ] {
        refused(what, &sign(head, json!({})));
    }
    for name in ["typ", "iss", "aud", "sub", "scope", "view", "jti", "iat", "nbf", "exp"] {
        refused(&format!("without {name}"), &sign(json!({}), json!({ name: null })));
        for wrong in [json!(true), json!([]), json!({}), json!(["agentcast-session"])] {
            refused(&format!("{name} as {wrong}"), &sign(json!({}), json!({ name: wrong })));
        }
        let other = if matches!(name, "iat" | "nbf" | "exp") { json!("1795000100") } else { json!(1_795_000_100) };
        refused(&format!("{name} as {other}"), &sign(json!({}), json!({ name: other })));
    }
    let now = NOW / 1_000;
    for (what, body) in [
        ("aud", json!({ "aud": "livekit" })),
        ("aud of several", json!({ "aud": ["agentcast-session", "x"] })),
        ("iss", json!({ "iss": "somebody" })),
        ("typ", json!({ "typ": "operator" })),
        ("scope", json!({ "scope": "admin" })),
        ("empty sub", json!({ "sub": "" })),
        ("empty jti", json!({ "jti": "" })),
        ("empty view", json!({ "view": "" })),
        ("view that is no view", json!({ "view": "everything" })),
        ("one claim more", json!({ "admin": true })),
        ("times with fractions", json!({ "exp": now as f64 + 900.5 })),
        ("not before tomorrow", json!({ "iat": now, "nbf": now + 86_400, "exp": now + 90_000 })),
        ("over before it begins", json!({ "exp": now })),
        ("issued after it begins", json!({ "iat": now + 1 })),
        ("exp without end", json!({ "exp": u64::MAX })),
    ] {
        refused(what, &sign(json!({}), body));
    }
    let twice = good_body.replacen('{', r#"{"scope":"watch","#, 1);
    refused("a claim twice", &signed_by::<Hmac<Sha256>>(&good_head, &twice, SECRET));
    for (what, secret) in [("another secret", "x".repeat(40)), ("no secret", String::new()), ("the kid", "new".into())]
    {
        refused(what, &signed_by::<Hmac<Sha256>>(&good_head, &good_body, &secret));
    }
    for (what, token) in [
        ("nothing", String::new()),
        ("words", "let me in".into()),
        ("no signature", unsigned.to_owned()),
        ("an empty signature", format!("{unsigned}.")),
        ("half a signature", good[..good.len() - 20].to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("padding", format!("{good}=")),
        ("a space", format!(" {good}")),
        ("too long", format!("{good}{}", "A".repeat(8_192))),
        (
            "header and claims changed round",
            format!("{}.{signature}", unsigned.split('.').rev().collect::<Vec<_>>().join(".")),
        ),
    ] {
        refused(what, &token);
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        refused(&format!("letter {at} changed"), std::str::from_utf8(&bytes).unwrap());
    }
}

#[test]
fn a_token_holds_from_its_beginning_to_its_end_with_five_seconds_each_way() {
    let signer = signer();
    let token = signer.sign("ses_7", Scope::Feed, "spectator", Duration::from_secs(60), NOW);
    let check = |at: i64| signer.check(token.expose_secret(), Scope::Feed, NOW + at).map(|_| ());
    let early = Err(TokenError::Invalid("it is not valid yet"));
    for (at, expected) in [
        (-5_001, early.clone()),
        (-5_000, Ok(())),
        (0, Ok(())),
        (60_000, Ok(())),
        (64_999, Ok(())),
        (65_000, Err(TokenError::Expired)),
        (86_400_000, Err(TokenError::Expired)),
        (-NOW, early),
    ] {
        assert_eq!(check(at), expected, "{at} ms");
    }
    let mut forged = token.expose_secret().to_owned();
    forged.truncate(forged.len() - 2);
    let forged = signer.check(&forged, Scope::Feed, NOW + 65_000);
    assert!(matches!(forged, Err(TokenError::Invalid(_))), "a forged one is not told that it has expired");
}

#[test]
fn two_secrets_are_good_at_once_and_the_first_one_signs() {
    let one = |text: &str| TokenSigner::parse(&SecretString::from(text)).unwrap();
    let (bare, old, new) = (one(OLD), one(&format!("old:{OLD}")), one(&format!("new:{SECRET}")));
    let token = |signer: &TokenSigner| signer.sign("ses_7", Scope::Feed, "spectator", TOKEN_TTL, NOW);
    let takes =
        |signer: &TokenSigner, token: &SecretString| signer.check(token.expose_secret(), Scope::Feed, NOW).is_ok();
    let both = signer();
    assert!(takes(&both, &token(&old)) && takes(&both, &token(&new)));
    assert!(takes(&both, &token(&bare)), "a secret that was given a name later");
    assert!(takes(&new, &token(&both)) && !takes(&old, &token(&both)));
    assert!(!takes(&new, &token(&old)));
    assert!(!takes(&TokenSigner::ephemeral(), &token(&both)));
    let awkward = one("a:b,c;d e/f=g,h:i and more than 32 bytes of it, surely so".trim_start_matches("a:"));
    assert!(takes(&awkward, &token(&awkward)), "a secret of somebody's own may have any characters");
}

#[test]
fn weak_secrets_are_refused_and_never_repeated() {
    for (what, text, says) in [
        ("none", String::new(), "not set"),
        ("short", "canary-short-secret".into(), "32 are the least"),
        ("zeros", "0".repeat(64), "over and over"),
        ("few letters", "canary".repeat(8), "fewer than 8"),
        ("repeating", "canary-12345678".repeat(4), "repeats"),
        ("second too short", format!("a:{SECRET},b:canary"), "secret 2"),
        ("second without kid", format!("a:{SECRET},{OLD}"), "has no kid"),
        ("one kid twice", format!("a:{SECRET},a:{OLD}"), "has the kid of secret 1"),
        ("one secret twice", format!("a:{SECRET},b:{SECRET}"), "is secret 1 again"),
    ] {
        let words = match TokenSigner::parse(&SecretString::from(text)) {
            Ok(_) => panic!("{what} was taken"),
            Err(error) => error.to_string(),
        };
        assert!(words.contains(says) && words.contains("`agentcast key generate --jwt`"), "{what}: {words}");
        assert!(!words.contains("canary") && !words.contains(SECRET) && !words.contains(OLD), "{what}: {words}");
    }
}

#[test]
fn an_api_key_is_known_by_its_id_and_matches_only_itself() {
    let (a, b) = (api_key::generate(), api_key::generate());
    let text = a.secret.expose_secret();
    assert_eq!(api_key::id(text), Some(a.id.as_str()));
    assert!(a.id.starts_with("key_") && text.len() == 36 + 1 + 64, "{}", text.len());
    assert_eq!(a.hash, <[u8; 32]>::from(Sha256::digest(text)));
    assert!(api_key::matches(text, &a.hash));
    let (id, secret) = text.split_once('.').unwrap();
    assert!(!api_key::matches(text, &b.hash) && !api_key::matches(b.secret.expose_secret(), &a.hash));
    assert!(!api_key::matches(secret, &a.hash) && !api_key::matches("", &a.hash));
    assert!(!api_key::matches(&format!("{}.{secret}", b.id), &a.hash), "another key's id");
    for bad in [
        "",
        "key_",
        id,
        secret,
        &format!("{id}."),
        &format!(".{secret}"),
        &format!("{id}.{secret}0"),
        &format!("{text}.x"),
        &text.to_uppercase(),
        &text.replacen("key_", "ses_", 1),
        &format!(" {text}"),
        &format!("{id}.{}", "é".repeat(32)),
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
    ] {
        assert_eq!(api_key::id(bad), None, "{bad}");
    }
    assert!(!format!("{a:?}").contains(secret));
    assert!(!agentcast::output::log::scrub(&format!("Bearer {text}")).contains(secret));
}
