//! The server's deadlines, on tokio's paused clock.

use std::time::Duration;

use tok_core::{
    Actor, Device, Hub, Message, Refusal, Session, async_trait,
    rt::Tokio,
    transport::{PeerAddr, TokioStream},
};
use tok_tcp::{Login, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::Instant,
};

/// Sends each message back.
struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

struct Ignore;

#[async_trait]
impl Actor for Ignore {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

fn server(auth_timeout: Duration) -> Server {
    let hub = Hub::builder(Ignore).runtime(Tokio).auth_timeout(auth_timeout).build().unwrap();
    Server::new(hub, |login: Login| async move {
        match login.token().as_deref() {
            Some("never") => std::future::pending().await,
            _ => Err::<Device, _>(Refusal::unauthorized("bad token")),
        }
    })
}

/// How long the server keeps a connection on which the peer says `login` and no more, and what it answers.
async fn kept_for(auth_timeout: Duration, login: &[u8]) -> (Duration, Vec<u8>) {
    let (near, mut far) = duplex(1024);
    far.write_all(login).await.unwrap();
    let started = Instant::now();
    let end = server(auth_timeout).serve_stream(TokioStream::new(near), PeerAddr::Unix).await;
    assert_eq!(end, None);
    let elapsed = started.elapsed();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    (elapsed, answer)
}

fn about(elapsed: Duration, expected: Duration) -> bool {
    // Timers have a millisecond's grain.
    elapsed >= expected && elapsed <= expected + Duration::from_millis(2)
}

#[tokio::test(start_paused = true)]
async fn the_auth_timeout_covers_the_frame_and_the_authenticator() {
    let timeout = Duration::from_secs(5);
    for login in [&b""[..], b"\0\0", b"\0\0\0\x05uid", b"\0\0\0\x11uid=a&token=never"] {
        let (elapsed, answer) = kept_for(timeout, login).await;
        assert!(about(elapsed, timeout), "{login:?}: {elapsed:?}");
        assert_eq!(answer, b"", "{login:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn zero_is_no_auth_timeout() {
    let (near, mut far) = duplex(1024);
    let peer = async {
        tokio::time::sleep(Duration::from_secs(86_400)).await; // sleep: the clock is paused
        far.write_all(b"\0\0\0\x01a").await.unwrap();
        let mut answer = [0; 20];
        far.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\0\0\0\x10!error bad token");
        drop(far);
    };
    let server = server(Duration::ZERO);
    tokio::join!(server.serve_stream(TokioStream::new(near), PeerAddr::Unix), peer);
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_that_stays_has_a_second() {
    let (elapsed, answer) = kept_for(Duration::from_secs(5), b"\0\0\0\x01a").await;
    assert!(about(elapsed, Duration::from_secs(1)), "{elapsed:?}");
    assert_eq!(answer, b"\0\0\0\x10!error bad token");
}

/// A frame of 100,000 bytes, which comes in 50 s at an interval of 1 s for probes, and is answered.
#[tokio::test(start_paused = true)]
async fn a_frame_that_arrives_slowly_is_not_taken_for_silence() {
    let second = Duration::from_secs(1);
    for builder in [
        Hub::builder(Echo).ping_interval(second),
        Hub::builder(Echo).ping_interval(Duration::ZERO).read_timeout(second),
    ] {
        let hub = builder.runtime(Tokio).build().unwrap();
        let server = Server::new(hub, |login: Login| async move { login.device() });
        let (near, mut far) = duplex(1 << 20);
        let serving =
            tokio::spawn(async move { server.serve_stream(TokioStream::new(near), PeerAddr::Unix).await });
        far.write_all(b"\0\0\0\x0fuid=a&confirm=1").await.unwrap();
        let frame = [&100_000_u32.to_be_bytes()[..], &[7; 100_000]].concat();
        for part in frame.chunks(1000) {
            far.write_all(part).await.unwrap();
            tokio::time::sleep(second / 2).await; // sleep: the clock is paused
        }
        let mut answer = [0; 8];
        // Before the answer there may be one empty frame: a probe that was sent before the message began.
        far.read_exact(&mut answer[..4]).await.unwrap();
        if answer[..4] == [0; 4] {
            far.read_exact(&mut answer[..4]).await.unwrap();
        }
        assert_eq!(answer[..4], 100_000_u32.to_be_bytes());
        drop(far);
        assert!(serving.await.unwrap().is_some());
    }
}
