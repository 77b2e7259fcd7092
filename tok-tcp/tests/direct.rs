//! A frame that a sender wrote in part reaches the peer whole, whatever happens to the session then.

use std::{
    future::{pending, poll_fn},
    task::{Context, Poll, Waker},
};

use tok_core::{
    Actor, CloseReason, Device, Hub, Message, Session, async_trait,
    rt::Tokio,
    testkit::transport::{ByteEnd, byte_pair},
    transport::ByteStream,
};
use tok_tcp::TcpTransport;

struct Nothing;

#[async_trait]
impl Actor for Nothing {
    async fn on_receive(&self, _: &Session, _: Message) {
        pending::<()>().await;
    }
}

/// What can be read now.
fn read(end: &mut ByteEnd) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 64]);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(count @ 1..)) = end.poll_read(&mut cx, &mut buf) {
        all.extend_from_slice(&buf[..count]);
    }
    all
}

fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// A user behind a connection that holds ten bytes, at rest.
async fn at_rest() -> (Hub, ByteEnd, tokio::task::JoinHandle<CloseReason>) {
    at_rest_with(1 << 20).await
}

async fn at_rest_with(max_backlog: usize) -> (Hub, ByteEnd, tokio::task::JoinHandle<CloseReason>) {
    let hub = Hub::builder(Nothing)
        .runtime(Tokio)
        .max_backlog(max_backlog)
        .bye(|_, reason| Some(Message::text(format!("!bye {}", reason.code()))))
        .build()
        .unwrap();
    let (near, far) = byte_pair(10);
    let session = tokio::spawn(hub.serve(Device::new("alice"), TcpTransport::new(near, 1000, false)));
    while !hub.is_online("alice").await.unwrap() {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    (hub, far, session)
}

/// Reads to the end of the stream.
async fn read_all(far: &mut ByteEnd) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 64]);
    while let Ok(count @ 1..) = poll_fn(|cx| far.poll_read(cx, &mut buf)).await {
        all.extend_from_slice(&buf[..count]);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_written_before_anything_else() {
    let (hub, mut far, session) = at_rest().await;
    let mut got = Vec::new();
    for text in ["longer than the pipe", "next", "and one more that is long"] {
        let _ = hub.send("alice", text).await.unwrap();
        got.extend(read(&mut far));
    }
    drop(hub);
    far.end();
    got.extend(read_all(&mut far).await);
    let sent = ["longer than the pipe", "next", "and one more that is long"].map(frame).concat();
    assert_eq!(got, sent);
    assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_comes_behind_the_rest() {
    let (hub, mut far, session) = at_rest().await;
    let _ = hub.send("alice", "longer than the pipe").await.unwrap();
    // Half of it is on the wire, and before its task has run the session is ended.
    assert_eq!(hub.kick("alice").await.unwrap(), 1);
    let got = read_all(&mut far).await;
    let bye = format!("!bye {}", CloseReason::Kicked.code());
    assert_eq!(got, [frame("longer than the pipe"), frame(&bye)].concat());
    far.end();
    assert_eq!(session.await.unwrap(), CloseReason::Kicked);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_written_at_once_waits_no_more() {
    // One message fits where nothing waits, and no other.
    let (hub, mut far, session) = at_rest_with(1).await;
    for text in ["twelve bytes", "twelve again", "and again 12"] {
        assert_eq!(hub.send("alice", text).await.unwrap().sessions(), 1);
        // There is room for the rest before the session's task looks.
        let mut got = read(&mut far);
        tokio::task::yield_now().await;
        got.extend(read(&mut far));
        assert_eq!(got, frame(text));
    }
    drop(hub);
    far.end();
    assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
}
