//! What callers at the same time can do to each other, on shuttle's scheduler, which decides at every lock who goes on.
//!
//! `cargo xtask interleavings` runs these, and those of `redb`; `TOK_SCHEDULES=N` runs so many for each test, from another
//! seed each time.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use shuttle::{
    Config, MaxSteps, Runner,
    future::{block_on, spawn},
    scheduler::{PctScheduler, RandomScheduler},
};
use tok_core::{
    Epoch, MessageId, MessageKind, Queue,
    queue::{Admit, Entry, QueueError, Seq},
};

use crate::{MemoryQueue, Usage};

/// Runs a test under many schedules: random ones, and those of tasks with priorities and three preemptions.
pub(crate) fn explore<F, Fut>(count: usize, test: F)
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let wanted = env::var("TOK_SCHEDULES").ok().and_then(|count| count.parse().ok());
    let seed = if wanted.is_some() { RandomState::new().hash_one(0) } else { 1 };
    let count = wanted.unwrap_or(count);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(200_000);
    // That it takes every ordering for the strictest.
    config.silence_warnings = true;
    let test = Arc::new(test);
    let run = |test: &Arc<F>| {
        let test = Arc::clone(test);
        move || block_on(test())
    };
    Runner::new(RandomScheduler::new_from_seed(seed, count), config.clone()).run(run(&test));
    Runner::new(PctScheduler::new_from_seed(seed, 3, count), config).run(run(&test));
}

pub(crate) fn entry(id: u128) -> Entry {
    Entry {
        id: MessageId::from_u128(id),
        kind: MessageKind::Binary,
        data: Bytes::from_static(b"hello"),
        ttl: Some(Duration::ZERO),
    }
}

#[test]
fn what_is_appended_taken_acknowledged_and_swept_at_once_is_counted_once() {
    explore(2000, || async {
        let queue =
            Arc::new(MemoryQueue::builder().max_total_bytes(4 * entry(0).cost() as u64).build().unwrap());
        let senders = ["alice", "bob"].map(|uid| {
            let queue = Arc::clone(&queue);
            spawn(async move {
                let mut stored = 0;
                for id in 0..3 {
                    match queue.enqueue(&uid.into(), &[entry(id)], Admit::WithinLimits).await {
                        Ok(_) => stored += 1,
                        Err(QueueError::Full) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                stored
            })
        });
        let takers =
            ["alice", "alice", "bob"].map(|uid| {
                let queue = Arc::clone(&queue);
                spawn(async move {
                    queue.dequeue(&uid.into(), Epoch::default()).await.unwrap().map(|entry| entry.id)
                })
            });
        let sweeper = spawn({
            let queue = Arc::clone(&queue);
            async move { queue.sweep(2).await.unwrap().expired.len() }
        });

        let mut stored = 0;
        for sender in senders {
            stored += sender.await.unwrap();
        }
        let mut taken = Vec::new();
        for taker in takers {
            taken.push(taker.await.unwrap());
        }
        // Two that take at the same time never get the same.
        assert!(taken[0].is_none() || taken[0] != taken[1], "{taken:?}");
        let removed = taken.iter().flatten().count() + sweeper.await.unwrap();
        assert_eq!(queue.usage().messages as usize, stored - removed);
        assert_eq!(queue.usage().bytes, queue.usage().messages * entry(0).cost() as u64);
        for uid in ["alice", "bob"] {
            queue.ack(&uid.into(), Seq::new(u64::MAX), Epoch::default()).await.unwrap();
        }
        assert_eq!(queue.usage(), Usage::default());
    });
}
