//! The Redis driver on real servers, which the tests start.

mod bus;
mod cluster;
mod conformance;
mod registry;
mod settings;
mod support;
