//! Maps whose order of iteration the runtime's seed decides.

#![allow(clippy::disallowed_types)]

use foldhash::fast::FixedState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, FixedState>;

pub(crate) fn hash_map<K, V>(seed: u64) -> HashMap<K, V> {
    HashMap::with_hasher(FixedState::with_seed(seed))
}
