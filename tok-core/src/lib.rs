#![doc = include_str!("../README.md")]

pub mod error;
pub mod queue;
pub mod relay;
pub mod rt;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;

mod actor;
mod close;
mod collections;
mod device;
mod hub;
#[cfg(all(test, shuttle))]
mod interleavings;
mod message;
mod sync;
mod trace;
mod uid;

pub use async_trait::async_trait;

pub use self::{
    actor::{Actor, Authenticate},
    close::{AppCode, CloseReason, Reconnect},
    device::{Confirm, Device},
    error::{ConfigError, Refusal, SendError},
    hub::*,
    message::{Message, MessageId, MessageKind},
    queue::{Epoch, Queue},
    transport::Transport,
    uid::{InvalidUid, Uid},
};
