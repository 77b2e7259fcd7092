//! What clients may see, given what senders were told.

use std::collections::{BTreeMap, BTreeSet};

use tok_core::SessionId;

/// What became of a message, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing yet, or that nobody knows.
    Unsure,
    Kept,
    Refused,
}

/// One sender's messages to one user, by number.
#[derive(Debug, Default)]
struct Stream {
    /// Messages that are to be kept, and what their sender was told.
    kept: BTreeMap<u64, Told>,
    /// Kept messages whose TTL is so short that they may expire.
    brief: BTreeSet<u64>,
    seen: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// By user and sender.
    streams: BTreeMap<(usize, u64), Stream>,
    /// By client connection, user and sender: the last number read.
    last_read: BTreeMap<(u64, usize, u64), u64>,
    /// The user's newest session, by user.
    newest: BTreeMap<usize, SessionId>,
    opened: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    pub(crate) delivered: u64,
    pub(crate) broken: Option<String>,
    pub(crate) single: bool,
}

impl Model {
    fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(crate) fn sending(&mut self, user: usize, sender: u64, number: u64, kept: bool, brief: bool) {
        let stream = self.streams.entry((user, sender)).or_default();
        if kept {
            stream.kept.insert(number, Told::Unsure);
        }
        if brief {
            stream.brief.insert(number);
        }
    }

    pub(crate) fn told(&mut self, user: usize, sender: u64, number: u64, kept: Option<bool>) {
        let stream = self.streams.entry((user, sender)).or_default();
        if let (Some(told), Some(kept)) = (stream.kept.get_mut(&number), kept) {
            *told = if kept { Told::Kept } else { Told::Refused };
        }
    }

    pub(crate) fn opened(&mut self, user: usize, session: SessionId) {
        if !self.opened.insert(session) {
            self.fail(format!("{session:?} opened twice"));
        }
        let newest = self.newest.entry(user).or_insert(session);
        *newest = (*newest).max(session);
    }

    pub(crate) fn closed(&mut self, session: SessionId) {
        if !self.opened.contains(&session) || !self.closed.insert(session) {
            self.fail(format!("{session:?} closed twice, or never opened"));
        }
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.opened.len() - self.closed.len()
    }

    /// A session is given something, or handles something.
    pub(crate) fn active(&mut self, user: usize, session: SessionId, doing: &str) {
        if self.closed.contains(&session) {
            self.fail(format!("{session:?} {doing} after it was closed"));
        }
        if self.single && self.newest.get(&user).is_some_and(|newest| *newest > session) {
            self.fail(format!("{session:?} {doing} after a newer session had its place"));
        }
    }

    /// A client read a message on one of its connections.
    pub(crate) fn read(&mut self, connection: u64, user: usize, sender: u64, number: u64) {
        self.delivered += 1;
        let last = self.last_read.insert((connection, user, sender), number);
        if last.is_some_and(|last| last >= number) {
            self.fail(format!(
                "order: connection {connection} of user {user} read {number} of sender {sender} after {last:?}"
            ));
        }
        let single = self.single;
        let Some(stream) = self.streams.get_mut(&(user, sender)) else {
            return self.fail(format!("invented: user {user} read from sender {sender}"));
        };
        let gap = stream.kept.contains_key(&number).then(|| {
            let earlier = stream.kept.range(..number).rev();
            let mut earlier = earlier.filter(|(n, told)| **told == Told::Kept && !stream.brief.contains(n));
            earlier.next().map(|(n, _)| *n)
        });
        stream.seen.insert(number);
        // The kept message before this one was read before, here or on an earlier connection.
        if let (true, Some(Some(before))) = (single, gap)
            && !stream.seen.contains(&before)
        {
            self.fail(format!(
                "lost or overtaken: user {user} read {number} of sender {sender} before {before}"
            ));
        }
    }

    /// Kept messages that nobody has read.
    pub(crate) fn missing(&self, user: usize) -> Vec<(u64, u64)> {
        let streams = self.streams.iter().filter(|((of, _), _)| *of == user);
        streams
            .flat_map(|((_, sender), stream)| {
                let kept = stream.kept.iter().filter(|(_, told)| **told == Told::Kept).map(|(n, _)| *n);
                kept.filter(|n| !stream.seen.contains(n) && !stream.brief.contains(n)).map(|n| (*sender, n))
            })
            .collect()
    }
}
