//! The certificates that RTMPS trusts. FFmpeg takes one file; system authorities and an added one are put together.

use super::reason::RtmpError;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where systems keep their bundle: Debian, Fedora, SUSE, Alpine and macOS. `SSL_CERT_FILE` goes first, as in OpenSSL.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A CA file for as long as this lives.
#[derive(Debug)]
pub(super) struct Trust {
    path: PathBuf,
    temporary: bool,
}

impl Trust {
    /// The system's authorities, and those in `added` beside them.
    pub fn load(added: Option<&Path>) -> Result<Self, RtmpError> {
        let bundle = system_bundle(std::env::var_os("SSL_CERT_FILE"));
        let Some(added) = added else {
            return bundle.map(|path| Self { path, temporary: false }).ok_or(RtmpError::NoCa);
        };
        let bad = |e: &dyn std::fmt::Display| RtmpError::CaFile { detail: format!("{}: {e}", added.display()) };
        let pem = fs::read(added).map_err(|e| bad(&e))?;
        if !pem.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") {
            return Err(bad(&"no PEM certificate in it"));
        }
        let system = match &bundle {
            Some(path) => fs::read(path).map_err(|e| bad(&e))?,
            None => Vec::new(),
        };
        let (path, mut file) = temporary_file().map_err(|e| bad(&e))?;
        let trust = Self { path, temporary: true };
        file.write_all(&system)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.write_all(&pem))
            .map_err(|e| bad(&e))?;
        Ok(trust)
    }

    /// Sets the options of libavformat's TLS. Both are needed, or gnutls checks nothing; with both it checks the chain and
    /// the host name.
    pub fn apply(&self, settings: &mut ffmpeg_next::Dictionary<'_>) {
        settings.set("tls_verify", "1");
        settings.set("ca_file", &self.path.to_string_lossy());
    }

    #[cfg(test)]
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        if self.temporary {
            // Nothing more can be done about a temporary file that will not go.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn system_bundle(from_environment: Option<OsString>) -> Option<PathBuf> {
    from_environment.map(PathBuf::from).into_iter().chain(BUNDLES.map(PathBuf::from)).find(|p| p.is_file())
}

/// A new file that only we can read, so that nobody slips an authority in between writing and use.
fn temporary_file() -> std::io::Result<(PathBuf, File)> {
    loop {
        let path =
            std::env::temp_dir().join(format!("agentcast-ca-{}-{:016x}.pem", std::process::id(), fastrand::u64(..)));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_added_authority_goes_into_a_private_file_that_vanishes() {
        let (added, mut file) = temporary_file().unwrap();
        file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let trust = Trust::load(Some(&added)).unwrap();
        let path = trust.path().to_owned();
        assert!(fs::read_to_string(&path).unwrap().ends_with("AAAA\n-----END CERTIFICATE-----\n"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(trust);
        assert!(!path.exists());
        fs::remove_file(added).unwrap();
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let (added, _) = temporary_file().unwrap();
        assert!(matches!(Trust::load(Some(&added)), Err(RtmpError::CaFile { .. })));
        fs::remove_file(&added).unwrap();
        assert!(matches!(Trust::load(Some(&added)), Err(RtmpError::CaFile { .. })));
    }

    #[test]
    fn the_environment_names_the_bundle_first() {
        let (mine, _) = temporary_file().unwrap();
        assert_eq!(system_bundle(Some(mine.clone().into())), Some(mine.clone()));
        fs::remove_file(mine).unwrap();
    }
}
