//! Registries that are wrong on purpose, each in one way, to show that the suite catches it.

use std::time::Duration;

use async_trait::async_trait;
use tok_core::{Epoch, Uid, relay::Claim};

use crate::{
    Claimed, Cursor, Lease, MemoryRegistry, NodeId, Page, Registry, RegistryError, Restored, SessionRow,
    sync::Mutex,
};

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident => $rule:ident,)*) => {
        /// What is wrong with a [`WrongRegistry`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name of the rule that is there to catch it.
            #[must_use]
            pub fn caught_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($rule),)*
                }
            }
        }
    };
}

faults! {
    /// Epochs fall.
    EpochsFall => epochs_rise,
    /// Epochs are a user's count of rows.
    EpochsStartAgain => epochs_rise_after_a_release,
    /// Epochs know nothing of restored rows.
    EpochsIgnoreRestored => epochs_rise_above_what_was_restored,
    /// Epochs know nothing of what a claim asks to be above.
    ClaimsBelow => epochs_rise_above_what_a_claim_asks,
    /// Lookups are answered as of a moment ago.
    LooksUpTheStale => a_claim_is_seen_at_once,
    /// A claim names nobody else.
    NamesNobody => a_claim_names_the_other_rows,
    /// Rows of one node and class pile up.
    KeepsTheDisplaced => a_claim_takes_the_place_of_its_nodes_class,
    /// A claim removes the class's rows of all nodes.
    DisplacesOnAllNodes => a_claim_leaves_the_rows_of_other_nodes,
    /// No class is a class.
    NoClassIsAClass => claims_without_a_class_take_no_place,
    /// The rows are read first and the claim is made then.
    ReadsBeforeItClaims => of_simultaneous_claims_the_later_sees_the_earlier,
    /// A release removes the user.
    ReleasesTheUser => a_release_removes_its_epoch_alone,
    /// A release removes the newest row if its own is gone.
    ReleasesTheNewest => a_late_release_leaves_the_newer,
    /// A release is forgotten.
    ForgetsToRelease => what_is_released_is_gone,
    /// A restore does nothing where the user has rows.
    RestoresNobodyWhoIsThere => restore_puts_back_what_was_lost,
    /// A restore of what is there says that it was missing.
    RestoresWhatIsThere => restore_leaves_what_is_there,
    /// Only letters, digits and signs of ASCII count in a uid.
    ManglesUids => users_and_classes_are_byte_exact,
    /// The last page is never given.
    HidesTheLastPage => pages_hold_every_row_once,
    /// Rows are counted.
    CountsRows => users_are_counted_and_not_rows,
    /// Nodes are not listed.
    ListsNobody => a_beat_gives_a_lease,
    /// Every beat says that there was a lease.
    AlwaysHadALease => a_beat_says_whether_there_was_a_lease,
    /// Leases never end.
    LeasesAreForEver => a_lease_ends,
    /// To leave is to take the rows along.
    LeavesWithItsRows => who_leaves_has_no_lease_and_keeps_its_rows,
    /// Leases are by name.
    RunsShareALease => runs_of_a_node_are_apart,
    /// Nodes that have a lease are reaped, too.
    ReapsTheLiving => reap_leaves_who_has_a_lease,
    /// Rows are reaped by the node's name.
    ReapsByName => reap_takes_the_dead_nodes_rows_alone,
    /// The budget is not heeded.
    ReapsAllAtOnce => reap_works_in_parts,
    /// Reaped nodes stay in the list.
    RemembersTheReaped => a_node_that_was_reaped_is_forgotten,
}

/// The reference with one [`Fault`]. Both connections of a suite must be clones of one `State`: see
/// [`pair`](Self::pair).
#[derive(Debug)]
pub struct WrongRegistry {
    fault: Fault,
    inner: MemoryRegistry,
    state: std::sync::Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    claims: u64,
    stale: std::collections::BTreeMap<Uid, Vec<SessionRow>>,
    reaped: Vec<NodeId>,
    had: std::collections::BTreeSet<NodeId>,
}

const BIG: Duration = Duration::from_secs(1 << 30);

impl WrongRegistry {
    /// Two connections to one table, wrong in the same way.
    #[must_use]
    pub fn pair(fault: Fault, first: MemoryRegistry, second: MemoryRegistry) -> [Self; 2] {
        let state = std::sync::Arc::default();
        [first, second].map(|inner| Self { fault, inner, state: std::sync::Arc::clone(&state) })
    }

    fn uid(&self, uid: &Uid) -> Uid {
        match self.fault {
            Fault::ManglesUids => uid.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "_").into(),
            _ => uid.clone(),
        }
    }

    fn node(&self, node: &NodeId) -> NodeId {
        match self.fault {
            Fault::RunsShareALease => NodeId::new(node.name(), 1).unwrap_or_else(|| node.clone()),
            _ => node.clone(),
        }
    }

    async fn drop_rows(
        &self,
        uid: &Uid,
        which: impl Fn(&SessionRow) -> bool + Send,
    ) -> Result<(), RegistryError> {
        let rows = self.inner.lookup(uid).await?;
        for row in rows.iter().filter(|row| which(row)) {
            self.inner.release(uid, row.epoch).await?;
        }
        Ok(())
    }

    /// Gives the newest row another epoch.
    async fn renumber(
        &self,
        claimed: &mut Claimed,
        claim: &Claim,
        node: &NodeId,
        epoch: u64,
    ) -> Result<(), RegistryError> {
        self.inner.release(&claim.uid, claimed.epoch).await?;
        claimed.epoch = Epoch::new(epoch);
        let (uid, class) = (claim.uid.clone(), claim.class.clone());
        let row = SessionRow { uid, class, node: node.clone(), epoch: claimed.epoch };
        self.inner.restore(&row).await.map(drop)
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[async_trait]
impl Registry for WrongRegistry {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        let above = if self.fault == Fault::ClaimsBelow { Epoch::default() } else { claim.above };
        let claim = &Claim { uid: self.uid(&claim.uid), class: claim.class.clone(), above };
        let count = {
            let mut state = self.state.lock();
            state.claims += 1;
            state.claims
        };
        let before = self.inner.lookup(&claim.uid).await?;
        if self.fault == Fault::ReadsBeforeItClaims {
            yield_once().await;
        }
        match self.fault {
            Fault::DisplacesOnAllNodes => {
                self.drop_rows(&claim.uid, |row| row.class.is_some() && row.class == claim.class).await?;
            }
            Fault::NoClassIsAClass if claim.class.is_none() => {
                self.drop_rows(&claim.uid, |row| row.node == *node && row.class.is_none()).await?;
            }
            _ => {}
        }
        let mut claimed = self.inner.claim(claim, node).await?;
        match self.fault {
            Fault::EpochsFall => {
                self.renumber(&mut claimed, claim, node, 1_000_000 - count).await?;
            }
            Fault::EpochsStartAgain => {
                let epoch = before.iter().map(|row| row.epoch.get()).max().unwrap_or_default() + 1;
                self.renumber(&mut claimed, claim, node, epoch).await?;
            }
            Fault::EpochsIgnoreRestored => self.renumber(&mut claimed, claim, node, count).await?,
            Fault::NamesNobody => claimed.others.clear(),
            Fault::KeepsTheDisplaced => {
                for row in before.iter().filter(|row| row.node == *node) {
                    self.inner.restore(row).await?;
                }
            }
            Fault::ReadsBeforeItClaims => claimed.others = before,
            _ => {}
        }
        Ok(claimed)
    }

    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        if self.fault == Fault::RestoresNobodyWhoIsThere {
            let others = self.inner.lookup(&row.uid).await?;
            if !others.is_empty() {
                return Ok(Restored { added: false, others });
            }
        }
        let mut restored = self.inner.restore(row).await?;
        restored.added |= self.fault == Fault::RestoresWhatIsThere;
        Ok(restored)
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        let uid = &self.uid(uid);
        match self.fault {
            Fault::ReleasesTheUser => {
                self.drop_rows(uid, |_| true).await?;
                Ok(true)
            }
            Fault::ReleasesTheNewest => {
                let rows = self.inner.lookup(uid).await?;
                let newest = rows.iter().map(|row| row.epoch).max().unwrap_or(epoch);
                let there = rows.iter().any(|row| row.epoch == epoch);
                self.inner.release(uid, if there { epoch } else { newest }).await
            }
            Fault::ForgetsToRelease => Ok(true),
            _ => self.inner.release(uid, epoch).await,
        }
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        let rows = self.inner.lookup(&self.uid(uid)).await?;
        if self.fault == Fault::LooksUpTheStale {
            return Ok(self.state.lock().stale.insert(uid.clone(), rows).unwrap_or_default());
        }
        Ok(rows)
    }

    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        let mut page = self.inner.page(after, limit).await?;
        if self.fault == Fault::HidesTheLastPage && page.next.is_none() && after != Cursor::START {
            page.rows.clear();
        }
        Ok(page)
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        if self.fault == Fault::CountsRows {
            return Ok(self.inner.page(Cursor::START, usize::MAX).await?.rows.len() as u64);
        }
        self.inner.users().await
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        let node = self.node(node);
        let first = self.state.lock().had.insert(node.clone());
        let lease = if self.fault == Fault::LeasesAreForEver { BIG } else { lease };
        let had = self.inner.beat(&node, lease).await?;
        Ok(if self.fault == Fault::AlwaysHadALease { !first } else { had })
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.inner.leave(&self.node(node)).await?;
        if self.fault == Fault::LeavesWithItsRows {
            self.inner.reap(node, usize::MAX).await?;
        }
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        let mut nodes = self.inner.nodes().await?;
        match self.fault {
            Fault::ListsNobody => nodes.clear(),
            Fault::RemembersTheReaped => {
                let reaped = self.state.lock().reaped.clone();
                nodes.extend(reaped.into_iter().map(|node| Lease { node, left: Duration::ZERO }));
            }
            _ => {}
        }
        Ok(nodes)
    }

    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        match self.fault {
            Fault::ReapsTheLiving => self.inner.leave(node).await?,
            Fault::ReapsByName => {
                for row in self.inner.page(Cursor::START, usize::MAX).await?.rows {
                    if row.node.name() == node.name() {
                        self.inner.release(&row.uid, row.epoch).await?;
                    }
                }
            }
            _ => {}
        }
        let budget = if self.fault == Fault::ReapsAllAtOnce { usize::MAX } else { budget };
        let more = self.inner.reap(node, budget).await?;
        if !more {
            self.state.lock().reaped.push(node.clone());
        }
        Ok(more)
    }
}
