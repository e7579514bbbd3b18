//! What is thrown away, and when.

use super::model::Millis;
use super::{Kind, Result, Store, StoreError};
use sqlx::Transaction;
use sqlx::any::Any;

/// Rows that one transaction deletes: writers wait for it.
const ROWS: i64 = 2_000;
/// What is left of broadcasts that are long over. Sessions go with their match.
const HISTORY: [&str; 2] = [
    "DELETE FROM streams WHERE id IN (SELECT id FROM streams WHERE ended_at < $1 LIMIT $2)",
    "DELETE FROM matches WHERE id IN (SELECT id FROM matches WHERE closed_at < $1 AND log_bytes = 0 LIMIT $2)",
];
/// Pages that go back to the file system at once: 16 MiB.
const PAGES: &str = "PRAGMA incremental_vacuum(4096)";

impl Store {
    /// Throws away logs and sessions of matches closed before `closed_before`, the oldest logs of closed matches while all
    /// logs together are larger than `bytes`, audit and usage rows before `audit_before` and with them the streams that ended
    /// and the matches without a log that were closed before, answers before `answers_before`.
    /// Returns the number of rows. Works in small steps: writers never wait long.
    pub async fn prune(
        &self,
        closed_before: Millis,
        bytes: u64,
        audit_before: Millis,
        answers_before: Millis,
    ) -> Result<u64> {
        let mut gone = self.prune_matches(closed_before).await?;
        gone += self.prune_by_size(bytes).await?;
        gone += self.prune_audit(audit_before).await?;
        for sql in HISTORY {
            gone += self.prune_rows(sql, audit_before).await?;
        }
        let day = day(audit_before)?;
        gone +=
            sqlx::query("DELETE FROM usage_days WHERE day < $1").bind(day).execute(self.write()).await?.rows_affected();
        let sql = "DELETE FROM answers WHERE (tenant_id, idempotency_key) IN
            (SELECT tenant_id, idempotency_key FROM answers WHERE at < $1 LIMIT $2)";
        gone += self.prune_rows(sql, answers_before).await?;
        if self.parts.kind == Kind::Sqlite && gone > 0 {
            // Each page is a row of this statement's answer.
            sqlx::query(PAGES).fetch_all(self.write()).await?;
        }
        Ok(gone)
    }

    async fn prune_matches(&self, closed_before: Millis) -> Result<u64> {
        let mut gone = 0;
        let sql = "SELECT id FROM matches WHERE log_bytes > 0 AND closed_at < $1 ORDER BY closed_at, id";
        let ids: Vec<String> = sqlx::query_scalar(sql).bind(closed_before).fetch_all(self.read()).await?;
        for id in ids {
            gone += self.drop_log(&id).await?;
        }
        let sql = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s JOIN matches m ON m.id = s.match_id
            WHERE m.closed_at < $1 LIMIT $2)";
        Ok(gone + self.prune_rows(sql, closed_before).await?)
    }

    /// Runs a statement that deletes at most `$2` rows of before `$1` until it finds no more.
    async fn prune_rows(&self, sql: &'static str, before: Millis) -> Result<u64> {
        let mut gone = 0;
        loop {
            let now = sqlx::query(sql).bind(before).bind(ROWS).execute(self.write()).await?.rows_affected();
            gone += now;
            if now < ROWS as u64 {
                return Ok(gone);
            }
        }
    }

    async fn prune_by_size(&self, limit: u64) -> Result<u64> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut gone = 0;
        let sql = "SELECT CAST(COALESCE(SUM(log_bytes), 0) AS BIGINT) FROM matches WHERE log_bytes > 0";
        let mut total: i64 = sqlx::query_scalar(sql).fetch_one(self.read()).await?;
        while total > limit {
            let sql = "SELECT id, log_bytes FROM matches WHERE log_bytes > 0 AND closed_at IS NOT NULL
                ORDER BY closed_at, id LIMIT 1";
            // Running matches keep theirs.
            let Some(row) = sqlx::query(sql).fetch_optional(self.read()).await? else { break };
            gone += self.drop_log(super::rows::get(&row, "id")?).await?;
            total -= super::rows::get::<i64>(&row, "log_bytes")?;
        }
        Ok(gone)
    }

    /// Deletes a closed match's events, snapshot and record.
    async fn drop_log(&self, id: &str) -> Result<u64> {
        let mut gone = 0;
        loop {
            let sql = "DELETE FROM match_events WHERE match_id = $1 AND n IN
                (SELECT n FROM match_events WHERE match_id = $1 ORDER BY n LIMIT $2)";
            let now = sqlx::query(sql).bind(id).bind(ROWS).execute(self.write()).await?.rows_affected();
            gone += now;
            if now < ROWS as u64 {
                break;
            }
        }
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE matches SET log_bytes = 0 WHERE id = $1").bind(id).execute(&mut *tx).await?;
        for sql in [
            "DELETE FROM match_events WHERE match_id = $1",
            "DELETE FROM match_snapshots WHERE match_id = $1",
            "DELETE FROM match_records WHERE match_id = $1",
        ] {
            gone += sqlx::query(sql).bind(id).execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
        Ok(gone)
    }

    async fn prune_audit(&self, before: Millis) -> Result<u64> {
        let mut gone = 0;
        loop {
            let mut tx = self.begin().await?;
            let now = prune_audit_step(&mut tx, before).await?;
            tx.commit().await?;
            gone += now;
            if now < ROWS as u64 {
                return Ok(gone);
            }
        }
    }
}

/// The trigger on the audit lets entries go only while this row stands, which nobody else ever sees.
async fn prune_audit_step(tx: &mut Transaction<'static, Any>, before: Millis) -> Result<u64> {
    sqlx::query("INSERT INTO audit_pruning (older_than) VALUES ($1)").bind(before).execute(&mut **tx).await?;
    let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY id LIMIT $2)";
    let gone = sqlx::query(sql).bind(before).bind(ROWS).execute(&mut **tx).await?.rows_affected();
    sqlx::query("DELETE FROM audit_pruning").execute(&mut **tx).await?;
    Ok(gone)
}

/// The UTC day of a moment, `2026-11-21`. Times before the year 0 are before every day.
fn day(at: Millis) -> Result<String> {
    if at < -62_167_219_200_000 {
        return Ok(String::new());
    }
    let moment = jiff::Timestamp::from_millisecond(at)
        .map_err(|_| StoreError::Backend("the day before which usage is thrown away is out of range".into()))?;
    Ok(moment.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
}
