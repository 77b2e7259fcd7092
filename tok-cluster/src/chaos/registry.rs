use std::time::Duration;

use async_trait::async_trait;
use tok_core::{Epoch, Uid, relay::Claim};

use super::{Chaos, Link};
use crate::{Claimed, Cursor, Lease, NodeId, Page, Registry, RegistryError, Restored, SessionRow};

fn unavailable(why: &'static str) -> RegistryError {
    RegistryError::Unavailable(why.into())
}

impl<R: Registry> Chaos<R> {
    async fn pass<T>(&self, run: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        let fails = self.faults.happens(self.faults.plan().fail);
        let before = fails && self.faults.happens(500);
        self.faults.travel().await;
        self.check().await?;
        if before {
            return Err(unavailable("failed before it had its effect"));
        }
        let result = run.await;
        self.faults.travel().await;
        self.check().await?;
        if fails { Err(unavailable("failed after it had its effect")) } else { result }
    }

    async fn check(&self) -> Result<(), RegistryError> {
        match self.faults.link() {
            Link::Cut => Err(unavailable("the connection is cut")),
            Link::BlackHole => std::future::pending().await,
            Link::Up | Link::Deaf => Ok(()),
        }
    }
}

#[async_trait]
impl<R: Registry> Registry for Chaos<R> {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        self.pass(self.inner.claim(claim, node)).await
    }

    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        self.pass(self.inner.restore(row)).await
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        self.pass(self.inner.release(uid, epoch)).await
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        self.pass(self.inner.lookup(uid)).await
    }

    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        self.pass(self.inner.page(after, limit)).await
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        self.pass(self.inner.users()).await
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        self.pass(self.inner.beat(node, lease)).await
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.pass(self.inner.leave(node)).await
    }

    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        self.pass(self.inner.nodes()).await
    }

    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        self.pass(self.inner.reap(node, budget)).await
    }
}
