//! The session's reading half.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use super::{Driver, Phase, ROUND, write::Question};
use crate::{
    CloseReason, Message, Transport,
    hub::login::Arrival,
    transport::{COPY_UP_TO, Incoming},
};

/// Bytes a second that a message has to gain while it arrives, for its peer not to be taken for silent.
const MIN_RATE: u64 = 1024;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl<T: Transport> Driver<'_, T> {
    /// Reads while the handler keeps up. Says whether there may be more to read at once.
    pub(super) fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let hub = self.hub();
        for _ in 0..ROUND {
            if !matches!(self.phase, Phase::Running) {
                return true;
            }
            if self.leaving.is_some() || self.nothing_to_read {
                return false;
            }
            let full = self.inbox.bytes() >= hub.settings.max_inbound || hub.budget.is_over();
            if full && !self.inbox.is_empty() {
                self.reading_paused = true;
                return false;
            }
            if std::mem::take(&mut self.reading_paused) {
                self.heard();
            }
            let Some(transport) = &mut self.transport else { return false };
            let Poll::Ready(arrival) = transport.poll_recv(cx) else {
                self.nothing_to_read = true;
                self.hear_part();
                return false;
            };
            self.take(arrival);
        }
        true
    }

    pub(super) fn take(&mut self, arrival: Arrival) {
        match arrival {
            Ok(Incoming::Close) => return self.begin_leaving(CloseReason::PeerClosed),
            Err(error) => return self.fail(&error),
            Ok(_) => self.heard(),
        }
        match arrival {
            Ok(Incoming::Message(message)) => {
                let cost = self.inbox.push(own(message));
                self.hub().budget.add(cost);
            }
            Ok(Incoming::Barrier(number)) => {
                if let Some(Question::Barrier(asked, cursor)) = self.question
                    && asked == number
                {
                    self.question = None;
                    self.confirm(cursor);
                }
            }
            _ => {}
        }
    }

    pub(super) fn heard(&mut self) {
        self.last_heard = self.now;
        self.probed = false;
    }

    /// Counts what has arrived of a message that is not whole: it keeps the peer alive as long as it comes at
    /// [`MIN_RATE`]. An open probe stays open, for the peer cannot answer in the midst of a message.
    fn hear_part(&mut self) {
        let received = self.transport.as_ref().map_or(0, Transport::received);
        let bytes = received.saturating_sub(self.received);
        self.received = received;
        let time = Duration::from_nanos(bytes.saturating_mul(NANOS_PER_SECOND / MIN_RATE));
        self.last_heard = self.last_heard.saturating_add(time).min(self.now);
    }
}

/// The message without hold on the buffer that it was read into. Of larger ones transports say that they hold about their
/// own size.
fn own(message: Message) -> Message {
    if message.data().len() > COPY_UP_TO {
        return message;
    }
    Message::new(message.kind(), Bytes::copy_from_slice(message.data()))
}
