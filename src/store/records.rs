//! Native records that matches play or were fed, as their owner wrote them.

use super::{Result, Store};

impl Store {
    /// Replaces the record of a match.
    pub async fn put_record(&self, match_id: &str, bytes: &[u8]) -> Result<()> {
        let sql = "INSERT INTO match_records (match_id, bytes) VALUES ($1, $2)
            ON CONFLICT (match_id) DO UPDATE SET bytes = excluded.bytes";
        sqlx::query(sql).bind(match_id).bind(bytes).execute(self.write()).await?;
        Ok(())
    }

    pub async fn record(&self, match_id: &str) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT bytes FROM match_records WHERE match_id = $1";
        Ok(sqlx::query_scalar(sql).bind(match_id).fetch_optional(self.read()).await?)
    }

    /// There may be none.
    pub async fn delete_record(&self, match_id: &str) -> Result<()> {
        sqlx::query("DELETE FROM match_records WHERE match_id = $1").bind(match_id).execute(self.write()).await?;
        Ok(())
    }
}
