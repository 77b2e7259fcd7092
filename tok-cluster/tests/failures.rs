//! Nodes that die, fall silent or leave, registries that fail, and how much may be under way.

mod common;

use std::time::Duration;

use common::{HOUR, Nodes, SECOND, each_seed, ended, numbers, text};
use tok_cluster::{Cursor, Link, Plan, Registry};
use tok_core::{
    CloseReason, Device, MessageId, MessageKind, Queue, Sso, Uid,
    queue::{Admit, Entry},
    testkit::Read,
};

const LEASE: Duration = Duration::from_secs(15);

/// Scenario 1: the node of a user is killed under load. Nothing kept is lost, and the user is served elsewhere at once.
#[test]
fn a_killed_node_loses_nothing_that_was_kept() {
    each_seed(async |sim| {
        let mut nodes = Nodes::new(sim, 3).await;
        let mut lost = nodes.user(0, "ann").await;
        nodes.send_kept(1, "ann", 0..10).await;
        // Some were seen and never confirmed, some not even seen.
        lost.answers(false);
        numbers(&mut lost, 5).await;
        nodes.send_kept(2, "ann", 10..20).await;
        let dead = nodes.kill(0);
        nodes.send_kept(1, "ann", 20..30).await;
        assert!(nodes.hub(1).send("ann", "not kept").await.unwrap().is_offline());
        let (mut ann, took) = nodes.time(nodes.user(2, "ann")).await;
        assert!(took < SECOND, "the login took {took:?}");
        nodes.send_kept(1, "ann", 30..40).await;
        let got = numbers(&mut ann, 40).await;
        assert_eq!(got, (0..40).collect::<Vec<_>>());
        assert!(!nodes.cluster(1).nodes().contains(&dead) || nodes.rows("ann").await.len() == 2);
    });
}

/// A dead node's users are offline when its lease is over, to everybody and in the count.
#[test]
fn a_dead_nodes_users_are_offline_within_the_lease() {
    each_seed(async |sim| {
        let mut nodes = Nodes::new(sim, 3).await;
        let _bea = nodes.user(0, "bea").await;
        let _cai = nodes.user(1, "cai").await;
        assert_eq!(nodes.hub(2).users_online().await.unwrap(), 2);
        // Once the survivors have been there for a lease they may clear up.
        nodes.rt.sleep(2 * LEASE).await;
        let dead = nodes.kill(0);
        nodes.rt.sleep(LEASE).await;
        assert!(!nodes.hub(2).is_online("bea").await.unwrap());
        assert_eq!(nodes.hub(2).online().await.unwrap(), ["cai".into()]);
        assert!(!nodes.cluster(1).nodes().contains(&dead));
        let (_, took) = nodes
            .time(nodes.until("the count follows", async || nodes.hub(2).users_online().await.unwrap() == 1))
            .await;
        assert!(took <= 3 * SECOND, "{took:?}");
        assert!(nodes.rows("bea").await.is_empty());
        assert!(nodes.broker.registry().nodes().await.unwrap().iter().all(|lease| lease.node != dead));
    });
}

/// Scenario 2: a silent node delays a send by the request timeout at most, and later sends not at all.
#[test]
fn a_silent_node_costs_a_timeout_and_is_then_routed_around() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut dan = nodes.user(0, "dan").await;
        nodes.hub(1).send("dan", "before").await.unwrap();
        nodes.link(0, Link::BlackHole);
        for _ in 0..2 {
            let (sent, took) = nodes.time(async { nodes.hub(1).send("dan", "lost").await }).await;
            sent.unwrap_err();
            assert!(took <= 2 * SECOND + SECOND / 5, "{took:?}");
        }
        for _ in 0..20 {
            let (sent, took) = nodes.time(async { nodes.hub(1).send("dan", "lost").await }).await;
            sent.unwrap_err();
            assert!(took < SECOND / 4, "a node that is known to be silent is not waited for: {took:?}");
        }
        let (kept, took) = nodes.time(nodes.hub(1).send("dan", "7").ttl(HOUR).into_future()).await;
        kept.unwrap();
        assert!(took < SECOND / 4, "{took:?}");
        nodes.link(0, Link::Up);
        let back = async || nodes.cluster(1).stats().silent_nodes == 0;
        nodes.until("it is found to answer again", back).await;
        assert_eq!(text(&mut dan).await, "before");
        assert_eq!(numbers(&mut dan, 1).await, [7], "a hint that was lost is given again");
        nodes.until("nothing is left to do", async || nodes.cluster(1).stats().to_repair == 0).await;
    });
}

/// Scenario 4: the newer login's claim reaches the older one's node before that has attached its session.
#[test]
fn a_login_that_is_overtaken_never_takes_effect() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        nodes.nodes[0].faults.set_plan(Plan { delay: SECOND, ..Plan::default() });
        let mut old = nodes.connect(0, Device::new("eve"));
        nodes.until("it is claimed", async || !nodes.rows("eve").await.is_empty()).await;
        let mut new = nodes.user(1, "eve").await;
        assert_eq!(ended(&mut old).await, CloseReason::Sso);
        nodes.until("one row is left", async || nodes.rows("eve").await.len() == 1).await;
        assert_eq!(nodes.hub(1).send("eve", "you").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut new).await, "you");
    });
}

/// Scenario 15: very many logins at once do not pile up without bound, and all end one way or the other.
#[test]
fn a_storm_of_logins_passes() {
    common::seeds(0..3, async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut peers: Vec<_> = (0..2000)
            .map(|n| nodes.connect(n % 2, Device::new(Uid::from(n))))
            .inspect(|peer| peer.send("ready?"))
            .collect();
        for peer in &mut peers {
            assert_eq!(text(peer).await, "ready?");
        }
        assert_eq!(nodes.hub(0).users_online().await.unwrap(), 2000);
        assert_eq!(nodes.cluster(0).stats().claims + nodes.cluster(1).stats().claims, 2000);
        // The broker restarts without its data: all put themselves back.
        nodes.broker.stop();
        nodes.broker.wipe();
        nodes.broker.start();
        let back = async || nodes.hub(0).users_online().await.unwrap() == 2000;
        nodes.until("all are back", back).await;
        drop(peers);
        nodes.until("all are gone", async || nodes.hub(0).users_online().await.unwrap() == 0).await;
        assert_eq!(nodes.cluster(0).stats().claims, 0);
        assert_eq!(nodes.cluster(0).stats().to_repair, 0);
    });
}

/// Scenarios 16 and 17: what is under way to one node is bounded, and what was never answered leaves nothing behind.
#[test]
fn requests_under_way_are_bounded_and_come_to_an_end() {
    each_seed(async |sim| {
        let nodes = Nodes::with(sim, 2, Sso::PerUser, |builder| builder.max_in_flight(10)).await;
        let mut max = nodes.user(0, "max").await;
        nodes.hub(1).send("max", "0").await.unwrap();
        nodes.link(0, Link::BlackHole);
        let sends = (0..1000).map(|_| nodes.hub(1).send("max", "lost").into_future());
        let sent = futures_util::future::join_all(sends).await;
        let overloaded = sent.iter().filter(|sent| {
            let error = sent.as_ref().unwrap_err();
            matches!(error, tok_core::SendError::Relay(tok_core::relay::RelayError::Overloaded))
        });
        assert!(overloaded.count() >= 900);
        nodes.link(0, Link::Up);
        nodes.until("it answers again", async || nodes.cluster(1).stats().silent_nodes == 0).await;
        for n in 1..30 {
            nodes.hub(1).send("max", n.to_string()).await.unwrap();
        }
        assert_eq!(numbers(&mut max, 30).await, (0..30).collect::<Vec<_>>());
    });
}

/// Scenario 26: a node leaves in good order.
#[test]
fn a_node_that_leaves_is_gone_at_once_and_its_messages_follow() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut nia = nodes.user(0, "nia").await;
        nia.answers(false);
        nodes.send_kept(1, "nia", 0..3).await;
        nodes.hub(0).shutdown(10 * SECOND).await;
        nodes.cluster(0).leave().await;
        assert_eq!(ended(&mut nia).await, CloseReason::Draining);
        assert!(nodes.rows("nia").await.is_empty());
        let told = async || nodes.cluster(1).nodes() == [nodes.id(1).clone()];
        let (_, took) = nodes.time(nodes.until("the other knows", told)).await;
        assert!(took < SECOND, "{took:?}");
        let mut nia = nodes.user(1, "nia").await;
        assert_eq!(numbers(&mut nia, 3).await, [0, 1, 2]);
        assert!(nodes.hub(1).broadcast("all").await.is_ok());
        assert!(!nodes.cluster(0).healthy());
    });
}

/// Scenario 27: a dead node is cleared away in pages while its users come back.
#[test]
fn a_dead_node_is_reaped_while_its_users_return() {
    common::seeds(0..3, async |sim| {
        let mut nodes = Nodes::new(sim, 2).await;
        nodes.rt.sleep(2 * LEASE).await;
        let first: Vec<_> = (0..2500).map(|n| nodes.connect(0, Device::new(Uid::from(n)))).collect();
        nodes.until("all are there", async || nodes.hub(1).users_online().await.unwrap() == 2500).await;
        let dead = nodes.kill(0);
        drop(first);
        nodes.rt.sleep(LEASE).await;
        let again = nodes.add(|builder| builder).await;
        let mut back: Vec<_> = (0..1200).map(|n| nodes.connect(again, Device::new(Uid::from(n)))).collect();
        let reaped = async || {
            let mut rows = Vec::new();
            let mut after = Cursor::START;
            while let Ok(page) = nodes.broker.registry().page(after, 500).await {
                rows.extend(page.rows);
                let Some(next) = page.next else { break };
                after = next;
            }
            rows.iter().all(|row| row.node != dead) && rows.len() == 1200
        };
        nodes.until("the dead node's rows are gone, and only they", reaped).await;
        assert_eq!(nodes.hub(1).users_online().await.unwrap(), 1200);
        for (n, peer) in back.iter_mut().enumerate().step_by(100) {
            assert_eq!(nodes.hub(1).send(n, "you").await.unwrap().sessions(), 1);
            assert_eq!(text(peer).await, "you");
        }
    });
}

/// Registry operations that fail, before or after they had their effect, leave nothing wrong behind.
#[test]
fn a_registry_that_fails_now_and_then_is_made_right() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        for node in &nodes.nodes {
            node.faults.set_plan(Plan { fail: 300, delay: SECOND / 50, ..Plan::default() });
        }
        let mut served = 0;
        for n in 0..40 {
            let mut peer = nodes.connect(n % 2, Device::new(Uid::from(n % 5)));
            peer.send("ready?");
            served += usize::from(matches!(peer.recv().await, Read::Message(_)));
            if n % 3 == 0 {
                peer.close();
            }
        }
        assert!(served > 10, "{served}");
        for node in &nodes.nodes {
            node.faults.set_plan(Plan::default());
        }
        let right = async || {
            let mut rows = 0;
            for n in 0..5 {
                for row in nodes.rows(&n.to_string()).await {
                    let holder = nodes.nodes.iter().find(|node| *node.cluster.node() == row.node).unwrap();
                    let there = holder.hub.online().await.unwrap().contains(&row.uid);
                    if !there {
                        return false;
                    }
                    rows += 1;
                }
            }
            rows == nodes.nodes.iter().map(|node| node.hub.stats().sessions).sum::<usize>()
                && nodes.nodes.iter().all(|node| node.cluster.stats().to_repair == 0)
        };
        nodes.until("rows and sessions agree", right).await;
    });
}

/// A bus that repeats frames does not repeat messages.
#[test]
fn what_arrives_twice_is_delivered_once() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut ole = nodes.user(0, "ole").await;
        nodes.nodes[1].faults.set_plan(Plan { duplicate: 500, delay: SECOND / 20, ..Plan::default() });
        for n in 0..50 {
            // An answer to a repetition is none; the sender may be left in doubt, and is told so.
            if nodes.hub(1).send("ole", n.to_string()).await.is_err() {
                panic!("the first to arrive is answered");
            }
        }
        nodes.rt.sleep(SECOND).await;
        assert_eq!(numbers(&mut ole, 50).await, (0..50).collect::<Vec<_>>());
        assert_eq!(ole.try_recv(), None);
    });
}

/// Scenario 6's backstop: a node stored a message and died before it told anybody.
#[test]
fn what_nobody_was_told_of_is_found_within_a_minute() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut pia = nodes.user(0, "pia").await;
        nodes.rt.sleep(SECOND).await;
        let entry =
            Entry { id: MessageId::from_u128(1), kind: MessageKind::Text, data: "untold".into(), ttl: None };
        nodes.queue.enqueue(&Uid::from("pia"), &[entry], Admit::WithinLimits).await.unwrap();
        let (got, took) = nodes.time(text(&mut pia)).await;
        assert_eq!(got, "untold");
        assert!(took <= 60 * SECOND, "{took:?}");
    });
}
