use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{
    Message,
    queue::{Entry, Queue},
    rt::Instant,
    sync::Mutex,
    transport::{Frame, Framing},
};

/// The bytes that a hub holds for messages, all users together, against the builder's `max_memory`.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// What the queue is yet to be given of messages that it must have room for.
    reserved: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit, reserved: AtomicU64::new(0) }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// Counts bytes that are held already, over the limit too.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn try_add(&self, bytes: usize) -> bool {
        let fits = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= self.limit;
        if !fits {
            self.sub(bytes);
        }
        fits
    }
}

/// One message on its way to any number of sessions: held once, encoded once a framing.
#[derive(Debug)]
pub(crate) struct Packet {
    message: Message,
    /// On the runtime's monotonic clock; `None` for a message that does not expire.
    expires_at: Option<Instant>,
    first: OnceLock<(&'static Framing, Frame)>,
    // A server rarely has more than two framings (WebSocket and TCP), so the first is found without a lock.
    others: Mutex<Vec<(&'static Framing, Frame)>>,
    budget: Arc<Budget>,
    charged: AtomicUsize,
    /// Some session has it in its outbox, or had.
    reached: AtomicBool,
    /// Room in the queue is reserved for it.
    reserved: AtomicBool,
}

impl Packet {
    /// What a message counts for beside its bytes.
    const OVERHEAD: usize = 256;

    /// `None` when the budget is used up.
    pub(crate) fn new(
        message: Message,
        expires_at: Option<Instant>,
        budget: &Arc<Budget>,
    ) -> Option<Arc<Self>> {
        let bytes = message.data().len() + Self::OVERHEAD;
        budget.try_add(bytes).then(|| Arc::new(Self::charged(message, expires_at, budget, bytes)))
    }

    /// A message that was accepted before and comes back from the queue: it is counted, but not refused.
    pub(crate) fn from_entry(entry: &Entry, now: Instant, budget: &Arc<Budget>) -> Arc<Self> {
        let bytes = entry.data.len() + Self::OVERHEAD;
        budget.add(bytes);
        let expires_at = entry.ttl.map(|ttl| now.saturating_add(ttl));
        Arc::new(Self::charged(entry.to_message(), expires_at, budget, bytes))
    }

    fn charged(message: Message, expires_at: Option<Instant>, budget: &Arc<Budget>, bytes: usize) -> Self {
        Self {
            message,
            expires_at,
            first: OnceLock::new(),
            others: Mutex::default(),
            budget: Arc::clone(budget),
            charged: AtomicUsize::new(bytes),
            reached: AtomicBool::new(false),
            reserved: AtomicBool::new(false),
        }
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    pub(crate) fn entry(&self, now: Instant) -> Entry {
        Entry {
            id: self.message.id(),
            kind: self.message.kind(),
            data: self.message.data().clone(),
            ttl: self.expires_at.map(|at| at.saturating_since(now)),
        }
    }

    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.expires_at
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Reserves room in the queue as a whole, where the queue says how much it has. The user's lock is held.
    pub(crate) fn reserve(&self, queue: &dyn Queue) -> bool {
        if self.reserved.load(Ordering::Relaxed) {
            return true;
        }
        let cost = self.cost() as u64;
        // Counted first and compared then: of two at once, both see each other, or one does. What was stored in between
        // is counted twice for a moment, and never not at all.
        let reserved = self.budget.reserved.fetch_add(cost, Ordering::AcqRel).saturating_add(cost);
        self.reserved.store(true, Ordering::Relaxed);
        let fits = queue.room().is_none_or(|room| reserved <= room);
        if !fits {
            self.unreserve();
        }
        fits
    }

    /// It is stored, or will not be.
    pub(crate) fn unreserve(&self) {
        if self.reserved.swap(false, Ordering::Relaxed) {
            self.budget.reserved.fetch_sub(self.cost() as u64, Ordering::AcqRel);
        }
    }

    pub(crate) fn set_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// Whether a session that held it back has put it into its outbox.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// What it counts for where one connection's or one user's messages are bounded in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.message.data().len() + Entry::OVERHEAD
    }

    pub(crate) fn frame(&self, framing: &'static Framing) -> Cow<'_, Frame> {
        let (of, frame) = self.first.get_or_init(|| (framing, self.encode(framing)));
        if of.is(framing) {
            return Cow::Borrowed(frame);
        }
        let mut others = self.others.lock();
        if let Some((_, frame)) = others.iter().find(|(of, _)| of.is(framing)) {
            return Cow::Owned(frame.clone());
        }
        let frame = self.encode(framing);
        others.push((framing, frame.clone()));
        Cow::Owned(frame)
    }

    fn encode(&self, framing: &'static Framing) -> Frame {
        let frame = framing.encode(&self.message);
        self.budget.add(frame.bytes().len());
        self.charged.fetch_add(frame.bytes().len(), Ordering::Relaxed);
        frame
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.unreserve();
        self.budget.sub(*self.charged.get_mut());
    }
}
