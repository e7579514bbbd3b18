//! Certificates of an authority that only the tests trust.

use super::dir::TempDir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder to a child process.
const VARIABLE: &str = "AGENTCAST_TEST_CERTIFICATES";

/// `ca.pem`, and certificates by it for `localhost` and for `elsewhere`.
pub struct Certificates {
    dir: PathBuf,
    _own: Option<TempDir>,
}

impl Certificates {
    pub fn new() -> Self {
        let own = TempDir::new("certificates");
        make(own.path());
        Self { dir: own.path().to_owned(), _own: Some(own) }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Certificate and key.
    pub fn of(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")))
    }
}

/// Runs the body of the test of this name in a child process that trusts the authority and no other: `SSL_CERT_FILE` belongs
/// to the whole process.
#[track_caller]
pub fn trusting(test: &str, body: impl FnOnce(&Certificates)) {
    if let Some(dir) = std::env::var_os(VARIABLE) {
        return body(&Certificates { dir: dir.into(), _own: None });
    }
    let certificates = Certificates::new();
    let child = Command::new(std::env::current_exe().expect("a test binary"))
        .args([test, "--exact", "--nocapture"])
        .env(VARIABLE, &certificates.dir)
        .env("SSL_CERT_FILE", certificates.ca())
        .env_remove("SSL_CERT_DIR")
        .output()
        .expect("a test binary");
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "in the child process:\n{out}\n{err}");
}

/// Puts them into a folder.
pub fn make(dir: &Path) {
    let openssl = |line: &str| {
        let out = Command::new("openssl").current_dir(dir).args(line.split(' ')).output();
        let out = out.expect("the tests need the openssl program");
        assert!(out.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("the temporary folder is ours");
    write(
        "req.cnf",
        "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=hash\n",
    );
    let new = "-config req.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority"));
    for (name, host) in [("localhost", "DNS:localhost,IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere.example")] {
        write("san.cnf", &format!("subjectAltName={host}\n"));
        openssl(&format!("req {new} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san.cnf -out {name}.pem"
        ));
    }
}
