//! What the tests of queues on servers share.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A TTL that no test outlasts.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) const EPOCH: Epoch = Epoch::new(1);

/// A name that no other queue of this process has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a rule of the suite on tokio.
pub(crate) fn block_on(rule: Pin<Box<dyn Future<Output = ()> + '_>>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rule);
}

pub(crate) fn entry(id: u128) -> Entry {
    Entry {
        id: MessageId::from_u128(id),
        kind: MessageKind::Text,
        data: Bytes::from(format!("message {id}")),
        ttl: None,
    }
}

pub(crate) async fn add(
    queue: &dyn Queue,
    uid: &Uid,
    ids: impl IntoIterator<Item = u128>,
) -> Result<Vec<Seq>, QueueError> {
    let batch: Vec<_> = ids.into_iter().map(entry).collect();
    Ok(queue.enqueue(uid, &batch, Admit::WithinLimits).await?.seqs)
}

pub(crate) fn is_unavailable<T>(result: &Result<T, QueueError>) -> bool {
    matches!(result, Err(QueueError::Unavailable(_)))
}

/// The ids of a user's entries, all pages.
pub(crate) async fn ids(queue: &dyn Queue, uid: &Uid) -> Vec<u128> {
    let (mut ids, mut after) = (Vec::new(), Seq::START);
    loop {
        let page = queue.peek(uid, after, Limit::default()).await.unwrap();
        for (seq, entry) in page.entries {
            assert!(seq > after);
            after = seq;
            ids.push(entry.id.as_u128());
        }
        if !page.more {
            return ids;
        }
    }
}

/// Fails a test that would otherwise wait for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Asks again and again until the server is back.
pub(crate) async fn until_ok<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, QueueError>) -> T {
    soon(what, async {
        loop {
            match ask().await {
                Ok(value) => return value,
                Err(QueueError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await, // sleep: between two tries
                Err(error) => panic!("{what}: {error}"),
            }
        }
    })
    .await
}

/// Writers add entries, one after the other, while the server crashes and comes back: whatever was answered with `Ok` is
/// there at the end, in order, and anything else was an error. Returns how many were kept.
pub(crate) async fn outlive_crashes<Q: Queue>(queue: Q, crashes: u32, mut crash: impl FnMut()) -> usize {
    const WRITERS: u32 = 4;
    let queue = Arc::new(queue);
    let stop = Arc::new(AtomicBool::new(false));
    let done: Arc<Vec<AtomicU32>> = Arc::new((0..WRITERS).map(|_| AtomicU32::new(0)).collect());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (queue, stop, done) = (Arc::clone(&queue), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let uid = Uid::from(writer);
                let (mut acknowledged, mut failed) = (Vec::new(), 0);
                for id in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let batch = [entry(id * 2), entry(id * 2 + 1)];
                    match queue.enqueue(&uid, &batch, Admit::AlreadyAccepted).await {
                        Ok(stored) => {
                            assert_eq!(stored.seqs.len(), 2);
                            acknowledged.extend([id * 2, id * 2 + 1]);
                            done[writer as usize].fetch_add(1, Ordering::SeqCst);
                        }
                        Err(QueueError::Unavailable(_)) => {
                            failed += 1;
                            tokio::time::sleep(Duration::from_millis(5)).await; // sleep: the server is away
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                (acknowledged, failed)
            })
        })
        .collect();
    let all_written =
        |counts: &[u32]| done.iter().zip(counts).all(|(done, had)| done.load(Ordering::SeqCst) > *had);
    for _ in 0..crashes {
        // Each writer has had an answer since the last crash.
        let had: Vec<_> = done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
        soon("entries between crashes", async {
            while !all_written(&had) {
                tokio::time::sleep(Duration::from_millis(5)).await; // sleep: between two looks
            }
        })
        .await;
        tokio::task::block_in_place(&mut crash);
    }
    stop.store(true, Ordering::SeqCst);
    let mut kept = 0;
    for (writer, task) in (0..WRITERS).zip(writers) {
        let (acknowledged, failed) = soon("a writer", task).await.unwrap();
        let uid = Uid::from(writer);
        until_ok("the server is back", async || queue.size(&uid).await).await;
        let there = ids(&*queue, &uid).await;
        let lost: Vec<_> = acknowledged.iter().filter(|id| there.binary_search(id).is_err()).collect();
        assert!(lost.is_empty(), "user {writer}: {lost:?} were acknowledged and are gone ({failed} errors)");
        // Also those that got no answer are there once at most, whole, in their place.
        assert!(there.is_sorted_by(|a, b| a < b), "user {writer}: {there:?}");
        assert!(there.chunks(2).all(|pair| pair.len() == 2 && pair[0] % 2 == 0 && pair[0] + 1 == pair[1]));
        kept += acknowledged.len();
    }
    kept
}
