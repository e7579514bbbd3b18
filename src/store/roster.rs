//! Tenants, agents, API keys. `tenant: None` is an admin, who sees all.

use super::matches::session;
use super::model::{Agent, ApiKey, Millis, Session, Tenant};
use super::rows::{flag, get, json, now, refused, scoped, to_json, word};
use super::{Page, PageRequest, Result, Store, StoreError};
use sqlx::any::AnyRow;

/// A key's use is noted at most this often: each call of a game server would be a write.
const USE_NOTED: Millis = 60_000;

fn tenant(row: &AnyRow) -> Result<Tenant> {
    Ok(Tenant { id: get(row, "id")?, name: get(row, "name")?, created_at: get(row, "created_at")? })
}

fn agent(row: &AnyRow) -> Result<Agent> {
    Ok(Agent {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        name: get(row, "name")?,
        author: get(row, "author")?,
        model: get(row, "model")?,
        avatar: get(row, "avatar")?,
        enabled: flag(row, "enabled")?,
        defaults: json(row, "defaults")?,
        limits: json(row, "limits")?,
        version: get(row, "version")?,
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
    })
}

fn api_key(row: &AnyRow) -> Result<ApiKey> {
    Ok(ApiKey {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        role: word(row, "role")?,
        name: get(row, "name")?,
        created_at: get(row, "created_at")?,
        last_used_at: get(row, "last_used_at")?,
        revoked_at: get(row, "revoked_at")?,
    })
}

/// Tenants and agents.
impl Store {
    pub async fn add_tenant(&self, tenant: &Tenant) -> Result<()> {
        sqlx::query("INSERT INTO tenants (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(&*tenant.id)
            .bind(&*tenant.name)
            .bind(tenant.created_at)
            .execute(self.write())
            .await
            .map_err(refused("tenant", "tenant"))?;
        Ok(())
    }

    pub async fn tenant(&self, id: &str) -> Result<Tenant> {
        let row = sqlx::query("SELECT * FROM tenants WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        tenant(&row.ok_or(StoreError::NotFound("tenant"))?)
    }

    pub async fn tenant_page(&self, page: &PageRequest) -> Result<Page<Tenant>> {
        let query = sqlx::query("SELECT * FROM tenants WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = query.bind(page.greater_than()).bind(page.rows()).fetch_all(self.read()).await?;
        page.page(&rows, tenant, |t| t.id.clone())
    }

    /// All of them, for the command line.
    pub async fn tenants(&self) -> Result<Vec<Tenant>> {
        sqlx::query("SELECT * FROM tenants ORDER BY id").fetch_all(self.read()).await?.iter().map(tenant).collect()
    }

    pub async fn add_agent(&self, agent: &Agent) -> Result<()> {
        let sql = "INSERT INTO agents (id, tenant_id, name, author, model, avatar, enabled, defaults, limits, version,
            created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        sqlx::query(sql)
            .bind(&*agent.id)
            .bind(&*agent.tenant_id)
            .bind(&*agent.name)
            .bind(&*agent.author)
            .bind(&*agent.model)
            .bind(agent.avatar.as_deref())
            .bind(i64::from(agent.enabled))
            .bind(to_json(&agent.defaults)?)
            .bind(to_json(&agent.limits)?)
            .bind(agent.version)
            .bind(agent.created_at)
            .bind(agent.updated_at)
            .execute(self.write())
            .await
            .map_err(refused("agent", "tenant"))?;
        Ok(())
    }

    pub async fn agent(&self, tenant: Option<&str>, id: &str) -> Result<Agent> {
        let sql = scoped!(tenant, "SELECT * FROM agents WHERE", "AND id = $2");
        let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(self.read()).await?;
        agent(&row.ok_or(StoreError::NotFound("agent"))?)
    }

    pub async fn agents(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Agent>> {
        let sql = scoped!(tenant, "SELECT * FROM agents WHERE", "AND id > $2 ORDER BY id LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(page.greater_than()).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, agent, |a| a.id.clone())
    }

    /// Agents whose switch is on, of all tenants.
    pub async fn enabled_agents(&self) -> Result<Vec<Agent>> {
        let rows = sqlx::query("SELECT * FROM agents WHERE enabled = 1 ORDER BY id").fetch_all(self.read()).await?;
        rows.iter().map(agent).collect()
    }

    /// Replaces what callers may change (name, author, model, defaults, limits; the switch and the picture have their own
    /// calls), raises the version, returns the new record. `expected`: the version that the caller has seen
    /// ([`StoreError::Stale`] when it is another one by now).
    pub async fn update_agent(&self, new: &Agent, expected: Option<i64>) -> Result<Agent> {
        let mut tx = self.begin().await?;
        let sql =
            "UPDATE agents SET name = $3, author = $4, model = $5, defaults = $6, limits = $7, version = version + 1,
            updated_at = $8 WHERE tenant_id = $1 AND id = $2 AND ($9 IS NULL OR version = $9) RETURNING *";
        let row = sqlx::query(sql)
            .bind(&*new.tenant_id)
            .bind(&*new.id)
            .bind(&*new.name)
            .bind(&*new.author)
            .bind(&*new.model)
            .bind(to_json(&new.defaults)?)
            .bind(to_json(&new.limits)?)
            .bind(now())
            .bind(expected)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            let version: Option<i64> =
                sqlx::query_scalar("SELECT version FROM agents WHERE tenant_id = $1 AND id = $2")
                    .bind(&*new.tenant_id)
                    .bind(&*new.id)
                    .fetch_optional(&mut *tx)
                    .await?;
            return Err(match version {
                Some(version) => StoreError::Stale { what: "agent", version },
                None => StoreError::NotFound("agent"),
            });
        };
        tx.commit().await?;
        agent(&row)
    }

    /// Sets the switch; true when that changed it.
    pub async fn set_enabled(&self, tenant: Option<&str>, agent: &str, on: bool) -> Result<bool> {
        let mut tx = self.begin().await?;
        let sql = scoped!(
            tenant,
            "UPDATE agents SET enabled = $3, version = version + 1, updated_at = $4 WHERE",
            "AND id = $2 AND enabled <> $3"
        );
        let query = sqlx::query(sql).bind(tenant).bind(agent).bind(i64::from(on)).bind(now());
        let changed = query.execute(&mut *tx).await?.rows_affected() > 0;
        if !changed {
            let sql = scoped!(tenant, "SELECT version FROM agents WHERE", "AND id = $2");
            let known: Option<i64> = sqlx::query_scalar(sql).bind(tenant).bind(agent).fetch_optional(&mut *tx).await?;
            known.ok_or(StoreError::NotFound("agent"))?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Deletes an agent with its destinations, keys and avatar. Its audit, its usage and the records of its streams stay.
    pub async fn delete_agent(&self, tenant: Option<&str>, id: &str) -> Result<()> {
        let sql = scoped!(tenant, "DELETE FROM agents WHERE", "AND id = $2");
        let gone = sqlx::query(sql).bind(tenant).bind(id).execute(self.write()).await?.rows_affected();
        if gone == 0 { Err(StoreError::NotFound("agent")) } else { Ok(()) }
    }

    /// PNG, JPEG or WebP bytes.
    pub async fn set_avatar(&self, tenant: Option<&str>, id: &str, sha256: &str, bytes: &[u8]) -> Result<Agent> {
        let mut tx = self.begin().await?;
        let sql = scoped!(
            tenant,
            "UPDATE agents SET avatar = $3, version = version + 1, updated_at = $4 WHERE",
            "AND id = $2 RETURNING *"
        );
        let query = sqlx::query(sql).bind(tenant).bind(id).bind(sha256).bind(now());
        let row = query.fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound("agent"))?;
        let sql = "INSERT INTO avatars (agent_id, bytes) VALUES ($1, $2)
            ON CONFLICT (agent_id) DO UPDATE SET bytes = excluded.bytes";
        sqlx::query(sql).bind(id).bind(bytes).execute(&mut *tx).await?;
        tx.commit().await?;
        agent(&row)
    }

    /// None: it has no picture.
    pub async fn avatar(&self, tenant: Option<&str>, agent: &str) -> Result<Option<Vec<u8>>> {
        let sql = scoped!(
            tenant,
            "SELECT v.bytes FROM agents a LEFT JOIN avatars v ON v.agent_id = a.id WHERE",
            "AND id = $2"
        );
        let row = sqlx::query(sql).bind(tenant).bind(agent).fetch_optional(self.read()).await?;
        get(&row.ok_or(StoreError::NotFound("agent"))?, "bytes")
    }
}

/// API keys.
impl Store {
    /// `hash`: SHA-256 of the key.
    pub async fn add_api_key(&self, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
        let sql = "INSERT INTO api_keys (id, tenant_id, role, name, hash, created_at, last_used_at, revoked_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(sql)
            .bind(&*key.id)
            .bind(key.tenant_id.as_deref())
            .bind(key.role.word())
            .bind(&*key.name)
            .bind(&hash[..])
            .bind(key.created_at)
            .bind(key.last_used_at)
            .bind(key.revoked_at)
            .execute(self.write())
            .await
            .map_err(refused("API key", "tenant"))?;
        Ok(())
    }

    /// The key of this id with its hash, revoked ones too.
    pub async fn api_key(&self, id: &str) -> Result<Option<(ApiKey, [u8; 32])>> {
        let row = sqlx::query("SELECT * FROM api_keys WHERE id = $1").bind(id).fetch_optional(self.read()).await?;
        let Some(row) = row else { return Ok(None) };
        let hash: Vec<u8> = get(&row, "hash")?;
        let hash = hash.try_into().map_err(|_| StoreError::Backend("the hash of an API key is not 32 bytes".into()))?;
        Ok(Some((api_key(&row)?, hash)))
    }

    pub async fn api_keys(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<ApiKey>> {
        let sql = scoped!(tenant, "SELECT * FROM api_keys WHERE", "AND id > $2 ORDER BY id LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(page.greater_than()).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, api_key, |k| k.id.clone())
    }

    /// Revokes it and every session that it opened, which are returned as they are now; expired ones stay as they are.
    /// Revoking once more keeps the first time.
    pub async fn revoke_api_key(&self, tenant: Option<&str>, id: &str, at: Millis) -> Result<Vec<Session>> {
        let mut tx = self.begin().await?;
        let sql = scoped!(tenant, "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) WHERE", "AND id = $2");
        let done = sqlx::query(sql).bind(tenant).bind(id).bind(at).execute(&mut *tx).await?.rows_affected();
        if done == 0 {
            return Err(StoreError::NotFound("API key"));
        }
        let sql = "UPDATE sessions SET revoked_at = $2
            WHERE created_by = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING *";
        let rows = sqlx::query(sql).bind(id).bind(at).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        rows.iter().map(session).collect()
    }

    /// Cheap to call on each use: writes at most once a minute and key.
    pub async fn api_key_used(&self, id: &str, at: Millis) -> Result<()> {
        let last: Option<Option<i64>> = sqlx::query_scalar("SELECT last_used_at FROM api_keys WHERE id = $1")
            .bind(id)
            .fetch_optional(self.read())
            .await?;
        if last.is_some_and(|last| last.is_none_or(|last| last + USE_NOTED <= at)) {
            sqlx::query("UPDATE api_keys SET last_used_at = $2 WHERE id = $1")
                .bind(id)
                .bind(at)
                .execute(self.write())
                .await?;
        }
        Ok(())
    }
}
