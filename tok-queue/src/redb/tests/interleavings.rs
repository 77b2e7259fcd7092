//! Callers and the threads of a queue, on shuttle's scheduler.

use std::sync::Arc;

use futures_channel::oneshot;
use shuttle::{future::spawn, thread};
use tok_core::{
    Epoch, Queue, Uid,
    queue::{Admit, Limit, Seq},
};

use super::{disk::Disk, driver::stopped};
use crate::{
    interleavings::{entry, explore},
    redb::{
        RedbQueue,
        inbox::{Closed, Inbox, Taken},
    },
};

#[test]
fn an_inbox_that_closes_gives_what_it_took_and_refuses_the_rest() {
    explore(3000, || async {
        let inbox = Arc::new(Inbox::new(1, 10));
        let senders = [1, 2, 3].map(|item| {
            let inbox = Arc::clone(&inbox);
            spawn(async move { inbox.send(item, 7).await.map(|()| item) })
        });
        let (given, all) = oneshot::channel();
        thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                let mut items = Vec::new();
                loop {
                    match inbox.take(2, 100, None) {
                        Taken::Items(some) => items.extend(some),
                        Taken::Nothing => panic!("it did not wait"),
                        Taken::Closed => break,
                    }
                }
                given.send(items).unwrap();
            }
        });
        let closer = spawn({
            let inbox = Arc::clone(&inbox);
            async move { inbox.close() }
        });
        let mut sent = Vec::new();
        for sender in senders {
            match sender.await.unwrap() {
                Ok(item) => sent.push(item),
                Err(Closed) => {}
            }
        }
        closer.await.unwrap();
        let mut taken = all.await.unwrap();
        taken.sort_unstable();
        assert_eq!(taken, sent);
    });
}

#[test]
fn who_waits_for_room_and_gives_up_does_not_hold_up_the_rest() {
    explore(3000, || async {
        let inbox = Arc::new(Inbox::new(1, 10));
        inbox.send(0, 0).await.unwrap();
        let senders = [1, 2].map(|item| {
            let inbox = Arc::clone(&inbox);
            spawn(async move { inbox.send(item, 0).await.unwrap() })
        });
        let gives_up = spawn({
            let inbox = Arc::clone(&inbox);
            async move {
                let mut send = inbox.send(9, 0);
                // Polled once, it may have a place in the line.
                let _ = poll_now(&mut send);
            }
        });
        let (given, all) = oneshot::channel();
        thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                let mut items = Vec::new();
                while ![0, 1, 2].iter().all(|item| items.contains(item)) {
                    let Taken::Items(some) = inbox.take(1, 100, None) else { panic!("nobody closes") };
                    items.extend(some);
                }
                given.send(()).unwrap();
            }
        });
        for sender in senders {
            sender.await.unwrap();
        }
        gives_up.await.unwrap();
        all.await.unwrap();
    });
}

/// Polls once.
fn poll_now<F: Future + Unpin>(future: &mut F) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut cx).is_ready()
}

#[test]
fn callers_at_once_share_commits_and_each_gets_its_own_answer() {
    explore(250, || async {
        let disk = Disk::new(1);
        let queue = Arc::new(open(&disk));
        let callers = [1_u128, 2, 3].map(|id| {
            let queue = Arc::clone(&queue);
            spawn(async move {
                let uid = Uid::from(id % 2);
                let stored = queue.enqueue(&uid, &[entry(id)], Admit::WithinLimits).await.unwrap();
                let page =
                    queue.peek(&uid, Seq::new(stored.seqs[0].get() - 1), Limit::default()).await.unwrap();
                assert_eq!(page.entries[0], (stored.seqs[0], entry(id)));
                stored.seqs[0]
            })
        });
        let mut seqs = Vec::new();
        for caller in callers {
            seqs.push(caller.await.unwrap());
        }
        // Those of one user are told apart, and acknowledged apart.
        assert_ne!(seqs[0], seqs[2]);
        queue.ack(&Uid::from(1_u8), seqs[0].min(seqs[2]), Epoch::default()).await.unwrap();
        assert_eq!(queue.size(&Uid::from(1_u8)).await.unwrap().messages, 1);
    });
}

#[test]
fn what_nobody_waits_for_any_more_is_done_before_the_queue_is_gone() {
    explore(250, || async {
        let disk = Disk::new(1);
        let queue = open(&disk);
        let uid = Uid::from("alice");
        let answered = queue.enqueue(&uid, &[entry(1)], Admit::WithinLimits).await;
        assert!(answered.is_ok());
        {
            let batch = [entry(2)];
            let mut given_up = queue.enqueue(&uid, &batch, Admit::WithinLimits);
            let _ = poll_now(&mut given_up);
        }
        // Ends the threads, and waits for them.
        drop(queue);
        let queue = open(&disk);
        assert_eq!(queue.size(&uid).await.unwrap().messages, 2);
    });
}

fn open(disk: &Arc<Disk>) -> RedbQueue {
    let (limits, options) = RedbQueue::builder().cache_bytes(1 << 14).check().expect("good limits");
    RedbQueue::start(disk.opener(), limits, options, stopped()).expect("the file opens")
}
