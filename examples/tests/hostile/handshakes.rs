//! Handshakes that are never finished, or never end.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    support::within,
    target::{Target, runtimes},
};

const HALF: &str = "GET /ws?uid=half HTTP/1.1\r\nHost: gateway\r\n";

#[tokio::test]
async fn half_a_handshake_and_silence() {
    const CONNECTIONS: usize = 500;

    for flags in runtimes() {
        let mut target = Target::start(format!("{flags} --auth-timeout 1")).await;
        let mut open = Vec::new();
        for number in 0..CONNECTIONS {
            let mut stream = within("a connection", TcpStream::connect(target.gateway.ws())).await.unwrap();
            // Fails if it is cut already.
            let _ = stream.write_all(&HALF.as_bytes()[..number % HALF.len()]).await;
            open.push(stream);
        }
        for mut stream in open {
            let mut answer = Vec::new();
            // The end of the stream, or a reset.
            let _ = within("the cut", stream.read_to_end(&mut answer)).await;
            assert!(!answer.starts_with(b"HTTP/1.1 101"));
        }
        // 24 KiB a handshake, most of it the buffer for its head.
        target.survives("half handshakes", 12 * 1024).await;
    }
}

#[tokio::test]
async fn a_handshake_that_comes_in_drops() {
    for flags in runtimes() {
        let mut target = Target::start(format!("{flags} --auth-timeout 1")).await;
        let mut stream = within("a connection", TcpStream::connect(target.gateway.ws())).await.unwrap();
        let _ = stream.write_all(format!("{HALF}X: ").as_bytes()).await;
        let (mut reading, mut writing) = stream.split();
        let dripping = async {
            let mut answer = [0; 256];
            // The end of the stream or an answer; meanwhile a byte now and then, so that it is never idle.
            while timeout(Duration::from_millis(20), reading.read(&mut answer)).await.is_err() {
                let _ = writing.write_all(b"x").await;
            }
        };
        within("the cut", dripping).await;
        target.survives("a dripping handshake", 512).await;
    }
}

/// Sends what begins a head, then more of it, until these bytes are sent or the connection is cut; the answer up to the
/// end of the stream.
async fn send_head(target: &Target, begin: &str, more: &str, bytes: usize) -> String {
    let mut stream = within("a connection", TcpStream::connect(target.gateway.ws())).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let sending = async {
        let (mut sent, mut next) = (0, begin);
        while sent < bytes
            && let Ok(count) = writing.write(next.as_bytes()).await
        {
            sent += count;
            next = more;
        }
    };
    let mut answer = Vec::new();
    let answering = async {
        // It may end with a reset, too.
        let _ = reading.read_to_end(&mut answer).await;
    };
    within("the cut", async { tokio::join!(sending, answering) }).await;
    answer.escape_ascii().to_string()
}

#[tokio::test]
async fn heads_of_20_mb() {
    const BYTES: usize = 20_000_000;

    for flags in runtimes() {
        let mut target = Target::start(flags).await;
        for (what, begin, more) in [
            ("a long header", format!("{HALF}X: "), "x".repeat(10_000)),
            ("many headers", HALF.to_owned(), "X: x\r\n".repeat(2000)),
            ("a long target", "GET /ws?uid=".to_owned(), "x".repeat(10_000)),
            ("a long method", "X".to_owned(), "X".repeat(10_000)),
            ("empty lines", "\r\n".to_owned(), "\r\n".repeat(5000)),
        ] {
            let answer = send_head(&target, &begin, &more, BYTES).await;
            // It came with the first bytes over the limit: the client could still send, and reads the end of the stream.
            assert!(answer.starts_with("HTTP/1.1 431 "), "{what}: {answer}");
            target.survives(what, 512).await;
        }
    }
}

#[tokio::test]
async fn a_head_that_goes_on_after_the_refusal_is_cut() {
    for flags in runtimes() {
        let mut target = Target::start(flags).await;
        let answer = send_head(&target, HALF, &"X: x\r\n".repeat(2000), usize::MAX).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        target.survives("a head without end", 512).await;
    }
}
