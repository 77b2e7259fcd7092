use std::{fmt, future::IntoFuture, sync::Arc};

use super::{hooks::guard, inner::Inner, session::Core, user::Effects};
use crate::{CloseReason, Device, Uid, relay::RelayError, rt::BoxFuture};

type Filter = Box<dyn Fn(&Device) -> bool + Send + Sync>;

/// What [`Hub::kick`](crate::Hub::kick) returns: which sessions of a user to end, and why. Await it to end them; it
/// gives their number.
#[must_use = "nobody is kicked until this is awaited"]
pub struct Kick {
    hub: Arc<Inner>,
    uid: Uid,
    reason: CloseReason,
    filter: Option<Filter>,
}

impl Kick {
    pub(crate) fn new(hub: Arc<Inner>, uid: Uid) -> Self {
        Self { hub, uid, reason: CloseReason::Kicked, filter: None }
    }

    /// The reason that the peers are told. [`CloseReason::Kicked`] by default.
    pub fn reason(mut self, reason: CloseReason) -> Self {
        self.reason = reason;
        self
    }

    /// Only sessions of the device with this id.
    pub fn device(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.filter(move |device| device.id() == id)
    }

    /// Only sessions whose device the function says yes to. A panic in it spares the session.
    pub fn filter(mut self, filter: impl Fn(&Device) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    fn run(self) -> usize {
        let Self { hub, uid, reason, filter } = self;
        let Some(user) = hub.registry.find(&uid) else { return 0 };
        // The filter is user code and runs without the lock.
        let sessions = user.lock().map(|state| state.sessions.clone()).unwrap_or_default();
        let chosen: Vec<Arc<Core>> = sessions
            .into_iter()
            .filter(|core| {
                filter.as_ref().is_none_or(|filter| guard(|| filter(&core.device)).unwrap_or(false))
            })
            .collect();
        let mut fx = Effects::default();
        let mut ended = 0;
        if let Some(mut state) = user.lock() {
            for core in chosen {
                let live = core.slot.lock().is_live();
                if live {
                    state.detach(&hub, &core, reason, &mut fx);
                    ended += 1;
                }
            }
        }
        fx.run(&hub, Some(&user));
        ended
    }
}

impl IntoFuture for Kick {
    type Output = Result<usize, RelayError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.run()) })
    }
}

impl fmt::Debug for Kick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kick").field("uid", &self.uid).field("reason", &self.reason).finish_non_exhaustive()
    }
}
