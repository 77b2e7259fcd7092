use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Hub,
    effects::Effects,
    hooks::Undelivered,
    inner::Inner,
    log::After,
    packet::Packet,
    room::{JoinError, Room},
    slot::{Push, Slot},
    sso::Class,
    timers::TimerIndex,
    user::User,
    waiters::Waiter,
};
use crate::{
    CloseReason, Confirm, Device, Message, MessageId, SendError,
    queue::Epoch,
    rt::Instant,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    transport::ConnectionId,
};

/// Names a session within one hub, for as long as the hub lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The id as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }
}

/// One live connection of a device: what handlers and hooks are given. Cloning is a reference count; a clone may be
/// kept and used from anywhere. Once the session has ended, [`send`](Self::send) and [`join`](Self::join) are errors and
/// the rest does nothing.
#[derive(Clone)]
pub struct Session {
    pub(crate) core: Arc<Core>,
    pub(crate) hub: Arc<Inner>,
}

impl Session {
    /// Who is at the other end.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.core.device
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.core.id
    }

    /// The hub that serves the session.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub { inner: Arc::clone(&self.hub) }
    }

    /// Whether the session can still be sent anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core.slot.lock().is_live()
    }

    /// Sends a transient message to this connection alone. It never waits: past
    /// [`max_backlog`](crate::HubBuilder::max_backlog) the overflow policy applies, which may drop the message; that is
    /// no error. See also [`writable`](Self::writable).
    ///
    /// What is sent with this method arrives in the order of the calls. It has no place in the user's log: it overtakes
    /// messages of [`Hub::send`](crate::Hub::send) that still wait in the log for this session.
    ///
    /// `Ok` says that the session was there. The message is lost if the session ends before it is written, and the
    /// overflow policies that drop messages report them to the [`undelivered`](crate::HubBuilder::undelivered) hook.
    ///
    /// # Errors
    /// [`SendError::Ended`] if the session has ended, also by this message: with
    /// [`Overflow::Disconnect`](crate::Overflow::Disconnect) one that is over the backlog ends it.
    /// [`SendError::TooBig`], [`SendError::Overloaded`].
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let packet = self.hub.packet(message.into(), None)?;
        let mut fx = Effects::default();
        let offered = self.core.offer(&self.hub, &packet, None, &mut fx);
        fx.run(&self.hub);
        if offered == Offered::Gone { Err(SendError::Ended) } else { Ok(()) }
    }

    /// Waits until less than half of [`max_backlog`](crate::HubBuilder::max_backlog) waits for this connection, or it
    /// has ended. A handler that waits here before it sends makes its client's own socket the brake.
    ///
    /// Any number of tasks may wait, on any clones; all are woken when there is room, and each looks again. Dropping the
    /// future is safe.
    pub async fn writable(&self) {
        Writable { session: self, waiter: Waiter::default() }.await;
    }

    /// Joins a room, which exists from the first join on. Returns how many rooms the session is in.
    ///
    /// # Errors
    /// [`JoinError`] for a name that is empty or over 255 bytes, past
    /// [`max_rooms_per_session`](crate::HubBuilder::max_rooms_per_session), or once the session has ended.
    pub fn join(&self, room: &str) -> Result<usize, JoinError> {
        self.hub.rooms.join(&self.hub, &self.core, room)
    }

    /// Leaves a room, if the session is in it. Returns how many rooms the session is in. A session's end leaves all.
    pub fn leave(&self, room: &str) -> usize {
        self.hub.rooms.leave(&self.core, room)
    }

    /// Ends the session. What waits for it is dropped, save messages that are kept, which stay for the user; the peer
    /// gets the goodbye and the close. A handler that is running ends normally and is the last.
    pub fn close(&self, reason: CloseReason) {
        let mut fx = Effects::default();
        if let Some(mut state) = self.core.user.lock() {
            state.detach(&self.hub, &self.core, reason, &mut fx);
        }
        fx.run(&self.hub);
    }

    /// Tells that the client has the kept message of this id and all before it, for
    /// [`Confirm::Acknowledged`]. Returns whether the message was waiting for that in this session.
    pub fn ack(&self, id: MessageId) -> bool {
        let mut fx = Effects::default();
        let known = self
            .core
            .user
            .lock()
            .is_some_and(|mut state| state.acknowledge(&self.hub, &self.core, id, &mut fx));
        fx.run(&self.hub);
        known
    }
}

/// Waits for room. Dropped, it leaves nothing with the session.
struct Writable<'a> {
    session: &'a Session,
    waiter: Waiter,
}

impl Future for Writable<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Session { core, hub } = self.session;
        let mut slot = core.slot.lock();
        if slot.is_writable(hub.settings.backlog) {
            return Poll::Ready(());
        }
        let replaced = slot.writable.add(&mut self.waiter, cx.waker());
        drop(slot);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        if self.waiter.has_waited() {
            let waker = self.session.core.slot.lock().writable.remove(&mut self.waiter);
            drop(waker);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.core.id).field("device", &self.core.device).finish()
    }
}

/// What is known of a session by more than its own task.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: SessionId,
    pub(crate) user: Arc<User>,
    pub(crate) device: Device,
    pub(crate) epoch: Epoch,
    pub(crate) slot: Mutex<Slot>,
    pub(crate) rooms: Mutex<Vec<Arc<Room>>>,
    class: Class,
    connection: Option<ConnectionId>,
    confirm: Confirm,
    /// The shutdown's deadline has passed: the task is to stop where it is.
    pub(crate) aborted: AtomicBool,
    pub(crate) timer: TimerIndex,
}

/// What became of a message that was offered to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It waits to be written.
    Taken,
    /// It waits behind stored messages that have yet to be read from the queue.
    Unread,
    /// The session has no room for it.
    Refused,
    /// The session has ended, maybe by this message.
    Gone,
}

impl Core {
    pub(crate) fn new(
        hub: &Inner,
        user: Arc<User>,
        device: Device,
        class: Class,
        connection: Option<ConnectionId>,
        epoch: Epoch,
    ) -> Self {
        let confirm = device.confirm().unwrap_or(hub.settings.confirm);
        Self {
            id: SessionId::new(hub.next_session.fetch_add(1, Ordering::Relaxed)),
            user,
            device,
            epoch,
            slot: Mutex::default(),
            rooms: Mutex::default(),
            class,
            connection,
            confirm,
            aborted: AtomicBool::new(false),
            timer: TimerIndex::default(),
        }
    }

    /// Whether a login of this session ends `other`.
    pub(crate) fn displaces(&self, other: &Self) -> bool {
        other.is_displaced_by(&self.class, self.connection)
    }

    /// Whether a login of this class over this connection ends the session.
    pub(crate) fn is_displaced_by(&self, class: &Class, connection: Option<ConnectionId>) -> bool {
        let shares_connection = connection.is_some() && connection == self.connection;
        shares_connection || (class.is_some() && *class == self.class)
    }

    pub(crate) fn shares_connection(&self, other: &Self) -> bool {
        self.connection.is_some() && self.connection == other.connection
    }

    pub(crate) fn class(&self) -> &Class {
        &self.class
    }

    pub(crate) fn confirm_level(&self) -> Confirm {
        self.confirm
    }

    pub(crate) fn acknowledges(&self) -> bool {
        self.confirm == Confirm::Acknowledged
    }

    /// Offers a transient message.
    pub(crate) fn offer(
        self: &Arc<Self>,
        hub: &Inner,
        packet: &Arc<Packet>,
        after: Option<After>,
        fx: &mut Effects,
    ) -> Offered {
        let mut slot = self.slot.lock();
        let push = slot.push_unkept(packet, after, hub.settings.backlog);
        let offered = if matches!(push, Push::Unread(_)) { Offered::Unread } else { Offered::Taken };
        match push {
            Push::Taken(dropped) | Push::Unread(dropped) => {
                slot.announce(self, fx);
                if !dropped.is_empty() {
                    fx.wake_all(slot.take_writable(hub.settings.backlog));
                }
                for packet in dropped {
                    fx.report(self.user.uid(), packet, Undelivered::Dropped);
                }
                offered
            }
            Push::Ended => {
                fx.wake(slot.unpark());
                fx.ended(&self.user);
                Offered::Gone
            }
            Push::Refused => {
                fx.report(self.user.uid(), Arc::clone(packet), Undelivered::Dropped);
                Offered::Refused
            }
            Push::Gone => Offered::Gone,
        }
    }

    pub(crate) fn wake_to_write(&self) {
        let waker = self.slot.lock().unpark();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn wake(&self) {
        let waker = self.slot.lock().rouse();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Keeps [`Packet`] from being made outside the hub's budget.
impl Inner {
    pub(crate) fn packet(
        &self,
        message: Message,
        expires_at: Option<Instant>,
    ) -> Result<Arc<Packet>, SendError> {
        let (bytes, limit) = (message.data().len(), self.settings.max_outgoing);
        if bytes > limit {
            return Err(SendError::TooBig { bytes, limit });
        }
        Packet::new(self.identified(message), expires_at, &self.budget).ok_or(SendError::Overloaded)
    }

    /// The message with an id, of this hub's making if it has none.
    pub(crate) fn identified(&self, message: Message) -> Message {
        if message.id() == MessageId::NONE { message.with_id(self.next_message_id()) } else { message }
    }
}
