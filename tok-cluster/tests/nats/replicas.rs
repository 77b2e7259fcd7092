//! Three servers that keep the table three times: what one has stored the others have a moment later.

use std::net::{Ipv4Addr, TcpListener};

use brokers::NatsServer;
use tok_cluster::{Cursor, NatsBroker, Registry};
use tok_core::{Epoch, Uid};

use super::support::{LONG, claim, node, until_ok};

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

/// No connection sees less than another was told, and epochs rise, whichever server ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_was_told_all_answer_and_any_of_them_may_end() {
    let mut servers = start();
    let mut nodes = Vec::new();
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    for first in 0..3 {
        // Each prefers another server.
        let urls: Vec<_> = urls.iter().cycle().skip(first).take(3).cloned().collect();
        let broker = until_ok("the servers find each other", async || {
            NatsBroker::builder(urls.join(",")).replicas(3).connect().await
        });
        nodes.push(broker.await.registry());
    }
    let mut last = Epoch::default();
    for round in 0..60 {
        if round % 20 == 10 {
            tokio::task::block_in_place(|| servers[round / 20].restart()).unwrap();
        }
        let node = |turn: usize| &nodes[(round + turn) % 3];
        let claimed = until_ok("a claim", async || claim(node(0), "alice", "a").await).await;
        assert!(claimed.epoch > last, "round {round}: {claimed:?} follows {last:?}");
        last = claimed.epoch;
        for turn in 0..3 {
            let found = until_ok("a lookup", async || node(turn).lookup(&Uid::from("alice")).await).await;
            assert_eq!(found.iter().map(|row| row.epoch).collect::<Vec<_>>(), [last], "round {round}");
        }
        if round % 3 == 0 {
            let uid = Uid::from("alice");
            until_ok("a release", async || node(1).release(&uid, last).await).await;
            for turn in 0..3 {
                let found = until_ok("a lookup", async || node(turn).lookup(&uid).await).await;
                assert_eq!(found, [], "round {round}");
            }
        }
    }
    // Servers that share few processors lose their leader now and then: what fails then is tried again.
    until_ok("a beat", async || nodes[0].beat(&node("a"), LONG).await).await;
    assert!(until_ok("a beat", async || nodes[1].beat(&node("a"), LONG).await).await);
    for n in 0..100 {
        until_ok("a claim", async || claim(&nodes[n % 3], &n.to_string(), "a").await).await;
    }
    until_ok("leaving", async || nodes[0].leave(&node("a")).await).await;
    while until_ok("reaping", async || nodes[1].reap(&node("a"), 30).await).await {}
    let page = until_ok("a page", async || nodes[2].page(Cursor::START, 1000).await).await;
    assert_eq!(page.rows, []);
    assert_eq!(until_ok("nodes", async || nodes[2].nodes().await).await, []);
}
