//! The session's writing half: what waits for it, and the questions that confirm it.

use std::task::{Context, Poll};

use super::{Driver, ROUND, reason_of};
use crate::{
    CloseReason, Confirm, Transport,
    hub::{
        effects::Effects,
        hooks::{Sending, Undelivered},
        log::Cursor,
        slot::Item,
    },
    transport::{Outgoing, TransportError},
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Answered by [`Incoming::Barrier`] of this number.
    Barrier(u64, Cursor),
    /// Answered when so many bytes are written.
    Written(u64, Cursor),
}

/// What was handed to the transport: how many messages, and whether the rest of one that a sender wrote in part.
struct Handed {
    items: usize,
    rest: bool,
}

/// Messages handed over under one lock.
const BATCH: usize = 8;

impl<T: Transport> Driver<'_, T> {
    /// Hands over what waits, asks for confirmation, and writes. Says whether the session began to end.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let was_unsent = self.unsent() > 0;
        let mut counted = was_unsent;
        for _ in 0..ROUND / BATCH {
            match self.hand_over() {
                Ok(Handed { items, rest }) => {
                    // The sender that wrote a part has counted the rest as unsent.
                    counted |= rest;
                    // Less than a batch: nothing more waits, or the transport is behind.
                    if items < BATCH {
                        break;
                    }
                }
                Err(reason) => {
                    self.end(reason);
                    return true;
                }
            }
        }
        if let Err(error) = self.ask() {
            self.fail(&error);
            return true;
        }
        let Some(transport) = &mut self.transport else { return false };
        let waited = std::mem::take(&mut self.write_waits);
        if transport.written() < self.accepted {
            match transport.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.fail(&error);
                    return true;
                }
                Poll::Pending => self.write_waits = true,
            }
        }
        let written = transport.written();
        if waited && written > self.written {
            // The peer made room. What the operating system takes at once says nothing about the peer.
            self.last_heard = self.now;
        }
        if written > self.written || !was_unsent {
            self.written = written;
            self.last_written = self.now;
        }
        if counted || written < self.accepted {
            self.tell_unsent();
        }
        if let Some(Question::Written(upto, cursor)) = self.question
            && written >= upto
        {
            self.question = None;
            self.confirm(cursor);
        }
        false
    }

    /// Tells senders how much is unwritten, and who waits for room when there is.
    fn tell_unsent(&mut self) {
        let unsent = self.unsent();
        if unsent == 0 {
            self.unkept = 0;
        }
        let backlog = self.hub().settings.backlog;
        let writable = self.core().slot.lock().set_unsent(unsent.min(self.unkept), backlog);
        writable.wake();
    }

    /// Hands some of what waits to the transport, as far as it is not behind with writing.
    fn hand_over(&mut self) -> Result<Handed, CloseReason> {
        let (hub, core) = (self.hub(), self.core());
        let unsent = self.unsent();
        if unsent == 0 {
            self.unkept = 0;
        }
        let mut batch = [const { None }; BATCH];
        let backlog = hub.settings.backlog;
        let (torn, items, ending, hungry, writable) = {
            let mut slot = core.slot.lock();
            let torn = slot.take_torn();
            let items = slot.take(self.max_unsent().saturating_sub(unsent), &mut batch);
            (torn, items, slot.take_ending(), slot.is_hungry(backlog), slot.take_writable(backlog))
        };
        writable.wake();
        let rest = torn.is_some();
        if let (Some(rest), Some(transport)) = (torn, &mut self.transport) {
            self.unkept += rest.len();
            self.accepted = transport.start_send(Outgoing::Rest(rest)).map_err(|error| reason_of(&error))?;
        }
        if let Some(reason) = ending {
            return Err(reason);
        }
        if hungry {
            let mut fx = Effects::default();
            if let Some(mut state) = core.user.lock() {
                state.feed(hub, core, &mut fx);
            }
            fx.run(hub);
        }
        for item in batch.iter().take(items).flatten() {
            self.give(item)?;
        }
        Ok(Handed { items, rest })
    }

    /// Gives one message to the transport, by way of the hooks.
    fn give(&mut self, item: &Item) -> Result<(), CloseReason> {
        let (hub, session) = (self.hub(), self.session);
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let message = item.packet.message();
        if item.packet.expires_at().is_some() && item.packet.is_expired(hub.runtime.now()) {
            self.pass_over(item, Undelivered::Expired);
            return Ok(());
        }
        let framing = transport.framing();
        let mut replaced = None;
        let frame = match hub.hooks.before_send(session, message).map_err(|_| CloseReason::Panicked)? {
            Sending::Pass => item.packet.frame(framing).into_owned(),
            Sending::Replace(other) => {
                let other = other.with_id(message.id());
                let frame = framing.encode(&other);
                replaced = Some(other);
                frame
            }
            Sending::Refuse => {
                self.pass_over(item, Undelivered::Refused);
                return Ok(());
            }
        };
        let bytes = frame.bytes().len();
        self.accepted = transport.start_send(Outgoing::Frame(frame)).map_err(|error| reason_of(&error))?;
        match item.kept {
            Some(at) => self.given.advance(at),
            None => self.unkept += bytes,
        }
        hub.hooks.after_send(session, replaced.as_ref().unwrap_or(message)).map_err(|_| CloseReason::Panicked)
    }

    /// The peer is not sent a message: what confirms the next one confirms this one too.
    fn pass_over(&mut self, item: &Item, why: Undelivered) {
        let (hub, core) = (self.hub(), self.core());
        let message = item.packet.message();
        hub.hooks.undelivered(core.user.uid(), message, why);
        let Some(at) = item.kept else { return };
        self.given.advance(at);
        let confirmed = core.slot.lock().pass_over(message.id());
        if let Some(cursor) = confirmed {
            self.confirm(cursor);
        }
    }

    /// Puts a question behind what was given since the last, if none is open: its answer confirms all before it.
    fn ask(&mut self) -> Result<(), TransportError> {
        let level = self.core().confirm_level();
        if self.question.is_some() || !self.given.passes(self.asked) || level == Confirm::Acknowledged {
            return Ok(());
        }
        let Some(transport) = &mut self.transport else { return Ok(()) };
        self.question = Some(if level == Confirm::Received && transport.confirms() {
            self.barriers += 1;
            self.accepted = transport.start_send(Outgoing::Barrier(self.barriers))?;
            Question::Barrier(self.barriers, self.given)
        } else if self.accepted == transport.written() {
            // Everything given was passed over or written already.
            self.asked = self.given;
            self.confirm(self.given);
            return Ok(());
        } else {
            Question::Written(self.accepted, self.given)
        });
        self.asked = self.given;
        Ok(())
    }

    pub(super) fn confirm(&self, cursor: Cursor) {
        let (hub, core) = (self.hub(), self.core());
        let mut fx = Effects::default();
        if let Some(mut state) = core.user.lock() {
            state.confirm(hub, core, cursor, &mut fx);
        }
        fx.run(hub);
    }
}
