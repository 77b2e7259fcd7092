//! Whether this node can do its work: `/healthz` tells those who route clients to it.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    future::{Either, select},
    task::AtomicWaker,
};
use tok_cluster::Cluster;
use tok_core::{
    MessageId, MessageKind, Uid, async_trait,
    queue::{Admit, Caps, Entry, Epoch, Limit, Page, Queue, QueueError, QueueSize, Seq, Stored, Swept},
    rt::{Clock, Runtime},
};

/// Pause between two probes of a queue.
const INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a probe that found the queue well: an operation that fails for one user alone asks for probes all the time.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);

/// A queue that takes longer than this for a probe fails.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an entry of a probe may stay in the queue if it cannot be removed.
const PROBE_TTL: Duration = Duration::from_secs(10);

/// What is known about the health of this node.
#[derive(Debug, Default)]
pub(super) struct Health {
    cluster: Option<Cluster>,
    queue: QueueHealth,
    is_draining: AtomicBool,
}

impl Health {
    pub(super) fn new(cluster: Option<Cluster>) -> Arc<Self> {
        Arc::new(Self { cluster, ..Self::default() })
    }

    /// Notes what becomes of the operations on `queue` from now on.
    pub(super) fn watch<Q: Queue>(self: &Arc<Self>, queue: Q) -> Watched<Q> {
        Watched { queue, health: Arc::clone(self) }
    }

    pub(super) fn drains(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Returns false from a probe of the queue that failed until one that succeeds.
    pub(super) fn queue_works(&self) -> bool {
        !self.queue.fails.load(Ordering::Relaxed)
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Why clients should be sent elsewhere, if they should.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        if self.is_draining() {
            Some("draining")
        } else if !self.queue_works() {
            Some("the queue fails")
        } else if self.cluster.as_ref().is_some_and(|cluster| !cluster.healthy()) {
            Some("not well in the cluster")
        } else {
            None
        }
    }

    /// Keeps what is known up to date for as long as it is polled: probes `queue`, at once if an operation has failed, and
    /// logs what changes.
    pub(super) async fn keep(&self, runtime: &dyn Runtime, queue: Option<&dyn Queue>) {
        let mut cluster_was_well = true;
        loop {
            let due = runtime.now().saturating_add(INTERVAL);
            // A queue that is known to fail is probed no sooner for it.
            let suspected =
                async { if self.queue_works() { self.queue.suspected().await } else { pending().await } };
            select(pin!(suspected), runtime.sleep_until(due)).await;
            if let Some(cluster) = &self.cluster {
                let is_well = cluster.healthy();
                if cluster_was_well && !is_well {
                    tracing::warn!(target: "gateway", "this node is not well in its cluster");
                } else if is_well && !cluster_was_well {
                    tracing::info!(target: "gateway", "this node is well in its cluster again");
                }
                cluster_was_well = is_well;
            }
            let Some(queue) = queue else { continue };
            let storing = self.queue.store_failed.swap(false, Ordering::Relaxed) || !self.queue_works();
            let result = within(PATIENCE, runtime, probe(queue, storing)).await;
            let fails = result.is_err();
            match (result, self.queue.fails.swap(fails, Ordering::Relaxed)) {
                (Err(error), false) => {
                    tracing::error!(target: "gateway", error, "the queue fails: nothing can be kept");
                }
                (Ok(()), true) => tracing::info!(target: "gateway", "the queue works again"),
                _ => {}
            }
            runtime.sleep_until(runtime.now().saturating_add(SHORTEST_INTERVAL)).await;
        }
    }
}

#[derive(Debug, Default)]
struct QueueHealth {
    fails: AtomicBool,
    /// An operation has failed since the last probe.
    is_suspected: AtomicBool,
    /// That operation was to store something, so that reading proves nothing.
    store_failed: AtomicBool,
    waker: AtomicWaker,
}

impl QueueHealth {
    fn note<T>(&self, result: &Result<T, QueueError>, storing: bool) {
        if let Err(QueueError::Unavailable(_)) = result {
            if storing {
                self.store_failed.store(true, Ordering::Relaxed);
            }
            self.is_suspected.store(true, Ordering::Release);
            self.waker.wake();
        }
    }

    async fn suspected(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.is_suspected.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Does what the hub would do: looks, or stores something and removes it.
async fn probe(queue: &dyn Queue, storing: bool) -> Result<(), String> {
    // No login can claim this name.
    let uid = Uid::from("|probe");
    let done = async {
        if !storing {
            return queue.size(&uid).await.map(|_| ());
        }
        let entry = Entry {
            id: MessageId::NONE,
            kind: MessageKind::Binary,
            data: Bytes::from_static(b"probe"),
            ttl: Some(PROBE_TTL),
        };
        let stored = queue.enqueue(&uid, &[entry], Admit::WithinLimits).await?;
        match stored.seqs.last() {
            Some(seq) => queue.ack(&uid, *seq, Epoch::default()).await.map(|_| ()),
            None => Ok(()),
        }
    };
    done.await.map_err(|error| super::in_one_line(&error))
}

async fn within(
    patience: Duration,
    runtime: &dyn Runtime,
    work: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let end = runtime.sleep_until(runtime.now().saturating_add(patience));
    match select(pin!(work), end).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err("it does not answer".to_owned()),
    }
}

/// A queue whose failures are noted.
#[derive(Debug)]
pub(super) struct Watched<Q> {
    queue: Q,
    health: Arc<Health>,
}

impl<Q> Watched<Q> {
    fn note<T>(&self, result: Result<T, QueueError>) -> Result<T, QueueError> {
        self.health.queue.note(&result, false);
        result
    }
}

#[async_trait]
impl<Q: Queue> Queue for Watched<Q> {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        let result = self.queue.enqueue(uid, batch, admit).await;
        self.health.queue.note(&result, true);
        result
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.note(self.queue.peek(uid, after, limit).await)
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.note(self.queue.ack(uid, upto, fence).await)
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.note(self.queue.size(uid).await)
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        self.note(self.queue.sweep(budget).await)
    }

    fn use_clock(&self, clock: &Clock) {
        self.queue.use_clock(clock);
    }

    fn caps(&self) -> Caps {
        self.queue.caps()
    }

    fn room(&self) -> Option<u64> {
        self.queue.room()
    }
}
