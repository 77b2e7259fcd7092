//! The seam to what carries frames between nodes: [`Bus`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tok_core::error::BoxError;

use crate::NodeId;

/// Carries frames from node to node over a broker: one address a node, and one for all.
///
/// # Contract
/// * A frame is delivered whole and unchanged, or not at all. It may be delivered twice.
/// * Frames that one task sends to one node, each after the one before was answered, arrive in that order.
/// * [`request`](Self::request) returns what the other node's [`Inbound::request`] answered, to this very frame. Answers
///   come when they are ready, in any order: a frame that is not answered yet does not hold back those behind it.
/// * Nothing is buffered while the broker is away: what cannot be sent now fails now.
/// * The driver never waits for a slow receiver of its own: `Inbound` does not block, and is called from the driver's
///   tasks, for one frame after the other or for several at once.
///
/// The suite in `tok_cluster::testkit::bus` (feature `testkit`) checks this contract for an implementation.
///
/// # Errors and cancellation
/// See [`BusError`]. A request whose future is dropped leaves nothing behind; the other node may have acted on it.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Makes this process reachable as `me`. It returns when a frame to `me` has gone through the broker and come back, or
    /// what is as good a proof that others' frames arrive.
    ///
    /// Called again it replaces what there was: that is how a subscription which died silently is made anew.
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError>;

    /// Sends a frame to a node and waits for its answer, at most for `timeout`.
    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError>;

    /// Hands a frame to the broker for every node, this one included, and waits for nothing else. It may get lost.
    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError>;

    /// Ends the subscriptions: frames to this node find nobody from here on.
    async fn close(&self);

    /// The largest frame that it carries, in bytes.
    fn max_frame(&self) -> usize;
}

/// What comes in: the other end of a [`Bus`]. Its methods do not block.
pub trait Inbound: Send + Sync + 'static {
    /// A frame that wants an answer. `answer` takes it, now or later, from any thread. If `answer` is dropped instead the
    /// sender gets none, and its timeout ends the wait.
    fn request(&self, frame: Bytes, answer: Answer);

    /// A frame that wants none.
    fn notify(&self, frame: Bytes);

    /// The connection to the broker changed.
    fn state(&self, state: BusState);
}

/// Takes the answer to one request.
pub struct Answer(Box<dyn FnOnce(Bytes) + Send>);

impl Answer {
    /// Calls `send` with the answer. `send` must not block.
    pub fn new(send: impl FnOnce(Bytes) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Answers the request. It waits for nothing; an answer that cannot be sent is lost.
    pub fn send(self, answer: Bytes) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// The connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusState {
    /// It is lost. Operations fail until it is back.
    Down,
    /// It is back, or is as good as new: whatever was sent to this node meanwhile may have been missed.
    Gap,
}

/// A frame was not sent, or not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The broker says that nobody listens there now. The node has not seen the frame. It can be gone for good, or
    /// about to reconnect.
    #[error("the node cannot be reached")]
    NoResponders,
    /// No answer came in time. Whether the node saw the frame is unknown.
    #[error("the node did not answer in time")]
    Timeout,
    /// The broker is away. Whether it has passed the frame on is unknown.
    #[error("the connection to the broker is lost")]
    Disconnected,
    /// As much is under way as the driver takes.
    #[error("the bus is overloaded")]
    Overloaded,
    /// The frame is larger than the broker takes.
    #[error("the frame has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The broker's limit.
        limit: usize,
    },
    /// Something else failed. Whether the node saw the frame is unknown.
    #[error("the bus failed")]
    Other(#[source] BoxError),
}

macro_rules! forward {
    ($($pointer:ty)*) => {$(
        #[async_trait]
        impl<B: Bus + ?Sized> Bus for $pointer {
            async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
                (**self).open(me, inbound).await
            }
            async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
                (**self).request(to, frame, timeout).await
            }
            async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
                (**self).broadcast(frame).await
            }
            async fn close(&self) {
                (**self).close().await;
            }
            fn max_frame(&self) -> usize {
                (**self).max_frame()
            }
        }
    )*};
}

forward!(Arc<B> Box<B>);

impl fmt::Debug for dyn Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bus")
    }
}

impl fmt::Debug for dyn Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound")
    }
}
