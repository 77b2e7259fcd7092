//! Folders that end with their test, and entries.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tok_core::{
    Epoch, MessageId, MessageKind, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
    testkit::queue::block_on,
};
use tok_queue::{RedbQueue, RedbQueueBuilder};

/// No test takes so long.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) const EPOCH: Epoch = Epoch::new(1);

/// A folder of a test's own, removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tok-queue-{}-{number}", process::id()));
        // What an earlier process of the same id left.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
            _ => {}
        }
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("queue.redb")
    }

    pub(crate) fn open(&self) -> RedbQueue {
        RedbQueue::builder().open(self.file()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A queue whose file has no name any more, where the system allows that, and ends with it.
pub(crate) fn temporary(builder: RedbQueueBuilder) -> RedbQueue {
    builder.open(Folder::new().file()).unwrap()
}

pub(crate) fn entry(id: u128, ttl: Option<Duration>) -> Entry {
    let data = Bytes::from(format!("message {id}"));
    Entry { id: MessageId::from_u128(id), kind: MessageKind::Text, data, ttl }
}

pub(crate) fn enqueue(queue: &dyn Queue, uid: &Uid, batch: &[Entry]) -> Result<Vec<Seq>, QueueError> {
    block_on(queue.enqueue(uid, batch, Admit::WithinLimits)).map(|stored| stored.seqs)
}

/// All entries of a user.
pub(crate) fn read(queue: &dyn Queue, uid: &Uid) -> Vec<(Seq, Entry)> {
    let everything = Limit { messages: usize::MAX, bytes: usize::MAX };
    block_on(queue.peek(uid, Seq::START, everything)).unwrap().entries
}

/// Entries without what time has done to their TTLs.
pub(crate) fn untimed(entries: impl IntoIterator<Item = (Seq, Entry)>) -> Vec<(Seq, Entry)> {
    let untimed = |(seq, entry): (Seq, Entry)| (seq, Entry { ttl: None, ..entry });
    entries.into_iter().map(untimed).collect()
}
