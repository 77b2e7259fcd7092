//! Maps whose order of iteration the runtime's seed decides, and tables that give memory back.

#![allow(clippy::disallowed_types)]

use std::{collections::VecDeque, hash::Hash};

use foldhash::fast::FixedState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, FixedState>;

pub(crate) fn hash_map<K, V>(seed: u64) -> HashMap<K, V> {
    HashMap::with_hasher(FixedState::with_seed(seed))
}

/// What a table may have room for without being looked at.
const SMALL: usize = 8;

/// The room that a table should have which has room for `capacity` items and holds `len`; `None` if it is fine as it is.
/// What grows and shrinks by turns is copied once in many changes.
fn smaller(capacity: usize, len: usize) -> Option<usize> {
    (capacity > SMALL && len < capacity / 8).then_some(len * 2)
}

/// Gives memory back after items were removed, if most are.
pub(crate) fn shrink_map<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if let Some(capacity) = smaller(map.capacity(), map.len()) {
        map.shrink_to(capacity);
    }
}

/// As [`shrink_map`].
pub(crate) fn shrink_queue<T>(queue: &mut VecDeque<T>) {
    if let Some(capacity) = smaller(queue.capacity(), queue.len()) {
        queue.shrink_to(capacity);
    }
}

/// As [`shrink_map`].
pub(crate) fn shrink_list<T>(list: &mut Vec<T>) {
    if let Some(capacity) = smaller(list.capacity(), list.len()) {
        list.shrink_to(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_what_they_hold_down_to_nothing() {
        let mut map: HashMap<usize, usize> = hash_map(7);
        let mut queue: VecDeque<usize> = VecDeque::new();
        let mut list = Vec::new();
        for n in 0..10_000 {
            map.insert(n, n);
            queue.push_back(n);
            list.push(n);
        }
        for left in (0..10_000).rev() {
            map.remove(&left);
            queue.pop_front();
            list.pop();
            shrink_map(&mut map);
            shrink_queue(&mut queue);
            shrink_list(&mut list);
            for capacity in [map.capacity(), queue.capacity(), list.capacity()] {
                assert!(capacity <= (8 * left + 8).max(SMALL), "{capacity} for {left}");
            }
        }
        assert_eq!(list.len() + queue.len() + map.len(), 0);
    }

    #[test]
    fn a_table_that_keeps_its_size_keeps_its_room() {
        let mut list: Vec<usize> = Vec::with_capacity(1000);
        list.extend(0..200);
        shrink_list(&mut list);
        assert_eq!(list.capacity(), 1000);
    }
}
