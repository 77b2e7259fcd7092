//! The broker is away for a while, or was never there.

use std::time::Duration;

use brokers::{Kind, Server};
use tokio::time;

use crate::{
    flow::{OTHERS, Seen, Sent},
    nodes::{Nodes, until},
    support::{Process, within},
};

const NEAR: usize = OTHERS;
const FAR: usize = OTHERS + 1;

/// Longer than requests wait, shorter than leases last.
const OUTAGE: Duration = Duration::from_secs(5);

/// Alice sends while the broker is away; bob, on another node, keeps his session.
async fn outlives_an_outage<K: Kind>(wipe: bool) {
    // What it acknowledges is on disk.
    let mut nodes = Nodes::<K>::on(Server::synced().unwrap(), "").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let mut bob = nodes.tcp(1, "uid=bob&confirm=1").await;
    let mut neighbour = nodes.tcp(1, "neighbour").await;
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    sent.send_accepted(&mut alice, 20).await;
    seen.read(&mut bob, |seen| seen.has_all_of(&sent)).await;

    nodes.broker.kill().unwrap();
    let unhealthy = async { while nodes.health(0).await != 503 {} };
    within("the node to say that it is not well", unhealthy).await;
    let before = sent.refused;
    let end = time::Instant::now() + OUTAGE;
    while time::Instant::now() < end {
        // Whatever it is answered is the truth, as is seen below.
        sent.send(&mut alice).await;
        time::sleep(Duration::from_millis(20)).await; // sleep: the pace of the load
    }
    // Where both are on one node, the broker carries nothing. Should the node be about to look into the queue it comes
    // behind what is found there.
    neighbour.send(format!("Tbob|near|{NEAR}")).await;
    if wipe {
        nodes.broker.wipe().unwrap();
    }
    nodes.broker.restart().unwrap();

    sent.send_accepted(&mut alice, 20).await;
    assert!(sent.refused > before, "nothing was refused while the broker was away");
    let all = seen.read(&mut bob, |seen| seen.has_all_of(&sent) && seen.all.contains(&NEAR));
    within("everything that was accepted, in the session that was there before", all).await;
    for node in 0..3 {
        let healthy = async { while nodes.health(node).await != 200 {} };
        within("the node to say that it is well", healthy).await;
    }
    // Logins on all nodes see each other again.
    let mut carol = nodes.tcp(2, "carol").await;
    until(&mut carol, "Obob", "+online bob 1").await;
    carol.send(format!("Tbob|far|{FAR}")).await;
    within("a message", seen.read(&mut bob, |seen| seen.all.contains(&FAR))).await;
    until(&mut carol, "N", "+users 4").await;
}

async fn an_outage_of_the_broker_is_told_and_passes<K: Kind>() {
    outlives_an_outage::<K>(false).await;
}

async fn a_broker_that_lost_its_data_is_filled_again<K: Kind>() {
    outlives_an_outage::<K>(true).await;
}

async fn a_broker_that_cannot_be_reached_is_one_line_and_status_2<K: Kind>() {
    let mut broker = Server::<K>::start().unwrap();
    broker.kill().unwrap();
    for queue in ["", "--queue none"] {
        let (status, out, err) =
            Process::run(&format!("--ws 127.0.0.1:0 --cluster {} {queue}", broker.url())).await;
        assert_eq!((status, out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
    }
}

crate::on_each_broker!(
    an_outage_of_the_broker_is_told_and_passes
    a_broker_that_lost_its_data_is_filled_again
    a_broker_that_cannot_be_reached_is_one_line_and_status_2
);
