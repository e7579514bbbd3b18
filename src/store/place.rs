//! Where a store lives; file modes, and the lock that says a file is in use.

use super::{Result, StoreError};
use secrecy::SecretString;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Only the owner reads and writes: the file holds API keys' hashes and sealed stream keys.
const MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Where the store lives.
#[derive(Clone)]
pub enum Place {
    /// One file; made with mode 0600 when missing.
    Sqlite(PathBuf),
    /// SQLite in memory, for the demo and for tests: gone with the last clone of the store.
    Memory,
    /// `postgres://…`, which may hold a password.
    Postgres(SecretString),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Sqlite(path) => write!(f, "Sqlite({path:?})"),
            Place::Memory => f.write_str("Memory"),
            Place::Postgres(_) => f.write_str("Postgres(…)"),
        }
    }
}

/// The passwords in a PostgreSQL address, as they stand there and decoded.
pub(super) fn passwords(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = address.rsplit_once('@').map_or("", |(user, _)| user);
    let mut found: Vec<&str> = user.split_once(':').map(|(_, password)| password).into_iter().collect();
    found.extend(query.split('&').filter_map(|pair| pair.strip_prefix("password=")));
    let mut all = Vec::new();
    for password in found.into_iter().filter(|p| !p.is_empty()) {
        all.push(password.to_owned());
        all.push(decode(password));
    }
    all.dedup();
    all
}

/// Percent-decoding.
fn decode(text: &str) -> String {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The address by which the SQLite driver opens exactly this file, whatever characters its name has.
pub(super) fn file_url(path: &Path, mode: &str) -> Result<String> {
    Ok(format!("sqlite://{}?mode={mode}", encoded(path)?))
}

/// The same for SQLite itself. Says all that it would else take from the connection that is asked, which may be in memory.
pub(super) fn file_uri(path: &Path) -> Result<String> {
    Ok(format!("file:{}?mode=rwc&cache=private", encoded(path)?))
}

fn encoded(path: &Path) -> Result<String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Absolute and without `..`, which reading an address would resolve by letters and not by links.
    let folder = folder.canonicalize().map_err(|e| file_error(folder, &e))?;
    let name = path.file_name().ok_or_else(|| StoreError::Backend(format!("{} is no file", path.display())))?;
    let whole = folder.join(name);
    let text = whole
        .to_str()
        .ok_or_else(|| StoreError::Backend(format!("{}: the name of the database must be UTF-8", whole.display())))?;
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(url)
}

pub(super) fn file_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Backend(format!("{}: {error}", path.display()))
}

/// Makes the file (and its folder) when missing, and takes it from everybody but the owner.
pub(super) fn prepare(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.exists()
    {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(folder).map_err(|e| file_error(folder, &e))?;
    }
    private(path, OpenOptions::new().write(true).create(true)).map_err(|e| file_error(path, &e))?;
    // SQLite gives these the mode of the database; older ones may lie there.
    for beside in [with_suffix(path, "-wal"), with_suffix(path, "-shm")] {
        if beside.exists() {
            restrict(&beside).map_err(|e| file_error(&beside, &e))?;
        }
    }
    Ok(())
}

/// Opens a file as one that only its owner reads and writes.
pub(super) fn private(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    let file = options.mode(MODE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != MODE {
        restrict(path)?;
    }
    Ok(file)
}

fn restrict(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
}

/// `agentcast.db` + `-wal`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Brings a folder's entries to disk: a file that was made or renamed in it is there after a power cut.
pub(super) fn sync_folder(of: &Path) -> Result<()> {
    let folder = match of.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| file_error(folder, &e))
}

/// Held while a store is open: many may use a file at once, but nobody may replace it then. The system lets go of it when the
/// process ends, however it ends.
#[derive(Debug)]
pub(super) struct InUse(#[allow(dead_code)] File);

impl InUse {
    /// For using the file.
    pub(super) fn shared(database: &Path) -> Result<InUse> {
        let (path, file) = InUse::open(database)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(InUse(file)),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Backend(format!("{} is being restored just now", database.display())))
            }
            Err(TryLockError::Error(e)) => Err(file_error(&path, &e)),
        }
    }

    /// For replacing the file.
    pub(super) fn alone(database: &Path) -> Result<InUse> {
        let (path, file) = InUse::open(database)?;
        match file.try_lock() {
            Ok(()) => Ok(InUse(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Backend(format!(
                "{} is in use; stop `agentcast serve` and other commands that use it",
                database.display()
            ))),
            Err(TryLockError::Error(e)) => Err(file_error(&path, &e)),
        }
    }

    fn open(database: &Path) -> Result<(PathBuf, File)> {
        let path = with_suffix(database, "-use");
        let file = private(&path, OpenOptions::new().write(true).create(true)).map_err(|e| file_error(&path, &e))?;
        Ok((path, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_as_written_and_decoded() {
        assert_eq!(passwords("postgres://u:a%40b@h/db?password=x%2Fy"), ["a%40b", "a@b", "x%2Fy", "x/y"]);
        assert_eq!(passwords("postgres://u@h/db"), [""; 0]);
    }
}
