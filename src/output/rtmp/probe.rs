//! Looks at a destination step by step, for `agentcast check`: name, port, certificate, RTMP handshake. Publishes
//! nothing and sends no key.

use super::guard::resolve;
use super::reason::RtmpError;
use super::session::{Deadline, io_stream};
use super::trust::Trust;
use super::{RtmpOptions, log};
use crate::output::key::RtmpTarget;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckLevel {
    Ok,
    Warn,
    Fail,
}

/// One line of a check: what was looked at, how it is, and words (with what to do when it is not well).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckLine {
    /// `DNS`, `TCP`, `TLS`, `RTMP` or `key`.
    pub step: &'static str,
    pub level: CheckLevel,
    pub words: String,
}

const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// C1 and S1 (RTMP specification 1.0, section 5.2.3).
const HANDSHAKE_BYTES: usize = 1_536;

/// Checks in order and stops at the first failure. Takes up to 5 s a step. An address that [`RtmpOptions::guard`] refuses is
/// not connected to.
#[must_use]
pub fn probe(target: &RtmpTarget, options: &RtmpOptions) -> Vec<CheckLine> {
    log::install();
    let mut lines = Vec::new();
    let mut say = |step, level, words: String| lines.push(CheckLine { step, level, words });
    let result = steps(target, options, &mut say);
    if let Err((step, error)) = result {
        say(step, CheckLevel::Fail, error.to_string());
    }
    if target.key_in_url() {
        let words = "the stream key stands in the address, where others on this machine can read it; give it apart";
        say("key", CheckLevel::Warn, words.to_owned());
    } else if !target.has_key() {
        say("key", CheckLevel::Warn, "no stream key given; most platforms need one".to_owned());
    }
    lines
}

type Said<'a> = &'a mut dyn FnMut(&'static str, CheckLevel, String);

fn steps(target: &RtmpTarget, options: &RtmpOptions, say: Said<'_>) -> Result<(), (&'static str, RtmpError)> {
    let (host, port) = (target.host().to_owned(), target.port());
    let address = target.address();
    let addresses = resolve(&host, port, options.guard.as_ref(), STEP_DEADLINE, || false).map_err(|e| ("DNS", e))?;
    say("DNS", CheckLevel::Ok, format!("{host} is {}", addresses[0].ip()));

    let stream = connect(&addresses).map_err(|e| ("TCP", tcp_error(&e, &address)))?;
    say("TCP", CheckLevel::Ok, format!("{address} accepts connections"));

    let handshake_error = |e: std::io::Error| {
        let address = address.clone();
        let late = matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock);
        ("RTMP", if late { RtmpError::HandshakeTimeout { address } } else { RtmpError::NotRtmp { address } })
    };
    if target.tls() {
        drop(stream);
        let trust = Trust::load(options.ca_file.as_deref()).map_err(|e| ("TLS", e))?;
        let deadline = Arc::new(Deadline::new());
        let stream = io_stream(target, &trust, &deadline, STEP_DEADLINE).map_err(|f| ("TLS", f.error))?;
        say("TLS", CheckLevel::Ok, format!("the certificate of {host} is trusted"));
        handshake(stream).map_err(handshake_error)?;
    } else {
        stream.set_read_timeout(Some(STEP_DEADLINE)).map_err(handshake_error)?;
        stream.set_write_timeout(Some(STEP_DEADLINE)).map_err(handshake_error)?;
        handshake(stream).map_err(handshake_error)?;
        if !addresses[0].ip().is_loopback() {
            let words = "rtmp:// sends the stream key unencrypted; use rtmps:// where the platform offers it";
            say("TLS", CheckLevel::Warn, words.to_owned());
        }
    }
    say("RTMP", CheckLevel::Ok, format!("{address} answers the handshake"));
    Ok(())
}

fn connect(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    // Two are enough to see IPv6 and IPv4.
    for address in addresses.iter().take(2) {
        match TcpStream::connect_timeout(address, STEP_DEADLINE) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn tcp_error(error: &std::io::Error, address: &str) -> RtmpError {
    let address = address.to_owned();
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => RtmpError::Refused { address },
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => RtmpError::ConnectTimeout { address },
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            RtmpError::Unreachable { address }
        }
        _ => RtmpError::Other { address, detail: error.to_string() },
    }
}

/// C0 and C1 out, S0 and S1 in.
fn handshake(mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut hello = vec![0u8; 1 + HANDSHAKE_BYTES];
    hello[0] = 3;
    for byte in &mut hello[9..] {
        *byte = fastrand::u8(..);
    }
    stream.write_all(&hello)?;
    stream.flush()?;
    let mut answer = vec![0u8; 1 + HANDSHAKE_BYTES];
    stream.read_exact(&mut answer)?;
    if answer[0] == 3 { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
