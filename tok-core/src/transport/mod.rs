//! The seam to a connection: [`Transport`], and what helps to write one.

mod framed;
mod framing;
mod listen;
mod stream;
mod write_queue;

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::{CloseReason, Message};

#[cfg(feature = "smol")]
pub use self::stream::FuturesStream;
#[cfg(feature = "tokio")]
pub use self::stream::{TokioSocket, TokioStream};
pub use self::{
    framed::{Framed, from_framed},
    framing::{Frame, Framing, IDENTITY},
    listen::{Handshake, listen},
    stream::{Accept, ByteStream, PeerAddr},
    write_queue::WriteQueue,
};
pub use crate::error::TransportError;

/// Sessions copy messages up to this size, in bytes, out of the transport's buffers.
pub(crate) const COPY_UP_TO: usize = 4096;

/// One live, authenticated connection: what a session reads messages from and writes frames to.
///
/// # Contract
/// * One owner, one task; every method is cheap and none blocks. `poll_*` register the waker when they return
///   `Pending`, and may be given up and called again at any time without loss (cancel-safe).
/// * What `start_send` takes is written in that order, whole: frames never mix.
/// * `written` never passes what `start_send` returned last, and reaches it after a `poll_flush` that was ready.
/// * `received` never falls. Where messages arrive in parts, it rises with each part and not only with whole messages.
/// * A message of more than 4 KiB is no slice of a buffer that is more than about twice its size: it may wait for long, and
///   would hold all of it. Sessions copy smaller messages.
/// * A transport that [`confirms`](Self::confirms) puts a probe on the wire for [`Outgoing::Barrier`] that the peer
///   answers only after it has read everything before; the answer comes back as [`Incoming::Barrier`] with the same
///   number. Numbers that were not sent must not come back.
/// * After an error from any method the session calls only `start_send(Close)`, `poll_flush` and `poll_close`.
///
/// [`from_framed`] makes a transport of any `Stream + Sink` of messages. The suite in
/// `tok_core::testkit::transport` checks this contract for an implementation.
///
/// ```
/// use std::{collections::VecDeque, task::{Context, Poll}};
/// use tok_core::transport::{Framing, IDENTITY, Incoming, Outgoing, Transport, TransportError};
///
/// /// Plays back what a peer once sent, and forgets what is sent to it.
/// struct Replay(VecDeque<tok_core::Message>, u64);
///
/// impl Transport for Replay {
///     fn framing(&self) -> &'static Framing {
///         &IDENTITY
///     }
///     fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
///         Poll::Ready(Ok(self.0.pop_front().map_or(Incoming::Close, Incoming::Message)))
///     }
///     fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
///         if let Outgoing::Frame(frame) = out {
///             self.1 += frame.bytes().len() as u64;
///         }
///         Ok(self.1)
///     }
///     fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
///         Poll::Ready(Ok(()))
///     }
///     fn written(&self) -> u64 {
///         self.1
///     }
///     fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
///         Poll::Ready(Ok(()))
///     }
/// }
/// ```
pub trait Transport: Send + Unpin + 'static {
    /// How messages become this transport's frames. A message is encoded once for each framing, whatever the number
    /// of receivers.
    fn framing(&self) -> &'static Framing;

    /// Whether the peer answers [`Outgoing::Barrier`] and [`Outgoing::Ping`]. If not, neither is ever sent, and a
    /// message counts as received when it is written. False by default.
    fn confirms(&self) -> bool {
        false
    }

    /// The connection underneath, where several transports in turn can share one. A newer session on the same
    /// connection replaces the older without a goodbye. None by default.
    fn connection(&self) -> Option<ConnectionId> {
        None
    }

    /// The next thing that the peer sent.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>>;

    /// Takes something to write and returns the total number of bytes taken so far. It never waits; the session
    /// bounds what it hands over by [`written`](Self::written).
    ///
    /// # Errors
    /// The connection can take nothing more.
    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError>;

    /// Writes what has been taken; ready when the operating system has all of it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;

    /// The total number of bytes that the operating system took.
    fn written(&self) -> u64;

    /// The total number of bytes that were read from the peer, those of messages that are not whole yet included.
    ///
    /// Bytes that arrive are a sign of life: the session counts each KiB as one second, so that a large message on a slow
    /// line is not taken for silence. Transports that only know whole messages may leave it at 0, the default.
    fn received(&self) -> u64 {
        0
    }

    /// A way for senders to write to the connection while its session rests, which spares waking the session's task.
    /// Asked for once, when the session begins. None by default.
    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        None
    }

    /// Whether frames may be written through the [`writer`](Self::writer) now: all that was taken is written, what the
    /// transport sends of its own accord too, and it is not closed. Asked each time that the session comes to rest;
    /// what is written so counts neither as taken nor as [`written`](Self::written). False by default.
    fn is_at_rest(&self) -> bool {
        false
    }

    /// Ends the connection: flushes, half-closes, then reads and discards until the peer is done too, so that no
    /// reset eats what was written last. The session bounds the time.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("framing", self.framing()).finish_non_exhaustive()
    }
}

/// Writes to a connection from outside its session's task; see [`Transport::writer`]. The hub calls it only while the
/// session rests, and for one write at a time.
pub trait WriteNow: Send + Sync + 'static {
    /// Writes some of the bytes of `frames`, in order and without waiting, and says how many; 0 if there is room for
    /// none. What is left of a frame is handed to the transport as [`Outgoing::Rest`].
    ///
    /// # Errors
    /// The connection is broken. The session's task finds out by itself.
    fn write_now(&self, frames: &[Frame]) -> io::Result<usize>;
}

impl fmt::Debug for dyn WriteNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteNow")
    }
}

/// What comes from a peer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole message.
    Message(Message),
    /// The answer to the barrier of this number.
    Barrier(u64),
    /// A sign of life that is neither: a keep-alive or an answer to one.
    Alive,
    /// The peer closed in good order, or ended its direction; nothing more will come.
    Close,
}

/// What goes to a peer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outgoing {
    /// A message, encoded by this transport's framing.
    Frame(Frame),
    /// What is left of a frame that was written in part through the [`writer`](Transport::writer). It comes before
    /// anything else; transports without a writer never get it.
    Rest(Bytes),
    /// A probe that the peer answers after all before it.
    Barrier(u64),
    /// A probe that asks for a sign of life.
    Ping,
    /// The end, with the reason that the peer is told. Nothing is sent after it.
    Close(CloseReason),
}

/// Names a connection that several transports share in turn; see [`Transport::connection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u128);

impl ConnectionId {
    /// An id that is unique among the live connections of a hub.
    #[must_use]
    pub const fn new(id: u128) -> Self {
        Self(id)
    }
}
