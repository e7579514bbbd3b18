//! Matches, sessions, streams that are wanted.

use super::model::{Match, MatchPhase, Millis, Session, StreamRecord};
use super::rows::{flag, get, json, refused, scoped, to_json, word};
use super::{Page, PageRequest, Result, Store, StoreError};
use sqlx::any::AnyRow;

fn match_record(row: &AnyRow) -> Result<Match> {
    Ok(Match {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        reference: get(row, "reference")?,
        title: get(row, "title")?,
        sides: json(row, "sides")?,
        phase: word(row, "phase")?,
        created_at: get(row, "created_at")?,
        started_at: get(row, "started_at")?,
        ended_at: get(row, "ended_at")?,
    })
}

pub(super) fn session(row: &AnyRow) -> Result<Session> {
    Ok(Session {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        match_id: get(row, "match_id")?,
        scope: word(row, "scope")?,
        view: get(row, "sees")?,
        created_by: get(row, "created_by")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
        revoked_at: get(row, "revoked_at")?,
    })
}

fn stream(row: &AnyRow) -> Result<StreamRecord> {
    Ok(StreamRecord {
        id: get(row, "id")?,
        tenant_id: get(row, "tenant_id")?,
        agent_id: get(row, "agent_id")?,
        match_id: get(row, "match_id")?,
        wanted: flag(row, "wanted")?,
        created_at: get(row, "created_at")?,
        ended_at: get(row, "ended_at")?,
        reason: get(row, "reason")?,
    })
}

/// Matches.
impl Store {
    pub async fn add_match(&self, m: &Match) -> Result<()> {
        let sql =
            "INSERT INTO matches (id, tenant_id, reference, title, sides, phase, created_at, started_at, ended_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sqlx::query(sql)
            .bind(&*m.id)
            .bind(&*m.tenant_id)
            .bind(&*m.reference)
            .bind(&*m.title)
            .bind(to_json(&m.sides)?)
            .bind(m.phase.word())
            .bind(m.created_at)
            .bind(m.started_at)
            .bind(m.ended_at)
            .execute(self.write())
            .await
            .map_err(refused("match", "tenant"))?;
        Ok(())
    }

    pub async fn match_(&self, tenant: Option<&str>, id: &str) -> Result<Match> {
        let sql = scoped!(tenant, "SELECT * FROM matches WHERE", "AND id = $2");
        let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(self.read()).await?;
        match_record(&row.ok_or(StoreError::NotFound("match"))?)
    }

    /// Newest first.
    pub async fn matches(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Match>> {
        let sql = scoped!(tenant, "SELECT * FROM matches WHERE", "AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(page.less_than()).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, match_record, |m| m.id.clone())
    }

    /// All that are not closed, of all tenants: what a restart brings back.
    pub async fn open_matches(&self) -> Result<Vec<Match>> {
        let sql = "SELECT * FROM matches WHERE phase <> 'closed' ORDER BY id";
        sqlx::query(sql).fetch_all(self.read()).await?.iter().map(match_record).collect()
    }

    /// Notes when the match first started, and when it ended last. A closed match stays closed.
    pub async fn set_match_phase(&self, id: &str, phase: MatchPhase, at: Millis) -> Result<()> {
        let sql = match phase {
            MatchPhase::Waiting => "UPDATE matches SET phase = $2 WHERE id = $1 AND $3 > 0 AND phase <> 'closed'",
            MatchPhase::Running => {
                "UPDATE matches SET phase = $2, started_at = COALESCE(started_at, $3), ended_at = NULL
                    WHERE id = $1 AND phase <> 'closed'"
            }
            MatchPhase::Over => {
                "UPDATE matches SET phase = $2, started_at = COALESCE(started_at, $3), ended_at = COALESCE(ended_at, $3)
                    WHERE id = $1 AND phase <> 'closed'"
            }
            MatchPhase::Closed => {
                "UPDATE matches SET phase = $2, ended_at = COALESCE(ended_at, $3), closed_at = $3
                    WHERE id = $1 AND phase <> 'closed'"
            }
        };
        let query = sqlx::query(sql).bind(id).bind(phase.word()).bind(at);
        if query.execute(self.write()).await?.rows_affected() == 0 {
            // Closed already, or not there.
            self.match_(None, id).await?;
        }
        Ok(())
    }
}

/// Sessions.
impl Store {
    /// Refused when the key that opens it was revoked meanwhile.
    pub async fn add_session(&self, session: &Session) -> Result<()> {
        let mut tx = self.begin().await?;
        if let Some(key) = &session.created_by {
            // Touches the key's row: whoever revokes it comes before, and is seen here, or after, and ends this session too.
            let sql = "UPDATE api_keys SET name = name WHERE id = $1 AND revoked_at IS NULL";
            if sqlx::query(sql).bind(&**key).execute(&mut *tx).await?.rows_affected() == 0 {
                return Err(StoreError::NotFound("API key"));
            }
        }
        let sql =
            "INSERT INTO sessions (id, tenant_id, match_id, scope, sees, created_by, created_at, expires_at, revoked_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sqlx::query(sql)
            .bind(&*session.id)
            .bind(&*session.tenant_id)
            .bind(&*session.match_id)
            .bind(session.scope.word())
            .bind(&*session.view)
            .bind(session.created_by.as_deref())
            .bind(session.created_at)
            .bind(session.expires_at)
            .bind(session.revoked_at)
            .execute(&mut *tx)
            .await
            .map_err(refused("session", "match"))?;
        tx.commit().await?;
        Ok(())
    }

    pub async fn session(&self, tenant: Option<&str>, id: &str) -> Result<Session> {
        let sql = scoped!(tenant, "SELECT * FROM sessions WHERE", "AND id = $2");
        let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(self.read()).await?;
        session(&row.ok_or(StoreError::NotFound("session"))?)
    }

    pub async fn sessions(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<Session>> {
        let sql = scoped!(tenant, "SELECT * FROM sessions WHERE", "AND id > $2 ORDER BY id LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(page.greater_than()).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, session, |s| s.id.clone())
    }

    /// Revoking once more keeps the first time.
    pub async fn revoke_session(&self, tenant: Option<&str>, id: &str, at: Millis) -> Result<()> {
        let sql = scoped!(tenant, "UPDATE sessions SET revoked_at = COALESCE(revoked_at, $3) WHERE", "AND id = $2");
        let done = sqlx::query(sql).bind(tenant).bind(id).bind(at).execute(self.write()).await?.rows_affected();
        if done == 0 { Err(StoreError::NotFound("session")) } else { Ok(()) }
    }
}

/// Streams.
impl Store {
    /// Adds the record, or replaces the one of this id (but not whose it is).
    pub async fn put_stream(&self, stream: &StreamRecord) -> Result<()> {
        let sql = "INSERT INTO streams (id, tenant_id, agent_id, match_id, wanted, created_at, ended_at, reason)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (id) DO UPDATE SET match_id = excluded.match_id, wanted = excluded.wanted,
            ended_at = excluded.ended_at, reason = excluded.reason";
        sqlx::query(sql)
            .bind(&*stream.id)
            .bind(&*stream.tenant_id)
            .bind(&*stream.agent_id)
            .bind(&*stream.match_id)
            .bind(i64::from(stream.wanted))
            .bind(stream.created_at)
            .bind(stream.ended_at)
            .bind(stream.reason.as_deref())
            .execute(self.write())
            .await?;
        Ok(())
    }

    /// Ended ones too.
    pub async fn stream(&self, tenant: Option<&str>, id: &str) -> Result<StreamRecord> {
        let sql = scoped!(tenant, "SELECT * FROM streams WHERE", "AND id = $2");
        let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(self.read()).await?;
        stream(&row.ok_or(StoreError::NotFound("stream"))?)
    }

    /// Newest first.
    pub async fn streams(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<StreamRecord>> {
        let sql = scoped!(tenant, "SELECT * FROM streams WHERE", "AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = sqlx::query(sql).bind(tenant).bind(page.less_than()).bind(page.rows());
        page.page(&query.fetch_all(self.read()).await?, stream, |s| s.id.clone())
    }

    /// Those that somebody stopped of matches that are still open, of all tenants; not those that were started again: of an
    /// agent's streams of a match the one that ended last counts.
    pub async fn stopped_streams(&self) -> Result<Vec<StreamRecord>> {
        let sql = "SELECT s.* FROM matches m JOIN streams s ON s.match_id = m.id
            WHERE m.phase <> 'closed' AND s.wanted = 0 AND NOT EXISTS (
                SELECT 1 FROM streams n WHERE n.match_id = s.match_id AND n.agent_id = s.agent_id AND n.id <> s.id
                AND (n.ended_at IS NULL OR n.ended_at > s.ended_at OR (n.ended_at = s.ended_at AND n.id > s.id)))
            ORDER BY s.id";
        sqlx::query(sql).fetch_all(self.read()).await?.iter().map(stream).collect()
    }

    /// Those that have not ended, of all tenants.
    pub async fn open_streams(&self) -> Result<Vec<StreamRecord>> {
        let sql = "SELECT * FROM streams WHERE ended_at IS NULL ORDER BY id";
        sqlx::query(sql).fetch_all(self.read()).await?.iter().map(stream).collect()
    }
}
