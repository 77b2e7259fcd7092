use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use super::{
    FIRST, LONG, Log, assert_stored, costing, entries, entry, expired, expiring, last, size_of, sweep_all,
};
use crate::{
    MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Seq},
};

fn assert_rising(seqs: &[Seq]) {
    assert!(seqs.iter().all(|seq| *seq > Seq::START), "positions start at 1: {seqs:?}");
    assert!(seqs.is_sorted_by(|a, b| a < b), "positions must rise strictly: {seqs:?}");
}

/// Positions rise strictly within a batch and from batch to batch, start at 1, and are the ones that peek gives.
pub async fn seqs_rise(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let mut seqs = Vec::new();
    for start in [0, 3, 6] {
        seqs.extend(log.add(&entries(start..start + 3)).await);
    }
    assert_rising(&seqs);
    assert_eq!(log.seqs().await, seqs, "peek must give the positions that enqueue returned");
}

/// Positions rise on after everything was acknowledged, which leaves the user's queue empty.
pub async fn seqs_are_never_reused_after_ack(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let mut seqs = Vec::new();
    for round in 0..4 {
        seqs.extend(log.add(&entries(round..round + 2)).await);
        log.ack(last(&seqs), FIRST).await;
        assert_eq!(log.len().await, 0);
    }
    assert_rising(&seqs);
}

/// Positions rise on after everything was swept, which leaves the user's queue empty.
pub async fn seqs_are_never_reused_after_sweep(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let mut seqs = Vec::new();
    for round in 0..4 {
        seqs.extend(log.add(&[expired(round), expired(round)]).await);
        sweep_all(queue, 100).await;
        assert_eq!(log.len().await, 0, "the sweep must remove what expired");
    }
    assert_rising(&seqs);
}

/// Entries come out in the order in which they went in, within a batch and across batches.
pub async fn order_is_kept(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let mut expected = Vec::new();
    for batch in [entries(0..1), entries(1..6), entries(6..8)] {
        log.add(&batch).await;
        expected.extend(batch);
        assert_eq!(log.entries().await, expected);
    }
}

/// Kind, id and bytes come out as they went in: no bytes, every byte, invalid UTF-8, 1 MiB or as much as a message may have.
pub async fn entries_are_byte_exact(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let bytes = queue.caps().max_message.map_or(1 << 20, |largest| largest.min(1 << 20) as u32);
    let big: Vec<u8> = (0..bytes).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let contents: [(MessageKind, u128, Bytes); 8] = [
        (MessageKind::Text, 1, Bytes::new()),
        (MessageKind::Binary, 2, Bytes::new()),
        (MessageKind::Text, u128::MAX, Bytes::from("gr\u{fc}\u{df} \u{1f980}\0\n")),
        (MessageKind::Binary, u128::MAX - 1, Bytes::from_iter(0..=u8::MAX)),
        (MessageKind::Text, 1 << 64, Bytes::from_static(b"\xff\xfe not UTF-8")),
        (MessageKind::Binary, (1 << 64) - 1, Bytes::from_static(b"{\"json\": \"\\u0000\"}")),
        (MessageKind::Binary, 0, Bytes::from_static(b"an id of the application's")),
        (MessageKind::Binary, 3, Bytes::from(big)),
    ];
    let batch =
        contents.map(|(kind, id, data)| Entry { id: MessageId::from_u128(id), kind, data, ttl: None });
    log.force(&batch).await;
    assert_eq!(log.entries().await, batch);
}

/// An entry that expires has its TTL when it is read at once, one that does not has none.
pub async fn ttl_survives(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch = [entry(0), expiring(1, LONG), expiring(2, LONG * 24 * 365), entry(3)];
    log.add(&batch).await;
    assert_stored(&log.entries().await, &batch);
}

/// Every `Duration` is a TTL: very short ones expire, very long ones count as 100 years at least.
pub async fn any_ttl_is_taken(queue: &dyn Queue) {
    let short = Log::of(queue, "short");
    let long = Log::of(queue, "long");
    let nanos = [0, 1, 999_999, 1_000_000].map(Duration::from_nanos);
    short.add(&nanos.map(|ttl| expiring(0, ttl))).await;
    let day = LONG * 24;
    let ttls = [
        day * 25,
        day * 50,
        day * 365 * 69,
        Duration::from_nanos(i64::MAX as u64),
        Duration::from_nanos(u64::MAX),
        Duration::from_millis(i64::MAX as u64),
        Duration::from_millis(u64::MAX),
        Duration::from_secs(i64::MAX as u64),
        Duration::MAX,
    ];
    let batch: Vec<_> = ttls.into_iter().zip(0..).map(|(ttl, number)| expiring(number, ttl)).collect();
    log_all(&long, &batch).await;
    assert_stored(&long.entries().await, &batch);
    // Whatever is over by now.
    short.entries().await;
    sweep_all(queue, 100).await;
    assert_stored(&long.entries().await, &batch);
}

/// Each entry by itself: a queue may keep a batch as long as the longest of its TTLs.
async fn log_all(log: &Log<'_>, batch: &[Entry]) {
    for entry in batch {
        log.add(std::slice::from_ref(entry)).await;
    }
}

/// `size` is the number of entries and their bytes at every moment.
pub async fn size_counts(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    assert_eq!(log.size().await, size_of(&[]));
    let batch = [entry(0), costing(1, 128), costing(2, 1000), expiring(3, LONG)];
    let seqs = log.add(&batch[..3]).await;
    assert_eq!(log.size().await, size_of(&batch[..3]));
    log.add(&batch[3..]).await;
    assert_eq!(log.size().await, size_of(&batch));
    log.ack(seqs[1], FIRST).await;
    assert_eq!(log.size().await, size_of(&batch[2..]));
    log.ack(seqs[2], FIRST).await;
    assert_eq!(log.size().await, size_of(&batch[3..]));
}

/// No entries are no reason to fail, and nothing is stored.
pub async fn an_empty_batch_stores_nothing(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    assert_eq!(log.add(&[]).await, []);
    assert_eq!(log.force(&[]).await, []);
    assert_eq!(log.entries().await, []);
    assert_eq!(log.len().await, 0);
}

/// A batch whose future is dropped before its end is there as a whole or not at all, and does no harm to the next.
pub async fn a_dropped_enqueue_is_whole_or_nothing(queue: &dyn Queue) {
    let uid = Uid::from("alice");
    let log = Log::of(queue, &uid);
    let batch = entries(0..3);
    for polls in 1..4 {
        let mut future = queue.enqueue(&uid, &batch, Admit::WithinLimits);
        for _ in 0..polls {
            let poll = |cx: &mut Context<'_>| Poll::Ready(future.as_mut().poll(cx).is_ready());
            if poll_fn(poll).await {
                break;
            }
        }
        drop(future);
        // A batch of a turn before may have come in meanwhile.
        let there = log.read().await.len();
        assert!(there % 3 == 0 && there <= 3 * polls, "{there} of {polls} batches of 3 are there");
    }
    log.add(&entries(7..8)).await;
    assert_eq!(log.entries().await.last(), Some(&entry(7)));
}
