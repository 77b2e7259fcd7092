//! A hook of the application that does not return, on a node that others send to.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tok_cluster::{Bus, BusError, Cluster, Inbound, NodeId, Registry};
use tok_core::{
    Actor, Device, Hub, Message, Overflow, Session, async_trait,
    rt::Tokio,
    testkit::{MemoryPeer, Read, memory_pair},
};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Drivers = (Arc<dyn Registry>, Arc<dyn Bus>);

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// Counts the requests of a node that were answered: of one that sends nothing, these are its probes of itself.
struct Counted {
    bus: Arc<dyn Bus>,
    answered: Arc<AtomicUsize>,
}

#[async_trait]
impl Bus for Counted {
    async fn open(&self, me: &NodeId, inbound: Arc<dyn Inbound>) -> Result<(), BusError> {
        self.bus.open(me, inbound).await
    }
    async fn request(&self, to: &NodeId, frame: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let answer = self.bus.request(to, frame, timeout).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
    async fn broadcast(&self, frame: Bytes) -> Result<(), BusError> {
        self.bus.broadcast(frame).await
    }
    async fn close(&self) {
        self.bus.close().await;
    }
    fn max_frame(&self) -> usize {
        self.bus.max_frame()
    }
}

/// Blocks callers until it is opened.
#[derive(Default)]
struct Door {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: usize,
    open: bool,
}

impl Door {
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        let opened = self.changed.wait_while(state, |state| !state.open).unwrap();
        drop(opened);
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }
}

/// Opens the door also when the test fails: a thread that waits there would keep the process.
struct Opens(Arc<Door>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await; // sleep: between two looks
        }
    })
    .await;
}

fn cluster(name: &str, registry: Arc<dyn Registry>, bus: Arc<dyn Bus>) -> Cluster {
    let builder = Cluster::builder(registry, bus).node(name).runtime(Tokio);
    let builder = builder.lease(3 * PATIENCE).beat(Duration::from_millis(100)).request_timeout(PATIENCE);
    builder.build().unwrap()
}

/// A session that has taken effect, whose peer takes up to `buffer` bytes without reading.
async fn login(hub: &Hub, uid: &str, buffer: usize) -> MemoryPeer {
    let (transport, mut peer) = memory_pair(buffer, true);
    tokio::spawn(hub.serve(Device::new(uid), transport));
    peer.send("ready?");
    assert_eq!(soon("an answer", peer.recv()).await, Read::Message("ready?".into()));
    peer
}

/// While the hook is held, the node renews its lease, answers its own probes, and serves other users.
pub(crate) async fn a_hook_that_blocks_stalls_nobody_else([sender, receiver]: [Drivers; 2]) {
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = Counted { bus: receiver.1, answered: Arc::clone(&answered) };
    let (from, to) = (cluster("from", sender.0, sender.1), cluster("to", receiver.0, Arc::new(counted)));
    let sending = Hub::builder(Echo).runtime(Tokio).relay(from.clone()).build().unwrap();
    let door = Arc::new(Door::default());
    let opens = Opens(Arc::clone(&door));
    let hook = move |_: &_, message: &Message, _| {
        if message.as_text().is_some_and(|text| text.starts_with("block")) {
            // As applications do that have to wait in a hook: tokio's other tasks go on, and the one that calls does not.
            tokio::task::block_in_place(|| door.wait());
        }
    };
    let receiving = Hub::builder(Echo).runtime(Tokio).relay(to.clone());
    let receiving = receiving.max_backlog(1024).overflow(Overflow::Refuse).undelivered(hook).build().unwrap();
    for node in [&from, &to] {
        node.joined(PATIENCE).await.unwrap();
    }
    until("the sender sees the receiver", || from.nodes().len() == 2).await;
    let (slow, mut other) = (login(&receiving, "slow", 256).await, login(&receiving, "other", 4096).await);
    let large = |word: &str| sending.send("slow", word.repeat(100)).into_future();
    // As much as fits.
    while soon("an answer", large("fill")).await.unwrap().sessions() > 0 {}

    let blocked = tokio::spawn(large("block"));
    until("the hook is called", || opens.0.waiting() == 1).await;
    let behind = tokio::spawn(large("behind it"));
    for number in 0..10 {
        let text = number.to_string();
        let sent = soon("a send to another user", sending.send("other", text.as_str()).into_future()).await;
        assert_eq!(sent.unwrap().sessions(), 1);
        assert_eq!(soon("a message", other.recv()).await, Read::Message(text.into()));
    }
    let before = answered.load(Ordering::Relaxed);
    until("the node hears itself", || answered.load(Ordering::Relaxed) >= before + 3).await;
    assert!(to.healthy() && from.healthy());
    assert!(!blocked.is_finished() && !behind.is_finished(), "what is for the user waits, in order");
    drop(opens);
    for send in [blocked, behind] {
        assert_eq!(soon("an answer", send).await.unwrap().unwrap().sessions(), 0);
    }
    drop(slow);
}
