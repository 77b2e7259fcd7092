//! A server that is silent, cut off or killed.

use std::time::Duration;

use brokers::{Direction, Proxy, RedisServer};
use futures_util::future::join_all;
use tok_core::{Queue, Uid};
use tok_queue::RedisQueue;

use super::{
    SERVER, SHORT,
    support::{self, add, ids, is_unavailable, prefix, soon, until_ok},
};

#[tokio::test]
async fn operations_at_once_are_bounded() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let name = prefix();
    let direct = RedisQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let url = format!("redis://{}", proxy.addr());
    let queue = RedisQueue::builder(url).prefix(name).max_in_flight(2).timeout(support::PATIENCE);
    let queue = queue.connect().await.unwrap();
    let uid = Uid::from("alice");
    proxy.hold(Direction::ToClient);
    let adding = join_all((0..5).map(|id| add(&queue, &uid, [id])));
    let looking = async {
        soon("two are stored", async { while direct.size(&uid).await.unwrap().messages < 2 {} }).await;
        for _ in 0..50 {
            assert_eq!(
                direct.size(&uid).await.unwrap().messages,
                2,
                "the others wait for an answer to these"
            );
        }
        proxy.heal();
    };
    let (added, ()) = soon("all are stored", futures_util::future::join(adding, looking)).await;
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    assert_eq!(ids(&queue, &uid).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_silent_server_is_unavailable_and_what_it_was_asked_does_not_happen_later() {
    let server = RedisServer::start().unwrap();
    let queue = RedisQueue::builder(server.url()).timeout(SHORT).connect().await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [0]).await.unwrap();
    server.suspend().unwrap();
    for id in 1..4 {
        let result = soon("a silent server", add(&queue, &uid, [id])).await;
        assert!(is_unavailable(&result), "{result:?}");
    }
    server.resume().unwrap();
    until_ok("enqueue", async || add(&queue, &uid, [9]).await).await;
    // Whatever came in the meantime has been read by now.
    for _ in 0..20 {
        queue.size(&uid).await.unwrap();
    }
    assert_eq!(ids(&queue, &uid).await, [0, 9]);
}

#[tokio::test]
async fn a_lost_network_is_unavailable_and_heals() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("redis://{}", proxy.addr());
    let queue = RedisQueue::builder(url).prefix(prefix()).timeout(SHORT).connect().await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [0]).await.unwrap();

    // The server does not hear it; when it does, it is too late.
    proxy.hold(Direction::ToServer);
    assert!(is_unavailable(&soon("held", add(&queue, &uid, [1])).await));
    proxy.heal();
    until_ok("size", async || queue.size(&uid).await).await;
    for _ in 0..20 {
        queue.size(&uid).await.unwrap();
    }
    assert_eq!(ids(&queue, &uid).await, [0]);

    // The server hears it, the answer is lost: it is stored, and the caller cannot know.
    proxy.hold(Direction::ToClient);
    assert!(is_unavailable(&soon("held", add(&queue, &uid, [2])).await));
    proxy.heal();
    until_ok("size", async || queue.size(&uid).await).await;
    assert_eq!(ids(&queue, &uid).await, [0, 2]);

    proxy.cut();
    assert!(is_unavailable(&soon("cut", add(&queue, &uid, [3])).await));
    assert!(is_unavailable(&soon("cut", queue.size(&uid)).await));
    proxy.heal();
    assert_eq!(until_ok("size", async || queue.size(&uid).await).await.messages, 2);
}

/// Callers may bound the time of an operation themselves: they drop what takes too long.
#[tokio::test]
async fn a_silent_connection_is_replaced_also_if_nobody_waits_to_the_end() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("redis://{}", proxy.addr());
    let queue = RedisQueue::builder(url).prefix(prefix()).timeout(2 * SHORT).connect().await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [0]).await.unwrap();
    proxy.lose();
    let dropped = tokio::time::timeout(SHORT + SHORT / 2, queue.size(&uid)).await;
    assert!(!matches!(dropped, Ok(Ok(_))), "{dropped:?}");
    // Without the replacement the next one is lost on the same connection.
    let next = queue.size(&uid).await;
    assert!(matches!(next, Ok(size) if size.messages == 1), "{next:?}");
}

/// With `appendonly yes` and `appendfsync always`: what was answered is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_servers_that_are_killed() {
    let mut server = RedisServer::synced().unwrap();
    let queue = RedisQueue::builder(server.url()).timeout(Duration::from_secs(2)).connect().await.unwrap();
    let kept = support::outlive_crashes(queue, 4, || {
        server.restart().unwrap();
    })
    .await;
    assert!(kept > 0);
}
