use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tok_core::{
    CloseReason, Transport,
    rt::BoxFuture,
    testkit::MemoryTransport,
    transport::{ConnectionId, Framing, Incoming, Outgoing, TransportError},
};

use super::Journal;

/// A transport that notes what the session gives it, may have a connection id, and may begin another session in the
/// midst of a read.
pub struct Spied {
    inner: MemoryTransport,
    journal: Journal,
    connection: Option<ConnectionId>,
    ambush: Option<(BoxFuture<'static, CloseReason>, Arc<AtomicBool>)>,
}

impl Spied {
    pub fn new(inner: MemoryTransport, journal: &Journal) -> Self {
        Self { inner, journal: journal.clone(), connection: None, ambush: None }
    }

    pub fn on(inner: MemoryTransport, connection: u128) -> Self {
        let connection = Some(ConnectionId::new(connection));
        Self { inner, journal: Journal::default(), connection, ambush: None }
    }

    /// Begins `session` in the next read after `armed` was set, which is reset.
    pub fn ambushed(mut self, session: BoxFuture<'static, CloseReason>, armed: &Arc<AtomicBool>) -> Self {
        self.ambush = Some((session, Arc::clone(armed)));
        self
    }
}

impl Transport for Spied {
    fn framing(&self) -> &'static Framing {
        self.inner.framing()
    }

    fn confirms(&self) -> bool {
        self.inner.confirms()
    }

    fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        if self.ambush.as_ref().is_some_and(|(_, armed)| armed.swap(false, Ordering::Relaxed))
            && let Some((mut session, _)) = self.ambush.take()
        {
            assert!(session.as_mut().poll(cx).is_pending());
            tokio::spawn(session);
        }
        self.inner.poll_recv(cx)
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        self.journal.note(match &out {
            Outgoing::Frame(_) => "frame".to_owned(),
            Outgoing::Barrier(number) => format!("barrier {number}"),
            Outgoing::Ping => "ping".to_owned(),
            Outgoing::Close(reason) => format!("close {reason}"),
            _ => "?".to_owned(),
        });
        self.inner.start_send(out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_flush(cx)
    }

    fn written(&self) -> u64 {
        self.inner.written()
    }

    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_close(cx)
    }
}

impl fmt::Debug for Spied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spied").finish_non_exhaustive()
    }
}
