//! What tok's example programs are made of, so that tests can run them.

pub mod chat;
#[cfg(unix)]
pub mod gateway;
pub mod load;
pub mod peer;
pub mod stress;

/// The server in the workspace's README, which has to compile.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
