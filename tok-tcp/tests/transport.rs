//! The transport over in-memory streams: what it reads, writes and answers.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tok_core::{
    CloseReason, Message, Transport,
    transport::{ByteStream, Incoming, Outgoing, TokioStream, TransportError},
};
use tok_tcp::{FRAMING, TcpTransport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

type Memory = TcpTransport<TokioStream<DuplexStream>>;

const LIMIT: usize = 1000;

fn transport(buffer: usize, confirm: bool) -> (Memory, DuplexStream) {
    let (near, far) = duplex(buffer);
    (TcpTransport::new(TokioStream::new(near), LIMIT, confirm), far)
}

fn frame(payload: &[u8]) -> Outgoing {
    Outgoing::Frame(FRAMING.encode(&Message::from(payload)))
}

async fn recv<S: ByteStream>(transport: &mut TcpTransport<S>) -> Result<Incoming, TransportError> {
    poll_fn(|cx| transport.poll_recv(cx)).await
}

async fn message<S: ByteStream>(transport: &mut TcpTransport<S>) -> Vec<u8> {
    match recv(transport).await.unwrap() {
        Incoming::Message(message) => message.into_data().to_vec(),
        other => panic!("not a message: {other:?}"),
    }
}

async fn flush<S: ByteStream>(transport: &mut TcpTransport<S>) {
    poll_fn(|cx| transport.poll_flush(cx)).await.unwrap();
}

fn now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn messages_come_out_as_they_were_framed() {
    let (mut transport, mut far) = transport(64, false);
    far.write_all(b"\0\0\0\x05hello\0\0\0\0\0\0\0\x01").await.unwrap();
    assert_eq!(message(&mut transport).await, b"hello");
    assert_eq!(message(&mut transport).await, b"", "without confirm an empty frame is a message");
    assert!(now(|cx| transport.poll_recv(cx)).is_pending());
    far.write_all(b"!").await.unwrap();
    assert_eq!(message(&mut transport).await, b"!");
}

#[tokio::test]
async fn an_end_between_frames_is_a_close() {
    let (mut transport, mut far) = transport(64, false);
    far.write_all(b"\0\0\0\x01a").await.unwrap();
    drop(far);
    assert_eq!(message(&mut transport).await, b"a");
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Close)));
}

#[tokio::test]
async fn an_end_inside_a_frame_is_an_error() {
    for cut in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x02", b"\0\0\0\x02h"] {
        let (mut transport, mut far) = transport(64, false);
        far.write_all(cut).await.unwrap();
        drop(far);
        assert!(matches!(recv(&mut transport).await, Err(TransportError::Closed)), "{cut:?}");
    }
}

#[tokio::test]
async fn the_limit_holds_before_the_payload_comes() {
    let (mut transport, mut far) = transport(4096, false);
    far.write_all(&(LIMIT as u32).to_be_bytes()).await.unwrap();
    far.write_all(&[7; LIMIT]).await.unwrap();
    assert_eq!(message(&mut transport).await.len(), LIMIT);
    for announced in [LIMIT as u32 + 1, u32::MAX] {
        let (near, mut far) = duplex(64);
        let mut transport = TcpTransport::new(TokioStream::new(near), LIMIT, false);
        far.write_all(&announced.to_be_bytes()).await.unwrap();
        assert!(matches!(recv(&mut transport).await, Err(TransportError::TooBig { limit: LIMIT })));
    }
}

#[tokio::test]
async fn frames_leave_whole_and_in_order_through_a_narrow_stream() {
    let (mut transport, mut far) = transport(7, false);
    let mut expected = Vec::new();
    let mut accepted = 0;
    for i in 0..200_u8 {
        let payload = vec![i; usize::from(i)];
        expected.extend_from_slice(&u32::from(i).to_be_bytes());
        expected.extend_from_slice(&payload);
        accepted = transport.start_send(frame(&payload)).unwrap();
    }
    assert_eq!(accepted, expected.len() as u64);
    assert!(now(|cx| transport.poll_flush(cx)).is_pending());
    assert_eq!(transport.written(), 7, "what the stream has room for");

    let mut got = vec![0; expected.len()];
    let (read, ()) = tokio::join!(far.read_exact(&mut got), flush(&mut transport));
    read.unwrap();
    assert_eq!(got, expected);
    assert_eq!(transport.written(), accepted);
}

#[tokio::test]
async fn empty_frames_answer_the_oldest_probe() {
    let (mut transport, mut far) = transport(64, true);
    far.write_all(&[0; 4]).await.unwrap();
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Alive)), "unsolicited");

    transport.start_send(frame(b"a")).unwrap();
    transport.start_send(Outgoing::Barrier(7)).unwrap();
    transport.start_send(Outgoing::Ping).unwrap();
    transport.start_send(Outgoing::Barrier(8)).unwrap();
    far.write_all(&[0; 4]).await.unwrap();
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Alive)), "no probe is on the wire yet");

    flush(&mut transport).await;
    let mut wire = [0xff; 17];
    far.read_exact(&mut wire).await.unwrap();
    assert_eq!(&wire, b"\0\0\0\x01a\0\0\0\0\0\0\0\0\0\0\0\0");

    far.write_all(b"\0\0\0\0\0\0\0\x01b\0\0\0\0\0\0\0\0\0\0\0\0").await.unwrap();
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Barrier(7))));
    assert_eq!(message(&mut transport).await, b"b");
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Alive)), "the ping's");
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Barrier(8))));
    assert!(matches!(recv(&mut transport).await, Ok(Incoming::Alive)), "one more than was asked for");
}

#[tokio::test]
async fn unanswered_probes_are_bounded() {
    let (mut transport, _far) = transport(64, true);
    let mut taken = 0;
    while transport.start_send(Outgoing::Barrier(taken)).is_ok() {
        taken += 1;
        assert!(taken < 1000);
    }
    let accepted = transport.start_send(frame(b"a")).unwrap();
    assert_eq!(transport.start_send(Outgoing::Ping).unwrap(), accepted, "skipped");
}

#[tokio::test]
async fn an_empty_message_is_skipped_only_where_it_would_be_a_probe() {
    for (confirm, bytes) in [(true, 0), (false, 4)] {
        let (mut transport, _far) = transport(64, confirm);
        assert_eq!(transport.start_send(frame(b"")).unwrap(), bytes);
        assert_eq!(transport.confirms(), confirm);
    }
}

#[tokio::test]
async fn nothing_is_probed_without_confirm() {
    let (mut transport, _far) = transport(64, false);
    assert_eq!(transport.start_send(Outgoing::Barrier(1)).unwrap(), 0);
    assert_eq!(transport.start_send(Outgoing::Ping).unwrap(), 0);
}

#[tokio::test]
async fn a_close_writes_all_then_waits_for_the_peer() {
    let (mut transport, mut far) = transport(4, false);
    transport.start_send(frame(b"goodbye")).unwrap();
    transport.start_send(Outgoing::Close(CloseReason::Kicked)).unwrap();
    assert!(matches!(transport.start_send(frame(b"late")), Err(TransportError::Closed)));

    let mut got = Vec::new();
    let mut close = pin!(poll_fn(|cx| transport.poll_close(cx)));
    tokio::select! {
        biased;
        end = &mut close => panic!("closed before the peer was done: {end:?}"),
        read = far.read_to_end(&mut got) => { read.unwrap(); }
    }
    assert_eq!(got, b"\0\0\0\x07goodbye", "to the end of the stream, so the write side is shut down");

    // What the peer still says, unfinished frames too, is discarded.
    let peer = async move {
        far.write_all(&[0xff; 10_000]).await.unwrap();
        drop(far);
    };
    let (closed, ()) = tokio::join!(close, peer);
    closed.unwrap();
}

/// A peer that always has more to say, its last byte over and over, in reads of at most 100 bytes.
struct Flood {
    say: &'static [u8],
    at: usize,
    reads: usize,
}

impl ByteStream for Flood {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reads += 1;
        assert!(self.reads < 10_000, "one poll reads without end");
        let count = buf.len().min(100);
        for byte in &mut buf[..count] {
            *byte = self.say[self.at.min(self.say.len() - 1)];
            self.at += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(&mut self, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_flooding_peer_does_not_keep_the_task() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let take = || woken.0.swap(false, Ordering::SeqCst);

    // A frame that announces 2 GiB: the reads that it takes are spread over polls.
    let flood = Flood { say: b"\x7f\xff\xff\xff.", at: 0, reads: 0 };
    let mut transport = TcpTransport::new(flood, usize::MAX, false);
    assert!(transport.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    assert!(take(), "it asked to be polled again");

    let flood = Flood { say: b".", at: 0, reads: 0 };
    let mut transport = TcpTransport::new(flood, LIMIT, false);
    assert!(transport.poll_close(&mut Context::from_waker(&waker)).is_pending());
    assert!(take(), "it asked to be polled again");
}
