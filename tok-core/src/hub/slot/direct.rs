//! Writing to a session at rest from the sender's task: one system call, where waking the session's task would cost a
//! turn of the scheduler and a poll more.

use std::{slice, sync::Arc, task::Waker};

use bytes::Bytes;

use super::{Backlog, Item, Slot};
use crate::{
    collections::shrink_queue,
    hub::{effects::Effects, session::Core, waiters::Wakers},
    transport::{Framing, WriteNow},
};

/// How senders write to a connection.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) writer: Arc<dyn WriteNow>,
    pub(crate) framing: &'static Framing,
}

/// Frames in one write.
const BATCH: usize = 16;

impl Slot {
    /// Lets senders write themselves from here on, when the session rests.
    pub(crate) fn write_directly(&mut self, direct: Direct) {
        self.direct = self.live.then_some(direct);
    }

    /// Something waits: `fx` will write it, or wake the session's task to.
    pub(crate) fn announce(&mut self, core: &Arc<Core>, fx: &mut Effects) {
        if self.parked && self.at_rest && self.direct.is_some() {
            fx.write_out(core);
        } else {
            fx.wake(self.unpark());
        }
    }

    /// Writes what waits, if the task still does. Returns those to wake: the task if something is left for it, and who
    /// waits for room.
    pub(crate) fn write_out(&mut self, backlog: Backlog) -> (Option<Waker>, Wakers) {
        if !self.parked {
            return (None, Wakers::default());
        }
        let task = if self.at_rest && self.write_all() { None } else { self.unpark() };
        (task, self.take_writable(backlog))
    }

    /// The rest of a frame that comes before anything else.
    pub(crate) fn take_torn(&mut self) -> Option<Bytes> {
        self.torn.take().map(|rest| *rest)
    }

    /// False if something is left.
    fn write_all(&mut self) -> bool {
        let Some(Direct { writer, framing }) = &self.direct else { return false };
        // What is kept is followed by a question, and an empty message may have no frame: both are the task's.
        let is_plain = |item: &Item| item.kept.is_none() && !item.packet.message().data().is_empty();
        while !self.outbox.is_empty() {
            if !self.outbox.iter().take(BATCH).all(is_plain) {
                return false;
            }
            let result = match self.outbox.front() {
                Some(item) if self.outbox.len() == 1 => {
                    writer.write_now(slice::from_ref(&*item.packet.frame(framing)))
                }
                _ => {
                    let frame = |item: &Item| item.packet.frame(framing).into_owned();
                    writer.write_now(&self.outbox.iter().take(BATCH).map(frame).collect::<Vec<_>>())
                }
            };
            // The task meets the same error when it writes.
            let Ok(mut written @ 1..) = result else { return false };
            while let Some(item) = self.outbox.front() {
                if written == 0 {
                    break;
                }
                let frame = item.packet.frame(framing);
                let len = frame.bytes().len();
                let cost = item.packet.cost();
                self.outbox_bytes -= cost;
                self.unkept_bytes -= cost;
                let rest = (written < len).then(|| frame.bytes().slice(written..));
                self.outbox.pop_front();
                if let Some(rest) = rest {
                    self.unsent += rest.len();
                    self.torn = Some(Box::new(rest));
                    return false;
                }
                written -= len;
            }
        }
        shrink_queue(&mut self.outbox);
        true
    }
}
