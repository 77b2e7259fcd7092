//! Transports that are wrong on purpose, each in one way, to show that the suite catches it.

mod fault;

use std::{
    collections::VecDeque,
    fmt, io,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;

pub use self::fault::Fault;
use super::{ReferenceTransport, reference_pair};
use crate::{
    CloseReason, Message, MessageKind,
    testkit::MemoryPeer,
    transport::{Frame, Framing, IDENTITY, Incoming, Outgoing, Transport, TransportError, WriteNow},
};

/// A [`WrongTransport`] that confirms, and its peer.
#[must_use]
pub fn wrong_pair(fault: Fault) -> (WrongTransport, MemoryPeer) {
    let (inner, peer) = reference_pair(true);
    (WrongTransport { fault, inner, state: State::default() }, peer)
}

/// The reference with one [`Fault`].
pub struct WrongTransport {
    fault: Fault,
    inner: ReferenceTransport,
    state: State,
}

/// What the faults need to remember.
#[derive(Default)]
struct State {
    /// To be given before anything else.
    next: VecDeque<Incoming>,
    given: u64,
    left: Option<(Message, Waker)>,
    /// Taken and not handed on.
    waiting: Vec<Outgoing>,
    accepted: u64,
    last: u64,
    closing: bool,
    closed: bool,
    broken: bool,
    unanswered: VecDeque<u64>,
    /// Bytes of whole messages.
    received: u64,
    buffer: Bytes,
}

impl WrongTransport {
    fn message(&mut self, message: Message) -> Message {
        match self.fault {
            Fault::CutsMessages => {
                Message::new(message.kind(), message.data().slice(..message.data().len() & 0xffff))
            }
            Fault::SlicesItsBuffer => {
                let buffer = Bytes::from([&[0; 64 * 1024], &message.data()[..]].concat());
                Message::new(message.kind(), buffer.slice(64 * 1024..))
            }
            Fault::KeepsItsBuffer => {
                self.state.buffer = message.data().clone();
                message
            }
            Fault::ForgetsTheKind => Message::binary(message.into_data()),
            _ => message,
        }
    }

    /// What becomes of a message that is there.
    fn receive(
        &mut self,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Option<Result<Incoming, TransportError>> {
        self.state.given += 1;
        self.state.received += message.data().len() as u64;
        let bytes = message.data().len();
        match self.fault {
            Fault::ReordersMessages => {
                if let Poll::Ready(Ok(second)) = self.inner.poll_recv(cx) {
                    self.state.next.push_back(Incoming::Message(message));
                    return Some(Ok(second));
                }
            }
            Fault::RepeatsMessages if self.state.given.is_multiple_of(10) => {
                self.state.next.push_back(Incoming::Message(message.clone()));
            }
            Fault::SkipsEmptyMessages if bytes == 0 => return None,
            Fault::LosesWhatAPollLeft => {
                self.state.left = Some((message, cx.waker().clone()));
                return None;
            }
            Fault::LimitIsExclusive if bytes == ReferenceTransport::LIMIT => {
                return Some(Err(TransportError::TooBig { limit: bytes }));
            }
            _ => {}
        }
        let message = self.message(message);
        Some(Ok(Incoming::Message(message)))
    }

    fn end(&mut self, end: Result<Incoming, TransportError>) -> Poll<Result<Incoming, TransportError>> {
        let closes = end.is_ok();
        let again = std::mem::replace(&mut self.state.closed, true);
        Poll::Ready(match self.fault {
            Fault::SwallowsTheClose if closes => return Poll::Pending,
            Fault::GivesTheCloseAsMessage if closes && !again => Ok(Incoming::Message(Message::binary(""))),
            Fault::GivesTheCloseAsError if closes => Err(TransportError::Closed),
            Fault::LivesAfterTheClose if again => Ok(Incoming::Alive),
            Fault::BreaksInGoodOrder => Ok(Incoming::Close),
            _ => end,
        })
    }

    fn barrier(&mut self, number: u64) -> Incoming {
        match self.fault {
            Fault::AnswersForThePeer | Fault::AnswersWhenWritten => Incoming::Alive,
            Fault::NumbersBarriersItself => {
                self.state.last += 10;
                Incoming::Barrier(self.state.last)
            }
            Fault::CutsBarrierNumbers => Incoming::Barrier(number & 0xffff_ffff),
            _ => Incoming::Barrier(number),
        }
    }

    /// Hands on what waits for a flush.
    fn hand_on(&mut self) -> Result<(), TransportError> {
        let mut waiting = std::mem::take(&mut self.state.waiting);
        match self.fault {
            Fault::SendsTheNewestFirst => waiting.reverse(),
            Fault::LosesTheTail if waiting.len() > 1 => waiting.truncate(waiting.len() - 1),
            _ => {}
        }
        for out in waiting {
            self.inner.start_send(out)?;
        }
        Ok(())
    }

    /// What is sent in the place of a frame.
    fn frames(&self, message: &Message) -> Vec<Message> {
        let (kind, data) = (message.kind(), message.data());
        match self.fault {
            Fault::SendsBinary => vec![Message::new(MessageKind::Binary, data.clone())],
            Fault::SkipsEmptyMessages if data.is_empty() => Vec::new(),
            Fault::SplitsFrames if data.len() > 4096 => {
                vec![Message::new(kind, data.slice(..4096)), Message::new(kind, data.slice(4096..))]
            }
            _ => vec![message.clone()],
        }
    }
}

impl Transport for WrongTransport {
    fn framing(&self) -> &'static Framing {
        &IDENTITY
    }

    fn confirms(&self) -> bool {
        true
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        if let Some(next) = self.state.next.pop_front() {
            return Poll::Ready(Ok(next));
        }
        if let Some((message, waker)) = self.state.left.take()
            && waker.will_wake(cx.waker())
        {
            return Poll::Ready(Ok(Incoming::Message(message)));
        }
        let raw = matches!(self.fault, Fault::BelievesThePeer | Fault::HasNoLimit | Fault::TellsTheSize);
        loop {
            let mut inner_cx = Context::from_waker(cx.waker());
            if self.fault == Fault::RecvForgetsTheWaker {
                inner_cx = Context::from_waker(Waker::noop());
            }
            if self.fault == Fault::DoesNotReadWhileItWrites && self.inner.poll_flush(cx).is_pending() {
                return Poll::Pending;
            }
            let polled =
                if raw { self.inner.inner.poll_recv(cx) } else { self.inner.poll_recv(&mut inner_cx) };
            let incoming = match ready!(polled) {
                Ok(incoming @ Incoming::Close) => return self.end(Ok(incoming)),
                Err(error) => {
                    self.state.broken = true;
                    return self.end(Err(error));
                }
                Ok(incoming) => incoming,
            };
            return Poll::Ready(Ok(match incoming {
                Incoming::Message(message)
                    if self.fault == Fault::TellsTheSize
                        && message.data().len() > ReferenceTransport::LIMIT =>
                {
                    return Poll::Ready(Err(TransportError::TooBig { limit: message.data().len() }));
                }
                Incoming::Message(message) => match self.receive(message, cx) {
                    Some(given) => return Poll::Ready(given),
                    None if self.state.left.is_some() => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    None => continue,
                },
                Incoming::Barrier(number) => self.barrier(number),
                Incoming::Alive if self.fault == Fault::ReadsOnWithoutEnd => continue,
                Incoming::Alive if self.fault == Fault::HidesSignsOfLife => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                other => other,
            }));
        }
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        if self.state.closing && self.fault != Fault::SendsAfterTheClose {
            return Err(TransportError::Closed);
        }
        if self.state.closed && self.fault == Fault::SendsNothingAfterThePeersEnd {
            return Err(TransportError::Closed);
        }
        let before = self.state.accepted;
        let total = match out {
            Outgoing::Frame(frame) => {
                let message = Message::new(frame.kind(), frame.into_bytes());
                let mut total = before;
                for message in self.frames(&message) {
                    let frame = Outgoing::Frame(IDENTITY.encode(&message));
                    let waits =
                        [Fault::SendsTheNewestFirst, Fault::LosesTheTail, Fault::FlushesIntoItsBuffer];
                    if waits.contains(&self.fault) {
                        total += message.data().len() as u64 + 8;
                        self.state.waiting.push(frame);
                    } else if self.state.closing {
                        total = self.inner.inner.start_send(frame)?;
                    } else {
                        total = self.inner.start_send(frame)?;
                    }
                }
                total
            }
            Outgoing::Barrier(number) => {
                match self.fault {
                    Fault::AnswersForThePeer => self.state.next.push_back(Incoming::Barrier(number)),
                    Fault::AnswersWhenWritten => self.state.unanswered.push_back(number),
                    _ => {}
                }
                self.inner.start_send(Outgoing::Barrier(number))?
            }
            Outgoing::Ping if self.fault == Fault::LivesByItself => {
                self.state.next.push_back(Incoming::Alive);
                before
            }
            out @ (Outgoing::Ping | Outgoing::Rest(_)) => self.inner.start_send(out)?,
            Outgoing::Close(reason) => {
                self.state.closing = true;
                self.hand_on()?;
                let told =
                    if self.fault == Fault::ForgetsTheReason { CloseReason::PeerClosed } else { reason };
                self.inner.start_send(Outgoing::Close(told))?
            }
        };
        self.state.accepted = total;
        Ok(if self.fault == Fault::CountsEachAlone { total - before } else { total })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        if self.state.broken && self.fault == Fault::WaitsForTheBroken {
            return Poll::Pending;
        }
        if self.fault != Fault::FlushesIntoItsBuffer {
            self.hand_on()?;
        }
        let mut inner_cx = Context::from_waker(cx.waker());
        if self.fault == Fault::FlushForgetsTheWaker {
            inner_cx = Context::from_waker(Waker::noop());
        }
        let polled = self.inner.poll_flush(&mut inner_cx);
        if self.fault == Fault::FlushesIntoItsBuffer {
            // Each flush moves one on.
            if polled.is_ready() && !self.state.waiting.is_empty() {
                let out = self.state.waiting.remove(0);
                self.inner.start_send(out)?;
            }
            return Poll::Ready(Ok(()));
        }
        if polled.is_ready() {
            self.state.next.extend(self.state.unanswered.drain(..).map(Incoming::Barrier));
        }
        polled
    }

    fn written(&self) -> u64 {
        let written = self.inner.written();
        match self.fault {
            Fault::CountsItsOwnBytes => written + 2,
            Fault::ForgetsToCountTheLast => written.saturating_sub(1),
            Fault::CountsTheUnwritten => self.state.accepted,
            _ => written,
        }
    }

    fn received(&self) -> u64 {
        match self.fault {
            Fault::CountsWholeMessages => self.state.received,
            Fault::TakesBackWhatItCounted => self.inner.received() - self.state.received,
            _ => self.inner.received(),
        }
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        match self.fault {
            Fault::LosesDirectWrites => Some(Arc::new(Nowhere)),
            _ => self.inner.writer(),
        }
    }

    fn is_at_rest(&self) -> bool {
        match self.fault {
            Fault::RestsAlways => true,
            Fault::RestsNever => false,
            _ => self.state.waiting.is_empty() && self.inner.is_at_rest(),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        match self.fault {
            Fault::CloseDropsTheUnwritten => return self.inner.poll_recv(cx).map(|_| Ok(())),
            Fault::CloseDoesNotWait => return self.poll_flush(cx),
            Fault::CloseDoesNotRead => {
                ready!(self.poll_flush(cx))?;
                return Poll::Pending;
            }
            Fault::CloseForgetsTheWaker => {
                return self.inner.poll_close(&mut Context::from_waker(Waker::noop()));
            }
            Fault::DiscardsWithoutEnd => return self.inner.inner.poll_close(cx),
            Fault::SendsTheNewestFirst | Fault::LosesTheTail => self.hand_on()?,
            _ => {}
        }
        self.inner.poll_close(cx)
    }
}

/// A writer that takes everything.
struct Nowhere;

impl WriteNow for Nowhere {
    fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
        Ok(frames.iter().map(|frame| frame.bytes().len()).sum())
    }
}

impl fmt::Debug for WrongTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrongTransport").field("fault", &self.fault).finish_non_exhaustive()
    }
}
