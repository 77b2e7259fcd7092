//! What is `MemoryQueue`'s own: its limits, what it leaves behind, and use from many threads.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use tok_core::{
    ConfigError, Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, QueueSize, Seq},
    rt::{Clock, Instant},
    testkit::queue::block_on,
};
use tok_queue::{MemoryQueue, Usage};

const EPOCH: Epoch = Epoch::new(1);

/// No test takes so long.
const HOUR: Duration = Duration::from_secs(60 * 60);

fn entry(id: u128, ttl: Option<Duration>) -> Entry {
    Entry { id: MessageId::from_u128(id), kind: MessageKind::Text, data: Bytes::from_static(b"hi"), ttl }
}

/// Provides a clock that shows what is in the number, in nanoseconds.
fn clock_of(queue: &MemoryQueue) -> Arc<AtomicU64> {
    let nanos = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&nanos);
    queue.use_clock(&Clock::new(move || Instant::from_nanos(shown.load(Ordering::SeqCst))));
    nanos
}

fn enqueue(queue: &MemoryQueue, uid: &Uid, batch: &[Entry]) -> Result<Vec<Seq>, QueueError> {
    block_on(queue.enqueue(uid, batch, Admit::WithinLimits)).map(|stored| stored.seqs)
}

#[test]
fn limits_of_zero_are_refused() {
    for (builder, name) in [
        (MemoryQueue::builder().max_messages(0), "max_messages"),
        (MemoryQueue::builder().max_bytes(0), "max_bytes"),
        (MemoryQueue::builder().max_total_bytes(0), "max_total_bytes"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { setting, .. } if setting == name), "{error}");
    }
}

#[test]
fn one_user_cannot_have_more_than_all() {
    let queue = MemoryQueue::builder().max_bytes(1000).max_total_bytes(500).build().unwrap();
    assert_eq!(queue.caps().max_bytes, 500);
}

#[test]
fn the_limit_on_all_users_is_exact_and_its_room_returns() {
    let cost = entry(0, None).cost() as u64;
    let queue = MemoryQueue::builder().max_total_bytes(10 * cost).build().unwrap();
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let batch = vec![entry(0, None); 6];
    for _ in 0..3 {
        let of_alice = enqueue(&queue, &alice, &batch).unwrap();
        assert!(matches!(enqueue(&queue, &bob, &batch[..5]), Err(QueueError::Full)));
        assert_eq!(block_on(queue.size(&bob)).unwrap(), QueueSize::default());
        let expiring = vec![entry(1, Some(Duration::ZERO)); 4];
        enqueue(&queue, &bob, &expiring).unwrap();
        assert!(matches!(enqueue(&queue, &bob, &batch[..1]), Err(QueueError::Full)));

        block_on(queue.enqueue(&bob, &expiring, Admit::AlreadyAccepted)).unwrap();
        assert_eq!(queue.usage(), Usage { users: 2, messages: 14, bytes: 14 * cost });
        block_on(queue.ack(&alice, of_alice[5], EPOCH)).unwrap();
        assert_eq!(block_on(queue.sweep(100)).unwrap().expired.len(), 8);
        assert_eq!(queue.usage(), Usage::default());
    }
}

#[test]
fn users_that_came_and_went_leave_nothing() {
    let queue = MemoryQueue::new();
    let clock = clock_of(&queue);
    for user in 0..100_000_u32 {
        let uid = Uid::from(user);
        let first = if user % 4 == 2 { Duration::ZERO } else { HOUR };
        let seqs = enqueue(&queue, &uid, &[entry(0, Some(first)), entry(1, Some(2 * HOUR))]).unwrap();
        match user % 4 {
            0 => assert_eq!(block_on(queue.ack(&uid, seqs[1], EPOCH)).unwrap(), QueueSize::default()),
            1 => {
                for _ in 0..2 {
                    assert!(block_on(queue.dequeue(&uid, EPOCH)).unwrap().is_some());
                }
            }
            // Swept in part and then acknowledged; the others are swept in full below.
            2 => {
                assert_eq!(block_on(queue.sweep(10)).unwrap().expired.len(), 1);
                block_on(queue.ack(&uid, Seq::new(u64::MAX), EPOCH)).unwrap();
            }
            _ => {}
        }
        // To ask about or acknowledge nobody makes nobody.
        let nobody = Uid::from(format!("nobody {user}"));
        block_on(queue.peek(&nobody, Seq::START, Limit::default())).unwrap();
        block_on(queue.ack(&nobody, Seq::START, EPOCH)).unwrap();
        enqueue(&queue, &nobody, &[]).unwrap();
    }
    assert_eq!(queue.usage().users, 25_000);
    clock.store(2 * HOUR.as_nanos() as u64, Ordering::SeqCst);
    let mut swept = 0;
    loop {
        let page = block_on(queue.sweep(1000)).unwrap();
        swept += page.expired.len();
        if !page.more {
            break;
        }
    }
    assert_eq!(swept, 50_000);
    assert_eq!(queue.usage(), Usage::default());
    assert_eq!(block_on(queue.sweep(1000)).unwrap().expired, []);
}

#[test]
fn threads_lose_and_double_nothing() {
    const THREADS: usize = 4;
    const EACH: u128 = 2000;
    let queue = MemoryQueue::builder().max_messages(u64::MAX).build().unwrap();
    let clock = clock_of(&queue);
    let shared = Uid::from("shared");
    let start = Barrier::new(THREADS);
    let mut taken: Vec<u128> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS as u128)
            .map(|thread| {
                let (queue, shared, start) = (&queue, &shared, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut taken = Vec::new();
                    for i in 0..EACH {
                        enqueue(queue, shared, &[entry(thread * EACH + i, Some(2 * HOUR))]).unwrap();
                        let own = Uid::from(format!("{thread} {i}"));
                        enqueue(
                            queue,
                            &own,
                            &[entry(0, Some(if i % 2 == 0 { Duration::ZERO } else { HOUR }))],
                        )
                        .unwrap();
                        taken.extend(block_on(queue.dequeue(shared, EPOCH)).unwrap());
                        block_on(queue.sweep(8)).unwrap();
                    }
                    taken
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .map(|entry| entry.id.as_u128())
            .collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, Vec::from_iter(0..THREADS as u128 * EACH));
    clock.store(HOUR.as_nanos() as u64, Ordering::SeqCst);
    while block_on(queue.sweep(1000)).unwrap().more {}
    assert_eq!(queue.usage(), Usage::default());
}

/// A hub may be built after something was stored by other means.
#[test]
fn entries_stored_before_a_clock_is_provided_keep_their_time() {
    let queue = MemoryQueue::new();
    let uid = Uid::from("alice");
    enqueue(&queue, &uid, &[entry(0, Some(2 * HOUR))]).unwrap();
    let year = 365 * 24 * HOUR;
    let clock = clock_of(&queue);
    // The runtime's clock may have started long ago.
    let left = |queue: &MemoryQueue| {
        let page = block_on(queue.peek(&uid, Seq::START, Limit::default())).unwrap();
        page.entries.first().and_then(|(_, entry)| entry.ttl)
    };
    assert!(left(&queue).unwrap() > HOUR);
    clock.store(HOUR.as_nanos() as u64, Ordering::SeqCst);
    assert!((HOUR / 2..=HOUR).contains(&left(&queue).unwrap()), "an hour has passed");
    queue.use_clock(&Clock::new(move || Instant::default().saturating_add(year)));
    assert_eq!(block_on(queue.sweep(10)).unwrap().expired, [], "a second clock does not count");
    clock.store(2 * HOUR.as_nanos() as u64, Ordering::SeqCst);
    assert_eq!(block_on(queue.sweep(10)).unwrap().expired.len(), 1);
}
