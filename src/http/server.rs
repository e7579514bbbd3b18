//! HTTP/1.1 and HTTP/2 (without TLS, "prior knowledge") for the outside: limits against slow and many clients, and an end that
//! finishes what has begun. axum's own `serve` waits for a request's head for ever.
//!
//! Event streams and WebSockets may live longer than [`Limits::life`]; they keep their place among the connections, and a
//! peer that stops reading is cut off after [`Limits::stall`].

mod files;
mod io;
mod places;

pub use files::enough_files;
pub use places::Guest;
pub(crate) use places::network;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use io::GuardedStream;
use places::{Place, Places};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What a server takes from its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, sockets included, of callers who have shown a key or a token ([`Guest::known`]).
    pub connections: usize,
    /// Others beside them. When more come, the oldest ones go.
    pub strangers: usize,
    /// Connections from one address (IPv6: one /64), of either kind; more are closed at once.
    pub per_address: usize,
    /// A request's head takes at most this long, and so does the wait for the next one.
    pub head: Duration,
    /// A connection lives at most this long, unless an event stream runs on it or it became a WebSocket: a client that sends
    /// or reads slowly holds nothing up.
    pub life: Duration,
    /// A peer that reads nothing for this long is cut off.
    pub stall: Duration,
    /// From the end of a connection's life until a request that still runs on it is cut off.
    pub finish: Duration,
    /// From the call to stop until what has begun is cut off.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4_096,
            strangers: 1_024,
            per_address: 256,
            head: Duration::from_secs(10),
            life: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            // The API's own limit is 60 s.
            finish: Duration::from_secs(65),
            close: Duration::from_secs(3),
        }
    }
}

/// Longest head of a request, bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// An HTTP/2 peer is asked whether it lives this often, and answers within the other.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a preface that came in parts.
const PREFACE_POLL: Duration = Duration::from_millis(10);
/// After a failed accept, which is mostly that this process has too many files open.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stop` is ready, then finishes what has begun. Handlers find the client's address in
/// `ConnectInfo<SocketAddr>`, and a [`Guest`]. Sockets must end by themselves; those that have not after [`Limits::close`]
/// are cut off.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: impl Future<Output = ()>) {
    serve_behind(listener, app, limits, |_| false, stop).await;
}

/// [`serve`] behind proxies: addresses for which `shared` holds stand for many callers and are not counted. This machine's
/// own never are.
pub async fn serve_behind(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    shared: impl Fn(IpAddr) -> bool,
    stop: impl Future<Output = ()>,
) {
    let (close, cut) = (CancellationToken::new(), CancellationToken::new());
    let places = Places::new(limits.connections, limits.strangers, limits.per_address);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let ip = peer.ip().to_canonical();
                let counted = (!ip.is_loopback() && !shared(ip)).then_some(ip);
                match places.take(counted, &cut) {
                    Some(place) => {
                        let (app, close) = (app.clone(), close.clone());
                        connections.spawn(async move {
                            let cut = place.cut.clone();
                            tokio::select! {
                                () = cut.cancelled() => {}
                                () = connection(stream, peer, place, app, limits, close) => {}
                            }
                        });
                    }
                    None => tracing::debug!("a connection of {ip} was closed: it has {}", limits.per_address),
                }
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                places.make_room();
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    close.cancel();
    let all = async {
        while connections.join_next().await.is_some() {}
        // Sockets have left their connection's task and still have its place.
        places.left().await;
    };
    if tokio::time::timeout(limits.close, all).await.is_err() {
        cut.cancel();
        connections.shutdown().await;
    }
}

/// Whether the client begins with HTTP/2's preface. Takes nothing from the stream.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut begun = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut begun).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if begun[..read] != PREFACE[..read] {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        // A look does not wait for more than there is.
        tokio::time::sleep(PREFACE_POLL).await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
    app: Router,
    limits: Limits,
    close: CancellationToken,
) {
    let guest = place.guest();
    let stream = GuardedStream::new(stream, limits.stall, place);
    // Answers are small and there is one at a time.
    let _ = stream.tcp().set_nodelay(true);
    let Ok(Ok(http2)) = tokio::time::timeout(limits.head, speaks_http2(stream.tcp())).await else { return };
    let (traffic, seen) = watch::channel(Traffic::default());
    let traffic = Arc::new(traffic);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(guest.clone());
        let (app, running) = (app.clone(), Running::begin(&traffic));
        async move {
            let Ok(response) = app.oneshot(request.map(Body::new) as Request).await;
            Ok::<_, Infallible>(running.follow(response))
        }
    });
    let end = over(seen.clone(), limits, http2);
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        drive(builder.serve_connection(io, service), |c| c.graceful_shutdown(), end, seen, limits, close).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
        let serve = builder.serve_connection(io, service).with_upgrades();
        drive(serve, |c| c.graceful_shutdown(), end, seen, limits, close).await;
    }
}

/// Runs a connection until it ends, `end` is ready or all are to close.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut: impl Fn(Pin<&mut C>),
    end: impl Future<Output = ()>,
    mut traffic: watch::Receiver<Traffic>,
    limits: Limits,
    close: CancellationToken,
) {
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = close.cancelled() => {
            shut(connection.as_mut());
            // Cut off from outside, should it take too long.
            connection.await
        }
        () = end => {
            shut(connection.as_mut());
            // What runs gets its time; then the answer has to leave, and HTTP/2 to say goodbye.
            let late = async {
                let done = traffic.wait_for(|traffic| traffic.running == 0);
                let _ = tokio::time::timeout(limits.finish, done).await;
                tokio::time::sleep(limits.close).await;
            };
            tokio::select! {
                served = connection => served,
                () = late => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Ready when a connection has lived long enough, or, with HTTP/2, when no request came for as long as a head may take
/// (hyper looks after that for HTTP/1.1).
async fn over(mut traffic: watch::Receiver<Traffic>, limits: Limits, http2: bool) {
    let mut idle = traffic.clone();
    let life = async {
        tokio::time::sleep(limits.life).await;
        // The sender lives in the connection, which ends first.
        _ = traffic.wait_for(|traffic| traffic.endless == 0).await;
    };
    let quiet = async {
        if !http2 {
            std::future::pending::<()>().await;
        }
        while idle.wait_for(|traffic| traffic.running == 0).await.is_ok() {
            if tokio::time::timeout(limits.head, idle.changed()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = life => {}
        () = quiet => {}
    }
}

/// What happens on a connection.
#[derive(Debug, Default)]
struct Traffic {
    /// Requests whose answer is not out yet.
    running: usize,
    /// Event streams among them.
    endless: usize,
}

/// A request, until its answer is out.
struct Running {
    traffic: Arc<watch::Sender<Traffic>>,
    endless: bool,
}

impl Running {
    fn begin(traffic: &Arc<watch::Sender<Traffic>>) -> Running {
        traffic.send_modify(|traffic| traffic.running += 1);
        Running { traffic: traffic.clone(), endless: false }
    }

    fn follow(mut self, response: Response<Body>) -> Response<Tracked> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            self.endless = true;
            self.traffic.send_modify(|traffic| traffic.endless += 1);
        }
        response.map(|body| Tracked { body, _running: self })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.traffic.send_modify(|traffic| {
            traffic.running -= 1;
            traffic.endless -= usize::from(self.endless);
        });
    }
}

/// A body that counts as running until it is out.
struct Tracked {
    body: Body,
    _running: Running,
}

impl HttpBody for Tracked {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Extension;
    use axum::extract::ws::{WebSocket, WebSocketUpgrade};
    use axum::routing::get;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn start(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let app = Router::new()
            .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
            .route("/sign-in", get(async |Extension(guest): Extension<Guest>| guest.known(true)))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(300)).await))
            .route("/events", get(events))
            .route("/flood", get(async || "x".repeat(64 << 20)))
            .route("/socket", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, app, limits, async { _ = stopped.await }));
        (address, stop, task)
    }

    /// A line each 50 ms, for ever.
    async fn events() -> impl axum::response::IntoResponse {
        let lines = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, Infallible>("data: x\n\n"), ()))
        });
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(lines))
    }

    async fn echo(mut socket: WebSocket) {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_client_is_answered_and_its_address_known() {
        let (address, _stop, _task) = start(Limits::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let answer = read(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn clients_that_send_no_head_or_half_of_one_are_closed() {
        let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
        let (address, _stop, _task) = start(limits).await;
        for said in ["", "GET / HTTP/1.1\r\nHost:"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            let answer = read(&mut client).await;
            assert!(!answer.contains("200"), "{said:?}: {answer}");
        }
    }

    async fn answered(address: SocketAddr) -> bool {
        let mut next = TcpStream::connect(address).await.unwrap();
        let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        read(&mut next).await.contains("200 OK")
    }

    /// A client whose request was answered and whose connection stays.
    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = [0; 1_024];
        let got = client.read(&mut bytes).await.unwrap();
        assert!(bytes[..got].starts_with(b"HTTP/1.1 200"));
        client
    }

    #[tokio::test]
    async fn a_crowd_that_says_nothing_keeps_nobody_out_and_known_callers_stay() {
        let (address, _stop, _task) = start(Limits { connections: 8, strangers: 4, ..Limits::default() }).await;
        let mut known = asked(address, "/sign-in").await;
        let mut crowd = Vec::new();
        for _ in 0..12 {
            crowd.push(TcpStream::connect(address).await.unwrap());
            assert!(answered(address).await, "after {}", crowd.len());
        }
        assert_eq!(read(&mut crowd[0]).await, "", "the oldest one went");
        known.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read(&mut known).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn a_request_that_runs_at_the_end_of_a_connections_life_is_answered() {
        let (life, close) = (Duration::from_millis(100), Duration::from_millis(20));
        let (address, _stop, _task) = start(Limits { life, close, ..Limits::default() }).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(read(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_stop_finishes_the_request_that_runs_and_cuts_off_the_one_that_hangs() {
        let (address, stop, task) = start(Limits { close: Duration::from_secs(2), ..Limits::default() }).await;
        let mut running = TcpStream::connect(address).await.unwrap();
        running.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut hanging = TcpStream::connect(address).await.unwrap();
        hanging.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /").await.unwrap();
        hanging.readable().await.unwrap();
        stop.send(()).unwrap();
        assert!(read(&mut running).await.starts_with("HTTP/1.1 200"));
        read(&mut hanging).await;
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is free");
    }

    #[tokio::test]
    async fn an_event_stream_outlives_a_connection_and_ends_with_the_server() {
        let limits =
            Limits { life: Duration::from_millis(200), close: Duration::from_millis(200), ..Limits::default() };
        let (address, stop, task) = start(limits).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (begun, mut bytes) = (Instant::now(), [0; 1_024]);
        while begun.elapsed() < limits.life * 4 {
            assert!(client.read(&mut bytes).await.unwrap() > 0, "cut off after {:?}", begun.elapsed());
        }
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
        read(&mut client).await;
    }

    #[tokio::test]
    async fn a_socket_outlives_a_connection_gives_its_place_to_a_newer_stranger_and_is_cut_off_at_the_end() {
        let limits = Limits {
            strangers: 1,
            life: Duration::from_millis(100),
            close: Duration::from_millis(200),
            ..Limits::default()
        };
        let (address, stop, task) = start(limits).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let hello = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(hello.as_bytes()).await.unwrap();
        let mut bytes = [0; 1_024];
        let got = client.read(&mut bytes).await.unwrap();
        assert!(bytes[..got].starts_with(b"HTTP/1.1 101"));
        tokio::time::sleep(limits.life * 3).await;
        // `hi`, masked by zeros, and back.
        client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
        client.read_exact(&mut bytes[..4]).await.unwrap();
        assert_eq!(&bytes[..4], b"\x81\x02hi");
        let mut newer = asked(address, "/").await;
        read(&mut client).await;
        newer.write_all(hello.as_bytes()).await.unwrap();
        assert!(newer.read(&mut bytes).await.unwrap() > 0);
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
        read(&mut newer).await;
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off() {
        let (address, _stop, _task) = start(Limits { stall: Duration::from_millis(200), ..Limits::default() }).await;
        let mut greedy = TcpStream::connect(address).await.unwrap();
        greedy.write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::timeout(PATIENCE, async {
            // What lies in the buffers comes; the rest of 64 MiB does not.
            let (mut got, mut bytes) = (0, vec![0; 1 << 16]);
            tokio::time::sleep(Duration::from_secs(1)).await;
            while let Ok(n @ 1..) = greedy.read(&mut bytes).await {
                got += n;
            }
            assert!(got < 64 << 20, "{got} bytes came");
        })
        .await
        .expect("it is cut off");
    }

    #[tokio::test]
    async fn an_http2_client_that_asks_nothing_is_closed() {
        let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
        let (address, _stop, _task) = start(limits).await;
        // Half a preface; the whole one and empty SETTINGS.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for said in [PREFACE[..10].to_vec(), [&PREFACE[..], &settings].concat()] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&said).await.unwrap();
            read(&mut client).await;
        }
    }
}
