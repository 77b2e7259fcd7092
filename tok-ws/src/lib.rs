#![doc = include_str!("../README.md")]

pub mod engine;
#[cfg(feature = "testkit")]
pub mod testkit;

mod config;
mod form;
mod frame;
mod guard;
mod handler;
mod host;
mod origin;
mod serve;
mod spare;
mod stream;
mod transport;
mod upgrade;

pub use self::{
    config::WsConfig,
    engine::{EngineUnavailable, UnknownEngine, WsEngine},
    frame::{AUTO, BINARY, TEXT},
    guard::{Guard, Violation},
    handler::{WsConfigError, WsHandler, WsHandlerBuilder},
    host::{Hosts, InvalidHost},
    origin::{InvalidOrigin, Origins},
    serve::serve,
    stream::HyperStream,
    transport::WsTransport,
    upgrade::UpgradeHead,
};
