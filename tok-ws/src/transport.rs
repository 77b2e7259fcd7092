use std::{
    collections::VecDeque,
    fmt, io,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tok_core::{
    CloseReason, Message, MessageKind, Transport,
    transport::{ByteStream, Framing, Incoming, Outgoing, TransportError, WriteNow, WriteQueue},
};

use crate::{
    WsConfig,
    engine::{Decoder, EngineError, Event},
    frame,
    guard::{Guard, Violation},
    spare,
};

/// A WebSocket connection after its handshake, as a [`Transport`] over any [`ByteStream`].
///
/// It reads and writes the stream itself; the engine only decodes (see [`Engine`](crate::engine::Engine)). What it
/// holds: while nothing is under way, neither an engine nor a buffer (each thread keeps one spare decoder for all). Otherwise the engine's buffers for the message
/// that is arriving (bounded by [`WsConfig::max_message`] and a constant), the frames that the session handed over,
/// and at most 32 Pongs that wait to be written, and the newest after them.
///
/// A stream that ends between two messages is [`Incoming::Close`], also without a close frame: the peer may still read,
/// and gets what the session owes it and a close frame with code 1000. A stream that ends inside a message is
/// [`TransportError::Closed`].
///
/// [`Outgoing::Barrier`] is a Ping that carries the number, [`Outgoing::Ping`] an empty one.
///
/// ```
/// use std::sync::Arc;
/// use tok_core::{CloseReason, Device, Hub, transport::ByteStream};
/// use tok_ws::{WsConfig, WsTransport};
///
/// /// For connections whose handshake was done elsewhere.
/// async fn run(hub: Hub, device: Device, stream: impl ByteStream, config: Arc<WsConfig>) -> CloseReason {
///     hub.serve(device, WsTransport::new(stream, config)).await
/// }
/// ```
pub struct WsTransport<S> {
    stream: S,
    config: Arc<WsConfig>,
    guard: Guard,
    decoder: Option<Box<dyn Decoder>>,
    /// Bytes read in total.
    received: u64,
    /// The last read has filled its buffer.
    more: bool,
    /// The decoder has given a Ping and may have yet to give its Pong.
    pinged: bool,
    /// What the guard refused, to be told when the events before it have been.
    violation: Option<Violation>,
    out: WriteQueue,
    /// What `start_send` returned last.
    taken: u64,
    pongs: Pongs,
    /// The barriers that wait for their Pong.
    barriers: VecDeque<u64>,
    /// What may still happen before the task is made to yield.
    budget: u8,
    close_sent: bool,
    /// The peer has ended its direction between two messages and without a close frame.
    half_closed: bool,
    peer_done: bool,
    shut_down: bool,
}

/// The Pongs on their way. A peer that sends Pings and does not read costs the server no more than this holds.
#[derive(Debug, Default)]
struct Pongs {
    /// How far `out` has to be written for all of them to be gone.
    end: u64,
    /// How many were queued since all were gone last.
    queued: u8,
    /// The newest of those that were over the bound.
    newest: Option<Bytes>,
}

const MAX_PONGS: u8 = 32;

/// Unanswered barriers that are remembered. The hub has one in flight.
const MAX_BARRIERS: usize = 16;

/// Events and reads between two yields, on runtimes that do not make busy tasks yield by themselves.
const BUDGET: u8 = 64;

/// What is read at once, into a buffer on the stack that has to be cleared: room for some messages of a chat, for many
/// where the last read left more, and for long ones.
const READ: usize = 1024;
const LONG_READ: usize = 4 * 1024;
const LONGEST_READ: usize = 32 * 1024;
/// A decoder that was fed more than this at a time, or a longer frame, may hold large buffers.
const MAX_SPARE: u32 = 4 * 1024;

/// Messages up to this size are copied by the session.
const COPIED_BY_SESSION: usize = 4 * 1024;

impl<S: ByteStream> WsTransport<S> {
    /// A connection whose stream stands right behind the handshake.
    #[must_use]
    pub fn new(stream: S, config: Arc<WsConfig>) -> Self {
        Self {
            guard: Guard::new(config.max_message()),
            stream,
            config,
            decoder: None,
            received: 0,
            more: false,
            pinged: false,
            violation: None,
            out: WriteQueue::default(),
            taken: 0,
            pongs: Pongs::default(),
            barriers: VecDeque::new(),
            budget: BUDGET,
            close_sent: false,
            half_closed: false,
            peer_done: false,
            shut_down: false,
        }
    }

    /// Takes the bytes that were read from the stream together with the handshake.
    #[must_use]
    pub fn with_leftover(mut self, bytes: &[u8]) -> Self {
        self.feed(bytes);
        self
    }

    fn feed(&mut self, bytes: &[u8]) {
        let (fine, verdict) = self.guard.check(bytes);
        self.violation = verdict.err();
        if fine > 0 {
            self.decoder.get_or_insert_with(|| spare::take(&self.config)).feed(&bytes[..fine]);
        }
    }

    /// The connection is idle: the decoder, which holds nothing of it, serves the next one that is not. One that did
    /// not give all that it was fed is not trusted with another connection.
    fn rest(&mut self) {
        let given_all = self.guard.is_spent();
        let small = self.guard.largest() <= MAX_SPARE;
        self.guard.rest();
        if let Some(decoder) = self.decoder.take().filter(|_| given_all && small) {
            spare::put(&self.config, decoder);
        }
    }

    /// A message's payload without hold on a buffer that is much larger: engines give slices of what they read into.
    fn own(&self, payload: Bytes) -> Bytes {
        let buffer = usize::try_from(self.guard.largest()).unwrap_or(usize::MAX);
        if payload.len() > COPIED_BY_SESSION && payload.len() < buffer / 2 {
            Bytes::copy_from_slice(&payload)
        } else {
            payload
        }
    }

    /// The next thing that the bytes read so far hold.
    fn decode(&mut self) -> Option<Result<Incoming, TransportError>> {
        let limit = self.config.max_message();
        if let Some(decoder) = &mut self.decoder
            && (self.pinged || !self.guard.is_spent())
        {
            let event = decoder.next();
            let output = decoder.take_output();
            match &event {
                Some(Ok(Event::Ping)) => self.pinged = true,
                Some(_) => {}
                None => self.pinged = false,
            }
            self.pong(output);
            match event {
                Some(Ok(event)) => {
                    self.guard.count_event();
                    return Some(Ok(self.incoming(event)));
                }
                Some(Err(error)) => {
                    self.peer_is_done();
                    return Some(Err(match error {
                        EngineError::Protocol => TransportError::Protocol("refused by the engine"),
                        EngineError::BadText => TransportError::BadText,
                        EngineError::TooBig => TransportError::TooBig { limit },
                    }));
                }
                None => {}
            }
        }
        let violation = self.violation.take()?;
        self.peer_is_done();
        Some(Err(match violation {
            Violation::Protocol(what) => TransportError::Protocol(what),
            Violation::TooBig => TransportError::TooBig { limit },
        }))
    }

    fn incoming(&mut self, event: Event) -> Incoming {
        match event {
            Event::Text(text) => Incoming::Message(Message::new(MessageKind::Text, self.own(text))),
            Event::Binary(data) => Incoming::Message(Message::new(MessageKind::Binary, self.own(data))),
            Event::Ping => Incoming::Alive,
            Event::Pong(payload) => frame::barrier_of(&payload)
                .filter(|number| self.is_awaited(*number))
                .map_or(Incoming::Alive, Incoming::Barrier),
            Event::Close => {
                // It is answered by `poll_close`, so that the session can still send what it owes (RFC 6455 section
                // 5.5.1 allows to finish first).
                self.peer_is_done();
                Incoming::Close
            }
        }
    }

    /// Whether a barrier of this number waits for its answer. If so, those before it are answered too: a peer may
    /// answer only the newest of several Pings (RFC 6455 section 5.5.3).
    fn is_awaited(&mut self, number: u64) -> bool {
        let Some(at) = self.barriers.iter().position(|sent| *sent == number) else {
            return false;
        };
        self.barriers.drain(..=at);
        if self.barriers.is_empty() {
            self.barriers = VecDeque::new();
        }
        true
    }

    /// Nothing more that the peer sends counts.
    fn peer_is_done(&mut self) {
        self.peer_done = true;
        self.decoder = None;
        self.violation = None;
    }

    fn push(&mut self, bytes: Bytes) {
        self.pongs.end = self.out.push(bytes);
    }

    fn pong(&mut self, output: Bytes) {
        if output.is_empty() || self.close_sent {
            return;
        }
        if self.pongs.end <= self.out.written() {
            self.pongs.queued = 0;
        }
        if self.pongs.queued < MAX_PONGS {
            self.pongs.queued += 1;
            self.push(output);
        } else {
            self.pongs.newest = Some(output);
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.pongs.end <= self.out.written()
                && let Some(newest) = self.pongs.newest.take()
            {
                self.pong(newest);
            }
            ready!(self.out.poll_flush(&mut self.stream, cx))?;
            if self.pongs.newest.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads once and feeds what came; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let rest_of_frame = self.guard.remaining();
        if rest_of_frame > LONG_READ as u64 {
            self.poll_fill_with::<LONGEST_READ>(cx)
        } else if self.more || rest_of_frame > READ as u64 {
            self.poll_fill_with::<LONG_READ>(cx)
        } else {
            self.poll_fill_with::<READ>(cx)
        }
    }

    // Out of line, so that the frames of callers do not carry the buffers.
    #[inline(never)]
    fn poll_fill_with<const N: usize>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buf = [0; N];
        let count = ready!(self.stream.poll_read(cx, &mut buf))?;
        self.received += count as u64;
        self.more = count == N;
        if !self.peer_done {
            self.feed(&buf[..count]);
        }
        Poll::Ready(Ok(count > 0))
    }

    fn goodbye(&mut self, reason: CloseReason) {
        if self.close_sent {
            return;
        }
        self.close_sent = true;
        match frame::goodbye(reason) {
            Some(bytes) => self.taken = self.out.push(bytes),
            // No close frame, so no answer to wait for.
            None => self.peer_is_done(),
        }
    }

    /// Reads and forgets, all but the frame headers; `false` at the end of the stream.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buf = [0; LONG_READ];
        let count = ready!(self.stream.poll_read(cx, &mut buf))?;
        if !self.peer_done && self.guard.check(&buf[..count]).1.is_err() {
            self.peer_done = true;
        }
        Poll::Ready(Ok(count > 0))
    }

    /// Takes one from the budget, or wakes the task and says that it has to yield.
    fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        if self.budget > 0 {
            self.budget -= 1;
            return true;
        }
        self.budget = BUDGET;
        cx.waker().wake_by_ref();
        false
    }
}

impl<S: ByteStream> Transport for WsTransport<S> {
    fn framing(&self) -> &'static Framing {
        self.config.framing()
    }

    fn confirms(&self) -> bool {
        true
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        loop {
            if !self.may_go_on(cx) {
                return Poll::Pending;
            }
            if let Some(incoming) = self.decode() {
                return Poll::Ready(incoming);
            }
            if self.peer_done {
                return Poll::Ready(Err(TransportError::Closed));
            }
            // The session flushes what it handed over; Pongs it knows nothing of.
            if self.pongs.end > self.out.written()
                && let Poll::Ready(Err(error)) = self.poll_out(cx)
            {
                return Poll::Ready(Err(error.into()));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    self.half_closed = self.guard.at_boundary();
                    self.peer_is_done();
                    return Poll::Ready(if self.half_closed {
                        Ok(Incoming::Close)
                    } else {
                        Err(TransportError::Closed)
                    });
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    if self.guard.at_boundary() {
                        self.rest();
                    }
                    self.budget = BUDGET;
                    return Poll::Pending;
                }
            }
        }
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        let bytes = match out {
            Outgoing::Close(reason) => {
                self.goodbye(reason);
                return Ok(self.taken);
            }
            _ if self.close_sent => return Err(TransportError::Closed),
            Outgoing::Frame(frame) => frame.into_bytes(),
            Outgoing::Rest(rest) => rest,
            Outgoing::Barrier(number) => {
                if self.barriers.len() == MAX_BARRIERS {
                    self.barriers.pop_front();
                }
                self.barriers.push_back(number);
                frame::barrier(number)
            }
            Outgoing::Ping => frame::ping(),
            _ => return Ok(self.taken),
        };
        self.taken = self.out.push(bytes);
        Ok(self.taken)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_out(cx).map_err(TransportError::from)
    }

    fn written(&self) -> u64 {
        // Pongs behind the session's last frame are not the session's.
        self.out.written().min(self.taken)
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        self.stream.writer()
    }

    fn is_at_rest(&self) -> bool {
        self.out.is_empty() && self.pongs.newest.is_none() && !self.close_sent
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.decoder = None;
        self.pongs.newest = None;
        // What follows a frame that the guard refused cannot be understood any more.
        self.peer_done |= self.violation.take().is_some();
        if self.guard.is_closed() && !self.close_sent {
            self.close_sent = true;
            self.push(frame::close_answer(self.guard.close_code()));
        } else if self.half_closed {
            // A client that still reads learns that it has everything.
            self.goodbye(CloseReason::PeerClosed);
        }
        ready!(self.poll_out(cx))?;
        loop {
            // The closing handshake (RFC 6455 section 7.1.2) goes first, then the server ends its direction.
            let answered = self.peer_done || !self.close_sent || self.guard.is_closed();
            if answered && !self.shut_down {
                ready!(self.stream.poll_shutdown(cx))?;
                self.shut_down = true;
            }
            if !self.may_go_on(cx) {
                return Poll::Pending;
            }
            if !ready!(self.poll_discard(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S> fmt::Debug for WsTransport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsTransport")
            .field("engine", self.config.engine())
            .field("idle", &self.decoder.is_none())
            .field("close_sent", &self.close_sent)
            .field("peer_done", &self.peer_done)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_at_rest_is_small() {
        // With a stream as large as tokio's `TcpStream`.
        assert!(size_of::<WsTransport<[usize; 4]>>() <= 352, "{}", size_of::<WsTransport<[usize; 4]>>());
    }
}
