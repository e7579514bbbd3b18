//! Operations on agents, destinations, keys, the switch and the flag. Each one changes the store, writes the audit, tells
//! the bus and has the [streams](super::streams::Streams) look again where it changes what should be on air.
//!
//! Roles are the caller's affair; tenancy is not: what another tenant owns does not exist here.
//!
//! | file | what |
//! |---|---|
//! | `agents` | agents, their pictures, the switch |
//! | `destinations` | destinations and their stream keys |
//! | `office` | tenants, API keys, the flag |
//! | `preflight` | what would go wrong if the stream began now |

mod agents;
mod destinations;
mod office;
mod preflight;

pub use agents::{AgentPatch, DefaultsPatch, LimitsPatch, NewAgent};
pub use destinations::{DestinationPatch, NewDestination, OpenKeyError, open_key};
pub use office::{FLAG, Flag, NewApiKey, NewTenant};
pub use preflight::{CheckLevel, CheckLine};

use super::who::Who;
use super::{Service, now_ms};
use crate::store::StoreError;
use crate::store::model::AuditEntry;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// `limit`: what the field may be at most.
    #[error("{field}: {words}")]
    Field { field: &'static str, words: String, limit: Option<u64> },
    #[error("{0}")]
    Forbidden(String),
    /// It does not fit what is there; with what to do.
    #[error("{0}")]
    Conflict(String),
    /// It is done, but the store did not take it yet.
    #[error("{0}")]
    Unkept(String),
    /// Too many of these at once; with what to do.
    #[error("{0}")]
    Busy(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Result<T, E = RosterError> = std::result::Result<T, E>;

fn field(field: &'static str, words: impl Into<String>) -> RosterError {
    RosterError::Field { field, words: words.into(), limit: None }
}

fn limited(field: &'static str, words: impl Into<String>, limit: u64) -> RosterError {
    RosterError::Field { field, words: words.into(), limit: Some(limit) }
}

/// A text of `least` to `most` characters without control characters, white space round it cut off.
fn text(name: &'static str, value: &str, least: usize, most: usize) -> Result<String> {
    let value = value.trim();
    if !(least..=most).contains(&value.chars().count()) {
        return Err(limited(name, format!("expected {least} to {most} characters"), most as u64));
    }
    if value.chars().any(char::is_control) {
        return Err(field(name, "it has a control character"));
    }
    Ok(value.to_owned())
}

/// For fields of a change that may be null: absent leaves it, null clears it.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// A whole number of any size; what the type cannot hold comes as its least or its greatest, so that the field's own check
/// refuses it and names its limits. Null: None.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = i64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number")
        }

        fn visit_i64<E>(self, n: i64) -> Result<i64, E> {
            Ok(n)
        }

        fn visit_u64<E>(self, n: u64) -> Result<i64, E> {
            Ok(i64::try_from(n).unwrap_or(i64::MAX))
        }

        fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<i64, E> {
            let unexpected = serde::de::Unexpected::Float(n);
            // 3e1 is 30; `as` stops at the ends.
            if n.fract() == 0.0 { Ok(n as i64) } else { Err(E::invalid_type(unexpected, &self)) }
        }
    }

    struct Any(i64);

    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
            deserializer.deserialize_any(Whole).map(Any)
        }
    }

    Ok(Option::<Any>::deserialize(deserializer)?.map(|Any(n)| n))
}

/// As [`whole`], for what has no sign.
pub(crate) fn whole_u32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(whole(deserializer)?.map(|n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)))
}

/// As [`given`], for [`whole_u32`].
fn given_u32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    whole_u32(deserializer).map(Some)
}

/// Reads a record from an object only: derived readers take a list too, field by field.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(std::marker::PhantomData))
}

/// How often a change without a named version is begun anew when somebody else was faster. Of those that run at once one gets
/// through each time.
const TRIES: usize = 64;

/// Waits a little, so that those that run at once fall apart.
async fn again(tries: &mut usize) {
    *tries += 1;
    tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(1..=10))).await;
}

/// An entry of the audit, as of now.
fn entry(who: &Who, tenant: Option<&str>, action: &str, subject: &str, details: serde_json::Value) -> AuditEntry {
    AuditEntry {
        id: String::new(),
        at: now_ms(),
        tenant_id: tenant.map(str::to_owned),
        actor: who.actor.clone(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        details,
        from: who.from.map(|from| from.to_string()),
    }
}

/// For an off that the store has not taken.
fn unkept(what: &str) -> RosterError {
    RosterError::Unkept(format!(
        "{what} is off and its streams have ended, but the store has not taken it: it is tried again until it does, and a \
         restart before that would turn it on again"
    ))
}

impl Service {
    /// Writes what was done. `tenant`: whose record it was done to.
    async fn audit(
        &self,
        who: &Who,
        tenant: Option<&str>,
        action: &str,
        subject: &str,
        details: serde_json::Value,
    ) -> Result<()> {
        Ok(self.context().store.audit(&entry(who, tenant, action, subject, details)).await?)
    }

    /// Tells operators' pages what a record is now; null: gone.
    fn tell(&self, tenant: Option<&str>, kind: &'static str, id: &str, record: &impl serde::Serialize) {
        // Records are plain data.
        let data = serde_json::to_value(record).unwrap_or_default();
        self.context().bus.tell(tenant, kind, id, data);
    }
}
