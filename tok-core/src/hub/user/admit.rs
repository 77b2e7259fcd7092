//! Accepting persistent messages: into memory, into the queue, or by way of a session that confirms them at once.
//!
//! A message that cannot be accepted at once waits in the log, and later ones behind it. The first that waits is accepted
//! when there is room in memory, stored by the lane, or, if it cannot be stored, handed to sessions that have been given
//! everything before it.

use std::sync::Arc;

use super::{Spilling, State};
use crate::{
    SendError,
    hub::{
        effects::{Effects, Kept, Ticket, Verdict},
        inner::Inner,
        lane,
        log::LogEntry,
        packet::Packet,
        session::Core,
    },
    queue::{Caps, QueueError},
    rt::Instant,
};

/// What became of a message that was appended to a log.
#[derive(Debug)]
pub(crate) enum Append {
    /// It is kept in memory, and sessions have it, or will.
    Accepted { sessions: usize, pos: u64 },
    /// The ticket says what became of it.
    Waiting { ticket: Arc<Ticket<Verdict>>, pos: u64 },
}

/// Why a message is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The user's own limits: there is room when more is confirmed.
    Room,
    /// The queue is full, or the message is larger than it can ever keep for one user.
    Full,
    /// There is no queue.
    NoQueue,
    /// The queue cannot be reached.
    Away,
}

impl Obstacle {
    pub(crate) fn error(self) -> SendError {
        match self {
            Self::Room | Self::Full => SendError::Full,
            Self::NoQueue => SendError::NotKept,
            Self::Away => SendError::Queue(QueueError::Unavailable(lane::TRYING_AGAIN.into())),
        }
    }
}

/// What the first message that waits can do.
enum Step {
    Accept,
    /// The lane stores it, or finds out why it cannot.
    Store,
    Hand(Vec<Arc<Core>>, Obstacle),
    Wait(Obstacle),
    Refuse(Obstacle),
}

/// As many messages may wait to be accepted for one user, or as many as the queue keeps if that is more.
const MAX_WAITING: u64 = 1000;

impl State {
    /// Appends a message that is to be kept.
    pub(crate) fn append(
        &mut self,
        hub: &Inner,
        packet: &Arc<Packet>,
        fx: &mut Effects,
    ) -> Result<Append, SendError> {
        let sessions = self.live();
        let at_once = sessions > 0 && self.log.waiting().0 == 0 && self.accepts_in_memory(hub, packet);
        if !at_once {
            self.check_waiting(hub, packet, fx)?;
        }
        let pos = self.log.append(Arc::clone(packet), at_once);
        self.receipts.add(pos);
        if at_once {
            self.feed_all(hub, fx);
            self.want_lane(hub, fx);
            return Ok(Append::Accepted { sessions, pos });
        }
        let ticket = Arc::new(Ticket::default());
        self.tickets.insert(pos, Arc::clone(&ticket));
        self.admit(hub, fx);
        if self.first_deadline().is_some() {
            self.limit_wait(hub, pos, fx);
        }
        self.want_lane(hub, fx);
        Ok(Append::Waiting { ticket, pos })
    }

    /// Whether one more message may wait.
    fn check_waiting(&mut self, hub: &Inner, packet: &Packet, fx: &mut Effects) -> Result<(), SendError> {
        let caps = hub.queue.caps();
        let max_messages = caps.max_messages.max(MAX_WAITING);
        let max_bytes = caps.max_bytes.max(hub.settings.backlog.max_bytes as u64);
        let is_full = |state: &Self| {
            let (messages, bytes) = state.log.waiting();
            // Where nothing else waits, one of any size may.
            messages > 0 && (messages as u64 >= max_messages || (bytes + packet.cost()) as u64 > max_bytes)
        };
        if is_full(self) {
            self.drop_expired(hub, fx);
            if is_full(self) {
                return Err(SendError::Full);
            }
        }
        if self.queue_failing && self.live() == 0 {
            return Err(Obstacle::Away.error());
        }
        Ok(())
    }

    /// Whether a message may be kept in memory while a session is there: it has room in the queue, with all that would be
    /// stored before it. The room is reserved then.
    fn accepts_in_memory(&self, hub: &Inner, packet: &Packet) -> bool {
        if hub.writes_ahead() || self.queue_failing || self.takes_uncounted_room() {
            return false;
        }
        let caps = hub.queue.caps();
        let has_room = self.log.kept().is_some_and(|kept| {
            kept.messages < caps.max_messages
                && kept.bytes.saturating_add(packet.cost() as u64) <= caps.max_bytes
        });
        has_room && !is_too_big(packet, &caps) && packet.reserve(&*hub.queue)
    }

    /// Returns true if a message that is being stored was confirmed or expired meanwhile. It has left memory, and takes room
    /// in the queue that is not counted before the store is done.
    fn takes_uncounted_room(&self) -> bool {
        self.spilling.is_some_and(|Spilling { first, last, messages }| {
            let left = self.log.after(first.saturating_sub(1)).take_while(|entry| entry.pos <= last).count();
            left < messages
        })
    }

    /// Goes on with the messages that wait, as far as they can now.
    pub(crate) fn admit(&mut self, hub: &Inner, fx: &mut Effects) {
        while let Some(entry) = self.log.first_waiting().cloned() {
            let is_being_stored =
                self.storing.is_some_and(|(first, last)| (first..=last).contains(&entry.pos));
            if is_being_stored {
                return;
            }
            match self.next_step(hub, &entry) {
                Step::Accept => {
                    self.goes_on();
                    self.log.accept_first();
                    if let Some(ticket) = self.tickets.remove(&entry.pos) {
                        ticket.settle(Ok(Kept::InMemory), fx);
                    }
                    self.feed_all(hub, fx);
                }
                Step::Hand(_, cause) | Step::Wait(cause) if self.is_overdue(hub, entry.pos) => {
                    self.refused(hub, &[entry], fx, || cause.error());
                }
                Step::Hand(sessions, cause) => self.hand(hub, &entry, &sessions, cause, fx),
                Step::Refuse(cause) => self.refused(hub, &[entry], fx, || cause.error()),
                Step::Wait(obstacle) => {
                    if obstacle != Obstacle::Away {
                        // The lane has nothing to try.
                        self.stick(entry.pos, obstacle);
                    }
                    return self.limit_waits(hub, fx);
                }
                Step::Store => return,
            }
        }
    }

    fn next_step(&self, hub: &Inner, entry: &LogEntry) -> Step {
        let caps = hub.queue.caps();
        let is_online = self.live() > 0;
        let stuck = self.stuck.filter(|(pos, _)| *pos == entry.pos).map(|(_, obstacle)| obstacle);
        let obstacle = if caps.max_messages == 0 {
            Obstacle::NoQueue
        } else if is_too_big(&entry.packet, &caps) {
            Obstacle::Full
        } else if is_online && self.accepts_in_memory(hub, &entry.packet) {
            return Step::Accept;
        } else if let Some(stuck) = stuck {
            stuck
        } else if self.away && is_online {
            Obstacle::Away
        } else {
            return Step::Store;
        };
        // Without a queue a cluster sends to all nodes.
        if !is_online || (obstacle == Obstacle::NoQueue && hub.relay.is_some()) {
            return Step::Refuse(obstacle);
        }
        if obstacle != Obstacle::Room {
            let sessions = self.sessions_given_all(hub, &entry.packet);
            if !sessions.is_empty() {
                return Step::Hand(sessions, obstacle);
            }
        }
        Step::Wait(obstacle)
    }

    fn first_deadline(&self) -> Option<Instant> {
        let first = self.log.first_waiting()?;
        self.tickets.get(&first.pos)?.deadline()
    }

    fn is_overdue(&self, hub: &Inner, pos: u64) -> bool {
        let deadline = self.tickets.get(&pos).and_then(|ticket| ticket.deadline());
        deadline.is_some_and(|deadline| deadline <= hub.runtime.now())
    }

    /// The first message that waits does so for a limited time from now on, and those behind it as long.
    fn limit_waits(&mut self, hub: &Inner, fx: &mut Effects) {
        if self.first_deadline().is_none() {
            for entry in self.log.all_waiting() {
                self.limit_wait(hub, entry.pos, fx);
            }
        }
    }

    /// The sender of a message waits for a limited time from now on.
    fn limit_wait(&mut self, hub: &Inner, pos: u64, fx: &mut Effects) {
        if let Some(ticket) = self.tickets.get(&pos) {
            let (now, timeout) = (hub.runtime.now(), hub.settings.send_timeout);
            let since = *self.waiting_since.get_or_insert(now);
            // Where the first has waited so long in vain, no other is made to wait.
            let is_in_vain = now.saturating_since(since) >= timeout;
            ticket.limit(if is_in_vain { now } else { now.saturating_add(timeout) }, fx);
        }
    }

    /// Something that senders may wait for has happened.
    pub(super) fn goes_on(&mut self) {
        self.waiting_since = None;
    }

    /// The queue did not take the first message that waits.
    pub(crate) fn stick(&mut self, pos: u64, obstacle: Obstacle) {
        self.stuck = Some((pos, obstacle));
    }

    /// The queue may have more room.
    pub(crate) fn unstick(&mut self) {
        self.stuck = None;
    }

    /// Whether the first message that waits is one that the queue did not take.
    pub(crate) fn is_stuck(&self) -> bool {
        let first = self.log.first_waiting().map(|entry| entry.pos);
        first.is_some() && self.stuck.map(|(pos, _)| pos) == first
    }

    /// A sender's time is over.
    pub(crate) fn give_up(&mut self, hub: &Inner, pos: u64, fx: &mut Effects) {
        if let Some(cause) = self.handed.cause(pos) {
            if let Some(ticket) = self.tickets.remove(&pos) {
                let cause = Box::new(cause.error());
                ticket.settle(Err(SendError::Unconfirmed { pending: true, cause }), fx);
            }
            return;
        }
        let is_being_stored = self.storing.is_some_and(|(first, last)| (first..=last).contains(&pos));
        let waiting = self.log.all_waiting().into_iter().find(|entry| entry.pos == pos);
        if let Some(entry) = waiting.filter(|_| !is_being_stored) {
            let stuck = self.stuck.filter(|(stuck, _)| *stuck == pos).map(|(_, obstacle)| obstacle);
            let cause = match stuck {
                Some(obstacle) => obstacle,
                None if hub.queue.caps().max_messages == 0 => Obstacle::NoQueue,
                None if self.away => Obstacle::Away,
                None => Obstacle::Full,
            };
            self.refused(hub, &[entry], fx, || cause.error());
            self.admit(hub, fx);
            self.want_lane(hub, fx);
        }
    }

    /// The live sessions that have been given everything before the first message that waits, if there is room for it: as
    /// many bytes are handed to a user's sessions at most as may wait for one connection.
    fn sessions_given_all(&self, hub: &Inner, packet: &Packet) -> Vec<Arc<Core>> {
        let max_bytes = hub.settings.backlog.max_bytes;
        if !self.handed.is_empty() && self.handed.bytes + packet.cost() > max_bytes {
            return Vec::new();
        }
        let has_all = |core: &&Arc<Core>| {
            let slot = core.slot.lock();
            slot.takes_handed() && self.log.is_given_all(slot.fed)
        };
        self.sessions.iter().filter(has_all).cloned().collect()
    }

    /// Gives the first message that waits to sessions. It is not stored: if no session confirms it, it is lost.
    fn hand(
        &mut self,
        hub: &Inner,
        entry: &LogEntry,
        sessions: &[Arc<Core>],
        cause: Obstacle,
        fx: &mut Effects,
    ) {
        self.limit_wait(hub, entry.pos, fx);
        self.log.remove(entry.pos);
        for core in sessions {
            core.slot.lock().push_handed(&entry.packet, entry.pos);
        }
        self.handed.insert(entry, sessions, cause);
        self.feed_all(hub, fx);
    }

    /// Nobody knows whether these messages are stored. Those that every session can be given go there, where that does
    /// no harm; the senders of the others learn that the outcome is unknown. Returns whether the queue has to be asked.
    pub(crate) fn store_failed(
        &mut self,
        hub: &Inner,
        batch: &[LogEntry],
        fx: &mut Effects,
        error: impl Fn() -> SendError,
    ) -> bool {
        self.log.forget_stored_size();
        let mut asks = false;
        for entry in batch {
            let sessions = self.sessions_given_all(hub, &entry.packet);
            let is_first = self.log.first_waiting().is_some_and(|first| first.pos == entry.pos);
            // In a cluster messages of other nodes may stand before those that were stored without a word.
            let is_safe = hub.relay.is_none() && !sessions.is_empty() && sessions.len() == self.live();
            if is_first && is_safe && !self.is_overdue(hub, entry.pos) {
                self.hand(hub, entry, &sessions, Obstacle::Away, fx);
                asks = true;
            } else {
                self.refused(hub, std::slice::from_ref(entry), fx, &error);
            }
        }
        asks
    }

    pub(crate) fn is_handed(&self, pos: u64) -> bool {
        self.handed.contains(pos)
    }
}

fn is_too_big(packet: &Packet, caps: &Caps) -> bool {
    packet.cost() as u64 > caps.max_bytes
        || caps.max_message.is_some_and(|limit| packet.message().data().len() > limit)
}
