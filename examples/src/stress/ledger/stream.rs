//! What is to be kept for a user, and what of it has come.

/// Kept messages of one session to one user, in the order sent.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) kept: Vec<Kept>,
    /// What is before this index has been seen, or overtaken.
    passed: usize,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) number: u32,
    pub(super) answered: bool,
    pub(super) seen: bool,
    pub(super) overtaken: bool,
}

impl Stream {
    pub(super) fn find(&mut self, number: u32) -> Option<&mut Kept> {
        let at = self.kept.binary_search_by_key(&number, |kept| kept.number).ok()?;
        self.kept.get_mut(at)
    }

    /// A message arrived, kept or not: which of those before it have not? Whether it is one of the kept ones.
    pub(super) fn see(&mut self, number: u32, kept: bool) -> bool {
        while let Some(passed) = self.kept.get_mut(self.passed).filter(|kept| kept.number < number) {
            passed.overtaken = !passed.seen;
            self.passed += 1;
        }
        let Some(found) = self.find(number).filter(|_| kept) else { return false };
        found.seen = true;
        true
    }
}
