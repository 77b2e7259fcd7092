use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// A map that forgets what was not used for long: it holds between `size` and twice `size` of the entries used last.
///
/// Two generations instead of a list in order of use: when the younger is full, it becomes the older, and what was
/// left in that is forgotten. Finding an entry makes it young.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    size: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Remembers at least the last `size` entries, or one.
    pub(super) fn new(size: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), size: size.max(1) }
    }

    /// The entry under `key`, made with `make` if it is not remembered, and whether it had to be.
    pub(super) fn find_or_insert(&mut self, key: K, make: impl FnOnce() -> V) -> (&mut V, bool) {
        let known = self.young.contains_key(&key);
        let (value, is_new) = match self.old.remove(&key) {
            Some(value) => (Some(value), false),
            None => (None, !known),
        };
        if !known && self.young.len() >= self.size {
            self.old = std::mem::take(&mut self.young);
        }
        (self.young.entry(key).or_insert_with(|| value.unwrap_or_else(make)), is_new)
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_new(recent: &mut Recent<u32, ()>, key: u32) -> bool {
        recent.find_or_insert(key, || ()).1
    }

    #[test]
    fn the_last_entries_are_remembered_and_no_more_than_twice_as_many() {
        let mut recent = Recent::new(10);
        for key in 0..1000 {
            assert!(is_new(&mut recent, key));
            assert!(recent.young.len() + recent.old.len() <= 20);
            let oldest = key.saturating_sub(9);
            assert!(
                (oldest..=key).all(|key| recent.young.contains_key(&key) || recent.old.contains_key(&key))
            );
        }
        assert!(!is_new(&mut recent, 999));
        assert!(is_new(&mut recent, 5));
    }

    #[test]
    fn an_entry_in_use_stays() {
        let mut recent = Recent::new(2);
        for key in 1..100 {
            let (_, new) = recent.find_or_insert(0, || ());
            assert_eq!(new, key == 1);
            is_new(&mut recent, key);
        }
    }

    #[test]
    fn what_is_removed_is_new_again() {
        let mut recent = Recent::new(2);
        for key in 0..3 {
            is_new(&mut recent, key);
        }
        for key in 0..3 {
            recent.remove(&key);
            assert!(is_new(&mut recent, key), "{key}");
            recent.remove(&key);
        }
    }
}
