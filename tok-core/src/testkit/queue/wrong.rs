//! Queues that are wrong on purpose, each in one way, to show that the suite catches it.

mod fault;

use std::{future::poll_fn, task::Poll};

use async_trait::async_trait;

pub use self::fault::Fault;
use super::{
    ReferenceQueue,
    reference::{User, cost},
};
use crate::{
    Epoch, MessageKind, Queue, Uid,
    error::BoxError,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, Seq, Stored, Swept},
    sync::Mutex,
};

/// The reference with one [`Fault`].
#[derive(Debug)]
pub struct WrongQueue {
    fault: Fault,
    inner: ReferenceQueue,
    state: Mutex<State>,
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
    current: Option<Uid>,
}

impl WrongQueue {
    /// A queue with this fault, for 100 messages and 64 KiB a user.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let shared = fault == Fault::ForgetsTheSharedFence;
        let caps = Caps { durable: false, shared, max_messages: 100, max_bytes: 64 * 1024 };
        Self { fault, inner: ReferenceQueue::with_caps(caps), state: Mutex::default() }
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
            Fault::ForgetsTheTtl => batch.iter_mut().for_each(|entry| entry.expires_at = None),
            Fault::RoundsTheTtl => batch.iter_mut().for_each(|entry| {
                entry.expires_at = entry.expires_at.map(|at| at / 1000 * 1000);
            }),
            _ => {}
        }
        batch
    }

    /// Whether a wrong count of what is there refuses a batch (`Some(true)`), admits it, or is not its fault.
    fn is_full(&self, uid: &Uid, batch: &[Entry]) -> Option<bool> {
        let caps = self.caps();
        let state = self.state.lock();
        let users = self.inner.users.lock();
        let empty = User::default();
        let user = users.get(uid).unwrap_or(&empty);
        let (mut messages, mut bytes) = (user.entries.len() as u64, user.bytes());
        let mut added = cost(batch.iter());
        match self.fault {
            Fault::CountsMessagesFromZero => messages = messages.saturating_sub(1),
            Fault::CountsBytesWithoutOverhead => {
                bytes -= user.entries.len() as u64 * Entry::OVERHEAD as u64;
                added -= batch.len() as u64 * Entry::OVERHEAD as u64;
            }
            Fault::KeepsRoomOfTheAcked => messages += state.acked.len() as u64,
            Fault::KeepsRoomOfTheSwept => messages += state.swept,
            Fault::SharesTheLimits => messages = users.values().map(|user| user.entries.len() as u64).sum(),
            Fault::RefusesTheAccepted | Fault::StoresWhatFits => {}
            _ => return None,
        }
        Some(messages + batch.len() as u64 > caps.max_messages || bytes + added > caps.max_bytes)
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
                self.with(&uid, |user| user.entries.retain(|(seq, _)| Some(*seq) > covered));
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
                self.with(&uid, |user| user.entries.retain(|(seq, _)| *seq > upto));
            }
            Fault::PeekGivesNone if limit.messages == 0 || cost_of(&page) > limit.bytes as u64 => {
                page.entries.clear();
            }
            Fault::HidesMore => page.more = false,
            Fault::PromisesMore => page.more = !page.entries.is_empty(),
            Fault::PeekHidesTheExpired => {
                page.entries.retain(|(_, entry)| !entry.is_expired(1_700_000_000_000));
            }
            _ => {}
        }
        Ok(page)
    }

    async fn ack(&self, uid: &Uid, mut upto: Seq, mut fence: Epoch) -> Result<(), QueueError> {
        let uid = self.uid(uid);
        let has = |user: &mut User| user.entries.iter().any(|(seq, _)| *seq <= upto);
        let removes = self.with(&uid, has);
        match self.fault {
            Fault::AcksTooMuch => upto = Seq::new(upto.get().saturating_add(1)),
            Fault::AcksTooLittle => upto = Seq::new(upto.get().saturating_sub(1)),
            Fault::AcksOne => {
                self.with(&uid, |user| user.entries.retain(|(seq, _)| *seq != upto));
                upto = Seq::START;
            }
            Fault::RefusesRepeatedAcks if !removes => return Err(unavailable("no such entry")),
            Fault::AcksTheFuture => self.state.lock().covered = Some(upto),
            Fault::IgnoresTheFence => fence = Epoch::new(u64::MAX),
            Fault::ChecksTheFenceTooLate => {
                self.with(&uid, |user| user.entries.retain(|(seq, _)| *seq > upto));
            }
            Fault::FencesEqualEpochs if self.state.lock().used.replace(fence) == Some(fence) => {
                return Err(QueueError::Fenced);
            }
            Fault::FencesOnRemovalOnly if !removes => return Ok(()),
            Fault::AcksAllOfTheEmptied if !removes && upto > Seq::START => {
                upto = Seq::new(u64::MAX);
                fence = Epoch::new(u64::MAX);
            }
            Fault::SharesTheFence => {
                let mut state = self.state.lock();
                if fence < state.fence {
                    return Err(QueueError::Fenced);
                }
                state.fence = fence;
            }
            _ => {}
        }
        if matches!(self.fault, Fault::SweepReturnsTheAcked | Fault::KeepsRoomOfTheAcked) {
            let entries = self.with(&uid, |user| user.entries.clone());
            let acked =
                entries.into_iter().filter(|(seq, _)| *seq <= upto).map(|(_, entry)| (uid.clone(), entry));
            self.state.lock().acked.extend(acked);
        }
        self.inner.ack(&uid, upto, fence).await?;
        let forget = |user: &mut User| match self.fault {
            Fault::ReusesSeqsAfterAck if user.entries.is_empty() => user.last_seq = 0,
            Fault::ForgetsTheSharedFence if user.entries.is_empty() => user.fence = Epoch::default(),
            _ => {}
        };
        self.with(&uid, forget);
        Ok(())
    }

    async fn len(&self, uid: &Uid) -> Result<u64, QueueError> {
        if self.fault == Fault::CountsTheAcked {
            return Ok(self.state.lock().stored);
        }
        self.inner.len(&self.uid(uid)).await
    }

    async fn sweep(&self, mut now: u64, mut budget: usize) -> Result<Swept, QueueError> {
        match self.fault {
            Fault::SweepsTheLiving => now = u64::MAX - 1,
            Fault::SweepsTooLate => now = now.saturating_sub(1),
            Fault::SweepIgnoresTheBudget => budget = usize::MAX,
            Fault::SweepsBySignedTime if now > i64::MAX as u64 => return Ok(Swept::default()),
            _ => {}
        }
        let mut swept = self.inner.sweep(now, budget).await?;
        match self.fault {
            Fault::SweepReturnsNothing => swept.expired.clear(),
            Fault::SweepMixesUsers => swept.expired.iter_mut().for_each(|(uid, _)| *uid = Uid::from("alice")),
            Fault::SweepReturnsTheAcked => {
                let acked = std::mem::take(&mut self.state.lock().acked);
                swept.expired.extend(acked.into_iter().filter(|(_, entry)| entry.is_expired(now)));
            }
            Fault::SweepsTheFront => {
                for (uid, expired) in &swept.expired {
                    self.with(uid, |user| user.entries.retain(|(_, entry)| entry.id > expired.id));
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
        self.inner.caps()
    }

    async fn dequeue(&self, uid: &Uid, fence: Epoch) -> Result<Option<Entry>, QueueError> {
        match self.fault {
            Fault::DequeuesTheNewest => Ok(self.with(uid, |user| user.entries.pop()).map(|(_, entry)| entry)),
            Fault::DequeuesPastTheFence => self.inner.dequeue(uid, Epoch::new(u64::MAX)).await,
            _ => self.inner.dequeue(&self.uid(uid), fence).await,
        }
    }
}

fn cost_of(page: &Page) -> u64 {
    cost(page.entries.iter().map(|(_, entry)| entry))
}
