//! What the last session of a user leaves unconfirmed is reported once, on real servers too: one hub over each durable
//! queue, and two that are a cluster.
#![cfg(all(feature = "nats", feature = "redb", feature = "redis"))]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use brokers::{NatsServer, RedisServer};
use tok_cluster::{Cluster, NatsBroker, RedisBroker};
use tok_core::{
    Actor, Device, Hub, HubBuilder, Message, Queue, Session, async_trait, rt,
    testkit::{MemoryPeer, Read, memory_pair},
};
use tok_queue::{NatsQueue, RedbQueue, RedisQueue};
use tokio::sync::Notify;

const HOUR: Duration = Duration::from_secs(3600);
/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// What hubs report, as `HUB WHY TEXT`.
#[derive(Clone, Default)]
struct Reports(Arc<(Mutex<Vec<String>>, Notify)>);

impl Reports {
    fn of(&self, name: &'static str, builder: HubBuilder) -> HubBuilder {
        let reports = self.clone();
        builder.undelivered(move |_, message, why| {
            let (lines, changed) = &*reports.0;
            lines.lock().unwrap().push(format!("{name} {why:?} {}", message.as_text().unwrap()));
            changed.notify_one();
        })
    }

    /// Waits until there are as many reports as expected, and compares them.
    async fn are(&self, expected: &[&str]) {
        let (lines, changed) = &*self.0;
        let enough = async {
            while lines.lock().unwrap().len() < expected.len() {
                changed.notified().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, enough).await;
        assert_eq!(*lines.lock().unwrap(), expected, "{in_time:?}");
    }
}

/// A session of alice's that has taken effect, and whose client confirms nothing.
async fn login(hub: &Hub) -> MemoryPeer {
    let (transport, mut peer) = memory_pair(64 * 1024, true);
    peer.answers(false);
    tokio::spawn(hub.serve(Device::new("alice"), transport));
    peer.send("ready?");
    expect(&mut peer, "ready?").await;
    peer
}

/// Reads on until this comes.
async fn expect(peer: &mut MemoryPeer, text: &str) {
    let found = async {
        loop {
            match peer.recv().await {
                Read::Message(message) if message.as_text() == Some(text) => return,
                Read::Message(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {text:?}"));
}

async fn keep(hub: &Hub, text: &str) {
    let send = hub.send("alice", text).ttl(HOUR);
    tokio::time::timeout(PATIENCE, send.into_future()).await.expect("an answer").unwrap();
}

async fn alone(queue: impl Queue) {
    let reports = Reports::default();
    let hub = reports.of("hub", Hub::builder(Echo).runtime(rt::Tokio).queue(queue)).build().unwrap();
    let mut alice = login(&hub).await;
    keep(&hub, "one").await;
    expect(&mut alice, "one").await;
    drop(alice);
    reports.are(&["hub Left one"]).await;
    keep(&hub, "two").await;
    reports.are(&["hub Left one", "hub Stored two"]).await;
    // What was left comes before what is left now: it would be reported first.
    let mut alice = login(&hub).await;
    expect(&mut alice, "two").await;
    keep(&hub, "three").await;
    drop(alice);
    reports.are(&["hub Left one", "hub Stored two", "hub Left two", "hub Left three"]).await;
}

#[tokio::test]
async fn what_a_session_left_is_reported_once_over_redb() {
    let folder = std::env::temp_dir().join(format!("tok-reports-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    alone(RedbQueue::builder().open(folder.join("queue.redb")).unwrap()).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_a_session_left_is_reported_once_over_redis() {
    let server = RedisServer::start().unwrap();
    alone(RedisQueue::connect(server.url()).await.unwrap()).await;
}

#[tokio::test]
async fn what_a_session_left_is_reported_once_over_nats() {
    let server = NatsServer::start().unwrap();
    alone(NatsQueue::connect(server.url()).await.unwrap()).await;
}

/// Two hubs that see each other, and their clusters.
async fn together(nodes: [(Cluster, Arc<dyn Queue>); 2]) {
    let reports = Reports::default();
    let (mut hubs, mut clusters) = (Vec::new(), Vec::new());
    for ((cluster, queue), name) in nodes.into_iter().zip(["first", "second"]) {
        let builder = Hub::builder(Echo).runtime(rt::Tokio).queue(queue).relay(cluster.clone());
        hubs.push(reports.of(name, builder).build().unwrap());
        cluster.joined(PATIENCE).await.unwrap();
        clusters.push(cluster);
    }
    let [first, second] = [&hubs[0], &hubs[1]];
    let mut old = login(first).await;
    keep(second, "one").await;
    expect(&mut old, "one").await;
    // A takeover by the other node leaves nothing.
    let mut alice = login(second).await;
    expect(&mut alice, "one").await;
    drop(alice);
    reports.are(&["second Left one"]).await;
    keep(first, "two").await;
    reports.are(&["second Left one", "first Stored two"]).await;
    // What was left comes before what is left now: it would be reported first.
    let mut alice = login(second).await;
    expect(&mut alice, "two").await;
    keep(first, "three").await;
    expect(&mut alice, "three").await;
    drop(alice);
    let expected = ["second Left one", "first Stored two", "second Left two", "second Left three"];
    reports.are(&expected).await;
    drop(old);
    for cluster in clusters {
        cluster.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_on_redis_reports_once_what_the_last_session_left() {
    let server = RedisServer::start().unwrap();
    let node = async |name: &str| {
        let broker = RedisBroker::builder(server.url()).connect().await.unwrap();
        let cluster = Cluster::builder(broker.registry(), broker.bus()).node(name).runtime(rt::Tokio);
        let queue: Arc<dyn Queue> = Arc::new(RedisQueue::connect(server.url()).await.unwrap());
        (cluster.build().unwrap(), queue)
    };
    together([node("first").await, node("second").await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_on_nats_reports_once_what_the_last_session_left() {
    let server = NatsServer::start().unwrap();
    let node = async |name: &str| {
        let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
        let cluster = Cluster::builder(broker.registry(), broker.bus()).node(name).runtime(rt::Tokio);
        let queue: Arc<dyn Queue> = Arc::new(NatsQueue::connect(server.url()).await.unwrap());
        (cluster.build().unwrap(), queue)
    };
    together([node("first").await, node("second").await]).await;
}
