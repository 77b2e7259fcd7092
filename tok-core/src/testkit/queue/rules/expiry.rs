use std::time::Duration;

use super::{FIRST, LONG, Log, Time, assert_stored, entries, entry, expired, expiring, last, sweep_all};
use crate::{
    Queue, Uid,
    queue::{Entry, Swept},
    rt::Instant,
};

fn ids(expired: &[(Uid, Entry)]) -> Vec<(&str, u128)> {
    expired.iter().map(|(uid, entry)| (uid.as_str(), entry.id.as_u128())).collect()
}

/// The time that is left of a TTL falls to zero, or to where the queue's server removes the entry. It never grows, also
/// when other entries are stored and acknowledged.
pub async fn time_left_falls_and_never_grows(queue: &dyn Queue) {
    const TTL: Duration = Duration::from_millis(200);
    /// Enough for a server that answers within 20 microseconds. It is no measure of time.
    const LOOKS: u32 = 20_000;

    // A queue with a server has its own clock, which passes by itself.
    let time = Time::of(queue, Instant::from_nanos(1));
    let log = Log::of(queue, "alice");
    let first = log.add(&entries(0..1)).await;
    log.add(&[expiring(1, TTL)]).await;
    let mut least = TTL + super::RESOLUTION;
    for look in 0..LOOKS {
        time.advance(TTL / 20);
        let found = log.entries().await;
        match look {
            5 => drop(log.add(&entries(2..3)).await),
            10 => drop(log.ack(first[0], FIRST).await),
            _ => {}
        }
        let Some(entry) = found.iter().find(|entry| entry.id == expired(1).id) else { return };
        let left = entry.ttl.expect("an entry that expires has time left");
        assert!(left <= least, "the time left has grown from {least:?} to {left:?}");
        least = left;
        if left.is_zero() {
            return;
        }
    }
    panic!("after {LOOKS} looks {least:?} are left of {TTL:?}");
}

/// An expired entry is stored, counted and returned, with a TTL of zero, until a sweep.
pub async fn expired_entries_are_peeked_until_swept(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch = [expired(0), entry(1), expired(2)];
    log.add(&batch).await;
    assert_eq!(log.entries().await, batch);
    assert_eq!(log.len().await, 3);
    assert_eq!(sweep_all(queue, 100).await.len(), 2);
    assert_eq!(log.entries().await, entries(1..2));
    assert_eq!(log.len().await, 1);
}

/// What has not expired, or never does, is neither removed nor returned.
pub async fn sweep_leaves_live_entries(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let batch = [entry(0), expiring(1, LONG / 2), entry(2), expiring(3, LONG), expiring(4, LONG * 1000)];
    log.add(&batch).await;
    for _ in 0..3 {
        assert_eq!(sweep_all(queue, 100).await, []);
        assert_stored(&log.entries().await, &batch);
    }
    assert_eq!(log.len().await, 5);
}

/// A sweep takes what has expired, whole, with the user whose it was, and nothing else.
pub async fn sweep_returns_what_expired_with_its_uid(queue: &dyn Queue) {
    let (alice, bob) = (Log::of(queue, "alice"), Log::of(queue, "bob"));
    alice.add(&[expired(0), expiring(1, LONG), expired(2)]).await;
    bob.add(&[expired(3), entry(4)]).await;
    let swept = sweep_all(queue, 100).await;
    let [of_alice, of_bob] = ["alice", "bob"].map(Uid::from);
    assert_eq!(swept, [(of_alice.clone(), expired(0)), (of_alice, expired(2)), (of_bob, expired(3))]);
    assert_stored(&alice.entries().await, &[expiring(1, LONG)]);
    assert_eq!(bob.entries().await, entries(4..5));
    assert_eq!(sweep_all(queue, 100).await, [], "a sweep must return an entry once");
}

/// What was acknowledged does not come back as expired.
pub async fn sweep_forgets_what_was_acked(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let seqs = log.add(&[expired(0), expired(1), expiring(2, LONG)]).await;
    log.ack(seqs[1], FIRST).await;
    assert_eq!(sweep_all(queue, 100).await, []);
    assert_stored(&log.entries().await, &[expiring(2, LONG)]);
    log.ack(seqs[2], FIRST).await;
    assert_eq!(sweep_all(queue, 100).await, []);
    assert_eq!(log.entries().await, []);
}

/// Entries around those that are swept keep their places, and cursors and acknowledgements go on.
pub async fn sweep_takes_from_the_middle(queue: &dyn Queue) {
    let log = Log::of(queue, "alice");
    let kind = |i: u32| [entry(i), expiring(i, LONG), expired(i)][i as usize % 3].clone();
    let seqs = log.add(&(0..12).map(kind).collect::<Vec<_>>()).await;
    assert_eq!(ids(&sweep_all(queue, 100).await), [3, 6, 9, 12].map(|id| ("alice", id)));
    assert_eq!(log.len().await, 8);
    assert_eq!(log.seqs().await, [0, 1, 3, 4, 6, 7, 9, 10].map(|i| seqs[i]));

    // An acknowledgement of a position that the sweep emptied.
    log.ack(seqs[5], FIRST).await;
    assert_eq!(log.seqs().await, [6, 7, 9, 10].map(|i| seqs[i]));
    let more = log.add(&[expired(12), entry(13)]).await;
    assert_eq!(ids(&sweep_all(queue, 100).await), [("alice", 13)]);
    assert_eq!(log.seqs().await, [seqs[6], seqs[7], seqs[9], seqs[10], more[1]]);
    log.ack(last(&more), FIRST).await;
    assert_eq!(log.len().await, 0);
}

/// A sweep removes at most its budget and says so as long as there is more; sweeps that follow end.
pub async fn sweep_respects_the_budget(queue: &dyn Queue) {
    const USERS: u32 = 5;
    let mut left = 0;
    for user in 0..USERS {
        left += Log::of(queue, user).add(&[expired(user), entry(99), expired(user)]).await.len() - 1;
    }
    let Swept { expired, .. } = queue.sweep(0).await.expect("sweep must succeed");
    assert_eq!(expired, [], "a budget of 0 takes nothing");
    for _ in 0..100 {
        let swept = queue.sweep(3).await.expect("sweep must succeed");
        assert!(swept.expired.len() <= 3, "{} entries exceed a budget of 3", swept.expired.len());
        left -= swept.expired.len();
        if left == 0 {
            break;
        }
        assert!(swept.more, "{left} expired entries are left: the sweep must say that there is more");
    }
    assert_eq!(left, 0, "sweeps must come to an end");
    assert_eq!(sweep_all(queue, usize::MAX).await, []);
    for user in 0..USERS {
        assert_eq!(Log::of(queue, user).entries().await, entries(99..100));
    }
}
