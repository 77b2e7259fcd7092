#![doc = include_str!("../README.md")]

mod clock;
#[cfg(any(feature = "nats", feature = "redis"))]
mod connect;
#[cfg(all(test, shuttle))]
mod interleavings;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "nats", feature = "redb", feature = "redis", feature = "testkit"))]
mod record;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
mod redis;
mod sync;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod testkit;

#[cfg(any(feature = "nats", feature = "redis"))]
pub use self::connect::ConnectError;
pub use self::memory::{MemoryQueue, MemoryQueueBuilder, Usage};
#[cfg(feature = "nats")]
pub use self::nats::{NatsQueue, NatsQueueBuilder};
#[cfg(feature = "redb")]
pub use self::redb::{OpenError, RedbQueue, RedbQueueBuilder};
#[cfg(feature = "redis")]
pub use self::redis::{RedisQueue, RedisQueueBuilder};
