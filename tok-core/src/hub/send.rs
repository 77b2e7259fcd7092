use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Receipt,
    effects::{Effects, Kept, Ticket, Verdict},
    hooks::Undelivered,
    inner::Inner,
    packet::Packet,
    receipt::Place,
    user::{Append, Held, Look, Offer, User},
};
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

    /// Sends what nobody has to be waited for. Returns the future of everything else.
    fn start(self) -> Result<Result<Receipt, SendError>, Sending> {
        if self.ttl.is_some() || self.hub.relay.is_some() {
            return Err(Box::pin(self.run()));
        }
        match send_here(&self.hub, &self.uid, self.message) {
            Ok(Here::Done(receipt)) => Ok(Ok(receipt)),
            Ok(Here::Unread(unread)) => Err(Box::pin(async move { unread.wait().await })),
            Err(error) => Ok(Err(error)),
        }
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

/// What became of a transient message on this node.
enum Here {
    Done(Receipt),
    Unread(UnreadSend),
}

/// To whoever is online on this node.
fn send_here(hub: &Arc<Inner>, uid: &Uid, message: Message) -> Result<Here, SendError> {
    uid.check()?;
    if hub.is_draining() {
        return Err(SendError::Draining);
    }
    let packet = hub.packet(message, None)?;
    let mut fx = Effects::default();
    let user = hub.registry.find(uid);
    let state = user.as_ref().and_then(|user| user.lock());
    let offer = state.map_or(Offer::Offline, |mut state| {
        let after = state.log.end();
        state.offer(hub, &packet, after, &mut fx)
    });
    fx.run(hub);
    match (offer, user) {
        (Offer::Unread(sessions, ticket), Some(user)) => {
            Ok(Here::Unread(UnreadSend { hub: Arc::clone(hub), user, packet, sessions, ticket }))
        }
        (offer, _) => Ok(Here::Done(transient(hub, uid, packet.message(), offer.sessions()))),
    }
}

/// The receipt of a transient message. `taken` is the number of sessions that take it, `None` if the user has none on
/// this node.
fn transient(hub: &Inner, uid: &Uid, message: &Message, taken: Option<usize>) -> Receipt {
    if taken.is_none() && hub.relay.is_none() {
        hub.hooks.undelivered(uid, message, Undelivered::Offline);
    }
    let (sessions, offline) = (taken.unwrap_or_default(), taken.is_none());
    Receipt { id: message.id(), sessions, offline, stored: false, place: None }
}

/// A transient message behind stored messages that no session has received yet.
struct UnreadSend {
    hub: Arc<Inner>,
    user: Arc<User>,
    packet: Arc<Packet>,
    sessions: usize,
    ticket: Arc<Ticket<Look>>,
}

impl UnreadSend {
    fn receipt(&self) -> Receipt {
        let id = self.packet.message().id();
        Receipt { id, sessions: self.sessions, offline: false, stored: false, place: None }
    }

    /// Waits until stored messages have been read. If they cannot be in time the message is withdrawn.
    async fn wait(mut self) -> Result<Receipt, SendError> {
        let hub = Arc::clone(&self.hub);
        let mut timer = hub.runtime.sleep_until(hub.runtime.now().saturating_add(hub.settings.send_timeout));
        loop {
            let look = poll_fn(|cx| match self.ticket.poll(cx.waker()) {
                Some(look) => Poll::Ready(Some(look)),
                None => timer.as_mut().poll(cx).map(|()| None),
            });
            let held = match look.await {
                Some(Look::Read) => Held::Reached,
                Some(Look::Ended) => {
                    let state = self.user.lock();
                    state.map_or(Held::Gone { online: false }, |mut state| state.find_held(&self.packet))
                }
                None => {
                    let mut fx = Effects::default();
                    let state = self.user.lock();
                    let withdrawn =
                        state.is_some_and(|mut state| state.withdraw(&hub, &self.packet, &mut fx));
                    fx.run(&hub);
                    if withdrawn { Held::Gone { online: true } } else { Held::Reached }
                }
            };
            let taken = match held {
                Held::Reached => Some(self.sessions),
                Held::Gone { online: false } => None,
                Held::Gone { online: true } => return Err(SendError::BacklogUnread),
                Held::Unread(ticket) => {
                    self.ticket = ticket;
                    continue;
                }
            };
            return Ok(transient(&hub, self.user.uid(), self.packet.message(), taken));
        }
    }
}

impl Drop for UnreadSend {
    fn drop(&mut self) {
        if let Some(mut state) = self.user.lock() {
            state.drop_unread_ticket(&self.ticket);
        }
    }
}

/// To whoever is online on any node, and nobody else.
async fn send_now(hub: &Arc<Inner>, uid: &Uid, message: Message) -> Result<Receipt, SendError> {
    let message = hub.identified(message);
    let (mut receipt, unread) = match send_here(hub, uid, message.clone())? {
        Here::Done(receipt) => (receipt, None),
        Here::Unread(unread) => (unread.receipt(), Some(unread)),
    };
    if let Some(relay) = &hub.relay {
        let after = hub.recent.last_stored(uid);
        let elsewhere = relay.deliver(uid, &Delivery::Now { message: message.clone(), after }).await;
        let elsewhere = elsewhere.map_err(SendError::Relay)?;
        if let Some(unread) = unread.filter(|_| elsewhere == 0) {
            // Nobody else has it: its sender learns whether the sessions here do.
            receipt = unread.wait().await?;
        }
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
        Ok(Append::Accepted { sessions, pos }) => {
            Ok(Receipt { id, sessions, offline: false, stored: false, place: place(pos) })
        }
        Ok(Append::Waiting { ticket, pos }) => {
            // From here on the place counts as a receipt, so that dropping this future cleans up.
            let place = place(pos);
            let kept = decision(hub, &user, pos, &ticket).await?;
            let here = user.lock().map_or(0, |state| state.live());
            let (sessions, stored) = match kept {
                Kept::Stored(elsewhere) => (here + elsewhere, true),
                Kept::InMemory | Kept::Expired => (here, false),
                Kept::Confirmed => (here.max(1), false),
            };
            Ok(Receipt { id, sessions, offline: sessions == 0, stored, place })
        }
        Err(error) => {
            user.retire_if_idle(hub);
            Err(error)
        }
    }
}

/// Waits until it is decided what becomes of a message, for a limited time where that may take long.
async fn decision(hub: &Arc<Inner>, user: &Arc<User>, pos: u64, ticket: &Ticket<Verdict>) -> Verdict {
    let mut timer = None;
    let mut is_over = false;
    poll_fn(|cx| {
        loop {
            if let Some(verdict) = ticket.poll(cx.waker()) {
                return Poll::Ready(verdict);
            }
            let Some(deadline) = ticket.deadline() else { return Poll::Pending };
            if timer.is_none() {
                timer = Some(hub.runtime.sleep_until(deadline));
            }
            // Once it is over: what is being stored then is decided by that.
            let Some(sleep) = timer.as_mut().filter(|_| !is_over) else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            is_over = true;
            let mut fx = Effects::default();
            if let Some(mut state) = user.lock() {
                state.give_up(hub, pos, &mut fx);
            }
            fx.run(hub);
        }
    })
    .await
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
    Waiting(Sending),
    Done,
}

type Sending = BoxFuture<'static, Result<Receipt, SendError>>;

impl Future for SendFuture {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = match mem::replace(&mut self.0, Progress::Done) {
            Progress::First(send) => match send.start() {
                Ok(result) => return Poll::Ready(noted(result)),
                Err(sending) => sending,
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
