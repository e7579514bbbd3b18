//! A real PostgreSQL in a temporary folder, started by the test. Debian: `postgresql`.
//!
//! Tests that run at the same time share one server, each with a database of its own; the last one to end stops it, by the pid
//! of the process that was started here.

use super::dir::TempDir;
use sqlx::{AnyConnection, Connection, Executor};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Start-up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const USER: &str = "agentcast";
/// Reserved characters must survive the address; tests look for it in what the program says.
pub const PASSWORD: &str = "canary-pg/pass@word";
const PASSWORD_IN_URL: &str = "canary-pg%2Fpass%40word";

pub struct Postgres {
    child: Child,
    port: u16,
    databases: AtomicU32,
    dir: TempDir,
}

impl Postgres {
    /// The server that runs now, or a new one.
    pub fn shared() -> Arc<Postgres> {
        static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return server;
        }
        let server = Arc::new(Postgres::start());
        *running = Arc::downgrade(&server);
        server
    }

    fn start() -> Postgres {
        let dir = TempDir::new("pg");
        let owner = server_user();
        let (data, secret) = (dir.path().join("data"), dir.path().join("password"));
        std::fs::create_dir(&data).expect("the temporary folder is ours");
        std::fs::write(&secret, PASSWORD).expect("the temporary folder is ours");
        for path in [dir.path(), &*data, &*secret] {
            if let Some((uid, gid)) = owner {
                chown(path, Some(uid), Some(gid)).expect("root gives files away");
            }
        }
        // ICU's order of texts is not that of their bytes: what our lists rely on must be asked for.
        let mut initdb = command("initdb", dir.path(), owner);
        initdb.args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--locale=C"]);
        initdb.args(["--locale-provider=icu", "--icu-locale=en-US"]);
        initdb.arg("--pwfile").arg(&secret).arg("-D").arg(&data);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let log = std::fs::File::create(dir.path().join("log")).expect("the temporary folder is ours");
        let mut server = command("postgres", dir.path(), owner);
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        // Only clients are killed in tests, so the server needs no syncs; what a session asks for is still checked.
        server.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "max_connections=300"]);
        server.arg("-c").arg(format!("unix_socket_directories={}", dir.path().display()));
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("postgres starts");
        Postgres { child, port, databases: AtomicU32::new(0), dir }
    }

    /// Address of a new, empty database.
    pub async fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.connect().await;
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database can be made");
        admin.close().await.expect("the server answers");
        self.url(&name)
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    async fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match AnyConnection::connect(&self.url("postgres")).await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > deadline => {
                    let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                    panic!("PostgreSQL does not answer: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: the server takes its helpers with it at once.
        // SAFETY: the process is our child and not yet waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGQUIT) };
        let _ = self.child.wait();
    }
}

/// A program of PostgreSQL, as the user that may run it.
fn command(name: &str, dir: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(dir).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    if let Some((uid, gid)) = owner {
        // Also drops root's other groups.
        command.uid(uid).gid(gid);
    }
    command
}

/// Of the newest version in Debian's folders, or the one on the PATH.
fn program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
    };
    let path = found.pop().map(|(_, path)| path).or_else(on_path);
    path.unwrap_or_else(|| panic!("{name} is missing; `.ci/setup test` installs postgresql"))
}

/// PostgreSQL refuses to run as root: then as its own user, or as nobody.
fn server_user() -> Option<(u32, u32)> {
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the users can be listed");
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).expect("there is a user beside root"))
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is there");
    socket.local_addr().expect("it is bound").port()
}
