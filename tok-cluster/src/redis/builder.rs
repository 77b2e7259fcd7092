use std::{fmt, time::Duration};

use tok_core::{ConfigError, error::ConnectError};

use super::RedisBroker;

/// Frames that would not hold a usual message are too small; Redis by default cuts off a subscriber to whom 32 MiB wait.
const FRAME_LIMITS: std::ops::RangeInclusive<usize> = 64 * 1024..=16 * 1024 * 1024;

/// How a [`RedisBroker`] talks to its server.
///
/// ```no_run
/// use tok_cluster::{ConnectError, RedisBroker};
///
/// async fn connect() -> Result<RedisBroker, ConnectError> {
///     RedisBroker::builder("redis://127.0.0.1:6379").prefix("chat").connect().await
/// }
/// # let _ = connect();
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct RedisBrokerBuilder {
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_frame: usize,
}

impl fmt::Debug for RedisBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL can hold a password.
        f.debug_struct("RedisBrokerBuilder")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_frame", &self.max_frame)
            .finish_non_exhaustive()
    }
}

impl RedisBrokerBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "tok".to_owned(),
            timeout: Duration::from_secs(2),
            max_in_flight: 16_384,
            max_frame: 1024 * 1024,
        }
    }

    /// The cluster's name on the server, with which all keys and channels begin; default `tok`, without braces. Nodes
    /// meet those of the same prefix and database, and no others.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long an operation of the registry, a broadcast, or an attempt to connect may take; default 2 s, which is also
    /// the cluster's default `request_timeout`. A connection on which nothing was answered for half of it while
    /// somebody waited is replaced.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Requests of one bus, and operations of one registry, that are under way at the same time; default 16,384 each.
    /// More are refused with `Overloaded`. The cluster keeps to 1,024 requests for each node and 256 operations.
    pub fn max_in_flight(mut self, operations: usize) -> Self {
        self.max_in_flight = operations;
        self
    }

    /// The largest frame in bytes, from 64 KiB to 16 MiB; default 1 MiB. All nodes should have the same: each applies its
    /// own to what it sends.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// The broker, once its server has answered.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the URL or a setting cannot work; what the server lacks otherwise.
    ///
    /// # Panics
    /// Never; but outside a tokio runtime with time and network on, waiting for it does, as tokio itself does.
    pub async fn connect(self) -> Result<RedisBroker, ConnectError> {
        let invalid =
            |setting, value: String, rule| Err(ConfigError::Invalid { setting, value, rule }.into());
        if self.max_in_flight == 0 {
            return invalid("max_in_flight", "0".to_owned(), "must be at least 1");
        }
        if !FRAME_LIMITS.contains(&self.max_frame) {
            return invalid("max_frame", self.max_frame.to_string(), "must be from 64 KiB to 16 MiB");
        }
        if self.timeout.is_zero() {
            return invalid("timeout", "0".to_owned(), "must be longer than that");
        }
        // Braces mark what keys are spread over servers by.
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            let rule = "must have 1 or more characters and no { }";
            return invalid("prefix", format!("{:?}", self.prefix), rule);
        }
        RedisBroker::connect_with(self).await
    }
}
