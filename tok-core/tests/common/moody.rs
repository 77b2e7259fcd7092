use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tok_core::{
    Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Clock,
    testkit::queue::ReferenceQueue,
};
use tokio::sync::Semaphore;

/// A queue that fails, or takes its time, when it is told to.
#[derive(Debug)]
pub struct Moody {
    inner: ReferenceQueue,
    failing: AtomicBool,
    failing_late: AtomicBool,
    failing_store: AtomicBool,
    gate: Semaphore,
}

impl Moody {
    pub fn new(inner: ReferenceQueue) -> Arc<Self> {
        Arc::new(Self {
            inner,
            failing: AtomicBool::new(false),
            failing_late: AtomicBool::new(false),
            failing_store: AtomicBool::new(false),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Fails from the next store on, which is done all the same.
    pub fn fail_late(&self) {
        self.failing_late.store(true, Ordering::Relaxed);
    }

    /// Fails from the next store on.
    pub fn fail_at_store(&self) {
        self.failing_store.store(true, Ordering::Relaxed);
    }

    pub fn recover(&self) {
        for failing in [&self.failing, &self.failing_late, &self.failing_store] {
            failing.store(false, Ordering::Relaxed);
        }
    }

    /// From now on operations wait until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn resume(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// How many entries the user has.
    pub async fn kept(&self, uid: &str) -> u64 {
        self.inner.size(&uid.into()).await.unwrap().messages
    }

    async fn ready(&self) -> Result<(), QueueError> {
        drop(self.gate.acquire().await);
        if self.failing.load(Ordering::Relaxed) {
            return Err(QueueError::Unavailable("told to fail".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Moody {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        if self.failing_store.load(Ordering::Relaxed) {
            self.fail(true);
        }
        self.ready().await?;
        let stored = self.inner.enqueue(uid, batch, admit).await;
        if self.failing_late.load(Ordering::Relaxed) {
            self.fail(true);
            return Err(QueueError::Unavailable("told to fail late".into()));
        }
        stored
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.ready().await?;
        self.inner.peek(uid, after, limit).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.ready().await?;
        self.inner.ack(uid, upto, fence).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.ready().await?;
        self.inner.size(uid).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        self.ready().await?;
        self.inner.sweep(budget).await
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn use_clock(&self, clock: &Clock) {
        self.inner.use_clock(clock);
    }
}
