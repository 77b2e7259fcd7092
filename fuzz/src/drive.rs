//! Connections in memory, polled without a runtime until they wait for their peer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tok_core::{
    MessageKind, Transport,
    testkit::ByteEnd,
    transport::{ByteStream, Incoming, TransportError},
};

/// What a transport gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Barrier(u64),
    Alive,
    Close,
    Error(Wrong),
}

/// Why a transport gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Protocol,
    BadText,
    TooBig,
    Closed,
}

impl Got {
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::Close | Self::Error(_))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// More turns than this for one input are a livelock.
const MAX_TURNS: usize = 100_000;

/// Polls until there is a result, or nothing more can happen.
pub(crate) fn poll<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    for _ in 0..MAX_TURNS {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if !woken.0.load(Ordering::Relaxed) => return None,
            Poll::Pending => {}
        }
    }
    panic!("it asks to be polled again and again");
}

/// What the transport has for now, up to the last thing that it ever gives.
pub(crate) fn receive(transport: &mut (impl Transport + ?Sized), all: &mut Vec<Got>) {
    while !all.last().is_some_and(Got::is_last) {
        let Some(arrival) = poll(|cx| transport.poll_recv(cx)) else { return };
        all.push(match arrival {
            Ok(Incoming::Message(message)) => {
                let data = message.data().to_vec();
                if message.kind() == MessageKind::Text { Got::Text(data) } else { Got::Binary(data) }
            }
            Ok(Incoming::Barrier(number)) => Got::Barrier(number),
            Ok(Incoming::Alive) => Got::Alive,
            Ok(Incoming::Close) => Got::Close,
            Ok(other) => panic!("not known here: {other:?}"),
            Err(TransportError::Protocol(_)) => Got::Error(Wrong::Protocol),
            Err(TransportError::BadText) => Got::Error(Wrong::BadText),
            Err(TransportError::TooBig { .. }) => Got::Error(Wrong::TooBig),
            Err(TransportError::Closed) => Got::Error(Wrong::Closed),
            Err(other) => panic!("not of this connection: {other:?}"),
        });
    }
}

/// The bytes that have come to this end.
pub(crate) fn read(end: &mut ByteEnd) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Some(Ok(count @ 1..)) = poll(|cx| Pin::new(&mut *end).poll_read(cx, &mut buffer)) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}
