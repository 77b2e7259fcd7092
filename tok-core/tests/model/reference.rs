//! What a hub promises, as plainly as possible: a list for each user, a list for each connection.
//!
//! Time goes in beats of three seconds, so that no deadline falls on one.

use std::collections::{BTreeSet, VecDeque};

use tok_core::CloseReason;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) per_device: bool,
    /// The queue survives the process, so that messages are stored before they are given to anybody.
    pub(crate) durable: bool,
}

pub(crate) const BEAT_SECS: u64 = 3;
/// A peer that was silent for so long is asked, and is dead after twice that.
pub(crate) const PING_SECS: u64 = 10;
/// A TTL that runs out in the second beat.
pub(crate) const BRIEF_SECS: u64 = 5;

/// One message; they are numbered in the order sent.
pub(crate) type Number = u64;

/// What a client finds in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Message(Number),
    Close(CloseReason),
}

/// A message that nobody has confirmed yet.
#[derive(Debug)]
struct Kept {
    number: Number,
    expires: u64,
}

/// A connection, and after its session's end what is left to read on it.
#[derive(Debug)]
struct Client {
    user: usize,
    device: usize,
    live: bool,
    /// What it can read. With `true`, what it may find there or not.
    waiting: VecDeque<(Thing, bool)>,
    answers: bool,
    /// It read a question and did not answer; no other is asked until it does.
    stuck: bool,
    /// When the server heard from it last.
    heard: u64,
    /// It was sent a Ping since, which it may not have read yet.
    probed: bool,
    ping_waits: bool,
}

#[derive(Debug)]
pub(crate) struct Model {
    rules: Rules,
    now: u64,
    pub(crate) failing: bool,
    logs: [Vec<Kept>; 2],
    /// Messages that went to sessions because they could not be stored, and that nobody has confirmed.
    handed: [Vec<Number>; 2],
    /// All that were ever to be kept: a connection is asked about them.
    kept: BTreeSet<Number>,
    /// Every connection that there was.
    clients: Vec<Client>,
}

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: 0,
            failing: false,
            logs: [Vec::new(), Vec::new()],
            handed: [Vec::new(), Vec::new()],
            kept: BTreeSet::new(),
            clients: Vec::new(),
        }
    }

    pub(crate) fn login(&mut self, user: usize, device: usize) {
        let per_device = self.rules.per_device;
        self.end(CloseReason::Sso, |other| other.user == user && (!per_device || other.device == device));
        let kept = self.logs[user].iter().map(|kept| (Thing::Message(kept.number), false));
        // A session that takes over may get what the other one had, too.
        let handed = self.handed[user].iter().map(|number| (Thing::Message(*number), true));
        let mut waiting: Vec<_> = kept.chain(handed).collect();
        waiting.sort_by_key(|(thing, _)| match thing {
            Thing::Message(number) => *number,
            Thing::Close(_) => Number::MAX,
        });
        self.clients.push(Client {
            user,
            device,
            live: true,
            waiting: waiting.into(),
            answers: true,
            stuck: false,
            heard: self.now,
            probed: false,
            ping_waits: false,
        });
    }

    /// A message was sent, and its sender was told that it is on its way. Returns for how many sessions.
    pub(crate) fn sent(&mut self, user: usize, number: Number, ttl: Option<u64>) -> usize {
        if let Some(ttl) = ttl {
            self.logs[user].push(Kept { number, expires: self.now + ttl });
            self.kept.insert(number);
        }
        let mut sessions = 0;
        for client in self.clients.iter_mut().filter(|client| client.live && client.user == user) {
            client.waiting.push_back((Thing::Message(number), false));
            sessions += 1;
        }
        sessions
    }

    /// A message could not be stored, and was given to the sessions that had everything before it. Nobody confirms it in
    /// time.
    pub(crate) fn handed(&mut self, user: usize, number: Number) {
        self.kept.insert(number);
        self.handed[user].push(number);
        for client in self.clients.iter_mut().filter(|client| client.live && client.user == user) {
            client.waiting.push_back((Thing::Message(number), true));
        }
    }

    /// The client read all that is there, which was `found`.
    pub(crate) fn read(&mut self, index: usize, found: &[Thing]) -> Result<(), String> {
        let client = &mut self.clients[index];
        let mut last_kept = None;
        for thing in found {
            loop {
                match client.waiting.pop_front() {
                    Some((next, _)) if next == *thing => break,
                    Some((_, true)) => {}
                    Some((next, false)) => {
                        return Err(format!("client {index} read {thing:?} before {next:?}"));
                    }
                    None => return Err(format!("client {index} read {thing:?}, which is not for it")),
                }
            }
            if let Thing::Message(number) = thing
                && self.kept.contains(number)
            {
                last_kept = Some(*number);
            }
        }
        // While the queue fails, some of it may be late.
        let missing = client.waiting.iter().find(|(_, maybe)| !self.failing && !maybe);
        if let Some((missing, _)) = missing {
            return Err(format!("client {index} did not find {missing:?}"));
        }

        // A question stands behind the kept messages, unless one is open.
        let asked = last_kept.is_some() && !client.stuck;
        let pinged = std::mem::take(&mut client.ping_waits);
        if !client.answers {
            client.stuck |= asked;
        } else if client.live && (asked || pinged) {
            self.say(index);
        }
        match last_kept {
            Some(upto) if asked && self.clients[index].answers && self.clients[index].live => {
                self.confirm(self.clients[index].user, upto);
            }
            _ => {}
        }
        Ok(())
    }

    /// What one connection confirms is done for the user.
    fn confirm(&mut self, user: usize, upto: Number) {
        self.logs[user].retain(|kept| kept.number > upto);
        self.handed[user].retain(|number| *number > upto);
        self.need_not_come(user, |number| number <= upto);
    }

    /// A connection that has not got a kept message yet, because the queue fails, need not get it any more.
    fn need_not_come(&mut self, user: usize, which: impl Fn(Number) -> bool) {
        let late = self.failing;
        for client in self.clients.iter_mut().filter(|client| client.user == user) {
            for (thing, maybe) in &mut client.waiting {
                *maybe |= late
                    && matches!(thing, Thing::Message(number) if self.kept.contains(number) && which(*number));
            }
        }
    }

    /// The server hears from the client.
    pub(crate) fn say(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.heard = self.now;
        client.probed = false;
    }

    pub(crate) fn answer(&mut self, index: usize, answers: bool) {
        self.clients[index].answers = answers;
    }

    /// The client leaves, and reads no more.
    pub(crate) fn leave(&mut self, index: usize) {
        self.clients[index].live = false;
    }

    /// Returns how many sessions that ends.
    pub(crate) fn kick(&mut self, user: usize, device: Option<usize>) -> usize {
        self.end(CloseReason::Kicked, |client| {
            client.user == user && device.is_none_or(|device| device == client.device)
        })
    }

    /// Time has come to so many seconds from the start.
    pub(crate) fn pass(&mut self, now: u64) {
        self.now = now;
        for client in self.clients.iter_mut().filter(|client| client.live && !client.probed) {
            client.probed = client.heard + PING_SECS <= now;
            client.ping_waits |= client.probed;
        }
        self.end(CloseReason::Idle, |client| client.heard + 2 * PING_SECS <= now);
        for user in 0..self.logs.len() {
            let log = &mut self.logs[user];
            let expired: Vec<Number> =
                log.extract_if(.., |kept| kept.expires <= now).map(|kept| kept.number).collect();
            self.need_not_come(user, |number| expired.contains(&number));
        }
    }

    fn end(&mut self, reason: CloseReason, which: impl Fn(&Client) -> bool) -> usize {
        let mut ended = 0;
        for client in self.clients.iter_mut().filter(|client| client.live && which(client)) {
            client.live = false;
            // What it had not got yet it will not get.
            client.waiting.iter_mut().for_each(|(_, maybe)| *maybe |= self.failing);
            client.waiting.push_back((Thing::Close(reason), false));
            ended += 1;
        }
        ended
    }

    /// The second from the start that the beat is of.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn sessions(&self, user: usize) -> usize {
        self.clients.iter().filter(|client| client.live && client.user == user).count()
    }

    /// Kept messages of the user that nobody has confirmed.
    pub(crate) fn kept(&self, user: usize) -> usize {
        self.logs[user].len()
    }
}
