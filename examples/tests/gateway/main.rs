//! The gateway, held to its contract by clients over real sockets. Most tests run it in this process, on threads and a
//! runtime of its own; those about signals and memory run the program.

mod support;

mod client;
mod login;
mod loss;
mod operations;
mod order;
mod process;
mod protocol;
mod sso;
mod timeouts;
