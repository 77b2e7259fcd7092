//! The hub: users, their sessions, and what they are sent.

mod builder;
mod driver;
mod effects;
mod everyone;
mod fence;
mod here;
mod hooks;
mod inner;
mod kick;
mod lane;
mod log;
mod login;
mod packet;
mod receipt;
mod recent;
mod registry;
mod room;
mod send;
mod session;
mod shutdown;
mod slot;
mod sso;
mod sweep;
#[cfg(test)]
mod tests;
mod timers;
mod user;
mod waiters;

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub(crate) use self::inner::Inner;
use crate::{
    Actor, CloseReason, Device, Message, Refusal, SendError, Transport, Uid,
    relay::{Audience, RelayError},
    rt::Runtime,
    trace::event,
};

pub use self::{
    builder::{Durability, HubBuilder},
    hooks::{Received, Sending, Undelivered},
    kick::Kick,
    receipt::{Outcome, Receipt},
    room::JoinError,
    send::{Send, SendFuture},
    session::{Session, SessionId},
    shutdown::ShutdownReport,
    slot::Overflow,
    sso::Sso,
};

/// The place where users' sessions meet. A cheap handle: clones are the same hub, which lives until the last clone
/// and the last session are gone.
///
/// Methods that a cluster can answer are async and can fail; on a single node they do neither.
#[derive(Clone)]
pub struct Hub {
    pub(crate) inner: Arc<Inner>,
}

impl Hub {
    /// Starts a configuration. `actor` handles the messages of all sessions.
    pub fn builder(actor: impl Actor) -> HubBuilder {
        HubBuilder::new(Arc::new(actor))
    }

    /// Runs a session of `device` over `transport` to its end, and says why it ended.
    ///
    /// The login takes effect when the future is polled first: sessions that the SSO policy ends are fenced in the
    /// same step. A login that is refused (limits, shutdown, an unusable uid) ends with the reason, and the peer is
    /// told. Dropping the future ends the session with [`CloseReason::Dropped`].
    pub fn serve<T: Transport>(
        &self,
        device: Device,
        transport: T,
    ) -> impl Future<Output = CloseReason> + std::marker::Send + 'static {
        driver::serve(Arc::clone(&self.inner), device, transport)
    }

    /// Whether a login of `device` would be accepted now. Listeners ask before they answer a login;
    /// [`serve`](Self::serve) decides.
    ///
    /// # Errors
    /// The refusal for the client: 400 for an unusable uid or device id, 503 while draining or full.
    pub fn admit(&self, device: &Device) -> Result<(), Refusal> {
        self.check_login(device).inspect_err(|refusal| {
            event!(INFO, user = ?device.uid(), reason = %refusal.reason(), "a login was refused");
        })
    }

    fn check_login(&self, device: &Device) -> Result<(), Refusal> {
        let hub = &*self.inner;
        device.check()?;
        if hub.is_draining() {
            return Err(Refusal::unavailable("the server is shutting down"));
        }
        let class = hooks::guard("Sso::by_class", || hub.settings.sso.class(device))
            .map_err(|_| Refusal::new(500, "the server failed"))?;
        let place = match hub.registry.find(device.uid()).as_ref().and_then(|user| user.lock()) {
            Some(state) => state.has_place(hub, |other| class.is_some() && other.class() == &class),
            None => hub.has_place(),
        };
        if place { Ok(()) } else { Err(Refusal::unavailable("the server is full")) }
    }

    /// Sends a message to every session of a user, or keeps it if it has a [`ttl`](Send::ttl). Await what this
    /// returns.
    ///
    /// It never waits for a socket. With a durable queue, or when the user is offline, it waits for the queue to have
    /// stored a kept message.
    ///
    /// # Errors
    /// [`SendError`]; a user who is offline is none for a message that is not kept, the [`Receipt`] says so.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tok_core::{Hub, SendError};
    ///
    /// async fn invite(hub: &Hub) -> Result<(), SendError> {
    ///     let receipt = hub.send("alice", "tea at five?").ttl(Duration::from_secs(3600)).await?;
    ///     if receipt.is_offline() {
    ///         println!("she will find it at her next login");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn send(&self, uid: impl Into<Uid>, message: impl Into<Message>) -> Send {
        Send { hub: Arc::clone(&self.inner), uid: uid.into(), message: message.into(), ttl: None }
    }

    /// Sends a message to many users: calls [`send`](Self::send) with this TTL for one after the other, and awaits each
    /// before the next. Zero as the TTL sends a transient message. The results come in the order of the users.
    ///
    /// The users share the payload's bytes and nothing else. Each gets a message with an id of its own (unless `message`
    /// has one), which counts against [`max_memory`](HubBuilder::max_memory) and is encoded by itself; a queue stores each
    /// by itself. A thousand users who are away cost a thousand operations of the queue, one at a time.
    ///
    /// Dropping the future stops it: users whose turn has come have been sent the message, others have not.
    pub async fn send_many<I>(
        &self,
        uids: I,
        message: impl Into<Message>,
        ttl: Duration,
    ) -> Vec<(Uid, Result<Receipt, SendError>)>
    where
        I: IntoIterator<Item: Into<Uid>>,
    {
        let message = message.into();
        let mut results = Vec::new();
        for uid in uids {
            let uid = uid.into();
            let result = self.send(&uid, message.clone()).ttl(ttl).await;
            results.push((uid, result));
        }
        results
    }

    /// Sends a message to every session of every user who is online; it is not kept. Returns how many sessions of
    /// this node take it.
    ///
    /// All sessions of a node see the broadcasts that are sent on one node in the same order. Broadcasts of two nodes
    /// can arrive in another order on each node.
    ///
    /// # Errors
    /// [`SendError`] when the message is too big, the memory budget is used up, or the hub is shutting down.
    pub async fn broadcast(&self, message: impl Into<Message>) -> Result<usize, SendError> {
        self.publish_to(Audience::Everyone, message.into()).await
    }

    /// Sends a message to every session in a room; it is not kept. Returns how many sessions of this node take it.
    ///
    /// All members on a node see the messages that are published to a room on one node in the same order. Messages of
    /// two nodes can arrive in another order on each node.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast). A room that nobody is in is no error.
    pub async fn publish(&self, room: &str, message: impl Into<Message>) -> Result<usize, SendError> {
        self.publish_to(Audience::Room(room.to_owned()), message.into()).await
    }

    async fn publish_to(&self, audience: Audience, message: Message) -> Result<usize, SendError> {
        let hub = &self.inner;
        if hub.is_draining() {
            return Err(SendError::Draining);
        }
        let message = hub.identified(message);
        let (sessions, fx) = hub.publish_here(&audience, message.clone())?;
        fx.run_in_turns(hub).await;
        if let Some(relay) = &hub.relay {
            relay.publish(&audience, &message).await.map_err(SendError::Relay)?;
        }
        Ok(sessions)
    }

    /// Ends sessions of a user: all of them, or those that [`Kick`] narrows it to. Await what this returns. From then
    /// on they do not count as online, and handle and receive nothing more than their goodbye.
    pub fn kick(&self, uid: impl Into<Uid>) -> Kick {
        Kick::new(Arc::clone(&self.inner), uid.into())
    }

    /// Whether a user has a session.
    ///
    /// # Errors
    /// Other nodes could not be asked.
    pub async fn is_online(&self, uid: impl Into<Uid>) -> Result<bool, RelayError> {
        let uid = uid.into();
        match &self.inner.relay {
            _ if self.inner.is_online_here(&uid) => Ok(true),
            Some(relay) => relay.is_online(&uid).await,
            None => Ok(false),
        }
    }

    /// The number of users who have a session.
    ///
    /// # Errors
    /// Other nodes could not be asked.
    pub async fn users_online(&self) -> Result<usize, RelayError> {
        match &self.inner.relay {
            Some(relay) => relay.users_online().await,
            None => Ok(self.inner.users_online.load(Ordering::Acquire)),
        }
    }

    /// The users who have a session, in no particular order. The list is as large as they are many.
    ///
    /// # Errors
    /// Other nodes could not be asked.
    pub async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        match &self.inner.relay {
            Some(relay) => relay.online().await,
            None => Ok(self.inner.online_here()),
        }
    }

    /// Figures of this node.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            users_online: self.inner.users_online.load(Ordering::Acquire),
            sessions: self.inner.sessions_live(),
            user_entries: self.inner.registry.len(),
            memory_bytes: self.inner.budget.used(),
        }
    }

    /// The runtime that the hub was built with, bound to the thread's executor.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner.runtime
    }

    /// The time that listeners give a login; zero for no limit.
    #[must_use]
    pub fn auth_timeout(&self) -> Duration {
        self.inner.settings.auth_timeout
    }

    /// How long a peer may take none of the bytes that wait for it; zero for no limit.
    #[must_use]
    pub fn write_timeout(&self) -> Duration {
        self.inner.settings.write_timeout
    }

    /// The largest message that transports accept from a client, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.inner.settings.max_message
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Figures of one node's hub, as of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Users with a session here.
    pub users_online: usize,
    /// Sessions here.
    pub sessions: usize,
    /// Users that the hub holds an entry for: those online, and those with queue operations or receipts open.
    pub user_entries: usize,
    /// Bytes held for messages, against `max_memory`.
    pub memory_bytes: usize,
}
