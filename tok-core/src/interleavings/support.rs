use std::{
    env,
    future::pending,
    sync::{
        Arc,
        // Shuttle's would be one more place to switch.
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use shuttle::{
    Config, FailurePersistence, MaxSteps, Runner,
    future::{JoinHandle, block_on, spawn},
    scheduler::{PctScheduler, RandomScheduler},
};

use crate::{
    Actor, CloseReason, Device, Hub, HubBuilder, Message, Outcome, Session,
    queue::Queue,
    rt::{BoxFuture, Instant, Runtime},
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};

/// The only user.
pub(super) const ALICE: &str = "alice";

/// A TTL, which never runs out.
pub(super) const LONG: std::time::Duration = std::time::Duration::from_secs(3600);

/// Schedules of each of the two kinds.
const SCHEDULES: usize = 1500;

/// Tasks that are preempted at a few places only find what needs many steps in between.
const PREEMPTIONS: usize = 3;

/// Runs a test under many schedules: random ones, and those of tasks with priorities.
pub(super) fn explore<F, Fut>(test: F)
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let wanted = env::var("TOK_SCHEDULES").ok().and_then(|count| count.parse().ok());
    let (count, seed) = (wanted.unwrap_or(SCHEDULES), if wanted.is_some() { shuttle_seed() } else { 1 });
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.failure_persistence = FailurePersistence::Print;
    // That it takes every ordering for the strictest.
    config.silence_warnings = true;
    let test = Arc::new(test);
    let run = |test: &Arc<F>| {
        let test = Arc::clone(test);
        move || block_on(test())
    };
    Runner::new(RandomScheduler::new_from_seed(seed, count), config.clone()).run(run(&test));
    Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, count), config).run(run(&test));
}

fn shuttle_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Shuttle's tasks, and a clock that stands still.
#[derive(Debug, Default)]
struct Turns(AtomicU64);

impl Runtime for Turns {
    fn now(&self) -> Instant {
        Instant::from_nanos(1)
    }

    fn unix_time(&self) -> u64 {
        2_000_000_000_000
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }

    fn spawn(&self, _: &'static str, future: BoxFuture<'static, ()>) {
        drop(spawn(future));
    }
}

/// A hub with a queue in memory that all may look into.
pub(super) fn hub() -> (Hub, Arc<ReferenceQueue>) {
    let queue = Arc::new(ReferenceQueue::new());
    (builder(Echo).queue(Arc::clone(&queue)).build().unwrap(), queue)
}

pub(super) fn builder(actor: impl Actor) -> HubBuilder {
    Hub::builder(actor).runtime(Turns::default())
}

/// Answers each message on its own connection.
pub(super) struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// A connection that logs in in a task of its own, and what its client reads to the end, in another.
pub(super) fn connect(hub: &Hub) -> (JoinHandle<CloseReason>, JoinHandle<Vec<String>>) {
    connect_as(hub, ALICE)
}

pub(super) fn connect_as(hub: &Hub, uid: &str) -> (JoinHandle<CloseReason>, JoinHandle<Vec<String>>) {
    let (transport, peer) = memory_pair(1 << 16, true);
    (spawn(hub.serve(Device::new(uid), transport)), spawn(read(peer, None)))
}

/// Reads up to and including `last`, or to the end, and closes; its stack answers what it is asked.
pub(super) async fn read(mut peer: MemoryPeer, last: Option<&'static str>) -> Vec<String> {
    let mut all = Vec::new();
    while let Read::Message(message) = peer.recv().await {
        let text = message.as_text().unwrap();
        all.push(text.to_owned());
        if last == Some(text) {
            break;
        }
    }
    peer.close();
    all
}

/// A kept message, until a client has confirmed it.
pub(super) async fn keep(hub: &Hub, text: impl Into<Message>) {
    let receipt = hub.send(ALICE, text).ttl(LONG).await.unwrap();
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

/// A kept message that need not be confirmed.
pub(super) async fn post(hub: &Hub, text: impl Into<Message>) {
    drop(hub.send(ALICE, text).ttl(LONG).await.unwrap());
}

pub(super) fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Waits until nothing of the hub's is under way, and checks that nothing is left.
pub(super) async fn end(hub: &Hub, queue: &ReferenceQueue, kept: u64) {
    let report = hub.shutdown(LONG).await;
    assert_eq!((report.forced, report.unstored), (0, 0));
    assert_eq!(queue.size(&ALICE.into()).await.unwrap().messages, kept);
    let stats = hub.stats();
    assert_eq!((stats.sessions, stats.users_online, stats.memory_bytes), (0, 0, 0), "{stats:?}");
}
