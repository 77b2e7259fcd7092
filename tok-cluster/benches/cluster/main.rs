//! `cargo bench -p tok-cluster --features nats,redis`: what a cluster over one server does, in about two minutes for each
//! kind. Both nodes and their users are in this process, the server is one of its own; both run on the same cores.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a real clock is what it is about")]
#![allow(dead_code, unused_imports, reason = "without features there is nothing to measure")]

mod measure;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use measure::rate;
use tok_cluster::{Answer, Bus, BusState, Cluster, Cursor, Inbound, NodeId, Registry};
use tok_core::{
    Actor, Device, Epoch, Hub, Message, Session, Uid, async_trait,
    relay::Claim,
    rt::Tokio,
    testkit::{MemoryPeer, Read, memory_pair},
};

const BYTES: usize = 128;
const USERS: u64 = 100_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        #[cfg(feature = "nats")]
        measure("NATS", nats::start, async |broker| nats::bare(broker).await).await;
        #[cfg(feature = "redis")]
        measure("Redis", redis::start, async |broker| redis::bare(broker).await).await;
    });
}

/// A server, and how a node connects to it.
struct Broker {
    /// It ends with this.
    server: Box<dyn Any>,
    url: String,
    pid: String,
    connect: fn(String) -> BoxFuture<'static, Node>,
}

type Node = (Arc<dyn Registry>, Arc<dyn Bus>);

impl Broker {
    async fn node(&self) -> Node {
        (self.connect)(self.url.clone()).await
    }
}

async fn measure(name: &str, start: fn() -> Broker, bare: impl AsyncFn(&Broker)) {
    println!("{name}\n");
    let on = start();
    println!("a request of {BYTES} bytes and its answer");
    bare(&on).await;
    frames(&on).await;
    deliveries(&start()).await;
    registry(&start()).await;
}

struct Echo;

impl Inbound for Echo {
    fn request(&self, frame: Bytes, answer: Answer) {
        answer.send(frame.slice(..8));
    }

    fn notify(&self, _: Bytes) {}

    fn state(&self, _: BusState) {}
}

/// Requests that are answered at once.
async fn frames(on: &Broker) {
    let to = NodeId::new("b", 1).expect("a name");
    let (_, listening) = on.node().await;
    listening.open(&to, Arc::new(Echo)).await.expect("a subscription");
    let (_, bus) = on.node().await;
    for tasks in [1, 64, 256] {
        let (bus, to) = (Arc::clone(&bus), to.clone());
        rate(&format!("bus, {tasks:11} at once"), tasks, on, move |_| {
            let (bus, to) = (Arc::clone(&bus), to.clone());
            async move {
                bus.request(&to, vec![7; BYTES].into(), Duration::from_secs(10)).await.expect("an answer");
            }
        })
        .await;
    }
    println!();
}

struct Silent;

#[async_trait]
impl Actor for Silent {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

async fn node(on: &Broker, name: &str) -> (Hub, Cluster) {
    let (registry, bus) = on.node().await;
    let cluster = Cluster::builder(registry, bus).node(name).runtime(Tokio);
    let cluster = cluster.max_in_flight(100_000).build().expect("a cluster");
    let hub = Hub::builder(Silent).runtime(Tokio).relay(cluster.clone()).build().expect("a hub");
    cluster.joined(Duration::from_secs(30)).await.expect("to join");
    (hub, cluster)
}

async fn read(mut peer: MemoryPeer) {
    while !matches!(peer.recv().await, Read::End) {}
}

/// `Hub::send` to users on the same node, and on another.
async fn deliveries(on: &Broker) {
    const SESSIONS: u64 = 256;
    println!("Hub::send of {BYTES} bytes to one of {SESSIONS} users");
    let (here, _cluster) = node(on, "a").await;
    let (there, _cluster) = node(on, "b").await;
    for user in 0..SESSIONS {
        let (transport, peer) = memory_pair(1 << 20, true);
        tokio::spawn(there.serve(Device::new(user), transport));
        tokio::spawn(read(peer));
    }
    while here.users_online().await.expect("a count") < SESSIONS as usize {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, hub) in [("the same node", &there), ("another node", &here)] {
        for tasks in [1, 64, 256] {
            let hub = hub.clone();
            rate(&format!("{name}, {tasks:3} at once"), tasks, on, move |number| {
                let hub = hub.clone();
                async move {
                    let receipt = hub.send(number % SESSIONS, vec![7; BYTES]).await.expect("to be sent");
                    assert_eq!(receipt.sessions(), 1);
                }
            })
            .await;
        }
    }
    println!();
}

/// Rows of users who log in, are looked up, are listed, and log out.
async fn registry(on: &Broker) {
    println!("the registry");
    let (registry, _) = on.node().await;
    let node = NodeId::new("a", 1).expect("a name");
    let user = |number: u64| Uid::from(format!("user-{number:06}"));
    for tasks in [1, 64, 256] {
        let (registry, node) = (Arc::clone(&registry), node.clone());
        rate(&format!("claim, {tasks:3} at once"), tasks, on, move |number| {
            let (registry, node) = (Arc::clone(&registry), node.clone());
            async move {
                let claim =
                    Claim { uid: user(number % USERS), class: Some(String::new()), above: Epoch::default() };
                registry.claim(&claim, &node).await.expect("a claim");
            }
        })
        .await;
    }
    let before = on.memory();
    let start = std::time::Instant::now();
    let claims = (0..USERS).map(|number| {
        let (registry, node) = (Arc::clone(&registry), node.clone());
        async move {
            let uid = Uid::from(format!("more-{number:06}"));
            let claim = Claim { uid, class: Some(String::new()), above: Epoch::default() };
            registry.claim(&claim, &node).await.expect("a claim")
        }
    });
    let claimed: Vec<_> = futures_util::stream::iter(claims).buffer_unordered(256).collect().await;
    println!("  {USERS} more users in {:.1?}", start.elapsed());
    on.grown(before);
    drop(claimed);
    for tasks in [1, 256] {
        let registry = Arc::clone(&registry);
        rate(&format!("lookup, {tasks:2} at once"), tasks, on, move |number| {
            let registry = Arc::clone(&registry);
            async move {
                registry.lookup(&Uid::from(format!("more-{:06}", number % USERS))).await.expect("a lookup");
            }
        })
        .await;
    }
    let (start, mut rows, mut pages, mut after) = (std::time::Instant::now(), Vec::new(), 0, Cursor::START);
    loop {
        let page = registry.page(after, 1000).await.expect("a page");
        rows.extend(page.rows);
        pages += 1;
        let Some(next) = page.next else { break };
        after = next;
    }
    let took = start.elapsed();
    println!(
        "  {} rows in {pages} pages, {:.0} rows a second",
        rows.len(),
        rows.len() as f64 / took.as_secs_f64()
    );
    let start = std::time::Instant::now();
    let count = rows.len();
    let released = rows.into_iter().map(|row| {
        let registry = Arc::clone(&registry);
        async move { assert!(registry.release(&row.uid, row.epoch).await.expect("a release")) }
    });
    futures_util::stream::iter(released).buffer_unordered(256).collect::<Vec<_>>().await;
    println!("  {:.0} releases a second, 256 at once", count as f64 / start.elapsed().as_secs_f64());
    println!();
}
