//! Transient messages, and the stored messages that they must not overtake.

use std::sync::Arc;

use super::State;
use crate::hub::{
    effects::{Effects, Ticket},
    inner::Inner,
    log::After,
    packet::Packet,
    session::Offered,
};

/// What became of a message that was offered to a user's sessions.
#[derive(Debug)]
pub(crate) enum Offer {
    /// Nobody is there.
    Offline,
    /// The number of sessions that take it. They may hold it back behind messages that they are being given.
    Taken(usize),
    /// The number of sessions that hold it back, all of them behind stored messages that have yet to be read from the queue. The
    /// ticket says when to look again.
    Unread(usize, Arc<Ticket<Look>>),
}

impl Offer {
    /// How many sessions take it, `None` if nobody is there.
    pub(crate) fn sessions(&self) -> Option<usize> {
        match self {
            Self::Offline => None,
            Self::Taken(sessions) | Self::Unread(sessions, _) => Some(*sessions),
        }
    }
}

/// Something has happened to a user some of whose sessions hold a message back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Stored messages have been read.
    Read,
    /// A session has ended.
    Ended,
}

/// Where a message is that was held back.
#[derive(Debug)]
pub(crate) enum Held {
    /// A session is given what precedes it, or has it.
    Reached,
    /// With no session any more; whether the user is online.
    Gone { online: bool },
    /// Behind stored messages that are still unread.
    Unread(Arc<Ticket<Look>>),
}

enum Location {
    Reached,
    Unread,
    Nowhere,
}

impl State {
    /// Offers a transient message to every session, in the order of the log: behind `after`.
    pub(crate) fn offer(
        &mut self,
        hub: &Inner,
        packet: &Arc<Packet>,
        after: After,
        fx: &mut Effects,
    ) -> Offer {
        let (mut is_here, mut taken, mut unread) = (false, 0, 0);
        for session in &self.sessions {
            match session.offer(hub, packet, Some(after), fx) {
                Offered::Taken => taken += 1,
                Offered::Unread => unread += 1,
                Offered::Refused => is_here = true,
                // Nor is one there that this message ended as slow.
                Offered::Gone => {}
            }
        }
        match (taken, unread) {
            (0, 0) if !is_here => Offer::Offline,
            (0, 1..) => Offer::Unread(unread, self.unread_ticket()),
            _ => Offer::Taken(taken + unread),
        }
    }

    fn unread_ticket(&mut self) -> Arc<Ticket<Look>> {
        let ticket = Arc::new(Ticket::default());
        self.unread.push(Arc::clone(&ticket));
        ticket
    }

    /// A session has been given stored messages.
    pub(crate) fn backlog_read(&mut self, fx: &mut Effects) {
        self.goes_on();
        self.tell_unread(Look::Read, fx);
    }

    /// A session has ended, and with it what it held back.
    pub(crate) fn look_again(&mut self, fx: &mut Effects) {
        self.tell_unread(Look::Ended, fx);
    }

    fn tell_unread(&mut self, look: Look, fx: &mut Effects) {
        for ticket in std::mem::take(&mut self.unread) {
            ticket.settle(look, fx);
        }
    }

    /// Looks for a message that was held back.
    pub(crate) fn find_held(&mut self, packet: &Arc<Packet>) -> Held {
        match self.locate(packet) {
            Location::Reached => Held::Reached,
            Location::Unread => Held::Unread(self.unread_ticket()),
            Location::Nowhere => Held::Gone { online: self.live() > 0 },
        }
    }

    /// Takes a message back from the sessions that hold it back. Returns false if one of them has been given what
    /// precedes it.
    pub(crate) fn withdraw(&mut self, hub: &Inner, packet: &Arc<Packet>, fx: &mut Effects) -> bool {
        if matches!(self.locate(packet), Location::Reached) {
            return false;
        }
        for session in &self.sessions {
            let mut slot = session.slot.lock();
            slot.withdraw(packet);
            fx.wake_all(slot.take_writable(hub.settings.backlog));
        }
        true
    }

    fn locate(&self, packet: &Arc<Packet>) -> Location {
        let mut location = Location::Nowhere;
        if packet.is_reached() {
            return Location::Reached;
        }
        for session in &self.sessions {
            let slot = session.slot.lock();
            if slot.holds(packet) {
                if !slot.wants_page {
                    return Location::Reached;
                }
                location = Location::Unread;
            }
        }
        location
    }

    pub(crate) fn drop_unread_ticket(&mut self, ticket: &Arc<Ticket<Look>>) {
        self.unread.retain(|other| !Arc::ptr_eq(other, ticket));
    }
}
