use std::{fmt, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use tok_core::rt::{Runtime, Tokio};
use tokio::sync::mpsc;

use super::{
    RedisBrokerBuilder,
    answers::{self, Answer, Answers},
    limits::Limits,
    link::Link,
    message::Message,
    names::Names,
    state::{Phase, States, Wish},
    subscription,
    table::{Table, Waiting},
};
use crate::{Bus, BusError, Inbound, NodeId, sync::Mutex};

/// A connection to a Redis server that carries frames; see [`RedisBroker`](super::RedisBroker).
///
/// It listens on a connection of its own, which is made when it is first needed, and made again whenever it is lost:
/// within about a second once the server is back. Messages that come in are handled by the task that reads them, one after
/// the other. It ends with this value.
///
/// # Errors
/// * [`NoResponders`](BusError::NoResponders): the server says that nobody is subscribed to the node's channel.
/// * [`Timeout`](BusError::Timeout): no answer within the caller's time, or the server itself is silent.
/// * [`Disconnected`](BusError::Disconnected), at once while the connection is lost; also what was under way when it
///   was.
/// * [`Overloaded`](BusError::Overloaded): [`max_in_flight`](RedisBrokerBuilder::max_in_flight) requests, or 32 MiB of
///   frames, are under way.
/// * [`TooLarge`](BusError::TooLarge): the frame is over [`max_frame`](RedisBrokerBuilder::max_frame).
///
/// Dropping the future of [`open`](Bus::open) or [`close`](Bus::close) does not undo it.
pub struct RedisBus {
    max_frame: usize,
    shared: Arc<Shared>,
    /// What its tasks start with, until they have.
    waiting: Mutex<Option<mpsc::Receiver<Answer>>>,
}

/// What the bus shares with its tasks.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) link: Arc<Link>,
    pub(super) names: Arc<Names>,
    /// Where answers to this bus go: no other has it.
    pub(super) address: u64,
    pub(super) states: States,
    pub(super) table: Table,
    pub(super) answers: Answers,
    limits: Limits,
}

impl RedisBus {
    pub(super) fn new(settings: &RedisBrokerBuilder, link: Arc<Link>, names: Arc<Names>) -> Self {
        let (answers, waiting) = Answers::new();
        let shared = Shared {
            link,
            names,
            address: Tokio.random(),
            states: States::new(),
            table: Table::new(Tokio.random()),
            answers,
            limits: Limits::new(settings.max_in_flight),
        };
        Self { max_frame: settings.max_frame, shared: Arc::new(shared), waiting: Mutex::new(Some(waiting)) }
    }

    fn check(&self, frame: &Bytes) -> Result<(), BusError> {
        let (bytes, limit) = (frame.len(), self.max_frame);
        if bytes > limit { Err(BusError::TooLarge { bytes, limit }) } else { Ok(()) }
    }

    /// Starts the tasks, once.
    fn start(&self) {
        if let Some(waiting) = self.waiting.lock().take() {
            let (link, names) = (Arc::clone(&self.shared.link), Arc::clone(&self.shared.names));
            tokio::spawn(answers::publish(waiting, link, names));
            tokio::spawn(subscription::run(Arc::clone(&self.shared)));
        }
    }

    /// A place for a request, once answers can come.
    async fn begin(&self) -> Result<Waiting<'_>, BusError> {
        let Shared { states, table, .. } = &*self.shared;
        loop {
            if let Some(waiting) = table.begin() {
                return Ok(waiting);
            }
            let state = states.now();
            match state.phase {
                Phase::Idle => {
                    self.start();
                    states.wish_for_answers();
                }
                Phase::Trying => states.settled(state.round).await?,
                Phase::Up => tokio::task::yield_now().await,
                Phase::Down(_) => return Err(BusError::Disconnected),
            }
        }
    }

    /// Publishes to a node and waits for its answer.
    async fn ask(&self, to: &NodeId, frame: Bytes) -> Result<Bytes, BusError> {
        let mut waiting = self.begin().await?;
        let Shared { link, names, address, .. } = &*self.shared;
        let message = Message::Request { id: waiting.id, address: *address, frame }.encode();
        let published = pin!(link.publish(names.node(to), message));
        let answer = match select(published, &mut waiting.answer).await {
            Either::Left((Ok(0), _)) => return Err(BusError::NoResponders),
            Either::Left((Ok(_), answer)) => answer.await,
            Either::Left((Err(failure), _)) => return Err(Arc::new(failure).into()),
            Either::Right((answer, _)) => answer,
        };
        // The table was closed.
        answer.map_err(|_| BusError::Disconnected)
    }
}

#[async_trait]
impl Bus for RedisBus {
    /// It fails after [`timeout`](RedisBrokerBuilder::timeout) at the latest, and is tried again in the background until
    /// [`close`](Bus::close); should that succeed, `inbound` is told with [`BusState::Gap`](crate::BusState::Gap). What is
    /// under way when it is called again fails.
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        self.start();
        let round = self.shared.states.wish(Wish::Node(me.clone(), inbound));
        self.shared.states.settled(round).await
    }

    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.check(&frame)?;
        let _place = self.shared.limits.take(frame.len()).ok_or(BusError::Overloaded)?;
        tokio::time::timeout(timeout, self.ask(to, frame)).await.unwrap_or(Err(BusError::Timeout))
    }

    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        self.check(&frame)?;
        let Shared { link, names, states, limits, .. } = &*self.shared;
        if states.is_down() {
            return Err(BusError::Disconnected);
        }
        let _place = limits.take(frame.len()).ok_or(BusError::Overloaded)?;
        let published = link.publish(names.all(), Message::Notice { frame }.encode());
        match tokio::time::timeout(link.timeout(), published).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(Arc::new(failure).into()),
            Err(_) => Err(BusError::Timeout),
        }
    }

    async fn close(&self) {
        if self.waiting.lock().is_none() {
            let round = self.shared.states.wish(Wish::Nothing);
            // Nothing can be listened to in vain.
            let _ = self.shared.states.settled(round).await;
        }
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.shared.states.wish(Wish::End);
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("address", &self.shared.address)
            .field("requests", &self.shared.table.len())
            .finish_non_exhaustive()
    }
}
