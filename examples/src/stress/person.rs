//! A person: one session after the other, each with its traffic and its end.

use std::{pin::Pin, rc::Rc, time::Duration};

use futures_util::future::{join_all, select_all};
use tokio::time::sleep;

use super::{
    ledger::User,
    plan::Sso,
    random::Random,
    session::{End, Session},
    wire::{Connection, Transport, login},
    world::{GUARD, World, guarded},
};

/// Logins at once for one place.
const CONTESTANTS: usize = 3;
/// Connections of one person that are open and not read.
const MAX_FROZEN: usize = 2;
const ROOMS: [&str; 3] = ["red", "green", "blue"];

/// Somebody with one place: a user, or one device of a user.
pub(super) struct Person {
    world: Rc<World>,
    user: User,
    device: &'static str,
    random: Random,
    frozen: Vec<Connection>,
}

impl Person {
    pub(super) fn new(world: &Rc<World>, user: User, device: &'static str) -> Self {
        let device_number = u64::from(device == "desk");
        let random = Random::new(&[world.seed, world.plan.number, user as u64, device_number]);
        Self { world: Rc::clone(world), user, device, random, frozen: Vec::new() }
    }

    /// Lives until the round's sessions and troubles are over.
    pub(super) async fn live(mut self) {
        let mut begun = 0;
        let mut session = None;
        while !self.world.has_failed() && (begun < self.world.plan.sessions || !self.world.is_quiet.get()) {
            begun += 1;
            let current = match session.take() {
                Some(session) => Some(session),
                None => self.log_in().await,
            };
            let Some(mut current) = current else { break };
            match self.talk(&mut current).await {
                Ok(()) => session = self.part(current).await,
                Err(end) => current.judge(&end),
            }
        }
        if let Some(session) = session {
            session.leave().await;
        }
        self.frozen.into_iter().for_each(Connection::reset);
    }

    /// Logs in until it has worked, which no answer may be late for; `None` where that is hopeless.
    pub(super) async fn log_in(&mut self) -> Option<Session> {
        while !self.world.has_failed() {
            let Some(mut session) = self.try_log_in().await else { continue };
            match session.settle().await {
                Ok(()) => return Some(session),
                Err(end) => {
                    session.judge(&end);
                    if self.world.plan.setup.is_cluster() {
                        // Nobody is let in while the broker is away.
                        self.pause(20).await;
                    }
                }
            }
        }
        None
    }

    /// Logs in and asks a question, whose answer says that the login has taken effect.
    async fn try_log_in(&mut self) -> Option<Session> {
        let door = self.choose();
        connect(&self.world, self.user, self.device, door).await
    }

    fn choose(&mut self) -> Door {
        let transport = if self.random.one_in(2) { Transport::Tcp } else { Transport::WebSocket };
        let is_slow = self.random.one_in(4);
        Door { node: self.random.below(self.world.gateways.count()), transport, is_slow }
    }

    /// Some batches of messages, each with a fence behind it.
    async fn talk(&mut self, session: &mut Session) -> Result<(), End> {
        for _ in 0..self.random.within(1..=6) {
            self.batch(session);
            session.fence();
            if session.is_slow && self.random.one_in(2) {
                // A slow reader is one that does not read for a while.
                self.pause(80).await;
            }
            session.settle().await?;
            if self.random.one_in(3) {
                // People think.
                self.pause(10).await;
            }
        }
        Ok(())
    }

    async fn pause(&mut self, up_to_millis: usize) {
        let millis = self.random.within(1..=up_to_millis) as u64;
        sleep(Duration::from_millis(millis)).await; // sleep: nothing is waited for
    }

    fn batch(&mut self, session: &mut Session) {
        let users = self.world.plan.users;
        if self.random.one_in(16) {
            // More than one outbox takes: what is kept waits, what is not makes a slow reader too slow.
            let (to, is_kept) = (self.random.below(users), self.random.one_in(2));
            for _ in 0..self.random.within(5..=30) {
                match is_kept {
                    true => session.keep(to, 15_000),
                    false => session.send(&format!("T{}|", self.world.uid(to)), 30_000),
                }
            }
            return;
        }
        for _ in 0..self.random.within(1..=16) {
            let to = self.random.below(users);
            let padding = match self.random.below(30) {
                0 => self.random.within(2_000..=20_000),
                _ => self.random.below(200),
            };
            match self.random.below(100) {
                0..55 => session.keep(to, padding),
                55..75 => session.send(&format!("T{}|", self.world.uid(to)), padding),
                // It may have run out of time when the receiver comes.
                75..78 => session.send(&format!("Q1|{}|", self.world.uid(to)), padding),
                78..80 => session.send("B|", padding),
                80..88 => {
                    let room = self.room();
                    session.send(&format!("R{room}|"), padding);
                }
                88..92 => {
                    let room = self.room();
                    session.ask(&format!("J{room}"), format!("+joined {room} "));
                }
                92..94 => {
                    let room = self.room();
                    session.ask(&format!("L{room}"), format!("+left {room} "));
                }
                94..96 => session.ask("N", "+users ".to_owned()),
                96 if self.world.plan.kicks && to != self.user => {
                    let uid = self.world.uid(to);
                    session.ask(&format!("K{uid}"), format!("+kicked {uid} "));
                }
                96..98 => {
                    let uid = self.world.uid(to);
                    session.ask(&format!("O{uid}"), format!("+online {uid} "));
                }
                _ => session.fence(),
            }
        }
    }

    fn room(&mut self) -> &'static str {
        self.random.pick(&ROOMS).copied().unwrap_or(ROOMS[0])
    }

    /// Ends the session in one of many ways; some leave the next session open.
    async fn part(&mut self, mut session: Session) -> Option<Session> {
        let way = self.random.below(12);
        if way < 8 && self.random.one_in(2) {
            // The last messages are not waited for.
            self.batch(&mut session);
        }
        match way {
            0 | 1 => {
                self.world.count(|stats| &mut stats.leaves);
                session.leave().await;
                None
            }
            2..5 => {
                self.world.count(|stats| &mut stats.vanishings);
                session.ends("vanished");
                session.link.reset();
                None
            }
            5 => {
                self.world.count(|stats| &mut stats.freezes);
                session.ends("froze");
                if self.frozen.len() == MAX_FROZEN {
                    self.frozen.remove(0).reset();
                }
                self.frozen.push(session.link);
                // Others write to it meanwhile.
                self.pause(100).await;
                None
            }
            6..10 => self.take_over(session).await,
            _ if self.world.plan.sso == Sso::Off => self.take_over(session).await,
            _ => self.contest(session).await,
        }
    }

    /// Logs in again while the session is open.
    async fn take_over(&mut self, mut old: Session) -> Option<Session> {
        self.world.count(|stats| &mut stats.takeovers);
        // While the login is under way its place may be lost already.
        old.may_be_displaced = self.world.plan.sso != Sso::Off;
        let new = self.log_in().await;
        if self.world.plan.sso == Sso::Off {
            old.leave().await;
            return new;
        }
        if let Some(new) = &new {
            old.displace(new);
            let users = self.world.plan.users;
            for _ in 0..self.random.below(4) {
                let to = self.random.below(users);
                old.keep(to, 10);
                old.send(&format!("T{}|", self.world.uid(to)), 10);
            }
            let end = old.ended().await;
            old.judge(&end);
        }
        new
    }

    /// Logs in several times at once: one session keeps the place.
    async fn contest(&mut self, old: Session) -> Option<Session> {
        self.world.count(|stats| &mut stats.contests);
        let begun = self.world.now();
        let doors: Vec<Door> = (0..CONTESTANTS).map(|_| self.choose()).collect();
        let logins = doors.into_iter().map(|door| connect(&self.world, self.user, self.device, door));
        let mut contestants: Vec<Session> = join_all(logins).await.into_iter().flatten().collect();
        contestants.push(old);
        for session in &mut contestants {
            session.may_be_displaced = true;
        }
        let contest = async {
            while contestants.len() > 1 {
                let ends = contestants
                    .iter_mut()
                    .map(|session| Box::pin(session.ended()) as Pin<Box<dyn Future<Output = End>>>);
                let (end, loser, others) = select_all(ends).await;
                drop(others);
                contestants.swap_remove(loser).judge(&end);
            }
        };
        if guarded(contest).await.is_none() {
            let live: Vec<String> = contestants.iter().map(ToString::to_string).collect();
            self.world.fail(format!("several sessions share a place: {}", live.join(", ")));
        }
        let mut winner = contestants.pop()?;
        match winner.settle().await {
            Ok(()) => {
                // A kick can have ended the winner before a loser was told. In a cluster the winner's node can have
                // died, or nobody could be told.
                let (now, reach) = (self.world.now(), &self.world.ledger.borrow().reach);
                winner.may_be_displaced = self.world.plan.kicks || reach.was_amiss(begun, now);
                Some(winner)
            }
            Err(end) => {
                winner.judge(&end);
                None
            }
        }
    }
}

/// How somebody logs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    /// The gateway's number, if it is there.
    pub(super) node: usize,
    pub(super) transport: Transport,
    pub(super) is_slow: bool,
}

/// One attempt to log in, with the question whose answer says that it has taken effect. `None` where the gateway went
/// away, or has failed.
pub(super) async fn connect(world: &Rc<World>, user: User, device: &str, door: Door) -> Option<Session> {
    let Door { node, transport, is_slow } = door;
    let (process, addresses) = world.gateway(node).await?;
    let begun = world.ledger.borrow_mut().begin(user, world.place(process), world.now());
    let uid = world.uid(user);
    let addr = match transport {
        Transport::WebSocket => addresses.ws,
        Transport::Tcp => addresses.tcp,
    };
    let query = login(&uid, device, transport);
    let connecting = guarded(Connection::login(addr, transport, &query, is_slow)).await;
    let error = match connecting {
        Some(Ok(link)) => {
            world.count(|stats| &mut stats.sessions);
            let mut session = Session::new(world, link, begun, uid, transport, process);
            session.is_slow = is_slow;
            session.ask("N", "+users ".to_owned());
            return Some(session);
        }
        Some(Err(error)) => error.to_string(),
        None => format!("no answer in {} s", GUARD.as_secs()),
    };
    if !world.gateways.was_disturbed(process) {
        world.fail(format!("{uid:?} cannot log in ({transport:?}): {error}"));
    }
    None
}
