//! Why a connection failed, in plain words with what to do. Classified once, from FFmpeg's error code, how far it had
//! got and what it or the server said.

use crate::output::log::{Captured, Stage};
use ffmpeg_next::ffi;
use std::time::Duration;

/// A failure of an RTMP destination. Prints plain words; never holds an address beyond host and port, nor a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtmpError {
    #[error("the host name {host} is not known; check the spelling and this machine's DNS")]
    Resolve { host: String },
    #[error("{address} refuses connections; check the port and that the server is running")]
    Refused { address: String },
    #[error("there is no route to {address}; check this machine's network")]
    Unreachable { address: String },
    #[error("{address} does not answer; check the port and whether a firewall stands between")]
    ConnectTimeout { address: String },
    #[error("the certificate of {host} is not trusted; check the host, or add the authority's certificate as CA file")]
    TlsUntrusted { host: String },
    #[error("the certificate is not for {host}; check the host name in the address")]
    TlsWrongHost { host: String },
    #[error("no TLS connection to {address}; check that this port speaks RTMPS (443), or use rtmp://")]
    TlsFailed { address: String },
    #[error("{address} accepted the connection but does not answer the handshake; check that this port speaks RTMP")]
    HandshakeTimeout { address: String },
    #[error("{address} broke off the handshake; check that this port speaks RTMP, or use rtmps://")]
    NotRtmp { address: String },
    #[error("{address} does not answer the request to publish; the server may be overloaded")]
    AnswerTimeout { address: String },
    #[error("{address} refuses the application in the address{}; check the path after the host", said(.words))]
    AppRefused { address: String, words: Option<String> },
    #[error("{address} refuses the stream key{}; check the key, and whether it was reset", said(.words))]
    KeyRefused { address: String, words: Option<String> },
    #[error(
        "another connection to {address} already publishes with this key; stop the other program, or wait until the server lets go of it"
    )]
    Busy { address: String },
    #[error("{address} broke off the connection")]
    Closed { address: String },
    #[error("{address} ended the stream{}; check the platform's limits on bit rate and format", said(.words))]
    Rejected { address: String, words: Option<String> },
    #[error("{address} takes nothing in any more; the connection has stalled")]
    Stalled { address: String },
    #[error("the CA file cannot be read: {detail}; check its path and that it is PEM")]
    CaFile { detail: String },
    #[error("no certificates of trusted authorities on this machine; install ca-certificates or name a CA file")]
    NoCa,
    /// An [`AddressGuard`](super::AddressGuard) refused an address.
    #[error("{words}; check where the name leads")]
    Forbidden { words: String },
    #[error("{address}: {detail}")]
    Other { address: String, detail: String },
}

fn said(words: &Option<String>) -> String {
    words.as_ref().map(|w| format!(" (it says: {w})")).unwrap_or_default()
}

/// What FFmpeg was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Opening,
    Writing,
}

/// All that is known about a failed call.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    pub doing: Doing,
    /// AVERROR.
    pub code: i32,
    /// Our deadline ran out.
    pub timed_out: bool,
    pub tls: bool,
    pub host: &'a str,
    pub address: String,
    pub captured: Captured,
}

/// An error with what the retry rule needs to know.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub error: RtmpError,
    /// The server closed without words after `publish` was sent.
    pub after_publish: bool,
    pub live_for: Duration,
    /// The connection was live for less than the refusal window.
    pub early: bool,
}

impl From<RtmpError> for Failure {
    fn from(error: RtmpError) -> Self {
        Self { error, after_publish: false, live_for: Duration::ZERO, early: false }
    }
}

impl Failure {
    /// Whether this looks like a refusal of the key or the application. Platforms mostly close without words.
    pub fn is_refusal(&self) -> bool {
        match &self.error {
            RtmpError::KeyRefused { .. } | RtmpError::AppRefused { .. } => true,
            RtmpError::Closed { .. } => self.after_publish || self.early,
            RtmpError::Rejected { .. } => self.early,
            _ => false,
        }
    }

    /// Somebody must mend it first: asking again would only try the same thing on another's network.
    pub fn is_final(&self) -> bool {
        matches!(self.error, RtmpError::Forbidden { .. })
    }

    /// Nobody listened there: another address of the same host may do better.
    pub fn is_of_address(&self) -> bool {
        use RtmpError::{ConnectTimeout, Refused, Unreachable};
        matches!(self.error, Refused { .. } | Unreachable { .. } | ConnectTimeout { .. })
    }

    /// The server gave a reason.
    pub fn has_words(&self) -> bool {
        !matches!(self.error, RtmpError::Closed { .. })
    }

    /// The words for a destination that gave up.
    pub fn refused_words(&self) -> String {
        let error = match &self.error {
            RtmpError::Closed { address } => RtmpError::KeyRefused { address: address.clone(), words: None },
            RtmpError::Rejected { address, words } => {
                RtmpError::KeyRefused { address: address.clone(), words: words.clone() }
            }
            other => other.clone(),
        };
        format!("{error}; then start the stream again")
    }
}

pub(super) fn classify(evidence: Evidence<'_>) -> Failure {
    let Evidence { doing, code, timed_out, tls, host, address, captured } = evidence;
    let host = host.to_owned();
    let words = server_words(&captured.lines);
    let line = |part: &str| captured.lines.iter().any(|l| l.contains(part));
    let errno = |e: i32| code == -e;
    let stage = captured.stage;
    let busy = words.as_ref().is_some_and(|w| w.to_ascii_lowercase().contains("already"));
    if doing == Doing::Writing {
        return match () {
            () if busy => RtmpError::Busy { address },
            () if words.is_some() => RtmpError::Rejected { address, words },
            () if timed_out || errno(libc::ETIMEDOUT) => RtmpError::Stalled { address },
            () if is_close(code) => RtmpError::Closed { address },
            () => RtmpError::Other { address, detail: ffmpeg_next::Error::from(code).to_string() },
        }
        .into();
    }
    let error = match () {
        () if busy => RtmpError::Busy { address },
        () if words.is_some() && stage >= Stage::Publish => RtmpError::KeyRefused { address, words },
        () if words.is_some() => RtmpError::AppRefused { address, words },
        () if line("Failed to resolve hostname") => RtmpError::Resolve { host },
        () if line("certificate's owner does not match") => RtmpError::TlsWrongHost { host },
        () if line("certificate failed verification") || line("Unable to verify peer certificate") => {
            RtmpError::TlsUntrusted { host }
        }
        () if errno(libc::ECONNREFUSED) => RtmpError::Refused { address },
        () if errno(libc::EHOSTUNREACH) || errno(libc::ENETUNREACH) || errno(libc::ENETDOWN) => {
            RtmpError::Unreachable { address }
        }
        () if timed_out || errno(libc::ETIMEDOUT) => match stage {
            Stage::Resolving | Stage::Connecting => RtmpError::ConnectTimeout { address },
            Stage::Connected | Stage::Handshake => RtmpError::HandshakeTimeout { address },
            Stage::Command | Stage::Publish => RtmpError::AnswerTimeout { address },
        },
        () if stage == Stage::Connected && tls => RtmpError::TlsFailed { address },
        () if stage == Stage::Handshake => RtmpError::NotRtmp { address },
        () if is_close(code) => {
            return Failure { after_publish: stage == Stage::Publish, ..RtmpError::Closed { address }.into() };
        }
        () => RtmpError::Other { address, detail: ffmpeg_next::Error::from(code).to_string() },
    };
    error.into()
}

/// FFmpeg's RTMP turns a closed connection into EIO when it reads, and passes the socket's error when it writes.
fn is_close(code: i32) -> bool {
    code == ffi::AVERROR_EOF || [libc::EIO, libc::ECONNRESET, libc::EPIPE, libc::ENOTCONN].iter().any(|e| code == -e)
}

/// What the server said, in `onStatus` or `_error`: one line, no control characters, at most 120 characters.
fn server_words(lines: &[String]) -> Option<String> {
    let said = lines.iter().rev().find_map(|l| l.split_once("Server error: "))?.1;
    let clean: String = said.chars().filter(|c| !c.is_control()).take(120).collect();
    Some(clean.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(doing: Doing, code: i32, stage: Stage, lines: &[&str]) -> Evidence<'static> {
        Evidence {
            doing,
            code,
            timed_out: false,
            tls: true,
            host: "h.example",
            address: "h.example:443".into(),
            captured: Captured { stage, lines: lines.iter().map(|l| (*l).to_owned()).collect() },
        }
    }

    fn opening(code: i32, stage: Stage, lines: &[&str]) -> Failure {
        classify(evidence(Doing::Opening, code, stage, lines))
    }

    #[test]
    fn failures_to_open_are_told_apart() {
        let a = || "h.example:443".to_owned();
        let h = || "h.example".to_owned();
        let io = -libc::EIO;
        let cases = [
            (
                opening(io, Stage::Resolving, &["Failed to resolve hostname h.example: x"]),
                RtmpError::Resolve { host: h() },
            ),
            (opening(-libc::ECONNREFUSED, Stage::Connecting, &[]), RtmpError::Refused { address: a() }),
            (opening(-libc::EHOSTUNREACH, Stage::Connecting, &[]), RtmpError::Unreachable { address: a() }),
            (
                opening(io, Stage::Connected, &["Peer certificate failed verification"]),
                RtmpError::TlsUntrusted { host: h() },
            ),
            (
                opening(io, Stage::Connected, &["The certificate's owner does not match hostname h.example"]),
                RtmpError::TlsWrongHost { host: h() },
            ),
            (opening(io, Stage::Connected, &[]), RtmpError::TlsFailed { address: a() }),
            (opening(io, Stage::Handshake, &[]), RtmpError::NotRtmp { address: a() }),
            (
                opening(-1, Stage::Publish, &["[rtmp @ 0x1] Server error: Already publishing"]),
                RtmpError::Busy { address: a() },
            ),
            (
                opening(-1, Stage::Publish, &["[rtmp @ 0x1] Server error: Invalid\u{7} key"]),
                RtmpError::KeyRefused { address: a(), words: Some("Invalid key".into()) },
            ),
            (
                opening(-1, Stage::Command, &["Server error: no app"]),
                RtmpError::AppRefused { address: a(), words: Some("no app".into()) },
            ),
        ];
        for (failure, expected) in cases {
            assert_eq!(failure.error, expected);
        }
    }

    #[test]
    fn a_deadline_is_named_by_how_far_the_connection_got() {
        let late = |stage| {
            classify(Evidence { timed_out: true, ..evidence(Doing::Opening, ffi::AVERROR_EXIT, stage, &[]) }).error
        };
        assert!(matches!(late(Stage::Connecting), RtmpError::ConnectTimeout { .. }));
        assert!(matches!(late(Stage::Handshake), RtmpError::HandshakeTimeout { .. }));
        assert!(matches!(late(Stage::Publish), RtmpError::AnswerTimeout { .. }));
    }

    #[test]
    fn a_wordless_close_is_a_refusal_only_after_publish_or_soon_after_it() {
        assert!(!opening(-libc::EIO, Stage::Command, &[]).is_refusal());
        assert!(opening(-libc::EIO, Stage::Publish, &[]).is_refusal());
        let closed = classify(evidence(Doing::Writing, -libc::ECONNRESET, Stage::Publish, &[]));
        assert_eq!(closed.error, RtmpError::Closed { address: "h.example:443".into() });
        assert!(!closed.is_refusal());
        assert!(Failure { early: true, ..closed }.is_refusal());
    }

    #[test]
    fn a_write_that_ran_out_of_time_is_a_stall() {
        let stalled =
            classify(Evidence { timed_out: true, ..evidence(Doing::Writing, ffi::AVERROR_EXIT, Stage::Publish, &[]) });
        assert!(matches!(stalled.error, RtmpError::Stalled { .. }) && !stalled.is_refusal());
    }
}
