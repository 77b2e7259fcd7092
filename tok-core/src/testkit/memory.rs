mod peer;

use std::{
    collections::VecDeque,
    fmt, io,
    sync::Arc,
    task::{Context, Poll, Waker},
};

pub use self::peer::{MemoryPeer, Read};
use crate::{
    CloseReason, Message,
    sync::Mutex,
    transport::{Frame, Framing, IDENTITY, Incoming, Outgoing, Transport, TransportError, WriteNow},
};

/// A connection in memory: the server's end is a [`Transport`], the other is the client, in the hands of a test.
///
/// Between them lies what would be the network and the two kernels' buffers: `buffer` bytes that the server has
/// "written" may be unread, and are lost when the client vanishes. The client's stack answers barriers and pings as
/// it reads past them, unless it is told not to.
#[must_use]
pub fn memory_pair(buffer: usize, confirms: bool) -> (MemoryTransport, MemoryPeer) {
    let link = Arc::new(Mutex::new(Link { buffer, ..Link::default() }));
    (MemoryTransport { link: Arc::clone(&link), confirms, closing: false }, MemoryPeer::new(link))
}

#[derive(Debug, Default)]
pub(super) struct Link {
    buffer: usize,
    /// Written by the server and not read by the client.
    to_client: VecDeque<Sent>,
    buffered: usize,
    /// Taken from the session and not written, for want of room.
    unwritten: VecDeque<Sent>,
    accepted: u64,
    written: u64,
    /// The most that was ever taken and not written.
    most_unwritten: u64,
    to_server: VecDeque<Incoming>,
    /// The bytes that reached the server, those of messages that are not whole yet included.
    received: u64,
    /// Messages reach the server in portions of this many bytes.
    portion: Option<usize>,
    /// The bytes of the next message that have reached the server.
    arrived: usize,
    server_gone: bool,
    client: Client,
    server_waker: Option<Waker>,
    client_waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Client {
    #[default]
    Here,
    /// Closed in good order: the server reads what was sent, then the close.
    Closed,
    /// Reset: the server learns at once.
    Reset,
    /// Gone without a word: the server writes until the buffer is full, and hears nothing.
    Vanished,
}

#[derive(Debug)]
pub(super) enum Sent {
    Message(Message),
    Barrier(u64),
    Ping,
    Close(CloseReason),
}

impl Sent {
    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.data().len() + 8,
            _ => 8,
        }
    }
}

impl Link {
    /// One thing of any size fits into an empty buffer.
    fn has_room(&self, next: &Sent) -> bool {
        self.buffered == 0 || self.buffered + next.len() <= self.buffer
    }

    /// Moves one more portion of the next message. Returns false if the message is whole, or is the next thing whole.
    fn receive_portion(&mut self) -> bool {
        let (Some(portion), Some(Incoming::Message(message))) = (self.portion, self.to_server.front()) else {
            return false;
        };
        let waits = message.data().len() - self.arrived > portion;
        if waits {
            self.arrived += portion;
            self.received += portion as u64;
        }
        waits
    }

    fn receive(&mut self) -> Option<Incoming> {
        let incoming = self.to_server.pop_front()?;
        let bytes = if let Incoming::Message(message) = &incoming { message.data().len() } else { 0 };
        self.received += (bytes - std::mem::take(&mut self.arrived)) as u64 + 8;
        Some(incoming)
    }

    /// Moves what fits into the buffer.
    fn write(&mut self) {
        while let Some(next) = self.unwritten.front() {
            if !self.has_room(next) {
                return;
            }
            let Some(next) = self.unwritten.pop_front() else { return };
            self.buffered += next.len();
            self.written += next.len() as u64;
            self.to_client.push_back(next);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The server's end of a [`memory_pair`].
pub struct MemoryTransport {
    link: Arc<Mutex<Link>>,
    confirms: bool,
    closing: bool,
}

impl Transport for MemoryTransport {
    fn framing(&self) -> &'static Framing {
        &IDENTITY
    }

    fn confirms(&self) -> bool {
        self.confirms
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        let mut link = self.link.lock();
        if link.client == Client::Reset {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if link.receive_portion() {
            drop(link);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(incoming) = link.receive() {
            return Poll::Ready(Ok(incoming));
        }
        if link.client == Client::Closed {
            return Poll::Ready(Ok(Incoming::Close));
        }
        link.server_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        let mut link = self.link.lock();
        if link.client == Client::Reset {
            return Err(TransportError::Closed);
        }
        let sent = match out {
            Outgoing::Frame(frame) => Sent::Message(Message::new(frame.kind(), frame.into_bytes())),
            // The writer takes whole frames.
            Outgoing::Rest(_) => return Ok(link.accepted),
            Outgoing::Barrier(number) => Sent::Barrier(number),
            Outgoing::Ping => Sent::Ping,
            Outgoing::Close(reason) => {
                self.closing = true;
                Sent::Close(reason)
            }
        };
        link.accepted += sent.len() as u64;
        link.most_unwritten = link.most_unwritten.max(link.accepted - link.written);
        link.unwritten.push_back(sent);
        Ok(link.accepted)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let (result, waker) = {
            let mut link = self.link.lock();
            if link.client == Client::Reset {
                return Poll::Ready(Err(TransportError::Closed));
            }
            link.write();
            if link.unwritten.is_empty() {
                (Poll::Ready(Ok(())), link.client_waker.take())
            } else {
                link.server_waker = Some(cx.waker().clone());
                (Poll::Pending, link.client_waker.take())
            }
        };
        wake(waker);
        result
    }

    fn written(&self) -> u64 {
        self.link.lock().written
    }

    fn received(&self) -> u64 {
        self.link.lock().received
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        Some(Arc::new(MemoryWriter(Arc::clone(&self.link))))
    }

    fn is_at_rest(&self) -> bool {
        !self.closing && self.link.lock().unwritten.is_empty()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        match self.poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let mut link = self.link.lock();
        link.to_server.clear();
        link.arrived = 0;
        // Done when the client is done too.
        if link.client == Client::Closed {
            return Poll::Ready(Ok(()));
        }
        link.server_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Takes whole frames, as long as there is room.
struct MemoryWriter(Arc<Mutex<Link>>);

impl WriteNow for MemoryWriter {
    fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
        let mut written = 0;
        let waker = {
            let mut link = self.0.lock();
            if link.client == Client::Reset || link.server_gone {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            for frame in frames {
                let sent = Sent::Message(Message::new(frame.kind(), frame.bytes().clone()));
                if !link.unwritten.is_empty() || !link.has_room(&sent) {
                    break;
                }
                link.buffered += sent.len();
                link.to_client.push_back(sent);
                written += frame.bytes().len();
            }
            link.client_waker.take()
        };
        wake(waker);
        Ok(written)
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let waker = {
            let mut link = self.link.lock();
            link.server_gone = true;
            link.unwritten.clear();
            link.client_waker.take()
        };
        wake(waker);
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").finish_non_exhaustive()
    }
}

/// The most bytes that the transport ever held for want of room.
pub(super) fn most_unwritten(link: &Mutex<Link>) -> u64 {
    link.lock().most_unwritten
}

/// Something of the client's arrives at the server.
pub(super) fn push(link: &Mutex<Link>, incoming: Incoming) {
    let waker = {
        let mut link = link.lock();
        if link.client != Client::Here {
            return;
        }
        link.to_server.push_back(incoming);
        link.server_waker.take()
    };
    wake(waker);
}

/// The client is gone, and the server learns of it what it can.
pub(super) fn leave(link: &Mutex<Link>, how: Client) {
    let waker = {
        let mut link = link.lock();
        if link.client == Client::Here || how == Client::Reset {
            link.client = how;
        }
        link.server_waker.take()
    };
    wake(waker);
}
