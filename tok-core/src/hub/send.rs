use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{Receipt, effects::Effects, hooks::Undelivered, inner::Inner, receipt::Place, user::Append};
use crate::{Message, MessageId, SendError, Uid, relay::Delivery, rt::BoxFuture};

/// A message on its way to a user: what [`Hub::send`](crate::Hub::send) returns. Await it to send.
///
/// The message takes its place in the user's order when the future is polled first; dropping it later does not
/// withdraw the message.
#[must_use = "nothing is sent until this is awaited"]
pub struct Send {
    pub(crate) hub: Arc<Inner>,
    pub(crate) uid: Uid,
    pub(crate) message: Message,
    pub(crate) ttl: Option<Duration>,
}

impl Send {
    /// Keeps the message for so long, until a client has confirmed it: it is delivered now or at a later login, in
    /// order. Zero keeps nothing, as does not calling this.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl).filter(|ttl| !ttl.is_zero());
        self
    }

    /// Gives the message an id of the application's choice.
    pub fn id(mut self, id: MessageId) -> Self {
        self.message = self.message.with_id(id);
        self
    }

    async fn run(self) -> Result<Receipt, SendError> {
        let Self { hub, uid, message, ttl } = self;
        uid.check()?;
        let Some(ttl) = ttl else {
            return if hub.is_draining() {
                Err(SendError::Draining)
            } else {
                send_now(&hub, &uid, message).await
            };
        };
        let ttl = u64::try_from(ttl.as_millis()).map_err(|_| SendError::TtlTooLong)?;
        let expires_at = hub.runtime.unix_time().checked_add(ttl).ok_or(SendError::TtlTooLong)?;
        let message = hub.identified(message);
        match send_kept(&hub, &uid, message.clone(), expires_at).await {
            // Without a queue a cluster keeps nothing, and can still deliver.
            Err(SendError::NotKept) if hub.relay.is_some() => {
                let receipt = send_now(&hub, &uid, message).await?;
                if receipt.is_offline() { Err(SendError::NotKept) } else { Ok(receipt) }
            }
            result => result,
        }
    }
}

/// To whoever is online, and nobody else.
async fn send_now(hub: &Arc<Inner>, uid: &Uid, message: Message) -> Result<Receipt, SendError> {
    let packet = hub.packet(message, None)?;
    let id = packet.message().id();
    let mut fx = Effects::default();
    let user = hub.registry.find(uid);
    let mut sessions = match user.as_ref().and_then(|user| user.lock()) {
        Some(state) => state.offer(hub, &packet, &mut fx),
        None => 0,
    };
    fx.run(hub, user.as_ref());
    if let Some(relay) = &hub.relay {
        let delivery = Delivery::Now(packet.message().clone());
        sessions += relay.deliver(uid, &delivery).await.map_err(SendError::Relay)?;
    }
    if sessions == 0 {
        hub.hooks.undelivered(uid, packet.message(), Undelivered::Offline);
    }
    Ok(Receipt { id, sessions, stored: false, place: None })
}

async fn send_kept(
    hub: &Arc<Inner>,
    uid: &Uid,
    message: Message,
    expires_at: u64,
) -> Result<Receipt, SendError> {
    let packet = hub.packet(message, Some(expires_at))?;
    let id = packet.message().id();
    let (user, append) = loop {
        let user = hub.registry.find_or_add(hub, uid);
        let mut fx = Effects::default();
        let Some(mut state) = user.lock() else { continue };
        let append = state.append(hub, &packet, &mut fx);
        drop(state);
        fx.run(hub, Some(&user));
        break (user, append);
    };
    drop(packet);
    let place = |pos| Some(Place { hub: Arc::clone(hub), user: Arc::clone(&user), pos, expires_at });
    match append {
        Ok(Append::Live { sessions, pos }) => Ok(Receipt { id, sessions, stored: false, place: place(pos) }),
        Ok(Append::Storing { ticket, pos }) => {
            // From here on the place counts as a receipt, so that dropping this future cleans up.
            let place = place(pos);
            let result = poll_fn(|cx| ticket.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await;
            let sessions = user.lock().map_or(0, |state| state.live());
            result.map(|()| Receipt { id, sessions, stored: true, place })
        }
        Err(error) => {
            user.retire_if_idle(hub);
            Err(error)
        }
    }
}

impl IntoFuture for Send {
    type Output = Result<Receipt, SendError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send")
            .field("uid", &self.uid)
            .field("message", &self.message)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
