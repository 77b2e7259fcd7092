//! For those who write a driver: conformance suites of [`Registry`](crate::Registry) and [`Bus`](crate::Bus), and wrong
//! implementations that they catch.
//!
//! A driver mounts them in a test file; every rule becomes a `#[test]` of its own name:
//!
//! ```
//! use tok_cluster::{MemoryBroker, testkit::{Buses, Registries}};
//! use tok_core::rt::Tokio;
//!
//! fn block_on(rule: impl Future<Output = ()>) {
//!     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rule);
//! }
//!
//! mod registry {
//!     # use super::*;
//!     async fn make() -> Registries {
//!         // A fresh, empty table, and two connections to it: on a server, under a prefix of its own.
//!         let broker = MemoryBroker::new(Tokio);
//!         Registries::new(broker.registry(), broker.registry(), Tokio)
//!     }
//!     tok_cluster::registry_conformance!(make, block_on = block_on);
//! }
//!
//! mod bus {
//!     # use super::*;
//!     async fn make() -> Buses {
//!         let broker = MemoryBroker::new(Tokio);
//!         Buses::new(broker.bus(), broker.bus(), Tokio)
//!     }
//!     tok_cluster::bus_conformance!(make, block_on = block_on);
//! }
//! # fn main() {}
//! ```
//!
//! `make` is an async function without arguments; `block_on` runs a future to its end. No rule measures time, but some
//! wait for a lease of two seconds to end: on paused or simulated time, if the server's clock can be.

pub mod bus;
pub mod registry;
mod suite;

pub use self::{bus::Buses, registry::Registries, suite::check};
#[doc(hidden)]
pub use crate::frame::fuzz_frame;
