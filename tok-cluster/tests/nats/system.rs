//! Hubs of three nodes over one real server.

use std::{sync::Arc, time::Duration};

use brokers::NatsServer;
use tok_cluster::{Cluster, NatsBroker, NatsRegistry, Registry};
use tok_core::{
    Actor, CloseReason, Device, Hub, Message, Session, Uid, async_trait,
    queue::Caps,
    rt::Tokio,
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};

use super::{
    SERVER,
    faults::Forbidding,
    support::{prefix, soon, until},
};

const HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(3);
const BEAT: Duration = Duration::from_millis(300);

/// Answers what it gets, and joins rooms on request.
struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        if let Some(room) = message.as_text().and_then(|text| text.strip_prefix("join ")) {
            session.join(room).unwrap();
        }
        let _ = session.send(message);
    }
}

struct Node {
    hub: Hub,
    cluster: Cluster,
    registry: NatsRegistry,
}

struct Nodes {
    url: String,
    prefix: String,
    /// In this process.
    queue: Arc<ReferenceQueue>,
    nodes: Vec<Node>,
}

impl Nodes {
    /// So many nodes that see each other.
    async fn join(url: &str, nodes: usize) -> Self {
        Self::join_as(url, nodes, &prefix()).await
    }

    async fn join_as(url: &str, nodes: usize, prefix: &str) -> Self {
        let caps = Caps {
            durable: false,
            shared: true,
            max_messages: 10_000,
            max_bytes: 1 << 24,
            max_message: None,
        };
        let queue = Arc::new(ReferenceQueue::with_caps(caps));
        let mut this = Self { url: url.to_owned(), prefix: prefix.to_owned(), queue, nodes: Vec::new() };
        for _ in 0..nodes {
            let node = this.node().await;
            this.nodes.push(node);
        }
        this.see(nodes).await;
        this
    }

    fn node(&self) -> impl Future<Output = Node> + Send + use<> {
        let (url, prefix, queue) = (self.url.clone(), self.prefix.clone(), Arc::clone(&self.queue));
        async move {
            let broker = NatsBroker::builder(url).prefix(prefix).connect().await.unwrap();
            let cluster = Cluster::builder(broker.registry(), broker.bus()).node("node");
            let cluster = cluster.lease(LEASE).beat(BEAT).request_timeout(Duration::from_secs(1));
            let cluster = cluster.runtime(Tokio).build().unwrap();
            let hub = Hub::builder(Echo).runtime(Tokio).queue(queue).relay(cluster.clone()).build().unwrap();
            cluster.joined(super::support::PATIENCE).await.unwrap();
            Node { hub, cluster, registry: broker.registry() }
        }
    }

    /// Waits until each node knows of so many.
    async fn see(&self, nodes: usize) {
        for node in &self.nodes {
            until("all see each other", async || node.cluster.nodes().len() == nodes).await;
        }
    }

    fn hub(&self, node: usize) -> &Hub {
        &self.nodes[node].hub
    }

    /// A session that has taken effect.
    async fn user(&self, node: usize, uid: &str) -> MemoryPeer {
        let (transport, mut peer) = memory_pair(64 * 1024, true);
        tokio::spawn(self.hub(node).serve(Device::new(uid), transport));
        peer.send("ready?");
        assert_eq!(text(&mut peer).await, "ready?");
        peer
    }

    async fn rows(&self, uid: &str) -> usize {
        self.nodes[0].registry.lookup(&Uid::from(uid)).await.map_or(0, |rows| rows.len())
    }

    async fn all_are(&self, healthy: bool) {
        for node in &self.nodes {
            until("all notice", async || node.cluster.healthy() == healthy).await;
        }
    }
}

async fn text(peer: &mut MemoryPeer) -> String {
    match soon("a message", peer.recv()).await {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

async fn numbers(peer: &mut MemoryPeer, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(text(peer).await.parse().unwrap());
    }
    numbers
}

async fn ended(peer: &mut MemoryPeer) -> CloseReason {
    loop {
        match soon("the end", peer.recv()).await {
            Read::Close(reason) => return reason,
            Read::Message(_) => {}
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn three_hubs_are_one() {
    let nodes = Nodes::join(&SERVER.url(), 3).await;
    let mut alice = nodes.user(0, "alice").await;
    for number in 0..100_u32 {
        let send = nodes.hub(1).send("alice", number.to_string());
        let receipt = if number % 2 == 0 { send.await } else { send.ttl(HOUR).await };
        receipt.unwrap();
    }
    assert_eq!(numbers(&mut alice, 100).await, (0..100).collect::<Vec<_>>());

    // A login elsewhere.
    let mut alice_again = nodes.user(2, "alice").await;
    assert_eq!(ended(&mut alice).await, CloseReason::Sso);
    assert_eq!(nodes.hub(1).send("alice", "new").await.unwrap().sessions(), 1);
    // What the session before had not confirmed comes again.
    while text(&mut alice_again).await != "new" {}
    assert!(nodes.hub(0).is_online("alice").await.unwrap());

    // What was kept for who was nowhere.
    for number in 0..20_u32 {
        nodes.hub(number as usize % 3).send("bob", number.to_string()).ttl(HOUR).await.unwrap();
    }
    let (transport, mut bob) = memory_pair(64 * 1024, true);
    tokio::spawn(nodes.hub(1).serve(Device::new("bob"), transport));
    assert_eq!(numbers(&mut bob, 20).await, (0..20).collect::<Vec<_>>());

    // Rooms, broadcasts, counts.
    for peer in [&mut alice_again, &mut bob] {
        peer.send("join lobby");
        assert_eq!(text(peer).await, "join lobby");
    }
    nodes.hub(0).publish("lobby", "to the lobby").await.unwrap();
    nodes.hub(0).broadcast("to all").await.unwrap();
    for peer in [&mut alice_again, &mut bob] {
        let mut got = [text(peer).await, text(peer).await];
        got.sort();
        assert_eq!(got, ["to all", "to the lobby"]);
    }
    until("two are counted", async || nodes.hub(0).users_online().await.unwrap() == 2).await;
    let mut online = nodes.hub(0).online().await.unwrap();
    online.sort();
    assert_eq!(online, ["alice".into(), "bob".into()]);

    // A kick from afar.
    nodes.hub(0).kick("alice").await.unwrap();
    assert_eq!(ended(&mut alice_again).await, CloseReason::Kicked);
    until("one is counted", async || nodes.hub(0).users_online().await.unwrap() == 1).await;
}

#[tokio::test]
async fn of_logins_on_all_nodes_at_once_one_stays() {
    let nodes = Nodes::join(&SERVER.url(), 3).await;
    for round in 0..10 {
        let uid = format!("carol-{round}");
        let mut peers = Vec::new();
        for node in 0..9 {
            let (transport, peer) = memory_pair(64 * 1024, true);
            tokio::spawn(nodes.hub(node % 3).serve(Device::new(uid.as_str()), transport));
            peer.send("ready?");
            peers.push(peer);
        }
        until("one row stays", async || nodes.rows(&uid).await == 1).await;
        let sessions = async || nodes.hub(round % 3).send(uid.as_str(), "who?").await.unwrap().sessions();
        until("one session stays", async || sessions().await == 1).await;
    }
}

/// The server forgets everything: nodes put their rows back, with their epochs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_data_is_filled_again_and_users_stay_where_they_are() {
    let mut server = NatsServer::start().unwrap();
    let nodes = Nodes::join(&server.url(), 3).await;
    let mut dave = nodes.user(0, "dave").await;
    tokio::task::block_in_place(|| {
        server.wipe().unwrap();
        server.restart().unwrap();
    });
    nodes.all_are(true).await;
    until("dave's row is back", async || nodes.rows("dave").await == 1).await;
    until("dave is reached", async || {
        nodes.hub(1).send("dave", "still there?").await.is_ok_and(|it| it.sessions() == 1)
    })
    .await;
    assert_eq!(text(&mut dave).await, "still there?");
    let mut again = nodes.user(2, "dave").await;
    assert_eq!(ended(&mut dave).await, CloseReason::Sso);
    nodes.hub(0).send("dave", "here").await.unwrap();
    assert_eq!(text(&mut again).await, "here");
}

/// The connection is never lost: the next beat finds out.
#[tokio::test]
async fn a_stream_that_is_deleted_is_filled_again() {
    let nodes = Nodes::join(&SERVER.url(), 3).await;
    let mut ivy = nodes.user(0, "ivy").await;
    let mut jon = nodes.user(1, "jon").await;
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    for round in 0..3_u32 {
        let api = format!("$JS.API.STREAM.DELETE.{}_registry", nodes.prefix);
        client.request(api, "".into()).await.unwrap();
        until("the rows are back", async || nodes.rows("ivy").await + nodes.rows("jon").await == 2).await;
        until("both are counted", async || nodes.hub(2).users_online().await.is_ok_and(|users| users == 2))
            .await;
        for (uid, peer) in [("ivy", &mut ivy), ("jon", &mut jon)] {
            assert_eq!(nodes.hub(2).send(uid, round.to_string()).await.unwrap().sessions(), 1);
            assert_eq!(text(peer).await, round.to_string());
        }
    }
}

/// The server is killed under load: what was sent with a TTL is received, in order, and nothing is `Ok` and lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_costs_no_kept_message() {
    let mut server = NatsServer::start().unwrap();
    let nodes = Nodes::join(&server.url(), 3).await;
    let mut erin = nodes.user(0, "erin").await;
    for number in 0..10_u32 {
        nodes.hub(1).send("erin", number.to_string()).ttl(HOUR).await.unwrap();
    }
    server.kill().unwrap();
    nodes.all_are(false).await;
    for number in 10..20_u32 {
        nodes.hub(2).send("erin", number.to_string()).ttl(HOUR).await.unwrap();
        assert!(
            nodes.hub(2).send("erin", "not kept").await.is_err(),
            "it cannot be known whether it arrived"
        );
    }
    // Who is on the same node is reached all the same.
    nodes.hub(0).send("erin", "20").await.unwrap();
    tokio::task::block_in_place(|| server.restart()).unwrap();
    nodes.all_are(true).await;
    for number in 21..30_u32 {
        nodes.hub(1).send("erin", number.to_string()).ttl(HOUR).await.unwrap();
    }
    let mut got = numbers(&mut erin, 30).await;
    let local = got.iter().position(|number| *number == 20).unwrap();
    got.remove(local);
    assert_eq!(got, (0..20).chain(21..30).collect::<Vec<_>>());
}

/// A node's subscription dies, and nobody says so: the node finds out by itself, and opens it anew.
#[tokio::test]
async fn a_subscription_that_died_silently_is_found_and_made_anew() {
    let forbidding = Forbidding::start();
    let nodes = Nodes::join_as(&forbidding.url(), 2, "tok").await;
    let mut fay = nodes.user(0, "fay").await;
    forbidding.forget_subscriptions(async || nodes.nodes.iter().all(|node| !node.cluster.healthy())).await;
    nodes.all_are(true).await;
    until("fay is reached", async || {
        nodes.hub(1).send("fay", "hello").await.is_ok_and(|it| it.sessions() == 1)
    })
    .await;
    assert_eq!(text(&mut fay).await, "hello");
}

/// A node whose process has ended: its users are nowhere when its lease is over, and its rows are cleared away.
#[tokio::test]
async fn a_node_that_is_gone_is_cleared_away() {
    let nodes = Nodes::join(&SERVER.url(), 2).await;
    let mut hal = nodes.user(1, "hal").await;
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = process.spawn(nodes.node()).await.unwrap();
    nodes.see(3).await;
    let (transport, mut gil) = memory_pair(64 * 1024, true);
    process.spawn(node.hub.serve(Device::new("gil"), transport));
    gil.send("ready?");
    assert_eq!(text(&mut gil).await, "ready?");
    nodes.hub(0).send("gil", "hello").await.unwrap();
    assert_eq!(text(&mut gil).await, "hello");

    let gone = node.cluster.node().clone();
    process.shutdown_background();
    nodes.see(2).await;
    assert!(!nodes.hub(0).is_online("gil").await.unwrap());
    assert!(nodes.hub(0).send("gil", "hello?").await.unwrap().is_offline());
    until("its row is cleared away", async || nodes.rows("gil").await == 0).await;
    let listed = async || nodes.nodes[0].registry.nodes().await.unwrap();
    until("it is forgotten", async || listed().await.iter().all(|lease| lease.node != gone)).await;
    nodes.hub(0).send("hal", "hello").await.unwrap();
    assert_eq!(text(&mut hal).await, "hello");
}
