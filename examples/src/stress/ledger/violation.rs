//! What can be found to be wrong.

use std::fmt;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stress) enum Broken {
    /// Answered for, and never arrived.
    Lost,
    /// Twice within a session.
    Twice,
    /// After a later one of the same sender within a session.
    Disorder,
    /// In no session before a later one of the same sender.
    Overtaken,
    /// Confirmed, and in a later session again.
    Again,
    /// Of a session that had lost its place, or to one.
    Stale,
}

/// How a promise was broken, for people.
#[derive(Clone, Debug)]
pub(in crate::stress) struct Violation {
    pub(in crate::stress) broken: Broken,
    pub(in crate::stress) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.text)
    }
}
