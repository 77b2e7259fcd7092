//! Conformance suites, in-memory transports and the simulator.
pub mod queue;
pub mod transport;
