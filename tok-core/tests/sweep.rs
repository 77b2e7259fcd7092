//! Sweeping the queue: expired messages are removed and reported, and a slow queue delays nothing else.
#![cfg(feature = "tokio")]

mod common;

use std::{
    future::{pending, poll_fn},
    mem::replace,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use common::{Clock, Echo, builder, login, pass, secs};
use tok_core::{
    CloseReason, Epoch, Hub, MessageId, MessageKind, Queue, Uid, Undelivered, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Runtime,
    testkit::{
        Read,
        queue::ReferenceQueue,
        sim::{Sim, SimQueue},
    },
};
use tokio::sync::Notify;

/// A queue that calls `sweep` of its own.
struct Sweeping<F> {
    inner: ReferenceQueue,
    sweep: F,
}

impl<F> Sweeping<F> {
    fn new(sweep: F) -> Self {
        Self { inner: ReferenceQueue::new(), sweep }
    }
}

#[async_trait]
impl<F, S> Queue for Sweeping<F>
where
    F: Fn(usize) -> S + Send + Sync + 'static,
    S: Future<Output = Swept> + Send,
{
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        self.inner.enqueue(uid, batch, admit).await
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.inner.peek(uid, after, limit).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.inner.ack(uid, upto, fence).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.inner.size(uid).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        Ok((self.sweep)(budget).await)
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }
}

fn expired(number: usize) -> (Uid, Entry) {
    let entry = Entry {
        id: MessageId::from_u128(number as u128),
        kind: MessageKind::Text,
        data: "late".into(),
        ttl: Some(Duration::ZERO),
    };
    (Uid::from(number), entry)
}

#[tokio::test(start_paused = true)]
async fn sweep_that_never_ends_does_not_stop_timeouts() {
    let asked = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&asked);
    let queue = Sweeping::new(move |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        pending::<Swept>()
    });
    let hub = builder().queue(queue).ping_interval(secs(40)).build().unwrap();
    let mut alice = login(&hub, "alice").await;
    alice.peer.answers(false);
    // The sweep begins after 30 seconds, and the peer is given up after two ping intervals.
    tokio::time::timeout(secs(200), async {
        while alice.peer.recv().await != Read::Close(CloseReason::Idle) {}
    })
    .await
    .expect("the session must be closed as idle");
    assert!(asked.load(Ordering::Relaxed) > 0, "the queue was never swept");
    // It is abandoned in the end, and tried again.
    while asked.load(Ordering::Relaxed) < 3 {
        pass(secs(10)).await;
    }
}

#[test]
fn hub_that_is_dropped_ends_its_sweep() {
    let sim = Sim::new(1);
    let rt = sim.runtime();
    sim.run(async {
        let queue = Sweeping::new(|_| pending::<Swept>());
        let hub = Hub::builder(Echo).runtime(rt.clone()).queue(queue).build().unwrap();
        rt.sleep(secs(40)).await;
        drop(hub);
        rt.sleep(secs(1)).await;
        assert!(rt.tasks().is_empty(), "left: {:?}", rt.tasks());
    })
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_tasks_run_between_the_parts_of_a_large_sweep() {
    const ALL: usize = 800_000;
    let left = Arc::new(AtomicUsize::new(ALL));
    let turns = Arc::new(AtomicUsize::new(0));
    let stalled = Arc::new(AtomicBool::new(false));
    let reported = Arc::new(AtomicUsize::new(0));

    let (rest, seen, starved) = (Arc::clone(&left), Arc::clone(&turns), Arc::clone(&stalled));
    let (began, last) = (Arc::new(Notify::new()), AtomicUsize::new(usize::MAX));
    let begin = Arc::clone(&began);
    let queue = Sweeping::new(move |budget: usize| {
        assert!(budget <= 1024, "one call may remove {budget}");
        begin.notify_one();
        let turns = seen.load(Ordering::Relaxed);
        starved.fetch_or(last.swap(turns, Ordering::Relaxed) == turns, Ordering::Relaxed);
        let before = rest.load(Ordering::Relaxed);
        let taken = before.min(budget);
        rest.store(before - taken, Ordering::Relaxed);
        let expired = (before - taken..before).map(expired).collect();
        std::future::ready(Swept { expired, more: before > taken })
    });
    let count = Arc::clone(&reported);
    let hub = builder()
        .queue(queue)
        .undelivered(move |_, _, why| {
            assert_eq!(why, Undelivered::Expired);
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    // Another task of the one thread, which can run from the first call on: it does so between any two calls.
    let other = tokio::spawn(async move {
        began.notified().await;
        while left.load(Ordering::Relaxed) > 0 {
            turns.fetch_add(1, Ordering::Relaxed);
            // To the end of the queue. (Tokio's `yield_now` waits until the thread has looked at its timers, too.)
            let mut yielded = false;
            poll_fn(|cx| {
                if replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    });
    while reported.load(Ordering::Relaxed) < ALL {
        pass(secs(1)).await;
    }
    other.await.unwrap();
    assert!(
        !stalled.load(Ordering::Relaxed),
        "two calls followed each other with no other task between them"
    );
    drop(hub);
}

#[tokio::test(start_paused = true)]
async fn full_queues_share_one_sweep_a_second() {
    let sweeps = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&sweeps);
    let queue = Sweeping::new(move |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Swept::default())
    });
    let hub = builder().queue(queue).build().unwrap();
    for number in 0..1000 {
        hub.send("absent", format!("{number}")).ttl(secs(60)).await.unwrap();
    }
    assert_eq!(sweeps.load(Ordering::Relaxed), 0);
    for _ in 0..100 {
        hub.send("absent", "more").ttl(secs(60)).await.unwrap_err();
    }
    assert_eq!(sweeps.load(Ordering::Relaxed), 1);
    pass(secs(1)).await;
    hub.send("absent", "more").ttl(secs(60)).await.unwrap_err();
    assert_eq!(sweeps.load(Ordering::Relaxed), 2);
}

/// The clock of [`common`]'s runtime jumps at each look: neither a sender nor a receiver notices.
#[tokio::test(start_paused = true)]
async fn wall_clock_that_jumps_neither_expires_nor_revives_a_message() {
    assert!(Clock.unix_time().abs_diff(Clock.unix_time()) > 1_000_000, "the wall clock must jump");
    let hub = builder().queue(ReferenceQueue::new()).build().unwrap();
    hub.send("alice", "short").ttl(secs(10)).await.unwrap();
    hub.send("alice", "long").ttl(secs(3600)).await.unwrap();
    pass(secs(11)).await;
    let mut alice = login(&hub, "alice").await;
    assert_eq!(alice.peer.recv().await, Read::Message("long".into()));
}

#[test]
fn simulated_queue_follows_the_simulated_clock() {
    let sim = Sim::new(3);
    let rt = sim.runtime();
    sim.run(async {
        let caps = ReferenceQueue::new().caps();
        let queue = SimQueue::new(rt.clone(), caps, Duration::ZERO, 0);
        let uid = Uid::from("alice");
        let (_, entry) = expired(1);
        let entry = Entry { ttl: Some(secs(10)), ..entry };
        queue.enqueue(&uid, &[entry], Admit::WithinLimits).await.unwrap();
        rt.step_wall_clock(3_600_000);
        assert_eq!(queue.sweep(10).await.unwrap().expired.len(), 0);
        rt.sleep(secs(4)).await;
        let page = queue.peek(&uid, Seq::START, Limit::default()).await.unwrap();
        assert_eq!(page.entries[0].1.ttl, Some(secs(6)));
        rt.sleep(secs(6)).await;
        assert_eq!(queue.sweep(10).await.unwrap().expired.len(), 1);
    })
    .unwrap();
}
