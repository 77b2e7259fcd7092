//! The checker: what was sent and answered for, and what each session saw, held against the gateway's promises.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt};

use super::message::Tag;

/// A user of the round, by number.
pub(super) type User = usize;

/// What is in order with each other: what goes to one user, what goes to everybody, what goes to one room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// `Q`, `T` and `E`.
    Direct,
    Broadcast,
    Room(String),
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
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
pub(super) struct Violation {
    pub(super) broken: Broken,
    pub(super) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.text)
    }
}

/// Everything that is known of one round.
#[derive(Debug)]
pub(super) struct Ledger {
    /// A login ends the user's other sessions.
    one_session: bool,
    users: Vec<Inbox>,
    /// Sessions by number, as they began.
    senders: Vec<Sender>,
    /// Counts gateway processes that ended without being asked: what was confirmed to one may come again from the next.
    epoch: u32,
}

/// What is on its way to a user.
#[derive(Debug, Default)]
struct Inbox {
    streams: HashMap<u32, Stream>,
    /// Up to which number each session's messages are confirmed.
    confirmed: HashMap<u32, u32>,
}

/// Kept messages of one session to one user, in the order sent.
#[derive(Debug, Default)]
struct Stream {
    kept: Vec<Kept>,
    /// What is before this index has been seen, or overtaken.
    passed: usize,
}

#[derive(Debug)]
struct Kept {
    number: u32,
    answered: bool,
    seen: bool,
    overtaken: bool,
}

#[derive(Debug)]
struct Sender {
    user: User,
    /// From this number on its messages were sent after it had lost its place.
    late_from: Option<u32>,
    /// How it ended, for people.
    end: &'static str,
    /// The message that arrived after one of a later session. There may be one: that which was being handled, and
    /// perhaps stored, when the session ended.
    in_flight: Option<u32>,
}

/// What one session has received.
#[derive(Debug)]
pub(super) struct Hearing {
    user: User,
    epoch: u32,
    /// The last number from each session on each way.
    last: HashMap<(u32, Way), u32>,
    /// The newest session heard of each user on each way.
    newest: HashMap<(User, Way), (u32, u32)>,
    /// What was confirmed when this session began.
    confirmed_before: HashMap<u32, u32>,
    /// Kept messages in the order in which they came.
    kept: Vec<(u32, u32)>,
    /// How many of these were there when a question was answered last.
    answered: usize,
    /// How many of these are known to be confirmed.
    confirmed: usize,
    /// When a session that took this one's place was first known to be live.
    displaced_at: Option<u64>,
}

impl Ledger {
    pub(super) fn new(users: usize, one_session: bool) -> Self {
        let users = (0..users).map(|_| Inbox::default()).collect();
        Self { one_session, users, senders: Vec::new(), epoch: 0 }
    }

    /// A session of a user begins: its number, and its ear.
    pub(super) fn begin(&mut self, user: User) -> (u32, Hearing) {
        // A round has some hundreds.
        let session = self.senders.len() as u32;
        self.senders.push(Sender { user, late_from: None, end: "is open", in_flight: None });
        let hearing = Hearing {
            user,
            epoch: self.epoch,
            last: HashMap::new(),
            newest: HashMap::new(),
            confirmed_before: self.users[user].confirmed.clone(),
            kept: Vec::new(),
            answered: 0,
            confirmed: 0,
            displaced_at: None,
        };
        (session, hearing)
    }

    /// The gateway was killed: what was confirmed to it need not have been stored.
    pub(super) fn killed(&mut self) {
        self.epoch += 1;
        self.users.iter_mut().for_each(|user| user.confirmed.clear());
    }

    /// A session sent a message that is to be kept.
    pub(super) fn sent(&mut self, session: u32, number: u32, to: User) {
        let kept = Kept { number, answered: false, seen: false, overtaken: false };
        self.users[to].streams.entry(session).or_default().kept.push(kept);
    }

    /// The gateway has answered for a message.
    pub(super) fn answered(&mut self, session: u32, number: u32, to: User) {
        if let Some(kept) = self.users[to].streams.get_mut(&session).and_then(|stream| stream.find(number)) {
            kept.answered = true;
        }
    }

    /// How a session ended.
    pub(super) fn ended(&mut self, session: u32, how: &'static str) {
        self.senders[session as usize].end = how;
    }

    /// What the session sends from this number on must reach nobody: it has lost its place.
    pub(super) fn is_late_from(&mut self, session: u32, number: u32) {
        self.senders[session as usize].late_from = Some(number);
    }

    /// A session received a message.
    pub(super) fn received(
        &mut self,
        ear: &mut Hearing,
        tag: Tag,
        way: &Way,
        kept: bool,
    ) -> Result<(), Violation> {
        let Tag { session, number, sent } = tag;
        let to = ear.user;
        let broken = |broken, why: String| {
            let kind = if kept { "kept" } else { "not kept" };
            Err(Violation {
                broken,
                text: format!("{session}.{number} ({way:?}, {kind}) to user {to}: {why}"),
            })
        };
        let Some(sender) = self.senders.get_mut(session as usize) else {
            return broken(Broken::Stale, "no session of this round sent it".to_owned());
        };
        let Sender { user, late_from, end, ref mut in_flight } = *sender;

        let stream = self.users[to].streams.get_mut(&session).filter(|_| *way == Way::Direct);
        let known = stream.is_some_and(|stream| stream.see(number, kept));
        if kept {
            ear.kept.push((session, number));
        }
        let last = ear.last.insert((session, way.clone()), number);
        let newest = ear.newest.entry((user, way.clone())).or_default();
        *newest = (*newest).max((session, number));
        let (newest, its) = *newest;

        if kept && !known {
            return broken(Broken::Stale, "it was not sent to this user".to_owned());
        }
        match last {
            Some(last) if last == number => return broken(Broken::Twice, "came just before".to_owned()),
            Some(last) if last > number => {
                let twice = ear.kept.iter().filter(|other| **other == (session, number)).count() > 1;
                let broke = if twice { Broken::Twice } else { Broken::Disorder };
                return broken(broke, format!("after {session}.{last}"));
            }
            _ => {}
        }
        if late_from.is_some_and(|late| late <= number) {
            return broken(Broken::Stale, "its sender had lost its place before it sent this".to_owned());
        }
        if self.one_session && session < newest && *in_flight.get_or_insert(number) != number {
            let why =
                format!("after {newest}.{its} of the sender's later session, though session {session} {end}");
            return broken(Broken::Stale, why);
        }
        if ear.displaced_at.is_some_and(|at| at < sent) {
            return broken(Broken::Stale, "sent after this session had lost its place".to_owned());
        }
        if ear.confirmed_before.get(&session).is_some_and(|confirmed| kept && number <= *confirmed) {
            return broken(Broken::Again, "confirmed before this session began".to_owned());
        }
        Ok(())
    }

    /// What the session received before it last answered a question is confirmed: the gateway has handled what it sent
    /// behind that answer.
    pub(super) fn confirmed(&mut self, ear: &mut Hearing, answered: usize) {
        if ear.epoch == self.epoch && ear.confirmed < answered {
            let confirmed = &mut self.users[ear.user].confirmed;
            for (session, number) in &ear.kept[ear.confirmed..answered] {
                let upto = confirmed.entry(*session).or_default();
                *upto = (*upto).max(*number);
            }
            ear.confirmed = answered;
        }
    }

    /// Whether something that was answered for has not arrived yet.
    pub(super) fn misses(&self, user: User) -> bool {
        let mut kept = self.users[user].streams.values().flat_map(|stream| &stream.kept);
        kept.any(|kept| kept.answered && !kept.seen)
    }

    /// What broke a promise about what arrives in the end.
    pub(super) fn finish(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (user, inbox) in self.users.iter().enumerate() {
            for (session, stream) in &inbox.streams {
                for kept in stream.kept.iter().filter(|kept| kept.answered) {
                    let broken = match (kept.seen, kept.overtaken) {
                        (false, _) => Broken::Lost,
                        (true, true) => Broken::Overtaken,
                        (true, false) => continue,
                    };
                    let text = format!("{session}.{} to user {user}, answered for", kept.number);
                    violations.push(Violation { broken, text });
                }
            }
        }
        violations
    }

    /// Messages that were answered for.
    pub(super) fn total_answered(&self) -> usize {
        let streams = self.users.iter().flat_map(|user| user.streams.values());
        streams.flat_map(|stream| &stream.kept).filter(|kept| kept.answered).count()
    }
}

impl Stream {
    fn find(&mut self, number: u32) -> Option<&mut Kept> {
        let at = self.kept.binary_search_by_key(&number, |kept| kept.number).ok()?;
        self.kept.get_mut(at)
    }

    /// A message arrived, kept or not: which of those before it have not? Whether it is one of the kept ones.
    fn see(&mut self, number: u32, kept: bool) -> bool {
        while let Some(passed) = self.kept.get_mut(self.passed).filter(|kept| kept.number < number) {
            passed.overtaken = !passed.seen;
            self.passed += 1;
        }
        let Some(found) = self.find(number).filter(|_| kept) else { return false };
        found.seen = true;
        true
    }
}

impl Hearing {
    /// The session answers a question.
    pub(super) fn answer(&mut self) {
        self.answered = self.kept.len();
    }

    /// How many kept messages it has answered for.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    /// Another session is known to be live in this one's place.
    pub(super) fn displace(&mut self, at: u64) {
        self.displaced_at.get_or_insert(at);
    }
}
