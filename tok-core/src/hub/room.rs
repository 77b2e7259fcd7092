use std::sync::Arc;

use super::{
    effects::Effects,
    inner::Inner,
    packet::Packet,
    session::{Core, Offered, SessionId},
};
use crate::{
    Uid,
    collections::{HashMap, hash_map},
    sync::Mutex,
};

/// A session could not join a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name is empty or over 255 bytes.
    #[error("a room's name must have 1 to 255 bytes, this one has {bytes}")]
    InvalidName {
        /// The length of the refused name.
        bytes: usize,
    },
    /// The session is in as many rooms as it may be.
    #[error("a session can be in at most {limit} rooms")]
    TooMany {
        /// The builder's `max_rooms_per_session`.
        limit: usize,
    },
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

/// Sessions that are sent the same messages. One lock: all members see a room's messages in the same order.
#[derive(Debug)]
pub(crate) struct Room {
    name: Box<str>,
    members: Mutex<HashMap<SessionId, Arc<Core>>>,
}

impl Room {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        Self { name: name.into(), members: Mutex::new(hash_map(seed)) }
    }

    pub(crate) fn add(&self, core: &Arc<Core>) {
        self.members.lock().insert(core.id, Arc::clone(core));
    }

    pub(crate) fn remove(&self, core: &Core) {
        self.members.lock().remove(&core.id);
    }

    /// Offers a message to every member; returns how many take it.
    pub(crate) fn publish(&self, hub: &Inner, packet: &Arc<Packet>, fx: &mut Effects) -> usize {
        let members = self.members.lock();
        members.values().filter(|member| member.offer(hub, packet, None, fx) == Offered::Taken).count()
    }

    pub(crate) fn members(&self) -> Vec<Arc<Core>> {
        self.members.lock().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.lock().len()
    }
}

/// All rooms of a hub, by name. A room is here while it has members.
#[derive(Debug)]
pub(crate) struct Rooms {
    shards: Box<[Shard]>,
    seed: u64,
}

type Shard = Mutex<HashMap<Box<str>, Arc<Room>>>;

const SHARDS: usize = if cfg!(all(test, shuttle)) { 1 } else { 16 };

impl Rooms {
    pub(crate) fn new(seed: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(hash_map(seed))).collect(), seed }
    }

    pub(crate) fn join(&self, hub: &Inner, core: &Arc<Core>, name: &str) -> Result<usize, JoinError> {
        if !(1..=Uid::MAX_BYTES).contains(&name.len()) {
            return Err(JoinError::InvalidName { bytes: name.len() });
        }
        // The shard's lock is held until the membership is on both sides: a room with no member leaves the table
        // under the same lock, so nobody can join one that is gone.
        let mut shard = self.shard(name).lock();
        let mut rooms = core.rooms.lock();
        if !core.slot.lock().is_live() {
            return Err(JoinError::Ended);
        }
        if !rooms.iter().any(|room| &*room.name == name) {
            let limit = hub.settings.max_rooms_per_session;
            if rooms.len() >= limit {
                return Err(JoinError::TooMany { limit });
            }
            let room = shard.entry(name.into()).or_insert_with(|| Arc::new(Room::new(name, self.seed)));
            room.add(core);
            rooms.push(Arc::clone(room));
        }
        Ok(rooms.len())
    }

    pub(crate) fn leave(&self, core: &Core, name: &str) -> usize {
        let mut shard = self.shard(name).lock();
        let mut rooms = core.rooms.lock();
        if let Some(index) = rooms.iter().position(|room| &*room.name == name) {
            let room = rooms.swap_remove(index);
            room.remove(core);
            if room.len() == 0 {
                shard.remove(name);
            }
        }
        rooms.len()
    }

    /// Takes a session that has ended out of its rooms.
    pub(crate) fn leave_all(&self, core: &Core) {
        loop {
            let Some(name) = core.rooms.lock().last().map(|room| room.name.clone()) else { return };
            self.leave(core, &name);
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Room>> {
        self.shard(name).lock().get(name).cloned()
    }

    fn shard(&self, name: &str) -> &Shard {
        use std::hash::BuildHasher;
        let hash = foldhash::fast::FixedState::with_seed(self.seed).hash_one(name);
        // The low bits choose the bucket within the shard's map.
        let index = usize::try_from(hash >> 48).unwrap_or_default() % self.shards.len();
        &self.shards[index]
    }
}
