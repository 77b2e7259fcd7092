use std::{sync::Arc, task::Waker};

use super::{hooks::Undelivered, inner::Inner, lane, packet::Packet, user::User};
use crate::{SendError, Uid, sync::Mutex};

/// What is to happen once no lock is held: tasks to wake, hooks to call, a lane to start.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effects {
    first: Option<Waker>,
    more: Vec<Waker>,
    reports: Vec<(Uid, Arc<Packet>, Undelivered)>,
    pub(super) lane: bool,
    /// Users of whom a session ended without their lock being held.
    ended: Vec<Arc<User>>,
}

impl Effects {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        if self.first.is_none() {
            self.first = waker;
        } else {
            self.more.extend(waker);
        }
    }

    pub(crate) fn ended(&mut self, user: &Arc<User>) {
        self.ended.push(Arc::clone(user));
    }

    pub(crate) fn report(&mut self, uid: &Uid, packet: Arc<Packet>, why: Undelivered) {
        self.reports.push((uid.clone(), packet, why));
    }

    /// `user` is the one whose state was locked, if one was.
    pub(crate) fn run(self, hub: &Arc<Inner>, user: Option<&Arc<User>>) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.more.into_iter().for_each(Waker::wake);
        if let (true, Some(user)) = (self.lane, user) {
            lane::start(hub, user);
        }
        for user in self.ended {
            let mut fx = Self::default();
            if let Some(mut state) = user.lock() {
                state.sessions_ended(hub, &mut fx);
            }
            fx.run(hub, Some(&user));
        }
        for (uid, packet, why) in self.reports {
            hub.hooks.undelivered(&uid, packet.message(), why);
        }
    }
}

/// Where the sender of a message that has to be stored first waits.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Mutex<(Option<Verdict>, Option<Waker>)>);

type Verdict = Result<(), SendError>;

impl Ticket {
    pub(crate) fn settle(&self, result: Verdict, fx: &mut Effects) {
        let mut ticket = self.0.lock();
        ticket.0 = Some(result);
        fx.wake(ticket.1.take());
    }

    pub(crate) fn poll(&self, waker: &Waker) -> Option<Verdict> {
        let mut ticket = self.0.lock();
        if ticket.0.is_none() {
            ticket.1 = Some(waker.clone());
        }
        ticket.0.take()
    }
}
