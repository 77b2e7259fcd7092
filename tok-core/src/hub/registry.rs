use std::sync::Arc;

use super::{inner::Inner, user::User};
use crate::{
    Uid,
    collections::{HashMap, hash_map, shrink_map},
    sync::Mutex,
};

/// The users that the hub knows something about, in shards so that logins and sends of different users rarely meet.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Box<[Shard]>,
    seed: u64,
}

type Shard = Mutex<HashMap<Uid, Arc<User>>>;

/// Few where each is one more place to switch, and one user is all there is.
const SHARDS: usize = if cfg!(all(test, shuttle)) { 1 } else { 64 };

impl Registry {
    pub(crate) fn new(seed: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(hash_map(seed))).collect(), seed }
    }

    pub(crate) fn find(&self, uid: &Uid) -> Option<Arc<User>> {
        self.shard(uid).lock().get(uid).cloned()
    }

    pub(crate) fn find_or_add(&self, hub: &Inner, uid: &Uid) -> Arc<User> {
        let mut shard = self.shard(uid).lock();
        if let Some(user) = shard.get(uid) {
            return Arc::clone(user);
        }
        let user = User::new(uid, hub);
        shard.insert(uid.clone(), Arc::clone(&user));
        user
    }

    /// Takes an entry out that has retired. Whoever finds one does that, in place of waiting for the thread that retired
    /// it, which may have been set aside.
    pub(crate) fn remove(&self, user: &Arc<User>) {
        let mut shard = self.shard(user.uid()).lock();
        if shard.get(user.uid()).is_some_and(|here| Arc::ptr_eq(here, user)) {
            shard.remove(user.uid());
            shrink_map(&mut shard);
        }
    }

    /// Users with an entry, for statistics and tests.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<User>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
    }

    fn shard(&self, uid: &Uid) -> &Shard {
        use std::hash::BuildHasher;
        let hash = foldhash::fast::FixedState::with_seed(self.seed).hash_one(uid);
        let index = usize::try_from(hash >> 48).unwrap_or_default() % self.shards.len();
        &self.shards[index]
    }
}
