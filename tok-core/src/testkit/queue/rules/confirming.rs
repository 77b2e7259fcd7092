use super::{FIRST, LONG, Log, SECOND, costing, entries, entry, expiring, last, size_of};
use crate::{
    Epoch, Queue,
    queue::{QueueError, QueueSize, Seq},
};

async fn assert_fenced(log: &Log<'_>, upto: Seq, fence: Epoch, by: Epoch) {
    let result = log.queue.ack(&log.uid, upto, fence).await;
    assert!(
        matches!(result, Err(QueueError::Fenced { current }) if current == by),
        "{fence:?} must be fenced by {by:?}, but ack gave {result:?}"
    );
}

/// An acknowledgement removes its entry and all before it, and none after it.
pub async fn ack_is_cumulative(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..6)).await;
    for acked in [0, 2, 3] {
        log.ack(seqs[acked], FIRST).await;
        assert_eq!(log.seqs().await, seqs[acked + 1..]);
    }
    assert_eq!(log.entries().await, entries(4..6));
}

/// An acknowledgement returns the number and the bytes of the entries that remain.
pub async fn ack_returns_what_remains(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    assert_eq!(log.ack(Seq::new(7), FIRST).await, QueueSize::default(), "there is nothing");
    let mut batch = vec![costing(0, 128), costing(1, 500), expiring(2, LONG)];
    let mut seqs = log.add(&batch).await;
    batch.extend([entry(3), costing(4, 1000)]);
    seqs.extend(log.add(&batch[3..]).await);
    for upto in [Seq::START, seqs[0]] {
        let gone = usize::from(upto == seqs[0]);
        assert_eq!(log.ack(upto, FIRST).await, size_of(&batch[gone..]), "after an ack up to {upto:?}");
    }
    // Read, the rest is what it was.
    assert_eq!(log.seqs().await, seqs[1..]);
    for acked in [1, 1, 0, 3] {
        let gone = acked.max(1) + 1;
        assert_eq!(log.ack(seqs[acked], FIRST).await, size_of(&batch[gone..]), "after an ack of {acked}");
        assert_eq!(log.size().await, size_of(&batch[gone..]));
    }
    assert_eq!(log.ack(seqs[4], FIRST).await, QueueSize::default());
    log.add(&batch[..2]).await;
    assert_eq!(log.ack(seqs[4], FIRST).await, size_of(&batch[..2]), "an ack of what is gone");
}

/// The same acknowledgement again, one from before it, and one of nothing change nothing.
pub async fn ack_is_idempotent(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..4)).await;
    for upto in [seqs[1], seqs[1], seqs[0], Seq::START, seqs[1]] {
        log.ack(upto, FIRST).await;
        assert_eq!(log.seqs().await, seqs[2..]);
    }
    for _ in 0..2 {
        log.ack(seqs[3], FIRST).await;
        assert_eq!(log.len().await, 0);
    }
}

/// A position that is not there yet acknowledges what there is, and nothing that comes later.
pub async fn ack_beyond_the_end_takes_what_there_is(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    for round in 0..3 {
        let seqs = log.add(&entries(round..round + 2)).await;
        let end = seqs.last().map_or(0, |last| last.get());
        let beyond = [end.saturating_add(1 << 20), u64::MAX - 1, u64::MAX][round as usize];
        log.ack(Seq::new(beyond), FIRST).await;
        assert_eq!(log.entries().await, []);
    }
    log.add(&entries(7..9)).await;
    assert_eq!(log.entries().await, entries(7..9), "what is stored after an ack is not acknowledged by it");
}

/// After an acknowledgement of a newer login an older one's is refused and removes nothing.
pub async fn ack_of_an_older_epoch_is_fenced_and_changes_nothing(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..4)).await;
    for (index, newer) in [2, 3, u64::MAX].into_iter().enumerate() {
        log.ack(seqs[index], Epoch::new(newer)).await;
        for older in [0, 1, newer - 1] {
            assert_fenced(&log, seqs[3], Epoch::new(older), Epoch::new(newer)).await;
        }
        assert_eq!(log.seqs().await, seqs[index + 1..], "a fenced ack must change nothing");
    }
    // The refused ones have not lowered the fence.
    log.ack(seqs[3], Epoch::new(u64::MAX)).await;
    assert_eq!(log.len().await, 0);
}

/// A refusal names the epoch of the fence, and an acknowledgement with that epoch passes: a process whose epochs began
/// too low goes on from there.
pub async fn the_epoch_that_a_fence_names_passes(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..3)).await;
    // As epochs are that begin with a wall clock, in microseconds.
    let high = Epoch::new(1_800_000_000_000_000);
    log.ack(seqs[0], high).await;
    let result = log.queue.ack(&log.uid, seqs[1], SECOND).await;
    let Err(QueueError::Fenced { current }) = result else {
        panic!("it must be fenced, but ack gave {result:?}")
    };
    assert_eq!(current, high, "the refusal must name the epoch of the fence");
    log.ack(seqs[1], current).await;
    assert_eq!(log.seqs().await, seqs[2..]);
    assert_fenced(&log, seqs[2], Epoch::new(high.get() - 1), high).await;
    log.ack(seqs[2], Epoch::new(current.get() + 1)).await;
    assert_eq!(log.len().await, 0);
}

/// The login that raised the fence goes on acknowledging.
pub async fn ack_of_an_equal_epoch_passes(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..3)).await;
    for (index, seq) in seqs.iter().enumerate() {
        log.ack(*seq, SECOND).await;
        assert_eq!(log.seqs().await, seqs[index + 1..]);
    }
}

/// An acknowledgement that removes nothing fences too: that is how a login can take over before its first delivery.
pub async fn ack_of_nothing_raises_the_fence(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&entries(0..2)).await;
    log.ack(Seq::START, SECOND).await;
    assert_eq!(log.seqs().await, seqs);
    assert_fenced(&log, seqs[1], FIRST, SECOND).await;
    assert_eq!(log.seqs().await, seqs);
}

/// What an older login has seen, and acknowledges after a newer one has emptied the queue, removes nothing that was
/// stored since. (It may be told that it is fenced or not.) Where nodes share the queue the fence also outlives
/// the entries, since a node that has lost the user can have looked again.
pub async fn a_late_ack_removes_nothing_new(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seen = log.add(&entries(0..3)).await;
    log.ack(last(&seen), SECOND).await;
    assert_eq!(log.len().await, 0);
    let new = log.add(&entries(3..5)).await;
    for upto in [seen[0], last(&seen)] {
        let result = log.queue.ack(&log.uid, upto, FIRST).await;
        let is_allowed = matches!(result, Ok(_) | Err(QueueError::Fenced { current: SECOND }));
        assert!(is_allowed, "a late ack gave {result:?}");
        assert_eq!(log.seqs().await, new, "a late ack must not remove what is new");
    }
    if queue.caps().shared {
        assert_fenced(&log, last(&new), FIRST, SECOND).await;
        assert_eq!(log.seqs().await, new);
    }
}

/// Epochs order the logins of one user and say nothing about another's.
pub async fn fences_are_per_user(queue: &dyn Queue) {
    let (alice, bob) = (Log::of(queue, "alice"), Log::of(queue, "bob"));
    let (of_alice, of_bob) = (alice.add(&entries(0..3)).await, bob.add(&entries(0..3)).await);
    alice.ack(of_alice[0], SECOND).await;
    bob.ack(of_bob[0], FIRST).await;
    assert_fenced(&alice, of_alice[1], FIRST, SECOND).await;
    bob.ack(of_bob[1], FIRST).await;
    assert_eq!((alice.len().await, bob.len().await), (2, 1));
}
