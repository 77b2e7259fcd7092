//! For tests of adapters and applications: conformance suites, connections in memory, and a deterministic simulator.

mod memory;
pub mod queue;
mod relay;
pub mod sim;
pub mod transport;

pub use self::{
    memory::{MemoryPeer, MemoryTransport, Read, memory_pair},
    relay::MemoryRelay,
    transport::{ByteEnd, byte_pair},
};
