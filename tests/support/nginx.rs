//! A real nginx-rtmp in a temporary folder, with TLS in front. Debian: `nginx libnginx-mod-rtmp libnginx-mod-stream`.
//!
//! One process without a master, so it runs for any user and dies by one signal.

use super::certificates::{self, Certificates};
use super::dir::TempDir;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MODULES: &str = "/usr/lib/nginx/modules";

pub struct Nginx {
    dir: TempDir,
    child: Option<Child>,
    rtmp: u16,
    tls: u16,
    wrong_host: u16,
    http: u16,
}

impl Nginx {
    pub fn start() -> Self {
        let dir = TempDir::new("nginx");
        for sub in ["logs", "rec", "tmp"] {
            fs::create_dir(dir.path().join(sub)).expect("the temporary folder is ours");
        }
        certificates::make(dir.path());
        let [rtmp, tls, wrong_host, http] = free_ports();
        let mut nginx = Self { dir, child: None, rtmp, tls, wrong_host, http };
        fs::write(nginx.dir.path().join("nginx.conf"), nginx.config()).expect("the temporary folder is ours");
        nginx.restart();
        nginx
    }

    /// Any key publishes here, and is recorded.
    pub fn url(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{key}", self.rtmp)
    }

    /// The address without a key.
    pub fn ingest(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.rtmp)
    }

    /// Where it takes plain RTMP.
    pub fn port(&self) -> u16 {
        self.rtmp
    }

    /// Only `good-key` publishes here; others are cut off after `publish` without a word.
    pub fn guarded_url(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/guarded/{key}", self.rtmp)
    }

    /// The certificate is for `localhost`, by [`Self::ca`].
    pub fn tls_url(&self, key: &str) -> String {
        format!("rtmps://localhost:{}/live/{key}", self.tls)
    }

    /// The certificate is for another host, by [`Self::ca`].
    pub fn wrong_host_url(&self, key: &str) -> String {
        format!("rtmps://localhost:{}/live/{key}", self.wrong_host)
    }

    /// A port that speaks HTTP.
    pub fn http_port(&self) -> u16 {
        self.http
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// What was recorded of a key, oldest first.
    pub fn recordings(&self, key: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("rec")).expect("the temporary folder is ours");
        let mut files: Vec<_> = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(key)))
            .collect();
        files.sort_by_key(|p| fs::metadata(p).and_then(|m| m.modified()).ok());
        files
    }

    /// SIGKILL: no goodbye to anybody.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it (again) on the same ports and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        self.child = Some(launch(self.dir.path(), &[self.rtmp, self.tls, self.http]));
    }

    fn config(&self) -> String {
        let dir = self.dir.path().display();
        let Self { rtmp, tls, wrong_host, http, .. } = self;
        format!(
            "load_module {MODULES}/ngx_rtmp_module.so;
load_module {MODULES}/ngx_stream_module.so;
daemon off; master_process off; worker_processes 1;
pid {dir}/logs/nginx.pid;
error_log {dir}/logs/error.log info;
events {{ worker_connections 128; }}
rtmp_auto_push off;
rtmp {{
  access_log {dir}/logs/rtmp.log;
  server {{
    listen 127.0.0.1:{rtmp};
    chunk_size 4096; max_message 8M; notify_method get;
    application live {{
      live on;
      record all; record_path {dir}/rec; record_suffix -%s.flv; record_unique on;
    }}
    application guarded {{ live on; on_publish http://127.0.0.1:{http}/guard; }}
  }}
}}
stream {{
  server {{
    listen 127.0.0.1:{tls} ssl; proxy_pass 127.0.0.1:{rtmp};
    ssl_certificate {dir}/localhost.pem; ssl_certificate_key {dir}/localhost.key;
  }}
  server {{
    listen 127.0.0.1:{wrong_host} ssl; proxy_pass 127.0.0.1:{rtmp};
    ssl_certificate {dir}/elsewhere.pem; ssl_certificate_key {dir}/elsewhere.key;
  }}
}}
http {{
  access_log off;
  client_body_temp_path {dir}/tmp/a; proxy_temp_path {dir}/tmp/b; fastcgi_temp_path {dir}/tmp/c;
  uwsgi_temp_path {dir}/tmp/d; scgi_temp_path {dir}/tmp/e;
  server {{
    listen 127.0.0.1:{http};
    location /guard {{ if ($arg_name = \"good-key\") {{ return 204; }} return 403; }}
  }}
}}
"
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// TLS in front of another server's port, with a certificate for `localhost` and with one for another host.
pub struct TlsFront {
    _dir: TempDir,
    child: Child,
    pub good: u16,
    pub wrong_host: u16,
}

impl TlsFront {
    pub fn start(certificates: &Certificates, to: u16) -> Self {
        let dir = TempDir::new("tls");
        fs::create_dir(dir.path().join("logs")).expect("the temporary folder is ours");
        let [good, wrong_host] = free_ports();
        let server = |port: u16, name: &str| {
            let (certificate, key) = certificates.of(name);
            let (certificate, key) = (certificate.display(), key.display());
            format!(
                "  server {{
    listen 127.0.0.1:{port} ssl; proxy_pass 127.0.0.1:{to};
    ssl_certificate {certificate}; ssl_certificate_key {key};
  }}
"
            )
        };
        let (good_server, wrong_server, path) =
            (server(good, "localhost"), server(wrong_host, "elsewhere"), dir.path().display());
        let config = format!(
            "load_module {MODULES}/ngx_stream_module.so;
daemon off; master_process off; worker_processes 1;
pid {path}/logs/nginx.pid;
error_log {path}/logs/error.log info;
events {{ worker_connections 128; }}
stream {{
{good_server}{wrong_server}}}
"
        );
        fs::write(dir.path().join("nginx.conf"), config).expect("the temporary folder is ours");
        let child = launch(dir.path(), &[good, wrong_host]);
        Self { _dir: dir, child, good, wrong_host }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts nginx with the configuration in this folder and waits until all ports answer.
fn launch(dir: &Path, ports: &[u16]) -> Child {
    let log = fs::File::create(dir.join("logs/stderr.log")).expect("the temporary folder is ours");
    let mut child = Command::new("nginx")
        .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
        .arg("-p")
        .arg(dir)
        .args(["-c", "nginx.conf", "-e", "logs/error.log"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the tests need nginx with its rtmp and stream modules");
    let deadline = Instant::now() + Duration::from_secs(10);
    for port in ports {
        while TcpStream::connect(("127.0.0.1", *port)).is_err() {
            if child.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("nginx does not start: {}", fs::read_to_string(dir.join("logs/stderr.log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    child
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    std::array::from_fn(|n| held[n].local_addr().expect("a bound socket has an address").port())
}
