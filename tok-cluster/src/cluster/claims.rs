//! The sessions that this node has claimed, and where else their users are: what the registry must say about it.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use tok_core::{Epoch, Uid};

use crate::{
    NodeId,
    collections::{HashMap, hash_map},
    sync::Mutex,
};

const SHARDS: usize = 32;

#[derive(Debug)]
pub(super) struct Claims {
    shards: Vec<Mutex<HashMap<Uid, User>>>,
    hasher: FixedState,
}

#[derive(Debug, Default)]
struct User {
    sessions: Vec<(Option<Box<str>>, Epoch)>,
    /// Logins that wait for the registry or for other nodes.
    pending: u32,
    /// Other nodes with sessions of the user. One that is not any more costs a request; one that is missing would cost
    /// a message, so each node with a session is told of the next one's.
    others: Vec<NodeId>,
    /// Counts what was told, so that what was looked up meanwhile does not undo it.
    told: u32,
}

/// Where a user with a session here is otherwise, and as of when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) others: Vec<NodeId>,
    pub(super) told: u32,
}

/// One session: what its row says.
pub(super) type Session = (Uid, Option<String>, Epoch);

impl Claims {
    pub(super) fn new(seed: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(hash_map(seed))).collect();
        Self { shards, hasher: FixedState::with_seed(!seed) }
    }

    fn shard(&self, uid: &Uid) -> &Mutex<HashMap<Uid, User>> {
        &self.shards[self.hasher.hash_one(uid) as usize % SHARDS]
    }

    /// A login begins: what other nodes tell of the user from here on is remembered.
    pub(super) fn begin(&self, uid: &Uid) {
        self.shard(uid).lock().entry(uid.clone()).or_default().pending += 1;
    }

    /// The login is claimed. `others` are the nodes that the registry named.
    pub(super) fn add(&self, uid: &Uid, class: Option<&str>, epoch: Epoch, others: &[NodeId]) {
        let mut shard = self.shard(uid).lock();
        let user = shard.entry(uid.clone()).or_default();
        if user.sessions.is_empty() {
            user.sessions = Vec::with_capacity(1);
        }
        user.sessions.push((class.map(Into::into), epoch));
        user.note(others);
    }

    /// The login has ended, one way or the other.
    pub(super) fn end(&self, uid: &Uid) {
        self.with(uid, |user| user.pending = user.pending.saturating_sub(1));
    }

    /// A session has ended: whether it was known.
    pub(super) fn remove(&self, uid: &Uid, epoch: Epoch) -> bool {
        self.with(uid, |user| {
            let before = user.sessions.len();
            user.sessions.retain(|(_, other)| *other != epoch);
            user.sessions.len() < before
        })
        .unwrap_or_default()
    }

    /// Another node has a session of the user. Says whether that matters here.
    pub(super) fn note(&self, uid: &Uid, node: &NodeId) -> bool {
        self.with(uid, |user| user.note(std::slice::from_ref(node))).is_some()
    }

    /// Where else the user is; `None` if there is no session here, and so nothing known.
    pub(super) fn elsewhere(&self, uid: &Uid) -> Option<Elsewhere> {
        let shard = self.shard(uid).lock();
        let user = shard.get(uid).filter(|user| !user.sessions.is_empty())?;
        Some(Elsewhere { others: user.others.clone(), told: user.told })
    }

    /// The registry was asked after `before` was read. What was told since is newer.
    pub(super) fn correct(&self, uid: &Uid, before: &Elsewhere, others: &[NodeId]) {
        self.with(uid, |user| {
            if user.told == before.told {
                user.others = others.to_vec();
            }
        });
    }

    pub(super) fn is_pending(&self, uid: &Uid) -> bool {
        self.shard(uid).lock().get(uid).is_some_and(|user| user.pending > 0)
    }

    pub(super) fn epochs(&self, uid: &Uid) -> Vec<(Option<String>, Epoch)> {
        let shard = self.shard(uid).lock();
        shard.get(uid).map(|user| user.sessions.iter().map(own).collect()).unwrap_or_default()
    }

    pub(super) fn has(&self, uid: &Uid, epoch: Epoch) -> bool {
        let shard = self.shard(uid).lock();
        shard.get(uid).is_some_and(|user| user.sessions.iter().any(|(_, other)| *other == epoch))
    }

    /// All sessions, a part at a time, so that going through them takes little memory.
    pub(super) fn parts(&self) -> impl Iterator<Item = Vec<Session>> {
        (0..SHARDS).map(|index| self.part(index))
    }

    /// One of the parts; they come round.
    pub(super) fn part(&self, index: usize) -> Vec<Session> {
        let shard = self.shards[index % SHARDS].lock();
        let sessions = shard.iter().flat_map(|(uid, user)| {
            user.sessions.iter().map(|session| {
                let (class, epoch) = own(session);
                (uid.clone(), class, epoch)
            })
        });
        sessions.collect()
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().values().map(|user| user.sessions.len()).sum::<usize>())
            .sum()
    }

    /// Runs on a user's entry, which goes when nothing is left in it.
    fn with<T>(&self, uid: &Uid, run: impl FnOnce(&mut User) -> T) -> Option<T> {
        let mut shard = self.shard(uid).lock();
        let user = shard.get_mut(uid)?;
        let result = run(user);
        if user.sessions.is_empty() && user.pending == 0 {
            shard.remove(uid);
        }
        Some(result)
    }
}

impl User {
    fn note(&mut self, nodes: &[NodeId]) {
        self.told = self.told.wrapping_add(1);
        for node in nodes {
            if !self.others.contains(node) {
                self.others.push(node.clone());
            }
        }
    }
}

fn own((class, epoch): &(Option<Box<str>>, Epoch)) -> (Option<String>, Epoch) {
    (class.as_deref().map(str::to_owned), *epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name, 1).unwrap()
    }

    #[test]
    fn what_is_told_while_a_login_is_under_way_is_kept() {
        let claims = Claims::new(1);
        let uid = Uid::from("u");
        assert!(!claims.note(&uid, &node("b")), "nobody here to tell");
        claims.begin(&uid);
        assert!(claims.note(&uid, &node("b")));
        assert_eq!(claims.elsewhere(&uid), None, "a login under way is no session");
        claims.add(&uid, Some(""), Epoch::new(1), &[node("c")]);
        claims.end(&uid);
        assert_eq!(claims.elsewhere(&uid).unwrap().others, [node("b"), node("c")]);
        assert!(claims.remove(&uid, Epoch::new(1)) && !claims.remove(&uid, Epoch::new(1)));
        assert_eq!((claims.elsewhere(&uid), claims.len()), (None, 0));
        assert!(!claims.note(&uid, &node("b")), "nothing is left of the user");
    }

    #[test]
    fn what_was_looked_up_does_not_undo_what_was_told_since() {
        let claims = Claims::new(1);
        let uid = Uid::from("u");
        claims.add(&uid, None, Epoch::new(1), &[]);
        let before = claims.elsewhere(&uid).unwrap();
        claims.note(&uid, &node("b"));
        claims.correct(&uid, &before, &[]);
        let now = claims.elsewhere(&uid).unwrap();
        assert_eq!(now.others, [node("b")]);
        claims.correct(&uid, &now, &[]);
        assert_eq!(claims.elsewhere(&uid).unwrap().others, []);
    }
}
