//! Hubs of several nodes over a broker in memory, in the simulator: each node's connection can be broken at will.

#![allow(dead_code)] // Each test file uses its part.

use std::{sync::Arc, time::Duration};

use tok_cluster::{
    Chaos, Cluster, ClusterBuilder, Faults, Link, MemoryBroker, NodeId, Plan, Registry, SessionRow,
};
use tok_core::{
    Actor, CloseReason, Device, Hub, Message, Session, Sso, Uid, async_trait,
    queue::Caps,
    rt::Runtime,
    testkit::{
        MemoryPeer, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimRuntime},
    },
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const CAPS: Caps =
    Caps { durable: false, shared: true, max_messages: 10_000, max_bytes: 1 << 24, max_message: None };

/// Answers what it gets, and joins rooms on request.
pub(crate) struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        if let Some(room) = message.as_text().and_then(|text| text.strip_prefix("join ")) {
            session.join(room).unwrap();
        }
        let _ = session.send(message);
    }
}

pub(crate) struct Nodes {
    pub(crate) rt: SimRuntime,
    pub(crate) broker: MemoryBroker,
    pub(crate) queue: Arc<ReferenceQueue>,
    pub(crate) nodes: Vec<Node>,
    sso: Sso,
}

pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) cluster: Cluster,
    pub(crate) faults: Faults,
}

impl Nodes {
    /// So many nodes that have joined.
    pub(crate) async fn new(sim: &Sim, nodes: usize) -> Self {
        Self::with(sim, nodes, Sso::PerUser, |builder| builder).await
    }

    pub(crate) async fn with(
        sim: &Sim,
        nodes: usize,
        sso: Sso,
        configure: impl Fn(ClusterBuilder) -> ClusterBuilder,
    ) -> Self {
        let rt = sim.runtime();
        let broker = MemoryBroker::new(rt.clone());
        let queue = Arc::new(ReferenceQueue::with_caps(CAPS));
        let mut this = Self { rt, broker, queue, nodes: Vec::new(), sso };
        for _ in 0..nodes {
            this.add(&configure).await;
        }
        for node in &this.nodes {
            let seen = async || node.cluster.nodes().len() == nodes;
            this.until("all see each other", seen).await;
        }
        this
    }

    /// One more node, which joins.
    pub(crate) async fn add(&mut self, configure: impl Fn(ClusterBuilder) -> ClusterBuilder) -> usize {
        let index = self.nodes.len();
        let faults = Faults::new(self.rt.clone());
        // Some networks are slow, and operations overtake each other.
        let delay = Duration::from_millis([0, 1, 30][usize::try_from(self.rt.below(3)).unwrap()]);
        faults.set_plan(Plan { delay, ..Plan::default() });
        let registry = Chaos::new(self.broker.registry(), &faults);
        let bus = Chaos::new(self.broker.bus(), &faults);
        let builder = Cluster::builder(registry, bus).node(format!("node-{index}")).runtime(self.rt.clone());
        let cluster = configure(builder).build().unwrap();
        let hub = Hub::builder(Echo).runtime(self.rt.clone()).queue(Arc::clone(&self.queue));
        let hub = hub.sso(self.sso.clone()).relay(cluster.clone()).build().unwrap();
        cluster.joined(10 * SECOND).await.unwrap();
        self.nodes.push(Node { hub, cluster, faults });
        index
    }

    pub(crate) fn hub(&self, node: usize) -> &Hub {
        &self.nodes[node].hub
    }

    pub(crate) fn cluster(&self, node: usize) -> &Cluster {
        &self.nodes[node].cluster
    }

    pub(crate) fn id(&self, node: usize) -> &NodeId {
        self.cluster(node).node()
    }

    /// The link of one node breaks, or heals.
    pub(crate) fn link(&self, node: usize, link: Link) {
        self.nodes[node].faults.set_link(link);
    }

    /// A node is killed: nothing of it can reach anybody any more.
    pub(crate) fn kill(&mut self, node: usize) -> NodeId {
        self.link(node, Link::Cut);
        let faults = Faults::new(self.rt.clone());
        let Node { cluster, .. } = std::mem::replace(
            &mut self.nodes[node],
            // What is left is a node that never joins.
            Node {
                hub: Hub::builder(Echo).runtime(self.rt.clone()).build().unwrap(),
                cluster: Cluster::builder(self.broker.registry(), self.broker.bus())
                    .node("gone")
                    .runtime(self.rt.clone())
                    .build()
                    .unwrap(),
                faults,
            },
        );
        cluster.node().clone()
    }

    /// Begins a login, and gives the client's end.
    pub(crate) fn connect(&self, node: usize, device: Device) -> MemoryPeer {
        let (transport, peer) = memory_pair(64 * 1024, true);
        let session = self.hub(node).serve(device, transport);
        let session = async move {
            session.await;
        };
        self.rt.spawn("session", Box::pin(session));
        peer
    }

    /// A session that has taken effect.
    pub(crate) async fn login(&self, node: usize, device: Device) -> MemoryPeer {
        let mut peer = self.connect(node, device);
        peer.send("ready?");
        assert_eq!(text(&mut peer).await, "ready?");
        peer
    }

    pub(crate) async fn user(&self, node: usize, uid: &str) -> MemoryPeer {
        self.login(node, Device::new(uid)).await
    }

    /// The user's rows as the registry has them.
    pub(crate) async fn rows(&self, uid: &str) -> Vec<SessionRow> {
        self.broker.registry().lookup(&Uid::from(uid)).await.unwrap()
    }

    /// Waits in virtual time until something is so, at most for a minute.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        for _ in 0..6000 {
            if is_so().await {
                return;
            }
            self.rt.sleep(Duration::from_millis(10)).await;
        }
        panic!("not within a minute: {what}");
    }

    /// How long something takes, in virtual time.
    pub(crate) async fn time<T>(&self, future: impl Future<Output = T>) -> (T, Duration) {
        let before = self.rt.now();
        let output = future.await;
        (output, self.rt.now().saturating_since(before))
    }

    /// Sends numbers that are kept, one after the other.
    pub(crate) async fn send_kept(&self, node: usize, uid: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.hub(node).send(uid, number.to_string()).ttl(HOUR).await.unwrap();
        }
    }
}

pub(crate) async fn text(peer: &mut MemoryPeer) -> String {
    match peer.recv().await {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Reads so many numbers.
pub(crate) async fn numbers(peer: &mut MemoryPeer, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(text(peer).await.parse().unwrap());
    }
    numbers
}

/// Reads to the end: why the server closed. Messages on the way are passed over.
pub(crate) async fn ended(peer: &mut MemoryPeer) -> CloseReason {
    loop {
        match peer.recv().await {
            Read::Close(reason) => return reason,
            Read::Message(_) => {}
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

/// Runs a test under several schedules.
pub(crate) fn each_seed(test: impl AsyncFn(&Sim) + Copy) {
    seeds(0..30, test);
}

pub(crate) fn seeds(seeds: std::ops::Range<u64>, test: impl AsyncFn(&Sim) + Copy) {
    for seed in seeds {
        let sim = Sim::new(seed);
        let run = std::panic::AssertUnwindSafe(|| sim.run(test(&sim)));
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(stopped)) => panic!("seed {seed}: {stopped:?}"),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
