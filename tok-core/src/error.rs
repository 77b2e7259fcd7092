//! The errors of this crate: one enum an operation, the same under every feature set.

use std::io;

use crate::{InvalidUid, queue::QueueError, relay::RelayError};

/// Any error, as a cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A configuration is refused: by [`HubBuilder::build`](crate::HubBuilder::build), or by another builder of tok's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No runtime was given.
    #[error("no runtime: call .runtime(..) on the builder, for example with tok_core::rt::Tokio")]
    NoRuntime,
    /// The runtime is not running on the thread that builds the hub.
    #[error("the runtime cannot be used from this thread: build the hub inside it")]
    RuntimeNotRunning(#[source] BoxError),
    /// A setting has a value that cannot work.
    #[error("{setting} is {value}, but {rule}")]
    Invalid {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        value: String,
        /// What would be right.
        rule: &'static str,
    },
    /// Messages of this size cannot pass the queue or the cluster that was given.
    #[error("{setting} is {value} bytes, but {carrier} carries messages of at most {limit} bytes")]
    TooLarge {
        /// The builder's method.
        setting: &'static str,
        /// What it was given, in bytes.
        value: usize,
        /// The most that can pass, in bytes.
        limit: usize,
        /// What cannot carry more: the queue or the cluster.
        carrier: &'static str,
    },
    /// The cluster cannot be joined.
    #[error("the cluster cannot be joined")]
    Cluster(#[source] RelayError),
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
}

/// A queue or a cluster on a server cannot be used: its `connect` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting of the builder cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers at that address, or not within the timeout, or the credentials are refused.
    #[error("the server cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The server is too old to keep what is promised.
    #[error("the server is version {found}, but {needed} or later is needed")]
    TooOld {
        /// What the server says.
        found: String,
        /// The oldest version that does.
        needed: &'static str,
    },
    /// Something on the server is set up so that it would not keep what is promised.
    #[error("the server's {setting} is {found}, but {rule}")]
    Unsuitable {
        /// The server's name for it.
        setting: String,
        /// What it is.
        found: String,
        /// What would be right.
        rule: String,
    },
}

/// [`Hub::send`](crate::Hub::send) or [`Session::send`](crate::Session::send) did not take the message. Nobody was sent
/// anything, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The user id is unusable.
    #[error(transparent)]
    InvalidUid(#[from] InvalidUid),
    /// The message is larger than the hub's limit for one message.
    #[error("the message has {bytes} bytes, the limit is {limit}")]
    TooBig {
        /// Its size.
        bytes: usize,
        /// The hub's `max_outgoing`.
        limit: usize,
    },
    /// The TTL is over the longest that the clock can hold.
    #[error("the TTL is too long")]
    TtlTooLong,
    /// As many messages or bytes as the queue allows are kept for this user already, or for all users, and there was no
    /// room within [`send_timeout`](crate::HubBuilder::send_timeout).
    #[error("the queue of this user is full")]
    Full,
    /// The message could not be stored, and was given to sessions of this node that had been given everything before it.
    /// No session confirmed it. Whether a client has it is unknown, and it is not stored.
    #[error("the message could not be stored and is not confirmed")]
    Unconfirmed {
        /// If true, a session still has the message and may yet confirm it, but confirmed nothing within
        /// [`send_timeout`](crate::HubBuilder::send_timeout). If false, all of these sessions ended.
        pending: bool,
        /// Why it could not be stored.
        #[source]
        cause: Box<Self>,
    },
    /// There is no queue to keep the message, and no session to send it to: the user is offline, or did not read what was
    /// sent before.
    #[error("the user cannot be sent the message now and this hub has no queue")]
    NotKept,
    /// The hub holds as many bytes as its budget allows.
    #[error("the hub's memory budget is used up")]
    Overloaded,
    /// The hub is shutting down and the message was not to be kept.
    #[error("the hub is shutting down")]
    Draining,
    /// The session of [`Session::send`](crate::Session::send) has ended, or this message was over its backlog and ended
    /// it as slow. No other send fails with this.
    #[error("the session has ended")]
    Ended,
    /// Messages that are stored for the user could not be read from the queue within
    /// [`send_timeout`](crate::HubBuilder::send_timeout). This one was not to be kept; it is not delivered, because it
    /// would overtake them.
    #[error("messages that wait for this user cannot be read from the queue")]
    BacklogUnread,
    /// The queue failed. Whether it has the message is unknown; no session was given it.
    #[error("the queue failed")]
    Queue(#[source] QueueError),
    /// Other nodes could not be asked. Sessions on this node were given the message.
    #[error("the cluster failed")]
    Relay(#[source] RelayError),
}

/// A login that is refused, with the HTTP status that says so on WebSocket (other transports send the reason).
///
/// ```
/// use tok_core::Refusal;
///
/// let refusal = Refusal::unauthorized("bad token");
/// assert_eq!((refusal.status(), refusal.reason()), (401, "bad token"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("login refused with status {status}: {reason}")]
pub struct Refusal {
    status: u16,
    reason: Box<str>,
}

impl Refusal {
    /// A refusal with a status from 400 to 599; any other becomes 500.
    #[must_use]
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) { status } else { 500 };
        Self { status, reason: reason.into().into() }
    }

    /// 400: the login is malformed.
    #[must_use]
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(400, reason)
    }

    /// 401: the credentials do not prove who this is.
    #[must_use]
    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Self::new(401, reason)
    }

    /// 403: known, but not allowed.
    #[must_use]
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::new(403, reason)
    }

    /// 503: not now; full, draining, or a part of the server is away.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(503, reason)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason, for the client to read.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<InvalidUid> for Refusal {
    fn from(error: InvalidUid) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// A transport failed. The session ends; the variant decides which close the peer gets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection is gone.
    #[error("the connection is closed")]
    Closed,
    /// The peer announced or sent more than the limit.
    #[error("a message is over the limit of {limit} bytes")]
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// The peer sent text that is not UTF-8.
    #[error("a text message is not valid UTF-8")]
    BadText,
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The byte stream failed.
    #[error("the byte stream failed")]
    Io(#[from] io::Error),
}
