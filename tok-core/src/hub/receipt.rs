use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{inner::Inner, user::User};
use crate::{MessageId, rt::Instant};

/// What is true of a message once [`Hub::send`](crate::Hub::send) has taken it.
///
/// A receipt of a kept message can be awaited to its confirmation. While one is held the hub keeps a small entry for
/// the user, also while the user is offline.
pub struct Receipt {
    pub(crate) id: MessageId,
    pub(crate) sessions: usize,
    pub(crate) offline: bool,
    pub(crate) stored: bool,
    pub(crate) place: Option<Place>,
}

/// How a kept message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A client has it, as far as the session's [`Confirm`](crate::Confirm) level proves.
    Confirmed,
    /// Its TTL ran out before anyone confirmed it, or it could not be kept any longer.
    Lapsed,
    /// Nobody knows: the message was not to be kept, or its time ran out in a cluster, where another node may have had
    /// it confirmed.
    Unknown,
}

impl Receipt {
    /// The message's id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// How many sessions were online to be sent it. A session that is behind may miss a persistent message that another
    /// session of the user confirms first.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Whether it is in the queue already.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Whether no session of the user was there.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Waits until the message has ended: at the latest when its TTL runs out. In a cluster it does not hear of a
    /// confirmation on another node, and then waits for the whole TTL.
    ///
    /// Dropping the future loses nothing; it can be asked for again.
    pub async fn outcome(&self) -> Outcome {
        let Some(place) = &self.place else { return Outcome::Unknown };
        let mut expiry = place.hub.runtime.sleep_until(place.expires_at);
        let mut waiting = Waiting { place, key: None };
        poll_fn(|cx: &mut Context<'_>| {
            if let Some(mut state) = place.user.lock()
                && let Some(outcome) = state.poll_outcome(place.pos, &mut waiting.key, cx.waker())
            {
                return Poll::Ready(outcome);
            }
            let expired = if place.hub.relay.is_some() { Outcome::Unknown } else { Outcome::Lapsed };
            expiry.as_mut().poll(cx).map(|()| expired)
        })
        .await
    }
}

/// Somebody who waits for an outcome. Dropped, it leaves no waker behind.
struct Waiting<'a> {
    place: &'a Place,
    key: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let (Some(key), Some(mut state)) = (self.key, self.place.user.lock()) {
            state.stop_waiting(self.place.pos, key);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("id", &self.id)
            .field("sessions", &self.sessions)
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// A message's place in its user's log. The user's entry counts these and stays while there are any.
pub(crate) struct Place {
    pub(crate) hub: Arc<Inner>,
    pub(crate) user: Arc<User>,
    pub(crate) pos: u64,
    pub(crate) expires_at: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut state) = self.user.lock() {
            state.drop_receipt(self.pos);
        }
        self.user.retire_if_idle(&self.hub);
    }
}
