//! A server that is silent, cut off or killed.

use std::time::Duration;

use brokers::{Direction, NatsServer, Proxy};
use futures_util::future::{join, join_all};
use tok_core::{Queue, Uid, queue::Seq};
use tok_queue::NatsQueue;

use super::{
    SERVER, SHORT,
    support::{self, EPOCH, add, ids, is_unavailable, prefix, soon, until_ok},
};

#[tokio::test]
async fn operations_at_once_are_bounded() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let name = prefix();
    let direct = NatsQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let url = format!("nats://{}", proxy.addr());
    let queue = NatsQueue::builder(url).prefix(name).max_in_flight(2).timeout(support::PATIENCE);
    let queue = queue.connect().await.unwrap();
    let users: Vec<_> = (0..5_u32).map(Uid::from).collect();
    // With what it remembers of them, it writes at once.
    for user in &users {
        add(&queue, user, [0]).await.unwrap();
    }
    proxy.hold(Direction::ToClient);
    let adding = join_all(users.iter().map(|user| add(&queue, user, [1])));
    let stored = async || {
        let mut stored = 0;
        for user in &users {
            stored += direct.size(user).await.unwrap().messages - 1;
        }
        stored
    };
    let looking = async {
        soon("two are stored", async { while stored().await < 2 {} }).await;
        for _ in 0..20 {
            assert_eq!(stored().await, 2, "the others wait for an answer to these");
        }
        proxy.heal();
    };
    let (added, ()) = soon("all are stored", join(adding, looking)).await;
    assert!(added.iter().all(Result::is_ok), "{added:?}");
}

#[tokio::test]
async fn a_silent_server_is_unavailable_and_what_it_was_asked_does_no_harm_later() {
    let server = NatsServer::start().unwrap();
    let queue = NatsQueue::builder(server.url()).timeout(SHORT).connect().await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [0]).await.unwrap();
    server.suspend().unwrap();
    for id in 1..4 {
        let result = soon("a silent server", add(&queue, &uid, [id])).await;
        assert!(is_unavailable(&result), "{result:?}");
    }
    assert!(is_unavailable(&soon("a silent server", queue.ack(&uid, Seq::new(u64::MAX), EPOCH)).await));
    server.resume().unwrap();
    // Of those that were on their way one may be stored; those that expected the same before them are not.
    until_ok("enqueue", async || add(&queue, &uid, [9]).await).await;
    let there = ids(&queue, &uid).await;
    assert!([&[0, 9][..], &[0, 1, 9]].contains(&there.as_slice()), "{there:?}");
}

#[tokio::test]
async fn a_lost_network_is_unavailable_and_heals() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("nats://{}", proxy.addr());
    let queue = NatsQueue::builder(url).prefix(prefix()).timeout(SHORT).connect().await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [0]).await.unwrap();

    // The server hears it, the answer is lost: it is stored, and the caller cannot know.
    proxy.hold(Direction::ToClient);
    assert!(is_unavailable(&soon("held", add(&queue, &uid, [1])).await));
    proxy.heal();
    until_ok("size", async || queue.size(&uid).await).await;
    assert_eq!(ids(&queue, &uid).await, [0, 1]);

    // The server does not hear it; when it does, another is in its place.
    proxy.cut();
    assert!(is_unavailable(&soon("cut", add(&queue, &uid, [2])).await));
    assert!(is_unavailable(&soon("cut", queue.size(&uid)).await));
    proxy.heal();
    until_ok("enqueue", async || add(&queue, &uid, [3]).await).await;
    let there = ids(&queue, &uid).await;
    assert!([&[0, 1, 3][..], &[0, 1, 2, 3]].contains(&there.as_slice()), "{there:?}");
}

/// With `sync_interval: always`: what was answered is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_servers_that_are_killed() {
    let mut server = NatsServer::synced().unwrap();
    let queue = NatsQueue::builder(server.url()).timeout(Duration::from_secs(2)).connect().await.unwrap();
    let kept = support::outlive_crashes(queue, 4, || {
        server.restart().unwrap();
    })
    .await;
    assert!(kept > 0);
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_set_up_again_and_positions_rise() {
    let mut server = NatsServer::start().unwrap();
    let queue = NatsQueue::connect(server.url()).await.unwrap();
    let (alice, bob) = (Uid::from("alice"), Uid::from("bob"));
    let before = add(&queue, &alice, [0, 1]).await.unwrap();
    queue.ack(&alice, before[0], EPOCH).await.unwrap();
    server.wipe().unwrap();
    server.restart().unwrap();
    // Whatever is first notices.
    assert_eq!(until_ok("the queue", async || queue.size(&bob).await).await.messages, 0);
    let after = until_ok("the queue", async || add(&queue, &alice, [2]).await).await;
    assert!(after[0] > before[1], "{after:?} {before:?}");
    assert_eq!(ids(&queue, &alice).await, [2]);
    queue.ack(&alice, after[0], EPOCH).await.unwrap();
    assert_eq!(ids(&queue, &alice).await, [0; 0]);
}
