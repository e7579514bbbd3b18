//! HTTP/1.1 and HTTP/2 (without TLS, "prior knowledge") for the outside: limits against slow and many clients, and an end that
//! finishes what has begun. axum's own `serve` waits for a request's head for ever.
//!
//! Event streams and WebSockets may live longer than [`Limits::life`]; they keep their place among the connections, and a
//! peer that stops reading is cut off after [`Limits::stall`].

mod io;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use io::GuardedStream;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What a server takes from its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, sockets included; more are closed at once.
    pub connections: usize,
    /// A request's head takes at most this long, and so does the wait for the next one.
    pub head: Duration,
    /// A connection lives at most this long, unless an event stream runs on it or it became a WebSocket: a client that sends
    /// or reads slowly holds nothing up.
    pub life: Duration,
    /// A peer that reads nothing for this long is cut off.
    pub stall: Duration,
    /// From the call to stop until what has begun is cut off.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            head: Duration::from_secs(10),
            life: Duration::from_secs(120),
            stall: Duration::from_secs(30),
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
/// `ConnectInfo<SocketAddr>`. Sockets must end by themselves; those that have not after [`Limits::close`] are cut off.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let (close, cut) = (CancellationToken::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(limits.connections));
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
            Ok((stream, peer)) => match places.clone().try_acquire_owned() {
                Ok(place) => {
                    let stream = GuardedStream::new(stream, limits.stall, cut.clone(), place);
                    connections.spawn(connection(stream, peer, app.clone(), limits, close.clone()));
                }
                Err(_) => tracing::debug!("a connection was closed: {} are open", limits.connections),
            },
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    close.cancel();
    let all = async {
        while connections.join_next().await.is_some() {}
        // Sockets have left their connection's task and still have its place.
        let most = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        let _ = places.acquire_many(most).await;
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

async fn connection(stream: GuardedStream, peer: SocketAddr, app: Router, limits: Limits, close: CancellationToken) {
    // Answers are small and there is one at a time.
    let _ = stream.tcp().set_nodelay(true);
    let Ok(Ok(http2)) = tokio::time::timeout(limits.head, speaks_http2(stream.tcp())).await else { return };
    let (traffic, seen) = watch::channel(Traffic::default());
    let traffic = Arc::new(traffic);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (app, running) = (app.clone(), Running::begin(&traffic));
        async move {
            let Ok(response) = app.oneshot(request.map(Body::new) as Request).await;
            Ok::<_, Infallible>(running.follow(response))
        }
    });
    let end = over(seen, limits, http2);
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        drive(builder.serve_connection(io, service), |c| c.graceful_shutdown(), end, limits, close).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
        let serve = builder.serve_connection(io, service).with_upgrades();
        drive(serve, |c| c.graceful_shutdown(), end, limits, close).await;
    }
}

/// Runs a connection until it ends, `end` is ready or all are to close.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut: impl Fn(Pin<&mut C>),
    end: impl Future<Output = ()>,
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
            match tokio::time::timeout(limits.close, connection).await {
                Ok(served) => served,
                Err(_) => return,
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

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed_and_a_freed_place_is_taken() {
        let (address, _stop, _task) = start(Limits { connections: 1, ..Limits::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        first.readable().await.unwrap();
        assert_eq!(read(&mut TcpStream::connect(address).await.unwrap()).await, "");
        drop(first);
        let begun = Instant::now();
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            if read(&mut next).await.contains("200 OK") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "its place was never free");
        }
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
    async fn a_socket_outlives_a_connection_keeps_its_place_and_is_cut_off_at_the_end() {
        let limits = Limits {
            connections: 1,
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
        assert_eq!(read(&mut TcpStream::connect(address).await.unwrap()).await, "", "its place is taken");
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("it ends").unwrap();
        read(&mut client).await;
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off_and_its_place_free() {
        let limits = Limits { connections: 1, stall: Duration::from_millis(200), ..Limits::default() };
        let (address, _stop, _task) = start(limits).await;
        let mut greedy = TcpStream::connect(address).await.unwrap();
        greedy.write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let begun = Instant::now();
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            if read(&mut next).await.contains("200 OK") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "its place was never free");
        }
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
