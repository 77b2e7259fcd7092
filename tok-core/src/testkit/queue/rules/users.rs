use std::{future::poll_fn, task::Poll};

use super::{FIRST, LONG, Log, assert_stored, entries, expiring, last, sweep_all};
use crate::{
    Queue, Uid,
    queue::{Admit, Limit, Page, Seq},
    testkit::queue::Checking,
};

/// Ids that a key, subject, file name or pattern made carelessly of them would confuse with each other.
fn odd_uids() -> Vec<String> {
    let mut uids: Vec<String> = [
        "a",
        "A",
        "a.",
        ".a",
        ".",
        "..",
        "a.b",
        "a.*",
        "*",
        ">",
        "a.>",
        "a b",
        " a",
        "a ",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "a\0",
        "a\0b",
        "\0",
        "a:b",
        "a/b",
        "a\\b",
        "/",
        "../a",
        "{tag}a",
        "{tag}b",
        "{}",
        "}{",
        "%61",
        "a%00",
        "$a",
        "'a'",
        "\"a\"",
        "a,b",
        "[a]",
        "?",
        "#",
        "\u{e4}",
        "a\u{308}",
        "\u{c4}",
        "\u{1f980}",
        "\u{202e}a",
        "\u{feff}a",
        "_",
        "-",
        "=",
        "==",
        "0",
        "00",
        "-0",
        "null",
        "a_",
        "a=",
    ]
    .map(String::from)
    .into();
    // As long as they may be, different in the last byte only.
    uids.extend(["x", "y"].map(|end| "x".repeat(Uid::MAX_BYTES - 1) + end));
    uids.push("\u{1f980}".repeat(Uid::MAX_BYTES / 4));
    uids
}

/// Whatever valid ids users have, what is stored, acknowledged or swept for one is nothing to another.
pub async fn users_are_separate(queue: &dyn Queue) {
    let uids = odd_uids();
    let logs: Vec<_> = uids.iter().map(|uid| Log::of(queue, uid)).collect();
    let of = |index: usize| (index as u32 * 3)..(index as u32 * 3 + 3);
    let mut seqs = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        assert!(log.uid.check().is_ok());
        assert_eq!(log.len().await, 0, "{:?} has another's entries", log.uid);
        seqs.push(log.add(&entries(of(index))).await);
    }
    for (index, log) in logs.iter().enumerate() {
        assert_eq!(log.entries().await, entries(of(index)), "{:?}", log.uid);
        log.ack(seqs[index][1], FIRST).await;
    }
    for (index, log) in logs.iter().enumerate() {
        assert_eq!(log.entries().await, entries(of(index).skip(2)), "{:?}", log.uid);
    }
}

/// A user of whom nothing was ever stored has an empty queue, and acknowledging it is no error.
pub async fn nobody_has_an_empty_queue(queue: &dyn Queue) {
    let uid = Uid::from("nobody");
    let log = Log::of(queue, &uid);
    let page = queue.peek(&uid, Seq::START, Limit::default()).await.expect("peek must succeed");
    assert_eq!(page, Page::default());
    log.ack(Seq::START, FIRST).await;
    log.ack(Seq::new(7), FIRST).await;
    assert_eq!(log.len().await, 0);
    assert_eq!(queue.dequeue(&uid, FIRST).await.expect("dequeue must succeed"), None);
    assert_eq!(sweep_all(queue, 10).await, []);
    log.add(&entries(0..1)).await;
    assert_eq!(log.entries().await, entries(0..1), "what comes after an ack of nothing is kept");
}

/// Ids that the hub would refuse get an answer, right or an error, and no panic.
pub async fn any_uid_is_answered(queue: &dyn Queue) {
    for uid in [String::new(), "x".repeat(Uid::MAX_BYTES + 1), "\u{1f980}".repeat(20_000)] {
        let log = Log::of(queue, &uid);
        if queue.enqueue(&log.uid, &entries(0..2), Admit::WithinLimits).await.is_ok() {
            assert_eq!(log.entries().await, entries(0..2));
        }
        let _ = queue.peek(&log.uid, Seq::START, Limit::default()).await;
        let _ = queue.size(&log.uid).await;
        let _ = queue.dequeue(&log.uid, FIRST).await;
        let _ = queue.ack(&log.uid, Seq::new(u64::MAX), FIRST).await;
    }
}

/// Operations of different users run at the same time, interleaved wherever they wait, as if each were alone.
pub async fn concurrent_users(queue: &dyn Queue) {
    let users = (0..32).map(|user: u32| -> Checking<'_> {
        Box::pin(async move {
            let log = Log::of(queue, user);
            for round in 0..8 {
                let first = user * 1000 + round * 3;
                let batch = [entries(first..first + 2), vec![expiring(first + 2, LONG)]].concat();
                let seqs = log.add(&batch).await;
                assert_stored(&log.entries().await, &batch);
                log.ack(seqs[0], FIRST).await;
                assert_stored(&log.entries().await, &batch[1..]);
                log.ack(last(&seqs), FIRST).await;
                assert_eq!(log.len().await, 0, "user {user}");
            }
        })
    });
    join_all(users.collect()).await;
}

async fn join_all(mut futures: Vec<Checking<'_>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
