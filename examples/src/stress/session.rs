//! A session: sends numbered messages, and holds what comes against what may come.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    rc::Rc,
};

use super::{
    ledger::{Hearing, User, Way},
    message::{Tag, decode, encode},
    wire::{Connection, Incoming, Transport},
    world::{GUARD, World, guarded},
};

/// Seconds that kept messages wait: longer than any round.
const TTL: &str = "Q3600|";

const JOINED: &str = "+joined ";
const LEFT: &str = "+left ";

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The reason of the goodbye.
    pub(super) goodbye: Option<String>,
    /// The code of the close frame.
    pub(super) code: Option<u16>,
    /// It did not end, but nothing came for too long.
    pub(super) stuck: bool,
    /// Why the connection failed, if it did.
    pub(super) error: Option<String>,
}

/// A fence that is out: what its return says.
#[derive(Debug)]
struct Fence {
    number: u32,
    /// Kept messages since the one before.
    kept: Vec<(u32, User)>,
    /// One of them may have been refused.
    doubtful: bool,
    /// How many messages were confirmed by answers sent before it.
    confirmed: usize,
}

/// A live session of one user.
pub(super) struct Session {
    world: Rc<World>,
    pub(super) link: Connection,
    ear: Hearing,
    id: u32,
    uid: String,
    transport: Transport,
    generation: u32,
    next: u32,
    kept: Vec<(u32, User)>,
    doubtful: bool,
    fences: VecDeque<Fence>,
    /// How the answers that are due begin.
    answers: VecDeque<String>,
    /// Rooms that it is in as far as answers tell, as they stand in these, with the space behind.
    rooms: BTreeSet<String>,
    goodbye: Option<String>,
    /// Its goodbye may be `sso`.
    pub(super) may_be_displaced: bool,
    pub(super) is_slow: bool,
}

impl Session {
    pub(super) fn new(
        world: &Rc<World>,
        link: Connection,
        (id, ear): (u32, Hearing),
        uid: String,
        transport: Transport,
        generation: u32,
    ) -> Self {
        Self {
            world: Rc::clone(world),
            link,
            ear,
            id,
            uid,
            transport,
            generation,
            next: 0,
            kept: Vec::new(),
            doubtful: false,
            fences: VecDeque::new(),
            answers: VecDeque::new(),
            rooms: BTreeSet::new(),
            goodbye: None,
            may_be_displaced: false,
            is_slow: false,
        }
    }

    /// Sends an operation with content of its own; the content's length is `padding` and some bytes.
    pub(super) fn send(&mut self, operation: &str, padding: usize) {
        let tag = Tag { session: self.id, number: self.next, sent: self.world.now() };
        self.link.send(&encode(operation, tag, padding));
        self.world.trace(|| format!("{self} sends {operation} {tag}"));
        self.next += 1;
        self.world.count(|stats| &mut stats.sent);
    }

    /// Sends a message that is kept.
    pub(super) fn keep(&mut self, to: User, padding: usize) {
        let number = self.next;
        self.world.ledger.borrow_mut().sent(self.id, number, to);
        self.kept.push((number, to));
        self.send(&format!("{TTL}{}|", self.world.uid(to)), padding);
        self.world.count(|stats| &mut stats.kept);
    }

    /// Sends a fence: when it is back, everything before it is in the gateway's hands, or was refused.
    pub(super) fn fence(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        let doubtful = std::mem::take(&mut self.doubtful);
        self.fences.push_back(Fence { number: self.next, kept, doubtful, confirmed: self.ear.answered() });
        self.send("E", 0);
    }

    /// Asks what is answered with a line that begins so.
    pub(super) fn ask(&mut self, question: &str, answer: String) {
        self.link.send(question.as_bytes());
        self.answers.push_back(answer);
    }

    /// All fences and answers are there.
    pub(super) fn is_settled(&self) -> bool {
        self.fences.is_empty() && self.answers.is_empty()
    }

    /// Waits until all fences and answers are there.
    pub(super) async fn settle(&mut self) -> Result<(), End> {
        while !self.is_settled() {
            self.next().await?;
        }
        Ok(())
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Takes the next thing that comes. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<(), End> {
        let Some(incoming) = guarded(self.link.next()).await else {
            let (fences, answers) = (self.fences.len(), &self.answers);
            self.world.fail(format!(
                "{self} heard nothing for {} s; {fences} fences and {answers:?} are missing",
                GUARD.as_secs()
            ));
            return Err(End { goodbye: self.goodbye.take(), code: None, stuck: true, error: None });
        };
        match incoming {
            Ok(Incoming::Message(message)) => self.message(&message),
            Ok(Incoming::Question(question)) => {
                self.link.answer(&question);
                self.ear.answer();
            }
            Ok(Incoming::Close(code)) => {
                return Err(End { goodbye: self.goodbye.take(), code, stuck: false, error: None });
            }
            Ok(Incoming::End) => {
                return Err(End { goodbye: self.goodbye.take(), code: None, stuck: false, error: None });
            }
            Err(error) => {
                let error = Some(error.to_string());
                return Err(End { goodbye: self.goodbye.take(), code: None, stuck: false, error });
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8]) {
        self.world.delivered();
        if let Some(goodbye) = &self.goodbye {
            let text = String::from_utf8_lossy(&message[..message.len().min(60)]);
            self.world.fail(format!("{self} got {text:?} after its goodbye `{goodbye}`"));
            return;
        }
        match message.first() {
            Some(b'!' | b'+') => self.line(&String::from_utf8_lossy(message)),
            _ => match decode(message) {
                Some((operation, tag)) => self.content(operation, tag),
                None => {
                    let text = String::from_utf8_lossy(&message[..message.len().min(60)]);
                    self.world
                        .fail(format!("{self} got what nobody sent: {} bytes, {text:?}", message.len()));
                }
            },
        }
    }

    /// A line that the gateway wrote itself.
    fn line(&mut self, line: &str) {
        self.world.trace(|| format!("{self} is told {line}"));
        if let Some(reason) = line.strip_prefix("!bye ") {
            self.goodbye = Some(reason.to_owned());
        } else if line.starts_with("!offline ") {
            // A user may be away at any time.
        } else if line.starts_with("!error ") {
            self.world.count(|stats| &mut stats.refused);
            // Answers are not in order with fences that wait for kept messages: any of what is out may be meant.
            self.doubtful = true;
            self.fences.iter_mut().for_each(|fence| fence.doubtful = true);
            if !self.world.plan.may_refuse() && !self.world.was_disturbed(self.generation) {
                self.world.fail(format!("{self} was told `{line}`"));
            }
        } else {
            let expected = self.answers.pop_front().unwrap_or_default();
            if expected.is_empty() || !line.starts_with(&expected) {
                self.world.fail(format!("{self} was answered `{line}` where `{expected}` was due"));
            }
            if let Some(room) = expected.strip_prefix(JOINED) {
                self.rooms.insert(room.to_owned());
            } else if let Some(room) = expected.strip_prefix(LEFT) {
                self.rooms.remove(room);
            }
        }
    }

    /// Messages of a room come from when it is joined, at some time before the answer says so, until the answer says
    /// that it was left.
    fn may_hear(&self, room: &str) -> bool {
        let joins = |answer: &String| answer.strip_prefix(JOINED) == Some(&format!("{room} "));
        self.rooms.contains(&format!("{room} ")) || self.answers.iter().any(joins)
    }

    /// A message of a client.
    fn content(&mut self, operation: &str, tag: Tag) {
        let (code, rest) = operation.split_at(operation.len().min(1));
        let mut parts = rest.split('|');
        let (way, is_for_me) = match code {
            "E" => (Way::Direct, true),
            "T" => (Way::Direct, parts.next() == Some(&self.uid)),
            "Q" => (Way::Direct, parts.nth(1) == Some(&self.uid)),
            "B" => (Way::Broadcast, true),
            _ => {
                let room = parts.next().unwrap_or_default();
                (Way::Room(room.to_owned()), code == "R" && self.may_hear(room))
            }
        };
        if !is_for_me {
            self.world.fail(format!("{self} got what is not for it: `{operation}` {tag}"));
        }
        let kept = operation.starts_with(TTL);
        self.world.trace(|| format!("{self} gets {operation} {tag}"));
        let result = self.world.ledger.borrow_mut().received(&mut self.ear, tag, &way, kept);
        if let Err(violation) = result {
            self.world.broken(&violation);
        }
        if code == "E" && tag.session == self.id {
            self.fence_is_back(tag.number);
        }
    }

    fn fence_is_back(&mut self, number: u32) {
        self.world.count(|stats| &mut stats.echoes);
        let Some(fence) = self.fences.pop_front().filter(|fence| fence.number == number) else {
            self.world.fail(format!("{self} got echo {number} before an earlier one"));
            return;
        };
        let mut ledger = self.world.ledger.borrow_mut();
        if !fence.doubtful {
            for (number, to) in fence.kept {
                ledger.answered(self.id, number, to);
            }
        }
        ledger.confirmed(&mut self.ear, fence.confirmed);
    }

    /// It ends in this way.
    pub(super) fn ends(&self, how: &'static str) {
        self.world.trace(|| format!("{self} {how}"));
        self.world.ledger.borrow_mut().ended(self.id, how);
    }

    /// Another session is live in this one's place: whatever this one sends from now on is for nobody.
    pub(super) fn displace(&mut self) {
        self.ends("was replaced");
        self.may_be_displaced = true;
        self.ear.displace(self.world.now());
        self.world.ledger.borrow_mut().is_late_from(self.id, self.next);
    }

    /// A goodbye that was not asked for has to have its reason.
    pub(super) fn judge(&self, end: &End) {
        if end.stuck || self.world.was_disturbed(self.generation) {
            return;
        }
        self.ends(match end.goodbye.as_deref() {
            Some("sso") => "was replaced",
            Some("kicked") => "was kicked",
            Some("slow") => "was too slow",
            _ => "broke",
        });
        let (code, is_well) = match end.goodbye.as_deref() {
            Some("sso") => (4000, self.may_be_displaced),
            Some("kicked") => {
                self.world.count(|stats| &mut stats.kicked);
                (4001, self.world.plan.kicks)
            }
            // Who reads is slow, too, while the machine has no time for the reader.
            Some("slow") => {
                self.world.count(|stats| &mut stats.slow);
                (4002, true)
            }
            _ => (0, false),
        };
        let code_is_well = self.transport == Transport::Tcp || end.code == Some(code);
        if !is_well || !code_is_well {
            self.world.fail(format!("{self} ended without a reason: {end:?}"));
        }
    }

    /// Leaves in good order.
    pub(super) async fn leave(mut self) {
        self.ends("left");
        self.link.close();
        match guarded(self.link.finish()).await {
            Some(Ok(())) => {
                let end = self.ended().await;
                if end.goodbye.is_some() {
                    self.judge(&end);
                }
            }
            // It is gone.
            Some(Err(_)) => {}
            None => self.world.fail(format!("{self} cannot even say goodbye")),
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, uid, transport, .. } = self;
        let fate = if self.may_be_displaced { ", displaced" } else { "" };
        let is_live = if self.next > 0 || self.answers.is_empty() { "" } else { ", just logged in" };
        write!(f, "session {id} ({uid:?}, {transport:?}{fate}{is_live})")
    }
}
