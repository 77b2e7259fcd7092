use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// A request for a WebSocket at `path`, with more header lines.
pub(crate) fn request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// The status that a request is answered with.
pub(crate) async fn status(addr: SocketAddr, request: &str) -> u16 {
    let mut stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
    within("room to write", stream.write_all(request.as_bytes())).await.unwrap();
    read_status(&mut stream).await
}

async fn read_status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    // A byte at a time: what follows the head is not for this function.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("an answer", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// A WebSocket client that does only what it is told: any frame goes out, and nothing is answered.
pub(crate) struct RawWs(pub(crate) TcpStream);

impl RawWs {
    pub(crate) async fn login(addr: SocketAddr, query: &str) -> Self {
        let mut stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
        let request = request(&format!("/ws?{query}"), "");
        within("room to write", stream.write_all(request.as_bytes())).await.unwrap();
        Self::accepted(stream).await
    }

    /// Takes the answer to a request that was sent.
    pub(crate) async fn accepted(mut stream: TcpStream) -> Self {
        assert_eq!(read_status(&mut stream).await, 101);
        Self(stream)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("room to write", self.0.write_all(bytes)).await.unwrap();
    }

    /// The next frame, its first byte and its payload; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = within("a frame", self.0.read_u8()).await.ok()?;
        let length = match self.0.read_u8().await.ok()? {
            126 => u64::from(self.0.read_u16().await.ok()?),
            127 => self.0.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        within("a payload", self.0.read_exact(&mut payload)).await.ok()?;
        Some((first, payload))
    }

    /// The messages up to a close frame, and its code.
    pub(crate) async fn until_close(&mut self) -> (Vec<String>, u16) {
        let mut messages = Vec::new();
        loop {
            match self.next().await.expect("the server closed without a close frame") {
                (0x88, payload) => return (messages, u16::from_be_bytes(*payload.first_chunk().unwrap())),
                (0x81 | 0x82, payload) => messages.push(String::from_utf8(payload).unwrap()),
                _ => {}
            }
        }
    }

    /// The stream ends.
    pub(crate) async fn ends(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The head of a masked frame, under the mask that changes nothing.
pub(crate) fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..=125 => head.push(0x80 | u8::try_from(length).unwrap()),
        126..=0xffff => {
            head.push(0x80 | 126);
            head.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}
