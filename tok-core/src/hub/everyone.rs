use std::sync::Arc;

use super::{
    effects::Effects,
    inner::Inner,
    packet::Packet,
    room,
    session::{Core, SessionId},
};
use crate::{
    collections::{HashMap, hash_map, shrink_map},
    sync::Mutex,
};

/// All sessions of a node, in shards: a login or an end waits for a broadcast only while that is in the session's shard.
#[derive(Debug)]
pub(crate) struct Everyone {
    shards: Box<[Shard]>,
}

type Shard = Mutex<HashMap<SessionId, Arc<Core>>>;

/// Few where each is one more place to switch.
const SHARDS: u64 = if cfg!(all(test, shuttle)) { 2 } else { 64 };

impl Everyone {
    pub(crate) fn new(seed: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(hash_map(seed))).collect() }
    }

    pub(crate) fn add(&self, core: &Arc<Core>) {
        self.shard(core.id).lock().insert(core.id, Arc::clone(core));
    }

    pub(crate) fn remove(&self, core: &Core) {
        let mut shard = self.shard(core.id).lock();
        shard.remove(&core.id);
        shrink_map(&mut shard);
    }

    /// Offers a message to every session; returns how many take it.
    ///
    /// All broadcasts go through the shards in the same order, and each locks the next shard before it unlocks the one
    /// that it is done with. So none overtakes another, and all sessions are offered them in the same order.
    pub(crate) fn publish(&self, hub: &Inner, packet: &Arc<Packet>, fx: &mut Effects) -> usize {
        let mut shards = self.shards.iter().map(Mutex::lock);
        let mut taken = 0;
        let mut next = shards.next();
        while let Some(shard) = next {
            taken += room::offer(shard.values(), hub, packet, fx);
            next = shards.next();
            drop(shard);
        }
        taken
    }

    pub(crate) fn members(&self) -> Vec<Arc<Core>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
    }

    // Ids follow one another, so that the shards fill evenly.
    fn shard(&self, id: SessionId) -> &Shard {
        let index = usize::try_from(id.as_u64() % SHARDS).unwrap_or_default();
        &self.shards[index]
    }
}
