//! Flags, audit, usage, remembered answers.

use super::model::{AuditEntry, Millis, UsageDay};
use super::rows::{get, json, scoped, to_json};
use super::{Claim, Page, PageRequest, Remembered, Result, Store, StoreError};
use sqlx::any::AnyRow;

/// In place of a status while a call runs.
const UNANSWERED: i64 = 0;

fn audit_entry(row: &AnyRow) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: get(row, "ref")?,
        at: get(row, "at")?,
        tenant_id: get(row, "tenant_id")?,
        actor: get(row, "actor")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        details: json(row, "details")?,
        from: get(row, "origin")?,
    })
}

fn usage_day(row: &AnyRow) -> Result<UsageDay> {
    Ok(UsageDay {
        agent_id: get(row, "agent_id")?,
        day: get(row, "day")?,
        stream_seconds: get(row, "stream_seconds")?,
        output_seconds: get(row, "output_seconds")?,
    })
}

/// What the name of the flag that notes a key begins with; the key's id follows.
const SEALING_KEY: &str = "sealing-key:";

/// Flags and audit.
impl Store {
    /// None: never set.
    pub async fn flag(&self, name: &str) -> Result<Option<bool>> {
        let sql = "SELECT value FROM flags WHERE name = $1";
        let value: Option<i64> = sqlx::query_scalar(sql).bind(name).fetch_optional(self.read()).await?;
        Ok(value.map(|v| v != 0))
    }

    pub async fn set_flag(&self, name: &str, on: bool, at: Millis) -> Result<()> {
        let sql = "INSERT INTO flags (name, value, changed_at) VALUES ($1, $2, $3)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at";
        sqlx::query(sql).bind(name).bind(i64::from(on)).bind(at).execute(self.write()).await?;
        Ok(())
    }

    /// Notes by which key-encryption key the process that serves this store seals.
    pub async fn note_sealing_key(&self, kid: &str, at: Millis) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM flags WHERE name LIKE 'sealing-key:%'").execute(&mut *tx).await?;
        let sql = "INSERT INTO flags (name, value, changed_at) VALUES ($1, 1, $2)";
        sqlx::query(sql).bind(format!("{SEALING_KEY}{kid}")).bind(at).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Id of the key-encryption key by which the process that served last seals, or sealed. None: none ever served.
    pub async fn sealing_key(&self) -> Result<Option<String>> {
        let sql = "SELECT name FROM flags WHERE name LIKE 'sealing-key:%'";
        let name: Option<String> = sqlx::query_scalar(sql).fetch_optional(self.read()).await?;
        Ok(name.and_then(|name| name.strip_prefix(SEALING_KEY).map(str::to_owned)))
    }

    /// `id` of the entry is given by the store. Nothing changes or deletes an entry but [`Store::prune`].
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        let mut tx = self.begin().await?;
        let id: i64 = sqlx::query_scalar("UPDATE audit_last SET id = id + 1 RETURNING id").fetch_one(&mut *tx).await?;
        let sql = "INSERT INTO audit (id, at, tenant_id, actor, action, subject, details, origin, ref)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        // Random: one that rises would tell how many others were given between two of a tenant's own.
        let name = format!("aud_{}", uuid::Uuid::new_v4().simple());
        sqlx::query(sql)
            .bind(id)
            .bind(entry.at)
            .bind(entry.tenant_id.as_deref())
            .bind(&*entry.actor)
            .bind(&*entry.action)
            .bind(&*entry.subject)
            .bind(to_json(&entry.details)?)
            .bind(entry.from.as_deref())
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Newest first. A page begins after the entry of an id; there is nothing after one that is gone, for the older go first.
    pub async fn audit_log(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<AuditEntry>> {
        let before = match &page.after {
            Some(id) => {
                let sql = scoped!(tenant, "SELECT id FROM audit WHERE", "AND ref = $2");
                let number = sqlx::query_scalar(sql).bind(tenant).bind(&**id).fetch_optional(self.read()).await?;
                number.unwrap_or(i64::MIN)
            }
            None => i64::MAX,
        };
        let sql = scoped!(tenant, "SELECT * FROM audit WHERE", "AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(before).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, audit_entry, |e| e.id.clone())
    }
}

/// Usage.
impl Store {
    /// Adds to what the agent used on `day` (`2026-11-21`).
    pub async fn add_usage(
        &self,
        tenant: &str,
        agent: &str,
        day: &str,
        stream_seconds: i64,
        output_seconds: i64,
    ) -> Result<()> {
        let sql = "INSERT INTO usage_days (tenant_id, agent_id, day, stream_seconds, output_seconds)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (agent_id, day) DO UPDATE SET
            stream_seconds = usage_days.stream_seconds + excluded.stream_seconds,
            output_seconds = usage_days.output_seconds + excluded.output_seconds";
        let query = sqlx::query(sql).bind(tenant).bind(agent).bind(day).bind(stream_seconds).bind(output_seconds);
        query.execute(self.write()).await?;
        Ok(())
    }

    /// From day to day, both included; by day, then agent.
    pub async fn usage(
        &self,
        tenant: Option<&str>,
        agent: Option<&str>,
        from: &str,
        to: &str,
    ) -> Result<Vec<UsageDay>> {
        let sql = scoped!(
            tenant,
            "SELECT * FROM usage_days WHERE",
            "AND ($2 IS NULL OR agent_id = $2) AND day >= $3 AND day <= $4 ORDER BY day, agent_id"
        );
        let query = sqlx::query(sql).bind(tenant).bind(agent).bind(from).bind(to);
        query.fetch_all(self.read()).await?.iter().map(usage_day).collect()
    }
}

/// Remembered answers.
impl Store {
    /// Takes an Idempotency-Key for a call that is about to make something. To be ended by [`Self::remember`] or
    /// [`Self::forget`].
    pub async fn claim(&self, tenant: &str, key: &str, request: &str, at: Millis) -> Result<Claim> {
        let sql = "INSERT INTO answers (tenant_id, idempotency_key, request, status, body, at)
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, idempotency_key) DO NOTHING";
        let query = sqlx::query(sql).bind(tenant).bind(key).bind(request).bind(UNANSWERED).bind(&b""[..]).bind(at);
        if query.execute(self.write()).await?.rows_affected() == 1 {
            return Ok(Claim::New);
        }
        let sql = "SELECT request, status, body FROM answers WHERE tenant_id = $1 AND idempotency_key = $2";
        let row = sqlx::query(sql).bind(tenant).bind(key).fetch_one(self.write()).await?;
        let (request, status): (String, i64) = (get(&row, "request")?, get(&row, "status")?);
        if status == UNANSWERED {
            return Ok(Claim::CutOff { request });
        }
        let status =
            u16::try_from(status).map_err(|_| StoreError::Backend("an answer's status is no status".into()))?;
        Ok(Claim::Answered(Remembered { request, status, body: get(&row, "body")? }))
    }

    /// The answer under a claimed key. Of two the first stays.
    pub async fn remember(&self, tenant: &str, key: &str, status: u16, body: &[u8]) -> Result<()> {
        let sql = "UPDATE answers SET status = $3, body = $4
            WHERE tenant_id = $1 AND idempotency_key = $2 AND status = $5";
        let query = sqlx::query(sql).bind(tenant).bind(key).bind(i64::from(status)).bind(body).bind(UNANSWERED);
        query.execute(self.write()).await?;
        Ok(())
    }

    /// The call under a claimed key made nothing: the key is free again.
    pub async fn forget(&self, tenant: &str, key: &str) -> Result<()> {
        let sql = "DELETE FROM answers WHERE tenant_id = $1 AND idempotency_key = $2 AND status = $3";
        sqlx::query(sql).bind(tenant).bind(key).bind(UNANSWERED).execute(self.write()).await?;
        Ok(())
    }
}
