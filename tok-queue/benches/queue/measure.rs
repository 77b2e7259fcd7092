//! What is done to each queue, and for how long.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, Seq},
};

use crate::engines::{Engine, Made, folder::Folder};

const MESSAGE_BYTES: usize = 300;
const USERS: u64 = 100_000;
const TIME: Duration = Duration::from_secs(2);

pub(crate) fn entry(id: u64) -> Entry {
    Entry {
        id: MessageId::from_u128(u128::from(id) + 1),
        kind: MessageKind::Binary,
        data: Bytes::from(vec![b'x'; MESSAGE_BYTES]),
        // A week, as chat messages have it.
        ttl: Some(Duration::from_secs(7 * 24 * 60 * 60)),
    }
}

/// Users in an order that spreads over the file: a multiplicative hash of a counter.
pub(crate) fn user(number: u64) -> Uid {
    Uid::from(format!("user-{:06}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS))
}

/// How long a sync of 4 KiB takes where the files are: what one commit alone costs at least.
pub(crate) fn disk() {
    let folder = Folder::new();
    let mut file = File::create(folder.file("sync")).expect("a file");
    let mut times: Vec<_> = (0..500)
        .map(|_| {
            file.write_all(&[1; 4096]).expect("room");
            let start = Instant::now();
            file.sync_data().expect("a sync");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("fdatasync of 4 KiB here: median {:.2?}, 99th {:.2?}\n", times[250], times[495]);
}

pub(crate) async fn engine(engine: &Engine) {
    println!("{}: {MESSAGE_BYTES}-byte messages with a TTL to {USERS} users", engine.name);
    for writers in [1, 16, 128] {
        let made = (engine.make)().await;
        let next = Arc::new(AtomicU64::new(0));
        rate(&format!("enqueue, {writers:3} writers"), writers, &made, move |queue| {
            let next = Arc::clone(&next);
            async move {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let stored = queue.enqueue(&user(number), &[entry(number)], Admit::WithinLimits).await;
                stored.expect("enqueue");
            }
        })
        .await;
        if writers == 128 {
            read_and_ack(&made).await;
        }
    }
    println!();
}

/// What was enqueued is read and acknowledged by 16 tasks.
async fn read_and_ack(made: &Made) {
    for (name, ack) in [("peek,     16 readers", false), ("ack,      16 callers", true)] {
        let next = Arc::new(AtomicU64::new(0));
        rate(name, 16, made, move |queue| {
            let next = Arc::clone(&next);
            async move {
                let uid = user(next.fetch_add(1, Ordering::Relaxed));
                if ack {
                    queue.ack(&uid, Seq::new(u64::MAX), Epoch::new(1)).await.expect("ack");
                } else {
                    queue.peek(&uid, Seq::START, Limit::default()).await.expect("peek");
                }
            }
        })
        .await;
    }
}

/// Has tasks do something again and again for a while.
async fn rate<F, R>(name: &str, tasks: usize, made: &Made, work: F)
where
    F: Fn(Arc<dyn Queue>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (queue, stop, work) = (Arc::clone(&made.queue), Arc::clone(&stop), work.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    work(Arc::clone(&queue)).await;
                    times.push(start.elapsed());
                    // Where nothing ever waits the others have to get their turn, too.
                    tokio::task::consume_budget().await;
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task"));
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("  {name}: {rate:9.0} a second; median {:8.1?}, 99th {:8.1?}", at(50), at(99));
}
