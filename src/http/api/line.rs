//! A WebSocket of the service: who is at the other end, pings, and every reason for which it ends.

use super::live::Over;
use super::problem::Problem;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::FutureExt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Close codes beside RFC 6455's.
pub(super) mod code {
    /// The token or key is refused, revoked or expired, or none came.
    pub const UNAUTHORIZED: u16 = 4401;
    /// Nothing was heard for a minute.
    pub const IDLE: u16 = 4408;
    /// The match is closed.
    pub const MATCH_OVER: u16 = 4410;
    /// The service ends or restarts: come back soon.
    pub const RESTART: u16 = 1012;
    /// Not now; later it may work.
    pub const AGAIN: u16 = 1013;
    /// A message is too large.
    pub const SIZE: u16 = 1009;
}

/// How often the other end is pinged.
const PING: Duration = Duration::from_secs(20);
/// Silence, pongs included, after which the other end is taken for gone.
const IDLE: Duration = Duration::from_secs(60);
/// A message that the other end does not take in this time ends the connection.
const SEND: Duration = Duration::from_secs(10);
/// The close handshake.
const BYE: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub code: u16,
    pub reason: &'static str,
}

impl Close {
    pub const MATCH_OVER: Close = Close { code: code::MATCH_OVER, reason: "the match is closed" };
}

impl From<Over> for Close {
    fn from(over: Over) -> Close {
        let reason = match over {
            Over::Revoked => "revoked",
            Over::Expired => "expired",
        };
        Close { code: code::UNAUTHORIZED, reason }
    }
}

/// What came of waiting.
pub(super) enum Heard {
    Text(Utf8Bytes),
    /// Time for [`Line::ping`].
    Quiet,
    /// Say why with [`Line::close`].
    End(Close),
    /// The other end has gone.
    Gone,
}

/// One WebSocket.
pub(super) struct Line {
    socket: WebSocket,
    closing: CancellationToken,
    /// The rights that hold it open: the session's, and an API key's if one opened it.
    rights: Vec<watch::Receiver<Option<Over>>>,
    /// When its right ends by itself.
    expires: Option<Instant>,
    pings: Interval,
    heard: Instant,
    /// Heard by [`Line::ready`], for [`Line::next`].
    kept: Option<Heard>,
}

impl Line {
    pub fn new(socket: WebSocket, closing: CancellationToken) -> Line {
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Line { socket, closing, rights: Vec::new(), expires: None, pings, heard: Instant::now(), kept: None }
    }

    /// Ends with these from now on.
    pub fn hold(&mut self, (rights, expires): (Vec<watch::Receiver<Option<Over>>>, Instant)) {
        (self.rights, self.expires) = (rights, Some(expires));
    }

    /// Waits for something to happen. May be dropped while it waits.
    pub async fn next(&mut self) -> Heard {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let message = tokio::select! {
                biased;
                () = self.closing.cancelled() => {
                    return Heard::End(Close { code: code::RESTART, reason: "the service ends; come back soon" });
                }
                over = over(&mut self.rights) => return Heard::End(over.into()),
                () = at(self.expires) => return Heard::End(Over::Expired.into()),
                _ = self.pings.tick() => {
                    if self.heard.elapsed() > IDLE {
                        return Heard::End(Close { code: code::IDLE, reason: "nothing was heard for a minute" });
                    }
                    return Heard::Quiet;
                }
                message = self.socket.recv() => message,
            };
            if let Some(heard) = self.take(message) {
                return heard;
            }
        }
    }

    /// A text that is here already.
    pub fn ready(&mut self) -> Option<Utf8Bytes> {
        while self.kept.is_none() {
            let message = self.socket.recv().now_or_never()?;
            match self.take(message) {
                Some(Heard::Text(text)) => return Some(text),
                other => self.kept = other,
            }
        }
        None
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Option<Heard> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => Some(Heard::Text(text)),
            Some(Ok(Message::Binary(_))) => {
                Some(Heard::End(Close { code: 1003, reason: "send text: JSON, one event or an array of events" }))
            }
            // The library answers pings by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(Heard::Gone),
            Some(Err(error)) => match error.to_string().contains("too long") {
                true => Some(Heard::End(Close { code: code::SIZE, reason: "the message is too long" })),
                false => Some(Heard::Gone),
            },
        }
    }

    /// False: it has ended.
    pub async fn send(&mut self, text: impl Into<Utf8Bytes>) -> bool {
        self.put(Message::Text(text.into())).await
    }

    pub async fn ping(&mut self) -> bool {
        self.put(Message::Ping(Default::default())).await
    }

    /// A problem with what the other end sent; it may go on. `message`: which one since the connection began, from 1.
    pub async fn trouble(&mut self, problem: &Problem, message: u64) -> bool {
        let text = serde_json::json!({
            "type": "error", "message": message, "problem": problem, "retryAfter": problem.retry_after,
        });
        self.send(text.to_string()).await
    }

    async fn put(&mut self, message: Message) -> bool {
        // Whoever reads nothing must not hold up its own end.
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {
                self.kept = Some(Heard::End(Close { code: code::RESTART, reason: "the service ends; come back soon" }));
                true
            }
            over = over(&mut self.rights) => {
                self.kept = Some(Heard::End(over.into()));
                true
            }
            sent = tokio::time::timeout(SEND, self.socket.send(message)) => matches!(sent, Ok(Ok(()))),
        }
    }

    /// Says why, and ends it.
    pub async fn close(mut self, close: Close) {
        let frame = CloseFrame { code: close.code, reason: Utf8Bytes::from_static(close.reason) };
        let bye = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                // The other end's answer, after whatever it had sent before.
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        // The other end may be gone, or read nothing.
        let _ = tokio::time::timeout(BYE, bye).await;
    }
}

/// Ready when one of the rights is over.
pub(super) async fn over(rights: &mut [watch::Receiver<Option<Over>>]) -> Over {
    if rights.is_empty() {
        return std::future::pending().await;
    }
    let waits = rights.iter_mut().map(|right| {
        Box::pin(async {
            match right.wait_for(Option::is_some).await {
                Ok(over) => over.unwrap_or(Over::Revoked),
                // The one who looks is gone: nobody would tell us.
                Err(_) => Over::Revoked,
            }
        })
    });
    futures_util::future::select_all(waits).await.0
}

/// Ready at that time.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
