//! `agentcast db`: copies, restores and checks the service's database.

use super::settings::SettingArgs;
use super::status::say;
use crate::store::{self, Checked, Place};
use anyhow::bail;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand, Debug)]
pub enum Db {
    /// Copy the SQLite database to a file that does not exist yet (mode 0600), while the service runs
    Backup(File),
    /// Put a copy in the place of the SQLite database, which is kept beside it. The service must be stopped
    Restore(File),
    /// Look through the database for damage and say what is in it, while the service runs or not
    Check(Check),
}

#[derive(Args, Debug)]
pub struct File {
    /// The copy
    file: PathBuf,
    #[command(flatten)]
    settings: SettingArgs,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    settings: SettingArgs,
}

pub fn run(db: Db) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match db {
            Db::Backup(args) => backup(&sqlite(&args.settings, "pg_dump")?, &args.file).await?,
            Db::Restore(args) => restore(&args.file, &sqlite(&args.settings, "pg_restore")?).await?,
            Db::Check(args) => check(&place(&args.settings)?).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn place(settings: &SettingArgs) -> anyhow::Result<Place> {
    let loaded = settings.load()?;
    Ok(loaded.secrets.place(&loaded.config))
}

/// The database's file; `instead` is what does the same for PostgreSQL.
fn sqlite(settings: &SettingArgs, instead: &str) -> anyhow::Result<PathBuf> {
    match place(settings)? {
        Place::Sqlite(path) => Ok(path),
        _ => bail!("AGENTCAST_DATABASE names a PostgreSQL server: use its own {instead}"),
    }
}

async fn backup(database: &Path, file: &Path) -> anyhow::Result<()> {
    store::backup(database, file).await?;
    // A copy that cannot be used is found now and not when it is needed.
    let found = store::check(&Place::Sqlite(file.to_owned())).await?;
    say!("{} copied to {}: {}", database.display(), file.display(), contents(&found));
    say!("put it back with: agentcast db restore {}", file.display());
    Ok(())
}

async fn restore(file: &Path, database: &Path) -> anyhow::Result<()> {
    let found = store::check(&Place::Sqlite(file.to_owned())).await?;
    let kept = store::restore(file, database).await?;
    say!("{} restored from {}: {}", database.display(), file.display(), contents(&found));
    if let Some(kept) = kept {
        say!("what was there before is kept as {}", kept.display());
    }
    Ok(())
}

async fn check(place: &Place) -> anyhow::Result<()> {
    let found = store::check(place).await?;
    match place {
        Place::Sqlite(path) => say!("{}: no damage found: {}", path.display(), contents(&found)),
        _ => say!("PostgreSQL answers: {}", contents(&found)),
    }
    if found.version < found.newest {
        say!("`agentcast serve` brings its schema from version {} to {}", found.version, found.newest);
    }
    Ok(())
}

fn contents(found: &Checked) -> String {
    let count = |n: i64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let matches = format!("{} match{}", found.matches, if found.matches == 1 { "" } else { "es" });
    let (tenants, agents) = (count(found.tenants, "tenant"), count(found.agents, "agent"));
    format!("schema version {}, {tenants}, {agents}, {matches}", found.version)
}
