//! `MemoryQueue` and the reference answer alike, whatever the operations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Caps, Entry, Limit, QueueError, Seq},
    rt::{Clock, Instant},
    testkit::queue::{ReferenceQueue, block_on},
};
use tok_queue::MemoryQueue;

const MAX_MESSAGES: u64 = 40;
const MAX_BYTES: u64 = 5000;
const USERS: u64 = 5;
const OPERATIONS: u32 = 2000;

/// xorshift64: the same operations at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The two queues.
struct Pair {
    memory: MemoryQueue,
    reference: ReferenceQueue,
    /// The clock of both, in seconds.
    clock: Arc<AtomicU64>,
    users: BTreeMap<Uid, User>,
    last_id: u128,
    /// Which answers there were.
    seen: BTreeSet<&'static str>,
}

#[derive(Default)]
struct User {
    /// How positions of one queue translate to the other's: both rise, by different steps.
    seqs: Vec<(Seq, Seq)>,
    /// The highest epoch used.
    fence: u64,
    /// What that was when the user's queue was last empty. Older ones are not used from then on: the reference
    /// fences them for good, the other does not have to.
    oldest: u64,
}

fn kind<T>(result: &Result<T, QueueError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(QueueError::Full) => "full",
        Err(QueueError::Fenced { .. }) => "fenced",
        Err(_) => "other",
    }
}

impl Pair {
    fn new() -> Self {
        let caps = Caps {
            durable: false,
            shared: false,
            max_messages: MAX_MESSAGES,
            max_bytes: MAX_BYTES,
            max_message: None,
        };
        let memory = MemoryQueue::builder().max_messages(MAX_MESSAGES).max_bytes(MAX_BYTES).build().unwrap();
        let reference = ReferenceQueue::with_caps(caps);
        let clock = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&clock);
        let seconds = move || Duration::from_secs(shown.load(Ordering::SeqCst));
        let provided = Clock::new(move || Instant::default().saturating_add(seconds()));
        memory.use_clock(&provided);
        reference.use_clock(&provided);
        Self {
            memory,
            reference,
            clock,
            users: (0..USERS).map(|user| (Uid::from(user), User::default())).collect(),
            last_id: 0,
            seen: BTreeSet::new(),
        }
    }

    fn assert_alike<T>(&mut self, memory: &Result<T, QueueError>, reference: &Result<T, QueueError>) {
        let answer = kind(memory);
        assert_eq!(answer, kind(reference));
        self.seen.insert(answer);
    }

    /// A position of the user in both: one that was given at some time, or before or after all.
    fn position(&self, uid: &Uid, random: &mut Random) -> (Seq, Seq) {
        let given = &self.users[uid].seqs;
        // Recent ones are more to the point than those long gone.
        let recent = &given[given.len().saturating_sub(60)..];
        match random.below(recent.len() as u64 + 2) {
            0 => (Seq::START, Seq::START),
            1 if random.below(10) == 0 => (Seq::new(u64::MAX), Seq::new(u64::MAX)),
            index => *recent.get(index as usize - 1).or(recent.last()).unwrap_or(&(Seq::START, Seq::START)),
        }
    }

    fn enqueue(&mut self, uid: &Uid, random: &mut Random) {
        let batch: Vec<_> = (0..random.below(9))
            .map(|_| {
                self.last_id += 1;
                Entry {
                    id: MessageId::from_u128(self.last_id),
                    kind: MessageKind::Binary,
                    data: Bytes::from(vec![0; random.below(200) as usize]),
                    ttl: (random.below(3) > 0).then(|| Duration::from_secs(random.below(100))),
                }
            })
            .collect();
        let admit = if random.below(8) == 0 { Admit::AlreadyAccepted } else { Admit::WithinLimits };
        let memory = block_on(self.memory.enqueue(uid, &batch, admit));
        let reference = block_on(self.reference.enqueue(uid, &batch, admit));
        if let (Ok(memory), Ok(reference)) = (&memory, &reference) {
            let seqs = memory.seqs.iter().copied().zip(reference.seqs.iter().copied());
            self.users.get_mut(uid).unwrap().seqs.extend(seqs);
        }
        self.assert_alike(&memory, &reference);
    }

    fn peek(&self, uid: &Uid, random: &mut Random) {
        let (memory, reference) = self.position(uid, random);
        let limit = Limit { messages: random.below(20) as usize, bytes: random.below(3000) as usize };
        let memory = block_on(self.memory.peek(uid, memory, limit)).unwrap();
        let reference = block_on(self.reference.peek(uid, reference, limit)).unwrap();
        assert_eq!(memory.more, reference.more);
        assert_eq!(memory.entries.len(), reference.entries.len());
        for (memory, reference) in memory.entries.iter().zip(&reference.entries) {
            assert_eq!(memory.1, reference.1);
            assert!(self.users[uid].seqs.contains(&(memory.0, reference.0)));
        }
    }

    fn epoch(&mut self, uid: &Uid, random: &mut Random) -> Epoch {
        let user = self.users.get_mut(uid).unwrap();
        let epoch = user.oldest + random.below(3);
        user.fence = user.fence.max(epoch);
        Epoch::new(epoch)
    }

    fn ack(&mut self, uid: &Uid, random: &mut Random) {
        let (memory, reference) = self.position(uid, random);
        let fence = self.epoch(uid, random);
        let memory = block_on(self.memory.ack(uid, memory, fence));
        let reference = block_on(self.reference.ack(uid, reference, fence));
        assert_eq!(memory.as_ref().ok(), reference.as_ref().ok(), "what remains");
        self.assert_alike(&memory, &reference);
    }

    fn dequeue(&mut self, uid: &Uid, random: &mut Random) {
        let fence = self.epoch(uid, random);
        let memory = block_on(self.memory.dequeue(uid, fence));
        let reference = block_on(self.reference.dequeue(uid, fence));
        assert_eq!(memory.as_ref().ok(), reference.as_ref().ok());
        self.assert_alike(&memory, &reference);
    }

    fn sweep(&self) {
        let drain = |queue: &dyn Queue, budget: usize| {
            let mut expired = Vec::new();
            loop {
                let swept = block_on(queue.sweep(budget)).unwrap();
                expired.extend(swept.expired);
                if !swept.more {
                    expired.sort_by_key(|(_, entry)| entry.id);
                    return expired;
                }
            }
        };
        assert_eq!(drain(&self.memory, 3), drain(&self.reference, 1000));
    }

    fn compare(&mut self) {
        let (mut users, mut messages) = (0, 0);
        for (uid, user) in &mut self.users {
            let size = block_on(self.memory.size(uid)).unwrap();
            assert_eq!(size, block_on(self.reference.size(uid)).unwrap());
            let len = size.messages;
            if len == 0 {
                user.oldest = user.fence;
            }
            users += u64::from(len > 0);
            messages += len;
        }
        let usage = self.memory.usage();
        assert_eq!((usage.users, usage.messages), (users, messages));
    }
}

#[test]
fn memory_and_reference_answer_alike() {
    for seed in 1..=50 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut pair = Pair::new();
        for operation in 0..OPERATIONS {
            pair.clock.store(u64::from(operation), Ordering::SeqCst);
            let uid = Uid::from(random.below(USERS));
            // Shown if an assertion fails.
            println!("seed {seed}, operation {operation}, {uid}");
            match random.below(12) {
                0..5 => pair.enqueue(&uid, &mut random),
                5..8 => pair.peek(&uid, &mut random),
                8..10 => pair.ack(&uid, &mut random),
                10 => pair.dequeue(&uid, &mut random),
                _ => pair.sweep(),
            }
            pair.compare();
        }
        assert_eq!(
            pair.seen,
            BTreeSet::from(["fenced", "full", "ok"]),
            "the operations are not varied enough"
        );
    }
}
