use std::{fmt, sync::Arc, time::Duration};

use futures_channel::oneshot;

use super::{
    Hub,
    hooks::{Hooks, Received, Sending, Undelivered},
    inner::Inner,
    slot::{Backlog, Overflow},
    sso::Sso,
    sweep, timers,
};
use crate::{
    Actor, CloseReason, Confirm, Message, Session, Uid,
    error::ConfigError,
    queue::{NoQueue, Queue},
    relay::{Node, Relay},
    rt::{Clock, Runtime},
};

/// When a kept message is stored, with a queue that survives the process ([`Caps::durable`](crate::queue::Caps)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Before any session is given it and before `send` answers. The default with a durable queue. Messages of one
    /// user that come while a store is under way share the next one.
    WriteAhead,
    /// When the user's last session ends with it unconfirmed, or when too much waits in memory. Faster, and a crash
    /// of the process loses what was in memory. The default, and the only choice, with a queue in memory.
    WriteBack,
}

/// Makes a [`Hub`]. Every setting has a default; only the runtime has to be given.
///
/// ```
/// # #[cfg(feature = "tokio")] {
/// use std::time::Duration;
/// use tok_core::{Actor, Hub, Message, Session, Sso, async_trait, rt};
///
/// struct Echo;
///
/// #[async_trait]
/// impl Actor for Echo {
///     async fn on_receive(&self, session: &Session, message: Message) {
///         let _ = session.send(message);
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let hub = Hub::builder(Echo)
///     .runtime(rt::Tokio)
///     .sso(Sso::PerDevice)
///     .ping_interval(Duration::from_secs(20))
///     .build()?;
/// # drop(hub);
/// # Ok::<_, tok_core::ConfigError>(())
/// # }).unwrap();
/// # }
/// ```
#[must_use]
pub struct HubBuilder {
    actor: Arc<dyn Actor>,
    runtime: Option<Arc<dyn Runtime>>,
    queue: Arc<dyn Queue>,
    relay: Option<Arc<dyn Relay>>,
    durability: Option<Durability>,
    hooks: Hooks,
    settings: Settings,
    explicit: Explicit,
}

/// Which sizes the application chose itself: the defaults give way to what the queue and the cluster can carry.
#[derive(Clone, Copy, Debug, Default)]
struct Explicit {
    max_message: bool,
    max_outgoing: bool,
}

/// The settings of a hub, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) sso: Sso,
    pub(crate) confirm: Confirm,
    pub(crate) durability: Durability,
    pub(crate) auth_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) max_message: usize,
    pub(crate) max_outgoing: usize,
    pub(crate) max_sessions: usize,
    pub(crate) max_sessions_per_user: usize,
    pub(crate) max_rooms_per_session: usize,
    pub(crate) max_inbound: usize,
    pub(crate) max_memory: usize,
    pub(crate) backlog: Backlog,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl HubBuilder {
    pub(crate) fn new(actor: Arc<dyn Actor>) -> Self {
        let settings = Settings {
            sso: Sso::default(),
            confirm: Confirm::default(),
            durability: Durability::WriteBack,
            auth_timeout: Duration::from_secs(5),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            close_timeout: Duration::from_secs(3),
            send_timeout: Duration::from_secs(2),
            max_message: MIB,
            max_outgoing: 16 * MIB,
            max_sessions: 0,
            max_sessions_per_user: 0,
            max_rooms_per_session: 1000,
            max_inbound: 256 * KIB,
            max_memory: 1024 * MIB,
            backlog: Backlog { max_bytes: MIB, overflow: Overflow::default() },
        };
        Self {
            actor,
            runtime: None,
            queue: Arc::new(NoQueue),
            relay: None,
            durability: None,
            hooks: Hooks::default(),
            settings,
            explicit: Explicit::default(),
        }
    }

    /// The executor that the hub's time, randomness and tasks come from. Required.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Where messages wait for users who are away. [`NoQueue`] by default: messages with a TTL are refused for them.
    pub fn queue(mut self, queue: impl Queue) -> Self {
        self.queue = Arc::new(queue);
        self
    }

    /// Joins the hubs of other nodes. It needs a queue that they share, or none. Alone by default.
    pub fn relay(mut self, relay: impl Relay) -> Self {
        self.relay = Some(Arc::new(relay));
        self
    }

    /// When kept messages are stored; see [`Durability`] for the defaults.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Which sessions a login ends. [`Sso::PerUser`] by default.
    pub fn sso(mut self, sso: Sso) -> Self {
        self.settings.sso = sso;
        self
    }

    /// What proves that a session has a kept message, where its [`Device`](crate::Device) does not say.
    /// [`Confirm::Received`] by default.
    pub fn confirm(mut self, confirm: Confirm) -> Self {
        self.settings.confirm = confirm;
        self
    }

    /// The time from a connection's start to the end of its login, on every listener; then it is closed. 5 seconds by
    /// default; zero for no limit.
    pub fn auth_timeout(mut self, timeout: Duration) -> Self {
        self.settings.auth_timeout = timeout;
        self
    }

    /// Ends a session whose peer gave no sign of life for this long, with [`CloseReason::Idle`]. Off (zero) by default.
    ///
    /// Bytes that move are a sign of life, either way: whatever the peer sends, each KiB of a message that is still
    /// arriving for one second, and bytes that the peer takes after they had to wait.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.read_timeout = timeout;
        self
    }

    /// Ends a session whose peer took none of the bytes that wait for it for so long, with [`CloseReason::Slow`]. 60
    /// seconds by default; zero for no limit.
    ///
    /// Listeners derive TCP's user timeout from it, which breaks connections whose peer vanished: see
    /// [`listen`](crate::transport::listen).
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout;
        self
    }

    /// Probes a peer that gave no sign of life for this long. One that gives none for as long again is dead and closed
    /// with [`CloseReason::Idle`]. 30 seconds by default; zero turns it off. Transports that cannot probe are left to the
    /// read timeout, unless there is a [`ping`](Self::ping) hook.
    ///
    /// What a sign of life is, [`read_timeout`](Self::read_timeout) says. So a slow upload of at least 1 KiB a second and
    /// a slow download go on, although the peer cannot answer a probe before they are over.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// How long a goodbye may take, the discarding of what the peer still sends included. 3 seconds by default.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// The longest that a [`send`](Hub::send) waits for a receiver who is online. 2 seconds by default; with zero it does
    /// not wait, and fails where it otherwise would wait. It is the time for
    /// * a session to confirm a message that the queue cannot store: then
    ///   [`SendError::Unconfirmed`](crate::SendError::Unconfirmed);
    /// * room among the messages that are kept for the user: then [`SendError::Full`](crate::SendError::Full);
    /// * the queue to give what is stored for the user, before a message that is not to be kept: then
    ///   [`SendError::BacklogUnread`](crate::SendError::BacklogUnread).
    ///
    /// Where one sender has waited for so long and nothing was confirmed, stored or read meanwhile, further senders to
    /// the same user do not wait. The time that the queue takes to store a message is not part of it.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.settings.send_timeout = timeout;
        self
    }

    /// The largest message that transports accept from a client, in bytes. 1 MiB by default, or the most that the
    /// queue can store if that is less ([`Caps::max_message`](crate::queue::Caps::max_message)). A client can make the
    /// server hold one such message while it sends it.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self.explicit.max_message = true;
        self
    }

    /// The largest message that can be sent, in bytes; larger ones are refused. 16 MiB by default, or the most that the
    /// queue can store if that is less ([`Caps::max_message`](crate::queue::Caps::max_message)).
    pub fn max_outgoing(mut self, bytes: usize) -> Self {
        self.settings.max_outgoing = bytes;
        self.explicit.max_outgoing = true;
        self
    }

    /// The most sessions at once; further logins are refused, unless they take the place of another. 0, the default,
    /// is no limit.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_sessions = sessions;
        self
    }

    /// The most sessions of one user at once; further logins are refused, unless they take the place of another. 0,
    /// the default, is no limit.
    pub fn max_sessions_per_user(mut self, sessions: usize) -> Self {
        self.settings.max_sessions_per_user = sessions;
        self
    }

    /// The most rooms that one session can be in. 1,000 by default.
    pub fn max_rooms_per_session(mut self, rooms: usize) -> Self {
        self.settings.max_rooms_per_session = rooms;
        self
    }

    /// The messages that are read from one connection ahead of its handler, in bytes; beyond, the connection is not
    /// read, so that its own socket holds the client back. 256 KiB by default.
    pub fn max_inbound(mut self, bytes: usize) -> Self {
        self.settings.max_inbound = bytes;
        self
    }

    /// The messages that are not kept and wait for one connection, in bytes with 128 added for each; beyond, the
    /// [`overflow`](Self::overflow) policy applies. Where at most half of it waits, one message of any size fits: a sender
    /// that waits in [`Session::writable`] first is within the bound. Kept messages wait in the user's log, and take at
    /// most a quarter as much in addition. 1 MiB by default.
    pub fn max_backlog(mut self, bytes: usize) -> Self {
        self.settings.backlog.max_bytes = bytes;
        self
    }

    /// What happens past [`max_backlog`](Self::max_backlog). [`Overflow::Disconnect`] by default.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.backlog.overflow = overflow;
        self
    }

    /// The bytes that the hub holds for messages of all users together, in memory; beyond, sends are refused with
    /// [`SendError::Overloaded`](crate::SendError::Overloaded) and clients are read one message at a time. 1 GiB by
    /// default.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.settings.max_memory = bytes;
        self
    }

    /// Called in order for each message of a client, before the actor. It runs in the session's task and must not
    /// block.
    pub fn before_receive(
        mut self,
        hook: impl Fn(&Session, Message) -> Received + Send + Sync + 'static,
    ) -> Self {
        self.hooks.before_receive = Some(Arc::new(hook));
        self
    }

    /// Called for each message and device right before it is sent, in order. It runs in the session's task and must
    /// not block. With it a message is encoded once for each device.
    pub fn before_send(
        mut self,
        hook: impl Fn(&Session, &Message) -> Sending + Send + Sync + 'static,
    ) -> Self {
        self.hooks.before_send = Some(Arc::new(hook));
        self
    }

    /// Called for each message and device right after the transport took it, in order, with what was sent.
    pub fn after_send(mut self, hook: impl Fn(&Session, &Message) + Send + Sync + 'static) -> Self {
        self.hooks.after_send = Some(Arc::new(hook));
        self
    }

    /// Called once a session, before anything is read from it or written to it.
    pub fn open(mut self, hook: impl Fn(&Session) + Send + Sync + 'static) -> Self {
        self.hooks.open = Some(Arc::new(hook));
        self
    }

    /// Called once a session that was opened, after its last message was handled.
    pub fn close(mut self, hook: impl Fn(&Session, CloseReason) + Send + Sync + 'static) -> Self {
        self.hooks.close = Some(Arc::new(hook));
        self
    }

    /// Called for a message that a user, or one of the user's sessions, was not sent; [`Undelivered`] says why.
    pub fn undelivered(mut self, hook: impl Fn(&Uid, &Message, Undelivered) + Send + Sync + 'static) -> Self {
        self.hooks.undelivered = Some(Arc::new(hook));
        self
    }

    /// Makes keep-alive probes messages: its payload is sent in place of the transport's ping, on every transport,
    /// and the client is expected to send something in answer.
    pub fn ping(mut self, hook: impl Fn(&Session) -> Message + Send + Sync + 'static) -> Self {
        self.hooks.ping = Some(Arc::new(hook));
        self
    }

    /// Makes the goodbye that a session is sent before it is closed by the server.
    pub fn bye(
        mut self,
        hook: impl Fn(&Session, CloseReason) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.bye = Some(Arc::new(hook));
        self
    }

    /// For the simulator, which watches.
    #[cfg(feature = "testkit")]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn actor_mut(&mut self) -> &mut Arc<dyn Actor> {
        &mut self.actor
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn hooks_mut(&mut self) -> &mut Hooks {
        &mut self.hooks
    }

    /// Checks the settings and starts the hub.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work, and why.
    pub fn build(self) -> Result<Hub, ConfigError> {
        let Self { actor, runtime, queue, relay, durability, hooks, mut settings, explicit } = self;
        settings.check()?;
        if let Some(limit) = queue.caps().max_message {
            settings.fit(explicit, limit, "the queue")?;
        }
        if let Some(limit) = relay.as_ref().and_then(|relay| relay.max_message()) {
            settings.fit(explicit, limit, "the cluster")?;
        }
        settings.durability = match (durability, queue.caps().durable) {
            (Some(Durability::WriteAhead), false) => {
                return Err(ConfigError::Conflict(
                    "durability is WriteAhead, but the queue does not survive the process",
                ));
            }
            (Some(durability), _) => durability,
            (None, true) => Durability::WriteAhead,
            (None, false) => Durability::WriteBack,
        };
        let runtime = runtime.ok_or(ConfigError::NoRuntime)?;
        let runtime = runtime.bind().map_err(ConfigError::RuntimeNotRunning)?.unwrap_or(runtime);
        if relay.is_some() && !queue.caps().shared {
            return Err(ConfigError::Conflict(
                "a hub in a cluster needs a queue that all nodes share: this queue's messages are on one node only",
            ));
        }
        queue.use_clock(&Clock::of(&runtime));
        let (alive, ended) = oneshot::channel();
        let inner = Arc::new(Inner::new(settings, runtime, queue, relay, actor, hooks, alive));
        inner.runtime.spawn("hub timers", Box::pin(timers::run(Arc::downgrade(&inner))));
        inner.runtime.spawn("queue sweep", Box::pin(sweep::run(Arc::downgrade(&inner), ended)));
        if let Some(relay) = &inner.relay {
            relay.start(Node { hub: Arc::downgrade(&inner) }).map_err(ConfigError::Cluster)?;
        }
        Ok(Hub { inner })
    }
}

impl Settings {
    /// Lowers default sizes to what `carrier` can carry, and refuses larger ones that the application chose.
    fn fit(&mut self, explicit: Explicit, limit: usize, carrier: &'static str) -> Result<(), ConfigError> {
        let sizes = [
            ("max_message", &mut self.max_message, explicit.max_message),
            ("max_outgoing", &mut self.max_outgoing, explicit.max_outgoing),
        ];
        for (setting, value, is_explicit) in sizes {
            if *value > limit && is_explicit {
                return Err(ConfigError::TooLarge { setting, value: *value, limit, carrier });
            }
            *value = limit.min(*value);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("max_message", self.max_message),
            ("max_outgoing", self.max_outgoing),
            ("max_inbound", self.max_inbound),
            ("max_backlog", self.backlog.max_bytes),
            ("max_memory", self.max_memory),
        ];
        for (setting, value) in at_least_one {
            if value == 0 {
                return Err(invalid(setting, value, "it must be at least 1"));
            }
        }
        if self.close_timeout.is_zero() {
            return Err(invalid("close_timeout", 0, "a goodbye needs time; one second is little"));
        }
        if self.max_memory < self.max_message {
            return Err(ConfigError::Conflict("max_memory is smaller than one message of max_message bytes"));
        }
        Ok(())
    }
}

fn invalid(setting: &'static str, value: usize, rule: &'static str) -> ConfigError {
    ConfigError::Invalid { setting, value: value.to_string(), rule }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
