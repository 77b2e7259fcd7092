//! What nodes say to strangers, settings that cannot work, and moments in which two nodes know different things.

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{HOUR, Nodes, SECOND, each_seed, ended, numbers, text};
use tok_cluster::{
    Answer, Bus, BusState, Cluster, ClusterBuilder, Inbound, MemoryBroker, NodeId, Plan, Registry,
};
use tok_core::{
    CloseReason, ConfigError, Device, Epoch, Hub, SendError, Sso,
    relay::{Claim, RelayError},
    rt::{BoxFuture, Instant, Runtime},
    testkit::sim::{Sim, SimRuntime},
};

/// Two devices that logged in while the broker had forgotten the other are both reached from then on.
#[test]
fn sessions_that_missed_each_other_are_introduced() {
    common::seeds(0..100, async |sim| {
        let nodes = Nodes::with(sim, 2, Sso::PerDevice, |builder| builder).await;
        let mut phone = nodes.login(0, Device::new("ute").with_id("phone")).await;
        nodes.broker.wipe();
        // Before the other node has noticed.
        let mut desk = nodes.login(1, Device::new("ute").with_id("desk")).await;
        nodes.until("both rows are there", async || nodes.rows("ute").await.len() == 2).await;
        let quiet = async || nodes.nodes.iter().all(|node| node.cluster.stats().to_repair == 0);
        nodes.rt.sleep(3 * SECOND).await;
        nodes.until("all is told", quiet).await;
        for from in 0..2 {
            assert_eq!(nodes.hub(from).send("ute", "both").await.unwrap().sessions(), 2, "from {from}");
            assert_eq!((text(&mut phone).await, text(&mut desk).await), ("both".into(), "both".into()));
        }
    });
}

/// A session that lost its place receives nothing, even where it has not been told yet.
#[test]
fn nothing_is_sent_to_a_session_that_lost_its_place() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        let mut old = nodes.user(0, "vic").await;
        // What the newer session's node says is lost.
        nodes.nodes[1].faults.set_plan(Plan { lose: 2000, ..Plan::default() });
        let mut new = nodes.user(1, "vic").await;
        assert_eq!(nodes.rows("vic").await.len(), 2);
        assert_eq!(nodes.hub(2).send("vic", "for the newer").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut new).await, "for the newer");
        nodes.nodes[1].faults.set_plan(Plan::default());
        assert_eq!(ended(&mut old).await, CloseReason::Sso);
        nodes.until("its row is released", async || nodes.rows("vic").await.len() == 1).await;
    });
}

/// Answers whatever it is asked with the same bytes.
struct Parrot(&'static [u8]);

impl Inbound for Parrot {
    fn request(&self, _: Bytes, answer: Answer) {
        answer.send(Bytes::from_static(self.0));
    }

    fn notify(&self, _: Bytes) {}

    fn state(&self, _: BusState) {}
}

/// Scenario 23: nodes of different versions refuse each other's frames at once, and say so.
#[test]
fn another_version_is_refused_and_not_met_with_silence() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 1).await;
        let stranger = NodeId::new("stranger", 7).unwrap();
        let bus = nodes.broker.bus();
        let ask = |frame: &'static [u8]| bus.request(nodes.id(0), frame.into(), SECOND);
        assert_eq!(ask(b"T\x09whatever comes then").await.unwrap(), &b"t\x01\x06\x01\x01"[..]);
        for nonsense in [&b""[..], b"T", b"GET / HTTP/1.1\r\n\r\n", b"T\x01\x01", &[0xff; 300]] {
            assert_eq!(ask(nonsense).await.unwrap(), &b"t\x01\x06\x00"[..], "{nonsense:?}");
        }
        // The other way round: a user on a node that answers in another version, or nonsense.
        let registry = nodes.broker.registry();
        registry.beat(&stranger, 100 * SECOND).await.unwrap();
        let claim = Claim { uid: "wim".into(), class: Some(String::new()), above: Epoch::default() };
        registry.claim(&claim, &stranger).await.unwrap();
        for answer in [&b"t\x09"[..], b"t\x01\x06\x01\x09", b"", b"HTTP/1.1 400\r\n"] {
            bus.open(&stranger, Arc::new(Parrot(answer))).await.unwrap();
            let (sent, took) = nodes.time(async { nodes.hub(0).send("wim", "hello").await }).await;
            let refused = matches!(sent, Err(SendError::Relay(RelayError::Unavailable(_))));
            assert!(refused && took < SECOND, "{answer:?}");
            nodes.hub(0).kick("wim").await.unwrap_err();
            nodes.hub(0).publish("room", "hello").await.unwrap_err();
        }
        let mut wim = nodes.user(0, "wim").await;
        assert_eq!(nodes.hub(0).send("wim", "you").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut wim).await, "you");
    });
}

/// A runtime whose wall clock nobody may read.
#[derive(Clone)]
struct NoWallClock(SimRuntime);

impl Runtime for NoWallClock {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn unix_time(&self) -> u64 {
        panic!("the cluster reads the wall clock")
    }
    fn random(&self) -> u64 {
        self.0.random()
    }
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.0.spawn(name, future);
    }
}

/// Scenario 28: leases and logins know nothing of wall clocks. The cluster does not read them, and the hub's jumps.
#[test]
fn a_node_whose_wall_clock_steps_is_a_node_like_others() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 1).await;
        let process = nodes.rt.process();
        let cluster = Cluster::builder(nodes.broker.registry(), nodes.broker.bus());
        let cluster = cluster.node("stepping").runtime(NoWallClock(process.clone())).build().unwrap();
        process.upset_wall_clock();
        let hub = Hub::builder(common::Echo).runtime(process.clone()).queue(Arc::clone(&nodes.queue));
        let hub = hub.relay(cluster.clone()).build().unwrap();
        cluster.joined(10 * SECOND).await.unwrap();
        let seen = async || nodes.cluster(0).nodes().len() == 2;
        nodes.until("it is seen", seen).await;
        for _ in 0..10 {
            process.upset_wall_clock();
            nodes.rt.sleep(10 * SECOND).await;
            assert!(cluster.healthy() && nodes.cluster(0).nodes().len() == 2 && cluster.nodes().len() == 2);
        }
        let mut xia = nodes.user(0, "xia").await;
        assert_eq!(hub.send("xia", "7").ttl(2 * HOUR).await.unwrap().sessions(), 1);
        assert_eq!(numbers(&mut xia, 1).await, [7]);
        nodes.hub(0).send("yan", "8").ttl(2 * HOUR).await.unwrap();
        let (transport, mut yan) = tok_core::testkit::memory_pair(64 * 1024, true);
        let session = hub.serve(Device::new("yan"), transport);
        let session = async move {
            session.await;
        };
        nodes.rt.spawn("session", Box::pin(session));
        assert_eq!(numbers(&mut yan, 1).await, [8]);
    });
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let sim = Sim::new(1);
    let broker = MemoryBroker::new(sim.runtime());
    let builder = || Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(sim.runtime());
    let wrong: [(&str, ClusterBuilder); 8] = [
        ("node", builder().node("")),
        ("node", builder().node("a.b")),
        ("node", builder().node("x".repeat(65))),
        ("beat", builder().beat(Duration::ZERO)),
        ("request_timeout", builder().request_timeout(Duration::ZERO)),
        ("lease", builder().lease(11 * SECOND)),
        ("lease", builder().beat(Duration::MAX)),
        ("max_in_flight", builder().max_in_flight(0)),
    ];
    for (name, builder) in wrong {
        match builder.build() {
            Err(ConfigError::Invalid { setting, .. }) => assert_eq!(setting, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    builder().lease(12 * SECOND).max_routes(0).build().unwrap();
    let nameless = Cluster::builder(broker.registry(), broker.bus()).node("a").build();
    assert!(matches!(nameless, Err(ConfigError::NoRuntime)));
}

/// A broker that is not there yet is waited for, as long as the caller likes.
#[test]
fn a_node_joins_when_the_broker_is_there() {
    each_seed(async |sim| {
        let rt = sim.runtime();
        let broker = MemoryBroker::new(rt.clone());
        broker.stop();
        let cluster = Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(rt.clone());
        let cluster = cluster.build().unwrap();
        let _hub = Hub::builder(common::Echo).runtime(rt.clone()).relay(cluster.clone()).build().unwrap();
        assert!(matches!(cluster.joined(3 * SECOND).await, Err(RelayError::Unavailable(_))));
        assert!(!cluster.healthy());
        broker.start();
        cluster.joined(3 * SECOND).await.unwrap();
        assert!(cluster.healthy());
        cluster.leave().await;
        assert!(!cluster.healthy());
    });
}
