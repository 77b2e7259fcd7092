use std::mem;

use crate::{
    Uid,
    collections::{HashMap, hash_map},
    queue::Seq,
    sync::Mutex,
};

/// What this node stored last for users of whom it may keep no entry: the messages that it sends them behind it on other
/// nodes carry it, so that they do not overtake it. Only a hub in a cluster keeps it.
///
/// It remembers the last [`USERS`] users at least and twice as many at most. Whoever is forgotten has been stored
/// nothing for so long that the other nodes have read it.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<Generations>);

#[derive(Debug)]
struct Generations {
    young: HashMap<Uid, Seq>,
    old: HashMap<Uid, Seq>,
    seed: u64,
}

/// Users in one generation.
const USERS: usize = 16 * 1024;

impl Recent {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(Generations { young: hash_map(seed), old: hash_map(seed), seed }))
    }

    pub(crate) fn stored(&self, uid: &Uid, seq: Seq) {
        let forgotten = {
            let mut here = self.0.lock();
            let known = here.old.get(uid).copied().unwrap_or_default();
            let last = here.young.entry(uid.clone()).or_insert(known);
            *last = seq.max(*last);
            if here.young.len() < USERS {
                return;
            }
            let next = hash_map(here.seed);
            let young = mem::replace(&mut here.young, next);
            mem::replace(&mut here.old, young)
        };
        // So many that nobody should wait for it.
        drop(forgotten);
    }

    pub(crate) fn last_stored(&self, uid: &Uid) -> Option<Seq> {
        let here = self.0.lock();
        here.young.get(uid).or_else(|| here.old.get(uid)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_users_and_no_more_than_two_generations() {
        let recent = Recent::new(7);
        let seq = |user: usize| Seq::new(user as u64 + 1);
        for user in 0..4 * USERS {
            recent.stored(&Uid::from(user), seq(user));
            recent.stored(&Uid::from(user), Seq::new(1));
        }
        for user in 3 * USERS + 1..4 * USERS {
            assert_eq!(recent.last_stored(&Uid::from(user)), Some(seq(user)), "{user}");
        }
        assert_eq!(recent.last_stored(&Uid::from(0)), None);
        let here = recent.0.lock();
        assert!(here.young.len() + here.old.len() <= 2 * USERS);
    }
}
