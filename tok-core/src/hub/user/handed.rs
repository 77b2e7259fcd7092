//! Messages that could not be kept and went to sessions: they are not in the log, and are lost if no session confirms them.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::{Obstacle, State};
use crate::{
    SendError,
    hub::{
        Outcome,
        effects::{Effects, Kept},
        hooks::Undelivered,
        log::{Cursor, LogEntry},
        packet::Packet,
        session::{Core, SessionId},
    },
};

impl State {
    /// A session has confirmed everything up to `cursor`.
    pub(super) fn confirm_handed(&mut self, core: &Core, cursor: Cursor, fx: &mut Effects) {
        for pos in self.handed.confirm(core.id, cursor.pos) {
            self.receipts.end(pos, Outcome::Confirmed, fx);
            if let Some(ticket) = self.tickets.remove(&pos) {
                ticket.settle(Ok(Kept::Confirmed), fx);
            }
        }
    }

    /// A session takes the place of others: what they had not confirmed goes to it, where nothing is in between.
    pub(super) fn hand_over(&mut self, core: &Arc<Core>) {
        let mut slot = core.slot.lock();
        if !self.log.is_empty() || !self.log.is_given_all(slot.fed) {
            return;
        }
        let sessions = &self.sessions;
        let is_live = |id: &SessionId| {
            sessions.iter().any(|other| other.id == *id && *id != core.id && other.slot.lock().is_live())
        };
        for (pos, message) in &mut self.handed.messages {
            if !message.sessions.iter().any(is_live) {
                message.sessions = vec![core.id];
                slot.push_handed(&message.packet, *pos);
            }
        }
    }

    /// Messages whose sessions have all ended are lost.
    pub(super) fn drop_handed(&mut self, fx: &mut Effects) {
        let sessions = &self.sessions;
        let is_live = |id: SessionId| sessions.iter().any(|core| core.id == id && core.slot.lock().is_live());
        for (pos, message) in self.handed.drop_ended(is_live) {
            self.receipts.end(pos, Outcome::Lapsed, fx);
            if let Some(ticket) = self.tickets.remove(&pos) {
                let cause = Box::new(message.cause.error());
                ticket.settle(Err(SendError::Unconfirmed { pending: false, cause }), fx);
            }
            fx.report(&self.uid, message.packet, Undelivered::NotKept);
        }
    }
}

/// Messages that could not be kept and went to sessions, by their positions in the log.
#[derive(Debug, Default)]
pub(super) struct Handed {
    messages: BTreeMap<u64, HandedMessage>,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct HandedMessage {
    packet: Arc<Packet>,
    sessions: Vec<SessionId>,
    cause: Obstacle,
}

impl Handed {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn contains(&self, pos: u64) -> bool {
        self.messages.contains_key(&pos)
    }

    pub(super) fn cause(&self, pos: u64) -> Option<Obstacle> {
        self.messages.get(&pos).map(|message| message.cause)
    }

    pub(super) fn insert(&mut self, entry: &LogEntry, sessions: &[Arc<Core>], cause: Obstacle) {
        let sessions = sessions.iter().map(|core| core.id).collect();
        let packet = Arc::clone(&entry.packet);
        self.bytes += packet.cost();
        self.messages.insert(entry.pos, HandedMessage { packet, sessions, cause });
    }

    pub(super) fn remove(&mut self, pos: u64) {
        if let Some(message) = self.messages.remove(&pos) {
            self.bytes -= message.packet.cost();
        }
    }

    fn confirm(&mut self, session: SessionId, upto: u64) -> Vec<u64> {
        let confirmed = self.messages.range(..=upto);
        let confirmed = confirmed.filter(|(_, message)| message.sessions.contains(&session));
        let confirmed: Vec<u64> = confirmed.map(|(pos, _)| *pos).collect();
        confirmed.iter().for_each(|pos| self.remove(*pos));
        confirmed
    }

    fn drop_ended(&mut self, is_live: impl Fn(SessionId) -> bool) -> Vec<(u64, HandedMessage)> {
        let mut dropped = Vec::new();
        let ended = self.messages.iter_mut().filter_map(|(pos, message)| {
            message.sessions.retain(|id| is_live(*id));
            message.sessions.is_empty().then_some(*pos)
        });
        let ended: Vec<u64> = ended.collect();
        for pos in ended {
            if let btree_map::Entry::Occupied(message) = self.messages.entry(pos) {
                let message = message.remove();
                self.bytes -= message.packet.cost();
                dropped.push((pos, message));
            }
        }
        dropped
    }
}
