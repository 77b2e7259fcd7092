//! The thread that writes: takes whatever waits, does it in one transaction with one sync, and answers.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use redb::{Durability, WriteTransaction};
use tok_core::{Uid, queue::QueueError};

use super::{
    change::{Ack, Change, Changed, Done, Limits},
    error::{Failure, unavailable},
    inbox::{Inbox, Taken},
    store::Store,
};

/// One commit's worth.
const GROUP_REQUESTS: usize = 512;
const GROUP_BYTES: usize = 1024 * 1024;

/// Acknowledgements are durable so much later at most, or after so many commits: redb uses the pages that they free
/// again only then.
pub(super) const LAZY_DELAY: Duration = Duration::from_millis(100);
const LAZY_COMMITS: u32 = 64;

/// After a second failure in a row the file is left alone for a while, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Something that a caller waits for.
pub(super) trait Request: Send {
    /// Does it, in a transaction that may fail later.
    fn apply(&mut self, change: &mut Change<'_>) -> Result<(), Failure>;

    /// Tells the caller, after the commit or instead of it.
    fn settle(self: Box<Self>, failure: Option<&Arc<Failure>>);
}

/// A [`Request`] made of a function and the place where its caller waits.
pub(super) struct Call<T, F> {
    work: F,
    result: Option<Result<T, QueueError>>,
    caller: oneshot::Sender<Result<T, QueueError>>,
}

impl<T, F> Call<T, F>
where
    F: FnMut(&mut Change<'_>) -> Done<T>,
{
    pub(super) fn new(work: F) -> (Self, oneshot::Receiver<Result<T, QueueError>>) {
        let (caller, answer) = oneshot::channel();
        (Self { work, result: None, caller }, answer)
    }
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Change<'_>) -> Done<T> + Send,
{
    fn apply(&mut self, change: &mut Change<'_>) -> Result<(), Failure> {
        self.result = Some(match (self.work)(change) {
            Err(failure) if failure.is_of_one_user() => Err(unavailable(&Arc::new(failure))),
            done => done?,
        });
        Ok(())
    }

    fn settle(self: Box<Self>, failure: Option<&Arc<Failure>>) {
        let ended = || Err(unavailable(&Arc::new(Failure::Ended)));
        let result = match failure {
            Some(failure) => Err(unavailable(failure)),
            None => self.result.unwrap_or_else(ended),
        };
        // Whoever does not wait any more does not want to know.
        let _ = self.caller.send(result);
    }
}

pub(super) type Requests = Inbox<Box<dyn Request>>;

pub(super) struct Writer {
    store: Arc<Store>,
    requests: Arc<Requests>,
    limits: Limits,
    lazy: Lazy,
    trouble: Option<Trouble>,
}

/// Acknowledgements that are committed and not durable.
#[derive(Default)]
struct Lazy {
    /// What is done again should the file have to be opened again: whoever was told that a message is acknowledged
    /// does not see it again while this queue is open.
    acks: HashMap<Uid, Ack>,
    commits: u32,
    since: Option<Instant>,
}

/// The last failures, in a row.
struct Trouble {
    failure: Arc<Failure>,
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>, requests: Arc<Requests>, limits: Limits) -> Self {
        Self { store, requests, limits, lazy: Lazy::default(), trouble: None }
    }

    /// Works until the inbox is closed and empty, and closes the file.
    pub(super) fn run(mut self) {
        loop {
            let end = self.lazy.since.map(|since| since + LAZY_DELAY);
            let work = match self.requests.take(GROUP_REQUESTS, GROUP_BYTES, end) {
                Taken::Items(group) => group,
                Taken::Nothing => Vec::new(),
                Taken::Closed => break,
            };
            // A panic, in redb over a damaged file or in a caller's waker, costs this group and not the queue.
            if catch_unwind(AssertUnwindSafe(|| self.group(work))).is_err() {
                self.failed(Failure::Ended);
            }
        }
        let _ = catch_unwind(AssertUnwindSafe(|| self.end()));
    }

    /// Closes the file, which makes durable what is committed. After a failure that has to be done again before.
    pub(super) fn end(&mut self) {
        if !self.lazy.acks.is_empty() {
            let _ = self.begin();
        }
        // The next opening counts from here, and not from the last message.
        let _ = self.store.save_time();
        self.store.close();
    }

    /// Does a group of requests on this thread, without the pause after failures.
    #[cfg(test)]
    pub(super) fn do_now(&mut self, group: Vec<Box<dyn Request>>) {
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at = Instant::now();
        }
        self.group(group);
    }

    /// Does a group of requests; an empty one makes durable what is not.
    fn group(&mut self, mut group: Vec<Box<dyn Request>>) {
        let failure = match &self.trouble {
            Some(trouble) if Instant::now() < trouble.retry_at => Some(Arc::clone(&trouble.failure)),
            _ => self.commit(&mut group).map_err(|failure| self.failed(failure)).err(),
        };
        if failure.is_some() && group.is_empty() {
            // Nobody waits; the next request tries again.
            self.lazy.since = None;
        }
        for request in group {
            request.settle(failure.as_ref());
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Request>]) -> Result<(), Failure> {
        let mut txn = self.begin()?;
        let mut change = Change::begin(&txn, self.limits, self.store.opening())?;
        for request in &mut *group {
            request.apply(&mut change)?;
        }
        let Changed { acked, durable } = change.finish(self.store.time().mark())?;

        let sync = durable || group.is_empty() || self.lazy.commits >= LAZY_COMMITS;
        if !sync && acked.is_empty() {
            txn.abort()?;
            return Ok(());
        }
        txn.set_durability(if sync { Durability::Immediate } else { Durability::None })?;
        txn.commit()?;
        if sync {
            self.lazy = Lazy::default();
        } else {
            self.lazy.acks.extend(acked);
            self.lazy.commits += 1;
            self.lazy.since.get_or_insert_with(Instant::now);
        }
        self.trouble = None;
        Ok(())
    }

    /// Begins a transaction. If the file is closed or has failed, in a read for example, it is opened again: nothing of
    /// the group is done yet.
    fn begin(&mut self) -> Result<WriteTransaction, Failure> {
        if let Ok(txn) = self.store.begin_write() {
            return Ok(txn);
        }
        self.store.reopen().map_err(Failure::Reopen)?;
        if !self.lazy.acks.is_empty() {
            let txn = self.store.begin_write()?;
            let mut change = Change::begin(&txn, self.limits, self.store.opening())?;
            for (uid, ack) in &self.lazy.acks {
                // It was answered once. A later one of the same user may have been done all the same.
                match change.ack(uid, *ack) {
                    Err(failure) if !failure.is_of_one_user() => return Err(failure),
                    _ => {}
                }
            }
            change.finish(self.store.time().mark())?;
            txn.commit()?;
            self.lazy = Lazy::default();
        }
        self.store.begin_write()
    }

    /// Closes the file until the next request, or for a while.
    fn failed(&mut self, failure: Failure) -> Arc<Failure> {
        self.store.close();
        let failure = Arc::new(failure);
        let pause = match &self.trouble {
            None => Duration::ZERO,
            Some(trouble) => (trouble.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        let trouble = Trouble { failure, pause, retry_at: Instant::now() + pause };
        Arc::clone(&self.trouble.insert(trouble).failure)
    }
}
