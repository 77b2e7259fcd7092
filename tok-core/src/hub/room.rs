use std::{mem, sync::Arc};

use super::{
    effects::Effects,
    inner::Inner,
    packet::Packet,
    session::{Core, Offered, SessionId},
};
use crate::{
    Uid,
    collections::{HashMap, hash_map, shrink_list, shrink_map},
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
    /// `None` once the last member has left, and with it the room leaves the table. Who finds it there looks again.
    members: Mutex<Option<HashMap<SessionId, Arc<Core>>>>,
}

impl Room {
    fn new(name: &str, seed: u64) -> Self {
        Self { name: name.into(), members: Mutex::new(Some(hash_map(seed))) }
    }

    /// Returns false if the room is gone.
    fn add(&self, core: &Arc<Core>) -> bool {
        let mut members = self.members.lock();
        members.as_mut().map(|members| members.insert(core.id, Arc::clone(core))).is_some()
    }

    /// Returns true if the room is gone.
    fn remove(&self, core: &Core) -> bool {
        let mut here = self.members.lock();
        if let Some(members) = &mut *here {
            members.remove(&core.id);
            shrink_map(members);
            if members.is_empty() {
                *here = None;
            }
        }
        here.is_none()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.members.lock().as_ref().map_or(0, HashMap::capacity)
    }

    /// Offers a message to every member; returns how many take it.
    pub(crate) fn publish(&self, hub: &Inner, packet: &Arc<Packet>, fx: &mut Effects) -> usize {
        offer(self.members.lock().iter().flat_map(HashMap::values), hub, packet, fx)
    }
}

/// Offers a message to sessions; returns how many take it.
pub(super) fn offer<'a>(
    sessions: impl Iterator<Item = &'a Arc<Core>>,
    hub: &Inner,
    packet: &Arc<Packet>,
    fx: &mut Effects,
) -> usize {
    sessions.filter(|session| session.offer(hub, packet, None, fx) == Offered::Taken).count()
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
        // Held until the membership is on both sides. No shard is locked meanwhile: a long publish to one room must not
        // hold up others.
        let mut rooms = core.rooms.lock();
        if !core.slot.lock().is_live() {
            return Err(JoinError::Ended);
        }
        if !rooms.iter().any(|room| &*room.name == name) {
            let limit = hub.settings.max_rooms_per_session;
            if rooms.len() >= limit {
                return Err(JoinError::TooMany { limit });
            }
            rooms.push(self.enter(core, name));
        }
        Ok(rooms.len())
    }

    /// Makes a session a member of the room of this name, which there is from here on if there was none.
    fn enter(&self, core: &Arc<Core>, name: &str) -> Arc<Room> {
        loop {
            let room = {
                let mut shard = self.shard(name).lock();
                Arc::clone(shard.entry(name.into()).or_insert_with(|| Arc::new(Room::new(name, self.seed))))
            };
            if room.add(core) {
                return room;
            }
            self.drop_room(&room);
        }
    }

    pub(crate) fn leave(&self, core: &Core, name: &str) -> usize {
        let mut rooms = core.rooms.lock();
        if let Some(index) = rooms.iter().position(|room| &*room.name == name) {
            self.exit(core, &rooms.swap_remove(index));
            shrink_list(&mut rooms);
        }
        rooms.len()
    }

    /// Takes a session that has ended out of its rooms.
    pub(crate) fn leave_all(&self, core: &Core) {
        let rooms = mem::take(&mut *core.rooms.lock());
        rooms.iter().for_each(|room| self.exit(core, room));
    }

    fn exit(&self, core: &Core, room: &Arc<Room>) {
        if room.remove(core) {
            self.drop_room(room);
        }
    }

    /// Takes a room that is gone out of the table. Whoever finds one does that, in place of waiting for the thread that
    /// removed its last member, which may have been set aside.
    fn drop_room(&self, room: &Arc<Room>) {
        let mut shard = self.shard(&room.name).lock();
        if shard.get(&room.name).is_some_and(|here| Arc::ptr_eq(here, room)) {
            shard.remove(&room.name);
            shrink_map(&mut shard);
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
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
