//! Files that are opened again: how much time has passed in them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redb::Database;
use tok_core::{
    MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, Seq},
    rt::{Clock, Instant},
    testkit::queue::block_on,
};

use super::disk::Disk;
use crate::redb::{
    RedbQueue,
    schema::META,
    time::{Boot, Clocks, Moment},
};

const HOUR: u64 = 60 * 60 * 1000;
/// In 2026.
const WALL: u64 = 1_795_000_000_000;

/// A machine with its clocks, and a file on it.
struct Machine {
    disk: Arc<Disk>,
    moment: Arc<Mutex<Moment>>,
    /// The runtime's clock, in milliseconds.
    monotonic: Arc<AtomicU64>,
}

impl Machine {
    fn new() -> Self {
        let boot = Some(Boot { id: 1, millis: 5000 });
        let moment = Arc::new(Mutex::new(Moment { wall: WALL, boot }));
        Self { disk: Disk::new(1), moment, monotonic: Arc::default() }
    }

    fn clocks(&self) -> Clocks {
        let moment = Arc::clone(&self.moment);
        Arc::new(move || *moment.lock().unwrap())
    }

    fn open(&self) -> RedbQueue {
        let (limits, options) = RedbQueue::builder().cache_bytes(1 << 14).check().expect("good limits");
        let queue = RedbQueue::start(self.disk.opener(), limits, options, self.clocks()).expect("it opens");
        let monotonic = Arc::clone(&self.monotonic);
        let now = move || Duration::from_millis(monotonic.load(Ordering::SeqCst));
        queue.use_clock(&Clock::new(move || Instant::default().saturating_add(now())));
        queue
    }

    /// Time passes as it should, on all clocks.
    fn pass(&self, millis: u64) {
        self.monotonic.fetch_add(millis, Ordering::SeqCst);
        let mut moment = self.moment.lock().unwrap();
        moment.wall += millis;
        moment.boot = moment.boot.map(|boot| Boot { millis: boot.millis + millis, ..boot });
    }

    fn set_wall(&self, wall: u64) {
        self.moment.lock().unwrap().wall = wall;
    }

    /// Until `wall` it is off.
    fn reboot(&self, id: u128, wall: u64) {
        *self.moment.lock().unwrap() = Moment { wall, boot: Some(Boot { id, millis: 100 }) };
        self.monotonic.store(0, Ordering::SeqCst);
    }
}

fn add(queue: &RedbQueue, ttl: u64) {
    let (id, data) = (MessageId::from_u128(u128::from(ttl)), Bytes::from_static(b"hello"));
    let entry = Entry { id, kind: MessageKind::Text, data, ttl: Some(Duration::from_millis(ttl)) };
    block_on(queue.enqueue(&Uid::from("alice"), &[entry], Admit::WithinLimits)).unwrap();
}

/// Milliseconds that are left of the oldest entry's TTL. The clock of the test process shows between opening the file and
/// providing the other one: less than a minute.
fn left(queue: &RedbQueue) -> u64 {
    let page = block_on(queue.peek(&Uid::from("alice"), Seq::START, Limit::default())).unwrap();
    page.entries[0].1.ttl.unwrap().as_millis() as u64
}

#[track_caller]
fn assert_about(found: u64, expected: u64) {
    assert!(
        (expected.saturating_sub(60_000)..=expected + 60_000).contains(&found),
        "{found} ms, not {expected}"
    );
}

#[test]
fn while_a_queue_lives_the_wall_clock_does_not_count() {
    let machine = Machine::new();
    let queue = machine.open();
    add(&queue, 2 * HOUR);
    for wall in [0, WALL + 1000 * HOUR, WALL - 1000 * HOUR, u64::MAX] {
        machine.set_wall(wall);
        assert_about(left(&queue), 2 * HOUR);
        assert_eq!(block_on(queue.sweep(10)).unwrap().expired, []);
    }
    machine.set_wall(WALL);
    machine.pass(HOUR);
    assert_about(left(&queue), HOUR);
    // Deadlines are rounded up to the millisecond.
    machine.pass(HOUR + 1);
    assert_eq!(left(&queue), 0);
    assert_eq!(block_on(queue.sweep(10)).unwrap().expired.len(), 1);
}

#[test]
fn after_the_same_boot_the_boot_clock_counts() {
    for (wall, crash) in [(WALL, false), (0, false), (WALL + 1000 * HOUR, false), (WALL - HOUR, true)] {
        let machine = Machine::new();
        let queue = machine.open();
        add(&queue, 4 * HOUR);
        machine.pass(HOUR);
        if crash {
            // Nothing is written when it ends.
            machine.disk.power_cycle();
        }
        drop(queue);
        machine.pass(HOUR);
        machine.set_wall(wall);
        let queue = machine.open();
        assert_about(left(&queue), 2 * HOUR);
        machine.pass(HOUR);
        assert_about(left(&queue), HOUR);
    }
}

#[test]
fn after_another_boot_the_wall_clock_counts_and_never_back() {
    for (wall, expected) in [(WALL + HOUR, 3 * HOUR), (WALL - 1000 * HOUR, 4 * HOUR), (0, 4 * HOUR)] {
        let machine = Machine::new();
        let queue = machine.open();
        add(&queue, 4 * HOUR);
        drop(queue);
        machine.reboot(2, wall);
        let queue = machine.open();
        assert_about(left(&queue), expected);
        // A clock that is set right while the queue lives changes nothing.
        machine.set_wall(WALL + 2 * HOUR);
        assert_about(left(&queue), expected);
        // Time goes on from there at the next opening, too.
        drop(queue);
        machine.reboot(3, WALL + 3 * HOUR);
        assert_about(left(&machine.open()), expected - HOUR);
    }
}

/// What the wall clock did while the queue lived does not count either: the file notes the time again when it is closed.
#[test]
fn a_wall_clock_that_was_set_while_the_queue_lived_does_not_count_after_a_boot() {
    let machine = Machine::new();
    let queue = machine.open();
    add(&queue, 4 * HOUR);
    machine.set_wall(WALL + 1000 * HOUR);
    drop(queue);
    machine.reboot(2, WALL + 1001 * HOUR);
    assert_about(left(&machine.open()), 3 * HOUR);
}

/// As older programs wrote them: deadlines by the wall clock, and nothing else about time.
#[test]
fn a_file_without_its_time_means_the_wall_clock() {
    let machine = Machine::new();
    let queue = machine.open();
    add(&queue, 4 * HOUR);
    drop(queue);
    let db: Database = machine.disk.opener()(&redb::Builder::new(), false).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut meta = txn.open_table(META).unwrap();
        for name in ["time", "wall", "boot_time", "boot_id_high", "boot_id_low"] {
            assert!(meta.remove(name).unwrap().is_some(), "{name} is there");
        }
    }
    txn.commit().unwrap();
    db.close().unwrap();
    machine.reboot(2, WALL + 3 * HOUR);
    assert_about(left(&machine.open()), HOUR);
    machine.reboot(3, WALL + 4 * HOUR + 60_000);
    let queue = machine.open();
    assert_eq!(block_on(queue.sweep(10)).unwrap().expired.len(), 1);
}
