#![doc = include_str!("../README.md")]

mod config;
mod listener;
mod stream;

pub use rustls;

pub use self::{
    config::{TlsConfig, TlsConfigError},
    listener::TlsListener,
    stream::TlsStream,
};
