use std::time::Duration;

use tok_core::ConfigError;

use super::RedisQueue;
use crate::connect::{ConnectError, at_least_one};

/// Limits of a [`RedisQueue`] and how it talks to its server.
///
/// ```no_run
/// use tok_queue::{ConnectError, RedisQueue};
///
/// async fn open() -> Result<RedisQueue, ConnectError> {
///     RedisQueue::builder("redis://127.0.0.1:6379").prefix("chat").max_messages(100).connect().await
/// }
/// # let _ = open();
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct RedisQueueBuilder {
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
}

impl std::fmt::Debug for RedisQueueBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL can hold a password.
        f.debug_struct("RedisQueueBuilder")
            .field("prefix", &self.prefix)
            .field("max_messages", &self.max_messages)
            .field("max_bytes", &self.max_bytes)
            .field("timeout", &self.timeout)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

impl RedisQueueBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "tok".to_owned(),
            max_messages: 1000,
            max_bytes: 8 * 1024 * 1024,
            timeout: Duration::from_secs(5),
            max_in_flight: 1024,
        }
    }

    /// What the names of all keys begin with; default `tok`. Queues with different prefixes share a server and nothing
    /// else.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Messages kept for one user, waiting or sent and not yet confirmed; default 1000. Nodes that share the queue should
    /// have the same: each applies its own.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// Bytes kept for one user, by [`Entry::cost`](tok_core::queue::Entry::cost); default 8 MiB. What all users have
    /// together is bounded by the server's `maxmemory`.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long an operation may take, from its call to the server's answer, connecting included; default 5 s. Then it
    /// fails with [`Unavailable`](tok_core::queue::QueueError::Unavailable) and the connection is replaced.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Operations that wait for an answer at the same time; default 1024. More wait their turn, within the timeout.
    pub fn max_in_flight(mut self, operations: usize) -> Self {
        self.max_in_flight = operations;
        self
    }

    /// The queue, once its server has answered.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the URL or a setting cannot work; what the server lacks otherwise.
    ///
    /// # Panics
    /// Never; but outside a tokio runtime with time and network on, waiting for it does, as tokio itself does.
    pub async fn connect(self) -> Result<RedisQueue, ConnectError> {
        let invalid = |setting, value: String, rule| ConfigError::Invalid { setting, value, rule };
        at_least_one("max_messages", self.max_messages)?;
        at_least_one("max_bytes", self.max_bytes)?;
        at_least_one("max_in_flight", self.max_in_flight as u64)?;
        if self.timeout.is_zero() {
            return Err(invalid("timeout", "0".to_owned(), "must be longer than that").into());
        }
        // Braces mark what a cluster hashes.
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(invalid(
                "prefix",
                format!("{:?}", self.prefix),
                "must have 1 or more characters and no { }",
            )
            .into());
        }
        RedisQueue::connect_with(self).await
    }
}
