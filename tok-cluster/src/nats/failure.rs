use std::time::Duration;

use tok_core::{
    InvalidUid,
    error::{BoxError, ConnectError},
};

use crate::{BusError, RegistryError};

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the connection to the server is lost")]
    Disconnected,
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("nobody serves {0}")]
    NoResponders(String),
    #[error("the server refuses it: {description} ({code})")]
    Refused { code: u64, description: String },
    #[error("the stream is gone, or has lost what it had acknowledged")]
    Lost,
    #[error("there is no epoch above the highest number")]
    NoEpoch,
    #[error("other nodes have kept changing this row")]
    Contended,
    #[error("the server's {setting} is {found}, but {rule}")]
    Unsuitable { setting: String, found: String, rule: String },
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    #[error("the server's answer cannot be understood")]
    Answer(#[source] BoxError),
    #[error("the request cannot be sent")]
    Client(#[source] BoxError),
}

impl From<Failure> for RegistryError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Box::new(failure))
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disconnected => Self::Disconnected,
            Failure::Silent(_) => Self::Timeout,
            Failure::NoResponders(_) => Self::NoResponders,
            other => Self::Other(Box::new(other)),
        }
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsuitable { setting, found, rule } => Self::Unsuitable { setting, found, rule },
            other => Self::Unreachable(Box::new(other)),
        }
    }
}
