//! Buses that are wrong on purpose, each in one way, to show that the suite catches it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Answer, Bus, BusError, Inbound, MemoryBus, NodeId, sync::Mutex};

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident => $rule:ident,)*) => {
        /// What is wrong with a [`WrongBus`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name of the rule that is there to catch it.
            #[must_use]
            pub fn caught_by(self) -> &'static str {
                match self {
                    $(Self::$fault => stringify!($rule),)*
                }
            }
        }
    };
}

faults! {
    /// The frame itself comes back.
    Echoes => a_request_is_answered,
    /// A node cannot ask itself.
    DoesNotHearItself => a_node_hears_itself,
    /// Line ends are made one byte.
    ManglesBytes => frames_are_byte_exact,
    /// There is no limit.
    KnowsNoLimit => frames_up_to_the_limit_pass_and_no_larger,
    /// Now and then an answer goes to the request before.
    MixesUpAnswers => answers_belong_to_their_requests,
    /// An answer that is not there when a frame has been handed over is lost.
    AnswersAtOnceOrNever => answers_may_come_late_and_in_any_order,
    /// Now and then a frame is held back until the one after it.
    Reorders => requests_of_one_task_arrive_in_order,
    /// Nobody there is waited for.
    WaitsForNobody => nobody_there_is_found_out_at_once,
    /// Silence is an empty answer.
    AnswersSilence => silence_ends_with_the_timeout,
    /// After a request that was dropped the next one fails.
    StumblesOverTheDropped => requests_that_are_dropped_leave_nothing_wrong,
    /// Nodes are addressed by name.
    AddressesByName => runs_of_a_node_are_addressed_apart,
    /// Names are compared without case.
    IgnoresCase => names_are_exact,
    /// A broadcast leaves its sender out.
    BroadcastsToOthers => a_broadcast_reaches_everybody_once,
    /// A broadcast arrives twice.
    BroadcastsTwice => a_broadcast_reaches_everybody_once,
    /// To open again is to listen twice.
    OpensTwice => who_opens_again_is_heard_once,
    /// Closing does nothing.
    NeverCloses => who_has_closed_is_not_there,
}

/// The reference with one [`Fault`].
#[derive(Debug)]
pub struct WrongBus {
    fault: Fault,
    inner: MemoryBus,
    me: Mutex<Option<NodeId>>,
    before: Mutex<Option<(Arc<dyn Inbound>, Bytes)>>,
    count: AtomicU64,
    dropped: Arc<AtomicU64>,
}

/// Calls both.
struct Both(Arc<dyn Inbound>, Arc<dyn Inbound>);

impl Inbound for Both {
    fn request(&self, frame: Bytes, answer: Answer) {
        self.0.request(frame.clone(), Answer::new(drop));
        self.1.request(frame, answer);
    }

    fn notify(&self, frame: Bytes) {
        self.0.notify(frame.clone());
        self.1.notify(frame);
    }

    fn state(&self, state: crate::BusState) {
        self.1.state(state);
    }
}

/// Hears each frame only when the next one comes, now and then.
struct Late {
    inner: Arc<dyn Inbound>,
    held: Mutex<Option<Bytes>>,
    count: AtomicU64,
}

impl Inbound for Late {
    fn request(&self, frame: Bytes, answer: Answer) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if count == 10 {
            *self.held.lock() = Some(frame.clone());
            return answer.send(frame);
        }
        self.inner.request(frame, answer);
        let held = self.held.lock().take();
        if let Some(held) = held {
            self.inner.request(held, Answer::new(drop));
        }
    }

    fn notify(&self, frame: Bytes) {
        self.inner.notify(frame);
    }

    fn state(&self, state: crate::BusState) {
        self.inner.state(state);
    }
}

/// Takes only answers that are there when the call returns.
struct Impatient(Arc<dyn Inbound>);

impl Inbound for Impatient {
    fn request(&self, frame: Bytes, answer: Answer) {
        let taken = Arc::new(Mutex::default());
        let place = Arc::downgrade(&taken);
        let take = move |answer| {
            if let Some(place) = place.upgrade() {
                *place.lock() = Some(answer);
            }
        };
        self.0.request(frame, Answer::new(take));
        if let Some(bytes) = taken.lock().take() {
            answer.send(bytes);
        }
    }

    fn notify(&self, frame: Bytes) {
        self.0.notify(frame);
    }

    fn state(&self, state: crate::BusState) {
        self.0.state(state);
    }
}

impl WrongBus {
    /// A bus with this fault over a connection in memory.
    #[must_use]
    pub fn new(fault: Fault, inner: MemoryBus) -> Self {
        Self {
            fault,
            inner,
            me: Mutex::default(),
            before: Mutex::default(),
            count: AtomicU64::new(0),
            dropped: Arc::default(),
        }
    }

    fn address(&self, node: &NodeId) -> NodeId {
        let changed = match self.fault {
            Fault::AddressesByName => NodeId::new(node.name(), 1),
            Fault::IgnoresCase => NodeId::new(&node.name().to_lowercase(), node.incarnation()),
            _ => None,
        };
        changed.unwrap_or_else(|| node.clone())
    }
}

/// Counts a request that was given up.
struct Dropped(Option<Arc<AtomicU64>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.store(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Bus for WrongBus {
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        *self.me.lock() = Some(me.clone());
        let inbound: Arc<dyn Inbound> = match self.fault {
            Fault::OpensTwice => {
                let before = self.before.lock().replace((Arc::clone(&inbound), Bytes::new()));
                match before {
                    Some((before, _)) => Arc::new(Both(before, inbound)),
                    None => inbound,
                }
            }
            Fault::Reorders => {
                Arc::new(Late { inner: inbound, held: Mutex::default(), count: AtomicU64::new(0) })
            }
            Fault::AnswersAtOnceOrNever => Arc::new(Impatient(inbound)),
            _ => inbound,
        };
        self.inner.open(&self.address(me), inbound).await
    }

    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let to = &self.address(to);
        let mut dropped = Dropped(Some(Arc::clone(&self.dropped)));
        let before = self.dropped.swap(0, Ordering::Relaxed);
        let frame = match self.fault {
            Fault::ManglesBytes => frame.iter().copied().filter(|byte| *byte != b'\r').collect(),
            Fault::KnowsNoLimit if frame.len() > self.inner.max_frame() => frame.slice(..100),
            _ => frame,
        };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let answer = match self.fault {
            Fault::DoesNotHearItself if self.me.lock().as_ref() == Some(to) => Err(BusError::NoResponders),
            Fault::StumblesOverTheDropped if before > 0 => Err(BusError::Timeout),
            Fault::AnswersSilence if frame.starts_with(b"silence") => Ok(Bytes::new()),
            Fault::WaitsForNobody => match self.inner.request(to, frame, timeout).await {
                Err(BusError::NoResponders) => {
                    // The reference waits for who does not answer.
                    self.inner.open(to, Arc::new(Mute)).await?;
                    self.inner.request(to, Bytes::new(), timeout).await
                }
                answer => answer,
            },
            Fault::Echoes => self.inner.request(to, frame.clone(), timeout).await.map(|_| frame),
            Fault::MixesUpAnswers if count % 7 == 6 => {
                self.inner.request(to, Bytes::from("question 0"), timeout).await
            }
            _ => self.inner.request(to, frame, timeout).await,
        };
        dropped.0 = None;
        answer
    }

    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        match self.fault {
            Fault::BroadcastsTwice => self.inner.broadcast(frame.clone()).await?,
            Fault::BroadcastsToOthers => return Ok(()),
            _ => {}
        }
        self.inner.broadcast(frame).await
    }

    async fn close(&self) {
        if self.fault != Fault::NeverCloses {
            self.inner.close().await;
        }
    }

    fn max_frame(&self) -> usize {
        self.inner.max_frame()
    }
}

/// Does not answer.
struct Mute;

impl Inbound for Mute {
    fn request(&self, _: Bytes, _: Answer) {}

    fn notify(&self, _: Bytes) {}

    fn state(&self, _: crate::BusState) {}
}
