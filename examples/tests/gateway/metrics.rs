//! What operators can ask.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Gateway, Process, RawWs, Tcp, Ws, get, sample, within};

#[tokio::test]
async fn sessions_and_messages_are_counted() {
    let gateway = Gateway::start("--metrics 127.0.0.1:0").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    alice.send("Tbob|hi").await;
    assert_eq!(bob.recv().await, "Tbob|hi");
    assert_eq!(alice.ask("Tcarol|hi").await, "!offline carol");
    assert!(alice.ask("?").await.starts_with("!error "));
    alice.send("Q60|carol|hi").await;
    assert_eq!(alice.ask("E").await, "E");

    let (status, page) = get(gateway.metrics(), "/metrics").await;
    assert_eq!(status, 200);
    for (name, value) in [
        ("tok_sessions", 2),
        ("tok_users_online", 2),
        ("tok_draining", 0),
        ("tok_sessions_opened_total", 2),
        (r#"tok_messages_received_total{operation="tell"}"#, 2),
        (r#"tok_messages_received_total{operation="queue"}"#, 1),
        (r#"tok_messages_received_total{operation="echo"}"#, 1),
        (r#"tok_messages_received_total{operation="users"}"#, 2),
        (r#"tok_messages_received_total{operation="invalid"}"#, 1),
        ("tok_operations_failed_total", 1),
        // To bob, and the echo.
        ("tok_messages_handed_total", 2),
        (r#"tok_messages_undelivered_total{fate="offline"}"#, 1),
        (r#"tok_messages_undelivered_total{fate="stored"}"#, 1),
    ] {
        assert_eq!(sample(&page, name), value, "{name} in\n{page}");
    }

    let mut new = Ws::settled(gateway.ws(), "uid=bob").await;
    assert_eq!(bob.rest().await, ["!bye sso"]);
    while new.ask("N").await != "+users 2" {}
    // The session ends when its connection is closed on both sides.
    drop(bob);
    let ended = r#"tok_sessions_closed_total{reason="sso"}"#;
    while sample(&get(gateway.metrics(), "/metrics").await.1, ended) != 1 {}
}

#[tokio::test]
async fn the_page_is_what_prometheus_reads() {
    let gateway = Gateway::start("--metrics 127.0.0.1:0").await;
    let (_, page) = get(gateway.metrics(), "/metrics").await;
    let mut kinds = BTreeMap::new();
    let mut explained = None;
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(text.ends_with('.'), "{line}");
            explained = Some(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(explained, Some(name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(kinds.insert(name, kind), None, "{name} comes twice");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(explained, name.split('{').next(), "{line}");
            value.parse::<f64>().unwrap();
        }
    }
    assert!(kinds.len() > 10, "{page}");
}

#[tokio::test]
async fn while_it_drains_it_wants_no_traffic() {
    let mut gateway = Process::start("--metrics 127.0.0.1:0").await;
    assert_eq!(get(gateway.metrics(), "/healthz").await, (200, "ok\n".to_owned()));
    // It keeps its end open, and so the gateway waiting for it.
    let mut lingers = RawWs::login(gateway.ws(), "uid=carol").await;
    gateway.signal("TERM").await;
    assert_eq!(lingers.until_close().await, (vec!["!bye drain".to_owned()], 1001));
    assert_eq!(get(gateway.metrics(), "/healthz").await, (503, "draining\n".to_owned()));
    assert_eq!(get(gateway.metrics(), "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(sample(&get(gateway.metrics(), "/metrics").await.1, "tok_draining"), 1);
    drop(lingers);
    assert_eq!(gateway.ended().await, Some(0));
}

async fn answer(gateway: &Gateway, request: &str) -> String {
    let mut stream = within("a connection", TcpStream::connect(gateway.metrics())).await.unwrap();
    within("room to write", stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn questions_that_make_no_sense_are_answered_and_hold_up_nobody() {
    let gateway = Gateway::start("--metrics 127.0.0.1:0").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = within("a connection", TcpStream::connect(gateway.metrics())).await.unwrap();
        stream.write_all(b"GET /metrics").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(get(gateway.metrics(), "/").await.0, 404);
    let post = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert!(answer(&gateway, post).await.starts_with("HTTP/1.1 405 "));
    assert!(answer(&gateway, "hello\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    assert!(answer(&gateway, &long).await.starts_with("HTTP/1.1 4"));
}

#[tokio::test]
async fn silent_connections_do_not_starve_the_metrics() {
    const SILENT: usize = 200;

    let gateway = Gateway::start("--metrics 127.0.0.1:0").await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut stream = within("a connection", TcpStream::connect(gateway.metrics())).await.unwrap();
        if number % 2 == 0 {
            // One that has been cut cannot be written to.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n").await;
        }
        silent.push(stream);
        assert_eq!(get(gateway.metrics(), "/livez").await.0, 200);
    }
    // Past the bound the oldest go at once, the others after the time for the head of a request.
    for stream in &mut silent {
        let _ = within("the cut", stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(get(gateway.metrics(), "/healthz").await.0, 200);
}
