//! Hubs of several nodes over one server.

use std::{sync::Arc, time::Duration};

use brokers::{Proxy, RedisServer};
use tok_cluster::{Cluster, RedisBroker, Registry};
use tok_core::{
    Actor, CloseReason, Device, Epoch, Hub, Message, Session, async_trait,
    queue::Caps,
    rt::Tokio,
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};

use crate::support::{PATIENCE, SERVER, ask, prefix, soon, until, until_ok};

const HOUR: Duration = Duration::from_secs(3600);
/// Short, so that what happens each beat happens soon.
const BEAT: Duration = Duration::from_millis(200);
/// The request timeout where something falls silent, and where nothing does.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(10);

/// Answers what it gets, and joins a room.
struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        session.join("all").unwrap();
        let _ = session.send(message);
    }
}

struct Node {
    hub: Hub,
    cluster: Cluster,
}

struct Nodes {
    nodes: Vec<Node>,
    broker: RedisBroker,
    queue: Arc<ReferenceQueue>,
    prefix: String,
    request_timeout: Duration,
}

impl Nodes {
    /// No node yet, on this server.
    async fn on(server: &RedisServer, request_timeout: Duration) -> Self {
        let caps = Caps {
            durable: false,
            shared: true,
            max_messages: 10_000,
            max_bytes: 1 << 24,
            max_message: None,
        };
        let prefix = prefix();
        let broker = RedisBroker::builder(server.url()).prefix(&prefix).timeout(PATIENCE);
        Self {
            nodes: Vec::new(),
            broker: broker.connect().await.unwrap(),
            queue: Arc::new(ReferenceQueue::with_caps(caps)),
            prefix,
            request_timeout,
        }
    }

    /// Three nodes that see each other.
    async fn three(server: &RedisServer) -> Self {
        let mut nodes = Self::on(server, LATE).await;
        for _ in 0..3 {
            nodes.add(server.url()).await;
        }
        nodes.see_each_other().await;
        nodes
    }

    /// One more node, which reaches the server at this address.
    async fn add(&mut self, url: String) {
        let builder = RedisBroker::builder(url).prefix(&self.prefix).timeout(self.request_timeout);
        let broker = until_ok("connect", async || builder.clone().connect().await).await;
        let cluster = Cluster::builder(broker.registry(), broker.bus())
            .node(format!("node-{}", self.nodes.len()))
            .runtime(Tokio)
            .beat(BEAT)
            .lease(4 * self.request_timeout)
            .request_timeout(self.request_timeout)
            .build()
            .unwrap();
        let hub = Hub::builder(Echo).runtime(Tokio).queue(Arc::clone(&self.queue));
        let hub = hub.relay(cluster.clone()).build().unwrap();
        cluster.joined(PATIENCE).await.unwrap();
        self.nodes.push(Node { hub, cluster });
    }

    async fn see_each_other(&self) {
        let count = self.nodes.len();
        let all = async || self.nodes.iter().all(|node| node.cluster.nodes().len() == count);
        until("all nodes see each other", all).await;
    }

    async fn healthy(&self, healthy: bool) {
        let all = async || self.nodes.iter().all(|node| node.cluster.healthy() == healthy);
        until(if healthy { "all are healthy" } else { "none is healthy" }, all).await;
    }

    fn hub(&self, node: usize) -> &Hub {
        &self.nodes[node].hub
    }

    /// A session that has taken effect, once it can.
    async fn user(&self, node: usize, uid: &str) -> MemoryPeer {
        soon("a login", async {
            loop {
                let (transport, mut peer) = memory_pair(64 * 1024, true);
                let serving = self.hub(node).serve(Device::new(uid), transport);
                tokio::spawn(serving);
                peer.send("ready?");
                match peer.recv().await {
                    Read::Message(message) => {
                        assert_eq!(message.as_text(), Some("ready?"));
                        return peer;
                    }
                    _ => tokio::time::sleep(BEAT).await, // sleep: before the next try
                }
            }
        })
        .await
    }

    /// Sends what is not kept until one session takes it. It may arrive more than once, as tries that failed can.
    async fn reach(&self, node: usize, uid: &str, text: &str) {
        let reached = async || {
            let sent = self.hub(node).send(uid, text).await;
            sent.is_ok_and(|receipt| receipt.sessions() == 1)
        };
        until("the user is reached", reached).await;
    }

    async fn epoch(&self, uid: &str) -> Epoch {
        let rows = self.broker.registry().lookup(&uid.into()).await.unwrap();
        rows.iter().map(|row| row.epoch).max().unwrap()
    }

    async fn shut_down(self) {
        for Node { hub, cluster } in self.nodes {
            soon("a shutdown", hub.shutdown(PATIENCE)).await;
            soon("a goodbye", cluster.leave()).await;
        }
        let registry = self.broker.registry();
        assert_eq!(until_ok("users", async || registry.users().await).await, 0, "all rows are released");
    }
}

async fn text(peer: &mut MemoryPeer) -> String {
    match soon("a message", peer.recv()).await {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Reads up to this text.
async fn read_to(peer: &mut MemoryPeer, wanted: &str) {
    while text(peer).await != wanted {}
}

async fn numbers(peer: &mut MemoryPeer, count: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(text(peer).await.parse().unwrap());
    }
    numbers
}

/// Reads to the end: why the server closed.
async fn ended(peer: &mut MemoryPeer) -> CloseReason {
    loop {
        match soon("the end", peer.recv()).await {
            Read::Close(reason) => return reason,
            Read::Message(_) => {}
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_are_one() {
    let nodes = Nodes::three(&SERVER).await;
    let mut alice = nodes.user(0, "alice").await;
    let mut bob = nodes.user(1, "bob").await;
    for n in 0..20 {
        assert_eq!(nodes.hub(1).send("alice", n.to_string()).await.unwrap().sessions(), 1);
    }
    assert_eq!(numbers(&mut alice, 20).await, (0..20).collect::<Vec<_>>());
    for n in 20..40 {
        nodes.hub(2).send("alice", n.to_string()).ttl(HOUR).await.unwrap();
    }
    assert_eq!(numbers(&mut alice, 20).await, (20..40).collect::<Vec<_>>());
    nodes.hub(2).publish("all", "room").await.unwrap();
    assert_eq!((text(&mut alice).await, text(&mut bob).await), ("room".to_owned(), "room".to_owned()));
    nodes.hub(2).broadcast("everybody").await.unwrap();
    assert_eq!(
        (text(&mut alice).await, text(&mut bob).await),
        ("everybody".to_owned(), "everybody".to_owned())
    );

    for node in &nodes.nodes {
        assert!(node.hub.is_online("alice").await.unwrap() && !node.hub.is_online("carol").await.unwrap());
        assert_eq!(node.hub.users_online().await.unwrap(), 2);
        let mut online = node.hub.online().await.unwrap();
        online.sort_unstable();
        assert_eq!(online, ["alice".into(), "bob".into()]);
    }
    // A login elsewhere ends the session here, and what is sent follows.
    let mut again = nodes.user(2, "alice").await;
    assert_eq!(ended(&mut alice).await, CloseReason::Sso);
    nodes.hub(1).send("alice", "there").await.unwrap();
    assert_eq!(text(&mut again).await, "there");
    assert!(nodes.hub(0).send("carol", "lost").await.unwrap().is_offline());
    nodes.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_simultaneous_logins_one_stays() {
    let nodes = Nodes::three(&SERVER).await;
    for round in 0..20 {
        let uid = format!("user {round}");
        let serve = |node: usize| {
            let (transport, peer) = memory_pair(64 * 1024, true);
            let serving = nodes.hub(node).serve(Device::new(uid.as_str()), transport);
            tokio::spawn(serving);
            peer
        };
        let peers = [serve(0), serve(1), serve(2), serve(0), serve(1), serve(2)];
        let registry = nodes.broker.registry();
        let uid = uid.as_str().into();
        until("one row is left", async || registry.lookup(&uid).await.unwrap().len() == 1).await;
        let here = async || {
            let mut sessions = 0;
            for node in 0..3 {
                let sent = nodes.hub(node).send(&uid, "one?").await;
                sessions = sent.map_or(0, |receipt| receipt.sessions());
                if sessions != 1 {
                    break;
                }
            }
            sessions == 1
        };
        until("one session is left, on all nodes' word", here).await;
        drop(peers);
    }
    nodes.shut_down().await;
}

/// The server forgets everything while it runs: nodes find out, and put back what they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_flushall_forgot_comes_back() {
    let server = RedisServer::start().unwrap();
    let nodes = Nodes::three(&server).await;
    let mut peers = Vec::new();
    for user in 0..30 {
        peers.push(nodes.user(user % 3, &format!("user {user}")).await);
    }
    let before = nodes.epoch("user 0").await;
    let () = ask(&server, "FLUSHALL").await;
    let () = ask(&server, "SCRIPT FLUSH").await;
    let registry = nodes.broker.registry();
    until("the rows are back", async || registry.users().await.unwrap() == 30).await;
    nodes.healthy(true).await;
    assert_eq!(nodes.epoch("user 0").await, before);
    for (user, peer) in peers.iter_mut().enumerate() {
        nodes.reach((user + 1) % 3, &format!("user {user}"), "still here?").await;
        read_to(peer, "still here?").await;
    }
    let mut again = nodes.user(1, "user 0").await;
    assert!(nodes.epoch("user 0").await > before);
    assert_eq!(ended(&mut peers[0]).await, CloseReason::Sso);
    nodes.reach(2, "user 0", "here").await;
    read_to(&mut again, "here").await;
    nodes.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_comes_back_with_and_without_its_data() {
    let mut server = RedisServer::synced().unwrap();
    let nodes = Nodes::three(&server).await;
    let mut alice = nodes.user(0, "alice").await;
    let mut bob = nodes.user(1, "bob").await;
    for round in 0..2 {
        nodes.reach(1, "alice", "before").await;
        read_to(&mut alice, "before").await;
        let before = nodes.epoch("alice").await;
        server.kill().unwrap();
        nodes.healthy(false).await;
        // Users of one node still reach each other; others get an error, and nothing is said to have arrived.
        assert_eq!(nodes.hub(0).send("alice", "local").await.unwrap().sessions(), 1);
        read_to(&mut alice, "local").await;
        assert!(nodes.hub(2).send("alice", "remote").await.is_err());
        // What is kept waits.
        nodes.hub(2).send("bob", format!("kept {round}")).ttl(HOUR).await.unwrap();
        if round == 1 {
            tokio::task::block_in_place(|| server.wipe()).unwrap();
        }
        tokio::task::block_in_place(|| server.restart()).unwrap();
        nodes.healthy(true).await;
        nodes.reach(2, "alice", "after").await;
        read_to(&mut alice, "after").await;
        read_to(&mut bob, &format!("kept {round}")).await;
        assert_eq!(nodes.epoch("alice").await, before, "the session is the same");
    }
    let before = nodes.epoch("alice").await;
    let _again = nodes.user(2, "alice").await;
    assert!(nodes.epoch("alice").await > before);
    assert_eq!(ended(&mut alice).await, CloseReason::Sso);
    nodes.shut_down().await;
}

/// Connections through which nothing comes in any more, and no error either: the node's probe of itself finds it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_went_deaf_hears_again() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.addr()).unwrap();
    let mut nodes = Nodes::on(&server, SOON).await;
    nodes.add(format!("redis://{}", proxy.addr())).await;
    nodes.add(server.url()).await;
    nodes.see_each_other().await;
    let mut alice = nodes.user(0, "alice").await;
    nodes.reach(1, "alice", "before").await;
    read_to(&mut alice, "before").await;
    proxy.lose();
    nodes.reach(1, "alice", "after").await;
    read_to(&mut alice, "after").await;
    nodes.shut_down().await;
}

/// The primary becomes a replica, and its replica the primary, to which the nodes' address leads from then on. Nobody ends
/// their connections to the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_primary() {
    let [old, new] = [(); 2].map(|()| RedisServer::start().unwrap());
    let of = |server: &RedisServer| format!("REPLICAOF {} {}", server.addr().ip(), server.addr().port());
    let () = ask(&new, &of(&old)).await;
    let proxy = Proxy::start(old.addr()).unwrap();
    let mut nodes = Nodes::on(&old, SOON).await;
    for _ in 0..3 {
        nodes.add(format!("redis://{}", proxy.addr())).await;
    }
    nodes.see_each_other().await;
    let mut alice = nodes.user(0, "alice").await;
    nodes.reach(1, "alice", "before").await;
    read_to(&mut alice, "before").await;
    let before = nodes.epoch("alice").await;

    proxy.redirect(new.addr());
    let () = ask(&new, "REPLICAOF NO ONE").await;
    let () = ask(&old, &of(&new)).await;
    for node in [1, 2] {
        nodes.reach(node, "alice", "after").await;
        read_to(&mut alice, "after").await;
    }
    let registry = RedisBroker::builder(new.url()).prefix(&nodes.prefix).timeout(PATIENCE);
    nodes.broker = registry.connect().await.unwrap();
    assert_eq!(nodes.epoch("alice").await, before);
    let _again = nodes.user(2, "alice").await;
    assert!(nodes.epoch("alice").await > before);
    assert_eq!(ended(&mut alice).await, CloseReason::Sso);
    nodes.healthy(true).await;
    nodes.shut_down().await;
}

/// A node whose process ended in a moment: its users are gone when its lease is over, and its rows are removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_left_is_removed() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.addr()).unwrap();
    let mut nodes = Nodes::on(&server, SOON).await;
    nodes.add(server.url()).await;
    nodes.add(format!("redis://{}", proxy.addr())).await;
    nodes.see_each_other().await;
    let _alice = nodes.user(0, "alice").await;
    let _bob = nodes.user(1, "bob").await;
    assert_eq!(nodes.hub(0).users_online().await.unwrap(), 2);
    proxy.cut();
    let dead = nodes.nodes.pop().unwrap();
    let registry = nodes.broker.registry();
    until("its rows are removed", async || registry.users().await.unwrap() == 1).await;
    until("it is forgotten", async || registry.nodes().await.unwrap().len() == 1).await;
    assert!(!nodes.hub(0).is_online("bob").await.unwrap());
    drop(dead);
    nodes.shut_down().await;
}
