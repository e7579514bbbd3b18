//! Changing the key-encryption key: every data key in the store is wrapped anew by the first key, while the service runs.
//!
//! One record at a time, each by one conditional update, so that it can be broken off anywhere (kill -9 too) and begun again:
//! a record is under its old key or under the new one, never between, and both keys open it as long as both are configured.
//! A stream key that somebody sets or deletes meanwhile wins. No stream key is decrypted.

use super::now_ms;
use super::who::Who;
use crate::secure::Keyring;
use crate::store::model::AuditEntry;
use crate::store::{Store, StoreError};
use serde::Serialize;
use serde_json::{Value, json};

/// Records that are read at once.
const PAGE: u32 = 100;
/// Passes over the store. Records that change under a running service that still seals by the old key need another one.
const PASSES: usize = 8;

/// What a rotation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// Id of the key that wraps all of them now.
    pub kid: String,
    pub rewrapped: u64,
    /// Records that do not open, and so stay as they are: id of the destination and why.
    pub broken: Vec<(String, String)>,
    /// Records that something still seals by another key than the first: a service that has not read its settings anew.
    pub left: u64,
    /// Id of the key by which the service that served last seals, if that is not the first: keys that are set at it go under
    /// that one again.
    pub behind: Option<String>,
}

impl Rotated {
    /// Nothing needs the other keys any more.
    pub fn complete(&self) -> bool {
        self.broken.is_empty() && self.left == 0 && self.behind.is_none()
    }
}

/// Wraps every sealed key by the first key of `keyring`. Audited when it begins and when it ends.
///
/// # Errors
/// When the store cannot be reached; what was done stays done.
pub async fn rotate(store: &Store, keyring: &Keyring, who: &Who) -> Result<Rotated, StoreError> {
    let kid = keyring.kid();
    note(store, who, "keyring.rotate.begin", kid, Value::Null).await?;
    let mut done = Rotated { kid: kid.to_owned(), ..Rotated::default() };
    for _ in 0..PASSES {
        let before = done.rewrapped;
        pass(store, keyring, &mut done).await?;
        if done.left == 0 && done.rewrapped == before {
            break;
        }
    }
    done.behind = store.sealing_key().await?.filter(|serving| !keyring.seals_as(serving));
    let details = json!({ "rewrapped": done.rewrapped, "left": done.left, "broken": done.broken.len() });
    note(store, who, "keyring.rotate.end", kid, details).await?;
    Ok(done)
}

/// Once through the records that are under other keys. `left` becomes the number of those that changed under its hands.
async fn pass(store: &Store, keyring: &Keyring, done: &mut Rotated) -> Result<(), StoreError> {
    (done.left, done.broken) = (0, Vec::new());
    let mut after: Option<String> = None;
    loop {
        let page = store.keys_not_under(keyring.kid(), after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.destination_id.clone());
        for old in &page {
            match keyring.rewrap(old) {
                Ok(blob) if store.rewrap_key(old, keyring.kid(), &blob).await? => done.rewrapped += 1,
                Ok(_) => done.left += 1,
                Err(error) => done.broken.push((old.destination_id.clone(), error.to_string())),
            }
        }
    }
}

async fn note(store: &Store, who: &Who, action: &str, kid: &str, details: Value) -> Result<(), StoreError> {
    let entry = AuditEntry {
        id: String::new(),
        at: now_ms(),
        tenant_id: None,
        actor: who.actor.clone(),
        action: action.to_owned(),
        subject: kid.to_owned(),
        details,
        from: who.from.map(|from| from.to_string()),
    };
    store.audit(&entry).await
}
