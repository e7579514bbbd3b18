//! The real livekit-server on 127.0.0.1, with ports and a key of its own. `.ci/livekit` (`make setup-test`) puts it in place.

use super::dir::TempDir;
use agentcast::livekit::Server;
use secrecy::SecretString;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// As in `.ci/livekit`.
const SERVER: &str = "1.13.5";
const CLIENT: &str = "2.23.0";

/// What a test wants of its server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it takes signalling, and where media; the latter's interface.
    pub signalling: IpAddr,
    pub media: IpAddr,
    pub interface: String,
    /// Gets the webhooks.
    pub webhook: Option<String>,
    /// Never checks paths by itself, so that traffic goes only where its candidates point: needed behind
    /// [`super::relay::Relay`].
    pub ice_lite: bool,
    /// Seconds before a room that nobody joined goes, and one that all have left.
    pub empty_timeout: u32,
    pub departure_timeout: u32,
    /// Further lines of YAML under `rtc:`, indented by two.
    pub rtc: String,
    /// Further lines of YAML.
    pub more: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            signalling: Ipv4Addr::LOCALHOST.into(),
            media: Ipv4Addr::LOCALHOST.into(),
            interface: "lo".into(),
            webhook: None,
            ice_lite: false,
            empty_timeout: 60,
            departure_timeout: 20,
            rtc: String::new(),
            more: String::new(),
        }
    }
}

/// A running server; ends with the test.
pub struct LiveKit {
    dir: TempDir,
    settings: Settings,
    child: Option<Child>,
    http: u16,
    tcp: u16,
    udp: u16,
    key: String,
    secret: String,
}

impl LiveKit {
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let mut said = String::new();
        // Another process may take a port between our look and the server's.
        for _ in 0..5 {
            let [http, tcp, udp] = free_ports();
            let dir = TempDir::new("livekit");
            let (key, secret) = (format!("API{}", random(12)), random(48));
            let mut livekit = Self { dir, settings: settings.clone(), child: None, http, tcp, udp, key, secret };
            livekit.write_config();
            match livekit.launch() {
                Ok(()) => return livekit,
                Err(words) => said = words,
            }
        }
        panic!("livekit-server does not start: {said}");
    }

    pub fn server(&self) -> Server {
        self.server_at(self.http)
    }

    /// The same server reached by another port, a relay's.
    pub fn server_at(&self, port: u16) -> Server {
        let url = format!("ws://{}", SocketAddr::new(self.settings.signalling, port));
        Server::new(&url, &self.key, SecretString::from(self.secret.as_str())).expect("a good address")
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.settings.signalling, self.http)
    }

    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// Where it takes ICE over TCP.
    pub fn tcp_port(&self) -> u16 {
        self.tcp
    }

    /// Where it takes media.
    pub fn udp_port(&self) -> u16 {
        self.udp
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// SIGKILL: no goodbye to anybody.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same ports, with no memory of its rooms, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(words) = self.launch() {
            panic!("livekit-server does not start again: {words}");
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("server.log"));
        let log = log.expect("the temporary folder is ours");
        let child = Command::new(server_program())
            .arg("--config")
            .arg(self.dir.path().join("livekit.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn();
        self.child = Some(child.map_err(|e| e.to_string())?);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !answers(self.address()) {
            let over = self.child.as_mut().is_some_and(|c| c.try_wait().is_ok_and(|s| s.is_some()));
            if over || Instant::now() > deadline {
                self.kill();
                return Err(self.tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let log = self.log();
        // A join is logged with its whole SDP.
        let lines: Vec<String> = log.lines().map(|line| line.chars().take(300).collect()).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn write_config(&self) {
        let Settings { signalling, media, interface, webhook, ice_lite, empty_timeout, departure_timeout, rtc, more } =
            &self.settings;
        let bits = if media.is_ipv4() { 32 } else { 128 };
        let stun = SocketAddr::new(*media, self.udp);
        let Self { http, tcp, udp, key, secret, .. } = self;
        let webhook = webhook
            .as_ref()
            .map(|url| format!("webhook:\n  api_key: {key}\n  urls: [\"{url}\"]\n"))
            .unwrap_or_default();
        let text = format!(
            "port: {http}
bind_addresses: [\"{signalling}\"]
keys:
  {key}: {secret}
log_level: info
rtc:
  node_ip: \"{media}\"
  use_external_ip: false
  enable_loopback_candidate: true
  interfaces: {{includes: [{interface}]}}
  ips: {{includes: [\"{media}/{bits}\"]}}
  use_ice_lite: {ice_lite}
  # Instead of public ones.
  stun_servers: [\"{stun}\"]
  udp_port: {udp}
  tcp_port: {tcp}
{rtc}room:
  empty_timeout: {empty_timeout}
  departure_timeout: {departure_timeout}
{webhook}{more}"
        );
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(self.dir.path().join("livekit.yaml"));
        file.and_then(|mut f| f.write_all(text.as_bytes())).expect("the temporary folder is ours");
    }
}

impl Drop for LiveKit {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("livekit-server said at last:\n{}", self.tail());
        }
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        socket.read_to_string(&mut said)?;
        Ok(said)
    };
    ask().is_ok_and(|said| said.starts_with("HTTP/1.1 200"))
}

/// Ports that are free for TCP and UDP, all of five digits and below those that the system hands out by itself.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    while held.len() < N {
        let port = fastrand::u16(12_000..32_000);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(("0.0.0.0", port)), UdpSocket::bind(("127.0.0.1", port))) {
            held.push((port, tcp, udp));
        }
    }
    std::array::from_fn(|n| held[n].0)
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

/// Where `.ci/livekit` puts things.
fn cache() -> PathBuf {
    let under = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = under("XDG_CACHE_HOME").or_else(|| under("HOME").map(|home| home.join(".cache")));
    base.expect("HOME or XDG_CACHE_HOME is set").join("agentcast")
}

fn present(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "the tests need {}; run: make setup-test", path.display());
    path
}

fn server_program() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let named = PathBuf::from("livekit-server");
        let says = Command::new(&named).arg("--version").output().map(|out| out.stdout).unwrap_or_default();
        if String::from_utf8_lossy(&says).trim_end().ends_with(&format!(" version {SERVER}")) {
            return named;
        }
        present(cache().join(format!("livekit-server-{SERVER}/livekit-server")))
    })
}

/// A Python that has LiveKit's SDK.
pub fn python() -> PathBuf {
    present(cache().join("livekit-python/bin/python"))
}

/// LiveKit's SDK for browsers, one script.
pub fn browser_sdk() -> PathBuf {
    present(cache().join(format!("livekit-client-{CLIENT}/livekit-client.umd.js")))
}
