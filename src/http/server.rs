//! HTTP/1.1 for the outside: limits against slow and many clients, and an end that finishes what has begun. axum's own
//! `serve` waits for a request's head for ever.

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a server takes from its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more are closed at once.
    pub connections: usize,
    /// A request's head takes at most this long, and so does the wait for the next one.
    pub head: Duration,
    /// A connection lives at most this long: a client that reads nothing holds nothing up.
    pub life: Duration,
    /// From the call to stop until what has begun is cut off.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            head: Duration::from_secs(10),
            life: Duration::from_secs(120),
            close: Duration::from_secs(3),
        }
    }
}

/// Longest head of a request, bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// After a failed accept, which is mostly that this process has too many files open.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stop` is ready, then finishes what has begun. Handlers find the client's address in
/// `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let (close, closed) = watch::channel(false);
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
            Ok((stream, peer)) if connections.len() < limits.connections => {
                let app = app.clone().layer(Extension(ConnectInfo(peer)));
                connections.spawn(connection(stream, app, limits, closed.clone()));
            }
            Ok(_) => tracing::debug!("a connection was closed: {} are open", limits.connections),
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    // Nobody may be connected.
    let _ = close.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.close, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, app: Router, limits: Limits, mut closed: watch::Receiver<bool>) {
    // Answers are small and there is one at a time.
    let _ = stream.set_nodelay(true);
    let serve = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serve = pin!(serve);
    let served = tokio::select! {
        served = serve.as_mut() => served,
        _ = async { closed.wait_for(|closed| *closed).await.is_ok() } => {
            serve.as_mut().graceful_shutdown();
            // Cut off from outside, should it take too long.
            serve.await
        }
        () = tokio::time::sleep(limits.life) => {
            serve.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.close, serve).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(300)).await));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, app, limits, async { _ = stopped.await }));
        (address, stop, task)
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
}
