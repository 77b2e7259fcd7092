//! The Redis driver on real servers, which the tests start.

#![allow(clippy::disallowed_types)] // Tests take the standard library's locks.

mod bus;
mod cluster;
mod conformance;
mod hooks;
mod registry;
mod settings;
#[path = "../stall/mod.rs"]
mod stall;
mod support;
