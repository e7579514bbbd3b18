//! Where the store is, for all commands that work on it directly.

use super::status::say;
use super::usage;
use crate::output::log;
use crate::store::{Place, Store};
use anyhow::Context;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// `Debug` prints no address of a database.
#[derive(Args, Clone, Debug)]
pub(super) struct DatabaseArgs {
    /// The store: a file, or postgres://… (with a password in it only by AGENTCAST_DATABASE: others on this machine can read
    /// arguments). Default: agentcast.db in the data folder
    #[arg(long, env = "AGENTCAST_DATABASE", hide_env_values = true, value_name = "FILE|URL", value_parser = secret)]
    pub database: Option<SecretString>,
    /// Folder for what the service keeps
    #[arg(long, env = "AGENTCAST_DATA_DIR", value_name = "DIR", default_value = "agentcast-data")]
    pub data_dir: PathBuf,
}

impl DatabaseArgs {
    /// Where the store is. Makes a password known to the log scrubber.
    pub fn place(&self) -> anyhow::Result<Place> {
        match &self.database {
            None => Ok(Place::Sqlite(self.data_dir.join("agentcast.db"))),
            Some(text) => place(text),
        }
    }

    /// Opens the store; makes the data folder (mode 0700) when the store is in it.
    pub async fn open(&self) -> anyhow::Result<Store> {
        if self.database.is_none() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir);
            made.with_context(|| format!("--data-dir {}: cannot be made", self.data_dir.display()))?;
        }
        if self.in_arguments() {
            say!("agentcast: --database with a password can be read by others on this machine; use AGENTCAST_DATABASE");
        }
        Store::open(&self.place()?).await.context("--database")
    }

    fn in_arguments(&self) -> bool {
        let Some(text) = self.database.as_ref().map(ExposeSecret::expose_secret) else { return false };
        password(text).is_some() && std::env::args().any(|argument| argument.contains(text))
    }
}

/// A file, `sqlite:FILE`, or `postgres://…`.
pub(super) fn place(text: &SecretString) -> anyhow::Result<Place> {
    let plain = text.expose_secret().trim();
    if let Some(password) = password(plain) {
        log::register_secret(password);
    }
    if plain.starts_with("postgres://") || plain.starts_with("postgresql://") {
        return Ok(Place::Postgres(SecretString::from(plain)));
    }
    let file = plain.strip_prefix("sqlite://").or_else(|| plain.strip_prefix("sqlite:")).unwrap_or(plain);
    // A mistyped address must not become a file.
    if file.is_empty() || file.contains("://") {
        return Err(usage("--database: a file, or an address that begins with postgres://").into());
    }
    Ok(Place::Sqlite(PathBuf::from(file)))
}

/// Of `scheme://user:password@host/…`, as it is written.
fn password(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (user, _) = rest.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match place(&SecretString::from(text)) {
            Ok(Place::Postgres(_)) => "postgres".into(),
            Ok(Place::Sqlite(path)) => path.display().to_string(),
            Ok(Place::Memory) => "memory".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_database_is_a_file_or_postgres_and_nothing_mistyped() {
        assert_eq!(read("postgres://u:canary-db-1@h/x"), "postgres");
        assert_eq!(read("postgresql://h/x"), "postgres");
        assert_eq!(
            (read("a.db"), read("sqlite:a.db"), read("sqlite:///x/a.db")),
            ("a.db".into(), "a.db".into(), "/x/a.db".into())
        );
        assert!(read("postgre://u:canary-db-1@h/x").starts_with("--database: a file"));
        assert!(!log::scrub("pool: canary-db-1 was refused").contains("canary-db-1"));
        let args =
            DatabaseArgs { database: Some(SecretString::from("postgres://u:canary-db-2@h/x")), data_dir: "d".into() };
        assert!(!format!("{args:?} {:?}", args.place().unwrap()).contains("canary"));
    }
}
