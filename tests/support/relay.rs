//! Stands between a publisher and its LiveKit server and does what networks do: cuts, refuses and freezes the signalling,
//! loses media or swallows all of it. One relay a publisher, so that viewers are not hurt.
//!
//! Media goes through it because it puts its own port in place of the server's UDP port into the candidates that it passes on
//! (server-to-client frames are neither masked nor compressed, and ports are of five digits). The server must be ICE-lite, see
//! [`super::livekit::Settings::ice_lite`], or it would find the publisher by itself.

use super::livekit::{LiveKit, free_ports};
use agentcast::livekit::Server;
use base64::Engine as _;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How soon a change of mind is noticed.
const TURN: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Rules {
    over: AtomicBool,
    /// Connections of an earlier number end.
    cuts: AtomicU64,
    refuses: AtomicBool,
    frozen: AtomicBool,
    /// Connections taken so far, refused ones too.
    tries: AtomicU64,
    /// Join tokens that passed, each once.
    tokens: Mutex<Vec<String>>,
    swallows: AtomicBool,
    /// Publisher to server, in 1/1000.
    loss: AtomicU32,
    /// Media packets of the publisher that passed, and that were lost or swallowed.
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Rules {
    /// Picks the tokens out of the head of a request: three words of base64 with dots between, in the address or a header.
    fn note_tokens(&self, head: &[u8]) {
        // The last line may not be whole.
        let whole = head.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let end = head.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(whole);
        let text = String::from_utf8_lossy(&head[..end]);
        let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        for word in text.split(part) {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            if word.starts_with("eyJ") && word.matches('.').count() == 2 && !tokens.iter().any(|t| t == word) {
                tokens.push(word.to_owned());
            }
        }
    }
}

type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

pub struct Relay {
    rules: Arc<Rules>,
    threads: Threads,
    server: Server,
}

impl Relay {
    /// `seed`: of the losses.
    pub fn start(livekit: &LiveKit, seed: u64) -> Self {
        let rules = Arc::<Rules>::default();
        let threads = Threads::default();
        let (listener, udp) = loop {
            let [http, udp] = free_ports();
            let udp = UdpSocket::bind(("127.0.0.1", udp));
            if let (Ok(listener), Ok(udp)) = (TcpListener::bind(("127.0.0.1", http)), udp) {
                break (listener, udp);
            }
        };
        let port = |address: std::io::Result<SocketAddr>| address.expect("a bound socket has an address").port();
        let (own_http, own_udp) = (port(listener.local_addr()), port(udp.local_addr()));
        let rewrite = (candidate(livekit.udp_port()), candidate(own_udp));
        assert_eq!(rewrite.0.len(), rewrite.1.len(), "ports of as many digits");
        let (to_http, to_udp) = (livekit.http_port(), livekit.udp_port());
        let (r, t) = (rules.clone(), threads.clone());
        let signalling = std::thread::spawn(move || accept(&listener, to_http, &rewrite, &r, &t));
        let (r, t) = (rules.clone(), threads.clone());
        let media = std::thread::spawn(move || forward(&udp, to_udp, seed, &r, &t));
        threads.lock().unwrap_or_else(PoisonError::into_inner).extend([signalling, media]);
        Self { rules, threads, server: livekit.server_at(own_http) }
    }

    /// The server as the publisher must see it.
    pub fn server(&self) -> Server {
        self.server.clone()
    }

    /// Resets every signalling connection.
    pub fn cut(&self) {
        self.rules.cuts.fetch_add(1, SeqCst);
    }

    /// Whether new signalling connections are reset at once.
    pub fn refuse(&self, on: bool) {
        self.rules.refuses.store(on, SeqCst);
    }

    /// Signalling connections stay open and carry nothing.
    pub fn freeze(&self, on: bool) {
        self.rules.frozen.store(on, SeqCst);
    }

    /// Media by UDP vanishes, both ways.
    pub fn swallow_udp(&self, on: bool) {
        self.rules.swallows.store(on, SeqCst);
    }

    /// Share of the publisher's UDP packets that are lost, in percent.
    pub fn lose(&self, percent: f32) {
        self.rules.loss.store((percent * 10.0) as u32, SeqCst);
    }

    /// Signalling connections tried so far.
    pub fn tries(&self) -> u64 {
        self.rules.tries.load(SeqCst)
    }

    /// The tokens it came with, each once, in their order.
    pub fn tokens(&self) -> Vec<String> {
        self.rules.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of them that open the door of a room.
    pub fn join_tokens(&self) -> usize {
        let opens = |token: &String| {
            let body =
                token.split('.').nth(1).and_then(|body| base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(body).ok());
            body.is_some_and(|body| String::from_utf8_lossy(&body).contains("\"roomJoin\":true"))
        };
        self.tokens().iter().filter(|token| opens(token)).count()
    }

    /// The publisher's UDP packets that passed, and that did not.
    pub fn packets(&self) -> (u64, u64) {
        (self.rules.passed.load(SeqCst), self.rules.lost.load(SeqCst))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.rules.over.store(true, SeqCst);
        // A thread may add another one while it is waited for.
        loop {
            let next = self.threads.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = next else { break };
            let _ = thread.join();
        }
    }
}

/// The end of a candidate's line, as in SDP and in trickled candidates.
fn candidate(port: u16) -> Vec<u8> {
    format!(" 127.0.0.1 {port} typ ").into_bytes()
}

fn spawn(threads: &Threads, run: impl FnOnce() + Send + 'static) {
    let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.retain(|thread| !thread.is_finished());
    threads.push(std::thread::spawn(run));
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// RST instead of FIN when it closes.
fn abort(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: an open socket, and a value of the size that is told.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
}

fn accept(listener: &TcpListener, to: u16, (from, with): &(Vec<u8>, Vec<u8>), rules: &Arc<Rules>, threads: &Threads) {
    listener.set_nonblocking(true).expect("a socket of ours");
    while !rules.over.load(SeqCst) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(TURN);
            continue;
        };
        rules.tries.fetch_add(1, SeqCst);
        let server = TcpStream::connect(("127.0.0.1", to));
        let (false, Ok(server)) = (rules.refuses.load(SeqCst), server) else {
            abort(&client);
            continue;
        };
        let cuts = rules.cuts.load(SeqCst);
        let copy = |socket: &TcpStream| socket.try_clone().expect("a socket can be shared");
        let (up, down) = ((copy(&client), copy(&server)), (server, client));
        let r = rules.clone();
        let r2 = rules.clone();
        let mut head = Vec::new();
        let read = move |bytes: &mut [u8]| {
            if head.len() < 16_384 {
                head.extend_from_slice(bytes);
                r2.note_tokens(&head);
            }
            0
        };
        spawn(threads, move || pump(up.0, up.1, cuts, &r, read));
        let (r, from, with) = (rules.clone(), from.clone(), with.clone());
        spawn(threads, move || pump(down.0, down.1, cuts, &r, |bytes| replace(bytes, &from, &with)));
    }
}

/// Carries bytes one way. `change` says how many bytes at the end must wait for more.
fn pump(mut from: TcpStream, mut to: TcpStream, cuts: u64, rules: &Rules, mut change: impl FnMut(&mut [u8]) -> usize) {
    let (mut held, mut chunk) = (Vec::new(), [0; 16_384]);
    let ready = from.set_nonblocking(false).and_then(|()| from.set_read_timeout(Some(TURN)));
    ready.and_then(|()| to.set_nodelay(true)).expect("a socket of ours");
    loop {
        if rules.over.load(SeqCst) || rules.cuts.load(SeqCst) != cuts {
            abort(&from);
            abort(&to);
            break;
        }
        if rules.frozen.load(SeqCst) {
            std::thread::sleep(TURN);
            continue;
        }
        match from.read(&mut chunk) {
            Ok(0) => {
                let _ = to.write_all(&held);
                break;
            }
            Ok(got) => {
                held.extend_from_slice(&chunk[..got]);
                let ready = held.len() - change(&mut held);
                if to.write_all(&held[..ready]).is_err() {
                    break;
                }
                held.drain(..ready);
            }
            Err(error) if waits(&error) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Replaces a word by one of the same length; returns how many bytes at the end may be its beginning.
fn replace(bytes: &mut [u8], from: &[u8], with: &[u8]) -> usize {
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + from.len()].copy_from_slice(with);
            at += from.len();
        } else {
            at += 1;
        }
    }
    (1..from.len()).rev().find(|n| bytes.ends_with(&from[..*n])).unwrap_or(0)
}

fn forward(socket: &UdpSocket, to: u16, seed: u64, rules: &Arc<Rules>, threads: &Threads) {
    socket.set_read_timeout(Some(TURN)).expect("a socket of ours");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut clients: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut packet = [0; 2_048];
    while !rules.over.load(SeqCst) {
        let Ok((size, client)) = socket.recv_from(&mut packet) else { continue };
        if rules.swallows.load(SeqCst) || chance.u32(..1_000) < rules.loss.load(SeqCst) {
            rules.lost.fetch_add(1, SeqCst);
            continue;
        }
        rules.passed.fetch_add(1, SeqCst);
        let upstream = clients.entry(client).or_insert_with(|| {
            let upstream = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
            upstream.connect(("127.0.0.1", to)).expect("an address of this machine");
            let copy = |socket: &UdpSocket| socket.try_clone().expect("a socket can be shared");
            let (back, here, r) = (copy(&upstream), copy(socket), rules.clone());
            spawn(threads, move || give_back(&back, &here, client, &r));
            upstream
        });
        // Refused while the server is away: that is a loss too.
        let _ = upstream.send(&packet[..size]);
    }
}

fn give_back(from: &UdpSocket, through: &UdpSocket, to: SocketAddr, rules: &Rules) {
    from.set_read_timeout(Some(TURN)).expect("a socket of ours");
    let mut packet = [0; 2_048];
    while !rules.over.load(SeqCst) {
        match from.recv(&mut packet) {
            Ok(size) if !rules.swallows.load(SeqCst) => {
                let _ = through.send_to(&packet[..size], to);
            }
            Ok(_) => {}
            // The server is away.
            Err(error) if !waits(&error) => std::thread::sleep(TURN),
            Err(_) => {}
        }
    }
}
