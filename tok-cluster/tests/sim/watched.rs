//! A registry that tells the checker of every claim, also of those whose answer gets lost.

use std::time::Duration;

use tok_cluster::{
    Claimed, Cursor, Lease, MemoryRegistry, NodeId, Page, Registry, RegistryError, Restored, SessionRow,
};
use tok_core::{Epoch, Uid, async_trait, relay::Claim, testkit::sim::Checker};

pub(crate) struct Watched {
    pub(crate) inner: MemoryRegistry,
    pub(crate) checker: Checker,
}

#[async_trait]
impl Registry for Watched {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        let claimed = self.inner.claim(claim, node).await?;
        self.checker.claimed(&claim.uid, claimed.epoch);
        Ok(claimed)
    }

    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        self.inner.restore(row).await
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        self.inner.release(uid, epoch).await
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        self.inner.lookup(uid).await
    }

    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        self.inner.page(after, limit).await
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        self.inner.users().await
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        self.inner.beat(node, lease).await
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.inner.leave(node).await
    }

    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        self.inner.nodes().await
    }

    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        self.inner.reap(node, budget).await
    }
}
