//! What is `RedbQueue`'s own: what a new opening finds, limits, room, and threads.

use std::{
    fs,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tok_core::{
    Epoch, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
    testkit::queue::block_on,
};
use tok_queue::{RedbQueue, Usage};

use super::support::{EPOCH, Folder, HOUR, enqueue, entry, read, temporary, untimed};

#[test]
fn what_is_stored_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new();
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let queue = folder.open();
    let batch: Vec<_> =
        (0..5).map(|id| entry(id, Some(if id == 2 { Duration::ZERO } else { HOUR }))).collect();
    let seqs = enqueue(&queue, &alice, &batch).unwrap();
    let of_bob = enqueue(&queue, &bob, &batch).unwrap();
    block_on(queue.ack(&alice, seqs[1], EPOCH)).unwrap();
    block_on(queue.ack(&bob, of_bob[4], EPOCH)).unwrap();
    drop(queue);

    let queue = folder.open();
    let expected: Vec<_> = seqs.iter().copied().zip(batch).skip(2).collect();
    let there = read(&queue, &alice);
    assert!(there[1..].iter().all(|(_, entry)| entry.ttl > Some(HOUR / 2)), "{there:?}");
    assert_eq!(untimed(there), untimed(expected.clone()));
    assert_eq!(read(&queue, &bob), [], "what was acknowledged does not come back");
    // Positions go on, also for somebody of whom nothing is known any more.
    for uid in [&alice, &bob] {
        assert!(enqueue(&queue, uid, &[entry(9, None)]).unwrap()[0] > of_bob[4]);
    }
    assert_eq!(block_on(queue.sweep(100)).unwrap().expired, [(alice, expected[0].1.clone())]);
    let cost = expected.iter().skip(1).map(|(_, entry)| entry.cost() as u64).sum::<u64>();
    let cost = cost + 2 * entry(9, None).cost() as u64;
    assert_eq!(block_on(queue.usage()).unwrap(), Usage { users: 2, messages: 4, bytes: cost });
}

#[test]
fn a_fence_holds_for_one_opening() {
    let folder = Folder::new();
    let uid = Uid::from("alice");
    let queue = folder.open();
    let seqs = enqueue(&queue, &uid, &[entry(1, None), entry(2, None)]).unwrap();
    block_on(queue.ack(&uid, Seq::START, Epoch::new(7))).unwrap();
    assert!(matches!(block_on(queue.ack(&uid, seqs[0], Epoch::new(6))), Err(QueueError::Fenced { .. })));
    drop(queue);

    // The process that was fenced is gone; the clock, with which epochs begin, may have been set back.
    let queue = folder.open();
    block_on(queue.ack(&uid, seqs[0], Epoch::new(5))).unwrap();
    assert!(matches!(block_on(queue.ack(&uid, seqs[1], Epoch::new(4))), Err(QueueError::Fenced { .. })));
    assert_eq!(block_on(queue.size(&uid)).unwrap().messages, 1);
}

#[test]
fn the_limit_on_all_users_is_exact_and_its_room_returns() {
    let cost = entry(0, None).cost() as u64;
    let folder = Folder::new();
    let open = || RedbQueue::builder().max_total_bytes(10 * cost).open(folder.file()).unwrap();
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let batch = vec![entry(0, None); 6];
    for _ in 0..3 {
        let queue = open();
        assert_eq!(queue.caps().max_bytes, 10 * cost, "one user cannot have more than all");
        let of_alice = enqueue(&queue, &alice, &batch).unwrap();
        assert!(matches!(enqueue(&queue, &bob, &batch[..5]), Err(QueueError::Full)));
        let expiring = vec![entry(1, Some(Duration::ZERO)); 4];
        enqueue(&queue, &bob, &expiring).unwrap();
        drop(queue);

        let queue = open();
        assert!(matches!(enqueue(&queue, &bob, &batch[..1]), Err(QueueError::Full)));
        block_on(queue.enqueue(&bob, &expiring, Admit::AlreadyAccepted)).unwrap();
        let usage = block_on(queue.usage()).unwrap();
        assert_eq!(usage, Usage { users: 2, messages: 14, bytes: 14 * cost });
        block_on(queue.ack(&alice, of_alice[5], EPOCH)).unwrap();
        assert_eq!(block_on(queue.sweep(100)).unwrap().expired.len(), 8);
        assert_eq!(block_on(queue.usage()).unwrap(), Usage::default());
    }
}

/// What the file's format cannot hold is not tried. (The memory of zeros is never touched.)
#[cfg(target_pointer_width = "64")]
#[test]
fn a_message_of_over_three_gibibytes_is_too_big() {
    let queue = temporary(RedbQueue::builder().max_bytes(u64::MAX).max_total_bytes(u64::MAX));
    let limit = queue.caps().max_message.unwrap();
    assert_eq!(limit, (3 << 30) - 27);
    let big = Entry { data: vec![0; limit + 1].into(), ..entry(1, None) };
    for admit in [Admit::WithinLimits, Admit::AlreadyAccepted] {
        let result = block_on(queue.enqueue(&Uid::from("alice"), std::slice::from_ref(&big), admit));
        assert!(
            matches!(result, Err(QueueError::TooBig { bytes, limit: named }) if bytes == limit + 1 && named == limit)
        );
    }
    assert_eq!(block_on(queue.usage()).unwrap(), Usage::default());
}

#[test]
fn a_uid_that_operations_refuse_is_refused() {
    let queue = temporary(RedbQueue::builder());
    for uid in ["".to_owned(), "x".repeat(Uid::MAX_BYTES + 1)].map(Uid::from) {
        let error = enqueue(&queue, &uid, &[entry(1, None)]).unwrap_err();
        let QueueError::Unavailable(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().contains("uid"), "{cause}");
        assert_eq!(read(&queue, &uid), []);
    }
}

/// Of many requests at once, which share commits, each gets its own answer.
#[test]
fn one_that_is_refused_does_not_harm_the_others_of_its_commit() {
    let queue = temporary(RedbQueue::builder().max_messages(3));
    block_on(async {
        let users: Vec<_> = (0..200_u32).map(Uid::from).collect();
        let batches: Vec<Vec<Entry>> =
            (0..200).map(|user| (0..1 + user % 5).map(|id| entry(id, None)).collect()).collect();
        let mut futures: Vec<_> = users
            .iter()
            .zip(&batches)
            .map(|(uid, batch)| (batch.len(), queue.enqueue(uid, batch, Admit::WithinLimits)))
            .collect();
        poll_fn(|cx| {
            futures.retain_mut(|(len, future)| match future.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(result) => {
                    assert_eq!(*len > 3, matches!(result, Err(QueueError::Full)), "{len}: {result:?}");
                    assert_eq!(*len <= 3, result.is_ok());
                    false
                }
            });
            if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        for (uid, batch) in users.iter().zip(&batches) {
            assert_eq!(
                queue.size(uid).await.unwrap().messages,
                if batch.len() > 3 { 0 } else { batch.len() as u64 }
            );
        }
    });
}

fn poll_once<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_waits_when_the_queue_is_dropped_is_stored() {
    let folder = Folder::new();
    let queue = folder.open();
    for user in 0..300_u32 {
        let (uid, batch) = (Uid::from(user), [entry(1, None), entry(2, None)]);
        let mut future = queue.enqueue(&uid, &batch, Admit::WithinLimits);
        let _ = poll_once(&mut future);
    }
    drop(queue);
    assert_eq!(block_on(folder.open().usage()).unwrap().messages, 600);
}

/// An executor may run a task where it is woken, and the task may own the last handle.
#[test]
fn the_last_handle_can_be_dropped_on_the_queues_own_thread() {
    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    struct Inline(Mutex<Option<Task>>);

    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            // A wake that comes while it is polled waits, and polls it again.
            let mut task = self.0.lock().unwrap();
            let waker = Waker::from(Arc::clone(&self));
            if task
                .as_mut()
                .is_some_and(|task| task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready())
            {
                *task = None;
            }
        }
    }

    for reads in [true, false] {
        let folder = Folder::new();
        let (done, ended) = mpsc::sync_channel(1);
        let queue = folder.open();
        let task: Task = Box::pin(async move {
            let uid = Uid::from("alice");
            queue.enqueue(&uid, &[entry(1, None)], Admit::WithinLimits).await.unwrap();
            if reads {
                queue.size(&uid).await.unwrap();
            }
            drop(queue);
            done.send(()).unwrap();
        });
        Arc::new(Inline(Mutex::new(Some(task)))).wake();
        ended.recv().unwrap();
    }
}

async fn keep_and_confirm(queue: Arc<RedbQueue>, user: u32) {
    let uid = Uid::from(user);
    for round in 0..20 {
        let batch = [entry(round, None), entry(round + 1, Some(Duration::ZERO))];
        let seqs = queue.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap().seqs;
        let page = queue.peek(&uid, Seq::START, Limit::default()).await.unwrap();
        assert_eq!(page.entries, seqs.iter().copied().zip(batch).collect::<Vec<_>>());
        queue.ack(&uid, seqs[1], EPOCH).await.unwrap();
        assert_eq!(queue.size(&uid).await.unwrap().messages, 0);
    }
}

#[test]
fn tasks_of_tokio_share_a_queue() {
    let queue = Arc::new(temporary(RedbQueue::builder()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> =
            (0..100).map(|user| tokio::spawn(keep_and_confirm(Arc::clone(&queue), user))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(block_on(queue.usage()).unwrap(), Usage::default());
}

#[test]
fn tasks_of_smol_share_a_queue() {
    let queue = Arc::new(temporary(RedbQueue::builder()));
    smol::block_on(async {
        let tasks: Vec<_> =
            (0..100).map(|user| smol::spawn(keep_and_confirm(Arc::clone(&queue), user))).collect();
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(block_on(queue.usage()).unwrap(), Usage::default());
}

/// Messages that come and go, and nothing else: the file stays about as large as what is in it at one time.
#[test]
fn room_is_used_again() {
    let folder = Folder::new();
    let queue = folder.open();
    let rush = || {
        let mut last = Vec::new();
        for user in 0..200_u128 {
            let batch: Vec<_> = (0..10).map(|id| entry(id, Some(HOUR))).collect();
            last.push(*enqueue(&queue, &Uid::from(user), &batch).unwrap().last().unwrap());
        }
        for (user, last) in (0..200_u128).zip(last) {
            block_on(queue.ack(&Uid::from(user), last, EPOCH)).unwrap();
        }
    };
    let size = || fs::metadata(folder.file()).unwrap().len();
    for _ in 0..3 {
        rush();
    }
    let before = size();
    for _ in 0..10 {
        rush();
    }
    assert!(size() <= before + before / 2, "the file grows: {before} bytes, then {}", size());
    assert_eq!(block_on(queue.usage()).unwrap(), Usage::default());
}

#[test]
fn compacting_gives_room_back_and_keeps_what_is_there() {
    let folder = Folder::new();
    let size = || fs::metadata(folder.file()).unwrap().len();
    let queue = folder.open();
    let users: Vec<_> = (0..100_u32).map(Uid::from).collect();
    let mut first = Vec::new();
    for uid in &users {
        let batch: Vec<_> = (0..100).map(|id| entry(id, None)).collect();
        first.push(enqueue(&queue, uid, &batch).unwrap());
    }
    for (uid, seqs) in users.iter().zip(&first) {
        block_on(queue.ack(uid, seqs[97], EPOCH)).unwrap();
    }
    drop(queue);
    let before = size();
    drop(RedbQueue::builder().compact(true).open(folder.file()).unwrap());
    assert!(size() < before / 2, "{before} bytes before, {} after", size());
    let queue = folder.open();
    for (uid, seqs) in users.iter().zip(&first) {
        let expected: Vec<_> = (98..100).map(|id| (seqs[id as usize], entry(id, None))).collect();
        assert_eq!(read(&queue, uid), expected);
    }
}
