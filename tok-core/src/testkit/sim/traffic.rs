mod client;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::client::Client;
use super::{
    Checker, Nemesis, Nodes, SimRuntime,
    checker::{Sending, Told, text},
    nodes::Up,
    wait::{Flag, all, race, within},
};
use crate::{
    Outcome, SendError, Uid,
    rt::{BoxFuture, Instant, Runtime},
    sync::Mutex,
};

/// What users and senders do to a service: clients connect, misbehave, are cut, vanish and come back, while senders
/// write to them; in the end every client stays until it has read everything.
///
/// [`World`](super::World) runs it over one hub.
#[derive(Clone)]
#[must_use]
pub struct Traffic {
    rt: SimRuntime,
    checker: Checker,
    nodes: Nodes,
    users: usize,
    devices: usize,
    senders: u64,
    messages: u64,
    faultless: bool,
    say: fn(u64) -> String,
    wait: Duration,
    /// When a client last read something or connected.
    last: Arc<Mutex<Instant>>,
}

/// The most that a sender waits for an answer to a message that is kept: brokers and queues that are away for a while, and
/// operations that are tried again, are in it.
const ANSWERED: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

impl Traffic {
    /// Two users with one device each, to each of whom two senders write forty messages.
    pub fn new(rt: &SimRuntime, checker: &Checker, nodes: &Nodes) -> Self {
        Self {
            rt: rt.clone(),
            checker: checker.clone(),
            nodes: nodes.clone(),
            users: 2,
            devices: 1,
            senders: 2,
            messages: 40,
            faultless: false,
            say: |number| number.to_string(),
            wait: Duration::from_secs(30),
            last: Arc::default(),
        }
    }

    /// How many users there are. 2 by default.
    pub fn users(mut self, users: usize) -> Self {
        self.users = users;
        self
    }

    /// How many devices each has, which are online at the same time. 1 by default.
    pub fn devices(mut self, devices: usize) -> Self {
        self.devices = devices;
        self
    }

    /// How many senders write to each user. 2 by default.
    pub fn senders(mut self, senders: u64) -> Self {
        self.senders = senders;
        self
    }

    /// How many messages each sends. 40 by default.
    pub fn messages(mut self, messages: u64) -> Self {
        self.messages = messages;
        self
    }

    /// Clients stay and read, and nothing of theirs is lost.
    pub fn faultless(mut self, faultless: bool) -> Self {
        self.faultless = faultless;
        self
    }

    /// What a client's n-th message says. Its number by default.
    pub fn say(mut self, say: fn(u64) -> String) -> Self {
        self.say = say;
        self
    }

    /// For how long nothing may come before a client takes it that it has read everything: longer than the longest pause
    /// between two attempts at anything. 30 seconds by default.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The user of this number.
    #[must_use]
    pub fn uid(user: usize) -> Uid {
        Uid::from(format!("user-{user}"))
    }

    /// Runs until all is sent, has `nemesis` heal what is broken, and then until every client has read everything and
    /// nothing comes any more.
    ///
    /// # Errors
    /// What was not as promised when all was quiet (invariants 2, 3, 5, 11).
    pub async fn run(&self, nemesis: Nemesis) -> Result<Staying, String> {
        let (calm, quiet) = (nemesis.calm(), Arc::new(Flag::default()));
        self.rt.spawn("nemesis", Box::pin(nemesis.run()));
        let left = Arc::new(AtomicUsize::new(0));
        let all_sent = Arc::new(Flag::default());
        for user in 0..self.users {
            for sender in 0..self.senders {
                left.fetch_add(1, Ordering::SeqCst);
                let (this, left, all_sent) = (self.clone(), Arc::clone(&left), Arc::clone(&all_sent));
                let sends = async move {
                    this.send_all(&Self::uid(user), sender).await;
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        all_sent.set();
                    }
                };
                self.rt.spawn("sender", Box::pin(sends));
            }
        }
        let ghost = Client::new(self.clone(), Uid::from("a ghost"), String::new());
        self.rt.spawn("ghost", Box::pin(ghost.haunt()));
        let clients = (0..self.users).flat_map(|user| (0..self.devices).map(move |device| (user, device)));
        let mut clients: Vec<Client> = clients.map(|(user, device)| self.client(user, device)).collect();
        let mut running: Vec<BoxFuture<'_, ()>> = Vec::new();
        for client in &mut clients {
            running.push(Box::pin(client.live(&quiet)));
        }
        running.push(Box::pin(async {
            all_sent.wait().await;
            self.pause(2000).await;
            calm.now().await;
            quiet.set();
        }));
        all(running).await;
        self.checker.settled(self.faultless.then_some(self.devices))?;
        let mut staying = Staying { clients, checker: self.checker.clone() };
        let before = self.checker.events();
        staying.stay(Duration::from_secs(60)).await;
        if self.checker.events() != before {
            self.checker.fail(11, "somebody was kicked or logged in when all was quiet");
        }
        Ok(staying)
    }

    fn client(&self, user: usize, device: usize) -> Client {
        Client::new(self.clone(), Self::uid(user), device.to_string())
    }

    fn stir(&self) {
        *self.last.lock() = self.rt.now();
    }

    fn is_still(&self) -> bool {
        self.rt.now().saturating_since(*self.last.lock()) >= self.wait
    }

    async fn pause(&self, up_to_ms: u64) {
        self.rt.sleep(Duration::from_millis(self.rt.below(up_to_ms))).await;
    }

    /// Sends a user numbered messages, some to be kept, each when the one before has been answered.
    async fn send_all(&self, uid: &Uid, sender: u64) {
        // A sender is at home on one node.
        let node = usize::try_from(self.rt.below(self.nodes.len() as u64)).unwrap_or_default();
        let mut known: Option<Arc<Flag>> = None;
        for number in 0..self.messages {
            let up = loop {
                match self.nodes.up(node) {
                    Some(up) => break up,
                    None => self.pause(500).await,
                }
            };
            // What another run of the node has stored, in a cluster this one does not know: there is no order with it for
            // messages that are not kept, until it has stored something itself.
            let is_new = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &up.gone));
            let stored = self.send(&up, uid, sender, number, is_new).await;
            if stored {
                known = Some(Arc::clone(&up.gone));
            }
            match self.rt.below(8) {
                0 => self.pause(2000).await,
                1..4 => self.pause(20).await,
                _ => {}
            }
        }
    }

    /// Says whether it was accepted, and is kept.
    async fn send(&self, up: &Up, uid: &Uid, sender: u64, number: u64, must_keep: bool) -> bool {
        let rt = &self.rt;
        let kept = rt.below(4) > 0 || must_keep;
        let brief = kept && rt.below(4) == 0;
        let at_most = if rt.below(2) == 0 { 200 } else { 3000 };
        let ttl = if brief { Duration::from_millis(1 + rt.below(at_most)) } else { DAY };
        let text = text(sender, number, usize::try_from(rt.below(200)).unwrap_or_default());
        let expires_at = kept.then(|| rt.now().saturating_add(ttl));
        self.checker.sending(uid, sender, number, Sending { text: text.clone(), kept, expires_at });
        let send = up.hub.send(uid.clone(), text);
        let send = if kept { send.ttl(ttl) } else { send };
        let began = rt.now();
        // It may wait for what is stored to be read, and for nothing else.
        let patience = if up.hub.inner.is_backlog_unread(uid) {
            up.hub.inner.settings.send_timeout
        } else {
            Duration::ZERO
        };
        // The hub may crash while it is asked.
        let answered = race(within(rt, ANSWERED, send.into_future()), up.gone.wait()).await;
        let result = match answered {
            None => {
                self.checker.told(&up.hub, uid, sender, number, Told::Unsure);
                return false;
            }
            Some(None) => {
                let what = format!("{number} of sender {sender} to {uid} was not answered in {ANSWERED:?}");
                self.checker.fail(15, what);
                return false;
            }
            Some(Some(result)) => result,
        };
        if !kept && up.hub.inner.relay.is_none() && rt.now().saturating_since(began) > patience {
            self.checker
                .fail(15, format_args!("{number} of sender {sender} to {uid} waited, and is not kept"));
        }
        let told = match &result {
            Ok(_) => Told::Accepted,
            Err(SendError::Queue(_) | SendError::Relay(_) | SendError::Unconfirmed { .. }) => Told::Unsure,
            Err(_) => Told::Refused,
        };
        self.checker.told(&up.hub, uid, sender, number, told);
        let stored = kept && result.is_ok();
        if let Ok(receipt) = result
            && kept
            && rt.below(4) == 0
        {
            let (checker, uid, gone) = (self.checker.clone(), uid.clone(), Arc::clone(&up.gone));
            let outcome = async move {
                if race(receipt.outcome(), gone.wait()).await == Some(Outcome::Confirmed) {
                    checker.confirmed(&uid, sender, number);
                }
            };
            rt.spawn("receipt", Box::pin(outcome));
        }
        stored
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("users", &self.users)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// Clients that have read everything and are still connected.
#[derive(Debug)]
pub struct Staying {
    clients: Vec<Client>,
    checker: Checker,
}

impl Staying {
    /// They read on for so long.
    pub async fn stay(&mut self, time: Duration) {
        let reading =
            self.clients.iter_mut().map(|client| -> BoxFuture<'_, ()> { Box::pin(client.read_on(time)) });
        all(reading.collect()).await;
    }

    /// They close.
    pub fn leave(self) {
        self.clients.into_iter().for_each(Client::leave);
    }

    /// What watches.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }
}
