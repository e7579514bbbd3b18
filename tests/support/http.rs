//! HTTP and WebSocket by hand, as little as the tests need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sends a GET with more headers and returns the connection with what the answer's head says.
pub fn request(address: &str, path: &str, headers: &[&str]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout above 0");
    let host =
        if headers.iter().any(|h| h.starts_with("Host:")) { String::new() } else { format!("Host: {address}\r\n") };
    let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\n{host}{more}\r\n").expect("the server reads");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the server answers");
        head.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

/// Head and body of a page.
pub fn get(address: &str, path: &str, headers: &[&str]) -> String {
    let headers = [headers, &["Connection: close"]].concat();
    let (mut stream, mut text) = request(address, path, &headers);
    let mut body = Vec::new();
    stream.read_to_end(&mut body).expect("the server closes");
    text += &String::from_utf8_lossy(&body);
    text
}

/// Opens the preview's WebSocket.
pub fn websocket(address: &str, headers: &[&str]) -> (TcpStream, String) {
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    request(address, "/preview", &[headers, &upgrade].concat())
}

/// The next WebSocket message (RFC 6455, section 5.2): its opcode and data. A server neither masks nor, here, splits.
pub fn message(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head[1] & 127 {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long)?;
            u64::from(u16::from_be_bytes(long))
        }
        127 => {
            let mut long = [0; 8];
            stream.read_exact(&mut long)?;
            u64::from_be_bytes(long)
        }
        short => u64::from(short),
    };
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data)?;
    Ok((head[0] & 15, data))
}
