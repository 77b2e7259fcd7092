//! What a node remembers of a user between operations, so that most of them need no read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::try_join3;
use tok_core::queue::{Entry, QueueSize, Seq};

use super::{
    block::{Block, Totals, block_after, end_of, positions},
    rpc::Failure,
    store::{Meta, Store, User},
};

/// Up to 4 MiB without their steps, which are up to 32 MiB; more users than this with messages for them at the same time
/// read again.
const MAX_USERS: usize = 16 * 1024;

/// Positions of which it is remembered what was before them.
const MAX_STEPS: usize = 32;

/// A user's queue as it was. Every write says what it was made from, and the server refuses it if that has changed: what
/// is remembered may be old, and no harm is done by it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The newest block's place in the stream; 0 if there is none.
    pub(super) last: u64,
    /// All that the blocks up to the newest held.
    pub(super) total: Totals,
    /// The part of it that is confirmed or gone; it may be more.
    pub(super) gone: Totals,
    /// What the entries up to some positions after the mark amount to, those that are gone included: what `gone` will be
    /// when these are confirmed.
    pub(super) steps: BTreeMap<Seq, Totals>,
    /// What the blocks before the first that is there held.
    pub(super) before: Totals,
    pub(super) meta: Meta,
    /// Whether it has just been read.
    pub(super) fresh: bool,
}

impl State {
    pub(super) async fn read(store: &Store, user: &User) -> Result<Self, Failure> {
        let (last, meta, mut first) =
            try_join3(store.last(user), store.meta(user), store.first(user, 1)).await?;
        let before = first.as_ref().map(|block| block.before).unwrap_or_default();
        let from = block_after(meta.mark);
        if first.as_ref().is_some_and(|block| block.seq < from) {
            // Confirmed, and not yet removed.
            first = store.first(user, from).await?;
        }
        let Some(last) = last else { return Ok(Self { meta, fresh: true, ..Self::default() }) };
        let total = last.after();
        let gone = first.as_ref().map_or(total, |block| {
            let confirmed = block.positions().take_while(|(seq, _)| *seq <= meta.mark);
            block.before.and(confirmed.map(|(_, entry)| entry))
        });
        let steps = BTreeMap::new();
        let mut state = Self { last: last.seq, total, gone, steps, before, meta, fresh: true };
        first.iter().chain([&last]).for_each(|block| state.learn(block));
        Ok(state)
    }

    /// The state after a batch was appended as the block at `seq`.
    pub(super) fn appended(mut self, seq: u64, batch: &[Entry]) -> Self {
        self.step(seq, self.total, batch);
        Self { last: seq, total: self.total.with(batch), ..self }
    }

    /// Remembers what is before the entries of a block. One that was stored since the state was read may count from
    /// another beginning, and is not of this state.
    fn learn(&mut self, block: &Block) {
        if block.seq <= self.last {
            self.step(block.seq, block.before, &block.entries);
        }
    }

    fn step(&mut self, seq: u64, before: Totals, entries: &[Entry]) {
        let mut sum = before;
        for (position, entry) in positions(seq, entries.len()).zip(entries) {
            sum = sum.and([entry]);
            if position > self.meta.mark {
                self.steps.insert(position, sum);
            }
            if self.steps.len() > MAX_STEPS {
                self.forget_a_step();
            }
        }
    }

    /// Forgets the step that is closest to those around it, so that those that are left are about as far apart.
    fn forget_a_step(&mut self) {
        let places: Vec<_> = self.steps.iter().map(|(position, sum)| (*position, sum.messages)).collect();
        let gap = |around: &[(Seq, u64)]| around[2].1.saturating_sub(around[0].1);
        let closest = places.windows(3).min_by_key(|around| gap(around)).map(|around| around[1].0);
        if let Some(position) = closest {
            self.steps.remove(&position);
        }
    }

    /// Takes in a fence and a mark that are stored.
    pub(super) fn confirmed(mut self, meta: Meta) -> Self {
        self.gone = if meta.mark >= self.end() {
            self.total
        } else {
            // Counts from another beginning were never taken in; what was read may know of more that is gone.
            let known = self.steps.range(..=meta.mark).next_back().map(|(_, gone)| *gone);
            known.filter(|known| known.messages > self.gone.messages).unwrap_or(self.gone)
        };
        self.steps = self.steps.split_off(&Seq::new(meta.mark.get().saturating_add(1)));
        Self { meta, ..self }
    }

    /// What is there, or was: blocks between others that have expired are counted, and confirmed entries of which it is
    /// not remembered how many they are.
    pub(super) fn kept(&self) -> QueueSize {
        let kept = |total: u64, gone: u64| total.saturating_sub(gone);
        QueueSize {
            messages: kept(self.total.messages, self.gone.messages),
            bytes: kept(self.total.bytes, self.gone.bytes),
        }
    }

    /// What is there.
    pub(super) async fn count(&self, store: &Store, user: &User) -> Result<QueueSize, Failure> {
        if store.count(user).await? == self.total.blocks.saturating_sub(self.before.blocks) {
            return Ok(self.kept());
        }
        // Some have expired between others.
        let (mut sum, mut from) = (Totals::default(), block_after(self.meta.mark));
        loop {
            let row = store.row(user, from, 256, 8 * 1024 * 1024).await?;
            let Some(end) = row.blocks.last().map(|block| block.seq) else { break };
            for block in row.blocks {
                let kept = block.positions().skip_while(|(seq, _)| *seq <= self.meta.mark);
                sum = sum.and(kept.map(|(_, entry)| entry));
            }
            from = end.saturating_add(1);
            if !row.cut {
                break;
            }
        }
        Ok(QueueSize { messages: sum.messages, bytes: sum.bytes })
    }

    /// The last position there is.
    pub(super) fn end(&self) -> Seq {
        if self.last == 0 { Seq::START } else { end_of(self.last) }
    }
}

/// States of users, by chance the ones that are needed.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<User, State>>);

impl Remembered {
    /// The mark of the user, if it is remembered.
    pub(super) fn mark(&self, user: &User) -> Option<Seq> {
        self.lock().get(user).map(|state| state.meta.mark)
    }

    /// Takes in what a page has read.
    pub(super) fn learn(&self, user: &User, blocks: &[Block]) {
        if let Some(state) = self.lock().get_mut(user) {
            blocks.iter().for_each(|block| state.learn(block));
        }
    }

    pub(super) fn get(&self, user: &User) -> Option<State> {
        self.lock().get(user).cloned()
    }

    pub(super) fn set(&self, user: &User, state: State) {
        let mut states = self.lock();
        if states.len() >= MAX_USERS && !states.contains_key(user) {
            // All at once: keeping count of who was here last would cost each operation more than this does.
            states.clear();
        }
        states.insert(user.clone(), State { fresh: false, ..state });
    }

    pub(super) fn forget(&self, user: &User) {
        self.lock().remove(user);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<User, State>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tok_core::{Epoch, MessageId, MessageKind};

    use super::*;

    fn batch(entries: usize) -> Vec<Entry> {
        let id = MessageId::from_u128(1);
        vec![Entry { id, kind: MessageKind::Text, data: Bytes::from_static(b"hi"), ttl: None }; entries]
    }

    fn mark(mark: Seq) -> Meta {
        Meta { seq: 1, fence: Epoch::new(1), mark }
    }

    #[test]
    fn what_remains_after_a_confirmation_is_known_without_reading() {
        let mut state = State::default();
        for (seq, entries) in [(7, 3), (8, 1), (20, 4)] {
            state = state.appended(seq, &batch(entries));
        }
        let ends: Vec<_> =
            [(7, 3), (8, 1), (20, 4)].into_iter().flat_map(|(seq, n)| positions(seq, n)).collect();
        assert_eq!(state.kept().messages, 8);
        for (confirmed, position) in (1..).zip(ends) {
            state = state.confirmed(mark(position));
            assert_eq!(state.kept(), QueueSize { messages: 8 - confirmed, bytes: (8 - confirmed) * 130 });
        }
        assert!(state.steps.is_empty());
    }

    #[test]
    fn many_entries_are_remembered_coarsely_and_never_counted_out_too_early() {
        let mut state = State::default();
        for seq in 1..=1000 {
            state = state.appended(seq, &batch(1));
        }
        assert!(
            state.steps.len() <= MAX_STEPS && state.steps.len() >= MAX_STEPS / 2,
            "{}",
            state.steps.len()
        );
        for seq in 1..1000 {
            state = state.confirmed(mark(end_of(seq)));
            let (kept, right) = (state.kept().messages, 1000 - seq);
            assert!(kept >= right && kept <= right + 1000 / 15, "{kept} instead of {right}");
        }
        assert_eq!(state.confirmed(mark(end_of(1000))).kept(), QueueSize::default());
    }

    #[test]
    fn what_a_page_has_read_is_learnt_unless_it_is_newer_than_the_state() {
        // What another node has stored: only the totals are known.
        let total = Totals { blocks: 3, messages: 6, bytes: 6 * 130 };
        let state = State { last: 9, total, ..State::default() };
        assert_eq!(state.clone().confirmed(mark(end_of(5))).kept().messages, 6, "it is not known how many");

        let blocks: Vec<_> = [(5, 0), (7, 1), (9, 2), (11, 0)]
            .into_iter()
            .map(|(seq, before): (u64, u64)| {
                let before = Totals { blocks: before, messages: before * 2, bytes: before * 2 * 130 };
                let block = Block::encode(before, &batch(2)).unwrap();
                Block::decode(seq, Duration::ZERO, block.into()).unwrap()
            })
            .collect();
        let mut state = state;
        blocks.iter().for_each(|block| state.learn(block));
        assert_eq!(state.clone().confirmed(mark(end_of(5))).kept().messages, 4);
        let half = positions(7, 2).next().unwrap();
        assert_eq!(state.confirmed(mark(half)).kept(), QueueSize { messages: 3, bytes: 3 * 130 });
    }
}
