//! Runs the writer's work without its thread, a group at a time.

use std::{sync::Arc, time::Duration};

use futures_channel::oneshot;
use tok_core::{
    Epoch, Uid,
    queue::{Admit, Entry, Limit, QueueError, QueueSize, Seq, Stored, Swept},
};

use super::disk::Disk;
use crate::{
    Usage,
    redb::{
        RedbQueue,
        change::Ack,
        error::Cause,
        inbox::Inbox,
        read,
        store::{Options, Store},
        time::{Clocks, Moment, millis},
        writer::{Call, Request, Writer},
    },
};

pub(super) const MAX_MESSAGES: u64 = 30;

pub(super) struct Driver {
    store: Arc<Store>,
    writer: Writer,
}

/// Clocks that stand still. The TTLs of the steps are times from the beginning of all time.
pub(super) fn stopped() -> Clocks {
    Arc::new(Moment::default)
}

/// A request.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(Uid, Vec<Entry>, Admit),
    Ack(Uid, Seq, Epoch),
    Dequeue(Uid, Epoch),
    /// At this many milliseconds.
    Sweep(u64, usize),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Enqueue(Result<Stored, QueueError>),
    Ack(Result<QueueSize, QueueError>),
    Dequeue(Result<Option<Entry>, QueueError>),
    Sweep(Result<Swept, QueueError>),
}

type Answering = Box<dyn FnOnce() -> Answer>;

impl Driver {
    pub(super) fn open(disk: &Arc<Disk>, options: Options) -> Result<Self, Cause> {
        let builder = RedbQueue::builder().max_messages(MAX_MESSAGES).max_bytes(u64::MAX);
        let (limits, _) = builder.max_total_bytes(u64::MAX).check().expect("good limits");
        let store = Arc::new(Store::open(disk.opener(), options, stopped())?);
        let writer = Writer::new(Arc::clone(&store), Arc::new(Inbox::new(1, 1)), limits);
        Ok(Self { store, writer })
    }

    /// Does the steps in one commit.
    pub(super) fn group(&mut self, steps: Vec<Step>) -> Vec<Answer> {
        let (requests, answers): (Vec<_>, Vec<_>) = steps.into_iter().map(request).unzip();
        self.writer.do_now(requests);
        answers.into_iter().map(|answer| answer()).collect()
    }

    /// Makes durable what is not, as the writer does after a while.
    pub(super) fn sync(&mut self) {
        self.writer.do_now(Vec::new());
    }

    /// Ends in order.
    pub(super) fn close(mut self) {
        self.writer.end();
    }

    /// All entries of a user; `None` while the file cannot be read.
    pub(super) fn entries(&self, uid: &Uid) -> Option<Vec<(Seq, Entry)>> {
        let everything = Limit { messages: usize::MAX, bytes: usize::MAX };
        let page =
            self.store.read(|txn| read::page(txn, uid, Seq::START, everything, Duration::ZERO)).ok()?;
        let size = self.store.read(|txn| read::size(txn, uid)).ok()?;
        let bytes = page.entries.iter().map(|(_, entry)| entry.cost() as u64).sum();
        let there = QueueSize { messages: page.entries.len() as u64, bytes };
        assert_eq!(size, there, "{uid}: the head counts what there is");
        Some(page.entries)
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.store.read(read::usage).ok()
    }
}

fn request(step: Step) -> (Box<dyn Request>, Answering) {
    fn answering<T: 'static>(
        mut answer: oneshot::Receiver<Result<T, QueueError>>,
        kind: fn(Result<T, QueueError>) -> Answer,
    ) -> Answering {
        Box::new(move || kind(answer.try_recv().expect("an answer").expect("an answer")))
    }

    match step {
        Step::Enqueue(uid, batch, admit) => {
            let timed = |entry: Entry| (entry.clone(), entry.ttl.map(millis));
            let batch: Vec<_> = batch.into_iter().map(timed).collect();
            let (call, answer) = Call::new(move |change| change.enqueue(&uid, &batch, admit));
            (Box::new(call), answering(answer, Answer::Enqueue))
        }
        Step::Ack(uid, upto, fence) => {
            let (call, answer) = Call::new(move |change| change.ack(&uid, Ack { upto, fence }));
            (Box::new(call), answering(answer, Answer::Ack))
        }
        Step::Dequeue(uid, fence) => {
            let (call, answer) = Call::new(move |change| change.dequeue(&uid, fence, Duration::ZERO));
            (Box::new(call), answering(answer, Answer::Dequeue))
        }
        Step::Sweep(now, budget) => {
            let now = Duration::from_millis(now);
            let (call, answer) = Call::new(move |change| change.sweep(now, budget));
            (Box::new(call), answering(answer, Answer::Sweep))
        }
    }
}
