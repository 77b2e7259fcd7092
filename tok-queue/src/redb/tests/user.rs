//! One user's part of the [`model`](super::model).

use std::collections::BTreeSet;

use tok_core::{
    Uid,
    queue::{Admit, Entry, QueueError, QueueSize, Seq, Stored},
};

use super::{driver::MAX_MESSAGES, model::When};

#[derive(Default)]
pub(super) struct User {
    /// In the order sent.
    pub(super) items: Vec<Item>,
    /// The highest position that anybody was told of.
    pub(super) last_seq: Seq,
    /// The highest epoch of an acknowledgement that succeeded while there are entries, and of any.
    pub(super) fence: u64,
    pub(super) highest_epoch: u64,
}

pub(super) struct Item {
    pub(super) entry: Entry,
    /// Once it was told.
    pub(super) seq: Option<Seq>,
    pub(super) batch: u64,
    pub(super) state: State,
    /// Whether it was there until it may have been acknowledged.
    pub(super) certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Stored, as was answered.
    There,
    /// The answer was that this is unknown: all of its batch is there, or nothing.
    Unsure,
    /// Acknowledged, as was answered: it must not be there until the power fails.
    Acked,
    /// Perhaps gone.
    Perhaps,
}

impl User {
    pub(super) fn enqueued(
        &mut self,
        entries: &[Entry],
        admit: Admit,
        batch: u64,
        result: Result<Stored, QueueError>,
    ) -> bool {
        let count = |counts: fn(State) -> bool| {
            self.items.iter().filter(|item| counts(item.state)).count() as u64 + entries.len() as u64
        };
        let (least, most) = (count(|state| state == State::There), count(|state| state != State::Acked));
        let (seqs, state) = match result {
            Ok(stored) => {
                assert!(admit == Admit::AlreadyAccepted || least <= MAX_MESSAGES, "over the limit");
                assert_eq!(stored.seqs.len(), entries.len());
                (stored.seqs.into_iter().map(Some).collect(), State::There)
            }
            Err(QueueError::Full) => {
                assert!(
                    admit == Admit::WithinLimits && most > MAX_MESSAGES,
                    "{most} messages are not too many"
                );
                return true;
            }
            Err(QueueError::Unavailable(_)) => (vec![None; entries.len()], State::Unsure),
            Err(error) => panic!("enqueue gave {error:?}"),
        };
        for (entry, seq) in entries.iter().zip(seqs) {
            if let Some(seq) = seq {
                assert!(seq > self.last_seq, "{seq:?} follows {:?}", self.last_seq);
                self.last_seq = seq;
            }
            let certain = state == State::There;
            self.items.push(Item { entry: entry.clone(), seq, batch, state, certain });
        }
        state == State::There
    }

    pub(super) fn acked(&mut self, upto: Seq, epoch: u64, result: &Result<QueueSize, QueueError>) -> bool {
        if !self.fenced(epoch, result.as_ref().err()) {
            return true;
        }
        // Those whose position was not told are between others.
        let is_before = |item: &Item| item.seq.is_some_and(|seq| seq <= upto);
        let end = match upto {
            upto if upto == Seq::new(u64::MAX) => self.items.len(),
            _ => self.items.iter().rposition(is_before).map_or(0, |last| last + 1),
        };
        for item in self.items[..end].iter_mut().filter(|item| item.state != State::Acked) {
            item.state = if result.is_ok() { State::Acked } else { State::Perhaps };
        }
        self.forget_the_fence_if_empty();
        result.is_ok()
    }

    pub(super) fn dequeued(&mut self, epoch: u64, result: &Result<Option<Entry>, QueueError>) -> bool {
        match result {
            Ok(Some(entry)) => {
                assert!(self.fenced(epoch, None));
                let index = self.items.iter().position(|item| item.entry == *entry).expect("it was there");
                for older in &self.items[..index] {
                    assert_ne!(older.state, State::There, "the oldest is taken first");
                }
                let taken = self.items.remove(index);
                assert_ne!(taken.state, State::Acked, "{entry:?} was acknowledged and is taken");
                // What may have been before it was not there.
                self.items.drain(..index).for_each(drop);
                self.forget_the_fence_if_empty();
                true
            }
            Ok(None) => {
                assert!(
                    self.items.iter().all(|item| item.state != State::There),
                    "there is something to take"
                );
                true
            }
            Err(error) => {
                if !self.fenced(epoch, Some(error)) {
                    return true;
                }
                // The oldest is the first that is certain to be there, or one that may be before it.
                for item in self.items.iter_mut().filter(|item| item.state != State::Acked) {
                    let is_last = item.state == State::There;
                    item.state = State::Perhaps;
                    if is_last {
                        break;
                    }
                }
                self.forget_the_fence_if_empty();
                false
            }
        }
    }

    /// Checks that the fence was minded, and whether the operation got past it.
    fn fenced(&mut self, epoch: u64, error: Option<&QueueError>) -> bool {
        match error {
            Some(QueueError::Fenced { current }) => {
                assert!(epoch < current.get(), "epoch {epoch} is fenced by {current:?}");
                assert!(current.get() <= self.highest_epoch, "nobody has acknowledged with {current:?}");
                return false;
            }
            Some(QueueError::Unavailable(_)) => {}
            Some(error) => panic!("an acknowledgement gave {error:?}"),
            None => {
                assert!(epoch >= self.fence, "epoch {epoch} passes the fence {}", self.fence);
                self.fence = epoch;
            }
        }
        self.highest_epoch = self.highest_epoch.max(epoch);
        true
    }

    pub(super) fn forget_the_fence_if_empty(&mut self) {
        if self.items.iter().all(|item| item.state != State::There) {
            self.fence = 0;
        }
    }

    pub(super) fn compare(&mut self, uid: &Uid, there: Vec<(Seq, Entry)>, when: When) {
        let mut items = std::mem::take(&mut self.items).into_iter();
        let (mut stored, mut refused) = (BTreeSet::new(), BTreeSet::new());
        let mut previous = None;
        for (seq, entry) in there {
            let item = loop {
                let item = items.next().unwrap_or_else(|| {
                    panic!("{uid}: {entry:?} was never stored, is out of order or comes twice ({when:?})")
                });
                if item.entry == entry {
                    break item;
                }
                self.missing(uid, item, when, previous.is_some(), &mut refused);
            };
            let is_back = item.state == State::Acked && when != When::PowerFailed;
            assert!(!is_back, "{uid}: {entry:?} was acknowledged and is back ({when:?})");
            assert!(item.seq.is_none_or(|told| told == seq), "{uid}: {entry:?} has changed its place");
            assert!(previous < Some(seq), "{uid}: positions rise");
            previous = Some(seq);
            if item.state == State::Unsure {
                stored.insert(item.batch);
            }
            self.last_seq = self.last_seq.max(seq);
            self.items.push(Item { seq: Some(seq), state: State::There, certain: true, ..item });
        }
        for item in items {
            self.missing(uid, item, when, previous.is_some(), &mut refused);
        }
        assert!(stored.is_disjoint(&refused), "{uid}: a part of a batch is stored ({when:?})");
        self.forget_the_fence_if_empty();
    }

    /// An item is not there, and others before it may be.
    fn missing(
        &mut self,
        uid: &Uid,
        item: Item,
        when: When,
        others_before: bool,
        refused: &mut BTreeSet<u64>,
    ) {
        assert_ne!(item.state, State::There, "{uid}: {:?} is lost ({when:?})", item.entry);
        let out_of_order = item.certain && others_before;
        assert!(!out_of_order, "{uid}: {:?} is acknowledged, one before it is not ({when:?})", item.entry);
        match item.state {
            State::Unsure => {
                refused.insert(item.batch);
            }
            // It may come back when the power fails.
            State::Acked if when == When::Open => self.items.push(item),
            _ => {}
        }
    }
}
