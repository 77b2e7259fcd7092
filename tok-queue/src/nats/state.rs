//! What a node remembers of a user between operations, so that most of them need no read.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::try_join3;
use tok_core::queue::Seq;

use super::{
    block::{Totals, block_after, end_of},
    rpc::Failure,
    store::{Meta, Store, User},
};

/// About 4 MiB; more users than this with messages for them at the same time read again.
const MAX_USERS: usize = 16 * 1024;

/// A user's queue as it was. Every write says what it was made from, and the server refuses it if that has changed: what
/// is remembered may be old, and no harm is done by it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The newest block's place in the stream; 0 if there is none.
    pub(super) last: u64,
    /// All that the blocks up to the newest held.
    pub(super) total: Totals,
    /// The part of it that is confirmed or gone; it may be more.
    pub(super) gone: Totals,
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
        let gone = first.map_or(total, |block| {
            let confirmed = block.positions().take_while(|(seq, _)| *seq <= meta.mark);
            block.before.and(confirmed.map(|(_, entry)| entry))
        });
        Ok(Self { last: last.seq, total, gone, before, meta, fresh: true })
    }

    /// Messages and bytes that are there, or were: blocks between others that have expired are counted.
    pub(super) fn kept(&self) -> (u64, u64) {
        let kept = |total: u64, gone: u64| total.saturating_sub(gone);
        (kept(self.total.messages, self.gone.messages), kept(self.total.bytes, self.gone.bytes))
    }

    /// Messages and bytes that are there.
    pub(super) async fn count(&self, store: &Store, user: &User) -> Result<(u64, u64), Failure> {
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
        Ok((sum.messages, sum.bytes))
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
    pub(super) fn get(&self, user: &User) -> Option<State> {
        self.lock().get(user).copied()
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
