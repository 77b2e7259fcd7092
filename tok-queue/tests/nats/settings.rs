//! What cannot work is refused, with what would be right.

use std::{error::Error, time::Duration};

use brokers::{NatsServer, Proxy};
use tok_core::{
    ConfigError,
    queue::{Admit, Entry, Queue as _, QueueError},
};
use tok_queue::{ConnectError, NatsQueue};

use super::{
    SERVER, SHORT, builder,
    support::{PATIENCE, entry, prefix, soon, until_ok},
};

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for (builder, name) in [
        (builder().max_messages(0), "max_messages"),
        (builder().max_bytes(0), "max_bytes"),
        (builder().max_in_flight(0), "max_in_flight"),
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().replicas(0), "replicas"),
        (builder().replicas(6), "replicas"),
        (builder().prefix(""), "prefix"),
        (builder().prefix("a.b"), "prefix"),
        (builder().prefix("x".repeat(65)), "prefix"),
        (NatsQueue::builder(""), "url"),
        (NatsQueue::builder("http://user:secret@127.0.0.1"), "url"), // port: never connected to
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let ConnectError::Config(ConfigError::Invalid { setting, .. }) = error else { panic!("{error:?}") };
        assert_eq!(setting, name);
    }
}

#[tokio::test]
async fn where_nobody_answers_connecting_fails() {
    let mut server = NatsServer::start().unwrap();
    let connect = |url: String| NatsQueue::builder(url).timeout(SHORT).connect();
    server.suspend().unwrap();
    let error = soon("a silent server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(error.source().is_some());
    server.kill().unwrap();
    let error = soon("no server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn credentials_are_in_the_url() {
    let server = NatsServer::with_config(
        "accounts { A { jetstream: enabled, users: [{user: u, password: 'p@ss'}] } }\n",
    );
    let server = server.unwrap();
    let error = NatsQueue::connect(server.url().replace("//", "//u:secret@")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    NatsQueue::connect(server.url().replace("//", "//u:p%40ss@")).await.unwrap();
}

#[tokio::test]
async fn streams_that_are_there_and_fit_are_used() {
    let name = prefix();
    for _ in 0..2 {
        NatsQueue::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_would_lose_messages_is_refused() {
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    for (stream, more, setting) in [
        ("queue", r#""storage": "memory""#, "storage"),
        ("queue", r#""storage": "file", "max_age": 1000000000000"#, "max_age"),
        ("queue", r#""storage": "file", "discard": "old""#, "discard"),
        ("meta", r#""storage": "file", "allow_msg_ttl": false"#, "allow_msg_ttl"),
        ("meta", r#""storage": "file", "subjects": ["other.>"]"#, "subjects"),
        ("queue", r#""storage": "file", "max_msg_size": 1000"#, "max_msg_size"),
    ] {
        let name = prefix();
        let subject = stream.chars().next().unwrap();
        let mut config = format!(r#"{{"name": "{name}_{stream}", "retention": "limits", {more}"#);
        for (field, usual) in [
            ("subjects", format!(r#"["{name}.{subject}.*"]"#)),
            ("discard", format!("{:?}", if stream == "queue" { "new" } else { "old" })),
            ("allow_msg_ttl", "true".to_owned()),
            ("max_msgs_per_subject", (if stream == "queue" { "-1" } else { "1" }).to_owned()),
        ] {
            if !more.contains(field) {
                config += &format!(r#", "{field}": {usual}"#);
            }
        }
        let created = client
            .request(format!("$JS.API.STREAM.CREATE.{name}_{stream}"), format!("{config}}}").into())
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&created.payload).contains("error"), "{created:?}");
        let error = NatsQueue::builder(SERVER.url()).prefix(name).connect().await.unwrap_err();
        let ConnectError::Unsuitable { setting: found, .. } = &error else { panic!("{error:?}") };
        assert!(found.starts_with(setting) || found.starts_with("allow_direct"), "{error}");
    }
}

/// The server says how large messages may be.
#[tokio::test]
async fn a_message_over_the_servers_payload_is_too_big() {
    let server = NatsServer::start().unwrap();
    let queue = NatsQueue::connect(server.url()).await.unwrap();
    let limit = queue.caps().max_message.unwrap();
    assert_eq!(limit, 1024 * 1024 - 568);
    let uid = "alice".into();
    let of = |bytes: usize| [Entry { data: vec![0; bytes].into(), ..entry(1) }];
    for admit in [Admit::WithinLimits, Admit::AlreadyAccepted] {
        let stored = queue.enqueue(&uid, &of(limit + 1), admit).await;
        let Err(QueueError::TooBig { bytes, limit: most }) = stored else { panic!("{stored:?}") };
        assert_eq!((bytes, most), (limit + 1, limit));
    }
    let longest = Entry { ttl: Some(Duration::from_secs(1 << 31)), ..of(limit)[0].clone() };
    queue.enqueue(&uid, &[longest], Admit::WithinLimits).await.unwrap();
}

/// Another server of the cluster may take less.
#[tokio::test]
async fn a_server_that_takes_less_after_a_reconnect_is_an_error_to_the_sender() {
    let (large, small) =
        (NatsServer::start().unwrap(), NatsServer::with_config("max_payload: 10000\n").unwrap());
    let proxy = Proxy::start(large.addr()).unwrap();
    let url = format!("nats://{}", proxy.addr());
    let queue = NatsQueue::builder(url).timeout(PATIENCE).connect().await.unwrap();
    let uid = "alice".into();
    let big = [Entry { data: vec![0; 20_000].into(), ..entry(1) }];
    queue.enqueue(&uid, &big, Admit::WithinLimits).await.unwrap();
    proxy.redirect(small.addr());
    proxy.cut();
    proxy.heal();
    until_ok("the other server", async || queue.size(&uid).await).await;
    let stored = queue.enqueue(&uid, &big, Admit::AlreadyAccepted).await;
    let Err(QueueError::TooBig { bytes: 20_000, limit }) = stored else { panic!("{stored:?}") };
    assert_eq!((limit, queue.caps().max_message), (10_000 - 568, Some(limit)));
    queue.enqueue(&uid, &[entry(2)], Admit::WithinLimits).await.unwrap();
}

#[tokio::test]
async fn whatever_is_large_works() {
    let large = builder().timeout(Duration::MAX).max_in_flight(usize::MAX);
    let queue = large.max_messages(u64::MAX).max_bytes(u64::MAX).connect().await.unwrap();
    queue.enqueue(&"alice".into(), &[entry(1)], Admit::WithinLimits).await.unwrap();
    assert_eq!(queue.size(&"alice".into()).await.unwrap().messages, 1);
}
