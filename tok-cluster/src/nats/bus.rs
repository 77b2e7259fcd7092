use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    task::{self, JoinHandle},
};

use super::{
    builder::Settings,
    failure::Failure,
    link::Link,
    listen::{Listener, PROOF},
};
use crate::{Bus, BusError, BusState, Inbound, NodeId, sync::Mutex};

/// A connection to a [`NatsBroker`](super::NatsBroker) that carries frames. Each run of a node has a subject, and all have
/// one more together; there is none per user.
///
/// What is not written when the connection is lost fails. The client passes up to 256 frames of it on all the same when it
/// is back: those that it had taken, if the network took nothing any more.
pub struct NatsBus {
    link: Arc<Link>,
    prefix: String,
    timeout: Duration,
    requests: Semaphore,
    open: Mutex<Option<Open>>,
    /// Whether it was opened, or was to be, before.
    tried: AtomicBool,
    /// Whether the last that was said of the connection is that it is lost.
    down: Arc<AtomicBool>,
}

/// Subscriptions, which end with it.
struct Open {
    me: NodeId,
    task: JoinHandle<()>,
}

impl NatsBus {
    pub(super) fn new(link: Arc<Link>, settings: &Settings) -> Self {
        Self {
            link,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            requests: Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS)),
            open: Mutex::default(),
            tried: AtomicBool::new(false),
            down: Arc::default(),
        }
    }

    fn subject(&self, node: &NodeId) -> String {
        format!("{}.n.{}", self.prefix, node.to_token())
    }

    fn everybody(&self) -> String {
        format!("{}.all", self.prefix)
    }

    fn check(&self, frame: &Bytes) -> Result<(), BusError> {
        let limit = self.max_frame();
        if frame.len() > limit {
            return Err(BusError::TooLarge { bytes: frame.len(), limit });
        }
        Ok(())
    }

    /// Ends the subscriptions, and says whose they were.
    async fn end(&self) -> Option<NodeId> {
        let open = self.open.lock().take()?;
        let me = open.me.clone();
        open.end().await;
        Some(me)
    }

    /// Asks for something within the time that there is.
    async fn within<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, asked).await.unwrap_or(Err(Failure::Silent(self.timeout)))
    }

    async fn try_open(&self, me: &NodeId, inbound: &Arc<dyn Inbound>) -> Result<Open, Failure> {
        let subject = self.subject(me);
        // From here on no change is missed.
        let connection = self.link.connection();
        let own = self.link.subscribe(subject.clone()).await?;
        let all = self.link.subscribe(self.everybody()).await?;
        let listener = Listener {
            link: Arc::clone(&self.link),
            subject: subject.clone(),
            inbound: Arc::clone(inbound),
            down: Arc::clone(&self.down),
        };
        let open = Open { me: me.clone(), task: task::spawn(listener.run(own, all, connection)) };
        let mut proof = HeaderMap::new();
        proof.insert(PROOF, "open");
        self.link.ask(subject, Some(proof), Bytes::new()).await?;
        Ok(open)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        if !self.link.is_up() {
            return Err(BusError::Disconnected);
        }
        let opened = self.within(async {
            self.end().await;
            if self.tried.swap(true, Ordering::AcqRel) {
                // It is done again because something is wrong, and the wrong may lie here.
                self.link.renew_inbox().await?;
            }
            self.try_open(me, &inbound).await
        });
        let opened = opened.await?;
        *self.open.lock() = Some(opened);
        if self.down.swap(false, Ordering::AcqRel) {
            inbound.state(BusState::Gap);
        }
        Ok(())
    }

    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.check(&frame)?;
        let _permit = self.requests.try_acquire().map_err(|_| BusError::Overloaded)?;
        let asked = self.link.ask(self.subject(to), None, frame);
        match tokio::time::timeout(timeout, asked).await {
            Ok(answer) => Ok(answer?.payload),
            Err(_) => Err(BusError::Timeout),
        }
    }

    /// It waits also while the client has much to write, for the connection's timeout at most.
    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        self.check(&frame)?;
        Ok(self.within(self.link.tell(self.everybody(), None, frame)).await?)
    }

    async fn close(&self) {
        let Some(me) = self.end().await else { return };
        // The server has ended the subscription when it says that nobody is there, or anything else.
        let mut proof = HeaderMap::new();
        proof.insert(PROOF, "close");
        let _ = self.within(self.link.ask(self.subject(&me), Some(proof), Bytes::new())).await;
    }

    fn max_frame(&self) -> usize {
        self.link.max_payload()
    }
}

impl Open {
    async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let me = self.open.lock().as_ref().map(|open| open.me.clone());
        f.debug_struct("NatsBus").field("me", &me).finish_non_exhaustive()
    }
}
