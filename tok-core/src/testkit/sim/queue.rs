use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::SimRuntime;
use crate::{
    Epoch, Queue, Uid,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, Seq, Stored, Swept},
    testkit::queue::ReferenceQueue,
};

/// A queue on simulated storage: it takes time, and now and then fails, before or after it has done its work.
#[derive(Clone, Debug)]
pub struct SimQueue {
    runtime: SimRuntime,
    storage: Arc<ReferenceQueue>,
    latency: Duration,
    failures_per_1000: u64,
}

impl SimQueue {
    /// A queue with `caps` whose operations take up to `latency`, of which so many of a thousand fail.
    #[must_use]
    pub fn new(runtime: SimRuntime, caps: Caps, latency: Duration, failures_per_1000: u64) -> Self {
        Self { runtime, storage: Arc::new(ReferenceQueue::with_caps(caps)), latency, failures_per_1000 }
    }

    /// What is stored, to look at without delay or failure.
    #[must_use]
    pub fn storage(&self) -> &ReferenceQueue {
        &self.storage
    }

    async fn delay(&self) {
        let nanos = u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.runtime.below(nanos));
        if !delay.is_zero() {
            self.runtime.sleep(delay).await;
        }
    }

    fn fails(&self) -> Result<(), QueueError> {
        if self.runtime.below(1000) < self.failures_per_1000 {
            return Err(QueueError::Unavailable("simulated".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for SimQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        self.delay().await;
        self.fails()?;
        let result = self.storage.enqueue(uid, batch, admit).await;
        self.delay().await;
        self.fails()?;
        result
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.delay().await;
        self.fails()?;
        let result = self.storage.peek(uid, after, limit).await;
        self.delay().await;
        result
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<(), QueueError> {
        self.delay().await;
        self.fails()?;
        let result = self.storage.ack(uid, upto, fence).await;
        self.delay().await;
        self.fails()?;
        result
    }

    async fn len(&self, uid: &Uid) -> Result<u64, QueueError> {
        self.storage.len(uid).await
    }

    async fn sweep(&self, now: u64, budget: usize) -> Result<Swept, QueueError> {
        self.delay().await;
        self.storage.sweep(now, budget).await
    }

    fn caps(&self) -> Caps {
        self.storage.caps()
    }
}
