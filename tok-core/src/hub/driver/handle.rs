//! The session's handling part: one message after the other.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use super::Driver;
use crate::{
    CloseReason, Message, Transport,
    hub::hooks::{Received, guard},
};

impl<T: Transport> Driver<'_, T> {
    /// Lets the handler go on, and handles what waits until one has to wait: `waits` says that it does. Says whether it
    /// took a message or ended. No lock is held while the application's code runs.
    pub(super) fn handle(&mut self, cx: &mut Context<'_>, waits: &mut bool) -> bool {
        if self.handler_done || *waits {
            return false;
        }
        let mut progress = false;
        loop {
            if let Some(handler) = &mut self.handler {
                match guard("on_receive", || handler.as_mut().poll(cx)) {
                    Ok(Poll::Ready(())) => self.handler = None,
                    Ok(Poll::Pending) => {
                        *waits = true;
                        return progress;
                    }
                    Err(_) => return self.panicked(),
                }
            }
            if self.inbox.is_empty() && !self.inbox.closed {
                return progress;
            }
            let next = if self.core().slot.lock().may_handle() { self.inbox.pop() } else { None };
            let Some((message, cost)) = next else {
                self.handler_done = true;
                return true;
            };
            progress = true;
            let (hub, session) = (self.hub(), self.session);
            hub.budget.sub(cost);
            let handler = match hub.hooks.before_receive(session, message) {
                Ok(Received::Pass(message)) => {
                    guard("on_receive", || hub.actor.on_receive(session, message)).map(Some)
                }
                Ok(Received::Drop) => Ok(None),
                Ok(Received::Close(reason)) => {
                    session.close(reason);
                    Ok(None)
                }
                Err(panicked) => Err(panicked),
            };
            match handler {
                Ok(handler) => self.handler = handler,
                Err(_) => return self.panicked(),
            }
        }
    }

    fn panicked(&mut self) -> bool {
        self.handler_done = true;
        self.end(CloseReason::Panicked);
        true
    }
}

/// Messages that were read and wait for the handler.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    pub(super) fn push(&mut self, message: Message) -> usize {
        let cost = Self::cost(&message);
        self.bytes += cost;
        self.messages.push_back(message);
        cost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The next message, and what it counts for.
    fn pop(&mut self) -> Option<(Message, usize)> {
        let message = self.messages.pop_front()?;
        let cost = Self::cost(&message);
        self.bytes -= cost;
        if self.messages.is_empty() && self.messages.capacity() > 8 {
            self.messages = VecDeque::new();
        }
        Some((message, cost))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// No more messages will come; those here are still handled.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// No message is handled any more. Returns what those that waited counted for.
    pub(super) fn clear(&mut self) -> usize {
        self.closed = true;
        self.messages = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    fn cost(message: &Message) -> usize {
        message.data().len() + size_of::<Message>()
    }
}
