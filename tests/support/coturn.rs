//! A real TURN server, coturn, on 127.0.0.1: over UDP, TCP and TLS, with the credentials that livekit-server makes out of a
//! shared secret. Debian: `coturn`.

use super::certificates::Certificates;
use super::dir::TempDir;
use super::livekit::free_ports;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Coturn {
    dir: TempDir,
    child: Child,
    /// UDP and TCP.
    port: u16,
    tls: u16,
    secret: String,
}

/// What one client cost, as coturn tells at its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Packets from the client and to it.
    pub from: u64,
    pub to: u64,
}

impl Coturn {
    /// Its certificate is for `localhost`.
    pub fn start(certificates: &Certificates) -> Self {
        let mut said = String::new();
        // Another process may take a port between our look and the server's.
        for _ in 0..5 {
            match Self::try_start(certificates) {
                Ok(coturn) => return coturn,
                Err(words) => said = words,
            }
        }
        panic!("coturn does not start: {said}");
    }

    fn try_start(certificates: &Certificates) -> Result<Self, String> {
        let dir = TempDir::new("coturn");
        let [port, tls] = free_ports();
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(40).collect();
        let ((certificate, key), path) = (certificates.of("localhost"), dir.path().display());
        let (certificate, key) = (certificate.display(), key.display());
        // The server that is relayed to is on loopback as well.
        let config = format!(
            "listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
tls-listening-port={tls}
cert={certificate}
pkey={key}
min-port=61000
max-port=65000
use-auth-secret
static-auth-secret={secret}
realm=test
allow-loopback-peers
no-cli
no-dtls
relay-threads=1
userdb={path}/turndb
pidfile={path}/pid
log-file={path}/turn.log
simple-log
no-stdout-log
verbose
"
        );
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(dir.path().join("turn.conf"));
        file.and_then(|mut f| f.write_all(config.as_bytes())).expect("the temporary folder is ours");
        let child = Command::new("turnserver")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .arg("-c")
            .arg(dir.path().join("turn.conf"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tests need coturn's turnserver; run: make setup-test");
        let mut coturn = Self { dir, child, port, tls, secret };
        let deadline = Instant::now() + Duration::from_secs(20);
        for port in [port, tls] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                if coturn.child.try_wait().is_ok_and(|s| s.is_some()) || Instant::now() > deadline {
                    return Err(coturn.log());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(coturn)
    }

    /// The lines under livekit-server's `rtc:` that name it. `protocol`: `udp`, `tcp` or `tls`.
    pub fn announced(&self, protocol: &str) -> String {
        self.announced_with(protocol, &self.secret)
    }

    /// As [`Self::announced`] with another secret, from which coturn takes nothing.
    pub fn announced_with(&self, protocol: &str, secret: &str) -> String {
        let port = if protocol == "tls" { self.tls } else { self.port };
        format!(
            "  turn_servers:
    - {{host: localhost, port: {port}, protocol: {protocol}, secret: \"{secret}\", ttl: 600}}
"
        )
    }

    /// The clients that have ended so far.
    pub fn ended(&self) -> Vec<Usage> {
        let number = |line: &str, name: &str| -> Option<u64> {
            let rest = &line[line.find(name)? + name.len()..];
            rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
        };
        let usage = |line: &str| {
            Some(Usage { from: number(line, " rp=")?, to: number(line, " sp=")? })
                .filter(|_| line.contains(": usage: "))
        };
        self.log().lines().filter_map(usage).collect()
    }

    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join("turn.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("coturn said at last:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}
