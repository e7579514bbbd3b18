//! Tenants, API keys, the flag.

use super::super::streams::{Kept, Switch};
use super::super::who::Who;
use super::super::{Service, now_ms};
use super::{Result, RosterError, entry, field, text, unkept};
use crate::secure::{api_key, new_id};
use crate::store::model::{ApiKey, ApiRole, Session, Tenant};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// Name of the feature flag and kill switch.
pub use super::super::streams::FLAG;

const NAME_CHARS: usize = crate::game::limits::NAME_CHARS;
/// What became of the flag is read back within this; whoever switched off is not kept waiting for a slow store.
const READ_BACK: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewTenant {
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    pub name: String,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewApiKey {
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*[^\\s\\x00-\\x1F\\x7F-\\x9F][^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    pub name: String,
    pub role: ApiRole,
    /// Admins say whose it is (none for another admin); others leave it out.
    #[schema(max_length = 64)]
    pub tenant_id: Option<String>,
}

/// The feature flag and kill switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flag {
    /// Streams may run.
    pub enabled: bool,
    /// Nobody has set it: it is as the settings say (`STREAMING_ENABLED`).
    pub by_default: bool,
}

impl Service {
    pub async fn add_tenant(&self, who: &Who, new: NewTenant) -> Result<Tenant> {
        let tenant = Tenant { id: new_id("ten"), name: text("name", &new.name, 1, NAME_CHARS)?, created_at: now_ms() };
        self.context().store.add_tenant(&tenant).await?;
        self.audit(who, Some(&tenant.id), "tenant.create", &tenant.id, json!({ "name": tenant.name })).await?;
        Ok(tenant)
    }

    /// The secret is shown once and kept as a hash only.
    pub async fn add_api_key(&self, who: &Who, new: NewApiKey) -> Result<(ApiKey, SecretString)> {
        let name = text("name", &new.name, 1, NAME_CHARS)?;
        if new.role > who.role {
            let words = format!("role: yours is {}, and nobody makes a key that may more than his own", who.role);
            return Err(RosterError::Forbidden(words));
        }
        let tenant_id = match (new.role, new.tenant_id) {
            (ApiRole::Admin, None) => None,
            (ApiRole::Admin, Some(_)) => {
                return Err(field("tenantId", "an admin belongs to no tenant; leave it out"));
            }
            (_, named) => Some(self.owner(who, named).await?),
        };
        let made = api_key::generate();
        let key = ApiKey {
            id: made.id,
            tenant_id,
            role: new.role,
            name,
            created_at: now_ms(),
            last_used_at: None,
            revoked_at: None,
        };
        self.context().store.add_api_key(&key, &made.hash).await?;
        let details = json!({ "name": key.name, "role": key.role });
        self.audit(who, key.tenant_id.as_deref(), "api-key.create", &key.id, details).await?;
        Ok((key, made.secret))
    }

    /// It works no more, at once, and the sessions that it opened are over: these are returned.
    pub async fn revoke_api_key(&self, who: &Who, id: &str) -> Result<Vec<Session>> {
        let store = &self.context().store;
        let known = store.api_key(id).await?;
        let visible = |key: &ApiKey| who.tenant().is_none() || key.tenant_id.as_deref() == who.tenant();
        let Some((key, _)) = known.filter(|(key, _)| visible(key)) else {
            return Err(crate::store::StoreError::NotFound("API key").into());
        };
        if key.role > who.role {
            return Err(RosterError::Forbidden(format!("the key is of role {}, above yours", key.role)));
        }
        let sessions = store.revoke_api_key(who.tenant(), id, now_ms()).await?;
        for session in &sessions {
            let data = json!({ "state": "revoked", "matchId": session.match_id, "scope": session.scope });
            self.tell(Some(&session.tenant_id), "session", &session.id, &data);
        }
        let details = json!({ "name": key.name, "sessions": sessions.len() });
        self.audit(who, key.tenant_id.as_deref(), "api-key.revoke", id, details).await?;
        Ok(sessions)
    }

    pub async fn flag(&self) -> Result<Flag> {
        if self.streams().is_killed() {
            return Ok(Flag { enabled: false, by_default: false });
        }
        let context = self.context();
        let set = context.store.flag(FLAG).await?;
        Ok(Flag { enabled: set.unwrap_or(context.config().streaming.enabled), by_default: set.is_none() })
    }

    /// Off: the ending slate for at most 2 s (not with `hard`), every output has ended when this returns, and new ones are
    /// refused. Survives a restart. Outputs end whether or not the store answers; [`RosterError::Unkept`] when it does not.
    pub async fn set_flag(&self, who: &Who, on: bool, hard: bool) -> Result<Flag> {
        if on {
            let store = &self.context().store;
            self.streams().on(&Switch::Flag, store.set_flag(FLAG, true, now_ms())).await?;
            // As it is: somebody may have switched it off meanwhile.
            let flag = self.flag().await?;
            self.tell(None, "flag", FLAG, &flag);
            self.audit(who, None, "flag.streaming.on", FLAG, json!({ "hard": false })).await?;
            return Ok(flag);
        }
        let entry = entry(who, None, "flag.streaming.off", FLAG, json!({ "hard": hard }));
        let kept = self.streams().flag_off(hard, entry).await;
        let mut flag = Flag { enabled: false, by_default: false };
        if kept == Kept::Yes
            && let Ok(Ok(now)) = tokio::time::timeout(READ_BACK, self.flag()).await
        {
            // On again where somebody turned it on meanwhile.
            flag = now;
        }
        self.tell(None, "flag", FLAG, &flag);
        if kept == Kept::NotYet { Err(unkept("streaming")) } else { Ok(flag) }
    }
}
