//! What the handler answers, byte for byte over loopback, and that nothing of it takes longer than it may.
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tok_core::{CloseReason, Device};
use tok_ws::{Hosts, Origins, WsConfigError, WsEngine, WsHandler};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{Server, builder, hub, within};

const GOOD: &str = "GET /ws?uid=alice HTTP/1.1\r\nHost: chat.example\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Sends a request and returns all that comes back until the server closes, or until the end of a 101's head.
async fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = read_head(&mut stream).await;
    if status(&answer) != "101" {
        within(stream.read_to_string(&mut answer)).await.unwrap();
    }
    answer
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && within(stream.read(&mut byte)).await.unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn status(answer: &str) -> &str {
    answer.get("HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)).unwrap_or(answer)
}

/// The handler under a plain hyper server.
async fn mounted(handler: WsHandler) -> Server {
    let listener = crate::server::listener().await;
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let http = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), handler.clone())
                .with_upgrades();
            tokio::spawn(http);
        }
    });
    Server { addr, task }
}

#[tokio::test]
async fn each_defect_has_its_status() {
    let server = Server::start(builder(hub()).path("/ws")).await;
    let table: &[(&str, &str, &str)] = &[
        // What is wrong, what replaces it, the status.
        ("", "", "101"),
        ("GET /ws?uid=alice", "GET http://chat.example/ws?uid=alice", "101"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: UPGRADE", "101"),
        ("Upgrade: WebSocket", "Upgrade: h2c, websocket", "101"),
        ("dGhlIHNhbXBsZSBub25jZQ==\r\n", "dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n", "101"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://chat.example\r\n",
            "101",
        ),
        ("/ws?", "/?", "404"),
        ("/ws?", "/ws/?", "404"),
        ("GET /ws", "POST /ws", "405"),
        ("GET /ws", "HEAD /ws", "405"),
        ("HTTP/1.1", "HTTP/1.0", "505"),
        ("Upgrade: WebSocket\r\n", "", "426"),
        ("Upgrade: WebSocket", "Upgrade: websocket2", "426"),
        ("Connection: keep-alive, Upgrade\r\n", "", "400"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive, upgraded", "400"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13", "400"),
        ("Sec-WebSocket-Version: 13\r\n", "", "400"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTEy", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key:", "400"),
        ("Host: chat.example\r\n", "", "400"),
        ("Host: chat.example\r\n", "Host: chat.example\r\nHost: chat.example\r\n", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==\r\n", "dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 2\r\n", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==\r\n", "dGhlIHNhbXBsZSBub25jZQ==\r\nTransfer-Encoding: chunked\r\n", "400"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://evil.example\r\n",
            "403",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==\r\n", "dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: null\r\n", "403"),
        ("uid=alice", "name=alice", "400"),
        ("uid=alice", "uid=", "400"),
        ("uid=alice", "uid=mallory", "401"),
        ("GET /ws", "nonsense\r\n\r\n", "400"),
        // The order of the checks.
        ("GET /ws?uid=alice", "POST /?uid=mallory", "404"),
        ("uid=alice HTTP/1.1\r\n", "uid=mallory HTTP/1.1\r\nOrigin: null\r\n", "403"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 7\r\nOrigin: null", "426"),
    ];
    for (wrong, instead, expected) in table {
        assert!(GOOD.contains(wrong), "{wrong}");
        let request = GOOD.replacen(wrong, instead, 1);
        let answer = ask(&server, &request).await;
        assert_eq!(status(&answer), *expected, "{request}{answer}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_served_is_answered_with_421() {
    let server =
        Server::start(builder(hub()).path("/ws").hosts(Hosts::list(["chat.example"]).unwrap())).await;
    for (wrong, instead, expected) in [
        ("", "", "101"),
        ("Host: chat.example", "Host: Chat.Example:8080", "101"),
        ("Host: chat.example", "Host: evil.example", "421"),
        ("Host: chat.example", "Host: evil.example\r\nOrigin: http://evil.example", "421"),
        ("GET /ws?uid=alice", "GET http://evil.example/ws?uid=alice", "421"),
        // Defects of the handshake come first.
        ("Host: chat.example\r\n", "", "400"),
        ("Host: chat.example\r\n", "Host: chat.example\r\nHost: evil.example\r\n", "400"),
    ] {
        let request = GOOD.replacen(wrong, instead, 1);
        let answer = ask(&server, &request).await;
        assert_eq!(status(&answer), expected, "{request}{answer}");
    }
}

#[tokio::test]
async fn the_101_and_the_426_say_what_they_have_to() {
    let server =
        Server::start(builder(hub()).subprotocols(["v2", "v1"].map(|name| name.parse().unwrap()))).await;
    let request = GOOD.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: v1, v2\r\n\r\n");
    let answer = ask(&server, &request).await.to_ascii_lowercase();
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: v2",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line}: {answer}");
    }
    assert!(!answer.contains("connection: close"), "{answer}");
    let answer = ask(&server, &GOOD.replace("Version: 13", "Version: 12")).await.to_ascii_lowercase();
    for line in ["sec-websocket-version: 13", "upgrade: websocket"] {
        assert!(answer.lines().any(|found| found == line), "{line}: {answer}");
    }
    assert!(!ask(&server, GOOD).await.contains("protocol:"));
}

#[tokio::test]
async fn bytes_right_behind_the_handshake_are_not_lost() {
    let server = Server::start(builder(hub())).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = [GOOD.as_bytes(), &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']].concat();
    stream.write_all(&request).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await), "101");
    let mut echo = [0; 4];
    within(stream.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

#[tokio::test]
async fn big_heads_are_cut_early() {
    let server = Server::start(builder(hub())).await;
    for request in [
        GOOD.replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(20_000))),
        GOOD.replace("\r\n\r\n", &format!("\r\n{}\r\n", "x: y\r\n".repeat(70))),
    ] {
        assert_eq!(status(&ask(&server, &request).await), "431");
    }
    // 20 MB are not waited for: the answer is there before they are sent, and sending them ends in an error.
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let flood = async {
        writer.write_all(GOOD.trim_end().as_bytes()).await.unwrap();
        writer.write_all(b"\r\nX: ").await.unwrap();
        for _ in 0..20_000 {
            if writer.write_all(&[b'x'; 1000]).await.is_err() {
                break;
            }
        }
    };
    let answer = async {
        let mut head = [0; 12];
        reader.read_exact(&mut head).await.unwrap();
        head
    };
    let ((), head) = within(async { tokio::join!(flood, answer) }).await;
    assert_eq!(&head, b"HTTP/1.1 431");
}

#[tokio::test(start_paused = true)]
async fn half_a_handshake_is_cut_when_its_time_is_up() {
    let server = Server::start(builder(hub())).await;
    for part in ["", &GOOD[..40], &GOOD[..GOOD.len() - 1]] {
        let started = tokio::time::Instant::now();
        // The read does not end before the server closes, which only the paused clock's jump brings about.
        assert_eq!(ask(&server, part).await, "");
        assert!(started.elapsed() >= Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_takes_too_long_is_refused() {
    let slow = |_| async {
        std::future::pending::<()>().await;
        Ok(Device::new("alice"))
    };
    let handler = WsHandler::builder(hub(), slow).build().unwrap();
    let server = mounted(handler).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(GOOD.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await), "503");
}

#[tokio::test]
async fn it_mounts_into_a_server_of_somebody_elses() {
    let handler = builder(hub()).build().unwrap();
    let server = mounted(handler).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(GOOD.replace("uid=alice", "uid=mallory").as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await), "401");
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(&[GOOD.as_bytes(), &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']].concat()).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await), "101");
    let mut echo = [0; 4];
    within(stream.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

#[tokio::test]
async fn a_draining_hub_admits_nobody() {
    let hub = hub();
    let server = Server::start(builder(hub.clone())).await;
    hub.shutdown(Duration::from_secs(1)).await;
    let answer = ask(&server, GOOD).await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert_eq!(CloseReason::Draining.code(), 1001);
}

#[tokio::test]
async fn wrong_configurations_are_errors() {
    assert!(matches!(builder(hub()).path("ws").build(), Err(WsConfigError::Path(_))));
    assert!(matches!(builder(hub()).max_handshakes(0).build(), Err(WsConfigError::MaxHandshakes)));
    let comma = ["a,b".parse().unwrap()];
    assert!(matches!(builder(hub()).subprotocols(comma).build(), Err(WsConfigError::Subprotocol(_))));
    for engine in [WsEngine::TokioTungstenite, WsEngine::AsyncTungstenite, WsEngine::TokioWebsockets] {
        let built = builder(hub()).origins(Origins::any()).engine(engine).build();
        assert_eq!(built.is_ok(), WsEngine::compiled().contains(&engine), "{engine}");
    }
}

#[test]
fn the_handler_is_a_service_for_any_body_of_both_kinds() {
    fn check<S>()
    where
        S: hyper::service::Service<http::Request<Vec<u8>>, Error = std::convert::Infallible>
            + tower_service::Service<http::Request<String>, Error = std::convert::Infallible, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
    }
    check::<WsHandler>();
}
