//! Native records that matches play or were fed, as their owner wrote them.

use super::log::recount;
use super::rows::refused;
use super::{Result, Store};

impl Store {
    /// Replaces the record of a match.
    pub async fn put_record(&self, match_id: &str, bytes: &[u8]) -> Result<()> {
        let mut tx = self.begin().await?;
        let sql = "INSERT INTO match_records (match_id, bytes) VALUES ($1, $2)
            ON CONFLICT (match_id) DO UPDATE SET bytes = excluded.bytes";
        let query = sqlx::query(sql).bind(match_id).bind(bytes);
        query.execute(&mut *tx).await.map_err(refused("record", "match"))?;
        recount(&mut tx, match_id).await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn record(&self, match_id: &str) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT bytes FROM match_records WHERE match_id = $1";
        Ok(sqlx::query_scalar(sql).bind(match_id).fetch_optional(self.read()).await?)
    }

    /// There may be none.
    pub async fn delete_record(&self, match_id: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        let sql = "DELETE FROM match_records WHERE match_id = $1";
        if sqlx::query(sql).bind(match_id).execute(&mut *tx).await?.rows_affected() > 0 {
            recount(&mut tx, match_id).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
