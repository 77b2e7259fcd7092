//! What the hub does after a queue operation whose result it does not know, and after a fence that it did not expect.
#![cfg(feature = "tokio")]

mod common;

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{LONG, builder, login, pass, secs, settle};
use tok_core::{
    Durability, Epoch, Hub, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Clock,
    testkit::{Read, queue::ReferenceQueue},
};

/// A durable queue on a server that removes expired entries by itself. One store takes effect and reports a failure.
struct Ambiguous {
    inner: ReferenceQueue,
    fails: AtomicBool,
    stores: AtomicUsize,
    sizes: AtomicUsize,
    gate: tokio::sync::RwLock<()>,
}

impl Ambiguous {
    fn new() -> Arc<Self> {
        let inner = common::durable();
        let gate = tokio::sync::RwLock::new(());
        Arc::new(Self { inner, fails: AtomicBool::new(true), stores: 0.into(), sizes: 0.into(), gate })
    }

    /// The same, but nothing fails.
    fn sound() -> Arc<Self> {
        let queue = Self::new();
        queue.fails.store(false, Ordering::Relaxed);
        queue
    }
}

#[async_trait]
impl Queue for Ambiguous {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        drop(self.gate.read().await);
        self.stores.fetch_add(1, Ordering::Relaxed);
        let stored = self.inner.enqueue(uid, batch, admit).await?;
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(QueueError::Unavailable("the answer was lost".into()));
        }
        Ok(stored)
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.inner.sweep(usize::MAX).await?;
        self.inner.peek(uid, after, limit).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.inner.ack(uid, upto, fence).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.sizes.fetch_add(1, Ordering::Relaxed);
        self.inner.size(uid).await
    }

    async fn sweep(&self, _: usize) -> Result<Swept, QueueError> {
        Ok(Swept::default())
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn use_clock(&self, clock: &Clock) {
        self.inner.use_clock(clock);
    }
}

async fn texts(client: &mut common::Client, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let Read::Message(message) = client.peer.recv().await else { panic!("the session ended") };
        texts.push(message.as_text().unwrap().to_owned());
    }
    // The question behind the last message is answered as the client reads on.
    settle().await;
    assert_eq!(client.peer.try_recv(), None);
    settle().await;
    texts
}

#[tokio::test(start_paused = true)]
async fn batch_whose_first_message_expired_before_the_recheck_is_not_stored_again() {
    let queue = Ambiguous::new();
    let hub = builder().queue(Arc::clone(&queue)).durability(Durability::WriteBack).build().unwrap();
    let mut alice = login(&hub, "alice").await;
    alice.peer.answers(false);
    // It expires after the store and before the recheck, which follows in 50 ms.
    hub.send("alice", "brief").ttl(Duration::from_millis(20)).await.unwrap();
    for text in ["one", "two"] {
        hub.send("alice", text).ttl(LONG).await.unwrap();
    }
    alice.peer.reset();
    pass(secs(1)).await;
    assert_eq!(queue.stores.load(Ordering::Relaxed), 1, "the batch was stored again");

    let mut again = login(&hub, "alice").await;
    assert_eq!(texts(&mut again, 2).await, ["one", "two"]);
    assert_eq!(queue.size(&"alice".into()).await.unwrap().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn message_with_the_id_of_an_older_one_is_stored_if_its_own_store_did_nothing() {
    let queue = common::Moody::new(common::durable());
    let hub = builder().queue(Arc::clone(&queue)).durability(Durability::WriteBack).build().unwrap();
    let id = tok_core::MessageId::from_u128(7);
    let mut alice = login(&hub, "alice").await;
    alice.peer.answers(false);
    hub.send("alice", "first").id(id).ttl(LONG).await.unwrap();
    alice.peer.reset();
    pass(secs(1)).await;
    assert_eq!(queue.kept("alice").await, 1);

    let mut alice = login(&hub, "alice").await;
    alice.peer.answers(false);
    assert_eq!(texts(&mut alice, 1).await, ["first"]);
    hub.send("alice", "second").id(id).ttl(LONG).await.unwrap();
    queue.fail(true);
    alice.peer.reset();
    pass(Duration::from_millis(20)).await;
    queue.fail(false);
    pass(secs(10)).await;
    assert_eq!(queue.kept("alice").await, 2, "the first message was taken for the second");
}

/// The wall clock of an earlier run was ahead, so that its fence is above all epochs of this run.
async fn confirms_behind_a_fence(fence: Epoch) {
    let queue = Arc::new(common::durable());
    let alice = Uid::from("alice");
    queue.ack(&alice, Seq::START, fence).await.unwrap();
    let hub: Hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    for round in 0..3 {
        hub.send("alice", format!("{round}")).ttl(LONG).await.unwrap();
        assert_eq!(texts(&mut client, 1).await, [format!("{round}")]);
        let left = queue.size(&alice).await.unwrap().messages;
        assert_eq!(left, 0, "what was confirmed under the fence {fence:?} is still in the queue");
    }
    client.peer.close();
    client.session.await.unwrap();
    // A later login begins above the fence: it takes one request to confirm, and not two.
    let mut client = login(&hub, "alice").await;
    hub.send("alice", "again").ttl(LONG).await.unwrap();
    assert_eq!(texts(&mut client, 1).await, ["again"]);
    assert_eq!(queue.size(&alice).await.unwrap().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn confirmed_messages_leave_the_queue_after_a_restart_with_an_earlier_clock() {
    for fence in [u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        confirms_behind_a_fence(Epoch::new(fence)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgement_is_one_queue_operation() {
    let queue = Ambiguous::sound();
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    for round in 0..10 {
        hub.send("alice", format!("{round}")).ttl(LONG).await.unwrap();
        texts(&mut client, 1).await;
    }
    assert_eq!(queue.inner.size(&"alice".into()).await.unwrap().messages, 0);
    assert_eq!(queue.sizes.load(Ordering::Relaxed), 0, "the queue was asked for its size");
}

#[tokio::test(start_paused = true)]
async fn batch_that_passes_the_limit_is_stored_as_far_as_it_fits_in_few_operations() {
    const SENDS: usize = 50;
    let queue = Ambiguous::sound();
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    for round in 0..990 {
        hub.send("absent", format!("{round}")).ttl(LONG).await.unwrap();
    }
    let before = queue.stores.load(Ordering::Relaxed);
    let closed = queue.gate.write().await;
    let sends: Vec<_> = (0..=SENDS)
        .map(|round| tokio::spawn(hub.send("absent", format!("more {round}")).ttl(LONG).into_future()))
        .collect();
    settle().await;
    drop(closed);
    let mut stored = 0;
    for send in sends {
        stored += usize::from(send.await.unwrap().is_ok());
    }
    assert_eq!(stored, 10);
    assert_eq!(queue.size(&"absent".into()).await.unwrap().messages, 1000);
    // One for the first message, and for the others: as a batch, after a sweep, and those that fit.
    let stores = queue.stores.load(Ordering::Relaxed) - before;
    assert!(stores <= 4, "{stores} stores for one batch");
}
