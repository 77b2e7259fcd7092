//! What cannot work is refused, with what would be right.

use std::{error::Error, time::Duration};

use brokers::RedisServer;
use tok_core::{
    ConfigError,
    queue::{Admit, Queue as _},
};
use tok_queue::{ConnectError, RedisQueue};

use super::{
    SERVER, SHORT, builder,
    support::{entry, soon},
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
    let wrong_password = server.url().replace("//", "//:secret@");
    let error = connect(wrong_password).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
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

#[tokio::test]
async fn whatever_is_large_works() {
    let large = builder().timeout(Duration::MAX).max_in_flight(usize::MAX);
    let queue = large.max_messages(u64::MAX).max_bytes(u64::MAX).connect().await.unwrap();
    queue.enqueue(&"alice".into(), &[entry(1)], Admit::WithinLimits).await.unwrap();
    assert_eq!(queue.len(&"alice".into()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_may_be_older_than_the_timeout() {
    let queue = builder().timeout(SHORT).connect().await.unwrap();
    tokio::time::sleep(2 * SHORT).await; // sleep: it has to become so old
    queue.enqueue(&"alice".into(), &[entry(1)], Admit::WithinLimits).await.unwrap();
}
