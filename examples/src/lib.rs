//! What tok's example programs are made of, so that tests can run them.

pub mod chat;
pub mod gateway;
