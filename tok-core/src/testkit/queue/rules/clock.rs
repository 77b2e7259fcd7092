use std::time::Duration;

use super::{FIRST, LONG, Log, RESOLUTION, Time, assert_stored, entries, entry, expiring, last, sweep_all};
use crate::{Queue, Uid, queue::Entry, rt::Instant};

/// A moment that no runtime starts at.
const START: Instant = Instant::from_nanos(5_000_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ids(expired: &[(Uid, Entry)]) -> Vec<u128> {
    expired.iter().map(|(_, entry)| entry.id.as_u128()).collect()
}

/// Of several clocks the first that was provided counts: several hubs may share a queue, and TTLs that began on one clock
/// cannot go on on another.
pub async fn the_first_clock_counts(queue: &dyn Queue) {
    let time = Time::of(queue, START);
    let log = Log::of(queue, "alice");
    let batch = [expiring(0, LONG), entry(1)];
    log.add(&batch).await;
    let other = Time::of(queue, START.saturating_add(LONG * 2));
    assert_eq!(sweep_all(queue, 100).await, [], "a second clock must not count");
    assert_stored(&log.entries().await, &batch);
    other.advance(LONG * 24);
    assert_eq!(sweep_all(queue, 100).await, [], "a second clock must not count");
    time.advance(LONG + RESOLUTION);
    assert_eq!(ids(&sweep_all(queue, 100).await), [1]);
}

/// Where the clock that was provided stands still nothing expires, whatever other clocks show.
pub async fn a_stopped_clock_expires_nothing(queue: &dyn Queue) {
    let _time = Time::of(queue, START);
    let log = Log::of(queue, "alice");
    let batch = [expiring(0, Duration::from_nanos(1)), expiring(1, Duration::from_millis(1))];
    log.add(&batch).await;
    for _ in 0..1000 {
        assert_eq!(sweep_all(queue, 100).await, [], "no time has passed");
    }
    assert!(log.entries().await.iter().all(|entry| !entry.is_expired()), "no time has passed");
    assert_eq!(log.len().await, 2);
}

/// An entry has its whole TTL on the clock that was provided, and not much more.
pub async fn entries_expire_by_the_clock_that_was_provided(queue: &dyn Queue) {
    let time = Time::of(queue, START);
    let log = Log::of(queue, "alice");
    let stored = expiring(0, seconds(10));
    log.add(std::slice::from_ref(&stored)).await;
    let mut passed = Duration::ZERO;
    for step in [Duration::ZERO, seconds(1), seconds(8), Duration::from_millis(999)] {
        time.advance(step);
        passed += step;
        assert_eq!(sweep_all(queue, 100).await, [], "{passed:?} of 10 s have passed");
        let found = log.entries().await;
        let [Entry { ttl: Some(left), .. }] = found.as_slice() else { panic!("it must be there: {found:?}") };
        let right = seconds(10) - passed..=seconds(10) - passed + RESOLUTION;
        assert!(right.contains(left), "{passed:?} of 10 s have passed, and {left:?} are left");
    }
    time.advance(RESOLUTION + Duration::from_millis(1));
    let found = log.entries().await;
    assert!(found.iter().all(Entry::is_expired), "its time is over: {found:?}");
    let swept = sweep_all(queue, 100).await;
    assert_eq!(swept, [(Uid::from("alice"), Entry { ttl: Some(Duration::ZERO), ..stored })]);
}

/// Entries expire in any order: those around them keep their places, and cursors and acknowledgements go on.
pub async fn entries_expire_in_any_order(queue: &dyn Queue) {
    let time = Time::of(queue, START);
    let log = Log::of(queue, "alice");
    let batch: Vec<_> = (0..12)
        .map(|i| if i % 3 == 0 { entry(i) } else { expiring(i, seconds(40 - 10 * u64::from(i % 3))) })
        .collect();
    let seqs = log.add(&batch).await;
    time.advance(seconds(25));
    assert_eq!(ids(&sweep_all(queue, 100).await), [3, 6, 9, 12]);
    assert_eq!(log.seqs().await, [0, 1, 3, 4, 6, 7, 9, 10].map(|i| seqs[i]));

    // An acknowledgement of a position that the sweep emptied.
    log.ack(seqs[5], FIRST).await;
    assert_eq!(log.seqs().await, [6, 7, 9, 10].map(|i| seqs[i]));
    time.advance(seconds(10));
    assert_eq!(ids(&sweep_all(queue, 100).await), [8, 11]);
    let more = log.add(&entries(12..13)).await;
    assert_eq!(log.seqs().await, [seqs[6], seqs[9], more[0]]);
    log.ack(last(&more), FIRST).await;
    assert_eq!(log.len().await, 0);
}

/// A clock may come from anywhere and go to its end: nothing panics, and what is due expires.
pub async fn the_end_of_the_clock_expires_what_is_due(queue: &dyn Queue) {
    let time = Time::of(queue, Instant::from_nanos(i64::MAX as u64 - 1));
    let log = Log::of(queue, "alice");
    log.add(&[expiring(0, LONG), expiring(1, Duration::MAX), entry(2)]).await;
    time.set(Instant::from_nanos(i64::MAX as u64 + 1));
    assert_eq!(sweep_all(queue, 100).await, []);
    time.set(Instant::from_nanos(u64::MAX));
    let swept = ids(&sweep_all(queue, 100).await);
    assert!(swept == [1] || swept == [1, 2], "at the end of the clock {swept:?} had expired");
    // The last moment: what is stored then cannot wait any longer, or is kept.
    log.add(&[expiring(3, LONG), entry(4)]).await;
    sweep_all(queue, 100).await;
    let left = log.entries().await;
    assert!(left.contains(&entry(2)) && left.contains(&entry(4)), "entries without a TTL stay: {left:?}");
}
