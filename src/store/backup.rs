//! Copying, checking and restoring an SQLite store.

use super::place::{InUse, file_error, file_uri, file_url, prepare, private, sync_folder, with_suffix};
use super::{Kind, Place, Result, Store, StoreError, open, schema};
use secrecy::ExposeSecret;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What stands beside a database that is in use, or was left by a crash.
const LOGS: [&str; 2] = ["-wal", "-shm"];
/// Stores that restores have replaced.
const MOST_KEPT: u32 = 1_000;

/// What a look at a database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The schema's version; migrations bring it to [`Checked::newest`] when it is opened.
    pub version: i64,
    /// The version that this program writes.
    pub newest: i64,
    pub tenants: i64,
    pub agents: i64,
    pub matches: i64,
}

impl Store {
    /// Writes a consistent copy of an SQLite store while it is in use, mode 0600. The file must not exist.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        match (&self.parts.file, self.parts.kind) {
            (Some(url), _) => copy_beside(url, to).await,
            // In memory there is one connection.
            (None, Kind::Sqlite) => copy_into(&mut *self.write().acquire().await?, to).await,
            (None, Kind::Postgres) => {
                Err(StoreError::Backend("this is a backup of SQLite; copy PostgreSQL with pg_dump".into()))
            }
        }
    }
}

/// As [`Store::backup`], without bringing the schema up to date: for a copy before a new version is tried.
pub async fn backup(database: &Path, to: &Path) -> Result<()> {
    sqlx::any::install_default_drivers();
    must_exist(database)?;
    let _in_use = InUse::shared(database)?;
    copy_beside(&file_url(database, "rw")?, to).await
}

/// By a connection of its own, which reads one moment: writers go on meanwhile.
async fn copy_beside(url: &str, to: &Path) -> Result<()> {
    let mut connection = open::sqlite_connection(url).await?;
    let copied = copy_into(&mut connection, to).await;
    connection.close().await?;
    copied
}

async fn copy_into(connection: &mut AnyConnection, to: &Path) -> Result<()> {
    schema::version(connection, Kind::Sqlite).await?;
    let uri = file_uri(to)?;
    // Ours before there is anything in it; SQLite fills an empty file.
    let file = private(to, OpenOptions::new().write(true).create_new(true)).map_err(|error| {
        let to = to.display();
        StoreError::Copy(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{to} exists already, and a copy replaces nothing: name another file, or move that one away")
            }
            _ => format!("{to} cannot be made: {error}; name a file in a folder that this user may write to"),
        })
    })?;
    let made = sqlx::query("VACUUM INTO $1").bind(&*uri).execute(connection).await;
    let made = made.map_err(StoreError::from).and_then(|_| {
        file.sync_all().map_err(|e| file_error(to, &e))?;
        sync_folder(to)
    });
    if made.is_err() {
        _ = std::fs::remove_file(to);
    }
    made
}

/// Looks through a whole database without changing it, in use or not: damaged pages, records that belong to none, the schema's
/// version.
pub async fn check(place: &Place) -> Result<Checked> {
    sqlx::any::install_default_drivers();
    let (mut connection, kind) = match place {
        Place::Memory => return Err(StoreError::Backend("a store in memory is gone with its process".into())),
        Place::Sqlite(path) => {
            must_exist(path)?;
            let options = AnyConnectOptions::from_str(&file_url(path, "ro")?)?.disable_statement_logging();
            (options.connect().await?, Kind::Sqlite)
        }
        Place::Postgres(url) => (open::postgres_connection(url.expose_secret()).await?, Kind::Postgres),
    };
    let found = look_through(&mut connection, kind).await;
    connection.close().await?;
    found
}

fn must_exist(database: &Path) -> Result<()> {
    if database.is_file() { Ok(()) } else { Err(StoreError::Copy(format!("{} is no file", database.display()))) }
}

async fn look_through(connection: &mut AnyConnection, kind: Kind) -> Result<Checked> {
    if kind == Kind::Sqlite {
        let found: Result<Vec<String>, sqlx::Error> =
            sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(&mut *connection).await;
        match found {
            Ok(found) if found == ["ok"] => {}
            Ok(found) => return Err(StoreError::Backend(format!("the database is damaged: {}", found.join("; ")))),
            // 11: damaged so badly that it cannot even be looked through.
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("11") => {
                return Err(StoreError::Backend(
                    "the database is damaged; part of it is missing or overwritten".into(),
                ));
            }
            Err(error) => return Err(error.into()),
        }
        let broken = sqlx::query("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1");
        if broken.fetch_optional(&mut *connection).await?.is_some() {
            return Err(StoreError::Backend(
                "the database is damaged: a record belongs to one that is not there".into(),
            ));
        }
    }
    let version = schema::version(connection, kind).await?;
    let mut counts = [0; 3];
    let sql = ["SELECT COUNT(*) FROM tenants", "SELECT COUNT(*) FROM agents", "SELECT COUNT(*) FROM matches"];
    for (count, sql) in counts.iter_mut().zip(sql) {
        *count = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    }
    let [tenants, agents, matches] = counts;
    Ok(Checked { version, newest: schema::newest(), tenants, agents, matches })
}

/// Puts a copy in the place of a store's file. Refuses while the store is in use, and before anything is replaced when the copy
/// is damaged or of a newer schema. Returns where the store that was there before is kept, if there was one.
///
/// Whenever it is interrupted, the file is either the whole old store or the whole new one.
pub async fn restore(copy: &Path, database: &Path) -> Result<Option<PathBuf>> {
    sqlx::any::install_default_drivers();
    let fresh = !database.exists();
    if fresh {
        // Makes the folder, for the lock beside the database.
        prepare(database)?;
    }
    let done = replace(copy, database, fresh).await;
    if done.is_err() && fresh {
        _ = std::fs::remove_file(database);
    }
    done
}

async fn replace(copy: &Path, database: &Path, fresh: bool) -> Result<Option<PathBuf>> {
    let _alone = InUse::alone(database)?;
    let new = with_suffix(database, ".restoring");
    _ = std::fs::remove_file(&new);
    let checked = take_over(copy, &new).await;
    if checked.is_err() {
        _ = std::fs::remove_file(&new);
    }
    checked?;
    // The write-ahead log of the old store must not meet the new one.
    if !fresh {
        fold_log(database).await;
    }
    let old = keep(database, fresh)?;
    for suffix in LOGS {
        // Only there when the old store could not be read; kept with it.
        let beside = with_suffix(database, suffix);
        if beside.exists() {
            std::fs::rename(&beside, with_suffix(&old, suffix)).map_err(|e| file_error(&beside, &e))?;
        }
    }
    std::fs::rename(&new, database).map_err(|e| file_error(database, &e))?;
    sync_folder(database)?;
    Ok((!fresh).then_some(old))
}

/// A second name for the store that is replaced, one that nothing has: what an earlier restore kept may be the only good one.
/// `fresh`: there is none, the name is for what a lost one left beside it.
fn keep(database: &Path, fresh: bool) -> Result<PathBuf> {
    for n in 1..=MOST_KEPT {
        let suffix = if n == 1 { ".before-restore".to_owned() } else { format!(".before-restore-{n}") };
        let old = with_suffix(database, &suffix);
        if old.exists() || LOGS.iter().any(|log| with_suffix(&old, log).exists()) {
            continue;
        }
        if !fresh {
            std::fs::hard_link(database, &old).map_err(|e| file_error(&old, &e))?;
        }
        return Ok(old);
    }
    let names = with_suffix(database, ".before-restore*");
    Err(StoreError::Copy(format!("{MOST_KEPT} replaced stores are kept as {}: delete some", names.display())))
}

/// Copies the backup beside the database and looks through the copy.
async fn take_over(copy: &Path, new: &Path) -> Result<Checked> {
    let mut from =
        std::fs::File::open(copy).map_err(|e| StoreError::Copy(format!("{} cannot be read: {e}", copy.display())))?;
    let mut to = private(new, OpenOptions::new().write(true).create_new(true)).map_err(|e| file_error(new, &e))?;
    std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(|e| file_error(new, &e))?;
    check(&Place::Sqlite(new.to_owned())).await.map_err(|error| match error {
        StoreError::Backend(words) => StoreError::Backend(format!("{}: {words}", copy.display())),
        other => other,
    })
}

/// Writes the log of a store that is not in use back into its file. One that cannot be read keeps its log beside it.
async fn fold_log(database: &Path) {
    let folded = async {
        let options = AnyConnectOptions::from_str(&file_url(database, "rw")?)?.disable_statement_logging();
        let mut connection = options.connect().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        connection.close().await?;
        Ok::<(), StoreError>(())
    };
    if let Err(error) = folded.await {
        tracing::warn!(%error, "the store that is replaced cannot be read; it is kept as it is");
    }
}
