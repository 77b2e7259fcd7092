//! The checker: what was sent and answered for, and what each session saw, held against the gateway's promises.

#[cfg(test)]
mod cluster_tests;
mod confirmations;
mod reach;
mod stream;
#[cfg(test)]
mod tests;
mod violation;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use self::{
    confirmations::Confirmations,
    reach::SETTLE,
    stream::{Kept, Stream},
};
pub(super) use self::{
    reach::{ASK_FAILED, LOGIN_FAILED, Reach, is_unknown},
    violation::{Broken, Violation},
};
use super::{gateways::Process, message::Tag};

/// A user of the round, by number.
pub(super) type User = usize;

/// A session, by number.
pub(super) type Session = u32;

/// What is in order with each other: what goes to one user, what goes to everybody, what goes to one room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// `Q`, `T` and `E`.
    Direct,
    Broadcast,
    Room(String),
}

/// Everything that is known of one round.
#[derive(Debug)]
pub(super) struct Ledger {
    /// A login ends the user's other sessions.
    one_session: bool,
    /// The gateways are nodes of a cluster.
    in_cluster: bool,
    users: Vec<Inbox>,
    /// Sessions by number, as they began.
    senders: Vec<Sender>,
    /// How often a process ended without being asked: what was confirmed to one may come again from the next.
    kills: HashMap<Process, u32>,
    /// Of the nodes of a cluster.
    pub(super) reach: Reach,
    /// From here on a user has one session at a time, whatever a login ends.
    is_over: bool,
}

/// What is on its way to a user.
#[derive(Debug, Default)]
struct Inbox {
    streams: HashMap<Session, Stream>,
    confirmed: Confirmations,
    /// Where the user's newest session is.
    at: Process,
}

#[derive(Debug)]
struct Sender {
    user: User,
    process: Process,
    /// When its login began, and when it was known to have taken effect.
    begun: u64,
    live: Option<u64>,
    /// From this number on its messages were sent after it had lost its place.
    late_from: Option<u32>,
    /// How it ended, for people.
    end: &'static str,
    /// Ranges of its messages of which one or more failed in a way that leaves open whether it arrives.
    in_doubt: Vec<Range<u32>>,
    /// The message that arrived after one of a later session. There may be one: that which was being handled, and
    /// perhaps stored, when the session ended.
    in_flight: Option<u32>,
}

/// What one session has received.
#[derive(Debug)]
pub(super) struct Hearing {
    session: Session,
    user: User,
    process: Process,
    /// How often its process had been killed when it began.
    kills: u32,
    /// The last number from each session on each way.
    last: HashMap<(Session, Way), u32>,
    /// Everything, by session and number.
    heard: HashSet<(Session, u32)>,
    /// The newest session heard of each user on each way, of those that are in order with each other.
    newest: HashMap<(User, Way, Together), (Session, u32)>,
    /// What was confirmed when this session began.
    confirmed_before: HashMap<Session, u32>,
    /// Kept messages in the order in which they came.
    kept: Vec<(Session, u32)>,
    /// How many of these were there when a question was answered last.
    answered: usize,
    /// How many of these are known to be confirmed.
    confirmed: usize,
    /// When a session that took this one's place was first known to be live.
    displaced_at: Option<u64>,
}

/// Messages of one user's sessions that are in order with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Together {
    /// Those sent on one process.
    On(Process),
    /// Those that are kept: what puts them in order is the queue, which nodes share. Of what is not kept a node knows the
    /// place among what this node has stored, and not among what others have: a sender who moves from node to node has no
    /// order of these.
    Kept,
}

impl Ledger {
    pub(super) fn new(users: usize, one_session: bool) -> Self {
        let users = (0..users).map(|_| Inbox::default()).collect();
        Self {
            one_session,
            in_cluster: false,
            users,
            senders: Vec::new(),
            kills: HashMap::new(),
            reach: Reach::default(),
            is_over: false,
        }
    }

    /// Of a round in which the gateways are nodes of a cluster, or is not.
    pub(super) fn in_cluster(mut self, in_cluster: bool) -> Self {
        self.in_cluster = in_cluster;
        self
    }

    /// A login of a user begins: the session's number, and its ear.
    pub(super) fn begin(&mut self, user: User, process: Process, now: u64) -> (Session, Hearing) {
        // A round has some hundreds.
        let session = self.senders.len() as Session;
        self.senders.push(Sender {
            user,
            process,
            begun: now,
            live: None,
            late_from: None,
            end: "is open",
            in_doubt: Vec::new(),
            in_flight: None,
        });
        let inbox = &mut self.users[user];
        inbox.at = process;
        let reach = &self.reach;
        let acknowledged = |at: u64| at + SETTLE <= now && !reach.was_silent(at, at + SETTLE);
        let hearing = Hearing {
            session,
            user,
            process,
            kills: self.kills.get(&process).copied().unwrap_or_default(),
            last: HashMap::new(),
            heard: HashSet::new(),
            newest: HashMap::new(),
            confirmed_before: inbox.confirmed.begin(process, acknowledged),
            kept: Vec::new(),
            answered: 0,
            confirmed: 0,
            displaced_at: None,
        };
        (session, hearing)
    }

    /// The session's login has taken effect.
    pub(super) fn is_live(&mut self, session: Session, now: u64) {
        self.senders[session as usize].live.get_or_insert(now);
    }

    /// A process was killed: what was confirmed to it need not have been stored.
    pub(super) fn killed(&mut self, process: Process) {
        *self.kills.entry(process).or_default() += 1;
        self.users.iter_mut().for_each(|user| user.confirmed.forget(process));
    }

    /// Everybody has left. From here on a user has one session at a time.
    pub(super) fn is_over(&mut self) {
        self.is_over = true;
    }

    /// A session sent a message that is to be kept.
    pub(super) fn sent(&mut self, session: Session, number: u32, to: User) {
        let kept = Kept { number, answered: false, seen: false, overtaken: false };
        self.users[to].streams.entry(session).or_default().kept.push(kept);
    }

    /// The gateway has answered for a message.
    pub(super) fn answered(&mut self, session: Session, number: u32, to: User) {
        if let Some(kept) = self.users[to].streams.get_mut(&session).and_then(|stream| stream.find(number)) {
            kept.answered = true;
        }
    }

    /// One or more of these messages failed, and nobody knows whether it arrives: if it does, it can be at any time, in a
    /// cluster. Where there is one gateway, a message that may have been stored has its place in the order all the same.
    pub(super) fn in_doubt(&mut self, session: Session, numbers: Range<u32>) {
        if self.in_cluster {
            self.senders[session as usize].in_doubt.push(numbers);
        }
    }

    /// How a session ended.
    pub(super) fn ended(&mut self, session: Session, how: &'static str) {
        self.senders[session as usize].end = how;
    }

    /// The session has lost its place to another one, which is live: what it sends from this number on must reach nobody,
    /// and nothing that is sent from now on must reach it.
    pub(super) fn displaced(&mut self, ear: &mut Hearing, number: u32, by: Session, now: u64) {
        if !self.is_unaware(ear.session, by) {
            self.senders[ear.session as usize].late_from = Some(number);
            ear.displaced_at.get_or_insert(now);
        }
    }

    /// Whether nobody could tell the node of an older session that a newer one takes its place, while that logged in: it
    /// lives on until its node hears of it. Such is the cluster's policy, `Available`.
    fn is_unaware(&self, old: Session, new: Session) -> bool {
        let (old, new) = (&self.senders[old as usize], &self.senders[new as usize]);
        let nodes = [old.process.node, new.process.node];
        self.reach.was_cut_off(&nodes, new.begun, new.live.unwrap_or(u64::MAX))
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
        let Some(sender) = self.senders.get(session as usize) else {
            return broken(Broken::Stale, "no session of this round sent it".to_owned());
        };
        let Sender { user, process, late_from, end, .. } = *sender;

        let stream = self.users[to].streams.get_mut(&session).filter(|_| *way == Way::Direct);
        let known = stream.is_some_and(|stream| stream.see(number, kept));
        if kept {
            ear.kept.push((session, number));
        }
        let last = ear.last.insert((session, way.clone()), number);
        let is_first = ear.heard.insert((session, number));
        let is_in_doubt = sender.in_doubt.iter().any(|numbers| numbers.contains(&number));
        let (mut newest, mut its) = (session, number);
        for together in [Some(Together::On(process)), kept.then_some(Together::Kept)].into_iter().flatten() {
            let heard = ear.newest.entry((user, way.clone(), together)).or_default();
            *heard = (*heard).max((session, number));
            (newest, its) = (newest, its).max(*heard);
        }

        if kept && !known {
            return broken(Broken::Stale, "it was not sent to this user".to_owned());
        }
        match last {
            Some(last) if last == number => return broken(Broken::Twice, "came just before".to_owned()),
            // It comes late, and once.
            Some(last) if last > number && is_in_doubt && is_first => {
                ear.last.insert((session, way.clone()), last);
            }
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
        let is_older = self.one_session && session < newest && !self.is_unaware(session, newest);
        let in_flight = &mut self.senders[session as usize].in_flight;
        if is_older && *in_flight.get_or_insert(number) != number {
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
    pub(super) fn confirmed(&mut self, ear: &mut Hearing, answered: usize, now: u64) {
        let kills = self.kills.get(&ear.process).copied().unwrap_or_default();
        if ear.kills == kills && ear.confirmed < answered && self.acknowledges(ear) {
            let confirmed = &mut self.users[ear.user].confirmed;
            for (session, number) in &ear.kept[ear.confirmed..answered] {
                confirmed.tell(ear.process, *session, *number, now);
            }
            ear.confirmed = answered;
        }
    }

    /// Whether what a session confirms is confirmed for the queue, too. Of two nodes that read one user's queue only the
    /// newer login's acknowledgements count.
    fn acknowledges(&self, ear: &Hearing) -> bool {
        let is_alone = self.one_session || self.is_over;
        !self.in_cluster || is_alone && self.users[ear.user].at == ear.process
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

impl Hearing {
    /// The session answers a question.
    pub(super) fn answer(&mut self) {
        self.answered = self.kept.len();
    }

    /// How many kept messages it has answered for.
    pub(super) fn answered(&self) -> usize {
        self.answered
    }
}
