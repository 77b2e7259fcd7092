//! Two hubs in one process, joined by the reference relay, over one queue and in the simulator.

use std::{sync::Arc, time::Duration};

use tok_core::{
    Actor, CloseReason, ConfigError, Device, Hub, Message, Session, Sso, async_trait,
    queue::Caps,
    rt::Runtime,
    testkit::{
        MemoryPeer, MemoryRelay, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimRuntime},
    },
};

struct Nothing;

#[async_trait]
impl Actor for Nothing {
    async fn on_receive(&self, session: &Session, message: Message) {
        if let Some(room) = message.as_text().and_then(|text| text.strip_prefix("join ")) {
            session.join(room).unwrap();
        }
        let _ = session.send(message);
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const CAPS: Caps = Caps { durable: false, shared: true, max_messages: 1000, max_bytes: 1 << 20 };

struct Cluster {
    rt: SimRuntime,
    hubs: Vec<Hub>,
}

impl Cluster {
    fn new(sim: &Sim, sso: &Sso) -> Self {
        let rt = sim.runtime();
        let queue = Arc::new(ReferenceQueue::with_caps(CAPS));
        let hubs = MemoryRelay::cluster(2).into_iter().map(|relay| {
            let builder = Hub::builder(Nothing).runtime(rt.clone()).relay(relay).queue(Arc::clone(&queue));
            builder.sso(sso.clone()).build().unwrap()
        });
        let hubs = hubs.collect();
        Self { rt, hubs }
    }

    /// A session on one node that has taken effect.
    async fn login(&self, node: usize, device: Device) -> MemoryPeer {
        let (transport, mut peer) = memory_pair(64 * 1024, true);
        let session = self.hubs[node].serve(device, transport);
        self.rt.spawn(
            "session",
            Box::pin(async move {
                session.await;
            }),
        );
        peer.send("ready?");
        assert_eq!(text(&mut peer).await, "ready?");
        peer
    }
}

async fn text(peer: &mut MemoryPeer) -> String {
    match peer.recv().await {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Runs a test under several schedules.
fn each_seed(test: impl AsyncFn(&Sim) + Copy) {
    for seed in 0..50 {
        let sim = Sim::new(seed);
        if let Err(stopped) = sim.run(test(&sim)) {
            panic!("seed {seed}: {stopped:?}");
        }
    }
}

#[test]
fn a_message_reaches_a_user_on_another_node() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        let mut alice = cluster.login(0, Device::new("alice")).await;
        for n in 0..20 {
            let send = cluster.hubs[1].send("alice", n.to_string());
            // Kept and not kept, mixed.
            let receipt = if n % 3 == 0 { send.ttl(HOUR).await } else { send.await };
            receipt.unwrap();
        }
        let mut got: Vec<u32> = Vec::new();
        while got.len() < 20 {
            got.push(text(&mut alice).await.parse().unwrap());
        }
        let (kept, other): (Vec<u32>, Vec<u32>) = got.iter().partition(|n| *n % 3 == 0);
        assert!(kept.is_sorted() && other.is_sorted(), "{got:?}");
    });
}

#[test]
fn a_kept_message_waits_for_a_login_on_any_node() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        for n in 0..30 {
            cluster.hubs[n % 2].send("bob", n.to_string()).ttl(HOUR).await.unwrap();
        }
        let (transport, mut peer) = memory_pair(64 * 1024, true);
        let session = cluster.hubs[1].serve(Device::new("bob"), transport);
        cluster.rt.spawn(
            "session",
            Box::pin(async move {
                session.await;
            }),
        );
        for n in 30..60 {
            cluster.hubs[n % 2].send("bob", n.to_string()).ttl(HOUR).await.unwrap();
        }
        for n in 0..60 {
            assert_eq!(text(&mut peer).await, n.to_string());
        }
    });
}

#[test]
fn a_login_ends_the_session_on_another_node() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        let mut old = cluster.login(0, Device::new("carol")).await;
        let mut new = cluster.login(1, Device::new("carol")).await;
        assert_eq!(old.recv().await, Read::Close(CloseReason::Sso));
        cluster.hubs[0].send("carol", "hello").await.unwrap();
        assert_eq!(text(&mut new).await, "hello");
        assert_eq!(cluster.hubs[0].users_online().await.unwrap(), 1);
    });
}

#[test]
fn of_simultaneous_logins_on_all_nodes_one_stays() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        let mut peers: Vec<MemoryPeer> = Vec::new();
        for n in 0..40 {
            let (transport, peer) = memory_pair(64 * 1024, true);
            let session = cluster.hubs[n % 2].serve(Device::new("dave"), transport);
            cluster.rt.spawn(
                "session",
                Box::pin(async move {
                    session.await;
                }),
            );
            peers.push(peer);
        }
        cluster.rt.sleep(Duration::from_secs(1)).await;
        let sessions: usize = cluster.hubs.iter().map(|hub| hub.stats().sessions).sum();
        assert_eq!(sessions, 1);
        let ended = peers.iter_mut().filter_map(MemoryPeer::try_recv).count();
        assert_eq!(ended, 39);
    });
}

#[test]
fn devices_of_a_user_on_several_nodes_all_receive() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerDevice);
        let mut phone = cluster.login(0, Device::new("erin").with_id("phone")).await;
        let mut desk = cluster.login(1, Device::new("erin").with_id("desk")).await;
        let receipt = cluster.hubs[0].send("erin", "both").await.unwrap();
        assert_eq!(receipt.sessions(), 2);
        assert_eq!((text(&mut phone).await, text(&mut desk).await), ("both".into(), "both".into()));
    });
}

#[test]
fn rooms_broadcasts_kicks_and_presence_span_the_nodes() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        let mut frank = cluster.login(0, Device::new("frank")).await;
        let mut grace = cluster.login(1, Device::new("grace").with_id("phone")).await;
        cluster.hubs[0].broadcast("all").await.unwrap();
        assert_eq!((text(&mut frank).await, text(&mut grace).await), ("all".into(), "all".into()));

        for member in [&mut frank, &mut grace] {
            member.send("join tea");
            assert_eq!(text(member).await, "join tea");
        }
        cluster.hubs[1].publish("tea", "five").await.unwrap();
        cluster.hubs[1].publish("coffee", "six").await.unwrap();
        assert_eq!((text(&mut frank).await, text(&mut grace).await), ("five".into(), "five".into()));

        assert!(cluster.hubs[0].is_online("grace").await.unwrap());
        assert_eq!(cluster.hubs[0].online().await.unwrap().len(), 2);
        assert_eq!(cluster.hubs[0].kick("grace").device("desk").await.unwrap(), 0);
        assert_eq!(cluster.hubs[0].kick("grace").await.unwrap(), 1);
        assert_eq!(grace.recv().await, Read::Close(CloseReason::Kicked));
        assert!(!cluster.hubs[0].is_online("grace").await.unwrap());
    });
}

#[test]
fn a_queue_on_one_node_is_refused_in_a_cluster() {
    let sim = Sim::new(1);
    let relay = MemoryRelay::cluster(2).remove(0);
    let builder = Hub::builder(Nothing).runtime(sim.runtime()).relay(relay);
    let refused = builder.queue(ReferenceQueue::new()).build();
    assert!(matches!(refused, Err(ConfigError::Conflict(why)) if why.contains("share")));
}
