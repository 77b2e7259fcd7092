use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::{COPY_UP_TO, Framing, IDENTITY, Incoming, Outgoing, Transport, TransportError};
use crate::{Message, error::BoxError};

/// Makes a [`Transport`] of any stream and sink of messages, so that a custom adapter is a codec and this call.
///
/// The stream's end is the peer's close; its errors break the connection. After either the stream is not polled again. A message counts as received when the sink
/// has flushed it, so [`Confirm::Written`](crate::Confirm::Written) is what such a transport can prove. Close reasons
/// are not sent, the sink is closed.
///
/// ```
/// use futures_util::{SinkExt, StreamExt, sink, stream};
/// use tok_core::{Message, error::BoxError, transport};
///
/// let messages = stream::iter([Ok::<_, BoxError>(Message::from("hi"))]);
/// let replies = sink::drain().sink_map_err(|never| match never {});
/// let transport = transport::from_framed(messages, replies);
/// # let _ = transport;
/// ```
pub fn from_framed<S, K>(stream: S, sink: K) -> Framed<S, K>
where
    S: Stream<Item = Result<Message, BoxError>> + Send + Unpin + 'static,
    K: Sink<Message, Error = BoxError> + Send + Unpin + 'static,
{
    Framed {
        stream,
        sink,
        waiting: Waiting::default(),
        accepted: 0,
        written: 0,
        ended: false,
        longest: 0,
        closing: false,
        closed: false,
    }
}

/// What [`from_framed`] returns.
pub struct Framed<S, K> {
    stream: S,
    sink: K,
    waiting: Waiting,
    accepted: u64,
    written: u64,
    /// The stream has ended or failed. Many streams panic when they are polled after that.
    ended: bool,
    /// The most bytes that a message from the peer had.
    longest: usize,
    closing: bool,
    /// The sink is closed; what the peer still sends is discarded.
    closed: bool,
}

/// What a codec may read into, whatever the length of messages.
const READ_BUFFER: usize = 64 * 1024;

/// Messages discarded in one poll of a close, before others get their turn.
const DISCARDS_PER_POLL: usize = 64;

type Waiting = std::collections::VecDeque<Message>;

impl<S, K> Framed<S, K>
where
    S: Stream<Item = Result<Message, BoxError>> + Unpin,
{
    /// The next message; `None` at the end of the stream, and at every later call.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }

    /// The message without hold on a buffer that is much larger. Codecs give slices of what they read into, which has room
    /// for the longest message so far.
    fn own(&mut self, message: Message) -> Message {
        self.longest = self.longest.max(message.data().len());
        let bytes = message.data().len();
        if bytes <= COPY_UP_TO || bytes >= self.longest.max(READ_BUFFER) / 2 {
            return message;
        }
        Message::new(message.kind(), Bytes::copy_from_slice(message.data())).with_id(message.id())
    }
}

impl<S, K> Framed<S, K>
where
    K: Sink<Message, Error = BoxError> + Unpin,
{
    fn poll_sink(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        while !self.waiting.is_empty() {
            ready!(Pin::new(&mut self.sink).poll_ready(cx))?;
            if let Some(message) = self.waiting.pop_front() {
                Pin::new(&mut self.sink).start_send(message)?;
            }
        }
        ready!(Pin::new(&mut self.sink).poll_flush(cx))?;
        self.written = self.accepted;
        Poll::Ready(Ok(()))
    }
}

impl<S, K> Transport for Framed<S, K>
where
    S: Stream<Item = Result<Message, BoxError>> + Send + Unpin + 'static,
    K: Sink<Message, Error = BoxError> + Send + Unpin + 'static,
{
    fn framing(&self) -> &'static Framing {
        &IDENTITY
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        Poll::Ready(match ready!(self.poll_stream(cx)) {
            Some(Ok(message)) => Ok(Incoming::Message(self.own(message))),
            Some(Err(error)) => Err(broken(error)),
            None => Ok(Incoming::Close),
        })
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        if self.closing {
            return Err(TransportError::Closed);
        }
        match out {
            Outgoing::Frame(frame) => {
                // One byte more than the payload, so that an empty message is also seen to be written.
                self.accepted += frame.bytes().len() as u64 + 1;
                self.waiting.push_back(Message::new(frame.kind(), frame.into_bytes()));
            }
            Outgoing::Close(_) => self.closing = true,
            Outgoing::Rest(_) | Outgoing::Barrier(_) | Outgoing::Ping => {}
        }
        Ok(self.accepted)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll_sink(cx).map_err(broken)
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.closing = true;
        if !self.closed {
            ready!(self.poll_sink(cx)).map_err(broken)?;
            ready!(Pin::new(&mut self.sink).poll_close(cx)).map_err(broken)?;
            self.closed = true;
        }
        for _ in 0..DISCARDS_PER_POLL {
            match ready!(self.poll_stream(cx)) {
                Some(message) => drop(message.map_err(broken)?),
                None => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, K> fmt::Debug for Framed<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

fn broken(error: BoxError) -> TransportError {
    TransportError::Io(std::io::Error::other(error))
}
