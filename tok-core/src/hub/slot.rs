mod direct;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, task::Waker};

use bytes::Bytes;

pub(crate) use self::direct::Direct;
use super::{
    effects::Effects,
    log::{After, Cursor},
    packet::Packet,
    waiters::{Waiters, Wakers},
};
use crate::{CloseReason, MessageId, collections::shrink_queue, rt::Instant};

/// What waits for one session, and where the session stands in its user's log.
///
/// Behind a lock of the session's own, so that rooms and broadcasts need no other; whoever moves `fed` holds the
/// user's lock too.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Whether the session can be given anything. It never becomes true again.
    live: bool,
    /// Whether the hub counts it among its sessions.
    counted: bool,
    /// Whether its unread input counts for nothing: it did not end by its peer's leaving alone.
    fenced: bool,
    /// Why it is to end, until the session's task has seen it.
    ending: Option<CloseReason>,
    outbox: VecDeque<Item>,
    outbox_bytes: usize,
    /// Messages that are not kept and follow one that is (at this place), which the session has yet to be given.
    held: VecDeque<(After, Item)>,
    /// Of all that waits, what is not kept.
    unkept_bytes: usize,
    /// Of what the transport has taken and not written, what is not kept, as the session's task last said.
    unsent: usize,
    /// The last entry of the log that was put into the outbox.
    pub(crate) fed: Cursor,
    /// The log has entries that did not fit, or that are still in the queue.
    pub(crate) behind: bool,
    /// The log gave less than it has because there was no room: worth asking again when there is.
    pub(crate) hungry: bool,
    /// Entries have to come from the queue before anything else of the log.
    pub(crate) wants_page: bool,
    /// Given and not acknowledged by the application; used only where it has to.
    unacked: Option<VecDeque<Unacked>>,
    /// The session's task, and whether it waits: a task that runs finds by itself what it was given meanwhile.
    waker: Option<Waker>,
    parked: bool,
    /// The task ran when it was to look at the time, or was cut off: it looks again before it waits.
    roused: bool,
    /// Tasks that wait for room.
    pub(crate) writable: Waiters,
    /// How senders write to the connection themselves, and whether they may: the task waits, and nothing is unwritten.
    direct: Option<Direct>,
    at_rest: bool,
    /// The rest of a frame of which a sender wrote a part.
    torn: Option<Box<Bytes>>,
}

/// A message that the application has yet to acknowledge.
#[derive(Debug)]
struct Unacked {
    id: MessageId,
    at: Cursor,
    expires_at: Option<Instant>,
    /// Nobody will: the peer was not sent it.
    passed_over: bool,
}

/// Something to write, and what of the log the session has been given once it is written.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) packet: Arc<Packet>,
    pub(crate) kept: Option<Cursor>,
}

/// What waits for one connection at most, by policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    pub(crate) max_bytes: usize,
    pub(crate) overflow: Overflow,
}

impl Backlog {
    /// Kept messages fill a part of the bound only, so that they are never why another message overflows it.
    fn kept_bytes(self) -> usize {
        (self.max_bytes / 4).clamp(1, 256 * 1024)
    }
}

/// What happens to a message that is not kept when [`max_backlog`](crate::HubBuilder::max_backlog) bytes wait for a
/// connection already. Messages that are kept wait in the user's log instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The session ends with [`CloseReason::Slow`].
    #[default]
    Disconnect,
    /// The oldest waiting messages that are not kept make room for it. Each is reported to the undelivered hook.
    DropOldest,
    /// It is dropped for this session, and reported to the undelivered hook.
    Refuse,
}

/// What became of a message offered to a session.
#[derive(Debug)]
pub(crate) enum Push {
    /// It waits to be written. Messages that were dropped to make room come with it.
    Taken(Vec<Arc<Packet>>),
    /// As [`Taken`](Self::Taken), but it waits behind stored messages that have yet to be read from the queue.
    Unread(Vec<Arc<Packet>>),
    /// The session has ended.
    Gone,
    /// This ended it: the overflow policy is to disconnect.
    Ended,
    /// There was no room.
    Refused,
}

/// Unacknowledged messages a session may have where the application acknowledges; the log waits beyond.
const MAX_UNACKED: usize = 1024;

impl Slot {
    pub(crate) fn open(&mut self, at: Cursor, acknowledged: bool) {
        self.live = true;
        self.counted = true;
        self.fed = at;
        self.unacked = acknowledged.then(VecDeque::new);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Ends the session: from here on it is given nothing, and what waits is forgotten. The first reason stays.
    pub(crate) fn end(&mut self, reason: CloseReason, fx: &mut Effects) {
        if self.live {
            self.live = false;
            self.ending = Some(reason);
        }
        self.fenced |= !matches!(reason, CloseReason::PeerClosed | CloseReason::Disconnected);
        self.outbox = VecDeque::new();
        self.held = VecDeque::new();
        self.unacked = None;
        self.direct = None;
        self.outbox_bytes = 0;
        self.unkept_bytes = 0;
        self.behind = false;
        self.hungry = false;
        self.wants_page = false;
        fx.wake_all(self.writable.take());
        fx.wake(self.unpark());
    }

    /// Whether messages that were read may still be handled.
    pub(crate) fn may_handle(&self) -> bool {
        self.live || !self.fenced
    }

    /// Whether the hub counts the session. It changes only under the user's lock.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted
    }

    /// Whether this is the call that takes the session out of the hub's count.
    pub(crate) fn uncount(&mut self) -> bool {
        !self.live && std::mem::take(&mut self.counted)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn take_ending(&mut self) -> Option<CloseReason> {
        self.ending.take()
    }

    /// Whether the log may give it more now.
    pub(crate) fn has_room_for_kept(&self, backlog: Backlog) -> bool {
        self.live
            && self.outbox_bytes < backlog.kept_bytes()
            && self.unacked.as_ref().is_none_or(|unacked| unacked.len() < MAX_UNACKED)
    }

    /// Whether it may be given a message that is not in the log; the user's bound is what limits their bytes.
    pub(crate) fn takes_handed(&self) -> bool {
        self.live && self.unacked.as_ref().is_none_or(|unacked| unacked.len() < MAX_UNACKED)
    }

    pub(crate) fn push_kept(&mut self, packet: &Arc<Packet>, at: Cursor) {
        self.fed.advance(at);
        if let Some(unacked) = &mut self.unacked {
            let id = packet.message().id();
            let expires_at = packet.expires_at();
            unacked.push_back(Unacked { id, at, expires_at, passed_over: false });
        }
        self.outbox_bytes += packet.cost();
        self.outbox.push_back(Item { packet: Arc::clone(packet), kept: Some(self.fed) });
    }

    /// Puts a message into the outbox that has this position in the log and is not stored. Only for sessions that have
    /// been given everything before it.
    pub(crate) fn push_handed(&mut self, packet: &Arc<Packet>, pos: u64) {
        self.push_kept(packet, Cursor { seq: self.fed.seq, pos });
    }

    /// Offers a message that is not kept. `after` is the place in the log that it must not overtake.
    pub(crate) fn push_unkept(
        &mut self,
        packet: &Arc<Packet>,
        after: Option<After>,
        backlog: Backlog,
    ) -> Push {
        if !self.live {
            return Push::Gone;
        }
        let cost = packet.cost();
        let mut dropped = Vec::new();
        // Where at most half of the bound waits, one message of any size fits: `writable` waits for that.
        while self.unkept_bytes + self.unsent > backlog.max_bytes / 2
            && self.unkept_bytes + self.unsent + cost > backlog.max_bytes
        {
            match backlog.overflow {
                Overflow::Disconnect => {
                    // The caller wakes the session's task, which says goodbye.
                    self.live = false;
                    self.fenced = true;
                    self.ending = Some(CloseReason::Slow);
                    return Push::Ended;
                }
                Overflow::Refuse => return Push::Refused,
                Overflow::DropOldest => match self.drop_oldest() {
                    Some(item) => dropped.push(item),
                    None => break,
                },
            }
        }
        self.unkept_bytes += cost;
        let item = Item { packet: Arc::clone(packet), kept: None };
        match after {
            Some(after) if self.behind && !(self.held.is_empty() && after.is_reached(self.fed)) => {
                self.held.push_back((after, item));
                if self.wants_page {
                    return Push::Unread(dropped);
                }
            }
            _ => {
                self.outbox_bytes += cost;
                self.outbox.push_back(item);
            }
        }
        Push::Taken(dropped)
    }

    /// Lets go what was held and goes before `next`, the log's next entry for this session; without one, everything.
    pub(crate) fn release_held(&mut self, next: Option<Cursor>) {
        let mut index = 0;
        let mut is_here_held = false;
        // Not the front alone: what waits for one sender's message holds back no other sender's. But what was sent here is
        // in order: of two messages the earlier one can be marked with the later place, where nobody knew yet what the
        // queue holds.
        while let Some((after, _)) = self.held.get(index) {
            let is_here = matches!(after, After::Here(_));
            let goes_before = |next| after.precedes(next, self.fed) && !(is_here && is_here_held);
            if next.is_some_and(|next| !goes_before(next)) {
                is_here_held |= is_here;
                index += 1;
            } else if let Some((_, item)) = self.held.remove(index) {
                item.packet.set_reached();
                self.outbox_bytes += item.packet.cost();
                self.outbox.push_back(item);
            }
        }
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
    }

    /// Whether it holds this message back.
    pub(crate) fn holds(&self, packet: &Arc<Packet>) -> bool {
        self.held.iter().any(|(_, item)| Arc::ptr_eq(&item.packet, packet))
    }

    /// Forgets a message that it holds back.
    pub(crate) fn withdraw(&mut self, packet: &Arc<Packet>) {
        let place = self.held.iter().position(|(_, item)| Arc::ptr_eq(&item.packet, packet));
        if let Some((_, item)) = place.and_then(|place| self.held.remove(place)) {
            self.unkept_bytes -= item.packet.cost();
        }
    }

    fn drop_oldest(&mut self) -> Option<Arc<Packet>> {
        let item = match self.outbox.iter().position(|item| item.kept.is_none()) {
            Some(index) => {
                let item = self.outbox.remove(index)?;
                self.outbox_bytes -= item.packet.cost();
                item
            }
            None => self.held.pop_front()?.1,
        };
        self.unkept_bytes -= item.packet.cost();
        Some(item.packet)
    }

    /// Takes what waits, at most `bytes` of it, into a batch of the caller's. Returns how many items.
    pub(crate) fn take(&mut self, mut bytes: usize, batch: &mut [Option<Item>]) -> usize {
        let mut taken = 0;
        while let Some(place) = batch.get_mut(taken).filter(|_| bytes > 0) {
            let Some(item) = self.outbox.pop_front() else { break };
            let cost = item.packet.cost();
            self.outbox_bytes -= cost;
            if item.kept.is_none() {
                self.unkept_bytes -= cost;
            }
            bytes = bytes.saturating_sub(cost);
            *place = Some(item);
            taken += 1;
        }
        shrink_queue(&mut self.outbox);
        taken
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || self.torn.is_some()
    }

    /// Whether anything waits that is not kept, or is on its way to the transport.
    pub(crate) fn owes(&self) -> bool {
        self.has_output() || !self.held.is_empty()
    }

    /// Whether the log has more for it and it has room.
    pub(crate) fn is_hungry(&self, backlog: Backlog) -> bool {
        self.hungry && self.has_room_for_kept(backlog) && self.outbox_bytes <= backlog.kept_bytes() / 2
    }

    /// What the transport has yet to write changed. Returns who waits for room, if there is room now.
    pub(crate) fn set_unsent(&mut self, unsent: usize, backlog: Backlog) -> Wakers {
        self.unsent = unsent;
        self.take_writable(backlog)
    }

    /// Returns true if less than half of the bound waits, or the session has ended.
    pub(crate) fn is_writable(&self, backlog: Backlog) -> bool {
        !self.live || self.unkept_bytes + self.unsent <= backlog.max_bytes / 2
    }

    /// Returns who waits for room, if there is room now.
    pub(crate) fn take_writable(&mut self, backlog: Backlog) -> Wakers {
        if self.is_writable(backlog) { self.writable.take() } else { Wakers::default() }
    }

    /// The application acknowledges a message; returns what of the log that confirms.
    pub(crate) fn acknowledge(&mut self, id: MessageId) -> Option<Cursor> {
        let unacked = self.unacked.as_mut().filter(|_| self.live)?;
        let index = unacked.iter().position(|given| given.id == id && !given.passed_over)?;
        let last = unacked.drain(..=index).next_back().map(|given| given.at);
        shrink_queue(unacked);
        self.skip_passed_over().or(last)
    }

    /// A message was not sent to the peer after all. Returns what of the log that confirms.
    pub(crate) fn pass_over(&mut self, id: MessageId) -> Option<Cursor> {
        let given = self.unacked.as_mut()?.iter_mut().find(|given| given.id == id)?;
        given.passed_over = true;
        self.skip_passed_over()
    }

    /// Messages that expired unacknowledged have left the log, and take no place here either.
    pub(crate) fn pass_over_expired(&mut self, now: Instant) {
        for given in self.unacked.iter_mut().flatten() {
            given.passed_over |= given.expires_at.is_some_and(|at| at <= now);
        }
        self.skip_passed_over();
    }

    fn skip_passed_over(&mut self) -> Option<Cursor> {
        let unacked = self.unacked.as_mut()?;
        let mut last = None;
        while unacked.front().is_some_and(|given| given.passed_over) {
            last = unacked.pop_front().map(|given| given.at);
        }
        shrink_queue(unacked);
        last
    }

    /// The task waits. `at_rest` says that nothing of the connection's is unwritten.
    pub(crate) fn park(&mut self, waker: &Waker, at_rest: bool) {
        match &self.waker {
            Some(parked) if parked.will_wake(waker) => {}
            _ => self.waker = Some(waker.clone()),
        }
        self.parked = true;
        self.at_rest = at_rest;
    }

    /// As [`unpark`](Self::unpark), for what a task that runs may have looked at already.
    pub(crate) fn rouse(&mut self) -> Option<Waker> {
        self.roused |= !self.parked;
        self.unpark()
    }

    pub(crate) fn take_roused(&mut self) -> bool {
        std::mem::take(&mut self.roused)
    }

    /// The task runs.
    pub(crate) fn resume(&mut self) {
        self.parked = false;
    }

    pub(crate) fn unpark(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.parked).then(|| self.waker.clone()).flatten()
    }
}
