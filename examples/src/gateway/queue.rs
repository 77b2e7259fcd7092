//! Where messages wait for users who are away.

use std::{fmt, path::PathBuf, sync::Arc};

use tok_core::{Durability, HubBuilder, queue::Queue};
use tok_queue::MemoryQueue;

use super::{Error, Flags, health::Health};

/// `--queue`.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum QueueName {
    Memory,
    None,
    Redb(PathBuf),
    Nats(String),
    Redis(String),
}

impl QueueName {
    /// Whether what it keeps outlives the program.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory | Self::None)
    }

    /// Whether all nodes of a cluster can have it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Memory | Self::Redb(_))
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs can hold a password.
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::None => "None",
            Self::Redb(_) => "Redb",
            Self::Nats(_) => "Nats",
            Self::Redis(_) => "Redis",
        })
    }
}

/// Gives the hub the queue that the flags ask for, and returns it if it can fail: then `health` watches it.
#[cfg_attr(not(any(feature = "nats", feature = "redb", feature = "redis")), allow(unused_variables))]
pub(super) async fn with_queue(
    builder: HubBuilder,
    flags: &Flags,
    health: &Arc<Health>,
) -> Result<(HubBuilder, Option<Arc<dyn Queue>>), Error> {
    const BYTES_A_MESSAGE: u64 = 8 * 1024;
    const MIB: u64 = 1024 * 1024;

    let builder = if flags.write_back { builder.durability(Durability::WriteBack) } else { builder };
    let messages = flags.max_queued;
    let bytes = messages.saturating_mul(BYTES_A_MESSAGE).max(8 * MIB);
    match &flags.queue {
        QueueName::None => Ok((builder, None)),
        QueueName::Memory => {
            let queue = MemoryQueue::builder()
                .max_messages(messages)
                .max_bytes(bytes)
                .max_total_bytes(bytes.max(256 * MIB))
                .build()?;
            Ok((builder.queue(queue), None))
        }
        #[cfg(feature = "redb")]
        QueueName::Redb(path) => {
            let queue = tok_queue::RedbQueue::builder().max_messages(messages).max_bytes(bytes);
            let queue = queue.open(path).map_err(|error| match error {
                tok_queue::OpenError::Config(error) => Error::Hub(error),
                error => unusable("redb", &error),
            })?;
            Ok(watched(builder, health, queue))
        }
        #[cfg(feature = "nats")]
        QueueName::Nats(url) => {
            let queue = tok_queue::NatsQueue::builder(url).max_messages(messages).max_bytes(bytes);
            let queue = queue.connect().await.map_err(|error| cannot_connect("nats", error))?;
            Ok(watched(builder, health, queue))
        }
        #[cfg(feature = "redis")]
        QueueName::Redis(url) => {
            let queue = tok_queue::RedisQueue::builder(url).max_messages(messages).max_bytes(bytes);
            let queue = queue.connect().await.map_err(|error| cannot_connect("redis", error))?;
            Ok(watched(builder, health, queue))
        }
        // Flags are checked: an engine that is not compiled in does not come here.
        #[allow(unreachable_patterns)]
        _ => Err(Error::Queue { engine: "of that kind", cause: "it is not compiled in".to_owned() }),
    }
}

#[cfg(any(feature = "nats", feature = "redb", feature = "redis"))]
fn watched(
    builder: HubBuilder,
    health: &Arc<Health>,
    queue: impl Queue,
) -> (HubBuilder, Option<Arc<dyn Queue>>) {
    let queue: Arc<dyn Queue> = Arc::new(queue);
    (builder.queue(health.watch(Arc::clone(&queue))), Some(queue))
}

#[cfg(any(feature = "nats", feature = "redis"))]
fn cannot_connect(engine: &'static str, error: tok_queue::ConnectError) -> Error {
    match error {
        tok_queue::ConnectError::Config(error) => Error::Hub(error),
        error => unusable(engine, &error),
    }
}

#[cfg(any(feature = "nats", feature = "redb", feature = "redis"))]
fn unusable(engine: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Queue { engine, cause: super::in_one_line(error) }
}
