//! The rules, one function each. A rule panics, saying what is wrong, unless the transport, which must be fresh, keeps
//! it.

mod closing;
mod confirming;
mod receiving;
mod sending;
mod waking;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

pub use self::{closing::*, confirming::*, receiving::*, sending::*, waking::*};
use super::{Pair, PeerEvent};
use crate::{
    Message, Transport,
    transport::{Incoming, Outgoing, TransportError},
};

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            // receiving
            messages_arrive_in_order
            message_bytes_are_exact
            a_small_message_holds_no_large_buffer
            recv_is_cancel_safe
            parts_of_a_message_count_as_received
            peer_close_is_reported_as_close_and_nothing_follows
            broken_connection_is_an_error
            // sending
            frames_go_out_whole_and_in_order
            accepted_counts_rise
            written_never_passes_accepted
            written_reaches_accepted_after_flush
            flush_is_pending_while_the_peer_does_not_read
            both_directions_flow_at_once
            direct_writes_keep_their_place
            // closing
            close_flushes_what_was_sent
            answers_reach_a_peer_that_ended_its_direction
            close_discards_what_the_peer_sends_and_ends_when_it_is_done
            nothing_is_sent_after_close
            a_broken_connection_can_be_closed
            // waking
            pending_recv_registers_the_waker
            pending_flush_registers_the_waker
            pending_close_registers_the_waker
            a_flooding_peer_does_not_hold_the_task
            a_flooding_peer_does_not_hold_the_task_that_closes
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_confirm_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*)
            barrier_is_answered_only_after_what_is_before_is_read
            barrier_number_comes_back
            unsent_barrier_numbers_never_come_back
            ping_gives_a_sign_of_life
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_kind_rules {
    ($then:ident, ($($args:tt)*)) => { $crate::$then! { ($($args)*) kinds_are_kept } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_empty_rules {
    ($then:ident, ($($args:tt)*)) => { $crate::$then! { ($($args)*) an_empty_message_is_a_message } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_reason_rules {
    ($then:ident, ($($args:tt)*)) => { $crate::$then! { ($($args)*) the_close_reason_reaches_the_peer } };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_limit_rules {
    ($then:ident, ($($args:tt)*)) => {
        $crate::$then! { ($($args)*) too_big_is_refused_with_the_limit_inclusive }
    };
}

/// Sizes on both sides of where formats and buffers change.
const SIZES: [usize; 10] = [1, 125, 126, 127, 4095, 4096, 65_535, 65_536, 65_537, 200_000];

/// A binary message of so many bytes, of which no two stretches of 61 look alike.
fn message(number: usize, bytes: usize) -> Message {
    let mut data = vec![number.to_le_bytes()[0]; bytes];
    for (index, stretch) in data.chunks_mut(61).enumerate() {
        stretch
            .iter_mut()
            .zip(index.to_be_bytes().into_iter().skip(5))
            .for_each(|(place, byte)| *place ^= byte);
    }
    Message::binary(data)
}

/// Short messages with a number each.
fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|number| Message::binary(format!("message {number}"))).collect()
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One poll with a waker of its own, and whether that was woken.
fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> (Poll<T>, bool) {
    let (wakes, waker) = Wakes::new();
    let polled = poll(&mut Context::from_waker(&waker));
    (polled, wakes.take() > 0)
}

/// Polls, with a new waker each time, until it is ready or waits for something that has not happened.
async fn settle<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    for _ in 0..1_000_000 {
        match poll_once(&mut poll) {
            (Poll::Ready(output), _) => return Some(output),
            (Poll::Pending, false) => return None,
            // Some runtimes make busy tasks yield, and are satisfied only by a yield.
            (Poll::Pending, true) => yield_once().await,
        }
    }
    panic!("a poll wakes its own task and is pending without end");
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the rules do with a connection. `None` is: not now.
impl Pair {
    fn transport(&mut self) -> &mut dyn Transport {
        self.transport.as_deref_mut().expect("the rule has not dropped the transport")
    }

    /// The next thing that the transport gives.
    async fn recv_any(&mut self) -> Option<Result<Incoming, TransportError>> {
        settle(|cx| self.transport().poll_recv(cx)).await
    }

    /// The same, signs of life aside: a transport may give them as it likes.
    async fn recv(&mut self) -> Option<Result<Incoming, TransportError>> {
        loop {
            match self.recv_any().await {
                Some(Ok(Incoming::Alive)) => {}
                other => return other,
            }
        }
    }

    /// The next thing, which must be a message.
    async fn recv_message(&mut self) -> Message {
        match self.recv().await {
            Some(Ok(Incoming::Message(message))) => message,
            other => panic!("a message was sent, and the transport gave {other:?}"),
        }
    }

    async fn recv_nothing(&mut self) {
        let got = self.recv().await;
        assert!(got.is_none(), "nothing was sent, and the transport gave {got:?}");
    }

    fn start(&mut self, out: Outgoing) -> u64 {
        let accepted = self.transport().start_send(out).expect("start_send must succeed");
        self.accepted = accepted;
        accepted
    }

    fn start_message(&mut self, message: &Message) -> u64 {
        let frame = self.transport().framing().encode(message);
        self.start(Outgoing::Frame(frame))
    }

    /// Whether all is written.
    async fn flush(&mut self) -> bool {
        settle(|cx| self.transport().poll_flush(cx)).await.transpose().expect("flush must succeed").is_some()
    }

    async fn close(&mut self) -> Option<Result<(), TransportError>> {
        settle(|cx| self.transport().poll_close(cx)).await
    }

    fn assert_written_within_accepted(&mut self) {
        let (written, accepted) = (self.transport().written(), self.accepted);
        assert!(written <= accepted, "{written} bytes are written of {accepted} that were taken");
    }

    async fn peer_recv(&mut self) -> Option<PeerEvent> {
        settle(|cx| self.peer.poll_recv(cx)).await
    }

    /// Everything that the peer can read now.
    async fn peer_read(&mut self) -> Vec<PeerEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.peer_recv().await {
            let end = event == PeerEvent::End;
            events.push(event);
            if end {
                break;
            }
        }
        events
    }

    /// Flushes while the peer reads, until all is there; what the peer read.
    async fn deliver(&mut self) -> Vec<PeerEvent> {
        let mut events = Vec::new();
        for _ in 0..1_000_000 {
            let flushed = self.flush().await;
            events.extend(self.peer_read().await);
            if flushed {
                return events;
            }
        }
        panic!("a flush must come to its end while the peer reads");
    }

    /// Flushes until the peer has read one thing, or all is written and there is nothing.
    async fn deliver_next(&mut self) -> Vec<PeerEvent> {
        for _ in 0..1_000_000 {
            let flushed = self.flush().await;
            let event = self.peer_recv().await;
            if flushed || event.is_some() {
                return event.into_iter().collect();
            }
        }
        panic!("a flush must come to its end while the peer reads");
    }

    /// Sends to the peer, which does not read, until a flush is pending; what was sent.
    async fn fill(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        for number in 0..256 {
            let message = message(number, 64 * 1024);
            self.start_message(&message);
            sent.push(message);
            if !self.flush().await {
                return sent;
            }
        }
        panic!("16 MiB are flushed to a peer that reads nothing");
    }
}

/// The payloads of events that must all be messages.
#[track_caller]
fn assert_messages(events: &[PeerEvent], expected: &[Message]) {
    let mut expected = expected.iter();
    for (index, event) in events.iter().enumerate() {
        let PeerEvent::Message(message) = event else {
            panic!("the peer must read messages only, and read {event:?}");
        };
        let wanted = expected.next();
        assert!(
            wanted.is_some_and(|wanted| wanted.data() == message.data()),
            "message {index} that the peer read, {message:?}, is not the one sent, {wanted:?}"
        );
    }
    assert_eq!(expected.len(), 0, "the peer read {} messages, some are missing", events.len());
}
