//! What cannot work is refused, with what would be right.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use brokers::NatsServer;
use tok_cluster::{ConnectError, NatsBroker};
use tok_core::ConfigError;

use super::{
    SERVER, SHORT, builder,
    support::{prefix, soon},
};

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for (builder, name) in [
        (builder().max_in_flight(0), "max_in_flight"),
        (builder().timeout(Duration::ZERO), "timeout"),
        (builder().replicas(0), "replicas"),
        (builder().replicas(6), "replicas"),
        (builder().prefix(""), "prefix"),
        (builder().prefix("a.b"), "prefix"),
        (builder().prefix("x".repeat(65)), "prefix"),
        (NatsBroker::builder(""), "url"),
        (NatsBroker::builder("http://user:secret@127.0.0.1"), "url"), // port: never connected to
    ] {
        assert!(!format!("{builder:?}").contains("secret"));
        let error = builder.connect().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let ConnectError::Config(ConfigError::Invalid { setting, .. }) = error else { panic!("{error:?}") };
        assert_eq!(setting, name);
    }
}

#[tokio::test]
async fn where_nobody_answers_connecting_fails() {
    let mut server = NatsServer::start().unwrap();
    let connect = |url: String| NatsBroker::builder(url).timeout(SHORT).connect();
    server.suspend().unwrap();
    let error = soon("a silent server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(error.source().is_some());
    server.kill().unwrap();
    let error = soon("no server", connect(server.url())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}

/// And where JetStream is off for the account, that is what the error says.
#[tokio::test]
async fn credentials_are_in_the_url() {
    let server = NatsServer::with_config(
        "accounts {
            A { jetstream: enabled, users: [{user: u, password: 'p@ss'}] }
            B { users: [{user: v, password: w}] }
        }\n",
    );
    let server = server.unwrap();
    let connect =
        |with: &str| NatsBroker::builder(server.url().replace("//", &format!("//{with}@"))).connect();
    let error = connect("u:secret").await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    let broker = connect("u:p%40ss").await.unwrap();
    assert!(!format!("{broker:?}").contains("p@ss"));
    let error = connect("v:w").await.unwrap_err();
    let ConnectError::Unsuitable { setting, .. } = &error else { panic!("{error:?}") };
    assert_eq!(setting, "JetStream");
}

#[tokio::test]
async fn a_stream_that_is_there_and_fits_is_used() {
    let name = prefix();
    for _ in 0..2 {
        NatsBroker::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_would_break_the_contract_is_refused() {
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    for (setting, value) in [
        ("storage", r#""memory""#),
        ("max_age", "1000000000000"),
        ("allow_direct", "true"),
        ("allow_msg_ttl", "false"),
        ("max_msgs_per_subject", "2"),
        ("discard", r#""new""#),
        ("subjects", r#"["other.>"]"#),
    ] {
        let name = prefix();
        let mut config =
            format!(r#"{{"name": "{name}_registry", "retention": "limits", "{setting}": {value}"#);
        for (field, usual) in [
            ("subjects", format!(r#"["{name}.u.*", "{name}.l.*"]"#)),
            ("storage", r#""file""#.to_owned()),
            ("discard", r#""old""#.to_owned()),
            ("allow_msg_ttl", "true".to_owned()),
            ("max_msgs_per_subject", "1".to_owned()),
        ] {
            if field != setting {
                config += &format!(r#", "{field}": {usual}"#);
            }
        }
        let api = format!("$JS.API.STREAM.CREATE.{name}_registry");
        let created = client.request(api, format!("{config}}}").into()).await.unwrap();
        assert!(!String::from_utf8_lossy(&created.payload).contains("error"), "{created:?}");
        let error = NatsBroker::builder(SERVER.url()).prefix(name).connect().await.unwrap_err();
        let ConnectError::Unsuitable { setting: found, .. } = &error else { panic!("{error:?}") };
        assert!(found.starts_with(setting), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let url = format!("nats://{}", server_that_says("2.10.26"));
    let error = soon("an answer", NatsBroker::builder(url).connect()).await.unwrap_err();
    let ConnectError::TooOld { found, needed } = &error else { panic!("{error:?}") };
    assert_eq!((found.as_str(), *needed), ("2.10.26", "2.11"));
}

/// As much of a server as tells its version.
#[allow(clippy::disallowed_methods, reason = "no simulator runs this")]
fn server_that_says(version: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let info = format!(
            r#"{{"server_id": "x", "version": "{version}", "headers": true, "max_payload": 1048576}}"#
        );
        write!(stream, "INFO {info}\r\n").unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for _ping in lines.map_while(Result::ok).filter(|line| line == "PING") {
            let _ = stream.write_all(b"PONG\r\n");
        }
    });
    addr
}
