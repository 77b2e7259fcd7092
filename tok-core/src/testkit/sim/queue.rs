use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::SimRuntime;
use crate::{
    Epoch, Queue, Uid,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::{Clock, Runtime},
    testkit::queue::ReferenceQueue,
};

/// A queue on simulated storage: it takes time, and now and then fails, before or after it has done its work, as one
/// does that crashes between the write and the reply. It outlives the processes that use it, and clones are the same
/// queue.
#[derive(Clone)]
pub struct SimQueue {
    runtime: SimRuntime,
    storage: Arc<ReferenceQueue>,
    latency: Duration,
    failures_per_1000: u64,
    down: Arc<AtomicBool>,
    drops_expired: bool,
    observer: Option<Arc<Observer>>,
}

type Observer = dyn Fn(&Change<'_>) + Send + Sync;

/// What happened to a user's entries in a [`SimQueue`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// They were stored. Whoever asked for it may never be told.
    Stored(&'a Uid, &'a [Entry]),
    /// What the user has then.
    Holds(&'a Uid, QueueSize),
    /// An acknowledgement of this fence removed them.
    Acked(&'a Uid, Epoch, &'a [Entry]),
    /// It had expired, and was swept.
    Swept(&'a Uid, &'a Entry),
}

impl SimQueue {
    /// A queue with `caps` whose operations take up to `latency`, of which so many of a thousand fail.
    #[must_use]
    pub fn new(runtime: SimRuntime, caps: Caps, latency: Duration, failures_per_1000: u64) -> Self {
        let storage = Arc::new(ReferenceQueue::with_caps(caps));
        // The storage has a clock of its own, which no node's wall clock touches.
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        storage.use_clock(&Clock::of(&shared));
        Self {
            runtime,
            storage,
            latency,
            failures_per_1000,
            down: Arc::default(),
            drops_expired: false,
            observer: None,
        }
    }

    /// Calls this at each change, in the step in which it takes effect.
    #[must_use]
    pub fn observed(mut self, observer: impl Fn(&Change<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// If true, the storage removes expired entries by itself before each operation, as a server does that has a timer for
    /// each; nobody reports these. False by default: they stay until a sweep.
    #[must_use]
    pub fn drops_expired(mut self, drops_expired: bool) -> Self {
        self.drops_expired = drops_expired;
        self
    }

    /// The storage goes away, or is back: until then every operation fails, those under way after they had their effect.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// What is stored, to look at without delay or failure.
    #[must_use]
    pub fn storage(&self) -> &ReferenceQueue {
        &self.storage
    }

    async fn drop_expired(&self) {
        if self.drops_expired
            && let Ok(swept) = self.storage.sweep(usize::MAX).await
        {
            swept.expired.iter().for_each(|(uid, entry)| self.tell(&Change::Swept(uid, entry)));
        }
    }

    async fn delay(&self) {
        let nanos = u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.runtime.below(nanos));
        if !delay.is_zero() {
            self.runtime.sleep(delay).await;
        }
    }

    fn fails(&self) -> Result<(), QueueError> {
        if self.down.load(Ordering::SeqCst) || self.runtime.below(1000) < self.failures_per_1000 {
            return Err(QueueError::Unavailable("simulated".into()));
        }
        Ok(())
    }

    fn tell(&self, change: &Change<'_>) {
        if let Some(observer) = &self.observer {
            observer(change);
        }
    }
}

#[async_trait]
impl Queue for SimQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        self.delay().await;
        self.fails()?;
        self.drop_expired().await;
        let result = self.storage.enqueue(uid, batch, admit).await;
        if result.is_ok() {
            self.tell(&Change::Stored(uid, batch));
            let size = self.storage.size(uid).await?;
            self.tell(&Change::Holds(uid, size));
        }
        self.delay().await;
        self.fails()?;
        result
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.delay().await;
        self.fails()?;
        self.drop_expired().await;
        let result = self.storage.peek(uid, after, limit).await;
        self.delay().await;
        result
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.delay().await;
        self.fails()?;
        self.drop_expired().await;
        let removed = self.storage.upto(uid, upto);
        let result = self.storage.ack(uid, upto, fence).await;
        if result.is_ok() {
            self.tell(&Change::Acked(uid, fence, &removed));
        }
        self.delay().await;
        self.fails()?;
        result
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.storage.size(uid).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        self.delay().await;
        self.fails()?;
        let result = self.storage.sweep(budget).await;
        if let Ok(swept) = &result {
            swept.expired.iter().for_each(|(uid, entry)| self.tell(&Change::Swept(uid, entry)));
        }
        result
    }

    fn caps(&self) -> Caps {
        self.storage.caps()
    }
}

impl fmt::Debug for SimQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimQueue").field("latency", &self.latency).finish_non_exhaustive()
    }
}
