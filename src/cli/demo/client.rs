//! The demo's game server: somebody who knows nothing of the service but its address and a key. HTTP/1.1 by hand, as the
//! README's ten lines are in any language.

use crate::game::Event;
use crate::stream::Replay;
use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An answer takes at most this long.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 1 << 20;
/// Events posted at once.
const BATCH: usize = 32;

pub struct Client {
    pub address: SocketAddr,
    pub key: SecretString,
}

impl Client {
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, &self.key, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("PUT", path, &self.key, body).await
    }

    /// A call with another bearer, on a connection of its own. Errors hold neither bearer nor body.
    async fn call(&self, method: &str, path: &str, bearer: &SecretString, body: &Value) -> anyhow::Result<Value> {
        let call = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let (body, bearer) = (body.to_string(), bearer.expose_secret());
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                self.address,
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let what = || format!("{method} {path}");
        let answer = tokio::time::timeout(PATIENCE, call).await.with_context(what)?.with_context(what)?;
        let (status, body) = parse(&answer).with_context(what)?;
        if status >= 300 {
            let words = body["detail"].as_str().unwrap_or("no reason given");
            bail!("{method} {path}: {status}: {words}");
        }
        Ok(body)
    }

    /// Opens a session for a match of its own and posts its events as they happen. Returns the match's id.
    pub async fn play(
        &self,
        reference: &str,
        title: &str,
        sides: &Value,
        mut replay: Replay,
    ) -> anyhow::Result<String> {
        let made = json!({ "scope": "feed", "match": { "reference": reference, "title": title, "sides": sides } });
        let made = self.post("/v1/sessions", &made).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("the answer has no such text");
        let (session, id) = (text(&made["session"]["id"])?, text(&made["match"]["id"])?);
        let mut token = SecretString::from(text(&made["token"])?);
        let (events, fresh) = (format!("/v1/sessions/{session}/events"), format!("/v1/sessions/{session}/token"));
        let began = Instant::now();
        let mut signed = began;
        let mut next = replay.next_event();
        while let Some((due, event)) = next {
            let mut batch = vec![ours(event, reference)?];
            next = replay.next_event();
            // What happens at one instant is one change.
            while let Some((_, event)) = next.take_if(|(at, _)| *at == due && batch.len() < BATCH) {
                batch.push(ours(event, reference)?);
                next = replay.next_event();
            }
            tokio::time::sleep_until(began + Duration::from_millis(u64::try_from(due).unwrap_or(0))).await;
            // Tokens are good for a quarter of an hour.
            if signed.elapsed() > Duration::from_secs(600) {
                token = SecretString::from(text(&self.post(&fresh, &json!({})).await?["token"])?);
                signed = Instant::now();
            }
            self.call("POST", &events, &token, &json!(batch)).await?;
        }
        Ok(id)
    }
}

/// The event as one of this match.
fn ours(mut event: Event, reference: &str) -> anyhow::Result<Value> {
    event.match_id = reference.to_owned();
    Ok(serde_json::to_value(&event)?)
}

/// Status and body of a whole answer.
fn parse(answer: &[u8]) -> anyhow::Result<(u16, Value)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no answer")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let status: u16 = head.split(' ').nth(1).context("no status")?.parse()?;
    let chunked = head.lines().any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding: chunked"));
    let body = &answer[end + 4..];
    let body = if chunked { unchunked(body).context("the answer was cut off")? } else { body.to_vec() };
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    Ok((status, body))
}

/// RFC 9112, section 7.1.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        let data = rest.get(end + 2..)?;
        body.extend_from_slice(data.get(..length)?);
        rest = data.get(length.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_in_chunks_and_refused_when_cut_off() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(parse(whole).unwrap(), (201, json!({ "a": 1 })));
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(parse(chunks).unwrap(), (200, json!({ "a": 1 })));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, Value::Null));
        for cut in [&chunks[..chunks.len() - 9], b"HTTP/1.1 200 OK\r\n", b"", b"HTTP/1.1 x y\r\n\r\n"] {
            assert!(parse(cut).is_err());
        }
    }
}
