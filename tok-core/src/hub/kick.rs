use std::{fmt, future::IntoFuture, sync::Arc};

use super::inner::Inner;
use crate::{
    CloseReason, Uid,
    relay::{RelayError, Target},
    rt::BoxFuture,
};

/// What [`Hub::kick`](crate::Hub::kick) returns: which sessions of a user to end, and why. Await it to end them; it
/// gives their number.
#[must_use = "nobody is kicked until this is awaited"]
pub struct Kick {
    hub: Arc<Inner>,
    uid: Uid,
    reason: CloseReason,
    target: Target,
}

impl Kick {
    pub(crate) fn new(hub: Arc<Inner>, uid: Uid) -> Self {
        Self { hub, uid, reason: CloseReason::Kicked, target: Target::All }
    }

    /// The reason that the peers are told. [`CloseReason::Kicked`] by default.
    pub fn reason(mut self, reason: CloseReason) -> Self {
        self.reason = reason;
        self
    }

    /// Only sessions of the device with this id.
    pub fn device(mut self, id: impl Into<String>) -> Self {
        self.target = Target::Device(id.into());
        self
    }

    async fn run(self) -> Result<usize, RelayError> {
        let Self { hub, uid, reason, target } = self;
        let here = hub.kick_here(&uid, &target, reason);
        let Some(relay) = &hub.relay else { return Ok(here.len()) };
        // They do not count as online from here on, for no node.
        for epoch in &here {
            relay.release(&uid, *epoch).await?;
        }
        Ok(here.len() + relay.kick(&uid, &target, reason).await?)
    }
}

impl IntoFuture for Kick {
    type Output = Result<usize, RelayError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Kick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kick").field("uid", &self.uid).field("reason", &self.reason).finish_non_exhaustive()
    }
}
