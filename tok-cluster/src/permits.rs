//! A bounded number of operations at once, and of these no more than a share for one user.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tok_core::Uid;

use crate::{
    collections::{HashMap, hash_map},
    sync::Mutex,
};

/// How many callers have a permit, and how many wait for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) permits: usize,
    /// Permits that one user's operations can have together.
    pub(crate) permits_of_user: usize,
    pub(crate) waiting: usize,
    /// Callers that can wait on behalf of one user.
    pub(crate) waiting_of_user: usize,
}

/// A semaphore whose waiters are bounded in number and served in the order in which they came. Callers on behalf of a
/// user whose share is taken wait in a line of that user's and keep nobody else waiting. Joining and leaving a line
/// takes logarithmic time.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
    limits: Limits,
}

#[derive(Debug)]
struct State {
    free: usize,
    last_ticket: u64,
    /// Callers in any line.
    waiting: usize,
    line: Line,
    users: HashMap<Uid, User>,
}

/// Waiting callers by ticket, oldest first.
type Line = BTreeMap<u64, Arc<Turn>>;

#[derive(Debug, Default)]
struct User {
    /// Callers that have a permit or wait in the common line.
    in_share: usize,
    line: Line,
}

#[derive(Debug)]
struct Turn {
    uid: Option<Uid>,
    /// Its place in the line that it waits in.
    ticket: AtomicU64,
    granted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Permits {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        let state = State {
            free: limits.permits,
            last_ticket: 0,
            waiting: 0,
            line: Line::new(),
            users: hash_map(seed),
        };
        Self { state: Mutex::new(state), limits }
    }

    /// A permit, at once or when it is this caller's turn; `None` if too many wait already.
    pub(crate) fn acquire(&self, uid: Option<&Uid>) -> Option<Acquire<'_>> {
        let (ticket, granted, waker) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        let turn = Arc::new(Turn { uid: uid.cloned(), ticket, granted, waker });
        let mut state = self.state.lock();
        let may_wait = state.waiting < self.limits.waiting;
        if let Some(uid) = uid {
            let ticket = state.last_ticket + 1;
            let has_free = state.free > 0;
            let user = state.users.entry(uid.clone()).or_default();
            if user.in_share >= self.limits.permits_of_user {
                if !may_wait || user.line.len() >= self.limits.waiting_of_user {
                    return None;
                }
                turn.ticket.store(ticket, Ordering::Relaxed);
                user.line.insert(ticket, Arc::clone(&turn));
                state.last_ticket = ticket;
                state.waiting += 1;
                return Some(Acquire { permits: self, turn: Some(turn) });
            }
            if !has_free && !may_wait {
                state.forget_if_idle(uid);
                return None;
            }
            user.in_share += 1;
        } else if state.free == 0 && !may_wait {
            return None;
        }
        // Nobody waits in its line yet: it is not to be woken.
        let _ = state.grant_or_queue(&turn);
        drop(state);
        Some(Acquire { permits: self, turn: Some(turn) })
    }

    fn give_back(&self, uid: Option<&Uid>) {
        let mut state = self.state.lock();
        state.free += 1;
        let next = state.leave_share(uid);
        let woken = [next, state.grant_next()];
        drop(state);
        woken.into_iter().flatten().for_each(Waker::wake);
    }
}

impl State {
    /// Grants a permit if one is free, or puts the caller at the end of the common line. Returns whom to wake.
    fn grant_or_queue(&mut self, turn: &Arc<Turn>) -> Option<Waker> {
        if self.free > 0 && self.line.is_empty() {
            self.free -= 1;
            turn.granted.store(true, Ordering::Release);
            return turn.waker.lock().take();
        }
        self.last_ticket += 1;
        self.waiting += 1;
        turn.ticket.store(self.last_ticket, Ordering::Relaxed);
        self.line.insert(self.last_ticket, Arc::clone(turn));
        None
    }

    fn grant_next(&mut self) -> Option<Waker> {
        if self.free == 0 {
            return None;
        }
        let (_, turn) = self.line.pop_first()?;
        self.waiting -= 1;
        self.free -= 1;
        turn.granted.store(true, Ordering::Release);
        turn.waker.lock().take()
    }

    /// One of a user's callers needs its part of the share no longer: the next one of the user gets it.
    fn leave_share(&mut self, uid: Option<&Uid>) -> Option<Waker> {
        let uid = uid?;
        let user = self.users.get_mut(uid)?;
        let Some((_, next)) = user.line.pop_first() else {
            user.in_share = user.in_share.saturating_sub(1);
            self.forget_if_idle(uid);
            return None;
        };
        self.waiting -= 1;
        self.grant_or_queue(&next)
    }

    fn forget_if_idle(&mut self, uid: &Uid) {
        if self.users.get(uid).is_some_and(|user| user.in_share == 0 && user.line.is_empty()) {
            self.users.remove(uid);
        }
    }

    /// Takes a caller that gave up out of its line. Returns whom to wake.
    fn cancel(&mut self, turn: &Turn) -> Option<Waker> {
        let ticket = turn.ticket.load(Ordering::Relaxed);
        let uid = turn.uid.as_ref();
        if self.line.remove(&ticket).is_some() {
            self.waiting -= 1;
            return self.leave_share(uid);
        }
        let uid = uid?;
        if self.users.get_mut(uid)?.line.remove(&ticket).is_some() {
            self.waiting -= 1;
            self.forget_if_idle(uid);
        }
        None
    }
}

/// Waits for a permit. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Acquire<'a> {
    permits: &'a Permits,
    turn: Option<Arc<Turn>>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        let mut uid = None;
        if let Some(turn) = &self.turn {
            *turn.waker.lock() = Some(cx.waker().clone());
            if !turn.granted.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            uid.clone_from(&turn.uid);
        }
        self.turn = None;
        Poll::Ready(Permit { permits: self.permits, uid })
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let mut state = self.permits.state.lock();
        let granted = turn.granted.load(Ordering::Acquire);
        let woken = if granted { None } else { state.cancel(&turn) };
        drop(state);
        if granted {
            self.permits.give_back(turn.uid.as_ref());
        } else if let Some(waker) = woken {
            waker.wake();
        }
    }
}

/// Gives its place to the next when dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    uid: Option<Uid>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.give_back(self.uid.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn permits(permits: usize, permits_of_user: usize) -> Permits {
        Permits::new(Limits { permits, permits_of_user, waiting: 4, waiting_of_user: 3 }, 1)
    }

    fn is_at_rest(permits: &Permits, free: usize) -> bool {
        let state = permits.state.lock();
        state.free == free && state.waiting == 0 && state.line.is_empty() && state.users.is_empty()
    }

    /// A waker that does nothing will do: who is granted a permit is seen by polling.
    fn poll<'a>(acquire: &mut Acquire<'a>) -> Option<Permit<'a>> {
        acquire.now_or_never()
    }

    #[test]
    fn permits_go_round_in_order_and_none_is_lost() {
        let permits = permits(1, 1);
        let first = poll(&mut permits.acquire(None).unwrap()).unwrap();
        let mut waiting: Vec<_> = (0..4).map(|_| permits.acquire(None).unwrap()).collect();
        assert!(permits.acquire(None).is_none(), "four may wait");
        assert!(waiting.iter_mut().all(|acquire| poll(acquire).is_none()));
        drop(waiting.remove(1));
        drop(first);
        assert!(poll(&mut waiting[1]).is_none(), "it is not the next");
        // A waiter that is granted a permit and leaves without it passes it on.
        drop(waiting.remove(0));
        let second = poll(&mut waiting[0]).unwrap();
        assert!(poll(&mut waiting[1]).is_none());
        drop(second);
        assert!(poll(&mut waiting[1]).is_some());
        drop(waiting);
        assert!(is_at_rest(&permits, 1));
    }

    #[test]
    fn a_user_has_its_share_of_the_permits_and_no_more() {
        let permits = permits(3, 2);
        let (ann, bob) = (Uid::from("ann"), Uid::from("bob"));
        let mut anns: Vec<_> = (0..5).map(|_| permits.acquire(Some(&ann)).unwrap()).collect();
        assert!(permits.acquire(Some(&ann)).is_none(), "three of a user may wait");
        let mut held: Vec<_> = anns.iter_mut().filter_map(poll).collect();
        assert_eq!(held.len(), 2);
        held.extend(poll(&mut permits.acquire(Some(&bob)).unwrap()));
        assert_eq!(held.len(), 3, "the third permit is left to others");
        let mut bobs = permits.acquire(Some(&bob)).unwrap();
        assert!(permits.acquire(None).is_none(), "four may wait in all");
        // One of hers ends: the next of hers waits behind him.
        drop(held.remove(0));
        assert!(anns[2..].iter_mut().all(|acquire| poll(acquire).is_none()));
        held.extend(poll(&mut bobs));
        drop(held.remove(0));
        held.extend(anns[2..].iter_mut().filter_map(poll));
        assert_eq!(held.len(), 3);
        drop((held, anns, bobs));
        assert!(is_at_rest(&permits, 3));
    }

    #[test]
    fn cancelled_waiters_leave_every_line() {
        let permits = permits(1, 1);
        let ann = Uid::from("ann");
        let held = poll(&mut permits.acquire(None).unwrap()).unwrap();
        // The first waits in the common line and the others in hers.
        let mut anns: Vec<_> = (0..4).map(|_| permits.acquire(Some(&ann)).unwrap()).collect();
        drop(anns.remove(2));
        drop(anns.remove(0));
        assert_eq!(permits.state.lock().waiting, 2);
        drop(held);
        let second = poll(&mut anns[0]).unwrap();
        drop(second);
        assert!(poll(&mut anns[1]).is_some());
        drop(anns);
        assert!(is_at_rest(&permits, 1));
    }

    /// Time-outs during an outage: each leaves on its own, in any order.
    #[test]
    fn sixty_thousand_waiters_that_give_up_at_once_leave_nothing() {
        const WAITING: usize = 60_000;
        let limits = Limits { permits: 1, permits_of_user: 1, waiting: WAITING, waiting_of_user: WAITING };
        let permits = Permits::new(limits, 1);
        let held = poll(&mut permits.acquire(None).unwrap()).unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| permits.acquire(None)).collect();
        // The last that came leaves first: the way that a list is searched from its beginning.
        while waiting.pop().is_some() {}
        drop(held);
        assert!(is_at_rest(&permits, 1));
    }
}
