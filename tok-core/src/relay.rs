//! The seam to other nodes: [`Relay`], and [`Node`], the other direction.

use std::{fmt, sync::Weak};

use async_trait::async_trait;

use crate::{CloseReason, Epoch, Message, Uid, error::BoxError, hub::Inner, queue::Seq};

/// The hub's only view of other nodes. With one, the methods of [`Hub`](crate::Hub) speak for the whole cluster.
///
/// # Contract
/// * [`start`](Self::start) is called once, when the hub is built; what other nodes ask of this hub goes to the
///   [`Node`] that it is given.
/// * [`claim`](Self::claim) gives epochs that rise from login to login of a user, on whatever nodes, and that are above
///   [`Claim::above`]. When it returns, the sessions of the same class on other nodes have been fenced ([`Node::evict`]), as far as they can be reached.
/// * Kept messages are in a queue that all nodes share before others hear of them, so a
///   [`Delivery::Stored`] that is lost delays a message and loses nothing.
/// * What one task sends to one user, each after the one before has been answered, arrives in that order.
///
/// # Errors and cancellation
/// See [`RelayError`]. An operation whose future is dropped may or may not have its effect.
///
/// ```
/// use tok_core::{CloseReason, Uid, relay::{Relay, RelayError, Target}};
///
/// async fn ban(relay: &dyn Relay, uid: &Uid) -> Result<usize, RelayError> {
///     relay.kick(uid, &Target::All, CloseReason::Kicked).await
/// }
/// # let _ = ban;
/// ```
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Connects the hub.
    ///
    /// # Errors
    /// The cluster cannot be joined; the build is refused.
    fn start(&self, node: Node) -> Result<(), RelayError>;

    /// A login wants to take effect here: gives its epoch and fences the sessions that it displaces elsewhere.
    async fn claim(&self, claim: &Claim) -> Result<Epoch, RelayError>;

    /// The session of a claim has lost its place. A claim that a newer one displaced is gone already; that is no error.
    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<(), RelayError>;

    /// Hands a message to the user's sessions on other nodes. Returns how many take it; 0 for [`Delivery::Stored`]
    /// says that nobody was told.
    async fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError>;

    /// Hands a message to an audience on all other nodes.
    async fn publish(&self, audience: &Audience, message: &Message) -> Result<(), RelayError>;

    /// Ends sessions of a user on other nodes. Returns how many.
    async fn kick(&self, uid: &Uid, target: &Target, reason: CloseReason) -> Result<usize, RelayError>;

    /// Whether the user has a session on another node.
    async fn is_online(&self, uid: &Uid) -> Result<bool, RelayError>;

    /// The number of users with a session, on all nodes, this one among them.
    async fn users_online(&self) -> Result<usize, RelayError>;

    /// The users with a session, on all nodes, this one among them.
    async fn online(&self) -> Result<Vec<Uid>, RelayError>;

    /// The largest message that it carries between nodes, in bytes of data; `None`, the default, if only the hub's own
    /// limits apply. A hub whose [`max_message`](crate::HubBuilder::max_message) or
    /// [`max_outgoing`](crate::HubBuilder::max_outgoing) was set higher is refused when it is built.
    fn max_message(&self) -> Option<usize> {
        None
    }
}

/// A login that wants to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Claim {
    /// The user.
    pub uid: Uid,
    /// What the SSO policy made of the device: sessions of the same class are displaced; `None` displaces none.
    pub class: Option<String>,
    /// The epoch of the claim is above this one: what the queue named when it refused an older epoch
    /// ([`QueueError::Fenced`](crate::queue::QueueError::Fenced)). Zero, the default, asks for nothing. The queue can
    /// remember a higher epoch than the cluster if the cluster's registry lost its data and its server's clock stepped
    /// back, or if the queue was used without the cluster before.
    pub above: Epoch,
}

/// A message for one user's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A message that is not kept.
    Now {
        /// The message.
        message: Message,
        /// The last kept message that the sender's node has stored for the user, as far as it remembers: this one
        /// follows it, and waits until the session has been given it.
        after: Option<Seq>,
    },
    /// Kept messages are in the shared queue, up to this position.
    Stored(Seq),
}

/// The sessions that a published message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience {
    /// All.
    Everyone,
    /// Those in the room of this name.
    Room(String),
}

/// The sessions of a user that a kick is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// All.
    #[default]
    All,
    /// Those of the device with this id.
    Device(String),
}

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
    /// The message is larger than what carries it between nodes takes. It went to nobody there.
    #[error("a message of {bytes} bytes with its header is over the {limit} that the cluster carries")]
    TooLarge {
        /// Its size, with what is sent beside it.
        bytes: usize,
        /// The most that is carried.
        limit: usize,
    },
}

/// A hub as other nodes see it: what a [`Relay`] does here on their behalf. Cloning is cheap, and it does not keep
/// the hub alive: once that is gone, every call does nothing.
#[derive(Clone)]
pub struct Node {
    pub(crate) hub: Weak<Inner>,
}

impl Node {
    /// Hands a message to the user's sessions here; returns how many take it, `None` if the user has none.
    ///
    /// # Errors
    /// [`RelayError::Overloaded`]: the hub's memory is used up, or the message is larger than it sends.
    pub fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<Option<usize>, RelayError> {
        let Some(hub) = self.hub.upgrade() else { return Ok(None) };
        hub.deliver_here(uid, delivery).map_err(|_| RelayError::Overloaded)
    }

    /// Hands a message to the sessions of an audience here; returns how many take it.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn publish(&self, audience: &Audience, message: &Message) -> Result<usize, RelayError> {
        let Some(hub) = self.hub.upgrade() else { return Ok(0) };
        let (sessions, fx) =
            hub.publish_here(audience, message.clone()).map_err(|_| RelayError::Overloaded)?;
        fx.run(&hub);
        Ok(sessions)
    }

    /// Fences and ends the user's sessions of `class` whose epoch is below `epoch`, and logins under way that claimed
    /// one. Returns how many sessions ended.
    pub fn evict(&self, uid: &Uid, class: &str, epoch: Epoch) -> usize {
        self.hub.upgrade().map_or(0, |hub| hub.evict_here(uid, class, epoch))
    }

    /// The logins that have a session here, with the epochs of their claims: what a relay claims again when it may
    /// have been forgotten.
    #[must_use]
    pub fn claims(&self) -> Vec<(Claim, Epoch)> {
        self.hub.upgrade().map_or_else(Vec::new, |hub| hub.claims_here())
    }

    /// Ends the session of this claim, if it is here; returns whether it was. For a relay that can no longer hold the
    /// claim.
    pub fn end(&self, uid: &Uid, epoch: Epoch, reason: CloseReason) -> bool {
        self.hub.upgrade().is_some_and(|hub| hub.end_here(uid, epoch, reason))
    }

    /// Looks into the shared queue for what the user's sessions here have not been given: a relay that may have missed
    /// a [`Delivery::Stored`] calls it for each user who is [`online`](Self::online) here, at a pace of its own.
    pub fn recheck(&self, uid: &Uid) {
        if let Some(hub) = self.hub.upgrade() {
            hub.recheck_here(uid);
        }
    }

    /// Ends sessions of a user here; returns the epochs of their claims. The hub releases these by itself, in a moment: a
    /// relay that wants them gone when the kick is answered releases them first.
    #[must_use]
    pub fn kick(&self, uid: &Uid, target: &Target, reason: CloseReason) -> Vec<Epoch> {
        self.hub.upgrade().map_or_else(Vec::new, |hub| hub.kick_here(uid, target, reason))
    }

    /// Whether the user has a session here.
    #[must_use]
    pub fn is_online(&self, uid: &Uid) -> bool {
        self.hub.upgrade().is_some_and(|hub| hub.is_online_here(uid))
    }

    /// The users with a session here.
    #[must_use]
    pub fn online(&self) -> Vec<Uid> {
        self.hub.upgrade().map_or_else(Vec::new, |hub| hub.online_here())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

impl fmt::Debug for dyn Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relay")
    }
}
