//! The gateway, held to its contract by clients over real sockets. Most tests run it in this process, on threads and a
//! runtime of its own; those about signals and memory run the program.

#![cfg(unix)]

mod support;

mod client;
#[cfg(feature = "redb")]
mod durable;
mod log;
mod login;
mod loss;
mod metrics;
mod operations;
mod order;
mod process;
mod protocol;
#[cfg(any(feature = "nats", feature = "redis"))]
mod queues;
mod sso;
mod timeouts;
mod tls;
