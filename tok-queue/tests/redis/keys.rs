//! The keys on the server: what they take, what they leave, and who shares them.

use std::collections::BTreeSet;

use brokers::RedisServer;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use tok_core::{
    Epoch, Queue, Uid,
    queue::{Admit, Entry, QueueError, Seq},
};
use tok_queue::RedisQueue;

use super::{
    SERVER,
    support::{EPOCH, add, entry, ids, is_unavailable, prefix},
};

async fn client(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn a_server_without_memory_refuses_new_entries_and_forgets_old_ones() {
    let server = RedisServer::start().unwrap();
    let queue = RedisQueue::connect(server.url()).await.unwrap();
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let seqs = add(&queue, &alice, 0..5).await.unwrap();
    let mut client = client(&server).await;
    let () =
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query_async(&mut client).await.unwrap();

    assert!(matches!(add(&queue, &bob, [7]).await, Err(QueueError::Full)));
    let forced = queue.enqueue(&bob, &[entry(7)], Admit::AlreadyAccepted).await;
    assert!(is_unavailable(&forced), "{forced:?}");
    assert_eq!(ids(&queue, &alice).await, [0, 1, 2, 3, 4]);
    queue.ack(&alice, seqs[2], EPOCH).await.unwrap();
    assert_eq!(ids(&queue, &alice).await, [3, 4]);

    let () =
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").query_async(&mut client).await.unwrap();
    add(&queue, &bob, [8]).await.unwrap();
    assert_eq!(ids(&queue, &bob).await, [8]);
}

#[tokio::test]
async fn what_is_forgotten_with_all_keys_gets_new_positions() {
    let server = RedisServer::start().unwrap();
    let queue = RedisQueue::connect(server.url()).await.unwrap();
    let uid = Uid::from("alice");
    let mut last = Seq::START;
    for round in 0..5 {
        // Scripts are loaded again where they are gone.
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut client(&server).await).await.unwrap();
        let seqs = add(&queue, &uid, [round]).await.unwrap();
        assert!(seqs[0] > last, "{seqs:?} after {last:?}");
        last = seqs[0];
        let () = redis::cmd("FLUSHALL").query_async(&mut client(&server).await).await.unwrap();
        assert_eq!(ids(&queue, &uid).await, [0; 0]);
        // The clock that positions follow counts milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await; // sleep: the server's clock is the subject
    }
}

#[tokio::test]
async fn an_empty_queue_leaves_what_ends_by_itself() {
    let server = RedisServer::start().unwrap();
    let queue = RedisQueue::connect(server.url()).await.unwrap();
    let mut client = client(&server).await;
    let expiring = |id| Entry { expires_at: Some(1), ..entry(id) };
    for (uid, swept) in [("al.ice", false), ("b{o}b", true)] {
        let uid = Uid::from(uid);
        let batch = [expiring(0), expiring(1)];
        let seqs = queue.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap().seqs;
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
        assert_eq!(keys.len(), 3, "{keys:?}");
        for key in keys {
            assert!(key.starts_with("tok:{"), "{key}");
            let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut client).await.unwrap();
            assert_eq!(left, -1, "{key} is needed as long as there are entries");
        }
        if swept {
            assert_eq!(queue.sweep(1, 10).await.unwrap().expired.len(), 2);
        } else {
            queue.ack(&uid, seqs[1], EPOCH).await.unwrap();
        }
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut client).await.unwrap();
        assert!(left > 0 && left <= 24 * 60 * 60 * 1000, "{key} stays for {left} ms");
        let () = redis::cmd("DEL").arg(key).query_async(&mut client).await.unwrap();
    }
}

#[tokio::test]
async fn nodes_share_entries_and_prefixes_part_them() {
    let name = prefix();
    let node = async |name: &str| RedisQueue::builder(SERVER.url()).prefix(name).connect().await.unwrap();
    let (first, second, other) = (node(&name).await, node(&name).await, node(&prefix()).await);
    let uid = Uid::from("alice");
    let seqs = add(&first, &uid, 0..3).await.unwrap();
    assert_eq!(ids(&second, &uid).await, [0, 1, 2]);
    assert_eq!(ids(&other, &uid).await, [0; 0]);
    second.ack(&uid, seqs[0], Epoch::new(2)).await.unwrap();
    assert!(matches!(first.ack(&uid, seqs[2], Epoch::new(1)).await, Err(QueueError::Fenced)));
    assert_eq!(ids(&first, &uid).await, [1, 2]);
    assert!(first.caps().shared && first.caps().durable);
}

#[tokio::test]
async fn nodes_that_sweep_at_once_return_each_entry_once() {
    let name = prefix();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(RedisQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap());
    }
    for user in 0..50_u128 {
        let batch: Vec<_> =
            (0..8).map(|i| Entry { expires_at: Some(i as u64 % 2 + 1), ..entry(user * 100 + i) }).collect();
        nodes[0].enqueue(&Uid::from(user), &batch, Admit::WithinLimits).await.unwrap();
    }
    let (mut swept, mut total) = (BTreeSet::new(), 0);
    let sweeps = nodes.iter().map(|node| node.sweep(1, 1000));
    for one in join_all(sweeps).await {
        let one = one.unwrap();
        total += one.expired.len();
        swept.extend(one.expired.into_iter().map(|(_, entry)| entry.id.as_u128()));
    }
    assert_eq!((swept.len(), total), (200, 200));
    assert_eq!(ids(&nodes[1], &Uid::from(7)).await, [701, 703, 705, 707]);
}
