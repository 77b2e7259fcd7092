//! Choices that a seed determines.

use std::ops::RangeInclusive;

/// SplitMix64. Each round and each person has a stream of its own, so that what one chooses does not depend on when the
/// others do.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream that these numbers name.
    pub(super) fn new(name: &[u64]) -> Self {
        let mut random = Self(0);
        for part in name {
            random.0 ^= part;
            random.0 = random.next();
        }
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`; 0 where that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // The bias of the remainder is nothing at these sizes.
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(super) fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() + 1 - range.start())
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of them; `None` if there is none.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gives_the_same_choices_and_another_gives_others() {
        let take = |name: &[u64]| {
            let mut random = Random::new(name);
            (0..20).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(take(&[1, 2]), take(&[1, 2]));
        for other in [[2, 1], [1, 3], [0, 2]] {
            assert_ne!(take(&[1, 2]), take(&other));
        }
    }

    #[test]
    fn choices_keep_their_bounds() {
        let mut random = Random::new(&[7]);
        assert!((0..1000).all(|_| (3..=5).contains(&random.within(3..=5))));
        let mut items: Vec<usize> = (0..50).collect();
        random.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..50));
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
