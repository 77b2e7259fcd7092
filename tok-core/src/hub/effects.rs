use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    hooks::Undelivered, inner::Inner, lane, login, packet::Packet, session::Core, user::User, waiters::Wakers,
};
use crate::{Epoch, SendError, Uid, rt::Instant, sync::Mutex};

/// What is to happen once no lock is held: tasks to wake, connections to write to, hooks to call, a lane to start.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effects {
    wakers: Few<Waker>,
    outputs: Few<Arc<Core>>,
    /// Claims to give back to the cluster.
    released: Few<(Uid, Epoch)>,
    reports: Vec<(Uid, Arc<Packet>, Undelivered)>,
    /// Users whose queue work starts. They are here and not an argument of `run`, so that no caller can forget one.
    lanes: Few<Arc<User>>,
    /// Users of whom a session ended without their lock being held.
    ended: Vec<Arc<User>>,
}

impl Effects {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wakers.push(waker);
        }
    }

    pub(crate) fn wake_all(&mut self, wakers: Wakers) {
        wakers.into_iter().for_each(|waker| self.wakers.push(waker));
    }

    /// A session at rest has output.
    pub(crate) fn write_out(&mut self, core: &Arc<Core>) {
        self.outputs.push(Arc::clone(core));
    }

    /// A session of a cluster's has lost its place.
    pub(crate) fn release(&mut self, uid: &Uid, epoch: Epoch) {
        self.released.push((uid.clone(), epoch));
    }

    /// The user has queue work, and no task that does it.
    pub(crate) fn start_lane(&mut self, user: Arc<User>) {
        self.lanes.push(user);
    }

    pub(crate) fn ended(&mut self, user: &Arc<User>) {
        self.ended.push(Arc::clone(user));
    }

    pub(crate) fn report(&mut self, uid: &Uid, packet: Arc<Packet>, why: Undelivered) {
        self.reports.push((uid.clone(), packet, why));
    }

    /// No lock is held.
    pub(crate) fn run(mut self, hub: &Arc<Inner>) {
        Outputs { hub, cores: mem::take(&mut self.outputs) }.write();
        while let Some(waker) = self.wakers.pop() {
            waker.wake();
        }
        while let Some((uid, epoch)) = self.released.pop() {
            login::release(hub, uid, epoch);
        }
        while let Some(user) = self.lanes.pop() {
            lane::start(hub, user);
        }
        for user in self.ended {
            let mut fx = Self::default();
            if let Some(mut state) = user.lock() {
                state.sessions_ended(hub, &mut fx);
            }
            fx.run(hub);
        }
        for (uid, packet, why) in self.reports {
            hub.hooks.undelivered(&uid, packet.message(), why);
        }
    }
}

impl Effects {
    /// What it would wake.
    #[cfg(test)]
    pub(crate) fn into_wakers(mut self) -> Vec<Waker> {
        std::iter::from_fn(|| self.wakers.pop()).collect()
    }

    /// As [`run`](Self::run), for messages to many: other tasks get their turn in between. Await what this returns.
    pub(crate) fn run_in_turns(mut self, hub: &Arc<Inner>) -> Outputs<'_> {
        let cores = mem::take(&mut self.outputs);
        self.run(hub);
        Outputs { hub, cores }
    }
}

/// Sessions at rest that have output. Dropped before all is written, it wakes the sessions' own tasks to it.
#[must_use]
pub(crate) struct Outputs<'a> {
    hub: &'a Arc<Inner>,
    cores: Few<Arc<Core>>,
}

/// Connections that one task writes to in a turn: some hundred microseconds of system calls.
const TURN: usize = 64;

impl Outputs<'_> {
    /// Writes as many as one turn allows. Says whether all is written.
    fn write(&mut self) -> bool {
        let backlog = self.hub.settings.backlog;
        for _ in 0..TURN {
            let Some(core) = self.cores.pop() else { return true };
            let (task, waiting) = core.slot.lock().write_out(backlog);
            task.into_iter().for_each(Waker::wake);
            waiting.wake();
        }
        self.cores.is_empty()
    }
}

impl Future for Outputs<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.write() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        while let Some(core) = self.cores.pop() {
            core.wake_to_write();
        }
    }
}

/// Mostly one, which takes no memory of its own.
#[derive(Debug)]
struct Few<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Few<T> {
    fn push(&mut self, item: T) {
        match &self.first {
            None => self.first = Some(item),
            Some(_) => self.more.push(item),
        }
    }

    fn pop(&mut self) -> Option<T> {
        self.more.pop().or_else(|| self.first.take())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: None, more: Vec::new() }
    }
}

/// Where a sender waits for a decision.
#[derive(Debug)]
pub(crate) struct Ticket<T>(Mutex<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    result: Option<T>,
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

/// What became of a persistent message.
pub(crate) type Verdict = Result<Kept, SendError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The queue has it. The number of sessions on other nodes that were notified.
    Stored(usize),
    /// It is in memory, and will be stored if it is not confirmed.
    InMemory,
    /// It could not be kept, and a session has confirmed it.
    Confirmed,
    /// Its time ran out before that.
    Expired,
}

impl<T> Default for Ticket<T> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { result: None, deadline: None, waker: None }))
    }
}

impl<T> Ticket<T> {
    pub(crate) fn settle(&self, result: T, fx: &mut Effects) {
        let mut ticket = self.0.lock();
        ticket.result = Some(result);
        fx.wake(ticket.waker.take());
    }

    /// From now on the sender waits no longer than until `deadline`, or the one that was set first.
    pub(crate) fn limit(&self, deadline: Instant, fx: &mut Effects) {
        let mut ticket = self.0.lock();
        if ticket.deadline.is_none() {
            ticket.deadline = Some(deadline);
            fx.wake(ticket.waker.take());
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.lock().deadline
    }

    pub(crate) fn poll(&self, waker: &Waker) -> Option<T> {
        let mut ticket = self.0.lock();
        if ticket.result.is_none() {
            ticket.waker = Some(waker.clone());
        }
        ticket.result.take()
    }
}
