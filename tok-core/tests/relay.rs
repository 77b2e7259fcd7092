//! Two hubs in one process, joined by the reference relay, over one queue and in the simulator.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tok_core::{
    Actor, CloseReason, ConfigError, Device, Epoch, Hub, HubBuilder, Message, MessageId, MessageKind,
    Outcome, Queue, Session, Sso, Uid, Undelivered, async_trait,
    queue::{Admit, Caps, Entry},
    relay::{Audience, Claim, Delivery, Node, Relay, RelayError, Target},
    rt::Runtime,
    testkit::{
        MemoryPeer, MemoryRelay, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimQueue, SimRuntime},
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
const CAPS: Caps =
    Caps { durable: false, shared: true, max_messages: 1000, max_bytes: 1 << 20, max_message: None };

struct Cluster {
    rt: SimRuntime,
    hubs: Vec<Hub>,
}

impl Cluster {
    fn new(sim: &Sim, sso: &Sso) -> Self {
        Self::with(sim, sso, |builder| builder)
    }

    fn with(sim: &Sim, sso: &Sso, more: impl Fn(HubBuilder) -> HubBuilder) -> Self {
        let rt = sim.runtime();
        let queue = Arc::new(ReferenceQueue::with_caps(CAPS));
        let hubs = MemoryRelay::cluster(2).into_iter().map(|relay| {
            let builder = Hub::builder(Nothing).runtime(rt.clone()).relay(relay).queue(Arc::clone(&queue));
            more(builder.sso(sso.clone())).build().unwrap()
        });
        let hubs = hubs.collect();
        Self { rt, hubs }
    }

    /// A session on one node that has taken effect.
    async fn login(&self, node: usize, device: Device) -> MemoryPeer {
        self.login_with(node, device, 64 * 1024).await
    }

    async fn login_with(&self, node: usize, device: Device, buffer: usize) -> MemoryPeer {
        let (transport, mut peer) = memory_pair(buffer, true);
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
fn what_senders_on_two_nodes_mix_arrives_in_the_order_of_each() {
    each_seed(async |sim| {
        let cluster = Cluster::new(sim, &Sso::PerUser);
        // Room for little, so that she is behind and reads from the queue.
        let mut alice = cluster.login_with(0, Device::new("alice"), 100).await;
        for (sender, hub) in cluster.hubs.iter().cloned().enumerate() {
            let rt = cluster.rt.clone();
            let send = async move {
                for n in 0..60 {
                    let send = hub.send("alice", format!("{sender} {n}"));
                    let receipt = if rt.below(2) == 0 { send.ttl(HOUR).await } else { send.await };
                    assert_eq!(receipt.unwrap().sessions(), 1);
                    rt.sleep(Duration::from_millis(rt.below(3))).await;
                }
            };
            cluster.rt.spawn("sender", Box::pin(send));
        }
        let mut next = [0, 0];
        while next != [60, 60] {
            let got = text(&mut alice).await;
            let (sender, n) = got.split_once(' ').unwrap();
            let sender: usize = sender.parse().unwrap();
            assert_eq!(n.parse(), Ok(next[sender]), "of sender {sender}");
            next[sender] += 1;
            cluster.rt.sleep(Duration::from_millis(cluster.rt.below(4))).await;
        }
    });
}

#[test]
fn a_user_on_another_node_is_not_offline() {
    each_seed(async |sim| {
        let reports = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reports);
        let count = move |_: &Uid, _: &Message, _: Undelivered| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let cluster = Cluster::with(sim, &Sso::PerUser, |builder| builder.undelivered(count.clone()));
        let mut alice = cluster.login(0, Device::new("alice")).await;
        let receipt = cluster.hubs[1].send("alice", "kept").ttl(HOUR).await.unwrap();
        assert!(receipt.is_stored() && !receipt.is_offline() && receipt.sessions() == 1, "{receipt:?}");
        assert_eq!(text(&mut alice).await, "kept");
        assert_eq!(reports.load(Ordering::Relaxed), 0);

        let receipt = cluster.hubs[1].send("nobody", "kept").ttl(HOUR).await.unwrap();
        assert!(receipt.is_stored() && receipt.is_offline(), "{receipt:?}");
        assert_eq!(reports.load(Ordering::Relaxed), 1);
        // Whoever confirms it may be on another node, where nobody tells.
        assert_eq!(receipt.outcome().await, Outcome::Unknown);
    });
}

/// A relay that tells nobody anything, and gives the test its node.
#[derive(Clone, Default)]
struct Deaf(Arc<OnceLock<Node>>);

#[async_trait]
impl Relay for Deaf {
    fn start(&self, node: Node) -> Result<(), RelayError> {
        let _ = self.0.set(node);
        Ok(())
    }
    async fn claim(&self, _: &Claim) -> Result<Epoch, RelayError> {
        Ok(Epoch::new(7))
    }
    async fn release(&self, _: &Uid, _: Epoch) -> Result<(), RelayError> {
        Ok(())
    }
    async fn deliver(&self, _: &Uid, _: &Delivery) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn publish(&self, _: &Audience, _: &Message) -> Result<(), RelayError> {
        Ok(())
    }
    async fn kick(&self, _: &Uid, _: &Target, _: CloseReason) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn is_online(&self, _: &Uid) -> Result<bool, RelayError> {
        Ok(false)
    }
    async fn users_online(&self) -> Result<usize, RelayError> {
        Ok(0)
    }
    async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        Ok(Vec::new())
    }
}

#[test]
fn a_relay_that_missed_something_can_make_up_for_it() {
    each_seed(async |sim| {
        let (rt, relay) = (sim.runtime(), Deaf::default());
        let queue = Arc::new(ReferenceQueue::with_caps(CAPS));
        let builder =
            Hub::builder(Nothing).runtime(rt.clone()).relay(relay.clone()).queue(Arc::clone(&queue));
        let cluster = Cluster { rt, hubs: vec![builder.build().unwrap()] };
        let node = relay.0.get().unwrap();
        let alice = Uid::from("alice");
        let mut peer = cluster.login(0, Device::new("alice")).await;
        // Her login looks into the queue by itself.
        cluster.rt.sleep(Duration::from_secs(1)).await;
        assert_eq!(
            node.claims(),
            [(
                Claim { uid: alice.clone(), class: Some(String::new()), above: Epoch::default() },
                Epoch::new(7)
            )],
            "the class of one session a user is empty"
        );

        // Another node stored it, and what that node said of it was lost.
        let entry = Entry {
            id: MessageId::from_u128(1),
            kind: MessageKind::Text,
            data: "unannounced".into(),
            ttl: None,
        };
        queue.enqueue(&alice, &[entry], Admit::WithinLimits).await.unwrap();
        cluster.rt.sleep(Duration::from_secs(5)).await;
        assert_eq!(peer.try_recv(), None);
        node.recheck(&alice);
        assert_eq!(text(&mut peer).await, "unannounced");

        assert!(!node.end(&alice, Epoch::new(6), CloseReason::Unavailable));
        assert!(node.end(&alice, Epoch::new(7), CloseReason::Unavailable));
        assert_eq!(peer.recv().await, Read::Close(CloseReason::Unavailable));
        assert_eq!(node.claims(), []);
    });
}

/// They waited until the queue was back, because somebody else might have stored something.
#[test]
fn users_of_one_node_reach_each_other_while_the_queue_that_is_looked_into_is_away() {
    each_seed(async |sim| {
        let (rt, relay) = (sim.runtime(), Deaf::default());
        let queue = SimQueue::new(rt.clone(), CAPS, Duration::from_millis(5), 0);
        let builder = Hub::builder(Nothing).runtime(rt.clone()).relay(relay.clone()).queue(queue.clone());
        let cluster = Cluster { rt, hubs: vec![builder.build().unwrap()] };
        let hub = &cluster.hubs[0];
        let mut peer = cluster.login(0, Device::new("alice")).await;
        hub.send("alice", "kept").ttl(HOUR).await.unwrap();
        assert_eq!(text(&mut peer).await, "kept");

        queue.set_down(true);
        relay.0.get().unwrap().recheck(&Uid::from("alice"));
        for n in 0..3 {
            assert_eq!(hub.send("alice", n.to_string()).await.unwrap().sessions(), 1);
            assert_eq!(text(&mut peer).await, n.to_string());
            // What could not be kept has no place that others wait behind.
            hub.send("alice", "refused").ttl(HOUR).await.unwrap_err();
        }
        queue.set_down(false);
        hub.send("alice", "kept again").ttl(HOUR).await.unwrap();
        hub.send("alice", "and then").await.unwrap();
        assert_eq!(text(&mut peer).await, "kept again");
        assert_eq!(text(&mut peer).await, "and then");
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

/// Reports of all nodes, as `NODE WHY TEXT`.
fn reporting(sim: &Sim, sso: &Sso) -> (Cluster, Reports) {
    let reports = Reports::default();
    let nodes = AtomicUsize::new(0);
    let noted = reports.clone();
    let cluster = Cluster::with(sim, sso, move |builder| {
        let (node, reports) = (nodes.fetch_add(1, Ordering::SeqCst), noted.clone());
        builder.undelivered(move |_, message, why| {
            reports.note(format!("{node} {why:?} {}", message.as_text().unwrap()));
        })
    });
    (cluster, reports)
}

#[derive(Clone, Default)]
#[allow(clippy::disallowed_types)] // tok-core's own is not public.
struct Reports(Arc<std::sync::Mutex<Vec<String>>>);

impl Reports {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_node_of_the_last_session_reports_what_it_left() {
    each_seed(async |sim| {
        let (cluster, reports) = reporting(sim, &Sso::PerUser);
        let mut alice = cluster.login(0, Device::new("alice")).await;
        alice.answers(false);
        for text in ["one", "two"] {
            drop(cluster.hubs[1].send("alice", text).ttl(HOUR).await.unwrap());
        }
        assert_eq!(text(&mut alice).await, "one");
        drop(alice);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), ["0 Left one", "0 Left two"]);
        // Offline now: the node that stores reports.
        drop(cluster.hubs[1].send("alice", "three").ttl(HOUR).await.unwrap());
        // Not again from the same node.
        let mut alice = cluster.login(0, Device::new("alice")).await;
        alice.answers(false);
        drop(alice);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), ["0 Left one", "0 Left two", "1 Stored three", "0 Left three"]);
    });
}

#[test]
fn a_takeover_on_another_node_leaves_nothing() {
    each_seed(async |sim| {
        let (cluster, reports) = reporting(sim, &Sso::PerUser);
        let mut old = cluster.login(0, Device::new("alice")).await;
        old.answers(false);
        drop(cluster.hubs[0].send("alice", "one").ttl(HOUR).await.unwrap());
        let mut new = cluster.login(1, Device::new("alice")).await;
        new.answers(false);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), Vec::<String>::new());
        drop(new);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), ["1 Left one"]);
        drop(old);
    });
}

#[test]
fn a_session_that_stays_on_another_node_leaves_nothing() {
    each_seed(async |sim| {
        let (cluster, reports) = reporting(sim, &Sso::PerDevice);
        let mut phone = cluster.login(0, Device::new("alice").with_id("phone")).await;
        let mut desktop = cluster.login(1, Device::new("alice").with_id("desktop")).await;
        phone.answers(false);
        desktop.answers(false);
        drop(cluster.hubs[0].send("alice", "one").ttl(HOUR).await.unwrap());
        drop(phone);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), Vec::<String>::new());
        drop(desktop);
        cluster.rt.sleep(SECOND).await;
        assert_eq!(reports.lines(), ["1 Left one"]);
    });
}
