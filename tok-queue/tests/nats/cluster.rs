//! Three servers that keep each message three times: what one has stored the others have a moment later.

use std::net::{Ipv4Addr, TcpListener};

use brokers::NatsServer;
use futures_util::future::join_all;
use tok_core::{
    Epoch, Queue, Uid,
    queue::{QueueError, Seq},
};
use tok_queue::NatsQueue;

use super::support::{self, add, ids, soon, until_ok};

fn start() -> Vec<NatsServer> {
    // Held until all are known; a port that is taken meanwhile is an error of the server's.
    let routes: Vec<_> = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let routes: Vec<_> = routes.into_iter().map(|route| route.local_addr().unwrap()).collect();
    let urls: Vec<_> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
    let config = |index: usize| {
        let (route, urls) = (routes[index], urls.join(", "));
        format!("server_name: n{index}\ncluster {{ name: c, listen: \"{route}\", routes: [{urls}] }}\n")
    };
    (0..3).map(|index| NatsServer::with_config(&config(index)).unwrap()).collect()
}

async fn connect(url: String) -> NatsQueue {
    soon("the servers find each other", async {
        loop {
            match NatsQueue::builder(&url).replicas(3).connect().await {
                Ok(queue) => return queue,
                Err(_) => tokio::time::sleep(support::PATIENCE / 200).await, // sleep: between two tries
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_one_node_has_stored_or_removed_the_others_see() {
    let servers = start();
    let mut nodes = Vec::new();
    for server in &servers {
        nodes.push(connect(server.url()).await);
    }
    let uid = Uid::from("alice");
    until_ok("the streams have a leader", async || nodes[0].size(&uid).await).await;
    let (mut last, mut there) = (Seq::START, Vec::new());
    for round in 0..30 {
        let node = |turn: usize| &nodes[(round + turn) % 3];
        let seqs = add(node(0), &uid, [round as u128]).await.unwrap();
        assert!(seqs[0] > last);
        last = seqs[0];
        there.push(round as u128);
        for seen in join_all(nodes.iter().map(|node| ids(node, &uid))).await {
            assert_eq!(seen, there, "round {round}");
        }
        if round % 5 < 4 {
            continue;
        }
        node(2).ack(&uid, last, Epoch::new(round as u64 + 1)).await.unwrap();
        there.clear();
        assert_eq!(node(1).size(&uid).await.unwrap().messages, 0, "round {round}");
        assert_eq!(ids(node(0), &uid).await, there, "round {round}");
        let fenced = node(1).ack(&uid, last, Epoch::new(round as u64)).await;
        assert!(matches!(fenced, Err(QueueError::Fenced { .. })), "{fenced:?}");
    }
}

/// With three replicas: what was answered is in the files of a majority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_the_end_of_any_server() {
    let mut servers = start();
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    let queue = connect(urls.join(",")).await;
    until_ok("the streams have a leader", async || queue.size(&Uid::from("alice")).await).await;
    let mut next = 0;
    let kept = support::outlive_crashes(queue, 3, || {
        servers[next % 3].restart().unwrap();
        next += 1;
    })
    .await;
    assert!(kept > 0);
}
