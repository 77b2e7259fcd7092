use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tok_core::{
    Message,
    transport::{ByteStream, Framing, Incoming, Outgoing, Transport, TransportError, WriteNow, WriteQueue},
};

use crate::frame::{Decoder, FRAMING, HEAD};

/// The stack buffer that small frames are read through, and a larger one for where the last read left more. They have
/// to be cleared.
const SCRATCH: usize = 1024;
const LONG_SCRATCH: usize = 4096;

/// Reads in one poll before others get their turn; a fast peer on a fast network may always have more.
const READS_PER_POLL: usize = 64;

/// Probes that may be unanswered at a time. A session has one barrier and a few pings under way.
const MAX_PROBES: usize = 64;

/// Length-prefixed frames ([`FRAMING`]) over a byte stream, as a session's transport.
///
/// Incoming messages are binary: the frames do not tell. An idle connection holds no read buffer: what comes is read
/// through the stack, payloads are copied out, and only an unfinished frame is kept.
///
/// # Confirmation
/// With `confirm`, an empty frame is never a message: to the peer it is a probe, and the peer's is the answer to the
/// oldest probe that is open. One that answers no written probe is a sign of life. An empty message has no frame then,
/// and is skipped when it is sent. Without `confirm`, an empty frame is an empty message and nothing is probed.
///
/// # Close
/// The frames have no close of their own, so the peer is not told the reason (a goodbye message does that). An end of
/// the stream between frames is [`Incoming::Close`], one inside a frame [`TransportError::Closed`].
pub struct TcpTransport<S> {
    stream: S,
    decoder: Decoder,
    // What was read behind the frame that was returned last, from `taken` on.
    unread: Vec<u8>,
    taken: usize,
    // The last read has filled its buffer.
    more: bool,
    /// Bytes read in total.
    received: u64,
    out: WriteQueue,
    confirm: bool,
    probes: VecDeque<Probe>,
    closing: Closing,
}

/// An empty frame that the peer has yet to answer.
struct Probe {
    barrier: Option<u64>,
    /// It is on the wire when so many bytes are written; an empty frame from the peer before that answers nothing.
    end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    /// Nothing more is taken; what was may still be unwritten.
    Draining,
    /// The write side is shut down.
    Discarding,
    Done,
}

impl<S: ByteStream> TcpTransport<S> {
    /// A transport over `stream` that takes messages of up to `limit` bytes; `confirm` says that the peer has agreed to
    /// answer empty frames.
    ///
    /// ```
    /// use tok_core::transport::{TokioStream, Transport};
    /// use tok_tcp::TcpTransport;
    ///
    /// let (near, _far) = tokio::io::duplex(1024);
    /// let transport = TcpTransport::new(TokioStream::new(near), 1 << 20, true);
    /// assert!(transport.confirms());
    /// ```
    pub fn new(stream: S, limit: usize, confirm: bool) -> Self {
        Self {
            stream,
            decoder: Decoder::new(limit),
            unread: Vec::new(),
            taken: 0,
            more: false,
            received: 0,
            out: WriteQueue::default(),
            confirm,
            probes: VecDeque::new(),
            closing: Closing::Open,
        }
    }

    /// The same connection after its login. Frames that came right behind it are kept, and under the new limit.
    pub(crate) fn logged_in(mut self, limit: usize, confirm: bool) -> Self {
        self.decoder.set_limit(limit);
        self.confirm = confirm;
        self
    }

    /// The next frame, empty ones too; `None` at an end of the stream between frames.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, TransportError>> {
        if !self.unread.is_empty() {
            let mut input = &self.unread[self.taken..];
            let frame = self.decoder.decode(&mut input)?;
            self.taken = self.unread.len() - input.len();
            if input.is_empty() {
                self.keep(Vec::new());
            }
            if frame.is_some() {
                return Poll::Ready(Ok(frame));
            }
        }
        for _ in 0..READS_PER_POLL {
            let (count, frame) = match self.decoder.unfilled() {
                Some(room) => {
                    let count = ready!(self.stream.poll_read(cx, room))?;
                    self.received += count as u64;
                    self.decoder.filled(count);
                    (count, self.decoder.decode(&mut &[][..])?)
                }
                None if self.more => ready!(self.poll_scratch::<LONG_SCRATCH>(cx))?,
                None => ready!(self.poll_scratch::<SCRATCH>(cx))?,
            };
            if frame.is_some() {
                return Poll::Ready(Ok(frame));
            }
            if count == 0 {
                let whole = self.decoder.is_between_frames();
                return Poll::Ready(if whole { Ok(None) } else { Err(TransportError::Closed) });
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once through the stack: how many bytes came, and the first frame that they complete.
    // In a function of its own, so that only calls that read pay for clearing the buffer.
    #[inline(never)]
    fn poll_scratch<const N: usize>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(usize, Option<Bytes>), TransportError>> {
        let mut scratch = [0; N];
        let count = ready!(self.stream.poll_read(cx, &mut scratch))?;
        self.received += count as u64;
        self.more = count == N;
        let mut input = &scratch[..count];
        let frame = self.decoder.decode(&mut input)?;
        self.keep(input.to_vec());
        Poll::Ready(Ok((count, frame)))
    }

    /// Keeps bytes to decode at the next call. None take no memory.
    fn keep(&mut self, unread: Vec<u8>) {
        self.unread = unread;
        self.taken = 0;
    }

    /// What an empty frame of a peer that confirms means.
    fn answer(&mut self) -> Incoming {
        let written = self.out.written();
        if self.probes.front().is_none_or(|oldest| oldest.end > written) {
            return Incoming::Alive;
        }
        let barrier = self.probes.pop_front().and_then(|oldest| oldest.barrier);
        if self.probes.is_empty() {
            self.probes = VecDeque::new();
        }
        barrier.map_or(Incoming::Alive, Incoming::Barrier)
    }

    fn probe(&mut self, barrier: Option<u64>) {
        let end = self.out.push(Bytes::from_static(&[0; HEAD]));
        self.probes.push_back(Probe { barrier, end });
    }

    /// Reads to the end of the stream, a part at each poll.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut scratch = [0; LONG_SCRATCH];
        for _ in 0..READS_PER_POLL {
            if ready!(self.stream.poll_read(cx, &mut scratch))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: ByteStream> Transport for TcpTransport<S> {
    fn framing(&self) -> &'static Framing {
        &FRAMING
    }

    fn confirms(&self) -> bool {
        self.confirm
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        Poll::Ready(Ok(match ready!(self.poll_frame(cx))? {
            Some(frame) if self.confirm && frame.is_empty() => self.answer(),
            Some(frame) => Incoming::Message(Message::binary(frame)),
            None => Incoming::Close,
        }))
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        if self.closing != Closing::Open {
            return Err(TransportError::Closed);
        }
        match out {
            // An empty message; the peer would take it for a probe and answer.
            Outgoing::Frame(frame) if self.confirm && frame.bytes().len() <= HEAD => {}
            Outgoing::Frame(frame) => {
                self.out.push(frame.into_bytes());
            }
            Outgoing::Rest(rest) => {
                self.out.push(rest);
            }
            Outgoing::Barrier(_) | Outgoing::Ping if !self.confirm => {}
            Outgoing::Barrier(_) if self.probes.len() >= MAX_PROBES => {
                return Err(TransportError::Protocol("too many probes are unanswered"));
            }
            Outgoing::Barrier(number) => self.probe(Some(number)),
            // Those that are open ask for a sign of life already.
            Outgoing::Ping if self.probes.len() >= MAX_PROBES => {}
            Outgoing::Ping => self.probe(None),
            Outgoing::Close(_) => self.closing = Closing::Draining,
            _ => return Err(TransportError::Protocol("not known to this transport")),
        }
        Ok(self.out.accepted())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.out.poll_flush(&mut self.stream, cx).map_err(Into::into)
    }

    fn written(&self) -> u64 {
        self.out.written()
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        self.stream.writer()
    }

    fn is_at_rest(&self) -> bool {
        self.out.is_empty() && self.closing == Closing::Open
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if matches!(self.closing, Closing::Open | Closing::Draining) {
            self.closing = Closing::Draining;
            ready!(self.poll_flush(cx))?;
            ready!(self.stream.poll_shutdown(cx))?;
            self.closing = Closing::Discarding;
            self.keep(Vec::new());
            self.decoder = Decoder::new(0);
        }
        if self.closing == Closing::Discarding {
            ready!(self.poll_discard(cx))?;
            self.closing = Closing::Done;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> fmt::Debug for TcpTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport")
            .field("confirm", &self.confirm)
            .field("accepted", &self.out.accepted())
            .field("written", &self.out.written())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tok_core::transport::TokioStream;
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::*;

    impl<S> TcpTransport<S> {
        /// The bytes of memory held, the unsent aside.
        fn held(&self) -> usize {
            self.decoder.capacity() + self.unread.capacity() + self.probes.capacity()
        }
    }

    #[test]
    fn an_idle_transport_is_small() {
        let size = size_of::<TcpTransport<TokioStream<TcpStream>>>();
        assert!(size <= 256, "{size} bytes");
    }

    #[tokio::test]
    async fn memory_is_held_only_while_something_is_unfinished() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut transport = TcpTransport::new(TokioStream::new(near), 1 << 20, true);
        assert_eq!(transport.held(), 0);

        // Two frames in one read.
        far.write_all(b"\0\0\0\x01a\0\0\0\x01b").await.unwrap();
        poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        assert_eq!(transport.held(), 5);
        poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        assert_eq!(transport.held(), 0);

        // Two and a part of a third; then a big one in many reads.
        far.write_all(b"\0\0\0\x01a\0\0\0\x01b\0\0\0\x02c").await.unwrap();
        poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        assert!((1..32).contains(&transport.held()), "{}", transport.held());
        far.write_all(b"d").await.unwrap();
        poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
        assert_eq!(transport.held(), 0);

        far.write_all(&500_000_u32.to_be_bytes()).await.unwrap();
        far.write_all(&[7; 500_000]).await.unwrap();
        let Incoming::Message(message) = poll_fn(|cx| transport.poll_recv(cx)).await.unwrap() else {
            panic!()
        };
        assert_eq!(message.data().len(), 500_000);
        assert_eq!(transport.held(), 0);

        transport.start_send(Outgoing::Barrier(1)).unwrap();
        poll_fn(|cx| transport.poll_flush(cx)).await.unwrap();
        assert!(transport.held() > 0);
        far.write_all(&[0; 4]).await.unwrap();
        assert!(matches!(poll_fn(|cx| transport.poll_recv(cx)).await.unwrap(), Incoming::Barrier(1)));
        assert_eq!(transport.held(), 0);
    }
}
