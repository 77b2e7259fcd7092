mod builder;
mod change;
mod error;
mod inbox;
mod read;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod writer;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_channel::oneshot;
use redb::ReadTransaction;
use tok_core::{
    Epoch, Queue, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Clock,
};

pub use self::{builder::RedbQueueBuilder, error::OpenError};
use self::{
    change::{Ack, Change, Done, Limits},
    error::{Cause, Failure, unavailable},
    inbox::{Inbox, Taken},
    store::{Opener, Options, Store},
    time::Clocks,
    writer::{Call, Requests, Writer},
};
use crate::{
    Usage, record,
    sync::thread::{self, JoinHandle},
};

/// Requests that wait for the writer, and the bytes of their messages. Whoever comes then waits for room.
const WAITING_REQUESTS: usize = 1024;
const WAITING_BYTES: usize = 4 << 20;

/// Threads that read, and what may wait for them.
const READERS: usize = 2;
const WAITING_READS: usize = 1024;

/// The largest message: what redb takes for a value.
const MAX_MESSAGE: usize = (3 << 30) - record::HEADER;

/// What one transaction of a sweep removes, so that others get their turn.
const SWEEP_AT_ONCE: usize = 256;

/// Keeps messages in one file, with [redb](https://docs.rs/redb): they survive the end of the process and of the
/// machine. No server, any runtime.
///
/// # What is durable when
/// An [`enqueue`](Queue::enqueue) returns when its batch is written and the disk has said that it is (`fdatasync`): a
/// crash or a power failure afterwards loses none of it, and one before leaves all of it or nothing. One thread
/// writes. It takes whatever waits, up to 512 requests or 1 MiB, commits that with a single sync and answers all, so
/// callers at the same time share the cost of one.
///
/// An acknowledgement alone does not wait for the disk: it is durable with the next commit, 100 ms later at most, or
/// when the queue is dropped. A crash in between brings back messages that were acknowledged, and loses none.
///
/// # Threads
/// No operation reads or writes the file on the caller's thread, because that can wait for a disk: there is one thread
/// that writes and there are two that read. They have bounded queues; who finds them full waits, as a task. Dropping the
/// queue does what still waits, makes everything durable, closes the file and ends the threads; it blocks meanwhile,
/// for a few commits' time.
///
/// # Limits and room
/// Limits count [`Entry::cost`], as all queues do. A user without messages takes no room. Room that messages leave is
/// used for new ones; the file itself shrinks when the queue is dropped, by what is free at its end, and as far as it
/// can with [`compact`](RedbQueueBuilder::compact).
///
/// A message has at most 3 GiB less 27 bytes ([`Caps::max_message`]).
///
/// # Time
/// While the queue lives, TTLs are measured on the monotonic clock of the hub's runtime ([`use_clock`](Queue::use_clock)),
/// or of the machine if there is no hub. A change of the wall clock has no effect.
///
/// When the file is opened again the time in between counts. On Linux, if the machine has not booted since, it is measured
/// on the clock that runs also while the machine sleeps (`CLOCK_BOOTTIME`). After a boot, and on other systems, it is the
/// difference of the wall clock, or nothing if that has gone back. A wall clock that is wrong when the file is opened after
/// a boot can therefore expire messages early, or keep them longer: start the process after the clock is set.
///
/// # Fences
/// The epoch of the last acknowledgement is kept beside the user's messages, and forgotten with the last of them or when
/// the file is opened anew. Nothing is lost by that: one process has the file, and an acknowledgement that is late has
/// ended with the process that sent it. A session of the same process that lost its place can acknowledge only what it
/// read while it had it; what is stored later has a higher position. (Epochs begin with the clock at the start of a
/// process. Were they compared across openings, a clock that was set back would have every acknowledgement refused.)
///
/// # Errors
/// A full disk or an error of the disk is [`QueueError::Unavailable`] with its cause, for everybody whose request was in
/// the same commit; whether that is stored is unknown, but never in part. The next request opens the file again. While
/// failures go on it is tried after pauses of 10 ms to 1 s, and requests in a pause get the last error at once.
///
/// A uid that [`Uid::check`] refuses cannot be stored for, and has no messages.
///
/// ```
/// use tok_core::Queue;
/// use tok_queue::RedbQueue;
///
/// # let folder = std::env::temp_dir().join(format!("tok-queue-doc-queue-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("queue.redb");
/// let queue = RedbQueue::builder().open(&path)?;
/// assert!(queue.caps().durable);
/// // One file is one queue.
/// assert!(RedbQueue::builder().open(&path).is_err());
/// # drop(queue);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedbQueue {
    limits: Limits,
    store: Arc<Store>,
    writes: Arc<Requests>,
    reads: Arc<Inbox<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// What a reader does.
type Job = Box<dyn FnOnce(&Store) + Send>;

impl RedbQueue {
    /// Sets limits.
    pub fn builder() -> RedbQueueBuilder {
        RedbQueueBuilder::default()
    }

    fn start(opener: Opener, limits: Limits, options: Options, clocks: Clocks) -> Result<Self, Cause> {
        let store = Arc::new(Store::open(opener, options, clocks)?);
        let writes = Arc::new(Inbox::new(WAITING_REQUESTS, WAITING_BYTES));
        let reads = Arc::new(Inbox::new(WAITING_READS, usize::MAX));
        // Dropped, it ends the threads that there are.
        let mut queue = Self { limits, store, writes, reads, threads: Vec::new() };
        let writer = Writer::new(Arc::clone(&queue.store), Arc::clone(&queue.writes), limits);
        queue.spawn("tok-queue write", move || writer.run())?;
        for _ in 0..READERS {
            let (store, reads) = (Arc::clone(&queue.store), Arc::clone(&queue.reads));
            queue.spawn("tok-queue read", move || run_reader(&store, &reads))?;
        }
        Ok(queue)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }

    /// What it holds now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if the file cannot be read.
    pub async fn usage(&self) -> Result<Usage, QueueError> {
        self.read(read::usage).await
    }

    /// Has the writer do something. `bytes` is what waits with it.
    async fn write<T, F>(&self, bytes: usize, work: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnMut(&mut Change<'_>) -> Done<T> + Send + 'static,
    {
        let (call, answer) = Call::new(work);
        self.writes.send(Box::new(call), bytes).await.map_err(|inbox::Closed| ended())?;
        answer.await.unwrap_or_else(|oneshot::Canceled| Err(ended()))
    }

    /// Has a reader read. If the file has failed the writer opens it again, and it is read once more.
    async fn read<T, F>(&self, read: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: Fn(&ReadTransaction) -> Result<T, Failure> + Clone + Send + 'static,
    {
        match self.try_read(read.clone()).await {
            Ok(Err(failure)) if !failure.is_of_one_user() => {
                self.write(0, |_| Ok(Ok(()))).await?;
                self.try_read(read).await?
            }
            result => result?,
        }
        .map_err(|failure| unavailable(&Arc::new(failure)))
    }

    async fn try_read<T, F>(&self, read: F) -> Result<Result<T, Failure>, QueueError>
    where
        T: Send + 'static,
        F: Fn(&ReadTransaction) -> Result<T, Failure> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            let _ = caller.send(store.read(read));
        });
        self.reads.send(job, 0).await.map_err(|inbox::Closed| ended())?;
        answer.await.map_err(|oneshot::Canceled| ended())
    }
}

fn ended() -> QueueError {
    unavailable(&Arc::new(Failure::Ended))
}

fn run_reader(store: &Store, jobs: &Inbox<Job>) {
    while let Taken::Items(batch) = jobs.take(1, usize::MAX, None) {
        for job in batch {
            // A panic, in redb over a damaged file or in a caller's waker, costs this read and not the thread.
            let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
        }
    }
}

#[async_trait]
impl Queue for RedbQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        if batch.is_empty() {
            return Ok(Stored { seqs: Vec::new() });
        }
        let largest = batch.iter().map(|entry| entry.data.len()).max().unwrap_or(0);
        if largest > MAX_MESSAGE {
            return Err(QueueError::TooBig { bytes: largest, limit: MAX_MESSAGE });
        }
        let bytes = batch.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.cost()));
        let time = self.store.time();
        let timed = |entry: &Entry| (entry.clone(), entry.ttl.map(|ttl| time.deadline(ttl)));
        let (uid, batch) = (uid.clone(), batch.iter().map(timed).collect::<Vec<_>>());
        self.write(bytes, move |change| change.enqueue(&uid, &batch, admit)).await
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        let (uid, store) = (uid.clone(), Arc::clone(&self.store));
        self.read(move |txn| read::page(txn, &uid, after, limit, store.time().now())).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        let uid = uid.clone();
        self.write(0, move |change| change.ack(&uid, Ack { upto, fence })).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        let uid = uid.clone();
        self.read(move |txn| read::size(txn, &uid)).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        let now = self.store.time().now();
        let mut swept = Swept::default();
        // Most sweeps find nothing, and need no transaction that writes.
        while self.read(move |txn| read::is_due(txn, now)).await? {
            let part = (budget - swept.expired.len()).min(SWEEP_AT_ONCE);
            let result = self.write(0, move |change| change.sweep(now, part)).await;
            let Swept { expired, more } = match result {
                Ok(swept) => swept,
                Err(error) if swept.expired.is_empty() => return Err(error),
                // Those that are removed must be told of.
                Err(_) => Swept { expired: Vec::new(), more: true },
            };
            swept.more = more;
            let is_last = expired.is_empty() || !more;
            swept.expired.extend(expired);
            if is_last || swept.expired.len() >= budget {
                break;
            }
        }
        Ok(swept)
    }

    fn caps(&self) -> Caps {
        Caps {
            durable: true,
            shared: false,
            max_messages: self.limits.max_messages,
            max_bytes: self.limits.max_bytes,
            max_message: Some(MAX_MESSAGE),
        }
    }

    fn use_clock(&self, clock: &Clock) {
        self.store.time().provide(clock);
    }

    /// As provided by the trait, in one step: callers at the same time never get the same entry. What it gives is
    /// durably gone.
    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        let (uid, now) = (uid.clone(), self.store.time().now());
        self.write(0, move |change| change.dequeue(&uid, fence, now)).await
    }
}

impl Drop for RedbQueue {
    fn drop(&mut self) {
        self.reads.close();
        self.writes.close();
        for thread in self.threads.drain(..) {
            // The last handle can be dropped by a caller's waker, which threads of the queue call.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for RedbQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbQueue").field("limits", &self.limits).finish_non_exhaustive()
    }
}
