//! The migrations, and which version a database is at.

use super::{Kind, Result, StoreError};
use sqlx::AnyConnection;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

const SERVICE: &str = include_str!("migrations/0001_service.sql");
const MATCH_RECORDS: &str = include_str!("migrations/0003_match_records.sql");
const STREAMS: &str = include_str!("migrations/0004_streams.sql");
const AUDIT_SQLITE: &str = include_str!("migrations/0002_audit.sqlite.sql");
const AUDIT_POSTGRES: &str = include_str!("migrations/0002_audit.postgres.sql");
const KEYS_OF_SESSIONS_SQLITE: &str = include_str!("migrations/0005_keys_of_sessions.sqlite.sql");
const KEYS_OF_SESSIONS_POSTGRES: &str = include_str!("migrations/0005_keys_of_sessions.postgres.sql");

/// Where the library notes which migrations ran.
const TABLE: &str = "_sqlx_migrations";

/// All migrations. Never change one that was released: add the next.
fn migrations(kind: Kind) -> Vec<(i64, &'static str, String)> {
    let written = |sql: &str| match kind {
        Kind::Sqlite => sql.to_owned(),
        // Texts compare byte by byte, as in SQLite, whatever language the server is set to.
        Kind::Postgres => sql.replace("BLOB", "BYTEA").replace("TEXT", "TEXT COLLATE \"C\""),
    };
    let (audit, keys_of_sessions) = match kind {
        Kind::Sqlite => (AUDIT_SQLITE, KEYS_OF_SESSIONS_SQLITE),
        Kind::Postgres => (AUDIT_POSTGRES, KEYS_OF_SESSIONS_POSTGRES),
    };
    vec![
        (1, "service", written(SERVICE)),
        (2, "audit", audit.to_owned()),
        (3, "match records", written(MATCH_RECORDS)),
        (4, "streams", written(STREAMS)),
        (5, "keys of sessions", keys_of_sessions.to_owned()),
    ]
}

/// The version that this program's stores have.
pub(super) fn newest() -> i64 {
    migrations(Kind::Sqlite).last().map_or(0, |m| m.0)
}

/// Brings the schema up to date.
pub(super) async fn migrate(connection: &mut AnyConnection, kind: Kind) -> Result<()> {
    let migrations = migrations(kind).into_iter().map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(connection).await.map_err(words)
}

/// The version a database is at; an error if it is none of ours or was changed by a newer program.
pub(super) async fn version(connection: &mut AnyConnection, kind: Kind) -> Result<i64> {
    let foreign = || StoreError::Backend("it is no database of agentcast".into());
    let applied = connection.list_applied_migrations(TABLE).await.map_err(|_| foreign())?;
    let known = migrations(kind);
    for migration in &applied {
        let known = known.iter().find(|k| k.0 == migration.version);
        let (version, name, sql) = known.ok_or_else(|| words(MigrateError::VersionMissing(migration.version)))?;
        let sql = AssertSqlSafe(sql.clone()).into_sql_str();
        let known = Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false);
        if known.checksum != migration.checksum {
            return Err(words(MigrateError::VersionMismatch(*version)));
        }
    }
    applied.iter().map(|m| m.version).max().ok_or_else(foreign)
}

fn words(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(e) => e.into(),
        MigrateError::ExecuteMigration(e, version) => {
            let StoreError::Backend(e) = e.into() else { return StoreError::Backend(format!("migration {version}")) };
            StoreError::Backend(format!("migration {version}: {e}"))
        }
        MigrateError::VersionMissing(version) => StoreError::Backend(format!(
            "it is at schema version {version} and this agentcast knows versions up to {}: run the newer agentcast",
            newest()
        )),
        MigrateError::VersionMismatch(version) => {
            StoreError::Backend(format!("schema version {version} is not what this agentcast calls so"))
        }
        other => StoreError::Backend(other.to_string()),
    }
}
