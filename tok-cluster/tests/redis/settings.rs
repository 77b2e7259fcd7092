//! What cannot work is refused, with what would be right.

use std::{error::Error, time::Duration};

use brokers::RedisServer;
use tok_cluster::{Bus, BusError, ConnectError, RedisBroker, Registry, RegistryError};
use tok_core::ConfigError;

use crate::support::{PATIENCE, SERVER, SHORT, ask, builder, claim, node, soon};

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let url = SERVER.url();
    for (builder, name) in [
        (builder().max_in_flight(0), "max_in_flight"),
        (builder().max_frame(0), "max_frame"),
        (builder().max_frame(64 * 1024 - 1), "max_frame"),
        (builder().max_frame(usize::MAX), "max_frame"),
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().prefix(""), "prefix"),
        (builder().prefix("a{b}"), "prefix"),
        (RedisBroker::builder("127.0.0.1"), "url"),
        (RedisBroker::builder(url.replace("redis", "http")), "url"),
        #[cfg(not(feature = "redis-tls"))]
        (RedisBroker::builder("rediss://user:secret@127.0.0.1"), "url"), // port: never connected to
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
    let connect = |url: String| RedisBroker::builder(url).timeout(SHORT).connect();
    #[cfg(feature = "redis-tls")]
    {
        // A server without TLS.
        let error = connect(server.url().replace("redis:", "rediss:")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    }
    let error = connect(server.url().replace("//", "//nobody:secret@")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    server.suspend().unwrap();
    let error = soon("a silent server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    server.kill().unwrap();
    let error = soon("no server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)) && error.source().is_some(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_would_forget_sessions_or_lags_behind_is_refused() {
    let server = RedisServer::with_config("maxmemory 100mb\nmaxmemory-policy allkeys-lru\n").unwrap();
    let error = RedisBroker::connect(server.url()).await.unwrap_err();
    assert!(error.to_string().contains("maxmemory-policy is allkeys-lru"), "{error}");

    let () = ask(&server, "CONFIG SET maxmemory-policy noeviction").await;
    let broker = RedisBroker::connect(server.url()).await.unwrap();
    let () = ask(&server, &format!("REPLICAOF {} {}", SERVER.addr().ip(), SERVER.addr().port())).await;
    let error = RedisBroker::connect(server.url()).await.unwrap_err();
    assert!(error.to_string().contains("role is slave"), "{error}");
    // Nor does a server answer that has become one.
    let looked = broker.registry().lookup(&"alice".into()).await;
    assert!(matches!(looked, Err(RegistryError::Unavailable(_))), "{looked:?}");
}

#[tokio::test]
async fn a_server_that_does_not_take_the_largest_frame_is_refused() {
    let server = RedisServer::with_config("proto-max-bulk-len 2mb\n").unwrap();
    let connect = |max_frame| RedisBroker::builder(server.url()).max_frame(max_frame).connect();
    let error = connect(2 << 20).await.unwrap_err();
    let ConnectError::Unsuitable { setting, found, rule } = &error else { panic!("{error:?}") };
    assert_eq!((setting.as_str(), found.as_str()), ("proto-max-bulk-len", "2097152"));
    assert!(rule.contains("2097152 bytes"), "{rule}");
    // The most that it takes.
    let broker = connect((2 << 20) - 17).await.unwrap();
    let (bus, me) = (broker.bus(), node("a"));
    bus.open(&me, crate::support::Ear::new()).await.unwrap();
    let largest = bytes::Bytes::from(vec![b'x'; bus.max_frame()]);
    assert!(bus.request(&me, largest.clone(), PATIENCE).await.unwrap() == largest);
}

/// Its keys are spread over servers, which only a client of clusters can follow.
#[tokio::test]
async fn a_node_of_a_redis_cluster_is_refused() {
    let server = RedisServer::with_config("cluster-enabled yes\n").unwrap();
    let error = RedisBroker::connect(server.url()).await.unwrap_err();
    let ConnectError::Unsuitable { setting, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!((setting.as_str(), found.as_str()), ("cluster-enabled", "yes"), "{error}");
}

#[tokio::test]
async fn the_password_is_used_and_not_told() {
    let server = RedisServer::start().unwrap();
    // Only what the documentation says is needed.
    let rules = "ACL SETUSER tok on >secret ~{tok}:* &tok:* +hello +info +time +evalsha +script|load +publish +subscribe \
                 +unsubscribe +get +set +hget +hset +hsetnx +hdel +hgetall +hexists +sadd +srem +spop +zadd +zrem +zrange \
                 +zcard +exists";
    let () = ask(&server, rules).await;
    let url = server.url().replace("//", "//tok:secret@");
    let broker = RedisBroker::builder(url).timeout(PATIENCE).connect().await.unwrap();
    let (registry, bus) = (broker.registry(), broker.bus());
    assert!(!format!("{broker:?} {registry:?} {bus:?}").contains("secret"));

    let me = node("a");
    bus.open(&me, crate::support::Ear::new()).await.unwrap();
    assert_eq!(bus.request(&me, "hello".into(), PATIENCE).await.unwrap(), "hello");
    bus.broadcast("all".into()).await.unwrap();
    bus.close().await;
    registry.beat(&me, PATIENCE).await.unwrap();
    let claimed = registry.claim(&claim("alice", Some("")), &me).await.unwrap();
    let rows = registry.lookup(&"alice".into()).await.unwrap();
    assert!(!registry.restore(&rows[0]).await.unwrap().added);
    assert_eq!(registry.page(tok_cluster::Cursor::START, 10).await.unwrap().rows, rows);
    assert_eq!((registry.users().await.unwrap(), registry.nodes().await.unwrap().len()), (1, 1));
    registry.leave(&me).await.unwrap();
    assert!(!registry.reap(&me, 10).await.unwrap());
    assert!(!registry.release(&"alice".into(), claimed.epoch).await.unwrap());

    // What is not allowed says so.
    let () = ask(&server, "ACL SETUSER tok resetchannels").await;
    let refused = bus.open(&me, crate::support::Ear::new()).await.unwrap_err();
    assert!(matches!(&refused, BusError::Other(_)), "{refused:?}");
}

#[tokio::test]
async fn whatever_is_large_works() {
    let broker = builder().timeout(Duration::MAX).max_in_flight(usize::MAX).max_frame(16 * 1024 * 1024);
    let broker = broker.connect().await.unwrap();
    let (registry, bus, me) = (broker.registry(), broker.bus(), node("a"));
    registry.beat(&me, Duration::MAX).await.unwrap();
    assert!(registry.beat(&me, Duration::MAX).await.unwrap());
    assert!(registry.nodes().await.unwrap()[0].left > Duration::from_secs(60 * 365 * 24 * 60 * 60));
    registry.claim(&claim("alice", None), &me).await.unwrap();
    assert_eq!(registry.page(tok_cluster::Cursor::START, usize::MAX).await.unwrap().rows.len(), 1);
    registry.leave(&me).await.unwrap();
    assert!(!registry.reap(&me, usize::MAX).await.unwrap());
    bus.open(&me, crate::support::Ear::new()).await.unwrap();
    let largest = bytes::Bytes::from(vec![b'x'; bus.max_frame()]);
    assert!(bus.request(&me, largest.clone(), Duration::MAX).await.unwrap() == largest);
}

#[tokio::test]
async fn as_much_as_was_set_is_under_way() {
    let broker = builder().max_in_flight(2).connect().await.unwrap();
    let bus = broker.bus();
    let (me, ear) = (node("a"), crate::support::Ear::new());
    bus.open(&me, ear.clone()).await.unwrap();
    let asked = futures_util::future::join_all((0..2).map(|_| bus.request(&me, "silence".into(), PATIENCE)));
    let mut asked = Box::pin(asked);
    let looking = async {
        crate::support::until("both are asked", async || ear.requests().len() == 2).await;
        let third = bus.request(&me, "more".into(), PATIENCE).await;
        assert!(matches!(third, Err(BusError::Overloaded)), "{third:?}");
        let told = bus.broadcast("more".into()).await;
        assert!(matches!(told, Err(BusError::Overloaded)), "{told:?}");
    };
    futures_util::future::select(&mut asked, Box::pin(looking)).await;
    drop(asked);
    assert_eq!(bus.request(&me, "more".into(), PATIENCE).await.unwrap(), "more");
}
