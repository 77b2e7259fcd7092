//! The disk fails or is full, and works again: callers are told, and the queue goes on.

use std::time::Duration;

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
    testkit::{queue::block_on, sim::Rng},
};

use super::{
    disk::{Disk, Trouble},
    driver::{Driver, stopped},
    model::{Model, When},
    power_cut::{options, sweep_everything},
    seeds,
};
use crate::redb::RedbQueue;

#[test]
fn what_was_answered_for_survives_errors_and_the_queue_goes_on() {
    seeds("what_was_answered_for_survives_errors_and_the_queue_goes_on", |seed| {
        let mut rng = Rng::new(seed);
        let options = options(&mut rng);
        let disk = Disk::new(rng.next());
        let mut model = Model::new(rng.next());
        let mut driver = Driver::open(&disk, options).expect("a new file");
        for _ in 0..3 {
            disk.set(match rng.below(3) {
                0 => Trouble::Errors { after: rng.below(60), count: 1 },
                1 => Trouble::Errors { after: rng.below(60), count: rng.below(20) },
                _ => Trouble::Full { blocks: rng.below(40) as usize },
            });
            for _ in 0..rng.below(16) {
                let steps = model.steps();
                let answers = driver.group(steps.clone());
                model.take(&steps, answers);
            }
            // Sometimes the power fails on top.
            if rng.below(3) == 0 {
                drop(driver);
                disk.power_cycle();
                driver = Driver::open(&disk, options).expect("the file opens");
                model.compare(&driver, When::PowerFailed);
                continue;
            }
            disk.set(Trouble::Nothing);
            driver.sync();
            model.compare(&driver, When::Open);
            let (steps, failed) = (model.steps(), model.failed);
            let answers = driver.group(steps.clone());
            model.take(&steps, answers);
            assert_eq!(model.failed, failed, "the disk works, and so must the queue");
        }
        driver.close();
        let driver = Driver::open(&disk, options).expect("the file opens");
        model.compare(&driver, When::Ended);
        driver.close();
        sweep_everything(&disk, options, &model);
        model.done
    });
}

fn entry(id: u128) -> Entry {
    let data = Bytes::from(vec![b'x'; 5000]);
    Entry { id: MessageId::from_u128(id), kind: MessageKind::Binary, data, ttl: Some(Duration::ZERO) }
}

/// A queue with its threads on a disk of ours.
fn queue(disk: &std::sync::Arc<Disk>) -> RedbQueue {
    let (limits, options) = RedbQueue::builder().cache_bytes(1 << 14).check().expect("good limits");
    RedbQueue::start(disk.opener(), limits, options, stopped()).expect("the file opens")
}

/// Does it until it succeeds, which it must soon.
fn until_ok<T>(mut operation: impl FnMut() -> Result<T, QueueError>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match operation() {
            Ok(done) => return done,
            Err(error) => assert!(std::time::Instant::now() < end, "it fails for long: {error:?}"),
        }
    }
}

#[test]
fn a_full_disk_is_told_with_its_cause_and_the_queue_recovers() {
    let disk = Disk::new(1);
    let queue = queue(&disk);
    let uid = Uid::from("alice");
    let enqueue = |id| block_on(queue.enqueue(&uid, &[entry(id)], Admit::AlreadyAccepted));
    let first = enqueue(0).expect("room").seqs[0];

    disk.set(Trouble::Full { blocks: 4 });
    let (mut stored, mut id) = (1, 0);
    let error = loop {
        id += 1;
        assert!(id < 1000, "the disk is full");
        match enqueue(id) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    let QueueError::Unavailable(cause) = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("no storage space"), "{cause}");

    // What is there is read, and can be acknowledged, all the while.
    let everything = Limit { messages: usize::MAX, bytes: usize::MAX };
    let page = until_ok(|| block_on(queue.peek(&uid, Seq::START, everything)));
    assert_eq!(page.entries.len(), stored);
    assert!(enqueue(1000).is_err());

    disk.set(Trouble::Nothing);
    until_ok(|| enqueue(1001));
    until_ok(|| block_on(queue.ack(&uid, first, Epoch::new(1))));
    let page = until_ok(|| block_on(queue.peek(&uid, first, everything)));
    assert_eq!(page.entries.len(), stored);
    assert_eq!(page.entries.last().map(|(_, entry)| entry.id), Some(MessageId::from_u128(1001)));
}

#[test]
fn a_read_that_fails_is_read_again_from_the_file_opened_anew() {
    let disk = Disk::new(2);
    let queue = queue(&disk);
    let users: Vec<_> = (0..100_u32).map(Uid::from).collect();
    for (id, uid) in (0..).zip(&users) {
        block_on(queue.enqueue(uid, &[entry(id)], Admit::WithinLimits)).expect("room");
    }
    for uid in &users {
        // Once, whatever the next operation is; most of what is read is not in the cache.
        disk.set(Trouble::Errors { after: 0, count: 1 });
        let page = block_on(queue.peek(uid, Seq::START, Limit::default())).expect("one error is got over");
        assert_eq!(page.entries.len(), 1);
    }
    // Until told otherwise.
    disk.set(Trouble::Errors { after: 0, count: u64::MAX });
    let errors = users.iter().map(|uid| block_on(queue.peek(uid, Seq::START, Limit::default())));
    let error = errors.filter_map(Result::err).next().expect("an error");
    assert!(matches!(error, QueueError::Unavailable(_)), "{error:?}");
    disk.set(Trouble::Nothing);
    for uid in &users {
        assert_eq!(until_ok(|| block_on(queue.size(uid))).messages, 1);
    }
    assert_eq!(until_ok(|| block_on(queue.sweep(1000))).expired.len(), users.len());
    assert_eq!(block_on(queue.usage()).expect("it works"), crate::Usage::default());
}
