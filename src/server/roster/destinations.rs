//! Destinations and their stream keys.

use super::super::who::Who;
use super::super::{Context, Service, now_ms};
use super::{Result, RosterError, TRIES, again, field, given, limited, text};
use crate::output::key::StreamKey;
use crate::secure::{Binding, HostError, SealError, ingest_host, new_id};
use crate::store::StoreError;
use crate::store::model::{Destination, DestinationKind, KeyInfo, SealedKey, Via};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

/// Longest name of a LiveKit room, characters.
const ROOM_CHARS: usize = 128;
/// Rooms of the service's own begin so.
const OWN_ROOMS: &str = "agentcast-";

/// A destination as it is made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewDestination {
    pub kind: DestinationKind,
    /// How RTMP goes out: from here, or by LiveKit's Egress service.
    #[serde(default)]
    pub via: Via,
    /// `rtmps://host[:port]/app`, without the stream key. Left out: the platform's own. Not for a LiveKit room.
    #[schema(max_length = 512, example = "rtmps://live.example.com/app")]
    pub ingest: Option<String>,
    /// Name of the room, for a LiveKit room.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$",
        example = "lobby"
    )]
    pub room: Option<String>,
    /// On unless said.
    #[serde(default = "on")]
    #[schema(default = true)]
    pub enabled: bool,
}

fn on() -> bool {
    true
}

/// A change of a destination: what is left out stays. Another host in `ingest` throws the stream key away.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DestinationPatch {
    pub via: Option<Via>,
    /// Null: the platform's own.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 512)]
    pub ingest: Option<Option<String>>,
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    pub room: Option<String>,
    pub enabled: Option<bool>,
}

/// Why there is no key to connect with.
#[derive(Debug, thiserror::Error)]
pub enum OpenKeyError {
    #[error("no stream key is set; set it by PUT /v1/destinations/{0}/key")]
    Missing(String),
    /// The row was moved or edited.
    #[error("the stream key was set for another host or destination; set it anew")]
    Foreign,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens a destination's stream key for a connection to its ingest: the only way to it, because it compares what the key was
/// sealed for with where the destination leads now.
pub async fn open_key(context: &Context, destination: &Destination) -> Result<StreamKey, OpenKeyError> {
    let sealed = context.store.sealed_key(&destination.id).await?;
    let sealed = sealed.ok_or_else(|| OpenKeyError::Missing(destination.id.clone()))?;
    let host = destination.ingest.as_deref().map(ingest_host).unwrap_or_default();
    let fits =
        sealed.destination_id == destination.id && sealed.agent_id == destination.agent_id && sealed.host == host;
    if !fits {
        return Err(OpenKeyError::Foreign);
    }
    Ok(context.keyring.open(&sealed)?)
}

impl Service {
    /// The ingest address, checked; None for a LiveKit room.
    fn ingest(&self, kind: DestinationKind, given: Option<&str>) -> Result<Option<String>> {
        if kind == DestinationKind::LivekitRoom {
            return match given {
                None => Ok(None),
                Some(_) => Err(field("ingest", "a LiveKit room has none; leave it out")),
            };
        }
        let checked = self.context().config().hosts.ingest(kind, given.unwrap_or_default());
        checked.map(Some).map_err(|error| {
            let words = error.to_string();
            let words = words.strip_prefix("ingest: ").unwrap_or(&words).to_owned();
            match error {
                HostError::Address(_) => limited("ingest", words, 512),
                HostError::NotAllowed(_) | HostError::Private { .. } => field("ingest", words),
            }
        })
    }

    pub async fn add_destination(&self, who: &Who, agent: &str, new: NewDestination) -> Result<Destination> {
        let store = &self.context().store;
        let agent = store.agent(who.tenant(), agent).await?;
        let room = room_of(new.kind, new.via, new.room.as_deref())?;
        let ingest = self.ingest(new.kind, new.ingest.as_deref())?;
        let now = now_ms();
        let destination = Destination {
            id: new_id("dst"),
            tenant_id: agent.tenant_id,
            agent_id: agent.id,
            kind: new.kind,
            via: new.via,
            ingest,
            room,
            enabled: new.enabled,
            key: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        store.add_destination(&destination).await?;
        self.noted(who, &destination, "destination.create", json!({ "kind": destination.kind })).await?;
        Ok(destination)
    }

    /// Audit, bus and streams after a change of a destination.
    async fn noted(&self, who: &Who, d: &Destination, action: &str, mut details: serde_json::Value) -> Result<()> {
        self.streams().poke();
        if let Some(details) = details.as_object_mut() {
            details.insert("agentId".into(), d.agent_id.clone().into());
            details.insert("host".into(), d.ingest.as_deref().map(ingest_host).into());
        }
        self.audit(who, Some(&d.tenant_id), action, &d.id, details).await?;
        self.tell(Some(&d.tenant_id), "destination", &d.id, d);
        Ok(())
    }

    /// `expected`: the version that the caller has seen.
    pub async fn change_destination(
        &self,
        who: &Who,
        id: &str,
        patch: DestinationPatch,
        expected: Option<i64>,
    ) -> Result<Destination> {
        let store = &self.context().store;
        let mut tries = 0;
        let destination = loop {
            let mut d = store.destination(who.tenant(), id).await?;
            if expected.is_some_and(|version| version != d.version) {
                return Err(StoreError::Stale { what: "destination", version: d.version }.into());
            }
            d.via = patch.via.unwrap_or(d.via);
            d.enabled = patch.enabled.unwrap_or(d.enabled);
            d.room = room_of(d.kind, d.via, patch.room.as_deref().or(d.room.as_deref()))?;
            if let Some(ingest) = &patch.ingest {
                d.ingest = self.ingest(d.kind, ingest.as_deref())?;
            }
            d.updated_at = now_ms();
            match store.update_destination(&d, Some(d.version)).await {
                Ok(d) => break d,
                Err(StoreError::Stale { .. }) if expected.is_none() && tries < TRIES => again(&mut tries).await,
                Err(error) => return Err(error.into()),
            }
        };
        let details = json!({ "version": destination.version, "enabled": destination.enabled });
        self.noted(who, &destination, "destination.change", details).await?;
        Ok(destination)
    }

    pub async fn delete_destination(&self, who: &Who, id: &str, expected: Option<i64>) -> Result<()> {
        let store = &self.context().store;
        let d = store.destination(who.tenant(), id).await?;
        if expected.is_some_and(|version| version != d.version) {
            return Err(StoreError::Stale { what: "destination", version: d.version }.into());
        }
        store.delete_destination(who.tenant(), id).await?;
        self.streams().poke();
        let details = json!({ "agentId": d.agent_id, "kind": d.kind });
        self.audit(who, Some(&d.tenant_id), "destination.delete", id, details).await?;
        self.tell(Some(&d.tenant_id), "destination", id, &());
        Ok(())
    }

    /// Seals the key and puts it in the place of the one before.
    pub async fn set_key(&self, who: &Who, id: &str, key: &StreamKey) -> Result<KeyInfo> {
        let context = self.context();
        let store = &context.store;
        let mut tries = 0;
        let (sealed, replaced) = loop {
            let d = store.destination(who.tenant(), id).await?;
            let Some(ingest) = &d.ingest else {
                return Err(RosterError::Conflict("a LiveKit room takes no stream key".into()));
            };
            let before = store.sealed_key(id).await?;
            let host = ingest_host(ingest);
            // Of the destination's own counter, which each key that is set or deleted raises: no version comes twice, so that
            // an old blob does not open in the place of a newer one.
            let record_version = before.as_ref().map_or(0, |before| before.record_version).max(d.version) + 1;
            let binding = Binding { agent: &d.agent_id, destination: id, host, record_version };
            let sealed = SealedKey {
                destination_id: id.to_owned(),
                agent_id: d.agent_id.clone(),
                host: host.to_owned(),
                record_version,
                kid: context.keyring.kid().to_owned(),
                blob: context.keyring.seal(key, binding),
                fingerprint: context.keyring.fingerprint(key),
                set_at: now_ms(),
                last_used_at: None,
            };
            match store.put_key(who.tenant(), &sealed).await {
                Ok(()) => break (sealed, before.is_some()),
                // Its ingest was changed in between: seal it for the new host.
                Err(StoreError::Stale { .. }) if tries < TRIES => again(&mut tries).await,
                Err(error) => return Err(error.into()),
            }
        };
        let info = KeyInfo { fingerprint: sealed.fingerprint, set_at: sealed.set_at, last_used_at: None };
        let action = if replaced { "destination.key.replace" } else { "destination.key.set" };
        let d = store.destination(who.tenant(), id).await?;
        self.noted(who, &d, action, json!({ "fingerprint": info.fingerprint })).await?;
        Ok(info)
    }

    pub async fn delete_key(&self, who: &Who, id: &str) -> Result<()> {
        let store = &self.context().store;
        store.destination(who.tenant(), id).await?;
        store.delete_key(who.tenant(), id).await?;
        let d = store.destination(who.tenant(), id).await?;
        self.noted(who, &d, "destination.key.delete", json!({})).await
    }
}

/// The room's name, checked against the kind.
fn room_of(kind: DestinationKind, via: Via, room: Option<&str>) -> Result<Option<String>> {
    match (kind, room) {
        (DestinationKind::LivekitRoom, _) if via != Via::Direct => {
            Err(field("via", "a LiveKit room is reached directly; leave it out"))
        }
        (DestinationKind::LivekitRoom, Some(room)) => {
            let room = text("room", room, 1, ROOM_CHARS)?;
            match room.to_ascii_lowercase().starts_with(OWN_ROOMS) {
                true => Err(field("room", format!("names that begin with {OWN_ROOMS} are the service's own"))),
                false => Ok(Some(room)),
            }
        }
        (DestinationKind::LivekitRoom, None) => Err(field("room", "it is missing: the name of the LiveKit room")),
        (_, Some(_)) => Err(field("room", "only a destination of kind livekit-room has one; leave it out")),
        (_, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_rooms_that_do_not_go_together_are_refused_by_the_field() {
        use DestinationKind::{LivekitRoom, Twitch};
        let name = |result: Result<Option<String>>| match result {
            Err(RosterError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(room_of(LivekitRoom, Via::LivekitEgress, Some("r"))), "via");
        assert_eq!(name(room_of(LivekitRoom, Via::Direct, None)), "room");
        assert_eq!(name(room_of(LivekitRoom, Via::Direct, Some(&"r".repeat(129)))), "room");
        assert_eq!(name(room_of(LivekitRoom, Via::Direct, Some("agentcast-str_1"))), "room");
        assert_eq!(name(room_of(Twitch, Via::Direct, Some("r"))), "room");
        assert_eq!(room_of(LivekitRoom, Via::Direct, Some(" lobby ")).unwrap().as_deref(), Some("lobby"));
        assert_eq!(room_of(Twitch, Via::LivekitEgress, None).unwrap(), None);
    }
}
