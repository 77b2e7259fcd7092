//! Does to a hub in the simulator what a list of operations says, and tells the model.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tok_core::{
    Actor, Device, Epoch, Hub, Message, Queue, SendError, Session, Sso, Uid, async_trait,
    queue::{Admit, Caps, Entry, Limit, Page, QueueError, QueueSize, Seq, Stored, Swept},
    rt::{Clock, Instant, Runtime},
    testkit::{
        MemoryPeer, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimRuntime},
    },
};

use super::reference::{BEAT_SECS, BRIEF_SECS, Model, Number, PING_SECS, Rules, Thing};

/// Clients are meant by a number, of those that are there.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Login {
        user: usize,
        device: usize,
    },
    /// A message that is kept, for long or for a little.
    Keep {
        user: usize,
        brief: bool,
    },
    /// One that is not.
    Tell {
        user: usize,
    },
    /// The client reads all that is there.
    Read {
        client: usize,
    },
    Say {
        client: usize,
    },
    /// Whether its stack answers questions and Pings that it reads from now on.
    Answer {
        client: usize,
        answers: bool,
    },
    Close {
        client: usize,
    },
    Reset {
        client: usize,
    },
    Vanish {
        client: usize,
    },
    Kick {
        user: usize,
        device: Option<usize>,
    },
    Pass {
        beats: u64,
    },
    Queue {
        fails: bool,
    },
}

const LONG_SECS: u64 = 86_400;

/// Runs a list of operations; the error says what is not as the model has it.
pub(crate) fn run(seed: u64, rules: Rules, ops: &[Op]) -> Result<(), String> {
    let sim = Sim::new(seed);
    let rt = sim.runtime();
    sim.run(async move { World::new(rt, rules).run(ops).await })
        .unwrap_or_else(|stopped| Err(format!("{stopped:?}")))
}

struct World {
    rt: SimRuntime,
    start: Instant,
    hub: Hub,
    queue: Arc<Failing>,
    model: Model,
    /// Connections by the model's number, while somebody reads them.
    peers: Vec<Option<MemoryPeer>>,
    /// Those whose clients have vanished: nobody tells the server.
    vanished: Vec<MemoryPeer>,
    last: Number,
}

impl World {
    fn new(rt: SimRuntime, rules: Rules) -> Self {
        let caps = Caps {
            durable: rules.durable,
            shared: false,
            max_messages: 1000,
            max_bytes: 1 << 20,
            max_message: None,
        };
        let queue =
            Arc::new(Failing { inner: ReferenceQueue::with_caps(caps), fails: AtomicBool::new(false) });
        let hub = Hub::builder(Nothing)
            .runtime(rt.clone())
            .queue(Arc::clone(&queue))
            .sso(if rules.per_device { Sso::PerDevice } else { Sso::PerUser })
            .ping_interval(Duration::from_secs(PING_SECS))
            .close_timeout(Duration::from_secs(1))
            .build()
            .unwrap();
        let start = rt.now();
        let (peers, vanished) = (Vec::new(), Vec::new());
        Self { rt, start, hub, queue, model: Model::new(rules), peers, vanished, last: 0 }
    }

    async fn run(mut self, ops: &[Op]) -> Result<(), String> {
        for (step, op) in ops.iter().enumerate() {
            let told = |why| format!("step {step}, {op:?}: {why}");
            self.step(op).await.map_err(told)?;
            self.settle().await;
            self.check().await.map_err(told)?;
        }
        self.end().await.map_err(|why| format!("in the end: {why}"))
    }

    async fn step(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Login { user, device } => {
                let (transport, peer) = memory_pair(1 << 16, true);
                let session = self.hub.serve(Device::new(uid(user)).with_id(device.to_string()), transport);
                self.rt.spawn("session", Box::pin(async { _ = session.await }));
                self.model.login(user, device);
                self.peers.push(Some(peer));
            }
            Op::Keep { user, brief } => {
                self.send(user, Some(if brief { BRIEF_SECS } else { LONG_SECS })).await?;
            }
            Op::Tell { user } => self.send(user, None).await?,
            Op::Read { client } => {
                if let Some(index) = self.pick(client) {
                    self.read(index).await?;
                }
            }
            Op::Say { client } => self.with(client, |model, index, peer| {
                peer.send("!");
                model.say(index);
            }),
            Op::Answer { client, answers } => self.with(client, |model, index, peer| {
                peer.answers(answers);
                model.answer(index, answers);
            }),
            Op::Close { client } => {
                self.leave(client, MemoryPeer::close);
                if self.model.failing {
                    // What waits for the queue is owed to the peer for as long as a close may take.
                    self.pass(1).await;
                }
            }
            Op::Reset { client } => self.leave(client, MemoryPeer::reset),
            Op::Vanish { client } => {
                if let Some(peer) = self.pick(client).and_then(|index| self.peers[index].take()) {
                    peer.vanish();
                    self.vanished.push(peer);
                }
            }
            Op::Kick { user, device } => {
                let kick = self.hub.kick(uid(user));
                let kick = if let Some(device) = device { kick.device(device.to_string()) } else { kick };
                let (ended, expected) = (kick.await.unwrap(), self.model.kick(user, device));
                same("sessions kicked", ended, expected)?;
            }
            Op::Pass { beats } => self.pass(beats).await,
            Op::Queue { fails } => {
                self.queue.fails.store(fails, Ordering::Relaxed);
                if fails {
                    self.model.failing = true;
                } else if self.model.failing {
                    // Longer than the longest pause between two attempts of the hub's.
                    self.pass(2).await;
                    self.model.failing = false;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, user: usize, ttl: Option<u64>) -> Result<(), String> {
        self.last += 1;
        let mut send = self.hub.send(uid(user), self.last.to_string());
        if let Some(ttl) = ttl {
            send = send.ttl(Duration::from_secs(ttl));
        }
        match send.await {
            Ok(receipt) => {
                let sessions = self.model.sent(user, self.last, ttl);
                // While the queue fails sessions may end before the answer.
                if !self.model.failing {
                    same("sessions of the receipt", receipt.sessions(), sessions)?;
                    same("offline", receipt.is_offline(), sessions == 0)?;
                }
            }
            Err(SendError::Queue(_)) if self.model.failing && ttl.is_some() => {}
            // Behind what cannot be read it is withdrawn.
            Err(SendError::BacklogUnread) if self.model.failing && ttl.is_none() => {}
            Err(SendError::Unconfirmed { pending: true, .. }) if self.model.failing && ttl.is_some() => {
                self.model.handed(user, self.last);
            }
            Err(error) => return Err(format!("a message was refused: {error}")),
        }
        // A sender may have waited for the queue.
        let late = self.rt.now().saturating_since(self.start).as_secs() - self.now();
        if late > 0 {
            self.pass(late.div_ceil(BEAT_SECS)).await;
        }
        Ok(())
    }

    /// Reads until nothing more comes: what is behind a question comes when it is answered.
    async fn read(&mut self, index: usize) -> Result<(), String> {
        let Some(peer) = &mut self.peers[index] else { return Ok(()) };
        let mut found = Vec::new();
        let mut quiet = 0;
        while quiet < 3 {
            self.rt.sleep(SETTLE).await;
            match peer.try_recv() {
                None => quiet += 1,
                Some(Read::Message(message)) => {
                    quiet = 0;
                    found.push(Thing::Message(message.as_text().unwrap().parse().unwrap()));
                }
                Some(Read::Close(reason)) => {
                    found.push(Thing::Close(reason));
                    self.peers[index] = None;
                    break;
                }
                Some(other) => return Err(format!("client {index} read {other:?}")),
            }
        }
        self.model.read(index, &found)
    }

    /// What can be seen from outside.
    async fn check(&self) -> Result<(), String> {
        let (hub, model) = (&self.hub, &self.model);
        let sessions = [0, 1].map(|user| model.sessions(user));
        let online = sessions.iter().filter(|sessions| **sessions > 0).count();
        let stats = hub.stats();
        same("sessions", stats.sessions, sessions.iter().sum())?;
        same("users online", stats.users_online, online)?;
        for (user, sessions) in sessions.into_iter().enumerate() {
            same("online", hub.is_online(uid(user)).await.unwrap(), sessions > 0)?;
            if sessions == 0 && !model.failing {
                let stored = self.queue.inner.size(&uid(user)).await.unwrap().messages;
                // What has expired is there until it is swept.
                if stored < model.kept(user) as u64 {
                    return Err(format!(
                        "user {user} is away, and of {} only {stored} are stored",
                        model.kept(user)
                    ));
                }
            }
        }
        Ok(())
    }

    /// The queue works, everybody logs in once more and reads: then nothing is left anywhere.
    async fn end(mut self) -> Result<(), String> {
        self.step(&Op::Queue { fails: false }).await?;
        for user in 0..2 {
            for device in 0..2 {
                self.step(&Op::Login { user, device }).await?;
                self.read(self.peers.len() - 1).await?;
            }
            same("kept messages", self.model.kept(user), 0)?;
        }
        for index in 0..self.peers.len() {
            self.read(index).await?;
        }
        self.peers.clear();
        // The queue sweeps twice a minute.
        self.pass(30).await;
        let stats = self.hub.stats();
        let left = stats.sessions + stats.users_online + stats.user_entries + stats.memory_bytes;
        for user in 0..2 {
            same("stored", self.queue.inner.size(&uid(user)).await.unwrap().messages, 0)?;
        }
        if left == 0 { Ok(()) } else { Err(format!("left behind: {stats:?}")) }
    }

    async fn settle(&self) {
        self.rt.sleep(SETTLE).await;
    }

    /// The beat's second from the start.
    fn now(&self) -> u64 {
        self.model.now()
    }

    async fn pass(&mut self, beats: u64) {
        let now = self.now() + beats * BEAT_SECS;
        self.rt.sleep_until(self.start.saturating_add(Duration::from_secs(now))).await;
        self.settle().await;
        self.model.pass(now);
    }

    /// A client that is there.
    fn pick(&self, client: usize) -> Option<usize> {
        let open: Vec<usize> = (0..self.peers.len()).filter(|index| self.peers[*index].is_some()).collect();
        (!open.is_empty()).then(|| open[client % open.len()])
    }

    fn with(&mut self, client: usize, act: impl FnOnce(&mut Model, usize, &mut MemoryPeer)) {
        let index = self.pick(client);
        if let Some(index) = index
            && let Some(peer) = &mut self.peers[index]
        {
            act(&mut self.model, index, peer);
        }
    }

    fn leave(&mut self, client: usize, how: fn(&MemoryPeer)) {
        self.with(client, |model, index, peer| {
            how(peer);
            model.leave(index);
        });
        if let Some(index) = self.pick(client) {
            self.peers[index] = None;
        }
    }
}

/// Everything else runs until it waits: simulated time moves only then.
const SETTLE: Duration = Duration::from_millis(1);

fn uid(user: usize) -> Uid {
    Uid::from(user)
}

fn same<T: Copy + PartialEq + std::fmt::Debug>(what: &str, hub: T, model: T) -> Result<(), String> {
    if hub == model { Ok(()) } else { Err(format!("{what}: {hub:?}, and the model has {model:?}")) }
}

struct Nothing;

#[async_trait]
impl Actor for Nothing {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

/// A queue that fails while it is told to, before it has done anything.
#[derive(Debug)]
struct Failing {
    inner: ReferenceQueue,
    fails: AtomicBool,
}

impl Failing {
    fn ready(&self) -> Result<(), QueueError> {
        let fails = self.fails.load(Ordering::Relaxed);
        if fails { Err(QueueError::Unavailable("told to fail".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Queue for Failing {
    async fn enqueue(&self, uid: &Uid, batch: &[Entry], admit: Admit) -> Result<Stored, QueueError> {
        self.ready()?;
        self.inner.enqueue(uid, batch, admit).await
    }

    async fn peek(&self, uid: &Uid, after: Seq, limit: Limit) -> Result<Page, QueueError> {
        self.ready()?;
        self.inner.peek(uid, after, limit).await
    }

    async fn ack(&self, uid: &Uid, upto: Seq, fence: Epoch) -> Result<QueueSize, QueueError> {
        self.ready()?;
        self.inner.ack(uid, upto, fence).await
    }

    async fn size(&self, uid: &Uid) -> Result<QueueSize, QueueError> {
        self.ready()?;
        self.inner.size(uid).await
    }

    async fn sweep(&self, budget: usize) -> Result<Swept, QueueError> {
        self.ready()?;
        self.inner.sweep(budget).await
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn use_clock(&self, clock: &Clock) {
        self.inner.use_clock(clock);
    }
}
