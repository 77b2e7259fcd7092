//! What cannot work is refused, with what would be right.

use std::{error::Error, time::Duration};

use brokers::RedisServer;
use tok_core::{
    ConfigError, Uid,
    queue::{Admit, Entry, Queue as _, QueueError},
};
use tok_queue::{ConnectError, RedisQueue};

use super::{
    SERVER, SHORT, builder,
    support::{EPOCH, add, entry, ids, soon, until_ok},
};

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let url = SERVER.url();
    for (builder, name) in [
        (builder().max_messages(0), "max_messages"),
        (builder().max_bytes(0), "max_bytes"),
        (builder().max_in_flight(0), "max_in_flight"),
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().prefix(""), "prefix"),
        (builder().prefix("a{b}"), "prefix"),
        (RedisQueue::builder("127.0.0.1"), "url"),
        (RedisQueue::builder(url.replace("redis", "http")), "url"),
        #[cfg(not(feature = "redis-tls"))]
        (RedisQueue::builder("rediss://user:secret@127.0.0.1"), "url"), // port: never connected to
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let ConnectError::Config(ConfigError::Invalid { setting, .. }) = error else { panic!("{error:?}") };
        assert_eq!(setting, name);
    }
}

#[tokio::test]
async fn where_nobody_answers_connecting_fails() {
    let mut server = RedisServer::start().unwrap();
    let connect = |url: String| RedisQueue::builder(url).timeout(SHORT).connect();
    #[cfg(feature = "redis-tls")]
    {
        // A server without TLS.
        let error = connect(server.url().replace("redis:", "rediss:")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    }
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    let set = redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("right").clone();
    let () = set.query_async(&mut client).await.unwrap();
    for wrong in [server.url(), server.url().replace("//", "//:secret@")] {
        let error = connect(wrong).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    connect(server.url().replace("//", "//:right@")).await.unwrap();
    server.suspend().unwrap();
    let error = soon("a silent server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    server.kill().unwrap();
    let error = soon("no server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_server_that_would_evict_messages_is_refused() {
    let server = RedisServer::with_config("maxmemory 100mb\nmaxmemory-policy allkeys-lru\n").unwrap();
    let error = RedisQueue::connect(server.url()).await.unwrap_err();
    assert!(error.to_string().contains("maxmemory-policy is allkeys-lru"), "{error}");
}

/// A replica answers reads and refuses what has to be stored, or loses it with the next synchronization.
#[tokio::test]
async fn a_replica_is_refused() {
    let primary = RedisServer::start().unwrap();
    let of = |server: &RedisServer| format!("replicaof {} {}\n", server.addr().ip(), server.addr().port());
    let replica = RedisServer::with_config(&of(&primary)).unwrap();
    let error = RedisQueue::connect(replica.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("role is slave, but must be master"), "{error}");
}

/// A server that becomes a replica while it is in use says so to the next operation that writes, and why to those that
/// follow.
#[tokio::test]
async fn a_server_that_has_become_a_replica_is_refused() {
    let (old, new) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let queue = RedisQueue::connect(old.url()).await.unwrap();
    let uid = Uid::from("alice");
    add(&queue, &uid, [1]).await.unwrap();
    let client = redis::Client::open(old.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    let (host, port) = (new.addr().ip().to_string(), new.addr().port());
    let () = redis::cmd("REPLICAOF").arg(host).arg(port).query_async(&mut client).await.unwrap();
    assert!(add(&queue, &uid, [2]).await.is_err());
    let Err(QueueError::Unavailable(cause)) = add(&queue, &uid, [3]).await else { panic!("it is a replica") };
    assert!(cause.to_string().contains("role is slave"), "{cause}");
    let () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut client).await.unwrap();
    until_ok("it is the primary again", async || add(&queue, &uid, [4]).await).await;
}

#[tokio::test]
async fn a_node_of_a_redis_cluster_is_refused() {
    let server = RedisServer::with_config("cluster-enabled yes\n").unwrap();
    let error = RedisQueue::connect(server.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("cluster-enabled is yes, but must be no"), "{error}");
}

/// What the documentation says a user of the server needs is enough.
#[tokio::test]
async fn a_user_with_the_rights_that_are_documented_can_do_everything() {
    let server = RedisServer::start().unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    let rules = "ACL SETUSER tok on >secret ~tok:* +hello +info +time +evalsha +script|load +@list +@hash +@sortedset \
                 +exists +persist +pexpire";
    let mut set = redis::Cmd::new();
    for word in rules.split_whitespace() {
        set.arg(word);
    }
    let () = set.query_async(&mut client).await.unwrap();
    let queue = RedisQueue::connect(server.url().replace("//", "//tok:secret@")).await.unwrap();
    let uid = Uid::from("alice");
    let expired = Entry { ttl: Some(Duration::ZERO), ..entry(2) };
    let seqs = queue.enqueue(&uid, &[entry(1), expired], Admit::WithinLimits).await.unwrap().seqs;
    assert_eq!(queue.size(&uid).await.unwrap().messages, 2);
    assert_eq!(ids(&queue, &uid).await, [1, 2]);
    assert_eq!(queue.sweep(10).await.unwrap().expired.len(), 1);
    queue.ack(&uid, seqs[1], EPOCH).await.unwrap();
}

#[tokio::test]
async fn whatever_is_large_works() {
    let large = builder().timeout(Duration::MAX).max_in_flight(usize::MAX);
    let queue = large.max_messages(u64::MAX).max_bytes(u64::MAX).connect().await.unwrap();
    queue.enqueue(&"alice".into(), &[entry(1)], Admit::WithinLimits).await.unwrap();
    assert_eq!(queue.size(&"alice".into()).await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_connection_may_be_older_than_the_timeout() {
    let queue = builder().timeout(SHORT).connect().await.unwrap();
    tokio::time::sleep(2 * SHORT).await; // sleep: it has to become so old
    queue.enqueue(&"alice".into(), &[entry(1)], Admit::WithinLimits).await.unwrap();
}
