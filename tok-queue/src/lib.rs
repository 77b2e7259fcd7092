#![doc = include_str!("../README.md")]

#[cfg(any(feature = "nats", feature = "redis"))]
mod connect;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "nats", feature = "redb", feature = "redis"))]
mod record;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redb")]
mod redb;

#[cfg(any(feature = "nats", feature = "redis"))]
pub use self::connect::ConnectError;
pub use self::memory::{MemoryQueue, MemoryQueueBuilder, Usage};
#[cfg(feature = "nats")]
pub use self::nats::{NatsQueue, NatsQueueBuilder};
#[cfg(feature = "redis")]
pub use self::redis::{RedisQueue, RedisQueueBuilder};
#[cfg(feature = "redb")]
pub use self::redb::{OpenError, RedbQueue, RedbQueueBuilder};
