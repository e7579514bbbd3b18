//! A match's events and snapshots.
//!
//! Appending is a group commit: one task takes all calls that wait, of all matches, writes them in one transaction and then
//! answers each of them. So a hundred matches cost as many syncs of the disk as one, and each caller still hears only of
//! what is on disk.

use super::rows::get;
use super::{Kind, LoggedEvent, Result, SavedMatch, Store, StoreError, open};
use sqlx::{AnyConnection, AnyPool};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Calls that may wait; more wait for room.
const WAITING: usize = 1_024;
/// Calls and bytes in one transaction.
const BATCH_CALLS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// Events that one statement writes: the largest that fits is taken, so that few statements need preparing.
static INSERTS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [64, 8, 1].map(|rows| (rows, insert_sql(rows))));

fn insert_sql(rows: usize) -> String {
    let values: Vec<String> = (0..rows)
        .map(|row| {
            let at = |column: usize| row * 6 + column;
            format!("(${}, ${}, ${}, ${}, ${}, ${})", at(1), at(2), at(3), at(4), at(5), at(6))
        })
        .collect();
    format!("INSERT INTO match_events (match_id, n, epoch, seq, json, bytes) VALUES {}", values.join(", "))
}

struct Call {
    match_id: String,
    events: Vec<LoggedEvent>,
    done: oneshot::Sender<Result<()>>,
}

impl Call {
    fn bytes(&self) -> usize {
        self.events.iter().map(|e| e.json.len()).sum()
    }
}

/// Owns the task that writes. Ends it when closed, or when dropped as soon as what waits is written.
pub(super) struct Appender {
    queue: Mutex<Option<mpsc::Sender<Call>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Appender {
    pub(super) fn start(pool: AnyPool, kind: Kind) -> Appender {
        let (queue, calls) = mpsc::channel(WAITING);
        let task = tokio::spawn(write_all(pool, kind, calls));
        Appender { queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)) }
    }

    async fn append(&self, match_id: &str, events: Vec<LoggedEvent>) -> Result<()> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, answer) = oneshot::channel();
        let call = Call { match_id: match_id.to_owned(), events, done };
        let closed = || StoreError::Backend("it is closed".into());
        queue.ok_or_else(closed)?.send(call).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that writes matches' events ended badly");
        }
    }
}

async fn write_all(pool: AnyPool, kind: Kind, mut queue: mpsc::Receiver<Call>) {
    let mut waiting = Vec::with_capacity(BATCH_CALLS);
    while queue.recv_many(&mut waiting, BATCH_CALLS).await > 0 {
        let mut calls = waiting.drain(..).peekable();
        while calls.peek().is_some() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(call) = calls.next_if(|c| batch.is_empty() || bytes + c.bytes() <= BATCH_BYTES) {
                bytes += call.bytes();
                batch.push(call);
            }
            write_batch(&pool, kind, batch).await;
        }
    }
}

async fn write_batch(pool: &AnyPool, kind: Kind, batch: Vec<Call>) {
    match try_batch(pool, kind, &batch).await {
        Ok(found) => {
            for (call, found) in batch.into_iter().zip(found) {
                // A caller that no longer waits is answered in vain.
                _ = call.done.send(if found { Ok(()) } else { Err(StoreError::NotFound("match")) });
            }
        }
        // The database refused something: nobody else's call fails for it.
        Err(sqlx::Error::Database(_)) if batch.len() > 1 => {
            for call in batch {
                let one = std::slice::from_ref(&call);
                let result = match try_batch(pool, kind, one).await {
                    Ok(found) if found.first() == Some(&true) => Ok(()),
                    Ok(_) => Err(StoreError::NotFound("match")),
                    Err(error) => Err(error.into()),
                };
                _ = call.done.send(result);
            }
        }
        Err(error) => {
            let words = match StoreError::from(error) {
                StoreError::Backend(words) => words,
                other => other.to_string(),
            };
            for call in batch {
                _ = call.done.send(Err(StoreError::Backend(words.clone())));
            }
        }
    }
}

/// Writes all events of the calls, or nothing. False for a call whose match does not exist.
async fn try_batch(pool: &AnyPool, kind: Kind, calls: &[Call]) -> Result<Vec<bool>, sqlx::Error> {
    let mut tx = open::begin(pool, kind).await?;
    // In the order of ids, so that two processes cannot wait for each other's rows.
    let mut totals: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for call in calls {
        let total = totals.entry(&call.match_id).or_default();
        total.0 += call.events.len() as i64;
        total.1 += call.bytes() as i64;
    }
    // Numbers are given by the match's row, which also says whether it exists.
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    for (id, (count, bytes)) in totals {
        let sql =
            "UPDATE matches SET log_next = log_next + $2, log_bytes = log_bytes + $3 WHERE id = $1 RETURNING log_next";
        let after: Option<i64> =
            sqlx::query_scalar(sql).bind(id).bind(count).bind(bytes).fetch_optional(&mut *tx).await?;
        if let Some(after) = after {
            next.insert(id, after - count);
        }
    }
    let mut rows = Vec::new();
    let mut found = Vec::with_capacity(calls.len());
    for call in calls {
        let n = next.get_mut(&*call.match_id);
        found.push(n.is_some());
        if let Some(n) = n {
            for event in &call.events {
                rows.push((&*call.match_id, *n, event));
                *n += 1;
            }
        }
    }
    let mut left = &rows[..];
    while let Some((size, sql)) = INSERTS.iter().find(|(size, _)| *size <= left.len()) {
        let (now, later) = left.split_at(*size);
        let mut query = sqlx::query(sql.as_str());
        for (id, n, event) in now {
            // 64 bits stay the same bits.
            query = query.bind(*id).bind(*n).bind(event.epoch as i64).bind(event.seq as i64);
            query = query.bind(&*event.json).bind(event.json.len() as i64);
        }
        query.execute(&mut *tx).await?;
        left = later;
    }
    tx.commit().await?;
    Ok(found)
}

/// Brings what a match's log takes up to date: its events, snapshot and record.
pub(super) async fn recount(connection: &mut AnyConnection, match_id: &str) -> Result<()> {
    let sql = "UPDATE matches SET log_bytes = CAST(
        (SELECT COALESCE(SUM(bytes), 0) FROM match_events WHERE match_id = $1)
        + (SELECT COALESCE(SUM(size), 0) FROM match_snapshots WHERE match_id = $1)
        + (SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM match_records WHERE match_id = $1) AS BIGINT) WHERE id = $1";
    sqlx::query(sql).bind(match_id).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Appends acknowledged events, all or nothing. Calls of all matches that wait at the same time share one transaction.
    pub async fn append_events(&self, match_id: &str, events: Vec<LoggedEvent>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        // PostgreSQL has no such text; JSON writes it as an escape.
        if events.iter().any(|e| e.json.contains('\0')) {
            return Err(StoreError::Backend("an event holds a NUL byte, which JSON does not".into()));
        }
        self.parts.log.append(match_id, events).await
    }

    /// Replaces the match's snapshot and throws away the events that were appended before the first `covers` of those that
    /// [`Store::load_match`] would give now were counted: the oldest `covers` events.
    pub async fn save_snapshot(&self, match_id: &str, snapshot: &[u8], covers: u64) -> Result<()> {
        let mut tx = self.begin().await?;
        // Taken first, as the appender does: two that write one match follow one another.
        let locked = sqlx::query("UPDATE matches SET log_next = log_next WHERE id = $1").bind(match_id);
        if locked.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(StoreError::NotFound("match"));
        }
        if let Some(nth) = covers.checked_sub(1) {
            let sql = "SELECT n FROM match_events WHERE match_id = $1 ORDER BY n LIMIT 1 OFFSET $2";
            let nth = i64::try_from(nth).unwrap_or(i64::MAX);
            let last: Option<i64> = sqlx::query_scalar(sql).bind(match_id).bind(nth).fetch_optional(&mut *tx).await?;
            let sql = "DELETE FROM match_events WHERE match_id = $1 AND n <= $2";
            sqlx::query(sql).bind(match_id).bind(last.unwrap_or(i64::MAX)).execute(&mut *tx).await?;
        }
        let sql = "INSERT INTO match_snapshots (match_id, bytes, size) VALUES ($1, $2, $3)
            ON CONFLICT (match_id) DO UPDATE SET bytes = excluded.bytes, size = excluded.size";
        sqlx::query(sql).bind(match_id).bind(snapshot).bind(snapshot.len() as i64).execute(&mut *tx).await?;
        recount(&mut tx, match_id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What was appended and not yet covered, after the snapshot. Empty when nothing was kept or it was thrown away.
    pub async fn load_match(&self, match_id: &str) -> Result<SavedMatch> {
        let mut tx = self.begin_reading().await?;
        let known: Option<i64> = sqlx::query_scalar("SELECT log_next FROM matches WHERE id = $1")
            .bind(match_id)
            .fetch_optional(&mut *tx)
            .await?;
        known.ok_or(StoreError::NotFound("match"))?;
        let snapshot: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM match_snapshots WHERE match_id = $1")
            .bind(match_id)
            .fetch_optional(&mut *tx)
            .await?;
        let rows = sqlx::query("SELECT epoch, seq, json FROM match_events WHERE match_id = $1 ORDER BY n")
            .bind(match_id)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        let event = |row| {
            let (epoch, seq): (i64, i64) = (get(row, "epoch")?, get(row, "seq")?);
            Ok(LoggedEvent { epoch: epoch as u64, seq: seq as u64, json: get(row, "json")? })
        };
        Ok(SavedMatch { snapshot, events: rows.iter().map(event).collect::<Result<_>>()? })
    }
}
