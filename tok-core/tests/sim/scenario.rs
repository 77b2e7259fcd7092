//! Two users whose connections do what connections do, and senders who write to them all the while.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, join_all, select};
use tok_core::{
    Actor, Device, Durability, Hub, Message, Queue, SendError, Session, Sso, Uid, async_trait,
    queue::Caps,
    rt::Runtime,
    testkit::{
        MemoryPeer, Read, memory_pair,
        sim::{Sim, SimQueue, SimRuntime},
    },
};

use super::model::Model;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Memory,
    WriteAhead,
    WriteBack,
    Devices,
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) delivered: u64,
}

const USERS: usize = 2;
const MESSAGES: u64 = 40;
const MAX_MEMORY: usize = 64 * 1024;
const DAY: Duration = Duration::from_secs(86_400);

type Shared = Arc<Mutex<Model>>;

fn uid(user: usize) -> Uid {
    Uid::from(user)
}

fn user_of(session: &Session) -> usize {
    session.device().uid().as_str().parse().unwrap()
}

/// Takes its time, and notes what it handles.
struct Handler {
    model: Shared,
    rt: SimRuntime,
}

#[async_trait]
impl Actor for Handler {
    async fn on_receive(&self, session: &Session, _: Message) {
        self.model.lock().unwrap().active(user_of(session), session.id(), "handled a message");
        if self.rt.below(4) == 0 {
            self.rt.sleep(Duration::from_millis(self.rt.below(300))).await;
        }
    }
}

pub(crate) fn run(seed: u64, mode: Mode) -> Result<Report, String> {
    let sim = Sim::new(seed);
    let rt = sim.runtime();
    let model = Shared::default();
    model.lock().unwrap().single = mode != Mode::Devices;
    let durable = matches!(mode, Mode::WriteAhead | Mode::WriteBack);
    let caps = Caps { durable, shared: false, max_messages: 60, max_bytes: 1 << 20 };
    let failures = if rt.below(2) == 0 { 0 } else { 30 };
    let queue = SimQueue::new(rt.clone(), caps, Duration::from_millis(rt.below(20)), failures);

    let watched: Arc<Mutex<Option<Hub>>> = Arc::default();
    let check = {
        let (watched, model) = (Arc::clone(&watched), Arc::clone(&model));
        move || {
            if let Some(hub) = &*watched.lock().unwrap() {
                let held = hub.stats().memory_bytes;
                // Messages that come back from the queue are counted over the limit, a page a session at most.
                if held > 2 * MAX_MEMORY {
                    return Err(format!("memory: {held} bytes held"));
                }
            }
            model.lock().unwrap().broken.clone().map_or(Ok(()), Err)
        }
    };
    let main = scenario(rt, mode, Arc::clone(&model), queue, watched);
    match sim.run_checked(main, check) {
        Ok(result) => result?,
        Err(stopped) => return Err(format!("{stopped:?}")),
    }
    let delivered = model.lock().unwrap().delivered;
    Ok(Report { trace: sim.trace(), delivered })
}

async fn scenario(
    rt: SimRuntime,
    mode: Mode,
    model: Shared,
    queue: SimQueue,
    watched: Arc<Mutex<Option<Hub>>>,
) -> Result<(), String> {
    let hub = build(&rt, mode, &model, &queue);
    *watched.lock().unwrap() = Some(hub.clone());
    let connections = Arc::new(AtomicU64::new(0));
    let senders_left = Arc::new(AtomicUsize::new(USERS * 2));
    let world = World { rt: rt.clone(), hub: hub.clone(), model: Arc::clone(&model), connections };

    for user in 0..USERS {
        for sender in 0..2 {
            let (world, left) = (world.clone(), Arc::clone(&senders_left));
            rt.spawn(
                "sender",
                Box::pin(async move {
                    world.send_all(user, sender).await;
                    left.fetch_sub(1, Ordering::SeqCst);
                }),
            );
        }
    }
    let calm = Arc::new(AtomicBool::new(false));
    let devices = if mode == Mode::Devices { 2 } else { 1 };
    let clients = (0..USERS).flat_map(|user| (0..devices).map(move |device| (user, device)));
    let clients = clients.map(|(user, device)| world.client(user, device, Arc::clone(&calm)));
    let quiet = async {
        while senders_left.load(Ordering::SeqCst) > 0 {
            rt.sleep(Duration::from_millis(100)).await;
        }
        rt.sleep(Duration::from_secs(2)).await;
        calm.store(true, Ordering::SeqCst);
    };
    futures_util::future::join(join_all(clients), quiet).await;

    for user in 0..USERS {
        let missing = model.lock().unwrap().missing(user);
        if !missing.is_empty() {
            return Err(format!("lost: user {user} never read {missing:?} (sender, number)"));
        }
    }
    let report = hub.shutdown(Duration::from_secs(60)).await;
    if report.unstored > 0 || report.forced > 0 {
        return Err(format!("shutdown: {report:?}"));
    }
    let open = model.lock().unwrap().open_sessions();
    let left = hub.stats();
    if open > 0 || left.sessions + left.users_online + left.user_entries + left.memory_bytes > 0 {
        return Err(format!("left behind: {open} sessions, {left:?}"));
    }
    if mode != Mode::Devices {
        // What nobody was told is kept may be left, where the queue failed; what a client confirmed may not.
        for user in 0..USERS {
            let left = queue.storage().len(&uid(user)).await.unwrap();
            if left > 4 {
                return Err(format!(
                    "user {user} confirmed everything, and {left} messages are still queued"
                ));
            }
        }
    }
    Ok(())
}

fn build(rt: &SimRuntime, mode: Mode, model: &Shared, queue: &SimQueue) -> Hub {
    let handler = Handler { model: Arc::clone(model), rt: rt.clone() };
    let (opened, closed, sent) = (Arc::clone(model), Arc::clone(model), Arc::clone(model));
    let mut builder = Hub::builder(handler)
        .runtime(rt.clone())
        .queue(queue.clone())
        .ping_interval(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(3))
        .max_backlog(4096)
        .max_memory(MAX_MEMORY)
        .max_message(4096)
        .open(move |session| opened.lock().unwrap().opened(user_of(session), session.id()))
        .close(move |session, _| closed.lock().unwrap().closed(session.id()))
        .after_send(move |session, _| {
            sent.lock().unwrap().active(user_of(session), session.id(), "was sent a message");
        });
    if mode == Mode::WriteBack {
        builder = builder.durability(Durability::WriteBack);
    }
    if mode == Mode::Devices {
        builder = builder.sso(Sso::PerDevice);
    }
    builder.build().unwrap()
}

#[derive(Clone)]
struct World {
    rt: SimRuntime,
    hub: Hub,
    model: Shared,
    connections: Arc<AtomicU64>,
}

impl World {
    async fn pause(&self, up_to_ms: u64) {
        self.rt.sleep(Duration::from_millis(self.rt.below(up_to_ms))).await;
    }

    /// Sends a user numbered messages, some to be kept, each when the one before has been answered.
    async fn send_all(&self, user: usize, sender: u64) {
        for number in 0..MESSAGES {
            let kept = self.rt.below(4) > 0;
            let brief = kept && self.rt.below(10) == 0;
            self.model.lock().unwrap().sending(user, sender, number, kept, brief);
            let padding = usize::try_from(self.rt.below(200)).unwrap();
            let send = self.hub.send(uid(user), format!("{sender} {number} {}", "x".repeat(padding)));
            let ttl = if brief { Duration::from_millis(1 + self.rt.below(3000)) } else { DAY };
            let result = if kept { send.ttl(ttl).await } else { send.await };
            let told = match result {
                Ok(_) => Some(true),
                Err(SendError::Queue(_)) => None,
                Err(_) => Some(false),
            };
            self.model.lock().unwrap().told(user, sender, number, told);
            match self.rt.below(8) {
                0 => self.pause(2000).await,
                1..4 => self.pause(20).await,
                _ => {}
            }
        }
    }

    /// Connects again and again, behaves badly, and in the end stays until it has read everything.
    async fn client(&self, user: usize, device: u64, calm: Arc<AtomicBool>) {
        while !calm.load(Ordering::SeqCst) {
            self.pause(600).await;
            let (peer, connection) = self.connect(user, device);
            self.misbehave(peer, user, connection).await;
        }
        let (mut peer, mut connection) = self.connect(user, device);
        let mut quiet = 0;
        // Longer than the longest pause between the queue's attempts.
        while quiet < 30 {
            let read = self.read(&mut peer, user, connection, Duration::from_secs(1)).await;
            match read {
                Some(true) => quiet = 0,
                // An earlier login of this client that took effect late has the place.
                Some(false) => (peer, connection) = self.connect(user, device),
                None => quiet += 1,
            }
        }
        peer.close();
    }

    fn connect(&self, user: usize, device: u64) -> (MemoryPeer, u64) {
        let buffer = usize::try_from(100 + self.rt.below(4000)).unwrap();
        let (transport, peer) = memory_pair(buffer, true);
        let device = Device::new(uid(user)).with_id(device.to_string());
        let session = self.hub.serve(device, transport);
        self.rt.spawn(
            "session",
            Box::pin(async move {
                session.await;
            }),
        );
        (peer, self.connections.fetch_add(1, Ordering::SeqCst))
    }

    /// Reads one message, if one comes in time: `Some(false)` at the end of the connection.
    async fn read(
        &self,
        peer: &mut MemoryPeer,
        user: usize,
        connection: u64,
        wait: Duration,
    ) -> Option<bool> {
        let read = {
            let sleep = std::pin::pin!(self.rt.sleep(wait));
            match select(std::pin::pin!(peer.recv()), sleep).await {
                Either::Left((read, _)) => read,
                Either::Right(_) => return None,
            }
        };
        let Read::Message(message) = read else { return Some(false) };
        let text = message.as_text().unwrap();
        let mut parts = text.split(' ').map(str::parse::<u64>);
        let (Some(Ok(sender)), Some(Ok(number))) = (parts.next(), parts.next()) else { panic!("{text}") };
        self.model.lock().unwrap().read(connection, user, sender, number);
        Some(true)
    }

    async fn misbehave(&self, mut peer: MemoryPeer, user: usize, connection: u64) {
        for step in 0..self.rt.below(30) {
            match self.rt.below(20) {
                // The stack's answers are lost for a while.
                0 => peer.answers(false),
                1 => peer.answers(true),
                // Never the number of an open question: a client that lies about that loses its own messages.
                2 => peer.answer(1_000_000 + self.rt.below(20)),
                3 => self.pause(3000).await,
                4 | 5 => peer.send(step.to_string().as_str()),
                6 => {
                    peer.vanish();
                    break;
                }
                7 => {
                    peer.reset();
                    break;
                }
                _ => {
                    let wait = Duration::from_millis(self.rt.below(200));
                    if self.read(&mut peer, user, connection, wait).await == Some(false) {
                        break;
                    }
                }
            }
        }
        // A vanished client's end is kept open for a while: nobody tells the server.
        if self.rt.below(2) == 0 {
            let rt = self.rt.clone();
            self.rt.spawn(
                "vanished",
                Box::pin(async move {
                    peer.vanish();
                    rt.sleep(Duration::from_millis(rt.below(5000))).await;
                    drop(peer);
                }),
            );
        }
    }
}
