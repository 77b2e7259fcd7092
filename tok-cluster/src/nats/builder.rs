use std::{fmt, time::Duration};

use tok_core::{ConfigError, error::ConnectError};

use super::NatsBroker;

/// How a [`NatsBroker`] talks to its servers.
///
/// ```no_run
/// use tok_cluster::{Cluster, ConnectError, NatsBroker};
/// use tok_core::rt::Tokio;
///
/// async fn node() -> Result<Cluster, Box<dyn std::error::Error>> {
///     let broker = NatsBroker::builder("nats://a.example:4222,nats://b.example:4222").replicas(3).connect().await?;
///     Ok(Cluster::builder(broker.registry(), broker.bus()).node("eu-1").runtime(Tokio).build()?)
/// }
/// # let _ = node();
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct NatsBrokerBuilder {
    pub(super) url: String,
    pub(super) settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) prefix: String,
    pub(super) replicas: usize,
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
}

impl NatsBrokerBuilder {
    pub(super) fn new(url: String) -> Self {
        let settings = Settings {
            prefix: "tok".to_owned(),
            replicas: 1,
            timeout: Duration::from_secs(5),
            max_in_flight: 8192,
        };
        Self { url, settings }
    }

    /// The cluster's name, which the names of stream and subjects begin with: 1 to 64 of `A-Z a-z 0-9 - _`; default
    /// `tok`. Nodes with the same one are one cluster; others share the server and nothing else. A queue may have the same.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// NATS servers that keep the table, 1 to 5; default 1. A stream that exists may have more, not fewer.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.settings.replicas = replicas;
        self
    }

    /// How long an operation on the registry may take, and opening or closing the bus; default 5 s. The cluster's own
    /// request timeout is usually shorter. Also how long connecting to one server may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Requests to nodes that wait for their answers at the same time, on all nodes together, and likewise operations on
    /// the registry; default 8192 of each. What comes then is refused as overloaded.
    pub fn max_in_flight(mut self, operations: usize) -> Self {
        self.settings.max_in_flight = operations;
        self
    }

    /// Connects, and makes the stream if it is missing.
    ///
    /// # Errors
    /// [`ConnectError::Config`] if the URL or a setting cannot work; what the server lacks otherwise.
    ///
    /// # Panics
    /// Never; but outside a tokio runtime with time and network on, waiting for it does, as tokio itself does.
    pub async fn connect(self) -> Result<NatsBroker, ConnectError> {
        self.check()?;
        NatsBroker::connect_with(self).await
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Settings { prefix, replicas, timeout, max_in_flight } = &self.settings;
        let invalid = |setting, value: String, rule| Err(ConfigError::Invalid { setting, value, rule });
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=64).contains(&prefix.len()) || !prefix.bytes().all(plain) {
            return invalid(
                "prefix",
                format!("{prefix:?}"),
                "must have 1 to 64 characters of A-Z a-z 0-9 - _",
            );
        }
        if !(1..=5).contains(replicas) {
            return invalid("replicas", replicas.to_string(), "must be 1 to 5");
        }
        if timeout.is_zero() {
            return invalid("timeout", "0".to_owned(), "must be longer than that");
        }
        if *max_in_flight == 0 {
            return invalid("max_in_flight", "0".to_owned(), "must be at least 1");
        }
        Ok(())
    }
}

impl fmt::Debug for NatsBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL can hold a password.
        f.debug_struct("NatsBrokerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
