//! A session's task: one future that reads, writes, handles and keeps time for one connection.

mod clock;
mod handle;
mod read;
mod write;

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use self::{handle::Inbox, write::Question};
use super::{
    effects::Effects,
    inner::Inner,
    log::Cursor,
    login::{self, Arrival},
    session::{Core, Session},
    slot::Direct,
};
use crate::{
    CloseReason, Device, Transport,
    rt::{BoxFuture, Instant},
    trace::event,
    transport::{Outgoing, TransportError},
};

/// Bytes that the transport is given beyond what the operating system took. Small enough that a takeover finds
/// little on its way, large enough to fill a socket in one call.
const MAX_UNSENT: usize = 64 * 1024;
/// Messages read, or handled, before writing gets its turn.
pub(super) const ROUND: usize = 64;
/// Rounds before other tasks get theirs.
const ROUNDS: usize = 8;

/// Runs a session to its end and says why it ended.
///
/// What only the login needs is in a box that goes with it, because this future is most of what an idle connection costs.
pub(crate) fn serve<T: Transport>(
    hub: Arc<Inner>,
    device: Device,
    transport: T,
) -> impl Future<Output = CloseReason> + Send + 'static {
    let begin = Box::pin(begin(hub, device, transport));
    async move {
        let Begun { session, refused, early, transport } = match begin.await {
            Ok(begun) => begun,
            Err(reason) => return reason,
        };
        let mut end = End { session: &session, opened: refused.is_none(), reason: CloseReason::Dropped };
        if end.opened {
            session.hub.everyone.add(&session.core);
            if session.hub.is_draining() {
                // A shutdown that began after the attach may have looked for sessions before this one could be found.
                session.close(CloseReason::Draining);
            }
        }
        let opened = if end.opened { session.hub.hooks.open(&session) } else { Ok(()) };
        let mut driver = Driver::new(&session, transport);
        early.into_iter().for_each(|arrival| driver.take(arrival));
        if let Some(reason) = refused.or(opened.is_err().then_some(CloseReason::Panicked)) {
            driver.end(reason);
        }
        end.reason = poll_fn(|cx| driver.poll(cx)).await;
        end.reason
    }
}

/// A session that was made, attached unless it was refused.
struct Begun<T> {
    session: Session,
    refused: Option<CloseReason>,
    early: Vec<Arrival>,
    transport: T,
}

async fn begin<T: Transport>(
    hub: Arc<Inner>,
    device: Device,
    mut transport: T,
) -> Result<Begun<T>, CloseReason> {
    // A connection that ended before its login took effect must not end the session of its own successor.
    let max_bytes = hub.settings.max_inbound;
    let early = match poll_fn(|cx| Poll::Ready(login::read_early(&mut transport, max_bytes, cx))).await {
        Ok(early) => early,
        Err(reason) => {
            if reason == CloseReason::PeerClosed {
                close(&hub, &mut transport).await;
            }
            return Err(reason);
        }
    };
    let (session, refused) = match login::login(&hub, device, transport.connection()).await {
        Ok(session) => (session, None),
        Err((session, reason)) => (session, Some(reason)),
    };
    Ok(Begun { session, refused, early, transport })
}

/// Closes a connection that no session was made for, within the time for a goodbye.
async fn close<T: Transport>(hub: &Inner, transport: &mut T) {
    let mut timeout = hub.runtime.sleep_until(hub.runtime.now().saturating_add(hub.settings.close_timeout));
    poll_fn(
        |cx| if transport.poll_close(cx).is_ready() { Poll::Ready(()) } else { timeout.as_mut().poll(cx) },
    )
    .await;
}

/// Takes a session apart when its task ends, however it ends.
struct End<'a> {
    session: &'a Session,
    opened: bool,
    reason: CloseReason,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Session { core, hub } = self.session;
        if !self.opened {
            return;
        }
        hub.everyone.remove(core);
        let mut fx = Effects::default();
        if let Some(mut state) = core.user.lock() {
            state.detach(hub, core, self.reason, &mut fx);
            state.forget(core);
        }
        fx.run(hub);
        hub.rooms.leave_all(core);
        hub.hooks.close(self.session, self.reason);
        core.user.retire_if_idle(hub);
        hub.session_ended();
    }
}

/// Where a session is on its way.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    /// The goodbye is on its way, until the peer is done or the time is up.
    Closing(CloseReason, Instant),
    /// The transport is gone; a handler may still run.
    Gone(CloseReason),
}

struct Driver<'a, T> {
    session: &'a Session,
    transport: Option<T>,
    phase: Phase,
    /// Bytes that the transport took.
    accepted: u64,
    /// Of these, since all was last written, those of messages that are not kept.
    unkept: usize,
    /// How far the log has been given to the transport, and how far that is confirmed or being asked.
    given: Cursor,
    asked: Cursor,
    /// The question that the peer, or the operating system, has yet to answer.
    question: Option<Question>,
    barriers: u64,
    now: Instant,
    /// When the peer last gave a sign of life. Bytes that move count, either way.
    last_heard: Instant,
    /// The bytes of the peer's that have counted.
    received: u64,
    probed: bool,
    /// Reading stopped because the handler does not keep up; silence is not the peer's fault then.
    reading_paused: bool,
    written: u64,
    last_written: Instant,
    /// The transport has something to write and found no room for it.
    write_waits: bool,
    armed: Option<Instant>,
    /// Messages that were read and wait for the handler, and the one that is being handled.
    inbox: Inbox,
    handler: Option<BoxFuture<'a, ()>>,
    /// No message is handled any more.
    handler_done: bool,
    /// The peer will send nothing more, for this reason. What it sent is handled first, and answered, until then.
    leaving: Option<(CloseReason, Instant)>,
    /// The transport has said in this poll that nothing more is there, and will wake the task when there is.
    nothing_to_read: bool,
}

impl<'a, T: Transport> Driver<'a, T> {
    fn new(session: &'a Session, transport: T) -> Self {
        let (hub, core) = (&session.hub, &session.core);
        // Hooks that see each delivery are called in the session's task.
        if !hub.hooks.see_deliveries()
            && let Some(writer) = transport.writer()
        {
            core.slot.lock().write_directly(Direct { writer, framing: transport.framing() });
        }
        let now = hub.runtime.now();
        Self {
            session,
            transport: Some(transport),
            phase: Phase::Running,
            accepted: 0,
            unkept: 0,
            given: Cursor::default(),
            asked: Cursor::default(),
            question: None,
            barriers: 0,
            now,
            last_heard: now,
            received: 0,
            probed: false,
            reading_paused: false,
            written: 0,
            last_written: now,
            write_waits: false,
            armed: None,
            inbox: Inbox::default(),
            handler: None,
            handler_done: false,
            leaving: None,
            nothing_to_read: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.now = self.hub().runtime.now();
        self.core().slot.lock().resume();
        self.nothing_to_read = false;
        let mut handler_waits = false;
        for _ in 0..ROUNDS {
            if self.core().aborted.load(Ordering::Acquire) {
                return Poll::Ready(self.reason().unwrap_or(CloseReason::Draining));
            }
            // In the order in which a message passes through, so that one round is mostly enough.
            let mut progress = matches!(self.phase, Phase::Running) && self.read(cx);
            let handled = self.handle(cx, &mut handler_waits);
            // Reading may go on.
            progress |= handled && (self.reading_paused || self.handler_done);
            match self.phase {
                Phase::Running => progress |= self.write(cx),
                Phase::Closing(reason, until) => {
                    let closed = self.transport.as_mut().is_none_or(|t| t.poll_close(cx).is_ready());
                    if closed || self.now >= until {
                        self.transport = None;
                        self.phase = Phase::Gone(reason);
                        progress = true;
                    }
                }
                Phase::Gone(reason) if self.handler_done => return Poll::Ready(reason),
                Phase::Gone(_) => {}
            }
            progress |= self.leave();
            progress |= self.keep_time();
            if !progress {
                if self.park(cx) {
                    return Poll::Pending;
                }
                self.now = self.hub().runtime.now();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn hub(&self) -> &'a Arc<Inner> {
        &self.session.hub
    }

    fn core(&self) -> &'a Arc<Core> {
        &self.session.core
    }

    fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Running => None,
            Phase::Closing(reason, _) | Phase::Gone(reason) => Some(reason),
        }
    }

    fn unsent(&self) -> usize {
        let written = self.transport.as_ref().map_or(self.accepted, Transport::written);
        usize::try_from(self.accepted.saturating_sub(written)).unwrap_or(usize::MAX)
    }

    fn max_unsent(&self) -> usize {
        MAX_UNSENT.min(self.hub().settings.backlog.max_bytes)
    }

    fn fail(&mut self, error: &TransportError) {
        event!(DEBUG, error = %error, "a transport failed");
        match reason_of(error) {
            CloseReason::Disconnected => self.end(CloseReason::Disconnected),
            reason => self.begin_leaving(reason),
        }
    }

    fn begin_leaving(&mut self, reason: CloseReason) {
        let until = self.now.saturating_add(self.hub().settings.close_timeout);
        self.leaving.get_or_insert((reason, until));
    }

    /// Ends a session whose peer has left, once what it had sent is handled and answered. Says whether it did.
    fn leave(&mut self) -> bool {
        let (Some((reason, _)), Phase::Running) = (self.leaving, self.phase) else { return false };
        let handled = self.handler_done || (self.inbox.is_empty() && self.handler.is_none());
        let answered = handled && !self.core().slot.lock().owes();
        if answered {
            self.end(reason);
        }
        answered
    }

    /// Begins the end: the session is given nothing more, and the peer is told if it can be.
    fn end(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let (hub, core) = (self.hub(), self.core());
        self.session.close(reason);
        // Messages that the peer sent before it left are still handled; a session that was ended handles no more.
        let (fenced, torn) = {
            let mut slot = core.slot.lock();
            (!slot.may_handle(), slot.take_torn())
        };
        self.inbox.close();
        if fenced {
            hub.budget.sub(self.inbox.clear());
        }
        let until = self.now.saturating_add(hub.settings.close_timeout);
        self.phase = match reason {
            CloseReason::Disconnected | CloseReason::Dropped | CloseReason::Replaced => {
                self.transport = None;
                Phase::Gone(reason)
            }
            _ => {
                // A close behind half a frame would be taken for the other half.
                if let (Some(rest), Some(transport)) = (torn, &mut self.transport) {
                    let _ = transport.start_send(Outgoing::Rest(rest));
                }
                if reason.can_say_goodbye() {
                    self.say_goodbye(reason);
                }
                Phase::Closing(reason, until)
            }
        };
    }

    fn say_goodbye(&mut self, reason: CloseReason) {
        let bye = self.hub().hooks.bye(self.session, reason);
        let Some(transport) = &mut self.transport else { return };
        // A transport that can take nothing more is closed all the same.
        if let Some(bye) = bye {
            let _ = transport.start_send(Outgoing::Frame(transport.framing().encode(&bye)));
        }
        let _ = transport.start_send(Outgoing::Close(reason));
    }

    /// Registers the task to be woken by whoever has something for it. False if somebody has already.
    fn park(&self, cx: &Context<'_>) -> bool {
        let backlog = self.hub().settings.backlog;
        let running = matches!(self.phase, Phase::Running);
        let unsent = self.unsent();
        let can_write = unsent < self.max_unsent();
        let at_rest = running && unsent == 0 && self.transport.as_ref().is_some_and(Transport::is_at_rest);
        let mut slot = self.core().slot.lock();
        let given = slot.is_ending() || can_write && (slot.has_output() || slot.is_hungry(backlog));
        let busy = slot.take_roused() || running && given;
        if !busy {
            slot.park(cx.waker(), at_rest);
        }
        !busy
    }
}

impl<T> Drop for Driver<'_, T> {
    fn drop(&mut self) {
        let Session { core, hub } = self.session;
        hub.budget.sub(self.inbox.clear());
        if let Some(armed) = self.armed {
            hub.timers.disarm(armed, core);
        }
    }
}

pub(super) fn reason_of(error: &TransportError) -> CloseReason {
    match error {
        TransportError::Closed | TransportError::Io(_) => CloseReason::Disconnected,
        TransportError::TooBig { .. } => CloseReason::TooBig,
        TransportError::BadText => CloseReason::BadText,
        TransportError::Protocol(_) => CloseReason::Protocol,
    }
}
