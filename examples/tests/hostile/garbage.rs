//! Bytes that are no protocol at all, or nearly one.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{frame, request, within},
    target::{Target, targets},
};

/// A small generator: the same bytes in every run.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Changes one byte.
    fn spoil(&mut self, script: &mut [u8]) {
        let at = usize::from(u16::from_be_bytes([self.next(), self.next()])) % script.len();
        script[at] = self.next();
    }
}

/// Sends the script and the end of the stream; what comes back until the server closes.
async fn play(target: &Target, script: &[u8]) -> Vec<u8> {
    let mut stream = within("a connection", TcpStream::connect(target.gateway.ws())).await.unwrap();
    let mut answer = Vec::new();
    let playing = async {
        // Either fails where the server has cut the connection.
        if stream.write_all(script).await.is_ok() && stream.shutdown().await.is_ok() {
            let _ = stream.read_to_end(&mut answer).await;
        }
    };
    within("the end", playing).await;
    answer
}

#[tokio::test]
async fn garbage_behind_the_handshake() {
    let handshake = request("/", "").into_bytes();
    let frames = [
        frame(0x81, "gr\u{fc}n".as_bytes()),
        frame(0x89, b"ping"),
        frame(0x02, &[7; 200]),
        frame(0x8a, b""),
        frame(0x80, b""),
        frame(0x88, &1000_u16.to_be_bytes()),
    ]
    .concat();
    for flags in targets() {
        let mut target = Target::start(format!("{flags} --echo")).await;
        let mut bytes = Bytes(1);
        for _ in 0..100 {
            let answer = play(&target, &[&handshake[..], &bytes.take(500)].concat()).await;
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
            let mut spoilt = frames.clone();
            bytes.spoil(&mut spoilt);
            let answer = play(&target, &[&handshake[..], &spoilt].concat()).await;
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
        }
        target.survives("garbage behind the handshake", 1024).await;
    }
}

#[tokio::test]
async fn garbage_instead_of_the_handshake() {
    let handshake = request("/", "").into_bytes();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for flags in targets() {
        let mut target = Target::start(format!("{flags} --echo")).await;
        for script in [&tls, &http2] {
            let answer = play(&target, script).await;
            assert!(!answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
        }
        let mut bytes = Bytes(2);
        for _ in 0..100 {
            let answer = play(&target, &bytes.take(500)).await;
            assert!(!answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
            let mut spoilt = handshake.clone();
            bytes.spoil(&mut spoilt);
            play(&target, &spoilt).await;
        }
        target.survives("garbage instead of the handshake", 1024).await;
    }
}

#[tokio::test]
async fn frames_without_a_mask() {
    let handshake = request("/", "").into_bytes();
    for flags in targets() {
        let mut target = Target::start(format!("{flags} --echo")).await;
        for unmasked in
            [&b"\x81\x05hello"[..], b"\x82\x00", b"\x89\x00", b"\x88\x02\x03\xe8", b"\x01\x01a\x80\x01b"]
        {
            let answer = play(&target, &[&handshake[..], unmasked].concat()).await;
            // A close frame with 1002, and nothing before it (RFC 6455 section 5.1).
            assert!(answer.ends_with(b"\r\n\r\n\x88\x0a\x03\xeaprotocol"), "{}", answer.escape_ascii());
        }
        target.survives("frames without a mask", 512).await;
    }
}
