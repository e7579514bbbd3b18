//! Destinations with their sealed stream keys.

use super::model::{Destination, KeyInfo, Millis, SealedKey};
use super::rows::{flag, get, now, refused, scoped, word};
use super::{MAX_DESTINATIONS, Result, Store, StoreError};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

fn destination(row: &AnyRow) -> Result<Destination> {
    let fingerprint: Option<String> = get(row, "fingerprint")?;
    let key = match fingerprint {
        Some(fingerprint) => {
            Some(KeyInfo { fingerprint, set_at: get(row, "set_at")?, last_used_at: get(row, "last_used_at")? })
        }
        None => None,
    };
    Ok(Destination {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        agent_id: get(row, "agent_id")?,
        kind: word(row, "kind")?,
        via: word(row, "via")?,
        ingest: get(row, "ingest")?,
        room: get(row, "room")?,
        enabled: flag(row, "enabled")?,
        key,
        version: get(row, "version")?,
        created_at: get(row, "created_at")?,
        updated_at: get(row, "updated_at")?,
    })
}

fn sealed_key(row: &AnyRow) -> Result<SealedKey> {
    Ok(SealedKey {
        destination_id: get(row, "destination_id")?,
        agent_id: get(row, "agent_id")?,
        host: get(row, "host")?,
        record_version: get(row, "record_version")?,
        kid: get(row, "kid")?,
        blob: get(row, "blob")?,
        fingerprint: get(row, "fingerprint")?,
        set_at: get(row, "set_at")?,
        last_used_at: get(row, "last_used_at")?,
    })
}

/// `host[:port]` of `rtmps://host[:port]/app`.
fn host(ingest: &str) -> &str {
    let rest = ingest.split_once("://").map_or(ingest, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

impl Store {
    pub async fn add_destination(&self, new: &Destination) -> Result<()> {
        let mut tx = self.begin().await?;
        // Touches the agent's row, so that two who add at once are counted one after the other.
        let sql = "UPDATE agents SET version = version WHERE tenant_id = $1 AND id = $2";
        let agent = sqlx::query(sql).bind(&*new.tenant_id).bind(&*new.agent_id).execute(&mut *tx).await?;
        if agent.rows_affected() == 0 {
            return Err(StoreError::NotFound("agent"));
        }
        let there: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM destinations WHERE agent_id = $1")
            .bind(&*new.agent_id)
            .fetch_one(&mut *tx)
            .await?;
        if there >= MAX_DESTINATIONS as i64 {
            return Err(StoreError::TooMany { what: "destinations of this agent", limit: MAX_DESTINATIONS });
        }
        let sql =
            "INSERT INTO destinations (id, tenant_id, agent_id, kind, via, ingest, room, enabled, version, created_at,
            updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        sqlx::query(sql)
            .bind(&*new.id)
            .bind(&*new.tenant_id)
            .bind(&*new.agent_id)
            .bind(new.kind.word())
            .bind(new.via.word())
            .bind(new.ingest.as_deref())
            .bind(new.room.as_deref())
            .bind(i64::from(new.enabled))
            .bind(new.version)
            .bind(new.created_at)
            .bind(new.updated_at)
            .execute(&mut *tx)
            .await
            .map_err(refused("destination", "agent"))?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn destination(&self, tenant: Option<&str>, id: &str) -> Result<Destination> {
        read(&mut *self.read().acquire().await?, tenant, id).await
    }

    /// All of an agent; there are at most [`MAX_DESTINATIONS`].
    pub async fn destinations(&self, tenant: Option<&str>, agent: &str) -> Result<Vec<Destination>> {
        let sql = scoped!(
            tenant,
            "SELECT d.*, k.fingerprint, k.set_at, k.last_used_at FROM destinations d
                LEFT JOIN stream_keys k ON k.destination_id = d.id WHERE",
            "AND d.agent_id = $2 ORDER BY d.id"
        );
        let rows = sqlx::query(sql).bind(tenant).bind(agent).fetch_all(self.read()).await?;
        if rows.is_empty() {
            self.agent(tenant, agent).await?;
        }
        rows.iter().map(destination).collect()
    }

    /// As [`Store::update_agent`], for via, ingest, room and enabled. A change of the ingest's host deletes the key, which was
    /// sealed for the old one.
    pub async fn update_destination(&self, new: &Destination, expected: Option<i64>) -> Result<Destination> {
        let (tenant, id) = (&*new.tenant_id, &*new.id);
        let mut tx = self.begin().await?;
        // First only the version: the answer is the ingest as it was, and nobody else changes the row any more.
        let sql = "UPDATE destinations SET version = version + 1, updated_at = $3
            WHERE tenant_id = $1 AND id = $2 AND ($4 IS NULL OR version = $4) RETURNING ingest";
        let query = sqlx::query(sql).bind(tenant).bind(id).bind(now()).bind(expected);
        let Some(row) = query.fetch_optional(&mut *tx).await? else {
            let version: Option<i64> =
                sqlx::query_scalar("SELECT version FROM destinations WHERE tenant_id = $1 AND id = $2")
                    .bind(tenant)
                    .bind(id)
                    .fetch_optional(&mut *tx)
                    .await?;
            return Err(match version {
                Some(version) => StoreError::Stale { what: "destination", version },
                None => StoreError::NotFound("destination"),
            });
        };
        let before: Option<String> = get(&row, "ingest")?;
        if before.as_deref().map(host) != new.ingest.as_deref().map(host) {
            sqlx::query("DELETE FROM stream_keys WHERE destination_id = $1").bind(id).execute(&mut *tx).await?;
        }
        sqlx::query("UPDATE destinations SET via = $2, ingest = $3, room = $4, enabled = $5 WHERE id = $1")
            .bind(id)
            .bind(new.via.word())
            .bind(new.ingest.as_deref())
            .bind(new.room.as_deref())
            .bind(i64::from(new.enabled))
            .execute(&mut *tx)
            .await?;
        let after = read(&mut tx, Some(tenant), id).await?;
        tx.commit().await?;
        Ok(after)
    }

    pub async fn delete_destination(&self, tenant: Option<&str>, id: &str) -> Result<()> {
        let sql = scoped!(tenant, "DELETE FROM destinations WHERE", "AND id = $2");
        let gone = sqlx::query(sql).bind(tenant).bind(id).execute(self.write()).await?.rows_affected();
        if gone == 0 { Err(StoreError::NotFound("destination")) } else { Ok(()) }
    }
}

/// Sealed keys.
impl Store {
    /// Replaces the destination's key and raises the destination's version. [`StoreError::Stale`] when the destination leads to
    /// another host by now than the one that the key was sealed for.
    pub async fn put_key(&self, tenant: Option<&str>, key: &SealedKey) -> Result<()> {
        let mut tx = self.begin().await?;
        let sql = scoped!(
            tenant,
            "UPDATE destinations SET version = version + 1, updated_at = $4 WHERE",
            "AND id = $2 AND agent_id = $3 RETURNING version, ingest"
        );
        let query = sqlx::query(sql).bind(tenant).bind(&*key.destination_id).bind(&*key.agent_id).bind(now());
        let row = query.fetch_optional(&mut *tx).await?.ok_or(StoreError::NotFound("destination"))?;
        let ingest: Option<String> = get(&row, "ingest")?;
        if !ingest.is_some_and(|ingest| host(&ingest).eq_ignore_ascii_case(&key.host)) {
            // The transaction, and with it the raised version, is undone.
            return Err(StoreError::Stale { what: "destination", version: get::<i64>(&row, "version")? - 1 });
        }
        // Somebody else's key came between, or was there and is deleted: the version that this one was sealed for is theirs.
        let known: Option<i64> = sqlx::query_scalar("SELECT record_version FROM stream_keys WHERE destination_id = $1")
            .bind(&*key.destination_id)
            .fetch_optional(&mut *tx)
            .await?;
        let before = get::<i64>(&row, "version")? - 1;
        if key.record_version < before || known.is_some_and(|known| key.record_version <= known) {
            return Err(StoreError::Stale { what: "destination", version: before });
        }
        let sql =
            "INSERT INTO stream_keys (destination_id, agent_id, host, record_version, kid, blob, fingerprint, set_at,
            last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (destination_id) DO UPDATE SET agent_id = excluded.agent_id, host = excluded.host,
            record_version = excluded.record_version, kid = excluded.kid, blob = excluded.blob,
            fingerprint = excluded.fingerprint, set_at = excluded.set_at, last_used_at = excluded.last_used_at";
        sqlx::query(sql)
            .bind(&*key.destination_id)
            .bind(&*key.agent_id)
            .bind(&*key.host)
            .bind(key.record_version)
            .bind(&*key.kid)
            .bind(&key.blob[..])
            .bind(&*key.fingerprint)
            .bind(key.set_at)
            .bind(key.last_used_at)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn sealed_key(&self, destination: &str) -> Result<Option<SealedKey>> {
        let sql = "SELECT * FROM stream_keys WHERE destination_id = $1";
        sqlx::query(sql).bind(destination).fetch_optional(self.read()).await?.as_ref().map(sealed_key).transpose()
    }

    /// Deleting a key that is not there is done already.
    pub async fn delete_key(&self, tenant: Option<&str>, destination: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        read(&mut tx, tenant, destination).await?;
        let sql = "DELETE FROM stream_keys WHERE destination_id = $1";
        if sqlx::query(sql).bind(destination).execute(&mut *tx).await?.rows_affected() > 0 {
            let sql = "UPDATE destinations SET version = version + 1, updated_at = $2 WHERE id = $1";
            sqlx::query(sql).bind(destination).bind(now()).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Notes when a destination connected with the key. No change of the destination's version.
    pub async fn key_used(&self, destination: &str, at: Millis) -> Result<()> {
        let sql = "UPDATE stream_keys SET last_used_at = $2 WHERE destination_id = $1";
        sqlx::query(sql).bind(destination).bind(at).execute(self.write()).await?;
        Ok(())
    }

    /// Keys that are wrapped by another key-encryption key than `kid`, in order of destination id, after `after`.
    pub async fn keys_not_under(&self, kid: &str, after: Option<&str>, limit: u32) -> Result<Vec<SealedKey>> {
        let sql = "SELECT * FROM stream_keys WHERE kid <> $1 AND destination_id > $2 ORDER BY destination_id LIMIT $3";
        let query = sqlx::query(sql).bind(kid).bind(after.unwrap_or_default()).bind(i64::from(limit));
        query.fetch_all(self.read()).await?.iter().map(sealed_key).collect()
    }

    /// Replaces a blob if it is still `old`; false when somebody changed it meanwhile.
    pub async fn rewrap_key(&self, old: &SealedKey, kid: &str, blob: &[u8]) -> Result<bool> {
        let sql = "UPDATE stream_keys SET kid = $4, blob = $5
            WHERE destination_id = $1 AND record_version = $2 AND blob = $3";
        let query = sqlx::query(sql).bind(&*old.destination_id).bind(old.record_version).bind(&old.blob[..]);
        Ok(query.bind(kid).bind(blob).execute(self.write()).await?.rows_affected() > 0)
    }
}

async fn read(connection: &mut AnyConnection, tenant: Option<&str>, id: &str) -> Result<Destination> {
    let sql = scoped!(
        tenant,
        "SELECT d.*, k.fingerprint, k.set_at, k.last_used_at FROM destinations d
            LEFT JOIN stream_keys k ON k.destination_id = d.id WHERE",
        "AND d.id = $2"
    );
    let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(connection).await?;
    destination(&row.ok_or(StoreError::NotFound("destination"))?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_of_an_ingest_keeps_its_port() {
        assert_eq!(super::host("rtmps://live.example.com:1936/app/x"), "live.example.com:1936");
        assert_eq!(super::host("rtmp://[2001:db8::1]:1935"), "[2001:db8::1]:1935");
    }
}
