//! The store, for commands that work on it directly.

use crate::config::load::Loaded;
use crate::store::{Place, Store};
use anyhow::Context;
use std::os::unix::fs::DirBuilderExt;

/// Opens the store that the settings name. A service may be running on it.
///
/// # Errors
/// When it cannot be made or reached.
pub(super) async fn open(loaded: &Loaded) -> anyhow::Result<Store> {
    let place = loaded.secrets.place(&loaded.config);
    if let Place::Sqlite(file) = &place {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made =
            folder.map_or(Ok(()), |folder| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
        made.with_context(|| format!("the data folder of {} cannot be made", file.display()))?;
    }
    Ok(Store::open(&place).await?)
}

/// Runs a command that works on the store.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
