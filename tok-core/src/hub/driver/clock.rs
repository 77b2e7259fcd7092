//! The session's deadlines.

use std::time::Duration;

use super::{Driver, Phase};
use crate::{CloseReason, Transport, hub::timers::TICK, rt::Instant, transport::Outgoing};

#[derive(Clone, Copy, Debug)]
enum Due {
    Probe,
    End(CloseReason),
    /// The time for a goodbye is up; the next poll sees it.
    Closed,
}

impl<T: Transport> Driver<'_, T> {
    /// Does what is due, and asks to be woken for what is next. Says whether the session moved.
    pub(super) fn keep_time(&mut self) -> bool {
        let Some((deadline, due)) = self.next_deadline() else { return false };
        if self.now < deadline {
            let late =
                self.armed.is_none_or(|armed| armed <= self.now || armed > deadline.saturating_add(TICK));
            if late {
                self.armed = Some(self.hub().timers.arm(deadline, self.core(), self.armed));
            }
            return false;
        }
        match due {
            Due::Probe => self.probe(),
            Due::End(reason) => self.end(reason),
            Due::Closed => return false,
        }
        true
    }

    fn next_deadline(&self) -> Option<(Instant, Due)> {
        let settings = &self.hub().settings;
        if let Phase::Closing(_, until) = self.phase {
            return Some((until, Due::Closed));
        }
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        if let Some((reason, until)) = self.leaving {
            return Some((until, Due::End(reason)));
        }
        let mut next: Option<(Instant, Due)> = None;
        let mut consider = |timeout: Duration, since: Instant, due: Due| {
            let at = since.saturating_add(timeout);
            if !timeout.is_zero() && next.is_none_or(|(other, _)| at < other) {
                next = Some((at, due));
            }
        };
        if self.unsent() > 0 {
            consider(settings.write_timeout, self.last_written, Due::End(CloseReason::Slow));
        }
        if !self.reading_paused {
            consider(settings.read_timeout, self.last_heard, Due::End(CloseReason::Idle));
            if self.probed {
                consider(settings.ping_interval * 2, self.last_heard, Due::End(CloseReason::Idle));
            } else if self.hub().hooks.ping.is_some()
                || self.transport.as_ref().is_some_and(Transport::confirms)
            {
                consider(settings.ping_interval, self.last_heard, Due::Probe);
            }
        }
        next
    }

    /// Asks a silent peer for a sign of life.
    fn probe(&mut self) {
        self.probed = true;
        let result = match self.hub().hooks.ping(self.session) {
            Err(_) => return self.end(CloseReason::Panicked),
            Ok(message) => self.transport.as_mut().map(|transport| {
                transport.start_send(match &message {
                    Some(message) => Outgoing::Frame(transport.framing().encode(message)),
                    None => Outgoing::Ping,
                })
            }),
        };
        match result {
            Some(Ok(accepted)) => self.accepted = accepted,
            Some(Err(error)) => self.fail(&error),
            None => {}
        }
    }
}
