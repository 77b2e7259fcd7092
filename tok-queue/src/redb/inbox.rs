//! Where requests wait for the threads that work on the file: bounded in number and in bytes. Senders are tasks, which
//! wait for room without blocking their executor; receivers are threads.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A bounded channel from tasks to threads.
///
/// Whoever comes while there is room gets it, whether others wait or not: a task that was woken and is not polled must
/// not hold up the rest. Those that wait are woken oldest first, as many as there may be room for.
pub(super) struct Inbox<T> {
    max_items: usize,
    max_bytes: usize,
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    /// What waits, with its bytes.
    items: VecDeque<(usize, T)>,
    bytes: usize,
    closed: bool,
    /// Senders without room.
    senders: VecDeque<(u64, Waker)>,
    next_sender: u64,
}

/// What a receiver got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    /// At least one item, in the order sent.
    Items(Vec<T>),
    /// None came in time.
    Nothing,
    /// None will come any more.
    Closed,
}

/// The inbox takes no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl<T> Inbox<T> {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            closed: false,
            senders: VecDeque::new(),
            next_sender: 0,
        };
        Self { max_items, max_bytes, state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Waits for room and puts an item there. One that has more bytes than the bound waits for an empty inbox.
    pub(super) fn send(&self, item: T, bytes: usize) -> Send<'_, T> {
        Send { inbox: self, item: Some(item), bytes, place: None }
    }

    /// Takes what waits, up to a number and a sum of bytes but at least one item, and waits for the first until `end`.
    pub(super) fn take(&self, max_items: usize, max_bytes: usize, end: Option<Instant>) -> Taken<T> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state = match end {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Nothing;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let mut taken = Vec::new();
        let mut bytes: usize = 0;
        while taken.len() < max_items {
            let Some((next, _)) = state.items.front() else { break };
            if !taken.is_empty() && bytes.saturating_add(*next) > max_bytes {
                break;
            }
            bytes += next;
            taken.extend(state.items.pop_front().map(|(_, item)| item));
        }
        state.bytes -= bytes;
        let room = self.max_items - state.items.len();
        let woken: Vec<Waker> = {
            let woken = room.min(state.senders.len());
            state.senders.drain(..woken).map(|(_, waker)| waker).collect()
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Taken::Items(taken)
    }

    /// Refuses new items. Receivers still get those that wait.
    pub(super) fn close(&self) {
        let senders = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.senders)
        };
        self.arrived.notify_all();
        senders.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future of [`Inbox::send`]. Dropped before its end it has sent nothing.
#[must_use]
pub(super) struct Send<'a, T> {
    inbox: &'a Inbox<T>,
    item: Option<T>,
    bytes: usize,
    /// Its place among those who wait, if it had to.
    place: Option<u64>,
}

impl<T> Unpin for Send<'_, T> {}

impl<T> Future for Send<'_, T> {
    type Output = Result<(), Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.inbox.lock();
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        let fits = state.items.len() < this.inbox.max_items
            && (state.items.is_empty() || this.bytes <= this.inbox.max_bytes.saturating_sub(state.bytes));
        if fits {
            if let Some(item) = this.item.take() {
                state.bytes += this.bytes;
                state.items.push_back((this.bytes, item));
            }
            state.leave(&mut this.place);
            drop(state);
            this.inbox.arrived.notify_one();
            return Poll::Ready(Ok(()));
        }
        let place = *this.place.get_or_insert_with(|| {
            state.next_sender += 1;
            state.next_sender
        });
        match state.senders.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => state.senders[index].1.clone_from(cx.waker()),
            // Woken in vain it keeps its place in the line.
            Err(index) => state.senders.insert(index, (place, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl<T> Drop for Send<'_, T> {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        let next = {
            let mut state = self.inbox.lock();
            // It may have been woken for room that it leaves unused.
            if state.leave(&mut self.place) { None } else { state.senders.pop_front() }
        };
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

impl<T> State<T> {
    /// Gives up a place in the line; whether it was still there.
    fn leave(&mut self, place: &mut Option<u64>) -> bool {
        let Some(place) = place.take() else { return false };
        let found = self.senders.binary_search_by_key(&place, |(place, _)| *place);
        found.map(|index| self.senders.remove(index)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
        thread,
        time::Duration,
    };

    use tok_core::testkit::queue::block_on;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn poll<T>(send: &mut Send<'_, T>, wakes: &Arc<Wakes>) -> Poll<Result<(), Closed>> {
        Pin::new(send).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
    }

    #[test]
    fn items_come_in_order_within_the_bounds_of_a_take() {
        let inbox = Inbox::new(10, 100);
        for item in 0..6 {
            block_on(inbox.send(item, 10)).unwrap();
        }
        assert_eq!(inbox.take(2, 100, None), Taken::Items(vec![0, 1]));
        assert_eq!(inbox.take(9, 25, None), Taken::Items(vec![2, 3]));
        assert_eq!(inbox.take(9, 0, None), Taken::Items(vec![4]));
        inbox.close();
        assert_eq!(inbox.take(9, 100, None), Taken::Items(vec![5]));
        assert_eq!(inbox.take(9, 100, None), Taken::Closed);
        assert_eq!(block_on(inbox.send(6, 0)), Err(Closed));
    }

    #[test]
    fn a_take_gives_up_at_its_end() {
        let inbox = Inbox::<u8>::new(1, 1);
        assert_eq!(inbox.take(1, 1, Some(Instant::now() + Duration::from_millis(5))), Taken::Nothing);
    }

    #[test]
    fn senders_wait_for_room_in_number_and_in_bytes() {
        for (max_items, max_bytes) in [(1, 100), (100, 10)] {
            let inbox = Inbox::new(max_items, max_bytes);
            let wakes = Arc::<Wakes>::default();
            // More than the bound passes an empty inbox.
            block_on(inbox.send(0, 50)).unwrap();
            let mut second = inbox.send(1, 5);
            assert!(poll(&mut second, &wakes).is_pending());
            assert!(poll(&mut second, &wakes).is_pending());
            assert_eq!(wakes.count(), 0);
            assert_eq!(inbox.take(9, 999, None), Taken::Items(vec![0]));
            assert_eq!(wakes.count(), 1);
            assert!(poll(&mut second, &wakes).is_ready());
            assert_eq!(inbox.take(9, 999, None), Taken::Items(vec![1]));
        }
    }

    #[test]
    fn who_is_woken_and_leaves_wakes_the_next() {
        let inbox = Inbox::new(1, 100);
        let [first, second, third] = [(); 3].map(|()| Arc::<Wakes>::default());
        block_on(inbox.send(0, 0)).unwrap();
        let mut sends = [1, 2, 3].map(|item| inbox.send(item, 0));
        for (send, wakes) in sends.iter_mut().zip([&first, &second, &third]) {
            assert!(poll(send, wakes).is_pending());
        }
        let [woken, gone, last] = sends;
        drop(gone);
        assert_eq!(inbox.take(9, 9, None), Taken::Items(vec![0]));
        assert_eq!([&first, &second, &third].map(|wakes| wakes.count()), [1, 0, 0]);
        drop(woken);
        assert_eq!(third.count(), 1);
        drop(last);
        block_on(inbox.send(4, 0)).unwrap();
        assert_eq!(inbox.take(9, 9, None), Taken::Items(vec![4]));
    }

    #[test]
    fn closing_wakes_everybody() {
        let inbox = Arc::new(Inbox::new(1, 1));
        let receiver = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || inbox.take(1, 1, None)
        });
        inbox.close();
        assert_eq!(receiver.join().unwrap(), Taken::<u8>::Closed);

        let inbox = Inbox::new(1, 1);
        let wakes = Arc::<Wakes>::default();
        block_on(inbox.send(0, 0)).unwrap();
        let mut waits = inbox.send(1, 0);
        assert!(poll(&mut waits, &wakes).is_pending());
        inbox.close();
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(&mut waits, &wakes), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn many_senders_lose_and_double_nothing() {
        let inbox = Inbox::new(3, 30);
        let mut taken = Vec::new();
        thread::scope(|scope| {
            for sender in 0..8 {
                let inbox = &inbox;
                scope.spawn(move || {
                    for item in 0..500 {
                        block_on(inbox.send(sender * 500 + item, 7)).unwrap();
                    }
                });
            }
            while taken.len() < 4000 {
                let Taken::Items(items) = inbox.take(2, 1000, None) else { panic!("closed") };
                taken.extend(items);
            }
        });
        taken.sort_unstable();
        assert_eq!(taken, Vec::from_iter(0..4000));
    }
}
