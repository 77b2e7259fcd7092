//! A connection in memory with both its ends in one hand, polled without any runtime.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::{WsConfig, WsTransport, engine::Engine};
use tok_core::{
    CloseReason, Message, Transport,
    transport::{ByteStream, Incoming, Outgoing, TransportError},
};

pub(crate) const LIMIT: usize = 100_000;

#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    ended: bool,
    shut_down: bool,
    /// Bytes that one read gives at most.
    portion: usize,
    /// Bytes that the peer still takes.
    window: usize,
}

/// The server's end.
pub(crate) struct Memory(Arc<Mutex<Wire>>);

impl ByteStream for Memory {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        if wire.to_server.is_empty() && !wire.ended {
            return Poll::Pending;
        }
        let count = buf.len().min(wire.to_server.len()).min(wire.portion);
        for (place, byte) in buf.iter_mut().zip(wire.to_server.drain(..count)) {
            *place = byte;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(&mut self, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        assert!(!wire.shut_down, "written after the end");
        let before = wire.window;
        for buf in bufs {
            let count = buf.len().min(wire.window);
            wire.from_server.extend_from_slice(&buf[..count]);
            wire.window -= count;
        }
        if wire.window == before { Poll::Pending } else { Poll::Ready(Ok(before - wire.window)) }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().shut_down = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a transport gave.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Message(Message),
    Barrier(u64),
    Alive,
    Close,
    Error(CloseReason),
}

pub(crate) struct Conn {
    pub(crate) transport: WsTransport<Memory>,
    wire: Arc<Mutex<Wire>>,
    /// How often a poll asked to be called again at once.
    pub(crate) yields: usize,
}

impl Conn {
    pub(crate) fn new(engine: &Arc<dyn Engine>) -> Self {
        Self::with_leftover(engine, &[])
    }

    pub(crate) fn with_leftover(engine: &Arc<dyn Engine>, leftover: &[u8]) -> Self {
        let config = Arc::new(WsConfig::new(Arc::clone(engine), LIMIT));
        let wire = Arc::new(Mutex::new(Wire { portion: usize::MAX, window: usize::MAX, ..Wire::default() }));
        let transport = WsTransport::new(Memory(Arc::clone(&wire)), config).with_leftover(leftover);
        Self { transport, wire, yields: 0 }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }

    /// The peer sends.
    pub(crate) fn peer(&mut self, bytes: &[u8]) -> &mut Self {
        self.wire().to_server.extend(bytes);
        self
    }

    /// The peer ends its direction.
    pub(crate) fn peer_ends(&mut self) {
        self.wire().ended = true;
    }

    /// The peer takes this many bytes more, and then none.
    pub(crate) fn window(&mut self, bytes: usize) {
        self.wire().window = bytes;
    }

    pub(crate) fn portion(&mut self, bytes: usize) {
        self.wire().portion = bytes;
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.wire().shut_down
    }

    /// The bytes that reached the peer since the last call.
    pub(crate) fn raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire().from_server)
    }

    /// The frames that reached the peer since the last call: first byte and payload.
    pub(crate) fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let raw = self.raw();
        let (mut rest, mut frames) = (&raw[..], Vec::new());
        while let [head, len, ..] = *rest {
            let (len, start) = match len {
                126 => (usize::from(u16::from_be_bytes(rest[2..4].try_into().unwrap())), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                len => (usize::from(len), 2),
            };
            frames.push((head, rest[start..start + len].to_vec()));
            rest = &rest[start + len..];
        }
        assert!(rest.is_empty(), "half a frame");
        frames
    }

    /// The code of the only frame that reached the peer since the last call, a close.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        match &self.frames()[..] {
            [(0x88, payload)] => payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
            other => panic!("not a close: {other:?}"),
        }
    }

    fn poll<T>(
        &mut self,
        mut poll: impl FnMut(&mut WsTransport<Memory>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let polled = poll(&mut self.transport, &mut Context::from_waker(&waker));
            if polled.is_ready() || !woken.0.load(Ordering::Relaxed) {
                return polled;
            }
            self.yields += 1;
        }
    }

    /// What the transport gives next, if anything.
    pub(crate) fn recv(&mut self) -> Option<Got> {
        match self.poll(Transport::poll_recv) {
            Poll::Pending => None,
            Poll::Ready(Ok(Incoming::Message(message))) => Some(Got::Message(message)),
            Poll::Ready(Ok(Incoming::Barrier(number))) => Some(Got::Barrier(number)),
            Poll::Ready(Ok(Incoming::Alive)) => Some(Got::Alive),
            Poll::Ready(Ok(Incoming::Close)) => Some(Got::Close),
            Poll::Ready(Ok(other)) => panic!("unexpected: {other:?}"),
            Poll::Ready(Err(error)) => Some(Got::Error(match error {
                TransportError::Protocol(_) => CloseReason::Protocol,
                TransportError::BadText => CloseReason::BadText,
                TransportError::TooBig { limit } => {
                    assert_eq!(limit, LIMIT);
                    CloseReason::TooBig
                }
                TransportError::Closed => CloseReason::Disconnected,
                other => panic!("unexpected: {other:?}"),
            })),
        }
    }

    /// Everything that the transport gives now.
    pub(crate) fn recv_all(&mut self) -> Vec<Got> {
        let mut all = Vec::new();
        while let Some(got) = self.recv() {
            let last = matches!(got, Got::Close | Got::Error(_));
            all.push(got);
            if last {
                break;
            }
        }
        all
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) -> u64 {
        let frame = self.transport.framing().encode(&message.into());
        self.transport.start_send(Outgoing::Frame(frame)).unwrap()
    }

    pub(crate) fn start(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        self.transport.start_send(out)
    }

    pub(crate) fn flush(&mut self) -> bool {
        self.poll(Transport::poll_flush).map(Result::unwrap).is_ready()
    }

    pub(crate) fn close(&mut self) -> bool {
        self.poll(Transport::poll_close).map(Result::unwrap).is_ready()
    }

    pub(crate) fn is_idle(&self) -> bool {
        format!("{:?}", self.transport).contains("idle: true")
    }
}

/// A masked frame, as clients send it.
pub(crate) fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(head, payload.len());
    let mask: [u8; 4] = frame[frame.len() - 4..].try_into().unwrap();
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}

/// The header of a masked frame.
pub(crate) fn header(head: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![head];
    match len {
        0..=125 => frame.push(0x80 | len as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0x37, 0xfa, 0x21, 0x3d]);
    frame
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// `len` bytes that are different everywhere.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8) as u8).collect()
}

pub(crate) fn message(text: &str) -> Got {
    Got::Message(Message::from(text))
}
