//! The promises, watched while a simulation runs.

mod messages;
mod sessions;
mod watch;

use std::{fmt, sync::Arc};

use self::{messages::Ledger, sessions::Roll};
use super::{
    SimQueue, SimRuntime,
    client::{SimClient, Uplink},
    queue::Change,
};
use crate::{ConfigError, Device, Epoch, Hub, HubBuilder, Queue, Uid, rt::Runtime, sync::Mutex};

pub(super) use self::messages::{Sending, Told, text};

/// Watches hubs, the queue and what clients read, and says which promise was broken first.
///
/// [`Traffic`](super::Traffic) tells it what senders and clients do; hubs that it [builds](Self::build) tell the rest.
/// [`check`](Self::check) belongs between any two steps of the simulation ([`Sim::run_checked`](super::Sim::run_checked)).
/// Clones watch together.
///
/// # Invariants
/// A violation begins with the number: `invariant 6, …`. `S` is checked at every step, `Q` when all is quiet.
///
/// | | invariant | checked |
/// |---|---|---|
/// | 1 | In one session each sender's messages come in order, and a client's are handled in order | S: a client reads; an actor is called |
/// | 2 | Over all sessions nothing that was accepted is left out or overtaken | S: a client reads; Q: nothing is missing |
/// | 3 | Conservation: what was accepted is with a client, or queued, or expired, or reported | S: a sender is answered, a hook is told; Q: nothing that a client has is still queued |
/// | 4 | Nothing is invented, changed, or given to another user; what was refused is not delivered | S: a client reads |
/// | 5 | What is confirmed does not come again; without faults each message comes once; none is stored twice | S: a client reads, the queue stores |
/// | 6 | A message leaves the queue, and its receipt says confirmed, when a client has read it and not before | S: the queue is acknowledged to; a receipt resolves |
/// | 7 | Nothing is given out after its TTL, nor expires before | S: a transport takes a message; a hook, the queue |
/// | 8 | What waited comes before what is sent later | S: as 1, kept and not kept numbered together |
/// | 9 | At most one live session of a class and hub; one that lost its place is given and handles nothing | S |
/// | 10 | In a cluster one session of a class is left, the newest (under `Policy::Strict` there are never two) | Q, S: the cluster's simulation, with [`united`](Self::united) and [`strict`](Self::strict) |
/// | 11 | When all is quiet nobody is kicked or logs in any more | Q: [`events`](Self::events) |
/// | 12 | A session loses its place to a newer login alone; an older fence removes nothing | S: a session closes; the queue is acknowledged to |
/// | 13 | Each session opens once and closes once; between the two, and only there, its messages are handled, one at a time | S: hooks and actor |
/// | 14 | Memory and what a connection holds are bounded, and counts are what they count | S |
/// | 15 | No receiver makes a sender wait: a transient message is sent in no time, or within `send_timeout` while the backlog is unread; a persistent one in bounded time | S: a sender is answered |
/// | 16 | A peer that is silent, and a session that ended, are gone in time; nothing waits for ever | S; and [`Stopped::Stuck`](super::Stopped::Stuck) |
/// | 17 | When all connections are closed nothing is left: sessions, entries, bytes, tasks, timers | Q |
/// | 18 | What a hook or actor is told is of the user who logged in on that connection | S |
/// | 19 | A drained hub lets nobody in, and what it accepted is with a client or in the queue | S: a session opens; Q: after the shutdown |
/// | 20 | A user's stored messages are within the queue's limits | S: the queue stores |
/// | 21 | A hub reports once what the last session left, and only what is unconfirmed while nobody is there | S: a hook is told |
///
/// It sees messages by their text: a `before_send` hook may refuse but not replace them. Times of authentication are the
/// adapters' (invariant 16), and are checked there.
#[derive(Clone)]
pub struct Checker {
    shared: Arc<Shared>,
}

struct Shared {
    rt: SimRuntime,
    /// Says on stderr what happens.
    tells: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    roll: Roll,
    broken: Option<String>,
}

/// What a rule says when it is broken.
type Verdict = Result<(), String>;

/// A rule is broken.
fn broken<T>(invariant: u8, what: impl fmt::Display) -> Result<T, String> {
    const NAMES: [&str; 21] = [
        "order in a session",
        "no gap",
        "conservation",
        "no invention",
        "bounded duplication",
        "acknowledged only what is read",
        "TTL",
        "what waited comes first",
        "one session, and a silent one",
        "one session in the cluster",
        "stability",
        "fencing",
        "the hooks' protocol",
        "bounded memory",
        "isolation",
        "deadlines",
        "nothing left behind",
        "authenticity",
        "drain",
        "limits",
        "reports",
    ];
    let name = NAMES.get(usize::from(invariant).wrapping_sub(1)).unwrap_or(&"?");
    Err(format!("invariant {invariant}, {name}: {what}"))
}

impl Checker {
    /// One that has seen nothing. With `TOK_STORY` in the environment it says on stderr what it sees.
    #[must_use]
    pub fn new(rt: &SimRuntime) -> Self {
        let tells = std::env::var_os("TOK_STORY").is_some();
        Self { shared: Arc::new(Shared { rt: rt.clone(), tells, state: Mutex::default() }) }
    }

    /// Builds a hub that it watches. Hooks that the builder has are called all the same.
    ///
    /// # Errors
    /// Those of [`HubBuilder::build`].
    pub fn build(&self, builder: HubBuilder) -> Result<Hub, ConfigError> {
        let number = self.shared.state.lock().roll.new_hub();
        let hub = watch::watched(self, number, builder).build()?;
        self.shared.state.lock().roll.add_hub(number, &hub);
        Ok(hub)
    }

    /// The queue, watched. To be called before it is cloned.
    #[must_use]
    pub fn observed(&self, queue: SimQueue) -> SimQueue {
        let (this, caps) = (self.clone(), queue.caps());
        queue.observed(move |change| {
            let now = this.shared.rt.now();
            this.tell(format_args!("{change:?}"));
            this.with(|state| match change {
                Change::Stored(uid, entries) => state.ledger.stored(uid, entries),
                Change::Holds(uid, size)
                    if size.messages > caps.max_messages || size.bytes > caps.max_bytes =>
                {
                    broken(20, format_args!("{size:?} of {uid} of {caps:?}"))
                }
                Change::Holds(..) => Ok(()),
                Change::Acked(uid, fence, entries) => {
                    let step = state.roll.step();
                    state.roll.acked(uid, *fence)?;
                    state.ledger.acked(uid, entries, now, step)
                }
                Change::Swept(uid, entry) => state.ledger.swept(uid, entry, now),
            });
        })
    }

    /// The first promise that was broken. Looks at what hubs hold at this moment too.
    ///
    /// # Errors
    /// Its number and what happened.
    pub fn check(&self) -> Result<(), String> {
        let now = self.shared.rt.now();
        let mut state = self.shared.state.lock();
        if state.broken.is_none() {
            state.broken = state.roll.check(now).err();
        }
        state.broken.clone().map_or(Ok(()), Err)
    }

    /// Notes that a rule of the caller's own is broken.
    pub fn fail(&self, invariant: u8, what: impl fmt::Display) {
        self.with(|_| broken(invariant, what));
    }

    /// A login of the user was given this epoch, whatever becomes of it.
    pub fn claimed(&self, uid: &Uid, epoch: Epoch) {
        self.tell(format_args!("{uid} is given {epoch:?}"));
        self.with(|state| {
            state.roll.claimed(uid, epoch);
            Ok(())
        });
    }

    /// How many sessions have opened, and how many closed otherwise than because their peers were gone.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.shared.state.lock().roll.events()
    }

    /// How many messages clients have read.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.shared.state.lock().ledger.delivered()
    }

    /// All users were online, and read, for long enough: nothing that was accepted is missing (2), and nothing that they
    /// have is queued (3). With `copies`, so many of each message came at most (5): where nothing failed, one a device.
    ///
    /// # Errors
    /// What is not so.
    pub fn settled(&self, copies: Option<usize>) -> Result<(), String> {
        let now = self.shared.rt.now();
        let state = self.shared.state.lock();
        let copies = copies.filter(|_| !state.roll.closed_a_slow_one());
        state.ledger.settled(now, copies)
    }

    /// All is quiet: the user has one live session of each of so many classes, on whatever hub, and no newer one ever
    /// opened (10).
    ///
    /// # Errors
    /// What is not so.
    pub fn united(&self, uid: &Uid, classes: usize) -> Result<(), String> {
        self.shared.state.lock().roll.united(uid, classes)
    }

    /// From here on no two sessions of a class may live at once on any hubs, at any step (10).
    pub fn strict(&self) {
        self.shared.state.lock().roll.strict = true;
    }

    /// From here on this hub is draining (19).
    pub fn draining(&self, hub: &Hub) {
        self.shared.state.lock().roll.draining(hub);
    }

    /// A hub's shutdown has ended: what was accepted is with a client or in the queue (19).
    ///
    /// # Errors
    /// What is not.
    pub fn drained(&self) -> Result<(), String> {
        let now = self.shared.rt.now();
        self.shared.state.lock().ledger.drained(now)
    }

    /// All connections are closed: nothing is left in the hub (17), and each session that opened has closed (13).
    ///
    /// # Errors
    /// What is left.
    pub fn emptied(&self, hub: &Hub) -> Result<(), String> {
        self.shared.state.lock().roll.emptied()?;
        let left = hub.stats();
        if left.sessions + left.users_online + left.user_entries + left.memory_bytes > 0 {
            return broken(17, format_args!("{left:?}"));
        }
        Ok(())
    }

    /// The hubs are gone: so are their tasks and timers (17), and there are none of the test's own.
    ///
    /// # Errors
    /// What is left.
    pub fn stopped(&self) -> Result<(), String> {
        let (tasks, timers) = (self.shared.rt.tasks(), self.shared.rt.timers());
        if tasks.is_empty() && timers == 0 {
            return Ok(());
        }
        broken(17, format_args!("tasks {tasks:?} and {timers} timers"))
    }

    /// A client is about to log in: the device to serve.
    pub(super) fn connecting(&self, device: Device, client: &SimClient) -> (Device, usize) {
        let uplink: Arc<Uplink> = client.uplink();
        let number = self.shared.state.lock().roll.connecting(&device, uplink);
        device.put_meta(watch::CONNECTION, number.to_string());
        (device, number)
    }

    /// A client sends a message on a connection.
    pub(super) fn saying(&self, connection: usize, text: &str) {
        self.shared.state.lock().roll.saying(connection, text);
    }

    /// A client reads a message.
    pub(super) fn read(&self, connection: usize, uid: &Uid, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        self.tell(format_args!("{uid} reads on connection {connection}: {text:.20}"));
        let now = self.shared.rt.now();
        self.with(|state| {
            let opened = state.roll.opened_at(connection);
            state.ledger.read(connection, opened, uid, data, now)
        });
    }

    /// A sender is about to send.
    pub(super) fn sending(&self, uid: &Uid, sender: u64, number: u64, sending: Sending) {
        self.tell(format_args!("{uid} is sent {number} of sender {sender}, kept: {}", sending.kept));
        self.shared.state.lock().ledger.sending(uid, sender, number, sending);
    }

    /// A sender was answered.
    pub(super) fn told(&self, hub: &Hub, uid: &Uid, sender: u64, number: u64, told: Told) {
        let now = self.shared.rt.now();
        let ahead = hub.inner.writes_ahead();
        self.tell(format_args!("{number} of sender {sender} to {uid} is {told:?}"));
        self.with(|state| state.ledger.told(uid, sender, number, told, ahead, now));
    }

    /// A receipt says that a message is confirmed.
    pub(super) fn confirmed(&self, uid: &Uid, sender: u64, number: u64) {
        let now = self.shared.rt.now();
        self.with(|state| state.ledger.confirmed(uid, sender, number, now));
    }

    /// Notes what happens, for who reads on.
    pub(super) fn tell(&self, what: fmt::Arguments<'_>) {
        if self.shared.tells {
            eprintln!("{:>12.6}  {what}", self.shared.rt.now().as_nanos() as f64 / 1e9);
        }
    }

    fn with(&self, rule: impl FnOnce(&mut State) -> Verdict) {
        let mut state = self.shared.state.lock();
        if let Err(what) = rule(&mut state) {
            state.broken.get_or_insert(what);
        }
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("broken", &self.shared.state.lock().broken).finish_non_exhaustive()
    }
}
