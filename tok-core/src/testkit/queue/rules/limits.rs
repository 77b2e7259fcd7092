use std::time::Duration;

use bytes::Bytes;

use super::{FIRST, LONG, Log, assert_stored, costing, entry, expiring, last, sweep_all};
use crate::{
    Queue,
    queue::{Admit, Entry, QueueError, Seq},
};

/// Entries that fill one user's queue to exactly one of its limits and stay within the other.
struct Filling {
    messages: Vec<Entry>,
    bytes: Vec<Entry>,
}

fn filling(queue: &dyn Queue) -> Filling {
    let caps = queue.caps();
    assert!(
        (16..=100_000).contains(&caps.max_messages),
        "the suite needs a queue for 16 to 100,000 messages"
    );
    let bytes = 4096..=64 << 20;
    assert!(bytes.contains(&caps.max_bytes), "the suite needs a queue of 4 KiB to 64 MiB a user");

    let fits = caps.max_message.is_none_or(|largest| largest as u64 > caps.max_bytes);
    assert!(fits, "the suite needs a queue whose `max_message` is over its `max_bytes`");

    // As cheap as entries can be, so that the byte limit is not in the way of the other.
    let messages = caps.max_messages.min(caps.max_bytes / Entry::OVERHEAD as u64);
    assert_eq!(messages, caps.max_messages, "a queue full of empty messages must be within the byte limit");
    let count = 8;
    let share = caps.max_bytes / count;
    let rest = caps.max_bytes - share * (count - 1);
    Filling {
        messages: (0..messages).map(|i| costing(i as u32, Entry::OVERHEAD)).collect(),
        bytes: (0..count).map(|i| costing(i as u32, if i == 0 { rest } else { share } as usize)).collect(),
    }
}

async fn add_all(log: &Log<'_>, entries: &[Entry]) -> Vec<Seq> {
    let mut seqs = Vec::new();
    for batch in entries.chunks(100) {
        seqs.extend(log.add(batch).await);
    }
    seqs
}

async fn assert_full(log: &Log<'_>, batch: &[Entry]) {
    let result = log.queue.enqueue(&log.uid, batch, Admit::WithinLimits).await;
    assert!(matches!(result, Err(QueueError::Full)), "the queue must be full, but enqueue gave {result:?}");
}

/// As many messages as [`Caps::max_messages`](crate::queue::Caps::max_messages) fit, and not one more.
pub async fn message_limit_is_exact(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    add_all(&log, &filling(queue).messages).await;
    assert_full(&log, &[costing(0, Entry::OVERHEAD)]).await;
}

/// As many bytes as [`Caps::max_bytes`](crate::queue::Caps::max_bytes) fit, by [`Entry::cost`], and not one more.
pub async fn byte_limit_is_exact(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let filling = filling(queue).bytes;
    add_all(&log, &filling[1..]).await;
    assert_full(&log, &[costing(0, filling[0].cost() + 1)]).await;
    log.add(&filling[..1]).await;
    assert_full(&log, &[costing(0, Entry::OVERHEAD)]).await;

    let other = Log::of(queue, "bob");
    assert_full(&other, &[costing(0, queue.caps().max_bytes as usize + 1)]).await;
}

/// Of a batch that would pass a limit nothing is stored, also what would have fitted; a smaller one still fits.
pub async fn batch_is_all_or_nothing(queue: &dyn Queue) {
    for uid in ["messages", "bytes"] {
        let log = Log::of(queue, uid);
        let filling = filling(queue);
        let all = if uid == "bytes" { filling.bytes } else { filling.messages };
        let (old, new) = all.split_at(all.len() - 2);
        add_all(&log, old).await;
        let too_many = [new, &[costing(0, Entry::OVERHEAD)]].concat();
        assert_full(&log, &too_many).await;
        assert_eq!(log.entries().await, old, "nothing of a refused batch may be stored");
        log.add(new).await;
        assert_eq!(log.entries().await, all);
    }
}

/// A full queue refuses, again and again, and drops nothing to make room.
pub async fn full_refuses_new_and_keeps_old(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let old = filling(queue).messages;
    add_all(&log, &old).await;
    for _ in 0..3 {
        assert_full(&log, &[entry(0)]).await;
        assert_eq!(log.entries().await, old, "a full queue must keep what it has");
    }
}

/// What senders were told is kept is stored whatever the limits, counts, and leaves no room for new messages.
pub async fn already_accepted_passes_the_limits(queue: &dyn Queue) {
    for uid in ["messages", "bytes"] {
        let log = Log::of(queue, uid);
        let filling = filling(queue);
        let mut all = if uid == "bytes" { filling.bytes } else { filling.messages };
        add_all(&log, &all).await;
        let accepted = [costing(1, 1000), costing(2, 1000)];
        log.force(&accepted).await;
        assert_full(&log, &[entry(3)]).await;
        all.extend(accepted);
        assert_eq!(log.entries().await, all);
        assert_eq!(log.len().await, all.len() as u64);
    }
}

/// An acknowledgement makes exactly the room that its entries took, time and again.
pub async fn room_returns_after_ack(queue: &dyn Queue) {
    let log = Log::of(queue, "messages");
    let filling = filling(queue);
    let mut seqs = add_all(&log, &filling.messages).await;
    for round in 0..3 {
        log.ack(seqs[1], FIRST).await;
        seqs.drain(..2);
        seqs.extend(log.add(&filling.messages[..2]).await);
        assert_full(&log, &[entry(round)]).await;
    }

    let log = Log::of(queue, "bytes");
    for _ in 0..3 {
        let seqs = add_all(&log, &filling.bytes).await;
        assert_full(&log, &[entry(0)]).await;
        log.ack(last(&seqs), FIRST).await;
    }
}

/// A sweep makes exactly the room that its entries took, time and again.
pub async fn room_returns_after_sweep(queue: &dyn Queue) {
    let filling = filling(queue);
    for (uid, all) in [("messages", filling.messages), ("bytes", filling.bytes)] {
        let log = Log::of(queue, uid);
        let expiring: Vec<_> =
            all.into_iter().map(|entry| Entry { ttl: Some(Duration::ZERO), ..entry }).collect();
        for round in 0..3 {
            add_all(&log, &expiring).await;
            assert_full(&log, &[entry(round)]).await;
            let swept = sweep_all(queue, 1000).await;
            assert_eq!(swept.len(), expiring.len(), "the sweep must take everything");
        }
    }
}

/// A user whose queue is full leaves all others theirs.
pub async fn limits_are_per_user(queue: &dyn Queue) {
    let full = Log::of(queue, "alice");
    let filling = filling(queue);
    add_all(&full, &filling.messages).await;
    let other = Log::of(queue, "bob");
    add_all(&other, &filling.bytes).await;
    assert_full(&full, &[expiring(0, LONG)]).await;
    assert_full(&other, &[entry(0)]).await;
}

/// A message over [`Caps::max_message`](crate::queue::Caps::max_message) is refused by name, also if it was accepted
/// before, with its size and the largest that there can be; nothing of its batch is stored. One of exactly that size is
/// stored, and so is a batch that costs no more than that together. (A queue that names none, or one over 1 GiB, has nothing to show.)
pub async fn a_message_over_the_largest_is_too_big(queue: &dyn Queue) {
    /// What the rule stores at most, and what it makes at most.
    const MOST: usize = 32 << 20;
    const LARGEST: usize = 1 << 30;

    let Some(largest) = queue.caps().max_message.filter(|largest| *largest < LARGEST) else { return };
    let log = Log::of(queue, "alice");
    let of = |bytes: usize| Entry { data: Bytes::from(vec![0; bytes]), ..entry(1) };
    let batch = [entry(0), of(largest + 1)];
    for admit in [Admit::WithinLimits, Admit::AlreadyAccepted] {
        let result = log.queue.enqueue(&log.uid, &batch, admit).await;
        assert!(
            matches!(result, Err(QueueError::TooBig { bytes, limit }) if bytes == largest + 1 && limit == largest),
            "{} bytes are over {largest}, but enqueue gave {result:?}",
            largest + 1
        );
    }
    assert_eq!(log.entries().await, [], "nothing of a refused batch may be stored");
    if largest <= MOST {
        log.force(&[of(largest)]).await;
        assert_stored(&log.entries().await, &[of(largest)]);
        let other = Log::of(queue, "bob");
        let count = 32.min(largest / (2 * Entry::OVERHEAD));
        let batch: Vec<_> = (0..count).map(|i| costing(i as u32, largest / count)).collect();
        other.force(&batch).await;
        assert_stored(&other.entries().await, &batch);
    }
}
