//! A session: sends numbered messages, and holds what comes against what may come.

mod ending;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    rc::Rc,
};

use super::{
    gateways::Process,
    ledger::{ASK_FAILED, Hearing, User, Way, is_unknown},
    message::{Tag, decode, encode},
    wire::{Connection, Incoming, Transport},
    world::{GUARD, World, guarded},
};

/// Seconds that kept messages wait: longer than any round.
const TTL: &str = "Q3600|";

const JOINED: &str = "+joined ";
const LEFT: &str = "+left ";

pub(super) use self::ending::End;

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
    process: Process,
    next: u32,
    kept: Vec<(u32, User)>,
    doubtful: bool,
    fences: VecDeque<Fence>,
    /// What is before this number is not out any more.
    settled: u32,
    fenced: u32,
    /// How the answers that are due begin.
    answers: VecDeque<String>,
    /// Rooms that it is in as far as answers tell, as they stand in these, with the space behind.
    rooms: BTreeSet<String>,
    goodbye: Option<String>,
    /// Its login has taken effect.
    is_live: bool,
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
        process: Process,
    ) -> Self {
        Self {
            world: Rc::clone(world),
            link,
            ear,
            id,
            uid,
            transport,
            process,
            next: 0,
            kept: Vec::new(),
            doubtful: false,
            fences: VecDeque::new(),
            settled: 0,
            fenced: 0,
            answers: VecDeque::new(),
            rooms: BTreeSet::new(),
            goodbye: None,
            is_live: false,
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
        let settling = async {
            while !self.is_settled() {
                self.next().await?;
            }
            Ok(())
        };
        match guarded(settling).await {
            Some(result) => result,
            None => Err(self.is_stuck("hears, but not what is due")),
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) -> End {
        let ending = async {
            loop {
                if let Err(end) = self.next().await {
                    return end;
                }
            }
        };
        match guarded(ending).await {
            Some(end) => end,
            None => self.is_stuck("is not ended"),
        }
    }

    fn is_stuck(&mut self, how: &str) -> End {
        let (fences, answers) = (self.fences.len(), &self.answers);
        self.world.fail(format!(
            "{self} {how} in {} s; {fences} fences and {answers:?} are missing",
            GUARD.as_secs()
        ));
        End { goodbye: self.goodbye.take(), code: None, stuck: true, error: None }
    }

    /// Takes the next thing that comes. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<(), End> {
        let Some(incoming) = guarded(self.link.next()).await else {
            return Err(self.is_stuck("hears nothing"));
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
            if is_unknown(line) {
                self.world.ledger.borrow_mut().in_doubt(self.id, self.settled..self.next);
            }
            let is_excused = self.world.plan.may_refuse() || self.world.may_fail(line, self.process.node);
            if !is_excused && !self.was_disturbed() {
                self.world.fail(format!("{self} was told `{line}`"));
            }
            if line == ASK_FAILED {
                self.failed_to_ask();
            }
        } else {
            self.goes_live();
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

    /// The first answer is there.
    fn goes_live(&mut self) {
        self.is_live = true;
        self.world.ledger.borrow_mut().is_live(self.id, self.world.now());
    }

    /// What is answered with this line is what asks other nodes, or the broker of a cluster.
    fn failed_to_ask(&mut self) {
        self.goes_live();
        let expected = self.answers.pop_front().unwrap_or_default();
        if !["+users ", "+kicked ", "+online "].iter().any(|line| expected.starts_with(line)) {
            self.world.fail(format!("{self} was answered `{ASK_FAILED}` where `{expected}` was due"));
        }
    }

    /// Whether its process has ended, or is about to.
    fn was_disturbed(&self) -> bool {
        self.world.gateways.was_disturbed(self.process)
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
        // An error can come after the fence behind the message that it is about, and not after the next.
        self.settled = std::mem::replace(&mut self.fenced, number);
        let mut ledger = self.world.ledger.borrow_mut();
        if !fence.doubtful {
            for (number, to) in fence.kept {
                ledger.answered(self.id, number, to);
            }
        }
        ledger.confirmed(&mut self.ear, fence.confirmed, self.world.now());
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, uid, transport, .. } = self;
        let fate = if self.may_be_displaced { ", displaced" } else { "" };
        let login = if self.is_live { "" } else { ", logging in" };
        write!(f, "session {id} ({uid:?}, {transport:?}{fate}{login})")
    }
}
