use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{Receipt, effects::Effects, hooks::Undelivered, inner::Inner, receipt::Place, user::Append};
use crate::{
    Message, MessageId, SendError, Uid,
    relay::Delivery,
    rt::{BoxFuture, Instant},
    trace::event,
};

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

    /// Gives the message an id of the application's choice. The hub does not compare ids: a second message with the same
    /// id is delivered too.
    pub fn id(mut self, id: MessageId) -> Self {
        self.message = self.message.with_id(id);
        self
    }

    /// Sends what nobody has to be waited for; gives back everything else.
    fn run_at_once(self) -> Result<Result<Receipt, SendError>, Self> {
        let waits = self.ttl.is_some() || self.hub.relay.is_some();
        if waits { Err(self) } else { Ok(send_here(&self.hub, &self.uid, self.message)) }
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
        let expires_at = hub.runtime.now().checked_add(ttl).ok_or(SendError::TtlTooLong)?;
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

/// To whoever is online on this node.
fn send_here(hub: &Arc<Inner>, uid: &Uid, message: Message) -> Result<Receipt, SendError> {
    uid.check()?;
    if hub.is_draining() {
        return Err(SendError::Draining);
    }
    let packet = hub.packet(message, None)?;
    let mut fx = Effects::default();
    let user = hub.registry.find(uid);
    let state = user.as_ref().and_then(|user| user.lock());
    let taken = state.and_then(|state| state.offer(hub, &packet, state.log.end(), &mut fx));
    fx.run(hub);
    if taken.is_none() && hub.relay.is_none() {
        hub.hooks.undelivered(uid, packet.message(), Undelivered::Offline);
    }
    let (sessions, offline) = (taken.unwrap_or_default(), taken.is_none());
    Ok(Receipt { id: packet.message().id(), sessions, offline, stored: false, place: None })
}

/// To whoever is online on any node, and nobody else.
async fn send_now(hub: &Arc<Inner>, uid: &Uid, message: Message) -> Result<Receipt, SendError> {
    let message = hub.identified(message);
    let mut receipt = send_here(hub, uid, message.clone())?;
    if let Some(relay) = &hub.relay {
        let after = hub.recent.last_stored(uid);
        let elsewhere = relay.deliver(uid, &Delivery::Now { message: message.clone(), after }).await;
        let elsewhere = elsewhere.map_err(SendError::Relay)?;
        receipt.sessions += elsewhere;
        receipt.offline &= elsewhere == 0;
        if receipt.offline {
            hub.hooks.undelivered(uid, &message, Undelivered::Offline);
        }
    }
    Ok(receipt)
}

async fn send_kept(
    hub: &Arc<Inner>,
    uid: &Uid,
    message: Message,
    expires_at: Instant,
) -> Result<Receipt, SendError> {
    let packet = hub.packet(message, Some(expires_at))?;
    let id = packet.message().id();
    let (user, append) = loop {
        let user = hub.registry.find_or_add(hub, uid);
        let mut fx = Effects::default();
        let Some(mut state) = user.lock() else {
            hub.registry.remove(&user);
            continue;
        };
        let append = state.append(hub, &packet, &mut fx);
        drop(state);
        fx.run(hub);
        break (user, append);
    };
    drop(packet);
    let place = |pos| Some(Place { hub: Arc::clone(hub), user: Arc::clone(&user), pos, expires_at });
    match append {
        Ok(Append::Live { sessions, pos }) => {
            Ok(Receipt { id, sessions, offline: false, stored: false, place: place(pos) })
        }
        Ok(Append::Storing { ticket, pos }) => {
            // From here on the place counts as a receipt, so that dropping this future cleans up.
            let place = place(pos);
            let result = poll_fn(|cx| ticket.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await;
            let here = user.lock().map_or(0, |state| state.live());
            result.map(|stored| {
                let sessions = here + stored.unwrap_or_default();
                Receipt { id, sessions, offline: sessions == 0, stored: stored.is_some(), place }
            })
        }
        Err(error) => {
            user.retire_if_idle(hub);
            Err(error)
        }
    }
}

impl IntoFuture for Send {
    type Output = Result<Receipt, SendError>;
    type IntoFuture = SendFuture;

    fn into_future(self) -> Self::IntoFuture {
        SendFuture(Progress::First(self))
    }
}

/// The future of a [`Send`]. What waits for nobody is done in its first poll and takes no memory.
///
/// # Panics
/// If it is polled again after it was ready, as the futures of `async` blocks do.
#[must_use = "nothing is sent until this is awaited"]
pub struct SendFuture(Progress);

enum Progress {
    First(Send),
    Waiting(BoxFuture<'static, Result<Receipt, SendError>>),
    Done,
}

impl Future for SendFuture {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = match mem::replace(&mut self.0, Progress::Done) {
            Progress::First(send) => match send.run_at_once() {
                Ok(result) => return Poll::Ready(noted(result)),
                Err(send) => Box::pin(send.run()),
            },
            Progress::Waiting(future) => future,
            Progress::Done => panic!("`SendFuture` polled after completion"),
        };
        let result = future.as_mut().poll(cx).map(noted);
        if result.is_pending() {
            self.0 = Progress::Waiting(future);
        }
        result
    }
}

/// Tells the log of a message that was refused.
fn noted(result: Result<Receipt, SendError>) -> Result<Receipt, SendError> {
    if let Err(error) = &result {
        event!(INFO, error = %error, "a message was refused");
    }
    result
}

impl fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendFuture")
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
