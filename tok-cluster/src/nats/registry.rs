mod leases;
mod pages;
mod rows;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tok_core::{Epoch, Uid, relay::Claim};
use tokio::sync::Semaphore;

use self::{leases::Leases, pages::Reaping};
use super::{builder::Settings, failure::Failure, stream::Stream};
use crate::{
    Claimed, Cursor, Lease, NodeId, Page, Registry, RegistryError, Restored, SessionRow,
    permits::{Limits, Permit, Permits},
};

/// How often an operation begins again when other nodes change the row under it: each time one of them has got on. The
/// timeout usually comes first.
const ATTEMPTS: usize = 256;

/// Seconds that what says "no rows" stays: the server's least.
const MOMENT: u64 = 1;

/// A connection to the table of a [`NatsBroker`](super::NatsBroker): a stream, in which each user with sessions is one
/// message, and each node's lease another.
///
/// An epoch is the place in the stream at which its row was first stored. A new stream begins at the microsecond in which
/// the server made it, so that epochs rise from one stream to the next. A [claim above](Claim::above) a higher number gives
/// the row that number and one more; it counts as long as the user has a row. A stream whose newest part is missing when the
/// server is back (it syncs its files every two minutes by default) is emptied and begins anew as soon as a node looks that
/// had seen more of it; all nodes then put their rows back.
pub struct NatsRegistry {
    stream: Arc<Stream>,
    leases: Leases,
    reaping: Reaping,
    timeout: Duration,
    in_flight: Semaphore,
    /// Operations of this node on one user's rows come one after the other: they would only make each other begin again.
    turns: Permits,
}

/// One at a time for each user. `in_flight` bounds how many there are.
const TURNS: Limits =
    Limits { permits: usize::MAX, permits_of_user: 1, waiting: usize::MAX, waiting_of_user: usize::MAX };

impl NatsRegistry {
    pub(super) fn new(stream: Arc<Stream>, settings: &Settings) -> Self {
        Self {
            stream,
            leases: Leases::default(),
            reaping: Reaping::default(),
            timeout: settings.timeout,
            in_flight: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            turns: Permits::new(TURNS, 0),
        }
    }

    async fn turn(&self, uid: &Uid) -> Result<Permit<'_>, Failure> {
        // Without limits on those who wait nobody is refused.
        let turn = self.turns.acquire(Some(uid)).ok_or(Failure::Contended)?;
        Ok(turn.await)
    }

    /// Runs an operation within its time, on a stream that is there: if it turns out to be gone it is made again.
    async fn run<T, F>(&self, operation: impl Fn() -> F + Send + Sync) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let _permit = self.in_flight.try_acquire().map_err(|_| RegistryError::Overloaded)?;
        let running = async {
            self.stream.ready().await?;
            for _ in 0..3 {
                let opened = self.stream.opened();
                match operation().await {
                    Err(Failure::Lost) => self.stream.open(opened).await?,
                    result => return result,
                }
            }
            Err(Failure::Lost)
        };
        let ran = tokio::time::timeout(self.timeout, running).await;
        ran.unwrap_or(Err(Failure::Silent(self.timeout))).map_err(RegistryError::from)
    }
}

#[async_trait]
impl Registry for NatsRegistry {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        self.run(|| async {
            let _turn = self.turn(&claim.uid).await?;
            rows::claim(&self.stream, claim, node).await
        })
        .await
    }

    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        self.run(|| async {
            let _turn = self.turn(&row.uid).await?;
            rows::restore(&self.stream, row).await
        })
        .await
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        let removed = AtomicU64::new(0);
        self.run(|| async {
            let _turn = self.turn(uid).await?;
            let count = rows::remove(&self.stream, uid, |row| row.epoch == epoch.get()).await?;
            removed.fetch_add(count as u64, Ordering::Relaxed);
            Ok(())
        })
        .await?;
        Ok(removed.into_inner() > 0)
    }

    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        self.run(|| rows::lookup(&self.stream, uid)).await
    }

    /// A user of whom a row changes meanwhile comes again, with all rows.
    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        self.run(|| pages::page(&self.stream, after, limit)).await
    }

    async fn users(&self) -> Result<u64, RegistryError> {
        self.run(|| async {
            let info = self.stream.info(&self.stream.all_leases()).await?;
            Ok(info.messages.saturating_sub(info.subjects.len() as u64))
        })
        .await
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        self.run(|| self.leases.beat(&self.stream, node, lease)).await
    }

    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.run(|| self.leases.leave(&self.stream, node)).await
    }

    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        self.run(|| self.leases.nodes(&self.stream)).await
    }

    /// It reads through all rows, a part at a time, and goes on where it was when it is called again.
    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        self.run(|| async {
            if self.leases.holds(&self.stream, node).await? {
                self.reaping.stop(node);
                return Ok(false);
            }
            let more = self.reaping.go_on(&self.stream, node, budget).await?;
            if !more {
                self.leases.forget(&self.stream, node).await?;
            }
            Ok(more)
        })
        .await
    }
}

impl fmt::Debug for NatsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsRegistry").field("stream", &self.stream.name()).finish_non_exhaustive()
    }
}
