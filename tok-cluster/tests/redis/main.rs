//! The Redis driver on real servers, which the tests start.

#![allow(clippy::disallowed_types)] // Tests take the standard library's locks.

mod bus;
mod cluster;
mod conformance;
mod registry;
mod settings;
mod support;
