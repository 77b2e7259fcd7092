//! How long it takes to open a file with a million messages.

use std::{fs, path::Path, sync::Arc, time::Instant};

use tok_core::{Queue, queue::Admit};
use tok_queue::{RedbQueue, RedbQueueBuilder};

use crate::{
    engines::folder::Folder,
    measure::{entry, user},
};

const MESSAGES: u64 = 1_000_000;

fn builder() -> RedbQueueBuilder {
    RedbQueue::builder().max_messages(u64::MAX).max_total_bytes(u64::MAX)
}

pub(crate) async fn a_million_messages() {
    println!("redb: a file with {MESSAGES} messages");
    for fast_recovery in [false, true] {
        let folder = Folder::new();
        let (path, killed) = (folder.file("queue.redb"), folder.file("killed.redb"));
        let queue = Arc::new(builder().fast_recovery(fast_recovery).open(&path).expect("a queue"));
        fill(&queue).await;
        // The file of a queue that is open is what a kill at this moment leaves.
        fs::copy(&path, &killed).expect("a copy");
        // Else the first sync of whoever opens it would wait for the copy.
        fs::File::open(&killed).and_then(|file| file.sync_all()).expect("a sync");
        drop(queue);
        let recovery = if fast_recovery { "with fast recovery" } else { "after a kill" };
        if !fast_recovery {
            open("after an orderly end", &path);
        }
        open(recovery, &killed);
    }
}

async fn fill(queue: &Arc<RedbQueue>) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let queue = Arc::clone(queue);
            tokio::spawn(async move {
                // Whole batches, as a hub stores what came while it stored.
                for batch in 0..MESSAGES / 64 / 25 {
                    let first = task * (MESSAGES / 64) + batch * 25;
                    let entries: Vec<_> = (first..first + 25).map(entry).collect();
                    queue.enqueue(&user(first), &entries, Admit::WithinLimits).await.expect("enqueue");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    let messages = queue.usage().await.expect("usage").messages;
    println!("  {messages} messages stored in batches of 25 by 64 writers: {:.1?}", start.elapsed());
}

fn open(name: &str, path: &Path) {
    let size = fs::metadata(path).expect("a file").len() >> 20;
    let start = Instant::now();
    let queue = builder().open(path).expect("a queue");
    println!("  opened {name} ({size} MiB): {:.2?}", start.elapsed());
    drop(queue);
}
