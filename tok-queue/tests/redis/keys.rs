//! The keys on the server: what they take, what they leave, and who shares them.

use std::{collections::BTreeSet, time::Duration};

use brokers::RedisServer;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use tok_core::{
    Epoch, Queue, Uid,
    queue::{Admit, Entry, Limit, QueueError, Seq},
};
use tok_queue::RedisQueue;

use super::{
    SERVER,
    support::{EPOCH, HOUR, add, entry, ids, is_unavailable, prefix, soon},
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
        tokio::time::sleep(Duration::from_millis(2)).await; // sleep: the server's clock is the subject
    }
}

#[tokio::test]
async fn an_empty_queue_leaves_what_ends_by_itself() {
    let server = RedisServer::start().unwrap();
    let queue = RedisQueue::connect(server.url()).await.unwrap();
    let mut client = client(&server).await;
    let expiring = |id| Entry { ttl: Some(Duration::ZERO), ..entry(id) };
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
            assert_eq!(queue.sweep(10).await.unwrap().expired.len(), 2);
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
    assert!(matches!(first.ack(&uid, seqs[2], Epoch::new(1)).await, Err(QueueError::Fenced { .. })));
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
        let ttl = |i: u128| Some(if i.is_multiple_of(2) { Duration::ZERO } else { HOUR });
        let batch: Vec<_> = (0..8).map(|i| Entry { ttl: ttl(i), ..entry(user * 100 + i) }).collect();
        nodes[0].enqueue(&Uid::from(user), &batch, Admit::WithinLimits).await.unwrap();
    }
    let (mut swept, mut total) = (BTreeSet::new(), 0);
    let sweeps = nodes.iter().map(|node| node.sweep(1000));
    for one in join_all(sweeps).await {
        let one = one.unwrap();
        total += one.expired.len();
        swept.extend(one.expired.into_iter().map(|(_, entry)| entry.id.as_u128()));
    }
    assert_eq!((swept.len(), total), (200, 200));
    assert_eq!(ids(&nodes[1], &Uid::from(7)).await, [701, 703, 705, 707]);
}

/// The server's clock, in milliseconds since the Unix epoch.
async fn server_time(client: &mut MultiplexedConnection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(client).await.unwrap();
    seconds * 1000 + micros / 1000
}

/// The key of a user's entries.
async fn list_of(client: &mut MultiplexedConnection, prefix: &str, user: &str) -> String {
    let pattern = format!("{prefix}:*:list:{user}");
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(client).await.unwrap();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    key.clone()
}

async fn left(queue: &RedisQueue, uid: &Uid) -> Vec<Option<Duration>> {
    let page = queue.peek(uid, Seq::START, Limit::default()).await.unwrap();
    page.entries.into_iter().map(|(_, entry)| entry.ttl).collect()
}

/// No node tells the server what time it is.
#[tokio::test]
async fn deadlines_are_of_the_servers_clock() {
    let name = prefix();
    let queue = RedisQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let mut client = client(&SERVER).await;
    let uid = Uid::from("alice");
    let batch = [Entry { ttl: Some(HOUR), ..entry(1) }, Entry { ttl: Some(Duration::MAX), ..entry(2) }];
    let before = server_time(&mut client).await;
    queue.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap();
    let after = server_time(&mut client).await;
    let list = list_of(&mut client, &name, "alice").await;
    let items: Vec<Vec<u8>> =
        redis::cmd("LRANGE").arg(&list).arg(0).arg(-1).query_async(&mut client).await.unwrap();
    // The position, then 19 bytes of the record before its time.
    let deadline = |item: &[u8]| u64::from_be_bytes(item[27..35].try_into().unwrap());
    let hour = HOUR.as_millis() as u64;
    assert!((before + hour..=after + hour + 1).contains(&deadline(&items[0])), "{:?}", items[0]);
    assert!(deadline(&items[1]) > 1 << 52, "a deadline beyond Lua's numbers would wrap");
}

/// As programs before wrote them: a node had the deadline from its own clock, in milliseconds since the Unix epoch.
#[tokio::test]
async fn entries_that_older_programs_stored_expire_by_the_servers_clock() {
    let name = prefix();
    let queue = RedisQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let mut client = client(&SERVER).await;
    let uid = Uid::from("alice");
    // Which hash tag is the user's.
    let first = add(&queue, &uid, [0]).await.unwrap();
    let list = list_of(&mut client, &name, "alice").await;
    queue.ack(&uid, first[0], EPOCH).await.unwrap();
    let due = list.replace("list:alice", "due");
    let now = server_time(&mut client).await;
    let deadlines = [now - 1, now + HOUR.as_millis() as u64, u64::MAX];
    for (seq, deadline) in (first[0].get() + 1..).zip(deadlines) {
        let (seq, time) = (seq.to_be_bytes(), deadline.to_be_bytes());
        let item = [&seq[..], &[1, 0, 1], &[0; 16], &time, b"hello"].concat();
        let member = [&time[..], &seq, b"alice"].concat();
        let () = redis::cmd("RPUSH").arg(&list).arg(item).query_async(&mut client).await.unwrap();
        let () = redis::cmd("ZADD").arg(&due).arg(0).arg(member).query_async(&mut client).await.unwrap();
    }
    let left = left(&queue, &uid).await;
    assert_eq!(left[0], Some(Duration::ZERO));
    assert!(left[1] <= Some(HOUR) && left[1] > Some(HOUR / 2), "{left:?}");
    assert!(left[2] > Some(HOUR * 24 * 365 * 100), "{left:?}");
    assert_eq!(queue.sweep(10).await.unwrap().expired.len(), 1);
}

/// Of nodes that share a queue each may sweep: none of them, whatever its clock, takes what has not expired.
#[tokio::test]
async fn a_sweep_takes_what_has_expired_by_the_servers_clock() {
    let name = prefix();
    let node = async || RedisQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let (first, second) = (node().await, node().await);
    let uid = Uid::from("alice");
    let short = Duration::from_millis(300);
    let batch: Vec<_> = [HOUR, short, HOUR / 6, short]
        .into_iter()
        .zip(0..)
        .map(|(ttl, id)| Entry { ttl: Some(ttl), ..entry(id) })
        .collect();
    first.enqueue(&uid, &batch, Admit::WithinLimits).await.unwrap();
    let mut swept = Vec::new();
    soon("two expire", async {
        while swept.len() < 2 {
            let found = second.sweep(10).await.unwrap().expired;
            assert!(found.iter().all(|(_, entry)| entry.is_expired()), "{found:?}");
            swept.extend(found.into_iter().map(|(_, entry)| entry.id.as_u128()));
        }
    })
    .await;
    swept.sort_unstable();
    assert_eq!(swept, [1, 3]);
    assert_eq!(ids(&first, &uid).await, [0, 2]);
    assert_eq!(second.sweep(10).await.unwrap().expired, []);
}
