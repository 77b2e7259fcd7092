//! The seam to other nodes: [`Relay`].

use std::fmt;

use crate::error::BoxError;

/// Other nodes could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The broker or the other node did not answer; whether it acted is unknown.
    #[error("another node cannot be reached")]
    Unavailable(#[source] BoxError),
    /// Too much is under way already.
    #[error("the cluster is overloaded")]
    Overloaded,
}

/// todo
pub trait Relay: Send + Sync + 'static {}

impl fmt::Debug for dyn Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relay")
    }
}
