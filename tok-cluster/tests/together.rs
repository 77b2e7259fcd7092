//! Hubs of several nodes are one, as long as nothing fails.

mod common;

use std::cell::{Cell, RefCell};

use common::{HOUR, Nodes, each_seed, ended, numbers, text};
use tok_cluster::{Cluster, MemoryBroker};
use tok_core::{
    Actor, CloseReason, ConfigError, Device, Hub, HubBuilder, Message, SendError, Session, Sso, async_trait,
    relay::Relay,
    testkit::{MemoryPeer, Read, queue::ReferenceQueue, sim::Sim},
};

#[test]
fn messages_reach_a_user_on_another_node_in_order() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        let mut alice = nodes.user(0, "alice").await;
        for n in 0..20 {
            let receipt = nodes.hub(1).send("alice", n.to_string()).await.unwrap();
            assert_eq!(receipt.sessions(), 1);
        }
        assert_eq!(numbers(&mut alice, 20).await, (0..20).collect::<Vec<_>>());
        nodes.send_kept(2, "alice", 20..40).await;
        assert_eq!(numbers(&mut alice, 20).await, (20..40).collect::<Vec<_>>());
    });
}

#[test]
fn who_is_nowhere_is_offline_and_finds_what_was_kept_on_any_node() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        assert!(nodes.hub(0).send("bob", "lost").await.unwrap().is_offline());
        for n in 0..30 {
            nodes.hub(n % 2).send("bob", n.to_string()).ttl(HOUR).await.unwrap();
        }
        let mut bob = nodes.connect(1, Device::new("bob"));
        for n in 30..60 {
            nodes.hub(n % 2).send("bob", n.to_string()).ttl(HOUR).await.unwrap();
        }
        assert_eq!(numbers(&mut bob, 60).await, (0..60).collect::<Vec<_>>());
    });
}

#[test]
fn a_login_ends_the_session_on_another_node() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut old = nodes.user(0, "carol").await;
        // A route to what will be the wrong node.
        nodes.hub(1).send("carol", "old").await.unwrap();
        assert_eq!(text(&mut old).await, "old");
        let mut new = nodes.user(1, "carol").await;
        assert_eq!(ended(&mut old).await, CloseReason::Sso);
        nodes.hub(0).send("carol", "new").await.unwrap();
        assert_eq!(text(&mut new).await, "new");
        assert_eq!(nodes.hub(0).users_online().await.unwrap(), 1);
    });
}

#[test]
fn a_route_to_where_the_user_was_is_found_out_and_followed() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        for round in 0..6 {
            let mut dave = nodes.user(round % 2, "dave").await;
            let receipt = nodes.hub(2).send("dave", round.to_string()).await.unwrap();
            assert_eq!(receipt.sessions(), 1, "round {round}");
            assert_eq!(text(&mut dave).await, round.to_string());
            if round % 3 == 0 {
                dave.close();
                let gone = async || nodes.rows("dave").await.is_empty();
                nodes.until("the row is released", gone).await;
                assert!(nodes.hub(2).send("dave", "nobody").await.unwrap().is_offline());
            }
        }
    });
}

/// Scenario 3: of simultaneous logins one stays, and the registry agrees.
#[test]
fn of_simultaneous_logins_on_all_nodes_one_stays() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        let peers: Vec<MemoryPeer> = (0..40).map(|n| nodes.connect(n % 3, Device::new("erin"))).collect();
        let (peers, ended) = (RefCell::new(peers), Cell::new(0));
        let all_but_one_ended = async || {
            let told = peers.borrow_mut().iter_mut().filter_map(MemoryPeer::try_recv).count();
            ended.set(ended.get() + told);
            ended.get() == 39 && nodes.rows("erin").await.len() == 1
        };
        nodes.until("one session and one row are left", all_but_one_ended).await;
        let sessions: usize = nodes.nodes.iter().map(|node| node.hub.stats().sessions).sum();
        assert_eq!(sessions, 1);
        let row = nodes.rows("erin").await.remove(0);
        let holder = (0..3).find(|node| *nodes.id(*node) == row.node).unwrap();
        assert_eq!(nodes.hub(holder).stats().sessions, 1, "the registry names the node that has it");
        assert_eq!(nodes.hub(0).send("erin", "you").await.unwrap().sessions(), 1);
    });
}

#[test]
fn who_was_kicked_counts_as_online_on_no_node_from_then_on() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        for (index, user) in ["ann", "ben", "cleo"].into_iter().enumerate() {
            let _peer = nodes.user(index, user).await;
            // From here, and from another node.
            assert_eq!(nodes.hub((index + index % 2) % 3).kick(user).await.unwrap(), 1, "{user}");
            for from in 0..3 {
                assert_eq!(nodes.hub(from).users_online().await.unwrap(), 0, "{user}, asked at {from}");
                assert!(!nodes.hub(from).is_online(user).await.unwrap());
            }
        }
    });
}

#[test]
fn devices_on_several_nodes_all_receive_whoever_sends() {
    each_seed(async |sim| {
        let nodes = Nodes::with(sim, 4, Sso::PerDevice, |builder| builder).await;
        let mut devices = Vec::new();
        for node in 0..3 {
            devices.push(nodes.login(node, Device::new("frank").with_id(format!("d{node}"))).await);
            // Routes are learned while not all are there: later logins must still be found.
            for from in 0..4 {
                let receipt = nodes.hub(from).send("frank", format!("{node}/{from}")).await.unwrap();
                assert_eq!(receipt.sessions(), node + 1, "from {from} after {node}");
            }
        }
        for (first, device) in devices.iter_mut().enumerate() {
            for node in first..3 {
                for from in 0..4 {
                    assert_eq!(text(device).await, format!("{node}/{from}"));
                }
            }
        }
        devices[1].close();
        nodes.until("its row is released", async || nodes.rows("frank").await.len() == 2).await;
        for from in 0..4 {
            assert_eq!(nodes.hub(from).send("frank", "two").await.unwrap().sessions(), 2);
        }
    });
}

/// It was handed to that node once for each that named it.
#[test]
fn a_node_that_several_name_is_given_a_message_once() {
    each_seed(async |sim| {
        let nodes = Nodes::with(sim, 4, Sso::PerDevice, |builder| builder).await;
        let mut devices = Vec::new();
        for node in 0..2 {
            devices.push(nodes.login(node, Device::new("gwen").with_id(format!("d{node}"))).await);
        }
        // The route is learned when two are there, and the third is not told of it.
        nodes.hub(3).send("gwen", "two").await.unwrap();
        devices.push(nodes.login(2, Device::new("gwen").with_id("d2")).await);
        let receipt = nodes.hub(3).send("gwen", "three").await.unwrap();
        assert_eq!(receipt.sessions(), 3);
        assert_eq!(text(&mut devices[2]).await, "three");
        nodes.rt.sleep(common::SECOND).await;
        assert_eq!(devices[2].try_recv(), None);
    });
}

#[test]
fn without_single_sign_on_nothing_is_displaced() {
    each_seed(async |sim| {
        let nodes = Nodes::with(sim, 2, Sso::Off, |builder| builder).await;
        let mut peers = Vec::new();
        for n in 0..6 {
            peers.push(nodes.user(n % 2, "gina").await);
        }
        assert_eq!(nodes.hub(1).send("gina", "all").await.unwrap().sessions(), 6);
        assert_eq!(nodes.hub(0).users_online().await.unwrap(), 1);
    });
}

#[test]
fn rooms_broadcasts_kicks_and_presence_span_the_nodes() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 3).await;
        let mut hal = nodes.user(0, "hal").await;
        let mut ida = nodes.login(1, Device::new("ida").with_id("phone")).await;
        nodes.hub(2).broadcast("all").await.unwrap();
        assert_eq!((text(&mut hal).await, text(&mut ida).await), ("all".into(), "all".into()));
        for member in [&mut hal, &mut ida] {
            member.send("join tea");
            assert_eq!(text(member).await, "join tea");
        }
        nodes.hub(2).publish("tea", "five").await.unwrap();
        nodes.hub(2).publish("coffee", "six").await.unwrap();
        nodes.hub(1).publish("tea", "seven").await.unwrap();
        for member in [&mut hal, &mut ida] {
            assert_eq!((text(member).await, text(member).await), ("five".into(), "seven".into()));
        }
        assert!(nodes.hub(0).is_online("ida").await.unwrap());
        assert_eq!(nodes.hub(2).users_online().await.unwrap(), 2);
        assert_eq!(nodes.hub(2).online().await.unwrap(), ["hal".into(), "ida".into()]);
        assert_eq!(nodes.hub(0).kick("ida").device("desk").await.unwrap(), 0);
        assert_eq!(nodes.hub(0).kick("ida").await.unwrap(), 1);
        // From the moment of the answer on, whatever the registry still says.
        assert!(!nodes.hub(0).is_online("ida").await.unwrap());
        assert_eq!(ended(&mut ida).await, CloseReason::Kicked);
        let gone = async || nodes.hub(2).users_online().await.unwrap() == 1;
        nodes.until("the count follows", gone).await;
    });
}

/// Scenario 24.
#[test]
fn odd_uids_are_users_like_others() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let long = "x".repeat(255);
        let odd = ["a.b", "*", ">", "a b", "Zo\u{eb}", "../x", "{a}:b", "\r\n", &long, "\u{1f980}"];
        for uid in odd {
            let mut peer = nodes.user(0, uid).await;
            assert_eq!(nodes.hub(1).send(uid, "you").await.unwrap().sessions(), 1, "{uid:?}");
            assert_eq!(text(&mut peer).await, "you");
            nodes.send_kept(1, uid, 7..8).await;
            assert_eq!(numbers(&mut peer, 1).await, [7]);
        }
        for unusable in ["", &"x".repeat(256)] {
            assert!(!nodes.hub(0).is_online(unusable).await.unwrap());
            assert_eq!(nodes.hub(0).kick(unusable).await.unwrap(), 0);
        }
    });
}

#[test]
fn a_user_of_this_node_alone_costs_the_broker_nothing() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut kim = nodes.user(0, "kim").await;
        // With the broker gone, what needs nobody still works.
        nodes.broker.stop();
        assert_eq!(nodes.hub(0).send("kim", "here").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut kim).await, "here");
        nodes.hub(1).send("kim", "there").await.unwrap_err();
    });
}

struct Nothing;

#[async_trait]
impl Actor for Nothing {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

#[test]
fn a_queue_of_one_node_alone_is_refused() {
    let sim = Sim::new(1);
    let broker = MemoryBroker::new(sim.runtime());
    let cluster = Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(sim.runtime());
    let hub = Hub::builder(Nothing).runtime(sim.runtime()).relay(cluster.build().unwrap());
    let refused = hub.queue(ReferenceQueue::new()).build();
    assert!(matches!(refused, Err(ConfigError::Conflict(why)) if why.contains("share")));
}

#[test]
fn a_cluster_handle_is_one_hubs() {
    let sim = Sim::new(1);
    let broker = MemoryBroker::new(sim.runtime());
    let cluster = Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(sim.runtime());
    let cluster = cluster.build().unwrap();
    let hub = || Hub::builder(Nothing).runtime(sim.runtime()).relay(cluster.clone()).build();
    hub().unwrap();
    assert!(matches!(hub(), Err(ConfigError::Cluster(_))));
}

/// A broker that takes so large frames, and a hub's builder in its cluster.
fn with_max_frame(sim: &Sim, bytes: usize) -> (Cluster, HubBuilder) {
    let broker = MemoryBroker::with_max_frame(sim.runtime(), bytes);
    let cluster = Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(sim.runtime());
    let cluster = cluster.build().unwrap();
    (cluster.clone(), Hub::builder(Nothing).runtime(sim.runtime()).relay(cluster))
}

#[test]
fn sizes_that_cannot_pass_the_broker_are_refused_with_both_numbers() {
    let sim = Sim::new(1);
    let limit = with_max_frame(&sim, 100_000).0.max_message().unwrap();
    assert!((99_000..100_000).contains(&limit), "{limit}");
    let outgoing = with_max_frame(&sim, 100_000).1.max_outgoing(limit + 1).build();
    let incoming = with_max_frame(&sim, 100_000).1.max_message(limit + 1).build();
    for (refused, name) in [(outgoing, "max_outgoing"), (incoming, "max_message")] {
        let text = refused.unwrap_err().to_string();
        for part in [name, "the cluster", &limit.to_string(), &(limit + 1).to_string()] {
            assert!(text.contains(part), "{text:?} names {part}");
        }
    }
    with_max_frame(&sim, 100_000).1.max_outgoing(limit).max_message(limit).build().unwrap();
    // Defaults give way.
    with_max_frame(&sim, 100_000).1.build().unwrap();
}

/// Scenario 25. What fits is what passes: the largest message crosses to the longest name.
#[test]
fn the_largest_message_passes_between_nodes_and_a_larger_one_nowhere() {
    common::seeds(0..3, async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let limit = nodes.cluster(0).max_message().unwrap();
        let (uid, room) = ("u".repeat(255), format!("join {}", "r".repeat(255)));
        let mut peer = nodes.user(1, &uid).await;
        peer.send(room.as_str());
        assert_eq!(text(&mut peer).await, room);
        // What the node has stored for the user stands in the frame too.
        nodes.send_kept(0, &uid, 0..1).await;
        numbers(&mut peer, 1).await;
        let largest = Message::binary(vec![7; limit]);
        assert_eq!(nodes.hub(0).send(uid.as_str(), largest.clone()).await.unwrap().sessions(), 1);
        assert_eq!(peer.recv().await, Read::Message(largest.clone()));
        nodes.hub(0).publish(&"r".repeat(255), largest.clone()).await.unwrap();
        assert_eq!(peer.recv().await, Read::Message(largest));
        let refused = nodes.hub(0).send(uid.as_str(), vec![7_u8; limit + 1]).await.unwrap_err();
        assert!(
            matches!(refused, SendError::TooBig { bytes, limit: at } if (bytes, at) == (limit + 1, limit)),
            "{refused:?}"
        );
    });
}
