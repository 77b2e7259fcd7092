//! What sessions may do, and what hubs may hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Verdict, broken};
use crate::{
    CloseReason, Device, Epoch, Hub, Session, Uid, hub::Inner, rt::Instant, testkit::sim::client::Uplink,
};

#[derive(Debug, Default)]
pub(super) struct Roll {
    hubs: Vec<Watched>,
    connections: Vec<Connection>,
    /// Connections whose session has opened and not closed.
    open: BTreeSet<usize>,
    /// The newest session that opened, by hub, user and class.
    newest: BTreeMap<(usize, Uid, Box<str>), Epoch>,
    /// The highest epoch of a login, whatever became of it.
    claimed: BTreeMap<Uid, Epoch>,
    /// The epoch of the login that was the last to get one. It is the highest too, unless a wall clock went back.
    last_claimed: BTreeMap<Uid, Epoch>,
    closed_a_slow_one: bool,
    /// The highest fence that the queue was shown.
    fences: BTreeMap<Uid, Epoch>,
    /// Counts what happens, so that it can be said what came first.
    step: u64,
    events: u64,
    /// No two sessions of a class live at once anywhere.
    pub(super) strict: bool,
}

#[derive(Debug)]
struct Watched {
    inner: Weak<Inner>,
    draining: bool,
}

#[derive(Debug)]
struct Connection {
    uid: Uid,
    uplink: Arc<Uplink>,
    hub: usize,
    session: Option<Session>,
    opened: Option<u64>,
    closed: bool,
    /// Since when it has been given nothing any more.
    ended: Option<Instant>,
    said: Vec<String>,
    handled: usize,
    handling: bool,
}

/// What a handler of the application's, and everything that is late by a little, may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Roll {
    pub(super) fn new_hub(&mut self) -> usize {
        self.hubs.push(Watched { inner: Weak::new(), draining: false });
        self.hubs.len() - 1
    }

    pub(super) fn add_hub(&mut self, number: usize, hub: &Hub) {
        if let Some(watched) = self.hubs.get_mut(number) {
            watched.inner = Arc::downgrade(&hub.inner);
        }
    }

    /// Whether the user has a session on this hub.
    pub(super) fn is_online(&self, number: usize, uid: &Uid) -> bool {
        let hub = self.hubs.get(number).and_then(|watched| watched.inner.upgrade());
        hub.is_some_and(|hub| hub.is_online_here(uid))
    }

    pub(super) fn draining(&mut self, hub: &Hub) {
        let this = Arc::downgrade(&hub.inner);
        for watched in self.hubs.iter_mut().filter(|watched| watched.inner.ptr_eq(&this)) {
            watched.draining = true;
        }
    }

    pub(super) fn step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// A reader that was closed as slow is given again what it had not confirmed.
    pub(super) fn closed_a_slow_one(&self) -> bool {
        self.closed_a_slow_one
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn claimed(&mut self, uid: &Uid, epoch: Epoch) {
        let newest = self.claimed.entry(uid.clone()).or_default();
        *newest = epoch.max(*newest);
        self.last_claimed.insert(uid.clone(), epoch);
    }

    fn newest_claimed(&self, uid: &Uid) -> Epoch {
        self.claimed.get(uid).copied().unwrap_or_default()
    }

    pub(super) fn united(&self, uid: &Uid, classes: usize) -> Verdict {
        let open = self.open.iter().filter_map(|index| self.connections.get(*index));
        let sessions = open.filter(|connection| connection.uid == *uid).filter_map(|c| c.session.as_ref());
        let live: Vec<&Session> = sessions.filter(|session| session.is_open()).collect();
        let distinct: BTreeSet<_> = live.iter().map(|session| session.core.class()).collect();
        if live.len() != classes || distinct.len() != classes {
            return broken(10, format_args!("{uid} has these sessions: {live:?}"));
        }
        for ((_, _, class), newest) in self.newest.iter().filter(|((_, of, _), _)| of == uid) {
            let older = |session: &&Session| {
                session.core.class().as_ref() == Some(class) && session.core.epoch < *newest
            };
            if let Some(session) = live.iter().copied().find(older) {
                return broken(10, format_args!("{session:?} is left, and a newer one has opened"));
            }
        }
        Ok(())
    }

    pub(super) fn connecting(&mut self, device: &Device, uplink: Arc<Uplink>) -> usize {
        self.connections.push(Connection {
            uid: device.uid().clone(),
            uplink,
            hub: 0,
            session: None,
            opened: None,
            closed: false,
            ended: None,
            said: Vec::new(),
            handled: 0,
            handling: false,
        });
        self.connections.len() - 1
    }

    pub(super) fn saying(&mut self, connection: usize, text: &str) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.said.push(text.to_owned());
        }
    }

    pub(super) fn opened_at(&self, connection: usize) -> Option<u64> {
        self.connections.get(connection).and_then(|connection| connection.opened)
    }

    pub(super) fn opened(&mut self, hub: usize, number: usize, session: &Session) -> Verdict {
        let step = self.step();
        let draining = self.hubs.get(hub).is_some_and(|hub| hub.draining);
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        if connection.uid != *session.device().uid() {
            return broken(18, format_args!("{session:?} is on a connection of {}", connection.uid));
        }
        if connection.opened.replace(step).is_some() {
            return broken(13, format_args!("{session:?} opened twice"));
        }
        if draining {
            return broken(19, format_args!("{session:?} opened while the hub drains"));
        }
        connection.session = Some(session.clone());
        connection.hub = hub;
        self.open.insert(number);
        self.events += 1;
        let (uid, epoch) = (session.device().uid(), session.core.epoch);
        self.claimed(uid, epoch);
        if let Some(class) = session.core.class() {
            let key = (hub, uid.clone(), class.clone());
            let newest = self.newest.entry(key).or_default();
            *newest = epoch.max(*newest);
            self.last_claimed.insert(uid.clone(), epoch);
        }
        Ok(())
    }

    pub(super) fn closed(
        &mut self,
        number: usize,
        session: &Session,
        reason: CloseReason,
        max_unwritten: u64,
    ) -> Verdict {
        let newest = self.newest_claimed(session.device().uid());
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        if connection.opened.is_none() || std::mem::replace(&mut connection.closed, true) {
            return broken(13, format_args!("{session:?} closed twice, or never opened"));
        }
        connection.session = None;
        self.open.remove(&number);
        // A peer that is found to be gone is no unrest.
        let found_gone = matches!(
            reason,
            CloseReason::Idle | CloseReason::Slow | CloseReason::Disconnected | CloseReason::PeerClosed
        );
        self.events += u64::from(!found_gone);
        self.closed_a_slow_one |= reason == CloseReason::Slow;
        if connection.handling {
            return broken(13, format_args!("{session:?} closed while a message was handled"));
        }
        let held = connection.uplink.most_unwritten();
        if held > max_unwritten {
            return broken(14, format_args!("the transport of {session:?} held {held} bytes"));
        }
        if reason == CloseReason::Sso && newest <= session.core.epoch {
            return broken(12, format_args!("{session:?} lost its place, and no login is newer"));
        }
        Ok(())
    }

    /// A session is given something, or handles something.
    pub(super) fn active(&self, number: usize, session: &Session, doing: &str) -> Verdict {
        let Some(connection) = self.connections.get(number) else { return Ok(()) };
        if connection.uid != *session.device().uid() {
            return broken(18, format_args!("{session:?} {doing} on a connection of {}", connection.uid));
        }
        if connection.opened.is_none() || connection.closed {
            return broken(13, format_args!("{session:?} {doing} while it was not open"));
        }
        let Some(class) = session.core.class() else { return Ok(()) };
        let key = (connection.hub, connection.uid.clone(), class.clone());
        if self.newest.get(&key).is_some_and(|newest| *newest > session.core.epoch) {
            return broken(9, format_args!("{session:?} {doing} after a newer session had its place"));
        }
        Ok(())
    }

    /// `in_order`: what the actor is given is what the client sent.
    pub(super) fn handles(
        &mut self,
        number: usize,
        session: &Session,
        data: &[u8],
        in_order: bool,
    ) -> Verdict {
        self.active(number, session, "handled a message")?;
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        if std::mem::replace(&mut connection.handling, true) {
            return broken(13, format_args!("{session:?} handles two messages at a time"));
        }
        let said = connection.said.get(connection.handled);
        connection.handled += 1;
        if in_order && said.is_none_or(|said| said.as_bytes() != data) {
            let count = connection.handled;
            return broken(1, format_args!("message {count} that {session:?} handles is not the one sent"));
        }
        Ok(())
    }

    pub(super) fn handled(&mut self, number: usize) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.handling = false;
        }
    }

    pub(super) fn acked(&mut self, uid: &Uid, fence: Epoch) -> Verdict {
        let highest = self.fences.entry(uid.clone()).or_default();
        if fence < *highest {
            return broken(
                12,
                format_args!("an acknowledgement of {uid} under an older fence had its effect"),
            );
        }
        // A fence above every login's is right only where an earlier run, whose wall clock was ahead, left one that high.
        let before = std::mem::replace(highest, fence);
        let was_raised = self.last_claimed.get(uid).is_some_and(|last| *last < before);
        if self.claimed.get(uid).is_none_or(|newest| fence > *newest && !was_raised) {
            return broken(12, format_args!("an acknowledgement of {uid} carries a fence that no login has"));
        }
        Ok(())
    }

    pub(super) fn check(&mut self, now: Instant) -> Verdict {
        for (number, watched) in self.hubs.iter().enumerate() {
            let Some(hub) = watched.inner.upgrade() else { continue };
            // Messages that come back from the queue are counted over the limit, a page a session at most.
            let (held, limit) = (hub.budget.used(), hub.settings.max_memory);
            if held > limit.saturating_mul(2) {
                return broken(14, format_args!("hub {number} holds {held} bytes of {limit}"));
            }
        }
        let (strict, mut live) = (self.strict, BTreeSet::new());
        for index in &self.open {
            let Some(connection) = self.connections.get_mut(*index) else { continue };
            let Some(session) = &connection.session else { continue };
            let settings = &session.hub.settings;
            if !session.is_open() {
                let ended = *connection.ended.get_or_insert(now);
                let limit = settings.close_timeout + PATIENCE;
                if now.saturating_since(ended) > limit {
                    return broken(16, format_args!("{session:?} ended {limit:?} ago and has not closed"));
                }
                continue;
            }
            if let Some(class) = session.core.class()
                && !live.insert((
                    if strict { 0 } else { connection.hub },
                    connection.uid.clone(),
                    class.clone(),
                ))
            {
                let rule = if strict { 10 } else { 9 };
                return broken(rule, format_args!("{} has {session:?}, and an older one", connection.uid));
            }
            let limit = settings.ping_interval * 2 + settings.write_timeout + PATIENCE;
            if now.saturating_since(connection.uplink.heard()) > limit && !settings.ping_interval.is_zero() {
                return broken(16, format_args!("{session:?} has heard nothing for {limit:?} and is open"));
            }
        }
        Ok(())
    }

    pub(super) fn emptied(&self) -> Verdict {
        if self.open.is_empty() {
            return Ok(());
        }
        broken(13, format_args!("{} sessions have opened and not closed", self.open.len()))
    }
}
