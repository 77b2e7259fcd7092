//! Where users of other nodes were last found.

use tok_core::Uid;

use crate::{
    NodeId,
    collections::{HashMap, hash_map},
    sync::Mutex,
};

/// A bounded cache in two generations: what is used moves to the young one, and when that is full the old one is
/// forgotten whole. It only ever leads to nodes that are asked, so an entry that is wrong costs a request.
#[derive(Debug)]
pub(super) struct Routes {
    generations: Mutex<Generations>,
    /// Of one generation.
    max: usize,
    seed: u64,
}

#[derive(Debug)]
struct Generations {
    young: HashMap<Uid, Vec<NodeId>>,
    old: HashMap<Uid, Vec<NodeId>>,
}

impl Routes {
    pub(super) fn new(max: usize, seed: u64) -> Self {
        let generations = Mutex::new(Generations { young: hash_map(seed), old: hash_map(seed) });
        Self { generations, max: max.div_ceil(2), seed }
    }

    pub(super) fn find(&self, uid: &Uid) -> Option<Vec<NodeId>> {
        let mut generations = self.generations.lock();
        if let Some(nodes) = generations.young.get(uid) {
            return Some(nodes.clone());
        }
        let nodes = generations.old.remove(uid)?;
        self.insert(&mut generations, uid, nodes.clone());
        Some(nodes)
    }

    /// A user who is nowhere is not remembered: nobody would say when that changes.
    pub(super) fn set(&self, uid: &Uid, nodes: &[NodeId]) {
        let mut generations = self.generations.lock();
        generations.old.remove(uid);
        if nodes.is_empty() || self.max == 0 {
            generations.young.remove(uid);
        } else {
            self.insert(&mut generations, uid, nodes.to_vec());
        }
    }

    pub(super) fn forget(&self, uid: &Uid) {
        self.set(uid, &[]);
    }

    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }

    fn insert(&self, generations: &mut Generations, uid: &Uid, nodes: Vec<NodeId>) {
        if generations.young.len() >= self.max && !generations.young.contains_key(uid) {
            generations.old = std::mem::replace(&mut generations.young, hash_map(self.seed));
        }
        generations.young.insert(uid.clone(), nodes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let node = NodeId::new("n", 1).unwrap();
        let routes = Routes::new(10, 1);
        for n in 0..100_u32 {
            routes.set(&Uid::from(n), std::slice::from_ref(&node));
            assert_eq!(routes.find(&Uid::from(0_u32)), Some(vec![node.clone()]), "used all the time");
            assert!(routes.len() <= 10, "{} entries", routes.len());
        }
        assert_eq!(routes.find(&Uid::from(50_u32)), None);
        routes.forget(&Uid::from(0_u32));
        assert_eq!(routes.find(&Uid::from(0_u32)), None);
        let none = Routes::new(0, 1);
        none.set(&Uid::from("u"), &[node]);
        assert_eq!(none.len(), 0);
    }
}
