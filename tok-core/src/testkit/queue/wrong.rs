//! Queues that are wrong on purpose, each in one way, to show that the suite catches it.

mod fault;
mod limits;
mod time;

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;

pub use self::fault::Fault;
use super::{
    ReferenceQueue,
    reference::{Item, User, cost},
};
use crate::{
    Epoch, MessageKind, Queue, Uid,
    error::BoxError,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::Clock,
    sync::Mutex,
};

/// The reference with one [`Fault`].
#[derive(Debug)]
pub struct WrongQueue {
    fault: Fault,
    inner: ReferenceQueue,
    state: Arc<Mutex<State>>,
}

/// What the faults need to remember.
#[derive(Debug, Default)]
struct State {
    stored: u64,
    acked: Vec<(Uid, Entry)>,
    swept: u64,
    fence: Epoch,
    used: Option<Epoch>,
    covered: Option<Seq>,
    clock: Option<Clock>,
    /// By how much the clock of the inner queue is wrong.
    ahead: Duration,
    current: Option<Uid>,
}

impl WrongQueue {
    /// A queue with this fault, for 100 messages and 64 KiB a user.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let shared = fault == Fault::ForgetsTheSharedFence;
        let caps =
            Caps { durable: false, shared, max_messages: 100, max_bytes: 64 * 1024, max_message: None };
        let (inner, state) = (ReferenceQueue::with_caps(caps), Arc::default());
        inner.use_clock(&time::clock(&state));
        Self { fault, inner, state }
    }

    /// The id under which the inner queue has the user.
    fn uid(&self, uid: &Uid) -> Uid {
        match self.fault {
            Fault::MangledUids => uid.as_str().replace(|c: char| !c.is_alphanumeric(), "_").into(),
            Fault::PanicsOnLongUids => {
                assert!(uid.as_str().len() <= Uid::MAX_BYTES, "the id does not fit the key");
                uid.clone()
            }
            _ => uid.clone(),
        }
    }

    fn with<T>(&self, uid: &Uid, f: impl FnOnce(&mut User) -> T) -> T {
        f(self.inner.users.lock().entry(uid.clone()).or_default())
    }

    /// The entries as this queue keeps them.
    fn altered(&self, batch: &[Entry]) -> Vec<Entry> {
        let mut batch = batch.to_vec();
        match self.fault {
            Fault::ReordersABatch => batch.reverse(),
            Fault::ForgetsTheKind => batch.iter_mut().for_each(|entry| entry.kind = MessageKind::Binary),
            Fault::Truncates => batch.iter_mut().for_each(|entry| entry.data.truncate(64 * 1024)),
            Fault::ForgetsTheTtl => batch.iter_mut().for_each(|entry| entry.ttl = None),
            Fault::StretchesTheTtl => batch.iter_mut().for_each(|entry| {
                entry.ttl = entry.ttl.map(|ttl| ttl.saturating_mul(1000));
            }),
            Fault::CutsLongTtls => batch.iter_mut().for_each(|entry| {
                entry.ttl = entry.ttl.map(|ttl| Duration::from_millis(u64::from(ttl.as_millis() as u32)));
            }),
            _ => {}
        }
        batch
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn unavailable(why: &str) -> QueueError {
    QueueError::Unavailable(BoxError::from(why))
}

#[async_trait]
impl Queue for WrongQueue {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], mut admit: Admit) -> Result<Stored, QueueError> {
        let mut uid = self.uid(uid);
        let batch = self.altered(batch);
        if let Some(error) = self.too_big(&batch) {
            return Err(error);
        }
        self.pass();
        self.state.lock().stored += batch.len() as u64;
        let within = admit == Admit::WithinLimits || self.fault == Fault::RefusesTheAccepted;
        if let Some(full) = self.is_full(&uid, &batch).filter(|_| within && !batch.is_empty()) {
            admit = Admit::AlreadyAccepted;
            if full && self.fault != Fault::StoresWhatFits {
                return Err(QueueError::Full);
            } else if full {
                for entry in &batch {
                    self.inner.enqueue(&uid, std::slice::from_ref(entry), Admit::WithinLimits).await?;
                }
            }
        }
        match self.fault {
            Fault::RefusesEmptyBatches if batch.is_empty() => return Err(unavailable("nothing to store")),
            Fault::DropsTheTail if batch.len() > 1 => {
                let mut stored = self.inner.enqueue(&uid, &batch, admit).await?;
                self.with(&uid, |user| user.entries.pop());
                stored.seqs.sort_unstable();
                return Ok(stored);
            }
            Fault::StoresInParts => {
                let mut seqs = Vec::new();
                for entry in &batch {
                    seqs.extend(self.inner.enqueue(&uid, std::slice::from_ref(entry), admit).await?.seqs);
                    yield_once().await;
                }
                return Ok(Stored { seqs });
            }
            Fault::DropsTheOldest => {
                let max = self.caps().max_messages as usize;
                let drop = |user: &mut User| {
                    let over = (user.entries.len() + batch.len()).saturating_sub(max);
                    user.entries.drain(..over.min(user.entries.len()));
                };
                self.with(&uid, drop);
            }
            Fault::MixesUpUsers => {
                self.state.lock().current = Some(uid.clone());
                yield_once().await;
                uid = self.state.lock().current.clone().unwrap_or(uid);
            }
            _ => {}
        }
        let mut stored = self.inner.enqueue(&uid, &batch, admit).await?;
        match self.fault {
            Fault::ReturnsSeqsBackwards => stored.seqs.reverse(),
            Fault::AcksTheFuture => {
                let covered = self.state.lock().covered;
                self.with(&uid, |user| user.entries.retain(|item| Some(item.seq) > covered));
            }
            _ => {}
        }
        Ok(stored)
    }

    async fn peek(&self, uid: &Uid, mut after: Seq, mut limit: Limit) -> Result<Page, QueueError> {
        let uid = self.uid(uid);
        match self.fault {
            Fault::KnowsNobody if !self.inner.users.lock().contains_key(&uid) => {
                return Err(unavailable("no such user"));
            }
            Fault::PeekIgnoresMessages => limit.messages = usize::MAX,
            Fault::PeekIgnoresBytes => limit.bytes = usize::MAX,
            Fault::PagesAreTiny => limit.messages = limit.messages.min(3),
            Fault::PeekRepeatsTheCursor => after = Seq::new(after.get().saturating_sub(1)),
            Fault::PeekSkips if after > Seq::START => after = Seq::new(after.get().saturating_add(1)),
            _ => {}
        }
        let mut page = self.inner.peek(&uid, after, limit).await?;
        match self.fault {
            Fault::PeekRemoves => {
                let upto = page.entries.last().map_or(Seq::START, |(seq, _)| *seq);
                self.with(&uid, |user| user.entries.retain(|item| item.seq > upto));
            }
            Fault::PeekGivesNone if limit.messages == 0 || cost_of(&page) > limit.bytes as u64 => {
                page.entries.clear();
            }
            Fault::HidesMore => page.more = false,
            Fault::PromisesMore => page.more = !page.entries.is_empty(),
            Fault::PeekHidesTheExpired => page.entries.retain(|(_, entry)| !entry.is_expired()),
            Fault::PeekReturnsTheWholeTtl => {
                let whole = |seq: Seq, user: &mut User| {
                    user.entries.iter().find(|item| item.seq == seq).and_then(|item| item.entry.ttl)
                };
                for (seq, entry) in &mut page.entries {
                    entry.ttl = self.with(&uid, |user| whole(*seq, user));
                }
            }
            _ => {}
        }
        Ok(page)
    }

    async fn ack(&self, uid: &Uid, mut upto: Seq, mut fence: Epoch) -> Result<QueueSize, QueueError> {
        let uid = self.uid(uid);
        let has = |user: &mut User| user.entries.iter().any(|item| item.seq <= upto);
        let removes = self.with(&uid, has);
        let before = self.with(&uid, |user| user.size());
        match self.fault {
            Fault::AcksTooMuch => upto = Seq::new(upto.get().saturating_add(1)),
            Fault::AcksTooLittle => upto = Seq::new(upto.get().saturating_sub(1)),
            Fault::AcksOne => {
                self.with(&uid, |user| user.entries.retain(|item| item.seq != upto));
                upto = Seq::START;
            }
            Fault::RefusesRepeatedAcks if !removes => return Err(unavailable("no such entry")),
            Fault::AcksTheFuture => self.state.lock().covered = Some(upto),
            Fault::IgnoresTheFence => fence = Epoch::new(u64::MAX),
            Fault::ChecksTheFenceTooLate => {
                self.with(&uid, |user| user.entries.retain(|item| item.seq > upto));
            }
            Fault::FencesEqualEpochs if self.state.lock().used.replace(fence) == Some(fence) => {
                return Err(QueueError::Fenced { current: fence });
            }
            Fault::FencesOnRemovalOnly if !removes => return Ok(before),
            Fault::AcksAllOfTheEmptied if !removes && upto > Seq::START => {
                upto = Seq::new(u64::MAX);
                fence = Epoch::new(u64::MAX);
            }
            Fault::SharesTheFence => {
                let mut state = self.state.lock();
                if fence < state.fence {
                    return Err(QueueError::Fenced { current: state.fence });
                }
                state.fence = fence;
            }
            _ => {}
        }
        if matches!(self.fault, Fault::SweepReturnsTheAcked | Fault::KeepsRoomOfTheAcked) {
            let now = self.inner.now();
            let gone = |user: &mut User| {
                let gone = user.entries.iter().filter(|item| item.seq <= upto);
                gone.map(|item| (uid.clone(), item.at(now))).collect::<Vec<_>>()
            };
            let acked = self.with(&uid, gone);
            self.state.lock().acked.extend(acked);
        }
        let result = self.inner.ack(&uid, upto, fence).await.map_err(|error| match (self.fault, error) {
            (Fault::NamesTheRefusedEpoch, QueueError::Fenced { .. }) => QueueError::Fenced { current: fence },
            (Fault::NamesTheEpochBefore, QueueError::Fenced { current }) => {
                QueueError::Fenced { current: Epoch::new(current.get() - 1) }
            }
            (_, error) => error,
        });
        let mut remains = result?;
        let now = self.inner.now();
        let forget = |user: &mut User| match self.fault {
            Fault::ReusesSeqsAfterAck if user.entries.is_empty() => user.last_seq = 0,
            Fault::ForgetsTheSharedFence if user.entries.is_empty() => user.fence = Epoch::default(),
            Fault::AckRestartsTtls => {
                let restart = |item: &mut Item| {
                    item.expires_at = item.entry.ttl.map(|ttl| now.saturating_add(ttl));
                };
                user.entries.iter_mut().for_each(restart);
            }
            _ => {}
        };
        self.with(&uid, forget);
        match self.fault {
            Fault::AckReturnsNothing => remains = QueueSize::default(),
            Fault::AckReturnsWhatWas => remains = before,
            Fault::SizesWithoutOverhead => remains.bytes -= remains.messages * Entry::OVERHEAD as u64,
            _ => {}
        }
        Ok(remains)
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        let mut size = self.inner.size(&self.uid(uid)).await?;
        match self.fault {
            Fault::CountsTheAcked => size.messages = self.state.lock().stored,
            Fault::SizesWithoutOverhead => size.bytes -= size.messages * Entry::OVERHEAD as u64,
            _ => {}
        }
        Ok(size)
    }

    async fn sweep(&self, mut budget: usize) -> Result<Swept, QueueError> {
        self.pass();
        let now = self.inner.now();
        match self.fault {
            Fault::SweepsTheLiving => self.set_ahead(Duration::MAX),
            Fault::SweepsByAClockThatIsAhead => self.set_ahead(time::HOUR),
            Fault::SweepsASecondEarly => self.set_ahead(Duration::from_secs(1)),
            Fault::SweepIgnoresTheBudget => budget = usize::MAX,
            Fault::SweepsBySignedTime if now.as_nanos() > i64::MAX as u64 => return Ok(Swept::default()),
            _ => {}
        }
        let hidden = self.hide(now);
        let swept = self.inner.sweep(budget).await;
        self.show(hidden);
        if self.fault != Fault::HasAClockOfItsOwn {
            self.set_ahead(Duration::ZERO);
        }
        let mut swept = swept?;
        match self.fault {
            Fault::SweepReturnsNothing => swept.expired.clear(),
            Fault::SweepMixesUsers => swept.expired.iter_mut().for_each(|(uid, _)| *uid = Uid::from("alice")),
            Fault::SweepReturnsTheAcked => {
                let acked = std::mem::take(&mut self.state.lock().acked);
                swept.expired.extend(acked.into_iter().filter(|(_, entry)| entry.is_expired()));
            }
            Fault::SweepsTheFront => {
                for (uid, expired) in &swept.expired {
                    self.with(uid, |user| user.entries.retain(|item| item.entry.id > expired.id));
                }
            }
            Fault::SweepHidesMore => swept.more = false,
            Fault::KeepsRoomOfTheSwept => self.state.lock().swept += swept.expired.len() as u64,
            Fault::ReusesSeqsAfterSweep => {
                let mut users = self.inner.users.lock();
                users.values_mut().filter(|user| user.entries.is_empty()).for_each(|user| user.last_seq = 0);
            }
            _ => {}
        }
        Ok(swept)
    }

    fn caps(&self) -> Caps {
        use Fault::{CallsTheTooBigFull, RefusesLargeBatches, RefusesTheLargest, TakesTheTooBig};
        let names_one = matches!(
            self.fault,
            TakesTheTooBig | CallsTheTooBigFull | RefusesTheLargest | RefusesLargeBatches
        );
        Caps { max_message: names_one.then_some(65_537), ..self.inner.caps() }
    }

    fn use_clock(&self, clock: &Clock) {
        let mut state = self.state.lock();
        let counts = match self.fault {
            Fault::IgnoresTheClock => false,
            Fault::TakesTheLastClock => true,
            _ => state.clock.is_none(),
        };
        if counts {
            state.clock = Some(clock.clone());
        }
    }

    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        match self.fault {
            Fault::DequeuesTheNewest => Ok(self.with(uid, |user| user.entries.pop()).map(|item| item.entry)),
            Fault::DequeuesPastTheFence => self.inner.dequeue(uid, Epoch::new(u64::MAX)).await,
            _ => self.inner.dequeue(&self.uid(uid), fence).await,
        }
    }
}

fn cost_of(page: &Page) -> u64 {
    cost(page.entries.iter().map(|(_, entry)| entry))
}
