//! A small strict RTMP ingest that keeps every message with its arrival time and can misbehave.
//!
//! It speaks what a publisher needs (RTMP specification 1.0): handshake, chunks, `connect`, `createStream`, `publish`.

use super::flv::{self, Amf, Tag};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a key that is not in [`Behaviour::keys`] is turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadKey {
    /// Closes without a word after `publish`, as large platforms do.
    #[default]
    Close,
    /// `NetStream.Publish.BadName` with these words, then closes.
    BadName(&'static str),
    Reset,
}

/// Can be changed while connections run.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Keys that may publish; `None`: any.
    pub keys: Option<Vec<String>>,
    pub bad_key: BadKey,
    /// Accepts the connection and never says a word.
    pub black_hole: bool,
    /// Stops reading.
    pub stall: bool,
    /// Breaks off after this many messages of a connection, by RST when `by_reset`.
    pub drop_after: Option<usize>,
    pub by_reset: bool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub at: Instant,
    pub tag: Tag,
}

/// One connection as it went.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub app: Option<String>,
    pub tc_url: Option<String>,
    pub key: Option<String>,
    /// `publish` was granted.
    pub published: bool,
    pub messages: Vec<Message>,
    /// FCUnpublish and deleteStream came: a graceful end.
    pub unpublished: bool,
    pub deleted: bool,
    pub closed: bool,
    /// What the peer did against the protocol.
    pub faults: Vec<String>,
}

impl Connection {
    pub fn tags(&self) -> Vec<Tag> {
        self.messages.iter().map(|m| m.tag.clone()).collect()
    }

    pub fn write_flv(&self, path: &Path) {
        flv::write(path, &self.tags());
    }
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    connections: Mutex<Vec<Connection>>,
    changed: Condvar,
    stop: AtomicBool,
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            connections: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let s = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &s));
        Self { address, shared, thread: Some(thread) }
    }

    pub fn url(&self, key: &str) -> String {
        format!("rtmp://{}/app/{key}", self.address)
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
        self.shared.changed.notify_all();
    }

    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.shared.connections).clone()
    }

    /// Waits until the connections are as wanted; false when they are not in time.
    pub fn wait(&self, time: Duration, wanted: impl Fn(&[Connection]) -> bool) -> bool {
        let deadline = Instant::now() + time;
        let mut connections = lock(&self.shared.connections);
        while !wanted(&connections) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            connections = self.shared.changed.wait_timeout(connections, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until the `n`th connection (from 0) has brought so many messages.
    pub fn wait_messages(&self, n: usize, messages: usize) {
        let there = |c: &[Connection]| c.get(n).is_some_and(|c| c.messages.len() >= messages);
        assert!(self.wait(Duration::from_secs(15), there), "connection {n} brought no {messages} messages");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        // Wakes accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        let index = {
            let mut connections = lock(&shared.connections);
            connections.push(Connection::default());
            connections.len() - 1
        };
        shared.changed.notify_all();
        let s = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut peer = Peer::new(stream, s, index);
            let end = peer.run();
            peer.note(|c| {
                if let Err(End::Fault(words)) = end {
                    c.faults.push(words);
                }
                c.closed = true;
            });
            let _ = peer.stream.shutdown(Shutdown::Both);
        });
        open.push((copy, thread));
    }
    for (stream, thread) in open {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

enum End {
    /// Closed by either side.
    Over,
    Fault(String),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        End::Over
    }
}

#[derive(Default)]
struct Chunks {
    time: u32,
    step: u32,
    length: usize,
    kind: u8,
    body: Vec<u8>,
    extended: bool,
    begun: bool,
}

struct Peer {
    stream: TcpStream,
    shared: Arc<Shared>,
    index: usize,
    chunk_size: usize,
    streams: HashMap<u32, Chunks>,
    taken: usize,
}

impl Peer {
    fn new(stream: TcpStream, shared: Arc<Shared>, index: usize) -> Self {
        Self { stream, shared, index, chunk_size: 128, streams: HashMap::new(), taken: 0 }
    }

    fn note(&self, change: impl FnOnce(&mut Connection)) {
        change(&mut lock(&self.shared.connections)[self.index]);
        self.shared.changed.notify_all();
    }

    fn behaviour(&self) -> Behaviour {
        lock(&self.shared.behaviour).clone()
    }

    /// Blocks while the receiver shall misbehave that way.
    fn hang_while(&self, hangs: impl Fn(&Behaviour) -> bool) {
        let mut behaviour = lock(&self.shared.behaviour);
        while hangs(&behaviour) && !self.shared.stop.load(Ordering::Relaxed) {
            let wait = self.shared.changed.wait_timeout(behaviour, Duration::from_millis(100));
            behaviour = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], End> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn run(&mut self) -> Result<(), End> {
        self.stream.set_nodelay(true)?;
        self.hang_while(|b| b.black_hole);
        if self.read::<1>()? != [3] {
            return Err(End::Fault("C0 is not version 3".into()));
        }
        let c1 = self.read::<1_536>()?;
        let mut answer = vec![3];
        answer.extend([0; 8]);
        answer.extend((0..1_528).map(|_| fastrand::u8(..)));
        answer.extend(c1);
        self.stream.write_all(&answer)?;
        self.read::<1_536>()?;
        loop {
            self.hang_while(|b| b.stall);
            self.chunk()?;
        }
    }

    fn chunk(&mut self) -> Result<(), End> {
        let [first] = self.read::<1>()?;
        let (format, mut id) = (first >> 6, u32::from(first & 63));
        if id == 0 {
            id = 64 + u32::from(self.read::<1>()?[0]);
        } else if id == 1 {
            let [low, high] = self.read::<2>()?;
            id = 64 + u32::from(low) + 256 * u32::from(high);
        }
        let mut chunks = self.streams.remove(&id).unwrap_or_default();
        if format < 3 {
            if !chunks.body.is_empty() {
                return Err(End::Fault("a new header inside a message".into()));
            }
            if format > 0 && !chunks.begun {
                return Err(End::Fault(format!("chunk stream {id} begins with format {format}")));
            }
            let [a, b, c] = self.read::<3>()?;
            let mut time = u32::from_be_bytes([0, a, b, c]);
            if format < 2 {
                let [a, b, c, kind] = self.read::<4>()?;
                chunks.length = u32::from_be_bytes([0, a, b, c]) as usize;
                chunks.kind = kind;
            }
            if format == 0 {
                self.read::<4>()?;
            }
            chunks.extended = time == 0xff_ffff;
            if chunks.extended {
                time = u32::from_be_bytes(self.read::<4>()?);
            }
            if format == 0 {
                (chunks.time, chunks.step) = (time, 0);
            } else {
                chunks.step = time;
                chunks.time = chunks.time.wrapping_add(time);
            }
        } else {
            if !chunks.begun {
                return Err(End::Fault(format!("chunk stream {id} begins with format 3")));
            }
            if chunks.extended {
                self.read::<4>()?;
            }
            if chunks.body.is_empty() {
                chunks.time = chunks.time.wrapping_add(chunks.step);
            }
        }
        chunks.begun = true;
        let at = chunks.body.len();
        chunks.body.resize(at + self.chunk_size.min(chunks.length - at), 0);
        self.stream.read_exact(&mut chunks.body[at..])?;
        let whole = (chunks.body.len() == chunks.length).then(|| std::mem::take(&mut chunks.body));
        let (kind, time) = (chunks.kind, chunks.time);
        self.streams.insert(id, chunks);
        whole.map_or(Ok(()), |body| self.message(kind, time, body))
    }

    fn message(&mut self, kind: u8, time: u32, mut body: Vec<u8>) -> Result<(), End> {
        match kind {
            1 => {
                let bytes =
                    body.get(..4).and_then(|b| b.try_into().ok()).ok_or(End::Fault("short chunk size".into()))?;
                self.chunk_size = (u32::from_be_bytes(bytes) as usize).clamp(1, 1 << 24);
            }
            20 => {
                let values = Amf::read_all(&body).map_err(End::Fault)?;
                self.command(&values)?;
            }
            flv::AUDIO | flv::VIDEO | flv::SCRIPT => {
                if !lock(&self.shared.connections)[self.index].published {
                    return Err(End::Fault(format!("message {kind} before publish")));
                }
                if kind == flv::SCRIPT && body.get(3..16) == Some(b"@setDataFrame") {
                    body.drain(..16);
                }
                let tag = Tag { kind, time: i64::from(time), data: body };
                self.note(|c| c.messages.push(Message { at: Instant::now(), tag }));
                self.taken += 1;
                let behaviour = self.behaviour();
                if behaviour.drop_after.is_some_and(|n| self.taken >= n) {
                    return self.break_off(behaviour.by_reset);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, values: &[Amf]) -> Result<(), End> {
        let name = values.first().and_then(Amf::text).unwrap_or_default().to_owned();
        let id = values.get(1).cloned().unwrap_or(Amf::Number(0.0));
        let result = || Amf::Text("_result".into());
        match name.as_str() {
            "connect" => {
                let text = |field: &str| values.get(2).and_then(|o| o.get(field)?.text()).map(str::to_owned);
                let (app, tc_url) = (text("app"), text("tcUrl"));
                self.note(|c| (c.app, c.tc_url) = (app, tc_url));
                self.send(2, 5, 0, &2_500_000u32.to_be_bytes())?;
                self.send(2, 6, 0, &[0, 38, 37, 160, 2])?;
                let server = object(&[("fmsVer", "FMS/3,5,7,7009")]);
                self.reply(0, &[result(), id, server, status("status", "NetConnection.Connect.Success", "")])
            }
            "createStream" => self.reply(0, &[result(), id, Amf::Null, Amf::Number(1.0)]),
            "releaseStream" | "FCPublish" => self.reply(0, &[result(), id, Amf::Null, Amf::Null]),
            "publish" => self.publish(values.get(3).and_then(Amf::text).unwrap_or_default().to_owned()),
            "FCUnpublish" => {
                self.note(|c| c.unpublished = true);
                Ok(())
            }
            "deleteStream" => {
                self.note(|c| c.deleted = true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self, key: String) -> Result<(), End> {
        let behaviour = self.behaviour();
        let name = key.split('?').next().unwrap_or_default().to_owned();
        let good = behaviour.keys.as_ref().is_none_or(|keys| keys.contains(&name));
        self.note(|c| c.key = Some(key));
        let on_status = |s| [Amf::Text("onStatus".into()), Amf::Number(0.0), Amf::Null, s];
        if !good {
            if let BadKey::BadName(words) = behaviour.bad_key {
                self.reply(1, &on_status(status("error", "NetStream.Publish.BadName", words)))?;
            }
            return self.break_off(behaviour.bad_key == BadKey::Reset);
        }
        self.note(|c| c.published = true);
        self.reply(1, &on_status(status("status", "NetStream.Publish.Start", "")))
    }

    fn break_off(&self, by_reset: bool) -> Result<(), End> {
        if by_reset {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            // SAFETY: an open socket and a linger of the size told. Linger 0 turns the close into a reset.
            unsafe {
                libc::setsockopt(
                    self.stream.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const linger).cast(),
                    size_of::<libc::linger>() as u32,
                );
                // The listener keeps a copy of the socket; the reset needs the protocol's own disconnect.
                let nowhere: libc::sockaddr = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
                libc::connect(self.stream.as_raw_fd(), &nowhere, size_of::<libc::sockaddr>() as u32);
            }
        }
        Err(End::Over)
    }

    fn reply(&mut self, stream: u32, values: &[Amf]) -> Result<(), End> {
        let mut body = Vec::new();
        values.iter().for_each(|v| v.write(&mut body));
        self.send(if stream == 0 { 3 } else { 5 }, 20, stream, &body)
    }

    fn send(&mut self, id: u8, kind: u8, stream: u32, body: &[u8]) -> Result<(), End> {
        let size = (body.len() as u32).to_be_bytes();
        let mut out = vec![id, 0, 0, 0, size[1], size[2], size[3], kind];
        out.extend(stream.to_le_bytes());
        for (n, part) in body.chunks(128).enumerate() {
            if n > 0 {
                out.push(0xc0 | id);
            }
            out.extend(part);
        }
        Ok(self.stream.write_all(&out)?)
    }
}

fn object(fields: &[(&str, &str)]) -> Amf {
    Amf::Object(fields.iter().map(|(k, v)| ((*k).to_owned(), Amf::Text((*v).to_owned()))).collect())
}

fn status(level: &str, code: &str, description: &str) -> Amf {
    object(&[("level", level), ("code", code), ("description", description)])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
