use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tok_core::Uid;
use tokio::sync::oneshot;

/// The receipts that are awaited, by the sender of their messages.
///
/// At a limit the oldest receipt gives way: that of the sender at the sender's own limit, and that of the sender who has
/// most at the limit for all. A sender who writes to absent users takes no second tick from others.
#[derive(Clone, Debug)]
pub(super) struct Receipts {
    open: Arc<Mutex<Open>>,
    max: usize,
    max_per_sender: usize,
}

#[derive(Debug, Default)]
struct Open {
    /// The oldest first. Senders without an open receipt are not in it.
    senders: HashMap<Uid, VecDeque<Entry>>,
    count: usize,
    last_number: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Dropped when the receipt gives way.
    _place: oneshot::Sender<()>,
}

/// One awaited receipt. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    receipts: Receipts,
    sender: Uid,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl Receipts {
    pub(super) fn new(max: usize, max_per_sender: usize) -> Self {
        Self { open: Arc::default(), max, max_per_sender }
    }

    /// A place for one more receipt of `sender`.
    pub(super) fn enter(&self, sender: &Uid) -> Place {
        let (place, taken) = oneshot::channel();
        let mut open = self.lock();
        let displaced = if open.of(sender) >= self.max_per_sender {
            open.pop_oldest(sender)
        } else if open.count >= self.max {
            open.largest_sender().and_then(|sender| open.pop_oldest(&sender))
        } else {
            None
        };
        open.last_number += 1;
        open.count += 1;
        let number = open.last_number;
        open.senders.entry(sender.clone()).or_default().push_back(Entry { number, _place: place });
        drop(open);
        // Outside of the lock, because it wakes the task that waits.
        drop(displaced);
        Place { receipts: self.clone(), sender: sender.clone(), number, taken }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing panics under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn of(&self, sender: &Uid) -> usize {
        self.senders.get(sender).map_or(0, VecDeque::len)
    }

    /// The sender with most receipts; of several the one with the oldest.
    fn largest_sender(&self) -> Option<Uid> {
        let rank =
            |entries: &VecDeque<Entry>| (entries.len(), Reverse(entries.front().map(|entry| entry.number)));
        self.senders.iter().max_by_key(|(_, entries)| rank(entries)).map(|(sender, _)| sender.clone())
    }

    fn pop_oldest(&mut self, sender: &Uid) -> Option<Entry> {
        self.remove(sender, |_| Some(0))
    }

    fn remove(
        &mut self,
        sender: &Uid,
        find: impl FnOnce(&VecDeque<Entry>) -> Option<usize>,
    ) -> Option<Entry> {
        let entries = self.senders.get_mut(sender)?;
        let entry = find(entries).and_then(|index| entries.remove(index))?;
        self.count -= 1;
        if entries.is_empty() {
            self.senders.remove(sender);
        }
        Some(entry)
    }
}

impl Place {
    /// Waits until the place goes to a newer receipt.
    pub(super) async fn is_taken(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = (&mut self.taken).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = self.number;
        let mut open = self.receipts.lock();
        // Numbers rise. There is no such entry if the place was taken.
        let entry =
            open.remove(&self.sender, |entries| entries.binary_search_by_key(&number, |e| e.number).ok());
        drop(open);
        drop(entry);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_taken(place: &mut Place) -> bool {
        place.is_taken().now_or_never().is_some()
    }

    #[test]
    fn at_its_own_limit_a_sender_gives_up_its_oldest() {
        let receipts = Receipts::new(10, 2);
        let alice = Uid::from("alice");
        let mut places: Vec<Place> = (0..3).map(|_| receipts.enter(&alice)).collect();
        let taken: Vec<bool> = places.iter_mut().map(is_taken).collect();
        assert_eq!(taken, [true, false, false]);
        drop(places.remove(0));
        assert_eq!(receipts.lock().count, 2, "a place that was taken counts once");
    }

    #[test]
    fn at_the_limit_for_all_the_sender_with_most_gives_way() {
        let receipts = Receipts::new(5, 4);
        let mut many: Vec<Place> = (0..4).map(|_| receipts.enter(&Uid::from("many"))).collect();
        let mut few: Vec<Place> =
            (0..3).map(|index| receipts.enter(&Uid::from(format!("few{index}")))).collect();
        assert_eq!(many.iter_mut().map(is_taken).collect::<Vec<_>>(), [true, true, false, false]);
        assert!(!few.iter_mut().any(is_taken));
        assert_eq!(receipts.lock().count, 5);
    }

    #[test]
    fn a_sender_keeps_its_limit_however_many_others_come_and_go() {
        let receipts = Receipts::new(1000, 2);
        let alice = Uid::from("alice");
        let _kept = [receipts.enter(&alice), receipts.enter(&alice)];
        for index in 0..10_000 {
            drop(receipts.enter(&Uid::from(format!("user{index}"))));
        }
        let _more = receipts.enter(&alice);
        let open = receipts.lock();
        assert_eq!((open.count, open.senders.len(), open.of(&alice)), (2, 1, 2));
    }
}
