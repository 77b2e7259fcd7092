#![doc = include_str!("../README.md")]

mod bus;
mod chaos;
mod cluster;
mod collections;
mod frame;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod node;
mod permits;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
mod wait;

pub use tok_core::async_trait;
#[cfg(any(feature = "nats", feature = "redis"))]
pub use tok_core::error::ConnectError;

#[cfg(feature = "nats")]
pub use self::nats::{NatsBroker, NatsBrokerBuilder, NatsBus, NatsRegistry};
#[cfg(feature = "redis")]
pub use self::redis::{RedisBroker, RedisBrokerBuilder, RedisBus, RedisRegistry};
pub use self::{
    bus::{Answer, Bus, BusError, BusState, Inbound},
    chaos::{Chaos, Faults, Link, Plan},
    cluster::{Cluster, ClusterBuilder, Policy, Stats},
    memory::{MemoryBroker, MemoryBus, MemoryRegistry},
    node::NodeId,
    registry::{Claimed, Cursor, Lease, Page, Registry, RegistryError, Restored, SessionRow},
};
