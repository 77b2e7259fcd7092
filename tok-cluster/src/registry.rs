//! The seam to the table of who is connected where: [`Registry`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tok_core::{Epoch, Uid, error::BoxError, relay::Claim};

use crate::NodeId;

/// A table that all nodes see: a row for each claimed session, and a lease for each node.
///
/// It is soft state. A node's own hub knows best which sessions it has; rows lead others to it, and a node whose rows
/// were lost puts them back. The table decides one thing alone, and must decide it right: the order of claims.
///
/// # Contract
/// * [`claim`](Self::claim), [`restore`](Self::restore), [`release`](Self::release) and [`lookup`](Self::lookup) of one
///   user are linearizable, whatever connection they come over: each sees all that ended before it began. (A
///   follower's or a cache's answer is not good enough: of a message stored and a login claimed at the same time one
///   must see the other.)
/// * Epochs rise from claim to claim of one user, also after a release, and after the table was lost as far as the
///   server's clock does not go back. Each is above [`Claim::above`], whatever the table has lost and whatever its
///   clock says: by that a node gets an epoch that the queue accepts. A claim that asks for more than the registry's
///   numbers can express fails.
/// * Leases are judged by the server's clock or by the time that this process has seen pass, never by comparing two
///   machines' wall clocks.
/// * Operations on different users run at the same time. None panics on any uid, class or number.
///
/// The suite in `tok_cluster::testkit::registry` (feature `testkit`) checks this contract for an implementation.
///
/// # Errors and cancellation
/// See [`RegistryError`]. An operation that fails or whose future is dropped may or may not have its effect, but never
/// in part. The caller bounds the time of each.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Adds a row for a session of `node`, in the place of the row of the same node and class if there is one, and gives
    /// it an epoch above all that the user had and above [`Claim::above`]. A class of `None` never takes a place.
    ///
    /// Rows of other nodes stay, of the same class too: who is displaced is the caller's to judge, and their own nodes'
    /// to release.
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError>;

    /// Puts a row back that may have been lost, with the epoch that it had. If the user has a row of this epoch nothing
    /// changes.
    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError>;

    /// Removes the row of this epoch, and only that: whether it was there.
    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError>;

    /// The user's rows, those of dead nodes too.
    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError>;

    /// A page of all rows: of about `limit` users, whose rows come together. Rows that are there from the first page to
    /// the last are in one of the pages; those that come or go meanwhile may be; none comes twice unless it was changed.
    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError>;

    /// How many users have a row, those on dead nodes included until they are reaped. It may lag by moments and must be
    /// cheap.
    async fn users(&self) -> Result<u64, RegistryError>;

    /// Gives `node` a lease for so long from now, in the place of the one that it has. Says whether it had one that was
    /// not over: a node that is told otherwise, and thought it had, puts its rows back.
    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError>;

    /// Ends the lease of `node` now. Its rows stay until they are released or reaped.
    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError>;

    /// Every node that has beaten and has not been reaped since its lease ended.
    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError>;

    /// Removes about `budget` rows of a node whose lease is over, and with the last of them the node; says whether there
    /// are more. A node that has a lease is left alone, and so is any other run of it.
    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError>;
}

/// A session as other nodes know it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct SessionRow {
    /// The user.
    pub uid: Uid,
    /// Where it is.
    pub node: NodeId,
    /// Its SSO class; `None` displaces none and is displaced by none.
    pub class: Option<String>,
    /// Its place in the order of the user's logins, and its name: no two rows of a user share one.
    pub epoch: Epoch,
}

impl SessionRow {
    /// Whether `other` is a newer login of the same class, so that this session has lost its place.
    #[must_use]
    pub fn is_superseded_by(&self, other: &Self) -> bool {
        self.class.is_some() && self.class == other.class && self.epoch < other.epoch
    }
}

/// What [`Registry::claim`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Claimed {
    /// The new row's epoch.
    pub epoch: Epoch,
    /// All other rows of the user, as of the same moment.
    pub others: Vec<SessionRow>,
}

/// What [`Registry::restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Restored {
    /// Whether the row was missing.
    pub added: bool,
    /// All other rows of the user, as of the same moment.
    pub others: Vec<SessionRow>,
}

/// A node, and how much of its lease is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Lease {
    /// The node.
    pub node: NodeId,
    /// Zero when it is over.
    pub left: Duration,
}

/// Where a [`Page`] ends. What the number means is the registry's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// Before the first page.
    pub const START: Self = Self(0);

    /// The cursor of this number.
    #[must_use]
    pub const fn new(cursor: u64) -> Self {
        Self(cursor)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Page {
    /// Rows, in no particular order.
    pub rows: Vec<SessionRow>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// A registry operation failed, and may or may not have had its effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// As many operations are under way as the driver takes.
    #[error("the registry is overloaded")]
    Overloaded,
    /// The server failed, refused, or cannot be reached; trying again later can help.
    #[error("the registry cannot be reached")]
    Unavailable(#[source] BoxError),
}

macro_rules! forward {
    ($($pointer:ty)*) => {$(
        #[async_trait]
        impl<R: Registry + ?Sized> Registry for $pointer {
            async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
                (**self).claim(claim, node).await
            }
            async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
                (**self).restore(row).await
            }
            async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
                (**self).release(uid, epoch).await
            }
            async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
                (**self).lookup(uid).await
            }
            async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
                (**self).page(after, limit).await
            }
            async fn users(&self) -> Result<u64, RegistryError> {
                (**self).users().await
            }
            async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
                (**self).beat(node, lease).await
            }
            async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
                (**self).leave(node).await
            }
            async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
                (**self).nodes().await
            }
            async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
                (**self).reap(node, budget).await
            }
        }
    )*};
}

forward!(Arc<R> Box<R>);

impl fmt::Debug for dyn Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}
