use super::{FAR, FIRST, Log, entries, entry, expiring, last, sweep_all};
use crate::{
    Queue, Uid,
    queue::{Entry, Swept},
};

fn ids(expired: &[(Uid, Entry)]) -> Vec<(&str, u128)> {
    expired.iter().map(|(uid, entry)| (uid.as_str(), entry.id.as_u128())).collect()
}

/// The hub judges expiry by its own clock: an entry whose time is long past is stored, counted and handed out until
/// a sweep.
pub async fn expired_entries_are_peeked_until_swept(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    // 1970, long past by any clock of the queue's own.
    let batch = [expiring(0, 1), entry(1), expiring(2, 0)];
    log.add(&batch).await;
    assert_eq!(log.entries().await, batch);
    assert_eq!(log.len().await, 3);
    assert_eq!(sweep_all(queue, 1, 100).await.len(), 2);
    assert_eq!(log.entries().await, entries(1..2));
    assert_eq!(log.len().await, 1);
}

/// What has not expired, or never does, is neither removed nor returned.
pub async fn sweep_leaves_live_entries(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch = [entry(0), expiring(1, FAR + 1), entry(2), expiring(3, u64::MAX)];
    log.add(&batch).await;
    for now in [0, 1, FAR] {
        assert_eq!(sweep_all(queue, now, 100).await, []);
        assert_eq!(log.entries().await, batch);
    }
    assert_eq!(log.len().await, 4);
}

/// A sweep takes what expired at or before `now`, whole, with the user whose it was.
pub async fn sweep_returns_what_expired_with_its_uid(queue: &dyn Queue) {
    let (alice, bob) = (Log::of(queue, "alice"), Log::of(queue, "bob"));
    alice.add(&[expiring(0, FAR), expiring(1, FAR + 1), expiring(2, FAR + 2)]).await;
    bob.add(&[expiring(3, FAR + 1), entry(4)]).await;
    let first = sweep_all(queue, FAR, 100).await;
    assert_eq!(first, [(Uid::from("alice"), expiring(0, FAR))]);
    let second = sweep_all(queue, FAR + 1, 100).await;
    assert_eq!(
        second,
        [(Uid::from("alice"), expiring(1, FAR + 1)), (Uid::from("bob"), expiring(3, FAR + 1))]
    );
    assert_eq!(alice.entries().await, [expiring(2, FAR + 2)]);
    assert_eq!(bob.entries().await, entries(4..5));
    assert_eq!(sweep_all(queue, FAR + 1, 100).await, [], "a sweep must return an entry once");
}

/// What was acknowledged does not come back as expired.
pub async fn sweep_forgets_what_was_acked(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&[expiring(0, FAR), expiring(1, FAR), expiring(2, FAR + 1)]).await;
    log.ack(seqs[1], FIRST).await;
    assert_eq!(sweep_all(queue, FAR, 100).await, []);
    assert_eq!(log.entries().await, [expiring(2, FAR + 1)]);
    log.ack(seqs[2], FIRST).await;
    assert_eq!(sweep_all(queue, FAR + 1, 100).await, []);
}

/// Entries expire in any order: those around them keep their places, and cursors and acknowledgements go on.
pub async fn sweep_takes_from_the_middle(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch: Vec<_> =
        (0..12).map(|i| if i % 3 == 0 { entry(i) } else { expiring(i, FAR + u64::from(i % 3)) }).collect();
    let seqs = log.add(&batch).await;
    assert_eq!(ids(&sweep_all(queue, FAR + 1, 100).await), [2, 5, 8, 11].map(|id| ("alice", id)));
    assert_eq!(log.len().await, 8);
    assert_eq!(log.seqs().await, [0, 2, 3, 5, 6, 8, 9, 11].map(|i| seqs[i]));

    // An acknowledgement of a position that the sweep emptied.
    log.ack(seqs[4], FIRST).await;
    assert_eq!(log.seqs().await, [5, 6, 8, 9, 11].map(|i| seqs[i]));
    assert_eq!(ids(&sweep_all(queue, FAR + 2, 100).await), [6, 9, 12].map(|id| ("alice", id)));
    let more = log.add(&entries(12..13)).await;
    assert_eq!(log.seqs().await, [seqs[6], seqs[9], more[0]]);
    log.ack(last(&more), FIRST).await;
    assert_eq!(log.len().await, 0);
}

/// A sweep removes at most its budget and says so as long as there is more; sweeps that follow end.
pub async fn sweep_respects_the_budget(queue: &dyn Queue) {
    const USERS: u32 = 5;
    let mut left = 0;
    for user in 0..USERS {
        left +=
            Log::of(queue, user).add(&[expiring(user, FAR), entry(99), expiring(user, FAR)]).await.len() - 1;
    }
    let Swept { expired, .. } = queue.sweep(FAR, 0).await.expect("sweep must succeed");
    assert_eq!(expired, [], "a budget of 0 takes nothing");
    for _ in 0..100 {
        let swept = queue.sweep(FAR, 3).await.expect("sweep must succeed");
        assert!(swept.expired.len() <= 3, "{} entries exceed a budget of 3", swept.expired.len());
        left -= swept.expired.len();
        if left == 0 {
            break;
        }
        assert!(swept.more, "{left} expired entries are left: the sweep must say that there is more");
    }
    assert_eq!(left, 0, "sweeps must come to an end");
    assert_eq!(sweep_all(queue, FAR, 3).await, []);
    for user in 0..USERS {
        assert_eq!(Log::of(queue, user).entries().await, entries(99..100));
    }
}

/// Times and budgets are right to the ends of their ranges.
pub async fn sweep_takes_any_time(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let times = [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX];
    let batch: Vec<_> = times.iter().zip(0..).map(|(at, i)| expiring(i, *at)).collect();
    log.add(&batch).await;
    for (index, now) in times.into_iter().enumerate() {
        let swept = sweep_all(queue, now, usize::MAX).await;
        assert_eq!(swept, [(Uid::from("alice"), batch[index].clone())], "at {now}");
        assert_eq!(log.entries().await, batch[index + 1..]);
    }
}
