//! Connecting, pragmas, closing.

use super::{Kind, Parts, Place, Result, Store, StoreError, log, place, schema};
use secrecy::ExposeSecret;
use sqlx::any::{Any, AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Transaction};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For every connection to SQLite. Space of pruned logs can be given back only if that is said before the first table.
/// A second process (a command beside the service) that writes is waited for.
const SQLITE: &[&str] = &[
    "PRAGMA busy_timeout = 10000",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
];
/// For those that only read.
const SQLITE_READ: &[&str] = &["PRAGMA query_only = ON"];
/// A write that returned is on disk, whatever the server's default; nothing waits without end.
const POSTGRES: &[&str] = &[
    "SET synchronous_commit = on",
    "SET statement_timeout = '30s'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET application_name = 'agentcast'",
];

/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 10;

impl Store {
    /// Connects, makes the file if need be, and brings the schema up to date.
    ///
    /// Holds shared use of the file until it is closed or dropped: [`super::restore`] refuses meanwhile.
    pub async fn open(place: &Place) -> Result<Store> {
        sqlx::any::install_default_drivers();
        let (kind, file, write, in_use) = match place {
            Place::Memory => (Kind::Sqlite, None, sqlite_pool("sqlite::memory:", 1, &[]).await?, None),
            Place::Sqlite(path) => {
                place::prepare(path)?;
                let in_use = place::InUse::shared(path)?;
                let url = place::file_url(path, "rw")?;
                let write = sqlite_pool(&url, 1, &[]).await?;
                must_be_wal(&write, path).await?;
                (Kind::Sqlite, Some(url), write, Some(in_use))
            }
            Place::Postgres(url) => (Kind::Postgres, None, postgres_pool(url.expose_secret()).await?, None),
        };
        match kind {
            // One transaction round all of it: of two processes that start at the same time the second finds it done.
            Kind::Sqlite => {
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                schema::migrate(&mut tx, kind).await?;
                tx.commit().await?;
            }
            // The library takes a lock of the server for this.
            Kind::Postgres => schema::migrate(&mut *write.acquire().await?, kind).await?,
        }
        // Only now: a connection that has seen the schema as it was reads rows by the columns that they had.
        let read = match &file {
            Some(url) => sqlite_pool(url, READERS, SQLITE_READ).await?,
            None => write.clone(),
        };
        let log = log::Appender::start(write.clone(), kind);
        Ok(Store { parts: Arc::new(Parts { kind, file, write, read, log, in_use: Mutex::new(in_use) }) })
    }

    /// Answers when the store does: for `/readyz`.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(self.read()).await?;
        Ok(())
    }

    /// Finishes what waits and closes.
    pub async fn close(&self) {
        self.parts.log.close().await;
        self.parts.read.close().await;
        // The last connection to an SQLite file writes the log back into it.
        self.parts.write.close().await;
        self.parts.in_use.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn read(&self) -> &AnyPool {
        &self.parts.read
    }

    pub(super) fn write(&self) -> &AnyPool {
        &self.parts.write
    }

    /// A transaction that writes.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(begin(&self.parts.write, self.parts.kind).await?)
    }

    /// A transaction that sees one moment.
    pub(super) async fn begin_reading(&self) -> Result<Transaction<'static, Any>> {
        Ok(match self.parts.kind {
            Kind::Sqlite => self.parts.read.begin_with("BEGIN").await?,
            Kind::Postgres => self.parts.read.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
        })
    }
}

/// SQLite: takes the right to write at once; taking it later fails when somebody wrote in between.
pub(super) async fn begin(pool: &AnyPool, kind: Kind) -> Result<Transaction<'static, Any>, sqlx::Error> {
    match kind {
        Kind::Sqlite => pool.begin_with("BEGIN IMMEDIATE").await,
        Kind::Postgres => pool.begin().await,
    }
}

async fn set_up(connection: &mut AnyConnection, statements: [&'static [&'static str]; 2]) -> Result<(), sqlx::Error> {
    for statement in statements.into_iter().flatten() {
        connection.execute(*statement).await?;
    }
    Ok(())
}

/// A connection to an SQLite file beside those of the store.
pub(super) async fn sqlite_connection(url: &str) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnectOptions::from_str(url)?.disable_statement_logging().connect().await?;
    set_up(&mut connection, [SQLITE, &[]]).await?;
    Ok(connection)
}

/// One connection before there is a pool, which would try again until its time is up and then not say what was wrong.
async fn first(options: &AnyConnectOptions, statements: [&'static [&'static str]; 2]) -> Result<()> {
    let connecting = async {
        let mut connection = options.connect().await?;
        set_up(&mut connection, statements).await?;
        connection.close().await
    };
    match tokio::time::timeout(ACQUIRE, connecting).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::Backend(format!("no answer for {} s", ACQUIRE.as_secs()))),
    }
}

/// `more`: statements beside the usual ones for each connection. Connections stay: a memory database lives in one.
async fn sqlite_pool(url: &str, connections: u32, more: &'static [&'static str]) -> Result<AnyPool> {
    let options = AnyConnectOptions::from_str(url)?.disable_statement_logging();
    first(&options, [SQLITE, more]).await?;
    Ok(AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| Box::pin(set_up(connection, [SQLITE, more])))
        .connect_with(options)
        .await?)
}

async fn must_be_wal(pool: &AnyPool, path: &Path) -> Result<()> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await?;
    if mode == "wal" {
        return Ok(());
    }
    Err(StoreError::Backend(format!(
        "{}: this file system does not let SQLite keep a write-ahead log (mode {mode}); use a local disk",
        path.display()
    )))
}

/// The address of a server. Its passwords are known to the log from now on.
fn postgres_options(url: &str) -> Result<AnyConnectOptions> {
    let passwords = place::passwords(url);
    for password in &passwords {
        crate::output::log::register_secret(password);
    }
    Ok(AnyConnectOptions::from_str(url)?.disable_statement_logging())
}

/// The library's words about an address may repeat parts of it.
fn without_passwords(url: &str) -> impl Fn(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Backend(words) => {
            let passwords = place::passwords(url);
            StoreError::Backend(passwords.iter().fold(words, |words, p| words.replace(p.as_str(), "…")))
        }
        other => other,
    }
}

async fn postgres_pool(url: &str) -> Result<AnyPool> {
    let options = postgres_options(url)?;
    first(&options, [POSTGRES, &[]]).await.map_err(without_passwords(url))?;
    let pool = AnyPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .after_connect(|connection, _| Box::pin(set_up(connection, [POSTGRES, &[]])))
        .connect_with(options);
    pool.await.map_err(StoreError::from).map_err(without_passwords(url))
}

/// A connection to a server beside those of a store.
pub(super) async fn postgres_connection(url: &str) -> Result<AnyConnection> {
    postgres_options(url)?.connect().await.map_err(StoreError::from).map_err(without_passwords(url))
}
