//! Nodes that are cut off from the others, and brokers that go away or lose what they had.

mod common;

use std::time::Duration;

use common::{Nodes, SECOND, each_seed, ended, numbers, text};
use tok_cluster::{Link, Plan, Policy, Registry};
use tok_core::{CloseReason, Device, Sso, rt::Runtime, testkit::Read};

const LEASE: Duration = Duration::from_secs(15);

/// Scenario 10: while the broker is away every sender learns the truth, and afterwards all flows again by itself.
#[test]
fn a_broker_that_restarts_loses_no_message_that_was_taken() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut fay = nodes.user(0, "fay").await;
        nodes.send_kept(1, "fay", 0..5).await;
        nodes.broker.stop();
        nodes.hub(1).send("fay", "x").await.unwrap_err();
        nodes.hub(1).is_online("fay").await.unwrap_err();
        nodes.hub(1).kick("fay").await.unwrap_err();
        nodes.hub(1).publish("room", "x").await.unwrap_err();
        // The queue is another server and still there.
        nodes.send_kept(1, "fay", 5..10).await;
        let mut refused = nodes.connect(1, Device::new("gus"));
        assert_eq!(ended(&mut refused).await, CloseReason::Unavailable);
        assert!(!nodes.cluster(0).healthy());
        nodes.rt.sleep(5 * SECOND).await;
        nodes.broker.start();
        assert_eq!(numbers(&mut fay, 10).await, (0..10).collect::<Vec<_>>());
        nodes.until("all is well", async || nodes.cluster(0).healthy() && nodes.cluster(1).healthy()).await;
        assert_eq!(nodes.hub(1).send("fay", "again").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut fay).await, "again");
    });
}

/// Scenario 10, of a server that comes back without its last moments: a row that was removed in them is there again, and
/// its user does not count as online for as long as the node lives.
#[test]
fn a_row_that_comes_back_with_the_broker_is_removed() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let hal = nodes.user(0, "hal").await;
        let row = nodes.rows("hal").await.remove(0);
        drop(hal);
        nodes.until("he has left", async || nodes.rows("hal").await.is_empty()).await;
        let _ivy = nodes.user(0, "ivy").await;
        nodes.broker.registry().restore(&row).await.unwrap();
        assert_eq!(nodes.hub(1).users_online().await.unwrap(), 2);
        nodes.broker.stop();
        nodes.broker.start();
        nodes.until("the row is gone", async || nodes.rows("hal").await.is_empty()).await;
        assert_eq!(nodes.rows("ivy").await.len(), 1);
        assert_eq!(nodes.hub(1).users_online().await.unwrap(), 1);
    });
}

/// The same of a row whose node is long gone, so that the table names it nowhere else.
#[test]
fn a_row_of_a_node_that_is_gone_is_removed_when_it_comes_back_with_the_broker() {
    each_seed(async |sim| {
        let mut nodes = Nodes::new(sim, 3).await;
        let joe = nodes.user(2, "joe").await;
        let row = nodes.rows("joe").await.remove(0);
        nodes.kill(2);
        drop(joe);
        let registry = nodes.broker.registry();
        let is_gone = async || registry.nodes().await.unwrap().iter().all(|lease| lease.node != row.node);
        nodes.until("the node is reaped", is_gone).await;
        assert_eq!(nodes.rows("joe").await, []);
        registry.restore(&row).await.unwrap();
        nodes.broker.stop();
        nodes.broker.start();
        nodes.until("the row is gone", async || nodes.rows("joe").await.is_empty()).await;
        assert_eq!(nodes.hub(0).users_online().await.unwrap(), 0);
    });
}

/// Scenario 11: the broker has lost everything. Sessions are put back, and epochs still rise.
#[test]
fn a_broker_that_lost_all_is_told_again() {
    each_seed(async |sim| {
        for announced in [true, false] {
            let nodes = Nodes::new(sim, 2).await;
            let mut gil = nodes.user(0, "gil").await;
            let mut hub_rows = nodes.rows("gil").await;
            let before = hub_rows.remove(0).epoch;
            if announced {
                nodes.broker.stop();
            }
            nodes.broker.wipe();
            if announced {
                nodes.broker.start();
            }
            nodes.until("the row is back", async || nodes.rows("gil").await.len() == 1).await;
            assert_eq!(nodes.rows("gil").await[0].epoch, before);
            let seen = async || nodes.cluster(1).nodes().len() == 2;
            nodes.until("they see each other", seen).await;
            assert_eq!(nodes.hub(1).send("gil", "you").await.unwrap().sessions(), 1);
            assert_eq!(text(&mut gil).await, "you");
            let _newer = nodes.user(1, "gil").await;
            assert_eq!(ended(&mut gil).await, CloseReason::Sso);
            assert!(nodes.rows("gil").await.iter().all(|row| row.epoch >= before));
        }
    });
}

/// Scenarios 12 and 13: a node is cut off for longer than its lease while its user logs in elsewhere.
#[test]
fn a_node_that_was_cut_off_keeps_its_sessions_and_loses_the_older_ones() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut hans = nodes.user(0, "hans").await;
        let mut iris = nodes.user(0, "iris").await;
        nodes.link(0, Link::Cut);
        // Available: it goes on serving.
        hans.send("still there?");
        assert_eq!(text(&mut hans).await, "still there?");
        nodes.rt.sleep(LEASE / 3).await;
        let mut newer = nodes.user(1, "hans").await;
        nodes.rt.sleep(3 * LEASE).await;
        assert!(!nodes.hub(1).is_online("iris").await.unwrap());
        assert!(!nodes.cluster(0).healthy());
        nodes.link(0, Link::Up);
        assert_eq!(ended(&mut hans).await, CloseReason::Sso);
        nodes
            .until("who is not displaced is back", async || nodes.hub(1).is_online("iris").await.unwrap())
            .await;
        assert_eq!(nodes.hub(1).send("iris", "you").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut iris).await, "you");
        nodes.until("one row is left", async || nodes.rows("hans").await.len() == 1).await;
        assert_eq!(nodes.hub(0).send("hans", "you").await.unwrap().sessions(), 1);
        assert_eq!(text(&mut newer).await, "you");
    });
}

/// Scenario 12 under Strict: never two sessions at a time, at the price of the node's service.
#[test]
fn a_strict_node_that_was_cut_off_closes_its_sessions_before_anybody_takes_their_place() {
    each_seed(async |sim| {
        let strict = |builder: tok_cluster::ClusterBuilder| builder.policy(Policy::Strict);
        let nodes = Nodes::with(sim, 2, Sso::PerUser, strict).await;
        let mut jan = nodes.user(0, "jan").await;
        nodes.link(0, Link::BlackHole);
        let cut = nodes.rt.now();
        loop {
            let mut newer = nodes.connect(1, Device::new("jan"));
            newer.send("ready?");
            match newer.recv().await {
                Read::Close(reason) => assert_eq!(reason, CloseReason::Unavailable),
                Read::Message(_) => break,
                other => panic!("{other:?}"),
            }
            nodes.rt.sleep(SECOND / 2).await;
        }
        let closed = nodes.hub(0).stats().sessions == 0;
        assert!(closed, "the older session lived when the newer was let in");
        assert!(nodes.rt.now().saturating_since(cut) <= LEASE + 5 * SECOND);
        assert_eq!(ended(&mut jan).await, CloseReason::Unavailable);
        let mut refused = nodes.connect(0, Device::new("kay"));
        assert_eq!(ended(&mut refused).await, CloseReason::Unavailable);
        nodes.link(0, Link::Up);
        nodes.until("it is well again", async || nodes.cluster(0).healthy()).await;
        nodes.user(0, "kay").await;
    });
}

/// A node that had looked just before another renewed its lease took that one's sessions for dead, and let a second live.
#[test]
fn a_strict_node_looks_again_before_it_takes_another_for_dead() {
    each_seed(async |sim| {
        let strict = |builder: tok_cluster::ClusterBuilder| builder.policy(Policy::Strict);
        let nodes = Nodes::with(sim, 2, Sso::PerUser, strict).await;
        let login = async |node: usize| loop {
            let mut peer = nodes.connect(node, Device::new("liz"));
            peer.send("ready?");
            match peer.recv().await {
                Read::Message(_) => return peer,
                _ => nodes.rt.sleep(Duration::from_millis(5)).await,
            }
        };
        for _ in 0..5 {
            // The look may fail: then a login is refused.
            nodes.nodes[1].faults.set_plan(Plan { fail: 300, ..Plan::default() });
            nodes.broker.stop();
            nodes.rt.sleep(2 * LEASE).await;
            nodes.broker.start();
            let _older = login(0).await;
            let _newer = login(1).await;
            assert_eq!(nodes.hub(0).stats().sessions, 0, "the older session lives");
        }
    });
}

/// A login that failed took the place of its own node's row, and was released before that was back: meanwhile nobody knew
/// of the session there.
#[test]
fn a_login_that_fails_does_not_hide_the_session_that_it_was_to_replace() {
    each_seed(async |sim| {
        let strict = |builder: tok_cluster::ClusterBuilder| builder.policy(Policy::Strict);
        let nodes = Nodes::with(sim, 2, Sso::PerUser, strict).await;
        nodes.nodes[0].faults.set_plan(Plan { fail: 300, delay: SECOND / 30, ..Plan::default() });
        let login = async |node: usize| loop {
            let mut peer = nodes.connect(node, Device::new("max"));
            peer.send("ready?");
            match peer.recv().await {
                Read::Message(_) => return peer,
                _ => nodes.rt.sleep(Duration::from_millis(5)).await,
            }
        };
        for _ in 0..20 {
            let _older = login(0).await;
            let _may_fail = nodes.connect(0, Device::new("max"));
            nodes.rt.sleep(Duration::from_millis(nodes.rt.below(200))).await;
            let _newer = login(1).await;
            let sessions = nodes.hub(0).stats().sessions + nodes.hub(1).stats().sessions;
            assert!(sessions <= 1, "{sessions} sessions");
        }
    });
}

/// Scenario 14: nothing reaches a node any more, and nobody says so.
#[test]
fn a_node_that_went_deaf_notices_and_catches_up() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 2).await;
        let mut lea = nodes.user(0, "lea").await;
        nodes.link(0, Link::Deaf);
        nodes.send_kept(1, "lea", 0..3).await;
        let (_, took) = nodes.time(nodes.until("it notices", async || !nodes.cluster(0).healthy())).await;
        assert!(took <= 2 * LEASE, "{took:?}");
        nodes.link(0, Link::Up);
        nodes.until("it is well again", async || nodes.cluster(0).healthy()).await;
        assert_eq!(numbers(&mut lea, 3).await, [0, 1, 2]);
    });
}

/// A node that was cut off does not trust what it knew until it has caught up.
#[test]
fn what_a_node_missed_is_looked_up_until_it_has_caught_up() {
    each_seed(async |sim| {
        let nodes = Nodes::with(sim, 2, Sso::PerDevice, |builder| builder).await;
        let mut phone = nodes.login(0, Device::new("rex").with_id("phone")).await;
        nodes.link(0, Link::Cut);
        let mut desk = nodes.login(1, Device::new("rex").with_id("desk")).await;
        // Repairs take their time.
        nodes.nodes[0].faults.set_plan(Plan { delay: SECOND / 2, ..Plan::default() });
        nodes.link(0, Link::Up);
        nodes.until("the link is up", async || nodes.cluster(0).healthy()).await;
        let receipt = nodes.hub(0).send("rex", "both").await.unwrap();
        assert_eq!(receipt.sessions(), 2);
        assert_eq!((text(&mut phone).await, text(&mut desk).await), ("both".into(), "both".into()));
    });
}
