use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{Peer, PeerEvent};
use crate::{
    Message,
    testkit::{MemoryPeer, MemoryTransport, Read, memory_pair},
    transport::{Framing, Incoming, Outgoing, Transport, TransportError, WriteNow},
};

/// A [`ReferenceTransport`] with 64 KiB of buffer, and its peer.
#[must_use]
pub fn reference_pair(confirms: bool) -> (ReferenceTransport, MemoryPeer) {
    let (inner, peer) = memory_pair(64 * 1024, confirms);
    (ReferenceTransport { inner, awaited: VecDeque::new(), closing: false }, peer)
}

/// A [`MemoryTransport`] that trusts neither end: it keeps the whole contract, with answers that were not asked for,
/// messages over a limit and sends after a close.
pub struct ReferenceTransport {
    pub(super) inner: MemoryTransport,
    pub(super) awaited: VecDeque<u64>,
    closing: bool,
}

/// What is discarded in one poll.
const DISCARDS_PER_POLL: usize = 64;

impl ReferenceTransport {
    /// The most bytes that a message to it may have: 256 KiB.
    pub const LIMIT: usize = 256 * 1024;
}

impl Transport for ReferenceTransport {
    fn framing(&self) -> &'static Framing {
        self.inner.framing()
    }

    fn confirms(&self) -> bool {
        self.inner.confirms()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        Poll::Ready(match ready!(self.inner.poll_recv(cx)) {
            Ok(Incoming::Message(message)) if message.data().len() > Self::LIMIT => {
                Err(TransportError::TooBig { limit: Self::LIMIT })
            }
            Ok(Incoming::Barrier(number)) => match self.awaited.iter().position(|sent| *sent == number) {
                Some(at) => {
                    self.awaited.drain(..=at);
                    Ok(Incoming::Barrier(number))
                }
                None => Ok(Incoming::Alive),
            },
            other => other,
        })
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        if self.closing {
            return Err(TransportError::Closed);
        }
        match &out {
            Outgoing::Barrier(number) => self.awaited.push_back(*number),
            Outgoing::Close(_) => self.closing = true,
            Outgoing::Frame(_) | Outgoing::Rest(_) | Outgoing::Ping => {}
        }
        self.inner.start_send(out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_flush(cx)
    }

    fn written(&self) -> u64 {
        self.inner.written()
    }

    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        self.inner.writer()
    }

    fn is_at_rest(&self) -> bool {
        self.inner.is_at_rest()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.closing = true;
        ready!(self.inner.poll_flush(cx))?;
        for _ in 0..DISCARDS_PER_POLL {
            if let Incoming::Close = ready!(self.inner.poll_recv(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for ReferenceTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceTransport").field("closing", &self.closing).finish_non_exhaustive()
    }
}

impl Peer for MemoryPeer {
    fn send(&mut self, message: &Message) {
        Self::send(self, message.clone());
    }

    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<PeerEvent> {
        match self.try_recv() {
            Some(Read::Message(message)) => Poll::Ready(PeerEvent::Message(message)),
            Some(Read::Close(reason)) => Poll::Ready(PeerEvent::Close(reason.code())),
            Some(Read::End) => Poll::Ready(PeerEvent::End),
            None => Poll::Pending,
        }
    }

    fn close(&mut self) {
        Self::close(self);
    }

    fn abort(&mut self) {
        self.reset();
    }

    fn answer(&mut self, number: u64) {
        Self::answer(self, number);
    }

    fn trickle(&mut self, bytes: usize) {
        Self::trickle(self, bytes);
    }

    fn flood(&mut self) {
        (0..20_000).for_each(|_| self.pong());
    }
}
