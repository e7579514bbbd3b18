//! The service's secrets, checked before anything else is touched.

use crate::cli::usage;
use crate::config::load::Loaded;
use crate::livekit::Server as LiveKit;
use crate::secure::{Keyring, KeyringError, SealError, TokenSigner};
use crate::server::now_ms;
use crate::store::{Store, StoreError};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct Keys {
    pub keyring: Keyring,
    pub tokens: TokenSigner,
    pub livekit: Option<LiveKit>,
}

/// Reads them all.
///
/// # Errors
/// Everything that is missing or weak, each with the command that makes a good one; exit code 2.
pub fn keys(loaded: &Loaded) -> anyhow::Result<Keys> {
    let secrets = &loaded.secrets;
    let keyring = match &secrets.stream_key_encryption_key {
        Some(text) => Keyring::parse(text),
        None => Err(KeyringError::Missing),
    };
    let keyring = keyring.map_err(|error| error.to_string());
    let tokens = match &secrets.streaming_jwt_secret {
        Some(text) => TokenSigner::parse(text).map_err(|error| {
            let words = error.to_string();
            if words.contains(MAKE_JWT) { words } else { format!("{words}; {MAKE_JWT} makes a good one") }
        }),
        None => Err(format!("STREAMING_JWT_SECRET is not set; {MAKE_JWT} makes one")),
    };
    let livekit = livekit(loaded);
    match (keyring, tokens, livekit) {
        (Ok(keyring), Ok(tokens), Ok(livekit)) => Ok(Keys { keyring, tokens, livekit }),
        (keyring, tokens, livekit) => {
            let wrong: Vec<_> = [keyring.err(), tokens.err(), livekit.err()].into_iter().flatten().collect();
            let words = format!("the service does not start:\n{}", wrong.join("\n"));
            Err(usage(words).into())
        }
    }
}

/// Notes in the store by which key this process seals, for `key rotate`.
pub async fn note(store: &Store, keyring: &Keyring) {
    if let Err(error) = store.note_sealing_key(keyring.kid(), now_ms()).await {
        tracing::error!(
            "the store does not take a note of the key that seals, which `agentcast key rotate` reads: {error}"
        );
    }
}

/// Says how many stored stream keys do not open: else each would only show when its stream should begin. Nothing waits for it.
pub async fn look_through(store: Store, keyring: Arc<Keyring>) {
    let looked = async {
        let (mut all, mut broken, mut missing) = (0, 0, BTreeSet::new());
        let mut after: Option<String> = None;
        loop {
            // No key has an empty id: these are all of them.
            let page = store.keys_not_under("", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.destination_id.clone());
            all += page.len();
            for error in page.iter().filter_map(|sealed| keyring.rewrap(sealed).err()) {
                broken += 1;
                if let SealError::UnknownKey(kid) = error {
                    missing.insert(kid);
                }
            }
        }
        Ok::<_, StoreError>((all, broken, missing))
    };
    match looked.await {
        Ok((_, 0, _)) => {}
        Ok((all, broken, missing)) => {
            let remedy = "set them anew with PUT /v1/destinations/{id}/key";
            let words = match missing.len() {
                0 => format!(
                    "their records were moved, edited or damaged, or their key's id is another key's by now; {remedy}"
                ),
                _ => {
                    let kids: Vec<_> = missing.into_iter().take(SHOWN).collect();
                    format!(
                        "STREAM_KEY_ENCRYPTION_KEY lacks what sealed them ({}); add that after the first key (NEW,OLD) and restart, \
                         or {remedy}",
                        kids.join(", ")
                    )
                }
            };
            tracing::error!("{broken} of {all} stored stream keys do not open: {words}");
        }
        Err(error) => tracing::error!("the stored stream keys cannot be looked through: {error}"),
    }
}

/// Records that are read at once.
const PAGE: u32 = 200;
/// Ids of missing keys in one line.
const SHOWN: usize = 4;

const MAKE_JWT: &str = "`agentcast key generate --jwt`";

/// The LiveKit server when its address or key is set; then all three are needed.
fn livekit(loaded: &Loaded) -> Result<Option<LiveKit>, String> {
    let text = |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().to_owned());
    let url = loaded.config.livekit_url.clone();
    let (key, secret) = (text(&loaded.secrets.livekit_api_key), text(&loaded.secrets.livekit_api_secret));
    match (url, key, secret) {
        (None, None, None) => Ok(None),
        (Some(url), Some(key), Some(secret)) => {
            LiveKit::new(&url, &key, SecretString::from(secret)).map(Some).map_err(|error| error.to_string())
        }
        (url, key, secret) => {
            let all = [
                (url.is_none(), "LIVEKIT_URL"),
                (key.is_none(), "LIVEKIT_API_KEY"),
                (secret.is_none(), "LIVEKIT_API_SECRET"),
            ];
            let missing: Vec<_> = all.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect();
            let words = "your LiveKit server's configuration has them; without any of the three there are no rooms";
            Err(format!("not set: {}; {words}", missing.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::Inputs;

    fn words(env: &[(&str, &str)]) -> String {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let loaded = Inputs { env, ..Inputs::default() }.load().unwrap();
        keys(&loaded).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn everything_that_is_missing_is_said_at_once_with_the_command_that_makes_it() {
        let said = words(&[("LIVEKIT_URL", "wss://live.example.com")]);
        for wanted in [
            "STREAM_KEY_ENCRYPTION_KEY is not set; `agentcast key generate` makes one",
            "STREAMING_JWT_SECRET is not set; `agentcast key generate --jwt` makes one",
            "not set: LIVEKIT_API_KEY, LIVEKIT_API_SECRET",
        ] {
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn weak_secrets_are_refused_without_being_repeated() {
        let said = words(&[("STREAM_KEY_ENCRYPTION_KEY", "canary-1"), ("STREAMING_JWT_SECRET", "canary-2")]);
        assert!(said.contains("`agentcast key generate`") && said.contains(MAKE_JWT), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
}
