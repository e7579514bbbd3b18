//! A running `agentcast serve` as its callers meet it: over HTTP, with keys made by its own command line.

use super::dir::TempDir;
use super::nginx::Nginx;
use super::program::{Program, agentcast, wait_until};
use agentcast::game::limits::EVENT_BYTES;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Names that a developer's own environment may have set.
const SETTINGS: [&str; 8] = [
    "STREAM_KEY_ENCRYPTION_KEY",
    "STREAMING_JWT_SECRET",
    "STREAMING_ENABLED",
    "PUBLIC_URL",
    "AGENTCAST_CONFIG",
    "AGENTCAST_LISTEN",
    "AGENTCAST_DATABASE",
    "AGENTCAST_DATA_DIR",
];

/// Key-encryption key and token secret of the tests, which are looked for where they must not be.
pub const KEK: &str = "b7d9c1f0a3e85264970bd1fc6e2a4859c3f07e1db8a6924510fe3cd7a98b6e42";
pub const JWT_SECRET: &str = "token-canary-0f3b9a7c5e1d2846-b7d9c1f0a3e8";

/// A test may ask as often as it likes.
pub const BUSY: &str = "[limits]\nrequests_per_second = 10000\nrequests_burst = 10000\n";

/// What a test sets up otherwise than the product's defaults.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lines of the settings file.
    pub toml: String,
    pub env: Vec<(String, String)>,
}

pub struct Service {
    pub dir: TempDir,
    setup: Setup,
    program: Option<Program>,
    pub address: String,
    /// Of an admin.
    pub admin: Client,
}

/// Somebody who calls.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: String,
    /// What follows `Bearer`; empty: nothing.
    pub token: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Settings under which streams may go to this server, and a test may ask as often as it likes.
pub fn local_hosts(nginx: &Nginx) -> String {
    let port = nginx.port();
    format!("[destinations]\nallowed_hosts = [\"127.0.0.1:{port}\"]\nallow_private = true\n{BUSY}")
}

impl Service {
    /// Starts it on a free port with a fresh store, and waits until it is ready.
    pub fn start(setup: Setup) -> Service {
        let dir = TempDir::new("service");
        std::fs::write(dir.path().join("agentcast.toml"), &setup.toml).expect("the temporary folder is ours");
        let key = cli(dir.path(), &setup, &["apikey", "create", "--role", "admin", "--name", "test"]);
        let key = key.lines().find(|line| line.starts_with("key_")).expect("the key on a line of its own").to_owned();
        let admin = Client { address: String::new(), token: key };
        let mut service = Service { dir, setup, program: None, address: String::new(), admin };
        service.again();
        service
    }

    /// Starts it anew on the same data.
    pub fn again(&mut self) {
        self.again_on("127.0.0.1:0");
    }

    /// The same where callers look for it.
    pub fn again_on(&mut self, listen: &str) {
        assert!(self.program.is_none(), "it runs already");
        let program = Program::start(self.command().args(["serve", "--listen", listen]));
        let line = program.wait_for("http://127.0.0.1:");
        let rest = line.split("http://").nth(1).expect("the address");
        self.address = rest.split(['/', ' ', ',']).next().expect("an address").to_owned();
        self.admin.address.clone_from(&self.address);
        self.program = Some(program);
        wait_until("the service to be ready", Duration::from_secs(30), || {
            (self.admin.anonymous().get("/readyz").status == 200).then_some(())
        });
    }

    fn command(&self) -> Command {
        command(self.dir.path(), &self.setup)
    }

    /// Runs another command of the program on the same data.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        cli(self.dir.path(), &self.setup, args)
    }

    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    pub fn said(&self) -> String {
        self.program().said()
    }

    /// SIGKILL: no goodbye to anybody.
    pub fn kill(&mut self) -> String {
        let mut program = self.program.take().expect("it runs");
        program.signal(libc::SIGKILL);
        program.end(Duration::from_secs(10));
        program.said()
    }

    /// SIGTERM and a clean end; what it said.
    #[track_caller]
    pub fn stop(&mut self) -> String {
        let mut program = self.program.take().expect("it runs");
        program.signal(libc::SIGTERM);
        let status = program.end(Duration::from_secs(35));
        assert_eq!(status.code(), Some(0), "{}", program.said());
        program.said()
    }

    /// A tenant, and a client with a key of this role in it.
    pub fn tenant(&self, name: &str, role: &str) -> (String, Client) {
        let tenant =
            self.admin.post("/v1/tenants", &json!({ "name": name })).expect(201)["id"].as_str().map(str::to_owned);
        let tenant = tenant.expect("an id");
        let client = self.key(&tenant, role);
        (tenant, client)
    }

    pub fn key(&self, tenant: &str, role: &str) -> Client {
        let body = json!({ "tenantId": tenant, "role": role, "name": role });
        let made = self.admin.post("/v1/api-keys", &body).expect(201);
        Client { address: self.address.clone(), token: made["key"].as_str().expect("shown once").to_owned() }
    }
}

fn command(dir: &Path, setup: &Setup) -> Command {
    let mut command = agentcast();
    SETTINGS.iter().for_each(|name| _ = command.env_remove(name));
    command
        .env("STREAM_KEY_ENCRYPTION_KEY", KEK)
        .env("STREAMING_JWT_SECRET", JWT_SECRET)
        .env("AGENTCAST_DATA_DIR", dir)
        .env("AGENTCAST_CONFIG", dir.join("agentcast.toml"))
        .envs(setup.env.iter().map(|(name, value)| (name, value)));
    command
}

#[track_caller]
fn cli(dir: &Path, setup: &Setup, args: &[&str]) -> String {
    let output = command(dir, setup).args(args).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

impl Client {
    pub fn anonymous(&self) -> Client {
        Client { token: String::new(), ..self.clone() }
    }

    pub fn with(&self, token: &str) -> Client {
        Client { token: token.to_owned(), ..self.clone() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.json("PUT", path, body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.json("PATCH", path, body)
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &["Content-Type: application/json"], body.to_string().as_bytes())
    }

    /// One request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.try_call(method, path, headers, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    pub fn try_call(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if !self.token.is_empty() {
            head += &format!("Authorization: Bearer {}\r\n", self.token);
        }
        headers.iter().for_each(|line| head += &format!("{line}\r\n"));
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        // One that is refused early may be closed while we still write.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut bytes = Vec::new();
        let read = stream.take(64 << 20).read_to_end(&mut bytes);
        Answer::parse(&bytes).ok_or_else(|| read.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into()))
    }

    /// Opens a session that feeds a match of its own: the answer.
    #[track_caller]
    pub fn feed_session(&self, reference: &str, sides: Value) -> Value {
        let body = json!({ "scope": "feed", "match": { "reference": reference, "sides": sides } });
        self.post("/v1/sessions", &body).expect(201)
    }

    /// Pushes events into a session.
    pub fn push(&self, session: &str, events: &[Value]) -> Answer {
        assert!(events.iter().all(|event| event.to_string().len() < EVENT_BYTES));
        self.post(&format!("/v1/sessions/{session}/events"), &json!(events))
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())))
            .collect();
        let body = &bytes[end + 4..];
        let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked"));
        let body = if chunked { unchunked(body)? } else { body.to_vec() };
        Some(Answer { status, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        let data = rest.get(end + 2..)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(data.get(..length)?);
        rest = data.get(length + 2..)?;
    }
}

/// Wire events of a small match.
pub struct Sender {
    pub reference: String,
    pub epoch: u64,
    pub seq: u64,
}

impl Sender {
    pub fn new(reference: &str) -> Sender {
        Sender { reference: reference.to_owned(), epoch: 1, seq: 0 }
    }

    pub fn event(&mut self, kind: &str, data: Value) -> Value {
        self.seq += 1;
        json!({
            "v": 1, "match": self.reference, "epoch": self.epoch, "seq": self.seq,
            "ts": 1_790_000_000_000_i64 + self.seq as i64 * 100, "type": kind, "vis": "public", "data": data,
        })
    }

    pub fn started(&mut self) -> Value {
        let data = json!({
            "title": "Agent Open 2026", "round": "Quarter-final 2", "game": { "id": "tictactoe", "name": "Tic-tac-toe" },
            "sides": { "x": { "seat": 0, "name": "Crossfire", "score": 0 }, "o": { "seat": 1, "name": "Big Circle", "score": 0 } },
            "phase": { "turn": 1, "active": ["x"] },
            "zones": { "board": { "kind": "grid", "cols": 3, "rows": 3 } },
        });
        self.event("match.started", data)
    }

    /// Sets the score of side x.
    pub fn score(&mut self, score: u64) -> Value {
        self.event("state.patch", json!({ "sides": { "x": { "score": score } } }))
    }

    pub fn ended(&mut self) -> Value {
        self.event("match.ended", json!({ "winners": ["x"], "reason": "three in a row" }))
    }
}
