//! The session's writing half: what waits for it, and the questions that confirm it.

use std::task::{Context, Poll};

use super::{Driver, reason_of};
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

impl<T: Transport> Driver<'_, T> {
    /// Hands over what waits, asks for confirmation, and writes. Says whether anything moved.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let (hub, core) = (self.hub(), self.core());
        let unsent = self.unsent();
        let mut batch = Vec::new();
        let (ending, hungry, writable) = {
            let mut slot = core.slot.lock();
            slot.set_unsent(unsent);
            slot.take(self.max_unsent().saturating_sub(unsent), &mut batch);
            (
                slot.take_ending(),
                slot.is_hungry(hub.settings.backlog),
                slot.take_writable(hub.settings.backlog),
            )
        };
        if let Some(waker) = writable {
            waker.wake();
        }
        if let Some(reason) = ending {
            self.end(reason);
            return true;
        }
        if hungry {
            let mut fx = Effects::default();
            if let Some(mut state) = core.user.lock() {
                state.feed(hub, core, &mut fx);
            }
            fx.run(hub, Some(&core.user));
        }
        let moved = !batch.is_empty();
        for item in batch {
            if let Err(reason) = self.give(&item) {
                self.end(reason);
                return true;
            }
        }
        if let Err(error) = self.ask() {
            self.fail(&error);
            return true;
        }
        let Some(transport) = &mut self.transport else { return moved };
        if transport.written() < self.accepted
            && let Poll::Ready(Err(error)) = transport.poll_flush(cx)
        {
            self.fail(&error);
            return true;
        }
        let written = self.transport.as_ref().map_or(0, Transport::written);
        if written > self.written || unsent == 0 {
            self.written = written;
            self.last_written = self.now;
        }
        match self.question {
            Some(Question::Written(upto, cursor)) if written >= upto => {
                self.question = None;
                self.confirm(cursor);
                true
            }
            _ => moved,
        }
    }

    /// Gives one message to the transport, by way of the hooks.
    fn give(&mut self, item: &Item) -> Result<(), CloseReason> {
        let (hub, session) = (self.hub(), self.session);
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let message = item.packet.message();
        if item.packet.expires() && item.packet.is_expired(hub.runtime.unix_time()) {
            hub.hooks.undelivered(session.device().uid(), message, Undelivered::Expired);
            self.given.advance(item.kept.unwrap_or_default());
            return Ok(());
        }
        let framing = transport.framing();
        let mut replaced = None;
        let frame = match hub.hooks.before_send(session, message).map_err(|_| CloseReason::Panicked)? {
            Sending::Pass => item.packet.frame(framing),
            Sending::Replace(other) => {
                let other = other.with_id(message.id());
                let frame = framing.encode(&other);
                replaced = Some(other);
                frame
            }
            Sending::Refuse => {
                hub.hooks.undelivered(session.device().uid(), message, Undelivered::Refused);
                // It is passed over: what confirms the next message confirms this one too.
                self.given.advance(item.kept.unwrap_or_default());
                return Ok(());
            }
        };
        self.accepted = transport.start_send(Outgoing::Frame(frame)).map_err(|error| reason_of(&error))?;
        self.given.advance(item.kept.unwrap_or_default());
        hub.hooks.after_send(session, replaced.as_ref().unwrap_or(message)).map_err(|_| CloseReason::Panicked)
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
        fx.run(hub, Some(&core.user));
    }
}
