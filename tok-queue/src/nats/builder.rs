use std::{fmt, time::Duration};

use tok_core::ConfigError;

use super::NatsQueue;
use crate::connect::{ConnectError, at_least_one};

/// Limits of a [`NatsQueue`] and how it talks to its server.
///
/// ```no_run
/// use tok_queue::{ConnectError, NatsQueue};
///
/// async fn open() -> Result<NatsQueue, ConnectError> {
///     NatsQueue::builder("nats://a.example:4222,nats://b.example:4222").replicas(3).connect().await
/// }
/// # let _ = open();
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct NatsQueueBuilder {
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) replicas: usize,
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
}

impl NatsQueueBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "tok".to_owned(),
            replicas: 1,
            max_messages: 1000,
            max_bytes: 8 * 1024 * 1024,
            timeout: Duration::from_secs(5),
            max_in_flight: 1024,
        }
    }

    /// What the names of streams and subjects begin with: `A-Z a-z 0-9 - _`; default `tok`. Queues with different
    /// prefixes share a server and nothing else.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Servers of a cluster that keep each message, 1 to 5; default 1. Streams that exist may have more, not fewer.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Messages kept for one user, waiting or sent and not yet confirmed; default 1000. Nodes that share the queue should
    /// have the same: each applies its own.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// Bytes kept for one user, by [`Entry::cost`](tok_core::queue::Entry::cost); default 8 MiB. What all users have
    /// together is bounded by the stream's `max_bytes` and the account's storage.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long an operation may take, from its call to the server's answer; default 5 s. Then it fails with
    /// [`Unavailable`](tok_core::queue::QueueError::Unavailable). Also how long connecting to one server may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Operations that wait for an answer at the same time; default 1024. More wait their turn, within the timeout.
    pub fn max_in_flight(mut self, operations: usize) -> Self {
        self.max_in_flight = operations;
        self
    }

    /// The queue, once its server has answered and its streams are there.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the URL or a setting cannot work; what the server lacks otherwise.
    ///
    /// # Panics
    /// Never; but outside a tokio runtime with time and network on, waiting for it does, as tokio itself does.
    pub async fn connect(self) -> Result<NatsQueue, ConnectError> {
        let invalid = |setting, value: String, rule| ConfigError::Invalid { setting, value, rule };
        at_least_one("max_messages", self.max_messages)?;
        at_least_one("max_bytes", self.max_bytes)?;
        at_least_one("max_in_flight", self.max_in_flight as u64)?;
        if self.timeout.is_zero() {
            return Err(invalid("timeout", "0".to_owned(), "must be longer than that").into());
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(invalid("replicas", self.replicas.to_string(), "must be 1 to 5").into());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.bytes().all(plain) {
            let rule = "must have 1 to 64 characters of A-Z a-z 0-9 - _";
            return Err(invalid("prefix", format!("{:?}", self.prefix), rule).into());
        }
        NatsQueue::connect_with(self).await
    }
}

impl fmt::Debug for NatsQueueBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL can hold a password.
        f.debug_struct("NatsQueueBuilder")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("max_messages", &self.max_messages)
            .field("max_bytes", &self.max_bytes)
            .field("timeout", &self.timeout)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}
