//! Agents, their pictures, the switch.

use super::super::streams::{Kept, Switch};
use super::super::who::Who;
use super::super::{Service, now_ms};
use super::{
    Result, RosterError, TRIES, again, entry, field, given, given_u32, limited, object, text, unkept, whole, whole_u32,
};
use crate::draw::Size;
use crate::overlay::{Layout, Theme};
use crate::raster::{PictureError, decode};
use crate::secure::{is_id, new_id};
use crate::store::StoreError;
use crate::store::model::{Agent, AgentDefaults, AgentLimits, AgentView};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// A picture waits so long for its turn to be decoded.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Frame rates that the clock can keep.
const RATES: [u32; 5] = [24, 25, 30, 50, 60];
/// Video, kbit/s: below, text is not readable; above, no platform takes it.
const KBPS: std::ops::RangeInclusive<u32> = 300..=20_000;
const MINUTES: u32 = 1_440;
const CONCURRENT: u32 = 64;
const BUDGET: f64 = 1e9;
const NAME_CHARS: usize = crate::game::limits::NAME_CHARS;

/// An agent as it is made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewAgent {
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    pub name: String,
    /// Admins say whose it is; others leave it out.
    #[schema(max_length = 64)]
    pub tenant_id: Option<String>,
    /// Who made it.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    pub author: String,
    /// The model it runs on.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    pub model: String,
    /// The switch; off unless said.
    #[serde(default)]
    pub enabled: bool,
    #[serde(default, deserialize_with = "object")]
    pub defaults: DefaultsPatch,
    #[serde(default, deserialize_with = "object")]
    pub limits: LimitsPatch,
}

/// A change of an agent: what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentPatch {
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    pub name: Option<String>,
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    pub author: Option<String>,
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$")]
    pub model: Option<String>,
    #[serde(default, deserialize_with = "object")]
    pub defaults: DefaultsPatch,
    #[serde(default, deserialize_with = "object")]
    pub limits: LimitsPatch,
}

/// Some of what an agent's streams look like: what is left out stays, or is as usual for a new agent.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DefaultsPatch {
    /// `arena` (dark) or `paper` (light).
    #[schema(pattern = "^(arena|paper)$", example = "arena")]
    pub theme: Option<String>,
    /// `1280x720` or `1920x1080`; null: 1080p on a real GPU, else 720p.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^(1280x720|1920x1080)$", example = "1280x720")]
    pub size: Option<Option<String>>,
    /// 24, 25, 30, 50 or 60.
    #[serde(default, deserialize_with = "whole_u32")]
    #[schema(schema_with = rates)]
    pub fps: Option<u32>,
    /// The picture is held back by this much, ms.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 600_000)]
    pub delay_ms: Option<i64>,
    pub view: Option<AgentView>,
    /// Video, kbit/s; null: by size and frame rate.
    #[serde(default, deserialize_with = "given_u32")]
    #[schema(value_type = Option<u32>, minimum = 300, maximum = 20_000)]
    pub kbps: Option<Option<u32>>,
}

/// Some of what an agent may use: what is left out stays; null: no limit.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsPatch {
    /// Minutes on air a day (UTC).
    #[serde(default, deserialize_with = "given_u32")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_440)]
    pub minutes_per_day: Option<Option<u32>>,
    /// Matches on air at once.
    #[serde(default, deserialize_with = "given_u32")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 64)]
    pub concurrent: Option<Option<u32>>,
    /// What its outputs may cost a calendar month (UTC).
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000_000)]
    pub budget_per_month: Option<Option<f64>>,
}

fn rates() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let rates = RATES.iter().map(|rate| Some((*rate).into())).chain([Some(serde_json::Value::Null)]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .description(Some("24, 25, 30, 50 or 60."))
        .enum_values(Some(rates.flatten()))
        .build()
}

impl DefaultsPatch {
    fn apply(self, to: &mut AgentDefaults) -> Result<()> {
        if let Some(theme) = self.theme {
            Theme::named(&theme).map_err(|_| field("defaults.theme", "expected `arena` or `paper`"))?;
            to.theme = theme;
        }
        if let Some(size) = self.size {
            if let Some(size) = &size {
                let known = picture_size(size).is_some_and(|size| Layout::new(size).is_ok());
                known.then_some(()).ok_or_else(|| field("defaults.size", "expected `1280x720` or `1920x1080`"))?;
            }
            to.size = size;
        }
        if let Some(fps) = self.fps {
            if !RATES.contains(&fps) {
                return Err(limited("defaults.fps", "expected 24, 25, 30, 50 or 60", 60));
            }
            to.fps = fps;
        }
        if let Some(delay) = self.delay_ms {
            let most = crate::game::limits::DELAY_MS;
            if !(0..=most).contains(&delay) {
                return Err(limited("defaults.delayMs", format!("expected 0 to {most} ms"), most.unsigned_abs()));
            }
            to.delay_ms = delay;
        }
        to.view = self.view.unwrap_or(to.view);
        if let Some(kbps) = self.kbps {
            if kbps.is_some_and(|kbps| !KBPS.contains(&kbps)) {
                let words = format!("expected {} to {} kbit/s", KBPS.start(), KBPS.end());
                return Err(limited("defaults.kbps", words, u64::from(*KBPS.end())));
            }
            to.kbps = kbps;
        }
        Ok(())
    }
}

impl LimitsPatch {
    fn apply(self, to: &mut AgentLimits) -> Result<()> {
        let within = |name, value: Option<u32>, most: u32| {
            let good = value.is_none_or(|value| (1..=most).contains(&value));
            good.then_some(value).ok_or_else(|| limited(name, format!("expected 1 to {most}"), most.into()))
        };
        if let Some(minutes) = self.minutes_per_day {
            to.minutes_per_day = within("limits.minutesPerDay", minutes, MINUTES)?;
        }
        if let Some(concurrent) = self.concurrent {
            to.concurrent = within("limits.concurrent", concurrent, CONCURRENT)?;
        }
        if let Some(budget) = self.budget_per_month {
            if budget.is_some_and(|budget| !(0.0..=BUDGET).contains(&budget)) {
                return Err(limited("limits.budgetPerMonth", "expected 0 to 1,000,000,000", 1_000_000_000));
            }
            to.budget_per_month = budget;
        }
        Ok(())
    }
}

/// `1280x720`.
pub(super) fn picture_size(text: &str) -> Option<Size> {
    let (w, h) = text.split_once('x')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some(Size { w: number(w)?, h: number(h)? })
}

impl Service {
    /// The tenant that a new record belongs to.
    pub(super) async fn owner(&self, who: &Who, named: Option<String>) -> Result<String> {
        match (who.tenant(), named) {
            (Some(own), None) => Ok(own.to_owned()),
            (Some(own), Some(named)) if named == own => Ok(named),
            (Some(_), Some(_)) => Err(RosterError::Forbidden("tenantId: only an admin may name another tenant".into())),
            (None, Some(named)) if !is_id(&named) => Err(field("tenantId", "there is no such tenant")),
            (None, Some(named)) => match self.context().store.tenant(&named).await {
                Ok(_) => Ok(named),
                Err(StoreError::NotFound(_)) => Err(field("tenantId", "there is no such tenant")),
                Err(error) => Err(error.into()),
            },
            (None, None) => Err(field("tenantId", "it is missing: an admin says whose it is")),
        }
    }

    pub async fn add_agent(&self, who: &Who, new: NewAgent) -> Result<Agent> {
        let now = now_ms();
        let mut agent = Agent {
            id: new_id("agt"),
            tenant_id: String::new(),
            name: text("name", &new.name, 1, NAME_CHARS)?,
            author: text("author", &new.author, 0, NAME_CHARS)?,
            model: text("model", &new.model, 0, NAME_CHARS)?,
            avatar: None,
            enabled: new.enabled,
            defaults: AgentDefaults::default(),
            limits: AgentLimits::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        new.defaults.apply(&mut agent.defaults)?;
        new.limits.apply(&mut agent.limits)?;
        agent.tenant_id = self.owner(who, new.tenant_id).await?;
        self.context().store.add_agent(&agent).await?;
        let details = json!({ "name": agent.name, "enabled": agent.enabled });
        self.audit(who, Some(&agent.tenant_id), "agent.create", &agent.id, details).await?;
        self.tell(Some(&agent.tenant_id), "agent", &agent.id, &agent);
        Ok(agent)
    }

    /// `expected`: the version that the caller has seen.
    pub async fn change_agent(&self, who: &Who, id: &str, patch: AgentPatch, expected: Option<i64>) -> Result<Agent> {
        let store = &self.context().store;
        let mut tries = 0;
        let agent = loop {
            let mut agent = store.agent(who.tenant(), id).await?;
            if let Some(version) = expected.filter(|version| *version != agent.version) {
                tracing::debug!("agent {id}: version {version} was expected");
                return Err(StoreError::Stale { what: "agent", version: agent.version }.into());
            }
            let patch = patch.clone();
            if let Some(name) = patch.name {
                agent.name = text("name", &name, 1, NAME_CHARS)?;
            }
            if let Some(author) = patch.author {
                agent.author = text("author", &author, 0, NAME_CHARS)?;
            }
            if let Some(model) = patch.model {
                agent.model = text("model", &model, 0, NAME_CHARS)?;
            }
            patch.defaults.apply(&mut agent.defaults)?;
            patch.limits.apply(&mut agent.limits)?;
            agent.updated_at = now_ms();
            match store.update_agent(&agent, Some(agent.version)).await {
                Ok(agent) => break agent,
                Err(StoreError::Stale { .. }) if expected.is_none() && tries < TRIES => again(&mut tries).await,
                Err(error) => return Err(error.into()),
            }
        };
        let details = json!({ "version": agent.version, "defaults": agent.defaults, "limits": agent.limits });
        self.audit(who, Some(&agent.tenant_id), "agent.change", id, details).await?;
        self.tell(Some(&agent.tenant_id), "agent", id, &agent);
        self.streams().poke();
        Ok(agent)
    }

    /// Its streams end.
    pub async fn delete_agent(&self, who: &Who, id: &str, expected: Option<i64>) -> Result<()> {
        let store = &self.context().store;
        let agent = store.agent(who.tenant(), id).await?;
        if expected.is_some_and(|version| version != agent.version) {
            return Err(StoreError::Stale { what: "agent", version: agent.version }.into());
        }
        store.delete_agent(who.tenant(), id).await?;
        self.audit(who, Some(&agent.tenant_id), "agent.delete", id, json!({ "name": agent.name })).await?;
        self.tell(Some(&agent.tenant_id), "agent", id, &());
        self.streams().poke();
        Ok(())
    }

    /// The operator's switch. On: the agent's streams begin when a match runs; off: they end, whether or not the store
    /// answers ([`RosterError::Unkept`] when it does not).
    pub async fn switch_agent(&self, who: &Who, id: &str, on: bool) -> Result<Agent> {
        let store = &self.context().store;
        let candidate = if on { None } else { self.streams().candidate(who.tenant(), id) };
        if let Some(candidate) = candidate {
            let tenant = Some(&*candidate.tenant_id);
            let entry = entry(who, tenant, "agent.streaming.off", id, json!({ "changed": true }));
            match self.streams().agent_off(id, entry).await {
                Kept::Yes => {}
                Kept::NotYet => return Err(unkept("the agent")),
                Kept::Gone => return Err(StoreError::NotFound("agent").into()),
            }
            let agent = store.agent(who.tenant(), id).await?;
            self.tell(tenant, "agent", id, &agent);
            return Ok(agent);
        }
        let write = store.set_enabled(who.tenant(), id, on);
        let changed = match on {
            true => self.streams().on(&Switch::Agent(id.to_owned()), write).await?,
            false => self.streams().in_turn(write).await?,
        };
        let mut agent = store.agent(who.tenant(), id).await?;
        // As it is: somebody may have switched it off meanwhile.
        agent.enabled &= !self.streams().is_off(id);
        // First what is on air, then the books.
        self.streams().poke();
        let action = if on { "agent.streaming.on" } else { "agent.streaming.off" };
        self.audit(who, Some(&agent.tenant_id), action, id, json!({ "changed": changed })).await?;
        if changed {
            self.tell(Some(&agent.tenant_id), "agent", id, &agent);
        }
        Ok(agent)
    }

    /// PNG, JPEG or WebP. Refused unless it decodes.
    pub async fn set_avatar(&self, who: &Who, id: &str, bytes: bytes::Bytes) -> Result<Agent> {
        let store = &self.context().store;
        // Not before the caller is known to own it: decoding costs.
        let tenant = store.agent(who.tenant(), id).await?.tenant_id;
        let turn = self.parts.pictures.wait(&tenant, PATIENCE).await;
        let busy = || RosterError::Busy("too many pictures are being read; try again in a moment".into());
        let (turn, picture) = (turn.ok_or_else(busy)?, bytes.clone());
        let decoded = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            decode("avatar", &picture).map(drop)
        });
        let decoded = decoded.await;
        match decoded {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let (words, limit) = match error {
                    PictureError::TooLarge { .. } => ("it has more than 2 MiB", Some(2 << 20)),
                    PictureError::TooWide { .. } => ("it is larger than 4096 × 4096 px", Some(4_096)),
                    PictureError::TooMuchMemory { .. } => ("it needs more than 64 MiB when decoded", Some(64 << 20)),
                    PictureError::Format { .. } => ("it is neither PNG, JPEG nor WebP", None),
                    PictureError::Broken { .. } => ("it is damaged and cannot be decoded", None),
                };
                return Err(RosterError::Field { field: "body", words: words.into(), limit });
            }
            // A decoder that panics has met a picture that it should have refused.
            Err(_) => return Err(field("body", "it is damaged and cannot be decoded")),
        }
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let agent = store.set_avatar(who.tenant(), id, &sha256, &bytes).await?;
        let details = json!({ "sha256": sha256, "bytes": bytes.len() });
        self.audit(who, Some(&agent.tenant_id), "agent.avatar.set", id, details).await?;
        self.tell(Some(&agent.tenant_id), "agent", id, &agent);
        self.streams().poke();
        Ok(agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(patch: serde_json::Value) -> String {
        let patch: DefaultsPatch = serde_json::from_value(patch).unwrap();
        match patch.apply(&mut AgentDefaults::default()) {
            Err(RosterError::Field { field, .. }) => field.to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_default_out_of_its_bounds_is_refused_by_name() {
        for (patch, field) in [
            (json!({"theme": "dark"}), "defaults.theme"),
            (json!({"size": "640x360"}), "defaults.size"),
            (json!({"size": "+1280x720"}), "defaults.size"),
            (json!({"fps": 29}), "defaults.fps"),
            (json!({"delayMs": -1}), "defaults.delayMs"),
            (json!({"delayMs": 600_001}), "defaults.delayMs"),
            (json!({"kbps": 299}), "defaults.kbps"),
            (json!({"kbps": 20_001}), "defaults.kbps"),
        ] {
            assert_eq!(refused(patch.clone()), field, "{patch}");
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name_and_null_clears() {
        let mut defaults = AgentDefaults { kbps: Some(4_000), fps: 60, ..AgentDefaults::default() };
        let patch: DefaultsPatch = serde_json::from_value(json!({"size": "1920x1080", "kbps": null})).unwrap();
        patch.apply(&mut defaults).unwrap();
        assert_eq!((defaults.size.as_deref(), defaults.kbps, defaults.fps), (Some("1920x1080"), None, 60));
        let mut limits = AgentLimits { concurrent: Some(2), ..AgentLimits::default() };
        let patch: LimitsPatch = serde_json::from_value(json!({"minutesPerDay": 90})).unwrap();
        patch.apply(&mut limits).unwrap();
        assert_eq!((limits.minutes_per_day, limits.concurrent), (Some(90), Some(2)));
    }
}
