use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use super::{Client, Link, Sent, leave, push, wake};
use crate::{CloseReason, Message, sync::Mutex, transport::Incoming};

/// The client's end of a [`memory_pair`](crate::testkit::memory_pair). Dropping it closes in good order.
pub struct MemoryPeer {
    link: Arc<Mutex<Link>>,
    answers: bool,
}

/// What a client reads.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// A message.
    Message(Message),
    /// The server closed, and said why.
    Close(CloseReason),
    /// The server is gone.
    End,
}

impl MemoryPeer {
    pub(super) fn new(link: Arc<Mutex<Link>>) -> Self {
        Self { link, answers: true }
    }

    /// Sends a message to the server.
    pub fn send(&self, message: impl Into<Message>) {
        self.push(Incoming::Message(message.into()));
    }

    /// Sends this many bytes of a message that is longer: they reach the server, and make nothing whole.
    pub fn send_part(&self, bytes: usize) {
        let waker = {
            let mut link = self.link.lock();
            if link.client == Client::Here {
                link.received += bytes as u64;
            }
            link.server_waker.take()
        };
        wake(waker);
    }

    /// From now on messages reach the server in portions of at most `bytes` (at least 1), and a read of the server's waits
    /// between two of them.
    pub fn trickle(&self, bytes: usize) {
        self.link.lock().portion = Some(bytes.max(1));
    }

    /// Sends a sign of life.
    pub fn pong(&self) {
        self.push(Incoming::Alive);
    }

    /// Answers a barrier, asked or not: what a hostile client might do.
    pub fn answer(&self, number: u64) {
        self.push(Incoming::Barrier(number));
    }

    /// Whether the client's stack answers barriers and pings that it reads from now on. It does by default.
    pub fn answers(&mut self, answers: bool) {
        self.answers = answers;
    }

    /// Reads the next message or the end. Barriers and pings on the way are answered and not shown.
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Read {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), but only what is there already.
    pub fn try_recv(&mut self) -> Option<Read> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            match ready!(self.poll_next(cx)) {
                None => return Poll::Ready(Read::End),
                Some(Sent::Message(message)) => return Poll::Ready(Read::Message(message)),
                Some(Sent::Close(reason)) => return Poll::Ready(Read::Close(reason)),
                Some(Sent::Barrier(number)) if self.answers => self.answer(number),
                Some(Sent::Ping) if self.answers => self.pong(),
                Some(Sent::Barrier(_) | Sent::Ping) => {}
            }
        }
    }

    /// Takes the next thing out of the buffer; `None` at the end.
    pub(in crate::testkit) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        let (sent, waker) = {
            let mut link = self.link.lock();
            let Some(sent) = link.to_client.pop_front() else {
                if link.server_gone {
                    return Poll::Ready(None);
                }
                link.client_waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            link.buffered -= sent.len();
            (sent, link.server_waker.take())
        };
        wake(waker);
        Poll::Ready(Some(sent))
    }

    /// The link, for a network between the two ends.
    pub(in crate::testkit) fn link(&self) -> Arc<Mutex<Link>> {
        Arc::clone(&self.link)
    }

    /// Closes in good order.
    pub fn close(&self) {
        leave(&self.link, Client::Closed);
    }

    /// Resets the connection: the server learns at once, and what it had written is lost.
    pub fn reset(&self) {
        leave(&self.link, Client::Reset);
    }

    /// Vanishes without a word: the server learns nothing, and what it writes from now on is lost, as is what it had
    /// written and the client not read.
    pub fn vanish(&self) {
        leave(&self.link, Client::Vanished);
    }

    fn push(&self, incoming: Incoming) {
        push(&self.link, incoming);
    }
}

impl Drop for MemoryPeer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for MemoryPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPeer").finish_non_exhaustive()
    }
}
