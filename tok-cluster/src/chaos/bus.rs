use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Chaos, Faults, Link, Opened, Shared};
use crate::{
    Answer, Bus, BusError, BusState, Inbound, NodeId,
    wait::{sleep, within},
};

/// A node's ear: nothing reaches it through a link that is down.
struct Ear {
    inner: Arc<dyn Inbound>,
    // Weak: the faults know the ear, to open it again.
    faults: Weak<Shared>,
}

impl Ear {
    fn hears(&self, lossy: bool) -> bool {
        let Some(shared) = self.faults.upgrade() else { return true };
        let faults = Faults { shared };
        faults.link() == Link::Up && !(lossy && faults.happens(faults.plan().lose))
    }
}

impl Inbound for Ear {
    fn request(&self, frame: Bytes, answer: Answer) {
        if self.hears(false) {
            self.inner.request(frame, answer);
        }
    }

    fn notify(&self, frame: Bytes) {
        if self.hears(true) {
            self.inner.notify(frame);
        }
    }

    fn state(&self, state: BusState) {
        self.inner.state(state);
    }
}

impl<B: Bus> Chaos<B> {
    async fn send(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let faults = &self.faults;
        let end = faults.runtime().now().saturating_add(timeout);
        faults.travel().await;
        let plan = faults.plan();
        if faults.link() == Link::BlackHole || faults.happens(plan.lose / 2) {
            return std::future::pending().await;
        }
        if faults.happens(plan.duplicate) {
            let (bus, to, frame, again) =
                (Arc::clone(&self.inner), to.clone(), frame.clone(), faults.clone());
            let duplicate = async move {
                again.travel().await;
                let _ = bus.request(&to, frame, timeout).await;
            };
            faults.runtime().spawn("duplicate", Box::pin(duplicate));
        }
        let answer = self.inner.request(to, frame, faults.left(end)).await;
        faults.travel().await;
        match faults.link() {
            Link::Cut => Err(BusError::Disconnected),
            Link::BlackHole => std::future::pending().await,
            Link::Deaf | Link::Up if faults.happens(plan.lose.div_ceil(2)) => std::future::pending().await,
            Link::Deaf | Link::Up => answer,
        }
    }
}

#[async_trait]
impl<B: Bus> Bus for Chaos<B> {
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        match self.faults.link() {
            Link::Up => {}
            Link::Cut => return Err(BusError::Disconnected),
            // The round trip never ends.
            Link::BlackHole | Link::Deaf => return std::future::pending().await,
        }
        let inbound: Arc<dyn Inbound> =
            Arc::new(Ear { inner: inbound, faults: Arc::downgrade(&self.faults.shared) });
        self.inner.open(me, Arc::clone(&inbound)).await?;
        let bus: Arc<dyn Bus> = Arc::clone(&self.inner) as Arc<dyn Bus>;
        self.faults.set_opened(Some(Opened { bus, me: me.clone(), inbound }));
        Ok(())
    }

    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        if self.faults.link() == Link::Cut {
            return Err(BusError::Disconnected);
        }
        let sent = self.send(to, frame, timeout);
        within(&**self.faults.runtime(), timeout, sent).await.unwrap_or(Err(BusError::Timeout))
    }

    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        match self.faults.link() {
            Link::Cut => return Err(BusError::Disconnected),
            Link::BlackHole => return Ok(()),
            Link::Up | Link::Deaf => {}
        }
        let delay = self.faults.delay();
        if !delay.is_zero() {
            sleep(&**self.faults.runtime(), delay).await;
        }
        self.inner.broadcast(frame).await
    }

    async fn close(&self) {
        self.faults.set_opened(None);
        self.inner.close().await;
    }

    fn max_frame(&self) -> usize {
        self.inner.max_frame()
    }
}
