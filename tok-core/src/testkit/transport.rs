//! The conformance suite of [`Transport`], a reference that passes it, wrong transports that do not, and a connection
//! of bytes in memory ([`byte_pair`]) to build the pair under test on.
//!
//! An implementor mounts it in a test file; every rule becomes a `#[test]` of its own name:
//!
//! ```
//! use tok_core::testkit::{MemoryPeer, transport::{ReferenceTransport, reference_pair}};
//!
//! async fn make() -> (ReferenceTransport, MemoryPeer) {
//!     reference_pair(true)
//! }
//!
//! tok_core::transport_conformance!(make, confirms, kinds, empty, reasons, limit = ReferenceTransport::LIMIT);
//! # fn main() {}
//! ```
//!
//! `make` gives each rule a fresh connection: the transport, and its other end as a [`Peer`], which the implementor
//! writes for the wire format. The pair must
//! * be in memory: what one end does, the other finds at its next poll. No rule waits, and no rule measures time;
//! * hold less than 16 MiB that the transport wrote and the peer did not read;
//! * carry binary messages of 1 to 256 KiB.
//!
//! Further arguments are optional. `block_on = EXPR` comes first: a function or closure that runs a future to its end,
//! for transports that need a runtime; the default is [`block_on`]. The others name what the transport can do beyond
//! the least, in any order, and each adds rules:
//! * `confirms`: [barriers and pings](Transport::confirms) are answered;
//! * `kinds`: text stays text and binary binary, in both directions;
//! * `empty`: messages of no bytes arrive, in both directions;
//! * `reasons`: the peer is told the code of the [`CloseReason`](crate::CloseReason);
//! * `limit = BYTES`: larger messages are refused with [`TransportError::TooBig`](crate::transport::TransportError);
//!   at least 256 KiB.

mod bytes;
mod reference;
pub mod rules;
pub mod wrong;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

pub use self::{
    bytes::{ByteEnd, byte_pair},
    reference::{ReferenceTransport, reference_pair},
};
pub use super::queue::block_on;
use crate::{Message, Transport};

/// The other end of a connection under test, in the hands of the rules.
///
/// It reads only when it is polled, so a rule that does not poll it is a peer that does not read.
///
/// ```
/// use std::task::{Context, Poll, ready};
/// use tok_core::{
///     Message,
///     testkit::transport::{ByteEnd, Peer, PeerEvent},
///     transport::ByteStream,
/// };
///
/// /// Frames of one length byte and up to 255 others. (The suite wants larger ones.)
/// struct Tiny {
///     end: ByteEnd,
///     unread: Vec<u8>,
/// }
///
/// impl Peer for Tiny {
///     fn send(&mut self, message: &Message) {
///         self.end.put(&[message.data().len() as u8]);
///         self.end.put(message.data());
///     }
///     fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<PeerEvent> {
///         loop {
///             if let Some((&len, rest)) = self.unread.split_first()
///                 && let Some(data) = rest.get(..usize::from(len)).map(<[u8]>::to_vec)
///             {
///                 self.unread.drain(..=data.len());
///                 return Poll::Ready(PeerEvent::Message(data.into()));
///             }
///             let mut buf = [0; 256];
///             match ready!(self.end.poll_read(cx, &mut buf)) {
///                 Ok(0) | Err(_) => return Poll::Ready(PeerEvent::End),
///                 Ok(count) => self.unread.extend(&buf[..count]),
///             }
///         }
///     }
///     fn close(&mut self) {
///         self.end.end();
///     }
///     fn abort(&mut self) {
///         self.end.reset();
///     }
///     fn answer(&mut self, _: u64) {}
///     fn trickle(&mut self, bytes: usize) {
///         self.end.trickle(bytes);
///     }
///     fn flood(&mut self) {
///         (0..20_000).for_each(|_| self.send(&Message::from("flood")));
///     }
/// }
/// ```
pub trait Peer: Send + 'static {
    /// Sends a message, whole and at once, whatever the connection's buffers.
    fn send(&mut self, message: &Message);

    /// Reads the next thing that the transport sent, and answers the barriers and pings on the way.
    ///
    /// `Pending` is: nothing there now. Whatever comes behind the thing that is returned stays unanswered.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<PeerEvent>;

    /// Closes in good order: says so where the format can, and ends its direction. It still reads.
    fn close(&mut self);

    /// Ends its direction and says nothing, also where the format has a close. It still reads. The default is
    /// [`close`](Self::close), which is right where the format has none.
    fn end(&mut self) {
        self.close();
    }

    /// Breaks the connection, in both directions and without a word.
    fn abort(&mut self);

    /// Sends what would be the answer to the barrier of this number, asked or not. `{}` without `confirms`.
    fn answer(&mut self, number: u64);

    /// From now on what it sends arrives in portions of at most so many bytes, with the transport's reads waiting in
    /// between, as [`ByteEnd::trickle`] does. `{}` where messages travel whole.
    fn trickle(&mut self, bytes: usize);

    /// Sends so much that 10,000 reads do not come to its end: a message in tiny parts where the format has such,
    /// signs of life or small messages where not. [`ByteEnd::give`] makes reads small.
    fn flood(&mut self);
}

/// What a [`Peer`] reads.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // Peers are written outside, and the rules know these.
pub enum PeerEvent {
    /// A message.
    Message(Message),
    /// A close with its code, in formats that have one.
    Close(u16),
    /// The transport ended its direction or is gone. Every later read says so again.
    End,
}

/// Expands to one `#[test]` for each rule of the suite of [`Transport`]; see
/// [`testkit::transport`](crate::testkit::transport).
#[macro_export]
macro_rules! transport_conformance {
    ($make:expr, block_on = $block_on:expr $(, $set:ident $(= $value:expr)?)* $(,)?) => {
        $crate::__transport_rules!(__transport_tests, ($make, $block_on, None));
        $($crate::__transport_set!($set $(= $value)?, $make, $block_on);)*
    };
    ($make:expr $(, $set:ident $(= $value:expr)?)* $(,)?) => {
        $crate::transport_conformance!(
            $make, block_on = $crate::testkit::transport::block_on $(, $set $(= $value)?)*
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_set {
    (confirms, $make:expr, $block_on:expr) => {
        $crate::__transport_confirm_rules!(__transport_tests, ($make, $block_on, None));
    };
    (kinds, $make:expr, $block_on:expr) => {
        $crate::__transport_kind_rules!(__transport_tests, ($make, $block_on, None));
    };
    (empty, $make:expr, $block_on:expr) => {
        $crate::__transport_empty_rules!(__transport_tests, ($make, $block_on, None));
    };
    (reasons, $make:expr, $block_on:expr) => {
        $crate::__transport_reason_rules!(__transport_tests, ($make, $block_on, None));
    };
    (limit = $limit:expr, $make:expr, $block_on:expr) => {
        $crate::__transport_limit_rules!(__transport_tests, ($make, $block_on, Some($limit)));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_tests {
    (($make:expr, $block_on:expr, $limit:expr) $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            $crate::testkit::transport::check(
                $make, $block_on, $limit, $crate::testkit::transport::rules::$rule,
            );
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_table {
    (() $($rule:ident)*) => {
        &[$(Rule { name: stringify!($rule), check: |pair| Box::pin(rules::$rule(pair)) }),*]
    };
}

/// The rules that hold for every transport.
pub const RULES: &[Rule] = crate::__transport_rules!(__transport_table, ());

/// The rules that an argument of [`transport_conformance!`](crate::transport_conformance) adds, by its name.
pub const OPTIONAL_RULES: &[(&str, &[Rule])] = &[
    ("confirms", crate::__transport_confirm_rules!(__transport_table, ())),
    ("kinds", crate::__transport_kind_rules!(__transport_table, ())),
    ("empty", crate::__transport_empty_rules!(__transport_table, ())),
    ("reasons", crate::__transport_reason_rules!(__transport_table, ())),
    ("limit", crate::__transport_limit_rules!(__transport_table, ())),
];

/// A connection under test.
pub struct Pair {
    transport: Option<Box<dyn Transport>>,
    peer: Box<dyn Peer>,
    limit: Option<usize>,
    accepted: u64,
}

impl Pair {
    /// A fresh connection. `limit` is the most bytes that a message to the transport may have, for the rule about it.
    pub fn new(transport: impl Transport, peer: impl Peer, limit: Option<usize>) -> Self {
        Self { transport: Some(Box::new(transport)), peer: Box::new(peer), limit, accepted: 0 }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// A rule as a value, for those who run the suite by other means than the macro.
#[derive(Clone, Copy)]
pub struct Rule {
    name: &'static str,
    check: for<'a> fn(&'a mut Pair) -> super::queue::Checking<'a>,
}

impl Rule {
    /// The name of its function in [`rules`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Panics, saying what is wrong, unless the transport of `pair`, which must be fresh, keeps the rule.
    pub fn check<'a>(&self, pair: &'a mut Pair) -> super::queue::Checking<'a> {
        (self.check)(pair)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

#[doc(hidden)]
pub fn check<'a, T: Transport, P: Peer>(
    make: impl AsyncFnOnce() -> (T, P) + 'a,
    block_on: impl FnOnce(Pin<Box<dyn Future<Output = ()> + 'a>>),
    limit: Option<usize>,
    rule: impl AsyncFnOnce(&mut Pair) + 'a,
) {
    block_on(Box::pin(async move {
        let (transport, peer) = make().await;
        rule(&mut Pair::new(transport, peer, limit)).await;
    }));
}
