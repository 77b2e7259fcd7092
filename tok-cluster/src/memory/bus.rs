use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_channel::oneshot;

use super::Shared;
use crate::{Answer, Bus, BusError, Inbound, NodeId, sync::Mutex, wait::within};

/// A connection to a [`MemoryBroker`](super::MemoryBroker) that carries frames.
pub struct MemoryBus {
    shared: Arc<Shared>,
    me: Mutex<Option<NodeId>>,
}

#[derive(Default)]
pub(super) struct Switch {
    pub(super) stopped: bool,
    nodes: BTreeMap<NodeId, Arc<dyn Inbound>>,
}

impl Switch {
    pub(super) fn everybody(&self) -> Vec<Arc<dyn Inbound>> {
        self.nodes.values().cloned().collect()
    }
}

impl MemoryBus {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, me: Mutex::default() }
    }

    fn check(&self, frame: &Bytes) -> Result<(), BusError> {
        let limit = self.shared.max_frame;
        if frame.len() > limit {
            return Err(BusError::TooLarge { bytes: frame.len(), limit });
        }
        if self.shared.switch.lock().stopped { Err(BusError::Disconnected) } else { Ok(()) }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        let mut switch = self.shared.switch.lock();
        if switch.stopped {
            return Err(BusError::Disconnected);
        }
        if let Some(before) = self.me.lock().replace(me.clone()) {
            switch.nodes.remove(&before);
        }
        switch.nodes.insert(me.clone(), inbound);
        Ok(())
    }

    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.check(&frame)?;
        let inbound = self.shared.switch.lock().nodes.get(to).cloned();
        let Some(inbound) = inbound else { return Err(BusError::NoResponders) };
        let (send, answered) = oneshot::channel();
        inbound.request(frame, Answer::new(|answer| drop(send.send(answer))));
        let runtime = &*self.shared.runtime;
        let end = runtime.now().saturating_add(timeout);
        match within(runtime, timeout, answered).await {
            Some(Ok(answer)) => Ok(answer),
            // Nobody tells the sender that there will be none.
            Some(Err(oneshot::Canceled)) => {
                runtime.sleep_until(end).await;
                Err(BusError::Timeout)
            }
            None => Err(BusError::Timeout),
        }
    }

    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        self.check(&frame)?;
        let nodes = self.shared.switch.lock().everybody();
        nodes.iter().for_each(|inbound| inbound.notify(frame.clone()));
        Ok(())
    }

    async fn close(&self) {
        if let Some(me) = self.me.lock().take() {
            self.shared.switch.lock().nodes.remove(&me);
        }
    }

    fn max_frame(&self) -> usize {
        self.shared.max_frame
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBus").field("me", &*self.me.lock()).finish_non_exhaustive()
    }
}
